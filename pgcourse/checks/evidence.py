"""One wrong function: what was seen of it, what would have been right, and whether a candidate does the same."""

from dataclasses import dataclass

import torch

from pgcourse.checks import drivers, showing
from pgcourse.checks.compare import close, close_grad
from pgcourse.checks.fit import vector

SECOND_SEED = "once more"  # a name that was searched for must hold for these inputs, too


@dataclass
class Search:
    """One wrong function: what was seen of it, and what would have been right.

    fault : the difference in the smallest failing case, or None
    again : function seed -> observations of the same function, or None where it cannot be called
    """

    exercise: object
    seed: str
    seen: list
    expected: list
    failing: list
    fault: object = None
    again: object = None

    def __post_init__(self):
        cases = self.exercise.cases
        self.regular = [i for i, c in enumerate(cases) if not c.raises]
        ran = [i for i in self.regular if not self.seen[i]["error"] and not self.seen[i]["timeout"]]
        # Guards apart, the function is right: then the cases that must raise tell.
        self.only_guards = bool(self.failing) and not set(self.failing) & set(self.regular)
        if self.only_guards:
            ran = sorted({*self.regular, *self.failing})
        elif 2 * len(ran) < len(self.regular):
            ran = self.regular
        self.inputs = {}
        # A small failing case with some numbers first: there nearly everything drops out at once.
        self.ran = sorted(
            ran, key=lambda i: (i not in self.failing, -min(self.size(i), 3), self.cost(i), i)
        )

    def size(self, i):
        numbers = vector(self.seen[i])
        return 0 if numbers is None else int(numbers.isfinite().sum())

    def cost(self, i):
        return showing.size(self.exercise.inputs(i, self.seed))

    def known(self, i, fn):
        return self.exercise.known_on(i, fn, self.seed)

    def quick(self, fn, i, seed=None, grad=True):
        """Result and gradients alone, without watching over inputs and global state."""
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
        seen = self.again(SECOND_SEED)
        return all(same(seen[i], self.quick(fn, i, SECOND_SEED)) for i in self.ran)

    def tells_apart(self, i):
        """Whether a finite number was seen in case i that is not the right one: nan alone proves nothing."""
        if i not in self.failing or self.seen[i]["error"]:
            return False
        a, b = vector(self.seen[i]), vector(self.expected[i])
        if a is None or b is None or a.shape != b.shape:
            return True
        ok = a.isfinite() & b.isfinite()
        return bool(ok.any()) and not close(a[ok].float(), b[ok].float())


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
