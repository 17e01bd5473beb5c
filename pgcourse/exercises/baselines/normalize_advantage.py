"""Mean 0 and standard deviation 1 over what counts."""

import contextlib
from dataclasses import replace

import torch

from pgcourse.checks.core import Case, Exercise
from pgcourse.checks.edits import edit, edited_text, mistake, symptom
from pgcourse.checks.make_inputs import flags, frame, integers, masks, normal, steps_3_by_4
from pgcourse.estimators import normalize_advantage
from pgcourse.exercises.baselines.inputs import F64, tensor
from pgcourse.exercises.families import SCALINGS, standardized

LARGE = steps_3_by_4(1, -1, 2, -2, -3, 1, 0.5, -1, 2, -2, 1, 5)


def masked_advantages(g, B, T, padding=None, dtype=torch.float32):
    mask = masks(g, B, T)
    size = 300 if dtype == F64 else 3  # any small epsilon will do
    adv = size * normal(g, B, T, dtype=dtype) + 1
    adv = adv if padding is None else torch.where(mask, adv, torch.tensor(padding, dtype=dtype))
    return dict(adv=adv, mask=mask)


def two_answers():
    return dict(
        adv=tensor([1.0, 3.0, 9.0], [5.0, 9.0, 9.0]),
        mask=torch.tensor([[True, True, False], [True, False, False]]),
    )


GUARD = "same_shape(adv=adv, mask=mask)"
KEPT = "adv.flatten() if mask is None else adv[mask]"
SPREAD, EPS, CENTERED = "kept.std(correction=0)", "1e-8", "(adv - kept.mean())"
DIVISOR = f"({SPREAD} + {EPS})"
SCALED = f"{CENTERED} / {DIVISOR}"
RETURN = "return scaled if mask is None else torch.where(mask, scaled, 0.0)"
NO_SHORTCUT = edit("if not kept.diff().any(): return torch.zeros_like(adv)", "")
CONVENTIONS = [
    *(edit(DIVISOR, f"(kept.std(correction={c}) + {eps})") for c, eps in SCALINGS[:1] + SCALINGS[2:]),
    *(edit(DIVISOR, f"(kept.var(correction={c}) + {eps}).sqrt()") for c, eps in SCALINGS),
]  # fmt: skip


def scaled(new, use=()):
    return edit(SCALED, new, use=use)


def divisor(new):
    return edit(DIVISOR, new)


def statistics(new):
    """Mean and standard deviation of something else where there is a mask."""
    return edit("else adv[mask]", f"else {new}")


def along(adv, dim, correction):
    std = adv.std(dim, correction=correction, keepdim=True)
    return (adv - adv.mean(dim, keepdim=True)) / (std + 1e-8)


def each_row(adv, mask, correction):
    """Each row by its own unmasked elements."""
    kept = torch.ones_like(adv, dtype=torch.bool) if mask is None else mask
    rows = zip(adv.reshape(-1, adv.shape[-1]), kept.reshape(-1, adv.shape[-1]), strict=True)
    out = [torch.where(m, (r - r[m].mean()) / (r[m].std(correction=correction) + 1e-8), 0.0) for r, m in rows]  # fmt: skip
    return torch.stack(out).reshape(adv.shape)


def each_column(adv, mask, correction):
    """Each column by its own unmasked elements."""
    if adv.dim() < 2:
        return each_row(adv, mask, correction)
    return each_row(adv.T, None if mask is None else mask.T, correction).T.contiguous()


def by_product(adv, mask, correction):
    n = mask.sum()
    mean = (adv * mask).sum() / n
    var = (((adv - mean) * mask) ** 2).sum() / (n - correction)
    return (adv - mean) / (var.sqrt() + 1e-8) * mask


def of_each(dim):
    """Normalized along one axis: everywhere, or right where there is a mask."""
    alone = RETURN.replace("scaled if", f"along(adv, {dim}, 1) if")
    return [
        *(scaled(f"along(adv, {dim}, {c})", (along,)) for c in (1, 0)),
        *(edit(RETURN, alone.replace("1) if", f"{c}) if"), use=(along,)) for c in (1, 0)),
    ]


