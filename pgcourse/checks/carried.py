"""An error carried forward: a right function that calls a wrong one of the learner's own."""

import types
from dataclasses import replace

from pgcourse.checks import drivers, lesson_exercises
from pgcourse.checks.verdict import CARRIED


def is_better(other, verdict):
    """Whether a verdict with right helpers is the one to give: more is earned, or something is said of what
    seemed not to be written, since it calls what is not."""
    empty = verdict.pitfall == "not written" != other.pitfall
    return other.score > verdict.score or (empty and other.score == verdict.score)


def carried(fn, exercise, seed, verdict, until=None):
    """The verdict with the reference's helpers in place of wrong ones of the learner's own.

    A mistake in `softmax` costs its points there, and not again in each function that calls it.

    until : as in Exercise.verdict
    """
    if not exercise.lesson or not isinstance(fn, types.FunctionType):
        return verdict
    asked = lesson_exercises(exercise.lesson)
    names = sorted(drivers.own_helpers(fn) & asked.keys() - {exercise.name})

    def seen(names):
        other = drivers.with_helpers(fn, {name: asked[name].reference for name in names})
        return exercise.observe(other, seed)

    with_all = seen(names) if names else []
    score = exercise.score(seed, with_all) if names else verdict.score
    if score <= verdict.score and not (names and verdict.pitfall == "not written"):
        return verdict  # no name need be looked for
    best = exercise.verdict(seed, with_all, until=until)
    if not is_better(best, verdict):
        return verdict
    for name in names:  # which of them it takes
        fewer = [n for n in names if n != name]
        if fewer and exercise.score(seed, seen(fewer)) >= score:
            names = fewer
    theirs = " and ".join(f"`{name}`" for name in names)
    says = f"your {theirs}, {CARRIED}"
    if best.passed:
        return replace(best, message=f"{exercise.name} is right; but {says}")
    return replace(best, message=f"{best.message} Besides, {says}")
