"""Which pairs to ask people about."""

import torch

from pgcourse.capstone import choose_pairs
from pgcourse.checks.core import Case, Exercise
from pgcourse.checks.edits import edit, mistake
from pgcourse.checks.make_inputs import normal

GAIN, ORDER = "after - before", "argsort(descending=True, stable=True)"
GUARD = edit("same_shape(before=before, after=after)", "")


def gain(new):
    return edit(GAIN, new)


def whole(new):
    return edit(f"({GAIN}).{ORDER}[:count]", new)


def scores(g, N, count, dtype=torch.float32):
    return dict(before=normal(g, N, dtype=dtype), after=normal(g, N, dtype=dtype) + 1, count=count)


def by_hand(before, after, count):
    return dict(before=torch.tensor(before), after=torch.tensor(after), count=count)


# fmt: off
EXERCISE = Exercise(
    reference=choose_pairs,
    parts={"values": 3, "shapes": 1, "clean": 1},
    cases=[
        Case("three pairs, two to ask about", lambda g: by_hand([0.0, 1.0, -1.0], [2.0, 1.5, -2.0], 2), "values"),
        Case("scores that are all negative", lambda g: by_hand([-3.0, -1.0, -9.0, -4.0], [-2.0, -5.0, -6.0, -3.5], 2), "values"),
        Case("eight pairs", lambda g: scores(g, 8, 3), "values"),
        Case("all of them", lambda g: scores(g, 5, 5), "values"),
        Case("float64", lambda g: scores(g, 12, 4, torch.float64), "values"),
        Case("one score against five", lambda g: scores(g, 5, 1) | dict(before=normal(g, 1)), "shapes", raises=True),
        Case("more than there are", lambda g: scores(g, 3, 4), "shapes", raises=True),
    ],
    mistakes=[
        mistake("no guard", "One score is spread over all pairs; keep the shape check.", GUARD),
        mistake("most in doubt", "It asks where the model is in doubt. A hack is where it is sure, and wrong: that is not among them.",
                whole(f"({GAIN}).abs().argsort(stable=True)[:count]"),
                why="Asking in doubt is good for learning what people like; it cannot find what the model overlooks."),
        mistake("surest either way", "It asks where the two scores differ most, whichever way; those where training made it worse show no hack.",
                gain("(after - before).abs()")),
        mistake("upside down", "It asks about the pairs in which training lowered the score.", gain("before - after"),
                also=(edit("descending=True", "descending=False"), whole("(after - before).argsort(stable=True)[:count]"))),
        mistake("highest score", "It takes the highest scores after training; what was high before as well has not been gained.", gain("after")),
        mistake("lowest score before", "It takes the lowest scores before training, whatever became of them.", gain("-before")),
        mistake("scores added", "It adds the two scores; what training gained is their difference.", gain("after + before")),
        mistake("ratio of scores", "It divides the scores: they may be 0 or negative, and only differences mean something.",
                gain("after / before")),
        mistake("gains, not numbers", "It returns the gains; the numbers of the pairs are asked for.",
                whole(f"({GAIN}).sort(descending=True, stable=True).values[:count]")),
        mistake("ranks, not numbers", "It returns the rank of each pair; the numbers of the pairs are asked for, in the order of the ranks.",
                whole(f"({GAIN}).{ORDER}.argsort()[:count]")),
        mistake("in the order of the list", "The right pairs, sorted by their numbers; the largest gain comes first.",
                whole(f"({GAIN}).{ORDER}[:count].sort().values")),
        mistake("the first ones", "It takes the first pairs, whatever their scores.", whole("torch.arange(count)")),
        mistake("all of them", "It returns all pairs; people are asked about {{count}} of them.".replace("{{count}}", "`count`"),
                whole(f"({GAIN}).{ORDER}")),
        mistake("the other end", "It takes the last `count` of the order, in which the largest gain comes first.",
                whole(f"({GAIN}).{ORDER}[-count:]")),
    ],
    read="the capstone, “Which pairs?”",
)
