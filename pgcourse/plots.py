"""The pictures of the course: one style, color-blind safe, on white so that dark themes can show it."""

from __future__ import annotations

import base64
import os
import sys
import tempfile
from collections.abc import Sequence
from itertools import cycle
from pathlib import Path
from typing import TYPE_CHECKING, Any

import matplotlib.pyplot as plt
import numpy as np

if TYPE_CHECKING:
    from IPython.display import HTML
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure
    from numpy.typing import ArrayLike

    from pgcourse.envs import Env
    from pgcourse.networks import Policy
    from pgcourse.record import Result

# Okabe & Ito 2008: eight colors that people with any color vision can tell apart
BLUE, ORANGE, GREEN, RED = "#0072B2", "#E69F00", "#009E73", "#D55E00"
PURPLE, SKY, YELLOW, BLACK = "#CC79A7", "#56B4E9", "#F0E442", "#000000"
COLORS = [BLUE, ORANGE, GREEN, RED, PURPLE, SKY, BLACK, YELLOW]


def style() -> None:
    """Use the course's style for every figure from here on."""
    plt.rcParams.update(
        {
            "figure.figsize": (7, 3.5),
            "figure.dpi": 100,
            "figure.facecolor": "white",
            "figure.constrained_layout.use": True,
            "axes.prop_cycle": plt.cycler(color=COLORS),
            "axes.spines.top": False,
            "axes.spines.right": False,
            "axes.grid": True,
            "grid.alpha": 0.3,
            "legend.frameon": False,
            "font.size": 11,
        }
    )
    describe_pictures()


def describe_pictures() -> None:
    """In a notebook, give every figure from the next cell on a text for those who do not see it."""
    from matplotlib.figure import Figure

    ipython = sys.modules.get("IPython")  # whoever is not in a notebook need not have it
    shell = ipython and ipython.get_ipython()
    if shell is None or getattr(shell, "pgcourse_describes", False):
        return
    formatter = shell.display_formatter.formatters["image/png"]
    plt.draw_if_interactive()  # loads the notebook's backend; after this cell it installs its own

    def before_cell(_):
        try:
            draw = formatter.lookup_by_type(Figure)
        except KeyError:
            return
        if not hasattr(draw, "described"):

            def described(figure):
                picture = draw(figure)
                return picture if isinstance(picture, tuple) else (picture, {"alt": words(figure)})

            described.described = True
            formatter.for_type(Figure, described)

    shell.pgcourse_describes = True
    shell.events.register("pre_run_cell", before_cell)


def words(figure: Figure) -> str:
    """A figure's titles, axes and curves as a sentence."""
    said = [figure.get_suptitle()]
    for ax in figure.axes:
        axes = " over ".join(filter(None, (ax.get_ylabel(), ax.get_xlabel())))
        curves = (
            ", ".join(t.get_text() for t in ax.get_legend().get_texts()) if ax.get_legend() else ""
        )
        said.append(": ".join(filter(None, (ax.get_title(), axes, curves))))
    spoken = "; ".join(filter(None, said)).translate(
        str.maketrans("", "", "$\\{}")
    )  # of TeX, the words
    return " ".join(spoken.split()) or "figure"


def agent_and_environment() -> Figure:
    """Draw the loop of agent and environment: two boxes, and what goes from one to the other."""
    figure, ax = plt.subplots(figsize=(7, 2.6))
    ax.set(xlim=(0, 10), ylim=(0, 4), title="The loop: one round is one step")
    ax.axis("off")
    for x, name, what, color in (
        (0.2, "agent", "its policy π(a | s)\nchooses the action", SKY),
        (6.8, "environment", "the world answers\nwith what comes of it", YELLOW),
    ):
        ax.add_patch(plt.Rectangle((x, 0.7), 3, 2.6, facecolor=color, alpha=0.45, edgecolor=BLACK))
        ax.text(x + 1.5, 2.6, name, ha="center", va="center", weight="bold")
        ax.text(x + 1.5, 1.6, what, ha="center", va="center", fontsize=10)
    for start, end, y, text, above in (
        (3.3, 6.7, 2.8, "action $a_t$", 0.25),
        (6.7, 3.3, 1.2, "reward $r_t$, next state $s_{t+1}$", -0.25),
    ):
        ax.annotate("", (end, y), (start, y), arrowprops={"arrowstyle": "-|>", "lw": 1.5})
        ax.text(5, y + above, text, ha="center", va="bottom" if above > 0 else "top", fontsize=10)
    ax.set_xlabel(  # hidden with the axes: it is the picture's text for those who do not see it
        "two boxes, agent and environment; an arrow from the agent to the environment carries the action; "
        "an arrow back carries the reward and the next state"
    )
    return figure


