"""Environments by name, many at once: `make_vector("CartPole-v1", 32)`; and five probes.

A probe is an environment so small that each isolates one fault (after Andy Jones 2021, "Debugging
reinforcement learning systems"): an agent that fails probe 1 has a broken critic loss, one that
passes 1 to 4 and fails 5 does not connect observation, action and reward.
"""

import copy
import inspect
import warnings
from collections.abc import Callable
from importlib import import_module
from typing import Any, SupportsFloat

import gymnasium as gym
import numpy as np
from gymnasium import spaces
from gymnasium.vector import AutoresetMode, SyncVectorEnv, VectorEnv
from gymnasium.vector.utils import batch_space
from gymnasium.wrappers import TimeLimit

Env = str | gym.Env | Callable[..., gym.Env]  # whatever `make_vector` takes
EXTRAS = ("box2d", "mujoco")  # of pyproject.toml: what environments need besides
LONGEST = 5_000  # steps of an episode, where a task has no time limit of its own


def make_vector(env: Env, n_envs: int, **kwargs: Any) -> VectorEnv:
    """`n_envs` copies of a Gymnasium environment that step as one, whatever it is made from.

    Ours of CartPole, Pendulum and Acrobot, else Gymnasium's SyncVectorEnv; all of them begin the
    next episode within the step that ended the last one. Observations come out as arrays of numbers
    (Discrete, Dict, Tuple and so on flattened as Gymnasium does); a task without a time limit is cut
    after LONGEST steps, with a warning where that happens.

    env    : an id; "module:id" or "module:function", the module imported first; a function or class
             that makes one; or an environment, which is copied
    kwargs : go to what makes the environment
    raises : ValueError, in plain words: unknown, broken, or of spaces that no algorithm here supports
    """
    vector = vectorized(env, kwargs)
    if vector is not None:
        return gym.make_vec(vector, num_envs=n_envs, **kwargs)
    make, again = maker(env, kwargs), AutoresetMode.SAME_STEP
    try_out(name_of(env), make)
    return SyncVectorEnv([lambda: plain(make(), name_of(env))] * n_envs, autoreset_mode=again)


def make_one(env: Env, **kwargs: Any) -> gym.Env:
    """One environment as `make_vector` makes many, to look at and to draw."""
    return plain(maker(env, kwargs)(), name_of(env))


def name_of(env: Env) -> str:
    """What an environment is called in messages and folders."""
    if isinstance(env, gym.Env):
        return env.spec.id if env.spec else type(env.unwrapped).__name__
    return env if isinstance(env, str) else getattr(env, "__name__", type(env).__name__)


def vectorized(env: Env, kwargs: dict) -> str | None:
    """The id of a version that steps many at once and knows all of the keywords, or None."""
    vector = FASTER.get(env, env) if isinstance(env, str) else None
    spec = gym.registry.get(vector)
    if spec is None or not isinstance(spec.vector_entry_point, str):
        return None
    module, _, name = spec.vector_entry_point.partition(":")
    known = inspect.signature(getattr(import_module(module), name)).parameters
    return vector if set(kwargs) <= set(known) else None


def maker(env: Env, kwargs: dict) -> Callable[[], gym.Env]:
    """A function that makes one environment. raises: ValueError if nothing can be made from `env`"""
    name = name_of(env)

    def make():
        try:
            if isinstance(env, gym.Env):
                return copy.deepcopy(env)
            if not isinstance(env, str):
                return env(**kwargs)
            module, _, attribute = env.partition(":")
            found = getattr(import_module(module), attribute, None) if attribute else None
            return (
                found(**kwargs)
                if callable(found)
                else gym.make(env, disable_env_checker=True, **kwargs)
            )
        except gym.error.DependencyNotInstalled as error:
            extra = next((e for e in EXTRAS if f"gymnasium[{e}]" in str(error)), None)
            how = f'pip install "pgcourse[{extra}]"' if extra else error
            raise ValueError(f"{name} needs a package that is not installed: {how}") from error
        except gym.error.Error as error:
            raise ValueError(f"Gymnasium has no environment {name!r}: {error}") from error
        except ModuleNotFoundError as error:
            raise ValueError(f"{name}: there is no module {error.name!r} here.") from error
        except Exception as error:
            raise ValueError(
                f"{name} could not be made: {type(error).__name__}: {error}"
            ) from error

    if not isinstance(env, str | gym.Env) and not callable(env):
        raise ValueError(
            "expected an environment's id, a function that makes one, or an environment; "
            f"got {type(env).__name__}."
        )
    return make


