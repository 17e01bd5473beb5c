"""A policy of three actions as a point in a triangle: the exact gradient as a flow, and what estimates make of it.

    panels({"one sample": {"n": 1}, "16 samples": {"n": 16}})     pictures side by side
    playground()                                                  one picture with sliders, where a kernel answers

Each corner is a policy that is sure of one action; the distance to it says how sure. An arrow is what a small exact
gradient step does to the policy. A dot is where one step from `n` sampled actions leads.
"""

from collections.abc import Callable, Sequence
from typing import Any

import matplotlib.pyplot as plt
import numpy as np
import torch
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from torch import Tensor

from pgcourse.distributions import softmax
from pgcourse.plots import BLACK, BLUE, RED, style

Preferences = Sequence[float] | Tensor
CORNERS = torch.tensor([[0.0, 0.0], [1.0, 0.0], [0.5, 3**0.5 / 2]], dtype=torch.float64)
PAYS = (1.0, 3.0, 0.5)  # of lesson 1
START = (0.2, -0.4, 0.6)


def to_plane(pi: Tensor) -> Tensor:
    """Where policies [..., 3] lie in the triangle, [..., 2]."""
    return pi @ CORNERS


def gradient(theta: Tensor, values: Callable) -> Tensor:
    """The exact gradient of the mean value with respect to the preferences, pi (q - pi . q); [..., 3]."""
    pi, q = softmax(theta), values(softmax(theta))
    return pi * (q - (pi * q).sum(dim=-1, keepdim=True))


def bandit(pays: Sequence[float]) -> Callable[[Tensor], Tensor]:
    """Each action has a value of its own, whatever the policy."""
    return lambda pi: torch.as_tensor(pays, dtype=torch.float64).expand_as(pi)


def rock_paper_scissors(pi: Tensor) -> Tensor:
    """What each action wins against a copy of the policy."""
    payoff = torch.tensor([[0, -1, 1], [1, 0, -1], [-1, 1, 0]], dtype=torch.float64)
    return pi @ payoff.T


def follow(theta: Preferences, values: Callable, lr: float, steps: int) -> Tensor:
    """The policies along exact gradient steps, [steps + 1, 3]."""
    theta, path = torch.as_tensor(theta, dtype=torch.float64), []
    for _ in range(steps + 1):
        path.append(softmax(theta))
        theta = theta + lr * gradient(theta, values)
    return torch.stack(path)


def cloud(
    theta: Preferences,
    pays: Sequence[float],
    n: int = 1,
    lr: float = 0.5,
    baseline: bool = False,
    epochs: int = 1,
    clip: float | None = None,
    dots: int = 200,
    seed: int = 0,
) -> Tensor:
    """The preferences after learning from n sampled actions, for each of `dots` samples; [dots, 3].

        theta <- theta + lr mean_i (1 or 0) rho_i (R_i - b) (onehot(a_i) - pi),   rho = pi(a_i) / pi_old(a_i)

    baseline : subtract b = V, the mean pay of the policy
    epochs   : steps on the same actions; in the first one rho = 1, which is REINFORCE
    clip     : None, or PPO's epsilon: a sample that has moved far enough in the direction that pays stops pushing
    """
    theta = torch.as_tensor(theta, dtype=torch.float64).repeat(dots, 1)
    old, pays = softmax(theta), torch.as_tensor(pays, dtype=torch.float64)
    act = torch.multinomial(old, n, replacement=True, generator=torch.Generator().manual_seed(seed))
    adv = pays[act] - (old[0] @ pays if baseline else 0.0)
    onehot = torch.eye(3, dtype=torch.float64)[act]  # [dots, n, 3]
    for _ in range(epochs):
        pi = softmax(theta)
        rho = (pi / old).gather(1, act)
        push = rho * adv
        if clip is not None:
            far = torch.where(adv > 0, rho > 1 + clip, rho < 1 - clip)
            push = torch.where(far, 0.0, push)
        theta = theta + lr * (push.unsqueeze(-1) * (onehot - pi.unsqueeze(1))).mean(dim=1)
    return theta  # type: ignore[return-value]  # a tensor by now


