"""The policy gradient of a bandit, estimated from samples."""

import torch

from pgcourse.checks.core import Case, Exercise
from pgcourse.checks.edits import edit, mistake, telltale
from pgcourse.checks.make_inputs import integers, normal
from pgcourse.estimators import score_function_gradient
from pgcourse.exercises.families import standardized
from pgcourse.exercises.policy_gradient_theorem.scores import RANDOM_WHY, scores_by

SAMPLES = "(returns.unsqueeze(1) * scores)"
ESTIMATE, TOTAL = f"{SAMPLES}.mean(dim=0)", f"{SAMPLES}.sum(dim=0)"


def result(new, use=()):
    return edit(f"return {ESTIMATE}", f"return {new}", use=use)


def weight(new, use=()):
    return edit("returns.unsqueeze(1)", f"({new}).unsqueeze(1)", use=use)


def of_all(taken):
    return weight(f"returns - returns.{taken}()")


def score(new, use=()):
    return edit("onehot - softmax(theta)", new, use=use)


def mean_returns(theta, actions, returns):
    """The mean return of each action that was sampled, and how often it was, [A] each."""
    zeros = torch.zeros_like(theta)
    count = zeros.index_add(0, actions, torch.ones_like(returns))
    return zeros.index_add(0, actions, returns) / count.clamp(min=1), count


def by_mean_returns(theta, actions, returns):
    value, pi = mean_returns(theta, actions, returns)[0], torch.softmax(theta, -1)
    return pi * (value - (pi * value).sum())


def each_action_once(theta, actions, returns):
    value, count = mean_returns(theta, actions, returns)
    tried = (count > 0).nonzero().flatten()
    scores = torch.eye(len(theta), dtype=theta.dtype)[tried] - torch.softmax(theta, -1)
    return (value[tried].unsqueeze(1) * scores).mean(0)


def duplicates_lost(theta, actions, returns):
    total = -torch.softmax(theta, -1) * returns.sum()
    for a, r in dict(zip(actions.tolist(), returns, strict=True)).items():
        total[a] += r
    return total / len(actions)


def bandit(g, A, N, dtype=torch.float32, shift=1.0):
    return dict(
        theta=normal(g, A, dtype=dtype),
        actions=integers(g, A, N),
        returns=normal(g, N, dtype=dtype) + shift,
    )


def samples(theta, actions, returns):
    return lambda g: dict(
        theta=torch.tensor(theta), actions=torch.tensor(actions), returns=torch.tensor(returns)
    )


def large(g):
    return bandit(g, 3, 20) | dict(theta=1000.0 + integers(g, 4, 3))


