"""One side of the benchmark: reads jobs as JSON lines, trains until solved, answers with a JSON line.

Both sides run this file, each in its own environment, with everything imported and warmed up before
the first clock starts.
"""

import json
import os
import sys
import warnings

import numpy as np
import torch

from pgcourse.bench import plain
from pgcourse.bench.rows import our_config, their_settings
from pgcourse.bench.solve import Stopwatch, UntilSolved, until_solved
from pgcourse.optim import Adam


def ours(terms, algo, env, seed):
    module, config = our_config(terms, algo, env, seed)
    return until_solved(module.train, config)


def theirs(terms, algo, env, seed):
    if algo == "reinforce":
        until = UntilSolved(env)
        plain.reinforce(env, seed, until)
        return until.row()
    return stable_baselines(terms, algo, env, seed)


def stable_baselines(terms, algo, env, seed):
    import stable_baselines3
    from stable_baselines3.common.callbacks import BaseCallback
    from stable_baselines3.common.env_util import make_vec_env

    settings = their_settings(terms, algo, env)
    make = getattr(stable_baselines3, settings.pop("algo"))
    total, n_envs = settings.pop("total_steps"), settings.pop("n_envs")
    critic_lr = settings.pop("critic_lr", None)
    for key in ("learning_rate", "clip_range"):
        if isinstance(settings.get(key), str):
            first = float(settings[key].split()[1])
            settings[key] = lambda left, first=first: left * first
    policy = {}
    if "net_arch" in settings:
        policy["net_arch"] = settings.pop("net_arch")
    if "log_std_init" in settings:
        policy["log_std_init"] = settings.pop("log_std_init")
    until = UntilSolved(env)

    class Adapter:
        """Their policy behind our evaluation: the same episodes for both sides."""

        def __init__(self, model):
            self.model = model

        def act(self, obs, deterministic, noise=None):
            return torch.as_tensor(self.model.predict(obs.numpy(), deterministic=True)[0])

        def to_env(self, act):
            return act.numpy()

    class Look(BaseCallback):
        def _on_step(self):
            recent = [info["r"] for info in self.model.ep_info_buffer][-20:]
            mean = np.mean(recent) if recent else np.nan
            return not until.look(Adapter(self.model), self.num_timesteps, mean)

    model = make(
        "MlpPolicy",
        make_vec_env(env, n_envs, seed=seed),
        seed=seed,
        device="cpu",
        policy_kwargs=policy,
        **settings,
    )
    if critic_lr:
        two_learning_rates(model, settings["learning_rate"], critic_lr)
    model.learn(total, callback=Look())
    return until.row()


def two_learning_rates(model, actor_lr, critic_lr):
    """Give Stable-Baselines3's one optimizer a rate of its own for the critic."""
    policy = model.policy
    critic = [*policy.mlp_extractor.value_net.parameters(), *policy.value_net.parameters()]
    actor = [p for p in policy.parameters() if all(p is not q for q in critic)]
    groups = [{"params": actor, "lr": actor_lr}, {"params": critic, "lr": critic_lr}]
    policy.optimizer = torch.optim.Adam(groups, eps=1e-5)
    model._update_learning_rate = lambda optimizers: None  # it would set both to one


def first_use(side):
    """CPU seconds of the first step, which loads libraries: paid once, and kept out of the rows."""
    watch = Stopwatch()
    x = torch.nn.Linear(4, 4)
    torch.nn.init.orthogonal_(x.weight)
    optimizer = (Adam if side == "ours" else torch.optim.Adam)(x.parameters(), 1e-3)
    x(torch.randn(2, 4)).sum().backward()
    optimizer.step()
    watch.pause()
    return watch.cpu


def main(side):
    warnings.filterwarnings("ignore")
    torch.set_num_threads(1)
    answers = os.fdopen(os.dup(1), "w")  # what libraries print must not mix with the answers
    os.dup2(2, 1)
    if side == "theirs":
        import stable_baselines3  # noqa: F401
    else:
        from pgcourse import a2c, a3c, ppo, reinforce, sac  # noqa: F401
    print(json.dumps(first_use(side)), file=answers, flush=True)
    for line in sys.stdin:
        job = json.loads(line)
        answer = (ours if side == "ours" else theirs)(**job)
        print(json.dumps(answer), file=answers, flush=True)


if __name__ == "__main__":
    main(sys.argv[1])
