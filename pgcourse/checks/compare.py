"""What two observations have in common and what differs, as facts: equality up to rounding, and Fault."""

import math
import reprlib
from dataclasses import dataclass

import torch

from pgcourse.checks import drivers, showing

BORROWED = (
    "{} is asked for, or gives what is asked for: a graded run of this lesson does not have it."
)


@dataclass(frozen=True)
class Fault:
    """A difference from the right answer: its general name, if it has one, and a sentence of fact."""

    name: str | None
    says: str


def tolerance(x):
    """(relative, absolute); a number times a bool, as in gamma * (~ended), is rounded to 32 bits."""
    return (
        (1e-4, 1e-5) if x.dtype in (torch.float32, torch.float16, torch.bfloat16) else (1e-6, 3e-7)
    )


def close(a, b):
    """Whether output a is as good as the right output b: same structure and values up to rounding."""
    if torch.is_tensor(b):
        if not torch.is_tensor(a):
            if type(a) not in (int, float) or b.dim():
                return False
            if not b.dtype.is_floating_point:
                return a == b.item()
            a = torch.tensor(a, dtype=b.dtype)
        if a.shape != b.shape:
            return False
        if not b.dtype.is_floating_point:
            return torch.equal(a.to(b.dtype), b)
        rtol, atol = tolerance(b if b.dtype != torch.float64 else a)
        if b.numel() <= FEW and a.dtype in EXACT and b.dtype in EXACT:
            return close_numbers(a.flatten().tolist(), b.flatten().tolist(), rtol, atol)
        finite = b[b.isfinite()]
        scale = max(1.0, finite.abs().max().item()) if len(finite) else 1.0
        return torch.allclose(a.double(), b.double(), rtol=rtol, atol=atol * scale, equal_nan=True)
    if isinstance(b, dict):
        return isinstance(a, dict) and a.keys() == b.keys() and all(close(a[k], b[k]) for k in b)
    if isinstance(b, list | tuple):
        return isinstance(a, list | tuple) and len(a) == len(b) and all(map(close, a, b))
    if torch.is_tensor(a) and a.dim() == 0:
        a = a.item()
    if type(b) in (int, float) and type(a) in (int, float):
        return math.isclose(a, b, rel_tol=1e-4, abs_tol=1e-5) or (math.isnan(a) and math.isnan(b))
    return type(a) is type(b) and a == b


WORD = 20  # letters of a word, at most
FEW = 64  # up to so many numbers a loop in Python is faster than torch's calls
EXACT = (torch.float32, torch.float64)  # as Python's numbers they are what they were


def close_numbers(a, b, rtol, atol):
    """As torch.allclose of both in 64 bits, with atol times the largest finite number of b, if that is above 1."""
    bound = atol * max(1.0, max((abs(y) for y in b if abs(y) < math.inf), default=1.0))
    for x, y in zip(a, b, strict=True):
        if x != y and (x == x or y == y):
            off = abs(x - y)
            if not (off < math.inf and off <= bound + rtol * abs(y)):
                return False
    return True


def nearly(a, b):
    """Whether two observations agree to a thousandth of their largest number, gradients too."""
    pairs = [(a["out"], b["out"])]
    pairs += [(a["grads"].get(k), b["grads"].get(k)) for k in a["grads"] | b["grads"]]
    for x, y in pairs:
        if x is None and y is None:
            continue
        x, y = (torch.as_tensor(v, dtype=torch.float64) if v is not None else v for v in (x, y))
        if x is None or y is None or x.shape != y.shape:
            return False
        finite = y[y.isfinite()].abs()
        bound = 1e-3 * max(1.0, finite.max().item() if len(finite) else 0.0)
        if not torch.allclose(x, y, rtol=0.0, atol=bound, equal_nan=True):
            return False
    return True


def close_grad(a, b):
    """Gradients agree; none at all is the same as zero."""
    if a is None or b is None:
        rest = b if a is None else a
        return rest is None or bool((rest.abs() <= 1e-7).all())
    return close(a, b)


def alike(a, b):
    """Whether two observations show the same behavior (dtypes and wording apart)."""
    if bool(a["error"]) != bool(b["error"]) or a["timeout"] != b["timeout"]:
        return False
    return (
        close(a["out"], b["out"])
        and close(b["out"], a["out"])
        and all(close_grad(a["grads"].get(k), b["grads"].get(k)) for k in a["grads"] | b["grads"])
        and a["modified"] == b["modified"]
        and a["state"] == b["state"]
    )


