"""PPO's clipped surrogate."""

import math

import torch

from pgcourse.checks.core import Case, Exercise
from pgcourse.checks.edits import edit, mistake, symptom, telltale
from pgcourse.checks.make_inputs import frame, masks, normal, steps_3_by_4
from pgcourse.checks.symptoms import halves, paddings
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
from pgcourse.exercises.ppo.inputs import (
    BROKEN,
    DIFFERENCE,
    F64,
    RATIO,
    broken,
    far_apart,
    four_steps,
    log_probs,
    one_axis_summed,
    padded,
    ragged,
    rare,
    ratio_mistakes,
)
from pgcourse.losses import ppo_clip_loss
from pgcourse.tensors import masked_mean


def binding(g, *shape, clip, dtype=torch.float32):
    """Both sides of the clip for both signs of the advantage, inside and outside, in random order."""
    n = torch.Size(shape).numel()
    order = torch.randperm(n, generator=g)
    room = clip * torch.tensor([2.0, -2.0, 0.5, -0.5], dtype=dtype).repeat(n)[:n][order]
    sign = torch.tensor([1.0, -1.0], dtype=dtype).repeat_interleave(4).repeat(n)[:n][order]
    rho = 1 + room * (0.8 + 0.2 * torch.rand(n, generator=g).to(dtype))
    adv = sign * (0.2 + normal(g, n, dtype=dtype).abs())
    logp = -0.1 - normal(g, n, dtype=dtype).abs()
    step = dict(logp=logp, logp_old=logp - rho.log(), adv=adv)
    return {name: x.reshape(shape) for name, x in step.items()} | dict(clip=clip)


def four_corners():
    """Ratio 1.5 and 0.5, advantage +1 and -1: the clip binds in the first and the last."""
    return dict(
        logp=torch.log(torch.tensor([0.6, 0.6, 0.2, 0.2])),
        logp_old=torch.log(torch.tensor([0.4, 0.4, 0.4, 0.4])),
        adv=torch.tensor([1.0, -1.0, 1.0, -1.0]),
        clip=0.2,
    )


def near_the_bounds():
    """Ratios a little inside and outside 1 - clip and 1 + clip, with both signs of the advantage."""
    rho = torch.tensor([0.78, 0.82, 1.18, 1.22]).repeat(2)
    logp = torch.log(torch.full((8,), 0.3))
    adv = torch.tensor([1.0, -1.0]).repeat_interleave(4)
    return dict(logp=logp, logp_old=logp - rho.log(), adv=adv, clip=0.2)


def clip_table():
    return four_steps() | dict(adv=torch.tensor([1.0, 1.0, 0.5, -2.0]), clip=0.2)


def large():
    """Advantages in the thousands, of actions whose probability is some e^-200."""
    rho = steps_3_by_4(0.7, 1.5, 0.9, 1.1, 1.3, 0.5, 1.05, 0.95, 1.6, 0.8, 1.25, 0.6, times=1.0)
    adv = steps_3_by_4(1, -1, 2, -2, -3, 1, 0.5, -1, 2, -2, 1, -1)
    logp = steps_3_by_4(*range(-31, -19), times=10.0)
    return dict(logp=logp, logp_old=logp - rho.log(), adv=adv, clip=0.2)


def inside(g, *shape, dtype=torch.float32):
    """Nothing is clipped: all ratios are between 0.85 and 1.15."""
    logp = -0.2 - normal(g, *shape, dtype=dtype).abs()
    step = 0.28 * torch.rand(*shape, generator=g).to(dtype) - 0.14
    return dict(
        logp=logp, logp_old=logp - step, adv=0.5 + normal(g, *shape, dtype=dtype), clip=0.25
    )


def corners(at):
    """The gradients into logp at ratio 1.5 and 0.5 with advantage +1 and -1; the clip binds in the first and last."""
    return at["ratios 1.5 and 0.5, advantages +1 and -1"]["grads"]["logp"].abs()


