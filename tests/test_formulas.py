"""The formulas of lessons 1 to 4 against different algebra: enumeration, autograd, the definition, hand numbers."""

import math

import pytest
import torch

from pgcourse.distributions import (
    categorical_logp,
    entropy,
    gaussian_logp,
    grad_log_softmax,
    softmax,
    squashed_gaussian_logp,
    token_logp,
)
from pgcourse.estimators import (
    discounted_returns,
    episodes_needed,
    gae,
    gradient_variance,
    leave_one_out_baseline,
    normalize_advantage,
    optimal_baseline,
    reinforce_surrogate_gradient,
    score_function_gradient,
    score_step,
    standard_error,
    td_target,
    variance_ratio,
    with_baseline,
)
from pgcourse.mdp import (
    MDP,
    action_values,
    corridor,
    enumerate_episodes,
    episodic_mdp,
    exact_policy_gradient,
    expected_return,
    occupancy,
    random_mdp,
    sample_episodes,
    state_values,
)
from pgcourse.tensors import masked_mean, same_shape

F64 = torch.float64


def table(*shape, seed=0):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=F64)


# --- tensors ---


def test_same_shape_says_what_came():
    with pytest.raises(ValueError, match=r"a \[3\], b \[3, 1\]"):
        same_shape(a=torch.zeros(3), b=torch.zeros(3, 1))
    same_shape(a=torch.zeros(3), b=None)


def test_masked_mean_ignores_what_is_masked():
    x = torch.tensor([1.0, float("inf"), 3.0])
    assert masked_mean(x, torch.tensor([True, False, True])) == 2
    with pytest.raises(ValueError, match="at least one"):
        masked_mean(x, torch.zeros(3, dtype=torch.bool))


# --- the worked example of the cheatsheet ---


def test_the_worked_example():
    after = score_step(torch.zeros(2), 0, 2.0, 0.1)
    assert torch.allclose(after, torch.tensor([0.1, -0.1]))
    assert softmax(after)[0].item() == pytest.approx(1.1051709 / 2.0100083, abs=1e-6)
    assert round(softmax(after)[0].item(), 2) == 0.55


# --- distributions ---


def test_score_is_the_finite_difference_of_log_pi_and_averages_to_zero():
    theta, h = table(4), 1e-6
    for a in range(4):
        steps = h * torch.eye(4, dtype=F64)
        rise = [
            (softmax(theta + e)[a].log() - softmax(theta - e)[a].log()) / (2 * h) for e in steps
        ]
        assert torch.allclose(grad_log_softmax(theta, a), torch.stack(rise), atol=1e-8)
    mean = sum(softmax(theta)[a] * grad_log_softmax(theta, a) for a in range(4))
    assert mean.abs().max() < 1e-15


def test_squashed_gaussian_is_a_density_on_the_interval():
    """Its integral over (-1, 1) is 1, and it matches torch's change of variables."""
    a = torch.linspace(-1, 1, 400_001, dtype=F64)[1:-1]
    u = torch.atanh(a).unsqueeze(1)
    mean, log_std = torch.full_like(u, 0.3), torch.full_like(u, -0.4)
    density = squashed_gaussian_logp(mean, log_std, u).exp()
    assert torch.trapezoid(density, a).item() == pytest.approx(1, abs=1e-4)
    from torch.distributions import Normal, TanhTransform, TransformedDistribution

    torch_density = TransformedDistribution(Normal(0.3, math.exp(-0.4)), TanhTransform())
    assert torch.allclose(density[::1000].log(), torch_density.log_prob(a[::1000]), atol=1e-6)


def test_squashed_gaussian_is_finite_where_tanh_saturates():
    u = torch.tensor([[-200.0], [200.0]], requires_grad=True)
    logp = squashed_gaussian_logp(torch.zeros(2, 1), torch.zeros(2, 1), u)
    logp.sum().backward()
    assert logp.isfinite().all() and u.grad.isfinite().all()


def test_gaussian_and_categorical_logp_against_torch_distributions():
    mean, log_std, act = table(5, 3), table(5, 3, seed=1), table(5, 3, seed=2)
    right = torch.distributions.Normal(mean, log_std.exp()).log_prob(act).sum(-1)
    assert torch.allclose(gaussian_logp(mean, log_std, act), right)
    act = torch.arange(5) % 3
    right = torch.distributions.Categorical(logits=mean).log_prob(act)
    assert torch.allclose(categorical_logp(mean, act), right)


