"""Collecting experience from vectorized environments, and evaluation.

A rollout is a dict of time-major tensors, [T, B]: T steps of B environments.

| key        | shape     | what it is                                                              |
|------------|-----------|-------------------------------------------------------------------------|
| obs        | [T, B, O] | what the policy saw (with masks: then which actions were valid)         |
| act        | [T, B(,D)]| what it did                                                             |
| rew        | [T, B]    | reward                                                                  |
| next_obs   | [T, B, O] | the TRUE next observation, also where an episode ended                  |
| terminated | [T, B]    | bool; the MDP ended: nothing to bootstrap                               |
| ended      | [T, B]    | bool; terminated, or cut by a time limit: the recursion stops           |
| mask       | [T, B]    | bool; False where nothing happened (the step was only a reset)          |
"""

from typing import Any

import numpy as np
import torch
from gymnasium.vector import AutoresetMode
from torch import Tensor

from pgcourse.envs import Env, make_vector, name_of
from pgcourse.masks import with_masks
from pgcourse.networks import Policy


class Collector:
    """Steps `n_envs` environments with an actor, and remembers where it stopped.

    After each collect: `steps` (environment steps so far) and `episodes` (list of (step, return) of
    the episodes that have ended since the list was last taken by `finished`).

    masked : observations end with the mask of the valid actions, see `pgcourse.masks`
    """

    def __init__(
        self, env: Env, n_envs: int, seed: int, masked: bool = False, **kwargs: Any
    ) -> None:
        if masked:
            env, kwargs = with_masks(env, **kwargs), {}
        self.env = make_vector(env, n_envs, **kwargs)
        self.name, self.n_envs = name_of(env), n_envs
        self.mode = self.env.metadata.get("autoreset_mode", AutoresetMode.NEXT_STEP)
        self.generator = torch.Generator().manual_seed(seed)
        self.obs = self.flat(self.env.reset(seed=seed)[0])
        self.only_reset = np.zeros(n_envs, dtype=bool)
        self.return_so_far = np.zeros(n_envs)
        self.steps, self.episodes = 0, []

    def flat(self, obs: np.ndarray) -> np.ndarray:
        return obs.reshape(self.n_envs, -1).astype(np.float32, copy=False)

    def step(self, act: np.ndarray) -> tuple[np.ndarray, ...]:
        """One step of every environment: rew, next_obs, terminated, ended, mask; each [B].

        Gymnasium's three ways to begin the next episode all come out the same: next_obs is the true
        final observation. NEXT_STEP spends a step of its own on the reset (mask False there);
        SAME_STEP hides the final observation in `info`; DISABLED waits to be told.
        """
        obs, rew, terminated, truncated, info = self.env.step(act)
        ended, mask = terminated | truncated, ~self.only_reset
        next_obs = obs = self.flat(obs)
        self.steps += int(np.count_nonzero(mask))
        self.return_so_far += rew
        if ended.any():
            if self.mode == AutoresetMode.SAME_STEP:
                next_obs = obs.copy()
                next_obs[ended] = np.stack(info["final_obs"][ended]).reshape(-1, obs.shape[1])
            elif self.mode == AutoresetMode.DISABLED:
                obs = self.flat(self.env.reset(options={"reset_mask": ended})[0])
            self.episodes += [(self.steps, float(ret)) for ret in self.return_so_far[ended]]
            self.return_so_far[ended] = 0.0
        if self.mode == AutoresetMode.NEXT_STEP:
            self.only_reset = ended
        self.obs = obs
        return rew, next_obs, terminated, ended, mask

    def finished(self) -> list[tuple[int, float]]:
        """The (step, return) of episodes that ended since the last call."""
        episodes, self.episodes = self.episodes, []
        return episodes

    def collect(self, actor: Policy, n_steps: int) -> dict[str, Tensor]:
        """`n_steps` steps of every environment, from where the last call stopped."""
        noise = actor.noise((n_steps, self.n_envs), self.generator)  # of all decisions at once
        return self.sound(stack([self._act(actor, noise[t]) for t in range(n_steps)]))

    def sound(self, rollout: dict[str, Tensor]) -> dict[str, Tensor]:
        """The rollout. raises: ValueError that names the first NaN or infinity in what the environment gave."""
        for key, what in (("next_obs", "the observation"), ("rew", "the reward")):
            bad = ~rollout[key].isfinite()
            if bad.any():
                t, column = bad.nonzero()[0, :2].tolist()
                came = rollout[key][t, column]
                came = came if came.dim() == 0 else came[~came.isfinite()][0]
                step = self.steps - int(rollout["mask"][t + 1 :].sum())
                raise ValueError(
                    f"{self.name}: {what} is {came.item()} at environment step {step:,} "
                    f"(environment {column} of {self.n_envs}); training stops before it learns from that."
                )
        return rollout

    def collect_episodes(self, actor: Policy, deterministic: bool = False) -> dict[str, Tensor]:
        """One whole episode of every environment, from a fresh start; what follows it is masked.

        One each, and not "until N have ended": the first N to end are the short ones.
        """
        self.obs = self.flat(self.env.reset()[0])
        self.only_reset = np.zeros(self.n_envs, dtype=bool)
        over = np.zeros(self.n_envs, dtype=bool)
        rows = []
        while not over.all():
            noise = None if deterministic else actor.noise((self.n_envs,), self.generator)
            row = self._act(actor, noise)
            row["mask"] &= ~over
            over |= row["ended"]
            rows.append(row)
        rollout = self.sound(stack(rows))
        self.return_so_far[:] = 0.0
        returns = (rollout["rew"] * rollout["mask"]).sum(0)
        self.episodes = [(self.steps, ret) for ret in returns.tolist()]
        return rollout

    @torch.inference_mode()
    def _act(self, actor, noise):
        """One step of every environment; noise None: deterministic."""
        obs = self.obs
        act = actor.act(torch.from_numpy(obs), noise is None, noise)
        rew, next_obs, terminated, ended, mask = self.step(actor.to_env(act))
        return {
            "obs": obs,
            "act": act.numpy(),
            "rew": rew.astype(np.float32),
            "next_obs": next_obs,
            "terminated": terminated,
            "ended": ended,
            "mask": mask,
        }


def stack(rows: list[dict[str, np.ndarray]]) -> dict[str, Tensor]:
    """A list of T dicts of [B] arrays  ->  one dict of [T, B] tensors."""
    return {key: torch.from_numpy(np.stack([row[key] for row in rows])) for key in rows[0]}


def evaluate(
    policy: Policy,
    env: Env,
    episodes: int = 20,
    seed: int = 10_000,
    deterministic: bool = True,
    **kwargs: Any,
) -> np.ndarray:
    """Returns of whole episodes that the policy does not learn from.

    Not the returns seen in training: those come from older policies.

    policy        : has act(obs, deterministic) and to_env(act); where its `masked` is true, it is
                    shown the environment's action masks
    env, kwargs   : what `make_vector` takes
    episodes      : how many, one in each of as many environments
    seed          : of the start states and the drawn actions. The same seed begins the same episodes: tests
                    with one seed can be compared; an agent that was picked by them needs another one.
    deterministic : True: the policy's best guess at every step, without exploration;
                    False: actions drawn from the policy, so that the mean estimates J(pi)
    returns       : numpy array [episodes]
    """
    collector = Collector(env, episodes, seed, getattr(policy, "masked", False), **kwargs)
    collector.collect_episodes(policy, deterministic)
    return np.array([ret for _, ret in collector.finished()])
