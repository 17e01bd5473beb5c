"""Exercises of lesson 3: baselines, their variance, normalized advantages, and two losses."""

import math

import torch
import torch.nn.functional as F

from pgcourse.checks.compare import close
from pgcourse.checks.core import Case, Exercise, Pitfall
from pgcourse.checks.make_inputs import flags, frame, integers, masks, normal, steps_3_by_4
from pgcourse.checks.symptoms import (
    differ,
    gradient_symptom,
    halves,
    leak_symptom,
    number,
    part_symptom,
    symptom,
    where_symptom,
)
from pgcourse.estimators import (
    normalize_advantage,
)
from pgcourse.exercises import baselines as moved
from pgcourse.losses import policy_gradient_loss, value_regression_loss
from pgcourse.tensors import same_shape

F64 = torch.float64


def tensor(*numbers, dtype=torch.float32):
    return torch.tensor(numbers, dtype=dtype)


CONVENTIONS = [(correction, eps) for eps in (1e-8, 1e-5, 1e-6) for correction in (1, 0)]


def standardized(x, correction=1, eps=1e-8):
    """Mean 0 and standard deviation 1, by one of the CONVENTIONS."""
    return (x - x.mean()) / (x.std(correction=correction) + eps)


def returns_and_values(g, *shape, dtype=torch.float32):
    return dict(ret=normal(g, *shape, dtype=dtype) + 2, val=normal(g, *shape, dtype=dtype) + 1)


# --- normalize_advantage ---


def normalize_by(correction, eps):
    def fn(adv, mask=None):
        same_shape(adv=adv, mask=mask)
        kept = adv if mask is None else adv[mask]
        spread = kept.std(correction=correction) if kept.numel() > 1 else 0.0
        scaled = (adv - kept.mean()) / (spread + eps)
        return scaled if mask is None else torch.where(mask, scaled, 0.0)

    return fn


def normalize_alone_is_nan(eps):
    def fn(adv, mask=None):
        made = normalize_by(1, eps)(adv, mask)
        return made if (adv if mask is None else adv[mask]).numel() > 1 else made * torch.nan

    return fn


def normalize_inside_root(correction, eps):
    """The form of batch normalization: sqrt(var + eps)."""

    def fn(adv, mask=None):
        same_shape(adv=adv, mask=mask)
        kept = adv if mask is None else adv[mask]
        spread = kept.var(correction=correction) if kept.numel() > 1 else kept.new_zeros(())
        scaled = (adv - kept.mean()) / (spread + eps).sqrt()
        return scaled if mask is None else torch.where(mask, scaled, 0.0)

    return fn


def normalize_with(transform, pad_with_zero=True, pick=None):
    """A wrong normalization: `transform(adv, kept, correction)`, for both conventions of the std."""

    def wrong(correction):
        def fn(adv, mask=None):
            same_shape(adv=adv, mask=mask)
            kept = adv if mask is None else (pick or (lambda a, m: a[m]))(adv, mask)
            out = transform(adv, kept, correction)
            return out if mask is None or not pad_with_zero else torch.where(mask, out, 0.0)

        return fn

    return wrong(1), wrong(0)


def standardize(adv, kept, correction):
    return (adv - kept.mean()) / (kept.std(correction=correction) + 1e-8)


def normalize_pitfall(name, says, transform=standardize, why="", also=(), **options):
    wrong, *rest = normalize_with(transform, **options)
    return Pitfall(name, says, wrong, why, also=(*rest, *also))


def normalize_either(*transforms):
    return [fn for transform in transforms for fn in normalize_with(transform)]


def standardize_along(dim):
    def transform(adv, kept, correction):
        std = adv.std(dim, correction=correction, keepdim=True)
        return (adv - adv.mean(dim, keepdim=True)) / (std + 1e-8)

    return transform


def normalize_along_without_mask(dim):
    """Wrong without a mask, right with one."""

    def fn(correction):
        wrong, right = standardize_along(dim), normalize_by(correction, 1e-8)
        return lambda adv, mask=None: (
            wrong(adv, adv, correction) if mask is None else right(adv, mask)
        )

    return fn(1), fn(0)


def normalize_rows(correction, without_mask=True):
    """Each row by its own unmasked elements; without a mask also, or right there."""

    def fn(adv, mask=None):
        if mask is None and not without_mask:
            return normalize_by(correction, 1e-8)(adv)
        same_shape(adv=adv, mask=mask)
        kept = torch.ones_like(adv, dtype=torch.bool) if mask is None else mask
        rows = zip(adv.reshape(-1, adv.shape[-1]), kept.reshape(-1, adv.shape[-1]), strict=True)
        out = [torch.where(m, standardize(row, row[m], correction), 0.0) for row, m in rows]
        return torch.stack(out).reshape(adv.shape)

    return fn


def normalize_spread_over_all(correction):
    def fn(adv, mask=None):
        same_shape(adv=adv, mask=mask)
        m = torch.ones_like(adv, dtype=torch.bool) if mask is None else mask
        centered = torch.where(m, adv - adv[m].mean(), 0.0)
        return centered / (((centered**2).sum() / (adv.numel() - correction)).sqrt() + 1e-8)

    return fn


def normalize_multiplies_mask(correction):
    def fn(adv, mask=None):
        same_shape(adv=adv, mask=mask)
        if mask is None:
            return standardize(adv, adv, correction)
        n = mask.sum()
        mean = (adv * mask).sum() / n
        var = (((adv - mean) * mask) ** 2).sum() / (n - correction)
        return (adv - mean) / (var.sqrt() + 1e-8) * mask

    return fn


def normalize_counts_all(correction):
    def fn(adv, mask=None):
        same_shape(adv=adv, mask=mask)
        m = torch.ones_like(adv, dtype=torch.bool) if mask is None else mask
        zeroed = torch.where(m, adv, 0.0)
        return torch.where(m, standardize(zeroed, zeroed, correction), 0.0)

    return fn


def normalize_compresses(correction):
    def fn(adv, mask=None):
        same_shape(adv=adv, mask=mask)
        kept = adv if mask is None else adv[mask]
        return standardize(kept, kept, correction)

    return fn


def normalize_broadcasts(correction):
    def fn(adv, mask=None):
        if mask is None:
            return normalize_by(correction, 1e-8)(adv)
        kept = adv.expand(torch.broadcast_shapes(adv.shape, mask.shape))[mask.expand_as(mask)]
        few = min(correction, kept.numel() - 1)
        return torch.where(mask, standardize(adv, kept, few), 0.0)

    return fn


def normalize_to_the_middle(adv, mask=None):
    if mask is None:
        return normalize_advantage(adv)
    same_shape(adv=adv, mask=mask)
    kept = adv[mask]
    return torch.where(mask, (adv - kept.mean()) / (kept.max() - kept.min() + 1e-8), 0.0)


def both(make):
    return dict(wrong=make(1), also=(make(0),))


def roll_mask(adv, mask):
    return adv[mask.roll(1, -1)]


def wild(x, mask, value):
    """x with `value` where the mask is False."""
    return torch.where(mask, x, torch.tensor(value, dtype=x.dtype))


def masked_advantages(g, B, T, padding=None, dtype=torch.float32):
    mask = masks(g, B, T)
    adv = (300 if dtype == F64 else 3) * normal(
        g, B, T, dtype=dtype
    ) + 1  # any small epsilon will do
    return dict(adv=adv if padding is None else wild(adv, mask, padding), mask=mask)


def hand_masked_advantages(g):
    return dict(
        adv=tensor([1.0, 3.0, 9.0], [5.0, 9.0, 9.0]),
        mask=torch.tensor([[True, True, False], [True, False, False]]),
    )


def moments_off(mean=False, std=False):
    """Sign: mean (or standard deviation) of a result without a mask is not 0 (not 1)."""

    def sign(at):
        out = at["a long batch"]["out"]
        if not torch.is_tensor(out) or out.shape != (50,):
            return False
        return (mean and out.mean().abs() > 1e-3) or (
            std and min(abs(out.std(correction=c) - 1) for c in (0, 1)) > 1e-3
        )

    return sign


LARGE = steps_3_by_4(1, -1, 2, -2, -3, 1, 0.5, -1, 2, -2, 1, 5)

