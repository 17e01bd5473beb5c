"""Exercises of lesson 1: exact values, the exact gradient and its estimate; the first three in the new form."""

import torch

from pgcourse.checks.core import Case, Exercise, Pitfall
from pgcourse.checks.drivers import uses_random_numbers
from pgcourse.checks.make_inputs import integers, normal, times
from pgcourse.estimators import score_function_gradient
from pgcourse.exercises import policy_gradient_theorem as first
from pgcourse.mdp import (
    MDP,
    action_values,
    episodic_mdp,
    exact_policy_gradient,
    expected_return,
    occupancy,
    random_mdp,
)

F64 = torch.float64


def softmax_overflows(theta):
    return torch.exp(theta) / torch.exp(theta).sum(-1, keepdim=True)


# --- grad_log_softmax: wrong scores, which the exercises below use too ---


def onehot(theta, action):
    return torch.eye(len(theta), dtype=theta.dtype)[action]


def minus_softmax(theta, action):
    return onehot(theta, action) - torch.softmax(theta, -1)


def score_taken_only(theta, action):
    return onehot(theta, action) * minus_softmax(theta, action)


def score_logits_as_probs(theta, action):
    return onehot(theta, action) - theta


def score_of_probability(theta, action):
    return torch.softmax(theta, -1)[action] * minus_softmax(theta, action)


def score_divided_by_pi(theta, action):
    return minus_softmax(theta, action) / torch.softmax(theta, -1)[action]


def score_weighted_by_pi(theta, action):
    return torch.softmax(theta, -1) * minus_softmax(theta, action)


def score_log_twice(theta, action):
    return onehot(theta, action) - torch.log_softmax(theta, -1)


def score_uniform(theta, action):
    return onehot(theta, action) - 1 / len(theta)


def score_softmax_twice(theta, action):
    return minus_softmax(torch.softmax(theta, -1), action)


def score_through_two_softmaxes(theta, action):
    pi = torch.softmax(theta, -1)
    outer = minus_softmax(pi, action)
    return pi * (outer - (pi * outer).sum())


def score_minus_pi(theta, action):
    return -torch.softmax(theta, -1)


def score_overwritten(theta, action):
    score = -torch.softmax(theta, -1)
    score[action] = 1
    return score


def score_one_minus_pi(theta, action):
    return 1 - torch.softmax(theta, -1)


def score_others_raised(theta, action):
    return minus_softmax(theta, action).abs()


def score_others_alike(theta, action):
    """The others are pushed down alike, so that all entries still sum to 0."""
    hot, pi = onehot(theta, action), torch.softmax(theta, -1)
    return (1 - pi[action]) * (hot - (1 - hot) / (len(theta) - 1))


def score_others_by_taken(theta, action):
    hot, pi = onehot(theta, action), torch.softmax(theta, -1)
    return hot - pi[action]


def score_greedy(theta, action):
    return minus_softmax(theta, theta.argmax())


def score_before(theta, action):
    return minus_softmax(theta, action - 1)


def score_after(theta, action):
    return minus_softmax(theta, (action + 1) % len(theta))


def score_unit_length(theta, action):
    score = minus_softmax(theta, action)
    return score / score.norm()


def score_signs(theta, action):
    return minus_softmax(theta, action).sign()


def score_entropy(theta, action):
    logp = torch.log_softmax(theta, -1)
    return -logp.exp() * (logp - (logp.exp() * logp).sum())


def score_differences(h, central=False):
    """Finite differences of log pi(action) with a step that is far too large."""

    def score(theta, action):
        steps = h * torch.eye(len(theta), dtype=theta.dtype)
        up = torch.log_softmax(theta + steps, -1)[:, action]
        down = torch.log_softmax(theta - central * steps, -1)[:, action]
        return (up - down) / (h * (1 + central))

    return score


def score_overflows(theta, action):
    return onehot(theta, action) - softmax_overflows(theta)


WRONG_SCORES = [
    (
        "taken action only",
        "Only the coordinate of the action taken is filled: the others get -pi_i, not 0.",
        (score_taken_only,),
    ),
    (
        "no expected score",
        "It is the one-hot vector alone: -pi is missing, so the scores do not average to 0.",
        (onehot,),
    ),
    (
        "taken action missing",
        "It is -pi for every action: the 1 at the action taken is missing.",
        (score_minus_pi,),
    ),
    (
        "taken action overwritten",
        "The taken action gets 1; it should get 1 - pi(a): add the 1 to what is there.",
        (score_overwritten,),
    ),
    (
        "one minus pi for all",
        "Every action gets 1 - pi_i; only the action taken should, the others get -pi_i.",
        (score_one_minus_pi,),
    ),
    (
        "others raised",
        "The other actions get +pi_i in place of -pi_i: everything becomes more preferred.",
        (score_others_raised,),
    ),
    (
        "others alike",
        "It pushes all other actions down alike; each goes down by its own probability pi_i.",
        (score_others_alike,),
    ),
    (
        "probability of the taken action",
        "It subtracts pi(a) of the action taken everywhere; entry i needs its own pi_i.",
        (score_others_by_taken,),
    ),
    (
        "uniform policy",
        "It subtracts 1/A for every action, right only while all preferences are equal.",
        (score_uniform,),
    ),
    (
        "logits as probabilities",
        "It subtracts the preferences theta in place of the probabilities softmax(theta).",
        (score_logits_as_probs,),
    ),
    (
        "log-probabilities subtracted",
        "It subtracts log pi in place of pi.",
        (score_log_twice,),
    ),
    (
        "softmax twice",
        "The preferences pass through softmax twice, as if probabilities were preferences.",
        (score_softmax_twice, score_through_two_softmaxes),
    ),
    (
        "gradient of the probability",
        "It is the gradient of pi(a), not of log pi(a): a factor pi(a) too many.",
        (score_of_probability,),
    ),
    (
        "divided by the probability",
        "It divides by pi(a) although the derivative of log pi already has.",
        (score_divided_by_pi,),
    ),
    (
        "weighted by the probabilities",
        "Entry i is multiplied by pi_i once more.",
        (score_weighted_by_pi,),
    ),
    (
        "most probable action",
        "It is the score of the most probable action, not of the one that was taken.",
        (score_greedy,),
    ),
    (
        "neighboring action",
        "It is the score of the action next to the one taken: actions count from 0.",
        (score_before, score_after),
    ),
    (
        "length lost",
        "It scales the score to length 1: the gradient's length is part of it.",
        (score_unit_length,),
    ),
    ("signs only", "It keeps only the signs of the score.", (score_signs,)),
    (
        "gradient of the entropy",
        "It is the gradient of the policy's entropy: the action taken does not enter.",
        (score_entropy,),
    ),
    (
        "large differences",
        "It takes finite differences with a large step: near the gradient, but not the gradient.",
        (
            *map(score_differences, (0.1, 0.01, 1.0)),
            *(score_differences(h, central=True) for h in (0.1, 1.0)),
        ),
    ),
]


