# ---
# jupyter:
#   jupytext:
#     text_representation:
#       extension: .py
#       format_name: percent
# ---

# %% [markdown]
# # 1 · The policy-gradient theorem
#
# Most of reinforcement learning first asks *how good is each action?* and then picks the best one.
# A policy gradient skips the question: it turns the knobs of the policy itself, in the direction
# that raises the return. That direction is not found by trial and error. It is an exact
# mathematical object, and at the end of this lesson you will have computed it in three different
# ways that agree to ten digits.
#
# **You will be able to**
#
# - say when a policy with parameters beats one that takes the best-valued action,
# - write a softmax policy and the gradient of its log-probability,
# - do one step of REINFORCE by hand and in code,
# - derive the policy-gradient theorem, and confirm each step of it with numbers,
# - show why following it is not random search.
#
# **You need** Python, a little PyTorch (tensors and indexing) and a little probability
# (expectations). About 90 minutes; no cell takes longer than ten seconds.
#
# | Exercise | Minutes | Difficulty |
# |---|---|---|
# | `softmax` | 5 | ● |
# | `grad_log_softmax` | 8 | ●● |
# | `score_step` | 4 | ● |
# | `score_function_gradient` | 10 | ●● |
# | `action_values` | 12 | ●● |
# | `exact_policy_gradient` | 12 | ●●● |

# %% tags=["setup"]
import matplotlib.pyplot as plt
import torch

from pgcourse import fast, plots
from pgcourse.checks import check
from pgcourse.mdp import (
    corridor,
    enumerate_episodes,
    episodic_mdp,
    expected_return,
    occupancy,
    random_mdp,
)
from pgcourse.tensors import same_shape

plots.style()

# %% [markdown]
# ## Why give the policy parameters?
#
# A **policy** $\pi(a \mid s)$ is the probability of each action $a$ in each state $s$. Instead of
# deriving it from values, we write it as a function with **parameters** $\theta$ and call it
# $\pi_\theta$. Four reasons:
#
# | Setting | Why parameters help |
# |---|---|
# | Continuous actions | A maximum over all of $\mathbb{R}^n$ cannot be searched at every step; drawing from a parameterized density is one line. |
# | The best policy is random | In rock–paper–scissors, whoever always takes one "best" action loses. |
# | The policy is simpler than the values | A short reflex can be right where the value function is complicated. |
# | A language model | It *is* a parameterized, random policy already: a distribution over the next token. |
#
# The second reason in numbers. Below, row and column are *rock, paper, scissors*, and the entry is
# what the row player wins. An opponent who knows your policy answers with whatever hurts most.

# %%
payoff = torch.tensor([[0.0, -1.0, 1.0], [1.0, 0.0, -1.0], [-1.0, 1.0, 0.0]])
policies = {
    "always rock": [1.0, 0.0, 0.0],
    "always paper": [0.0, 1.0, 0.0],
    "mostly rock": [0.6, 0.2, 0.2],
    "uniform": [1 / 3, 1 / 3, 1 / 3],
}
worst = {name: (torch.tensor(p) @ payoff).min().item() for name, p in policies.items()}

bars = plt.barh(list(worst), list(worst.values()), color=plots.COLORS[:4])
plt.bar_label(bars, [f"{abs(loss):.1f} lost" for loss in worst.values()], padding=4)
plt.axvline(0, color="black", lw=1)
plt.xlim(-1.2, 0.15)
plt.xlabel("payoff against the opponent who answers best (wins per game)")
plt.title("A policy that is sure of itself can be exploited")
plt.show()

# %% [markdown]
# A greedy policy, sure of one action, loses every game. The uniform one cannot be exploited, and
# no argmax over action values can express it: it has to be represented as probabilities.