NORMALIZE_ADVANTAGE = Exercise(
    reference=normalize_advantage,
    accept=(
        *(normalize_by(*convention) for convention in CONVENTIONS),
        *(normalize_inside_root(*convention) for convention in CONVENTIONS),
    ),
    parts={
        "no mask": 2,
        "mask": 2,
        "padding of any content": 1,
        "equal advantages": 1,
        "shapes": 1,
        "clean": 1,
    },
    cases=[
        Case("four advantages", lambda g: dict(adv=tensor(1.0, 2.0, 3.0, 6.0)), "no mask"),
        Case("a long batch", lambda g: dict(adv=2 * normal(g, 50) + 3), "no mask"),
        Case("time and environments", lambda g: dict(adv=3 * normal(g, 6, 4) - 5), "no mask"),
        Case(
            "float64, large numbers",
            lambda g: dict(adv=100 * normal(g, 20, dtype=F64) + 500),
            "no mask",
        ),
        Case("small advantages", lambda g: dict(adv=0.02 * normal(g, 30)), "no mask"),
        Case("tiny advantages", lambda g: dict(adv=0.003 * normal(g, 30)), "no mask"),
        Case(
            "one advantage far from two hundred others",
            lambda g: dict(adv=torch.cat([normal(g, 200), 300 + normal(g, 1)])),
            "no mask",
        ),
        Case("two answers of different length", hand_masked_advantages, "mask"),
        Case("ragged answers", lambda g: masked_advantages(g, 5, 8), "mask"),
        Case("ragged answers, float64", lambda g: masked_advantages(g, 4, 6, dtype=F64), "mask"),
        Case(
            "nan in the padding",
            lambda g: masked_advantages(g, 4, 8, float("nan")),
            "padding of any content",
        ),
        Case(
            "inf in the padding",
            lambda g: masked_advantages(g, 3, 8, float("inf")),
            "padding of any content",
        ),
        Case(
            "one advantage that counts",
            lambda g: dict(adv=normal(g, 8), mask=torch.arange(8) == 5),
            "equal advantages",
        ),
        Case(
            "four equal advantages", lambda g: dict(adv=torch.full((4,), 2.0)), "equal advantages"
        ),
        Case(
            "eight equal advantages",
            lambda g: dict(adv=torch.full((8,), 0.25 + 0.25 * int(integers(g, 999)))),
            "equal advantages",
        ),
        Case(
            "advantages [3, 1] and mask [3, 4]",
            lambda g: dict(adv=normal(g, 3, 1), mask=flags(g, 3, 4, p=0.5)),
            "shapes",
            raises=True,
        ),
        Case(
            "advantages in the thousands and a mask",
            lambda g: dict(adv=LARGE, mask=frame()),
            "mask",
        ),
        Case("advantages in the thousands", lambda g: dict(adv=LARGE), "no mask"),
        Case(
            "advantages near -1000",
            lambda g: dict(adv=tensor(-1001.0, -1001.0, -1003.0, -1006.0)),
            "no mask",
        ),
        Case("falling advantages", lambda g: dict(adv=tensor(3e3, 2e3, 1e3, 0.0)), "no mask"),
    ],
    pitfalls=[
        Pitfall(
            "nan for a single advantage",
            "The std over N - 1 elements of a single one is 0 / 0, nan: return 0 where there is only one.",
            normalize_alone_is_nan(1e-8),
            also=(normalize_alone_is_nan(1e-5),),
        ),
        normalize_pitfall(
            "not scaled",
            "It centers without scaling: the standard deviation is not divided out.",
            lambda adv, kept, c: adv - kept.mean(),
        ),
        normalize_pitfall(
            "not centered",
            "It scales without centering: the mean is not subtracted.",
            lambda adv, kept, c: adv / (kept.std(correction=c) + 1e-8),
        ),
        normalize_pitfall(
            "variance",
            "It divides by the variance; its square root, the standard deviation, has the right unit.",
            lambda adv, kept, c: (adv - kept.mean()) / (kept.var(correction=c) + 1e-8),
        ),
        normalize_pitfall(
            "small spreads left small",
            "Where the standard deviation is small it divides by something else: those advantages stay small.",
            lambda adv, kept, c: (
                (adv - kept.mean()) / (s if (s := kept.std(correction=c)) > 0.01 else 1.0)
            ),
            also=normalize_either(
                lambda adv, kept, c: (adv - kept.mean()) / kept.std(correction=c).clamp(min=0.01)
            ),
        ),
        normalize_pitfall(
            "large epsilon",
            "The number that avoids 0 / 0 is too large: for small advantages it sets the scale.",
            lambda adv, kept, c: (adv - kept.mean()) / (kept.std(correction=c) + 1),
            also=normalize_either(
                lambda adv, kept, c: (adv - kept.mean()) / (kept.std(correction=c) + 0.1),
                lambda adv, kept, c: (adv - kept.mean()) / (kept.std(correction=c) + 0.01),
                lambda adv, kept, c: (adv - kept.mean()) / (kept.std(correction=c) + 1e-3),
                lambda adv, kept, c: (adv - kept.mean()) / (kept.var(correction=c) + 1).sqrt(),
                lambda adv, kept, c: (adv - kept.mean()) / (kept.var(correction=c) + 0.01).sqrt(),
            ),
        ),
        normalize_pitfall(
            "0 / 0",
            "It divides by the bare standard deviation: advantages that are all equal give nan.",
            lambda adv, kept, c: (adv - kept.mean()) / kept.std(correction=c),
            "All equal happens: returns before the first reward, answers that all score the same.",
        ),
        normalize_pitfall(
            "precedence",
            "It computes adv - mean / std: the brackets around adv - mean are missing.",
            lambda adv, kept, c: adv - kept.mean() / (kept.std(correction=c) + 1e-8),
        ),
        normalize_pitfall(
            "spread about zero",
            "It divides by the root mean square about 0, not about the mean.",
            lambda adv, kept, c: (adv - kept.mean()) / ((kept**2).mean().sqrt() + 1e-8),
        ),
        normalize_pitfall(
            "mean added back",
            "It adds the mean again after scaling: the result is not centered.",
            lambda adv, kept, c: standardize(adv, kept, c) + kept.mean(),
        ),
        normalize_pitfall(
            "vector norm",
            "It divides by the length of the vector, which grows with the batch: the steps shrink.",
            lambda adv, kept, c: (adv - kept.mean()) / ((kept - kept.mean()).norm() + 1e-8),
        ),
        normalize_pitfall(
            "from 0 to 1",
            "It maps the smallest advantage to 0 and the largest to 1: no action is worse than average.",
            lambda adv, kept, c: (adv - kept.min()) / (kept.max() - kept.min() + 1e-8),
        ),
        normalize_pitfall(
            "over time only",
            "It normalizes along axis 0, each column by itself; the statistics are the whole batch's.",
            standardize_along(0),
            also=normalize_along_without_mask(0),
        ),
        normalize_pitfall(
            "each row by itself",
            "It normalizes along the last axis, each row by itself; the statistics are the whole batch's.",
            standardize_along(-1),
            also=(
                *normalize_along_without_mask(-1),
                *(normalize_rows(c, both) for c in (1, 0) for both in (True, False)),
            ),
        ),
        normalize_pitfall(
            "mean absolute deviation",
            "It divides by the mean absolute deviation; the standard deviation is a root mean square.",
            lambda adv, kept, c: (adv - kept.mean()) / ((kept - kept.mean()).abs().mean() + 1e-8),
        ),
        normalize_pitfall(
            "median subtracted",
            "It subtracts the median; the result should have mean 0.",
            lambda adv, kept, c: (adv - kept.median()) / (kept.std(correction=c) + 1e-8),
        ),
        normalize_pitfall(
            "clipped",
            "It cuts large advantages off: mean 0 and standard deviation 1 are lost, and so is what stood out.",
            lambda adv, kept, c: standardize(adv, kept, c).clamp(-1, 1),
            also=normalize_either(
                *(
                    lambda adv, kept, c, at=at: standardize(adv, kept, c).clamp(-at, at)
                    for at in (2, 3, 5, 10)
                )
            ),
        ),
        normalize_pitfall(
            "sign",
            "It is mean minus advantage: better than average comes out negative.",
            lambda adv, kept, c: -standardize(adv, kept, c),
        ),
        Pitfall(
            "spread over all positions",
            "The mean is right, but the squares are divided by the number of ALL positions.",
            **both(normalize_spread_over_all),
        ),
        normalize_pitfall(
            "mask ignored",
            "The mask does nothing: padding counts, and comes back as if it were data.",
            pick=lambda adv, mask: adv,
            pad_with_zero=False,
        ),
        normalize_pitfall(
            "padding in the statistics",
            "Mean and standard deviation are taken over the padding too.",
            why="How much a batch is padded would then change how strongly it is learned from.",
            pick=lambda adv, mask: adv,
        ),
        Pitfall(
            "padding counted as zeros",
            "Padding is set to 0 and still counted: mean and spread are those of a batch full of zeros.",
            **both(normalize_counts_all),
        ),
        Pitfall(
            "multiplied by the mask",
            "It multiplies padding by 0, but 0 times inf or nan is nan: select with x[mask] or torch.where.",
            **both(normalize_multiplies_mask),
        ),
        normalize_pitfall(
            "padding not zeroed",
            "The statistics are right, but the padding in the result is not set to 0.",
            pad_with_zero=False,
        ),
        normalize_pitfall(
            "mask inverted",
            "Mean and standard deviation are those of the padding: the mask is True on what counts.",
            pick=lambda adv, mask: adv[~mask],
        ),
        normalize_pitfall(
            "mask shifted",
            "The mask is off by one: a position just outside counts, and one inside does not.",
            pick=roll_mask,
        ),
        Pitfall(
            "padding dropped",
            "It returns only the unmasked elements; the shape should stay, with 0 in the padding.",
            **both(normalize_compresses),
        ),
        Pitfall(
            "silent broadcast",
            "Advantages [B, 1] are stretched to the mask's [B, T] without a word.",
            **both(normalize_broadcasts),
        ),
        part_symptom(
            lambda: NORMALIZE_ADVANTAGE,
            "right without a mask only",
            "Without a mask all is right, with one not: mean and standard deviation are those of x[mask].",
            normalize_to_the_middle,
            lambda wrong: "mask" in wrong and "no mask" not in wrong,
        ),
        symptom(
            lambda: NORMALIZE_ADVANTAGE,
            "mean is not 0",
            "The result has another mean than 0: something else than the batch's mean is subtracted.",
            normalize_with(
                lambda adv, kept, c: (adv - kept.mean() / 2) / (kept.std(correction=c) + 1e-8)
            )[0],
            moments_off(mean=True),
        ),
        symptom(
            lambda: NORMALIZE_ADVANTAGE,
            "standard deviation is not 1",
            "The mean is 0, the standard deviation is not 1: it divides by another measure of spread.",
            normalize_with(
                lambda adv, kept, c: (adv - kept.mean()) / ((kept - kept.mean()).abs().max() + 1e-8)
            )[0],
            moments_off(std=True),
        ),
        part_symptom(
            lambda: NORMALIZE_ADVANTAGE,
            "not one shift and one scale",
            "Mean 0 and standard deviation 1 come out, but not for all advantages by one shift and one scale, "
            "or not for every size of them.",
            normalize_with(
                lambda adv, kept, c: standardize(
                    standardize(adv, kept, c) ** 3, standardize(kept, kept, c) ** 3, c
                )
            )[0],
            lambda wrong: "no mask" in wrong,
        ),
    ],
    read="lesson 3, “Normalized advantages”",
)

