"""Exact tabular MDPs: values, visits and the policy gradient by linear algebra. The oracle of lessons 1 to 4.

Everything is float64 and exact up to rounding: the estimators of the course are held against it.
"""

from collections.abc import Iterator
from dataclasses import dataclass

import torch
from torch import Tensor

from pgcourse.distributions import softmax


@dataclass(frozen=True)
class MDP:
    """A finite Markov decision process.

    P     : float, P[s, a, s'] = probability to go from s to s' with a, [S, A, S];
            what a row lacks to 1 is the probability that the episode ends there
    R     : float, expected reward of a in s, [S, A]
    start : float, distribution of the first state, [S]
    gamma : float in [0, 1]; below 1 unless every policy ends
    """

    P: torch.Tensor
    R: torch.Tensor
    start: torch.Tensor
    gamma: float

    def __post_init__(self):
        S, A = self.R.shape
        if self.P.shape != (S, A, S) or self.start.shape != (S,):
            raise ValueError(
                f"expected P [S, A, S], R [S, A], start [S]; got {list(self.P.shape)}, "
                f"{list(self.R.shape)}, {list(self.start.shape)}."
            )
        if (self.P < 0).any() or (self.P.sum(-1) > 1 + 1e-9).any():
            raise ValueError("expected rows of P that are >= 0 and sum to at most 1.")


def action_values(mdp: MDP, pi: Tensor) -> Tensor:
    """The exact value of every action, by one linear solve.

        V = r_pi + gamma P_pi V,   Q(s, a) = R(s, a) + gamma sum_s' P(s' | s, a) V(s')

    mdp     : MDP with tensors P [S, A, S] and R [S, A] and a float gamma
    pi      : float, pi[s, a] = probability of a in s, [S, A]
    returns : Q, reward units, [S, A]
    source  : Sutton & Barto 2018, eq. 3.14 and 4.6
    """
    P_pi = torch.einsum("sa,sap->sp", pi, mdp.P)
    r_pi = (pi * mdp.R).sum(dim=1)
    V = torch.linalg.solve(torch.eye(len(r_pi), dtype=pi.dtype) - mdp.gamma * P_pi, r_pi)
    return mdp.R + mdp.gamma * mdp.P @ V


def state_values(mdp: MDP, pi: Tensor) -> Tensor:
    """V(s) = sum_a pi(a|s) Q(s, a), [S]."""
    return (pi * action_values(mdp, pi)).sum(dim=1)


def occupancy(mdp: MDP, pi: Tensor) -> Tensor:
    """Discounted visits d(s) = sum_t gamma^t Pr(s_t = s), [S]; not normalized."""
    P_pi = torch.einsum("sa,sap->sp", pi, mdp.P)
    return torch.linalg.solve(torch.eye(len(P_pi), dtype=pi.dtype) - mdp.gamma * P_pi.T, mdp.start)


def expected_return(mdp: MDP, theta: Tensor) -> Tensor:
    """J(theta) = E[G_0] = start . V of the softmax policy with preferences theta [S, A]; differentiable."""
    return mdp.start @ state_values(mdp, softmax(theta))


def exact_policy_gradient(mdp: MDP, theta: Tensor) -> Tensor:
    """The gradient of J(theta) = E[G_0], by the policy-gradient theorem.

        dJ/dtheta[s, b] = d(s) sum_a pi(a|s) Q(s, a) (1[a = b] - pi(b|s)),
        d(s) = sum_t gamma^t Pr(s_t = s)   (discounted visits, not normalized)

    mdp     : MDP with tensors P [S, A, S], R [S, A], start [S] and a float gamma
    theta   : float, preferences of the softmax policy, [S, A]
    returns : grad, [S, A]
    source  : Sutton et al. 2000, theorem 1
    """
    pi = softmax(theta)
    d = occupancy(mdp, pi)
    Q = action_values(mdp, pi)
    V = (pi * Q).sum(dim=1, keepdim=True)
    return d.unsqueeze(1) * pi * (Q - V)


def sample_episodes(
    mdp: MDP, pi: Tensor, n: int, generator: torch.Generator | None, max_steps: int = 1000
) -> list[tuple[Tensor, Tensor, Tensor]]:
    """n episodes under pi [S, A], as a list of (states, actions, rewards), three [T] tensors each."""
    episodes = []
    for _ in range(n):
        s, steps = draw(mdp.start, generator), []
        while s is not None and len(steps) < max_steps:
            a = draw(pi[s], generator)
            steps.append((s, a, mdp.R[s, a].item()))
            s = draw(mdp.P[s, a], generator)
        states, actions, rewards = zip(*steps, strict=True)
        episodes.append(
            (torch.tensor(states), torch.tensor(actions), torch.tensor(rewards, dtype=mdp.R.dtype))
        )
    return episodes


