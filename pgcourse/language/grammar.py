"""A small written language: short conversations about eight topics, made by this grammar.

    <user> what did you think of the museum ? <bot>
    the guide was very charming , but i disliked the cafe . <end>

The project wrote the grammar, and it knows what people read as pleasant or unpleasant from nobody:
how much each opinion word is worth is read in `pgcourse.language.votes` from ratings by real people.
Left out on purpose: sub-word tokens, several turns. One word is one token.
"""

import random
import re
from collections.abc import Sequence
from itertools import chain

import torch
from torch import Tensor

PAD, USER, BOT, END = "<pad>", "<user>", "<bot>", "<end>"

# topic -> {aspect: its kind}; every aspect belongs to one topic only
TOPICS = {
    "restaurant": dict(
        waiter="person", chef="person", soup="food", bread="food", dessert="food", terrace="place"
    ),
    "hotel": dict(
        porter="person", manager="person", breakfast="food", room="place", pool="place", bed="thing"
    ),
    "film": dict(
        actor="person", director="person", plot="art", scenery="art", dialogue="art", ending="art"
    ),
    "book": dict(
        author="person", editor="person", opening="art", style="art", chapter="art", cover="thing"
    ),
    "concert": dict(
        singer="person", drummer="person", band="person", song="art", encore="art", hall="place"
    ),
    "museum": dict(
        guide="person", painting="art", statue="art", cafe="place", gallery="place", audioguide="thing"
    ),
    "phone": dict(
        seller="person", screen="thing", camera="thing", keyboard="thing", speaker="thing", charger="thing"
    ),
    "park": dict(
        gardener="person", lake="place", meadow="place", path="place", playground="place", bench="thing"
    ),
}  # fmt: skip

# What may be said of an aspect. "any" fits every kind; a few plain words carry no opinion.
ADJECTIVES = {
    "any": "good great nice lovely superb excellent amazing wonderful perfect fantastic fine okay "
    "acceptable splendid terrific bad awful terrible horrible dreadful poor lousy disappointing "
    "unpleasant unacceptable pathetic ordinary",
    "person": "friendly kind helpful honest charming funny talented clever cheerful rude lazy arrogant "
    "selfish nasty boring cruel careless hostile moody young",
    "food": "fresh delicious yummy healthy sweet bitter rotten disgusting gross warm cold",
    "place": "clean safe calm peaceful comfortable beautiful bright relaxing dirty ugly dangerous noisy "
    "gloomy grim empty uncomfortable dismal large",
    "art": "brilliant original fascinating exciting inspiring romantic boring dull repetitive confusing "
    "sad silly depressing weird annoying tragic long",
    "thing": "useful strong robust efficient smart broken defective useless weak flawed faulty worthless "
    "obsolete secure new",
}
ADJECTIVES = {kind: words.split() for kind, words in ADJECTIVES.items()}
VERBS = (
    "loved enjoyed liked admired praised adored hated disliked regretted despised criticized saw"
).split()
NOUNS = (
    "joy treat pleasure delight masterpiece success triumph disaster shame failure mess waste scandal "
    "catastrophe disappointment mistake fiasco surprise story"
).split()
BOOSTERS = "very really so extremely".split()
DAMPENERS = "slightly somewhat".split()
OPENINGS = dict(
    restaurant="we ate there", hotel="we stayed there", film="we saw it", book="we read it",
    concert="we heard it", museum="we went there", phone="we used it", park="we went there",
)  # fmt: skip
ADVERBS = "luckily happily thankfully sadly unfortunately regrettably".split()
SETTINGS = "in spring,in winter,on monday,on sunday,with my family,for an hour,all day".split(",")
QUESTIONS = (
    "how was the {} ?",
    "tell me about the {} .",
    "and the {} ?",
    "what did you think of the {} ?",
)

MAX_ANSWER = 21  # tokens, the end token included: the longest sentence of the grammar fits
PROMPTS = [(topic, question.format(topic)) for topic in TOPICS for question in QUESTIONS]
VOCABULARY = [PAD, USER, BOT, END] + sorted(
    set(
        chain(
            " ".join(text for _, text in PROMPTS).split(),
            *TOPICS.values(),
            *ADJECTIVES.values(),
            VERBS,
            NOUNS,
            ADVERBS,
            BOOSTERS,
            DAMPENERS,
            " ".join([*OPENINGS.values(), *SETTINGS]).split(),
            "the was not i it a , and but .".split(),
        )
    )
)
ID = {word: i for i, word in enumerate(VOCABULARY)}
PAD_ID, END_ID, SPEAKERS = ID[PAD], ID[END], (ID[USER], ID[BOT])


def _modifier(rng):
    return rng.choices(
        ["", "not ", rng.choice(BOOSTERS) + " ", rng.choice(DAMPENERS) + " "],
        weights=[50, 20, 20, 10],
    )[0]


def _choose(rng, words, valence, mood):
    """One of the words, nearly always one whose valence has the mood's sign."""
    fitting = [w for w in words if valence.get(w, 0.0) * mood > 0]
    return rng.choice(fitting if rng.random() < 0.9 else words)


