"""Right answers of lesson 4 in other styles."""

import numpy as np
import torch
import torch.nn.functional as F
from torch.distributions import Categorical


def need(same):
    if not same:
        raise ValueError("shapes differ")


# --- td_target ---


def target_float_mask(rew, next_val, terminated, gamma):
    need(rew.shape == next_val.shape == terminated.shape)
    return rew + gamma * (1.0 - terminated.float()) * next_val


def target_inverted_flag(rew, next_val, terminated, gamma):
    need(rew.shape == next_val.shape == terminated.shape)
    with torch.no_grad():
        return rew + (~terminated) * gamma * next_val


def target_loop(rew, next_val, terminated, gamma):
    need(rew.shape == next_val.shape == terminated.shape)
    target = rew.clone()
    for i in np.ndindex(*rew.shape):
        if not terminated[i]:
            target[i] += gamma * next_val[i]
    return target


def target_masked_fill(rew, next_val, terminated, gamma):
    need(rew.shape == next_val.shape == terminated.shape)
    return torch.add(rew, next_val.masked_fill(terminated, 0), alpha=gamma)


# --- critic_loss ---


def critic_mse(val, target):
    need(val.shape == target.shape)
    return F.mse_loss(val, target.detach())


def critic_half_cleanrl(val, target):
    need(val.shape == target.shape)
    return 0.5 * ((val - target.detach()) ** 2).mean()


def critic_loop(val, target):
    need(val.shape == target.shape)
    total = 0
    for v, y in zip(val.flatten(), target.flatten().tolist(), strict=True):
        total = total + (v - y) ** 2
    return total / val.numel()


def critic_td_error(val, target):
    need(val.shape == target.shape)
    with torch.no_grad():
        y = target.clone()
    delta = y - val
    return torch.square(delta).sum() / delta.numel()


# --- actor_loss ---


def actor_spinning_up(logp, adv):
    need(logp.shape == adv.shape)
    return -(logp * adv.detach()).mean()


def actor_cleanrl(logp, adv):
    need(logp.shape == adv.shape)
    return (-adv.detach() * logp).sum() / logp.numel()


def actor_loop(logp, adv):
    need(logp.shape == adv.shape)
    terms = [-lp * a for lp, a in zip(logp.flatten(), adv.flatten().tolist(), strict=True)]
    return torch.stack(terms).mean()


def actor_dot(logp, adv):
    need(logp.shape == adv.shape)
    with torch.no_grad():
        weight = adv.flatten() / adv.numel()
    return -torch.dot(logp.flatten(), weight)


# --- actor_critic_step ---


def step_distribution(actor, critic, actor_opt, critic_opt, batch, gamma):
    """torch.distributions, both losses summed, one backward."""
    value = critic(batch["obs"])
    with torch.no_grad():
        target = batch["rew"] + gamma * critic(batch["next_obs"]) * ~batch["terminated"]
        advantage = target - value
    policy_loss = -(Categorical(logits=actor(batch["obs"])).log_prob(batch["act"]) * advantage)
    policy_loss, value_loss = policy_loss.mean(), F.mse_loss(value, target)
    actor_opt.zero_grad()
    critic_opt.zero_grad()
    (policy_loss + value_loss).backward()
    critic_opt.step()
    actor_opt.step()
    return {
        "actor_loss": policy_loss.item(),
        "critic_loss": value_loss.item(),
        "adv": advantage.mean().item(),
    }


def step_actor_first(actor, critic, actor_opt, critic_opt, batch, gamma):
    """Spinning Up's order: the policy, then the value; half the squared error; tensors returned."""
    obs, act, going_on = batch["obs"], batch["act"], 1 - batch["terminated"].to(batch["rew"].dtype)
    with torch.no_grad():
        target = batch["rew"] + gamma * going_on * critic(batch["next_obs"])
        adv = target - critic(obs)
    actor_opt.zero_grad()
    logp = F.log_softmax(actor(obs), dim=-1)[torch.arange(len(act)), act]
    loss_pi = -(logp * adv).mean()
    loss_pi.backward()
    actor_opt.step()
    critic_opt.zero_grad()
    loss_v = 0.5 * ((critic(obs) - target) ** 2).mean()
    loss_v.backward()
    critic_opt.step()
    return {"actor_loss": loss_pi.detach(), "critic_loss": loss_v.detach(), "adv": adv.mean()}


def step_autograd(actor, critic, actor_opt, critic_opt, batch, gamma):
    """Explicit gradients, set by hand; more numbers than asked."""
    val, next_val = critic(batch["obs"]), critic(batch["next_obs"])
    delta = batch["rew"] + gamma * next_val.masked_fill(batch["terminated"], 0).detach() - val
    nll = F.cross_entropy(actor(batch["obs"]), batch["act"], reduction="none")
    loss_a, loss_c = (nll * delta.detach()).mean(), delta.pow(2).mean()
    for net, loss in ((actor, loss_a), (critic, loss_c)):
        weights = list(net.parameters())
        for p, g in zip(weights, torch.autograd.grad(loss, weights), strict=True):
            p.grad = g
    actor_opt.step()
    critic_opt.step()
    entropy = Categorical(logits=actor(batch["obs"])).entropy().mean().item()
    return {
        "actor_loss": float(loss_a),
        "critic_loss": float(loss_c),
        "adv": float(delta.mean()),
        "entropy": entropy,
    }


