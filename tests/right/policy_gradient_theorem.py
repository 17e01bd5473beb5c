"""Right answers of lesson 1 in other styles."""

import torch
from torch.distributions import Categorical

from pgcourse.mdp import expected_return


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


RIGHT = {
    "softmax": [softmax_builtin, softmax_through_log, softmax_distribution, softmax_rows],
    "grad_log_softmax": [score_autograd, score_loop, score_one_hot, score_func],
    "score_step": [step_autograd, step_optimizer, step_in_numpy],
    "action_values": [values_sweeps, values_on_pairs, values_loops],
    "exact_policy_gradient": [gradient_autograd, gradient_by_scores, gradient_differences],
    "score_function_gradient": [estimate_loop, estimate_autograd, estimate_matrix],
}
