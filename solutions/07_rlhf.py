# ---
# jupyter:
#   jupytext:
#     text_representation:
#       extension: .py
#       format_name: percent
# ---

# %% [markdown]
# # 7 · RLHF: the same PPO, on a language model
#
# *Reinforcement learning from human feedback* made chatbots out of text predictors. It sounds like a
# new algorithm, and many people believe it is one. In this lesson you take the PPO update of lesson 5,
# change not one line of it, and train a language model with it. What is new stands around it: the policy
# writes words, and the reward is a model that learned from people's votes.
#
# **You will be able to**
#
# - say which piece of RLHF is the policy, the state, the action, the reward and the algorithm,
# - score text under a language model, with the shift that everybody gets wrong once,
# - train a reward model on people's votes, and say how good it could be at best,
# - build the reward of each token, with a price for leaving the reference model,
# - run PPO on a language model, and see it cheat when the price is zero,
# - measure how far RLHF, RLOO, GRPO and DPO land from the optimum, exactly.
#
# **You need** lessons 3 to 5. About 120 minutes. All cells together run for about three minutes on two cores; the time
# stands before each long one.
#
# | Exercise | Minutes | Difficulty |
# |---|---|---|
# | `quiz_mapping` | 4 | ● |
# | `token_logp` | 10 | ●● |
# | `bradley_terry_loss` | 6 | ● |
# | `sequence_score` | 8 | ●● |
# | `kl_shaped_rewards` | 12 | ●● |
# | `rlhf_advantages` | 10 | ●● |
# | `rlhf_step` | 15 | ●●● |
# | `rloo_advantages` (optional) | 4 | ● |
# | `grpo_advantages` (optional) | 4 | ● |
# | `dpo_loss` (optional) | 8 | ●● |

# %% tags=["setup"]
import json
from importlib.resources import files

import matplotlib.pyplot as plt
import torch
import torch.nn.functional as F

from pgcourse import fast, plots, rlhf, text_plots, tiny_language
from pgcourse.checks import check
from pgcourse.checks.own import own
from pgcourse.estimators import gae, leave_one_out_baseline
from pgcourse.language import END_ID, MAX_ANSWER, PAD_ID, VOCABULARY, decode, encode, sample_prompts
from pgcourse.losses import ppo_clip_loss
from pgcourse.optim import Adam
from pgcourse.ppo import ppo_update
from pgcourse.pretraining import load_language_model, train_language_model
from pgcourse.reward_model import (
    best_of_n,
    calibration,
    ceiling,
    collect_votes,
    scalar_model_from,
    train_reward_model,
)
from pgcourse.rlhf import as_rollout
from pgcourse.tensors import same_shape
from pgcourse.transformer import generate
from pgcourse.votes import GOLD_RATERS, prefers_first, ratings

plots.style()
torch.set_num_threads(1)

# %% [markdown]
# ## The same table, filled in again
#
# A language model reads a text and gives each word of its vocabulary a probability of coming next. Sample one, append it,
# ask again: it writes. So it *is* a policy with parameters: it looks at a state (the text so far) and draws an action
# (the next token). Put it beside CartPole:
#
# | | CartPole, lesson 5 | language, this lesson |
# |---|---|---|
# | environment | a pole on a cart | one conversation |
# | state | 4 numbers | the prompt and the answer so far |
# | action | left or right | the next token, one of 252 words |
# | an episode ends | when the pole falls | with the token `<end>` |
# | reward | 1 at each step | at the end, from a model that learned from people's votes |
# | a rollout's column | an environment | a conversation |
# | algorithm | `ppo_update` | `ppo_update` |
#
# The last row is what this lesson is about. Here are the two rollouts with their real shapes, time first, as you know it:

# %%
from pgcourse import ppo
from pgcourse.rollout import Collector

language_model = load_language_model().requires_grad_(False)

data = Collector("CartPole-v1", 32, seed=0).collect(
    ppo.ActorCritic(
        *[
            make(Collector("CartPole-v1", 1, 0).env, (64, 64))
            for make in (ppo.make_actor, ppo.make_critic)
        ]
    ),
    32,
)
prompts = sample_prompts(128, torch.Generator().manual_seed(0))
tokens, mask = generate(
    language_model, prompts, MAX_ANSWER, END_ID, torch.Generator().manual_seed(0)
)
conversation = as_rollout(tokens, mask=mask)
text_plots.table(
    ("", "CartPole", "language"),
    [
        (
            "obs",
            f"float {list(data['obs'].shape)}: 32 steps, 32 carts, 4 numbers",
            f"int {list(conversation['obs'].shape)}: steps, conversations (the last token read)",
        ),
        (
            "act",
            f"int {list(data['act'].shape)}: 0 or 1",
            f"int {list(conversation['act'].shape)}: 0 … {len(VOCABULARY) - 1}",
        ),
        (
            "mask",
            f"bool {list(data['mask'].shape)}: {data['mask'].float().mean():.0%} are steps",
            f"bool {list(conversation['mask'].shape)}: {conversation['mask'].float().mean():.0%} are answer; prompt and padding are not",
        ),
    ],
)

# %% [markdown]
# ### Exercise: `quiz_mapping` (4 minutes, ●)
#
# Which piece plays which part? Answer with the letters of the docstring.
#
# <details><summary>Hint 1</summary>
#
# The policy is what acts and what is trained to act better. What is frozen cannot be it.
#
# </details>
# <details><summary>Hint 2</summary>
#
# People voted on pairs of answers, once, before the reinforcement began. Nobody sits there while it learns.
#
# </details>