def plain(env: gym.Env, name: str) -> gym.Env:
    """The environment with observations that are arrays of numbers, and an end."""
    space = env.observation_space
    if not isinstance(space, spaces.Box) and space.is_np_flattenable:
        env = gym.wrappers.FlattenObservation(env)
    if env.spec is None or env.spec.max_episode_steps is None:
        layer = env
        while isinstance(layer, gym.Wrapper) and not isinstance(layer, TimeLimit):
            layer = layer.env
        if not isinstance(layer, TimeLimit):
            env = LastResort(env, name)
    return env


class LastResort(TimeLimit):
    """Cuts an episode that has not ended after LONGEST steps, and says so."""

    def __init__(self, env: gym.Env, name: str) -> None:
        super().__init__(env, LONGEST)
        self.name = name

    def step(self, action: Any) -> tuple:
        obs, rew, terminated, truncated, info = super().step(action)
        if truncated and self._elapsed_steps >= LONGEST:
            warnings.warn(
                f"{self.name} has no time limit; an episode was cut after {LONGEST:,} steps.",
                stacklevel=2,
            )
        return obs, rew, terminated, truncated, info


def try_out(name: str, make: Callable[[], gym.Env]) -> None:
    """One reset and one step of an environment. raises: ValueError that says how it breaks Gymnasium's rules"""
    env = make()
    if not isinstance(env, gym.Env):
        raise ValueError(
            f"{name} is a {type(env).__module__}.{type(env).__name__}, no gymnasium.Env: "
            "environments of the older package gym need a wrapper (see shimmy)."
        )

    def ask(what, call):
        try:
            return call()
        except Exception as error:
            if str(error).startswith(name):  # it has been said whose it is
                raise
            raise ValueError(f"{name}: {what} raised {type(error).__name__}: {error}") from error

    def expect(right, words):
        if not right:
            raise ValueError(f"{name}: {words}")

    for kind in ("observation_space", "action_space"):
        space = getattr(env, kind, None)
        expect(isinstance(space, spaces.Space), f"its {kind} is {space!r}, no gymnasium space.")
    check_spaces(name, env.observation_space, env.action_space)
    first = ask("reset()", lambda: env.reset(seed=0))
    two = isinstance(first, tuple) and len(first) == 2 and isinstance(first[1], dict)
    expect(two, "reset() must return (observation, info); Gymnasium's rule since version 0.26.")
    fits(name, "reset()", env.observation_space, first[0])
    some_action = getattr(env, "valid_action", env.action_space.sample)
    step = ask("step()", lambda: env.step(some_action()))
    five = isinstance(step, tuple) and len(step) == 5
    got = f"{len(step)} values" if isinstance(step, tuple) else type(step).__name__
    expect(
        five, f"step() must return (obs, reward, terminated, truncated, info); it returned {got}."
    )
    obs, rew, terminated, truncated, _ = step
    fits(name, "step()", env.observation_space, obs)
    number = isinstance(rew, SupportsFloat) and np.size(rew) == 1
    expect(number, f"the reward must be a number; step() returned {rew!r}.")
    for flag, value in (("terminated", terminated), ("truncated", truncated)):
        is_flag = isinstance(value, bool | np.bool_ | int) and value in (0, 1)
        expect(is_flag, f"{flag} must be True or False; it is {value!r}.")
    env.close()


def fits(name: str, where: str, space: spaces.Space, obs: Any) -> None:
    """Raise ValueError unless an observation has the shape of its space (its bounds may be off)."""
    right = space.contains(obs)
    if not right and isinstance(space, spaces.Box):
        right = np.shape(obs) == space.shape and np.asarray(obs).dtype.kind in "biuf"
    if not right:
        raise ValueError(f"{name}: {where} returned {obs!r}, which is no element of {space}.")


def check_spaces(name: str, obs_space: spaces.Space, act_space: spaces.Space) -> None:
    """Raise ValueError unless observations become numbers, and actions are a kind that some algorithm learns."""
    if not obs_space.is_np_flattenable:
        raise ValueError(
            f"{name}: observations are {obs_space}; only what Gymnasium can flatten to an array "
            "of numbers is supported."
        )
    continuous = isinstance(act_space, spaces.Box) and np.issubdtype(act_space.dtype, np.floating)
    if not continuous and not isinstance(act_space, DISCRETE):
        raise ValueError(
            f"{name}: actions are {act_space}; Discrete, MultiDiscrete, MultiBinary and Box of "
            "real numbers are supported."
        )


