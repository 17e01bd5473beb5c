"""For each sample, the mean return of the others from the same start."""

import torch

from pgcourse.checks.core import Case, Exercise
from pgcourse.checks.edits import edit, mistake, symptom
from pgcourse.checks.make_inputs import normal
from pgcourse.checks.symptoms import apart
from pgcourse.estimators import leave_one_out_baseline
from pgcourse.exercises.baselines.inputs import F64, tensor

SUM, N = "ret.sum(dim=0)", "len(ret) - 1"
BASELINE = f"({SUM} - ret) / ({N})"
NO_GUARD = edit("len(ret) < 2", "False")


def of(new):
    return edit(BASELINE, new)


def of_the_others(what):
    """A function of `others`, the tensor of the other samples' returns."""
    others = "(torch.cat([ret[:k], ret[k + 1:]]) for k in range(len(ret)))"
    return of(f"torch.stack([{what} for others in {others}])")


def own_return_counts(of_one, raised):
    """The first start's first return was raised, and the second start's third."""
    return apart(of_one[:1, 0], raised[:1, 0]) or apart(of_one[2:, 0], raised[2:, 1])


def returns_of(K, N, dtype=torch.float32):
    return lambda g: dict(ret=normal(g, K, N, dtype=dtype) + normal(g, 1, N, dtype=dtype))


def before(ret):
    """The mean of the samples that came before, 0 for the first."""
    earlier = torch.arange(len(ret)).clamp(min=1).to(ret.dtype).unsqueeze(1)
    return (ret.cumsum(0) - ret) / earlier


def of_earlier_ones(ret):
    """The mean of the samples that came before; for the first, of all others."""
    return torch.stack([ret[:k].mean(0) if k else ret[1:].mean(0) for k in range(len(ret))])


def without_equal_returns(ret):
    alike = ret.unsqueeze(0) == ret.unsqueeze(1)
    others = torch.where(alike, 0.0, ret.unsqueeze(0))
    return others.sum(1) / (~alike).sum(1).clamp(min=1)


def weighted_by_order(ret):
    weight = torch.arange(1.0, len(ret) + 1, dtype=ret.dtype).unsqueeze(1)
    return ((weight * ret).sum(0) - weight * ret) / (weight.sum() - weight)


