"""REINFORCE: play whole episodes, then make each action more probable by the return that followed.

    collect whole episodes -> returns (minus a learned baseline, by option) -> loss -> step

A time limit is part of the task here: a Monte-Carlo return is what the episode paid, and there is
no value of the cut-off state to add (lesson 4 has one).

As is usual, the loss leaves out gamma^t and is a mean over all steps of the batch; lesson 2 shows what that does.

source : Williams 1992; Sutton & Barto 2018, sec. 13.3 and 13.4
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import ClassVar

from pgcourse.estimators import discounted_returns, normalize_advantage, with_baseline
from pgcourse.losses import reinforce_loss, value_regression_loss
from pgcourse.networks import make_actor, make_critic
from pgcourse.optim import Adam
from pgcourse.record import BaseConfig, Recorder, Result, explained_variance, seed_all
from pgcourse.rollout import Collector


@dataclass
class Config(BaseConfig):
    n_envs: int = 16  # episodes per step of the optimizer
    lr: float = 1e-2
    gamma: float = 0.98
    baseline: bool = False  # subtract a learned V(s)
    baseline_lr: float = 1e-2
    baseline_epochs: int = 4  # steps of the baseline per step of the policy
    normalize: bool = False  # give what multiplies the score mean 0 and standard deviation 1
    hidden: tuple[int, ...] = (32,)

    TUNED: ClassVar = {"CartPole-v1": {"n_envs": 8, "normalize": True, "hidden": (128,)}}


def train(
    config: Config,
    returns: Callable = discounted_returns,
    loss: Callable = reinforce_loss,
    advantage: Callable = with_baseline,
    value_loss: Callable = value_regression_loss,
    normalize: Callable = normalize_advantage,
    progress: bool = True,
    callback: Callable | None = None,
    start: dict | None = None,
) -> Result:
    """Train by REINFORCE; the learner's own functions may take the defaults' places.

    callback, start : see `pgcourse.record.Recorder`
    returns         : `pgcourse.record.Result`
    """
    seed_all(config.seed)
    collector = Collector(config.env, config.n_envs, config.seed, **config.env_kwargs)
    actor = make_actor(collector.env, config.hidden)
    critic = make_critic(collector.env, config.hidden)
    actor_opt = Adam(actor.parameters(), config.lr)
    critic_opt = Adam(critic.parameters(), config.baseline_lr)
    parts = {"actor": actor, "critic": critic, "actor_opt": actor_opt, "critic_opt": critic_opt}
    recorder = Recorder(config, collector, actor, parts, progress, callback, start)

    while not recorder.done():
        data = collector.collect_episodes(actor)
        mask, log = data["mask"], {}
        ret = returns(data["rew"], data["ended"], config.gamma)[mask]  # [steps of all episodes]
        obs, act, weight = data["obs"][mask], data["act"][mask], ret
        if config.baseline:
            val = critic(obs)
            weight = advantage(ret, val)
            log["explained_variance"] = explained_variance(val.detach(), ret)
        if config.normalize:
            weight = normalize(weight)

        logp, ent = actor.evaluate(obs, act)
        policy_loss = loss(logp, weight)
        actor_opt.zero_grad()
        policy_loss.backward()
        actor_opt.step()
        if config.baseline:
            for _ in range(config.baseline_epochs):
                critic_opt.zero_grad()
                value_loss(critic(obs), ret).backward()
                critic_opt.step()
        recorder.record(policy_loss=policy_loss.item(), entropy=ent.mean().item(), **log)
    return recorder.result()