# %% [markdown]
# ## A policy with parameters
#
# Give each action $i$ a **preference** $\theta_i$, any real number, and turn preferences into
# probabilities with a **softmax**:
#
# $$\pi_i = \frac{e^{\theta_i}}{\sum_j e^{\theta_j}}$$
#
# Only differences matter: adding a constant to all preferences changes nothing. That is more than
# a curiosity. $e^{200}$ is too large for 32-bit numbers, so a softmax that takes the exponentials
# as they come returns `nan` for large preferences, and preferences do grow while a policy learns.
#
# ### Exercise: `softmax` (5 minutes, ●)
#
# Write the softmax so that it works for one state (`[A]`), a table of states (`[S, A]`), and large
# preferences. `torch.softmax` would do; write it out once.
#
# <details><summary>Hint 1</summary>
#
# Which constant may you subtract from the preferences so that the largest exponential is 1?
#
# </details>
# <details><summary>Hint 2</summary>
#
# `theta.max(dim=-1, keepdim=True).values` has shape `[..., 1]`: one maximum per state.
#
# </details>
# <details><summary>Hint 3</summary>
#
# `keepdim=True` belongs in the sum of the exponentials too, for the same reason.
#
# </details>

# %% exercise="pgcourse.distributions.softmax"

# %% [markdown]
# ## The score
#
# How does the log-probability of one action $a$ change when the preferences move? Take the
# logarithm, $\log \pi_a = \theta_a - \log \sum_j e^{\theta_j}$, and differentiate:
#
# $$\frac{\partial \log \pi_a}{\partial \theta_i} = \mathbb{1}[i = a] - \pi_i$$
#
# where $\mathbb{1}[\cdot]$ is 1 if the bracket is true and 0 otherwise. This vector is called the
# **score** of the action. It points where $a$ becomes more probable: its own preference up by
# $1 - \pi_a$, each other one down by $\pi_i$.
#
# ### Exercise: `grad_log_softmax` (8 minutes, ●●)
#
# Write the score of one action, without autograd.
#
# <details><summary>Hint 1</summary>
#
# Two terms: a vector that is 1 at the action and 0 elsewhere, minus the probabilities.
#
# </details>
# <details><summary>Hint 2</summary>
#
# Start from minus the probabilities, then add 1 in one place. Do not change `theta`.
#
# </details>

# %% exercise="pgcourse.distributions.grad_log_softmax"

# %% [markdown]
# Two facts about your score, each confirmed by a number. First, it is the derivative that autograd
# finds. Second, its **expectation under the policy is zero**:
# $\sum_a \pi_a (\mathbb{1}[i=a] - \pi_i) = \pi_i - \pi_i = 0$. Lesson 3 lives on the second one.

# %%
theta = torch.tensor([0.5, -1.0, 2.0], dtype=torch.float64)
leaf = theta.clone().requires_grad_()
torch.log_softmax(leaf, dim=0)[1].backward()
print(
    "largest difference to autograd:", (grad_log_softmax(theta, 1) - leaf.grad).abs().max().item()
)

pi = softmax(theta)
mean_score = sum(pi[a] * grad_log_softmax(theta, a) for a in range(3))
print("expected score                :", mean_score)

# %% [markdown]
# ## One step by hand
#
# The **return** $G$ is the reward that followed an action. REINFORCE makes one step for one sampled
# action, with **learning rate** $\eta$:
#
# $$\theta \leftarrow \theta + \eta\, G\, \nabla_\theta \log \pi_\theta(a)$$
#
# Work it out on paper before you read on. Two actions, $\theta = (0, 0)$, so $\pi = (0.5, 0.5)$.
# The first action is drawn, the return is $G = 2$, and $\eta = 0.1$.
#
# 1. Score: $(1 - 0.5,\; -0.5) = (0.5,\; -0.5)$.
# 2. Step: $\theta \leftarrow (0, 0) + 0.1 \cdot 2 \cdot (0.5, -0.5) = (0.1,\; -0.1)$.
# 3. New probability of the first action: $e^{0.1} / (e^{0.1} + e^{-0.1}) = 1.105 / 2.010 \approx 0.55$.
#
# The action that paid became more probable: $0.50 \to 0.55$.
#
# ### Exercise: `score_step` (4 minutes, ●)
#
# <details><summary>Hint 1</summary>
#
# It is the formula above, in one line, with your `grad_log_softmax`.
#
# </details>
# <details><summary>Hint 2</summary>
#
# Return a new tensor: `theta += ...` would change the caller's.
#
# </details>

