"""A price that sets itself."""

import math

import torch

from pgcourse.checks.compare import alike, close
from pgcourse.checks.core import Case, Exercise
from pgcourse.checks.edits import edit, mistake
from pgcourse.checks.make_inputs import normal
from pgcourse.exercises.sac.facts import fact, outs, partly_right, wrong_gradient
from pgcourse.losses import temperature_loss

ALPHA = ("log_alpha",)


def tuning(log_alpha, logp, target_entropy, dtype=torch.float32):
    def inputs(g):
        return dict(
            log_alpha=torch.tensor(log_alpha, dtype=dtype),
            logp=(logp(g) if callable(logp) else torch.tensor(logp)).to(dtype),
            target_entropy=target_entropy,
        )

    return inputs


# --- signs of families ---


def fronts(at, *names):
    """(log alpha, loss, gradient, right loss, right gradient) in those of the cases that are wrong."""
    found = []
    for name in names:
        right, seen = at.right(name), at[name]
        loss, grad = seen["out"], seen["grads"].get("log_alpha")
        if not torch.is_tensor(loss) or loss.dim() or grad is None:
            return []
        if not close(loss, right["out"]):
            numbers = (loss, grad, right["out"], right["grads"]["log_alpha"])
            found.append((HOT[name], *(x.item() for x in numbers)))
    return found


def right_gradient_only(at):
    names = ("two actions", "a target of 0", "log pi of 0", "a policy too random")
    return not any(close(*pair) for pair in outs(at, *names)) and all(
        close(*(x["grads"]["log_alpha"] for x in (at[name], at.right(name)))) for name in names
    )


def another_front(at):
    """At one temperature the loss and its gradient are in proportion to the right ones."""
    found = fronts(at, "two actions", "three actions, as hot")
    if len(found) < 2:
        return False
    (_, loss, grad, right, slope), (_, loss2, grad2, right2, slope2) = found
    ratios = (loss / right, loss2 / right2), (grad / slope, grad2 / slope2)
    return all(math.isclose(a, b, rel_tol=1e-3) for a, b in ratios)


def another_bracket(at):
    """The loss is alpha times its bracket, or log alpha times it: the gradient tells which."""
    found = fronts(at, *HOT)
    return len(found) > 2 and any(
        all(math.isclose(loss, front(x) * grad, rel_tol=1e-3) for x, loss, grad, *_ in found)
        for front in (lambda log_alpha: 1.0, lambda log_alpha: log_alpha)
    )


def hot_or_cold(at):
    mild = all(close(*pair) for pair in outs(at, "two actions", "a policy too random"))
    return mild and not all(
        close(*pair) for pair in outs(at, "a high temperature", "a low temperature")
    )


def log_alpha_not_reached(at):
    grads = [
        at[n]["grads"].get("log_alpha") for n in ("two actions", "a target of 0", "log pi of 0")
    ]
    return not any(torch.is_tensor(grad) and grad.any() for grad in grads)


HOT = {  # log alpha in the cases that are fixed
    "two actions": -0.5,
    "three actions, as hot": -0.5,
    "a policy too predictable": -1.5,
    "a policy too random": 0.4,
    "log pi of 0": -0.5,
}

# --- edits ---

FRONT, GAP = "log_alpha.exp()", "(logp.detach() + target_entropy)"
LOSS = f"-({FRONT} * {GAP}).mean()"
LOG = edit(FRONT, "log_alpha")  # the other convention: the step does not shrink with alpha


def front(new):
    return edit(FRONT, new)


def gap(new):
    return edit(GAP, new)


def whole(new):
    """Another loss: `front` stands for alpha, `gap` for what is averaged."""
    return edit(LOSS, new.replace("front", FRONT).replace("gap", GAP))


