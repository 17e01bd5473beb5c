"""REINFORCE as a loss."""

import torch

from pgcourse.checks.core import Case, Exercise
from pgcourse.checks.edits import edit, mistake
from pgcourse.checks.make_inputs import normal
from pgcourse.exercises.families import standardized
from pgcourse.losses import reinforce_loss

LOSS = "-(logp * ret.detach()).mean()"


def result(new):
    return edit(f"return {LOSS}", f"return {new}")


def returns(new, use=()):
    """Other returns: whatever else is done with them stays."""
    return edit("return", f"ret = {new}\nreturn", use=use)


SUM, LEAK = edit(".mean()", ".sum()"), edit("ret.detach()", "ret")


def of_returns(name, says, *news, use=()):
    """Other returns, and the same in a sum with a gradient into the returns: three mistakes, of which this one is said."""
    changes = [returns(new, use) for new in news]
    return mistake(name, says, changes[0], also=(*changes[1:], *((SUM, c, LEAK) for c in changes)))


def logs(new):
    return edit("logp *", f"{new} *")


def logps(g, *shape, dtype=torch.float32):
    return dict(
        logp=-normal(g, *shape, dtype=dtype).abs(), ret=normal(g, *shape, dtype=dtype) + 0.5
    )


def by_hand(logp, ret):
    return lambda g: dict(logp=torch.tensor(logp), ret=torch.tensor(ret))


def rare_actions(g):
    return dict(logp=40 * logps(g, 8)["logp"], ret=normal(g, 8, scale=300.0))


CLIP = returns("ret.clamp(-{limit=5}, {limit=5})")
HAND = by_hand([-0.5, -1.0, -2.0], [3.0, -1.0, 2.0])
LARGE = by_hand([-200.0, -150.0, -300.0], [-3000.0, 1000.0, -2000.0])
BOTH = ("logp", "ret")

