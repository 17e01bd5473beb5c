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
# An exam gives you 70 points. Is that good? It depends on what was to be expected. REINFORCE does
# not ask: it multiplies each score by the plain return, so in a game where every step pays, *every*
# action is pushed up, and only the small differences between large pushes teach anything. Lesson 2
# measured what that costs: variance, paid for in episodes.
#
# This lesson subtracts what was to be expected. The mean of the gradient estimate does not move by
# a hair; its variance can fall by a factor of ten and more.
#
# **You will be able to**
#
# - prove that a baseline leaves the gradient's mean alone, and see it to sixteen digits,
# - measure what a baseline buys as a ratio of variances, and turn it into episodes,
# - derive the best constant baseline, and the baseline that needs no network at all,
# - recognize a "baseline" that looks at the action, and show the bias that it brings,
# - train a value network beside the policy, and solve CartPole in fewer steps.
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

from pgcourse import fast, networks, plots, reinforce
from pgcourse.checks import check
from pgcourse.estimators import discounted_returns, gradient_variance
from pgcourse.mdp import (
    MDP,
    action_values,
    enumerate_episodes,
    exact_policy_gradient,
    state_values,
)
from pgcourse.rollout import Collector, evaluate
from pgcourse.tensors import same_shape

plots.style()

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
# every action*. Keep that step in mind: everything that goes wrong with baselines goes wrong there.
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
# the policy's loss would bend the value until actions *look* good.
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
# ## Unbiased, to sixteen digits
#
# The proof is short; still, look at it. Here is an MDP of seven states in which every episode has
# exactly four steps, and each step pays about 1, as in many games where surviving is what pays. It is
# so small that we can list **every possible episode** with its probability, and compute the exact mean
# of any estimate and its exact variance, with nothing sampled.

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
# matter. Add a constant to every reward: all episodes are equally long, so nobody's decision should
# change, and the exact gradient does not. How does the variance take it?

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
# Without a baseline the variance grows with the square of the constant; the value takes all of that away,
# and its line is flat.
#
# ## What a baseline buys
#
# Lesson 2: the mean of $N$ gradients errs by $\sqrt{\mathrm{Var}/N}$, where $\mathrm{Var}$ is the total
# variance of one. So a baseline that leaves a fifth of the variance gives the same precision from
# **a fifth of the episodes**. The number to report is the ratio
#
# $$\text{ratio} = \frac{\mathrm{Var}\big[\,(R - b)\, \nabla \log \pi\,\big]}{\mathrm{Var}\big[\,R\, \nabla \log \pi\,\big]}.$$
#
# Two traps. It is the variance of the *gradient* that counts, not that of the returns: a constant
# baseline does not change the variance of the returns at all. And it is a ratio of variances, not of
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
# Not the mean return, but a mean in which an action counts by the square of its score's length. A
# rare action has a long score, so its error hurts more.
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
# A mean over samples above and below: the $1/N$ cancels.
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
        f"{name:12s} b = {b:5.2f}   variance ratio {ratio:.4f}   one sample in {1 / ratio:.0f} is enough"
    )

# %% [markdown]
# The two rare actions have long scores, so they pull the best constant towards what *they* pay. The mean
# return is not the best, and yet it takes most of the variance away, and it needs no scores. That is why
# hardly anybody fits $b^*$ in practice: a good value of each state is worth more than the perfect constant.
#
# ## The others as a baseline
#
# Suppose you can start $K$ times from the same state (or answer the same prompt $K$ times). Then the
# other tries tell what was to be expected, and no network is needed:
#
# $$b_k = \frac{1}{K-1} \sum_{j \ne k} R_j.$$
#
# Why leave one's own return out? Because it depends on one's own action, and then the baseline could
# not be taken out of the sum. With the mean of *all* $K$ returns the estimate shrinks:
#
# $$R_k - \frac{1}{K} \sum_j R_j = \frac{K-1}{K}\,\Big(R_k - \frac{1}{K-1} \sum_{j \ne k} R_j\Big).$$
#
# ### Exercise: `leave_one_out_baseline` (8 minutes, ●●)
#
# It comes back in lesson 7, where the samples are a language model's answers to one prompt. A single
# sample has no others; the guard that says so is given.
#
# <details><summary>Hint 1</summary>
#
# The sum of the others is the sum of all minus one's own: no loop.
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

