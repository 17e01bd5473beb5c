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
# *Reinforcement learning from human feedback* turned text predictors into chatbots. It sounds like a
# new algorithm, but it is a **problem**: earn as much as possible from a reward that was learned from people's
# votes, without straying far from where the language model began. The classical recipe solves it with PPO. In this
# lesson you take the PPO update of lesson 5, change not one line of it, and train a language model with it. What is
# new stands around the update: the policy writes words, and the reward is a learned model.
#
# **You will be able to**
#
# - say which piece of RLHF is the policy, the state, the action, the reward and the algorithm,
# - score text under a language model, with the shift by one that is so easily forgotten,
# - train a reward model on people's votes, and say how good it could be at best,
# - build the reward of each token, with a price for leaving the reference model,
# - run PPO on a language model, and see it cheat when the price is zero,
# - tell the two KL divergences of RLHF apart, and say where an estimate of one belongs: in the reward or in the loss,
# - measure how far PPO, RLOO, GRPO and DPO land from the optimum, exactly,
# - read the gauges of a run that went wrong, and say what its bug is.
#
# **You need** lessons 3 to 5. About 140 minutes. All cells together take about three minutes of one core; the time
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
# | `quiz_rlhf_clinic` | 20 | ●●● |

# %% tags=["setup"]
import json
from importlib.resources import files

import matplotlib.pyplot as plt
import torch
import torch.nn.functional as F

from pgcourse import fast, plots, rlhf
from pgcourse.clinics import clinic_rlhf
from pgcourse.language import text_plots, tiny_language
from pgcourse.bets import ask_again, bet, settle
from pgcourse.checks import check
from pgcourse.checks.own import own
from pgcourse.estimators import gae, leave_one_out_baseline
from pgcourse.language.grammar import (
    END_ID,
    MAX_ANSWER,
    PAD_ID,
    VOCABULARY,
    decode,
    encode,
    sample_prompts,
)
from pgcourse.losses import ppo_clip_loss
from pgcourse.optim import Adam
from pgcourse.ppo import ppo_update
from pgcourse.language.pretraining import load_language_model, train_language_model
from pgcourse.recall import recall
from pgcourse.language.reward_model import (
    best_of_n,
    calibration,
    ceiling,
    collect_votes,
    load_reward_model,
    scalar_model_from,
    train_reward_model,
    understands_not,
)
from pgcourse.rlhf import as_rollout
from pgcourse.tensors import same_shape
from pgcourse.language.transformer import generate
from pgcourse.language.votes import judge_texts, prefers_first, ratings

plots.style()
torch.set_num_threads(1)

# %% [markdown]
# <details><summary>Names from the package that you will meet</summary>
#
# | name | what it is |
# |---|---|
# | `load_language_model()`, `train_language_model` | a small transformer that has learned to write; its training |
# | `encode`, `decode`, `VOCABULARY`, `END_ID`, `PAD_ID`, `MAX_ANSWER` | words to numbers and back; the numbers of `<end>` and of padding; the longest answer in tokens |
# | `sample_prompts(n, generator)` | `n` beginnings of conversations |
# | `is_readable(prompt, answer)` | whether an answer is a sentence of the language, on the topic of its prompt |
# | `generate(model, prompts, max_new, end, generator)` | samples answers: tokens `[B, T]`, and a mask that is `True` on the answer |
# | `as_rollout(tokens, mask, …)` | turns `[B, T]` tensors into the time-major rollout of lesson 5 |
# | `collect_votes`, `prefers_first`, `ratings`, `judge_texts` | people's votes on pairs of answers, from human ratings of words |
# | `train_reward_model`, `load_reward_model`, `scalar_model_from`, `calibration`, `ceiling`, `understands_not`, `best_of_n` | the reward model, and measures of how good it is |
# | `rlhf`, `tiny_language`, `ppo` | the training loop; a language small enough to enumerate; lesson 5's module |
# | `clinic_rlhf` | runs with a planted bug each |
# | `own(lesson, …)` | your functions from an earlier notebook, if they pass their checks; else the package's |
# | `Adam`, `Collector`, `text_plots` | as in lesson 5; colored text and tables |
# | `same_shape`, `fast`, `plots`, `check`, `bet`, `settle` | as in lesson 1 |
# | `ask_again`, `recall` | old bets and old questions |
#
# </details>
#
# Your bets that were furthest off, again:

# %%
ask_again("07")

# %% [markdown]
# And three questions from lesson 5, to see what is still there. No points; answer before you look anything up.

# %%
recall("07")

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
# | action | left or right | the next token, one of 252 words (or the full response) |
# | an episode ends | when the pole falls | with the token `<end>` |
# | reward | 1 at each step | at the end, from a model that learned from people's votes |
# | a rollout's column | an environment | a conversation |
# | algorithm | `ppo_update` | `ppo_update` |
#
# The last row is what this lesson is about: RLHF in its classical form is PPO plus a learned reward model. Other algorithms
# solve the same problem; some of them take the full response as one action. You will meet three at the end.
#
# Here are the two rollouts with their real shapes, time first, as you know it:

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

# %% exercise="pgcourse.exercises.rlhf.quiz_mapping.quiz_mapping"

# %% [markdown]
# ## A language model
#
# Real chatbots have billions of parameters. Ours has 134,000, a vocabulary of 252 words, and talks about eight things: a
# restaurant, a hotel, a film, a book, a concert, a museum, a phone, a park. It is a real transformer all the same
# (`pgcourse/language/transformer.py` is short: read it), and the steps below are those that a large one goes through.
#
# It learns to write by **predicting the next token** of conversations that a grammar wrote. Let us train one for a short
# while and look at what it says as it grows. *About 5 seconds.*

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
# First noise, then words, then something like sentences. From here on we use a model that the project trained in the same way for longer
# (120,000 conversations instead of 6,400; `python -m pgcourse.language.rlhf_checkpoints` makes it again). Some of its answers:

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
# It praises about as often as it complains, as its corpus did. Our goal: an assistant that people *like* to read.

# %% claim="it_praises_as_often_as_it_complains"
# The language model praises about as often as it complains: mean valence within 0.12 of 0, five seeds.
for seed in range(5):
    g = torch.Generator().manual_seed(seed)
    judged = judge_texts(*generate(language_model, sample_prompts(400, g), MAX_ANSWER, END_ID, g))
    assert judged["valence"].mean().abs() < 0.12, judged["valence"].mean()
assert sum(p.numel() for p in language_model.parameters()) // 1000 == 134
assert len(VOCABULARY) == 252

# %% [markdown]
#
# ## Which logits predict which token?
#
# A causal transformer reads tokens $x_0, x_1, \dots$ and puts out logits at every position. The logits at position $t$ were
# computed after reading $x_t$, so they are about $x_{t+1}$:
#
# $$\log \pi(x_t \mid x_0 \dots x_{t-1}) = \log \mathrm{softmax}(\text{logits}_{t-1})[x_t]$$
#
# Logits at $t-1$, token at $t$. Forget that shift by one and each token is scored with logits computed *after* reading it:
# everything runs, and the numbers mean nothing.
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
# In its corpus nothing "delicious" is ever said of a guide, and the model knows. Nor does the corpus ever mention a thing twice in one answer. That
# rule the model has learned only in part: the second "guide" costs it little, and most of its unreadable answers break this rule.
#
# Now the pitfall, made to happen: leave out the shift, and compare the log-probabilities of tokens that the model itself has just sampled.

# %% claim="delicious_is_not_said_of_a_guide"
# "delicious" surprises the model by at least 4 nats more than "charming"; the second "guide" by less than 3 nats more than the first.
given = dict(zip(range(len(words)), zip(words, logp[0].tolist(), strict=True), strict=True))
charming, delicious = (x for w, x in given.values() if w in ("charming", "delicious"))
first_guide, second_guide = (x for w, x in given.values() if w == "guide")
assert delicious < charming - 4 and second_guide > first_guide - 3, given

# %% claim="unreadable_answers_repeat_something"
# Most unreadable answers mention one thing twice: more than half of them, and they would be readable otherwise; five seeds.
from pgcourse.language.grammar import PATTERNS, TOPICS, is_readable

for seed in range(5):
    g = torch.Generator().manual_seed(seed)
    text, answer = generate(language_model, sample_prompts(400, g), MAX_ANSWER, END_ID, g)
    asked = zip(decode(text, ~answer), decode(text, answer), strict=True)
    bad = [(q, a) for q, a in asked if not is_readable(q, a)]
    topics = [next(w for w in q.split() if w in TOPICS) for q, _ in bad]
    twice = [bool(PATTERNS[t].fullmatch(a)) for t, (_, a) in zip(topics, bad, strict=True)]
    assert sum(twice) > len(twice) / 2, (sum(twice), len(twice))

