"""Inputs and text that exercises of lesson 4 share."""

import torch

from pgcourse.checks.make_inputs import frame, steps_3_by_4


def at_the_rim():
    """Numbers in the thousands; first row, last row and the outer columns hold both values of the flag."""
    return dict(
        rew=steps_3_by_4(1, -1, 2, -2, -3, 1, 0.5, -1, 2, -2, 1, -1),
        next_val=steps_3_by_4(2, 3, -4, 1, 5, -2, 3, -1, -2, 4, -3, 2),
        terminated=~frame(),
        gamma=0.5,
    )


def later(x):
    """Each row gets what the next one has; the last one nothing."""
    return f"torch.cat([{x}[1:], torch.zeros_like({x}[:1])])"


def before(x):
    return f"torch.cat([torch.zeros_like({x}[:1]), {x}[:-1]])"


def sum_back(delta, factor):
    """x_t = delta_t + factor_t * x_{t+1}, from the last row to the first."""
    total, running = torch.zeros_like(delta), torch.zeros_like(delta[0])
    for t in reversed(range(len(delta))):
        running = delta[t] + factor[t] * running
        total[t] = running
    return total
