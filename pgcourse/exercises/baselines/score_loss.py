"""Mistakes and cases of a policy-gradient loss, -(logp * adv.detach()).mean()."""

from pgcourse.checks.core import Case
from pgcourse.checks.edits import edit, mistake, symptom
from pgcourse.checks.symptoms import differ, halves
from pgcourse.exercises.baselines.inputs import tensor
from pgcourse.exercises.families import (
    SCALINGS,
    another_gradient,
    leak,
    one_environment_only,
    standardized,
)

ADV, PRODUCT = "adv.detach()", "logp * adv.detach()"
LOSS = f"-({PRODUCT}).mean()"
BOTH = "Actor = policy, trained with the policy gradient; critic = value, trained by regression."


def score_table(times=1.0, rarer=1.0):
    logp, adv = tensor(-1.0, -0.5, -2.0, -0.3), tensor(1.0, -2.0, 0.05, 3.0)
    return dict(logp=rarer * logp, adv=times * adv)


def adding_up_to_0():
    return dict(logp=tensor(-0.5, -1.0, -2.0), adv=tensor(1.0, 1.0, -2.0))


def score_cases(part):
    """What the symptoms are read from."""
    return [
        *halves(part, score_table),
        Case("advantages reversed and doubled", lambda g: score_table(times=-2.0), part),
        Case("log-probabilities doubled", lambda g: score_table(rarer=2.0), part),
        Case("advantages that add up to 0", lambda g: adding_up_to_0(), part),
    ]


def weight(new):
    """Another weight of the score."""
    return edit(ADV, new, use=(standardized,))


def term(new):
    """Another term of the mean."""
    return edit(PRODUCT, new)


def whole(new):
    return edit(LOSS, new)


def mean(new):
    return edit(".mean()", new)


def more(new):
    return edit(LOSS, f"{LOSS} + {new}")