# %% [markdown]
# Left: with one's own return in the baseline, two samples give half the gradient. Right: two samples
# are enough to profit.
#
# ## A baseline that looks at the action
#
# The more a baseline knows, the better it predicts the return, so why not let it see the action, or
# the state that the action led to? Because then it is no longer the same number for every action, and
# its expectation is not zero any more. Three tempting ones, on the MDP from above:
#
# - $Q(s_t, a_t)$: predicts the return better than $V$ does;
# - $V(s_{t+1})$: an off-by-one in the index is enough;
# - half of $G_t$ itself: with $K = 2$, a mean that includes one's own return does just this to the
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
# $Q(s, a)$ has the smallest variance, of a gradient that is zero on average: it explains away the very
# difference that should be learned. A small variance alone means nothing. These mistakes are silent:
# training runs, and ends somewhere else.
#
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
# <details><summary>Hint 1</summary>
#
# A mean of squares. Which of the two arguments is data, and gets no gradient?
#
# </details>

# %% exercise="pgcourse.losses.value_regression_loss"

# %% [markdown]
# ## Any advantage, one loss
#
# The policy's loss does not care where its weights come from. Each of the lessons to come computes the
# advantage in another way; this loss stays. It also gets a **mask**, because real batches are ragged:
# episodes and answers of different length are stored in a rectangle, and what fills it up must not
# count. With $m_t = 1$ for a step that counts and 0 for filling,
#
# $$L = -\frac{\sum_{t} m_t \log \pi(a_t \mid s_t)\, A_t}{\sum_{t} m_t}.$$
#
# ### Exercise: `policy_gradient_loss` (10 minutes, ●●)
#
# The filling may hold anything, even `nan`. And $0 \cdot \text{nan}$ is not 0.
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
# and more filling behind them. The data is the same in every column of this picture, so the loss
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
plt.xlabel("columns of filling")
plt.ylabel("loss")
plt.title("The same two episodes, stored wider and wider")
plt.legend()
plt.show()

# %% [markdown]
# Two of the wrong ones drift with the filling: how much is learned from an episode would depend on
# its neighbors in the batch. The third one is steady and still different: it counts a step of the
# short episode four times as much as one of the long.
#
# ## The lineage: REINFORCE with a baseline
#
# This is lesson 2's loop, and what changes in it. Everything that follows in this course is more lines
# of this kind.
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
# + value_regression_loss(critic(obs), ret).backward(); critic_opt.step()
# ```
#
# | Line | What it buys |
# |---|---|
# | `val = critic(obs)` | a guess of what was to be expected, for each state |
# | `with_baseline` | the same mean, less variance; no gradient crosses into the critic |
# | `policy_gradient_loss` | the policy's loss no longer cares where its weights come from |
# | `value_regression_loss` | the guess gets better with each batch, *after* the policy has used it |
#
# The order matters. A value fitted to this very batch before it is subtracted has seen the returns, and
# so the actions: it would be a baseline of the forbidden kind.
#
# ## The same CartPole, in fewer steps
#
# Your functions inside the training loop: five seeds of plain REINFORCE, five with the learned
# baseline, everything else equal: eight episodes a batch, and steps that are bold for such noisy
# gradients.
#
# *About 40 seconds; the bars show how far it is.*


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
# baseline the same steps teach more, and the seeds agree better with each other. (Plain REINFORCE can
# be made steadier, with a smaller learning rate or larger batches. Both cost steps: try `lr=0.02`.)
#
# How good is the value that made it? **Explained variance** is
# the part of the returns' variance that the value predicted, *before* it was fitted to them: 1 is all, 0
# none, and below 0 it did harm.

