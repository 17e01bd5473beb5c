"""Proximal policy optimization: several epochs on one rollout; the clip limits what they take from it.

    collect -> advantage (GAE) -> clipped loss -> step, epochs x minibatches

`ppo_update` knows nothing of environments: a rollout is a dict of time-major tensors [T, B], a
column is an environment or a conversation, and a mask marks the steps that count. Lesson 7 calls it
as it is.

source : Schulman et al. 2017, arXiv:1707.06347; Huang et al. 2022, "The 37 implementation details"
"""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

import torch
from torch import Tensor

from pgcourse.estimators import gae, normalize_advantage
from pgcourse.losses import approx_kl, clipped_value_loss, ppo_clip_loss
from pgcourse.networks import ActorCritic, make_actor, make_critic, make_normalizer
from pgcourse.optim import Adam, Optimizer, clip_grad_norm_
from pgcourse.record import BaseConfig, Recorder, Result, explained_variance, seed_all
from pgcourse.rollout import Collector
from pgcourse.tensors import masked_mean


@dataclass
class Config(BaseConfig):
    total_steps: int = 40_000
    n_envs: int = 16
    n_steps: int = 32  # per environment and rollout
    epochs: int = 10
    minibatches: int = 2
    lr: float = 3e-3
    critic_lr: float | None = None  # None: lr
    anneal: bool = False  # learning rates fall linearly, to 0 at total_steps, as in the paper
    gamma: float = 0.98
    lam: float = 0.9
    clip: float = 0.2
    value_clip: float = math.inf  # inf: plain squared error
    value_coef: float = 0.5
    entropy_coef: float = 0.0
    max_grad_norm: float = 0.5
    target_kl: float = math.inf  # stop the update's epochs when the KL has passed this
    hidden: tuple[int, ...] = (64, 64)
    log_std: float = 0.0  # initial spread of a Gaussian policy
    reward_scale: float = 1.0  # keeps the critic's targets near 1 where rewards are large
    normalize_obs: bool = False  # by the running mean and variance, kept with the policy
    mask: bool = False  # never take an action that the environment calls invalid: pgcourse.masks

    TUNED: ClassVar = {
        "CartPole-v1": dict(
            n_envs=24, n_steps=12, epochs=4, minibatches=1, lr=2e-3, critic_lr=3e-2, hidden=(48,)
        ),
        "Acrobot-v1": dict(
            total_steps=120_000, n_steps=256, epochs=6, minibatches=4, lr=2e-3, gamma=0.99, lam=0.94
        ),
        "Pendulum-v1": dict(
            total_steps=80_000,
            n_envs=64,
            lr=5e-3,
            gamma=0.95,
            lam=0.95,
            hidden=(32, 32),
            reward_scale=0.1,
        ),
        "LunarLander-v3": dict(
            total_steps=300_000,
            n_envs=32,
            n_steps=64,
            epochs=6,
            minibatches=8,
            lr=1.5e-3,
            critic_lr=3e-3,
            anneal=True,
            gamma=0.995,
            lam=0.98,
            entropy_coef=0.002,
            reward_scale=0.05,
            normalize_obs=True,
        ),
    }


def minibatch_columns(
    n_columns: int, n_minibatches: int, generator: torch.Generator | None = None
) -> Sequence[Tensor]:
    """One epoch's minibatches: every column once, shuffled, in `n_minibatches` nearly equal parts.

    n_columns     : int, environments or conversations
    n_minibatches : int, at most n_columns are made
    generator     : torch.Generator, or None for torch's global one; draws one randperm an epoch
    returns       : list of int tensors, the column indices of each minibatch
    """
    return torch.randperm(n_columns, generator=generator).chunk(n_minibatches)


