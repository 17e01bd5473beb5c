"""Right answers of lesson 7 in other styles."""

import torch
import torch.nn.functional as F
from torch.distributions import Categorical

from pgcourse import estimators
from pgcourse.estimators import kl_shaped_rewards, leave_one_out_baseline, rlhf_advantages
from pgcourse.language.transformer import generate
from pgcourse.losses import ppo_clip_loss
from pgcourse.ppo import ppo_update
from pgcourse.rlhf import as_rollout
from pgcourse.tensors import same_shape


def equal_shapes(*tensors):
    if len({tuple(x.shape) for x in tensors}) > 1:
        raise ValueError("shapes differ")


# --- token_logp ---


def tokens_distribution(logits, tokens):
    equal_shapes(logits[..., 0], tokens)
    scored = Categorical(logits=logits[:, :-1]).log_prob(tokens[:, 1:])
    return torch.cat([torch.zeros_like(scored[:, :1]), scored], dim=1)


def tokens_cross_entropy(logits, tokens):
    equal_shapes(logits[..., 0], tokens)
    B, T, V = logits.shape
    nll = F.cross_entropy(
        logits[:, :-1].reshape(-1, V), tokens[:, 1:].reshape(-1), reduction="none"
    )
    return F.pad(-nll.view(B, T - 1), (1, 0))


def tokens_loop(logits, tokens):
    equal_shapes(logits[..., 0], tokens)
    columns = [torch.zeros_like(logits[:, 0, 0])]
    for t in range(1, tokens.shape[1]):
        before = logits[:, t - 1]
        taken = before[torch.arange(len(tokens)), tokens[:, t]]
        columns.append(taken - torch.logsumexp(before, dim=-1))
    return torch.stack(columns, dim=1)


def tokens_roll(logits, tokens):
    equal_shapes(logits[..., 0], tokens)
    logp = torch.log_softmax(logits.roll(1, dims=1), dim=-1)
    scored = torch.gather(logp, 2, tokens[..., None])[..., 0]
    return scored * (torch.arange(tokens.shape[1]) > 0)


# --- bradley_terry_loss ---


def votes_softplus(r_chosen, r_rejected):
    equal_shapes(r_chosen, r_rejected)
    return F.softplus(r_rejected - r_chosen).mean()


def votes_two_classes(r_chosen, r_rejected):
    equal_shapes(r_chosen, r_rejected)
    both = torch.stack([r_chosen, r_rejected], dim=1)
    return F.cross_entropy(both, torch.zeros(len(both), dtype=torch.long))


def votes_binary(r_chosen, r_rejected):
    equal_shapes(r_chosen, r_rejected)
    margin = r_chosen - r_rejected
    return F.binary_cross_entropy_with_logits(margin, torch.ones_like(margin))


def votes_loop(r_chosen, r_rejected):
    equal_shapes(r_chosen, r_rejected)
    losses = [-F.logsigmoid(c - r) for c, r in zip(r_chosen, r_rejected, strict=True)]
    return sum(losses) / len(losses)


# --- sequence_score ---


def score_loop(values, mask):
    equal_shapes(values, mask)
    scores = []
    for row, kept in zip(values, mask, strict=True):
        if not kept.any():
            raise ValueError("no answer")
        scores.append(row[kept][-1])
    return torch.stack(scores)


def score_flip(values, mask):
    equal_shapes(values, mask)
    if (mask.sum(1) == 0).any():
        raise ValueError("no answer")
    last = mask.shape[1] - 1 - mask.flip(1).int().argmax(1)
    return values[torch.arange(len(values)), last]


def score_select(values, mask):
    equal_shapes(values, mask)
    if not bool(mask.any(1).all()):
        raise ValueError("no answer")
    ends = mask & ~torch.cat([mask[:, 1:], torch.zeros_like(mask[:, :1])], 1)
    return torch.where(ends, values, torch.zeros_like(values)).sum(1)


