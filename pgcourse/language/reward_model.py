"""A reward learned from votes: pairs of answers, Bradley–Terry, and how good it can get.

    the language model answers each prompt twice -> a vote -> r(chosen) > r(rejected)

source : Christiano et al. 2017, arXiv:1706.03741; Stiennon et al. 2020, arXiv:2009.01325
"""

import math
import random
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from tqdm.auto import tqdm

from pgcourse.language.grammar import (
    ADJECTIVES,
    BOT,
    END,
    END_ID,
    MAX_ANSWER,
    TOPICS,
    USER,
    decode,
    sample_prompts,
    turned,
)
from pgcourse.language.pretraining import encode_conversations, load, new_scalar_model
from pgcourse.language.transformer import LanguageModel, ScalarModel, generate
from pgcourse.language.votes import LABEL_RATERS, judge_texts, mean_valence, prefers_first
from pgcourse.losses import bradley_terry_loss
from pgcourse.optim import Adam, clip_grad_norm_
from pgcourse.tensors import same_shape

UNFINISHED = -1.0  # the score of an answer that never ends, whatever it says


def sequence_score(values: Tensor, mask: Tensor) -> Tensor:
    """One number for a whole answer: the reward head's output at the answer's last real token.

        score_b = values[b, t_b],   t_b = the last t with mask[b, t]

    The model is causal, so this is the first place that has read everything, and a row's last column
    is padding wherever the answer is shorter than the longest of the batch.

    values  : float, the head's output at every position, [B, T]
    mask    : bool, [B, T]; True on the answer with its end token; elsewhere values may be nan
    returns : score, [B]; differentiable
    raises  : ValueError if the shapes differ or a row has no answer
    source  : Ouyang et al. 2022, sec. 3.5, arXiv:2203.02155
    """
    same_shape(values=values, mask=mask)
    if not mask.any(dim=1).all():
        raise ValueError("expected an answer in every row; a row of the mask is all False.")
    last = (torch.arange(mask.shape[1]) * mask).argmax(dim=1)
    return values.gather(1, last.unsqueeze(1)).squeeze(1)


def running_total(values: Tensor, mask: Tensor) -> Tensor:
    """The sum of the values over the answer, up to and with each position, [B, T].

    What is read at an answer's last token is then the sum of what each of its tokens is worth.
    """
    return torch.where(mask, values, 0.0).cumsum(dim=1)


class RewardModel(nn.Module):
    """Scores answers in standard deviations from the language model's own average answer.

    Its head says at each token what that token is worth, all before it being read; the score is the sum.
    (Others read one number at the last token, without summing: Huang et al. 2024, arXiv:2403.17031.)
    """

    def __init__(self, net: nn.Module) -> None:
        super().__init__()
        self.net = net
        self.register_buffer("mean", torch.tensor(0.0))
        self.register_buffer("std", torch.tensor(1.0))

    def forward(self, tokens: Tensor, mask: Tensor, score: Callable = sequence_score) -> Tensor:
        """tokens int [B, T], mask bool [B, T], True on the answer -> score [B]."""
        standardized = (raw_score(self.net, tokens, mask, score) - self.mean) / self.std
        finished = ((tokens == END_ID) & mask).any(dim=1)
        return torch.where(finished, standardized, UNFINISHED)

    @torch.no_grad()
    def standardize(self, tokens: Tensor, mask: Tensor, score: Callable = sequence_score) -> None:
        """Choose zero and unit from these answers (the language model's)."""
        raw = raw_score(self.net, tokens, mask, score)
        self.mean.copy_(raw.mean())
        self.std.copy_(raw.std())


def raw_score(
    net: nn.Module, tokens: Tensor, mask: Tensor, score: Callable = sequence_score
) -> Tensor:
    """The score of each answer before it is standardized, [B]."""
    return score(running_total(net(tokens), mask), mask)


@dataclass
class Pairs:
    """Two answers to each prompt, and which one a person preferred."""

    tokens: torch.Tensor  # int, [2N, T]: the first answers, then the second ones
    mask: torch.Tensor  # bool, [2N, T]
    first: torch.Tensor  # bool, [N]: the first was chosen

    def __len__(self):
        return len(self.first)

    def texts(self) -> list[tuple[str, str]]:
        answers = decode(self.tokens, self.mask)
        return list(zip(answers[: len(self)], answers[len(self) :], strict=True))


