"""Two critics, one target."""

import re

import torch

from pgcourse.checks.compare import close
from pgcourse.checks.core import Case, Exercise
from pgcourse.checks.edits import edit, mistake
from pgcourse.checks.make_inputs import normal
from pgcourse.exercises.sac.facts import (
    another_divisor,
    comparable,
    fact,
    outs,
    partly_right,
    rows_left_out,
    wrong_gradient,
)
from pgcourse.exercises.sac.inputs import F64, agree, fixed, thousands, twins
from pgcourse.losses import sac_critic_loss

Q1Q2, ALL = ("q1", "q2"), ("q1", "q2", "target")
FIVE = "five transitions"


def with_target(g, B, dtype=torch.float32):
    return twins(g, B, dtype) | dict(target=normal(g, B, dtype=dtype, scale=3.0))


def numbers(q1, q2, target):
    return lambda g: {k: torch.tensor(x) for k, x in zip(ALL, (q1, q2, target), strict=True)}


def five(change):
    """The same five transitions with every seed, changed."""
    return fixed(lambda g: change(with_target(g, 5)))


def doubled_errors(args):
    return args | {name: 2 * args[name] - args["target"] for name in Q1Q2}


def exchanged(args):
    return args | dict(q1=args["q2"], q2=args["q1"])


def raised(args):
    return {name: x + 5 for name, x in args.items()}


def negated_errors(args):
    return args | {name: 2 * args["target"] - args[name] for name in Q1Q2}


# --- signs of families ---


def twins_mixed(at):
    """Where the critics agree it is right (or twice or half of it), and elsewhere it is not."""
    (same, right), (other, other_right) = outs(at, "critics that agree", FIVE)
    return (
        comparable(same, right)
        and comparable(other, other_right)
        and any(
            close(same, c * right) and not close(other, c * other_right) for c in (0.5, 1.0, 2.0)
        )
    )


def not_times(c, name, says, wrong, other):
    """In another case the loss should be c times that of "five transitions"."""

    def sign(at):
        (one, right), (two, _) = outs(at, FIVE, other)
        return comparable(one, right) and comparable(two, right) and not close(two, c * one)

    return fact(name, says, wrong, sign)


# --- edits ---

FIRST, SECOND = "((q1 - target) ** 2).mean()", "((q2 - target) ** 2).mean()"
LOSS, DETACH = f"{FIRST} + {SECOND}", "target = target.detach()"


def loss(new):
    """Another loss; L1 and L2 stand for the two."""
    return edit(LOSS, new.replace("L1", FIRST).replace("L2", SECOND))


def both(new):
    """Another loss for each critic, a text in q."""
    return tuple(edit(L, re.sub(r"\bq\b", q, new)) for L, q in ((FIRST, "q1"), (SECOND, "q2")))


def one(new):
    """Another loss for what the twins have in common."""
    return loss(f"(({new}) ** 2).mean()")


def error(new):
    """Other errors than q - target, a text in q; squared and averaged as before."""
    return both(f"(({new}) ** 2).mean()")


def weighed(above, below):
    return both(f"(torch.where(q > target, {above}, {below}) * (q - target) ** 2).mean()")


HUBER = "torch.nn.functional.huber_loss"

