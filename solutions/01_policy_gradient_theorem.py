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
# One branch of reinforcement learning asks *how good is each action?* and then picks the best one.
# A policy gradient turns the knobs of the policy itself, in the direction that raises the expected
# return fastest. That direction is a definite vector. An agent estimates it from what it tried; in this
# lesson the world is known, so you will compute it exactly, in three different ways that agree to
# ten decimal places.
#
# **You will be able to**
#
# - say what an agent, its policy, a return and a value are, and write the loop that joins agent and world,
# - say when a policy with parameters beats one that takes the best-valued action,
# - write a softmax policy and the gradient of its log-probability,
# - do one step of REINFORCE by hand and in code, also for an action that is a number, and for a language model,
# - derive the policy-gradient theorem, and confirm each step of it with numbers,
# - watch the gradient find a policy that is random on purpose,
# - say what separates an estimate of the gradient from random search, and what does not.
#
# **You need** Python, a little PyTorch (tensors and indexing) and a little probability
# (expectations). About two hours; no cell takes longer than ten seconds.
#
# | Exercise | Minutes | Difficulty |
# |---|---|---|
# | `softmax` | 5 | ● |
# | `grad_log_softmax` | 8 | ●● |
# | `score_step` | 4 | ● |
# | `score_function_gradient` | 10 | ●● |
# | `action_values` | 8 | ●● |
# | `exact_policy_gradient` | 12 | ●●● |
# | `quiz_gradient` | 6 | ●● |

# %% tags=["setup"]
import math

import matplotlib.pyplot as plt
import torch

from pgcourse import fast, plots, simplex
from pgcourse.bets import bet, settle
from pgcourse.checks import check
from pgcourse.mdp import (
    MDP,
    corridor,
    enumerate_episodes,
    episodic_mdp,
    expected_return,
    occupancy,
    random_mdp,
    switched_corridor,
)
from pgcourse.tensors import same_shape

plots.style()

# %% [markdown]
# <details><summary>Names from the package that you will meet in this course</summary>
#
# | name | what it is |
# |---|---|
# | `check(your_function, "name")` | judges what you wrote, at once, and names the mistake if there is one |
# | `same_shape(a=…, b=…)` | stands at the top of some exercises: it raises an error unless the named tensors have one shape. A `[N, 1]` against a `[N]` would silently give `[N, N]` |
# | `fast(full, quick)` | is `full`; only the project's own tests take `quick`, to be soon done |
# | `plots` | the course's colors and some of its pictures |
# | `begin("…")` | in the first cell: shows which exercises of the saved notebook pass |
# | `MDP(P, R, start, gamma)` | a world small enough to calculate with; its fields are explained where it first appears |
# | `corridor`, `switched_corridor`, `episodic_mdp`, `random_mdp` | make such worlds; the last two are random ones, with a seed |
# | `enumerate_episodes(mdp, pi, horizon)` | lists every possible episode with its probability |
# | `expected_return(mdp, theta)` | $J(\theta)$, exactly |
# | `bet("…", question, …)`, `settle("…", truth, …)` | before some pictures you can bet on what they will show; your bet is then drawn into them. Bets are kept in `my_bets.json`, beside this notebook, and nowhere else; a later lesson asks again where you were furthest off. No points, and nothing needs a bet |
# | `simplex` | a policy of three actions in a triangle: `panels` are pictures, `playground` has sliders |
#
# </details>
#
# Logarithms are natural ones throughout. A log-probability then has the unit **nat**: $\log \frac12$ is −0.69 nats.

# %% [markdown]
# ## The door: an agent in its world
#
# Reinforcement learning is about two things that talk to each other. An **environment** is a world that can be in
# different states. An **agent** looks at the state and chooses an action; the environment answers with a reward, a number,
# and with its next state. Then the agent looks again.

# %%
plots.agent_and_environment()
plt.show()

# %% [markdown]
# That loop is a few lines of Python. *Gymnasium* is a library of such worlds, and CartPole is one of them: a pole stands on a cart, and at each
# step you push the cart to the left (action 0) or to the right (action 1). The state is four numbers: where the cart is, how fast it
# moves, the angle of the pole (in radians, positive to the right), and how fast it turns. Each step pays 1. When the pole leans too far or the
# cart leaves the track, it is over (`terminated`); after 500 steps somebody stops the clock (`truncated`).
#
# Run it, then **change it**: replace the line marked with an arrow by a rule of your own that looks at `obs`. How many steps can you
# get?

# %%
import gymnasium

env = gymnasium.make("CartPole-v1")
obs, info = env.reset(seed=1)
env.action_space.seed(1)
rewards, over = [], False
while not over:
    act = env.action_space.sample()  # <- your rule here, for example int(obs[2] > 0)
    obs, rew, terminated, truncated, info = env.step(act)
    rewards.append(rew)
    over = terminated or truncated
print(f"{len(rewards)} steps, and {sum(rewards):g} in rewards")

# %% [markdown]
# <details><summary>Two rules to try, if you have none</summary>
#
# `int(obs[2] > 0)` pushes the cart to the side to which the pole leans, so that the cart moves under it. `int(obs[2] + obs[3] > 0)`
# also looks at how fast the pole turns: it pushes to where the pole will soon lean.
#
# </details>
#
# You have seen four of the words that everything else is built on:
#
# - One round of the loop is a **step** $t = 0, 1, 2, \dots$, with its **state** $s_t$, **action** $a_t$ and **reward** $r_t$.
# - All steps from a reset until it is over are an **episode**.
# - The rewards of an episode, added up, are its **return**. Often a later reward counts for less: each step further away multiplies it
#   by a **discount** $\gamma$ between 0 and 1. So $G_0 = r_0 + \gamma r_1 + \gamma^2 r_2 + \dots$; with $\gamma = 1$ it is the plain sum.
# - The rule by which the agent chooses is its **policy**. It may be random: $\pi(a \mid s)$ is the probability of action $a$ in state $s$. Above,
#   $\pi(\text{left} \mid s) = \pi(\text{right} \mid s) = 0.5$ in every state, unless you wrote a rule of your own.
#
# A policy and the world are random, so two episodes differ. Below are 100 of each of three policies: one acts at random, one looks at the
# lean of the pole (`obs[2] > 0`), one at its lean and its turning (`obs[2] + obs[3] > 0`).
#
# **Bet first**: move the slider, press the button. (Without widgets, add `mine=…` to the call. No points; you may skip it.)

# %%
bet("01 balance", "Lean and turning: how many of 500 steps, on average?", between=(0, 500))


# %%
def at_random(obs):
    return int(env.action_space.sample())


def by_the_lean(obs):
    return int(obs[2] > 0)


def by_lean_and_turn(obs):
    return int(obs[2] + obs[3] > 0)


