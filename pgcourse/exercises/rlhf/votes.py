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
        mistake("log of a sigmoid",
                "For a very wrong pair the sigmoid is 0, or exp(-x) overflows, and its logarithm is infinite: use logsigmoid.",
                loss("-m.sigmoid().log().mean()"), why="The pair that the model gets most wrong is the one that breaks the training.",
                also=(loss("(1 + torch.exp(-m)).log().mean()"),)),
        mistake("cut off at 100",
                "The loss of a very wrong pair ends at 100, and there its gradient: binary_cross_entropy on a sigmoid does that. "
                "Use logsigmoid.",
                loss("F.binary_cross_entropy(m.sigmoid(), torch.ones_like(m))"), why=WRONG_PAIR),
        mistake("flattened where it is most wrong",
                "An epsilon of {eps:.1g} cuts the loss off for very wrong pairs, and their gradient: use logsigmoid.",
                loss("-(m.sigmoid() + {eps=1e-8}).log().mean()"), why=WRONG_PAIR),
        mistake("no gradient where it is most wrong",
                "Beyond a margin of -{limit:.3g} a pair has no gradient: the margin is clamped there, or its sigmoid at "
                "exp(-{limit:.3g}). Use logsigmoid.",
                loss("-F.logsigmoid(m.clamp(min=-{limit=18})).mean()"), why=WRONG_PAIR),
        mistake("margin cut off", "It clamps the margin at ±{limit:.3g}: pairs beyond have no gradient. Use logsigmoid.",
                loss("-F.logsigmoid(m.clamp(-{limit=3}, {limit=3})).mean()"), why=WRONG_PAIR),
        mistake("sum", "It sums over the pairs; the mean is asked for.", loss("-F.logsigmoid(m).sum()")),
        mistake("logarithm missing", "It maximizes the sigmoid itself, whose gradient vanishes on very wrong pairs.",
                loss("-m.sigmoid().mean()"), also=(loss("(1 - m.sigmoid()).mean()"), loss("(1 - 1 / (1 + torch.exp(-m))).mean()"))),
        mistake("margin only",
                "It maximizes the plain margin: there is no end to that, and sure pairs pull as hard as doubtful ones.",
                loss("-m.mean()")),
        mistake("size of the margin", "It takes the absolute margin: a confident wrong vote earns as much as a right one.",
                loss("-F.logsigmoid(m.abs()).mean()")),
        mistake("squared error of the sigmoid",
                "It is the squared error of the sigmoid, whose gradient vanishes on very wrong pairs; it is minus its LOG.",
                loss("((m.sigmoid() - 1) ** 2).mean()"), also=(loss("((m.sigmoid() - 1) ** 2).mean() / 2"),)),
        mistake("clear pairs left out", "Pairs with a large margin are left out, the most wrong ones among them: every pair counts.",
                loss("-F.logsigmoid(m[m.abs() < 15] if (m.abs() < 15).any() else m).mean()"), why=WRONG_PAIR,
                also=(loss("-F.logsigmoid(m[m.abs() < 15]).mean()"), loss("-torch.where(m.abs() < 15, F.logsigmoid(m), 0.0).mean()"))),
        mistake("hinge", "It is a hinge loss on the margin (a support vector machine's, SLiC's), not a likelihood of the votes.",
                loss("F.relu(1 - m).mean()"), also=(loss("F.relu(-m).mean()"),)),
        mistake("objective, not loss", "It is the log-likelihood; a loss is minimized, so it needs a minus.",
                loss("F.logsigmoid(m).mean()")),
    ]
