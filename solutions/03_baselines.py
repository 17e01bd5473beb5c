# ---
# jupyter:
#   jupytext:
#     text_representation:
#       extension: .py
#       format_name: percent
# ---

# %% [markdown]
# # 3 · Baselines and the advantage
#
# An exam gives you 70 points. Is that good? It depends on what you expected. REINFORCE does not
# ask: it multiplies each score by the plain return. In a game where every step pays, it therefore
# pushes *every* action up, and only the small differences between large pushes teach anything.
# Lesson 2 measured what that costs: variance, paid for in episodes.
#
# This lesson subtracts the expectation. The mean of the gradient estimate does not change at all; its
# variance can fall by a factor of ten or more.
#
# **You will be able to**
#
# - prove that a baseline leaves the gradient's mean alone, and check it up to rounding,
# - measure what a baseline buys as a ratio of variances, and turn it into episodes,
# - derive the best constant baseline, and the baseline that needs no network at all,
# - recognize a "baseline" that looks at the action, and show what it does to training,
# - train a value network beside the policy, and learn CartPole in fewer steps.
#
# **You need** lessons 1 and 2. About 80 minutes; training and measuring near the end take about a minute,
# every other cell a few seconds.
#
# | Exercise | Minutes | Difficulty |
# |---|---|---|
# | `with_baseline` | 5 | ● |
# | `variance_ratio` | 8 | ●● |
# | `optimal_baseline` | 10 | ●● |
# | `leave_one_out_baseline` | 8 | ●● |
# | `value_regression_loss` | 4 | ● |
# | `policy_gradient_loss` | 10 | ●● |
# | `normalize_advantage` | 12 | ●●● |
# | `quiz_baselines` | 5 | ● |

# %% tags=["setup"]
import matplotlib.pyplot as plt
import torch

from pgcourse import estimators, fast, networks, plots, reinforce, simplex
from pgcourse.bets import ask_again, bet, settle
from pgcourse.checks import check
from pgcourse.estimators import discounted_returns, gradient_variance
from pgcourse.mdp import (
    MDP,
    action_values,
    enumerate_episodes,
    exact_policy_gradient,
    state_values,
)
from pgcourse.own_agent import check_agent
from pgcourse.recall import recall
from pgcourse.record import explained_variance
from pgcourse.rollout import Collector, evaluate
from pgcourse.tensors import same_shape

plots.style()

# %% [markdown]
# <details><summary>Names from the package that you will meet</summary>
#
# | name | what it is |
# |---|---|
# | `MDP`, `state_values`, `action_values`, `exact_policy_gradient`, `enumerate_episodes` | lesson 1: a small world, $V$, $Q$, $\nabla J$, and the list of its episodes |
# | `discounted_returns` | lesson 2's exercise, from `pgcourse.estimators` |
# | `reinforce` | the training loop of lesson 2 |
# | `networks` | small networks: `Actor` (a policy) and `Critic` (a value) |
# | `Collector(env, n_envs, seed)` | plays `n_envs` copies of an environment side by side and returns what happened: a **rollout**, a dict of tensors `[T, B]` (steps × environments) |
# | `rollout["obs"]`, `["act"]`, `["rew"]`, `["next_obs"]` | what was seen, done, earned, and seen next |
# | `rollout["ended"]` | `True` where an episode was over after this step |
# | `rollout["mask"]` | `False` where a row is no step of the batch (its episode was over, or the environment only started anew): such rows must not count |
# | `evaluate(policy, env, episodes, seed, deterministic)` | plays episodes and returns their returns; `deterministic` takes the most probable action |
# | `explained_variance` | is explained where it is used |
# | `same_shape`, `fast`, `plots`, `check`, `bet`, `settle` | as in lesson 1 |
# | `ask_again`, `recall` | old bets and old questions |
# | `check_agent(lesson)` | judges your own agent, a file `my_agent.py` beside this notebook, by what it does |
# | `simplex` | a policy of three actions in a triangle: `panels` are pictures, `playground` has sliders |
#
# </details>
#
# If some of your bets in the lessons before were far off, here are the two furthest: what do you say now?

# %%
ask_again("03")

# %% [markdown]
# And three questions from lesson 1, to see what is still there. No points; answer before you look anything up.

# %%
recall("03")

# %% [markdown]
# ## The advantage
#
# A **baseline** $b(s)$ is any number that may depend on the state, but not on the action taken there.
# Subtract it from the return before it multiplies the score:
#
# $$\hat g = \sum_t \gamma^t \,\big(G_t - b(s_t)\big)\, \nabla \log \pi_\theta(a_t \mid s_t)$$
#
# Why may we? The part that is new has the expectation
#
# $$\mathbb{E}_{a \sim \pi}\big[\, b(s)\, \nabla \log \pi(a \mid s) \,\big]
#   = b(s) \sum_a \pi(a \mid s)\, \nabla \log \pi(a \mid s)
#   = b(s)\, \nabla \sum_a \pi(a \mid s) = b(s)\, \nabla 1 = 0.$$
#
# The first step takes $b(s)$ out of the sum, which is allowed because it is *the same number for
# every action*. Keep that step in mind: a baseline that looks at the action goes wrong there.
#
# With the value of the state as the baseline, what is left is called the **advantage**: how much
# better the action turned out than the policy does on average from there,
#
# $$A^\pi(s, a) = Q^\pi(s, a) - V^\pi(s), \qquad \hat A_t = G_t - V(s_t).$$
#
# By hand: two actions, $\pi = (0.8,\, 0.2)$, returns 11 and 10. The scores are $(0.2, -0.2)$ and
# $(-0.8, 0.8)$.
#
# | | first action (probability 0.8) | second action (probability 0.2) | mean of the first coordinate |
# |---|---|---|---|
# | plain return | $11 \cdot 0.2 = 2.2$ | $10 \cdot (-0.8) = -8$ | $0.8 \cdot 2.2 - 0.2 \cdot 8 = 0.16$ |
# | minus $V = 10.8$ | $0.2 \cdot 0.2 = 0.04$ | $-0.8 \cdot (-0.8) = 0.64$ | $0.8 \cdot 0.04 + 0.2 \cdot 0.64 = 0.16$ |
#
# The same mean. But without the baseline it is a small difference of large numbers, and one unlucky
# draw points the wrong way; with it, every draw points the right way.
#
# ### Exercise: `with_baseline` (5 minutes, ●)
#
# The values will come from a network that is being trained. No gradient may flow into it from here:
# the policy's loss would push every value *up*, whatever the returns were. (Lesson 4 shows how far.)
#
# <details><summary>Hint 1</summary>
#
# It is one subtraction. Which of the two is worth more if the action turned out well?
#
# </details>
# <details><summary>Hint 2</summary>
#
# `x.detach()` has the same numbers as `x` and no history.
#
# </details>

# %% exercise="pgcourse.estimators.with_baseline"

# %% claim="the_policy_loss_would_push_values_up"
# Without detach() the policy's loss pushes every value up, whatever the returns were.
for trial in range(5):
    draw = torch.Generator().manual_seed(trial)
    some_logp, some_ret = -torch.rand(9, generator=draw), 5 * torch.randn(9, generator=draw)
    free = torch.randn(9, generator=draw).requires_grad_()
    (uphill,) = torch.autograd.grad(-(some_logp * (some_ret - free)).mean(), free)
    assert (uphill < 0).all()  # descent raises all of them
    assert torch.allclose(uphill, some_logp / 9)  # and the returns are not in it
    assert not with_baseline(some_ret, free).requires_grad

# %% [markdown]
# The table again, by your function:

# %%
chance, ret = torch.tensor([0.8, 0.2]), torch.tensor([11.0, 10.0])  # the two actions
first = torch.tensor([1 - 0.8, 0 - 0.8])  # first coordinate of the score of each
value = (chance @ ret).expand(2)