RANDOM_SEARCH = (
    "It draws random numbers. To try directions and keep what helps is random search; "
    "the gradient is a definite vector, the same at every call, and needs no luck."
)
RANDOM_WHY = "In P dimensions a random direction is almost perpendicular to the gradient: |cos| is about 1/sqrt(P)."


# --- action_values ---


def q_star(mdp, pi):
    Q = mdp.R
    for _ in range(mdp.R.numel()):  # policy iteration
        Q = action_values(mdp, torch.eye(mdp.R.shape[1], dtype=mdp.R.dtype)[Q.argmax(1)])
    return Q


def q_reward_only(mdp, pi):
    return mdp.R.clone()


def q_one_step(mdp, pi):
    return mdp.R + mdp.gamma * mdp.P @ (pi * mdp.R).sum(1)


def q_state_values(mdp, pi):
    V = (pi * action_values(mdp, pi)).sum(1)
    return V.unsqueeze(1).expand_as(mdp.R).clone()


def q_advantages(mdp, pi):
    Q = action_values(mdp, pi)
    return Q - (pi * Q).sum(1, keepdim=True)


def q_uniform_policy(mdp, pi):
    return action_values(mdp, torch.full_like(pi, 1 / pi.shape[1]))


def q_no_discount_on_last(mdp, pi):
    V = (pi * action_values(mdp, pi)).sum(1)
    return mdp.R + mdp.P @ V


def q_discounts_reward(mdp, pi):
    return mdp.gamma * action_values(mdp, pi)


def q_transposed(mdp, pi):
    P_pi = torch.einsum("sa,sap->sp", pi, mdp.P)
    r_pi = (pi * mdp.R).sum(1)
    V = torch.linalg.solve(torch.eye(len(r_pi), dtype=pi.dtype) - mdp.gamma * P_pi.T, r_pi)
    return mdp.R + mdp.gamma * mdp.P @ V


def values_with(mdp, pi, r=None, P_pi=None, gamma=None, last_gamma=None, P=None):
    """Q by the linear solve, with one of its pieces exchanged; what many mistakes below vary."""
    P = mdp.P if P is None else P
    gamma = mdp.gamma if gamma is None else gamma
    r = (pi * mdp.R).sum(1) if r is None else r
    P_pi = torch.einsum("sa,sap->sp", pi, P) if P_pi is None else P_pi
    V = torch.linalg.lstsq(torch.eye(len(r), dtype=pi.dtype) - gamma * P_pi, r[:, None]).solution
    return mdp.R + (gamma if last_gamma is None else last_gamma) * (P @ V).squeeze(-1)


def next_values(mdp, pi):
    return mdp.P @ (pi * action_values(mdp, pi)).sum(1)


def q_sweeps(sweeps=10_000, until=0.0):
    """Sweeps of the Bellman equation that stop too early."""

    def values(mdp, pi):
        Q = torch.zeros_like(mdp.R)
        for _ in range(sweeps):
            new = mdp.R + mdp.gamma * mdp.P @ (pi * Q).sum(1)
            if (new - Q).abs().max() < until:
                return new
            Q = new
        return Q

    return values


def q_in_single_precision(mdp, pi):
    single = MDP(mdp.P.float(), mdp.R.float(), mdp.start.float(), mdp.gamma)
    return action_values(single, pi.float())


def in_single_precision(seen):
    """Whether every number could be a float32, though the inputs are random float64 numbers.

    Most cases are enough: MDP refuses rows of P that sum to more than 1 after rounding.
    """
    tables = [s["out"].double() for s in seen[1:] if torch.is_tensor(s["out"])]
    return 2 * len(tables) > len(seen) and all(
        torch.equal(x, x.float().double()) and (1024 * x.frexp().mantissa % 1 != 0).any()
        for x in tables
    )


def q_fixed_gamma(gamma):
    return lambda mdp, pi: values_with(mdp, pi, gamma=gamma)


def q_ends_ignored(mdp, pi):
    P = mdp.P / mdp.P.sum(-1, keepdim=True).clamp(min=1e-12)
    return values_with(mdp, pi, P=P)


def q_undiscounted_system(mdp, pi):
    return values_with(mdp, pi, gamma=1.0, last_gamma=mdp.gamma)


def q_sampled(mdp, pi):
    return action_values(mdp, pi) + 0.1 * torch.randn_like(mdp.R)


def q_greedy_evaluation(mdp, pi):
    return action_values(mdp, torch.eye(pi.shape[1], dtype=pi.dtype)[pi.argmax(1)])


