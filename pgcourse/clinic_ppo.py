"""The bug clinic of lesson 5: PPO on CartPole-v1 with one planted bug, and what its curves look like.

    python -m pgcourse.clinic_ppo       trains every patient and writes pgcourse/data/clinic_ppo.npz

A patient is a real run of `pgcourse.ppo.train` in which one piece (advantage, loss or update) was
swapped for a wrong one. The learner sees the curves of `load()`, says which bug it is, and treats the
patient with `rerun`.
"""

from dataclasses import replace
from pathlib import Path

import numpy as np
import torch

from pgcourse import ppo
from pgcourse.estimators import gae
from pgcourse.losses import ppo_clip_loss
from pgcourse.ppo import minibatch_columns, ppo_update
from pgcourse.tensors import masked_mean

FILE = Path(__file__).parent / "data" / "clinic_ppo.npz"
CURVES = {
    "return": "return",
    "kl": "KL (nats)",
    "entropy": "entropy (nats)",
    "clip_fraction": "fraction clipped",
    "explained_variance": "explained variance",
}


# --- the bugs: each a piece of `ppo.train` that is wrong ---


def loss_without_clip(logp, logp_old, adv, clip, mask=None):
    return -masked_mean(torch.exp(logp - logp_old) * adv, mask)


def loss_with_the_sign_reversed(logp, logp_old, adv, clip, mask=None):
    return -ppo_clip_loss(logp, logp_old, adv, clip, mask)


def advantage_of_another_environment(rew, val, next_val, terminated, ended, gamma, lam):
    return gae(rew, val, next_val, terminated, ended, gamma, lam).roll(1, dims=1)


def advantage_past_the_end(rew, val, next_val, terminated, ended, gamma, lam):
    """Bootstraps from the value of a state in which the episode is over."""
    return gae(rew, val, next_val, torch.zeros_like(terminated), ended, gamma, lam)


def update_with_old_recomputed(policy, optimizer, rollout, config, loss, generator):
    once, log = replace(config, epochs=1, minibatches=1), []
    for _ in range(config.epochs):
        for columns in minibatch_columns(config.n_envs, config.minibatches, generator):
            batch = {key: x[:, columns] for key, x in rollout.items()}
            batch["logp"] = policy.evaluate(batch["obs"], batch["act"])[0].detach()
            log.append(ppo_update(policy, optimizer, batch, once, loss))
    return {key: float(np.mean([row[key] for row in log])) for key in log[0]}


def update_with_actions_resampled(policy, optimizer, rollout, config, loss, generator):
    with torch.no_grad():
        noise = policy.noise(rollout["logp"].shape, generator)
        act = policy.act(rollout["obs"], noise=noise)
    return ppo_update(policy, optimizer, {**rollout, "act": act}, config, loss, generator)


def update_without_the_critic(policy, optimizer, rollout, config, loss, generator):
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


def examine(pieces, total_steps=40_000, seed=0, progress=False):
    """Train with some pieces of `ppo.train` replaced; the run's curves, {name: array}."""
    config = ppo.Config(total_steps=total_steps, seed=seed)
    history = ppo.train(config, **pieces, progress=progress).history
    return {key: history[key].astype(np.float32) for key in ("steps", *CURVES)}


def rerun(patient, total_steps=40_000, **treatment):
    """Train a patient again, its bug still in, with the pieces of the treatment in their place."""
    return examine(BUGS[PATIENTS[patient]] | treatment, total_steps, progress=True)


def load():
    """The curves of all patients, {letter: {name: array}}."""
    found = {}
    with np.load(FILE) as data:
        for key in data.files:
            patient, curve = key.split("/")
            found.setdefault(patient, {})[curve] = data[key]
    return found


def make(patients=PATIENTS):
    """Train the patients and keep their curves."""
    kept = {f"{p}/{curve}": x for p in patients for curve, x in examine(BUGS[PATIENTS[p]]).items()}
    FILE.parent.mkdir(exist_ok=True)
    np.savez_compressed(FILE, **kept)


if __name__ == "__main__":
    make()
