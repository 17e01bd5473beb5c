"""A clinic: which bug has which patient?"""

from pgcourse.checks.core import Case, Exercise
from pgcourse.checks.edits import telltale


def given_answers(at):
    return [seen["out"] for seen in at.seen.values()]


def clinic(quiz, seen, would, confused, read):
    """An Exercise: each diagnosis, a number, belongs to one patient.

    seen     : {patient: the sentence that says what its gauges show}
    would    : {number: (what the bug is called, the sentence that says what it does to the gauges)}
    confused : {(patient, number): (name, sentence)} for what is answered most
    """

    def diagnosis(patient, number):
        """This number for this patient, whatever the other answers are."""
        what, does = would[number]
        general = f"{patient} taken for {what}", f"{seen[patient]} {does}"
        name, says = confused.get((patient, number), general)
        freed = {p: None for p, right in quiz().items() if right == number}  # each number once
        answers = quiz() | freed | {patient: number}
        return telltale(
            name,
            f"{patient}: {says}",
            lambda: answers,
            lambda at: at[f"patient {patient}"]["out"] == number,
        )

    def strange(x):
        return isinstance(x, int | float) and x not in would

    rest = [(p, n) for p, right in quiz().items() for n in would if n != right]
    return Exercise(
        reference=quiz,
        driver="entry",
        gate=False,
        parts={f"patient {p}": 1 for p in seen} | {"clean": 0},
        cases=[
            Case(f"patient {p}", lambda g, p=p: dict(key=p, at_most=1), f"patient {p}")
            for p in seen
        ],
        mistakes=[
            telltale(
                "a number used twice",
                "It gives one number to several patients: each is used once, so that number counts for none of them.",
                lambda: dict.fromkeys(seen, 1),
                lambda at: any("too often" in str(x) for x in given_answers(at)),
            ),
            telltale(
                "no such number",
                f"The diagnoses have the numbers 1 to {len(would)}.",
                lambda: quiz() | {next(iter(seen)): 0},
                lambda at: any(map(strange, given_answers(at))),
            ),
            *(diagnosis(*asked) for asked in confused),
            *(diagnosis(*asked) for asked in rest if asked not in confused),
        ],
        read=read,
    )
