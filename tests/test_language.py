"""The corpus, its tokenizer and its reader; the people's votes; the gold score."""

import random

import pytest
import torch

from pgcourse.language import grammar, votes
from pgcourse.language.grammar import (
    END,
    MAX_ANSWER,
    PAD_ID,
    decode,
    encode,
    is_readable,
    turned,
    write_conversations,
)

MUSEUM = "<user> how was the museum ? <bot>"


@pytest.fixture(scope="module")
def corpus():
    return write_conversations(2_000, votes.mean_valence(), seed=1)


def test_every_written_answer_is_readable(corpus):
    assert all(is_readable(prompt, answer) for prompt, answer in corpus)


def test_the_corpus_is_deterministic_and_varied(corpus):
    assert corpus == write_conversations(2_000, votes.mean_valence(), seed=1)
    assert corpus != write_conversations(2_000, votes.mean_valence(), seed=2)
    assert len({answer for _, answer in corpus}) > 1_800
    assert {w for _, a in corpus for w in a.split()} >= set(votes.ratings())


def test_answers_fit_the_budget_and_prompts_the_context():
    rng = random.Random(0)
    lengths = [
        len(grammar.write_answer(rng, topic, votes.mean_valence()).split())
        for topic in grammar.TOPICS
        for _ in range(500)
    ]
    assert max(lengths) <= grammar.MAX_ANSWER
    assert min(lengths) < 8
    assert {len(grammar.prompt_text(q).split()) for _, q in grammar.PROMPTS} == {6, 7, 8, 10}


def test_an_answer_keeps_its_mood(corpus):
    """'and' joins like with like, 'but' turns: the language model has something to learn."""

    def share(joint):
        sides = [a.split(joint) for _, a in corpus if a.count(joint) == 1]
        sums = [[votes.opinions(side).mean(dim=-1).sum() for side in pair] for pair in sides]
        return sum(a * b > 0 for a, b in sums) / sum(a * b != 0 for a, b in sums)

    assert share(" , but ") < 0.35 < 0.65 < share(" and ")


@pytest.mark.parametrize(
    "answer, why",
    [
        (f"the guide was charming , but i hated the cafe . {END}", None),
        (f"we went there in spring and it was a joy . {END}", None),
        (f"sadly , i disliked the painting . {END}", None),
        ("the guide was charming .", "never ends"),
        (f"the guide was charming {END}", "no full stop"),
        (f"the soup was fresh . {END}", "another topic"),
        (f"the guide was delicious . {END}", "that is not said of people"),
        (f"the guide was charming and the guide was honest . {END}", "twice the same thing"),
        (f"charming charming charming . {END}", "word salad"),
        (f"the guide was charming . the cafe was clean . {END}", "two sentences"),
        ("", "nothing"),
    ],
)
def test_readable(answer, why):
    assert is_readable(MUSEUM, answer) == (why is None)


def test_encode_pads_on_the_left_and_decode_undoes_it():
    texts = ["how was the museum ?", "and the museum ?"]
    table = encode(texts)
    assert table.shape == (2, 5)
    assert table[1, 0] == PAD_ID and (table[0] != PAD_ID).all()
    assert decode(table) == texts


@pytest.mark.parametrize(
    "texts, message",
    [
        ("", "empty text"),
        (["how was the museum ?", "  "], "empty text"),
        ([], "no text"),
        ("how was the spaceship ?", "no word 'spaceship'"),
        (" ".join(["the"] * 40), "40 words are too long: at most 32 fit"),
    ],
)
def test_bad_text_gets_a_clear_error(texts, message):
    with pytest.raises(ValueError, match=message):
        encode(texts, context=32)


def test_ratings_are_vaders_own():
    """Means that VADER's paper and lexicon publish, from the ten raw numbers."""
    mean = votes.mean_valence()
    assert mean["good"] == 1.9 and mean["superb"] == 3.1 and mean["disaster"] == -3.1
    assert votes.ratings()["awful"][6] == 4  # one of ten people thinks awful is wonderful
    assert 120 < len(mean) < 140


def test_no_other_word_of_the_language_carries_a_rating():
    from importlib.resources import files

    text = (files("vaderSentiment") / "vader_lexicon.txt").read_text(encoding="utf-8")
    rated = {line.split("\t")[0] for line in text.splitlines()}
    silent = set(grammar.VOCABULARY) - set(votes.OPINION_WORDS)
    assert not silent & rated


