"""ppo_update: one update for environments and conversations, against a slow second opinion."""

import copy
import dataclasses
import math

import pytest
import torch
from torch import nn

from pgcourse import ppo
from pgcourse.networks import ActorCritic, CategoricalActor, Critic
from pgcourse.ppo import minibatch_columns, ppo_update


def make(steps=6, columns=8, masked=True):
    torch.manual_seed(0)
    policy = ActorCritic(CategoricalActor(3, 4, (8,)), Critic(3, (8,)))
    nn.init.normal_(policy.actor.net[-1].weight)
    obs = torch.randn(steps, columns, 3)
    act = torch.randint(4, (steps, columns))
    with torch.no_grad():
        logp, _, val = policy.evaluate(obs, act)
    rollout = {"obs": obs, "act": act, "logp": logp, "val": val}
    rollout["adv"] = torch.randn(steps, columns)
    rollout["ret"] = rollout["adv"] + val
    if masked:
        rollout["mask"] = torch.rand(steps, columns) < 0.7
    return policy, rollout


CONFIG = ppo.Config(epochs=3, minibatches=3, value_clip=0.3, entropy_coef=0.02, clip=0.1)


def by_hand(policy, optimizer, rollout, config, generator):
    """The same update written element by element, over the unmasked steps of each minibatch."""
    mask = rollout.get("mask", torch.ones_like(rollout["adv"], dtype=torch.bool))
    adv = rollout["adv"]
    adv = (adv - adv[mask].mean()) / (adv[mask].std(correction=0) + 1e-8)
    for _ in range(config.epochs):
        for columns in minibatch_columns(adv.shape[1], config.minibatches, generator):
            terms = []
            for b in columns.tolist():
                for t in range(adv.shape[0]):
                    if not mask[t, b]:
                        continue
                    dist = torch.distributions.Categorical(
                        logits=policy.actor(rollout["obs"][t, b])
                    )
                    rho = (dist.log_prob(rollout["act"][t, b]) - rollout["logp"][t, b]).exp()
                    a = adv[t, b]
                    low, high = 1 - config.clip, 1 + config.clip
                    gain = min(rho * a, rho.clamp(low, high) * a)
                    val, old = policy.critic(rollout["obs"][t, b]), rollout["val"][t, b]
                    near = old + (val - old).clamp(-config.value_clip, config.value_clip)
                    ret = rollout["ret"][t, b]
                    error = max((val - ret) ** 2, (near - ret) ** 2)
                    bonus = config.entropy_coef * dist.entropy()
                    terms.append(-gain + config.value_coef * error - bonus)
            optimizer.zero_grad()
            (sum(terms) / len(terms)).backward()
            nn.utils.clip_grad_norm_(policy.parameters(), config.max_grad_norm)
            optimizer.step()


@pytest.mark.parametrize("masked", [False, True])
def test_the_update_equals_one_written_by_hand(masked):
    policy, rollout = make(masked=masked)
    other = copy.deepcopy(policy)
    other.noise = other.act = None
    draws = [torch.Generator().manual_seed(1) for _ in range(2)]
    ppo_update(
        policy, torch.optim.SGD(policy.parameters(), 0.3), rollout, CONFIG, generator=draws[0]
    )
    by_hand(other, torch.optim.SGD(other.parameters(), 0.3), rollout, CONFIG, draws[1])
    for a, b in zip(policy.parameters(), other.parameters(), strict=True):
        torch.testing.assert_close(a, b, atol=1e-5, rtol=1e-4)


def test_the_first_ratio_is_one_and_the_rollout_is_not_touched():
    policy, rollout = make()
    before = {key: x.clone() for key, x in rollout.items()}
    log = ppo_update(policy, torch.optim.SGD(policy.parameters(), 0.3), rollout, CONFIG)
    assert log["first_ratio_error"] < 1e-6
    assert all(torch.equal(before[key], rollout[key]) for key in before)
    policy, rollout = make()
    rollout["logp"] = rollout["logp"] + 0.5  # sampled at another temperature, say
    log = ppo_update(policy, torch.optim.SGD(policy.parameters(), 0.0), rollout, CONFIG)
    assert log["first_ratio_error"] == pytest.approx(1 - math.exp(-0.5), abs=1e-5)


