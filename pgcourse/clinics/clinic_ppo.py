"""The bug clinic of lesson 5: PPO on CartPole-v1 with one planted bug, and what its curves look like.

    python -m pgcourse.clinics.clinic_ppo       trains every patient and writes pgcourse/data/clinic_ppo.npz

A patient is a real run of `pgcourse.ppo.train` in which one piece (advantage, loss or update) was
swapped for a wrong one. The learner sees the curves of `load()`, says which bug it is, and treats the
patient with `rerun`.
"""

import inspect
from collections.abc import Callable, Iterable
from dataclasses import replace

import numpy as np
import torch
from torch import Tensor

from pgcourse import ppo
from pgcourse.estimators import gae
from pgcourse.fingerprint import DATA, note
from pgcourse.losses import ppo_clip_loss
from pgcourse.networks import ActorCritic
from pgcourse.optim import Optimizer
from pgcourse.ppo import ppo_update
from pgcourse.tensors import masked_mean

FILE = DATA / "clinic_ppo.npz"
CURVES = {
    "return": "return",
    "kl": "KL (nats)",
    "entropy": "entropy (nats)",
    "clip_fraction": "fraction clipped",
    "explained_variance": "explained variance",
    "first_ratio_error": "first ratio error",
}


# --- the bugs: each a piece of `ppo.train` that is wrong ---


def loss_without_clip(
    logp: Tensor, logp_old: Tensor, adv: Tensor, clip: float, mask: Tensor | None = None
) -> Tensor:
    return -masked_mean(torch.exp(logp - logp_old) * adv, mask)


def loss_with_the_sign_reversed(
    logp: Tensor, logp_old: Tensor, adv: Tensor, clip: float, mask: Tensor | None = None
) -> Tensor:
    return -ppo_clip_loss(logp, logp_old, adv, clip, mask)


def advantage_of_another_environment(
    rew: Tensor,
    val: Tensor,
    next_val: Tensor,
    terminated: Tensor,
    ended: Tensor,
    gamma: float,
    lam: float,
) -> Tensor:
    return gae(rew, val, next_val, terminated, ended, gamma, lam).roll(1, dims=1)


def advantage_past_the_end(
    rew: Tensor,
    val: Tensor,
    next_val: Tensor,
    terminated: Tensor,
    ended: Tensor,
    gamma: float,
    lam: float,
) -> Tensor:
    """Bootstraps from the value of a state in which the episode is over."""
    return gae(rew, val, next_val, torch.zeros_like(terminated), ended, gamma, lam)


def edited(function: Callable, old: str, new: str) -> Callable:
    """A function with one place of its own text changed, and nothing else: what a slip makes of it."""
    text = inspect.getsource(function)
    if text.count(old) != 1:
        raise ValueError(f"expected {old!r} once in {function.__name__}; got {text.count(old)}.")
    space = dict(function.__globals__)
    exec(text.replace(old, new), space)
    return space[function.__name__]


update_with_old_recomputed = edited(
    ppo_update,
    'mask = batch.get("mask")',
    'mask = batch.get("mask")\n'
    '            now = policy.evaluate(batch["obs"], batch["act"])[0].detach()\n'
    '            batch = {**batch, "logp": now}',
)


def update_with_actions_resampled(
    policy: ActorCritic,
    optimizer: Optimizer,
    rollout: dict[str, Tensor],
    config: ppo.Config,
    loss: Callable,
    generator: torch.Generator,
) -> dict[str, float]:
    with torch.no_grad():  # by torch's global generator: the other one also makes the next rollouts
        act = policy.act(rollout["obs"], noise=policy.noise(rollout["logp"].shape))
    return ppo_update(policy, optimizer, {**rollout, "act": act}, config, loss, generator)


def update_without_the_critic(
    policy: ActorCritic,
    optimizer: Optimizer,
    rollout: dict[str, Tensor],
    config: ppo.Config,
    loss: Callable,
    generator: torch.Generator,
) -> dict[str, float]:
    wrong = replace(config, value_coef=0.0)
    return ppo_update(policy, optimizer, rollout, wrong, loss, generator)


BUGS = {
    "no bug": {},
    "no clip": {"loss": loss_without_clip},
    "sign": {"loss": loss_with_the_sign_reversed},
    "other environment's advantage": {"advantage": advantage_of_another_environment},
    "bootstrap past the end": {"advantage": advantage_past_the_end},
    "old policy recomputed": {"update": update_with_old_recomputed},
    "actions resampled": {"update": update_with_actions_resampled},
    "critic never trained": {"update": update_without_the_critic},
}
PATIENTS = {
    "A": "other environment's advantage",
    "B": "old policy recomputed",
    "C": "no bug",
    "D": "critic never trained",
    "E": "no clip",
    "F": "sign",
    "G": "actions resampled",
    "H": "bootstrap past the end",
}


# --- their curves ---


def examine(
    pieces: dict[str, Callable], total_steps: int = 40_000, seed: int = 0, progress: bool = False
) -> dict[str, np.ndarray]:
    """Train with some pieces of `ppo.train` replaced; the run's curves, {name: array}."""
    config = ppo.Config(total_steps=total_steps, seed=seed)
    history = ppo.train(config, **pieces, progress=progress).history
    return {key: history[key].astype(np.float32) for key in ("steps", *CURVES)}


def rerun(patient: str, total_steps: int = 40_000, **treatment: Callable) -> dict[str, np.ndarray]:
    """Train a patient again, its bug still in, with the pieces of the treatment in their place."""
    return examine(BUGS[PATIENTS[patient]] | treatment, total_steps, progress=True)


def load() -> dict[str, dict[str, np.ndarray]]:
    """The curves of all patients, {letter: {name: array}}."""
    found = {}
    with np.load(FILE) as data:
        for key in data.files:
            patient, curve = key.split("/")
            found.setdefault(patient, {})[curve] = data[key]
    return found


def make(patients: Iterable[str] = PATIENTS) -> None:
    """Train the patients and keep their curves."""
    kept = {f"{p}/{curve}": x for p in patients for curve, x in examine(BUGS[PATIENTS[p]]).items()}
    FILE.parent.mkdir(exist_ok=True)
    np.savez_compressed(FILE, **kept)
    note(FILE.name, "python -m pgcourse.clinics.clinic_ppo", "pgcourse.clinics.clinic_ppo.make")


if __name__ == "__main__":
    make()
