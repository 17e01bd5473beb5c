"""Exercises of lesson 4: TD targets, the losses of critic and actor, GAE, and their training steps."""

import torch
import torch.nn.functional as F
from torch import nn

from pgcourse.a2c import actor_critic_step
from pgcourse.a3c import a3c_push_gradients
from pgcourse.checks.compare import close
from pgcourse.checks.core import Case, Exercise, Pitfall
from pgcourse.checks.drivers import uses_random_numbers
from pgcourse.checks.make_inputs import flags, frame, integers, normal, steps_3_by_4
from pgcourse.checks.symptoms import apart, few_digits, part_symptom, symptom, where_symptom
from pgcourse.estimators import gae, td_target
from pgcourse.exercises import actor_critic as moved
from pgcourse.exercises.families import SCALINGS as CONVENTIONS
from pgcourse.exercises.families import standardized
from pgcourse.losses import actor_loss

F64 = torch.float64


def misled(quiz, name, key, answer, says, also=(), why=""):
    """A pitfall of a quiz: a wrong answer to one question (in several forms), whatever the others are."""
    at = list(quiz()).index(key)

    def telltale(seen):
        return any(close(seen[at]["out"], given) for given in (answer, *also))

    return Pitfall(name, says, lambda: quiz() | {key: answer}, why, telltale)


# --- td_target ---


def target_without_mask(rew, next_val, terminated, gamma):
    return rew + gamma * next_val


def target_mask_inverted(rew, next_val, terminated, gamma):
    return rew + gamma * terminated * next_val


def target_reward_masked(rew, next_val, terminated, gamma):
    return torch.where(terminated, 0.0, rew + gamma * next_val)


def target_undiscounted(rew, next_val, terminated, gamma):
    return rew + torch.where(terminated, 0.0, next_val)


def target_reward_discounted(rew, next_val, terminated, gamma):
    return gamma * (rew + torch.where(terminated, 0.0, next_val))


def target_reward_missing(rew, next_val, terminated, gamma):
    return gamma * torch.where(terminated, 0.0, next_val)


def target_reward_only(rew, next_val, terminated, gamma):
    return rew.clone()


def target_one_row_late(rew, next_val, terminated, gamma):
    shifted = torch.cat([next_val[1:], torch.zeros_like(next_val[:1])])
    return rew + gamma * torch.where(terminated, 0.0, shifted)


def target_last_row_ends(rew, next_val, terminated, gamma):
    last = torch.zeros_like(terminated)
    last[-1] = True
    return rew + gamma * torch.where(terminated | last, 0.0, next_val)


def target_dead_after_first_end(rew, next_val, terminated, gamma):
    over = terminated.cumsum(0) > 0
    return rew + gamma * torch.where(over, 0.0, next_val)


def target_sums_rewards(rew, next_val, terminated, gamma):
    ret, running = torch.zeros_like(rew), next_val[-1]
    for t in reversed(range(len(rew))):
        running = rew[t] + gamma * torch.where(terminated[t], 0.0, running)
        ret[t] = running
    return ret


def target_fine_at_the_end(rew, next_val, terminated, gamma):
    return torch.where(terminated, -1.0, rew + gamma * next_val)


def target_discount_by_time(rew, next_val, terminated, gamma):
    power = gamma ** torch.arange(1, len(rew) + 1, dtype=rew.dtype)
    power = power.reshape(-1, *[1] * (rew.dim() - 1))
    return rew + power * torch.where(terminated, 0.0, next_val)


def target_td_error(rew, next_val, terminated, gamma):
    return rew + gamma * torch.where(terminated, 0.0, next_val) - next_val


def target_with(
    value=lambda v: v, flag=lambda d: d, make=lambda rew, rest, gamma: rew + gamma * rest
):
    """A target with another next value, another flag, or another way to put the two together."""

    def wrong(rew, next_val, terminated, gamma):
        return make(rew, torch.where(flag(terminated), 0.0, value(next_val)), gamma)

    return wrong


def rows_later(x):
    return torch.cat([x[1:], torch.zeros_like(x[:1])])


def rows_before(x):
    return torch.cat([torch.zeros_like(x[:1]), x[:-1]])


def target_sums_and_stops(rew, next_val, terminated, gamma):
    ret, running = torch.zeros_like(rew), torch.zeros_like(rew[0])
    for t in reversed(range(len(rew))):
        running = rew[t] + gamma * torch.where(terminated[t], 0.0, running)
        ret[t] = running
    return ret


def target_sums_through_ends(rew, next_val, terminated, gamma):
    return target_sums_and_stops(rew, next_val, torch.zeros_like(terminated), gamma)


def other_target(name, says, *wrong, why=""):
    return Pitfall(name, says, wrong[0], why, also=wrong[1:])


def three_steps(times=1.0):
    return dict(
        rew=torch.tensor([times] * 3),
        next_val=times * torch.tensor([5.0, 7.0, 4.0]),
        terminated=torch.tensor([False, True, False]),
        gamma=0.5,
    )


def target_best_environment(v):
    return v if v.dim() == 1 else v.amax(1, keepdim=True).expand_as(v)


def target_in_half_precision(rew, next_val, terminated, gamma):
    return td_target(rew, next_val, terminated, gamma).half().to(rew.dtype)


def target_half_at_the_end(rew, next_val, terminated, gamma):
    return rew + gamma * torch.where(terminated, 0.5 * next_val, next_val)


def transitions(g, *shape, dtype=torch.float32, gamma=0.9, p=0.3):
    return dict(
        rew=normal(g, *shape, dtype=dtype),
        next_val=normal(g, *shape, dtype=dtype, scale=3.0) + 1,
        terminated=flags(g, *shape, p=p),
        gamma=gamma,
    )


def at_the_rim():
    """Numbers in the thousands; first row, last row and the outer columns hold both values of the flag."""
    return dict(
        rew=steps_3_by_4(1, -1, 2, -2, -3, 1, 0.5, -1, 2, -2, 1, -1),
        next_val=steps_3_by_4(2, 3, -4, 1, 5, -2, 3, -1, -2, 4, -3, 2),
        terminated=~frame(),
        gamma=0.5,
    )


TD_TARGET = Exercise(
    reference=td_target,
    parts={"while it goes on": 1, "where it ends": 2, "shapes": 1, "clean": 1},
    cases=[
        Case(
            "two steps that go on",
            lambda g: dict(
                rew=torch.tensor([1.0, 2.0]),
                next_val=torch.tensor([10.0, -4.0]),
                terminated=torch.tensor([False, False]),
                gamma=0.9,
            ),
            "while it goes on",
        ),
        Case(
            "six steps that go on",
            lambda g: transitions(g, 6) | dict(terminated=torch.zeros(6, dtype=torch.bool)),
            "while it goes on",
        ),
        Case(
            "the second step ends the episode",
            lambda g: three_steps(),
            "where it ends",
        ),
        Case(
            "the last two of these steps alone",
            lambda g: {k: x[1:] if torch.is_tensor(x) else x for k, x in three_steps().items()},
            "where it ends",
        ),
        Case("everything ten times as large", lambda g: three_steps(times=10.0), "where it ends"),
        Case("forty steps, several ends", lambda g: transitions(g, 40), "where it ends"),
        Case(
            "time and environments, float64",
            lambda g: transitions(g, 7, 3, dtype=F64, gamma=0.99),
            "where it ends",
        ),
        Case("no discount", lambda g: transitions(g, 5, gamma=1.0), "where it ends"),
        Case(
            "rewards [3] and values [3, 1]",
            lambda g: transitions(g, 3) | dict(next_val=normal(g, 3, 1)),
            "shapes",
            raises=True,
        ),
        Case(
            "rewards [3, 1] and values [3]",
            lambda g: transitions(g, 3) | dict(rew=normal(g, 3, 1)),
            "shapes",
            raises=True,
        ),
        Case(
            "flags [3, 1] for rewards [3]",
            lambda g: transitions(g, 3) | dict(terminated=flags(g, 3, 1)),
            "shapes",
            raises=True,
        ),
        Case(
            "large values, ends in the first and the last row",
            lambda g: at_the_rim(),
            "where it ends",
        ),
    ],
    pitfalls=[
        Pitfall(
            "bootstraps past the end",
            "It adds the next value after a terminal step too: nothing can be earned there.",
            target_without_mask,
            "The critic would chase its own value of a state that does not exist.",
        ),
        Pitfall(
            "mask inverted",
            "It bootstraps only where the episode ended, and not where it goes on.",
            target_mask_inverted,
        ),
        Pitfall(
            "reward masked too",
            "The last reward of an episode is lost: only the next value falls away at the end.",
            target_reward_masked,
            "In many tasks the last reward is the only one.",
        ),
        Pitfall(
            "not discounted", "The next value is not multiplied by gamma.", target_undiscounted
        ),
        Pitfall(
            "reward discounted",
            "The reward itself is multiplied by gamma; only what follows is discounted.",
            target_reward_discounted,
        ),
        Pitfall("reward missing", "The reward is not in the target.", target_reward_missing),
        Pitfall(
            "no bootstrap",
            "It is the reward alone: the value of what follows does not enter.",
            target_reward_only,
        ),
        Pitfall(
            "value of the step after",
            "It shifts next_val by one row: next_val[t] already is the value after step t.",
            target_one_row_late,
            also=(
                target_with(value=lambda v: torch.cat([v[1:], v[-1:]])),
                target_with(value=lambda v: v.roll(-1, 0)),
            ),
        ),
        other_target(
            "value of the row before",
            "It takes next_val of the row before; next_val[t] belongs to step t.",
            target_with(value=rows_before),
            target_with(value=lambda v: v.roll(1, 0)),
        ),
        other_target(
            "flag of another row",
            "It reads the flag of the row before or after: terminated[t] belongs to step t.",
            target_with(flag=rows_later),
            target_with(flag=rows_before),
            target_with(flag=lambda d: d.roll(1, 0)),
            target_with(flag=lambda d: d.roll(-1, 0)),
            target_with(flag=lambda d: torch.cat([d[1:], d[-1:]])),
        ),
        other_target(
            "one end ends all",
            "An end in one row (or one environment) stops the bootstrap of others.",
            target_with(flag=lambda d: d.any()),
            target_with(flag=lambda d: d.any(0)),
            target_with(flag=lambda d: d if d.dim() == 1 else d.any(1, keepdim=True)),
            target_with(flag=lambda d: d if d.dim() == 1 else d[:, :1]),
            target_with(flag=lambda d: d[-1]),
        ),
        other_target(
            "sign of what follows",
            "It subtracts the next value; what follows adds to the reward.",
            target_with(make=lambda rew, rest, gamma: rew - gamma * rest),
        ),
        other_target(
            "discounted twice",
            "The next value is multiplied by gamma twice: it is one step away.",
            target_with(make=lambda rew, rest, gamma: rew + gamma**2 * rest),
        ),
        other_target(
            "weighted average",
            "The reward is multiplied by 1 - gamma: that averages reward and value; the target is their sum.",
            target_with(make=lambda rew, rest, gamma: (1 - gamma) * rew + gamma * rest),
        ),
        other_target(
            "gamma fixed",
            "It uses a discount of its own, whatever gamma it is given.",
            *(
                target_with(make=lambda rew, rest, gamma, c=c: rew + c * rest)
                for c in (0.99, 0.9, 0.95)
            ),
        ),
        other_target(
            "mean or largest value",
            "It bootstraps every row from one number of the batch, the mean or the largest next value.",
            target_with(make=lambda rew, rest, gamma: rew + gamma * rest.mean()),
            target_with(make=lambda rew, rest, gamma: rew + gamma * rest.max()),
            target_with(value=lambda v: v.mean()),
            target_with(value=lambda v: v.max()),
        ),
        other_target(
            "clipped",
            "It cuts rewards, values or targets off: the critic cannot learn what lies beyond.",
            target_with(make=lambda rew, rest, gamma: (rew + gamma * rest).clamp(-1, 1)),
            target_with(make=lambda rew, rest, gamma: rew.clamp(-1, 1) + gamma * rest),
            target_with(value=lambda v: v.clamp(min=0)),
            target_with(value=lambda v: v.clamp(-1, 1)),
            target_with(make=lambda rew, rest, gamma: rew.sign() + gamma * rest),
        ),
        Pitfall(
            "last row taken for an end",
            "It does not bootstrap in the last row: the batch ends there, the episode does not.",
            target_last_row_ends,
        ),
        Pitfall(
            "nothing after the first end",
            "After the first end in the batch it never bootstraps again: later rows are new episodes.",
            target_dead_after_first_end,
        ),
        Pitfall(
            "return for target",
            "It adds up all later rewards: that is a return; the TD target looks one step ahead.",
            target_sums_rewards,
            also=(target_sums_and_stops, target_sums_through_ends),
        ),
        Pitfall(
            "fine at the end",
            "It replaces the reward of a terminal step by -1: that is another task.",
            target_fine_at_the_end,
        ),
        Pitfall(
            "discount grows with time",
            "It discounts row t by gamma^(t+1): each target looks one step ahead, so it is gamma^1.",
            target_discount_by_time,
        ),
        Pitfall(
            "value subtracted",
            "It subtracts a value already: the target is r + gamma V(s'), not the TD error.",
            target_td_error,
        ),
        few_digits(lambda: TD_TARGET, target_in_half_precision),
        where_symptom(
            lambda: TD_TARGET,
            "right for one environment only",
            "All is right for [T] and not for [T, B]: each environment has values and flags of its own.",
            target_with(value=target_best_environment),
            right=("six steps that go on", "forty steps, several ends", "no discount"),
            off=("time and environments, float64",),
        ),
        symptom(
            lambda: TD_TARGET,
            "steps mixed",
            "Alone, the last two of three steps get other targets than among them: "
            "each row has a reward, a next value and a flag of its own.",
            target_with(value=lambda v: 0.9 * v + 0.1 * v.mean()),
            lambda at: apart(
                at["the second step ends the episode"]["out"][1:],
                at["the last two of these steps alone"]["out"],
            ),
        ),
        symptom(
            lambda: TD_TARGET,
            "unit of reward counts",
            "Rewards and values ten times as large do not give targets ten times as large: "
            "something is cut, squashed or added.",
            target_with(make=lambda rew, rest, gamma: rew.tanh() + gamma * rest),
            lambda at: apart(
                10 * at["the second step ends the episode"]["out"],
                at["everything ten times as large"]["out"],
            ),
        ),
        part_symptom(
            lambda: TD_TARGET,
            "wrong where it ends",
            "Where the episode goes on all is right; where it ends the target is the reward alone, and this is not.",
            target_half_at_the_end,
            lambda wrong: "where it ends" in wrong and "while it goes on" not in wrong,
        ),
        part_symptom(
            lambda: TD_TARGET,
            "wrong while it goes on",
            "Already where no step ends an episode, it is not r + gamma V(s').",
            target_with(make=lambda rew, rest, gamma: rew + gamma**0.5 * rest),
            lambda wrong: "while it goes on" in wrong,
        ),
    ],
    read="lesson 4, “The TD target”; Sutton & Barto, section 6.1",
)

