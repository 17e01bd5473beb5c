"""Mistakes that many exercises share: ways to average, to mask, to hide a nan."""

import re

import torch

from pgcourse.checks.core import Case
from pgcourse.checks.edits import edit, mistake, symptom, telltale
from pgcourse.checks.symptoms import differ
from pgcourse.tensors import masked_mean

# --- ways to average: fn(x, mask) ---


def mean_of_everything(x, mask):
    return x.mean()


def mean_over_all_positions(x, mask):
    return x.mean() if mask is None else x[mask].sum() / x.numel()


def mean_over_rows(x, mask):
    return x.sum() / len(x) if mask is None else x[mask].sum() / len(mask)


def mean_over_rows_of_a_mask(x, mask):
    return x.mean() if mask is None else mean_over_rows(x, mask)


def mean_to_the_right(x, mask):
    return x.mean() if mask is None else x[mask.roll(1, dims=-1)].mean()


def mean_to_the_left(x, mask):
    return x.mean() if mask is None else x[mask.roll(-1, dims=-1)].mean()


def mean_one_row_down(x, mask):
    return x.mean() if mask is None else x[mask.roll(1, dims=0)].mean()


def mean_one_row_up(x, mask):
    return x.mean() if mask is None else x[mask.roll(-1, dims=0)].mean()


def mean_one_column_short(x, mask):
    return x.mean() if mask is None else x[..., :-1][mask[..., 1:]].mean()


def mean_one_column_late(x, mask):
    return x.mean() if mask is None else x[..., 1:][mask[..., :-1]].mean()


def mean_of_row_means(x, mask):
    if mask is None:
        return x.mean()
    return torch.stack([row[m].mean() for row, m in zip(x, mask, strict=True) if m.any()]).mean()


def mean_of_column_means(x, mask):
    return x.mean() if mask is None else mean_of_row_means(x.T, mask.T)


def mean_with_empty_columns(x, mask):
    if mask is None:
        return x.mean()
    return (torch.where(mask, x, 0.0).sum(0) / mask.sum(0).clamp(min=1)).mean()


def mean_by_product(x, mask):
    return x.mean() if mask is None else (x * mask).sum() / mask.sum()


def mean_of_products(x, mask):
    return x.mean() if mask is None else (x * mask).mean()


def mean_of_the_rest(x, mask):
    return x.mean() if mask is None else x[~mask].mean()


def total(x, mask):
    return x.sum() if mask is None else x[mask].sum()


def sum_of_rows(x, mask):
    x = x if mask is None else x[mask]
    return x.mean() if x.dim() < 2 else x.sum(0).mean()


def sum_of_columns(x, mask):
    x = x if mask is None else x[mask]
    return x.mean() if x.dim() < 2 else x.sum(1).mean()


def median(x, mask):
    return x.median() if mask is None else x[mask].median()


def with_some_padding(x, mask):
    return x.mean() if mask is None else (x * torch.where(mask, 1.0, 0.5)).sum() / mask.sum()


def averaging(*unselect, of, cleared=()):
    """fn -> edits that average by fn(x, mask); `of` are the texts of what is averaged.

    unselect : edits that undo the selection by the mask: what fn averages may be nan in the padding
    cleared  : edits that put 0 there in place of the selection, for by(fn, clean=True)
    """

    def by(fn, clean=False):
        means = (edit(f"{x}.mean()", f"{fn.__name__}({x}, mask)", use=(fn,)) for x in of)
        return (*(cleared if clean else unselect), *means)

    return by


def cleared(selection):
    """An edit: the padding of what x[mask] selects becomes 0, and everything keeps its shape."""
    return edit(selection, re.sub(r"(\w+)\[mask\]", r"torch.where(mask, \1, 0.0)", selection))


def both_ways(by, *fns, infinite):
    """Each fn on what is nan in the padding, and on what is cleared first: the same mistake."""
    return [by(fn, *clean) for clean in ([], [True])[: 1 + infinite] for fn in fns]


def sum_mistakes(by):
    return [
        mistake("sum for mean", "It sums over the steps; it should average.", *by(total)),
        mistake(
            "sum over one axis",
            "It sums over one axis and averages over the other only: right for [B], wrong for [B, T].",
            *by(sum_of_rows),
            also=(by(sum_of_columns),),
        ),
    ]


def mask_mistakes(by, infinite=True):
    """infinite: whether what is averaged may be nan or inf in the padding."""
    shifts = (
        mean_to_the_right, mean_one_row_up, mean_one_row_down, mean_one_column_short,
        mean_one_column_late,
    )  # fmt: skip
    positions = both_ways(by, mean_over_all_positions, infinite=infinite)
    per_row = both_ways(by, mean_over_rows, mean_over_rows_of_a_mask, infinite=infinite)
    rows = both_ways(
        by, mean_of_row_means, mean_of_column_means, mean_with_empty_columns, infinite=infinite
    )
    return [
        mistake(
            "mask ignored",
            "Prompt and padding count too: the mean is over every position, whatever the mask says.",
            *by(mean_of_everything),
        ),
        mistake(
            "divided by all positions",
            "It leaves the padding out of the sum but divides by the number of all positions.",
            *positions[0],
            why="The more padding a batch holds, the smaller the result.",
            also=positions[1:],
        ),
        mistake(
            "divided by the rows",
            "It divides by the number of rows; the mean divides by the number of steps that count.",
            *per_row[0],
            also=per_row[1:],
        ),
        mistake(
            "mask shifted by one",
            "The mask is shifted by one step: a step that does not count is in, one that counts is out.",
            *by(mean_to_the_left),
            why="With tokens, the last one of the prompt is trained, and the last one of the answer is not.",
            also=tuple(map(by, shifts)),
        ),
        mistake(
            "mean of row means",
            "It averages each row (or column) first, then those means: a step in a short one weighs more.",
            *rows[0],
            also=rows[1:],
        ),
        mistake(
            "mask upside down",
            "It keeps what the mask marks as False, the padding, and drops what counts.",
            *by(mean_of_the_rest),
        ),
        *([multiplied_by_zero(by)] if infinite else []),
    ]


