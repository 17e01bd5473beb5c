"""How undecided a policy still is."""

import math

import torch

from pgcourse.checks.core import Case, Exercise
from pgcourse.checks.edits import edit, mistake, symptom, telltale
from pgcourse.checks.make_inputs import frame, masks, normal
from pgcourse.checks.symptoms import differ, halves, paddings
from pgcourse.distributions import entropy
from pgcourse.exercises.families import mask_mistakes, mean_symptoms, sum_mistakes
from pgcourse.exercises.ppo.inputs import F64


def ragged_logits(g):
    return dict(logits=2 * normal(g, 4, 8, 3), mask=masks(g, 4, 8))


def logits_table():
    """Four states, three actions: from almost certain to undecided."""
    return dict(
        logits=torch.tensor([[2.0, -1.0, 0.5], [0.1, 0.3, -0.2], [-3.0, 1.0, 0.0], [0.7, 2.5, 0.4]])
    )


def shifted_logits():
    return dict(logits=logits_table()["logits"] + torch.tensor([[1.0], [-2.0], [0.5], [3.0]]))


def reordered_logits():
    return dict(logits=logits_table()["logits"][:, [2, 0, 1]])


LOGP, PI = "F.log_softmax(logits, dim=-1)", "logp.exp()"
SUM = "(logp.exp() * logp).sum(dim=-1)"  # minus the entropy
MEAN = f"masked_mean(-{SUM}, mask)"
GUARD = "same_shape(logits_without_last_axis=logits[..., 0], mask=mask)"
LOG_A = "torch.log(torch.tensor(float(logits.shape[-1]), dtype=logits.dtype))"
UNIFORM = "torch.where(mask.unsqueeze(-1), logits, 0.0) if mask is not None else logits"
KEPT = "(logits if mask is None else logits[mask]).reshape(-1, logits.shape[-1])"


def by(fn):
    return (edit("masked_mean", fn.__name__, use=(fn,)),)


def each(new):
    """Another formula for the entropy of a state."""
    return edit(f"-{SUM}", f"({new})")


def from_logits(new):
    return edit("log_softmax(logits,", f"log_softmax({new},")


