"""The losses of lessons 2 to 7: gradients by finite differences and by hand, bounds, known optima."""

import math

import pytest
import torch

from pgcourse import losses
from pgcourse.estimators import (
    grpo_advantages,
    kl_shaped_rewards,
    rlhf_advantages,
    rloo_advantages,
    soft_q_target,
)

F64 = torch.float64


def numbers(*shape, seed=0):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=F64)


def slope(f, x, h=1e-6):
    """df/dx by central differences, element by element."""
    out = torch.zeros_like(x)
    for i in range(x.numel()):
        e = torch.zeros(x.numel(), dtype=x.dtype)
        e[i] = h
        out.view(-1)[i] = (f(x + e.view_as(x)) - f(x - e.view_as(x))) / (2 * h)
    return out


@pytest.mark.parametrize(
    "loss",
    [
        lambda x: losses.reinforce_loss(x, numbers(6, seed=1)),
        lambda x: losses.policy_gradient_loss(x, numbers(6, seed=1), numbers(6, seed=2) > 0),
        lambda x: losses.actor_loss(x, numbers(6, seed=1)),
        lambda x: losses.value_regression_loss(x, numbers(6, seed=1)),
        lambda x: losses.critic_loss(x, numbers(6, seed=1)),
        lambda x: losses.ppo_clip_loss(x, numbers(6, seed=1), numbers(6, seed=2), 0.2),
        lambda x: losses.clipped_value_loss(x, numbers(6, seed=1), numbers(6, seed=2), 0.3),
        lambda x: losses.approx_kl(x, numbers(6, seed=1)),
        lambda x: losses.sac_critic_loss(x, 2 * x, numbers(6, seed=1)),
        lambda x: losses.sac_actor_loss(x, 1.5 * x, numbers(6, seed=1), 0.2),
        lambda x: losses.bradley_terry_loss(x, numbers(6, seed=1)),
        lambda x: losses.dpo_loss(x, *(numbers(6, seed=s) for s in (1, 2, 3)), 0.3),
    ],
)
def test_autograd_agrees_with_finite_differences(loss):
    x = numbers(6).requires_grad_()
    (grad,) = torch.autograd.grad(loss(x), x)
    assert torch.allclose(grad, slope(loss, x.detach()), atol=1e-7)
    assert grad.any()


def test_ppo_gradient_is_zero_exactly_where_the_clip_binds():
    """Four corners by hand: (ratio above, below) × (advantage > 0, < 0), and two inside."""
    rho = torch.tensor([1.5, 1.5, 0.5, 0.5, 1.1, 0.9], dtype=F64)
    adv = torch.tensor([1.0, -1.0, 1.0, -1.0, 1.0, -1.0], dtype=F64)
    logp = rho.log().requires_grad_()
    loss = losses.ppo_clip_loss(logp, torch.zeros(6, dtype=F64), adv, 0.2)
    (grad,) = torch.autograd.grad(loss, logp)
    # above and good: bound; above and bad: pulled back; below and good: pulled back; below and bad: bound
    assert torch.allclose(-6 * grad, torch.tensor([0, -1.5, 0.5, 0, 1.1, -0.9], dtype=F64))
    by_hand = -(1.2 - 1.5 + 0.5 - 0.8 + 1.1 - 0.9) / 6
    assert loss.item() == pytest.approx(by_hand)


def test_ppo_is_the_policy_gradient_at_ratio_one():
    logp, adv = -numbers(8).abs(), numbers(8, seed=1)
    a, b = logp.clone().requires_grad_(), logp.clone().requires_grad_()
    losses.ppo_clip_loss(a, logp, adv, 0.2).backward()
    losses.policy_gradient_loss(b, adv).backward()
    assert torch.allclose(a.grad, b.grad)
    assert (losses.probability_ratio(logp, logp) == 1).all()


def test_k3_is_never_negative_and_has_the_kl_as_its_mean():
    """Over all actions of a small distribution: E_old[k3] = KL(old || new), exactly."""
    old, new = torch.log_softmax(numbers(5), 0), torch.log_softmax(numbers(5, seed=1), 0)
    k3 = torch.stack([losses.approx_kl(new[i : i + 1], old[i : i + 1]) for i in range(5)])
    assert (k3 >= 0).all()
    exact = (old.exp() * (old - new)).sum()
    assert torch.allclose((old.exp() * k3).sum(), exact)


