"""Exercises of lesson 2: returns, REINFORCE as a loss and as an estimate, and what its variance costs."""

import math

import torch

from pgcourse.checks.core import Case, Exercise, Pitfall
from pgcourse.checks.drivers import uses_random_numbers
from pgcourse.checks.make_inputs import flags, integers, normal
from pgcourse.checks.policy_gradient_theorem import RANDOM_WHY
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


def returns_normalized(rew, ended, gamma, last_val=0.0):
    ret = discounted_returns(rew, ended, gamma, last_val)
    return (ret - ret.mean()) / (ret.std(correction=0) + 1e-8)


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
        Case("three environments", lambda g: rewards(g, 20, 3), "environments"),
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
            "reset on reward",
            "It resets the sum where the reward is large (a trick for Pong), not where an episode ends.",
            returns_reset_on_reward,
        ),
        Pitfall(
            "no bootstrap",
            "It ignores last_val: the end of the batch is taken for the end of the episode.",
            returns_no_bootstrap,
            "The last steps of every batch look worse than they are.",
        ),
        Pitfall(
            "bootstrap at every end",
            "last_val is added where an episode ended, too: nothing follows there.",
            returns_bootstrap_everywhere,
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
            "It is noise without bias: an action cannot change what was earned before it.",
        ),
        Pitfall(
            "past rewards",
            "It sums forward in time: each step gets the rewards BEFORE it, not after.",
            returns_past,
        ),
        Pitfall(
            "normalized returns",
            "It standardizes the returns; that is a separate step, and another estimate.",
            returns_normalized,
        ),
        Pitfall(
            "one end resets all",
            "Where one environment's episode ends, the sums of all environments are cut.",
            returns_any_environment,
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


def loss_normalized(logp, ret):
    ret = ret.detach()
    return -(logp * (ret - ret.mean()) / (ret.std(correction=0) + 1e-8)).mean()


def loss_centered(logp, ret):
    return -(logp * (ret - ret.mean()).detach()).mean()


def loss_outer(logp, ret):
    return -(logp.reshape(-1, 1) * ret.detach().reshape(1, -1)).mean()


def loss_first_return(logp, ret):
    return -(logp * ret.detach()[0]).mean()


def loss_abs(logp, ret):
    return -(logp * ret.detach().abs()).mean()


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
            "log-probabilities [5] and returns [5, 1]",
            lambda g: logps(g, 5) | dict(ret=normal(g, 5, 1)),
            "shapes",
            raises=True,
        ),
    ],
    pitfalls=[
        Pitfall("sum for mean", "It sums over the steps; the mean was asked for.", loss_sum),
        Pitfall(
            "sign",
            "The minus is missing: gradient DEscent would make good actions less probable.",
            loss_sign,
            "The loss would fall while the return falls too.",
        ),
        Pitfall(
            "gradient into the returns",
            "The gradient also flows into the returns: detach them.",
            loss_into_returns,
            "A learned reward or baseline would be trained to please the actor.",
        ),
        Pitfall(
            "normalized over time",
            "It standardizes the returns: half of the steps become negative by construction.",
            loss_normalized,
        ),
        Pitfall(
            "mean return subtracted",
            "It subtracts the batch's mean return: a baseline, which is lesson 3's subject.",
            loss_centered,
        ),
        Pitfall(
            "every action by every return",
            "A [T, 1] against a [T] became a T × T table: every action is credited with the average return.",
            loss_outer,
            "No error, no warning, and nothing is learned.",
        ),
        Pitfall(
            "first return for all",
            "Every step is credited with the first return.",
            loss_first_return,
        ),
        Pitfall(
            "absolute returns",
            "It uses the size of the returns: bad actions are reinforced too.",
            loss_abs,
        ),
        Pitfall(
            "probability for log-probability",
            "It uses the probability in place of its logarithm: rare actions barely learn.",
            loss_probability,
        ),
        Pitfall("log of the log", "It takes the logarithm of logp once more.", loss_log_twice),
        Pitfall(
            "log-probability missing",
            "logp does not enter: the loss does not depend on the policy.",
            loss_no_logp,
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


def estimate(theta, episodes, weight, scores=None):
    """1/N sum over steps of weight(t, rewards) * score; what the mistakes below vary."""
    grad, pi = torch.zeros_like(theta), torch.softmax(theta, -1)
    for states, actions, rewards in episodes:
        for t, (s, a) in enumerate(zip(states, actions, strict=True)):
            grad[s] -= weight(t, rewards) * pi[s]
            grad[s, a] += weight(t, rewards)
    return grad / len(episodes)


def to_go(rewards, t, gamma):
    return sum(gamma**k * r for k, r in enumerate(rewards[t:]))


def surrogate_without_gamma(theta, episodes, gamma):
    return estimate(theta, episodes, lambda t, r: to_go(r, t, gamma))


def surrogate_total_return(theta, episodes, gamma):
    return estimate(theta, episodes, lambda t, r: to_go(r, 0, gamma))


def surrogate_gamma_twice(theta, episodes, gamma):
    return estimate(theta, episodes, lambda t, r: gamma ** (2 * t) * to_go(r, t, gamma))


def surrogate_undiscounted(theta, episodes, gamma):
    return estimate(theta, episodes, lambda t, r: gamma**t * r[t:].sum())


def surrogate_reward_only(theta, episodes, gamma):
    return estimate(theta, episodes, lambda t, r: gamma**t * r[t])


def surrogate_per_step(theta, episodes, gamma):
    steps = sum(len(r) for _, _, r in episodes)
    return reinforce_surrogate_gradient(theta, episodes, gamma) * len(episodes) / steps


def surrogate_sum(theta, episodes, gamma):
    return reinforce_surrogate_gradient(theta, episodes, gamma) * len(episodes)


def surrogate_sign(theta, episodes, gamma):
    return -reinforce_surrogate_gradient(theta, episodes, gamma)


def surrogate_last_episode(theta, episodes, gamma):
    return reinforce_surrogate_gradient(theta, episodes[-1:], gamma)


def surrogate_run_together(theta, episodes, gamma):
    states, actions, rewards = (torch.cat(parts) for parts in zip(*episodes, strict=True))
    whole = reinforce_surrogate_gradient(theta, [(states, actions, rewards)], gamma)
    return whole / len(episodes)


def surrogate_taken_only(theta, episodes, gamma):
    grad = torch.zeros_like(theta)
    for states, actions, rewards in episodes:
        for t, (s, a) in enumerate(zip(states, actions, strict=True)):
            grad[s, a] += gamma**t * to_go(rewards, t, gamma)
    return grad / len(episodes)


def surrogate_overwrites(theta, episodes, gamma):
    grad, pi = torch.zeros_like(theta), torch.softmax(theta, -1)
    for states, actions, rewards in episodes:
        for t, (s, a) in enumerate(zip(states, actions, strict=True)):
            grad[s] = -(gamma**t) * to_go(rewards, t, gamma) * pi[s]
            grad[s, a] += gamma**t * to_go(rewards, t, gamma)
    return grad / len(episodes)


def surrogate_random(theta, episodes, gamma):
    noise = torch.randn(len(episodes), *theta.shape, dtype=theta.dtype)
    totals = torch.stack([to_go(r, 0, gamma) for _, _, r in episodes])
    return (totals.view(-1, 1, 1) * noise).mean(0)


def some_episodes(g, S, A, lengths, gamma=0.9, dtype=F64):
    episodes = [(integers(g, S, T), integers(g, A, T), normal(g, T, dtype=dtype)) for T in lengths]
    return dict(theta=normal(g, S, A, dtype=dtype), episodes=episodes, gamma=gamma)


def hand_episode(*parts):
    states, actions, rewards = parts
    return (torch.tensor(states), torch.tensor(actions), torch.tensor(rewards))


REINFORCE_SURROGATE_GRADIENT = Exercise(
    reference=reinforce_surrogate_gradient,
    parts={"one step": 1, "one episode": 2, "several episodes": 2, "clean": 1},
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
        Case("three episodes", lambda g: some_episodes(g, 3, 2, [2, 5, 1]), "several episodes"),
        Case(
            "float32",
            lambda g: some_episodes(g, 4, 3, [6, 3, 4, 1], dtype=torch.float32),
            "several episodes",
        ),
    ],
    pitfalls=[
        Pitfall(
            "gamma^t missing",
            "The factor gamma^t is missing: then this is no estimate of the gradient of J = E[G_0].",
            surrogate_without_gamma,
            "Deep-learning code leaves it out on purpose and accepts the bias; here it is measured.",
        ),
        Pitfall(
            "total return",
            "Every step is credited with the whole return G_0. Unbiased too, but noisier: use G_t.",
            surrogate_total_return,
        ),
        Pitfall("gamma^t twice", "The factor gamma^t counts twice.", surrogate_gamma_twice),
        Pitfall(
            "rewards not discounted",
            "The rewards to go are summed without their discount.",
            surrogate_undiscounted,
        ),
        Pitfall(
            "immediate reward only",
            "Each step is credited with its own reward; what follows does not count.",
            surrogate_reward_only,
        ),
        Pitfall(
            "mean over steps",
            "It divides by the number of steps; the average is over EPISODES.",
            surrogate_per_step,
            "Long episodes would count less per step: a biased estimate.",
        ),
        Pitfall(
            "sum over episodes", "It does not divide by the number of episodes.", surrogate_sum
        ),
        Pitfall("sign", "It points downhill: the sign is reversed.", surrogate_sign),
        Pitfall("last episode only", "Only the last episode counts.", surrogate_last_episode),
        Pitfall(
            "episodes run together",
            "The episodes are joined into one: rewards of the next leak into the one before.",
            surrogate_run_together,
        ),
        Pitfall(
            "taken action only",
            "Only the taken action's entry is filled: the -pi of the others is missing.",
            surrogate_taken_only,
        ),
        Pitfall(
            "visits overwritten",
            "A state that is visited again overwrites its row: add to it (+=).",
            surrogate_overwrites,
        ),
        Pitfall(
            "random search",
            "It weighs random perturbations by the return: the actions taken do not enter.",
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


def variance_mean_parameter(grads):
    return grads.var(dim=0).mean()


def variance_per_parameter(grads):
    return grads.var(dim=0)


def variance_flat(grads):
    return grads.var()


def variance_uncentered(grads):
    return (grads**2).sum() / (len(grads) - 1)


def variance_of_norms(grads):
    return grads.norm(dim=1).var()


def variance_of_sum(grads):
    return grads.sum(dim=1).var()


def variance_within_sample(grads):
    return grads.var(dim=1).sum()


def variance_of_mean(grads):
    return grads.var(dim=0).sum() / len(grads)


def variance_normalized(grads):
    grads = (grads - grads.mean()) / (grads.std() + 1e-8)
    return grads.var(dim=0).sum()


def variance_half_batches(grads):
    half = len(grads) // 2
    means = torch.stack([grads[:half].mean(0), grads[half:].mean(0)])
    return means.var(dim=0).sum()


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
    Case("one sample", samples_of(1, 3), "one sample", raises=True),
]

GRADIENT_VARIANCE = Exercise(
    reference=gradient_variance,
    parts={"values": 2, "one sample": 1, "clean": 1},
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
            "It takes all N × P numbers for samples of one quantity: differences BETWEEN parameters count as noise.",
            variance_flat,
        ),
        Pitfall(
            "mean not subtracted",
            "It is the mean square: the gradient itself counts as noise.",
            variance_uncentered,
        ),
        Pitfall(
            "variance of the norm",
            "It is the variance of the gradients' LENGTHS: they may point anywhere and agree in length.",
            variance_of_norms,
        ),
        Pitfall(
            "parameters summed first",
            "It sums the parameters of each sample first: errors of opposite sign cancel.",
            variance_of_sum,
        ),
        Pitfall(
            "wrong axis",
            "It measures the spread over the parameters of a sample, not over the samples.",
            variance_within_sample,
        ),
        Pitfall(
            "variance of the mean",
            "It divides by N once more: the variance of the MEAN, not of one sample.",
            variance_of_mean,
        ),
        Pitfall(
            "normalized first",
            "It standardizes the samples first: what is left says nothing about their spread.",
            variance_normalized,
        ),
        Pitfall(
            "two half-batches",
            "It compares two half-batch means and forgets to scale: a mean of N/2 varies N/2 times less.",
            variance_half_batches,
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


STANDARD_ERROR = Exercise(
    reference=standard_error,
    parts={"values": 2, "one sample": 1, "clean": 1},
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
            "Steps or parameters of one episode are not independent of each other.",
        ),
        Pitfall("variance over N", "The variance inside divides by N, not N - 1.", error_biased),
        Pitfall(
            "N - 1 twice",
            "V is unbiased already; the mean's variance is V / N, not V / (N - 1).",
            error_n_minus_one,
        ),
        Pitfall(
            "errors added",
            "It adds the parameters' errors; independent errors add in squares.",
            error_sum_of_errors,
        ),
        Pitfall(
            "relative error",
            "It divides by the length of the mean gradient: the plain error was asked for.",
            error_relative,
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


EPISODES_NEEDED = Exercise(
    reference=episodes_needed,
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
        Case(
            "random numbers",
            lambda g: dict(variance=1.003 + 5 * float(torch.rand((), generator=g)), error=0.0507),
            "rounding",
        ),
        Case("error 0", lambda g: dict(variance=1.0, error=0.0), "rounding", raises=True),
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
        Pitfall("not a whole number", "Episodes come whole: round up.", needed_not_rounded),
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
]
