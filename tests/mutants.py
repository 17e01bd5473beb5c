"""The cases prove themselves: every mutant of a reference is refused on every seed, or it is equivalent.

    python -m tests.mutants [--record] [exercise ...]        (all of them: ten minutes of one core)

A mutant is the reference with one edit of `pgcourse.checks.operators`, with a clamp around one expression
(scale), or with a row of one flag overwritten (luck). Its verdict must not depend on the seed: it is tried on
all of SEEDS, and one that is right on any of them is a survivor. Survivors are run on other inputs (see
`others`): where these tell one from the reference, the cases have a hole, to be closed with a fixed case;
else it is equivalent, and the record says why. OUTSIDE names what only inputs outside the contract tell apart.

With --record the figures go to tests/mutants.json, with a fingerprint of the reference, the inputs and the
operators; tests/test_mutants.py fails when they are stale, or when a hole is left.
"""

import argparse
import ast
import hashlib
import inspect
import json
import time
import warnings
from datetime import date
from functools import cached_property
from pathlib import Path

import torch

from pgcourse.checks import all_exercises, drivers
from pgcourse.checks.core import difference
from pgcourse.checks.guards import is_guard
from pgcourse.checks.operators import Edit, edits
from pgcourse.checks.operators.trees import expressions, function_tree, method, number
from pgcourse.fingerprint import fingerprint

SEEDS = ("0", "a secret", "another", "a third", "a fourth")
SECONDS = (
    1.0  # a mutant that runs longer than that, where the reference takes milliseconds, is refused
)
RECORD = Path(__file__).with_name("mutants.json")


def exercises():
    """The exercises with a function to write, by name; a quiz has no formula."""
    return {n: e for n, e in all_exercises().items() if e.driver != "entry"}


CLAMPS = (100, 10)  # what 100 does not change, 10 may
LUCK = tuple(str(i) for i in range(40))  # a flag in one row comes up by chance: many seeds
ROWS = ((0, False), (0, True), (-1, False), (-1, True))


def mutants(exercise):
    """[(edit, function)] of every different one-edit neighbor of the reference that compiles."""
    reference = inspect.unwrap(exercise.reference)
    tree = function_tree(inspect.getsource(reference))
    seen, found = {ast.unparse(tree)}, []
    for edit in [*edits(tree), *clamps(tree)]:
        space = dict(reference.__globals__)
        try:
            text = ast.unparse(edit.tree)
            if text in seen:
                continue
            seen.add(text)
            with warnings.catch_warnings(action="ignore"):
                exec(compile(ast.Module([edit.tree], []), "<mutant>", "exec"), space)
        except (SyntaxError, TypeError, ValueError):
            continue
        found.append((edit, space[tree.name]))
    return found + rows(exercise, tree)


def clamps(tree):
    """A clamp around each expression: cases whose numbers are small do not see it."""
    for path, node in expressions(tree):
        for c in CLAMPS if not isinstance(node, ast.Constant) else ():
            new = method(node, "clamp", number(-c), number(c))
            yield Edit("a clamp", "", tree, path, node, new, node.lineno)


def rows(exercise, tree):
    """One row (or column) of one flag or mask overwritten: luck decides, unless a case has it."""
    first = next(i for i, case in enumerate(exercise.cases) if not case.raises)
    found, plain = [], exercise.driver in drivers.PLAIN
    args = exercise.inputs(first, SEEDS[0]) if plain else {}
    flagged = [i for i, case in enumerate(exercise.cases) if not case.raises] if plain else []
    flags = {
        name for i in flagged for name, x in exercise.inputs(i, SEEDS[0]).items()
        if torch.is_tensor(x) and x.dtype == torch.bool
    }  # fmt: skip
    for k, name in enumerate(
        args | dict.fromkeys(inspect.signature(exercise.reference).parameters)
    ):
        for axis in (0, 1) if name in flags else ():
            for row, flag in ROWS:
                edit = Edit(f"row {row} of axis {axis}", "", tree, (), ast.Name(name),
                            ast.Name(f"{name} with {flag} there"), 0)  # fmt: skip
                found.append((edit, overwritten(exercise.reference, k, axis, row, flag)))
    return found


def overwritten(fn, k, axis, row, flag):
    def mutant(*args):
        args = [*args]
        if k < len(args) and torch.is_tensor(args[k]) and args[k].dim() > axis:
            args[k] = args[k].clone()
            args[k].select(axis, row).fill_(flag)
        return fn(*args)

    return mutant


