"""A squared error that does not reward a value for moving too far at once."""

import torch

from pgcourse.checks.core import Case, Exercise
from pgcourse.checks.edits import edit, mistake, symptom
from pgcourse.checks.make_inputs import frame, masks, normal, steps_3_by_4
from pgcourse.checks.symptoms import differ, halves, paddings
from pgcourse.estimators import normalize_advantage
from pgcourse.exercises.families import (
    averaging,
    cleared,
    mask_mistakes,
    mean_symptoms,
    nan_hidden,
    sum_mistakes,
    window_symptoms,
)
from pgcourse.exercises.ppo.inputs import BROKEN, F64, broken, padded, ragged
from pgcourse.losses import clipped_value_loss
from pgcourse.tensors import masked_mean


def value_step(g, *shape, clip, dtype=torch.float32):
    """Values that moved up and down, less and more than `clip`, toward the return and past it."""
    n = torch.Size(shape).numel()
    order = torch.randperm(n, generator=g)
    move = clip * torch.tensor([2.0, -2.0, 0.5, -0.5], dtype=dtype).repeat(n)[:n][order]
    side = torch.tensor([1.0, -1.0], dtype=dtype).repeat_interleave(4).repeat(n)[:n][order]
    val_old = 1.5 * normal(g, n, dtype=dtype)
    val = val_old + move * (0.8 + 0.2 * torch.rand(n, generator=g).to(dtype))
    ret = val_old + side * clip * (0.3 + 4 * torch.rand(n, generator=g).to(dtype))
    step = dict(val=val, val_old=val_old, ret=ret)
    return {name: x.reshape(shape) for name, x in step.items()} | dict(clip=clip)


def large(clip):
    """Returns in the thousands, either sign; the values moved by up to a thousand."""
    val_old = steps_3_by_4(2, -3, 4, 1, -2, 3, -1, 2, -4, 1, 3, -2)
    move = steps_3_by_4(0.4, -0.3, 1, 0.2, -0.9, 0.1, 0.6, -0.8, 0.3, -0.4, -1, 0.7)
    ret = steps_3_by_4(5, -1, 3, 2, -5, 1, -2, 4, -3, 2, 1, 1)
    return dict(val=val_old + move, val_old=val_old, ret=ret, clip=clip)


def value_table():
    """Four values: two that moved too far, past the return and toward it, and two that did not."""
    return dict(
        val=torch.tensor([1.0, -0.5, 2.4, 0.3]),
        val_old=torch.tensor([0.2, -0.3, 1.5, 0.5]),
        ret=torch.tensor([0.8, 0.4, 3.5, -1.0]),
        clip=0.5,
    )


def value_inside(g, *shape, clip, dtype=torch.float32):
    args = value_step(g, *shape, clip=1.0, dtype=dtype)
    return args | dict(val=args["val_old"] + (args["val"] - args["val_old"]) / 5, clip=clip)


SELECT = "if mask is not None: val, val_old, ret = val[mask], val_old[mask], ret[mask]"
CONSTANTS = "val_old, ret = val_old.detach(), ret.detach()"
MOVE, WINDOW = "val_old + (val - val_old).clamp(-clip, clip)", ".clamp(-clip, clip)"
CLIPPED = "(val_clipped - ret) ** 2"
TERM = f"torch.maximum(error, {CLIPPED})"
NO_SHORTCUT = edit('if clip == float("inf"): return error.mean()', "")
BY = averaging(edit(SELECT, ""), of=("error", TERM), cleared=[cleared(SELECT)])
OUTSIDE = "(val - val_old).abs() > clip"


def term(new):
    return edit(TERM, f"({new})")


def huber(delta):
    return term(f"torch.nn.functional.huber_loss(val, ret, reduction='none', delta={delta})")


def returns(new):
    return edit("ret.detach()", new, use=(normalize_advantage,))