# %% exercise="pgcourse.checks.rlhf.quiz_mapping"

# %% [markdown]
# ## A language model
#
# Real chatbots have billions of parameters. Ours has 134,000, a vocabulary of 252 words, and talks about eight things: a
# restaurant, a hotel, a film, a book, a concert, a museum, a phone, a park. It is a real transformer all the same
# (`pgcourse/transformer.py`, 150 lines: read it), and everything below works as it does for the large ones.
#
# It learns to write by **predicting the next token** of conversations that a grammar wrote. Let us train one for a short
# while and look at what it says as it grows. *About 15 seconds.*

# %%
growth, prompt = [], encode(["<user> how was the museum ? <bot>"])


def look(step, model, loss):
    if step in (0, 9, 49, 149, fast(399, 150)):
        text, answer = generate(model, prompt, MAX_ANSWER, END_ID, torch.Generator().manual_seed(1))
        growth.append((step + 1, f"{loss:.2f}", decode(text, answer)[0]))


_, losses = train_language_model(count=fast(6_400, 2_400), callback=look)
plt.plot(losses, lw=1)
plt.axhline(
    torch.tensor(float(len(VOCABULARY))).log(),
    color="black",
    ls=":",
    label="all words equally likely",
)
plt.xlabel("optimizer step (16 conversations each)")
plt.ylabel("loss (nats per token)")
plt.title("Learning to write: predict the next token")
plt.legend()
plt.show()
text_plots.table(("step", "loss", "how was the museum ?"), growth)

# %% [markdown]
# First noise, then words, then sentences. From here on we use a model that the project trained in the same way for longer
# (120,000 conversations instead of 6,400; `python -m pgcourse.rlhf_checkpoints` makes it again). Some of its answers:

# %%
held = generate(
    language_model,
    sample_prompts(6, torch.Generator().manual_seed(3)),
    MAX_ANSWER,
    END_ID,
    torch.Generator().manual_seed(3),
)
text_plots.table(
    ("prompt", "answer"), list(zip(decode(held[0], ~held[1]), decode(*held), strict=True))
)

# %% [markdown]
# It praises and complains in equal parts, as its corpus did. Our goal: an assistant that people *like* to read.
#
# ## Which logits predict which token?
#
# A causal transformer reads tokens $x_0, x_1, \dots$ and puts out logits at every position. The logits at position $t$ were
# computed after reading $x_t$, so they are about $x_{t+1}$:
#
# $$\log \pi(x_t \mid x_0 \dots x_{t-1}) = \log \mathrm{softmax}(\text{logits}_{t-1})[x_t]$$
#
# Logits at $t-1$, token at $t$: that shift by one is the most common bug of all RLHF code. Without it a model is scored on
# the token it has just read, everything runs, and nothing is learned.
#
# ### Exercise: `token_logp` (10 minutes, ●●)
#
# <details><summary>Hint 1</summary>
#
# Drop the last column of the logits and the first column of the tokens: now they line up.
#
# </details>
# <details><summary>Hint 2</summary>
#
# `gather(-1, index)` picks one entry along the last axis; `index` needs as many axes as what it picks from.
#
# </details>
# <details><summary>Hint 3</summary>
#
# `F.pad(x, (1, 0))` puts one zero in front of the last axis, so that the result lines up with `tokens` again.
#
# </details>

# %% exercise="pgcourse.distributions.token_logp"

# %% [markdown]
# The log-probability of each word of an answer, by your function. What surprises the model is strongly colored:

# %%
surprise = encode(
    ["<user> how was the museum ? <bot> the guide was charming and the guide was delicious . <end>"]
)
with torch.no_grad():
    logp = token_logp(language_model(surprise), surprise)
words = decode(surprise)[0].split()
text_plots.colored_text([("log-probability", words[7:], logp[0, 7:].tolist())])

# %% [markdown]
# Nothing "delicious" is ever said of a guide, and the model knows. That its corpus never mentions anything twice, so small a model has hardly noticed.
# And the pitfall, made to happen: leave out the shift, and compare the log-probabilities of tokens that the model itself has just sampled.

# %%
with torch.no_grad():
    logits = language_model(tokens)
shifted = token_logp(logits, tokens)[mask]
unshifted = F.log_softmax(logits, -1).gather(-1, tokens[..., None])[..., 0][mask]
fig, axes = plt.subplots(1, 2, figsize=(9, 3), sharey=True)
for ax, x, name in zip(
    axes, (shifted, unshifted), ("with the shift", "without: nonsense"), strict=True
):
    ax.hist(x.numpy(), bins=40, color=plots.BLUE if ax is axes[0] else plots.RED)
    ax.set(
        title=f"{name} (mean {x.mean():.1f})",
        xlabel="log-probability of the tokens it sampled (nats)",
        ylabel="tokens",
    )
plt.show()

# %% [markdown]
# ## What people prefer
#
# Votes are the raw material of RLHF: two answers to one prompt, and a person says which is better. Ours come from **real
# human ratings**: the VADER lexicon (Hutto & Gilbert 2014; package `vaderSentiment`, MIT license), in which ten people
# each rated thousands of words from −4 to +4. A vote between two answers draws one of the ratings for each opinion word, adds
# VADER's rules for "very" and "not", and prefers the higher sum.
#
# To be plain about it: people rated *words*, not our sentences, and the ten columns are not the same ten people from word to word. What is
# real is how much people differ. And note what nobody was ever asked: whether the text is *readable*. Remember that.
#
# The ten ratings are split. Ratings 0–4 make the votes that the reward model sees. Ratings 5–9 are the **gold**: never
# trained on, only looked at.