def test_entropy_of_uniform_and_sure_policies():
    assert entropy(torch.zeros(6, 8)).item() == pytest.approx(math.log(8))
    assert entropy(torch.tensor([[1000.0, 0.0]])).item() == 0


def test_token_logp_multiplies_to_the_probability_of_the_text():
    """Summed over all texts of three tokens, the probabilities given the first token are 1."""
    V, logits = 4, table(1, 3, 4)
    total = 0
    for a in range(V):
        for b in range(V):
            logp = token_logp(logits, torch.tensor([[2, a, b]]))
            assert logp[0, 0] == 0
            total += logp.sum().exp()
    assert total.item() == pytest.approx(1)


# --- the oracle ---


def test_values_by_enumeration_and_by_hand():
    mdp = MDP(
        torch.tensor([[[0.0, 1.0], [0.0, 0.0]], [[0.0, 0.0], [0.0, 0.0]]], dtype=F64),
        torch.tensor([[1.0, 5.0], [2.0, 4.0]], dtype=F64),
        torch.tensor([1.0, 0.0], dtype=F64),
        0.5,
    )
    pi = torch.full((2, 2), 0.5, dtype=F64)
    # the second state is worth (2 + 4) / 2 = 3, and action 0 leads there: 1 + 0.5 * 3
    assert action_values(mdp, pi).tolist() == [[2.5, 5.0], [2.0, 4.0]]
    mdp = episodic_mdp(S=4, A=2, gamma=0.8, seed=3)
    pi = softmax(table(4, 2))
    J = sum(
        p * sum(mdp.gamma**t * r for t, r in enumerate(rewards))
        for p, _, _, rewards in enumerate_episodes(mdp, pi, 4)
    )
    assert torch.allclose(J, mdp.start @ state_values(mdp, pi))


def test_occupancy_is_the_sum_over_time():
    mdp, pi = random_mdp(seed=2), softmax(table(5, 3))
    P_pi, visits, total = torch.einsum("sa,sap->sp", pi, mdp.P), mdp.start, 0
    for t in range(600):
        total, visits = total + mdp.gamma**t * visits, visits @ P_pi
    assert torch.allclose(occupancy(mdp, pi), total)


@pytest.mark.parametrize("make", [random_mdp, episodic_mdp])
def test_three_roads_to_the_gradient(make):
    mdp, theta = make(5, 3, gamma=0.9, seed=7), table(5, 3).requires_grad_()
    (by_autograd,) = torch.autograd.grad(expected_return(mdp, theta), theta)
    theta = theta.detach()
    assert torch.allclose(exact_policy_gradient(mdp, theta), by_autograd, atol=1e-12)
    h = 1e-5
    for s, a in [(0, 0), (2, 1), (4, 2)]:
        nudge = torch.zeros_like(theta)
        nudge[s, a] = h
        slope = (expected_return(mdp, theta + nudge) - expected_return(mdp, theta - nudge)) / (
            2 * h
        )
        assert abs(slope - by_autograd[s, a]) < 1e-8


def test_a_bad_mdp_is_refused():
    with pytest.raises(ValueError, match="at most 1"):
        MDP(torch.ones(2, 1, 2), torch.zeros(2, 1), torch.tensor([1.0, 0.0]), 0.9)
    with pytest.raises(ValueError, match=r"expected P \[S, A, S\]"):
        MDP(torch.ones(2, 2), torch.zeros(2, 1), torch.tensor([1.0, 0.0]), 0.9)
    with pytest.raises(ValueError, match="one goes on"):
        list(enumerate_episodes(random_mdp(), softmax(table(5, 3)), 2))


def test_sampled_episodes_come_as_often_as_enumeration_says():
    mdp, pi = corridor(length=3, slip=0.3), torch.full((3, 2), 0.5, dtype=F64)
    lengths = [0.0] * 4
    for p, states, _, _ in enumerate_episodes(mdp, pi, 3):
        lengths[len(states)] += p.item()
    n = 4000
    drawn = sample_episodes(mdp, pi, n, torch.Generator().manual_seed(0))
    for T in (1, 2, 3):
        share = sum(len(r) == T for _, _, r in drawn) / n
        assert share == pytest.approx(lengths[T], abs=4 * (0.25 / n) ** 0.5)


