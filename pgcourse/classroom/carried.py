"""An error carried forward, in a class: a right function that calls a wrong one of the student's loses nothing.

What failed and calls another that failed is asked once more, with the reference in the other's place. That
text is then in a process of the student's, so this comes last of all, in sessions of its own: nothing whose
text a session had is asked after it, and nothing that is asked here says a word of its own.
"""

import re
from dataclasses import replace

from pgcourse.checks.carried import is_better
from pgcourse.checks.cells import STUB
from pgcourse.checks.package import bundle
from pgcourse.checks.verdict import CARRIED

MOST_HELPERS = 4
NO_USE = {"syntax error", "no time left", "not a function", "too much", "not an answer"}


def carried(run, exercises, verdicts, seed):
    """{name: (Verdict, names of the wrong functions that it was spared)} of those that come out better.

    run      : judge.Run that has judged them all, from inputs made from `seed`
    verdicts : {name: Verdict}, of all exercises
    """
    wrong = {n for n, v in verdicts.items() if not v.passed}
    calls = {name: called(name, run.steps) & wrong for name in wrong}
    again = (n for n in wrong if calls[n] and verdicts[n].pitfall not in NO_USE)
    again = sorted((n for n in again if STUB not in written(n, run.steps)), key=run.checks.get)
    better, handed = {}, set()
    for name in in_order(again, calls):
        texts = {n: bundle(n) for n in sorted(calls[name])}
        texts = {n: text for n, (text, inside) in texts.items() if text and name not in inside}
        if name in handed or not 0 < len(texts) <= MOST_HELPERS:
            continue

        def asked(names, name=name, texts=texts):
            handed.update(*(bundle(n)[1] for n in names))
            return run.judge_alone(exercises[name], seed, {n: texts[n] for n in names})

        best, spared = asked(texts), [*texts]
        if not is_better(best, verdicts[name]):
            continue
        for one in [*texts] if len(texts) > 1 else ():  # which of them it takes
            fewer = [n for n in spared if n != one]
            if fewer and asked(fewer).score >= best.score:
                spared = fewer
        better[name] = best, spared
    return better


def written(name, steps):
    return "\n".join(step["source"] for step in steps if step["name"] == name)


def called(name, steps):
    """Names of the answers that an answer may call, also through others and through cells of the student's."""
    texts = {step["name"]: step["source"] for step in steps if step["kind"] != "given"}
    own = [s["source"] for s in steps if s["kind"] == "own"]
    found, more = set(), {name}
    while more:
        found |= more
        words = {w for n in more for w in re.findall(r"\w+", texts.get(n, ""))}
        words |= {
            w
            for text in own
            if words & {*re.findall(r"\w+", text)}
            for w in re.findall(r"\w+", text)
        }
        more = words & texts.keys() - found
    return found - {name}


def in_order(names, calls):
    """Each after those that it calls, as far as that can be: their text is given away only then."""
    left, order = list(names), []
    while left:
        ready = next((n for n in left if not calls[n] & {*left} - {n}), left[0])
        left.remove(ready)
        order.append(ready)
    return order


def said(before, verdict, spared, fixed):
    """The verdict of `carried` in fixed words.

    before : the verdict on all that the student wrote
    fixed  : whether the new verdict's own words may be said: they tell nothing of a secret number
    """
    theirs = " and ".join(f"`{name}`" for name in spared)
    says = f"your {theirs}, {CARRIED}"
    if verdict.passed:
        message = f"{verdict.exercise.name} is right; but {says}"
        return replace(verdict, message=message, pitfall=None, why="", traceback="", example="")
    first = verdict.message if fixed else "It is not right yet."
    known = before.pitfall if before.pitfall != "not written" else None
    pitfall = verdict.pitfall if fixed else known
    why = verdict.why if fixed else ""
    message = f"{first} Besides, {says}"
    return replace(verdict, message=message, pitfall=pitfall, why=why, traceback="", example="")
