"""Inputs of lesson 1: small worlds with exact values, as plain data for the driver `with_mdp`."""

import torch

from pgcourse.checks.make_inputs import integers, normal
from pgcourse.mdp import action_values

F64 = torch.float64


def plain(mdp):
    return dict(P=mdp.P, R=mdp.R, start=mdp.start, gamma=mdp.gamma)


def some_mdp(g, make, *shape, gamma):
    return plain(make(*shape, gamma=gamma, seed=int(integers(g, 10_000, 1))))


def two_states(**rest):
    """Stay in the rich state or slip into the poor one: small enough to solve by hand."""
    P = torch.tensor([[[1.0, 0.0], [0.0, 1.0]], [[1.0, 0.0], [0.0, 1.0]]], dtype=F64)
    R = torch.tensor([[1.0, 2.0], [0.0, -1.0]], dtype=F64)
    return dict(P=P, R=R, start=torch.tensor([1.0, 0.0], dtype=F64), gamma=0.5) | rest


def with_pi(make, S, A, gamma):
    return lambda g: (
        some_mdp(g, make, S, A, gamma=gamma)
        | dict(pi=torch.softmax(normal(g, S, A, dtype=F64), -1))
    )


def with_theta(make, S, A, gamma):
    return lambda g: some_mdp(g, make, S, A, gamma=gamma) | dict(theta=normal(g, S, A, dtype=F64))


def optimal_policy(mdp):
    """Policy iteration."""
    Q = mdp.R
    for _ in range(mdp.R.numel()):
        Q = action_values(mdp, torch.eye(mdp.R.shape[1], dtype=mdp.R.dtype)[Q.argmax(1)])
    return torch.eye(mdp.R.shape[1], dtype=mdp.R.dtype)[Q.argmax(1)]


def power(A, n):
    """The power n >= 0 of a matrix; between whole numbers a straight line.

    What the first n terms of r + A r + A^2 r + … leave of their sum V is A^n V.
    """
    whole, part = divmod(max(n, 0.0), 1)
    M = torch.linalg.matrix_power(A, int(whole))
    return (1 - part) * M + part * M @ A
