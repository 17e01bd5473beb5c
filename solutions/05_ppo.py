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
# wasteful: playing is expensive, computing is cheap. Why not take twenty steps on the same data?
# Because after the first one the data is *old*: it shows what another policy did. Push on regardless
# and the policy walks off a cliff. **Proximal policy optimization** (PPO) pushes on, and stops
# exactly where the data has no more to say. It is the workhorse of today's reinforcement learning,
# from robots to language models.
#
# **You will be able to**
#
# - correct for old data with a probability ratio,
# - write PPO's clipped loss, and say for any step whether its gradient is zero,
# - show what happens without the clip, on the same data and in training,
# - write PPO's update, and watch it solve CartPole and Acrobot with your own functions,
# - read KL, entropy, clip fraction and explained variance like a doctor reads a chart.
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

from pgcourse import clinic_ppo, fast, plots, ppo
from pgcourse.checks import check
from pgcourse.estimators import gae, normalize_advantage
from pgcourse.optim import Adam, clip_grad_norm_
from pgcourse.ppo import diagnose, minibatch_columns, summarize
from pgcourse.rollout import Collector, evaluate
from pgcourse.tensors import masked_mean, same_shape


plots.style()
torch.set_num_threads(1)

# %% [markdown]
# ## How far has the policy moved?
#
# The data was collected by $\pi_{\text{old}}$; we are improving $\pi_\theta$. An average over the old
# policy's actions can be turned into one over the new policy's by **importance sampling**: weigh each
# action by how much more often the new policy takes it. For any function $f$ of the action,
#
# $$\mathbb{E}_{a \sim \pi_\theta}[f(a)] = \sum_a \pi_\theta(a)\, f(a)
#   = \sum_a \pi_{\text{old}}(a)\, \frac{\pi_\theta(a)}{\pi_{\text{old}}(a)}\, f(a)
#   = \mathbb{E}_{a \sim \pi_{\text{old}}}[\rho\, f(a)], \qquad
#   \rho = \frac{\pi_\theta(a \mid s)}{\pi_{\text{old}}(a \mid s)} .$$
#
# With the advantage $A$ for $f$ this is the **surrogate objective** $\mathbb{E}[\rho A]$. Its gradient
# starts out as a familiar one: $\nabla \rho = \rho\, \nabla \log \pi_\theta$, and $\rho = 1$ while nothing
# has changed, so the first step *is* the policy gradient of lesson 4.
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
# The ratio corrects the average, but look at the price. Six actions pay 0, 0.2, … 1. The old policy
# prefers the first ones, and the new one leans more and more toward the last. The weighted mean
# over the *old* policy's actions stays right on average. Its noise grows and grows.

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
plt.title("Old data is right on average, and says less and less")
plt.legend()
plt.show()
print("spread, relative to the mean:", [round(x, 2) for x in (spread / mean).tolist()])

# %% [markdown]
# ## The clip
#
# So a surrogate is to be believed near $\rho = 1$ only. PPO builds this distrust into the objective:
#
# $$L^{\text{clip}} = \mathbb{E}\Big[ \min\big( \rho A,\;
#   \operatorname{clamp}(\rho,\, 1 - \varepsilon,\, 1 + \varepsilon)\, A \big) \Big],$$
#
# where $\operatorname{clamp}$ cuts off at the two bounds and $\varepsilon$ (`clip`, usually 0.2)
# is the half-width of the window. The clamp is constant outside the window, so its gradient is zero
# there. The minimum decides where it counts. Four cases:
#
# | | $\rho > 1 + \varepsilon$: the action became much more probable | $\rho < 1 - \varepsilon$: much less probable |
# |---|---|---|
# | $A > 0$, a good action | gain taken; **gradient zero** | a step back happened; gradient *lives*, it repairs |
# | $A < 0$, a bad action | a step back happened; gradient *lives*, it repairs | gain taken; **gradient zero** |
#
# Where the gain has been taken, there is no reason to go on; where things went the wrong way, the way
# back is open. By hand, with $\varepsilon = 0.2$: for $\rho = 1.5,\ A = 1$ the terms are $1.5$ and $1.2$; the
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
# How far apart are the two policies, over the whole batch? The **Kullback–Leibler divergence**,
# $\mathrm{KL}(\pi_{\text{old}} \,\|\, \pi) = \mathbb{E}_{a \sim \pi_{\text{old}}}[\log \pi_{\text{old}}(a) - \log \pi(a)]
# = \mathbb{E}[-\log \rho]$, in nats. Our actions come from $\pi_{\text{old}}$, so the plain mean of $-\log \rho$
# estimates it. But that mean is noisy and is often *negative*, which no KL is. Add something whose
# mean is zero: $\mathbb{E}[\rho - 1] = \sum_a \pi(a) - 1 = 0$. The result,
#
# $$\mathrm{KL} \approx \operatorname{mean}\big( (\rho - 1) - \log \rho \big),$$
#
# has the same mean, and every single term is $\ge 0$, because $\log \rho \le \rho - 1$. It is called
# **k3**. By hand, for one action with $\rho = 2$: $1 - 0.693 = 0.307$.
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
# The same batches, two estimates: k3 is never negative and much less noisy.

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

