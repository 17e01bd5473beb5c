"""The capstone: a hack of the reward model, votes on it, and a second round of RLHF.

    beta = 0 finds the hack -> people vote on it -> the reward model learns from old votes and new ones -> RLHF again

`python -m pgcourse.capstone` records what the lesson shows of more than one run, in pgcourse/data/capstone.json:
the answers of one language model before and after RLHF without a price, and second rounds with voters of several kinds.
Pairs are recorded so that everybody votes on the same ones.

source : Christiano et al. 2017, arXiv:1706.03741; Bai et al. 2022, sec. 4.5 (iterated), arXiv:2204.05862
"""

import copy
import json
import random
import time
from functools import cache

import torch
import torch.nn.functional as F
from tqdm.auto import tqdm

from pgcourse import fingerprint, rlhf
from pgcourse.language import (
    END_ID,
    MAX_ANSWER,
    decode,
    is_readable,
    sample_prompts,
)
from pgcourse.optim import Adam, clip_grad_norm_
from pgcourse.pretraining import CHECKPOINTS, encode_conversations, load_language_model
from pgcourse.reward_model import (
    Pairs,
    RewardModel,
    accuracy,
    collect_votes,
    load_reward_model,
    margins,
    sequence_score,
)
from pgcourse.tensors import same_shape
from pgcourse.transformer import generate
from pgcourse.votes import LABEL_RATERS, prefers_first, valence

LIMIT = 4.0  # nats: how far from the reference the result may lie
GOAL = 0.25  # gold, held out, at a KL of at most LIMIT
NEEDS = 0.9  # votes that agree with readers' this often are known to reach the goal
OLD = 800  # old votes that are mixed with the new ones
ASKED, BALLOT = 200, 24  # pairs that are put to readers, and how many of them to you
PLAN = {agree: range(2) for agree in (1.0, 0.9, 0.75, 0.5, 0.0)}  # seeds by agreement


# ------------------------------------------------------------------------------ the exercises


def choose_pairs(before, after, count):
    """Which pairs to ask people about: those that differ in the hack, and as little as possible in anything else.

        of the pairs with after > before the `count` with the largest before, the largest first

    A vote teaches by all that differs between its two answers. Where the one from before is praised as well, a vote
    against the hack does not also say that complaints are better.

    before, after : float, the model's scores of two answers to one prompt, from the policy before and after, [N]
    count         : int, at least 1
    returns       : int, numbers of pairs, [count]
    raises        : ValueError if the shapes differ, or fewer than count pairs have after > before
    """
    same_shape(before=before, after=after)
    if not 1 <= count <= (after > before).sum():
        raise ValueError(f"there are not {count} pairs with after > before.")
    return torch.where(after > before, before, -torch.inf).argsort(descending=True, stable=True)[
        :count
    ]


def pooled_loss(r_chosen, r_rejected, new, share):
    """Bradley–Terry on old votes and new ones together, the new ones with a weight of their own.

        L = (1 - share) mean over old of l + share mean over new of l,   l = -log sigmoid(r_chosen - r_rejected)

    Thousands of old votes would drown a few new ones; the new ones alone would make the model forget.

    r_chosen, r_rejected : float, scores of the two answers of each pair, [B]
    new                  : bool, whether the vote is a new one, [B]; at least one is new and one is old
    share                : float in 0 … 1, the new votes' part of the loss
    returns              : scalar
    raises               : ValueError if the shapes differ, or all votes are old or all are new
    """
    same_shape(r_chosen=r_chosen, r_rejected=r_rejected, new=new)
    if new.all() or not new.any():
        raise ValueError("expected old votes and new ones in a batch.")
    losses = -F.logsigmoid(r_chosen - r_rejected)
    return (1 - share) * losses[~new].mean() + share * losses[new].mean()


def look_within(score, kl, limit):
    """Which look at a run to report: of those near enough to the reference, the one with the highest SCORE.

    Not the one with the highest gold: gold is held out, and what chooses the result is no longer held out.

    score, kl : float, at each look, [N]
    limit     : float, nats
    returns   : int, the number of the look; the first of equals
    raises    : ValueError if the shapes differ, or no look is near enough
    """
    same_shape(score=score, kl=kl)
    if not (kl <= limit).any():
        raise ValueError(f"no look has a KL of at most {limit} nats.")
    return torch.where(kl <= limit, score, -torch.inf).argmax().item()


