"""Exercises of lesson 5: the ratio, the clip, the update, and two rounds of questions."""

import math

import torch
from torch import nn

from pgcourse.checks.compare import close
from pgcourse.checks.core import Case, Exercise, Pitfall
from pgcourse.checks.drivers import uses_random_numbers
from pgcourse.checks.make_inputs import integers, masks, normal
from pgcourse.checks.symptoms import differ, halves, number, paddings, part_symptom, symptom
from pgcourse.distributions import entropy
from pgcourse.estimators import normalize_advantage
from pgcourse.losses import (
    approx_kl,
    clipped_value_loss,
    policy_gradient_loss,
    ppo_clip_loss,
    probability_ratio,
)
from pgcourse.ppo import diagnose, minibatch_columns, ppo_update, summarize
from pgcourse.tensors import masked_mean, same_shape

F64 = torch.float64

# --- inputs and mistakes that several exercises share ---


def log_probs(g, *shape, dtype=torch.float32):
    """Log-probabilities before and after an update that changed them by about 30 %."""
    logp = -0.1 - normal(g, *shape, dtype=dtype).abs()
    return dict(logp=logp, logp_old=logp - normal(g, *shape, dtype=dtype, scale=0.3))


def far_apart(g, n, far=14):
    """Actions that became some million times more and less probable, in turn."""
    far = far + torch.rand(n, generator=g)
    near = 0.1 + torch.rand(n, generator=g)
    up = torch.arange(n) % 2 == 0
    return dict(logp=-torch.where(up, near, far), logp_old=-torch.where(up, far, near))


def binding(g, *shape, clip, dtype=torch.float32):
    """Both sides of the clip for both signs of the advantage, inside and outside, in random order."""
    n = torch.Size(shape).numel()
    order = torch.randperm(n, generator=g)
    room = clip * torch.tensor([2.0, -2.0, 0.5, -0.5], dtype=dtype).repeat(n)[:n][order]
    sign = torch.tensor([1.0, -1.0], dtype=dtype).repeat_interleave(4).repeat(n)[:n][order]
    rho = 1 + room * (0.8 + 0.2 * torch.rand(n, generator=g).to(dtype))
    adv = sign * (0.2 + normal(g, n, dtype=dtype).abs())
    logp = -0.1 - normal(g, n, dtype=dtype).abs()
    step = dict(logp=logp, logp_old=logp - rho.log(), adv=adv)
    return {name: x.reshape(shape) for name, x in step.items()} | dict(clip=clip)


def rare(args, shift=150):
    """The same step for rarer actions: by default their probability is 0 in 32 bits."""
    return args | {name: args[name] - shift for name in ("logp", "logp_old")}


def padded(args, mask, *names, junk=float("nan")):
    """The same arguments with something else where the mask is False."""
    return args | {name: torch.where(mask, args[name], junk) for name in names} | dict(mask=mask)


def loss_of(steps, mean=masked_mean, guard=True):
    """A loss from its formula for each step and the way the steps are averaged."""
    n = steps.__code__.co_argcount

    def loss(*args):
        given, mask = args[:n], args[n] if len(args) > n else None
        if guard:
            same_shape(**{f"x{i}": x for i, x in enumerate(given) if torch.is_tensor(x)}, mask=mask)
        return mean(steps(*given), mask)

    return loss


def mean_of_everything(x, mask):
    return x.mean()


def mean_over_all_positions(x, mask):
    return x.mean() if mask is None else x[mask].sum() / x.numel()


def mean_shifted(steps, axis):
    def mean(x, mask):
        return x.mean() if mask is None else x[mask.roll(steps, dims=axis)].mean()

    return mean


def mean_one_column_short(x, mask):
    return x.mean() if mask is None else x[..., :-1][mask[..., 1:]].mean()


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


def half_summed(axis):
    """Right on one axis: after a selection by the mask, or in a batch without time."""

    def mean(x, mask):
        x = x if mask is None else x[mask]
        return x.mean() if x.dim() < 2 else x.sum(axis).mean()

    return mean


def sum_pitfalls(steps, loss_of=loss_of):
    return [
        Pitfall(
            "sum for mean", "It sums over the steps; it should average.", loss_of(steps, total)
        ),
        Pitfall(
            "sum over one axis",
            "It sums over one axis and averages over the other only: right for [B], wrong for [B, T].",
            loss_of(steps, half_summed(0)),
            also=(loss_of(steps, half_summed(1)),),
        ),
    ]


def mask_pitfalls(steps, loss_of=loss_of):
    """The ways to get a masked mean wrong, for one formula."""
    return [
        Pitfall(
            "mask ignored",
            "Prompt and padding count too: the mean is over every position, whatever the mask says.",
            loss_of(steps, mean_of_everything),
        ),
        Pitfall(
            "divided by all positions",
            "It leaves the padding out of the sum but divides by the number of all positions.",
            loss_of(steps, mean_over_all_positions),
            "The more padding a batch holds, the smaller its loss.",
        ),
        Pitfall(
            "mask shifted by one",
            "The mask is shifted by one step: a step that does not count is in, one that counts is out.",
            loss_of(steps, mean_shifted(-1, -1)),
            "With tokens, the last one of the prompt is trained, and the last one of the answer is not.",
            also=(
                loss_of(steps, mean_shifted(1, -1)),
                loss_of(steps, mean_shifted(-1, 0)),
                loss_of(steps, mean_shifted(1, 0)),
                loss_of(steps, mean_one_column_short),
            ),
        ),
        Pitfall(
            "mean of row means",
            "It averages each row (or column) first, then those means: a step in a short one weighs more.",
            loss_of(steps, mean_of_row_means),
            also=(
                loss_of(steps, mean_of_column_means),
                loss_of(steps, mean_with_empty_columns),
            ),
        ),
        Pitfall(
            "mask upside down",
            "It keeps what the mask marks as False, the padding, and drops what counts.",
            loss_of(steps, mean_of_the_rest),
        ),
        Pitfall(
            "padding multiplied by zero",
            "It multiplies by the mask: where padding holds nan or inf, 0 times that is nan. Select with x[mask].",
            loss_of(steps, mean_by_product),
            also=(loss_of(steps, mean_of_products),),
        ),
    ]


def selecting(steps):
    """A loss that selects by the mask first: for formulas that look at the whole batch."""
    n = steps.__code__.co_argcount

    def loss(*args):
        given, mask = args[:n], args[n] if len(args) > n else None
        same_shape(**{f"x{i}": x for i, x in enumerate(given) if torch.is_tensor(x)}, mask=mask)
        if mask is not None:
            given = [x[mask] if torch.is_tensor(x) else x for x in given]
        return steps(*given).mean()

    return loss


# --- what is true of many mistakes: looked at when none is recognized ---


def median(x, mask):
    return x.median() if mask is None else x[mask].median()


def mean_with_some_padding(x, mask):
    return x.mean() if mask is None else (x * torch.where(mask, 1.0, 0.5)).sum() / mask.sum()


def mean_symptoms(exercise, steps, loss_of=loss_of):
    return [
        symptom(
            exercise,
            "not a mean of single terms",
            "Two batches together do not give the mean of both: "
            "something is computed from the whole batch, which belongs to each step (or state) alone.",
            loss_of(steps, median),
            lambda at: differ(
                (number(at["two steps"]) + number(at["two other steps"])) / 2,
                number(at["these four steps"]),
            ),
        ),
        symptom(
            exercise,
            "padding counts",
            "What stands in the padding changes the result: select with x[mask] first.",
            loss_of(steps, mean_with_some_padding),
            lambda at: differ(
                number(at["one step does not count"]), number(at["something else in its place"])
            ),
        ),
    ]


def window_symptoms(exercise, steps, inside, moved):
    """steps: the right terms; inside: what they are while the clip does not act, in words;
    moved(new, old): what the clip limits."""

    def uneven(new, old, third, clip):
        return torch.where(third > 0, 1.1, 1.0) * steps(new, old, third, clip)

    def uneven_outside(new, old, third, clip):
        acts = moved(new, old).abs() > clip
        return torch.where(acts, uneven(new, old, third, clip), steps(new, old, third, clip))

    return [
        part_symptom(
            exercise,
            "right without a mask only",
            "All is right without a mask and not with one: other steps count, or it is divided by another number.",
            loss_of(steps, lambda x, mask: x.mean() if mask is None else x[mask].sum() / len(mask)),
            lambda wrong: wrong == {"masks"},
        ),
        part_symptom(
            exercise,
            "right inside the window only",
            "While the clip does not act all is right; where it acts, the result or its gradient is not.",
            loss_of(uneven_outside),
            lambda wrong: "where the clip binds" in wrong and "inside the window" not in wrong,
        ),
        part_symptom(
            exercise,
            "wrong inside the window already",
            f"Even while the clip does not act, it is not {inside}, or its gradient is another.",
            loss_of(uneven),
            lambda wrong: "inside the window" in wrong,
        ),
    ]


def broken(table, *names):
    """A nan among the steps that count."""
    args = table()
    return args | {
        name: torch.cat([x[:1], x[1:2] * math.nan, x[2:]])
        for name, x in args.items()
        if name in names
    }


BROKEN = "a policy that has become nan"


def nan_pitfall(exercise, wrong):
    def hides(seen):
        i = [case.name for case in exercise().cases].index(BROKEN)
        out = seen[i]["out"]
        return torch.is_tensor(out) and out.is_floating_point() and bool(out.isfinite().all())

    return Pitfall(
        "nan made a number",
        "A nan among the steps that count comes out as a number: it hides that training has broken.",
        wrong,
        telltale=hides,
    )


def four_steps():
    """Log-probabilities of four actions that became more probable and rarer."""
    return dict(
        logp=torch.log(torch.tensor([0.5, 0.2, 0.3, 0.3])),
        logp_old=torch.log(torch.tensor([0.25, 0.4, 0.35, 0.15])),
    )


# --- probability_ratio ---


def ratio_inverted(logp, logp_old):
    return torch.exp(logp_old.detach() - logp)


def ratio_without_exp(logp, logp_old):
    return logp - logp_old.detach()


def ratio_of_logs(logp, logp_old):
    return logp / logp_old.detach()


def ratio_of_the_batch(logp, logp_old):
    return torch.exp((logp - logp_old.detach()).mean()).expand(logp.shape)


def ratio_of_the_episode(logp, logp_old):
    return torch.exp((logp - logp_old.detach()).cumsum(0))


def ratio_always_one(logp, logp_old):
    return torch.exp(logp - logp.detach())


def ratio_old_alive(logp, logp_old):
    return torch.exp(logp - logp_old)


def ratio_underflows(logp, logp_old):
    return torch.exp(logp) / torch.exp(logp_old.detach())


def ratio_guarded(small):
    def ratio(logp, logp_old):
        return torch.exp(logp) / (torch.exp(logp_old.detach()) + small)

    return ratio


SMALL = (1e-10, 1e-12, 1e-6, 1e-5)


def ratio_added(logp, logp_old):
    return torch.exp(logp + logp_old.detach())


def ratio_at_most(most):
    def ratio(logp, logp_old):
        return torch.exp(logp - logp_old.detach()).clamp(max=most)

    return ratio


def ratio_squashed(logp, logp_old):
    return torch.exp(12 * torch.tanh((logp - logp_old.detach()) / 12))


def ratio_without_nan(logp, logp_old):
    return torch.exp(logp - logp_old.detach()).nan_to_num()


def ratio_difference(logp, logp_old):
    return torch.exp(logp) - torch.exp(logp_old.detach())


def ratio_clamped(logp, logp_old):
    return torch.exp(logp - logp_old.detach()).clamp(0.8, 1.2)


def ratio_first_order(logp, logp_old):
    return 1 + logp - logp_old.detach()


def ratio_in_base(base):
    def ratio(logp, logp_old):
        return torch.pow(base, logp - logp_old.detach())

    return ratio


def ratio_minus_one(logp, logp_old):
    return torch.expm1(logp - logp_old.detach())


def ratio_without_old(logp, logp_old):
    return torch.exp(logp)


def ratio_of_softmaxes(logp, logp_old):
    return torch.softmax(logp, -1) / torch.softmax(logp_old.detach(), -1)


def ratio_as_sigmoid(logp, logp_old):
    return torch.sigmoid(logp - logp_old.detach())


def ratio_limited(limit):
    def ratio(logp, logp_old):
        return torch.exp((logp - logp_old.detach()).clamp(-limit, limit))

    return ratio


def ratio_of_the_sequence(mean=False, axis=-1, alone=True):
    """One ratio for all steps of a row (or column); `alone`: also where there is no other axis."""

    def ratio(logp, logp_old):
        d = logp - logp_old.detach()
        if d.dim() > 1 or alone:
            d = (d.mean if mean else d.sum)(axis, keepdim=True).expand_as(d)
        return torch.exp(d)

    return ratio


OTHER_SEQUENCES = (  # its arguments: mean, axis, alone
    (False, -1, False),
    (False, 0, True),
    (False, 0, False),
    (True, -1, False),
    (True, 0, False),
)


def ratio_of_the_old(logp, logp_old):
    return torch.exp(logp_old - logp_old.detach())


def ratio_exp_of_quotient(logp, logp_old):
    return torch.exp(logp / logp_old.detach())


def ratio_of_the_past_in_a_row(logp, logp_old):
    return torch.exp((logp - logp_old.detach()).cumsum(-1))


def ratio_detached(logp, logp_old):
    return torch.exp(logp - logp_old).detach()


def ratio_unguarded(logp, logp_old):
    return torch.exp(logp - logp_old.detach())


def held_back(seen):
    """Every other action is at least e^12.9 times as probable: 400,000."""
    out = seen["out"]
    return torch.is_tensor(out) and out.shape == (4,) and bool((out[::2] < 3e5).all())


def rarer_but_not_below_one(seen):
    out = seen["out"]
    return torch.is_tensor(out) and out.shape == (2,) and bool(out[1] >= 1)


def right_to_two_digits(seen, expected):
    """On the ratios of ordinary steps."""
    pairs = [
        (s["out"], e["out"])
        for s, e, case in zip(seen, expected, PROBABILITY_RATIO.cases, strict=True)
        if case.name in ("three actions", "time and environments", "float64")
    ]
    near = all(
        torch.is_tensor(out)
        and out.shape == right.shape
        and torch.allclose(out.to(right), right, 0.02)
        for out, right in pairs
    )
    return near and not all(close(out, right) for out, right in pairs)


def guarded(ratio):
    """The guard line stays in a learner's cell, whatever is written below it."""

    def wrong(logp, logp_old):
        same_shape(logp=logp, logp_old=logp_old)
        return ratio(logp, logp_old)

    return wrong


PROBABILITY_RATIO = Exercise(
    reference=probability_ratio,
    parts={"values": 1, "constants": 1, "rare actions": 1, "shapes": 1, "clean": 1},
    cases=[
        Case(
            "three actions",
            lambda g: dict(
                logp=torch.log(torch.tensor([0.5, 0.2, 0.3])),
                logp_old=torch.log(torch.tensor([0.25, 0.4, 0.3])),
            ),
            "values",
            ("logp",),
        ),
        Case("time and environments", lambda g: log_probs(g, 5, 4), "values", ("logp",)),
        Case("float64", lambda g: log_probs(g, 6, dtype=F64), "values", ("logp",)),
        Case(
            "a big step",
            lambda g: dict(logp=torch.tensor([-0.1, -4.0]), logp_old=torch.tensor([-3.0, -0.2])),
            "values",
            ("logp",),
        ),
        Case(
            "a very big step",
            lambda g: far_apart(g, 4),
            "values",
            ("logp",),
        ),
        Case("old log-probs with a graph", lambda g: log_probs(g, 4), "constants", ("logp_old",)),
        Case(
            "very rare actions",
            lambda g: dict(
                logp=torch.tensor([-200.0, -24.0]), logp_old=torch.tensor([-200.5, -23.0])
            ),
            "rare actions",
            ("logp",),
        ),
        Case(
            "four very rare actions",
            lambda g: {k: logp - 200 for k, logp in log_probs(g, 4).items()},
            "rare actions",
            ("logp",),
        ),
        Case("an enormous step", lambda g: far_apart(g, 4, far=40), "rare actions", ("logp",)),
        Case(BROKEN, lambda g: broken(four_steps, "logp"), "rare actions"),
        Case(
            "logp [3] and logp_old [3, 1]",
            lambda g: dict(logp=-normal(g, 3).abs(), logp_old=-normal(g, 3, 1).abs()),
            "shapes",
            raises=True,
        ),
    ],
    pitfalls=[
        Pitfall(
            "upside down",
            "It is old over new, exp(logp_old - logp): the ratio says the opposite of what changed.",
            guarded(ratio_inverted),
            "With this ratio the loss makes good actions rarer.",
        ),
        Pitfall(
            "exp missing",
            "It is the difference of the log-probabilities: that is log rho; take its exp.",
            guarded(ratio_without_exp),
        ),
        Pitfall(
            "quotient of log-probabilities",
            "It divides the log-probabilities; a quotient of probabilities is a DIFFERENCE of logs.",
            guarded(ratio_of_logs),
            also=(guarded(ratio_exp_of_quotient),),
        ),
        Pitfall(
            "one ratio for the batch",
            "It takes the mean first: all actions share one ratio.",
            guarded(ratio_of_the_batch),
        ),
        Pitfall(
            "ratio of the whole past",
            "It multiplies the ratios of all steps so far; PPO's ratio is that of one action.",
            guarded(ratio_of_the_episode),
            also=(guarded(ratio_of_the_past_in_a_row),),
        ),
        Pitfall(
            "ratio of the whole sequence",
            "All steps of a row share one ratio, that of the sequence; PPO's ratio is that of one action.",
            guarded(ratio_of_the_sequence()),
            also=tuple(guarded(ratio_of_the_sequence(*other)) for other in OTHER_SEQUENCES),
        ),
        Pitfall(
            "always one",
            "It compares a policy with itself: the ratio is 1 whatever changed.",
            guarded(ratio_always_one),
            "A ratio that is always 1 is never clipped.",
            also=(guarded(ratio_of_the_old),),
        ),
        Pitfall(
            "old policy not constant",
            "A gradient flows into logp_old: the old policy is a constant, detach it.",
            guarded(ratio_old_alive),
        ),
        Pitfall(
            "underflow",
            "It divides exp(logp) by exp(logp_old): for a rare action that is 0 / 0. Subtract the logs first.",
            guarded(ratio_underflows),
            "In language models log-probabilities of -20 and less are common.",
        ),
        Pitfall(
            "small number in the denominator",
            "The small number added to the denominator spoils the ratio of rare actions. Subtract the logs first.",
            guarded(ratio_guarded(1e-8)),
            also=tuple(guarded(ratio_guarded(small)) for small in SMALL),
        ),
        Pitfall(
            "difference of probabilities",
            "It subtracts the probabilities; the ratio is their quotient.",
            guarded(ratio_difference),
        ),
        Pitfall(
            "clipped already",
            "It clamps the ratio; the clip belongs to the loss, which needs the unclipped ratio too.",
            guarded(ratio_clamped),
        ),
        Pitfall(
            "first order only",
            "It is 1 + log rho, close to the ratio only while little has changed.",
            guarded(ratio_first_order),
        ),
        Pitfall(
            "another base than e",
            "It is a power of 2 or 10; log-probabilities are natural logarithms, so take exp.",
            guarded(ratio_in_base(2.0)),
            also=(guarded(ratio_in_base(10.0)),),
        ),
        Pitfall(
            "one subtracted",
            "It is rho - 1 (expm1): an unchanged policy has ratio 1, not 0.",
            guarded(ratio_minus_one),
        ),
        Pitfall(
            "old policy left out",
            "It is the probability under the new policy; it is not divided by the old one.",
            guarded(ratio_without_old),
        ),
        Pitfall(
            "softmax over the batch",
            "It puts the log-probabilities through a softmax: they belong to different states "
            "and are normalized already.",
            guarded(ratio_of_softmaxes),
        ),
        Pitfall(
            "sigmoid",
            "It is the sigmoid of the log ratio, between 0 and 1; an unchanged policy has ratio 1.",
            guarded(ratio_as_sigmoid),
        ),
        Pitfall(
            "log ratio limited",
            "The log ratio is clamped before its exp: a big change looks smaller than it is, and has no gradient.",
            guarded(ratio_limited(10.0)),
            also=tuple(guarded(ratio_limited(limit)) for limit in (1.0, 2.0, 3.0, 5.0, 20.0, 30.0)),
        ),
        Pitfall(
            "detached",
            "No gradient reaches logp: the policy would learn nothing from this ratio.",
            guarded(ratio_detached),
        ),
        Pitfall(
            "log-probabilities added",
            "It adds the log-probabilities: that is a product of probabilities; the ratio is a quotient.",
            guarded(ratio_added),
        ),
        Pitfall(
            "ratio limited above",
            "The ratio is cut off above: an action that became more probable than that has no gradient.",
            guarded(ratio_at_most(1.0)),
            also=tuple(guarded(ratio_at_most(most)) for most in (1.2, 2.0, 5.0, 10.0, 100.0)),
        ),
        nan_pitfall(lambda: PROBABILITY_RATIO, guarded(ratio_without_nan)),
        symptom(
            lambda: PROBABILITY_RATIO,
            "rarer, but not below one",
            "An action that became rarer has a ratio below 1; this is not.",
            guarded(lambda logp, logp_old: torch.exp((logp - logp_old.detach()).abs())),
            lambda at: rarer_but_not_below_one(at["a big step"]),
        ),
        symptom(
            lambda: PROBABILITY_RATIO,
            "big changes held back",
            "An action that became some 400,000 times more probable has a smaller ratio than that: "
            "something holds it back.",
            guarded(ratio_squashed),
            lambda at: held_back(at["a very big step"]),
        ),
        Pitfall(
            "a power of the ratio",
            "It is the square (or the root) of the ratio: the log ratio is multiplied by a number.",
            guarded(lambda logp, logp_old: torch.exp(2 * (logp - logp_old.detach()))),
            also=(guarded(lambda logp, logp_old: torch.exp((logp - logp_old.detach()) / 2)),),
        ),
        Pitfall(
            "another gradient",
            "The ratios are right and their gradient into logp is not: it has to be the ratio itself.",
            guarded(
                lambda logp, logp_old: torch.exp(logp - logp_old).detach() + logp - logp.detach()
            ),
            telltale=lambda seen, expected: all(
                case.raises or close(s["out"], e["out"])
                for s, e, case in zip(seen, expected, PROBABILITY_RATIO.cases, strict=True)
            ),
            symptom=True,
        ),
        Pitfall(
            "right to a few digits only",
            "The ratios are right to about two digits and no more: rounded, or in half precision?",
            guarded(lambda logp, logp_old: torch.exp((logp - logp_old.detach()).half()).float()),
            telltale=right_to_two_digits,
            symptom=True,
        ),
        Pitfall(
            "broadcast",
            "[3] against [3, 1] gives a 3 x 3 table: every action compared with every other.",
            ratio_unguarded,
        ),
    ],
    read="lesson 5, “How far has the policy moved?”; Schulman et al. 2017, section 3",
)