def score_cumulative(values, mask):
    same_shape(values=values, mask=mask)
    if not mask.any(dim=1).all():
        raise ValueError("no answer")
    return values[torch.arange(len(values)), mask.long().cumsum(1).argmax(1)]


# --- kl_shaped_rewards ---


def rewards_loop(score, logp, logp_ref, mask, beta):
    equal_shapes(logp, logp_ref, mask)
    equal_shapes(score, mask[:, 0])
    rew = torch.zeros_like(logp, requires_grad=False).detach().clone()
    for b in range(len(mask)):
        steps = mask[b].nonzero().flatten().tolist()
        if not steps:
            raise ValueError("no response")
        for t in steps:
            rew[b, t] = -beta * (logp[b, t] - logp_ref[b, t]).detach()
        rew[b, steps[-1]] += score[b].detach()
    return rew


@torch.no_grad()
def rewards_scatter(score, logp, logp_ref, mask, beta):
    equal_shapes(logp, logp_ref, mask)
    equal_shapes(score, mask[:, 0])
    if not mask.any(1).all():
        raise ValueError("no response")
    last = mask.shape[1] - 1 - mask.flip(1).int().argmax(1, keepdim=True)
    kl = (logp - logp_ref).masked_fill(~mask, 0.0)
    return (-beta * kl).scatter_add(1, last, score[:, None])


def rewards_where(score, logp, logp_ref, mask, beta):
    equal_shapes(logp, logp_ref, mask)
    equal_shapes(score, mask[:, 0])
    if (~mask.any(1)).any():
        raise ValueError("no response")
    later = mask.flip(1).cumsum(1).flip(1)  # response tokens from here on
    end = mask & (later == 1)
    price = torch.where(mask, beta * (logp - logp_ref), torch.zeros_like(logp))
    return (torch.where(end, score[:, None].expand_as(price), 0.0) - price).detach()


# --- rlhf_advantages ---


def advantages_loop(rew, val, mask, gamma, lam):
    equal_shapes(rew, val, mask)
    adv = torch.zeros_like(rew).detach()
    for b in range(len(rew)):
        running, next_val = 0.0, 0.0
        for t in reversed(mask[b].nonzero().flatten().tolist()):
            delta = rew[b, t].item() + gamma * next_val - val[b, t].item()
            running = delta + gamma * lam * running
            next_val = val[b, t].item()
            adv[b, t] = running
    return adv


@torch.no_grad()
def advantages_masked_carry(rew, val, mask, gamma, lam):
    """As in TRL and its kin: values of padding set to zero, the recursion over all columns."""
    equal_shapes(rew, val, mask)
    rew, val = rew.masked_fill(~mask, 0.0), val.masked_fill(~mask, 0.0)
    columns, running, next_val = [], torch.zeros_like(rew[:, 0]), torch.zeros_like(rew[:, 0])
    for t in reversed(range(rew.shape[1])):
        running = rew[:, t] + gamma * next_val - val[:, t] + gamma * lam * running
        running, next_val = running * mask[:, t], val[:, t]
        columns.append(running)
    return torch.stack(columns[::-1], dim=1)


@torch.no_grad()
def advantages_sum(rew, val, mask, gamma, lam):
    """The definition: A_t = sum of (gamma lam)^k delta_{t+k}, as a product with a matrix."""
    equal_shapes(rew, val, mask)
    zero = torch.zeros_like(rew)
    rew, val = torch.where(mask, rew, zero), torch.where(mask, val, zero)
    delta = rew + gamma * F.pad(val[:, 1:], (0, 1)) - val
    delta = torch.where(mask, delta, zero)
    k = torch.arange(rew.shape[1])
    lags = k[:, None] - k[None, :]
    weight = torch.where(lags >= 0, (gamma * lam) ** lags.clamp(min=0).to(rew.dtype), 0.0)
    return torch.where(mask, delta @ weight.to(rew.dtype), zero)


