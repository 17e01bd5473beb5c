"""Right answers of lesson 6 in other styles."""

import math

import numpy as np
import torch
import torch.nn.functional as F
from torch.distributions import Independent, MultivariateNormal, Normal, TransformedDistribution
from torch.distributions.transforms import TanhTransform


def same(*tensors):
    if len({x.shape for x in tensors}) > 1:
        raise ValueError("shapes differ")


def squashed_spinning_up(mean, log_std, pre_tanh):
    same(mean, log_std, pre_tanh)
    logp = Normal(mean, log_std.exp()).log_prob(pre_tanh).sum(axis=-1)
    return logp - (2 * (math.log(2) - pre_tanh - F.softplus(-2 * pre_tanh))).sum(axis=-1)


def squashed_transformed(mean, log_std, pre_tanh):
    same(mean, log_std, pre_tanh)
    tanh = TanhTransform(cache_size=1)
    action = tanh(pre_tanh)
    return TransformedDistribution(Normal(mean, log_std.exp()), tanh).log_prob(action).sum(-1)


def squashed_sigmoids(mean, log_std, pre_tanh):
    """1 - tanh(u)^2 = 4 sigmoid(2u) sigmoid(-2u)."""
    same(mean, log_std, pre_tanh)
    log_slope = math.log(4) + F.logsigmoid(2 * pre_tanh) + F.logsigmoid(-2 * pre_tanh)
    return Independent(Normal(mean, torch.exp(log_std)), 1).log_prob(pre_tanh) - log_slope.sum(-1)


def squashed_cosh(mean, log_std, pre_tanh):
    """1 - tanh(u)^2 = 1 / cosh(u)^2, and log cosh u = logaddexp(u, -u) - log 2."""
    same(mean, log_std, pre_tanh)
    total = torch.zeros_like(mean[..., 0])
    for d in range(mean.shape[-1]):
        m, s, u = mean[..., d], log_std[..., d], pre_tanh[..., d]
        total = total - (u - m) ** 2 / (2 * torch.exp(2 * s)) - s - math.log(2 * math.pi) / 2
        total = total + 2 * (torch.logaddexp(u, -u) - math.log(2))
    return total


def squashed_log_cosh(mean, log_std, pre_tanh):
    """log cosh |u| without overflow, and the Gaussian from its variance."""
    same(mean, log_std, pre_tanh)
    size, var = pre_tanh.abs(), torch.exp(2 * log_std)
    log_cosh = size + torch.log1p(torch.exp(-2 * size)) - math.log(2)
    gaussian = -((pre_tanh - mean) ** 2) / (2 * var) - 0.5 * torch.log(2 * math.pi * var)
    return torch.einsum("...d->...", gaussian + 2 * log_cosh)


def squashed_float64(mean, log_std, pre_tanh):
    same(mean, log_std, pre_tanh)
    m, s, u = mean.double(), log_std.double(), pre_tanh.double()
    log_slope = TanhTransform().log_abs_det_jacobian(u, None)
    return (Normal(m, s.exp()).log_prob(u) - log_slope).sum(-1).to(mean.dtype)


def squashed_two_branches(mean, log_std, pre_tanh):
    """The plain formula where it is safe, another one far out; no nan leaks through torch.where."""
    same(mean, log_std, pre_tanh)
    small = pre_tanh.abs() < 4
    near = torch.where(small, pre_tanh, torch.zeros_like(pre_tanh))
    size = pre_tanh.abs()
    far = 2 * math.log(2) - 2 * size - 2 * torch.log1p(torch.exp(-2 * size))
    log_slope = torch.where(small, torch.log1p(-(near.tanh() ** 2)), far)
    return (Normal(mean, log_std.exp()).log_prob(pre_tanh) - log_slope).sum(-1)


def target_cleanrl(rew, next_q1, next_q2, next_logp, terminated, gamma, alpha):
    same(rew, next_q1, next_q2, next_logp, terminated)
    with torch.no_grad():
        min_q = torch.min(next_q1, next_q2) - alpha * next_logp
        return rew.flatten() + (1 - terminated.to(rew.dtype).flatten()) * gamma * min_q.view(-1)


def target_each_twin(rew, next_q1, next_q2, next_logp, terminated, gamma, alpha):
    same(rew, next_q1, next_q2, next_logp, terminated)
    soft = [q - alpha * next_logp for q in (next_q1, next_q2)]
    smallest = torch.stack(soft).min(dim=0).values
    return (rew + gamma * (~terminated) * smallest).detach()


