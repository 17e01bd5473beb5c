# ---
# jupyter:
#   jupytext:
#     text_representation:
#       extension: .py
#       format_name: percent
# ---

# %% [markdown]
# # 8 · Capstone: red team, blue team
#
# Lesson 7 showed a policy that cheats its reward model. Here you do what is done about it. First you are the **red team**: your RLHF,
# without a price, looks for what the reward model overlooks. Then you are the **blue team**: you say what went wrong, choose what people should be
# asked, vote, and train the reward model again; and RLHF begins a second round. This is **iterated RLHF**
# ([Christiano et al. 2017](https://arxiv.org/abs/1706.03741), [Bai et al. 2022](https://arxiv.org/abs/2204.05862)).
#
# **You will be able to**
#
# - find a hack of a reward model, and name it by numbers and by its texts,
# - choose the pairs that are worth a person's time,
# - teach a reward model something new without its forgetting the old,
# - report a result without peeking at what is held out.
#
# **You need** lesson 7. About 75 minutes. All cells together take about a minute of one core; the time stands before each long one.
#
# | Exercise | Minutes | Difficulty |
# |---|---|---|
# | `name_the_hack` | 8 | ● |
# | `choose_pairs` | 8 | ● |
# | `my_votes` | 12 | ● |
# | `pooled_loss` | 10 | ●● |
# | `look_within` | 8 | ● |

# %% tags=["setup"]
import matplotlib.pyplot as plt
import torch
import torch.nn.functional as F

from pgcourse import capstone, fast, plots, rlhf
from pgcourse.language import text_plots
from pgcourse.ballot import Ballot
from pgcourse.bets import ask_again, bet, settle
from pgcourse.checks import check
from pgcourse.checks.own import own
from pgcourse.language.pretraining import encode_conversations, load_language_model
from pgcourse.recall import recall
from pgcourse.language.reward_model import accuracy, load_reward_model, understands_not
from pgcourse.tensors import same_shape
from pgcourse.language.votes import LABEL_RATERS, judge_texts, valence

plots.style()
torch.set_num_threads(1)

# %% [markdown]
# <details><summary>Names from the package that you will meet</summary>
#
# | name | what it is |
# |---|---|
# | `load_language_model()`, `load_reward_model()` | the models of lesson 7, as the project trained them |
# | `rlhf` | lesson 7's training loop, `rlhf.train`, and its settings |
# | `own(lesson, …)` | your functions from an earlier notebook, if they pass their checks; else the package's |
# | `encode_conversations` | pairs (prompt, answer) of text as tokens and mask |
# | `valence`, `LABEL_RATERS` | how pleasant the words of an answer are; the raters whose ratings make the votes |
# | `judge_texts`, `accuracy`, `understands_not` | gold and its parts; how often a reward model agrees with votes; whether it knows "not" |
# | `capstone` | recorded pairs and runs, readers, `capstone.retrain` |
# | `Ballot(pairs)` | two answers, A or B, one pair at a time |
# | `same_shape`, `fast`, `plots`, `text_plots`, `check`, `bet`, `settle`, `ask_again`, `recall` | as in lesson 7 |
#
# </details>
#
# Your bets that were furthest off, again:

# %%
ask_again("08")

# %% [markdown]
# And three questions from lessons 5 and 6. No points; answer before you look anything up.

# %%
recall("08")

# %% [markdown]
# ## Red team
#
# The next cell looks into your saved `05_ppo.ipynb` and `07_rlhf.ipynb`, beside this notebook. What passes its check there runs here; for the rest the
# package's functions stand in. *About 20 seconds.*

# %%
ppo_update, ppo_clip_loss = own("05_ppo", "ppo_update", "ppo_clip_loss")
rlhf_step, sequence_score = own("07_rlhf", "rlhf_step", "sequence_score")

# %% [markdown]
# Your RLHF, with the price of the KL at $\beta = 0$: nothing counts but the score. **Bet first:** before training, 87 % of the answers are readable sentences on their topic.

# %%
bet("08 readable", "Which share of the answers is readable after 15 iterations?", between=(0, 1))

# %% [markdown]
# *About 15 seconds.*

# %%
language_model, reward_model = load_language_model().requires_grad_(False), load_reward_model()
size = fast(96, 32)
hacked, found = rlhf.train(
    language_model,
    reward_model,
    rlhf.Config(beta=0.0, iterations=fast(15, 2), conversations=size),
    step=rlhf_step,
    update=ppo_update,
    loss=ppo_clip_loss,
    every=3,
)