def plain(mdp):
    """An MDP as plain data, for the driver `with_mdp`."""
    return dict(P=mdp.P, R=mdp.R, start=mdp.start, gamma=mdp.gamma)


def two_states():
    """Stay in the rich state or slip into the poor one: small enough to solve by hand."""
    P = torch.tensor([[[1.0, 0.0], [0.0, 1.0]], [[1.0, 0.0], [0.0, 1.0]]], dtype=F64)
    R = torch.tensor([[1.0, 2.0], [0.0, -1.0]], dtype=F64)
    return MDP(P, R, torch.tensor([1.0, 0.0], dtype=F64), 0.5)


def some_mdp(g, make, *shape, gamma):
    return make(*shape, gamma=gamma, seed=int(integers(g, 10_000, 1)))


def hand_mdp(g, **rest):
    return plain(two_states()) | rest


def with_pi(make, S, A, gamma):
    return lambda g: (
        plain(some_mdp(g, make, S, A, gamma=gamma))
        | dict(pi=torch.softmax(normal(g, S, A, dtype=F64), -1))
    )


ACTION_VALUES = Exercise(
    reference=action_values,
    parts={"values": 3, "episodes that end": 1, "clean": 1},
    driver="with_mdp",
    cases=[
        Case(
            "two states",
            lambda g: hand_mdp(g, pi=torch.tensor([[0.5, 0.5], [0.25, 0.75]], dtype=F64)),
            "values",
        ),
        Case("five states, three actions", with_pi(random_mdp, 5, 3, 0.9), "values"),
        Case("a long horizon", with_pi(random_mdp, 4, 2, 0.99), "values"),
        Case(
            "a deterministic policy",
            lambda g: (
                plain(some_mdp(g, random_mdp, 3, 2, gamma=0.8))
                | dict(pi=torch.tensor([[1.0, 0.0], [0.0, 1.0], [1.0, 0.0]], dtype=F64))
            ),
            "values",
        ),
        Case(
            "episodes that end, no discount", with_pi(episodic_mdp, 4, 2, 1.0), "episodes that end"
        ),
        Case("episodes that end", with_pi(episodic_mdp, 3, 3, 0.9), "episodes that end"),
        Case(
            "rewards in the thousands",
            lambda g: times(
                1e4, hand_mdp(g, pi=torch.tensor([[0.5, 0.5], [0.25, 0.75]], dtype=F64)), "R"
            ),
            "values",
        ),
    ],
    pitfalls=[
        Pitfall(
            "optimal values",
            "It backs up the best next action: that is Q*, not the value of the policy it was given.",
            q_star,
            "The policy gradient needs the values of the policy that acts, mistakes included.",
        ),
        Pitfall(
            "reward only", "It is the immediate reward; nothing that follows counts.", q_reward_only
        ),
        Pitfall(
            "one step ahead",
            "It looks one step ahead and stops: rewards after the second step are missing.",
            q_one_step,
        ),
        Pitfall(
            "state values", "It is V(s) for every action: the first action is free.", q_state_values
        ),
        Pitfall("advantages", "V(s) is already subtracted: these are advantages.", q_advantages),
        Pitfall(
            "uniform policy",
            "It evaluates the uniform policy: pi does not enter.",
            q_uniform_policy,
        ),
        Pitfall(
            "next value not discounted",
            "The value of the next state is not multiplied by gamma.",
            q_no_discount_on_last,
        ),
        Pitfall(
            "reward discounted",
            "The reward itself is multiplied by gamma; only what follows is discounted.",
            q_discounts_reward,
        ),
        Pitfall(
            "transposed transitions",
            "P is transposed in the linear system: values flow forward in time, not back.",
            q_transposed,
        ),
        Pitfall(
            "single precision",
            "It computes in float32: the MDP is float64, and the oracle should be exact.",
            q_in_single_precision,
            telltale=in_single_precision,
        ),
        Pitfall(
            "too few sweeps",
            "It sweeps over the Bellman equation and stops too early: close, but not the solution. "
            "Solve the linear system.",
            q_sweeps(10),
            also=(
                *map(q_sweeps, (3, 5, 11, 20, 21, 50, 51, 100, 101, 200, 201)),
                *(q_sweeps(until=gap) for gap in (0.1, 0.01, 1e-3, 1e-4)),
            ),
        ),
        Pitfall(
            "system not discounted",
            "gamma is missing in the linear system: V = r + P V in place of V = r + gamma P V.",
            q_undiscounted_system,
        ),
        Pitfall(
            "gamma written out",
            "It uses a fixed number in place of mdp.gamma.",
            q_fixed_gamma(0.9),
            also=tuple(map(q_fixed_gamma, (0.95, 0.98, 0.99))),
        ),
        Pitfall(
            "gamma squared",
            "The next value is multiplied by gamma twice.",
            lambda mdp, pi: mdp.R + mdp.gamma**2 * next_values(mdp, pi),
        ),
        Pitfall(
            "sign in the system",
            "It solves (I + gamma P) V = r: the sign of gamma P is reversed.",
            lambda mdp, pi: values_with(mdp, pi, gamma=-mdp.gamma, last_gamma=mdp.gamma),
        ),
        Pitfall(
            "rewards not weighted",
            "r_pi is the plain mean or sum of the rewards: weight each with the probability pi(a|s).",
            lambda mdp, pi: values_with(mdp, pi, r=mdp.R.mean(1)),
            also=(lambda mdp, pi: values_with(mdp, pi, r=mdp.R.sum(1)),),
        ),
        Pitfall(
            "transitions not weighted",
            "P_pi is the plain mean or sum over actions: weight each with the probability pi(a|s).",
            lambda mdp, pi: values_with(mdp, pi, P_pi=mdp.P.mean(1)),
            also=(lambda mdp, pi: values_with(mdp, pi, P_pi=mdp.P.sum(1)),),
        ),
        Pitfall(
            "reward missing",
            "The reward R(s, a) itself is missing: it is what follows, alone.",
            lambda mdp, pi: mdp.gamma * next_values(mdp, pi),
        ),
        Pitfall(
            "mean reward first",
            "The first reward is r_pi(s), the policy's average; it must be R(s, a) of the action itself.",
            lambda mdp, pi: (pi * mdp.R).sum(1, keepdim=True) + mdp.gamma * next_values(mdp, pi),
        ),
        Pitfall(
            "value of the same state",
            "It adds the value of s, not of the states that may follow.",
            lambda mdp, pi: mdp.R + mdp.gamma * (pi * action_values(mdp, pi)).sum(1, keepdim=True),
            also=(
                lambda mdp, pi: (
                    mdp.R
                    + mdp.gamma * mdp.P.sum(-1) * (pi * action_values(mdp, pi)).sum(1)[:, None]
                ),
            ),
        ),
        Pitfall(
            "most probable next state",
            "It looks only at the most probable next state; the average is over all of them.",
            lambda mdp, pi: (
                mdp.R + mdp.gamma * (pi * action_values(mdp, pi)).sum(1)[mdp.P.argmax(-1)]
            ),
        ),
        Pitfall(
            "ends ignored",
            "It rescales the rows of P to sum to 1; what they lack is the probability that the episode ends.",
            q_ends_ignored,
        ),
        Pitfall(
            "weighted by the policy",
            "It is pi(a|s) Q(s, a): the action counts fully once it is taken.",
            lambda mdp, pi: pi * action_values(mdp, pi),
        ),
        Pitfall(
            "weighted by the start",
            "It multiplies by the probability of starting in s: values do not depend on it.",
            lambda mdp, pi: mdp.start[:, None] * action_values(mdp, pi),
        ),
        Pitfall(
            "softmax of probabilities",
            "It passes pi through softmax: pi holds probabilities already.",
            lambda mdp, pi: action_values(mdp, torch.softmax(pi, -1)),
        ),
        Pitfall(
            "entropy added",
            "It adds the policy's entropy to the rewards (soft values, lesson 6).",
            lambda mdp, pi: values_with(
                mdp, pi, r=(pi * (mdp.R - pi.clamp(min=1e-12).log())).sum(1)
            ),
        ),
        Pitfall(
            "mean value subtracted",
            "It subtracts the mean of all values: that is the average-reward setting's relative value.",
            lambda mdp, pi: action_values(mdp, pi) - action_values(mdp, pi).mean(),
        ),
        Pitfall(
            "rows and columns exchanged",
            "The table is [A, S]; states are rows and actions columns.",
            lambda mdp, pi: action_values(mdp, pi).T,
        ),
        Pitfall(
            "gamma on the reward",
            "It is gamma (R + P V): the reward itself must not be discounted.",
            lambda mdp, pi: mdp.gamma * (mdp.R + next_values(mdp, pi)),
        ),
        Pitfall(
            "sampled values",
            "It draws random numbers: the linear system gives the exact values, with nothing sampled.",
            q_sampled,
            telltale=uses_random_numbers,
        ),
        Pitfall(
            "greedy policy",
            "It evaluates the most probable action of each state, not the probabilities pi.",
            q_greedy_evaluation,
        ),
    ],
    read="lesson 1, “Exact values”; Sutton & Barto, section 4.1",
)

