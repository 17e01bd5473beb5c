"""Each answer centered and scaled among the answers to its prompt."""

import torch

from pgcourse.checks.core import Case, Exercise
from pgcourse.checks.edits import edit, mistake
from pgcourse.checks.make_inputs import integers, times
from pgcourse.estimators import grpo_advantages
from pgcourse.exercises.rlhf.inputs import F64, group_scores, hand_scores

CENTER, SPREAD = "score.mean(dim=0)", "score.std(dim=0, correction=0)"
CENTERED, SCALED = f"score - {CENTER}", f"centered / ({SPREAD} + 1e-8)"
RESULT = f"({SCALED}).detach()"
EVERYWHERE = "score.std(correction=0)"
LEAST, MOST = "score.min(dim=0).values", "score.max(dim=0).values"
LEFT_OUT = "(score.sum(dim=0) - score) / (len(score) - 1)"
UNBIASED = edit("correction=0", "correction=1")
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


# Powers of 2 as K and small whole numbers: sums and means are exact in float32, whatever their order.
EQUAL = torch.tensor([[1.0, 2.0], [1.0, 4.0], [1.0, 9.0], [1.0, 11.0]])

# fmt: off
EXERCISE = Exercise(
    reference=grpo_advantages,
    accept=(UNBIASED, BARE, (UNBIASED, BARE)),
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
    ],
    mistakes=[
        mistake("no guard", "One answer is no group, its advantage is 0 for ever: keep the check that raises.", GUARD),
        mistake("no scale", "It centers without dividing by the spread, as Dr. GRPO does; GRPO divides too.",
                result("centered"), also=(result(f"score - {LEFT_OUT}"),)),
        mistake("neither centered nor scaled", "It returns the scores as they are.", result("score")),
        mistake("whole batch", "Mean and spread are over all answers to all prompts; they belong to one prompt's group.",
                center("score.mean()"), spread(EVERYWHERE), also=((center("score.mean()"), spread("score.std()")),)),
        mistake("spread of the whole batch", "The spread is that of the whole batch; it belongs to one prompt's group.", spread(EVERYWHERE)),
        mistake("mean of the whole batch", "The mean is that of the whole batch; it belongs to one prompt's group.", center("score.mean()")),
        mistake("over prompts", "It centers and scales along axis 1: across prompts instead of across answers.",
                center("score.mean(dim=1, keepdim=True)"), spread("score.std(dim=1, correction=0, keepdim=True)")),
        mistake("variance", "It divides by the variance.", spread("score.var(dim=0, correction=0)")),
        mistake("epsilon dominates", "It adds {eps:.3g} to the spread; it should be tiny, 1e-8.", edit("1e-8", "{eps=0.5}"),
                also=((edit("1e-8", "{eps=0.5}"), edit(".detach()", "")),)),
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
        mistake("median as the baseline", "It subtracts the group's median; GRPO subtracts the mean.", center("score.median(dim=0).values")),
        mistake("another measure of spread", "It divides by something else than the standard deviation of the group's scores.",
                spread("centered.abs().mean(dim=0)"),
                also=(*map(spread, ("(score**2).mean(dim=0).sqrt()", "centered.norm(dim=0)", f"({MOST} - {LEAST})", "score.mean(dim=0).abs()")),)),
        mistake("between 0 and 1", "No answer is ever discouraged: the numbers are a share or a place between worst and best.",
                center(LEAST), spread(f"{MOST} - {LEAST}"), also=(result("score.softmax(dim=0)"),)),
        mistake("ranks", "It returns the answers' ranks; how MUCH better an answer is counts, too.",
                result("score.argsort(dim=0).argsort(dim=0).to(score.dtype)")),
        mistake("advantages clipped", "It cuts the advantages off at ±{limit:.3g}; PPO's clip is on the ratio, not here.",
                result(f"({SCALED}).clamp(-{{limit=1}}, {{limit=1}})")),
        mistake("advantages with gradient", "A gradient flows into the scores; advantages are constants.", edit(".detach()", ""),
                also=(edit(RESULT, f"(score - {CENTER}.detach()) / ({SPREAD} + 1e-8).detach()"), edit(RESULT, f"centered / ({SPREAD} + 1e-8).detach()"))),
    ],
    read="lesson 7, “Without a critic: RLOO and GRPO”; Shao et al. 2024, section 4.1.2",
)
