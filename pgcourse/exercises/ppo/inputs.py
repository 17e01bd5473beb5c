"""Inputs and mistakes that several exercises of lesson 5 share."""

import math

import torch

from pgcourse.checks.edits import edit, mistake
from pgcourse.checks.make_inputs import masks, normal

F64 = torch.float64
BROKEN = "a policy that has become nan"


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


def rare(args, shift=150):
    """The same step for rarer actions: by default their probability is 0 in 32 bits."""
    return args | {name: args[name] - shift for name in ("logp", "logp_old")}


def padded(args, mask, *names, junk=float("nan")):
    """The same arguments with something else where the mask is False."""
    return args | {name: torch.where(mask, args[name], junk) for name in names} | dict(mask=mask)


def ragged(g, make, *names, **keywords):
    """A batch of conversations of different lengths; `names` hold nan in the padding."""
    args, mask = make(g, 4, 8, **keywords), masks(g, 4, 8)
    return padded(args, mask, *names)


def broken(table, *names):
    """A nan among the steps that count."""
    args = table()
    return args | {
        name: torch.cat([x[:1], x[1:2] * math.nan, x[2:]])
        for name, x in args.items()
        if name in names
    }


def four_steps():
    """Log-probabilities of four actions that became more probable and rarer."""
    return dict(
        logp=torch.log(torch.tensor([0.5, 0.2, 0.3, 0.3])),
        logp_old=torch.log(torch.tensor([0.25, 0.4, 0.35, 0.15])),
    )


# --- sums along one axis of [B, T], the padding as 0 ---


def sums_of_rows(x, mask):
    if x.dim() < 2:
        return x.mean() if mask is None else x[mask].mean()
    return x.sum(-1).mean()


def sums_of_columns(x, mask):
    if x.dim() < 2:
        return x.mean() if mask is None else x[mask].mean()
    return x.sum(0).mean()


def one_axis_summed(by):
    return mistake(
        "one axis summed",
        "It sums along one axis of [B, T] and averages over the other: too large by the number of steps in a row "
        "(or a column).",
        *by(sums_of_rows, clean=True),
        also=(by(sums_of_columns, clean=True),),
    )


# --- mistakes in the ratio: of `probability_ratio` itself, and of the loss that calls it ---

DIFFERENCE, RATIO = "logp - logp_old.detach()", "torch.exp(logp - logp_old.detach())"


def of_the_sequence(logp, logp_old, how, axis):
    """The log ratio of a whole row (or column), for each of its steps."""
    d = logp - logp_old.detach()
    return getattr(d, how)(axis, keepdim=True).expand_as(d)


def of_the_sequence_if_any(logp, logp_old, how, axis):
    """The same; a batch without time is left as it is."""
    d = logp - logp_old.detach()
    return of_the_sequence(logp, logp_old, how, axis) if d.dim() > 1 else d


