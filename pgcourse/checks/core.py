"""Exercises, mistakes and the verdict: what is right, which mistake it is, what it earns.

A check is three steps with plain data between them, so that they can run in different processes:

    inputs        exercise.inputs(i, seed)                   the judge's side
    observation   drivers.observe(driver, fn, inputs, …)     the worker's side: the student's function
    verdict       exercise.verdict(seed, observations)       the judge's side: reference, mistakes, points
"""

from __future__ import annotations

import hashlib
import os
import sys
import time
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import Any

import torch

from pgcourse.checks import budget, drivers, recognize, showing
from pgcourse.checks.compare import alike, close, difference, nearly, quiz_fault, state_fault
from pgcourse.checks.edits import compiled
from pgcourse.checks.evidence import Search
from pgcourse.checks.guards import guards_refuse
from pgcourse.checks.verdict import CheckFailed, Verdict, show_card, stuck

KNOWN = {}  # observations of references and pitfalls, by exercise, function, seed and case
VISIBLE_SEED = "0"  # the learner's seed; a graded run sets PGCOURSE_SEED to a secret one
Seed = str | int


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
class Exercise:
    """A function to be written, and all that is needed to judge it.

    reference : the right function; its name is the exercise's name
    parts     : {part: points}; the first one is the condition for the others (see gate), and "clean" is
                earned by leaving inputs and global state alone
    cases     : list of Case; together they decide the parts
    mistakes  : list of Mistake
    read      : where to read on
    accept    : other conventions that are right too: edits of the reference (one, or a tuple of them), or
                functions; one of them must agree on every case
    driver    : how the function is called, a name in drivers.DRIVERS
    seconds   : limit for one call
    reads     : what an answer leads to, worked out on the judge's side (votes: what they teach); that is
                compared in place of the answer
    gate      : whether the first part is the condition for the others (no for a quiz)
    ladder    : a mistake in one part shows in all later ones too: of several mistakes, the first part
                that is wrong tells which, and no two are looked for
    tries     : how many candidates each search may run; few where a call takes long (see slow)
    """

    reference: Callable
    parts: dict
    cases: list
    mistakes: list = ()
    read: str = ""
    accept: tuple = ()
    driver: str = "call"
    seconds: float = 5.0
    reads: Callable | None = None
    gate: bool = True
    ladder: bool = False
    tries: int = 1500
    lesson: str = field(default="", compare=False)

    def __post_init__(self):
        if "clean" not in self.parts or {c.part for c in self.cases} != set(self.parts) - {"clean"}:
            raise ValueError(
                f"{self.name}: the cases' parts and Exercise.parts (with 'clean') differ."
            )
        if any(len({x.name for x in xs}) < len(xs) for xs in (self.mistakes, self.cases)):
            raise ValueError(f"{self.name}: two mistakes or two cases have one name.")

    @property
    def name(self) -> str:
        return self.reference.__name__

    @property
    def points(self) -> float:
        return float(sum(self.parts.values()))

    @cached_property
    def pitfalls(self) -> list:
        """The mistakes, as edits of this reference."""
        return [m.of(self.reference) for m in self.mistakes]

    @property
    def slow(self) -> bool:
        """Whether a call takes so long that only what is likely is tried."""
        return self.tries < 200

    @cached_property
    def accept_edits(self) -> list[tuple]:
        """The conventions that are edits of the reference, as tuples of Edit."""
        edits = (a if isinstance(a, tuple) else (a,) for a in self.accept if not callable(a))
        return [*edits]

    @cached_property
    def rights(self) -> tuple[Callable, ...]:
        """The reference and the functions that are right by another convention."""
        others = [a for a in self.accept if callable(a)]
        edited = [compiled(self.reference, edits) for edits in self.accept_edits]
        return (self.reference, *others, *edited)

    @cached_property
    def cached(self) -> dict:
        """What was worked out once: generic edits of the reference; the inputs of the last seed."""
        return {}

    def inputs(self, i: int, seed: Seed) -> dict[str, Any]:
        """The arguments of case i, as plain data that nobody changes; the same for the same seed."""
        if self.cached.get("seed") != str(seed):  # one verdict asks for them many times
            self.cached.update(seed=str(seed), inputs={})
        if i not in self.cached["inputs"]:
            digest = hashlib.sha256(f"{self.name}/{i}/{seed}".encode()).digest()
            generator = torch.Generator().manual_seed(int.from_bytes(digest[:4], "big"))
            self.cached["inputs"][i] = self.cases[i].inputs(generator)
        return dict(self.cached["inputs"][i])

    def known(self, fn: Callable, seed: Seed) -> list[dict]:
        """`observe` for the reference and the pitfalls, which are looked at again and again."""
        return [self.known_on(i, fn, seed) for i in range(len(self.cases))]

    def known_on(self, i: int, fn: Callable, seed: Seed) -> dict:
        """The observation of one case; most pitfalls are told apart by the first that is looked at."""
        key = (self.name, fn, str(seed), i)
        if key not in KNOWN:
            args, grad = self.inputs(i, seed), self.cases[i].grad
            seen = drivers.observe(self.driver, fn, args, grad, self.seconds)
            KNOWN[key] = self.understood([seen])[0]
        return KNOWN[key]

    def understood(self, seen: list[dict]) -> list[dict]:
        """The observations with what their answers lead to in place of the answers, where `reads` says that."""
        if self.reads is None:
            return seen
        return [
            s if s["error"] or s["timeout"] else {**s, "out": self.reads(s["out"])} for s in seen
        ]

    def observe(self, fn: Callable, seed: Seed) -> list[dict]:
        """What fn does on every case: a list of observations. After a time-out the rest are not run."""
        seen = []
        for i, case in enumerate(self.cases):
            if seen and seen[-1]["timeout"]:
                seen.append(dict(seen[-1]))
            else:
                args = self.inputs(i, seed)
                seen.append(drivers.observe(self.driver, fn, args, case.grad, self.seconds))
        return seen

    def verdict(
        self,
        seed: Seed,
        seen: list[dict],
        again: Callable | None = None,
        until: float | None = None,
    ) -> Verdict:
        """Judge the observations of one function (one per case, made from the same seed).

        again : function seed -> observations of the same function, where it can be called
        until : CPU time at which the search for a name ends; by default budget.NAME from now on
        """
        earned, seen, expected, faults, unclean = self.credit(seed, seen)
        score = self.total(earned)
        if all(earned.values()):
            return Verdict(self, True, score, None, f"{self.name} is right.", earned)
        failing = [i for i, f in enumerate(faults) if f]
        i = self.smallest(failing, seed)
        search = Search(self, seed, seen, expected, failing, faults, again, until)
        found, where = recognize.best(search, earned)
        if found and found in faults:
            i = faults.index(found)
        shown = [j for j in where if j in failing and self.shows(found, j, seed, expected)]
        i = self.smallest(shown, seed) if shown else i
        if not found:  # an input that was changed tells more than a number that is off
            found = unclean[0] if unclean and (i is None or not faults[i].name) else faults[i]
        if getattr(found, "near", False):
            far = [j for j in failing if seen[j]["error"] or not nearly(seen[j], expected[j])]
            earned = self.nearly_earned(far or failing[:1], earned["clean"] is not False)
            i = self.smallest(far, seed) if far else i  # where it shows
            score = self.total(earned)
        name, says, why = found.name, found.says, getattr(found, "why", "")
        if unclean and recognize.leaves_alone(search, found):
            says += f" Besides: {unclean[0].says}"
        accepted = recognize.accepted(search, found)
        if accepted is not None:
            says += f" Besides, it should raise a ValueError for {self.cases[accepted].name}."
        if name == "no ValueError" and self.guarded(i, seed):
            says += " The line given at the top of the exercise's cell raises it: keep it first."
        if name == "not written" and str(seed) == VISIBLE_SEED:
            says += " If it is written, run its cell (Shift+Enter), then this one again."
        example = ""
        if i is not None and str(seed) == VISIBLE_SEED:
            rows = (
                (self.cases[j], self.inputs(j, seed), seen[j], expected[j]) for j in (i, *shown)
            )
            example = showing.clearest(self.driver, rows, close)
        traceback = seen[i]["error"]["traceback"] if i is not None and seen[i]["error"] else ""
        return Verdict(
            self, False, score, name, says, earned, example, why, traceback, hurried=search.cut
        )

    def credit(self, seed: Seed, seen: list[dict]) -> tuple[dict, list[dict], list, list, list]:
        """(earned, seen, expected, faults, unclean): what is right, before any name is looked for.

        earned  : {part: right or not; None where it was not counted}
        seen    : `understood`
        unclean : a fault for each case in which inputs or global state were changed
        """
        seen = self.understood(seen)
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
        return earned, seen, expected, faults, unclean

    def score(self, seed: Seed, seen: list[dict]) -> float:
        """The points that observations earn by `credit`."""
        return self.total(self.credit(seed, seen)[0])

    def total(self, earned: dict) -> float:
        return float(sum(points for part, points in self.parts.items() if earned[part]))

    def nearly_earned(self, far: Sequence[int], clean: bool) -> dict[str, bool]:
        """The parts that an approximation earns: where it is right to a thousandth, but for one."""
        wrong = {self.cases[i].part for i in far}
        return {part: part not in wrong for part in self.parts} | {"clean": clean}

    def convention(self, seen: list[dict], seed: Seed) -> tuple[list[dict], list]:
        """(expected, faults) under the right convention that leaves the fewest cases wrong.

        expected : the observations of that right answer
        faults   : for each case the first difference from it that matters, or None
        """
        best = self.compare(seen, self.known(self.reference, seed))
        for right in self.rights[1:]:
            # of each part that is wrong one case; a convention that mends none of them mends no part
            wrong = {case.part: i for i, case in enumerate(self.cases) if best[1][i]}.values()
            if not all(
                difference(seen[i], self.known_on(i, right, seed), self.cases[i]) for i in wrong
            ):
                other = self.compare(seen, self.known(right, seed))
                best = min(best, other, key=lambda pair: sum(map(bool, pair[1])))
        return best

    def compare(self, seen: list[dict], expected: list[dict]) -> tuple[list[dict], list]:
        pairs = zip(self.cases, seen, expected, strict=True)
        faults = [difference(s, e, case) for case, s, e in pairs]
        if self.driver == "entry":
            rows = enumerate(zip(faults, seen, expected, strict=True))
            faults = [f and quiz_fault(self.inputs(i, "")["key"], f, s, e) for i, (f, s, e) in rows]
        return expected, faults

    def first_part(self, failing: list[int]) -> list[int]:
        """Of the cases that fail those of the first part that has any: a symptom speaks of these."""
        part = next(part for part in self.parts if any(self.cases[i].part == part for i in failing))
        return [i for i in failing if self.cases[i].part == part]

    def shows(self, found: Any, i: int, seed: Seed, expected: list[dict]) -> bool:
        """Whether case i tells the mistake that was found from the right answer."""
        wrong = None if getattr(found, "telltale", None) else getattr(found, "wrong", None)
        return wrong is None or not alike(self.known_on(i, wrong, seed), expected[i])

    def guarded(self, i: int, seed: Seed) -> bool:
        """Whether the lines that are given at the top of the learner's cell refuse case i."""
        return self.driver in drivers.PLAIN and guards_refuse(
            self.reference, self.inputs(i, seed).values()
        )

    def smallest(self, cases: Iterable[int], seed: Seed) -> int | None:
        """The case to show: a wrong result before a missing guard, then the one with the fewest numbers."""
        return min(
            cases,
            key=lambda i: (self.cases[i].raises, showing.size(self.inputs(i, seed))),
            default=None,
        )


