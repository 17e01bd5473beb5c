"""Inputs that the critics' exercises share."""

import torch

from pgcourse.checks.make_inputs import normal

F64 = torch.float64


def fixed(inputs):
    """The same numbers for every seed: two cases can be compared."""
    return lambda g: inputs(torch.Generator().manual_seed(0))


def twins(g, B, dtype=torch.float32):
    return dict(
        q1=normal(g, B, dtype=dtype, scale=3.0),
        q2=normal(g, B, dtype=dtype, scale=3.0),
    )


def agree(args):
    """The same five rows, with two critics that agree, on values of both signs."""
    values = torch.tensor([-6.0, 4.0, -1.5, 9.0, 0.5])
    return args | {name: values for name in args if name.endswith(("q1", "q2"))}


def thousands(args, *names):
    return args | {name: 1e3 * args[name] for name in names}
