"""How far a mean of samples lies from the truth."""

import torch

from pgcourse.checks.core import Exercise
from pgcourse.checks.edits import edit, mistake, telltale
from pgcourse.estimators import standard_error
from pgcourse.exercises.reinforce import spread

V = "gradient_variance(grads)"
ERROR = f"torch.sqrt({V} / len(grads))"


def result(new, use=()):
    return edit(ERROR, new, use=use)


def results(name, says, *news, why=""):
    """A mistake whose versions replace all that follows `return`."""
    first, *rest = map(result, news)
    return mistake(name, says, first, why=why, also=rest)


def measured(name, says, *news, use=(), why=""):
    """A mistake in the variance of one sample."""
    first, *rest = (edit(V, f"({new})", use=use) for new in news)
    return mistake(name, says, first, why=why, also=rest)


def bootstrap(grads):
    drawn = [grads[torch.randint(len(grads), (len(grads),))].mean(0) for _ in range(30)]
    return torch.stack(drawn).var(0).sum().sqrt()


# fmt: off
EXERCISE = Exercise(
    reference=standard_error,
    parts=spread.PARTS,
    cases=spread.CASES,
    mistakes=[
        results("spread of one sample", "It is the spread of ONE sample: the mean of N is sqrt(N) times closer.",
                f"torch.sqrt({V})",
                why="Confusing the two overstates the error of a batch by a factor of sqrt(N)."),
        results("divided by N", "The standard deviation is divided by N; the error falls like 1/sqrt(N) only.",
                f"torch.sqrt({V}) / len(grads)",
                why="This is how REINFORCE's noise is underestimated: ten times better needs a hundred times the data."),
        results("root missing", "It is the variance of the mean; the error is its square root.", f"{V} / len(grads)"),
        results("parameters as samples",
                "It counts N × P independent samples: the P parts of one gradient come from one episode.",
                f"torch.sqrt({V} / grads.numel())", "torch.sqrt(grads.var() / len(grads))",
                "torch.sqrt(grads.var() / grads.numel())",
                why="Only the rows, one for each episode, are sure to be independent of each other."),
        mistake("variance over N", "The variance inside divides by N, not N - 1.",
                edit("correction=1", "correction=0", of="gradient_variance")),
        measured("not divided", "The squares are added up, but not divided by N - 1: that is no variance yet.",
                 "(grads - grads.mean(dim=0)).square().sum()"),
        results("N - 1 twice", "V is unbiased already; the mean's variance is V / N, not V / (N - 1).",
                f"torch.sqrt({V} / (len(grads) - 1))"),
        results("divided by P", "It divides by the number of parameters; N is the number of samples, the rows.",
                f"torch.sqrt({V} / grads.shape[1])"),
        results("multiplied by N", "More samples make it larger: V must be divided by N.", f"torch.sqrt({V} * len(grads))"),
        results("root of N only", "It is V / sqrt(N): the root belongs over V too.", f"{V} / math.sqrt(len(grads))"),
        results("root of N inside", "It is sqrt(V / sqrt(N)), with two roots over N; inside the root V is divided by N.",
                f"torch.sqrt({V} / math.sqrt(len(grads)))"),
        results("errors added", "It adds the parameters' errors; independent errors add in squares.",
                "(grads.std(dim=0) / math.sqrt(len(grads))).sum()"),
        results("error of one parameter",
                "It averages over the parameters or takes one of them; the distance is over all of them.",
                "(grads.std(dim=0) / math.sqrt(len(grads))).mean()", "torch.sqrt(grads.var(dim=0).max() / len(grads))",
                "torch.sqrt(grads.var(dim=0)[0] / len(grads))"),
        results("one number per parameter",
                "It returns one error per parameter: the distance is the root of the sum of their squares.",
                "grads.std(dim=0) / math.sqrt(len(grads))"),
        measured("error of the length", "It is the error of the gradients' lengths, as if they all pointed one way.",
                 "grads.norm(dim=1).var()"),
        measured("parameters summed first",
                 "It is the error of the parameters' sum or mean, covariances included: errors of opposite sign cancel.",
                 *spread.SUMMED_FIRST),
        measured("wrong axis", "It measures the spread over the parameters of a sample, not over the samples.",
                 *spread.ALONG_ROWS, use=(spread.along_each_row,)),
        measured("mean not subtracted",
                 "The variance inside is a mean square: the gradient itself counts as error.", *spread.MEAN_SQUARES),
        results("length of the mean", "It is the length of the mean gradient: the signal, not the error.",
                "grads.mean(dim=0).norm()"),
        measured("normalized first", "It standardizes the samples first: what is left says nothing about their error.",
                 *(f"({scaled}).var(dim=0).sum()" for scaled in spread.SCALED)),
        results("two half-batches",
                "It judges from two half-batches: two means say little about the spread of all samples.",
                *(f"{difference}.norm() * {share}" for difference in spread.HALVES for share in (1.0, 0.5, 0.5**0.5))),
        measured("difference of large squares",
                 "E[g^2] - E[g]^2 subtracts two large numbers: far from zero the digits that matter are lost.",
                 *spread.BY_SQUARES),
        results("relative error", "It divides by the length of the mean gradient: the plain error was asked for.",
                f"{ERROR} / grads.mean(dim=0).norm()"),
        telltale("resampled", "It draws random numbers (a bootstrap): near, but the formula is exact and needs none.",
                 result("bootstrap(grads)", (bootstrap,)), lambda at: at.random),
    ],
    read="lesson 2, “What it costs”",
)