def episode(policy, seed=None, state=None, first=None):
    """The rewards of one episode. state: where to begin; first: an action to begin with, whatever the policy says."""
    obs, _ = env.reset(seed=seed)
    if state is not None:
        obs = env.unwrapped.state = torch.tensor(state).double().numpy()
    rewards, over = [], False
    while not over:
        act = policy(obs) if first is None or rewards else first
        obs, rew, terminated, truncated, _ = env.step(act)
        rewards.append(rew)
        over = terminated or truncated
    return torch.tensor(rewards)


env.action_space.seed(0)
for policy in (at_random, by_the_lean, by_lean_and_turn):
    returns = [episode(policy, seed).sum().item() for seed in range(fast(100, 20))]
    plt.hist(returns, bins=range(0, 520, 10), alpha=0.7, label=policy.__name__)
plt.xlabel("return of an episode (γ = 1: its number of steps)")
plt.ylabel("episodes")
plt.title("Three policies for CartPole")
plt.legend()
settle("01 balance", sum(returns) / len(returns), plt.gca(), along="x")  # of the last policy
plt.show()

rewards = episode(at_random, seed=0)
for gamma in (1.0, 0.9, 0.5):
    discounted = (gamma ** torch.arange(len(rewards)) * rewards).sum()
    print(f"one episode of {len(rewards)} steps, discount {gamma}: return {discounted:.2f}")

# %% claim="one_line_balances_the_pole"
# 100 episodes each: at random about 22 steps, the lean alone under 60, lean and turn never under 250 and mostly 500.
env.action_space.seed(1)
steps = {
    policy.__name__: torch.stack([episode(policy, seed).sum() for seed in range(1000, 1100)])
    for policy in (at_random, by_the_lean, by_lean_and_turn)
}
assert 17 < steps["at_random"].mean() < 28, steps["at_random"].mean()
assert steps["by_the_lean"].max() < 70 and steps["by_the_lean"].mean() > 35, steps["by_the_lean"]
assert steps["by_lean_and_turn"].min() > 250 and steps["by_lean_and_turn"].median() == 500

# %% [markdown]
# Two more words, both about *averages*.
#
# - The **value** of a state is the return that a policy earns from there **on average**: $V^\pi(s)$.
# - The value of an **action** in a state is the same, if the agent takes this action first and follows its policy from then on: $Q^\pi(s, a)$.
#
# Let the pole lean to the right by 0.15 radians (9 degrees), standing still. What is that state worth for the policy that acts at random, with $\gamma = 0.9$? And
# what is it worth to push to the left first, or to the right?


# %%
def value(policy, state, first=None, gamma=0.9, episodes=500):
    """The discounted return, averaged over episodes that begin in a state (and with an action)."""
    total = 0.0
    for _ in range(episodes):
        rewards = episode(policy, state=state, first=first)
        total += (gamma ** torch.arange(len(rewards)) * rewards).sum().item()
    return total / episodes


env.action_space.seed(0)
leaning = [0.0, 0.0, 0.15, 0.0]
print(f"V(leaning)        = {value(at_random, leaning):.2f}")
print(f"Q(leaning, left)  = {value(at_random, leaning, first=0):.2f}")
print(f"Q(leaning, right) = {value(at_random, leaning, first=1):.2f}")

# %% claim="the_value_is_the_mean_of_the_action_values"
# In the leaning state, pushing to the right is worth more; V is the average of Q under the policy (errors of 2,000 episodes).
env.action_space.seed(2)
V, left, right = (value(at_random, leaning, first=first, episodes=2000) for first in (None, 0, 1))
assert right > left + 0.4 and abs(V - (left + right) / 2) < 0.15, (V, left, right)

# %% [markdown]
# To push to the right is worth more than to push to the left, and $V$ lies about halfway between the two (each number is a mean of 500 episodes, so it is a little off), since the policy takes each with probability ½. In general
# $V^\pi(s) = \sum_a \pi(a \mid s)\, Q^\pi(s, a)$.
#
# These are all the words. What is left is the question of this course: **how does an agent find a good policy by itself?**

# %% [markdown]
# ## Why give the policy parameters?
#
# A **policy** $\pi(a \mid s)$ is the probability of each action $a$ in each state $s$. Instead of
# deriving it from values, we write it as a function with **parameters** $\theta$ and call it
# $\pi_\theta$. Four reasons:
#
# | Setting | Why parameters help |
# |---|---|
# | Continuous actions | The maximum of a function over $\mathbb{R}^n$ is in general a search of its own, at every step; drawing from a parameterized density is one line. |
# | The best policy is random | In rock–paper–scissors, an opponent who knows you beats any fixed choice. |
# | The policy is simpler than the values | A short reflex can be right where the value function is complicated. |
# | A language model | It *is* a parameterized, random policy already: a distribution over the next token. |
#
# The second reason in numbers. Below, rows (you) and columns (your opponent) are *rock, paper, scissors*,
# and the entry is what you win. The opponent knows your policy and answers with whatever hurts most.

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
plt.title("A predictable policy can be exploited")
plt.show()

# %% claim="the_uniform_policy_cannot_be_exploited"
# A best answer wins every game against one action, 0.4 against mostly rock, nothing against uniform, where all actions are worth the same.
assert [round(loss, 5) for loss in worst.values()] == [-1, -1, -0.4, 0]
assert (payoff @ torch.full((3,), 1 / 3)).abs().max() < 1e-6

# %% [markdown]
# A policy that is sure of one action loses every game against this opponent. The uniform one cannot be
# exploited, and "take the action with the largest value" does not describe it: against it all three
# actions are worth the same. It has to be represented as probabilities.
#
# That a random policy is best does not yet mean that gradient steps find it. Once you can compute the
# gradient, you will try both: a world in which they do, and this game, in which they do not.

# %% [markdown]
# The third reason in a picture: `by_lean_and_turn`, the rule of one line that balanced the pole in the door. Over the angle of the pole and how fast it
# turns, the cart standing still in the middle, the rule is a straight line with *left* on one side and *right* on the other. Its values are
# a landscape: a plateau from which the rule saves the pole, and on both sides stairs, down to where it falls at once. Whoever learns $Q$ has
# to learn all of that; whoever learns the policy needs the line.


# %%
def worth(angle, turn, act, gamma=0.95, steps=60):
    """Q of by_lean_and_turn: its discounted return after a first action (60 steps of it; the rest counts little)."""
    env.reset()
    obs, total = [0.0, 0.0, angle, turn], 0.0
    env.unwrapped.state = torch.tensor(obs).double().numpy()
    for t in range(steps):
        obs, rew, terminated, *_ = env.step(act)
        total += gamma**t * rew
        if terminated:
            break
        act = by_lean_and_turn(obs)
    return total