# %%
fig, axes = plt.subplots(1, 5, figsize=(11, 2.4), sharey=True)
for ax, word in zip(axes, ("superb", "safe", "empty", "disaster", "awful"), strict=True):
    row = torch.tensor(ratings()[word]).float()
    ax.hist(row.numpy(), bins=torch.arange(-4.5, 5).numpy(), color=plots.BLUE)
    ax.set(
        title=f"“{word}” (sd {row.std(correction=0):.1f})",
        xlabel="rating",
        xticks=[-4, -2, 0, 2, 4],
    )
axes[0].set_ylabel("people, of 10")
plt.show()

# %% [markdown]
# Nine people found *awful* bad and one found it excellent: real data. You be the annotator: move the slider, read the
# two answers, decide, then look at how ten simulated voters decided.

# %%
pairs = collect_votes(language_model, fast(4_000, 600), seed=1)
examples = pairs.texts()[:20]


def annotate(pair, examples):
    first, second = examples[pair]
    generator = torch.Generator().manual_seed(pair)
    for_first = prefers_first(first, second, generator, count=10).sum().item()
    print(f"A: {first}\nB: {second}\n\nten votes: {for_first} for A, {10 - for_first} for B")


try:
    from ipywidgets import IntSlider, fixed, interact

    interact(annotate, pair=IntSlider(0, 0, len(examples) - 1), examples=fixed(examples))
except ImportError:
    annotate(0, examples)

# %% [markdown]
# Votes are noisy, so no reward model can predict every one of them. How good could the best possible judge be?

# %%
held_out = collect_votes(language_model, fast(1_000, 200), seed=2)
best_judge, agreement = ceiling(held_out)
print(
    f"two people agree on {agreement:.0%} of the pairs; the best possible judge is right on {best_judge:.0%}"
)

# %% [markdown]
# ## A reward model from votes
#
# A **reward model** gives each answer $y$ a number $r(y)$. Bradley and Terry (1952) turn two numbers into a
# probability that the first is preferred, and the votes' likelihood into a loss:
#
# $$P(y_1 \succ y_2) = \sigma\big(r(y_1) - r(y_2)\big), \qquad
#   L = -\frac{1}{B} \sum_b \log \sigma\big(r_{\text{chosen}} - r_{\text{rejected}}\big)$$
#
# with $\sigma(x) = 1 / (1 + e^{-x})$. By hand: for $r_{\text{chosen}} = 1$, $r_{\text{rejected}} = 0$ the model says
# $\sigma(1) = 0.73$, and the loss is $-\log 0.73 = 0.31$. Only differences count: adding 5 to all scores changes nothing.
#
# ### Exercise: `bradley_terry_loss` (6 minutes, ●)
#
# <details><summary>Hint 1</summary>
#
# For a pair that the model gets very wrong, $\sigma$ is 0 in 32 bits and its logarithm is $-\infty$.
#
# </details>
# <details><summary>Hint 2</summary>
#
# `F.logsigmoid` takes the logarithm without going through the 0.
#
# </details>

# %% exercise="pgcourse.losses.bradley_terry_loss"

# %% [markdown]
# ## One score for an answer
#
# The reward model is the language model's body with another head: one number at every position. Which one is the answer's
# score? The model is causal, so only the **last token of the answer** has read all of it. Answers in a batch have
# different lengths, so that is a different column in each row, and the last column is padding for most of them.
#
# ### Exercise: `sequence_score` (8 minutes, ●●)
#
# <details><summary>Hint 1</summary>
#
# You need, for each row, the largest position at which the mask is true. Before the answer stands the prompt, where the mask is
# false: counting the true ones does not give a position.
#
# </details>
# <details><summary>Hint 2</summary>
#
# `torch.arange(T) * mask` is the position where the mask is true and 0 elsewhere; its `argmax(dim=1)` is the last.
#
# </details>
# <details><summary>Hint 3</summary>
#
# `values.gather(1, last.unsqueeze(1)).squeeze(1)` picks one value from each row.
#
# </details>

# %% exercise="pgcourse.reward_model.sequence_score"

# %% [markdown]
# Your loss and your score train a reward model on 4,000 votes, starting from the language model's body. *About 25 seconds.*

# %%
torch.manual_seed(0)
reward_model, history = train_reward_model(
    scalar_model_from(language_model),
    pairs,
    held_out,
    epochs=fast(2, 1),
    loss=bradley_terry_loss,
    score=sequence_score,
)

# %%
fig, (left, right) = plt.subplots(1, 2, figsize=(10, 3.4))
left.plot(history["pairs"], history["accuracy"], "o-", ms=4, label="your reward model")
left.axhline(best_judge, color="black", ls=":", label="best possible judge")
left.axhline(agreement, color=plots.RED, ls="--", label="one person predicts another")
left.axhline(0.5, color="gray", lw=1)
left.set(
    xlabel="pairs seen",
    ylabel="votes predicted (share, held out)",
    title="Accuracy has a ceiling: people disagree",
)
left.legend(loc="lower right")
predicted, observed, count = calibration(reward_model.net, held_out)
right.plot([0, 1], [0, 1], color="black", ls=":", label="perfectly calibrated")
right.scatter(
    predicted,
    observed,
    s=[20 + 180 * n / max(count) for n in count],
    color=plots.BLUE,
    label="your reward model (area: pairs)",
)
right.set(
    xlabel="predicted P(first is preferred)",
    ylabel="share of votes for the first",
    title="Calibration",
)
right.legend(loc="upper left")
plt.show()
print(f"held-out accuracy {history['accuracy'][-1]:.1%}; ceiling {best_judge:.1%}")

