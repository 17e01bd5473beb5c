"""Exercises of lesson 2: returns, REINFORCE as a loss and as an estimate, and what its variance costs."""

import math

import torch

from pgcourse.checks.core import Case, Exercise, Pitfall
from pgcourse.checks.drivers import uses_random_numbers
from pgcourse.checks.make_inputs import flags, integers, normal, times
from pgcourse.checks.policy_gradient_theorem import (
    RANDOM_WHY,
    WRONG_SCORES,
    minus_softmax,
    score_overflows,
)
from pgcourse.checks.quiz_reinforce import QUIZ_REINFORCE
from pgcourse.estimators import (
    discounted_returns,
    episodes_needed,
    gradient_variance,
    reinforce_surrogate_gradient,
    standard_error,
)
from pgcourse.losses import reinforce_loss

F64 = torch.float64

# --- discounted_returns ---


def backwards(rew, ended, gamma, last_val, step):
    """The recursion with another step: running = step(t, running); what the mistakes below vary."""
    ret = torch.zeros_like(rew)
    running = torch.zeros_like(rew[0]) + last_val
    for t in reversed(range(len(rew))):
        running = step(t, running)
        ret[t] = running
    return ret


def returns_no_reset(rew, ended, gamma, last_val=0.0):
    return backwards(rew, ended, gamma, last_val, lambda t, G: rew[t] + gamma * G)


def returns_reset_before(rew, ended, gamma, last_val=0.0):
    late = torch.cat([torch.zeros_like(ended[:1]), ended[:-1]])
    return discounted_returns(rew, late, gamma, last_val)


def returns_reset_on_reward(rew, ended, gamma, last_val=0.0):
    def step(t, G):
        return rew[t] + gamma * torch.where(rew[t].abs() >= 1, 0.0, G)

    return backwards(rew, ended, gamma, last_val, step)


def returns_reset_on_any_reward(rew, ended, gamma, last_val=0.0):
    return backwards(
        rew, ended, gamma, last_val, lambda t, G: rew[t] + gamma * torch.where(rew[t] != 0, 0.0, G)
    )


def returns_no_bootstrap(rew, ended, gamma, last_val=0.0):
    return discounted_returns(rew, ended, gamma)


def returns_bootstrap_everywhere(rew, ended, gamma, last_val=0.0):
    def step(t, G):
        return rew[t] + gamma * torch.where(ended[t], torch.zeros_like(G) + last_val, G)

    return backwards(rew, ended, gamma, last_val, step)


def returns_no_discount(rew, ended, gamma, last_val=0.0):
    return discounted_returns(rew, ended, 1.0, last_val)


def returns_reward_discounted(rew, ended, gamma, last_val=0.0):
    def step(t, G):
        return gamma * (rew[t] + torch.where(ended[t], 0.0, G))

    return backwards(rew, ended, gamma, last_val, step)


def returns_reward_twice(rew, ended, gamma, last_val=0.0):
    return rew + discounted_returns(rew, ended, gamma, last_val)


def steps_in_episode(ended):
    """How many steps of its episode lie before each step."""
    age = torch.zeros(ended.shape, dtype=torch.long)
    for t in range(1, len(ended)):
        age[t] = torch.where(ended[t - 1], 0, age[t - 1] + 1)
    return age


def returns_discounted_twice(rew, ended, gamma, last_val=0.0):
    ages = steps_in_episode(ended).to(rew.dtype)
    return gamma**ages * discounted_returns(rew, ended, gamma, last_val)


def returns_from_start(rew, ended, gamma, last_val=0.0):
    return gamma ** steps_in_episode(ended).to(rew.dtype) * rew


def returns_whole_episode(rew, ended, gamma, last_val=0.0):
    ret = discounted_returns(rew, ended, gamma, last_val)
    for t in range(1, len(ret)):
        ret[t] = torch.where(ended[t - 1], ret[t], ret[t - 1])
    return ret


def returns_past(rew, ended, gamma, last_val=0.0):
    ret = rew.clone()
    for t in range(1, len(rew)):
        ret[t] = rew[t] + gamma * torch.where(ended[t - 1], 0.0, ret[t - 1])
    return ret


def adjusted(change):
    """The returns, changed afterwards."""
    return lambda rew, ended, gamma, last_val=0.0: change(
        discounted_returns(rew, ended, gamma, last_val)
    )


def returns_without_own(rew, ended, gamma, last_val=0.0):
    return discounted_returns(rew, ended, gamma, last_val) - rew


def returns_own_undiscounted(rew, ended, gamma, last_val=0.0):
    """What follows, not discounted: G_{t+1}."""
    ret = discounted_returns(rew, ended, gamma, last_val)
    after = torch.cat([ret[1:], torch.zeros_like(ret[:1]) + last_val])
    return torch.where(ended, 0.0, after)


def returns_last_reward_lost(rew, ended, gamma, last_val=0.0):
    def step(t, G):
        return torch.where(ended[t], 0.0, rew[t] + gamma * G)

    return backwards(rew, ended, gamma, last_val, step)


def returns_early_reset(rew, ended, gamma, last_val=0.0):
    early = torch.cat([ended[1:], torch.zeros_like(ended[:1])])
    return discounted_returns(rew, early, gamma, last_val)


def returns_only_at_ends(rew, ended, gamma, last_val=0.0):
    return discounted_returns(rew, ~ended, gamma, last_val)


def returns_last_undiscounted(rew, ended, gamma, last_val=0.0):
    def step(t, G):
        late = t == len(rew) - 1
        return rew[t] + (1.0 if late else gamma) * torch.where(ended[t] & (not late), 0.0, G)

    return backwards(rew, ended, gamma, last_val, step)


def returns_last_undiscounted_unless_ended(rew, ended, gamma, last_val=0.0):
    def step(t, G):
        return rew[t] + (1.0 if t == len(rew) - 1 else gamma) * torch.where(ended[t], 0.0, G)

    return backwards(rew, ended, gamma, last_val, step)


def returns_last_always(rew, ended, gamma, last_val=0.0):
    def step(t, G):
        cut = ended[t] & (t < len(rew) - 1)
        return rew[t] + gamma * torch.where(cut, 0.0, G)

    return backwards(rew, ended, gamma, last_val, step)


def returns_last_for_all(rew, ended, gamma, last_val=0.0):
    last_val = last_val.mean() if torch.is_tensor(last_val) else last_val
    return discounted_returns(rew, ended, gamma, last_val)


def returns_first_last(rew, ended, gamma, last_val=0.0):
    last_val = last_val[0] if torch.is_tensor(last_val) else last_val
    return discounted_returns(rew, ended, gamma, last_val)


def returns_first_environment(rew, ended, gamma, last_val=0.0):
    ended = ended if ended.dim() == 1 else ended[:, :1].expand_as(ended)
    return discounted_returns(rew, ended, gamma, last_val)


def returns_flattened(rew, ended, gamma, last_val=0.0):
    last_val = last_val.flatten()[-1] if torch.is_tensor(last_val) else last_val
    flat = discounted_returns(rew.flatten(), ended.flatten(), gamma, last_val)
    return flat.view_as(rew)


def returns_along_environments(rew, ended, gamma, last_val=0.0):
    if rew.dim() == 1:
        return discounted_returns(rew, ended, gamma, last_val)
    return discounted_returns(rew.T, ended.T, gamma).T.contiguous()


def returns_one_step(rew, ended, gamma, last_val=0.0):
    after = torch.cat([rew[1:], torch.zeros_like(rew[:1]) + last_val])
    return rew + gamma * torch.where(ended, 0.0, after)


def returns_first_episode(rew, ended, gamma, last_val=0.0):
    over = ended.cumsum(0) - ended.long() > 0
    return torch.where(over, 0.0, discounted_returns(rew, ended, gamma, last_val))


def returns_averaged(rew, ended, gamma, last_val=0.0):
    return discounted_returns((1 - gamma) * rew, ended, gamma, last_val)