class Judge:
    """Whether a function is right on a seed, as fast as can be: it stops at the first case that is wrong."""

    def __init__(self, exercise):
        self.exercise = exercise
        self.rights = exercise.rights
        inputs = [[exercise.inputs(i, seed) for i in range(len(exercise.cases))] for seed in SEEDS]
        self.fixed = [
            i
            for i in range(len(exercise.cases))
            if all(drivers.same_plain(inputs[0][i], other[i]) for other in inputs[1:])
        ]
        self.drawn = sorted({*range(len(exercise.cases))} - {*self.fixed})

    def survives(self, fn, seeds):
        """The seeds on which nothing is wrong with fn."""
        live = self.agree(fn, seeds[0], self.fixed, {*range(len(self.rights))})
        return [s for s in seeds if live and self.agree(fn, s, self.drawn, live)]

    def agree(self, fn, seed, cases, live):
        """Which of the right conventions agree with fn on these cases. The order of cases learns."""
        e, live = self.exercise, set(live)
        for i in list(cases):
            case = e.cases[i]
            seen = drivers.observe(e.driver, fn, e.inputs(i, seed), case.grad, SECONDS)
            if seen["modified"] or seen["state"]:
                return set()
            live = {
                c for c in live if not difference(seen, e.known_on(i, self.rights[c], seed), case)
            }
            if not live:
                cases.remove(i)
                cases.insert(0, i)
                return live
        return live

    def told_apart(self, fn):
        """The first other input on which fn is not what the reference is, or None."""
        e = self.exercise
        for i, what, args, rights in self.others:
            seen = drivers.observe(e.driver, fn, args, e.cases[i].grad, SECONDS)
            if all(differs(seen, right, e.cases[i]) for right in rights):
                return f"{e.cases[i].name}, {what}"
        return None

    @cached_property
    def others(self):
        """[(case, what was changed, inputs, what is right)]: other seeds, larger numbers, other flags."""
        e, found = self.exercise, []
        regular = [i for i, case in enumerate(e.cases) if not case.raises]
        for i in regular:
            g = torch.Generator().manual_seed(i)
            for what, change in CHANGES.items():
                found.append((i, what, changed(e.inputs(i, f"other {what}"), change, g)))
        found.sort(key=lambda x: [*CHANGES].index(x[1]))
        return [
            (
                i,
                what,
                args,
                [drivers.observe(e.driver, r, args, e.cases[i].grad) for r in self.rights],
            )
            for i, what, args in found[:OTHERS]
        ]


OTHERS = 150  # inputs a survivor is tried on
CONSTRAINED = {
    "pi",
    "P",
    "start",
    "action",
    "act",
    "actions",
    "tokens",
    "log_alpha",  # a thousand times as large its exponential is beyond every number
}  # no other numbers than these
CHANGES = {
    "a thousand times as large": lambda x, g: 1000 * x if x.is_floating_point() else x,
    "ten times as large": lambda x, g: 10 * x if x.is_floating_point() else x,
    "random flags": lambda x, g: torch.rand(x.shape, generator=g) < 0.5 if x.dtype == torch.bool else x,
    "other numbers": lambda x, g: x,
    "an end in the last row": lambda x, g: x.index_fill(0, torch.tensor(len(x) - 1), True)
    if x.dtype == torch.bool and x.dim() and len(x) else x,
    "a hundredth": lambda x, g: x / 100 if x.is_floating_point() else x,
}  # fmt: skip


def changed(x, change, g, name=""):
    """Plain data with `change` done to its tensors; flags of an end stay consistent."""
    if isinstance(x, dict):
        made = {k: v if k in CONSTRAINED else changed(v, change, g, k) for k, v in x.items()}
        if "ended" in made and "terminated" in made:
            made["ended"] = made["ended"] | made["terminated"]
        return made
    if isinstance(x, list | tuple):
        return type(x)(changed(v, change, g) for v in x)
    return change(x, g) if torch.is_tensor(x) else x


def differs(seen, right, case):
    """Where the reference raises, whoever raises is as good; nan and inf are compared as they are."""
    if right["error"] or right["timeout"]:
        return False
    return difference(seen, right, case)


TRIED = f"no difference on {OTHERS} other inputs: other seeds and flags, numbers 0.01 to 1000 times as large"


def why_equivalent(edit, exercise):
    """The reason why a survivor is equivalent, where it need not be tried out; else None."""
    if edit.path and edit.path[0][0] == "body" and isinstance(edit.path[0][1], int):
        if is_guard(edit.root.body[edit.path[0][1]]) and edit.kind not in ("axis", "a neighbor"):
            return "it stands in the guard, which compares shapes alone"
    if edit.kind.startswith("detach") and not any(case.grad for case in exercise.cases):
        return "no gradient is asked for"
    return None


