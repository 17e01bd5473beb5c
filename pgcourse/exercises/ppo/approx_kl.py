"""The k3 estimate of how far the policy has moved."""

import math

import torch

from pgcourse.checks.core import Case, Exercise
from pgcourse.checks.edits import edit, mistake, symptom
from pgcourse.checks.make_inputs import frame, masks, normal, steps_3_by_4
from pgcourse.checks.symptoms import differ, halves, paddings
from pgcourse.exercises.families import (
    averaging,
    cleared,
    mask_mistakes,
    mean_symptoms,
    nan_hidden,
    sum_mistakes,
)
from pgcourse.exercises.ppo.inputs import (
    BROKEN,
    F64,
    broken,
    far_apart,
    four_steps,
    log_probs,
    one_axis_summed,
    padded,
    rare,
)
from pgcourse.losses import approx_kl
from pgcourse.tensors import masked_mean


def rare_actions():
    """Actions whose probability is some e^-200; each changed by another amount."""
    logp = steps_3_by_4(*range(-31, -19), times=10.0)
    return dict(logp=logp, logp_old=logp - steps_3_by_4(*range(-6, 6), times=0.2), mask=frame())


def four_small_steps():
    """Changes by 1 %: the KL is 0.00005."""
    logp = four_steps()["logp"]
    return dict(logp=logp, logp_old=logp - 0.01 * torch.tensor([1.0, -1.0, 1.0, -1.0]))


def far_with_padding(g):
    args = {name: x.view(4, 3) for name, x in far_apart(g, 12, far=40).items()}
    return padded(args, masks(g, 4, 3))


LARGER = (
    "every action became more probable",
    "ten times rarer",
    "a policy far away",
    "an enormous step",
)


def exchanged(args):
    return dict(logp=args["logp_old"], logp_old=args["logp"])


def died_out(g):
    """Actions whose ratio is 0 in 32 bits."""
    logp_old = -normal(g, 4).abs()
    return dict(logp=logp_old - 120 - torch.rand(4, generator=g), logp_old=logp_old)


K3 = "(torch.expm1(log_rho) - log_rho)"
LOG_RHO = "logp - logp_old if mask is None else logp[mask] - logp_old[mask]"
GUARD = "same_shape(logp=logp, logp_old=logp_old, mask=mask)"
BY = averaging(
    edit("if mask is None else logp[mask] - logp_old[mask]", ""),
    of=(K3,),
    cleared=[cleared("logp[mask] - logp_old[mask]")],
)
SELECT = edit(
    f"log_rho = {LOG_RHO}",
    "if mask is not None: logp, logp_old = logp[mask], logp_old[mask]\nlog_rho = logp - logp_old",
)


def term(new):
    return edit(K3, f"({new})")


def selected(new):
    """A term of the log-probabilities themselves."""
    return SELECT, term(new)


def whole(new):
    return SELECT, edit(f"{K3}.mean()", new)


