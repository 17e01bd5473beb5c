"""Collection: truncation, the true final observation under every autoreset mode, honest evaluation."""

import gymnasium as gym
import numpy as np
import pytest
import torch
from gymnasium import spaces
from gymnasium.vector import AutoresetMode, SyncVectorEnv

from pgcourse.estimators import gae, td_target
from pgcourse.networks import make_actor
from pgcourse.rollout import Collector, evaluate


class Count(gym.Env):
    """Counts its steps; terminates at `end`. Each episode has its own id in the observation."""

    observation_space = spaces.Box(-np.inf, np.inf, (2,))
    action_space = spaces.Discrete(2)

    def __init__(self, end=3):
        self.end, self.episode = end, 0

    def reset(self, *, seed=None, options=None):
        super().reset(seed=seed)
        self.t, self.episode = 0, self.episode + 1
        return self.obs(), {}

    def step(self, action):
        self.t += 1
        return self.obs(), float(self.t), self.t >= self.end, False, {}

    def obs(self):
        return np.array([self.episode, self.t], dtype=np.float32)


gym.register("test/Count-v0", Count)
gym.register("test/Cut-v0", Count, kwargs={"end": 10**9}, max_episode_steps=3)


def collector(name, mode, n=2):
    """A collector on environments with another autoreset mode than make_vector would choose."""
    made = Collector(name, n, seed=0)
    made.env = SyncVectorEnv([lambda: gym.make(name)] * n, autoreset_mode=mode)
    made.mode = mode
    made.obs = made.flat(made.env.reset(seed=0)[0])
    return made


@pytest.mark.parametrize("mode", list(AutoresetMode))
@pytest.mark.parametrize("name", ["test/Count-v0", "test/Cut-v0"])
def test_every_mode_tells_the_same_story(name, mode):
    c = collector(name, mode)
    data = c.collect(make_actor(c.env, (4,)), 9)
    mask = data["mask"]
    # a step leads to the next count of the SAME episode, also when it is the last
    assert (data["next_obs"][mask][:, 0] == data["obs"][mask][:, 0]).all()
    assert (data["next_obs"][mask][:, 1] == data["obs"][mask][:, 1] + 1).all()
    assert (data["rew"][mask] == data["next_obs"][mask][:, 1]).all()
    assert torch.equal(data["ended"][mask], data["next_obs"][mask][:, 1] == 3)
    assert torch.equal(data["terminated"], data["ended"] & (name == "test/Count-v0"))
    assert mask.all() == (mode != AutoresetMode.NEXT_STEP)
    assert c.steps == mask.sum()
    assert {ret for _, ret in c.finished()} == {6.0}  # 1 + 2 + 3


def test_a_cut_off_state_keeps_its_value():
    """The bias of the usual mistake, as a number. Reward 1 for ever, cut every 5 steps: V = 1/(1-g).

    TD on the true flags has that fixed point. With truncation taken for termination, the same
    recursion settles on the value of a task that ends, far too low.
    """
    gamma, steps = 0.9, 5
    truth = 1 / (1 - gamma)

    def fixed_point(wrong):
        val = torch.zeros(steps)
        for _ in range(500):  # V of each time within the episode; the end leads to a same state
            cut = torch.arange(steps) == steps - 1
            next_val = torch.where(cut, val.mean(), val.roll(-1))
            terminated = cut if wrong else torch.zeros(steps, dtype=torch.bool)
            val = td_target(torch.ones(steps), next_val, terminated, gamma)
        return val.mean().item()

    assert fixed_point(wrong=False) == pytest.approx(truth, rel=1e-3)
    assert fixed_point(wrong=True) < 0.4 * truth


@pytest.mark.parametrize("mode", [AutoresetMode.NEXT_STEP, AutoresetMode.SAME_STEP])
def test_advantages_bootstrap_from_the_final_observation(mode):
    """With V(s) = time, GAE at the cut must use V(final) = 3 and never V(reset) = 0."""
    c = collector("test/Cut-v0", mode, n=1)
    data = c.collect(make_actor(c.env, (4,)), 6)
    val, next_val = data["obs"][..., 1], data["next_obs"][..., 1]
    adv = gae(data["rew"], val, next_val, data["terminated"], data["ended"], 0.5, 0.0)
    t = data["obs"][..., 1]
    expected = (t + 1) + 0.5 * (t + 1) - t
    torch.testing.assert_close(adv[data["mask"]], expected[data["mask"]])


def test_one_whole_episode_each():
    c = Collector("test/Count-v0", 3, seed=0)
    c.collect(make_actor(c.env, (4,)), 2)  # begin somewhere in the middle
    c.finished()
    data = c.collect_episodes(make_actor(c.env, (4,)))
    assert (data["mask"].sum(0) == 3).all()
    assert (data["obs"][0, :, 1] == 0).all()
    assert [ret for _, ret in c.finished()] == [6.0] * 3


def test_short_episodes_are_not_favored():
    """The mean over one episode each is the true mean; the first N to end would be short ones."""
    c = Collector("CartPole-v1", 200, seed=0)
    actor = make_actor(c.env, (4,))
    c.collect_episodes(actor)
    lengths = np.array([ret for _, ret in c.finished()])
    assert abs(lengths.mean() - 22.3) < 3  # a random policy's known mean


def test_the_same_seed_collects_the_same():
    runs = []
    for _ in range(2):
        torch.manual_seed(0)
        c = Collector("CartPole-v1", 4, seed=5)
        runs.append(c.collect(make_actor(c.env, (4,)), 40))
    assert all(torch.equal(runs[0][key], runs[1][key]) for key in runs[0])


def test_evaluation_counts_each_episode_once():
    class Still:
        def act(self, obs, deterministic, noise=None):
            assert deterministic
            return torch.zeros(len(obs), dtype=torch.int64)

        def to_env(self, act):
            return act.numpy()

    assert evaluate(Still(), "test/Count-v0", episodes=7).tolist() == [6.0] * 7


def test_evaluation_draws_actions_when_asked():
    """A policy that mostly stands still, and without noise always: its drawn actions do not repeat it."""

    class Doubtful:
        def noise(self, shape, generator):
            return torch.rand(*shape, generator=generator)

        def act(self, obs, deterministic, noise=None):
            assert deterministic == (noise is None)
            push_right = obs[:, 2] + obs[:, 3] > 0  # toward where the pole falls
            return (push_right if deterministic else push_right ^ (noise < 0.4)).long()

        def to_env(self, act):
            return act.numpy()

    greedy, drawn, again, other = (
        evaluate(Doubtful(), "CartPole-v1", 50, **how)
        for how in [{}, *[{"deterministic": False}] * 2, {"deterministic": False, "seed": 1}]
    )
    assert greedy.mean() > 2 * drawn.mean()
    assert drawn.tolist() == again.tolist() != other.tolist()


def test_images_are_flattened_and_integers_become_floats():
    class Picture(Count):
        observation_space = spaces.Box(0, 255, (2, 3), dtype=np.uint8)

        def obs(self):
            return np.full((2, 3), self.t, dtype=np.uint8)

    gym.register("test/Picture-v0", Picture)
    c = Collector("test/Picture-v0", 2, seed=0)
    data = c.collect(make_actor(c.env, (4,)), 3)
    assert data["obs"].shape == (3, 2, 6) and data["obs"].dtype == torch.float32