# %%
text_plots.panels({"β = 0": found})
settle("08 readable", found[-1]["readable"])
plt.show()

# %% [markdown]
# The score rises all the way, gold rises and falls. What did the policy find? Here are answers of the language model, before, and of the policy, after. Under
# each word stands what the reward model pays for it (in standard deviations of the score): orange is paid for, blue costs.


# %%
def paid(conversations, model):
    """For each (prompt, answer) a row of `text_plots.colored_text`: score and gold, words, what each is paid."""
    tokens, mask = encode_conversations(conversations)
    with torch.no_grad():
        values, scores = model.net(tokens) / model.std, model(tokens, mask)
    gold = judge_texts(tokens, mask)["gold"]
    return [
        (f"score {s:+.1f}, gold {g:+.1f}", answer.split(), v[m].tolist())
        for s, g, v, m, (_, answer) in zip(scores, gold, values, mask, conversations, strict=True)
    ]


answered = list(zip(found[0]["texts"], found[-1]["texts"], strict=True))
print("before:")
text_plots.colored_text(paid([first for first, _ in answered[:4]], reward_model), scale=2.0)

# %%
last = [conversation for _, conversation in answered]
highest = reward_model(*encode_conversations(last)).topk(5).indices
worst = [last[i] for i in highest.tolist()]
print("after, the highest scores:")
text_plots.colored_text(paid(worst, reward_model), scale=2.0)

# %% [markdown]
# ### Exercise: `name_the_hack` (8 minutes, ●)
#
# The panels say what rose and what fell, the texts say how.
#
# <details><summary>Hint 1</summary>
#
# For each answer that you consider, ask which panel would show it: is that what the panel shows?
#
# </details>
# <details><summary>Hint 2</summary>
#
# A vote is about the difference between two answers. What differed between the two answers of a pair in lesson 7? What never did?
#
# </details>

# %% exercise="pgcourse.exercises.capstone.name_the_hack.name_the_hack"

# %% claim="the_score_is_a_sum_and_more_words_are_paid_more"
# In the recorded run score and valence end highest, answers grow by 40 %, hardly one is readable at the end, and gold rises, then falls below -0.6.
first = capstone.recorded()["first"]
assert first["score"][-1] == max(first["score"]) > 3 and first["valence"][-1] > 0.9
assert first["length"][-1] > 1.4 * first["length"][0] and first["distinct"][-1] > 0.9
assert (
    abs(first["readable"][0] - 0.87) < 0.01
    and first["readable"][-1] < 0.2
    and first["gold"][-1] < -0.6
)
assert max(first["gold"]) > 0.1 and first["gold"].index(max(first["gold"])) not in (
    0,
    len(first["gold"]) - 1,
)

# %% [markdown]
# ## Which pairs?
#
# A person's time is dear: of hundreds of pairs, which should be voted on? All of them have one answer from before and one from after, to the same prompt. From
# here on they come from a run like yours that was recorded (`python -m pgcourse.capstone`), so that everybody votes on the same ones: 400 pairs.
#
# Two thoughts are near at hand. Ask where the model is **in doubt**, where its two scores are nearly equal: but a hack is no matter of doubt, the model likes it. Then ask where it is
# **surest** that training has improved the answer. There it is wrong, as you will see; and still those pairs are no good. Look at what else differs between their answers.
#
# ### Exercise: `choose_pairs` (8 minutes, ●)
#
# <details><summary>Hint 1</summary>
#
# Give the pairs that are not to be asked about a score that comes last in any order.
#
# </details>
# <details><summary>Hint 2</summary>
#
# `argsort(descending=True)` gives numbers of pairs, not scores.
#
# </details>

# %% exercise="pgcourse.capstone.choose_pairs"

# %% [markdown]
# The 50 pairs of which the model is surest, beside your 50: how pleasant are the words of their answers? And how often do readers, where they can say which answer is better, decide *against* the
# reward model?

# %%
bet(
    "08 surest",
    "Where the model is surest: mean valence of the answers from before?",
    between=(-1, 1),
)

# %%
pairs = capstone.recorded()["pairs"]
before, after = torch.tensor([pair["score"] for pair in pairs]).T
ways = {
    "where it is surest": (after - before).argsort(descending=True)[:50],
    "by choose_pairs": choose_pairs(before, after, 50),
}


