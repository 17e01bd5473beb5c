"""Wrong versions as people write them: (exercise, text, the lines where it may be mended)."""

import math

import numpy as np
import torch
import torch.nn.functional as F

from pgcourse import distributions, estimators, losses, mdp, tensors

SPACE = {**vars(tensors), **vars(distributions), **vars(estimators), **vars(losses), **vars(mdp)}
SPACE |= {"np": np, "math": math, "torch": torch, "F": F, "__name__": "__main__"}

SINGLES = [
    (
        "softmax",
        """def softmax(theta):
    shifted = theta - theta.max(dim=-1, keepdim=True)[0]
    e = shifted.exp()
    total = e.sum()
    return e / total
""",
        {4},
    ),
    (
        "grad_log_softmax",
        """def grad_log_softmax(theta, action):
    p = softmax(theta)
    g = torch.zeros_like(theta)
    for i in range(len(theta)):
        if i == action:
            g[i] = p[i] - 1
        else:
            g[i] = -p[i]
    return g
""",
        {6},
    ),
    (
        "action_values",
        """def action_values(mdp, pi):
    S = mdp.P.shape[0]
    r = (pi * mdp.R).sum(1)
    P = (pi.unsqueeze(-1) * mdp.P).sum(1)
    V = torch.linalg.inv(torch.eye(S, dtype=pi.dtype) - P) @ r
    Q = mdp.R + mdp.gamma * (mdp.P @ V)
    return Q
""",
        {4, 5},
    ),
    (
        "score_function_gradient",
        """def score_function_gradient(theta, actions, returns):
    if actions.shape != returns.shape:
        raise ValueError("shapes")
    g = torch.zeros_like(theta)
    p = softmax(theta)
    for a, R in zip(actions, returns):
        s = p.clone()
        s[a] += 1
        g += R * s
    return g / len(actions)
""",
        {7},
    ),
    (
        "discounted_returns",
        """def discounted_returns(rew, ended, gamma, last_val=0.0):
    same_shape(rew=rew, ended=ended)
    G = torch.zeros_like(rew)
    T = rew.shape[0]
    nxt = torch.zeros_like(rew[0])
    for t in range(T - 1, -1, -1):
        nonterminal = 1.0 - ended[t].to(rew.dtype)
        nxt = rew[t] + gamma * nonterminal * nxt
        G[t] = nxt
    return G
""",
        {5},
    ),
    (
        "reinforce_loss",
        """def reinforce_loss(logp, ret):
    same_shape(logp=logp, ret=ret)
    weights = ret.detach()
    objective = (logp * weights).mean()
    return objective
""",
        {5},
    ),
    (
        "gradient_variance",
        """def gradient_variance(grads):
    if grads.ndim != 2 or grads.shape[0] < 2:
        raise ValueError("need [N, P], N >= 2")
    n = grads.shape[0]
    centered = grads - grads.mean(0)
    return (centered ** 2).sum() / n
""",
        {6},
    ),
    (
        "standard_error",
        """def standard_error(grads):
    v = gradient_variance(grads)
    n = grads.shape[1]
    return (v / n) ** 0.5
""",
        {3},
    ),
    (
        "episodes_needed",
        """def episodes_needed(variance, error):
    if error < 0:
        raise ValueError("error must be positive")
    n = float(variance) / (error * error)
    return int(math.ceil(n))
""",
        {2},
    ),
    (
        "with_baseline",
        """def with_baseline(ret, val):
    same_shape(ret=ret, val=val)
    baseline = val
    adv = ret - baseline
    return adv
""",
        {3},
    ),
    (
        "variance_ratio",
        """def variance_ratio(scores, ret, baseline):
    same_shape(a=scores[:, 0], ret=ret, baseline=baseline)
    plain = scores * ret[:, None]
    reduced = scores * (ret - baseline)[:, None]
    v0 = plain.var(0).sum()
    v1 = reduced.var(0).sum()
    return v0 / v1
""",
        {7},
    ),
    (
        "leave_one_out_baseline",
        """def leave_one_out_baseline(ret):
    K = ret.shape[0]
    if K < 2:
        raise ValueError("K >= 2")
    out = torch.empty_like(ret)
    for k in range(K):
        others = torch.cat([ret[:k], ret[k + 1:]])
        out[k] = others.mean()
    return out
""",
        {8},
    ),
    (
        "policy_gradient_loss",
        """def policy_gradient_loss(logp, adv, mask=None):
    same_shape(logp=logp, adv=adv, mask=mask)
    a = adv.detach()
    if mask is None:
        return -(logp * a).mean()
    kept_logp = logp[~mask]
    kept_adv = a[mask]
    return -(kept_logp * kept_adv).sum() / mask.sum()
""",
        {6},
    ),
    (
        "td_target",
        """def td_target(rew, next_val, terminated, gamma):
    same_shape(rew=rew, next_val=next_val, terminated=terminated)
    future = next_val
    future = torch.where(terminated, torch.zeros_like(future), future)
    return rew + future
""",
        {3, 5},
    ),
    (
        "critic_loss",
        """def critic_loss(val, target):
    same_shape(val=val, target=target)
    with torch.no_grad():
        y = target.clone()
    delta = y - val
    return delta.mean() ** 2
""",
        {6},
    ),
    (
        "a3c_push_gradients",
        """def a3c_push_gradients(local, shared, optimizer):
    for p, q in zip(local.parameters(), shared.parameters()):
        if p.grad is None:
            q.grad = None
        else:
            q.grad = p.grad.clone()
    optimizer.step()
""",
        {8, 7},
    ),
    (
        "ppo_clip_loss",
        """def ppo_clip_loss(logp, logp_old, adv, clip, mask=None):
    same_shape(logp=logp, logp_old=logp_old, adv=adv, mask=mask)
    if mask is not None:
        logp = logp[mask]
        logp_old = logp_old[mask]
        adv = adv[mask]
    adv = adv.detach()
    ratio = torch.exp(logp - logp_old.detach())
    surr1 = ratio * adv
    surr2 = torch.clamp(ratio, -clip, clip) * adv
    return -torch.min(surr1, surr2).mean()
""",
        {10},
    ),
    (
        "clipped_value_loss",
        """def clipped_value_loss(val, val_old, ret, clip, mask=None):
    same_shape(val=val, val_old=val_old, ret=ret, mask=mask)
    if mask is not None:
        val, val_old, ret = val[mask], val_old[mask], ret[mask]
    val_old = val_old.detach()
    ret = ret.detach()
    moved = torch.clamp(val - val_old, -clip, clip)
    v_clip = val + moved
    loss_plain = (val - ret) ** 2
    loss_clip = (v_clip - ret) ** 2
    return torch.max(loss_plain, loss_clip).mean()
""",
        {8},
    ),
    (
        "entropy",
        """def entropy(logits, mask=None):
    same_shape(x=logits[..., 0], mask=mask)
    p = torch.softmax(logits, dim=-1)
    lp = torch.log_softmax(logits, dim=-1)
    H = -(p * lp).sum(-1)
    if mask is not None:
        H = H * mask
    return H.mean()
""",
        {7},
    ),
    (
        "squashed_gaussian_logp",
        """def squashed_gaussian_logp(mean, log_std, pre_tanh):
    same_shape(mean=mean, log_std=log_std, pre_tanh=pre_tanh)
    std = log_std.exp()
    gauss = -((pre_tanh - mean) ** 2) / (2 * std ** 2) - log_std - 0.5 * math.log(2 * math.pi)
    corr = 2 * (math.log(2) - pre_tanh - F.softplus(-2 * pre_tanh))
    logp = gauss - corr
    return logp.mean(-1)
""",
        {7},
    ),
    (
        "soft_q_target",
        """def soft_q_target(rew, next_q1, next_q2, next_logp, terminated, gamma, alpha):
    same_shape(rew=rew, a=next_q1, b=next_q2, c=next_logp, terminated=terminated)
    q = torch.min(next_q1, next_q2)
    v = q + alpha * next_logp
    v = torch.where(terminated, torch.zeros_like(v), v)
    y = rew + gamma * v
    return y.detach()
""",
        {4},
    ),
    (
        "polyak_update",
        """def polyak_update(target, online, tau):
    with torch.no_grad():
        for t, o in zip(target.parameters(), online.parameters()):
            t.data.copy_(tau * t.data + (1 - tau) * o.data)
        for t, o in zip(target.buffers(), online.buffers()):
            t.copy_(o)
""",
        {4},
    ),
    (
        "token_logp",
        """def token_logp(logits, tokens):
    same_shape(a=logits[..., 0], tokens=tokens)
    B, T = tokens.shape
    lp = torch.log_softmax(logits, dim=-1)
    out = torch.zeros(B, T, dtype=lp.dtype)
    for t in range(1, T):
        out[:, t] = lp[torch.arange(B), t, tokens[:, t]]
    return out
""",
        {7},
    ),
    (
        "kl_shaped_rewards",
        """def kl_shaped_rewards(score, logp, logp_ref, mask, beta):
    same_shape(logp=logp, logp_ref=logp_ref, mask=mask)
    same_shape(score=score, m=mask[:, 0])
    if not mask.any(1).all():
        raise ValueError("a row without a response token")
    kl = (logp - logp_ref).detach()
    r = torch.zeros_like(logp)
    r[mask] = beta * kl[mask]
    for b in range(len(score)):
        last = mask[b].nonzero().max()
        r[b, last] += score[b].detach()
    return r.detach()
""",
        {8},
    ),
    (
        "dpo_loss",
        """def dpo_loss(logp_chosen, logp_rejected, ref_chosen, ref_rejected, beta):
    same_shape(a=logp_chosen, b=logp_rejected, c=ref_chosen, d=ref_rejected)
    chosen = logp_chosen - ref_chosen.detach()
    rejected = logp_rejected - ref_rejected.detach()
    z = beta * (rejected - chosen)
    return -F.logsigmoid(z).mean()
""",
        {5},
    ),
]

