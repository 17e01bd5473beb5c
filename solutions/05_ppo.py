# ---
# jupyter:
#   jupytext:
#     text_representation:
#       extension: .py
#       format_name: percent
# ---

# %% [markdown]
# # 5 · PPO: the clip is what makes big steps safe
#
# Lesson 4's A2C looks at a rollout once, takes one careful step, and throws the data away. That is
# wasteful wherever playing costs more than computing. Why not take twenty steps on the same data?
# Because after the first one the data is *old*: it shows what another policy did, in the states to which
# another policy went. Push on regardless, and the policy may walk off a cliff (below, one does).
# **Proximal policy optimization** (PPO) pushes on as well, but takes from each sample its reason to push
# once the probability of its action has changed by a fifth in the direction that pays. It is a workhorse of reinforcement learning,
# and lesson 7 fine-tunes a language model with the function that you write here.
#
# **You will be able to**
#
# - correct for old data with a probability ratio,
# - write PPO's clipped loss, and say for any step whether its gradient is zero,
# - say what the ratio corrects and what it does not (the states are still the old policy's),
# - show what happens without the clip, and with half of it, on the same data and in training,
# - write PPO's update, and watch it solve CartPole and Acrobot with your own functions,
# - read KL, entropy, clip fraction and explained variance as a doctor reads a chart.
#
# **You need** lessons 2 to 4. About two hours; the longest cell takes less than a minute.
#
# | Exercise | Minutes | Difficulty |
# |---|---|---|
# | `probability_ratio` | 4 | ● |
# | `ppo_clip_loss` | 12 | ●● |
# | `approx_kl` | 8 | ●● |
# | `entropy` | 6 | ●● |
# | `clipped_value_loss` | 8 | ●● |
# | `ppo_update` | 30 | ●●● |
# | `quiz_clip` | 8 | ●● |
# | `quiz_clinic` | 20 | ●●● |

# %% tags=["setup"]
import copy

import ipywidgets
import matplotlib.pyplot as plt
import torch
import torch.nn.functional as F

from pgcourse import fast, plots, ppo, simplex
from pgcourse.clinics import clinic_ppo
from pgcourse.bets import ask_again, bet, settle
from pgcourse.checks import check
from pgcourse.distributions import softmax
from pgcourse.estimators import gae, normalize_advantage
from pgcourse.mdp import MDP, action_values, expected_return, occupancy, state_values
from pgcourse.optim import Adam, clip_grad_norm_
from pgcourse.own_agent import check_agent
from pgcourse.ppo import diagnose, minibatch_columns, summarize
from pgcourse.recall import recall
from pgcourse.rollout import Collector, evaluate
from pgcourse.tensors import masked_mean, same_shape


plots.style()
torch.set_num_threads(1)

# %% [markdown]
# <details><summary>Names from the package that you will meet</summary>
#
# | name | what it is |
# |---|---|
# | `Collector`, `evaluate`, `rollout["obs"]`, `["act"]`, `["rew"]`, `["next_obs"]`, `["terminated"]`, `["ended"]`, `["mask"]` | lessons 3 and 4: experience from environments side by side, and tests |
# | `MDP`, `occupancy`, `state_values`, `action_values`, `expected_return`, `softmax` | lesson 1: worlds that can be calculated exactly |
# | `gae`, `normalize_advantage` | exercises of lessons 4 and 3 |
# | `masked_mean(x, mask)` | the mean of what the mask counts |
# | `Adam`, `clip_grad_norm_` | torch's, written for networks this small (equal results, less overhead) |
# | `minibatch_columns`, `diagnose`, `summarize` | parts of the update that are given; explained at the exercise |
# | `ppo`, `clinic_ppo` | the training loop; runs with a planted bug each |
# | `same_shape`, `fast`, `plots`, `check`, `bet`, `settle` | as in lesson 1 |
# | `ask_again`, `recall` | old bets and old questions |
# | `check_agent(lesson)` | judges your own agent, a file `my_agent.py` beside this notebook, by what it does |
# | `simplex` | a policy of three actions in a triangle: `panels` are pictures, `playground` has sliders |
#
# </details>
#
# Your bets that were furthest off, again:

# %%
ask_again("05")

# %% [markdown]
# And three questions from lesson 3, to see what is still there. No points; answer before you look anything up.

# %%
recall("05")

# %% [markdown]
# ## How far has the policy moved?
#
# The data was collected by $\pi_{\text{old}}$; we are improving $\pi_\theta$. In one state $s$, an average
# over the old policy's actions can be turned into one over the new policy's by **importance sampling**:
# weight each action by how much more often the new policy takes it. For any function $f$ of the action
# (and as long as the old policy takes every action now and then),
#
# $$\mathbb{E}_{a \sim \pi_\theta}[f(a)] = \sum_a \pi_\theta(a)\, f(a)
#   = \sum_a \pi_{\text{old}}(a)\, \frac{\pi_\theta(a)}{\pi_{\text{old}}(a)}\, f(a)
#   = \mathbb{E}_{a \sim \pi_{\text{old}}}[\rho\, f(a)], \qquad
#   \rho = \frac{\pi_\theta(a \mid s)}{\pi_{\text{old}}(a \mid s)} .$$
#
# With the advantage $A$ for $f$, and averaged over the states in the data as well, this is the
# **surrogate objective** $\mathbb{E}[\rho A]$. Its gradient
# starts out as a familiar one: $\nabla \rho = \rho\, \nabla \log \pi_\theta$, and $\rho = 1$ while nothing
# has changed, so the first step is the one that lesson 4's `actor_loss` takes.
#
# Networks give log-probabilities ("logp"), so take the ratio as
# $\rho = \exp(\log \pi_\theta - \log \pi_{\text{old}})$. By hand: an action had
# probability 0.25 and now has 0.5. Its logp went from $-1.386$ to $-0.693$, and
# $\rho = e^{0.693} = 2$.
#
# ### Exercise: `probability_ratio` (4 minutes, ●)
#
# The old policy is history: a constant.
#
# <details><summary>Hint 1</summary>
#
# One line. The quotient of two probabilities is the exponential of the *difference* of their logs.
#
# </details>
# <details><summary>Hint 2</summary>
#
# Not `exp(logp) / exp(logp_old)`: for a rare action both are 0 in 32-bit numbers. `.detach()` makes a constant.
#
# </details>

# %% exercise="pgcourse.losses.probability_ratio"

# %% [markdown]
# What does the correction cost? Take one state, in which six actions pay 0, 0.2, … 1. The old policy
# prefers the first ones, and the new one leans more and more toward the last. The weighted mean
# over the *old* policy's actions is right on average, however far the new policy has moved. Its noise grows.

# %%
generator = torch.Generator().manual_seed(0)
pay = torch.linspace(0, 1, 6)
old_logits = torch.linspace(1.5, -1.5, 6)
old_logp = torch.log_softmax(old_logits, 0)
acts = torch.multinomial(old_logp.exp(), 200 * 1000, replacement=True, generator=generator)
acts = acts.view(1000, 200)  # 1000 times 200 actions
shift = torch.linspace(0, 8, 9)
truth, mean, spread = [], [], []
for s in shift:
    new_logp = torch.log_softmax(old_logits + s * pay, 0)
    rho = probability_ratio(new_logp[acts], old_logp[acts])
    estimates = (rho * pay[acts]).mean(dim=1)
    truth.append((new_logp.exp() * pay).sum())
    mean.append(estimates.mean())
    spread.append(estimates.std())
mean, spread = torch.stack(mean), torch.stack(spread)
plt.plot(shift, truth, "k:", label="true mean reward of the new policy")
plt.plot(shift, mean, "o", label="estimated from the old policy's actions, by ρ")
plt.fill_between(
    shift, mean - 2 * spread, mean + 2 * spread, alpha=0.2, label="± 2 standard deviations"
)
plt.xlabel("how far the new policy leans toward the last action (logits)")
plt.ylabel("mean reward")
plt.title("In one state old data is right on average, and says less and less")
plt.legend()
plt.show()
print("spread, relative to the mean:", [round(x, 2) for x in (spread / mean).tolist()])

# %% claim="weighted_mean_unbiased_and_noisier"
# The weighted mean is right for every shift, and its relative spread grows with the shift.
p, relative = old_logp.double().exp(), []
for s in shift.double():
    q = torch.softmax(old_logits.double() + s * pay.double(), 0)
    weighted = (q / p) * pay.double()
    assert torch.isclose((p * weighted).sum(), (q * pay.double()).sum())
    variance = (p * weighted**2).sum() - (p * weighted).sum() ** 2
    relative.append((variance / 200).sqrt() / (p * weighted).sum())
