"""Exercises, pitfalls and the verdict: what is right, which mistake it is, what it earns.

A check is three steps with plain data between them, so that they can run in different processes:

    inputs        exercise.inputs(i, seed)                   the judge's side
    observation   drivers.observe(driver, fn, inputs, …)     the worker's side: the student's function
    verdict       exercise.verdict(seed, observations)       the judge's side: reference, pitfalls, points
"""

import html
import math
import os
import reprlib
import zlib
from collections.abc import Callable
from dataclasses import dataclass, field

import torch

from pgcourse.checks import drivers, showing
from pgcourse.checks.guards import guards_refuse

KNOWN = {}  # observations of references and pitfalls, by exercise, function, seed and case
MARKS = {True: "✓", False: "✗", None: "–"}  # right, wrong, not counted
VISIBLE_SEED = "0"  # the learner's seed; a graded run sets PGCOURSE_SEED to a secret one


@dataclass(frozen=True)
class Case:
    """One set of inputs. Small cases come first in a lesson's list: they are shown to the learner.

    name   : completes "in the case of …"
    inputs : function of a torch.Generator; returns the arguments by name, in the order of the signature
    part   : the part of the exercise that this case decides (a key of Exercise.parts)
    grad   : arguments that get requires_grad, and whose gradients are compared; name the constants
             too, so that a gradient that leaks into one is seen
    raises : True if a ValueError is the right answer (shapes that would broadcast, empty input)
    """

    name: str
    inputs: Callable
    part: str
    grad: tuple = ()
    raises: bool = False


@dataclass(frozen=True)
class Pitfall:
    """A mistake that people make.

    name  : two to five words
    says  : the sentence that the learner reads: what the submission does
    wrong : the mistake as a runnable function with the exercise's signature
    why   : why it matters, one sentence
    also  : the same mistake on top of another right convention (a factor 1/2, the other std)
    telltale : for a mistake whose numbers cannot be foreseen (it draws random ones): a function of
               the list of observations that recognizes it; None = recognized by its numbers
    symptom  : its telltale is true of many mistakes ("negative", "padding counts"): looked at last,
               and called with what was seen and what is right
    """

    name: str
    says: str
    wrong: Callable
    why: str = ""
    telltale: Callable | None = None
    also: tuple = ()
    symptom: bool = False


