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
# **critic** is the value: it judges, and it learns by temporal differences (TD). A2C, A3C, PPO and SAC
# are built on this pair, and so is PPO's training of language models. Confusing the two raises no error
# message, so this lesson takes them apart.
#
# **You will be able to**
#
# - compute TD targets, and tell the end of an episode from a mere time limit,
# - write the critic's and the actor's loss so that no gradient crosses over, and show it with a matrix,
# - derive GAE, and trade bias against variance with its $\lambda$,
# - train actor and critic together (A2C) until CartPole is solved, and say what "solved" means,
# - let several processes train one network at the same time, without locks (A3C).
#
# **You need** lessons 1 to 3. About 100 minutes; training takes one or two of them, in five cells.
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
import copy

import matplotlib.pyplot as plt
import torch

from pgcourse import a2c, a3c, fast, networks, plots, reinforce
from pgcourse.bets import ask_again, bet, settle
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
from pgcourse.own_agent import check_agent
from pgcourse.recall import recall
from pgcourse.rollout import Collector, evaluate
from pgcourse.tensors import same_shape

plots.style()

# %% [markdown]
# <details><summary>Names from the package that you will meet</summary>
#
# | name | what it is |
# |---|---|
# | `Collector`, `rollout["obs"]`, `["act"]`, `["rew"]`, `["next_obs"]`, `["mask"]` | lesson 3: environments played side by side; what happened, as a dict of `[T, B]` tensors; `mask` is `False` where a row is no step. `next_obs` is the true next observation, also at an episode's end |
# | `rollout["terminated"]`, `["ended"]` | the task was over; it was over *or* cut off by a time limit |
# | `make_actor(env, hidden)`, `make_critic(env, hidden)`, `ActorCritic(actor, critic)` | networks with the right numbers of inputs and outputs, and the two in one object |
# | `categorical_logp(logits, act)` | $\log \pi(a \mid s)$ of the actions taken |
# | `a2c`, `a3c`, `reinforce` | training loops, each a `Config` and `train(config)` |
# | `random_mdp`, `MDP`, `state_values`, `action_values`, `occupancy`, `exact_policy_gradient`, `softmax` | lesson 1: worlds that can be calculated exactly |
# | `discounted_returns`, `gradient_variance` | lesson 2's exercises |
# | `evaluate(policy, env, episodes)` | plays episodes and returns their returns |
# | `same_shape`, `fast`, `plots`, `check`, `bet`, `settle` | as in lesson 1 |
# | `ask_again`, `recall` | old bets and old questions |
# | `check_agent(lesson)` | judges your own agent, a file `my_agent.py` beside this notebook, by what it does |
#
# </details>
#
# Your bets that were furthest off, again:

# %%
ask_again("04")

# %% [markdown]
# And three questions from lesson 2, to see what is still there. No points; answer before you look anything up.

# %%
recall("04")

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
# $\theta$ and $\phi$ are the parameters of two separate networks. The target $y$ and the advantage $A$
# connect them; the next sections build each.

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
# **B** or **C**, half of the time each, for no reward. B then pays 1 and ends; C pays 0 and ends. The
# values are clear: $V(A) = 0.5$, $V(B) = 1$, $V(C) = 0$. Two critics learn them by gradient descent from
# the same four transitions: one with your loss, and one whose target is not detached, so that the gradient
# flows through the target as well (the "residual gradient").

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
# Without `detach()` the critic makes a compromise: it pulls B down and C up, toward A, so that the
# *surprise* of the coin toss becomes smaller. But B's reward is certain; nothing about it calls for a
# compromise. Where the next state is certain, too, both losses learn the same values.

# %% claim="the_residual_gradient_learns_other_values"
# With the coin toss B settles at 0.75 and C at 0.25; without it both losses learn the same.
assert torch.allclose(learn_values(residual_loss), torch.tensor([0.5, 0.75, 0.25]), atol=0.01)
assert torch.allclose(learn_values(critic_loss), torch.tensor([0.5, 1.0, 0.0]), atol=0.01)
kept_world = state, next_state, rew, terminated
state, next_state = torch.tensor([A, B, C]), torch.tensor([B, B, C])  # A always leads to B
rew, terminated = torch.tensor([0.0, 1.0, 0.0]), torch.tensor([False, True, True])
for certain_loss in (critic_loss, residual_loss):
    assert torch.allclose(learn_values(certain_loss), torch.tensor([1.0, 1.0, 0.0]), atol=0.01)
state, next_state, rew, terminated = kept_world

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
plt.title("A clock taken for an end makes the state look poor")
plt.legend()
plt.show()
assert max(abs(v - 10) for v in right) < 0.05
print("bias of the mistake:", [f"N={N}: {v - 10:.2f}" for N, v in zip(limits, wrong, strict=True)])

# %% [markdown]
# The error is not noise: more data does not help, and the line says how large it is. Where every $N$-th step
# is wrongly taken for an end, the critic believes in a task that ends with probability $1/N$ per step.
# The shorter the limit, the larger the error.

# %% claim="the_price_of_a_time_limit_taken_for_an_end"
# The wrongly learned value is 1 / (1 - gamma (1 - 1/N)): too low, the more the shorter the limit.
for N in limits:
    assert abs(learn_one_value(N, bootstrap=False) - 1 / (1 - 0.9 * (1 - 1 / N))) < 0.01
    assert abs(learn_one_value(N, bootstrap=True) - 10) < 0.05
assert wrong == sorted(wrong) and wrong[-1] < 9

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
# This one is written already, and wrong in one place. Find it, say why, mend it.
#
# <details><summary>Hint 1</summary>
#
# The number that comes out is right. Whom does the loss train? Give both arguments `requires_grad`, call
# `backward()`, and look at their `.grad`.
#
# </details>

