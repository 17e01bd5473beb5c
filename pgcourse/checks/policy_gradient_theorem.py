"""Exercises of lesson 1: the softmax policy, its score, exact values and the exact gradient."""

import torch

from pgcourse.checks.core import Case, Exercise, Pitfall
from pgcourse.checks.drivers import uses_random_numbers
from pgcourse.checks.make_inputs import integers, normal
from pgcourse.distributions import grad_log_softmax, softmax
from pgcourse.estimators import score_function_gradient, score_step
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

# --- softmax ---


def softmax_twice(theta):
    return torch.softmax(torch.softmax(theta, -1), -1)


def softmax_over_the_table(theta):
    z = torch.exp(theta - theta.max())
    return z / z.sum()


def softmax_over_states(theta):
    return torch.softmax(theta, dim=0)


def softmax_overflows(theta):
    return torch.exp(theta) / torch.exp(theta).sum(-1, keepdim=True)


def softmax_global_max(theta):
    z = torch.exp(theta - theta.max())
    return z / z.sum(-1, keepdim=True)


def softmax_without_exp(theta):
    return theta / theta.sum(-1, keepdim=True)


def softmax_base_two(theta):
    return torch.softmax(theta * torch.log(torch.tensor(2.0, dtype=theta.dtype)), -1)


def softmax_is_sigmoid(theta):
    return torch.sigmoid(theta)


def softmax_greedy(theta):
    return torch.nn.functional.one_hot(theta.argmax(-1), theta.shape[-1]).to(theta.dtype)


def softmax_logged(theta):
    return torch.log_softmax(theta, -1)


def softmax_reversed(theta):
    return torch.softmax(-theta, -1)


SOFTMAX = Exercise(
    reference=softmax,
    parts={"one state": 1, "many states": 1, "large preferences": 1, "clean": 1},
    cases=[
        Case(
            "two actions", lambda g: dict(theta=torch.tensor([0.0, 1.0])), "one state", ("theta",)
        ),
        Case("five actions", lambda g: dict(theta=normal(g, 5)), "one state", ("theta",)),
        Case("float64", lambda g: dict(theta=normal(g, 4, dtype=F64)), "one state", ("theta",)),
        Case("a table", lambda g: dict(theta=normal(g, 3, 4)), "many states", ("theta",)),
        Case("time and environments", lambda g: dict(theta=normal(g, 5, 2, 3)), "many states"),
        Case(
            "large preferences",
            lambda g: dict(theta=torch.tensor([200.0, 199.0, -200.0])),
            "large preferences",
            ("theta",),
        ),
        Case(
            "states far apart",
            lambda g: dict(theta=torch.tensor([[100.0, 101.0], [-100.0, -101.0]])),
            "large preferences",
        ),
        Case(
            "states near 100 and -100",
            lambda g: dict(theta=integers(g, 9, 2, 4) + torch.tensor([[100.0], [-100.0]])),
            "large preferences",
        ),
    ],
    pitfalls=[
        Pitfall(
            "softmax twice",
            "It applies softmax to probabilities: the preferences pass through it twice.",
            softmax_twice,
            "The result is almost uniform: with two actions no preference gets beyond 0.73.",
        ),
        Pitfall(
            "normalized over the whole table",
            "The probabilities of all states together sum to 1; each state's should.",
            softmax_over_the_table,
        ),
        Pitfall(
            "normalized over states",
            "It normalizes along the first axis; the actions are on the last one.",
            softmax_over_states,
        ),
        Pitfall(
            "overflow",
            "exp of a large preference is inf, and inf / inf is nan: subtract the maximum first.",
            softmax_overflows,
            "Preferences grow while a policy learns, so this breaks a run that was going well.",
        ),
        Pitfall(
            "maximum of all states",
            "It subtracts the maximum of the whole table: a state far below it becomes 0 / 0.",
            softmax_global_max,
        ),
        Pitfall(
            "exponential missing",
            "It divides the preferences by their sum, without exp: they may be negative.",
            softmax_without_exp,
        ),
        Pitfall("base two", "It uses powers of 2 in place of powers of e.", softmax_base_two),
        Pitfall(
            "sigmoid",
            "It squashes each preference alone (a sigmoid): the probabilities do not sum to 1.",
            softmax_is_sigmoid,
        ),
        Pitfall(
            "greedy",
            "It puts probability 1 on the largest preference: an argmax has no gradient.",
            softmax_greedy,
        ),
        Pitfall("log-probabilities", "It returns log pi, not pi.", softmax_logged),
        Pitfall(
            "sign",
            "Larger preferences get smaller probabilities: a minus sign too many.",
            softmax_reversed,
        ),
    ],
    read="lesson 1, “A policy with parameters”; Sutton & Barto, section 13.1",
)