def judge(
    fn: Any, exercise: str | Exercise | None = None, seed: Seed | None = None, where: bool = False
) -> Verdict:
    """Judge a function; never raises for a student's fault.

    fn       : the student's function (anything that is not one is judged too)
    exercise : name of the exercise or an Exercise; by default the function's own name
    seed     : what the inputs are made from; by default PGCOURSE_SEED, else the visible seed
    where    : also look for the line, in the function's own text (budget.LINE more CPU seconds)
    returns  : Verdict
    raises   : KeyError if there is no such exercise
    """
    verdict, seen, seed = judged(fn, exercise, seed)
    return replace(verdict, where=find(fn, verdict, seed, seen)) if where else verdict


def judged(
    fn: Any,
    exercise: str | Exercise | None = None,
    seed: Seed | None = None,
    seconds: float = budget.NAME,
) -> tuple[Verdict, list[dict], Seed]:
    """(verdict, observations, seed) of `judge`. seconds : of CPU, for all of it"""
    from pgcourse.checks import get
    from pgcourse.checks.carried import carried

    if not isinstance(exercise, Exercise):
        exercise = get(exercise or getattr(fn, "__name__", repr(fn)))
    seed = os.environ.get("PGCOURSE_SEED", VISIBLE_SEED) if seed is None else seed
    if not callable(fn):
        says = f"Expected a function; got {type(fn).__name__}. Run the cell that defines it first."
        nothing = dict.fromkeys(exercise.parts)
        return Verdict(exercise, False, 0.0, "not a function", says, nothing), [], seed
    until, threads = time.process_time() + seconds, torch.get_num_threads()
    torch.set_num_threads(1)  # so few numbers: on a busy machine a second thread costs seconds
    try:

        def observe(seed):
            return exercise.observe(fn, seed)

        with drivers.steady():
            seen = observe(seed)
            verdict = exercise.verdict(seed, seen, observe, until)
            if not verdict.passed:
                verdict = carried(fn, exercise, seed, verdict, until)
        return verdict, seen, seed
    finally:
        torch.set_num_threads(threads)


