"""Generalized advantage estimation."""

import torch

from pgcourse.checks.core import Case, Exercise
from pgcourse.checks.edits import edit, mistake, symptom
from pgcourse.checks.make_inputs import flags, normal, steps_3_by_4
from pgcourse.estimators import gae
from pgcourse.exercises.actor_critic.inputs import at_the_rim, before, later, sum_back
from pgcourse.exercises.baselines.inputs import F64, tensor
from pgcourse.exercises.families import SCALINGS, few_digits, standardized


def experience(g, *shape, dtype=torch.float32, gamma=0.95, lam=0.8, terminated=0.15, truncated=0.15):  # fmt: skip
    """A rollout with ends and time limits, each by its probability; values are far from 0."""

    def cut(p):
        return torch.rand(*shape, generator=g) < p

    end = cut(terminated)
    ended, val = end | cut(truncated), normal(g, *shape, dtype=dtype) + 2
    next_val = normal(g, *shape, dtype=dtype) + 2  # while an episode goes on, the next row's value
    next_val[:-1] = torch.where(ended[:-1], next_val[:-1], val[1:])
    rew = normal(g, *shape, dtype=dtype)
    return dict(
        rew=rew, val=val, next_val=next_val, terminated=end, ended=ended, gamma=gamma, lam=lam
    )


def one_episode(g, T, dtype=torch.float32, **rest):
    """One episode that goes on after the batch."""
    return experience(g, T, dtype=dtype, terminated=0, truncated=0) | rest


def by_hand(terminated, ended, next_val=(1.0, 1.0, 2.0)):
    terminated, ended = torch.tensor(terminated), torch.tensor(ended)
    values = dict(rew=tensor(1.0, 2.0, 3.0), val=tensor(1.0, 1.0, 1.0), next_val=tensor(*next_val))
    return values | dict(terminated=terminated, ended=ended, gamma=0.5, lam=0.5)


def rollout_at_the_rim():
    """As in `at_the_rim`, with time limits: ended holds both values in the rims, too, apart from terminated."""
    cut = torch.tensor(
        [[True, False, False, True], [False, False, True, False], [True, True, False, False]]
    )
    args = at_the_rim()
    val = steps_3_by_4(1, 2, -1, 3, -2, 1, 4, -3, 2, -1, 3, 1)
    following = torch.cat([val[1:], args["next_val"][-1:]])  # where an episode goes on
    return dict(
        rew=args["rew"], val=val, next_val=torch.where(cut, args["next_val"], following),
        terminated=args["terminated"] & cut, ended=cut, gamma=0.5, lam=0.5,
    )  # fmt: skip


def one_after_another():
    end = torch.tensor([True, False, True, False, True])
    return dict(
        rew=1000 * tensor(1.0, -2.0, 3.0, 1.0, -1.0),
        val=1000 * tensor(2.0, 3.0, -1.0, 4.0, 1.0),
        next_val=1000 * tensor(5.0, -1.0, 3.0, 1.0, -4.0),
        terminated=end, ended=end.clone(), gamma=0.5, lam=0.5,
    )  # fmt: skip


NO, END = [False, False, False], [False, True, False]
REST, CUT = "torch.where(terminated, 0.0, next_val)", "torch.where(ended[t], 0.0, running)"
DELTA, START, LOOP = f"rew + gamma * {REST} - val", "torch.zeros_like(delta[0])", "reversed(range(len(delta)))"  # fmt: skip
CARRY = f"delta[t] + gamma * lam * {CUT}"
CONSTANT, ROWS = "val, next_val = val.detach(), next_val.detach()", "adv[t] = running"


def rest(new):
    return edit(REST, new)


def delta(new):
    return edit(DELTA, new)


def cut(new):
    return edit(CUT, new)


def ended(new):
    """The sum is cut elsewhere."""
    return edit("ended[t]", f"({new})[t]")


def flags_are(new):
    return edit(
        CONSTANT,
        f"{CONSTANT}\nterminated, ended = {new.format('terminated')}, {new.format('ended')}",
    )


def then(new, use=()):
    """Something else done to the right advantages."""
    return edit("return adv", f"return {new}", use=use)


def live(constant):
    """Values that carry gradient; written without the in-place assignment, which would lose it."""
    return (edit(CONSTANT, constant), edit("adv = torch.zeros_like(delta)", "rows = []"),
            edit(ROWS, "rows.append(running)"), edit("return adv", "return torch.stack(rows[::-1])"))  # fmt: skip


def by_environment(new, x):
    return f"{x} if {x}.dim() == 1 else {new}.expand_as({x})"