# --- gae ---


def sum_back(delta, factor):
    """x_t = delta_t + factor_t * x_{t+1}, from the last row to the first."""
    adv, running = torch.zeros_like(delta), torch.zeros_like(delta[0])
    for t in reversed(range(len(delta))):
        running = delta[t] + factor[t] * running
        adv[t] = running
    return adv


def td_errors(rew, val, next_val, stop, gamma):
    return rew + gamma * torch.where(stop, 0.0, next_val.detach()) - val.detach()


def gae_last_row_ends(rew, val, next_val, terminated, ended, gamma, lam):
    last = torch.zeros_like(terminated)
    last[-1] = True
    delta = td_errors(rew, val, next_val, terminated | last, gamma)
    return sum_back(delta, gamma * lam * (~ended))


def gae_time_limit_is_end(rew, val, next_val, terminated, ended, gamma, lam):
    return sum_back(td_errors(rew, val, next_val, ended, gamma), gamma * lam * (~ended))


def gae_carry_not_cut(rew, val, next_val, terminated, ended, gamma, lam):
    delta = td_errors(rew, val, next_val, terminated, gamma)
    return sum_back(delta, torch.full_like(rew, gamma * lam))


def gae_carry_through_time_limit(rew, val, next_val, terminated, ended, gamma, lam):
    delta = td_errors(rew, val, next_val, terminated, gamma)
    return sum_back(delta, gamma * lam * (~terminated))


def gae_delta_not_masked(rew, val, next_val, terminated, ended, gamma, lam):
    delta = td_errors(rew, val, next_val, torch.zeros_like(ended), gamma)
    return sum_back(delta, gamma * lam * (~ended))


def gae_no_masks(rew, val, next_val, terminated, ended, gamma, lam):
    delta = td_errors(rew, val, next_val, torch.zeros_like(ended), gamma)
    return sum_back(delta, torch.full_like(rew, gamma * lam))


def gae_flags_of_next_row(rew, val, next_val, terminated, ended, gamma, lam):
    terminated, ended = (torch.cat([x[1:], torch.zeros_like(x[:1])]) for x in (terminated, ended))
    delta = td_errors(rew, val, next_val, terminated, gamma)
    return sum_back(delta, gamma * lam * (~ended))


def gae_value_twice(rew, val, next_val, terminated, ended, gamma, lam):
    return gae(rew, val, next_val, terminated, ended, gamma, lam) - val.detach()


def gae_value_of_reset_state(rew, val, next_val, terminated, ended, gamma, lam):
    following = torch.cat([val[1:], next_val[-1:]])
    delta = td_errors(rew, val, following, terminated, gamma)
    return sum_back(delta, gamma * lam * (~ended))


def gae_carry_undiscounted(rew, val, next_val, terminated, ended, gamma, lam):
    return sum_back(td_errors(rew, val, next_val, terminated, gamma), lam * (~ended))


def gae_lambda_ignored(rew, val, next_val, terminated, ended, gamma, lam):
    return sum_back(td_errors(rew, val, next_val, terminated, gamma), gamma * (~ended))


def gae_one_step(rew, val, next_val, terminated, ended, gamma, lam):
    return td_errors(rew, val, next_val, terminated, gamma)


def gae_returns(rew, val, next_val, terminated, ended, gamma, lam):
    return gae(rew, val, next_val, terminated, ended, gamma, lam) + val.detach()


def gae_no_baseline(rew, val, next_val, terminated, ended, gamma, lam):
    delta = rew + gamma * torch.where(terminated, 0.0, next_val.detach())
    return sum_back(delta, gamma * lam * (~ended))


def gae_forward(rew, val, next_val, terminated, ended, gamma, lam):
    delta = td_errors(rew, val, next_val, terminated, gamma)
    adv, running = torch.zeros_like(delta), torch.zeros_like(delta[0])
    for t in range(len(delta)):
        running = delta[t] + gamma * lam * running
        adv[t] = running
        running = torch.where(ended[t], 0.0, running)
    return adv


def gae_with_graph(rew, val, next_val, terminated, ended, gamma, lam):
    delta = rew + gamma * torch.where(terminated, 0.0, next_val) - val
    rows, running = [], torch.zeros_like(delta[0])
    for t in reversed(range(len(delta))):
        running = delta[t] + gamma * lam * torch.where(ended[t], 0.0, running)
        rows.append(running)
    return torch.stack(rows[::-1])


def gae_then(change):
    """Something else done to the right advantages, a function of them."""

    def wrong(rew, val, next_val, terminated, ended, gamma, lam):
        return change(gae(rew, val, next_val, terminated, ended, gamma, lam))

    return wrong


def gae_with(delta=None, cut=lambda terminated, ended: ended, first=None, pick=None):
    """GAE with another TD error, another place where the sum is cut, or another start of the sum.

    delta : of (rew, val, next_val, terminated, ended, gamma, lam)
    cut   : of (terminated, ended), where the sum stops
    """

    def wrong(rew, val, next_val, terminated, ended, gamma, lam):
        val, next_val = val.detach(), next_val.detach()
        error = td_errors(rew, val, next_val, terminated, gamma)
        if delta is not None:
            error = delta(rew, val, next_val, terminated, ended, gamma, lam)
        stop = cut(terminated, ended).expand_as(ended)
        if first is not None:  # what the last row adds of the row that would follow it
            error = error.clone()
            error[-1] += gamma * lam * torch.where(stop[-1], 0.0, first(next_val))
        return sum_back(error, gamma * lam * (~stop))

    return wrong


def scaled_by_column(correction):
    return lambda adv: (adv - adv.mean(0)) / (adv.std(0, correction=correction) + 1e-8)


def gae_zero_at_ends(cut):
    def wrong(rew, val, next_val, terminated, ended, gamma, lam):
        adv = gae_with(cut=cut)(rew, val, next_val, terminated, ended, gamma, lam)
        return torch.where(ended, 0.0, adv)

    return wrong


def gae_last_row_left_out(rew, val, next_val, terminated, ended, gamma, lam):
    adv = gae(*(x[:-1] for x in (rew, val, next_val, terminated, ended)), gamma, lam)
    return torch.cat([adv, torch.zeros_like(rew[:1])])


def gae_monte_carlo(rew, val, next_val, terminated, ended, gamma, lam):
    return sum_back(rew, gamma * (~ended)) - val.detach()


def gae_live(val_too):
    """Only the one or only the other value carries gradient."""

    def wrong(rew, val, next_val, *rest):
        live = (val, next_val.detach()) if val_too else (val.detach(), next_val)
        return gae_with_graph(rew, *live, *rest)

    return wrong


def gae_values_exchanged(rew, val, next_val, terminated, ended, gamma, lam):
    return gae(rew, next_val, val, terminated, ended, gamma, lam)


def gae_settings_exchanged(rew, val, next_val, terminated, ended, gamma, lam):
    return gae(rew, val, next_val, terminated, ended, lam, gamma)


def other_gae(name, says, *wrong, why=""):
    return Pitfall(name, says, wrong[0], why, also=wrong[1:])


def gae_lambda_average(rew, val, next_val, terminated, ended, gamma, lam):
    return (1 - lam) * gae(rew, val, next_val, terminated, ended, gamma, lam)


def gae_environments_chained(rew, val, next_val, terminated, ended, gamma, lam):
    def flat(x):
        return x.reshape(-1)

    return gae(*map(flat, (rew, val, next_val, terminated, ended)), gamma=gamma, lam=lam).reshape(
        rew.shape
    )


def gae_any_environment_ends(rew, val, next_val, terminated, ended, gamma, lam):
    if rew.dim() == 1:
        return gae(rew, val, next_val, terminated, ended, gamma, lam)
    cut = ended.any(1, keepdim=True).expand_as(ended)
    return sum_back(td_errors(rew, val, next_val, terminated, gamma), gamma * lam * (~cut))


def gae_flags_swapped(rew, val, next_val, terminated, ended, gamma, lam):
    return gae(rew, val, next_val, ended, terminated, gamma, lam)


def gae_usual_settings(rew, val, next_val, terminated, ended, gamma, lam):
    return gae(rew, val, next_val, terminated, ended, 0.99, 0.95)


def gae_value_sign(rew, val, next_val, terminated, ended, gamma, lam):
    return -gae(rew, val, next_val, terminated, ended, gamma, lam)


