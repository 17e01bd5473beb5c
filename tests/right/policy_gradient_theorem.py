"""Right answers of lesson 1 in other styles."""

import numpy as np
import torch
from torch.distributions import Categorical

from pgcourse.mdp import action_values, expected_return, occupancy


def softmax_builtin(theta):
    return torch.softmax(theta, dim=-1)


def softmax_through_log(theta):
    return torch.exp(theta - torch.logsumexp(theta, -1, keepdim=True))


def softmax_distribution(theta):
    return Categorical(logits=theta).probs


def softmax_rows(theta):
    if theta.dim() > 1:
        return torch.stack([softmax_rows(row) for row in theta])
    shifted = [torch.exp(x - max(theta)) for x in theta]
    return torch.stack(shifted) / sum(shifted)


def softmax_in_double(theta):
    z = torch.exp(theta.double() - theta.detach().double().amax(-1, keepdim=True))
    return torch.einsum("...a,...->...a", z, 1 / z.sum(-1)).to(theta.dtype)


def softmax_small_number(theta):
    z = torch.exp(theta - theta.max(-1, keepdim=True)[0])
    return z / (z.sum(-1, keepdim=True) + 1e-8)


def score_autograd(theta, action):
    leaf = theta.detach().clone().requires_grad_()
    Categorical(logits=leaf).log_prob(torch.tensor(action)).backward()
    return leaf.grad


def score_loop(theta, action):
    pi = torch.softmax(theta, 0)
    return torch.stack([(1 - pi[i]) if i == action else -pi[i] for i in range(len(theta))])


def score_one_hot(theta, action):
    hot = torch.nn.functional.one_hot(torch.tensor(action), len(theta)).to(theta.dtype)
    return hot - torch.softmax(theta, -1)


def score_func(theta, action):
    return torch.func.grad(lambda t: torch.log_softmax(t, -1)[action])(theta)


def score_where(theta, action):
    pi = torch.softmax(theta, 0)
    return torch.where(torch.arange(len(theta)) == action, 1 - pi, -pi)


def score_small_differences(theta, action):
    x, h = theta.double(), 1e-5
    nudges = h * torch.eye(len(x), dtype=x.dtype)
    up, down = (torch.log_softmax(x + c * nudges, -1)[:, action] for c in (1, -1))
    return ((up - down) / (2 * h)).to(theta.dtype)


def score_numpy(theta, action):
    e = np.exp(theta.numpy() - theta.numpy().max())
    score = -e / e.sum()
    score[action] += 1
    return torch.from_numpy(score)


def step_autograd(theta, action, ret, lr):
    return theta + lr * ret * score_autograd(theta, action)


def step_optimizer(theta, action, ret, lr):
    leaf = theta.clone().requires_grad_()
    optimizer = torch.optim.SGD([leaf], lr=lr)
    (-ret * torch.log_softmax(leaf, -1)[action]).backward()
    optimizer.step()
    return leaf.detach()


def step_in_numpy(theta, action, ret, lr):
    new = theta.numpy().copy()
    pi = torch.softmax(theta, -1).numpy()
    for i in range(len(new)):
        new[i] += lr * ret * ((i == action) - pi[i])
    return torch.from_numpy(new)


def step_two_parts(theta, action, ret, lr):
    new = theta - lr * ret * torch.softmax(theta, 0)
    new[action] += lr * ret
    return new


def step_maximize(theta, action, ret, lr):
    parameter = torch.nn.Parameter(theta.clone())
    optimizer = torch.optim.SGD([parameter], lr=lr, maximize=True)
    (Categorical(logits=parameter).log_prob(torch.tensor(action)) * ret).backward()
    optimizer.step()
    return parameter.data


def values_sweeps(mdp, pi):
    V = torch.zeros_like(mdp.start)
    for _ in range(4000):
        V = (pi * (mdp.R + mdp.gamma * mdp.P @ V)).sum(1)
    return mdp.R + mdp.gamma * mdp.P @ V


def values_on_pairs(mdp, pi):
    S, A = pi.shape
    T = (mdp.P.reshape(S * A, S, 1) * pi).reshape(S * A, S * A)
    eye = torch.eye(S * A, dtype=pi.dtype)
    return (torch.linalg.inv(eye - mdp.gamma * T) @ mdp.R.reshape(-1)).reshape(S, A)


def values_loops(mdp, pi):
    S, A = pi.shape
    P_pi = torch.zeros(S, S, dtype=pi.dtype)
    r_pi = torch.zeros(S, dtype=pi.dtype)
    for s in range(S):
        for a in range(A):
            P_pi[s] += pi[s, a] * mdp.P[s, a]
            r_pi[s] += pi[s, a] * mdp.R[s, a]
    V = torch.linalg.solve(torch.eye(S, dtype=pi.dtype) - mdp.gamma * P_pi, r_pi)
    return mdp.R + mdp.gamma * torch.einsum("sap,p->sa", mdp.P, V)


def values_until_still(mdp, pi):
    Q, change = torch.zeros_like(mdp.R), 1.0
    while change > 1e-12:
        new = mdp.R + mdp.gamma * torch.einsum("sap,p->sa", mdp.P, (pi * Q).sum(1))
        Q, change = new, (new - Q).abs().max()
    return Q


