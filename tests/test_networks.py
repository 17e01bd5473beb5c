"""Actors, critics and polyak averaging against definitions and torch.distributions."""

import copy
import math

import numpy as np
import pytest
import torch
from gymnasium import spaces
from torch import nn

from pgcourse.networks import (
    Bounds,
    CategoricalActor,
    GaussianActor,
    SquashedActor,
    TwinQ,
    mlp,
    polyak_update,
)
from pgcourse.optim import Adam, clip_grad_norm_, no_subnormals


def test_gumbel_noise_draws_from_the_softmax():
    torch.manual_seed(0)
    actor = CategoricalActor(2, 3, (8,))
    nn.init.normal_(actor.net[-1].weight)
    obs = torch.randn(1, 2)
    act = actor.act(obs.expand(40_000, 2))
    frequency = torch.bincount(act, minlength=3) / len(act)
    torch.testing.assert_close(frequency, actor(obs)[0].softmax(-1), atol=0.01, rtol=0)


@pytest.mark.parametrize("kind", ["categorical", "gaussian"])
def test_evaluate_agrees_with_torch_distributions(kind):
    torch.manual_seed(0)
    obs = torch.randn(5, 4, 3)
    if kind == "categorical":
        actor = CategoricalActor(3, 4, (8,))
        dist = torch.distributions.Categorical(logits=actor(obs))
        act = dist.sample()
        logp, ent = dist.log_prob(act), dist.entropy()
    else:
        actor = GaussianActor(3, spaces.Box(-1, 1, (2,)), (8,), log_std=-0.7)
        dist = torch.distributions.Normal(actor(obs), actor.log_std.exp())
        act = dist.sample()
        logp, ent = dist.log_prob(act).sum(-1), dist.entropy().sum(-1)
    got_logp, got_ent = actor.evaluate(obs, act)
    torch.testing.assert_close(got_logp, logp)
    torch.testing.assert_close(got_ent, ent)


def test_deterministic_actions_are_the_mode():
    torch.manual_seed(0)
    obs = torch.randn(6, 3)
    actor = CategoricalActor(3, 4, (8,))
    assert torch.equal(actor.act(obs, deterministic=True), actor(obs).argmax(-1))
    squashed = SquashedActor(3, spaces.Box(-1, 1, (2,)), (8,))
    assert torch.equal(squashed.act(obs, deterministic=True), squashed(obs)[0].tanh())


def test_squashed_sample_agrees_with_a_transformed_distribution():
    torch.manual_seed(0)
    obs = torch.randn(6, 3)
    actor = SquashedActor(3, spaces.Box(-1, 1, (2,)), (8,))
    act, logp = actor.sample(obs, actor.noise((6,)))
    mean, log_std = actor(obs)
    dist = torch.distributions.TransformedDistribution(
        torch.distributions.Normal(mean, log_std.exp()),
        torch.distributions.TanhTransform(cache_size=0),
    )
    torch.testing.assert_close(logp, dist.log_prob(act).sum(-1), atol=1e-3, rtol=1e-3)
    assert torch.autograd.grad(act.sum(), actor.net[-1].weight)[0].abs().sum() > 0


def test_bounds_map_to_the_box_and_clip():
    low, high = np.array([[0, -2, -np.inf], [10, 2, np.inf]], dtype=np.float32)
    space = spaces.Box(low, high)
    act = torch.tensor([[-1.0, 1.0, 5.0], [0.0, 3.0, -5.0]])
    np.testing.assert_allclose(Bounds(space).to_env(act), [[0, 2, 5], [5, 2, -5]])


def test_discrete_actions_that_do_not_start_at_zero():
    actor = CategoricalActor(2, 3, (4,), start=-1)
    assert actor.to_env(torch.tensor([0, 1, 2])).tolist() == [-1, 0, 1]


def test_twin_q_is_two_separate_networks():
    """The batched evaluation against a plain loop over layers; the twins share no gradient."""
    torch.manual_seed(0)
    critic, obs, act = TwinQ(3, 2, (8, 8)), torch.randn(7, 3), torch.randn(7, 2)
    q = critic(obs, act)
    for twin in (0, 1):
        x = torch.cat([obs, act], 1)
        for i, (weight, bias) in enumerate(zip(critic.weights, critic.biases, strict=True)):
            x = x @ weight[twin] + bias[twin]
            x = x.relu() if i < 2 else x
        torch.testing.assert_close(q[twin], x[:, 0])
    assert not torch.allclose(q[0], q[1])
    q[0].sum().backward()
    assert critic.weights[0].grad[0].abs().sum() > 0 and critic.weights[0].grad[1].abs().sum() == 0