def test_a_changed_lexicon_is_noticed(monkeypatch, tmp_path):
    (tmp_path / "vader_lexicon.txt").write_text("good\t1.9\t0.9\t[1, 2]\n")
    monkeypatch.setattr(votes, "files", lambda package: tmp_path)
    votes.ratings.cache_clear()
    with pytest.raises(RuntimeError, match="vaderSentiment==3.3.2"):
        votes.ratings()
    votes.ratings.cache_clear()


@pytest.mark.parametrize(
    "text, total",
    [
        ("the guide was good", 1.9),
        ("the guide was very good", 1.9 + 0.293),
        ("the guide was slightly good", 1.9 - 0.293),
        ("the guide was not good", 1.9 * -0.74),
        ("the guide was not very good", (1.9 + 0.293) * -0.74),
        ("the guide was very bad", -2.5 - 0.293),
        ("good bad", 1.9 - 2.5),
        ("the guide was young", 0.0),
    ],
)
def test_the_arithmetic_of_a_sentence_is_vaders(text, total):
    got = votes.opinions(text).mean(dim=1).sum().item()
    assert got == pytest.approx(total, abs=1e-5)
    assert votes.valence(text, range(10)) == pytest.approx(total / (total**2 + 15) ** 0.5, abs=1e-5)


@pytest.mark.parametrize("text", ["the guide was very good", "the guide was not good", "very bad"])
def test_valence_agrees_with_the_vader_package(text):
    """The package's own analyzer, as it is (mean ratings, its booster and negation rules)."""
    from vaderSentiment.vaderSentiment import SentimentIntensityAnalyzer

    theirs = SentimentIntensityAnalyzer().polarity_scores(text)["compound"]
    assert votes.valence(text, range(10)) == pytest.approx(theirs, abs=2e-4)


def test_gold_never_looks_at_the_label_raters(monkeypatch):
    answer = f"the guide was charming . {END}"
    before = votes.gold_score(MUSEUM, answer)
    changed = {w: (-4,) * 5 + row[5:] for w, row in votes.ratings().items()}
    monkeypatch.setattr(votes, "ratings", lambda: changed)
    votes.opinions.cache_clear()
    try:
        assert votes.gold_score(MUSEUM, answer) == before
        assert votes.valence(answer, votes.LABEL_RATERS) < 0
    finally:
        votes.opinions.cache_clear()


def test_votes_never_look_at_the_gold_raters():
    generator = torch.Generator().manual_seed(0)
    seen = set(votes.draw_votes("awful", generator, 200).tolist())
    assert seen == {-2.0, -3.0}  # rater 6's +4 is among the gold ones


def test_unreadable_text_has_the_lowest_gold():
    assert votes.gold_score(MUSEUM, "superb superb superb superb") == -1.0


def test_votes_are_noisy_and_mostly_right():
    generator = torch.Generator().manual_seed(0)
    assert votes.prefers_first("superb", "terrible", generator, count=100).all()
    close = votes.prefers_first("good", "nice", generator, count=400)
    assert 0.3 < close.float().mean() < 0.7


def test_judge_texts_separates_prompt_and_answer():
    tokens = encode(
        [f"{MUSEUM} the guide was superb . {END}", f"{MUSEUM} awful awful awful . {END}"]
    )
    mask = torch.arange(tokens.shape[1]).expand_as(tokens) >= 7
    seen = votes.judge_texts(tokens, mask)
    assert seen["readable"].tolist() == [1.0, 0.0]
    assert seen["gold"][0] == seen["valence"][0] > 0.5
    assert seen["gold"][1] == -1.0 < seen["valence"][1]


def test_a_not_is_put_in_or_taken_out():
    rng = random.Random(0)
    pairs = {
        "the plot was dull . <end>": "the plot was not dull . <end>",
        "the plot was not dull . <end>": "the plot was dull . <end>",
        "the plot was very dull . <end>": "the plot was not dull . <end>",
        "it was a joy . <end>": None,
        "i loved the plot and it was a joy . <end>": None,
    }
    for answer, other in pairs.items():
        assert turned(rng, answer) == other
    two = "the plot was dull and the ending was not sad . <end>"
    found = {turned(rng, two) for _ in range(50)}
    assert found == {
        "the plot was not dull and the ending was not sad . <end>",
        "the plot was dull and the ending was sad . <end>",
    }


def test_what_was_turned_is_readable_still(corpus):
    rng, changed = random.Random(1), 0
    for prompt, answer in corpus[:300]:
        other = turned(rng, answer)
        if other is not None and len(other.split()) <= MAX_ANSWER:
            assert is_readable(prompt, other)
            changed += votes.valence(other) != votes.valence(answer)
    assert changed > 150