# --- exact_policy_gradient ---


def gradient_with(mdp, theta, d=None, Q=None):
    pi = torch.softmax(theta, -1)
    d = occupancy(mdp, pi) if d is None else d
    Q = action_values(mdp, pi) if Q is None else Q
    return d.unsqueeze(1) * pi * (Q - (pi * Q).sum(1, keepdim=True))


def gradient_stationary(mdp, theta):
    pi = torch.softmax(theta, -1)
    P_pi = torch.einsum("sa,sap->sp", pi, mdp.P)
    P_pi = P_pi + (1 - P_pi.sum(1, keepdim=True)) * mdp.start  # an episode that ends starts anew
    d = torch.linalg.matrix_power(P_pi, 1024)[0]
    return gradient_with(mdp, theta, d=d)


def gradient_start_only(mdp, theta):
    return gradient_with(mdp, theta, d=mdp.start)


def gradient_q_star(mdp, theta):
    return gradient_with(mdp, theta, Q=q_star(mdp, None))


def gradient_without_pi(mdp, theta):
    pi = torch.softmax(theta, -1)
    Q = action_values(mdp, pi)
    return occupancy(mdp, pi).unsqueeze(1) * (Q - pi * Q.sum(1, keepdim=True))


def gradient_normalized(mdp, theta):
    d = occupancy(mdp, torch.softmax(theta, -1))
    return gradient_with(mdp, theta, d=d / d.sum())


def gradient_one_minus_gamma(mdp, theta):
    return (1 - mdp.gamma) * exact_policy_gradient(mdp, theta)


def gradient_undiscounted_visits(mdp, theta):
    if mdp.P.sum(-1).max() > 1 - 1e-9 and mdp.P.sum(-1).min() > 1 - 1e-9:
        return gradient_stationary(mdp, theta)
    undiscounted = MDP(mdp.P, mdp.R, mdp.start, 1.0)
    return gradient_with(mdp, theta, d=occupancy(undiscounted, torch.softmax(theta, -1)))


def gradient_stationary_scaled(mdp, theta):
    return gradient_stationary(mdp, theta) / max(1 - mdp.gamma, 1e-12)


