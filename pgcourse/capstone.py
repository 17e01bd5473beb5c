"""The capstone: a hack of the reward model, votes on it, and a second round of RLHF.

    beta = 0 finds the hack -> people vote on it -> the reward model learns from old votes and new ones -> RLHF again

What votes are worth is measured on the reward model that learned from them (`taught`): does it order answers that nobody
voted on, hacked ones among them, as held-out gold does? Gold of a second round at a KL of at most 4 nats says less: so
near to the reference there is little of the hack, and seeds differ by more than voters (recorded, "second").

`python -m pgcourse.capstone` records what the lesson shows of more than one run, in pgcourse/data/capstone.json.
Pairs are recorded so that everybody votes on the same ones.

source : Christiano et al. 2017, arXiv:1706.03741; Bai et al. 2022, sec. 4.5 (iterated), arXiv:2204.05862
"""

import copy
import json
import random
import time
from collections.abc import Callable
from functools import cache
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor
from tqdm.auto import tqdm

from pgcourse import fingerprint, rlhf
from pgcourse.language.grammar import (
    END_ID,
    MAX_ANSWER,
    decode,
    is_readable,
    sample_prompts,
)
from pgcourse.language.pretraining import CHECKPOINTS, encode_conversations, load_language_model
from pgcourse.language.reward_model import (
    Pairs,
    RewardModel,
    accuracy,
    collect_votes,
    load_reward_model,
    margins,
    sequence_score,
)
from pgcourse.language.transformer import LanguageModel, generate
from pgcourse.language.votes import LABEL_RATERS, gold_score, prefers_first, valence
from pgcourse.optim import Adam, clip_grad_norm_
from pgcourse.tensors import same_shape

LIMIT = 4.0  # nats: how far from the reference a result may lie
NEEDS = 0.2  # rank correlation of score and gold that votes have to teach
OLD = 200  # old votes that are mixed with the new ones
ASKED, BALLOT = 50, 24  # pairs that are chosen, and how many of them are voted on
STEPS = 20  # of gradient descent, for so few new votes
VOTERS = ("careful", "random", "position", "inverted", "hack")
SEEDS = 8  # of each of them, for what their votes teach
PLAN = [(voter, seed) for seed in range(4) for voter in VOTERS]  # second rounds that are recorded


# ------------------------------------------------------------------------------ the exercises


def choose_pairs(before: Tensor, after: Tensor, count: int) -> Tensor:
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


def pooled_loss(r_chosen: Tensor, r_rejected: Tensor, new: Tensor, share: float) -> Tensor:
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


def look_within(score: Tensor, kl: Tensor, limit: float) -> int:
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
    return int(torch.where(kl <= limit, score, -torch.inf).argmax().item())


# --------------------------------------------------------------------------- pairs and readers


def liking(prompt: str, answer: str) -> float:
    """What readers think of an answer: its valence, by the raters of lesson 7's votes; -1 if it cannot be read.

    The gold raters are not asked, so that gold stays held out.
    """
    return valence(answer, LABEL_RATERS) if is_readable(prompt, answer) else -1.0


def answers_of(
    before: LanguageModel,
    after: LanguageModel,
    reward_model: Callable,
    count: int = 400,
    seed: int = 11,
) -> list[dict]:
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


def better(pair: dict) -> str | None:
    """The side that readers like better: "before", "after", or None where they cannot say."""
    before, after = (liking(pair["prompt"], pair[side]) for side in ("before", "after"))
    return None if before == after else "before" if before > after else "after"


def votes_on(pairs: list[dict], letters: str) -> Pairs:
    """A line of votes on a ballot as votes, those that were skipped ("-") left out; A is the first answer."""
    cast = [(pair, letter) for pair, letter in zip(pairs, letters, strict=True) if letter != "-"]
    texts = [(pair["prompt"], pair[side]) for side in "AB" for pair, _ in cast]
    return Pairs(*encode_conversations(texts), torch.tensor([x == "A" for _, x in cast]))