def returns_of_changed(change):
    """The returns of other rewards."""
    return lambda rew, ended, gamma, last_val=0.0: discounted_returns(
        change(rew), ended, gamma, last_val
    )


def returns_by_division(rew, ended, gamma, last_val=0.0):
    """Sums of gamma^t r_t divided by gamma^t, which is 0 after some hundred steps."""
    rows = []
    zero = torch.zeros_like(rew[0])
    weights = gamma ** steps_in_episode(ended).to(rew.dtype)
    total = weights[-1] * gamma * (zero + last_val)
    for t in reversed(range(len(rew))):
        total = weights[t] * rew[t] + torch.where(ended[t], zero, total)
        rows.append(total / weights[t])
    return torch.stack(rows[::-1])


def normalized(axis, correction):
    """The returns standardized, over all of them or along time; nan for a single one where N - 1 divides."""

    def change(ret):
        axes = tuple(range(ret.dim())) if axis is None else (axis,)
        centered = ret - ret.mean(axes, keepdim=True)
        count = ret.numel() if axis is None else len(ret)
        total = centered.square().sum(axes, keepdim=True)
        return centered / ((total / torch.tensor(count - correction)).sqrt() + 1e-8)

    return change


NORMALIZED = [normalized(axis, correction) for axis in (None, 0) for correction in (0, 1)]


def returns_any_environment(rew, ended, gamma, last_val=0.0):
    def step(t, G):
        return rew[t] + gamma * (0.0 * G if ended[t].any() else G)

    return backwards(rew, ended, gamma, last_val, step)


def rewards(g, *shape, gamma=0.9, dtype=torch.float32, p=0.2):
    return dict(rew=normal(g, *shape, dtype=dtype), ended=flags(g, *shape, p=p), gamma=gamma)


def none_ended(g, T, **changes):
    return rewards(g, T) | dict(ended=torch.zeros(T, dtype=torch.bool)) | changes


def hand(ended, **rest):
    return dict(rew=torch.tensor([1.0, 2.0, 3.0]), ended=torch.tensor(ended), gamma=0.5) | rest


def ends_at_the_rim():
    """Rewards in the thousands; first row, last row and each column hold both values of the flag."""
    return dict(
        rew=1000 * torch.tensor([[1.0, -2.0], [3.0, 1.0], [-2.0, 4.0], [1.0, -3.0]]),
        ended=torch.tensor([[True, False], [False, True], [False, False], [True, False]]),
        gamma=0.5,
        last_val=torch.tensor([4000.0, -6000.0]),
    )


DISCOUNTED_RETURNS = Exercise(
    reference=discounted_returns,
    parts={
        "one episode": 1,
        "several episodes": 2,
        "environments": 1,
        "cut-off batch": 1,
        "shapes": 1,
        "clean": 1,
    },
    cases=[
        Case("one short episode", lambda g: hand([False, False, True]), "one episode"),
        Case("a longer episode", lambda g: none_ended(g, 12), "one episode"),
        Case("no discount", lambda g: none_ended(g, 6, gamma=1.0), "one episode"),
        Case(
            "two episodes in one batch",
            lambda g: dict(
                rew=torch.tensor([1.0, 2.0, 3.0, 4.0]),
                ended=torch.tensor([False, True, False, True]),
                gamma=0.5,
            ),
            "several episodes",
        ),
        Case("many episodes", lambda g: rewards(g, 40), "several episodes"),
        Case("float64", lambda g: rewards(g, 30, gamma=0.99, dtype=F64), "several episodes"),
        Case(
            "a long episode, strongly discounted",
            lambda g: none_ended(g, 200, gamma=0.5),
            "several episodes",
        ),
        Case("three environments", lambda g: rewards(g, 20, 3), "environments"),
        Case("three other environments", lambda g: rewards(g, 20, 3), "environments"),
        Case(
            "environments of which one ended last",
            lambda g: dict(
                rew=torch.tensor([[1.0, 2.0], [3.0, 4.0]]),
                ended=torch.tensor([[False, False], [True, False]]),
                gamma=0.5,
                last_val=normal(g, 2) + 10.0,
            ),
            "cut-off batch",
        ),
        Case(
            "a batch that cuts an episode off",
            lambda g: hand([False, False, False], last_val=10.0),
            "cut-off batch",
        ),
        Case(
            "environments that are cut off",
            lambda g: rewards(g, 9, 3) | dict(last_val=normal(g, 3)),
            "cut-off batch",
        ),
        Case(
            "rewards [4] and flags [4, 1]",
            lambda g: rewards(g, 4) | dict(ended=flags(g, 4, 1)),
            "shapes",
            raises=True,
        ),
        Case("an end in the first and the last row", lambda g: ends_at_the_rim(), "cut-off batch"),
        Case(
            "the same with the columns exchanged",
            lambda g: {
                name: x.flip(-1) if torch.is_tensor(x) else x
                for name, x in ends_at_the_rim().items()
            },
            "cut-off batch",
        ),
    ],
    pitfalls=[
        Pitfall(
            "no reset",
            "It ignores `ended`: rewards of the next episode leak into the one before.",
            returns_no_reset,
            "Actions are then praised for what happened in a game they had no part in.",
        ),
        Pitfall(
            "reset one step late",
            "It cuts at the flag of the step before: off by one at every end of an episode.",
            returns_reset_before,
        ),
        Pitfall(
            "reset one step early",
            "It cuts at the flag of the step after: the last reward of each episode leaks away from it.",
            returns_early_reset,
        ),
        Pitfall(
            "flags reversed",
            "It cuts where an episode goes on, and carries on where one ended.",
            returns_only_at_ends,
        ),
        Pitfall(
            "last reward lost",
            "The return is 0 where an episode ends: the last reward itself still counts.",
            returns_last_reward_lost,
        ),
        Pitfall(
            "own reward missing",
            "The reward of the step itself is missing: G_t starts with r_t.",
            returns_without_own,
            also=(returns_own_undiscounted,),
        ),
        Pitfall(
            "first episode only",
            "After the first end everything is 0: the batch holds more episodes.",
            returns_first_episode,
        ),
        Pitfall(
            "one step ahead",
            "It is r_t + gamma r_{t+1}: the rewards after that are missing.",
            returns_one_step,
        ),
        Pitfall(
            "weighted average",
            "The rewards are multiplied by 1 - gamma: an average, where the sum was asked for.",
            returns_averaged,
        ),
        Pitfall(
            "reversed in time",
            "The returns come in reversed order: turn the list round, or fill it from the back.",
            adjusted(lambda ret: ret.flip(0)),
        ),
        Pitfall(
            "division by gamma^t",
            "It divides by gamma^t, which becomes 0 in a long episode: 0 / 0. Walk backwards instead.",
            returns_by_division,
        ),
        Pitfall(
            "rewards clipped",
            "It clips or rounds the rewards before it adds them.",
            returns_of_changed(lambda rew: rew.clamp(-1, 1)),
            also=tuple(map(returns_of_changed, (torch.sign, torch.trunc, torch.round))),
        ),
        Pitfall(
            "reset on reward",
            "It resets the sum where the reward is large (a trick for Pong), not where an episode ends.",
            returns_reset_on_reward,
            also=(returns_reset_on_any_reward,),
        ),
        Pitfall(
            "no bootstrap",
            "It ignores last_val: the end of the batch is taken for the end of the episode.",
            returns_no_bootstrap,
            "The last steps of each batch lack what was still to come.",
        ),
        Pitfall(
            "bootstrap at every end",
            "last_val is added where an episode ended, too: nothing follows there.",
            returns_bootstrap_everywhere,
        ),
        Pitfall(
            "bootstrap after the last end",
            "last_val follows the last row even where that row ended its episode: nothing follows there.",
            returns_last_always,
        ),
        Pitfall(
            "last_val not discounted",
            "last_val lies one step after the last row: it is multiplied by gamma once.",
            returns_last_undiscounted_unless_ended,
            also=(returns_last_undiscounted,),
        ),
        Pitfall(
            "one last_val for all",
            "Each environment has its own last_val.",
            returns_last_for_all,
            also=(returns_first_last,),
        ),
        Pitfall("no discount", "gamma is not used: all rewards count alike.", returns_no_discount),
        Pitfall(
            "reward discounted",
            "The reward of the step itself is multiplied by gamma; only later ones are.",
            returns_reward_discounted,
        ),
        Pitfall(
            "reward added twice",
            "The reward of the step counts twice: the return holds it already.",
            returns_reward_twice,
        ),
        Pitfall(
            "discounted twice",
            "The reward-to-go is multiplied by gamma^t again: late steps count almost nothing.",
            returns_discounted_twice,
        ),
        Pitfall(
            "discount from the start",
            "It is gamma^t r_t for each step: the future is never summed.",
            returns_from_start,
        ),
        Pitfall(
            "whole-episode return",
            "Every step gets its episode's full return, past rewards included.",
            returns_whole_episode,
            "It adds no bias, but usually noise: an action cannot change what was earned before it.",
        ),
        Pitfall(
            "past rewards",
            "It sums forward in time: each step gets the rewards BEFORE it, not after.",
            returns_past,
        ),
        Pitfall(
            "normalized returns",
            "It standardizes the returns; that is a separate step, and another estimate.",
            adjusted(NORMALIZED[0]),
            also=tuple(map(adjusted, NORMALIZED[1:])),
        ),
        Pitfall(
            "mean return subtracted",
            "It subtracts the mean of the returns: a baseline, which is lesson 3's subject.",
            adjusted(lambda ret: ret - ret.mean()),
            also=(adjusted(lambda ret: ret - ret.mean(0)),),
        ),
        Pitfall(
            "one end resets all",
            "Where one environment's episode ends, the sums of all environments are cut.",
            returns_any_environment,
        ),
        Pitfall(
            "flags of the first environment",
            "It cuts all environments where the first one's episode ends.",
            returns_first_environment,
        ),
        Pitfall(
            "environments joined",
            "It flattens the batch: the sum runs from one environment into the next.",
            returns_flattened,
        ),
        Pitfall(
            "sum over environments",
            "It sums along axis 1, the environments; time is axis 0.",
            returns_along_environments,
        ),
    ],
    read="lesson 2, “Reward-to-go”; Sutton & Barto, equation 3.9",
)