def target_loop(rew, next_q1, next_q2, next_logp, terminated, gamma, alpha):
    same(rew, next_q1, next_q2, next_logp, terminated)
    y = []
    for r, a, b, logp, end in zip(rew, next_q1, next_q2, next_logp, terminated, strict=True):
        y.append(r.detach() if end else (r + gamma * (min(a, b) - alpha * logp)).detach())
    return torch.stack(y)


def target_in_place(rew, next_q1, next_q2, next_logp, terminated, gamma, alpha):
    same(rew, next_q1, next_q2, next_logp, terminated)
    y = rew.detach().clone()
    go = ~terminated
    y[go] += gamma * (torch.minimum(next_q1, next_q2) - alpha * next_logp).detach()[go]
    return y


def target_float64(rew, next_q1, next_q2, next_logp, terminated, gamma, alpha):
    same(rew, next_q1, next_q2, next_logp, terminated)
    value = torch.fmin(next_q1, next_q2).double() - float(alpha) * next_logp.double()
    y = rew.double() + gamma * (1 - terminated.double()) * value
    return y.detach().to(rew.dtype)


def target_numpy(rew, next_q1, next_q2, next_logp, terminated, gamma, alpha):
    same(rew, next_q1, next_q2, next_logp, terminated)
    r, a, b, logp, end = (
        x.detach().numpy() for x in (rew, next_q1, next_q2, next_logp, terminated)
    )
    y = r + gamma * np.where(end, 0, np.minimum(a, b) - float(alpha) * logp)
    return torch.as_tensor(y, dtype=rew.dtype)


def target_relu(rew, next_q1, next_q2, next_logp, terminated, gamma, alpha):
    """min(a, b) = a - relu(a - b)."""
    same(rew, next_q1, next_q2, next_logp, terminated)
    with torch.no_grad():
        value = next_q1 - torch.relu(next_q1 - next_q2) - alpha * next_logp
        return torch.addcmul(rew, value.masked_fill(terminated, 0), torch.tensor(gamma).to(rew))


def critic_mse(q1, q2, target):
    same(q1, q2, target)
    target = target.detach()
    return F.mse_loss(q1, target) + F.mse_loss(q2, target)


def critic_stable_baselines(q1, q2, target):
    same(q1, q2, target)
    return 0.5 * sum(F.mse_loss(q, target.detach()) for q in (q1, q2))


def critic_stacked(q1, q2, target):
    same(q1, q2, target)
    return (torch.stack([q1, q2]) - target.detach()).pow(2).sum(0).mean()


def critic_loop(q1, q2, target):
    same(q1, q2, target)
    total = 0.0
    for a, b, y in zip(q1, q2, target.detach(), strict=True):
        total = total + (a - y) ** 2 + (b - y) ** 2
    return total / len(target)


def critic_mean_of_both(q1, q2, target):
    same(q1, q2, target)
    q = torch.stack([q1, q2], dim=-1)
    return F.mse_loss(q, target.detach().unsqueeze(-1).expand_as(q))


def critic_dot(q1, q2, target):
    same(q1, q2, target)
    with torch.no_grad():
        y = target.clone()
    return ((q1 - y) @ (q1 - y) + (q2 - y) @ (q2 - y)) / len(y)


def actor_cleanrl(logp, q1, q2, alpha):
    same(logp, q1, q2)
    if torch.is_tensor(alpha):
        alpha = alpha.item()
    return ((alpha * logp) - torch.min(q1, q2)).mean()


def actor_objective(logp, q1, q2, alpha):
    same(logp, q1, q2)
    with torch.no_grad():
        price = torch.as_tensor(alpha) * 1.0
    objective = torch.where(q1 < q2, q1, q2) - price * logp
    return -objective.sum() / objective.numel()


def actor_loop(logp, q1, q2, alpha):
    same(logp, q1, q2)
    total = 0.0
    for one, a, b in zip(logp, q1, q2, strict=True):
        total = total + float(torch.as_tensor(alpha).detach()) * one - min(a, b)
    return total / len(logp)


def actor_two_means(logp, q1, q2, alpha):
    same(logp, q1, q2)
    price = alpha.item() if torch.is_tensor(alpha) else alpha
    return price * logp.mean() - torch.stack((q1, q2), -1).amin(-1).mean()


def actor_worst_twin(logp, q1, q2, alpha):
    """The larger of two losses is the loss of the smaller value."""
    same(logp, q1, q2)
    price = torch.as_tensor(alpha).detach()
    return torch.max(price * logp - q1, price * logp - q2).mean()


def actor_float64(logp, q1, q2, alpha):
    same(logp, q1, q2)
    price = torch.as_tensor(alpha).detach().double()
    return (price * logp.double() - torch.min(q1.double(), q2.double())).mean().to(logp.dtype)