# %% [markdown]
# What did it learn? Leave out one word of an answer at a time, and color each word by what the score loses without it:


# %%
def worth_of_words(answer, reward_model):
    """(label, words, how much the score falls when the word is left out)."""
    words = answer.split()
    versions = [" ".join(words[:i] + words[i + 1 :]) for i in range(len(words))]
    texts = encode([f"<user> how was the film ? <bot> {v} <end>" for v in (answer, *versions)])
    length = torch.tensor([len(words), *[len(words) - 1] * len(words)]) + 1
    answers = torch.arange(texts.shape[1]) >= texts.shape[1] - length[:, None]
    with torch.no_grad():
        scores = reward_model(texts, answers)
    return f"score {scores[0]:+.1f}", words, (scores[0] - scores[1:]).tolist()


text_plots.colored_text(
    [
        worth_of_words("luckily , the plot was brilliant .", reward_model),
        worth_of_words("sadly , the plot was dull .", reward_model),
        worth_of_words("brilliant brilliant superb brilliant superb superb .", reward_model),
    ]
)

# %%
claims = [
    "the plot was brilliant .",
    "the plot was not brilliant .",
    "the plot was not dull .",
    "the plot was dull .",
]
text_plots.table(
    ("answer", "score (standard deviations)"),
    [(c, worth_of_words(c, reward_model)[0]) for c in claims],
)

# %% [markdown]
# It learned which words people like, and what "not" does to them. And look at the third line of the colored words: word salad scores well, for nobody ever
# voted on word salad. A reward model is only right *near what it has seen*. That is the flaw that a strong optimizer will find.
#
# ## The reward, token by token
#
# So the answer to "maximize the score" would be salad. RLHF's remedy: charge a price for leaving the **reference**, a
# frozen copy of the language model from before. The price is the KL divergence between policy and reference, paid token by token:
#
# $$r_t = \underbrace{-\beta\,\big(\log \pi(x_t) - \log \pi_{\text{ref}}(x_t)\big)}_{\text{price of this token}}
#   \;+\; \underbrace{\mathbb{1}[t \text{ is the last token of the answer}]\; r(y)}_{\text{the score, paid once}}$$
#
# The difference of the logs can be negative at a token. Its *average* over what the policy samples is the KL, never
# negative. Taking its absolute value would be another objective.
#
# By hand, two response tokens, $\beta = 0.5$, score 1: log-probabilities $(-2, -1)$ under the policy and $(-1, -3)$ under the
# reference give $r = (-0.5 \cdot (-1),\ -0.5 \cdot 2 + 1) = (0.5,\ 0)$.
#
# The score comes out of a neural network, and so do the log-probabilities. In the reward they are **constants**: what was
# paid was paid.
#
# ### Exercise: `kl_shaped_rewards` (12 minutes, ●●)
#
# <details><summary>Hint 1</summary>
#
# Start with the price: `torch.where(mask, ..., 0.0)`. Do not multiply by the mask: in the padding the log-probabilities may be
# $-\infty$, and $0 \cdot \infty$ is `nan`.
#
# </details>
# <details><summary>Hint 2</summary>
#
# The position of the last response token is the one you found in `sequence_score`.
#
# </details>
# <details><summary>Hint 3</summary>
#
# `rew[torch.arange(B), last] += score` adds one number in each row. Detach both parts.
#
# </details>

# %% exercise="pgcourse.estimators.kl_shaped_rewards"

# %% [markdown]
# ## Lesson 4's recursion on tokens
#
# The critic says after each token what the finished answer will be worth. Advantages are lesson 4's GAE, where the end token
# is a true end of the episode, so nothing is bootstrapped from what comes after:
#
# $$\delta_t = r_t + \gamma V_{t+1} - V_t, \qquad A_t = \delta_t + \gamma \lambda A_{t+1}, \qquad V = A = 0 \text{ after the last response token}$$
#
# The only difference is the shape: language is `[B, T]`, with a prompt before and padding after. The critic computes numbers
# there too. They are noise, and must not enter.
#
# ### Exercise: `rlhf_advantages` (10 minutes, ●●)
#
# Lesson 4's `gae` is imported; use it, or write the loop again.
#
# <details><summary>Hint 1</summary>
#
# First clear the places outside the mask in `rew` and `val`. Then a loop backwards over columns will do.
#
# </details>
# <details><summary>Hint 2</summary>
#
# `gae` is time-major and wants `next_val`, `terminated` and `ended`. `next_val` is `val` moved one column to the left, 0 at the end; both flags are true at
# the last response token (and wherever the mask is false).
#
# </details>
# <details><summary>Hint 3</summary>
#
# `x.T` turns `[B, T]` into `[T, B]` and back.
#
# </details>

# %% exercise="pgcourse.estimators.rlhf_advantages"

# %% [markdown]
# Here is one answer, unrolled as an episode, with your functions. The policy has taken a few steps away from the reference, so
# that there is a KL to pay.

# %%
warm, _ = rlhf.train(
    language_model, reward_model, rlhf.Config(iterations=3, conversations=64), progress=False
)
one, its_mask = generate(
    warm.actor,
    encode(["<user> how was the museum ? <bot>"]),
    MAX_ANSWER,
    END_ID,
    torch.Generator().manual_seed(4),
)
with torch.no_grad():
    logp, logp_ref = token_logp(warm.actor(one), one), token_logp(language_model(one), one)
    val, score = warm.values(one), reward_model(one, its_mask)