# fmt: off
SCORE_MISTAKES = [
    mistake("sign", "The minus is missing: gradient descent then lowers the probability of good actions.",
            edit("return -", "return ")),
    mistake("gradient into the advantage",
            "A gradient flows into the advantage, which is a constant here: detach it.", weight("adv"),
            why="The actor's loss would train the value network, and not to predict returns."),
    mistake("trains the critic, not the actor",
            "The wrong factor is held constant: the policy gets no gradient, what made the advantage does.",
            term("logp.detach() * adv"), why=BOTH),
    mistake("probability in place of its log",
            "It multiplies the advantage by the probability, not by the log-probability.",
            edit("logp *", "logp.exp() *"), why="Sampled actions already come as often as pi says; rare ones would hardly learn."),
    mistake("advantage unused", "The advantage does not enter: every action that was taken becomes more probable.", term("logp")),
    mistake("product of means", "Mean log-probability times mean advantage: which action earned what is lost.",
            whole(f"-logp.mean() * {ADV}.mean()")),
    mistake("normalizes in silence", "It standardizes the advantages first; whoever calls the loss decides that.",
            weight(f"standardized({ADV})"),
            why="An advantage that was normalized on purpose for the whole batch would be changed again.",
            also=tuple(weight(f"standardized({ADV}, {c}, {eps})") for c, eps in SCALINGS[1:])),
    mistake("scales in silence",
            "It divides the advantages by their spread or size; whoever calls the loss decides that.",
            weight(f"({ADV} / (adv.std() + 1e-8).detach())"),
            also=(*(weight(f"({ADV} / (adv.std(correction={c}) + {eps}).detach())") for c, eps in SCALINGS[1:]),
                  weight(f"({ADV} / adv.abs().mean().detach())"), weight(f"({ADV} / adv.abs().max().detach())"),
                  weight(f"({ADV} / (adv**2).mean().sqrt().detach())"))),
    mistake("weighted mean", "It divides by the sum of the advantages; the mean divides by the number of steps.",
            mean(f".sum() / {ADV}.sum()")),
    mistake("clipped",
            "It cuts advantages (or log-probabilities) off at {limit:.3g}: what stood out counts less.",
            weight(f"{ADV}.clamp(-{{limit=5}}, {{limit=5}})"), also=(edit("logp *", "logp.clamp(min=-{limit=5}) *"),)),
    mistake("exponentiated advantage", "It weighs with exp(A) or a softmax of A: every action becomes more probable.",
            weight(f"{ADV}.exp()"),
            also=(weight(f"{ADV}.flatten().softmax(0).reshape(adv.shape) * adv.numel()"), weight(f"{ADV}.softmax(0)"))),
    mistake("one weight for all",
            "Every step gets one weight, the sum, the first or the largest advantage: which action earned what is lost.",
            weight(f"{ADV}.sum().expand_as(adv)"),
            also=(weight(f"{ADV}[:1].expand_as(adv)"), weight(f"{ADV}.max().expand_as(adv)"),
                  whole(f"-(logp.sum(0) * {ADV}.sum(0)).mean()"), whole(f"-(logp.sum() * {ADV}.sum())"))),
    mistake("summed over time first",
            "It sums log-probabilities or advantages over time first: an action is credited with others' advantages.",
            edit("logp *", "logp.cumsum(0) *"), also=(edit("logp *", "logp.flip(0).cumsum(0).flip(0) *"),)),
    mistake("off by one row", "It multiplies the log-probability of one row by the advantage of another.",
            term(f"logp[:-1] * {ADV}[1:]"),
            also=(term(f"logp[1:] * {ADV}[:-1]"), weight(f"{ADV}.roll(1, 0)"), weight(f"{ADV}.roll(-1, 0)"))),
    mistake("one step only", "It uses one step only: the first, the last, or the one with the largest product.",
            term(f"logp[0] * {ADV}[0]"),
            also=(term(f"logp[-1] * {ADV}[-1]"), mean(".max()"), whole(f"(-logp * {ADV}).max()"))),
    mistake("summed over one axis",
            "It sums over one axis and averages over the other: the step grows with that axis.",
            mean(".sum(0).mean()"), also=(mean(".sum() / len(logp)"), mean(".sum(-1).mean()"))),
    mistake("sum for mean", "It sums over the steps; average them: the step would grow with the batch.", mean(".sum()")),
    mistake("ratio in place of the log-probability",
            "It has pi / pi_old = 1 in place of the log-probability: the gradient is the same, the value is not.",
            edit("logp *", "(logp - logp.detach()).exp() *")),
    mistake("sum in place of the product",
            "It adds log-probability and advantage; the advantage then has no influence on the gradient.",
            term(f"logp + {ADV}"), also=(whole(f"({ADV} - logp).mean()"),)),
    mistake("squared product", "It squares log pi times A: the sign of the advantage is lost.",
            whole(f"(({PRODUCT}) ** 2).mean()"), also=(whole(f"-(({PRODUCT}) ** 2).mean()"),)),
    mistake("squared advantage", "It weighs with the squared advantage: that is the critic's loss, and it has no sign.",
            weight(f"{ADV} ** 2")),
    mistake("regression on the advantage",
            "It fits log pi to the advantage by least squares: that is a critic's loss, not a policy gradient.",
            whole(f"((logp - {ADV}) ** 2).mean()"), also=(whole(f"0.5 * ((logp - {ADV}) ** 2).mean()"),)),
    mistake("advantage alone",
            "log pi does not appear: that pushes the critic, if anything, and never the policy.", whole("-adv.mean()"),
            also=(whole("(adv**2).mean()"), whole("0.5 * (adv**2).mean()"), whole("adv.mean()"))),
    mistake("critic's loss added",
            "It adds {c:.3g} times the critic's loss, the squared advantage: each network has a loss of its own.",
            more("{c=0.5} * (adv**2).mean()"), also=(more(f"{{c=0.5}} * ({ADV} ** 2).mean()"),)),
    mistake("entropy bonus added",
            "It adds a bonus for entropy, weighted by {c:.3g}: a useful term, but another one, with a weight of its own.",
            more("{c=0.01} * logp.mean()"),
            also=(more("{c=0.01} * (logp.exp() * logp).mean()"), more("{c=0.01} * (logp.exp() * logp).sum()"))),
    mistake("centers in silence", "It subtracts the mean advantage first; the advantage has had its baseline.",
            weight("(adv - adv.mean()).detach()")),
    mistake("absolute advantage", "It uses the size of the advantage: bad actions are reinforced too.", weight(f"{ADV}.abs()")),
    mistake("only good news", "It cuts negative advantages to 0: nothing is learned from what went badly.",
            weight(f"{ADV}.clamp(min=0)")),
    mistake("sign of the advantage only", "It uses only the sign of the advantage, not its size.", weight(f"{ADV}.sign()")),
]


def score_symptoms(*flat):
    """flat : the cases that are [T], besides those of `score_cases`"""

    def differs(name, factor):
        return lambda at: differ(at.number(name), factor * at.number("these four steps"))

    return [
        leak("adv", weight("adv.tanh()")),
        another_gradient(more("(logp - logp.detach()).mean()")),
        symptom("not a mean of single terms",
                "Two batches together do not give the mean of both losses: each step counts once, with its own advantage.",
                more(f"-0.1 * logp.mean() * {ADV}.mean()"),
                lambda at: differ((at.number("two steps") + at.number("two other steps")) / 2, at.number("these four steps"))),
        symptom("not proportional to the advantage",
                "Advantages reversed and doubled should give -2 times the loss; here they do not.",
                weight(f"{ADV}.tanh()"), differs("advantages reversed and doubled", -2)),
        symptom("not proportional to log pi",
                "Log-probabilities twice as far from 0 should give twice the loss; here they do not.",
                edit("logp *", "logp.abs().sqrt() * logp *"), differs("log-probabilities doubled", 2)),
        one_environment_only("the mean is over both axes.",
                             mean(f".mean() if logp.dim() == 1 else -({PRODUCT}).mean(1).median()"),
                             "these four steps", "rare actions, large advantages", *flat),
    ]
