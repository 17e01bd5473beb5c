"""Right answers of lesson 5 in other styles."""

import math

import torch
from torch import nn
from torch.distributions import Categorical

from pgcourse.losses import clipped_value_loss
from pgcourse.tensors import masked_mean, same_shape


def ratio_loop(logp, logp_old):
    if logp.shape != logp_old.shape:
        raise ValueError("shapes differ")
    pairs = zip(logp.reshape(-1), logp_old.detach().reshape(-1), strict=True)
    return torch.stack([torch.exp(new - old) for new, old in pairs]).reshape(logp.shape)


def ratio_no_grad(logp, logp_old):
    same_shape(logp=logp, logp_old=logp_old)
    with torch.no_grad():
        old = logp_old.clone()
    return (logp - old).exp()


def ratio_base_two(logp, logp_old):
    same_shape(logp=logp, logp_old=logp_old)
    return torch.exp2((logp - logp_old.data) * math.log2(math.e))


def clip_loss_cleanrl(logp, logp_old, adv, clip, mask=None):
    """CleanRL: the maximum of two negated terms."""
    same_shape(logp=logp, logp_old=logp_old, adv=adv, mask=mask)
    adv = adv.detach()
    ratio = (logp - logp_old.detach()).exp()
    pg_loss1 = -adv * ratio
    pg_loss2 = -adv * torch.clamp(ratio, 1 - clip, 1 + clip)
    pg_loss = torch.max(pg_loss1, pg_loss2)
    return pg_loss.mean() if mask is None else pg_loss[mask].mean()


def clip_loss_spinning_up(logp, logp_old, adv, clip, mask=None):
    """Spinning Up, second form: min(rho A, g(clip, A)), g = (1 ± clip) A by the sign of A."""
    same_shape(logp=logp, logp_old=logp_old, adv=adv, mask=mask)
    if mask is not None:
        logp, logp_old, adv = logp[mask], logp_old[mask], adv[mask]
    adv = adv.detach()
    limit = torch.where(adv >= 0, (1 + clip) * adv, (1 - clip) * adv)
    return -torch.min(torch.exp(logp - logp_old.detach()) * adv, limit).mean()


def clip_loss_one_sided_clamps(logp, logp_old, adv, clip, mask=None):
    same_shape(logp=logp, logp_old=logp_old, adv=adv, mask=mask)
    adv, rho = adv.detach(), torch.exp(logp - logp_old.detach())
    rho = torch.where(adv > 0, rho.clamp(max=1 + clip), rho.clamp(min=1 - clip))
    return -masked_mean(rho * adv, mask)


def clip_loss_loop(logp, logp_old, adv, clip, mask=None):
    same_shape(logp=logp, logp_old=logp_old, adv=adv, mask=mask)
    keep = torch.ones_like(logp, dtype=torch.bool) if mask is None else mask
    terms = []
    for new, old, a in zip(logp[keep], logp_old[keep].tolist(), adv[keep].tolist(), strict=True):
        rho = torch.exp(new - old)
        if (a > 0 and rho > 1 + clip) or (a < 0 and rho < 1 - clip):
            rho = rho.detach().clamp(1 - clip, 1 + clip)
        terms.append(-rho * a)
    return sum(terms) / len(terms)


def clip_loss_relu(logp, logp_old, adv, clip, mask=None):
    """What lies beyond the bound is taken away again: rho A less the excess."""
    same_shape(logp=logp, logp_old=logp_old, adv=adv, mask=mask)
    if mask is not None:
        logp, logp_old, adv = (x[mask] for x in (logp, logp_old, adv))
    adv, rho = adv.detach(), torch.exp(logp - logp_old.detach())
    above = torch.relu(rho - 1 - clip) * adv.clamp(min=0)
    below = torch.relu(1 - clip - rho) * adv.clamp(max=0)
    return -(rho * adv - above + below).mean()


def clip_loss_fills_padding(logp, logp_old, adv, clip, mask=None):
    same_shape(logp=logp, logp_old=logp_old, adv=adv, mask=mask)
    if mask is None:
        mask = torch.ones_like(logp, dtype=torch.bool)
    logp, logp_old, adv = (x.masked_fill(~mask, 0.0) for x in (logp, logp_old, adv))
    rho, adv = (logp - logp_old.detach()).double().exp(), adv.detach().double()
    terms = torch.stack([rho * adv, rho.clip(1 - clip, 1 + clip) * adv]).amin(0)
    return (-terms.sum() / mask.sum()).to(logp.dtype)