angles, turns = torch.linspace(-0.2, 0.2, fast(25, 9)), torch.linspace(-2.5, 2.5, fast(25, 9))
rule = torch.tensor([[by_lean_and_turn([0, 0, a, w]) for a in angles] for w in turns]).float()
landscape = torch.tensor([[worth(a.item(), w.item(), 1) for a in angles] for w in turns])
fig, axes = plt.subplots(1, 2, figsize=(9, 3.4))
for ax, shown, title in zip(
    axes, (rule, landscape), ("The policy: 0 left, 1 right", "Its Q(s, right)"), strict=True
):
    image = ax.pcolormesh(angles, turns, shown, cmap="cividis")
    ax.set(xlabel="angle of the pole (radians)", ylabel="turning (radians / s)", title=title)
    ax.grid(False)
    fig.colorbar(image, ax=ax)
plt.show()

# %% claim="the_policy_is_simpler_than_its_values"
# The rule is a half-plane; the best linear function of (angle, turn) leaves more than a third of Q's variance unexplained.
grid = [(a, w) for a in torch.linspace(-0.2, 0.2, 11) for w in torch.linspace(-2.5, 2.5, 11)]
assert all(by_lean_and_turn([0, 0, a, w]) == (a + w > 0) for a, w in grid)
q = torch.tensor([worth(a.item(), w.item(), 1) for a, w in grid])
x = torch.tensor([[1.0, a, w] for a, w in grid])
left_over = q - x @ torch.linalg.lstsq(x, q.unsqueeze(1)).solution.squeeze(1)
assert left_over.var() > q.var() / 3, (left_over.var() / q.var()).item()

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
# of the preferences directly returns `nan` for large ones, and preferences can grow large while a
# policy learns.
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

# %% claim="only_differences_of_preferences_matter"
# A constant changes nothing; the exponentials taken directly give nan at 200, the shifted ones do not.
large = torch.tensor([200.0, 199.0, 0.0])
assert torch.allclose(softmax(large), softmax(large - 200.0))
assert (large.exp() / large.exp().sum()).isnan().any() and softmax(large).isfinite().all()

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
# $\sum_a \pi_a (\mathbb{1}[i=a] - \pi_i) = \pi_i - \pi_i = 0$. Lesson 3 is built on the second one.

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

# %% claim="the_expected_score_is_zero"
# The score is autograd's derivative, and averages to zero under its own policy.
assert torch.allclose(grad_log_softmax(theta, 1), leaf.grad, atol=1e-12)
assert mean_score.abs().max() < 1e-12

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
# The rewarded action became more probable: $0.50 \to 0.55$.
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
plt.title("Rewarded actions become more probable, punished ones less")
plt.legend()
plt.show()

# %% claim="one_step_makes_the_rewarded_action_more_probable"
# The worked example, and: whatever theta and the step size, a positive return raises the action, a negative one lowers it.
assert torch.allclose(after, torch.tensor([0.1, -0.1])) and abs(softmax(after)[0] - 0.55) < 0.001
draws = torch.Generator().manual_seed(0)
for k in range(200):
    some, ret = torch.randn(4, generator=draws, dtype=torch.float64), 10.0 ** (k % 5 - 2)
    assert softmax(score_step(some, 2, ret, 0.1))[2] > softmax(some)[2]
    assert softmax(score_step(some, 2, -0.01, 0.1))[2] < softmax(some)[2]

# %% [markdown]
# ## A language model is a policy
#
# The fourth reason, by hand. Take a table with one row of preferences for each word: the row of the last word, through your `softmax`, gives
# the probability of each next word. That is a language model, if a very small one (a *bigram* model), and it is a policy: the state is the
# text so far, of which this one sees the last word; the action is the next word. Say that somebody likes to read *good*: a text earns 1 if the word
# is in it, and 0 if not. Then your `score_step`, once for each word of a text, is all that is needed.


# %%
corpus = ". the film was good . the film was bad . the plot was not good . the plot was bad ."
words = sorted(set(corpus.split()))
numbers = [words.index(word) for word in corpus.split()]
counts = torch.full((len(words), len(words)), 0.02)
for last, following in zip(numbers[:-1], numbers[1:], strict=True):
    counts[last, following] += 1
untrained = counts.log()  # their softmax is the share of each word among those that followed


def write(theta, generator):
    """A text from the policy: the words' numbers, from a full stop to the next one (12 words at most)."""
    text = [words.index(".")]
    while len(text) < 13 and (len(text) == 1 or text[-1] != text[0]):
        pi = softmax(theta[text[-1]])
        text.append(torch.multinomial(pi, 1, generator=generator).item())
    return text


def says_good(text):
    return float(words.index("good") in text)


def fine_tune(theta, seed, texts=400, lr=0.1):
    """REINFORCE on the words: each word of a text that earned something becomes more probable."""
    theta, generator = theta.clone(), torch.Generator().manual_seed(seed)
    for _ in range(texts):
        text = write(theta, generator)
        for last, following in zip(text, text[1:], strict=False):
            theta[last] = score_step(theta[last], following, says_good(text), lr)
    return theta


tuned = fine_tune(untrained, seed=0)
for name, theta in (("before", untrained), ("after", tuned)):
    generator = torch.Generator().manual_seed(1)
    texts = [write(theta, generator) for _ in range(200)]
    liked = sum(map(says_good, texts)) / len(texts)
    print(f"{name}: {liked:.0%} of 200 texts say “good”, for example")
    for text in texts[:3]:
        print("   ", " ".join(words[i] for i in text[1:]))

# %% claim="score_steps_fine_tune_a_language_model"
# Five seeds: the share of texts with "good" rises from about a half to more than 85 %.
for seed in range(5):
    theta, draws = fine_tune(untrained, seed), torch.Generator().manual_seed(100 + seed)
    before, after = (
        sum(says_good(write(t, draws)) for _ in range(200)) / 200 for t in (untrained, theta)
    )
    assert 0.35 < before < 0.65 and after > 0.85, (seed, before, after)

# %% [markdown]
# Nothing in it knows what the words mean. It only knows which words it wrote and what came of it. So *not good* pleases as well as
# *good*: the reward asked for a word, and a word it gets. Lesson 7 does this with a transformer in
# the table's place, and with a reward learned from people's votes.

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
# observe their returns $R_n$, and average:
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
plt.title("Four times the samples, half the error")
plt.legend()
plt.show()

# %% [markdown]
# The error keeps falling: there is no **bias**, no part of it that more samples would leave in place.
# (You can see this without any sampling: weight your estimate from each single action by that action's
# probability, and the sum is the exact gradient.)

# %% claim="the_estimate_is_unbiased_and_its_error_halves"
# The mean over all single actions is the exact gradient; the error of N samples is that of one over sqrt(N).
single = [score_function_gradient(theta, torch.tensor([a]), pays[[a]]) for a in range(3)]
assert torch.allclose(sum(pi[a] * single[a] for a in range(3)), exact, atol=1e-12)
one = sum(pi[a] * (single[a] - exact).square().sum() for a in range(3)).sqrt()
for n in (16, 256):
    draws = torch.Generator().manual_seed(n)
    off = []
    for _ in range(1000):
        actions = torch.multinomial(pi, n, replacement=True, generator=draws)
        off.append((score_function_gradient(theta, actions, pays[actions]) - exact).square().sum())
    measured = torch.stack(off).mean().sqrt()
    assert abs(measured / (one / n**0.5) - 1) < 0.1, (n, measured)