def test_a_value_loss_without_a_window_is_the_squared_error():
    old, ret, mask = numbers(6, seed=1), numbers(6, seed=2), torch.arange(6) < 4
    val = numbers(6).requires_grad_()
    losses.clipped_value_loss(val, old, ret, math.inf, mask).backward()
    torch.testing.assert_close(val.grad, 2 * (val.detach() - ret) / 4 * mask)


def test_clipped_value_loss_has_no_pull_beyond_the_window():
    val = torch.tensor([2.0], dtype=F64, requires_grad=True)
    old, ret = torch.tensor([0.0], dtype=F64), torch.tensor([5.0], dtype=F64)
    loss = losses.clipped_value_loss(val, old, ret, 0.5)
    loss.backward()
    assert loss.item() == (0.5 - 5) ** 2 and val.grad.item() == 0


def test_the_best_soft_policy_is_a_fixed_point_of_the_soft_target():
    """One state, two actions: pi = softmax(Q / alpha) gives V = alpha log sum exp(Q / alpha)."""
    Q, alpha = torch.tensor([1.0, 2.0], dtype=F64), 0.7
    logp = torch.log_softmax(Q / alpha, 0)
    zero, no = torch.zeros(2, dtype=F64), torch.zeros(2, dtype=torch.bool)
    soft = soft_q_target(zero, Q, Q + 1, logp, no, 1.0, alpha)
    assert torch.allclose(soft, (alpha * torch.logsumexp(Q / alpha, 0)).expand(2))
    assert (soft_q_target(zero + 3, Q, Q, logp, ~no, 0.9, alpha) == 3).all()


def test_sac_actor_loss_is_least_at_the_boltzmann_policy():
    Q, alpha = torch.tensor([1.0, 2.0, 0.5], dtype=F64), 0.5

    def loss(theta):
        logp = torch.log_softmax(theta, 0)
        per_action = [losses.sac_actor_loss(logp[i], Q[i], Q[i] + 1, alpha) for i in range(3)]
        return (logp.exp() * torch.stack(per_action)).sum()

    best = loss(Q / alpha)
    assert all(best < loss(Q / alpha + 0.1 * numbers(3, seed=s)) for s in range(5))


def test_temperature_rises_while_the_policy_is_less_random_than_asked():
    for entropy, rises in [(-3.0, True), (0.5, False)]:
        log_alpha = torch.tensor(0.2, dtype=F64, requires_grad=True)
        losses.temperature_loss(log_alpha, torch.full((9,), -entropy, dtype=F64), -1.0).backward()
        assert (log_alpha.grad < 0) == rises


def test_bradley_terry_recovers_known_preferences():
    """Votes at rate sigmoid(1.2): the loss is least at a margin of 1.2."""
    p = 1 / (1 + math.exp(-1.2))

    def mean_loss(m):
        margin, zero = torch.tensor([m], dtype=F64), torch.zeros(1, dtype=F64)
        wins = losses.bradley_terry_loss(margin, zero)
        return (p * wins + (1 - p) * losses.bradley_terry_loss(zero, margin)).item()

    assert mean_loss(1.2) < min(mean_loss(1.1), mean_loss(1.3))
    assert losses.bradley_terry_loss(torch.tensor([-1e4]), torch.zeros(1)).item() == 1e4


def test_dpo_is_least_where_the_policy_is_the_tilted_reference():
    """pi* = pi_ref exp(r / beta) / Z makes DPO's margin the reward difference, so DPO = Bradley–Terry."""
    ref, r, beta = torch.log_softmax(numbers(4), 0), numbers(4, seed=1), 0.4
    star = torch.log_softmax(ref + r / beta, 0)
    i, j = torch.tensor([0, 1, 2]), torch.tensor([3, 2, 0])
    dpo = losses.dpo_loss(star[i], star[j], ref[i], ref[j], beta)
    assert torch.allclose(dpo, losses.bradley_terry_loss(r[i], r[j]))