assert (torch.stack(relative).diff() > 0).all() and relative[-1] > 3 * relative[0], relative

# %% [markdown]
# ## The states are still the old policy's
#
# That was one state. In a longer task there is something that the ratio does *not* correct: the data holds
# the states to which the **old** policy went. Let $d_\pi(s) = \sum_t \gamma^t \Pr(s_t = s)$ be the discounted
# visits of lesson 1 (`occupancy`). Two sums that look alike:
#
# $$J(\pi) - J(\pi_{\text{old}}) = \sum_s d_{\pi}(s) \sum_a \pi(a \mid s)\, A_{\text{old}}(s, a), \qquad
#   L(\pi) = \sum_s d_{\text{old}}(s) \sum_a \pi(a \mid s)\, A_{\text{old}}(s, a) .$$
#
# The left one is exact for any two policies (Kakade & Langford 2002;
# the derivation is short: along an episode of the new policy the terms $r_t + \gamma V_{\text{old}}(s_{t+1}) - V_{\text{old}}(s_t)$
# telescope). The right one is the surrogate: its actions are the new policy's, thanks to $\rho$, and its states the old one's.
# At $\pi = \pi_{\text{old}}$ both are 0 and have the same gradient; farther away they may differ as much as the visits do. (PPO's mean over a rollout also leaves
# out the $\gamma^t$ in $d$, as A2C's did: lesson 2.)
#
# A walk beside a cliff, small enough to compute both sums exactly. Eight cells; the episode begins in the leftmost one. Each step to
# the right pays 1; the step to the right from the last cell is a fall: it costs 10, and the episode is over. A step to the left pays
# nothing. The old policy steps to the right with probability 0.27 everywhere, so it is rarely near the edge. The new one adds the same number, the
# shift, to the logit of "right" in every cell, as a network that generalizes might.
#
# **Predict before you run the cell.** No sampling, exact advantages, exact ratios. The surrogate rises all the way from a shift of 0 to
# a shift of 3. What does the true $J$ do?
#
# <details><summary>Answer, once you have a guess</summary>
#
# It rises at first, along the surrogate, then turns and ends far below where it began. Near the start, a step to the right
# is good: it pays 1, and the old policy, which takes over from there, soon walks back. But the new policy does not walk back: it arrives at the edge,
# where stepping to the right is a disaster. In the old policy's data those cells hardly occur, so the surrogate hardly counts them.
#
# </details>

# %%
bet(
    "05 cliff",
    "The true change of J at each shift? (The surrogate there: 0, 4.5, 9 and 12.)",
    between=(-12, 12),
    at=[0, 1, 2, 3],
)


# %%
def cliff_walk(cells=8, fall=-10.0, gamma=0.95):
    P, R = torch.zeros(cells, 2, cells).double(), torch.zeros(cells, 2).double()
    for s in range(cells):
        P[s, 0, max(s - 1, 0)] = 1  # action 0: left
        if s + 1 < cells:
            P[s, 1, s + 1] = 1  # action 1: right; from the last cell: over the edge
    R[:, 1] = 1
    R[-1, 1] = fall
    return MDP(P, R, start=torch.eye(cells).double()[0], gamma=gamma)


def true_and_surrogate(mdp, old_theta, new_theta):
    """J(new) - J(old), and what the surrogate says it is; both exact."""
    old, new = softmax(old_theta), softmax(new_theta)
    adv = action_values(mdp, old) - state_values(mdp, old).unsqueeze(1)
    gain = expected_return(mdp, new_theta) - expected_return(mdp, old_theta)
    return gain.item(), (occupancy(mdp, old) @ (new * adv).sum(dim=1)).item()


walk = cliff_walk()
lean_left = torch.tensor([0.0, -1.0]).double().expand(8, 2)
to_the_right = torch.tensor([0.0, 1.0]).double()
shifts = torch.linspace(-1, 3, 81).double()
gains = [true_and_surrogate(walk, lean_left, lean_left + s * to_the_right) for s in shifts]
window = [s for s in shifts if 0.8 <= softmax(lean_left + s * to_the_right)[0, 1] / 0.2689 <= 1.2]

fig, (left, right) = plt.subplots(1, 2, figsize=(9, 3.6))
left.axvspan(window[0], window[-1], color=plots.SKY, alpha=0.3, lw=0, label="0.8 ≤ ρ(right) ≤ 1.2")
left.plot(shifts, [x for x, _ in gains], color=plots.BLUE, label="true change of J")
left.plot(shifts, [x for _, x in gains], "--", color=plots.RED, label="surrogate")
left.axhline(0, color="black", lw=0.6)
left.set(xlabel="shift (logits)", ylabel="reward", title="What it is, and what the old data says")
left.legend()
settle(
    "05 cliff",
    [true_and_surrogate(walk, lean_left, lean_left + k * to_the_right)[0] for k in range(4)],
    left,
)
for s, color in ((0.0, plots.BLACK), (0.2, plots.BLUE), (2.0, plots.ORANGE)):
    visits = occupancy(walk, softmax(lean_left + s * to_the_right))
    right.semilogy(visits, "o-", color=color, label=f"shift {s:g}")
right.set(xlabel="cell (the cliff is to the right of 7)", ylabel="discounted visits d(s)")
right.set_title("Where the policy goes")
right.legend()
plt.show()

# %% claim="the_surrogate_ignores_where_the_new_policy_goes"
# With the new policy's visits the sum is the true change; with the old one's it can have the wrong sign.
for s in (-1.0, -0.3, 0.2, 1.0, 2.0, 3.0):
    new_theta = lean_left + s * to_the_right
    new, old = softmax(new_theta), softmax(lean_left)
    adv = action_values(walk, old) - state_values(walk, old).unsqueeze(1)
    gain, said = true_and_surrogate(walk, lean_left, new_theta)
    assert abs((occupancy(walk, new) @ (new * adv).sum(dim=1)).item() - gain) < 1e-9
    if s >= 2:
        assert gain < -2 and said > 8, (s, gain, said)  # the wrong sign
surrogate = torch.tensor([x for _, x in gains])
assert (surrogate.diff() > 0).all()  # it rises all the way
inside = [(g, x) for s, (g, x) in zip(shifts, gains, strict=True) if window[0] <= s <= window[-1]]
assert all(abs(g - x) <= 0.1 * abs(g) + 1e-9 for g, x in inside), (
    inside
)  # in the window: within 10 %
eps, base = 1e-5, lean_left
slopes = [
    (b - a) / (2 * eps)
    for a, b in zip(
        true_and_surrogate(walk, base, base - eps * to_the_right),
        true_and_surrogate(walk, base, base + eps * to_the_right),
        strict=True,
    )
]
assert abs(slopes[0] - slopes[1]) < 1e-6, slopes  # the same gradient at the start

# %% [markdown]
# Inside the shaded window, where the ratio of each action is near 1, the surrogate is right to within a tenth. Outside, it goes on
# rising while the policy learns to fall. This is the problem that TRPO and PPO address. [Schulman et al. 2015](https://arxiv.org/abs/1502.05477) prove that
# $J(\pi) - J(\pi_{\text{old}}) \ge L(\pi) - C \max_s \mathrm{KL}(\pi_{\text{old}}(\cdot|s) \,\|\, \pi(\cdot|s))$ with a constant $C$
# that depends on $\gamma$ and on the size of the advantages. So a gain in the surrogate is sure to be a gain in $J$ only while the policy stays close to the old one.

# %% [markdown]
# ## The clip
#
# So there are two reasons to believe the surrogate only near $\rho = 1$: the noise, and the states. PPO builds this distrust into the objective:
#
# $$L^{\text{clip}} = \mathbb{E}\Big[ \min\big( \rho A,\;
#   \operatorname{clamp}(\rho,\, 1 - \varepsilon,\, 1 + \varepsilon)\, A \big) \Big],$$
#
# where $\operatorname{clamp}$ cuts off at the two bounds and $\varepsilon$ (`clip`; 0.2 in the paper and here)
# is the half-width of the window. The clamp is constant outside the window, so its gradient is zero
# there. The minimum decides where it counts. Four cases:
#
# | | $\rho > 1 + \varepsilon$: the action became clearly more probable | $\rho < 1 - \varepsilon$: clearly less probable |
# |---|---|---|
# | $A > 0$, a good action | gain taken; **gradient zero** | a step back happened; gradient *lives*, it repairs |
# | $A < 0$, a bad action | a step back happened; gradient *lives*, it repairs | gain taken; **gradient zero** |
#
# Where the gain has been taken, this sample gives no reason to go on; where things went the wrong way, the way
# back is open. Is half of it enough, the clamp without the minimum? Keep the question: an experiment below answers it. By hand, with $\varepsilon = 0.2$: for $\rho = 1.5,\ A = 1$ the terms are $1.5$ and $1.2$; the
# minimum is $1.2$, a constant. For $\rho = 1.5,\ A = -1$ they are $-1.5$ and $-1.2$; the minimum is $-1.5$,
# which moves with $\rho$.
#
# ### Exercise: `ppo_clip_loss` (12 minutes, ●●)
#
# A loss is minimized, so it is minus the objective. `mask` is False where there is no action of the
# policy (padding, a prompt in lesson 7): such steps must not enter, and they may hold `nan`.
#
# <details><summary>Hint 1</summary>
#
# `rho.clamp(low, high)` and `torch.minimum(x, y)`, element by element. The average comes last.
#
# </details>
# <details><summary>Hint 2</summary>
#
# The advantage is a constant: `adv.detach()`. Whoever forgets it lets the actor's loss push the critic.
#
# </details>
# <details><summary>Hint 3</summary>
#
# `masked_mean(x, mask)` from `pgcourse.tensors` selects with `x[mask]`. Multiplying by the mask would not do: 0 times `nan` is `nan`.
#
# </details>