# --- grad_log_softmax ---


def score_sign(theta, action):
    return torch.softmax(theta, -1) - torch.eye(len(theta), dtype=theta.dtype)[action]


def score_taken_only(theta, action):
    pi = torch.softmax(theta, -1)
    return torch.eye(len(theta), dtype=theta.dtype)[action] * (1 - pi[action])


def score_logits_as_probs(theta, action):
    return torch.eye(len(theta), dtype=theta.dtype)[action] - theta


def score_onehot(theta, action):
    return torch.eye(len(theta), dtype=theta.dtype)[action]


def score_of_probability(theta, action):
    pi = torch.softmax(theta, -1)
    return pi[action] * (torch.eye(len(theta), dtype=theta.dtype)[action] - pi)


def score_divided_by_pi(theta, action):
    pi = torch.softmax(theta, -1)
    return (torch.eye(len(theta), dtype=theta.dtype)[action] - pi) / pi[action]


def score_log_twice(theta, action):
    pi = torch.softmax(theta, -1)
    return torch.eye(len(theta), dtype=theta.dtype)[action] - torch.log(pi)


def score_uniform(theta, action):
    return torch.eye(len(theta), dtype=theta.dtype)[action] - 1 / len(theta)


def score_overflows(theta, action):
    pi = torch.exp(theta) / torch.exp(theta).sum()
    return torch.eye(len(theta), dtype=theta.dtype)[action] - pi


def score_random_direction(theta, action):
    step = torch.randn_like(theta)
    gains = torch.log_softmax(theta + 0.1 * step, -1)[action] > torch.log_softmax(theta, -1)[action]
    return step if gains else -step


def theta_action(theta, action):
    return lambda g: dict(theta=torch.tensor(theta), action=action)


RANDOM_SEARCH = (
    "It draws random numbers: a random direction that happens to help is random search. "
    "The gradient is a definite vector, the same at every call."
)
RANDOM_WHY = (
    "In P dimensions a random direction has on average only 1/sqrt(P) of the gradient's slope."
)

GRAD_LOG_SOFTMAX = Exercise(
    reference=grad_log_softmax,
    parts={"values": 2, "large preferences": 1, "clean": 1},
    cases=[
        Case("equal preferences", theta_action([0.0, 0.0], 0), "values"),
        Case("the rarer action", theta_action([1.0, 0.0], 1), "values"),
        Case("five actions", lambda g: dict(theta=normal(g, 5), action=3), "values"),
        Case("float64", lambda g: dict(theta=normal(g, 4, dtype=F64), action=2), "values"),
        Case("large preferences", theta_action([200.0, 199.0, 0.0], 1), "large preferences"),
        Case(
            "preferences near 100",
            lambda g: dict(theta=integers(g, 9, 4) + 100.0, action=2),
            "large preferences",
        ),
    ],
    pitfalls=[
        Pitfall(
            "sign",
            "It is pi - onehot, the gradient of the cross-entropy LOSS: ascent becomes descent.",
            score_sign,
            "The policy would learn to avoid what pays.",
        ),
        Pitfall(
            "taken action only",
            "Only the coordinate of the action taken is filled: the others get -pi_i, not 0.",
            score_taken_only,
            "Pushing one preference up without pulling the others down is not this gradient.",
        ),
        Pitfall(
            "logits as probabilities",
            "It subtracts the preferences theta in place of the probabilities softmax(theta).",
            score_logits_as_probs,
        ),
        Pitfall(
            "no expected score",
            "It is the one-hot vector alone: -pi is missing, so the scores do not average to 0.",
            score_onehot,
        ),
        Pitfall(
            "gradient of the probability",
            "It is the gradient of pi(a), not of log pi(a): a factor pi(a) too many.",
            score_of_probability,
        ),
        Pitfall(
            "divided by the probability",
            "It divides by pi(a) although the derivative of log pi already has.",
            score_divided_by_pi,
        ),
        Pitfall(
            "log-probabilities subtracted",
            "It subtracts log pi in place of pi.",
            score_log_twice,
        ),
        Pitfall(
            "uniform policy",
            "It subtracts 1/A for every action, right only while all preferences are equal.",
            score_uniform,
        ),
        Pitfall(
            "overflow",
            "exp of a large preference is inf: use your stable softmax.",
            score_overflows,
        ),
        Pitfall(
            "random search", RANDOM_SEARCH, score_random_direction, RANDOM_WHY, uses_random_numbers
        ),
    ],
    read="lesson 1, “The score”; Sutton & Barto, section 13.1",
)

# --- score_step ---