# %% [markdown]
# ## A playground
#
# A policy of three actions is a point in a triangle: in a corner it is sure of one action, in the middle all three are equally
# probable. Below is the bandit from above (the actions pay 1, 3 and 0.5). The gray arrows are what a small step along the **exact** gradient does to the
# policy, wherever it stands. A blue dot is where one REINFORCE step leads: 200 agents stood at the black point, each drew its own actions. The red
# square is the average of the dots.

# %%
simplex.panels(
    {
        "the exact gradient": {},
        "steps from one action": {"n": 1},
        "steps from 16 actions": {"n": 16},
    }
)
plt.show()

# %% [markdown]
# With one action there are only three places to go, one for each action, and none of them is where the arrow points. Every sampled action is pushed up, since all of them pay
# something. The average does go with the arrow. Move the policy and the settings (where there are no sliders, one picture is drawn):

# %%
simplex.playground()

# %% claim="sampled_steps_go_with_the_flow_on_average"
# The flow is the gradient of the mean pay; following it ends at the best action; the mean of the sampled steps is the exact step.
for seed in range(5):
    there = torch.randn(3, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)
    leaf = there.clone().requires_grad_()
    (softmax(leaf) @ pays).backward()
    found = simplex.gradient(there, simplex.bandit(pays))
    assert torch.allclose(found, leaf.grad, atol=1e-12)
    assert simplex.follow(there, simplex.bandit(pays), lr=1.0, steps=500)[-1, 1] > 0.98
    for n in (1, 16):
        steps = simplex.cloud(there, pays, n=n, lr=0.5, dots=20_000, seed=seed) - there
        allowed = 5 * steps.std(dim=0) / 20_000**0.5
        assert ((steps.mean(dim=0) - 0.5 * found).abs() < allowed).all(), (seed, n)
    one = simplex.cloud(there, pays, n=1, lr=0.5, seed=seed)
    assert len(one.round(decimals=9).unique(dim=0)) <= 3

# %% [markdown]
# ## An action that is a number
#
# The first reason, too, needs nothing but a score. Let the action be how far to throw a ball, any real number. A policy for it is a
# **Gaussian**, with its mean $\mu$ and the logarithm of its standard deviation, $\log \sigma$, as the two parameters. From the density,
# $\log \pi(a) = -\frac{(a - \mu)^2}{2 \sigma^2} - \log \sigma - \frac12 \log 2\pi$, the score is
#
# $$\frac{\partial \log \pi(a)}{\partial \mu} = \frac{a - \mu}{\sigma^2}, \qquad
#   \frac{\partial \log \pi(a)}{\partial \log \sigma} = \frac{(a - \mu)^2}{\sigma^2} - 1 .$$
#
# In words: if a throw was rewarded, move the mean towards it; and if it was further than a standard deviation from the mean, widen the policy, else narrow
# it. The rest is the same estimate as before. The ball should land at 3 m, and the reward is minus the squared miss. There is no maximum over
# actions anywhere.


# %%
def gaussian_score(mu, log_sigma, act):
    """d log pi / d (mu, log sigma) of each action, [N, 2]."""
    z = (act - mu) / log_sigma.exp()
    return torch.stack([z / log_sigma.exp(), z**2 - 1], dim=1)


def learn_to_throw(seed, steps=200, n=100, lr=0.01):
    """Gradient steps from n throws each; returns the path of (mu, log sigma), [steps, 2]."""
    generator, theta, path = torch.Generator().manual_seed(seed), torch.zeros(2), []
    for _ in range(steps):
        path.append(theta)
        act = theta[0] + theta[1].exp() * torch.randn(n, generator=generator)
        reward = -((act - 3) ** 2)
        theta = theta + lr * (reward.unsqueeze(1) * gaussian_score(*theta, act)).mean(dim=0)
    return torch.stack(path)


path = learn_to_throw(seed=0)
fig, (left, right) = plt.subplots(1, 2, figsize=(9, 3.4))
x = torch.linspace(-3, 5, 300)
for step, color in ((0, plots.BLACK), (30, plots.ORANGE), (199, plots.BLUE)):
    density = torch.distributions.Normal(path[step, 0], path[step, 1].exp()).log_prob(x).exp()
    left.plot(x, density, color=color, label=f"after {step} steps")
left.axvline(3, color=plots.RED, lw=1, ls=":", label="where it should land")
left.set(xlabel="action (m)", ylabel="density π(a) (per m)", title="The policy")
left.legend(fontsize=9)
right.plot(path[:, 0], label="mean μ")
right.plot(path[:, 1].exp(), "--", label="standard deviation σ")
right.set(xlabel="gradient step", ylabel="m", title="Its two parameters")
right.legend()
plt.show()

# %% claim="a_gaussian_policy_learns_by_its_score"
# The score is autograd's; times the reward it averages to the gradient of J = -(mu - 3)^2 - sigma^2; five seeds end near 3 m, narrower than they began.
theta = torch.tensor([0.4, -0.3], dtype=torch.float64, requires_grad=True)
acts = torch.linspace(-9, 9, 20001, dtype=torch.float64)
density = torch.distributions.Normal(theta[0], theta[1].exp()).log_prob(acts)
some = acts[[8000, 12000]]
for row, a in zip(gaussian_score(*theta.detach(), some), some, strict=True):
    logp = torch.distributions.Normal(theta[0], theta[1].exp()).log_prob(a)
    assert torch.allclose(torch.autograd.grad(logp, theta)[0], row, atol=1e-12)
weight = (density.exp() * (acts[1] - acts[0])).detach()
by_score = (weight * -((acts - 3) ** 2)) @ gaussian_score(*theta.detach(), acts)
J = -((theta[0] - 3) ** 2) - (2 * theta[1]).exp()
assert torch.allclose(by_score, torch.autograd.grad(J, theta)[0], atol=1e-6)
for seed in range(5):
    mu, log_sigma = learn_to_throw(seed)[-1]
    assert abs(mu - 3) < 0.3 and log_sigma.exp() < 0.6, (seed, mu, log_sigma)

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
# ### Exercise: `action_values` (8 minutes, ●●)
#
# This one is written already, and wrong in one place. Find it, say why, mend it.
#
# <details><summary>Hint 1</summary>
#
# The check shows two states and a policy. What should $V$ be there? Write down the two equations.
#
# </details>
# <details><summary>Hint 2</summary>
#
# `torch.linalg.solve(A, b)` solves $A x = b$. `torch.einsum("sa,sap->sp", pi, mdp.P)` is $P_\pi$, and
# `mdp.P @ V` has shape `[S, A]`: the expected next value of each pair.
#
# </details>
# <details><summary>Hint 3</summary>
#
# Compare the matrix that is solved with $I - \gamma P_\pi$: row $s$ belongs to the state one is *in*.
#
# </details>