def _clause(rng, topic, unused, valence, mood):
    """One clause with an opinion of the mood's sign, about an aspect that is still unused."""
    form = rng.random()
    if form < 0.12:
        return f"it was a {_choose(rng, NOUNS, valence, mood)}"
    aspect = unused.pop(rng.randrange(len(unused)))
    if form < 0.35:
        return f"i {_choose(rng, VERBS, valence, mood)} the {aspect}"
    modifier = _modifier(rng)
    words = ADJECTIVES["any"] + ADJECTIVES[TOPICS[topic][aspect]] * 2
    adjective = _choose(rng, words, valence, -mood if modifier == "not " else mood)
    return f"the {aspect} was {modifier}{adjective}"


def write_answer(rng: random.Random, topic: str, valence: dict[str, float]) -> str:
    """An answer about `topic`: one or two clauses, at times an opening before them.

    valence : dict word -> number; only its sign is used, so that "and" joins like with like
    """
    unused, mood, form = list(TOPICS[topic]), rng.choice([1, -1]), rng.random()
    text = ""
    if form < 0.15:
        text = f"{OPENINGS[topic]} {rng.choice(SETTINGS)} and "
    elif form < 0.5:
        text = f"{_choose(rng, ADVERBS, valence, mood)} , "
    text += _clause(rng, topic, unused, valence, mood)
    if rng.random() < 0.55:
        joint = rng.choice([" and ", " , but "])
        mood = -mood if "but" in joint else mood
        text += joint + _clause(rng, topic, unused, valence, mood)
    return f"{text} . {END}"


def write_conversations(
    count: int, valence: dict[str, float], seed: int = 0
) -> list[tuple[str, str]]:
    """`count` pairs (prompt, answer) of text, from the grammar."""
    rng = random.Random(seed)
    chosen = [rng.choice(PROMPTS) for _ in range(count)]
    return [(prompt_text(q), write_answer(rng, topic, valence)) for topic, q in chosen]


def prompt_text(question: str) -> str:
    return f"{USER} {question} {BOT}"


def _pattern(topic):
    def one_of(words):
        return f"(?:{'|'.join(words)})"

    modifier = f"(?:(?:not|{'|'.join(BOOSTERS + DAMPENERS)}) )?"
    clauses = [f"it was a {one_of(NOUNS)}", f"i {one_of(VERBS)} the {one_of(TOPICS[topic])}"]
    for aspect, kind in TOPICS[topic].items():
        clauses.append(f"the {aspect} was {modifier}{one_of(ADJECTIVES['any'] + ADJECTIVES[kind])}")
    clause = one_of(clauses)
    opening = f"(?:{OPENINGS[topic]} {one_of(SETTINGS)} and |{one_of(ADVERBS)} , )?"
    return re.compile(f"{opening}{clause}(?:(?: and | , but ){clause})? \\. {END}")


PATTERNS = {topic: _pattern(topic) for topic in TOPICS}


def is_readable(prompt: str, answer: str) -> bool:
    """Does the grammar accept this answer: well formed, on the prompt's topic, finished, nothing twice?"""
    topic = next(word for word in prompt.split() if word in TOPICS)
    if not PATTERNS[topic].fullmatch(answer):
        return False
    aspects = [word for word in answer.split() if word in TOPICS[topic]]
    return len(set(aspects)) == len(aspects)


def turned(rng: random.Random, answer: str) -> str | None:
    """The same answer with a "not" put before one of its adjectives, or taken away; None if it has none."""
    words = answer.split()
    places = [i for i in range(1, len(words)) if words[i - 1] == "was" and words[i] != "a"]
    if not places:
        return None
    i = rng.choice(places)
    if words[i] in BOOSTERS + DAMPENERS:
        words[i] = "not"
    else:
        words[i : i + 1] = [] if words[i] == "not" else ["not", words[i]]
    return " ".join(words)


def encode(texts: str | Sequence[str], context: int | None = None) -> Tensor:
    """Texts as one left-padded table of token numbers, [B, T]: the last words stand in one column.

    raises : ValueError for an empty text, an unknown word, or one longer than `context` tokens
    """
    rows = []
    for text in [texts] if isinstance(texts, str) else texts:
        unknown = [word for word in text.split() if word not in ID]
        if unknown:
            raise ValueError(
                f"the language has no word {unknown[0]!r} (in {text!r}); "
                f"it knows {len(ID)} words, see pgcourse.language.grammar.VOCABULARY."
            )
        if not text.split():
            raise ValueError("empty text: a prompt needs at least one word.")
        if context and len(text.split()) > context:
            raise ValueError(f"{len(text.split())} words are too long: at most {context} fit.")
        rows.append([ID[word] for word in text.split()])
    if not rows:
        raise ValueError("no text: expected at least one.")
    width = max(map(len, rows))
    return torch.tensor([[PAD_ID] * (width - len(row)) + row for row in rows])


def decode(tokens: Tensor, mask: Tensor | None = None) -> list[str]:
    """Token numbers [B, T] as texts, without padding (with a mask: only where it is True)."""
    keep = tokens != PAD_ID if mask is None else mask & (tokens != PAD_ID)
    return [
        " ".join(VOCABULARY[i] for i in row[kept].tolist())
        for row, kept in zip(tokens, keep, strict=True)
    ]


def sample_prompts(count: int, generator: torch.Generator | None = None) -> Tensor:
    """`count` prompts drawn with replacement, encoded, [count, P], left-padded."""
    chosen = torch.randint(len(PROMPTS), (count,), generator=generator).tolist()
    return encode([prompt_text(PROMPTS[i][1]) for i in chosen])
