# ---
# jupyter:
#   jupytext:
#     text_representation:
#       extension: .py
#       format_name: percent
# ---

# %% [markdown]
# # 4 · Actor and critic
#
# Lesson 3's value network only watched. It waited for the end of each episode, saw the return, and was
# subtracted. Now it gets a say: after *one* step it already knows how the next state compares with what
# it expected of this one. The policy can learn from that at once, and the value can learn from itself.
#
# Two networks, two jobs. The **actor** is the policy: it acts, and it learns by the policy gradient. The
# **critic** is the value: it judges, and it learns by temporal differences (TD). A2C, A3C, PPO, SAC
# and the training of language models with human feedback are all built on this pair. Confusing
# the two is the commonest bug of the family, so this lesson takes it apart.
#
# **You will be able to**
#
# - compute TD targets, and tell the end of an episode from a mere time limit,
# - write the critic's and the actor's loss so that no gradient crosses over, and prove it with a matrix,
# - derive GAE, and trade bias against variance with its $\lambda$,
# - train actor and critic together (A2C) until CartPole is solved,
# - let several processes train one network at the same time, without locks (A3C).
#
# **You need** lessons 1 to 3. About 100 minutes; training takes one or two of them, in four cells.
#
# | Exercise | Minutes | Difficulty |
# |---|---|---|
# | `td_target` | 6 | ● |
# | `critic_loss` | 6 | ●● |
# | `actor_loss` | 4 | ● |
# | `actor_critic_step` | 15 | ●●● |
# | `gae` | 15 | ●●● |
# | `a3c_push_gradients` | 8 | ●● |
# | `quiz_actor_or_critic` | 6 | ●● |

# %% tags=["setup"]
import os

import matplotlib.pyplot as plt
import torch

from pgcourse import a2c, a3c, fast, plots
from pgcourse.checks import check
from pgcourse.distributions import categorical_logp, softmax
from pgcourse.estimators import discounted_returns, gradient_variance
from pgcourse.mdp import (
    MDP,
    action_values,
    exact_policy_gradient,
    occupancy,
    random_mdp,
    state_values,
)
from pgcourse.networks import ActorCritic, make_actor, make_critic
from pgcourse.rollout import Collector, evaluate
from pgcourse.tensors import same_shape

plots.style()

# %% [markdown]
# ## Who is who
#
# | | Actor | Critic |
# |---|---|---|
# | is | a policy $\pi_\theta(a \mid s)$ | a value $V_\phi(s)$ |
# | gives | probabilities of actions | one number, in units of reward |
# | learns by | the policy gradient | temporal differences |
# | its loss | $-\log \pi_\theta(a \mid s) \cdot A$ | $(V_\phi(s) - y)^2$ |
# | treats as a constant | the advantage $A$ | the target $y$ |
# | needed after training | yes | no |
#
# $\theta$ and $\phi$ are the parameters of two separate networks. The quantities $y$ and $A$ are what
# connects them; the next sections build each.

# %% [markdown]
# ## The TD target
#
# The return satisfies $G_t = r_t + \gamma G_{t+1}$. Take the expectation under the policy, given $s_t$:
#
# $$V^\pi(s_t) = \mathbb{E}\big[\, r_t + \gamma\, V^\pi(s_{t+1}) \,\big].$$
#
# So the reward of *one* step plus the value of where it led is a sample of what $V^\pi(s_t)$ should be,
# as soon as we have some idea of $V$ in the next state. That sample is the **TD target**
#
# $$y_t = r_t + \gamma\, (1 - \text{terminated}_t)\, V(s_{t+1}).$$
#
# Using an estimate to improve an estimate is called **bootstrapping**. Where the task has really ended
# (`terminated`), nothing more can be earned, and the value of "the next state" falls away.
#
# *By hand.* $r = 1$, $\gamma = 0.5$, $V(s') = 8$: the target is $1 + 0.5 \cdot 8 = 5$. If the step
# ended the task, it is $1$.
#
# ### Exercise: `td_target` (6 minutes, ●)
#
# <details><summary>Hint 1</summary>
#
# A reward always counts, the last one too. Only the next value is conditional.
#
# </details>
# <details><summary>Hint 2</summary>
#
# `terminated` is a tensor of bools. `torch.where(terminated, 0.0, x)` is 0 where it is True, else `x`.
#
# </details>

# %% exercise="pgcourse.estimators.td_target"

# %%
both = torch.tensor([False, True])
print(td_target(torch.ones(2), torch.full((2,), 8.0), terminated=both, gamma=0.5).tolist())

# %% [markdown]
# ## The critic's loss
#
# The critic fits $V_\phi(s_t)$ to the target by least squares:
#
# $$L_{\text{critic}} = \frac{1}{T}\sum_t \big( V_\phi(s_t) - y_t \big)^2, \qquad y_t \text{ held constant}.$$
#
# Held constant, *although* $y_t$ contains $V_\phi(s_{t+1})$: only the prediction moves toward the target, not
# the target toward the prediction. Because one part of the dependence is ignored, this is called a
# **semi-gradient**.
#
# ### Exercise: `critic_loss` (6 minutes, ●●)
#
# <details><summary>Hint 1</summary>
#
# It is lesson 3's regression, with a target that was made by the network that is being trained.
#
# </details>
# <details><summary>Hint 2</summary>
#
# `x.detach()` is the same numbers without a history: no gradient flows through it.
#
# </details>