# --------------------------------------------------------------------------- pairs and readers


def liking(prompt, answer):
    """What readers think of an answer: its valence, by the raters of lesson 7's votes; -1 if it cannot be read.

    The gold raters are not asked, so that gold stays held out.
    """
    return valence(answer, LABEL_RATERS) if is_readable(prompt, answer) else -1.0


def answers_of(before, after, reward_model, count=400, seed=11):
    """Both models' answers to the same prompts: a list of dicts prompt, before, after, score (of the two)."""
    generator = torch.Generator().manual_seed(seed)
    prompts = sample_prompts(count, generator)
    found, scores = [], []
    for model in (before, after):
        tokens, mask = generate(model, prompts, MAX_ANSWER, END_ID, generator)
        found.append(decode(tokens, mask))
        scores.append([round(x, 3) for x in reward_model(tokens, mask).tolist()])
    rows = zip(decode(prompts), *found, zip(*scores, strict=True), strict=True)
    return [{"prompt": p, "before": b, "after": a, "score": list(s)} for p, b, a, s in rows]


def better(pair):
    """The side that readers like better: "before", "after", or None where they cannot say."""
    before, after = (liking(pair["prompt"], pair[side]) for side in ("before", "after"))
    return None if before == after else "before" if before > after else "after"


def crowd(pairs, agree, seed=0):
    """As many readers as pairs, who judge as most do with probability `agree`; what cannot be said is a coin toss.

    returns : Pairs, with the answers from before first
    """
    rng = random.Random(seed)
    sides = []
    for pair in pairs:
        likes, right = better(pair) or rng.choice(("before", "after")), rng.random() < agree
        sides.append((likes == "before") == right)
    texts = [(p["prompt"], p[side]) for side in ("before", "after") for p in pairs]
    return Pairs(*encode_conversations(texts), torch.tensor(sides))


