# ---
# jupyter:
#   jupytext:
#     text_representation:
#       extension: .py
#       format_name: percent
# ---

# %% [markdown]
# # 6 · SAC: continuous actions, and a price for certainty
#
# A robot's motor takes a number, not one of four buttons. This lesson builds **soft actor-critic**
# (SAC), a widely used answer to continuous actions. Three ideas carry it: a policy whose samples can be
# *differentiated*, a memory from which experience is used many times, and a reward for staying
# undecided, with a price that sets itself. At the end your own functions swing up a pendulum and hold
# it there; and then you are the doctor of eight runs, most of which are ill.
#
# **You will be able to**
#
# - say why the maximum over continuous actions is hopeless, and what replaces it,
# - write the log-density of a squashed Gaussian that stays finite wherever it is evaluated,
# - derive the soft target, and tell a terminated episode from one that was only cut off,
# - explain what two critics, the entropy, its temperature and the slow target network each are for,
# - diagnose a broken SAC run from its curves.
#
# **You need** lesson 4 (actor, critic, targets that are constants). About 115 minutes; the
# training cells near the end take up to a minute each, every other cell a few seconds.
#
# | Exercise | Minutes | Difficulty |
# |---|---|---|
# | `squashed_gaussian_logp` | 12 | ●●● |
# | `soft_q_target` | 8 | ●● |
# | `sac_critic_loss` | 4 | ● |
# | `polyak_update` | 8 | ●● |
# | `sac_actor_loss` | 8 | ●● |
# | `temperature_loss` | 8 | ●● |
# | `quiz_sac_clinic` | 20 | ●●● |
# | `quiz_sac_treatment` | 6 | ●● |

# %% tags=["setup"]
import copy
import math

import ipywidgets as widgets
import matplotlib.pyplot as plt
import torch
import torch.nn.functional as F

from pgcourse import fast, plots, sac
from pgcourse.clinics import clinic_sac
from pgcourse.bets import ask_again, bet, settle
from pgcourse.checks import check
from pgcourse.networks import TwinQ
from pgcourse.optim import Adam
from pgcourse.recall import recall
from pgcourse.rollout import Collector, evaluate
from pgcourse.tensors import same_shape

plots.style()
torch.set_num_threads(1)

# %% [markdown]
# <details><summary>Names from the package that you will meet</summary>
#
# | name | what it is |
# |---|---|
# | `TwinQ(obs, act, hidden)` | two critics $Q(s, a)$ in one network module; called with states and actions it returns both |
# | `Adam` | torch's, written for networks this small |
# | `Collector`, `evaluate` | lesson 3: experience from environments side by side, and tests |
# | `sac`, `clinic_sac` | the training loop; runs with a planted bug each |
# | `same_shape`, `fast`, `plots`, `check`, `bet`, `settle` | as in lesson 1 |
# | `ask_again`, `recall` | old bets and old questions |
#
# </details>
#
# Your bets that were furthest off, again:

# %%
ask_again("06")

# %% [markdown]
# And three questions from lesson 4, to see what is still there. No points; answer before you look anything up.

# %%
recall("06")

# %% [markdown]
# ## Why not simply take the best action?
#
# With four buttons, $\arg\max_a Q(s, a)$ is four evaluations and a comparison. With $n$ motors, each
# set to a number in $[-1, 1]$, there is no list to go through. Cut each motor's range into 11 values,
# and the list has $11^n$ entries:
#
# | motors $n$ | machine | entries |
# |---|---|---|
# | 1 | a pendulum | 11 |
# | 7 | a robot arm | 19 million |
# | 17 | a walking humanoid | 505 million billion |
#
# ...for **one** decision. Below, $Q$ is a plain hill with its top at some point of $[-1, 1]^n$. Three
# ways to look for the top: a grid of at most 1000 evaluations, 1000 random guesses, and 50 steps uphill along the
# derivative $\partial Q / \partial a$ (each costs a pass forward and one backward, whatever $n$ is). The height is shown as a
# share of the way from an average action (0) to the best one (1).
#
# **Bet first.**

# %%
bet("06 guesses", "32 motors, 1000 guesses: how far up does the best one get?", between=(0, 1))


# %%
def height(act, top):
    """0 for an average random action, 1 at the top."""
    average = (1 / 3 + top**2).mean()
    return 1 - ((act - top) ** 2).mean(dim=-1) / average


def by_grid(n, top, budget=1000):
    k = int(budget ** (1 / n) + 1e-9)  # values per dimension: k^n entries
    values = (2 * torch.arange(k) + 1) / k - 1
    nearest = (values - top.unsqueeze(1)).abs().argmin(dim=1)  # what the grid search would find
    return height(values[nearest], top)


def by_guessing(n, top, budget=1000):
    return height(2 * torch.rand(budget, n, generator=generator) - 1, top).max()


def by_derivative(n, top, steps=50):
    act = torch.zeros(n, requires_grad=True)
    for _ in range(steps):
        (grad,) = torch.autograd.grad(height(act, top), act)
        act = (act + 0.1 * n * grad).detach().requires_grad_()
    return height(act, top).detach()


generator = torch.Generator().manual_seed(0)
sizes = [1, 2, 4, 8, 16, 32]
for label, search, line in [
    ("grid, 1000 points", by_grid, "s--"),
    ("1000 random guesses", by_guessing, "^--"),
    ("50 steps along ∂Q/∂a", by_derivative, "o-"),
]:
    tops = [[1.8 * torch.rand(n, generator=generator) - 0.9 for _ in range(20)] for n in sizes]
    found = [torch.stack([search(len(top), top) for top in many]).mean() for many in tops]
    plt.plot(sizes, found, line, label=label)
    if search is by_guessing:
        settle("06 guesses", found[-1], plt.gca())
plt.xscale("log", base=2)
plt.xticks(sizes, sizes)
plt.xlabel("action dimensions n")
plt.ylabel("share of the way to the top")
plt.title("Searching for the top of a hill fails as n grows; climbing does not")
plt.legend()
plt.show()

# %% claim="climbing_does_not_mind_the_dimension"
# In 16 dimensions grid and guesses get less than four fifths of the way to the top, in 32 less than two thirds; climbing arrives.
assert 11**7 == 19_487_171 and round(11**17 / 1e15) == 505
for seed in range(5):
    generator.manual_seed(seed)
    for n in sizes:
        tops = [1.8 * torch.rand(n, generator=generator) - 0.9 for _ in range(20)]
        way = {f: torch.stack([f(n, top) for top in tops]).mean() for f in (by_grid, by_guessing)}
        assert min(by_derivative(n, top) for top in tops) > 0.999, n
        assert n < 16 or max(way.values()) < (0.8 if n == 16 else 0.67), (n, way)

