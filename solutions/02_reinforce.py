# ---
# jupyter:
#   jupytext:
#     text_representation:
#       extension: .py
#       format_name: percent
# ---

# %% [markdown]
# # 2 · REINFORCE, and its variance
#
# Lesson 1 computed the policy gradient exactly, from full knowledge of the world. An agent knows only
# what it has experienced. REINFORCE replaces each expectation by what was observed, and it works:
# your functions will teach an agent to balance a pole. It is also noisy, and the noise is easy to
# underestimate. So you will measure it.
#
# **You will be able to**
#
# - compute the reward-to-go of every step, across the ends of episodes and batches,
# - write REINFORCE as a loss and train an agent with it,
# - show that an estimate is unbiased, with a z-score against the exact gradient,
# - say what two usual shortcuts (no $\gamma^t$, a mean over steps) do to it,
# - measure its variance, and say how many episodes a given precision costs.
#
# **You need** lesson 1. About 90 minutes; the longest cell takes about 20 seconds.
#
# | Exercise | Minutes | Difficulty |
# |---|---|---|
# | `discounted_returns` | 12 | ●● |
# | `reinforce_loss` | 6 | ● |
# | `reinforce_surrogate_gradient` | 15 | ●●● |
# | `gradient_variance` | 6 | ●● |
# | `standard_error` | 4 | ● |
# | `episodes_needed` | 3 | ● |
# | `quiz_reinforce` | 6 | ●● |

# %% tags=["setup"]
import math
from dataclasses import replace

import matplotlib.pyplot as plt
import torch

from pgcourse import fast, plots, simplex
from pgcourse.bets import bet, settle
from pgcourse.checks import check
from pgcourse.distributions import grad_log_softmax, softmax
from pgcourse.mdp import (
    action_values,
    corridor,
    episodic_mdp,
    exact_policy_gradient,
    occupancy,
    sample_episodes,
)
from pgcourse.own_agent import check_agent
from pgcourse.tensors import same_shape

plots.style()

# %% [markdown]
# <details><summary>Names from the package that you will meet</summary>
#
# | name | what it is |
# |---|---|
# | `softmax`, `grad_log_softmax`, `action_values`, `exact_policy_gradient` | lesson 1's exercises (the package's versions) |
# | `corridor`, `episodic_mdp`, `occupancy` | lesson 1's worlds, and their discounted visits $d(s)$ |
# | `sample_episodes(mdp, pi, n, generator)` | plays `n` episodes: a list of (states, actions, rewards) |
# | `same_shape`, `fast`, `plots`, `check`, `bet`, `settle` | as in lesson 1 |
# | `check_agent(lesson)` | judges your own agent, a file `my_agent.py` beside this notebook, by what it does |
# | `simplex` | a policy of three actions in a triangle: `panels` are pictures, `playground` has sliders |
#
# </details>

# %% [markdown]
# ## From the theorem to what was observed
#
# The theorem needs $Q^\pi(s_t, a_t)$: the expected return after taking $a_t$ in $s_t$. An agent that
# played an episode knows *one* return that followed, $G_t$. Its average is $Q^\pi$, so we may use
# it in $Q$'s place:
#
# $$\nabla J = \mathbb{E}\Big[\sum_t \gamma^t\, G_t\, \nabla \log \pi_\theta(a_t \mid s_t)\Big],
#   \qquad G_t = r_t + \gamma r_{t+1} + \gamma^2 r_{t+2} + \dots$$
#
# That is REINFORCE (Williams, 1992): play whole episodes, then make each action more probable in
# proportion to the return that followed. It is called a **Monte Carlo** method because it averages samples.
#
# ## Reward-to-go
#
# $G_t$ contains only the rewards from step $t$ on: the **reward-to-go**. Lesson 1 showed that the
# rewards before $t$ add nothing on average. What they do to the noise you will measure.
#
# The returns of an episode follow from the back, each from the next:
# $G_t = r_t + \gamma G_{t+1}$. By hand, for rewards $(1, 2, 3)$ and $\gamma = 0.5$:
#
# 1. $G_2 = 3$, nothing follows.
# 2. $G_1 = 2 + 0.5 \cdot 3 = 3.5$.
# 3. $G_0 = 1 + 0.5 \cdot 3.5 = 2.75$.
#
# A batch of experience often holds *several* episodes one after another, and several environments
# side by side. Conventions of this course: time is axis 0, environments are axis 1, and
# `ended[t]` is `True` where step $t$ was the last of its episode, so the sum must stop there. The
# last row of the batch may cut an episode off in the middle; then `last_val` stands for the return
# that was still to come (0 unless somebody knows better).
#
# ### Exercise: `discounted_returns` (12 minutes, ●●)
#
# <details><summary>Hint 1</summary>
#
# Walk backwards through time and keep one running return per environment.
#
# </details>
# <details><summary>Hint 2</summary>
#
# Where `ended[t]` is true, what follows belongs to another episode: put 0 in its place before you
# discount and add. `torch.where` does it for all environments at once.
#
# </details>
# <details><summary>Hint 3</summary>
#
# The running return starts as `last_val`, with the shape of one row, `rew[0]`.
#
# </details>

# %% exercise="pgcourse.estimators.discounted_returns"

# %%
rew = torch.tensor([1.0, 2.0, 3.0])
print("by hand: [2.75, 3.5, 3.0]   yours:", end=" ")
print(discounted_returns(rew, torch.tensor([False, False, True]), gamma=0.5).tolist())

rew, ended = torch.ones(60), torch.zeros(60, dtype=torch.bool)
ended[[19, 31, 59]] = True
steps = torch.arange(60)
leaking = discounted_returns(rew, torch.zeros_like(ended), 0.95)
plt.plot(steps, discounted_returns(rew, ended, 0.95), "o-", ms=4, label="yours")
plt.plot(steps, leaking, "--", label="if `ended` is ignored")
for t in ended.nonzero().flatten():
    plt.axvline(t + 0.5, color="black", lw=1, ls=":")
