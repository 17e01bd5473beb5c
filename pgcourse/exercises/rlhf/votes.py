"""Mistakes in the logarithm of a sigmoid: those of a loss on votes, whatever its margin is."""

import re

from pgcourse.checks.edits import edit, mistake

WRONG_PAIR = "The pair that the model gets most wrong is the one that should move it most."


def on(returned, margin):
    """new -> the edit that returns `new`, in which `m` stands for the margin."""
    return lambda new: edit(returned, "return " + re.sub(r"\bm\b", f"({margin})", new))


# fmt: off
def vote_mistakes(loss):
    """loss : new -> edit, see `on`."""
    return [
        mistake("mean inside", "It averages over the pairs first: one clear pair then hides all the doubtful ones.",
                loss("-F.logsigmoid(m.mean())"), why="The mean of log sigmoid is not log sigmoid of the mean.",
                also=(loss("-m.sigmoid().mean().log()"),)),
        mistake("log of a sigmoid", "log(sigmoid(x)) is -inf for a very wrong pair: use logsigmoid.",
                loss("-m.sigmoid().log().mean()"), why="The pair that the model gets most wrong is the one that breaks the training.",
                also=(loss("(1 + torch.exp(-m)).log().mean()"),)),
        mistake("cut off at 100",
                "The loss of a very wrong pair ends at 100, and there its gradient: binary_cross_entropy on a sigmoid does that. "
                "Use logsigmoid.",
                loss("F.binary_cross_entropy(m.sigmoid(), torch.ones_like(m))"), why=WRONG_PAIR),
        mistake("flattened where it is most wrong",
                "An epsilon or a clamp of {eps:.1g} cuts the loss off for very wrong pairs, and their gradient: use logsigmoid.",
                loss("-(m.sigmoid() + {eps=1e-8}).log().mean()"), why=WRONG_PAIR,
                also=(loss("-m.sigmoid().clamp(min={eps=1e-8}).log().mean()"),)),
        mistake("margin cut off", "It clamps the margin at ±{limit:.3g}: pairs beyond have no gradient. Use logsigmoid.",
                loss("-F.logsigmoid(m.clamp(-{limit=3}, {limit=3})).mean()"), why=WRONG_PAIR),
        mistake("sum", "It sums over the pairs; the mean is asked for.", loss("-F.logsigmoid(m).sum()")),
        mistake("logarithm missing", "It maximizes the sigmoid itself, whose gradient vanishes on very wrong pairs.",
                loss("-m.sigmoid().mean()"), also=(loss("(1 - m.sigmoid()).mean()"),)),
        mistake("margin only",
                "It maximizes the plain margin: there is no end to that, and sure pairs pull as hard as doubtful ones.",
                loss("-m.mean()")),
        mistake("size of the margin", "It takes the absolute margin: a confident wrong vote earns as much as a right one.",
                loss("-F.logsigmoid(m.abs()).mean()")),
        mistake("hinge", "It is a hinge loss on the margin (a support vector machine's, SLiC's), not a likelihood of the votes.",
                loss("F.relu(1 - m).mean()"), also=(loss("F.relu(-m).mean()"),)),
        mistake("objective, not loss", "It is the log-likelihood; a loss is minimized, so it needs a minus.",
                loss("F.logsigmoid(m).mean()")),
    ]