def gradient_early_visits(steps):
    """Visits summed over the first steps only."""

    def gradient(mdp, theta):
        P_pi = torch.einsum("sa,sap->sp", torch.softmax(theta, -1), mdp.P)
        d, visits = torch.zeros_like(mdp.start), mdp.start
        for _ in range(steps):
            d, visits = d + visits, mdp.gamma * visits @ P_pi
        return gradient_with(mdp, theta, d=d)

    return gradient


def gradient_transposed(mdp, theta):
    P_pi = torch.einsum("sa,sap->sp", torch.softmax(theta, -1), mdp.P)
    eye = torch.eye(len(P_pi), dtype=P_pi.dtype)
    return gradient_with(mdp, theta, d=torch.linalg.solve(eye - mdp.gamma * P_pi, mdp.start))


def gradient_later_visits(mdp, theta):
    return gradient_with(mdp, theta, d=occupancy(mdp, torch.softmax(theta, -1)) - mdp.start)


def gradient_from_everywhere(mdp, theta):
    uniform = torch.full_like(mdp.start, 1 / len(mdp.start))
    return exact_policy_gradient(MDP(mdp.P, mdp.R, uniform, mdp.gamma), theta)


def pieces(mdp, theta):
    """Visits [S, 1], policy [S, A] and values [S, A]."""
    pi = torch.softmax(theta, -1)
    return occupancy(mdp, pi).unsqueeze(1), pi, action_values(mdp, pi)


def gradient_of(formula):
    """The theorem with another formula at its end, of visits, policy and values."""
    return lambda mdp, theta: formula(*pieces(mdp, theta))


def gradient_optimal_advantage(mdp, theta):
    d, pi, _ = pieces(mdp, theta)
    Q = q_star(mdp, None)
    return d * pi * (Q - Q.max(1, keepdim=True).values)


def gradient_next_not_discounted(mdp, theta):
    return gradient_with(mdp, theta, Q=q_no_discount_on_last(mdp, torch.softmax(theta, -1)))


def gradient_discounted_more(mdp, theta):
    return mdp.gamma * exact_policy_gradient(mdp, theta)


def gradient_of_policy(policy):
    """The theorem with another policy in place of softmax(theta)."""

    def gradient(mdp, theta):
        pi = policy(theta)
        Q, d = action_values(mdp, pi), occupancy(mdp, pi)
        return d.unsqueeze(1) * pi * (Q - (pi * Q).sum(1, keepdim=True))

    return gradient


def gradient_differences(h, central=False):
    """Finite differences of J with a step that is far too large."""

    def gradient(mdp, theta):
        grad = torch.zeros_like(theta)
        for s in range(theta.shape[0]):
            for a in range(theta.shape[1]):
                step = torch.zeros_like(theta)
                step[s, a] = h
                down = expected_return(mdp, theta - central * step)
                grad[s, a] = (expected_return(mdp, theta + step) - down) / (h * (1 + central))
        return grad

    return gradient


def gradient_into_probabilities(mdp, theta):
    d, _, Q = pieces(mdp, theta)
    return d * Q


def gradient_every_state_once(mdp, theta):
    return gradient_with(mdp, theta, d=torch.ones_like(mdp.start))


def gradient_of_reward(mdp, theta):
    return gradient_with(mdp, theta, Q=mdp.R)


def gradient_without_score(mdp, theta):
    pi = torch.softmax(theta, -1)
    return occupancy(mdp, pi).unsqueeze(1) * pi * action_values(mdp, pi)


def gradient_sign(mdp, theta):
    return -exact_policy_gradient(mdp, theta)


def gradient_greedy(mdp, theta):
    pi = torch.softmax(theta, -1)
    return torch.eye(theta.shape[1], dtype=theta.dtype)[action_values(mdp, pi).argmax(1)] - pi


def gradient_random_search(mdp, theta):
    best = torch.zeros_like(theta)
    for _ in range(5):
        step = 0.1 * torch.randn_like(theta)
        if expected_return(mdp, theta + best + step) > expected_return(mdp, theta + best):
            best = best + step
    return best


def with_theta(make, S, A, gamma):
    return lambda g: (
        plain(some_mdp(g, make, S, A, gamma=gamma)) | dict(theta=normal(g, S, A, dtype=F64))
    )


