"""Temporal-difference learning as a loss."""

import torch

from pgcourse.checks.core import Case, Exercise
from pgcourse.checks.make_inputs import normal
from pgcourse.exercises.baselines.inputs import F64, tensor
from pgcourse.exercises.baselines.squared_error import (
    HALF,
    error_cases,
    squared_error_mistakes,
    squared_error_symptoms,
)
from pgcourse.losses import critic_loss


def errors(g, *shape, dtype=torch.float32):
    return dict(val=normal(g, *shape, dtype=dtype), target=normal(g, *shape, dtype=dtype, scale=2))


# fmt: off
EXERCISE = Exercise(
    reference=critic_loss,
    accept=(HALF,),
    parts={"values and gradient": 1, "the target is a constant": 1, "time and environments": 1, "shapes": 1, "clean": 1},
    cases=[
        Case("three values", lambda g: dict(val=tensor(1.0, 2.0, 3.0), target=tensor(2.0, 2.0, 1.0)),
             "values and gradient", ("val",)),
        *error_cases("values and gradient", "target"),
        Case("ten values", lambda g: errors(g, 10), "values and gradient", ("val",)),
        Case("float64", lambda g: errors(g, 6, dtype=F64), "values and gradient", ("val",)),
        Case("targets far away", lambda g: dict(val=normal(g, 5), target=normal(g, 5, scale=300.0)),
             "values and gradient", ("val",)),
        Case("time and environments", lambda g: errors(g, 5, 3), "time and environments", ("val",)),
        Case("values [3, 1] and targets [3]", lambda g: dict(val=normal(g, 3, 1), target=normal(g, 3)),
             "shapes", raises=True),
        Case("values [4] and targets [4, 1]", lambda g: dict(val=normal(g, 4), target=normal(g, 4, 1)),
             "shapes", raises=True),
        Case("values in the thousands",
             lambda g: dict(val=tensor(1000.0, -2000.0, 500.0), target=tensor(3000.0, 1000.0, -4000.0)),
             "values and gradient", ("val",)),
        Case("a constant with a graph", lambda g: errors(g, 7), "the target is a constant", ("val", "target")),
        Case("constants with a graph", lambda g: errors(g, 3, 2), "the target is a constant", ("val", "target")),
    ],
    mistakes=[
        *squared_error_mistakes("target", "targets",
                                "Then V(s') is pulled toward V(s) as well: the future learns from the past."),
        *squared_error_symptoms("target", "targets far away", ("three values", "ten values", "float64")),
    ],
    read="lesson 4, “The critic's loss”; Sutton & Barto, section 9.3",
)