# %% exercise="pgcourse.losses.critic_loss"

# %% [markdown]
# ### Why the target is held constant
#
# What happens without `detach()`? Take the smallest world with a coin toss in it. From **A** you go to
# **B** or **C**, half of the time each, for no reward. B then pays 1 and ends; C pays 0 and ends. The values are
# clear: $V(A) = 0.5$, $V(B) = 1$, $V(C) = 0$. Two critics learn them by gradient descent from the same
# four transitions, one with your loss, one with a live target (the "residual gradient").

# %%
A, B, C = 0, 1, 2
state, next_state = torch.tensor([A, B, A, C]), torch.tensor([B, B, C, C])
rew, terminated = torch.tensor([0.0, 1.0, 0.0, 0.0]), torch.tensor([False, True, False, True])


def residual_loss(val, target):
    return ((val - target) ** 2).mean()  # nothing is held constant


def learn_values(loss, steps=200, lr=0.5):
    V = torch.zeros(3, requires_grad=True)
    for _ in range(steps):
        target = td_target(rew, V[next_state], terminated, gamma=1.0)
        (grad,) = torch.autograd.grad(loss(V[state], target), V)
        V = (V - lr * grad).detach().requires_grad_()
    return V.detach()


learned = {"yours": learn_values(critic_loss), "target not detached": learn_values(residual_loss)}
x = torch.arange(3)
plt.bar(x - 0.27, [0.5, 1.0, 0.0], 0.27, color=plots.BLACK, label="true value")
for i, (name, V) in enumerate(learned.items()):
    plt.bar(x + 0.27 * i, V, 0.27, label=name)
    print(f"{name:20s}", [f"{v:.3f}" for v in V.tolist()])
plt.xticks(x, ["A", "B", "C"])
plt.ylabel("value (reward)")
plt.title("The residual gradient converges, to other values")
plt.legend()
plt.show()
assert torch.allclose(learned["yours"], torch.tensor([0.5, 1.0, 0.0]), atol=0.01)

# %% [markdown]
# A live target makes a compromise: it pulls B down and C up, toward A, so that the *surprise* of the coin
# toss becomes smaller. But B's reward is certain; there is nothing to compromise about. The
# future must not learn from the past.

# %% [markdown]
# ## Time limits are not ends
#
# CartPole stops after 500 steps even if the pole stands. The task did not end there; the clock did.
# Gymnasium says so with two flags, `terminated` (the task ended) and `truncated` (a time limit), and in
# this course `ended` is either. The target must bootstrap from a truncated state, and from its *true* next
# observation, not from the one the environment was reset to.
#
# A test with a known answer. The world has one state and pays 1 for every step, forever; with
# $\gamma = 0.9$ its value is $1/(1-\gamma) = 10$. A clock cuts it into episodes of $N$ steps. Your
# `td_target` gets the right flag, and then the wrong one.

# %%
gamma, limits = 0.9, [2, 4, 8, 16, 32, 64]


def learn_one_value(N, bootstrap):
    """Value of the only state, from one episode of N steps that a time limit cuts."""
    terminated = torch.zeros(N, dtype=torch.bool)
    terminated[-1] = not bootstrap  # the mistake: the clock is taken for an end
    V = torch.zeros((), requires_grad=True)
    for _ in range(150):
        val = V.expand(N)
        target = td_target(torch.ones(N), val, terminated, gamma)
        (grad,) = torch.autograd.grad(critic_loss(val, target), V)
        V = (V - 0.5 * grad).detach().requires_grad_()
    return V.item()


right = [learn_one_value(N, bootstrap=True) for N in limits]
wrong = [learn_one_value(N, bootstrap=False) for N in limits]
plt.axhline(1 / (1 - gamma), color=plots.BLACK, lw=1, ls=":", label="true value")
plt.plot(limits, right, "o", label="`terminated`: bootstraps at the limit")
plt.plot(limits, wrong, "s", color=plots.RED, label="`ended`: the limit is taken for an end")
predicted = [1 / (1 - gamma * (1 - 1 / N)) for N in limits]
plt.plot(limits, predicted, color=plots.RED, lw=1, label="1 / (1 − γ(1 − 1/N))")
plt.xscale("log", base=2)
plt.ylim(0, 11)
plt.xlabel("time limit N (steps)")
plt.ylabel("learned value (reward)")
plt.title("A clock taken for an end makes every state look poor")
plt.legend()
plt.show()
assert max(abs(v - 10) for v in right) < 0.05
print("bias of the mistake:", [f"N={N}: {v - 10:.2f}" for N, v in zip(limits, wrong, strict=True)])

# %% [markdown]
# The error is not noise: more data does not help, and the line says how large it is. Where every $N$-th step
# is wrongly taken for an end, the critic believes in a task that ends with probability $1/N$ per step.
# The shorter the limit, the worse.