# %% [markdown]
# So do not search: **climb**. Keep a policy network that outputs an action, and move its weights along
# $\partial Q/\partial a$. That is the actor of this lesson. The search is spread over all of training,
# and at decision time an action costs one pass through the network. (The price: where $Q$ has several hills, climbing finds
# the top of *one*. We will meet a landscape with two.)
#
# ## A Gaussian, squashed
#
# The policy draws $u \sim \mathcal N(\mu, \sigma^2)$, with $\mu$ and $\log\sigma$ from a network, and
# plays $a = \tanh(u)$, which lies in $(-1, 1)$: motors have limits. What is the density of $a$?
#
# A small interval around $u$ of length $\mathrm{d}u$ becomes one of length
# $\mathrm{d}a = (1 - \tanh^2 u)\,\mathrm{d}u$, because $1 - \tanh^2 u$ is the slope of tanh. It holds the
# same probability, so where tanh is flat the density goes *up*. In logarithms, and for $D$ independent
# dimensions:
#
# $$\log \pi(a) = \sum_{d=1}^{D} \Big[ \log \mathcal N(u_d; \mu_d, \sigma_d^2) - \log(1 - \tanh^2 u_d) \Big],
#   \qquad \log \mathcal N = -\tfrac12 \Big(\frac{u - \mu}{\sigma}\Big)^2 - \log \sigma - \tfrac12 \log 2\pi .$$
#
# By hand, with $\mu = 0$, $\log \sigma = -0.5$ and $u = 0.5$: $\sigma = 0.6065$ and
# $(u - \mu)/\sigma = 0.8244$. The Gaussian gives $-0.3398 + 0.5 - 0.9189 = -0.7587$. The slope is
# $1 - \tanh^2 0.5 = 0.7864$, its logarithm $-0.2402$. So
# $\log \pi(a) = -0.7587 + 0.2402 = -0.5185$.
#
# **The trap.** From a little above $|u| = 9$ on, `tanh(u)` in 32-bit numbers *is* 1, and $\log(1 - 1^2) = -\infty$.
# One such action in a batch, and after one step every weight of the policy is `nan`. Adding `1e-6` inside the
# logarithm hides the infinity, but there the value is wrong and its gradient gone. Algebra does
# better. With $\tanh u = \frac{e^u - e^{-u}}{e^u + e^{-u}}$,
#
# $$1 - \tanh^2 u = \frac{4}{(e^u + e^{-u})^2} = \frac{4\, e^{-2u}}{(1 + e^{-2u})^2}
#   \quad\Longrightarrow\quad
#   \log(1 - \tanh^2 u) = 2\,\big(\log 2 - u - \mathrm{softplus}(-2u)\big)$$
#
# where $\mathrm{softplus}(x) = \log(1 + e^x)$, which PyTorch computes safely for any $x$.
#
# ### Exercise: `squashed_gaussian_logp` (12 minutes, ●●●)
#
# It receives $u$, not $a$: nobody should ever have to invert a tanh.
#
# <details><summary>Hint 1</summary>
#
# The log-density of the Gaussian first: $z = (u - \mu)\, e^{-\log \sigma}$, then three terms.
#
# </details>
# <details><summary>Hint 2</summary>
#
# `F.softplus(-2 * pre_tanh)` is the safe part; `math.log(2)` is a plain number.
#
# </details>
# <details><summary>Hint 3</summary>
#
# Subtract the correction *per dimension*, and sum over the last axis at the very end.
#
# </details>

# %% exercise="pgcourse.distributions.squashed_gaussian_logp"

# %% [markdown]
# The example by hand, and then what the trap looks like.


# %%
def one(x):
    """A batch of one action with one dimension."""
    return torch.tensor([[x]])


print(
    "by hand -0.5185; yours:",
    round(squashed_gaussian_logp(one(0.0), one(-0.5), one(0.5)).item(), 4),
)
print()
print("     u   log(1 - tanh²)   with 1e-6 inside   yours    d yours / du")
for u in (1.0, 5.0, 9.0, 10.0, 50.0):
    pre_tanh = one(u).requires_grad_()
    gaussian = -0.5 * math.log(2 * math.pi)  # the Gaussian's own part, for u = mean and log std = 0
    correction = gaussian - squashed_gaussian_logp(pre_tanh.detach(), one(0.0), pre_tanh)
    (grad,) = torch.autograd.grad(correction, pre_tanh)
    slope = 1 - pre_tanh.tanh() ** 2
    naive, patched = slope.log().item(), (slope + 1e-6).log().item()
    print(
        f"{u:6.0f}   {naive:14.3f}   {patched:16.3f}   {correction.item():7.3f}   {grad.item():6.3f}"
    )

# %% claim="the_trap_and_what_an_epsilon_hides"
# tanh(u) is 1 in float32 from u = 9.02 on; one such action makes all weights nan; with 1e-6 inside, the gradient is gone.
assert torch.tensor(9.0).tanh() < 1 and torch.tensor(9.02).tanh() == 1
for u in (10.0, 50.0):
    x = torch.tensor(u, requires_grad=True)
    naive, patched = (1 - x.tanh() ** 2).log(), (1 - x.tanh() ** 2 + 1e-6).log()
    exact = math.log(4) - 2 * u - 2 * math.log1p(math.exp(-2 * u))
    yours = -0.5 * math.log(2 * math.pi) - squashed_gaussian_logp(one(u), one(0.0), one(u))
    assert naive == -math.inf and patched - exact > 4 and abs(yours.item() - exact) < 1e-4
    assert torch.autograd.grad(patched, x)[0] == 0
policy = torch.nn.Linear(3, 1)
u = policy(torch.ones(4, 3)) + torch.tensor([[0.0], [0.1], [-0.2], [12.0]])
(1 - u.tanh() ** 2).log().sum().backward()
assert all(p.grad.isnan().all() for p in policy.parameters())

# %% [markdown]
# Is it a density? Draw many actions, and lay your formula over their histogram. Its area must be 1, for each $\mu$ and $\sigma$:
# no wrong sign in the formula passes all three.


# %%
def density(mean, log_std, act):
    """Your density at actions inside (-1, 1)."""
    u = torch.atanh(act).unsqueeze(-1)
    return squashed_gaussian_logp(torch.full_like(u, mean), torch.full_like(u, log_std), u).exp()


