"""What the quizzes of lessons 1 and 2 share: a quiz is a function without arguments that returns a dict."""

from pgcourse.checks.core import Case, Exercise, Pitfall


def mistaken(quiz, name, key, answer, says, also=()):
    """One wrong answer, whatever the others are; `also` are other forms of it."""
    place = list(quiz()).index(key)
    answers = (answer, *also)
    return Pitfall(
        name,
        f"“{key}”: {says}",
        lambda: quiz() | {key: answer},
        telltale=lambda seen: seen[place]["out"] in answers,
    )


def two_by_two(quiz, parts, mistakes, read):
    """The exercise: each part is two questions and two points; mistakes are (name, key, answer, says)."""
    return Exercise(
        reference=quiz,
        gate=False,
        driver="entry",
        parts=dict.fromkeys(parts, 2) | {"clean": 0},
        cases=[
            Case(f"the question “{key}”", lambda g, key=key: {"key": key}, part)
            for key, part in zip(quiz(), [part for part in parts for _ in range(2)], strict=True)
        ],
        pitfalls=[mistaken(quiz, *mistake) for mistake in mistakes],
        read=read,
    )
