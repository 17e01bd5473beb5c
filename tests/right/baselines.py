"""Right answers of lesson 3 in other styles."""

import numpy as np
import torch
import torch.nn.functional as F


def refuse(*tensors):
    if len({x.shape for x in tensors if x is not None}) > 1:
        raise ValueError("shapes differ")


def baseline_loop(ret, val):
    refuse(ret, val)
    adv = torch.empty_like(ret)
    for t in range(len(ret)):
        adv[t] = ret[t] - val[t].item() if ret.dim() == 1 else ret[t] - val[t].detach()
    return adv


def baseline_no_grad(ret, val):
    refuse(ret, val)
    with torch.no_grad():
        return torch.sub(ret, val)


def baseline_data(ret, val):
    refuse(ret, val)
    return -(val.data - ret)


def baseline_numpy(ret, val):
    refuse(ret, val)
    return torch.from_numpy(ret.numpy() - val.detach().numpy())


def optimal_loop(scores, ret):
    refuse(scores[:, 0], ret)
    above = below = 0.0
    for score, r in zip(scores, ret, strict=True):
        above, below = above + score @ score * r, below + score @ score
    return above / below


def optimal_projection(scores, ret):
    """The multiple of the scores that is nearest to score times return."""
    refuse(scores[:, 0], ret)
    weighted = scores * ret[:, None]
    return torch.sum(scores * weighted) / torch.sum(scores * scores)


def optimal_average(scores, ret):
    refuse(scores[:, 0], ret)
    weights = scores.norm(dim=1).square()
    return (weights * ret).mean() / weights.mean()


def optimal_numpy(scores, ret):
    refuse(scores[:, 0], ret)
    return float(np.average(ret.numpy(), weights=(scores.numpy() ** 2).mean(1)))


def ratio_covariance(scores, ret, baseline):
    refuse(scores[:, 0], ret, baseline)

    def total(weight):
        return torch.atleast_2d(torch.cov((scores * weight[:, None]).T)).trace()

    return total(ret - baseline) / total(ret)


def ratio_distances(scores, ret, baseline):
    refuse(scores[:, 0], ret, baseline)
    kept, whole = torch.einsum("np,n->np", scores, ret - baseline), scores * ret.reshape(-1, 1)
    return ((kept - kept.mean(0)) ** 2).sum() / ((whole - whole.mean(0)) ** 2).sum()


def ratio_population(scores, ret, baseline):
    refuse(scores[:, 0], ret, baseline)
    kept, whole = scores * (ret - baseline)[:, None], scores * ret[:, None]
    return kept.var(0, correction=0).sum() / whole.var(0, correction=0).sum()


def ratio_numpy(scores, ret, baseline):
    refuse(scores[:, 0], ret, baseline)
    s, r, b = scores.numpy(), ret.numpy()[:, None], baseline.numpy()[:, None]
    return float((s * (r - b)).var(0, ddof=1).sum() / (s * r).var(0, ddof=1).sum())


def others_loop(ret):
    K = ret.shape[0]
    if K < 2:
        raise ValueError("two samples at least")
    rows = [[ret[j] for j in range(K) if j != k] for k in range(K)]
    return torch.stack([sum(row) / (K - 1) for row in rows])


def others_matrix(ret):
    K = len(ret)
    if K < 2:
        raise ValueError("two samples at least")
    return (torch.ones(K, K, dtype=ret.dtype) - torch.eye(K, dtype=ret.dtype)) @ ret / (K - 1)


def others_from_mean(ret):
    K = len(ret)
    if K < 2:
        raise ValueError("two samples at least")
    return ret - (ret - ret.mean(0, keepdim=True)) * K / (K - 1)


def others_deleted(ret):
    if len(ret) < 2:
        raise ValueError("two samples at least")
    means = [torch.cat((ret[:k], ret[k + 1 :])).mean(0) for k in range(len(ret))]
    return torch.stack(means)


def normalize_cleanrl(adv, mask=None):
    refuse(adv, mask)
    if (adv.numel() if mask is None else mask.sum()) < 2:
        return torch.zeros_like(adv)
    if mask is None:
        return (adv - adv.mean()) / (adv.std() + 1e-8)
    out = torch.zeros_like(adv)
    out[mask] = (adv[mask] - adv[mask].mean()) / (adv[mask].std() + 1e-8)
    return out


def normalize_inside_root(adv, mask=None):
    refuse(adv, mask)
    m = torch.ones_like(adv, dtype=torch.bool) if mask is None else mask
    clean = torch.where(m, adv, torch.zeros_like(adv))
    mean = clean.sum() / m.sum()
    centered = torch.where(m, clean - mean, torch.zeros_like(adv))
    return centered / ((centered**2).sum() / m.sum() + 1e-12).sqrt()