def gae_half_bootstrap(rew, val, next_val, terminated, ended, gamma, lam):
    next_val = torch.where(ended & ~terminated, (val + next_val) / 2, next_val)
    return gae(rew, val, next_val, terminated, ended, gamma, lam)


def gae_first_environment_cuts(rew, val, next_val, terminated, ended, gamma, lam):
    cut = ended if ended.dim() == 1 else ended[:, :1].expand_as(ended)
    return sum_back(td_errors(rew, val, next_val, terminated, gamma), gamma * lam * (~cut))


def gae_special_case(rew, val, next_val, terminated, ended, gamma, lam):
    make = gae_monte_carlo if lam == 1 else gae
    return make(rew, val, next_val, terminated, ended, gamma, lam)


def gae_root_of_lambda(rew, val, next_val, terminated, ended, gamma, lam):
    return gae(rew, val, next_val, terminated, ended, gamma, lam**0.5)


def experience(
    g, *shape, dtype=torch.float32, gamma=0.95, lam=0.8, terminated=0.15, truncated=0.15
):
    """A rollout with ends and time limits, each by its probability; values are far from 0."""

    def cut(p):
        return torch.rand(*shape, generator=g) < p

    end = cut(terminated)
    ended, val = end | cut(truncated), normal(g, *shape, dtype=dtype) + 2
    next_val = normal(g, *shape, dtype=dtype) + 2  # while an episode goes on, the next row's value
    next_val[:-1] = torch.where(ended[:-1], next_val[:-1], val[1:])
    return dict(
        rew=normal(g, *shape, dtype=dtype),
        val=val,
        next_val=next_val,
        terminated=end,
        ended=ended,
        gamma=gamma,
        lam=lam,
    )


def one_episode(g, T, dtype=torch.float32, **rest):
    """One episode that goes on after the batch."""
    return experience(g, T, dtype=dtype, terminated=0, truncated=0) | rest


def by_hand(g, terminated, ended, val=(1.0, 1.0, 1.0), next_val=(1.0, 1.0, 2.0)):
    return dict(
        rew=torch.tensor([1.0, 2.0, 3.0]),
        val=torch.tensor(val),
        next_val=torch.tensor(next_val),
        terminated=torch.tensor(terminated),
        ended=torch.tensor(ended),
        gamma=0.5,
        lam=0.5,
    )


NO, END = [False, False, False], [False, True, False]
CONSTANTS = ("val", "next_val")


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


GAE = Exercise(
    reference=gae,
    parts={
        "one episode": 2,
        "ends": 2,
        "time limits": 2,
        "environments": 1,
        "shapes": 1,
        "clean": 1,
    },
    cases=[
        Case("three steps of one episode", lambda g: by_hand(g, NO, NO), "one episode"),
        Case("twenty steps", lambda g: one_episode(g, 20), "one episode"),
        Case("lambda 0", lambda g: one_episode(g, 6, lam=0.0), "one episode"),
        Case("lambda 1", lambda g: one_episode(g, 6, F64, lam=1.0), "one episode"),
        Case("no discount", lambda g: one_episode(g, 6, gamma=1.0), "one episode"),
        Case("an end at the second step", lambda g: by_hand(g, END, END), "ends"),
        Case("fifty steps, several ends", lambda g: experience(g, 50, truncated=0), "ends"),
        Case(
            "a time limit at the second step",
            lambda g: by_hand(g, NO, END, next_val=(1.0, 5.0, 2.0)),
            "time limits",
        ),
        Case(
            "fifty steps, ends and time limits",
            lambda g: experience(g, 50, dtype=F64),
            "time limits",
        ),
        Case("thirty steps, four environments", lambda g: experience(g, 30, 4), "environments"),
        Case("one environment", lambda g: experience(g, 10, 1), "environments"),
        Case(
            "values with a graph",
            lambda g: experience(g, 8),
            "environments",
            CONSTANTS,
        ),
        Case(
            "rewards [4] and values [4, 1]",
            lambda g: experience(g, 4) | dict(val=normal(g, 4, 1)),
            "shapes",
            raises=True,
        ),
        Case(
            "rewards [4] and next values [4, 1]",
            lambda g: experience(g, 4) | dict(next_val=normal(g, 4, 1)),
            "shapes",
            raises=True,
        ),
        Case(
            "flags `ended` [4, 1] for rewards [4, 2]",
            lambda g: experience(g, 4, 2) | dict(ended=flags(g, 4, 1)),
            "shapes",
            raises=True,
        ),
        Case(
            "flags `terminated` [2] for rewards [4, 2]",
            lambda g: experience(g, 4, 2) | dict(terminated=flags(g, 2)),
            "shapes",
            raises=True,
        ),
        Case(
            "large values of one episode after another, an end in the last row",
            lambda g: dict(
                rew=1000 * torch.tensor([1.0, -2.0, 3.0, 1.0, -1.0]),
                val=1000 * torch.tensor([2.0, 3.0, -1.0, 4.0, 1.0]),
                next_val=1000 * torch.tensor([5.0, -1.0, 3.0, 1.0, -4.0]),
                terminated=torch.tensor([True, False, True, False, True]),
                ended=torch.tensor([True, False, True, False, True]),
                gamma=0.5,
                lam=0.5,
            ),
            "ends",
        ),
        Case(
            "large values, ends in the first and the last row",
            lambda g: rollout_at_the_rim(),
            "environments",
        ),
        Case(
            "rewards [4, 1] for values [4]",
            lambda g: experience(g, 4) | dict(rew=normal(g, 4, 1)),
            "shapes",
            raises=True,
        ),
    ],
    pitfalls=[
        Pitfall(
            "last row taken for an end",
            "It does not bootstrap in the last row: the batch ends there, the episode does not.",
            gae_last_row_ends,
        ),
        Pitfall(
            "time limit taken for an end",
            "It does not bootstrap where a time limit cut the episode: use `terminated` there, not `ended`.",
            gae_time_limit_is_end,
            "The state was worth something; the critic would learn that the clock kills.",
        ),
        Pitfall(
            "sum runs into the next episode",
            "It never cuts the sum: advantages of the next episode leak into this one.",
            gae_carry_not_cut,
        ),
        Pitfall(
            "sum runs through time limits",
            "A time limit does not cut the sum: the next episode leaks in. Cut at `ended`, not `terminated`.",
            gae_carry_through_time_limit,
        ),
        Pitfall(
            "bootstraps past the end",
            "The sum is cut, but the TD error of a terminal step still contains a next value.",
            gae_delta_not_masked,
        ),
        Pitfall(
            "no masks",
            "Neither flag is used: the batch is treated as one endless episode.",
            gae_no_masks,
        ),
        Pitfall(
            "flags of the next row",
            "It reads the flags one row late: terminated[t] belongs to step t.",
            gae_flags_of_next_row,
            also=(
                lambda r, v, n, done, end, g, lam: gae(
                    r, v, n, done.roll(-1, 0), end.roll(-1, 0), g, lam
                ),
                lambda r, v, n, done, end, g, lam: gae(
                    r, v, n, *(torch.cat([x[1:], x[-1:]]) for x in (done, end)), g, lam
                ),
                lambda r, v, n, done, end, g, lam: gae(
                    r,
                    v,
                    n,
                    *(torch.cat([x[1:], torch.ones_like(x[-1:])]) for x in (done, end)),
                    g,
                    lam,
                ),
            ),
        ),
        Pitfall(
            "value subtracted twice",
            "It subtracts the value from an advantage that already has it.",
            gae_value_twice,
        ),
        Pitfall(
            "value of the reset state",
            "It takes val[t + 1] for the next value: after a time limit that is the NEXT episode's first state.",
            gae_value_of_reset_state,
            "next_val holds the value of the true next observation, also where an episode ends.",
        ),
        Pitfall(
            "sum not discounted",
            "The sum is carried with lambda alone; the factor is gamma * lambda.",
            gae_carry_undiscounted,
        ),
        Pitfall(
            "lambda ignored",
            "Lambda does not enter: it is the Monte-Carlo advantage for every lambda.",
            gae_lambda_ignored,
            also=(gae_monte_carlo,),
        ),
        Pitfall(
            "one-step advantage",
            "It returns the TD errors: nothing is summed, as if lambda were 0.",
            gae_one_step,
        ),
        Pitfall(
            "returns for advantages",
            "The value is added back: these are returns, the critic's targets, not advantages.",
            gae_returns,
        ),
        Pitfall(
            "baseline missing",
            "V(s) is not subtracted in the TD error: it is no advantage.",
            gae_no_baseline,
        ),
        Pitfall(
            "forward in time",
            "The loop runs forward: each step is credited with the past; an action acts on the future.",
            gae_forward,
        ),
        Pitfall(
            "gradient into the values",
            "Gradient flows into the values: the advantage is a constant, detach them.",
            gae_with_graph,
            also=(gae_live(True), gae_live(False)),
            why="Through a live advantage the actor's loss trains the critic.",
        ),
        Pitfall(
            "normalized inside",
            "It standardizes the advantages: that is a step of its own, done after.",
            gae_then(lambda adv: standardized(adv, 0)),
            also=(
                *(gae_then(lambda adv, c=c: standardized(adv, *c)) for c in CONVENTIONS),
                *map(gae_then, map(scaled_by_column, (0, 1))),
                *(
                    gae_then(lambda adv, c=c: adv / (adv.std(correction=c[0]) + c[1]))
                    for c in CONVENTIONS
                ),
            ),
        ),
        other_gae(
            "centered inside",
            "It subtracts the mean advantage of the batch: V(s) was the baseline already.",
            gae_then(lambda adv: adv - adv.mean()),
            gae_then(lambda adv: adv - adv.mean(0)),
        ),
        other_gae(
            "next value not discounted",
            "The TD error contains V(s') without gamma.",
            gae_with(lambda r, v, n, done, end, g, lam: r + torch.where(done, 0.0, n) - v),
        ),
        other_gae(
            "lambda in the TD error",
            "The TD error contains lambda; it belongs to the sum alone.",
            gae_with(
                lambda r, v, n, done, end, g, lam: r + g * lam * torch.where(done, 0.0, n) - v
            ),
        ),
        other_gae(
            "value added",
            "The TD error adds V(s) in place of subtracting it.",
            gae_with(lambda r, v, n, done, end, g, lam: r + g * torch.where(done, 0.0, n) + v),
        ),
        other_gae(
            "values exchanged",
            "val and next_val are exchanged: the TD error is r + gamma V(s') - V(s).",
            gae_values_exchanged,
        ),
        other_gae(
            "gamma and lambda exchanged",
            "gamma and lambda are exchanged: the TD error is discounted by gamma.",
            gae_settings_exchanged,
        ),
        other_gae(
            "reward masked too",
            "At the end of an episode the reward (or the whole TD error) is lost: only V(s') falls away.",
            gae_with(lambda r, v, n, done, end, g, lam: torch.where(done, 0.0, r + g * n) - v),
            gae_with(lambda r, v, n, done, end, g, lam: torch.where(done, 0.0, r + g * n - v)),
            gae_with(lambda r, v, n, done, end, g, lam: torch.where(end, 0.0, r + g * n - v)),
        ),
        other_gae(
            "mask inverted",
            "A flag is used the wrong way around: it keeps what it should remove.",
            gae_with(lambda r, v, n, done, end, g, lam: r + g * torch.where(done, n, 0.0) - v),
            gae_with(cut=lambda done, end: ~end),
            gae_with(
                lambda r, v, n, done, end, g, lam: r + g * torch.where(done, n, 0.0) - v,
                cut=lambda done, end: ~end,
            ),
            gae_with(cut=lambda done, end: ~done),
        ),
        other_gae(
            "sum cut one row off",
            "The sum is cut at the flag of the row before or after: ended[t] belongs to step t.",
            gae_with(cut=lambda done, end: rows_later(end)),
            gae_with(cut=lambda done, end: rows_before(end)),
            gae_with(cut=lambda done, end: end.roll(-1, 0)),
            gae_with(cut=lambda done, end: end.roll(1, 0)),
            gae_with(cut=lambda done, end: torch.cat([end[1:], end[-1:]])),
        ),
        other_gae(
            "zero where an episode ends",
            "It sets the advantage of the last step of an episode to 0: that step had a TD error too.",
            gae_zero_at_ends(lambda done, end: end),
            gae_zero_at_ends(lambda done, end: torch.zeros_like(end)),
        ),
        other_gae(
            "time limit dropped",
            "At a time limit the TD error is set to 0: the state is known, so it can bootstrap.",
            gae_with(
                lambda r, v, n, done, end, g, lam: torch.where(
                    end & ~done, 0.0, r + g * torch.where(done, 0.0, n) - v
                )
            ),
        ),
        other_gae(
            "last row left out",
            "The last row of the rollout gets no advantage: the loop starts one row too early.",
            gae_last_row_left_out,
            gae_then(lambda adv: torch.cat([adv[:-1], torch.zeros_like(adv[:1])])),
        ),
        other_gae(
            "sum starts from a value",
            "The sum starts from the last value in place of 0: that value is in the TD error already.",
            gae_with(first=lambda n: n[-1]),
        ),
        Pitfall(
            "factor 1 - lambda",
            "It multiplies by 1 - lambda: that factor averages n-step advantages; "
            "in the sum of TD errors it has canceled already.",
            gae_lambda_average,
        ),
        Pitfall(
            "environments chained",
            "It flattens [T, B] and runs through the environments as if they were one after another.",
            gae_environments_chained,
        ),
        Pitfall(
            "one end cuts all",
            "An end in one environment cuts the sum in all of them.",
            gae_any_environment_ends,
        ),
        Pitfall(
            "flags swapped",
            "The flags are swapped: `terminated` belongs to the next value, `ended` to the running sum.",
            gae_flags_swapped,
        ),
        Pitfall(
            "gamma and lambda fixed",
            "It uses 0.99 and 0.95, whatever gamma and lambda it is given.",
            gae_usual_settings,
        ),
        Pitfall("sign", "The sign is reversed: good is bad.", gae_value_sign),
        other_gae(
            "last step first",
            "The advantages come out from the last step to the first: turn the list around at the end.",
            gae_then(lambda adv: adv.flip(0)),
        ),
        other_gae(
            "value not subtracted at the end",
            "At the end of an episode V(s) falls away too: only V(s') does, what was expected stays.",
            gae_with(lambda r, v, n, done, end, g, lam: r + torch.where(done, 0.0, g * n - v)),
        ),
        few_digits(lambda: GAE, gae_then(lambda adv: adv.half().to(adv.dtype))),
        part_symptom(
            lambda: GAE,
            "wrong where an episode ends",
            "While one episode goes on all is right; where one ends it is not: "
            "there the next value falls away, and the sum starts anew.",
            gae_with(lambda r, v, n, done, end, g, lam: r + g * torch.where(done, 0.5 * n, n) - v),
            lambda wrong: "ends" in wrong and "one episode" not in wrong,
        ),
        part_symptom(
            lambda: GAE,
            "wrong at a time limit",
            "With true ends all is right, with time limits it is not: the next value stays, and the sum starts anew.",
            gae_half_bootstrap,
            lambda wrong: "time limits" in wrong and not wrong & {"one episode", "ends"},
        ),
        part_symptom(
            lambda: GAE,
            "right for one environment only",
            "All is right for [T] and not for [T, B]: each environment has a sum of its own.",
            gae_first_environment_cuts,
            lambda wrong: wrong == {"environments"},
        ),
        where_symptom(
            lambda: GAE,
            "wrong at the ends of the scale",
            "It is right for usual settings, and wrong where gamma or lambda is 0 or 1: is there a special case?",
            gae_special_case,
            right=("three steps of one episode", "twenty steps"),
        ),
        where_symptom(
            lambda: GAE,
            "sum, not TD errors",
            "With lambda = 0 all is right, so the TD errors are; with a larger one their sum is not.",
            gae_root_of_lambda,
            right=("lambda 0",),
            off=("twenty steps",),
        ),
        where_symptom(
            lambda: GAE,
            "not the TD error for lambda 0",
            "With lambda = 0 nothing is summed, and each advantage is its TD error r + gamma V(s') - V(s); it is not.",
            gae_with(
                lambda r, v, n, done, end, g, lam: r.sign() + g * torch.where(done, 0.0, n) - v
            ),
            off=("lambda 0",),
        ),
    ],
    read="lesson 4, “Between one step and all of them”; Schulman et al. 2016, equation 16",
)

