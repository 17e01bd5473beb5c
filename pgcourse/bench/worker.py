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

from pgcourse.bench.rows import our_config, their_settings
from pgcourse.bench.solve import UntilSolved, until_solved


def ours(terms, algo, env, seed):
    module, config = our_config(terms, algo, env, seed)
    return until_solved(module.train, config)


def theirs(terms, algo, env, seed):
    import stable_baselines3
    from stable_baselines3.common.callbacks import BaseCallback
    from stable_baselines3.common.env_util import make_vec_env

    settings = their_settings(terms, algo, env)
    make = getattr(stable_baselines3, settings.pop("algo"))
    total, n_envs = settings.pop("total_steps"), settings.pop("n_envs")
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
    model.learn(total, callback=Look())
    return until.row()


def warm_up():
    """First uses that load libraries: the optimizer's, LAPACK's, autograd's."""
    x = torch.nn.Linear(4, 4)
    torch.nn.init.orthogonal_(x.weight)
    optimizer = torch.optim.Adam(x.parameters())
    x(torch.randn(2, 4)).sum().backward()
    optimizer.step()


def main(side):
    warnings.filterwarnings("ignore")
    torch.set_num_threads(1)
    answers = os.fdopen(os.dup(1), "w")  # what libraries print must not mix with the answers
    os.dup2(2, 1)
    if side == "theirs":
        import stable_baselines3  # noqa: F401
    warm_up()
    if side == "ours":
        from pgcourse import a2c, a3c, ppo, reinforce, sac  # noqa: F401
    for line in sys.stdin:
        job = json.loads(line)
        answer = (ours if side == "ours" else theirs)(**job)
        print(json.dumps(answer), file=answers, flush=True)


if __name__ == "__main__":
    main(sys.argv[1])
