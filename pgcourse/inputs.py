"""What stands between an observation and a network: normalization, and the mask of valid actions.

Each is a layer of the network, so that a policy takes observations as they are wherever it acts, in training as in a
test, and what a layer has learned is saved with the policy.
"""

import math
from collections.abc import Sequence

import numpy as np
import torch
from gymnasium import spaces
from gymnasium.vector import VectorEnv
from gymnasium.wrappers.utils import update_mean_var_count_from_moments
from torch import Tensor, nn

from pgcourse.distributions import masked_logits


class Normalizer(nn.Module):
    """A network's first layer: observations with mean 0 and variance 1, by the statistics of those seen so far.

        out = clip((obs - mean) / sqrt(var + 1e-8), -10, 10)

    The statistics are buffers: saved with the policy, and changed by `update` alone, never by acting or a test.
    They begin with mean 0 and variance 1.

    n_obs  : the numbers of an observation; what comes after them (a mask) is left out
    source : Chan, Golub & LeVeque 1979, by Gymnasium's function; the clip: OpenAI Baselines' VecNormalize
    """

    def __init__(self, n_obs: int) -> None:
        super().__init__()
        self.n_obs = n_obs
        for name, value in (("mean", 0.0), ("var", 1.0)):
            self.register_buffer(name, torch.full((n_obs,), value, dtype=torch.float64))
        self.register_buffer("count", torch.zeros((), dtype=torch.float64))

    def forward(self, obs: Tensor) -> Tensor:
        centered = obs[..., : self.n_obs] - self.mean
        return (centered / (self.var + 1e-8).sqrt()).clamp(-10, 10).to(obs.dtype)

    def update(self, obs: Tensor) -> None:
        """Let the statistics be those of all observations so far; obs [N, n_obs (and more)] are the new ones."""
        obs = obs[:, : self.n_obs].double()
        statistics = [self.mean, self.var, self.count]
        new = [obs.mean(0), obs.var(0, correction=0), len(obs)]
        both = update_mean_var_count_from_moments(*map(np.asarray, (*statistics, *new)))
        for mine, value in zip(statistics, both, strict=True):
            mine.copy_(torch.as_tensor(value))


class Features(nn.Module):
    """A network's first layer that leaves out what comes after the first n_obs numbers: the mask."""

    def __init__(self, n_obs: int) -> None:
        super().__init__()
        self.n_obs = n_obs

    def forward(self, obs: Tensor) -> Tensor:
        return obs[..., : self.n_obs]


class Masked(nn.Module):
    """A network that makes logits of observations [features, valid]: what is not valid gets probability 0.

    net   : makes logits [..., sum(sizes)] of the features
    sizes : how many options each choice of an action has; each has at least a valid one
    """

    def __init__(self, net: nn.Module, sizes: Sequence[int]) -> None:
        super().__init__()
        self.net, self.sizes = net, list(sizes)

    def forward(self, obs: Tensor) -> Tensor:
        n = sum(self.sizes)
        logits, valid = self.net(obs[..., :-n]), obs[..., -n:] != 0
        parts = zip(logits.split(self.sizes, -1), valid.split(self.sizes, -1), strict=True)
        return torch.cat([masked_logits(*part) for part in parts], dim=-1)


def inputs(env: VectorEnv) -> tuple[int, int]:
    """The numbers of an observation: its features, and the entries of a mask behind them (else 0)."""
    space = env.single_observation_space
    n_valid = getattr(space, "n_valid", 0)
    return math.prod(space.shape) - n_valid, n_valid


def choices(space: spaces.Space) -> list[int]:
    """How many options each choice of an action has; none where actions are not discrete."""
    if isinstance(space, spaces.Discrete):
        return [int(space.n)]
    if isinstance(space, spaces.MultiDiscrete):
        return space.nvec.reshape(-1).tolist()
    return [2] * math.prod(space.shape) if isinstance(space, spaces.MultiBinary) else []
