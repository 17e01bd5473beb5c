"""Numbers in a mistake that are solved from what a function did: its window, its epsilon, its factor."""

import inspect
import itertools
import math
from functools import cache

import torch

from pgcourse.checks.edits import compiled, fill

# Of the example, to start from; the first four show what the numbers move at all.
SCALES = (1, 0.1, 1e3, 3, 0.3, 0.6, 1.7, 0.8, 1.3, 10, 100, 1e-3, -1)
PAIRED = (1, 0.1, 0.3, 0.6, 1.7, 0.8, 1.3)
BEST, STEPS = 2, 10  # starts that are followed, and how far
EXACT, NOISE = 1e-8, 3e-7  # residuals: of float64, and what float32 makes of another order of terms


def vector(seen):
    """Result and gradients of an observation as one float64 vector, or None if they are no numbers."""
    parts = [seen["out"], *(seen["grads"][k] for k in sorted(seen["grads"]))]
    flat = [*itertools.chain(*map(numbers, parts))]
    return torch.cat(flat) if any(map(len, flat)) else None


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

    @cache
    def of(*h):
        return relative(run([*h]), seen)

    def residual(h):
        return of(*h)

    first = [residual([x * scale for x in start]) for scale in SCALES[:4]]
    if out_of_reach([r for r in first if r is not None]):
        return None
    tried = []
    for scales in starts(len(start)):
        h = [x * s for x, s in zip(start, scales, strict=True)]
        r = residual(h)
        if r is not None and len(r):
            tried.append((r.abs().max().item(), len(tried), h, r))
    found, followed = [], 0
    for _, _, h, r in sorted(tried):
        flat = True  # nothing changes around this start: others can still lead to the numbers
        for _ in range(STEPS):
            size = r.abs().max().item()
            if size < EXACT:
                return h
            J = torch.stack([slope(residual, h, j, r) for j in range(len(h))], 1)
            if not J.any():
                break
            flat = False
            move = torch.linalg.lstsq(J, -r.unsqueeze(1), driver="gelsd").solution[:, 0].tolist()
            h, better = shorter(residual, h, move, 0.8 * size)
            if better is None:
                break
            r = better
        found.append((r.abs().max().item(), len(found), h))
        followed += not flat
        if followed == BEST:
            break
    size, _, h = min(found, default=(math.inf, 0, None))
    # As near as rounding lets it come: a rounder number may be it.
    return h if size < 1e-2 else None


def out_of_reach(residuals):
    """Whether something is wrong that the numbers do not move."""
    if len(residuals) < 3 or not len(residuals[0]):
        return False
    low, high = torch.stack(residuals).aminmax(dim=0)
    return bool(((low == high) & (low.abs() > 1e-2)).any())


def relative(out, seen):
    """The relative residual where numbers are finite, or None where they cannot be compared."""
    if out is None or out.shape != seen.shape or (out.isfinite() != seen.isfinite()).any():
        return None
    return ((out - seen) / (1 + seen.abs()))[seen.isfinite()]


def apart(out, seen):
    r = relative(out, seen)
    return math.inf if r is None or not len(r) else r.abs().max().item()


def starts(n):
    """Scales of n examples: each alone, then together."""
    if n == 1:
        return [(s,) for s in SCALES]
    return itertools.product(PAIRED, repeat=n)


def slope(residual, h, j, r):
    step = 1e-3 * abs(h[j]) or 1e-3
    moved = residual([x + step * (i == j) for i, x in enumerate(h)])
    if moved is None or moved.shape != r.shape:
        return torch.zeros_like(r)
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


def roundings(run, seen, h):
    """Rounded h, the likely first: the roundest that does what was seen as well as any of them.

    0.2 is said for a solved 0.1993 if 0.2 comes nearer to what was seen, but 14 not for 13.7.
    """
    candidates = [[round_to(x, digits) for x in h] for digits in (2, 3, 4, 7)]
    away = [apart(run(x), seen) for x in candidates]
    limit = 2 * min(away) + NOISE
    return [
        candidates[i] for i in sorted(range(len(candidates)), key=lambda i: (away[i] > limit, i))
    ]


def round_to(x, digits):
    return float(f"{x:.{digits}g}")


def with_holes(mistake, version):
    """(fn, put): the edited function with its holes open, and a function that fills them with numbers."""
    names = {name: f"hole_{name}" for name in mistake.holes}
    examples = {names[name]: x for name, x in mistake.holes.items()}
    fn = compiled(mistake.reference, [fill(e, names) for e in version], space=examples)
    own = inspect.unwrap(fn).__globals__  # a decorated function has another module's
    spaces = [own, *(inspect.unwrap(own[e.of]).__globals__ for e in version if e.of)]

    def put(h):
        for space in spaces:
            space.update(zip(examples, h, strict=True))

    return fn, put