rew = kl_shaped_rewards(score, logp, logp_ref, its_mask, 0.1)
adv = rlhf_advantages(rew, val, its_mask, 1.0, 0.95)
columns = [x[its_mask].tolist() for x in (logp, logp_ref, rew, val, adv)]
words = decode(one, its_mask)[0].split()
text_plots.table(
    ("token (the action)", "log π", "log π_ref", "reward", "V before it", "advantage"),
    [(w, *(f"{x:.2f}" for x in row)) for w, *row in zip(words, *columns, strict=True)],
)

# %% [markdown]
# The score arrives with `<end>`; all other rewards are the price. The advantage says which word changed what the critic
# expects: that is credit assignment, the same as in CartPole.
#
# ## One step of RLHF
#
# Everything is there: **sample** answers, **score** them, **shape** the rewards, **update** with PPO. The update is lesson 5's, as
# it is. It has never heard of language: it gets a time-major rollout, a mask, and a policy with `evaluate(obs, act)`.
#
# So let us take *yours*. The next cell looks into your saved `05_ppo.ipynb`, beside this notebook, for the `ppo_update` and `ppo_clip_loss` that you
# wrote there. If they pass their checks, everything from here on runs on them; otherwise the package's stand in. *About 10 seconds.*

# %%
ppo_update, ppo_clip_loss = own("05_ppo", "ppo_update", "ppo_clip_loss")

# %% [markdown]
# ### Exercise: `rlhf_step` (15 minutes, ●●●)
#
# Given: `generate(model, prompts, max_new, end, generator)` samples answers and returns `tokens, mask`;
# `policy.values(tokens)` are the critic's values before each token; `as_rollout(tokens, mask=..., logp=..., val=..., adv=..., ret=...)`
# turns `[B, T]` tensors into PPO's rollout.
#
# <details><summary>Hint 1</summary>
#
# Five lines: `generate`; score, both log-probabilities and values under `torch.no_grad()`; your `kl_shaped_rewards`; your
# `rlhf_advantages`; then one call of `update`.
#
# </details>
# <details><summary>Hint 2</summary>
#
# The critic's target is what lesson 5 used too: `ret = adv + val`.
#
# </details>
# <details><summary>Hint 3</summary>
#
# `update(policy, optimizer, rollout, config, loss=loss, generator=config.generator)`, once; its result goes into the report under
# `"update"`. The KL to report is the sum over each answer's tokens, averaged over answers.
#
# </details>

# %% exercise="pgcourse.rlhf.rlhf_step"

# %% [markdown]
# **The first thing to look at in any RLHF run:** on the first minibatch, before anything has been learned, the ratio
# $\rho = \pi / \pi_{\text{old}}$ must be exactly 1. If it is not, sampling and scoring disagree (another temperature, dropout
# left on, positions that count padding, a missing shift), and PPO clips noise.
#
# Our models have no dropout, so that you cannot forget to turn it off. Large models do have it. The second half of the cell puts a little of it
# into the policy and leaves it on, a mistake made in public (huggingface/trl#744): the ratio is far from 1 before anything is learned.

# %%
policy = rlhf.make_policy(language_model, reward_model)
optimizer = Adam(policy.parameters(), 1e-3)
log = rlhf_step(policy, language_model, reward_model, optimizer, sample_prompts(32), rlhf.Config())
print(f"largest |ratio - 1| on the first minibatch: {log['update']['first_ratio_error']:.1e}")
print(f"KL to the reference before the first step:  {log['kl']:.1e}")

policy = rlhf.make_policy(language_model, reward_model)
policy.actor.body.norm.register_forward_hook(lambda module, given, out: F.dropout(out, 0.1))
optimizer = Adam(policy.parameters(), 1e-3)
log = rlhf_step(policy, language_model, reward_model, optimizer, sample_prompts(32), rlhf.Config())
print(f"largest |ratio - 1| with 10 % dropout left on: {log['update']['first_ratio_error']:.1f}")
print(f"KL to the reference before the first step:     {log['kl']:+.2f}")

# %% [markdown]
# ## The training
#
# 25 steps of 128 conversations. Every five steps we look at the score, and also at what nothing here is trained on: the **gold** score,
# the held-out raters' opinion of the answer if it is readable, and −1 if it is not. *About 25 seconds.*

# %%
live = text_plots.LivePanels()
config = rlhf.Config(beta=0.1, iterations=fast(25, 5), conversations=fast(128, 48))
trained, priced = rlhf.train(
    language_model,
    reward_model,
    config,
    step=rlhf_step,
    update=ppo_update,
    loss=ppo_clip_loss,
    callback=live,
)

# %%
before, after = priced[0], priced[-1]
for key in ("score", "gold", "readable", "kl", "length"):
    print(f"{key:9s} before {before[key]:6.2f}   after {after[key]:6.2f}")
live.answers(priced, number=1)

# %%
text_plots.table(
    ("prompt", "before", "after RLHF"),
    [
        (p.removeprefix("<user> ").removesuffix(" <bot>"), a, b)
        for (p, a), (_, b) in list(zip(before["texts"], after["texts"], strict=True))[:8]
    ],
)

# %% [markdown]
# The same PPO that balances poles has taught a language model to be pleasant, and raters whom it has never met agree: gold rose with the score.
#
# Which words did it pay for? Per-token KL of a few answers, $\log \pi - \log \pi_{\text{ref}}$: orange is what the policy says more often than
# the reference, blue less.

