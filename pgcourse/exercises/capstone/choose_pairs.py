"""Which pairs to ask people about."""

import torch

from pgcourse.capstone import choose_pairs
from pgcourse.checks.core import Case, Exercise
from pgcourse.checks.edits import edit, mistake
from pgcourse.checks.make_inputs import normal

PREFERRED, ORDER = "after > before, before, -torch.inf", "argsort(descending=True, stable=True)"
RESULT = f"torch.where({PREFERRED}).{ORDER}[:count]"
GUARD = edit("same_shape(before=before, after=after)", "")


def result(new):
    return edit(RESULT, new)


def by(what):
    """The largest of `what` first, among the pairs that the model prefers the answer from after of."""
    return result(f"torch.where(after > before, {what}, -torch.inf).{ORDER}[:count]")


def scores(g, N, count, dtype=torch.float32, gain=0.7):
    before = normal(g, N, dtype=dtype)
    after = before + gain + normal(g, N, dtype=dtype)
    after[:count] = before[:count] + 0.1 + normal(g, count, dtype=dtype).abs()  # so many there are
    turn = torch.randperm(N, generator=g)
    return dict(before=before[turn], after=after[turn], count=count)


def by_hand(before, after, count):
    return dict(before=torch.tensor(before), after=torch.tensor(after), count=count)


# fmt: off
EXERCISE = Exercise(
    reference=choose_pairs,
    parts={"values": 3, "shapes": 1, "clean": 1},
    cases=[
        Case("four pairs, two to ask about", lambda g: by_hand([2.0, 0.0, 1.0, -1.0], [1.5, 3.0, 1.5, 2.5], 2), "values"),
        Case("scores that are all negative", lambda g: by_hand([-3.0, -1.0, -9.0, -4.0], [-2.0, -5.0, -2.5, -3.9], 2), "values"),
        Case("large scores", lambda g: by_hand([2000.0, 1000.0, 0.0, 500.0], [1500.0, 3000.0, 1500.0, 2500.0], 2), "values"),
        Case("large scores that are all negative", lambda g: by_hand([-3000.0, -1000.0, -9000.0, -4000.0], [-2000.0, -5000.0, -2500.0, -3900.0], 2), "values"),
        Case("eight pairs", lambda g: scores(g, 8, 3), "values"),
        Case("twenty pairs", lambda g: scores(g, 20, 6), "values"),
        Case("float64", lambda g: scores(g, 12, 4, torch.float64), "values"),
        Case("one score against five", lambda g: scores(g, 5, 1) | dict(before=normal(g, 1)), "shapes", raises=True),
        Case("too few once ties are left out", lambda g: by_hand([1.0, 2.0, 3.0], [2.0, 2.0, 3.0], 2), "shapes", raises=True),
        Case("more than the model prefers", lambda g: by_hand([2.0, 0.0, 1.0], [1.0, 3.0, 1.5], 3), "shapes", raises=True),
        Case("one score that did not change", lambda g: by_hand([5.0, 2.0, 0.0, -3.0, 1.0], [5.0, 3.0, 1.0, -4.0, 0.5], 1), "values"),
        Case("two of the same pairs", lambda g: by_hand([5.0, 2.0, 0.0, -3.0, 1.0], [5.0, 3.0, 1.0, -4.0, 0.5], 2), "values"),
        Case("scores of both signs", lambda g: by_hand([8.0, -1.0, -4.0, 1.0, 3.0, -7.0, -2.0], [1.0, 4.0, 6.0, 1.0, 7.0, -8.0, -1.0], 3), "values"),
        Case("other scores of both signs", lambda g: by_hand([-4.0, 0.0, -3.0, 6.0, 3.0, -6.0, -8.0], [-4.0, 2.0, -8.0, 1.0, 7.0, -5.0, 4.0], 3), "values"),
    ],
    mistakes=[
        mistake("no guard", "One score is spread over all pairs; check the shapes first.", GUARD),
        mistake("surest", "It asks where the model is surest. There the answer from before is mostly a complaint: a vote for it teaches that complaints are good.",
                by("after - before"), also=(result(f"(after - before).{ORDER}[:count]"),)),
        mistake("most in doubt", "It asks where the two scores are nearest to each other; that may be two bad answers, or two good ones.",
                result("(after - before).abs().argsort(stable=True)[:count]"), also=(by("before - after"),)),
        mistake("all pairs ranked", "Pairs in which the model prefers the answer from before are among them: there it needs no correction.",
                result(f"before.{ORDER}[:count]")),
        mistake("lowest before", "The answers from before that score lowest come first; the highest are asked for.",
                result("torch.where(after > before, before, torch.inf).argsort(stable=True)[:count]")),
        mistake("highest after", "It takes the answers from after that score highest, whatever they are compared with.", by("after")),
        mistake("the model's own side", "It asks where the model prefers the answer from before: there is no hack.",
                result(f"torch.where(after < before, before, -torch.inf).{ORDER}[:count]")),
        mistake("scores, not numbers", "It returns scores; the numbers of the pairs are asked for.",
                result(f"torch.where({PREFERRED}).sort(descending=True, stable=True).values[:count]")),
        mistake("numbers among the preferred", "The numbers count the preferred pairs only: they are no numbers of the list that was given.",
                result(f"before[after > before].{ORDER}[:count]")),
        mistake("ranks, not numbers", "It returns the rank of each pair; the numbers of the pairs are asked for, in the order of the ranks.",
                result(f"torch.where({PREFERRED}).{ORDER}.argsort()[:count]")),
        mistake("in the order of the list", "The right pairs, sorted by their numbers; the largest score comes first.",
                result(f"torch.where({PREFERRED}).{ORDER}[:count].sort().values")),
        mistake("equal scores too", "It takes after >= before: where both scores are the same, the model prefers neither.",
                result(f"torch.where(after >= before, before, -torch.inf).{ORDER}[:count]")),
        mistake("after > 0", "It asks for after > 0; the model prefers the answer from after where after > before.",
                result(f"torch.where(after > 0, before, -torch.inf).{ORDER}[:count]")),
        mistake("before > 0", "It asks for before > 0; the model prefers the answer from after where after > before.",
                result(f"torch.where(before > 0, before, -torch.inf).{ORDER}[:count]")),
        mistake("sum of both", "It ranks by before + after; the largest `before` comes first.",
                by("before + after"), also=(result(f"(before + after).{ORDER}[:count]"),)),
        mistake("the first preferred", "It takes the first preferred pairs of the list; those with the largest `before` are asked for.",
                result(f"(i := (after > before).nonzero().flatten()[:count])[before[i].{ORDER}]"),
                also=(result("(after > before).nonzero().flatten()[:count]"),)),
        mistake("a mask", "It marks the pairs in a list of True and False; their numbers are asked for, the largest `before` first.",
                result(f"torch.zeros_like(after > before).index_fill(0, torch.where({PREFERRED}).{ORDER}[:count], True)"),
                also=(result("after > before"),)),
        mistake("the first ones", "It takes the first pairs, whatever their scores.", result("torch.arange(count)")),
        mistake("all of them", "It returns all pairs; people are asked about `count` of them.", result(f"torch.where({PREFERRED}).{ORDER}")),
        mistake("zero for the rest", "Pairs that the model does not prefer count as score 0, and come before all with a negative one.",
                result(f"torch.where(after > before, before, 0.0).{ORDER}[:count]"),
                also=(result("torch.topk(before * (after > before), count).indices"),)),
    ],
    read="lesson 8, “Which pairs?”",
)