# --- actor_critic_step ---


def logp_of(logits, act):
    return F.log_softmax(logits, -1).gather(-1, act.unsqueeze(-1)).squeeze(-1)


def step_by(
    actor,
    critic,
    actor_opt,
    critic_opt,
    batch,
    gamma,
    target=lambda batch, next_val, gamma, val: (
        batch["rew"] + gamma * torch.where(batch["terminated"], 0.0, next_val.detach())
    ),
    adv=lambda target, val: (target - val).detach(),
    weight=lambda adv: adv,
    logp=logp_of,
    of_critic=lambda val, y, logp: ((val - y.detach()) ** 2).mean(),
    of_actor=lambda logp, adv: -(logp * adv).mean(),
    train=None,
    other_adv=None,
    log=lambda actor, critic, adv: {
        "actor_loss": actor,
        "critic_loss": critic,
        "adv": adv.mean().item(),
    },
):
    """The step with one piece replaced; the pitfalls below differ from the right one in that piece.

    other_adv : advantages of (batch, val, next_val, gamma), in place of adv(target, val)
    """
    val, next_val = critic(batch["obs"]), critic(batch["next_obs"])
    logp = logp(actor(batch["obs"]), batch["act"])
    y = target(batch, next_val, gamma, val)
    a = adv(y, val)
    if other_adv is not None:
        a = other_adv(batch, val.detach(), next_val.detach(), gamma)
    critic_part, actor_part = of_critic(val, y, logp), of_actor(logp, weight(a))
    train = train or train_apart
    train(actor_part, critic_part, actor_opt, critic_opt)
    return log(actor_part.item(), critic_part.item(), a)


def train_apart(actor_part, critic_part, actor_opt, critic_opt):
    actor_opt.zero_grad()
    critic_opt.zero_grad()
    (actor_part + critic_part).backward()
    actor_opt.step()
    critic_opt.step()


def halved(**pieces):
    """A variant of the step whose critic's loss has a factor 1/2, which is right too."""

    def step(*args):
        half = {"of_critic": lambda val, y, logp: 0.5 * ((val - y.detach()) ** 2).mean()}
        return step_by(*args, **half, **pieces)

    return step


def whole(**pieces):
    """The step with these pieces replaced."""
    return lambda *args: step_by(*args, **pieces)


def step_pitfall(name, says, *pieces, why="", also=()):
    """A mistake in pieces of the step, with and without the critic's factor 1/2 where that is another."""
    wrong = [
        make(**p)
        for p in pieces
        for make in (whole, halved)
        if make is whole or "of_critic" not in p
    ]
    return Pitfall(name, says, wrong[0], why, also=(*wrong[1:], *also))


def toward(y):
    """A target piece: y is a function of (reward, next value, terminated, gamma)."""
    return lambda batch, next_val, gamma, val: y(
        batch["rew"], next_val.detach(), batch["terminated"], gamma
    )


def squared(error_of):
    """A critic's loss piece, the mean square of something."""
    return lambda val, y, logp: (error_of(val, y.detach()) ** 2).mean()


def step_cleared_after(*args):
    def train(actor_part, critic_part, actor_opt, critic_opt):
        (actor_part + critic_part).backward()
        actor_opt.step()
        critic_opt.step()
        actor_opt.zero_grad()
        critic_opt.zero_grad()

    return step_by(*args, train=train)


def step_clips_gradients(limit):
    def step(actor, critic, *rest):
        def train(actor_part, critic_part, actor_opt, critic_opt):
            actor_opt.zero_grad()
            critic_opt.zero_grad()
            (actor_part + critic_part).backward()
            for network in (actor, critic):
                nn.utils.clip_grad_norm_(network.parameters(), limit)
            actor_opt.step()
            critic_opt.step()

        return step_by(actor, critic, *rest, train=train)

    return step


def step_twice(*args):
    step_by(*args)
    return step_by(*args)


def step_each_row(actor, critic, actor_opt, critic_opt, batch, gamma):
    for i in range(len(batch["rew"])):
        row = {key: x[i : i + 1] for key, x in batch.items()}
        log = step_by(actor, critic, actor_opt, critic_opt, row, gamma)
    return log


def step_actor_at_next_state(actor, *rest):
    def later(obs):
        return actor(rest[3]["next_obs"])

    return step_by(later, *rest)


def step_actor_learns_values(critic_too):
    """The logits are fitted to the target, as if they were action values."""

    def step(actor, critic, actor_opt, critic_opt, batch, gamma):
        y = td_target(batch["rew"], critic(batch["next_obs"]), batch["terminated"], gamma).detach()
        goal = y if critic_too else y - critic(batch["obs"]).detach()
        q = actor(batch["obs"]).gather(-1, batch["act"].unsqueeze(-1)).squeeze(-1)
        return step_by(
            actor, critic, actor_opt, critic_opt, batch, gamma,
            of_actor=lambda logp, adv: ((q - goal) ** 2).mean(),
        )  # fmt: skip

    return step


def step_searches(actor, *rest):
    with torch.no_grad():
        for p in actor.parameters():
            p.add_(0.01 * torch.randn_like(p))
    return step_by(actor, *rest)


def step_half(*args):
    return halved()(*args)


def step_critic_not_zeroed(*args):
    def train(actor_part, critic_part, actor_opt, critic_opt):
        actor_opt.zero_grad()
        (actor_part + critic_part).backward()
        actor_opt.step()
        critic_opt.step()

    return step_by(*args, train=train)


def step_actor_not_zeroed(*args):
    def train(actor_part, critic_part, actor_opt, critic_opt):
        critic_opt.zero_grad()
        (actor_part + critic_part).backward()
        actor_opt.step()
        critic_opt.step()

    return step_by(*args, train=train)


def step_never_zeroed(*args):
    def train(actor_part, critic_part, actor_opt, critic_opt):
        (actor_part + critic_part).backward()
        actor_opt.step()
        critic_opt.step()

    return step_by(*args, train=train)


def step_zeroed_too_late(*args):
    def train(actor_part, critic_part, actor_opt, critic_opt):
        (actor_part + critic_part).backward()
        actor_opt.zero_grad()
        critic_opt.zero_grad()
        actor_opt.step()
        critic_opt.step()

    return step_by(*args, train=train)


def step_one_optimizer(*args):
    def train(actor_part, critic_part, actor_opt, critic_opt):
        actor_opt.zero_grad()
        (actor_part + critic_part).backward()
        actor_opt.step()

    return step_by(*args, train=train)


def step_critic_only(*args):
    def train(actor_part, critic_part, actor_opt, critic_opt):
        critic_opt.zero_grad()
        (actor_part + critic_part).backward()
        critic_opt.step()

    return step_by(*args, train=train)


def step_optimizers_swapped(*args):
    def train(actor_part, critic_part, actor_opt, critic_opt):
        actor_opt.zero_grad()
        critic_part.backward(retain_graph=True)
        actor_opt.step()
        critic_opt.zero_grad()
        actor_part.backward()
        critic_opt.step()

    return step_by(*args, train=train)


def step_live_advantage(*args):
    return step_by(*args, adv=lambda y, val: y - val)


