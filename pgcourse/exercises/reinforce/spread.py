"""Samples of gradients, and wrong ways to measure their spread, which two exercises of lesson 2 share."""

import torch

from pgcourse.checks.core import Case
from pgcourse.checks.make_inputs import normal, times

VARIANCE = "grads.var(dim=0, correction=1)"


def along_each_row(grads):
    """The spread over the parameters of each sample; nan for one parameter."""
    deviations = grads - grads.mean(1, keepdim=True)
    return deviations.square().sum(1) / torch.tensor(grads.shape[1] - 1.0)


SUMMED_FIRST = ("grads.sum(dim=1).var()", "grads.mean(dim=1).var()")
ALONG_ROWS = ("along_each_row(grads).sum()", "along_each_row(grads).mean()")
ALL_AS_SAMPLES = ("grads.var()", "(grads - grads.mean(dim=0)).square().sum() / (grads.numel() - 1)")
MEAN_SQUARES = ("grads.square().sum() / (len(grads) - 1)", "grads.square().sum() / len(grads)")
BY_SQUARES = (
    "((grads**2).mean(dim=0) - grads.mean(dim=0) ** 2).sum() * len(grads) / (len(grads) - 1)",
    "((grads**2).mean(dim=0) - grads.mean(dim=0) ** 2).sum()",
)
SCALED = (
    "grads / (grads.std() + 1e-8)",
    "grads / (grads.std(dim=0) + 1e-8)",
    "grads / (grads.std(dim=0, correction=0) + 1e-8)",
    "grads / (grads.norm(dim=1, keepdim=True) + 1e-8)",
)
HALVES = tuple(
    f"(grads[: len(grads) // 2].mean(dim=0) - grads[len(grads) // 2 :{end}].mean(dim=0))"
    for end in ("", " len(grads) // 2 * 2")
)


def samples(*shape, shift=0.0, dtype=torch.float32):
    return lambda g: dict(
        grads=normal(g, *shape, dtype=dtype) * normal(g, shape[1], dtype=dtype) + shift
    )


def by_hand(g):
    return dict(grads=torch.tensor([[1.0, 0.0], [3.0, 4.0]]))


PARTS = {"values": 2, "far from zero": 1, "one sample": 1, "clean": 1}
CASES = [
    Case("two samples", by_hand, "values"),
    Case("three samples of one parameter", samples(3, 1, shift=5.0), "values"),
    Case("twenty samples", samples(20, 4), "values"),
    Case("far from zero", samples(9, 3, shift=5.0), "values"),
    Case("float64", samples(50, 6, dtype=torch.float64), "values"),
    Case("twenty others", samples(20, 4), "values"),
    Case("very far from zero", samples(9, 3, shift=2000.0), "far from zero"),
    Case("one sample", samples(1, 3), "one sample", raises=True),
    Case("gradients in the thousands", lambda g: times(1e4, by_hand(g), "grads"), "values"),
]
