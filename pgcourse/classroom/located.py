"""The line at which a wrong answer goes wrong, in a class: for the student's page, and for no points.

The search (`checks.where`) runs the student's function beside the right one. So it comes last of all, in
sandboxed sessions of its own, with the whole package and the numbers of the notebook, and nothing else.
What it says is a change of lines, which is believed where the usual worker finds everything right after
it; the words about it are made here.
"""

import ast
import contextlib
import time
from dataclasses import replace

from pgcourse.checks import budget
from pgcourse.checks.cells import clean
from pgcourse.checks.core import VISIBLE_SEED
from pgcourse.checks.statements import tree_of
from pgcourse.checks.where import by_hand
from pgcourse.classroom.warm import NoIsolation, WorkerFailed, warm_worker

WALL = 9.0
MOST_LINES, MOST_COLUMNS = 40, 500  # that a change may bring
IN_VAIN = {  # there is no text, it would cost too much, or the words say all there is
    *("not written", "syntax error", "cell raises", "not a function", "endless loop", "borrowed"),
    *("killed", "cell killed", "cell stalls", "too much", "not an answer", "no time left"),
}


def located(run, exercises, verdicts, spoken):
    """{name: Verdict, with the line} of those where it was found.

    run      : judge.Run that has judged them
    verdicts : {name: Verdict} as they are given, of all exercises
    spoken   : {name: Verdict} on the numbers of the notebook
    """
    found, until = {}, time.monotonic() + run.seconds
    for name, verdict in verdicts.items():
        seen = spoken[name]
        if verdict.passed or seen.passed or seen.pitfall in IN_VAIN or time.monotonic() > until:
            continue
        with contextlib.suppress(NoIsolation, WorkerFailed):
            _, *about = run.worker.key
            search = run.another(worker=warm_worker(*about, whole=True))
            where = proven(search.where(name, budget.LINE_OF_A_CLASS, WALL), run, exercises[name])
            if where:
                found[name] = replace(verdict, where=where)
    return found


def proven(said, run, exercise):
    """The Located of what a search said; None where it is no change after which everything is right."""
    if not is_change(said):
        return None
    place, spans = said
    spans = sorted((a, b, [*map(clean, new)]) for a, b, new in spans)
    mine = [s for s in run.steps if s["name"] == place and s["kind"] != "given"]
    lines = mine[0]["source"].split("\n") if mine else []
    ends = [0, *(x for a, b, _ in spans for x in (a, b)), len(lines)]
    if ends != sorted(ends) or spans[-1][0] >= len(lines):
        return None
    changed = [*lines]
    for a, b, new in reversed(spans):
        changed[a:b] = new
    steps = [s | {"source": "\n".join(changed)} if s is mine[0] else s for s in run.steps]
    if not run.another(steps=steps).judge_alone(exercise, VISIBLE_SEED, {}).passed:
        return None
    helper = function_at("\n".join(lines), spans[0][0] + 1)
    return by_hand("\n".join(lines), spans, helper if helper != exercise.name else "")


def is_change(said):
    """Whether it has the form of one: [name of a cell, [[from, to, [line, …]], …]]"""
    return (
        type(said) is list
        and [type(x) for x in said] == [str, list]
        and 1 <= len(said[1]) <= 2
        and all(type(s) is list and [type(x) for x in s] == [int, int, list] for s in said[1])
        and all(type(x) is str and len(x) <= MOST_COLUMNS for *_, new in said[1] for x in new)
        and sum(len(new) for *_, new in said[1]) <= MOST_LINES
    )


def function_at(text, line):
    """Name of the function at top level that a line belongs to, or ""."""
    for s in getattr(tree_of(text), "body", ()):
        if isinstance(s, ast.FunctionDef) and s.lineno <= line <= s.end_lineno:
            return s.name
    return ""