def step_live_target(*args):
    return step_by(
        *args,
        target=lambda batch, next_val, gamma, val: (
            batch["rew"] + gamma * torch.where(batch["terminated"], 0.0, next_val)
        ),
        of_critic=lambda val, y, logp: ((val - y) ** 2).mean(),
    )


def step_half_live_target(*args):
    return step_by(
        *args,
        target=lambda batch, next_val, gamma, val: (
            batch["rew"] + gamma * torch.where(batch["terminated"], 0.0, next_val)
        ),
        of_critic=lambda val, y, logp: 0.5 * ((val - y) ** 2).mean(),
    )


def step_actor_descends(*args):
    return step_by(*args, of_actor=lambda logp, adv: (logp * adv).mean())


def step_advantage_reversed(*args):
    return step_by(*args, adv=lambda y, val: (val - y).detach())


def step_greedy_logp(*args):
    return step_by(*args, logp=lambda logits, act: logp_of(logits, logits.argmax(-1)))


def step_raw_logits(*args):
    return step_by(*args, logp=lambda logits, act: logits.gather(-1, act.unsqueeze(-1)).squeeze(-1))


def step_probability(*args):
    return step_by(*args, logp=lambda logits, act: logp_of(logits, act).exp())


def step_time_limit_is_end(*args):
    return step_by(
        *args,
        target=lambda batch, next_val, gamma, val: (
            batch["rew"] + gamma * torch.where(batch["ended"], 0.0, next_val.detach())
        ),
    )


def step_past_the_end(*args):
    return step_by(
        *args,
        target=lambda batch, next_val, gamma, val: batch["rew"] + gamma * next_val.detach(),
    )


def step_same_state(*args):
    return step_by(
        *args,
        target=lambda batch, next_val, gamma, val: (
            batch["rew"] + gamma * torch.where(batch["terminated"], 0.0, val.detach())
        ),
    )


def step_next_row(*args):
    return step_by(
        *args,
        target=lambda batch, next_val, gamma, val: (
            batch["rew"]
            + gamma * torch.where(batch["terminated"], 0.0, val.detach().roll(-1, dims=0))
        ),
    )


def step_critic_by_policy_gradient(*args):
    return step_by(*args, of_critic=lambda val, y, logp: -(logp.detach() * (y - val)).mean())


def step_critic_weighs_value(*args):
    return step_by(*args, of_critic=lambda val, y, logp: -(val * (y - val).detach()).mean())


def step_value_as_advantage(*args):
    return step_by(*args, adv=lambda y, val: val.detach())


def step_target_as_advantage(*args):
    return step_by(*args, adv=lambda y, val: y)


def step_squared_advantage(*args):
    return step_by(*args, weight=lambda adv: adv**2)


def step_critic_moves_first(actor, critic, actor_opt, critic_opt, batch, gamma):
    next_val = critic(batch["next_obs"]).detach()
    y = batch["rew"] + gamma * torch.where(batch["terminated"], 0.0, next_val)
    critic_part = ((critic(batch["obs"]) - y) ** 2).mean()
    critic_opt.zero_grad()
    critic_part.backward()
    critic_opt.step()
    adv = (y - critic(batch["obs"])).detach()
    actor_part = -(logp_of(actor(batch["obs"]), batch["act"]) * adv).mean()
    actor_opt.zero_grad()
    actor_part.backward()
    actor_opt.step()
    return {
        "actor_loss": actor_part.item(),
        "critic_loss": critic_part.item(),
        "adv": adv.mean().item(),
    }


def step_all_after_the_critic(actor, critic, actor_opt, critic_opt, batch, gamma):
    with torch.no_grad():
        y = td_target(batch["rew"], critic(batch["next_obs"]), batch["terminated"], gamma)
    critic_part = ((critic(batch["obs"]) - y) ** 2).mean()
    critic_opt.zero_grad()
    critic_part.backward()
    critic_opt.step()
    with torch.no_grad():
        y = td_target(batch["rew"], critic(batch["next_obs"]), batch["terminated"], gamma)
        adv = y - critic(batch["obs"])
    actor_part = actor_loss(logp_of(actor(batch["obs"]), batch["act"]), adv)
    actor_opt.zero_grad()
    actor_part.backward()
    actor_opt.step()
    return {
        "actor_loss": actor_part.item(),
        "critic_loss": critic_part.item(),
        "adv": adv.mean().item(),
    }


def step_slow_actor(*args):
    def train(actor_part, critic_part, actor_opt, critic_opt):
        train_apart(0.9 * actor_part, 0.9 * critic_part, actor_opt, critic_opt)

    return step_by(*args, train=train)


def step_halves_old_gradients(*args):
    def train(actor_part, critic_part, actor_opt, critic_opt):
        for opt in (actor_opt, critic_opt):
            for p in opt.param_groups[0]["params"]:
                p.grad = None if p.grad is None else 0.5 * p.grad
        (actor_part + critic_part).backward()
        actor_opt.step()
        critic_opt.step()

    return step_by(*args, train=train)


def layers(g, *sizes, dtype=torch.float32):
    """Weights and biases of a small network."""
    return [
        (normal(g, n_out, n_in, dtype=dtype), normal(g, n_out, dtype=dtype, scale=0.3))
        for n_in, n_out in zip(sizes, sizes[1:], strict=False)
    ]


def step_batch(g, B, D, A, dtype=torch.float32, terminated=0.3, truncated=0.3):
    end = torch.rand(B, generator=g) < terminated
    return dict(
        obs=normal(g, B, D, dtype=dtype),
        act=integers(g, A, B),
        rew=normal(g, B, dtype=dtype) + 1,
        next_obs=normal(g, B, D, dtype=dtype),
        terminated=end,
        ended=end | (torch.rand(B, generator=g) < truncated),
    )


def training(
    g, keep, B=6, D=3, A=4, hidden=(), steps=1, dtype=torch.float32, left_over=False, **ends
):
    """Networks and batches for the driver `train_actor_critic`."""
    return dict(
        actor=layers(g, D, *hidden, A, dtype=dtype),
        critic=layers(g, D, *hidden, 1, dtype=dtype),
        actor_lr=0.2,
        critic_lr=0.05,
        batches=[step_batch(g, B, D, A, dtype, **ends) for _ in range(steps)],
        gamma=0.9,
        left_over=left_over,
        keep=keep,
    )


def hand_training(keep, terminated):
    """One observation number, two actions, two steps."""

    def make(g):
        return dict(
            actor=[(torch.tensor([[0.0], [1.0]]), torch.tensor([0.0, 0.0]))],
            critic=[(torch.tensor([[1.0]]), torch.tensor([0.0]))],
            actor_lr=0.2,
            critic_lr=0.05,
            batches=[
                dict(
                    obs=torch.tensor([[1.0], [2.0]]),
                    act=torch.tensor([0, 1]),
                    rew=torch.tensor([3.0, 1.0]),
                    next_obs=torch.tensor([[2.0], [4.0]]),
                    terminated=torch.tensor(terminated),
                    ended=torch.tensor([terminated[0], True]),
                )
            ],
            gamma=0.5,
            left_over=False,
            keep=keep,
        )

    return make


BOTH = "Actor = policy, trained with the policy gradient; critic = value, trained with TD."