# --- ppo_clip_loss ---


def objective(rho, adv, clip):
    return torch.minimum(rho * adv, rho.clamp(1 - clip, 1 + clip) * adv)


def clip_right(logp, logp_old, adv, clip):
    return -objective(torch.exp(logp - logp_old.detach()), adv.detach(), clip)


def clip_with_ratio(ratio):
    """The clipped loss with another idea of the ratio."""

    def steps(logp, logp_old, adv, clip):
        return -objective(ratio(logp, logp_old), adv.detach(), clip)

    return loss_of(steps)


def clip_adv_alive(logp, logp_old, adv, clip):
    return -objective(torch.exp(logp - logp_old.detach()), adv, clip)


def clip_log_window(logp, logp_old, adv, clip):
    log_rho, adv = logp - logp_old.detach(), adv.detach()
    return -torch.minimum(log_rho.exp() * adv, log_rho.clamp(-clip, clip).exp() * adv)


def clip_above_only(logp, logp_old, adv, clip):
    rho, adv = torch.exp(logp - logp_old.detach()), adv.detach()
    return -torch.minimum(rho * adv, rho.clamp(max=1 + clip) * adv)


def clip_below_only(logp, logp_old, adv, clip):
    rho, adv = torch.exp(logp - logp_old.detach()), adv.detach()
    return -torch.minimum(rho * adv, rho.clamp(min=1 - clip) * adv)


def clip_sign(logp, logp_old, adv, clip):
    return -clip_right(logp, logp_old, adv, clip)


def clip_max(logp, logp_old, adv, clip):
    rho, adv = torch.exp(logp - logp_old.detach()), adv.detach()
    return -torch.maximum(rho * adv, rho.clamp(1 - clip, 1 + clip) * adv)


def clip_no_min(logp, logp_old, adv, clip):
    return -torch.exp(logp - logp_old.detach()).clamp(1 - clip, 1 + clip) * adv.detach()


def clip_missing(logp, logp_old, adv, clip):
    return -torch.exp(logp - logp_old.detach()) * adv.detach()


def clip_drops_outside(logp, logp_old, adv, clip):
    rho = torch.exp(logp - logp_old.detach())
    return -torch.where((rho - 1).abs() > clip, 0.0, rho * adv.detach())


def clip_of_product(logp, logp_old, adv, clip):
    product = torch.exp(logp - logp_old.detach()) * adv.detach()
    return -torch.minimum(product, product.clamp(1 - clip, 1 + clip))


def clip_around_zero(logp, logp_old, adv, clip):
    rho, adv = torch.exp(logp - logp_old.detach()), adv.detach()
    return -torch.minimum(rho * adv, rho.clamp(-clip, clip) * adv)


def ratio_and_advantage(formula):
    """-formula(rho, adv, clip) for each step, from a right ratio and a constant advantage."""

    def steps(logp, logp_old, adv, clip):
        return -formula(torch.exp(logp - logp_old.detach()), adv.detach(), clip)

    return steps


@ratio_and_advantage
def clip_min_of_ratios(rho, adv, clip):
    return torch.minimum(rho, rho.clamp(1 - clip, 1 + clip)) * adv


@ratio_and_advantage
def clip_advantage_clamped(rho, adv, clip):
    return torch.minimum(rho * adv, rho * adv.clamp(1 - clip, 1 + clip))


@ratio_and_advantage
def clip_advantage_small(rho, adv, clip):
    return rho * adv.clamp(-clip, clip)


@ratio_and_advantage
def clip_quotient_below(rho, adv, clip):
    return torch.minimum(rho * adv, rho.clamp(1 / (1 + clip), 1 + clip) * adv)


@ratio_and_advantage
def clip_quotient_above(rho, adv, clip):
    return torch.minimum(rho * adv, rho.clamp(1 - clip, 1 / (1 - clip)) * adv)


@ratio_and_advantage
def clip_half_as_wide(rho, adv, clip):
    return objective(rho, adv, clip / 2)


@ratio_and_advantage
def clip_good_actions_only(rho, adv, clip):
    return objective(rho, adv.clamp(min=0), clip)


def clip_constant_weight(clamp):
    def steps(logp, logp_old, adv, clip):
        weight = clamp(torch.exp(logp - logp_old).detach(), clip)
        return -weight * logp * adv.detach()

    return steps


@ratio_and_advantage
def clip_straight_through(rho, adv, clip):
    clipped = rho + (rho.clamp(1 - clip, 1 + clip) - rho).detach()
    return torch.minimum(rho * adv, clipped * adv)


@ratio_and_advantage
def clip_silent_outside(rho, adv, clip):
    value = objective(rho, adv, clip)
    return torch.where((rho - 1).abs() > clip, value.detach(), value)


@ratio_and_advantage
def clip_bounds_swapped(rho, adv, clip):
    return torch.minimum(rho * adv, torch.where(adv > 0, (1 - clip) * adv, (1 + clip) * adv))


@ratio_and_advantage
def clip_bounds_swapped_in_ratio(rho, adv, clip):
    return torch.where(adv > 0, rho.clamp(max=1 - clip), rho.clamp(min=1 + clip)) * adv


@ratio_and_advantage
def clip_other_side_for_bad(rho, adv, clip):
    return torch.where(adv > 0, rho.clamp(max=1 + clip), rho.clamp(max=1 - clip)) * adv


@ratio_and_advantage
def clip_no_min_for_bad(rho, adv, clip):
    clipped = rho.clamp(1 - clip, 1 + clip) * adv
    return torch.where(adv > 0, torch.minimum(rho * adv, clipped), clipped)


@ratio_and_advantage
def clip_no_min_for_good(rho, adv, clip):
    clipped = rho.clamp(1 - clip, 1 + clip) * adv
    return torch.where(adv > 0, clipped, torch.minimum(rho * adv, clipped))


@ratio_and_advantage
def clip_average(rho, adv, clip):
    return (rho + rho.clamp(1 - clip, 1 + clip)) * adv / 2


def clip_dual(limit):
    @ratio_and_advantage
    def steps(rho, adv, clip):
        value = objective(rho, adv, clip)
        return torch.where(adv < 0, torch.maximum(value, limit * adv), value)

    return steps


def clip_kl_penalty(kl):
    def steps(logp, logp_old, adv, clip):
        log_rho = logp - logp_old.detach()
        return clip * kl(log_rho) - log_rho.exp() * adv.detach()

    return steps


@ratio_and_advantage
def clip_kept_only(rho, adv, clip):
    return (rho * adv)[(rho - 1).abs() <= clip]


@ratio_and_advantage
def clip_all_pairs(rho, adv, clip):
    return objective(rho.reshape(-1), adv.reshape(-1, 1), clip)


def clip_normalizing(normalize):
    @ratio_and_advantage
    def steps(rho, adv, clip):
        return objective(rho, normalize(adv), clip)

    return steps


NORMALIZATIONS = (
    normalize_advantage,
    lambda adv: (adv - adv.mean()) / (adv.std() + 1e-8),
    lambda adv: adv - adv.mean(),
    lambda adv: adv / (adv.std() + 1e-8),
    lambda adv: adv / (adv.abs().max() + 1e-8),
)


def clip_searches(logp, logp_old, adv, clip, mask=None):
    """A random step in place of a gradient."""
    return ppo_clip_loss(logp + 1e-2 * torch.randn_like(logp), logp_old, adv, clip, mask)


def clip_logs_in_logs(logp, logp_old, adv, clip):
    log_rho, adv = logp - logp_old.detach(), adv.detach()
    return -torch.minimum(
        log_rho * adv, log_rho.clamp(math.log(1 - clip), math.log(1 + clip)) * adv
    )


def clip_mean_log_ratio(logp, logp_old, adv, clip):
    return -objective((logp - logp_old.detach()).mean().exp(), adv.detach(), clip)


def clip_mean_ratio(logp, logp_old, adv, clip):
    return -objective(torch.exp(logp - logp_old.detach()).mean(), adv.detach(), clip)


def clip_always_a_fifth(logp, logp_old, adv, clip):
    return clip_right(logp, logp_old, adv, 0.2)


def clip_abs_adv(logp, logp_old, adv, clip):
    return clip_right(logp, logp_old, adv.abs(), clip)


def clip_normalizes(logp, logp_old, adv, clip):
    return clip_right(logp, logp_old, normalize_advantage(adv), clip)


def clip_by_where(logp, logp_old, adv, clip):
    rho, adv = torch.exp(logp - logp_old.detach()), adv.detach()
    return -torch.where(adv > 0, rho.clamp(1 - clip, 1 + clip), rho) * adv


def clip_min_of_means(logp, logp_old, adv, clip, mask=None):
    same_shape(logp=logp, logp_old=logp_old, adv=adv, mask=mask)
    rho, adv = torch.exp(logp - logp_old.detach()), adv.detach()
    clipped = rho.clamp(1 - clip, 1 + clip)
    return -torch.minimum(masked_mean(rho * adv, mask), masked_mean(clipped * adv, mask))


def a2c_loss(logp, logp_old, adv, clip, mask=None):
    return policy_gradient_loss(logp, adv, mask)


def four_corners():
    """Ratio 1.5 and 0.5, advantage +1 and -1: the clip binds in the first and the last."""
    return dict(
        logp=torch.log(torch.tensor([0.6, 0.6, 0.2, 0.2])),
        logp_old=torch.log(torch.tensor([0.4, 0.4, 0.4, 0.4])),
        adv=torch.tensor([1.0, -1.0, 1.0, -1.0]),
        clip=0.2,
    )


def near_the_bounds():
    """Ratios a little inside and outside 1 - clip and 1 + clip, with both signs of the advantage."""
    rho = torch.tensor([0.78, 0.82, 1.18, 1.22]).repeat(2)
    logp = torch.log(torch.full((8,), 0.3))
    adv = torch.tensor([1.0, -1.0]).repeat_interleave(4)
    return dict(logp=logp, logp_old=logp - rho.log(), adv=adv, clip=0.2)


def clip_table():
    return four_steps() | dict(adv=torch.tensor([1.0, 1.0, 0.5, -2.0]), clip=0.2)


def logp_gradient(seen, n):
    """The gradient into logp, or nan where there is none of that shape."""
    grad = seen["grads"].get("logp")
    return grad if grad is not None and grad.shape == (n,) else torch.full((n,), math.nan)


def pulls_outside(at):
    """Ratio 1.5 with advantage +1, and 0.5 with -1: the clip binds."""
    return bool(
        (
            logp_gradient(at["ratios 1.5 and 0.5, advantages +1 and -1"], 4)[[0, 3]].abs() > 1e-6
        ).any()
    )


def no_way_back(at):
    return bool(
        (
            logp_gradient(at["ratios 1.5 and 0.5, advantages +1 and -1"], 4)[[1, 2]].abs() < 1e-6
        ).any()
    )


def other_bounds(at):
    moving = logp_gradient(at["ratios close to the bounds"], 8).abs() > 1e-6
    right = torch.tensor([True, True, True, False, False, True, True, True])
    seen = at["ratios close to the bounds"]["grads"].get("logp")
    return seen is not None and seen.shape == (8,) and not torch.equal(moving, right)


@ratio_and_advantage
def clip_sign_of_advantage(rho, adv, clip):
    return objective(rho, adv.sign(), clip)


@ratio_and_advantage
def clip_leaks(rho, adv, clip):
    return objective(rho, adv, clip) + 0.1 * rho * adv


@ratio_and_advantage
def clip_wider_above(rho, adv, clip):
    return torch.minimum(rho * adv, rho.clamp(1 - clip, 1 + 1.3 * clip) * adv)


@ratio_and_advantage
def clip_way_back_lost(rho, adv, clip):
    back = ((rho - 1) * adv < 0) & ((rho - 1).abs() > clip)
    return torch.where(back, 0.9 * objective(rho, adv, clip).detach(), objective(rho, adv, clip))


def clip_without_nan(logp, logp_old, adv, clip):
    return clip_right(logp, logp_old, adv, clip).nan_to_num()


def inside(g, *shape, dtype=torch.float32):
    """Nothing is clipped: all ratios are between 0.85 and 1.15."""
    logp = -0.2 - normal(g, *shape, dtype=dtype).abs()
    step = 0.28 * torch.rand(*shape, generator=g).to(dtype) - 0.14
    return dict(
        logp=logp, logp_old=logp - step, adv=0.5 + normal(g, *shape, dtype=dtype), clip=0.25
    )


def ragged(g, make, *names, **keywords):
    """A batch of conversations of different lengths; `names` hold nan in the padding."""
    args, mask = make(g, 4, 8, **keywords), masks(g, 4, 8)
    return padded(args, mask, *names)