for name, weight in [("plain return", ret), ("minus V", with_baseline(ret, value))]:
    steps = weight * first
    mean = chance @ steps
    spread = (chance @ (steps - mean) ** 2).sqrt()
    print(
        f"{name:13s} steps {steps[0]:6.2f} or {steps[1]:6.2f}   mean {mean:.2f}   spread {spread:.2f}"
    )

# %% [markdown]
# ## Unbiased, up to rounding
#
# The proof is short; check it anyway. Here is an MDP of seven states in which every episode has
# exactly four steps, and each step pays something between 0 and 2, as in games that pay for surviving.
# It is so small that we can list **every possible episode** with its probability, and compute the exact
# mean of any estimate and its exact variance, with nothing sampled.

# %%
generator = torch.Generator().manual_seed(0)
layers = [[0], [1, 2], [3, 4], [5, 6]]  # where you can be at steps 0, 1, 2, 3; then it ends
P = torch.zeros(7, 2, 7, dtype=torch.float64)
for here, after in zip(layers, layers[1:], strict=False):
    for s in here:
        chances = torch.randn(2, len(after), generator=generator, dtype=torch.float64)
        P[s][:, after] = torch.softmax(2 * chances, dim=1)
R = 2 * torch.rand(7, 2, generator=generator, dtype=torch.float64) - 1
start = torch.eye(7, dtype=torch.float64)[0]
theta = torch.randn(7, 2, generator=generator, dtype=torch.float64)
pi = torch.softmax(theta, dim=1)


def paying(extra):
    """This MDP with `extra` added to every reward."""
    return MDP(P, R + extra, start, gamma=0.9)


mdp = paying(1.0)
paths = list(
    enumerate_episodes(mdp, pi, horizon=4)
)  # (probability, states, actions, rewards) of each
V, Q = state_values(mdp, pi), action_values(mdp, pi)


def one_gradient(states, actions, weight):
    """The estimate from one episode: sum_t gamma^t weight_t score_t, as a table [S, A]."""
    grad = torch.zeros_like(theta)
    for t, (s, a) in enumerate(zip(states, actions, strict=True)):
        score = -pi[s]
        score[a] += 1
        grad[s] += mdp.gamma**t * weight[t] * score
    return grad


def exact_mean_and_variance(baseline, more=0.0):
    """Over all episodes, with `more` added to each reward; baseline(states, actions, ret) is [T]."""
    mean, square = torch.zeros_like(theta), 0.0
    for chance, states, actions, rewards in paths:
        ended = torch.zeros(len(rewards), dtype=torch.bool)
        ret = discounted_returns(rewards + more, ended, mdp.gamma)
        grad = one_gradient(states, actions, with_baseline(ret, baseline(states, actions, ret)))
        mean, square = mean + chance * grad, square + chance * (grad**2).sum()
    return mean, square - (mean**2).sum()


exact = exact_policy_gradient(mdp, theta)
noise = torch.randn(7, generator=generator, dtype=torch.float64)
baselines = {
    "none": lambda s, a, ret: torch.zeros_like(ret),
    "the constant 1": lambda s, a, ret: torch.ones_like(ret),
    "random numbers, one a state": lambda s, a, ret: noise[s],
    "the value V(s)": lambda s, a, ret: V[s],
}
honest = {name: exact_mean_and_variance(b) for name, b in baselines.items()}

print(len(paths), "episodes; their probabilities sum to", sum(path[0] for path in paths).item())
print(f"{'baseline':30s}{'error of the mean':>20s}{'variance':>12s}")
for name, (mean, variance) in honest.items():
    error = (mean - exact).abs().max().item()
    print(f"{name:30s}{error:20.1e}{variance.item():12.3f}")
    assert error < 1e-12

# %% [markdown]
# The error of the mean is rounding, even for a baseline of random numbers. The variance is another
# matter. Add a constant to every reward. All episodes are equally long, so no decision should change,
# and the exact gradient does not.
#
# **Predict first:** what happens to the variance of one episode's gradient, without a baseline and with
# $V(s)$, as the constant goes from −3 to 3?
#
# <details><summary>The answer</summary>
#
# Without a baseline it is a parabola in the constant: far from the lowest point it grows with the
# square. With $V(s)$ it does not move: the value contains the constant too, and the difference does not.
#
# </details>

# %% claim="a_baseline_of_the_state_is_unbiased"
# Any numbers, one a state: the mean stays up to rounding, the variance does not.
variances = []
for trial in range(10):
    any_numbers = 5 * torch.randn(
        7, generator=torch.Generator().manual_seed(trial), dtype=torch.float64
    )
    mean, variance = exact_mean_and_variance(lambda s, a, ret, b=any_numbers: b[s])
    assert (mean - exact).abs().max() < 1e-14
    variances.append(variance.item())
assert max(variances) > 2 * min(variances)

# %%
extras = torch.linspace(-3, 3, fast(13, 5))
plain, with_value = [], []
for extra in extras.tolist():
    shifted = paying(extra)
    assert torch.allclose(exact_policy_gradient(shifted, theta), exact)
    values = state_values(shifted, pi)
    for variances, b in [
        (plain, baselines["none"]),
        (with_value, lambda s, a, ret, v=values: v[s]),
    ]:
        variances.append(exact_mean_and_variance(b, more=extra - 1)[1].item())

plt.semilogy(extras, plain, label="without a baseline")
plt.semilogy(extras, with_value, "--", label="minus V(s)")
plt.xlabel("constant added to every reward")
plt.ylabel("variance of one\nepisode's gradient")
plt.title("Without a baseline, a constant is noise")
plt.legend()
plt.show()

# %% [markdown]
# Both lines are as predicted (the parabola looks bent because the axis is logarithmic).

# %% claim="a_constant_is_noise_without_a_baseline"
# Without a baseline the variance is a parabola in the constant; with V(s) it is flat.
plain_at, with_value_at = {}, []
for c in (-3.0, -2.0, -1.0, 0.0, 1.0, 2.0, 3.0):
    values = state_values(paying(c), pi)
    plain_at[c] = exact_mean_and_variance(baselines["none"], more=c - 1)[1].item()
    flat = exact_mean_and_variance(lambda s, a, ret, v=values: v[s], more=c - 1)[1].item()
    with_value_at.append(flat)
second = [plain_at[c - 1] - 2 * plain_at[c] + plain_at[c + 1] for c in (-2.0, -1.0, 0.0, 1.0, 2.0)]
assert max(second) - min(second) < 1e-9 and second[0] > 1  # a parabola, open to the top
assert max(with_value_at) - min(with_value_at) < 1e-9
assert plain_at[3.0] > 50 * with_value_at[0]

# %% [markdown]
# ## What a baseline buys
#
# Lesson 2: the mean of $N$ gradients errs by $\sqrt{\mathrm{Var}/N}$, where $\mathrm{Var}$ is the total
# variance of one. So a baseline that leaves a fifth of the variance gives the same precision from
# **a fifth of the episodes**. The number to report is the ratio
#
# $$\text{ratio} = \frac{\mathrm{Var}\big[\,(R - b)\, \nabla \log \pi\,\big]}{\mathrm{Var}\big[\,R\, \nabla \log \pi\,\big]}.$$
#
# Two traps. What counts is the variance of the *gradient*, not that of the returns: subtracting a
# constant does not change the variance of the returns at all. And it is a ratio of variances, not of
# standard deviations.
#
# ### Exercise: `variance_ratio` (8 minutes, ●●)
#
# Row $n$ of `scores` is $\nabla \log \pi(a_n)$, a vector of $P$ numbers. Your `gradient_variance` of
# lesson 2 is imported.
#
# <details><summary>Hint 1</summary>
#
# Make two tables of per-sample gradients, `[N, P]`: one with the return as the weight of each row,
# one with what the baseline leaves of it.
#
# </details>
# <details><summary>Hint 2</summary>
#
# A weight for each row: `scores * ret.unsqueeze(1)`.
#
# </details>

