"""What multiplies the score: returns, baselines, TD targets, advantages. Pure functions on tensors.

Time is axis 0 and environments are axis 1 ([T] or [T, B]) in lessons 1 to 6; language is [B, T].
"""

import math
from collections.abc import Sequence

import torch
from torch import Tensor

from pgcourse.distributions import grad_log_softmax, softmax
from pgcourse.tensors import same_shape


def score_step(theta: Tensor, action: int | Tensor, ret: float | Tensor, lr: float) -> Tensor:
    """One step of REINFORCE by hand: make a well-paid action more probable.

        theta <- theta + lr * ret * grad log pi(action)

    theta   : float, preferences, [A]; not modified
    action  : int, the action taken
    ret     : float, the return that followed it, reward units
    lr      : float > 0, the learning rate
    returns : the new theta, [A]
    source  : Williams 1992; Sutton & Barto 2018, eq. 13.8
    """
    return theta + lr * ret * grad_log_softmax(theta, action)


def score_function_gradient(theta: Tensor, actions: Tensor, returns: Tensor) -> Tensor:
    """Monte-Carlo estimate of a bandit's policy gradient from sampled actions.

        g = 1/N sum_n R_n grad log pi(a_n),   E[g] = grad J(theta)

    theta   : float, preferences, [A]
    actions : int, sampled from softmax(theta), [N]
    returns : float, the return of each sample, reward units, [N]
    result  : g, [A]
    raises  : ValueError if actions and returns differ in shape
    source  : Williams 1992, theorem 1
    """
    same_shape(actions=actions, returns=returns)
    onehot = torch.eye(len(theta), dtype=theta.dtype)[actions]
    scores = onehot - softmax(theta)
    return (returns.unsqueeze(1) * scores).mean(dim=0)


def discounted_returns(
    rew: Tensor, ended: Tensor, gamma: float, last_val: float | Tensor = 0.0
) -> Tensor:
    """Reward-to-go of every step, cut at the ends of episodes.

        G_t = r_t + gamma * (1 - ended_t) * G_{t+1},   G_T = last_val

    rew      : float, reward units, [T] or [T, B]
    ended    : bool, same shape; True where step t was the last of its episode
    gamma    : float in [0, 1], discount per step
    last_val : float or [B]; value of the state after the last row, for episodes that the batch cuts off
    returns  : G, reward units, same shape as rew
    raises   : ValueError if the shapes differ
    source   : Sutton & Barto 2018, eq. 3.9
    """
    same_shape(rew=rew, ended=ended)
    ret = torch.zeros_like(rew)
    running = torch.zeros_like(rew[0]) + last_val
    for t in reversed(range(len(rew))):
        running = rew[t] + gamma * torch.where(ended[t], 0.0, running)
        ret[t] = running
    return ret


def reinforce_surrogate_gradient(
    theta: Tensor, episodes: Sequence[tuple[Tensor, Tensor, Tensor]], gamma: float
) -> Tensor:
    """REINFORCE's estimate of the tabular policy gradient, averaged over whole episodes.

        g = 1/N sum_n sum_t gamma^t G_t grad log pi(a_t | s_t),   G_t = sum_{k >= t} gamma^(k-t) r_k

    gamma^t belongs here: without it g does not estimate the gradient of J = E[G_0].

    theta    : float, preferences, [S, A]
    episodes : list of (states, actions, rewards), three [T] tensors each; T varies
    gamma    : float in [0, 1]
    returns  : g, [S, A]; E[g] = grad J(theta)
    raises   : ValueError if there is no episode
    source   : Williams 1992; Sutton & Barto 2018, sec. 13.3
    """
    if len(episodes) == 0:
        raise ValueError("expected at least one episode; got an empty list.")
    grad = torch.zeros_like(theta)
    pi = softmax(theta)
    for states, actions, rewards in episodes:
        ret = discounted_returns(rewards, torch.zeros(len(rewards), dtype=torch.bool), gamma)
        for t, (s, a) in enumerate(zip(states, actions, strict=True)):
            grad[s] -= gamma**t * ret[t] * pi[s]
            grad[s, a] += gamma**t * ret[t]
    return grad / len(episodes)