@dataclass(frozen=True)
class Exercise:
    """A function to be written, and all that is needed to judge it.

    reference : the right function; its name is the exercise's name
    parts     : {part: points}; the first one is the condition for the others (see gate), and "clean" is
                earned by leaving inputs and global state alone
    cases     : list of Case; together they decide the parts
    pitfalls  : list of Pitfall
    read      : where to read on
    accept    : other functions that are right too (other conventions); one must agree on every case
    driver    : how the function is called, a name in drivers.DRIVERS
    seconds   : limit for one call
    gate      : whether the first part is the condition for the others (no for a quiz)
    ladder    : a mistake in one part shows in all later ones too: of several mistakes, the first part
                that is wrong tells which (and a slow exercise is judged soon)
    """

    reference: Callable
    parts: dict
    cases: list
    pitfalls: list
    read: str
    accept: tuple = ()
    driver: str = "call"
    seconds: float = 5.0
    gate: bool = True
    ladder: bool = False
    lesson: str = field(default="", compare=False)

    def __post_init__(self):
        if "clean" not in self.parts or {c.part for c in self.cases} != set(self.parts) - {"clean"}:
            raise ValueError(
                f"{self.name}: the cases' parts and Exercise.parts (with 'clean') differ."
            )
        if any(len({x.name for x in xs}) < len(xs) for xs in (self.pitfalls, self.cases)):
            raise ValueError(f"{self.name}: two pitfalls or two cases have one name.")

    @property
    def name(self):
        return self.reference.__name__

    @property
    def points(self):
        return float(sum(self.parts.values()))

    def inputs(self, i, seed):
        """The arguments of case i, as plain data; the same for the same seed."""
        generator = torch.Generator().manual_seed(zlib.crc32(f"{self.name}/{i}/{seed}".encode()))
        return self.cases[i].inputs(generator)

    def known(self, fn, seed):
        """`observe` for the reference and the pitfalls, which are looked at again and again."""
        return [self.known_on(i, fn, seed) for i in range(len(self.cases))]

    def known_on(self, i, fn, seed):
        """The observation of one case; most pitfalls are told apart by the first that is looked at."""
        key = (self.name, fn, str(seed), i)
        if key not in KNOWN:
            args, grad = self.inputs(i, seed), self.cases[i].grad
            KNOWN[key] = drivers.observe(self.driver, fn, args, grad, self.seconds)
        return KNOWN[key]

    def observe(self, fn, seed):
        """What fn does on every case: a list of observations. After a time-out the rest are not run."""
        seen = []
        for i, case in enumerate(self.cases):
            if seen and seen[-1]["timeout"]:
                seen.append(dict(seen[-1]))
            else:
                args = self.inputs(i, seed)
                seen.append(drivers.observe(self.driver, fn, args, case.grad, self.seconds))
        return seen

    def verdict(self, seed, seen):
        """Judge the observations of one function (one per case, made from the same seed)."""
        expected, faults = self.convention(seen, seed)
        unclean = [state_fault(s) for s in seen if s["modified"] or s["state"]]
        earned = {
            part: not any(
                f for f, case in zip(faults, self.cases, strict=True) if case.part == part
            )
            for part in self.parts
        }
        earned["clean"] = not unclean
        if self.gate and not earned[next(iter(self.parts))]:
            earned = dict.fromkeys(earned, None) | {next(iter(self.parts)): False}
        score = float(sum(self.parts[part] for part, ok in earned.items() if ok))
        if all(earned.values()):
            return Verdict(self, True, score, None, f"{self.name} is right.", earned)
        failing = [i for i, f in enumerate(faults) if f]
        found, where = self.recognize(seed, seen, expected, failing)
        smallest = self.smallest(failing, seed)
        if not found and failing and not faults[smallest].name:
            found, where = self.recognize_in_one_part(seed, seen, expected, earned)
            if not found:
                symptoms = (p for p in self.pitfalls if p.symptom and tells(p, seen, expected))
                found, where = next(symptoms, None), failing
        shown = [i for i in where if i in failing and self.shows(found, i, seed, expected)]
        i = self.smallest(shown, seed) if shown else smallest
        if not found and i is not None and not faults[i].name:  # an exception tells more
            broken = [j for j in failing if faults[j].name == "exception"]
            i = self.smallest(broken, seed) if broken else i
        if not found:  # an input that was changed tells more than a number that is off
            found = unclean[0] if unclean and (i is None or not faults[i].name) else faults[i]
        name, says, why = found.name, found.says, getattr(found, "why", "")
        if name == "no ValueError" and self.guarded(i, seed):
            says += " The line that was given at the top does that: keep it first."
        if name == "not written" and str(seed) == VISIBLE_SEED:
            says += (
                " If you have written it already, run its cell (Shift+Enter), then this one again."
            )
        example = ""
        if i is not None and str(seed) == VISIBLE_SEED:
            args = self.inputs(i, seed)
            example = showing.example(self.cases[i], self.driver, args, seen[i], expected[i], close)
        traceback = seen[i]["error"]["traceback"] if i is not None and seen[i]["error"] else ""
        return Verdict(self, False, score, name, says, earned, example, why, traceback)

    def convention(self, seen, seed):
        """(expected, faults) under the right convention that leaves the fewest cases wrong.

        expected : the observations of that right answer
        faults   : for each case the first difference from it that matters, or None
        """
        best = self.compare(seen, self.known(self.reference, seed))
        for right in self.accept:
            # of each part that is wrong one case; a convention that mends none of them mends no part
            wrong = {case.part: i for i, case in enumerate(self.cases) if best[1][i]}.values()
            if not all(
                difference(seen[i], self.known_on(i, right, seed), self.cases[i]) for i in wrong
            ):
                other = self.compare(seen, self.known(right, seed))
                best = min(best, other, key=lambda pair: sum(map(bool, pair[1])))
        return best

    def compare(self, seen, expected):
        pairs = zip(self.cases, seen, expected, strict=True)
        faults = [difference(s, e, case) for case, s, e in pairs]
        if self.driver == "entry":
            rows = enumerate(zip(faults, seen, expected, strict=True))
            faults = [f and quiz_fault(self.inputs(i, "")["key"], f, s, e) for i, (f, s, e) in rows]
        return expected, faults

    def recognize(self, seed, seen, expected, failing):
        """(mistake, cases): the pitfall that does what the function did on every case where it returned.

        If none does: a factor, if that is all; a pitfall that agrees up to a factor; else (None, []).
        """
        regular = [i for i, c in enumerate(self.cases) if not c.raises]
        ran = [i for i in regular if not seen[i]["error"] and not seen[i]["timeout"]]
        # Guards apart, the function is right: then the cases that must raise tell.
        if failing and not set(failing) & set(regular):
            ran = range(len(self.cases))
        elif 2 * len(ran) < len(regular):
            ran = regular
        ran = sorted(ran, key=lambda i: i not in failing)  # there most pitfalls drop out at once
        for pitfall in self.pitfalls:
            if pitfall.telltale:
                if failing and not pitfall.symptom and tells(pitfall, seen):
                    return pitfall, failing
            elif any(self.agrees(fn, seed, seen, expected, ran) for fn in variants(pitfall)):
                return pitfall, ran
        if not set(failing) & set(regular):
            return None, []
        given = [seen[i] for i in ran]

        def of(fn):
            return (self.known_on(i, fn, seed) for i in ran)

        rights = (self.reference, *self.accept)
        c = next(filter(None, (factor(given, of(right)) for right in rights)), None)
        if c is not None:
            if round(c, 3) == -1:
                return Fault("wrong sign", "The result is off: the sign is reversed."), ran
            says = f"The result is off: it is {c:.4g} times the right one, in every case."
            return Fault("wrong factor", says), ran
        for pitfall in self.pitfalls:
            for fn in () if pitfall.telltale else variants(pitfall):
                if factor(given, of(fn)) is not None:
                    known = [*of(fn)]
                    if all(factor(known, of(right)) is None for right in rights):
                        return pitfall, ran
        return None, []

    def recognize_in_one_part(self, seed, seen, expected, earned):
        """Whoever makes several mistakes hears of one: the pitfall that agrees on all cases of a part.

        It must be wrong on two of them, and not by a 0: two single numbers may be equal by accident.
        """
        failed = [part for part, ok in earned.items() if not ok]
        for part in failed[:1] if self.ladder else failed:
            cases = [i for i, c in enumerate(self.cases) if c.part == part and not c.raises]
            cases = [i for i in cases if not all_zero(seen[i]["out"])]
            cases.sort(key=lambda i: alike(seen[i], expected[i]))  # most drop out at the first
            if len(cases) < 2 or any(  # what another convention calls right tells nothing
                all(alike(seen[i], self.known_on(i, right, seed)) for i in cases)
                for right in self.accept
            ):
                continue
            for pitfall in self.pitfalls:
                if not pitfall.telltale and any(
                    self.agrees(fn, seed, seen, expected, cases, 2) for fn in variants(pitfall)
                ):
                    return pitfall, cases
        return None, []

    def agrees(self, fn, seed, seen, expected, cases, wrong=1):
        """Whether a pitfall does what was seen on these cases, and is wrong on some of them."""
        return all(alike(seen[i], self.known_on(i, fn, seed)) for i in cases) and wrong <= sum(
            not alike(self.known_on(i, fn, seed), expected[i]) for i in cases
        )

    def shows(self, found, i, seed, expected):
        """Whether case i tells the mistake that was found from the right answer."""
        if not isinstance(found, Pitfall) or found.telltale:
            return True
        return not alike(self.known_on(i, found.wrong, seed), expected[i])

    def guarded(self, i, seed):
        """Whether the lines that are given at the top of the learner's cell refuse case i."""
        return self.driver in drivers.PLAIN and guards_refuse(
            self.reference, self.inputs(i, seed).values()
        )

    def smallest(self, cases, seed):
        """The case to show: a wrong result before a missing guard, then the one with the fewest numbers."""
        return min(
            cases, key=lambda i: (self.cases[i].raises, size(self.inputs(i, seed))), default=None
        )