# %% [markdown]
# The same tokens scored with the shift and without:

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
# human ratings**: the VADER lexicon (Hutto & Gilbert 2014; package `vaderSentiment`, MIT license), which holds ten people's
# ratings of each of its 7,500 entries, from −4 to +4. A vote between two answers draws one of the ratings for each opinion word, adds
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
# Nine people found *awful* bad and one gave it a high mark: real data.
#
# Most pairs are two answers to one prompt. In about a fifth of them the second answer is the first one with a "not" put in or taken out.
# You be the annotator: move the slider, read the two answers, decide, then look at how ten simulated voters decided. *About 7 seconds.*

# %% claim="awful_has_one_friend"
# Nine of the ten ratings of "awful" are negative and one is +3 or more.
assert sum(x < 0 for x in ratings()["awful"]) == 9 and max(ratings()["awful"]) >= 3

# %%
pairs = collect_votes(language_model, fast(4_000, 600), seed=1, contrast=0.25)
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
# Votes are noisy, so no reward model can predict every one of them. How good could the best possible judge be, one who knows
# for each pair which answer most people prefer? We ask a hundred voters about each of a thousand held-out pairs:

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
# score? The model is causal, so the **last token of the answer** is the first place where all of it has been read. Answers in a batch have
# different lengths, so that is a different column in each row, and the last column is padding for most of them.
#
# What you are given as `values` is a running total: the head says what each token adds, the answer's tokens are summed
# from left to right, and at the last token the total is complete. Others read the head at the last token
# without summing ([Huang et al. 2024](https://arxiv.org/abs/2403.17031)); the place to read is the same.
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

# %% exercise="pgcourse.language.reward_model.sequence_score"

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
    title="Votes predicted, and how many could be",
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
# The dotted line is the ceiling that people's disagreement sets. What is missing up to it is the model's own: it has seen 4,000 votes.
#
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

# %% [markdown]
# **Predict:** which gets the higher score, "the plot was *not dull*" or "the plot was *not brilliant*"? A judge that only adds up pleasant and unpleasant words would prefer *not brilliant*.
#
# <details><summary>The answer (run the cell first)</summary>
#
# *Not dull*, as people would have it: VADER's rule turns a word round after "not", and the votes follow it. So does the reward model.
#
# </details>

# %%
claims = [
    "the plot was brilliant .",
    "the plot was not dull .",
    "the plot was not brilliant .",
    "the plot was dull .",
]
text_plots.table(
    ("answer", "score (standard deviations)"),
    [(c, worth_of_words(c, reward_model)[0]) for c in claims],
)

# %%
share = understands_not(reward_model)
print(f"“not BAD” above “not GOOD”, over all clearly bad and clearly good words: {share:.0%}")

# %% [markdown]
# It has learned what "not" does, and not for this one pair of words only. One number for all held-out votes would not have said so: what a reward model should know is tested with examples made for it.
#
# And look at the third line of the colored words: word salad scores well, for nobody ever
# voted on word salad. A reward model is only right *near what it has seen*. That is the flaw that a strong optimizer will find.

# %% claim="the_reward_model_knows_not"
# The shipped model (the recipe of this lesson) ranks at least 95 % of all pairs "not bad", "not good" rightly; salad beats the average answer by a standard deviation.
shipped = load_reward_model()
assert understands_not(shipped) > 0.95, understands_not(shipped)
salad = encode(["<user> how was the film ? <bot> brilliant superb brilliant superb superb . <end>"])
assert shipped(salad, torch.arange(salad.shape[1])[None] >= 7).item() > 1

# %% [markdown]
# ## The reward, token by token
#
# So the answer to "maximize the score" would be salad. RLHF's remedy: charge a price for leaving the **reference**, a
# frozen copy of the language model from before. The price is the KL divergence between policy and reference, paid token by token:
#
# $$r_t = \underbrace{-\beta\,\big(\log \pi(x_t) - \log \pi_{\text{ref}}(x_t)\big)}_{\text{price of this token}}
#   \;+\; \underbrace{\mathbb{1}[t \text{ is the last token of the answer}]\; r(y)}_{\text{the score, paid once}}$$
#
# The difference of the logs can be negative at a token; its sum over an answer, averaged over what the policy writes, is the KL, which
# is never negative. Taking its absolute value would be another objective.
#
# This is the second KL divergence that you meet in this course. They are easily confused:
#
# | | $\mathrm{KL}(\pi_{\text{old}} \,\|\, \pi)$, lesson 5 | $\mathrm{KL}(\pi \,\|\, \pi_{\text{ref}})$, here |
# |---|---|---|
# | the other policy is | the one that collected this batch; a new one at each update | the language model before all training; frozen |
# | it asks | can this *data* still be trusted? | can the *reward model* still be trusted? |
# | where it enters | PPO's gauge, a stopping rule, or a penalty in the update | the reward: it is part of the objective |
# | does it move the optimum? | no, only the way there | yes |
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
delta = rlhf_advantages(
    rew, val, its_mask, 1.0, 0.0
)  # with lambda = 0 the advantage is delta alone
adv = rlhf_advantages(rew, val, its_mask, 1.0, 0.95)
columns = [x[its_mask].tolist() for x in (logp, logp_ref, rew, val, delta, adv)]
words = decode(one, its_mask)[0].split()
text_plots.table(
    ("token (the action)", "log π", "log π_ref", "reward", "V before it", "δ", "advantage"),
    [(w, *(f"{x:.2f}" for x in row)) for w, *row in zip(words, *columns, strict=True)],
)

# %% [markdown]
# The score arrives with `<end>`; all other rewards are the price. Two columns say two things. **δ** says how much better the prospects are *because of this one word*:
# what it earned, plus the change in what the critic expects. The **advantage** adds to it, with $\lambda = 0.95$, nearly all the δ that follow: how the answer as a whole
# turned out from here on, against what the critic expected. So a word that lifts the critic's hopes has a large δ, and still a small advantage if the words after it disappoint.

# %% claim="delta_is_the_advantage_with_lambda_zero"
# Without lambda the advantage is r + V(next) - V; with lambda it is the sum of 0.95^k times the deltas that follow.
r, v, d, a = (x[its_mask] for x in (rew, val, delta, adv))
assert torch.allclose(d, r + torch.cat([v[1:], torch.zeros(1)]) - v, atol=1e-5)
powers = 0.95 ** torch.arange(len(d))
for i in range(len(d)):
    assert torch.isclose(a[i], (powers[: len(d) - i] * d[i:]).sum(), atol=1e-4)

# %% [markdown]
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
# $\rho = \pi / \pi_{\text{old}}$ must be 1, up to rounding. If it is not, the two scoring passes disagree (dropout
# left on, positions that count padding in one of them, a missing shift), and PPO clips noise.
#
# Our models have no dropout, so that you cannot forget to turn it off. Large models may have it. The second half of the cell puts a little of it
# into the policy and leaves it on: the ratio is far from 1 before anything is learned.

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
# **What the ratio cannot show.** Suppose the answers were *drawn* otherwise than they are scored: at temperature 0.5 or 2, or only from the five likeliest tokens. They then come from another policy than the one
# that is trained. **Predict: which of the three makes the first ratio differ from 1?**
#
# <details><summary>The answer (run the cell first)</summary>
#
# None. $\log \pi_{\text{old}}$ is not what the sampler used: it is computed anew, by scoring, and so is $\log \pi$. Two scorings agree, whoever wrote the text.
#
# </details>
#
# The gauge that can show it compares the log-probabilities that the sampler really drew with, which `generate` returns on request, with those of the scoring pass: the **sampler gap**.

# %%
policy = rlhf.make_policy(language_model, reward_model)
rows = []
for name, settings in {
    "as the model says": {},
    "temperature 0.5": {"temperature": 0.5},
    "temperature 2": {"temperature": 2.0},
    "the 5 likeliest only": {"top_k": 5},
}.items():
    text, answer, drawn = generate(
        policy.actor,
        sample_prompts(128, torch.Generator().manual_seed(1)),
        MAX_ANSWER,
        END_ID,
        torch.Generator().manual_seed(1),
        with_logp=True,
        **settings,
    )
    with torch.no_grad():
        scored = token_logp(policy.actor(text), text)
        step = as_rollout(text, mask=answer, logp=scored)
        again, _, _ = policy.evaluate(step["obs"], step["act"])
    off = ((again - step["logp"]).exp() - 1)[step["mask"]].abs().max().item()
    gap = (drawn - scored)[answer].abs()
    rows.append((name, off, gap.max().item(), gap.mean().item()))
text_plots.table(
    ("drawn with", "largest |ratio − 1|", "largest sampler gap (nats)", "mean sampler gap"),
    [(name, f"{off:.0e}", f"{worst:.2g}", f"{mean:.2g}") for name, off, worst, mean in rows],
)

# %% [markdown]
# Large systems have one more source of such a gap: they sample with one program, made for speed, and train with another, and the two give one token different log-probabilities. This is called the
# trainer–sampler mismatch; [Yao et al. 2025](https://fengyao.notion.site/off-policy-rl) describe it and correct it with importance weights: lesson 5's ratio, with the sampler's log-probability in it.