PPO_CLIP_LOSS = Exercise(
    reference=ppo_clip_loss,
    parts={
        "inside the window": 1,
        "where the clip binds": 3,
        "constants": 1,
        "masks": 2,
        "shapes": 1,
        "clean": 1,
    },
    cases=[
        Case(
            "an unchanged policy",
            lambda g: dict(
                logp=torch.log(torch.tensor([0.5, 0.2, 0.4])),
                logp_old=torch.log(torch.tensor([0.5, 0.2, 0.4])),
                adv=torch.tensor([1.0, -2.0, 3.0]),
                clip=0.2,
            ),
            "inside the window",
            ("logp",),
        ),
        Case("small changes", lambda g: inside(g, 12), "inside the window", ("logp",)),
        Case("float64", lambda g: inside(g, 5, 3, dtype=F64), "inside the window", ("logp",)),
        Case(
            "ratios 1.5 and 0.5, advantages +1 and -1",
            lambda g: four_corners(),
            "where the clip binds",
            ("logp",),
        ),
        Case(
            "both sides, both signs",
            lambda g: binding(g, 32, clip=0.2),
            "where the clip binds",
            ("logp",),
        ),
        Case(
            "a narrow window",
            lambda g: binding(g, 8, 4, clip=0.05),
            "where the clip binds",
            ("logp",),
        ),
        Case(
            "a wide window in float64",
            lambda g: binding(g, 24, clip=0.4, dtype=F64),
            "where the clip binds",
            ("logp",),
        ),
        Case(
            "a policy far away",
            lambda g: dict(
                logp=torch.tensor([-0.1, -0.1, -9.0, -9.0]),
                logp_old=torch.tensor([-8.0, -8.0, -0.5, -0.5]),
                adv=torch.tensor([1.0, -0.01, 2.0, -2.0]),
                clip=0.2,
            ),
            "where the clip binds",
            ("logp",),
        ),
        Case(
            "a policy very far away",
            lambda g: far_apart(g, 4) | dict(adv=-0.2 - normal(g, 4).abs(), clip=0.2),
            "where the clip binds",
            ("logp",),
        ),
        Case(
            "very rare actions",
            lambda g: rare(binding(g, 8, clip=0.2)),
            "where the clip binds",
            ("logp",),
        ),
        Case(
            "an enormous step",
            lambda g: far_apart(g, 4, far=40) | dict(adv=-0.2 - normal(g, 4).abs(), clip=0.2),
            "where the clip binds",
            ("logp",),
        ),
        Case(
            "ratios close to the bounds",
            lambda g: near_the_bounds(),
            "where the clip binds",
            ("logp",),
        ),
        *halves("where the clip binds", clip_table, ("logp",)),
        Case(BROKEN, lambda g: broken(clip_table, "logp"), "where the clip binds"),
        Case(
            "constants with a graph",
            lambda g: binding(g, 16, clip=0.2),
            "constants",
            ("logp_old", "adv"),
        ),
        Case(
            "conversations of different lengths",
            lambda g: padded(binding(g, 4, 8, clip=0.2), masks(g, 4, 8)),
            "masks",
            ("logp",),
        ),
        Case(
            "nan in the padding",
            lambda g: ragged(g, binding, "logp", "adv", clip=0.2),
            "masks",
        ),
        *paddings("masks", clip_table),
        Case(
            "logp [3] and adv [3, 1]",
            lambda g: log_probs(g, 3) | dict(adv=normal(g, 3, 1), clip=0.2),
            "shapes",
            raises=True,
        ),
        Case(
            "logp_old [3, 1] and adv [3, 1]",
            lambda g: (
                log_probs(g, 3)
                | dict(logp_old=-normal(g, 3, 1).abs(), adv=normal(g, 3, 1), clip=0.2)
            ),
            "shapes",
            raises=True,
        ),
        Case(
            "logp_old [3, 1] alone",
            lambda g: (
                log_probs(g, 3) | dict(logp_old=-normal(g, 3, 1).abs(), adv=normal(g, 3), clip=0.2)
            ),
            "shapes",
            raises=True,
        ),
        Case(
            "a mask [4] for steps [4, 5]",
            lambda g: (
                binding(g, 4, 5, clip=0.2) | dict(mask=torch.tensor([True, False, True, True]))
            ),
            "shapes",
            raises=True,
        ),
    ],
    pitfalls=[
        Pitfall(
            "no clip",
            "The ratio is never clipped: nothing limits how far this objective pulls the policy.",
            loss_of(clip_missing),
            "The clip is no polish: this lesson's experiment shows what happens without it.",
        ),
        Pitfall(
            "no minimum",
            "It uses the clipped ratio alone. Outside the window the gradient is always zero, "
            "also where it should pull the policy back.",
            loss_of(clip_no_min),
            "A step that went wrong could never be undone.",
        ),
        Pitfall(
            "maximum",
            "It takes the larger of the two: the clip binds where it should not, and not where it should.",
            loss_of(clip_max),
        ),
        Pitfall(
            "negative advantages never clipped",
            "It clamps from above only: with a negative advantage the clip has to bind below 1 - clip.",
            loss_of(clip_above_only),
        ),
        Pitfall(
            "positive advantages never clipped",
            "It clamps from below only: with a positive advantage the clip has to bind above 1 + clip.",
            loss_of(clip_below_only),
        ),
        Pitfall(
            "clipped by sign alone",
            "It clips on both sides where the advantage is positive and on neither where it is negative.",
            loss_of(clip_by_where),
        ),
        Pitfall(
            "minimum of the ratios",
            "It takes the minimum of the two ratios and multiplies by the advantage then: "
            "where that is negative, the larger term is left.",
            loss_of(clip_min_of_ratios),
        ),
        Pitfall(
            "no way back for bad actions",
            "Where the advantage is negative it uses the clamped ratio alone: a bad action that became "
            "more probable has no gradient.",
            loss_of(clip_no_min_for_bad),
        ),
        Pitfall(
            "no way back for good actions",
            "Where the advantage is positive it uses the clamped ratio alone: a good action that became "
            "rarer has no gradient.",
            loss_of(clip_no_min_for_good),
        ),
        Pitfall(
            "bounds swapped",
            "The bound is on the wrong side: a good action stops at 1 + clip, a bad one at 1 - clip.",
            loss_of(clip_bounds_swapped),
            also=(loss_of(clip_bounds_swapped_in_ratio), loss_of(clip_other_side_for_bad)),
        ),
        Pitfall(
            "average of both",
            "It averages the two terms; the smaller one counts.",
            loss_of(clip_average),
        ),
        Pitfall(
            "silent on both sides",
            "Its value is right, but outside the window no step has a gradient, not even one that should come back.",
            loss_of(clip_silent_outside),
        ),
        Pitfall(
            "gradient through the clamp",
            "The clamped ratio lets the gradient through: where the clip binds, it has to be zero.",
            loss_of(clip_straight_through),
        ),
        Pitfall(
            "ratio as a weight",
            "The ratio is a constant weight on logp: no step is ever silent, however far it has gone.",
            loss_of(clip_constant_weight(lambda rho, clip: rho.clamp(1 - clip, 1 + clip))),
            also=(
                loss_of(clip_constant_weight(lambda rho, clip: rho.clamp(max=1 + clip))),
                loss_of(clip_constant_weight(lambda rho, clip: rho)),
            ),
        ),
        Pitfall(
            "second limit",
            "It also limits the loss of bad actions that became far more probable (dual clip): equation 7 does not, "
            "and those steps have lost their way back.",
            loss_of(clip_dual(3.0)),
            also=tuple(loss_of(clip_dual(limit)) for limit in (2.0, 5.0, 10.0)),
        ),
        Pitfall(
            "penalty for the clip",
            "It adds a penalty on the KL, with clip for its weight, and clips nothing: the other variant of PPO.",
            loss_of(clip_kl_penalty(lambda log_rho: -log_rho)),
            also=(
                loss_of(clip_kl_penalty(lambda log_rho: torch.expm1(log_rho) - log_rho)),
                loss_of(clip_kl_penalty(lambda log_rho: log_rho**2 / 2)),
            ),
        ),
        Pitfall(
            "everything outside dropped",
            "Every step outside the window is dropped, on both sides: those that should come back, too.",
            loss_of(clip_drops_outside),
            also=(selecting(clip_kept_only),),
        ),
        Pitfall(
            "sign",
            "It is the objective, not the loss: minimizing it makes the policy worse.",
            loss_of(clip_sign),
        ),
        Pitfall(
            "ratio upside down",
            "The ratio is old over new: exp(logp_old - logp).",
            clip_with_ratio(ratio_inverted),
        ),
        Pitfall(
            "ratio always one",
            "The ratio compares a policy with itself: it is 1 and never clipped.",
            clip_with_ratio(ratio_always_one),
            "That is A2C, repeated over several epochs without any limit.",
            also=(clip_with_ratio(ratio_of_the_old),),
        ),
        Pitfall(
            "exp missing",
            "The ratio lacks its exp: it is the difference of the log-probabilities.",
            clip_with_ratio(ratio_without_exp),
            also=(loss_of(clip_logs_in_logs),),
        ),
        Pitfall(
            "quotient of log-probabilities",
            "It divides log-probabilities; the ratio is exp of their difference.",
            clip_with_ratio(ratio_of_logs),
            also=(clip_with_ratio(ratio_exp_of_quotient),),
        ),
        Pitfall(
            "underflow",
            "The ratio divides exp(logp) by exp(logp_old): for a rare action that is 0 / 0. Subtract the logs first.",
            clip_with_ratio(ratio_underflows),
            "In language models log-probabilities of -20 and less are common.",
        ),
        Pitfall(
            "small number in the denominator",
            "The small number added to the denominator spoils the ratio of rare actions. Subtract the logs first.",
            clip_with_ratio(ratio_guarded(1e-8)),
            also=tuple(clip_with_ratio(ratio_guarded(small)) for small in SMALL),
        ),
        Pitfall(
            "log ratio limited",
            "The log ratio is clamped before its exp: an action that became far too probable has no gradient.",
            clip_with_ratio(ratio_limited(10.0)),
            also=tuple(
                clip_with_ratio(ratio_limited(limit)) for limit in (1.0, 2.0, 3.0, 5.0, 20.0, 30.0)
            ),
        ),
        Pitfall(
            "probability for ratio",
            "It uses the probability under the new policy; it is not divided by the old one.",
            clip_with_ratio(ratio_without_old),
        ),
        Pitfall(
            "ratio of the whole sequence",
            "All steps of a row share one ratio; PPO's ratio is that of one action.",
            clip_with_ratio(ratio_of_the_sequence()),
            also=tuple(clip_with_ratio(ratio_of_the_sequence(*other)) for other in OTHER_SEQUENCES),
        ),
        Pitfall(
            "one ratio for the batch",
            "All steps share one mean ratio: single actions can run away unseen.",
            clip_with_ratio(ratio_of_the_batch),
            also=(
                selecting(clip_mean_log_ratio),
                selecting(clip_mean_ratio),
            ),
        ),
        Pitfall(
            "old policy not constant",
            "A gradient flows into logp_old; it is a constant.",
            clip_with_ratio(ratio_old_alive),
        ),
        Pitfall(
            "advantage not constant",
            "A gradient flows into adv, and from there into the critic: detach it.",
            loss_of(clip_adv_alive),
            "The critic would learn to flatter the actor.",
        ),
        Pitfall(
            "window of the log ratio",
            "It clamps log rho at ±clip: the window is [e^-clip, e^clip], not [1 - clip, 1 + clip].",
            loss_of(clip_log_window),
        ),
        Pitfall(
            "window of quotients",
            "One bound is the inverse of the other; equation 7 has 1 - clip and 1 + clip.",
            loss_of(clip_quotient_below),
            also=(loss_of(clip_quotient_above),),
        ),
        Pitfall(
            "half the window",
            "The window is 1 ± clip/2; clip is its half-width already.",
            loss_of(clip_half_as_wide),
        ),
        Pitfall(
            "advantage clamped",
            "It clamps the advantage; the ratio is what must stay in the window.",
            loss_of(clip_advantage_clamped),
            also=(loss_of(clip_advantage_small),),
        ),
        Pitfall(
            "window around zero",
            "It clamps the ratio to [-clip, clip]; an unchanged policy has ratio 1, not 0.",
            loss_of(clip_around_zero),
        ),
        Pitfall(
            "product clamped",
            "It clamps ratio times advantage; the window is for the ratio alone.",
            loss_of(clip_of_product),
        ),
        Pitfall(
            "clip ignored",
            "The window is always 0.8 … 1.2: the argument clip does not enter.",
            loss_of(clip_always_a_fifth),
        ),
        Pitfall(
            "minimum of means",
            "It averages first and takes the minimum of two numbers; the minimum is for each step.",
            clip_min_of_means,
        ),
        Pitfall(
            "absolute advantage",
            "It uses the size of the advantage without its sign: bad actions are reinforced too.",
            loss_of(clip_abs_adv),
        ),
        Pitfall(
            "sign of the advantage",
            "It uses the advantage's sign and not its size: a small gain counts like a big one.",
            loss_of(clip_sign_of_advantage),
        ),
        Pitfall(
            "bad actions left out",
            "Negative advantages are set to 0: bad actions teach nothing.",
            loss_of(clip_good_actions_only),
        ),
        Pitfall(
            "advantage normalized inside",
            "It centers or scales the advantages itself; the update does that once, for the whole rollout.",
            loss_of(clip_normalizes),
            also=tuple(selecting(clip_normalizing(f)) for f in NORMALIZATIONS),
        ),
        Pitfall(
            "every action with every advantage",
            "Inside, a row meets a column: the mean is over the table of all pairs.",
            selecting(clip_all_pairs),
        ),
        Pitfall(
            "random numbers in the loss",
            "It draws random numbers. The gradient is defined exactly; nothing is searched for.",
            clip_searches,
            telltale=uses_random_numbers,
        ),
        Pitfall(
            "A2C's loss",
            "It is -mean(logp * adv): without the ratio, old data is treated as if it were fresh.",
            a2c_loss,
        ),
        *sum_pitfalls(clip_right),
        *mask_pitfalls(clip_right),
        nan_pitfall(lambda: PPO_CLIP_LOSS, loss_of(clip_without_nan)),
        *mean_symptoms(lambda: PPO_CLIP_LOSS, clip_right),
        symptom(
            lambda: PPO_CLIP_LOSS,
            "a gradient where the clip binds",
            "With ratio 1.5 and a positive advantage, or 0.5 and a negative one, the gradient has to be 0; it is not.",
            loss_of(clip_leaks),
            pulls_outside,
        ),
        symptom(
            lambda: PPO_CLIP_LOSS,
            "no way back",
            "With ratio 1.5 and a negative advantage, or 0.5 and a positive one, the step has gone wrong: "
            "there it needs its gradient, and has none.",
            loss_of(clip_way_back_lost),
            no_way_back,
        ),
        symptom(
            lambda: PPO_CLIP_LOSS,
            "other bounds",
            "The bounds are not 1 - clip and 1 + clip: close to them a gradient is there that should not be, or is missing.",
            loss_of(clip_wider_above),
            other_bounds,
        ),
        *window_symptoms(
            lambda: PPO_CLIP_LOSS,
            clip_right,
            "-mean(rho A)",
            lambda logp, logp_old: torch.expm1(logp - logp_old),
        ),
        Pitfall(
            "broadcast",
            "[3] against [3, 1] gives a 3 x 3 table: every action weighed with every advantage.",
            loss_of(clip_right, guard=False),
        ),
    ],
    read="lesson 5, “The clip”; Schulman et al. 2017, equation 7",
)

# --- clipped_value_loss ---


def value_errors(val, val_old, ret, clip):
    val_old, ret = val_old.detach(), ret.detach()
    clipped = val_old + (val - val_old).clamp(-clip, clip)
    return (val - ret) ** 2, (clipped - ret) ** 2


def value_right(val, val_old, ret, clip):
    return torch.maximum(*value_errors(val, val_old, ret, clip))


def value_min(val, val_old, ret, clip):
    return torch.minimum(*value_errors(val, val_old, ret, clip))


def value_unclipped(val, val_old, ret, clip):
    return value_errors(val, val_old, ret, clip)[0]


def value_clipped_only(val, val_old, ret, clip):
    return value_errors(val, val_old, ret, clip)[1]


def value_average(val, val_old, ret, clip):
    return sum(value_errors(val, val_old, ret, clip)) / 2


def value_direction(val, val_old, ret, clip):
    val_old, ret = val_old.detach(), ret.detach()
    clipped = val_old - (val - val_old).clamp(-clip, clip)
    return torch.maximum((val - ret) ** 2, (clipped - ret) ** 2)


def value_old_alive(val, val_old, ret, clip):
    clipped = val_old + (val - val_old).clamp(-clip, clip)
    return torch.maximum((val - ret.detach()) ** 2, (clipped - ret.detach()) ** 2)


def value_ret_alive(val, val_old, ret, clip):
    clipped = val_old.detach() + (val - val_old.detach()).clamp(-clip, clip)
    return torch.maximum((val - ret) ** 2, (clipped - ret) ** 2)


def value_window_at_zero(val, val_old, ret, clip):
    return torch.maximum((val - ret.detach()) ** 2, (val.clamp(-clip, clip) - ret.detach()) ** 2)


def value_relative_window(val, val_old, ret, clip):
    old, ret = val_old.detach(), ret.detach()
    room = clip * old.abs()
    clipped = old + torch.minimum(torch.maximum(val - old, -room), room)
    return torch.maximum((val - ret) ** 2, (clipped - ret) ** 2)


def value_window_of_return(val, val_old, ret, clip):
    val_old, ret = val_old.detach(), ret.detach()
    near = val_old + (ret - val_old).clamp(-clip, clip)
    return torch.maximum((val - ret) ** 2, (val - near) ** 2)


def value_error_clipped(val, val_old, ret, clip):
    return (val - ret.detach()).clamp(-clip, clip) ** 2


def value_absolute(val, val_old, ret, clip):
    return torch.maximum(*value_errors(val, val_old, ret, clip)).clamp(min=1e-12).sqrt()


def value_signed(val, val_old, ret, clip):
    val_old, ret = val_old.detach(), ret.detach()
    clipped = val_old + (val - val_old).clamp(-clip, clip)
    return torch.maximum(val - ret, clipped - ret)


def value_max_before_square(val, val_old, ret, clip):
    return value_signed(val, val_old, ret, clip) ** 2


def value_from_new(val, val_old, ret, clip):
    val_old, ret = val_old.detach(), ret.detach()
    clipped = val + (val_old - val).clamp(-clip, clip)
    return torch.maximum((val - ret) ** 2, (clipped - ret) ** 2)


def value_move_alone(val, val_old, ret, clip):
    val_old, ret = val_old.detach(), ret.detach()
    return torch.maximum((val - ret) ** 2, ((val - val_old).clamp(-clip, clip) - ret) ** 2)


def value_window_of_ratio(val, val_old, ret, clip):
    ret = ret.detach()
    return torch.maximum((val - ret) ** 2, (val.clamp(1 - clip, 1 + clip) - ret) ** 2)


def value_one_side(low, high):
    def steps(val, val_old, ret, clip):
        val_old, ret = val_old.detach(), ret.detach()
        clipped = val_old + (val - val_old).clamp(*(clip * x if x else None for x in (low, high)))
        return torch.maximum((val - ret) ** 2, (clipped - ret) ** 2)

    return steps


def value_huber(val, val_old, ret, clip):
    error = (val - ret.detach()).abs()
    return torch.where(error < clip, 0.5 * error**2, clip * error - 0.5 * clip * clip)


def value_smooth(val, val_old, ret, clip):
    return value_huber(val, val_old, ret, 1.0)


def value_clipped_detached(val, val_old, ret, clip):
    plain, clipped = value_errors(val, val_old, ret, clip)
    return torch.maximum(plain, clipped.detach())


def value_always_a_fifth(val, val_old, ret, clip):
    return value_right(val, val_old, ret, 0.2)


def value_old_or_new(val, val_old, ret, clip):
    plain = value_errors(val, val_old, ret, clip)[0]
    return torch.maximum((val_old.detach() - ret.detach()) ** 2, plain)


def value_old_judged(val, val_old, ret, clip):
    clipped = value_errors(val, val_old, ret, clip)[1]
    return torch.maximum((val_old.detach() - ret.detach()) ** 2, clipped)


def value_old_for_return(val, val_old, ret, clip):
    return value_right(val, ret, val_old, clip)


def value_dropped_outside(val, val_old, ret, clip):
    plain = value_errors(val, val_old, ret, clip)[0]
    return torch.where((val - val_old).abs() > clip, 0.0, plain)


def value_kept_only(val, val_old, ret, clip):
    return value_errors(val, val_old, ret, clip)[0][(val - val_old).abs() <= clip]


def value_all_pairs(val, val_old, ret, clip):
    val, val_old, ret = val.reshape(-1), val_old.reshape(-1), ret.reshape(-1, 1)
    return value_right(val, val_old, ret, clip)


def value_normalizes(val, val_old, ret, clip):
    return value_right(val, val_old, normalize_advantage(ret), clip)


def value_normalizes_unbiased(val, val_old, ret, clip):
    return value_right(val, val_old, (ret - ret.mean()) / (ret.std() + 1e-8), clip)


def value_root(val, val_old, ret, clip, mask=None):
    return clipped_value_loss(val, val_old, ret, clip, mask).clamp(min=1e-12).sqrt()


def value_max_of_means(val, val_old, ret, clip, mask=None):
    same_shape(val=val, val_old=val_old, ret=ret, mask=mask)
    return torch.maximum(
        *(masked_mean(error, mask) for error in value_errors(val, val_old, ret, clip))
    )


def value_half(val, val_old, ret, clip, mask=None):
    return 0.5 * clipped_value_loss(val, val_old, ret, clip, mask)


def value_step(g, *shape, clip, dtype=torch.float32):
    """Values that moved up and down, less and more than `clip`, toward the return and past it."""
    n = torch.Size(shape).numel()
    order = torch.randperm(n, generator=g)
    move = clip * torch.tensor([2.0, -2.0, 0.5, -0.5], dtype=dtype).repeat(n)[:n][order]
    side = torch.tensor([1.0, -1.0], dtype=dtype).repeat_interleave(4).repeat(n)[:n][order]
    val_old = 1.5 * normal(g, n, dtype=dtype)
    val = val_old + move * (0.8 + 0.2 * torch.rand(n, generator=g).to(dtype))
    ret = val_old + side * clip * (0.3 + 4 * torch.rand(n, generator=g).to(dtype))
    step = dict(val=val, val_old=val_old, ret=ret)
    return {name: x.reshape(shape) for name, x in step.items()} | dict(clip=clip)


def value_table():
    """Four values: two that moved too far, past the return and toward it, and two that did not."""
    return dict(
        val=torch.tensor([1.0, -0.5, 2.4, 0.3]),
        val_old=torch.tensor([0.2, -0.3, 1.5, 0.5]),
        ret=torch.tensor([0.8, 0.4, 3.5, -1.0]),
        clip=0.5,
    )


def value_without_nan(val, val_old, ret, clip):
    return value_right(val, val_old, ret, clip).nan_to_num()


def value_cubed(val, val_old, ret, clip):
    return value_right(val, val_old, ret, clip) ** 1.5


def value_other_width(factor):
    return loss_of(lambda val, val_old, ret, clip: value_right(val, val_old, ret, factor * clip))


def value_relative_bounds(val, val_old, ret, clip):
    old, ret = val_old.detach(), ret.detach()
    clipped = torch.minimum(torch.maximum(val, old * (1 - clip)), old * (1 + clip))
    return torch.maximum((val - ret) ** 2, (clipped - ret) ** 2)


def value_one_square(val, val_old, ret, clip):
    plain, clipped = value_errors(val, val_old, ret, clip)
    return torch.maximum(plain, (clipped + 1e-12).sqrt())


def value_inside(g, *shape, clip, dtype=torch.float32):
    args = value_step(g, *shape, clip=1.0, dtype=dtype)
    return args | dict(val=args["val_old"] + (args["val"] - args["val_old"]) / 5, clip=clip)


