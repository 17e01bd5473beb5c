"""What is true of many mistakes: pitfalls that are recognized by a property of the results.

They are looked at when no pitfall does what the submission does. Each says a fact that its sign has
checked ("advantages twice as large do not give twice the loss"), and where that points.
"""

import math

import torch

from pgcourse.checks.compare import close, difference
from pgcourse.checks.core import Case, Pitfall
from pgcourse.checks.signs import number  # noqa: F401  the lessons in the older form have it from here


def symptom(exercise, name, says, wrong, sign):
    """A Pitfall that is recognized by sign(observations by the case's name)."""

    def telltale(seen, expected):
        return sign(dict(zip((case.name for case in exercise().cases), seen, strict=True)))

    return Pitfall(name, says, wrong, telltale=telltale, symptom=True)


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


def part_symptom(exercise, name, says, wrong, sign):
    """A Pitfall that is recognized by the parts that are wrong, guards apart: sign(set of their names)."""

    def telltale(seen, expected):
        cases = exercise().cases
        return sign(
            {
                case.part
                for case, s, e in zip(cases, seen, expected, strict=True)
                if not case.raises and difference(s, e, case)
            }
        )

    return Pitfall(name, says, wrong, telltale=telltale, symptom=True)


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


def where_symptom(exercise, name, says, wrong, right=(), off=()):
    """A Pitfall that is recognized by cases, by their names, that are right and that are not."""

    def telltale(seen, expected):
        found = {
            case.name: difference(s, e, case)
            for case, s, e in zip(exercise().cases, seen, expected, strict=True)
        }
        return all(found[name] for name in off) and not any(found[name] for name in right)

    return Pitfall(name, says, wrong, telltale=telltale, symptom=True)


def gradient_symptom(exercise, wrong):
    """A Pitfall that is recognized by this: every value is right, a gradient is not."""

    def telltale(seen, expected):
        return all(
            case.raises or close(s["out"], e["out"])
            for case, s, e in zip(exercise().cases, seen, expected, strict=True)
        )

    says = "The values are right and their gradient is not: another function of the same value."
    return Pitfall("another gradient", says, wrong, telltale=telltale, symptom=True)


def leak_symptom(exercise, constant, wrong):
    """A Pitfall that is recognized by this: a gradient flows into a constant, whatever else is off."""

    def telltale(seen, expected):
        grads = [s["grads"].get(constant) for s in seen]
        return any(grad is not None and grad.any() for grad in grads)

    says = f"The result is off, and a gradient flows into `{constant}` besides, which is a constant here."
    return Pitfall(f"gradient into `{constant}` too", says, wrong, telltale=telltale, symptom=True)


def few_digits(exercise, wrong):
    """A Pitfall that is recognized by this: every number is right to half a percent, and no better."""

    def telltale(seen, expected):
        return all(
            case.raises or ((s["out"] - e["out"]).abs() <= 0.005 * e["out"].abs() + 1e-3).all()
            for case, s, e in zip(exercise().cases, seen, expected, strict=True)
        )

    says = "It is right to two or three digits and no more: rounded, or in half precision?"
    return Pitfall("right to a few digits only", says, wrong, telltale=telltale, symptom=True)


def apart(a, b):
    """Whether two results that should be equal are not (two tensors of one shape)."""
    if not torch.is_tensor(a) or not torch.is_tensor(b) or a.shape != b.shape:
        return False
    return not close(a, b)