# %% exercise="pgcourse.losses.ppo_clip_loss"

# %% [markdown]
# Your loss, seen for a single step. The lower panels show its gradient, from autograd: **flat means
# silent**. It is silent on one side only, and the sign of the advantage says on which.


# %%
def objective_and_gradient(rho, adv, clip):
    """Your objective (minus the loss) and its derivative with respect to logp, step by step."""
    logp = rho.log().requires_grad_()
    steps = [ppo_clip_loss(x.view(1), torch.zeros(1), torch.full((1,), adv), clip) for x in logp]
    objective = -torch.stack(steps)
    (grad,) = torch.autograd.grad(objective.sum(), logp)
    return objective.detach(), grad


def show_objective(axes, adv, clip, at=None):
    rho = torch.linspace(0.3, 1.9, 161)
    objective, grad = objective_and_gradient(rho, adv, clip)
    good = adv > 0
    for ax, y, label in zip(
        axes, (objective, grad), ("objective", "gradient in logp"), strict=True
    ):
        ax.axvspan(1 - clip, 1 + clip, color=plots.SKY, alpha=0.2, lw=0)
        ax.axhline(0, color="black", lw=0.6)
        ax.plot(rho, y, color=plots.BLUE if good else plots.RED)
        ax.set_ylabel(label)
    axes[0].set_title(f"A = {adv:+g}: " + ("a good action" if good else "a bad action"))
    axes[1].set_xlabel("ratio ρ")
    if at is not None:
        y, slope = objective_and_gradient(torch.tensor([at]), adv, clip)
        axes[0].plot(at, y, "ko")
        axes[1].plot(at, slope, "ko")
        verdict = (
            "ZERO: the clip binds" if slope.abs() < 1e-9 else f"{slope.item():+.2f}: it learns"
        )
        axes[1].set_title(f"gradient at ρ = {at:g}: {verdict}", fontsize=10)


fig, axes = plt.subplots(2, 2, figsize=(8, 4.6), sharex=True)
show_objective(axes[:, 0], 1.0, 0.2)
show_objective(axes[:, 1], -1.0, 0.2)
plt.show()

# %% claim="the_four_corners"
# Outside the window the gradient is zero where the gain has been taken, and alive where the step went wrong.
for adv in (2.0, -2.0):
    for ratio in (0.5, 0.79, 1.21, 1.5):
        _, slope = objective_and_gradient(torch.tensor([ratio]), adv, 0.2)
        taken = (ratio > 1) == (adv > 0)
        assert slope.item() == 0 if taken else abs(slope.item() - ratio * adv) < 1e-5, (adv, ratio)

# %% [markdown]
# Before you move the sliders, guess: at $\rho = 0.5$, for which sign of $A$ is the gradient zero?
# (The sliders need a running kernel; the picture above is what they show.)


# %%
def slider(rho=1.5, advantage=1.0, clip=0.2):
    _, axes = plt.subplots(2, 1, figsize=(5.5, 4.6), sharex=True)
    show_objective(axes, advantage, clip, at=rho)
    plt.show()


_ = ipywidgets.interact(
    slider,
    rho=ipywidgets.FloatSlider(1.5, min=0.4, max=1.8, step=0.05, continuous_update=False),
    advantage=ipywidgets.ToggleButtons(options=[("A > 0", 1.0), ("A < 0", -1.0)]),
    clip=ipywidgets.FloatSlider(0.2, min=0.05, max=0.5, step=0.05, continuous_update=False),
)

# %% [markdown]
# ## Diagnostics: entropy and KL
#
# How far apart are the two policies, over the whole batch? This lesson measures by the **Kullback–Leibler divergence**
# from the policy that collected the rollout (with each rollout it is a new one),
# $\mathrm{KL}(\pi_{\text{old}} \,\|\, \pi) = \mathbb{E}_{a \sim \pi_{\text{old}}}[\log \pi_{\text{old}}(a) - \log \pi(a)]
# = \mathbb{E}[-\log \rho]$, in nats. Our actions come from $\pi_{\text{old}}$, so the plain mean of $-\log \rho$
# estimates it. But that mean is noisy and can be *negative*, which no KL is. Add something whose
# mean is zero: $\mathbb{E}[\rho - 1] = \sum_a \pi(a) - 1 = 0$. The result,
#
# $$\mathrm{KL} \approx \operatorname{mean}\big( (\rho - 1) - \log \rho \big),$$
#
# has the same mean, and every single term is $\ge 0$, because $\log \rho \le \rho - 1$.
# [Schulman 2020](http://joschu.net/blog/kl-approx.html) calls it **k3**, and the plain one k1. By hand, for one action with $\rho = 2$: $1 - 0.693 = 0.307$.
#
# ### Exercise: `approx_kl` (8 minutes, ●●)
#
# <details><summary>Hint 1</summary>
#
# `logp - logp_old` is $\log \rho$. Three terms, then a masked mean.
#
# </details>
# <details><summary>Hint 2</summary>
#
# `torch.expm1(x)` is $e^x - 1$ without rounding errors near 0; `torch.exp(x) - 1` is accepted, too.
#
# </details>

# %% exercise="pgcourse.losses.approx_kl"

# %% [markdown]
# The same batches, two estimates, of two policies that are close to each other, as they are during an update: here k3 is much less noisy.

# %%
old = torch.softmax(torch.randn(4, generator=generator), 0)
new = torch.softmax(old.log() + 0.3 * torch.randn(4, generator=generator), 0)
acts = torch.multinomial(old, 64 * 2000, replacement=True, generator=generator).view(2000, 64)
plain = (old.log() - new.log())[acts].mean(dim=1)
k3 = torch.stack([approx_kl(new.log()[a], old.log()[a]) for a in acts])
exact = (old * (old.log() - new.log())).sum().item()

bins = torch.linspace(plain.min(), plain.max(), 60).tolist()
plt.hist(plain, bins=bins, alpha=0.6, color=plots.ORANGE, label="plain: mean of −log ρ")
plt.hist(k3, bins=bins, alpha=0.6, color=plots.BLUE, label="k3 (yours)")
plt.axvline(exact, color="black", ls=":", label=f"exact KL, {exact:.4f}")
plt.xlabel("estimate from 64 actions (nats)")
plt.ylabel("batches")
plt.legend()
plt.show()
print(f"mean of plain {plain.mean():.4f}, of k3 {k3.mean():.4f}, exact {exact:.4f}")
print(f"negative: plain {(plain < 0).float().mean():.0%}, k3 {(k3 < 0).float().mean():.0%}")
print(f"spread: plain {plain.std():.4f}, k3 {k3.std():.4f}")


# %% claim="k3_is_better_only_nearby"
# Same mean; k3 is never negative; less noisy for close policies, noisier than the plain mean for distant ones.
def mean_and_spread(p, x):
    mean = (p * x).sum()
    return mean.item(), (p * (x - mean) ** 2).sum().sqrt().item()


spreads = []
for s in range(1, 9):
    p = torch.softmax(old_logits.double(), 0)
    log_rho = torch.log_softmax(old_logits.double() + s * pay.double(), 0) - p.log()
    terms = torch.expm1(log_rho) - log_rho
    (kl, wide), (also_kl, narrow) = mean_and_spread(p, -log_rho), mean_and_spread(p, terms)
    assert abs(kl - also_kl) < 1e-12 and (terms >= 0).all()
    spreads.append((kl, narrow / wide))
assert all(ratio < 0.6 for kl, ratio in spreads if kl < 0.2), spreads
assert all(ratio > 1.1 for kl, ratio in spreads if kl > 0.7), spreads

