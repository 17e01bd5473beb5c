"""The policy gradient with any advantage, over the steps that count."""

import torch

from pgcourse.checks.core import Case, Exercise
from pgcourse.checks.edits import edit, mistake, symptom
from pgcourse.checks.make_inputs import flags, frame, masks, normal, steps_3_by_4
from pgcourse.checks.symptoms import differ
from pgcourse.exercises.baselines.inputs import F64, tensor
from pgcourse.exercises.baselines.score_loss import (
    PRODUCT,
    SCORE_MISTAKES,
    score_cases,
    score_symptoms,
    score_table,
)
from pgcourse.exercises.families import (
    averaged_after_masking,
    averaging,
    cleared,
    divided_by_some_padding,
    mask_mistakes,
    with_some_padding,
)
from pgcourse.losses import policy_gradient_loss

LARGE_LOGP = steps_3_by_4(*range(-31, -19), times=10.0)
LARGE_ADV = steps_3_by_4(1, -1, 2, -2, -3, 1, 0.5, -1, 2, -2, 1, -1)
GUARD, SELECT = "same_shape(logp=logp, adv=adv, mask=mask)", "logp, adv = logp[mask], adv[mask]"
BY = averaging(
    edit(f"if mask is not None: {SELECT}", ""), of=(f"({PRODUCT})",), cleared=[cleared(SELECT)]
)


def logp_and_advantage(g, *shape, dtype=torch.float32):
    logp = -normal(g, *shape, dtype=dtype).abs() - 0.05
    return dict(logp=logp, adv=2 * normal(g, *shape, dtype=dtype) + 0.5)


def wild(x, mask, value):
    """x with `value` where the mask is False."""
    return torch.where(mask, x, torch.tensor(value, dtype=x.dtype))


def ragged(g, B, T, logp=None, adv=None, dtype=torch.float32):
    made = logp_and_advantage(g, B, T, dtype=dtype) | dict(mask=masks(g, B, T))
    for name, padding in (("logp", logp), ("adv", adv)):
        if padding is not None:
            made[name] = wild(made[name], made["mask"], padding)
    return made


def one_padded(padding):
    """Two rows of two steps; the first of the second row does not count."""
    mask = torch.tensor([[True, True], [False, True]])
    made = {name: wild(x.reshape(2, 2), mask, padding) for name, x in score_table().items()}
    return made | dict(mask=mask)


def two_answers():
    return dict(
        logp=tensor([-1.0, -2.0, -9.0], [-4.0, -9.0, -9.0]),
        adv=tensor([1.0, 1.0, 9.0], [0.5, 9.0, 9.0]),
        mask=torch.tensor([[True, True, False], [True, False, False]]),
    )


def over_the_longest_row(x, mask):
    return x.mean() if mask is None else x[mask].sum() / (len(mask) * mask.sum(1).max())


def total_of_where(x, mask):
    return x.mean() if mask is None else torch.where(mask, x, 0.0).sum() / mask.sum()


# fmt: off
EXERCISE = Exercise(
    reference=policy_gradient_loss,
    parts={"value of the loss": 1, "gradient": 2, "mask": 2, "padding of any content": 1, "shapes": 1, "clean": 1},
    cases=[
        Case("three steps", lambda g: dict(logp=tensor(-1.0, -0.5, -2.0), adv=tensor(1.0, -2.0, 0.5)), "value of the loss"),
        *score_cases("value of the loss"),
        Case("a long batch", lambda g: logp_and_advantage(g, 40), "value of the loss"),
        Case("time and environments", lambda g: logp_and_advantage(g, 7, 3), "value of the loss"),
        Case("float64", lambda g: logp_and_advantage(g, 8, dtype=F64), "value of the loss"),
        Case("rare actions, large advantages",
             lambda g: dict(logp=-20 * torch.rand(9, generator=g) - 9, adv=normal(g, 9, scale=50.0)), "value of the loss"),
        Case("three steps, differentiated", lambda g: logp_and_advantage(g, 3), "gradient", ("logp", "adv")),
        Case("a table, differentiated", lambda g: logp_and_advantage(g, 5, 2), "gradient", ("logp", "adv")),
        Case("two answers of different length", lambda g: two_answers(), "mask"),
        Case("one step does not count", lambda g: one_padded(9.0), "mask"),
        Case("something else in its place", lambda g: one_padded(-5.0), "mask"),
        Case("ragged answers", lambda g: ragged(g, 5, 8), "mask", ("logp", "adv")),
        Case("ragged answers, float64", lambda g: ragged(g, 4, 9, dtype=F64), "mask"),
        Case("-inf log-probabilities in the padding", lambda g: ragged(g, 4, 8, logp=-torch.inf),
             "padding of any content", ("logp", "adv")),
        Case("nan advantages in the padding", lambda g: ragged(g, 4, 8, adv=float("nan")),
             "padding of any content", ("logp", "adv")),
        Case("log-probabilities [3] and advantages [3, 1]",
             lambda g: logp_and_advantage(g, 3) | dict(adv=normal(g, 3, 1)), "shapes", raises=True),
        Case("a mask that is one row short",
             lambda g: logp_and_advantage(g, 3, 4) | dict(mask=flags(g, 2, 4, p=0.7)), "shapes", raises=True),
        Case("large advantages of rare actions, differentiated", lambda g: dict(logp=LARGE_LOGP, adv=LARGE_ADV),
             "gradient", ("logp", "adv")),
        Case("large advantages of rare actions and a mask",
             lambda g: dict(logp=LARGE_LOGP, adv=LARGE_ADV, mask=frame()), "mask"),
    ],
    mistakes=[
        *SCORE_MISTAKES,
        *mask_mistakes(BY),
        mistake("divided by the longest row",
                "It divides by the rows times the longest one; the mean divides by the steps that count.",
                *BY(over_the_longest_row)),
        mistake("selected after the product",
                "It multiplies first and selects then: at a padding of nan the gradient is 0 times nan, nan. Select first.",
                *averaged_after_masking(BY), why="One nan in a gradient makes every weight of the network nan.",
                also=(BY(total_of_where),)),
        mistake("advantages not selected", "Log-probabilities are selected by the mask, advantages are not: they no longer belong together.",
                edit(SELECT, "logp, adv = logp[mask], adv.flatten()[:mask.sum()]")),
        mistake("silent broadcast",
                "[T] times [T, 1] becomes a [T, T] table: every action is credited with every advantage.", edit(GUARD, ""),
                why="On average every action gets the mean advantage, and nothing is learned."),
        mistake("reshaped in silence", "It reshapes the advantage to fit; two shapes that differ are a mistake to report.",
                edit(GUARD, "adv = adv.reshape(logp.shape)")),
        *score_symptoms("three steps", "a long batch", "float64"),
        symptom("padding counts", "What stands in the padding changes the result: select with x[mask] first.",
                BY(with_some_padding),
                lambda at: differ(at.number("one step does not count"), at.number("something else in its place"))),
        symptom("right without a mask only",
                "Without a mask all is right, with one not: it is the mean of logp * A over all unmasked steps together.",
                BY(divided_by_some_padding),
                lambda at: "mask" in at.wrong_parts and not at.wrong_parts & {"value of the loss", "gradient"}),
    ],
    read="lesson 3, “Any advantage, one loss”; Schulman et al. 2016, arXiv:1506.02438",
)