def ratio_mistakes(of=""):
    """of: the helper that holds the ratio."""

    def ratio(new, old=RATIO, use=()):
        return edit(old, new, of=of, use=use)

    def log_ratio(new, use=()):
        return ratio(new, DIFFERENCE, use)

    rows = [
        log_ratio(f"{f.__name__}(logp, logp_old, '{how}', {axis})", use=(of_the_sequence, f))
        for f, how, axis in (
            (of_the_sequence, "sum", -1), (of_the_sequence, "sum", 0),
            (of_the_sequence_if_any, "sum", -1), (of_the_sequence_if_any, "sum", 0),
            (of_the_sequence_if_any, "mean", -1), (of_the_sequence_if_any, "mean", 0),
        )
    ]  # fmt: skip
    divided = [
        (ratio(f"({RATIO} / {RATIO}{constant}.{total}())"),)
        for total in ("mean", "sum")
        for constant in (".detach()", "")
    ]
    # fmt: off
    return [
        mistake("upside down", "The ratio is old over new, exp(logp_old - logp): it says the opposite of what changed.",
                log_ratio("logp_old.detach() - logp"),
                also=(log_ratio("logp_old - logp"), ratio("torch.exp(logp_old.detach()) / torch.exp(logp)")),
                why="With this ratio the loss makes good actions rarer."),
        mistake("exp missing", "It is the difference of the log-probabilities: that is log rho; take its exp.",
                ratio("(logp - logp_old.detach())")),
        mistake("quotient of log-probabilities",
                "It divides the log-probabilities; a quotient of probabilities is a DIFFERENCE of logs.",
                ratio("logp / logp_old.detach()"), also=(log_ratio("logp / logp_old.detach()"),)),
        mistake("ratio of the whole sequence",
                "All steps of a row share one ratio, that of the sequence; PPO's ratio is that of one action.",
                rows[0], also=tuple(rows[1:])),
        mistake("one ratio for the batch", "It takes the mean first: all actions share one ratio.",
                log_ratio("(logp - logp_old.detach()).mean().expand(logp.shape)"),
                also=(ratio("torch.exp(logp - logp_old.detach()).mean().expand(logp.shape)"),
                      )),
        mistake("always one", "The ratio compares a policy with itself: it is 1 whatever changed, and never clipped.",
                log_ratio("logp - logp.detach()"), also=(log_ratio("logp_old - logp_old.detach()"),),
                why="That is A2C, repeated over several epochs without any limit."),
        mistake("old policy not constant", "A gradient flows into logp_old: the old policy is a constant, detach it.",
                log_ratio("logp - logp_old")),
        mistake("underflow",
                "It divides exp(logp) by exp(logp_old): for a rare action that is 0 / 0. Subtract the logs first.",
                ratio("torch.exp(logp) / torch.exp(logp_old.detach())"),
                why="In language models log-probabilities of -20 and less are common."),
        mistake("small number in the denominator",
                "The {eps:.0e} added to the denominator spoils the ratio of rare actions. Subtract the logs first.",
                ratio("torch.exp(logp) / (torch.exp(logp_old.detach()) + {eps=1e-8})")),
        mistake("old policy left out", "It is the probability under the new policy; it is not divided by the old one.",
                log_ratio("logp")),
        mistake("log ratio limited",
                "The log ratio is clamped at ±{limit:.3g} before its exp: a big change looks smaller than it is, "
                "and has no gradient.",
                log_ratio("(logp - logp_old.detach()).clamp(-{limit=10}, {limit=10})")),
        mistake("another base than e",
                "It is a power of 2 or 10; log-probabilities are natural logarithms, so take exp.",
                ratio("torch.pow(2, logp - logp_old.detach())"),
                also=(ratio("torch.pow(10, logp - logp_old.detach())"),)),
        mistake("a power of the ratio", "The log ratio is multiplied by {power:.3g}: that is a power of the ratio.",
                log_ratio("{power=2} * (logp - logp_old.detach())")),
        mistake("log-probabilities added",
                "It adds the log-probabilities: that is a product of probabilities; the ratio is a quotient.",
                log_ratio("logp + logp_old.detach()")),
        mistake("first order only", "It is 1 + log rho, close to the ratio only while little has changed.",
                ratio("(1 + logp - logp_old.detach())")),
        mistake("one subtracted", "It is rho - 1 (expm1): an unchanged policy has ratio 1, not 0.",
                ratio("torch.expm1(logp - logp_old.detach())")),
        mistake("difference of probabilities", "It subtracts the probabilities; the ratio is their quotient.",
                ratio("(torch.exp(logp) - torch.exp(logp_old.detach()))")),
        mistake("1 + difference of probabilities",
                "It is 1 + the difference of the probabilities; the ratio is their quotient.",
                ratio("(1 + torch.exp(logp) - torch.exp(logp_old.detach()))")),
        mistake("divided by the batch",
                "The ratios are divided by their mean or sum: each one then depends on the actions of other states.",
                *divided[0], also=divided[1:]),
        mistake("sigmoid", "It is the sigmoid of the log ratio, between 0 and 1; an unchanged policy has ratio 1.",
                ratio("torch.sigmoid(logp - logp_old.detach())")),
        mistake("softmax over the batch",
                "It puts the log-probabilities through a softmax: they belong to different states "
                "and are normalized already.",
                ratio("torch.softmax(logp, -1) / torch.softmax(logp_old.detach(), -1)")),
    ]