# %% [markdown]
# The second gauge is the **entropy**, $H = -\sum_a \pi(a) \log \pi(a)$: how undecided the policy still is.
# It is $\log A$ (here $A$ is the number of actions) for the uniform policy and 0 for a certain one. By hand: a fair coin has
# $H = \log 2 = 0.693$ nats. A policy whose entropy falls to 0 early has stopped exploring, for good. Adding a little of it to the objective
# (an **entropy bonus**) keeps a policy open-minded.
#
# A tempting shortcut is $-\log \pi(a_t)$ of the action taken: its mean is the entropy. But its
# gradient, averaged over actions, is $-\mathbb{E}[\nabla \log \pi] = 0$ (lesson 1!). As a bonus it does nothing.
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
# Several epochs on one rollout tempt the critic, too: it may overfit these returns. Many
# implementations therefore clip the value as well. $V_{\text{old}}$ is the value at collection
# time and $G$ the return to fit (`ret`, advantage plus old value):
#
# $$V^{\text{clip}} = V_{\text{old}} + \operatorname{clamp}(V - V_{\text{old}}, -c, c), \qquad
#   L = \operatorname{mean} \max\big( (V - G)^2, (V^{\text{clip}} - G)^2 \big).$$
#
# Maximum for a loss is what minimum was for an objective: the pessimist's choice. Be honest about it: this
# clip *is* closer to polish (Engstrom et al. 2020 and Andrychowicz et al. 2021 found no gain), and its $c$ depends on the scale of the
# rewards. Below we leave it off with $c = \infty$; you should know it, for you will meet it.
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
# the loop and the ratio is always 1, the clip never acts, and nothing looks wrong, except two curves that
# you will meet in the clinic.
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
# This is all that separates PPO from lesson 4's A2C:
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
# | `for _ in range(epochs)` | many steps from one rollout: fewer environment steps for the same progress |
# | `minibatch_columns` | more steps still, and noise that helps against overfitting one rollout |
# | `ppo_clip_loss` | the steps end where the data stops being evidence: **this line pays for the three above** |
#
# From lesson 2 to here: REINFORCE learned *what* to follow; the baseline and the critic made it less
# noisy; GAE made it early; PPO lets you follow it far.
#
# ## Is the clip optional polish?
#
# It looks like a detail. Take it away and see. Everything else is the same: the policy, **the same
# rollout**, the same minibatches in the same order, the gradient-norm limit. A policy is trained a little, collects one
# rollout, and learns from that one rollout for 30 epochs with a big learning rate (0.02, about seven times
# the usual). After every 5 epochs we look at the KL from where it started, and play. Five seeds.
#
# *About 20 seconds.*


# %%
def unclipped_loss(logp, logp_old, adv, clip, mask=None):
    """The surrogate without a clip: correct near ρ = 1, and nothing keeps it there."""
    return -masked_mean(probability_ratio(logp, logp_old) * adv, mask)


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


losses = {"with the clip": ppo_clip_loss, "without": unclipped_loss}
seen = {name: [] for name in losses}
for seed in range(fast(5, 2)):
    begin = ppo.Config(seed=seed, total_steps=fast(20_000, 4_000))
    policy = ppo.train(begin, loss=ppo_clip_loss, update=ppo_update).policy
    config = ppo.Config(seed=seed, lr=0.02, epochs=5)
    rollout = one_rollout(policy, config)
    for name, loss in losses.items():
        seen[name].append(keep_learning(policy, rollout, config, loss, rounds=fast(6, 2)))