# %% exercise="pgcourse.losses.actor_loss" broken="trains the critic, not the actor"

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

# %% claim="the_td_error_estimates_the_advantage"
# The exact mean of the TD error over next states is A(s, a), for every state and action, if the critic is right.
for seed in range(5):
    world = random_mdp(S=5, A=3, gamma=0.9, seed=seed)
    worth, of_action = state_values(world, pi), action_values(world, pi)
    each = td_target(
        world.R.unsqueeze(2).expand(5, 3, 5),
        worth.expand(5, 3, 5),
        torch.zeros(5, 3, 5).bool(),
        0.9,
    )
    mean_delta = (world.P * (each - worth.view(5, 1, 1))).sum(dim=2)
    assert torch.allclose(mean_delta, of_action - worth.unsqueeze(1))

# %% [markdown]
# ## The matrix of gradients
#
# Two losses, two networks: four gradients, and two of them must be zero. Here is the matrix of their
# norms, on a real rollout from CartPole: with your losses, and with versions that forget to `detach()`
# the advantage and the target. Such a tensor is sometimes called *live*: gradients flow through it into
# whatever made it.

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
    return -(logp * adv).mean()  # the advantage is not detached


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
# The upper right corner is the bug: the actor's loss trains the critic, without an error message. The lower
# left corner stays 0 by itself: values do not depend on the policy's parameters. The lower right one looks
# innocent and is not: through its target the critic gets a second gradient of its own, the residual one.
#
# ### What it does to the critic
#
# The mistake has a precise effect. With $A = y - V(s)$ not detached, the derivative of
# $-\log \pi(a \mid s)\,(y - V(s))$ with respect to $V(s)$ is $\log \pi(a \mid s)$: **the target does not
# appear in it**. It is negative for every action (unless the policy is certain), so descending it pushes
# every value *up*, whatever happened, by $-\log \pi$; on average by the policy's entropy $H(s)$. The
# critic's own loss pulls back with $c\,(V(s) - y)$, where $c$ is 2 (or 1, if your loss has a factor ½).
# Both balance where
#
# $$V(s) = \mathbb{E}[y] + \tfrac{1}{c}\, H(s),$$
#
# that is, where the critic has learned the value of another game, one that pays $H(s)/c$ on top at every
# step. A prediction that we can test: an MDP with known values, a fixed policy, and a critic trained on the
# sum of the two losses.
#
# **Predict first:** what will the training curve of that sum look like, with the mistake in it?
#
# <details><summary>The answer</summary>
#
# It falls, and lower than with the right losses: values that are too high make $A$ negative, and
# $-\log \pi \cdot A$ with it. A loss that falls does not tell you that the right thing is being learned.
#
# </details>

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
    """The values learned, and the sum of the two losses at every step."""
    V, losses = torch.zeros(6, dtype=torch.float64, requires_grad=True), []
    for _ in range(steps):
        target = td_target(rew, V[s_next], never, mdp.gamma).detach()
        loss = critic_loss(V[s], target) + loss_of_actor(logp, target - V[s])
        (grad,) = torch.autograd.grad(loss, V)
        V = (V - 1.5 * grad).detach().requires_grad_()
        losses.append(loss.item())
    return V.detach(), losses


c = 2 * critic_loss(torch.ones(1), torch.zeros(1))  # 2, or 1 with a factor ½
H = -(pi * pi.log()).sum(dim=1)
exact = state_values(mdp, pi)
predicted = state_values(MDP(mdp.P, mdp.R + (H / c).unsqueeze(1), mdp.start, mdp.gamma), pi)
detached, forgotten = train_critic(actor_loss), train_critic(forgetful_actor_loss)

fig, (left, right) = plt.subplots(1, 2, figsize=(7, 3.5))
left.plot(detached[1], label="your losses")
left.plot(forgotten[1], color=plots.ORANGE, label="advantage not detached")
left.set_xlabel("steps of training")
left.set_ylabel("sum of both losses")
left.legend(fontsize=10)
right.plot(exact, "_", color=plots.BLACK, ms=20, mew=2, label="exact value")
right.plot(detached[0], "o", label="your losses")
right.plot(predicted, "_", color=plots.RED, ms=20, mew=2, label="predicted: H/c on top")
right.plot(forgotten[0], "s", color=plots.ORANGE, label="not detached")
right.set_xlabel("state")
right.set_ylabel("value (reward)")
right.legend(loc="center", bbox_to_anchor=(0.5, 0.55), fontsize=10)
fig.suptitle("The loss falls, and every value is too high")
plt.show()

# %% claim="the_actors_loss_inflates_a_critic_it_reaches"
# Not detached, the values end at those of a game that pays H/c on top, and the loss ends lower than the right one's.
for seed in range(5):
    some_pi = softmax(
        torch.randn(6, 3, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)
    )
    some_H = -(some_pi * some_pi.log()).sum(dim=1)
    inflated = state_values(
        MDP(mdp.P, mdp.R + (some_H / 2).unsqueeze(1), mdp.start, mdp.gamma), some_pi
    )
    V = torch.zeros(
        6, dtype=torch.float64, requires_grad=True
    )  # expected losses: every s, a, s' by its chance
    for _ in range(600):
        y = (mdp.R.unsqueeze(2) + mdp.gamma * V.detach()).expand(6, 3, 6)
        chances = some_pi.unsqueeze(2) * mdp.P / 6
        both_losses = chances * (
            (V.view(6, 1, 1) - y) ** 2 - some_pi.log().unsqueeze(2) * (y - V.view(6, 1, 1))
        )
        (grad,) = torch.autograd.grad(both_losses.sum(), V)
        V = (V - grad).detach().requires_grad_()
    assert torch.allclose(V.detach(), inflated, atol=1e-3)