def contradicted(numbers):
    """Of these pairs the share, of those that readers can decide, that they decide against the model."""
    decided = [(capstone.better(pairs[i]), after[i] > before[i]) for i in numbers.tolist()]
    wrong = [(side == "after") != bool(model) for side, model in decided if side]
    return sum(wrong) / len(wrong)


def pleasant(numbers, side):
    """Mean valence of the words of these answers, by the raters of the votes."""
    found_ = [valence(pairs[i][side], LABEL_RATERS) for i in numbers.tolist()]
    return sum(found_) / len(found_)


shares = {name: contradicted(numbers) for name, numbers in ways.items()}
words = {
    side: [pleasant(numbers, side) for numbers in ways.values()] for side in ("before", "after")
}
fig, ax = plt.subplots(figsize=(7, 3))
for k, (side, values) in enumerate(words.items()):
    places = [place + 0.36 * k for place in range(len(ways))]
    bars = ax.bar(places, values, 0.34, label=f"answer from {side}", color=("gray", plots.RED)[k])
    ax.bar_label(bars, fmt="{:+.2f}", padding=2)
ax.axhline(0, color="black", lw=1)
ax.set_xticks(
    [place + 0.18 for place in range(len(ways))],
    [f"{name}\n(readers contradict it: {share:.0%})" for name, share in shares.items()],
)
ax.set(ylim=(-1, 1.3), ylabel="mean valence of the words", title="What differs within 50 pairs")
ax.legend(loc="center left", bbox_to_anchor=(1, 0.5))
settle("08 surest", words["before"][0], ax=ax)
plt.show()

# %% [markdown]
# In both the model is wrong about nearly every pair. But where it is surest the answer from before is a complaint, in proper sentences. Whoever votes for it says two things at once: proper sentences are better,
# and complaints are better. In your pairs both answers are pleasant, and little but the hack is left to vote on.

# %% claim="the_surest_pairs_differ_in_two_things"
# Readers contradict the model in at least 95 % of both; the answers from before are complaints where it is surest (below -0.4), and pleasant in the chosen ones (above 0.7).
assert min(shares.values()) > 0.95, shares
assert words["before"][0] < -0.4 and words["before"][1] > 0.7 and min(words["after"]) > 0.9, words

# %% claim="of_two_hacked_answers_nobody_can_say_which_is_better"
# Of the recorded pairs' hacked answers at least 90 % are unreadable: of two neighbors among them readers can decide fewer than one pair in six.
likes_ = [capstone.liking(pair["prompt"], pair["after"]) for pair in pairs]
assert sum(like_ == -1 for like_ in likes_) > 0.9 * len(likes_)
assert sum(a_ != b_ for a_, b_ in zip(likes_, likes_[1:], strict=False)) < len(likes_) / 6

# %% [markdown]
# ## Your votes
#
# Readers are given a guideline, as [Ouyang et al. 2022](https://arxiv.org/abs/2203.02155) did: *better is what answers the question in proper sentences; of two that do, the
# more pleasant one.* The first 24 of the chosen pairs that readers can decide are yours (chosen by the package's `choose_pairs`, so that everybody has the same ones). How ten simulated readers voted is shown once you have. Skip what you cannot decide; nothing needs a vote.
# When all cells run at once nobody is there to vote, so a line of votes by a simulated reader, who casts one vote in ten without looking, stands below.

# %%
mine = capstone.ballot(capstone.chosen(pairs))
votes = Ballot(mine)
votes

# %%
print("a simulated reader:", capstone.simulated(mine, seed=0))
print("your votes so far: ", votes.letters())

# %% [markdown]
# ### Exercise: `my_votes` (12 minutes, ●)
#
# Copy the line of your votes from the ballot into the function. They are graded by what they **teach**: the check trains lesson 7's reward model again, with your votes and 200 old
# ones, and looks at 252 answers that nobody votes on, from before and from after. Does it order them as gold does, the judgment of raters whom no model has ever seen? The measure is the
# **rank correlation** of score and gold (Spearman's): 1 for the same order, 0 for none, −1 for the opposite one. Lesson 7's model is at about −0.5; yours needs 0.2. The check takes some seconds.
#
# <details><summary>Hint</summary>
#
# There is no trick: read the answers aloud, and mind the guideline. A slip in 24 does little harm; what you cannot decide, skip.
#
# </details>

