"""Cases that belong together, and how their results are compared: what symptoms look at."""

import math

import torch

from pgcourse.checks.compare import close
from pgcourse.checks.core import Case


def differ(a, b):
    return math.isfinite(a) and math.isfinite(b) and abs(a - b) > 1e-4 + 1e-3 * abs(b)


def rows_of(table, rows):
    return {name: x[rows] if torch.is_tensor(x) else x for name, x in table.items()}


def halves(part, table, grad=()):
    """A mean over four steps is the mean of those over the first two and the last two."""
    rows = {"two steps": [0, 1], "two other steps": [2, 3], "these four steps": [0, 1, 2, 3]}
    return [
        Case(name, lambda g, chosen=chosen: rows_of(table(), chosen), part, grad)
        for name, chosen in rows.items()
    ]


def paddings(part, table):
    """The same three steps, with something else at the place that does not count."""
    mask = torch.tensor([True, True, False, True])

    def filled(factor):
        args = {
            name: torch.where(mask.reshape(-1, *[1] * (x.dim() - 1)), x, factor * x)
            for name, x in table().items()
            if torch.is_tensor(x)
        }
        return table() | args | dict(mask=mask)

    return [
        Case("one step does not count", lambda g: filled(1.0), part),
        Case("something else in its place", lambda g: filled(3.0), part),
    ]


def apart(a, b):
    """Whether two results that should be equal are not (two tensors of one shape)."""
    if not torch.is_tensor(a) or not torch.is_tensor(b) or a.shape != b.shape:
        return False
    return not close(a, b)
