"""Each answer against the mean of the other answers to its prompt."""

import torch

from pgcourse.checks.core import Case, Exercise
from pgcourse.checks.edits import edit, mistake
from pgcourse.checks.make_inputs import times
from pgcourse.estimators import rloo_advantages
from pgcourse.exercises.rlhf.inputs import F64, group_scores, hand_scores

BASELINE = "leave_one_out_baseline(score)"
RESULT = f"(score - {BASELINE}).detach()"
OTHERS = (
    "torch.stack([torch.cat([score[:k], score[k + 1 :]]).{0}(0){1} for k in range(len(score))])"
)
GUARD = edit(
    'if len(ret) < 2: raise ValueError(f"expected at least 2 samples along axis 0; got {list(ret.shape)}.")',
    "",
    of="leave_one_out_baseline",
)
OWN_LENGTH = edit("(len(ret) - 1)", "max(len(ret) - 1, 1)", of="leave_one_out_baseline")


def against(new):
    """Another baseline."""
    return edit(BASELINE, new)


def result(new):
    return edit(RESULT, new)


def over(spread):
    """The result, or the score less the group's mean, over a spread."""
    return (
        result(f"((score - {BASELINE}) / ({spread} + 1e-8)).detach()"),
        result(f"((score - score.mean(0)) / ({spread} + 1e-8)).detach()"),
    )


def columns(*prompts):
    return dict(score=torch.tensor(prompts).T.contiguous())


SPREADS = ("score.std(0)", f"(score - {BASELINE}).std()", f"(score - {BASELINE}).std(correction=0)")

# fmt: off
EXERCISE = Exercise(
    reference=rloo_advantages,
    parts={"values": 2, "shapes": 1, "clean": 1},
    cases=[
        Case("three answers to two prompts", hand_scores, "values", ("score",)),
        Case("two answers", lambda g: group_scores(g, 2, 3), "values", ("score",)),
        Case("many answers", lambda g: group_scores(g, 6, 5), "values"),
        Case("float64", lambda g: group_scores(g, 4, 2, F64), "values"),
        Case("one answer", lambda g: group_scores(g, 1, 9), "shapes", raises=True),
        Case("scores in the thousands", lambda g: times(1e4, hand_scores(g), "score"), "values"),
        Case("four answers to two prompts", lambda g: columns([1.0, 8.0, 3.0, 6.0], [0.0, 2.0, -5.0, 4.0]), "values"),
        Case("five answers to two prompts", lambda g: columns([-7.0, 2.0, 30.0, -1.0, 0.0], [3.0, 1.0, 2.0, 9.0, 4.0]), "values"),
    ],
    mistakes=[
        mistake("no guard", "With one answer there is no other to compare with: raise a ValueError.",
                GUARD, OWN_LENGTH, also=((GUARD,),)),
        mistake("own score in the baseline", "An answer's own score is in the mean it is compared with: a factor (K-1)/K too small.",
                against("score.mean(0)"),
                why="The baseline then depends on the action: lesson 3's biased one, though only by that factor."),
        mistake("factor upside down", "Score minus mean is to be multiplied by K/(K-1), not by its inverse.",
                result("((score - score.mean(0)) * max(1, len(score) - 1) / len(score)).detach()")),
        mistake("mean over prompts",
                "The baseline is taken along the other axis: over prompts, whose scores say nothing of each other.",
                against("leave_one_out_baseline(score.T).T"), also=(against("score.mean(1, keepdim=True)"),)),
        mistake("mean of the whole batch",
                "The baseline is over all answers to all prompts: an easy prompt makes every answer look good.",
                against("(score.sum() - score) / (score.numel() - 1)"), also=(against("score.mean()"),)),
        mistake("best of the others", "It subtracts the BEST other score: only the best answer's advantage is positive.",
                against(OTHERS.format("max", ".values"))),
        mistake("best of all", "It subtracts the best of all scores, the own one among them: no advantage is positive.",
                against("score.max(0).values")),
        mistake("worst of all", "It subtracts the worst of all scores: no answer is ever discouraged.", against("score.min(0).values")),
        mistake("median of the others", "It subtracts the median of the other scores; the baseline is their mean.",
                against(OTHERS.format("median", ".values"))),
        mistake("median of all", "It subtracts the group's median, the own score included; the baseline is the mean of the OTHERS.",
                against("score.median(0).values"), also=(against("score.quantile(0.5, 0)"),)),
        mistake("worst of the others", "It subtracts the WORST other score: only the worst answer's advantage is negative.",
                against(OTHERS.format("min", ".values"))),
        mistake("previous answers only", "The baseline is the mean of the answers BEFORE it; all the others belong to it.",
                against("torch.cat([torch.zeros_like(score[:1]), score.cumsum(0)[:-1]]) / torch.arange(len(score)).clamp(min=1)[:, None]"),
                also=(against("score.cumsum(0) / torch.arange(1, len(score) + 1)[:, None]"),)),
        mistake("scores clamped", "It clamps the scores at ±{limit:.3g} first: beyond, all answers are alike.",
                result("((s := score.clamp(-{limit=10}, {limit=10})) - leave_one_out_baseline(s)).detach()")),
        mistake("also scaled", "It divides by a standard deviation too: RLOO only subtracts.",
                over("score.std(0, correction=0)")[0], also=(over("score.std(0, correction=0)")[1], *(e for s in SPREADS for e in over(s)))),
        mistake("sign", "It is the baseline minus the score.", result(f"({BASELINE} - score).detach()")),
        mistake("baseline only", "It returns the baseline; the advantage is score minus it.", result(f"{BASELINE}.detach()")),
        mistake("divided by K", "The K - 1 other scores are divided by K: the baseline is too close to 0.",
                edit("(len(ret) - 1)", "len(ret)", of="leave_one_out_baseline")),
        mistake("all scores, divided by K - 1", "The own score is still in the sum that is divided by K - 1.",
                edit("(ret.sum(dim=0) - ret)", "ret.sum(dim=0)", of="leave_one_out_baseline")),
        mistake("sum of the others", "It subtracts the SUM of the other scores.",
                edit("/ (len(ret) - 1)", "", of="leave_one_out_baseline")),
        mistake("one other answer", "It compares with a single answer; the baseline is the mean of ALL the others.",
                against("score.roll(1, 0)"), also=(against("score.roll(-1, 0)"), against("score[:1]"))),
        mistake("added", "It adds the baseline.", result(f"(score + {BASELINE}).detach()")),
        mistake("ranks", "It returns the answers' ranks; how MUCH better an answer is counts, too.",
                result("score.argsort(0).argsort(0).to(score.dtype)")),
        mistake("advantages with gradient", "A gradient flows into the scores; advantages are constants.",
                edit(".detach()", ""), also=(result(f"(score - {BASELINE}.detach())"), result(f"(score.detach() - {BASELINE})"))),
    ],
    read="lesson 7, “Without a critic: RLOO and GRPO”; Ahmadian et al. 2024",
)