def draw(p: Tensor, generator: torch.Generator | None) -> int | None:
    """An index drawn with probabilities p, or None with what p lacks to 1."""
    u = torch.rand((), generator=generator, dtype=torch.float64)
    i = int(torch.searchsorted(p.cumsum(0), u, right=True))
    return i if i < len(p) and u < p.sum() else None


def enumerate_episodes(
    mdp: MDP, pi: Tensor, horizon: int
) -> Iterator[tuple[Tensor, Tensor, Tensor, Tensor]]:
    """Every possible episode of up to `horizon` steps, as (probability, states, actions, rewards).

    Exact by brute force, for MDPs that end within `horizon`; raises ValueError if one does not.
    """
    S, A = mdp.R.shape

    def walk(prob, s, steps):
        if len(steps) == horizon:
            raise ValueError(f"expected episodes of at most {horizon} steps; one goes on.")
        for a in range(A):
            here = prob * pi[s, a]
            if here == 0:
                continue
            path = [*steps, (s, a, mdp.R[s, a].item())]
            stop = 1 - mdp.P[s, a].sum()
            if stop > 1e-12:
                states, actions, rewards = zip(*path, strict=True)
                yield (
                    here * stop,
                    torch.tensor(states),
                    torch.tensor(actions),
                    torch.tensor(rewards, dtype=mdp.R.dtype),
                )
            for s2 in range(S):
                if mdp.P[s, a, s2] > 0:
                    yield from walk(here * mdp.P[s, a, s2], s2, path)

    for s in range(S):
        if mdp.start[s] > 0:
            yield from walk(mdp.start[s], s, [])


def random_mdp(S: int = 5, A: int = 3, gamma: float = 0.9, seed: int = 0) -> MDP:
    """A random ergodic MDP that never ends: every state follows every other; rewards in [-1, 1]."""
    g = torch.Generator().manual_seed(seed)
    P = torch.rand(S, A, S, generator=g, dtype=torch.float64) ** 3
    R = 2 * torch.rand(S, A, generator=g, dtype=torch.float64) - 1
    start = torch.rand(S, generator=g, dtype=torch.float64)
    return MDP(P / P.sum(-1, keepdim=True), R, start / start.sum(), gamma)


def corridor(length: int = 4, gamma: float = 1.0, slip: float = 0.0) -> MDP:
    """A walk of exactly `length` steps: action 1 earns 1, action 0 earns 0; after `length` steps it ends.

    State t is the step; `slip` is the probability that the episode ends early after any step.
    Small enough to enumerate, and its horizon can be grown: made to show variance.
    """
    P = torch.zeros(length, 2, length, dtype=torch.float64)
    for t in range(length - 1):
        P[t, :, t + 1] = 1 - slip
    R = torch.tensor([[0.0, 1.0]], dtype=torch.float64).repeat(length, 1)
    start = torch.zeros(length, dtype=torch.float64)
    start[0] = 1
    return MDP(P, R, start, gamma)


def switched_corridor() -> MDP:
    """Three squares in a row and a goal to their right; each step costs 1. In the middle the actions are swapped.

    Action 1 goes right and action 0 left, on the middle square the other way round; left of the first
    square is a wall. A policy that cannot tell the squares apart does best by mixing: pi(1) = 2 - sqrt 2.
    One that is sure of an action never arrives, and has no finite value.

    source : Sutton & Barto 2018, example 13.1
    """
    P = torch.zeros(3, 2, 3, dtype=torch.float64)
    P[0, 0, 0] = P[0, 1, 1] = P[1, 0, 2] = P[1, 1, 0] = P[2, 0, 1] = 1
    start = torch.tensor([1, 0, 0], dtype=torch.float64)
    return MDP(P, -torch.ones(3, 2, dtype=torch.float64), start, gamma=1.0)


def episodic_mdp(S: int = 4, A: int = 2, gamma: float = 0.9, seed: int = 0) -> MDP:
    """A random MDP whose states are visited in rising order, so that every episode ends within S steps."""
    mdp = random_mdp(S, A, gamma, seed)
    later = torch.triu(torch.ones(S, S, dtype=torch.float64), diagonal=1).unsqueeze(1)
    return MDP(mdp.P * later, mdp.R, mdp.start, gamma)
