"""The cases prove themselves: every one-edit mutant of a reference is refused on every seed, or said to be equivalent.

    python -m tests.mutants [--record] [exercise ...]       (all of them: about half an hour of one core)

A mutant is the reference with one edit of `pgcourse.checks.operators`. Its verdict must not depend on the
seed: it is tried on all of SEEDS, and one that is right on any of them is a survivor. A survivor is either
equivalent (it computes the same: `EQUIVALENT` in tests/equivalent.py says why) or a hole in the cases, to be closed
with a fixed case. With --record the figures go to tests/mutants.json, with a fingerprint of the reference,
the inputs and the operators; tests/test_mutants.py fails when they are stale, or when a hole is left.
"""

import argparse
import ast
import hashlib
import inspect
import json
import time
import warnings
from datetime import date
from pathlib import Path

import torch

from pgcourse.checks import all_exercises, drivers
from pgcourse.checks.core import difference
from pgcourse.checks.operators import edits
from pgcourse.checks.operators.trees import function_tree
from pgcourse.fingerprint import fingerprint

SEEDS = ("0", "a secret", "another", "a third", "a fourth")
SECONDS = (
    1.0  # a mutant that runs longer than that, where the reference takes milliseconds, is refused
)
RECORD = Path(__file__).with_name("mutants.json")


def exercises():
    """The exercises with a function to write, by name; a quiz has no formula."""
    return {n: e for n, e in all_exercises().items() if e.driver != "entry"}


def mutants(exercise):
    """[(edit, function)] of every different one-edit neighbor of the reference that compiles."""
    reference = inspect.unwrap(exercise.reference)
    tree = function_tree(inspect.getsource(reference))
    seen, found = {ast.unparse(tree)}, []
    for edit in edits(tree):
        text = ast.unparse(edit.tree)
        if text in seen:
            continue
        seen.add(text)
        space = dict(reference.__globals__)
        try:
            with warnings.catch_warnings(action="ignore"):
                exec(compile(ast.Module([edit.tree], []), "<mutant>", "exec"), space)
        except (SyntaxError, TypeError, ValueError):
            continue
        found.append((edit, space[tree.name]))
    return found


class Judge:
    """Whether a function is right on a seed, as fast as can be: it stops at the first case that is wrong."""

    def __init__(self, exercise):
        self.exercise = exercise
        self.rights = (exercise.reference, *exercise.accept)
        inputs = [[exercise.inputs(i, seed) for i in range(len(exercise.cases))] for seed in SEEDS]
        self.fixed = [
            i
            for i in range(len(exercise.cases))
            if all(drivers.same_plain(inputs[0][i], other[i]) for other in inputs[1:])
        ]
        self.order = {
            True: self.fixed,
            False: sorted(set(range(len(exercise.cases))) - {*self.fixed}),
        }

    def survives(self, fn):
        """The seeds on which nothing is wrong with fn."""
        live = self.agree(fn, SEEDS[0], self.fixed, {*range(len(self.rights))})
        return [s for s in SEEDS if live and self.agree(fn, s, self.order[False], live)]

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


def try_all(exercise, every=1, first=0):
    """(number tried, [(edit, seeds on which it survives)])"""
    judge, tried = Judge(exercise), mutants(exercise)[first::every]
    survivors = [(edit, seeds) for edit, fn in tried if (seeds := judge.survives(fn))]
    return len(tried), survivors


def key(edit):
    """How a survivor is written down: `before` ⟶ `after`, with the line within the function."""
    return f"{edit.line}: {edit.before} ⟶ {edit.after}"


def state_of(exercise):
    """A hash of all that decides: the reference's code, the operators, and the inputs of every case."""
    reference = inspect.unwrap(exercise.reference)
    code = fingerprint(f"{reference.__module__}.{reference.__name__}", "pgcourse.checks.operators")
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
        tried, survivors = try_all(exercise)
        took = time.process_time() - began
        print(f"{name}: {tried} mutants, {len(survivors)} survivors, {took:.1f} CPU s", flush=True)
        for edit, seeds in survivors:
            lucky = "" if len(seeds) == len(SEEDS) else f"   [{len(seeds)} of {len(SEEDS)} seeds]"
            print(f"    {edit.kind} | {key(edit)}{lucky}".replace("\n", " ; "), flush=True)
        record[name] = {
            "date": date.today().isoformat(),
            "fingerprint": state_of(exercise),
            "mutants": tried,
            "survivors": [key(edit) for edit, _ in survivors],
        }
        if options.record:
            text = json.dumps(record, indent=1, sort_keys=True, ensure_ascii=False)
            RECORD.write_text(text + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
