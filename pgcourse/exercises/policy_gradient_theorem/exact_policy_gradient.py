"""The gradient of the expected return, by the theorem."""

import torch

from pgcourse.checks.core import Case, Exercise
from pgcourse.checks.edits import edit, mistake, telltale
from pgcourse.checks.make_inputs import integers, times
from pgcourse.exercises.policy_gradient_theorem.scores import RANDOM_SEARCH, RANDOM_WHY
from pgcourse.exercises.policy_gradient_theorem.worlds import (
    F64,
    optimal_policy,
    power,
    some_mdp,
    two_states,
    with_theta,
)
from pgcourse.mdp import (
    action_values,
    episodic_mdp,
    exact_policy_gradient,
    expected_return,
    occupancy,
    random_mdp,
)

VISITS = "occupancy(mdp, pi)"
GRADIENT = "d.unsqueeze(1) * pi * (Q - V)"


def policy(new):
    return edit("softmax(theta)", new)


def visits(new, use=()):
    return edit(VISITS, new, use=use)


def values(new, use=()):
    return edit("action_values(mdp, pi)", new, use=use)


def mean(new):
    return edit("(pi * Q).sum(dim=1, keepdim=True)", new)


def result(new, use=()):
    return edit(f"return {GRADIENT}", f"return {new}", use=use)


def start(new):
    return edit("mdp.start", new, of="occupancy")


def stationary(mdp, pi):
    """The chain's long-run distribution; an episode that ends starts anew."""
    P_pi = torch.einsum("sa,sap->sp", pi, mdp.P)
    P_pi = P_pi + (1 - P_pi.sum(1, keepdim=True)) * mdp.start
    return torch.linalg.matrix_power(P_pi, 1024)[0]


def undiscounted_visits(mdp, pi):
    """How often each state is visited in an episode; the share of time where no episode ends."""
    P_pi = torch.einsum("sa,sap->sp", pi, mdp.P)
    if (mdp.P.sum(-1) > 1 - 1e-9).all():
        return stationary(mdp, pi)
    return torch.linalg.solve(torch.eye(len(P_pi), dtype=pi.dtype) - P_pi.T, mdp.start)


def early_visits(mdp, pi, steps):
    """The visits of the first steps."""
    d = occupancy(mdp, pi)
    return d - power(mdp.gamma * torch.einsum("sa,sap->ps", pi, mdp.P), steps) @ d


def visits_so_far(mdp, pi, steps):
    """Undiscounted visits of the first steps: start + start P + start P^2 + …"""
    P_pi, n = torch.einsum("sa,sap->ps", pi, mdp.P), len(pi)
    M = torch.zeros(n + 1, n + 1, dtype=pi.dtype)
    M[:n, :n], M[:n, n], M[n, n] = P_pi, mdp.start, 1.0
    return power(M, steps)[:n, n]


def differentiated(*live):
    """sum d pi Q by autograd, where what is not live is held constant."""

    def gradient(mdp, theta):
        with torch.enable_grad():
            leaf = theta.detach().clone().requires_grad_()
            pi = torch.softmax(leaf, -1)
            d, Q = occupancy(mdp, pi), action_values(mdp, pi)
            d, Q = d if "d" in live else d.detach(), Q if "Q" in live else Q.detach()
            return torch.autograd.grad((d.unsqueeze(1) * pi * Q).sum(), leaf)[0]

    return gradient


def differences(mdp, theta, h, central):
    """Finite differences of J with the step h, all of them at once."""
    steps = h * torch.eye(theta.numel(), dtype=theta.dtype).view(-1, *theta.shape)

    def expected_returns(thetas):
        pi = torch.softmax(thetas, -1)
        system = torch.eye(len(theta), dtype=theta.dtype) - mdp.gamma * torch.einsum(
            "ksa,sap->ksp", pi, mdp.P
        )
        return torch.linalg.solve(system, (pi * mdp.R).sum(-1)) @ mdp.start

    change = expected_returns(theta + steps) - expected_returns(theta - central * steps)
    return (change / (h * (1 + central))).view_as(theta)


def climb_at_random(mdp, theta):
    best = torch.zeros_like(theta)
    for _ in range(5):
        step = 0.1 * torch.randn_like(theta)
        if expected_return(mdp, theta + best + step) > expected_return(mdp, theta + best):
            best = best + step
    return best


HAND = torch.tensor([[0.0, 0.5], [1.0, 0.0]], dtype=F64)