def ppo_update(
    policy: Any,
    optimizer: Optimizer,
    rollout: dict[str, Tensor],
    config: Any,
    loss: Callable = ppo_clip_loss,
    generator: torch.Generator | None = None,
) -> dict[str, float]:
    """Improve the policy on one rollout: epochs x shuffled minibatches of whole columns.

        L = policy_loss + value_coef * value_loss - entropy_coef * entropy

    An epoch goes through `minibatch_columns(B, config.minibatches, generator)`. Advantages are
    normalized once, over all unmasked steps of the rollout; logp is stored, never recomputed.

    policy    : has evaluate(obs, act) -> (logp, ent, val), each [T, b], for any b of the columns
    optimizer : over the policy's parameters; gradients are clipped to the norm max_grad_norm; those
                that the parameters hold before the call are old ones and must not count
    rollout   : dict of time-major tensors, not modified: logp, adv, ret, val [T, B] (logp and val
                from when the data was collected), act [T, B, ...], obs (anything of which
                obs[:, columns] selects columns); mask, bool [T, B], False = padding, may be absent
    config    : has epochs, minibatches, clip, value_clip, value_coef, entropy_coef, max_grad_norm,
                and target_kl: once a minibatch's KL exceeds it, no further step is taken
    loss      : the policy's loss, called as loss(logp, logp_old, adv, clip, mask)
    generator : torch.Generator for the shuffling, or None for the global one
    returns   : dict of floats, means over the minibatches (one past target_kl included):
                policy_loss, value_loss, entropy (nats), kl (nats, from the policy that collected
                the rollout), clip_fraction (the share of steps with |rho - 1| > clip, whatever
                the sign of the advantage, so also where the gradient lives); and
                first_ratio_error, the largest |rho - 1| of the first minibatch, which must be 0
                up to rounding
    source    : Schulman et al. 2017, algorithm 1, arXiv:1707.06347
    """
    log, parameters = [], list(policy.parameters())
    adv = normalize_advantage(rollout["adv"], rollout.get("mask"))
    data = {**rollout, "adv": adv}
    for _ in range(config.epochs):
        for columns in minibatch_columns(adv.shape[1], config.minibatches, generator):
            whole = len(columns) == adv.shape[1]  # then there is nothing to select
            batch = data if whole else {key: x[:, columns] for key, x in data.items()}
            mask = batch.get("mask")
            logp, ent, val = policy.evaluate(batch["obs"], batch["act"])
            pi_loss = loss(logp, batch["logp"], batch["adv"], config.clip, mask)
            v_loss = clipped_value_loss(val, batch["val"], batch["ret"], config.value_clip, mask)
            bonus = masked_mean(ent, mask)
            kl = approx_kl(logp.detach(), batch["logp"], mask)
            log.append(diagnose(pi_loss, v_loss, bonus, kl, logp, batch["logp"], config.clip, mask))
            if kl > config.target_kl:
                return summarize(log)
            optimizer.zero_grad()
            total = pi_loss + config.value_coef * v_loss
            if config.entropy_coef:  # else its gradient would be computed for nothing
                total = total - config.entropy_coef * bonus
            total.backward()
            clip_grad_norm_(parameters, config.max_grad_norm)
            optimizer.step()
    return summarize(log)


@torch.no_grad()
def diagnose(
    policy_loss: Tensor,
    value_loss: Tensor,
    entropy: Tensor,
    kl: Tensor,
    logp: Tensor,
    logp_old: Tensor,
    clip: float,
    mask: Tensor | None = None,
) -> dict[str, float]:
    """What one minibatch says about the update: tensors in, a dict of floats out."""
    off = ((logp - logp_old).exp() - 1).abs()
    off = off if mask is None else off[mask]
    return {
        "policy_loss": policy_loss.item(),
        "value_loss": value_loss.item(),
        "entropy": entropy.item(),
        "kl": kl.item(),
        "clip_fraction": (off > clip).float().mean().item(),
        "ratio_error": off.max().item(),
    }


def summarize(log: list[dict[str, float]]) -> dict[str, float]:
    """Means over the minibatches, and the first one's ratio error."""
    means = {key: sum(row[key] for row in log) / len(log) for key in log[0]}
    del means["ratio_error"]
    return {**means, "first_ratio_error": log[0]["ratio_error"]}


def train(
    config: Config,
    advantage: Callable = gae,
    loss: Callable = ppo_clip_loss,
    update: Callable = ppo_update,
    progress: bool = True,
    callback: Callable | None = None,
    start: dict | None = None,
) -> Result:
    """Train by PPO; the learner's own advantage, loss and update may take the defaults' places.

    callback, start : see `pgcourse.record.Recorder`
    returns         : `pgcourse.record.Result`
    """
    seed_all(config.seed)
    collector = Collector(config.env, config.n_envs, config.seed, config.mask, **config.env_kwargs)
    actor = make_actor(collector.env, config.hidden, config.log_std)
    normalizer = make_normalizer(collector.env) if config.normalize_obs else None
    policy = ActorCritic(actor, make_critic(collector.env, config.hidden), normalizer)
    actor_group = {"params": policy.actor.parameters()}
    critic_group = {"params": policy.critic.parameters(), "lr": config.critic_lr or config.lr}
    optimizer = Adam([actor_group, critic_group], config.lr)
    parts = {"policy": policy, "optimizer": optimizer}
    recorder = Recorder(config, collector, policy, parts, progress, callback, start)
    if config.normalize_obs and start is None:  # as Burda et al. 2018, sec. 2.4, arXiv:1810.12894
        policy.observe(collector.collect(policy, config.n_steps))

    while not recorder.done():
        if config.anneal:
            optimizer.lr = config.lr * (1 - recorder.steps / config.total_steps)
        data = collector.collect(policy, config.n_steps)
        rollout = {key: data[key] for key in ("obs", "act")}
        if not data["mask"].all():  # selecting steps costs time, so only where some do not count
            rollout["mask"] = data["mask"]
        with torch.no_grad():
            rollout["logp"], _, rollout["val"] = policy.evaluate(data["obs"], data["act"])
            next_val = policy.value(data["next_obs"])
        rew, flags = data["rew"] * config.reward_scale, (data["terminated"], data["ended"])
        rollout["adv"] = advantage(rew, rollout["val"], next_val, *flags, config.gamma, config.lam)
        rollout["ret"] = rollout["adv"] + rollout["val"]
        log = update(policy, optimizer, rollout, config, loss=loss, generator=collector.generator)
        policy.observe(data)  # after the update, which scores actions as they were drawn
        val, ret = rollout["val"][data["mask"]], rollout["ret"][data["mask"]]
        recorder.record(**log, explained_variance=explained_variance(val, ret))
    return recorder.result()
