"""Inputs that several exercises of lesson 3 share."""

import torch

from pgcourse.checks.make_inputs import normal

F64 = torch.float64
HAND_SCORES = ([1.0, 1.0], [2.0, 0.0], [1.0, -2.0])


def tensor(*numbers, dtype=torch.float32):
    return torch.tensor(numbers, dtype=dtype)


def returns_and_values(g, *shape, dtype=torch.float32):
    return dict(ret=normal(g, *shape, dtype=dtype) + 2, val=normal(g, *shape, dtype=dtype) + 1)


def scores_and_returns(g, N, P, dtype=torch.float32, shift=2.0):
    sizes = 0.2 + torch.rand(N, 1, generator=g, dtype=F64).to(dtype)  # rare actions: long scores
    scores = normal(g, N, P, dtype=dtype) * sizes
    return dict(scores=scores, ret=normal(g, N, dtype=dtype) + shift)
