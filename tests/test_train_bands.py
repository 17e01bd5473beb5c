"""Every algorithm solves its task, by an honest evaluation, within the steps that it is given.

Two seeds each here; `make bench` measures more.
"""

import numpy as np
import pytest

from pgcourse import a2c, a3c, ppo, reinforce, sac
from pgcourse.bench.solve import THRESHOLD, until_solved
from pgcourse.rollout import evaluate

TASKS = [
    ("reinforce", reinforce, "CartPole-v1", {}),
    ("baseline", reinforce, "CartPole-v1", {"baseline": True}),
    ("a2c", a2c, "CartPole-v1", {}),
    ("a3c", a3c, "CartPole-v1", {}),
    ("ppo", ppo, "CartPole-v1", {}),
    ("ppo", ppo, "Pendulum-v1", {}),
    ("ppo", ppo, "Acrobot-v1", {}),
    ("sac", sac, "Pendulum-v1", {}),
]


@pytest.mark.slow
@pytest.mark.parametrize("name, module, env, changes", TASKS, ids=lambda x: str(x)[:12])
@pytest.mark.parametrize("seed", [0, 1])
def test_it_solves_its_task(name, module, env, changes, seed):
    config = module.Config.tuned(env, seed=seed, **changes)
    row = until_solved(module.train, config)
    assert row["steps"] is not None, f"{name} did not solve {env} in {config.total_steps} steps"
    assert row["steps"] <= config.total_steps * 1.2


def test_an_untrained_policy_is_not_solved():
    """The evaluation can fail."""
    for env in {env for _, _, env, _ in TASKS}:
        config = ppo.Config.tuned(env, n_envs=2, n_steps=4, epochs=1, minibatches=1, total_steps=1)
        policy = ppo.train(config, progress=False).policy
        assert np.mean(evaluate(policy, env, episodes=5)) < THRESHOLD[env]