# %%
fig, (left, right) = plt.subplots(1, 2, figsize=(9, 3.8))
for (name, runs), color in zip(seen.items(), (plots.BLUE, plots.RED), strict=True):
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
plt.show()

# %% [markdown]
# Thin lines are seeds, thick ones the median (left) and the mean (right). With the clip, thirty epochs
# move the policy hardly further than five did: each step that has taken its gain falls silent. Without it
# the KL is about a hundred times as large: the rollout is evidence about a policy that no longer exists, and
# what comes of it is a gamble. Some seeds lose all they could do, within five epochs or by the thirtieth; others are lucky.
# (With the clip a seed may lose, too. It is no guarantee of progress: one rollout has only so much to teach.)
#
# Now in training: rollout after rollout, ten epochs each, and a learning rate of 0.01. Five seeds with the
# clip, five without. These are big steps on purpose: with one epoch and a tiny learning rate nobody needs a
# clip, and nobody learns quickly.
#
# *About 45 seconds.*

# %%
big = dict(lr=0.01, epochs=10, total_steps=fast(20_000, 3_000))
runs = {
    name: [
        ppo.train(ppo.Config(seed=seed, **big), loss=loss, update=ppo_update)
        for seed in range(fast(5, 2))
    ]
    for name, loss in losses.items()
}

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
# Read the four panels together. Without the clip the KL of an update is ten to two hundred times as large, from the very
# first rollout. In that rollout most ratios leave the window (here the clip fraction only *counts*; nothing is clipped),
# and after a few more the entropy has collapsed. The return rises for some thousand steps, then stays low or falls back, and
# ends at a fraction of what the clip's runs reach. A policy that is certain of the wrong thing hardly tries anything else, so it does not recover. (That its
# clip fraction falls later is not health: where a policy is certain before and after, the ratio is 1.) That is the
# collapse, and the clip is what prevents it.
#
# Note the other side as well: *with* the clip the clip fraction is not zero. The clip is no wall. It only removes
# the reason to go further; the momentum of the optimizer and the other steps of a minibatch can still carry a ratio out.
#
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
# Your `ppo_update`, your `ppo_clip_loss` and lesson 4's `gae` in the loop of `pgcourse.ppo`, twice: with the settings
# used so far, and with `Config.tuned`, those that solve the task soonest by the clock. CartPole-v1 you know; 475 on average counts as solved.
#
# *About 10 seconds.*

# %%
config = ppo.Config(total_steps=fast(40_000, 3_000))
tuned = ppo.Config.tuned("CartPole-v1", total_steps=fast(40_000, 3_000))
pieces = dict(advantage=gae, loss=ppo_clip_loss, update=ppo_update)
cartpole = {"so far": ppo.train(config, **pieces), "tuned": ppo.train(tuned, **pieces)}
for name, run in cartpole.items():
    c = run.config
    print(
        f"{name:7s} {c.epochs * c.minibatches:2d} gradient steps for {c.n_envs * c.n_steps} "
        f"environment steps: {run.seconds:.1f} s; 20 fresh episodes without exploration: "
        f"mean return {evaluate(run.policy, 'CartPole-v1').mean():.0f}"
    )

# %%
fig, axes = plt.subplots(1, 3, figsize=(10, 3.2))
for ax, key in zip(axes, ("return", "kl", "clip_fraction"), strict=True):
    for (name, run), color in zip(cartpole.items(), (plots.BLUE, plots.ORANGE), strict=True):
        ax.plot(run.history["steps"] / 1000, run.history[key], color=color, label=name)
    ax.set(xlabel="environment steps (thousands)", ylabel=clinic_ppo.CURVES[key])
axes[0].legend()
fig.suptitle("Two healthy runs: rising return, small KL, some clipping or hardly any")
plt.show()

# %% [markdown]
# The tuned run takes 4 gradient steps on 288 environment steps, the other one 20 on 512, and its networks have one hidden layer,
# not two. So it computes a fraction as much, and takes about a second or two. Most of what makes this course's PPO faster
# than the usual libraries is of this kind: many environments at once, small networks, few large updates. Its steps are so
# small that the clip has little to do. That is a bargain where playing is cheap, as here. Where it is dear (a robot, a
# language model) you want more from each rollout, and there the clip earns its keep.

