"""Two helpers that the formulas share: a guard against silent broadcasting, and a masked mean."""

from torch import Tensor


def same_shape(**tensors: Tensor | None) -> None:
    """Raise ValueError unless all the named tensors have one shape (None is skipped).

    A `[B, 1]` against a `[B]` would broadcast to `[B, B]` without a word; every function
    that combines tensors element by element starts with this guard.
    """
    shapes = {name: tuple(x.shape) for name, x in tensors.items() if x is not None}
    if len(set(shapes.values())) > 1:
        came = ", ".join(f"{name} {list(shape)}" for name, shape in shapes.items())
        raise ValueError(
            f"expected one shape for {', '.join(shapes)}; got {came}. "
            "Reshape them (often: x.squeeze(-1)), so that nothing broadcasts."
        )


def masked_mean(x: Tensor, mask: Tensor | None = None) -> Tensor:
    """Mean of `x` over the elements where `mask` is True (all of them without a mask).

        mean = sum_i m_i x_i / sum_i m_i

    x       : float, any shape
    mask    : bool, same shape, or None; what is False may hold anything, even inf or NaN
    returns : scalar
    raises  : ValueError if the shapes differ or nothing is unmasked
    """
    if mask is None:
        return x.mean()
    same_shape(x=x, mask=mask)
    if not mask.any():
        raise ValueError("expected at least one unmasked element; the mask is False everywhere.")
    return x[mask].mean()