# --- value_regression_loss ---


def half(fn):
    """The same with the factor 1/2 in front that is equally right."""
    return lambda val, ret: fn(val, ret) / 2


def of_error(loss):
    """A wrong loss, a function of the error value - target (the target held constant)."""

    def wrong(val, ret):
        same_shape(val=val, ret=ret)
        return loss(val - ret.detach())

    return wrong


def of_both(loss):
    """A wrong loss, a function of (value, target), the target held constant."""

    def wrong(val, ret):
        same_shape(val=val, ret=ret)
        return loss(val, ret.detach())

    return wrong


def regression_pitfall(name, says, wrong, why="", also=()):
    return Pitfall(name, says, wrong, why, also=(*also, *map(half, (wrong, *also))))


def regression_half(val, ret):
    return value_regression_loss(val, ret) / 2


def regression_sign(val, ret):
    return -value_regression_loss(val, ret)


def regression_sum(val, ret):
    same_shape(val=val, ret=ret)
    return ((val - ret.detach()) ** 2).sum()


def regression_sum_over_time(val, ret):
    same_shape(val=val, ret=ret)
    return ((val - ret.detach()) ** 2).sum(0).mean()


def regression_absolute(val, ret):
    same_shape(val=val, ret=ret)
    return (val - ret.detach()).abs().mean()


def regression_signed(val, ret):
    same_shape(val=val, ret=ret)
    return (val - ret.detach()).mean()


def regression_signed_other_way(val, ret):
    return -regression_signed(val, ret)


def regression_root(val, ret):
    return value_regression_loss(val, ret).sqrt()


def regression_mean_first(val, ret):
    same_shape(val=val, ret=ret)
    return (val - ret.detach()).mean() ** 2


def regression_huber(delta):
    return of_error(lambda e: F.huber_loss(e, torch.zeros_like(e), delta=delta))


def regression_policy_gradient(val, ret):
    same_shape(val=val, ret=ret)
    return -(val * (ret - val).detach()).mean()


def regression_policy_gradient_sign(val, ret):
    return -regression_policy_gradient(val, ret)


def regression_into_returns(val, ret):
    same_shape(val=val, ret=ret)
    return ((val - ret) ** 2).mean()


def regression_value_detached(val, ret):
    same_shape(val=val, ret=ret)
    return ((val.detach() - ret) ** 2).mean()


def regression_mean_return(val, ret):
    same_shape(val=val, ret=ret)
    return ((val - ret.mean().detach()) ** 2).mean()


def regression_fourth_power(val, ret):
    same_shape(val=val, ret=ret)
    return ((val - ret.detach()) ** 4).mean()


def regression_broadcasts(val, ret):
    return ((val - ret.detach()) ** 2).mean()


def regression_reshapes(val, ret):
    return ((val - ret.detach().reshape(val.shape)) ** 2).mean()


def error_pitfall(name, says, *losses, why="", make=of_error):
    """A mistake in a squared error; with a factor 1/2 in front it is recognized by its ratio."""
    wrong, *also = map(make, losses)
    return Pitfall(name, says, wrong, why, also=tuple(also))


