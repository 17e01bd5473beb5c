"""One wrong function: what was seen of it, what would have been right, and whether a candidate does the same."""

import math
import time
from dataclasses import dataclass
from functools import cached_property

import torch

from pgcourse.checks import budget, drivers, showing
from pgcourse.checks.compare import close, close_grad
from pgcourse.checks.fit import vector

SECOND_SEED = "once more"  # a name that was searched for must hold for these inputs, too


@dataclass(frozen=True)
class Found:
    """A mistake, or several, that were found by a search: what the learner reads."""

    name: str
    says: str
    why: str = ""
    wrong: object = None


@dataclass
class Search:
    """One wrong function: what was seen of it, and what would have been right.

    faults : for each case the difference, or None
    again  : function seed -> observations of the same function, or None where it cannot be called
    until  : CPU time at which all searches end; by default budget.NAME from now on
    aside  : cases that are left out
    cut    : whether one of them was cut
    """

    exercise: object
    seed: str
    seen: list
    expected: list
    failing: list
    faults: list
    again: object = None
    until: float | None = None
    aside: tuple = ()
    cut: bool = False

    def __post_init__(self):
        self.until = self.until or time.process_time() + budget.NAME
        self.deadline = math.inf
        cases = self.exercise.cases
        self.regular = [i for i, c in enumerate(cases) if not c.raises]
        ran = [i for i in self.regular if not self.seen[i]["error"] and not self.seen[i]["timeout"]]
        # Guards apart, the function is right: then the cases that must raise tell, those that do raise, too.
        self.only_guards = bool(self.failing) and not set(self.failing) & set(self.regular)
        if self.only_guards:
            ran = [*range(len(cases))]
        elif 2 * len(ran) < len(self.regular):
            ran = self.regular
        self.inputs, ran = {}, [i for i in ran if i not in self.aside]
        # A small failing case with some numbers first: there nearly everything drops out at once.
        self.ran = sorted(
            ran, key=lambda i: (i not in self.failing, -min(self.size(i), 3), self.cost(i), i)
        )

    @property
    def fault(self):
        """The difference in the smallest failing case, or None."""
        i = self.exercise.smallest(self.failing, self.seed)
        return None if i is None else self.faults[i]

    def look(self, find, *args):
        """What find(search, *args) gives, or None when the time of all searches is over.

        The clock is looked at before each candidate's call; one that never ends is stopped, too.
        """
        self.deadline = self.until
        try:
            with drivers.time_limit(self.exercise.seconds):
                return find(self, *args)
        except drivers.TimeLimit:
            self.cut = True
            return None
        finally:
            self.deadline = math.inf

    def hurry(self):
        """raises: TimeLimit when the time of this look is over"""
        if time.process_time() > self.deadline:
            raise drivers.TimeLimit

    def overflowed(self):
        """The failing cases with larger (or more different) inputs than any other, where all that is wrong is nan or inf."""
        given = {i: measures(self.exercise.inputs(i, self.seed)) for i in self.regular}
        over = [i for i in self.failing if given.get(i) and self.not_finite(i)]
        rest = [i for i in given if given[i] and i not in over]
        for kind in range(3) if over and rest else ():
            if min(given[i][kind] for i in over) > max(given[i][kind] for i in rest):
                return tuple(over)
        return ()

    def not_finite(self, i):
        """Whether nan or inf was seen in case i where numbers are right, and every number is right."""
        if self.seen[i]["error"] or self.seen[i]["timeout"]:
            return False
        a, b = vector(self.seen[i]), vector(self.expected[i])
        if a is None or b is None or a.shape != b.shape or not (b.isfinite() & ~a.isfinite()).any():
            return False
        return not self.tells_apart(i)

    def size(self, i):
        numbers = vector(self.seen[i])
        return 0 if numbers is None else int(numbers.isfinite().sum())

    def cost(self, i):
        return showing.size(self.exercise.inputs(i, self.seed))

    def known(self, i, fn):
        self.hurry()
        return self.exercise.known_on(i, fn, self.seed)

    def quick(self, fn, i, seed=None, grad=True):
        """Result and gradients alone, without watching over inputs and global state."""
        self.hurry()
        key = i, self.seed if seed is None else seed
        if key not in self.inputs:
            self.inputs[key] = self.exercise.inputs(*key)
        given = drivers.copy_plain(self.inputs[key])
        wanted = self.exercise.cases[i].grad if grad else ()
        torch.random.set_rng_state(drivers.START)  # as `observe` does; `name` puts back what was
        try:
            out, grads = drivers.DRIVERS[self.exercise.driver](fn, given, wanted)
        except drivers.TimeLimit:
            raise
        except Exception as e:
            return dict(out=None, grads={}, error=dict(type=type(e).__name__))
        return dict(out=drivers.copy_plain(out), grads=drivers.copy_plain(grads), error=None)

    def does(self, fn, cases=None):
        """Whether fn does what was seen, in all of the cases: a candidate that was searched for."""
        return all(
            (
                not self.exercise.cases[i].grad
                or same(self.seen[i], self.quick(fn, i, grad=False), False)
            )
            and same(self.seen[i], self.quick(fn, i))
            for i in (self.ran if cases is None else cases)
        )

    def holds(self, fn):
        """Whether it differs from what is right by finite numbers, and agrees on a second seed."""
        if not any(self.tells_apart(i) for i in self.ran):
            return False
        if self.again is None:
            return True
        return all(same(self.second[i], self.quick(fn, i, SECOND_SEED)) for i in self.ran)

    @cached_property
    def second(self):
        return self.again(SECOND_SEED)

    def tells_apart(self, i):
        """Whether a finite number was seen in case i that is not the right one: nan alone proves nothing."""
        if i not in self.failing or self.seen[i]["error"]:
            return False
        a, b = vector(self.seen[i]), vector(self.expected[i])
        if a is None or b is None or a.shape != b.shape:
            return True
        ok = a.isfinite() & b.isfinite()
        return bool(ok.any()) and not close(a[ok].float(), b[ok].float())


def measures(args):
    """(largest size, largest difference, largest difference in a row) of the numbers given; None if not all finite."""
    given = [x for x in args.values() if torch.is_tensor(x) and x.is_floating_point()]
    given = [x.detach().reshape(-1, x.shape[-1] if x.dim() else 1) for x in given if x.numel()]
    if not given or not all(x.isfinite().all() for x in given):
        return None
    sizes = [(x.abs().max(), x.max() - x.min(), (x.amax(1) - x.amin(1)).max()) for x in given]
    return [max(map(float, column)) for column in zip(*sizes, strict=True)]


def same(a, b, grads=True):
    """`alike`, without inputs and global state."""
    if bool(a["error"]) or bool(b["error"]):
        return bool(a["error"]) == bool(b["error"])
    return (
        close(a["out"], b["out"])
        and close(b["out"], a["out"])
        and all(
            close_grad(a["grads"].get(k), b["grads"].get(k))
            for k in (a["grads"] | b["grads"] if grads else ())
        )
    )