def show_density(ax, mean, log_std, draws=20_000):
    noise = torch.randn(draws, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    ax.hist(torch.tanh(mean + math.exp(log_std) * noise), bins=60, density=True, color=plots.SKY)
    act = torch.linspace(-9, 9, 2001, dtype=torch.float64).tanh()  # dense at the bounds
    p = density(mean, log_std, act)
    ax.plot(act, p, color=plots.RED, lw=2)
    ax.set(xlabel="action a", xlim=(-1.02, 1.02), ylim=(0, min(5, 1.2 * p.max().item())))
    ax.set_title(f"μ = {mean:g}, log σ = {log_std:g}\narea {torch.trapezoid(p, act).item():.3f}")


fig, axes = plt.subplots(1, 3, figsize=(7.5, 3))
for ax, (mean, log_std) in zip(axes, [(0.0, -1.0), (0.5, -0.2), (0.0, 0.4)], strict=True):
    show_density(ax, mean, log_std)
axes[0].set_ylabel("density")
fig.suptitle("Histogram of 20 000 draws, and your formula (line)")
plt.show()

# %% claim="three_areas_catch_every_sign"
# The areas are 1; turning the sign of one term moves at least one of the three by more than 0.3.
act = torch.linspace(-9, 9, 2001, dtype=torch.float64).tanh()
u = torch.atanh(act)
shapes = [(0.0, -1.0), (0.5, -0.2), (0.0, 0.4)]
for turned in range(4):
    areas = []
    for mean, log_std in shapes:
        z = (u - mean) / math.exp(log_std)
        terms = [-0.5 * z**2, -log_std, -0.5 * math.log(2 * math.pi), -torch.log1p(-(act**2))]
        if turned:
            terms[turned] = -terms[turned]
        areas.append(torch.trapezoid(sum(terms).exp(), act).item())
        if not turned:
            assert torch.allclose(sum(terms).exp(), density(mean, log_std, act), rtol=1e-4)
    worst = max(abs(area - 1) for area in areas)
    assert worst < 1e-3 if turned == 0 else worst > 0.3, (turned, areas)
entropies = {}
for log_std in (-1.0, -0.5, -0.1, 0.4, 1.0):
    p = density(0.0, log_std, act)
    entropies[log_std] = -torch.trapezoid(p * p.log(), act).item()
assert max(entropies, key=entropies.get) == -0.1 and entropies[-0.1] > math.log(2) - 0.02, entropies
assert density(0.0, 0.4, torch.tensor([0.97])) > 1.5 * density(0.0, 0.4, torch.tensor([0.0]))

# %% [markdown]
# On the right something to remember: with a wide Gaussian the squashed policy prefers the *bounds*. The
# highest entropy is in between, near $\log \sigma = -0.1$, where the density is nearly flat. Move the sliders (they need a running
# kernel; the picture above is what they start from).


# %%
def squashed_slider(mean=0.5, log_std=-0.2):
    fig, ax = plt.subplots(figsize=(6, 3))
    show_density(ax, mean, log_std, draws=5_000)
    ax.set_ylabel("density")
    plt.show()


_ = widgets.interact(
    squashed_slider,
    mean=widgets.FloatSlider(0.5, min=-2, max=2, step=0.1, continuous_update=False),
    log_std=widgets.FloatSlider(-0.2, min=-3, max=1, step=0.1, continuous_update=False),
)
# %% [markdown]
# ## Samples that can be differentiated
#
# REINFORCE learns from *which* actions happened to pay. Here we know more: the critic tells in which
# direction an action should move. Write the sample as $u = \mu + \sigma\,\varepsilon$ with
# $\varepsilon \sim \mathcal N(0, 1)$ drawn separately, and it becomes a differentiable function of
# $\mu$ and $\sigma$ (the **reparameterization**):
#
# $$\nabla_\mu\, \mathbb E[Q(a)] = \mathbb E\big[ Q(a)\, \nabla_\mu \log \pi(a) \big] \;\;\text{(score)}
#   \;=\; \mathbb E\big[ Q'(a)\, \nabla_\mu a \big] \;\;\text{(through the sample)} .$$
#
# Equal on average. Now their spread, for $Q(a) = 10 - (a - 0.5)^2$ and $\mu = 0$, $\log \sigma = -0.5$,
# each from 200 000 single actions. To be fair to the score, it is shown a second time with a baseline (lesson 3), the mean of $Q$. (After ±: the
# standard error of the mean.)

# %%
noise = torch.randn(200_000, 1, generator=torch.Generator().manual_seed(0))
mean = torch.zeros(200_000, 1, requires_grad=True)
log_std = torch.full((200_000, 1), -0.5)
pre_tanh = mean + log_std.exp() * noise
Q = 10 - (pre_tanh.tanh().squeeze(1) - 0.5) ** 2
logp = squashed_gaussian_logp(mean, log_std, pre_tanh.detach())

by_score = torch.autograd.grad((Q.detach() * logp).sum(), mean, retain_graph=True)[0].squeeze(1)
centered = (Q - Q.mean()).detach()
with_base = torch.autograd.grad((centered * logp).sum(), mean, retain_graph=True)[0].squeeze(1)
by_sample = torch.autograd.grad(Q.sum(), mean)[0].squeeze(1)
estimates = {
    "score": by_score,
    "score with baseline": with_base,
    "through the sample": by_sample,
}
for label, x in estimates.items():
    print(
        f"{label:20} mean {x.mean():6.3f} ± {x.std() / len(x) ** 0.5:.3f}   spread of one {x.std():.2f}"
    )

bins = torch.linspace(-40, 40, 161).tolist()
for (label, x), color in zip(estimates.items(), (plots.ORANGE, plots.RED, plots.BLUE), strict=True):
    plt.hist(x, bins=bins, color=color, label=label, histtype="step", lw=1.5)
plt.yscale("log")
plt.xlabel("estimate of the gradient from one action")
plt.ylabel("actions (log scale)")
plt.title("One expectation, three spreads")
plt.legend()
plt.show()

# %% claim="three_estimates_of_one_gradient"
# Equal means; the score's spread is 25 times that of the sample's derivative, of which a baseline leaves less than twice.
for seed in range(5):
    eps = torch.randn(200_000, 1, generator=torch.Generator().manual_seed(seed))
    mu = torch.zeros(200_000, 1, requires_grad=True)
    u = mu + math.exp(-0.5) * eps
    value = 10 - (u.tanh().squeeze(1) - 0.5) ** 2
    log_density = squashed_gaussian_logp(mu, torch.full_like(mu, -0.5), u.detach())
    (score,) = torch.autograd.grad(log_density.sum(), mu)
    weights = value.detach(), (value - value.mean()).detach()
    trio = [w * score.squeeze(1) for w in weights]
    trio.append(torch.autograd.grad(value.sum(), mu)[0].squeeze(1))
    for x in trio[:2]:
        error = (x - trio[2]).std() / len(x) ** 0.5
        assert (x.mean() - trio[2].mean()).abs() < 4 * error, (seed, x.mean(), trio[2].mean())
    plain, base, through = (x.std().item() for x in trio)
    assert 23 < plain / through < 27 and 1.6 < base / through < 2.0, (plain, base, through)
    eps = torch.randn(50_000, 16, generator=torch.Generator().manual_seed(seed))  # 16 dimensions
    act = (math.exp(-0.5) * eps).tanh()
    value = 10 - ((act - 0.5) ** 2).sum(dim=1)
    base = (value - value.mean()).unsqueeze(1) * eps / math.exp(-0.5)
    through = -2 * (act - 0.5) * (1 - act**2)
    assert 5.3 < (base.std(0) / through.std(0)).mean() < 6.4, (base.std(0) / through.std(0)).mean()

# %% [markdown]
# Most of the score's spread comes from the constant 10, which says nothing about the direction: a baseline removes it, and what remains is less than twice the
# spread of the sample's derivative. That one needs no baseline: the derivative of a constant is 0. With 16 action dimensions (a sum of 16 such hills) the factor
# between the two is about 6: the derivative tells each dimension its own direction, the score has one number for all of them. The price: it needs
# $\partial Q / \partial a$, so a critic whose *slope* is right.
#
# ## Paid for staying undecided
#
# In lessons 2 to 4 exploration was a side effect: a policy stays random until it has learned not to be. SAC makes
# it part of the task. The **entropy** of a policy in a state is
# $\mathcal H(\pi(\cdot|s)) = -\mathbb E_{a \sim \pi}[\log \pi(a|s)]$, in nats, and every state pays for it:
#
# $$J = \mathbb E \sum_t \gamma^t \big( r_t + \alpha\, \mathcal H(\pi(\cdot | s_t)) \big)$$
#
# with the **temperature** $\alpha > 0$, the price of one nat in units of reward. What is then the best
# policy in a single state, for a given $Q$? Maximize $\mathbb E[Q - \alpha \log \pi]$ over all
# densities: writing $Z = \int e^{Q(a)/\alpha}\,\mathrm da$,
#
# $$\mathbb E_\pi[Q - \alpha \log \pi]
#   = \alpha \log Z - \alpha\, \mathrm{KL}\Big(\pi \,\Big\|\, \tfrac{1}{Z} e^{Q/\alpha}\Big),
#   \qquad\text{so}\qquad \pi^*(a) = \frac{e^{Q(a)/\alpha}}{Z}.$$
#
# A soft maximum: every action gets a share, and better actions get larger ones. Two limits: as $\alpha \to 0$ it is
# the argmax, as $\alpha \to \infty$ it is uniform. Here on a $Q$ with a broad low hill and a narrow
# high one (a grid can do the integral, in this one dimension):


# %%
def two_hills(act):
    return torch.exp(-(((act + 0.5) / 0.3) ** 2)) + 1.5 * torch.exp(-(((act - 0.5) / 0.2) ** 2))


grid = torch.linspace(-1, 1, 401)


def soft_optimum(alpha):
    """The best density for two_hills at this temperature, and its entropy in nats."""
    logits = two_hills(grid) / alpha
    p = torch.softmax(logits, dim=0) / (grid[1] - grid[0])
    return p, -(p * p.clamp(min=1e-30).log()).sum().item() * (grid[1] - grid[0]).item()


def show_optimum(ax, alpha):
    p, entropy = soft_optimum(alpha)
    ax.plot(grid, two_hills(grid), color=plots.BLACK, ls=":", label="Q(a)")
    ax.fill_between(grid, 1.5 * p / p.max(), color=plots.SKY, label="best policy (scaled)")
    ax.set(xlabel="action a", title=f"α = {alpha:g}\nentropy {entropy:.2f} nats")


fig, axes = plt.subplots(1, 4, figsize=(7.5, 2.6), sharey=True)
for ax, alpha in zip(axes, (0.03, 0.2, 0.6, 5.0), strict=True):
    show_optimum(ax, alpha)
    ax.set_ylim(0, 2.2)
axes[0].set_ylabel("Q")
axes[0].legend(fontsize=7, loc="upper left")
plt.show()

# %% claim="the_best_policy_is_the_soft_maximum"
# On the grid: E[Q - alpha log pi] = alpha log Z - alpha KL(pi | best), for any pi; small alpha: the argmax, large: uniform.
step = (grid[1] - grid[0]).double()
hills = two_hills(grid).double()
for alpha in (0.2, 0.6, 5.0):
    best = torch.softmax(hills / alpha, 0) / step
    log_z = torch.logsumexp(hills / alpha, 0) + step.log()
    for seed in range(5):
        noise = torch.randn(401, generator=torch.Generator().manual_seed(seed)).double()
        p = torch.softmax(noise, 0) / step
        objective = (p * (hills - alpha * p.log())).sum() * step
        kl = (p * (p / best).log()).sum() * step
        assert torch.isclose(objective, alpha * log_z - alpha * kl) and kl > 0
cold, hot = soft_optimum(0.01)[0], soft_optimum(1000.0)[0]
assert (grid[cold.argmax()] - 0.5).abs() < 0.01 and cold[(grid - 0.5).abs() > 0.1].max() < 1e-6
assert (hot - 0.5).abs().max() < 0.01


# %%
def optimum_slider(log10_alpha=-0.7):
    fig, ax = plt.subplots(figsize=(6, 3))
    show_optimum(ax, round(10**log10_alpha, 3))
    ax.legend(loc="upper left")
    plt.show()


_ = widgets.interact(
    optimum_slider,
    log10_alpha=widgets.FloatSlider(-0.7, min=-2, max=1, step=0.1, continuous_update=False),
)

# %% [markdown]
# ## The soft target
#
# With entropy as part of the reward, the value of a state contains it too, and the Bellman equation of
# lesson 4 becomes
#
# $$V(s) = \mathbb E_{a \sim \pi}\big[ Q(s, a) - \alpha \log \pi(a|s) \big], \qquad
#   Q(s, a) = r + \gamma\, \mathbb E_{s'}\big[V(s')\big].$$
#
# From one remembered transition $(s, a, r, s')$ and one *fresh* action $a' \sim \pi(\cdot | s')$, the
# **soft target** for $Q(s, a)$ is
#
# $$y = r + \gamma\,(1 - \text{terminated})\,\Big( \min\big(Q_1'(s', a'),\, Q_2'(s', a')\big)
#   - \alpha \log \pi(a' | s') \Big).$$
#
# $Q_1'$ and $Q_2'$ are slow copies of two critics; why slow and why two comes in a moment. The action
# $a$ may come from an old policy, and the equation is true all the same: it says what follows *if* $a$
# is played. This is why SAC may keep a **replay buffer** of what it has lived through, where
# PPO has to throw its data away after each update.
#
# By hand: $r = 1$, $Q_1' = 10$, $Q_2' = 8$, $\log \pi = -0.5$, $\gamma = 0.9$, $\alpha = 0.2$. Then
# $y = 1 + 0.9 \cdot (8 + 0.1) = 8.29$. If the transition terminated the episode: $y = 1$. No future, so
# *no entropy of the future either*; it belongs inside the bracket.
#
# ### Exercise: `soft_q_target` (8 minutes, ●●)
#
# <details><summary>Hint 1</summary>
#
# The soft value of the next state first: an elementwise minimum, minus the price of the action's
# log-probability.
#
# </details>
# <details><summary>Hint 2</summary>
#
# `terminated` holds bools: `torch.where(terminated, 0.0, value)`, or `(~terminated) * value`.
#
# </details>
# <details><summary>Hint 3</summary>
#
# The target is a constant, as in lesson 4: `.detach()` the result.
#
# </details>

# %% exercise="pgcourse.estimators.soft_q_target"

# %% [markdown]
# ### Cut off is not over
#
# Pendulum-v1 never ends; its episodes are *cut off* after 200 steps so that training sees new starts.
# `terminated` is then `False` and `truncated` is `True`, and the target must bootstrap. Some programs
# lump the two together as `done`. What that does can be computed: a machine pays 1 for every step, for
# ever, so with $\gamma = 0.98$ it is worth $1 / (1 - 0.98) = 50$. We watch it in episodes of 20 steps
# and repeat $V \leftarrow$ mean of your targets (no entropy, $\alpha = 0$):


# %%
def learn_value(terminated, updates=300):
    """One state, reward 1, value learned from batches of 20 transitions; its course."""
    value, course = torch.tensor(0.0), []
    for _ in range(updates):
        v = value.expand(20)
        y = soft_q_target(torch.ones(20), v, v, torch.zeros(20), terminated, 0.98, 0.0)
        value = y.mean()
        course.append(value.item())
    return course


nothing_ends = torch.zeros(20, dtype=torch.bool)
time_limit = torch.arange(20) == 19  # the last of 20 steps was cut off
plt.plot(learn_value(nothing_ends), label="terminated only (right)")
plt.plot(learn_value(time_limit), "--", label="terminated or truncated")
plt.axhline(50, color="black", lw=1, ls=":", label="true value 50")
plt.xlabel("updates")
plt.ylabel("value (reward)")
plt.title("A time limit taken for the end of the world")
plt.legend()
plt.show()
print(
    "values learned:",
    round(learn_value(nothing_ends)[-1], 1),
    round(learn_value(time_limit)[-1], 1),
)

# %% claim="a_time_limit_taken_for_an_end"
# Bootstrapped, the value tends to 50; with each 20th step taken for an end, to 1 / (1 - 0.98 * 0.95) = 14.5.
assert abs(learn_value(nothing_ends, updates=2_000)[-1] - 50) < 0.01
assert abs(learn_value(time_limit, updates=2_000)[-1] - 1 / (1 - 0.98 * 0.95)) < 0.01

# %% [markdown]
# One step in twenty tells the critic that the world is over, so it sees a world that ends with
# probability $1/20$ at every step: the discount is in effect $0.98 \cdot 0.95 = 0.931$, and
# $1/(1 - 0.931) \approx 14.5$. No error message, no divergence; the agent is just short-sighted.
#
# ## Two critics
#
# The actor looks for actions that the critic rates highly. Among many actions, it finds those whose
# rating is *too* high: the maximum of noisy estimates is biased upward. The remedy ([Fujimoto et al. 2018](https://arxiv.org/abs/1802.09477)): train two critics from
# different random beginnings, and believe the smaller one. Both regress to the same target:
#
# $$L(Q_1, Q_2) = \frac1B \sum_i \big(Q_1(s_i, a_i) - y_i\big)^2 + \frac1B \sum_i \big(Q_2(s_i, a_i) - y_i\big)^2$$
#
# ### Exercise: `sac_critic_loss` (4 minutes, ●)
#
# This one is written already, and wrong in one place. Find it, say why, mend it.
#
# <details><summary>Hint 1</summary>
#
# Compute the loss of two transitions by hand, and compare. Then ask what `backward()` would do.
#
# </details>
# <details><summary>Hint 2</summary>
#
# Of the three arguments, which should get a gradient, and which do?
#
# </details>

# %% exercise="pgcourse.losses.sac_critic_loss" broken="second critic detached"

# %% [markdown]
# ## A slow copy
#
# The target contains $Q'$, the very thing that is being learned. If it moved with every update, the
# critic would chase its own tail. So the target uses a **copy that follows slowly** (Polyak averaging):
# after each update, for every parameter,
#
# $$\theta' \leftarrow (1 - \tau)\,\theta' + \tau\, \theta .$$
#
# By hand: the copy's weight is 1, the critic's is 3, $\tau = 0.1$: $0.9 \cdot 1 + 0.1 \cdot 3 = 1.2$.
# The copy forgets half of its past in $\ln 2/\tau$ updates.
#
# ### Exercise: `polyak_update` (8 minutes, ●●)
#
# The first function of this course that works **in place**: it changes the numbers inside `target` and
# returns nothing. `x = (1 - tau) * x + tau * y` does *not* do that; it gives the name `x` to a new
# tensor, and the network never hears of it. Buffers (a running mean, for example) belong to a network
# as well.
#
# <details><summary>Hint 1</summary>
#
# `zip(target.parameters(), online.parameters())` goes through both networks side by side.
#
# </details>
# <details><summary>Hint 2</summary>
#
# A trailing underscore means in place: `x.mul_(1 - tau).add_(y, alpha=tau)`, `x.copy_(...)`, or
# `x.lerp_(y, tau)`, which is this formula.
#
# </details>
# <details><summary>Hint 3</summary>
#
# The same again for `buffers()`; one that holds integers (a counter) cannot be averaged: `copy_` it.
#
# </details>

# %% exercise="pgcourse.networks.polyak_update"

# %% claim="the_copy_forgets_half"
# After ln 2 / tau updates, half of what the copy was at first is left.
for tau in (0.05, 0.01, 0.005):
    online, slow = torch.nn.Linear(1, 1, bias=False), torch.nn.Linear(1, 1, bias=False)
    torch.nn.init.zeros_(online.weight), torch.nn.init.ones_(slow.weight)
    for _ in range(round(math.log(2) / tau)):
        polyak_update(slow, online, tau)
    assert abs(slow.weight.item() - 0.5) < 0.02, (tau, slow.weight.item())

# %% [markdown]
# The copy at work: a "critic" with one weight that jumps to 1 and trembles there.

# %%
online = torch.nn.Linear(1, 1, bias=False)
copies = {tau: copy.deepcopy(online) for tau in (0.5, 0.05, 0.005)}
generator = torch.Generator().manual_seed(0)
courses = {tau: [] for tau in copies}
jumps = (torch.arange(400) >= 50).float() + 0.3 * torch.randn(400, generator=generator)
for net in copies.values():
    torch.nn.init.zeros_(net.weight)
for value in jumps:
    torch.nn.init.constant_(online.weight, value.item())
    for tau, net in copies.items():
        polyak_update(net, online, tau)
        courses[tau].append(net.weight.item())

plt.plot(jumps, color="black", lw=0.5, alpha=0.4, label="the critic's weight")
for tau, course in courses.items():
    plt.plot(course, lw=2, label=f"copy, τ = {tau}: half-life {math.log(2) / tau:.0f}")
plt.xlabel("updates")
plt.ylabel("weight")
plt.title("Small τ: calm, and late")
plt.legend(fontsize=9)
plt.show()

# %% [markdown]
# ### What the second critic buys
#
# Three of your functions together, in a world in which **nothing ever pays**: one state, rewards 0, and
# only eight different actions have ever been tried. The true value of every action is 0. Between the
# eight tried actions, though, a network has to guess, and the target asks it about the action it likes
# best. *A few seconds.*
#
# **Bet first.** Rewards are 0, and all values are 0. Ten seeds with one critic: what is the *most* that any of them comes to believe, of 1?

# %%
bet(
    "06 treasure",
    "One critic, nothing ever pays: the largest value it believes in?",
    between=(0, 1),
)


# %%
def believe(critics, seed, updates):
    """Learn Q from eight worthless actions; the value of the action it then likes best."""
    torch.manual_seed(seed)
    critic = TwinQ(1, 1, (32, 32))
    slow = copy.deepcopy(critic).requires_grad_(False)
    optimizer = Adam(critic.parameters(), lr=3e-3)
    tried, state = 2 * torch.rand(8, 1) - 1, torch.zeros(8, 1)
    every_action = torch.linspace(-1, 1, 41).unsqueeze(1)
    for _ in range(updates):
        q1, q2 = slow(torch.zeros(41, 1), every_action)
        q2 = q2 if critics == 2 else q1
        best = torch.minimum(q1, q2).argmax()
        next_q1, next_q2 = q1[best].expand(8), q2[best].expand(8)
        no, zeros = torch.zeros(8, dtype=torch.bool), torch.zeros(8)
        y = soft_q_target(zeros, next_q1, next_q2, zeros, no, 0.9, 0.0)
        loss = sac_critic_loss(*critic(state, tried), y)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        polyak_update(slow, critic, 0.05)
    return torch.minimum(q1, q2)[best].item()


seeds = range(fast(10, 3))
beliefs = {n: [believe(n, seed, fast(200, 50)) for seed in seeds] for n in (1, 2)}
for i, (n, label) in enumerate([(1, "one critic"), (2, "the smaller of two")]):
    plt.bar([s + 0.4 * i for s in seeds], beliefs[n], 0.4, label=label)
    print(f"{label:20} mean belief {sum(beliefs[n]) / len(beliefs[n]):.3f} (truth: 0)")
plt.axhline(0, color="black", lw=1)
plt.xticks([s + 0.2 for s in seeds], seeds)
plt.xlabel("seed")
plt.ylabel("value of the favorite action")
plt.title("A treasure where nobody has looked (the truth is 0)")
settle("06 treasure", max(beliefs[1]), plt.gca())
plt.ylim(top=1.3 * max(beliefs[1]))
plt.legend(ncols=2, loc="upper left")
plt.show()

# %% [markdown]
# A single critic believes in a treasure that it invented itself, and its own target confirms it. The smaller of two believes in much less:
# a treasure has to be invented by both. It does not make the belief right: here the smaller one still errs upward, in every seed (the target asks for
# the *best* action by it), elsewhere it errs downward, as you will see on the pendulum. But an action that is *under*rated is merely not tried; an overrated one is chased.

# %% claim="two_critics_believe_in_less" slow=true
# In a world without rewards: one critic against the smaller of two, from the same beginnings.
figures = {str(n): [round(believe(n, seed, 200), 3) for seed in range(20)] for n in (1, 2)}
alone, paired = figures["1"], figures["2"]
assert sum(a > b for a, b in zip(alone, paired, strict=True)) >= 18, figures
assert sum(alone) > 2 * sum(paired) and min(alone) > 0, figures
assert min(paired) > 0, figures

# %% [markdown]
# ## The actor climbs the critic
#
# Draw a fresh action with the reparameterization, ask both critics about it, and move the policy towards
# higher value and higher entropy. As a loss, over a batch of remembered states:
#
# $$L(\pi) = \frac1B \sum_i \Big[ \alpha \log \pi(a_i | s_i) - \min\big(Q_1(s_i, a_i), Q_2(s_i, a_i)\big) \Big],
#   \qquad a_i = \tanh(\mu_i + \sigma_i \varepsilon_i).$$
#
# Compare lesson 4: there $\log \pi$ was multiplied by a constant advantage. Here gradient flows through
# *everything*: through $Q$ into the action and on into $\mu$ and $\sigma$, and through $\log \pi$. The
# one constant is $\alpha$, which has a loss of its own. (The critics are only passed through: their weights take no step on this loss.)
#
# ### Exercise: `sac_actor_loss` (8 minutes, ●●)
#
# <details><summary>Hint 1</summary>
#
# One line, but watch both signs: a *loss* goes down when $Q$ goes up and when $\log \pi$ goes down.
#
# </details>
# <details><summary>Hint 2</summary>
#
# `alpha` may be a plain float or a tensor: `torch.as_tensor(alpha).detach()` serves both.
#
# </details>

# %% exercise="pgcourse.losses.sac_actor_loss"

# %% [markdown]
# ## A price that sets itself
#
# Which $\alpha$? Too small, and the policy may settle on the first thing that works; too large, and it
# never settles. The right price depends on how far the values of actions lie apart, which is a matter of the size of the rewards and changes while learning.
# So ask for what we mean: *an entropy of at least* $\bar{\mathcal H}$. That is a constraint, and $\alpha$
# is its Lagrange multiplier. Raise the price while the policy is too predictable, lower it while it is
# random enough:
#
# $$L(\alpha) = -\frac1B \sum_i \alpha \,\big( \log \pi(a_i | s_i) + \bar{\mathcal H} \big)
#   = \alpha\, (\text{entropy} - \bar{\mathcal H}), \qquad \alpha = e^{\log \alpha} .$$
#
# We descend on $\log \alpha$, so that $\alpha$ stays positive. A common target, that of [Haarnoja et al. 2018b](https://arxiv.org/abs/1812.05905), is **minus** the number of
# action dimensions, $\bar{\mathcal H} = -D$. A uniform density on an interval of length $\ell$ has
# entropy $\log \ell$, so $-1$ nat is an interval of length $e^{-1} \approx 0.37$ out of 2: focused, but
# not frozen. The most that an action in $(-1, 1)$ can have is $\log 2 \approx 0.69$ nats.
#
# By hand: $\log \alpha = -0.5$, so $\alpha = 0.6065$; two actions with $\log \pi = -1$ and $0.5$; target
# $-1$. The entropy is $0.25$, more than asked, and
# $L = -0.6065 \cdot \tfrac12 \big( (-1 - 1) + (0.5 - 1) \big) = 0.7582$. Its derivative with respect to
# $\log \alpha$ is the same number, positive: descent lowers $\alpha$.
#
# ### Exercise: `temperature_loss` (8 minutes, ●●)
#
# <details><summary>Hint 1</summary>
#
# This loss trains `log_alpha` alone: `logp` is a constant here.
#
# </details>
# <details><summary>Hint 2</summary>
#
# Entropy is $-\log \pi$ on average, so entropy minus target is $-(\log \pi + \bar{\mathcal H})$: a *plus*
# inside the bracket, although the target is a negative number.
#
# </details>

# %% exercise="pgcourse.losses.temperature_loss"

# %% [markdown]
# ### The thermostat at work
#
# One state with a known $Q$, a policy that is just two numbers ($\mu$ and $\log \sigma$), and your
# functions. With the hill $Q(a) = -4 (a - 0.4)^2$, ask for different entropies. *About 10 seconds.*


# %%
def one_state(
    Q, target_entropy=None, alpha=1.0, start=(0.0, -0.5), steps=500, seed=0, tune=temperature_loss
):
    """Soft actor-critic in one state: the course of entropy and alpha, and the final (mean, log_std).

    target_entropy : nats; None keeps alpha as it is
    """
    generator = torch.Generator().manual_seed(seed)
    policy = torch.tensor(start, requires_grad=True)  # mean and log_std
    log_alpha = torch.tensor(math.log(alpha) if alpha else 0.0, requires_grad=True)
    policy_opt, alpha_opt = Adam([policy], lr=0.03), Adam([log_alpha], lr=0.03)
    entropies, alphas = [], []
    for _ in range(steps):
        mean, log_std = policy.expand(64, 2).split(1, dim=1)
        pre_tanh = mean + log_std.exp() * torch.randn(64, 1, generator=generator)
        logp = squashed_gaussian_logp(mean, log_std, pre_tanh)
        q = Q(pre_tanh.tanh().squeeze(1))
        loss = sac_actor_loss(logp, q, q, log_alpha.exp() if alpha else 0.0)
        policy_opt.zero_grad()
        loss.backward()
        policy_opt.step()
        if target_entropy is not None:
            alpha_opt.zero_grad()
            tune(log_alpha, logp.detach(), target_entropy).backward()
            alpha_opt.step()
        entropies.append(-logp.mean().item())
        alphas.append(log_alpha.exp().item())
    return entropies, alphas, policy.detach().tolist()


def hill(act):
    return -4 * (act - 0.4) ** 2


def show_tuning(axes, target, run, color=plots.BLUE):
    entropies, alphas, (mean, log_std) = run
    axes[0].plot(entropies, color=color, lw=1, label=f"asked for {target:g}")
    axes[0].axhline(target, color=color, ls=":", lw=1)
    axes[1].semilogy(alphas, color=color)
    act = torch.linspace(-0.999, 0.999, 400)
    axes[2].plot(act, density(mean, log_std, act), color=color)
    axes[0].set(xlabel="updates", ylabel="entropy (nats)")
    axes[1].set(xlabel="updates", ylabel="temperature α (log scale)")
    axes[2].set(xlabel="action a", ylabel="density of the policy", ylim=(0, 5))


asked = (-1.0, -0.5, 0.0, 0.5)
tuned = {target: one_state(hill, target, steps=fast(600, 60)) for target in asked}
fig, axes = plt.subplots(1, 3, figsize=(8.5, 3.2))
for color, (target, run) in zip(plots.COLORS, tuned.items(), strict=False):
    show_tuning(axes, target, run, color)
fig.legend(loc="outside lower center", ncols=4, fontsize=9)
fig.suptitle("The entropy that was asked for (dotted), the price that brings it, and the policy")
plt.show()

# %% claim="the_price_brings_what_was_asked_for"
# For five seeds: the entropy ends within 0.1 nats of the target; out of reach, the price grows and grows.
for seed in range(5):
    for target in (-1.0, 0.5):
        entropies, _, _ = one_state(hill, target, steps=600, seed=seed)
        in_the_end = sum(entropies[-100:]) / 100
        assert abs(in_the_end - target) < 0.1, (seed, target, in_the_end)
    entropies, prices, _ = one_state(hill, 1.0, steps=300, seed=seed)
    assert prices[-1] > 50 and max(torch.tensor(entropies[-50:]).mean(), 0) < math.log(2) + 0.02
    assert (torch.tensor(prices).diff() > 0).all()

# %% [markdown]
# Each run finds its own price, and with it the width that was asked for. One at a time:


# %%
def tuning_slider(target=-1.0):
    fig, axes = plt.subplots(1, 3, figsize=(8.5, 3))
    show_tuning(axes, target, tuned[target])
    fig.suptitle(f"asked for {target:g} nats: α = {tuned[target][1][-1]:.3g}")
    plt.show()


_ = widgets.interact(tuning_slider, target=widgets.SelectionSlider(options=asked, value=-1.0))

# %% [markdown]
# A wrong sign is easily made here, where the target is negative already. Steer toward $+1$
# nat in place of $-1$: that is more than any density on $(-1, 1)$ has, so no price is high enough.

# %%
right = tuned[-1.0]
negated = one_state(
    hill,
    -1.0,
    steps=fast(300, 60),
    tune=lambda log_alpha, logp, target: temperature_loss(log_alpha, logp, -target),
)
plt.semilogy(right[1][:300], label="right: α settles")
plt.semilogy(negated[1], "--", label="target negated: α explodes")
plt.xlabel("updates")
plt.ylabel("temperature α (log scale)")
plt.title("More entropy than there is")
plt.legend()
plt.show()
entropy = sum(negated[0][-50:]) / 50
print(f"entropy with the target negated: {entropy:.2f} nats, of at most {math.log(2):.2f}")

# %% [markdown]
# ### What the entropy buys
#
# Back to the two hills, and a policy that starts on the *lower* one and is fairly sure of it ($\log \sigma = -1.5$). Without entropy it climbs what it
# stands on and becomes surer still. With a price that starts high ($\alpha = 1$) and comes down, it first spreads over
# everything, and settles on the higher hill. Five seeds.

# %%
lower = (math.atanh(-0.5), -1.5)  # the top of the low hill
settings = {"without entropy": dict(alpha=0.0), "tuned to −2 nats": dict(target_entropy=-2.0)}
fig, axes = plt.subplots(1, 2, figsize=(7.5, 3), sharey=True)
act = torch.linspace(-0.999, 0.999, 800)
for ax, (label, how) in zip(axes, settings.items(), strict=True):
    ends = [
        one_state(two_hills, start=lower, steps=fast(500, 60), seed=seed, **how)[2]
        for seed in range(fast(5, 2))
    ]
    ax.plot(act, two_hills(act), color="black", ls=":", label="Q(a)")
    for mean, log_std in ends:
        p = density(mean, log_std, act)
        ax.plot(act, 1.5 * p / p.max(), color=plots.BLUE, lw=1, alpha=0.6)
    where = ", ".join(f"{math.tanh(mean):.2f}" for mean, _ in ends)
    ax.set_title(f"{label}\nends at a = {where}", fontsize=9)
    ax.set(xlabel="action a", ylim=(-0.05, 2.2))
axes[0].set_ylabel("Q, and the policy (scaled)")
axes[0].legend(fontsize=8, loc="upper left")
plt.show()


# %% claim="entropy_leaves_the_lower_hill"
# From the lower hill, five seeds: without entropy it stays, with a tuned price it ends on the higher one; narrower still, it stays.
def where(seed, log_std, **how):
    return math.tanh(one_state(two_hills, start=(lower[0], log_std), seed=seed, **how)[2][0])


for seed in range(5):
    assert abs(where(seed, -1.5, alpha=0.0, steps=400) + 0.5) < 0.05, seed
    assert abs(where(seed, -1.5, target_entropy=-2.0) - 0.5) < 0.05, seed
assert abs(where(0, -2.0, target_entropy=-2.0) + 0.5) < 0.05

# %% [markdown]
# It is no guarantee: a policy that starts narrower still ($\log \sigma = -2$) stays where it is in both cases, because here the price has come down before
# the policy has spread.
#
# ## All together: the pendulum
#
# Pendulum-v1: the state is angle and speed, the action one torque in $[-2, 2]$ N m, too weak to lift the
# pole directly. It has to be swung up. The reward is 0 when it stands still upright and down to $-16$
# per step otherwise. An episode of 200 steps brings about $-1200$ at random; here, more than $-200$ on
# average counts as solved.
#
# `pgcourse.sac.train` is the loop: collect into the replay buffer, soft target, both critics, actor,
# temperature, slow copy. Every piece is yours. Along the way, `Examination` plays 16 fresh episodes every 200 steps
# and compares what the critic promised for their first step with what followed, counted as $Q$ counts it: the discounted rewards, and from
# the second step on $\alpha$ times the entropy, at the temperature of the moment. Three seeds.
# *Up to a minute; half of that on a quiet machine.*

# %%
mine = {
    "target": soft_q_target,
    "critic_loss": sac_critic_loss,
    "actor_loss": sac_actor_loss,
    "temperature_loss": temperature_loss,
    "polyak": polyak_update,
    "logp": squashed_gaussian_logp,
}


def trained(seed, steps, **changes):
    """Your SAC with some of its pieces changed: the result, and what the examination saw."""
    config = sac.Config(seed=seed, lr=2e-3, total_steps=steps)
    examination = clinic_sac.Examination(config)
    result = sac.train(config, **(mine | changes), callback=examination)
    return result, examination.curves()


seeds = range(fast(3, 2))
runs = [trained(seed, fast(8_000, 2_000)) for seed in seeds]
for seed, (run, _) in zip(seeds, runs, strict=True):
    scores = evaluate(run.policy, "Pendulum-v1", episodes=100)
    print(
        f"seed {seed}: 100 fresh episodes without exploration: "
        f"mean {scores.mean():.0f}, worst {scores.min():.0f}"
    )
run, _ = runs[0]

# %%
clinic_sac.show({"your runs": [curves for _, curves in runs]})
plt.show()

# %% [markdown]
# One line for each seed. From left to right: the return (with exploration, as in training) climbs to the top. The critic's promise is far too high while it knows
# little (it began near 0, and the truth is a large negative number); later it crosses 0 and stays too *low*: the minimum of two is careful, more than it
# would have to be. The entropy starts high and is brought down toward its
# target, $-1$, by a temperature that finds its way down too. And few actions sit at the bounds. (Dotted, to compare:
# solved, no error, the target entropy, and the temperature at the start.)
#
# From swing to balance, one episode of your policy without exploration; the seed is one that begins
# hanging down:

# %%
plots.animate(run.policy, "Pendulum-v1", seed=1593, max_steps=200)

# %% [markdown]
# Left: the torque that the policy plays in every state, and the steps of another episode on top. It begins
# near the bottom (angle $\pm\pi$), swings to gain speed, and ends in the middle, standing still. Right: that episode in time. Balancing takes little
# torque. (Look closely: a policy may come to rest a little to one side, held there by a small constant torque. At 0.1 rad that costs 0.01 a step, next to nothing.)


# %%
def show_policy(policy, seed=1593):
    angle, speed = torch.meshgrid(
        torch.linspace(-math.pi, math.pi, 121), torch.linspace(-8, 8, 81), indexing="xy"
    )
    obs = torch.stack([angle.cos(), angle.sin(), speed], dim=-1).reshape(-1, 3)
    with torch.no_grad():
        torque = 2 * policy.act(obs, deterministic=True).reshape(angle.shape)
    episode = Collector("Pendulum-v1", 1, seed).collect_episodes(policy, deterministic=True)
    cos, sin, turning = episode["obs"][:, 0].T
    fig, (left, right) = plt.subplots(1, 2, figsize=(7.5, 3.4))
    image = left.pcolormesh(angle, speed, torque, cmap="PuOr", vmin=-2, vmax=2, shading="auto")
    fig.colorbar(image, ax=left, label="torque (N m)")
    left.scatter(torch.atan2(sin, cos), turning, s=6, color="black")
    left.set(xlabel="angle (rad), 0 = upright", ylabel="speed (rad/s)", title="the policy")
    left.grid(False)
    time = torch.arange(len(cos)) * 0.05
    right.plot(time, torch.atan2(sin, cos).abs(), label="away from upright (rad)")
    right.plot(time, 2 * episode["act"][:, 0, 0], "--", lw=1, label="torque (N m)")
    right.set(xlabel="time (s)", ylabel="rad; N m", title="one episode")
    right.legend(fontsize=8)
    plt.show()


show_policy(run.policy)

# %% [markdown]
# ## Leave one out
#
# Take one idea away at a time, with your functions in the same loop: no entropy ($\alpha = 0$ in target
# and actor loss), one critic (asked twice), and the done mask the wrong way round. Three seeds each. They train for 5000 steps
# in place of 8000: what is to be seen is seen by then. *Up to a minute for each of the three; a quarter of that
# on a quiet machine.*


# %%
def no_entropy_target(rew, q1, q2, logp, terminated, gamma, alpha):
    return soft_q_target(rew, q1, q2, logp, terminated, gamma, 0.0)


def no_entropy_actor(logp, q1, q2, alpha):
    return sac_actor_loss(logp, q1, q2, 0.0)


def one_critic_target(rew, q1, q2, logp, terminated, gamma, alpha):
    return soft_q_target(rew, q1, q1, logp, terminated, gamma, alpha)


def one_critic_actor(logp, q1, q2, alpha):
    return sac_actor_loss(logp, q1, q1, alpha)


def wrong_mask_target(rew, q1, q2, logp, terminated, gamma, alpha):
    return soft_q_target(rew, q1, q2, logp, ~terminated, gamma, alpha)


def without(**changes):
    return [trained(seed, fast(5_000, 2_000), **changes)[1] for seed in seeds]


left_out = {"all of it": [curves for _, curves in runs]}

# %%
left_out["no entropy"] = without(target=no_entropy_target, actor_loss=no_entropy_actor)

# %%
left_out["one critic"] = without(target=one_critic_target, actor_loss=one_critic_actor)

# %%
left_out["wrong mask"] = without(target=wrong_mask_target)

# %%
clinic_sac.show(left_out)
plt.show()

# %% [markdown]
# Look along the rows.
#
# - **No entropy.** The return is as good! But the entropy has fallen far below $-1$: the policy is as good
#   as deterministic, and the temperature climbs and climbs, because nothing listens to it any more. (So does the second column: the examination goes on counting
#   entropy at that price, and this critic has never heard of it.)
#   Pendulum forgives the loss of entropy. The two hills above did not.
# - **One critic.** The return is as good, again; but the critic promises more than with two.
# - **Wrong mask.** Pendulum never terminates, so an inverted mask removes *every* future: the critic learns
#   the reward of one step, far above what really follows, and the policy never swings up.


# %% claim="leave_one_out" slow=true
# Five seeds: without entropy it plays as well and the temperature runs away; one critic promises more; the wrong mask learns nothing.
def late(steps=5_000, **changes):
    found = [clinic_sac.late(trained(seed, steps, **changes)[1]) for seed in range(5)]
    return {key: [round(one[key], 2) for one in found] for key in found[0]}


figures = {
    "all of it": late(),
    "no entropy": late(target=no_entropy_target, actor_loss=no_entropy_actor),
    "one critic": late(target=one_critic_target, actor_loss=one_critic_actor),
    "wrong mask": late(target=wrong_mask_target),
}
whole, no_entropy, single, wrong_mask = figures.values()
assert sum(no_entropy["return"]) > sum(whole["return"]) - 500, figures
assert sum(single["return"]) > sum(whole["return"]) - 500, figures
assert all(x > y for x, y in zip(single["q error"], whole["q error"], strict=True)), figures
assert max(no_entropy["entropy"]) < -4 and min(no_entropy["alpha"]) > 10, no_entropy
assert max(wrong_mask["return"]) < -1000 and min(wrong_mask["q error"]) > 150, wrong_mask


# %% claim="smaller_and_larger_of_two" slow=true
# Five seeds: a whole run plays well in the end and its critic errs downward; with the larger of two critics it lies at least 15 higher.
def late(**changes):
    found = [clinic_sac.late(trained(seed, 8_000, **changes)[1]) for seed in range(5)]
    return {key: [round(one[key], 2) for one in found] for key in found[0]}


figures = {"smaller": late(), "larger": late(**clinic_sac.BUGS["larger critic"])}
smaller, larger = figures.values()
assert min(smaller["return"] + larger["return"]) > -200, figures
assert max(smaller["q error"]) < -5, figures
assert all(y - x > 15 for x, y in zip(smaller["q error"], larger["q error"], strict=True)), figures
assert max(smaller["entropy"]) < 0 and max(smaller["alpha"]) < 0.5, figures
assert max(smaller["saturated"]) < 0.1, figures

# %% [markdown]
# A lesson beyond SAC: **the return alone does not tell you that the code is right.** You need the other
# curves.
#
# ## The lineage
#
# From lesson 4's actor-critic to SAC, line by line:
#
# ```diff
# - rollout = collect(actor)                                # used once
# + replay.add(collect(actor)); batch = replay.sample()     # used again and again
# - y = td_target(rew, critic(next_obs), terminated, gamma)
# + y = soft_q_target(rew, *slow_critic(next_obs, next_act), next_logp, terminated, gamma, alpha)
# - critic_loss(critic(obs), y)                             # V(s)
# + sac_critic_loss(*twin_critic(obs, act), y)              # Q(s, a), twice
# - actor_loss(logp, adv)                                   # score × advantage
# + sac_actor_loss(logp, *twin_critic(obs, fresh_act), alpha)   # through the sample
# + temperature_loss(log_alpha, logp, -n_act)
# + polyak_update(slow_critic, twin_critic, tau)
# ```
#
# | Line | What it buys | What it costs |
# |---|---|---|
# | replay buffer | each step of experience is learned from many times | needs a critic that does not care which policy acted: $Q$, not $V$ |
# | through the sample | a low-variance gradient without a baseline | differentiable samples, so continuous actions; the critic's slope must be right |
# | entropy and temperature | exploration with a price in units of reward | one more loss |
# | two critics | fewer self-made treasures | a second network; here, values that are too low |
# | slow copy | a target that moves slowly | a target that lags by about $1/\tau$ updates |
#
# REINFORCE → baseline → actor-critic → PPO keeps *on-policy* data and limits each step. SAC goes the
# other way: it lets the data be old, and trains a critic on it that the actor can climb.
#
# ## The bug clinic
#
# Eight real runs on Pendulum-v1, with the settings of yours and its first seed, 0. One is healthy: it is that run of yours, once more. The others have
# **one planted bug each** (two of the bugs have to be made in two functions). All you get is their curves, cut off at the edges of the picture, and the mean of each over the
# second half of the run.


# %%
patients = clinic_sac.load()
clinic_sac.show(patients)
plt.show()
print("   " + "".join(f"{title:>23s}" for title, *_ in clinic_sac.CURVES.values()))
for letter, curves in patients.items():
    print(f"{letter}  " + "".join(f"{x:23.3g}" for x in clinic_sac.late(curves).values()))

# %% claim="the_healthy_patient_is_your_first_run"
# Patient B is the learner's own run of seed 0: the same beginning, measurement by measurement.
_, again = trained(0, 1_500)
for key, curve in again.items():
    healthy = torch.as_tensor(patients["B"][key][: len(curve)])
    assert torch.allclose(healthy, torch.as_tensor(curve), rtol=0.05, equal_nan=True), key

# %% [markdown]
# ### Exercise: `quiz_sac_clinic` (20 minutes, ●●●)
#
# Who has what? Each diagnosis fits one patient. Work out what each bug *must* do to each curve before
# you look for it.
#
# <details><summary>Hint 1</summary>
#
# Start with the columns that only one thing can disturb: what makes a temperature explode? There are two
# reasons: an entropy that cannot be reached, and a policy that does not listen. The entropy column tells
# them apart.
#
# </details>
# <details><summary>Hint 2</summary>
#
# Then the ones that never learn to play. Does their critic learn (is the second column on its way to 0)? A
# critic that learns, under a policy that does not, points to the actor. A critic that is wrong for ever
# points to its target.
#
# </details>
# <details><summary>Hint 3</summary>
#
# No density on $(-1, 1)$ has an entropy above $\log 2$: who reports more is miscalculating. And of two
# patients who both play well, compare where their second column ends. The minimum of two critics errs downward, as in your own runs;
# the maximum hardly or not at all.
#
# </details>

# %% exercise="pgcourse.exercises.sac.quiz_sac_clinic.quiz_sac_clinic"

# %% [markdown]
# ### Treat a patient
#
# A diagnosis is worth something if the treatment works. `clinic_sac.rerun(patient, ...)` trains a patient
# again, **its bug still in**, except for the pieces that you put in their place. They have the names of the
# keys of `mine`.
#
# ### Exercise: `quiz_sac_treatment` (6 minutes, ●●)
#
# Replace only what is ill.
#
# <details><summary>Hint 1</summary>
#
# In which of your functions would you have to make that mistake?
#
# </details>
# <details><summary>Hint 2</summary>
#
# Two ideas of SAC stand in two functions each. Whoever got such an idea wrong needs both replaced.
#
# </details>

# %% exercise="pgcourse.exercises.sac.quiz_sac_treatment.quiz_sac_treatment"

# %% [markdown]
# Treat one, with your own functions. *Up to a minute.*

# %%
patient = "C"  # or another one
pieces = {name: mine[name] for name in quiz_sac_treatment()[patient]}
cured = clinic_sac.rerun(patient, total_steps=fast(5_000, 2_000), **pieces)
clinic_sac.show({patient: patients[patient], f"{patient}, treated": cured})
plt.show()

# %% [markdown]
# Then try the treatment on another patient, or the wrong treatment on this one.
#
# ## Ask yourself
#
# <details><summary>Why can SAC learn from old data, and PPO not?</summary>
#
# PPO's gradient is an average over what the *current* policy does. Its ratio makes up for slightly old actions, not for the states to which an older
# policy went. SAC's critic learns $Q(s, a)$, which is true whoever chose $a$; the action that follows, $a'$, and the action
# that the actor climbs with are drawn fresh from the current policy.
#
# </details>
# <details><summary>Why is log π of a likely action positive here, although probabilities are below 1?</summary>
#
# It is a density. A policy squeezed into an interval of length 0.1 has a density of 10 there, and
# $\log 10 \approx 2.3$. For the same reason entropy can be negative.
#
# </details>
# <details><summary>What would happen if the entropy of a' were paid even after a terminal state?</summary>
#
# Ending would be worth $-\gamma\alpha \log \pi(a'|s')$ of reward that does not exist. Depending on its sign the
# agent learns to end episodes, or to avoid it, for no reason in the task.
#
# </details>
# <details><summary>Both critics share data and targets. Why do they differ at all?</summary>
#
# They began with different random weights, so they disagree where there is little data: where
# overestimates grow. Errors that are in the data itself, both make.
#
# </details>
#
# ## What was left out
#
# Discrete actions (possible, but the sum over actions replaces the sample), TD3 (two critics and a slow
# copy around a deterministic actor), larger ensembles of critics and many updates for each step (REDQ,
# DroQ), quantile critics (TQC), prioritized replay, learning from pixels.
#
# ## Papers
#
# - Haarnoja, Zhou, Abbeel & Levine 2018, [*Soft Actor-Critic: Off-Policy Maximum Entropy Deep
#   Reinforcement Learning with a Stochastic Actor*](https://arxiv.org/abs/1801.01290)
# - Haarnoja et al. 2018b, [*Soft Actor-Critic Algorithms and Applications*](https://arxiv.org/abs/1812.05905): the
#   temperature
# - Fujimoto, van Hoof & Meger 2018, [*Addressing Function Approximation Error in Actor-Critic Methods*](https://arxiv.org/abs/1802.09477):
#   two critics
# - Lillicrap et al. 2016, [*Continuous control with deep reinforcement learning*](https://arxiv.org/abs/1509.02971): the
#   slow copy
# - Pardo et al. 2018, [*Time Limits in Reinforcement Learning*](https://arxiv.org/abs/1712.00378)
#
# **Next:** [lesson 7](07_rlhf.ipynb) returns to PPO, with a language model as the policy and a reward learned from people.
