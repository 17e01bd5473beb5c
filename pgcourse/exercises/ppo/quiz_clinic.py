"""Which bug has which patient?"""

from pgcourse.checks.core import Case, Exercise
from pgcourse.exercises.families import answered


def quiz_clinic():
    """Which bug has which patient? Return a dict from patient ("A" … "H") to the number of the diagnosis.

    1 : no bug
    2 : the ratio is not clipped
    3 : the sign of the policy's loss is reversed
    4 : each step is weighed with the advantage of another environment
    5 : the value of a state in which the episode is over is added to the return
    6 : the old log-probabilities are recomputed for each minibatch
    7 : new actions are sampled and scored, in place of those in the rollout
    8 : the critic is never trained
    """
    return {"A": 4, "B": 6, "C": 1, "D": 8, "E": 2, "F": 3, "G": 7, "H": 5}


# fmt: off
EXERCISE = Exercise(
    reference=quiz_clinic,
    gate=False,
    driver="entry",
    parts={f"patient {key}": 1 for key in quiz_clinic()} | {"clean": 0},
    cases=[
        Case(f"patient {key}", lambda g, key=key: {"key": key}, f"patient {key}")
        for key in quiz_clinic()
    ],
    mistakes=[
        answered(quiz_clinic, "explained variance overlooked", "A", 1,
                 "Patient A takes steps of a healthy size, and its return never leaves the ground: this is not health."),
        answered(quiz_clinic, "actions blamed for advantages", "A", 7,
                 "Patient A's ratio is 1 before its first step (first ratio error 0), as it has to be: its actions "
                 "are those of the rollout."),
        answered(quiz_clinic, "zero KL taken for caution", "B", 1,
                 "Patient B's KL is exactly 0 while its entropy collapses: a policy that changes has a KL. "
                 "What is it compared with?"),
        answered(quiz_clinic, "zero clip fraction taken for no clip", "B", 2,
                 "Patient B's clip fraction is 0, so no ratio ever left the window. Without a clip many would."),
        answered(quiz_clinic, "end of training taken for a bug", "C", 8,
                 "Patient C's explained variance falls when the returns hardly vary any more: little is left to explain."),
        answered(quiz_clinic, "slow learning taken for health", "D", 1,
                 "Patient D's explained variance stays at 0 from the first update to the last. Who should raise it?"),
        answered(quiz_clinic, "KL overlooked", "E", 1,
                 "Patient E's KL is many times that of patients C and H, from the first update on."),
        answered(quiz_clinic, "runaway steps taken for a fixed ratio", "E", 6,
                 "Patient E's ratios do leave the window, many of them: the ratio is not fixed at 1."),
        answered(quiz_clinic, "certainty taken for no clip", "F", 2,
                 "Patient F's return FALLS below that of a random policy at once, and stays there: "
                 "it learns, very surely, the wrong thing."),
        answered(quiz_clinic, "advantages blamed for actions", "G", 4,
                 "Patient G's ratio is not 1 before its first step (first ratio error), though no weight has moved. "
                 "Are the two log-probabilities those of the same actions?"),
        answered(quiz_clinic, "rise and fall taken for no clip", "H", 2,
                 "Patient H's KL is small, update after update: its steps are safe, but what they aim at is wrong."),
    ],
    read="lesson 5, “The bug clinic”",
)