# %%
some, some_mask = generate(
    trained.actor,
    sample_prompts(5, torch.Generator().manual_seed(8)),
    MAX_ANSWER,
    END_ID,
    torch.Generator().manual_seed(8),
)
with torch.no_grad():
    price = token_logp(trained.actor(some), some) - token_logp(language_model(some), some)
text_plots.colored_text(
    [
        (f"KL {p[m].sum():.1f}", decode(t[None], m[None])[0].split(), p[m].tolist())
        for t, m, p in zip(some, some_mask, price, strict=True)
    ]
)

# %% [markdown]
# ## Without the price
#
# Now set $\beta = 0$: nothing but the score. What do you expect: better answers, or the salad? *About 25 seconds.*

# %%
free, unpriced = rlhf.train(
    language_model,
    reward_model,
    rlhf.Config(beta=0.0, iterations=config.iterations, conversations=config.conversations),
    step=rlhf_step,
    update=ppo_update,
    loss=ppo_clip_loss,
    every=5,
)
text_plots.panels({"β = 0.1": priced, "β = 0": unpriced})
plt.show()
text_plots.table(
    ("prompt", "β = 0.1", "β = 0"),
    [
        (p.removeprefix("<user> ").removesuffix(" <bot>"), a, b)
        for (p, a), (_, b) in list(zip(priced[-1]["texts"], unpriced[-1]["texts"], strict=True))[:6]
    ],
)

# %% [markdown]
# The score is as high as before or higher, and the text is broken. This is **over-optimization** (or reward hacking): the policy
# has left the region where the reward model knows anything. Look at the two parts of gold apart: the held-out raters'
# *valence* of the words stays high. What breaks is readability, and nobody was ever asked about that.
#
# Is it luck? Below is the same experiment for five prices and three seeds each (made by `python -m pgcourse.rlhf_checkpoints`, since 15
# runs take minutes), and your own two runs. On the right is a baseline without any training, **best-of-n**: sample $n$ answers, keep the
# one with the highest score. Its KL to the reference is known without sampling, at most $\log n - (n-1)/n$. *About 10 seconds.*

# %%
sweep = json.loads((files("pgcourse") / "data" / "rlhf_sweep.json").read_text())
best_of = best_of_n(language_model, reward_model, ns=(1, 2, 4, 8, 16, 32), prompts=fast(96, 16))

fig, axes = plt.subplots(1, 3, figsize=(11, 3.6))
colors = dict(zip(sorted({run["beta"] for run in sweep}), plots.COLORS, strict=False))
for run in sweep:
    root = [max(kl, 0) ** 0.5 for kl in run["kl"]]
    label = f"β = {run['beta']}" if run["seed"] == 0 else None
    axes[0].plot(root, run["score"], color=colors[run["beta"]], lw=1, label=label)
    axes[1].plot(root, run["gold"], color=colors[run["beta"]], lw=1)
    axes[2].plot(run["score"], run["gold"], color=colors[run["beta"]], lw=1)
for history, marker in ((priced, "*"), (unpriced, "X")):
    end = history[-1]
    axes[0].plot(end["kl"] ** 0.5, end["score"], "k" + marker, ms=10)
    axes[1].plot(end["kl"] ** 0.5, end["gold"], "k" + marker, ms=10)
    axes[2].plot(end["score"], end["gold"], "k" + marker, ms=10)
root = [row["kl"] ** 0.5 for row in best_of]
axes[0].plot(root, [row["score"] for row in best_of], "k.--", label="best of n")
axes[1].plot(root, [row["gold"] for row in best_of], "k.--")
axes[2].plot([row["score"] for row in best_of], [row["gold"] for row in best_of], "k.--")
axes[0].set(
    xlabel="√KL to the reference (√nats)", ylabel="learned reward", title="What it is paid for"
)
axes[1].set(xlabel="√KL to the reference (√nats)", ylabel="gold", title="What people wanted")
axes[2].set(xlabel="learned reward", ylabel="gold", title="Up together, then apart")
axes[0].legend(fontsize=8)
plt.show()
print("black star: your run with β = 0.1; black cross: your run with β = 0")

# %% [markdown]
# The left panel only rises. The middle one does not: with $\beta = 0$ every seed goes over the cliff within a few steps, and its gold ends near −1
# at the highest scores of all. A price of 0.1 to 0.3 stops near the top; a high one ($\beta = 1$) stays so close to the reference that little is
# gained. Three seeds tell one story each time. Best-of-n is hard to beat for its KL, since it never writes anything that the reference would not; but
# its gold, too, stops growing at about $n = 8$ while the score goes on, and it pays with $n$ times the sampling, for every answer, for ever.
#
# ## A language small enough to enumerate
#
# "It works" should be a number. The objective of RLHF is
#
# $$\max_\pi \; \mathbb{E}_\pi[r(y)] - \beta\, \mathrm{KL}(\pi \,\|\, \pi_{\text{ref}})$$
#
# and its maximum has a closed form. Write the objective as $-\beta \sum_y \pi(y) \log \frac{\pi(y)}{\pi_{\text{ref}}(y) e^{r(y)/\beta}}$:
# up to a constant that is $-\beta\, \mathrm{KL}(\pi \,\|\, \pi^*)$ with
#
# $$\pi^*(y) = \frac{1}{Z}\, \pi_{\text{ref}}(y)\, e^{r(y)/\beta}$$
#
# So the optimum is known, but only where all $y$ can be listed. Here is a language of six words and sentences of five:
# 7,776 of them. Every method's result is one exact number, $\mathrm{KL}(\pi \,\|\, \pi^*)$. *About 10 seconds.*