plt.xlabel("step of the batch (dotted: an episode ends)")
plt.ylabel("return (reward 1 per step, γ = 0.95)")
plt.title("Three episodes in one batch: the sum must stop where they end")
plt.legend()
plt.show()

# %% claim="a_leak_changes_all_but_the_last_episode"
# Ignoring `ended` raises every return before the last episode, and none of the last episode.
right = discounted_returns(rew, ended, 0.95)
assert (leaking[:32] > right[:32]).all() and torch.allclose(leaking[32:], right[32:])

# %% [markdown]
# The dashed line is a bug that raises no error: the shapes are right and so are the last returns of the batch.
# At the end of this lesson you will see what becomes of an agent that is trained with it.

# %% [markdown]
# ## A loss whose gradient is the estimate
#
# PyTorch minimizes losses. So we write down a number whose *gradient* is minus the estimate:
#
# $$L(\theta) = -\frac{1}{T} \sum_{t=1}^{T} G_t \log \pi_\theta(a_t \mid s_t)$$
#
# The value of this "loss" means nothing: it may rise while the agent gets better, because the data
# it is computed on change with the policy. Only its gradient counts. The returns are observed numbers,
# **constants**: no gradient may flow into them. (Today they could not have one. In lesson 7 the
# rewards come out of a neural network.)
#
# Two shortcuts are usual in deep-learning code, and this loss takes both: the mean runs over *steps*, not over
# episodes, and the factor $\gamma^t$ is left out, so that late steps count as much as early ones. Neither is
# free. You will see below what each of them does.
#
# ### Exercise: `reinforce_loss` (6 minutes, ●)
#
# <details><summary>Hint 1</summary>
#
# One line. Where does the minus belong, so that descending the loss climbs the return?
#
# </details>
# <details><summary>Hint 2</summary>
#
# `x.detach()` is the same tensor, cut off from the graph.
#
# </details>

# %% exercise="pgcourse.losses.reinforce_loss"

# %% [markdown]
# Is its gradient the one of lesson 1? Three samples of a single state, once through your loss and
# autograd, once by the formula $\frac1N \sum_n R_n (\text{onehot} - \pi)$:

# %%
theta = torch.tensor([0.3, -0.2, 0.1], requires_grad=True)
actions, ret = torch.tensor([0, 2, 2]), torch.tensor([1.0, -1.0, 3.0])
reinforce_loss(torch.log_softmax(theta, 0)[actions], ret).backward()

with torch.no_grad():
    scores = torch.stack([grad_log_softmax(theta, a) for a in actions.tolist()])
    print("minus the loss's gradient:", (-theta.grad).tolist())
    print("the formula              :", (ret.unsqueeze(1) * scores).mean(0).tolist())

# %% claim="the_loss_s_gradient_is_the_estimate"
# Autograd through the loss gives minus the mean of return times score.
assert torch.allclose(-theta.grad, (ret.unsqueeze(1) * scores).mean(0), atol=1e-6)

# %% [markdown]
# ## What the mean over steps does
#
# If every batch holds the same number of steps, dividing by it only rescales the learning rate. But whole episodes
# have unequal lengths. Take a fork with one decision: *short* is one step and pays 1, *long* is ten steps
# and pays 2 at the end. Long is better, so the gradient should raise its probability. It starts at ½.
#
# **Predict first.** A batch of $N$ episodes gives one gradient of your loss. On average over batches, does it push
# towards *long*, for $N = 1$, 4, 16?
#
# <details><summary>Answer (run the cell first)</summary>
#
# For one or two episodes it pushes towards *short*, the worse choice; at four it hardly pushes; with many it
# pushes the right way.
#
# </details>
#
# Nothing is sampled here: a batch is described by how many of its episodes are long, so we can sum over all
# possibilities, each with its probability.


# %%
def expected_push(N, loss, length=10, pays=2.0):
    """The exact mean, over batches of N episodes, of minus the loss's derivative with respect to theta[long]."""
    theta, push = torch.zeros(2, dtype=torch.float64, requires_grad=True), 0.0
    for long in range(N + 1):
        logp = torch.log_softmax(theta, 0)
        forced = torch.zeros(long * (length - 1))  # steps without a choice: probability 1, logp 0
        logp = torch.cat([logp[1].repeat(long), logp[0].repeat(N - long), forced.double()])
        ret = torch.cat(
            [torch.full((long,), pays), torch.ones(N - long), torch.full_like(forced, pays)]
        )
        (grad,) = torch.autograd.grad(loss(logp, ret.double()), theta)
        push -= math.comb(N, long) / 2**N * grad[1].item()
    return push


sizes = [1, 2, 4, 8, 16, 32, 64]
mean_length = 5.5
over_steps = [mean_length * expected_push(N, reinforce_loss) for N in sizes]
over_episodes = [expected_push(N, lambda logp, ret, N=N: -(logp * ret).sum() / N) for N in sizes]
plt.plot(sizes, over_steps, "o-", label="mean over steps (times the mean length, 5.5)")
plt.plot(sizes, over_episodes, "s--", label="sum over steps, mean over episodes")
plt.axhline(0, color="black", lw=1)
plt.xscale("log", base=2)
plt.xticks(sizes, sizes)
plt.xlabel("episodes in the batch, N")
plt.ylabel("expected push towards “long”")
plt.title("Dividing by the number of steps changes the direction")
plt.legend()
plt.show()

# %% [markdown]
# A batch with long episodes divides by more steps, so what it says counts for less. Mathematically the
# mean over steps is a **ratio estimator**, the quotient of two random numbers, and biased. The bias falls like $1/N$: with 16
# episodes, as in the training below, it takes an eighth of this gradient away, and with one episode it reverses the direction. What
# dividing by lengths does is debated today for language models, whose answers are episodes of unequal length, under the name of
# **length bias** (Liu et al. 2025). It returns in lesson 7.