# %% exercise="pgcourse.estimators.variance_ratio"

# %% [markdown]
# ## The best constant
#
# Which constant is best? The mean does not depend on $b$, so only the mean square does:
#
# $$\mathbb{E}\big[\, \lVert \nabla \log \pi \rVert^2 (R - b)^2 \,\big]
#   \quad\Longrightarrow\quad
#   \frac{d}{db} = -2\, \mathbb{E}\big[ \lVert \nabla \log \pi \rVert^2 (R - b) \big] = 0
#   \quad\Longrightarrow\quad
#   b^* = \frac{\mathbb{E}\big[\lVert \nabla \log \pi \rVert^2 R\big]}{\mathbb{E}\big[\lVert \nabla \log \pi \rVert^2\big]}.$$
#
# Not the mean return, but a mean in which a sample counts by the squared length of its score. For a
# softmax over a few actions the rarer action has the longer score, so what *it* pays counts for more.
#
# ### Exercise: `optimal_baseline` (10 minutes, ●●)
#
# <details><summary>Hint 1</summary>
#
# The length squared of each row: square, then sum over the parameters, `dim=1`.
#
# </details>
# <details><summary>Hint 2</summary>
#
# The numerator and the denominator are both means over samples: the $1/N$ cancels.
#
# </details>

# %% exercise="pgcourse.estimators.optimal_baseline"

# %% [markdown]
# A bandit with three actions; the policy takes the first one 86 times in 100. The line is the exact
# variance for each constant, over the three possible draws; the crosses are your `variance_ratio`, from
# samples.

# %%
preferences = torch.tensor([2.5, 0.0, 0.0], dtype=torch.float64)
pays = torch.tensor([10.0, 20.0, 14.0], dtype=torch.float64)
p = torch.softmax(preferences, dim=0)
all_scores = torch.eye(3, dtype=torch.float64) - p  # row a is the score of action a


def bandit_variance(b):
    gradients = all_scores * (pays - b).unsqueeze(1)
    return (p @ gradients**2 - (p @ gradients) ** 2).sum().item()


drawn = torch.multinomial(p, 4000, replacement=True, generator=torch.Generator().manual_seed(0))
scores, ret = all_scores[drawn], pays[drawn]
best, mean = optimal_baseline(scores, ret).item(), ret.mean().item()

constants = torch.linspace(0, 30, 121)
plt.plot(constants, [bandit_variance(b) for b in constants.tolist()], label="exact")
tries = torch.linspace(0, 30, 13)
measured = [variance_ratio(scores, ret, torch.full_like(ret, b)).item() for b in tries.tolist()]
plt.plot(tries, [m * bandit_variance(0.0) for m in measured], "x", color=plots.BLACK, label="yours")
for b, name, color in [
    (0.0, "none", plots.RED),
    (mean, "mean return", plots.ORANGE),
    (best, "b*", plots.GREEN),
]:
    plt.plot([b], [bandit_variance(b)], "o", color=color, ms=9, label=f"{name}: b = {b:.2f}")
plt.xlabel("constant baseline b (reward units)")
plt.ylabel("variance of one sample's gradient")
plt.title("A parabola, and its lowest point")
plt.legend()
plt.show()

for b, name in [(mean, "mean return"), (best, "b*")]:
    ratio = variance_ratio(scores, ret, torch.full_like(ret, b)).item()
    print(
        f"{name:12s} b = {b:5.2f}   variance ratio {ratio:.4f}   one sample does the work of {1 / ratio:.0f}"
    )

# %% [markdown]
# The two rare actions have long scores, so they pull the best constant toward what *they* pay. The mean
# return is not the best constant, but it already removes most of the variance, and it needs no scores.
#
# Better than any constant can be a number for each state. On the MDP above, the best constant leaves a
# variance of 0.77, and $V(s)$ one of 0.22. ($V(s)$ is not the best function of the state either: that one
# weights by the score, as $b^*$ does. [Keane & Gao (2022)](https://arxiv.org/abs/2212.13587) derive it,
# and find that $V$ usually does about as well.)

# %% claim="the_best_constant"
# The bandit: rarer actions have longer scores; b* is the lowest point; the mean return removes most.
lengths_squared = (all_scores**2).sum(dim=1)
assert lengths_squared[0] < lengths_squared[1] == lengths_squared[2]
exact_best = ((p * lengths_squared) @ pays / (p @ lengths_squared)).item()
assert all(
    bandit_variance(exact_best) < bandit_variance(exact_best + d) for d in (-0.1, 0.1, -5, 5)
)
assert bandit_variance((p @ pays).item()) < 0.2 * bandit_variance(0.0)
assert bandit_variance(exact_best) < 0.05 * bandit_variance(0.0)
assert abs(best - exact_best) < 0.5 and (p @ pays).item() + 4 < exact_best

# %% claim="the_value_beats_every_constant_here"
# On the MDP the best constant leaves 0.77, V(s) leaves 0.22, and both leave less than nothing at all does.
at = {
    c: exact_mean_and_variance(lambda s, a, ret, c=c: torch.full_like(ret, c))[1].item()
    for c in (0.0, 1.0, 2.0)
}
bend = at[0.0] - 2 * at[1.0] + at[2.0]  # a parabola: three points tell its lowest
lowest = at[1.0] - (at[2.0] - at[0.0]) ** 2 / (8 * bend)
assert round(lowest, 2) == 0.77 and round(honest["the value V(s)"][1].item(), 2) == 0.22
assert honest["none"][1] > 3.8

# %% [markdown]
# ## The others as a baseline
#
# Suppose you can start $K$ times from the same state (or answer the same prompt $K$ times). Then the
# other tries tell you what to expect, and no network is needed:
#
# $$b_k = \frac{1}{K-1} \sum_{j \ne k} R_j.$$
#
# Why leave a sample's own return out? Because it depends on that sample's action, so the baseline could
# no longer be taken out of the sum. With the mean of *all* $K$ returns the estimate shrinks:
#
# $$R_k - \frac{1}{K} \sum_j R_j = \frac{K-1}{K}\,\Big(R_k - \frac{1}{K-1} \sum_{j \ne k} R_j\Big).$$
#
# It shrinks by the same factor in every direction. As long as $K$ is fixed, this bias is no more than a
# smaller learning rate; not every bias is that kind.
#
# ### Exercise: `leave_one_out_baseline` (8 minutes, ●●)
#
# It comes back in lesson 7, where the samples are a language model's answers to one prompt. A single
# sample has no others; the guard that says so is given.
#
# <details><summary>Hint 1</summary>
#
# The sum of the others is the sum of all minus the sample's own: no loop.
#
# </details>
# <details><summary>Hint 2</summary>
#
# `ret.sum(dim=0)` has shape `[N]` and lines up with each row of `[K, N]`.
#
# </details>

# %% exercise="pgcourse.estimators.leave_one_out_baseline"

# %% [markdown]
# Exact again: the same bandit, and all $3^K$ ways in which $K$ samples can come out, each with its
# probability. One column of your `[K, N]` is one of these ways.

# %%
bandit_gradient = p @ (all_scores * pays.unsqueeze(1))


def over_all_draws(K, baseline):
    """Exact mean and variance of the mean of K gradients; baseline : [K, N] -> [K, N]."""
    draws = torch.cartesian_prod(*[torch.arange(3)] * K).T  # [K, 3^K]
    chance = p[draws].prod(dim=0)
    weight = pays[draws] - baseline(pays[draws])
    gradients = (weight.unsqueeze(-1) * all_scores[draws]).mean(dim=0)  # [3^K, A]
    mean = chance @ gradients
    return mean, (chance @ gradients**2 - mean**2).sum().item()