# %% [markdown]
# (For two policies that are far apart it is the other way round: k3 contains $\rho$ itself, whose noise you saw grow. From a KL of about
# 0.7 nats on, in the example with six actions, k3 is noisier than the plain mean.)
#
# The second gauge is the **entropy**, $H = -\sum_a \pi(a) \log \pi(a)$: how undecided the policy still is.
# It is $\log A$ (here $A$ is the number of actions) for the uniform policy and 0 for a certain one. By hand: a fair coin has
# $H = \log 2 = 0.693$ nats. A policy whose entropy falls to 0 early hardly tries anything new, and what it does not try it cannot learn about.
# Adding a little of the entropy to the objective (an **entropy bonus**) pulls against that.
#
# A tempting shortcut is $-\log \pi(a_t)$ of the action taken: its mean is the entropy. But while the policy is the one that acted, the
# gradient of $-\log \pi(a_t)$ is zero on average, $-\mathbb{E}[\nabla \log \pi] = 0$ (lesson 1!): a bonus of pure noise. In later epochs the actions
# are the old policy's, and $-\mathbb{E}_{a \sim \pi_{\text{old}}}[\nabla \log \pi]$ is the gradient of $\mathrm{KL}(\pi_{\text{old}} \,\|\, \pi)$: the "bonus"
# would push the policy *away* from the old one, the very thing that PPO wants to prevent.
#
# ### Exercise: `entropy` (6 minutes, ●●)
#
# <details><summary>Hint 1</summary>
#
# `F.log_softmax(logits, dim=-1)` gives all $\log \pi$; its `exp()` gives $\pi$.
#
# </details>
# <details><summary>Hint 2</summary>
#
# `softmax` followed by `log` gives $0 \cdot (-\infty)$ for large logits. The sum is over the last axis, the (masked) mean over states.
#
# </details>

# %% exercise="pgcourse.distributions.entropy"

# %% claim="minus_log_prob_is_no_entropy_bonus"
# Averaged over the actions, -log pi(a) has no gradient at the old policy, and elsewhere that of the KL from it.
old_p = torch.softmax(torch.tensor([0.3, -0.5, 1.0]).double(), 0)
for moved in (0.0, 0.5):
    theta = (old_p.log() + moved * torch.tensor([1.0, 0.0, -1.0])).requires_grad_()
    logp = torch.log_softmax(theta, 0)
    (shortcut,) = torch.autograd.grad((old_p * -logp).sum(), theta, retain_graph=True)
    (of_the_kl,) = torch.autograd.grad(
        (old_p * (old_p.log() - logp)).sum(), theta, retain_graph=True
    )
    (of_the_entropy,) = torch.autograd.grad(entropy(theta.unsqueeze(0)), theta)
    assert torch.allclose(shortcut, of_the_kl) and of_the_entropy.abs().max() > 0.05
    assert (shortcut.abs().max() < 1e-12) == (moved == 0.0), shortcut

# %%
p = torch.linspace(0.01, 0.99, 99)
coins = torch.stack([p.log(), (1 - p).log()], dim=-1)
plt.plot(p, torch.stack([entropy(logits) for logits in coins.unsqueeze(1)]))
plt.xlabel("probability of heads")
plt.ylabel("entropy (nats)")
plt.title("Undecided in the middle, certain at the ends")
plt.show()

# %% [markdown]
# ## The critic
#
# Many implementations clip the value as well, so that it does not move far in one update
# (number 9 of [the 37 implementation details](https://iclr-blog-track.github.io/2022/03/25/ppo-implementation-details/)). $V_{\text{old}}$ is the value at collection
# time and $G$ the return to fit (`ret`, advantage plus old value):
#
# $$V^{\text{clip}} = V_{\text{old}} + \operatorname{clamp}(V - V_{\text{old}}, -c, c), \qquad
#   L = \operatorname{mean} \max\big( (V - G)^2, (V^{\text{clip}} - G)^2 \big).$$
#
# Maximum for a loss is what minimum was for an objective: the pessimist's choice. *This* clip is closer to
# polish: [Andrychowicz et al. 2021](https://arxiv.org/abs/2006.05990), who trained 250,000 agents, advise against it. And its $c$ depends on
# the scale of the rewards. Below it is off, with $c = \infty$; you should know it, for you will meet it.
#
# ### Exercise: `clipped_value_loss` (8 minutes, ●●)
#
# <details><summary>Hint 1</summary>
#
# Two squared errors, `torch.maximum` element by element, then the masked mean. A factor ½ is accepted.
#
# </details>
# <details><summary>Hint 2</summary>
#
# Two arguments are constants: `val_old` and `ret`.
#
# </details>

# %% exercise="pgcourse.losses.clipped_value_loss"

# %% [markdown]
# ## The update
#
# Now put it together. A **rollout** is a dict of tensors whose first axis is time and whose second axis
# is the environment: `[T, B]`. In lesson 7 a column will be a conversation. The update
#
# 1. normalizes the advantages once (lesson 3), over everything that is not masked;
# 2. goes through the data `epochs` times, each time in a new random order, in minibatches of whole columns;
# 3. for each minibatch asks the policy for logp, entropy and value *now*, and takes one step on
#    $$L = L^{\text{clip}} + c_v L^{\text{value}} - c_e H .$$
#
# One thing must **not** move: `rollout["logp"]`. It was stored when the data was collected. Recompute it in
# the loop and the ratio is always 1, the clip never acts, and no error is raised; two curves give it away,
# as you will see in the clinic.
#
# Given: `minibatch_columns(n_columns, n_minibatches, generator)` shuffles and splits;
# `diagnose(pi_loss, v_loss, bonus, kl, logp, logp_old, clip, mask)` makes a dict of numbers;
# `summarize(log)` averages a list of them. Your `clipped_value_loss` and `approx_kl` are used here.
#
# ### Exercise: `ppo_update` (30 minutes, ●●●)
#
# <details><summary>Hint 1</summary>
#
# Start with `data = {**rollout, "adv": normalize_advantage(...)}`: a new dict, so that the caller's
# rollout is not modified. A minibatch is `{key: x[:, columns] for key, x in data.items()}`.
#
# </details>
# <details><summary>Hint 2</summary>
#
# Inside the inner loop: `evaluate`, three losses, the KL, `log.append(diagnose(...))`; then, if the KL is
# past `config.target_kl`, `return summarize(log)` at once, *before* stepping; else `zero_grad`, `backward`,
# `clip_grad_norm_(policy.parameters(), config.max_grad_norm)`, `step`.
#
# </details>
# <details><summary>Hint 3</summary>
#
# `mask` may be absent: `batch.get("mask")`. The entropy comes per step from `evaluate`: average it with `masked_mean`.
# Call the policy's loss by the name of the argument, `loss(...)`, or the experiments below cannot replace it.
#
# </details>

# %% exercise="pgcourse.ppo.ppo_update"

# %% [markdown]
# ## The lineage: from A2C to PPO
#
# This is what separates PPO's update from that of lesson 4's A2C (both normalize the advantages and limit the
# norm of the gradient; with one epoch of one minibatch the two policies' gradients are equal):
#
# ```diff
#   data = collector.collect(policy, n_steps)
#   adv  = gae(rew, val, next_val, terminated, ended, gamma, lam)
#   ret  = adv + val
# + logp_old = log-probabilities of the actions, now and never again
# + for _ in range(epochs):
# +     for columns in minibatch_columns(B, minibatches):
#           logp, ent, val = policy.evaluate(obs, act)
# -         actor_loss(logp, adv)
# +         ppo_clip_loss(logp, logp_old, adv, clip)
#           critic_loss(val, ret)
#           backward, step
# ```
#
# | Line | What it buys |
# |---|---|
# | `logp_old` | the data may become old, and we know how old |
# | `for _ in range(epochs)` | many steps from one rollout |
# | `minibatch_columns` | more steps still: several in each epoch |
# | `ppo_clip_loss` | each sample stops pushing when its action's probability has changed by $\varepsilon$: **this line pays for the three above** |
#
# From lesson 2 to here: REINFORCE gave a direction to follow; the baseline and the critic made it less
# noisy; GAE chose how far to trust the critic; PPO takes many steps before it looks again.

# %% claim="the_first_step_is_that_of_a2c"
# At the old policy nothing is clipped, and the gradient of the clipped loss is that of lesson 4's actor loss.
from pgcourse.losses import actor_loss