# %% claim="the_mean_over_steps_can_reverse_the_direction"
# Exactly: minus for 1 and 2 episodes, plus from 4 on, and the bias falls like 1/N; the sum over steps is unbiased for each N.
push = dict(zip(sizes, over_steps, strict=True))
assert push[1] < -1 and push[2] < 0 < push[4] < 0.05, push
assert all(abs(each - 0.25) < 1e-12 for each in over_episodes)
assert 0.8 * 0.25 < push[16] < 0.25 and abs((0.25 - push[64]) / (0.25 - push[32]) - 0.5) < 0.05, (
    push
)
same = expected_push(4, reinforce_loss, length=1) / expected_push(1, reinforce_loss, length=1)
assert abs(same - 1) < 1e-12  # equal lengths: only a factor, whatever N

# %% [markdown]
# ## Is it unbiased?
#
# "Unbiased" means: *the expected value of the estimate is the exact gradient*, so the average of many tends to it.
# That is a claim about your code, and it can be tested. Write the estimate for a table of preferences $\theta$ `[S, A]`,
# with everything that the theorem asks for ($\gamma^t$ included):
#
# $$\hat g = \frac{1}{N} \sum_{n=1}^{N} \sum_t \gamma^t\, G_t\, \nabla_\theta \log \pi_\theta(a_t \mid s_t).$$
#
# The score of step $t$ touches only row $s_t$ of the table: $+1$ at $a_t$, and $-\pi(\cdot \mid s_t)$
# along the row.
#
# ### Exercise: `reinforce_surrogate_gradient` (15 minutes, ●●●)
#
# <details><summary>Hint 1</summary>
#
# A loop over episodes, and inside it a loop over steps. Your `discounted_returns` gives all $G_t$ of an
# episode (nothing in it is `ended`: it is one whole episode).
#
# </details>
# <details><summary>Hint 2</summary>
#
# A state can be visited twice: *add* to its row.
#
# </details>
# <details><summary>Hint 3</summary>
#
# Divide by the number of episodes, not of steps.
#
# </details>

# %% exercise="pgcourse.estimators.reinforce_surrogate_gradient"

# %% [markdown]
# Now the test. Draw many episodes, estimate the gradient from each alone, and compare the mean with
# the exact gradient of lesson 1. The difference should be no larger than chance allows: divided by its
# own standard error (the standard deviation of the estimates over $\sqrt N$), it is a **z-score**, and about 95 % of the
# z-scores of an unbiased estimate lie between −2 and 2. The same for the version that
# leaves out $\gamma^t$.
#
# *About 10 seconds.*

# %%
mdp = episodic_mdp(S=5, A=2, gamma=0.6, seed=4)
generator = torch.Generator().manual_seed(0)
theta = torch.randn(5, 2, generator=generator, dtype=torch.float64)
exact = exact_policy_gradient(mdp, theta).flatten()
episodes = sample_episodes(mdp, softmax(theta), fast(8000, 1000), generator)


def per_episode(estimate, episodes, theta=theta, gamma=mdp.gamma):
    """The estimate from each episode alone, one row each: [N, P]."""
    return torch.stack([estimate(theta, [e], gamma).flatten() for e in episodes])


def without_gamma_t(theta, episodes, gamma):
    """What deep-learning code follows: the loss's gradient, summed over the steps of the episode."""
    grad = torch.zeros_like(theta)
    for states, actions, rewards in episodes:
        ret = discounted_returns(rewards, torch.zeros(len(rewards), dtype=torch.bool), gamma)
        for t, (s, a) in enumerate(zip(states, actions, strict=True)):
            grad[s] += ret[t] * grad_log_softmax(theta[s], int(a))
    return grad / len(episodes)


def z_scores(grads):
    spread = grads.std(dim=0).clamp(min=1e-12)
    return (grads.mean(dim=0) - exact) / (spread / math.sqrt(len(grads)))


z = z_scores(per_episode(reinforce_surrogate_gradient, episodes))
z_dropped = z_scores(per_episode(without_gamma_t, episodes))
print("largest |z| with γ^t   :", round(z.abs().max().item(), 2))
print("largest |z| without γ^t:", round(z_dropped.abs().max().item(), 2))

x = torch.arange(len(exact))
plt.axhspan(-2, 2, color="black", alpha=0.08, label="95 % of an unbiased estimate")
plt.plot(x, z, "o", label="yours, with $\\gamma^t$")
plt.plot(x, z_dropped, "s", label="$\\gamma^t$ left out")
plt.xlabel("parameter (state × action)")
plt.ylabel("z-score against the exact gradient")
plt.xticks(x)
plt.title(f"Mean of {len(episodes)} single-episode estimates, against the truth")
plt.legend()
plt.show()

# %% claim="with_gamma_t_the_mean_is_the_gradient"
# Summed over all possible episodes: with gamma^t the mean is the exact gradient, without it it is off by more than a tenth.
from pgcourse.mdp import enumerate_episodes

every = list(enumerate_episodes(mdp, softmax(theta), horizon=5))
means = [
    sum(p * estimate(theta, [e], mdp.gamma) for p, *e in every).flatten()
    for estimate in (reinforce_surrogate_gradient, without_gamma_t)
]
assert torch.allclose(means[0], exact, atol=1e-12)
assert (means[1] - exact).norm() > 0.1 * exact.norm()

# %% [markdown]
# Your estimate is off by no more than chance. Without $\gamma^t$ it is plainly biased. Is it then the gradient
# of something else, say of the undiscounted return?
#
# **Predict first.** The derivatives of a gradient form a matrix of second derivatives, and their order does not matter:
# $\partial^2 f / \partial \theta_i\, \partial \theta_j$ is symmetric in $i$ and $j$. Will the matrix of derivatives of the expected update
# be symmetric with $\gamma^t$? And without?
#
# <details><summary>Answer (run the cell first)</summary>
#
# With it, symmetric to the last digit. Without it, not: so there is *no* function whose gradient it is. Nota & Thomas
# (2020) prove it, and found the factor missing in every implementation that they looked at.
#
# </details>
#
# Both expected updates are known exactly: with $\gamma^t$ the states count by their discounted visits, without it by
# their plain visits, while the values stay discounted.