DOUBLES = [
    (
        "softmax",
        """def softmax(theta):
    shifted = theta - theta.max()
    e = shifted.exp()
    return e / e.sum()
""",
        {2, 4},
    ),
    (
        "td_target",
        """def td_target(rew, next_val, terminated, gamma):
    same_shape(rew=rew, next_val=next_val, terminated=terminated)
    future = torch.where(terminated, next_val, 0.0)
    return rew - gamma * future
""",
        {3, 4},
    ),
    (
        "reinforce_loss",
        """def reinforce_loss(logp, ret):
    same_shape(logp=logp, ret=ret)
    weighted = logp * ret
    return weighted.sum()
""",
        {3, 4},
    ),
    (
        "ppo_clip_loss",
        """def ppo_clip_loss(logp, logp_old, adv, clip, mask=None):
    same_shape(logp=logp, logp_old=logp_old, adv=adv, mask=mask)
    if mask is not None:
        logp, logp_old, adv = logp[mask], logp_old[mask], adv[mask]
    adv = adv.detach()
    ratio = torch.exp(logp_old.detach() - logp)
    surr1 = ratio * adv
    surr2 = torch.clamp(ratio, 1 - clip, 1 + clip) * adv
    return -torch.max(surr1, surr2).mean()
""",
        {9, 6},
    ),
]