# %% exercise="pgcourse.mdp.action_values" broken="transposed transitions"

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

# %% claim="early_states_are_worth_more"
# In the corridor both values fall from state to state, and action 1 is worth exactly 1 more.
assert (Q[1:] < Q[:-1]).all() and torch.allclose(Q[:, 1] - Q[:, 0], torch.ones(8).double())

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

# %% claim="the_log_derivative_trick_holds_for_episodes"
# J and its gradient, by the list of all episodes and by linear algebra, are the same.
assert torch.allclose(J_list, mdp.start @ V, atol=1e-12)
assert torch.allclose(step2, leaf.grad, atol=1e-12)

# %% [markdown]
# **Step 3: an action cannot change the past.** The rewards *before* step $t$ multiply a score whose
# expectation is zero, whatever happened before. They contribute nothing:

# %%
past = 0
for p, s, a, r in episodes:
    earned = (discount(r) * r).cumsum(0) - discount(r) * r  # the discounted rewards before step t
    past = past + p * (earned[:, None, None] * scores(s, a)).sum(0)
print("largest contribution of the past:", past.abs().max().item())

# %% claim="the_past_contributes_nothing"
# The rewards before a step, times its score, average to zero; what is left is the whole gradient.
assert past.abs().max() < 1e-12
future = 0
for p, s, a, r in episodes:
    ahead = (discount(r) * r).flip(0).cumsum(0).flip(0)
    future = future + p * (ahead[:, None, None] * scores(s, a)).sum(0)
assert torch.allclose(future, leaf.grad, atol=1e-12)

# %% [markdown]
# So each score only needs what came after it. Those rewards, discounted, sum to $\gamma^t G_t$, and the
# average of $G_t$ given $s_t$ and $a_t$ is $Q^\pi(s_t, a_t)$.
#
# **Step 4: gather the visits of each state.** Let
# $d(s) = \sum_t \gamma^t \Pr(s_t = s)$ be the **discounted visits** of $s$. Then the sum over time
# becomes a sum over states, and we have the theorem:
#
# $$\nabla J = \sum_s d(s) \sum_a \pi(a \mid s)\, Q^\pi(s, a)\, \nabla \log \pi(a \mid s)$$
#
# For a softmax table the score is $\mathbb{1}[b = a] - \pi(b \mid s)$, so the entry of state $s$ and
# action $b$ is $d(s) \sum_a \pi(a|s)\, Q(s,a)\, (\mathbb{1}[b = a] - \pi(b|s))$, which is
# $d(s)\, \pi(b|s)\, \big(Q(s, b) - V(s)\big)$. Note what it says: *raise an action's preference if the
# action is better than the policy's average in that state, and lower it if it is worse.*
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
# If the gradient is a definite thing, then every correct way to compute it must give the same
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

# %% claim="three_roads_agree_to_ten_decimals"
# Theorem, autograd and finite differences give the same vector to ten decimal places.
assert (by_theorem - by_autograd).abs().max() < 1e-14
assert (by_theorem - by_differences).abs().max() < 5e-11

# %% claim="a_small_step_along_the_gradient_raises_J"
# On 20 random MDPs: the exact gradient's small step raises J each time, and no random direction is steeper.
uphill = 0
for seed in range(20):
    world, draws = random_mdp(S=6, A=3, gamma=0.9, seed=seed), torch.Generator().manual_seed(seed)
    start = torch.randn(6, 3, generator=draws, dtype=torch.float64)
    slope = exact_policy_gradient(world, start)
    step, J0 = 1e-3 / slope.norm(), expected_return(world, start)
    rise = expected_return(world, start + step * slope) - J0
    assert rise > 0
    for _ in range(20):
        other = torch.randn(6, 3, generator=draws, dtype=torch.float64)
        gain = expected_return(world, start + 1e-3 * other / other.norm()) - J0
        assert gain < rise
        uphill += (gain > 0).item()
assert 160 < uphill < 240, uphill  # of 400: about half

# %% [markdown]
# ## A policy that is random on purpose, learned
#
# Where the agent sees the state and nobody plays against it, some policy without any randomness is
# among the best (Sutton & Barto, section 3.6). So a *stochastic* optimum needs another setting. Here is one: a corridor
# of three squares that **look alike** to the agent. It starts on the left, the goal lies to the right of
# the third square, and each step costs 1. Action 1 goes right and action 0 goes left, except on the
# middle square, where the two are swapped.
#
# The agent cannot tell the squares apart, so it has *one* pair of preferences for all of them. That fits
# into the theorem by the chain rule: the gradient of a shared parameter is the sum of the rows of
# your table.
#
# **Predict first.** Let $p$ be the probability of action 1. Which $p$ is best: 0, 1, exactly ½, or something
# else?
#
# <details><summary>Answer (run the cell first)</summary>
#
# With $p = 0$ or $p = 1$ the agent never arrives: it is stuck on the left, or walks back and forth. The best
# is $p = 2 - \sqrt 2 \approx 0.59$. Gradient steps arrive there from a policy that mostly goes left
# and from one that mostly goes right.
#
# </details>

# %%
bet("01 mixture", "Squares that look alike: which p = π(action 1) is best?", between=(0, 1))

# %%
mdp = switched_corridor()
probabilities = torch.linspace(0.05, 0.95, 91, dtype=torch.float64)
shared = torch.stack([torch.zeros_like(probabilities), torch.logit(probabilities)], dim=1)
J = [expected_return(mdp, theta.expand(3, 2)).item() for theta in shared]


def climb(p, lr=0.01, steps=150):
    """Gradient steps on one pair of preferences that all three squares share; returns p along the way."""
    theta, path = torch.tensor([0.0, math.log(p / (1 - p))], dtype=torch.float64), []
    for _ in range(steps):
        path.append(softmax(theta)[1].item())
        theta = theta + lr * exact_policy_gradient(mdp, theta.expand(3, 2)).sum(dim=0)
    return path


paths = {p: climb(p) for p in (0.05, 0.5, 0.95)}
fig, (left, right) = plt.subplots(1, 2, figsize=(9, 3.5))
left.plot(probabilities, J, color=plots.BLACK)
left.axvline(2 - 2**0.5, color=plots.RED, lw=1, label="2 − √2")
left.set(
    xlabel="p = π(action 1)", ylabel="J (minus the expected steps)", title="The best policy mixes"
)
left.legend()
for p, path in paths.items():
    right.plot(path, label=f"from p = {p}")