# %% exercise="pgcourse.estimators.score_step"

# %%
theta = torch.zeros(2)
after = score_step(theta, action=0, ret=2.0, lr=0.1)
print("theta after the step:", after.tolist())
print("pi(first action)    :", f"{softmax(theta)[0]:.2f} -> {softmax(after)[0]:.2f}")

returns = torch.linspace(-10, 10, 41)
new_pi = [softmax(score_step(theta, 0, ret.item(), 0.1))[0].item() for ret in returns]
plt.plot(returns, new_pi, lw=2)
plt.axhline(0.5, color="black", lw=1, ls=":")
plt.plot([2], [softmax(after)[0]], "o", color=plots.RED, label="the worked example")
plt.xlabel("return G that followed the first action")
plt.ylabel("its probability after one step")
plt.title("Paid actions become more probable, punished ones less")
plt.legend()
plt.show()

# %% [markdown]
# ## From an expectation to samples
#
# What does that step follow? Call $J(\theta)$ the **expected return**. With a single decision,
# $J = \sum_a \pi_a R_a$, where $R_a$ is what action $a$ pays. Its gradient contains a sum over all
# actions, and we want to estimate it from the few that we tried. The key is one line of calculus,
# the **log-derivative trick**: since $\nabla \log \pi = \nabla \pi / \pi$,
#
# $$\nabla J = \sum_a R_a \nabla \pi_a = \sum_a \pi_a\, R_a \nabla \log \pi_a
#   = \mathbb{E}_{a \sim \pi}\!\left[ R_a \nabla \log \pi_a \right].$$
#
# The gradient has become an *expectation under the policy*. Draw $N$ actions $a_n$ from the policy,
# see their returns $R_n$, and average:
#
# $$\hat g = \frac{1}{N} \sum_{n=1}^{N} R_n\, \nabla \log \pi(a_n), \qquad \mathbb{E}[\hat g] = \nabla J.$$
#
# Nothing in it differentiates the reward: it may be a game's score or a person's verdict.
#
# ### Exercise: `score_function_gradient` (10 minutes, ●●)
#
# <details><summary>Hint 1</summary>
#
# All scores at once: one row per sample, `onehot(actions) - pi`.
#
# </details>
# <details><summary>Hint 2</summary>
#
# `torch.eye(A)[actions]` is a table of one-hot rows. Watch its dtype.
#
# </details>
# <details><summary>Hint 3</summary>
#
# `returns.unsqueeze(1)` has shape `[N, 1]` and multiplies each row by its own return.
#
# </details>

# %% exercise="pgcourse.estimators.score_function_gradient"

# %% [markdown]
# Does it estimate the right thing? Here $J$ is small enough to differentiate exactly, so we can
# measure the error of your estimate against the truth. An average of $N$ samples should err by
# something proportional to $1/\sqrt N$: a straight line of slope $-\tfrac12$ on logarithmic axes.

# %%
generator = torch.Generator().manual_seed(0)
theta = torch.tensor([0.2, -0.4, 0.6], dtype=torch.float64)
pays = torch.tensor([1.0, 3.0, 0.5], dtype=torch.float64)
pi = softmax(theta)
exact = pi * (pays - pi @ pays)  # the derivative of sum_a pi_a R_a, done by hand

sizes = [2**k for k in range(2, 15)]
errors = []
for n in sizes:
    runs = []
    for _ in range(fast(40, 10)):
        actions = torch.multinomial(pi, n, replacement=True, generator=generator)
        runs.append((score_function_gradient(theta, actions, pays[actions]) - exact).norm())
    errors.append(torch.stack(runs).square().mean().sqrt().item())

