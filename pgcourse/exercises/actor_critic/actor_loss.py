"""The actor's loss."""

import torch

from pgcourse.checks.core import Case, Exercise
from pgcourse.checks.edits import edit, mistake
from pgcourse.checks.make_inputs import normal
from pgcourse.exercises.baselines.inputs import F64, tensor
from pgcourse.exercises.baselines.score_loss import SCORE_MISTAKES, score_cases, score_symptoms
from pgcourse.losses import actor_loss

GUARD = "same_shape(logp=logp, adv=adv)"


def decisions(g, *shape, dtype=torch.float32):
    logp = -normal(g, *shape, dtype=dtype).abs() - 0.1
    return dict(logp=logp, adv=normal(g, *shape, dtype=dtype) + 0.5)


# fmt: off
EXERCISE = Exercise(
    reference=actor_loss,
    parts={"values and gradient": 1, "the advantage is a constant": 1, "time and environments": 1, "shapes": 1, "clean": 1},
    cases=[
        Case("two decisions", lambda g: dict(logp=tensor(-0.5, -1.0), adv=tensor(2.0, -0.5)),
             "values and gradient", ("logp",)),
        *score_cases("values and gradient"),
        Case("ten decisions", lambda g: decisions(g, 10), "values and gradient", ("logp",)),
        Case("float64", lambda g: decisions(g, 6, dtype=F64), "values and gradient", ("logp",)),
        Case("rare actions, large advantages",
             lambda g: dict(logp=-20 * torch.rand(9, generator=g) - 9, adv=normal(g, 9, scale=50.0)),
             "values and gradient", ("logp",)),
        Case("a very rare action", lambda g: dict(logp=tensor(-60.0, -0.1), adv=tensor(1.0, 0.2)),
             "values and gradient", ("logp",)),
        Case("time and environments", lambda g: decisions(g, 5, 3), "time and environments", ("logp",)),
        Case("log-probabilities [3] and advantages [3, 1]",
             lambda g: dict(logp=-normal(g, 3).abs(), adv=normal(g, 3, 1)), "shapes", raises=True),
        Case("log-probabilities [4, 1] and advantages [4]",
             lambda g: dict(logp=-normal(g, 4, 1).abs(), adv=normal(g, 4)), "shapes", raises=True),
        Case("large advantages of rare actions",
             lambda g: dict(logp=tensor(-200.0, -150.0, -300.0), adv=tensor(-3000.0, 1000.0, -2000.0)),
             "values and gradient", ("logp",)),
        Case("a constant with a graph", lambda g: decisions(g, 7), "the advantage is a constant", ("logp", "adv")),
        Case("constants with a graph", lambda g: decisions(g, 3, 2), "the advantage is a constant", ("logp", "adv")),
    ],
    mistakes=[
        *SCORE_MISTAKES,
        *score_symptoms("two decisions", "ten decisions", "float64", "a very rare action"),
        mistake("silent broadcast", "[T] times [T, 1] is a [T, T] table: every action is credited with every advantage.",
                edit(GUARD, ""), why="On average every action gets the mean advantage, and nothing is learned."),
        mistake("reshaped in silence", "It reshapes the advantage to fit; two shapes that differ are a mistake to report.",
                edit(GUARD, "adv = adv.reshape(logp.shape)")),
    ],
    read="lesson 4, “The actor's loss”; Mnih et al. 2016, section 4",
)
