"""Each answer centered and scaled among the answers to its prompt."""

import torch

from pgcourse.checks.core import Case, Exercise
from pgcourse.checks.edits import edit, mistake
from pgcourse.checks.make_inputs import integers, times
from pgcourse.estimators import grpo_advantages
from pgcourse.exercises.rlhf.inputs import F64, group_scores, hand_scores

CENTER, SPREAD = "score.mean(dim=0)", "score.std(dim=0, correction=0)"
CENTERED, SCALED = f"score - {CENTER}", f"centered / ({SPREAD} + 1e-8)"
SAMPLE = "centered / (score.std(dim=0, correction=1) + 1e-8)"
RESULT = f"({SCALED}).detach()"
EVERYWHERE = "score.std(correction=0)"
LEAST, MOST = "score.min(dim=0).values", "score.max(dim=0).values"
LEFT_OUT = "(score.sum(dim=0) - score) / (len(score) - 1)"
UNBIASED = edit("correction=0", "correction=1")
LARGER = [edit("1e-8", eps) for eps in ("1e-4", "1e-5")]  # what libraries add
BARE = edit(f"torch.where(equal, 0.0, {CENTERED})", CENTERED)
GUARD = edit(
    'if len(score) < 2: raise ValueError(f"expected at least 2 answers along axis 0; got {list(score.shape)}.")',
    "",
)


def center(new):
    return edit(CENTER, new)


def spread(new):
    return edit(SPREAD, new)


def result(new):
    return edit(RESULT, f"({new}).detach()")


FLOORS = [
    (
        edit(f"({SPREAD} + 1e-8)", f"score.std(dim=0, correction={n}).clamp(min={{least=1.0}})"),
        *bare,
    )
    for n in (0, 1)
    for bare in ((), (BARE,))
]

# Powers of 2 as K and small whole numbers: sums and means are exact in float32, whatever their order.
EQUAL = torch.tensor([[1.0, 2.0], [1.0, 4.0], [1.0, 9.0], [1.0, 11.0]])

CONVENTIONS = [(UNBIASED,), (BARE,), (UNBIASED, BARE)]


def one_right_answer(K):
    return dict(score=torch.eye(K)[:, :1].clone())


def close_scores(g):
    """Whole thousandths from -0.02 to 0.06 with the spreads 0.02 and 0.03."""
    return dict(score=torch.tensor([[0.01, 0.06], [0.02, 0.0], [0.06, -0.02]]))