EXACT_POLICY_GRADIENT = Exercise(
    reference=exact_policy_gradient,
    parts={"values": 3, "episodes that end": 1, "large preferences": 1, "clean": 1},
    driver="with_mdp",
    cases=[
        Case(
            "two states",
            lambda g: hand_mdp(g, theta=torch.tensor([[0.0, 0.5], [1.0, 0.0]], dtype=F64)),
            "values",
        ),
        Case("five states, three actions", with_theta(random_mdp, 5, 3, 0.9), "values"),
        Case("a long horizon", with_theta(random_mdp, 4, 2, 0.97), "values"),
        Case("episodes that end", with_theta(episodic_mdp, 4, 2, 0.9), "episodes that end"),
        Case("no discount", with_theta(episodic_mdp, 3, 3, 1.0), "episodes that end"),
        Case("other episodes that end", with_theta(episodic_mdp, 5, 2, 0.8), "episodes that end"),
        Case(
            "large preferences",
            lambda g: (
                plain(some_mdp(g, random_mdp, 3, 2, gamma=0.8))
                | dict(theta=1000.0 + integers(g, 4, 3, 2).to(F64))
            ),
            "large preferences",
        ),
        Case(
            "rewards in the thousands",
            lambda g: times(
                1e4, hand_mdp(g, theta=torch.tensor([[0.0, 0.5], [1.0, 0.0]], dtype=F64)), "R"
            ),
            "values",
        ),
        Case(
            "a horizon of a hundred steps",
            lambda g: (
                hand_mdp(g, theta=torch.tensor([[0.0, 0.5], [1.0, 0.0]], dtype=F64))
                | dict(gamma=0.99)
            ),
            "values",
        ),
    ],
    pitfalls=[
        Pitfall(
            "stationary distribution",
            "It weights states by the chain's long-run distribution; J counts discounted visits from the start.",
            gradient_stationary,
            also=(gradient_stationary_scaled,),
        ),
        Pitfall(
            "undiscounted visits",
            "It counts every visit as much as the first; a visit at time t weighs gamma^t.",
            gradient_undiscounted_visits,
        ),
        Pitfall(
            "start states only",
            "It weights states by the start distribution: nothing is learned in states reached later.",
            gradient_start_only,
        ),
        Pitfall(
            "optimal values",
            "It uses Q* (the best continuation) in place of the Q of the policy itself.",
            gradient_q_star,
            also=(gradient_optimal_advantage,),
        ),
        Pitfall(
            "actions not weighted",
            "It sums over actions without weighting each with its probability pi(a|s).",
            gradient_without_pi,
        ),
        Pitfall(
            "normalized visits",
            "The visits are normalized to sum to 1: the result is a fraction of the gradient of J.",
            gradient_normalized,
        ),
        Pitfall(
            "factor 1 - gamma",
            "The result is (1 - gamma) times the gradient of J.",
            gradient_one_minus_gamma,
        ),
        Pitfall(
            "every state once",
            "Each state counts the same: the visits d(s) are missing.",
            gradient_every_state_once,
            also=(lambda mdp, theta: gradient_every_state_once(mdp, theta) / len(theta),),
        ),
        Pitfall(
            "first visits only",
            "It sums the visits of the first steps and stops; solve for all of them (`occupancy` does).",
            gradient_early_visits(10),
            also=tuple(map(gradient_early_visits, (5, 20, 50, 100))),
        ),
        Pitfall(
            "visits after the first step",
            "The first state is not counted: d(s) starts with t = 0.",
            gradient_later_visits,
        ),
        Pitfall(
            "visits backwards",
            "P is not transposed in the system for d: visits flow forward in time, values back.",
            gradient_transposed,
        ),
        Pitfall(
            "every state as a start",
            "It lets episodes start everywhere alike (the gradient of a mean or sum of V); J starts from mdp.start.",
            gradient_from_everywhere,
            also=(lambda mdp, theta: len(theta) * gradient_from_everywhere(mdp, theta),),
        ),
        Pitfall(
            "most visited state only",
            "Only the most visited state is filled.",
            gradient_of(
                lambda d, pi, Q: d * (d == d.max()) * pi * (Q - (pi * Q).sum(1, keepdim=True))
            ),
        ),
        Pitfall(
            "root of the visits",
            "It takes the square root of the visits.",
            gradient_of(lambda d, pi, Q: d.sqrt() * pi * (Q - (pi * Q).sum(1, keepdim=True))),
        ),
        Pitfall(
            "discounted once more",
            "The whole is multiplied by gamma: the first step is not discounted.",
            gradient_discounted_more,
        ),
        Pitfall(
            "next value not discounted",
            "In Q, the value of the next state is not multiplied by gamma.",
            gradient_next_not_discounted,
        ),
        Pitfall(
            "probability missing",
            "It is d (Q - V): the factor pi(b|s) is missing.",
            gradient_of(lambda d, pi, Q: d * (Q - (pi * Q).sum(1, keepdim=True))),
        ),
        Pitfall(
            "advantages alone",
            "It is Q - V, without visits and probabilities (the natural gradient's direction).",
            gradient_of(lambda d, pi, Q: Q - (pi * Q).sum(1, keepdim=True)),
        ),
        Pitfall(
            "probability squared",
            "The factor pi(b|s) counts twice.",
            gradient_of(lambda d, pi, Q: d * pi**2 * (Q - (pi * Q).sum(1, keepdim=True))),
        ),
        Pitfall(
            "plain mean for V",
            "It subtracts the plain mean of Q over the actions; V weights each with its probability.",
            gradient_of(lambda d, pi, Q: d * pi * (Q - Q.mean(1, keepdim=True))),
        ),
        Pitfall(
            "best value for V",
            "It subtracts the largest Q; V is the policy's average.",
            gradient_of(lambda d, pi, Q: d * pi * (Q - Q.max(1, keepdim=True).values)),
        ),
        Pitfall(
            "V added",
            "It adds V in place of subtracting it.",
            gradient_of(lambda d, pi, Q: d * pi * (Q + (pi * Q).sum(1, keepdim=True))),
        ),
        Pitfall(
            "gradient into the probabilities",
            "It is d Q, the derivative with respect to pi; one more step leads to the preferences theta.",
            gradient_into_probabilities,
        ),
        Pitfall(
            "softmax over states",
            "The policy is normalized over states; the actions are on the last axis.",
            gradient_of_policy(lambda theta: torch.softmax(theta, 0)),
        ),
        Pitfall(
            "softmax missing",
            "It takes theta for probabilities.",
            gradient_of_policy(lambda theta: theta),
            also=(
                gradient_of_policy(lambda theta: theta.abs() / theta.abs().sum(1, keepdim=True)),
            ),
        ),
        Pitfall(
            "softmax twice",
            "The preferences pass through softmax twice.",
            gradient_of_policy(lambda theta: torch.softmax(torch.softmax(theta, -1), -1)),
        ),
        Pitfall(
            "large differences",
            "It takes finite differences with a large step: near the gradient, but not the gradient.",
            gradient_differences(0.1),
            also=(
                *map(gradient_differences, (0.01, 1.0)),
                *(gradient_differences(h, central=True) for h in (0.1, 1.0)),
            ),
        ),
        Pitfall(
            "overflow",
            "exp of a large preference is inf: use your stable softmax.",
            gradient_of_policy(softmax_overflows),
        ),
        Pitfall(
            "reward for value",
            "It uses the immediate reward in place of Q: consequences do not count.",
            gradient_of_reward,
        ),
        Pitfall(
            "score missing",
            "It is d pi Q without the score: the pull of the other actions (-pi sum pi Q) is missing.",
            gradient_without_score,
        ),
        Pitfall("sign", "It points downhill: every sign is reversed.", gradient_sign),
        Pitfall(
            "difference to the greedy policy",
            "It points from pi to the greedy policy: a direction, but not the gradient.",
            gradient_greedy,
        ),
        Pitfall(
            "random search", RANDOM_SEARCH, gradient_random_search, RANDOM_WHY, uses_random_numbers
        ),
    ],
    read="lesson 1, “The theorem”; Sutton et al. 2000, theorem 1",
)