def temperature_cleanrl(log_alpha, logp, target_entropy):
    return (-log_alpha.exp() * (logp.detach() + target_entropy)).mean()


def temperature_stable_baselines(log_alpha, logp, target_entropy):
    return -(log_alpha * (logp + target_entropy).detach()).mean()


def temperature_by_entropy(log_alpha, logp, target_entropy):
    entropy = -logp.detach().mean()
    return torch.exp(log_alpha) * (entropy - target_entropy)


def temperature_no_grad(log_alpha, logp, target_entropy):
    with torch.no_grad():
        gap = sum(one + target_entropy for one in logp) / len(logp)
    return -log_alpha.exp() * gap


def temperature_number(log_alpha, logp, target_entropy):
    gap = (logp.double() + target_entropy).mean().item()
    return -(log_alpha.exp() * gap)


def temperature_log_numpy(log_alpha, logp, target_entropy):
    return log_alpha * float(-logp.detach().numpy().mean() - target_entropy)


def polyak_cleanrl(target, online, tau):
    for old, new in zip(target.parameters(), online.parameters(), strict=True):
        old.data.copy_(tau * new.data + (1 - tau) * old.data)
    for old, new in zip(target.buffers(), online.buffers(), strict=True):
        old.data.copy_(tau * new.data + (1 - tau) * old.data if old.is_floating_point() else new)


def polyak_state_dict(target, online, tau):
    old, new = target.state_dict(), online.state_dict()
    mixed = {
        k: (1 - tau) * old[k] + tau * new[k] if old[k].is_floating_point() else new[k] for k in old
    }
    target.load_state_dict(mixed)


@torch.no_grad()
def polyak_spinning_up(target, online, tau):
    for old, new in zip(target.parameters(), online.parameters(), strict=True):
        old.mul_(1 - tau)
        old.add_(tau * new)
    for old, new in zip(target.buffers(), online.buffers(), strict=True):
        old.copy_(new)


def polyak_by_name(target, online, tau):
    fast = dict(online.named_parameters()) | dict(online.named_buffers())
    slow = dict(target.named_parameters()) | dict(target.named_buffers())
    for name, x in slow.items():
        step = tau * (fast[name].detach() - x.detach())
        x.data = x.data + step if x.is_floating_point() else fast[name].clone()


def polyak_loads_float64(target, online, tau):
    mine = {k: x.clone() for k, x in target.state_dict().items()}
    for k, new in online.state_dict().items():
        if new.is_floating_point():
            new = (mine[k].double() * (1 - tau) + new.double() * tau).to(new.dtype)
        mine[k] = new.clone()
    target.load_state_dict(mine)


@torch.no_grad()
def polyak_vector(target, online, tau):
    flat = [torch.nn.utils.parameters_to_vector(net.parameters()) for net in (target, online)]
    mixed = (1 - tau) * flat[0] + tau * flat[1]
    for x, piece in zip(
        target.parameters(), mixed.split([x.numel() for x in target.parameters()]), strict=True
    ):
        x.copy_(piece.view_as(x))
    for old, new in zip(target.buffers(), online.buffers(), strict=True):
        old.copy_(new)


@torch.no_grad()
def polyak_foreach(target, online, tau):
    torch._foreach_lerp_(list(target.parameters()), list(online.parameters()), tau)
    for old, new in zip(target.buffers(), online.buffers(), strict=True):
        if old.dtype.is_floating_point:
            torch.lerp(old, new, tau, out=old)
        else:
            old.fill_(new.item())


def squashed_nll(mean, log_std, pre_tanh):
    same(mean, log_std, pre_tanh)
    m, s, u = mean.double(), log_std.double(), pre_tanh.double()
    nll = F.gaussian_nll_loss(m, u, (2 * s).exp(), reduction="none", full=True, eps=0.0)
    return (-nll + 2 * (torch.logaddexp(u, -u) - math.log(2))).sum(-1).to(mean.dtype)


def squashed_other_branch(mean, log_std, pre_tanh):
    """The slope is even: the stable formula holds with -u too."""
    same(mean, log_std, pre_tanh)
    log_slope = 2 * (math.log(2) + pre_tanh - F.softplus(2 * pre_tanh))
    return (Normal(mean, log_std.exp()).log_prob(pre_tanh) - log_slope).sum(-1)


def target_addcmul(rew, next_q1, next_q2, next_logp, terminated, gamma, alpha):
    same(rew, next_q1, next_q2, next_logp, terminated)
    with torch.no_grad():
        q = next_q1 - F.relu(next_q1 - next_q2)
        return torch.addcmul(rew, (~terminated).to(rew.dtype), q - alpha * next_logp, value=gamma)