@dataclass(frozen=True, repr=False)
class Verdict:
    """What a check found.

    passed  : bool, everything is right
    score   : float, 0 … points
    pitfall : name of the mistake (a Pitfall of the exercise, or a general one), None if passed or unknown
    message : the sentence for the learner
    earned  : {part: True, False, or None where it was not counted: the first part is wrong}
    example : the smallest case that shows it; "" in a graded run, whose inputs are secret
    """

    exercise: Exercise
    passed: bool
    score: float
    pitfall: str | None
    message: str
    earned: dict
    example: str = ""
    why: str = ""
    traceback: str = ""

    @property
    def points(self):
        return self.exercise.points

    @property
    def headline(self):
        mark = "✓" if self.passed else "✗"
        named = f" — {self.pitfall}" if self.pitfall else ""
        return f"{mark} {self.exercise.name}{named} · {self.score:g} of {self.points:g} points"

    def __str__(self):
        if self.passed:
            return self.headline
        parts = "  ".join(f"{MARKS[ok]} {part}" for part, ok in self.earned.items())
        lines = [self.headline, self.message, self.example, self.why, f"Parts: {parts}"]
        return "\n".join([line for line in lines if line] + [f"Read: {self.exercise.read}"])

    __repr__ = __str__

    def _repr_html_(self):
        """A card: readable in light and dark themes, and by a screen reader."""
        color = "#009E73" if self.passed else ("#E69F00" if self.score else "#D55E00")
        rows = [f"<b>{html.escape(self.headline)}</b>"]
        if not self.passed:
            rows.append(html.escape(self.message))
            if self.example:
                rows.append(f"<pre style='margin:.3em 0'>{html.escape(self.example)}</pre>")
            if self.why:
                rows.append(f"<i>{html.escape(self.why)}</i>")
            parts = " &nbsp; ".join(
                f"{MARKS[ok]} {html.escape(part)}" for part, ok in self.earned.items()
            )
            rows.append(
                f"<small>{parts} &nbsp;·&nbsp; Read: {html.escape(self.exercise.read)}</small>"
            )
            if self.traceback:
                rows.append(
                    "<details><summary>Traceback</summary>"
                    f"<pre>{html.escape(self.traceback)}</pre></details>"
                )
        body = "".join(f"<div>{row}</div>" for row in rows)
        return (
            f"<div role='status' style='border-left:.4em solid {color};padding:.4em .8em;"
            f"margin:.3em 0'>{body}</div>"
        )