DISCRETE = (spaces.Discrete, spaces.MultiDiscrete, spaces.MultiBinary)


class NumpyVector(VectorEnv):
    """Many copies of one classic environment, stepped as one numpy batch; state is [n, variables].

    A subclass says where episodes start (`_start`), what a step does (`_move`: new state, reward,
    terminated) and what is seen of a state (`_look`).
    """

    metadata = {"render_modes": [], "autoreset_mode": AutoresetMode.SAME_STEP}

    def __init__(self, spaces: tuple, num_envs: int, max_episode_steps: int) -> None:
        self.num_envs, self.max_episode_steps = num_envs, max_episode_steps
        self.single_observation_space, self.single_action_space = spaces
        self.observation_space, self.action_space = (batch_space(s, num_envs) for s in spaces)

    def reset(
        self, *, seed: int | None = None, options: dict | None = None
    ) -> tuple[np.ndarray, dict]:
        super().reset(seed=seed)
        self.state = self._start(self.num_envs)
        self.steps = np.zeros(self.num_envs, dtype=int)
        return self._look(self.state), {}

    def step(self, action: np.ndarray) -> tuple:
        self.state, rew, terminated = self._move(self.state, np.asarray(action))
        self.steps += 1
        truncated, info = self.steps >= self.max_episode_steps, {}
        obs, ended = self._look(self.state), terminated | truncated
        if ended.any():
            info = {"final_obs": obs, "_final_obs": ended}
            self.state[ended], self.steps[ended] = self._start(np.count_nonzero(ended)), 0
            obs = self._look(self.state)
        return obs, rew, terminated, truncated, info


class VectorCartPole(NumpyVector):
    """CartPole-v1; the state is (position, speed, angle from upright, angular speed)."""

    FALLEN = 12 * np.pi / 180

    def __init__(self, num_envs: int = 1, max_episode_steps: int = 500) -> None:
        high = np.array([4.8, np.inf, 2 * self.FALLEN, np.inf], dtype=np.float32)
        super().__init__((spaces.Box(-high, high), spaces.Discrete(2)), num_envs, max_episode_steps)

    def _start(self, n):
        return self.np_random.uniform(-0.05, 0.05, (4, n)).T  # one seed, one start: as Gymnasium's

    def _move(self, state, action):
        """Barto, Sutton & Anderson 1983, without friction: cart 1 kg, pole 0.1 kg, 1 m long."""
        x, speed, angle, turning = state.T
        sin, cos = np.sin(angle), np.cos(angle)
        push = (20.0 * action - 10.0 + 0.05 * turning**2 * sin) / 1.1
        turn = (9.8 * sin - cos * push) / (2 / 3 - 0.05 / 1.1 * cos**2)
        change = np.stack([speed, push - 0.05 / 1.1 * turn * cos, turning, turn], axis=1)
        state = state + 0.02 * change
        fallen = (np.abs(state[:, 0]) > 2.4) | (np.abs(state[:, 2]) > self.FALLEN)
        return state, np.ones(len(state)), fallen

    def _look(self, state):
        return state.astype(np.float32)


class VectorPendulum(NumpyVector):
    """Pendulum-v1; the state is (angle from upright, speed)."""

    def __init__(self, num_envs: int = 1, max_episode_steps: int = 200, g: float = 10.0) -> None:
        self.g = g
        high = np.array([1.0, 1.0, 8.0], dtype=np.float32)
        super().__init__(
            (spaces.Box(-high, high), spaces.Box(-2.0, 2.0, (1,))), num_envs, max_episode_steps
        )

    def _start(self, n):
        return self.np_random.uniform([-np.pi, -1.0], [np.pi, 1.0], (n, 2))

    def _move(self, state, action):
        theta, speed = state.T
        torque = np.clip(action, -2.0, 2.0)[:, 0]
        angle = (theta + np.pi) % (2 * np.pi) - np.pi  # 0 is upright
        rew = -(angle**2 + 0.1 * speed**2 + 0.001 * torque**2)
        speed = np.clip(speed + (1.5 * self.g * np.sin(theta) + 3.0 * torque) * 0.05, -8, 8)
        return np.stack([theta + speed * 0.05, speed], axis=1), rew, np.zeros(len(rew), dtype=bool)

    def _look(self, state):
        theta, speed = state.T
        return np.stack([np.cos(theta), np.sin(theta), speed], axis=1).astype(np.float32)