logp = torch.randn(5, 4, generator=torch.Generator().manual_seed(0)).requires_grad_()
adv = torch.randn(5, 4, generator=torch.Generator().manual_seed(1))
(of_ppo,) = torch.autograd.grad(ppo_clip_loss(logp, logp.detach().clone(), adv, 0.2), logp)
(of_a2c,) = torch.autograd.grad(actor_loss(logp, adv), logp)
assert torch.allclose(of_ppo, of_a2c, atol=1e-7), (of_ppo - of_a2c).abs().max()

# %% [markdown]
# ## The clip in the triangle
#
# Lesson 1's playground for the last time: 200 agents draw 16 actions each and make steps on them, one or fifty. Without the clip, fifty steps carry nearly every agent
# into a corner, as if sixteen actions were proof. With the clip they stop on the way.

# %%
simplex.panels(
    {
        "1 step": {"n": 16, "baseline": True},
        "50 steps, no clip": {"n": 16, "baseline": True, "epochs": 50},
        "50 steps, clip 0.2": {"n": 16, "baseline": True, "epochs": 50, "clip": 0.2},
    }
)
plt.show()

# %% claim="fifty_steps_without_the_clip_end_in_a_corner"
# Five seeds: without the clip more than nine tenths of the agents end surer than .9 of one action; with it none gets beyond .6.
for seed in range(5):
    for clip in (None, 0.2):
        dots = simplex.cloud(
            simplex.START, simplex.PAYS, n=16, baseline=True, epochs=50, clip=clip, seed=seed
        )
        surest = softmax(dots).max(dim=1).values
        assert surest.max() < 0.6 if clip else (surest > 0.9).float().mean() > 0.9, (seed, surest)

# %% [markdown]
# ## Is the clip optional polish?
#
# It looks like a detail. Take it away and see; and take half of it away: the clamp alone, without the minimum. Everything
# else is the same: the policy, **the same rollout**, the same minibatches in the same order, the limit on the gradient's norm.
# A policy is trained a little, collects one rollout, and learns from that one rollout for 30 epochs with a big learning rate (0.02, about
# seven times the default). After every 5 epochs we look at the KL from where it started, and play. Five seeds.
#
# **Bet first:** the clamp alone is silent on *both* sides of the window. Will it behave more like the clip, or more like no clip?
#
# *About 30 seconds.*

# %%
bet(
    "05 clamp",
    "The clamp alone: how far from the old policy does it end?",
    among=["about as near as with the clip", "about as far as without", "in the middle"],
)


# %%
def unclipped_loss(logp, logp_old, adv, clip, mask=None):
    """The surrogate without a clip: correct near ρ = 1, and nothing keeps it there."""
    return -masked_mean(probability_ratio(logp, logp_old) * adv, mask)


def clamped_loss(logp, logp_old, adv, clip, mask=None):
    """Half a clip: the clamped ratio without the minimum, silent on both sides of the window."""
    return -masked_mean(probability_ratio(logp, logp_old).clamp(1 - clip, 1 + clip) * adv, mask)


def one_rollout(policy, config):
    data = Collector(config.env, config.n_envs, config.seed + 50).collect(policy, config.n_steps)
    with torch.no_grad():
        logp, _, val = policy.evaluate(data["obs"], data["act"])
        next_val = policy.value(data["next_obs"])
    flags = data["terminated"], data["ended"]
    adv = gae(data["rew"], val, next_val, *flags, config.gamma, config.lam)
    kept = {key: data[key] for key in ("obs", "act", "mask")}
    return kept | {"logp": logp, "val": val, "adv": adv, "ret": adv + val}


def keep_learning(policy, rollout, config, loss, rounds):
    """KL to the start and mean return, before and after each round of config.epochs epochs."""
    policy = copy.deepcopy(policy)
    optimizer = Adam(policy.parameters(), config.lr)
    order = torch.Generator().manual_seed(config.seed)
    stage, seen = Collector(config.env, 16, config.seed + 100), []
    for i in range(rounds + 1):
        if i:
            ppo_update(policy, optimizer, rollout, config, loss=loss, generator=order)
        with torch.no_grad():
            logp, _, _ = policy.evaluate(rollout["obs"], rollout["act"])
        stage.collect_episodes(policy)
        kl = approx_kl(logp, rollout["logp"], rollout["mask"]).item()
        returns = [ret for _, ret in stage.finished()]
        seen.append((kl, sum(returns) / len(returns)))
    return seen


losses = {"with the clip": ppo_clip_loss, "without": unclipped_loss, "clamp alone": clamped_loss}


def same_data(seed, steps, rounds):
    """What each of the losses makes of one policy and one rollout."""
    begin = ppo.Config(seed=seed, total_steps=steps)
    policy = ppo.train(begin, loss=ppo_clip_loss, update=ppo_update).policy
    config = ppo.Config(seed=seed, lr=0.02, epochs=5)
    rollout = one_rollout(policy, config)
    return {
        name: keep_learning(policy, rollout, config, loss, rounds) for name, loss in losses.items()
    }


by_seed = [same_data(seed, fast(20_000, 4_000), fast(6, 2)) for seed in range(fast(5, 2))]
seen = {name: [one[name] for one in by_seed] for name in losses}


# %%
def like_which(seen):
    """Where the clamp alone ends: near the clip, near none, or in between (median KL, in orders of magnitude)."""
    near, far, here = (torch.tensor(seen[name])[:, -1, 0].median().log() for name in losses)
    share = (here - near) / (far - near)
    if share < 1 / 3:
        return "about as near as with the clip"
    return "about as far as without" if share > 2 / 3 else "in the middle"


fig, (left, right) = plt.subplots(1, 2, figsize=(9, 3.8))
for (name, runs), color in zip(seen.items(), (plots.BLUE, plots.RED, plots.ORANGE), strict=True):
    runs = torch.tensor(runs)  # [seeds, rounds + 1, 2]
    epochs = 5 * torch.arange(runs.shape[1])
    left.semilogy(epochs[1:], runs[:, 1:, 0].T, color=color, alpha=0.35, lw=1)
    left.semilogy(epochs[1:], runs[:, 1:, 0].median(0).values, color=color, lw=2.5, label=name)
    right.plot(epochs, runs[..., 1].T, color=color, alpha=0.35, lw=1)
    right.plot(epochs, runs[..., 1].mean(0), color=color, lw=2.5, label=name)
    print(
        f"{name:14s} KL at the end (median) {runs[:, -1, 0].median():.3f}, "
        f"return {runs[:, 0, 1].mean():.0f} -> {runs[:, -1, 1].mean():.0f} (mean over seeds)"
    )
left.set(xlabel="epochs on one rollout", ylabel="KL from the old policy (nats)")
right.set(xlabel="epochs on one rollout", ylabel="return (mean of 16 episodes)")
left.set_title("Same data, same steps: how far?")
right.set_title("...and how good?")
left.legend()
settle("05 clamp", like_which(seen))
plt.show()

# %% [markdown]
# Thin lines are seeds, thick ones the median (left) and the mean (right).
#
# - **With the clip** the KL ends at some hundredths of a nat (of twenty seeds one at 0.17), after an early excursion in some.
# - **Without it** the KL ends more than ten times as large in each seed, and hundreds of times in most: the rollout is evidence about a policy that no longer
#   exists, and what comes of it is a gamble. Most seeds lose much of what they could do; a few are lucky.
# - **The clamp alone** ends about as far out as no clip, and plays about as badly. This is what the minimum is for. A big step overshoots; then the clamp is
#   silent on both sides, and nothing calls the policy back. With the minimum, a sample that was carried out of the window on the wrong side still has its gradient, and
#   it brings the policy back: the two losses differ in nothing but those gradients.
#
# The clip is no guarantee of progress: a seed may lose with it, too. One rollout has only so much to teach.

# %% claim="same_data_three_losses" slow=true
# Twenty seeds, one and the same rollout: the clip keeps the KL small; without it, and with the clamp alone, it grows, and play suffers alike.
results = [same_data(seed, 20_000, 6) for seed in range(20)]
ends = {name: [round(one[name][-1][0], 4) for one in results] for name in losses}
returns = {name: [round(one[name][-1][1]) for one in results] for name in losses}
begin = [round(one["without"][0][1]) for one in results]
figures = {"kl": ends, "return": returns, "begin": begin}
kept, free, clamped = (torch.tensor(ends[name]) for name in losses)
assert kept.max() < 0.25 and kept.median() < 0.05, ends
assert (free > 10 * kept).all() and (clamped > 10 * kept).all(), ends
assert free.median() > 100 * kept.median() and clamped.median() > 100 * kept.median(), ends
with_clip, without, clamp = (returns[name] for name in losses)
assert sum(with_clip) > 2 * sum(without) and sum(with_clip) > 2 * sum(clamp), returns
assert 0.6 < sum(clamp) / sum(without) < 1.6, returns
assert sum(x < y / 2 for x, y in zip(without, begin, strict=True)) >= 12, (returns, begin)
assert any(x < y for x, y in zip(with_clip, begin, strict=True)), (returns, begin)