def bootstrap_band(
    curves: ArrayLike, level: float = 0.95, draws: int = 2000, seed: int = 0
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Mean over seeds at each point, and the interval in which that mean lies.

        resample the seeds with replacement, take the mean, repeat; the band holds `level` of them

    curves  : [seeds, points]
    returns : mean, low, high; each [points] (without a band for a single seed)
    source  : Efron 1979; Agarwal et al. 2021, arXiv:2108.13264
    """
    curves = np.asarray(curves, dtype=float)
    seeds = np.random.default_rng(seed).integers(len(curves), size=(draws, len(curves)))
    means = curves[seeds].mean(axis=1)
    tail = 50 * (1 - level)
    low, high = np.percentile(means, [tail, 100 - tail], axis=0)
    return curves.mean(axis=0), low, high


def align(
    results: Sequence[Result], key: str = "return", points: int = 200
) -> tuple[np.ndarray, np.ndarray]:
    """Curves of several runs on one grid of environment steps: (steps [points], curves [runs, points]).

    Runs report at different steps; between two reports a curve is drawn straight. The grid ends
    where the shortest run does.
    """
    known = []
    for result in results:
        steps, values = result.history["steps"], result.history[key]
        good = np.isfinite(values)
        if not good.any():
            config = result.config
            raise ValueError(
                f"the run on {config.env} with seed {config.seed} has no finite {key!r} to draw; "
                "train it longer, or leave it out."
            )
        known.append((steps[good], values[good]))
    grid = np.linspace(max(s[0] for s, _ in known), min(s[-1] for s, _ in known), points)
    return grid, np.stack([np.interp(grid, steps, values) for steps, values in known])


def learning_curves(
    groups: dict[str, Sequence[Result]] | Sequence[Result],
    key: str = "return",
    threshold: float | None = None,
    ax: Axes | None = None,
    label: str | None = None,
) -> Axes:
    """Mean curve of each group of runs with a bootstrap band over its seeds; single runs are faint.

    groups : {label: list of Result} or one list of Result
    key    : what of their history to draw: return, kl, entropy, clip_fraction, …
    """
    if not isinstance(groups, dict):
        groups = {"": groups}
    if ax is None:
        style()
        _, ax = plt.subplots()
    for color, (name, results) in zip(cycle(COLORS), groups.items(), strict=False):
        steps, curves = align(results, key)
        mean, low, high = bootstrap_band(curves)
        for curve in curves:
            ax.plot(steps, curve, color=color, alpha=0.25, linewidth=0.8)
        seeds = f"{len(curves)} seed" + "s" * (len(curves) > 1)
        ax.plot(steps, mean, color=color, linewidth=2, label=f"{name} ({seeds})".strip())
        ax.fill_between(steps, low, high, color=color, alpha=0.2, linewidth=0)
    if threshold is not None:
        ax.axhline(threshold, color=BLACK, linestyle="--", linewidth=1, label="solved")
    ax.set_xlabel("environment steps")
    ax.set_ylabel(label or AXES.get(key, key.replace("_", " ")))
    ax.legend()
    return ax


AXES = {
    "return": "return (mean of the last 20 episodes)",
    "entropy": "entropy (nats)",
    "kl": "KL from the old policy (nats)",
    "clip_fraction": "fraction of steps clipped",
    "explained_variance": "explained variance of the returns",
    "alpha": "temperature (reward per nat)",
    "q": "Q of replayed actions (reward)",
}


def record_episode(
    policy: Policy, env: Env, seed: int = 0, max_steps: int = 500, **kwargs: Any
) -> tuple[list[np.ndarray], float, int]:
    """Play one whole deterministic episode and keep a picture of each of its first `max_steps` steps.

    policy      : has act(obs, deterministic) and to_env(act); shown masks as `pgcourse.rollout.evaluate` does
    env, kwargs : what `pgcourse.envs.make_vector` takes; it must know render_mode="rgb_array"
    returns     : list of uint8 arrays [height, width, 3], the whole episode's return, and its length
    """
    import torch

    from pgcourse.envs import make_one
    from pgcourse.masks import with_masks

    os.environ.setdefault("SDL_VIDEODRIVER", "dummy")  # no window, also where there is no screen
    kwargs["render_mode"] = "rgb_array"
    masked = getattr(policy, "masked", False)
    world = with_masks(env, **kwargs)() if masked else make_one(env, **kwargs)
    obs, _ = world.reset(seed=seed)
    frames, total, steps, over = [world.render()], 0.0, 0, False
    while not over:
        row = torch.as_tensor(np.asarray(obs, dtype=np.float32).reshape(1, -1))
        with torch.inference_mode():
            act = policy.to_env(policy.act(row, deterministic=True))[0]
        obs, rew, terminated, truncated, _ = world.step(act)
        total, steps, over = total + float(rew), steps + 1, terminated or truncated
        if steps <= max_steps:
            frames.append(world.render())
    world.close()
    return frames, total, steps  # type: ignore[return-value]  # render() says too little


def shown(steps: int, max_steps: int = 500) -> str:
    """What to add where an episode is longer than its animation."""
    return f" ({steps} steps, the first {max_steps} are shown)" if steps > max_steps else ""


def save_animation(
    frames: Sequence[np.ndarray], path: str | Path, fps: int = 30, width: int = 360
) -> str | Path:
    """Write pictures as an animated GIF or WebP (by the file's ending), through Pillow alone."""
    from PIL import Image

    height = round(frames[0].shape[0] * width / frames[0].shape[1])
    pictures = [Image.fromarray(frame).resize((width, height)) for frame in frames]
    if str(path).endswith(".gif"):  # one palette for all frames: small, and no flicker
        palette = pictures[len(pictures) // 2].quantize(64)
        pictures = [
            picture.quantize(palette=palette, dither=Image.Dither.NONE) for picture in pictures
        ]
    pictures[0].save(
        path, save_all=True, append_images=pictures[1:], duration=round(1000 / fps), loop=0
    )
    return path


def animate(
    policy: Policy,
    env: Env,
    seed: int = 0,
    max_steps: int = 300,
    every: int = 2,
    fps: int = 25,
    width: int = 360,
) -> HTML:
    """One episode of an agent as an animation to look at in a notebook; plays without ffmpeg.

    every : show each n-th step (2 halves the size)
    """
    from IPython.display import HTML

    frames, total, steps = record_episode(policy, env, seed, max_steps)
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "episode.webp"
        data = base64.b64encode(save_animation(frames[::every], path, fps, width).read_bytes())
    text = f"{env}, one episode without exploration: return {total:.0f}{shown(steps, max_steps)}"
    return HTML(
        f'<figure><img src="data:image/webp;base64,{data.decode()}" alt="{text}">'
        f"<figcaption>{text}</figcaption></figure>"
    )
