"""Facts about what was seen that many mistakes share; the exercises of lesson 6 look at them last."""

from dataclasses import replace

import torch

from pgcourse.checks.compare import close, close_grad
from pgcourse.checks.edits import symptom, telltale


def comparable(out, right):
    """Whether other names (an exception, a wrong shape, nan) do not fit better."""
    if torch.is_tensor(right):
        return torch.is_tensor(out) and out.shape == right.shape and bool(out.isfinite().all())
    return type(out) is type(right)


def outs(at, *names):
    """(result, right result) of some cases."""
    return [(at[name]["out"], at.right(name)["out"]) for name in names]


def regular(at):
    return [case.name for case in at.cases if not case.raises]


def fact(name, says, wrong, sign):
    """A family of mistakes, told by what is true of what was seen: sign(Signs)."""

    def holds(at):
        return not any(s["modified"] for s in at.seen.values()) and sign(at)

    return symptom(name, says, wrong, holds)


def approximation(name, says, wrong, sign):
    """An approximation that practice uses, in one of many forms (see Mistake.near)."""
    return replace(fact(name, says, wrong, sign), near=True)


def partly_right(name, says, wrong, right_in, wrong_in):
    """Right in the cases `right_in`, where one term drops out, wrong in `wrong_in`."""

    def sign(at):
        good, bad = outs(at, *right_in), outs(at, *wrong_in)
        return (
            all(comparable(*pair) for pair in (*good, *bad))
            and all(close(*pair) for pair in good)
            and not any(close(*pair) for pair in bad)
        )

    return fact(name, says, wrong, sign)


def same_error(name, says, wrong, one, other):
    """The error is the same in two cases, so it is in what they have in common."""

    def sign(at):
        pairs = outs(at, one, other)
        if any(not comparable(*pair) or close(*pair) for pair in pairs):
            return False
        errors = [out.double() - right.double() for out, right in pairs]
        return torch.allclose(*errors, rtol=1e-3, atol=1e-5)

    return fact(name, says, wrong, sign)


def derivative(name, says, wrong, case, combine):
    """In this case a combination of gradients is not what it should be."""

    def sign(at):
        seen, right = at[case], at.right(case)
        grads = {k: torch.zeros_like(g) for k, g in right["grads"].items()}
        grads |= {k: g for k, g in seen["grads"].items() if g is not None}
        return comparable(seen["out"], right["out"]) and not close(
            combine(**grads), combine(**right["grads"])
        )

    return fact(name, says, wrong, sign)


def wrong_gradient(wrong):
    return fact(
        "right value, wrong gradient",
        "The values are right, a gradient is not: is something detached, or counted twice on the way back?",
        wrong,
        lambda at: at.values_right,
    )


def tensors(out):
    return [x for part in out for x in tensors(part)] if isinstance(out, list) else [out]


def nearly_right(wrong):
    """Every tensor is within 2 % of the right one (of its largest number)."""

    def sign(at):
        pairs = [
            pair
            for out, right in outs(at, *regular(at))
            for pair in zip(tensors(out), tensors(right), strict=True)
            if torch.is_tensor(pair[1])
        ]
        return not all(close(*pair) for pair in pairs) and all(
            comparable(out, right)
            and (out - right).abs().max() <= 0.02 * max(0.1, right.abs().max().item())
            for out, right in pairs
        )

    says = "Every result is within 2 % of the right one, and no more: is something rounded, or computed in half precision?"
    return fact("right to two digits", says, wrong, sign)


def another_divisor(wrong):
    """In each case loss and gradients are the right ones up to a factor, which depends on the case."""

    def sign(at):
        factors = []
        for name in regular(at):
            seen, right = at[name], at.right(name)
            if not any(g is not None for g in right["grads"].values()):
                continue
            if not comparable(seen["out"], right["out"]) or right["out"].abs() < 1e-6:
                return False
            factors.append((seen["out"] / right["out"]).item())
            for key, grad in right["grads"].items():
                if not close_grad(
                    seen["grads"].get(key), None if grad is None else factors[-1] * grad
                ):
                    return False
        return len(factors) > 1 and max(factors) - min(factors) > 1e-3

    says = "In each case it is right up to a factor, which is not the same in all cases: what is it divided by?"
    return fact("another divisor", says, wrong, sign)


def rows_left_out(wrong):
    """The gradients of some rows of a batch are all 0."""

    def sign(at):
        grads = [g for g in at["a batch"]["grads"].values() if g is not None]
        return comparable(*outs(at, "a batch")[0]) and any(
            sum(g.abs() for g in grads) < 1e-7 * max(g.abs().max() for g in grads)
        )

    says = "Some rows get no gradient at all: the loss is a mean over all rows."
    return fact("rows left out", says, wrong, sign)


def draws(wrong):
    return telltale(
        "draws random numbers",
        "It draws random numbers; the same arguments should give the same result.",
        wrong,
        lambda at: at.random,
    )