# %% exercise="pgcourse.exercises.capstone.my_votes.my_votes"

# %%
letters = "".join(my_votes()["votes"].split()).upper()
new = capstone.votes_on(mine, letters)
print(f"{len(new)} votes; they agree with readers in {capstone.agreement(letters, mine):.0%}")

# %% [markdown]
# ## The reward model learns again
#
# There are 200 old votes and at most 24 new ones. In one heap the new ones are a tenth of what the model learns from. Alone, they would make it forget what it knew. So each part gets a weight of its own:
#
# $$L = (1 - s)\, \frac{1}{|\text{old}|} \sum_{\text{old}} \ell_b \;+\; s\, \frac{1}{|\text{new}|} \sum_{\text{new}} \ell_b,
#   \qquad \ell_b = -\log \sigma\big(r_{\text{chosen}} - r_{\text{rejected}}\big)$$
#
# By hand: two old votes with $\ell = 0.2$ and $0.4$, a new one with $\ell = 1$, $s = 0.5$ give $0.5 \cdot 0.3 + 0.5 \cdot 1 = 0.65$.
#
# ### Exercise: `pooled_loss` (10 minutes, ●●)
#
# <details><summary>Hint 1</summary>
#
# First the loss of each vote, a tensor `[B]`, by `F.logsigmoid`; no mean yet.
#
# </details>
# <details><summary>Hint 2</summary>
#
# `x[new]` picks the new ones, `x[~new]` the old ones.
#
# </details>

# %% exercise="pgcourse.capstone.pooled_loss"

# %% [markdown]
# Your loss trains the reward model again, from where it was. And, for comparison, once more with the new votes alone ($s = 1$). *About 5 seconds.*

# %%
old, held_out = capstone.old_votes()
models = {"lesson 7": reward_model}
for name, share in (("old and new votes", 0.5), ("new votes alone", 1.0)):
    models[name], _ = capstone.retrain(
        reward_model, old, new, held_out, share=share, loss=pooled_loss, score=sequence_score
    )

# %%
measures = {
    "old votes\n(held out)": lambda model: accuracy(model.net, held_out),
    "before against after\n(other pairs)": capstone.sees_the_hack,
    "“not bad”\nabove “not good”": understands_not,
    "order of new answers\n(rank correlation)": capstone.order,
}
plt.figure(figsize=(9, 3.2))
for i, (name, model) in enumerate(models.items()):
    values = [measure(model) for measure in measures.values()]
    places = [place + 0.27 * i for place in range(len(measures))]
    bars = plt.bar(places, values, 0.25, label=name, color=("gray", plots.BLUE, plots.RED)[i])
    plt.bar_label(bars, fmt="{:.2f}", padding=2, fontsize=8)
plt.axhline(0, color="black", lw=1)
plt.plot([2.8, 3.75], [capstone.NEEDS] * 2, color=plots.GREEN, ls="--", label="asked for")
plt.xticks([place + 0.27 for place in range(len(measures))], list(measures))
plt.ylim(-0.8, 1.15)
plt.ylabel("share judged right; correlation")
plt.title("What the reward model knows")
plt.legend(loc="center left", bbox_to_anchor=(1, 0.5))
plt.show()

# %% [markdown]
# The second group is the hack: pairs of the same kind that nobody voted on, the better answer by gold. Lesson 7's model is wrong about most of them. A few good votes mend much of that, and
# the last group, which the check of `my_votes` looks at, turns from below 0 to above. The new votes alone teach the hack better still, and cost accuracy on the old votes: what they do not speak of is forgotten.
#
# The hacked answers from above, paid by the new model:

# %%
text_plots.colored_text(paid(worst, models["old and new votes"]), scale=2.0)

# %% claim="new_votes_alone_forget_the_old_ones"
# Three seeds: both turn the order from below -0.4 to above 0; the new votes alone by more, and for at least 3 points on the old ones.
assert capstone.order(reward_model) < -0.4 and capstone.sees_the_hack(reward_model) < 0.2
for seed_ in range(3):
    ends_ = []
    for share_ in (0.5, 1.0):
        given_ = dict(share=share_, loss=pooled_loss, seed=seed_, progress=False)
        model_, known_ = capstone.retrain(reward_model, old, new, held_out, **given_)
        ends_.append((capstone.order(model_), known_))
    (both_, kept_), (alone_, left_) = ends_
    assert 0 < both_ < alone_ and left_ < kept_ - 0.03, ends_