# fmt: off
EXERCISE = Exercise(
    reference=temperature_loss,
    accept=(LOG,),
    parts={"loss": 2, "log pi constant": 1, "clean": 1},
    cases=[
        Case("two actions", tuning(-0.5, [-1.0, 0.5], -1.0), "loss", ALPHA),
        Case("three actions, as hot", tuning(-0.5, [2.0, 0.3, 1.6], -2.0), "loss", ALPHA),
        Case("a policy too predictable", tuning(-1.5, [2.0, 3.0, 2.5], -1.0), "loss", ALPHA),
        Case("a policy too random", tuning(0.4, [-0.6, -0.5, -0.9], -2.0), "loss", ALPHA),
        Case("six action dimensions", tuning(-2.0, lambda g: 3 * normal(g, 20) + 4, -6.0), "loss", ALPHA),
        Case("a positive target", tuning(0.3, lambda g: normal(g, 7) - 1, 0.4), "loss", ALPHA),
        Case("float64", tuning(-1.0, lambda g: normal(g, 9), -3.0, torch.float64), "loss", ALPHA),
        Case("one action", tuning(-0.5, [-1.3], -1.0), "loss", ALPHA),
        Case("one predictable action", tuning(-0.5, [2.4], -1.0), "loss", ALPHA),
        Case("log pi of 30 and -25", tuning(-0.5, [30.0, -25.0, 28.0], -1.0), "loss", ALPHA),
        Case("a target of 0", tuning(-0.5, [0.6, -1.3, 0.4], 0.0), "loss", ALPHA),
        Case("log pi of 0", tuning(-0.5, [0.0, 0.0, 0.0], -2.0), "loss", ALPHA),
        Case("exactly as random as asked", tuning(-0.5, [1.0, 1.0, 1.0], -1.0), "loss", ALPHA),
        Case("a high temperature", tuning(3.5, lambda g: normal(g, 5), -1.0), "loss", ALPHA),
        Case("a low temperature", tuning(-6.0, lambda g: 30 + normal(g, 5), -1.0), "loss", ALPHA),
        Case("a huge price", tuning(12.0, [300.0, -200.0, 50.0], -1.0, torch.float64), "loss", ALPHA),
        Case("log pi that carries gradient", tuning(-0.7, lambda g: normal(g, 6), -1.0), "log pi constant",
             ("log_alpha", "logp")),
    ],
    mistakes=[
        mistake("target entropy negated",
                "It uses log pi - target_entropy: the policy is steered to MINUS the entropy asked for.",
                edit("+ target_entropy", "- target_entropy"),
                why="With a target of -1 nat alpha would aim at +1 nat, more than tanh actions can have (log 2 each)."),
        mistake("sign",
                "The sign is reversed: alpha falls when the policy is too predictable, and rises when it is too random.",
                whole("(front * gap).mean()"), why="Instead of settling, alpha explodes or dies."),
        mistake("both signs", "The signs of the loss and of the target are reversed: alpha * (log pi - target_entropy).",
                whole("(front * (logp.detach() - target_entropy)).mean()")),
        mistake("share of the target", "It uses {share:.3g} times the target entropy that was asked for.",
                edit("+ target_entropy", "+ {share=0.5} * target_entropy")),
        mistake("size of the target",
                "It takes the sign off the target entropy and puts one of its own; the sign that comes in counts.",
                edit("+ target_entropy", "- abs(target_entropy)"), also=(edit("+ target_entropy", "+ abs(target_entropy)"),)),
        mistake("target fixed", "It uses {target:.3g} in place of target_entropy.",
                edit("+ target_entropy", "+ {target=-1}")),
        mistake("target outside the bracket",
                "alpha multiplies log pi alone; target_entropy belongs inside the bracket, times alpha too.",
                whole("-(front * logp.detach() + target_entropy).mean()"),
                also=(whole("-(front * logp.detach()).mean() + target_entropy"),)),
        mistake("target divided by the batch",
                "It divides the target by the number of actions in the batch; the mean is of log pi + target.",
                edit("+ target_entropy", "+ target_entropy / len(logp)")),
        mistake("target missing", "The target entropy is not used: alpha aims at an entropy of 0 nats.",
                gap("logp.detach()")),
        mistake("log pi not detached", "Gradient flows into log pi: the temperature's loss would train the policy.",
                edit("logp.detach()", "logp"),
                why="It would make every action more probable, whatever the entropy is: the policy loses it."),
        mistake("sum over the batch", "It sums over the batch: the step size grows with the batch.", edit("mean", "sum")),
        mistake("not averaged", "It returns one number per action; a loss is a single number.", edit(".mean()", "")),
        mistake("one action only", "It uses one action of the batch only.",
                edit(".mean()", "[0]"), also=(edit(".mean()", "[-1]"),)),
        mistake("median", "It takes the median over the batch; the entropy is a mean.", edit("mean", "median"),
                also=(edit("logp.detach()", "logp.detach().median()"),)),
        mistake("difference standardized",
                "It divides by the spread of the batch, or keeps only signs: how far off the entropy is gets lost.",
                gap(f"{GAP}.sign()"), also=(gap(f"{GAP}.mean().sign()"), gap(f"{GAP} / (logp.detach().std() + 1e-8)"))),
        mistake("log pi missing", "log pi is not in it, or its mean is taken off: all that is left is the target.",
                whole("-front * target_entropy")),
        mistake("one way only", "It cuts the difference at 0: alpha can move one way only.",
                gap(f"{GAP}.clamp(min=0)"), also=(gap(f"{GAP}.clamp(max=0)"), gap(f"{GAP}.mean().clamp(min=0)"),
                                                  gap(f"{GAP}.mean().clamp(max=0)"))),
        mistake("absolute difference", "It uses the size of the difference: alpha moves one way, whichever side the entropy is on.",
                whole("front * gap.mean().abs()"),
                also=(whole("front * gap.abs().mean()"), whole("-front * gap.mean().abs()"), whole("-front * gap.abs().mean()"))),
        mistake("squared difference", "It squares the difference: alpha moves one way, whichever side the entropy is on.",
                whole("(front * gap ** 2).mean()"), also=(whole("front * gap.mean() ** 2"), whole("-(front * gap ** 2).mean()"),
                                                          whole("-front * gap.mean() ** 2")),
                why="alpha is a price (a Lagrange multiplier), not a model to be fitted."),
        mistake("probability for its logarithm", "It uses exp(logp); what is passed is a log-probability already.",
                edit("logp.detach()", "logp.detach().exp()")),
        mistake("probability times its logarithm",
                "It multiplies log pi by pi; the actions were drawn from pi, so that weight is in them already.",
                edit("logp.detach()", "logp.detach() * logp.detach().exp()")),
        mistake("actor's loss added", "It adds log pi with its gradient: the policy has a loss of its own.",
                edit(".mean()", ".mean() + (log_alpha.exp().detach() * logp).mean()"),
                also=(edit(".mean()", ".mean() + logp.mean()"),)),
        mistake("softplus in front", "It takes softplus(log_alpha); alpha is exp(log_alpha).", front("F.softplus(log_alpha)")),
        mistake("alpha inverted", "It uses exp(-log_alpha) = 1/alpha: the gradient has the opposite sign.",
                front("(-log_alpha).exp()")),
        mistake("alpha and its logarithm mixed",
                "One term is multiplied by alpha, the other by log alpha; one factor stands before the bracket.",
                whole("-(front * logp.detach() + log_alpha * target_entropy).mean()"),
                also=(whole("-(log_alpha * logp.detach() + front * target_entropy).mean()"),)),
        mistake("log alpha clamped",
                "It clamps log_alpha (between {low:.3g} and {high:.3g}): beyond that no gradient brings the temperature back.",
                front("log_alpha.clamp({low=-5}, {high=2}).exp()"),
                also=(front("log_alpha.clamp({low=-5}, {high=2})"), front("log_alpha.clamp(max={high=2}).exp()"))),
        mistake("alpha added", "It adds alpha (or its logarithm); alpha multiplies (log pi + target_entropy).", whole("front - gap.mean()")),
        mistake("alpha detached", "No gradient reaches log_alpha, the one thing that this loss trains.",
                front("log_alpha.detach().exp()"), edit("logp.detach()", "logp"),
                also=(front("log_alpha.detach().exp()"), front("log_alpha.detach()"))),
        mistake("exponentiated twice", "It uses exp(exp(log_alpha)): what is passed is the logarithm, and one exp undoes it.",
                front("log_alpha.exp().exp()")),
        mistake("no alpha in it", "alpha does not appear in it, so it never moves.",
                whole("(logp.mean() + target_entropy) ** 2 + 0 * log_alpha"), also=(whole("-gap.mean()"),)),
        fact("something else in front",
             "What stands before the bracket depends on log_alpha, but is neither exp(log_alpha) nor log_alpha.",
             front("log_alpha ** 2"), another_front),
        partly_right("actions mixed", "It is right for a single action and wrong for several: asked is the mean over the actions.",
                     whole("-front * (logp.detach().max() + target_entropy)"),
                     ("one action", "one predictable action"), ("two actions", "a target of 0")),
        partly_right("target counted otherwise",
                     "It is right where target_entropy is 0, and wrong elsewhere: asked is log pi + target_entropy.",
                     edit("+ target_entropy", "+ target_entropy ** 3"),
                     ("a target of 0",), ("three actions, as hot", "log pi of 0")),
        partly_right("log pi counted otherwise",
                     "It is right where log pi is 0, and wrong elsewhere: asked is the mean of log pi + target_entropy.",
                     edit("logp.detach()", "logp.detach() / math.log(2)", use=(math,)),
                     ("log pi of 0",), ("two actions", "a target of 0")),
        fact("another bracket",
             "alpha (or its logarithm) is in front; what it multiplies is not log pi + target_entropy.",
             whole("-front * gap.mean() ** 3"), another_bracket),
        wrong_gradient(whole("-front * logp.detach().mean() - log_alpha.detach().exp() * target_entropy")),
        partly_right("large log pi cut",
                     "It is right for log pi of a few nats, and wrong for 30 and -25: does it limit log pi?",
                     edit("logp.detach()", "logp.detach().clamp(-20, 20)"),
                     ("two actions", "a policy too random", "a target of 0"), ("log pi of 30 and -25",)),
        fact("wrong for hot or cold",
             "It is right for temperatures near 1 and wrong for a very high or low one (log alpha of 3.5 or -6): does "
             "it limit them?",
             front("torch.where(log_alpha.abs() > 3, 2 * log_alpha, log_alpha).exp()"), hot_or_cold),
        partly_right("wrong for a positive target",
                     "It is right for targets up to 0, and wrong for a positive one: the target counts as it comes.",
                     edit("+ target_entropy", "+ min(target_entropy, 0.0)"),
                     ("two actions", "a policy too random", "a target of 0", "log pi of 0"), ("a positive target",)),
        fact("right gradient, wrong value",
             "The gradient into log_alpha is right, and the value is not: something without log_alpha is added, or detached.",
             whole("-(front * gap).mean() + gap.pow(2).mean()"), right_gradient_only),
        fact("log alpha not reached",
             "No gradient reaches log_alpha, the one thing that this loss trains, and its value is off too.",
             whole("(log_alpha.exp().detach() * logp).mean()"), log_alpha_not_reached),
        fact("not 0 at the target",
             "Where log pi is -target_entropy for each action, nothing is to be changed: loss and gradient are 0. Here "
             "they are not.",
             whole("-(front * gap).mean() + log_alpha ** 2"),
             lambda at: not alike(at["exactly as random as asked"], at.right("exactly as random as asked"))),
    ],
    read="lesson 6, “A price that sets itself”; Haarnoja et al. 2018b, equation 18",
)