# %% [markdown]
# ## The actor's loss
#
# The **TD error** $\delta_t = y_t - V(s_t)$ is how much better the step turned out than the critic expected.
# If the critic is right ($V = V^\pi$), its average over what may happen next is
#
# $$\mathbb{E}[\delta_t \mid s_t, a_t] = R(s_t, a_t) + \gamma\, \mathbb{E}[V^\pi(s_{t+1})] - V^\pi(s_t)
#   = Q^\pi(s_t, a_t) - V^\pi(s_t) = A^\pi(s_t, a_t):$$
#
# the advantage. One step is enough to estimate it, and the actor weighs its score with it:
#
# $$L_{\text{actor}} = -\frac{1}{T}\sum_t \log \pi_\theta(a_t \mid s_t)\, A_t, \qquad A_t \text{ held constant}.$$
#
# ### Exercise: `actor_loss` (4 minutes, ●)
#
# <details><summary>Hint 1</summary>
#
# $A_t$ contains the critic's output. What must not happen to the critic here?
#
# </details>

# %% exercise="pgcourse.losses.actor_loss"

# %% [markdown]
# The claim that the TD error is an estimate of the advantage, in numbers: average your TD errors over many
# next states of one state and action, and compare with the exact advantage.

# %%
mdp = random_mdp(S=5, A=3, gamma=0.9, seed=2)
pi = torch.full((5, 3), 1 / 3, dtype=torch.float64)
V, Q = state_values(mdp, pi), action_values(mdp, pi)
generator = torch.Generator().manual_seed(0)

N = 100_000
for s, a in [(0, 0), (0, 1), (0, 2)]:
    nxt = torch.multinomial(mdp.P[s, a], N, replacement=True, generator=generator)
    never = torch.zeros(N, dtype=torch.bool)
    delta = td_target(mdp.R[s, a].expand(N), V[nxt], never, mdp.gamma) - V[s]
    error = delta.std() / N**0.5
    print(f"action {a}: mean TD error {delta.mean():+.4f} ± {error:.4f}, A = {Q[s, a] - V[s]:+.4f}")

# %% [markdown]
# ## The matrix of gradients
#
# Two losses, two networks: four gradients, and two of them must be zero. Here is the matrix of their
# norms, on a real rollout from CartPole: with your losses, and with the versions that forget to
# `detach()` the advantage and the target.

# %%
torch.manual_seed(0)
collector = Collector("CartPole-v1", n_envs=8, seed=0)
actor, critic = make_actor(collector.env, (32,)), make_critic(collector.env, (32,))
rollout = collector.collect(ActorCritic(actor, critic), n_steps=32)


def gradient_matrix(loss_of_actor, loss_of_critic):
    """Norm of the gradient of each loss (row) with respect to each network (column)."""
    batch = {key: x[rollout["mask"]] for key, x in rollout.items()}
    val = critic(batch["obs"])
    target = td_target(batch["rew"], critic(batch["next_obs"]), batch["terminated"], gamma=0.98)
    logp = categorical_logp(actor(batch["obs"]), batch["act"])
    matrix = []
    for loss in (loss_of_actor(logp, target - val), loss_of_critic(val, target)):
        row = []
        for net in (actor, critic):
            grads = torch.autograd.grad(
                loss, list(net.parameters()), retain_graph=True, allow_unused=True
            )
            row.append(sum(g.square().sum().item() for g in grads if g is not None) ** 0.5)
        matrix.append(row)
    return torch.tensor(matrix)


def forgetful_actor_loss(logp, adv):
    return -(logp * adv).mean()  # the advantage is live


matrices = {
    "your losses": gradient_matrix(actor_loss, critic_loss),
    "detach() forgotten": gradient_matrix(forgetful_actor_loss, residual_loss),
}
fig, axes = plt.subplots(1, 2, figsize=(7, 3))
for ax, (name, matrix) in zip(axes, matrices.items(), strict=True):
    ax.imshow(matrix > 0, cmap="Blues", vmin=0, vmax=3)
    for i in range(2):
        for j in range(2):
            text, bug = f"{matrix[i, j]:.2g}", i != j and matrix[i, j] > 0
            color, weight = (plots.RED, "bold") if bug else ("black", "normal")
            ax.text(j, i, text, ha="center", va="center", size=14, color=color, weight=weight)
    ax.set_xticks([0, 1], ["actor", "critic"])
    ax.set_yticks([0, 1], ["actor's loss", "critic's loss"])
    ax.set_title(name)
    ax.grid(False)
fig.supxlabel("norm of the gradient into this network")
plt.show()
assert matrices["your losses"][0, 1] == matrices["your losses"][1, 0] == 0

# %% [markdown]
# The upper right corner is the bug: the actor's loss trains the critic. No error message tells you, and the
# loss goes down nicely. The lower left corner stays 0 by itself: values do not depend on the policy's
# parameters. The lower right one looks innocent and is not: through the live target the critic gets another
# gradient of its own, the residual one.
#
# ### What a live advantage does to the critic
#
# The mistake has a precise effect. With $A = y - V(s)$ live, the derivative of
# $-\log \pi(a \mid s)\,(y - V(s))$ with respect to $V(s)$ is $\log \pi(a \mid s)$: **the target does not
# appear in it**. It is negative for every action, so descending it pushes every value *up*, whatever
# happened, by $-\log \pi$; on average by the policy's entropy $H(s)$. The critic's own loss pulls back with
# $c\,(V(s) - y)$, where $c$ is 2 (or 1, if your loss has a factor ½). Both balance where
#
# $$V(s) = \mathbb{E}[y] + \tfrac{1}{c}\, H(s),$$
#
# that is, where the critic has learned the value of another game, one that pays $H(s)/c$ on top at every
# step. A prediction that we can test: an MDP with known values, a fixed policy, and a critic trained on the sum of
# the two losses.