def retrain(
    reward_model: RewardModel, old: Pairs, new: Pairs, held_out: Pairs, share: float = 0.5,
    loss: Callable = pooled_loss, score: Callable = sequence_score,
    steps: int = STEPS, batch: int = 16, lr: float = 2e-3, seed: int = 0, progress: bool = True,
) -> tuple[RewardModel, float]:  # fmt: skip
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


def ballot(pairs: list[dict], count: int = BALLOT, seed: int = 3) -> list[dict]:
    """The first pairs that readers can decide; the better one is A in half of them, so that a side says nothing.

    returns : list of dicts prompt, A, B, liked (the side that readers like better), paid (the side that scores higher)
    """
    sides, found = list("AB" * (count // 2)), []
    random.Random(seed).shuffle(sides)
    for liked, pair in zip(sides, filter(better, pairs), strict=False):
        other, side = "BA"["AB".index(liked)], better(pair)
        worse = "after" if side == "before" else "before"
        paid = "before" if pair["score"][0] > pair["score"][1] else "after"
        found.append(
            {
                "prompt": pair["prompt"], liked: pair[side], other: pair[worse],
                "liked": liked, "paid": liked if paid == side else other,
            }
        )  # fmt: skip
    return found


def reader(prompt: str, a: str, b: str, rng: random.Random, slip: float = 0.1) -> str:
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


def simulated(pairs: list[dict], seed: int = 0) -> str:
    """A simulated reader's votes on a ballot, a line of letters."""
    rng = random.Random(seed)
    return "".join(reader(pair["prompt"], pair["A"], pair["B"], rng) for pair in pairs)


def agreement(letters: str, pairs: list[dict]) -> float:
    """The share of the votes cast, "-" apart, that are for the side readers like better; one half without any."""
    rows = zip(letters, pairs, strict=True)
    cast = [letter == pair["liked"] for letter, pair in rows if letter != "-"]
    return sum(cast) / len(cast) if cast else 0.5


def voter(kind: str, pairs: list[dict], seed: int = 0) -> str:
    """The line of votes of somebody who is one of VOTERS.

    careful : for the side with the higher gold          random   : a coin
    inverted: for the other one                          position : A, whatever stands there
    hack    : for what the reward model scores higher
    """
    if kind == "random":
        rng = random.Random(seed)
        return "".join(rng.choice("AB") for _ in pairs)
    if kind == "position":
        return "A" * len(pairs)
    if kind == "hack":
        return "".join(pair["paid"] for pair in pairs)
    golds = [[gold_score(pair["prompt"], pair[side]) for side in "AB"] for pair in pairs]
    return "".join("AB"[(a < b) != (kind == "inverted")] for a, b in golds)


# ------------------------------------------------------------------------ what votes have taught


def ranks(x: Tensor) -> Tensor:
    """The place of each number among the others, equal ones sharing the mean of theirs, [N]."""
    below, level = x[:, None] > x, x[:, None] == x
    return below.sum(dim=1) + (level.sum(dim=1) - 1) / 2


def rank_correlation(x: Tensor, y: Tensor) -> float:
    """Spearman's: the correlation of the two orders, 1 where they are the same and -1 where they are opposite."""
    return torch.corrcoef(torch.stack([ranks(x), ranks(y)]))[0, 1].item()


@cache
def unseen() -> tuple[Tensor, Tensor, Tensor]:
    """Answers that nobody votes on: tokens and mask [2N, T], from before, then from after; and their gold [2N]."""
    ballot_ = {pair[side] for pair in ballot(chosen(recorded()["pairs"])) for side in "AB"}
    rows = [p for p in recorded()["pairs"] if not {p["before"], p["after"]} & ballot_][::3]
    texts = [(p["prompt"], p[side]) for side in ("before", "after") for p in rows]
    return *encode_conversations(texts), torch.tensor([gold_score(p, a) for p, a in texts])


def order(reward_model: RewardModel) -> float:
    """Rank correlation of the model's scores with gold, over the answers that nobody votes on."""
    tokens, mask, gold = unseen()
    return rank_correlation(reward_model(tokens, mask), gold)


def sees_the_hack(reward_model: RewardModel) -> float:
    """Of two answers that nobody votes on, before and after: how often the better one, by gold, scores higher."""
    tokens, mask, gold = unseen()
    (s, s_after), (g, g_after) = (x.view(2, -1) for x in (reward_model(tokens, mask), gold))
    return ((s > s_after) == (g > g_after))[g != g_after].float().mean().item()


@cache
def old_votes() -> tuple[Pairs, Pairs]:
    """Votes as in lesson 7, to be mixed with the new ones; and held-out ones."""
    language_model = load_language_model()
    return (
        collect_votes(language_model, OLD, seed=1, contrast=0.25),
        collect_votes(language_model, 150, seed=2),
    )


@cache
def taught(letters: str, seed: int = 0) -> dict[str, float]:
    """What a line of votes on the ballot teaches lesson 7's reward model: it is trained again, here.

    returns : dict of order, hack (`sees_the_hack`) and old (accuracy on the held-out old votes)
    """
    old, held_out = old_votes()
    new = votes_on(ballot(chosen(recorded()["pairs"])), letters)
    again, kept = retrain(load_reward_model(), old, new, held_out, seed=seed, progress=False)
    return {"order": order(again), "hack": sees_the_hack(again), "old": kept}


# -------------------------------------------------------------------------------- the recording


@cache
def recorded() -> dict[str, Any]:
    """What `make` wrote: dict of pairs (see `answers_of`), first (the run without a price), second (runs)."""
    return json.loads((CHECKPOINTS / "capstone.json").read_text(encoding="utf-8"))


def recorded_orders(kind: str) -> list[float]:
    """`order` that the votes of one kind of VOTERS have taught, by seed."""
    return [run["order"] for run in recorded()["taught"] if run["voter"] == kind]


def curve(history: list[dict]) -> dict[str, list[float]]:
    keys = (
        "iteration", "kl", "score", "gold", "valence", "readable", "length", "distinct"
    )  # fmt: skip
    return {key: [round(seen[key], 3) for seen in history] for key in keys}


def chosen(pairs: list[dict], count: int = ASKED) -> list[dict]:
    """The pairs that readers are asked about."""
    before, after = torch.tensor([pair["score"] for pair in pairs]).T
    return [pairs[i] for i in choose_pairs(before, after, count).tolist()]


def second_round(letters: str, seed: int = 0) -> dict[str, Any]:
    """The reward model again with these votes, then RLHF again, without a price as before: what came out."""
    language_model, (old, held_out) = load_language_model().requires_grad_(False), old_votes()
    new = votes_on(ballot(chosen(recorded()["pairs"])), letters)
    again, kept = retrain(load_reward_model(), old, new, held_out, seed=seed, progress=False)
    config = rlhf.Config(beta=0.0, seed=seed, iterations=8, conversations=64)
    history = rlhf.train(language_model, again, config, every=2, progress=False)[1]
    return {"order": order(again), "hack": sees_the_hack(again), "old": kept, **curve(history)}


def make(folder: Path = CHECKPOINTS, progress: bool = True) -> None:
    began = time.process_time()
    language_model, reward_model = load_language_model().requires_grad_(False), load_reward_model()
    config = rlhf.Config(beta=0.0, iterations=15, conversations=96)
    hacked, history = rlhf.train(language_model, reward_model, config, every=3, progress=progress)
    pairs = answers_of(language_model, hacked.actor, reward_model)
    known = {"pairs": pairs, "first": curve(history), "taught": [], "second": []}

    def write():
        known["cpu_seconds"] = round(time.process_time() - began)
        text = json.dumps(known).replace("}, {", "},\n {")
        (folder / "capstone.json").write_text(text + "\n", encoding="utf-8")
        recorded.cache_clear()

    write()
    asked = ballot(chosen(pairs))
    for kind, seed in [(kind, seed) for kind in VOTERS for seed in range(SEEDS)]:
        known["taught"].append(
            {"voter": kind, "seed": seed, **taught(voter(kind, asked, seed), seed)}
        )
    for kind, seed in PLAN:
        round_ = second_round(voter(kind, asked, seed), seed)
        known["second"].append({"voter": kind, "seed": seed, **round_})
        write()


if __name__ == "__main__":
    torch.set_num_threads(1)
    make()
    fingerprint.note("capstone.json", "python -m pgcourse.capstone", "pgcourse.capstone.make")