assert (forgotten[0] - predicted).abs().max() < 0.5 and (forgotten[0] - exact).min() > 2.5
assert forgotten[1][-1] < detached[1][-1] < detached[1][0] and forgotten[1][-1] < forgotten[1][0]

# %% [markdown]
# A critic that is wrong by several rewards in every state, and a loss that falls. So:
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
# two networks. Every 4,000 steps the training pauses for a **test**: 20 episodes in which the policy is
# **greedy**, that is, always takes its most probable action. They begin in the same 20 start states each
# time, so that tests can be compared. In this lesson CartPole is **solved** when a test reaches a mean
# of 475 of 500; then training ends. Five seeds.
#
# *Up to a minute.*


# %%
EPISODES, BAR = fast(20, 2), fast(475, 20)  # of a test; the mean return that counts as solved


class Test:
    """A callback: tests the greedy policy every so many steps, and keeps the first one that solves CartPole."""

    def __init__(self, every, stop, episodes=EPISODES, bar=BAR):
        self.every, self.stop, self.episodes, self.bar = every, stop, episodes, bar
        self.steps, self.scores = [0], [float("nan")]
        self.solved_at, self.solver = None, None

    def __call__(self, recorder):
        if recorder.steps - self.steps[-1] < self.every:
            return False
        self.steps.append(recorder.steps)
        self.scores.append(evaluate(recorder.policy, "CartPole-v1", self.episodes).mean())
        if self.solved_at is None and self.scores[-1] >= self.bar:
            self.solved_at, self.solver = recorder.steps, copy.deepcopy(recorder.policy)
        return self.stop and self.solved_at is not None


one_step = dict(
    n_envs=8,
    n_steps=8,
    actor_lr=1e-3,
    critic_lr=1e-2,
    gamma=0.97,
    hidden=(64,),
    total_steps=fast(150_000, 4_000),
)
seeds = range(fast(5, 2))
step_tests = []
for seed in seeds:
    test = Test(every=fast(4_000, 1_000), stop=True)
    config = a2c.Config(seed=seed, **one_step)
    a2c.train(config, step=actor_critic_step, callback=test)
    step_tests.append(test)

# %%
for seed, test in zip(seeds, step_tests, strict=True):
    plt.plot(test.steps, test.scores, "o-", ms=3, lw=1, label=f"seed {seed}")
plt.axhline(475, color=plots.BLACK, ls="--", lw=1)
plt.xlabel("environment steps")
plt.ylabel("mean return of a test (greedy)")
plt.title("CartPole-v1: your actor_critic_step, one step at a time")
plt.legend()
plt.show()
print("solved after", [test.solved_at for test in step_tests], "steps")

# %% claim="one_step_solves_it" slow=true
# The actor-critic step alone solves CartPole within 150,000 steps, on five seeds.
figures = {"solved after": []}
for seed in range(5):
    test = Test(every=4_000, stop=True, episodes=20, bar=475)
    config = a2c.Config(seed=seed, **one_step | {"total_steps": 150_000})
    a2c.train(config, step=actor_critic_step, callback=test, progress=False)
    figures["solved after"].append(test.solved_at)
assert all(figures["solved after"]), figures

# %% [markdown]
# Each update looks only one step ahead: what happens later reaches an action through the critic alone. If
# the critic is wrong, so is the direction. That is the price of bootstrapping, and there is a dial for it.

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
# Small $n$ trusts the critic: little noise, but its errors become **bias**. Large $n$ trusts what happened:
# little bias (none once $n$ reaches the end of the episode), but the noise of many rewards, **variance**.
# **Generalized advantage estimation** (GAE) averages all $n$ with weights $(1 - \lambda) \lambda^{n-1}$. In
# the average, $\delta_{t+l}$ appears in every $A^{(n)}$ with $n > l$; the weights of those add up to
# $\lambda^l$, so
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
# - The **bias** is exact. The average of your advantage solves the equation of an action value with
#   $\delta$ for a reward and $\gamma\lambda$ for a discount, so the oracle of lesson 1 gives it without
#   sampling.
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
print(f"what noise alone would give, on average                : {expected:.3f}")

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
# In this task, with a perfect critic, nothing is gained by looking further: $\lambda = 0$ has no bias and
# the least noise. The worse the critic, the larger the bias at small $\lambda$, and the further the best
# $\lambda$ moves to the right. At $\lambda = 1$ the bias is gone for *every* critic, since then it is only
# a baseline (lesson 3).
#
# **Predict first:** with ten times as many episodes per update, should $\lambda$ be larger or smaller? Then
# move the sliders: the critic's error $q$, and the number of episodes per update.
#
# <details><summary>The answer</summary>
#
# Larger, or the same. More episodes shrink the noise but not the bias, so there is less reason to accept bias.
#
# </details>

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

# %% claim="bias_and_variance_against_lambda"
# No bias at lambda 1 or q 0; bias falls with lambda and grows with q; the best lambda grows with q and with the batch.
for q in (0.1, 0.4, 0.7, 1.0):
    off = [(mean_gradient(lam, q) - exact).norm().item() for lam in lams]
    assert off[-1] < 1e-12 and all(a > b for a, b in zip(off, off[1:], strict=False))
    assert off[0] > (mean_gradient(0.0, q - 0.1) - exact).norm()