plt.loglog(sizes, errors, "o-", label="your estimate")
plt.loglog(sizes, [errors[0] * (sizes[0] / n) ** 0.5 for n in sizes], "k:", label="slope −1/2")
plt.xlabel("samples N")
plt.ylabel("root-mean-square error")
plt.title("More samples, less error, and no bias that would stay")
plt.legend()
plt.show()

# %% [markdown]
# ## Many steps: exact values
#
# With several steps an action also decides *where you are next*. A **Markov decision process** has
# states $s$, actions $a$, rewards $R(s, a)$, transition probabilities $P(s' \mid s, a)$, a
# distribution of the first state, and a **discount** $\gamma$: a reward $t$ steps ahead counts
# $\gamma^t$. The return from step $t$ is
# $G_t = r_t + \gamma r_{t+1} + \gamma^2 r_{t+2} + \dots$, and
#
# $$V^\pi(s) = \mathbb{E}[G_t \mid s_t = s], \qquad
#   Q^\pi(s, a) = R(s, a) + \gamma \sum_{s'} P(s' \mid s, a)\, V^\pi(s').$$
#
# Averaging $Q$ over the policy gives back $V$, so with
# $P_\pi(s, s') = \sum_a \pi(a \mid s) P(s' \mid s, a)$ and
# $r_\pi(s) = \sum_a \pi(a \mid s) R(s, a)$:
#
# $$V = r_\pi + \gamma P_\pi V \quad\Longleftrightarrow\quad (I - \gamma P_\pi)\, V = r_\pi.$$
#
# A system of linear equations: `torch.linalg.solve` gives the exact values, with nothing sampled.
# In this course, a row of $P$ may sum to less than 1; the rest is the probability that the episode
# ends there.
#
# ### Exercise: `action_values` (12 minutes, ●●)
#
# <details><summary>Hint 1</summary>
#
# `torch.einsum("sa,sap->sp", pi, mdp.P)` is $P_\pi$. What is $r_\pi$, in the same spirit?
#
# </details>
# <details><summary>Hint 2</summary>
#
# `torch.linalg.solve(A, b)` solves $A x = b$. Make the identity with `dtype=pi.dtype`.
#
# </details>
# <details><summary>Hint 3</summary>
#
# `mdp.P @ V` has shape `[S, A]`: the expected next value of each pair.
#
# </details>

# %% exercise="pgcourse.mdp.action_values"

# %% [markdown]
# A picture to check against intuition: a corridor of eight steps in which action 1 pays 1 at each
# step and action 0 pays nothing. With $\gamma = 0.8$ and a policy that tosses a coin, the early
# states are worth more, because more is still to come.

# %%
mdp = corridor(length=8, gamma=0.8)
Q = action_values(mdp, torch.full((8, 2), 0.5, dtype=torch.float64))
plt.plot(Q[:, 1], "o-", label="action 1 (pays 1 now)")
plt.plot(Q[:, 0], "s--", label="action 0 (pays 0 now)")
plt.xlabel("state (step of the corridor)")
plt.ylabel("Q (discounted reward to come)")
plt.title("Values by one linear solve")
plt.legend()
plt.show()

# %% [markdown]
# ## The theorem, step by step
#
# We want the gradient of $J(\theta) = \mathbb{E}[G_0]$ over whole episodes
# $\tau = (s_0, a_0, r_0, s_1, \dots)$. Each step below has a number that confirms it, on an MDP
# small enough to list **every possible episode** with its probability.

# %%
mdp = episodic_mdp(S=4, A=2, gamma=0.9, seed=1)
theta = torch.randn(4, 2, generator=torch.Generator().manual_seed(3), dtype=torch.float64)
pi = softmax(theta)
episodes = list(enumerate_episodes(mdp, pi, horizon=4))
print(len(episodes), "episodes; their probabilities sum to", sum(p for p, *_ in episodes).item())