# %%
tiny = tiny_language.TinyLanguage()
print(f"the reference is {tiny.kl_to_optimum(tiny.reference):.2f} nats from the optimum")
top = tiny.log_optimum.argsort(descending=True)[:5]
text_plots.table(
    ("the optimum's favorite sentences", "under the optimum", "under the reference", "reward"),
    [
        (
            tiny_language.text(tiny_language.SENTENCES[i]),
            f"{tiny.log_optimum[i].exp():.2%}",
            f"{tiny.log_ref[i].exp():.2%}",
            f"{tiny.reward[i]:.2f}",
        )
        for i in top
    ],
)

# %% [markdown]
# Your `rlhf_step`, on this language, with the same update. *About 10 seconds.*


# %%
def my_ppo(tiny, **settings):
    return tiny_language.ppo(tiny, step=rlhf_step, update=ppo_update, **settings)


curves = {}
curves["PPO (yours)"], model = tiny_language.kl_curve(
    tiny, my_ppo, every=fast(3, 10), iterations=fast(60, 20)
)
print(
    f"KL to the optimum: {tiny.kl_to_optimum(model):.3f} nats, from {curves['PPO (yours)'][0][1]:.2f}"
)
print(
    f"objective: {tiny.objective(tiny.log_table(model)):.3f}; the best possible is {tiny.objective(tiny.log_optimum):.3f}"
)

# %% [markdown]
# Now the pitfalls of this lesson, made to happen on the same language: the same training with one mistake in it. Each is a mistake
# that somebody made in public, and each runs without an error. *About 15 seconds.*


# %%
def with_mistake(rewards=kl_shaped_rewards, advantages=rlhf_advantages, rollout=as_rollout):
    """A copy of rlhf_step with one piece replaced."""

    def step(
        policy,
        reference,
        reward_model,
        optimizer,
        prompts,
        config,
        update=ppo_update,
        loss=ppo_clip_loss,
    ):
        tokens, mask = generate(policy.actor, prompts, config.max_new, config.end, config.generator)
        with torch.no_grad():
            score, val = reward_model(tokens, mask), policy.values(tokens)
            logp, logp_ref = (
                token_logp(policy.actor(tokens), tokens),
                token_logp(reference(tokens), tokens),
            )
        rew = rewards(score, logp, logp_ref, mask, config.beta)
        adv = advantages(rew, val, mask, config.gamma, config.lam)
        data = rollout(tokens, mask=mask, logp=logp, val=val, adv=adv, ret=adv + val)
        return {
            "update": update(policy, optimizer, data, config, loss=loss, generator=config.generator)
        }

    return step


def absolute(score, logp, logp_ref, mask, beta):
    return kl_shaped_rewards(
        score, torch.maximum(logp, logp_ref), torch.minimum(logp, logp_ref), mask, beta
    )


def score_everywhere(score, logp, logp_ref, mask, beta):
    return kl_shaped_rewards(score, logp, logp_ref, mask, beta) + mask * score[:, None]


mistakes = {
    "none": with_mistake(),
    "|KL| in place of KL": with_mistake(absolute),
    "score on every token": with_mistake(score_everywhere),
    "KL sign reversed": with_mistake(lambda s, p, q, m, beta: kl_shaped_rewards(s, q, p, m, beta)),
    "no KL (β = 0)": with_mistake(lambda s, p, q, m, beta: kl_shaped_rewards(s, p, q, m, 0.0)),
    "rewards as advantages": with_mistake(advantages=lambda rew, *rest: rew),
}
ends = {}
for name, step in mistakes.items():
    _, broken = tiny_language.kl_curve(
        tiny,
        lambda tiny, step=step: tiny_language.ppo(tiny, iterations=fast(25, 8), step=step),
        every=100,
        progress=False,
    )
    ends[name] = tiny.kl_to_optimum(broken)
plt.barh(list(ends), list(ends.values()), color=[plots.GREEN] + [plots.RED] * (len(ends) - 1))
plt.bar_label(plt.gca().containers[0], fmt="%.2f", padding=3)
plt.axvline(
    tiny.kl_to_optimum(tiny.reference), color="black", ls=":", label="the reference, untrained"
)
plt.gca().invert_yaxis()
plt.xlabel("KL to the optimum (nats; less is better)")
plt.title("Each mistake runs without an error")
plt.legend()
plt.show()

# %% [markdown]
# ## Beyond the cheatsheet (optional)
#
# PPO needs a critic as large as the policy. Three popular methods leave pieces out; on the small language you can see
# what each costs.
#
# ### Without a critic: RLOO and GRPO
#
# Sample $K$ answers to each prompt and let them be each other's baseline. **RLOO** (lesson 3's leave-one-out baseline)
# subtracts the mean of the *other* answers; it stays unbiased. **GRPO** subtracts the group's mean and divides by its spread.
#
# ### Exercise: `rloo_advantages` (4 minutes, ●)
#
# <details><summary>Hint</summary>
#
# You wrote the baseline in lesson 3: `leave_one_out_baseline` is imported.
#
# </details>

# %% exercise="pgcourse.estimators.rloo_advantages"

# %% [markdown]
# ### Exercise: `grpo_advantages` (4 minutes, ●)
#
# <details><summary>Hint</summary>
#
# Axis 0 runs over the answers to one prompt. What happens where all of them score the same?
#
# </details>

# %% exercise="pgcourse.estimators.grpo_advantages"