def multiplied_by_zero(by):
    return mistake(
        "padding multiplied by zero",
        "It multiplies by the mask: where padding holds nan or inf, 0 times that is nan. Select with x[mask].",
        *by(mean_by_product),
        also=(by(mean_of_products),),
    )


def mean_symptoms(by):
    """For the cases of `symptoms.halves` and `symptoms.paddings`."""
    return [
        symptom(
            "not a mean of single terms",
            "Two batches together do not give the mean of both: "
            "something is computed from the whole batch, which belongs to each step (or state) alone.",
            by(median),
            lambda at: differ(
                (at.number("two steps") + at.number("two other steps")) / 2,
                at.number("these four steps"),
            ),
        ),
        symptom(
            "padding counts",
            "What stands in the padding changes the result: select with x[mask] first.",
            by(with_some_padding),
            lambda at: differ(
                at.number("one step does not count"), at.number("something else in its place")
            ),
        ),
    ]


def nan_hidden(case, *edits):
    """In this case a nan is among the numbers that count."""

    def hides(at):
        out = at[case]["out"]
        return torch.is_tensor(out) and out.is_floating_point() and bool(out.isfinite().all())

    return telltale(
        "nan made a number",
        "A nan among the steps that count comes out as a number: it hides that training has broken.",
        edits,
        hides,
    )


def window_symptoms(by, inside, uneven, outside):
    """inside: what it is while the clip does not act; uneven, outside: edits that show the symptoms."""
    return [
        symptom(
            "right without a mask only",
            "All is right without a mask and not with one: other steps count, or it is divided by another number.",
            by(divided_by_some_padding),
            lambda at: at.wrong_parts == {"masks"},
        ),
        symptom(
            "right inside the window only",
            "While the clip does not act all is right; where it acts, the result or its gradient is not.",
            outside,
            lambda at: (
                "where the clip binds" in at.wrong_parts
                and "inside the window" not in at.wrong_parts
            ),
        ),
        symptom(
            "wrong inside the window already",
            f"Even while the clip does not act, it is not {inside}, or its gradient is another.",
            uneven,
            lambda at: "inside the window" in at.wrong_parts,
        ),
    ]


def divided_by_some_padding(x, mask):
    return x.mean() if mask is None else x[mask].sum() / (1.0 + mask).sum() * 2


def averaged_after_masking(by):
    """Edits that look at every position and average with the mask at the end: right in itself."""
    return by(masked_mean)


# --- questions ---


def answered(quiz, name, key, answer, says, why="", also=()):
    """One wrong answer of a quiz, whatever the others are; `also` are other forms of it."""
    place, answers = [*quiz()].index(key), (answer, *also)

    def given(at):
        return at[at.cases[place].name]["out"] in answers

    return telltale(name, says, lambda: quiz() | {key: answer}, given, why=why)


def questions(quiz, parts):
    """A case for each question; the parts share them evenly, in their order."""
    names = list(quiz())
    shares = [part for part in parts for _ in range(len(names) // len(parts))]
    return [
        Case(f"the question “{name}”", lambda g, name=name: {"key": name}, part)
        for name, part in zip(names, shares, strict=True)
    ]


# --- advantages and weights that are scaled: the right mean and spread, or another convention of it ---

SCALINGS = [(correction, eps) for eps in (1e-8, 1e-5, 1e-6) for correction in (1, 0)]


def standardized(x, correction=1, eps=1e-8, axis=None):
    """Mean 0 and standard deviation 1, by one of SCALINGS, of all numbers or along an axis; nan for one where N - 1 divides."""
    axes = tuple(range(x.dim())) if axis is None else (axis,)
    centered = x - x.mean(axes, keepdim=True)
    count = x.numel() if axis is None else x.shape[axis]
    total = centered.square().sum(axes, keepdim=True)
    return centered / ((total / torch.tensor(count - correction)).sqrt() + eps)


# --- symptoms of a function of steps ---


def one_environment_only(because, wrong, *flat, table="time and environments"):
    """flat: names of the cases that are [T]; table: of the one that is [T, B]."""
    return symptom(
        "right for one environment only",
        f"All is right for [T] and not for [T, B]: {because}",
        wrong,
        lambda at: at.right_in(*flat) and not at.right_in(table),
    )


def another_gradient(wrong):
    return symptom(
        "another gradient",
        "The values are right and their gradient is not: another function of the same value.",
        wrong,
        lambda at: at.values_right,
    )


def leak(constant, wrong):
    """A gradient flows into a constant, whatever else is off."""

    def leaks(at):
        grads = [seen["grads"].get(constant) for seen in at.seen.values()]
        return any(grad is not None and grad.any() for grad in grads)

    return symptom(
        f"gradient into `{constant}` too",
        f"A gradient flows into `{constant}`, which is a constant here; and the result, or another gradient, is off as well.",
        wrong,
        leaks,
    )


def few_digits(wrong):
    """Every number is right to half a percent, and no better."""

    def rough(at):
        regular = [case.name for case in at.cases if not case.raises]
        pairs = [(at[name]["out"], at.right(name)["out"]) for name in regular]
        return all(
            ((out - right).abs() <= 0.005 * right.abs() + 1e-3).all() for out, right in pairs
        )

    return symptom(
        "right to a few digits only",
        "It is right to two or three digits and no more: rounded, or in half precision?",
        wrong,
        rough,
    )