# What goes wrong with a mean squared error, here and in lesson 4's critic_loss.
SQUARED_ERROR_PITFALLS = [
    error_pitfall(
        "summed over environments",
        "It sums over the environments (or divides by the number of steps alone): more of them, bigger steps.",
        lambda e: (e**2).sum() / len(e),
    ),
    error_pitfall(
        "error clipped",
        "It cuts the error off before squaring: a value that is far off gets no gradient at all.",
        *(lambda e, at=at: (e.clamp(-at, at) ** 2).mean() for at in (1, 5, 10)),
    ),
    error_pitfall(
        "log cosh",
        "It averages log cosh of the error, linear for large errors: its minimum is not the mean.",
        lambda e: (e + F.softplus(-2 * e)).mean() - math.log(2),
        lambda e: torch.log(torch.cosh(e)).mean(),
    ),
    error_pitfall(
        "one side only",
        "Errors of one sign count as 0: the values are pushed one way only.",
        lambda e: (e.clamp(min=0) ** 2).mean(),
        lambda e: (e.clamp(max=0) ** 2).mean(),
    ),
    error_pitfall(
        "length of the error",
        "It takes the length of the vector of errors, a root: the gradient no longer shrinks with the error.",
        lambda e: e.norm(),
        lambda e: e.norm() / len(e),
        lambda e: e.norm() / e.numel(),
    ),
    error_pitfall(
        "variance of the error",
        "It is the variance of the error: an offset of all values costs nothing.",
        lambda e: e.var(),
        lambda e: e.var(correction=0),
    ),
    error_pitfall(
        "third power",
        "It raises the error to the third power: unbounded below.",
        lambda e: (e**3).mean(),
        lambda e: (e.abs() ** 3).mean(),
    ),
    error_pitfall(
        "one step only",
        "It uses the first or the last step only.",
        lambda e: (e[0] ** 2).mean(),
        lambda e: (e[-1] ** 2).mean(),
    ),
    error_pitfall(
        "median or largest error",
        "It takes the median or the largest of the squared errors; their mean was asked for.",
        lambda e: (e**2).median(),
        lambda e: (e**2).max(),
    ),
    error_pitfall(
        "divided by the variance",
        "It divides by the variance of the targets: that is a measure of fit, not the loss.",
        *(lambda v, y, c=c: ((v - y) ** 2).mean() / (y.var(correction=c) + 1e-8) for c in (1, 0)),
        make=of_both,
    ),
    error_pitfall(
        "off by one row",
        "It compares the value of one row with the target of another.",
        lambda v, y: ((v[:-1] - y[1:]) ** 2).mean(),
        lambda v, y: ((v[1:] - y[:-1]) ** 2).mean(),
        lambda v, y: ((v - y.roll(1, 0)) ** 2).mean(),
        lambda v, y: ((v - y.roll(-1, 0)) ** 2).mean(),
        make=of_both,
    ),
    error_pitfall(
        "every value against every target",
        "[B, 1] minus [1, B] is a table: every value is fitted to every target, so to their mean.",
        lambda v, y: ((v.reshape(-1, 1) - y.reshape(1, -1)) ** 2).mean(),
        make=of_both,
    ),
    error_pitfall(
        "value against itself",
        "It compares the value with itself: the loss is 0, and nothing is learned.",
        lambda v, y: ((v - v.detach()) ** 2).mean(),
        make=of_both,
    ),
    error_pitfall(
        "actor's objective, value live",
        "It multiplies the value by the error and lets the gradient flow through both.",
        lambda v, y: -(v * (y - v)).mean(),
        lambda v, y: (v * (y - v)).mean(),
        make=of_both,
    ),
    error_pitfall(
        "target normalized",
        "It standardizes the targets first: the values then have no unit of reward.",
        *(lambda v, y, c=c: ((v - standardized(y, *c)) ** 2).mean() for c in CONVENTIONS),
        *(
            lambda v, y, c=c: ((standardized(v, *c) - standardized(y, *c)) ** 2).mean()
            for c in CONVENTIONS[:2]
        ),
        why="Subtracted from the real returns they would remove almost nothing.",
        make=of_both,
    ),
    error_pitfall(
        "target times value",
        "It multiplies value and target: that loss has no minimum and measures no error.",
        lambda v, y: -(v * y).mean(),
        lambda v, y: (v * y).mean(),
        make=of_both,
    ),
]


def error_cases(part, first, second):
    """What the symptoms of a squared error are read from; the two names are the arguments'."""

    def table(times=1.0, raised=0.0):
        value, target = tensor(1.0, 2.0, 0.0, -1.0), tensor(2.0, 2.5, 3.0, 1.5)
        return {first: value + raised, second: value + times * (target - value) + raised}

    return [
        *halves(part, table),
        Case("errors twice as large", lambda g: table(times=2.0), part),
        Case("errors of the other sign", lambda g: table(times=-1.0), part),
        Case("value and target raised by 10", lambda g: table(raised=10.0), part),
    ]


def error_symptoms(exercise, constant, far, flat):
    """What is true of many wrong squared errors.

    constant : the argument that is held constant
    far      : the case with errors in the hundreds
    flat     : the other cases that are [T]
    """

    def told(name, says, loss, sign):
        return symptom(exercise, name, says, of_both(loss), sign)

    return [
        leak_symptom(exercise, constant, lambda v, y: ((v - y).abs() ** 2.5).mean()),
        gradient_symptom(
            exercise,
            of_both(lambda v, y: ((v - y) ** 2).mean() + (v - v.detach()).mean()),
        ),
        told(
            "not a mean of single terms",
            "Two batches together do not give the mean of both losses: each step counts once, with its own error.",
            lambda v, y: ((v[1:] - y[1:]) ** 2).mean() + 0.1 * (v - y).mean() ** 2,
            lambda at: differ(
                (number(at["two steps"]) + number(at["two other steps"])) / 2,
                number(at["these four steps"]),
            ),
        ),
        told(
            "more than the error",
            "When value and target are raised alike, the loss changes: it is not made of their difference alone.",
            lambda v, y: (((v - y) / (y.abs() + 1)) ** 2).mean(),
            lambda at: differ(
                number(at["value and target raised by 10"]), number(at["these four steps"])
            ),
        ),
        told(
            "not the square",
            "Errors twice as large should give four times the loss; here they do not.",
            lambda v, y: ((v - y).abs() ** 2.5).mean(),
            lambda at: differ(
                number(at["errors twice as large"]), 4 * number(at["these four steps"])
            ),
        ),
        told(
            "sign of the error counts",
            "Errors of the other sign give another loss: too high and too low have to count alike.",
            lambda v, y: (torch.where(v > y, 0.7, 1.3) * (v - y) ** 2).mean(),
            lambda at: differ(
                number(at["errors of the other sign"]), number(at["these four steps"])
            ),
        ),
        where_symptom(
            exercise,
            "large errors cut",
            "It is right for errors of a few units, and wrong for hundreds: something limits them.",
            of_error(lambda e: 2 * F.huber_loss(e, torch.zeros_like(e), delta=30.0)),
            right=("these four steps",),
            off=(far,),
        ),
        where_symptom(
            exercise,
            "right for one environment only",
            "All is right for [T] and not for [T, B]: the mean is over both axes.",
            of_error(lambda e: (e**2).mean() if e.dim() == 1 else (e**2).mean(1).median()),
            right=("these four steps", far, *flat),
            off=("time and environments",),
        ),
    ]


def values_and_returns(g, *shape, dtype=torch.float32):
    made = returns_and_values(g, *shape, dtype=dtype)
    return dict(val=made["val"], ret=made["ret"])


VALUE_REGRESSION_LOSS = Exercise(
    reference=value_regression_loss,
    accept=(regression_half,),
    parts={"value of the loss": 1, "gradient": 2, "shapes": 1, "clean": 1},
    cases=[
        Case(
            "three steps",
            lambda g: dict(val=tensor(1.0, 2.0, 0.0), ret=tensor(2.0, 2.0, 3.0)),
            "value of the loss",
        ),
        *error_cases("value of the loss", "val", "ret"),
        Case("a long batch", lambda g: values_and_returns(g, 40), "value of the loss"),
        Case("time and environments", lambda g: values_and_returns(g, 6, 4), "value of the loss"),
        Case("float64", lambda g: values_and_returns(g, 8, dtype=F64), "value of the loss"),
        Case(
            "returns in the hundreds",
            lambda g: dict(val=normal(g, 6), ret=normal(g, 6, scale=300.0)),
            "value of the loss",
        ),
        Case(
            "three steps, differentiated",
            lambda g: values_and_returns(g, 3),
            "gradient",
            ("val", "ret"),
        ),
        Case(
            "a table, differentiated",
            lambda g: values_and_returns(g, 5, 3),
            "gradient",
            ("val", "ret"),
        ),
        Case(
            "values [3, 1] and returns [3]",
            lambda g: values_and_returns(g, 3) | dict(val=normal(g, 3, 1)),
            "shapes",
            raises=True,
        ),
        Case(
            "returns in the thousands, differentiated",
            lambda g: dict(val=tensor(1000.0, -2000.0, 500.0), ret=tensor(3000.0, 1000.0, -4000.0)),
            "gradient",
            ("val", "ret"),
        ),
    ],
    pitfalls=[
        regression_pitfall(
            "sign",
            "It is negative: minimizing it drives the values AWAY from the returns.",
            regression_sign,
        ),
        Pitfall(
            "sum",
            "It sums the squared errors: the step grows with the batch.",
            regression_sum,
            also=(half(regression_sum),),
        ),
        regression_pitfall(
            "summed over time",
            "It sums over time and averages over environments: long rollouts take bigger steps.",
            regression_sum_over_time,
        ),
        regression_pitfall(
            "absolute error",
            "It averages the absolute error: its minimum is the median return, a baseline is the mean.",
            regression_absolute,
        ),
        regression_pitfall(
            "error not squared",
            "It averages the error without squaring it: unbounded below, it just pushes all values down.",
            regression_signed,
        ),
        regression_pitfall(
            "error not squared, reversed",
            "It averages return minus value without squaring: unbounded below, it pushes all values up.",
            regression_signed_other_way,
        ),
        regression_pitfall(
            "square root",
            "It takes the root of the mean square: the gradient no longer shrinks as the fit improves.",
            regression_root,
        ),
        regression_pitfall(
            "mean before the square",
            "It averages first and squares then: errors of opposite sign cancel, and only the mean is fitted.",
            regression_mean_first,
        ),
        regression_pitfall(
            "Huber loss",
            "It is the Huber loss, linear for large errors: its minimum is not the mean return.",
            regression_huber(1),
            also=tuple(map(regression_huber, (0.5, 2, 5, 10))),
        ),
        regression_pitfall(
            "actor's objective",
            "It weighs the values with the advantage, the way log-probabilities are: the critic learns by regression.",
            regression_policy_gradient,
        ),
        regression_pitfall(
            "actor's objective, reversed",
            "It multiplies values by advantages, with the sign that moves them away from the returns.",
            regression_policy_gradient_sign,
        ),
        regression_pitfall(
            "gradient into the returns",
            "A gradient flows into the returns, which were observed: detach them.",
            regression_into_returns,
        ),
        regression_pitfall(
            "value detached",
            "The values are detached, so nothing learns (and the returns get the gradient).",
            regression_value_detached,
        ),
        *SQUARED_ERROR_PITFALLS,
        regression_pitfall(
            "one target for all",
            "Every value is fitted to the mean return: states are not told apart.",
            regression_mean_return,
        ),
        regression_pitfall(
            "fourth power",
            "It raises the error to the fourth power: outliers decide.",
            regression_fourth_power,
        ),
        regression_pitfall(
            "silent broadcast",
            "[T, 1] minus [T] becomes a [T, T] table: every value is fitted to every return.",
            regression_broadcasts,
            "All values are then driven to the mean return, and no warning is needed for that to happen.",
        ),
        regression_pitfall(
            "reshaped in silence",
            "It reshapes the returns to fit; two shapes that differ are a mistake to report.",
            regression_reshapes,
        ),
        *error_symptoms(
            lambda: VALUE_REGRESSION_LOSS,
            "ret",
            far="returns in the hundreds",
            flat=("three steps", "a long batch", "float64"),
        ),
    ],
    read="lesson 3, “Learning the baseline”; Sutton & Barto, sections 9.3 and 13.4",
)