# %%
mdp = random_mdp(S=6, A=3, gamma=0.9, seed=0)
theta = torch.randn(6, 3, generator=torch.Generator().manual_seed(1), dtype=torch.float64)
pi = softmax(theta)
generator = torch.Generator().manual_seed(0)

N = fast(20_000, 5_000)
s = torch.randint(6, (N,), generator=generator)
a = torch.multinomial(pi[s], 1, generator=generator).squeeze(1)
s_next = torch.multinomial(mdp.P[s, a], 1, generator=generator).squeeze(1)
rew, never = mdp.R[s, a], torch.zeros(N, dtype=torch.bool)
logp = torch.log(pi[s, a])


def train_critic(loss_of_actor, steps=200):
    V = torch.zeros(6, dtype=torch.float64, requires_grad=True)
    for _ in range(steps):
        target = td_target(rew, V[s_next], never, mdp.gamma).detach()
        loss = critic_loss(V[s], target) + loss_of_actor(logp, target - V[s])
        (grad,) = torch.autograd.grad(loss, V)
        V = (V - 1.5 * grad).detach().requires_grad_()
    return V.detach()


c = 2 * critic_loss(torch.ones(1), torch.zeros(1))  # 2, or 1 with a factor ½
H = -(pi * pi.log()).sum(dim=1)
exact = state_values(mdp, pi)
predicted = state_values(MDP(mdp.P, mdp.R + (H / c).unsqueeze(1), mdp.start, mdp.gamma), pi)

plt.plot(exact, "_", color=plots.BLACK, ms=28, mew=2, label="exact value")
plt.plot(train_critic(actor_loss), "o", label="your losses")
plt.plot(predicted, "_", color=plots.RED, ms=28, mew=2, label="predicted: pays H/c on top")
plt.plot(train_critic(forgetful_actor_loss), "s", color=plots.ORANGE, label="advantage live")
plt.xlabel("state")
plt.ylabel("value (reward)")
plt.title("The actor's loss inflates a critic that it can reach")
plt.legend(ncols=2, loc="center", bbox_to_anchor=(0.5, 0.55))
plt.show()

# %% [markdown]
# A critic that is wrong by several rewards in every state, and a loss curve that looks healthy. So:
# **actor = policy, trained with the policy gradient; critic = value, trained with TD; no gradient crosses.**

# %% [markdown]
# ## Two networks, trained together
#
# Now both at once. One call gets a batch of single steps (from any number of environments), computes
# targets and advantages, and lets each optimizer make one step for its own network.
#
# ### Exercise: `actor_critic_step` (15 minutes, ●●●)
#
# Your `td_target`, `critic_loss` and `actor_loss`, and `categorical_logp(logits, act)`, which gives the
# log-probability of the actions taken.
#
# <details><summary>Hint 1</summary>
#
# For each network three lines: `zero_grad()`, `backward()`, `step()`. What one call leaves behind in the
# gradients, the next one would add to.
#
# </details>
# <details><summary>Hint 2</summary>
#
# Keep `val = critic(batch["obs"])` in a variable: the advantage is made from it, not from the critic
# after its step.
#
# </details>
# <details><summary>Hint 3</summary>
#
# `loss.item()` is a loss as a plain float.
#
# </details>

# %% exercise="pgcourse.a2c.actor_critic_step"

# %% [markdown]
# Does it learn? CartPole, eight environments side by side, and your step is the only thing that changes the
# two networks. Every few thousand steps the training pauses for an honest test, 20 fresh episodes without
# exploration, and it ends when they average 475 of 500.
#
# *Up to a minute.*


# %%
class HonestTest:
    """A callback: tests the policy now and then, and stops the training once it has solved CartPole."""

    def __init__(self, every):
        self.every, self.steps, self.scores = every, [0], [float("nan")]

    def __call__(self, recorder):
        if recorder.steps - self.steps[-1] < self.every:
            return False
        self.steps.append(recorder.steps)
        self.scores.append(evaluate(recorder.policy, "CartPole-v1", fast(20, 2)).mean())
        return self.scores[-1] >= 475

    def report(self):
        print(f"{self.scores[-1]:.1f} of 500 in the last test, after {self.steps[-1]:,} steps")


one_step = a2c.Config(
    n_envs=8,
    n_steps=8,
    actor_lr=1e-3,
    critic_lr=1e-2,
    gamma=0.97,
    hidden=(64,),
    total_steps=fast(150_000, 4_000),
)
test_step = HonestTest(every=fast(4_000, 2_000))
by_step = a2c.train(one_step, step=actor_critic_step, callback=test_step)
test_step.report()

# %%
plots.learning_curves({"in training, with exploration": [by_step]})
plt.plot(test_step.steps, test_step.scores, "o", color=plots.RED, label="honest test")
plt.title("CartPole-v1: your actor_critic_step, one step at a time")
plt.legend()
plt.show()

# %% [markdown]
# It works, though each update looks only one step ahead: what happens later reaches an action through the
# critic alone. If the critic is wrong, so is the direction. That is the price of bootstrapping, and
# there is a dial for it.