# --- reinforce_loss ---


def loss_sum(logp, ret):
    return -(logp * ret.detach()).sum()


def loss_sign(logp, ret):
    return (logp * ret.detach()).mean()


def loss_into_returns(logp, ret):
    return -(logp * ret).mean()


def loss_with(change, reduce=torch.mean, leak=False):
    """The loss with changed returns, another reduction, or a gradient into the returns."""
    return lambda logp, ret: -reduce(logp * (change(ret) if leak else change(ret).detach()))


def loss_variants(*changes):
    """The same change of the returns with a mean or a sum, detached or not."""
    first, *rest = [
        loss_with(change, reduce, leak)
        for reduce in (torch.mean, torch.sum)
        for leak in (False, True)
        for change in changes
    ]
    return dict(wrong=first, also=tuple(rest))


def sum_over_time(x):
    return x.sum(0).mean()


def loss_per_row(logp, ret):
    return -(logp * ret.detach()).sum() / len(logp)


def loss_episode_return(logp, ret):
    return -(logp.sum(0) * ret.detach()[0]).mean()


def loss_squared_error(logp, ret):
    return (logp - ret.detach()).square().mean()


def loss_with_entropy(weight):
    return lambda logp, ret: reinforce_loss(logp, ret) + weight * logp.mean()


def loss_clips_logp(least):
    return lambda logp, ret: reinforce_loss(logp.clamp(min=least), ret)


def loss_softmax_weights(logp, ret):
    return -(logp * torch.softmax(ret.detach().flatten(), 0).view_as(ret)).sum()


def loss_ratio(logp, ret):
    return -(torch.exp(logp - logp.detach()) * ret.detach()).mean()


def loss_outer(logp, ret):
    return -(logp.reshape(-1, 1) * ret.detach().reshape(1, -1)).mean()


def loss_probability(logp, ret):
    return -(logp.exp() * ret.detach()).mean()


def loss_log_twice(logp, ret):
    return -(torch.log(logp.abs() + 1e-8) * ret.detach()).mean()


def loss_no_logp(logp, ret):
    return -ret.detach().mean() * torch.ones_like(logp).mean()


def loss_detached(logp, ret):
    return -(logp.detach() * ret.detach()).mean()


def logps(g, *shape, dtype=torch.float32):
    return dict(
        logp=-normal(g, *shape, dtype=dtype).abs(), ret=normal(g, *shape, dtype=dtype) + 0.5
    )


BOTH = ("logp", "ret")
HAND_LOSS = dict(logp=torch.tensor([-0.5, -1.0, -2.0]), ret=torch.tensor([3.0, -1.0, 2.0]))

LARGE_LOSS = dict(
    logp=torch.tensor([-200.0, -150.0, -300.0]), ret=torch.tensor([-3000.0, 1000.0, -2000.0])
)

