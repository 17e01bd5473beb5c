"""What a baseline buys: variance with it over variance without."""

import torch

from pgcourse.checks.core import Case, Exercise
from pgcourse.checks.edits import edit, mistake, symptom
from pgcourse.checks.make_inputs import normal
from pgcourse.checks.symptoms import differ
from pgcourse.estimators import variance_ratio
from pgcourse.exercises.baselines.inputs import F64, HAND_SCORES, scores_and_returns, tensor

ABOVE = "gradient_variance(scores * (ret - baseline).unsqueeze(1))"
BELOW = "gradient_variance(scores * ret.unsqueeze(1))"
RATIO, KEPT = f"with_it / {BELOW}", "(ret - baseline)"
NO_GUARD = edit("same_shape(scores_rows=scores[:, 0], ret=ret, baseline=baseline)", "")
HAND_RATIO = ([1.0, 0.0], [0.0, 2.0], [-1.0, -1.0]), (5.0, 6.0, 4.0), (5.0, 4.0, 4.5)


def hand_ratio(unit=1, kept=1):
    scores, ret, baseline = HAND_RATIO
    return lambda g: dict(
        scores=tensor(*scores), ret=unit * tensor(*ret), baseline=unit * kept * tensor(*baseline)
    )


def scores_returns_baseline(g, N, P, dtype=torch.float32, shift=2.0):
    made = scores_and_returns(g, N, P, dtype, shift)
    made["scores"] = made["scores"] + normal(g, 1, P, dtype=dtype, scale=0.3)
    return made | dict(baseline=made["ret"].mean() + 0.5 * normal(g, N, dtype=dtype))


def spread(of_g):
    """Another measure of the gradients g [N, P], above and below."""
    return edit("gradient_variance", f"(lambda g: {of_g})", all=True)


def result(new):
    return edit(RATIO, new)


def kept(new):
    return edit(KEPT, f"({new})")


def above(new):
    return edit(ABOVE, new)


def below(new):
    return edit(BELOW, new)


COVARIANCE = "torch.cov(g.T).reshape(g.shape[1], g.shape[1])"
EACH = f"(scores * {KEPT}.unsqueeze(1)).var(0) / (scores * ret.unsqueeze(1)).var(0)"