# fmt: off
EXERCISE = Exercise(
    reference=approx_kl,
    accept=(BY(masked_mean),),
    parts={"values": 2, "far and rare": 1, "masks": 1, "shapes": 1, "clean": 1},
    cases=[
        Case("three actions",
             lambda g: dict(logp=torch.log(torch.tensor([0.5, 0.2, 0.3])), logp_old=torch.log(torch.tensor([0.25, 0.4, 0.3]))),
             "values"),
        Case("an unchanged policy", lambda g: dict(logp=(x := -normal(g, 4).abs()), logp_old=x.clone()),
             "values"),
        Case("every action became more probable",
             lambda g: dict(logp=(x := -normal(g, 5).abs()), logp_old=x - 0.5), "values"),
        Case("every action became rarer",
             lambda g: dict(logp=(x := -normal(g, 5).abs()) - 0.4, logp_old=x), "values"),
        Case("time and environments", lambda g: log_probs(g, 16, 4), "values"),
        Case("float64", lambda g: log_probs(g, 20, dtype=F64), "values"),
        *halves("values", four_steps),
        Case("old and new exchanged", lambda g: exchanged(four_steps()), "values"),
        Case("ten times rarer", lambda g: rare(four_steps(), 2.3), "values"),
        Case("four small steps", lambda g: four_small_steps(), "values"),
        Case("a policy far away", lambda g: far_apart(g, 4), "far and rare"),
        Case("actions that have almost died out",
             lambda g: dict(logp=-14 - torch.rand(4, generator=g), logp_old=-normal(g, 4).abs()),
             "far and rare"),
        Case("very rare actions", lambda g: rare(log_probs(g, 6)), "far and rare"),
        Case("an enormous step", lambda g: far_apart(g, 4, far=40), "far and rare"),
        Case("actions that died out", lambda g: died_out(g), "far and rare"),
        Case(BROKEN, lambda g: broken(four_steps, "logp"), "far and rare"),
        Case("conversations of different lengths", lambda g: padded(log_probs(g, 4, 8), masks(g, 4, 8)),
             "masks"),
        Case("an enormous step, with padding", far_with_padding, "masks"),
        Case("nan in the padding",
             lambda g: padded(log_probs(g, 4, 8), masks(g, 4, 8), "logp", "logp_old"), "masks"),
        *paddings("masks", four_steps),
        Case("rare actions, padding in the first and the last row", lambda g: rare_actions(), "masks"),
        Case("logp [3] and logp_old [3, 1]",
             lambda g: dict(logp=-normal(g, 3).abs(), logp_old=-normal(g, 3, 1).abs()), "shapes",
             raises=True),
        Case("a mask [4] for steps [4, 5]",
             lambda g: log_probs(g, 4, 5) | dict(mask=torch.tensor([True, False, True, True])), "shapes",
             raises=True),
    ],
    mistakes=[
        mistake("always zero", "It compares the new policy with itself: 0, whatever happened.",
                edit("return", "log_rho = log_rho - log_rho\nreturn")),
        mistake("absolute difference",
                "It is mean |logp - logp_old|, which is of first order in the step; a KL is of second.",
                term("log_rho.abs()")),
        mistake("plain estimate",
                "It is mean(logp_old - logp): right on average, but a batch can make it negative. k3 never is.",
                term("-log_rho")),
        mistake("plain estimate reversed", "It is mean(logp - logp_old): the plain estimate with its sign reversed.",
                term("log_rho")),
        mistake("plain estimate cut off",
                "It is the plain estimate with negative results set to 0: no longer right on average.",
                edit(f"{K3}.mean()", "(-log_rho).mean().clamp(min=0)"), also=(term("(-log_rho).clamp(min=0)"),)),
        mistake("probabilities subtracted", "It subtracts probabilities; a KL is made of log-probabilities.",
                *selected("logp_old.exp() - logp.exp()"), also=(selected("(logp_old.exp() - logp.exp()).abs()"),)),
        mistake("other direction", "rho is old over new: with actions from the old policy this estimates no KL.",
                term("torch.expm1(-log_rho) + log_rho")),
        mistake("half the square",
                "It is k2, (half) the squared log ratio: close to the KL for small steps, biased for large ones.",
                term("0.5 * log_rho ** 2")),
        mistake("KL of new to old", "It is made of rho log rho, which estimates KL(pi || pi_old), the other direction.",
                term("log_rho.exp() * log_rho"), also=(term("log_rho.exp() * log_rho - torch.expm1(log_rho)"),)),
        mistake("one not subtracted",
                "It is rho - log rho: the 1 is missing, so an unchanged policy has a KL of 1.",
                edit("torch.expm1", "torch.exp")),
        mistake("one added", "It adds 1 where it has to subtract it: an unchanged policy has a KL of 2.",
                term("torch.exp(log_rho) + 1 - log_rho")),
        mistake("one term upside down",
                "rho is old over new in one term and not in the other: the two no longer belong together.",
                term("torch.expm1(-log_rho) - log_rho")),
        mistake("both directions",
                "It adds or averages the estimates of both directions; with actions from the old policy only one is right.",
                term("torch.cosh(log_rho) - 1"), also=(term("torch.expm1(log_rho) * log_rho"),)),
        mistake("quotient of log-probabilities",
                "rho is a quotient of log-probabilities; it is exp of their difference.",
                *selected("logp / logp_old - 1 - (logp / logp_old).log()")),
        mistake("underflow",
                "rho divides exp(logp) by exp(logp_old): for a rare action that is 0 / 0. Subtract the logs first.",
                *selected("logp.exp() / logp_old.exp() - 1 - log_rho"),
                also=(selected("logp.exp() / logp_old.exp() - 1 - (logp.exp() / logp_old.exp()).log()"),)),
        mistake("log ratio limited",
                "The log ratio is clamped at ±{limit:.3g}: the KL of a policy that is far away looks small.",
                edit("return", "log_rho = log_rho.clamp(-{limit=10}, {limit=10})\nreturn")),
        mistake("log ratio limited below",
                "The log ratio is held at {least:.3g} or more: the KL of actions that have almost died out looks small.",
                edit("return", "log_rho = log_rho.clamp(min={least=-10})\nreturn")),
        mistake("log ratio limited above",
                "The log ratio is held at {most:.3g} or less: the KL of actions that became common looks small.",
                edit("return", "log_rho = log_rho.clamp(max={most=10})\nreturn")),
        mistake("small number inside the log",
                "The {eps:.1g} added inside the log spoils the term of actions that became rare; "
                "log rho is logp - logp_old.",
                term("torch.expm1(log_rho) - (log_rho.exp() + {eps=1e-8}).log()")),
        mistake("weighted with the new probabilities",
                "It weights with pi(a) although the actions were drawn already, from pi_old.",
                *selected("logp.exp() * log_rho"), also=(whole("(logp.exp() * log_rho).sum()"),)),
        mistake("absolute value of the plain estimate",
                "It is |mean(logp - logp_old)|: never negative, but no longer right on average.",
                edit(f"{K3}.mean()", "log_rho.mean().abs()")),
        mistake("largest term", "It is the largest term; the mean is asked for.", edit(".mean()", ".max()")),
        mistake("batch taken for a distribution",
                "It normalizes over the batch: those log-probabilities belong to different states.",
                *whole("(logp_old.reshape(-1).softmax(0) * (logp_old.reshape(-1).log_softmax(0) - logp.reshape(-1).log_softmax(0))).sum()")),
        mistake("log term missing", "It is rho - 1, which is 0 on average: the log ratio is missing.",
                term("torch.expm1(log_rho)")),
        mistake("log term added", "It adds the log ratio; it has to be subtracted.",
                term("torch.expm1(log_rho) + log_rho")),
        mistake("sign", "Its sign is reversed: a KL is never negative.", term(f"-{K3}")),
        mistake("bits", "It is in bits; nats are used everywhere here.", edit(K3, f"({K3} / math.log(2))", use=(math,))),
        mistake("mean ratio first", "It averages the ratios (or their logs) first: opposite changes cancel out.",
                edit("return", "log_rho = log_rho.mean()\nreturn"),
                also=(edit("return", "log_rho = log_rho.exp().mean().log()\nreturn"),)),
        mistake("log of the ratio",
                "It takes exp and then log: where an action has died out the ratio is 0 in 32 bits, and its log "
                "minus infinity. log rho is logp - logp_old.",
                term("torch.exp(log_rho) - 1 - torch.exp(log_rho).log()")),
        mistake("square of rho - 1",
                "It is (half) the square of rho - 1, the chi-square distance: close to the KL for small steps only.",
                term("0.5 * torch.expm1(log_rho) ** 2")),
        mistake("weighted with the old probabilities",
                "It weights with pi_old(a) although the actions were drawn from pi_old: counted twice.",
                *selected("-logp_old.exp() * log_rho"), also=(whole("-(logp_old.exp() * log_rho).sum()"),
                                                              whole("-(logp_old.exp() * log_rho).sum() / len(logp)"))),
        *sum_mistakes(BY),
        one_axis_summed(BY),
        *mask_mistakes(BY),
        nan_hidden(BROKEN, term(f"{K3}.nan_to_num()")),
        mistake("an offset", "{offset:.3g} is added to it: an unchanged policy has a KL of 0.",
                edit(f"{K3}.mean()", f"{K3}.mean() + {{offset=0.01}}")),
        *mean_symptoms(BY),
        symptom("not zero for an unchanged policy", "Where old and new are the same, k3 is 0; this is not.",
                term(f"{K3} + 0.01 * (1 + log_rho)"), lambda at: differ(at.number("an unchanged policy"), 0.0)),
        symptom("more than the ratio",
                "It changes when all log-probabilities are shifted alike; k3 depends on their difference alone.",
                selected(f"(2 - logp.exp()) * {K3}"),
                lambda at: differ(at.number("ten times rarer"), at.number("these four steps"))),
        symptom("old and new alike",
                "It stays the same when old and new change places: it cannot tell KL(pi_old || pi) "
                "from KL(pi || pi_old).",
                term("torch.log(torch.cosh(log_rho))"),
                lambda at: abs(at.number("old and new exchanged") - at.number("these four steps")) < 1e-6),
        symptom("negative for some batches", "It comes out negative for some batches; k3 never does.",
                term("log_rho ** 2 / 2 + log_rho ** 3 / 6"),
                lambda at: any(at.number(case.name) < -1e-6 for case in at.cases)),
        symptom("right for small steps only",
                "Where every action changed by 1 % it is right, for greater changes it is not: "
                "an approximation, or something is cut off.",
                term("log_rho ** 2 / 2 + log_rho ** 3 / 6 + log_rho ** 4 / 24"),
                lambda at: abs(at.number("four small steps") - 5e-5) < 1e-6 and not at.right_in(*LARGER)),
        symptom("first order in the step",
                "Where every action changed by 1 %, the KL is 0.00005; this is ten times as much or more.",
                term("(-2 * log_rho).clamp(min=0).tanh()"), lambda at: at.number("four small steps") > 5e-4),
        mistake("broadcast", "[3] against [3, 1] gives a 3 x 3 table: every action compared with every other.",
                edit(GUARD, "")),
    ],
    read="lesson 5, “Diagnostics: entropy and KL”; Schulman 2020, “Approximating KL divergence”",
)
