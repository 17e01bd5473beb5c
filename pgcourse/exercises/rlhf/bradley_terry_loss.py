"""The likelihood of the votes."""

import torch

from pgcourse.checks.core import Case, Exercise
from pgcourse.checks.edits import edit, mistake
from pgcourse.checks.make_inputs import normal
from pgcourse.exercises.rlhf.inputs import F64
from pgcourse.exercises.rlhf.votes import on, vote_mistakes
from pgcourse.losses import bradley_terry_loss

MARGIN, BOTH = "r_chosen - r_rejected", ("r_chosen", "r_rejected")
loss = on(f"return -F.logsigmoid({MARGIN}).mean()", MARGIN)
GUARD = edit("same_shape(r_chosen=r_chosen, r_rejected=r_rejected)", "")


def margin(new):
    return edit(MARGIN, new)


def pair_scores(g, B, dtype=torch.float32, scale=1.0):
    return {name: normal(g, B, dtype=dtype, scale=scale) for name in BOTH}


# fmt: off
EXERCISE = Exercise(
    reference=bradley_terry_loss,
    parts={"values": 2, "clear votes": 1, "shapes": 1, "clean": 1},
    cases=[
        Case("two pairs", lambda g: dict(r_chosen=torch.tensor([1.0, 0.2]), r_rejected=torch.tensor([0.5, 0.7])), "values", BOTH),
        Case("a batch", lambda g: pair_scores(g, 8), "values", BOTH),
        Case("float64", lambda g: pair_scores(g, 5, dtype=F64), "values", BOTH),
        Case("very wrong and very clear pairs",
             lambda g: dict(r_chosen=torch.tensor([-200.0, 200.0, 1.0]), r_rejected=torch.tensor([200.0, -200.0, 0.5])),
             "clear votes", BOTH),
        Case("six clear votes", lambda g: pair_scores(g, 6, scale=300), "clear votes", BOTH),
        Case("a column against a row", lambda g: dict(r_chosen=normal(g, 4, 1), r_rejected=normal(g, 4)), "shapes", raises=True),
        Case("one rejected answer for all", lambda g: dict(r_chosen=normal(g, 4), r_rejected=normal(g, 1)), "shapes", raises=True),
        Case("three clear pairs", lambda g: dict(r_chosen=torch.tensor([20.0, 9.0, 30.0]), r_rejected=torch.tensor([0.0, -12.0, 3.0])), "clear votes", BOTH),
        Case("three wrong pairs", lambda g: dict(r_chosen=torch.tensor([0.0, -12.0, 3.0]), r_rejected=torch.tensor([20.0, 9.0, 30.0])), "clear votes", BOTH),
    ],
    mistakes=[
        mistake("no guard", "A [B, 1] against a [B] becomes a [B, B] table: every answer against every other.", GUARD),
        mistake("sign", "It rewards r_rejected above r_chosen: the model learns the opposite of every vote.",
                margin("r_rejected - r_chosen")),
        mistake("each answer for itself", "It classifies chosen as good and rejected as bad; a vote only says which is BETTER.",
                loss("-(F.logsigmoid(r_chosen) + F.logsigmoid(-r_rejected)).mean()"),
                why="Two excellent answers make a pair too; pushing one of them below 0 is not in the vote."),
        mistake("difference of sigmoids", "It takes the sigmoid of each score, then a difference; the sigmoid is OF the difference of the scores.",
                loss("-(F.logsigmoid(r_chosen) - F.logsigmoid(r_rejected)).mean()"),
                also=(loss("-(r_chosen.sigmoid() - r_rejected.sigmoid()).mean()"),
                      loss("-(r_chosen.sigmoid() - r_rejected.sigmoid()).log().mean()"))),
        mistake("rejected unused", "r_rejected is not used: the loss falls when every answer scores high.", margin("r_chosen")),
        *vote_mistakes(loss),
        mistake("exponentials overflow", "exp of a large score is inf, and inf / inf is nan: use logsigmoid of the difference.",
                loss("-(r_chosen.exp() / (r_chosen.exp() + r_rejected.exp())).log().mean()"),
                why="The pair that the model gets most wrong is the one that breaks the training."),
        mistake("divided by B - 1", "The sum is divided by one less than the number of pairs; the mean divides by B.",
                loss("-F.logsigmoid(m).sum() / max(1, len(m) - 1)")),
        mistake("tanh for sigmoid", "It uses (1 + tanh(x)) / 2, which is sigmoid(2x): the margin counts twice.",
                loss("-F.logsigmoid(2 * m).mean()"), also=(loss("-((1 + torch.tanh(m)) / 2).log().mean()"),)),
        mistake("a temperature", "The margin is multiplied by {c:.3g}; Bradley–Terry takes it as it is.",
                loss("-F.logsigmoid({c=0.5} * m).mean()")),
        mistake("squared margin", "It is a squared error on the margin: a pair that is clearer than 1 is punished for it.",
                loss("((1 - m) ** 2).mean()")),
        mistake("margin standardized", "The margins are divided by their spread, so the loss does not know how sure the model is.",
                loss("-F.logsigmoid(m / (m.std() + 1e-8) if len(m) > 1 else m).mean()")),
        mistake("a margin to win by", "It asks for a lead of {lead:.3g}; Bradley–Terry asks for r_chosen - r_rejected as it is.",
                loss("-F.logsigmoid(m - {lead=1}).mean()")),
        mistake("ratio of scores", "It divides the scores; only their difference has a meaning (they may be 0 or negative).",
                margin("r_chosen / r_rejected")),
        mistake("both directions", "It adds the loss of the opposite vote: then the best score is the same for both answers.",
                loss("-(F.logsigmoid(m) + F.logsigmoid(-m)).mean()"),
                also=(loss("-(F.logsigmoid(m) + F.logsigmoid(-m)).mean() / 2"),)),
        mistake("votes smoothed", "A share of {share:.3g} of every vote is counted the other way round; a vote counts as it is.",
                loss("-((1 - {share=0.1}) * F.logsigmoid(m) + {share=0.1} * F.logsigmoid(-m)).mean()")),
        mistake("first pair only", "Only the first pair enters; the mean runs over all of them.", loss("-F.logsigmoid(m[0])")),
        mistake("worst pair only", "Only the pair with the largest loss enters; the mean runs over all of them.", loss("-F.logsigmoid(m).min()")),
        mistake("scores added", "It adds the two scores; a vote is about their difference.", margin("r_chosen + r_rejected")),
        mistake("softmax over the batch",
                "The softmax runs over the batch; each pair is a contest of its own, between its two answers.",
                loss("-F.log_softmax(torch.stack([r_chosen, r_rejected]), dim=1)[0].mean()"),
                also=(loss("-F.log_softmax(torch.cat([r_chosen, r_rejected]), 0)[: len(r_chosen)].mean()"),)),
        mistake("only the chosen learns", "No gradient reaches r_rejected: half of each vote is thrown away.",
                margin("r_chosen - r_rejected.detach()")),
        mistake("only the rejected learns", "No gradient reaches r_chosen: half of each vote is thrown away.",
                margin("r_chosen.detach() - r_rejected")),
        mistake("every chosen against every rejected", "It compares answers to different prompts, which nobody voted on.",
                margin("r_chosen[:, None] - r_rejected[None, :]")),
        mistake("counts mistakes", "It is the share of wrong pairs: a fine number to report, but it has no gradient.",
                loss("(m <= 0).to(m.dtype).mean()")),
    ],
    read="lesson 7, “A reward model from votes”; Ouyang et al. 2022, eq. 1",
)