# fmt: off
EXERCISE = Exercise(
    reference=variance_ratio,
    parts={"one parameter": 1, "many parameters": 2, "shapes": 1, "clean": 1},
    cases=[
        Case("two samples, one parameter",
             lambda g: dict(scores=tensor([1.0], [-1.0]), ret=tensor(10.0, 14.0), baseline=tensor(11.0, 11.0)),
             "one parameter"),
        Case("one parameter", lambda g: scores_returns_baseline(g, 20, 1), "one parameter"),
        Case("three samples, two parameters", hand_ratio(), "many parameters"),
        Case("a baseline of 0", hand_ratio(kept=0), "many parameters"),
        Case("everything in cents", hand_ratio(unit=100), "many parameters"),
        Case("a hundred samples", lambda g: scores_returns_baseline(g, 100, 6), "many parameters"),
        Case("negative returns, float64", lambda g: scores_returns_baseline(g, 30, 4, F64, shift=-4.0),
             "many parameters"),
        Case("a baseline that does harm",
             lambda g: scores_and_returns(g, 25, 3) | dict(baseline=torch.linspace(-6.0, -5.0, steps=25)),
             "many parameters"),
        Case("scores [1, 2] and returns [3]",
             lambda g: scores_returns_baseline(g, 3, 2) | dict(scores=normal(g, 1, 2)), "shapes", raises=True),
        Case("returns [3] and baseline [3, 1]",
             lambda g: scores_returns_baseline(g, 3, 2) | dict(baseline=normal(g, 3, 1)), "shapes", raises=True),
        Case("returns in the thousands, long scores",
             lambda g: dict(scores=1000 * tensor(*HAND_SCORES), ret=tensor(1000.0, -2000.0, 4000.0),
                            baseline=tensor(1500.0, -500.0, 900.0)), "many parameters"),
    ],
    mistakes=[
        mistake("variance of the returns",
                "It compares variances of returns; what costs samples is the variance of the GRADIENT, score times return.",
                above(f"{KEPT}.var()"), below("ret.var()"),
                why="A constant changes nothing in the variance of the returns, and much in that of the gradient."),
        mistake("inverted", "It divides the variance without the baseline by the one with it.", result(f"{BELOW} / with_it"),
                also=((result(f"{BELOW} / with_it"), spread("(g**2).sum(1).mean()")),)),
        mistake("inverted, and standard deviations",
                "It compares standard deviations, and divides the one without the baseline by the one with it.",
                result(f"({BELOW} / with_it).sqrt()")),
        mistake("standard deviations",
                "It compares standard deviations; the number of samples needed goes with the variance.",
                result(f"({RATIO}).sqrt()"), why="A spread that is 3 times smaller saves 8 samples in 9, not 2 in 3.",
                also=(spread("g.std(0).sum()"),)),
        mistake("mean not subtracted", "It compares mean squares: the gradient itself is counted as noise.",
                spread("(g**2).sum(1).mean()")),
        mistake("scores alone below",
                "The return is missing from the denominator: that is the variance of the scores alone.",
                below("gradient_variance(scores)")),
        mistake("baseline below", "Below the line the baseline stands in place of the return.",
                below("gradient_variance(scores * baseline.unsqueeze(1))")),
        mistake("part saved", "It is 1 minus the ratio: the part that is saved, not the part that is left.",
                result(f"1 - {RATIO}")),
        mistake("mean of ratios",
                "It takes a ratio for each parameter and then their mean or sum; compare the total variances.",
                result(f"({EACH}).mean()"),
                why="A parameter that hardly varies would count as much as one that makes all the noise.",
                also=(result(f"({EACH}).sum()"),)),
        mistake("parameters as samples",
                "It takes the variance of all numbers together: parameters are counted as samples.", spread("g.var()")),
        mistake("summed over parameters first",
                "It sums each gradient over its parameters before taking the variance: noise cancels that is there.",
                spread("g.sum(1).var()")),
        mistake("variance of lengths",
                "It compares how much the gradients' lengths vary; a gradient also varies in direction.",
                spread("g.norm(dim=1).var()")),
        mistake("baseline added", "It adds the baseline in place of subtracting it.", kept("ret + baseline")),
        mistake("normalized returns",
                "It standardizes the returns first: a smaller scale looks like a smaller variance.",
                kept(f"({KEPT} - {KEPT}.mean()) / {KEPT}.std()"),
                why="Any estimate looks precise when it is made small: 0 has no variance at all."),
        mistake("mean of the baseline",
                "It subtracts the mean of the baselines from every return, not each sample's own.",
                kept("ret - baseline.mean()")),
        mistake("means compared",
                "It compares the mean gradients, which are the same but for noise, not their variances.",
                spread("(g.mean(0) ** 2).sum()")),
        mistake("divided by N", "It divides by N on one side only: both are the variance of ONE sample.",
                result(f"{RATIO} / len(ret)")),
        mistake("baseline alone",
                "It weighs the scores with the baseline itself, not with what the baseline leaves of the return.",
                kept("baseline")),
        mistake("difference",
                "It is the difference of the two variances; their ratio says how many samples are saved.",
                result(f"with_it - {BELOW}"), also=(result(f"{BELOW} - with_it"),)),
        mistake("subtracted from the product",
                "It subtracts the baseline from score times return; it belongs to the return, before the product.",
                above("gradient_variance(scores * ret.unsqueeze(1) - baseline.unsqueeze(1))")),
        mistake("N here, N - 1 there", "One variance is divided by N and the other by N - 1: take the same for both.",
                result(f"{RATIO} * (len(ret) - 1) / len(ret)"), also=(result(f"{RATIO} * len(ret) / (len(ret) - 1)"),)),
        mistake("centered", "It also subtracts the mean of what the baseline leaves: that is another baseline.",
                kept(f"{KEPT} - {KEPT}.mean()")),
        mistake("two halves",
                "It compares the means of two halves: a single draw, not a variance over all samples.",
                spread("((g[:len(g) // 2].mean(0) - g[len(g) // 2:].mean(0)) ** 2).sum()")),
        mistake("absolute", "It drops the sign of return minus baseline: bad actions would be reinforced too.",
                kept(f"{KEPT}.abs()")),
        mistake("first parameter only",
                "It compares the variance of the first parameter; the total is over all of them.", spread("g[:, 0].var()")),
        mistake("cut at 1", "It cuts the ratio at 1: a baseline that does harm looks harmless.",
                result(f"({RATIO}).clamp(max=1)")),
        mistake("not the trace",
                "It takes the largest eigenvalue, or the determinant, of the covariance; the total variance is its trace.",
                spread(f"torch.linalg.matrix_norm({COVARIANCE}, 2)"), also=(spread(f"torch.linalg.det({COVARIANCE})"),)),
        mistake("silent broadcast", "Returns [N] minus a baseline [N, 1] become an [N, N] table without a word.",
                NO_GUARD, above("gradient_variance((scores.unsqueeze(1) * (ret - baseline).unsqueeze(-1)).reshape(-1, scores.shape[1]))"),
                below("gradient_variance(scores * ret.reshape(-1, 1))"), also=(NO_GUARD,)),
        mistake("mean return below",
                "Below the line the mean return is subtracted: that compares with another baseline, not with none.",
                below("gradient_variance(scores * (ret - ret.mean()).unsqueeze(1))")),
        mistake("baseline on both sides", "The baseline is subtracted below the line, too: there the return stands alone.",
                below(ABOVE)),
        mistake("variance along the parameters",
                "It takes the variance of each gradient's own entries; it is over the samples, dim=0.",
                spread("g.var(1).sum()")),
        symptom("not 1 without a baseline",
                "With a baseline of 0 both variances are the same, so the ratio has to be 1; it is not.",
                result(f"with_it / (with_it + {BELOW})"), lambda at: differ(at.number("a baseline of 0"), 1.0)),
        symptom("unit of reward counts",
                "In cents the ratio is another than in dollars: both variances have to grow alike.",
                result(f"(with_it + 1) / ({BELOW} + 1)"),
                lambda at: differ(at.number("everything in cents"), at.number("three samples, two parameters"))),
        symptom("right for one parameter only",
                "With one parameter all is right, with several not: add up their variances, above and below.",
                spread("g.var(0).max()"), lambda at: at.wrong_parts == {"many parameters"}),
        symptom("not these two variances",
                "Already with one parameter it is not the variance with the baseline over the variance without one.",
                spread("((g - g.mean(0)) ** 4).sum()"), lambda at: "one parameter" in at.wrong_parts),
    ],
    read="lesson 3, “What a baseline buys”; Greensmith, Bartlett & Baxter 2004",
)