class CheckFailed(AssertionError):
    """Nothing was earned. The verdict says why; the traceback in a notebook is one line."""

    def __init__(self, verdict):
        super().__init__(f"{verdict.headline}\n{verdict.message}")
        self.verdict = verdict

    def _render_traceback_(self):
        return [f"CheckFailed: {self}"]


def judge(fn, exercise=None, seed=None):
    """Judge a function; never raises for a student's fault.

    fn       : the student's function (anything that is not one is judged too)
    exercise : name of the exercise or an Exercise; by default the function's own name
    seed     : what the inputs are made from; by default PGCOURSE_SEED, else the visible seed
    returns  : Verdict
    raises   : KeyError if there is no such exercise
    """
    from pgcourse.checks import get

    if not isinstance(exercise, Exercise):
        exercise = get(exercise or getattr(fn, "__name__", repr(fn)))
    seed = os.environ.get("PGCOURSE_SEED", VISIBLE_SEED) if seed is None else seed
    if not callable(fn):
        says = f"Expected a function; got {type(fn).__name__}. Run the cell that defines it first."
        nothing = dict.fromkeys(exercise.parts)
        return Verdict(exercise, False, 0.0, "not a function", says, nothing)
    threads = torch.get_num_threads()
    torch.set_num_threads(1)  # so few numbers: on a busy machine a second thread costs seconds
    try:
        return exercise.verdict(seed, exercise.observe(fn, seed))
    finally:
        torch.set_num_threads(threads)


