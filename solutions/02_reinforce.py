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
# Lesson 1 computed the policy gradient exactly, from full knowledge of the world. An agent has only
# what it lived through. REINFORCE replaces every expectation by what was observed, and it works:
# your functions will teach an agent to balance a pole. It is also noisy, and how noisy is the
# second most common thing that people get wrong about policy gradients. So you will measure it.
#
# **You will be able to**
#
# - compute the reward-to-go of every step, across the ends of episodes and batches,
# - write REINFORCE as a loss and train an agent with it,
# - show that an estimate is unbiased, with a z-score against the exact gradient,
# - measure its variance, and say how many episodes a given precision costs.
#
# **You need** lesson 1. About 80 minutes; the longest cell takes about 20 seconds.
#
# | Exercise | Minutes | Difficulty |
# |---|---|---|
# | `discounted_returns` | 12 | ●● |
# | `reinforce_loss` | 6 | ● |
# | `reinforce_surrogate_gradient` | 15 | ●●● |
# | `gradient_variance` | 6 | ●● |
# | `standard_error` | 4 | ● |
# | `episodes_needed` | 3 | ● |

# %% tags=["setup"]
import math

import matplotlib.pyplot as plt
import torch

from pgcourse import fast, plots
from pgcourse.checks import check
from pgcourse.distributions import grad_log_softmax, softmax
from pgcourse.mdp import corridor, episodic_mdp, exact_policy_gradient, sample_episodes
from pgcourse.tensors import same_shape

plots.style()

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
# proportion to what it led to. It is called a **Monte Carlo** method because it averages samples.
#
# ## Reward-to-go
#
# $G_t$ contains only the rewards from step $t$ on: the **reward-to-go**. Lesson 1 showed that the
# rewards before $t$ add nothing on average; all they add is noise, as you will see.
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

# %% [markdown]
# The dashed line is the most common bug of all REINFORCE implementations. It raises no error, and an
# agent still learns a little with it, which makes it hard to find.

# %% [markdown]
# ## A loss whose gradient is the estimate
#
# PyTorch minimizes losses. So we write down a number whose *gradient* is minus the estimate:
#
# $$L(\theta) = -\frac{1}{T} \sum_{t=1}^{T} G_t \log \pi_\theta(a_t \mid s_t)$$
#
# The value of this "loss" means nothing: it may rise while the agent gets better, because the data
# it is computed on change with the policy. Only its gradient counts. The returns are observed numbers,
# **constants**: no gradient may flow into them. (Today they could not have one. In lesson 7 they come
# out of a neural network.)
#
# Two liberties that nearly all deep-learning code takes: the mean runs over *steps*, which only
# rescales the learning rate, and the factor $\gamma^t$ is left out, which is a small bias on purpose: late
# steps would otherwise hardly count. You will see that bias below.
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

# %% [markdown]
# ## Is it unbiased?
#
# "Unbiased" means: *the average of many estimates tends to the exact gradient*. That is a claim about
# your code, and it can be tested. Write the estimate for a table of preferences $\theta$ `[S, A]`,
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
# own standard error (the standard deviation of the estimates over $\sqrt N$), it is a **z-score**, and z-scores of an
# unbiased estimate stay mostly between −2 and 2. The same for the version that
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
plt.axhspan(-2, 2, color="black", alpha=0.08, label="chance")
plt.plot(x, z, "o", label="yours, with $\\gamma^t$")
plt.plot(x, z_dropped, "s", label="$\\gamma^t$ left out")
plt.xlabel("parameter (state × action)")
plt.ylabel("z-score against the exact gradient")
plt.xticks(x)
plt.title(f"Mean of {len(episodes)} single-episode estimates, against the truth")
plt.legend()
plt.show()

# %% [markdown]
# Your estimate is off by no more than chance. Without $\gamma^t$ it is plainly biased: it is the gradient
# of something else. With $\gamma$ close to 1 (and 0.98 or 0.99 is usual) the two hardly
# differ, and practice prefers the one that lets late steps learn too.

# %% [markdown]
# ## How noisy is it?
#
# Unbiased is a statement about the average. One batch is not the average. The natural measure is the
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
    """Credits every step with the whole episode's return; unbiased as well."""
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
# Reward-to-go removes a good part of the noise for free. What remains still grows
# about like $T^3$ (each of $T$ scores is multiplied by a sum of up to $T$ rewards, whose square grows like
# $T^2$), while the signal grows like $T$. Long episodes are where plain REINFORCE drowns.