ACTOR_CRITIC_STEP = Exercise(
    reference=actor_critic_step,
    accept=(step_half,),
    driver="train_actor_critic",
    parts={
        "the critic moves": 2,
        "the critic bootstraps": 1,
        "the actor moves": 2,
        "many steps": 1,
        "numbers returned": 1,
        "clean": 1,
    },
    cases=[
        Case(
            "the critic after one step, every step terminal",
            hand_training("critic", [True, True]),
            "the critic moves",
        ),
        Case(
            "the critic after one step of twenty terminal transitions",
            lambda g: training(g, "critic", B=20, hidden=(5,), terminated=1.0),
            "the critic moves",
        ),
        Case(
            "the critic after one step",
            hand_training("critic", [False, False]),
            "the critic bootstraps",
        ),
        Case(
            "the critic after one step of twenty transitions",
            lambda g: training(g, "critic", B=20, hidden=(5,), dtype=F64),
            "the critic bootstraps",
        ),
        Case(
            "the actor after one step",
            hand_training("actor", [False, False]),
            "the actor moves",
        ),
        Case(
            "the actor after one step of twenty transitions",
            lambda g: training(g, "actor", B=20, hidden=(5,)),
            "the actor moves",
        ),
        Case(
            "the actor after three steps",
            lambda g: training(g, "actor", steps=3, hidden=(4,)),
            "many steps",
        ),
        Case(
            "the critic after three steps",
            lambda g: training(g, "critic", steps=3, hidden=(4,)),
            "many steps",
        ),
        Case(
            "an actor with a gradient left over",
            lambda g: training(g, "actor", left_over=True),
            "many steps",
        ),
        Case(
            "a critic with a gradient left over",
            lambda g: training(g, "critic", left_over=True),
            "many steps",
        ),
        Case("the numbers", hand_training("log", [False, True]), "numbers returned"),
        Case(
            "the numbers of three steps",
            lambda g: training(g, "log", steps=3, hidden=(4,)),
            "numbers returned",
        ),
    ],
    pitfalls=[
        Pitfall(
            "advantage not detached",
            "The advantage is live: the actor's loss also pushes the critic.",
            step_live_advantage,
            BOTH,
            also=(halved(adv=lambda y, val: y - val),),
        ),
        Pitfall(
            "gradient through the target",
            "The bootstrapped target carries gradient: V(s') is pulled toward V(s) as well.",
            step_live_target,
            "Semi-gradient TD holds the target constant, although it was made from V.",
            also=(step_half_live_target,),
        ),
        Pitfall(
            "critic trained by policy gradient",
            "The critic minimizes -log pi times the advantage: it learns no values.",
            step_critic_by_policy_gradient,
            BOTH,
        ),
        Pitfall(
            "actor's loss on the critic",
            "The critic's loss is the value times the TD error (or the target), not the squared error.",
            step_critic_weighs_value,
            BOTH,
            also=(
                whole(of_critic=lambda val, y, logp: -(val * (y.detach() - val)).mean()),
                whole(of_critic=lambda val, y, logp: -(val * y.detach()).mean()),
            ),
        ),
        Pitfall(
            "only the actor steps",
            "Only the actor's optimizer steps: the critic never moves.",
            step_one_optimizer,
            "One optimizer cannot serve both: it moves its own network only. Each must step.",
        ),
        Pitfall(
            "only the critic steps",
            "Only the critic's optimizer steps: the policy never changes.",
            step_critic_only,
            "One optimizer cannot serve both: it moves its own network only. Each must step.",
        ),
        Pitfall(
            "critic's gradients not cleared",
            "The critic's gradients are never cleared: each step adds those of all batches before.",
            step_critic_not_zeroed,
        ),
        Pitfall(
            "actor's gradients not cleared",
            "The actor's gradients are never cleared: each step adds those of all batches before.",
            step_actor_not_zeroed,
        ),
        Pitfall(
            "gradients never cleared",
            "No gradient is ever cleared: each step adds those of all batches before.",
            step_never_zeroed,
        ),
        Pitfall(
            "nothing moves",
            "Neither network moves: gradients are cleared between backward() and step(), "
            "or each optimizer steps after the other's loss.",
            step_zeroed_too_late,
            "An optimizer moves its own parameters, by the gradients that they hold at that moment.",
            also=(step_optimizers_swapped,),
        ),
        Pitfall(
            "actor descends",
            "The actor's minus is missing: actions better than expected become rarer.",
            step_actor_descends,
            also=(halved(of_actor=lambda logp, adv: (logp * adv).mean()),),
        ),
        Pitfall(
            "advantage reversed",
            "The advantage is V - y: it is what was expected over what came. It should be y - V.",
            step_advantage_reversed,
            also=(halved(adv=lambda y, val: (val - y).detach()),),
        ),
        Pitfall(
            "log-probability of the greedy action",
            "It takes log pi of the most probable action, not of the one that was taken.",
            step_greedy_logp,
        ),
        Pitfall(
            "raw logits",
            "It takes the logit of the action for its log-probability: log_softmax is missing.",
            step_raw_logits,
        ),
        Pitfall(
            "probability for log-probability",
            "It weighs the probability pi, not log pi: rare actions barely learn.",
            step_probability,
        ),
        Pitfall(
            "time limit taken for an end",
            "It masks with `ended`: after a time limit the target must still bootstrap.",
            step_time_limit_is_end,
        ),
        Pitfall(
            "bootstraps past the end",
            "`terminated` is not used: the target contains values of states after the end.",
            step_past_the_end,
        ),
        Pitfall(
            "value of the same state",
            "The target bootstraps from V(s), not from V(s').",
            step_same_state,
        ),
        Pitfall(
            "value of the next row",
            "It takes the next row's V for V(s'): rows of a batch need not follow each other.",
            step_next_row,
        ),
        Pitfall(
            "value as advantage",
            "The actor is weighted with V(s): how good the state is, not how good the action was.",
            step_value_as_advantage,
            also=(halved(adv=lambda y, val: val.detach()),),
        ),
        Pitfall(
            "target as advantage",
            "The actor is weighted with the target y: the baseline V(s) is not subtracted.",
            step_target_as_advantage,
            also=(halved(adv=lambda y, val: y),),
        ),
        Pitfall(
            "squared TD error",
            "The actor is weighted with the squared TD error: that is the critic's loss, without a sign.",
            step_squared_advantage,
            BOTH,
            also=(halved(weight=torch.square), whole(adv=lambda y, val: ((y - val) ** 2).detach())),
        ),
        Pitfall(
            "advantage after the critic's step",
            "The critic moves first, and the advantage is taken from the moved critic: "
            "compute V, y and A before either network moves.",
            step_critic_moves_first,
            "The moved critic has already explained part of what happened: the advantage shrinks.",
            also=(step_all_after_the_critic,),
        ),
        step_pitfall(
            "TD error as the critic's target",
            "The critic is fitted to the TD error y - V(s); its target is y. The TD error is the actor's weight.",
            dict(of_critic=lambda val, y, logp: ((val - (y - val).detach()) ** 2).mean()),
            dict(of_critic=lambda val, y, logp: 0.5 * ((val - (y - val).detach()) ** 2).mean()),
            dict(of_critic=lambda val, y, logp: ((val - (y - val)) ** 2).mean()),
            why=BOTH,
        ),
        Pitfall(
            "actor trained by TD",
            "The actor's outputs are fitted to a value by least squares: they are preferences for "
            "actions, and the policy gradient trains them.",
            step_actor_learns_values(True),
            BOTH,
            also=(step_actor_learns_values(False),),
        ),
        step_pitfall(
            "critic's error not squared",
            "The critic's loss is not the mean squared error: it is absolute, Huber, or not squared at all.",
            dict(of_critic=lambda val, y, logp: (val - y.detach()).abs().mean()),
            *(
                dict(of_critic=lambda val, y, logp, d=d: F.huber_loss(val, y.detach(), delta=d))
                for d in (1, 0.5, 2)
            ),
            dict(of_critic=lambda val, y, logp: (val - y.detach()).mean()),
            dict(of_critic=lambda val, y, logp: (y.detach() - val).mean()),
            dict(of_critic=lambda val, y, logp: ((val - y.detach()) ** 2).mean().sqrt()),
        ),
        step_pitfall(
            "critic ascends",
            "The critic's loss has the wrong sign: V moves away from the target.",
            dict(of_critic=lambda val, y, logp: -((val - y.detach()) ** 2).mean()),
            dict(of_critic=lambda val, y, logp: -0.5 * ((val - y.detach()) ** 2).mean()),
            dict(of_critic=lambda val, y, logp: (val * (y - val).detach()).mean()),
        ),
        step_pitfall(
            "sum for mean",
            "A loss is summed over the batch: the step grows with the batch's size.",
            dict(of_actor=lambda logp, adv: -(logp * adv).sum()),
            dict(of_critic=lambda val, y, logp: ((val - y.detach()) ** 2).sum()),
            dict(of_critic=lambda val, y, logp: 0.5 * ((val - y.detach()) ** 2).sum()),
            dict(
                of_actor=lambda logp, adv: -(logp * adv).sum(),
                of_critic=lambda val, y, logp: ((val - y.detach()) ** 2).sum(),
            ),
            dict(
                of_actor=lambda logp, adv: -(logp * adv).sum(),
                of_critic=lambda val, y, logp: 0.5 * ((val - y.detach()) ** 2).sum(),
            ),
        ),
        step_pitfall(
            "reward as advantage",
            "The actor is weighted with the reward of one step: what follows does not enter.",
            dict(other_adv=lambda batch, val, next_val, gamma: batch["rew"]),
            dict(other_adv=lambda batch, val, next_val, gamma: batch["rew"] - val),
        ),
        step_pitfall(
            "advantage of another target",
            "The actor's TD error is not made from the critic's target: gamma or `terminated` is missing in it.",
            dict(
                other_adv=lambda b, v, n, gamma: b["rew"] + torch.where(b["terminated"], 0.0, n) - v
            ),
            dict(other_adv=lambda b, v, n, gamma: b["rew"] + gamma * n - v),
            dict(other_adv=lambda b, v, n, gamma: b["rew"] + n - v),
        ),
        step_pitfall(
            "sign of the advantage lost",
            "The actor's weight is never negative: an action worse than expected is not made rarer.",
            dict(weight=torch.abs),
            dict(weight=lambda adv: adv.clamp(min=0)),
            dict(adv=lambda y, val: (y - val).detach().abs()),
            dict(adv=lambda y, val: (y - val).detach().clamp(min=0)),
        ),
        step_pitfall(
            "advantage changed",
            "The TD error is centered, scaled or clipped before it reaches the actor: the step has another size.",
            *(dict(weight=lambda adv, c=c: standardized(adv, *c)) for c in CONVENTIONS),
            *(
                dict(adv=lambda y, val, c=c: standardized(y - val, *c).detach())
                for c in CONVENTIONS
            ),
            dict(weight=lambda adv: adv - adv.mean()),
            dict(adv=lambda y, val: (y - val - (y - val).mean()).detach()),
            dict(weight=lambda adv: adv.clamp(-1, 1)),
            dict(adv=lambda y, val: (y - val).detach().clamp(-1, 1)),
            dict(weight=torch.sign),
        ),
        step_pitfall(
            "not the action that was taken",
            "The log-probability is not that of the action taken: it is a mean, or another action's.",
            dict(logp=lambda logits, act: torch.log_softmax(logits, -1).mean(-1)),
            dict(logp=lambda logits, act: torch.log_softmax(logits, -1).sum(-1)),
            dict(logp=lambda logits, act: torch.log_softmax(logits, -1)[:, 0]),
            dict(logp=lambda logits, act: logp_of(logits, (act + 1) % logits.shape[-1])),
            dict(logp=lambda logits, act: logp_of(logits, act[:1].expand_as(act))),
        ),
        step_pitfall(
            "softmax over the batch",
            "The probabilities sum to 1 over the batch; they should over the actions of each state.",
            dict(
                logp=lambda logits, act: (
                    torch.log_softmax(logits, 0).gather(-1, act.unsqueeze(-1)).squeeze(-1)
                )
            ),
        ),
        step_pitfall(
            "silent broadcast",
            "[B, 1] against [B] becomes a [B, B] table: every action is credited with every advantage.",
            dict(of_actor=lambda logp, adv: -(logp.unsqueeze(1) * adv).mean()),
            dict(of_critic=lambda val, y, logp: ((val.unsqueeze(1) - y.detach()) ** 2).mean()),
            dict(
                of_critic=lambda val, y, logp: 0.5 * ((val.unsqueeze(1) - y.detach()) ** 2).mean()
            ),
        ),
        step_pitfall(
            "reward masked too",
            "The last reward of an episode is lost: only the next value falls away at the end.",
            dict(target=toward(lambda r, n, done, g: torch.where(done, 0.0, r + g * n))),
        ),
        step_pitfall(
            "not discounted",
            "The next value is not multiplied by gamma.",
            dict(target=toward(lambda r, n, done, g: r + torch.where(done, 0.0, n))),
        ),
        step_pitfall(
            "no bootstrap",
            "The target is the reward alone: the value of the next state does not enter.",
            dict(target=toward(lambda r, n, done, g: r)),
        ),
        step_pitfall(
            "mask inverted",
            "It bootstraps only where the episode ended, and not where it goes on.",
            dict(target=toward(lambda r, n, done, g: r + g * torch.where(done, n, 0.0))),
        ),
        step_pitfall(
            "return for target",
            "It sums the rewards of later rows: rows of a batch need not follow each other, and TD looks one step ahead.",
            dict(target=toward(lambda r, n, done, g: target_sums_through_ends(r, n, done, g))),
            dict(target=toward(lambda r, n, done, g: target_sums_and_stops(r, n, done, g))),
        ),
        step_pitfall(
            "entropy bonus added",
            "It adds a bonus for entropy to the actor's loss: useful, but not part of this step.",
            *(
                dict(of_actor=lambda logp, adv, c=c: -(logp * adv).mean() + c * logp.mean())
                for c in (0.01, 0.001, 0.1, -0.01)
            ),
        ),
        Pitfall(
            "gradients cleared too late",
            "Gradients are cleared after the step only: what others left in them before is applied too.",
            step_cleared_after,
            "Clear them before backward(): then a step cannot depend on what happened earlier.",
        ),
        Pitfall(
            "gradients clipped",
            "It clips the gradients: the step has another size than the stated one.",
            step_clips_gradients(0.5),
            also=(step_clips_gradients(1.0),),
        ),
        Pitfall("two steps", "Each network makes two steps on the batch.", step_twice),
        Pitfall(
            "a step for every row",
            "It makes a step for every row of the batch; one step on the mean was asked for.",
            step_each_row,
        ),
        Pitfall(
            "actor at the next state",
            "The actor is asked about next_obs; the action was taken in obs.",
            step_actor_at_next_state,
        ),
        step_pitfall(
            "numbers mixed up",
            "The networks learn rightly, but the numbers returned are exchanged, negated, or of another kind.",
            dict(
                log=lambda a, c, adv: {"actor_loss": c, "critic_loss": a, "adv": adv.mean().item()}
            ),
            dict(
                log=lambda a, c, adv: {"actor_loss": -a, "critic_loss": c, "adv": adv.mean().item()}
            ),
            dict(
                log=lambda a, c, adv: {
                    "actor_loss": a,
                    "critic_loss": c,
                    "adv": adv.abs().mean().item(),
                }
            ),
            dict(
                log=lambda a, c, adv: {"actor_loss": a, "critic_loss": c, "adv": adv.sum().item()}
            ),
            dict(log=lambda a, c, adv: {"actor_loss": a, "critic_loss": c, "adv": adv[0].item()}),
            dict(log=lambda a, c, adv: {"actor_loss": a, "critic_loss": c, "adv": adv}),
            dict(
                log=lambda a, c, adv: {
                    "actor_loss": a + c,
                    "critic_loss": c,
                    "adv": adv.mean().item(),
                }
            ),
        ),
        Pitfall(
            "random numbers",
            "It draws random numbers: actions sampled anew, or weights shaken. Nothing in this step is random.",
            step_searches,
            "The batch holds the actions that were taken, and the gradient says where to go.",
            telltale=uses_random_numbers,
        ),
        part_symptom(
            lambda: ACTOR_CRITIC_STEP,
            "both steps off",
            "One step moves actor and critic elsewhere: look at what both share, the values, the target, "
            "the gradients and their optimizers.",
            step_slow_actor,
            lambda wrong: {"the critic moves", "the actor moves"} <= wrong,
        ),
        part_symptom(
            lambda: ACTOR_CRITIC_STEP,
            "the critic's step alone",
            "The actor's step is right and the critic's is not: look at its loss, its gradients and its optimizer.",
            whole(of_critic=lambda val, y, logp: ((val - y.detach()).abs() ** 1.5).mean()),
            lambda wrong: "the critic moves" in wrong,
        ),
        part_symptom(
            lambda: ACTOR_CRITIC_STEP,
            "target off where it goes on",
            "With terminal steps the critic is right, with others not: the target is r + gamma V(s') there.",
            whole(target=toward(lambda r, n, done, g: r + g * torch.where(done, 0.0, n.tanh()))),
            lambda wrong: "the critic bootstraps" in wrong,
        ),
        part_symptom(
            lambda: ACTOR_CRITIC_STEP,
            "the actor's step alone",
            "The critic's step is right and the actor's is not: look at log pi, the advantage, its loss and its optimizer.",
            whole(weight=torch.tanh),
            lambda wrong: "the actor moves" in wrong,
        ),
        part_symptom(
            lambda: ACTOR_CRITIC_STEP,
            "right for one step only",
            "The first step from fresh networks is right; a later one is not: look at which gradients are cleared, "
            "and when, and at what is kept between calls.",
            step_halves_old_gradients,
            lambda wrong: "many steps" in wrong,
        ),
        part_symptom(
            lambda: ACTOR_CRITIC_STEP,
            "numbers returned are others",
            "The networks learn rightly; a number returned is another than the loss or the mean advantage of this batch.",
            whole(
                log=lambda a, c, adv: {
                    "actor_loss": a,
                    "critic_loss": c,
                    "adv": adv.median().item(),
                }
            ),
            lambda wrong: wrong == {"numbers returned"},
        ),
    ],
    read="lesson 4, “Two networks, trained together”; Sutton & Barto, section 13.5",
)