def find(fn: Any, verdict: Verdict, seed: Seed, seen: list[dict]) -> Any:
    """Where a wrong function goes wrong (checks.where.Located), or None."""
    if verdict.passed or not seen or verdict.pitfall == "not written":
        return None
    from pgcourse.checks.where import locate  # a right answer does not wait for it

    try:
        return locate(fn, verdict.exercise, seed, seen)
    except Exception:  # whatever a learner's objects do when they are copied: the card is there
        return None


def check(fn: Any, exercise: str | Exercise | None = None) -> float:
    """Judge a function, show the verdict as a card, and return the points earned as a float.

    The card comes at once; the line of a mistake is added to it when it has been found, and so is its name
    where that takes longer.

    raises : CheckFailed (an AssertionError with the verdict on it) if nothing was earned
    """
    verdict, seen, seed = judged(fn, exercise, seconds=budget.CARD)
    if str(seed) == VISIBLE_SEED:
        verdict = replace(verdict, stuck=stuck(verdict))
    card = show_card(verdict)
    if notebook := sys.modules.get("pgcourse.notebook"):  # a lesson's first cell loaded it
        notebook.renew(verdict)
    if str(seed) == VISIBLE_SEED:
        shown, where = verdict, find(fn, verdict, seed, seen)
        if where:
            verdict = replace(verdict, where=where)
            card.update(verdict) if card else print(where)
        if shown.hurried:
            more = judged(fn, exercise)[0]
            if more.message != shown.message:
                verdict = replace(more, where=where, stuck=shown.stuck)
                card.update(verdict) if card else print(more.message)
    if verdict.score == 0:
        raise CheckFailed(verdict)
    return float(min(max(verdict.score, 0.0), verdict.points))