def advantages_by_gae(rew, val, mask, gamma, lam):
    """Lesson 4's function, one conversation at a time."""
    equal_shapes(rew, val, mask)
    out = torch.zeros_like(rew).detach()
    for b, kept in enumerate(mask):
        r, v = rew[b][kept].detach(), val[b][kept].detach()
        end = torch.zeros(len(r), dtype=torch.bool)
        end[-1] = True
        next_v = torch.cat([v[1:], v.new_zeros(1)])
        out[b][kept] = estimators.gae(r, v, next_v, end, end, gamma, lam)
    return out


# --- rlhf_step ---


def logps(model, tokens):
    """Log-probabilities of the tokens, [B, T], written out once more."""
    logp = torch.log_softmax(model(tokens)[:, :-1], -1).gather(2, tokens[:, 1:, None])[..., 0]
    return F.pad(logp, (1, 0))


@torch.no_grad()
def experience(policy, reference, reward_model, prompts, config):
    tokens, mask = generate(
        policy.actor, prompts, config.max_new, config.end, generator=config.generator
    )
    old, ref = logps(policy.actor, tokens), logps(reference, tokens)
    return tokens, mask, old, ref, policy.values(tokens), reward_model(tokens, mask)


def step_in_two_functions(
    policy, reference, reward_model, optimizer, prompts, config, update=ppo_update, loss=None
):
    tokens, mask, old, ref, val, score = experience(
        policy, reference, reward_model, prompts, config
    )
    adv = rlhf_advantages(
        kl_shaped_rewards(score, old, ref, mask, config.beta), val, mask, config.gamma, config.lam
    )
    stats = update(
        policy,
        optimizer,
        as_rollout(tokens, mask=mask, logp=old, val=val, adv=adv, ret=val + adv),
        config,
        loss=loss,
        generator=config.generator,
    )
    kl = sum((o - r)[m].sum().item() for o, r, m in zip(old, ref, mask, strict=True)) / len(mask)
    length = float(mask.sum()) / len(mask)
    return dict(score=float(score.mean()), kl=kl, length=length, update=stats)


def step_by_hand(
    policy, reference, reward_model, optimizer, prompts, config, update=ppo_update, loss=None
):
    """The transposition written out, the loss handed over by position."""
    tokens, mask, old, ref, val, score = experience(
        policy, reference, reward_model, prompts, config
    )
    rew = rewards_loop(score, old, ref, mask, config.beta)
    adv = advantages_loop(rew, val, mask, config.gamma, config.lam)
    rollout = {
        "obs": tokens.T[:-1],
        "act": tokens.T[1:],
        "mask": mask.T[1:],
        "logp": old.T[1:],
        "val": val.T[1:],
        "adv": adv.T[1:],
        "ret": (adv + val).T[1:],
    }
    log = update(policy, optimizer, rollout, config, loss, config.generator)
    return {
        "score": score.mean().item(),
        "kl": (old - ref).masked_fill(~mask, 0.0).sum(1).mean().item(),
        "length": mask.float().sum(1).mean().item(),
        "update": log,
    }


def step_from_evaluate(
    policy,
    reference,
    reward_model,
    optimizer,
    prompts,
    config,
    update=ppo_update,
    loss=ppo_clip_loss,
):
    """Old log-probabilities and values from the very call that PPO will make."""
    tokens, mask = generate(policy.actor, prompts, config.max_new, config.end, config.generator)
    with torch.no_grad():
        logp, _, val = policy.evaluate(tokens[:, :-1].T, tokens[:, 1:].T)
        logp, val = F.pad(logp.T, (1, 0)), F.pad(val.T, (1, 0))
        logp_ref = logps(reference, tokens)
        score = reward_model(tokens, mask)
        rew = rewards_where(score, logp, logp_ref, mask, config.beta)
        adv = advantages_sum(rew, val, mask, config.gamma, config.lam)
    rollout = as_rollout(tokens, mask=mask, logp=logp, val=val, adv=adv, ret=adv + val)
    log = update(policy, optimizer, rollout, config, loss=loss, generator=config.generator)
    gap = torch.where(mask, logp - logp_ref, torch.zeros_like(logp))
    return {
        "score": score.mean().item(),
        "kl": (gap.sum() / len(gap)).item(),
        "length": (mask.sum() / len(mask)).item(),
        "update": log,
    }