REINFORCE_LOSS = Exercise(
    reference=reinforce_loss,
    parts={"value": 1, "gradient": 2, "shapes": 1, "clean": 1},
    cases=[
        Case("three steps", lambda g: dict(HAND_LOSS), "value"),
        Case("thirty steps", lambda g: logps(g, 30), "value"),
        Case("four environments", lambda g: logps(g, 10, 4), "value"),
        Case("three steps, gradients", lambda g: dict(HAND_LOSS), "gradient", BOTH),
        Case("four environments, gradients", lambda g: logps(g, 10, 4), "gradient", BOTH),
        Case("float64, gradients", lambda g: logps(g, 20, dtype=F64), "gradient", BOTH),
        Case(
            "rare actions and large returns",
            lambda g: dict(logp=40 * logps(g, 8)["logp"], ret=normal(g, 8, scale=300.0)),
            "gradient",
            BOTH,
        ),
        Case(
            "log-probabilities [5] and returns [5, 1]",
            lambda g: logps(g, 5) | dict(ret=normal(g, 5, 1)),
            "shapes",
            raises=True,
        ),
        Case("large returns of rare actions", lambda g: dict(LARGE_LOSS), "value"),
        Case(
            "large returns of rare actions, gradients", lambda g: dict(LARGE_LOSS), "gradient", BOTH
        ),
    ],
    pitfalls=[
        Pitfall(
            "sum for mean",
            "It sums over the steps; the mean was asked for.",
            loss_sum,
            also=(
                loss_with(lambda ret: ret, sum_over_time),
                loss_per_row,
                *(
                    loss_with(lambda ret: ret, reduce, True)
                    for reduce in (torch.sum, sum_over_time)
                ),
            ),
        ),
        Pitfall(
            "sign",
            "The minus is missing: gradient DEscent would make good actions less probable.",
            loss_sign,
            "Descending this loss lowers the return.",
        ),
        Pitfall(
            "gradient into the returns",
            "The gradient also flows into the returns: detach them.",
            loss_into_returns,
            "A learned reward or baseline would be trained to please the actor.",
        ),
        Pitfall(
            "normalized over time",
            "It standardizes the returns: those below the mean become negative by construction.",
            **loss_variants(*NORMALIZED),
        ),
        Pitfall(
            "returns scaled",
            "It divides the returns by their standard deviation: the size of the gradient says nothing then.",
            **loss_variants(
                lambda ret: ret / (ret.std() + 1e-8),
                lambda ret: ret / (ret.std(correction=0) + 1e-8),
            ),
        ),
        Pitfall(
            "mean return subtracted",
            "It subtracts the batch's mean return: a baseline, which is lesson 3's subject.",
            **loss_variants(lambda ret: ret - ret.mean(), lambda ret: ret - ret.mean(0)),
        ),
        Pitfall(
            "every action by every return",
            "Every action is credited with the average return, as when a [T, 1] against a [T] becomes a T × T table.",
            loss_outer,
            "No error, no warning: which action earned which return is lost.",
        ),
        Pitfall(
            "first return for all",
            "Every step is credited with the first return.",
            also=(loss_episode_return,),
            wrong=loss_with(lambda ret: ret[:1].expand_as(ret)),
        ),
        Pitfall(
            "returns added up",
            "It sums the returns over time once more: they are rewards-to-go already.",
            **loss_variants(lambda ret: ret.flip(0).cumsum(0).flip(0), lambda ret: ret.cumsum(0)),
        ),
        Pitfall(
            "absolute returns",
            "It uses the size of the returns: bad actions are reinforced too.",
            **loss_variants(torch.abs),
        ),
        Pitfall(
            "good returns only",
            "Negative returns do not count: what was punished must become less probable.",
            **loss_variants(torch.relu),
        ),
        Pitfall(
            "signs of the returns only",
            "Only the signs of the returns count, not their size.",
            **loss_variants(torch.sign),
        ),
        Pitfall("returns squared", "Each return counts twice.", **loss_variants(torch.square)),
        Pitfall(
            "returns clipped",
            "It clips the returns: a large one must make a large step.",
            **loss_variants(*(lambda ret, c=c: ret.clamp(-c, c) for c in (1, 5, 10, 100))),
        ),
        Pitfall(
            "returns ignored",
            "The returns do not enter: every action taken becomes more probable, good or bad.",
            **loss_variants(torch.ones_like),
        ),
        Pitfall(
            "softmax of the returns",
            "It weights the steps by a softmax of the returns: bad actions are reinforced, too.",
            loss_softmax_weights,
        ),
        Pitfall(
            "squared error",
            "It is a regression: it pulls log-probabilities toward the returns.",
            loss_squared_error,
        ),
        Pitfall(
            "entropy added",
            "It adds an entropy bonus: that comes in lesson 4 and changes the gradient.",
            loss_with_entropy(0.01),
            also=tuple(map(loss_with_entropy, (0.001, 0.05, 0.1))),
        ),
        Pitfall(
            "log-probabilities clipped",
            "It clips logp: the rarest actions get no gradient.",
            loss_clips_logp(-5.0),
            also=tuple(map(loss_clips_logp, (-1.0, -10.0, -20.0))),
        ),
        Pitfall(
            "value of a ratio",
            "The gradient is right but the value is minus the mean return: it has exp(logp - logp) in place of logp.",
            loss_ratio,
        ),
        Pitfall(
            "probability for log-probability",
            "It uses the probability in place of its logarithm: each gradient is too small by the factor pi(a).",
            loss_probability,
        ),
        Pitfall("log of the log", "It takes the logarithm of logp once more.", loss_log_twice),
        Pitfall(
            "log-probability missing",
            "logp does not enter: the loss does not depend on the policy.",
            loss_no_logp,
            also=(lambda logp, ret: -ret.mean(),),
        ),
        Pitfall(
            "no gradient",
            "The value is right, but logp is detached: nothing will be learned from it.",
            loss_detached,
        ),
    ],
    read="lesson 2, “A loss whose gradient is the estimate”; Sutton & Barto, section 13.3",
)

# --- reinforce_surrogate_gradient ---


def estimate_with(weights=None, score=minus_softmax, divide=lambda episodes: len(episodes)):
    """The estimate with other weights of the steps, another score, or divided by something else.

    weights : function of (rewards, gamma), returns [T]
    """
    weights = weights or (lambda r, gamma: discounts(r, gamma) * to_go(r, gamma))

    def gradient(theta, episodes, gamma):
        grad = torch.zeros_like(theta)
        for states, actions, rewards in episodes:
            for w, s, a in zip(weights(rewards, gamma), states, actions.tolist(), strict=True):
                grad[s] += w * score(theta[s], a)
        return grad / divide(episodes)

    return gradient


def discounts(r, gamma):
    return gamma ** torch.arange(len(r), dtype=r.dtype)


def to_go(r, gamma):
    return discounted_returns(r, torch.zeros(len(r), dtype=torch.bool), gamma)


def steps_of(episodes):
    return sum(len(r) for _, _, r in episodes)


def baseline(change, weight=discounts):
    return estimate_with(lambda r, gamma: weight(r, gamma) * change(to_go(r, gamma)))


def no_discounts(r, gamma):
    return torch.ones_like(r)


def surrogate_common_baseline(theta, episodes, gamma):
    mean = torch.stack([to_go(r, gamma)[0] for _, _, r in episodes]).mean()
    return baseline(lambda ret: ret - mean)(theta, episodes, gamma)


def surrogate_last_episode(theta, episodes, gamma):
    return reinforce_surrogate_gradient(theta, episodes[-1:], gamma)


def surrogate_first_episode(theta, episodes, gamma):
    return reinforce_surrogate_gradient(theta, episodes[:1], gamma)


def surrogate_first_of_n(theta, episodes, gamma):
    return surrogate_first_episode(theta, episodes, gamma) / len(episodes)


def surrogate_last_of_n(theta, episodes, gamma):
    return surrogate_last_episode(theta, episodes, gamma) / len(episodes)


def joined(episodes):
    return [tuple(torch.cat(parts) for parts in zip(*episodes, strict=True))]


def surrogate_run_together(theta, episodes, gamma):
    return reinforce_surrogate_gradient(theta, joined(episodes), gamma) / len(episodes)


def surrogate_leaks(theta, episodes, gamma):
    """The next episode leaks in, but t starts anew in each."""
    t = torch.cat([discounts(r, gamma) for _, _, r in episodes])
    leaking = estimate_with(lambda r, gamma: t * to_go(r, gamma))
    return leaking(theta, joined(episodes), gamma) / len(episodes)


def surrogate_leaks_without_gamma(theta, episodes, gamma):
    return estimate_with(to_go)(theta, joined(episodes), gamma) / len(episodes)


def surrogate_clock_runs_on(theta, episodes, gamma):
    """t counts on from one episode to the next."""
    grad, before = torch.zeros_like(theta), 0
    for episode in episodes:
        grad += gamma**before * reinforce_surrogate_gradient(theta, [episode], gamma)
        before += len(episode[2])
    return grad / len(episodes)


def surrogate_overwrites(theta, episodes, gamma):
    grad = torch.zeros_like(theta)
    for states, actions, rewards in episodes:
        weights = discounts(rewards, gamma) * to_go(rewards, gamma)
        for w, s, a in zip(weights, states, actions.tolist(), strict=True):
            grad[s] = w * minus_softmax(theta[s], a)
    return grad / len(episodes)


def surrogate_duplicates_lost(theta, episodes, gamma):
    grad = torch.zeros_like(theta)
    for states, actions, rewards in episodes:
        score = torch.eye(theta.shape[1], dtype=theta.dtype)[actions]
        score = score - torch.softmax(theta, -1)[states]
        weights = discounts(rewards, gamma) * to_go(rewards, gamma)
        grad[states] += weights.unsqueeze(1) * score
    return grad / len(episodes)


def surrogate_first_visits(theta, episodes, gamma):
    grad = torch.zeros_like(theta)
    for states, actions, rewards in episodes:
        weights = discounts(rewards, gamma) * to_go(rewards, gamma)
        pairs = list(zip(states.tolist(), actions.tolist(), strict=True))
        for t, (s, a) in enumerate(pairs):
            if (s, a) not in pairs[:t]:
                grad[s] += weights[t] * minus_softmax(theta[s], a)
    return grad / len(episodes)


def surrogate_divided_by_visits(theta, episodes, gamma):
    visits = torch.bincount(torch.cat([s for s, _, _ in episodes]), minlength=len(theta))
    total = reinforce_surrogate_gradient(theta, episodes, gamma) * len(episodes)
    return total / visits.clamp(min=1).unsqueeze(1)


