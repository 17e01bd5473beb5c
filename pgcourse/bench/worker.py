"""One side of the benchmark: reads jobs as JSON lines, trains until solved, answers with a JSON line.

Both sides run this file, each in its own environment, with everything imported and warmed up before
the first clock starts.
"""

import importlib
import json
import os
import sys
import warnings

import numpy as np
import torch

from pgcourse.bench import plain
from pgcourse.bench.rows import SBX, TEXTBOOK, TIANSHOU, TIANSHOU_PPO, our_config, their_settings
from pgcourse.bench.solve import PeerPolicy, Stopwatch, UntilSolved, until_solved
from pgcourse.bench.steady import Pace, products
from pgcourse.optim import Adam


def ours(terms, algo, env, peer, seed, span=None):
    module, config = our_config(terms, algo, env, seed)
    if span is None:
        return until_solved(module.train, config)
    pace = Pace(*span)
    module.train(config, progress=False, callback=pace)
    return pace.row() | {"products": products(algo, env, config)}


def theirs(terms, algo, env, peer, seed, span=None):
    until = UntilSolved(env) if span is None else Pace(*span)
    if peer == TEXTBOOK:
        plain.reinforce(env, seed, until)
    elif peer == TIANSHOU:
        tianshou_ppo(env, seed, until)
    else:
        stable_baselines(peer, their_settings(terms, algo, env), env, seed, until)
    return until.row()


def stable_baselines(peer, settings, env, seed, until):
    """Train Stable-Baselines3, or SBX, which has the same face."""
    from stable_baselines3.common.callbacks import BaseCallback
    from stable_baselines3.common.env_util import make_vec_env

    library = importlib.import_module("sbx" if peer == SBX else "stable_baselines3")
    make = getattr(library, settings.pop("algo"))
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

    def decide(obs):
        return torch.as_tensor(model.predict(obs.numpy(), deterministic=True)[0])

    class Look(BaseCallback):
        def _on_step(self):
            recent = [info["r"] for info in self.model.ep_info_buffer][-20:]
            mean = np.mean(recent) if recent else np.nan
            return not until.look(PeerPolicy(decide), self.num_timesteps, mean)

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


def tianshou_ppo(env, seed, until):
    import gymnasium as gym
    from tianshou.algorithm import PPO
    from tianshou.algorithm.modelfree.reinforce import DiscreteActorPolicy
    from tianshou.algorithm.optim import AdamOptimizerFactory
    from tianshou.data import Collector, VectorReplayBuffer
    from tianshou.env import DummyVectorEnv
    from tianshou.trainer import OnPolicyTrainerParams
    from tianshou.utils.net.common import Net
    from tianshou.utils.net.discrete import DiscreteActor, DiscreteCritic

    s = TIANSHOU_PPO
    np.random.seed(seed)
    torch.manual_seed(seed)
    space = gym.make(env)
    envs = DummyVectorEnv([lambda: gym.make(env) for _ in range(s["n_envs"])])
    envs.seed(seed)
    shared = Net(state_shape=space.observation_space.shape, hidden_sizes=s["hidden"])
    actor = DiscreteActor(preprocess_net=shared, action_shape=space.action_space.n)
    critic = DiscreteCritic(preprocess_net=shared)
    for layer in (*actor.modules(), *critic.last.modules()):
        if isinstance(layer, torch.nn.Linear):
            torch.nn.init.orthogonal_(layer.weight)
            torch.nn.init.zeros_(layer.bias)
    policy = DiscreteActorPolicy(
        actor=actor, dist_fn=torch.distributions.Categorical, action_space=space.action_space
    )
    algorithm = PPO(
        policy=policy, critic=critic, optim=AdamOptimizerFactory(lr=s["lr"]), **s["algorithm"]
    )
    n_collect = s["n_envs"] * s["n_steps"]
    buffer = VectorReplayBuffer(20_000, s["n_envs"])
    lengths = []

    class Solved(Exception):
        pass

    class Watched(Collector):
        """Tells the returns of the episodes that ended in each collect."""

        def collect(self, *args, **keywords):
            stats = super().collect(*args, **keywords)
            lengths.extend(stats.returns)
            return stats

    @torch.no_grad()
    def decide(obs):
        return actor(obs)[0].argmax(-1)

    def look(epoch, steps):
        if until.look(PeerPolicy(decide), steps, np.mean(lengths[-20:]) if lengths else np.nan):
            raise Solved

    params = OnPolicyTrainerParams(
        training_collector=Watched(algorithm, envs, buffer),
        max_epochs=s["total_steps"] // 50_000,
        epoch_num_steps=50_000,
        collection_step_num_env_steps=n_collect,
        update_step_num_repetitions=s["epochs"],
        batch_size=s["batch"],
        training_fn=look,
        verbose=False,
        show_progress=False,
    )
    try:
        algorithm.run_training(params)
    except Solved:
        pass


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
        import tianshou  # noqa: F401
    elif side == SBX:
        import sbx  # noqa: F401
    else:
        from pgcourse import a2c, a3c, ppo, reinforce, sac  # noqa: F401
    print(json.dumps(first_use(side)), file=answers, flush=True)
    for line in sys.stdin:
        job = json.loads(line)
        answer = (ours if side == "ours" else theirs)(**job)
        print(json.dumps(answer), file=answers, flush=True)


if __name__ == "__main__":
    main(sys.argv[1])
