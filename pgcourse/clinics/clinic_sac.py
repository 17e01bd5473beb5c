"""The bug clinic of lesson 6: SAC on Pendulum-v1 with one planted bug, and what its curves look like.

    python -m pgcourse.clinics.clinic_sac       trains every patient and writes pgcourse/data/clinic_sac.npz

A patient is a real run of `pgcourse.sac.train` in which one piece was swapped for a wrong one. The
learner sees the curves of `load()`, says which bug it is, and treats the patient with `rerun`.
"""

from collections.abc import Callable, Iterable

import numpy as np
import torch
from matplotlib.figure import Figure
from torch import Tensor, nn
from torch.distributions import Normal

from pgcourse import sac
from pgcourse.distributions import squashed_gaussian_logp
from pgcourse.estimators import soft_q_target
from pgcourse.fingerprint import DATA, note
from pgcourse.losses import sac_actor_loss, temperature_loss
from pgcourse.networks import SquashedActor, polyak_update
from pgcourse.record import Recorder
from pgcourse.rollout import Collector

FILE = DATA / "clinic_sac.npz"
CURVES = {  # name: (title, a line to compare with, scale, lower and upper limit of the axis)
    "return": ("return", -200, "linear", (-1700, 50)),
    "q error": ("Q minus what followed", 0, "symlog", (-150, 1500)),
    "entropy": ("entropy (nats)", -1, "linear", (-6, 4.5)),
    "alpha": ("temperature α", 1, "log", (0.03, 300)),
    "saturated": ("share at the bounds", 0, "linear", (-0.05, 1.05)),
}
EVERY = 200  # environment steps from one measurement to the next
# slower and steadier than the default, of which some seeds fall back after they have learned to play
SETTINGS = {"lr": 2e-3}


# --- the bugs: each a piece of `sac.train` that is wrong ---


def target_without_entropy(
    rew: Tensor,
    next_q1: Tensor,
    next_q2: Tensor,
    next_logp: Tensor,
    terminated: Tensor,
    gamma: float,
    alpha: float | Tensor,
) -> Tensor:
    return soft_q_target(rew, next_q1, next_q2, 0 * next_logp, terminated, gamma, alpha)


def target_of_the_larger(
    rew: Tensor,
    next_q1: Tensor,
    next_q2: Tensor,
    next_logp: Tensor,
    terminated: Tensor,
    gamma: float,
    alpha: float | Tensor,
) -> Tensor:
    larger = torch.maximum(next_q1, next_q2)
    return soft_q_target(rew, larger, larger, next_logp, terminated, gamma, alpha)


def target_with_the_mask_inverted(
    rew: Tensor,
    next_q1: Tensor,
    next_q2: Tensor,
    next_logp: Tensor,
    terminated: Tensor,
    gamma: float,
    alpha: float | Tensor,
) -> Tensor:
    return soft_q_target(rew, next_q1, next_q2, next_logp, ~terminated, gamma, alpha)


def actor_without_entropy(logp: Tensor, q1: Tensor, q2: Tensor, alpha: float | Tensor) -> Tensor:
    return sac_actor_loss(0 * logp, q1, q2, alpha)


def actor_of_the_larger(logp: Tensor, q1: Tensor, q2: Tensor, alpha: float | Tensor) -> Tensor:
    larger = torch.maximum(q1, q2)
    return sac_actor_loss(logp, larger, larger, alpha)


def actor_deaf_to_the_critics(
    logp: Tensor, q1: Tensor, q2: Tensor, alpha: float | Tensor
) -> Tensor:
    return sac_actor_loss(logp, q1.detach(), q2.detach(), alpha)


def temperature_for_minus_the_target(
    log_alpha: Tensor, logp: Tensor, target_entropy: float
) -> Tensor:
    return temperature_loss(log_alpha, logp, -target_entropy)


def polyak_swapped(target: nn.Module, online: nn.Module, tau: float) -> None:
    polyak_update(target, online, 1 - tau)


def density_before_squashing(mean: Tensor, log_std: Tensor, pre_tanh: Tensor) -> Tensor:
    return Normal(mean, log_std.exp()).log_prob(pre_tanh).sum(-1)


BUGS = {
    "no bug": {},
    "no entropy": {"target": target_without_entropy, "actor_loss": actor_without_entropy},
    "larger critic": {"target": target_of_the_larger, "actor_loss": actor_of_the_larger},
    "done mask inverted": {"target": target_with_the_mask_inverted},
    "target entropy negated": {"temperature_loss": temperature_for_minus_the_target},
    "tau swapped": {"polyak": polyak_swapped},
    "critics detached": {"actor_loss": actor_deaf_to_the_critics},
    "tanh correction missing": {"logp": density_before_squashing},
}
PATIENTS = {
    "A": "target entropy negated",
    "B": "no bug",
    "C": "done mask inverted",
    "D": "no entropy",
    "E": "tau swapped",
    "F": "tanh correction missing",
    "G": "critics detached",
    "H": "larger critic",
}


# --- their curves ---