# %% [markdown]
# ## Between one step and all of them
#
# One step of reward and then the critic, or two, or all of them: for every $n$ there is an estimate of the
# advantage,
#
# $$A^{(n)}_t = r_t + \gamma r_{t+1} + \dots + \gamma^{n-1} r_{t+n-1} + \gamma^n V(s_{t+n}) - V(s_t).$$
#
# Add and subtract the values in between, and it is a sum of TD errors (the sum *telescopes*):
#
# $$A^{(n)}_t = \delta_t + \gamma\, \delta_{t+1} + \dots + \gamma^{n-1} \delta_{t+n-1}, \qquad
#   \delta_t = r_t + \gamma V(s_{t+1}) - V(s_t).$$
#
# Small $n$ trusts the critic: little noise, but its errors become **bias**. Large $n$ trusts what happened: no
# bias, but the noise of many rewards, **variance**. **Generalized advantage estimation** (GAE) averages
# all $n$ with weights $(1 - \lambda) \lambda^{n-1}$. In the average, $\delta_{t+l}$ appears in every $A^{(n)}$ with
# $n > l$; the weights of those add up to $\lambda^l$, so
#
# $$A^{\text{GAE}}_t = \sum_{l \ge 0} (\gamma\lambda)^l\, \delta_{t+l}
#   \qquad\Longleftrightarrow\qquad
#   A_t = \delta_t + \gamma\lambda\, A_{t+1}.$$
#
# $\lambda = 0$ is the TD error, $\lambda = 1$ is the return minus the value. Two flags, two jobs: `terminated`
# removes the next value from $\delta_t$, and `ended` (terminated *or* truncated) cuts the sum, because
# the next row belongs to another episode.
#
# *By hand.* $\gamma = \lambda = 0.5$, rewards $1, 2, 3$, all values 1 but the last next value, which is 2:
# $\delta = (0.5,\ 1.5,\ 3)$. From the back: $A_2 = 3$, $A_1 = 1.5 + 0.25 \cdot 3 = 2.25$,
# $A_0 = 0.5 + 0.25 \cdot 2.25 = 1.0625$.
#
# ### Exercise: `gae` (15 minutes, ●●●)
#
# <details><summary>Hint 1</summary>
#
# First all TD errors at once, then a loop from the last row to the first.
#
# </details>
# <details><summary>Hint 2</summary>
#
# One running sum per environment: `torch.zeros_like(delta[0])` is a number for `[T]` and a row for `[T, B]`.
#
# </details>
# <details><summary>Hint 3</summary>
#
# Which flag belongs to $\delta_t$, and which to the running sum? And detach the values: an advantage is a
# constant.
#
# </details>

# %% exercise="pgcourse.estimators.gae"

# %%
r, no = torch.tensor([1.0, 2.0, 3.0]), torch.zeros(3, dtype=torch.bool)
v, nv = torch.ones(3), torch.tensor([1.0, 1.0, 2.0])
print("by hand   :", gae(r, v, nv, no, no, gamma=0.5, lam=0.5).tolist())
print("lambda = 0:", gae(r, v, nv, no, no, 0.5, lam=0.0).tolist(), "= the TD errors")
to_go = discounted_returns(r, no, 0.5, last_val=nv[-1])
print("lambda = 1:", gae(r, v, nv, no, no, 0.5, lam=1.0).tolist(), "=", (to_go - v).tolist())

# %% [markdown]
# ## Bias and variance against λ
#
# How good is the policy gradient that comes out, for each $\lambda$ and each quality of the critic? A task
# with known answers: 10 steps, three states in each, two actions that decide the reward and where to go next.
# The critic is $\hat V = (1 - q)\, V^\pi$: for $q = 0$ it is perfect, for $q = 1$ it knows nothing.
#
# - The **bias** is exact. The average of your advantage solves the equation of an action value with $\delta$ for a
#   reward and $\gamma\lambda$ for a discount, so the oracle of lesson 1 gives it without sampling.
# - The **variance** is measured, with your `gae`, over thousands of episodes.

# %%
T, K = 10, 3  # steps; states per step
draw = torch.Generator().manual_seed(4)
P = torch.zeros(T * K, 2, T * K, dtype=torch.float64)
for t in range(T - 1):
    here, following = slice(t * K, (t + 1) * K), slice((t + 1) * K, (t + 2) * K)
    P[here, :, following] = softmax(2 * torch.randn(K, 2, K, generator=draw, dtype=torch.float64))
R = torch.randn(T * K, 2, generator=draw, dtype=torch.float64)
start = torch.zeros(T * K, dtype=torch.float64)
start[:K] = 1 / K
task = MDP(P, R, start, gamma=1.0)
theta = 0.5 * torch.randn(T * K, 2, generator=draw, dtype=torch.float64)
pi = softmax(theta)
V = state_values(task, pi)
exact = exact_policy_gradient(task, theta)


def mean_gradient(lam, q):
    """The exact expectation of the gradient estimate, by linear algebra."""
    guess = (1 - q) * V
    delta = R + P @ guess - guess.unsqueeze(1)
    adv = action_values(MDP(P, delta, start, gamma=lam), pi)
    return occupancy(task, pi).unsqueeze(1) * pi * (adv - (pi * adv).sum(dim=1, keepdim=True))