def value_loss_cleanrl(val, val_old, ret, clip, mask=None):
    same_shape(val=val, val_old=val_old, ret=ret, mask=mask)
    val_old, ret = val_old.detach(), ret.detach()
    v_loss_unclipped = (val - ret) ** 2
    v_clipped = val_old + torch.clamp(val - val_old, -clip, clip)
    v_loss_max = torch.max(v_loss_unclipped, (v_clipped - ret) ** 2)
    return 0.5 * (v_loss_max.mean() if mask is None else v_loss_max[mask].mean())


def value_loss_selects_first(val, val_old, ret, clip, mask=None):
    same_shape(val=val, val_old=val_old, ret=ret, mask=mask)
    if mask is not None:
        val, val_old, ret = val[mask], val_old[mask], ret[mask]
    low, high = val_old.detach() - clip, val_old.detach() + clip
    near = torch.minimum(torch.maximum(val, low), high)
    errors = torch.stack([(val - ret.detach()) ** 2, (near - ret.detach()) ** 2])
    return errors.max(dim=0).values.mean()


def value_loss_loop(val, val_old, ret, clip, mask=None):
    same_shape(val=val, val_old=val_old, ret=ret, mask=mask)
    keep = torch.ones_like(val, dtype=torch.bool) if mask is None else mask
    total, n = 0, 0
    for v, old, r in zip(val[keep], val_old[keep].tolist(), ret[keep].tolist(), strict=True):
        near = min(max(v, old - clip), old + clip)
        total, n = total + max((v - r) ** 2, (near - r) ** 2), n + 1
    return total / n


def entropy_distribution(logits, mask=None):
    same_shape(logits=logits[..., 0], mask=mask)
    ent = Categorical(logits=logits).entropy()
    return ent.mean() if mask is None else ent[mask].mean()


def entropy_logsumexp(logits, mask=None):
    """log Z - E[logits]: another formula for the same number."""
    same_shape(logits=logits[..., 0], mask=mask)
    logits = logits if mask is None else logits[mask]
    pi = torch.softmax(logits, -1)
    return (torch.logsumexp(logits, -1) - (pi * logits).sum(-1)).mean()


def entropy_cross(logits, mask=None):
    same_shape(logits=logits[..., 0], mask=mask)
    rows = (logits if mask is None else logits[mask]).reshape(-1, logits.shape[-1])
    return nn.functional.cross_entropy(rows, torch.softmax(rows, -1))


def kl_schulman(logp, logp_old, mask=None):
    same_shape(logp=logp, logp_old=logp_old, mask=mask)
    log_ratio = logp - logp_old
    k3 = (log_ratio.exp() - 1) - log_ratio
    return k3.mean() if mask is None else k3[mask].mean()


def kl_no_grad_float(logp, logp_old, mask=None):
    """A diagnostic: a plain number will do."""
    same_shape(logp=logp, logp_old=logp_old, mask=mask)
    with torch.no_grad():
        if mask is not None:
            logp, logp_old = logp[mask], logp_old[mask]
        return torch.mean(torch.exp(logp - logp_old) - 1 + logp_old - logp).item()


def kl_loop(logp, logp_old, mask=None):
    same_shape(logp=logp, logp_old=logp_old, mask=mask)
    keep = torch.ones_like(logp, dtype=torch.bool) if mask is None else mask
    pairs = list(zip(logp[keep].tolist(), logp_old[keep].tolist(), strict=True))
    terms = [math.exp(new - old) - 1 - (new - old) for new, old in pairs]
    return torch.tensor(sum(terms) / len(terms), dtype=logp.dtype)