# %%
def expected_update(theta, visits_gamma):
    """The mean of REINFORCE's update: visits discounted by visits_gamma, values by the MDP's own gamma."""
    pi = softmax(theta)
    d = occupancy(replace(mdp, gamma=visits_gamma), pi)
    Q = action_values(mdp, pi)
    return d.unsqueeze(1) * pi * (Q - (pi * Q).sum(dim=1, keepdim=True))


fig, axes = plt.subplots(1, 2, figsize=(8, 3.4))
for ax, visits_gamma, name in zip(axes, (mdp.gamma, 1.0), ("with γ^t", "without γ^t"), strict=True):
    jacobian = torch.autograd.functional.jacobian(
        lambda x, g=visits_gamma: expected_update(x.view_as(theta), g).flatten(), theta.flatten()
    )
    asymmetry = (jacobian - jacobian.T).abs()
    image = ax.imshow(asymmetry, vmin=0, vmax=0.004, cmap="Blues")
    ax.set(
        title=f"{name}: at most {asymmetry.max():.0e}", xlabel="parameter j", ylabel="parameter i"
    )
    ax.grid(False)
fig.colorbar(image, ax=axes, label="|H_ij − H_ji|")
fig.suptitle("The derivatives of a gradient form a symmetric matrix H")
plt.show()

# %% claim="without_gamma_t_it_is_the_gradient_of_no_function"
# On five MDPs: the Jacobian of the expected update is symmetric with gamma^t and not without it.
for seed in range(5):
    mdp = episodic_mdp(S=5, A=2, gamma=0.6, seed=seed)
    at = torch.randn(10, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)
    for visits_gamma in (0.6, 1.0):
        jacobian = torch.autograd.functional.jacobian(
            lambda x, g=visits_gamma: expected_update(x.view(5, 2), g).flatten(), at
        )
        off = (jacobian - jacobian.T).abs().max()
        assert off < 1e-15 if visits_gamma < 1 else off > 1e-4, (seed, visits_gamma, off)
mdp = episodic_mdp(S=5, A=2, gamma=0.6, seed=4)
assert torch.allclose(expected_update(theta, 0.6).flatten(), means[0], atol=1e-12)
assert torch.allclose(expected_update(theta, 1.0).flatten(), means[1], atol=1e-12)

# %% [markdown]
# How far apart are the two directions? **Predict first:** in the corridor with $\gamma = 0.99$ and episodes of 500 steps, what
# is the cosine between them? A usual setting; is it nearer to 1 or to 0?

# %%
bet("02 cosine", "γ = 0.99, 500 steps: cosine of the updates with and without γ^t?", between=(0, 1))

# %%
horizons = [5, 10, 20, 50, 100, 200, 500]
for gamma in (0.9, 0.98, 0.99, 0.999):
    cosines = []
    for T in horizons:
        mdp, theta = corridor(T, gamma), torch.zeros(T, 2, dtype=torch.float64)
        pair = [expected_update(theta, g).flatten() for g in (gamma, 1.0)]
        cosines.append(torch.nn.functional.cosine_similarity(*pair, dim=0))
    plt.plot(horizons, cosines, "o-", label=f"γ = {gamma}")
    if gamma == 0.99:
        settle("02 cosine", cosines[-1], plt.gca())
plt.xscale("log")
plt.xticks(horizons, horizons)
plt.ylim(0, 1.05)
plt.xlabel("horizon T (steps per episode)")
plt.ylabel("cosine of the two updates")
plt.title("With and without γ^t: alike only while (1 − γ) T is small")
plt.legend()
plt.show()

# %% [markdown]
# 0.63. In this corridor the two agree while $(1 - \gamma)\, T \ll 1$, that is, in episodes much shorter than the discount's own
# horizon of $1/(1-\gamma)$ steps. Beyond that, dropping $\gamma^t$ is a decision and not a detail: late steps count as much as early
# ones, and the direction is in general the gradient of no function. The training loops of this course drop it, as is usual.

# %% claim="the_two_updates_agree_only_in_short_episodes"
# The cosine depends on (1 - gamma) T: .99 and more at 0.5 and below, under .7 at 4 and above; .63 at gamma .99, T 500.
known = {}
for gamma in (0.98, 0.99, 0.999):
    for T in horizons:
        mdp, theta = corridor(T, gamma), torch.zeros(T, 2, dtype=torch.float64)
        pair = [expected_update(theta, g).flatten() for g in (gamma, 1.0)]
        known[gamma, T] = torch.nn.functional.cosine_similarity(*pair, dim=0).item()
        reach = (1 - gamma) * T
        assert reach > 0.51 or known[gamma, T] > 0.989, (gamma, T, known[gamma, T])
        assert reach < 3.9 or known[gamma, T] < 0.7, (gamma, T, known[gamma, T])
assert abs(known[0.99, 500] - 0.627) < 1e-3

# %% [markdown]
# ## How noisy is it?
#
# Unbiased is a statement about the average. One batch is not the average. A natural measure is the
# **total variance** of a single-episode gradient $g$, the expected squared distance from its mean:
#
# $$V = \sum_p \operatorname{Var}(g_p) \;\approx\; \sum_p \frac{1}{N-1} \sum_{n=1}^{N} (g_{np} - \bar g_p)^2 .$$
#
# The $N - 1$ makes up for the mean $\bar g$ being estimated from the same samples.
#
# ### Exercise: `gradient_variance` (6 minutes, ●●)
#
# <details><summary>Hint 1</summary>
#
# Which axis holds the samples? The variance runs along it, the sum along the other.
#
# </details>
# <details><summary>Hint 2</summary>
#
# `torch.var` divides by $N-1$ unless told otherwise.
#
# </details>