def scores(states, actions):
    """The score of each step of an episode, as tables [T, S, A] that are 0 outside the row s_t."""
    table = torch.zeros(len(states), *theta.shape, dtype=theta.dtype)
    for t, (s, a) in enumerate(zip(states, actions, strict=True)):
        table[t, s] = grad_log_softmax(theta[s], int(a))
    return table


def discount(rewards):
    """gamma^t of each step."""
    return mdp.gamma ** torch.arange(len(rewards), dtype=torch.float64)


# %% [markdown]
# **Step 1: $J$ is a sum over episodes**, $J = \sum_\tau p_\theta(\tau)\, G_0(\tau)$. On the left, your
# linear solve (as $\sum_s p(s_0 = s) V(s)$); on the right, the list.

# %%
V = (pi * action_values(mdp, pi)).sum(dim=1)
J_list = sum(p * (discount(r) * r).sum() for p, s, a, r in episodes)
print((mdp.start @ V).item(), "=", J_list.item())

# %% [markdown]
# **Step 2: the log-derivative trick, for episodes.** $\nabla p(\tau) = p(\tau) \nabla \log p(\tau)$, and
# in $\log p(\tau) = \log p(s_0) + \sum_t \log \pi_\theta(a_t \mid s_t) + \sum_t \log P(s_{t+1} \mid s_t, a_t)$
# only the policy's terms depend on $\theta$. The world's probabilities drop out, so nobody has to know
# them:
#
# $$\nabla J = \mathbb{E}\Big[ G_0 \sum_t \nabla \log \pi_\theta(a_t \mid s_t) \Big].$$

# %%
step2 = sum(p * (discount(r) * r).sum() * scores(s, a).sum(0) for p, s, a, r in episodes)
leaf = theta.clone().requires_grad_()
expected_return(mdp, leaf).backward()
print("largest difference to autograd:", (step2 - leaf.grad).abs().max().item())

# %% [markdown]
# **Step 3: an action cannot change the past.** The rewards *before* step $t$ multiply a score whose
# expectation is zero, whatever happened before. They contribute nothing:

# %%
past = 0
for p, s, a, r in episodes:
    earned = (discount(r) * r).cumsum(0) - discount(r) * r  # the discounted rewards before step t
    past = past + p * (earned[:, None, None] * scores(s, a)).sum(0)
print("largest contribution of the past:", past.abs().max().item())

# %% [markdown]
# So each score only needs what came after it. Those rewards are $\gamma^t G_t$, and the average of
# $G_t$ given $s_t$ and $a_t$ is $Q^\pi(s_t, a_t)$.
#
# **Step 4: gather the visits of each state.** Let
# $d(s) = \sum_t \gamma^t \Pr(s_t = s)$ be the **discounted visits** of $s$. Then the sum over time
# becomes a sum over states, and we have the theorem:
#
# $$\nabla J = \sum_s d(s) \sum_a \pi(a \mid s)\, Q^\pi(s, a)\, \nabla \log \pi(a \mid s)$$
#
# For a softmax table the score is $\mathbb{1}[b = a] - \pi(b \mid s)$, so the entry of state $s$ and
# action $b$ is $d(s) \sum_a \pi(a|s)\, Q(s,a)\, (\mathbb{1}[b = a] - \pi(b|s))$, which is
# $d(s)\, \pi(b|s)\, \big(Q(s, b) - V(s)\big)$. Note what it says: *raise an action's
# preference if it is better than the policy's average in that state.*
#
# ### Exercise: `exact_policy_gradient` (12 minutes, ●●●)
#
# `occupancy(mdp, pi)` gives you $d$, by a linear solve like yours.
#
# <details><summary>Hint 1</summary>
#
# Policy, visits, your `action_values`: then one line for the whole table.
#
# </details>
# <details><summary>Hint 2</summary>
#
# $V(s) = \sum_a \pi(a|s) Q(s,a)$; with `keepdim=True` it subtracts from each row of `Q`.
#
# </details>
# <details><summary>Hint 3</summary>
#
# `d.unsqueeze(1)` multiplies row $s$ of an `[S, A]` table by $d(s)$.
#
# </details>

