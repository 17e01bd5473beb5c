"""One number for a whole answer."""

import math

import torch

from pgcourse.checks.core import Case, Exercise
from pgcourse.checks.edits import edit, mistake
from pgcourse.checks.make_inputs import masks, normal
from pgcourse.exercises.rlhf.inputs import (
    F64,
    LARGE_VALUES,
    hand_mask,
    last_of,
    one_longer,
)
from pgcourse.language.reward_model import sequence_score

LAST = "(torch.arange(mask.shape[1]) * mask).argmax(dim=1)"
PICKED = "values.gather(1, last.unsqueeze(1)).squeeze(1)"
SHAPES = edit("same_shape(values=values, mask=mask)", "")
EMPTY = edit(
    "if not mask.any(dim=1).all(): "
    'raise ValueError("expected an answer in every row; a row of the mask is all False.")',
    "",
)
KEPT = "torch.where(mask, values, 0.0)"
WEIGHT = "(torch.arange(1, mask.shape[1] + 1, dtype=values.dtype) * mask)"


def last(new):
    """Another column for each row."""
    return edit(LAST, new)


def score(new):
    return edit(PICKED, new)


def last_but_one(values, mask):
    """Of an answer of one token that one."""
    rows = [row.nonzero().flatten() for row in mask]
    return torch.stack([v[row[-2:][0]] for v, row in zip(values, rows, strict=True)])


def last_other_than_0(values, mask):
    kept = [row[row != 0] for row in torch.where(mask, values, 0.0)]
    return torch.stack([row[-1] if len(row) else values[0, 0] * 0 for row in kept])


def marked(g, B, T, dtype=torch.float32):
    mask = masks(g, B, T)
    values = normal(g, B, T, dtype=dtype)
    return dict(values=torch.where(mask, values, 10 * values), mask=mask)


def nan_around(args):
    return args | dict(values=torch.where(args["mask"], args["values"], math.nan))


def zero_scores(g):
    """Answers whose last token's value is exactly 0, at places that the generator draws."""
    mask = masks(g, 4, 7)
    at_the_end = torch.arange(7) == last_of(mask)[:, None]
    return dict(values=torch.where(at_the_end, 0.0, 1 + normal(g, 4, 7).abs()), mask=mask)