CHAINED = "rew, val, next_val, terminated, ended = (x.reshape(-1) for x in (rew, val, next_val, terminated, ended))"

# fmt: off
EXERCISE = Exercise(
    reference=gae,
    tries=500,
    parts={"one episode": 2, "ends": 2, "time limits": 2, "environments": 1, "shapes": 1, "clean": 1},
    cases=[
        Case("three steps of one episode", lambda g: by_hand(NO, NO), "one episode"),
        Case("twenty steps", lambda g: one_episode(g, 20), "one episode"),
        Case("lambda 0", lambda g: one_episode(g, 6, lam=0.0), "one episode"),
        Case("lambda 1", lambda g: one_episode(g, 6, F64, lam=1.0), "one episode"),
        Case("no discount", lambda g: one_episode(g, 6, gamma=1.0), "one episode"),
        Case("an end at the second step", lambda g: by_hand(END, END), "ends"),
        Case("fifty steps, several ends", lambda g: experience(g, 50, truncated=0), "ends"),
        Case("a time limit at the second step", lambda g: by_hand(NO, END, next_val=(1.0, 5.0, 2.0)), "time limits"),
        Case("fifty steps, ends and time limits", lambda g: experience(g, 50, dtype=F64), "time limits"),
        Case("thirty steps, four environments", lambda g: experience(g, 30, 4), "environments"),
        Case("one environment", lambda g: experience(g, 10, 1), "environments"),
        Case("values with a graph", lambda g: experience(g, 8), "environments", ("val", "next_val")),
        Case("rewards [4] and values [4, 1]", lambda g: experience(g, 4) | dict(val=normal(g, 4, 1)),
             "shapes", raises=True),
        Case("rewards [4] and next values [4, 1]", lambda g: experience(g, 4) | dict(next_val=normal(g, 4, 1)),
             "shapes", raises=True),
        Case("flags `ended` [4, 1] for rewards [4, 2]", lambda g: experience(g, 4, 2) | dict(ended=flags(g, 4, 1)),
             "shapes", raises=True),
        Case("flags `terminated` [2] for rewards [4, 2]", lambda g: experience(g, 4, 2) | dict(terminated=flags(g, 2)),
             "shapes", raises=True),
        Case("large values of one episode after another, an end in the last row", lambda g: one_after_another(), "ends"),
        Case("large values, ends in the first and the last row", lambda g: rollout_at_the_rim(), "environments"),
        Case("rewards [4, 1] for values [4]", lambda g: experience(g, 4) | dict(rew=normal(g, 4, 1)),
             "shapes", raises=True),
        Case("a discount factor of 0", lambda g: one_episode(g, 6, gamma=0.0), "one episode"),
    ],
    mistakes=[
        mistake("last row taken for an end",
                "It does not bootstrap in the last row: the batch ends there, the episode does not.",
                rest("torch.where(torch.cat([terminated[:-1], torch.ones_like(terminated[-1:])]), 0.0, next_val)")),
        mistake("time limit taken for an end",
                "It does not bootstrap where a time limit cut the episode: use `terminated` there, not `ended`.",
                edit("where(terminated", "where(ended"),
                why="The state was worth something; the critic would learn that the clock kills."),
        mistake("sum runs into the next episode",
                "It never cuts the sum: advantages of the next episode leak into this one.", cut("running")),
        mistake("sum runs through time limits",
                "A time limit does not cut the sum: the next episode leaks in. Cut at `ended`, not `terminated`.",
                ended("terminated")),
        mistake("bootstraps past the end",
                "The sum is cut, but the TD error of a terminal step still contains a next value.", rest("next_val")),
        mistake("no masks", "Neither flag is used: the batch is treated as one endless episode.", rest("next_val"), cut("running")),
        mistake("flags of the next row", "It reads the flags one row late: terminated[t] belongs to step t.",
                flags_are(later("{0}")),
                also=(flags_are("{0}.roll(-1, 0)"), flags_are("torch.cat([{0}[1:], {0}[-1:]])"),
                      flags_are("torch.cat([{0}[1:], torch.ones_like({0}[-1:])])"))),
        mistake("value subtracted twice", "It subtracts the value from an advantage that already has it.", then("adv - val")),
        mistake("value of the reset state",
                "It takes val[t + 1] for the next value: after a time limit that is the NEXT episode's first state.",
                edit("0.0, next_val", "0.0, torch.cat([val[1:], next_val[-1:]])"),
                why="next_val holds the value of the true next observation, also where an episode ends."),
        mistake("sum not discounted", "The sum is carried with lambda alone; the factor is gamma * lambda.",
                edit("gamma * lam *", "lam *")),
        mistake("lambda ignored", "Lambda does not enter: it is the Monte-Carlo advantage for every lambda.",
                edit("gamma * lam *", "gamma *"),
                also=(edit("return adv", "return sum_back(rew, gamma * (~ended)) - val", use=(sum_back,)),)),
        mistake("gamma and lambda added", "It carries the sum with gamma + lambda; the factor is their product.",
                edit("gamma * lam *", "(gamma + lam) *")),
        mistake("one-step advantage", "It returns the TD errors: nothing is summed, as if lambda were 0.", then("delta")),
        mistake("returns for advantages",
                "V(s) is still in it: these are returns, the critic's targets, not advantages.", then("adv + val")),
        mistake("baseline missing", "V(s) is not subtracted in the TD error: it is no advantage.", edit(f"{REST} - val", REST)),
        mistake("forward in time",
                "The loop runs forward: each step is credited with the past; an action acts on the future.",
                edit(LOOP, "range(len(delta))"), edit(CARRY, "delta[t] + gamma * lam * running"),
                edit(ROWS, f"{ROWS}\nrunning = {CUT}"), also=(edit(LOOP, "range(len(delta))"),)),
        mistake("gradient into the values",
                "Gradient flows into the values: the advantage is a constant, detach them.", *live(""),
                why="Through a live advantage the actor's loss trains the critic.",
                also=(live("next_val = next_val.detach()"), live("val = val.detach()"), edit(CONSTANT, ""))),
        mistake("normalized inside", "It standardizes the advantages: that is a step of its own, done after.",
                then("standardized(adv)", (standardized,)),
                also=(*(then(f"standardized(adv, {c}, {eps})", (standardized,)) for c, eps in SCALINGS[1:]),
                      *(then(f"(adv - adv.mean(0)) / (adv.std(0, correction={c}) + 1e-8)") for c in (1, 0)),
                      *(then(f"adv / (adv.std(correction={c}) + {eps})") for c, eps in SCALINGS))),
        mistake("centered inside",
                "It subtracts the mean advantage of the batch: V(s) was the baseline already.", then("adv - adv.mean()"),
                also=(then("adv - adv.mean(0)"),)),
        mistake("next value not discounted", "The TD error contains V(s') without gamma.", delta(f"rew + {REST} - val")),
        mistake("lambda in the TD error", "The TD error contains lambda; it belongs to the sum alone.",
                delta(f"rew + gamma * lam * {REST} - val")),
        mistake("value added", "The TD error adds V(s) in place of subtracting it.", edit(f"{REST} - val", f"{REST} + val")),
        mistake("values exchanged", "val and next_val are exchanged: the TD error is r + gamma V(s') - V(s).",
                delta("rew + gamma * torch.where(terminated, 0.0, val) - next_val")),
        mistake("gamma and lambda exchanged", "gamma and lambda are exchanged: the TD error is discounted by gamma.",
                delta(f"rew + lam * {REST} - val")),
        mistake("reward masked too",
                "At the end of an episode the reward (or the whole TD error) is lost: only V(s') falls away.",
                delta("torch.where(terminated, 0.0, rew + gamma * next_val) - val"),
                also=(delta("torch.where(terminated, 0.0, rew + gamma * next_val - val)"),
                      delta("torch.where(ended, 0.0, rew + gamma * next_val - val)"))),
        mistake("mask inverted", "A flag is used the wrong way around: it keeps what it should remove.",
                rest("torch.where(terminated, next_val, 0.0)"),
                also=(ended("~ended"), (rest("torch.where(terminated, next_val, 0.0)"), ended("~ended")), ended("~terminated"))),
        mistake("sum cut one row off", "The sum is cut at the flag of the row before or after: ended[t] belongs to step t.",
                ended(later("ended")),
                also=(ended(before("ended")), ended("ended.roll(-1, 0)"), ended("ended.roll(1, 0)"),
                      ended("torch.cat([ended[1:], ended[-1:]])"))),
        mistake("zero where an episode ends",
                "It sets the advantage of the last step of an episode to 0: that step had a TD error too.",
                then("torch.where(ended, 0.0, adv)"),
                also=((cut("running"), then("torch.where(ended, 0.0, adv)")),)),
        mistake("time limit dropped",
                "At a time limit the TD error is set to 0: the state is known, so it can bootstrap.",
                delta(f"torch.where(ended & ~terminated, 0.0, {DELTA})")),
        mistake("last row left out", "The last row of the rollout gets no advantage: the loop starts one row too early.",
                edit(LOOP, "reversed(range(len(delta) - 1))"),
                also=(then("torch.cat([adv[:-1], torch.zeros_like(adv[:1])])"),)),
        mistake("first row left out", "The first row of the rollout gets no advantage: the loop stops one row too early.",
                edit(LOOP, "reversed(range(1, len(delta)))")),
        mistake("sum starts from a value",
                "The sum starts from the last value in place of 0: that value is in the TD error already.",
                edit(START, "next_val[-1]"), also=(edit(START, "val[-1]"),)),
        mistake("factor 1 - lambda",
                "It multiplies by 1 - lambda: that factor averages n-step advantages; "
                "in the sum of TD errors it has canceled already.", then("(1 - lam) * adv")),
        mistake("weighted mean", "It divides by the sum of the weights (gamma lambda)^l: a mean of the TD errors; their sum is asked for.",
                then("adv / sum_back(torch.ones_like(adv), gamma * lam * (~ended))", (sum_back,))),
        mistake("environments chained",
                "It flattens [T, B] and runs through the environments as if they were one after another.",
                edit(CONSTANT, f"{CONSTANT}\nshape = rew.shape\n{CHAINED}"), then("adv.reshape(shape)")),
        mistake("one end cuts all", "An end in one environment cuts the sum in all of them.",
                ended(by_environment("ended.any(1, keepdim=True)", "ended")),
                also=(cut("(torch.zeros_like(running) if ended[t].any() else running)"),)),
        mistake("flags swapped",
                "The flags are swapped: `terminated` belongs to the next value, `ended` to the running sum.",
                edit("where(terminated", "where(ended"), ended("terminated")),
        mistake("gamma and lambda fixed",
                "It uses gamma = {gamma:.3g} and lambda = {lam:.3g}, whatever it is given.",
                edit(CONSTANT, f"{CONSTANT}\ngamma, lam = {{gamma=0.99}}, {{lam=0.95}}")),
        mistake("gamma fixed", "It uses gamma = {gamma:.3g}, whatever it is given.",
                edit(CONSTANT, f"{CONSTANT}\ngamma = {{gamma=0.99}}")),
        mistake("lambda fixed", "It uses lambda = {lam:.3g}, whatever it is given.", edit("lam *", "{lam=0.95} *")),
        mistake("sign", "The sign is reversed: good is bad.", then("-adv")),
        mistake("last step first",
                "The advantages come out from the last step to the first: turn the list around at the end.", then("adv.flip(0)")),
        mistake("value not subtracted at the end",
                "At the end of an episode V(s) falls away too: only V(s') does, what was expected stays.",
                delta("rew + torch.where(terminated, 0.0, gamma * next_val - val)")),
        few_digits(then("adv.half().to(adv.dtype)")),
        symptom("wrong where an episode ends",
                "While one episode goes on all is right; where one ends it is not: "
                "there the next value falls away, and the sum starts anew.",
                rest("torch.where(terminated, 0.5 * next_val, next_val)"),
                lambda at: "ends" in at.wrong_parts and "one episode" not in at.wrong_parts),
        symptom("wrong at a time limit",
                "With true ends all is right, with time limits it is not: the next value stays, and the sum starts anew.",
                edit(CONSTANT, f"{CONSTANT}\nnext_val = torch.where(ended & ~terminated, (val + next_val) / 2, next_val)"),
                lambda at: "time limits" in at.wrong_parts and not at.wrong_parts & {"one episode", "ends"}),
        symptom("right for one environment only",
                "All is right for [T] and not for [T, B]: each environment has a sum of its own.",
                ended(by_environment("ended[:, :1]", "ended")), lambda at: at.wrong_parts == {"environments"}),
        symptom("wrong at the ends of the scale",
                "It is right for usual settings, and wrong where gamma or lambda is 0 or 1: is there a special case?",
                edit("return adv", "if lam == 1:\n    adv = sum_back(rew, gamma * (~ended)) - val\nreturn adv", use=(sum_back,)),
                lambda at: at.right_in("three steps of one episode", "twenty steps")),
        symptom("sum, not TD errors",
                "With lambda = 0 all is right, so the TD errors are; with a larger one their sum is not.",
                edit("lam *", "lam**0.5 *"), lambda at: at.right_in("lambda 0") and not at.right_in("twenty steps")),
        symptom("not the TD error for lambda 0",
                "With lambda = 0 nothing is summed, and each advantage is its TD error r + gamma V(s') - V(s); it is not.",
                edit("rew + gamma", "rew.sign() + gamma"), lambda at: not at.right_in("lambda 0")),
    ],
    read="lesson 4, “Between one step and all of them”; Schulman et al. 2016, equation 16",
)