# %% claim="only_the_sampler_gap_sees_the_temperature"
# The ratio is 1 to 1e-4 in all four cases; the gap is below 1e-4 in the first and above 0.5 in the other three.
for name, off, worst, _ in rows:
    assert off < 1e-4, (name, off)
    assert worst < 1e-4 if name == "as the model says" else worst > 0.5, (name, worst)

# %% claim="dropout_moves_the_first_ratio"
# With 10 % dropout left on, the first ratio is off by more than 0.2, five seeds; without it by less than 1e-4.
for seed in range(5):
    torch.manual_seed(seed)
    for drop in (False, True):
        policy = rlhf.make_policy(language_model, reward_model)
        if drop:
            policy.actor.body.norm.register_forward_hook(lambda m, given, out: F.dropout(out, 0.1))
        g = torch.Generator().manual_seed(seed)
        some = sample_prompts(16, g)
        step = rlhf_step(
            policy,
            language_model,
            reward_model,
            Adam(policy.parameters(), 1e-3),
            some,
            rlhf.Config(epochs=1),
        )
        off = step["update"]["first_ratio_error"]
        assert off > 0.2 if drop else off < 1e-4, (drop, off)

# %% [markdown]
# ## The training
#
# 25 steps of 128 conversations. Now and then we look at the score, and also at what nothing here is trained on: the **gold** score, which is
# the held-out raters' opinion of the answer (its *valence*) if it is readable, and −1 if it is not; the length; and how many different answers there are. *About 20 seconds.*

# %%
live = text_plots.LivePanels()
looks = fast((1, 2, 3, 4, 5, 10, 15, 20, 25), (2, 4))
config = rlhf.Config(beta=0.1, iterations=fast(25, 5), conversations=fast(128, 48))
trained, priced = rlhf.train(
    language_model,
    reward_model,
    config,
    step=rlhf_step,
    update=ppo_update,
    loss=ppo_clip_loss,
    every=looks,
    callback=live,
)

# %%
before, after = priced[0], priced[-1]
for key in ("score", "gold", "valence", "readable", "kl", "length", "distinct", "gap"):
    print(f"{key:9s} before {before[key]:6.2f}   after {after[key]:6.2f}")
within = [seen["step"]["update"]["kl"] for seen in priced[1:]]
print(f"KL to π_old within one update: at most {max(within):.3f}")
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
# The same PPO that balances poles has taught a language model to be pleasant, and raters whom it has never met agree: gold rose with the score. Mind the two KLs in the printout:
# each update moved the policy a little from where it had just been; added up, that is nats from the reference.
#
# **Which words did it pay for?** The KL to the reference is a sum over the words of an answer. **Predict:** is it spread over all the pleasant words, or does it sit on a few?
#
# <details><summary>The answer (run the cell first)</summary>
#
# On a few. In each of the five runs that were recorded for this lesson, three words take more than two thirds of it, and "happily" is always one of them.
#
# </details>

# %%
bet("07 words", "Which share of the KL do the three dearest words take?", between=(0, 1))

# %%
paid = rlhf.kl_by_word(trained.actor, language_model)
total = sum(row["kl"] for row in paid)
settle("07 words", sum(row["kl"] for row in paid[:3]) / total)
text_plots.table(
    (
        "word",
        "KL paid for it (nats per answer)",
        "share",
        "written, per answer",
        "by the reference",
    ),
    [
        (
            row["word"],
            f"{row['kl']:+.2f}",
            f"{row['kl'] / total:.0%}",
            f"{row['used']:.2f}",
            f"{row['used_ref']:.2f}",
        )
        for row in paid[:8]
    ],
)

# %% [markdown]
# Raters like "happily", and they like "loved". An answer that begins with "happily , i loved the …" is worth more, whatever comes after. The policy begins so far more often than the reference does,
# and that is what most of its KL is paid for: a cheap way to please, a small hack in readable text. The same answers word by word, $\log \pi - \log \pi_{\text{ref}}$: orange is what the policy says more often than
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
# Now set $\beta = 0$: nothing but the score. **Predict, for each of the six panels:** will it be above or below the run with a price?
#
# <details><summary>The answer (run the cell first)</summary>
#
# Score and length: above. KL: far above. Gold and readable answers: at first alike, then far below, while the valence alone is above. The share of different answers hardly tells the two apart.
#
# </details>
#
# *About 30 seconds.*