def step_descends(theta, action, ret, lr):
    return theta - lr * ret * grad_log_softmax(theta, action)


def step_ignores_return(theta, action, ret, lr):
    return theta + lr * grad_log_softmax(theta, action)


def step_taken_only(theta, action, ret, lr):
    return theta + lr * ret * torch.eye(len(theta), dtype=theta.dtype)[action]


def step_of_probability(theta, action, ret, lr):
    return theta + lr * ret * torch.softmax(theta, -1)[action] * grad_log_softmax(theta, action)


def step_only(theta, action, ret, lr):
    return lr * ret * grad_log_softmax(theta, action)


def step_return_sign(theta, action, ret, lr):
    return theta + lr * (1.0 if ret > 0 else -1.0) * grad_log_softmax(theta, action)


def step_abs_return(theta, action, ret, lr):
    return theta + lr * abs(ret) * grad_log_softmax(theta, action)


def step_without_rate(theta, action, ret, lr):
    return theta + ret * grad_log_softmax(theta, action)


def step_on_probabilities(theta, action, ret, lr):
    return torch.softmax(theta, -1) + lr * ret * grad_log_softmax(theta, action)


def step_score_sign(theta, action, ret, lr):
    return theta + lr * ret * (1 - torch.eye(len(theta), dtype=theta.dtype)[action])


def step_random_search(theta, action, ret, lr):
    candidate = theta + lr * torch.randn_like(theta)
    better = torch.log_softmax(candidate, -1)[action] > torch.log_softmax(theta, -1)[action]
    return candidate if better == (ret > 0) else theta.clone()


def hand_step(theta, action, ret, lr):
    return lambda g: dict(theta=torch.tensor(theta), action=action, ret=ret, lr=lr)


SCORE_STEP = Exercise(
    reference=score_step,
    parts={"the worked example": 2, "any return": 1, "clean": 1},
    cases=[
        Case("the worked example", hand_step([0.0, 0.0], 0, 2.0, 0.1), "the worked example"),
        Case("three actions", hand_step([0.5, -0.5, 1.0], 1, 3.0, 0.2), "the worked example"),
        Case(
            "four actions",
            lambda g: dict(theta=normal(g, 4), action=2, ret=2.5, lr=0.15),
            "the worked example",
        ),
        Case("a negative return", hand_step([0.0, 1.0], 1, -2.0, 0.1), "any return"),
        Case("no return", hand_step([0.3, 0.1], 0, 0.0, 0.1), "any return"),
        Case(
            "random numbers",
            lambda g: dict(
                theta=normal(g, 6, dtype=F64), action=4, ret=float(normal(g, 1)), lr=0.3
            ),
            "any return",
        ),
    ],
    pitfalls=[
        Pitfall(
            "descends", "It steps down the gradient: minus where a plus belongs.", step_descends
        ),
        Pitfall(
            "return ignored",
            "The return does not scale the step: every action taken becomes more probable, good or bad.",
            step_ignores_return,
        ),
        Pitfall(
            "taken action only",
            "It moves only the preference of the action taken; the score moves the others too.",
            step_taken_only,
        ),
        Pitfall(
            "gradient of the probability",
            "It follows the gradient of pi(a), not of log pi(a): rare actions barely learn.",
            step_of_probability,
            "Dividing by pi(a), which the log does, makes up for rare actions being sampled rarely.",
        ),
        Pitfall("step without theta", "It returns the step alone, not the new theta.", step_only),
        Pitfall(
            "sign of the return only",
            "It uses only the sign of the return, not its size.",
            step_return_sign,
        ),
        Pitfall(
            "absolute return",
            "It uses the size of the return without its sign: bad actions are reinforced too.",
            step_abs_return,
        ),
        Pitfall(
            "no learning rate", "The learning rate does not scale the step.", step_without_rate
        ),
        Pitfall(
            "step on probabilities",
            "It adds the step to the probabilities, not to the preferences theta.",
            step_on_probabilities,
        ),
        Pitfall(
            "other actions raised",
            "It raises the preferences of the actions that were NOT taken.",
            step_score_sign,
        ),
        Pitfall(
            "random search", RANDOM_SEARCH, step_random_search, RANDOM_WHY, uses_random_numbers
        ),
    ],
    read="lesson 1, “One step by hand”; Sutton & Barto, equation 13.8",
)

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


