"""Pairs of students whose answers are alike beyond what the reference's own text explains. No verdict: a reason to ask.

An answer is cut into runs of six tokens, comments, docstrings and layout left out. A run that is in the reference or in
the cell as it was given says nothing, since the solutions are public and whoever copies them writes the same; nor does
one that a tenth of the class writes. Any other that two share counts log(n / c) / 6 nats, where c of n students wrote it:

    alike(a, b) = sum over exercises, over shared runs:  log(n / c) / 6

A pair is listed that shares LEAST nats or more and SHARE or more of what the one with less of one's own wrote.
"""

import io
import json
import math
import tokenize
from collections import defaultdict
from dataclasses import dataclass
from itertools import combinations

from pgcourse.classroom.answers import cells_of, without_author, written

RUN = 6  # tokens
LEAST, SHARE = 20.0, 0.5
USUAL = 10  # what one in so many writes is a usual way to write it
LAYOUT = {
    tokenize.NEWLINE, tokenize.NL, tokenize.INDENT, tokenize.DEDENT, tokenize.COMMENT, tokenize.ENDMARKER,
}  # fmt: skip


@dataclass(frozen=True)
class Pair:
    """Two students. nats: how much they share; share: of what the one with less wrote; where: {exercise: nats}"""

    one: str
    other: str
    nats: float
    share: float
    where: dict


def in_class(room, report):
    """The pairs of a graded lesson. room: Classroom; report: Report"""
    lesson = report.lesson
    notebooks = [json.loads(room.source(lesson))]
    given = room.folder("release", ".", lesson) / f"{lesson}.ipynb"
    if given.is_file():
        notebooks.append(json.loads(given.read_text(encoding="utf-8")))
    known = [{e: without_author(t) for e, t in cells_of(nb).items()} for nb in notebooks]
    answers = {}
    for p in report.graded:
        texts = written(p.folder, lesson)
        answers[p.name] = {e: without_author(texts.get(e, "")) for e in p.verdicts}
    return similar(answers, {e: [texts.get(e, "") for texts in known] for e in known[0]})


def runs(text):
    """The set of runs of tokens of a piece of code."""
    try:
        found = tokenize.generate_tokens(io.StringIO(text).readline)
        words = [t.string for t in found if t.type not in LAYOUT]
    except (tokenize.TokenError, SyntaxError):
        words = text.split()
    return {tuple(words[i : i + RUN]) for i in range(len(words) - RUN + 1)}


def similar(answers, known):
    """The pairs to ask about, the most alike first.

    answers : {student: {exercise: code without comments}}
    known   : {exercise: [texts that everybody has: the reference, the cell as given]}
    returns : [Pair]
    """
    who, own = defaultdict(set), defaultdict(float)  # who wrote a run; what each wrote of one's own
    given = {exercise: set().union(*map(runs, texts)) for exercise, texts in known.items()}
    for student, texts in answers.items():
        for exercise, text in texts.items():
            for run in runs(text) - given.get(exercise, set()):
                who[exercise, run].add(student)
    n, shared = len(answers), defaultdict(lambda: defaultdict(float))
    for (exercise, _), students in who.items():
        if len(students) > max(2, n // USUAL):
            continue
        weight = math.log(n / len(students)) / RUN
        for student in students:
            own[student] += weight
        for pair in combinations(sorted(students), 2):
            shared[pair][exercise] += weight
    found = []
    for (one, other), where in shared.items():
        nats = sum(where.values())
        share = nats / min(own[one], own[other])
        if nats >= LEAST and share >= SHARE:
            where = dict(sorted(where.items(), key=lambda item: -item[1]))
            found.append(Pair(one, other, nats, share, where))
    return sorted(found, key=lambda pair: (-pair.nats, pair.one, pair.other))