# --- score_function_gradient ---


def scores_of(theta, actions):
    return torch.eye(len(theta), dtype=theta.dtype)[actions] - torch.softmax(theta, -1)


def estimate_with(score):
    """The estimate with another score."""
    return lambda theta, actions, returns: torch.stack(
        [r * score(theta, a) for a, r in zip(actions.tolist(), returns, strict=True)]
    ).mean(0)


def estimate_weighted(weight):
    """The estimate with another weight for each sample, a function of all returns."""
    return lambda theta, actions, returns: (
        weight(returns).unsqueeze(1) * scores_of(theta, actions)
    ).mean(0)


def standardized(correction):
    """Returns with mean 0 and standard deviation 1; nan for a single one where N - 1 divides."""

    def weight(returns):
        centered = returns - returns.mean()
        variance = centered.square().sum() / torch.tensor(len(returns) - correction)
        return centered / (variance.sqrt() + 1e-8)

    return weight


def discounted_samples(gamma):
    return lambda returns: returns * gamma ** torch.arange(len(returns), dtype=returns.dtype)


def only(i):
    """All weight on one sample, divided by 1 and not by N."""

    def weight(returns):
        hot = torch.zeros_like(returns)
        hot[i(returns)] = len(returns) * returns[i(returns)]
        return hot

    return weight


def estimate_weights(*weights):
    return dict(
        wrong=estimate_weighted(weights[0]), also=tuple(map(estimate_weighted, weights[1:]))
    )


def estimate_sum(theta, actions, returns):
    if actions.shape != returns.shape:
        raise ValueError("expected one return for each action")
    onehot = torch.eye(len(theta), dtype=theta.dtype)[actions]
    return returns @ (onehot - torch.softmax(theta, dim=-1))


def estimate_product_of_means(theta, actions, returns):
    return returns.mean() * scores_of(theta, actions).mean(0)


def estimate_mean_over_everything(theta, actions, returns):
    return score_function_gradient(theta, actions, returns) / len(theta)


def estimate_new_theta(theta, actions, returns):
    return theta + score_function_gradient(theta, actions, returns)


def mean_returns(theta, actions, returns):
    """The mean return of each action that was sampled, and how often it was, [A] each."""
    zeros = torch.zeros_like(theta)
    count = zeros.index_add(0, actions, torch.ones_like(returns))
    return zeros.index_add(0, actions, returns) / count.clamp(min=1), count


def estimate_by_mean_returns(theta, actions, returns):
    value, pi = mean_returns(theta, actions, returns)[0], torch.softmax(theta, -1)
    return pi * (value - (pi * value).sum())


def estimate_each_action_once(theta, actions, returns):
    value, count = mean_returns(theta, actions, returns)
    tried = (count > 0).nonzero().flatten()
    return (value[tried].unsqueeze(1) * scores_of(theta, tried)).mean(0)


def estimate_divided_by_counts(theta, actions, returns):
    count = mean_returns(theta, actions, returns)[1].clamp(min=1)
    return (returns.unsqueeze(1) * scores_of(theta, actions)).sum(0) / count


def estimate_duplicates_lost(theta, actions, returns):
    total = -torch.softmax(theta, -1) * returns.sum()
    total[actions] += returns
    return total / len(actions)


def estimate_pi_once(theta, actions, returns):
    hot = torch.eye(len(theta), dtype=theta.dtype)[actions]
    return (returns.unsqueeze(1) * hot).mean(0) - torch.softmax(theta, -1)


def estimate_evolution(theta, actions, returns):
    noise = torch.randn(len(actions), len(theta), dtype=theta.dtype)
    return (returns.unsqueeze(1) * noise).mean(0)


def bandit(g, A, N, dtype=torch.float32, shift=1.0):
    return dict(
        theta=normal(g, A, dtype=dtype),
        actions=integers(g, A, N),
        returns=normal(g, N, dtype=dtype) + shift,
    )