# fmt: off
EXERCISE = Exercise(
    reference=grpo_advantages,
    accept=(*CONVENTIONS, *((*c, eps) for eps in LARGER for c in [(), *CONVENTIONS])),
    parts={"values": 2, "equal scores": 1, "shapes": 1, "clean": 1},
    cases=[
        Case("three answers to two prompts", hand_scores, "values", ("score",)),
        Case("five answers", lambda g: group_scores(g, 5, 3, scale=10), "values", ("score",)),
        Case("many answers", lambda g: group_scores(g, 8, 6, scale=10), "values"),
        Case("float64", lambda g: group_scores(g, 4, 2, F64, 1000), "values"),
        Case("answers that all score the same", lambda g: dict(score=EQUAL), "equal scores"),
        Case("eight answers that all score the same",
             lambda g: dict(score=integers(g, 99, 1, 3).repeat(8, 1).float()), "equal scores"),
        Case("one answer", lambda g: group_scores(g, 1, 9), "shapes", raises=True),
        Case("scores in the thousands", lambda g: times(1e4, hand_scores(g), "score"), "values"),
        Case("scores of a hundred and more", lambda g: times(10, hand_scores(g), "score"), "values"),
        Case("scores close to each other", close_scores, "values"),
        Case("one right answer of eight", lambda g: one_right_answer(8), "values"),
        Case("one right answer of 32", lambda g: one_right_answer(32), "values"),
    ],
    mistakes=[
        mistake("no guard", "One answer is no group, its advantage is 0 for ever: raise a ValueError.", GUARD),
        mistake("no scale", "It centers without dividing by the spread, as Dr. GRPO does; GRPO divides too.",
                result("centered"), also=(result(f"score - {LEFT_OUT}"),)),
        mistake("neither centered nor scaled", "It returns the scores as they are.", result("score")),
        mistake("whole batch", "Mean and spread are over all answers to all prompts; they belong to one prompt's group.",
                center("score.mean()"), spread(EVERYWHERE), also=((center("score.mean()"), spread("score.std()")),)),
        mistake("spread of the whole batch", "The spread is that of the whole batch; it belongs to one prompt's group.", spread(EVERYWHERE),
                also=(spread("score.std()"), spread("centered.std(correction=0)"), spread("centered.std()"))),
        mistake("mean of the whole batch", "The mean is that of the whole batch; it belongs to one prompt's group.", center("score.mean()")),
        mistake("over prompts", "It centers and scales along axis 1: across prompts instead of across answers.",
                center("score.mean(dim=1, keepdim=True)"), spread("score.std(dim=1, correction=0, keepdim=True)")),
        mistake("variance", "It divides by the variance.", spread("score.var(dim=0, correction=0)")),
        mistake("epsilon dominates", "It adds {eps:.3g} to the spread; it should be tiny, 1e-8.", edit("1e-8", "{eps=0.5}"),
                also=((edit("1e-8", "{eps=0.5}"), edit(".detach()", "")),)),
        mistake("epsilon under the root", "It adds {eps:.3g} to the variance, under the root: where scores are close, the spread comes out too large.",
                edit(f"({SPREAD} + 1e-8)", "(score.var(dim=0, correction=0) + {eps=1e-5}).sqrt()"),
                also=(edit(f"({SPREAD} + 1e-8)", "(score.var(dim=0, correction=1) + {eps=1e-5}).sqrt()"),)),
        mistake("floor under the spread", "It takes a spread below {least:.3g} for {least:.3g}: close scores then hardly count.",
                *FLOORS[0], also=FLOORS[1:]),
        mistake("close scores dropped", "Where the spread is small it returns 0; only equal scores get that.",
                result(f"torch.where({SPREAD} < 0.1, 0.0, {SCALED})"),
                also=(result(f"torch.where({SPREAD} < 1, 0.0, {SCALED})"),
                      result(f"torch.where(score.std(dim=0) < 0.1, 0.0, {SAMPLE})"))),
        mistake("scores clamped", "It clamps the scores at ±{limit:.3g} first: beyond, all answers are alike.",
                edit("equal = ", "score = score.clamp(-{limit=5}, {limit=5})\nequal = ")),
        mistake("precedence", "It computes score - mean/std: parentheses are missing.",
                result(f"score - {CENTER} / ({SPREAD} + 1e-8)")),
        mistake("zero divided by zero", "Where all answers score the same, 0/0 is nan: add a tiny constant to the spread.",
                edit("+ 1e-8", ""), why="Prompts that are all right or all wrong are common, and one nan ends the run.",
                also=((edit("+ 1e-8", ""), edit("correction=0", "correction=1")), edit(f"({SPREAD} + 1e-8)", f"{SPREAD} + 1e-8"))),
        mistake("equal scores rewarded", "Where all answers score the same, none is better than the group: the advantage is 0.",
                result(f"torch.where({SPREAD} > 0, {SCALED}, 1.0)")),
        mistake("sign", "It is the mean minus the score.", edit(CENTERED, f"{CENTER} - score")),
        mistake("not centered", "It scales without subtracting the mean.", edit(CENTERED, "score")),
        mistake("leave-one-out", "The mean leaves the own score out (RLOO's baseline); GRPO takes the mean of the whole group.",
                center(LEFT_OUT)),
        mistake("best as the baseline", "It subtracts the group's best score: no answer is ever encouraged.", center(MOST)),
        mistake("median as the baseline", "It subtracts the group's median; GRPO subtracts the mean.", center("score.median(dim=0).values"),
                also=(center("score.quantile(0.5, dim=0)"),)),
        mistake("another measure of spread", "It divides by something else than the standard deviation of the group's scores.",
                spread("centered.abs().mean(dim=0)"),
                also=(*map(spread, ("(score**2).mean(dim=0).sqrt()", "centered.norm(dim=0)", f"({MOST} - {LEAST})", "score.mean(dim=0).abs()")),)),
        mistake("between 0 and 1", "No answer is ever discouraged: the numbers are a share or a place between worst and best.",
                center(LEAST), spread(f"{MOST} - {LEAST}"), also=(result("score.softmax(dim=0)"),)),
        mistake("ranks", "It returns the answers' ranks; how MUCH better an answer is counts, too.",
                result("score.argsort(dim=0).argsort(dim=0).to(score.dtype)")),
        mistake("ranks scaled", "It centers and scales the answers' ranks; how MUCH better an answer is counts, too.",
                edit("equal = ", "score = score.argsort(dim=0).argsort(dim=0).to(score.dtype)\nequal = ")),
        mistake("softmax less 1 / K", "It is the softmax of the scores less 1 / K: a difference of scores, not how it compares with the spread.",
                result("score.softmax(dim=0) - 1 / len(score)")),
        mistake("another number of answers", "The sum of squares is divided by K - {less:.3g}; K and K - 1 are both fine.",
                spread("(centered.square().sum(dim=0) / (len(score) - {less=1.5})).sqrt()")),
        mistake("advantages clipped", "It cuts the advantages off at ±{limit:.3g}; PPO's clip is on the ratio, not here.",
                result(f"({SCALED}).clamp(-{{limit=1}}, {{limit=1}})"),
                also=(result(f"({SAMPLE}).clamp(-{{limit=1}}, {{limit=1}})"),)),
        mistake("advantages with gradient", "A gradient flows into the scores; advantages are constants.", edit(".detach()", ""),
                also=(edit(RESULT, f"(score - {CENTER}.detach()) / ({SPREAD} + 1e-8).detach()"), edit(RESULT, f"centered / ({SPREAD} + 1e-8).detach()"))),
    ],
    read="lesson 7, “Without a critic: RLOO and GRPO”; Shao et al. 2024, section 4.1.2",
)