right.axhline(2 - 2**0.5, color=plots.RED, lw=1)
right.set(xlabel="gradient step", ylabel="p", ylim=(0, 1), title="Your gradient finds the mixture")
right.legend()
settle("01 mixture", probabilities[J.index(max(J))], left, along="x")
plt.show()
print(
    "reached:", [round(path[-1], 4) for path in paths.values()], " 2 − √2 =", round(2 - 2**0.5, 4)
)

# %% claim="the_gradient_learns_a_random_policy"
# In the corridor of squares that look alike, three starts reach p = 2 - sqrt 2, which beats every other p.
best = 2 - 2**0.5
for path in paths.values():
    assert abs(path[-1] - best) < 1e-3, path[-1]
at = expected_return(mdp, torch.tensor([0.0, math.log(best / (1 - best))]).double().expand(3, 2))
assert abs(at - -11.657) < 1e-3 and at > max(J)
assert J[0] < -80 and J[-1] < -40  # nearly always left, nearly always right

# %% [markdown]
# And rock–paper–scissors? Let the policy play **against itself**: the other player's policy is a copy of
# yours, your gradient takes it as fixed, and after your step the copy is renewed. The uniform
# policy is what nobody can exploit. Does the gradient lead there?


# %%
def self_play(theta, lr, steps):
    """Exact gradient steps against a copy of oneself; returns how much a best answer wins, each step."""
    exploitable = []
    for _ in range(steps):
        pi = softmax(theta)
        exploitable.append(-(pi @ payoff.double()).min().item())
        rewards = (payoff.double() @ pi).unsqueeze(0)  # what each action wins against the copy
        game = MDP(torch.zeros(1, 3, 1).double(), rewards, torch.ones(1).double(), gamma=1.0)
        theta = theta + lr * exact_policy_gradient(game, theta.unsqueeze(0))[0]
    return exploitable


start = torch.tensor([0.3, 0.0, -0.2], dtype=torch.float64)
for lr in (1.0, 0.3):
    plt.plot(self_play(start, lr, 1000), label=f"step size {lr}")
plt.axhline(0, color="black", lw=1, ls=":", label="uniform policy")
plt.ylim(-0.05, 1.05)
plt.xlabel("gradient step")
plt.ylabel("what a best answer wins (per game)")
plt.title("Self-play spirals outward")
plt.legend(loc="upper left", bbox_to_anchor=(1, 1))
plt.show()

# %% claim="self_play_spirals_away_from_uniform"
# From five starts, 1,000 steps of size 1 or 0.3 end further from uniform than they began; size 1 furthest.
for seed in range(5):
    draws = torch.Generator().manual_seed(seed)
    there = 0.3 * torch.randn(3, generator=draws, dtype=torch.float64)
    ends = []
    for lr in (0.3, 1.0):
        loss = torch.tensor(self_play(there, lr, 1000))
        ends.append(loss[-100:].mean())
        assert loss[-100:].mean() > 1.5 * loss[:100].mean(), (
            seed,
            lr,
            loss[:100].mean(),
            loss[-100:].mean(),
        )
    assert ends[1] > ends[0], (seed, ends)

# %% [markdown]
# The same in the triangle, 300 steps of size 0.3 and of size 1:

# %%
simplex.panels(
    {
        f"steps of size {stride}": {
            "path": simplex.follow(start, simplex.rock_paper_scissors, stride, 300)
        }
        for stride in (0.3, 1.0)
    },
    theta=start,
    values=simplex.rock_paper_scissors,
    names=("rock", "paper", "scissors"),
)
plt.show()

# %% [markdown]
# It circles around the uniform policy and drifts away from it, further with the larger steps. Every step is a
# correct gradient step, but of a function that changes with the opponent. The theorem is about *one*
# objective $J(\theta)$; here what one player wins the other loses, so there is no objective that both climb.

# %% [markdown]
# ## Is it a random search?
#
# *"It tries things and keeps what worked"* is the first misunderstanding of policy gradients. There is
# something to it: an agent does try things at random. What does it have that a random search has not?
#
# Take the corridor with 64 steps: 128 parameters, 1 reward for each step on which the agent takes action 1.
# The theorem gives the exact gradient, so any estimate can be measured against it, by the cosine
# of the angle between the two: 1 is the same direction, 0 is perpendicular.
#
# **Predict first.** You play *one* episode and compute the policy-gradient estimate. I draw a direction at random
# and play nothing. How large are the two cosines, roughly? And when each of us averages 4,096 of them?
#
# <details><summary>Answer (run the cell first)</summary>
#
# One at a time they are about equally useless: among 128 dimensions both are almost perpendicular to the gradient,
# with a cosine whose size is about $1/\sqrt{128} \approx 0.09$. Averaging is what tells them apart. Random
# directions average to nothing. Your estimates have a mean, and it is the gradient.
#
# </details>
#
# Five averages are in the picture, over $N$ directions each. The three policy gradients call your
# `score_function_gradient` once for each step of the corridor, and differ in the weight of the score:
#
# | curve | what is random | weighted by |
# |---|---|---|
# | random directions | a direction | nothing |
# | weighted nudges | a nudge of all parameters, $\theta' = \theta + 2 \varepsilon$ with $\varepsilon$ standard normal | the return of one episode played with $\theta'$ |
# | policy gradient, whole return | the actions | the return of the episode |
# | … what came after | the actions | the rewards from that step on |
# | … minus the others' mean | the actions | the same, minus its mean over the other $N - 1$ episodes |


# %%
def play(theta, n, generator):
    """n episodes in a corridor; action 1 pays 1. theta [T, 2] or [n, T, 2]; returns act, rew, [n, T] each."""
    pi = softmax(theta)[..., 1]
    act = (torch.rand(n, pi.shape[-1], generator=generator) < pi).long()
    return act, act.float()


def minus_the_others(x):
    """Each row minus the mean of the other rows."""
    return x - (x.sum(dim=0) - x) / max(len(x) - 1, 1)


def policy_gradient(theta, n, generator, credit="after", subtract=False):
    """The estimate from n episodes; credit: "whole" return of the episode, or what came "after" each step."""
    act, rew = play(theta, n, generator)
    weight = rew.flip(1).cumsum(1).flip(1)
    if credit == "whole":
        weight = weight[:, :1].expand_as(rew)
    if subtract and n > 1:
        weight = minus_the_others(weight)
    steps = range(len(theta))
    return torch.stack([score_function_gradient(theta[t], act[:, t], weight[:, t]) for t in steps])


def weighted_nudges(theta, n, generator, sigma=2.0, subtract=False):
    """The estimate from n episodes, each played with other parameters: theta + sigma noise."""
    nudge = sigma * torch.randn(n, *theta.shape, generator=generator)
    ret = play(theta + nudge, n, generator)[1].sum(dim=1)
    if subtract and n > 1:
        ret = minus_the_others(ret)
    return (ret[:, None, None] * nudge / sigma**2).mean(dim=0)


def random_directions(theta, n, generator):
    return torch.randn(n, *theta.shape, generator=generator).mean(dim=0)