# %%
plots.learning_curves(
    {"with a learned baseline": runs["with a learned baseline"]}, key="explained_variance"
)
plt.axhline(0, color="black", lw=1)
plt.ylim(-1, 1)
plt.title("What the value network knew beforehand")
plt.show()

# %% [markdown]
# ### The ratio, measured where it matters
#
# What did the baseline buy on CartPole, in episodes? Take three policies: untrained, after a little
# training, and at the end. For each, play episodes, fit a value to half of them with your
# `value_regression_loss`, and measure on the other half (a value measured on the episodes that it was
# fitted to would flatter itself). One gradient per episode; its total variance with a baseline, over
# that without.
#
# *About 15 seconds.*


# %%
def play(actor, episodes, seed):
    """Whole episodes of CartPole: the rollout, and the return from each of its steps."""
    data = Collector("CartPole-v1", episodes, seed).collect_episodes(actor)
    return data, discounted_returns(data["rew"], data["ended"], config.gamma)


def fit_value(data, ret):
    torch.manual_seed(0)
    critic = networks.Critic(4, (32,))
    optimizer = torch.optim.Adam(critic.parameters(), lr=0.03)
    for _ in range(fast(300, 20)):
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


episodes = fast(64, 8)
torch.manual_seed(0)
settings_short = settings | {"total_steps": fast(12_000, 500)}
short = reinforce.train(reinforce.Config(**settings_short), loss=policy_gradient_loss)
stages = {
    "untrained": networks.CategoricalActor(4, 2, (32,)),
    "some training": short.policy,
    "trained": runs["with a learned baseline"][0].policy,
}
ratios = {"no baseline": [], "the mean return": [], "a learned V(s)": []}
for actor in stages.values():
    seen, fresh = play(actor, episodes, seed=1), play(actor, episodes, seed=2)
    data, ret = fresh
    constant = torch.full_like(ret, seen[1][seen[0]["mask"]].mean().item())
    value = fit_value(*seen)(data["obs"])
    plain = gradient_variance(episode_gradients(actor, data, ret))
    for name, val in zip(ratios, [torch.zeros_like(ret), constant, value], strict=True):
        kept = gradient_variance(episode_gradients(actor, data, with_baseline(ret, val)))
        ratios[name].append((kept / plain).item())

x = torch.arange(len(stages))
for i, (name, heights) in enumerate(ratios.items()):
    bars = plt.bar(x + 0.27 * (i - 1), heights, 0.25, label=name)
    plt.bar_label(bars, fmt="%.2f", fontsize=9)
plt.xticks(x, list(stages))
plt.ylabel("variance ratio (1 = no baseline)")
plt.title(f"The price of one precision, from {episodes} episodes each")
plt.ylim(0, 1.35)
plt.legend(ncols=3, loc="upper center")
plt.show()

# %% [markdown]
# Read a bar of 0.2 as: *one episode with the baseline is worth five without.* The ratio is itself an
# estimate from a few dozen episodes, so take its second digit lightly.
#
# ## Normalized advantages
#
# A last trick, found in almost every implementation: give the advantages of a batch mean 0 and standard
# deviation 1,
#
# $$A'_i = \frac{A_i - \operatorname{mean}(A)}{\operatorname{std}(A) + 10^{-8}}.$$
#
# Then the step no longer depends on the unit of the reward, and one learning rate serves many tasks. It
# is *not* a baseline: the mean contains each sample's own advantage (a bias of one part in the size of
# the batch), and the scale is a random number.
#
# ### Exercise: `normalize_advantage` (12 minutes, ●●●)
#
# With a mask, the padding stays out of the mean and the standard deviation, and is 0 in the result. And
# what if all advantages are equal? It happens: before the first reward all returns are 0, and in lesson 7
# all answers to a prompt may earn the same score.
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
# Does it save episodes, too? All $3^5$ outcomes of five samples from the bandit once more, with the
# rewards multiplied by 0.01 to 100. Left: how long the mean step is. Right: mean over spread, which is
# what decides how many episodes you need.

# %%
draws = torch.cartesian_prod(*[torch.arange(3)] * 5).T
chance = p[draws].prod(dim=0)