def gradient_variance(grads: Tensor) -> Tensor:
    """Total variance of per-sample gradients: how far one sample lies from their mean.

        V = sum_p 1/(N-1) sum_n (g_np - mean_p)^2

    The mean of N samples then has the standard error sqrt(V / N).

    grads   : float, one gradient per row, N samples of P parameters, [N, P]
    returns : scalar, the trace of the sample covariance, unbiased in N
    raises  : ValueError if there are fewer than two samples
    """
    if grads.dim() != 2 or len(grads) < 2:
        raise ValueError(f"expected grads [N, P] with N >= 2; got {list(grads.shape)}.")
    return grads.var(dim=0, correction=1).sum()


def standard_error(grads: Tensor) -> Tensor:
    """How far the mean of N independent samples of an unbiased estimate lies from the truth, typically.

        se = sqrt( V / N ),   V = total variance of one sample

    grads   : float, one gradient per row, [N, P]
    returns : scalar, the root mean squared distance |mean - truth|, in gradient units
    raises  : ValueError if there are fewer than two samples
    """
    return torch.sqrt(gradient_variance(grads) / len(grads))


def episodes_needed(variance: float | Tensor, error: float) -> int:
    """The price of a given precision: how many samples the mean must be taken over.

        N = ceil( V / error^2 )

    variance : float or scalar, total variance V of ONE sample
    error    : float > 0, the standard error that is wanted, in gradient units
    returns  : int
    raises   : ValueError unless error > 0
    """
    if error <= 0:
        raise ValueError(f"expected error > 0; got {error}.")
    return math.ceil(float(variance) / error**2)


def with_baseline(ret: Tensor, val: Tensor) -> Tensor:
    """The advantage of what happened over what was expected.

        A_t = G_t - V(s_t),   V held constant

    ret     : float, returns, [T] or [T, B]
    val     : float, the baseline's values, same shape; no gradient flows into them
    returns : A, same shape
    raises  : ValueError if the shapes differ
    source  : Williams 1992; Sutton & Barto 2018, sec. 13.4
    """
    same_shape(ret=ret, val=val)
    return ret - val.detach()


def optimal_baseline(scores: Tensor, ret: Tensor) -> Tensor:
    """The constant baseline with the smallest variance of the gradient estimate.

        b* = E[ |grad log pi|^2 R ] / E[ |grad log pi|^2 ]

    scores  : float, grad log pi of each sample, [N, P]
    ret     : float, its return, [N]
    returns : scalar, reward units
    raises  : ValueError if there is not one return per score
    source  : Greensmith, Bartlett & Baxter 2004
    """
    same_shape(scores_rows=scores[:, 0], ret=ret)
    weight = (scores**2).sum(dim=1)
    return (weight * ret).sum() / weight.sum()


def variance_ratio(scores: Tensor, ret: Tensor, baseline: Tensor) -> Tensor:
    """What a baseline buys: the variance of the gradient estimate with it, over that without.

        ratio = Var[ grad log pi (R - b) ] / Var[ grad log pi R ],   Var = total variance of one sample

    0.1 means: the same precision from a tenth of the samples. Above 1 the baseline does harm.

    scores   : float, grad log pi of each sample, [N, P]
    ret      : float, its return, [N]
    baseline : float, what is subtracted from each return, [N]
    returns  : scalar, no unit
    raises   : ValueError if there is not one return and one baseline per score
    """
    same_shape(scores_rows=scores[:, 0], ret=ret, baseline=baseline)
    with_it = gradient_variance(scores * (ret - baseline).unsqueeze(1))
    return with_it / gradient_variance(scores * ret.unsqueeze(1))


def leave_one_out_baseline(ret: Tensor) -> Tensor:
    """For each sample, the mean return of the OTHER samples of the same start.

        b_k = 1/(K-1) sum_{j != k} R_j

    A sample's own return is not in its baseline, so the estimate stays unbiased.

    ret     : float, K samples for each of N starts (or prompts), [K, N]
    returns : b, [K, N]
    raises  : ValueError if K < 2
    source  : Kool et al. 2019; Ahmadian et al. 2024, arXiv:2402.14740
    """
    if len(ret) < 2:
        raise ValueError(f"expected at least 2 samples along axis 0; got {list(ret.shape)}.")
    return (ret.sum(dim=0) - ret) / (len(ret) - 1)