def factor(seen, known):
    """The number c other than 1 by which all of `seen` is c times `known`: results and gradients.

    seen, known : observations of the same cases (`known` may be lazy: most differ in the second)
    returns     : float, or None if there is no such number
    """
    c, numbers = None, 0
    for s, k in zip(seen, known, strict=True):
        out, right = s["out"], k["out"]
        if s["error"] or k["error"] or not (torch.is_tensor(right) and right.is_floating_point()):
            return None
        if type(out) in (int, float) and right.dim() == 0:
            out = torch.tensor(out, dtype=right.dtype)
        if not torch.is_tensor(out) or out.shape != right.shape:
            return None
        ok = right.isfinite() & out.isfinite()
        a, b = out[ok].double(), right[ok].double()
        if c is None and b.abs().sum() > 1e-6:
            c = ((a * b).sum() / (b * b).sum()).item()
            if not 1e-3 < abs(c) < 1e3 or math.isclose(c, 1, rel_tol=1e-3):
                return None
        numbers += int((b.abs() > 1e-6).sum())
        if not close(out, (c or 1) * right):
            return None
        for name in s["grads"] | k["grads"]:
            grad = k["grads"].get(name)
            if not close_grad(s["grads"].get(name), None if grad is None else (c or 1) * grad):
                return None
    return c if numbers > 1 else None


def state_fault(seen):
    if seen["modified"]:
        names = ", ".join(seen["modified"])
        return Fault("modified input", f"It changes its argument {names} in place; work on a copy.")
    return Fault("global state", f"It changes {', '.join(seen['state'])}, which others rely on.")


def difference(seen, expected, case):
    """The first fault of an observation, or None. States facts only; never guesses at a cause."""
    error, out, right = seen["error"], seen["out"], expected["out"]
    if seen["timeout"]:
        return Fault("endless loop", "It did not return in time: does a loop never end?")
    stub = error and error["type"] == "NotImplementedError"
    if stub and error["message"].endswith(BORROWED[2:]):
        return Fault(
            "borrowed",
            "It calls pgcourse's own function for it, which a graded run does not have: write it yourself.",
        )
    if stub and "not implemented for" not in error["message"]:  # torch's own words
        return Fault("not written", "There is nothing here yet: replace the `raise` line.")
    if case.raises:
        if error and error["type"] == "ValueError":
            return None
        came = f"raised {error['type']}" if error else f"returned {describe(out)}"
        return Fault(
            "no ValueError",
            f"Expected a ValueError for {case.name}; it {came}.",
        )
    if error and error["type"] == drivers.NotAnAnswer.__name__:
        return Fault("wrong type", f"{error['message'][:1].upper()}{error['message'][1:]}.")
    if error:
        where = f" ({error['line']})" if error["line"] else ""
        says = f"It raised {error['type']}: {error['message']}{where}."
        return Fault("exception", says)
    if out is None and right is not None:
        return Fault("returns nothing", "It returned None: is the `return` missing?")
    fault = out_difference(out, right)
    if fault:
        return fault
    for name, grad in expected["grads"].items():
        fault = grad_difference(name, seen["grads"].get(name), grad)
        if fault:
            return fault
    return None


def kind(x):
    if isinstance(x, str):
        return "a word or letter" if len(x) <= WORD else "text"
    if isinstance(x, list):
        return "names" if all(isinstance(name, str) for name in x) else "a list"
    kinds = ((bool, "True or False"), (int | float, "a number"))
    return next((name for kind, name in kinds if isinstance(x, kind)), type(x).__name__)


def quiz_fault(key, fault, seen, expected):
    """A wrong answer in the words of the quiz; the right one is not told."""
    out, right = seen["out"], expected["out"]
    if seen["error"] or seen["timeout"]:
        return fault
    if out is None or out == "":
        return Fault("no answer", f"“{key}” has no answer yet.")
    asked, given = kind(right), kind(out)
    if asked != given and type(out) is not type(right):
        says = f"“{key}” asks for {asked}; {showing.value(out, ())} is {given}."
        return Fault("another kind of answer", says)
    return Fault(None, f"“{key}”: {showing.value(out, ())} is not the right answer.")


def describe(x):
    if torch.is_tensor(x):
        kind = str(x.dtype).removeprefix("torch.")
        return f"a{'n' * kind.startswith('i')} {kind} tensor of shape {list(x.shape)}"
    if isinstance(x, dict) and "not plain" in x:
        return f"a {x['not plain']}"
    return f"{type(x).__name__} {reprlib.repr(x)}"[:80]  # a list may hold a million tensors


