"""Policies as distributions: log-probabilities, scores and entropies. Pure functions on tensors."""

import math

import torch
import torch.nn.functional as F
from torch import Tensor

from pgcourse.tensors import masked_mean, same_shape


def softmax(theta: Tensor) -> Tensor:
    """Probabilities from preferences, stable for large ones.

        pi_i = exp(theta_i) / sum_j exp(theta_j)

    theta   : float, preferences (logits), [..., A]; the softmax runs over the last axis
    returns : pi, [..., A], positive, sums to 1 over the last axis; made by torch's operations, so that
              autograd can go back through it
    source  : Sutton & Barto 2018, eq. 13.2
    """
    z = torch.exp(theta - theta.max(dim=-1, keepdim=True).values)
    return z / z.sum(dim=-1, keepdim=True)


def grad_log_softmax(theta: Tensor, action: int | Tensor) -> Tensor:
    """The score of one action: the gradient of its log-probability.

        d/dtheta_i log pi(a) = 1[i = a] - pi_i

    theta   : float, preferences, [A]
    action  : int, the action taken, 0 <= action < A
    returns : score, [A]; its entries sum to 0
    source  : Sutton & Barto 2018, sec. 13.1 and exercise 13.3
    """
    score = -softmax(theta)
    score[action] += 1
    return score


def categorical_logp(logits: Tensor, act: Tensor) -> Tensor:
    """Log-probability of the actions taken under a softmax policy.

        logp = logits[act] - logsumexp(logits)

    logits  : float, [..., A]
    act     : int, [...]
    returns : logp, nats, [...]
    """
    same_shape(logits_without_last_axis=logits[..., 0], act=act)
    return F.log_softmax(logits, dim=-1).gather(-1, act.unsqueeze(-1)).squeeze(-1)


def masked_logits(logits: Tensor, valid: Tensor) -> Tensor:
    """Logits under which an action that is not valid has probability 0, and no gradient.

        pi(a) = 1[a is valid] exp(logits_a) / sum over the valid b of exp(logits_b)

    logits  : float, [..., A]
    valid   : bool, [..., A]
    returns : float, [..., A]: logits, but -1e8 where not valid. Not -inf: then the entropy had 0 * -inf
    raises  : ValueError if the shapes differ, or no action of a state is valid
    source  : Huang & Ontañón 2022, sec. 3, arXiv:2006.14171
    """
    same_shape(logits=logits, valid=valid)
    if not valid.any(dim=-1).all():
        raise ValueError("expected at least one valid action in every state; a mask allows none.")
    return logits.masked_fill(~valid, -1e8)


def gaussian_logp(mean: Tensor, log_std: Tensor, act: Tensor) -> Tensor:
    """Log-density of actions under a diagonal Gaussian policy.

        logp = sum_d -(act - mean)^2 / (2 std^2) - log std - log(2 pi) / 2

    mean    : float, [..., D]
    log_std : float, [..., D] or [D]
    act     : float, [..., D]
    returns : logp, nats, [...], summed over the D action dimensions
    """
    same_shape(mean=mean, act=act)
    z = (act - mean) * torch.exp(-log_std)
    return (-0.5 * z**2 - log_std - 0.5 * math.log(2 * math.pi)).sum(dim=-1)


def entropy(logits: Tensor, mask: Tensor | None = None) -> Tensor:
    """Mean entropy of softmax policies: how undecided they still are.

        H = -sum_i pi_i log pi_i,   averaged over the (unmasked) states

    logits  : float, [..., A]
    mask    : bool, [...] (the shape of logits without the last axis), or None
    returns : scalar, nats, between 0 and log A; differentiable: add it to an objective
    raises  : ValueError if the mask's shape differs
    source  : Williams & Peng 1991; Mnih et al. 2016, sec. 4, arXiv:1602.01783
    """
    same_shape(logits_without_last_axis=logits[..., 0], mask=mask)
    logp = F.log_softmax(logits, dim=-1)
    return masked_mean(-(logp.exp() * logp).sum(dim=-1), mask)


def squashed_gaussian_logp(mean: Tensor, log_std: Tensor, pre_tanh: Tensor) -> Tensor:
    """Log-density of a = tanh(u), u ~ Normal(mean, std), summed over the action dimensions.

        logp = sum_d log N(u_d; mean_d, std_d) - log(1 - tanh(u_d)^2)
        log(1 - tanh(u)^2) = 2 (log 2 - u - softplus(-2u)),   finite and exact for every u

    mean, log_std : float, [..., D]; log_std is the log of the standard deviation
    pre_tanh      : float, u, the sample BEFORE tanh, [..., D]
    returns       : logp, nats, [...]
    raises        : ValueError if the shapes differ
    note          : an epsilon in the log is not enough: at large |u| value and gradient are wrong
    source        : Haarnoja et al. 2018, appendix C, arXiv:1801.01290
    """
    same_shape(mean=mean, log_std=log_std, pre_tanh=pre_tanh)
    z = (pre_tanh - mean) * torch.exp(-log_std)
    gaussian = -0.5 * z**2 - log_std - 0.5 * math.log(2 * math.pi)
    log_slope = 2 * (math.log(2) - pre_tanh - F.softplus(-2 * pre_tanh))
    return (gaussian - log_slope).sum(dim=-1)


def token_logp(logits: Tensor, tokens: Tensor) -> Tensor:
    """Log-probability of each token given the tokens before it.

        logp[b, t] = log softmax(logits[b, t-1])[tokens[b, t]],   logp[b, 0] = 0

    The logits at position t-1 were computed after reading tokens 0 … t-1: they predict token t.
    Nothing predicts the first token, so its entry is 0 and the result lines up with `tokens`.

    logits  : float, [B, T, V]
    tokens  : int, [B, T]
    returns : logp, nats, [B, T]
    raises  : ValueError if logits and tokens do not have the same B and T
    """
    same_shape(logits_without_last_axis=logits[..., 0], tokens=tokens)
    logp = F.log_softmax(logits[:, :-1], dim=-1)
    taken = logp.gather(-1, tokens[:, 1:].unsqueeze(-1)).squeeze(-1)
    return F.pad(taken, (1, 0))
