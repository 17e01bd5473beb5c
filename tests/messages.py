"""What a learner reads for every mistake of a lesson: `python -m tests.messages [LESSON…]` writes the files."""

import sys
from functools import cache
from pathlib import Path

from pgcourse import checks


def path(lesson):
    return Path(__file__).parent / "messages" / f"{lesson}.txt"


@cache
def verdict(name, fn, seed):
    """Of one function, for all tests of this process that look at it."""
    return checks.judge(fn, name, seed)


def text(lesson):
    """Each mistake's card as text, in the order of the exercises."""
    cards = []
    for exercise in checks.lesson_exercises(lesson).values():
        for mistake in exercise.pitfalls:
            cards.append(str(verdict(exercise.name, mistake.wrong, "0")))
    return "\n\n".join(cards) + "\n"


if __name__ == "__main__":
    for lesson in sys.argv[1:] or checks.LESSONS:
        path(lesson).parent.mkdir(exist_ok=True)
        path(lesson).write_text(text(lesson), encoding="utf-8")
