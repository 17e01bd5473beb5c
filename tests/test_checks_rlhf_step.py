"""What is said of an RLHF step is true, also of mistakes that nobody wrote down."""

from types import SimpleNamespace

import torch

from pgcourse.checks import judge
from pgcourse.losses import policy_gradient_loss
from pgcourse.ppo import ppo_update
from pgcourse.rlhf import (
    as_rollout,
    generate,
    kl_shaped_rewards,
    rlhf_advantages,
    rlhf_step,
    token_logp,
)


def collected(policy, reference, reward_model, prompts, config, beta=None):
    tokens, mask = generate(policy.actor, prompts, config.max_new, config.end, config.generator)
    with torch.no_grad():
        score = reward_model(tokens, mask)
        logp = token_logp(policy.actor(tokens), tokens)
        logp_ref = token_logp(reference(tokens), tokens)
        val = policy.values(tokens)
    rew = kl_shaped_rewards(score, logp, logp_ref, mask, config.beta if beta is None else beta)
    adv = rlhf_advantages(rew, val, mask, config.gamma, config.lam)
    rollout = as_rollout(tokens, mask=mask, logp=logp, val=val, adv=adv, ret=adv + val)
    kl = torch.where(mask, logp - logp_ref, 0.0).sum(dim=1).mean()
    numbers = dict(score=score.mean(), kl=kl, length=mask.sum(dim=1).float().mean())
    return rollout, {k: x.item() for k, x in numbers.items()}


def said(step):
    return judge(step, "rlhf_step")


def test_an_update_written_in_place_is_said_and_not_the_random_numbers():
    def supervised(
        policy, reference, reward_model, optimizer, prompts, config, update=None, loss=None
    ):
        rollout, report = collected(policy, reference, reward_model, prompts, config)
        logp, _, _ = policy.evaluate(rollout["obs"], rollout["act"])
        optimizer.zero_grad()
        policy_gradient_loss(logp, torch.ones_like(logp), rollout["mask"]).backward()
        optimizer.step()
        return {**report, "update": {}}

    def by_name(
        policy, reference, reward_model, optimizer, prompts, config, update=None, loss=None
    ):
        rollout, report = collected(policy, reference, reward_model, prompts, config)
        log = ppo_update(policy, optimizer, rollout, config, loss=loss, generator=config.generator)
        return {**report, "update": log}

    assert said(supervised).pitfall == "a different algorithm"
    verdict = said(by_name)
    assert verdict.pitfall == "not the update passed in" and "callable" not in str(verdict)


def test_a_kl_in_the_loss_is_not_put_down_to_the_reference():
    def kl_in_the_loss(policy, reference, reward_model, optimizer, prompts, config, update, loss):
        rollout, report = collected(policy, reference, reward_model, prompts, config, beta=0.0)

        def with_kl(logp, logp_old, adv, clip, mask=None):
            return (
                loss(logp, logp_old, adv, clip, mask) + config.beta * (logp - logp_old)[mask].mean()
            )

        log = update(policy, optimizer, rollout, config, loss=with_kl, generator=config.generator)
        return {**report, "update": log}

    assert "paid elsewhere, in the loss" in said(kl_in_the_loss).message


def test_another_config_is_said():
    def huge_clip(policy, reference, reward_model, optimizer, prompts, config, update, loss):
        other = SimpleNamespace(**{**vars(config), "clip": 1e9, "generator": config.generator})
        rollout, report = collected(policy, reference, reward_model, prompts, config)
        log = update(policy, optimizer, rollout, other, loss=loss, generator=config.generator)
        return {**report, "update": log}

    assert said(huge_clip).pitfall == "another config passed on"
    assert said(rlhf_step).passed