def mean_and_spread(weight):
    gradients = (weight.unsqueeze(-1) * all_scores[draws]).mean(dim=0)
    mean = chance @ gradients
    return mean.norm().item(), (chance @ gradients**2 - mean**2).sum().sqrt().item()


units = [0.01, 0.1, 1, 10, 100]
centered, normalized = [], []
for unit in units:
    adv = unit * (pays[draws] - leave_one_out_baseline(pays[draws]))
    centered.append(mean_and_spread(adv))
    normalized.append(mean_and_spread(torch.stack([normalize_advantage(a) for a in adv.T], dim=1)))

fig, (left, right) = plt.subplots(1, 2, figsize=(7, 3.2))
for runs_of, label, line in [(centered, "baseline only", "o-"), (normalized, "normalized", "s--")]:
    left.loglog(units, [m for m, _ in runs_of], line, label=label)
    right.semilogx(units, [m / s for m, s in runs_of], line, label=label)
left.set_ylabel("length of the mean step")
right.set_ylabel("mean / spread")
right.set_ylim(0, 1)
for ax in (left, right):
    ax.set_xlabel("unit of the reward")
    ax.legend()
plt.show()

# %% [markdown]
# It fixes the length of the step, and hardly touches its precision: dividing makes the signal and the noise
# smaller together. Precision is the baseline's work.

# %% [markdown]
# ## The quiz
#
# Five questions about what you saw; each is worth a point on its own. Return a dict.
#
# ### Exercise: `quiz_baselines` (5 minutes, ●)
#
# <details><summary>Hint</summary>
#
# For `episodes`: the error of a mean of $N$ is $\sqrt{\mathrm{Var}/N}$. Which $N$ keeps it when $\mathrm{Var}$ shrinks?
#
# </details>

# %% exercise="pgcourse.checks.baselines.quiz_baselines"

# %% [markdown]
# ## The agent
#
# The first of your agents with a learned baseline, without exploration.

# %%
agent = runs["with a learned baseline"][0]
scores_seen = evaluate(agent.policy, "CartPole-v1", episodes=fast(20, 4))
print(f"mean return of {len(scores_seen)} fresh episodes: {scores_seen.mean():.1f} of 500")
plots.animate(agent.policy, "CartPole-v1", max_steps=fast(200, 20))

# %% [markdown]
# ## Ask yourself
#
# <details><summary>May a baseline depend on the time step? On the parameters of the policy? On other episodes?</summary>
#
# Yes, yes and yes. It may depend on anything but the action (and what follows from it), because all the
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
# It would have seen the returns of these very actions. Fitted well enough, it would be $G_t$ itself, and
# nothing would be left to learn.
#
# </details>
# <details><summary>A friend reports: "with my baseline the loss is much smaller". Is that the point?</summary>
#
# No. The loss of a policy gradient is not a measure of anything; only its gradient means something.
# Compare the variance of the gradients, or the steps until the task is solved.
#
# </details>
#
# ## What was left out
#
# Baselines that do look at the action and correct the bias that this brings (control variates such as
# Q-Prop; Tucker et al. 2018 measured that little is gained), the state-dependent optimum (a ratio like
# $b^*$ for each state), and the proof that a policy gradient with a learned baseline converges.
#
# ## Papers
#
# - Williams (1992), *Simple statistical gradient-following algorithms for connectionist reinforcement
#   learning*: the baseline, from the beginning.
# - Greensmith, Bartlett & Baxter (2004), *Variance reduction techniques for gradient estimates in
#   reinforcement learning*: the best baseline, and how far the value is from it.
# - Kool, van Hoof & Welling (2019), *Buy 4 REINFORCE samples, get a baseline for free!*: leave one out.
# - Tucker et al. (2018), *The mirage of action-dependent baselines in reinforcement learning*.
# - Engstrom et al. (2020), *Implementation matters in deep policy gradients*: what normalization does.
#
# **Next:** lesson 4 lets the value do more than to be subtracted. Actor and critic learn together, and
# nobody waits for the end of the episode.