# %% exercise="pgcourse.mdp.exact_policy_gradient"

# %% [markdown]
# ## Three roads to one gradient
#
# If the gradient is a definite thing, then every honest way to compute it must give the same
# numbers. The theorem (yours), automatic differentiation straight through the linear solve, and
# finite differences, which only evaluate $J$ at nudged parameters:

# %%
mdp = random_mdp(S=6, A=3, gamma=0.9, seed=0)
theta = torch.randn(6, 3, generator=torch.Generator().manual_seed(0), dtype=torch.float64)

by_theorem = exact_policy_gradient(mdp, theta)

leaf = theta.clone().requires_grad_()
expected_return(mdp, leaf).backward()
by_autograd = leaf.grad

h, by_differences = 1e-5, torch.zeros_like(theta)
for i in range(theta.numel()):
    nudge = torch.zeros(theta.numel(), dtype=theta.dtype)
    nudge[i] = h
    nudge = nudge.view_as(theta)
    rise = expected_return(mdp, theta + nudge) - expected_return(mdp, theta - nudge)
    by_differences.view(-1)[i] = rise / (2 * h)

print("theorem − autograd            :", (by_theorem - by_autograd).abs().max().item())
print("theorem − finite differences  :", (by_theorem - by_differences).abs().max().item())
assert torch.allclose(by_theorem, by_autograd, atol=1e-6)
assert torch.allclose(by_theorem, by_differences, atol=1e-6)

x = torch.arange(theta.numel())
plt.bar(x - 0.25, by_theorem.flatten(), 0.25, label="theorem")
plt.bar(x, by_autograd.flatten(), 0.25, label="autograd")
plt.bar(x + 0.25, by_differences.flatten(), 0.25, label="finite differences")
plt.xlabel("parameter (3 actions of each of 6 states)")
plt.xticks(x[::3])
plt.ylabel("dJ / dθ (return per unit of θ)")
plt.title("Three roads, one gradient")
plt.legend()
plt.show()

# %% [markdown]
# ## Not a random search
#
# *"It tries things and keeps what worked"* is the first misunderstanding of policy gradients. Random
# search does exist: nudge all parameters at random, keep the nudge if the return went up. Compare
# the two on equal terms.
#
# An episode sets $D$ switches, each by its own two-action softmax; every switch set right adds 1 to
# **one shared return**, every switch set wrong subtracts 1. Both methods see only that sum, and both
# may play the same number of episodes. There are $2D$ parameters. The policy gradient calls your
# `score_function_gradient` once per switch; random search gets the best of three nudge sizes.
#
# *About 10 seconds.*


# %%
def play(theta, n, generator):
    """n episodes: actions [n, D] and the shared return [n]."""
    actions = (torch.rand(n, len(theta), generator=generator) < softmax(theta)[:, 1]).long()
    return actions, (2 * actions - 1).float().sum(dim=1)


def solved(theta):
    """Expected share of the best possible return: 0 at random, 1 when all switches are right."""
    return (2 * softmax(theta)[:, 1] - 1).mean().item()