# %% [markdown]
# ### Without a reward model: DPO
#
# Solve $\pi^* \propto \pi_{\text{ref}}\, e^{r/\beta}$ for the reward: $r(y) = \beta \log \frac{\pi^*(y)}{\pi_{\text{ref}}(y)} + \beta \log Z$. So a policy
# *is* a reward model. Put that into Bradley–Terry, where $Z$ cancels, and the votes train the policy directly:
#
# $$L = -\frac{1}{B} \sum_b \log \sigma\Big(\beta \Big[\log \tfrac{\pi(y_c)}{\pi_{\text{ref}}(y_c)} - \log \tfrac{\pi(y_r)}{\pi_{\text{ref}}(y_r)}\Big]\Big)$$
#
# No sampling, no critic, no reward model; but it only ever sees answers that the reference wrote.
#
# ### Exercise: `dpo_loss` (8 minutes, ●●)
#
# <details><summary>Hint 1</summary>
#
# The inputs are log-probabilities of whole answers, already summed over tokens: a ratio's log is a difference.
#
# </details>
# <details><summary>Hint 2</summary>
#
# Nothing may flow into the reference. And remember `logsigmoid`.
#
# </details>

# %% exercise="pgcourse.losses.dpo_loss"

# %% [markdown]
# All four by the same yardstick, with your functions. *About 20 seconds.*

# %%
contenders = {
    "RLOO": lambda tiny: tiny_language.rloo(
        tiny, iterations=fast(100, 20), advantages=rloo_advantages
    ),
    "GRPO": lambda tiny: tiny_language.grpo(
        tiny, iterations=fast(100, 20), advantages=grpo_advantages
    ),
    "DPO, 4,000 pairs": lambda tiny: tiny_language.dpo(
        tiny, iterations=fast(200, 30), loss=dpo_loss
    ),
    "DPO, 400 pairs": lambda tiny: tiny_language.dpo(
        tiny, iterations=fast(200, 30), pairs=400, loss=dpo_loss
    ),
}
for name, method in contenders.items():
    curves[name], _ = tiny_language.kl_curve(tiny, method, every=10)
plt.figure(figsize=(9, 3.8))
for i, (name, curve) in enumerate(curves.items()):
    last = curve[-1][0]
    plt.plot(
        [x / last for x, _ in curve],
        [y for _, y in curve],
        "os^Dv"[i] + "-",
        ms=4,
        markevery=2,
        label=f"{name}: {curve[-1][1]:.2f}",
    )
plt.yscale("log")
plt.xlabel("training (share)")
plt.ylabel("KL to the optimum (nats)")
plt.title("Distance from the exact optimum")
plt.legend(loc="center left", bbox_to_anchor=(1, 0.5), title="at the end")
plt.show()

# %% [markdown]
# PPO and RLOO arrive close to the optimum. GRPO stops short of it, by design: dividing by the group's spread multiplies the reward by 1/std, so
# it solves a problem with another $\beta$. DPO depends on how many votes there are: with few it memorizes them, and after its best moment it drifts
# away again, for nothing in it ever looks at a fresh answer.
#
# ## Ask yourself
#
# <details><summary>Why is there a policy gradient here at all? The reward model is differentiable.</summary>
#
# It is, in its weights; but between policy and reward model lie sampled tokens, which are integers. No gradient passes through a draw. The score function goes around it.
#
# </details>
# <details><summary>The score went up. Is the model better?</summary>
#
# Not necessarily: β = 0 scored highest of all. Only a measure that nothing was trained on can tell, and even gold knows only what its raters were asked.
#
# </details>
# <details><summary>Why not whiten the rewards?</summary>
#
# Then β means something else in each batch. The reward model's scores were standardized once, on the reference's answers; the advantages are normalized inside the update.
#
# </details>
# <details><summary>An answer that never ends gets −1, whatever it says. Why?</summary>
#
# The head was trained to read finished answers at `<end>`. A policy that learns never to stop would be scored at a place that means nothing.
#
# </details>
# <details><summary>Which lines of PPO changed since lesson 5?</summary>
#
# None.
#
# </details>
#
# ## What was left out
#
# Several turns, sub-word tokens, and everything that only size brings; supervised fine-tuning on written demonstrations (our language model
# learned from answers at once); reward models that are retrained as the policy moves; penalties against known
# exploits; verifiable rewards (unit tests, mathematics) in place of learned ones. And whose votes: ours are strangers' ratings of words, and a large model's are somebody's opinions too.
#
# ## Papers
#
# - Christiano et al. (2017), *Deep reinforcement learning from human preferences*, arXiv:1706.03741.
# - Ziegler et al. (2019), *Fine-tuning language models from human preferences*, arXiv:1909.08593.
# - Ouyang et al. (2022), *Training language models to follow instructions with human feedback*, arXiv:2203.02155.
# - Gao, Schulman & Hilton (2022), *Scaling laws for reward model over-optimization*, arXiv:2210.10760.
# - Rafailov et al. (2023), *Direct preference optimization*, arXiv:2305.18290.
# - Ahmadian et al. (2024), *Back to basics* (RLOO), arXiv:2402.14740; Shao et al. (2024), *DeepSeekMath* (GRPO), arXiv:2402.03300.
# - Hutto & Gilbert (2014), *VADER*: the human ratings. Huang et al. (2024), *The N+ implementation details of RLHF with PPO*, arXiv:2403.17031.
#
# **This was the last lesson.** From a bandit with two arms to a language model, one formula has done the work: make more probable what
# turned out better than expected.
