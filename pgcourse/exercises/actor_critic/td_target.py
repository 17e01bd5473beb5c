"""What a one-step look ahead says the value should be."""

import torch

from pgcourse.checks.core import Case, Exercise
from pgcourse.checks.edits import edit, mistake, symptom
from pgcourse.checks.make_inputs import flags, normal
from pgcourse.checks.symptoms import apart
from pgcourse.estimators import td_target
from pgcourse.exercises.actor_critic.inputs import at_the_rim, before, later, sum_back
from pgcourse.exercises.baselines.inputs import F64, tensor
from pgcourse.exercises.families import few_digits, one_environment_only

REST = "torch.where(terminated, 0.0, next_val)"
TARGET = f"rew + gamma * {REST}"


def rest(new):
    return edit(REST, new)


def value(new):
    return edit("0.0, next_val", f"0.0, {new}")


def flag(new):
    return edit("where(terminated", f"where({new}")


def target(new):
    return edit(TARGET, new, use=(sum_back,))


def by_environment(new, x):
    return f"({x} if {x}.dim() == 1 else {new})"


def returns(stop, first="0"):
    """All later rewards; `first` is added to the last one."""
    last = f"torch.cat([rew[:-1], rew[-1:] + {first}])" if first != "0" else "rew"
    return target(f"sum_back({last}, gamma * {stop})")


def three_steps(times=1.0):
    return dict(
        rew=tensor(times, times, times),
        next_val=times * tensor(5.0, 7.0, 4.0),
        terminated=torch.tensor([False, True, False]),
        gamma=0.5,
    )


def last_two():
    return {k: x[1:] if torch.is_tensor(x) else x for k, x in three_steps().items()}


def transitions(g, *shape, dtype=torch.float32, gamma=0.9, p=0.3):
    return dict(
        rew=normal(g, *shape, dtype=dtype),
        next_val=normal(g, *shape, dtype=dtype, scale=3.0) + 1,
        terminated=flags(g, *shape, p=p),
        gamma=gamma,
    )


def two_steps():
    return dict(rew=tensor(1.0, 2.0), next_val=tensor(10.0, -4.0), terminated=torch.tensor([False, False]), gamma=0.9)  # fmt: skip


ALL_GO_ON = dict(terminated=torch.zeros(6, dtype=torch.bool))
POWER = (
    "gamma ** torch.arange(1, len(rew) + 1, dtype=rew.dtype).reshape(-1, *[1] * (rew.dim() - 1))"
)