def draw(
    ax: Axes,
    theta: Preferences = START,
    values: Callable | None = None,
    title: str = "",
    path: Tensor | None = None,
    names: Sequence[str] = ("a₁", "a₂", "a₃"),
    **settings: Any,
) -> None:
    """The triangle with its flow, the policy, its exact step and (with settings of `cloud`) 200 sampled ones."""
    values = values or bandit(PAYS)
    grid = [(i, j, 12 - i - j) for i in range(1, 11) for j in range(1, 12 - i)]
    pi = torch.tensor(grid, dtype=torch.float64) / 12
    change = gradient(pi.log(), values)
    flow = to_plane(pi * (change - (pi * change).sum(-1, keepdim=True)))
    x, y = to_plane(pi).T
    length = flow.norm(dim=-1).max().clamp(min=1e-9)
    ax.quiver(x, y, *(flow / length).T, color="#888888", width=0.004, scale=16, zorder=1)
    ax.plot(*CORNERS[[0, 1, 2, 0]].T, color=BLACK, lw=1)
    for corner, name, (dx, dy) in zip(
        CORNERS, names, ((-0.05, -0.05), (0.05, -0.05), (0, 0.05)), strict=True
    ):
        ax.text(corner[0] + dx, corner[1] + dy, name, ha="center", va="center")
    if path is not None:
        ax.plot(*to_plane(path).T, color=BLUE, lw=1, label="gradient steps")
    theta = torch.as_tensor(theta, dtype=torch.float64)
    if settings:
        after = softmax(cloud(theta, PAYS, **settings))
        jitter = 0.004 * np.random.default_rng(0).standard_normal((len(after), 2))
        ax.scatter(
            *(to_plane(after).numpy() + jitter).T,
            s=9,
            color=BLUE,
            alpha=0.5,
            label="sampled",
            zorder=2,
        )
        ax.plot(*to_plane(after.mean(0)), "s", color=RED, ms=6, label="their mean", zorder=4)
    ax.plot(*to_plane(softmax(theta)), "o", color=BLACK, ms=7, label="the policy", zorder=3)
    ax.set(title=title, aspect="equal", xlim=(-0.12, 1.12), ylim=(-0.12, 0.98))
    ax.axis("off")
    ax.set_xlabel(
        f"a triangle of three actions, {', '.join(names)}"
    )  # hidden: for those who do not see it


def panels(shown: dict[str, dict], theta: Preferences = START, **common: Any) -> Figure:
    """Triangles side by side: {title: settings of `draw` or `cloud`}; returns the figure."""
    style()
    figure, axes = plt.subplots(1, len(shown), figsize=(3.3 * len(shown), 3.3), squeeze=False)
    for ax, (title, settings) in zip(axes[0], shown.items(), strict=True):
        draw(ax, **{"theta": theta, "title": title} | common | settings)
    axes[0][-1].legend(loc="upper right", fontsize=8, bbox_to_anchor=(1.08, 1.0))
    return figure


def playground(
    n: int = 1, lr: float = 0.5, baseline: bool = False, epochs: int = 1, clip: bool = False
) -> None:
    """The triangle with sliders: move the policy, and see where 200 learning steps would lead; else one picture."""

    def show(theta_1=START[0], theta_2=START[1], theta_3=START[2], **settings):
        settings["clip"] = 0.2 if settings["clip"] else None
        theta = (theta_1, theta_2, theta_3)
        pi = ", ".join(f"{p:.2f}" for p in softmax(torch.tensor(theta)))
        panels({f"π = ({pi})": settings}, theta=theta)
        plt.show()

    settings = {"n": n, "lr": lr, "baseline": baseline, "epochs": epochs, "clip": clip}
    try:
        import ipywidgets as w
        from IPython import get_ipython

        if get_ipython() is None:
            raise ImportError
    except ImportError:
        show(**settings)
        return
    wide = {"style": {"description_width": "initial"}, "continuous_update": False}
    sliders = {
        f"theta_{i + 1}": w.FloatSlider(
            value=value, min=-3, max=3, step=0.1, description=f"preference of a{i + 1}:", **wide
        )
        for i, value in enumerate(START)
    }
    sliders |= {
        "n": w.IntSlider(value=n, min=1, max=64, description="sampled actions n:", **wide),
        "lr": w.FloatSlider(
            value=lr, min=0.05, max=2, step=0.05, description="learning rate:", **wide
        ),
        "epochs": w.IntSlider(
            value=epochs, min=1, max=50, description="steps on the same actions:", **wide
        ),
        "baseline": w.Checkbox(value=baseline, description="subtract V (a baseline)"),
        "clip": w.Checkbox(value=clip, description="PPO's clip, 0.2"),
    }
    w.interact(show, **sliders)