# %% [markdown]
# ## The second round
#
# RLHF again, from the language model, with the new reward model, and the hardest test for it: **once more without a price**, $\beta = 0$. Beside it the same with lesson 7's model. *About 20 seconds.*

# %%
second = {
    name: rlhf.train(
        language_model,
        models[name],
        rlhf.Config(beta=0.0, iterations=fast(8, 2), conversations=fast(64, 32)),
        step=rlhf_step,
        update=ppo_update,
        loss=ppo_clip_loss,
        every=2,
    )[1]
    for name in ("lesson 7", "old and new votes")
}

# %% [markdown]
# What is the result of a run? Gold is held out, and so it must not choose: whoever picks the look with the best gold reports its luck as well. What may choose is what
# training has seen, the score, as long as it can be trusted: near the reference. So: **of the looks with a KL of at most 4 nats the one with the highest score.**
#
# ### Exercise: `look_within` (8 minutes, ●)
#
# <details><summary>Hint 1</summary>
#
# Give the looks that are too far away a score that cannot win.
#
# </details>
# <details><summary>Hint 2</summary>
#
# Scores may be negative, so 0 can win. `torch.where(…, score, -torch.inf)`.
#
# </details>

# %% exercise="pgcourse.capstone.look_within"

# %%
bet("08 second", "Gold of the second round, at a KL of at most 4 nats?", between=(-1, 1))

# %%
fig, ax = plt.subplots(figsize=(7, 3.8))
result = {}
for (name, history), color in zip(second.items(), (plots.RED, plots.BLUE), strict=True):
    kl, score, gold = (
        torch.tensor([seen[key] for seen in history]) for key in ("kl", "score", "gold")
    )
    at = look_within(score, kl, capstone.LIMIT)
    result[name] = gold[at].item()
    ax.plot(kl, gold, "o-", ms=4, color=color, label=f"reward model: {name}")
    ax.plot(kl[at], gold[at], "*", ms=16, color=color)
ax.axvline(capstone.LIMIT, color="black", ls=":", lw=1)
ax.set(
    xlabel="KL to the reference (nats per answer)",
    ylabel="gold, held out",
    title="The second round",
)
ax.legend(loc="center left", bbox_to_anchor=(1, 0.5))
settle("08 second", result["old and new votes"], ax=ax)
plt.show()
for name, gold in result.items():
    print(f"gold at a KL of at most {capstone.LIMIT:.0f} nats, reward model {name}: {gold:.2f}")

# %% [markdown]
# ## Did your votes do that?
#
# One run of one voter may be luck. So the whole was recorded with voters of five kinds: *careful*, for the answer with more gold; *a coin*; *always A*; *the wrong way round*; and *for the hack*, what lesson 7's
# model scores higher. On the left what their votes teach, the rank correlation from above, eight seeds each. On the right gold of the second round at a KL of at most 4 nats, by your `look_within`, four seeds each.

# %%
names = ("careful", "a coin", "always A", "wrong way", "hack")
kinds = dict(zip(capstone.VOTERS, names, strict=True))


def reported(run):
    at = look_within(torch.tensor(run["score"]), torch.tensor(run["kl"]), capstone.LIMIT)
    return run["gold"][at]


orders = {kind: capstone.recorded_orders(kind) for kind in kinds}
golds = {
    kind: [reported(run) for run in capstone.recorded()["second"] if run["voter"] == kind]
    for kind in kinds
}
fig, axes = plt.subplots(1, 2, figsize=(10, 3.2))
for ax, found_, title in zip(
    axes,
    (orders, golds),
    ("rank correlation of score and gold", "gold at a KL of at most 4 nats"),
    strict=True,
):
    for place, kind in enumerate(kinds):
        ax.plot([place] * len(found_[kind]), found_[kind], "o", ms=6, alpha=0.6, color=plots.BLUE)
    ax.set_xticks(range(len(kinds)), list(kinds.values()))
    ax.set(title=title, xlabel="how they vote (one dot a seed)")
axes[0].axhline(capstone.NEEDS, color=plots.GREEN, ls="--", lw=1, label="asked for")
axes[0].legend()
plt.show()

