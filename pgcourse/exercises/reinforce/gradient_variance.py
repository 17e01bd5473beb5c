"""How noisy an estimate of the gradient is."""

import torch

from pgcourse.checks.core import Exercise
from pgcourse.checks.edits import edit, mistake
from pgcourse.estimators import gradient_variance
from pgcourse.exercises.reinforce import spread
from pgcourse.exercises.reinforce.spread import VARIANCE

CENTERED = "(grads - grads.mean(dim=0))"


def total(new, use=()):
    return edit(f"{VARIANCE}.sum()", new, use=use)


def around(center):
    return f"(grads - {center}).square().sum() / (len(grads) - 1)"


def main_direction(grads):
    return torch.linalg.eigvalsh(torch.atleast_2d(torch.cov(grads.T)))[-1]


def determinant(grads):
    return torch.linalg.det(torch.atleast_2d(torch.cov(grads.T)))


def versions(name, says, *news, use=(), why=""):
    """A mistake whose versions replace all that follows `return`."""
    first, *rest = (total(new, use) for new in news)
    return mistake(name, says, first, why=why, also=rest)


# fmt: off
EXERCISE = Exercise(
    reference=gradient_variance,
    parts=spread.PARTS,
    cases=spread.CASES,
    mistakes=[
        mistake("divided by N", "It divides by N, not N - 1: too small on average, most of all for few samples.",
                edit("correction=1", "correction=0")),
        mistake("standard deviation", "It sums standard deviations; variances add up, deviations do not.",
                edit("grads.var", "grads.std")),
        versions("root taken", "It is the square root of the total variance; V itself was asked for.",
                 f"{VARIANCE}.sum().sqrt()"),
        mistake("mean over parameters", "It averages over the parameters; the total is their sum.", edit(".sum()", ".mean()")),
        mistake("one number per parameter", "It returns one variance per parameter: sum them.", edit(".sum()", "")),
        versions("parameters as samples",
                 "It takes all N × P numbers for samples of one quantity: the P parts of a gradient are not.",
                 *spread.ALL_AS_SAMPLES),
        versions("divided by the parameters",
                 "It divides by the number of parameters; the samples are what is averaged over.",
                 *(f"{CENTERED}.square().sum() / max(grads.shape[1] - {less}, 1)" for less in (0, 1)),
                 f"{CENTERED}.square().sum() / (grads.shape[1] - 1)"),
        versions("not divided", "The squares are added up, but not divided by N - 1.", f"{CENTERED}.square().sum()"),
        versions("mean not subtracted", "It is the mean square: the gradient itself counts as noise.", *spread.MEAN_SQUARES),
        versions("another mean subtracted",
                 "It subtracts a mean over the parameters; each parameter has its own mean over the samples.",
                 around("grads.mean()"), around("grads.mean(dim=1, keepdim=True)"), "grads.var() * grads.shape[1]"),
        versions("another center",
                 "It measures the distance from something else than the mean: the median, one sample, a sum over N - 1.",
                 around("grads.median(dim=0).values"), around("grads[:1]"), around("grads[-1:]"),
                 around("grads.sum(dim=0) / (len(grads) - 1)")),
        versions("deviations cancel", "It adds the deviations from the mean without squaring each: they cancel to 0.",
                 f"({CENTERED}.sum(dim=0) / (len(grads) - 1)).sum()"),
        versions("absolute deviations", "It adds absolute deviations; a variance adds their squares.",
                 f"{CENTERED}.abs().sum() / (len(grads) - 1)"),
        versions("distances added", "It adds the samples' distances from the mean; a variance adds their squares.",
                 f"{CENTERED}.norm(dim=1).sum() / (len(grads) - 1)", f"{CENTERED}.norm(dim=1).mean()"),
        versions("variance of the norm",
                 "It is the variance of the gradients' LENGTHS: they may point anywhere and agree in length.",
                 "grads.norm(dim=1).var()"),
        versions("parameters summed first",
                 "It is the variance of the parameters' sum or mean, covariances included: errors of opposite sign cancel.",
                 *spread.SUMMED_FIRST),
        versions("wrong axis", "It measures the spread over the parameters of a sample, not over the samples.",
                 *spread.ALONG_ROWS, use=(spread.along_each_row,)),
        versions("one direction only", "It measures one parameter or direction alone; the total is over all of them.",
                 f"{VARIANCE}[0]", f"{VARIANCE}.max()", "main_direction(grads)", use=(main_direction,)),
        versions("determinant", "It is the determinant of the covariance; the total variance is its trace: the variances are added.",
                 "determinant(grads)", use=(determinant,)),
        versions("variance of the mean", "It divides by N (or N - 1) once more: the variance of the MEAN, not of one sample.",
                 f"{VARIANCE}.sum() / len(grads)", f"{VARIANCE}.sum() / (len(grads) - 1)"),
        versions("divided by another count", "It divides by N - {less:.3g}, not N - 1.",
                 f"{CENTERED}.square().sum() / (len(grads) - {{less=1.5}})"),
        versions("normalized first", "It standardizes the samples first: what is left says nothing about their spread.",
                 *(f"({scaled}).var(dim=0).sum()" for scaled in spread.SCALED)),
        versions("relative variance",
                 "It divides by the squared length of the mean gradient: V itself was asked for.",
                 f"{VARIANCE}.sum() / grads.mean(dim=0).square().sum()"),
        versions("two half-batches",
                 "It judges from two half-batch means: a mean of N/2 varies N/2 times less, and two say little.",
                 *(f"{difference}.square().sum() / 2{share}" for difference in spread.HALVES
                   for share in ("", " * (len(grads) // 2)"))),
        versions("neighboring samples", "It compares each sample with the next one, not with the mean.",
                 "(grads[1:] - grads[:-1]).square().sum() / (2 * (len(grads) - 1))"),
        versions("difference of large squares",
                 "E[g^2] - E[g]^2 subtracts two large numbers: far from zero the digits that matter are lost.",
                 *spread.BY_SQUARES),
    ],
    read="lesson 2, “How noisy is it?”",
)