def length(mean):
    return (mean @ bandit_gradient / (bandit_gradient @ bandit_gradient)).item()


sizes = range(2, 9)
own = [over_all_draws(K, lambda r: r.mean(dim=0).expand_as(r)) for K in sizes]
others = [over_all_draws(K, leave_one_out_baseline) for K in sizes]
nothing = [over_all_draws(K, torch.zeros_like) for K in sizes]

fig, (left, right) = plt.subplots(1, 2, figsize=(7, 3.2))
left.plot(sizes, [length(m) for m, _ in others], "o-", label="mean of the others")
left.plot(sizes, [length(m) for m, _ in own], "s--", label="own return included")
left.set_ylim(0, 1.1)
left.set_ylabel("length of the mean\n(1 = the true gradient)")
right.semilogy(sizes, [v for _, v in nothing], "^:", color=plots.RED, label="no baseline")
right.semilogy(sizes, [v for _, v in others], "o-", color=plots.BLUE, label="mean of the others")
right.set_ylabel("variance of the estimate")
right.set_ylim(0.9, 110)
for ax in (left, right):
    ax.set_xlabel("samples K")
    ax.legend()
plt.show()

# %% claim="leave_one_out"
# With the own return the mean is (K-1)/K of the gradient, without it all of it; it pays from K = 2 on.
for K in (2, 3, 5):
    mean_others, variance_others = over_all_draws(K, leave_one_out_baseline)
    mean_own, _ = over_all_draws(K, lambda r: r.mean(dim=0).expand_as(r))
    assert torch.allclose(mean_others, bandit_gradient)
    assert torch.allclose(mean_own, bandit_gradient * (K - 1) / K)
    assert variance_others < 0.2 * over_all_draws(K, torch.zeros_like)[1]

# %% [markdown]
# Left: with the own return in the baseline, two samples give half the gradient. Right: in this bandit,
# two samples already leave less than a fifth of the variance.
#
# ## A baseline that looks at the action
#
# The more a baseline knows, the better it can predict the return, so why not let it see the action, or
# the state that the action led to? Because then it is no longer the same number for every action, and
# what it adds to the gradient no longer averages to zero. Three tempting ones, on the MDP from above:
#
# - $Q(s_t, a_t)$: predicts the return better than $V$ does;
# - $V(s_{t+1})$: an off-by-one in the index is enough;
# - half of $G_t$ itself: with $K = 2$, a mean that includes the own return does just this to the
#   gradient.


# %%
def next_value(states, actions, ret):
    return torch.cat([V[states[1:]], torch.zeros(1, dtype=V.dtype)])


looking = {
    "V(s), the right one": baselines["the value V(s)"],
    "Q(s, a)": lambda s, a, ret: Q[s, a],
    "V(next state)": next_value,
    "half of the return": lambda s, a, ret: ret / 2,
}
seen = {name: exact_mean_and_variance(b) for name, b in looking.items()}

x = torch.arange(theta.numel())
plt.bar(x, exact.flatten(), 0.85, color="lightgray", label="exact gradient")
for (name, (mean, _)), marker in zip(seen.items(), "osv^", strict=True):
    plt.plot(x, mean.flatten(), marker, ms=8, label=name)
plt.axhline(0, color="black", lw=1)
plt.xlabel("parameter (state × action)")
plt.ylabel("mean of the estimate")
plt.title("No amount of data repairs these")
plt.ylim(top=1.9 * exact.max())
plt.legend(ncols=3, loc="upper center", fontsize=9)
plt.show()

print(f"{'baseline':24s}{'variance':>10s}{'bias, relative to the gradient':>34s}")
for name, (mean, variance) in seen.items():
    bias = ((mean - exact).norm() / exact.norm()).item()
    print(f"{name:24s}{variance.item():10.3f}{bias:34.3f}")

# %% [markdown]
# $Q(s, a)$ has the smallest variance of the four, of a gradient that is zero on average: it explains away
# the very difference that should be learned. A small variance alone means nothing.
#
# ### What such a bias does to training
#
# A world with a temptation: the first action takes a reward of 1 at once and leads to a poor state,
# which pays nothing; the second takes nothing and leads to a rich one, which pays 2. With $\gamma = 0.9$,
# waiting is worth $0.9 \cdot 2 = 1.8$. Four policies are trained by the *exact mean* of the estimate, as
# if from infinitely many episodes, each with another baseline.
#
# **Predict first:** which of the three wrong ones still learns to wait?
#
# <details><summary>The answer</summary>
#
# Half of the return: its mean is exactly half of the gradient, the right direction at half the speed.
# $Q(s, a)$ leaves a gradient of zero, and nothing is learned. With $V(s_{t+1})$ the future is
# subtracted away: what is left of waiting is $0 + 0.9 \cdot 2 - 2 < 0$, so the policy learns to grab
# the 1. No error message, and a wrong policy at the end.
#
# </details>

# %%
bet(
    "03 biased",
    "Which wrong baseline still learns to wait?",
    among=["Q(s, a)", "V(next state)", "half of the return"],
)

# %%
START, POOR, RICH = 0, 1, 2
P_tempting = torch.zeros(3, 2, 3, dtype=torch.float64)
P_tempting[START, 0, POOR] = P_tempting[START, 1, RICH] = 1
R_tempting = torch.tensor([[1.0, 0.0], [0.0, 0.0], [2.0, 2.0]], dtype=torch.float64)
tempting = MDP(P_tempting, R_tempting, torch.eye(3, dtype=torch.float64)[START], gamma=0.9)


def chance_to_wait(baseline, steps=100, lr=1.0):
    """The probability of waiting while training; baseline(states, actions, ret, V, Q) is [T]."""
    preferences, chances = torch.zeros(3, 2, dtype=torch.float64), []
    for _ in range(steps):
        policy = torch.softmax(preferences, dim=1)
        chances.append(policy[START, 1].item())
        worth, of_action = state_values(tempting, policy), action_values(tempting, policy)
        mean = torch.zeros_like(preferences)
        for chance, states, actions, rewards in enumerate_episodes(tempting, policy, horizon=2):
            ret = discounted_returns(rewards, torch.zeros(2, dtype=torch.bool), tempting.gamma)
            adv = with_baseline(ret, baseline(states, actions, ret, worth, of_action))
            for t, (s, a) in enumerate(zip(states, actions, strict=True)):
                score = torch.eye(2, dtype=torch.float64)[a] - policy[s]
                mean[s] += chance * tempting.gamma**t * adv[t] * score
        preferences = preferences + lr * mean
    return chances


def value_of_next(states, actions, ret, V, Q):
    return torch.cat([V[states[1:]], torch.zeros(1, dtype=V.dtype)])


tempted = {
    "V(s), the right one": lambda states, actions, ret, V, Q: V[states],
    "Q(s, a)": lambda states, actions, ret, V, Q: Q[states, actions],
    "V(next state)": value_of_next,
    "half of the return": lambda states, actions, ret, V, Q: ret / 2,
}
waits = {name: chance_to_wait(baseline, fast(100, 20)) for name, baseline in tempted.items()}
for (name, chances), line in zip(waits.items(), ["-", ":", "--", "-."], strict=True):
    plt.plot(chances, line, lw=2, label=name)
plt.xlabel("steps of exact gradient ascent")
plt.ylabel("probability of waiting")
plt.ylim(-0.05, 1.05)
plt.title("Three biases: slower, stuck, and wrong")
plt.legend(ncols=2, loc="center right", bbox_to_anchor=(1, 0.36), fontsize=10)
settle("03 biased", max(list(tempted)[1:], key=lambda name: waits[name][-1]))
plt.show()