assert max((mean_gradient(lam, 0.0) - exact).norm().item() for lam in lams) < 1e-12
episodes, kept_episodes = 2_000, (episodes, s, a, rew, s2, last, scores)
s, a, rew, s2 = play(episodes)
last = torch.zeros(T, episodes, dtype=torch.bool)
last[-1] = True
scores = torch.eye(2, dtype=torch.float64)[a] - pi[s]
ends = {lam: (gradients(lam, 0.0), gradients(lam, 1.0)) for lam in lams}


def best_lambda(q, n):
    errors = []
    for lam, (perfect, ignorant) in ends.items():
        noise = gradient_variance((1 - q) * perfect + q * ignorant).item() / n
        errors.append((mean_gradient(lam, q) - exact).norm().item() ** 2 + noise)
    return lams[errors.index(min(errors))]


noise_of_perfect = [gradient_variance(perfect).item() for perfect, _ in ends.values()]
assert noise_of_perfect == sorted(noise_of_perfect)
by_quality = [best_lambda(q, 100) for q in (0.0, 0.4, 1.0)]
by_batch = [best_lambda(0.4, n) for n in (10, 100, 1000)]
assert by_quality[0] == 0 and by_quality == sorted(by_quality) and by_quality[-1] > by_quality[0]
assert by_batch == sorted(by_batch) and by_batch[-1] > by_batch[0]
episodes, s, a, rew, s2, last, scores = kept_episodes

# %% [markdown]
# ## A2C: the lineage
#
# **A2C**, *advantage actor-critic*, puts the pieces into one loop. All environments make a few steps
# together; then GAE, one loss for each network, one step for each, and on. This is all that changes in
# lesson 3's loop:
#
# ```diff
# - data = collector.collect_episodes(actor)                 # wait until every episode is over
# + data = collector.collect(policy, n_steps)                # a few steps of every environment
#   logp, val = log-probabilities and values
# + next_val  = critic(next_obs)                             # of the true next observation
# - ret  = discounted_returns(rew, ended, gamma)
# - adv  = with_baseline(ret, val)
# + adv  = gae(rew, val, next_val, terminated, ended, gamma, lam)
# + ret  = adv + val
# + adv  = normalize_advantage(adv)                          # lesson 3's last trick
# - policy_gradient_loss(logp, adv).backward(); actor_opt.step()
# + actor_loss(logp, adv).backward()
# + critic_loss(val, ret).backward()
# + clip each network's gradient to a norm of at most max_grad_norm
# + actor_opt.step(); critic_opt.step()
# - repeat baseline_epochs times:
# -     value_regression_loss(critic(obs), ret).backward(); critic_opt.step()
# ```
#
# | Line | What it buys |
# |---|---|
# | `collect(n_steps)` | learning starts after a few steps, not after an episode; works in tasks that never end |
# | `next_val` | a time limit, or the end of the batch, no longer looks like the end of the task |
# | `gae` | $\lambda$ chooses between the critic's bias and the rewards' noise; $\lambda = 1$ is the old line |
# | `ret = adv + val` | the critic's target bootstraps as well: TD instead of Monte Carlo |
# | `normalize_advantage` | the actor's loss no longer depends on the unit of the reward |
# | the clipped norm | one batch with a huge gradient cannot dominate Adam's running averages |
#
# The two losses are the same formulas as before. (The package's loop also has an entropy bonus, which is
# switched off until lesson 5.)

# %% claim="the_lineage_is_complete"
# The lines of the diff, written out, make exactly the update that a2c.train makes.
import dataclasses

from pgcourse.estimators import normalize_advantage

for seed in range(5):
    # ten updates of the package, and ten of the diff's lines, with torch's own optimizer and clipping
    setting = a2c.Config(seed=seed, total_steps=2_560)
    package = a2c.train(
        setting, advantage=gae, actor_loss=actor_loss, critic_loss=critic_loss, progress=False
    )
    torch.manual_seed(seed)
    by_hand = Collector("CartPole-v1", setting.n_envs, seed)
    nets = make_actor(by_hand.env, setting.hidden), make_critic(by_hand.env, setting.hidden)
    opts = [
        torch.optim.Adam(net.parameters(), lr)
        for net, lr in zip(nets, (setting.actor_lr, setting.critic_lr), strict=True)
    ]
    while by_hand.steps < setting.total_steps:
        data = by_hand.collect(ActorCritic(*nets), setting.n_steps)
        hand_logp, val = categorical_logp(nets[0](data["obs"]), data["act"]), nets[1](data["obs"])
        with torch.no_grad():
            next_val = nets[1](data["next_obs"])
        adv = gae(
            data["rew"],
            val,
            next_val,
            data["terminated"],
            data["ended"],
            setting.gamma,
            setting.lam,
        )
        ret, mask = (adv + val).detach(), data["mask"]
        for opt in opts:
            opt.zero_grad()
        actor_loss(hand_logp[mask], normalize_advantage(adv[mask])).backward()
        critic_loss(val[mask], ret[mask]).backward()
        for net, opt in zip(nets, opts, strict=True):
            torch.nn.utils.clip_grad_norm_(net.parameters(), setting.max_grad_norm)
            opt.step()
    for theirs, mine in zip(package.policy.actor.parameters(), nets[0].parameters(), strict=True):
        assert torch.allclose(theirs, mine, atol=1e-4)
    for theirs, mine in zip(package.policy.critic.parameters(), nets[1].parameters(), strict=True):
        assert torch.allclose(theirs, mine, atol=1e-4)

