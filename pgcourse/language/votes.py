"""What people prefer: votes between two answers, drawn from real human ratings of words.

The ratings are those of VADER (Hutto & Gilbert 2014, MIT license): ten people each rated 7,500 words
from -4 (extremely negative) to +4 (extremely positive). They are read from the installed package
`vaderSentiment`; this project holds no copy. To be plain about what they are: people rated WORDS, not
these sentences, and the first rating of one word is not the same person as the first of another.

Raters 0-4 label the pairs from which the reward model learns. Raters 5-9 are never shown to anything
that is trained: they are the gold against which the result is judged.

The arithmetic of a sentence is VADER's: a booster adds 0.293 to a word's strength, a dampener takes it
away, a negation multiplies by -0.74, and a sentence's valence is s / sqrt(s^2 + 15), s the sum.
"""

import ast
from collections.abc import Sequence
from functools import cache
from importlib.resources import files

import torch
from torch import Tensor

from pgcourse.language.grammar import (
    ADJECTIVES,
    ADVERBS,
    BOOSTERS,
    DAMPENERS,
    NOUNS,
    VERBS,
    decode,
    is_readable,
)

LABEL_RATERS, GOLD_RATERS = range(0, 5), range(5, 10)
OPINION_WORDS = sorted(
    {*VERBS, *NOUNS, *ADVERBS, *(w for words in ADJECTIVES.values() for w in words)}
)


@cache
def ratings() -> dict[str, tuple[int, ...]]:
    """The ten human ratings of every opinion word, dict word -> tuple of ten ints in -4 … 4.

    Words that VADER's raters left out as neutral ("large", "saw") are not in it.
    """
    found = {}
    text = (files("vaderSentiment") / "vader_lexicon.txt").read_text(encoding="utf-8")
    for line in text.splitlines():
        word, _, _, raw = line.split("\t")
        if word in OPINION_WORDS:
            found[word] = tuple(ast.literal_eval(raw))
    if len(found) < 100 or any(len(row) != 10 for row in found.values()):
        raise RuntimeError(
            "vaderSentiment's lexicon does not look as expected (ten ratings a word); "
            "this course was written with version 3.3.2: pip install 'vaderSentiment==3.3.2'."
        )
    return found


def mean_valence(raters: Sequence[int] = range(10)) -> dict[str, float]:
    """Mean rating of each word by some of the raters, dict word -> float."""
    return {word: sum(row[i] for i in raters) / len(raters) for word, row in ratings().items()}


@cache
def opinions(answer: str) -> Tensor:
    """What each rater's ratings make of an answer's opinion words, [words, 10], modifiers applied."""
    rows, words = [], answer.split()
    for i, word in enumerate(words):
        if word not in ratings():
            continue
        row = torch.tensor(ratings()[word], dtype=torch.float32)
        before = words[:i]
        if before and before[-1] in BOOSTERS + DAMPENERS:
            row = row + row.sign() * (0.293 if before[-1] in BOOSTERS else -0.293)
            before = before[:-1]
        rows.append(row * -0.74 if before and before[-1] == "not" else row)
    return torch.stack(rows) if rows else torch.zeros(0, 10)


def valence(answer: str, raters: Sequence[int] = GOLD_RATERS) -> float:
    """How pleasant an answer's words are to these raters on average, in (-1, 1)."""
    total = opinions(answer)[:, list(raters)].mean(dim=1).sum()
    return (total / (total**2 + 15).sqrt()).item()


def gold_score(prompt: str, answer: str) -> float:
    """The held-out judge: the gold raters' valence of a readable answer, and -1 for any other."""
    return valence(answer, GOLD_RATERS) if is_readable(prompt, answer) else -1.0


def draw_votes(
    answer: str,
    generator: torch.Generator | None,
    count: int = 1,
    raters: Sequence[int] = LABEL_RATERS,
) -> Tensor:
    """`count` people's sums over an answer's opinion words, [count]: for each word a rater at random."""
    table = opinions(answer)[:, list(raters)]
    who = torch.randint(table.shape[1], (len(table), count), generator=generator)
    return table.gather(1, who).sum(dim=0)


def prefers_first(
    first: str,
    second: str,
    generator: torch.Generator | None,
    raters: Sequence[int] = LABEL_RATERS,
    count: int = 1,
) -> Tensor:
    """`count` votes between two answers, bool [count]; a tie is decided by the toss of a coin."""
    a, b = (draw_votes(answer, generator, count, raters) for answer in (first, second))
    if (a == b).any():
        return torch.where(a == b, torch.rand(count, generator=generator) < 0.5, a > b)
    return a > b


def judge_texts(tokens: Tensor, mask: Tensor) -> dict[str, Tensor]:
    """Gold score, valence and readability of a batch of answers, dict of float tensors [B].

    tokens : int, [B, T], prompts and answers;  mask : bool, [B, T], True on the answers
    """
    prompts, answers = decode(tokens, ~mask), decode(tokens, mask)
    pairs = list(zip(prompts, answers, strict=True))
    return {
        "gold": torch.tensor([gold_score(p, a) for p, a in pairs]),
        "valence": torch.tensor([valence(a) for _, a in pairs]),
        "readable": torch.tensor([float(is_readable(p, a)) for p, a in pairs]),
    }
