"""Right answers of lesson 2 in other styles."""

import math

import numpy as np
import torch

from pgcourse.tensors import same_shape


def returns_spinning_up(rew, ended, gamma, last_val=0.0):
    """One episode at a time, from lists."""
    same_shape(rew=rew, ended=ended)
    if rew.dim() > 1:
        vals = torch.zeros_like(rew[0]) + last_val
        columns = [
            returns_spinning_up(rew[:, b], ended[:, b], gamma, vals[b]) for b in range(rew.shape[1])
        ]
        return torch.stack(columns, dim=1)
    out, tail = [], float(last_val)
    for r, e in zip(reversed(rew.tolist()), reversed(ended.tolist()), strict=True):
        tail = r + (0.0 if e else gamma * tail)
        out.insert(0, tail)
    return torch.tensor(out, dtype=rew.dtype)


def returns_cleanrl(rew, ended, gamma, last_val=0.0):
    """Floats as masks, indices from the back."""
    same_shape(rew=rew, ended=ended)
    nonterminal = 1.0 - ended.to(rew.dtype)
    ret = torch.zeros(rew.shape, dtype=rew.dtype)
    for t in range(len(rew) - 1, -1, -1):
        following = last_val if t == len(rew) - 1 else ret[t + 1]
        ret[t] = rew[t] + gamma * nonterminal[t] * following
    return ret


def returns_matrix(rew, ended, gamma, last_val=0.0):
    """By the definition: sum over k of gamma^(k-t) r_k, while no episode ended in between."""
    same_shape(rew=rew, ended=ended)
    T, rows = len(rew), []
    for t in range(T):
        total, alive = torch.zeros_like(rew[0]), torch.ones_like(rew[0])
        for k in range(t, T):
            total = total + gamma ** (k - t) * alive * rew[k]
            alive = alive * (~ended[k])
        rows.append(total + gamma ** (T - t) * alive * last_val)
    return torch.stack(rows)


def returns_numpy(rew, ended, gamma, last_val=0.0):
    same_shape(rew=rew, ended=ended)
    r, e = rew.numpy(), ended.numpy()
    last = last_val.numpy() if torch.is_tensor(last_val) else last_val
    out, running = np.zeros_like(r), np.zeros_like(r[0]) + last
    for t in range(len(r))[::-1]:
        running = r[t] + gamma * np.where(e[t], 0, running)
        out[t] = running
    return torch.from_numpy(out)


def loss_stacked(logp, ret):
    same_shape(logp=logp, ret=ret)
    terms = [-lp * g for lp, g in zip(logp.flatten(), ret.detach().flatten(), strict=True)]
    return torch.stack(terms).mean()


def loss_no_grad(logp, ret):
    same_shape(logp=logp, ret=ret)
    with torch.no_grad():
        weight = -ret / ret.numel()
    return (weight * logp).sum()


def loss_dot(logp, ret):
    same_shape(logp=logp, ret=ret)
    return -torch.dot(logp.reshape(-1), ret.data.reshape(-1)) / logp.numel()


def surrogate_autograd(theta, episodes, gamma):
    leaf = theta.detach().clone().requires_grad_()
    loss = 0.0
    for states, actions, rewards in episodes:
        logp = torch.log_softmax(leaf, -1)[states, actions]
        steps = torch.arange(len(rewards), dtype=theta.dtype)
        ret = returns_cleanrl(rewards, torch.zeros(len(rewards), dtype=torch.bool), gamma)
        loss = loss + (gamma**steps * ret * logp).sum()
    (loss / len(episodes)).backward()
    return leaf.grad


def surrogate_one_hot(theta, episodes, gamma):
    S, A = theta.shape
    pi, grads = torch.softmax(theta, -1), []
    for states, actions, rewards in episodes:
        T = len(rewards)
        discounts = gamma ** torch.arange(T, dtype=theta.dtype)
        weight = (discounts * rewards).flip(0).cumsum(0).flip(0)
        hot_s = torch.nn.functional.one_hot(states, S).to(theta.dtype)
        score = torch.nn.functional.one_hot(actions, A).to(theta.dtype) - pi[states]
        grads.append(torch.einsum("t,ts,ta->sa", weight, hot_s, score))
    return torch.stack(grads).mean(0)


def surrogate_index_add(theta, episodes, gamma):
    grad = torch.zeros_like(theta)
    for states, actions, rewards in episodes:
        for t in range(len(rewards)):
            later = sum(gamma**k * rewards[k] for k in range(t, len(rewards)))
            score = -torch.softmax(theta[states[t]], 0)
            score[actions[t]] += 1
            grad.index_add_(0, states[t : t + 1], (later * score).unsqueeze(0))
    return grad.div(len(episodes))


def two_or_more(grads):
    if len(grads) < 2:
        raise ValueError("at least two samples")


def variance_definition(grads):
    two_or_more(grads)
    centered = grads - grads.mean(0)
    return (centered**2).sum() / (len(grads) - 1)


def variance_covariance(grads):
    two_or_more(grads)
    return torch.trace(torch.atleast_2d(torch.cov(grads.T)))


def variance_pairs(grads):
    two_or_more(grads)
    n = len(grads)
    differences = grads.unsqueeze(0) - grads.unsqueeze(1)
    return (differences**2).sum() / (2 * n * (n - 1))


def variance_numpy(grads):
    two_or_more(grads)
    return float(np.var(grads.numpy().astype(np.float64), axis=0, ddof=1).sum())


def error_from_definition(grads):
    return (variance_definition(grads) / grads.shape[0]) ** 0.5


def error_std(grads):
    two_or_more(grads)
    return (grads.std(dim=0) / math.sqrt(len(grads))).norm()


def error_numpy(grads):
    return math.sqrt(variance_numpy(grads) / len(grads))


def positive(error):
    if not error > 0:
        raise ValueError("error must be positive")


def needed_ceil(variance, error):
    positive(error)
    return math.ceil(variance / error / error)


def needed_numpy(variance, error):
    positive(error)
    return int(np.ceil(float(variance) / np.square(error)))


def needed_torch(variance, error):
    positive(error)
    return torch.ceil(torch.as_tensor(variance, dtype=torch.float64) / error**2).int().item()


RIGHT = {
    "discounted_returns": [returns_spinning_up, returns_cleanrl, returns_matrix, returns_numpy],
    "reinforce_loss": [loss_stacked, loss_no_grad, loss_dot],
    "reinforce_surrogate_gradient": [surrogate_autograd, surrogate_one_hot, surrogate_index_add],
    "gradient_variance": [
        variance_definition,
        variance_covariance,
        variance_pairs,
        variance_numpy,
    ],
    "standard_error": [error_from_definition, error_std, error_numpy],
    "episodes_needed": [needed_ceil, needed_numpy, needed_torch],
}
