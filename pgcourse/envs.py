"""Environments by name, many at once: `make_vector("CartPole-v1", 32)`; and five probes.

A probe is an environment so small that each isolates one fault (after Andy Jones 2021, "Debugging
reinforcement learning systems"): an agent that fails probe 1 has a broken critic loss, one that
passes 1 to 4 and fails 5 does not connect observation, action and reward.
"""

import gymnasium as gym
import numpy as np
from gymnasium import spaces
from gymnasium.vector import AutoresetMode, VectorEnv
from gymnasium.vector.utils import batch_space


def make_vector(name, n_envs, **kwargs):
    """`n_envs` copies of a Gymnasium environment that step as one.

    Gymnasium's own vectorized version where it has one (CartPole), ours for Pendulum, else
    SyncVectorEnv. Keywords go to the environment.
    raises : ValueError, in plain words, for an unknown name or a space no algorithm here supports
    """
    name = {"Pendulum-v1": "pgcourse/Pendulum-v1"}.get(name, name)
    try:
        vectorized = gym.spec(name).vector_entry_point is not None
        if not vectorized:
            kwargs = {"disable_env_checker": True, **kwargs}
        env = gym.make_vec(name, num_envs=n_envs, **kwargs)
    except gym.error.DependencyNotInstalled as error:
        raise ValueError(f"{name} needs a package that is not installed: {error}") from error
    except gym.error.Error as error:
        raise ValueError(f"Gymnasium has no environment {name!r}: {error}") from error
    check_spaces(name, env.single_observation_space, env.single_action_space)
    return env


def check_spaces(name, obs_space, act_space):
    """Raise ValueError unless observations are a Box and actions a Discrete or a float Box."""
    if not isinstance(obs_space, spaces.Box):
        raise ValueError(
            f"{name}: observations are {obs_space}; only Box (arrays of numbers) is supported. "
            "Wrap it, for example with gymnasium.wrappers.FlattenObservation."
        )
    continuous = isinstance(act_space, spaces.Box) and np.issubdtype(act_space.dtype, np.floating)
    if not continuous and not isinstance(act_space, spaces.Discrete):
        raise ValueError(
            f"{name}: actions are {act_space}; only Discrete and Box (real numbers) are supported."
        )


class VectorPendulum(VectorEnv):
    """Pendulum-v1, stepped as one numpy batch: the same equations, the same 200-step limit."""

    metadata = {"render_modes": [], "autoreset_mode": AutoresetMode.NEXT_STEP}

    def __init__(self, num_envs=1, max_episode_steps=200, g=10.0):
        self.num_envs, self.max_episode_steps, self.g = num_envs, max_episode_steps, g
        high = np.array([1.0, 1.0, 8.0], dtype=np.float32)
        self.single_observation_space = spaces.Box(-high, high)
        self.single_action_space = spaces.Box(-2.0, 2.0, (1,))
        self.observation_space = batch_space(self.single_observation_space, num_envs)
        self.action_space = batch_space(self.single_action_space, num_envs)

    def reset(self, *, seed=None, options=None):
        super().reset(seed=seed)
        self.theta, self.speed = self._start(self.num_envs)
        self.steps = np.zeros(self.num_envs, dtype=int)
        self.truncated = np.zeros(self.num_envs, dtype=bool)
        return self._obs(), {}

    def step(self, action):
        theta, speed = self.theta, self.speed
        torque = np.clip(np.asarray(action), -2.0, 2.0)[:, 0]
        angle = (theta + np.pi) % (2 * np.pi) - np.pi  # 0 is upright
        rew = -(angle**2 + 0.1 * speed**2 + 0.001 * torque**2)
        speed = np.clip(speed + (1.5 * self.g * np.sin(theta) + 3.0 * torque) * 0.05, -8, 8)
        theta = theta + speed * 0.05
        self.steps += 1

        again = self.truncated  # these were over: this step is their reset
        theta[again], speed[again] = self._start(again.sum())
        rew[again] = 0.0
        self.steps[again] = 0
        self.theta, self.speed = theta, speed
        self.truncated = self.steps >= self.max_episode_steps
        return self._obs(), rew, np.zeros(self.num_envs, dtype=bool), self.truncated, {}

    def _start(self, n):
        return self.np_random.uniform(-np.pi, np.pi, n), self.np_random.uniform(-1.0, 1.0, n)

    def _obs(self):
        parts = [np.cos(self.theta), np.sin(self.theta), self.speed]
        return np.stack(parts, axis=1).astype(np.float32)


class Probe(gym.Env):
    """Five one- or two-step environments, each the smallest that shows one fault.

    | number | observation | what earns the reward           | a failure points at                |
    |--------|-------------|---------------------------------|------------------------------------|
    | 1      | 0           | nothing: always 1               | the critic's loss or optimizer     |
    | 2      | -1 or +1    | the observation                 | the observation does not arrive    |
    | 3      | 0, then 1   | 1 on the second step            | discounting, bootstrapping         |
    | 4      | 0           | the action: +1 if right else -1 | the actor's loss, the advantage    |
    | 5      | -1 or +1    | +1 if the action matches it     | obs, act and rew are misaligned    |

    With `continuous=True` the action is a number in [-1, 1] and the reward falls with the square of
    its distance from the right one.
    """

    def __init__(self, number, continuous=False):
        if number not in (1, 2, 3, 4, 5):
            raise ValueError(f"expected a probe number from 1 to 5; got {number}.")
        self.number, self.continuous = number, continuous
        self.observation_space = spaces.Box(-1.0, 1.0, (1,))
        self.action_space = spaces.Box(-1.0, 1.0, (1,)) if continuous else spaces.Discrete(2)

    def reset(self, *, seed=None, options=None):
        super().reset(seed=seed)
        coin = 2.0 * self.np_random.integers(2) - 1.0
        self.state = coin if self.number in (2, 5) else 0.0
        return self._obs(), {}

    def step(self, action):
        right = {4: 0.5, 5: 0.5 * self.state}.get(self.number)
        if right is not None:
            if self.continuous:
                rew = 1.0 - 4.0 * (float(action[0]) - right) ** 2
            else:
                rew = 1.0 if (action == 1) == (right > 0) else -1.0
        elif self.number == 3:
            rew = self.state  # 0 on the first step, 1 on the second
        else:
            rew = self.state if self.number == 2 else 1.0
        terminated = self.number != 3 or self.state == 1.0
        self.state = 1.0 if self.number == 3 else self.state
        return self._obs(), rew, terminated, False, {}

    def _obs(self):
        return np.array([self.state], dtype=np.float32)


gym.register(
    "pgcourse/Pendulum-v1",
    entry_point="gymnasium.envs.classic_control.pendulum:PendulumEnv",
    vector_entry_point="pgcourse.envs:VectorPendulum",
    max_episode_steps=200,
)
for number in range(1, 6):
    gym.register(
        f"pgcourse/Probe{number}-v0", entry_point="pgcourse.envs:Probe", kwargs={"number": number}
    )
    gym.register(
        f"pgcourse/ContinuousProbe{number}-v0",
        entry_point="pgcourse.envs:Probe",
        kwargs={"number": number, "continuous": True},
    )