# fmt: off
EXERCISE = Exercise(
    reference=sequence_score,
    parts={"values": 2, "padding": 1, "shapes": 1, "clean": 1},
    cases=[
        Case("two answers of different length",
             lambda g: dict(values=torch.tensor([[9.0, 1.0, 2.0, 8.0], [9.0, 3.0, 4.0, 5.0]]),
                            mask=hand_mask([0, 1, 1, 0], [0, 1, 1, 1])), "values", ("values",)),
        Case("a batch", lambda g: marked(g, 5, 8), "values", ("values",)),
        Case("float64", lambda g: marked(g, 3, 6, dtype=F64), "values", ("values",)),
        Case("scores that are 0", zero_scores, "values"),
        Case("nan in the padding",
             lambda g: dict(values=torch.tensor([[math.nan, 1.0, 2.0, math.nan], [math.nan] * 3 + [-4.0]]),
                            mask=hand_mask([0, 1, 1, 0], [0, 0, 0, 1])), "padding"),
        Case("nan in the padding of a batch", lambda g: nan_around(marked(g, 4, 6)), "padding"),
        Case("a row without an answer",
             lambda g: dict(values=normal(g, 2, 5), mask=hand_mask([0, 0, 0, 0, 0], [0, 1, 1, 0, 0])), "shapes", raises=True),
        Case("one column more in the mask", lambda g: one_longer(marked(g, 2, 4), "mask"), "shapes", raises=True),
        Case("large values, one answer of one token",
             lambda g: dict(values=LARGE_VALUES, mask=hand_mask([1, 0, 0, 0], [0, 1, 1, 0], [0, 0, 1, 1])), "values", ("values",)),
        Case("columns of padding alone",
             lambda g: dict(values=torch.tensor([[7.0, 1.0, 2.0, 8.0, 5.0, -3.0], [9.0, 3.0, 4.0, -6.0, 0.5, 2.5]]),
                            mask=hand_mask([0, 1, 1, 0, 0, 0], [0, 1, 1, 1, 0, 0])), "values", ("values",)),
    ],
    mistakes=[
        mistake("no guard", "A row without an answer gets the score of its first column; raise a ValueError.",
                EMPTY, SHAPES, also=(EMPTY,)),
        mistake("last column", "It reads position -1, which is padding for every answer shorter than the longest.",
                score("values[:, -1]"),
                why="On a batch of one it looks right; in a batch the score depends on the neighbors' lengths."),
        mistake("last column, zero if padding",
                "Answers shorter than the longest score 0: it reads position -1 of the masked values.", score(f"{KEPT}[:, -1]")),
        mistake("mean over tokens", "It averages over tokens; the score is what the head says at the answer's LAST token.",
                score(f"{KEPT}.sum(1) / mask.sum(1)"),
                also=(score("values.mean(1)"), score(f"{KEPT}.mean(1)"), score(f"({KEPT} * {WEIGHT}).sum(1) / {WEIGHT}.sum(1)"))),
        mistake("one column for all rows", "Every row is read in the same column; answers end in different ones.",
                score("values[:, last[0]]"), also=(score("values[:, last[-1]]"),)),
        mistake("where the longest ends", "Every row is read where the longest answer ends; each row has an end of its own.",
                score("values[:, last.max()]")),
        mistake("counted from the end", "It counts how many places follow the last token, and reads that many from the START.",
                last("mask.flip(1).int().argmax(dim=1)")),
        mistake("a table of columns",
                "values[:, last] reads every row at every position of `last`: one number per row is wanted.",
                score("values[:, last]"), why="Pair rows and columns: values[torch.arange(B), last], or gather."),
        mistake("last value that is not 0",
                "It looks for the last value other than 0; a token's value may BE 0: the mask says which are real.",
                edit(PICKED, "last_other_than_0(values, mask)", use=(last_other_than_0,))),
        mistake("mask multiplied", "0 times nan is nan: pick the value by its index instead of multiplying by a mask.",
                score("(values * torch.eye(mask.shape[1], dtype=values.dtype)[last]).sum(1)"),
                also=(score("(values * (torch.arange(mask.shape[1]) == last[:, None])).sum(1)"),)),
        mistake("one number for the batch", "It averages over the answers; each one has its own score, [B].", score(f"{PICKED}.mean()")),
        mistake("an axis too many", "The scores come as a column [B, 1]; against a [B] that broadcasts to [B, B].",
                score("values.gather(1, last.unsqueeze(1))")),
        mistake("sum over tokens", "It sums over the answer; here the convention is the head's output at the last token.",
                score(f"{KEPT}.sum(1)"), why="Sum pooling is a real alternative, but then the head must be trained and read that way."),
        mistake("largest token", "It takes the largest value of the answer.",
                score("torch.where(mask, values, -torch.inf).max(1).values")),
        mistake("smallest token", "It takes the smallest value of the answer.",
                score("torch.where(mask, values, torch.inf).min(1).values")),
        mistake("first token", "It reads the answer's first token, where the model has seen one token of it.",
                last("mask.int().argmax(dim=1)")),
        mistake("before the first gap",
                "The first False of the mask need not be the padding after the answer: the prompt is False too.",
                last("(mask.int().argmin(dim=1) - 1) % mask.shape[1]"),
                why="And in a full row there is no False at all: the index becomes -1.",
                also=(last("(mask.int().argmin(dim=1) - 1).clamp(min=0)"),)),
        mistake("counts tokens for a position",
                "mask.sum() - 1 is the last position only if the answer begins in column 0; before it stands the prompt.",
                last("mask.sum(dim=1) - 1")),
        mistake("one past the end", "It reads the place after the answer's last token: padding.",
                last(f"({LAST} + 1).clamp(max=mask.shape[1] - 1)")),
        mistake("one too early", "It reads the token before the last: the end token is part of the answer.",
                last(f"({LAST} - 1).clamp(min=0)"), also=(last(f"({LAST} - 1) % mask.shape[1]"),
                                                       edit(PICKED, "last_but_one(values, mask)", use=(last_but_one,)))),
        mistake("detached", "No gradient reaches the values: the reward model cannot learn.", score(f"{PICKED}.detach()")),
    ],
    read="lesson 7, “One score for an answer”",
)