def normalize_std_mean(adv, mask=None):
    refuse(adv, mask)
    kept = adv.flatten() if mask is None else adv.masked_select(mask)
    std, mean = torch.std_mean(kept, correction=int(len(kept) > 1))
    whole = (adv - mean) / (std + 1e-6)
    return whole if mask is None else whole.masked_fill(~mask, 0.0)


def normalize_layer_norm(adv, mask=None):
    refuse(adv, mask)
    if mask is None:
        return F.layer_norm(adv.flatten(), (adv.numel(),), eps=1e-16).view_as(adv)
    out = adv.new_zeros(adv.shape)
    out[mask] = normalize_layer_norm(adv[mask])
    return out


def normalize_batch_norm(adv, mask=None):
    refuse(adv, mask)
    if adv.numel() < 2:
        return torch.zeros_like(adv)
    if mask is None:
        column = adv.double().reshape(-1, 1)  # in float32 it loses digits of equal advantages
        return F.batch_norm(column, None, None, training=True).view_as(adv).to(adv.dtype)
    out = torch.zeros_like(adv)
    out[mask] = normalize_batch_norm(adv[mask])
    return out


def normalize_by_rsqrt(adv, mask=None):
    refuse(adv, mask)
    m = torch.ones_like(adv, dtype=torch.bool) if mask is None else mask
    kept = adv[m]
    return torch.where(
        m, (adv - kept.mean()) * torch.rsqrt(kept.var(correction=int(len(kept) > 1)) + 1e-8), 0.0
    )


def normalize_guarded(adv, mask=None):
    refuse(adv, mask)
    m = torch.ones_like(adv, dtype=torch.bool) if mask is None else mask
    kept = adv[m]
    if kept.max() == kept.min():
        return torch.zeros_like(adv)
    return torch.where(m, (adv - kept.mean()) / kept.std(), torch.zeros_like(adv))


def regression_builtin(val, ret):
    refuse(val, ret)
    return F.mse_loss(val, ret.detach())


def regression_half(val, ret):
    refuse(val, ret)
    return 0.5 * (ret.detach() - val).pow(2).mean()


def regression_loop(val, ret):
    refuse(val, ret)
    errors = [(v - r.item()) ** 2 for v, r in zip(val.flatten(), ret.flatten(), strict=True)]
    return sum(errors) / len(errors)


def regression_dot(val, ret):
    refuse(val, ret)
    error = (val - ret.data).reshape(-1)
    return error @ error / error.numel()


def loss_selected(logp, adv, mask=None):
    refuse(logp, adv, mask)
    if mask is None:
        mask = torch.ones_like(logp, dtype=torch.bool)
    return torch.mean(-logp[mask] * adv[mask].detach())


def loss_where_first(logp, adv, mask=None):
    refuse(logp, adv, mask)
    adv = adv.detach()
    if mask is None:
        return -(adv * logp).sum() / logp.numel()
    zero = torch.zeros_like(adv)
    return -(torch.where(mask, logp, zero) * torch.where(mask, adv, zero)).sum() / mask.sum()


def loss_filled(logp, adv, mask=None):
    refuse(logp, adv, mask)
    with torch.no_grad():
        weight = adv.clone() if mask is None else adv.masked_fill(~mask, 0)
        count = adv.numel() if mask is None else mask.sum()
    logp = logp if mask is None else logp.masked_fill(~mask, 0)
    return torch.sum(logp * weight / count).neg()


def loss_loop(logp, adv, mask=None):
    refuse(logp, adv, mask)
    total, n = 0.0, 0
    mask = torch.ones_like(logp, dtype=torch.bool) if mask is None else mask
    for lp, a, m in zip(logp.flatten(), adv.flatten(), mask.flatten(), strict=True):
        if m:
            total, n = total - lp * a.item(), n + 1
    return total / n


def quiz_in_a_list():
    return {
        "constant": " B",
        "unbiased": ["c", "a"],
        "episodes": torch.tensor(1000.0),
        "perfect": False,
        "normalized": False,
    }


def quiz_with_a_comma():
    return quiz_in_a_list() | {"unbiased": "C, A", "episodes": 1000}


RIGHT = {
    "with_baseline": [baseline_loop, baseline_no_grad, baseline_data, baseline_numpy],
    "optimal_baseline": [optimal_loop, optimal_projection, optimal_average, optimal_numpy],
    "variance_ratio": [ratio_covariance, ratio_distances, ratio_population, ratio_numpy],
    "leave_one_out_baseline": [others_loop, others_matrix, others_from_mean, others_deleted],
    "normalize_advantage": [
        normalize_cleanrl,
        normalize_inside_root,
        normalize_std_mean,
        normalize_layer_norm,
        normalize_batch_norm,
        normalize_by_rsqrt,
        normalize_guarded,
    ],
    "value_regression_loss": [regression_builtin, regression_half, regression_loop, regression_dot],
    "policy_gradient_loss": [loss_selected, loss_where_first, loss_filled, loss_loop],
    "quiz_baselines": [quiz_in_a_list, quiz_with_a_comma],
}