# %% claim="what_a_bias_does_to_training"
# V(s) and half of the return learn to wait, Q(s, a) learns nothing, V(next state) learns to grab.
ends = {name: chance_to_wait(baseline)[-1] for name, baseline in tempted.items()}
assert ends["V(s), the right one"] > 0.95 and ends["half of the return"] > 0.9
assert abs(ends["Q(s, a)"] - 0.5) < 1e-12 and ends["V(next state)"] < 0.1
halved = exact_mean_and_variance(looking["half of the return"])[0]
assert torch.allclose(halved, exact / 2) and not seen["Q(s, a)"][0].abs().max() > 1e-12
assert seen["Q(s, a)"][1] == min(variance for _, variance in seen.values())

# %% [markdown]
# ## The baseline in the triangle
#
# Lesson 1's playground once more, with steps from four sampled actions. On the right the mean pay $V$ of the policy is subtracted first. The red square, the average
# step, stays; the cloud shrinks. And a bad action is pushed *down* now, when it was drawn.

# %%
simplex.panels({"the pay itself": {"n": 4}, "the pay minus V": {"n": 4, "baseline": True}})
plt.show()

# %% claim="the_cloud_shrinks_with_a_baseline"
# Same mean within five standard errors, a spread of less than 0.7 of that without (five seeds).
for seed in range(5):
    dots = [
        simplex.cloud(simplex.START, simplex.PAYS, n=4, baseline=b, dots=10_000, seed=seed)
        for b in (False, True)
    ]
    raw, less = (gradient_variance(x).sqrt() for x in dots)
    assert less < 0.7 * raw, (seed, raw, less)
    assert (dots[0].mean(0) - dots[1].mean(0)).norm() < 5 * raw / 10_000**0.5, seed

# %% [markdown]
# ## Learning the baseline
#
# In a real task nobody knows $V$. A second network learns it, by regression on the returns that were
# observed. The minimum of a mean square is the mean, and the mean return from a state *is* its value.
# With $\phi$ for the parameters of that network,
#
# $$L_V = \frac{1}{T} \sum_t \big(V_\phi(s_t) - G_t\big)^2, \qquad G_t \text{ held constant}.$$
#
# ### Exercise: `value_regression_loss` (4 minutes, ●)
#
# This one is written already, and wrong in one place. Find it, say why, mend it.
#
# <details><summary>Hint 1</summary>
#
# Take the values 1 and 3 where the returns were 3 and 1. What should the loss be, and what is it?
#
# </details>

# %% exercise="pgcourse.losses.value_regression_loss" broken="mean before the square"

# %% [markdown]
# ## Any advantage, one loss
#
# The policy's loss does not care where its weights come from: lesson 4 computes the advantage in another
# way and keeps the loss. It also gets a **mask**, because real batches are ragged:
# episodes and answers of different lengths are stored in a rectangle, and what fills it up, the
# **padding**, must not count. With $m_t = 1$ for a step that counts and 0 for padding,
#
# $$L = -\frac{\sum_{t} m_t \log \pi(a_t \mid s_t)\, A_t}{\sum_{t} m_t}.$$
#
# ### Exercise: `policy_gradient_loss` (10 minutes, ●●)
#
# The padding may hold anything, even `nan`. And $0 \cdot \text{nan}$ is not 0.
#
# <details><summary>Hint 1</summary>
#
# `x[mask]` is a flat tensor of just the elements that count. Its mean divides by the right number.
#
# </details>
# <details><summary>Hint 2</summary>
#
# Select *before* you multiply. Behind a product with `nan` the gradient is `nan` too, even if the
# product is thrown away afterwards.
#
# </details>
# <details><summary>Hint 3</summary>
#
# The advantage is a constant, and the loss is minimized.
#
# </details>

# %% exercise="pgcourse.losses.policy_gradient_loss"

# %% [markdown]
# Does it matter how the mean is taken? Two episodes, one of 2 steps and one of 8, stored with more
# and more padding behind them. The data is the same everywhere along the horizontal axis, so the loss
# should be too.

# %%
generator = torch.Generator().manual_seed(4)
logp, adv = -torch.rand(2, 8, generator=generator), torch.randn(2, 8, generator=generator) + 0.5
lengths = torch.tensor([[2], [8]])

widths = range(8, 25)
rows = {"yours": [], "divided by all positions": [], "mask forgotten": [], "mean of row means": []}
for width in widths:
    mask = torch.arange(width) < lengths
    wide = [torch.nn.functional.pad(x, (0, width - 8), value=0.5) for x in (logp, adv)]
    product = wide[0] * wide[1]
    kept = torch.where(mask, product, 0.0)
    rows["yours"].append(policy_gradient_loss(*wide, mask).item())
    rows["divided by all positions"].append(-kept.mean().item())
    rows["mask forgotten"].append(-product.mean().item())
    rows["mean of row means"].append(-(kept.sum(1) / mask.sum(1)).mean().item())

for (name, losses), line in zip(rows.items(), ["-", "--", "-.", ":"], strict=True):
    plt.plot([w - 8 for w in widths], losses, line, label=name)
plt.xlabel("steps of padding behind the longer episode")
plt.ylabel("loss")
plt.title("The same two episodes, stored wider and wider")
plt.legend()
plt.show()

# %% [markdown]
# Two of the others drift with the padding: how much is learned from an episode would depend on the
# longest one in its batch. The third, the mean of each row's mean, is steady and still another
# objective: it counts a step of the short episode four times as much as one of the long.

# %% claim="padding_does_not_count"
# Your loss is the same at every width; two others drift; the mean of row means is steady and different.
drift = {name: max(losses) - min(losses) for name, losses in rows.items()}
assert drift["yours"] < 1e-6 and drift["mean of row means"] < 1e-6
assert min(drift["divided by all positions"], drift["mask forgotten"]) > 0.05
assert abs(rows["mean of row means"][0] - rows["yours"][0]) > 0.05

# %% [markdown]
# ## The lineage: REINFORCE with a baseline
#
# This is lesson 2's loop, and all that changes in it. The next lessons go on in the same way.
#
# ```diff
#   data = collector.collect_episodes(actor)
#   ret  = discounted_returns(rew, ended, gamma)
#   logp = log-probabilities of the actions taken
# + val  = critic(obs)
# + adv  = with_baseline(ret, val)
# - loss = reinforce_loss(logp, ret)
# + loss = policy_gradient_loss(logp, adv)
#   loss.backward(); actor_opt.step()
# + repeat baseline_epochs times:
# +     value_regression_loss(critic(obs), ret).backward(); critic_opt.step()
# ```
#
# | Line | What it buys |
# |---|---|
# | `val = critic(obs)` | a prediction of the return from each state |
# | `with_baseline` | the same mean, less variance; no gradient crosses into the critic |
# | `policy_gradient_loss` | the policy's loss no longer cares where its weights come from |
# | `value_regression_loss` | the prediction gets better with each batch, *after* the policy has used it |
#
# The order matters. A value fitted to this very batch before it is subtracted has seen the returns, and
# so the actions: it would be a baseline of the forbidden kind.