# fmt: off
EXERCISE = Exercise(
    reference=td_target,
    parts={"while it goes on": 1, "where it ends": 2, "shapes": 1, "clean": 1},
    cases=[
        Case("two steps that go on", lambda g: two_steps(), "while it goes on"),
        Case("six steps that go on", lambda g: transitions(g, 6) | ALL_GO_ON, "while it goes on"),
        Case("the second step ends the episode", lambda g: three_steps(), "where it ends"),
        Case("the last two of these steps alone", lambda g: last_two(), "where it ends"),
        Case("everything ten times as large", lambda g: three_steps(times=10.0), "where it ends"),
        Case("forty steps, several ends", lambda g: transitions(g, 40), "where it ends"),
        Case("time and environments, float64", lambda g: transitions(g, 7, 3, dtype=F64, gamma=0.99), "where it ends"),
        Case("no discount", lambda g: transitions(g, 5, gamma=1.0), "where it ends"),
        Case("rewards [3] and values [3, 1]", lambda g: transitions(g, 3) | dict(next_val=normal(g, 3, 1)),
             "shapes", raises=True),
        Case("rewards [3, 1] and values [3]", lambda g: transitions(g, 3) | dict(rew=normal(g, 3, 1)),
             "shapes", raises=True),
        Case("flags [3, 1] for rewards [3]", lambda g: transitions(g, 3) | dict(terminated=flags(g, 3, 1)),
             "shapes", raises=True),
        Case("large values, ends in the first and the last row", lambda g: at_the_rim(), "where it ends"),
        Case("a discount factor of 0", lambda g: transitions(g, 5, gamma=0.0), "where it ends"),
    ],
    mistakes=[
        mistake("bootstraps past the end",
                "It adds the next value after a terminal step too: nothing can be earned there.", rest("next_val"),
                why="The critic would chase its own value of a state that does not exist."),
        mistake("mask inverted", "It bootstraps only where the episode ended, and not where it goes on.",
                rest("terminated * next_val"), also=(flag("~terminated"),)),
        mistake("reward masked too",
                "The last reward of an episode is lost: only the next value falls away at the end.",
                target("torch.where(terminated, 0.0, rew + gamma * next_val)"),
                why="In many tasks the last reward is the only one."),
        mistake("not discounted", "The next value is not multiplied by gamma.", edit("gamma *", "")),
        mistake("reward discounted", "The reward itself is multiplied by gamma; only what follows is discounted.",
                target(f"gamma * (rew + {REST})"), also=(target(f"gamma * rew + {REST}"), target(f"gamma * rew + gamma**2 * {REST}"))),
        mistake("last reward replaced by the value",
                "Where it ends the reward is dropped and the next value stays: it should be the other way around.",
                target("torch.where(terminated, gamma * next_val, rew + gamma * next_val)")),
        mistake("reward missing", "The reward is not in the target.", target(f"gamma * {REST}")),
        mistake("no bootstrap", "It is the reward alone: the value of what follows does not enter.", target("rew.clone()")),
        mistake("value of the step after",
                "It shifts next_val by one row: next_val[t] already is the value after step t.", value(later("next_val")),
                also=(value("torch.cat([next_val[1:], next_val[-1:]])"), value("next_val.roll(-1, 0)"))),
        mistake("value of the row before", "It takes next_val of the row before; next_val[t] belongs to step t.",
                value(before("next_val")), also=(value("next_val.roll(1, 0)"),)),
        mistake("flag of another row",
                "It reads the flag of the row before or after: terminated[t] belongs to step t.", flag(later("terminated")),
                also=(flag(before("terminated")), flag("terminated.roll(1, 0)"), flag("terminated.roll(-1, 0)"),
                      flag("torch.cat([terminated[1:], terminated[-1:]])"))),
        mistake("one end ends all", "An end in one row (or one environment) stops the bootstrap of others.",
                flag("terminated.any()"),
                also=(flag("terminated.any(0)"), flag(by_environment("terminated.any(1, keepdim=True)", "terminated")),
                      flag(by_environment("terminated[:, :1]", "terminated")), flag("terminated[-1]"))),
        mistake("sign of what follows", "It subtracts the next value; what follows adds to the reward.",
                target(f"rew - gamma * {REST}")),
        mistake("discounted twice", "The next value is multiplied by gamma twice: it is one step away.",
                edit("gamma *", "gamma**2 *")),
        mistake("weighted average",
                "The reward is multiplied by 1 - gamma: that averages reward and value; the target is their sum.",
                edit("return rew", "return (1 - gamma) * rew")),
        mistake("gamma fixed", "It discounts by {c:.3g}, whatever gamma it is given.", edit("gamma *", "{c=0.99} *")),
        mistake("gamma 0 replaced", "gamma = 0 is replaced by {c:.3g}: with 0, each target is the reward alone.",
                edit("gamma *", "(gamma or {c=0.99}) *")),
        mistake("mean or largest value",
                "It bootstraps all rows alike, from the mean or the largest next value.",
                rest(f"{REST}.mean()"), also=(rest(f"{REST}.max()"), value("next_val.mean()"), value("next_val.max()"),
                      value("next_val.mean(0, keepdim=True).expand_as(next_val)"), value("next_val.amax(0, keepdim=True).expand_as(next_val)"))),
        mistake("clipped", "It cuts rewards, values or targets off at ±{limit:.3g}: the critic cannot learn what lies beyond.",
                target(f"({TARGET}).clamp(-{{limit=1}}, {{limit=1}})"),
                also=(edit("return rew", "return rew.clamp(-{limit=1}, {limit=1})"), value("next_val.clamp(-{limit=1}, {limit=1})"))),
        mistake("one sign only", "Negative values count as 0, or rewards count by their sign alone: the critic cannot learn what they are.",
                value("next_val.clamp(min=0)"), also=(edit("return rew", "return rew.sign()"), target(f"({TARGET}).clamp(min=0)"))),
        mistake("last row taken for an end",
                "It does not bootstrap in the last row: the batch ends there, the episode does not.",
                edit("return", "terminated = torch.cat([terminated[:-1], torch.ones_like(terminated[-1:])])\nreturn")),
        mistake("nothing after the first end",
                "After the first end in the batch it never bootstraps again: later rows are new episodes.",
                flag("terminated.cumsum(0) > 0")),
        mistake("return for target", "It adds up all later rewards: that is a return; the TD target looks one step ahead.",
                returns("(~terminated)", "gamma * torch.where(terminated[-1:], 0.0, next_val[-1:])"),
                also=(returns("(~terminated)"), returns("torch.ones_like(rew)"))),
        mistake("fine at the end", "It replaces the reward of a terminal step by {fine:.3g}: that is another task.",
                target("torch.where(terminated, {fine=-1}, rew + gamma * next_val)")),
        mistake("discount grows with time",
                "It discounts row t by gamma^(t+1): each target looks one step ahead, so it is gamma^1.",
                edit("gamma *", f"{POWER} *"), also=(edit("gamma *", f"{POWER.replace('(1, len(rew) + 1', '(len(rew)')} *"),)),
        mistake("value subtracted", "It subtracts a value already: the target is r + gamma V(s'), not the TD error.",
                target(f"{TARGET} - next_val")),
        few_digits(target(f"({TARGET}).half().to(rew.dtype)")),
        one_environment_only("each environment has values and flags of its own.",
                             value(by_environment("next_val.amax(1, keepdim=True).expand_as(next_val)", "next_val")),
                             "six steps that go on", "forty steps, several ends", "no discount",
                             table="time and environments, float64"),
        symptom("steps mixed",
                "Alone, the last two of three steps get other targets than among them: "
                "each row has a reward, a next value and a flag of its own.",
                value("0.9 * next_val + 0.1 * next_val.mean()"),
                lambda at: apart(at["the second step ends the episode"]["out"][1:],
                                 at["the last two of these steps alone"]["out"])),
        symptom("unit of reward counts",
                "Rewards and values ten times as large do not give targets ten times as large: "
                "something is cut, squashed or added.",
                edit("return rew", "return rew.tanh()"),
                lambda at: apart(10 * at["the second step ends the episode"]["out"],
                                 at["everything ten times as large"]["out"])),
        symptom("wrong where it ends",
                "Where the episode goes on all is right; where it ends the target is the reward alone, and this is not.",
                rest("torch.where(terminated, 0.5 * next_val, next_val)"),
                lambda at: "where it ends" in at.wrong_parts and "while it goes on" not in at.wrong_parts
                and not at.right_in("the second step ends the episode", "forty steps, several ends")),
        symptom("wrong while it goes on", "Already where no step ends an episode, it is not r + gamma V(s').",
                edit("gamma *", "gamma**0.5 *"), lambda at: "while it goes on" in at.wrong_parts),
    ],
    read="lesson 4, “The TD target”; Sutton & Barto, section 6.1",
)