class Examination:
    """A callback for `train` that measures the policy and the critic every `EVERY` steps.

    A measurement plays 16 fresh episodes as the policy acts in training, and compares Q of their first
    step with what followed, counted as Q counts it: discounted rewards, and from the second step on
    alpha times the entropy, at the temperature of the moment.
    """

    def __init__(self, config: sac.Config) -> None:
        self.config, self.rows = config, []
        self.collector = Collector(config.env, 16, config.seed + 1)

    def __call__(self, recorder: Recorder) -> None:
        if recorder.steps < (len(self.rows) + 1) * EVERY:
            return
        rollout = self.collector.collect_episodes(recorder.policy)
        rew, parts = rollout["rew"] * rollout["mask"], recorder.parts
        with torch.no_grad():
            q, _ = parts["critic"](rollout["obs"][0], rollout["act"][0])
            alpha = parts["temperature"]["log_alpha"].exp()
            bonus = alpha * self.entropy(recorder.policy, rollout["obs"]) * rollout["mask"]
        bonus[0] = 0  # Q(s, a) is asked after a was chosen
        weights = self.config.gamma ** torch.arange(len(rew)).unsqueeze(1)
        row = recorder.rows[-1]
        self.rows.append(
            {
                "steps": recorder.steps,
                "return": rew.sum(0).mean().item(),
                "q error": (q - (weights * (rew + bonus)).sum(0)).mean().item(),
                "entropy": row.get("entropy", np.nan),
                "alpha": row.get("alpha", np.nan),
                "saturated": (rollout["act"].abs() > 0.98).float().mean().item(),
            }
        )

    def entropy(self, policy: SquashedActor, obs: Tensor) -> Tensor:
        """An estimate of the entropy in each state, from one fresh action; its mean is right."""
        mean, log_std = policy(obs)
        noise = policy.noise(obs.shape[:-1], self.collector.generator)
        return -squashed_gaussian_logp(mean, log_std, mean + log_std.exp() * noise)

    def curves(self) -> dict[str, np.ndarray]:
        return {key: np.array([row[key] for row in self.rows], np.float32) for key in self.rows[0]}


def examine(
    pieces: dict[str, Callable], total_steps: int = 8_000, seed: int = 0, progress: bool = False
) -> dict[str, np.ndarray]:
    """Train with some pieces of `sac.train` replaced; the run's curves, {name: array}."""
    config = sac.Config(total_steps=total_steps, seed=seed, **SETTINGS)
    examination = Examination(config)
    sac.train(config, **pieces, progress=progress, callback=examination)
    return examination.curves()


def rerun(patient: str, total_steps: int = 8_000, **treatment: Callable) -> dict[str, np.ndarray]:
    """Train a patient again, its bug still in, with the pieces of the treatment in their place."""
    return examine(BUGS[PATIENTS[patient]] | treatment, total_steps, progress=True)


def late(curves: dict[str, np.ndarray]) -> dict[str, float]:
    """The mean of each curve over the second half of the run, {name: float}."""
    return {key: float(np.mean(x[len(x) // 2 :])) for key, x in curves.items() if key in CURVES}


def load() -> dict[str, dict[str, np.ndarray]]:
    """The curves of all patients, {letter: {name: array}}."""
    with np.load(FILE) as data:
        found = {}
        for key in data.files:
            patient, curve = key.split("/")
            found.setdefault(patient, {})[curve] = data[key]
    return found


def show(runs: dict[str, dict[str, np.ndarray]]) -> Figure:
    """A figure with one row for each entry ({label: curves, or a list of them}), one column a curve."""
    import matplotlib.pyplot as plt

    size = (8.5, 0.6 + 1.1 * len(runs))
    fig, axes = plt.subplots(len(runs), len(CURVES), figsize=size, sharex=True, squeeze=False)
    for i, (row, (label, found)) in enumerate(zip(axes, runs.items(), strict=True)):
        row[0].set_ylabel(label, fontsize=9 if len(label) > 2 else 14)
        for ax, (curve, (title, line, scale, limits)) in zip(row, CURVES.items(), strict=True):
            ax.axhline(line, color="black", lw=0.7, ls=":")
            for run in found if isinstance(found, list) else [found]:
                ax.plot(run["steps"] / 1000, np.clip(run[curve], *limits), lw=1.2)
            ax.set_yscale(scale, **({"linthresh": 10} if scale == "symlog" else {}))
            ax.set_ylim(*limits)
            ax.tick_params(labelsize=7)
            if i == 0:
                ax.set_title(title, fontsize=9)
    for ax in axes[-1]:
        ax.set_xlabel("thousand steps", fontsize=8)
    return fig


def make(patients: Iterable[str] = PATIENTS) -> None:
    """Train the patients and keep their curves."""
    kept = {f"{p}/{curve}": x for p in patients for curve, x in examine(BUGS[PATIENTS[p]]).items()}
    FILE.parent.mkdir(exist_ok=True)
    np.savez_compressed(FILE, **kept)
    note(FILE.name, "python -m pgcourse.clinics.clinic_sac", "pgcourse.clinics.clinic_sac.make")


if __name__ == "__main__":
    make()