def update_cleanrl(policy, optimizer, rollout, config, loss=None, generator=None):
    """One flat loop; minibatches by slicing a permutation; stops by a flag."""
    mask = rollout.get("mask", torch.ones_like(rollout["adv"], dtype=torch.bool))
    kept = rollout["adv"][mask]
    advantages = (rollout["adv"] - kept.mean()) / (kept.std() + 1e-8)
    n = advantages.shape[1]
    size = math.ceil(n / config.minibatches)
    names = ["policy_loss", "value_loss", "entropy", "kl", "clip_fraction"]
    rows, first, stopped = [], None, False
    for _ in range(config.epochs):
        b_inds = torch.randperm(n, generator=generator)
        for start in range(0, n, size):
            mb = b_inds[start : start + size]
            newlogp, ent, newval = policy.evaluate(rollout["obs"][:, mb], rollout["act"][:, mb])
            m, old = mask[:, mb], rollout["logp"][:, mb]
            pg_loss = loss(newlogp, old, advantages[:, mb], config.clip, m)
            val, ret = rollout["val"][:, mb], rollout["ret"][:, mb]
            near = val + (newval - val).clamp(-config.value_clip, config.value_clip)
            v_loss = torch.max((newval - ret) ** 2, (near - ret) ** 2)[m].mean()
            with torch.no_grad():
                logratio = (newlogp - old)[m]
                ratio = logratio.exp()
                off = (ratio - 1).abs()
                kl = ((ratio - 1) - logratio).mean()
            first = off.max().item() if first is None else first
            clipped = (off > config.clip).float().mean()
            rows.append([x.item() for x in (pg_loss, v_loss, ent[m].mean(), kl, clipped)])
            stopped = kl > config.target_kl
            if stopped:
                break
            total = pg_loss - config.entropy_coef * ent[m].mean() + v_loss * config.value_coef
            optimizer.zero_grad()
            total.backward()
            nn.utils.clip_grad_norm_(policy.parameters(), config.max_grad_norm)
            optimizer.step()
        if stopped:
            break
    means = torch.tensor(rows, dtype=torch.float64).mean(0).tolist()
    return dict(zip(names, means, strict=True)) | {"first_ratio_error": first}


def update_half_square(policy, optimizer, rollout, config, loss=None, generator=None):
    """The convention with one half in the value loss, gradients limited by hand, nested functions."""
    mask = rollout.get("mask")
    select = (lambda x: x) if mask is None else (lambda x: x[mask])
    kept = select(rollout["adv"])
    adv = (rollout["adv"] - kept.mean()) / (kept.std(correction=0) + 1e-8)
    stats = {k: [] for k in ("policy_loss", "value_loss", "entropy", "kl", "clip_fraction")}
    errors = []

    def minibatch(columns):
        """One step; False when the limit is passed."""
        m = None if mask is None else mask[:, columns]
        logp, ent, val = policy.evaluate(rollout["obs"][:, columns], rollout["act"][:, columns])
        old = rollout["logp"][:, columns]
        policy_loss = loss(logp, old, adv[:, columns], config.clip, m)
        critic = (val, rollout["val"][:, columns], rollout["ret"][:, columns])
        value_loss = 0.5 * clipped_value_loss(*critic, config.value_clip, m)
        entropy = masked_mean(ent, m)
        log_rho = (logp - old).detach() if m is None else (logp - old).detach()[m]
        rho = log_rho.exp()
        kl = (rho - 1 - log_rho).mean().item()
        errors.append((rho - 1).abs().max().item())
        clipped = ((rho < 1 - config.clip) | (rho > 1 + config.clip)).float().mean()
        for name, x in zip(stats, (policy_loss, value_loss, entropy, kl, clipped), strict=True):
            stats[name].append(float(x.detach()) if torch.is_tensor(x) else x)
        if kl > config.target_kl:
            return False
        objective = -policy_loss - config.value_coef * value_loss + config.entropy_coef * entropy
        optimizer.zero_grad(set_to_none=True)
        (-objective).backward()
        norm = torch.sqrt(sum((p.grad**2).sum() for p in policy.parameters()))
        if norm > config.max_grad_norm:
            for p in policy.parameters():
                p.grad.mul_(config.max_grad_norm / (norm + 1e-6))
        optimizer.step()
        return True

    def epochs():
        for _ in range(config.epochs):
            order = torch.randperm(adv.shape[1], generator=generator)
            for columns in torch.chunk(order, config.minibatches):
                if not minibatch(columns):
                    return

    epochs()
    means = {name: sum(x) / len(x) for name, x in stats.items()}
    return {**means, "first_ratio_error": errors[0], "minibatches": len(errors)}