# %%
plots.animate(cartpole["tuned"].policy, "CartPole-v1")

# %% [markdown]
# **Acrobot-v1** is harder: two links hang from a hinge, the motor sits in the elbow, each step costs 1 until the tip swings
# above the line. A random policy almost never gets there; −100 counts as solved. `Config.tuned` holds settings for it.
# (With one seed in ten or so no episode ever gets there, and nothing is learned: −500. Then take another.)
#
# *About 20 seconds.*

# %%
config = ppo.Config.tuned("Acrobot-v1", total_steps=fast(120_000, 9_000))
acrobot = ppo.train(config, advantage=gae, loss=ppo_clip_loss, update=ppo_update)
returns = evaluate(acrobot.policy, "Acrobot-v1")
print(f"20 fresh episodes without exploration: mean return {returns.mean():.0f}")
plots.animate(acrobot.policy, "Acrobot-v1")

# %% [markdown]
# ## The bug clinic
#
# Reinforcement learning fails silently: no exception, only a curve that does not rise. Eight patients, A
# to H. Each is a real run of PPO on CartPole (40 000 steps, the settings “so far”); seven have **exactly one bug** planted in one piece (advantage,
# loss or update), one is healthy. You see what a training log shows:
#
# | Gauge | Healthy | Ask, when it is not |
# |---|---|---|
# | return | rises, with dips | — |
# | KL (nats) | 0.001 … 0.03 per update with these settings, never exactly 0 | what is compared with what? what limits a step? |
# | entropy | sinks slowly from $\log A$ | does anything push it? does nothing? |
# | fraction clipped | a few % to 30 % | is the ratio a ratio? |
# | explained variance | rises toward 1 in the first rollouts; may fall once the returns hardly vary | does the critic learn? from the right targets? |
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

# %% [markdown]
# A KL at the lower edge (0.0001) means "that or less". The numbers behind the curves help, too: first rollout, and the mean of the second half.

# %%
print("          " + "".join(f"{key:>22s}" for key in gauges))
for letter, curves in patients.items():
    late = {key: x[len(x) // 2 :].mean() for key, x in curves.items()}
    print(f"{letter}  " + " " * 6 + "".join(f"{curves[k][0]:11.3g}{late[k]:11.3g}" for k in gauges))

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
# A and G are hard to tell apart: both learn nothing from steps of a healthy size. The targets of the critic are `adv + val`. For which bug are
# they wrong as well?
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
# ## Check yourself
#
# Answer first, then unfold.
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
# It is small *because of* the clip. Remove it, and the same optimizer on the same data goes a hundred times as far: you have seen it.
#
# </details>
# <details><summary>Why a minimum, and not just the clamped ratio?</summary>
#
# The clamped ratio alone is silent on both sides. A good action that became improbable, by accident, could never be brought back.
#
# </details>
#
# ## What was left out
#
# - **TRPO** (Schulman et al. 2015), PPO's ancestor, bounds the KL exactly by second-order optimization. PPO is simpler and does as well.
# - **A KL penalty** in place of the clip, with an adaptive coefficient: the other half of the PPO paper. It returns in lesson 7.
# - **Why the clip works** is debated: Engstrom et al. 2020 trace part of PPO's strength to details (normalization, initialization, annealing). In our
#   ablation all of these are equal on both sides.
# - **Continuous actions**: the same loss, with a Gaussian's log-probability: `ppo.Config.tuned("Pendulum-v1")`.
#
# ## Papers
#
# - Schulman, Wolski, Dhariwal, Radford & Klimov 2017, *Proximal Policy Optimization Algorithms*, arXiv:1707.06347
# - Schulman, Levine, Moritz, Jordan & Abbeel 2015, *Trust Region Policy Optimization*, arXiv:1502.05477
# - Engstrom et al. 2020, *Implementation Matters in Deep Policy Gradients*, arXiv:2005.12729
# - Andrychowicz et al. 2021, *What Matters for On-Policy Deep Actor-Critic Methods?*, arXiv:2006.05990
# - Huang et al. 2022, *The 37 Implementation Details of Proximal Policy Optimization*, ICLR blog track
# - Schulman 2020, *Approximating KL Divergence*, joschu.net/blog/kl-approx.html
#
# Next: lesson 6, where actions are numbers, data may be as old as you like, and entropy is part of the goal.