def collect_votes(
    model: LanguageModel,
    count: int,
    seed: int = 0,
    raters: Sequence[int] = LABEL_RATERS,
    contrast: float = 0.0,
) -> Pairs:
    """Let the language model answer `count` prompts twice, and ask a person each time.

    contrast : the share of pairs in which the second answer is the first with a "not" put in or taken out,
               where that is possible: what "not" does is then seen with all else equal
    """
    generator, rng = torch.Generator().manual_seed(seed), random.Random(seed)
    prompts = sample_prompts(count, generator).repeat(2, 1)
    tokens, mask = generate(model, prompts, MAX_ANSWER, END_ID, generator)
    asked, pairs = decode(prompts[:count]), Pairs(tokens, mask, torch.zeros(count)).texts()
    for i, (first, _) in enumerate(pairs):
        other = turned(rng, first) if rng.random() < contrast else None
        if other is not None and len(other.split()) <= MAX_ANSWER:
            pairs[i] = (first, other)
    votes = [prefers_first(a, b, generator, raters) for a, b in pairs]
    firsts, seconds = zip(*pairs, strict=True)
    texts = zip(asked * 2, firsts + seconds, strict=True)
    return Pairs(*encode_conversations(list(texts)), torch.cat(votes))


def margins(
    net: nn.Module, pairs: Pairs, which: Tensor, score: Callable = sequence_score
) -> tuple[Tensor, Tensor]:
    """r(chosen) and r(rejected) of the pairs numbered `which`, each [n]."""
    rows = torch.cat([which, which + len(pairs)])
    r = raw_score(net, pairs.tokens[rows], pairs.mask[rows], score)
    r_first, r_second, first = r[: len(which)], r[len(which) :], pairs.first[which]
    return torch.where(first, r_first, r_second), torch.where(first, r_second, r_first)


@torch.no_grad()
def accuracy(net: nn.Module, pairs: Pairs, score: Callable = sequence_score) -> float:
    """How often the model prefers what the person preferred."""
    chosen, rejected = margins(net, pairs, torch.arange(len(pairs)), score)
    return (chosen > rejected).float().mean().item()


@torch.no_grad()
def understands_not(model: nn.Module, topic: str = "film") -> float:
    """How often score(… was not BAD) > score(… was not GOOD), over all pairs of a clearly bad and a clearly good word.

    model   : RewardModel
    returns : share in [0, 1]; a judge that only adds up pleasant and unpleasant words gets 0
    """
    aspect, kind = next(iter(TOPICS[topic].items()))
    worth, scores = mean_valence(), {}
    for sign in (1, -1):
        words = [w for w in ADJECTIVES["any"] + ADJECTIVES[kind] if sign * worth.get(w, 0.0) >= 1]
        prompt = f"{USER} how was the {topic} ? {BOT}"
        rows = encode_conversations([(prompt, f"the {aspect} was not {w} . {END}") for w in words])
        scores[sign] = model(*rows)
    return (scores[-1][:, None] > scores[1]).float().mean().item()


def ceiling(
    pairs: Pairs, raters: Sequence[int] = LABEL_RATERS, votes: int = 100, seed: int = 0
) -> tuple[float, float]:
    """The accuracy of the best possible judge of single votes, and how often two votes agree.

    Each pair is put to `votes` people; p = the share that prefers the first answer.
        best judge : mean max(p, 1 - p)            two people : mean p^2 + (1 - p)^2
    The estimate of p is noisy, so the first is a little too high; the second is corrected for it.
    """
    generator = torch.Generator().manual_seed(seed)
    drawn = [prefers_first(a, b, generator, raters, votes) for a, b in pairs.texts()]
    p = torch.stack(drawn).float().mean(dim=1)
    agree = 1 - 2 * p * (1 - p) * votes / (votes - 1)
    return torch.maximum(p, 1 - p).mean().item(), agree.mean().item()