# fmt: off
EXERCISE = Exercise(
    reference=leave_one_out_baseline,
    parts={"values": 2, "two samples": 1, "one sample": 1, "clean": 1},
    cases=[
        Case("three samples of one start", lambda g: dict(ret=tensor([1.0], [2.0], [6.0])), "values"),
        Case("three samples of two starts",
             lambda g: dict(ret=tensor([1.0, 10.0], [2.0, 20.0], [6.0, 0.0])), "values"),
        Case("one return of each start raised",
             lambda g: dict(ret=tensor([3.0, 1.0], [2.0, 2.0], [6.0, 60.0])), "values"),
        Case("the three samples in another order", lambda g: dict(ret=tensor([6.0], [1.0], [2.0])), "values"),
        Case("two of the samples alike", lambda g: dict(ret=tensor([1.0], [1.0], [6.0], [2.0])), "values"),
        Case("eight samples of five starts", returns_of(8, 5), "values"),
        Case("float64", returns_of(4, 3, F64), "values"),
        Case("two samples of three starts", returns_of(2, 3), "two samples"),
        Case("one sample of each start", returns_of(1, 4), "one sample", raises=True),
        Case("returns in the thousands",
             lambda g: dict(ret=1000 * tensor([1.0, 10.0], [2.0, -20.0], [-6.0, 3.0])), "values"),
    ],
    mistakes=[
        mistake("own return included",
                "It is the mean of ALL samples of a start, so each sample's own return is in its baseline.",
                of("ret.mean(0, keepdim=True).expand_as(ret).clone()"),
                why="Then the baseline looks at the action, and the gradient is too small by (K-1)/K."),
        mistake("divided by K", "The sum of the K - 1 others is divided by K: the baseline is pulled toward 0.",
                edit(N, "len(ret)")),
        mistake("sum of the others", "It sums the others' returns; their mean is meant.", of(f"({SUM} - ret)")),
        mistake("other starts included",
                "It averages over all other samples of the batch, those of other starts too.",
                of("(ret.sum() - ret) / (ret.numel() - 1)"),
                why="An easy start makes every action look good; that is what the baseline should remove."),
        mistake("wrong axis", "It leaves one out along axis 1, over the starts; the samples are on axis 0.",
                of("(ret.sum(1, keepdim=True) - ret) / (ret.shape[1] - 1)"),
                also=(of("(ret.sum(1, keepdim=True) - ret) / max(ret.shape[1] - 1, 1)"),)),
        mistake("another number of others", "It sums the others' returns and divides by another number than K - 1: {c:.3g} more than K.",
                edit(N, "len(ret) + {c=1}")),
        mistake("divided by the number of starts",
                "It divides by the number of starts (or one less); a mean of the K - 1 others divides by K - 1.",
                edit(N, "ret.shape[1]"), also=(edit(N, "max(ret.shape[1] - 1, 1)"), edit(N, "ret.shape[1] - 1"))),
        mistake("best of the others", "It takes the best of the others: almost every advantage becomes negative.",
                of_the_others("others.amax(0)")),
        mistake("worst of the others", "It takes the worst of the others: almost every advantage becomes positive.",
                of_the_others("others.amin(0)")),
        mistake("advantage returned", "It returns the advantage R - b; the baseline b was asked for.",
                of(f"ret - {BASELINE}")),
        mistake("one neighbor",
                "It takes the return of one other sample: unbiased, but noisier than the mean of all others.",
                of("ret.roll(1, 0)"), also=(of("ret.roll(-1, 0)"),)),
        mistake("first sample", "It takes the first sample's return as everybody's baseline, its own included.",
                of("ret[:1].expand_as(ret).clone()")),
        mistake("one side only",
                "It averages only the samples that came before one's own (or after it); all the others belong in.",
                edit(BASELINE, "before(ret)", use=(before,)), also=(edit(BASELINE, "before(ret.flip(0)).flip(0)", use=(before,)),
                edit(BASELINE, "of_earlier_ones(ret)", use=(of_earlier_ones,)),
                edit(BASELINE, "of_earlier_ones(ret.flip(0)).flip(0)", use=(of_earlier_ones,)))),
        mistake("one mean for all", "It is one mean over the whole batch, all starts and one's own return included.",
                of("ret.mean().expand_as(ret).clone()")),
        mistake("own return in the sum", "It divides by K - 1, but one's own return is still in the sum.",
                of(f"({SUM} / ({N})).expand_as(ret).clone()")),
        mistake("median of the others", "It is the median of the others' returns; their mean is asked for.",
                of_the_others("others.median(0)[0]"), also=(of_the_others("others.quantile(0.5, dim=0)"),)),
        mistake("first sample left out for all",
                "It leaves the first sample out of everybody's baseline, and not each its own.",
                of("ret[1:].mean(0).expand_as(ret).clone()"), also=(of("ret[:-1].mean(0).expand_as(ret).clone()"),)),
        mistake("changed while it is read",
                "It writes into the tensor it sums over: later samples see baselines in place of returns.",
                edit(f"return {BASELINE}", f"ret = ret.clone()\nfor k in range(len(ret)):\n    ret[k] = ({SUM} - ret[k]) / ({N})\nreturn ret")),
        mistake("precedence",
                "The division reaches one's own return only: brackets around the difference are missing.",
                of(f"{SUM} - ret / ({N})")),
        mistake("mean less own",
                "It takes the mean of all minus one's own return; take the SUM of all minus one's own.",
                edit(SUM, "ret.mean(0)")),
        mistake("own return added", "It adds one's own return to the sum of all; it has to be taken out.", edit(f"{SUM} - ret", f"{SUM} + ret")),
        mistake("first start only", "It uses the returns of the first start in every column.",
                of("((ret[:, :1].sum(0) - ret[:, :1]) / (len(ret) - 1)).expand_as(ret).clone()")),
        mistake("scaled", "It divides the baseline by a standard deviation: it has the wrong unit then.",
                of(f"{BASELINE} / (ret.std(0) + 1e-8)"), also=(of(f"{BASELINE} / (ret.std(0, correction=0) + 1e-8)"),)),
        mistake("root of K - 1", "It divides by the root of K - 1; a mean divides by K - 1.", edit(f"({N})", f"({N}) ** 0.5")),
        mistake("one row", "It returns one mean for each start; there should be a baseline for each sample, [K, N].",
                of("ret.mean(0)"), also=(of("ret.mean(0, keepdim=True)"), of(f"{SUM} / ({N})"))),
        mistake("standardized returns", "It returns the returns centered and scaled within each start, not a baseline.",
                of("(ret - ret.mean(0)) / (ret.std(0) + 1e-8)"),
                also=(of("(ret - ret.mean(0)) / (ret.std(0, correction=0) + 1e-8)"),)),
        mistake("no guard for one sample",
                "One sample has no others: 0 / 0 is nan, and it is passed on without a word.", NO_GUARD,
                why="One nan in an advantage makes every weight of the network nan at the next step."),
        mistake("zero for one sample",
                "One sample has no others, and it makes up a baseline of 0: raise a ValueError.",
                NO_GUARD, edit(f"({N})", f"max({N}, 1)")),
        mistake("equal returns left out",
                "It leaves out every sample with the same RETURN as one's own; only one's own sample goes.",
                edit(BASELINE, "without_equal_returns(ret)", use=(without_equal_returns,)),
                why="Where rewards are 0 or 1 that leaves out all that did as well, and the baseline looks at the result."),
        symptom("other starts count",
                "Beside another start, the same three samples get other baselines: each start has its own.",
                of(f"0.9 * {BASELINE} + 0.1 * ({BASELINE}).mean(1, keepdim=True)"),
                lambda at: apart(at["three samples of one start"]["out"], at["three samples of two starts"]["out"][:, :1])),
        symptom("own return counts",
                "When only one's own return is raised, one's own baseline changes: it has to be made of the others alone.",
                of(f"0.5 * ({BASELINE} + ret.mean(0) + 0 * ret ** 2) + 0.01 * ret ** 2"),
                lambda at: own_return_counts(at["three samples of one start"]["out"], at["one return of each start raised"]["out"])),
        symptom("order counts",
                "In another order the same samples get other baselines: before or after makes no difference.",
                edit(BASELINE, "weighted_by_order(ret)", use=(weighted_by_order,)),
                lambda at: apart(at["three samples of one start"]["out"], at["the three samples in another order"]["out"][[1, 2, 0]])),
        symptom("not the mean of the others",
                "One's own return is left out, start by start; but it is not the mean of the others.",
                of_the_others("0.25 * others.amax(0) + 0.75 * others.amin(0)"), lambda at: "values" in at.wrong_parts),
    ],
    read="lesson 3, “The others as a baseline”; Kool et al. 2019; lesson 7",
)
