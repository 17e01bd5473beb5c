"""The actor climbs the critic."""

import torch

from pgcourse.checks.compare import close
from pgcourse.checks.core import Case, Exercise
from pgcourse.checks.edits import edit, mistake
from pgcourse.checks.make_inputs import normal
from pgcourse.exercises.sac.facts import (
    another_divisor,
    derivative,
    draws,
    fact,
    outs,
    partly_right,
    rows_left_out,
    same_error,
    wrong_gradient,
)
from pgcourse.exercises.sac.inputs import F64, agree, fixed, thousands, twins
from pgcourse.losses import sac_actor_loss

ALL = ("logp", "q1", "q2")


def fresh_actions(g, B, alpha, dtype=torch.float32):
    return dict(logp=normal(g, B, dtype=dtype) - 0.5) | twins(g, B, dtype) | dict(alpha=alpha)


def hand_actions(g):
    return dict(
        logp=torch.tensor([-1.0, 0.5]),
        q1=torch.tensor([2.0, 4.0]),
        q2=torch.tensor([3.0, 1.0]),
        alpha=torch.tensor(0.2),
    )


def enormous(g):
    """Every number beyond a limit that somebody may put in, in both critics and both signs."""
    return dict(
        logp=torch.tensor([-1500.0, 2000.0, 700.0, -400.0], dtype=F64),
        q1=torch.tensor([3e5, -2e5, 4e5, -7e5], dtype=F64),
        q2=torch.tensor([5e5, -4e5, 2e5, -6e5], dtype=F64),
        alpha=torch.tensor(250.0, dtype=F64),
    )


def both_signs(args):
    """The first action is better by far, the second worse: values of both signs, in both critics."""
    shift = torch.zeros_like(args["q1"])
    shift[:2] = torch.tensor([15.0, -15.0])
    return args | {name: args[name] + shift for name in ("q1", "q2")}


def one_action(value):
    q = torch.tensor([value])
    return lambda g: dict(logp=torch.tensor([-0.6]), q1=q, q2=q + 2, alpha=0.7)


def alpha_is_limited(at):
    """Right where alpha is 0.7, and wrong where it is larger or where it is smaller."""
    ends = ("float64", "alpha as a float"), ("two actions", "alpha that carries gradient")
    return all(close(*pair) for pair in outs(at, "a batch", "five actions")) and any(
        not any(close(*pair) for pair in outs(at, *names)) for names in ends
    )


# --- edits ---

DETACH, PRICE, VALUE = "torch.as_tensor(alpha).detach()", "alpha * logp", "torch.minimum(q1, q2)"
EACH = f"({PRICE} - {VALUE})"


def value(new):
    """Another value in place of min(q1, q2)."""
    return edit(VALUE, new)


def price(new):
    """Another price in place of alpha * log pi."""
    return edit(PRICE, new)


def loss(new):
    """Another loss; Q stands for the smaller critic."""
    return edit(f"{EACH}.mean()", new.replace("Q", VALUE))


def scored(weight):
    """log pi times a weight."""
    return loss(f"(logp * {weight}).mean()")