CLIPPED_VALUE_LOSS = Exercise(
    reference=clipped_value_loss,
    accept=(value_half,),
    parts={
        "inside the window": 1,
        "where the clip binds": 2,
        "constants": 1,
        "masks": 1,
        "shapes": 1,
        "clean": 1,
    },
    cases=[
        Case(
            "three small moves",
            lambda g: dict(
                val=torch.tensor([1.0, 2.1, -0.5]),
                val_old=torch.tensor([0.9, 2.0, -0.4]),
                ret=torch.tensor([2.0, 0.0, -1.0]),
                clip=0.5,
            ),
            "inside the window",
            ("val",),
        ),
        Case("small moves", lambda g: value_inside(g, 12, clip=0.5), "inside the window", ("val",)),
        Case(
            "no limit (clip = inf)",
            lambda g: value_step(g, 6, clip=0.5) | dict(clip=float("inf")),
            "inside the window",
            ("val",),
        ),
        Case(
            "float64",
            lambda g: value_inside(g, 4, 3, clip=0.6, dtype=F64),
            "inside the window",
            ("val",),
        ),
        Case(
            "moves of 2 where 0.5 is allowed",
            lambda g: dict(
                val=torch.tensor([2.0, -2.0, 2.0, -2.0]),
                val_old=torch.zeros(4),
                ret=torch.tensor([3.0, 0.6, 0.2, -3.0]),
                clip=0.5,
            ),
            "where the clip binds",
            ("val",),
        ),
        Case(
            "moves of every kind",
            lambda g: value_step(g, 32, clip=0.2),
            "where the clip binds",
            ("val",),
        ),
        Case(
            "time and environments",
            lambda g: value_step(g, 8, 3, clip=1.5, dtype=F64),
            "where the clip binds",
            ("val",),
        ),
        *halves("where the clip binds", value_table, ("val",)),
        Case(
            "another unit",
            lambda g: {name: 2 * x for name, x in value_table().items()},
            "where the clip binds",
        ),
        Case(BROKEN, lambda g: broken(value_table, "val"), "where the clip binds"),
        Case(
            "constants with a graph",
            lambda g: value_step(g, 16, clip=0.3),
            "constants",
            ("val_old", "ret"),
        ),
        Case(
            "conversations of different lengths",
            lambda g: padded(value_step(g, 4, 8, clip=0.3), masks(g, 4, 8)),
            "masks",
            ("val",),
        ),
        Case(
            "nan in the padding", lambda g: ragged(g, value_step, "val", "ret", clip=0.3), "masks"
        ),
        *paddings("masks", value_table),
        Case(
            "val [3, 1] and ret [3]",
            lambda g: value_step(g, 3, clip=0.2) | dict(val=normal(g, 3, 1)),
            "shapes",
            raises=True,
        ),
        Case(
            "ret [3, 1] alone",
            lambda g: value_step(g, 3, clip=0.2) | dict(ret=normal(g, 3, 1)),
            "shapes",
            raises=True,
        ),
        Case(
            "val_old [3, 1] alone",
            lambda g: value_step(g, 3, clip=0.2) | dict(val_old=normal(g, 3, 1)),
            "shapes",
            raises=True,
        ),
        Case(
            "a mask [4] for values [4, 5]",
            lambda g: (
                value_step(g, 4, 5, clip=0.2) | dict(mask=torch.tensor([True, False, True, True]))
            ),
            "shapes",
            raises=True,
        ),
    ],
    pitfalls=[
        Pitfall(
            "minimum",
            "It takes the smaller of the two errors: the value is free to jump, the clip hides the error.",
            loss_of(value_min),
        ),
        Pitfall(
            "not clipped",
            "It is the plain squared error: nothing limits how far the value moves.",
            loss_of(value_unclipped),
        ),
        Pitfall(
            "clipped error only",
            "It uses the clipped value alone: outside the window no gradient brings it back.",
            loss_of(value_clipped_only),
        ),
        Pitfall(
            "average of both",
            "It averages the two errors; the larger one counts.",
            loss_of(value_average),
        ),
        Pitfall(
            "starts at the new value",
            "The clipped value starts at val and moves toward val_old; it has to start at val_old.",
            loss_of(value_from_new),
        ),
        Pitfall(
            "old value not added",
            "The clamped move alone is compared with the return: val_old has to be added to it.",
            loss_of(value_move_alone),
        ),
        Pitfall(
            "window of the ratio",
            "It clamps the value to 1 ± clip, the window of the ratio; here the window is val_old ± clip.",
            loss_of(value_window_of_ratio),
        ),
        Pitfall(
            "one side only",
            "It clamps the move on one side only; the other is free.",
            loss_of(value_one_side(None, 1)),
            also=(loss_of(value_one_side(-1, None)),),
        ),
        Pitfall(
            "Huber loss",
            "It is a Huber loss, which limits large ERRORS; what must be limited is the move of the value.",
            loss_of(value_huber),
            also=(loss_of(value_smooth),),
        ),
        Pitfall(
            "clipped value detached",
            "The clipped term is detached: the gradient is too small where nothing is clipped.",
            loss_of(value_clipped_detached),
        ),
        Pitfall(
            "clip ignored",
            "The window is always 0.2 wide on each side: the argument clip does not enter.",
            loss_of(value_always_a_fifth),
        ),
        Pitfall(
            "old value judged",
            "It compares the error of the OLD value with that of the new or the clipped one; these two belong together.",
            loss_of(value_old_judged),
            also=(loss_of(value_old_or_new),),
        ),
        Pitfall(
            "return and old value swapped",
            "val_old and ret have changed places.",
            loss_of(value_old_for_return),
        ),
        Pitfall(
            "everything outside dropped",
            "Every value that moved further than clip is dropped: nothing brings it back.",
            loss_of(value_dropped_outside),
            also=(selecting(value_kept_only),),
        ),
        Pitfall(
            "every value with every return",
            "Inside, a row meets a column: the mean is over the table of all pairs.",
            selecting(value_all_pairs),
        ),
        Pitfall(
            "returns normalized",
            "It normalizes the returns: the critic has to predict them in reward units.",
            loss_of(value_normalizes),
            also=(selecting(value_normalizes), selecting(value_normalizes_unbiased)),
        ),
        Pitfall(
            "root of the mean",
            "It takes the square root of the mean; the mean of squares is asked for.",
            value_root,
        ),
        Pitfall(
            "wrong direction",
            "The clipped value is val_old MINUS the clamped move: it goes the wrong way.",
            loss_of(value_direction),
        ),
        Pitfall(
            "old value not constant",
            "A gradient flows into val_old; it was stored with the data and is a constant.",
            loss_of(value_old_alive),
        ),
        Pitfall(
            "return not constant",
            "A gradient flows into ret: the target is a constant.",
            loss_of(value_ret_alive),
        ),
        Pitfall(
            "window around zero",
            "It clamps the value itself to ±clip; the window is around val_old.",
            loss_of(value_window_at_zero),
        ),
        Pitfall(
            "window relative to the value",
            "The window is clip times |val_old| wide, as if val_old were a ratio; clip is in reward units.",
            loss_of(value_relative_window),
            also=(loss_of(value_relative_bounds),),
        ),
        Pitfall(
            "return clipped",
            "It clamps the return around val_old; the value is what must not move too far.",
            loss_of(value_window_of_return),
        ),
        Pitfall(
            "error clipped",
            "It clamps the error val - ret: large errors, which matter most, have no gradient.",
            loss_of(value_error_clipped),
        ),
        Pitfall(
            "square missing",
            "It is the absolute error; the square is missing.",
            loss_of(value_absolute),
        ),
        Pitfall(
            "signed error",
            "It is a signed error, without a square: minus infinity would be the best loss.",
            loss_of(value_signed),
        ),
        Pitfall(
            "maximum before the square",
            "It takes the maximum of the signed errors and squares it then: large negative errors lose.",
            loss_of(value_max_before_square),
        ),
        Pitfall(
            "maximum of means",
            "It averages first and takes the maximum of two numbers; the maximum is for each step.",
            value_max_of_means,
        ),
        Pitfall(
            "window of another width",
            "The window is twice (or half) as wide as val_old ± clip.",
            value_other_width(2.0),
            also=(value_other_width(0.5),),
        ),
        Pitfall(
            "one square missing",
            "One of the two errors is squared, the other is not: their maximum compares different units.",
            loss_of(value_one_square),
        ),
        *sum_pitfalls(value_right),
        *mask_pitfalls(value_right),
        nan_pitfall(lambda: CLIPPED_VALUE_LOSS, loss_of(value_without_nan)),
        *mean_symptoms(lambda: CLIPPED_VALUE_LOSS, value_right),
        symptom(
            lambda: CLIPPED_VALUE_LOSS,
            "not in squared units",
            "With values, returns and clip in a unit half as large the loss has to be 4 times as large; it is not.",
            loss_of(value_cubed),
            lambda at: differ(number(at["another unit"]), 4 * number(at["these four steps"])),
        ),
        *window_symptoms(
            lambda: CLIPPED_VALUE_LOSS,
            value_right,
            "the mean of (val - ret)^2",
            lambda val, val_old: val - val_old,
        ),
        Pitfall(
            "broadcast",
            "[3, 1] against [3] gives a 3 x 3 table: every value against every return.",
            loss_of(value_right, guard=False),
        ),
    ],
    read="lesson 5, “The critic”; Engstrom et al. 2020, section 3",
)

# --- entropy ---


def entropy_of(steps, mean=masked_mean):
    """The mean entropy from its formula for each state and the way the states are averaged."""

    def loss(logits, mask=None):
        same_shape(logits=logits[..., 0], mask=mask)
        return mean(steps(logits), mask)

    return loss


def entropy_right(logits):
    logp = torch.log_softmax(logits, -1)
    return -(logp.exp() * logp).sum(-1)


def entropy_unstable(logits):
    pi = torch.softmax(logits, -1)
    return -(pi * pi.log()).sum(-1)


def entropy_sign(logits):
    return -entropy_right(logits)


def entropy_bits(logits):
    return entropy_right(logits) / torch.log(torch.tensor(2.0, dtype=logits.dtype))


def entropy_mean_over_actions(logits):
    return entropy_right(logits) / logits.shape[-1]


def entropy_logits_as_logp(logits):
    return -(torch.softmax(logits, -1) * logits).sum(-1)


def entropy_constant_pi(logits):
    logp = torch.log_softmax(logits, -1)
    return -(logp.exp().detach() * logp).sum(-1)


def entropy_unweighted(logits):
    return -torch.log_softmax(logits, -1).mean(-1)


def entropy_relative(logits):
    return entropy_right(logits) / torch.log(
        torch.tensor(float(logits.shape[-1]), dtype=logits.dtype)
    )


def entropy_twice_softmax(logits):
    return entropy_right(torch.softmax(logits, -1))


def entropy_gini(logits):
    return 1 - (torch.softmax(logits, -1) ** 2).sum(-1)


def entropy_of_greedy(logits):
    return -torch.log_softmax(logits, -1).max(-1).values


def entropy_perplexity(logits):
    return entropy_right(logits).exp()


def entropy_to_uniform(logits):
    return torch.log(torch.tensor(float(logits.shape[-1]), dtype=logits.dtype)) - entropy_right(
        logits
    )


def entropy_guarded(logits):
    pi = torch.softmax(logits, -1)
    return -(pi * (pi + 1e-2).log()).sum(-1)


def entropy_logits_for_everything(logits):
    return -(logits.exp() * logits).sum(-1)


def entropy_logits_as_probs(logits):
    return -(logits * logits.clamp(min=1e-8).log()).sum(-1)


def entropy_unweighted_sum(logits):
    return -torch.log_softmax(logits, -1).sum(-1)


def entropy_logits_clamped(logits):
    return entropy_right(logits.clamp(-10, 10))


def entropy_last_action_dropped(logits):
    logp = torch.log_softmax(logits, -1)
    return -(logp.exp() * logp)[..., :-1].sum(-1)


def entropy_least_sure(logits):
    return 1 - torch.softmax(logits, -1).max(-1).values


def entropy_of_a_sample(logits):
    logp = torch.log_softmax(logits, -1)
    act = torch.distributions.Categorical(logits=logits).sample()
    return -logp.gather(-1, act.unsqueeze(-1)).squeeze(-1)


def entropy_over_everything(logits):
    logp = torch.log_softmax(logits.reshape(-1), 0).reshape(logits.shape)
    return -(logp.exp() * logp).sum(-1)


def entropy_of_mean_logits(logits, mask=None):
    same_shape(logits=logits[..., 0], mask=mask)
    kept = logits if mask is None else logits[mask]
    return entropy_right(kept.reshape(-1, logits.shape[-1]).mean(0))


def entropy_over_axis_one(logits, mask=None):
    same_shape(logits=logits[..., 0], mask=mask)
    logp = torch.log_softmax(logits, 1)
    return masked_mean(-(logp.exp() * logp).sum(-1), mask)


def entropy_over_states(logits, mask=None):
    same_shape(logits=logits[..., 0], mask=mask)
    logp = torch.log_softmax(logits, 0)
    return masked_mean(-(logp.exp() * logp).sum(-1), mask)


def entropy_of_mean_policy(logits, mask=None):
    same_shape(logits=logits[..., 0], mask=mask)
    pi = torch.softmax(logits, -1)
    pi = (pi if mask is None else pi[mask]).reshape(-1, logits.shape[-1]).mean(0)
    return -(pi * pi.clamp(min=1e-30).log()).sum()


def entropy_unguarded(logits, mask=None):
    ent = entropy_right(logits)
    return ent.mean() if mask is None else torch.where(mask, ent, 0.0).sum() / mask.sum()


def ragged_logits(g):
    return dict(logits=2 * normal(g, 4, 8, 3), mask=masks(g, 4, 8))


def logits_table():
    """Four states, three actions: from almost certain to undecided."""
    return dict(
        logits=torch.tensor([[2.0, -1.0, 0.5], [0.1, 0.3, -0.2], [-3.0, 1.0, 0.0], [0.7, 2.5, 0.4]])
    )


def shifted_logits():
    return dict(logits=logits_table()["logits"] + torch.tensor([[1.0], [-2.0], [0.5], [3.0]]))


def reordered_logits():
    return dict(logits=logits_table()["logits"][:, [2, 0, 1]])


def mean_with_uniform_padding(over_all):
    """The padding's logits are set to 0: a uniform policy, whose entropy counts."""

    def loss(logits, mask=None):
        same_shape(logits=logits[..., 0], mask=mask)
        if mask is None:
            return entropy_right(logits).mean()
        ent = entropy_right(torch.where(mask.unsqueeze(-1), logits, 0.0))
        return ent.mean() if over_all else ent.sum() / mask.sum()

    return loss


def entropy_at_temperature(temperature):
    return entropy_of(lambda logits: entropy_right(logits / temperature(logits)))


def entropy_smoothed(logits):
    pi = 0.97 * torch.softmax(logits, -1) + 0.03 / logits.shape[-1]
    return -(pi * pi.log()).sum(-1)


def entropy_of_collisions(logits):
    """Tsallis entropy of order 3/2."""
    return 2 * (1 - (torch.softmax(logits, -1) ** 1.5).sum(-1))


def entropy_of_sigmoids(logits):
    return torch.distributions.Bernoulli(logits=logits).entropy().mean(-1)


def entropy_order_counts(logits):
    places = torch.linspace(0.9, 1.1, logits.shape[-1], dtype=logits.dtype)
    logp = torch.log_softmax(logits, -1)
    return -(places * logp.exp() * logp).sum(-1)


ENTROPY = Exercise(
    reference=entropy,
    parts={"values": 2, "large logits": 1, "masks": 1, "shapes": 1, "clean": 1},
    cases=[
        Case(
            "two states, two actions",
            lambda g: dict(logits=torch.tensor([[0.0, 0.0], [0.0, 1.0]])),
            "values",
            ("logits",),
        ),
        Case("ten states", lambda g: dict(logits=normal(g, 10, 4)), "values", ("logits",)),
        Case(
            "time and environments",
            lambda g: dict(logits=2 * normal(g, 5, 3, 6, dtype=F64)),
            "values",
            ("logits",),
        ),
        *halves("values", logits_table, ("logits",)),
        Case("the same states, shifted logits", lambda g: shifted_logits(), "values"),
        Case("the same states, actions in another order", lambda g: reordered_logits(), "values"),
        Case("four actions alike", lambda g: dict(logits=torch.zeros(1, 4)), "values"),
        Case("a certain policy", lambda g: dict(logits=50 * torch.eye(3)), "values"),
        Case(
            "large logits",
            lambda g: dict(logits=torch.tensor([[300.0, 0.0, -300.0], [1000.0, 1000.0, 999.0]])),
            "large logits",
            ("logits",),
        ),
        Case(
            "logits far apart",
            lambda g: dict(logits=100.0 * torch.rand(2, 6, generator=g).argsort(-1)),
            "large logits",
            ("logits",),
        ),
        Case(
            "conversations of different lengths", lambda g: ragged_logits(g), "masks", ("logits",)
        ),
        *paddings("masks", logits_table),
        Case(
            "a mask [4, 1] for 4 states",
            lambda g: dict(logits=normal(g, 4, 3), mask=torch.ones(4, 1, dtype=torch.bool)),
            "shapes",
            raises=True,
        ),
    ],
    pitfalls=[
        Pitfall(
            "sign",
            "It is negative: adding it to the objective makes the policy less random.",
            entropy_of(entropy_sign),
        ),
        Pitfall(
            "bits",
            "It is in bits (log 2); nats are used everywhere here: the coefficient is off by 1/ln 2.",
            entropy_of(entropy_bits),
        ),
        Pitfall(
            "mean over actions",
            "It averages over the actions too; their terms pi log pi are summed.",
            entropy_of(entropy_mean_over_actions),
        ),
        Pitfall(
            "logits as log-probabilities",
            "It uses the logits in place of log pi: they do not sum to a probability of 1.",
            entropy_of(entropy_logits_as_logp),
            also=(entropy_of(entropy_logits_for_everything),),
        ),
        Pitfall(
            "logits as probabilities",
            "It uses the logits in place of pi: a softmax is missing.",
            entropy_of(entropy_logits_as_probs),
        ),
        Pitfall(
            "a bonus without a gradient",
            "The value is right, its gradient is zero: the result, or pi inside the sum, is detached.",
            entropy_of(entropy_constant_pi),
            "It can be logged, but as a bonus it does nothing. (Neither does -logp of sampled "
            "actions: its gradient is zero on average.)",
        ),
        Pitfall(
            "not weighted",
            "It takes -log pi of all actions alike; the policy's probabilities are the weights.",
            entropy_of(entropy_unweighted),
            also=(entropy_of(entropy_unweighted_sum),),
        ),
        Pitfall(
            "sampled action",
            "It is -log pi of a sampled action: right on average, but noisy, and its gradient is 0 on average. "
            "All actions are known: sum over them.",
            entropy_of(entropy_of_a_sample),
            telltale=uses_random_numbers,
        ),
        Pitfall(
            "last action left out",
            "The sum ends one action early.",
            entropy_of(entropy_last_action_dropped),
        ),
        Pitfall(
            "logits clamped",
            "It clamps the logits: a policy more certain than that looks undecided.",
            entropy_of(entropy_logits_clamped),
        ),
        Pitfall(
            "one minus the largest probability",
            "It is 1 - max pi, another measure of randomness.",
            entropy_of(entropy_least_sure),
        ),
        Pitfall(
            "relative to log A",
            "It is divided by log A, so that 1 is uniform; here it is in nats.",
            entropy_of(entropy_relative),
        ),
        Pitfall(
            "softmax twice",
            "The logits go through softmax twice: the policy looks more random than it is.",
            entropy_of(entropy_twice_softmax),
        ),
        Pitfall(
            "Gini impurity",
            "It is 1 - sum pi^2: another measure of randomness, not the entropy.",
            entropy_of(entropy_gini),
        ),
        Pitfall(
            "Rényi entropy",
            "It is -log sum pi^2, the Rényi entropy of order 2: another measure of randomness.",
            entropy_of(lambda logits: -torch.log((torch.softmax(logits, -1) ** 2).sum(-1))),
        ),
        Pitfall(
            "greedy action only",
            "It is -log pi of the most probable action alone.",
            entropy_of(entropy_of_greedy),
        ),
        Pitfall(
            "perplexity",
            "It is exp(entropy), the number of actions it feels like.",
            entropy_of(entropy_perplexity),
        ),
        Pitfall(
            "distance to uniform",
            "It is log A - entropy, the KL to the uniform policy: it falls as the entropy rises.",
            entropy_of(entropy_to_uniform),
        ),
        Pitfall(
            "0 log 0",
            "log of a probability that has become 0 is -inf, and 0 times -inf is nan: use log_softmax.",
            entropy_of(entropy_unstable),
        ),
        Pitfall(
            "large number inside the log",
            "The number added inside the log is so large that it changes the entropy.",
            entropy_of(entropy_guarded),
        ),
        Pitfall(
            "wrong axis",
            "The softmax runs over another axis than the last, or over everything; the actions are on the last one.",
            entropy_over_states,
            also=(entropy_of(entropy_over_everything), entropy_over_axis_one),
        ),
        Pitfall(
            "entropy of the mean logits",
            "It averages the logits first: the entropy belongs to each state.",
            entropy_of_mean_logits,
        ),
        Pitfall(
            "entropy of the mean policy",
            "It averages the policies first: states with opposite, certain actions look random.",
            entropy_of_mean_policy,
        ),
        *sum_pitfalls(entropy_right, entropy_of),
        *mask_pitfalls(entropy_right, entropy_of)[:-1],  # softmax makes no infinities
        Pitfall(
            "padding taken for a policy",
            "The padding's logits become 0, a uniform policy, whose entropy log A counts: select with logits[mask].",
            mean_with_uniform_padding(True),
            also=(mean_with_uniform_padding(False),),
        ),
        Pitfall(
            "another temperature",
            "The logits are divided (or multiplied) by a number first: the entropy of another policy.",
            entropy_at_temperature(lambda logits: 2.0),
            also=(
                entropy_at_temperature(lambda logits: 0.5),
                entropy_at_temperature(lambda logits: logits.shape[-1] ** 0.5),
            ),
        ),
        *mean_symptoms(lambda: ENTROPY, entropy_right, entropy_of),
        symptom(
            lambda: ENTROPY,
            "a shift of the logits counts",
            "One number added to all logits of a state leaves the policy as it is, but changes this result: "
            "pi has to be the softmax over the last axis.",
            entropy_of(entropy_of_sigmoids),
            lambda at: differ(
                number(at["the same states, shifted logits"]), number(at["these four steps"])
            ),
        ),
        symptom(
            lambda: ENTROPY,
            "the order of the actions counts",
            "The same probabilities in another order give another result.",
            entropy_of(entropy_order_counts),
            lambda at: differ(
                number(at["the same states, actions in another order"]),
                number(at["these four steps"]),
            ),
        ),
        symptom(
            lambda: ENTROPY,
            "certain but not zero",
            "A policy that always takes the same action has entropy 0; this is not.",
            entropy_of(entropy_smoothed),
            lambda at: differ(number(at["a certain policy"]), 0.0),
        ),
        symptom(
            lambda: ENTROPY,
            "not log A where all actions are alike",
            "With four actions alike the entropy is log 4 = 1.386; this is not.",
            entropy_of(entropy_of_collisions),
            lambda at: differ(number(at["four actions alike"]), math.log(4)),
        ),
        Pitfall(
            "broadcast",
            "A mask [4, 1] against 4 states becomes 4 x 4: each state counts four times.",
            entropy_unguarded,
        ),
    ],
    read="lesson 5, “Diagnostics: entropy and KL”; Mnih et al. 2016, section 4",
)

