"""Small generators of inputs for the cases; every number comes from the generator that is passed in."""

import torch


def normal(g, *shape, dtype=torch.float32, scale=1.0):
    """Normal numbers with standard deviation `scale`."""
    return (scale * torch.randn(*shape, generator=g, dtype=torch.float64)).to(dtype)


def integers(g, high, *shape):
    """Integers 0 … high - 1."""
    return torch.randint(high, shape, generator=g)


def flags(g, *shape, p=0.3):
    """Bools that are True with probability p; the first two are True and False."""
    drawn = torch.rand(*shape, generator=g) < p
    drawn.view(-1)[:2] = torch.tensor([True, False])
    return drawn


def masks(g, B, T):
    """Ragged masks [B, T]: unbroken runs of different lengths, True on the response; one row is full."""
    start = torch.randint(0, T // 2, (B, 1), generator=g)
    length = torch.randint(1, T - T // 2 + 1, (B, 1), generator=g)
    start[0], length[0] = 0, T
    steps = torch.arange(T)
    return (steps >= start) & (steps < start + length)


def frame():
    """A mask [3, 4] with both values in the first and last row and column, whatever the seed."""
    rows = ([False, True, True, False], [True, True, False, True], [False, True, False, True])
    return torch.tensor(rows)


def steps_3_by_4(*numbers, times=1000.0, dtype=torch.float64):
    """Fixed numbers [3, 4] of the size of `times`: no clamp that somebody put in leaves them alone."""
    return times * torch.tensor(numbers, dtype=dtype).reshape(3, 4)


def times(factor, args, *names):
    """The same arguments with some of them larger: a clamp that somebody put in shows."""
    return args | {name: factor * args[name] for name in names}
