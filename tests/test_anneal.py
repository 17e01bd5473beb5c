"""Annealed learning rates: a straight line to 0, for both networks, and where a resumed run left off."""

import dataclasses

import pytest
import torch

from pgcourse import a2c, ppo, runs

SMALL = dict(n_envs=4, n_steps=8, hidden=(8,))  # 32 steps an iteration
CONFIGS = [
    ppo.Config(epochs=1, minibatches=1, critic_lr=6e-3, total_steps=128, **SMALL),
    a2c.Config(actor_lr=3e-3, critic_lr=6e-3, total_steps=128, **SMALL),
]
both = pytest.mark.parametrize("config", CONFIGS, ids=["ppo", "a2c"])


def trained(config, monkeypatch, **keywords):
    """The learning rates of every step of Adam, (actor's, critic's) by turns, and the weights at the end."""
    rates, adam = [], torch._fused_adam_

    def noted(*args, lr, **more):
        rates.append(lr)
        return adam(*args, lr=lr, **more)

    with monkeypatch.context() as patch:
        patch.setattr(torch, "_fused_adam_", noted)
        module = ppo if isinstance(config, ppo.Config) else a2c
        policy = module.train(config, progress=False, **keywords).policy
    weights = torch.cat([p.detach().flatten() for p in policy.parameters()])
    return list(zip(rates[::2], rates[1::2], strict=True)), weights


def line(*left):
    return [pytest.approx((x * 3e-3, x * 6e-3)) for x in left]


@both
def test_off_the_rates_stay(config, monkeypatch):
    rates, _ = trained(config, monkeypatch)
    assert rates == line(1, 1, 1, 1)


@both
def test_both_rates_fall_in_a_straight_line(config, monkeypatch):
    rates, weights = trained(dataclasses.replace(config, anneal=True), monkeypatch)
    assert rates == line(1, 0.75, 0.5, 0.25)
    assert not torch.equal(weights, trained(config, monkeypatch)[1])


@both
def test_a_resumed_run_goes_on_down_the_line(config, monkeypatch, tmp_path):
    config = dataclasses.replace(config, anneal=True)
    saver = runs.Saver(tmp_path, seconds=0)

    def interrupted(recorder):
        saver(recorder)
        return recorder.steps >= 64

    trained(config, monkeypatch, callback=interrupted)
    rates, _ = trained(config, monkeypatch, start=runs.read(tmp_path)[2])
    assert rates == line(0.5, 0.25)