# fmt: off
EXERCISE = Exercise(
    reference=sac_critic_loss,
    accept=(loss(f"0.5 * ({LOSS})"),),
    parts={"loss": 2, "target constant": 1, "shapes": 1, "clean": 1},
    cases=[
        Case("two transitions", numbers([1.0, 2.0], [3.0, 0.5], [2.5, 1.0]), "loss", Q1Q2),
        Case("a second critic that is far off", numbers([1.0, -2.0], [-3.0, 2.5], [0.5, -1.5]), "loss", Q1Q2),
        Case("one transition", numbers([5.0], [-3.5], [0.5]), "loss", Q1Q2),
        Case(FIVE, five(dict), "loss"),
        Case("critics that agree", lambda g: agree(with_target(g, 5)), "loss"),
        Case("errors twice as large", five(doubled_errors), "loss"),
        Case("critics exchanged", five(exchanged), "loss"),
        Case("all raised by 5", five(raised), "loss"),
        Case("errors negated", five(negated_errors), "loss"),
        Case("a batch", lambda g: with_target(g, 9), "loss", Q1Q2),
        Case("float64", lambda g: with_target(g, 7, F64), "loss", Q1Q2),
        Case("targets in the thousands", lambda g: thousands(with_target(g, 4), *ALL), "loss", Q1Q2),
        Case("a target that carries gradient", lambda g: with_target(g, 5), "target constant", ALL),
        Case("critics [4, 1] and targets [4]",
             lambda g: twins(g, 4) | dict(q1=normal(g, 4, 1), target=normal(g, 4)), "shapes", raises=True),
        Case("targets [4, 1]", lambda g: twins(g, 4) | dict(target=normal(g, 4, 1)), "shapes", raises=True),
        Case("a second critic [4, 1]", lambda g: with_target(g, 4) | dict(q2=normal(g, 4, 1)), "shapes", raises=True),
    ],
    mistakes=[
        mistake("target not detached", "Gradient flows into the target: detach it.", edit(DETACH, ""),
                why="The target would move to meet the critic: the residual gradient, which learns another thing."),
        mistake("first critic only", "Only q1 is trained: its twin keeps its random first guess.",
                loss("L1"), also=(loss("2 * L1"), loss("0.5 * L1")),
                why="The minimum of a trained and an untrained critic is no estimate of anything."),
        mistake("second critic only", "Only q2 is trained: its twin keeps its random first guess.",
                loss("L2"), also=(loss("2 * L2"), loss("0.5 * L2"))),
        mistake("critics detached", "The critics are detached, and the target is not: it is the other way round.",
                edit("q1 -", "q1.detach() -"), edit("q2 -", "q2.detach() -"), edit(DETACH, "")),
        mistake("second critic detached", "The loss counts q2 but no gradient reaches it: it never learns.",
                edit("q2 -", "q2.detach() -")),
        mistake("minimum first", "It trains only the smaller of the twins, row by row; both regress to the target.",
                one("torch.minimum(q1, q2) - target"),
                why="The minimum belongs in the target, where the estimate is used."),
        mistake("maximum first", "It trains only the larger of the twins, row by row; both regress to the target.",
                one("torch.maximum(q1, q2) - target")),
        mistake("sum first", "It trains the sum of the twins to be the target: each would be half of it.",
                one("q1 + q2 - target")),
        mistake("average first", "It trains the average of the twins: each alone may be far off.",
                one("(q1 + q2) / 2 - target"),
                why="One may overestimate by what the other underestimates; then their minimum is useless."),
        mistake("worse twin only", "Row by row only the larger of the two errors counts; both critics should learn.",
                loss("torch.maximum((q1 - target) ** 2, (q2 - target) ** 2).mean()")),
        mistake("better twin only", "Row by row only the smaller of the two errors counts; both critics should learn.",
                loss("torch.minimum((q1 - target) ** 2, (q2 - target) ** 2).mean()")),
        mistake("worse critic only", "Only the critic with the larger loss counts; both critics should learn.",
                loss("torch.maximum(L1, L2)")),
        mistake("better critic only", "Only the critic with the smaller loss counts; both critics should learn.",
                loss("torch.minimum(L1, L2)")),
        mistake("sum over the batch", "It sums over the batch: the step size grows with the batch.",
                *both("((q - target) ** 2).sum()")),
        mistake("divided by B - 1", "It divides by B - 1; a mean of squared errors divides by B.",
                *both("((q - target) ** 2).sum() / max(len(q) - 1, 1)")),
        mistake("weights that differ", "q2's loss has {weight:.3g} times the weight of q1's; both count the same.",
                loss("L1 + {weight=2} * L2")),
        mistake("difference of the losses", "It subtracts the second loss: descent drives q2 away from the target.",
                loss("L1 - L2")),
        mistake("product of the errors", "It multiplies the two errors; each has a square of its own.",
                loss("((q1 - target) * (q2 - target)).mean()")),
        mistake("not averaged", "It returns one number per transition; a loss is a single number.", *both("(q - target) ** 2")),
        mistake("signed error", "The square is missing: the loss falls without bound as the critics sink.",
                *both("(q - target).mean()")),
        mistake("absolute error",
                "It uses the absolute error: the critics would learn the median of the targets, not their mean.",
                *both("(q - target).abs().mean()")),
        mistake("Huber loss", "It uses the Huber loss; for errors beyond {delta:.3g} that is not the squared error.",
                *both(f"2 * {HUBER}(q, target, delta={{delta=1}})"), also=(both(f"{HUBER}(q, target, delta={{delta=1}})"),
                                                                          both(f"0.5 * {HUBER}(q, target, delta={{delta=1}})"))),
        mistake("errors clipped", "It clips the errors at ±{limit:.3g} before squaring: a critic that is far off gets no gradient.",
                *error("(q - target).clamp(-{limit=1}, {limit=1})")),
        mistake("every pair",
                "It compares every value with every target, a table of [B, B]; each value has its own target.",
                *both("((q.unsqueeze(-1) - target) ** 2).mean()"),
                why="[B, 1] against [B] broadcasts to this table without a word."),
        mistake("largest error only", "It takes the largest error of the batch, or the median; the loss is a mean.",
                *both("((q - target) ** 2).max()"), also=(both("((q - target) ** 2).median()"),)),
        mistake("target ignored", "It pulls the critics to 0: the target is not used.", *both("(q ** 2).mean()")),
        mistake("relative error", "It divides the errors by the target; asked is their plain square.",
                *error("(q - target) / (target.abs() + 1e-8)")),
        mistake("another power", "It takes the error to the power {power:.3g}; asked is the square.",
                *both("((q - target).abs() ** {power=3}).mean()")),
        mistake("one side weighs more",
                "Errors above the target count {above:.3g} times and those below {below:.3g} times; their squares count the same.",
                *weighed("{above=1.5}", "{below=0.5}"), also=(weighed("{above=1.5}", "0.0"), weighed("0.0", "{below=0.5}"))),
        mistake("log cosh", "It uses log cosh of the error; asked is its square.", *both("(q - target).cosh().log().mean()")),
        mistake("root", "It takes the root of the mean squared error.", loss("L1.sqrt() + L2.sqrt()")),
        mistake("square of the mean", "It averages before squaring: positive and negative errors cancel.",
                *both("(q - target).mean() ** 2")),
        mistake("variance of the errors",
                "It takes the variance: the mean error is taken off before squaring, and so never corrected.",
                *both("(q - target).var()"), also=(both("(q - target).var(unbiased=False)"),)),
        mistake("twins trained on each other", "It compares the critics with each other; the target is not used.",
                one("q1 - q2")),
        mistake("twins pulled together", "It adds a penalty on (q1 - q2)^2: twins help because they differ.",
                loss("L1 + L2 + {weight=1} * ((q1 - q2) ** 2).mean()")),
        mistake("target added", "It adds the target; the error is q - target.", *error("q + target")),
        mistake("target normalized", "It standardizes the targets within the batch: Q would have no unit, and no meaning.",
                edit(DETACH, "target = ((target - target.mean()) / (target.std() + 1e-8)).detach()")),
        mistake("actor's loss", "It maximizes the critics, and the target is not used: that is the actor's loss.",
                loss("-torch.minimum(q1, q2).mean()"), also=(loss("-0.5 * torch.minimum(q1, q2).mean()"),),
                why="Actor and critic learn from different losses: the critic regresses to its target."),
        mistake("second follows the first", "q2 is trained towards q1, not towards the target.",
                edit("q2 - target", "q2 - q1.detach()"), why="Twins help where they err differently."),
        mistake("sign", "The sign is reversed: descent increases the error.", loss(f"-({LOSS})")),
        rows_left_out(both("((q - target) ** 2 * ((q - target).abs() < 1)).mean()")),
        fact("twins mixed",
             "It is right where the two critics agree, and wrong where they differ: each has a squared error "
             "of its own, and the two means add up.",
             loss("(((q1 + q2) / 2 - target) ** 2).mean() + L1"), twins_mixed),
        partly_right("wrong for one transition", "It is right for several transitions, and wrong for a batch of one.",
                     both("((q - target).abs() ** (2 if len(q) > 1 else 1)).mean()"),
                     ("two transitions", FIVE, "a batch"), ("one transition",)),
        partly_right("large errors cut",
                     "It is right for errors of a few units and wrong for thousands: does it limit them?",
                     both("(torch.where((q - target).abs() > 50, 0.5, 1.0) * (q - target) ** 2).mean()"), (FIVE, "a batch"), ("targets in the thousands",)),
        wrong_gradient(loss("L1 + L2 + (q1 - q1.detach()).mean()")),
        another_divisor(both("((q - target) ** 2).sum() / (len(q) + 1)")),
        partly_right("rows mixed",
                     "It is right for a single transition and wrong for several: each value has its own target, "
                     "and the squared errors are averaged.",
                     error("q - target.flip(0)"), ("one transition",), (FIVE, "a batch")),
        not_times(1, "more than differences",
                  "All values and the targets raised by 5 should leave the loss as it is; here it changes: it depends on "
                  "more than q - y.",
                  both("(q ** 2 - target ** 2).mean()"), "all raised by 5"),
        not_times(1, "twins not treated alike", "q1 and q2 exchanged should give the same loss; here it is another one.",
                  edit(SECOND, f"{HUBER}(q2, target)"), "critics exchanged"),
        not_times(1, "both sides not alike",
                  "Errors of the same size above the target in place of below, and the other way round, should give the "
                  "same loss; here it is another one.",
                  both("(q - target).expm1().mean()"), "errors negated"),
        not_times(4, "not the square", "Errors twice as large should give four times the loss; here they do not.",
                  both("torch.log2(1 + (q - target) ** 2).mean()"), "errors twice as large"),
    ],
    read="lesson 6, “Two critics”; Haarnoja et al. 2018b, equation 5",
)