# %% [markdown]
# ### Clip fraction
#
# The **clip fraction** of an update is the share of its steps whose ratio lies outside the window, $|\rho - 1| > \varepsilon$ (`diagnose`
# computes it). It counts both sides and both signs of the advantage, so also the steps in the other two corners of the table, whose gradient lives.
# It says how many ratios have left the window, not how many gradients are zero; and it is counted in the same way for a loss that clips nothing.

# %% claim="clip_fraction_counts_living_gradients_too"
# A third or more of the steps that the clip fraction counts have a living gradient, in runs with big steps.
alive, outside = 0, 0


def counting_loss(logp, logp_old, adv, clip, mask=None):
    global alive, outside
    x = logp.detach().requires_grad_()
    (slope,) = torch.autograd.grad(ppo_clip_loss(x, logp_old, adv, clip, mask), x)
    out = (probability_ratio(x, logp_old) - 1).abs() > clip
    alive, outside = alive + (out & (slope != 0)).sum().item(), outside + out.sum().item()
    return ppo_clip_loss(logp, logp_old, adv, clip, mask)


shares = []
for seed in range(5):
    alive = outside = 0
    config = ppo.Config(seed=seed, lr=0.01, total_steps=3_000)
    ppo.train(config, loss=counting_loss, update=ppo_update, progress=False)
    shares.append(alive / outside)
assert all(0.3 < share < 0.6 for share in shares), shares

# %% [markdown]
# ### In training
#
# Now rollout after rollout, ten epochs each, and a learning rate of 0.01. Five seeds with the
# clip, five without. These are big steps on purpose: with one epoch and a tiny learning rate no ratio leaves the window, and the runs with the
# clip and without it are one and the same run (a slow one).
#
# *About 45 seconds.*

# %%
big = dict(lr=0.01, epochs=10, total_steps=fast(20_000, 3_000))
runs = {
    name: [
        ppo.train(ppo.Config(seed=seed, **big), loss=loss, update=ppo_update)
        for seed in range(fast(5, 2))
    ]
    for name, loss in [("with the clip", ppo_clip_loss), ("without", unclipped_loss)]
}

# %% claim="with_tiny_steps_the_clip_does_nothing"
# One epoch and a tiny learning rate: no ratio leaves the window, and both losses give the same run.
for seed in range(5):
    tiny = ppo.Config(seed=seed, lr=3e-4, epochs=1, total_steps=2_000)
    with_clip, without_clip = (
        ppo.train(tiny, loss=loss, update=ppo_update, progress=False).history
        for loss in (ppo_clip_loss, unclipped_loss)
    )
    assert with_clip["clip_fraction"].max() == 0
    assert all((with_clip[k] == without_clip[k])[1:].all() for k in ("return", "kl", "entropy"))

# %%
fig, axes = plt.subplots(2, 2, figsize=(9, 6.4))
for ax, key in zip(axes.flat, ("return", "kl", "clip_fraction", "entropy"), strict=True):
    plots.learning_curves(runs, key, ax=ax)
    if key != "return":
        ax.get_legend().remove()
axes[0, 1].set(yscale="log", ylim=(1e-4, 20))
plt.show()
for name, results in runs.items():
    last = [round(float(r.history["return"][-5:].mean())) for r in results]
    print(f"{name:14s} return at the end, by seed: {last}")

# %% [markdown]
# Read the four panels together. Without the clip the KL of the first updates is more than fifty times as large. In the first rollout most ratios leave the window,
# and after a few more the entropy is nearly gone. The return rises for some thousand steps, then stays low or falls back, and
# ends at a fraction of what the runs with the clip reach. A policy that is certain of the wrong thing hardly tries anything else, and none of these runs
# recovers within its 20,000 steps. (That its clip fraction falls later is not health: where a policy is certain before and after, the ratio is 1.) That is the
# collapse, and in these runs it is the clip that prevents it: nothing else differs.
#
# Note the other side as well: *with* the clip the clip fraction is not zero. The clip is no wall. It only removes a sample's own
# reason to go further. A single step of the optimizer can carry a ratio out of the window; the optimizer's momentum can carry it on; and so can the other samples,
# which share the weights.

# %% claim="training_with_and_without_the_clip" slow=true
# Big steps: without the clip the KL is many times as large from the first rollout on, the entropy goes, the return stays low.
found = {}
for name, loss in [("with", ppo_clip_loss), ("without", unclipped_loss)]:
    logs = [
        ppo.train(
            ppo.Config(seed=seed, lr=0.01, total_steps=20_000), loss=loss, update=ppo_update
        ).history
        for seed in range(8)
    ]
    found[name] = {
        "first kl": [round(float(log["kl"][0]), 4) for log in logs],
        "mean kl": [round(float(log["kl"].mean()), 4) for log in logs],
        "first clip fraction": [round(float(log["clip_fraction"][0]), 2) for log in logs],
        "clip fraction": [round(float(log["clip_fraction"].mean()), 3) for log in logs],
        "sixth entropy": [round(float(log["entropy"][5]), 3) for log in logs],
        "return": [round(float(log["return"][-5:].mean())) for log in logs],
    }
tiny = ppo.Config(lr=3e-4, epochs=1, total_steps=20_000)
slow_run = ppo.train(tiny, loss=ppo_clip_loss, update=ppo_update).history["return"][-1]
figures = found | {"return with tiny steps": round(float(slow_run))}
ours, other = found["with"], found["without"]
assert all(b > 50 * a for a, b in zip(ours["first kl"], other["first kl"], strict=True))
assert all(b > 5 * a for a, b in zip(ours["mean kl"], other["mean kl"], strict=True)), figures
assert min(other["first clip fraction"]) > 0.5 and min(ours["clip fraction"]) > 0.02
assert max(other["sixth entropy"]) < 0.25 < min(ours["sixth entropy"])
assert sum(other["return"]) < 0.4 * sum(ours["return"]), figures
assert slow_run < 0.5 * sum(ours["return"]) / 8, slow_run

# %% claim="the_clip_is_no_wall"
# One step can carry a ratio out of the window, momentum carries it on, and so does a sample that shares the weights.
weight, one = torch.zeros(2, requires_grad=True), torch.ones(1)
optimizer, ratios = Adam([weight], lr=0.3), []
for _ in range(3):
    logp = torch.log_softmax(weight, 0)[:1]
    ratios.append(probability_ratio(logp, torch.tensor([0.5]).log()).item())
    optimizer.zero_grad()
    ppo_clip_loss(logp, torch.tensor([0.5]).log(), one, 0.2).backward()
    optimizer.step()
assert ratios[0] == 1 and ratios[1] > 1.2 and weight.grad.abs().max() == 0, ratios
assert ratios[2] > ratios[1]  # the gradient of the second step was zero
weight = torch.tensor(0.25, requires_grad=True)  # two states with features 1 and 2, one weight
logp = F.logsigmoid(weight * torch.tensor([1.0, 2.0]))
ratio = probability_ratio(logp, torch.tensor([0.5, 0.5]).log())
(push,) = torch.autograd.grad(
    ppo_clip_loss(logp, torch.tensor([0.5, 0.5]).log(), torch.ones(2), 0.2), weight
)
assert ratio[0] < 1.2 < ratio[1] and push < 0  # descent raises the weight, and with it both ratios

# %% [markdown]
# ### Exercise: `quiz_clip` (8 minutes, ●●)
#
# What did the two experiments show? (For the two gradients: the derivative of one step's loss. The picture with the
# sliders shows that of the objective.)
#
# <details><summary>Hint</summary>
#
# For "gradient 1" and "gradient 2", ask first which of the two terms the minimum picks. If it picks
# $\rho A$: the loss is $-\rho A$, and $\partial \rho / \partial \log \pi = \rho$.
#
# </details>

# %% exercise="pgcourse.exercises.ppo.quiz_clip.quiz_clip"

# %% [markdown]
# ## Your PPO solves CartPole and Acrobot
#
# Your `ppo_update`, your `ppo_clip_loss` and lesson 4's `gae` in the loop of `pgcourse.ppo`, twice: with the default
# settings, and with `Config.tuned`, which were chosen to solve the task soon by the clock. CartPole-v1 you know; a mean return of 475 over 100 episodes
# counts as solved. We ask it of the policy *without* exploration (its most probable action); the curve shows the training episodes, with exploration.
#
# *About 10 seconds.*