# %% claim="the_lineage_is_complete"
# The lines of the diff, written out with torch's own optimizer, make the updates of the package's loop.
for trial in range(5):
    setting = reinforce.Config(seed=trial, total_steps=800, n_envs=8, baseline=True)
    package = reinforce.train(
        setting,
        advantage=with_baseline,
        loss=policy_gradient_loss,
        value_loss=value_regression_loss,
        progress=False,
    )
    torch.manual_seed(trial)
    by_hand = Collector("CartPole-v1", setting.n_envs, trial)
    hand_actor = networks.make_actor(by_hand.env, setting.hidden)
    hand_critic = networks.make_critic(by_hand.env, setting.hidden)
    actor_opt = torch.optim.Adam(hand_actor.parameters(), setting.lr)
    critic_opt = torch.optim.Adam(hand_critic.parameters(), setting.baseline_lr)
    while by_hand.steps < setting.total_steps:
        batch = by_hand.collect_episodes(hand_actor)
        counts = batch["mask"]
        hand_ret = discounted_returns(batch["rew"], batch["ended"], setting.gamma)[counts]
        obs, act = batch["obs"][counts], batch["act"][counts]
        hand_adv = with_baseline(hand_ret, hand_critic(obs))
        actor_opt.zero_grad()
        policy_gradient_loss(hand_actor.evaluate(obs, act)[0], hand_adv).backward()
        actor_opt.step()
        for _ in range(setting.baseline_epochs):
            critic_opt.zero_grad()
            value_regression_loss(hand_critic(obs), hand_ret).backward()
            critic_opt.step()
    for theirs, mine in zip(package.policy.parameters(), hand_actor.parameters(), strict=True):
        assert torch.allclose(theirs, mine, atol=1e-4)

# %% [markdown]
# ## The same CartPole, in fewer steps
#
# Your functions inside the training loop: five seeds of plain REINFORCE, five with the learned baseline,
# everything else equal: eight episodes a batch, and a learning rate of 0.04, the best for plain
# REINFORCE of the three that we tried (0.01, 0.02, 0.04).
#
# *About 30 seconds; the bars show how far it is.*


# %%
def reached(result, level):
    """Environment steps until the running mean first reached `level`; nan if it never did."""
    above = result.history["return"] >= level
    return float(result.history["steps"][above.argmax()]) if above.any() else float("nan")


settings = dict(
    total_steps=fast(50_000, 2_000), n_envs=8, lr=0.04, baseline_lr=0.03, baseline_epochs=10
)
seeds = range(fast(5, 2))
runs = {"REINFORCE": [], "with a learned baseline": []}
for seed in seeds:
    config = reinforce.Config(seed=seed, **settings)
    runs["REINFORCE"].append(reinforce.train(config, loss=policy_gradient_loss))
    config = reinforce.Config(seed=seed, baseline=True, **settings)
    runs["with a learned baseline"].append(
        reinforce.train(
            config,
            advantage=with_baseline,
            loss=policy_gradient_loss,
            value_loss=value_regression_loss,
        )
    )

# %%
plots.learning_curves(runs)
plt.title("CartPole-v1: the same steps, the same learning rate")
plt.show()

level = fast(300, 20)
for name, results in runs.items():
    steps = torch.tensor([reached(r, level) for r in results])
    print(f"{name:24s} steps to an average of {level}, by seed: {steps.tolist()}")

# %% [markdown]
# The band is the uncertainty of the mean over seeds; `nan` is a seed that never got there. With the
# baseline the mean curve is higher and the seeds lie closer together. (At the two smaller learning rates
# the baseline is ahead as well, and both learn more slowly.)

# %% claim="the_baseline_saves_steps" slow=true
# At each of three learning rates the baseline ends higher on average; at 0.04, where both are best, its seeds agree better.
import statistics

figures = {}
for lr in (0.01, 0.02, 0.04):
    for learned in (False, True):
        same = dict(total_steps=50_000, n_envs=8, lr=lr, baseline_lr=0.03, baseline_epochs=10)
        ends = [
            reinforce.train(
                reinforce.Config(seed=seed, baseline=learned, **same), progress=False
            ).history["return"][-1]
            for seed in range(5)
        ]
        figures[f"{'baseline' if learned else 'plain'}, lr {lr}"] = [round(float(x)) for x in ends]
means = {name: statistics.mean(ends) for name, ends in figures.items()}
for lr in (0.01, 0.02, 0.04):
    assert means[f"baseline, lr {lr}"] > means[f"plain, lr {lr}"] + 50, figures
for kind in ("plain", "baseline"):
    assert max(means[f"{kind}, lr {lr}"] for lr in (0.01, 0.02)) < means[f"{kind}, lr 0.04"], (
        figures
    )
spreads = {name: statistics.stdev(ends) for name, ends in figures.items()}
assert spreads["baseline, lr 0.04"] < spreads["plain, lr 0.04"] / 2, figures

# %% [markdown]
# How well does the value predict? **Explained variance** is the part of the returns' variance that the
# value predicted, *before* it was fitted to them: 1 is all of it, 0 is no better than a constant, and
# below 0 it is worse than the best constant. It measures a prediction. Whether a baseline helps the
# gradient is another question, and comes next.

# %%
plots.learning_curves(
    {"with a learned baseline": runs["with a learned baseline"]}, key="explained_variance"
)
plt.axhline(0, color="black", lw=1)
plt.ylim(-1, 1)
plt.title("How well the value predicts the next batch")
plt.show()

# %% [markdown]
# ### The ratio, measured where it matters
#
# What did the baseline buy on CartPole, in episodes? Take each of the five agents at three stages:
# untrained, after 12,000 steps without a baseline, and at the end. Each time, play episodes, make a
# baseline from half of them, and measure on the other half (a value measured on the episodes that it was
# fitted to would flatter itself): the total variance of one episode's gradient with the baseline, over
# that without. Three baselines: one constant, the mean return; a network $V(s)$, fitted with your
# `value_regression_loss`; and a mean return for each time step $t$, which looks at nothing but the clock.
#
# **Predict first:** a constant predicts nothing, so its explained variance is 0. Is its variance ratio
# then 1? And which of the three is best for a *trained* agent, most of whose episodes last all 500 steps?
#
# <details><summary>The answer</summary>
#
# No: subtracting a constant can remove most of the variance, as the parabola above showed. And for the
# trained agent the clock wins: if every episode lasts 500 steps, the return that is left depends only on
# how many steps the clock still allows, and CartPole's observation (position, speed, angle, angular speed)
# does not contain it. $V(s)$ cannot know it, so it does no better than the constant.
#
# </details>
#
# *About 30 seconds.*

# %%
bet(
    "03 constant",
    "One constant, the trained agents: what does it leave of the variance (1 = all of it)?",
    between=(0, 1),
)


# %%
def play(actor, episodes, seed):
    """Whole episodes of CartPole: the rollout, and the return from each of its steps."""
    data = Collector("CartPole-v1", episodes, seed).collect_episodes(actor)
    return data, discounted_returns(data["rew"], data["ended"], reinforce.Config.gamma)


def fit_value(data, ret, steps=200):
    torch.manual_seed(0)
    critic = networks.Critic(4, (32,))
    optimizer = torch.optim.Adam(critic.parameters(), lr=0.03)
    for _ in range(steps):
        optimizer.zero_grad()
        value_regression_loss(critic(data["obs"][data["mask"]]), ret[data["mask"]]).backward()
        optimizer.step()
    return critic


def episode_gradients(actor, data, weight):
    """The policy's gradient from each episode, [episodes, parameters]."""
    rows = []
    for n, kept in enumerate(data["mask"].T):
        logp, _ = actor.evaluate(data["obs"][kept, n], data["act"][kept, n])
        loss = policy_gradient_loss(logp, weight[kept, n]) * kept.sum()  # the sum over its steps
        grads = torch.autograd.grad(loss, list(actor.parameters()))
        rows.append(torch.cat([g.flatten() for g in grads]))
    return torch.stack(rows)


def mean_at_each_step(data, ret, length):
    """The mean return at each time step, over the episodes that got so far; [length, 1]."""
    mask = data["mask"]
    means = (ret * mask).sum(dim=1) / mask.sum(dim=1).clamp(min=1)
    return torch.cat([means, means[-1:].expand(length)])[:length].unsqueeze(1)


