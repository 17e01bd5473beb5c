"""The constant baseline with the smallest variance."""

from pgcourse.checks.core import Case, Exercise
from pgcourse.checks.edits import edit, mistake, symptom, telltale
from pgcourse.checks.make_inputs import normal
from pgcourse.checks.symptoms import differ
from pgcourse.estimators import optimal_baseline
from pgcourse.exercises.baselines.inputs import F64, HAND_SCORES, scores_and_returns, tensor

WEIGHT, MEAN = "(scores**2).sum(dim=1)", "(weight * ret).sum() / weight.sum()"
NO_GUARD = edit("same_shape(scores_rows=scores[:, 0], ret=ret)", "")
OF_EACH = "(scores**2 * ret.unsqueeze(1)).sum(0) / (scores**2).sum(0)"
SLOPE = "((weight - weight.mean()) * ret).sum() / ((weight - weight.mean()) ** 2).sum()"
GRAD = "scores * ret.unsqueeze(1)"


def weight(new):
    return edit(WEIGHT, new)


def result(new):
    return edit(MEAN, new)


# fmt: off
EXERCISE = Exercise(
    reference=optimal_baseline,
    parts={"one parameter": 1, "many parameters": 2, "shapes": 1, "clean": 1},
    cases=[
        Case("two samples, one parameter", lambda g: dict(scores=tensor([1.0], [-3.0]), ret=tensor(10.0, 0.0)),
             "one parameter"),
        Case("one parameter", lambda g: scores_and_returns(g, 12, 1), "one parameter"),
        Case("three samples, two parameters",
             lambda g: dict(scores=tensor(*HAND_SCORES), ret=tensor(1.0, 2.0, 4.0)), "many parameters"),
        Case("every return is 3", lambda g: dict(scores=tensor(*HAND_SCORES), ret=tensor(3.0, 3.0, 3.0)),
             "many parameters"),
        Case("scores ten times as long",
             lambda g: dict(scores=10 * tensor(*HAND_SCORES), ret=tensor(1.0, 2.0, 4.0)), "many parameters"),
        Case("a hundred samples", lambda g: scores_and_returns(g, 100, 7), "many parameters"),
        Case("negative returns, float64", lambda g: scores_and_returns(g, 40, 3, F64, shift=-5.0),
             "many parameters"),
        Case("scores [3, 2] and returns [3, 1]",
             lambda g: scores_and_returns(g, 3, 2) | dict(ret=normal(g, 3, 1)), "shapes", raises=True),
        Case("returns in the thousands, long scores",
             lambda g: dict(scores=1000 * tensor(*HAND_SCORES), ret=tensor(1000.0, -2000.0, 4000.0)), "many parameters"),
    ],
    mistakes=[
        mistake("mean return", "It is the plain mean of the returns: each return weighs |score|^2, not 1.",
                weight("torch.ones_like(ret)"),
                why="A long score turns the same error of the return into more variance, so it counts more."),
        mistake("norm not squared", "It weighs with the length |score|; the variance holds its square.",
                weight("scores.norm(dim=1)")),
        mistake("squared twice", "It weighs with the fourth power of the length; the variance holds the square.",
                weight(f"{WEIGHT} ** 2")),
        mistake("square of the sum",
                "It sums the score over parameters before squaring; |score|^2 is the sum of squares.",
                weight("scores.sum(1) ** 2")),
        mistake("signed weights", "It weighs with the scores themselves, whose mean is 0: it divides by almost nothing.",
                weight("scores.sum(1)")),
        mistake("sizes of the entries", "It weighs with the sum of |score| over the parameters; |score|^2 sums their squares.",
                weight("scores.abs().sum(1)")),
        mistake("largest entry", "It weighs with each score's largest entry alone; |score|^2 sums the squares of all.",
                weight("scores.abs().amax(1)")),
        mistake("inverse weights", "It weighs with 1 / |score|^2, as if long scores were unreliable: the opposite.",
                weight(f"1 / {WEIGHT}")),
        mistake("scores centered",
                "It subtracts the sample mean from the scores first; the formula takes |score|^2 as it is.",
                weight("((scores - scores.mean(0)) ** 2).sum(1)")),
        mistake("denominator missing", "The mean of |score|^2 R is not divided by the mean of |score|^2.",
                result("(weight * ret).mean()"), also=(result("(weight * ret).sum()"),)),
        mistake("one for each parameter", "It returns a baseline for each parameter; one scalar was asked for.",
                result(OF_EACH)),
        mistake("mean over parameters",
                "It averages the baselines of the single parameters; sum over them above and below first.",
                result(f"({OF_EACH}).mean()")),
        mistake("divided by N too", "It divides by the number of samples although the weights already sum to 1.",
                result("(weight * ret / weight.sum()).mean()")),
        mistake("returns in the weights", "The size of the return is in the weights too; they are |score|^2 alone.",
                weight(f"{WEIGHT} * ret.abs()")),
        mistake("squared gradients for weights",
                "The weights are |score times return|^2; they are |score|^2 alone.", weight(f"{WEIGHT} * ret ** 2")),
        mistake("absolute returns", "It drops the sign of the returns.", result("(weight * ret.abs()).sum() / weight.sum()")),
        mistake("best return", "It is the best return: compared with it, every action looks bad.", result("ret.max()")),
        mistake("sign", "The sign is reversed.", result(f"-{MEAN}")),
        mistake("returns squared", "It squares the returns.", result("(weight * ret ** 2).sum() / weight.sum()")),
        mistake("sum over mean", "It divides a sum by a mean: the result is N times too large.",
                result("(weight * ret).sum() / weight.mean()")),
        mistake("upside down", "It is the reciprocal: the sum of |score|^2 R belongs above the line.",
                result("weight.sum() / (weight * ret).sum()")),
        mistake("slope of a regression",
                "It is the slope of the returns against |score|^2, a covariance over a variance.", result(SLOPE),
                also=(result(f"{SLOPE} * (len(ret) - 1) / len(ret)"),)),
        mistake("means subtracted",
                "It minimizes the variance within this sample; the formula takes mean squares, since "
                "the mean of the gradient does not depend on b.",
                result(f"((scores - scores.mean(0)) * ({GRAD} - ({GRAD}).mean(0))).sum() / ((scores - scores.mean(0)) ** 2).sum()")),
        mistake("a number added to the weights", "It adds {eps:.2g} below the line: the weights do not sum to 1 any more.",
                result("(weight * ret).sum() / (weight.sum() + {eps=0.1})"),
                also=(result("(weight * ret).mean() / (weight.mean() + {eps=0.1})"),)),
        mistake("median return", "It is the median of the returns.", result("ret.median()")),
        mistake("one sample only", "It is the return of the sample with the longest score.", result("ret[weight.argmax()]")),
        mistake("softmax weights", "It puts the weights through a softmax; they are |score|^2 over their sum.",
                weight(f"torch.softmax({WEIGHT}, 0)")),
        mistake("first parameter only",
                "It weighs with the first parameter's score alone; |score|^2 sums over all of them.",
                weight("scores[:, 0] ** 2")),
        telltale("found by trial", "It draws random numbers and keeps the best; the optimum is a formula.",
                 result("min(ret.mean() + ret.std() * torch.randn(99), key=lambda b: (weight * (ret - b) ** 2).sum())"),
                 lambda at: at.random),
        mistake("silent broadcast",
                "Every weight meets every return, as when [N] times [N, 1] becomes an [N, N] table.",
                NO_GUARD),
        mistake("sum of the returns",
                "It is the plain sum of the returns. If your weights are [N, 1], times returns [N] they are an [N, N] table: "
                "every weight meets every return.", weight("(scores**2).sum(dim=1, keepdim=True)")),
        symptom("not an average of the returns",
                "Where every return is 3, the baseline has to be 3, whatever the weights; it is not.",
                result("weight.mean() * ret.mean() / (1 + weight.mean())"),
                lambda at: differ(at.number("every return is 3"), 3.0)),
        symptom("unit of the scores counts",
                "Scores ten times as long change the result: the weights are to be relative, |score|^2 over their sum.",
                weight(f"torch.sigmoid({WEIGHT})"),
                lambda at: differ(at.number("scores ten times as long"), at.number("three samples, two parameters"))),
        symptom("right for one parameter only",
                "With one parameter all is right, with several not: |score|^2 sums the squares over the parameters.",
                weight("scores.abs().amax(1) ** 2"), lambda at: at.wrong_parts == {"many parameters"}),
        symptom("another average",
                "Where the returns are equal it is right, elsewhere not: "
                "it is another average of them than the one weighed with |score|^2.",
                weight("scores.norm(dim=1) ** 3"), lambda at: "one parameter" in at.wrong_parts and abs(at.number("every return is 3") - 3) < 1e-4),
    ],
    read="lesson 3, “The best constant”; Greensmith, Bartlett & Baxter 2004",
)