# --- rloo_advantages, grpo_advantages ---


def loo_rescaled(score):
    K = len(score)
    if K < 2:
        raise ValueError("one answer has nothing to compare with")
    return (K / (K - 1) * (score - score.mean(dim=0))).detach()


def loo_loop(score):
    if len(score) < 2:
        raise ValueError("one answer has nothing to compare with")
    others = [torch.cat([score[:k], score[k + 1 :]]).mean(0) for k in range(len(score))]
    return (score - torch.stack(others)).detach()


@torch.no_grad()
def loo_from_lesson_three(score):
    return score - leave_one_out_baseline(score)


def group_loop(score):
    if len(score) < 2:
        raise ValueError("one answer has nothing to compare with")
    columns = []
    for group in score.detach().T:
        columns.append((group - group.mean()) / (group.std(correction=0) + 1e-4))
    return torch.stack(columns, dim=1)


@torch.no_grad()
def group_sample_std(score):
    if score.shape[0] < 2:
        raise ValueError("one answer has nothing to compare with")
    return (score - score.mean(0, keepdim=True)) / (score.std(0, keepdim=True) + 1e-8)


@torch.no_grad()
def group_by_moments(score):
    if score.shape[0] < 2:
        raise ValueError("one answer has nothing to compare with")
    centered = score - score.mean(0)
    return centered / (centered.square().mean(0).sqrt() + 1e-8)


# --- dpo_loss ---


def dpo_softplus(logp_chosen, logp_rejected, ref_chosen, ref_rejected, beta):
    equal_shapes(logp_chosen, logp_rejected, ref_chosen, ref_rejected)
    chosen = logp_chosen - ref_chosen.detach()
    rejected = logp_rejected - ref_rejected.detach()
    return F.softplus(beta * (rejected - chosen)).mean()


def dpo_as_reward_model(logp_chosen, logp_rejected, ref_chosen, ref_rejected, beta):
    """Bradley–Terry on the implicit rewards beta log(pi / ref)."""
    equal_shapes(logp_chosen, logp_rejected, ref_chosen, ref_rejected)
    r_chosen = beta * (logp_chosen - ref_chosen.detach())
    return votes_binary(r_chosen, beta * (logp_rejected - ref_rejected.detach()))


def dpo_paper(logp_chosen, logp_rejected, ref_chosen, ref_rejected, beta):
    """As in the paper's code: policy ratios minus reference ratios."""
    equal_shapes(logp_chosen, logp_rejected, ref_chosen, ref_rejected)
    ref = (ref_chosen - ref_rejected).detach()
    return -F.logsigmoid(beta * (logp_chosen - logp_rejected - ref)).mean()


def mapping_in_another_order():
    answers = {"algorithm": "r", "reward": "e"}
    answers.update(action="a", state="b", policy="c")
    return answers


RIGHT = {
    "quiz_mapping": [mapping_in_another_order],
    "token_logp": [tokens_distribution, tokens_cross_entropy, tokens_loop, tokens_roll],
    "bradley_terry_loss": [votes_softplus, votes_two_classes, votes_binary, votes_loop],
    "sequence_score": [score_loop, score_flip, score_select, score_cumulative],
    "kl_shaped_rewards": [rewards_loop, rewards_scatter, rewards_where],
    "rlhf_advantages": [
        advantages_loop,
        advantages_masked_carry,
        advantages_sum,
        advantages_by_gae,
    ],
    "rlhf_step": [step_in_two_functions, step_by_hand, step_from_evaluate],
    "rloo_advantages": [loo_rescaled, loo_loop, loo_from_lesson_three],
    "grpo_advantages": [group_loop, group_sample_std, group_by_moments],
    "dpo_loss": [dpo_softplus, dpo_as_reward_model, dpo_paper],
}