# fmt: off
EXERCISE = Exercise(
    reference=clipped_value_loss,
    accept=(
        (
            edit("return error.mean()", "return 0.5 * error.mean()"),
            edit(f"return {TERM}", f"return 0.5 * {TERM}"),
        ),
        NO_SHORTCUT,
        (NO_SHORTCUT, edit(f"return {TERM}", f"return 0.5 * {TERM}")),
        BY(masked_mean),
    ),
    parts={
        "inside the window": 1,
        "where the clip binds": 2,
        "constants": 1,
        "masks": 1,
        "shapes": 1,
        "clean": 1,
    },
    cases=[
        Case("three small moves",
             lambda g: dict(val=torch.tensor([1.0, 2.1, -0.5]), val_old=torch.tensor([0.9, 2.0, -0.4]), ret=torch.tensor([2.0, 0.0, -1.0]), clip=0.5),
             "inside the window", ("val",)),
        Case("small moves", lambda g: value_inside(g, 12, clip=0.5), "inside the window", ("val",)),
        Case("no limit (clip = inf)", lambda g: value_step(g, 6, clip=0.5) | dict(clip=float("inf")),
             "inside the window", ("val",)),
        Case("large returns, no limit", lambda g: large(clip=float("inf")), "inside the window", ("val",)),
        Case("float64", lambda g: value_inside(g, 4, 3, clip=0.6, dtype=F64), "inside the window", ("val",)),
        Case("moves of 2 where 0.5 is allowed",
             lambda g: dict(val=torch.tensor([2.0, -2.0, 2.0, -2.0]), val_old=torch.zeros(4), ret=torch.tensor([3.0, 0.6, 0.2, -3.0]), clip=0.5),
             "where the clip binds", ("val",)),
        Case("moves of every kind", lambda g: value_step(g, 32, clip=0.2), "where the clip binds", ("val",)),
        Case("time and environments", lambda g: value_step(g, 8, 3, clip=1.5, dtype=F64),
             "where the clip binds", ("val",)),
        *halves("where the clip binds", value_table, ("val",)),
        Case("another unit", lambda g: {name: 2 * x for name, x in value_table().items()},
             "where the clip binds"),
        Case("large returns", lambda g: large(clip=500.0), "where the clip binds", ("val",)),
        Case(BROKEN, lambda g: broken(value_table, "val"), "where the clip binds"),
        Case("constants with a graph", lambda g: value_step(g, 16, clip=0.3), "constants",
             ("val_old", "ret")),
        Case("conversations of different lengths",
             lambda g: padded(value_step(g, 4, 8, clip=0.3), masks(g, 4, 8)), "masks", ("val",)),
        Case("nan in the padding", lambda g: ragged(g, value_step, "val", "ret", clip=0.3), "masks"),
        *paddings("masks", value_table),
        Case("large returns and a mask", lambda g: large(clip=500.0) | dict(mask=frame()), "masks"),
        Case("val [3, 1] and ret [3]", lambda g: value_step(g, 3, clip=0.2) | dict(val=normal(g, 3, 1)),
             "shapes", raises=True),
        Case("ret [3, 1] alone", lambda g: value_step(g, 3, clip=0.2) | dict(ret=normal(g, 3, 1)),
             "shapes", raises=True),
        Case("val_old [3, 1] alone", lambda g: value_step(g, 3, clip=0.2) | dict(val_old=normal(g, 3, 1)),
             "shapes", raises=True),
        Case("a mask [4] for values [4, 5]",
             lambda g: (value_step(g, 4, 5, clip=0.2) | dict(mask=torch.tensor([True, False, True, True]))),
             "shapes", raises=True),
    ],
    mistakes=[
        mistake("minimum",
                "It takes the smaller of the two errors: the value is free to jump, the clip hides the error.",
                edit("torch.maximum", "torch.minimum")),
        mistake("not clipped", "It is the plain squared error: nothing limits how far the value moves.",
                edit(TERM, "error")),
        mistake("clipped error only",
                "It uses the clipped value alone: outside the window no gradient brings it back.",
                edit(TERM, f"({CLIPPED})")),
        mistake("average of both", "It averages the two errors; the larger one counts.",
                edit(TERM, f"((error + {CLIPPED}) / 2)")),
        mistake("starts at the new value",
                "The clipped value starts at val and moves toward val_old; it has to start at val_old.",
                edit(MOVE, "val + (val_old - val).clamp(-clip, clip)")),
        mistake("clamped move added to the new value",
                "The clamped move is added to val, which has made that move already; it has to be added to val_old.",
                edit(MOVE, "val + (val - val_old).clamp(-clip, clip)")),
        mistake("old value not added",
                "The clamped move alone is compared with the return: val_old has to be added to it.",
                edit(MOVE, "(val - val_old).clamp(-clip, clip)")),
        mistake("window of the ratio",
                "It clamps to 1 ± clip, the window of the ratio; here the window is val_old ± clip.",
                edit(MOVE, "val.clamp(1 - clip, 1 + clip)"), also=(edit(WINDOW, ".clamp(1 - clip, 1 + clip)"),)),
        mistake("one side only", "It clamps the move on one side only; the other is free.",
                edit(WINDOW, ".clamp(max=clip)"), also=(edit(WINDOW, ".clamp(min=-clip)"),)),
        mistake("Huber loss",
                "It is a Huber loss, which limits large ERRORS; what must be limited is the move of the value.",
                huber("clip"), also=(huber("1.0"),)),
        mistake("clipped value detached",
                "The clipped term is detached: the gradient is too small where nothing is clipped.",
                edit(CLIPPED, f"({CLIPPED}).detach()")),
        mistake("clip ignored", "The window is always val_old ± {width:.3g}: the argument clip does not enter.",
                edit(WINDOW, ".clamp(-{width=0.2}, {width=0.2})")),
        mistake("old value judged",
                "It compares the error of the OLD value with that of the new or the clipped one; these two belong together.",
                term(f"torch.maximum((val_old - ret) ** 2, {CLIPPED})"), also=(term("torch.maximum((val_old - ret) ** 2, error)"),)),
        mistake("return and old value swapped", "val_old and ret have changed places.",
                edit("val_old.detach(), ret.detach()", "ret.detach(), val_old.detach()")),
        mistake("everything outside dropped",
                "Every value that moved further than clip is dropped: nothing brings it back.",
                edit(TERM, f"torch.where({OUTSIDE}, 0.0, error)"),
                also=(edit(TERM, "error[(val - val_old).abs() <= clip]"),)),
        mistake("every value with every return",
                "Inside, a row meets a column: the mean is over the table of all pairs.",
                edit(CONSTANTS, "val, val_old, ret = val.reshape(-1), val_old.detach().reshape(-1), ret.detach().reshape(-1, 1)")),
        mistake("returns normalized",
                "It normalizes the returns: the critic has to predict them in reward units.",
                returns("normalize_advantage(ret.detach())"),
                also=(returns("(ret.detach() - ret.mean()) / (ret.std() + 1e-8)"),)),
        mistake("root of the mean", "It takes the square root of the mean; the mean of squares is asked for.",
                edit("return error.mean()", "return error.mean().clamp(min=1e-12).sqrt()"),
                edit(f"{TERM}.mean()", f"{TERM}.mean().clamp(min=1e-12).sqrt()")),
        mistake("wrong direction", "The clipped value is val_old MINUS the clamped move: it goes the wrong way.",
                edit("val_old +", "val_old -")),
        mistake("old value not constant",
                "A gradient flows into val_old; it was stored with the data and is a constant.",
                edit("val_old.detach()", "val_old")),
        mistake("return not constant", "A gradient flows into ret: the target is a constant.",
                edit("ret.detach()", "ret")),
        mistake("window around zero", "It clamps the value itself to ±clip; the window is around val_old.",
                edit(MOVE, "val.clamp(-clip, clip)")),
        mistake("window relative to the value",
                "The window is clip times |val_old| wide, as if val_old were a ratio; clip is in reward units.",
                edit(MOVE, "val_old + torch.minimum(torch.maximum(val - val_old, -clip * val_old.abs()), clip * val_old.abs())"),
                also=(edit(MOVE, "torch.minimum(torch.maximum(val, val_old * (1 - clip)), val_old * (1 + clip))"),
                      edit(MOVE, "torch.maximum(torch.minimum(val, val_old * (1 + clip)), val_old * (1 - clip))"))),
        mistake("return clipped",
                "It clamps the return around val_old; the value is what must not move too far.",
                edit(MOVE, "ret - (val_old + (ret - val_old).clamp(-clip, clip)) + val")),
        mistake("error clipped",
                "It clamps the error val - ret: large errors, which matter most, have no gradient.",
                term("(val - ret).clamp(-clip, clip) ** 2")),
        mistake("square missing", "It is the absolute error; the square is missing.",
                edit("error = (val - ret) ** 2", "error = (val - ret).abs()"), edit(CLIPPED, "(val_clipped - ret).abs()"),
                also=(term(f"{TERM}.clamp(min=1e-12).sqrt()"),)),
        mistake("signed error", "It is a signed error, without a square: minus infinity would be the best loss.",
                edit("error = (val - ret) ** 2", "error = val - ret"), edit(CLIPPED, "val_clipped - ret"),
                also=((edit("error = (val - ret) ** 2", "error = val - ret"), edit(TERM, "torch.maximum(error, val_clipped - ret)")),)),
        mistake("maximum before the square",
                "It takes the maximum of the signed errors and squares it then: large negative errors lose.",
                edit(TERM, "(torch.maximum(val - ret, val_clipped - ret) ** 2)")),
        mistake("maximum of means",
                "It averages first and takes the maximum of two numbers; the maximum is for each step.",
                edit(f"{TERM}.mean()", f"torch.maximum(error.mean(), ({CLIPPED}).mean())")),
        mistake("window of another width", "The window is val_old ± {share:.3g} clip; clip is its half-width already.",
                edit(WINDOW, ".clamp(-{share=2} * clip, {share=2} * clip)")),
        mistake("uneven window", "The move is clamped between -{low:.3g} clip and {high:.3g} clip; both bounds are clip.",
                edit(WINDOW, ".clamp(-{low=1} * clip, {high=1.5} * clip)")),
        mistake("one square missing",
                "One of the two errors is squared, the other is not: their maximum compares different units.",
                edit(CLIPPED, "(val_clipped - ret).abs()"),
                also=(term("torch.maximum(error, ((val_clipped - ret) ** 2 + 1e-12).sqrt())"),
                      edit(TERM, f"torch.maximum(error.sqrt(), {CLIPPED})"))),
        *sum_mistakes(BY),
        *mask_mistakes(BY),
        nan_hidden(BROKEN, edit(TERM, f"{TERM}.nan_to_num()")),
        *mean_symptoms(BY),
        symptom("not in squared units",
                "With values, returns and clip in a unit half as large the loss has to be 4 times as large; it is not.",
                term(f"{TERM} ** 1.5"),
                lambda at: differ(at.number("another unit"), 4 * at.number("these four steps"))),
        *window_symptoms(BY, "the mean of (val - ret)^2", term(f"(torch.where(ret > 0, 1.1, 1.0) * {TERM})"),
                         edit(TERM, f"torch.where({OUTSIDE}, torch.where(ret > 0, 1.1, 1.0) * {TERM}, {TERM})")),
        mistake("broadcast", "[3, 1] against [3] gives a 3 x 3 table: every value against every return.",
                edit("same_shape(val=val, val_old=val_old, ret=ret, mask=mask)", "")),
    ],
    read="lesson 5, “The critic”; Engstrom et al. 2020, section 3",
)
