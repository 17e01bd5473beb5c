"""Advantage actor-critic (A2C): all environments step together, then one update of two networks.

    collect a few steps -> advantage (GAE) -> actor's and critic's loss -> one step each

The actor is the policy and learns by the policy gradient; the critic is the value and learns by TD.
They are two networks with two optimizers, and no gradient crosses over.

source : OpenAI 2017, openai.com/index/openai-baselines-acktr-a2c; asynchronous (`pgcourse.a3c`): Mnih et al.
         2016, arXiv:1602.01783
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor, nn

from pgcourse import losses
from pgcourse.distributions import categorical_logp
from pgcourse.estimators import gae, normalize_advantage, td_target
from pgcourse.losses import actor_loss, critic_loss
from pgcourse.networks import ActorCritic, make_actor, make_critic, make_normalizer
from pgcourse.optim import Adam, Optimizer, clip_grad_norm_
from pgcourse.record import BaseConfig, Recorder, Result, explained_variance, seed_all
from pgcourse.rollout import Collector


@dataclass
class Config(BaseConfig):
    total_steps: int = 40_000
    n_envs: int = 16
    n_steps: int = 16  # per environment and update
    actor_lr: float = 3e-3
    critic_lr: float = 1e-2
    anneal: bool = False  # both learning rates fall linearly, to 0 at total_steps
    gamma: float = 0.97
    lam: float = 0.9
    entropy_coef: float = 0.0
    max_grad_norm: float = 10.0
    normalize: bool = True
    hidden: tuple[int, ...] = (128,)
    log_std: float = 0.0
    reward_scale: float = 1.0
    normalize_obs: bool = False  # by the running mean and variance, kept with the policy
    mask: bool = False  # never take an action that the environment calls invalid: pgcourse.masks

    TUNED: ClassVar = {
        "CartPole-v1": dict(
            total_steps=60_000,
            n_envs=32,
            n_steps=12,
            actor_lr=4e-3,
            critic_lr=2e-2,
            gamma=0.98,
            lam=0.95,
            entropy_coef=0.005,
            max_grad_norm=0.5,
            hidden=(64, 32),
        )
    }


def actor_critic_step(
    actor: nn.Module,
    critic: nn.Module,
    actor_opt: Optimizer,
    critic_opt: Optimizer,
    batch: dict[str, Tensor],
    gamma: float,
) -> dict[str, float]:
    """Train actor and critic together on one batch of single steps; gradients never cross.

        y = r + gamma * (1 - terminated) * V(s')        the TD target
        A = y - V(s)                                     the TD error, as the advantage
        critic: minimize mean (V(s) - y)^2               y held constant
        actor:  minimize -mean log pi(a | s) * A         A held constant

    V, y and A are those of this batch before either network moves.

    actor, critic         : modules; actor(obs) gives logits [B, A], critic(obs) gives values [B]
    actor_opt, critic_opt : their optimizers; each steps once, on this batch's gradients alone
    batch                 : dict of obs [B, O], act int [B], rew [B], next_obs [B, O] (the true next
                            observation) and terminated bool [B]
    gamma                 : float in [0, 1]
    returns               : dict of floats: actor_loss, critic_loss, adv (the mean advantage)
    source                : Sutton & Barto 2018, sec. 13.5
    """
    val = critic(batch["obs"])
    next_val = critic(batch["next_obs"]).detach()
    target = td_target(batch["rew"], next_val, batch["terminated"], gamma)
    loss_of_critic = critic_loss(val, target)
    critic_opt.zero_grad()
    loss_of_critic.backward()
    critic_opt.step()

    adv = (target - val).detach()
    loss_of_actor = actor_loss(categorical_logp(actor(batch["obs"]), batch["act"]), adv)
    actor_opt.zero_grad()
    loss_of_actor.backward()
    actor_opt.step()
    return {
        "actor_loss": loss_of_actor.item(),
        "critic_loss": loss_of_critic.item(),
        "adv": adv.mean().item(),
    }


def a2c_update(
    policy: ActorCritic,
    optimizers: Sequence[Optimizer],
    data: dict[str, Tensor],
    config: Config,
    advantage: Callable,
    actor_loss: Callable,
    critic_loss: Callable,
) -> dict[str, float]:
    """One update on a rollout: the advantage over many steps, then one step of each network."""
    mask = data["mask"]
    counted = (lambda x: x.flatten()) if mask.all() else (lambda x: x[mask])
    logp, ent, val = policy.evaluate(data["obs"], data["act"])
    with torch.no_grad():
        next_val = policy.value(data["next_obs"])
    flags = data["terminated"], data["ended"]
    rew = data["rew"] * config.reward_scale
    adv = advantage(rew, val.detach(), next_val, *flags, config.gamma, config.lam)
    logp, ent, val, adv = map(counted, (logp, ent, val, adv))
    ret = adv + val.detach()
    scaled = normalize_advantage(adv) if config.normalize else adv
    loss_of_actor = actor_loss(logp, scaled)
    loss_of_critic = critic_loss(val, ret)
    bonus = ent.mean()
    for optimizer in optimizers:
        optimizer.zero_grad()
    (loss_of_actor - config.entropy_coef * bonus + loss_of_critic).backward()
    for network, optimizer in zip((policy.actor, policy.critic), optimizers, strict=True):
        clip_grad_norm_(network.parameters(), config.max_grad_norm)
        optimizer.step()
    return {
        "actor_loss": loss_of_actor.item(),
        "critic_loss": loss_of_critic.item(),
        "entropy": bonus.item(),
        "explained_variance": explained_variance(val.detach(), ret),
    }


def train(
    config: Config,
    advantage: Callable = gae,
    actor_loss: Callable = losses.actor_loss,
    critic_loss: Callable = losses.critic_loss,
    step: Callable | None = None,
    progress: bool = True,
    callback: Callable | None = None,
    start: dict | None = None,
) -> Result:
    """Train by A2C; the learner's own functions may take the defaults' places.

    step            : `actor_critic_step`, or the learner's: then each update is one of those, on
                      single steps (lambda = 0, discrete actions), and the losses above are not used
    callback, start : see `pgcourse.record.Recorder`
    returns         : `pgcourse.record.Result`
    """
    seed_all(config.seed)
    collector = Collector(config.env, config.n_envs, config.seed, config.mask, **config.env_kwargs)
    actor = make_actor(collector.env, config.hidden, config.log_std)
    normalizer = make_normalizer(collector.env) if config.normalize_obs else None
    policy = ActorCritic(actor, make_critic(collector.env, config.hidden), normalizer)
    optimizers = (
        Adam(policy.actor.parameters(), config.actor_lr),
        Adam(policy.critic.parameters(), config.critic_lr),
    )
    parts = {"policy": policy, "actor_opt": optimizers[0], "critic_opt": optimizers[1]}
    recorder = Recorder(config, collector, policy, parts, progress, callback, start)
    if config.normalize_obs and start is None:  # as Burda et al. 2018, sec. 2.4, arXiv:1810.12894
        policy.observe(collector.collect(policy, config.n_steps))

    while not recorder.done():
        if config.anneal:
            left = 1 - recorder.steps / config.total_steps
            optimizers[0].lr, optimizers[1].lr = left * config.actor_lr, left * config.critic_lr
        data = collector.collect(policy, config.n_steps)
        if step is None:
            log = a2c_update(policy, optimizers, data, config, advantage, actor_loss, critic_loss)
        else:
            batch = {key: x[data["mask"]] for key, x in data.items()}  # [T, B] to single steps
            log = step(policy.actor, policy.critic, *optimizers, batch, config.gamma)
        policy.observe(data)  # after the update, which scores actions as they were drawn
        recorder.record(**log)
    return recorder.result()
