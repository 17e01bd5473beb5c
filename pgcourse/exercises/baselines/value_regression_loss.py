"""The regression that teaches a baseline."""

import torch

from pgcourse.checks.core import Case, Exercise
from pgcourse.checks.make_inputs import normal
from pgcourse.exercises.baselines.inputs import F64, returns_and_values, tensor
from pgcourse.exercises.baselines.squared_error import (
    HALF,
    error_cases,
    squared_error_mistakes,
    squared_error_symptoms,
)
from pgcourse.losses import value_regression_loss


def values_and_returns(g, *shape, dtype=torch.float32):
    made = returns_and_values(g, *shape, dtype=dtype)
    return dict(val=made["val"], ret=made["ret"])


# fmt: off
EXERCISE = Exercise(
    reference=value_regression_loss,
    accept=(HALF,),
    parts={"value of the loss": 1, "gradient": 2, "shapes": 1, "clean": 1},
    cases=[
        Case("three steps", lambda g: dict(val=tensor(1.0, 2.0, 0.0), ret=tensor(2.0, 2.0, 3.0)), "value of the loss"),
        *error_cases("value of the loss", "ret"),
        Case("a long batch", lambda g: values_and_returns(g, 40), "value of the loss"),
        Case("time and environments", lambda g: values_and_returns(g, 6, 4), "value of the loss"),
        Case("float64", lambda g: values_and_returns(g, 8, dtype=F64), "value of the loss"),
        Case("returns in the hundreds", lambda g: dict(val=normal(g, 6), ret=normal(g, 6, scale=300.0)),
             "value of the loss"),
        Case("three steps, differentiated", lambda g: values_and_returns(g, 3), "gradient", ("val", "ret")),
        Case("a table, differentiated", lambda g: values_and_returns(g, 5, 3), "gradient", ("val", "ret")),
        Case("values [3, 1] and returns [3]", lambda g: values_and_returns(g, 3) | dict(val=normal(g, 3, 1)),
             "shapes", raises=True),
        Case("returns in the thousands, differentiated",
             lambda g: dict(val=tensor(1000.0, -2000.0, 500.0), ret=tensor(3000.0, 1000.0, -4000.0)),
             "gradient", ("val", "ret")),
    ],
    mistakes=[
        *squared_error_mistakes("ret", "returns"),
        *squared_error_symptoms("ret", "returns in the hundreds", ("three steps", "a long batch", "float64")),
    ],
    read="lesson 3, “Learning the baseline”; Sutton & Barto, sections 9.3 and 13.4",
)