ROWS = [
    *(edit(RETURN, f"return each_row(adv, mask, {c})", use=(each_row,)) for c in (1, 0)),
    *(edit(RETURN, f"return scaled if mask is None else each_row(adv, mask, {c})", use=(each_row,)) for c in (1, 0)),
]  # fmt: skip
COLUMNS = [edit(RETURN, f"return each_column(adv, mask, {c})", use=(each_column,)) for c in (1, 0)]
N_MINUS_1 = edit("correction=0", "correction=1")
STRETCHED = "if mask is not None: adv = torch.broadcast_tensors(adv, mask)[0]"


def written_bare(m):
    """The same mistake in the formula as most people write it, which gives nan for a single advantage."""
    bare = []
    for version in m.versions:
        with contextlib.suppress(ValueError):
            text = edited_text(normalize_advantage, (*version, NO_SHORTCUT))
            bare.append((*version, NO_SHORTCUT, *[N_MINUS_1] * ("correction=0" in text)))
    return replace(m, versions=(*m.versions, *bare))


def moments_off(at, mean=False, std=False):
    """Whether the mean (or standard deviation) of a result without a mask is not 0 (not 1)."""
    out = at["a long batch"]["out"]
    if not torch.is_tensor(out) or out.shape != (50,):
        return False
    return (mean and out.mean().abs() > 1e-3) or (
        std and min(abs(out.std(correction=c) - 1) for c in (0, 1)) > 1e-3
    )