# %% [markdown]
# ## What it costs
#
# A batch of $N$ independent episodes averages $N$ such gradients. Variances of independent samples add
# up, so the mean has variance $V / N$, and its typical distance from the truth, the **standard error**,
# is $\sqrt{V / N}$. The root is the bad news: ten times closer takes a hundred times the episodes.
#
# Count *episodes*, not steps and not parameters: the steps of one episode share their luck.
#
# ### Exercise: `standard_error` (4 minutes, ●)
#
# <details><summary>Hint</summary>
#
# Your `gradient_variance` and the number of rows.
#
# </details>

# %% exercise="pgcourse.estimators.standard_error"

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
too_small = [error / math.sqrt(T) for error in predicted]
right.loglog(sizes, too_small, "--", color=plots.COLORS[1], label="√(V / NT): steps as samples")
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
# The dots follow $\sqrt{V/N}$ with $N$ the number of *episodes*. The dashed line takes each of their 8 steps for a
# sample of its own, and promises an error $\sqrt 8 \approx 2.8$ times smaller than the one that was measured. That is
# how this variance is underestimated.
#
# Where the dots are above the red line, the error is *larger than the gradient*: such an estimate points
# in a direction that has more to do with luck than with the task. Learning still works, because the errors
# average out over many small steps; but it is slow, and it is why everything after this
# lesson (baselines, critics, clipping) exists.

# %% [markdown]
# ## Your REINFORCE learns CartPole
#
# CartPole-v1: push a cart left or right so that the pole on it stays up; each step pays 1, an episode ends when the pole
# falls or after 500 steps. The policy is a small network with a softmax on top, and the training loop in
# `pgcourse.reinforce` calls **your** `discounted_returns` and **your** `reinforce_loss`. Each step of the
# optimizer uses 16 whole episodes. Five seeds, that is five times the same program with other random
# numbers:
#
# *About 30 seconds.*

# %%
from pgcourse import reinforce

runs = [
    reinforce.train(
        reinforce.Config(env="CartPole-v1", seed=seed, lr=0.03, total_steps=fast(120_000, 5_000)),
        returns=discounted_returns,
        loss=reinforce_loss,
    )
    for seed in range(fast(5, 2))
]

# %%
plots.learning_curves({"your REINFORCE": runs}, threshold=475)
plt.title("One program, several seeds")
plt.show()

# %% [markdown]
# Faint lines are single runs, the thick one is their mean, and the band says how uncertain that mean is (95 %,
# by resampling the seeds). They learn, and they disagree: after the same number of steps one seed may be
# twice as good as another. A single learning curve proves little; this course always shows several.
#
# Watch the best of them:

# %%
best = max(runs, key=lambda run: run.history["return"][-1])
plots.animate(best.policy, "CartPole-v1", max_steps=fast(300, 30))

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
# Every action is pushed up, but those followed by long survival are pushed up more, and probabilities
# sum to 1. It works, with much unnecessary noise: subtracting an average return would help. Lesson 3 does.
#
# </details>
# <details><summary>A batch holds 16 episodes of 200 steps each. Is the error of the gradient that of 3200 samples?</summary>
#
# No, of 16. Steps of one episode share its luck: they are not independent.
#
# </details>
# <details><summary>Why is the whole-episode return unbiased, too?</summary>
#
# The rewards before step $t$ do not depend on $a_t$, and the score of $a_t$ averages to zero given everything
# before it. So they contribute zero on average, and variance in every sample.
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
# - Williams (1992), *Simple statistical gradient-following algorithms for connectionist reinforcement
#   learning*.
# - Greensmith, Bartlett & Baxter (2004), *Variance reduction techniques for gradient estimates in
#   reinforcement learning*.
# - Nota & Thomas (2020), *Is the policy gradient a gradient?*: on the missing $\gamma^t$.
# - Sutton & Barto (2018), *Reinforcement Learning: An Introduction*, sections 13.2–13.3.
#
# **Next:** lesson 3 subtracts a baseline. The gradient stays the same; a large part of the noise goes.
