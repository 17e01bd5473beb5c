"""Numbers in a mistake that are solved from what a function did: its window, its epsilon, its factor."""

import itertools
import math

import torch

from pgcourse.checks.edits import compiled, fill

SCALES = (
    1,
    0.1,
    0.3,
    0.6,
    1.7,
    0.8,
    1.3,
    3,
    10,
    100,
    1e-3,
    1e3,
    -1,
)  # of the example, to start from
BEST, STEPS = 2, 10  # starts that are followed, and how far


def vector(seen):
    """Result and gradients of an observation as one float64 vector, or None if they are no numbers."""
    parts = [seen["out"], *(seen["grads"][k] for k in sorted(seen["grads"]))]
    flat = [*itertools.chain(*map(numbers, parts))]
    return torch.cat(flat) if flat else None


def numbers(x):
    if torch.is_tensor(x):
        yield x.detach().double().flatten()
    elif type(x) in (int, float):
        yield torch.tensor([x], dtype=torch.float64)
    elif isinstance(x, dict):
        for key in sorted(x, key=str):
            yield from numbers(x[key])
    elif isinstance(x, list | tuple):
        for item in x:
            yield from numbers(item)


def solve(run, seen, start):
    """The numbers h, near start, for which run(h) is what was seen; None if there are none.

        Gauss-Newton on the residual, from several scales of `start`; exact at once where it is linear

    run   : list of float -> vector, or None where it raises
    seen  : vector
    start : list of float, examples
    """

    def residual(h):
        out = run(h)
        if out is None or out.shape != seen.shape:
            return None
        ok = seen.isfinite()
        if (out[ok].isfinite()).all() and (out.isfinite() == ok).all():
            return ((out - seen) / (1 + seen.abs()))[ok]
        return None

    tried = []
    for scales in starts(len(start)):
        h = [x * s for x, s in zip(start, scales, strict=True)]
        r = residual(h)
        if r is not None and len(r):
            tried.append((r.abs().max().item(), len(tried), h, r))
    for _, _, h, r in sorted(tried)[:BEST]:
        for _ in range(STEPS):
            size = r.abs().max().item()
            if size < 1e-8:
                return h
            columns = [slope(residual, h, j, r) for j in range(len(h))]
            if any(c is None for c in columns):
                break
            J = torch.stack(columns, 1)
            move = torch.linalg.lstsq(J, -r.unsqueeze(1), driver="gelsd").solution[:, 0].tolist()
            new, better = shorter(residual, h, move, 0.8 * size)
            if better is None:
                break
            h, r = new, better
        if (
            r.abs().max().item() < 1e-2
        ):  # as near as rounding lets it come: a rounder number may be it
            return h
    return None


def starts(n):
    """Scales of n examples: each alone, then together."""
    if n == 1:
        return [(s,) for s in SCALES]
    return itertools.product(SCALES[:5], repeat=n)


def slope(residual, h, j, r):
    step = 1e-3 * abs(h[j]) or 1e-3
    moved = residual([x + step * (i == j) for i, x in enumerate(h)])
    if moved is None or moved.shape != r.shape or not (moved - r).any():
        return None
    return (moved - r) / step


def shorter(residual, h, move, size):
    """The step, shortened until the residual falls below `size`; (h, None) if it never does."""
    for share in (1, 0.5, 0.2):
        new = [x + share * m for x, m in zip(h, move, strict=True)]
        if all(map(math.isfinite, new)):
            r = residual(new)
            if r is not None and r.abs().max().item() < size:
                return new, r
    return h, None


def round_to(x, digits):
    return float(f"{x:.{digits}g}")


def with_holes(mistake, version):
    """(fn, put): the edited function with its holes open, and a function that fills them with numbers."""
    names = {name: f"hole_{name}" for name in mistake.holes}
    examples = {names[name]: x for name, x in mistake.holes.items()}
    fn = compiled(mistake.reference, [fill(e, names) for e in version], space=examples)
    edited = {fn.__globals__[e.of] for e in version if e.of}
    spaces = [f.__globals__ for f in (fn, *edited)]

    def put(h):
        for space in spaces:
            space.update(zip(examples, h, strict=True))

    return fn, put