def surrogate_pi_everywhere(theta, episodes, gamma):
    grad, pi = torch.zeros_like(theta), torch.softmax(theta, -1)
    for states, actions, rewards in episodes:
        weights = discounts(rewards, gamma) * to_go(rewards, gamma)
        for w, s, a in zip(weights, states, actions, strict=True):
            grad -= w * pi
            grad[s, a] += w
    return grad / len(episodes)


def surrogate_softmax_over_states(theta, episodes, gamma):
    leaf = theta.clone().requires_grad_()
    for states, actions, rewards in episodes:
        weights = discounts(rewards, gamma) * to_go(rewards, gamma)
        (torch.log_softmax(leaf, 0)[states, actions] * weights).sum().backward()
    return leaf.grad / len(episodes)


def surrogate_shortest(theta, episodes, gamma):
    T = min(len(r) for _, _, r in episodes)
    short = [tuple(part[:T] for part in episode) for episode in episodes]
    return reinforce_surrogate_gradient(theta, short, gamma)


def surrogate_random(theta, episodes, gamma):
    noise = torch.randn(len(episodes), *theta.shape, dtype=theta.dtype)
    totals = torch.stack([to_go(r, gamma)[0] for _, _, r in episodes])
    return (totals.view(-1, 1, 1) * noise).mean(0)


def some_episodes(g, S, A, lengths, gamma=0.9, dtype=F64):
    episodes = [(integers(g, S, T), integers(g, A, T), normal(g, T, dtype=dtype)) for T in lengths]
    return dict(theta=normal(g, S, A, dtype=dtype), episodes=episodes, gamma=gamma)


def hand_episode(*parts):
    states, actions, rewards = parts
    return (torch.tensor(states), torch.tensor(actions), torch.tensor(rewards))


REINFORCE_SURROGATE_GRADIENT = Exercise(
    reference=reinforce_surrogate_gradient,
    parts={"one step": 1, "one episode": 2, "several episodes": 2, "no episode": 1, "clean": 1},
    cases=[
        Case(
            "one step",
            lambda g: dict(
                theta=torch.zeros(1, 2), episodes=[hand_episode([0], [0], [2.0])], gamma=0.5
            ),
            "one step",
        ),
        Case("one step of three actions", lambda g: some_episodes(g, 2, 3, [1]), "one step"),
        Case(
            "two steps",
            lambda g: dict(
                theta=torch.zeros(2, 2),
                episodes=[hand_episode([0, 1], [0, 1], [1.0, 4.0])],
                gamma=0.5,
            ),
            "one episode",
        ),
        Case("states seen twice", lambda g: some_episodes(g, 2, 2, [7]), "one episode"),
        Case("no discount", lambda g: some_episodes(g, 3, 2, [5], gamma=1.0), "one episode"),
        Case("seven other steps", lambda g: some_episodes(g, 2, 2, [7]), "one episode"),
        Case("three episodes", lambda g: some_episodes(g, 3, 2, [2, 5, 1]), "several episodes"),
        Case("two short episodes", lambda g: some_episodes(g, 2, 3, [3, 2]), "several episodes"),
        Case(
            "large preferences",
            lambda g: (
                some_episodes(g, 2, 2, [3, 2]) | dict(theta=1000.0 + integers(g, 4, 2, 2).to(F64))
            ),
            "several episodes",
        ),
        Case(
            "no episode at all",
            lambda g: some_episodes(g, 2, 2, []),
            "no episode",
            raises=True,
        ),
        Case(
            "float32",
            lambda g: some_episodes(g, 4, 3, [6, 3, 4, 1], dtype=torch.float32),
            "several episodes",
        ),
        Case(
            "rewards in the thousands",
            lambda g: dict(
                theta=torch.tensor([[0.0, 1.0], [-1.0, 0.0]]),
                episodes=[
                    hand_episode([0, 1, 1], [0, 1, 0], [1000.0, -4000.0, 2000.0]),
                    hand_episode([1], [1], [3000.0]),
                ],
                gamma=0.5,
            ),
            "several episodes",
        ),
    ],
    pitfalls=[
        Pitfall(
            "gamma^t missing",
            "The factor gamma^t is missing: then this is no estimate of the gradient of J = E[G_0].",
            estimate_with(to_go),
            "Deep-learning code leaves it out on purpose and accepts the bias; here it is measured.",
            also=(
                estimate_with(to_go, divide=steps_of),
                estimate_with(lambda r, gamma: to_go(r, gamma) / len(r)),
            ),
        ),
        Pitfall(
            "total return",
            "Every step is credited with the whole return G_0. Unbiased too, but usually noisier: use G_t.",
            estimate_with(lambda r, gamma: to_go(r, gamma)[:1].expand_as(r)),
        ),
        Pitfall(
            "gamma^t on the total return",
            "It is gamma^t G_0: the whole return of the episode in place of what followed step t.",
            estimate_with(lambda r, gamma: discounts(r, gamma) * to_go(r, gamma)[:1]),
        ),
        Pitfall(
            "gamma^t twice",
            "The factor gamma^t counts twice.",
            estimate_with(lambda r, gamma: discounts(r, gamma) ** 2 * to_go(r, gamma)),
        ),
        Pitfall(
            "discounted once more",
            "The factor is gamma^(t + 1): the first step, t = 0, is not discounted.",
            estimate_with(lambda r, gamma: gamma * discounts(r, gamma) * to_go(r, gamma)),
        ),
        Pitfall(
            "rewards not discounted",
            "The rewards to go are summed without their discount.",
            estimate_with(lambda r, gamma: discounts(r, gamma) * to_go(r, 1.0)),
        ),
        Pitfall(
            "gamma ignored",
            "gamma does not enter at all.",
            estimate_with(lambda r, gamma: to_go(r, 1.0)),
        ),
        Pitfall(
            "immediate reward only",
            "Each step is credited with its own reward; what follows does not count.",
            estimate_with(lambda r, gamma: discounts(r, gamma) * r),
            also=(estimate_with(lambda r, gamma: r),),
        ),
        Pitfall(
            "one step ahead",
            "Each step is credited with two rewards; what follows after them does not count.",
            estimate_with(
                lambda r, gamma: (
                    discounts(r, gamma) * (r + gamma * torch.cat([r[1:], torch.zeros_like(r[:1])]))
                )
            ),
        ),
        Pitfall(
            "past rewards",
            "Each step is credited with the rewards up to it, not with those that follow.",
            estimate_with(lambda r, gamma: (discounts(r, gamma) * r).cumsum(0)),
            also=(
                estimate_with(lambda r, gamma: to_go(r.flip(0), gamma).flip(0)),
                estimate_with(
                    lambda r, gamma: discounts(r, gamma) * to_go(r.flip(0), gamma).flip(0)
                ),
            ),
        ),
        Pitfall(
            "last step lost",
            "The last step of each episode is left out.",
            estimate_with(
                lambda r, gamma: (
                    discounts(r, gamma) * to_go(r, gamma) * (torch.arange(len(r)) < len(r) - 1)
                )
            ),
        ),
        Pitfall(
            "returns not used",
            "The returns do not enter: every action taken becomes more probable, good or bad.",
            estimate_with(discounts),
            also=(estimate_with(no_discounts),),
        ),
        Pitfall(
            "normalized returns",
            "It standardizes the returns: another estimate, whose scale says nothing.",
            baseline(NORMALIZED[0]),
            also=(
                baseline(NORMALIZED[1]),
                *(baseline(change, no_discounts) for change in NORMALIZED[:2]),
            ),
        ),
        Pitfall(
            "mean return subtracted",
            "It subtracts a mean return: a baseline, which is lesson 3's subject. This one knows the "
            "sample's own return, and is biased.",
            baseline(lambda ret: ret - ret.mean()),
            also=(baseline(lambda ret: ret - ret.mean(), no_discounts), surrogate_common_baseline),
        ),
        Pitfall(
            "mean over steps",
            "It divides by the number of steps; the average is over EPISODES.",
            estimate_with(divide=steps_of),
            "Long episodes would count less per step: a biased estimate.",
            also=(estimate_with(lambda r, gamma: discounts(r, gamma) * to_go(r, gamma) / len(r)),),
        ),
        Pitfall(
            "divided by N - 1",
            "It divides by N - 1; that is for variances.",
            estimate_with(divide=lambda episodes: max(len(episodes) - 1, 1)),
        ),
        Pitfall(
            "divided by the visits",
            "Each state's row is divided by its visits; the average is over EPISODES.",
            surrogate_divided_by_visits,
        ),
        Pitfall(
            "sum over episodes",
            "It does not divide by the number of episodes.",
            estimate_with(divide=lambda episodes: 1),
        ),
        Pitfall(
            "sign",
            "It points downhill: the sign is reversed.",
            estimate_with(divide=lambda episodes: -len(episodes)),
        ),
        Pitfall(
            "last episode only",
            "Only the last episode counts.",
            surrogate_last_episode,
            also=(surrogate_last_of_n,),
        ),
        Pitfall(
            "first episode only",
            "Only the first episode counts: does `return` stand inside the loop?",
            surrogate_first_episode,
            also=(surrogate_first_of_n,),
        ),
        Pitfall(
            "shortest episode's length",
            "It cuts all episodes to the length of the shortest; T varies.",
            surrogate_shortest,
        ),
        Pitfall(
            "episodes run together",
            "The episodes are joined into one: rewards of the next leak into the one before.",
            surrogate_run_together,
            also=(surrogate_leaks, surrogate_leaks_without_gamma),
        ),
        Pitfall(
            "time runs on",
            "t counts on from one episode to the next; each begins with t = 0.",
            surrogate_clock_runs_on,
        ),
        *(
            Pitfall(
                name,
                says,
                estimate_with(score=fns[0]),
                also=tuple(estimate_with(score=fn) for fn in fns[1:]),
            )
            for name, says, fns in WRONG_SCORES
        ),
        Pitfall(
            "overflow",
            "exp of a large preference is inf: use your stable softmax.",
            estimate_with(score=score_overflows),
        ),
        Pitfall(
            "softmax over states",
            "The policy is normalized over states; the actions are on the last axis.",
            surrogate_softmax_over_states,
        ),
        Pitfall(
            "all rows pulled down",
            "-pi is added to the rows of all states; only the state that was visited has a score.",
            surrogate_pi_everywhere,
        ),
        Pitfall(
            "visits overwritten",
            "A state that is visited again overwrites its row: add to it (+=).",
            surrogate_overwrites,
        ),
        Pitfall(
            "repeated states lost",
            "Of several visits to a state in one episode only the last counts, as after `grad[states] += …`: "
            "add each of them.",
            surrogate_duplicates_lost,
        ),
        Pitfall(
            "first visits only",
            "Only the first time that an action is taken in a state counts; every step does.",
            surrogate_first_visits,
        ),
        Pitfall(
            "random search",
            "It draws random numbers of its own, as random search does: the episodes are given, "
            "and the estimate is a definite function of them.",
            surrogate_random,
            RANDOM_WHY,
            uses_random_numbers,
        ),
    ],
    read="lesson 2, “Is it unbiased?”; Sutton & Barto, section 13.3",
)