# fmt: off
EXERCISE = Exercise(
    reference=entropy,
    parts={"values": 2, "large logits": 1, "masks": 1, "shapes": 1, "clean": 1},
    cases=[
        Case("two states, two actions", lambda g: dict(logits=torch.tensor([[0.0, 0.0], [0.0, 1.0]])),
             "values", ("logits",)),
        Case("ten states", lambda g: dict(logits=normal(g, 10, 4)), "values", ("logits",)),
        Case("time and environments", lambda g: dict(logits=2 * normal(g, 5, 3, 6, dtype=F64)), "values",
             ("logits",)),
        *halves("values", logits_table, ("logits",)),
        Case("the same states, shifted logits", lambda g: shifted_logits(), "values"),
        Case("the same states, actions in another order", lambda g: reordered_logits(), "values"),
        Case("four actions alike", lambda g: dict(logits=torch.zeros(1, 4)), "values"),
        Case("a certain policy", lambda g: dict(logits=50 * torch.eye(3)), "values"),
        Case("large logits",
             lambda g: dict(logits=torch.tensor([[300.0, 0.0, -300.0], [1000.0, 1000.0, 999.0]])),
             "large logits", ("logits",)),
        Case("logits far apart", lambda g: dict(logits=100.0 * torch.rand(2, 6, generator=g).argsort(-1)),
             "large logits", ("logits",)),
        Case("conversations of different lengths", lambda g: ragged_logits(g), "masks", ("logits",)),
        *paddings("masks", logits_table),
        Case("padding in the first and the last row", lambda g: dict(logits=normal(g, 3, 4, 5), mask=frame()),
             "masks", ("logits",)),
        Case("a mask [4, 1] for 4 states",
             lambda g: dict(logits=normal(g, 4, 3), mask=torch.ones(4, 1, dtype=torch.bool)), "shapes",
             raises=True),
        Case("actions of e^-12", lambda g: dict(logits=12 * torch.eye(3, dtype=F64)), "large logits", ("logits",)),
        Case("logits far below 0", lambda g: dict(logits=torch.tensor([[-300.0, -301.0], [-310.0, -300.0]])),
             "large logits"),
    ],
    mistakes=[
        mistake("sign", "It is negative: adding it to the objective makes the policy less random.",
                edit(f"-{SUM}", SUM)),
        mistake("bits", "It is in bits (log 2); nats are used everywhere here: the coefficient is off by 1/ln 2.",
                edit("* logp)", "* logp / math.log(2))", use=(math,))),
        mistake("mean over actions", "It averages over the actions too; their terms pi log pi are summed.",
                edit(".sum(dim=-1)", ".mean(dim=-1)")),
        mistake("logits as log-probabilities",
                "It uses the logits in place of log pi: they do not sum to a probability of 1.",
                edit("* logp)", "* logits)"), also=(edit(LOGP, "logits"),)),
        mistake("logits as probabilities", "It uses the logits in place of pi: a softmax is missing.",
                each("-(logits * logits.clamp(min=1e-8).log()).sum(-1)")),
        mistake("a bonus without a gradient",
                "The gradient is zero: the result, or pi inside the sum, is detached.",
                edit(PI, f"{PI}.detach()"), also=(edit(SUM, f"{SUM}.detach()"),),
                why="It can be logged, but as a bonus it does nothing. (Neither does -logp of sampled "
                    "actions: its gradient is zero on average.)"),
        mistake("not weighted", "It takes -log pi of all actions alike; the policy's probabilities are the weights.",
                each("-logp.mean(-1)"), also=(each("-logp.sum(-1)"),)),
        telltale("sampled action",
                 "It is -log pi of a sampled action: right on average, but noisy, and its gradient is 0 on average. "
                 "All actions are known: sum over them.",
                 each("-logp.gather(-1, torch.distributions.Categorical(logits=logits).sample().unsqueeze(-1)).squeeze(-1)"),
                 lambda at: at.random),
        mistake("last action left out", "The sum ends one action early.", edit("* logp)", "* logp)[..., :-1]"),
                also=(edit("* logp)", "* logp)[..., 1:]"),)),
        mistake("logits clamped", "It clamps the logits at ±{limit:.3g}: a policy more certain than that looks undecided.",
                from_logits("logits.clamp(-{limit=10}, {limit=10})")),
        mistake("one minus the largest probability", "It is 1 - max pi, another measure of randomness.",
                each("1 - logp.exp().max(-1).values")),
        mistake("relative to log A", "It is divided by log A, so that 1 is uniform; here it is in nats.",
                each(f"-{SUM} / {LOG_A}")),
        mistake("softmax twice", "The logits go through softmax twice: the policy looks more random than it is.",
                from_logits("torch.softmax(logits, -1)")),
        mistake("Gini impurity", "It is 1 - sum pi^2: another measure of randomness, not the entropy.",
                each("1 - (logp.exp() ** 2).sum(-1)")),
        mistake("Rényi entropy", "It is -log sum pi^2, the Rényi entropy of order 2: another measure of randomness.",
                each("-torch.log((logp.exp() ** 2).sum(-1))")),
        mistake("Tsallis entropy", "It is (1 - sum pi^q) / (q - 1) with q = {q:.3g}: another measure of randomness.",
                each("(1 - (logp.exp() ** {q=1.5}).sum(-1)) / ({q=1.5} - 1)")),
        mistake("greedy action only", "It is -log pi of the most probable action alone.", each("-logp.max(-1).values"), also=(each("-logp.amax(-1)"),)),
        mistake("perplexity", "It is exp(entropy), the number of actions it feels like.", each(f"(-{SUM}).exp()")),
        mistake("distance to uniform", "It is log A - entropy, the KL to the uniform policy: it falls as the entropy rises.",
                each(f"{LOG_A} + {SUM}")),
        mistake("0 log 0", "log of a probability that has become 0 is -inf, and 0 times -inf is nan: use log_softmax.",
                edit(LOGP, "torch.softmax(logits, -1).log()")),
        mistake("a tiny number in the log",
                "A tiny number is added inside the log: close to the entropy, and not equal; "
                "log_softmax needs no such number.",
                each("-(logp.exp() * (logp.exp() + 1e-6).log()).sum(-1)"),
                also=(each("-(logp.exp() * (logp.exp() + 1e-5).log()).sum(-1)"),), near=True),
        mistake("a number added inside the log",
                "The {eps:.1g} added inside the log changes the entropy; log_softmax needs no such number.",
                each("-(logp.exp() * (logp.exp() + {eps=0.01}).log()).sum(-1)"), near=True),
        mistake("a floor for the probabilities",
                "Probabilities below {floor:.1g} are raised to it: a certain policy looks undecided, and its gradient is lost.",
                each("-(logp.exp().clamp(min={floor=0.01}) * logp.exp().clamp(min={floor=0.01}).log()).sum(-1)"),
                also=(each("-(logp.exp() * logp.exp().clamp(min={floor=0.01}).log()).sum(-1)"),)),
        mistake("wrong axis",
                "The softmax runs over another axis than the last, or over everything; the actions are on the last one.",
                edit(LOGP, "F.log_softmax(logits, dim=0)"),
                also=(edit(LOGP, "F.log_softmax(logits, dim=1)"),
                      edit(LOGP, "F.log_softmax(logits.reshape(-1), dim=0).reshape(logits.shape)"))),
        mistake("entropy of the mean logits", "It averages the logits first: the entropy belongs to each state.",
                edit("masked_mean", ""), edit("log_softmax(logits,", f"log_softmax({KEPT}.mean(0),"), edit(f"(-{SUM}, mask)", f"-{SUM}")),
        mistake("entropy of the mean policy",
                "It averages the policies first: states with opposite, certain actions look random.",
                edit(LOGP, f"torch.softmax({KEPT}, -1).mean(0).clamp(min=1e-30).log()"), edit(MEAN, f"-{SUM}")),
        *sum_mistakes(by),
        *mask_mistakes(by, infinite=False),  # softmax makes no infinities
        mistake("padding taken for a policy",
                "The padding's logits become 0, a uniform policy, whose entropy log A counts: select with logits[mask].",
                from_logits(f"({UNIFORM})"), edit(MEAN, f"(-{SUM}).mean()"),
                also=((from_logits(f"({UNIFORM})"), edit(MEAN, f"-{SUM}.sum() / ({SUM}.numel() if mask is None else mask.sum())")),)),
        mistake("another temperature", "The logits are multiplied by {scale:.3g} first: the entropy of another policy.",
                from_logits("{scale=0.5} * logits")),
        mistake("temperature from the number of actions",
                "The logits are divided by the root of the number of actions first: the entropy of another policy.",
                from_logits("logits / logits.shape[-1] ** 0.5")),
        mistake("smoothed policy", "The policy is mixed with a share of {share:.3g} of the uniform one: a certain one looks undecided.",
                edit(LOGP, "((1 - {share=0.03}) * torch.softmax(logits, -1) + {share=0.03} / logits.shape[-1]).log()")),
        mistake("each action on its own",
                "It is the entropy of a sigmoid for each action; pi is the softmax over the last axis.",
                each("torch.distributions.Bernoulli(logits=logits).entropy().mean(-1)"),
                also=(each("torch.distributions.Bernoulli(logits=logits).entropy().sum(-1)"),)),
        *mean_symptoms(by),
        symptom("a shift of the logits counts",
                "One number added to all logits of a state leaves the policy as it is, but changes this result: "
                "pi has to be the softmax over the last axis.",
                each("-(torch.softmax(logits, -1) * torch.nn.functional.logsigmoid(logits)).sum(-1)"),
                lambda at: differ(at.number("the same states, shifted logits"), at.number("these four steps"))),
        symptom("the order of the actions counts", "The same probabilities in another order give another result.",
                each(f"-(torch.linspace(0.9, 1.1, logits.shape[-1], dtype=logits.dtype) * {PI} * logp).sum(-1)"),
                lambda at: differ(at.number("the same states, actions in another order"), at.number("these four steps"))),
        symptom("certain but not zero", "A policy that always takes the same action has entropy 0; this is not.",
                each(f"0.1 - {SUM} * (1 + {SUM})"), lambda at: differ(at.number("a certain policy"), 0.0)),
        symptom("not log A where all actions are alike", "With four actions alike the entropy is log 4 = 1.386; this is not.",
                each(f"({SUM}).tanh().neg()"), lambda at: differ(at.number("four actions alike"), math.log(4))),
        mistake("broadcast", "A mask [4, 1] against 4 states becomes 4 x 4: each state counts four times.",
                edit(GUARD, ""), edit(MEAN, f"-({SUM}.mean() if mask is None else torch.where(mask, {SUM}, 0.0).sum() / mask.sum())")),
    ],
    read="lesson 5, “Diagnostics: entropy and KL”; Mnih et al. 2016, section 4",
)