# fmt: off
EXERCISE = Exercise(
    reference=normalize_advantage,
    accept=(*CONVENTIONS, NO_SHORTCUT),
    parts={"no mask": 2, "mask": 2, "padding of any content": 1, "equal advantages": 1, "shapes": 1, "clean": 1},
    cases=[
        Case("four advantages", lambda g: dict(adv=tensor(1.0, 2.0, 3.0, 6.0)), "no mask"),
        Case("a long batch", lambda g: dict(adv=2 * normal(g, 50) + 3), "no mask"),
        Case("time and environments", lambda g: dict(adv=3 * normal(g, 6, 4) - 5), "no mask"),
        Case("float64, large numbers", lambda g: dict(adv=100 * normal(g, 20, dtype=F64) + 500), "no mask"),
        Case("small advantages", lambda g: dict(adv=0.02 * normal(g, 30)), "no mask"),
        Case("tiny advantages", lambda g: dict(adv=0.003 * normal(g, 30)), "no mask"),
        Case("one advantage far from two hundred others",
             lambda g: dict(adv=torch.cat([normal(g, 200), 300 + normal(g, 1)])), "no mask"),
        Case("two answers of different length", lambda g: two_answers(), "mask"),
        Case("ragged answers", lambda g: masked_advantages(g, 5, 8), "mask"),
        Case("ragged answers, float64", lambda g: masked_advantages(g, 4, 6, dtype=F64), "mask"),
        Case("nan in the padding", lambda g: masked_advantages(g, 4, 8, float("nan")), "padding of any content"),
        Case("inf in the padding", lambda g: masked_advantages(g, 3, 8, float("inf")), "padding of any content"),
        Case("one advantage that counts", lambda g: dict(adv=normal(g, 8), mask=torch.arange(8) == 5),
             "equal advantages"),
        Case("four equal advantages", lambda g: dict(adv=torch.full((4,), 2.0)), "equal advantages"),
        Case("one advantage alone", lambda g: dict(adv=tensor(2.5)), "equal advantages"),
        Case("eight equal advantages", lambda g: dict(adv=torch.full((8,), 0.25 + 0.25 * int(integers(g, 999)))),
             "equal advantages"),
        Case("advantages [3, 1] and mask [3, 4]", lambda g: dict(adv=normal(g, 3, 1), mask=flags(g, 3, 4, p=0.5)),
             "shapes", raises=True),
        Case("advantages in the thousands and a mask", lambda g: dict(adv=LARGE, mask=frame()), "mask"),
        Case("advantages in the thousands", lambda g: dict(adv=LARGE), "no mask"),
        Case("advantages near -1000", lambda g: dict(adv=tensor(-1001.0, -1001.0, -1003.0, -1006.0)), "no mask"),
        Case("falling advantages", lambda g: dict(adv=tensor(3e3, 2e3, 1e3, 0.0)), "no mask"),
    ],
    mistakes=[*map(written_bare, [
        mistake("nan for a single advantage",
                "The std over N - 1 elements of a single one is 0 / 0, nan: return 0 where there is only one.",
                NO_SHORTCUT, edit(SPREAD, "kept.std(correction=1)"),
                also=[(NO_SHORTCUT, divisor(f"(kept.std(correction=1) + {eps})")) for eps in (1e-5, 1e-6)]
                + [(NO_SHORTCUT, edit(RETURN, f"return scaled if mask is None else torch.where(mask, {CENTERED}, 0.0) / {DIVISOR}"),
                    edit(SPREAD, "kept.std(correction=1)", all=True), edit(EPS, eps, all=True)) for eps in ("1e-8", "1e-5")]),
        mistake("not scaled", "It centers without scaling: the standard deviation is not divided out.", scaled("adv - kept.mean()")),
        mistake("not centered", "It scales without centering: the mean is not subtracted.", edit(CENTERED, "adv")),
        mistake("variance", "It divides by the variance; its square root, the standard deviation, has the right unit.",
                edit("kept.std(", "kept.var(")),
        mistake("small spreads left small",
                "Where the standard deviation is small it divides by something else: those advantages stay small.",
                divisor(f"(s if (s := {SPREAD}) > 0.01 else 1.0)")),
        mistake("floor under the spread", "It takes a standard deviation below {least:.3g} for {least:.3g}: small advantages stay small.",
                divisor(f"{SPREAD}.clamp(min={{least=0.01}})")),
        mistake("large epsilon", "The {eps:.2g} that avoids 0 / 0 is too large: for small advantages it sets the scale.",
                edit(EPS, "{eps=0.1}"), also=(divisor("(kept.var(correction=0) + {eps=0.1}).sqrt()"),)),
        mistake("0 / 0", "It divides by the bare standard deviation: advantages that are all equal give nan.",
                NO_SHORTCUT, divisor(SPREAD), also=((NO_SHORTCUT, divisor("kept.std(correction=1)")),),
                why="All equal happens: returns before the first reward, answers that all score the same."),
        mistake("precedence", "It computes adv - mean / std: the brackets around adv - mean are missing.",
                edit(CENTERED, "adv - kept.mean()")),
        mistake("spread about zero", "It divides by the root mean square about 0, not about the mean.",
                edit(SPREAD, "(kept**2).mean().sqrt()")),
        mistake("mean added", "The mean is added; it has to be subtracted.", edit(CENTERED, "(adv + kept.mean())")),
        mistake("mean added back", "It adds the mean again after scaling: the result is not centered.",
                scaled(f"{SCALED} + kept.mean()")),
        mistake("vector norm", "It divides by the length of the vector, which grows with the batch: the steps shrink.",
                edit(SPREAD, "(kept - kept.mean()).norm()"), also=(edit(SPREAD, "kept.norm()"),)),
        mistake("from 0 to 1", "It maps the smallest advantage to 0 and the largest to 1: no action is worse than average.",
                scaled("(adv - kept.min()) / (kept.max() - kept.min() + 1e-8)")),
        mistake("over time only", "It normalizes along axis 0, each column by itself; the statistics are the whole batch's.",
                of_each(0)[0], also=(*of_each(0)[1:], *COLUMNS)),
        mistake("each row by itself",
                "It normalizes along the last axis, each row by itself; the statistics are the whole batch's.",
                of_each(-1)[0], also=(*of_each(-1)[1:], *ROWS)),
        mistake("mean absolute deviation",
                "It divides by the mean absolute deviation; the standard deviation is a root mean square.",
                edit(SPREAD, "(kept - kept.mean()).abs().mean()")),
        mistake("median subtracted", "It subtracts the median; the result should have mean 0.", edit("kept.mean()", "kept.median()")),
        mistake("clipped",
                "It cuts the result off at ±{limit:.3g}: mean 0 and standard deviation 1 are lost, and so is what stood out.",
                scaled(f"({SCALED}).clamp(-{{limit=3}}, {{limit=3}})")),
        mistake("sign", "It is mean minus advantage: better than average comes out negative.", edit(CENTERED, "(kept.mean() - adv)")),
        mistake("spread over all positions", "The squares are divided by the number of ALL positions.",
                edit(SPREAD, "(kept.var(correction=0) * kept.numel() / adv.numel()).sqrt()"),
                also=(edit(SPREAD, "((kept - kept.mean()).square().sum() / max(adv.numel() - 1, 1)).sqrt()"),)),
        mistake("mean over all positions", "The sum of what counts is divided by the number of ALL positions: that is not its mean.",
                edit(CENTERED, "(adv - kept.sum() / adv.numel())"),
                also=((edit(CENTERED, "(adv - kept.sum() / adv.numel())"),
                       edit(SPREAD, "((kept - kept.sum() / adv.numel()) ** 2).mean().sqrt()")),)),
        mistake("mask ignored", "The mask does nothing: padding counts, and comes back as if it were data.",
                edit(KEPT, "adv.flatten()"), edit(RETURN, "return scaled")),
        mistake("padding in the statistics", "Mean and standard deviation are taken over the padding too.",
                edit(KEPT, "adv.flatten()"), why="How much a batch is padded would then change how strongly it is learned from."),
        mistake("padding counted as zeros",
                "Padding is set to 0 and still counted: mean and spread are those of a batch full of zeros.",
                statistics("torch.where(mask, adv, 0.0).flatten()")),
        mistake("multiplied by the mask",
                "It multiplies padding by 0, but 0 times inf or nan is nan: select with x[mask] or torch.where.",
                edit(RETURN, "return scaled if mask is None else scaled * mask"),
                also=[edit(RETURN, f"return scaled if mask is None else by_product(adv, mask, {c})", use=(by_product,)) for c in (1, 0)]),
        mistake("padding not zeroed", "The padding in the result is not set to 0.",
                edit(RETURN, "return scaled"),
                also=((scaled(f"((adv if mask is None else torch.where(mask, adv, 0.0)) - kept.mean()) / {DIVISOR}"),
                       edit(RETURN, "return scaled")),)),
        mistake("mask inverted", "Mean and standard deviation are those of the padding: the mask is True on what counts.",
                statistics("adv[~mask]")),
        mistake("mask shifted", "The mask is off by one: a position just outside counts, and one inside does not.",
                statistics("adv[mask.roll(1, -1)]"), also=(statistics("adv[mask.roll(-1, -1)]"),)),
        mistake("padding dropped", "It returns only the unmasked elements; the shape should stay, with 0 in the padding.",
                edit(RETURN, "return scaled if mask is None else scaled[mask]")),
    ]),
        mistake("silent broadcast", "Advantages [B, 1] are stretched to the mask's [B, T] without a word.",
                edit(GUARD, STRETCHED)),
        symptom("right without a mask only",
                "Without a mask all is right, with one not: mean and spread are those of x[mask], and padding becomes 0.",
                edit(SPREAD, f"({SPREAD} if mask is None else kept.max() - kept.min())"),
                lambda at: "mask" in at.wrong_parts and "no mask" not in at.wrong_parts),
        symptom("mean is not 0", "The result has another mean than 0: something else than the batch's mean is subtracted.",
                edit("kept.mean()", "kept.mean() / 2"), lambda at: moments_off(at, mean=True)),
        symptom("standard deviation is not 1",
                "The mean is 0, the standard deviation is not 1: it divides by another measure of spread.",
                edit(SPREAD, "(kept - kept.mean()).abs().max()"), lambda at: moments_off(at, std=True)),
        symptom("another kind of normalization",
                "Of fifty advantages mean 0 and standard deviation 1 come out; but not by one shift and one scale of all "
                "of them, or not for every size of them.",
                scaled(f"standardized(({SCALED}) ** 3)", (standardized,)), lambda at: "no mask" in at.wrong_parts),
    ],
    read="lesson 3, “Normalized advantages”",
)