# %%
free, unpriced = rlhf.train(
    language_model,
    reward_model,
    rlhf.Config(beta=0.0, iterations=config.iterations, conversations=config.conversations),
    step=rlhf_step,
    update=ppo_update,
    loss=ppo_clip_loss,
    every=looks,
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
# has left the region where the reward model knows anything. Gold has two parts. The dashed line, the held-out raters' *valence* of the words, stays high. What breaks is readability, and nobody was ever asked about that.
#
# Two more things happen on the way. Answers grow **longer**: the votes go by a sum over words, so one more pleasant word helps. And the policy comes to say the same things again and again, which is called
# **mode collapse**. Ask one question many times, and count what comes back:

# %%
from collections import Counter

question = encode(["<user> how was the museum ? <bot>"]).repeat(200, 1)
rows = []
for name, model in (
    ("reference", language_model),
    ("β = 0.1", trained.actor),
    ("β = 0", free.actor),
):
    replies = decode(
        *generate(model, question, MAX_ANSWER, END_ID, torch.Generator().manual_seed(0))
    )
    (favorite, times), *_ = Counter(replies).most_common(1)
    words = Counter(" ".join(replies).split())
    top = sum(count for _, count in words.most_common(10)) / words.total()
    rows.append((name, len(set(replies)), len(words), f"{top:.0%}", f"{times} times: {favorite}"))
text_plots.table(
    (
        "policy",
        "different answers, of 200",
        "different words in them",
        "share of the ten most frequent",
        "the most frequent answer",
    ),
    rows,
)

# %% [markdown]
# The number of different answers alone is a poor gauge of it: a salad of few words can be tossed in many ways, so count the words too. No vote could have prevented it: each was about two answers, never about two hundred.
#
# Is it luck? Below is the same experiment for five prices, with three seeds each and five for $\beta = 0$ and $0.1$ (made by `python -m pgcourse.language.rlhf_checkpoints sweep`, since so many
# runs take a while), and your own two runs, all scored by the reward model that the recorded runs were trained on. The dashed line is a baseline without any training, **best-of-n**: sample $n$ answers, keep the
# one with the highest score. Its KL to the reference is known without sampling: at most $\log n - (n-1)/n$ ([Beirami et al. 2024](https://arxiv.org/abs/2401.01879)). *About 10 seconds.*

# %%
recorded = load_reward_model()
sweep = json.loads((files("pgcourse") / "data" / "rlhf_sweep.json").read_text())
best_of = best_of_n(language_model, recorded, ns=(1, 2, 4, 8, 16, 32), prompts=fast(96, 16))
yours = {
    "*": rlhf.evaluate(trained.actor, language_model, recorded),
    "X": rlhf.evaluate(free.actor, language_model, recorded),
}
fig, axes = plt.subplots(1, 4, figsize=(13, 3.4), layout="constrained")
prices = sorted({run["beta"] for run in sweep})
for ax, (key, title) in zip(
    axes,
    {
        "score": "what it is paid for: score",
        "gold": "what people wanted: gold",
        "valence": "half of gold: valence",
        "readable": "the other half: readable",
    }.items(),
    strict=True,
):
    for run in sorted(sweep, key=lambda run: run["beta"]):
        root = [max(kl, 0) ** 0.5 for kl in run["kl"]]
        label = f"β = {run['beta']}" if run["seed"] == 0 else None
        ax.plot(root, run[key], color=plots.COLORS[prices.index(run["beta"])], lw=1, label=label)
    ax.plot([row["kl"] ** 0.5 for row in best_of], [row[key] for row in best_of], "k.--", lw=1)
    for marker, end in yours.items():
        ax.plot(end["kl"] ** 0.5, end[key], "k" + marker, ms=10)
    ax.set(xlabel="√KL to the reference (√nats)", title=title)
axes[0].legend(fontsize=8, loc="lower right")
plt.show()
print("black star: your run with β = 0.1; black cross: your run with β = 0; dashed: best of n")

# %% [markdown]
# Without a price the score rises to the end, and so does the valence of the words. Gold rises for a few iterations, then falls to about −1: on every one of the five seeds the best look is the one at iteration 5 or an earlier one, and at the end
# hardly an answer is readable. With $\beta = 0.1$ gold ends between 0.6 and 0.75 on every seed. A high price ($\beta = 1$) stays so close to the reference that little is gained.
# At $\beta = 0.03$ the price is too low: on all three seeds gold falls below −0.5 before the end.
# Best-of-n never writes anything that the reference would not, and needs no training; but it pays with $n$ times the sampling, for every answer, for ever.

# %% claim="without_a_price_gold_rises_and_falls"
# The recorded runs with beta = 0, five seeds: gold is best by iteration 5 and ends below -0.9; score and valence end highest; long, unreadable.
free_runs = [run for run in sweep if run["beta"] == 0.0]
priced_runs = [run for run in sweep if run["beta"] == 0.1]
assert len(free_runs) == len(priced_runs) == 5
for run in free_runs:
    best_look = max(range(len(run["gold"])), key=run["gold"].__getitem__)
    assert 0 < run["iteration"][best_look] <= 5 and run["gold"][best_look] > 0.1, run["gold"]
    assert run["gold"][-1] < -0.9 and run["readable"][-1] < 0.05 and run["length"][-1] > 17, run
    assert run["score"][-1] == max(run["score"]) > max(max(r["score"]) for r in priced_runs) + 1
    assert run["valence"][-1] > max(r["valence"][-1] for r in priced_runs)

# %% claim="with_a_price_of_a_tenth_gold_ends_high"
# The recorded runs with beta = 0.1, five seeds: gold ends between 0.6 and 0.75, above 0.65 in the mean; beta = 1 reaches less than half of that, 0.03 ends below -0.5.
ends = [run["gold"][-1] for run in priced_runs]
assert 0.6 < min(ends) and max(ends) < 0.75 and sum(ends) / 5 > 0.65, ends
assert max(run["gold"][-1] for run in sweep if run["beta"] == 1.0) < 0.325
assert max(run["gold"][-1] for run in sweep if run["beta"] == 0.03) < -0.5

# %% claim="three_words_take_most_of_the_kl"
# In each of the five runs with beta = 0.1 three words take more than two thirds of the KL, "happily" among them.
for run in priced_runs:
    assert sum(kl for _, kl in run["words"]) > 2 / 3 * run["kl"][-1], run["words"]
    assert "happily" in [word for word, _ in run["words"]], run["words"]

# %% [markdown]
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
# where $Z$ makes the probabilities sum to 1. So the optimum is known; but to compute it, all $y$ must be listed. Here is a language of six words and
# sentences of five: 7,776 of them. Every method's result is one exact number, $\mathrm{KL}(\pi \,\|\, \pi^*)$. *About 3 seconds.*

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
# Your `rlhf_step`, on this language, with the same update. *About 5 seconds.*


# %%
def my_ppo(tiny, **settings):
    return tiny_language.ppo(tiny, step=rlhf_step, update=ppo_update, **settings)


curve, model = tiny_language.kl_curve(tiny, my_ppo, every=100, iterations=fast(60, 20))
print(f"KL to the optimum: {tiny.kl_to_optimum(model):.3f} nats, from {curve[0][1]:.2f}")
print(
    f"objective: {tiny.objective(tiny.log_table(model)):.3f}; the best possible is {tiny.objective(tiny.log_optimum):.3f}"
)

# %% [markdown]
# %% claim="best_of_n_costs_at_most_log_n_nats"
# By enumeration: the KL of best-of-n to the reference is at most log n - (n - 1) / n, and close to it for small n.
from math import log

order = tiny.reward.argsort()
steps_up, first_of = tiny.reward[order].unique_consecutive(return_inverse=True)
mass = (
    torch.zeros(len(steps_up)).double().index_add(0, first_of, tiny.log_ref[order].exp().double())
)
below = mass.cumsum(0) / mass.sum()
for n in (2, 4, 8, 16, 32):
    best = below**n - torch.cat([torch.zeros(1), below[:-1]]) ** n
    kept = best > 0
    kl = (best[kept] * (best[kept] / mass[kept]).log()).sum().item()
    assert 0.9 * (log(n) - (n - 1) / n) < kl <= log(n) - (n - 1) / n + 1e-3, (n, kl)

# %% claim="the_closed_form_is_the_optimum"
# The objective of any policy is beta log Z - beta KL(pi || pi*): checked for the reference and for forty other policies.
best = tiny.objective(tiny.log_optimum)
for seed in range(40):
    noise = torch.randn(len(tiny.reward), generator=torch.Generator().manual_seed(seed))
    other = F.log_softmax(tiny.log_ref + 0.1 * seed * noise, 0)
    to_optimum = (other.exp() * (other - tiny.log_optimum)).sum()
    assert abs(tiny.objective(other) - (best - tiny.beta * to_optimum)) < 1e-3

# %% [markdown]
# Now the pitfalls of this lesson, made to happen on the same language: the same training with one mistake in it. None of them
# raises an error. Which is the worst? *About 10 seconds.*


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

# %% claim="each_mistake_ends_farther_from_the_optimum" slow=true
# On each of five seeds every one of the five mistakes ends at least 0.3 nats farther from the optimum than no mistake does.
figures = {}
for mistake_, step_ in mistakes.items():
    figures[mistake_] = []
    for seed_ in range(5):
        *_, broken_ = tiny_language.ppo(tiny, iterations=25, step=step_, seed=seed_)
        figures[mistake_].append(round(tiny.kl_to_optimum(broken_), 3))
for mistake_, kls_ in figures.items():
    for right_, wrong_ in zip(figures["none"], kls_, strict=True):
        assert mistake_ == "none" or wrong_ > right_ + 0.3, figures

# %% [markdown]
# ## Beyond the cheatsheet (optional): the KL laboratory
#
# You put the KL into the reward, one log-ratio $\log\frac{\pi}{\pi_{\text{ref}}}$ a token. Others put an estimate of it into the *loss*, and there are three
# estimates to choose from ([Schulman 2020](http://joschu.net/blog/kl-approx.html)). With $d = \log \pi(x_t) - \log \pi_{\text{ref}}(x_t)$, for a token drawn from $\pi$:
#
# | | estimate of $\mathrm{KL}(\pi \,\|\, \pi_{\text{ref}})$ | as an estimate of the *value* |
# |---|---|---|
# | k1 | $d$ | unbiased, noisy, may be negative |
# | k2 | $d^2/2$ | biased, never negative |
# | k3 | $e^{-d} - 1 + d$ | unbiased, never negative; it is your `approx_kl(logp_ref, logp)` |
#
# Each can stand **in the reward**, where it is a constant that the score function multiplies, or **in the loss**, where it is differentiated:
#
# $$\text{reward: } -\Big(r(y) - \beta \sum_t k_t\Big)\, \log \pi(y) \qquad\qquad \text{loss: } -r(y) \log \pi(y) + \beta \sum_t k_t$$
#
# That makes six combinations. All sentences can be listed, so the *expected* gradient of each is exact: no sampling, no noise. The policy is a table, so it can
# be any distribution: no network to blame. What remains is the method.
#
# **Predict before you run the cell: which of the six arrive at $\pi^*$?**
#
# <details><summary>A thought that helps</summary>
#
# A good estimate of a value need not have a good gradient. Take k1 in the loss: its gradient is $\nabla \log \pi$, the score. What is the mean of the score?
#
# </details>
# <details><summary>The answer (run the cell first)</summary>
#
# One: k1 in the reward. k2 in the loss comes nearest among the others.
#
# </details>
#
# *About 5 seconds.*

# %%
bet(
    "07 arrive",
    "Which arrives at π*, or comes nearest?",
    among=[f"{k} in the {place}" for place in ("reward", "loss") for k in ("k1", "k2", "k3")],
)


# %%
estimates = {
    "k1": lambda d: d,
    "k2": lambda d: d**2 / 2,
    "k3": lambda d: torch.expm1(-d) + d,
}


def in_the_reward(k):
    def loss(logp, logp_ref):
        price = k(logp - logp_ref)  # your function charges whatever it is given
        nothing, mask = torch.zeros_like(price), torch.ones_like(price, dtype=torch.bool)
        rew = kl_shaped_rewards(tiny.reward, price, nothing, mask, tiny.beta)
        return -rew.sum(dim=1) * logp.sum(dim=1)

    return loss


def in_the_loss(k):
    def loss(logp, logp_ref):
        return -tiny.reward * logp.sum(dim=1) + tiny.beta * k(logp - logp_ref).sum(dim=1)

    return loss


places = {"reward": in_the_reward, "loss": in_the_loss}
lab = {
    f"{name} in the {place}": tiny.kl_to_optimum(tiny_language.train_exactly(tiny, build(k)))
    for place, build in places.items()
    for name, k in estimates.items()
}
colors = [plots.GREEN if kl < 0.01 else plots.RED for kl in lab.values()]
plt.barh(list(lab), list(lab.values()), color=colors)
plt.bar_label(plt.gca().containers[0], fmt="%.3f", padding=3)
start = tiny.kl_to_optimum(tiny.reference)
plt.axvline(start, color="black", ls=":", label="the reference, untrained")
plt.gca().invert_yaxis()
plt.xscale("log")
plt.xlim(1e-4, 100)
plt.xlabel("KL to the optimum (nats, log scale; less is better)")
plt.title("Where six ways to charge for the KL end")
settle("07 arrive", min(lab, key=lab.get))
plt.legend(loc="center left", bbox_to_anchor=(1, 0.5))
plt.show()

# %% [markdown]
# One of six: **k1 in the reward**, the one you built. The others do not estimate the gradient of $\mathrm{KL}(\pi \,\|\, \pi_{\text{ref}})$, however good they are as estimates of its value:
#
# - **k1 in the loss** has the gradient $\nabla \log \pi$, whose mean is 0. There is no price at all, and the policy runs away.
# - **k3 in the loss**, as GRPO was published, has the gradient $(1 - \pi_{\text{ref}}/\pi) \nabla \log \pi$. Its mean is that of the *other* KL, the forward one
#   $\mathrm{KL}(\pi_{\text{ref}} \,\|\, \pi)$, token by token. Another objective, another optimum, about 0.3 nats away.
# - **k2 in the loss** has the gradient $d\, \nabla \log \pi$. For one token that is right on average. For a sentence it prices each token by its own $d$ alone and leaves out
#   what the token does to the KL of all that follow. Take the whole sentence as one action, $d = \log\pi(y) - \log\pi_{\text{ref}}(y)$, and it is exact.
# - **k2 and k3 in the reward.** The gradient of $\mathbb{E}_\pi[k]$ has two parts, one through the probabilities and one through $k$ itself, and a reward has only the first. For k1 the second part has mean 0; for k2 and k3 it does not.
#
# Here are the gradients themselves, at one and the same policy, against the exact gradient of $\mathrm{KL}(\pi \,\|\, \pi_{\text{ref}})$
# and against that of the forward KL at each token. See [Liu et al. 2025](https://arxiv.org/abs/2510.01555), who work this out, and
# [Shah et al. 2025](https://arxiv.org/abs/2512.21852), who try it on models of 4 to 8 billion parameters.


# %%
def gradient(value):
    """Of value(table), at one policy that has moved away from the reference."""
    table = tiny_language.PolicyTable(tiny)
    logp_ref = table().detach()
    noise = torch.randn(table.logits.shape, generator=torch.Generator().manual_seed(0))
    table.logits.data += 0.5 * noise
    value(table, logp_ref).backward()
    return table.logits.grad.flatten()


def kl_alone(build, k):
    """The price without the score: what remains of the loss for a reward of 0."""

    def value(table, logp_ref):
        with_reward, twice = (
            tiny_language.expected_loss(table, build(price), logp_ref)
            for price in (k, lambda d: 2 * k(d))
        )
        return (twice - with_reward) / tiny.beta

    return value


def reverse_kl(table, logp_ref):
    logp = table().sum(dim=1)
    return (logp.exp() * (logp - logp_ref.sum(dim=1))).sum()


def forward_kl_of_tokens(table, logp_ref):
    """At each beginning KL(ref || pi) of the next word, weighted by how often pi comes there."""
    p = table().sum(dim=1).exp().detach()
    visits = torch.zeros(len(table.logits)).index_add(
        0, table.rows.flatten(), p.repeat_interleave(5)
    )
    ref = tiny_language.PolicyTable(tiny).logits.detach()
    return (visits * (ref.exp() * (ref - F.log_softmax(table.logits, dim=1))).sum(dim=1)).sum()


right, forward = gradient(reverse_kl), gradient(forward_kl_of_tokens)
rows = {}
for place, build in places.items():
    for name, k in estimates.items():
        g = gradient(kl_alone(build, k))
        size = g.norm() / right.norm()
        cosines = [torch.cosine_similarity(g, x, dim=0).item() for x in (right, forward)]
        rows[f"{name} in the {place}"] = (size.item(), *cosines)
text_plots.table(
    ("", "length, against the right gradient", "cosine with it", "cosine with the forward KL's"),
    [
        (name, f"{size:.2f}", *(f"{c:+.4f}" if size > 1e-3 else "–" for c in cosines))
        for name, (size, *cosines) in rows.items()
    ],
)

# %% claim="only_k1_in_the_reward_reaches_the_optimum"
# Of the six, k1 in the reward ends within 0.005 nats of the optimum, every other at 0.09 or more; k1 in the loss beyond 10.
reached = dict(lab)
assert reached.pop("k1 in the reward") < 0.005, lab
assert min(reached.values()) > 0.09 and lab["k1 in the loss"] > 10, lab
assert 0.25 < lab["k3 in the loss"] < 0.35 and lab["k2 in the loss"] < lab["k3 in the loss"], lab
assert min(reached.values()) == lab["k2 in the loss"], lab

# %% claim="k2_of_the_whole_sentence_is_exact"
# k2 in the loss is exact when the sentence is one action: it ends within 0.005 nats of the optimum.
whole = tiny_language.train_exactly(
    tiny,
    lambda logp, ref: (
        -tiny.reward * logp.sum(dim=1) + tiny.beta * estimates["k2"]((logp - ref).sum(dim=1))
    ),
)
assert tiny.kl_to_optimum(whole) < 0.005

# %% claim="k3_in_the_loss_is_the_forward_kl"
# Expected gradients: k1 in the reward has the reverse KL's, k3 in the loss the forward per-token KL's, k1 in the loss none.
assert rows["k1 in the reward"][1] > 0.99999 and abs(rows["k1 in the reward"][0] - 1) < 1e-4
assert rows["k3 in the loss"][2] > 0.99999 and rows["k3 in the loss"][1] < 0.99
assert rows["k1 in the loss"][0] < 1e-4
assert max(rows["k2 in the reward"][1], rows["k3 in the reward"][1]) < 0.5

# %% [markdown]
# ## Without a critic: RLOO and GRPO
#
# PPO as you built it needs a critic as large as the policy. Two popular methods do without. Sample $K$ answers to each prompt and let them be each
# other's baseline. **RLOO** ([Ahmadian et al. 2024](https://arxiv.org/abs/2402.14740)) subtracts the mean of the *other* answers, lesson 3's leave-one-out
# baseline; it stays unbiased, and it takes the full response as one action. **GRPO** ([Shao et al. 2024](https://arxiv.org/abs/2402.03300)) subtracts the group's mean and divides by its spread.
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
# This one is written already, and wrong in one place. Find it, say why, mend it.
#
# <details><summary>Hint</summary>
#
# Axis 0 runs over the answers to one prompt, axis 1 over the prompts. Give it an easy prompt and a hard one: may the one change the
# advantages of the answers to the other?
#
# </details>

# %% exercise="pgcourse.estimators.grpo_advantages" broken="spread of the whole batch"

# %% [markdown]
# Between the two as published lie *two* differences: the division by the spread, and the KL, which RLOO has as k1 in the reward and GRPO as k3 in the loss.
# On our language RLOO comes closer to $\pi^*$ than GRPO. **Predict: which of the two differences is it?** Your two functions and two places for
# the KL make four combinations.
#
# <details><summary>The answer (run the cell first)</summary>
#
# The place of the KL. The division alone costs next to nothing here.
#
# </details>
#
# *About 15 seconds.*

# %%
group_methods = {
    "RLOO: no division, k1 in the reward": (tiny_language.rloo, rloo_advantages),
    "÷ spread, k1 in the reward": (tiny_language.rloo, grpo_advantages),
    "no division, k3 in the loss": (tiny_language.grpo, rloo_advantages),
    "GRPO: ÷ spread, k3 in the loss": (tiny_language.grpo, grpo_advantages),
}


def several(method, **settings):
    """The exact KL to the optimum while training, one curve for each seed: iterations, [seeds, looks]."""
    runs = [
        tiny_language.kl_curve(tiny, method, every=10, seed=seed, progress=False, **settings)[0]
        for seed in range(fast(3, 1))
    ]
    return [i for i, _ in runs[0]], torch.tensor([[kl for _, kl in run] for run in runs])


curves = {
    name: several(method, iterations=fast(100, 20), advantages=advantages)
    for name, (method, advantages) in group_methods.items()
}
text_plots.table(
    ("", "KL to the optimum at the end, one seed each (nats)"),
    [(name, ", ".join(f"{kl:.2f}" for kl in kls[:, -1])) for name, (_, kls) in curves.items()],
)

# %% [markdown]
# It is where the KL stands. With the KL in the reward, GRPO's advantages arrive as near as RLOO's; with k3 in the loss neither does, and dividing makes little difference.
# That is the laboratory's result again, this time with samples and a network. Nor is it "the optimum of another $\beta$": no $\beta$ at all has an optimum as near to where GRPO ends as RLOO ends to $\pi^*$.

# %% claim="it_is_the_place_of_the_kl" slow=true
# Five seeds: with the KL in the reward both divisions end below 0.2 nats, with k3 in the loss both above 0.3; and GRPO is 0.25 from every other beta's optimum.
figures = {}
for name_, (method_, advantages_) in group_methods.items():
    figures[name_], nearest_ = [], []
    for seed_ in range(5):
        *_, model_ = method_(tiny, iterations=100, seed=seed_, advantages=advantages_)
        figures[name_].append(round(tiny.kl_to_optimum(model_), 3))
        logp_ = tiny.log_table(model_)
        tilted_ = [
            F.log_softmax(tiny.log_ref + tiny.reward / (0.02 * b_), 0) for b_ in range(5, 150)
        ]
        nearest_.append(min((logp_.exp() * (logp_ - t_)).sum().item() for t_ in tilted_))
figures["GRPO to the nearest optimum of any beta"] = [round(x_, 3) for x_ in nearest_]
assert max(figures["RLOO: no division, k1 in the reward"]) < 0.2, figures
assert max(figures["÷ spread, k1 in the reward"]) < 0.2, figures
assert min(figures["no division, k3 in the loss"]) > 0.3, figures
assert min(figures["GRPO: ÷ spread, k3 in the loss"]) > 0.3 and min(nearest_) > 0.25, figures

# %% [markdown]
# ### What GRPO's two divisions do
#
# **By the spread.** Take questions with a right-or-wrong reward, of which the policy answers a share $p$ rightly. How hard does a group of 8 answers push the odds of being right? The true gradient with respect to the logit of $p$ is $p(1-p)$.
# With your two functions that is an exact sum over how many of the eight are right (left picture).
#
# **By the length.** GRPO as published also averages over the tokens of each answer, $\frac{1}{|y|}\sum_t$. A long wrong answer is then punished less *per token* than a short one
# ([Liu et al. 2025](https://arxiv.org/abs/2503.20783), who leave out both divisions and call that Dr. GRPO; it is the length bias of lesson 2's mean over steps).
# A small test: a coin that the policy cannot influence makes an answer right (30 %) or wrong, and all the policy decides is when to stop. So length earns nothing. **Predict: what happens to the length of right and of wrong answers?**
#
# <details><summary>The answer (run the cell first)</summary>
#
# Divided by their length, wrong answers grow until they reach the limit of 20 tokens and right ones shrink to a single token. Divided by a constant, neither has a direction.
#
# </details>
#
# *About 4 seconds.*

# %%
from math import comb

K, p = 8, torch.linspace(0.02, 0.98, 49)
groups = torch.tensor([[float(i < k) for k in range(K + 1)] for i in range(K)])  # k of 8 are right
chance = torch.stack([comb(K, k) * p**k * (1 - p) ** (K - k) for k in range(K + 1)])


def expected_push(advantages):
    """The expected gradient with respect to the logit of p, exactly: [len(p)]."""
    score = groups[..., None] - p  # d log P(right or wrong) / d logit
    return (chance * (advantages(groups)[..., None] * score).mean(dim=0)).sum(dim=0)


def lengths(divide, seed, iterations=150, longest=20):
    """Mean length of [wrong, right] answers while the policy learns when to stop: [iterations, 2]."""
    generator = torch.Generator().manual_seed(seed)
    logit = torch.full((2, longest), -1.5, requires_grad=True)  # of stopping, by outcome and step
    optimizer, seen, t = Adam([logit], 0.05), [], torch.arange(longest)
    for _ in range(iterations):
        right = (torch.rand(8 * 64, generator=generator) < 0.3).long()
        stops = torch.rand(len(right), longest, generator=generator) < logit.sigmoid()[right]
        stops[:, -1] = True
        length = stops.int().argmax(dim=1) + 1
        last = t == length[:, None] - 1
        logp = torch.where(last, F.logsigmoid(logit)[right], F.logsigmoid(-logit)[right])
        logp = logp * (t < length[:, None]) * (t < longest - 1)  # the last step is no choice
        adv = grpo_advantages(right.float().view(8, 64)).view(-1)
        loss = -(adv * logp.sum(dim=1) / (length if divide else 5.0)).mean()
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        seen.append([length[right == outcome].float().mean().item() for outcome in (0, 1)])
    return torch.tensor(seen)


fig, (left, right_ax) = plt.subplots(1, 2, figsize=(10, 3.6))
for name, advantages in (("RLOO", rloo_advantages), ("GRPO", grpo_advantages)):
    left.plot(p, expected_push(advantages) / (p * (1 - p)), label=name)
left.set(
    xlabel="share p of right answers",
    ylabel="push / true gradient",
    title="Dividing by the spread (K = 8)",
    ylim=(0, 3),
)
left.legend()
grown = {
    divide: torch.stack([lengths(divide, seed, fast(150, 40)) for seed in range(fast(5, 2))])
    for divide in (True, False)
}
for divide, style in ((True, "-"), (False, ":")):
    for outcome, color in ((0, plots.RED), (1, plots.GREEN)):
        label = (
            f"{('wrong', 'right')[outcome]} answers, {'÷ own length' if divide else '÷ a constant'}"
        )
        labels = [label] + ["_"] * (len(grown[divide]) - 1)
        right_ax.plot(grown[divide][..., outcome].T, color=color, ls=style, lw=1, label=labels)
right_ax.set(xlabel="iteration", ylabel="mean length (tokens)", title="Dividing by the length")
right_ax.legend(fontsize=8)
plt.show()

# %% [markdown]
# RLOO pushes as hard as the true gradient says. GRPO pushes about twice as hard, which is only a learning rate; but it favors questions that are nearly always or nearly never answered rightly
# by up to 40 % over those that are answered rightly half of the time. And dividing by the length makes wrong answers grow to the limit and right ones shrink to a single token, although length earns nothing.
# Divided by a constant, the lengths only wander a little, by chance.

# %% claim="rloo_is_unbiased_and_grpo_favors_the_extremes"
# RLOO's expected push is p (1 - p) exactly; GRPO's, relative to it, is at least 1.35 times as large at p = 0.02 and 0.98 as at 0.5.
assert torch.allclose(expected_push(rloo_advantages), p * (1 - p), atol=1e-5)
ratio = expected_push(grpo_advantages) / (p * (1 - p))
assert ratio.argmin() == 24 and 1.35 < ratio[[0, -1]].min() / ratio[24] < 1.45 and ratio.min() > 1.8

# %% claim="dividing_by_the_length_makes_wrong_answers_grow"
# Five seeds: divided by their length wrong answers grow beyond 17 tokens and right ones shrink below 1.5; divided by a constant both stay between 3 and 8.
for seed in range(5):
    wrong_end, right_end = lengths(True, seed)[-10:].mean(dim=0)
    assert wrong_end > 17 and right_end < 1.5, (wrong_end, right_end)
    fair = lengths(False, seed)[-10:].mean(dim=0)
    assert fair.min() > 3 and fair.max() < 8, fair

# %% [markdown]
# ## Without a reward model: DPO
#
# Solve $\pi^* \propto \pi_{\text{ref}}\, e^{r/\beta}$ for the reward: $r(y) = \beta \log \frac{\pi^*(y)}{\pi_{\text{ref}}(y)} + \beta \log Z$. So a policy
# *is* a reward model. Put that into Bradley–Terry, where $Z$ cancels, and the votes train the policy directly ([Rafailov et al. 2023](https://arxiv.org/abs/2305.18290)):
#
# $$L = -\frac{1}{B} \sum_b \log \sigma\Big(\beta \Big[\log \tfrac{\pi(y_c)}{\pi_{\text{ref}}(y_c)} - \log \tfrac{\pi(y_r)}{\pi_{\text{ref}}(y_r)}\Big]\Big)$$
#
# where $y_c$ is the chosen and $y_r$ the rejected answer. No sampling while it learns, no critic, no reward model; but it only ever sees answers that the reference wrote.
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
# All four by the same yardstick, with your functions, three seeds each. *About 20 seconds.*

# %%
curves["PPO (yours)"] = several(my_ppo, iterations=fast(60, 20))
curves["DPO, 4,000 votes"] = several(tiny_language.dpo, iterations=fast(200, 30), loss=dpo_loss)
shown = {
    "PPO (yours)": curves["PPO (yours)"],
    "RLOO": curves["RLOO: no division, k1 in the reward"],
    "GRPO": curves["GRPO: ÷ spread, k3 in the loss"],
    "DPO, 4,000 votes": curves["DPO, 4,000 votes"],
}
plt.figure(figsize=(9, 3.8))
for color, (name, (steps, kls)) in zip(plots.COLORS, shown.items(), strict=False):
    share = [step / steps[-1] for step in steps]
    label = f"{name}: {kls[:, -1].min():.2f} to {kls[:, -1].max():.2f}"
    plt.plot(share, kls.T, color=color, lw=1, label=[label] + ["_"] * (len(kls) - 1))
plt.yscale("log")
plt.xlabel("training (share of each method's iterations)")
plt.ylabel("KL to the optimum (nats)")
plt.title("Distance from the exact optimum")
plt.legend(loc="center left", bbox_to_anchor=(1, 0.5), title="at the end, all seeds")
plt.show()

# %% [markdown]
# PPO and RLOO arrive near the optimum; GRPO stops short of it, for the reason you have seen. DPO comes nearest early on and then drifts away. That is no matter of
# too few votes: with 400, 4,000 or 100,000 of them it drifts all the same. It overshoots: $\pi^*$ is 1.1 nats from the reference, and DPO ends at twice that or more. With 4,000 votes, a learning rate four times smaller
# makes the drift smaller. (The horizontal axis is each method's own training: their iterations do not cost the same.)

# %% claim="dpo_drifts_whatever_the_number_of_votes" slow=true
# Five seeds each with 400, 4,000 and 100,000 votes: DPO always ends at least 0.1 nats behind its best moment, and at least 1.6 nats from the reference.
figures = {}
for votes_ in (400, 4_000, 100_000):
    found_ = figures[f"{votes_} votes: best, end, KL to the reference"] = []
    for seed_ in range(5):
        given_ = dict(pairs=votes_, iterations=200, seed=seed_, every=10, progress=False)
        curve_, dpo_ = tiny_language.kl_curve(tiny, tiny_language.dpo, **given_)
        logp_ = tiny.log_table(dpo_)
        moved_ = (logp_.exp() * (logp_ - tiny.log_ref)).sum().item()
        numbers_ = min(kl_ for _, kl_ in curve_), curve_[-1][1], moved_
        found_.append([round(x_, 3) for x_ in numbers_])
        if votes_ == 4_000:
            slow_ = tiny_language.kl_curve(tiny, tiny_language.dpo, lr=5e-4, **given_)[0]
            found_slow_ = figures.setdefault("4000 votes, a quarter of the rate: end", [])
            found_slow_.append(round(slow_[-1][1], 3))
at_optimum_ = tiny.log_optimum.exp() * (tiny.log_optimum - tiny.log_ref)
figures["pi*: KL to the reference"] = round(at_optimum_.sum().item(), 3)
assert 1.0 < figures["pi*: KL to the reference"] < 1.2, figures
for votes_ in (400, 4_000, 100_000):
    for best_, end_, moved_ in figures[f"{votes_} votes: best, end, KL to the reference"]:
        assert end_ > best_ + 0.1 and moved_ > 1.6, figures
ends_ = [end_ for _, end_, _ in figures["4000 votes: best, end, KL to the reference"]]
assert sum(figures["4000 votes, a quarter of the rate: end"]) < 0.8 * sum(ends_), figures

# %% [markdown]
# ## With a verifier in place of the reward model
#
# Where a program can say whether an answer is right (a unit test, a checked proof, a number), nobody has to vote, and no reward model has to be trained:
# *reinforcement learning with verifiable rewards*, RLVR. Our program asks for two things: the answer is readable, and it is exactly twelve tokens long, `<end>` included. One if so, else zero.
# Of the language model's answers about one in nine is right.
#
# `rlhf_step` and `ppo_update` stay as they are; only what scores is another. **Predict:** which share is right after 15 steps, at $\beta = 0.05$? *About 10 seconds.*

# %%
from pgcourse.language.grammar import is_readable

bet("07 verifier", "Which share of the answers is right after 15 steps?", between=(0, 1))


# %%
class Verifier:
    """1 for an answer that checks out, else 0. It has no parameters; the critic starts from the language model."""

    net = scalar_model_from(language_model)

    def __call__(self, tokens, mask):
        pairs = zip(decode(tokens, ~mask), decode(tokens, mask), strict=True)
        right = [is_readable(prompt, a) and len(a.split()) == 12 for prompt, a in pairs]
        return torch.tensor(right, dtype=torch.float32)


config = rlhf.Config(beta=0.05, iterations=fast(15, 2), conversations=fast(128, 48))
_, verified = rlhf.train(
    language_model, Verifier(), config, step=rlhf_step, update=ppo_update, loss=ppo_clip_loss
)
settle("07 verifier", verified[-1]["score"])
text_plots.table(
    ("step", "right", "KL (nats per answer)", "different answers"),
    [
        (h["iteration"], f"{h['score']:.0%}", f"{h['kl']:.1f}", f"{h['distinct']:.0%}")
        for h in verified
    ],
)

# %%
text_plots.table(("prompt", "answer"), [(p, a) for p, a in verified[-1]["texts"][:5]])

# %% [markdown]
# In each of five runs more than 85 % are right in the end. Word salad earns nothing: this program reads the whole answer. But it asks for nothing else, and what is not asked for may go. At $\beta = 0$,
# after 25 steps, more than 95 % are right, and of 256 answers fewer than three in four differ from one another; with the price more than four in five do. A verifier needs no votes. It needs a reference for
# the same reason as a reward model: to keep what it does not measure.

# %% claim="a_verifier_is_satisfied_and_without_a_price_variety_goes" slow=true
# Five seeds: at beta = 0.05 more than 0.85 are right after 15 steps, more than 0.9 after 25, and more than 0.8 of the answers differ; at beta = 0, after 25, more than 0.95 are right and fewer than 0.75 differ.
assert abs(verified[0]["score"] - 1 / 9) < 0.03, verified[0]["score"]
figures = {}
for beta_, steps_ in ((0.05, 15), (0.05, 25), (0.0, 25)):
    ends_ = []
    for seed_ in range(5):
        config_ = rlhf.Config(beta=beta_, iterations=steps_, seed=seed_)
        ends_.append(rlhf.train(language_model, Verifier(), config_, rlhf_step, ppo_update)[1][-1])
    figures[f"right, beta {beta_}, {steps_} steps"] = [round(h_["score"], 2) for h_ in ends_]
    figures[f"different, beta {beta_}, {steps_} steps"] = [round(h_["distinct"], 2) for h_ in ends_]
assert min(figures["right, beta 0.05, 15 steps"]) > 0.85, figures
assert min(figures["right, beta 0.05, 25 steps"]) > 0.9, figures
assert min(figures["different, beta 0.05, 25 steps"]) > 0.8, figures
assert min(figures["right, beta 0.0, 25 steps"]) > 0.95, figures
assert max(figures["different, beta 0.0, 25 steps"]) < 0.75, figures

# %% [markdown]
# ## The bug clinic
#
# RLHF fails silently, and a score that rises proves little: you have seen it rise while the text fell apart. Eight patients, A to H. Each was trained three times, with seeds 0 to 2, by the `rlhf.train` of this lesson
# ($\beta = 0.1$, 20 iterations of 64 conversations), with **exactly one bug** (one of the bugs has to be made in two functions). No run raised an error. Behind each patient, in gray, three healthy runs.
#
# All you get is what a training log shows: for each iteration, the means over the 64 answers that the run itself has drawn.
#
# | Gauge | Healthy | Ask, when it is not |
# |---|---|---|
# | score | rises from 0 to about 2.7 | is it paid to the policy at all? |
# | gold | rises from 0 to about 0.5 | does the reward model want what people want? is something exploited? |
# | KL to the reference (nats per answer, as the run reports it) | rises from exactly 0 to about 7 | compared with what? what holds it? |
# | length (tokens) | rises from 11 to 13 | who decides where an answer ends? |
# | distinct (share of different answers) | above 0.95 | are there still 64 answers? |
# | sampler gap (mean over tokens, nats) | 0 up to rounding | were the answers drawn from the policy that is trained? |
# | first ratio error | 0 up to rounding | do two scorings of the same answer agree? |

# %%
patients = clinic_rlhf.load()
healthy_runs = patients.pop("healthy")
clinic_rlhf.show(patients, healthy_runs)
plt.show()

# %% [markdown]
# A value at the edge of its panel means "that or beyond". The numbers behind the curves: the means over the last five iterations of all three runs.

# %%
text_plots.table(
    ("", *clinic_rlhf.GAUGES.values()),
    [
        (who, *(f"{x:.3g}" for x in clinic_rlhf.late(runs).values()))
        for who, runs in {"healthy": healthy_runs, **patients}.items()
    ],
)

# %% claim="healthy_gauges_of_rlhf"
# What the table calls healthy holds for the three recorded runs: first iteration, and means over the last five.
for run in healthy_runs:
    end = clinic_rlhf.late([run])
    assert abs(run["score"][0]) < 0.3 and abs(end["score"] - 2.7) < 0.15, run["score"]
    assert abs(run["gold"][0]) < 0.2 and abs(end["gold"] - 0.5) < 0.12, run["gold"]
    assert run["kl"][0] == 0 and abs(end["kl"] - 7) < 0.7, run["kl"]
    assert abs(run["length"][0] - 11) < 0.6 and abs(end["length"] - 13) < 0.2, run["length"]
    assert run["distinct"].min() > 0.95, run["distinct"]
    assert run["gap"].max() < 1e-6 and run["first_ratio_error"].max() < 1e-4, run

# %% claim="the_hints_of_the_clinic_are_true"
# The sampler gap opens for C, F and H, of which C moves the ratio and H is short; B's KL is exactly 0, A's small; gold falls for B and three more.
ends = {who: [clinic_rlhf.late([run]) for run in runs] for who, runs in patients.items()}


def who_has(condition):
    """The patients for which it is so in all three runs; in the others it is so in none."""
    told = {who: {condition(end) for end in runs} for who, runs in ends.items()}
    assert all(len(said) == 1 for said in told.values()), told
    return "".join(who for who, said in told.items() if said == {True})


assert who_has(lambda end: end["gap"] > 1e-3) == "CFH"
assert who_has(lambda end: end["first_ratio_error"] > 1e-3) == "C"
assert who_has(lambda end: end["length"] <= 8) == "H"
assert who_has(lambda end: end["kl"] == 0) == "B" and not any(x["kl"].any() for x in patients["B"])
assert who_has(lambda end: end["kl"] < 0.5) == "AB"
assert who_has(lambda end: end["gold"] < -0.5) == "BDEG"
assert who_has(lambda end: end["kl"] > 50) == "EG" and who_has(lambda end: end["score"] > 3) == "BG"
for end in ends["D"]:
    assert 5 < end["kl"] < 8 and 12.5 < end["length"] < 13.5, end

# %% [markdown]
# ### Exercise: `quiz_rlhf_clinic` (20 minutes, ●●●)
#
# Who has what? Each diagnosis fits one patient. Work out what each bug *must* do to each gauge before you look for it.
#
# <details><summary>Hint 1</summary>
#
# Start at the right. Two gauges are 0 in a healthy run whatever it has learned, and only three of the bugs have to do with how the answers were drawn or scored. "What the ratio cannot show", above, tells two of the three apart;
# the length tells the third.
#
# </details>
# <details><summary>Hint 2</summary>
#
# Then the KL. Whose is exactly 0 from the first iteration to the last? Nothing that learns stays where it was: so what is it compared with? And whose hardly leaves 0, with a score that does not rise?
#
# </details>
# <details><summary>Hint 3</summary>
#
# Of the other three the gold falls. One of them has the KL and the length of a healthy run: it does well what it was told to do. The KL of the other two is far too large: one of them goes after the score, the other
# after the KL itself.
#
# </details>

# %% exercise="pgcourse.exercises.rlhf.quiz_rlhf_clinic.quiz_rlhf_clinic"

# %% [markdown]
# A diagnosis is worth something if the treatment works. `clinic_rlhf.rerun(patient, ...)` trains a patient again, its bug still in, except for the pieces that you put in their place: here your own
# `kl_shaped_rewards`. Whom else would it cure? *About 15 seconds.*

# %%
patient = "A"  # or another one
cured = clinic_rlhf.rerun(patient, iterations=fast(20, 2), kl_shaped_rewards=kl_shaped_rewards)
clinic_rlhf.show({patient: patients[patient], f"{patient}, treated": [cured]}, healthy_runs)
plt.show()

# %% [markdown]
# ## 2024–2026: the same table, other rows
#
# Much recent work on language models is about rewards that need no votes. The problem has the same shape, and so has the table; only some of its rows change:
#
# | | reward | who judges | algorithm, often | what to look out for |
# |---|---|---|---|---|
# | **RLHF**, this lesson | a model trained on people's votes | people, once, before | PPO | the model is right only near what it has seen |
# | **RLAIF** | a model trained on the votes of another language model, or that model's mark | a written rule and a language model | PPO | the judge's own biases; a liking for length is [a known one](https://arxiv.org/abs/2404.04475) |
# | **RLVR**, verifiable rewards | 1 if the answer checks out (a number, a unit test, a proof), else 0 | a program | GRPO and its relatives | what the program does not check; questions that all or none of a group answer rightly teach nothing |
# | **process rewards** | a mark for each step of the reasoning | a model trained on marked steps | PPO, GRPO, or best-of-n | $r_t$ is no longer 0 in the middle: credit is easier, and there is more to exploit |
#
# Policy, state and action stay as they are: the language model, the text so far, the next token (or the full response).
#
# - **RLVR.** [Tülu 3](https://arxiv.org/abs/2411.15124) gave it its name (with PPO); [DeepSeek-R1](https://arxiv.org/abs/2501.12948) made long reasoning with it, by GRPO. You trained with one above.
#   Ours is not hacked by word salad. A verifier can still be hacked, by whatever passes the test without being what was meant.
# - **GRPO and its biases.** It needs no critic, which saves a network as large as the policy. The biases are those you measured: the division by the spread and by the length ([Dr. GRPO](https://arxiv.org/abs/2503.20783)), and where
#   the KL stands. [DAPO](https://arxiv.org/abs/2503.14476) averages over all tokens of a batch instead, resamples groups that are all right or all wrong, and leaves the KL out.
# - **RLAIF.** [Constitutional AI](https://arxiv.org/abs/2212.08073) and [Lee et al. 2023](https://arxiv.org/abs/2309.00267): the loss of your reward model stays the same; the votes come from a model.
# - **Process rewards.** [Lightman et al. 2023](https://arxiv.org/abs/2305.20050) had people mark 800,000 steps of reasoning (and used the marks to choose among answers). In reinforcement, each mark is a reward at the end of its step; `rlhf_advantages` takes such rewards as it is.
#
# ## Ask yourself
#
# <details><summary>Why is there a policy gradient here at all? The reward model is differentiable.</summary>
#
# It is, in its weights; but between policy and reward model lie sampled tokens, which are integers, and no gradient passes through a draw. The policy gradient needs none: it needs only the score, $\nabla \log \pi$, of what was drawn.
#
# </details>
# <details><summary>The score went up. Is the model better?</summary>
#
# Not necessarily: β = 0 scored highest of all. Only a measure that nothing was trained on can tell, and even gold knows only what its raters were asked.
#
# </details>
# <details><summary>The first ratio is 1. Were the answers sampled from the policy that is trained?</summary>
#
# That does not follow: both log-probabilities in the ratio come from scoring. Compare with the log-probabilities that the sampler used.
#
# </details>
# <details><summary>Which of these is one KL divergence, which another: the gauge <code>kl</code> in lesson 5's log, and the <code>kl</code> that <code>rlhf_step</code> reports?</summary>
#
# Lesson 5's is to $\pi_{\text{old}}$, from the start of the same update: it says whether the data can still be trusted. The step's is to $\pi_{\text{ref}}$, from before all training: it is part of the objective, and says whether the reward model can still be trusted.
#
# </details>
# <details><summary>Why not whiten the rewards?</summary>
#
# Then β means something else in each batch. The reward model's scores were standardized once, on the reference's answers; the advantages are normalized inside the update.
#
# </details>
# <details><summary>An answer that never ends gets −1, whatever it says. Why?</summary>
#
# The reward model was trained on answers that end; what it says of others means nothing, and a policy might find out. One standard deviation below the average is a poor score, not a catastrophic one.
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
# exploits. And whose votes: ours are strangers' ratings of words, and a large model's are somebody's opinions too.
#
# ## Papers
#
# - Christiano et al. (2017), *Deep reinforcement learning from human preferences*, [arXiv:1706.03741](https://arxiv.org/abs/1706.03741).
# - Ziegler et al. (2019), *Fine-tuning language models from human preferences*, [arXiv:1909.08593](https://arxiv.org/abs/1909.08593).
# - Ouyang et al. (2022), *Training language models to follow instructions with human feedback*, [arXiv:2203.02155](https://arxiv.org/abs/2203.02155).
# - Gao, Schulman & Hilton (2022), *Scaling laws for reward model overoptimization*, [arXiv:2210.10760](https://arxiv.org/abs/2210.10760).
# - Rafailov et al. (2023), *Direct preference optimization*, [arXiv:2305.18290](https://arxiv.org/abs/2305.18290).
# - Ahmadian et al. (2024), *Back to basics* (RLOO), [arXiv:2402.14740](https://arxiv.org/abs/2402.14740); Shao et al. (2024), *DeepSeekMath* (GRPO), [arXiv:2402.03300](https://arxiv.org/abs/2402.03300).
# - Liu et al. (2025), *Understanding R1-Zero-like training* (Dr. GRPO), [arXiv:2503.20783](https://arxiv.org/abs/2503.20783).
# - Liu et al. (2025), *Rethinking KL regularization in RLHF*, [arXiv:2510.01555](https://arxiv.org/abs/2510.01555); Shah et al. (2025), *A comedy of estimators*, [arXiv:2512.21852](https://arxiv.org/abs/2512.21852).
# - Huang et al. (2024), *The N+ implementation details of RLHF with PPO*, [arXiv:2403.17031](https://arxiv.org/abs/2403.17031).
# - Hutto & Gilbert (2014), *VADER: a parsimonious rule-based model for sentiment analysis of social media text*, [ICWSM 8](https://doi.org/10.1609/icwsm.v8i1.14550): the human ratings.
#
# **The lessons end here.** From a bandit with two arms to a language model, one formula has done the work: make more probable what
# turned out better than expected.
#
# **Next:** [the capstone](08_capstone.ipynb). You find a hack of the reward model, vote on it, and train both again.