# --- policy_gradient_loss ---


def mean_where(x, mask):
    return x.mean() if mask is None else x[mask].mean()


def loss_sign(logp, adv, mask=None):
    return -policy_gradient_loss(logp, adv, mask)


def select(mask, *tensors):
    return tensors if mask is None else [x[mask] for x in tensors]


def loss_adv_not_detached(logp, adv, mask=None):
    same_shape(logp=logp, adv=adv, mask=mask)
    logp, adv = select(mask, logp, adv)
    return -(logp * adv).mean()


def loss_adv_not_detached_selected_after(logp, adv, mask=None):
    same_shape(logp=logp, adv=adv, mask=mask)
    return -mean_where(logp * adv, mask)


def loss_probability(logp, adv, mask=None):
    same_shape(logp=logp, adv=adv, mask=mask)
    logp, adv = select(mask, logp, adv)
    return -(logp.exp() * adv.detach()).mean()


def loss_sum(logp, adv, mask=None):
    same_shape(logp=logp, adv=adv, mask=mask)
    logp, adv = select(mask, logp, adv)
    return -(logp * adv.detach()).sum()


def loss_sum_of_rows(logp, adv, mask=None):
    same_shape(logp=logp, adv=adv, mask=mask)
    x = logp * adv.detach()
    x = x if mask is None else torch.where(mask, x, 0.0)
    return -x.sum(-1).mean()


def loss_advantage_unused(logp, adv, mask=None):
    same_shape(logp=logp, adv=adv, mask=mask)
    return -mean_where(logp, mask)


def loss_product_of_means(logp, adv, mask=None):
    same_shape(logp=logp, adv=adv, mask=mask)
    return -mean_where(logp, mask) * mean_where(adv.detach(), mask)


def loss_centers(logp, adv, mask=None):
    same_shape(logp=logp, adv=adv, mask=mask)
    return policy_gradient_loss(logp, adv - mean_where(adv, mask), mask)


def loss_absolute(logp, adv, mask=None):
    return policy_gradient_loss(logp, adv.abs(), mask)


def loss_only_good_news(logp, adv, mask=None):
    return policy_gradient_loss(logp, adv.clamp(min=0), mask)


def loss_sign_of_advantage(logp, adv, mask=None):
    return policy_gradient_loss(logp, adv.sign(), mask)


def loss_unmasked(logp, adv, mask=None):
    same_shape(logp=logp, adv=adv, mask=mask)
    return -(logp * adv.detach()).mean()


def loss_over_all_positions(logp, adv, mask=None):
    same_shape(logp=logp, adv=adv, mask=mask)
    x = logp * adv.detach()
    return -(x if mask is None else torch.where(mask, x, 0.0)).mean()


def loss_over_all_positions_selected(logp, adv, mask=None):
    same_shape(logp=logp, adv=adv, mask=mask)
    x = logp * adv.detach()
    return -(x if mask is None else x[mask]).sum() / x.numel()


def loss_mask_shifted(logp, adv, mask=None):
    same_shape(logp=logp, adv=adv, mask=mask)
    return policy_gradient_loss(logp, adv, None if mask is None else mask.roll(1, -1))


def loss_mask_shifted_back(logp, adv, mask=None):
    same_shape(logp=logp, adv=adv, mask=mask)
    return policy_gradient_loss(logp, adv, None if mask is None else mask.roll(-1, -1))


def loss_mask_cut_left(logp, adv, mask=None):
    same_shape(logp=logp, adv=adv, mask=mask)
    if mask is None:
        return policy_gradient_loss(logp, adv)
    return policy_gradient_loss(logp[:, 1:], adv[:, 1:], mask[:, :-1])


def loss_mask_cut_right(logp, adv, mask=None):
    same_shape(logp=logp, adv=adv, mask=mask)
    if mask is None:
        return policy_gradient_loss(logp, adv)
    return policy_gradient_loss(logp[:, :-1], adv[:, :-1], mask[:, 1:])


def loss_over_longest_row(logp, adv, mask=None):
    same_shape(logp=logp, adv=adv, mask=mask)
    if mask is None:
        return policy_gradient_loss(logp, adv)
    kept = policy_gradient_loss(logp, adv, mask) * mask.sum()
    return kept / (len(mask) * mask.sum(1).max())


def loss_mask_inverted(logp, adv, mask=None):
    same_shape(logp=logp, adv=adv, mask=mask)
    return policy_gradient_loss(logp, adv, None if mask is None else ~mask)


def loss_row_means(logp, adv, mask=None):
    same_shape(logp=logp, adv=adv, mask=mask)
    x = logp * adv.detach()
    if mask is None:
        return -x.mean()
    return -torch.stack([row[m].mean() for row, m in zip(x, mask, strict=True) if m.any()]).mean()


def loss_column_means(logp, adv, mask=None):
    same_shape(logp=logp, adv=adv, mask=mask)
    if mask is None:
        return -(logp * adv.detach()).mean()
    return loss_row_means(logp.T, adv.T, mask.T)


def loss_multiplies_mask(logp, adv, mask=None):
    same_shape(logp=logp, adv=adv, mask=mask)
    x = logp * adv.detach()
    return -x.mean() if mask is None else -(x * mask).sum() / mask.sum()


def loss_where_after(logp, adv, mask=None):
    same_shape(logp=logp, adv=adv, mask=mask)
    x = logp * adv.detach()
    return -x.mean() if mask is None else -torch.where(mask, x, 0.0).sum() / mask.sum()


def loss_selects_after(logp, adv, mask=None):
    same_shape(logp=logp, adv=adv, mask=mask)
    return -mean_where(logp * adv.detach(), mask)


def loss_broadcasts(logp, adv, mask=None):
    logp, adv = select(mask, logp, adv)
    return -(logp * adv.detach()).mean()


def loss_reshapes(logp, adv, mask=None):
    logp, adv = select(mask, logp, adv.reshape(logp.shape))
    return -(logp * adv.detach()).mean()