CHANGES = [  # (exercise, text, the lines that come): one change each, and what it should be
    (
        "dpo_loss",
        """def dpo_loss(logp_chosen, logp_rejected, ref_chosen, ref_rejected, beta):
    same_shape(a=logp_chosen, b=logp_rejected, c=ref_chosen, d=ref_rejected)
    margin = (logp_chosen - logp_rejected) - (ref_chosen - ref_rejected).detach()
    return -beta * F.logsigmoid(margin).mean()
""",
        ["    return -F.logsigmoid(beta * margin).mean()"],
    ),
    (
        "bradley_terry_loss",
        """def bradley_terry_loss(r_chosen, r_rejected):
    same_shape(r_chosen=r_chosen, r_rejected=r_rejected)
    return -torch.sigmoid(r_chosen - r_rejected).log().mean()
""",
        ["    return -F.logsigmoid(r_chosen - r_rejected).mean()"],
    ),
    (
        "gradient_variance",
        """def gradient_variance(grads):
    if len(grads) < 2:
        raise ValueError("one sample has no variance")
    away = grads - grads.mean(0)
    return (away * away).sum() / away.shape[0]
""",
        ["    return (away * away).sum() / (away.shape[0] - 1)"],
    ),
    (
        "standard_error",
        """def standard_error(grads):
    if len(grads) < 2:
        raise ValueError("one sample has no variance")
    size = grads.shape[0]
    total = grads.var(0).sum()
    return total.sqrt() / size
""",
        ["    return (total / size).sqrt()"],
    ),
    (
        "standard_error",
        """def standard_error(grads):
    if grads.shape[0] < 2:
        raise ValueError("one sample has no variance")
    total = np.var(grads.numpy(), axis=0).sum()
    return torch.tensor(float(np.sqrt(total / len(grads))), dtype=grads.dtype)
""",
        ["    total = np.var(grads.numpy(), axis=0, ddof=1).sum()"],
    ),
    (
        "value_regression_loss",
        """def value_regression_loss(val, ret):
    same_shape(val=val, ret=ret)
    return F.mse_loss(val.detach(), ret)
""",
        ["    return F.mse_loss(val, ret.detach())"],
    ),
    (
        "dpo_loss",
        """def dpo_loss(logp_chosen, logp_rejected, ref_chosen, ref_rejected, beta):
    same_shape(a=logp_chosen, b=logp_rejected, c=ref_chosen, d=ref_rejected)
    won = logp_chosen - ref_rejected.detach()
    lost = logp_rejected - ref_chosen.detach()
    return F.softplus(beta * (lost - won)).mean()
""",
        [
            "    won = logp_chosen - ref_chosen.detach()",
            "    lost = logp_rejected - ref_rejected.detach()",
        ],
    ),
    (
        "td_target",
        """def td_target(rew, next_val, terminated, gamma):
    if rew.shape != next_val.shape:
        raise ValueError("shapes")
    return rew + gamma * ~terminated * next_val
""",
        ["    if rew.shape != next_val.shape or rew.shape != terminated.shape:"],
    ),
    (
        "reinforce_loss",
        """def reinforce_loss(logp, ret):
    if logp.numel() != ret.numel():
        raise ValueError("sizes")
    return -(logp * ret.detach()).mean()
""",
        ["    if logp.shape != ret.shape:"],
    ),
    (
        "episodes_needed",
        """def episodes_needed(variance, error):
    if error <= 0:
        raise ValueError("an error is positive")
    n = float(variance) / error**2
    return int(n) + 1
""",
        ["    return math.ceil(n)"],
    ),
    (
        "actor_loss",
        """def actor_loss(logp, adv):
    if logp.shape != adv.shape:
        raise ValueError("shapes")
    loss = -(logp * adv.detach()).mean()
    undecided = -logp.mean()
    return loss - 0.01 * undecided
""",
        ["    return loss"],
    ),
    (
        "action_values",
        """def action_values(mdp, pi):
    S = len(pi)
    r = torch.stack([pi[s] @ mdp.R[s] for s in range(S)])
    P = torch.stack([pi[s] @ mdp.P[s] for s in range(S)])
    V = torch.linalg.solve(torch.eye(S, dtype=P.dtype) - mdp.gamma * P, r)
    return mdp.R + torch.tensordot(mdp.P, V, dims=([2], [0]))
""",
        ["    return mdp.R + mdp.gamma * torch.tensordot(mdp.P, V, dims=([2], [0]))"],
    ),
    (
        "temperature_loss",
        """def temperature_loss(log_alpha, logp, target_entropy):
    gap = logp.detach() + target_entropy
    return -(F.softplus(log_alpha) * gap).mean()
""",
        ["    return -(log_alpha.exp() * gap).mean()"],
    ),
    (
        "actor_critic_step",
        """def actor_critic_step(actor, critic, actor_opt, critic_opt, batch, gamma):
    val = critic(batch["obs"])
    with torch.no_grad():
        y = batch["rew"] + gamma * critic(batch["next_obs"])
    adv = (y - val).detach()
    logp = F.log_softmax(actor(batch["obs"]), -1).gather(-1, batch["act"].unsqueeze(-1)).squeeze(-1)
    policy, value = -(logp * adv).mean(), ((val - y) ** 2).mean()
    for loss, opt in ((policy, actor_opt), (value, critic_opt)):
        opt.zero_grad()
        loss.backward()
        opt.step()
    return {"actor_loss": policy.item(), "critic_loss": value.item(), "adv": adv.mean().item()}
""",
        [
            "        y = td_target(batch['rew'], critic(batch['next_obs']), batch['terminated'], gamma)"
        ],
    ),
    (
        "gae",
        """def gae(rew, val, next_val, terminated, ended, gamma, lam):
    same_shape(rew=rew, val=val, next_val=next_val, terminated=terminated, ended=ended)
    val, next_val = val.detach(), next_val.detach()
    adv, run = torch.zeros_like(rew), torch.zeros_like(rew[0])
    for t in reversed(range(len(rew))):
        delta = rew[t] + gamma * next_val[t] - val[t]
        run = delta + gamma * lam * torch.where(ended[t], 0.0, run)
        adv[t] = run
    return adv
""",
        ["        delta = rew[t] + gamma * torch.where(terminated[t], 0.0, next_val[t]) - val[t]"],
    ),
    (
        "soft_q_target",
        """def soft_q_target(rew, next_q1, next_q2, next_logp, terminated, gamma, alpha):
    same_shape(rew=rew, next_q1=next_q1, next_q2=next_q2, next_logp=next_logp, terminated=terminated)
    with torch.no_grad():
        q = torch.minimum(next_q1, next_q2)
        return rew + gamma * (~terminated).float() * q - alpha * next_logp
""",
        ["        return rew + gamma * (~terminated).float() * (q - alpha * next_logp)"],
    ),
    (
        "temperature_loss",
        """def temperature_loss(log_alpha, logp, target_entropy):
    count = logp.numel()
    total = logp.detach().sum() + target_entropy
    return -log_alpha.exp() * total / count
""",
        ["    total = (logp.detach() + target_entropy).sum()"],
    ),
    (
        "grad_log_softmax",
        """def grad_log_softmax(theta, action):
    pi = softmax(theta)
    score = torch.zeros_like(theta)
    score[action] = 1 - pi[action]
    return score
""",
        ["    score = -softmax(theta)"],
    ),
    (
        "actor_critic_step",
        """def actor_critic_step(actor, critic, actor_opt, critic_opt, batch, gamma):
    val = critic(batch["obs"])
    y = td_target(batch["rew"], critic(batch["next_obs"]).detach(), batch["terminated"], gamma)
    adv = (y - val).detach()
    logp = categorical_logp(actor(batch["obs"]), batch["act"])
    policy, value = actor_loss(logp, adv), critic_loss(val, y)
    critic_opt.zero_grad()
    (policy + value).backward()
    actor_opt.step()
    critic_opt.step()
    return {"actor_loss": policy.item(), "critic_loss": value.item(), "adv": adv.mean().item()}
""",
        ["    actor_opt.zero_grad()"],
    ),
    (
        "discounted_returns",
        """def discounted_returns(rew, ended, gamma, last_val=0.0):
    same_shape(rew=rew, ended=ended)
    out, ret = torch.zeros_like(rew), torch.zeros_like(rew[0]) + last_val
    for t in reversed(range(len(rew))):
        out[t] = ret
        ret = torch.where(ended[t], 0.0, ret)
        ret = rew[t] + gamma * ret
    return out
""",
        ["        out[t] = ret"],
    ),
    (
        "critic_loss",
        """def critic_loss(val, target):
    same_shape(val=val, target=target)
    error = val.detach()
    error = error - target
    return (error * error).mean()
""",
        ["    error = val", "    error = error - target.detach()"],
    ),
    (
        "squashed_gaussian_logp",
        """def squashed_gaussian_logp(mean, log_std, pre_tanh):
    same_shape(mean=mean, log_std=log_std, pre_tanh=pre_tanh)
    z = (pre_tanh - mean) * torch.exp(-log_std)
    gauss = (-0.5 * z**2 - log_std).sum(-1) - 0.5 * math.log(2 * math.pi)
    slope = 2 * (math.log(2) - pre_tanh - F.softplus(-2 * pre_tanh))
    return gauss - slope.sum(-1)
""",
        ["    gauss = (-0.5 * z ** 2 - log_std - 0.5 * math.log(2 * math.pi)).sum(-1)"],
    ),
    (
        "grpo_advantages",
        """def grpo_advantages(score):
    if len(score) < 2:
        raise ValueError("one answer has no group")
    away = score.detach() - score.detach().median(dim=0).values
    return away / (score.detach().std(dim=0) + 1e-8)
""",
        ["    away = score.detach() - score.detach().mean(dim=0)"],
    ),
    (
        "exact_policy_gradient",
        """def exact_policy_gradient(mdp, theta):
    pi = torch.softmax(theta, -1)
    system = torch.eye(len(pi), dtype=pi.dtype) - mdp.gamma * torch.einsum("sa,sat->st", pi, mdp.P)
    V = torch.linalg.solve(system, (pi * mdp.R).sum(-1))
    d = torch.linalg.solve(system, mdp.start)
    return d[:, None] * pi * (mdp.R + mdp.gamma * mdp.P @ V - V[:, None])
""",
        ["    d = torch.linalg.solve(system.T, mdp.start)"],
    ),
    (
        "normalize_advantage",
        """def normalize_advantage(adv, mask=None):
    same_shape(adv=adv, mask=mask)
    keep = torch.ones_like(adv).bool() if mask is None else mask
    a = torch.where(keep, adv, 0.0)
    n = keep.sum(-1, keepdim=True).clamp(min=1)
    mean = a.sum(-1, keepdim=True) / n
    var = (((a - mean) * keep) ** 2).sum(-1, keepdim=True) / n
    return (a - mean) * keep / (var.sqrt() + 1e-8)
""",
        [
            "    n = keep.sum().clamp(min=1)",
            "    mean = a.sum() / n",
            "    var = (((a - mean) * keep) ** 2).sum() / n",
        ],
    ),
    (
        "sequence_score",
        """def sequence_score(values, mask):
    same_shape(values=values, mask=mask)
    if not mask.any(1).all():
        raise ValueError("a row without an answer")
    last = [int(m.nonzero().max()) for m in mask]
    return torch.tensor([row[i].item() for row, i in zip(values, last)])
""",
        ["    return torch.stack([row[i] for row, i in zip(values, last)])"],
    ),
    (
        "ppo_clip_loss",
        """def ppo_clip_loss(logp, logp_old, adv, clip, mask=None):
    same_shape(logp=logp, logp_old=logp_old, adv=adv, mask=mask)
    if mask is not None:
        logp, logp_old, adv = logp[mask], logp_old[mask], adv[mask]
    move, gain = logp - logp_old.detach(), adv.detach()
    near = move.clamp(-clip, clip).exp() * gain
    return -torch.minimum(move.exp() * gain, near).mean()
""",
        ["    near = move.exp().clamp(1 - clip, 1 + clip) * gain"],
    ),
    (
        "clipped_value_loss",
        """def clipped_value_loss(val, val_old, ret, clip, mask=None):
    same_shape(val=val, val_old=val_old, ret=ret, mask=mask)
    if mask is not None:
        val, val_old, ret = val[mask], val_old[mask], ret[mask]
    val_old, ret = val_old.detach(), ret.detach()
    near = val_old + (val - val_old).clamp(-clip, clip)
    plain = ((val - ret) ** 2).mean()
    return torch.max(plain, ((near - ret) ** 2).mean())
""",
        [
            "    plain = (val - ret) ** 2",
            "    return torch.maximum(plain, (near - ret) ** 2).mean()",
        ],
    ),
    (
        "sac_critic_loss",
        """def sac_critic_loss(q1, q2, target):
    same_shape(q1=q1, q2=q2, target=target)
    y = target.detach()
    return F.huber_loss(q1, y, delta=1.0) + F.huber_loss(q2, y, delta=1.0)
""",
        ["    return F.mse_loss(q1, y) + F.mse_loss(q2, y)"],
    ),
    (
        "entropy",
        """def entropy(logits, mask=None):
    logp = F.log_softmax(logits, dim=-1)
    h = -(logp.exp() * logp).sum(dim=-1)
    same_shape(h=h, mask=mask)
    if mask is not None:
        h = torch.where(mask, h, 0.0)
    return h.mean()
""",
        ["        h = h[mask]"],
    ),
    (
        "rloo_advantages",
        """def rloo_advantages(score):
    s = score.detach()
    others = (s.sum(dim=0) - s) / max(len(s) - 1, 1)
    return s - others
""",
        [
            "    if len(score) < 2:",
            "        raise ValueError(f'expected at least 2 samples along axis 0; "
            "got {list(score.shape)}.')",
        ],
    ),
]