# %% exercise="pgcourse.estimators.gradient_variance"

# %% [markdown]
# Two experiments in a corridor whose length we can choose: each step pays 1 for one action and 0 for
# the other, and it ends after $T$ steps. First, does it matter that we credit only the reward-to-go?
# Second, how does the noise grow with the horizon $T$?
#
# *About 10 seconds.*


# %%
def total_return_gradient(theta, episodes, gamma):
    """Credits each step with the whole episode's return; unbiased as well."""
    grad = torch.zeros_like(theta)
    for states, actions, rewards in episodes:
        total = (gamma ** torch.arange(len(rewards), dtype=torch.float64) * rewards).sum()
        for s, a in zip(states, actions, strict=True):
            grad[s] += total * grad_log_softmax(theta[s], int(a))
    return grad / len(episodes)


horizons, n = [2, 4, 8, 16, 32], fast(200, 50)
to_go, whole, signal = [], [], []
for T in horizons:
    mdp = corridor(length=T)
    theta = torch.zeros(T, 2, dtype=torch.float64)
    episodes = sample_episodes(mdp, softmax(theta), n, generator)
    to_go.append(gradient_variance(per_episode(reinforce_surrogate_gradient, episodes, theta, 1.0)))
    whole.append(gradient_variance(per_episode(total_return_gradient, episodes, theta, 1.0)))
    signal.append(exact_policy_gradient(mdp, theta).square().sum())

plt.loglog(horizons, whole, "s--", label="noise: V, credited with the total return")
plt.loglog(horizons, to_go, "o-", label="noise: V, credited with the reward-to-go")
plt.loglog(horizons, signal, "k:", label="signal: squared length of the exact gradient")
plt.xlabel("horizon T (steps per episode)")
plt.ylabel("squared gradient units")
plt.xscale("log", base=2)
plt.title("The noise grows much faster than the signal")
plt.legend()
plt.show()
print("noise / signal at T = 32:", round((to_go[-1] / signal[-1]).item()), "for the reward-to-go,")
print("                        ", round((whole[-1] / signal[-1]).item()), "for the total return")

# %% [markdown]
# In this corridor, crediting the reward-to-go leaves about a third of the noise of the total return, at no cost. (That is not a law: if the
# first step always costs 5 and the last one always pays 5, the two cancel in the total, and leaving
# out the past makes the estimate noisier.)
#
# What remains grows like $T^3$ (each of $T$ scores is multiplied by a sum of up to $T$ rewards, whose square
# grows like $T^2$), while the signal grows like $T$. Long episodes are hard for plain REINFORCE.


# %% claim="the_noise_grows_like_T_cubed_and_the_signal_like_T"
# In closed form: V = T(T+1)(T+2)/24 - T/8 for the reward-to-go, signal T/8; the samples agree within 15 %; the total return is about 3 times noisier.
def exact_noise(
    T,
):  # |score|^2 = 1/2, and G of n steps to go is Binomial(n, 1/2): E[G^2] = n (n + 1) / 4
    return sum(n * (n + 1) / 8 for n in range(1, T + 1)) - T / 8


assert all(abs(exact_noise(T) - (T * (T + 1) * (T + 2) / 24 - T / 8)) < 1e-9 for T in horizons)
for T in (8, 32):
    mdp, theta = corridor(length=T), torch.zeros(T, 2, dtype=torch.float64)
    assert abs(exact_policy_gradient(mdp, theta).square().sum() - T / 8) < 1e-9
    few = sample_episodes(mdp, softmax(theta), 800, torch.Generator().manual_seed(T))
    V = gradient_variance(per_episode(reinforce_surrogate_gradient, few, theta, 1.0))
    assert abs(V / exact_noise(T) - 1) < 0.15, (T, V, exact_noise(T))
    whole_V = gradient_variance(per_episode(total_return_gradient, few, theta, 1.0))
    assert 2 < whole_V / V < 4, (T, whole_V / V)

# %% claim="the_reward_to_go_can_be_noisier"
# Where the first step always costs 5 and the second always pays 5, the total return has no noise and the reward-to-go has.
rewards = torch.tensor([[-5.0, -5.0], [5.0, 5.0]], dtype=torch.float64)
cancel = replace(corridor(2), R=rewards)
few = sample_episodes(cancel, torch.full((2, 2), 0.5), 100, torch.Generator().manual_seed(0))
flat = torch.zeros(2, 2, dtype=torch.float64)
assert gradient_variance(per_episode(total_return_gradient, few, flat, 1.0)) == 0
assert gradient_variance(per_episode(reinforce_surrogate_gradient, few, flat, 1.0)) > 10

# %% [markdown]
# ## What it costs
#
# A batch of $N$ independent episodes averages $N$ such gradients. Variances of independent samples add
# up, so the mean has variance $V / N$, and its typical distance from the truth, the **standard error**,
# is $\sqrt{V / N}$. The root is the bad news: ten times closer takes a hundred times the episodes.
#
# Count *episodes*: they are independent of each other. The parameters of one gradient are not samples, and the steps of
# one episode need not be independent, as you will see.
#
# ### Exercise: `standard_error` (4 minutes, ●)
#
# This one is written already, and wrong in one place. Find it, say why, mend it.
#
# <details><summary>Hint</summary>
#
# With a hundred times the samples, how much smaller does this one get? How much smaller should it get?
#
# </details>

# %% exercise="pgcourse.estimators.standard_error" broken="divided by N"

# %% [markdown]
# ### Exercise: `episodes_needed` (3 minutes, ●)
#
# Turn it round: how many episodes until the standard error is as small as you want it?
#
# <details><summary>Hint</summary>
#
# Solve $\sqrt{V / N} = \text{error}$ for $N$, and round up: `math.ceil`.
#
# </details>

