"""The soft target."""

import torch

from pgcourse.checks.compare import close
from pgcourse.checks.core import Case, Exercise
from pgcourse.checks.edits import edit, mistake
from pgcourse.checks.make_inputs import flags, frame, normal, steps_3_by_4
from pgcourse.estimators import soft_q_target
from pgcourse.exercises.sac.facts import comparable, draws, fact, nearly_right, outs, partly_right
from pgcourse.exercises.sac.inputs import F64, agree, thousands


def transitions(g, B, terminated=None, gamma=0.98, alpha=0.3, dtype=torch.float32):
    return dict(
        rew=normal(g, B, dtype=dtype),
        next_q1=normal(g, B, dtype=dtype, scale=5.0),
        next_q2=normal(g, B, dtype=dtype, scale=5.0),
        next_logp=normal(g, B, dtype=dtype) - 0.5,
        terminated=torch.zeros(B, dtype=torch.bool) if terminated is None else terminated,
        gamma=gamma,
        alpha=alpha,
    )


def one_transition(terminated):
    numbers = dict(rew=1.0, next_q1=10.0, next_q2=8.0, next_logp=-0.5, terminated=terminated)
    return lambda g: {k: torch.tensor([x]) for k, x in numbers.items()} | dict(gamma=0.9, alpha=0.2)


def one_poor(g):
    poor = torch.tensor([-7.0])
    return one_transition(False)(g) | dict(next_q1=poor, rew=poor, next_logp=poor)


def designed_rows(g):
    """Row 0; one unit more of reward, of log pi, of the smaller, of the larger critic; twins exchanged."""
    return dict(
        rew=torch.tensor([1.0, 2.0, 1.0, 1.0, 1.0, 1.0]),
        next_q1=torch.tensor([4.0, 4.0, 4.0, 5.0, 4.0, 6.0]),
        next_q2=torch.tensor([6.0, 6.0, 6.0, 6.0, 7.0, 4.0]),
        next_logp=torch.tensor([-0.8, -0.8, 0.2, -0.8, -0.8, -0.8]),
        terminated=torch.zeros(6, dtype=torch.bool),
        gamma=0.7,
        alpha=0.3,
    )


def ends_at_the_rim():
    """Twelve transitions with numbers in the thousands; the first one ends, the last one does not."""
    args = dict(
        rew=steps_3_by_4(1, -1, 2, -2, -3, 1, 0.5, -1, 2, -2, 1, -1),
        next_q1=steps_3_by_4(2, 3, -4, 1, 5, -2, 3, -1, -2, 4, -3, 2),
        next_q2=steps_3_by_4(3, 1, -5, 2, 4, -1, 4, -2, -3, 2, -1, 1),
        next_logp=steps_3_by_4(-3, 2, -1, 4, -2, 1, 3, -4, 2, -1, -2, 3),
        terminated=~frame(),
    )
    return {name: x.flatten() for name, x in args.items()} | dict(gamma=0.5, alpha=0.5)


def flipped(args):
    return {name: x.flip(0) if torch.is_tensor(x) else x for name, x in args.items()}


def one_more(name, says, row, wrong):
    """What one unit more of one argument does to the target is wrong."""

    def sign(at):
        ((out, right),) = outs(at, "rows that differ in one thing")
        return comparable(out, right) and not close(out[row] - out[0], right[row] - right[0])

    return fact(name, says, wrong, sign)


# --- edits ---

TWINS, PRICE = "torch.minimum(next_q1, next_q2)", "alpha * next_logp"
SOFT = f"{TWINS} - {PRICE}"
FUTURE = "torch.where(terminated, 0.0, soft_value)"
TARGET = f"rew + gamma * {FUTURE}"
ROWS_AS_STEPS = """y, following = [], soft_value[-1]
for r, end in zip(rew.flip(0), terminated.flip(0)):
    following = r if end else r + gamma * following
    y.append(following)
return torch.stack(y).flip(0).detach()
return"""
MAX, MEAN = "torch.maximum(next_q1, next_q2)", "(next_q1 + next_q2) / 2"


def twins(new):
    """Another value in place of the smaller critic."""
    return edit(TWINS, new)


def price(new):
    """Another price in place of alpha * log pi."""
    return edit(PRICE, new)


