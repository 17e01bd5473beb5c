"""Soft actor-critic: learn from everything seen so far, and be paid for staying undecided.

    collect into the replay buffer -> soft target -> twin critics, actor, temperature -> polyak

source : Haarnoja et al. 2018a, arXiv:1801.01290; 2018b, arXiv:1812.05905 (automatic temperature)
"""

import copy
import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import ClassVar

import torch
from gymnasium.spaces import Box

from pgcourse import losses, networks
from pgcourse.distributions import squashed_gaussian_logp
from pgcourse.estimators import soft_q_target
from pgcourse.networks import SquashedActor, TwinQ
from pgcourse.optim import Adam, no_subnormals
from pgcourse.record import BaseConfig, Recorder, Result, seed_all
from pgcourse.replay import Replay
from pgcourse.rollout import Collector


@dataclass
class Config(BaseConfig):
    env: str = "Pendulum-v1"
    total_steps: int = 12_000
    n_envs: int = 8
    n_steps: int = 8  # per environment, between updates
    updates_per_step: float = 0.5  # updates for each environment step
    warmup: int = 512  # transitions in the buffer before the first update
    capacity: int = 100_000
    batch: int = 128
    lr: float = 3e-3
    gamma: float = 0.98
    tau: float = 0.02
    alpha: float = 1.0  # initial temperature, reward units per nat; tuned from there
    actor_every: int = 2  # critic updates for each update of actor and temperature
    hidden: tuple[int, ...] = (64, 64)
    reward_scale: float = 1.0

    TUNED: ClassVar = {"InvertedPendulum-v5": {"total_steps": 15_000}}

    def __post_init__(self):
        super().__post_init__()
        least = max(self.warmup, self.n_envs * self.n_steps)
        if self.capacity < least:
            raise ValueError(
                f"expected capacity to hold the warm-up and one collection ({least:,} transitions); "
                f"got {self.capacity:,}."
            )


def train(
    config: Config,
    target: Callable = soft_q_target,
    critic_loss: Callable = losses.sac_critic_loss,
    actor_loss: Callable = losses.sac_actor_loss,
    temperature_loss: Callable = losses.temperature_loss,
    polyak: Callable = networks.polyak_update,
    logp: Callable = squashed_gaussian_logp,
    progress: bool = True,
    callback: Callable | None = None,
    start: dict | None = None,
) -> Result:
    """Train by SAC; the learner's own functions may take the defaults' places.

    callback, start : see `pgcourse.record.Recorder`; a resumed run fills a new replay buffer first
    returns         : `pgcourse.record.Result`
    """
    seed_all(config.seed)
    collector = Collector(config.env, config.n_envs, config.seed, **config.env_kwargs)
    space = collector.env.single_action_space
    if not isinstance(space, Box):
        raise ValueError(f"SAC needs continuous actions; {config.env} has {space}. Try PPO or A2C.")
    if not networks.Bounds(space).bounded.all():
        raise ValueError(
            f"SAC's actions lie between two bounds; {config.env} has {space}. Give it bounds "
            "(gymnasium.wrappers.RescaleAction), or try PPO or A2C."
        )
    n_obs, n_act = math.prod(collector.env.single_observation_space.shape), math.prod(space.shape)
    actor, critic = SquashedActor(n_obs, space, config.hidden), TwinQ(n_obs, n_act, config.hidden)
    slow_critic = copy.deepcopy(critic).requires_grad_(False)
    temperature = torch.nn.ParameterDict({"log_alpha": torch.tensor(math.log(config.alpha))})
    log_alpha = temperature["log_alpha"]
    actor_opt, critic_opt = (Adam(net.parameters(), config.lr) for net in (actor, critic))
    alpha_opt = Adam([log_alpha], config.lr)
    parts = {
        "actor": actor,
        "critic": critic,
        "slow_critic": slow_critic,
        "temperature": temperature,
        "actor_opt": actor_opt,
        "critic_opt": critic_opt,
        "alpha_opt": alpha_opt,
    }
    recorder = Recorder(config, collector, actor, parts, progress, callback, start)
    replay, generator = Replay(config.capacity), collector.generator
    updates = max(1, round(config.updates_per_step * config.n_envs * config.n_steps))
    weights = list(actor.parameters())

    def update_critic(batch):
        with torch.no_grad():
            noise = actor.noise((config.batch,), generator)
            next_act, next_logp = actor.sample(batch["next_obs"], noise, logp)
            next_q = slow_critic(batch["next_obs"], next_act)
            rew, alpha = batch["rew"] * config.reward_scale, log_alpha.exp()
            y = target(rew, *next_q, next_logp, batch["terminated"], config.gamma, alpha)
        q1, q2 = critic(batch["obs"], batch["act"])
        loss = critic_loss(q1, q2, y)
        critic_opt.zero_grad()
        loss.backward()
        critic_opt.step()
        return {"critic_loss": loss.item(), "q": q1.mean().item()}

    def update_actor(batch):
        act, log_prob = actor.sample(batch["obs"], actor.noise((config.batch,), generator), logp)
        loss = actor_loss(log_prob, *critic(batch["obs"], act), log_alpha.exp())
        actor_opt.zero_grad()
        loss.backward(inputs=weights)  # the critic is only passed through
        actor_opt.step()
        alpha_opt.zero_grad()
        temperature_loss(log_alpha, log_prob.detach(), -n_act).backward()
        alpha_opt.step()
        entropy = -log_prob.mean().item()
        return {"actor_loss": loss.item(), "entropy": entropy, "alpha": log_alpha.exp().item()}

    log = {}
    with no_subnormals():  # a dead ReLU's, in Adam's moments
        while not recorder.done():
            replay.add(collector.collect(actor, config.n_steps))
            if replay.size >= config.warmup:
                for i in range(updates):
                    batch = replay.sample(config.batch, generator)
                    log |= update_critic(batch)
                    if i % config.actor_every == 0:
                        log |= update_actor(batch)
                    polyak(slow_critic, critic, config.tau)
            recorder.record(**log)
    return recorder.result()