def policy_gradient(D, seed, episodes, batch=100, lr=0.1):
    generator, theta = torch.Generator().manual_seed(seed), torch.zeros(D, 2)
    for _ in range(episodes // batch):
        actions, ret = play(theta, batch, generator)
        grad = [score_function_gradient(theta[d], actions[:, d], ret) for d in range(D)]
        theta = theta + lr * torch.stack(grad)
    return solved(theta)


def random_search(D, seed, episodes, batch=100, nudge=1.0):
    generator, theta = torch.Generator().manual_seed(seed), torch.zeros(D, 2)
    best = play(theta, batch, generator)[1].mean()
    for _ in range(episodes // batch - 1):
        candidate = theta + nudge * torch.randn(D, 2, generator=generator)
        ret = play(candidate, batch, generator)[1].mean()
        if ret > best:
            theta, best = candidate, ret
    return solved(theta)


budget, seeds, sizes = fast(12_000, 1000), range(fast(3, 2)), [1, 4, 16, 64]
gradient, search = [], []
for D in sizes:
    gradient.append(torch.tensor([policy_gradient(D, seed, budget) for seed in seeds]))
    tries = [[random_search(D, s, budget, nudge=nudge) for s in seeds] for nudge in (0.3, 1, 3)]
    search.append(max((torch.tensor(t) for t in tries), key=torch.mean))

for runs, label, marker in [(gradient, "policy gradient", "o-"), (search, "random search", "s--")]:
    mean = torch.stack([r.mean() for r in runs])
    low, high = (torch.stack([q(r) for r in runs]) for q in (torch.amin, torch.amax))
    (line,) = plt.plot([2 * D for D in sizes], mean, marker, label=label)
    plt.fill_between([2 * D for D in sizes], low, high, color=line.get_color(), alpha=0.2)
plt.xscale("log", base=2)
plt.ylim(0, 1.05)
plt.xlabel("parameters (2 per switch)")
plt.ylabel("share of the best return")
plt.title(f"{budget:,} episodes for each: mean and range over {len(seeds)} seeds")
plt.legend()
plt.show()

# %% [markdown]
# With two parameters, guessing is fine. With many, a random direction is almost perpendicular to the
# one that helps (its expected alignment with the gradient falls like $1/\sqrt{P}$ in $P$ dimensions),
# while the estimate from samples still points, on average, exactly along the gradient. A language
# model has billions of parameters; nobody trains one by nudging it at random.
#
# The checks above know this mistake by its name. Here somebody hands in the average of fifty random
# directions, each weighted by what it changed, as the "gradient" of the log-probability:

# %%
from pgcourse.checks import judge


def tries_and_keeps(theta, action):
    generator, total = torch.Generator().manual_seed(0), torch.zeros_like(theta)
    for _ in range(50):
        nudge = torch.randn(len(theta), generator=generator, dtype=theta.dtype)
        gain = softmax(theta + 0.1 * nudge)[action].log() - softmax(theta)[action].log()
        total += nudge * gain / 0.1
    return total / 50


judge(tries_and_keeps, "grad_log_softmax")

# %% [markdown]
# It is not far off here, with two actions. It would be anywhere with a million.

# %% [markdown]
# ## Ask yourself
#
# <details><summary>Why is there a logarithm in the score? Would ∇π(a) not do?</summary>
#
# Actions are sampled, so a probable action appears often. Dividing by $\pi(a)$, which is what the
# logarithm's derivative does, makes up for it. Without it, rare actions would barely learn.
#
# </details>
# <details><summary>If every return is positive, every sampled action is pushed up. How can a bad one go down?</summary>
#
# Probabilities sum to 1: what is pushed up less than the average goes down. It works on average; in a
# single batch it is noisy. Lesson 3 subtracts a baseline, so that bad actions are pushed down directly.
#
# </details>
# <details><summary>Does the theorem need to know how the environment works?</summary>
#
# To compute it exactly, yes: $d$ and $Q$ contain $P$ and $R$. To estimate it, no: the world's
# probabilities dropped out in step 2, and samples supply the rest. That is lesson 2.
#
# </details>
#
# ## What was left out
#
# Average-reward problems (their visits are the stationary distribution), deterministic policy
# gradients for continuous actions (their score is another one), natural gradients, and the fact that
# most deep-learning code drops $\gamma^t$ from the visits (lesson 2 says what that costs).
#
# ## Papers
#
# - Williams (1992), *Simple statistical gradient-following algorithms for connectionist reinforcement
#   learning*: REINFORCE.
# - Sutton, McAllester, Singh & Mansour (2000), *Policy gradient methods for reinforcement learning with
#   function approximation*: the theorem.
# - Sutton & Barto (2018), *Reinforcement Learning: An Introduction*, chapter 13.
#
# **Next:** lesson 2 replaces the exact gradient by samples, and measures what that costs.