def check(fn, exercise=None):
    """Judge a function, show the verdict as a card, and return the points earned as a float.

    raises : CheckFailed (an AssertionError with the verdict on it) if nothing was earned
    """
    verdict = judge(fn, exercise)
    try:
        from IPython import get_ipython
        from IPython.display import display

        show_card = display if get_ipython() else print
    except ImportError:
        show_card = print
    show_card(verdict)
    if verdict.score == 0:
        raise CheckFailed(verdict)
    return float(min(max(verdict.score, 0.0), verdict.points))


# --- comparing observations ---


@dataclass(frozen=True)
class Fault:
    """A difference from the right answer: its general name, if it has one, and a sentence of fact."""

    name: str | None
    says: str


def tolerance(x):
    return (
        (1e-4, 1e-5) if x.dtype in (torch.float32, torch.float16, torch.bfloat16) else (1e-6, 1e-8)
    )


def close(a, b):
    """Whether output a is as good as the right output b: same structure and values up to rounding."""
    if torch.is_tensor(b):
        if not torch.is_tensor(a):
            a = torch.tensor(a, dtype=b.dtype) if type(a) in (int, float) and b.dim() == 0 else None
        if a is None or a.shape != b.shape:
            return False
        if not b.dtype.is_floating_point:
            return torch.equal(a.to(b.dtype), b)
        rtol, atol = tolerance(b if b.dtype != torch.float64 else a)
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


def all_zero(out):
    return torch.is_tensor(out) and not out.any()


def tells(pitfall, *seen):
    """What a telltale cannot even read (a bool for a number) it does not recognize."""
    try:
        return pitfall.telltale(*seen)
    except Exception:
        return False


def variants(pitfall):
    return pitfall.wrong, *pitfall.also


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


def quiz_fault(key, fault, seen, expected):
    """A wrong answer in the words of the quiz; the right one is not told."""
    out, right = seen["out"], expected["out"]
    if seen["error"] or seen["timeout"]:
        return fault
    if out is None or out == "":
        return Fault("no answer", f"“{key}” has no answer yet.")
    asked = next(name for kinds, name in KINDS if isinstance(right, kinds))
    given = next((name for kinds, name in KINDS if isinstance(out, kinds)), type(out).__name__)
    if asked != given:
        says = f"“{key}” asks for {asked}; {showing.value(out, ())} is {given}."
        return Fault("another kind of answer", says)
    return Fault(None, f"“{key}”: {showing.value(out, ())} is not the right answer.")


KINDS = (
    (bool, "True or False"),
    ((int, float), "a number"),
    (str, "a word or letter"),
    (list, "names"),
)


def describe(x):
    if torch.is_tensor(x):
        return f"a {str(x.dtype).removeprefix('torch.')} tensor of shape {list(x.shape)}"
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
    a, b = a.double().flatten(), b.double().flatten()
    ok = b.isfinite()
    a, b = a[ok], b[ok]
    if close(a, -b):
        return "the sign is reversed"
    keep = b.abs() > 1e-9
    if keep.any() and (a[~keep].abs() < 1e-9).all():
        ratio = a[keep] / b[keep]
        # One number always has a factor; then only a round one means something.
        c = ratio[0].item()
        if close(ratio, torch.full_like(ratio, c)) and (len(ratio) > 1 or is_round(c)):
            return f"it is {c:.4g} times the right one"
    offset = (a - b)[:1]
    if len(a) > 1 and close(a - b, offset.expand(len(a))):
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


def size(args):
    """Number of elements in plain data: the smallest case is the one to show."""
    if torch.is_tensor(args):
        return args.numel()
    if isinstance(args, dict):
        return sum(map(size, args.values()))
    return sum(map(size, args)) if isinstance(args, list | tuple) else 1