def play(n):
    """n episodes of T steps: states, actions, rewards, next states, each [T, n]."""
    rows, s = [], torch.multinomial(start, n, replacement=True, generator=draw)
    for t in range(T):
        a = torch.multinomial(pi[s], 1, generator=draw).squeeze(1)
        s2 = torch.multinomial(P[s, a], 1, generator=draw).squeeze(1) if t < T - 1 else s
        rows.append((s, a, R[s, a], s2))
        s = s2
    return [torch.stack(column) for column in zip(*rows, strict=True)]


episodes = fast(4_000, 400)
s, a, rew, s2 = play(episodes)
last = torch.zeros(T, episodes, dtype=torch.bool)
last[-1] = True
scores = torch.eye(2, dtype=torch.float64)[a] - pi[s]  # [T, N, 2]


def gradients(lam, q):
    """The gradient estimate of each episode, from your gae: [N, S * A]."""
    guess = (1 - q) * V
    adv = gae(rew, guess[s], guess[s2], last, last, 1.0, lam)
    table = torch.zeros(episodes, T * K, 2, dtype=torch.float64)
    for t in range(T):
        table[torch.arange(episodes), s[t]] += adv[t].unsqueeze(1) * scores[t]
    return table.flatten(1)


lams, qualities = torch.linspace(0, 1, 11).tolist(), [0.0, 0.4, 1.0]
bias = {q: [(mean_gradient(lam, q) - exact).norm().item() for lam in lams] for q in qualities}
spread = {
    q: [gradient_variance(gradients(lam, q)).sqrt().item() for lam in lams] for q in qualities
}

distance = gradients(0.5, 0.4).mean(0) - mean_gradient(0.5, 0.4).flatten()
expected = spread[0.4][5] / episodes**0.5
print(f"mean of {episodes} of your gradients − its exact expectation: {distance.norm():.3f}")
print(f"to be expected from noise alone                        : {expected:.3f}")

# %%
batch = 100  # episodes per update
fig, axes = plt.subplots(1, 3, figsize=(7, 3), sharey=True)
for ax, q in zip(axes, qualities, strict=True):
    noise = [x / batch**0.5 for x in spread[q]]
    total = [(b * b + n * n) ** 0.5 for b, n in zip(bias[q], noise, strict=True)]
    ax.plot(lams, bias[q], "--", color=plots.BLUE, label="bias")
    ax.plot(lams, noise, ":", color=plots.ORANGE, lw=2, label=f"noise of {batch} episodes")
    ax.plot(lams, total, color=plots.BLACK, lw=2, label="error")
    best = min(range(11), key=lambda i: total[i])
    ax.plot(lams[best], total[best], "o", color=plots.RED, label="best λ")
    ax.set_title({0.0: "perfect critic", 1.0: "knows nothing"}.get(q, f"q = {q}"))
    ax.set_xlabel("λ")
axes[0].set_ylabel("distance to the true gradient")
fig.legend(*axes[0].get_legend_handles_labels(), ncols=4, loc="outside upper center", fontsize=10)
plt.show()

# %% [markdown]
# With a perfect critic nothing is gained by looking further: $\lambda = 0$ has no bias and the least noise.
# The worse the critic, the larger the bias at small $\lambda$, and the further the best $\lambda$ moves to the
# right. At $\lambda = 1$ the bias is gone for *every* critic, since then it is only a baseline (lesson 3).
#
# Move the sliders: the critic's error $q$, and the number of episodes per update. More episodes shrink the
# noise but not the bias, so large batches want a larger $\lambda$.

# %%
sharp = {lam: gradients(lam, 0.0) for lam in lams}
blunt = {lam: gradients(lam, 1.0) for lam in lams}  # gae is linear in the values: mix the two


def show_lambda(q=0.4, episodes_per_update=100):
    n = episodes_per_update**0.5
    noise = [gradient_variance((1 - q) * sharp[x] + q * blunt[x]).sqrt().item() / n for x in lams]
    bias = [(mean_gradient(lam, q) - exact).norm().item() for lam in lams]
    total = [(b * b + n * n) ** 0.5 for b, n in zip(bias, noise, strict=True)]
    for curve, style, label in [(bias, "--", "bias"), (noise, ":", "noise"), (total, "-", "error")]:
        plt.plot(lams, curve, style, label=label)
    best = min(range(len(lams)), key=lambda i: total[i])
    plt.plot(lams[best], total[best], "o", label=f"best λ = {lams[best]:.1f}")
    plt.ylim(0, 1.2)
    plt.xlabel("λ")
    plt.ylabel("distance to the true gradient")
    plt.title(f"critic's error q = {q:.2f}, {episodes_per_update} episodes per update")
    plt.legend()
    plt.show()


try:
    import ipywidgets

    ipywidgets.interact(show_lambda, q=(0.0, 1.0, 0.05), episodes_per_update=(10, 1000, 10))
except ImportError:  # no widgets here: one picture
    show_lambda()