# --- a3c_push_gradients ---


def pairs(local, shared):
    return zip(local.parameters(), shared.parameters(), strict=True)


def copied(p):
    return None if p.grad is None else p.grad.clone()


def push_once(local, shared, optimizer):
    for mine, theirs in pairs(local, shared):
        if theirs.grad is None:
            theirs.grad = copied(mine)
    optimizer.step()
    local.zero_grad()


def push_once_and_returns(local, shared, optimizer):
    if any(theirs.grad is not None for theirs in shared.parameters()):
        return
    for mine, theirs in pairs(local, shared):
        theirs.grad = copied(mine)
    optimizer.step()


def push_adds_up(local, shared, optimizer):
    for mine, theirs in pairs(local, shared):
        if theirs.grad is None:
            theirs.grad = copied(mine)
        elif mine.grad is not None:
            theirs.grad += mine.grad
    optimizer.step()
    local.zero_grad()


def push_local_not_cleared(local, shared, optimizer):
    optimizer.zero_grad()
    for mine, theirs in pairs(local, shared):
        theirs.grad = copied(mine)
    optimizer.step()


def push_stale_kept(local, shared, optimizer):
    for mine, theirs in pairs(local, shared):
        if mine.grad is not None:
            theirs.grad = mine.grad.clone()
    optimizer.step()
    local.zero_grad()


def push_never_steps(local, shared, optimizer):
    for mine, theirs in pairs(local, shared):
        theirs.grad = copied(mine)
    local.zero_grad()


def push_without_optimizer(local, shared, optimizer):
    lr = optimizer.param_groups[0]["lr"]
    for mine, theirs in pairs(local, shared):
        if mine.grad is not None:
            theirs.data -= lr * mine.grad
    local.zero_grad()


def push_nothing(local, shared, optimizer):
    pass


def push_cleared_first(local, shared, optimizer):
    local.zero_grad()
    for mine, theirs in pairs(local, shared):
        theirs.grad = copied(mine)
    optimizer.step()


def push_shared_cleared_before_step(local, shared, optimizer):
    for mine, theirs in pairs(local, shared):
        theirs.grad = copied(mine)
    local.zero_grad()
    optimizer.zero_grad(set_to_none=False)
    optimizer.step()


def push_steps_in_the_loop(local, shared, optimizer):
    for mine, theirs in pairs(local, shared):
        theirs.grad = copied(mine)
        optimizer.step()
    local.zero_grad()


def push_weights(local, shared, optimizer):
    for mine, theirs in pairs(local, shared):
        theirs.grad = copied(mine)
        theirs.data.copy_(mine.data)
    optimizer.step()
    local.zero_grad()


def push_weights_at_the_end(local, shared, optimizer):
    a3c_push_gradients(local, shared, optimizer)
    shared.load_state_dict(local.state_dict())


def push_and_pull(local, shared, optimizer):
    for mine, theirs in pairs(local, shared):
        theirs.grad = copied(mine)
    optimizer.step()
    local.zero_grad()
    local.load_state_dict(shared.state_dict())


def push_pulls_first(local, shared, optimizer):
    local.load_state_dict(shared.state_dict())
    for mine, theirs in pairs(local, shared):
        theirs.grad = copied(mine)
    optimizer.step()
    local.zero_grad()


def push_sign(local, shared, optimizer):
    for mine, theirs in pairs(local, shared):
        theirs.grad = None if mine.grad is None else -mine.grad
    optimizer.step()
    local.zero_grad()


def push_average(local, shared, optimizer):
    for mine, theirs in pairs(local, shared):
        if theirs.grad is None or mine.grad is None:
            theirs.grad = copied(mine)
        else:
            theirs.grad = (theirs.grad + mine.grad) / 2
    optimizer.step()
    local.zero_grad()


def push_for_none(fill):
    """What is pushed where the worker has no gradient: fill(the shared parameter)."""

    def push(local, shared, optimizer):
        for mine, theirs in pairs(local, shared):
            theirs.grad = fill(theirs) if mine.grad is None else mine.grad.clone()
        optimizer.step()
        local.zero_grad()

    return push


def push_half_of_the_last(local, shared, optimizer):
    for mine, theirs in pairs(local, shared):
        old = 0 if theirs.grad is None else 0.5 * theirs.grad
        theirs.grad = None if mine.grad is None else mine.grad + old
    optimizer.step()
    local.zero_grad()


def push_weight_decay(local, shared, optimizer):
    for mine, theirs in pairs(local, shared):
        theirs.grad = None if mine.grad is None else mine.grad + 0.01 * theirs.data
    optimizer.step()
    local.zero_grad()


def push_first_layer_only(local, shared, optimizer):
    for i, (mine, theirs) in enumerate(pairs(local, shared)):
        theirs.grad = copied(mine) if i < 2 else None
    optimizer.step()
    local.zero_grad()


def push_worker_shrinks(local, shared, optimizer):
    a3c_push_gradients(local, shared, optimizer)
    with torch.no_grad():
        for mine in local.parameters():
            mine *= 0.9


def push_alias(local, shared, optimizer):
    for mine, theirs in pairs(local, shared):
        theirs.grad = mine.grad
    optimizer.step()
    local.zero_grad()


def push_changed(change):
    """The gradient is changed on its way, by a function of it."""

    def push(local, shared, optimizer):
        for mine, theirs in pairs(local, shared):
            theirs.grad = None if mine.grad is None else change(mine.grad)
        optimizer.step()
        local.zero_grad()

    return push


def push_clipped(local, shared, optimizer):
    nn.utils.clip_grad_norm_(local.parameters(), 0.5)
    a3c_push_gradients(local, shared, optimizer)


def push_weights_alone(mix):
    """No gradient is pushed: the shared weights become a mix of theirs and the worker's."""

    def push(local, shared, optimizer):
        for mine, theirs in pairs(local, shared):
            theirs.data.copy_(mix * mine.data + (1 - mix) * theirs.data)
        local.zero_grad()

    return push


def push_local_step_copied(lr):
    def push(local, shared, optimizer):
        for mine, theirs in pairs(local, shared):
            if mine.grad is not None:
                mine.data -= (lr or optimizer.param_groups[0]["lr"]) * mine.grad
            theirs.data.copy_(mine.data)
        local.zero_grad()

    return push


def push_fixed_rate(lr):
    def push(local, shared, optimizer):
        for mine, theirs in pairs(local, shared):
            if mine.grad is not None:
                theirs.data -= lr * mine.grad
        local.zero_grad()

    return push


def push_twice(local, shared, optimizer):
    for mine, theirs in pairs(local, shared):
        theirs.grad = copied(mine)
    optimizer.step()
    optimizer.step()
    local.zero_grad()


def push_matrices_only(local, shared, optimizer):
    for mine, theirs in pairs(local, shared):
        theirs.grad = copied(mine) if mine.dim() > 1 else None
    optimizer.step()
    local.zero_grad()


def push_last_parameter(local, shared, optimizer):
    optimizer.zero_grad()
    mine, theirs = [*pairs(local, shared)][-1]
    theirs.grad = copied(mine)
    optimizer.step()
    local.zero_grad()


def push_differences(local, shared, optimizer):
    for mine, theirs in pairs(local, shared):
        theirs.grad = None if mine.grad is None else theirs.data - mine.data
    optimizer.step()
    local.zero_grad()


def push_first_parameter(local, shared, optimizer):
    optimizer.zero_grad()
    mine, theirs = next(pairs(local, shared))
    theirs.grad = copied(mine)
    optimizer.step()
    local.zero_grad()


def push_local_steps(local, shared, optimizer):
    lr = optimizer.param_groups[0]["lr"]
    for mine, theirs in pairs(local, shared):
        theirs.grad = copied(mine)
        if mine.grad is not None:
            mine.data -= lr * mine.grad
    optimizer.step()
    local.zero_grad()


def asynchronous(g, keep, pushes=2, workers=1, left_over=False, unreached=(), dtype=torch.float32):
    """Networks and gradients for the driver `push_gradients`; `unreached`: (push, parameter) pairs."""
    sizes = (3, 4, 2)

    def gradients(push):
        made = [x for layer in layers(g, *sizes, dtype=dtype) for x in layer]
        return [None if (push, i) in unreached else x for i, x in enumerate(made)]

    return dict(
        shared=layers(g, *sizes, dtype=dtype),
        workers=[layers(g, *sizes, dtype=dtype) for _ in range(workers)],
        pushes=[(i % workers, gradients(i)) for i in range(pushes)],
        lr=0.1,
        left_over=left_over,
        keep=keep,
    )


def hand_push(g):
    return dict(
        shared=[(torch.tensor([[1.0, 2.0]]), torch.tensor([0.0]))],
        workers=[[(torch.tensor([[0.5, 1.5]]), torch.tensor([1.0]))]],
        pushes=[(0, [torch.tensor([[10.0, -10.0]]), torch.tensor([5.0])])],
        lr=0.1,
        left_over=False,
        keep="shared",
    )


def some_right_after_one_push(seen, expected):
    at = [case.name for case in A3C_PUSH_GRADIENTS.cases].index("one push, two layers")
    right = [close(a, b) for a, b in zip(seen[at]["out"][0], expected[at]["out"][0], strict=True)]
    return any(right) and not all(right)


def large_push(g):
    """The gradients that make a step are those of the worker, whatever their size."""
    args = asynchronous(g, "shared", 2)
    pushes = [
        (worker, [None if x is None else 1e4 * x for x in grads])
        for worker, grads in args["pushes"]
    ]
    return args | dict(pushes=pushes)