# --- approx_kl ---


def kl_right(logp, logp_old):
    return torch.expm1(logp - logp_old) - (logp - logp_old)


def kl_zero(logp, logp_old):
    return kl_right(logp, logp)


def kl_abs(logp, logp_old):
    return (logp - logp_old).abs()


def kl_plain(logp, logp_old):
    return logp_old - logp


def kl_plain_reversed(logp, logp_old):
    return logp - logp_old


def kl_prob_difference(logp, logp_old):
    return logp_old.exp() - logp.exp()


def kl_ratio_reversed(logp, logp_old):
    return kl_right(logp_old, logp)


def kl_half_square(logp, logp_old):
    return 0.5 * (logp - logp_old) ** 2


def kl_weighted(logp, logp_old):
    return (logp - logp_old).exp() * (logp - logp_old)


def kl_without_one(logp, logp_old):
    return (logp - logp_old).exp() - (logp - logp_old)


def kl_negative(logp, logp_old):
    return -kl_right(logp, logp_old)


def kl_ratio_only(logp, logp_old):
    return torch.expm1(logp - logp_old)


def kl_plus_log(logp, logp_old):
    return torch.expm1(logp - logp_old) + (logp - logp_old)


def kl_bits(logp, logp_old):
    return kl_right(logp, logp_old) / torch.log(torch.tensor(2.0, dtype=logp.dtype))


def kl_abs_prob_difference(logp, logp_old):
    return (logp_old.exp() - logp.exp()).abs()


def kl_one_term_inverted(logp, logp_old):
    return torch.expm1(logp_old - logp) - (logp - logp_old)


def kl_plus_one(logp, logp_old):
    return (logp - logp_old).exp() + 1 - (logp - logp_old)


def kl_new_to_old(logp, logp_old):
    log_rho = logp - logp_old
    return log_rho.exp() * log_rho - torch.expm1(log_rho)


def kl_both_ways(logp, logp_old):
    return torch.cosh(logp - logp_old) - 1


def kl_sum_of_both(logp, logp_old):
    return torch.expm1(logp - logp_old) * (logp - logp_old)


def kl_of_quotient(logp, logp_old):
    rho = logp / logp_old
    return rho - 1 - rho.log()


def kl_weighted_new(logp, logp_old):
    return logp.exp() * (logp - logp_old)


def kl_underflows(logp, logp_old):
    rho = logp.exp() / logp_old.exp()
    return rho - 1 - (logp - logp_old)


def kl_log_of_underflow(logp, logp_old):
    rho = logp.exp() / logp_old.exp()
    return rho - 1 - rho.log()


def kl_limited(limit):
    def steps(logp, logp_old):
        return kl_right((logp - logp_old).clamp(-limit, limit), torch.zeros_like(logp))

    return steps


def kl_guarded(logp, logp_old):
    rho = (logp - logp_old).exp()
    return rho - 1 - (rho + 1e-8).log()


def kl_abs_of_mean(logp, logp_old, mask=None):
    same_shape(logp=logp, logp_old=logp_old, mask=mask)
    return masked_mean(logp_old - logp, mask).abs()


def kl_largest(logp, logp_old, mask=None):
    same_shape(logp=logp, logp_old=logp_old, mask=mask)
    term = kl_right(logp, logp_old)
    return (term if mask is None else term[mask]).max()


def kl_normalized(logp, logp_old, mask=None):
    """Two distributions made of the numbers of a batch."""
    same_shape(logp=logp, logp_old=logp_old, mask=mask)
    if mask is not None:
        logp, logp_old = logp[mask], logp_old[mask]
    p, q = (torch.log_softmax(x.reshape(-1), 0) for x in (logp, logp_old))
    return (q.exp() * (q - p)).sum()


def kl_weighted_sum(logp, logp_old, mask=None):
    same_shape(logp=logp, logp_old=logp_old, mask=mask)
    if mask is not None:
        logp, logp_old = logp[mask], logp_old[mask]
    return (logp_old.exp() * (logp_old - logp)).sum()


def kl_batchmean(logp, logp_old, mask=None):
    return kl_weighted_sum(logp, logp_old, mask) / (len(logp) if mask is None else mask.sum())


def kl_clamped(logp, logp_old, mask=None):
    same_shape(logp=logp, logp_old=logp_old, mask=mask)
    return masked_mean(logp_old - logp, mask).clamp(min=0)


def kl_of_mean(logp, logp_old, mask=None):
    same_shape(logp=logp, logp_old=logp_old, mask=mask)
    log_rho = masked_mean(logp - logp_old, mask)
    return torch.expm1(log_rho) - log_rho


def kl_of_batch_as_distribution(logp, logp_old, mask=None):
    same_shape(logp=logp, logp_old=logp_old, mask=mask)
    return masked_mean(logp_old.exp() * (logp_old - logp), mask)


def kl_of_mean_ratio(logp, logp_old, mask=None):
    same_shape(logp=logp, logp_old=logp_old, mask=mask)
    rho = masked_mean(torch.exp(logp - logp_old), mask)
    return rho - 1 - rho.log()


def kl_log_of_exp(logp, logp_old):
    rho = torch.exp(logp - logp_old)
    return rho - 1 - rho.log()


def kl_chi_square(logp, logp_old):
    return 0.5 * torch.expm1(logp - logp_old) ** 2


def kl_without_nan(logp, logp_old):
    return kl_right(logp, logp_old).nan_to_num()


def kl_offset(logp, logp_old):
    return kl_right(logp, logp_old) + 0.01


def kl_doubly_weighted(logp, logp_old):
    return (2 - logp.exp()) * kl_right(logp, logp_old)


def kl_even(logp, logp_old):
    return torch.log(torch.cosh(logp - logp_old))


def kl_cubic(logp, logp_old):
    return (logp - logp_old) ** 2 / 2 + (logp - logp_old) ** 3 / 6


def kl_quartic(logp, logp_old):
    return kl_cubic(logp, logp_old) + (logp - logp_old) ** 4 / 24


def kl_first_order(logp, logp_old):
    return torch.relu(logp_old - logp)


def four_small_steps():
    """Changes by 1 %: the KL is 0.00005."""
    logp = four_steps()["logp"]
    return dict(logp=logp, logp_old=logp - 0.01 * torch.tensor([1.0, -1.0, 1.0, -1.0]))


def exchanged(args):
    return dict(logp=args["logp_old"], logp_old=args["logp"])


def died_out(g):
    """Actions whose ratio is 0 in 32 bits."""
    logp_old = -normal(g, 4).abs()
    return dict(logp=logp_old - 120 - torch.rand(4, generator=g), logp_old=logp_old)


APPROX_KL = Exercise(
    reference=approx_kl,
    parts={"values": 2, "far and rare": 1, "masks": 1, "shapes": 1, "clean": 1},
    cases=[
        Case(
            "three actions",
            lambda g: dict(
                logp=torch.log(torch.tensor([0.5, 0.2, 0.3])),
                logp_old=torch.log(torch.tensor([0.25, 0.4, 0.3])),
            ),
            "values",
        ),
        Case(
            "an unchanged policy",
            lambda g: dict(logp=(x := -normal(g, 4).abs()), logp_old=x.clone()),
            "values",
        ),
        Case(
            "every action became more probable",
            lambda g: dict(logp=(x := -normal(g, 5).abs()), logp_old=x - 0.5),
            "values",
        ),
        Case(
            "every action became rarer",
            lambda g: dict(logp=(x := -normal(g, 5).abs()) - 0.4, logp_old=x),
            "values",
        ),
        Case("time and environments", lambda g: log_probs(g, 16, 4), "values"),
        Case("float64", lambda g: log_probs(g, 20, dtype=F64), "values"),
        *halves("values", four_steps),
        Case("old and new exchanged", lambda g: exchanged(four_steps()), "values"),
        Case("ten times rarer", lambda g: rare(four_steps(), 2.3), "values"),
        Case("four small steps", lambda g: four_small_steps(), "values"),
        Case("a policy far away", lambda g: far_apart(g, 4), "far and rare"),
        Case(
            "actions that have almost died out",
            lambda g: dict(logp=-14 - torch.rand(4, generator=g), logp_old=-normal(g, 4).abs()),
            "far and rare",
        ),
        Case("very rare actions", lambda g: rare(log_probs(g, 6)), "far and rare"),
        Case("an enormous step", lambda g: far_apart(g, 4, far=40), "far and rare"),
        Case("actions that died out", lambda g: died_out(g), "far and rare"),
        Case(BROKEN, lambda g: broken(four_steps, "logp"), "far and rare"),
        Case(
            "conversations of different lengths",
            lambda g: padded(log_probs(g, 4, 8), masks(g, 4, 8)),
            "masks",
        ),
        Case(
            "nan in the padding",
            lambda g: padded(log_probs(g, 4, 8), masks(g, 4, 8), "logp", "logp_old"),
            "masks",
        ),
        *paddings("masks", four_steps),
        Case(
            "logp [3] and logp_old [3, 1]",
            lambda g: dict(logp=-normal(g, 3).abs(), logp_old=-normal(g, 3, 1).abs()),
            "shapes",
            raises=True,
        ),
        Case(
            "a mask [4] for steps [4, 5]",
            lambda g: log_probs(g, 4, 5) | dict(mask=torch.tensor([True, False, True, True])),
            "shapes",
            raises=True,
        ),
    ],
    pitfalls=[
        Pitfall(
            "always zero",
            "It compares the new policy with itself: 0, whatever happened.",
            loss_of(kl_zero),
        ),
        Pitfall(
            "absolute difference",
            "It is mean |logp - logp_old|, which is of first order in the step; a KL is of second.",
            loss_of(kl_abs),
        ),
        Pitfall(
            "plain estimate",
            "It is mean(logp_old - logp): right on average, but a batch can make it negative. k3 never is.",
            loss_of(kl_plain),
        ),
        Pitfall(
            "plain estimate reversed",
            "It is mean(logp - logp_old): the plain estimate with its sign reversed.",
            loss_of(kl_plain_reversed),
        ),
        Pitfall(
            "plain estimate cut off",
            "It is the plain estimate with negative results set to 0: no longer right on average.",
            kl_clamped,
        ),
        Pitfall(
            "probabilities subtracted",
            "It subtracts probabilities; a KL is made of log-probabilities.",
            loss_of(kl_prob_difference),
            also=(loss_of(kl_abs_prob_difference),),
        ),
        Pitfall(
            "other direction",
            "rho is old over new: with actions from the old policy this estimates no KL.",
            loss_of(kl_ratio_reversed),
        ),
        Pitfall(
            "half the square",
            "It is k2, (half) the squared log ratio: close to the KL for small steps, biased for large ones.",
            loss_of(kl_half_square),
        ),
        Pitfall(
            "KL of new to old",
            "It is made of rho log rho, which estimates KL(pi || pi_old), the other direction.",
            loss_of(kl_weighted),
            also=(loss_of(kl_new_to_old),),
        ),
        Pitfall(
            "one not subtracted",
            "It is rho - log rho: the 1 is missing, so an unchanged policy has a KL of 1.",
            loss_of(kl_without_one),
        ),
        Pitfall(
            "one added",
            "It adds 1 where it has to subtract it: an unchanged policy has a KL of 2.",
            loss_of(kl_plus_one),
        ),
        Pitfall(
            "one term upside down",
            "rho is old over new in one term and not in the other: the two no longer belong together.",
            loss_of(kl_one_term_inverted),
        ),
        Pitfall(
            "both directions",
            "It adds or averages the estimates of both directions; with actions from the old policy only one is right.",
            loss_of(kl_both_ways),
            also=(
                loss_of(lambda logp, logp_old: 2 * kl_both_ways(logp, logp_old)),
                loss_of(kl_sum_of_both),
            ),
        ),
        Pitfall(
            "quotient of log-probabilities",
            "rho is a quotient of log-probabilities; it is exp of their difference.",
            loss_of(kl_of_quotient),
        ),
        Pitfall(
            "underflow",
            "rho divides exp(logp) by exp(logp_old): for a rare action that is 0 / 0. Subtract the logs first.",
            loss_of(kl_underflows),
            also=(loss_of(kl_log_of_underflow),),
        ),
        Pitfall(
            "log ratio limited",
            "The log ratio is clamped: the KL of a policy that is far away looks small.",
            loss_of(kl_limited(10.0)),
            also=tuple(loss_of(kl_limited(limit)) for limit in (1.0, 2.0, 3.0, 5.0, 20.0, 30.0)),
        ),
        Pitfall(
            "small number inside the log",
            "The small number inside the log spoils the term of actions that became rare; "
            "log rho is logp - logp_old.",
            loss_of(kl_guarded),
        ),
        Pitfall(
            "weighted with the new probabilities",
            "It weights with pi(a) although the actions were drawn already, from pi_old.",
            loss_of(kl_weighted_new),
            also=(loss_of(kl_weighted_new, total),),
        ),
        Pitfall(
            "absolute value of the plain estimate",
            "It is |mean(logp - logp_old)|: never negative, but no longer right on average.",
            kl_abs_of_mean,
        ),
        Pitfall(
            "largest term",
            "It is the largest term; the mean is asked for.",
            kl_largest,
        ),
        Pitfall(
            "batch taken for a distribution",
            "It normalizes over the batch: those log-probabilities belong to different states.",
            kl_normalized,
        ),
        Pitfall(
            "log term missing",
            "It is rho - 1, which is 0 on average: the log ratio is missing.",
            loss_of(kl_ratio_only),
        ),
        Pitfall(
            "log term added",
            "It adds the log ratio; it has to be subtracted.",
            loss_of(kl_plus_log),
        ),
        Pitfall("sign", "Its sign is reversed: a KL is never negative.", loss_of(kl_negative)),
        Pitfall("bits", "It is in bits; nats are used everywhere here.", loss_of(kl_bits)),
        Pitfall(
            "mean ratio first",
            "It averages the ratios (or their logs) first: opposite changes cancel out.",
            kl_of_mean,
            also=(kl_of_mean_ratio,),
        ),
        Pitfall(
            "log of the ratio",
            "It takes exp and then log: where an action has died out the ratio is 0 in 32 bits, and its log "
            "minus infinity. log rho is logp - logp_old.",
            loss_of(kl_log_of_exp),
        ),
        Pitfall(
            "square of rho - 1",
            "It is (half) the square of rho - 1, the chi-square distance: close to the KL for small steps only.",
            loss_of(kl_chi_square),
        ),
        Pitfall(
            "weighted with the old probabilities",
            "It weights with pi_old(a) although the actions were drawn from pi_old: counted twice.",
            kl_of_batch_as_distribution,
            also=(kl_weighted_sum, kl_batchmean),
        ),
        *sum_pitfalls(kl_right),
        *mask_pitfalls(kl_right),
        nan_pitfall(lambda: APPROX_KL, loss_of(kl_without_nan)),
        *mean_symptoms(lambda: APPROX_KL, kl_right),
        symptom(
            lambda: APPROX_KL,
            "not zero for an unchanged policy",
            "Where old and new are the same, k3 is 0; this is not.",
            loss_of(kl_offset),
            lambda at: differ(number(at["an unchanged policy"]), 0.0),
        ),
        symptom(
            lambda: APPROX_KL,
            "more than the ratio",
            "It changes when all log-probabilities are shifted alike; k3 depends on their difference alone.",
            loss_of(kl_doubly_weighted),
            lambda at: differ(number(at["ten times rarer"]), number(at["these four steps"])),
        ),
        symptom(
            lambda: APPROX_KL,
            "old and new alike",
            "It stays the same when old and new change places: it cannot tell KL(pi_old || pi) "
            "from KL(pi || pi_old).",
            loss_of(kl_even),
            lambda at: (
                abs(number(at["old and new exchanged"]) - number(at["these four steps"])) < 1e-6
            ),
        ),
        symptom(
            lambda: APPROX_KL,
            "negative for some batches",
            "It comes out negative for some batches; k3 never does.",
            loss_of(kl_cubic),
            lambda at: any(number(seen) < -1e-6 for seen in at.values()),
        ),
        symptom(
            lambda: APPROX_KL,
            "right for small steps only",
            "Where every action changed by 1 % it is right, for greater changes it is not: "
            "an approximation, or something is cut off.",
            loss_of(kl_quartic),
            lambda at: abs(number(at["four small steps"]) - 5e-5) < 1e-6,
        ),
        symptom(
            lambda: APPROX_KL,
            "first order in the step",
            "Where every action changed by 1 %, the KL is 0.00005; this is ten times as much or more.",
            loss_of(kl_first_order),
            lambda at: number(at["four small steps"]) > 5e-4,
        ),
        Pitfall(
            "broadcast",
            "[3] against [3, 1] gives a 3 x 3 table: every action compared with every other.",
            loss_of(kl_right, guard=False),
        ),
    ],
    read="lesson 5, “Diagnostics: entropy and KL”; Schulman 2020, “Approximating KL divergence”",
)

# --- ppo_update ---


def normalized(rollout):
    return {**rollout, "adv": normalize_advantage(rollout["adv"], rollout.get("mask"))}


def normalized_unbiased(rollout):
    """The standard deviation over N - 1, as `torch.std` has it by default."""
    kept = rollout["adv"] if rollout.get("mask") is None else rollout["adv"][rollout["mask"]]
    return {**rollout, "adv": (rollout["adv"] - kept.mean()) / (kept.std() + 1e-8)}


def shuffled(n_columns, config, generator):
    for _ in range(config.epochs):
        yield minibatch_columns(n_columns, config.minibatches, generator)


def columns_of(data, columns):
    return {key: x[:, columns] for key, x in data.items()}


def as_it_is(policy, data):
    return data


def old_stored(batch, logp):
    return batch["logp"]


def weighted_sum(policy_loss, value_loss, bonus, config):
    return policy_loss + config.value_coef * value_loss - config.entropy_coef * bonus


def descend(policy, optimizer, loss, config, i):
    optimizer.zero_grad()
    loss.backward()
    nn.utils.clip_grad_norm_(policy.parameters(), config.max_grad_norm)
    optimizer.step()


def plain_bonus(ent, batch, mask):
    return masked_mean(ent, mask)


def value_of(val, batch, config, mask):
    return clipped_value_loss(val, batch["val"], batch["ret"], config.value_clip, mask)


def updating(
    prepare=normalized,
    epochs=shuffled,
    each_epoch=as_it_is,
    select=columns_of,
    each_batch=as_it_is,
    old=old_stored,
    value=value_of,
    bonus=plain_bonus,
    total=weighted_sum,
    step=descend,
    policy_loss=None,
    kl_of=approx_kl,
    diagnosis=diagnose,
    stop="at once",
    limit=1.0,
    report=summarize,
):
    """`ppo_update` with one of its pieces replaced: a mistake, or another convention."""

    def update(policy, optimizer, rollout, config, loss=ppo_clip_loss, generator=None):
        log, data = [], prepare(rollout)
        for epoch in epochs(data["adv"].shape[1], config, generator):
            data = each_epoch(policy, data)
            for i, chosen in enumerate(epoch):
                batch = each_batch(policy, select(data, chosen))
                mask = batch.get("mask")
                logp, ent, val = policy.evaluate(batch["obs"], batch["act"])
                logp_old = old(batch, logp)
                pi_loss = (policy_loss or loss)(logp, logp_old, batch["adv"], config.clip, mask)
                v_loss, extra = value(val, batch, config, mask), bonus(ent, batch, mask)
                kl = kl_of(logp.detach(), logp_old.detach(), mask)
                log.append(diagnosis(pi_loss, v_loss, extra, kl, logp, logp_old, config.clip, mask))
                too_far = kl > limit * config.target_kl
                if too_far and stop == "before the log":
                    return report(log[:-1])
                if too_far and stop == "at once":
                    return report(log)
                if too_far and stop == "this epoch":
                    break
                if too_far and stop == "this minibatch":
                    continue
                step(policy, optimizer, total(pi_loss, v_loss, extra, config), config, i)
                if too_far and stop == "one step late":
                    return report(log)
            if too_far and stop == "after the epoch":
                break
        return report(log)

    return update


