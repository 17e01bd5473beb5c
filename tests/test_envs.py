"""Vectorized environments: ours equals Gymnasium's, and what we cannot serve is refused in words."""

import gymnasium as gym
import numpy as np
import pytest

from pgcourse.envs import make_vector


def final(obs, ended, info):
    """What each environment saw last, also where the next episode has begun."""
    return np.where(ended[:, None], info["final_obs"], obs) if ended.any() else obs


@pytest.mark.parametrize(
    "name, limit", [("CartPole-v1", 50), ("Pendulum-v1", 200), ("Acrobot-v1", 500)]
)
def test_ours_equals_gymnasiums_step_by_step(name, limit):
    """Gymnasium's own environment, put into our states, must go where ours goes."""
    n = 5
    ours = make_vector(name, n, max_episode_steps=limit)
    ours.reset(seed=3)
    theirs = [gym.make(name, max_episode_steps=limit) for _ in range(n)]

    for i, env in enumerate(theirs):
        env.reset()
        env.unwrapped.state = ours.state[i].copy()
    rng, over = np.random.default_rng(0), np.zeros(n, dtype=bool)
    for t in range(limit):
        if name == "Pendulum-v1":
            act = rng.uniform(-3, 3, (n, 1)).astype(np.float32)  # also beyond the limits
        elif name == "CartPole-v1":  # the first ones are balanced, the others fall
            random = rng.integers(0, 2, n)
            right = (ours.state[:, 2] + ours.state[:, 3] > 0).astype(int)
            act = np.where(np.arange(n) < 2, right, random)
        else:  # swing the first ones up, so that some terminate: torque along the joint's speed
            random = rng.integers(0, 3, n)
            act = np.where(np.arange(n) < 3, np.sign(ours.state[:, 3]).astype(int) + 1, random)
        obs, rew, terminated, truncated, info = ours.step(act)
        ended = terminated | truncated
        obs = final(obs, ended, info)
        for i, env in enumerate(theirs):
            if over[i]:
                continue
            want_obs, want_rew, want_terminated, want_truncated, _ = env.step(act[i])
            np.testing.assert_allclose(obs[i], want_obs, atol=1e-4)
            np.testing.assert_allclose(rew[i], want_rew, atol=1e-5)
            assert (terminated[i], truncated[i]) == (want_terminated, want_truncated), t
            env.unwrapped.state = ours.state[i].copy()  # chaos: rounding must not add up
        over |= ended
        if name == "Pendulum-v1" and t < limit - 1:
            assert not over.any()
    assert over.all()


@pytest.mark.parametrize("name", ["CartPole-v1", "Pendulum-v1", "Acrobot-v1"])
def test_an_ended_episode_begins_anew_in_the_same_step(name):
    env = make_vector(name, 2, max_episode_steps=3)
    first, _ = env.reset(seed=0)
    act = np.ones((2, 1), dtype=np.float32) if name == "Pendulum-v1" else np.array([1, 1])
    for episode in range(3):
        for _ in range(2):
            last, rew, terminated, truncated, info = env.step(act)
            assert not terminated.any() and not truncated.any() and not info
        obs, last_rew, terminated, truncated, info = env.step(act)
        assert truncated.all() and info["_final_obs"].all() and (last_rew != 0).all()
        assert np.abs(info["final_obs"] - last).max() < np.abs(obs - last).max()
        assert not np.allclose(obs, first)  # another start
        assert env.observation_space.contains(obs) and (env.steps == 0).all(), episode


def test_episodes_start_where_gymnasiums_start():
    env = make_vector("Pendulum-v1", 4000)
    env.reset(seed=0)
    theta, speed = env.state.T
    assert abs(theta.mean()) < 0.1 and abs(theta.std() - np.pi / np.sqrt(3)) < 0.05
    assert abs(speed.std() - 1 / np.sqrt(3)) < 0.02
    env = make_vector("Acrobot-v1", 4000)
    env.reset(seed=0)
    assert np.abs(env.state).max() <= 0.1 and abs(env.state.std() - 0.1 / np.sqrt(3)) < 0.002
    env = make_vector("CartPole-v1", 4000)
    env.reset(seed=0)
    assert np.abs(env.state).max() <= 0.05 and abs(env.state.std() - 0.05 / np.sqrt(3)) < 0.001


def test_the_same_seed_gives_the_same_start():
    starts = [make_vector(name, 3).reset(seed=7)[0] for name in ("Pendulum-v1", "Pendulum-v1")]
    np.testing.assert_array_equal(*starts)
    theirs = gym.make_vec("CartPole-v1", 3, vectorization_mode="vector_entry_point")
    np.testing.assert_array_equal(
        make_vector("CartPole-v1", 3).reset(seed=7)[0], theirs.reset(seed=7)[0]
    )


@pytest.mark.parametrize("number", range(1, 6))
def test_probes_pay_as_their_table_says(number):
    env = gym.make(f"pgcourse/Probe{number}-v0").unwrapped
    smooth = gym.make(f"pgcourse/ContinuousProbe{number}-v0").unwrapped
    seen = set()
    for seed in range(6):
        for act in (0, 1):
            obs, _ = env.reset(seed=seed)
            start, total, steps, terminated = float(obs[0]), 0.0, 0, False
            while not terminated:
                obs, rew, terminated, truncated, _ = env.step(act)
                total, steps = total + rew, steps + 1
                assert not truncated
            wanted = {1: 1, 2: start, 3: 1, 4: 2 * act - 1, 5: start * (2 * act - 1)}[number]
            assert total == wanted and steps == (2 if number == 3 else 1)
            seen.add(total)
    assert len(seen) == (1 if number in (1, 3) else 2)
    if number in (4, 5):  # the best continuous action pays 1, a worse one less
        obs, _ = smooth.reset(seed=0)
        best = 0.5 if number == 4 else 0.5 * obs[0]
        assert smooth.step(np.array([best]))[1] == pytest.approx(1.0)
        smooth.reset(seed=0)
        assert smooth.step(np.array([-best]))[1] < 0.5


def test_an_unknown_environment_is_refused_by_name():
    with pytest.raises(ValueError, match="NoSuchThing-v1"):
        make_vector("NoSuchThing-v1", 2)