SCORE_FUNCTION_GRADIENT = Exercise(
    reference=score_function_gradient,
    parts={
        "one sample": 1,
        "many samples": 1,
        "large preferences": 1,
        "shapes": 1,
        "clean": 1,
    },
    cases=[
        Case(
            "one sample",
            lambda g: dict(
                theta=torch.zeros(2), actions=torch.tensor([0]), returns=torch.tensor([2.0])
            ),
            "one sample",
        ),
        Case("one sample of three actions", lambda g: bandit(g, 3, 1), "one sample"),
        Case(
            "three samples",
            lambda g: dict(
                theta=torch.tensor([0.0, 1.0]),
                actions=torch.tensor([0, 1, 1]),
                returns=torch.tensor([1.0, -1.0, 3.0]),
            ),
            "many samples",
        ),
        Case("a hundred samples", lambda g: bandit(g, 4, 100), "many samples"),
        Case("float64", lambda g: bandit(g, 3, 50, F64, shift=-2.0), "many samples"),
        Case(
            "large preferences",
            lambda g: bandit(g, 3, 20) | dict(theta=1000.0 + integers(g, 4, 3)),
            "large preferences",
        ),
        Case(
            "actions [3] and returns [3, 1]",
            lambda g: bandit(g, 2, 3) | dict(returns=normal(g, 3, 1)),
            "shapes",
            raises=True,
        ),
        Case(
            "an action whose probability rounds to 0",
            lambda g: dict(
                theta=torch.tensor([200.0, 0.0]),
                actions=torch.tensor([1, 0, 1]),
                returns=torch.tensor([1.0, 2.0, -4.0]),
            ),
            "large preferences",
        ),
        Case(
            "returns in the thousands",
            lambda g: dict(
                theta=torch.tensor([0.0, 1.0]),
                actions=torch.tensor([0, 1, 1]),
                returns=torch.tensor([3e4, -1e4, 2e4]),
            ),
            "many samples",
        ),
    ],
    pitfalls=[
        *(
            Pitfall(name, says, estimate_with(fns[0]), also=tuple(map(estimate_with, fns[1:])))
            for name, says, fns in WRONG_SCORES
        ),
        Pitfall(
            "overflow",
            "exp of a large preference is inf: use your stable softmax.",
            estimate_with(score_overflows),
        ),
        Pitfall(
            "sum for mean",
            "It sums over the samples: the estimate grows with their number.",
            estimate_sum,
        ),
        Pitfall(
            "sign",
            "The sign is reversed: following it lowers the return.",
            **estimate_weights(lambda returns: -returns),
        ),
        Pitfall(
            "normalized returns",
            "It standardizes the returns first: another, biased estimate whose scale says nothing.",
            **estimate_weights(standardized(1), standardized(0)),
        ),
        Pitfall(
            "mean return subtracted",
            "It subtracts the batch's mean return, which contains each sample's own: biased by (N-1)/N.",
            why="Baselines are lesson 3's subject, and there is an unbiased one.",
            **estimate_weights(lambda returns: returns - returns.mean()),
        ),
        Pitfall(
            "absolute returns",
            "It uses the size of the returns: bad actions are reinforced too.",
            **estimate_weights(torch.abs),
        ),
        Pitfall(
            "good returns only",
            "Negative returns do not count: what was punished must become less probable.",
            **estimate_weights(torch.relu),
        ),
        Pitfall(
            "returns ignored",
            "The returns do not enter: it is the mean score, which tends to 0.",
            **estimate_weights(torch.ones_like),
        ),
        Pitfall("returns squared", "Each return counts twice.", **estimate_weights(torch.square)),
        Pitfall(
            "signs of the returns only",
            "Only the signs of the returns count, not their size.",
            **estimate_weights(torch.sign),
        ),
        Pitfall(
            "samples discounted",
            "Later samples count less: the samples of a bandit have no order.",
            **estimate_weights(*map(discounted_samples, (0.99, 0.9, 0.95))),
        ),
        Pitfall(
            "returns added up",
            "Each sample is credited with the returns of other samples: they have nothing to do with it.",
            **estimate_weights(
                lambda returns: returns.flip(0).cumsum(0).flip(0),
                lambda returns: returns.cumsum(0),
            ),
        ),
        Pitfall(
            "divided by N - 1",
            "It divides by N - 1; that is for variances.",
            **estimate_weights(lambda returns: returns * len(returns) / max(len(returns) - 1, 1)),
        ),
        Pitfall(
            "divided by the returns",
            "It divides by the sum of the returns: an average over samples divides by N.",
            **estimate_weights(
                lambda returns: returns * len(returns) / returns.sum(),
                lambda returns: returns * len(returns) / returns.abs().sum(),
            ),
        ),
        Pitfall(
            "last sample",
            "Only the last sample counts.",
            **estimate_weights(only(lambda returns: -1)),
        ),
        Pitfall(
            "first sample", "Only the first sample counts.", estimate_weighted(only(lambda r: 0))
        ),
        Pitfall(
            "best sample",
            "Only the sample with the largest return counts: keeping what worked is random search.",
            estimate_weighted(only(torch.argmax)),
            "The mean over all samples is what tends to the gradient.",
        ),
        Pitfall(
            "product of means",
            "Mean return times mean score: which action earned which return is lost.",
            estimate_product_of_means,
            "The mean score tends to 0, so this estimates nothing.",
        ),
        Pitfall(
            "mean over actions too",
            "It divides by N times A; the mean is over the N samples only.",
            estimate_mean_over_everything,
        ),
        Pitfall(
            "theta added",
            "It returns the new theta; the gradient alone was asked for.",
            estimate_new_theta,
        ),
        Pitfall(
            "mean return of each action",
            "It averages the returns of each action and weights them by pi: another estimate, which is "
            "biased while some action has not been tried.",
            estimate_by_mean_returns,
        ),
        Pitfall(
            "each action once",
            "Each action that was tried counts once, however often it was sampled.",
            estimate_each_action_once,
        ),
        Pitfall(
            "divided by each action's count",
            "Each entry is divided by how often its action came; the mean is over all N samples.",
            estimate_divided_by_counts,
        ),
        Pitfall(
            "repeated actions lost",
            "`g[actions] += …` adds only one of several samples of the same action.",
            estimate_duplicates_lost,
        ),
        Pitfall(
            "pi subtracted once",
            "-pi is not multiplied by the returns: the return weights the whole score.",
            estimate_pi_once,
        ),
        Pitfall(
            "random search",
            "It draws random numbers of its own, as random search does: the samples are given, "
            "and the estimate is a definite function of them.",
            estimate_evolution,
            RANDOM_WHY,
            uses_random_numbers,
        ),
    ],
    read="lesson 1, “From an expectation to samples”; Williams 1992",
)

EXERCISES = first.EXERCISES