# %% [markdown]
# ### One dial turned: λ
#
# Your `gae`, `actor_loss` and `critic_loss` now train the agent, five seeds each with $\lambda$ = 0, 0.9
# and 1, and nothing else changed.
#
# **Predict first:** which of the three learns fastest, and which slowest?
#
# <details><summary>The answer</summary>
#
# In these settings $\lambda = 0$ is by far the slowest, and between 0.9 and 1 there is much less to choose.
# That fits the section above: the critic starts out knowing nothing, where small $\lambda$ has the largest
# bias.
#
# </details>
#
# *Up to a minute.*

# %%
parts = dict(advantage=gae, actor_loss=actor_loss, critic_loss=critic_loss)
by_lambda, tests_of = {}, {}
for lam in (0.0, 0.9, 1.0):
    name = f"λ = {lam:g}"
    by_lambda[name], tests_of[name] = [], []
    for seed in seeds:
        test = Test(every=fast(500, 1_000), stop=False)
        config = a2c.Config(seed=seed, lam=lam, total_steps=fast(20_000, 4_000))
        by_lambda[name].append(a2c.train(config, callback=test, **parts))
        tests_of[name].append(test)

# %%
fig, (left, right) = plt.subplots(1, 2, figsize=(7, 3.5), sharey=True)
plots.learning_curves(by_lambda, ax=left, label="return")
left.set_title("in training: actions drawn")
for color, (name, tests) in zip(plots.COLORS, tests_of.items(), strict=False):
    tested = torch.tensor([test.scores[1:] for test in tests])
    for one in tested:
        right.plot(tests[0].steps[1:], one, color=color, alpha=0.25, lw=0.8)
    right.plot(tests[0].steps[1:], tested.mean(dim=0), color=color, lw=2)
    print(f"{name:8s} solved after", [test.solved_at for test in tests], "steps")
right.axhline(475, color=plots.BLACK, ls="--", lw=1)
right.set_xlabel("environment steps")
right.set_title("in tests: greedy")
for ax in (left, right):
    ax.locator_params(axis="x", nbins=4)
plt.show()

# %% claim="lambda_alone" slow=true
# All else equal, λ = 0.9 solves CartPole within 20,000 steps on five seeds, λ = 0 on none of them within 40,000.
figures = {}
for lam in (0.0, 0.9, 1.0):
    figures[f"λ = {lam}"] = []
    for seed in range(5):
        test = Test(every=500, stop=True, episodes=20, bar=475)
        config = a2c.Config(seed=seed, lam=lam, total_steps=40_000)
        a2c.train(config, callback=test, progress=False, **parts)
        figures[f"λ = {lam}"].append(test.solved_at)
assert not any(figures["λ = 0.0"]), figures
assert all(at and at < 20_000 for at in figures["λ = 0.9"]), figures
assert all(figures["λ = 1.0"]), figures

# %% [markdown]
# With these settings $\lambda = 0.9$ solves CartPole on every seed, and $\lambda = 0$ on none.
# (`actor_critic_step` is $\lambda = 0$ as well; it got there with settings of its own, among them a third
# of the actor's learning rate, in four to ten times as many steps. So $\lambda = 0$ does not have to fail.
# It is slower here.)
#
# Solved is not solved for good: with $\lambda = 0.9$ the greedy policy reaches 475 and more, and falls again
# within a few thousand steps. Lesson 5 is about that.

# %% claim="solved_is_not_kept" slow=true
# With λ = 0.9 the greedy policy has solved CartPole on each of five seeds, and falls below 400 again within 20,000 steps.
figures = {}
for seed in range(5):
    test = Test(every=500, stop=False, episodes=20, bar=475)
    a2c.train(a2c.Config(seed=seed, total_steps=20_000), callback=test, progress=False, **parts)
    later = [
        score for at, score in zip(test.steps, test.scores, strict=True) if at > test.solved_at
    ]
    figures[f"seed {seed}"] = [test.solved_at, round(float(min(later)))]
assert all(low < 400 for _, low in figures.values()), figures

# %% [markdown]
# ### Solved, and by whom?
#
# The two panels show two policies. In training, and in the policy gradient theorem, actions are *drawn*
# from $\pi$; the mean return of that policy is $J(\pi)$, which is what training climbs (with a discount,
# which the tests leave out). The test's greedy policy is another one.
#
# **Predict first:** when a test first reaches 475, what is $J(\pi)$ of the same network? About 475, about 400,
# or below 350? And what do 100 *other* episodes say about the greedy one?
#
# Three agents at that moment, each with five seeds: lesson 3's baseline, with lesson 3's settings; your
# `actor_critic_step`; A2C with $\lambda = 0.9$. They differ in nearly every setting, so this compares
# agents and not single ideas.
#
# *About ten seconds.*

# %%
bet("04 drawn", "A2C with λ = 0.9, seed 0, when “solved”: its J(π), of 500?", between=(0, 500))

# %%
lesson_3 = dict(n_envs=8, lr=0.04, baseline=True, baseline_lr=0.03, baseline_epochs=10)
baseline_tests = []
for seed in seeds:
    test = Test(every=500, stop=True)
    reinforce.train(
        reinforce.Config(seed=seed, total_steps=fast(50_000, 2_000), **lesson_3), callback=test
    )
    baseline_tests.append(test)


def two_policies(solver):
    """Mean returns in 100 new episodes: greedy, and drawn from the policy, J(π)."""
    return [
        evaluate(solver, "CartPole-v1", fast(100, 4), seed=1_000, deterministic=how).mean()
        for how in (True, False)
    ]