def per_step(loss):
    """A wrong loss, a function of (log pi, advantage held constant) of the steps that count."""

    def wrong(logp, adv, mask=None):
        same_shape(logp=logp, adv=adv, mask=mask)
        return loss(*select(mask, logp, adv.detach()))

    return wrong


def weighted(weight):
    """Another weight of the score in place of the advantage, a function of it."""
    return per_step(lambda logp, adv: -(logp * weight(adv)).mean())


def live(loss):
    """Like `per_step`, but the advantage carries gradient."""

    def wrong(logp, adv, mask=None):
        same_shape(logp=logp, adv=adv, mask=mask)
        return loss(*select(mask, logp, adv))

    return wrong


def score_pitfall(name, says, *wrong, why=""):
    return Pitfall(name, says, wrong[0], why, also=wrong[1:])


def entropy_added(coefficient):
    """The loss and a bonus for entropy, in one of the forms people write."""
    return (
        per_step(lambda logp, adv: -(logp * adv).mean() + coefficient * logp.mean()),
        per_step(lambda logp, adv: -(logp * adv).mean() + coefficient * (logp.exp() * logp).mean()),
        per_step(lambda logp, adv: -(logp * adv).mean() + coefficient * (logp.exp() * logp).sum()),
    )


# What goes wrong with a policy-gradient loss, here and in lesson 4's actor_loss.
SCORE_PITFALLS = [
    score_pitfall(
        "normalizes in silence",
        "It standardizes the advantages first; whoever calls the loss decides that.",
        *(weighted(lambda adv, c=c: standardized(adv, *c)) for c in CONVENTIONS),
        why="An advantage that was normalized on purpose for the whole batch would be changed again.",
    ),
    score_pitfall(
        "scales in silence",
        "It divides the advantages by their spread or size; whoever calls the loss decides that.",
        *(weighted(lambda adv, c=c: adv / (adv.std(correction=c[0]) + c[1])) for c in CONVENTIONS),
        weighted(lambda adv: adv / adv.abs().mean()),
        weighted(lambda adv: adv / adv.abs().max()),
        weighted(lambda adv: adv / (adv**2).mean().sqrt()),
    ),
    score_pitfall(
        "weighted mean",
        "It divides by the sum of the advantages; the mean divides by the number of steps.",
        weighted(lambda adv: adv * adv.numel() / adv.sum()),
    ),
    score_pitfall(
        "clipped",
        "It cuts large advantages (or log-probabilities) off: what stood out counts less.",
        *(weighted(lambda adv, at=at: adv.clamp(-at, at)) for at in (1, 5, 10)),
        *(
            per_step(lambda logp, adv, at=at: -(logp.clamp(min=-at) * adv).mean())
            for at in (1, 2, 5, 10)
        ),
    ),
    score_pitfall(
        "exponentiated advantage",
        "It weighs with exp(A) or a softmax of A: every action becomes more probable.",
        weighted(torch.exp),
        weighted(lambda adv: adv.flatten().softmax(0).reshape(adv.shape) * adv.numel()),
        weighted(lambda adv: adv.softmax(0)),
    ),
    score_pitfall(
        "one weight for all",
        "Every step gets one weight, the sum, the first or the largest advantage: which action earned what is lost.",
        weighted(lambda adv: adv.sum().expand_as(adv)),
        weighted(lambda adv: adv[:1].expand_as(adv)),
        weighted(lambda adv: adv.max().expand_as(adv)),
        per_step(lambda logp, adv: -(logp.sum(0) * adv.sum(0)).mean()),
    ),
    score_pitfall(
        "summed over time first",
        "It sums log-probabilities or advantages over time first: an action is credited with others' advantages.",
        per_step(lambda logp, adv: -(logp.cumsum(0) * adv).mean()),
        per_step(lambda logp, adv: -(logp.flip(0).cumsum(0).flip(0) * adv).mean()),
    ),
    score_pitfall(
        "off by one row",
        "It multiplies the log-probability of one row by the advantage of another.",
        per_step(lambda logp, adv: -(logp[:-1] * adv[1:]).mean()),
        per_step(lambda logp, adv: -(logp[1:] * adv[:-1]).mean()),
        weighted(lambda adv: adv.roll(1, 0)),
        weighted(lambda adv: adv.roll(-1, 0)),
    ),
    score_pitfall(
        "one step only",
        "It uses one step only: the first, the last, or the one with the largest product.",
        per_step(lambda logp, adv: -(logp[0] * adv[0]).mean()),
        per_step(lambda logp, adv: -(logp[-1] * adv[-1]).mean()),
        per_step(lambda logp, adv: -(logp * adv).max()),
        per_step(lambda logp, adv: (-logp * adv).max()),
    ),
    score_pitfall(
        "summed over one axis",
        "It sums over one axis and averages over the other: the step grows with that axis.",
        per_step(lambda logp, adv: -(logp * adv).sum(0).mean()),
        per_step(lambda logp, adv: -(logp * adv).sum() / len(logp)),
    ),
    score_pitfall(
        "ratio in place of the log-probability",
        "It weighs pi / pi_old = 1: the gradient is right here, the loss is only minus the mean advantage.",
        per_step(lambda logp, adv: -((logp - logp.detach()).exp() * adv).mean()),
    ),
    score_pitfall(
        "sum in place of the product",
        "It adds log-probability and advantage; the advantage then has no influence on the gradient.",
        per_step(lambda logp, adv: -(logp + adv).mean()),
        per_step(lambda logp, adv: (adv - logp).mean()),
    ),
    score_pitfall(
        "squared product",
        "It squares log pi times A: the sign of the advantage is lost.",
        per_step(lambda logp, adv: ((logp * adv) ** 2).mean()),
        per_step(lambda logp, adv: -((logp * adv) ** 2).mean()),
    ),
    score_pitfall(
        "squared advantage",
        "It weighs with the squared advantage: that is the critic's loss, and it has no sign.",
        weighted(torch.square),
    ),
    score_pitfall(
        "regression on the advantage",
        "It fits log pi to the advantage by least squares: that is a critic's loss, not a policy gradient.",
        per_step(lambda logp, adv: ((logp - adv) ** 2).mean()),
        per_step(lambda logp, adv: 0.5 * ((logp - adv) ** 2).mean()),
    ),
    score_pitfall(
        "advantage alone",
        "log pi does not appear: that pushes the critic, if anything, and never the policy.",
        live(lambda logp, adv: -adv.mean()),
        live(lambda logp, adv: (adv**2).mean()),
        live(lambda logp, adv: 0.5 * (adv**2).mean()),
        live(lambda logp, adv: adv.mean()),
    ),
    score_pitfall(
        "critic's loss added",
        "It adds the critic's loss, the squared advantage: each network has a loss of its own.",
        *(
            wrong
            for c in (0.5, 1, 0.25)
            for wrong in (
                live(lambda logp, adv, c=c: -(logp * adv.detach()).mean() + c * (adv**2).mean()),
                per_step(lambda logp, adv, c=c: -(logp * adv).mean() + c * (adv**2).mean()),
            )
        ),
    ),
    score_pitfall(
        "entropy bonus added",
        "It adds a bonus for entropy: a useful term, but another one, with a weight of its own.",
        *(wrong for c in (0.01, 0.001, 0.1, 0.05) for wrong in entropy_added(c)),
        entropy_added(-0.01)[0],
    ),
]


def logp_and_advantage(g, *shape, dtype=torch.float32):
    return dict(
        logp=-normal(g, *shape, dtype=dtype).abs() - 0.05,
        adv=2 * normal(g, *shape, dtype=dtype) + 0.5,
    )


def masked_logp_and_advantage(g, B, T, logp=None, adv=None, dtype=torch.float32):
    made = logp_and_advantage(g, B, T, dtype=dtype) | dict(mask=masks(g, B, T))
    for name, padding in (("logp", logp), ("adv", adv)):
        if padding is not None:
            made[name] = wild(made[name], made["mask"], padding)
    return made


def score_table(times=1.0, rarer=1.0):
    return dict(
        logp=rarer * tensor(-1.0, -0.5, -2.0, -0.3), adv=times * tensor(1.0, -2.0, 0.05, 3.0)
    )