# --- gae ---


def check_gae(*tensors):
    need(len({t.shape for t in tensors}) == 1)


def gae_cleanrl(rew, val, next_val, terminated, ended, gamma, lam):
    check_gae(rew, val, next_val, terminated, ended)
    with torch.no_grad():
        advantages = torch.zeros_like(rew)
        lastgaelam = 0
        for t in reversed(range(rew.shape[0])):
            delta = rew[t] + gamma * next_val[t] * (1.0 - terminated[t].float()) - val[t]
            lastgaelam = delta + gamma * lam * (1.0 - ended[t].float()) * lastgaelam
            advantages[t] = lastgaelam
    return advantages


def gae_matrix(rew, val, next_val, terminated, ended, gamma, lam):
    """A = W delta with W[t, k] = prod of gamma lam (1 - ended) from t to k - 1."""
    check_gae(rew, val, next_val, terminated, ended)
    if rew.dim() == 2:
        columns = zip(*(x.unbind(1) for x in (rew, val, next_val, terminated, ended)), strict=True)
        return torch.stack([gae_matrix(*column, gamma, lam) for column in columns], dim=1)
    delta = (rew + gamma * next_val * ~terminated - val).detach()
    T = len(rew)
    weights = torch.eye(T, dtype=rew.dtype)
    for t in range(T):
        for k in range(t + 1, T):
            weights[t, k] = weights[t, k - 1] * gamma * lam * (not ended[k - 1])
    return weights @ delta


def gae_numpy(rew, val, next_val, terminated, ended, gamma, lam):
    check_gae(rew, val, next_val, terminated, ended)
    r, v, v2 = (x.detach().numpy() for x in (rew, val, next_val))
    delta = r + gamma * v2 * (1 - terminated.numpy().astype(r.dtype)) - v
    adv = np.zeros_like(delta)
    adv[-1] = delta[-1]
    for t in range(len(delta) - 2, -1, -1):
        adv[t] = delta[t] + gamma * lam * (1 - ended.numpy()[t].astype(r.dtype)) * adv[t + 1]
    return torch.from_numpy(adv)


def gae_one_by_one(rew, val, next_val, terminated, ended, gamma, lam):
    """The definition: for each step, the sum over the rest of its episode."""
    check_gae(rew, val, next_val, terminated, ended)
    out = torch.zeros_like(rew)
    for index in np.ndindex(*rew.shape):
        t, rest, weight = index[0], index[1:], 1.0
        while t < len(rew):
            i = (t, *rest)
            bootstrap = 0.0 if terminated[i] else next_val[i].item()
            out[index] += weight * (rew[i].item() + gamma * bootstrap - val[i].item())
            if ended[i]:
                break
            weight *= gamma * lam
            t += 1
    return out


@torch.no_grad()
def gae_lambda_return(rew, val, next_val, terminated, ended, gamma, lam):
    """The lambda-return of forward TD(lambda), minus the value."""
    check_gae(rew, val, next_val, terminated, ended)
    following = torch.where(terminated, 0.0, next_val)
    ret, running = torch.empty_like(rew), following[-1]
    for t in reversed(range(len(rew))):
        later = torch.where(ended[t], following[t], (1 - lam) * following[t] + lam * running)
        running = ret[t] = rew[t] + gamma * later
    return ret - val


# --- a3c_push_gradients ---


def push_underscore(local, shared, optimizer):
    for shared_p, local_p in zip(shared.parameters(), local.parameters(), strict=True):
        shared_p._grad = None if local_p.grad is None else local_p.grad.clone()
    optimizer.step()
    local.zero_grad(set_to_none=False)


def push_zero_then_copy(local, shared, optimizer):
    optimizer.zero_grad()
    for mine, theirs in zip(local.parameters(), shared.parameters(), strict=True):
        if mine.grad is not None:
            theirs.grad = mine.grad.detach().clone()
            mine.grad = None
    optimizer.step()
    optimizer.zero_grad()


def push_in_place(local, shared, optimizer):
    mine, theirs = dict(local.named_parameters()), dict(shared.named_parameters())
    for name, p in theirs.items():
        if mine[name].grad is None:
            p.grad = None
            continue
        if p.grad is None:
            p.grad = torch.zeros_like(p)
        p.grad.copy_(mine[name].grad)
    optimizer.step()
    for p in mine.values():
        p.grad = None


RIGHT = {
    "td_target": [target_float_mask, target_inverted_flag, target_loop, target_masked_fill],
    "critic_loss": [critic_mse, critic_half_cleanrl, critic_loop, critic_td_error],
    "actor_loss": [actor_spinning_up, actor_cleanrl, actor_loop, actor_dot],
    "actor_critic_step": [step_distribution, step_actor_first, step_autograd],
    "gae": [gae_cleanrl, gae_matrix, gae_numpy, gae_one_by_one, gae_lambda_return],
    "a3c_push_gradients": [push_underscore, push_zero_then_copy, push_in_place],
}