# %%
config = ppo.Config(total_steps=fast(40_000, 3_000))
tuned = ppo.Config.tuned("CartPole-v1", total_steps=fast(40_000, 3_000))
pieces = dict(advantage=gae, loss=ppo_clip_loss, update=ppo_update)
cartpole = {"default": ppo.train(config, **pieces), "tuned": ppo.train(tuned, **pieces)}
for name, run in cartpole.items():
    c = run.config
    print(
        f"{name:7s} {c.epochs * c.minibatches:2d} gradient steps for {c.n_envs * c.n_steps} "
        f"environment steps: {run.seconds:.1f} s; 100 fresh episodes without exploration: "
        f"mean return {evaluate(run.policy, 'CartPole-v1', episodes=100).mean():.0f}"
    )

# %%
fig, axes = plt.subplots(1, 3, figsize=(10, 3.2))
for ax, key in zip(axes, ("return", "kl", "clip_fraction"), strict=True):
    for (name, run), color in zip(cartpole.items(), (plots.BLUE, plots.ORANGE), strict=True):
        ax.plot(run.history["steps"] / 1000, run.history[key], color=color, label=name)
    ax.set(xlabel="environment steps (thousands)", ylabel=clinic_ppo.CURVES[key])
axes[0].legend()
fig.suptitle("Two healthy runs: rising return, small KL, some ratios outside the window")
plt.show()

# %% [markdown]
# Both play 40,000 steps. The tuned run takes 4 gradient steps on 288 environment steps, the other one 20 on 512; its networks have one hidden layer,
# not two, and its critic has a higher learning rate. So it computes a fraction as much, in a fraction of the time. It also stays closer to the data:
# its KL is smaller and fewer of its ratios leave the window. That is a bargain where playing is cheap, as here. Where it is dear (a robot, a
# language model) you want more from each rollout, and the more steps you take on one, the more the clip has to do.

# %% claim="tuned_stays_closer" slow=true
# Five seeds: both settings solve CartPole; the tuned one has less than half the KL and less than half the clip fraction.
figures = {}
for name, make in [("default", ppo.Config), ("tuned", lambda **x: ppo.Config.tuned(**x))]:
    found = [
        ppo.train(make(env="CartPole-v1", total_steps=40_000, seed=seed), **pieces)
        for seed in range(5)
    ]
    figures[name] = {
        "greedy return": [
            round(float(evaluate(one.policy, "CartPole-v1", episodes=100).mean())) for one in found
        ],
        "kl": [round(float(one.history["kl"].mean()), 4) for one in found],
        "clip fraction": [round(float(one.history["clip_fraction"].mean()), 3) for one in found],
    }
ours, other = figures["tuned"], figures["default"]
assert min(ours["greedy return"] + other["greedy return"]) >= 475, figures
for gauge in ("kl", "clip fraction"):
    assert all(2 * a < b for a, b in zip(ours[gauge], other[gauge], strict=True)), figures

# %%
plots.animate(cartpole["tuned"].policy, "CartPole-v1")

# %% [markdown]
# **Acrobot-v1** is harder: two links hang from a hinge, the motor sits in the elbow, each step costs 1 until the tip swings
# above the line, 500 at the most. A random policy seldom gets there in time; a mean return of −100 over 100 episodes counts as solved. `Config.tuned` holds settings for it.
# (Where no episode ever gets there, nothing is learned, and the return stays at −500. Then take another seed.)
#
# *About 20 seconds.*

# %%
config = ppo.Config.tuned("Acrobot-v1", total_steps=fast(120_000, 9_000))
acrobot = ppo.train(config, advantage=gae, loss=ppo_clip_loss, update=ppo_update)
returns = evaluate(acrobot.policy, "Acrobot-v1", episodes=100)
print(f"100 fresh episodes without exploration: mean return {returns.mean():.0f}")
plots.animate(acrobot.policy, "Acrobot-v1")

# %% claim="acrobot_by_seed" slow=true
# At least four of five seeds solve Acrobot; an untrained policy seldom gets there.
made = [ppo.train(ppo.Config.tuned("Acrobot-v1", seed=seed), **pieces) for seed in range(5)]
figures = {
    "greedy return": [
        round(float(evaluate(one.policy, "Acrobot-v1", episodes=100).mean()), 1) for one in made
    ]
}
uniform = copy.deepcopy(made[0].policy)
torch.nn.init.zeros_(uniform.actor.net[-1].weight), torch.nn.init.zeros_(uniform.actor.net[-1].bias)
stage = Collector("Acrobot-v1", 100, seed=0)
stage.collect_episodes(uniform)
figures["share of random episodes that get there"] = (
    sum(ret > -500 for _, ret in stage.finished()) / 100
)
assert sum(x >= -100 for x in figures["greedy return"]) >= 4, figures
assert figures["share of random episodes that get there"] < 0.1, figures

# %% [markdown]
# ## The bug clinic
#
# Reinforcement learning fails silently: no exception, only a curve that does not rise. Eight patients, A
# to H. Each is a real run of PPO on CartPole, with the seed and the settings of your run “default”. Seven have **exactly one bug** planted in one piece (advantage,
# loss or update). One is healthy: it is your run, once more. You see what a training log shows:
#
# | Gauge | Healthy | Ask, when it is not |
# |---|---|---|
# | return | rises, with dips | — |
# | KL (nats) | 0.0002 … 0.05 in all but a few updates with these settings, never exactly 0 | what is compared with what? what limits a step? |
# | entropy | sinks slowly from $\log A$ | what pushes it down so fast? why does nothing? |
# | fraction clipped (the clip fraction) | a few % to 40 % | is the ratio a ratio? |
# | explained variance | rises toward 1 in the first rollouts; may fall, even below 0, once the returns hardly vary | does the critic learn? from the right targets? |
# | first ratio error | 0 up to rounding: before the first step the ratio is 1 | are the two log-probabilities those of the same actions, by the same weights? |
#
# **Explained variance** is $1 - \operatorname{Var}(G - V) / \operatorname{Var}(G)$: 1 if the values predict the returns, 0 if they
# are no better than a constant.

# %%
patients = clinic_ppo.load()
gauges = {
    "return": (0, 520),
    "kl": (1e-4, 3),
    "entropy": (0, 0.75),
    "clip_fraction": (0, 0.7),
    "explained_variance": (-1.05, 1.05),
}
numbers = [*gauges, "first_ratio_error"]


def show_patients(letters, curves):
    fig, axes = plt.subplots(
        len(letters), 5, figsize=(11, 1.35 * len(letters) + 0.6), sharex=True, squeeze=False
    )
    for row, letter in zip(axes, letters, strict=True):
        for ax, (key, limits) in zip(row, gauges.items(), strict=True):
            y = torch.as_tensor(curves[letter][key]).clamp(*limits)
            ax.plot(curves[letter]["steps"] / 1000, y, lw=1.5)
            ax.set_ylim(*limits)
            ax.tick_params(labelsize=8)
            if key == "kl":
                ax.set_yscale("log")
        row[0].set_ylabel(letter, rotation=0, fontsize=14, fontweight="bold", labelpad=16)
    for ax, key in zip(axes[0], gauges, strict=True):
        ax.set_title(clinic_ppo.CURVES[key], fontsize=10)
    for ax in axes[-1]:
        ax.set_xlabel("steps (thousands)", fontsize=9)
    plt.show()


show_patients("ABCD", patients)
show_patients("EFGH", patients)

# %% claim="the_healthy_patient_is_your_run"
# Patient C is the learner's own run "default": the same beginning, step by step.
again = ppo.train(ppo.Config(total_steps=3_000), progress=False, **pieces).history
for key in gauges:
    healthy = torch.as_tensor(patients["C"][key][: len(again[key])]).double()
    assert torch.allclose(healthy, torch.as_tensor(again[key]), rtol=0.02, atol=0.02), key