groups = {
    "lesson 3's baseline": baseline_tests,
    "actor_critic_step": step_tests,
    "A2C, λ = 0.9": tests_of["λ = 0.9"],
}
for i, (name, tests) in enumerate(groups.items()):
    solved = [test for test in tests if test.solver is not None]
    print(f"{name:20s} solved after", [test.solved_at for test in solved], "steps")
    for k, test in enumerate(solved):
        greedy, drawn = two_policies(test.solver)
        x, first = i + 0.12 * (k - 2), i + k == 0
        plt.plot([x, x], [drawn, greedy], color="lightgray", zorder=0)
        plt.plot(
            x, greedy, "o", color=plots.BLUE, label="greedy, 100 new episodes" if first else None
        )
        plt.plot(x, drawn, "s", color=plots.ORANGE, label="drawn from π: J(π)" if first else None)
        if name == "A2C, λ = 0.9" and k == 0:
            settle("04 drawn", drawn, plt.gca())
plt.axhline(475, color=plots.BLACK, ls="--", lw=1, label="the test's bar")
plt.xticks(range(len(groups)), list(groups))
plt.ylim(0, 520)
plt.ylabel("mean return")
plt.title("The same networks when CartPole was “solved”")
plt.legend(loc="lower left", fontsize=10)
plt.show()

# %% claim="solved_is_said_of_the_greedy_policy" slow=true
# At the first test of 475, J(π) of A2C is below 350 on five seeds; the greedy policy holds 450 on 100 others.
figures = {}
for name, train, make in [
    (
        "lesson 3",
        reinforce.train,
        lambda seed: reinforce.Config(seed=seed, total_steps=50_000, **lesson_3),
    ),
    (
        "A2C",
        lambda c, **how: a2c.train(c, **how, **parts),
        lambda seed: a2c.Config(seed=seed, total_steps=40_000),
    ),
]:
    for seed in range(5):
        test = Test(every=500, stop=True, episodes=20, bar=475)
        train(make(seed), callback=test, progress=False)
        greedy, drawn = (
            evaluate(test.solver, "CartPole-v1", 100, seed=1_000, deterministic=how).mean()
            for how in (True, False)
        )
        figures.setdefault(name, []).append(
            [test.solved_at, round(float(greedy)), round(float(drawn))]
        )
for rows in figures.values():
    assert all(greedy > 450 for _, greedy, _ in rows), figures
    assert all(drawn < greedy for _, greedy, drawn in rows), figures
assert all(drawn < 350 for _, _, drawn in figures["A2C"]), figures
by_name = {
    name: [sum(column) / 5 for column in zip(*rows, strict=True)] for name, rows in figures.items()
}
assert by_name["A2C"][0] < by_name["lesson 3"][0] and by_name["A2C"][2] < by_name["lesson 3"][2], (
    figures
)

# %% [markdown]
# "Solved" was said of the greedy policy. The policy that the gradient climbs for is behind it in every run:
# for A2C $J(\pi)$ is below 350 on each seed. Under one test A2C gets there in fewer steps than lesson 3's
# baseline, on average, and at that moment its $J(\pi)$ is lower. Which agent is ahead depends on which of
# the two policies you ask about, so say which.
#
# The blue dots come from other episodes than those of the test. A test that *ends* a training is picked for
# having gone well, so its own number tends to flatter; report another one. (`evaluate` with another
# `seed`.)

# %%
plots.animate(by_lambda["λ = 0.9"][0].policy, "CartPole-v1", max_steps=fast(200, 20))

# %% [markdown]
# ## Asynchronous: A3C
#
# A2C's environments march in step: each update waits for all of them. **A3C**, *asynchronous* advantage
# actor-critic, came first ([Mnih et al. 2016](https://arxiv.org/abs/1602.01783)) and does without the waiting.
# Several **processes** each have environments and a copy of the networks of their own, and share one set of
# weights in memory that they all can write to. Each repeats, at its own pace:
#
# 1. **pull**: copy the shared weights into its own networks;
# 2. play a few steps with them, compute advantages, losses, and gradients *of its own copy*;
# 3. **push**: hand the gradients to the shared weights' optimizer, which makes a step.
#
# There is no lock. Two pushes may overlap, and between a pull and the push that follows, the others may have
# moved the shared weights: the gradient arrives late, computed at weights that are no longer there.
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
# A gradient is in `p.grad`, and it is `None` for a parameter that the loss did not reach. `x.clone()` is a
# copy.
#
# </details>
# <details><summary>Hint 3</summary>
#
# Three steps in this order: copy all, then one `step()`, then clear the worker's gradients.
#
# </details>

# %% exercise="pgcourse.a3c.a3c_push_gradients"

# %% [markdown]
# Your function, in real processes that train one network: one, two, and four of them. A thin wrapper
# counts, for each gradient of the actor, how many updates the *other* workers have made since this one
# pulled. (An update is two pushes, the actor's and then the critic's; the actor's are counted.) The counts
# lie in shared memory, or this process would never see them.
#
# **Predict first:** with $n$ workers, how many updates late is a gradient on average?
#
# <details><summary>The answer</summary>
#
# Nearly $n - 1$, on any machine. A worker pulls again as soon as it has pushed, so the time from a pull to
# its push is nearly all of its round; and while it makes one round, each other worker makes one too, on
# average. How the lateness *spreads* around that mean depends on the machine: with a processor core for
# each worker most gradients are late by about the mean; on a busy one a worker may make several rounds in a
# row while another waits.
#
# </details>
#
# *Up to twenty seconds.*

# %%
bet("04 late", "Four workers: how many updates late is a gradient, on average?", between=(0, 8))

# %%
late = torch.zeros(10_000, dtype=torch.int64).share_memory_()  # of each update of the actor
count = torch.zeros(1, dtype=torch.int64).share_memory_()
pulled_at = 0  # each process has its own