def normalize_advantage(adv: Tensor, mask: Tensor | None = None) -> Tensor:
    """Advantages with mean 0 and standard deviation 1 over the (unmasked) batch.

        A' = (A - mean(A)) / (std(A) + 1e-8)

    adv     : float, any shape
    mask    : bool, same shape, or None; False = padding, which may hold anything, even nan: left out
              of mean and std, 0 in the result
    returns : A', same shape; exactly 0 where all advantages are equal, or where there is only one
    raises  : ValueError if the shapes differ
    note    : the std over N or over N-1 elements, and sqrt(var + eps) with a small eps, are fine too;
              so is the bare formula, although for equal advantages it may scale up a rounding error
    """
    same_shape(adv=adv, mask=mask)
    kept = adv.flatten() if mask is None else adv[mask]
    if not kept.diff().any():  # all equal: what rounding leaves of A - mean may exceed 1e-8
        return torch.zeros_like(adv)
    scaled = (adv - kept.mean()) / (kept.std(correction=0) + 1e-8)
    return scaled if mask is None else torch.where(mask, scaled, 0.0)


def td_target(rew: Tensor, next_val: Tensor, terminated: Tensor, gamma: float) -> Tensor:
    """What a one-step look ahead says the value should be.

        y = r + gamma * (1 - terminated) * V(s')

    rew        : float, reward units, [T] or [T, B]
    next_val   : float, V(s') of the true next observation, same shape
    terminated : bool, same shape; True only where the MDP ended. A time limit is not an end.
    gamma      : float in [0, 1]
    returns    : y, same shape
    raises     : ValueError if the shapes differ
    source     : Sutton & Barto 2018, eq. 6.2; Pardo et al. 2018, arXiv:1712.00378 (time limits)
    """
    same_shape(rew=rew, next_val=next_val, terminated=terminated)
    return rew + gamma * torch.where(terminated, 0.0, next_val)


def gae(
    rew: Tensor,
    val: Tensor,
    next_val: Tensor,
    terminated: Tensor,
    ended: Tensor,
    gamma: float,
    lam: float,
) -> Tensor:
    """Generalized advantage estimation.

        delta_t = r_t + gamma * (1 - terminated_t) * V(s_{t+1}) - V(s_t)
        A_t     = delta_t + gamma * lam * (1 - ended_t) * A_{t+1},   A_T = 0

    rew        : float, reward units, [T] or [T, B]
    val        : float, V(s_t), same shape; no gradient flows into it, nor into next_val
    next_val   : float, V(s_{t+1}) of the true next observation, never the reset one, same shape
    terminated : bool, same shape; the MDP ended: nothing to bootstrap
    ended      : bool, same shape; terminated or cut by a time limit: the sum stops here
    gamma, lam : float in [0, 1]
    returns    : A, same shape
    raises     : ValueError if the shapes differ
    source     : Schulman et al. 2016, eq. 16, arXiv:1506.02438
    """
    same_shape(rew=rew, val=val, next_val=next_val, terminated=terminated, ended=ended)
    val, next_val = val.detach(), next_val.detach()
    delta = rew + gamma * torch.where(terminated, 0.0, next_val) - val
    adv = torch.zeros_like(delta)
    running = torch.zeros_like(delta[0])
    for t in reversed(range(len(delta))):
        running = delta[t] + gamma * lam * torch.where(ended[t], 0.0, running)
        adv[t] = running
    return adv


def soft_q_target(
    rew: Tensor,
    next_q1: Tensor,
    next_q2: Tensor,
    next_logp: Tensor,
    terminated: Tensor,
    gamma: float,
    alpha: float | Tensor,
) -> Tensor:
    """SAC's target: the smaller of the two target critics, plus the entropy of the next action.

        y = r + gamma * (1 - terminated) * (min(Q1', Q2') - alpha * log pi(a' | s')),   a constant

    rew              : float, reward units, [B]
    next_q1, next_q2 : float, target critics at (s', a'), a' freshly sampled from the policy, [B]
    next_logp        : float, log pi(a' | s'), nats, [B]
    terminated       : bool, [B]; True only where the MDP ended
    gamma            : float in [0, 1]
    alpha            : float or scalar tensor > 0, temperature, reward units per nat
    returns          : y, [B], without gradient
    raises           : ValueError if the shapes differ
    source           : Haarnoja et al. 2018b, eq. 3 and 5, arXiv:1812.05905
    """
    same_shape(
        rew=rew, next_q1=next_q1, next_q2=next_q2, next_logp=next_logp, terminated=terminated
    )
    soft_value = torch.minimum(next_q1, next_q2) - alpha * next_logp
    return (rew + gamma * torch.where(terminated, 0.0, soft_value)).detach()