# fmt: off
EXERCISE = Exercise(
    reference=score_function_gradient,
    parts={"one sample": 1, "many samples": 1, "large preferences": 1, "shapes": 1, "clean": 1},
    cases=[
        Case("one sample", samples([0.0, 0.0], [0], [2.0]), "one sample"),
        Case("one sample of three actions", lambda g: bandit(g, 3, 1), "one sample"),
        Case("three samples", samples([0.0, 1.0], [0, 1, 1], [1.0, -1.0, 3.0]), "many samples"),
        Case("a hundred samples", lambda g: bandit(g, 4, 100), "many samples"),
        Case("float64", lambda g: bandit(g, 3, 50, torch.float64, shift=-2.0), "many samples"),
        Case("large preferences", large, "large preferences"),
        Case("actions [3] and returns [3, 1]", lambda g: bandit(g, 2, 3) | dict(returns=normal(g, 3, 1)),
             "shapes", raises=True),
        Case("an action whose probability rounds to 0", samples([200.0, 0.0], [1, 0, 1], [1.0, 2.0, -4.0]),
             "large preferences"),
        Case("returns in the thousands", samples([0.0, 1.0], [0, 1, 1], [3e4, -1e4, 2e4]), "many samples"),
    ],
    mistakes=[
        *scores_by(score, HOT="onehot", PI="softmax(theta)", THETA="theta", ACTION="actions"),
        mistake("sum for mean", "It sums over the samples: the estimate grows with their number.", result(TOTAL)),
        mistake("sign", "The sign is reversed: following it lowers the return.", result(f"-{ESTIMATE}")),
        mistake("normalized returns",
                "It standardizes the returns first: another, biased estimate whose scale says nothing.",
                weight("standardized(returns, 1)", (standardized,)), also=(weight("standardized(returns, 0)", (standardized,)),)),
        mistake("returns scaled",
                "It divides the returns by their standard deviation or their largest size: the size of the gradient says nothing then.",
                weight("returns / returns.abs().max()"), also=(weight("returns / (returns.std() + 1e-8)"),
                weight("returns / (returns.std(correction=0) + 1e-8)"))),
        mistake("mean return subtracted",
                "It subtracts the batch's mean return, which contains each sample's own: biased by (N-1)/N.",
                weight("returns - returns.mean()"),
                why="Baselines are lesson 3's subject, and there is an unbiased one."),
        mistake("another number subtracted",
                "It subtracts the returns' median, minimum or maximum from all of them: that is biased, because each "
                "sample has a part in it.",
                of_all("median"), also=(of_all("min"), of_all("max"))),
        mistake("absolute returns", "It uses the size of the returns: bad actions are reinforced too.", weight("returns.abs()")),
        mistake("good returns only", "Negative returns do not count: what was punished must become less probable.",
                weight("returns.relu()")),
        mistake("returns ignored", "The returns do not enter: it is the mean score, which tends to 0.",
                edit("returns.unsqueeze(1) * scores", "scores")),
        mistake("returns squared", "Each return counts twice.", weight("returns**2")),
        mistake("signs of the returns only", "Only the signs of the returns count, not their size.", weight("returns.sign()")),
        mistake("samples discounted", "Sample n is weighted with {gamma:.3g}^n: the samples of a bandit have no order.",
                weight("returns * {gamma=0.9} ** torch.arange(len(returns), dtype=returns.dtype)")),
        mistake("returns added up",
                "Each sample is credited with the returns of other samples: they have nothing to do with it.",
                weight("returns.flip(0).cumsum(0).flip(0)"), also=(weight("returns.cumsum(0)"),)),
        mistake("divided by N - 1", "It divides by N - 1; that is for variances.", result(f"{TOTAL} / max(len(returns) - 1, 1)")),
        mistake("divided by another count", "It divides by a count that is off by {n:+.3g}; a mean divides by N.",
                result(f"{TOTAL} / (len(returns) + {{n=1}})")),
        mistake("divided by a power of N", "It divides by N to the power {p:.3g}; a mean divides by N.",
                result(f"{TOTAL} / len(returns) ** {{p=0.5}}")),
        mistake("divided by the returns", "It divides by the sum of the returns, or of their sizes: an average over samples divides by N.",
                result(f"{TOTAL} / returns.sum()"), also=(result(f"{TOTAL} / returns.abs().sum()"),)),
        mistake("last sample", "Only the last sample counts.", result("returns[-1] * scores[-1]"),
                also=(result("returns[-1] * scores[-1] / len(returns)"),)),
        mistake("first sample", "Only the first sample counts.", result("returns[0] * scores[0]"),
                also=(result("returns[0] * scores[0] / len(returns)"),)),
        mistake("last sample left out", "The last sample is left out: does a loop end one round too early?",
                result(f"{SAMPLES}[:-1].sum(dim=0) / len(returns)"), also=(result(f"{SAMPLES}[:-1].sum(dim=0) / max(len(returns) - 1, 1)"),)),
        mistake("best sample",
                "Only the sample with the largest return counts: keeping what worked is random search.",
                result("returns.max() * scores[returns.argmax()]"),
                why="The mean over all samples is what tends to the gradient."),
        mistake("product of means", "Mean return times mean score: which action earned which return is lost.",
                result("returns.mean() * scores.mean(dim=0)"),
                why="The mean score tends to 0, so this estimates nothing."),
        mistake("mean over actions too", "It divides by N times A; the mean is over the N samples only.",
                result(f"{ESTIMATE} / len(theta)")),
        mistake("divided by A", "It divides by the number of actions A; the mean is over the N samples.",
                result(f"{TOTAL} / len(theta)")),
        mistake("theta added", "It returns the new theta; the gradient alone was asked for.", result(f"theta + {ESTIMATE}")),
        mistake("mean return of each action",
                "It averages the returns of each action and weights them by pi: another estimate, which is "
                "biased while some action has not been tried.",
                result("by_mean_returns(theta, actions, returns)", (by_mean_returns,))),
        mistake("each action once", "Each action that was tried counts once, however often it was sampled.",
                result("each_action_once(theta, actions, returns)", (each_action_once,)),
                also=(result("each_action_once(theta, actions, returns) * (onehot.sum(0) > 0).sum() / len(theta)", (each_action_once,)),)),
        mistake("divided by each action's count",
                "Each entry is divided by how often its action came; the mean is over all N samples.",
                result(f"{TOTAL} / onehot.sum(dim=0).clamp(min=1)")),
        mistake("repeated actions lost", "`g[actions] += …` adds only one of several samples of the same action.",
                result("duplicates_lost(theta, actions, returns)", (duplicates_lost,))),
        mistake("pi subtracted once", "-pi is not multiplied by the returns: the return weights the whole score.",
                result("(returns.unsqueeze(1) * onehot).mean(dim=0) - softmax(theta)")),
        telltale("random search",
                 "It draws random numbers of its own, as random search does: the samples are given, "
                 "and the estimate is a definite function of them.",
                 result("(returns.unsqueeze(1) * torch.randn_like(scores)).mean(dim=0)"), lambda at: at.random, why=RANDOM_WHY),
    ],
    read="lesson 1, “From an expectation to samples”; Williams 1992",
)