def values_numpy(mdp, pi):
    P, R, p = mdp.P.numpy(), mdp.R.numpy(), pi.numpy()
    P_pi = np.einsum("sa,sax->sx", p, P)
    V = np.linalg.solve(np.eye(len(P_pi)) - mdp.gamma * P_pi, (p * R).sum(1))
    return torch.from_numpy(R + mdp.gamma * P @ V)


def gradient_autograd(mdp, theta):
    leaf = theta.clone().requires_grad_()
    expected_return(mdp, leaf).backward()
    return leaf.grad


def gradient_by_scores(mdp, theta):
    pi = torch.softmax(theta, -1)
    Q = values_loops(mdp, pi)
    P_pi = torch.einsum("sa,sap->sp", pi, mdp.P)
    d, visits = torch.zeros_like(mdp.start), mdp.start
    for _ in range(3000):
        d, visits = d + visits, mdp.gamma * visits @ P_pi
    grad = torch.zeros_like(theta)
    for s in range(len(theta)):
        for a in range(theta.shape[1]):
            grad[s] += d[s] * pi[s, a] * Q[s, a] * score_one_hot(theta[s], a)
    return grad


def gradient_differences(mdp, theta):
    grad, h = torch.zeros_like(theta), 1e-4
    for i in range(theta.numel()):
        step = torch.zeros_like(theta).view(-1)
        step[i] = h
        step = step.view_as(theta)
        up, down = expected_return(mdp, theta + step), expected_return(mdp, theta - step)
        up2, down2 = expected_return(mdp, theta + 2 * step), expected_return(mdp, theta - 2 * step)
        grad.view(-1)[i] = (8 * (up - down) - (up2 - down2)) / (12 * h)
    return grad


def gradient_jacobian(mdp, theta):
    pi = torch.softmax(theta, 1)
    jacobian = torch.diag_embed(pi) - pi.unsqueeze(2) * pi.unsqueeze(1)
    weighted = occupancy(mdp, pi)[:, None, None] * jacobian
    return (weighted @ action_values(mdp, pi).unsqueeze(2)).squeeze(2)


def gradient_surrogate(mdp, theta):
    leaf = theta.detach().clone().requires_grad_()
    logp = torch.log_softmax(leaf, 1)
    pi = logp.exp().detach()
    (occupancy(mdp, pi)[:, None] * pi * action_values(mdp, pi) * logp).sum().backward()
    return leaf.grad


def estimate_loop(theta, actions, returns):
    if returns.shape != actions.shape:
        raise ValueError("one return per action")
    total = torch.zeros_like(theta)
    for a, r in zip(actions.tolist(), returns.tolist(), strict=True):
        total += r * score_one_hot(theta, a)
    return total / len(actions)


def estimate_autograd(theta, actions, returns):
    if returns.shape != actions.shape:
        raise ValueError("one return per action")
    leaf = theta.clone().requires_grad_()
    (Categorical(logits=leaf).log_prob(actions) * returns).mean().backward()
    return leaf.grad


def estimate_matrix(theta, actions, returns):
    if returns.shape != actions.shape:
        raise ValueError("one return per action")
    per_action = torch.zeros_like(theta).index_add_(0, actions, returns)
    return (per_action - torch.softmax(theta, 0) * returns.sum()) / len(actions)


def estimate_cross_entropy(theta, actions, returns):
    if returns.shape != actions.shape:
        raise ValueError("one return per action")
    leaf = theta.detach().clone().requires_grad_()
    logits = leaf.expand(len(actions), -1)
    nll = torch.nn.functional.cross_entropy(logits, actions, reduction="none")
    return -torch.autograd.grad((nll * returns).mean(), leaf)[0]


def estimate_numpy(theta, actions, returns):
    if returns.shape != actions.shape:
        raise ValueError("one return per action")
    pi = torch.softmax(theta, 0).numpy()
    scores = np.eye(len(pi), dtype=pi.dtype)[actions.numpy()] - pi
    return torch.from_numpy((returns.numpy()[:, None] * scores).mean(0))


RIGHT = {
    "softmax": [
        softmax_builtin,
        softmax_through_log,
        softmax_distribution,
        softmax_rows,
        softmax_in_double,
        softmax_small_number,
    ],
    "grad_log_softmax": [
        score_autograd,
        score_loop,
        score_one_hot,
        score_func,
        score_where,
        score_small_differences,
        score_numpy,
    ],
    "score_step": [
        step_autograd,
        step_optimizer,
        step_in_numpy,
        step_two_parts,
        step_maximize,
    ],
    "action_values": [
        values_sweeps,
        values_on_pairs,
        values_loops,
        values_until_still,
        values_numpy,
    ],
    "exact_policy_gradient": [
        gradient_autograd,
        gradient_by_scores,
        gradient_differences,
        gradient_jacobian,
        gradient_surrogate,
    ],
    "score_function_gradient": [
        estimate_loop,
        estimate_autograd,
        estimate_matrix,
        estimate_cross_entropy,
        estimate_numpy,
    ],
}
