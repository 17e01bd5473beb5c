"""The worlds in which a learner's agent is tried: each so small that it exposes one fault."""

import gymnasium as gym
import numpy as np

PATIENCE = 20_000  # steps that an agent may play beyond what was asked


class Endless(BaseException):
    """The agent goes on playing; not an Exception, so that no `except Exception` of its own takes it."""


class World(gym.Env):
    """A table as a Gymnasium environment; observations are one-hot rows.

    move(self, action) returns the next state, the reward, terminated and truncated; `first` is the first state.
    Counts its steps, and refuses what Gymnasium forbids: a step after the end.
    """

    states, actions, first = 1, 2, 0

    def __init__(self, limit):
        self.observation_space = gym.spaces.Box(0.0, 1.0, (self.states,))
        self.action_space = gym.spaces.Discrete(self.actions)
        self.limit, self.steps, self.over = limit + PATIENCE, 0, True
        self.t = 0

    def reset(self, *, seed=None, options=None):
        super().reset(seed=seed)
        self.state, self.over, self.t = self.begin(), False, 0
        return self.look(), {}

    def begin(self):
        return self.first

    def look(self):
        return np.eye(self.states, dtype=np.float32)[self.state]

    def step(self, action):
        if self.over:
            raise RuntimeError(
                "step() was called although the episode is over: call reset() first."
            )
        self.steps += 1
        if self.steps > self.limit:
            raise Endless
        self.state, rew, terminated, truncated = self.move(int(action))
        self.t += 1
        self.over = terminated or truncated
        return self.look(), float(rew), terminated, truncated, {}


class Reward(World):
    """One step; action 1 pays 1, action 0 costs 1."""

    def move(self, action):
        return 0, 2 * action - 1, True, False


class Observation(World):
    """One step; what is seen first says which action pays."""

    states = 2

    def begin(self):
        return int(self.np_random.integers(2))

    def move(self, action):
        right = action == self.state
        return 1 - self.state, 1 if right else -1, True, False  # the last look misleads


class Delayed(World):
    """Five steps from one of two beginnings; the first action decides what the last one pays, in each the other one."""

    states = 6

    def begin(self):
        return int(self.np_random.integers(2))

    def move(self, action):
        if self.t == 0:
            self.good = action == self.state
        end = self.t == 4
        return min(self.t + 2, 5), (1 if self.good else -1) * end, end, False


class Discount(World):
    """Action 0 pays 1 at once; action 1 pays 1.5 four steps later. With gamma 0.5 that is worth 0.09."""

    states = 5

    def move(self, action):
        if self.t == 0:
            self.waits = action == 1
        end = self.t == 4
        now = self.t == 0 and not self.waits
        return min(self.state + 1, 4), now + 1.5 * (end and self.waits), end, False


class Separate(World):
    """One step; action 1 pays 0.5. After action 0, the NEXT episode pays 2 more, whatever is done in it."""

    gift = 0.0

    def move(self, action):
        rew, self.gift = 0.5 * action + self.gift, 2.0 * (action == 0)
        return 0, rew - 1, True, False


class Alike(World):
    """Three squares that look alike; in the middle the actions are swapped; each step costs 1 (lesson 1)."""

    arrivals = 0

    def reset(self, **kwargs):
        self.square = 0
        return super().reset(**kwargs)

    def move(self, action):
        right = (action == 1) != (self.square == 1)
        self.square = max(self.square + (1 if right else -1), 0)
        self.arrivals += self.square == 3
        return 0, -1, self.square == 3, self.t == 99


class Worth(World):
    """One step; what is seen is what is paid: +1 or -1."""

    states = 2

    def begin(self):
        return int(self.np_random.integers(2))

    def move(self, action):
        return self.state, 2 * self.state - 1, True, False


class Shifted(World):
    """One step, twelve contexts, in each its own right action, which pays 1 more; and everything pays 100 more."""

    states, shift = 12, 100.0
    right = np.array([0, 1, 1, 0, 1, 0, 0, 1, 0, 0, 1, 1])

    def begin(self):
        return int(self.np_random.integers(12))

    def move(self, action):
        return self.state, self.shift + (action == self.right[self.state]), True, False


class Limit(World):
    """Room A leads to room B, where 1 is paid and it is over; but a clock often stops the episode on arrival in B.

    Mostly it begins in A. Where the clock stopped, B was seen and is still worth 1: V(A) = gamma V(B).
    """

    states = 2

    def begin(self):
        return int(self.np_random.random() < 0.2)

    def move(self, action):
        if self.state == 1:
            return 1, 1, True, False  # what is seen last is B again: no reason to bootstrap
        return 1, 0, False, True


class Choice(World):
    """One step, four actions, one of which pays."""

    actions = 4

    def move(self, action):
        return 0, float(action == 2), True, False