@torch.no_grad()
def old_from_now(policy, data):
    return {**data, "logp": policy.evaluate(data["obs"], data["act"])[0]}


def old_from_the_start():
    """Recomputed once, before the first epoch."""

    def update(policy, optimizer, rollout, config, loss=ppo_clip_loss, generator=None):
        rollout = old_from_now(policy, rollout)
        return ppo_update(policy, optimizer, rollout, config, loss, generator)

    return update


def old_alive(batch, logp):
    return logp


def fresh_actions(policy, batch):
    return {**batch, "act": policy.act(batch["obs"])}


def normalized_batch(policy, batch):
    return {**batch, "adv": normalize_advantage(batch["adv"], batch.get("mask"))}


def select_and_overwrite(data, columns):
    mask = data["mask"][:, columns] if "mask" in data else None
    data["adv"][:, columns] = normalize_advantage(data["adv"][:, columns], mask)
    return columns_of(data, columns)


def copied(rollout):
    return {**rollout, "adv": rollout["adv"].clone()}


def normalized_with_padding(rollout):
    return {**rollout, "adv": normalize_advantage(rollout["adv"])}


def centered(rollout):
    adv = rollout["adv"]
    mean = masked_mean(adv, rollout.get("mask"))
    return {**rollout, "adv": adv - mean}


def without_mask(rollout):
    rest = {key: x for key, x in rollout.items() if key != "mask"}
    return normalized(rest)


def one_epoch(n_columns, config, generator):
    yield minibatch_columns(n_columns, config.minibatches, generator)


def in_order(n_columns, config, generator):
    for _ in range(config.epochs):
        yield torch.arange(n_columns).chunk(config.minibatches)


def shuffled_once(n_columns, config, generator):
    return [minibatch_columns(n_columns, config.minibatches, generator)] * config.epochs


def split_by_size(n_columns, config, generator):
    for _ in range(config.epochs):
        yield torch.randperm(n_columns, generator=generator).split(config.minibatches)


def first_minibatch(n_columns, config, generator):
    for _ in range(config.epochs):
        yield minibatch_columns(n_columns, config.minibatches, generator)[:1]