def score_cases(part):
    """What the symptoms of a policy-gradient loss are read from."""
    return [
        *halves(part, score_table),
        Case("advantages reversed and doubled", lambda g: score_table(times=-2.0), part),
        Case("log-probabilities doubled", lambda g: score_table(rarer=2.0), part),
    ]


def score_symptoms(exercise, flat, plain=lambda wrong: wrong):
    """What is true of many wrong policy-gradient losses.

    flat  : the cases that are [T], besides those of `score_cases`
    plain : takes away an argument `mask`
    """

    def told(name, says, loss, sign):
        return symptom(exercise, name, says, plain(per_step(loss)), sign)

    return [
        leak_symptom(exercise, "adv", plain(live(lambda logp, adv: -(logp * adv.tanh()).mean()))),
        gradient_symptom(
            exercise,
            plain(per_step(lambda logp, adv: -(logp * adv).mean() + (logp - logp.detach()).mean())),
        ),
        told(
            "not a mean of single terms",
            "Two batches together do not give the mean of both losses: each step counts once, with its own advantage.",
            lambda logp, adv: -(logp * adv).mean() - 0.1 * logp.mean() * adv.mean(),
            lambda at: differ(
                (number(at["two steps"]) + number(at["two other steps"])) / 2,
                number(at["these four steps"]),
            ),
        ),
        told(
            "not proportional to the advantage",
            "Advantages reversed and doubled should give -2 times the loss; here they do not.",
            lambda logp, adv: -(logp * adv.tanh()).mean(),
            lambda at: differ(
                number(at["advantages reversed and doubled"]), -2 * number(at["these four steps"])
            ),
        ),
        told(
            "not proportional to log pi",
            "Log-probabilities twice as far from 0 should give twice the loss; here they do not.",
            lambda logp, adv: (logp**2 * adv).mean(),
            lambda at: differ(
                number(at["log-probabilities doubled"]), 2 * number(at["these four steps"])
            ),
        ),
        where_symptom(
            exercise,
            "right for one environment only",
            "All is right for [T] and not for [T, B]: the mean is over both axes.",
            plain(
                per_step(
                    lambda logp, adv: (
                        -(logp * adv).mean() if logp.dim() == 1 else -(logp * adv).mean(1).median()
                    )
                )
            ),
            right=("these four steps", "rare actions, large advantages", *flat),
            off=("time and environments",),
        ),
    ]


def one_padded(padding):
    """Two rows of two steps; the first of the second row does not count."""
    mask = torch.tensor([[True, True], [False, True]])
    made = {name: wild(x.reshape(2, 2), mask, padding) for name, x in score_table().items()}
    return made | dict(mask=mask)


def loss_counts_some_padding(logp, adv, mask=None):
    if mask is None:
        return policy_gradient_loss(logp, adv)
    same_shape(logp=logp, adv=adv, mask=mask)
    weight = torch.where(mask, 1.0, 0.5).to(logp.dtype)
    return -(logp * adv.detach() * weight).sum() / mask.sum()


def loss_over_rows(logp, adv, mask=None):
    if mask is None:
        return policy_gradient_loss(logp, adv)
    return policy_gradient_loss(logp, adv, mask) * mask.sum() / (mask.sum() + 1)


LARGE_LOGP = steps_3_by_4(*range(-31, -19), times=10.0)
LARGE_ADV = steps_3_by_4(1, -1, 2, -2, -3, 1, 0.5, -1, 2, -2, 1, -1)

POLICY_GRADIENT_LOSS = Exercise(
    reference=policy_gradient_loss,
    parts={
        "value of the loss": 1,
        "gradient": 2,
        "mask": 2,
        "padding of any content": 1,
        "shapes": 1,
        "clean": 1,
    },
    cases=[
        Case(
            "three steps",
            lambda g: dict(logp=tensor(-1.0, -0.5, -2.0), adv=tensor(1.0, -2.0, 0.5)),
            "value of the loss",
        ),
        *score_cases("value of the loss"),
        Case("a long batch", lambda g: logp_and_advantage(g, 40), "value of the loss"),
        Case("time and environments", lambda g: logp_and_advantage(g, 7, 3), "value of the loss"),
        Case("float64", lambda g: logp_and_advantage(g, 8, dtype=F64), "value of the loss"),
        Case(
            "rare actions, large advantages",
            lambda g: dict(logp=-20 * torch.rand(9, generator=g) - 9, adv=normal(g, 9, scale=50.0)),
            "value of the loss",
        ),
        Case(
            "three steps, differentiated",
            lambda g: logp_and_advantage(g, 3),
            "gradient",
            ("logp", "adv"),
        ),
        Case(
            "a table, differentiated",
            lambda g: logp_and_advantage(g, 5, 2),
            "gradient",
            ("logp", "adv"),
        ),
        Case(
            "two answers of different length",
            lambda g: dict(
                logp=tensor([-1.0, -2.0, -9.0], [-4.0, -9.0, -9.0]),
                adv=tensor([1.0, 1.0, 9.0], [0.5, 9.0, 9.0]),
                mask=torch.tensor([[True, True, False], [True, False, False]]),
            ),
            "mask",
        ),
        Case("one step does not count", lambda g: one_padded(9.0), "mask"),
        Case("something else in its place", lambda g: one_padded(-5.0), "mask"),
        Case(
            "ragged answers", lambda g: masked_logp_and_advantage(g, 5, 8), "mask", ("logp", "adv")
        ),
        Case(
            "ragged answers, float64",
            lambda g: masked_logp_and_advantage(g, 4, 9, dtype=F64),
            "mask",
        ),
        Case(
            "-inf log-probabilities in the padding",
            lambda g: masked_logp_and_advantage(g, 4, 8, logp=-torch.inf),
            "padding of any content",
            ("logp", "adv"),
        ),
        Case(
            "nan advantages in the padding",
            lambda g: masked_logp_and_advantage(g, 4, 8, adv=float("nan")),
            "padding of any content",
            ("logp", "adv"),
        ),
        Case(
            "log-probabilities [3] and advantages [3, 1]",
            lambda g: logp_and_advantage(g, 3) | dict(adv=normal(g, 3, 1)),
            "shapes",
            raises=True,
        ),
        Case(
            "a mask that is one row short",
            lambda g: logp_and_advantage(g, 3, 4) | dict(mask=flags(g, 2, 4, p=0.7)),
            "shapes",
            raises=True,
        ),
        Case(
            "large advantages of rare actions, differentiated",
            lambda g: dict(logp=LARGE_LOGP, adv=LARGE_ADV),
            "gradient",
            ("logp", "adv"),
        ),
        Case(
            "large advantages of rare actions and a mask",
            lambda g: dict(logp=LARGE_LOGP, adv=LARGE_ADV, mask=frame()),
            "mask",
        ),
    ],
    pitfalls=[
        Pitfall(
            "sign",
            "The minus is missing: gradient descent then lowers the probability of good actions.",
            loss_sign,
            also=tuple(
                lambda *args, fn=fn: -fn(*args)
                for fn in (loss_selects_after, loss_where_after, loss_multiplies_mask)
            ),
        ),
        Pitfall(
            "gradient into the advantage",
            "A gradient flows into the advantage, which is a constant here: detach it.",
            loss_adv_not_detached,
            "The policy's loss would train the value network, and not to predict returns.",
            also=(loss_adv_not_detached_selected_after,),
        ),
        Pitfall(
            "probability in place of its log",
            "It multiplies the advantage by the probability, not by the log-probability.",
            loss_probability,
            "Sampled actions already come as often as pi says; rare ones would hardly learn.",
        ),
        Pitfall("sum", "It sums over the steps: the step grows with the batch.", loss_sum),
        Pitfall(
            "sum over the last axis",
            "It sums along the last axis and averages over the first: long rows take bigger steps.",
            loss_sum_of_rows,
        ),
        Pitfall(
            "advantage unused",
            "The advantage does not enter: every action that was taken becomes more probable.",
            loss_advantage_unused,
        ),
        Pitfall(
            "product of means",
            "Mean log-probability times mean advantage: which action earned what is lost.",
            loss_product_of_means,
        ),
        *SCORE_PITFALLS,
        Pitfall(
            "centers in silence",
            "It subtracts the mean advantage first; the advantage has had its baseline.",
            loss_centers,
        ),
        Pitfall(
            "absolute advantage",
            "It uses the size of the advantage: bad actions are reinforced too.",
            loss_absolute,
        ),
        Pitfall(
            "only good news",
            "It cuts negative advantages to 0: nothing is learned from what went badly.",
            loss_only_good_news,
        ),
        Pitfall(
            "sign of the advantage only",
            "It uses only the sign of the advantage, not its size.",
            loss_sign_of_advantage,
        ),
        Pitfall(
            "mask ignored",
            "The mean is over prompt and padding too: the mask does nothing.",
            loss_unmasked,
        ),
        Pitfall(
            "over all positions",
            "Padding is left out of the sum and still counted in the mean: it divides by B times T.",
            loss_over_all_positions,
            "The same answers would be learned from more weakly in a batch with more padding.",
            also=(loss_over_all_positions_selected,),
        ),
        Pitfall(
            "mask shifted",
            "The mask is off by one: a position just outside the response counts, and one inside does not.",
            loss_mask_shifted_back,
            also=(loss_mask_shifted, loss_mask_cut_left, loss_mask_cut_right),
        ),
        Pitfall(
            "divided by the longest row",
            "It divides by the rows times the longest one; the mean divides by the steps that count.",
            loss_over_longest_row,
        ),
        Pitfall(
            "mask inverted",
            "It averages over what the mask rules out: True means that a position counts.",
            loss_mask_inverted,
        ),
        Pitfall(
            "mean of row means",
            "It averages each row first and then the rows: tokens of short answers weigh more.",
            loss_row_means,
            "Then the same token counts ten times as much in an answer a tenth as long.",
        ),
        Pitfall(
            "mean of column means",
            "It averages each column first and then the columns: positions few rows reach weigh more.",
            loss_column_means,
        ),
        Pitfall(
            "multiplied by the mask",
            "It multiplies padding by 0, but 0 times inf or nan is nan: select with x[mask].",
            loss_multiplies_mask,
        ),
        Pitfall(
            "selected after the product",
            "The value is right, but the gradient at a padding of nan is 0 times nan: nan. Select first, multiply then.",
            loss_where_after,
            "One nan in a gradient makes every weight of the network nan.",
            also=(loss_selects_after,),
        ),
        Pitfall(
            "silent broadcast",
            "[T] times [T, 1] becomes a [T, T] table: every action is credited with every advantage.",
            loss_broadcasts,
            "On average every action gets the mean advantage, and nothing is learned.",
        ),
        Pitfall(
            "reshaped in silence",
            "It reshapes the advantage to fit; two shapes that differ are a mistake to report.",
            loss_reshapes,
        ),
        *score_symptoms(lambda: POLICY_GRADIENT_LOSS, ("three steps", "a long batch", "float64")),
        symptom(
            lambda: POLICY_GRADIENT_LOSS,
            "padding counts",
            "What stands in the padding changes the result: select with x[mask] first.",
            loss_counts_some_padding,
            lambda at: differ(
                number(at["one step does not count"]), number(at["something else in its place"])
            ),
        ),
        part_symptom(
            lambda: POLICY_GRADIENT_LOSS,
            "right without a mask only",
            "Without a mask all is right, with one not: it is the mean of logp * A over all unmasked steps together.",
            loss_over_rows,
            lambda wrong: "mask" in wrong and not wrong & {"value of the loss", "gradient"},
        ),
    ],
    read="lesson 3, “Any advantage, one loss”; Schulman et al. 2016, arXiv:1506.02438",
)