def train_reward_model(
    net: nn.Module,
    pairs: Pairs,
    held_out: Pairs,
    epochs: int = 2,
    batch: int = 16,
    lr: float = 4e-3,
    seed: int = 0,
    loss: Callable = bradley_terry_loss,
    score: Callable = sequence_score,
    progress: bool = True,
) -> tuple[RewardModel, dict[str, list]]:
    """Fit a scalar head and the body below it to votes; the learner's own loss and score may step in.

    net      : a ScalarModel; trained in place (start it from the language model's body)
    held_out : pairs of the language model's own answers; they give the score its zero and its unit
    returns  : RewardModel, and dict of lists: pairs seen, loss (nats), accuracy on the held-out votes
    """
    generator = torch.Generator().manual_seed(seed)
    optimizer = Adam(net.parameters(), lr)
    steps, recent = epochs * (len(pairs) // batch), []
    history = {"pairs": [], "loss": [], "accuracy": []}
    order = torch.cat(
        [torch.randperm(len(pairs), generator=generator)[: len(pairs) // batch * batch]
         for _ in range(epochs)]
    )  # fmt: skip
    bar = tqdm(order.split(batch), desc="reward model", unit=" steps", disable=not progress)
    for step, which in enumerate(bar):
        optimizer.lr = lr * min(1, (step + 1) / (0.1 * steps)) * (1 - step / steps)
        value = loss(*margins(net, pairs, which, score))
        optimizer.zero_grad()
        value.backward()
        clip_grad_norm_(net.parameters(), 1.0)
        optimizer.step()
        recent.append(value.item())
        if (step + 1) % max(1, steps // 20) == 0 or step == steps - 1:
            history["pairs"].append((step + 1) * batch)
            history["loss"].append(sum(recent) / len(recent))
            history["accuracy"].append(accuracy(net, held_out, score))
            bar.set_postfix({"held-out accuracy": f"{history['accuracy'][-1]:.3f}"}, refresh=False)
            recent = []
    model = RewardModel(net)
    model.standardize(held_out.tokens, held_out.mask, score)
    return model.requires_grad_(False), history


def scalar_model_from(language_model: LanguageModel, seed: int = 0) -> ScalarModel:
    """A fresh scalar head on a copy of the language model's body: it already knows the words."""
    net = new_scalar_model(seed)
    net.body.load_state_dict(language_model.body.state_dict())
    return net


def load_reward_model() -> RewardModel:
    """The project's own reward model, trained on 4,000 votes as in the lesson."""
    return load(RewardModel(new_scalar_model()), "reward_model").requires_grad_(False)


def calibration(
    net: nn.Module, pairs: Pairs, bins: int = 10
) -> tuple[list[float], list[float], list[int]]:
    """How often the first answer really won, against how sure the model was of it.

    returns : predicted [bins], observed [bins], count [bins]; bins without a pair are left out
    """
    with torch.no_grad():
        r = raw_score(net, pairs.tokens, pairs.mask)
    p = torch.sigmoid(r[: len(pairs)] - r[len(pairs) :])
    where = (p * bins).long().clamp(max=bins - 1)
    groups = [(where == i) for i in range(bins) if (where == i).any()]
    return (
        [p[g].mean().item() for g in groups],
        [pairs.first[g].float().mean().item() for g in groups],
        [int(g.sum()) for g in groups],
    )


@torch.no_grad()
def best_of_n(
    language_model: LanguageModel,
    reward_model: Callable,
    ns: Sequence[int] = (1, 4, 16),
    prompts: int = 128,
    seed: int = 20_000,
) -> list[dict[str, float]]:
    """Sampling instead of training: of n answers to each prompt keep the one with the highest score.

    returns : for each n a dict: n, kl (the bound log n - (n - 1) / n, nats), and the kept answers' mean
              score, gold, valence, readable
    source  : Stiennon et al. 2020, appendix G.3, arXiv:2009.01325 (the KL)
    """
    generator = torch.Generator().manual_seed(seed)
    asked = sample_prompts(prompts, generator).repeat_interleave(max(ns), 0)
    tokens, mask = generate(language_model, asked, MAX_ANSWER, END_ID, generator)
    scores = reward_model(tokens, mask).view(prompts, max(ns))
    rows = []
    for n in ns:
        best = scores[:, :n].argmax(dim=1) + torch.arange(prompts) * max(ns)
        judged = {key: x.mean().item() for key, x in judge_texts(tokens[best], mask[best]).items()}
        kl = math.log(n) - (n - 1) / n
        rows.append({"n": n, "kl": kl, "score": scores.view(-1)[best].mean().item(), **judged})
    return rows