# --- gradient_variance ---


def variance_biased(grads):
    return grads.var(dim=0, correction=0).sum()


def variance_std(grads):
    return grads.std(dim=0).sum()


def variance_root(grads):
    return gradient_variance(grads).sqrt()


def variance_mean_parameter(grads):
    return grads.var(dim=0).mean()


def variance_per_parameter(grads):
    return grads.var(dim=0)


def variance_flat(grads):
    return grads.var()


def variance_counts_all(grads):
    return centered(grads).square().sum() / (grads.numel() - 1)


def centered(grads):
    return grads - grads.mean(0)


def variance_around(center):
    """The mean square around something other than the mean sample."""
    return lambda grads: (grads - center(grads)).square().sum() / (len(grads) - 1)


def variance_of_norms(grads):
    return grads.norm(dim=1).var()


def variance_of_sum(grads):
    return grads.sum(dim=1).var()


def variance_within_sample(grads):
    return row_variances(grads).sum()


def row_variances(grads):
    """The spread over the parameters of each sample; nan for one parameter."""
    deviations = grads - grads.mean(1, keepdim=True)
    return deviations.square().sum(1) / torch.tensor(grads.shape[1] - 1.0)


def variance_of_mean(grads):
    return gradient_variance(grads) / len(grads)


def variance_of_changed(change):
    """The variance of other samples."""
    return lambda grads: gradient_variance(change(grads))


SCALED_GRADS = [
    lambda grads: grads / (grads.std() + 1e-8),
    lambda grads: grads / (grads.std(0) + 1e-8),
    lambda grads: grads / (grads.std(0, correction=0) + 1e-8),
    lambda grads: grads / (grads.norm(dim=1, keepdim=True) + 1e-8),
]


def halves(grads):
    half = len(grads) // 2
    return grads[:half].mean(0), grads[half:].mean(0)


def even_halves(grads):
    half = len(grads) // 2
    return grads[:half].mean(0), grads[half : 2 * half].mean(0)