def test_polyak_update_follows_the_closed_form():
    """k updates toward a constant leave (1 - tau)^k of the distance."""
    torch.manual_seed(0)
    online = nn.Sequential(nn.Linear(3, 4), nn.BatchNorm1d(4))
    target = copy.deepcopy(online)
    for x in [*online.parameters(), *online.buffers()]:
        x.data += 3 if x.is_floating_point() else 5
    before = copy.deepcopy(target)
    for _ in range(10):
        polyak_update(target, online, 0.1)
    for was, now, aim in zip(
        before.state_dict().values(),
        target.state_dict().values(),
        online.state_dict().values(),
        strict=True,
    ):
        if now.is_floating_point():
            torch.testing.assert_close(now - aim, 0.9**10 * (was - aim))
            assert now.data_ptr() != aim.data_ptr()
        else:
            assert now == aim


def test_orthogonal_initialization():
    net = mlp([4, 16, 2], last_gain=0.01)
    weight = net[0].weight.data
    torch.testing.assert_close(weight.T @ weight, 2 * torch.eye(4), atol=1e-5, rtol=0)
    assert net[-1].weight.abs().max() <= 0.01


def one_group(net):
    return net.parameters()


def two_groups(net):
    return [{"params": net[0].parameters()}, {"params": net[2].parameters(), "lr": 0.02}]


@pytest.mark.parametrize("groups", [one_group, two_groups])
def test_adam_equals_torch_adam(groups):
    torch.manual_seed(0)
    ours = mlp([3, 8, 2])
    theirs = copy.deepcopy(ours)
    optimizers = Adam(groups(ours), 3e-3), torch.optim.Adam(groups(theirs), 3e-3)
    for step in range(50):
        x = torch.randn(16, 3) * 10 ** (step % 4 - 2)
        for net, optimizer in zip((ours, theirs), optimizers, strict=True):
            optimizer.zero_grad()
            net(x).square().mean().backward()
            optimizer.step()
    for a, b in zip(ours.parameters(), theirs.parameters(), strict=True):
        torch.testing.assert_close(a, b, atol=2e-6, rtol=1e-4)


@pytest.mark.parametrize("max_norm", [0.1, 1e3])
def test_the_clip_equals_torchs(max_norm):
    torch.manual_seed(0)
    ours = mlp([3, 8, 2])
    theirs = copy.deepcopy(ours)
    for net in (ours, theirs):
        net(torch.ones(16, 3)).square().sum().backward()
        net[0].bias.grad = None
    norm = clip_grad_norm_(ours.parameters(), max_norm)
    assert math.isclose(norm, nn.utils.clip_grad_norm_(theirs.parameters(), max_norm), rel_tol=1e-5)
    assert 0.1 < norm < 1e3
    for a, b in zip(ours.parameters(), theirs.parameters(), strict=True):
        assert (a.grad is None) == (b.grad is None)
        if a.grad is not None:
            torch.testing.assert_close(a.grad, b.grad, atol=1e-6, rtol=1e-4)


def test_adam_restores_its_state():
    torch.manual_seed(0)
    net, x = mlp([3, 8, 2]), torch.randn(16, 3)
    optimizer = Adam(net.parameters(), 1e-2)

    def step(net, optimizer):
        optimizer.zero_grad()
        net(x).square().mean().backward()
        optimizer.step()

    step(net, optimizer)
    again = mlp([3, 8, 2])
    other = Adam(again.parameters(), 1.0)
    again.load_state_dict(net.state_dict())
    other.load_state_dict(optimizer.state_dict())
    step(net, optimizer)
    step(again, other)
    for a, b in zip(net.parameters(), again.parameters(), strict=True):
        assert torch.equal(a, b)
    assert math.isclose(other.lr, 1e-2)


def test_moments_that_fade_become_zero_and_not_subnormal():
    def subnormal_after_a_thousand_steps_without_gradient():
        x = nn.Parameter(torch.ones(3))
        optimizer = Adam([x], 1e-3)
        x.grad = torch.ones(3)
        optimizer.step()
        x.grad.zero_()
        for _ in range(1000):
            optimizer.step()
        # read as bits: where they count as 0, they also compare as 0
        bits = torch.cat(optimizer.m[0]).view(torch.int32)
        return ((bits != 0) & (bits & 0x7F800000 == 0)).any().item()

    assert subnormal_after_a_thousand_steps_without_gradient()
    with no_subnormals():
        assert not subnormal_after_a_thousand_steps_without_gradient()
    assert torch.tensor(1e-38) / 10 > 0