def counted_push(local, shared, optimizer):
    global pulled_at
    a3c_push_gradients(local, shared, optimizer)
    if isinstance(shared, networks.CategoricalActor):
        i = int(count)
        late[i] = i - pulled_at
        count.add_(1)  # no lock here either: a count can be lost
    else:  # the critic's push, the last before the worker pulls again
        pulled_at = int(count)


def lateness(workers, total_steps, seed=0):
    """How late each gradient of the actor arrived, in updates of the others; and the steps per second."""
    global pulled_at
    count.zero_()
    pulled_at = 0  # the workers start with a copy of it
    config = a3c.Config(n_workers=workers, total_steps=total_steps, seed=seed)
    result = a3c.train(config, push=counted_push, progress=False)
    return late[: int(count)].clone(), result.history["steps"][-1] / result.seconds


fig, axes = plt.subplots(1, 3, figsize=(7, 3), sharey=True)
for ax, workers in zip(axes, (1, 2, 4), strict=True):
    delays, speed = lateness(workers, fast(20_000, 3_000))
    share = torch.bincount(delays.clamp(0, 8), minlength=9) / len(delays)
    ax.bar(range(9), share, width=0.8)
    mean = delays.float().mean().item()
    ax.axvline(mean, color=plots.RED, ls="--", label=f"mean {mean:.2f}")
    ax.set_title(f"{workers} worker" + "s" * (workers > 1))
    ax.set_xticks(range(0, 9, 2), ["0", "2", "4", "6", "8+"])
    ax.legend()
    print(f"{workers} workers: {len(delays)} updates, {speed:,.0f} environment steps per second")
axes[0].set_ylabel("share of the actor's updates")
fig.supxlabel("updates of the other workers since the pull")
settle("04 late", mean, axes[2], along="x")
plt.show()

# %% claim="a_gradient_is_n_minus_1_updates_late" slow=true
# With n workers a gradient is on average nearly n - 1 updates late, whatever the machine is doing.
figures = {}
for workers in (1, 2, 4):
    means = [lateness(workers, 20_000, seed)[0].float().mean().item() for seed in range(5)]
    figures[f"{workers} workers"] = [round(mean, 2) for mean in means]
    assert all(0.8 * (workers - 1) <= mean <= workers - 1 + 0.1 for mean in means), figures

# %% [markdown]
# ### Beside A2C: in steps, and on the clock
#
# Who needs fewer **steps**? For a fair answer both get the same number of environments (8, or 8 for each
# worker), the same 32 steps per update and the same learning rates; one thing differs, whether updates may
# be late. And since these settings may suit one of them better, all of it at two learning rates of the
# actor. Five seeds each, with your functions inside.
#
# **Predict first:** which of the two differences will be larger, that between A2C and A3C, or that between
# the learning rates?
#
# <details><summary>The answer</summary>
#
# That between the learning rates. One update of lateness, with steps of this size, costs little here.
#
# </details>
#
# *Up to a minute. With more than one worker a run of A3C is not repeatable: who comes first is up to the
# machine.*


# %%
def reached(result, level):
    """Environment steps until the mean return in training first reached `level`; nan if it never did."""
    above = result.history["return"] >= level
    return float(result.history["steps"][above.argmax()]) if above.any() else float("nan")


def beside(actor_lr, seed, total_steps):
    """A2C and A3C with the same settings; a callback has A3C report as regularly as A2C."""
    same = dict(actor_lr=actor_lr, seed=seed, total_steps=total_steps, n_envs=8, n_steps=32)
    a2c_run = a2c.train(a2c.Config(**same), progress=False, **parts)
    a3c_run = a3c.train(
        a3c.Config(n_workers=2, **same),
        push=a3c_push_gradients,
        progress=False,
        callback=lambda recorder: False,
        **parts,
    )
    return a2c_run, a3c_run


level, runs = fast(100, 15), {}
for actor_lr in (3e-3, 1.5e-3):
    pairs = [beside(actor_lr, seed, fast(25_000, 4_000)) for seed in seeds]
    for name, results in zip(("A2C", "A3C"), zip(*pairs, strict=True), strict=True):
        runs[f"{name}, learning rate {actor_lr:g}"] = results
        print(f"{name}, {actor_lr:g}: mean {level} after", [reached(r, level) for r in results])

# %%
plots.learning_curves(runs)
plt.title("CartPole-v1: one process, or two without locks")
plt.show()

# %% claim="the_learning_rate_and_not_the_lateness" slow=true
# Steps to a mean of 100: the learning rate makes a factor of 1.25 or more, asynchrony one that is smaller, on average of five seeds.
figures = {}
for actor_lr in (3e-3, 1.5e-3):
    pairs = [beside(actor_lr, seed, 30_000) for seed in range(5)]
    for name, results in zip(("A2C", "A3C"), zip(*pairs, strict=True), strict=True):
        figures[f"{name}, {actor_lr:g}"] = [reached(result, 100) for result in results]
mean = {name: sum(steps) / 5 for name, steps in figures.items()}
by_rate = [mean[f"{name}, 0.0015"] / mean[f"{name}, 0.003"] for name in ("A2C", "A3C")]
by_lateness = [mean[f"A3C, {rate}"] / mean[f"A2C, {rate}"] for rate in ("0.003", "0.0015")]
figures["factor of the rate"] = [round(x, 2) for x in by_rate]
figures["factor of lateness"] = [round(x, 2) for x in by_lateness]
assert min(by_rate) > 1.25 and max(by_lateness) < min(by_rate) and min(by_lateness) > 0.8, figures