class VectorAcrobot(NumpyVector):
    """Acrobot-v1; the state is (two joint angles, two joint speeds)."""

    TOP = np.array([4 * np.pi, 9 * np.pi])  # the fastest the joints turn

    def __init__(self, num_envs: int = 1, max_episode_steps: int = 500) -> None:
        high = np.array([1.0, 1.0, 1.0, 1.0, *self.TOP], dtype=np.float32)
        super().__init__((spaces.Box(-high, high), spaces.Discrete(3)), num_envs, max_episode_steps)

    def _start(self, n):
        return self.np_random.uniform(-0.1, 0.1, (n, 4))

    def _move(self, state, action):
        torque, h = action - 1.0, 0.2
        k1 = self._slope(state, torque)  # one step of fourth-order Runge-Kutta
        k2 = self._slope(state + h / 2 * k1, torque)
        k3 = self._slope(state + h / 2 * k2, torque)
        k4 = self._slope(state + h * k3, torque)
        state = state + h / 6 * (k1 + 2 * k2 + 2 * k3 + k4)
        state[:, :2] = (state[:, :2] + np.pi) % (2 * np.pi) - np.pi
        state[:, 2:] = np.clip(state[:, 2:], -self.TOP, self.TOP)
        high_enough = -np.cos(state[:, 0]) - np.cos(state[:, 0] + state[:, 1]) > 1.0
        return state, np.where(high_enough, 0.0, -1.0), high_enough

    def _slope(self, state, torque):
        """Sutton & Barto 2018, sec. 11.3: two links of mass 1, length 1 and inertia 1."""
        a1, a2, v1, v2 = state.T
        g, c2, s2 = 9.8, np.cos(a2), np.sin(a2)
        d1 = 0.25 + (1 + 0.25 + c2) + 2
        d2 = 0.25 + 0.5 * c2 + 1
        phi2 = 0.5 * g * np.cos(a1 + a2 - np.pi / 2)
        phi1 = -0.5 * v2**2 * s2 - v2 * v1 * s2 + 1.5 * g * np.cos(a1 - np.pi / 2) + phi2
        acc2 = (torque + d2 / d1 * phi1 - 0.5 * v1**2 * s2 - phi2) / (1.25 - d2**2 / d1)
        acc1 = -(d2 * acc2 + phi1) / d1
        return np.stack([v1, v2, acc1, acc2], axis=1)

    def _look(self, state):
        a1, a2, v1, v2 = state.T
        seen = [np.cos(a1), np.sin(a1), np.cos(a2), np.sin(a2), v1, v2]
        return np.stack(seen, axis=1).astype(np.float32)


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

    def __init__(self, number: int, continuous: bool = False) -> None:
        if number not in (1, 2, 3, 4, 5):
            raise ValueError(f"expected a probe number from 1 to 5; got {number}.")
        self.number, self.continuous = number, continuous
        self.observation_space = spaces.Box(-1.0, 1.0, (1,))
        self.action_space = spaces.Box(-1.0, 1.0, (1,)) if continuous else spaces.Discrete(2)

    def reset(
        self, *, seed: int | None = None, options: dict | None = None
    ) -> tuple[np.ndarray, dict]:
        super().reset(seed=seed)
        coin = 2.0 * self.np_random.integers(2) - 1.0
        self.state = coin if self.number in (2, 5) else 0.0
        return self._obs(), {}

    def step(self, action: Any) -> tuple[np.ndarray, float, bool, bool, dict]:
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


FASTER = {name: f"pgcourse/{name}" for name in ("CartPole-v1", "Pendulum-v1", "Acrobot-v1")}
gym.register(
    "pgcourse/CartPole-v1",
    entry_point="gymnasium.envs.classic_control.cartpole:CartPoleEnv",
    vector_entry_point="pgcourse.envs:VectorCartPole",
    max_episode_steps=500,
)
gym.register(
    "pgcourse/Pendulum-v1",
    entry_point="gymnasium.envs.classic_control.pendulum:PendulumEnv",
    vector_entry_point="pgcourse.envs:VectorPendulum",
    max_episode_steps=200,
)
gym.register(
    "pgcourse/Acrobot-v1",
    entry_point="gymnasium.envs.classic_control.acrobot:AcrobotEnv",
    vector_entry_point="pgcourse.envs:VectorAcrobot",
    max_episode_steps=500,
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