def other_bounds(at):
    moving = at["ratios close to the bounds"]["grads"]["logp"].abs() > 1e-6
    right = torch.tensor([True, True, True, False, False, True, True, True])
    return not torch.equal(moving, right)


TERM, WINDOW = "torch.minimum(rho * adv, clipped * adv)", "1 - clip, 1 + clip"
GUARD = "same_shape(logp=logp, logp_old=logp_old, adv=adv, mask=mask)"
SELECT = "if mask is not None: logp, logp_old, adv = logp[mask], logp_old[mask], adv[mask]"
OUTSIDE = "(rho - 1).abs() > clip"
BY = averaging(edit(SELECT, ""), of=(TERM,), cleared=[cleared(SELECT)])
NORMALIZATIONS = (
    "normalize_advantage(adv.detach())",
    "(adv.detach() - adv.mean()) / (adv.std() + 1e-8)",
    "(adv.detach() - adv.detach().mean())",
    "adv.detach() / (adv.std() + 1e-8)",
    "adv.detach() / (adv.abs().max() + 1e-8)",
)


def term(new):
    return edit(TERM, new)


def adv(new):
    return edit("adv.detach()", new, use=(normalize_advantage,))


# fmt: off
EXERCISE = Exercise(
    reference=ppo_clip_loss,
    accept=(BY(masked_mean),),
    parts={
        "inside the window": 1,
        "where the clip binds": 3,
        "constants": 1,
        "masks": 2,
        "shapes": 1,
        "clean": 1,
    },
    cases=[
        Case("an unchanged policy",
             lambda g: dict(logp=torch.log(torch.tensor([0.5, 0.2, 0.4])), logp_old=torch.log(torch.tensor([0.5, 0.2, 0.4])), adv=torch.tensor([1.0, -2.0, 3.0]), clip=0.2),
             "inside the window", ("logp",)),
        Case("small changes", lambda g: inside(g, 12), "inside the window", ("logp",)),
        Case("float64", lambda g: inside(g, 5, 3, dtype=F64), "inside the window", ("logp",)),
        Case("ratios 1.5 and 0.5, advantages +1 and -1", lambda g: four_corners(), "where the clip binds",
             ("logp",)),
        Case("both sides, both signs", lambda g: binding(g, 32, clip=0.2), "where the clip binds",
             ("logp",)),
        Case("a narrow window", lambda g: binding(g, 8, 4, clip=0.05), "where the clip binds", ("logp",)),
        Case("a wide window in float64", lambda g: binding(g, 24, clip=0.4, dtype=F64),
             "where the clip binds", ("logp",)),
        Case("a policy far away",
             lambda g: dict(logp=torch.tensor([-0.1, -0.1, -9.0, -9.0]), logp_old=torch.tensor([-8.0, -8.0, -0.5, -0.5]), adv=torch.tensor([1.0, -0.01, 2.0, -2.0]), clip=0.2),
             "where the clip binds", ("logp",)),
        Case("a policy very far away",
             lambda g: far_apart(g, 4) | dict(adv=-0.2 - normal(g, 4).abs(), clip=0.2),
             "where the clip binds", ("logp",)),
        Case("very rare actions", lambda g: rare(binding(g, 8, clip=0.2)), "where the clip binds",
             ("logp",)),
        Case("an enormous step",
             lambda g: far_apart(g, 4, far=40) | dict(adv=-0.2 - normal(g, 4).abs(), clip=0.2),
             "where the clip binds", ("logp",)),
        Case("ratios close to the bounds", lambda g: near_the_bounds(), "where the clip binds", ("logp",)),
        *halves("where the clip binds", clip_table, ("logp",)),
        Case("large advantages", lambda g: large(), "where the clip binds", ("logp",)),
        Case(BROKEN, lambda g: broken(clip_table, "logp"), "where the clip binds"),
        Case("constants with a graph", lambda g: binding(g, 16, clip=0.2), "constants", ("logp_old", "adv")),
        Case("conversations of different lengths",
             lambda g: padded(binding(g, 4, 8, clip=0.2), masks(g, 4, 8)), "masks", ("logp",)),
        Case("nan in the padding", lambda g: ragged(g, binding, "logp", "adv", clip=0.2), "masks"),
        *paddings("masks", clip_table),
        Case("large advantages and a mask", lambda g: large() | dict(mask=frame()), "masks"),
        Case("logp [3] and adv [3, 1]", lambda g: log_probs(g, 3) | dict(adv=normal(g, 3, 1), clip=0.2),
             "shapes", raises=True),
        Case("logp_old [3, 1] and adv [3, 1]",
             lambda g: (log_probs(g, 3) | dict(logp_old=-normal(g, 3, 1).abs(), adv=normal(g, 3, 1), clip=0.2)),
             "shapes", raises=True),
        Case("logp_old [3, 1] alone",
             lambda g: (log_probs(g, 3) | dict(logp_old=-normal(g, 3, 1).abs(), adv=normal(g, 3), clip=0.2)),
             "shapes", raises=True),
        Case("a mask [4] for steps [4, 5]",
             lambda g: (binding(g, 4, 5, clip=0.2) | dict(mask=torch.tensor([True, False, True, True]))),
             "shapes", raises=True),
    ],
    mistakes=[
        mistake("no clip", "The ratio is never clipped: beyond the window the objective goes on to grow.",
                edit(f"rho.clamp({WINDOW})", "rho"),
                why="The clip is no polish: this lesson's experiment shows what happens without it."),
        mistake("no minimum",
                "It uses the clipped ratio alone. Outside the window the gradient is always zero, "
                "also where it should pull the policy back.",
                term("(clipped * adv)"),
                why="A step that went wrong has no gradient that would undo it; in this lesson's experiment the KL then runs off."),
        mistake("maximum",
                "It takes the larger of the two objectives (of losses, the smaller): the clip binds where it should not, and not where it should.",
                edit("torch.minimum", "torch.maximum")),
        mistake("negative advantages never clipped",
                "It clamps from above only: with a negative advantage the clip has to bind below 1 - clip.",
                edit(WINDOW, "max=1 + clip")),
        mistake("positive advantages never clipped",
                "It clamps from below only: with a positive advantage the clip has to bind above 1 + clip.",
                edit(WINDOW, "min=1 - clip")),
        mistake("clipped by sign alone",
                "It clips on both sides where the advantage is positive and on neither where it is negative.",
                term("(torch.where(adv > 0, clipped, rho) * adv)")),
        mistake("minimum of the ratios",
                "It takes the minimum of the two ratios and multiplies by the advantage then: "
                "where that is negative, the larger term is left.",
                term("(torch.minimum(rho, clipped) * adv)")),
        mistake("no way back for bad actions",
                "Where the advantage is negative it uses the clamped ratio alone: a bad action that became "
                "more probable has no gradient.",
                term(f"torch.where(adv > 0, {TERM}, clipped * adv)")),
        mistake("no way back for good actions",
                "Where the advantage is positive it uses the clamped ratio alone: a good action that became "
                "rarer has no gradient.",
                term(f"torch.where(adv > 0, clipped * adv, {TERM})")),
        mistake("bounds swapped",
                "The bound is on the wrong side: a good action stops at 1 - clip, a bad one at 1 + clip.",
                term("torch.minimum(rho * adv, torch.where(adv > 0, 1 - clip, 1 + clip) * adv)"),
                also=(term("(torch.where(adv > 0, rho.clamp(max=1 - clip), rho.clamp(min=1 + clip)) * adv)"),
                      term("(torch.where(adv > 0, rho.clamp(max=1 + clip), rho.clamp(max=1 - clip)) * adv)"))),
        mistake("average of both", "It averages the two terms; the smaller one counts.",
                term("((rho + clipped) * adv / 2)")),
        mistake("silent on both sides",
                "Outside the window no step has a gradient, not even one that should come back.",
                term(f"torch.where({OUTSIDE}, {TERM}.detach(), {TERM})")),
        mistake("gradient through the clamp",
                "The clamped ratio lets the gradient through: where the clip binds, it has to be zero.",
                edit(f"rho.clamp({WINDOW})", f"rho + (rho.clamp({WINDOW}) - rho).detach()")),
        mistake("ratio as a weight",
                "The ratio is a constant weight on logp: no step is ever silent, however far it has gone.",
                term("(clipped.detach() * logp * adv)"),
                also=(term("(rho.clamp(max=1 + clip).detach() * logp * adv)"), term("(rho.detach() * logp * adv)"))),
        *ratio_mistakes("probability_ratio"),
        mistake("second limit",
                "It also limits the loss of bad actions to {limit:.3g} times their advantage (dual clip): "
                "equation 7 does not, and those steps have lost their way back.",
                term(f"torch.where(adv < 0, torch.maximum({TERM}, {{limit=3}} * adv), {TERM})")),
        mistake("penalty for the clip",
                "It adds a penalty on the KL, with clip for its weight, and clips nothing: the other variant of PPO.",
                term("(rho * adv - clip * (logp_old.detach() - logp))"),
                also=(term("(rho * adv - clip * (rho - 1 - (logp - logp_old.detach())))"),
                      term("(rho * adv - clip * (logp - logp_old.detach()) ** 2 / 2)"))),
        mistake("everything outside dropped",
                "Every step outside the window is dropped, on both sides: those that should come back, too.",
                term(f"torch.where({OUTSIDE}, 0.0, rho * adv)"), also=(term("(rho * adv)[(rho - 1).abs() <= clip]"),)),
        mistake("sign", "It is the objective, not the loss: minimizing it makes the policy worse.",
                edit("-torch.minimum", "torch.minimum")),
        mistake("A2C's loss", "It is -mean(logp * adv): without the ratio, old data is treated as if it were fresh.",
                term("(logp * adv)")),
        mistake("exp missing, window around 0",
                "The ratio lacks its exp: what is clamped is the difference of the log-probabilities, around 0.",
                edit(RATIO, f"({DIFFERENCE})", of="probability_ratio"),
                edit(WINDOW, "math.log(1 - clip), math.log(1 + clip)", use=(math,))),
        mistake("advantage not constant", "A gradient flows into adv, and from there into the critic: detach it.",
                edit("adv = adv.detach()", ""), why="The critic would learn to flatter the actor."),
        mistake("window of the log ratio",
                "It clamps log rho at ±clip: the window is [e^-clip, e^clip], not [1 - clip, 1 + clip].",
                edit(f"rho.clamp({WINDOW})", f"({DIFFERENCE}).clamp(-clip, clip).exp()")),
        mistake("window of quotients", "One bound is the inverse of the other; equation 7 has 1 - clip and 1 + clip.",
                edit(WINDOW, "1 / (1 + clip), 1 + clip"), also=(edit(WINDOW, "1 - clip, 1 / (1 - clip)"),)),
        mistake("clip ignored", "The window is always 1 ± {width:.3g}: the argument clip does not enter.",
                edit(WINDOW, "1 - {width=0.2}, 1 + {width=0.2}")),
        mistake("a multiple of the window", "The window is 1 ± {share:.3g} clip; clip is its half-width already.",
                edit(WINDOW, "1 - {share=0.5} * clip, 1 + {share=0.5} * clip")),
        mistake("uneven window", "The window is 1 - {low:.3g} clip … 1 + {high:.3g} clip; both bounds are clip away from 1.",
                edit(WINDOW, "1 - {low=1} * clip, 1 + {high=1.3} * clip")),
        mistake("fixed bounds", "The window is {low:.3g} … {high:.3g}, whatever clip is.",
                edit(WINDOW, "{low=0.7}, {high=1.2}")),
        mistake("advantage clamped", "It clamps the advantage; the ratio is what must stay in the window.",
                term("torch.minimum(rho * adv, rho * adv.clamp(1 - clip, 1 + clip))"),
                also=(term("(rho * adv.clamp(-clip, clip))"),)),
        mistake("window around zero", "It clamps the ratio to [-clip, clip]; an unchanged policy has ratio 1, not 0.",
                edit(WINDOW, "-clip, clip")),
        mistake("product clamped", "It clamps ratio times advantage; the window is for the ratio alone.",
                term("torch.minimum(rho * adv, (rho * adv).clamp(1 - clip, 1 + clip))")),
        mistake("minimum of means", "It averages first and takes the minimum of two numbers; the minimum is for each step.",
                edit(f"{TERM}.mean()", "torch.minimum((rho * adv).mean(), (clipped * adv).mean())"),
                also=(edit(f"{TERM}.mean()", "min((rho * adv).mean(), (clipped * adv).mean())"),
                      edit(f"{TERM}.mean()", "min((clipped * adv).mean(), (rho * adv).mean())"))),
        mistake("absolute advantage",
                "It uses the size of the advantage without its sign: bad actions are reinforced too.",
                adv("adv.detach().abs()")),
        mistake("sign of the advantage",
                "It uses the advantage's sign and not its size: a small gain counts like a big one.",
                adv("adv.detach().sign()")),
        mistake("bad actions left out", "Negative advantages are set to 0: bad actions teach nothing.",
                adv("adv.detach().clamp(min=0)")),
        mistake("advantage normalized inside",
                "It centers or scales the advantages itself; the update does that once, for the whole rollout.",
                adv(NORMALIZATIONS[0]), also=(*map(adv, NORMALIZATIONS[1:]),)),
        mistake("every action with every advantage",
                "Inside, a row meets a column: the mean is over the table of all pairs.",
                adv("adv.detach().reshape(-1, 1)"),
                edit("probability_ratio(logp, logp_old)", "probability_ratio(logp, logp_old).reshape(-1)")),
        telltale("random numbers in the loss",
                 "It draws random numbers. The gradient is defined exactly; nothing is searched for.",
                 edit("(logp, logp_old)", "(logp + 1e-2 * torch.randn_like(logp), logp_old)"), lambda at: at.random),
        *sum_mistakes(BY),
        one_axis_summed(BY),
        *mask_mistakes(BY),
        nan_hidden(BROKEN, term(f"{TERM}.nan_to_num()")),
        *mean_symptoms(BY),
        symptom("a gradient where the clip binds",
                "With ratio 1.5 and a positive advantage, or 0.5 and a negative one, the gradient has to be 0; it is not.",
                term(f"({TERM} + 0.1 * rho * adv ** 3)"), lambda at: bool((corners(at)[[0, 3]] > 1e-6).any())),
        symptom("no way back",
                "With ratio 1.5 and a negative advantage, or 0.5 and a positive one, the step has gone wrong: "
                "there it needs its gradient, and has none.",
                term(f"torch.where(((rho - 1) * adv < 0) & ({OUTSIDE}), 0.9 * {TERM}.detach(), {TERM})"),
                lambda at: bool((corners(at)[[1, 2]] < 1e-6).any())),
        symptom("other bounds",
                "The bounds are not 1 - clip and 1 + clip: close to them a gradient is there that should not be, or is missing.",
                edit(WINDOW, "1 - clip ** 1.5, 1 + clip"), other_bounds),
        *window_symptoms(BY, "-mean(rho A)", term(f"(torch.where(adv > 0, 1.1, 1.0) * {TERM})"),
                         term(f"torch.where({OUTSIDE}, torch.where(adv > 0, 1.1, 1.0) * {TERM}, {TERM})")),
        mistake("broadcast", "[3] against [3, 1] gives a 3 x 3 table: every action weighed with every advantage.",
                edit(GUARD, ""), edit("same_shape(logp=logp, logp_old=logp_old)", "", of="probability_ratio")),
    ],
    read="lesson 5, “The clip”; Schulman et al. 2017, equation 7",
)