# %% [markdown]
# ## A2C: the lineage
#
# **A2C**, *advantage actor-critic*, puts the pieces into one loop. All environments make a few steps
# together; then GAE, one loss for each network, one step for each, and on. Beside lesson 3's loop:
#
# ```diff
# - data = collector.collect_episodes(actor)                 # wait until every episode is over
# + data = collector.collect(policy, n_steps)                # a few steps of every environment
#   logp, val = log-probabilities and values
# - ret  = discounted_returns(rew, ended, gamma)
# - adv  = with_baseline(ret, val)
# + adv  = gae(rew, val, next_val, terminated, ended, gamma, lam)
# + ret  = adv + val
# - policy_gradient_loss(logp, adv).backward(); actor_opt.step()
# - value_regression_loss(val, ret).backward(); critic_opt.step()
# + actor_loss(logp, adv).backward();           actor_opt.step()
# + critic_loss(val, ret).backward();           critic_opt.step()
# ```
#
# | Line | What it buys |
# |---|---|
# | `collect(n_steps)` | learning starts after a few steps, not after an episode; works in tasks that never end |
# | `next_val` | a time limit, or the end of the batch, no longer looks like the end of the task |
# | `gae` | $\lambda$ chooses between the critic's bias and the rewards' noise; $\lambda = 1$ is the old line |
# | `ret = adv + val` | the critic's target bootstraps as well: TD instead of Monte Carlo |
#
# The two losses are the same formulas as before. What has changed is what goes into them.
#
# Now your `gae`, `actor_loss` and `critic_loss` train the agent. Same environment, same honest test.
#
# *Up to half a minute.*

# %%
test_gae = HonestTest(every=fast(500, 1_000))
by_gae = a2c.train(
    a2c.Config(total_steps=fast(100_000, 4_000)),
    advantage=gae,
    actor_loss=actor_loss,
    critic_loss=critic_loss,
    callback=test_gae,
)
test_gae.report()

# %%
plots.learning_curves({"A2C with your gae": [by_gae], "your actor_critic_step": [by_step]})
for test, color in [(test_gae, plots.BLUE), (test_step, plots.ORANGE)]:
    plt.plot(test.steps, test.scores, "o", color=color)
plt.title("CartPole-v1: with GAE, and one step at a time (dots: honest tests)")
plt.show()

# %%
seen = evaluate(by_gae.policy, "CartPole-v1", episodes=fast(20, 4))
print(f"mean return of {len(seen)} fresh episodes: {seen.mean():.1f} of 500")
plots.animate(by_gae.policy, "CartPole-v1", max_steps=fast(200, 20))

# %% [markdown]
# ## Asynchronous: A3C
#
# A2C's environments march in step: each update waits for the slowest. **A3C**, *asynchronous* advantage
# actor-critic, came first and waits for nobody. Several **processes** each have environments and a copy of
# the networks of their own, and share one set of weights in memory that they all can write to. Each
# repeats, at its own pace:
#
# 1. **pull**: copy the shared weights into its own networks;
# 2. play a few steps with them, compute advantages, losses, and gradients *of its own copy*;
# 3. **push**: hand the gradients to the shared weights' optimizer, which makes a step.
#
# There is no lock. Two pushes may overlap, and between a pull and the push that follows the others may
# have moved the shared weights: the gradient arrives a little late, taken at weights that are no longer
# there. As long as single steps are small this does little harm, and nobody ever waits.
#
# ### Exercise: `a3c_push_gradients` (8 minutes, ●●)
#
# <details><summary>Hint 1</summary>
#
# `zip(local.parameters(), shared.parameters(), strict=True)` walks through both networks at once.
#
# </details>
# <details><summary>Hint 2</summary>
#
# A gradient is in `p.grad`, and it is `None` for a parameter that the loss did not reach. `x.clone()` is a copy.
#
# </details>
# <details><summary>Hint 3</summary>
#
# Three steps in this order: copy all, then one `step()`, then clear the worker's gradients.
#
# </details>

# %% exercise="pgcourse.a3c.a3c_push_gradients"

# %% [markdown]
# Your function, in two real processes that train one network. A thin wrapper around it notes which process
# pushes, and how many pushes of the *other* one came in since it last pulled. The notes lie in shared
# memory too, or this process would never see them.
#
# *Up to twenty seconds.*

# %%
notes = torch.zeros(100_000, 2, dtype=torch.int64).share_memory_()  # process, delay
count = torch.zeros(1, dtype=torch.int64).share_memory_()
pulled_at = 0  # each process has its own


def noted_push(local, shared, optimizer):
    global pulled_at
    a3c_push_gradients(local, shared, optimizer)
    i = int(count)
    notes[i] = torch.tensor([os.getpid(), i - pulled_at])
    count.add_(1)
    pulled_at = i + 1


budget = fast(30_000, 4_000)
a3c.train(a3c.Config(n_workers=2, total_steps=budget), push=noted_push)
kept = notes[: int(count)]
process, delay = kept[kept[:, 0] > 0].T  # without locks a note can be lost as well
print("this process:", os.getpid())
for pid in process.unique().tolist():
    print(f"worker {pid}: {(process == pid).sum()} pushes")
late = torch.bincount(delay.clamp(0, 5), minlength=6)
plt.bar(range(6), late / late.sum())
plt.xticks(range(6), ["0", "1", "2", "3", "4", "5+"])
plt.xlabel("pushes of the other worker since the pull")
plt.ylabel("share of the pushes")
plt.title("How late a gradient arrives")
plt.show()

# %% [markdown]
# ### Beside A2C: in steps, and on the clock
#
# The same budget of environment steps for both, three seeds each, with your functions inside. Two questions,
# and they have different answers: who needs fewer **steps** (who learns more from an experience), and who
# needs less **time**?
#
# *Up to a minute; with more than one worker, A3C is not repeatable: who comes first is up to the machine.*