def cosine(estimate, exact):
    return torch.nn.functional.cosine_similarity(estimate.flatten(), exact.flatten(), dim=0).item()


theta = torch.zeros(64, 2)
exact = exact_policy_gradient(corridor(64), theta.double()).float()
ways = {
    "random directions": random_directions,
    "weighted nudges": weighted_nudges,
    "policy gradient, whole return": lambda *x: policy_gradient(*x, credit="whole"),
    "… what came after": policy_gradient,
    "… minus the others' mean": lambda *x: policy_gradient(*x, subtract=True),
}
sizes = [4**k for k in range(fast(7, 5))]
for (name, estimate), marker in zip(ways.items(), "xso^v", strict=True):
    cosines = torch.tensor(
        [
            [cosine(estimate(theta, n, torch.Generator().manual_seed(seed)), exact) for n in sizes]
            for seed in range(fast(10, 3))
        ]
    )
    plt.plot(sizes, cosines.mean(dim=0), marker + "-", label=name)
    plt.fill_between(sizes, *cosines.aminmax(dim=0), alpha=0.15)
plt.xscale("log", base=4)
plt.xlabel("episodes averaged, N")
plt.ylabel("cosine with the exact gradient")
plt.title(f"128 parameters: mean and range over {len(cosines)} repetitions")
plt.legend(fontsize=9)
plt.show()

# %% claim="one_episode_points_nowhere"
# A single-episode estimate is hardly better aligned than a random direction; both fall like 1/sqrt(P).
for T in (4, 16, 64):
    truth = exact_policy_gradient(corridor(T), torch.zeros(T, 2).double()).float()
    size = {}
    for way in (random_directions, policy_gradient):
        draws = torch.Generator().manual_seed(T)
        aligned = [abs(cosine(way(torch.zeros(T, 2), 1, draws), truth)) for _ in range(150)]
        size[way] = sum(aligned) / 150 * (2 * T) ** 0.5
    assert 0.6 < size[random_directions] < 1.0, size
    assert 0.6 < size[policy_gradient] < 1.4, size

# %% claim="only_directions_that_are_weighted_average_to_the_gradient"
# Over 4,096 episodes and five seeds: random directions stay perpendicular, all weighted ones align, in this order.
found = {}
for name, way in ways.items():
    draws = [torch.Generator().manual_seed(seed) for seed in range(5)]
    found[name] = torch.tensor([cosine(way(theta, 4096, d), exact) for d in draws])
mean = {name: x.mean().item() for name, x in found.items()}
assert found["random directions"].abs().max() < 0.3, found
assert found["weighted nudges"].min() > 0.3, found
assert found["… minus the others' mean"].min() > 0.99, found
assert sorted(mean, key=mean.get) == list(ways), mean

# %% [markdown]
# - A single episode tells almost nothing about the direction. What the random directions lack is a **mean**: all the
#   others estimate a definite vector, and come closer to it as episodes are added.
# - **Random nudges do, too, once each is weighted by what it earned.** That is an *evolution strategy*.
#   It is REINFORCE one level up: a Gaussian "policy" draws the parameters $\theta' \sim \mathcal{N}(\theta,
#   \sigma^2 I)$ instead of the action, its score is $(\theta' - \theta)/\sigma^2$, and the log-derivative
#   trick gives $\nabla\, \mathbb{E}[J(\theta')] = \mathbb{E}[\, G\, (\theta' - \theta)/\sigma^2\,]$: the gradient of $J$,
#   smoothed over a width of $\sigma$. Networks have been trained in this way (Salimans et al. 2017), and language models
#   of billions of parameters fine-tuned by a relative of it (Malladi et al. 2023).
# - What the policy gradient adds is **credit**. A nudge moves all parameters at once and gets one number for it.
#   The policy gradient knows which action was taken, in which state, and what came after it. In the picture, crediting
#   each action with what came after it, in place of the whole return, needs fewer episodes for the same angle.

# %% claim="weighted_nudges_are_the_gradient_of_a_smoothed_J"
# One step of the corridor, by numerical integration: E[G nudge / sigma^2] is the derivative of E[J(theta + nudge)].
x = torch.linspace(-9, 9, 4001, dtype=torch.float64)
density = torch.exp(-(x**2) / 2)
density = density / density.sum()
for sigma in (0.01, 0.5, 2.0):

    def smoothed(gap, sigma=sigma):
        return (density * torch.sigmoid(gap + sigma * x)).sum()

    by_nudges = (density * torch.sigmoid(0.7 + sigma * x) * x).sum() / sigma
    slope = (smoothed(0.7 + 1e-5) - smoothed(0.7 - 1e-5)) / 2e-5
    assert abs(by_nudges - slope) < 1e-8, (sigma, by_nudges, slope)
    exact_slope = torch.sigmoid(x[:1] * 0 + 0.7) * (1 - torch.sigmoid(x[:1] * 0 + 0.7))
    assert (abs(by_nudges - exact_slope).item() < 1e-4) == (sigma == 0.01)

# %% [markdown]
# Now let them learn, on equal terms: 3,000 episodes in the same corridor, five seeds, and for each method the settings
# (step size, size of the nudges) whose learning curve was highest on average in a search. The evolution strategy and the policy
# gradient make one step from each batch of 50 episodes, once without and once with the others' mean subtracted; nothing else
# differs within such a pair. And there is a real random search: *hill climbing* nudges all parameters, plays 5 episodes, and
# keeps the nudge if their mean return beats the best so far.
#
# **Bet first.** Which of the five do you expect to be ahead after 3,000 episodes? And where will the policy gradient that credits what came
# after be, between 0.5 (at random) and 1 (best)?
#
# *About 5 seconds.*

# %%
bet("01 plain", "Policy gradient, what came after: reward per step at the end?", between=(0.5, 1))