A3C_PUSH_GRADIENTS = Exercise(
    reference=a3c_push_gradients,
    driver="push_gradients",
    parts={
        "one push": 2,
        "push after push": 2,
        "the worker": 1,
        "memory": 1,
        "clean": 1,
    },
    cases=[
        Case("one push", hand_push, "one push"),
        Case("one push, two layers", lambda g: asynchronous(g, "shared", 1), "one push"),
        Case("the steps of one push", lambda g: asynchronous(g, "steps", 1), "one push"),
        Case(
            "three pushes of one worker", lambda g: asynchronous(g, "shared", 3), "push after push"
        ),
        Case(
            "two workers in turn",
            lambda g: asynchronous(g, "shared", 4, 2, dtype=F64),
            "push after push",
        ),
        Case(
            "a shared gradient left over",
            lambda g: asynchronous(g, "shared", 2, left_over=True),
            "push after push",
        ),
        Case(
            "a parameter that the loss does not reach",
            lambda g: asynchronous(g, "shared", 2, unreached=[(1, 1)], left_over=True),
            "push after push",
        ),
        Case(
            "how many gradients the optimizer finds",
            lambda g: asynchronous(g, "reached", 1, unreached=[(0, 1)]),
            "push after push",
        ),
        Case(
            "the worker's own weights and gradients",
            lambda g: asynchronous(g, "worker", 2, 2),
            "the worker",
        ),
        Case("where the gradients are stored", lambda g: asynchronous(g, "memory", 2), "memory"),
        Case("gradients in the thousands", large_push, "push after push"),
    ],
    pitfalls=[
        Pitfall(
            "copied only once",
            "It copies gradients only while the shared ones are None: every later push repeats the first.",
            push_once,
            "Famous code did this and relied on who clears what; the network then learns from one old batch.",
            also=(push_once_and_returns,),
        ),
        Pitfall(
            "shared gradients add up",
            "It adds to the shared gradient: each step repeats all the pushes before.",
            push_adds_up,
        ),
        Pitfall(
            "local gradients add up",
            "The worker's gradients are not cleared: its next backward pass adds to the old ones.",
            push_local_not_cleared,
        ),
        Pitfall(
            "old gradient kept",
            "A parameter that the loss did not reach keeps its old shared gradient, and moves by it again.",
            push_stale_kept,
        ),
        Pitfall(
            "optimizer never steps",
            "The gradients arrive, but the optimizer does not step: the shared network stays as it is.",
            push_never_steps,
        ),
        Pitfall(
            "optimizer not used",
            "It moves the shared weights by hand: the optimizer (Adam, say) is not asked.",
            push_without_optimizer,
            also=tuple(map(push_fixed_rate, (0.01, 0.001, 1.0))),
        ),
        Pitfall(
            "nothing done",
            "It changes neither the shared network nor the worker's gradients.",
            push_nothing,
        ),
        Pitfall(
            "nothing arrives",
            "The gradients are cleared before they were copied, or before the step: nothing is pushed.",
            push_cleared_first,
            also=(push_shared_cleared_before_step,),
        ),
        Pitfall(
            "a step for every parameter",
            "The optimizer steps inside the loop: the first parameters move several times per push.",
            push_steps_in_the_loop,
        ),
        Pitfall(
            "weights copied",
            "It overwrites the shared weights with the worker's: what the others learned is lost.",
            push_weights,
            "Workers push gradients and pull weights, never the other way around.",
            also=(
                push_weights_at_the_end,
                push_weights_alone(1),
                push_weights_alone(0.5),
                *map(push_local_step_copied, (None, 0.01, 0.001)),
            ),
        ),
        Pitfall(
            "gradient changed on the way",
            "It scales, clips or normalizes the gradient: a copy was asked for.",
            push_changed(lambda grad: grad / 2),
            also=(
                push_changed(lambda grad: grad / (grad.norm() + 1e-8)),
                push_changed(torch.sign),
                push_changed(lambda grad: grad.clamp(-1, 1)),
                push_changed(lambda grad: 2 * grad),
                push_clipped,
            ),
        ),
        Pitfall("two steps", "The optimizer steps twice for one push.", push_twice),
        Pitfall(
            "weights pulled",
            "It also copies the shared weights into the worker: pulling is a step of its own.",
            push_and_pull,
        ),
        Pitfall(
            "weights pulled first",
            "It copies the OLD shared weights into the worker before it steps.",
            push_pulls_first,
        ),
        Pitfall("sign", "It pushes minus the gradient: the shared loss rises.", push_sign),
        Pitfall(
            "averaged with the last gradient",
            "It averages with the gradient of the push before.",
            push_average,
        ),
        Pitfall(
            "gradient memory shared",
            "The shared network holds the worker's own gradient tensor, not a copy.",
            push_alias,
            "What one of the two does to its gradient then happens to the other's.",
        ),
        Pitfall(
            "difference of weights",
            "It takes the difference of the weights for a gradient.",
            push_differences,
        ),
        Pitfall(
            "some parameters only",
            "Only some parameters get their gradient: the loop leaves others out.",
            push_first_parameter,
            also=(push_matrices_only, push_last_parameter),
        ),
        Pitfall(
            "worker steps too",
            "The worker's own weights are moved as well: only the shared network learns.",
            push_local_steps,
        ),
        Pitfall(
            "zeros for no gradient",
            "Where the worker has no gradient (None) it pushes zeros: leave the shared one at None.",
            push_for_none(torch.zeros_like),
            "Adam moves a parameter whose gradient is 0 by its momentum; without one it leaves it alone.",
        ),
        Pitfall(
            "some parameters wrong",
            "After one push some shared parameters are right and others are not: the loop treats them unequally.",
            push_first_layer_only,
            telltale=some_right_after_one_push,
            symptom=True,
        ),
        part_symptom(
            lambda: A3C_PUSH_GRADIENTS,
            "wrong after one push",
            "Already after the first push the shared network is elsewhere: "
            "it should move by one step of its optimizer, on a copy of the worker's gradients.",
            push_weight_decay,
            lambda wrong: "one push" in wrong,
        ),
        where_symptom(
            lambda: A3C_PUSH_GRADIENTS,
            "wrong where a gradient is missing",
            "It is right but for a parameter that the loss did not reach: its gradient is None, and so is the shared one.",
            push_for_none(torch.ones_like),
            right=("three pushes of one worker", "a shared gradient left over"),
            off=("a parameter that the loss does not reach",),
        ),
        part_symptom(
            lambda: A3C_PUSH_GRADIENTS,
            "right for one push only",
            "The first push is right, a later one is not: an old gradient, of one network or the other, still counts.",
            push_half_of_the_last,
            lambda wrong: "push after push" in wrong,
        ),
        part_symptom(
            lambda: A3C_PUSH_GRADIENTS,
            "worker left otherwise",
            "The shared network is right, but the worker is not left as it was with its gradients cleared.",
            push_worker_shrinks,
            lambda wrong: wrong == {"the worker"},
        ),
    ],
    read="lesson 4, “Asynchronous: A3C”; Mnih et al. 2016, algorithm S3",
)

# --- quiz_actor_or_critic ---


def quiz_actor_or_critic():
    """Seven questions on who is who. Run the experiments above first; return a dict with your answers.

    "acts"       : training is over. Who is needed to act? "actor", "critic" or "both"
    "td"         : whose loss is the squared TD error? "actor", "critic" or "both"
    "better"     : an action turned out better than expected, y > V(s). Its updates raise ...
                   "a" log pi(a|s) only,  "b" log pi(a|s) and V(s),
                   "c" log pi(a|s), and lower V(s)
    "live"       : somebody forgets to detach A = y - V(s) in the actor's loss. That loss then pushes
                   V(s) ...  "a" toward y,  "b" up, whatever y is,  "c" nowhere
    "residual"   : somebody forgets to detach y in the critic's loss. The critic ...
                   "a" learns the same values, more slowly,  "b" diverges,
                   "c" settles at other values where the next state is random
    "time limit" : r = 1, gamma = 0.5, a time limit cuts the episode in s' with V(s') = 8; the next
                   episode begins in a state of value 20. The TD target y? (a number)
    "unbiased"   : the critic is wrong. Which lambda, 0 or 1, gives an unbiased policy gradient? (a number)
    """
    return {
        "acts": "actor",
        "td": "critic",
        "better": "b",
        "live": "b",
        "residual": "c",
        "time limit": 5.0,
        "unbiased": 1.0,
    }


QUESTIONS = list(quiz_actor_or_critic())


def mistaken(name, key, answer, says, also=(), why=""):
    return misled(quiz_actor_or_critic, name, key, answer, says, also, why)


QUIZ = Exercise(
    reference=quiz_actor_or_critic,
    driver="entry",
    parts={"who is who": 2, "where gradients go": 3, "targets": 2, "clean": 1},
    cases=[
        Case(f"the question “{key}”", lambda g, key=key: {"key": key}, part)
        for key, part in zip(
            QUESTIONS,
            ["who is who"] * 2 + ["where gradients go"] * 3 + ["targets"] * 2,
            strict=True,
        )
    ],
    pitfalls=[
        mistaken(
            "critic acts",
            "acts",
            "critic",
            "“acts”: the critic says what a state is worth; it has no actions to offer.",
            why=BOTH,
        ),
        mistaken(
            "both act",
            "acts",
            "both",
            "“acts”: the critic serves training only; throw it away and the policy plays as before.",
        ),
        mistaken(
            "actor learns by TD",
            "td",
            "actor",
            "“td”: the actor's loss is -log pi times the advantage; the squared TD error is a regression of values.",
            why=BOTH,
        ),
        mistaken(
            "both learn by TD",
            "td",
            "both",
            "“td”: the TD error appears in both losses, but only one squares it: "
            "for the actor it is a weight, with a sign.",
            why=BOTH,
        ),
        mistaken(
            "critic not updated",
            "better",
            "a",
            "“better”: the critic is updated as well: y > V(s) means that V(s) was too low.",
        ),
        mistaken(
            "value falls",
            "better",
            "c",
            "“better”: V(s) moves toward y, and y is above it.",
        ),
        mistaken(
            "live advantage taken for TD",
            "live",
            "a",
            "“live”: differentiate -log pi * (y - V) with respect to V: the result, log pi, does not contain y.",
            why="No error enters, so nothing stops the push where V is right.",
        ),
        mistaken(
            "live advantage taken for a constant",
            "live",
            "c",
            "“live”: A contains V(s), so without detach() the actor's loss has a gradient into the critic.",
        ),
        mistaken(
            "residual gradient taken for slow TD",
            "residual",
            "a",
            "“residual”: look at the values it settled at in the experiment: B and C are off.",
        ),
        mistaken(
            "residual gradient taken for unstable",
            "residual",
            "b",
            "“residual”: it is gradient descent on a loss, so with small steps it converges; the question is to what.",
        ),
        mistaken(
            "time limit taken for an end",
            "time limit",
            1.0,
            "“time limit”: the clock stopped, the task did not: y still contains gamma V(s').",
        ),
        mistaken(
            "value of the reset state",
            "time limit",
            11.0,
            "“time limit”: 20 is the value of another episode's first state; the true next state is s'.",
            also=(10, 21),
        ),
        mistaken(
            "value not discounted",
            "time limit",
            9.0,
            "“time limit”: V(s') is one step ahead, so it counts gamma times.",
        ),
        mistaken(
            "reward missing",
            "time limit",
            4.0,
            "“time limit”: the reward of the step itself is in the target too.",
        ),
        mistaken(
            "lambda 0 taken for unbiased",
            "unbiased",
            0.0,
            "“unbiased”: with lambda = 0 everything after one step comes from the critic, errors included.",
        ),
    ],
    read="lesson 4, “The matrix of gradients” and the experiments after it",
)

EXERCISES = [
    TD_TARGET,
    *moved.EXERCISES,
    ACTOR_CRITIC_STEP,
    GAE,
    A3C_PUSH_GRADIENTS,
    QUIZ,
]