def out_difference(out, right, where="The result"):
    """What differs between an output and the right one: type, shape, NaN, dtype, sign, scale, elements."""
    if isinstance(right, dict):
        if not isinstance(out, dict):
            return Fault("wrong type", f"{where} should be a dict; it is {describe(out)}.")
        missing = [k for k in right if k not in out]
        if missing:
            return Fault("missing entry", f"{where} lacks {', '.join(map(repr, missing))}.")
        return next(filter(None, (out_difference(out[k], right[k], f"'{k}'") for k in right)), None)
    if isinstance(right, list | tuple):
        if not isinstance(out, list | tuple) or len(out) != len(right):
            says = f"{where} should be a {type(right).__name__} of {len(right)}; it is {describe(out)}."
            return Fault("wrong type", says)
        pairs = enumerate(zip(out, right, strict=True))
        return next(filter(None, (out_difference(o, r, f"Entry {i}") for i, (o, r) in pairs)), None)
    if not torch.is_tensor(right):
        if close(out, right):
            return None
        numbers = (bool, int, float)
        alike = type(out) is type(right) or (type(out) in numbers and type(right) in numbers)
        return Fault(
            None if alike or torch.is_tensor(out) else "wrong type",
            f"{where} is not right: it is {describe(out)}.",
        )
    if not torch.is_tensor(out) and not (type(out) in (int, float) and right.dim() == 0):
        says = (
            f"{where} should be a torch tensor of shape {list(right.shape)}; it is {describe(out)}."
        )
        return Fault("wrong type", says)
    out = torch.as_tensor(out, dtype=None if torch.is_tensor(out) else right.dtype)
    if out.shape != right.shape:
        says = f"{where} should have shape {list(right.shape)}; it has {list(out.shape)}."
        return Fault("wrong shape", says)
    if out.dtype.is_floating_point and (out.isnan() & ~right.isnan()).any():
        return Fault("not a number", f"{where} contains nan where a finite number is right.")
    if out.dtype.is_floating_point and (out.isinf() & ~right.isinf()).any():
        return Fault("infinite", f"{where} contains inf where a finite number is right.")
    if not close(out, right):
        return Fault(None, f"{where} is off: {relation(out, right)}.")
    wider = (right.dtype, out.dtype) == (torch.float32, torch.float64)  # no harm in more digits
    if out.dtype != right.dtype and not wider:
        says = (
            f"{where} should be {str(right.dtype)[6:]} like the input; it is {str(out.dtype)[6:]}."
        )
        return Fault("wrong dtype", says)
    return None


def grad_difference(name, grad, right):
    if close_grad(grad, right):
        return None
    if grad is None or not grad.any():
        says = f"No gradient reaches `{name}`: is there a detach(), item(), no_grad() or numpy on its way?"
        return Fault("no gradient", says)
    if right is None or not right.any():
        says = f"A gradient flows into `{name}`, which is a constant here: detach it."
        return Fault("gradient into a constant", says)
    if grad.isnan().any():
        return Fault("gradient not a number", f"The gradient into `{name}` contains nan.")
    if (grad.isinf() & ~right.isinf()).any():
        return Fault("infinite gradient", f"The gradient into `{name}` contains inf.")
    return Fault(None, f"The gradient into `{name}` is off: {relation(grad, right)}.")


def relation(a, b):
    """How a differs from b, as a fact: a constant factor or offset, reversed time, or which elements."""
    counts = not b.dtype.is_floating_point  # of indices and flags no factor is worth a word
    a, b = a.double().flatten(), b.double().flatten()
    ok = b.isfinite()
    a, b = a[ok], b[ok]
    if close(a, -b):
        return "here the sign is reversed"
    keep = b.abs() > 1e-9
    if not counts and keep.any() and (a[~keep].abs() < 1e-9).all():
        ratio = a[keep] / b[keep]
        # One number always has a factor; then only a round one means something.
        c = ratio[0].item()
        if (
            1e-3 < abs(c) < 1e3
            and not math.isclose(c, 1, rel_tol=1e-3)
            and close(ratio, torch.full_like(ratio, c))
            and (len(ratio) > 1 or is_round(c))
        ):
            return f"here it is {c:.4g} times the right one"
    offset = (a - b)[:1]
    if not counts and len(a) > 1 and close(a - b, offset.expand(len(a))):
        return f"every element is off by {offset.item():.4g}"
    if len(a) > 1 and close(a, b.flip(0)):
        return "the elements come in reversed order"
    if len(a) == 1:
        return f"the relative error is {((a - b) / b.abs().clamp(min=1e-12)).abs().item():.3g}"
    rtol, atol = 1e-4, 1e-5 * max(1.0, b.abs().max().item())
    wrong = ((a - b).abs() > atol + rtol * b.abs()).nonzero().flatten().tolist()
    if len(wrong) == 1:
        return f"only element {wrong[0]} of {len(a)} is wrong"
    return f"{len(wrong)} of {len(a)} elements are wrong, the first is element {wrong[0] if wrong else 0}"


def is_round(c):
    return math.isfinite(c) and (
        any(math.isclose(abs(c) * k, round(abs(c) * k), rel_tol=1e-3) for k in (1, 2, 3)) and c != 0
    )