def value(new):
    return edit(SOFT, new)


def future(new):
    return edit(FUTURE, new)


def target(new):
    return edit(TARGET, new)


def first(line):
    return edit("soft_value =", f"{line}\nsoft_value =")


def outside(new):
    """The entropy in another place, behind the reward and the discounted value."""
    return value(TWINS), target(f"{TARGET} - {new}")


# fmt: off
EXERCISE = Exercise(
    reference=soft_q_target,
    driver="detached",
    parts={"values": 2, "termination": 2, "a constant": 1, "shapes": 1, "clean": 1},
    cases=[
        Case("one transition", one_transition(False), "values"),
        Case("six transitions", lambda g: transitions(g, 6), "values"),
        Case("float64", lambda g: transitions(g, 5, gamma=0.8, alpha=1.5, dtype=F64), "values"),
        Case("alpha as a tensor", lambda g: transitions(g, 4, alpha=torch.tensor(0.05)), "values"),
        Case("values in the thousands", lambda g: thousands(transitions(g, 4), "next_q1", "next_q2"), "values"),
        Case("one poor transition", one_poor, "values"),
        Case("no end", lambda g: transitions(g, 5, gamma=0.7), "values"),
        Case("critics that agree", lambda g: agree(transitions(g, 5, gamma=0.7)), "values"),
        Case("log pi of 0", lambda g: transitions(g, 5, gamma=0.7) | dict(next_logp=torch.zeros(5)), "values"),
        Case("gamma = 0", lambda g: transitions(g, 5, gamma=0.0), "values"),
        Case("rows that differ in one thing", designed_rows, "values"),
        Case("rewards of 0", lambda g: transitions(g, 5, gamma=0.7) | dict(rew=torch.zeros(5)), "values"),
        Case("one transition into the end", one_transition(True), "termination"),
        Case("some ends", lambda g: transitions(g, 12, flags(g, 12)), "termination"),
        Case("five transitions, two into the end",
             lambda g: transitions(g, 5, torch.tensor([False, True, False, False, True]), 0.7), "termination"),
        Case("the end in the middle",
             lambda g: transitions(g, 3, torch.tensor([False, True, False]), alpha=2.0), "termination"),
        Case("inputs that carry gradient", lambda g: transitions(g, 6, flags(g, 6), alpha=torch.tensor(0.7)),
             "a constant", ("next_q1", "next_q2", "next_logp", "alpha")),
        Case("critics [4, 1] and rewards [4]",
             lambda g: transitions(g, 4) | dict(next_q1=normal(g, 4, 1), next_q2=normal(g, 4, 1)), "shapes", raises=True),
        Case("log-probabilities [4, 1]", lambda g: transitions(g, 4) | dict(next_logp=normal(g, 4, 1)), "shapes",
             raises=True),
        Case("a second critic [4, 1]", lambda g: transitions(g, 4) | dict(next_q2=normal(g, 4, 1)), "shapes", raises=True),
        Case("terminated [4, 1]", lambda g: transitions(g, 4, flags(g, 4, 1)), "shapes", raises=True),
        Case("one reward [1] for a batch [4]", lambda g: transitions(g, 4) | dict(rew=normal(g, 1)), "shapes", raises=True),
        Case("large numbers, an end in the first row", lambda g: ends_at_the_rim(), "termination"),
        Case("large numbers, an end in the last row", lambda g: flipped(ends_at_the_rim()), "termination"),
        Case("gamma = 1", lambda g: transitions(g, 5, flags(g, 5), gamma=1.0), "termination"),
    ],
    mistakes=[
        mistake("no entropy", "The entropy term -alpha * log pi is missing: it is the target of plain actor-critic.",
                value(TWINS), also=(value("next_q1"),),
                why="The critic then does not know that the future will be paid for staying random too."),
        mistake("entropy sign", "It adds alpha * log pi: likely actions are paid, and randomness is fined.",
                value(f"{TWINS} + {PRICE}"),
                also=(outside(f"-{PRICE}"),)),
        mistake("entropy outside the mask",
                "The entropy term is not masked: a terminal state is paid for an action nobody takes.",
                *outside(f"gamma * {PRICE}"),
                why="Ending an episode then earns a bonus or a fine that is not there."),
        mistake("entropy paid now",
                "The entropy of the next action stands beside the reward, without gamma and mask.", *outside(PRICE),
                why="It belongs to the next state's value: gamma * (1 - terminated) * (min Q - alpha log pi)."),
        mistake("entropy not discounted",
                "gamma multiplies min Q alone; the entropy of the next action is one step away too.",
                *outside("torch.where(terminated, 0.0, alpha * next_logp)")),
        mistake("mean of the twins", "It averages the two critics; the smaller one belongs here.", twins(f"({MEAN})"),
                also=(twins(f"(0.75 * {TWINS} + 0.25 * {MAX})"),),
                why="The mean keeps the optimism of a maximized estimate; the minimum is what removes it."),
        mistake("max of the twins", "It takes the larger critic: overestimation is picked out on purpose.",
                edit("minimum", "maximum")),
        mistake("first critic only", "It uses only next_q1: the twin is not asked.", twins("next_q1"),
                why="The actor finds the actions that one critic overrates, and the target repeats the error."),
        mistake("second critic only", "It uses only next_q2: the twin is not asked.", twins("next_q2")),
        mistake("sum of the twins", "It adds the two critics; the smaller one belongs here.", twins("next_q1 + next_q2")),
        mistake("critic with the smaller mean",
                "It picks one critic for the whole batch; the minimum is taken row by row.",
                twins("(next_q1 if next_q1.mean() < next_q2.mean() else next_q2)")),
        mistake("smaller in size", "It takes the critic that is closer to 0; of -5 and 1 the smaller one is -5.",
                twins("torch.where(next_q1.abs() < next_q2.abs(), next_q1, next_q2)")),
        mistake("entropy for one twin",
                "It subtracts alpha * log pi from one critic inside the minimum; it belongs to both, or behind it.",
                value(f"torch.minimum(next_q1, next_q2 - {PRICE})"), also=(value(f"torch.minimum(next_q1 - {PRICE}, next_q2)"),)),
        mistake("soft maximum of the twins",
                "It takes alpha * log-sum-exp over the twins; that is a soft maximum of two critics, where their "
                "minimum and the entropy of one action belong.",
                value("alpha * torch.logaddexp(next_q1 / alpha, next_q2 / alpha)")),
        mistake("smooth minimum", "It takes -log-sum-exp of the negated twins; asked is their minimum.",
                twins("(-torch.logaddexp(-next_q1, -next_q2))")),
        mistake("smallest of the batch",
                "It takes one minimum over the whole batch; the minimum is between the twins, per row.",
                twins("torch.minimum(next_q1.min(), next_q2.min())")),
        mistake("no mask", "It bootstraps from states after which nothing comes: `terminated` is not used.",
                future("soft_value")),
        mistake("mask inverted", "It bootstraps only where the episode terminated: multiply by 1 - terminated.",
                edit("where(terminated", "where(~terminated"),
                why="Nearly every target is then the reward alone: an agent that cannot see ahead."),
        mistake("reward masked", "The mask also removes the reward of the last step; only the future is gone.",
                target("torch.where(terminated, 0.0, rew + gamma * soft_value)")),
        mistake("mask shifted", "It uses the `terminated` of the row before or after.",
                edit("where(terminated", "where(terminated.roll(1)"), also=(edit("where(terminated", "where(terminated.roll(-1)"),)),
        mistake("one end for all",
                "One terminated row cuts off the future of the whole batch; the mask is row by row.",
                edit("where(terminated", "where(terminated.any()")),
        mistake("gamma on the mask", "It has 1 - gamma * terminated; gamma multiplies the value, and 1 - terminated masks it.",
                target("rew + (1 - gamma * terminated.float()) * soft_value")),
        mistake("brackets", "(r + gamma) * V: the reward is multiplied by the value; gamma alone is.",
                target("(rew + gamma * (~terminated)) * soft_value")),
        mistake("end of the batch as terminal",
                "It treats the last row as terminal; a batch from the replay buffer has no end.",
                first("terminated = torch.cat([terminated[:-1], ~terminated[-1:] | True])")),
        mistake("no discount", "gamma is not used.", target(f"rew + {FUTURE}")),
        mistake("gamma squared", "It discounts twice: gamma^2 in place of gamma.", first("gamma = gamma ** 2")),
        mistake("gamma fixed", "It uses {gamma:.3g} in place of gamma.", first("gamma = {gamma=0.99}")),
        mistake("reward times 1 - gamma", "It weighs the reward by 1 - gamma; the target is a sum of rewards, not an average.",
                edit("rew + gamma", "(1 - gamma) * rew + gamma")),
        mistake("averaged", "It returns the mean of the targets; every transition has its own.",
                edit(".detach()", ".mean().detach()")),
        mistake("reward discounted", "gamma multiplies the reward as well; the reward comes at once.",
                target(f"gamma * (rew + {FUTURE})")),
        mistake("no reward", "The reward is missing from the target.", target(f"gamma * {FUTURE}")),
        mistake("reward rescaled", "The reward is multiplied by {scale:.3g}; the target is in the units of the reward as it comes.",
                edit("rew + gamma", "{scale=0.1} * rew + gamma")),
        mistake("reward changed",
                "It clips or rescales the reward; the target is in the units of the reward as it comes.",
                first("rew = rew.clamp(-1, 1)"),
                also=(first("rew = rew.sign()"), first("rew = rew / alpha"), first("rew = rew * alpha"))),
        mistake("target clipped", "It clips the target to {low:.3g} … {high:.3g}: a value beyond can never be learned.",
                edit(".detach()", ".clamp({low=-10}, {high=10}).detach()"),
                also=(edit(".detach()", ".clamp(min={low=-10}).detach()"),)),
        mistake("future subtracted", "It subtracts the future from the reward; the two add up.", edit("rew +", "rew -")),
        mistake("rows taken for steps", "It runs a return backwards through the rows; each row of a replay batch stands alone.",
                edit("return", ROWS_AS_STEPS)),
        mistake("entropy discounted twice", "gamma stands before the entropy inside the bracket too: it is discounted twice.",
                price("gamma * alpha * next_logp")),
        mistake("alpha distorted", "It uses the square, the inverse or the logarithm of alpha.",
                price("alpha ** 2 * next_logp"),
                also=(price("next_logp / alpha"), price("torch.as_tensor(alpha).log() * next_logp"))),
        mistake("not detached", "Gradient flows through the target into critics, policy and temperature: detach it.",
                edit(".detach()", ""), why="The critic would learn to lower its target in place of meeting it."),
        mistake("alpha exponentiated", "It uses exp(alpha): what is passed is alpha itself, not its logarithm.",
                price("torch.as_tensor(alpha).exp() * next_logp")),
        mistake("alpha ignored", "alpha is not used: a nat of entropy counts as one unit of reward.", price("next_logp")),
        mistake("alpha fixed", "It uses {alpha:.3g} in place of alpha.", price("{alpha=0.2} * next_logp")),
        mistake("alpha on both", "alpha multiplies min Q too; it is the price of entropy and belongs to log pi alone.",
                value(f"alpha * ({TWINS} - next_logp)")),
        mistake("value subtracted again",
                "It subtracts the value after the discount: that is an error of the critic; asked is the target alone.",
                target(f"{TARGET} - {TWINS}")),
        draws(twins("(next_q1 if torch.rand(()) < 0.5 else next_q2)")),
        mistake("another share of the entropy", "The entropy term is {share:.3g} times what it should be.",
                price("{share=0.5} * alpha * next_logp")),
        mistake("entropy of now too",
                "It pays the entropy of the next action twice: beside the reward, and in the next value.",
                target(f"{TARGET} - {PRICE}")),
        mistake("probability times its logarithm",
                "It multiplies log pi by pi; a' was drawn from pi, so that weight is in the sampling already.",
                price("alpha * next_logp * next_logp.exp()")),
        mistake("log pi cut at 0",
                "It cuts or folds log pi at 0; a density may be above 1, and its logarithm positive.",
                price("alpha * next_logp.clamp(max=0)"),
                also=(price("alpha * next_logp.abs()"), price("-alpha * next_logp.abs()"), price("alpha * next_logp.clamp(min=0)"))),
        mistake("entropy of the batch", "It uses the mean of log pi over the batch; each row has its own next action.",
                price("alpha * next_logp.mean()")),
        mistake("probability for its logarithm", "It uses exp(next_logp); what is passed is a log-probability already.",
                price("alpha * next_logp.exp()")),
        nearly_right(target(f"(100 * ({TARGET})).round() / 100")),
        partly_right("wrong where an episode ends",
                     "It is right as long as nothing ends, and wrong with ends in the batch: look at the mask.",
                     target(f"{TARGET} - 1.0 * terminated"),
                     ("no end", "critics that agree", "log pi of 0", "values in the thousands"),
                     ("five transitions, two into the end",)),
        partly_right("wrong for gamma = 0",
                     "It is right for other discounts, and wrong for gamma = 0, where the reward is all that counts.",
                     first("gamma = gamma or 0.99"), ("no end", "some ends", "six transitions"), ("gamma = 0",)),
        partly_right("alpha limited", "It is right for alpha below 1, and wrong for 1.5 and 2: does it limit alpha?",
                     price("min(float(alpha), 1.0) * next_logp"),
                     ("no end", "some ends", "six transitions"), ("float64", "the end in the middle")),
        partly_right("wrong where all end", "It is right where some of the transitions end, and wrong where all of them do.",
                     edit("return", "if terminated.all(): return 0 * rew\nreturn"),
                     ("no end", "five transitions, two into the end", "the end in the middle"), ("one transition into the end",)),
        partly_right("twins combined in another way",
                     "It is right where the two critics agree, and wrong where they differ: asked is their minimum, "
                     "row by row.",
                     twins(f"({TWINS} - 0.5 * (next_q1 - next_q2).abs())"), ("critics that agree",), ("no end", "log pi of 0")),
        partly_right("another price of entropy",
                     "It is right where log pi is 0, and wrong elsewhere: asked is -alpha * log pi inside the bracket.",
                     price("alpha * next_logp.expm1()"), ("log pi of 0",), ("no end", "critics that agree")),
        partly_right("large values cut",
                     "It is right for values of a few units and wrong for thousands: does it limit them?",
                     twins(f"{TWINS}.clamp(-50, 50)"), ("no end", "six transitions"), ("values in the thousands",)),
        partly_right("rows mixed", "It is right for a single transition and wrong for several: each row has its own target.",
                     twins(f"{TWINS}.cumsum(0)"), ("one transition", "one poor transition"),
                     ("no end", "six transitions", "critics that agree")),
        partly_right("reward off", "It is right where the rewards are 0, and wrong elsewhere: the reward is added as it comes.",
                     first("rew = rew.tanh()"), ("rewards of 0",), ("no end", "gamma = 0")),
        partly_right("future off",
                     "It is right for gamma = 0, and wrong where the future counts: the reward is right, what gamma "
                     "multiplies is not.",
                     edit("0.0, soft_value", "0.0, soft_value.sign() * soft_value.abs().log1p()"),
                     ("gamma = 0",), ("no end", "critics that agree", "log pi of 0")),
        one_more("share of log pi", "One nat more of log pi should lower the target by gamma * alpha; here it does not.", 2,
                 (value(f"({MEAN}) * (1 + {PRICE})"), target(f"2 * {TARGET}"))),
        one_more("larger critic counts", "The larger of the two critics changes the target; only the smaller should.", 4,
                 (value(f"{MAX} - {PRICE}"), target(f"rew.tanh() + gamma ** 2 * {FUTURE} - gamma * (1 - gamma) * torch.where(terminated, 0.0, {PRICE})"))),
        one_more("share of the smaller critic", "One unit more of the smaller critic should raise the target by gamma; here it does not.", 3,
                 (value(f"1.5 * {TWINS} - {PRICE}"), target(f"rew.clamp(-1, 0.5) + gamma * {FUTURE}"))),
        one_more("share of the reward", "One unit more of the reward should raise the target by 1; here it does not.", 1,
                 target(f"rew.tanh() + 1 + gamma * {FUTURE}")),
        one_more("twins not treated alike", "next_q1 and next_q2 exchanged should give the same target; here it is another one.", 5,
                 (value(f"torch.minimum(gamma * next_q1 + 0.25, gamma * next_q2 - 0.25) - gamma * {PRICE}"), target(f"rew + {FUTURE}"))),
    ],
    read="lesson 6, “The soft target”; Haarnoja et al. 2018b, equations 3 and 5",
)
