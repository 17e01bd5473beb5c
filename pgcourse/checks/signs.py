"""What telltales and symptoms look at: observations by the case's name, and where they are wrong."""

import math

import torch

from pgcourse.checks import drivers
from pgcourse.checks.compare import close, difference


class Signs:
    """What a telltale looks at: observations and right ones by the case's name, and where it is wrong."""

    def __init__(self, cases, seen, expected):
        names = [case.name for case in cases]
        self.cases, self.seen = cases, dict(zip(names, seen, strict=True))
        self.expected = dict(zip(names, expected, strict=True))

    def __getitem__(self, name):
        return self.seen[name]

    def right(self, name):
        return self.expected[name]

    def number(self, name):
        return number(self.seen[name])

    def wrong(self, case):
        return bool(difference(self.seen[case.name], self.expected[case.name], case))

    def right_in(self, *names):
        """Whether nothing is wrong in the cases of these names."""
        return not any(self.wrong(case) for case in self.cases if case.name in names)

    @property
    def wrong_parts(self):
        """Names of the parts that are wrong, guards apart."""
        return {case.part for case in self.cases if not case.raises and self.wrong(case)}

    @property
    def random(self):
        """Whether it draws random numbers."""
        return drivers.uses_random_numbers(self.seen.values())

    @property
    def values_right(self):
        """Whether every value is right, whatever the gradients are."""
        regular = [case.name for case in self.cases if not case.raises]
        return all(close(self.seen[n]["out"], self.expected[n]["out"]) for n in regular)


def number(seen):
    """The scalar that came out, or nan (which is neither equal to anything nor apart)."""
    out = seen["out"]
    scalar = type(out) in (int, float) or (torch.is_tensor(out) and out.dim() == 0)
    return float(out) if scalar else math.nan


def tells(pitfall, exercise, seen, expected):
    """What a telltale cannot even read (a bool for a number) it does not recognize."""
    try:
        return pitfall.telltale(Signs(exercise.cases, seen, expected))
    except Exception:
        return False
