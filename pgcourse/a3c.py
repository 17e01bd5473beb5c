"""Asynchronous advantage actor-critic (A3C): processes that train one shared network, lock-free.

    each worker, for itself:  pull weights -> collect -> advantage -> loss -> push gradients

The weights and the optimizer's moments lie in shared memory. A worker differentiates its own copy,
copies the gradients to the shared network and steps it while others do the same (Hogwild). With
more than one worker a run cannot be repeated bit for bit: who comes first is up to the machine.

source : Mnih et al. 2016, algorithm S3, arXiv:1602.01783; Recht et al. 2011 (Hogwild)
"""

import copy
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import nn

from pgcourse import losses
from pgcourse.crew import Crew
from pgcourse.envs import make_vector
from pgcourse.estimators import gae, normalize_advantage
from pgcourse.networks import ActorCritic, make_actor, make_critic
from pgcourse.optim import Adam, Optimizer, clip_grad_norm_
from pgcourse.record import BaseConfig, Recorder, Result, seed_all
from pgcourse.rollout import Collector


@dataclass
class Config(BaseConfig):
    total_steps: int = 100_000
    n_workers: int = 2
    n_envs: int = 8  # of each worker
    n_steps: int = 32  # per environment and update
    actor_lr: float = 1.5e-3
    critic_lr: float = 1e-2
    gamma: float = 0.97
    lam: float = 0.9
    entropy_coef: float = 0.0
    max_grad_norm: float = 10.0
    normalize: bool = True
    hidden: tuple[int, ...] = (128,)
    log_std: float = 0.0
    reward_scale: float = 1.0

    TUNED: ClassVar = {}


def a3c_push_gradients(local: nn.Module, shared: nn.Module, optimizer: Optimizer) -> None:
    """One asynchronous worker's update of the network that all workers share.

    1. Give each shared parameter a copy of the local parameter's gradient, in place of whatever
       gradient it had (a copy: the two networks must not share gradient memory).
    2. Step the optimizer, which moves the shared parameters.
    3. Clear the local gradients, so that the next backward pass starts from nothing.

    The local parameters are not touched: pulling the new weights is the worker's next move.

    local     : the worker's module, after loss.backward()
    shared    : a module of the same shape, in shared memory
    optimizer : over shared.parameters()
    returns   : None
    note      : a local parameter without a gradient (None) leaves the shared one without
    source    : Mnih et al. 2016, algorithm S3, arXiv:1602.01783
    """
    for mine, theirs in zip(local.parameters(), shared.parameters(), strict=True):
        theirs.grad = None if mine.grad is None else mine.grad.clone()
    optimizer.step()
    local.zero_grad()


def work(
    index: int,
    crew: Crew,
    config: Config,
    shared: ActorCritic,
    optimizers: Sequence[Optimizer],
    push: Callable,
    advantage: Callable,
    actor_loss: Callable,
    critic_loss: Callable,
) -> None:
    """One worker's life: algorithm S3, until all workers together have made enough steps."""
    seed_all(config.seed + index)
    collector = Collector(
        config.env, config.n_envs, config.seed + 1000 * index, **config.env_kwargs
    )
    local = copy.deepcopy(shared)
    while crew.goes_on(index):
        local.load_state_dict(shared.state_dict())
        data = collector.collect(local, config.n_steps)
        mask = data["mask"]
        logp, ent, val = local.evaluate(data["obs"], data["act"])
        with torch.no_grad():
            next_val = local.value(data["next_obs"])
        flags = data["terminated"], data["ended"]
        rew = data["rew"] * config.reward_scale
        adv = advantage(rew, val.detach(), next_val, *flags, config.gamma, config.lam)
        ret = (adv + val).detach()[mask]
        scaled = normalize_advantage(adv[mask]) if config.normalize else adv[mask]
        policy_loss, value_loss = actor_loss(logp[mask], scaled), critic_loss(val[mask], ret)
        bonus = ent[mask].mean()
        (policy_loss - config.entropy_coef * bonus + value_loss).backward()
        for name, optimizer in optimizers.items():
            mine, theirs = getattr(local, name), getattr(shared, name)
            clip_grad_norm_(mine.parameters(), config.max_grad_norm)
            push(mine, theirs, optimizer)
        log = {"actor_loss": policy_loss.item(), "critic_loss": value_loss.item()}
        crew.tell(index, collector, {**log, "entropy": bonus.item()})


def train(
    config: Config,
    push: Callable = a3c_push_gradients,
    advantage: Callable = gae,
    actor_loss: Callable = losses.actor_loss,
    critic_loss: Callable = losses.critic_loss,
    progress: bool = True,
    callback: Callable | None = None,
    start: dict | None = None,
) -> Result:
    """Train by A3C; the learner's own functions may take the defaults' places.

    callback, start : see `pgcourse.record.Recorder`; while a callback looks, the workers wait: what
                      it saw is what is returned
    returns         : `pgcourse.record.Result`
    raises          : RuntimeError if a worker fails or dies; no process is left behind
    """
    seed_all(config.seed)
    env = make_vector(config.env, 1, **config.env_kwargs)
    actor = make_actor(env, config.hidden, config.log_std)
    shared = ActorCritic(actor, make_critic(env, config.hidden))
    optimizers = {
        "actor": Adam(shared.actor.parameters(), config.actor_lr).share_memory(),
        "critic": Adam(shared.critic.parameters(), config.critic_lr).share_memory(),
    }
    # Paused by steps and not by seconds: then a busy machine gives a callback no fewer looks.
    round_of_updates = 2 * config.n_workers * config.n_envs * config.n_steps
    pause_every = None if callback is None else round_of_updates
    crew = Crew(config.n_workers, config.total_steps, config.seed, pause_every)
    parts = {"policy": shared, **{f"{name}_opt": opt for name, opt in optimizers.items()}}
    recorder = Recorder(config, crew, shared, parts, progress, callback, start)

    if recorder.done():  # a finished run, loaded
        return recorder.result()
    with crew.at_work(work, config, shared, optimizers, push, advantage, actor_loss, critic_loss):
        while crew.listen(seconds=0.1):
            if crew.log and (pause_every is None or crew.paused()):
                recorder.record(**crew.log)
                if recorder.stopped:
                    return recorder.result()
            crew.resume()
    recorder.record(**crew.log)
    return recorder.result()