def large(g):
    return some_mdp(g, random_mdp, 3, 2, gamma=0.8) | dict(
        theta=1000.0 + integers(g, 4, 3, 2).to(F64)
    )


# fmt: off
EXERCISE = Exercise(
    reference=exact_policy_gradient,
    parts={"values": 3, "episodes that end": 1, "large preferences": 1, "clean": 1},
    driver="with_mdp",
    cases=[
        Case("two states", lambda g: two_states(theta=HAND), "values"),
        Case("five states, three actions", with_theta(random_mdp, 5, 3, 0.9), "values"),
        Case("a long horizon", with_theta(random_mdp, 4, 2, 0.97), "values"),
        Case("episodes that end", with_theta(episodic_mdp, 4, 2, 0.9), "episodes that end"),
        Case("no discount", with_theta(episodic_mdp, 3, 3, 1.0), "episodes that end"),
        Case("other episodes that end", with_theta(episodic_mdp, 5, 2, 0.8), "episodes that end"),
        Case("large preferences", large, "large preferences"),
        Case("rewards in the thousands", lambda g: times(1e4, two_states(theta=HAND), "R"), "values"),
        Case("a horizon of a hundred steps", lambda g: two_states(theta=HAND, gamma=0.99), "values"),
        Case("a discount factor of 0", with_theta(random_mdp, 3, 2, 0.0), "values"),
    ],
    mistakes=[
        mistake("stationary distribution",
                "It weights states by the chain's long-run distribution; J counts discounted visits from the start.",
                visits("stationary(mdp, pi)", (stationary,)),
                also=(visits("stationary(mdp, pi) / max(1 - mdp.gamma, 1e-12)", (stationary,)),)),
        mistake("undiscounted visits", "It counts every visit as much as the first; a visit at time t weighs gamma^t.",
                visits("undiscounted_visits(mdp, pi)", (undiscounted_visits,)),
                also=(edit("mdp.gamma * P_pi.T", "P_pi.T", of="occupancy"),)),
        mistake("undiscounted visits, step by step",
                "It adds up the visits of {steps:.4g} steps, each as much as the first; a visit at time t weighs gamma^t.",
                visits("visits_so_far(mdp, pi, {steps=400})", (visits_so_far,))),
        mistake("visits differentiated",
                "It differentiates the visits d(s), too: the theorem holds d and Q constant and differentiates pi alone.",
                differentiated("d", "Q"), also=(differentiated("d"),)),
        mistake("values of later visits twice",
                "It is the gradient of sum d(s) V(s): each V(s) holds all later visits already, and they count again.",
                differentiated("Q")),
        mistake("start states only",
                "It weights states by the start distribution: nothing is learned in states reached later.",
                visits("mdp.start")),
        mistake("optimal values", "It uses Q* (the best continuation) in place of the Q of the policy itself.",
                values("action_values(mdp, optimal_policy(mdp))", (optimal_policy,)),
                also=((values("action_values(mdp, optimal_policy(mdp))", (optimal_policy,)),
                       mean("Q.max(dim=1, keepdim=True).values")),)),
        mistake("actions not weighted", "It sums over actions without weighting each with its probability pi(a|s).",
                result("d.unsqueeze(1) * (Q - pi * Q.sum(dim=1, keepdim=True))")),
        mistake("normalized visits",
                "The visits are normalized to sum to 1: the result is a fraction of the gradient of J.",
                visits(f"{VISITS} / {VISITS}.sum()")),
        mistake("factor 1 - gamma", "It has a factor 1 - gamma: visits that sum to 1. Here d(s) counts every visit, discounted.",
                result(f"(1 - mdp.gamma) * {GRADIENT}")),
        mistake("every state once", "Each state counts the same: the visits d(s) are missing.",
                visits("torch.ones_like(mdp.start)"), also=(visits("torch.ones_like(mdp.start) / len(theta)"),)),
        mistake("first visits only",
                "It counts the visits of the first {steps:.4g} steps only; solve for all of them (`occupancy` does).",
                visits("early_visits(mdp, pi, {steps=10})", (early_visits,))),
        mistake("visits after the first step", "The first state is not counted: d(s) starts with t = 0.",
                visits(f"{VISITS} - mdp.start")),
        mistake("visits backwards", "P is not transposed in the system for d: visits flow forward in time, values back.",
                edit("P_pi.T", "P_pi", of="occupancy")),
        mistake("every state as a start",
                "It lets episodes start everywhere alike (the gradient of a mean or sum of V); J starts from mdp.start.",
                start("torch.full_like(mdp.start, 1 / len(mdp.start))"), also=(start("torch.ones_like(mdp.start)"),)),
        mistake("most visited state only", "Only the most visited state is filled.",
                visits(f"{VISITS} * ({VISITS} == {VISITS}.max())")),
        mistake("root of the visits", "It takes the square root of the visits.", visits(f"{VISITS}.sqrt()")),
        mistake("discounted once more", "The whole is multiplied by gamma: the first step is not discounted.",
                result(f"mdp.gamma * {GRADIENT}")),
        mistake("next value not discounted", "In Q, the value of the next state is not multiplied by gamma.",
                edit("mdp.gamma * mdp.P @ V", "mdp.P @ V", of="action_values")),
        mistake("probability missing", "It is d (Q - V): the factor pi(b|s) is missing.",
                result("d.unsqueeze(1) * (Q - V)")),
        mistake("advantages alone", "It is Q - V, without visits and probabilities (the natural gradient's direction).",
                result("Q - V")),
        mistake("probability squared", "The factor pi(b|s) counts twice.", result("d.unsqueeze(1) * pi**2 * (Q - V)")),
        mistake("other actions forgotten",
                "It takes pi(b)(1 - pi(b)) for the derivative of the policy: theta[s, b] also lowers the probabilities "
                "of the other actions.",
                result("d.unsqueeze(1) * pi * (1 - pi) * Q"), also=(result("d.unsqueeze(1) * pi * (1 - pi) * (Q - V)"),)),
        mistake("plain mean for V",
                "It subtracts the plain mean or sum of Q over the actions; V weights each with its probability.",
                mean("Q.mean(dim=1, keepdim=True)"), also=(mean("Q.sum(dim=1, keepdim=True)"),)),
        mistake("V over states", "It sums over the states; V(s) is a sum over the actions.",
                mean("(pi * Q).sum(dim=0, keepdim=True)")),
        mistake("best value for V", "It subtracts the largest Q; V is the policy's average.",
                mean("Q.max(dim=1, keepdim=True).values")),
        mistake("V added", "It adds V in place of subtracting it.", edit("Q - V", "Q + V")),
        mistake("gradient into the probabilities",
                "It is d Q, the derivative with respect to pi; one more step leads to the preferences theta.",
                result("d.unsqueeze(1) * Q")),
        mistake("softmax over states", "The policy is normalized over states; the actions are on the last axis.",
                policy("torch.softmax(theta, dim=0)")),
        mistake("softmax missing", "It takes theta for probabilities.", policy("theta"),
                also=(policy("theta.abs() / theta.abs().sum(dim=1, keepdim=True)"),)),
        mistake("softmax twice", "The preferences pass through softmax twice.", policy("softmax(softmax(theta))")),
        mistake("another temperature", "The preferences are multiplied by {c:.3g} before their softmax.",
                policy("softmax({c=2} * theta)")),
        mistake("large differences",
                "It takes finite differences with a step of {h:.2g}: near the gradient, but not the gradient.",
                result("differences(mdp, theta, {h=0.1}, False)", (differences,)),
                also=(result("differences(mdp, theta, {h=0.1}, True)", (differences,)),)),
        mistake("overflow", "exp of a large preference is inf: use your stable softmax.",
                policy("theta.exp() / theta.exp().sum(dim=-1, keepdim=True)")),
        mistake("reward for value", "It uses the immediate reward in place of Q: consequences do not count.",
                values("mdp.R")),
        mistake("score missing",
                "It is d pi Q without the score: the pull of the other actions (-pi sum pi Q) is missing.",
                result("d.unsqueeze(1) * pi * Q")),
        mistake("sign", "It points downhill: every sign is reversed.", result(f"-{GRADIENT}")),
        mistake("difference to the greedy policy",
                "It points from pi to the greedy policy: a direction, but not the gradient.",
                result("torch.eye(theta.shape[1], dtype=theta.dtype)[Q.argmax(dim=1)] - pi")),
        telltale("random search", RANDOM_SEARCH, result("climb_at_random(mdp, theta)", (climb_at_random,)),
                 lambda at: at.random, why=RANDOM_WHY),
    ],
    read="lesson 1, “The theorem, step by step”; Sutton et al. 2000, theorem 1",
)