def test_masked_steps_do_not_matter():
    results = []
    for junk in (0.0, 1e6):
        policy, rollout = make()
        for key in ("adv", "ret", "val", "logp"):
            rollout[key] = torch.where(rollout["mask"], rollout[key], junk)
        optimizer = torch.optim.SGD(policy.parameters(), 0.3)
        ppo_update(policy, optimizer, rollout, CONFIG, generator=torch.Generator().manual_seed(1))
        results.append(torch.cat([p.reshape(-1) for p in policy.parameters()]))
    torch.testing.assert_close(*results)


def test_early_stop_on_kl():
    steps = {}
    for target_kl in (math.inf, 0.01):
        policy, rollout = make(masked=False)
        optimizer = torch.optim.SGD(policy.parameters(), 1.0)
        taken = []
        original = optimizer.step
        optimizer.step = lambda original=original, taken=taken: (taken.append(1), original())
        ppo_update(policy, optimizer, rollout, dataclasses.replace(CONFIG, target_kl=target_kl))
        steps[target_kl] = len(taken)
    assert steps[math.inf] == 9 and 1 <= steps[0.01] < 9


def test_minibatches_cover_every_column_once():
    for n, parts in ((8, 3), (5, 5), (7, 1), (2, 4)):
        columns = minibatch_columns(n, parts, torch.Generator().manual_seed(0))
        assert sorted(torch.cat(list(columns)).tolist()) == list(range(n))
        assert len(columns) <= parts
    first, again = (minibatch_columns(8, 2, torch.Generator().manual_seed(3)) for _ in range(2))
    assert torch.equal(torch.cat(first), torch.cat(again))


def test_a_conversation_is_a_column():
    """A policy over token sequences, of which ppo_update knows nothing: obs is [L, B], L > T."""

    class Language(nn.Module):
        def __init__(self):
            super().__init__()
            self.embed, self.cell = nn.Embedding(5, 8), nn.GRU(8, 8)
            self.head, self.value = nn.Linear(8, 5), nn.Linear(8, 1)

        def evaluate(self, obs, act):
            hidden = self.cell(self.embed(obs))[0][-len(act) - 1 : -1]
            dist = torch.distributions.Categorical(logits=self.head(hidden))
            return dist.log_prob(act), dist.entropy(), self.value(hidden).squeeze(-1)

    torch.manual_seed(0)
    policy, tokens = Language(), torch.randint(5, (9, 12))  # 4 of prompt, 5 of response
    act = tokens[4:]
    with torch.no_grad():
        logp, _, val = policy.evaluate(tokens, act)
    good = (act == 2).float()  # people like token 2
    rollout = {"obs": tokens, "act": act, "logp": logp, "val": val, "adv": good, "ret": good}
    rollout["mask"] = torch.rand(5, 12) < 0.8
    config = ppo.Config(epochs=10, minibatches=2, clip=0.2)
    log = ppo_update(policy, torch.optim.Adam(policy.parameters(), 1e-2), rollout, config)
    assert log["first_ratio_error"] < 1e-5
    with torch.no_grad():
        moved = policy.evaluate(tokens, act)[0] - logp
    assert moved[(act == 2) & rollout["mask"]].mean() > 0.1
    assert moved[(act != 2) & rollout["mask"]].mean() < 0


def test_settings_that_make_no_sense_are_refused():
    with pytest.raises(ValueError, match="n_envs"):
        ppo.Config(n_envs=0)
    with pytest.raises(ValueError, match="epochs"):
        ppo.Config(epochs=-1)