def compare_baselines(actor, episodes):
    """{baseline: (variance ratio, explained variance)} for the episodes of one actor."""
    (before, seen), (data, ret) = (play(actor, episodes, seed) for seed in (1, 2))
    baselines = {
        "the mean return": seen[before["mask"]].mean().expand_as(ret),
        "a learned V(s)": fit_value(before, seen)(data["obs"]).detach(),
        "a mean for each time step": mean_at_each_step(before, seen, len(ret)).expand_as(ret),
    }
    plain = gradient_variance(episode_gradients(actor, data, ret))
    kept = data["mask"]
    return {
        name: (
            (
                gradient_variance(episode_gradients(actor, data, with_baseline(ret, val))) / plain
            ).item(),
            explained_variance(val[kept], ret[kept]),
        )
        for name, val in baselines.items()
    }


def stages_of(seed, trained, steps):
    """The actor of one seed at three stages."""
    torch.manual_seed(seed)
    config = reinforce.Config(**settings | {"seed": seed, "total_steps": steps})
    return {
        "untrained": networks.CategoricalActor(4, 2, (32,)),
        "some training": reinforce.train(config, loss=policy_gradient_loss, progress=False).policy,
        "trained": trained.policy,
    }


stages = {"untrained": [], "some training": [], "trained": []}
for seed, result in zip(seeds, runs["with a learned baseline"], strict=True):
    for stage, actor in stages_of(seed, result, fast(12_000, 500)).items():
        stages[stage].append(compare_baselines(actor, episodes=fast(32, 8)))

names = list(stages["trained"][0])
print(f"{'explained variance':20s}", "".join(f"{name:>28s}" for name in names))
for k, (stage, agents) in enumerate(stages.items()):
    print(
        f"{stage:20s}",
        "".join(f"{sum(a[n][1] for a in agents) / len(agents):28.2f}" for n in names),
    )
    for i, name in enumerate(names):
        ratios = [agent[name][0] for agent in agents]
        x, height = k + 0.3 * (i - 1), sum(ratios) / len(ratios)
        plt.bar(x, height, 0.28, color=plots.COLORS[i], label=name if k == 0 else None)
        plt.text(x, max(ratios) + 0.02, f"{height:.2f}", ha="center", fontsize=9)
        plt.plot([x] * len(ratios), ratios, ".", color=plots.BLACK, ms=4)
plt.xticks(range(3), list(stages))
plt.ylabel("variance ratio\n(1 = no baseline)")
plt.ylim(0, 1)
plt.title("What a baseline leaves of the gradient's variance (dots: agents)")
plt.legend()
settle(
    "03 constant",
    torch.tensor([agent["the mean return"][0] for agent in stages["trained"]]).mean(),
    plt.gca(),
)
plt.show()

# %% claim="explained_variance_is_not_the_ratio" slow=true
# A constant explains nothing and still removes about half or more; V(s) beats it while learning; at the end the clock does.
figures = {}
for seed in range(5):
    config = reinforce.Config(**settings | {"seed": seed, "total_steps": 50_000, "baseline": True})
    result = reinforce.train(config, progress=False)
    for stage, actor in stages_of(seed, result, 12_000).items():
        for name, pair in compare_baselines(actor, episodes=32).items():
            figures.setdefault(f"{stage}, {name}", []).append([round(x, 3) for x in pair])
ratio = {name: [pair[0] for pair in pairs] for name, pairs in figures.items()}
for stage in ("untrained", "some training", "trained"):
    for (reduced, predicted), below in zip(
        figures[f"{stage}, the mean return"], ratio[f"{stage}, a learned V(s)"], strict=True
    ):
        assert abs(predicted) < 0.05 and reduced < 0.6, figures
        assert stage == "trained" or below < reduced, figures
mean = {name: sum(ratios) / 5 for name, ratios in ratio.items()}
assert mean["trained, a learned V(s)"] > 0.7 * mean["trained, the mean return"], figures
assert mean["trained, a mean for each time step"] < mean["trained, a learned V(s)"] / 2, figures

# %% [markdown]
# Explained variance does not tell what a baseline is worth: the constant has 0 and removes from half to nine
# tenths of the variance. While the agent learns, how long the pole will stand depends on the state, and
# $V(s)$ is the best of the three. For a trained agent that stands all 500 steps it depends on the clock:
# $V(s)$ explains nothing either, and removes about as much as the constant.
#
# Read a bar of 0.2 as: *one episode with the baseline is worth five without.* The ratio is itself an
# estimate from 32 episodes, and the dots show how far agents differ.
#
# ## Normalized advantages
#
# A last trick, common in implementations of PPO (lesson 5): give the advantages of a batch mean 0 and
# standard deviation 1,
#
# $$A'_i = \frac{A_i - \operatorname{mean}(A)}{\operatorname{std}(A) + 10^{-8}}.$$
#
# Then the length of the gradient no longer depends on the unit of the reward. It is *not* a baseline: the
# mean contains each sample's own advantage (which shrinks the estimate by one part in the size of the
# batch), and the scale is a random number, too.
#
# ### Exercise: `normalize_advantage` (12 minutes, ●●●)
#
# With a mask, the padding stays out of the mean and the standard deviation, and is 0 in the result. And
# what if all advantages are equal? It happens: as long as no reward has come all returns are 0, and in
# lesson 7 all answers to a prompt may earn the same score.
#
# <details><summary>Hint 1</summary>
#
# Collect what counts first: all of it without a mask, `adv[mask]` with one.
#
# </details>
# <details><summary>Hint 2</summary>
#
# The small number goes to the standard deviation, inside the denominator's brackets.
#
# </details>
# <details><summary>Hint 3</summary>
#
# `torch.where(mask, x, 0.0)` keeps `x` where the mask is true, whatever stands elsewhere.
#
# </details>

# %% exercise="pgcourse.estimators.normalize_advantage"

# %% [markdown]
# **Predict first:** thirty advantages, all 37.7. What does the bare formula make of them: 0, tiny numbers,
# or about 1?
#
# <details><summary>The answer</summary>
#
# About 1. In 32 bits the mean of thirty times 37.7 is not exactly 37.7, all thirty differ from it by the
# same rounding error, and their "standard deviation" is that error. Next to it the $10^{-8}$ is small.
# Thirty samples that say nothing then all push with full weight, in whichever direction the rounding went.
# So the package's version asks first whether all advantages are equal. (The check accepts yours either
# way.)
#
# </details>

# %%
equal = torch.full((30,), 37.7)
print("the bare formula  :", ((equal - equal.mean()) / (equal.std(correction=0) + 1e-8))[0].item())
print("yours             :", normalize_advantage(equal)[0].item())
print("the package's     :", estimators.normalize_advantage(equal)[0].item())

# %% claim="rounding_is_scaled_up"
# Equal advantages: the bare formula gives up to 1 in size, the package's exactly 0.
bare = (equal - equal.mean()) / (equal.std(correction=0) + 1e-8)
assert 0.9 < bare.abs().max() < 1.1
for size, many in [(37.7, 30), (0.1, 7), (1e6 / 3, 4096), (0.3, 1)]:
    assert (estimators.normalize_advantage(torch.full((many,), size)) == 0).all()

# %% [markdown]
# Does normalizing save episodes, too? All $3^5$ outcomes of five samples from the bandit once more, with
# the rewards multiplied by 0.01 to 100. Left: how long the mean step is. Right: mean over spread, which
# decides how many episodes you need.

# %%
draws = torch.cartesian_prod(*[torch.arange(3)] * 5).T
chance = p[draws].prod(dim=0)


def mean_and_spread(weight):
    gradients = (weight.unsqueeze(-1) * all_scores[draws]).mean(dim=0)
    mean = chance @ gradients
    return mean.norm().item(), (chance @ gradients**2 - mean**2).sum().sqrt().item()