def q_few_sweeps(mdp, pi):
    V = torch.zeros_like(mdp.R[:, 0])
    for _ in range(10):
        V = (pi * (mdp.R + mdp.gamma * mdp.P @ V)).sum(1)
    return mdp.R + mdp.gamma * mdp.P @ V


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
            "too few sweeps",
            "Ten sweeps of the Bellman equation: close, but not the solution. Solve the linear system.",
            q_few_sweeps,
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
    parts={"values": 4, "episodes that end": 1, "clean": 1},
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
    ],
    pitfalls=[
        Pitfall(
            "stationary distribution",
            "It weights states by the chain's long-run distribution; J counts discounted visits from the start.",
            gradient_stationary,
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


def estimate_sum(theta, actions, returns):
    return (returns.unsqueeze(1) * scores_of(theta, actions)).sum(0)


def estimate_sign(theta, actions, returns):
    return -(returns.unsqueeze(1) * scores_of(theta, actions)).mean(0)


def estimate_normalized(theta, actions, returns):
    returns = (returns - returns.mean()) / (returns.std() + 1e-8)
    return (returns.unsqueeze(1) * scores_of(theta, actions)).mean(0)


def estimate_centered(theta, actions, returns):
    return ((returns - returns.mean()).unsqueeze(1) * scores_of(theta, actions)).mean(0)


def estimate_taken_only(theta, actions, returns):
    onehot = torch.eye(len(theta), dtype=theta.dtype)[actions]
    return (returns.unsqueeze(1) * onehot * scores_of(theta, actions)).mean(0)


def estimate_of_probability(theta, actions, returns):
    pi = torch.softmax(theta, -1)
    return ((returns * pi[actions]).unsqueeze(1) * scores_of(theta, actions)).mean(0)


def estimate_abs(theta, actions, returns):
    return (returns.abs().unsqueeze(1) * scores_of(theta, actions)).mean(0)


def estimate_product_of_means(theta, actions, returns):
    return returns.mean() * scores_of(theta, actions).mean(0)


def estimate_weighted_twice(theta, actions, returns):
    pi = torch.softmax(theta, -1)
    return ((returns / pi[actions]).unsqueeze(1) * scores_of(theta, actions)).mean(0)


def estimate_last_sample(theta, actions, returns):
    return returns[-1] * scores_of(theta, actions)[-1]


def estimate_mean_over_everything(theta, actions, returns):
    return (returns.unsqueeze(1) * scores_of(theta, actions)).sum(0) / (len(actions) * len(theta))


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
    parts={"one sample": 1, "many samples": 2, "shapes": 1, "clean": 1},
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
            "actions [3] and returns [3, 1]",
            lambda g: bandit(g, 2, 3) | dict(returns=normal(g, 3, 1)),
            "shapes",
            raises=True,
        ),
    ],
    pitfalls=[
        Pitfall(
            "sum for mean",
            "It sums over the samples: the estimate grows with their number.",
            estimate_sum,
        ),
        Pitfall("sign", "The sign is reversed: following it lowers the return.", estimate_sign),
        Pitfall(
            "normalized returns",
            "It standardizes the returns first: another, biased estimate whose scale says nothing.",
            estimate_normalized,
        ),
        Pitfall(
            "mean return subtracted",
            "It subtracts the batch's mean return, which contains each sample's own: biased by (N-1)/N.",
            estimate_centered,
            "Baselines are lesson 3's subject, and there is an unbiased one.",
        ),
        Pitfall(
            "taken action only",
            "Only the taken action's coordinate is kept of each score.",
            estimate_taken_only,
        ),
        Pitfall(
            "gradient of the probability",
            "It uses the gradient of pi(a), not of log pi(a): samples already come as often as pi says.",
            estimate_of_probability,
        ),
        Pitfall(
            "absolute returns",
            "It uses the size of the returns: bad actions are reinforced too.",
            estimate_abs,
        ),
        Pitfall(
            "product of means",
            "Mean return times mean score: which action earned which return is lost.",
            estimate_product_of_means,
            "The mean score tends to 0, so this estimates nothing.",
        ),
        Pitfall(
            "weighted twice",
            "It divides by pi(a): the samples were drawn from pi, so they are weighted already.",
            estimate_weighted_twice,
        ),
        Pitfall("last sample", "Only the last sample counts.", estimate_last_sample),
        Pitfall(
            "mean over actions too",
            "It divides by N times A; the mean is over the N samples only.",
            estimate_mean_over_everything,
        ),
        Pitfall(
            "random search",
            "It weighs random perturbations by the returns (evolution strategies): "
            "the score of the action taken is not in it.",
            estimate_evolution,
            RANDOM_WHY,
            uses_random_numbers,
        ),
    ],
    read="lesson 1, “From an expectation to samples”; Williams 1992",
)

EXERCISES = [
    SOFTMAX,
    GRAD_LOG_SOFTMAX,
    SCORE_STEP,
    ACTION_VALUES,
    EXACT_POLICY_GRADIENT,
    SCORE_FUNCTION_GRADIENT,
]