def kl_shaped_rewards(
    score: Tensor, logp: Tensor, logp_ref: Tensor, mask: Tensor, beta: float
) -> Tensor:
    """The reward of each token: a price for leaving the reference, and the score at the end.

        r_t = -beta * (logp_t - logp_ref_t) + [t is the last response token] * score

    score          : float, the reward model's score of each whole response, [B]
    logp, logp_ref : float, nats, of the sampled tokens under policy and frozen reference, [B, T]
    mask           : bool, [B, T]; True on response tokens; the others may hold anything, even nan
    beta           : float >= 0, reward units per nat
    returns        : r, [B, T], a constant, 0 where mask is False
    raises         : ValueError if the shapes differ or a row has no response token
    source         : Ziegler et al. 2019, eq. 2, arXiv:1909.08593; Ouyang et al. 2022, arXiv:2203.02155
    """
    same_shape(logp=logp, logp_ref=logp_ref, mask=mask)
    same_shape(score=score, mask_rows=mask[:, 0])
    if not mask.any(dim=1).all():
        raise ValueError("expected a response token in every row; a row of the mask is all False.")
    rew = torch.where(mask, -beta * (logp - logp_ref), 0.0).detach()
    steps = torch.arange(mask.shape[1], device=mask.device)
    last = (steps * mask).argmax(dim=1)
    rew[torch.arange(len(rew)), last] += score.detach()
    return rew


def rlhf_advantages(rew: Tensor, val: Tensor, mask: Tensor, gamma: float, lam: float) -> Tensor:
    """GAE over the tokens of a response: the recursion of lesson 4 on masked tokens.

        delta_t = r_t + gamma * V_{t+1} - V_t,   V_{t+1} = 0 after the last response token
        A_t     = delta_t + gamma * lam * A_{t+1}

    rew, val   : float, reward and value of each token, [B, T]; no gradient flows into val
    mask       : bool, [B, T]; True on the response, one unbroken run in each row; nan elsewhere is fine
    gamma, lam : float in [0, 1]
    returns    : A, [B, T], 0 where mask is False
    raises     : ValueError if the shapes differ
    source     : Schulman et al. 2016, eq. 16, arXiv:1506.02438; Ziegler et al. 2019, arXiv:1909.08593
    """
    same_shape(rew=rew, val=val, mask=mask)
    rew, val = torch.where(mask, rew, 0.0), torch.where(mask, val, 0.0)
    next_val = torch.cat([val[:, 1:], torch.zeros_like(val[:, :1])], dim=1)
    goes_on = torch.cat([mask[:, 1:], torch.zeros_like(mask[:, :1])], dim=1)
    last = ~(mask & goes_on)
    adv = gae(rew.T, val.T, next_val.T, last.T, last.T, gamma, lam).T
    return torch.where(mask, adv, 0.0)


def rloo_advantages(score: Tensor) -> Tensor:
    """REINFORCE leave-one-out: each answer against the mean of the other answers to its prompt.

        A_k = R_k - 1/(K-1) sum_{j != k} R_j

    score   : float, K answers for each of N prompts, [K, N]
    returns : A, [K, N], a constant
    raises  : ValueError if K < 2
    source  : Ahmadian et al. 2024, arXiv:2402.14740
    """
    return (score - leave_one_out_baseline(score)).detach()


def grpo_advantages(score: Tensor) -> Tensor:
    """Group-relative advantages: centered and scaled among the answers to one prompt.

        A_k = (R_k - mean_j R_j) / (std_j R_j + 1e-8)

    score   : float, K answers for each of N prompts, [K, N]
    returns : A, [K, N], a constant; 0 for a prompt whose answers all score the same
    raises  : ValueError if K < 2
    source  : Shao et al. 2024, sec. 4.1.2, arXiv:2402.03300
    note    : the std over K or over K-1 answers are both fine, and up to 1e-4 in place of 1e-8; so is
              the bare formula, although for equal scores it may scale up a rounding error
    """
    if len(score) < 2:
        raise ValueError(f"expected at least 2 answers along axis 0; got {list(score.shape)}.")
    equal = (score == score[0]).all(dim=0)  # what rounding leaves of R - mean may exceed 1e-8
    centered = torch.where(equal, 0.0, score - score.mean(dim=0))
    return (centered / (score.std(dim=0, correction=0) + 1e-8)).detach()