def variance_of_halves(parts, scaled=False):
    def variance(grads):
        one, other = parts(grads)
        return (one - other).square().sum() / 2 * (len(grads) // 2 if scaled else 1)

    return variance


def variance_of_steps(grads):
    return (grads[1:] - grads[:-1]).square().sum() / (2 * (len(grads) - 1))


def variance_absolute(grads):
    return centered(grads).abs().sum() / (len(grads) - 1)


def variance_cancels(grads):
    return (centered(grads).sum(0) / (len(grads) - 1)).sum()


def variance_not_divided(grads):
    return centered(grads).square().sum()


def variance_by_parameters(less):
    return lambda grads: centered(grads).square().sum() / max(grads.shape[1] - less, 1)


def variance_relative(grads):
    return gradient_variance(grads) / grads.mean(0).square().sum()


def variance_by_squares(grads):
    n = len(grads)
    return ((grads**2).mean(0) - grads.mean(0) ** 2).sum() * n / (n - 1)


def variance_by_squares_biased(grads):
    return ((grads**2).mean(0) - grads.mean(0) ** 2).sum()


def variance_determinant(grads):
    return torch.linalg.det(torch.atleast_2d(torch.cov(grads.T)))


def variance_main_direction(grads):
    return torch.linalg.eigvalsh(torch.atleast_2d(torch.cov(grads.T)))[-1]


def samples_of(*shape, shift=0.0, dtype=torch.float32):
    return lambda g: dict(
        grads=normal(g, *shape, dtype=dtype) * normal(g, shape[1], dtype=dtype) + shift
    )


HAND_GRADS = lambda g: dict(grads=torch.tensor([[1.0, 0.0], [3.0, 4.0]]))  # noqa: E731

VARIANCE_CASES = [
    Case("two samples", HAND_GRADS, "values"),
    Case("three samples of one parameter", samples_of(3, 1), "values"),
    Case("twenty samples", samples_of(20, 4), "values"),
    Case("far from zero", samples_of(9, 3, shift=5.0), "values"),
    Case("float64", samples_of(50, 6, dtype=F64), "values"),
    Case("twenty others", samples_of(20, 4), "values"),
    Case("very far from zero", samples_of(9, 3, shift=2000.0), "far from zero"),
    Case("one sample", samples_of(1, 3), "one sample", raises=True),
    Case("gradients in the thousands", lambda g: times(1e4, HAND_GRADS(g), "grads"), "values"),
]

GRADIENT_VARIANCE = Exercise(
    reference=gradient_variance,
    parts={"values": 2, "far from zero": 1, "one sample": 1, "clean": 1},
    cases=VARIANCE_CASES,
    pitfalls=[
        Pitfall(
            "divided by N",
            "It divides by N, not N - 1: too small on average, most of all for few samples.",
            variance_biased,
        ),
        Pitfall(
            "standard deviation",
            "It sums standard deviations; variances add up, deviations do not.",
            variance_std,
        ),
        Pitfall(
            "root taken",
            "It is the square root of the total variance; V itself was asked for.",
            variance_root,
        ),
        Pitfall(
            "mean over parameters",
            "It averages over the parameters; the total is their sum.",
            variance_mean_parameter,
        ),
        Pitfall(
            "one number per parameter",
            "It returns one variance per parameter: sum them.",
            variance_per_parameter,
        ),
        Pitfall(
            "parameters as samples",
            "It takes all N × P numbers for samples of one quantity: the P parts of a gradient are not.",
            variance_flat,
            also=(variance_counts_all,),
        ),
        Pitfall(
            "divided by the parameters",
            "It divides by the number of parameters; the samples are what is averaged over.",
            variance_by_parameters(0),
            also=(variance_by_parameters(1),),
        ),
        Pitfall(
            "not divided",
            "The squares are added up, but not divided by N - 1.",
            variance_not_divided,
        ),
        Pitfall(
            "mean not subtracted",
            "It is the mean square: the gradient itself counts as noise.",
            variance_around(torch.zeros_like),
            also=(lambda grads: grads.square().sum() / len(grads),),
        ),
        Pitfall(
            "another mean subtracted",
            "It subtracts the mean over the parameters too; each parameter has its own mean over the samples.",
            variance_around(torch.mean),
            also=(variance_around(lambda grads: grads.mean(1, keepdim=True)),),
        ),
        Pitfall(
            "another center",
            "It measures the distance from the median or from one sample; the mean belongs there.",
            variance_around(lambda grads: grads.median(0).values),
            also=(
                variance_around(lambda grads: grads[:1]),
                variance_around(lambda grads: grads[-1:]),
            ),
        ),
        Pitfall(
            "deviations cancel",
            "It adds the deviations from the mean without squaring each: they cancel to 0.",
            variance_cancels,
        ),
        Pitfall(
            "absolute deviations",
            "It adds absolute deviations; a variance adds their squares.",
            variance_absolute,
        ),
        Pitfall(
            "variance of the norm",
            "It is the variance of the gradients' LENGTHS: they may point anywhere and agree in length.",
            variance_of_norms,
        ),
        Pitfall(
            "parameters summed first",
            "It adds or averages the parameters of each sample first: errors of opposite sign cancel.",
            variance_of_sum,
            also=(lambda grads: grads.mean(1).var(),),
        ),
        Pitfall(
            "wrong axis",
            "It measures the spread over the parameters of a sample, not over the samples.",
            variance_within_sample,
            also=(lambda grads: row_variances(grads).mean(),),
        ),
        Pitfall(
            "one direction only",
            "It measures one parameter or direction alone; the total is over all of them.",
            lambda grads: grads.var(0)[0],
            also=(lambda grads: grads.var(0).max(), variance_main_direction, variance_determinant),
        ),
        Pitfall(
            "variance of the mean",
            "It divides by N once more: the variance of the MEAN, not of one sample.",
            variance_of_mean,
        ),
        Pitfall(
            "normalized first",
            "It standardizes the samples first: what is left says nothing about their spread.",
            variance_of_changed(SCALED_GRADS[0]),
            also=tuple(map(variance_of_changed, SCALED_GRADS[1:])),
        ),
        Pitfall(
            "relative variance",
            "It divides by the squared length of the mean gradient: V itself was asked for.",
            variance_relative,
        ),
        Pitfall(
            "two half-batches",
            "It judges from two half-batch means: a mean of N/2 varies N/2 times less, and two say little.",
            variance_of_halves(halves),
            also=(
                variance_of_halves(halves, scaled=True),
                variance_of_halves(even_halves),
                variance_of_halves(even_halves, scaled=True),
            ),
        ),
        Pitfall(
            "neighboring samples",
            "It compares each sample with the next one, not with the mean.",
            variance_of_steps,
        ),
        Pitfall(
            "difference of large squares",
            "E[g^2] - E[g]^2 subtracts two large numbers: far from zero the digits that matter are lost.",
            variance_by_squares,
            also=(variance_by_squares_biased,),
        ),
    ],
    read="lesson 2, “How noisy is it?”",
)

# --- standard_error ---


def error_of_one(grads):
    return gradient_variance(grads).sqrt()


def error_divided_by_n(grads):
    return gradient_variance(grads).sqrt() / len(grads)


def error_squared(grads):
    return gradient_variance(grads) / len(grads)


def error_counts_parameters(grads):
    return (gradient_variance(grads) / grads.numel()).sqrt()


def error_biased(grads):
    return (variance_biased(grads) / len(grads)).sqrt()


def error_n_minus_one(grads):
    return (gradient_variance(grads) / (len(grads) - 1)).sqrt()


def error_sum_of_errors(grads):
    return (grads.std(dim=0) / math.sqrt(len(grads))).sum()


def error_relative(grads):
    return standard_error(grads) / grads.mean(0).norm()


def error_of(variance):
    """The error from another variance of one sample."""
    return lambda grads: (variance(grads) / len(grads)).sqrt()


def error_of_halves(parts, share):
    def error(grads):
        one, other = parts(grads)
        return share * (one - other).norm()

    return error


def error_bootstrap(grads):
    drawn = [grads[torch.randint(len(grads), (len(grads),))].mean(0) for _ in range(30)]
    return torch.stack(drawn).var(0).sum().sqrt()


STANDARD_ERROR = Exercise(
    reference=standard_error,
    parts={"values": 2, "far from zero": 1, "one sample": 1, "clean": 1},
    cases=VARIANCE_CASES,
    pitfalls=[
        Pitfall(
            "spread of one sample",
            "It is the spread of ONE sample: the mean of N is sqrt(N) times closer.",
            error_of_one,
            "Confusing the two overstates the error of a batch by a factor of sqrt(N).",
        ),
        Pitfall(
            "divided by N",
            "The standard deviation is divided by N; the error falls like 1/sqrt(N) only.",
            error_divided_by_n,
            "This is how REINFORCE's noise is underestimated: ten times better needs a hundred times the data.",
        ),
        Pitfall(
            "root missing",
            "It is the variance of the mean; the error is its square root.",
            error_squared,
        ),
        Pitfall(
            "parameters as samples",
            "It counts N × P independent samples: the P parts of one gradient come from one episode.",
            error_counts_parameters,
            "Only the rows, one for each episode, are sure to be independent of each other.",
            also=(error_of(variance_flat), lambda grads: grads.std() / math.sqrt(grads.numel())),
        ),
        Pitfall("variance over N", "The variance inside divides by N, not N - 1.", error_biased),
        Pitfall(
            "N - 1 twice",
            "V is unbiased already; the mean's variance is V / N, not V / (N - 1).",
            error_n_minus_one,
        ),
        Pitfall(
            "divided by P",
            "It divides by the number of parameters; N is the number of samples, the rows.",
            lambda grads: (gradient_variance(grads) / grads.shape[1]).sqrt(),
        ),
        Pitfall(
            "multiplied by N",
            "More samples make it larger: V must be divided by N.",
            lambda grads: (gradient_variance(grads) * len(grads)).sqrt(),
        ),
        Pitfall(
            "root of N only",
            "It is V / sqrt(N): the root belongs over V too.",
            lambda grads: gradient_variance(grads) / math.sqrt(len(grads)),
        ),
        Pitfall(
            "errors added",
            "It adds the parameters' errors; independent errors add in squares.",
            error_sum_of_errors,
        ),
        Pitfall(
            "error of one parameter",
            "It averages over the parameters or takes one of them; the distance is over all of them.",
            lambda grads: grads.std(0).mean() / math.sqrt(len(grads)),
            also=(
                error_of(lambda grads: grads.var(0).max()),
                error_of(lambda grads: grads.var(0)[0]),
                lambda grads: variance_mean_parameter(grads) / len(grads),
            ),
        ),
        Pitfall(
            "one number per parameter",
            "It returns one error per parameter: the distance is the root of the sum of their squares.",
            lambda grads: grads.std(0) / math.sqrt(len(grads)),
        ),
        Pitfall(
            "error of the length",
            "It is the error of the gradients' lengths, as if they all pointed one way.",
            error_of(variance_of_norms),
        ),
        Pitfall(
            "parameters summed first",
            "It adds or averages the parameters of each sample first: errors of opposite sign cancel.",
            error_of(variance_of_sum),
            also=(error_of(lambda grads: grads.mean(1).var()),),
        ),
        Pitfall(
            "wrong axis",
            "It measures the spread over the parameters of a sample, not over the samples.",
            error_of(variance_within_sample),
            also=(error_of(lambda grads: row_variances(grads).mean()),),
        ),
        Pitfall(
            "mean not subtracted",
            "The variance inside is a mean square: the gradient itself counts as error.",
            error_of(variance_around(torch.zeros_like)),
            also=(error_of(lambda grads: grads.square().sum() / len(grads)),),
        ),
        Pitfall(
            "length of the mean",
            "It is the length of the mean gradient: the signal, not the error.",
            lambda grads: grads.mean(0).norm(),
        ),
        Pitfall(
            "normalized first",
            "It standardizes the samples first: what is left says nothing about their error.",
            error_of(variance_of_changed(SCALED_GRADS[0])),
            also=tuple(error_of(variance_of_changed(change)) for change in SCALED_GRADS[1:]),
        ),
        Pitfall(
            "two half-batches",
            "It judges from two half-batches: two means say little about the spread of all samples.",
            error_of_halves(halves, 1.0),
            also=tuple(
                error_of_halves(parts, share)
                for parts in (halves, even_halves)
                for share in (1.0, 0.5, 0.5**0.5)
            )[1:],
        ),
        Pitfall(
            "difference of large squares",
            "E[g^2] - E[g]^2 subtracts two large numbers: far from zero the digits that matter are lost.",
            error_of(variance_by_squares),
            also=(error_of(variance_by_squares_biased),),
        ),
        Pitfall(
            "relative error",
            "It divides by the length of the mean gradient: the plain error was asked for.",
            error_relative,
        ),
        Pitfall(
            "resampled",
            "It draws random numbers (a bootstrap): near, but the formula is exact and needs none.",
            error_bootstrap,
            telltale=uses_random_numbers,
        ),
    ],
    read="lesson 2, “What it costs”",
)

# --- episodes_needed ---


def needed_error_not_squared(variance, error):
    return math.ceil(float(variance) / error)


def needed_floor(variance, error):
    return int(float(variance) / error**2)


def needed_from_spread(variance, error):
    return math.ceil(math.sqrt(float(variance)) / error)


def needed_not_rounded(variance, error):
    return float(variance) / error**2


def needed_variance_squared(variance, error):
    return math.ceil((float(variance) / error) ** 2)


def needed_inverse(variance, error):
    return math.ceil(error**2 / float(variance))


def needed_halves(variance, error):
    return math.ceil(math.log2(math.sqrt(float(variance)) / error))


def needed_times(c):
    return lambda variance, error: math.ceil(c * float(variance) / error**2)


def needed_plus(n):
    return lambda variance, error: episodes_needed(variance, error) + n


def needed_squared_late(variance, error):
    return math.ceil(math.sqrt(float(variance)) / error) ** 2


EPISODES_NEEDED = Exercise(
    reference=episodes_needed,
    driver="whole",
    parts={"values": 1, "rounding": 1, "clean": 1},
    cases=[
        Case("variance 4, error 1/2", lambda g: dict(variance=4.0, error=0.5), "values"),
        Case("variance 9, error 1/4", lambda g: dict(variance=9.0, error=0.25), "values"),
        Case("a tensor", lambda g: dict(variance=torch.tensor(8.0), error=0.125), "values"),
        Case(
            "a whole number of episodes",
            lambda g: dict(variance=1.0 + int(integers(g, 1000)), error=0.25),
            "values",
        ),
        Case("variance 1, error 0.3", lambda g: dict(variance=1.0, error=0.3), "rounding"),
        Case("variance 3/2, error 0.3", lambda g: dict(variance=1.5, error=0.3), "rounding"),
        Case(
            "random numbers",
            lambda g: dict(variance=1.003 + 5 * float(torch.rand((), generator=g)), error=0.0507),
            "rounding",
        ),
        Case("error 0", lambda g: dict(variance=1.0, error=0.0), "rounding", raises=True),
        Case("error -1/4", lambda g: dict(variance=1.0, error=-0.25), "rounding", raises=True),
        Case("a variance of ten million", lambda g: dict(variance=1e7, error=3.0), "rounding"),
    ],
    pitfalls=[
        Pitfall(
            "error not squared",
            "It divides by the error, not its square: half the error needs FOUR times the episodes.",
            needed_error_not_squared,
            "This is what underestimating REINFORCE's variance looks like on a budget.",
        ),
        Pitfall("rounded down", "It rounds down: one episode too few.", needed_floor),
        Pitfall(
            "spread for variance",
            "It uses the square root of the variance: sqrt(V) / error still has to be squared.",
            needed_from_spread,
        ),
        Pitfall(
            "not a whole number",
            "It is a float; episodes come whole, as an int: round up with math.ceil.",
            needed_not_rounded,
            also=(lambda variance, error: float(episodes_needed(variance, error)),),
        ),
        Pitfall(
            "rounded too early",
            "It rounds before it squares or divides; round the result, once.",
            needed_squared_late,
            also=(
                lambda variance, error: math.ceil(float(variance) / error) ** 2,
                lambda variance, error: math.ceil(math.ceil(float(variance)) / error**2),
                lambda variance, error: math.ceil(float(variance)) // error**2,
            ),
        ),
        Pitfall(
            "one too many",
            "It adds one although the result is rounded up: a whole number needs no more.",
            lambda variance, error: math.floor(float(variance) / error**2) + 1,
            also=(needed_plus(1),),
        ),
        Pitfall("one too few", "It is one less than needed.", needed_plus(-1)),
        Pitfall(
            "rounded to the nearest",
            "It rounds to the nearest whole number, so sometimes down: one episode too few.",
            lambda variance, error: round(float(variance) / error**2),
        ),
        Pitfall(
            "confidence interval",
            "It multiplies by a number, as for a confidence interval: the standard error itself is wanted.",
            needed_times(1.96**2),
            also=tuple(map(needed_times, (1.96, 2, 3, 4, 9, 1 / 2, 1 / 4))),
        ),
        Pitfall(
            "root over the square",
            "It takes the root of the variance and the square of the error; V is squared units already.",
            lambda variance, error: math.ceil(math.sqrt(float(variance)) / error**2),
        ),
        Pitfall(
            "multiplied",
            "It multiplies by the squared error: a smaller error must need MORE episodes.",
            lambda variance, error: math.ceil(float(variance) * error**2),
        ),
        Pitfall(
            "variance squared",
            "The variance is squared too; only the error is.",
            needed_variance_squared,
        ),
        Pitfall("upside down", "Numerator and denominator are exchanged.", needed_inverse),
        Pitfall(
            "logarithm",
            "It counts halvings, as for bisection: averages get better far more slowly.",
            needed_halves,
        ),
    ],
    read="lesson 2, “What it costs”",
)

EXERCISES = [
    DISCOUNTED_RETURNS,
    REINFORCE_LOSS,
    REINFORCE_SURROGATE_GRADIENT,
    GRADIENT_VARIANCE,
    STANDARD_ERROR,
    EPISODES_NEEDED,
    QUIZ_REINFORCE,
]