# fmt: off
EXERCISE = Exercise(
    reference=reinforce_loss,
    parts={"value": 1, "gradient": 2, "shapes": 1, "clean": 1},
    cases=[
        Case("three steps", HAND, "value"),
        Case("thirty steps", lambda g: logps(g, 30), "value"),
        Case("four environments", lambda g: logps(g, 10, 4), "value"),
        Case("three steps, gradients", HAND, "gradient", BOTH),
        Case("four environments, gradients", lambda g: logps(g, 10, 4), "gradient", BOTH),
        Case("float64, gradients", lambda g: logps(g, 20, dtype=torch.float64), "gradient", BOTH),
        Case("rare actions and large returns", rare_actions, "gradient", BOTH),
        Case("log-probabilities [5] and returns [5, 1]", lambda g: logps(g, 5) | dict(ret=normal(g, 5, 1)),
             "shapes", raises=True),
        Case("large returns of rare actions", LARGE, "value"),
        Case("large returns of rare actions, gradients", LARGE, "gradient", BOTH),
    ],
    mistakes=[
        mistake("sum for mean", "It sums over the steps; the mean was asked for.", SUM,
                also=(edit(".mean()", ".sum(dim=0).mean()"),)),
        mistake("sum over one axis",
                "It averages over the steps and sums over the environments: right for [T], wrong for [T, B].",
                edit(".mean()", ".sum() / len(logp)")),
        mistake("median for mean", "It takes the median of the steps; the mean was asked for.", edit(".mean()", ".median()")),
        mistake("sign", "The minus is missing: gradient DEscent would make good actions less probable.",
                result("(logp * ret.detach()).mean()"), why="Descending this loss lowers the return."),
        mistake("gradient into the returns", "The gradient also flows into the returns: detach them.",
                LEAK, why="A learned reward or baseline would be trained to please the actor."),
        of_returns("normalized over time",
                   "It standardizes the returns: those below the mean become negative by construction.",
                   *(f"standardized(ret, {n}, axis={axis})" for axis in (None, 0) for n in (0, 1)), use=(standardized,)),
        of_returns("returns scaled",
                   "It divides the returns by their standard deviation or their largest size: the size of the gradient says nothing then.",
                   "ret / (ret.std() + 1e-8)", "ret / (ret.std(correction=0) + 1e-8)", "ret / ret.abs().max()"),
        mistake("divided by the returns", "It divides by the sum of the returns, or of their sizes; a mean divides by the number of steps.",
                result("-(logp * ret.detach()).sum() / ret.detach().abs().sum()"),
                also=(result("-(logp * ret.detach()).sum() / ret.detach().sum()"),)),
        of_returns("mean return subtracted",
                   "It subtracts the batch's mean return: a baseline, which is lesson 3's subject.",
                   "ret - ret.mean()", "ret - ret.mean(dim=0)"),
        of_returns("another number subtracted",
                   "It subtracts the returns' median, minimum or maximum from all of them: a baseline, and a biased one.",
                   "ret - ret.median()", "ret - ret.min()", "ret - ret.max()"),
        mistake("every action by every return",
                "Every action is credited with the average return, as when a [T, 1] against a [T] becomes a T × T table.",
                edit("logp * ret.detach()", "logp.reshape(-1, 1) * ret.detach().reshape(1, -1)"),
                why="No error, no warning: which action earned which return is lost."),
        mistake("first return for all", "Every step is credited with the first return.",
                returns("ret[:1].expand_as(ret)"), also=(result("-(logp.sum(dim=0) * ret.detach()[0]).mean()"),)),
        of_returns("returns added up", "It sums the returns over time once more: they are rewards-to-go already.",
                   "ret.flip(0).cumsum(0).flip(0)", "ret.cumsum(0)"),
        of_returns("absolute returns", "It uses the size of the returns: bad actions are reinforced too.", "ret.abs()"),
        of_returns("good returns only", "Negative returns do not count: what was punished must become less probable.",
                   "ret.relu()"),
        of_returns("signs of the returns only", "Only the signs of the returns count, not their size.", "ret.sign()"),
        of_returns("returns squared", "Each return counts twice.", "ret**2"),
        mistake("returns clipped", "It clips the returns at ±{limit:.3g}: a large one must make a large step.",
                CLIP, also=((SUM, CLIP), (CLIP, LEAK), (SUM, CLIP, LEAK))),
        of_returns("returns ignored", "The returns do not enter: every action taken becomes more probable, good or bad.",
                   "torch.ones_like(ret)"),
        mistake("softmax of the returns",
                "It weights the steps by a softmax of the returns: bad actions are reinforced, too.",
                result("-(logp * torch.softmax(ret.detach().flatten(), 0).view_as(ret)).sum()"),
                also=(returns("torch.softmax(ret.flatten(), 0).view_as(ret)"),)),
        mistake("squared error", "It is a regression: it pulls log-probabilities toward the returns.",
                result("((logp - ret.detach()) ** 2).mean()")),
        mistake("entropy added", "It adds an entropy bonus: that comes in lesson 4 and changes the gradient.",
                result(f"{LOSS} + {{weight=0.01}} * logp.mean()")),
        mistake("log-probabilities clipped", "It clips logp at {least:.3g}: the rarest actions get no gradient.",
                logs("logp.clamp(min={least=-5})")),
        mistake("value of a ratio",
                "It has exp(logp - logp) = 1 in place of logp: the gradient is the same, the value is not.",
                logs("(logp - logp.detach()).exp()")),
        mistake("value lost",
                "logp is subtracted from itself: the gradient is the same, but the value is 0.", logs("(logp - logp.detach())")),
        mistake("probability for log-probability",
                "It uses the probability in place of its logarithm: each gradient is too small by the factor pi(a).",
                logs("logp.exp()")),
        mistake("log of the log", "It takes the logarithm of logp once more.", logs("torch.log(logp.abs() + 1e-8)")),
        mistake("log-probability missing", "logp does not enter: the loss does not depend on the policy.",
                result("-ret.detach().mean() * torch.ones_like(logp).mean()"), also=(result("-ret.mean()"),)),
        mistake("no gradient", "logp is detached: nothing will be learned from it.",
                logs("logp.detach()")),
    ],
    read="lesson 2, “A loss whose gradient is the estimate”; Sutton & Barto, section 13.3",
)