units = [0.01, 0.1, 1, 10, 100]
plain, centered, normalized = [], [], []
for unit in units:
    plain.append(mean_and_spread(unit * pays[draws]))
    adv = unit * (pays[draws] - leave_one_out_baseline(pays[draws]))
    centered.append(mean_and_spread(adv))
    normalized.append(mean_and_spread(torch.stack([normalize_advantage(a) for a in adv.T], dim=1)))

fig, (left, right) = plt.subplots(1, 2, figsize=(7, 3.2))
for runs_of, label, line in [
    (plain, "no baseline", "^:"),
    (centered, "mean of the others", "o-"),
    (normalized, "normalized", "s--"),
]:
    left.loglog(units, [m for m, _ in runs_of], line, label=label)
    right.semilogx(units, [m / s for m, s in runs_of], line, label=label)
left.set_ylabel("length of the mean step")
right.set_ylabel("mean / spread")
right.set_ylim(0, 1)
for ax in (left, right):
    ax.set_xlabel("unit of the reward")
left.legend(fontsize=10)
plt.show()

# %% [markdown]
# (On the left, “no baseline” lies under “mean of the others”: a baseline does not change the mean.)
# Normalizing fixes the length of the step. Its precision is that of the baseline, give or take a tenth:
# dividing makes the signal and the noise smaller together. (What did subtracting the mean was the
# baseline's part of the formula.)
#
# And if the optimizer is Adam? It divides each step by the size of the recent gradients itself, so a
# *fixed* unit cancels anyway. What normalizing then still does: it evens out batches of different scale,
# and it fixes what the policy's loss weighs against a term beside it, such as the entropy bonus of lesson
# 5.

# %% claim="normalizing_is_a_matter_of_scale"
# Its length does not depend on the unit, its precision is the baseline's within 10 %, and Adam cancels a fixed unit.
assert max(m for m, _ in normalized) < 1.001 * min(m for m, _ in normalized)
assert max(m for m, _ in centered) > 9_999 * min(m for m, _ in centered)
for (m, s_), (n, t_), (b_, u_) in zip(centered, normalized, plain, strict=True):
    assert 1 < (n / t_) / (m / s_) < 1.1 and m / s_ > 2 * b_ / u_
moved = []
for unit in (1.0, 100.0):
    weights = torch.zeros(4, requires_grad=True)
    adam = torch.optim.Adam([weights], lr=0.01)
    draw = torch.Generator().manual_seed(0)
    for _ in range(20):
        weights.grad = unit * torch.randn(4, generator=draw)
        adam.step()
    moved.append(weights.detach().clone())
assert torch.allclose(*moved, rtol=1e-4)

# %% [markdown]
# ## The quiz
#
# Five questions about what you saw; each is worth a point on its own. Return a dict.
#
# ### Exercise: `quiz_baselines` (5 minutes, ●)
#
# <details><summary>Hint</summary>
#
# For `episodes`: the error of a mean of $N$ is $\sqrt{\mathrm{Var}/N}$. Which $N$ keeps it when
# $\mathrm{Var}$ shrinks?
#
# </details>

# %% exercise="pgcourse.exercises.baselines.quiz_baselines.quiz_baselines"

# %% [markdown]
# ## The agent
#
# Your agents with a learned baseline, on 100 new episodes each, in two ways: **greedy**, always taking the
# most probable action, and drawing actions from the policy. The mean of the second is what the policy
# gradient theorem calls $J(\pi)$ (here without the discount); the first is another policy. Lesson 4 looks
# at the difference.

# %%
for seed, result in zip(seeds, runs["with a learned baseline"], strict=True):
    greedy, drawn = (
        evaluate(result.policy, "CartPole-v1", fast(100, 4), seed=1_000, deterministic=how).mean()
        for how in (True, False)
    )
    print(f"seed {seed}: greedy {greedy:5.1f}, drawn from the policy {drawn:5.1f} of 500")
plots.animate(runs["with a learned baseline"][0].policy, "CartPole-v1", max_steps=fast(200, 20))

# %% [markdown]
# ## With your own hands: a critic (25 minutes more)
#
# Let your `my_agent.py` of lesson 2 grow: a second network, its own optimizer, and the advantage in place of the return. From now on `train` returns
# two functions, `policy, value` (so `policy, value = my_agent.train(...)`), and `value(obs)` is one number, or a tensor of one.
#
# <details><summary>Hint 1</summary>
#
# The order of this lesson: advantages from the critic as it was, a step of the policy, then several steps of the critic on the same returns.
#
# </details>
# <details><summary>Hint 2</summary>
#
# `critic(obs)` has the shape `[B, 1]` and the returns have `[B]`. Their difference would be `[B, B]`, without a word. `squeeze(-1)` first.
#
# </details>
# <details><summary>Hint 3</summary>
#
# Rewards may be of any size, and in one of the worlds everything pays 100 more. Normalized advantages, and about ten steps of the critic for each batch with a larger
# learning rate (0.03), are enough there. A whole one: `solutions/my_agent_03.py`.
#
# </details>
#
# Two worlds are new: one asks what your critic believes in two states, the other adds 100 to every reward. *About half a minute.*

# %%
check_agent(3)

# %% [markdown]
# ## Ask yourself
#
# <details><summary>May a baseline depend on the time step? On the parameters of the policy? On other episodes?</summary>
#
# Yes, yes, and yes. It may depend on anything but the action and what follows from it: all that the
# proof needs is that it is the same number for every action that could have been taken.
#
# </details>
# <details><summary>With the exact V as the baseline, why is there variance left?</summary>
#
# The action is drawn, and so are the rewards and states that follow. $V$ removes only what depends on
# the state. Lesson 4 replaces part of the sampled future by an estimate, and pays for it with bias.
#
# </details>
# <details><summary>Why not fit the value to this batch first, and subtract it then?</summary>
#
# It would have seen the returns of these very actions. A constant fitted to the batch is the mean that
# includes the own return, and shrinks the gradient; a network that fits every $G_t$ leaves nothing of it.
#
# </details>
# <details><summary>A friend reports: "with my baseline the loss is much smaller". Is that the point?</summary>
#
# No. The value of a policy gradient's loss does not say how good the policy is: adding a constant to all
# returns changes it, and not the policy. Compare the variance of the gradients, or the steps until the task
# is solved.
#
# </details>
#
# ## What was left out
#
# Baselines that do look at the action and correct the bias that this brings (control variates such as
# [Q-Prop](https://arxiv.org/abs/1611.02247); [Tucker et al. 2018](https://arxiv.org/abs/1802.10031) measured
# how little of the gain comes from looking at the action), the state-dependent optimum (a ratio like
# $b^*$ for each state, [Keane & Gao 2022](https://arxiv.org/abs/2212.13587)), and the proof that a policy
# gradient with a learned baseline converges.
#
# ## Papers
#
# - Williams (1992), [*Simple statistical gradient-following algorithms for connectionist reinforcement
#   learning*](https://doi.org/10.1007/BF00992696): the baseline, from the beginning.
# - Greensmith, Bartlett & Baxter (2004), [*Variance reduction techniques for gradient estimates in
#   reinforcement learning*](https://www.jmlr.org/papers/v5/greensmith04a.html): the best baseline, and how
#   far the value is from it.
# - Kool, van Hoof & Welling (2019), [*Buy 4 REINFORCE samples, get a baseline for
#   free!*](https://openreview.net/forum?id=r1lgTGL5DE): leave one out.
# - Tucker et al. (2018), [*The mirage of action-dependent baselines in reinforcement
#   learning*](https://arxiv.org/abs/1802.10031).
# - Andrychowicz et al. (2020), [*What matters in on-policy reinforcement learning? A large-scale empirical
#   study*](https://arxiv.org/abs/2006.05990): normalization among some fifty other choices, each varied.
#
# **Next:** in [lesson 4](04_actor_critic.ipynb) the value does more than be subtracted. Actor and critic learn together, without
# waiting for the end of the episode.