# %% claim="healthy_gauges" slow=true
# What the table calls healthy holds for five seeds; the bug without a clip is seen in the KL, the resampled actions before the first step.
healthy = [clinic_ppo.examine({}, seed=seed) for seed in range(5)]
figures = {
    key: [
        [float(f"{x:.3g}") for x in (log[key][0], log[key].min(), log[key].max(), log[key][-1])]
        for log in healthy
    ]
    for key in numbers
}
first, low, high, last = ({k: torch.tensor(figures[k])[:, i] for k in numbers} for i in range(4))
usual = {"kl": 0.05, "clip_fraction": 0.4}
figures["usual"] = {
    key: [round(float((torch.as_tensor(log[key]) < most).double().mean()), 3) for log in healthy]
    for key, most in usual.items()
}
assert low["kl"].min() > 1e-4 and min(figures["usual"]["kl"]) >= 0.95, figures
assert first["entropy"].min() > 0.67 and last["entropy"].max() < 0.45, figures["entropy"]
assert high["clip_fraction"].min() > 0.1 and min(figures["usual"]["clip_fraction"]) >= 0.95, figures
assert high["explained_variance"].min() > 0.9 and last["return"].min() > 300, figures
assert high["first_ratio_error"].max() < 1e-4, figures["first_ratio_error"]
for seed in range(5):
    unclipped = clinic_ppo.examine(clinic_ppo.BUGS["no clip"], total_steps=5_000, seed=seed)
    kept = healthy[seed]["kl"][: len(unclipped["kl"])].mean()
    assert unclipped["kl"].mean() > 10 * kept, (seed, unclipped["kl"].mean(), kept)
    elsewhere = clinic_ppo.examine(clinic_ppo.BUGS["actions resampled"], 2_000, seed)
    assert elsewhere["first_ratio_error"].max() > 0.1, (seed, elsewhere["first_ratio_error"])

# %% [markdown]
# A KL at the lower edge (0.0001) means "that or less". The numbers behind the curves help, too: for each gauge the first rollout, and the mean of the second half.

# %%
print("   " + "".join(f"{key:>22s}" for key in numbers))
for letter, curves in patients.items():
    late = {key: x[len(x) // 2 :].mean() for key, x in curves.items()}
    print(f"{letter}  " + "".join(f"{curves[k][0]:11.3g}{late[k]:11.3g}" for k in numbers))

# %% [markdown]
# ### Exercise: `quiz_clinic` (20 minutes, ●●●)
#
# <details><summary>Hint 1</summary>
#
# Sort them first. Whose KL is exactly 0? Whose is far too large? Whose explained variance never leaves 0? Whose return falls *below* that of a random policy (about 20) at once?
#
# </details>
# <details><summary>Hint 2</summary>
#
# A and G are hard to tell apart by their curves: both learn nothing from steps of a healthy size. Look at the last two columns of numbers. For which of
# the two is the ratio wrong before the first step, and for which of the bugs must it be?
#
# </details>
# <details><summary>Hint 3</summary>
#
# H first learns, then unlearns. In CartPole an episode ends when the pole falls. What if falling is worth as much as going on? And why only
# after a while: what must the critic have learned first?
#
# </details>

# %% exercise="pgcourse.exercises.ppo.quiz_clinic.quiz_clinic"

# %% [markdown]
# ### The treatment
#
# Now repair a patient. `clinic_ppo.rerun(letter, ...)` trains it again with its bug still in, except for the pieces you put in its
# place: `advantage`, `loss` or `update`. Treat patient B with the right piece of yours, and no other. Does it get well?
#
# *About 10 seconds.*


# %% solution="treatment"
def treatment():
    """What patient B needs: {"name of the piece": your function}."""
    ### BEGIN SOLUTION
    return {"update": ppo_update}
    ### END SOLUTION


# %%
treated = clinic_ppo.rerun("B", total_steps=fast(40_000, 3_000), **treatment())
fig, axes = plt.subplots(1, 3, figsize=(10, 3.2))
for ax, key in zip(axes, ("return", "kl", "clip_fraction"), strict=True):
    ax.plot(patients["B"]["steps"] / 1000, patients["B"][key], color=plots.RED, label="B, ill")
    ax.plot(treated["steps"] / 1000, treated[key], color=plots.BLUE, label="B, treated")
    ax.set(xlabel="environment steps (thousands)", ylabel=clinic_ppo.CURVES[key])
axes[0].legend()
plt.show()

# %% [markdown]
# ## With your own hands: the clip (25 minutes more)
#
# The last growth of `my_agent.py`: the log-probabilities of before the first step, several epochs on each rollout (of 128 steps now, say), the ratio, the clip (0.2).
# `train` gets one argument more, `epochs=10`: how many steps of the optimizer (or passes over minibatches) each rollout is used for.
#
# <details><summary>Hint 1</summary>
#
# The old log-probabilities and the advantages are computed once, before the first epoch, under `torch.no_grad()`.
#
# </details>
# <details><summary>Hint 2</summary>
#
# `torch.minimum(rho * adv, rho.clamp(1 - clip, 1 + clip) * adv)`; for the policy a learning rate of 0.003 or so, since there are many steps now.
#
# </details>
# <details><summary>Hint 3</summary>
#
# A whole one: `solutions/my_agent_05.py`.
#
# </details>
#
# The new test takes 200 epochs on one rollout, and looks how much of their probability the actions that do not pay have left. *Up to a minute.*

# %%
check_agent(5)

# %% [markdown]
# This is PPO, and it is all yours. `policy, value = my_agent.train(gymnasium.make("CartPole-v1"), steps=50_000)` shows what it can do
# (lesson 2 says how a changed file is read again).

# %% [markdown]
# ## Check yourself
#
# Answer first, then unfold.
#
# <details><summary>The ratio corrects the old data. For everything?</summary>
#
# For the choice of the action, in each state. Not for the states: they are those to which the old policy went. That is why the new policy has to stay near.
#
# </details>
#
# <details><summary>Is the first step of the first epoch different from A2C's?</summary>
#
# No. All ratios are 1, nothing is clipped, and the gradient of $\rho A$ is $A \nabla \log \pi$. The clip begins to matter with the second step.
#
# </details>
# <details><summary>Your log says first_ratio_error = 0.3. What does it mean?</summary>
#
# Old and new log-probabilities disagree before any step was taken: they come from different weights, another temperature, or another
# dropout mode, or belong to other actions. It must be 0 up to rounding.
#
# </details>
# <details><summary>The KL is 0.02 on average, and your colleague wants to remove the clip, since "it is small anyway".</summary>
#
# Is it small *because of* the clip? Ask the same run without it. You have seen that run: patient E has the seed and the settings of patient C, without
# the clip, and its KL is many times as large.
#
# </details>
# <details><summary>Why a minimum, and not just the clamped ratio?</summary>
#
# The clamped ratio alone is silent on both sides. A good action that became improbable, by accident, would not ask to be brought back; you have seen
# how far such a policy drifts.
#
# </details>
#
# ## What was left out
#
# - **TRPO** ([Schulman et al. 2015](https://arxiv.org/abs/1502.05477)), PPO's ancestor, bounds the KL itself, averaged over the states of the data: it solves for the step with a linear model of the surrogate
#   and a quadratic model of the KL, and shortens it by a line search until the measured KL is within the bound. PPO needs the first derivative only.
# - **A KL penalty** in place of the clip: the other half of the PPO paper. It subtracts $\beta\, \mathrm{KL}(\pi_{\text{old}} \,\|\, \pi)$ from the surrogate and adapts $\beta$ after each
#   update, doubling it when the KL was too large and halving it when it was small. Do not confuse it with the KL of lesson 7. This one leads back to the policy of
#   the *last rollout*, which moves along: it limits the size of a step, not where the steps lead in the end. Lesson 7's leads to one *frozen* reference, and is part of what is to be maximized:
#   it decides where training ends.
# - **Why PPO works** is debated: [Engstrom et al. 2020](https://arxiv.org/abs/2005.12729) trace most of its gain over TRPO to details of the code (normalization, initialization, annealing of the
#   learning rate). In our experiments these are equal on both sides.
# - **Continuous actions**: the same loss, with a Gaussian's log-probability: `ppo.Config.tuned("Pendulum-v1")`.
#
# ## Papers
#
# - Schulman, Wolski, Dhariwal, Radford & Klimov 2017, [*Proximal Policy Optimization Algorithms*](https://arxiv.org/abs/1707.06347)
# - Schulman, Levine, Moritz, Jordan & Abbeel 2015, [*Trust Region Policy Optimization*](https://arxiv.org/abs/1502.05477)
# - Kakade & Langford 2002, *Approximately Optimal Approximate Reinforcement Learning* (ICML)
# - Engstrom et al. 2020, [*Implementation Matters in Deep Policy Gradients*](https://arxiv.org/abs/2005.12729)
# - Andrychowicz et al. 2021, [*What Matters for On-Policy Deep Actor-Critic Methods?*](https://arxiv.org/abs/2006.05990)
# - Huang et al. 2022, [*The 37 Implementation Details of Proximal Policy Optimization*](https://iclr-blog-track.github.io/2022/03/25/ppo-implementation-details/)
# - Schulman 2020, [*Approximating KL Divergence*](http://joschu.net/blog/kl-approx.html)
#
# Next: lesson 6, where actions are numbers, data may be as old as you like, and entropy is part of the goal.
#
# **Next:** [lesson 6](06_sac.ipynb) lets the action be a number, or [lesson 7](07_rlhf.ipynb) makes the policy a language model.