def test_shaped_rewards_sum_to_score_minus_beta_kl_sample():
    mask = torch.tensor([[False, True, True, False], [True, True, True, True]])
    logp, ref, score = -numbers(2, 4).abs(), -numbers(2, 4, seed=1).abs(), numbers(2, seed=2)
    rew = kl_shaped_rewards(score, logp, ref, mask, 0.3)
    right = score - 0.3 * ((logp - ref) * mask).sum(1)
    assert torch.allclose(rew.sum(1), right) and (rew[~mask] == 0).all()
    assert rew[0, 2] - -0.3 * (logp - ref)[0, 2] == pytest.approx(score[0].item())


def test_rlhf_advantages_with_lambda_one_are_rewards_to_go_minus_values():
    mask = torch.tensor([[False, True, True, False], [True, True, True, True]])
    rew, val = numbers(2, 4) * mask, numbers(2, 4, seed=1)
    adv = rlhf_advantages(rew, val, mask, 1.0, 1.0)
    to_go = rew.flip(1).cumsum(1).flip(1)
    assert torch.allclose(adv[mask], (to_go - val)[mask]) and (adv[~mask] == 0).all()


def test_group_advantages_by_hand():
    score = torch.tensor([[1.0, 5.0], [3.0, 5.0], [5.0, 5.0]])
    assert rloo_advantages(score).tolist() == [[-3.0, 0.0], [0.0, 0.0], [3.0, 0.0]]
    z = math.sqrt(1.5)
    assert torch.allclose(grpo_advantages(score)[:, 0], torch.tensor([-z, 0.0, z]))


def test_equal_scores_have_no_advantage_however_they_round():
    """With K = 7 the mean of seven equal float32 numbers is often not that number."""
    score = torch.rand(1, 500, generator=torch.Generator().manual_seed(0)).repeat(7, 1)
    assert (score.mean(dim=0) != score[0]).any()
    assert not grpo_advantages(score).any()


@pytest.mark.parametrize(
    "call",
    [
        lambda x, y: losses.reinforce_loss(x, y),
        lambda x, y: losses.actor_loss(x, y),
        lambda x, y: losses.critic_loss(x, y),
        lambda x, y: losses.ppo_clip_loss(x, x, y, 0.2),
        lambda x, y: losses.sac_critic_loss(x, x, y),
        lambda x, y: losses.bradley_terry_loss(x, y),
        lambda x, y: losses.clipped_value_loss(x, x, y, 0.2),
    ],
)
def test_nothing_broadcasts(call):
    with pytest.raises(ValueError, match="one shape"):
        call(torch.zeros(4), torch.zeros(4, 1))


def test_padding_of_nan_reaches_neither_the_loss_nor_the_gradient():
    logp = torch.tensor([[-1.0, -2.0], [-0.5, float("nan")]], requires_grad=True)
    adv = torch.tensor([[1.0, float("nan")], [2.0, float("inf")]])
    loss = losses.policy_gradient_loss(logp, adv, torch.tensor([[True, False], [True, False]]))
    (grad,) = torch.autograd.grad(loss, logp)
    assert loss.item() == 1.0
    assert grad.tolist() == [[-0.5, 0.0], [-1.0, 0.0]]


@pytest.mark.parametrize(
    "loss",
    [
        lambda x, y, z, m: losses.policy_gradient_loss(x, y, m),
        lambda x, y, z, m: losses.ppo_clip_loss(x, x.detach() + 0.01, z, 0.2, m),
        lambda x, y, z, m: losses.clipped_value_loss(x, y, z, 0.2, m),
        lambda x, y, z, m: losses.approx_kl(x, y, m),
    ],
)
def test_padding_of_nan_reaches_no_gradient(loss):
    mask = torch.tensor([True, True, False, False])
    x, y, z = (torch.where(mask, numbers(4, seed=s), float("nan")) for s in (0, 1, 2))
    x.requires_grad_()
    loss(x, y, z, mask).backward()
    assert x.grad.isfinite().all() and x.grad[:2].any() and not x.grad[2:].any()