# --- quiz ---


def quiz_baselines():
    """What the experiments of this lesson showed.

    constant   : every reward of a bandit is raised by 100. In the estimate without a baseline this
                 changes  "a" the mean only   "b" the variance only   "c" both   "d" neither
    unbiased   : which of these leave the mean of the estimate alone? All that do, like "bd":
                 "a" the mean return of the OTHER samples from the same start
                 "b" the mean return of ALL samples from the same start, one's own included
                 "c" V(s_t), learned from earlier episodes
                 "d" V(s_{t+1}), the value of the state that the action led to
    episodes   : without a baseline, 5000 episodes give the precision you want; the variance ratio
                 of a baseline is 0.2. How many episodes does it take with that baseline? A number
    perfect    : with V(s_t) = V^pi(s_t) exactly, the estimate has no variance left. True or False
    normalized : dividing all advantages by their standard deviation saves episodes the way a
                 baseline does. True or False
    returns    : a dict of the five answers, {"constant": ..., "unbiased": ..., "episodes": ...,
                 "perfect": ..., "normalized": ...}
    """
    return {
        "constant": "b",
        "unbiased": "ac",
        "episodes": 1000,
        "perfect": False,
        "normalized": False,
    }


def asked(name, key, **how):
    return Case(name, lambda g: dict(key=key, **how), name)


def misled(quiz, name, key, answer, says, also=(), why=""):
    """A pitfall of a quiz: a wrong answer to one question (in several forms), whatever the others are."""
    at = list(quiz()).index(key)

    def telltale(seen):
        return any(close(seen[at]["out"], given) for given in (answer, *also))

    return Pitfall(name, says, lambda: quiz() | {key: answer}, why, telltale)


QUIZ_BASELINES = Exercise(
    reference=quiz_baselines,
    parts={
        "a constant added": 1,
        "what is unbiased": 1,
        "episodes needed": 1,
        "perfect values": 1,
        "normalized": 1,
        "clean": 0,
    },
    driver="entry",
    gate=False,
    cases=[
        asked("a constant added", "constant"),
        asked("what is unbiased", "unbiased", letters=True),
        asked("episodes needed", "episodes"),
        asked("perfect values", "perfect"),
        asked("normalized", "normalized"),
    ],
    pitfalls=[
        misled(
            quiz_baselines,
            "the mean moves",
            "constant",
            "c",
            "“constant”: the scores average to 0, so a constant times the score averages to 0 too.",
            also=("a",),
        ),
        misled(
            quiz_baselines,
            "the variance stays",
            "constant",
            "d",
            "“constant”: look at the first picture again; the constant multiplies every score.",
        ),
        misled(
            quiz_baselines,
            "own return allowed",
            "unbiased",
            "abc",
            "“unbiased”: a mean that holds the sample's own return depends on the action it took.",
            also=("b", "ab", "bc"),
        ),
        misled(
            quiz_baselines,
            "next state allowed",
            "unbiased",
            "acd",
            "“unbiased”: the next state depends on the action, so its value is no baseline.",
            also=("abcd", "d", "ad", "bd", "cd", "abd", "bcd"),
        ),
        misled(
            quiz_baselines,
            "state values refused",
            "unbiased",
            "a",
            "“unbiased”: a value that knows only the state, and earlier episodes, is a baseline.",
        ),
        misled(
            quiz_baselines,
            "others refused",
            "unbiased",
            "c",
            "“unbiased”: the others' returns know nothing of one's own action, so their mean is a baseline.",
        ),
        misled(
            quiz_baselines,
            "standard deviation for variance",
            "episodes",
            2236,
            "“episodes”: the number of episodes goes with the variance; that is not multiplied by a root.",
            also=(2237,),
        ),
        misled(
            quiz_baselines,
            "variance squared",
            "episodes",
            200,
            "“episodes”: the ratio is of variances already; it is not squared once more.",
        ),
        misled(
            quiz_baselines,
            "divided by the ratio",
            "episodes",
            25000,
            "“episodes”: a ratio below 1 saves episodes: fewer than 5000 are needed, not more.",
        ),
        misled(
            quiz_baselines,
            "part saved",
            "episodes",
            4000,
            "“episodes”: 0.2 is the part that is left, not the part that is saved.",
        ),
        misled(
            quiz_baselines,
            "no variance left",
            "perfect",
            True,
            "“perfect”: the value removes what depends on the state; chance in actions and rewards stays.",
        ),
        misled(
            quiz_baselines,
            "scale for precision",
            "normalized",
            True,
            "“normalized”: dividing makes mean and noise smaller together: the same number of episodes is needed.",
        ),
    ],
    read="lesson 3, from “What a baseline buys” on",
)

EXERCISES = [
    *moved.EXERCISES,
    VALUE_REGRESSION_LOSS,
    POLICY_GRADIENT_LOSS,
    NORMALIZE_ADVANTAGE,
    QUIZ_BASELINES,
]
