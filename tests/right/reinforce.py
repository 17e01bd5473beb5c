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


def returns_recursive(rew, ended, gamma, last_val=0.0):
    same_shape(rew=rew, ended=ended)

    def from_step(t):
        if t == len(rew):
            return [torch.zeros_like(rew[0]) + last_val]
        rest = from_step(t + 1)
        return [rew[t] + gamma * rest[0].masked_fill(ended[t], 0.0), *rest]

    return torch.stack(from_step(0)[:-1])


def returns_by_weights(rew, ended, gamma, last_val=0.0):
    """One matrix of gamma^(k-t), masked where k lies in another episode than t; float64 inside."""
    same_shape(rew=rew, ended=ended)
    T = len(rew)
    flat, ends = rew.reshape(T, -1).double(), ended.reshape(T, -1).long()
    episode, i = ends.cumsum(0) - ends, torch.arange(T)
    weight = torch.triu(float(gamma) ** (i - i[:, None]).clamp(min=0).double())
    same = (episode[:, None] == episode).double()
    ret = torch.einsum("tk,tkb,kb->tb", weight, same, flat)
    goes_on = (episode == episode[-1:]) & (ends[-1:] == 0)
    last = (torch.zeros_like(rew[0]) + last_val).reshape(-1)
    ret += float(gamma) ** (T - i).double()[:, None] * goes_on * last
    return ret.to(rew.dtype).view_as(rew)


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


def loss_in_double(logp, ret):
    same_shape(logp=logp, ret=ret)
    return -(logp.double() * ret.detach().double()).mean(0).mean().to(logp.dtype)


def some(episodes):
    if not episodes:
        raise ValueError("at least one episode")


def surrogate_autograd(theta, episodes, gamma):
    some(episodes)
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
    some(episodes)
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
    some(episodes)
    grad = torch.zeros_like(theta)
    for states, actions, rewards in episodes:
        for t in range(len(rewards)):
            later = sum(gamma**k * rewards[k] for k in range(t, len(rewards)))
            score = -torch.softmax(theta[states[t]], 0)
            score[actions[t]] += 1
            grad.index_add_(0, states[t : t + 1], (later * score).unsqueeze(0))
    return grad.div(len(episodes))


def surrogate_python_floats(theta, episodes, gamma):
    some(episodes)
    pi, grad = torch.softmax(theta, 1).tolist(), torch.zeros_like(theta)
    for states, actions, rewards in episodes:
        ret, tail = [], 0.0
        for r in reversed(rewards.tolist()):
            tail = r + gamma * tail
            ret.insert(0, tail)
        for t, (s, a) in enumerate(zip(states.tolist(), actions.tolist(), strict=True)):
            for b in range(theta.shape[1]):
                grad[s, b] += gamma**t * ret[t] * ((b == a) - pi[s][b])
    return grad / len(episodes)


def surrogate_accumulates(theta, episodes, gamma):
    some(episodes)
    grad, pi = torch.zeros_like(theta), torch.softmax(theta, 1)
    for states, actions, rewards in episodes:
        steps = gamma ** torch.arange(len(rewards), dtype=rewards.dtype)
        weight = (steps * rewards).flip(0).cumsum(0).flip(0)
        grad.index_put_((states, actions), weight, accumulate=True)
        grad.index_add_(0, states, -weight.unsqueeze(1) * pi[states])
    return grad / len(episodes)


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


def variance_numpy_scalar(grads):
    two_or_more(grads)
    return np.var(grads.numpy(), axis=0, ddof=1).sum()  # float32 of numpy


def variance_rescaled(grads):
    two_or_more(grads)
    n = len(grads)
    return grads.var(dim=0, correction=0).sum() * n / (n - 1)


def error_from_definition(grads):
    return (variance_definition(grads) / grads.shape[0]) ** 0.5


def error_std(grads):
    two_or_more(grads)
    return (grads.std(dim=0) / math.sqrt(len(grads))).norm()


def error_numpy(grads):
    return math.sqrt(variance_numpy(grads) / len(grads))


def error_from_length(grads):
    two_or_more(grads)
    n = len(grads)
    return (grads - grads.mean(0)).norm() / math.sqrt(n * (n - 1))


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
    return torch.ceil(torch.as_tensor(variance, dtype=torch.float64) / error**2).long().item()


def needed_floor_of_negative(variance, error):
    positive(error)
    return -int(-float(variance) // error**2)


def needed_numpy_int(variance, error):
    positive(error)
    return np.ceil(float(variance) / error**2).astype(int)


RIGHT = {
    "discounted_returns": [
        returns_spinning_up,
        returns_cleanrl,
        returns_matrix,
        returns_numpy,
        returns_recursive,
        returns_by_weights,
    ],
    "reinforce_loss": [loss_stacked, loss_no_grad, loss_dot, loss_in_double],
    "reinforce_surrogate_gradient": [
        surrogate_autograd,
        surrogate_one_hot,
        surrogate_index_add,
        surrogate_python_floats,
        surrogate_accumulates,
    ],
    "gradient_variance": [
        variance_definition,
        variance_covariance,
        variance_pairs,
        variance_numpy,
        variance_numpy_scalar,
        variance_rescaled,
    ],
    "standard_error": [error_from_definition, error_std, error_numpy, error_from_length],
    "episodes_needed": [
        needed_ceil,
        needed_numpy,
        needed_torch,
        needed_floor_of_negative,
        needed_numpy_int,
    ],
}