def update_gathers(policy, optimizer, rollout, config, loss=None, generator=None):
    """Sorts the columns into minibatches with index_select; keeps tensors until the end."""
    from pgcourse.ppo import diagnose, minibatch_columns, summarize

    mask = rollout.get("mask", torch.ones(rollout["adv"].shape, dtype=torch.bool))
    adv = rollout["adv"].masked_select(mask)
    mean, std = adv.mean(), adv.var(correction=0).sqrt()
    log, epoch = [], 0
    while epoch < config.epochs:
        epoch += 1
        for columns in minibatch_columns(len(mask[0]), config.minibatches, generator):
            obs, act, old, val, ret, adv, m = (
                x.index_select(1, columns)
                for x in (*(rollout[k] for k in ("obs", "act", "logp", "val", "ret", "adv")), mask)
            )
            logp, ent, new = policy.evaluate(obs, act)
            pi_loss = loss(logp, old, (adv - mean) / (std + 1e-8), config.clip, m)
            v_loss = clipped_value_loss(new, val, ret, config.value_clip, m)
            bonus, kl = ent[m].mean(), kl_schulman(logp, old, m).detach()
            log.append(diagnose(pi_loss, v_loss, bonus, kl, logp, old, config.clip, m))
            if log[-1]["kl"] > config.target_kl:
                return summarize(log)
            optimizer.zero_grad()
            for part, weight in ((pi_loss, 1), (v_loss, config.value_coef)):
                (weight * part).backward(retain_graph=True)
            (-config.entropy_coef * bonus).backward()
            nn.utils.clip_grad_norm_(list(policy.parameters()), config.max_grad_norm)
            optimizer.step()
    return summarize(log)


def ratio_of_the_inverse(logp, logp_old):
    same_shape(logp=logp, logp_old=logp_old)
    return 1 / torch.exp(logp_old.detach() - logp)


def clip_loss_in_logs(logp, logp_old, adv, clip, mask=None):
    same_shape(logp=logp, logp_old=logp_old, adv=adv, mask=mask)
    if mask is not None:
        logp, logp_old, adv = logp[mask], logp_old[mask], adv[mask]
    adv, log_rho = adv.detach(), logp - logp_old.detach()
    low, high = math.log1p(-clip), math.log1p(clip)
    near = torch.where(adv > 0, log_rho.clamp(max=high), log_rho.clamp(min=low))
    return -(near.exp() * adv).mean()


def value_loss_of_sizes(val, val_old, ret, clip, mask=None):
    same_shape(val=val, val_old=val_old, ret=ret, mask=mask)
    keep = torch.ones_like(val, dtype=torch.bool) if mask is None else mask
    v, old, target = val[keep], val_old.detach()[keep], ret.detach()[keep]
    near = torch.clamp(v, old - clip, old + clip)
    return torch.maximum((v - target).abs(), (near - target).abs()).square().mean()


def entropy_from_shifted(logits, mask=None):
    same_shape(logits=logits[..., 0], mask=mask)
    z = logits - logits.max(-1, keepdim=True).values.detach()
    total = z.exp().sum(-1)
    ent = total.log() - (z.exp() * z).sum(-1) / total
    return masked_mean(ent, mask)


def kl_of_two_means(logp, logp_old, mask=None):
    same_shape(logp=logp, logp_old=logp_old, mask=mask)
    d = logp - logp_old if mask is None else torch.masked_select(logp - logp_old, mask)
    return torch.expm1(d).mean() - d.mean()


RIGHT = {
    "probability_ratio": [ratio_loop, ratio_no_grad, ratio_base_two, ratio_of_the_inverse],
    "ppo_clip_loss": [
        clip_loss_cleanrl,
        clip_loss_spinning_up,
        clip_loss_one_sided_clamps,
        clip_loss_loop,
        clip_loss_relu,
        clip_loss_fills_padding,
        clip_loss_in_logs,
    ],
    "clipped_value_loss": [
        value_loss_cleanrl,
        value_loss_selects_first,
        value_loss_loop,
        value_loss_of_sizes,
    ],
    "entropy": [entropy_distribution, entropy_logsumexp, entropy_cross, entropy_from_shifted],
    "approx_kl": [kl_schulman, kl_no_grad_float, kl_loop, kl_of_two_means],
    "ppo_update": [update_cleanrl, update_half_square, update_gathers],
}
