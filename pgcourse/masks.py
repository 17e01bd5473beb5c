"""Action masks: the environment says which actions are valid now, and a policy that reads it takes no other.

The mask travels behind the observation, [features, valid], one entry an action, 1 = valid: so it is stored in the
rollout with what was seen, and whoever scores a stored action, in the loss as in a test, knows what was valid then.
`pgcourse.inputs.Masked` reads it; the features alone go into the networks.
"""

from collections.abc import Callable
from typing import Any

import gymnasium as gym
import numpy as np
from gymnasium import spaces

from pgcourse.envs import Env, make_one, name_of, try_out
from pgcourse.inputs import choices


def with_masks(env: Env, **kwargs: Any) -> Callable[[], gym.Env]:
    """A function that makes the environment with its masks behind its observations, for `make_vector`.

    Where masks are looked for, in this order: `info["action_mask"]` of reset() and step(), as Gymnasium's Taxi
    has it; the method `action_masks()`, as sb3-contrib asks for it. An entry for each action of a Discrete space;
    of MultiDiscrete and MultiBinary, the choices' entries one after another (or a tuple of them).

    env, kwargs : what `pgcourse.envs.make_vector` takes
    raises      : ValueError if the actions are not discrete, or the environment offers no masks
    """
    name = name_of(env)

    def make() -> gym.Env:
        return MaskShown(make_one(env, **kwargs), name)

    try_out(name, make)
    make.__name__ = name
    return make


class ObsAndMask(spaces.Box):
    """[features, valid]: `n_valid` entries at the end say which actions are valid, 1 or 0."""

    def __init__(self, features: spaces.Box, n_valid: int) -> None:
        low, high = np.ravel(features.low), np.ravel(features.high)
        self.n_valid = n_valid
        low, high = np.append(low, np.zeros(n_valid)), np.append(high, np.ones(n_valid))
        super().__init__(low.astype(np.float32), high.astype(np.float32))


class MaskShown(gym.Wrapper):
    """An environment whose observations end with the mask of the actions that are valid next.

    raises : ValueError that names the environment: no masks, one of another size, one without a valid action
    """

    def __init__(self, env: gym.Env, name: str) -> None:
        super().__init__(env)
        self.name, self.sizes = name, choices(env.action_space)
        if not self.sizes:
            raise ValueError(
                f"{name}: masks are for discrete actions; its actions are {env.action_space}."
            )
        assert isinstance(env.observation_space, spaces.Box)  # `make_one` and `try_out` see to it
        self.observation_space = ObsAndMask(env.observation_space, sum(self.sizes))
        self.first_entries = np.cumsum([0, *self.sizes[:-1]])  # of each choice

    def reset(self, **kwargs: Any) -> tuple[np.ndarray, dict]:
        obs, info = self.env.reset(**kwargs)
        return self._look(obs, info, over=False), info

    def step(self, action: Any) -> tuple:
        obs, rew, terminated, truncated, info = self.env.step(action)
        return self._look(obs, info, terminated or truncated), rew, terminated, truncated, info

    def valid_action(self) -> np.ndarray:
        """One that is valid now: the first valid option of each choice."""
        first = [part.argmax() for part in np.split(self.valid, self.first_entries[1:])]
        space = self.action_space
        return (np.reshape(first, space.shape or ()) + getattr(space, "start", 0)).astype(
            space.dtype
        )

    def _look(self, obs, info, over):
        shown = np.empty(self.observation_space.shape, dtype=np.float32)
        n_valid = self.observation_space.n_valid
        self.valid = self._valid(info, over, n_valid)
        shown[:-n_valid], shown[-n_valid:] = np.ravel(obs), self.valid
        return shown

    def _valid(self, info, over, n_valid):
        mask = info.get("action_mask")
        if mask is None and self.env.has_wrapper_attr("action_masks"):
            mask = self.env.get_wrapper_attr("action_masks")()
        if mask is None:
            if over:  # where nobody acts, no mask need be
                return True
            raise ValueError(
                f"{self.name} offers no action masks: neither info['action_mask'] (as Gymnasium's Taxi) "
                "nor a method action_masks() (as for sb3-contrib)."
            )
        valid = np.concatenate(mask, axis=None) if isinstance(mask, tuple) else np.ravel(mask)
        valid = valid.astype(bool)
        if len(valid) != n_valid:
            raise ValueError(
                f"{self.name}: its action mask has {len(valid)} entries; expected {n_valid}, "
                f"one for each action of {self.action_space}."
            )
        if not over and not np.logical_or.reduceat(valid, self.first_entries).all():
            raise ValueError(
                f"{self.name}: its action mask allows no action, and the episode goes on: {mask}."
            )
        return valid