def try_all(exercise, every=1, first=0):
    """(number tried, {survivor: why it is equivalent}, {hole: the input that tells it})"""
    judge, tried = Judge(exercise), mutants(exercise)[first::every]
    same, holes = {}, {}
    for edit, fn in tried:
        seeds = LUCK if edit.kind.startswith("row") else SEEDS
        right = judge.survives(fn, seeds)
        if not right:
            continue
        why = why_equivalent(edit, exercise)
        told = "luck" if len(right) < len(seeds) else why is None and judge.told_apart(fn)
        lucky = (
            "" if len(right) == len(seeds) else f" [right on {len(right)} of {len(seeds)} seeds]"
        )
        outside = next(
            (why for part, why in OUTSIDE.get(exercise.name, ()) if part in key(edit)), ""
        )
        if told and not outside:
            holes[key(edit)] = told + lucky
        else:
            same[key(edit)] = outside or why or TRIED
    return len(tried), same, holes


OUTSIDE = {  # exercise: ((part of the survivor, why no input of the contract tells it apart), ...)
    "rlhf_advantages": (
        ("mask & goes_on ⟶ mask | goes_on", "an answer is one unbroken run of tokens"),
    ),
    "probability_ratio": (
        ("clamp(-100, 100)", "no policy changes by a factor e^100 in an update"),
    ),
    "squashed_gaussian_logp": (
        ("log_std ⟶ log_std.clamp(-100, 100)", "no standard deviation is e^100"),
        ("-log_std ⟶ (-log_std).clamp(-100, 100)", "no standard deviation is e^100"),
    ),
    "normalize_advantage": (
        ("1e-08", "the epsilon is a convention: any small one is right"),
        ("kept ⟶ kept + 1", "a shift leaves the standard deviation as it is, up to rounding"),
    ),
    "grpo_advantages": (("1e-08 ⟶ 1e-07", "the epsilon is a convention: one up to 1e-4 is right"),),
    "ppo_update": (("kl > config.target_kl ⟶ kl >= config.target_kl", "no KL is infinite"),),
    "approx_kl": ((".clamp(-100, 100)", "no policy changes by a factor e^100"),),
}


def key(edit):
    """How a survivor is written down: `before` ⟶ `after`, with the line within the function."""
    return f"{edit.kind} | {edit.line}: {edit.before} ⟶ {edit.after}".replace("\n", "; ")


OPERATORS = [
    "pgcourse.checks.operators"
]  # each registers its own: no name leads from one to the other
OPERATORS += [f"{OPERATORS[0]}.{room}" for room in ("places", "statements", "trees", "values")]


def state_of(exercise):
    """A hash of all that decides: the reference's code, the operators, and the inputs of every case."""
    reference = inspect.unwrap(exercise.reference)
    code = fingerprint(f"{reference.__module__}.{reference.__name__}", *OPERATORS)
    hashed = hashlib.sha256(code.encode())
    for i, case in enumerate(exercise.cases):
        add(hashed, (case.grad, case.raises, exercise.inputs(i, SEEDS[1])))
    return hashed.hexdigest()[:16]


def add(hashed, x):
    """Plain data into a hash, the same on every machine."""
    if torch.is_tensor(x):
        hashed.update(f"{x.dtype}{list(x.shape)}{[show(v) for v in x.flatten().tolist()]}".encode())
    elif isinstance(x, dict):
        for name, value in x.items():
            hashed.update(str(name).encode())
            add(hashed, value)
    elif isinstance(x, list | tuple):
        for value in x:
            add(hashed, value)
    else:
        hashed.update(show(x).encode())


def show(x):
    return f"{x:.3g}" if isinstance(x, float) else str(x)


def main():
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("names", nargs="*")
    parser.add_argument("--record", action="store_true")
    options = parser.parse_args()
    torch.set_num_threads(1)
    record = json.loads(RECORD.read_text(encoding="utf-8")) if RECORD.exists() else {}
    for name in options.names or exercises():
        exercise, began = exercises()[name], time.process_time()
        tried, same, holes = try_all(exercise)
        took = time.process_time() - began
        print(
            f"{name}: {tried} mutants, {len(same)} equivalent, {len(holes)} holes, {took:.1f} CPU s"
        )
        for hole, told in holes.items():
            print(f"    {hole}      <- {told}", flush=True)
        record[name] = {
            "date": date.today().isoformat(),
            "fingerprint": state_of(exercise),
            "mutants": tried,
            "equivalent": same,
            "holes": holes,
        }
        if options.record:
            text = json.dumps(record, indent=1, sort_keys=True, ensure_ascii=False)
            RECORD.write_text(text + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