# %%
def learn(estimate, lr, seed, T=64, episodes=3000, batch=50):
    """J per step of the corridor, before each step of the learning: 0.5 at random, 1 at best."""
    generator, theta, history = torch.Generator().manual_seed(seed), torch.zeros(T, 2), []
    for _ in range(episodes // batch):
        history.append(softmax(theta)[:, 1].mean())
        theta = theta + lr * estimate(theta, batch, generator)
    return torch.stack([*history, softmax(theta)[:, 1].mean()])


def hill_climbing(nudge, seed, T=64, episodes=3000, batch=5):
    generator, theta, history = torch.Generator().manual_seed(seed), torch.zeros(T, 2), []
    best = 0.0
    for _ in range(episodes // batch):
        history.append(softmax(theta)[:, 1].mean())
        candidate = theta + nudge * torch.randn(T, 2, generator=generator)
        ret = play(candidate, batch, generator)[1].sum(dim=1).mean()
        if ret > best:
            theta, best = candidate, ret
    return torch.stack([*history, softmax(theta)[:, 1].mean()])


def subtracting(estimate, **settings):
    return lambda *x: estimate(*x, subtract=True, **settings)


learners = {  # each with the best of its settings; see the text
    "hill climbing": lambda seed: hill_climbing(4.0, seed),
    "evolution strategy": lambda seed: learn(lambda *x: weighted_nudges(*x, sigma=4.0), 0.3, seed),
    "… minus the others' mean": lambda seed: learn(
        subtracting(weighted_nudges, sigma=4.0), 10.0, seed
    ),
    "policy gradient, what came after": lambda seed: learn(policy_gradient, 0.3, seed),
    "policy gradient, minus the others' mean": lambda seed: learn(
        subtracting(policy_gradient), 10.0, seed
    ),
}
plt.figure(figsize=(10, 3.5))
for (name, learner), dashes in zip(learners.items(), (":", "--", "--", "-", "-"), strict=True):
    curves = torch.stack([learner(seed) for seed in range(fast(5, 2))])
    x = torch.linspace(0, 3000, curves.shape[1])
    plt.plot(x, curves.mean(dim=0), dashes, label=name)
    if name == "policy gradient, what came after":
        settle("01 plain", curves[:, -1].mean(), plt.gca())
    plt.fill_between(x, *curves.aminmax(dim=0), alpha=0.15)
plt.ylim(0.45, 1.02)
plt.xlabel("episodes")
plt.ylabel("J / T (reward per step)")
plt.title(f"A corridor of 64 steps: mean and range over {len(curves)} seeds")
plt.legend(fontsize=9, loc="upper left", bbox_to_anchor=(1, 1))
plt.show()

# %% [markdown]
# <details><summary>What to read off</summary>
#
# Without a mean subtracted, the policy gradient ends ahead of the evolution strategy and *behind* hill
# climbing. With the mean of the others subtracted, both come close to the best policy within a few hundred episodes. So the
# large difference in this experiment is not between random actions and random parameters. It is between
# estimates with much noise and with little.
#
# </details>
#
# Keep both halves of this. The gradient is a definite vector, and credit is what a policy gradient knows beyond a nudge. But a
# correct mean is not yet a small error. Lesson 2 measures that error, and lesson 3 makes it smaller.

# %% claim="what_decides_is_the_variance" slow=true
# With the best settings of each, on ten other seeds: raw, hill climbing > policy gradient > evolution; minus the others' mean, both near 1.
from itertools import product

unseen = range(100, 110)
grids = {
    "hill climbing": [
        lambda seed, b=b, n=n: hill_climbing(n, seed, batch=b)
        for b, n in product((5, 10, 50), (1.0, 2.0, 4.0))
    ],
    "evolution strategy": [
        lambda seed, s=s, lr=lr: learn(lambda *x: weighted_nudges(*x, sigma=s), lr, seed)
        for s, lr in product((1.0, 2.0, 4.0), (0.03, 0.1, 0.3, 1.0))
    ],
    "… minus the others' mean": [
        lambda seed, s=s, lr=lr: learn(subtracting(weighted_nudges, sigma=s), lr, seed)
        for s, lr in product((1.0, 2.0, 4.0), (1.0, 3.0, 10.0, 30.0))
    ],
    "policy gradient, what came after": [
        lambda seed, lr=lr: learn(policy_gradient, lr, seed) for lr in (0.03, 0.1, 0.3, 1.0)
    ],
    "policy gradient, minus the others' mean": [
        lambda seed, lr=lr: learn(subtracting(policy_gradient), lr, seed)
        for lr in (1.0, 3.0, 10.0, 30.0)
    ],
}


def mean_of_curve(learner):
    return torch.stack([learner(seed).mean() for seed in unseen]).mean().item()


best = {name: max(map(mean_of_curve, grid)) for name, grid in grids.items()}
used = {name: mean_of_curve(learner) for name, learner in learners.items()}
assert all(used[name] > best[name] - 0.02 for name in used), (best, used)
end = {
    name: torch.stack([learner(seed)[-1] for seed in unseen]) for name, learner in learners.items()
}
hill, es, es_less, pg, pg_less = (x.mean() for x in end.values())
assert es + 0.03 < pg and pg + 0.03 < hill and hill < 0.9, end
assert min(es_less, pg_less) > 0.99, end
soon = [
    learners[name](seed)[12] for name in list(learners)[2::2] for seed in unseen
]  # 600 episodes
assert min(soon) > 0.95, soon
figures = {
    name: {"mean of the curve": round(used[name], 3), "best in the search": round(best[name], 3)}
    | {"end, mean": round(x.mean().item(), 3), "lowest": round(x.min().item(), 3)}
    | {"highest": round(x.max().item(), 3)}
    for name, x in end.items()
}

# %% [markdown]
# ### Exercise: `quiz_gradient` (6 minutes, ●●)
#
# What is definite about the gradient, what is random about its estimates, and what does the policy gradient know that
# a random search does not? Answer from the pictures above.
#
# <details><summary>Hint</summary>
#
# Keep three things apart: the exact gradient (the theorem), one estimate of it (an episode), and the mean of many
# estimates.
#
# </details>

# %% exercise="pgcourse.exercises.policy_gradient_theorem.quiz_gradient.quiz_gradient"

# %% [markdown]
# ## Ask yourself
#
# <details><summary>Why is there a logarithm in the score? Would ∇π(a) not do?</summary>
#
# Actions are sampled, so a probable action appears often. Dividing by $\pi(a)$, which is what the
# logarithm's derivative does, makes up for it. Without it every action's probability would count twice,
# and a rare action for less than it should.
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
# Average-reward problems (there the visits are the stationary distribution), deterministic policies for
# continuous actions (they have no score: their gradient passes through the action into $Q$, which lesson 6
# does with a random policy), natural gradients, and the fact that deep-learning code usually drops
# $\gamma^t$ from the visits (lesson 2 shows what is followed then).
#
# ## Papers
#
# - Williams (1992), [*Simple statistical gradient-following algorithms for connectionist reinforcement
#   learning*](https://doi.org/10.1007/BF00992696): REINFORCE.
# - Sutton, McAllester, Singh & Mansour (2000), *Policy gradient methods for reinforcement learning with
#   function approximation*, Advances in Neural Information Processing Systems 12: the theorem.
# - Salimans, Ho, Chen, Sidor & Sutskever (2017), [*Evolution strategies as a scalable alternative to
#   reinforcement learning*](https://arxiv.org/abs/1703.03864).
# - Malladi et al. (2023), [*Fine-tuning language models with just forward
#   passes*](https://arxiv.org/abs/2305.17333): a language model trained by weighted nudges.
# - Sutton & Barto (2018), [*Reinforcement Learning: An
#   Introduction*](http://incompleteideas.net/book/the-book-2nd.html), chapter 13; example 13.1 is the
#   corridor whose best policy is random.
#
# **Next:** [lesson 2](02_reinforce.ipynb) replaces the exact gradient by samples, and measures what that costs.
