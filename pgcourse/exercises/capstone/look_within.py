"""Which look at a run to report."""

import torch

from pgcourse.capstone import look_within
from pgcourse.checks.core import Case, Exercise
from pgcourse.checks.edits import edit, mistake
from pgcourse.checks.make_inputs import normal

RESULT, CHOICE = (
    "torch.where(kl <= limit, score, -torch.inf).argmax().item()",
    "kl <= limit, score, -torch.inf",
)
UNTIL = "torch.where((kl <= limit).cumprod(0) > 0, score, -torch.inf).argmax().item()"
GUARD = edit("same_shape(score=score, kl=kl)", "")


def result(new):
    return edit(RESULT, new)


def by_hand(score, kl, limit):
    return dict(score=torch.tensor(score), kl=torch.tensor(kl), limit=limit)


def looks(g, N, limit=4.0):
    """A run that drifts away while its score rises, with some noise."""
    kl = torch.linspace(0, 9, N) + normal(g, N).abs()
    return dict(score=torch.linspace(-2, 3, N) + normal(g, N, scale=0.7), kl=kl, limit=limit)


# fmt: off
EXERCISE = Exercise(
    reference=look_within,
    parts={"values": 3, "too far": 1, "shapes": 1, "clean": 0},
    cases=[
        Case("three looks", lambda g: by_hand([0.0, 1.0, 2.0], [0.0, 3.0, 5.0], 4.0), "values"),
        Case("the score fell again", lambda g: by_hand([0.0, 1.5, 1.0, 2.5, 2.0], [0.0, 2.0, 3.5, 6.0, 7.0], 4.0), "values"),
        Case("a run that came back", lambda g: by_hand([0.0, 0.5, 2.0, 1.0, 0.8], [0.0, 2.0, 6.0, 3.0, 2.5], 4.0), "values"),
        Case("a dip at first", lambda g: by_hand([0.0, -1.0, 1.0, 1.5, 2.5], [0.0, 0.8, 1.0, 3.0, 6.0], 4.0), "values"),
        Case("two looks alike", lambda g: by_hand([1.0, 1.0, 0.0], [0.0, 2.0, 3.0], 4.0), "values"),
        Case("scores far below zero", lambda g: by_hand([-3.0, -2.0, -0.5], [0.0, 1.0, 5.0], 4.0), "values"),
        Case("scores of -200 and less", lambda g: by_hand([-200.0, -150.0, -0.5], [0.0, 1.0, 5.0], 4.0), "values"),
        Case("scores of 95 and more", lambda g: by_hand([95.0, 100.0, 120.0], [0.0, 1.0, 5.0], 4.0), "values"),
        Case("scores below zero", lambda g: by_hand([-3.0, -1.0, -0.5], [0.0, 1.0, 5.0], 4.0), "values"),
        Case("exactly at the limit", lambda g: by_hand([0.0, 1.0, 2.0], [0.0, 2.0, 4.0], 4.0), "values"),
        Case("one look just within the limit", lambda g: by_hand([1.0, 2.0], [3.9, 6.0], 4.0), "values"),
        Case("a run", lambda g: looks(g, 11), "values"),
        Case("another limit", lambda g: looks(g, 11, 6.5), "values"),
        Case("looks that are all too far away", lambda g: by_hand([1.0, 2.0], [5.0, 6.0], 4.0), "too far", raises=True),
        Case("a run that begins too far away", lambda g: by_hand([0.0, 1.0, 2.0], [5.0, 1.0, 1.0], 4.0), "values"),
        Case("one look at KL 0, within 0", lambda g: by_hand([0.0, 1.0], [0.0, 2.0], 0.0), "values"),
        Case("one KL for all", lambda g: by_hand([0.0, 1.0, 2.0], [1.0], 4.0), "shapes", raises=True),
    ],
    mistakes=[
        mistake("no guard", "One KL is spread over all looks; check the shapes first.", GUARD),
        mistake("limit ignored", "It takes the highest score of the run, however far from the reference.", result("score.argmax().item()"),
                why="Far from the reference the score is what the policy has learned to fool."),
        mistake("last of equals", "Of two looks with one score it takes the later; the first of equals is asked for.",
                result("(len(score) - 1 - torch.where(kl <= limit, score, -torch.inf).flip(0).argmax()).item()")),
        mistake("last look", "It takes the last look of the run.", result("len(score) - 1")),
        mistake("last look within", "It takes the last look within the limit; the score may have been higher before.",
                result("(kl <= limit).nonzero().max().item()")),
        mistake("farthest look within", "It takes the look that is farthest from the reference within the limit, whatever its score.",
                result("torch.where(kl <= limit, kl, -torch.inf).argmax().item()")),
        mistake("nearest look", "It takes the look nearest to the reference, which is the one before training.", result("kl.argmin().item()")),
        mistake("limit is too far", "A look exactly at the limit is refused; at most the limit is allowed.", edit(CHOICE, CHOICE.replace("<=", "<"))),
        mistake("zero for what is too far", "Looks beyond the limit count as score 0, and beat every negative score.",
                edit(CHOICE, "kl <= limit, score, 0.0"), also=(result("(score * (kl <= limit)).argmax().item()"),)),
        mistake("beyond the limit", "It chooses among the looks beyond the limit.", edit(CHOICE, CHOICE.replace("<=", ">"))),
        mistake("lowest score", "It takes the lowest score within the limit.", result("torch.where(kl <= limit, score, torch.inf).argmin().item()")),
        mistake("number among the near ones", "The number counts the near looks only: it is no number of a look of the run.",
                result("score[kl <= limit].argmax().item()")),
        mistake("score, not number", "It returns the score; the number of the look is asked for.",
                result("torch.where(kl <= limit, score, -torch.inf).max().item()")),
        mistake("score per nat", "It takes the most score for a nat; the highest score within the limit is asked for.",
                result("torch.where(kl <= limit, score / kl.clamp(min=1e-6), -torch.inf).argmax().item()")),
        mistake("stops at the first that is too far", "It stops at the first look that is too far away; a run may come back.",
                result(UNTIL), also=(result(f"{UNTIL} if kl[0] <= limit else (kl <= limit).int().argmax().item()"),
                                     (edit("(kl <= limit).any()", "kl[0] <= limit"), result(UNTIL)))),
    ],
    read="lesson 8, “The second round”",
)