def retrain(
    reward_model, old, new, held_out, share=0.5, loss=pooled_loss, score=sequence_score,
    steps=120, batch=16, lr=2e-3, seed=0, progress=True,
):  # fmt: skip
    """A reward model goes on learning: half of each batch are old votes, half new ones; it stays as it is itself.

    returns : another RewardModel, and its accuracy on the held-out old votes
    """
    net = copy.deepcopy(reward_model.net).requires_grad_(True)
    generator, optimizer = torch.Generator().manual_seed(seed), Adam(net.parameters(), lr)
    is_new = torch.arange(batch) >= batch // 2
    for step in tqdm(range(steps), desc="reward model", unit=" steps", disable=not progress):
        optimizer.lr = lr * min(1, (step + 1) / (0.1 * steps)) * (1 - step / steps)
        drawn = [
            margins(
                net, votes, torch.randint(len(votes), (batch // 2,), generator=generator), score
            )
            for votes in (old, new)
        ]
        chosen, rejected = (torch.cat(side) for side in zip(*drawn, strict=True))
        value = loss(chosen, rejected, is_new, share)
        optimizer.zero_grad()
        value.backward()
        clip_grad_norm_(net.parameters(), 1.0)
        optimizer.step()
    model = RewardModel(net)
    model.standardize(held_out.tokens, held_out.mask, score)
    return model.requires_grad_(False), accuracy(net, held_out, score)


def ballot(pairs, count=BALLOT, seed=3):
    """The first pairs that readers can decide, their sides shuffled, so that a side says nothing.

    returns : list of dicts prompt, A, B, liked (the side that readers like better), paid (the side that scores higher)
    """
    rng, found = random.Random(seed), []
    for pair in pairs:
        if (liked := better(pair)) is None or len(found) == count:
            continue
        first, second = rng.sample(("before", "after"), 2)
        paid = "before" if pair["score"][0] > pair["score"][1] else "after"
        found.append(
            {
                "prompt": pair["prompt"], "A": pair[first], "B": pair[second],
                "liked": "A" if first == liked else "B", "paid": "A" if first == paid else "B",
            }
        )  # fmt: skip
    return found


def reader(prompt, a, b, rng, slip=0.1):
    """One simulated reader's vote, "A" or "B": what can be read is preferred to what cannot, else the pleasanter one.

    Which is pleasanter is drawn from people's ratings, as in lesson 7; one vote in ten is given without looking.
    """
    can = [is_readable(prompt, answer) for answer in (a, b)]
    if rng.random() < slip:
        return rng.choice("AB")
    if can[0] != can[1]:
        return "A" if can[0] else "B"
    generator = torch.Generator().manual_seed(rng.randrange(2**31))
    return "A" if prefers_first(a, b, generator).item() else "B"


def simulated(pairs, seed=0):
    """A simulated reader's votes on a ballot, a line of letters."""
    rng = random.Random(seed)
    return "".join(reader(pair["prompt"], pair["A"], pair["B"], rng) for pair in pairs)


def agreement(letters, pairs):
    """The share of the votes cast, "-" apart, that are for the side readers like better; one half without any."""
    cast = [
        letter == pair["liked"]
        for letter, pair in zip(letters, pairs, strict=True)
        if letter != "-"
    ]
    return sum(cast) / len(cast) if cast else 0.5


# -------------------------------------------------------------------------------- the recording


@cache
def recorded():
    """What `make` wrote: dict of pairs (see `answers_of`), first (the run without a price), second (runs)."""
    return json.loads((CHECKPOINTS / "capstone.json").read_text(encoding="utf-8"))


def curve(history):
    keys = (
        "iteration", "kl", "score", "gold", "valence", "readable", "length", "distinct"
    )  # fmt: skip
    return {key: [round(seen[key], 3) for seen in history] for key in keys}


def gold_within(agree, limit=LIMIT):
    """Gold of the recorded second rounds with voters of this agreement, at the look that `look_within` takes, by seed."""
    found = []
    for run in recorded()["second"]:
        if run["agree"] == agree:
            at = look_within(torch.tensor(run["score"]), torch.tensor(run["kl"]), limit)
            found.append(run["gold"][at])
    return found


def chosen(pairs, count=ASKED, choose=choose_pairs):
    """The pairs that readers are asked about."""
    before, after = torch.tensor([pair["score"] for pair in pairs]).T
    return [pairs[i] for i in choose(before, after, count).tolist()]


def second_round(language_model, reward_model, votes, old, held_out, seed=0, progress=True):
    """The reward model again with new votes, then RLHF again, without a price as before: its history."""
    again, _ = retrain(reward_model, old, votes, held_out, seed=seed, progress=progress)
    config = rlhf.Config(beta=0.0, seed=seed, iterations=10, conversations=64)
    return rlhf.train(language_model, again, config, every=2, progress=progress)[1]


def make(folder=CHECKPOINTS, plan=PLAN, progress=True):
    began = time.process_time()
    language_model, reward_model = load_language_model().requires_grad_(False), load_reward_model()
    old = collect_votes(language_model, OLD, seed=1, contrast=0.25)
    held_out = collect_votes(language_model, 150, seed=2)
    config = rlhf.Config(beta=0.0, iterations=15, conversations=96)
    hacked, history = rlhf.train(language_model, reward_model, config, every=3, progress=progress)
    pairs = answers_of(language_model, hacked.actor, reward_model)
    known = {"pairs": pairs, "first": curve(history), "second": []}
    for agree, seed in [(a, s) for a, seeds in plan.items() for s in seeds]:
        votes = crowd(chosen(pairs), agree, seed)
        round_ = second_round(
            language_model, reward_model, votes, old, held_out, seed=seed, progress=progress
        )
        known["second"].append({"agree": agree, "seed": seed, **curve(round_)})
        known["cpu_seconds"] = round(time.process_time() - began)
        text = json.dumps(known).replace("}, {", "},\n {")
        (folder / "capstone.json").write_text(text + "\n", encoding="utf-8")


if __name__ == "__main__":
    torch.set_num_threads(1)
    make()
    fingerprint.note("capstone.json", "python -m pgcourse.capstone", "pgcourse.capstone.make")