# fmt: off
EXERCISE = Exercise(
    reference=sac_actor_loss,
    parts={"loss": 2, "alpha": 1, "shapes": 1, "clean": 1},
    cases=[
        Case("two actions", hand_actions, "loss", ALL),
        Case("a batch", lambda g: fresh_actions(g, 9, torch.tensor(0.7)), "loss", ALL),
        Case("float64", lambda g: fresh_actions(g, 6, torch.tensor(1.8, dtype=F64), F64), "loss", ALL),
        Case("values in the thousands", lambda g: thousands(fresh_actions(g, 4, 0.3), "q1", "q2"), "loss", ALL),
        Case("one action", one_action(4.0), "loss"),
        Case("one poor action", one_action(-5.0), "loss"),
        Case("five actions", fixed(lambda g: fresh_actions(g, 5, 0.7)), "loss"),
        Case("other critics", fixed(lambda g: fresh_actions(g, 5, 0.7) | twins(g, 5)), "loss"),
        Case("other actions", fixed(lambda g: fresh_actions(g, 5, 0.7) | dict(logp=normal(g, 5))), "loss"),
        Case("critics that agree", lambda g: agree(fresh_actions(g, 5, 0.7)), "loss"),
        Case("alpha as a float", lambda g: both_signs(fresh_actions(g, 5, 1.3)), "alpha", ALL),
        Case("alpha that carries gradient", lambda g: both_signs(fresh_actions(g, 4, torch.tensor(0.4))), "alpha",
             (*ALL, "alpha")),
        Case("numbers in the thousands, alpha of 250", enormous, "loss", ALL),
        Case("critics [4, 1] and log-probabilities [4]",
             lambda g: fresh_actions(g, 4, 0.2) | dict(q1=normal(g, 4, 1), q2=normal(g, 4, 1)), "shapes", raises=True),
        Case("log-probabilities [4, 1]", lambda g: fresh_actions(g, 4, 0.2) | dict(logp=normal(g, 4, 1)), "shapes",
             raises=True),
        Case("a second critic [4, 1]", lambda g: fresh_actions(g, 4, 0.2) | dict(q2=normal(g, 4, 1)), "shapes",
             raises=True),
    ],
    mistakes=[
        mistake("max of the twins", "It climbs the larger critic: the actor runs after whichever overestimates more.",
                edit("minimum", "maximum")),
        mistake("mean of the twins", "It climbs the mean of the critics, not the smaller.", value("(q1 + q2) / 2")),
        mistake("first critic only", "It climbs q1 alone; its twin is not asked.", value("q1"),
                why="The actor is an optimizer: it finds the actions where one critic alone is wrong."),
        mistake("second critic only", "It climbs q2 alone; its twin is not asked.", value("q2")),
        mistake("sum of the twins", "It climbs the sum of the critics, not the smaller.", value("(q1 + q2)")),
        mistake("smaller in size", "It takes the critic that is closer to 0; of -5 and 1 the smaller one is -5.",
                value("torch.where(q1.abs() < q2.abs(), q1, q2)")),
        mistake("smooth minimum", "It takes -log-sum-exp of the negated twins; asked is their minimum.",
                value("(-torch.logaddexp(-q1, -q2))")),
        mistake("value normalized",
                "It centers or rescales min Q within the batch: the price alpha then has no unit to compare with.",
                value(f"({VALUE} - {VALUE}.mean())"),
                also=(value(f"({VALUE} - {VALUE}.mean().detach())"), value(f"{VALUE} / {VALUE}.abs().mean().detach()"))),
        mistake("sign", "The whole loss has its sign reversed: descent looks for bad, predictable actions.",
                loss(f"-{EACH}.mean()")),
        mistake("value sign", "min Q is added: a loss is minimized, so the value is minimized too.",
                edit("logp - torch", "logp + torch")),
        mistake("larger critic added", "It adds the larger critic; the smaller one is subtracted.",
                loss("(alpha * logp + torch.maximum(q1, q2)).mean()"), why="Descent lowers what a loss adds."),
        mistake("entropy sign", "-alpha * log pi in a LOSS: descent makes the policy as predictable as it can.",
                price(f"-{PRICE}"), why="The objective has -alpha log pi, so the loss has + alpha log pi."),
        mistake("no entropy", "alpha * log pi is missing: nothing keeps the policy from collapsing to one action.",
                loss("-Q.mean()"),
                also=(loss("-q1.mean()"), loss("-(q1 + q2).mean() / 2"), loss("-torch.maximum(q1, q2).mean()"))),
        mistake("alpha not detached",
                "The actor's loss sends a gradient into alpha: detach it, it has a loss of its own.",
                edit(DETACH, "torch.as_tensor(alpha)"),
                why="This gradient would lower alpha whenever the policy is predictable: the wrong way round."),
        mistake("critic detached",
                "No gradient passes through the critics: the actor never hears which action is better.",
                value(f"{VALUE}.detach()"),
                why="The same happens if Q is taken at the action from the replay buffer."),
        mistake("log pi detached", "No gradient passes through log pi: the entropy is counted but never optimized.",
                price("alpha * logp.detach()")),
        mistake("score function",
                "It weighs log pi by a constant, as REINFORCE does; SAC differentiates through the action.",
                scored(f"{EACH}.detach()"),
                also=(loss("(alpha * logp - logp * Q.detach()).mean()"), scored("(logp - Q / alpha).detach()"),
                      scored("(logp - Q).detach()"), scored(EACH), scored("(alpha * logp - Q + Q.mean()).detach()"),
                      scored("(Q - alpha * logp).detach()")),
                why="It points the same way on average, with far more noise."),
        mistake("policy gradient with Q",
                "It is lesson 4's actor loss with Q in place of the advantage, and no entropy.", scored("-Q.detach()"),
                also=(scored("-Q"), scored("-alpha * Q"), scored("Q.detach()"), scored("(Q.mean() - Q).detach()"))),
        mistake("sum over the batch", "It sums over the batch: the step size grows with the batch.", edit("mean", "sum")),
        mistake("not averaged", "It returns one number per action; a loss is a single number.", edit(".mean()", "")),
        mistake("minimum of the means",
                "It averages first and then takes one minimum for the whole batch; the minimum is per row.",
                value("torch.minimum(q1.mean(), q2.mean())"), also=(value("torch.maximum(q1.mean(), q2.mean())"),)),
        mistake("minimum of the batch",
                "It takes one minimum over the whole batch: only one action gets a gradient.",
                value("torch.minimum(q1.min(), q2.min())")),
        mistake("alpha on the value", "alpha multiplies min Q; it is the price of entropy and belongs to log pi.",
                loss("(logp - alpha * Q).mean()")),
        mistake("alpha ignored", "alpha is not used.", price("logp")),
        mistake("alpha fixed", "It uses {alpha:.3g} in place of alpha.", price("{alpha=0.2} * logp")),
        mistake("divided by alpha", "It divides the whole loss by alpha: a small temperature makes huge steps.",
                loss("(logp - Q / alpha).mean()")),
        mistake("alpha on both", "alpha multiplies min Q too; it is the price of entropy and belongs to log pi alone.",
                loss("(alpha * (logp - Q)).mean()")),
        mistake("squared", "It squares the difference: the policy is to maximize the value, not to meet log pi.",
                loss(f"({EACH} ** 2).mean()")),
        mistake("probability times its logarithm",
                "It multiplies log pi by pi; a was drawn from pi, so that weight is in the sampling already.",
                price("alpha * logp.exp() * logp")),
        mistake("alpha exponentiated", "It uses exp(alpha): what is passed is alpha itself, not its logarithm.",
                price("alpha.exp() * logp")),
        mistake("probability for its logarithm", "It uses exp(logp); what is passed is a log-probability already.",
                price("alpha * logp.exp()")),
        mistake("alpha distorted", "It uses the square, the inverse, the root or the logarithm of alpha.",
                price("alpha ** 2 * logp"),
                also=(price("logp / alpha"), price("alpha.log() * logp"), price("alpha.sqrt() * logp"))),
        draws(value("(q1 if torch.rand(()) < 0.5 else q2)")),
        mistake("another share of the entropy", "The entropy term is {share:.3g} times what it should be.",
                price("{share=0.5} * alpha * logp")),
        mistake("log pi cut at 0",
                "It cuts or folds log pi at 0; a density may be above 1, and its logarithm positive.",
                price("alpha * logp.clamp(max=0)"),
                also=(price("alpha * logp.abs()"), price("-alpha * logp.abs()"), price("alpha * logp.clamp(min=0)"))),
        rows_left_out(loss("torch.relu(alpha * logp - Q).mean()")),
        partly_right("twins combined in another way",
                     "Its value is right where the two critics agree, and wrong where they differ: asked is their minimum, "
                     "row by row.",
                     value(f"({VALUE} - 0.5 * (q1 - q2).abs())"), ("critics that agree",), ("five actions", "other critics")),
        fact("alpha limited",
             "It is right for an alpha of 0.7, and wrong for smaller ones (0.2 and 0.4) or larger ones (1.3 and 1.8): "
             "does it limit alpha?",
             price("alpha.clamp(max=1) * logp"), alpha_is_limited),
        partly_right("large values cut",
                     "It is right for values of a few units and wrong for thousands: does it limit them?",
                     value(f"{VALUE}.clamp(-50, 50)"), ("five actions", "a batch"), ("values in the thousands",)),
        same_error("another price of entropy",
                   "The error stays the same with other critics: it is in the entropy's part, alpha * log pi.",
                   price("alpha * logp.expm1()"), "five actions", "other critics"),
        same_error("another value",
                   "The error stays the same with other log pi: it is in the value's part, -min(q1, q2) as it comes.",
                   value(f"{VALUE}.tanh()"), "five actions", "other actions"),
        wrong_gradient(price("alpha * logp + logp - logp.detach()")),
        another_divisor(loss(f"{EACH}.sum() / (len(q1) + 1)")),
        partly_right("rows mixed", "It is right for a single action and wrong for several: the loss is the mean over all rows.",
                     loss(f"{EACH}.cumsum(0).mean()"), ("one action", "one poor action"), ("five actions", "other critics")),
        derivative("share of log pi", "The gradient into log pi is not alpha / B in each row: look at alpha * log pi.",
                   loss("-logp @ (Q / alpha).softmax(0).detach()"), "a batch", lambda logp, q1, q2: logp),
    ],
    read="lesson 6, “The actor climbs the critic”; Haarnoja et al. 2018b, equation 7",
)