# --- estimators ---


def test_estimates_are_unbiased_by_enumeration():
    """Expectation over every possible outcome, not over samples: no tolerance for luck."""
    theta, pays = table(3), torch.tensor([1.0, -2.0, 0.5], dtype=F64)
    pi = softmax(theta)
    pairs = [(a, b) for a in range(3) for b in range(3)]
    mean = sum(
        pi[a] * pi[b] * score_function_gradient(theta, torch.tensor([a, b]), pays[[a, b]])
        for a, b in pairs
    )
    leaf = theta.clone().requires_grad_()
    (right,) = torch.autograd.grad(torch.softmax(leaf, 0) @ pays, leaf)
    assert torch.allclose(mean, right)

    mdp, theta = episodic_mdp(S=4, A=2, gamma=0.7, seed=5), table(4, 2)
    episodes = enumerate_episodes(mdp, softmax(theta), 4)
    mean = sum(p * reinforce_surrogate_gradient(theta, [e], mdp.gamma) for p, *e in episodes)
    assert torch.allclose(mean, exact_policy_gradient(mdp, theta), atol=1e-12)


def test_returns_by_hand():
    rew, ended = torch.tensor([1.0, 2.0, 3.0, 4.0]), torch.tensor([False, True, False, False])
    assert discounted_returns(rew, ended, 0.5).tolist() == [2.0, 2.0, 5.0, 4.0]
    assert discounted_returns(rew, ended, 0.5, last_val=8.0).tolist() == [2.0, 2.0, 7.0, 8.0]


def test_gae_is_the_weighted_sum_of_n_step_advantages():
    """The definition: (1 - lam) sum_n lam^(n-1) A^(n), on one endless stretch; lambda 0 and 1 at its ends."""
    T, gamma, lam = 400, 0.9, 0.7
    rew, val, next_val = table(T), table(T, seed=1), None
    next_val = torch.cat([val[1:], table(1, seed=2)])
    no = torch.zeros(T, dtype=torch.bool)
    adv = gae(rew, val, next_val, no, no, gamma, lam)
    t, total = 3, 0.0
    for n in range(1, T - t):
        n_step = sum(gamma**k * rew[t + k] for k in range(n)) + gamma**n * val[t + n] - val[t]
        total += (1 - lam) * lam ** (n - 1) * n_step
    assert adv[t].item() == pytest.approx(total.item(), abs=1e-9)
    assert torch.allclose(gae(rew, val, next_val, no, no, gamma, 0.0), rew + gamma * next_val - val)
    monte_carlo = discounted_returns(rew, no, gamma, last_val=next_val[-1]) - val
    assert torch.allclose(gae(rew, val, next_val, no, no, gamma, 1.0), monte_carlo)


def test_gae_with_true_values_has_the_advantage_as_its_mean():
    """With V exact, delta is an unbiased estimate of Q - V for every lambda: by enumeration."""
    mdp, theta = episodic_mdp(S=3, A=2, gamma=0.9, seed=1), table(3, 2)
    pi = softmax(theta)
    Q, V = action_values(mdp, pi), state_values(mdp, pi)
    for lam in (0.0, 0.5, 1.0):
        mean = torch.zeros(3, 2, dtype=F64)
        weight = torch.zeros(3, 2, dtype=F64)
        for p, s, a, r in enumerate_episodes(mdp, pi, 3):
            val = V[s]
            next_val = torch.cat([val[1:], torch.full((1,), 99.0, dtype=F64)])
            last = torch.zeros(len(s), dtype=torch.bool)
            last[-1] = True
            adv = gae(r, val, next_val, last, last, mdp.gamma, lam)
            mean[s[0], a[0]] += p * adv[0]
            weight[s[0], a[0]] += p
        seen = weight > 0
        assert torch.allclose((mean / weight)[seen], (Q - V.unsqueeze(1))[seen])