# %% exercise="pgcourse.estimators.episodes_needed"

# %% [markdown]
# The price list. For each horizon: how many episodes until the error is a tenth of the gradient's
# own length? And is the $1/\sqrt N$ law true for *your* estimates? The right panel measures the actual distance from
# the exact gradient for batches of growing size.
#
# *About 10 seconds.*

# %%
cost = [episodes_needed(V, 0.1 * math.sqrt(s)) for V, s in zip(to_go, signal, strict=True)]

T = 8
mdp, theta = corridor(length=T), torch.zeros(T, 2, dtype=torch.float64)
exact = exact_policy_gradient(mdp, theta).flatten()
grads = per_episode(
    reinforce_surrogate_gradient,
    sample_episodes(mdp, softmax(theta), fast(2048, 512), generator),
    theta,
    1.0,
)
sizes = [1, 4, 16, 64, 256]
measured = []
for size in sizes:
    means = grads[: len(grads) // size * size].view(-1, size, len(exact)).mean(dim=1)
    measured.append((means - exact).square().sum(dim=1).mean().sqrt())
predicted = [standard_error(grads) * math.sqrt(len(grads) / size) for size in sizes]

fig, (left, right) = plt.subplots(1, 2, figsize=(9, 3.5))
left.loglog(horizons, cost, "o-")
left.set(
    xlabel="horizon T (steps)", ylabel="episodes for a 10 % error", title="The price of precision"
)
left.set_xscale("log", base=2)
right.loglog(sizes, measured, "o", label="measured distance")
right.loglog(sizes, predicted, "k:", label="√(V / N)")
right.axhline(exact.norm(), color=plots.RED, lw=1, label="length of the gradient itself")
right.set_xscale("log", base=4)
right.set(xlabel="episodes in the batch", ylabel="error of the estimate", title=f"Horizon {T}")
right.set_ylim(0.08, 60)
right.set_yticks([0.1, 1, 10], ["0.1", "1", "10"])
right.legend(loc="upper right")
plt.show()
for T, episodes_for_ten_percent in zip(horizons, cost, strict=True):
    print(f"T = {T:2d}: {episodes_for_ten_percent:6d} episodes")

# %% [markdown]
# The dots follow $\sqrt{V/N}$ with $N$ the number of *episodes*.
#
# Where the dots are above the red line, the error is *larger than the gradient*: such an estimate points
# in a direction that has more to do with luck than with the task. Learning can still work, since the errors
# average out over many small steps. But it costs many episodes, and baselines (lesson 3) and critics (lesson 4) are there to save them.

# %% claim="the_error_follows_the_number_of_episodes"
# At horizon 8, over 40 batches of 4 and of 64 episodes, the distance to the exact gradient is sqrt(V / N) within 20 %.
mdp, theta = corridor(length=8), torch.zeros(8, 2, dtype=torch.float64)
truth = exact_policy_gradient(mdp, theta).flatten()
for size in (4, 64):
    many = sample_episodes(mdp, softmax(theta), 40 * size, torch.Generator().manual_seed(size))
    each = per_episode(reinforce_surrogate_gradient, many, theta, 1.0)
    distance = (each.view(40, size, -1).mean(dim=1) - truth).square().sum(dim=1).mean().sqrt()
    assert abs(distance / math.sqrt(exact_noise(8) / size) - 1) < 0.2, (size, distance)
assert math.sqrt(exact_noise(8) / 16) > truth.norm() > math.sqrt(exact_noise(8) / 64)

# %% [markdown]
# ### The cloud in the triangle
#
# Lesson 1's playground shows what a variance is: the dots are where one step from $n$ sampled actions leads, the red square is their
# average. It stays where it is, however small the sample; the cloud around it shrinks like $1/\sqrt{n}$.

# %%
simplex.panels({f"{drawn} sampled actions": {"n": drawn} for drawn in (1, 4, 16, 64)})
plt.show()

# %% claim="the_cloud_shrinks_like_one_over_root_n"
# Steps from n actions: four times as many halve the spread (within 5 %, five seeds), and the mean stays.
for seed in range(5):
    spread, mean = {}, {}
    for n in (4, 16, 64):
        dots = simplex.cloud(simplex.START, simplex.PAYS, n=n, dots=10_000, seed=seed)
        spread[n], mean[n] = gradient_variance(dots).sqrt(), dots.mean(dim=0)
    assert abs(spread[4] / spread[16] - 2) < 0.1 and abs(spread[16] / spread[64] - 2) < 0.1, spread
    assert (mean[4] - mean[64]).norm() < 5 * spread[4] / 10_000**0.5

# %% [markdown]
# ### Are the steps samples of their own?
#
# A batch of 100 episodes of 32 steps holds 3,200 steps. If their contributions to the gradient were
# independent, an episode's variance would be the *sum of the variances of its steps*. Two worlds, both with one pair of preferences that
# all steps share, and no discount on the way ($\gamma = 0$: a step is credited with its own reward only):
#
# - *fresh luck*: action 1 pays 0 or 2, drawn anew at each step;
# - *shared luck*: action 1 pays 0 or 2, drawn once for the whole episode, as if on some days nothing worked.
#
# **Predict first.** In which of the two is the variance of an episode's gradient larger than the sum over its steps? How
# much larger, for 32 steps?


# %%
def step_contributions(n, T, shared_luck, generator):
    """What each step adds to the gradient of two shared preferences, at pi = (1/2, 1/2): [n, T, 2]."""
    luck = 2.0 * torch.randint(2, (n, 1 if shared_luck else T), generator=generator)
    act = torch.randint(2, (n, T), generator=generator)
    score = torch.stack([0.5 - act, act - 0.5], dim=-1)
    return (luck * act).unsqueeze(-1) * score


horizons = [1, 2, 4, 8, 16, 32]
for shared_luck, style in ((True, "o-"), (False, "s--")):
    ratios = []
    for T in horizons:
        x = step_contributions(4000, T, shared_luck, generator)
        by_steps = sum(gradient_variance(x[:, t]) for t in range(T))
        ratios.append(gradient_variance(x.sum(dim=1)) / by_steps)
    plt.plot(horizons, ratios, style, label="shared luck" if shared_luck else "fresh luck")
plt.xscale("log", base=2)
plt.xticks(horizons, horizons)
plt.ylim(0, None)
plt.xlabel("steps per episode, T")
plt.ylabel("V of an episode / sum over its steps")
plt.title("Steps that share their luck are not samples of their own")
plt.legend()
plt.show()

# %% [markdown]
# With fresh luck the ratio is 1: there, counting steps would be right. With shared luck it is $1 + (T-1)/3$, about 11 for 32 steps, and whoever counts
# steps reports an error that is $\sqrt{11} \approx 3.4$ times too small. In the corridor above the steps happen to be uncorrelated, too.
# Counting episodes is right in all of them, and needs no assumption about the world.

# %% claim="steps_that_share_their_luck_are_not_samples"
# By enumeration over all actions and lucks of up to six steps: shared luck 1 + (T - 1) / 3, fresh luck exactly 1; in the corridor exactly 1.
from itertools import product as every_combination


def variance_ratio_of(terms):  # [outcomes, T, P], all outcomes equally probable
    def V(x):
        return (x - x.mean(0)).square().sum(-1).mean()

    return (V(terms.sum(1)) / sum(V(terms[:, t]) for t in range(terms.shape[1]))).item()


for T in (2, 4, 6):
    acts = torch.tensor(list(every_combination((0.0, 1.0), repeat=T)))
    score = torch.stack([0.5 - acts, acts - 0.5], dim=-1)
    lucky = torch.cat([acts.unsqueeze(-1) * luck * score for luck in (0.0, 2.0)])
    assert abs(variance_ratio_of(lucky) - (1 + (T - 1) / 3)) < 1e-5
    fresh = torch.cat(
        [
            (acts * torch.tensor(luck)).unsqueeze(-1) * score
            for luck in every_combination((0.0, 2.0), repeat=T)
        ]
    )
    assert abs(variance_ratio_of(fresh) - 1) < 1e-5
    ahead = acts.flip(1).cumsum(1).flip(1)
    own = torch.einsum("nt,ta,nta->nta", ahead, torch.ones(T, 2), score)
    table = torch.diag_embed(own.permute(0, 2, 1)).permute(0, 2, 3, 1).flatten(2)  # own parameters
    assert abs(variance_ratio_of(table) - 1) < 1e-5

# %% [markdown]
# ## Your REINFORCE learns CartPole
#
# CartPole-v1: push a cart left or right so that the pole on it stays up; each step pays 1, an episode ends when the pole
# falls or after 500 steps. The policy is a small network with a softmax on top, and the training loop in
# `pgcourse.reinforce` calls **your** `discounted_returns` and **your** `reinforce_loss`. Each step of the
# optimizer uses 16 whole episodes, played side by side in 16 environments; where one ends early, its environment goes on
# with another episode, which is marked as not belonging to the batch. Five seeds, that is five times the same program
# with other random numbers. And the same five with the bug from the beginning: `ended` ignored, so that the rewards of the next
# episode leak into the returns of the first.
#
# **Bet first.** A policy that acts at random reaches a return of about 22. Where do the five with the bug end?
#
# *About 20 seconds.*

# %%
bet("02 leak", "`ended` ignored: the mean return of the five at the end?", between=(0, 500))

# %%
from pgcourse import reinforce


def leaking_returns(rew, ended, gamma):
    return discounted_returns(rew, torch.zeros_like(ended), gamma)


def train(seed, returns):
    config = reinforce.Config(
        env="CartPole-v1", seed=seed, lr=0.03, total_steps=fast(120_000, 5_000)
    )
    return reinforce.train(config, returns=returns, loss=reinforce_loss)


runs = [train(seed, discounted_returns) for seed in range(fast(5, 2))]
leaking_runs = [train(seed, leaking_returns) for seed in range(fast(5, 2))]

# %%
plots.learning_curves({"your REINFORCE": runs, "`ended` ignored": leaking_runs}, threshold=475)
plt.title("One program and one bug, several seeds")
settle(
    "02 leak", sum(run.history["return"][-1] for run in leaking_runs) / len(leaking_runs), plt.gca()
)
plt.show()

# %% [markdown]
# Faint lines are single runs, the thick one is their mean, and the band says how uncertain that mean is (95 %,
# by resampling the seeds). The right runs learn, and they disagree: at the end the best seed has more than twice the return
# of the worst. A single learning curve proves little.
#
# The runs with the bug do not crash and print no warning. Of ten such seeds all ended below 100, and half of them below
# a policy that acts at random. If an agent does not learn, look at the ends of its episodes.
#
# Watch the best of the right ones:


# %% claim="the_leak_ruins_learning" slow=true
# CartPole, seeds 0-9, 120,000 steps: right ones end above 150, the best at twice the worst; with `ended` ignored all below 100, half below random.
import gymnasium


def end_of(seed, returns):
    config = reinforce.Config(env="CartPole-v1", seed=seed, lr=0.03, total_steps=120_000)
    run = reinforce.train(config, returns=returns, loss=reinforce_loss, progress=False)
    return round(float(run.history["return"][-1]), 1)


def at_random(seed):
    world, total, over = gymnasium.make("CartPole-v1"), 0.0, False
    world.reset(seed=seed)
    world.action_space.seed(seed)
    while not over:
        _, rew, terminated, truncated, _ = world.step(world.action_space.sample())
        total, over = total + rew, terminated or truncated
    return total


figures = {
    "right": [end_of(seed, discounted_returns) for seed in range(10)],
    "`ended` ignored": [end_of(seed, leaking_returns) for seed in range(10)],
    "at random": sum(map(at_random, range(500))) / 500,
}
right, wrong, random = figures.values()
assert 20 < random < 24, random
assert min(right) > 150 and max(right[:5]) > 2 * min(right[:5]), right
assert max(wrong) < 100 and 4 <= sum(x < random for x in wrong) <= 6, wrong

# %%
best = max(runs, key=lambda run: run.history["return"][-1])
plots.animate(best.policy, "CartPole-v1", max_steps=fast(300, 30))

# %% [markdown]
# ## With your own hands (45 minutes more)
#
# So far the package made the loop and you the formulas. Now the whole of it, from an empty file: make `my_agent.py` beside this notebook (in
# JupyterLab: File, New, Python File), with plain Gymnasium and torch and nothing from `pgcourse`. It will grow with you: a critic in lesson 3,
# bootstrapping in lesson 4, the clip in lesson 5. It holds one function:
#
# ```python
# def train(env, steps, gamma=0.99, seed=0):
#     """Learn for at least `steps` steps of the environment; returns the policy."""
# ```
#
# `env` is a Gymnasium environment like the one of the door: `env.reset()` returns `obs, info`, and `env.step(act)` returns
# `obs, rew, terminated, truncated, info`. Its observations have `env.observation_space.shape[0]` numbers; its actions are
# $0, \dots,$ `env.action_space.n` $- 1$. What you return is a function: `policy(obs)`, of one observation as Gymnasium gives it (a NumPy array), is a tensor of the probabilities of the actions.
#
# <details><summary>Hint 1: the parts</summary>
#
# A small network for the logits (two `torch.nn.Linear` with a `Tanh` between), `torch.optim.Adam` with a learning rate of about 0.01. Repeat: play whole episodes until
# there are about 64 steps; returns from the back, anew for each episode; the loss of this lesson; one step of the optimizer.
#
# </details>
# <details><summary>Hint 2: the loop of one episode</summary>
#
# ```python
# obs, _ = env.reset()
# over = False
# while not over:
#     act = torch.multinomial(policy(obs), 1).item()
#     # keep obs and act, then:
#     obs, rew, terminated, truncated, _ = env.step(act)
#     over = terminated or truncated
# ```
#
# </details>
# <details><summary>Hint 3: a whole one to compare with</summary>
#
# `solutions/my_agent_02.py` in the clone. It has about sixty lines; yours may look quite different.
#
# </details>
#
# The check trains your agent in six worlds that it has not seen, each three times, and says what it became: does it
# find the action that pays, use the observation, credit a reward that comes late, use `gamma`, keep episodes apart, and stay random where that is best? It takes
# about ten seconds on a quiet machine, in a process of its own: whatever your file does, this notebook goes on.

# %%
check_agent(2)

# %% [markdown]
# When all six are right, give it a real task, and play a few episodes with what it returns, as in the door. No points here: it is yours.
#
# ```python
# import importlib
#
# import gymnasium
# import my_agent
#
# importlib.reload(my_agent)  # Python reads a file once; this reads it again after you changed it (the check always does)
# policy = my_agent.train(gymnasium.make("CartPole-v1"), steps=50_000)
# ```

# %% [markdown]
# ### Exercise: `quiz_reinforce` (6 minutes, ●●)
#
# Six questions on what you measured in this lesson.
#
# <details><summary>Hint</summary>
#
# Each is answered by a picture or a number above; the keys name them.
#
# </details>

# %% exercise="pgcourse.exercises.reinforce.quiz_reinforce.quiz_reinforce"

# %% [markdown]
# ## Ask yourself
#
# <details><summary>Your loss goes up during training. Is something wrong?</summary>
#
# Not necessarily. The loss is a device to get a gradient; each batch comes from another policy, so its
# values cannot be compared. Watch the return.
#
# </details>
# <details><summary>All rewards of CartPole are +1. How can a policy learn from returns that are all positive?</summary>
#
# Every action that was taken is pushed up, but those followed by long survival are pushed up more, and probabilities
# sum to 1. It works, with much noise that is not necessary: lesson 3 subtracts a baseline.
#
# </details>
# <details><summary>A batch holds 16 episodes of 200 steps each. Is the error of the gradient that of 3200 samples?</summary>
#
# Count 16: whole episodes are independent of each other. Steps of one episode may share its luck, and then counting
# them promises too small an error.
#
# </details>
# <details><summary>Why is the whole-episode return unbiased, too?</summary>
#
# The rewards before step $t$ do not depend on $a_t$, and the score of $a_t$ averages to zero given everything
# before it. So they contribute zero on average. To the variance they contribute, usually by raising it.
#
# </details>
#
# ## What was left out
#
# Importance sampling (learning from another policy's episodes), per-decision variants of it, and
# gradient estimates by differentiating through a model of the world. Episodes cut by CartPole's time limit
# are treated as if they ended: a Monte Carlo return is what the episode paid. Lesson 4
# tells the two apart.
#
# ## Papers
#
# - Williams (1992), [*Simple statistical gradient-following algorithms for connectionist reinforcement
#   learning*](https://doi.org/10.1007/BF00992696).
# - Greensmith, Bartlett & Baxter (2004), [*Variance reduction techniques for gradient estimates in
#   reinforcement learning*](https://www.jmlr.org/papers/v5/greensmith04a.html).
# - Nota & Thomas (2020), [*Is the policy gradient a gradient?*](https://arxiv.org/abs/1906.07073): on the
#   missing $\gamma^t$.
# - Liu et al. (2025), [*Understanding R1-Zero-like training: a critical
#   perspective*](https://arxiv.org/abs/2503.20783): on the length bias, in language models.
# - Sutton & Barto (2018), [*Reinforcement Learning: An
#   Introduction*](http://incompleteideas.net/book/the-book-2nd.html), sections 13.2–13.3.
#
# **Next:** [lesson 3](03_baselines.ipynb) subtracts a baseline. The expected gradient stays the same; a large part of the noise goes.