# %% [markdown]
# Up to a mean of 100 the learning rate separates the curves: at 0.003 both get there sooner than either
# does at 0.0015. Being one update late makes a smaller difference, of about a tenth. (Further on the curves
# cross, since at 0.003 what was gained is lost again, and five seeds do not tell them apart.) OpenAI, whose
# [post of 2017](https://openai.com/index/openai-baselines-acktr-a2c/) released the synchronous version,
# **A2C**, found that it gives equal performance.
#
# On the clock it depends on the machine, see the steps per second above: $n$ workers can at best multiply
# them by $n$, and only with a processor core for each. Against that stands a synchronous loop whose
# environments step as one array, as here: simpler, and repeatable. PPO (lesson 5) collects its data in that
# way.

# %% [markdown]
# ## The quiz
#
# Seven questions on who is who. The experiments above answer each of them.
#
# ### Exercise: `quiz_actor_or_critic` (6 minutes, ●●)
#
# <details><summary>Hint</summary>
#
# For `live`: the derivative of the actor's loss with respect to $V(s)$ is in the section “What it does to the
# critic”. For `time limit`: which of the two next values is the *true* next one?
#
# </details>

# %% exercise="pgcourse.exercises.actor_critic.quiz_actor_or_critic.quiz_actor_or_critic"

# %% claim="explained_variance_misses_an_offset"
# Values that are all too high by a constant explain as much variance as the right ones.
from pgcourse.record import explained_variance

for trial in range(5):
    draw_pair = torch.Generator().manual_seed(trial)
    true_returns = 10 * torch.randn(100, generator=draw_pair)
    guesses = true_returns + torch.randn(100, generator=draw_pair)
    assert (
        abs(
            explained_variance(guesses, true_returns)
            - explained_variance(guesses + 50, true_returns)
        )
        < 1e-4
    )
    assert (
        explained_variance(torch.full((100,), 7.0), true_returns) == 0
    )  # and a constant explains nothing

# %% [markdown]
# ## With your own hands: bootstrapping (30 minutes more)
#
# Your `my_agent.py` still waits for whole episodes. Let it learn from rollouts of fixed length (64 steps, say) that may begin and end in the middle
# of an episode, with TD targets or your `gae` (λ of 0.9 or so). `train` returns `policy, value`, as before, and the learning rates of lesson 3 may stay.
#
# <details><summary>Hint 1</summary>
#
# Keep six things of each step: the observation, the action, the reward, the observation that `step` *returned*, and both flags.
# After the end of an episode, `reset()`: its observation belongs to the next step.
#
# </details>
# <details><summary>Hint 2</summary>
#
# `terminated` decides whether the next value counts, and `terminated or truncated` whether the recursion goes on.
#
# </details>
# <details><summary>Hint 3</summary>
#
# A whole one: `solutions/my_agent_04.py`.
#
# </details>
#
# The new world has a clock that stops its episodes at a bad moment. *About half a minute.*

# %%
check_agent(4)

# %% [markdown]
# ## Ask yourself
#
# <details><summary>Could actor and critic be one network with two heads?</summary>
#
# Yes. In [Mnih et al. 2016](https://arxiv.org/abs/1602.01783) they share all layers but the last. The
# shared body is then trained by both losses, and their relative size becomes a setting to be tuned. The
# advantage stays a constant: the actor's loss may change the shared body, but no gradient flows through
# $A$.
#
# </details>
# <details><summary>Why does the critic's loss not measure how good the critic is?</summary>
#
# The target moves with the critic, and it contains the noise of one step's reward. A critic that says 0
# everywhere has a small TD error where rewards are rare. Explained variance (lesson 3) against such a
# target has the same weakness, and a second one: it does not notice a constant offset, such as the values
# that the actor's loss inflates. Compare with the returns of whole episodes, and look at the error itself.
#
# </details>
# <details><summary>With a perfect critic, λ = 0 is best. Why not simply wait until the critic is good?</summary>
#
# It is to be the value of the *current* policy, and that changes with every step of the actor. The critic runs
# after it, and has only as much data of each policy as the actor lets it have.
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
# (importance weights, [V-trace](https://arxiv.org/abs/1802.01561)), eligibility traces, which do GAE
# forward in time without storing the steps, and the theory of "compatible" critics, with which a policy
# gradient has no bias although the critic is approximate.
#
# ## Papers
#
# - Sutton & Barto (2018), [*Reinforcement Learning: An
#   Introduction*](http://incompleteideas.net/book/the-book-2nd.html), chapters 6 (TD), 11.5 (the residual
#   gradient and the world of A, B and C) and 13.5 (actor-critic).
# - Schulman, Moritz, Levine, Jordan & Abbeel (2016), [*High-dimensional continuous control using generalized
#   advantage estimation*](https://arxiv.org/abs/1506.02438).
# - Mnih et al. (2016), [*Asynchronous methods for deep reinforcement
#   learning*](https://arxiv.org/abs/1602.01783): A3C.
# - OpenAI (2017), [*OpenAI Baselines: ACKTR & A2C*](https://openai.com/index/openai-baselines-acktr-a2c/): A2C.
# - Recht, Ré, Wright & Niu (2011), [*Hogwild!*](https://arxiv.org/abs/1106.5730): when steps without locks
#   may overlap.
# - Pardo, Tavakoli, Levdik & Kormushev (2018), [*Time limits in reinforcement
#   learning*](https://arxiv.org/abs/1712.00378).
# - Baird (1995), *Residual algorithms*, and Sutton & Barto's answer to it in section 11.5.
#
# **Next:** A2C takes one gradient step on a batch and throws it away. [Lesson 5](05_ppo.ipynb) takes many, and shows what has
# to be clipped so that this does not end in disaster.