def with_replacement(n_columns, config, generator):
    size = -(-n_columns // config.minibatches)
    for _ in range(config.epochs):
        yield [
            torch.randint(n_columns, (size,), generator=generator)
            for _ in range(config.minibatches)
        ]


def with_replacement_in_one_draw(n_columns, config, generator):
    for _ in range(config.epochs):
        yield torch.randint(n_columns, (n_columns,), generator=generator).chunk(config.minibatches)


def shuffled_globally(n_columns, config, generator):
    for _ in range(config.epochs):
        yield minibatch_columns(n_columns, config.minibatches)


def draws_globally(seen):
    """A generator of its own is right here, so only what a global random state shows counts."""
    return any("random state" in name for s in seen for name in s["state"])


def one_epoch_more(n_columns, config, generator):
    for _ in range(config.epochs + 1):
        yield minibatch_columns(n_columns, config.minibatches, generator)


def whole_rollout(n_columns, config, generator):
    for _ in range(config.epochs):
        yield [torch.arange(n_columns)]


def remainder_dropped(n_columns, config, generator):
    size = n_columns // config.minibatches
    for _ in range(config.epochs):
        yield torch.randperm(n_columns, generator=generator).split(size)[: config.minibatches]


def remainder_apart(n_columns, config, generator):
    size = max(n_columns // config.minibatches, 1)
    for _ in range(config.epochs):
        yield torch.randperm(n_columns, generator=generator).split(size)


def epochs_inside(n_columns, config, generator):
    for columns in minibatch_columns(n_columns, config.minibatches, generator):
        yield [columns] * config.epochs


def kept_of(rollout):
    return rollout["adv"] if rollout.get("mask") is None else rollout["adv"][rollout["mask"]]


def scaled_only(rollout):
    return {**rollout, "adv": rollout["adv"] / (kept_of(rollout).std(correction=0) + 1e-8)}


def scaled_only_unbiased(rollout):
    return {**rollout, "adv": rollout["adv"] / (kept_of(rollout).std() + 1e-8)}


def divided_by_variance(rollout):
    kept = kept_of(rollout)
    return {**rollout, "adv": (rollout["adv"] - kept.mean()) / (kept.var(correction=0) + 1e-8)}


def divided_by_variance_unbiased(rollout):
    kept = kept_of(rollout)
    return {**rollout, "adv": (rollout["adv"] - kept.mean()) / (kept.var() + 1e-8)}


def normalized_along(axis, correction):
    def prepare(rollout):
        adv = rollout["adv"]
        std = adv.std(axis, keepdim=True, correction=correction)
        return {**rollout, "adv": (adv - adv.mean(axis, keepdim=True)) / (std + 1e-8)}

    return prepare


def normalized_with_padding_unbiased(rollout):
    adv = rollout["adv"]
    return {**rollout, "adv": (adv - adv.mean()) / (adv.std() + 1e-8)}


def normalized_batch_unbiased(policy, batch):
    return normalized_unbiased(batch)


def returns_follow(rollout):
    data = normalized(rollout)
    return {**data, "ret": data["adv"] + data["val"]}


def returns_less_values(rollout):
    return {**rollout, "adv": rollout["ret"] - rollout["val"]}


def returns_normalized(rollout):
    data = normalized(rollout)
    return {**data, "ret": normalize_advantage(data["ret"], data.get("mask"))}


def returns_for_advantages(rollout):
    return {**rollout, "adv": rollout["ret"]}


def advantages_clamped(rollout):
    data = normalized(rollout)
    return {**data, "adv": data["adv"].clamp(-2, 2)}


@torch.no_grad()
def advantages_from_now(policy, batch):
    """The return less the value that the critic gives by now, normalized or not."""
    val = policy.evaluate(batch["obs"], batch["act"])[2]
    return {**batch, "adv": batch["ret"] - val}


def advantages_from_now_normalized(policy, batch):
    return normalized_batch(policy, advantages_from_now(policy, batch))


def select_all_but_advantages(data, columns):
    """The advantages keep the old order of the columns."""
    return columns_of(data, columns) | {"adv": data["adv"][:, columns.sort().values]}


def own_generator(n_columns, config, generator):
    return list(shuffled(n_columns, config, torch.Generator().manual_seed(0)))


def rows_for_columns(policy, optimizer, rollout, config, loss=ppo_clip_loss, generator=None):
    T = rollout["adv"].shape[0]
    return updating(
        epochs=lambda n_columns, config, generator: shuffled(T, config, generator),
        select=lambda data, rows: {key: x[rows] for key, x in data.items()},
    )(policy, optimizer, rollout, config, loss, generator)


def steps_for_columns(policy, optimizer, rollout, config, loss=ppo_clip_loss, generator=None):
    T, B = rollout["adv"].shape
    return updating(
        epochs=lambda n_columns, config, generator: shuffled(T * B, config, generator),
        select=lambda data, chosen: {key: x.flatten(0, 1)[chosen] for key, x in data.items()},
    )(policy, optimizer, rollout, config, loss, generator)


def step_without_zero_grad(policy, optimizer, loss, config, i):
    loss.backward()
    nn.utils.clip_grad_norm_(policy.parameters(), config.max_grad_norm)
    optimizer.step()


def step_zeroes_each_epoch(policy, optimizer, loss, config, i):
    if i == 0:
        optimizer.zero_grad()
    step_without_zero_grad(policy, optimizer, loss, config, i)


def step_unlimited(policy, optimizer, loss, config, i):
    optimizer.zero_grad()
    loss.backward()
    optimizer.step()


def step_limited_apart(policy, optimizer, loss, config, i):
    optimizer.zero_grad()
    loss.backward()
    for part in policy.children():
        nn.utils.clip_grad_norm_(part.parameters(), config.max_grad_norm)
    optimizer.step()


def step_limited_by_parameter(policy, optimizer, loss, config, i):
    optimizer.zero_grad()
    loss.backward()
    for p in policy.parameters():
        nn.utils.clip_grad_norm_([p], config.max_grad_norm)
    optimizer.step()


def step_limited_actor(policy, optimizer, loss, config, i):
    optimizer.zero_grad()
    loss.backward()
    nn.utils.clip_grad_norm_(next(policy.children()).parameters(), config.max_grad_norm)
    optimizer.step()


def step_limited_to(limit):
    def step(policy, optimizer, loss, config, i):
        optimizer.zero_grad()
        loss.backward()
        nn.utils.clip_grad_norm_(policy.parameters(), limit(config))
        optimizer.step()

    return step


def step_zeroes_at_the_start(
    policy, optimizer, rollout, config, loss=ppo_clip_loss, generator=None
):
    optimizer.zero_grad()
    update = updating(step=step_without_zero_grad)
    return update(policy, optimizer, rollout, config, loss, generator)


def step_limited_each(policy, optimizer, loss, config, i):
    optimizer.zero_grad()
    loss.backward()
    nn.utils.clip_grad_value_(policy.parameters(), config.max_grad_norm)
    optimizer.step()


def step_never(policy, optimizer, loss, config, i):
    optimizer.zero_grad()
    loss.backward()


def step_twice(policy, optimizer, loss, config, i):
    descend(policy, optimizer, loss, config, i)
    optimizer.step()


def accumulating(policy, optimizer, rollout, config, loss=ppo_clip_loss, generator=None):
    """The gradients of an epoch's minibatches are added up; then one step."""
    last = (
        len(minibatch_columns(rollout["adv"].shape[1], config.minibatches, torch.Generator())) - 1
    )

    def step(policy, optimizer, loss, config, i):
        if i == 0:
            optimizer.zero_grad()
        loss.backward()
        if i == last:
            nn.utils.clip_grad_norm_(policy.parameters(), config.max_grad_norm)
            optimizer.step()

    return updating(step=step)(policy, optimizer, rollout, config, loss, generator)


def total_entropy_sign(policy_loss, value_loss, bonus, config):
    return policy_loss + config.value_coef * value_loss + config.entropy_coef * bonus


def total_without_entropy(policy_loss, value_loss, bonus, config):
    return policy_loss + config.value_coef * value_loss


def total_without_value(policy_loss, value_loss, bonus, config):
    return policy_loss - config.entropy_coef * bonus


def total_value_unweighted(policy_loss, value_loss, bonus, config):
    return policy_loss + value_loss - config.entropy_coef * bonus


def total_value_sign(policy_loss, value_loss, bonus, config):
    return policy_loss - config.value_coef * value_loss - config.entropy_coef * bonus


def total_ascends(policy_loss, value_loss, bonus, config):
    return -policy_loss + config.value_coef * value_loss - config.entropy_coef * bonus


def total_entropy_unweighted(policy_loss, value_loss, bonus, config):
    return policy_loss + config.value_coef * value_loss - bonus


def total_coefficients_swapped(policy_loss, value_loss, bonus, config):
    return policy_loss + config.entropy_coef * value_loss - config.value_coef * bonus


def total_one_coefficient(name):
    def total(policy_loss, value_loss, bonus, config):
        return policy_loss + getattr(config, name) * (value_loss - bonus)

    return total


def total_value_halved(policy_loss, value_loss, bonus, config):
    return weighted_sum(policy_loss, value_loss / 2, bonus, config)


def total_policy_weighted(policy_loss, value_loss, bonus, config):
    return config.value_coef * (policy_loss + value_loss) - config.entropy_coef * bonus


def total_policy_alone(policy_loss, value_loss, bonus, config):
    return policy_loss


def total_policy_left_out(policy_loss, value_loss, bonus, config):
    return config.value_coef * value_loss - config.entropy_coef * bonus


def total_sign(policy_loss, value_loss, bonus, config):
    return -weighted_sum(policy_loss, value_loss, bonus, config)


def total_divided(policy_loss, value_loss, bonus, config):
    return weighted_sum(policy_loss, value_loss, bonus, config) / config.minibatches


def total_fixed_coefficients(policy_loss, value_loss, bonus, config):
    return policy_loss + 0.5 * value_loss - 0.01 * bonus


def total_fixed_entropy(policy_loss, value_loss, bonus, config):
    return policy_loss + config.value_coef * value_loss - 0.01 * bonus


def total_fixed_value(policy_loss, value_loss, bonus, config):
    return policy_loss + 0.5 * value_loss - config.entropy_coef * bonus


def bonus_times_advantage(ent, batch, mask):
    return masked_mean(ent * batch["adv"], mask)


def bonus_with_padding(ent, batch, mask):
    return ent.mean()


def value_with_padding(val, batch, config, mask):
    return clipped_value_loss(val, batch["val"], batch["ret"], config.value_clip)


def value_not_clipped(val, batch, config, mask):
    return clipped_value_loss(val, batch["val"], batch["ret"], float("inf"), mask)


def value_clipped_like_ratio(val, batch, config, mask):
    return clipped_value_loss(val, batch["val"], batch["ret"], config.clip, mask)


def value_of_advantage(val, batch, config, mask):
    return clipped_value_loss(val, batch["val"], batch["adv"], config.value_clip, mask)


def value_against_itself(val, batch, config, mask):
    return clipped_value_loss(val, val.detach(), batch["ret"], config.value_clip, mask)


def value_of_old(val, batch, config, mask):
    return clipped_value_loss(val, batch["val"], batch["val"], config.value_clip, mask)


def value_swapped(val, batch, config, mask):
    return clipped_value_loss(val, batch["ret"], batch["val"], config.value_clip, mask)


def value_of_moving_target(val, batch, config, mask):
    target = batch["ret"] - batch["val"] + val.detach()
    return clipped_value_loss(val, batch["val"], target, config.value_clip, mask)


def value_smoothed(val, batch, config, mask):
    error = nn.functional.smooth_l1_loss(val, batch["ret"], reduction="none")
    return masked_mean(error, mask)


def value_summed(val, batch, config, mask):
    keep = slice(None) if mask is None else mask
    return ((val - batch["ret"])[keep] ** 2).sum()


def value_halved(val, batch, config, mask):
    return 0.5 * value_of(val, batch, config, mask)


def a2c_policy_loss(logp, logp_old, adv, clip, mask=None):
    return policy_gradient_loss(logp, adv, mask)


def unclipped_policy_loss(logp, logp_old, adv, clip, mask=None):
    return -masked_mean(torch.exp(logp - logp_old) * adv, mask)


def smoothed_clip_loss(logp, logp_old, adv, clip, mask=None):
    return ppo_clip_loss(logp, logp_old, adv, clip, mask)


def report_last(log):
    return {**summarize(log[-1:]), "first_ratio_error": log[0]["ratio_error"]}


def report_first(log):
    return summarize(log[:1])


def diagnosing(key, share):
    """`diagnose`, with another number for one entry: share(log rho, clip)."""

    def diagnosis(policy_loss, value_loss, bonus, kl, logp, logp_old, clip, mask=None):
        log_rho = (logp - logp_old).detach()
        log_rho = log_rho if mask is None else log_rho[mask]
        row = diagnose(policy_loss, value_loss, bonus, kl, logp, logp_old, clip, mask)
        return {**row, key: share(log_rho, clip).item()}

    return diagnosis


CLIP_FRACTIONS = (
    lambda log_rho, clip: (log_rho.exp() < 1 - clip).float().mean(),
    lambda log_rho, clip: (log_rho.abs() > clip).float().mean(),
    lambda log_rho, clip: ((log_rho.exp() - 1).abs() <= clip).float().mean(),
    lambda log_rho, clip: ((log_rho.exp() - 1).abs() > clip).float().sum(),
)


def report_sums(log):
    means = summarize(log)
    sums = {key: x * len(log) for key, x in means.items()}
    return {**sums, "first_ratio_error": means["first_ratio_error"]}


def report_worst_ratio(log):
    worst = max(row["ratio_error"] for row in log)
    return {**summarize(log), "first_ratio_error": worst}


def report_last_ratio(log):
    return {**summarize(log), "first_ratio_error": log[-1]["ratio_error"]}


def report_entropy_negated(log):
    means = summarize(log)
    return {**means, "entropy": -means["entropy"]}


def reporting(change):
    """The right update, and a log in which one number is another."""

    def update(policy, optimizer, rollout, config, loss=ppo_clip_loss, generator=None):
        log = ppo_update(policy, optimizer, rollout, config, loss, generator)
        return {**log, **change(log, config)}

    return update


def with_graph(x):
    return torch.tensor(float(x), requires_grad=True)


def total_reported(log, config):
    rest = config.value_coef * log["value_loss"] - config.entropy_coef * log["entropy"]
    return {"policy_loss": log["policy_loss"] + rest}


def with_loss(change, total=weighted_sum):
    """The policy's loss is the given one, changed: change(loss, logp, logp_old, adv, clip, mask, config)."""

    def update(policy, optimizer, rollout, config, loss=ppo_clip_loss, generator=None):
        def changed(logp, logp_old, adv, clip, mask=None):
            return change(loss, logp, logp_old, adv, clip, mask, config)

        inner = updating(total=total)
        return inner(policy, optimizer, rollout, config, changed, generator)

    return update


def loss_with_kl(loss, logp, logp_old, adv, clip, mask, config):
    return loss(logp, logp_old, adv, clip, mask) + approx_kl(logp, logp_old, mask)


def loss_with_sampled_entropy(loss, logp, logp_old, adv, clip, mask, config):
    bonus = -masked_mean(logp, mask)
    return loss(logp, logp_old, adv, clip, mask) - config.entropy_coef * bonus


def loss_with_fixed_clip(loss, logp, logp_old, adv, clip, mask, config):
    return loss(logp, logp_old, adv, 0.2, mask)


def loss_with_padding(loss, logp, logp_old, adv, clip, mask, config):
    return loss(logp, logp_old, adv, clip)


def kl_with_padding(logp, logp_old, mask):
    return approx_kl(logp, logp_old)


def kl_plain(logp, logp_old, mask):
    return masked_mean(logp_old - logp, mask)


def kl_squared(logp, logp_old, mask):
    return masked_mean(0.5 * (logp - logp_old) ** 2, mask)


def kl_reversed(logp, logp_old, mask):
    return approx_kl(logp_old, logp, mask)


def bonus_over_all(ent, batch, mask):
    return ent.mean() if mask is None else (ent * mask).mean()


def mask_dropped(policy, batch):
    return {key: x for key, x in batch.items() if key != "mask"}


def mask_negated(policy, batch):
    return batch | ({"mask": ~batch["mask"]} if "mask" in batch else {})


def select_all_but_mask(data, columns):
    return columns_of(data, columns) | ({"mask": data["mask"]} if "mask" in data else {})


def select_rows(data, columns):
    return {key: x[columns] for key, x in data.items()}


def split_evenly(n_columns, config, generator):
    for _ in range(config.epochs):
        order = torch.randperm(n_columns, generator=generator)
        yield order.tensor_split(config.minibatches)


def own_generator_each_epoch(n_columns, config, generator):
    for epoch in range(config.epochs):
        own = torch.Generator().manual_seed(epoch)
        yield minibatch_columns(n_columns, config.minibatches, own)


def step_limited_by_largest(policy, optimizer, loss, config, i):
    optimizer.zero_grad()
    loss.backward()
    nn.utils.clip_grad_norm_(policy.parameters(), config.max_grad_norm, norm_type=float("inf"))
    optimizer.step()


def total_critic_alone(policy_loss, value_loss, bonus, config):
    return config.value_coef * value_loss


def agent(g, T, B, stale=0.0, mask=None, **config):
    """Networks, a rollout of theirs (logp from a policy `stale` away) and a configuration."""
    sizes = ((3, 8), (8, 3)), ((3, 6), (6, 1))
    actor, critic = (
        [(normal(g, n_out, n_in, scale=0.8), normal(g, n_out, scale=0.3)) for n_in, n_out in net]
        for net in sizes
    )
    obs, act = normal(g, T, B, 3), integers(g, 3, T, B)
    (w1, b1), (w2, b2) = actor
    logits = torch.tanh(obs @ w1.T + b1) @ w2.T + b2
    logp = torch.log_softmax(logits, -1).gather(-1, act.unsqueeze(-1)).squeeze(-1)
    (w1, b1), (w2, b2) = critic
    val = (torch.tanh(obs @ w1.T + b1) @ w2.T + b2).squeeze(-1)
    adv = 1.0 + 2.0 * normal(g, T, B)
    rollout = dict(
        obs=obs,
        act=act,
        logp=logp - stale * normal(g, T, B).abs(),
        val=val + stale * normal(g, T, B),
        adv=adv,
        ret=val + adv,
    )
    if mask is not None:
        junk = {"adv": 50.0, "ret": -20.0, "logp": -7.0, "val": 9.0}
        rollout |= {key: torch.where(mask, rollout[key], x) for key, x in junk.items()}
        rollout["mask"] = mask
    plain = dict(
        epochs=1,
        minibatches=1,
        clip=0.2,
        value_clip=float("inf"),
        value_coef=0.5,
        entropy_coef=0.05,
        max_grad_norm=100.0,
        target_kl=float("inf"),
    )
    return dict(
        actor=actor,
        critic=critic,
        rollout=rollout,
        config=plain | config,
        lr=0.1,
        seed=int(integers(g, 10_000, 1)),
        keep="weights",
    )


def third_column_far_away(g, epochs=3, target_kl=0.9):
    """Fresh data but for the third column in the first epoch's order: only its KL is past the limit."""
    args = agent(g, 3, 4, epochs=epochs, minibatches=4, target_kl=target_kl) | dict(lr=0.05)
    order = torch.randperm(4, generator=torch.Generator().manual_seed(args["seed"]))
    args["rollout"]["logp"][:, order[2]] -= (
        1.45  # k3 is 1.81, and the mean of three below the limit
    )
    return args


def just_beyond_the_limit(g, epochs=2, target_kl=0.6):
    """The KL is past the limit, by a fifth, before any step."""
    args = agent(g, 3, 2, epochs=epochs, target_kl=target_kl)
    args["rollout"]["logp"] -= 1.0  # k3 is 0.718
    return args


def moved_both_ways(g):
    """Ratios of 0.41, 1.28 and 0.81: the largest |rho - 1| is below 1, and only log 0.81 is outside ±0.2."""
    args = agent(g, 4, 3) | dict(keep="log")
    args["rollout"]["logp"] += torch.tensor([0.9, -0.25, 0.21])
    return args


def padding_far_away(g):
    """The padding is past the KL limit, the data is not."""
    return agent(g, 5, 4, epochs=2, target_kl=0.5, mask=masks(g, 4, 5).T) | dict(lr=0.05)


def slowly_drifting(g):
    """The KL passes the limit after some steps, in the middle of the update."""
    return agent(g, 4, 4, epochs=10, entropy_coef=0.0, target_kl=0.01) | dict(lr=0.3)


def backwards(n_columns, config, generator):
    for _ in range(config.epochs):
        yield minibatch_columns(n_columns, config.minibatches, generator)[::-1]


def value_of_power(power):
    def value(val, batch, config, mask):
        return masked_mean((val - batch["ret"]).abs() ** power, mask)

    return value


def normalized_with_some_padding(rollout):
    if "mask" not in rollout:
        return normalized(rollout)
    adv, weight = rollout["adv"], torch.where(rollout["mask"], 1.0, 0.5)
    mean = (adv * weight).sum() / weight.sum()
    return {**rollout, "adv": (adv - mean) / (kept_of(rollout).std(correction=0) + 1e-8)}


def steps_by_hand(policy, optimizer, rollout, config, loss=ppo_clip_loss, generator=None):
    class Own:
        def zero_grad(self):
            optimizer.zero_grad()

        @torch.no_grad()
        def step(self):
            for p in policy.parameters():
                if p.grad is not None:
                    p -= 3e-4 * p.grad

    return ppo_update(policy, Own(), rollout, config, loss, generator)


LOGGED = {
    "policy_loss": "the mean of what `loss` returned",
    "value_loss": "the mean of clipped_value_loss",
    "entropy": "the mean of ent over the steps that count",
    "kl": "the mean of approx_kl(logp, logp_old, mask)",
    "clip_fraction": "the share of the steps with |rho - 1| > clip",
    "first_ratio_error": "the largest |rho - 1| of the first minibatch",
}


def only_the_log(wrong):
    return not any(wrong(part) for part in PPO_UPDATE.parts if part not in ("log", "clean"))


def update_symptom(name, says, mistake, sign):
    """A Pitfall that is recognized by where the update is wrong: sign(wrong), wrong(part, entry or any)."""

    def telltale(seen, expected):
        def wrong(part, key=None):
            pairs = [
                (s["out"], e["out"])
                for s, e, case in zip(seen, expected, PPO_UPDATE.cases, strict=True)
                if case.part == part
            ]
            return any(
                not close(s if key is None else s.get(key), e if key is None else e[key])
                for s, e in pairs
                if isinstance(s, dict)
            ) or any(not isinstance(s, dict) for s, _ in pairs)

        return sign(wrong)

    return Pitfall(name, says, mistake, telltale=telltale, symptom=True)


PPO_UPDATE = Exercise(
    reference=ppo_update,
    accept=(
        updating(value=value_halved),
        updating(prepare=normalized_unbiased),
        updating(value=value_halved, prepare=normalized_unbiased),
    ),
    parts={
        "one step": 2,
        "epochs on frozen data": 2,
        "minibatches": 2,
        "masks": 1,
        "KL limit": 1,
        "log": 1,
        "clean": 1,
    },
    driver="update_policy",
    ladder=True,
    cases=[
        Case("one step on a fresh rollout", lambda g: agent(g, 2, 2), "one step"),
        Case("one step, more data", lambda g: agent(g, 6, 3, entropy_coef=0.2), "one step"),
        Case(
            "gradients limited to the norm 0.05, values to moves of 0.2",
            lambda g: agent(g, 4, 3, stale=0.3, epochs=2, max_grad_norm=0.05, value_clip=0.2),
            "epochs on frozen data",
        ),
        Case(
            "a rollout from an older policy",
            lambda g: agent(g, 4, 3, stale=0.3, epochs=3, clip=0.3),
            "epochs on frozen data",
        ),
        Case(
            "four epochs on one rollout",
            lambda g: agent(g, 5, 3, epochs=4, value_coef=0.8),
            "epochs on frozen data",
        ),
        Case(
            "three columns in two minibatches",
            lambda g: agent(g, 2, 3, minibatches=2),
            "minibatches",
        ),
        Case(
            "five columns in two minibatches",
            lambda g: agent(g, 3, 5, epochs=2, minibatches=2, value_coef=0.3),
            "minibatches",
        ),
        Case(
            "seven columns in four minibatches",
            lambda g: agent(g, 3, 7, stale=0.2, epochs=2, minibatches=4),
            "minibatches",
        ),
        Case(
            "nine columns in four minibatches",
            lambda g: agent(g, 2, 9, epochs=1, minibatches=4),
            "minibatches",
        ),
        Case(
            "conversations of different lengths",
            lambda g: agent(g, 6, 4, epochs=2, mask=masks(g, 4, 6).T),
            "masks",
        ),
        Case(
            "masks and minibatches",
            lambda g: agent(g, 5, 6, epochs=2, minibatches=3, mask=masks(g, 6, 5).T),
            "masks",
        ),
        Case("a little beyond the KL limit from the start", just_beyond_the_limit, "KL limit"),
        Case(
            "a little within the KL limit",
            lambda g: just_beyond_the_limit(g, epochs=1, target_kl=0.8),
            "KL limit",
        ),
        Case("one column beyond the KL limit", third_column_far_away, "KL limit"),
        Case("a KL limit reached on the way", slowly_drifting, "KL limit"),
        Case("padding beyond the KL limit", padding_far_away, "KL limit"),
        Case(
            "what it returns after one step",
            lambda g: agent(g, 2, 2, stale=0.5) | dict(keep="log"),
            "log",
        ),
        Case(
            "what it returns",
            lambda g: agent(g, 4, 4, epochs=2, minibatches=2) | dict(keep="log"),
            "log",
        ),
        Case(
            "what it returns after an older policy",
            lambda g: agent(g, 4, 3, stale=0.3, epochs=2) | dict(keep="log"),
            "log",
        ),
        Case("what it returns for ratios on both sides", moved_both_ways, "log"),
        Case(
            "what it returns for one column far away",
            lambda g: third_column_far_away(g, epochs=1, target_kl=math.inf) | dict(keep="log"),
            "log",
        ),
        Case(
            "what it returns, with masks",
            lambda g: agent(g, 5, 4, stale=0.1, epochs=2, mask=masks(g, 4, 5).T) | dict(keep="log"),
            "log",
        ),
        Case(
            "what it returns past the KL limit",
            lambda g: third_column_far_away(g) | dict(keep="log"),
            "log",
        ),
    ],
    pitfalls=[
        Pitfall(
            "actions resampled",
            "It samples new actions and scores those; the advantages belong to the actions in the rollout.",
            updating(each_batch=fresh_actions),
            "Each action would be credited with what another one earned.",
            telltale=lambda seen: any(
                isinstance(s["out"], dict) and s["out"].get("actions scored") == "others"
                for s in seen
            ),
        ),
        Pitfall(
            "generator ignored",
            "It shuffles with the global random state; the argument generator is there so that a run repeats.",
            updating(epochs=shuffled_globally),
            telltale=draws_globally,
        ),
        Pitfall(
            "old policy recomputed in the loop",
            "The old log-probabilities are recomputed for each minibatch: the ratio is always 1, the clip never acts.",
            updating(each_batch=old_from_now),
            "The old policy is the one that collected the data: its logp is stored with the rollout.",
        ),
        Pitfall(
            "old policy moves with each epoch",
            "The old log-probabilities are refreshed at every epoch: the window moves along with the policy.",
            updating(each_epoch=old_from_now),
            "Each epoch may go another 20 % further; nothing limits the whole update.",
        ),
        Pitfall(
            "old policy recomputed at the start",
            "The old log-probabilities are computed from the current weights; use the stored ones. "
            "The data may come from an older policy, or from one in another mode.",
            old_from_the_start(),
        ),
        Pitfall(
            "old policy alive",
            "Old and new log-probabilities are one live tensor: the gradient of their difference cancels to zero.",
            updating(old=old_alive),
        ),
        Pitfall(
            "advantages normalized in each minibatch",
            "It normalizes in each minibatch; here it is done once, over the rollout.",
            updating(prepare=dict, each_batch=normalized_batch),
            "In a small minibatch a good step may become a bad one, only for its company.",
            also=(
                updating(prepare=dict, each_batch=normalized_batch_unbiased),
                updating(each_batch=normalized_batch_unbiased),
            ),
        ),
        Pitfall(
            "normalized again and again",
            "It overwrites the advantages with their normalized copy in every minibatch: the changes compound.",
            updating(prepare=copied, select=select_and_overwrite),
        ),
        Pitfall(
            "advantages not normalized",
            "The advantages keep their scale: the step length depends on the reward's unit.",
            updating(prepare=dict),
        ),
        Pitfall(
            "advantages only centered",
            "The advantages are centered and not scaled to standard deviation 1.",
            updating(prepare=centered),
        ),
        Pitfall(
            "advantages only scaled",
            "The advantages are divided by their standard deviation, but their mean stays.",
            updating(prepare=scaled_only),
            also=(updating(prepare=scaled_only_unbiased),),
        ),
        Pitfall(
            "divided by the variance",
            "The advantages are divided by their variance; it is the standard deviation that makes their spread 1.",
            updating(prepare=divided_by_variance),
            also=(updating(prepare=divided_by_variance_unbiased),),
        ),
        Pitfall(
            "advantages normalized along one axis",
            "The mean and standard deviation are those of one column or one time step; take them over all of the rollout.",
            updating(prepare=normalized_along(0, 0)),
            also=tuple(
                updating(prepare=normalized_along(*choice)) for choice in ((0, 1), (1, 0), (1, 1))
            ),
        ),
        Pitfall(
            "advantages recomputed",
            "It computes the advantages anew, from the values of the critic by now; they come with the rollout.",
            updating(each_batch=advantages_from_now_normalized),
            "With each step of the critic they would turn into noise.",
            also=(updating(each_batch=advantages_from_now),),
        ),
        Pitfall(
            "returns less values",
            "It takes ret - val for the advantage; rollout['adv'] holds the advantages, and need not be that.",
            updating(prepare=lambda rollout: normalized(returns_less_values(rollout))),
            also=(updating(prepare=lambda rollout: dict(returns_less_values(rollout))),),
        ),
        Pitfall(
            "returns as advantages",
            "The policy's loss gets the returns; the baseline is lost.",
            updating(prepare=returns_for_advantages),
            also=(updating(prepare=lambda rollout: normalized(returns_for_advantages(rollout))),),
        ),
        Pitfall(
            "returns from normalized advantages",
            "The critic's targets are made of the NORMALIZED advantages; rollout['ret'] is in reward units.",
            updating(prepare=returns_follow),
        ),
        Pitfall(
            "returns normalized",
            "The critic's targets are normalized; rollout['ret'] is in reward units.",
            updating(prepare=returns_normalized),
        ),
        Pitfall(
            "advantages clamped",
            "It clamps the advantages; the clip is for the ratio.",
            updating(prepare=advantages_clamped),
        ),
        Pitfall(
            "advantages of other columns",
            "The advantages are not shuffled with the rest: they belong to other columns.",
            updating(select=select_all_but_advantages),
        ),
        Pitfall(
            "one epoch",
            "It goes through the data once, whatever config.epochs says.",
            updating(epochs=one_epoch),
            "Several epochs on one rollout are what the clip makes possible.",
        ),
        Pitfall(
            "one epoch too many",
            "It goes through the data config.epochs + 1 times.",
            updating(epochs=one_epoch_more),
        ),
        Pitfall(
            "no minibatches",
            "Each epoch is one step on all of the data; config.minibatches steps are asked for.",
            updating(epochs=whole_rollout),
        ),
        Pitfall(
            "remainder dropped",
            "Where the columns cannot be divided evenly, some are never used; the parts need not be equal.",
            updating(epochs=remainder_dropped),
        ),
        Pitfall(
            "parts of other sizes",
            "It splits the columns into parts as equal as can be; minibatch_columns makes equal ones and a smaller last.",
            updating(epochs=split_evenly),
        ),
        Pitfall(
            "remainder as another minibatch",
            "The columns that are left over make one minibatch more than config.minibatches.",
            updating(epochs=remainder_apart),
        ),
        Pitfall(
            "all epochs on one minibatch",
            "The loops are the wrong way round: all epochs on the first minibatch, then all on the next.",
            updating(epochs=epochs_inside),
        ),
        Pitfall(
            "not shuffled",
            "The minibatches are always the same columns in the same order.",
            updating(epochs=in_order),
        ),
        Pitfall(
            "shuffled once",
            "The order is drawn once for all epochs; each epoch draws its own.",
            updating(epochs=shuffled_once),
        ),
        Pitfall(
            "minibatches as a size",
            "config.minibatches is their number; it is used as the size of one.",
            updating(epochs=split_by_size),
        ),
        Pitfall(
            "first minibatch only",
            "Each epoch ends after its first minibatch: most of the data is never used.",
            updating(epochs=first_minibatch),
        ),
        Pitfall(
            "drawn with replacement",
            "Columns are drawn with replacement: in an epoch some come twice, others never.",
            updating(epochs=with_replacement),
            also=(updating(epochs=with_replacement_in_one_draw),),
        ),
        Pitfall(
            "generator of its own",
            "It makes its own generator: every update shuffles in the same order, whatever is passed.",
            updating(epochs=own_generator),
            also=(updating(epochs=own_generator_each_epoch),),
        ),
        Pitfall(
            "rows for columns",
            "It shuffles the time axis; minibatches are made of whole columns.",
            rows_for_columns,
            also=(updating(select=select_rows),),
        ),
        Pitfall(
            "single steps for columns",
            "It flattens the rollout and shuffles single steps; minibatches are made of whole columns.",
            steps_for_columns,
            "Both work for an MLP; a model that reads the history needs whole columns.",
        ),
        Pitfall(
            "gradients never zeroed",
            "optimizer.zero_grad() is missing: each step applies the sum of all earlier gradients.",
            updating(step=step_without_zero_grad),
        ),
        Pitfall(
            "gradients zeroed once",
            "The gradients are zeroed once, at the start: those of all minibatches add up.",
            step_zeroes_at_the_start,
        ),
        Pitfall(
            "gradients zeroed once an epoch",
            "The gradients are zeroed once an epoch: those of its minibatches add up.",
            updating(step=step_zeroes_each_epoch),
        ),
        Pitfall(
            "one step an epoch",
            "The minibatches' gradients are added up and one step is taken an epoch; take one a minibatch.",
            accumulating,
        ),
        Pitfall(
            "no step",
            "No step is taken: optimizer.step() is never called, and the networks stay as they were.",
            updating(step=step_never),
        ),
        Pitfall(
            "gradients not limited",
            "The gradient's norm is not limited to max_grad_norm (or only when the step is over).",
            updating(step=step_unlimited),
        ),
        Pitfall(
            "gradient limited in parts",
            "It limits every entry, parameter or network for itself; max_grad_norm is the norm of the whole gradient.",
            updating(step=step_limited_each),
            also=(
                updating(step=step_limited_apart),
                updating(step=step_limited_by_parameter),
                updating(step=step_limited_actor),
            ),
        ),
        Pitfall(
            "largest entry for the norm",
            "It limits the gradient's largest entry; max_grad_norm is for the Euclidean norm.",
            updating(step=step_limited_by_largest),
        ),
        Pitfall(
            "another limit for the gradient",
            "The gradient's norm is limited by a fixed number or by config.clip; the limit is config.max_grad_norm.",
            updating(step=step_limited_to(lambda config: 0.5)),
            also=(updating(step=step_limited_to(lambda config: config.clip)),),
        ),
        Pitfall(
            "entropy's sign",
            "The entropy is added to the loss: minimizing it drives the policy to certainty.",
            updating(total=total_entropy_sign),
        ),
        Pitfall(
            "entropy left out",
            "The entropy bonus is not in the loss.",
            updating(total=total_without_entropy),
        ),
        Pitfall(
            "entropy coefficient ignored",
            "The entropy is not multiplied by entropy_coef.",
            updating(total=total_entropy_unweighted),
        ),
        Pitfall(
            "coefficients swapped",
            "entropy_coef and value_coef have changed places.",
            updating(total=total_coefficients_swapped),
        ),
        Pitfall(
            "one coefficient for both",
            "The value loss and the entropy have the same coefficient; each has its own.",
            updating(total=total_one_coefficient("value_coef")),
            also=(updating(total=total_one_coefficient("entropy_coef")),),
        ),
        Pitfall(
            "half the value loss, all of it in the log",
            "The loss has half of the value_loss that the log has: the 1/2 belongs to both or to neither.",
            updating(total=total_value_halved),
        ),
        Pitfall(
            "fixed coefficients",
            "A coefficient is a number in the code (0.5 or 0.01); config has the one to use.",
            updating(total=total_fixed_coefficients),
            also=(updating(total=total_fixed_entropy), updating(total=total_fixed_value)),
        ),
        Pitfall(
            "policy loss weighted",
            "value_coef multiplies the policy's loss, too.",
            updating(total=total_policy_weighted),
        ),
        Pitfall(
            "policy loss alone",
            "Only the policy's loss is minimized: neither the critic nor the entropy enters.",
            updating(total=total_policy_alone),
        ),
        Pitfall(
            "policy loss left out",
            "The policy's loss is not in the total: only the critic learns.",
            updating(total=total_policy_left_out),
            also=(updating(total=total_critic_alone),),
        ),
        Pitfall(
            "ascent",
            "The total is maximized: every part has the wrong sign.",
            updating(total=total_sign),
        ),
        Pitfall(
            "divided by the number of minibatches",
            "The loss is divided by config.minibatches, as if their gradients were added up; each takes its own step.",
            updating(total=total_divided),
        ),
        Pitfall(
            "entropy times advantage",
            "The entropy is multiplied by the advantage: where it is negative, certainty is rewarded.",
            updating(bonus=bonus_times_advantage),
        ),
        Pitfall(
            "value loss left out",
            "The value loss is not in the loss: the critic never learns.",
            updating(total=total_without_value),
        ),
        Pitfall(
            "value coefficient ignored",
            "The value loss is not multiplied by value_coef.",
            updating(total=total_value_unweighted),
        ),
        Pitfall(
            "value loss subtracted",
            "The value loss is subtracted: the critic is trained to be wrong.",
            updating(total=total_value_sign),
        ),
        Pitfall(
            "policy loss subtracted",
            "The loss of the policy is subtracted: the policy gets worse with each step.",
            updating(total=total_ascends),
        ),
        Pitfall(
            "critic fits advantages",
            "The critic is fitted to the advantages; its targets are the returns.",
            updating(value=value_of_advantage),
            also=(
                updating(prepare=lambda rollout: {**normalized(rollout), "ret": rollout["adv"]}),
            ),
        ),
        Pitfall(
            "critic fits itself",
            "The critic's target is its own old value; it has to be the return.",
            updating(value=value_of_old),
        ),
        Pitfall(
            "target moves with the critic",
            "The critic's target is the advantage plus its value by now: it runs away as the critic learns. "
            "The returns come with the rollout.",
            updating(value=value_of_moving_target),
        ),
        Pitfall(
            "return and old value swapped",
            "rollout['val'] and rollout['ret'] have changed places in the value loss.",
            updating(value=value_swapped),
        ),
        Pitfall(
            "Huber loss",
            "The critic has a Huber loss; clipped_value_loss is asked for.",
            updating(value=value_smoothed),
        ),
        Pitfall(
            "value loss summed",
            "The value loss is a sum over the steps; it should be their mean.",
            updating(value=value_summed),
        ),
        Pitfall(
            "value not clipped",
            "config.value_clip limits nothing: the value loss does without it, or measures the moves "
            "from the critic's values of now; rollout['val'] holds those from which they count.",
            updating(value=value_not_clipped),
            also=(updating(value=value_against_itself),),
        ),
        Pitfall(
            "one clip for ratio and value",
            "The value loss uses config.clip, which is for the ratio; its own is config.value_clip.",
            updating(value=value_clipped_like_ratio),
        ),
        Pitfall(
            "fixed clip",
            "The loss is called with 0.2; config.clip is the one to use.",
            with_loss(loss_with_fixed_clip),
        ),
        Pitfall(
            "KL penalty",
            "The KL is added to the loss; here it is for the log and the limit only.",
            with_loss(loss_with_kl),
        ),
        Pitfall(
            "log-probability for the entropy",
            "-logp of the action taken stands in for the entropy: its mean is right, its gradient is not.",
            with_loss(loss_with_sampled_entropy, total_without_entropy),
        ),
        Pitfall(
            "loss ignored",
            "It uses ppo_clip_loss itself; the loss to use is the argument loss.",
            updating(policy_loss=smoothed_clip_loss),
        ),
        Pitfall(
            "A2C's loss",
            "The policy's loss is -mean(logp * adv), written in place: no ratio, no clip.",
            updating(policy_loss=a2c_policy_loss),
        ),
        Pitfall(
            "no clip",
            "The policy's loss is -mean(rho * adv), written in place: nothing limits the steps.",
            updating(policy_loss=unclipped_policy_loss),
        ),
        Pitfall(
            "mask ignored",
            "Padding is treated like data: rollout['mask'] does not enter.",
            updating(prepare=without_mask),
        ),
        Pitfall(
            "padding in the normalization",
            "Padding counts in the mean and standard deviation of the advantages.",
            updating(prepare=normalized_with_padding),
            also=(updating(prepare=normalized_with_padding_unbiased),),
        ),
        Pitfall(
            "mask not passed on",
            "The advantages are normalized with the mask, but the losses do not get it: padding counts in them.",
            updating(each_batch=mask_dropped),
        ),
        Pitfall(
            "mask upside down",
            "The losses keep what the mask marks as False, the padding, and drop what counts.",
            updating(each_batch=mask_negated),
        ),
        Pitfall(
            "mask of other columns",
            "The mask is not shuffled with the rest: it belongs to other columns.",
            updating(select=select_all_but_mask),
        ),
        Pitfall(
            "padding in the policy loss",
            "Padding counts in the policy's loss: the mask is not passed to it.",
            with_loss(loss_with_padding),
        ),
        Pitfall(
            "padding in the KL",
            "Padding counts in the KL.",
            updating(kl_of=kl_with_padding),
        ),
        Pitfall(
            "padding in the clip fraction",
            "Padding counts in the clip fraction and the ratio's error: diagnose is not given the mask.",
            updating(diagnosis=lambda *args: diagnose(*args[:-1])),
        ),
        Pitfall(
            "entropy divided by all positions",
            "The entropy's sum leaves the padding out, but is divided by the number of all positions.",
            updating(bonus=bonus_over_all),
        ),
        Pitfall(
            "padding in the entropy",
            "Padding counts in the entropy bonus.",
            updating(bonus=bonus_with_padding),
        ),
        Pitfall(
            "padding in the value loss",
            "Padding counts in the value loss.",
            updating(value=value_with_padding),
        ),
        Pitfall(
            "KL limit ignored",
            "config.target_kl is ignored: steps go on however far the policy has moved.",
            updating(stop="never"),
        ),
        Pitfall(
            "KL limit ends the epoch only",
            "Past the KL limit it leaves the inner loop only: the next epoch goes on.",
            updating(stop="this epoch"),
        ),
        Pitfall(
            "KL limit skips a minibatch",
            "Past the KL limit it skips that minibatch and goes on with the next.",
            updating(stop="this minibatch"),
        ),
        Pitfall(
            "another KL",
            "It has another estimate in the place of approx_kl(logp, logp_old).",
            updating(kl_of=kl_plain),
            also=(updating(kl_of=kl_squared), updating(kl_of=kl_reversed)),
        ),
        Pitfall(
            "a multiple of the KL limit",
            "It stops at a multiple of config.target_kl; the limit is target_kl itself.",
            updating(limit=1.5),
            also=(updating(limit=2.0), updating(limit=0.5)),
        ),
        Pitfall(
            "KL limit looked at once an epoch",
            "The KL is compared with the limit at an epoch's end only; compare before each step.",
            updating(stop="after the epoch"),
        ),
        Pitfall(
            "stopped before the log",
            "The minibatch past the KL limit is missing in the means: log it first, then return.",
            updating(stop="before the log"),
        ),
        Pitfall(
            "KL limit one step late",
            "It looks at the KL after the step: one step more is taken than allowed.",
            updating(stop="one step late"),
        ),
        Pitfall(
            "log of the last minibatch",
            "It returns the last minibatch's numbers; the means over all are asked for.",
            updating(report=report_last),
            also=(updating(report=lambda log: summarize(log[-1:])),),
        ),
        Pitfall(
            "log of the first minibatch",
            "It returns the first minibatch's numbers; the means over all are asked for.",
            updating(report=report_first),
        ),
        Pitfall(
            "log with the graph",
            "The log holds tensors with the graph of their update, which memory then keeps: .item() them.",
            reporting(lambda log, config: {k: with_graph(x) for k, x in log.items()}),
            also=tuple(
                reporting(lambda log, config, key=key: {key: with_graph(log[key])})
                for key in ("policy_loss", "value_loss", "entropy")
            ),
        ),
        Pitfall(
            "total loss logged",
            "policy_loss in the log is the whole loss; it should be the policy's part alone.",
            reporting(total_reported),
        ),
        Pitfall(
            "weighted value loss logged",
            "value_loss in the log is multiplied by value_coef; it should be the plain one.",
            reporting(lambda log, config: {"value_loss": config.value_coef * log["value_loss"]}),
        ),
        Pitfall(
            "negative entropy logged",
            "entropy in the log has the wrong sign: the entropy is never negative.",
            updating(report=report_entropy_negated),
        ),
        Pitfall(
            "log of sums",
            "It returns sums over the minibatches; the means are asked for.",
            updating(report=report_sums),
        ),
        Pitfall(
            "another clip fraction",
            "clip_fraction is another number than the share of the steps with |rho - 1| > clip: "
            "both sides, the ratio and not its log, a mean.",
            updating(
                diagnosis=diagnosing(
                    "clip_fraction",
                    lambda log_rho, clip: (log_rho.exp() > 1 + clip).float().mean(),
                )
            ),
            also=tuple(
                updating(diagnosis=diagnosing("clip_fraction", share)) for share in CLIP_FRACTIONS
            ),
        ),
        Pitfall(
            "another ratio error",
            "first_ratio_error is another number than the largest |rho - 1|.",
            updating(
                diagnosis=diagnosing(
                    "ratio_error", lambda log_rho, clip: (log_rho.exp() - 1).abs().mean()
                )
            ),
            also=(
                updating(
                    diagnosis=diagnosing("ratio_error", lambda log_rho, clip: log_rho.abs().max())
                ),
                updating(
                    diagnosis=diagnosing(
                        "ratio_error", lambda log_rho, clip: (log_rho.exp() - 1).max()
                    )
                ),
            ),
        ),
        Pitfall(
            "last ratio for the first",
            "first_ratio_error is that of the last minibatch; only the first one's shows whether "
            "old and new agree before any step.",
            updating(report=report_last_ratio),
        ),
        Pitfall(
            "worst ratio for the first",
            "first_ratio_error is the largest of all minibatches; only the first one's shows whether "
            "old and new agree before any step.",
            updating(report=report_worst_ratio),
        ),
        Pitfall(
            "optimizer not used",
            "The weights move, but not by the optimizer that was given: its state and learning rate are lost.",
            steps_by_hand,
            telltale=lambda seen: any(
                isinstance(s["out"], dict) and s["out"].get("steps taken by") == "another optimizer"
                for s in seen
            ),
        ),
        Pitfall(
            "two steps for one gradient",
            "optimizer.step() is called twice for each gradient.",
            updating(step=step_twice),
        ),
        Pitfall(
            "half of each minibatch",
            "Only the first half of each minibatch's columns is used.",
            updating(
                select=lambda data, columns: columns_of(data, columns[: -(-len(columns) // 2)])
            ),
            also=(
                updating(
                    select=lambda data, columns: columns_of(
                        data, columns[: max(1, len(columns) // 2)]
                    )
                ),
            ),
        ),
        update_symptom(
            "both steps off",
            "Already one step on fresh data moves actor and critic elsewhere: "
            "look at what both share, the total, its gradient and the optimizer's step.",
            updating(total=lambda *terms: 0.8 * weighted_sum(*terms)),
            lambda wrong: (
                wrong("one step", "actor's weights") and wrong("one step", "critic's weights")
            ),
        ),
        update_symptom(
            "the critic's step alone",
            "After one step on fresh data the actor is right and the critic is not: "
            "look at the value loss, its target and its coefficient.",
            updating(value=value_of_power(1.5)),
            lambda wrong: (
                wrong("one step", "critic's weights") and not wrong("one step", "actor's weights")
            ),
        ),
        update_symptom(
            "the actor's step alone",
            "After one step on fresh data the critic is right and the actor is not: "
            "look at the policy's loss, its advantages and the entropy.",
            updating(prepare=lambda rollout: {**rollout, "adv": rollout["adv"].tanh()}),
            lambda wrong: (
                wrong("one step", "actor's weights") and not wrong("one step", "critic's weights")
            ),
        ),
        update_symptom(
            "right for one step only",
            "One step on fresh data is right; several, or on data of an older policy, are not: "
            "look at what is kept, zeroed and recomputed, at the gradient's limit and at the clips of ratio and value.",
            updating(step=step_limited_to(lambda config: 0.7 * config.max_grad_norm)),
            lambda wrong: not wrong("one step") and wrong("epochs on frozen data"),
        ),
        update_symptom(
            "right for one minibatch only",
            "All is right with one minibatch an epoch, and not with several: "
            "look at their number, their columns and their order (one randperm an epoch).",
            updating(epochs=backwards),
            lambda wrong: (
                not (wrong("one step") or wrong("epochs on frozen data")) and wrong("minibatches")
            ),
        ),
        update_symptom(
            "right without a mask only",
            "All is right without a mask, and not with one: padding counts somewhere.",
            updating(prepare=normalized_with_some_padding),
            lambda wrong: (
                not any(map(wrong, ("one step", "epochs on frozen data", "minibatches")))
                and wrong("masks")
            ),
        ),
        update_symptom(
            "stops elsewhere",
            "All is right but for config.target_kl: another number is compared with it, or at another moment.",
            updating(kl_of=lambda *args: approx_kl(*args).sqrt()),
            lambda wrong: (
                not any(map(wrong, ("one step", "epochs on frozen data", "minibatches", "masks")))
                and wrong("KL limit")
            ),
        ),
        update_symptom(
            "several means are off",
            "The networks are right, several numbers of the log are not: each is a mean over ALL minibatches.",
            updating(report=lambda log: summarize(log[len(log) // 2 :])),
            lambda wrong: only_the_log(wrong) and sum(wrong("log", key) for key in LOGGED) > 1,
        ),
        *(
            update_symptom(
                f"{key} logged otherwise",
                f"The networks are right; in the log, {key} is another number than {meaning}.",
                reporting(lambda log, config, key=key: {key: 1.1 * log[key] + 0.01}),
                lambda wrong, key=key: only_the_log(wrong) and wrong("log", key),
            )
            for key, meaning in LOGGED.items()
        ),
    ],
    read="lesson 5, “The update”; Schulman et al. 2017, algorithm 1",
)

# --- quiz_clip, quiz_clinic ---


def quiz_clip():
    """Six questions on what the clip does. Run the ablation first; return a dict with your answers.

    "same data"  : both policies learn from one and the same rollout, for many epochs. The KL of the one
                   without the clip, after the last epoch, is ...
                   "a" about as large as with the clip,  "b" at least five times as large,
                   "c" smaller
    "training"   : with big steps, the runs without the clip ...
                   "a" reach the same return a little later,  "b" reach the same return sooner,
                   "c" end far below the runs with the clip
    "gradient 1" : advantage +2, ratio 1.3, clip 0.2. The derivative of this step's loss, the minimum
                   with its minus sign, with respect to logp? (a number)
    "gradient 2" : the same with advantage -2 (a number)
    "window"     : does the clip keep every ratio within 0.8 ... 1.2?  "a" yes, always,
                   "b" no: it removes the reason to go further out, but a step can still overshoot,
                   "c" no: it applies to positive advantages only
    "role"       : the clip is ...  "a" optional polish,  "b" what makes several big steps on the same data
                   safe,  "c" a bound on the size of the gradient
    """
    return {
        "same data": "b",
        "training": "c",
        "gradient 1": 0.0,
        "gradient 2": 2.6,
        "window": "b",
        "role": "b",
    }


def quiz_clinic():
    """Which bug has which patient? Return a dict from patient ("A" … "H") to the number of the diagnosis.

    1 : no bug
    2 : the ratio is not clipped
    3 : the sign of the policy's loss is reversed
    4 : each step is weighed with the advantage of another environment
    5 : the value of a state in which the episode is over is added to the return
    6 : the old log-probabilities are recomputed for each minibatch
    7 : new actions are sampled and scored, in place of those in the rollout
    8 : the critic is never trained
    """
    return {"A": 4, "B": 6, "C": 1, "D": 8, "E": 2, "F": 3, "G": 7, "H": 5}


def mistaken(quiz, name, key, answer, says, why="", also=()):
    """One wrong answer, whatever the others are; `also` are other forms of it."""
    place = list(quiz()).index(key)
    answers = (answer, *also)
    return Pitfall(
        name,
        says,
        lambda: quiz() | {key: answer},
        why,
        telltale=lambda seen: seen[place]["out"] in answers,
    )


CLIP_PARTS = {"the experiment": 2, "the gradient": 2, "what it is for": 2}

QUIZ_CLIP = Exercise(
    reference=quiz_clip,
    gate=False,
    driver="entry",
    parts=CLIP_PARTS | {"clean": 0},
    cases=[
        Case(f"the question “{key}”", lambda g, key=key: {"key": key}, part)
        for key, part in zip(
            quiz_clip(), [part for part in CLIP_PARTS for _ in range(2)], strict=True
        )
    ],
    pitfalls=[
        mistaken(
            quiz_clip,
            "same step with and without",
            "same data",
            "a",
            "“same data”: look at the KL panel again; its axis is logarithmic.",
            "Nothing else differs between the two: the same policy, the same rollout, the same order.",
        ),
        mistaken(
            quiz_clip,
            "clip taken for an accelerator",
            "same data",
            "c",
            "“same data”: the clip takes gradients away where the policy has moved far; "
            "without it the policy goes further, not less far.",
        ),
        mistaken(
            quiz_clip,
            "clip taken for polish",
            "training",
            "a",
            "“training”: the runs without the clip do not arrive later; compare where they end.",
        ),
        mistaken(
            quiz_clip,
            "clip taken for a brake",
            "training",
            "b",
            "“training”: a big step is not progress. Look where the runs without the clip end.",
        ),
        mistaken(
            quiz_clip,
            "gradient above the window",
            "gradient 1",
            -2.6,
            "“gradient 1”: with a positive advantage the minimum picks the clamped term above 1 + clip; "
            "it does not depend on logp.",
        ),
        mistaken(
            quiz_clip,
            "gradient of the clamped value",
            "gradient 1",
            -2.4,
            "“gradient 1”: 1.2 times 2 is the VALUE of the clipped term; it is constant there.",
            also=(2.4,),
        ),
        mistaken(
            quiz_clip,
            "no way back",
            "gradient 2",
            0.0,
            "“gradient 2”: a bad action has become MORE probable. The minimum picks the unclipped term, "
            "so that the gradient can bring it back.",
            also=(0,),
        ),
        mistaken(
            quiz_clip,
            "sign of the way back",
            "gradient 2",
            -2.6,
            "“gradient 2”: the loss is MINUS rho A, with A = -2; the derivative of rho with respect to logp is rho.",
        ),
        mistaken(
            quiz_clip,
            "derivative of the ratio forgotten",
            "gradient 2",
            2.0,
            "“gradient 2”: the derivative of rho = exp(logp - logp_old) with respect to logp is rho, not 1.",
            also=(2,),
        ),
        mistaken(
            quiz_clip,
            "clip taken for a wall",
            "window",
            "a",
            "“window”: the clip fraction counts ratios OUTSIDE the window, and it was not 0 in the runs with the clip.",
        ),
        mistaken(
            quiz_clip,
            "clip for gains only",
            "window",
            "c",
            "“window”: with a negative advantage it binds below 1 - clip; see the picture of the four corners.",
        ),
        mistaken(
            quiz_clip,
            "optional polish",
            "role",
            "a",
            "“role”: without it, this lesson's runs with big steps collapsed. That is more than polish.",
        ),
        mistaken(
            quiz_clip,
            "gradient norm for clip",
            "role",
            "c",
            "“role”: bounding the gradient is max_grad_norm's job; the runs without the clip had it, too.",
        ),
    ],
    read="lesson 5, “Is the clip optional polish?”",
)

QUIZ_CLINIC = Exercise(
    reference=quiz_clinic,
    gate=False,
    driver="entry",
    parts={f"patient {key}": 1 for key in quiz_clinic()} | {"clean": 0},
    cases=[
        Case(f"patient {key}", lambda g, key=key: {"key": key}, f"patient {key}")
        for key in quiz_clinic()
    ],
    pitfalls=[
        mistaken(
            quiz_clinic,
            "explained variance overlooked",
            "A",
            1,
            "Patient A takes steps of a healthy size, and its return never leaves the ground: this is not health.",
        ),
        mistaken(
            quiz_clinic,
            "actions blamed for advantages",
            "A",
            7,
            "Patient A's explained variance falls back to 0: its critic's targets (adv + val) are wrong, too. "
            "Resampled actions would leave the critic alone.",
        ),
        mistaken(
            quiz_clinic,
            "zero KL taken for caution",
            "B",
            1,
            "Patient B's KL is exactly 0 while its entropy collapses: a policy that changes has a KL. "
            "What is it compared with?",
        ),
        mistaken(
            quiz_clinic,
            "zero clip fraction taken for no clip",
            "B",
            2,
            "Patient B's clip fraction is 0, so no ratio ever left the window. Without a clip many would.",
        ),
        mistaken(
            quiz_clinic,
            "end of training taken for a bug",
            "C",
            8,
            "Patient C's explained variance falls only when the returns hardly vary any more: nothing is left to explain.",
        ),
        mistaken(
            quiz_clinic,
            "slow learning taken for health",
            "D",
            1,
            "Patient D's explained variance stays at 0 from the first update to the last. Who should raise it?",
        ),
        mistaken(
            quiz_clinic,
            "KL overlooked",
            "E",
            1,
            "Patient E's KL is ten to a hundred times that of the others, in most updates.",
        ),
        mistaken(
            quiz_clinic,
            "runaway steps taken for a fixed ratio",
            "E",
            6,
            "Patient E's ratios do leave the window, many of them: the ratio is not fixed at 1.",
        ),
        mistaken(
            quiz_clinic,
            "certainty taken for no clip",
            "F",
            2,
            "Patient F's return FALLS below that of a random policy at once, and stays there: "
            "it learns, very surely, the wrong thing.",
        ),
        mistaken(
            quiz_clinic,
            "advantages blamed for actions",
            "G",
            4,
            "Patient G's critic explains most of the returns, so advantages and returns belong to the right "
            "steps. What about the actions?",
        ),
        mistaken(
            quiz_clinic,
            "rise and fall taken for no clip",
            "H",
            2,
            "Patient H's KL is small, update after update: its steps are safe, but what they aim at is wrong.",
        ),
    ],
    read="lesson 5, “The bug clinic”",
)

EXERCISES = [
    PROBABILITY_RATIO,
    PPO_CLIP_LOSS,
    CLIPPED_VALUE_LOSS,
    ENTROPY,
    APPROX_KL,
    PPO_UPDATE,
    QUIZ_CLIP,
    QUIZ_CLINIC,
]