# %%
def timed(train, config, **functions):
    """Train, and note the seconds at every update."""
    seconds = []
    result = train(config, callback=lambda r: seconds.append(r.seconds), **functions)
    result.history["seconds"] = torch.tensor(seconds).numpy()
    return result


parts = dict(advantage=gae, actor_loss=actor_loss, critic_loss=critic_loss)
runs = {"A2C, 1 process": [], "A3C, 2 processes": []}
for seed in range(fast(3, 1)):
    config = a2c.Config(seed=seed, total_steps=budget)
    runs["A2C, 1 process"].append(timed(a2c.train, config, **parts))
    config = a3c.Config(seed=seed, total_steps=budget, n_workers=2)
    runs["A3C, 2 processes"].append(timed(a3c.train, config, push=a3c_push_gradients, **parts))

# %%
fig, axes = plt.subplots(1, 2, figsize=(7, 3.5), sharey=True)
plots.learning_curves(runs, ax=axes[0])
axes[0].set_title("in steps")
axes[0].locator_params(axis="x", nbins=4)
level = fast(100, 15)
for (name, results), color in zip(runs.items(), plots.COLORS, strict=False):
    print(name)
    for result in results:
        h = result.history
        axes[1].plot(h["seconds"], h["return"], color=color, alpha=0.8)
        first = (h["return"] >= level).argmax()
        there = (
            f"average {level} after {h['steps'][first]:6,.0f} steps, {h['seconds'][first]:4.1f} s"
            if h["return"][first] >= level
            else f"average {level} not reached"
        )
        print(f"  {there}; {h['steps'][-1] / h['seconds'][-1]:7,.0f} environment steps per second")
axes[1].set_xlabel("seconds")
axes[1].set_title("on the clock")
plt.show()

# %% [markdown]
# Neither curve keeps what it has gained: a step along a good direction can still be too long, and then the
# policy falls back. That is lesson 5's subject. In steps, A2C is usually ahead: its gradients are
# never late, so its actor can afford steps twice as long. On the clock it depends on the machine. A3C was made in 2016 for computers with many cores and
# environments that were slow; two processes can at best double the steps per second, and starting them takes
# a moment. With environments that step as one array, as here, the synchronous version is simpler, repeatable
# and hard to beat; it is what PPO is built on. What stays of A3C is the idea that gradients may be computed
# anywhere, by many, at weights that are a little old.

# %% [markdown]
# ## The quiz
#
# Seven questions on who is who; every answer was to be seen above.
#
# ### Exercise: `quiz_actor_or_critic` (6 minutes, ●●)
#
# <details><summary>Hint</summary>
#
# For `live`: the derivative of the actor's loss with respect to $V(s)$ is in the section on the live
# advantage. For `time limit`: which of the two next values is the *true* next one?
#
# </details>

# %% exercise="pgcourse.checks.actor_critic.quiz_actor_or_critic"

# %% [markdown]
# ## Ask yourself
#
# <details><summary>Could actor and critic be one network with two heads?</summary>
#
# Yes, and large ones often are: the body is then trained by both losses, and their relative size becomes a
# setting to be tuned. What must not cross is the *advantage*: the actor's loss may change the shared body,
# but not in order to change $V$.
#
# </details>
# <details><summary>Why does the critic's loss not measure how good the critic is?</summary>
#
# The target moves with the critic, and it contains the noise of one step's reward. A critic that says 0
# everywhere has a small TD error where rewards are rare. Explained variance (lesson 3) is the better gauge.
#
# </details>
# <details><summary>With a perfect critic, λ = 0 is best. Why not simply wait until the critic is good?</summary>
#
# It is the value of the *current* policy, and that changes with every step of the actor. The critic runs after
# it all the time, and is always a little wrong.
#
# </details>
# <details><summary>Is λ another discount?</summary>
#
# They multiply the same thing and mean different ones. $\gamma$ says what the task is: how much the future
# counts. $\lambda$ says how far we trust what happened over what the critic says; it changes the estimate,
# not the task.
#
# </details>
#
# ## What was left out
#
# Critics for $Q(s, a)$ rather than $V(s)$ (lesson 6 has two), corrections for data from an older policy
# (importance weights, V-trace), eligibility traces, which do GAE forward in time and without storing anything,
# and the theory of "compatible" critics, with which a policy gradient has no bias although the critic is
# approximate.
#
# ## Papers
#
# - Sutton & Barto (2018), *Reinforcement Learning: An Introduction*, chapters 6 (TD), 11.5 (the residual
#   gradient and the world of A, B and C) and 13.5 (actor-critic).
# - Schulman, Moritz, Levine, Jordan & Abbeel (2016), *High-dimensional continuous control using generalized
#   advantage estimation*, arXiv:1506.02438.
# - Mnih et al. (2016), *Asynchronous methods for deep reinforcement learning*, arXiv:1602.01783: A3C, and in
#   passing A2C.
# - Recht, Ré, Wright & Niu (2011), *Hogwild!*: why steps without locks may overlap.
# - Pardo, Tavakoli, Levdik & Kormushev (2018), *Time limits in reinforcement learning*, arXiv:1712.00378.
# - Baird (1995), *Residual algorithms*, and Sutton & Barto's answer to it in section 11.5.
#
# **Next:** one gradient step per batch is a waste. Lesson 5 takes many, and shows what has to be clipped
# so that this does not end in disaster.
