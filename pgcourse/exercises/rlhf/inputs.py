"""Inputs that several exercises of lesson 7 share: answers with masks, groups of scores."""

import torch

from pgcourse.checks.make_inputs import integers, normal, steps_3_by_4

F64 = torch.float64


def hand_mask(*rows):
    return torch.tensor(rows, dtype=torch.bool)


# first and last row, first and last column hold both values of the mask, whatever the seed
AT_THE_RIM = hand_mask([1, 1, 0, 0], [0, 1, 1, 0], [0, 0, 1, 1])
LARGE_VALUES = steps_3_by_4(1, -1, 2, -2, -3, 1, 0.5, -1, 2, -2, 1, -1)


def last_of(mask):
    """The last column that each row's mask marks."""
    return (torch.arange(mask.shape[1]) * mask).argmax(1)


def text_logits(g, B, T, V, dtype=torch.float32, scale=1.0):
    return dict(logits=normal(g, B, T, V, dtype=dtype, scale=scale), tokens=integers(g, V, B, T))


def one_longer(args, name):
    """The same arguments with one column too many in one of them."""
    return args | {name: torch.cat([args[name], args[name][:, :1]], dim=1)}


def one_row(args, name):
    """The same arguments with the first row alone in one of them."""
    return args | {name: args[name][:1]}


def group_scores(g, K, N, dtype=torch.float32, scale=1.0):
    """Prompts of different difficulty: the answers to one have similar scores."""
    scores = normal(g, K, N, dtype=dtype) + 5 * normal(g, 1, N, dtype=dtype)
    return dict(score=scale * scores)


def hand_scores(g):
    return dict(score=torch.tensor([[1.0, 10.0], [2.0, 12.0], [6.0, 17.0]]))