def critic_all_errors(q1, q2, target):
    same(q1, q2, target)
    target = target.detach()
    return 0.5 * torch.stack([q1 - target, q2 - target]).square().sum() / len(q1)


def actor_relu(logp, q1, q2, alpha):
    same(logp, q1, q2)
    return (torch.as_tensor(alpha).detach() * logp - q1 + F.relu(q1 - q2)).mean()


def actor_where(logp, q1, q2, alpha):
    same(logp, q1, q2)
    alpha = getattr(alpha, "data", alpha)
    return torch.where(q1 < q2, alpha * logp - q1, alpha * logp - q2).mean()


def temperature_row_by_row(log_alpha, logp, target_entropy):
    return sum(-log_alpha.exp() * (x + target_entropy) for x in logp.detach()) / len(logp)


def temperature_entropy_of_logs(log_alpha, logp, target_entropy):
    return -log_alpha * (target_entropy + logp.detach().mean())


def polyak_assigns_data(target, online, tau):
    for old, new in zip(target.parameters(), online.parameters(), strict=True):
        old.data = (1 - tau) * old + tau * new  # .data keeps no graph
    for old, new in zip(target.buffers(), online.buffers(), strict=True):
        old.copy_(new)


def polyak_by_module(target, online, tau):
    for slow, fast in zip(target.modules(), online.modules(), strict=True):
        for old, new in zip(slow.parameters(False), fast.parameters(False), strict=True):
            old.data.add_(new.data - old.data, alpha=tau)
        for old, new in zip(slow.buffers(False), fast.buffers(False), strict=True):
            old.copy_(new)


def squashed_multivariate(mean, log_std, pre_tanh):
    same(mean, log_std, pre_tanh)
    gaussian = MultivariateNormal(mean, scale_tril=torch.diag_embed(log_std.exp()))
    excess = pre_tanh + F.softplus(-2 * pre_tanh) - math.log(2)
    return gaussian.log_prob(pre_tanh) + 2 * excess.sum(-1)


def target_value_first(rew, next_q1, next_q2, next_logp, terminated, gamma, alpha):
    """Rewards come from the environment: only the next value must be kept from gradients."""
    same(rew, next_q1, next_q2, next_logp, terminated)
    with torch.no_grad():
        value = torch.min(next_q1, next_q2) - alpha * next_logp
    return rew + gamma * (~terminated) * value


def actor_larger_loss(logp, q1, q2, alpha):
    """The larger of two losses, row by row, has the smaller critic."""
    same(logp, q1, q2)
    alpha = float(alpha)
    return torch.maximum(alpha * logp - q1, alpha * logp - q2).mean()


def polyak_children(target, online, tau):
    with torch.no_grad():
        for name, p in target._parameters.items():
            if p is not None:
                p += tau * (online._parameters[name] - p)
        for name, x in target._buffers.items():
            x.copy_(online._buffers[name])
    for name, child in target.named_children():
        polyak_children(child, online.get_submodule(name), tau)


RIGHT = {
    "squashed_gaussian_logp": [
        squashed_spinning_up,
        squashed_transformed,
        squashed_sigmoids,
        squashed_cosh,
        squashed_log_cosh,
        squashed_float64,
        squashed_two_branches,
        squashed_nll,
        squashed_other_branch,
        squashed_multivariate,
    ],
    "soft_q_target": [
        target_cleanrl,
        target_each_twin,
        target_loop,
        target_in_place,
        target_float64,
        target_numpy,
        target_relu,
        target_addcmul,
        target_value_first,
    ],
    "sac_critic_loss": [
        critic_mse,
        critic_stable_baselines,
        critic_stacked,
        critic_loop,
        critic_mean_of_both,
        critic_dot,
        critic_all_errors,
    ],
    "sac_actor_loss": [
        actor_cleanrl,
        actor_objective,
        actor_loop,
        actor_two_means,
        actor_worst_twin,
        actor_float64,
        actor_relu,
        actor_where,
        actor_larger_loss,
    ],
    "temperature_loss": [
        temperature_cleanrl,
        temperature_stable_baselines,
        temperature_by_entropy,
        temperature_no_grad,
        temperature_number,
        temperature_log_numpy,
        temperature_row_by_row,
        temperature_entropy_of_logs,
    ],
    "polyak_update": [
        polyak_cleanrl,
        polyak_state_dict,
        polyak_spinning_up,
        polyak_by_name,
        polyak_foreach,
        polyak_loads_float64,
        polyak_vector,
        polyak_assigns_data,
        polyak_by_module,
        polyak_children,
    ],
}
