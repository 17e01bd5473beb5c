"""Small generators of inputs for the cases; every number comes from the generator that is passed in."""

from typing import Any

import torch
from torch import Tensor


def normal(
    g: torch.Generator, *shape: int, dtype: torch.dtype = torch.float32, scale: float = 1.0
) -> Tensor:
    """Normal numbers with standard deviation `scale`."""
    return (scale * torch.randn(*shape, generator=g, dtype=torch.float64)).to(dtype)


def integers(g: torch.Generator, high: int, *shape: int) -> Tensor:
    """Integers 0 … high - 1."""
    return torch.randint(high, shape, generator=g)


def flags(g: torch.Generator, *shape: int, p: float = 0.3) -> Tensor:
    """Bools that are True with probability p; the first two are True and False."""
    drawn = torch.rand(*shape, generator=g) < p
    drawn.view(-1)[:2] = torch.tensor([True, False])
    return drawn


def masks(g: torch.Generator, B: int, T: int) -> Tensor:
    """Ragged masks [B, T]: unbroken runs of different lengths, True on the response; one row is full."""
    start = torch.randint(0, T // 2, (B, 1), generator=g)
    length = torch.randint(1, T - T // 2 + 1, (B, 1), generator=g)
    start[0], length[0] = 0, T
    steps = torch.arange(T)
    return (steps >= start) & (steps < start + length)


def frame() -> Tensor:
    """A mask [3, 4] with both values in the first and last row and column, whatever the seed."""
    rows = ([False, True, True, False], [True, True, False, True], [False, True, False, True])
    return torch.tensor(rows)


def steps_3_by_4(
    *numbers: float, times: float = 1000.0, dtype: torch.dtype = torch.float64
) -> Tensor:
    """Fixed numbers [3, 4] of the size of `times`: no clamp that somebody put in leaves them alone."""
    return times * torch.tensor(numbers, dtype=dtype).reshape(3, 4)


def times(factor: float, args: dict[str, Any], *names: str) -> dict[str, Any]:
    """The same arguments with some of them larger: a clamp that somebody put in shows."""
    return args | {name: factor * args[name] for name in names}