def test_truncation_still_bootstraps_and_termination_does_not():
    rew, val, nxt = torch.tensor([1.0]), torch.tensor([2.0]), torch.tensor([10.0])
    yes, no = torch.tensor([True]), torch.tensor([False])
    assert gae(rew, val, nxt, no, yes, 0.5, 0.9).item() == 1 + 5 - 2
    assert gae(rew, val, nxt, yes, yes, 0.5, 0.9).item() == 1 - 2
    assert td_target(rew, nxt, no, 0.5).item() == 6
    assert td_target(rew, nxt, yes, 0.5).item() == 1


def test_variance_and_its_price_on_a_known_distribution():
    """Rademacher samples of P parameters: V = P exactly, and the mean of N errs by sqrt(P / N)."""
    g = torch.Generator().manual_seed(0)
    grads = (2.0 * torch.randint(2, (20_000, 5), generator=g) - 1).double()
    assert gradient_variance(grads).item() == pytest.approx(5, rel=0.01)
    assert standard_error(grads).item() == pytest.approx(math.sqrt(5 / 20_000), rel=0.01)
    assert episodes_needed(5.0, 0.1) == 500
    small = torch.tensor([[0.0], [2.0]])
    assert gradient_variance(small).item() == 2


def test_leave_one_out_is_unbiased_and_the_optimal_baseline_is_optimal():
    theta, pays = table(3), torch.tensor([1.0, -2.0, 0.5], dtype=F64)
    pi = softmax(theta)
    scores = torch.stack([grad_log_softmax(theta, a) for a in range(3)])
    leaf = theta.clone().requires_grad_()
    (right,) = torch.autograd.grad(torch.softmax(leaf, 0) @ pays, leaf)
    mean = 0
    for a in range(3):
        for b in range(3):
            ret = pays[[a, b]].unsqueeze(1)
            adv = ret - leave_one_out_baseline(ret)
            mean = mean + pi[a] * pi[b] * (adv * scores[[a, b]]).mean(0)
    assert torch.allclose(mean, right)

    n = 200_000
    drawn = torch.multinomial(pi, n, replacement=True, generator=torch.Generator().manual_seed(0))
    best = optimal_baseline(scores[drawn], pays[drawn]).item()

    def variance(b):
        return sum(pi[a] * ((pays[a] - b) * scores[a]).square().sum() for a in range(3)).item()

    assert variance(best) <= min(variance(best + d) for d in (-0.1, 0.1))
    assert with_baseline(pays, torch.ones(3, dtype=F64)).tolist() == [0.0, -3.0, -0.5]


def test_variance_ratio_is_that_of_a_known_distribution():
    """Two equally likely actions, scores +-1/2, return 5 or 4: Var(R score) by hand, with b = 4.5 none left."""
    scores, ret = torch.tensor([[0.5], [-0.5]], dtype=F64), torch.tensor([5.0, 4.0], dtype=F64)
    drawn = torch.arange(2).repeat(500)
    for b, spread in [(4.5, 0.0), (4.0, 0.25), (5.0, 0.25), (0.0, 2.25), (-4.5, 4.5)]:
        ratio = variance_ratio(scores[drawn], ret[drawn], torch.full((1000,), b, dtype=F64))
        assert ratio.item() == pytest.approx((spread / 2.25) ** 2)


def test_normalized_advantages_have_mean_zero_and_spread_one():
    adv = 3 * table(7, 4) + 2
    mask = table(7, 4, seed=1) > 0
    out = normalize_advantage(adv, mask)
    assert out[mask].mean().abs() < 1e-12
    assert out[mask].square().mean().item() == pytest.approx(1)
    assert (out[~mask] == 0).all()


@pytest.mark.parametrize("value, n", [(0.1, 7), (37.7, 30), (-1e6 / 3, 4096), (2.0, 5), (0.3, 1)])
def test_equal_advantages_normalize_to_exactly_zero(value, n):
    """Whatever their size: the float32 mean of 30 times 37.7 is not 37.7, and 1e-8 is less than that."""
    equal = torch.full((n,), value)
    assert (normalize_advantage(equal) == 0).all()
    wide = torch.stack([equal, torch.full((n,), float("nan"))])
    mask = torch.tensor([[True], [False]]).expand(2, n)
    assert (normalize_advantage(wide, mask) == 0).all()