# %% [markdown]
# On the left careful votes lie above what is asked for with every seed, all others far below: that is why the check of `my_votes` looks there. (The last two kinds vote alike, since of every pair
# on the ballot lesson 7's model prefers the answer with less gold.) On the right the kinds overlap: one run of PPO differs from the next by more than voters do, and near the reference there is little of the
# hack to be seen. In the first round, at 2.3 nats, 81 % of the answers were still readable. So gold at 4 nats is shown here, and earns no points: **a measure that cannot tell good votes from bad ones must not grade them.**

# %% claim="what_votes_teach_tells_voters_apart_and_gold_near_the_reference_does_not"
# Recorded: every careful seed is more than 0.2 above what is asked for, every other more than 0.2 below; within 4 nats the best of the others has more gold than the worst careful one.
assert all(len(orders[kind]) == capstone.SEEDS == 8 and len(golds[kind]) == 4 for kind in kinds)
assert min(orders["careful"]) > capstone.NEEDS + 0.2
assert max(x for kind in kinds if kind != "careful" for x in orders[kind]) < capstone.NEEDS - 0.2
assert min(golds["careful"]) < max(x for kind in kinds if kind != "careful" for x in golds[kind])
assert all(pair["liked"] != pair["paid"] for pair in mine)
assert [(round(k, 1), round(r, 2)) for k, r in zip(first["kl"], first["readable"], strict=True)][
    1
] == (2.3, 0.81)

# %% [markdown]
# **What the votes did not do.** They mended much of one hole, and without a price a policy goes on looking for the next: set `iterations=40` and see how long it takes. A price of KL
# holds it back from *every* flaw, known or not: in lesson 7's recorded runs the old reward model with $\beta = 0.3$ ends at a gold of about 0.6, 3 nats from the reference. Both are used, and neither is proof.

# %% claim="a_higher_price_alone_does_it_too"
# Lesson 7's recorded runs with beta = 0.3, three seeds: gold ends between 0.57 and 0.67, at a KL below 3.2.
import json
from importlib.resources import files

sweep_ = json.loads((files("pgcourse") / "data" / "rlhf_sweep.json").read_text())
ends_ = [(run["gold"][-1], run["kl"][-1]) for run in sweep_ if run["beta"] == 0.3]
assert len(ends_) == 3 and all(0.57 < gold_ < 0.67 and kl_ < 3.2 for gold_, kl_ in ends_), ends_

# %% [markdown]
# ## Ask yourself
#
# <details><summary>Why not ask about two answers of the hacked policy?</summary>
#
# Hardly any of them can be read, so of most pairs nobody can say which is better; and what both have in common cancels in the difference of their scores.
#
# </details>
# <details><summary>The mended model is wrong about fewer hacked answers. Is it a better reward model?</summary>
#
# On those answers. Look at the old votes, too: what it knew before must still be there, or one flaw has been exchanged for another.
#
# </details>
# <details><summary>Your voters are simulated. What would people do differently?</summary>
#
# They tire, disagree about more than words, and may like what an honest reader should not: long, flattering or confident answers. A hack that people vote *for* is not found by votes.
#
# </details>
# <details><summary>Why choose the look by its score, when gold is known?</summary>
#
# Gold stands for what cannot be had while training: people's judgment of the result. What chose a result can no longer test it.
#
# </details>
#
# ## What was left out
#
# More than two rounds; a crowd that disagrees with itself in its own ways; ensembles of reward models, which are in doubt where they disagree
# ([Coste et al. 2023](https://arxiv.org/abs/2310.02743)); new answers voted on *while* the policy learns.
#
# ## Papers
#
# - Christiano et al. (2017), *Deep reinforcement learning from human preferences*, [arXiv:1706.03741](https://arxiv.org/abs/1706.03741).
# - Bai et al. (2022), *Training a helpful and harmless assistant with RLHF*, [arXiv:2204.05862](https://arxiv.org/abs/2204.05862): reward models and policies renewed in turn.
# - Perez et al. (2022), *Red teaming language models with language models*, [arXiv:2202.03286](https://arxiv.org/abs/2202.03286).
# - Gao, Schulman & Hilton (2022), *Scaling laws for reward model overoptimization*, [arXiv:2210.10760](https://arxiv.org/abs/2210.10760).
#
# **This was the last lesson.** All of it on one page, with every symbol and paper: [the course on one page](../course/README.md).
