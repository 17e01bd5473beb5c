"""Exercises of lesson 7: log-probabilities of tokens, votes, shaped rewards, and one step of RLHF."""

import math
from types import SimpleNamespace

import torch
import torch.nn.functional as F

from pgcourse.checks.core import Case, Exercise, Pitfall
from pgcourse.checks.make_inputs import integers, masks, normal, steps_3_by_4, times
from pgcourse.distributions import categorical_logp, token_logp
from pgcourse.estimators import (
    gae,
    grpo_advantages,
    kl_shaped_rewards,
    leave_one_out_baseline,
    rlhf_advantages,
    rloo_advantages,
)
from pgcourse.exercises import rlhf as first
from pgcourse.losses import dpo_loss, policy_gradient_loss, ppo_clip_loss
from pgcourse.ppo import ppo_update
from pgcourse.reward_model import sequence_score
from pgcourse.rlhf import as_rollout, rlhf_step
from pgcourse.transformer import generate

F64 = torch.float64

# --- token_logp ---


def tokens_but(table=lambda logits: F.log_softmax(logits, -1), taken=None, after=lambda x: x):
    """`token_logp` with one of its pieces replaced: what the mistakes below vary."""

    def wrong(logits, tokens):
        which = tokens[:, 1:] if taken is None else taken(logits, tokens)
        logp = table(logits)[:, :-1].gather(-1, which.unsqueeze(-1)).squeeze(-1)
        return after(F.pad(logp, (1, 0)))

    return wrong


def tokens_unshifted(logits, tokens):
    return categorical_logp(logits, tokens)


def tokens_unshifted_zero(logits, tokens):
    return F.pad(categorical_logp(logits, tokens)[:, 1:], (1, 0))


def tokens_unshifted_raw(logits, tokens):
    return logits.gather(-1, tokens.unsqueeze(-1)).squeeze(-1)


def tokens_shift_back(logits, tokens):
    logp = F.log_softmax(logits[:, 1:], -1).gather(-1, tokens[:, :-1, None]).squeeze(-1)
    return F.pad(logp, (0, 1))


def tokens_shift_two(logits, tokens):
    logp = F.log_softmax(logits[:, :-2], -1).gather(-1, tokens[:, 2:, None]).squeeze(-1)
    return F.pad(logp, (2, 0))


def tokens_greedy_unshifted(logits, tokens):
    return F.log_softmax(logits, -1).max(-1).values


def tokens_wrapped(logits, tokens):
    return categorical_logp(logits.roll(1, dims=1), tokens)


def tokens_other_texts(logits, tokens):
    return F.pad(categorical_logp(logits.roll(1, dims=0), tokens)[:, 1:], (1, 0))


def tokens_first_scored(logits, tokens):
    first = categorical_logp(logits[:, 0], tokens[:, 0])
    return torch.cat([first[:, None], token_logp(logits, tokens)[:, 1:]], 1)


def tokens_first_is(value):
    return lambda logits, tokens: F.pad(
        token_logp(logits, tokens)[:, 1:], (1, 0), value=value(logits)
    )


def over(*axes):
    """A logarithm of a softmax that runs over these axes."""
    return lambda x: x - x.logsumexp(axes, keepdim=True)


def late(table):
    """The last logits, which predict nothing, are left out before the table is made."""
    return lambda logits: F.pad(table(logits[:, :-1]), (0, 0, 0, 1))


def log_of_softmax(logits):
    return torch.softmax(logits, -1).log()


def log_of_ratio(logits):
    return (logits.exp() / logits.exp().sum(-1, keepdim=True)).log()


def tokens_other_normalizer(logits, tokens):
    raw = logits[:, :-1].gather(-1, tokens[:, 1:, None]).squeeze(-1)
    return F.pad(raw - logits[:, 1:].logsumexp(-1), (1, 0))


def tokens_no_guard(logits, tokens):
    logp = F.log_softmax(logits[:, :-1], -1)
    return F.pad(logp.gather(-1, tokens[:, 1 : logits.shape[1], None]).squeeze(-1), (1, 0))


def text_logits(g, B, T, V, dtype=torch.float32, scale=1.0):
    return dict(logits=normal(g, B, T, V, dtype=dtype, scale=scale), tokens=integers(g, V, B, T))


def one_longer(args, name):
    """The same arguments with one column too many in one of them."""
    return args | {name: torch.cat([args[name], args[name][:, :1]], dim=1)}


# --- bradley_terry_loss ---


def votes(loss, margin=lambda chosen, rejected: chosen - rejected):
    return lambda r_chosen, r_rejected: loss(margin(r_chosen, r_rejected))


def votes_mean_inside(r_chosen, r_rejected):
    return -F.logsigmoid((r_chosen - r_rejected).mean())


def votes_independent(r_chosen, r_rejected):
    return -(F.logsigmoid(r_chosen) + F.logsigmoid(-r_rejected)).mean()


def votes_all_pairs(r_chosen, r_rejected):
    return -F.logsigmoid(r_chosen[:, None] - r_rejected[None, :]).mean()


def votes_no_guard(r_chosen, r_rejected):
    return -F.logsigmoid(r_chosen - r_rejected).mean()


def votes_softmax(r_chosen, r_rejected):
    return -F.log_softmax(torch.stack([r_chosen, r_rejected]), dim=1)[0].mean()


def votes_softmax_all(r_chosen, r_rejected):
    both = torch.cat([r_chosen, r_rejected])
    return -F.log_softmax(both, 0)[: len(r_chosen)].mean()


def votes_exponentials(r_chosen, r_rejected):
    return -(r_chosen.exp() / (r_chosen.exp() + r_rejected.exp())).log().mean()


def standardized(margin):
    return margin / (margin.std() + 1e-8) if len(margin) > 1 else margin


def negative_mean(x):
    return -x.mean()


def nll(margin):
    return -F.logsigmoid(margin).mean()


def pair_scores(g, B, dtype=torch.float32, scale=1.0):
    return dict(
        r_chosen=normal(g, B, dtype=dtype, scale=scale),
        r_rejected=normal(g, B, dtype=dtype, scale=scale),
    )


BOTH = ("r_chosen", "r_rejected")

# --- sequence_score ---


def score_last_column(values, mask):
    return values[:, -1]


def score_masked_last_column(values, mask):
    return torch.where(mask, values, 0.0)[:, -1]


def score_mean(values, mask):
    return torch.where(mask, values, 0.0).sum(1) / mask.sum(1)


def score_sum(values, mask):
    return torch.where(mask, values, 0.0).sum(1)


def score_max(values, mask):
    return torch.where(mask, values, -torch.inf).max(1).values


def score_first(values, mask):
    return values.gather(1, mask.int().argmax(1, keepdim=True)).squeeze(1)


def score_first_pad(values, mask):
    after = mask.int().argmin(1) - 1
    return values[torch.arange(len(values)), after]


def score_count(values, mask):
    return values[torch.arange(len(values)), mask.sum(1) - 1]


def last_of(mask):
    return (torch.arange(mask.shape[1]) * mask).argmax(1)


def score_one_past(values, mask):
    index = (last_of(mask) + 1).clamp(max=values.shape[1] - 1)
    return values[torch.arange(len(values)), index]


def score_one_early(values, mask):
    return values[torch.arange(len(values)), (last_of(mask) - 1).clamp(min=0)]


def score_mean_of_all(values, mask):
    return values.mean(1)


def score_mean_over_columns(values, mask):
    return torch.where(mask, values, 0.0).mean(1)


def score_first_pad_clamped(values, mask):
    return values[torch.arange(len(values)), (mask.int().argmin(1) - 1).clamp(min=0)]


def score_column_of(row):
    return lambda values, mask: values[:, last_of(mask)[row]]


def score_table(values, mask):
    return values[:, last_of(mask)]


def score_not_zero(values, mask):
    kept = [row[row != 0] for row in torch.where(mask, values, 0.0)]
    return torch.stack([row[-1] if len(row) else values[0, 0] * 0 for row in kept])


def score_multiplied(values, mask):
    return (values * F.one_hot(last_of(mask), mask.shape[1])).sum(1)


def score_weighted(values, mask):
    weight = torch.arange(1, mask.shape[1] + 1, dtype=values.dtype) * mask
    return (torch.where(mask, values, 0.0) * weight).sum(1) / weight.sum(1)


def score_batch_mean(values, mask):
    return sequence_score(values, mask).mean()


def score_kept_axis(values, mask):
    return sequence_score(values, mask).unsqueeze(1)


def score_detached(values, mask):
    return sequence_score(values, mask).detach()


def score_empty_rows(values, mask):
    return values[torch.arange(len(values)), last_of(mask)]


def marked(g, B, T, dtype=torch.float32):
    mask = masks(g, B, T)
    values = normal(g, B, T, dtype=dtype)
    return dict(values=torch.where(mask, values, 10 * values), mask=mask)


def zero_scores(g):
    """Answers whose last token's value is exactly 0, at places that the generator draws."""
    mask = masks(g, 4, 7)
    at_the_end = torch.arange(7) == last_of(mask)[:, None]
    return dict(values=torch.where(at_the_end, 0.0, 1 + normal(g, 4, 7).abs()), mask=mask)


def hand_mask(*rows):
    return torch.tensor(rows, dtype=torch.bool)


# first and last row, first and last column hold both values of the mask, whatever the seed
AT_THE_RIM = hand_mask([1, 1, 0, 0], [0, 1, 1, 0], [0, 0, 1, 1])
LARGE_VALUES = steps_3_by_4(1, -1, 2, -2, -3, 1, 0.5, -1, 2, -2, 1, -1)


# --- kl_shaped_rewards ---


def shaped(score, logp, logp_ref, mask, beta, kl=None, at=None, worth=None):
    """The right sum with one of its pieces replaced: what the mistakes below vary."""
    gap = logp - logp_ref
    rew = torch.where(mask, -beta * (gap if kl is None else kl(gap)), 0.0).detach()
    at = last_of(mask) if at is None else at(mask)
    worth = score.detach() if worth is None else worth(score.detach(), mask)
    out = rew.clone()
    out[torch.arange(len(out)), at] += worth
    return out


def shaping(keep=None, **pieces):
    def wrong(score, logp, logp_ref, mask, beta):
        out = shaped(score, logp, logp_ref, mask, beta, **pieces)
        return out if keep is None else keep(out, mask)

    return wrong


def only_masked(out, mask):
    return torch.where(mask, out, 0.0)


def shaped_padding(score, logp, logp_ref, mask, beta):
    rew = (-beta * (logp - logp_ref)).detach()
    rew[torch.arange(len(rew)), last_of(mask)] += score.detach()
    return rew


def shaped_multiplied(score, logp, logp_ref, mask, beta):
    rew = (-beta * (logp - logp_ref) * mask).detach()
    rew[torch.arange(len(rew)), last_of(mask)] += score.detach()
    return rew


def shaped_everywhere(score, logp, logp_ref, mask, beta):
    return torch.where(mask, score[:, None] - beta * (logp - logp_ref), 0.0).detach()


def shaped_assigned(score, logp, logp_ref, mask, beta):
    rew = torch.where(mask, -beta * (logp - logp_ref), 0.0).detach()
    rew[torch.arange(len(rew)), last_of(mask)] = score.detach()
    return rew


def shaped_at_the_end(score, logp, logp_ref, mask, beta):
    kl = torch.where(mask, logp - logp_ref, 0.0).sum(1)
    rew = torch.zeros_like(logp)
    rew[torch.arange(len(rew)), last_of(mask)] = score - beta * kl
    return rew.detach()


def shaped_alive(score, logp, logp_ref, mask, beta):
    end = F.one_hot(last_of(mask), mask.shape[1]).to(logp.dtype)
    return torch.where(mask, -beta * (logp - logp_ref), 0.0) + end * score[:, None]


def shaped_score_alive(score, logp, logp_ref, mask, beta):
    end = F.one_hot(last_of(mask), mask.shape[1]).to(logp.dtype)
    return torch.where(mask, -beta * (logp - logp_ref), 0.0).detach() + end * score[:, None]


def shaped_kl_alive(score, logp, logp_ref, mask, beta):
    end = F.one_hot(last_of(mask), mask.shape[1]).to(logp.dtype)
    return torch.where(mask, -beta * (logp - logp_ref), 0.0) + end * score[:, None].detach()


def shaped_policy_alive(score, logp, logp_ref, mask, beta):
    return shaped_kl_alive(score, logp, logp_ref.detach(), mask, beta)


def shaped_all_columns(score, logp, logp_ref, mask, beta):
    rew = torch.where(mask, -beta * (logp - logp_ref), 0.0).detach()
    rew[:, last_of(mask)] += score.detach()
    return rew


def shaped_everything(score, logp, logp_ref, mask, beta):
    return (score[:, None] - beta * (logp - logp_ref)).detach()


def shaped_spread(score, logp, logp_ref, mask, beta):
    share = score[:, None] / mask.sum(1, keepdim=True)
    return torch.where(mask, share - beta * (logp - logp_ref), 0.0).detach()


def shaped_total(score, logp, logp_ref, mask, beta):
    kl = torch.where(mask, logp - logp_ref, 0.0).sum(1)
    return shaped(score - beta * kl, logp, logp_ref, mask, beta)


def shaped_row_mean(score, logp, logp_ref, mask, beta):
    kl = torch.where(mask, logp - logp_ref, 0.0).sum(1, keepdim=True)
    return shaped(score, (kl / mask.sum(1, keepdim=True)).expand_as(logp), 0.0, mask, beta)


def shaped_batch_mean(score, logp, logp_ref, mask, beta):
    return shaped(score, (logp - logp_ref)[mask].mean().expand_as(logp), 0.0, mask, beta)


def shaped_by_length(score, logp, logp_ref, mask, beta):
    return shaped(score, (logp - logp_ref) / mask.sum(1, keepdim=True), 0.0, mask, beta)


def shaped_to_go(score, logp, logp_ref, mask, beta):
    return only_masked(shaped(score, logp, logp_ref, mask, beta).flip(1).cumsum(1).flip(1), mask)


def shaped_whitened(score, logp, logp_ref, mask, beta):
    rew = shaped(score, logp, logp_ref, mask, beta)
    kept = rew[mask]
    return only_masked((rew - kept.mean()) / (kept.std(correction=0) + 1e-8), mask)


def shaped_summed(score, logp, logp_ref, mask, beta):
    return shaped(score, logp, logp_ref, mask, beta).sum(1)


def shaped_at_count(score, logp, logp_ref, mask, beta):
    return shaped(score, logp, logp_ref, mask, beta, at=lambda mask: mask.sum(1) - 1)


def shaped_early_mask(score, logp, logp_ref, mask, beta, at=None):
    early = torch.cat([mask[:, 1:], torch.zeros_like(mask[:, :1])], 1)
    return shaped(score, logp, logp_ref, early, beta, at=at or (lambda _: last_of(mask)))


def shaped_late_mask(score, logp, logp_ref, mask, beta):
    late = torch.cat([torch.zeros_like(mask[:, :1]), mask[:, :-1]], 1)
    return shaped(score, logp, logp_ref, late, beta, at=lambda _: last_of(mask))


def whitened(score):
    return (score - score.mean()) / (score.std(correction=0) + 1e-8)


def repriced(price):
    """The difference of logs replaced by another function of the two."""

    def wrong(score, logp, logp_ref, mask, beta):
        return shaped(score, price(logp, logp_ref), 0.0, mask, beta)

    return wrong


def rescored(change):
    """The score replaced by a function of it."""
    return lambda score, logp, logp_ref, mask, beta: shaped(
        change(score), logp, logp_ref, mask, beta
    )


def rebeta(change):
    return lambda score, logp, logp_ref, mask, beta: shaped(
        score, logp, logp_ref, mask, change(beta)
    )


def shaped_no_score(score, logp, logp_ref, mask, beta):
    return torch.where(mask, -beta * (logp - logp_ref), 0.0).detach()


def shaped_no_guard(score, logp, logp_ref, mask, beta):
    return shaped(score, logp, logp_ref, mask, beta)


def shaped_only(guard=None):
    """No guard, or one of them; and everything else is written so that it broadcasts."""

    def wrong(score, logp, logp_ref, mask, beta):
        if guard == "rows" and not mask.any(dim=1).all():
            raise ValueError("a row of the mask is all False.")
        if guard == "score" and score.shape != logp.shape[:1]:
            raise ValueError("expected one score a row.")
        rew = torch.where(mask, -beta * (logp - logp_ref), 0.0)
        end = torch.arange(rew.shape[1]) == last_of(mask)[:, None]
        return (rew + torch.where(end, score.reshape(-1, 1), 0.0)).detach()

    return wrong


def answer_rewards(g, B, T, beta=0.1, dtype=torch.float32, scale=1.0):
    logp = -normal(g, B, T, dtype=dtype).abs()
    return dict(
        score=normal(g, B, dtype=dtype, scale=scale),
        logp=logp,
        logp_ref=logp + normal(g, B, T, dtype=dtype, scale=0.5),
        mask=masks(g, B, T),
        beta=beta,
    )


def hand_rewards(g):
    return dict(
        score=torch.tensor([1.0, -1.0]),
        logp=torch.tensor([[-1.0, -2.0, -1.0, 0.0], [-1.0, -1.0, -2.0, -3.0]]),
        logp_ref=torch.tensor([[-3.0, -1.0, -3.0, -2.0], [-2.0, -2.0, -1.0, -1.0]]),
        mask=hand_mask([0, 1, 1, 0], [0, 1, 1, 1]),
        beta=0.5,
    )


def inf_in_padding(args):
    junk = torch.where(args["mask"], 0.0, -torch.inf)
    return args | dict(logp=args["logp"] + junk, logp_ref=args["logp_ref"] + junk)


SHAPED = ("score", "logp", "logp_ref")
KL_SHAPED_REWARDS = Exercise(
    reference=kl_shaped_rewards,
    parts={"values": 3, "padding": 1, "shapes": 1, "clean": 1},
    cases=[
        Case("two answers", hand_rewards, "values", SHAPED),
        Case("a batch", lambda g: answer_rewards(g, 5, 8), "values", SHAPED),
        Case("float64", lambda g: answer_rewards(g, 3, 7, beta=1.0, dtype=F64), "values", SHAPED),
        Case("beta = 0", lambda g: answer_rewards(g, 3, 5, beta=0.0), "values"),
        Case(
            "large scores",
            lambda g: (
                (args := answer_rewards(g, 4, 6, scale=30.0))
                | dict(score=args["score"] + 15 * args["score"].sign())
            ),
            "values",
        ),
        Case(
            "-inf in the padding",
            lambda g: inf_in_padding(answer_rewards(g, 4, 6)),
            "padding",
        ),
        Case(
            "a row without a response token",
            lambda g: (
                answer_rewards(g, 2, 5) | dict(mask=hand_mask([0, 0, 0, 0, 0], [0, 1, 1, 0, 0]))
            ),
            "shapes",
            raises=True,
        ),
        Case(
            "one column more in the mask",
            lambda g: one_longer(answer_rewards(g, 2, 4), "mask"),
            "shapes",
            raises=True,
        ),
        Case(
            "a column of scores",
            lambda g: (args := answer_rewards(g, 3, 4)) | dict(score=args["score"][:, None]),
            "shapes",
            raises=True,
        ),
        *(
            Case(
                f"one row of {name} for all",
                lambda g, name=name: (args := answer_rewards(g, 3, 4)) | {name: args[name][:1]},
                "shapes",
                raises=True,
            )
            for name in ("logp", "logp_ref", "mask")
        ),
        Case(
            "far from the reference, answers at both rims",
            lambda g: dict(
                score=torch.tensor([3000.0, -2000.0, 1000.0], dtype=F64),
                logp=steps_3_by_4(*range(-14, -2), times=30.0),
                logp_ref=steps_3_by_4(
                    -2, -20, -4, -18, -6, -16, -8, -14, -10, -12, -1, -20, times=30.0
                ),
                mask=AT_THE_RIM,
                beta=0.5,
            ),
            "values",
            SHAPED,
        ),
    ],
    pitfalls=[
        Pitfall(
            "no guard",
            "What does not fit is spread over the batch, or lands in column 0, in silence; keep the checks that raise.",
            shaped_no_guard,
            also=(shaped_only(), shaped_only("rows"), shaped_only("score")),
        ),
        Pitfall(
            "sign of the KL",
            "It PAYS for leaving the reference: the reward should fall when logp exceeds logp_ref.",
            shaping(kl=lambda gap: -gap),
            "With this sign the model runs away from the text it knows as fast as it can.",
        ),
        Pitfall(
            "absolute KL",
            "It takes |logp - logp_ref|. The difference is negative at some tokens, and its average is the KL.",
            shaping(kl=torch.abs),
            "The absolute value also punishes what the reference likes better than the policy does.",
        ),
        Pitfall(
            "squared KL",
            "It uses half the squared difference (the k2 estimate); here it is the plain difference, k1.",
            shaping(kl=lambda gap: 0.5 * gap**2),
        ),
        Pitfall(
            "k3 estimate",
            "It uses exp(-d) - 1 + d (the k3 estimate); in the reward it is the plain difference, k1.",
            shaping(kl=lambda gap: torch.exp(-gap) - 1 + gap),
            "k3 in the reward does not have the KL's gradient, and it explodes once the policy has moved.",
            also=(shaping(kl=lambda gap: torch.exp(gap) - 1 - gap),),
        ),
        Pitfall(
            "KL clamped",
            "Tokens that the reference likes better cost nothing: the difference must keep its sign.",
            shaping(kl=lambda gap: gap.clamp(min=0)),
            "The average of the plain difference is the KL; cut off at 0, it is larger.",
        ),
        Pitfall(
            "probabilities, not logs",
            "It works on probabilities or their ratio; the price is the difference of the LOGS.",
            repriced(lambda logp, logp_ref: logp.exp() - logp_ref.exp()),
            also=(
                repriced(lambda logp, logp_ref: (logp - logp_ref).exp()),
                repriced(lambda logp, logp_ref: logp / logp_ref),
            ),
        ),
        Pitfall(
            "weighted by the probability",
            "pi * log(pi/ref) is a term of the exact sum; over SAMPLED tokens, sampling does the weighting.",
            repriced(lambda logp, logp_ref: logp.exp() * (logp - logp_ref)),
        ),
        Pitfall(
            "reference missing",
            "logp_ref is not used: it charges for every token's log-probability, wherever the reference is.",
            repriced(lambda logp, logp_ref: logp),
        ),
        Pitfall(
            "reference's neighbor",
            "The two log-probabilities are of different tokens: they already line up, no further shift.",
            repriced(lambda logp, logp_ref: logp - logp_ref.roll(1, 1)),
            also=(repriced(lambda logp, logp_ref: logp - logp_ref.roll(-1, 1)),),
        ),
        Pitfall(
            "no KL",
            "The price is nowhere: only the score is left.",
            rebeta(lambda beta: 0.0),
            "Then nothing holds the text together.",
        ),
        Pitfall(
            "beta not used",
            "The price does not depend on beta as it should: it is beta per nat.",
            rebeta(lambda beta: 1.0),
            also=(rebeta(lambda beta: 0.1), rebeta(lambda beta: beta**2)),
        ),
        Pitfall(
            "KL averaged",
            "Each token is charged a mean over tokens; it should pay for its own difference.",
            shaped_row_mean,
            also=(shaped_batch_mean, shaped_by_length),
        ),
        Pitfall(
            "mask shifted",
            "The prices are one place off: log-probabilities, mask and rewards line up token by token.",
            shaped_early_mask,
            also=(
                shaped_late_mask,
                lambda score, logp, logp_ref, mask, beta: shaped_early_mask(
                    score, logp, logp_ref, mask, beta, at=lambda _: (last_of(mask) - 1).clamp(min=0)
                ),
            ),
        ),
        Pitfall(
            "charged twice",
            "The whole KL is taken from the score AND from each token.",
            shaped_total,
        ),
        Pitfall(
            "position counted",
            "mask.sum() - 1 is the last position only if the answer begins in column 0; before it stands the prompt.",
            shaped_at_count,
        ),
        Pitfall(
            "score in other rows' columns",
            "rew[:, last] adds to every row at every row's last position: pair them, rew[torch.arange(B), last].",
            shaped_all_columns,
        ),
        Pitfall(
            "scores changed",
            "The scores are normalized, centered, clipped or scaled first; they are paid as they are.",
            rescored(whitened),
            "Otherwise beta means something else in each batch.",
            also=(
                rescored(lambda score: (score - score.mean()) / (score.std() + 1e-8)),
                rescored(lambda score: score - score.mean()),
                *(rescored(lambda score, k=k: score.clamp(-k, k)) for k in (1, 2, 3, 5, 10)),
                rescored(lambda score: 2 * score),
                rescored(torch.sigmoid),
                rescored(torch.tanh),
            ),
        ),
        Pitfall(
            "sign of the score",
            "It takes the score away: the worst answers would be rewarded.",
            rescored(lambda score: -score),
        ),
        Pitfall(
            "rewards whitened",
            "It normalizes the rewards; only advantages are normalized, later, in the update.",
            shaped_whitened,
            "beta would mean something else in each batch.",
        ),
        Pitfall(
            "reward to go",
            "It adds up what is still to come; that is the job of the advantages, one step later.",
            shaped_to_go,
        ),
        Pitfall(
            "one number per answer",
            "It adds the rewards up over the answer; PPO needs one per token, [B, T].",
            shaped_summed,
        ),
        Pitfall(
            "KL on prompt and padding",
            "Prompt and padding tokens are priced too; only the mask's tokens were actions.",
            shaped_padding,
        ),
        Pitfall(
            "mask multiplied",
            "0 times infinity is nan: select with the mask (torch.where) instead of multiplying by it.",
            shaped_multiplied,
        ),
        Pitfall(
            "score on every token",
            "Every token gets the whole score: an answer is paid once, at its end.",
            shaped_everywhere,
            "Twice as long an answer would earn twice as much for the same text.",
            also=(shaped_everything,),
        ),
        Pitfall(
            "score on the last column",
            "The score lands at position -1: padding for every answer but the longest.",
            shaping(at=lambda mask: torch.full((len(mask),), -1)),
        ),
        Pitfall(
            "score one past the end",
            "The score lands on the place after the last response token.",
            shaping(at=lambda mask: (last_of(mask) + 1).clamp(max=mask.shape[1] - 1)),
            "There the mask will drop it: only answers that fill their row are rewarded at all.",
        ),
        Pitfall(
            "score masked away",
            "Where the answer ends before the last column, its score is lost: it was put on padding.",
            shaping(keep=only_masked, at=lambda mask: torch.full((len(mask),), -1)),
            "Only answers that fill their row are rewarded at all.",
        ),
        Pitfall(
            "score on the first token",
            "The score is paid at the answer's first token, before the rest was written.",
            shaping(at=lambda mask: mask.int().argmax(1)),
        ),
        Pitfall(
            "score replaces the KL",
            "The last token gets the score INSTEAD of its KL price; it should get both.",
            shaped_assigned,
        ),
        Pitfall(
            "whole KL at the end",
            "The KL of the whole answer is charged at the last token; each token should pay its own.",
            shaped_at_the_end,
            "The sum is the same, but the critic then has to find out which token was the expensive one.",
        ),
        Pitfall(
            "score times beta",
            "beta multiplies the score; it is the price of the KL alone.",
            lambda score, logp, logp_ref, mask, beta: shaped(
                score * beta, logp, logp_ref, mask, beta
            ),
            also=(
                lambda score, logp, logp_ref, mask, beta: shaped(
                    score * beta, logp, logp_ref, mask, 1.0
                ),
            ),
        ),
        Pitfall(
            "score per token",
            "The score is divided by the answer's length; it is paid whole, at the last token.",
            shaping(worth=lambda score, mask: score / mask.sum(1)),
            also=(shaped_spread,),
        ),
        Pitfall(
            "no score",
            "The score is nowhere: only the price of leaving the reference is left.",
            shaped_no_score,
        ),
        Pitfall(
            "rewards with gradient",
            "A gradient flows through the rewards: they are constants, what was paid was paid.",
            shaped_alive,
            "The KL would enter twice, once as a reward and once as a loss.",
            also=(shaped_score_alive, shaped_kl_alive, shaped_policy_alive),
        ),
    ],
    read="lesson 7, “The reward, token by token”; Ziegler et al. 2019, eq. 2",
)

# --- rlhf_advantages ---


def gae_on_tokens(rew, val, mask, gamma, lam, next_val=None, cut=None, keep=only_masked):
    """`rlhf_advantages` with one of its pieces replaced: what the mistakes below vary."""
    rew, val = torch.where(mask, rew, 0.0), torch.where(mask, val, 0.0).detach()
    after = torch.cat([val[:, 1:], torch.zeros_like(val[:, :1])], 1)
    after = after if next_val is None else next_val(val, mask)
    goes_on = torch.cat([mask[:, 1:], torch.zeros_like(mask[:, :1])], 1)
    last = ~(mask & goes_on)
    stops = torch.zeros_like(last) if cut == "never" else last
    adv = gae(rew.T, val.T, after.T, stops.T, stops.T, gamma, lam).T
    return keep(adv, mask)


def advantages(**pieces):
    return lambda rew, val, mask, gamma, lam: gae_on_tokens(rew, val, mask, gamma, lam, **pieces)


def adv_bootstrap_padding(rew, val, mask, gamma, lam):
    next_val = torch.cat([val[:, 1:], torch.zeros_like(val[:, :1])], 1).detach()
    never = torch.zeros_like(mask)
    last = ~(mask & torch.cat([mask[:, 1:], never[:, :1]], 1))
    rew, val = torch.where(mask, rew, 0.0), torch.where(mask, val.detach(), 0.0)
    adv = gae(rew.T, val.T, next_val.T, never.T, last.T, gamma, lam).T
    return torch.where(mask, adv, 0.0)


def adv_no_critic(rew, val, mask, gamma, lam):
    return rlhf_advantages(rew, torch.zeros_like(val), mask, gamma, 1.0)


def adv_returns(rew, val, mask, gamma, lam):
    adv = rlhf_advantages(rew, val, mask, gamma, lam)
    return torch.where(mask, adv + val.detach(), 0.0)


def adv_one_step(rew, val, mask, gamma, lam):
    return rlhf_advantages(rew, val, mask, gamma, 0.0)


def adv_monte_carlo(rew, val, mask, gamma, lam):
    return rlhf_advantages(rew, val, mask, gamma, 1.0)


def adv_no_discount(rew, val, mask, gamma, lam):
    return rlhf_advantages(rew, val, mask, 1.0, lam)


def adv_unmasked(rew, val, mask, gamma, lam):
    never = torch.zeros_like(mask)
    next_val = torch.cat([val[:, 1:], torch.zeros_like(val[:, :1])], 1)
    return gae(rew.T, val.T, next_val.T, never.T, never.T, gamma, lam).T


def adv_masked_after(rew, val, mask, gamma, lam):
    return torch.where(mask, adv_unmasked(rew, val, mask, gamma, lam), 0.0)


def adv_prompt_too(rew, val, mask, gamma, lam):
    return gae_on_tokens(rew, val, mask, gamma, lam, cut="never", keep=lambda adv, mask: adv)


def adv_shifted_value(rew, val, mask, gamma, lam):
    """delta = r + gamma V_t - V_{t-1}: the value from before the step before."""
    before = torch.cat([torch.zeros_like(val[:, :1]), val[:, :-1]], 1)
    return rlhf_advantages(rew, before, mask, gamma, lam)


def adv_value_twice(rew, val, mask, gamma, lam):
    adv = rlhf_advantages(rew, val, mask, gamma, lam)
    return torch.where(mask, adv - val.detach(), 0.0)


def adv_whitened(rew, val, mask, gamma, lam):
    adv = rlhf_advantages(rew, val, mask, gamma, lam)
    kept = adv[mask]
    return torch.where(mask, (adv - kept.mean()) / (kept.std(correction=0) + 1e-8), 0.0)


def adv_forward_time(rew, val, mask, gamma, lam):
    adv, running = torch.zeros_like(rew), torch.zeros_like(rew[:, 0])
    rew, val = torch.where(mask, rew, 0.0), torch.where(mask, val.detach(), 0.0)
    for t in range(rew.shape[1]):
        next_val = val[:, t + 1] if t + 1 < rew.shape[1] else 0.0
        running = torch.where(mask[:, t], rew[:, t] + gamma * next_val - val[:, t], 0.0) + (
            gamma * lam * running
        )
        adv[:, t] = running
    return torch.where(mask, adv, 0.0)


def adv_rows_as_time(rew, val, mask, gamma, lam):
    """Takes the batch for time: lesson 4's time-major function on [B, T] tensors as they are."""
    rew, val = torch.where(mask, rew, 0.0), torch.where(mask, val, 0.0)
    next_val = torch.cat([val[1:], torch.zeros_like(val[:1])])
    last = ~mask
    return torch.where(mask, gae(rew, val, next_val, last, last, gamma, lam), 0.0)


def tokens_gae(rew, val, next_val, stops, mask, gamma, lam):
    """Lesson 4's recursion, time first, on rewards and values as they are given."""
    val = val.detach()
    return gae(rew.T, val.T, next_val.detach().T, stops.T, stops.T, gamma, lam).T


def following(x):
    return torch.cat([x[:, 1:], torch.zeros_like(x[:, :1])], 1)


def is_last(mask):
    return ~(mask & following(mask))


def adv_no_critic_lambda(rew, val, mask, gamma, lam):
    return rlhf_advantages(rew, torch.zeros_like(val), mask, gamma, lam)


def adv_carry(factor):
    """The carry multiplied by something else than gamma * lam, delta by something else than gamma."""

    def wrong(rew, val, mask, gamma, lam, look=None):
        rew, val = torch.where(mask, rew, 0.0), torch.where(mask, val, 0.0).detach()
        carry, discount = factor(gamma, lam)
        running, columns = torch.zeros_like(rew[:, 0]), []
        delta = rew + discount * following(val) - val
        for t in reversed(range(rew.shape[1])):
            running = torch.where(mask[:, t], delta[:, t] + carry * running, 0.0)
            columns.insert(0, running)
        return torch.stack(columns, 1)

    return wrong


def adv_batch_axis(rew, val, mask, gamma, lam):
    """Time and batch mixed up in the call of `gae`, the flags being right."""
    rew, val = torch.where(mask, rew, 0.0), torch.where(mask, val, 0.0).detach()
    last = is_last(mask)
    return torch.where(mask, gae(rew, val, following(val), last, last, gamma, lam), 0.0)


def adv_late_flag(rew, val, mask, gamma, lam):
    """The flags are True only from the first padding token on."""
    rew = torch.where(mask, rew, 0.0)
    return only_masked(tokens_gae(rew, val, following(val), ~mask, mask, gamma, lam), mask)


def adv_flag_at_the_end(rew, val, mask, gamma, lam):
    """The only end is the last column of the batch."""
    stops = torch.zeros_like(mask)
    stops[:, -1] = True
    rew = torch.where(mask, rew, 0.0)
    return only_masked(tokens_gae(rew, val, following(val), stops, mask, gamma, lam), mask)


def adv_padding_carry(rew, val, mask, gamma, lam):
    """Values of padding are cleared where they are looked ahead to, but their deltas run on."""
    ahead = torch.where(following(mask), following(val), 0.0)
    never = torch.zeros_like(mask)
    return only_masked(tokens_gae(rew, val, ahead, never, mask, gamma, lam), mask)


def adv_uncleared(rew, val, mask, gamma, lam):
    return tokens_gae(
        rew, val, torch.where(following(mask), following(val), 0.0), is_last(mask), mask, gamma, lam
    )


def adv_uncleared_carry(rew, val, mask, gamma, lam):
    """Cut where the next token is no action, so that the prompt's last token runs into the answer."""
    ahead = torch.where(following(mask), following(val), 0.0)
    return tokens_gae(rew, val, ahead, ~following(mask), mask, gamma, lam)


def adv_previous_value(rew, val, mask, gamma, lam):
    rew, val = torch.where(mask, rew, 0.0), torch.where(mask, val, 0.0)
    before = torch.cat([torch.zeros_like(val[:, :1]), val[:, :-1]], 1)
    return only_masked(tokens_gae(rew, val, before, is_last(mask), mask, gamma, lam), mask)


def adv_same_value(rew, val, mask, gamma, lam):
    rew, val = torch.where(mask, rew, 0.0), torch.where(mask, val, 0.0)
    return only_masked(tokens_gae(rew, val, val, is_last(mask), mask, gamma, lam), mask)


def adv_wrapped(rew, val, mask, gamma, lam):
    rew, stops = torch.where(mask, rew, 0.0), ~mask.roll(-1, 1)
    return only_masked(tokens_gae(rew, val, val.roll(-1, 1), stops, mask, gamma, lam), mask)


def adv_last_column_forgotten(rew, val, mask, gamma, lam):
    rew, val = torch.where(mask, rew, 0.0), torch.where(mask, val, 0.0).detach()
    adv, running = torch.zeros_like(rew), torch.zeros_like(rew[:, 0])
    for t in reversed(range(rew.shape[1] - 1)):
        running = rew[:, t] + gamma * val[:, t + 1] - val[:, t] + gamma * lam * running
        adv[:, t] = running
    return torch.where(mask, adv, 0.0)


def adv_one_episode(rew, val, mask, gamma, lam):
    """All answers strung together: the next row's first token follows the last of this one."""
    r, v = rew[mask], val[mask].detach()
    ends = torch.zeros_like(r, dtype=torch.bool)
    ends[-1:] = True
    out = torch.zeros_like(rew)
    out[mask] = gae(r, v, torch.cat([v[1:], v[:1] * 0]), ends, ends, gamma, lam)
    return out


def adv_whole_reward(rew, val, mask, gamma, lam):
    total = torch.where(mask, rew, 0.0).sum(1, keepdim=True)
    return torch.where(mask, total - val.detach(), 0.0)


def adv_rewards(rew, val, mask, gamma, lam):
    return torch.where(mask, rew, 0.0)


def adv_reward_minus_value(rew, val, mask, gamma, lam):
    return torch.where(mask, rew - val.detach(), 0.0)


def adv_centered(rew, val, mask, gamma, lam):
    adv = rlhf_advantages(rew, val, mask, gamma, lam)
    return torch.where(mask, adv - adv[mask].mean(), 0.0)


def adv_prompt_values(rew, val, mask, gamma, lam):
    """Everything up to the answer's last token counts, the prompt's values too."""
    seen = torch.arange(mask.shape[1]) <= last_of(mask)[:, None]
    return rlhf_advantages(rew, val.detach(), seen, gamma, lam)


def adv_multiplied(rew, val, mask, gamma, lam):
    return rlhf_advantages(rew * mask, val * mask, torch.ones_like(mask), gamma, lam) * mask


def adv_spread(rew, val, mask, gamma, lam):
    rew, val, mask = torch.broadcast_tensors(rew, val, mask)
    return rlhf_advantages(rew, val, mask, gamma, lam)


def adv_alive(rew, val, mask, gamma, lam):
    rew, val = torch.where(mask, rew, 0.0), torch.where(mask, val, 0.0)
    columns, running, next_val = [], torch.zeros_like(rew[:, 0]), torch.zeros_like(rew[:, 0])
    for t in reversed(range(rew.shape[1])):
        running = rew[:, t] + gamma * next_val - val[:, t] + gamma * lam * running
        running = torch.where(mask[:, t], running, 0.0)
        next_val = val[:, t]
        columns.insert(0, running)
    return torch.stack(columns, 1)


def adv_no_guard(rew, val, mask, gamma, lam):
    return rlhf_advantages(rew, val, mask.expand_as(rew), gamma, lam)


def value_at_last_token(val, mask):
    """Bootstraps the last token from its own value."""
    after = torch.cat([val[:, 1:], torch.zeros_like(val[:, :1])], 1)
    goes_on = torch.cat([mask[:, 1:], torch.zeros_like(mask[:, :1])], 1)
    return torch.where(mask & ~goes_on, val, after)


def adv_bootstrap_itself(rew, val, mask, gamma, lam):
    end = value_at_last_token(torch.where(mask, val, 0.0), mask)
    goes_on = torch.cat([mask[:, 1:], torch.zeros_like(mask[:, :1])], 1)
    last = mask & ~goes_on
    return rlhf_advantages(
        rew + torch.where(last, gamma * end, 0.0).detach(), val, mask, gamma, lam
    )


def answer_values(g, B, T, gamma=0.95, lam=0.9, dtype=torch.float32):
    """Values in prompt and padding too: a critic computes them everywhere."""
    mask = masks(g, B, T)
    rew = torch.where(mask, normal(g, B, T, dtype=dtype), 0.0)
    return dict(rew=rew, val=normal(g, B, T, dtype=dtype), mask=mask, gamma=gamma, lam=lam)


def hand_values(g):
    return dict(
        rew=torch.tensor([[0.0, 0.0, 1.0, 0.0], [0.0, -0.5, 0.0, 1.0]]),
        val=torch.tensor([[5.0, 0.5, 1.0, 7.0], [5.0, 0.5, 1.0, 0.5]]),
        mask=hand_mask([0, 1, 1, 0], [0, 1, 1, 1]),
        gamma=0.5,
        lam=0.5,
    )


def nan_in_padding(args):
    return args | {name: torch.where(args["mask"], args[name], math.nan) for name in ("rew", "val")}


RLHF_ADVANTAGES = Exercise(
    reference=rlhf_advantages,
    parts={"values": 3, "padding": 1, "shapes": 1, "clean": 1},
    cases=[
        Case("two answers", hand_values, "values", ("val",)),
        Case("a batch", lambda g: answer_values(g, 5, 8), "values", ("val",)),
        Case(
            "float64",
            lambda g: answer_values(g, 3, 7, dtype=F64, gamma=0.9, lam=0.8),
            "values",
            ("val",),
        ),
        Case(
            "no discount, as in RLHF",
            lambda g: answer_values(g, 4, 6, gamma=1.0, lam=0.95),
            "values",
        ),
        Case(
            "nan in the padding",
            lambda g: nan_in_padding(answer_values(g, 4, 6)),
            "padding",
        ),
        *(
            Case(
                f"one row of {name} for all",
                lambda g, name=name: (args := answer_values(g, 3, 4)) | {name: args[name][:1]},
                "shapes",
                raises=True,
            )
            for name in ("rew", "val", "mask")
        ),
        Case(
            "large values, answers at both rims",
            lambda g: dict(
                rew=torch.where(AT_THE_RIM, LARGE_VALUES.flip(0), 0.0),
                val=LARGE_VALUES,
                mask=AT_THE_RIM,
                gamma=0.5,
                lam=0.5,
            ),
            "values",
            ("val",),
        ),
    ],
    pitfalls=[
        Pitfall(
            "no guard",
            "One row is spread over the batch in silence; keep the shape check.",
            adv_no_guard,
            also=(adv_spread,),
        ),
        Pitfall(
            "mask multiplied",
            "0 times nan is nan: select with the mask (torch.where) instead of multiplying by it.",
            adv_multiplied,
        ),
        Pitfall(
            "bootstrap into the padding",
            "The last token looks ahead to the value of a padding token: nothing follows the end.",
            adv_bootstrap_padding,
            "The critic has never been trained on padding; its number there is noise.",
            also=(adv_late_flag,),
        ),
        Pitfall(
            "last token bootstraps itself",
            "The last token adds its own value again as if the answer went on from there.",
            adv_bootstrap_itself,
        ),
        Pitfall(
            "no critic",
            "It is the reward still to come, without the value subtracted: the critic is unused.",
            adv_no_critic,
            also=(adv_no_critic_lambda,),
        ),
        Pitfall(
            "one return for all tokens",
            "Every token is credited with the whole answer's reward, what came before it included.",
            adv_whole_reward,
        ),
        Pitfall(
            "rewards as advantages",
            "It returns the rewards: nothing of the score reaches the tokens before the last.",
            adv_rewards,
        ),
        Pitfall(
            "next value missing",
            "It is reward minus value; what the critic expects AFTER the token is missing, and so are the later deltas.",
            adv_reward_minus_value,
        ),
        Pitfall(
            "next value is the previous one",
            "V_{t+1} is taken from the column before; it stands in the column after.",
            adv_previous_value,
        ),
        Pitfall(
            "next value is the value",
            "V_{t+1} is val[:, t] itself; it stands one column later.",
            adv_same_value,
        ),
        Pitfall(
            "row wraps round",
            "torch.roll brings the first column to the end: the last token looks ahead to the prompt.",
            adv_wrapped,
        ),
        Pitfall(
            "last column forgotten",
            "The loop never reaches the last column: an answer that fills its row loses its score.",
            adv_last_column_forgotten,
        ),
        Pitfall(
            "answers strung together",
            "The masked tokens of all rows are one long episode: an answer's end runs on into the next answer.",
            adv_one_episode,
        ),
        Pitfall(
            "returns",
            "It adds the value back: that is the critic's target, not the advantage.",
            adv_returns,
        ),
        Pitfall(
            "lambda = 0",
            "Only the one-step error delta: the score never reaches the tokens before the last.",
            adv_one_step,
            "The score is paid at the end; without the sum over later deltas only the end learns from it.",
        ),
        Pitfall(
            "lambda = 1", "lam is not used: it sums all later deltas in full.", adv_monte_carlo
        ),
        Pitfall("gamma ignored", "gamma is not used.", adv_no_discount),
        Pitfall(
            "wrong discount",
            "The sum over later deltas is discounted by gamma * lam, a delta's look ahead by gamma.",
            adv_carry(lambda gamma, lam: (lam, gamma)),
            also=(
                adv_carry(lambda gamma, lam: (gamma * lam, lam)),
                adv_carry(lambda gamma, lam: (gamma * lam, gamma * lam)),
                adv_carry(lambda gamma, lam: (gamma + lam - 1, gamma)),
            ),
        ),
        Pitfall(
            "no mask",
            "The recursion runs through prompt and padding as if they were actions.",
            adv_unmasked,
        ),
        Pitfall(
            "masked only at the end",
            "The result is masked, but values of the padding have already run into it.",
            adv_masked_after,
            also=(adv_padding_carry, adv_flag_at_the_end),
        ),
        Pitfall(
            "not 0 outside the mask",
            "Prompt and padding keep numbers of their own; it should be 0 there.",
            adv_uncleared,
            also=(adv_uncleared_carry,),
        ),
        Pitfall(
            "prompt gets an advantage",
            "The sum runs on into the prompt: those tokens were given, not chosen.",
            adv_prompt_too,
            also=(adv_prompt_values,),
        ),
        Pitfall(
            "values one step late",
            "It uses the value before the previous token: val[:, t] already is the value before token t.",
            adv_shifted_value,
        ),
        Pitfall(
            "value subtracted twice",
            "It subtracts the value from an advantage that already has it.",
            adv_value_twice,
        ),
        Pitfall(
            "whitened here",
            "It centers or normalizes the advantages; `ppo_update` does that, once, over the unmasked tokens.",
            adv_whitened,
            also=(adv_centered,),
        ),
        Pitfall(
            "forward in time",
            "It adds up the PAST deltas: a token answers for what comes after it.",
            adv_forward_time,
        ),
        Pitfall(
            "batch taken for time",
            "The recursion runs over axis 0, the batch: lesson 4's function is time-major, these are [B, T].",
            adv_rows_as_time,
            also=(adv_batch_axis,),
        ),
        Pitfall(
            "advantages with gradient",
            "A gradient flows out of the advantages: for the actor they are constants.",
            adv_alive,
        ),
    ],
    read="lesson 7, “Lesson 4's recursion on tokens”; Schulman et al. 2016, eq. 16",
)

# --- rlhf_step ---


def whole_text(tokens, mask):
    return tokens != 0


def roll_out(tokens, mask, logp, logp_ref, val, adv, rew):
    return as_rollout(tokens, mask=mask, logp=logp, val=val, adv=adv, ret=adv + val)


def stepping(
    before=lambda policy, reference, reward_model: None,
    sample=generate,
    writer=lambda policy, reference: policy.actor,
    scored=lambda tokens, mask: mask,
    read=lambda tokens, mask: tokens,
    kept=lambda tokens, mask: mask,
    score=lambda score: score,
    price=token_logp,
    ref_price=None,
    old=lambda policy, reference: policy.actor,
    ref=lambda policy, reference: reference,
    values=lambda policy, tokens: policy.values(tokens),
    rewards=kl_shaped_rewards,
    advantages=rlhf_advantages,
    rollout=roll_out,
    train=lambda update, *args, **kw: update(*args, **kw),
    after=lambda policy, reference, reward_model: None,
    graph=False,
    again=False,
    kl=lambda gap, mask: gap.sum(dim=1).mean(),
    length=lambda tokens, mask: mask.sum(dim=1).float().mean(),
    report=lambda log: log,
    settings=lambda config: config,
):
    """`rlhf_step` with one of its pieces replaced: what the mistakes below vary."""

    def step(
        policy,
        reference,
        reward_model,
        optimizer,
        prompts,
        config,
        update=ppo_update,
        loss=ppo_clip_loss,
    ):
        before(policy, reference, reward_model)
        set_ = settings(config)
        actor = writer(policy, reference)
        tokens, mask = sample(actor, prompts, config.max_new, config.end, config.generator)
        with torch.set_grad_enabled(graph):
            s = score(reward_model(read(tokens, mask), scored(tokens, mask)))
            logp = price(old(policy, reference)(tokens), tokens)
            logp_ref = (ref_price or price)(ref(policy, reference)(tokens), tokens)
            val = values(policy, tokens)
        mask = kept(tokens, mask)
        rew = rewards(s, logp, logp_ref, mask, set_.beta)
        adv = advantages(rew, val, mask, set_.gamma, set_.lam)
        data = rollout(tokens, mask, logp, logp_ref, val, adv, rew)
        log = train(update, policy, optimizer, data, config, loss=loss, generator=config.generator)
        after(policy, reference, reward_model)
        if again:  # the KL of the policy that the update has made
            with torch.no_grad():
                logp = price(policy.actor(tokens), tokens)
        gap = torch.where(mask, logp - logp_ref, 0.0)
        numbers = {"score": s.mean(), "kl": kl(gap, mask), "length": length(tokens, mask)}
        return report({**{key: x.item() for key, x in numbers.items()}, "update": log})

    return step


def own_update(update, policy, optimizer, rollout, config, loss, generator):
    """REINFORCE on the answers: an algorithm of one's own in place of lesson 5's."""
    logp, _, _ = policy.evaluate(rollout["obs"], rollout["act"])
    value = policy_gradient_loss(logp, rollout["adv"], rollout["mask"])
    optimizer.zero_grad()
    value.backward()
    optimizer.step()
    return {"policy_loss": value.item()}


def own_clipped_update(update, policy, optimizer, rollout, config, loss, generator):
    """PPO written again, without the update that was passed in."""
    return ppo_update(policy, optimizer, rollout, config, generator=generator)


def default_loss(update, policy, optimizer, rollout, config, loss, generator):
    return update(policy, optimizer, rollout, config, generator=generator)


def default_shuffling(update, policy, optimizer, rollout, config, loss, generator):
    return update(policy, optimizer, rollout, config, loss=loss)


def other_shuffling(update, policy, optimizer, rollout, config, loss, generator):
    new = torch.Generator().manual_seed(0)
    return update(policy, optimizer, rollout, config, loss=loss, generator=new)


def other_loss(update, policy, optimizer, rollout, config, loss, generator):
    return update(policy, optimizer, rollout, config, loss=ppo_clip_loss, generator=generator)


def no_clip(update, policy, optimizer, rollout, config, loss, generator):
    def plain(logp, logp_old, adv, clip, mask=None):
        return policy_gradient_loss(logp, adv, mask)

    return update(policy, optimizer, rollout, config, loss=plain, generator=generator)


def updated(times):
    def train(update, policy, optimizer, rollout, config, loss, generator):
        for _ in range(times):
            log = update(policy, optimizer, rollout, config, loss=loss, generator=generator)
        return log

    return train


def answer_by_answer(update, policy, optimizer, rollout, config, loss, generator):
    for b in range(rollout["act"].shape[1]):
        one = {key: x[:, b : b + 1] for key, x in rollout.items()}
        log = update(policy, optimizer, one, config, loss=loss, generator=generator)
    return log


def never_updated(update, policy, optimizer, rollout, config, loss, generator):
    return {}


def dropout_on(*models):
    for model in models:
        model.train()


def dropout_in_update(update, policy, optimizer, rollout, config, loss, generator):
    policy.train()
    return update(policy, optimizer, rollout, config, loss=loss, generator=generator)


def train_reward_model_too(policy, reference, reward_model):
    with torch.no_grad():
        for p in reward_model.parameters():
            p.add_(0.1)


def gradient_left(policy, reference, reward_model):
    for p in reward_model.parameters():
        p.grad = torch.ones_like(p)


def unshifted_logp(logits, tokens):
    return categorical_logp(logits, tokens)


def tempered(temperature):
    return lambda logits, tokens: token_logp(logits / temperature, tokens)


def absolute_price(score, logp, logp_ref, mask, beta):
    high, low = torch.maximum(logp, logp_ref), torch.minimum(logp, logp_ref)
    return kl_shaped_rewards(score, high, low, mask, beta)


def cleared(x, mask):
    return x * mask


def settings_but(**own):
    return lambda config: SimpleNamespace(
        **{name: own.get(name, getattr(config, name)) for name in ("beta", "gamma", "lam")}
    )


def sampled_twice(actor, prompts, max_new, end, generator):
    generate(actor, prompts, max_new, end, generator)
    return generate(actor, prompts, max_new, end, generator)


def without_a_call(seen, moved):
    """Whether the update was never called, and the policy was moved all the same (or was not)."""
    calls = seen[CALLS]["out"]
    return calls["calls of the update"] == 0 and calls["the policy moved"] == moved


def not_handed_on(seen, name):
    return seen[CALLS]["out"][name] is False


def with_another_config(update, policy, optimizer, rollout, config, loss, generator):
    other = SimpleNamespace(**{**vars(config), "clip": 1e9})
    return update(policy, optimizer, rollout, other, loss=loss, generator=generator)


def with_another_optimizer(update, policy, optimizer, rollout, config, loss, generator):
    other = torch.optim.SGD(policy.parameters(), lr=0.5)
    return update(policy, other, rollout, config, loss=loss, generator=generator)


def drawn_elsewhere(seen):
    """Whether config.generator stood where it began when the update was called."""
    calls = seen[CALLS]["out"]
    return isinstance(calls, dict) and calls.get("answers drawn with config.generator") is False


def sample_greedily(actor, prompts, max_new, end, generator):
    return generate(actor, prompts, max_new, end, generator, greedy=True)


def sample_from_global_state(actor, prompts, max_new, end, generator):
    return generate(actor, prompts, max_new, end)


def sample_without_end(actor, prompts, max_new, end, generator):
    return generate(actor, prompts, max_new, None, generator)


def answers_with_prompts(actor, prompts, max_new, end, generator):
    """A mask that covers the prompt too."""
    tokens, _ = generate(actor, prompts, max_new, end, generator)
    mask = tokens != 0
    mask[:, 0] = False
    return tokens, mask


def padding_is_answer(actor, prompts, max_new, end, generator):
    tokens, _ = generate(actor, prompts, max_new, end, generator)
    return tokens, (torch.arange(tokens.shape[1]) >= prompts.shape[1]).expand_as(tokens)


def batch_major(tokens, mask, logp, logp_ref, val, adv, rew):
    rollout = roll_out(tokens, mask, logp, logp_ref, val, adv, rew)
    return {key: x.T for key, x in rollout.items()}


def unshifted(tokens, mask, logp, logp_ref, val, adv, rew):
    """Observation and action are the same token: the policy sees what it is about to say."""
    aligned = dict(obs=tokens, act=tokens, mask=mask, logp=logp, val=val, adv=adv, ret=adv + val)
    return {key: x[:, 1:].T for key, x in aligned.items()}


def old_action(tokens, mask, logp, logp_ref, val, adv, rew):
    rollout = roll_out(tokens, mask, logp, logp_ref, val, adv, rew)
    return rollout | dict(act=rollout["obs"])


def without_mask(tokens, mask, logp, logp_ref, val, adv, rew):
    return roll_out(tokens, torch.ones_like(mask), logp, logp_ref, val, adv, rew)


def returns_are(kind):
    def rollout(tokens, mask, logp, logp_ref, val, adv, rew):
        return as_rollout(tokens, mask=mask, logp=logp, val=val, adv=adv, ret=kind(adv, rew))

    return rollout


def value_subtracted(tokens, mask, logp, logp_ref, val, adv, rew):
    return as_rollout(tokens, mask=mask, logp=logp, val=val, adv=adv, ret=adv - val)


def old_is_reference(tokens, mask, logp, logp_ref, val, adv, rew):
    return roll_out(tokens, mask, logp_ref, logp_ref, val, adv, rew)


def rewards_as_advantages(rew, val, mask, gamma, lam):
    return rew


def late_rollout(tokens, mask, logp, logp_ref, val, adv, rew):
    """What belongs to the action stands one step late."""
    aligned = dict(mask=mask, logp=logp, val=val, adv=adv, ret=adv + val)
    rest = {key: x[:, :-1].T for key, x in aligned.items()}
    return dict(obs=tokens[:, :-1].T, act=tokens[:, 1:].T, **rest)


def moving_reference(policy, reference, reward_model):
    reference.load_state_dict(policy.actor.state_dict())


def language(g, V=7, D=3):
    """Small models from arrays; the policy has moved away from the reference a little."""
    embedding, head = normal(g, V, D), normal(g, D, V, scale=2.0)
    return dict(
        actor=(embedding + normal(g, V, D, scale=0.2), head + normal(g, D, V, scale=0.3)),
        reference=(embedding, head),
        critic=(normal(g, V, D), normal(g, D)),
        worth=normal(g, V),
    )


def one_step(g, keep, B=5, steps=1, **config):
    prompts = 2 + integers(g, 5, B, 4)
    for b in range(B):
        prompts[b, : b % 3] = 0  # ragged, padded on the left
    plain = dict(beta=0.2, gamma=0.98, lam=0.9, max_new=6, seed=int(integers(g, 1000, 1)))
    config = plain | dict(epochs=2, minibatches=2, clip=0.2) | config
    return language(g) | dict(prompts=prompts, config=config, steps=steps, keep=keep)


CALLS, FROZEN = 3, 5  # the numbers of two cases of RLHF_STEP


def changed(model):
    """Recognizes a step that changes a frozen model, in whatever way."""
    return lambda seen: (
        isinstance(out := seen[FROZEN]["out"], dict) and out.get(f"the {model} as before") is False
    )


RLHF_STEP = Exercise(
    reference=rlhf_step,
    driver="one_rlhf_step",
    parts={"the rollout": 3, "the same PPO": 3, "the report": 1, "clean": 1},
    cases=[
        Case("the rollout of two answers", lambda g: one_step(g, "rollout", 2), "the rollout"),
        Case("the rollout of a batch", lambda g: one_step(g, "rollout", 8), "the rollout"),
        Case(
            "the rollout without a KL price",
            lambda g: one_step(g, "rollout", 4, beta=0.0, gamma=1.0),
            "the rollout",
        ),
        Case("the calls of the update", lambda g: one_step(g, "calls"), "the same PPO"),
        Case("the policy after PPO", lambda g: one_step(g, "weights", 8, steps=2), "the same PPO"),
        Case("the models that are frozen", lambda g: one_step(g, "frozen"), "the same PPO"),
        Case("the report", lambda g: one_step(g, "log"), "the report"),
    ],
    pitfalls=[
        Pitfall(
            "not the update passed in",
            "PPO runs, but not through the `update` of the arguments: call that one, your lesson-5 function.",
            stepping(train=own_clipped_update),
        ),
        Pitfall(
            "a different algorithm",
            "It trains with an update of its own; call the `update` that is passed in: lesson 5's PPO.",
            stepping(train=own_update),
            "RLHF is PPO with a learned reward model. Nothing in the update knows that these are words.",
            telltale=lambda seen: without_a_call(seen, moved=True),
        ),
        Pitfall(
            "another config passed on",
            "The update is given another config than `config`: its clip, epochs and minibatches stand there.",
            stepping(train=with_another_config),
            telltale=lambda seen: not_handed_on(seen, "config"),
        ),
        Pitfall(
            "another optimizer passed on",
            "The update is given another optimizer than `optimizer`: its state would be lost in each step.",
            stepping(train=with_another_optimizer),
            telltale=lambda seen: not_handed_on(seen, "optimizer"),
        ),
        Pitfall(
            "loss not passed on",
            "The update is not called with `loss=loss`, so the loss of the arguments is never used.",
            stepping(train=default_loss),
            also=(stepping(train=other_loss), stepping(train=no_clip)),
        ),
        Pitfall(
            "generator not passed on",
            "The update is not given `generator=config.generator`: it shuffles with other random numbers.",
            stepping(train=default_shuffling),
            "The same seed would no longer give the same run.",
            also=(stepping(train=other_shuffling),),
        ),
        Pitfall(
            "updated several times",
            "It calls the update several times on the same answers; the epochs are inside the update.",
            stepping(train=updated(2)),
            also=tuple(stepping(train=updated(times)) for times in (3, 4)),
        ),
        Pitfall(
            "answer by answer",
            "It calls the update once for each answer; a rollout holds all of them, a column each.",
            stepping(train=answer_by_answer),
            "Advantages are normalized over the whole rollout, and minibatches drawn from all its columns.",
        ),
        Pitfall(
            "never updated",
            "The update is not called: nothing is learned.",
            stepping(train=never_updated),
            telltale=lambda seen: without_a_call(seen, moved=False),
        ),
        Pitfall(
            "dropout on while scoring",
            "The models are switched to training mode, so dropout is on: the same text scores differently each time.",
            stepping(before=dropout_on),
            "Sampled, scored and trained with different masks, the ratio is not 1 at the start, and PPO clips noise.",
            also=(
                stepping(before=lambda policy, reference, reward_model: dropout_on(policy)),
                stepping(
                    before=lambda policy, reference, reward_model: dropout_on(policy, reference)
                ),
                stepping(train=dropout_in_update),
                stepping(before=lambda policy, reference, reward_model: dropout_on(reward_model)),
            ),
        ),
        Pitfall(
            "greedy answers",
            "It takes the most likely token each time: without sampling there is nothing to compare.",
            stepping(sample=sample_greedily),
        ),
        Pitfall(
            "not drawn from config.generator",
            "The answers are sampled with other random numbers than `config.generator`'s.",
            stepping(sample=sample_from_global_state),
            "The same seed would no longer give the same run.",
            telltale=drawn_elsewhere,
        ),
        Pitfall(
            "sampled twice",
            "It generates a second time, and the first answers are thrown away.",
            stepping(sample=sampled_twice),
        ),
        Pitfall(
            "log-probabilities without the shift",
            "Each token is scored with the logits computed after reading it: use `token_logp`.",
            stepping(price=unshifted_logp),
            also=(
                stepping(price=unshifted_logp, ref_price=token_logp),
                stepping(ref_price=unshifted_logp),
            ),
        ),
        Pitfall(
            "raw logits",
            "Logits are taken for log-probabilities: use `token_logp`.",
            stepping(price=tokens_but(lambda logits: logits)),
            also=(
                stepping(price=tokens_but(lambda logits: logits), ref_price=token_logp),
                stepping(ref_price=tokens_but(lambda logits: logits)),
            ),
        ),
        Pitfall(
            "another temperature",
            "The logits are divided by a number before scoring; `generate` samples at temperature 1.",
            stepping(price=tempered(0.7)),
            also=tuple(
                stepping(price=tempered(k), ref_price=one)
                for k in (0.5, 0.7, 0.8, 0.9, 1.2)
                for one in (token_logp, tempered(k))
            ),
        ),
        Pitfall(
            "values of the wrong history",
            "val are the critic's numbers AFTER each token; `policy.values` gives those before it.",
            stepping(values=lambda policy, tokens: policy.critic(tokens)),
        ),
        Pitfall(
            "critic unused",
            "The values are all 0: the advantages are returns without a baseline, and the critic has no past.",
            stepping(values=lambda policy, tokens: torch.zeros(tokens.shape)),
            also=(
                stepping(
                    advantages=lambda rew, val, mask, gamma, lam: rlhf_advantages(
                        rew, 0 * val, mask, gamma, 1.0
                    )
                ),
                stepping(
                    advantages=lambda rew, val, mask, gamma, lam: rlhf_advantages(
                        rew, 0 * val, mask, gamma, lam
                    )
                ),
            ),
        ),
        Pitfall(
            "number of one's own",
            "beta, gamma or lam is a number of its own; take all three from `config`.",
            stepping(settings=settings_but(beta=0.1)),
            also=(
                *(stepping(settings=settings_but(beta=x)) for x in (0.01, 0.05, 0.5, 1.0)),
                *(stepping(settings=settings_but(gamma=x)) for x in (1.0, 0.99)),
                *(stepping(settings=settings_but(lam=x)) for x in (0.95, 1.0, 0.0)),
                stepping(settings=settings_but(gamma=1.0, lam=0.95)),
                stepping(settings=settings_but(beta=0.1, gamma=1.0, lam=0.95)),
                stepping(settings=lambda c: SimpleNamespace(beta=c.beta, gamma=c.lam, lam=c.gamma)),
            ),
        ),
        Pitfall(
            "KL against the policy itself",
            "The rewards hold no KL price: logp_ref comes from the policy itself, or the price is left out "
            "or paid elsewhere, in the loss.",
            stepping(ref=lambda policy, reference: policy.actor),
        ),
        Pitfall(
            "moving reference",
            "The reference is changed by the step: it must stay what it was before the training.",
            stepping(after=moving_reference),
            "A price for each step's distance lets the policy walk away in small steps, for free.",
            telltale=changed("reference"),
        ),
        Pitfall(
            "reward model not frozen",
            "The reward model is changed by the step: it learned from the votes once, and stays as it is.",
            stepping(after=train_reward_model_too),
            "A reward that moves with the policy measures nothing.",
            telltale=changed("reward model"),
        ),
        Pitfall(
            "gradient into the frozen models",
            "It leaves gradients on the reference or the reward model; score under torch.no_grad().",
            stepping(after=gradient_left),
        ),
        Pitfall(
            "absolute KL",
            "It takes |logp - logp_ref|; the difference must keep its sign: use `kl_shaped_rewards`.",
            stepping(rewards=absolute_price),
        ),
        Pitfall(
            "score on every token",
            "Every token is paid the whole score; an answer is paid once, at its end.",
            stepping(rewards=shaped_everywhere),
            also=(stepping(rewards=shaped_everything),),
        ),
        Pitfall(
            "score on the last column",
            "The score lands at position -1: padding for every answer but the longest.",
            stepping(rewards=shaping(at=lambda mask: torch.full((len(mask),), -1))),
        ),
        Pitfall(
            "answers without their prompts",
            "The reward model reads the answers alone; what is a good answer depends on the question.",
            stepping(read=cleared),
        ),
        Pitfall(
            "sign of the KL",
            "The policy is PAID for leaving the reference: logp and logp_ref are swapped.",
            stepping(
                rewards=lambda s, logp, logp_ref, mask, beta: kl_shaped_rewards(
                    s, logp_ref, logp, mask, beta
                )
            ),
        ),
        Pitfall(
            "no KL",
            "beta is not used: the rewards are the score alone.",
            stepping(
                rewards=lambda s, logp, logp_ref, mask, beta: kl_shaped_rewards(
                    s, logp, logp_ref, mask, 0.0
                )
            ),
        ),
        Pitfall(
            "score of prompt and answer",
            "The reward model is given a mask of all real tokens; it should score the answer's.",
            stepping(scored=whole_text),
        ),
        Pitfall(
            "score of padding",
            "The reward model is given a mask that is True everywhere, padding included.",
            stepping(scored=lambda tokens, mask: torch.ones_like(mask)),
        ),
        Pitfall(
            "scores changed",
            "The scores are normalized, centered, squashed or turned round first; they are paid as they are.",
            stepping(score=whitened),
            "beta would have another meaning in each batch. Only advantages are normalized, in the update.",
            also=(
                stepping(score=lambda s: (s - s.mean()) / (s.std() + 1e-8)),
                stepping(score=lambda s: s - s.mean()),
                *(stepping(score=lambda s, k=k: s.clamp(-k, k)) for k in (1, 2, 5)),
                stepping(score=torch.sigmoid),
                stepping(score=torch.tanh),
                stepping(score=lambda s: -s),
            ),
        ),
        Pitfall(
            "advantages normalized too early",
            "It normalizes the advantages; the update does that, once, and `ret` needs them as they were.",
            stepping(advantages=adv_whitened),
            also=(stepping(advantages=adv_centered),),
        ),
        Pitfall(
            "prompt in the loss",
            "The mask holds prompt tokens too: they were given, not chosen, and carry no credit.",
            stepping(sample=answers_with_prompts),
            also=(stepping(kept=whole_text),),
        ),
        Pitfall(
            "padding in the loss",
            "The mask holds padding: what comes after the end token never happened.",
            stepping(sample=padding_is_answer),
        ),
        Pitfall(
            "no mask",
            "The rollout's mask is True everywhere: prompt and padding are trained on.",
            stepping(rollout=without_mask),
        ),
        Pitfall(
            "batch before time",
            "The rollout is [B, T]; PPO's is time-major, a column is a conversation: use as_rollout.",
            stepping(rollout=batch_major),
        ),
        Pitfall(
            "sees the token it chooses",
            "obs and act are the same token: the action is the token AFTER the last one seen.",
            stepping(rollout=unshifted),
            "With the answer in view the loss looks wonderful, and nothing is learned.",
            also=(stepping(rollout=old_action),),
        ),
        Pitfall(
            "one step late",
            "mask, logp, val, adv and ret stand one step late: they belong to the token that is the ACTION.",
            stepping(rollout=late_rollout),
            "as_rollout takes them aligned with the tokens, and shifts them with the actions.",
        ),
        Pitfall(
            "written by the reference",
            "The answers are sampled from the reference; the policy must learn from what it does itself.",
            stepping(writer=lambda policy, reference: reference),
            "The ratio's denominator would be the probability under a policy that never acted.",
        ),
        Pitfall(
            "old log-probabilities of the reference",
            "The rollout's logp are the reference's, but the answers were sampled from the policy.",
            stepping(rollout=old_is_reference),
            "PPO's ratio is then not 1 at the start, and the clip binds against the wrong policy.",
        ),
        Pitfall(
            "samples of the reference",
            "The stored log-probabilities, and with them the KL, are those of the reference.",
            stepping(old=lambda policy, reference: reference),
        ),
        Pitfall(
            "end token forgotten",
            "`generate` is not told the end token: every answer goes on to the limit.",
            stepping(sample=sample_without_end),
        ),
        Pitfall(
            "advantages as returns",
            "`ret`, the critic's target, is the advantage alone; it is advantage + value.",
            stepping(rollout=returns_are(lambda adv, rew: adv)),
        ),
        Pitfall(
            "rewards as returns",
            "`ret`, the critic's target, is the single token's reward; it is advantage + value.",
            stepping(rollout=returns_are(lambda adv, rew: rew)),
        ),
        Pitfall(
            "another critic's target",
            "`ret`, the critic's target, is advantage + value, as in lesson 5.",
            stepping(rollout=returns_are(lambda adv, rew: rew.flip(1).cumsum(1).flip(1))),
            also=(
                stepping(
                    rollout=returns_are(lambda adv, rew: rew.sum(1, keepdim=True).expand_as(rew))
                ),
                stepping(rollout=value_subtracted),
            ),
        ),
        Pitfall(
            "KL report",
            "The report's kl is the sum over an answer's tokens of logp - logp_ref, averaged over answers.",
            stepping(kl=lambda gap, mask: gap.sum() / mask.sum()),
            also=(
                stepping(kl=lambda gap, mask: gap.mean()),
                stepping(kl=lambda gap, mask: gap.sum()),
                stepping(kl=lambda gap, mask: gap.abs().sum(1).mean()),
                stepping(kl=lambda gap, mask: -gap.sum(1).mean()),
                stepping(kl=lambda gap, mask: (gap.sum(1) / mask.sum(1)).mean()),
                stepping(kl=lambda gap, mask: 0.2 * gap.sum(1).mean()),
                stepping(again=True),
            ),
        ),
        Pitfall(
            "length report",
            "The report's length is the number of an answer's own tokens, averaged over answers.",
            stepping(length=lambda tokens, mask: mask.sum().float()),
            also=(
                stepping(length=lambda tokens, mask: (tokens != 0).sum(1).float().mean()),
                stepping(length=lambda tokens, mask: torch.tensor(float(mask.shape[1]))),
            ),
        ),
        Pitfall(
            "score report",
            "The report's score is the mean over answers.",
            stepping(report=lambda log: log | dict(score=5 * log["score"])),  # the sum of five
        ),
        Pitfall(
            "rewards as advantages",
            "The rewards go to PPO without `rlhf_advantages`: only the last token learns of the score.",
            stepping(advantages=rewards_as_advantages),
        ),
        Pitfall(
            "rollout with gradient",
            "logp and val still carry the graph of this forward pass: sample and score under no_grad.",
            stepping(graph=True),
            "The ratio's gradient would cancel to zero, or the old policy would be trained too.",
        ),
    ],
    read="lesson 7, “One step of RLHF”; Ouyang et al. 2022, section 3.5",
)

# --- rloo_advantages ---


def against(baseline, scale=lambda score: 1.0):
    """The score minus a baseline, detached or not: two forms of each mistake below."""

    def live(score):
        return (score - baseline(score)) / scale(score)

    return dict(wrong=lambda score: live(score).detach(), also=(live,))


def again(first, *rest):
    """One mistake in several forms."""
    forms = [form for one in rest for form in (one["wrong"], *one["also"])]
    return dict(wrong=first["wrong"], also=(*first["also"], *forms))


def spread(score, correction=0):
    return score.std(0, correction=correction) + 1e-8


def others(score, combine):
    rows = [torch.cat([score[:k], score[k + 1 :]]) for k in range(len(score))]
    return torch.stack([combine(row) for row in rows])


def loo_alive(score):
    return score - leave_one_out_baseline(score)


def loo_score_alive(score):
    return score - leave_one_out_baseline(score).detach()


def loo_baseline_alive(score):
    return score.detach() - leave_one_out_baseline(score)


def loo_no_guard(score):
    return (score - (score.sum(0) - score) / max(len(score) - 1, 1)).detach()


def ranks(score):
    return score.argsort(0).argsort(0).to(score.dtype)


def group_scores(g, K, N, dtype=torch.float32, scale=1.0):
    """Prompts of different difficulty: the answers to one have similar scores."""
    scores = normal(g, K, N, dtype=dtype) + 5 * normal(g, 1, N, dtype=dtype)
    return dict(score=scale * scores)


def hand_scores(g):
    return dict(score=torch.tensor([[1.0, 10.0], [2.0, 12.0], [6.0, 17.0]]))


RLOO_ADVANTAGES = Exercise(
    reference=rloo_advantages,
    parts={"values": 2, "shapes": 1, "clean": 1},
    cases=[
        Case("three answers to two prompts", hand_scores, "values", ("score",)),
        Case("two answers", lambda g: group_scores(g, 2, 3), "values", ("score",)),
        Case("many answers", lambda g: group_scores(g, 6, 5), "values"),
        Case("float64", lambda g: group_scores(g, 4, 2, F64), "values"),
        Case("one answer", lambda g: group_scores(g, 1, 9), "shapes", raises=True),
        Case("scores in the thousands", lambda g: times(1e4, hand_scores(g), "score"), "values"),
    ],
    pitfalls=[
        Pitfall(
            "no guard",
            "With one answer there is no other to compare with: keep the check that raises.",
            loo_no_guard,
        ),
        Pitfall(
            "own score in the baseline",
            "An answer's own score is in the mean it is compared with: a factor (K-1)/K too small.",
            **against(lambda score: score.mean(0)),
            why="The baseline then depends on the action: lesson 3's biased one, though only by that factor.",
        ),
        Pitfall(
            "factor upside down",
            "Score minus mean is to be multiplied by K/(K-1), not by its inverse.",
            **against(
                lambda score: score.mean(0), lambda score: len(score) / max(1, len(score) - 1)
            ),
        ),
        Pitfall(
            "mean over prompts",
            "The baseline is taken along the other axis: over prompts, whose scores say nothing of each other.",
            **again(
                against(lambda score: leave_one_out_baseline(score.T).T),
                against(lambda score: score.mean(1, keepdim=True)),
            ),
        ),
        Pitfall(
            "mean of the whole batch",
            "The baseline is over all answers to all prompts: an easy prompt makes every answer look good.",
            **again(
                against(lambda score: (score.sum() - score) / (score.numel() - 1)),
                against(lambda score: score.mean()),
            ),
        ),
        Pitfall(
            "best of the others",
            "It subtracts the BEST other score: almost every advantage is negative.",
            **against(lambda score: others(score, lambda x: x.max(0).values)),
        ),
        Pitfall(
            "median of the others",
            "It subtracts the median of the other scores; the baseline is their mean.",
            **against(lambda score: others(score, lambda x: x.median(0).values)),
        ),
        Pitfall(
            "also scaled",
            "It divides by a standard deviation too: RLOO subtracts, and that is all.",
            **again(
                *(
                    against(base, scale)
                    for base in (leave_one_out_baseline, lambda score: score.mean(0))
                    for scale in (
                        spread,
                        lambda score: spread(score, 1),
                        lambda score: loo_alive(score).std() + 1e-8,
                        lambda score: loo_alive(score).std(correction=0) + 1e-8,
                    )
                )
            ),
        ),
        Pitfall(
            "sign",
            "It is the baseline minus the score.",
            **against(leave_one_out_baseline, lambda score: -1.0),
        ),
        Pitfall(
            "baseline only",
            "It returns the baseline; the advantage is score minus it.",
            **against(lambda score: score - leave_one_out_baseline(score)),
        ),
        Pitfall(
            "divided by K",
            "The K - 1 other scores are divided by K: the baseline is too close to 0.",
            **against(lambda score: (score.sum(0) - score) / len(score)),
        ),
        Pitfall(
            "all scores, divided by K - 1",
            "The own score is still in the sum that is divided by K - 1.",
            **against(lambda score: score.sum(0) / (len(score) - 1)),
        ),
        Pitfall(
            "sum of the others",
            "It subtracts the SUM of the other scores.",
            **against(lambda score: score.sum(0) - score),
        ),
        Pitfall(
            "one other answer",
            "It compares with a single answer; the baseline is the mean of ALL the others.",
            **again(
                against(lambda score: score.roll(1, 0)),
                against(lambda score: score.roll(-1, 0)),
                against(lambda score: score[:1]),
            ),
        ),
        Pitfall(
            "added",
            "It adds the baseline.",
            **against(lambda score: -leave_one_out_baseline(score)),
        ),
        Pitfall(
            "ranks",
            "It returns the answers' ranks; how MUCH better an answer is counts, too.",
            ranks,
        ),
        Pitfall(
            "advantages with gradient",
            "A gradient flows into the scores; advantages are constants.",
            loo_alive,
            also=(loo_score_alive, loo_baseline_alive),
        ),
    ],
    read="lesson 7, “Without a critic: RLOO and GRPO”; Ahmadian et al. 2024",
)

# --- grpo_advantages ---


def mean(score):
    return score.mean(0)


def over_everything(score, correction=0):
    return score.std(correction=correction) + 1e-8


def both_spreads(baseline, scale):
    """A mistake with the spread over K and the one over K - 1."""
    return again(*(against(baseline, lambda x, c=c: scale(x, c)) for c in (0, 1)))


def group_precedence(score):
    return score - score.mean(0) / spread(score)


def group_no_guard(score):
    return ((score - score.mean(0)) / spread(score)).detach()


def group_ties_are_ones(score):
    centered, std = score - score.mean(0), score.std(0, correction=0)
    return torch.where(std > 0, centered / std, 1.0).detach()


def group_clipped(limit):
    return lambda score: grpo_advantages(score).clamp(-limit, limit)


def grpo_sample_std(score):
    """Accepted: the standard deviation over K - 1."""
    if len(score) < 2:
        raise ValueError("expected at least 2 answers along axis 0.")
    return ((score - score.mean(0)) / (score.std(0) + 1e-8)).detach()


GRPO_ADVANTAGES = Exercise(
    reference=grpo_advantages,
    accept=(grpo_sample_std,),
    parts={"values": 2, "equal scores": 1, "shapes": 1, "clean": 1},
    cases=[
        Case("three answers to two prompts", hand_scores, "values", ("score",)),
        Case("five answers", lambda g: group_scores(g, 5, 3, scale=10), "values", ("score",)),
        Case("many answers", lambda g: group_scores(g, 8, 6, scale=10), "values"),
        Case("float64", lambda g: group_scores(g, 4, 2, F64, 1000), "values"),
        Case(
            "answers that all score the same",
            lambda g: dict(score=torch.tensor([[1.0, 2.0], [1.0, 4.0], [1.0, 9.0]])),
            "equal scores",
        ),
        Case(
            "eight answers that all score the same",
            lambda g: dict(score=integers(g, 99, 1, 3).repeat(8, 1).float()),
            "equal scores",
        ),
        Case("one answer", lambda g: group_scores(g, 1, 9), "shapes", raises=True),
        Case("scores in the thousands", lambda g: times(1e4, hand_scores(g), "score"), "values"),
    ],
    pitfalls=[
        Pitfall(
            "no guard",
            "One answer is no group, its advantage is 0 for ever: keep the check that raises.",
            group_no_guard,
        ),
        Pitfall(
            "no scale",
            "It centers without dividing by the spread, as Dr. GRPO does; GRPO divides too.",
            **again(against(mean), against(leave_one_out_baseline)),
        ),
        Pitfall(
            "neither centered nor scaled",
            "It returns the scores as they are.",
            **against(lambda score: 0.0),
        ),
        Pitfall(
            "whole batch",
            "Mean and spread are over all answers to all prompts; they belong to one prompt's group.",
            **both_spreads(lambda score: score.mean(), over_everything),
        ),
        Pitfall(
            "spread of the whole batch",
            "The mean is the group's, but the spread is that of the whole batch.",
            **both_spreads(mean, over_everything),
        ),
        Pitfall(
            "over prompts",
            "It centers and scales along axis 1: across prompts instead of across answers.",
            **both_spreads(
                lambda score: score.mean(1, keepdim=True),
                lambda score, c: score.std(1, correction=c, keepdim=True) + 1e-8,
            ),
        ),
        Pitfall(
            "variance",
            "It divides by the variance.",
            **both_spreads(mean, lambda score, c: score.var(0, correction=c) + 1e-8),
        ),
        Pitfall(
            "epsilon dominates",
            "It adds a large constant to the spread; it should be tiny, 1e-8.",
            **again(
                *(
                    both_spreads(mean, lambda score, c, e=e: score.std(0, correction=c) + e)
                    for e in (1.0, 0.5, 0.1)
                )
            ),
        ),
        Pitfall(
            "precedence",
            "It computes score - mean/std: parentheses are missing.",
            lambda score: group_precedence(score).detach(),
            also=(group_precedence,),
        ),
        Pitfall(
            "zero divided by zero",
            "Where all answers score the same, 0/0 is nan: add a tiny constant to the spread.",
            why="Prompts that are all right or all wrong are common, and one nan ends the run.",
            **both_spreads(mean, lambda score, c: score.std(0, correction=c)),
        ),
        Pitfall(
            "equal scores rewarded",
            "Where all answers score the same, none is better than the group: the advantage is 0.",
            group_ties_are_ones,
        ),
        Pitfall(
            "sign",
            "It is the mean minus the score.",
            **both_spreads(mean, lambda score, c: -spread(score, c)),
        ),
        Pitfall(
            "not centered",
            "It scales without subtracting the mean.",
            **both_spreads(lambda score: 0.0, spread),
        ),
        Pitfall(
            "leave-one-out",
            "The mean leaves the own score out (RLOO's baseline); GRPO takes the mean of the whole group.",
            **both_spreads(leave_one_out_baseline, spread),
        ),
        Pitfall(
            "best as the baseline",
            "It subtracts the group's best score: no answer is ever encouraged.",
            **both_spreads(lambda score: score.max(0).values, spread),
        ),
        Pitfall(
            "median as the baseline",
            "It subtracts the group's median; GRPO subtracts the mean.",
            **both_spreads(lambda score: score.median(0).values, spread),
        ),
        Pitfall(
            "another measure of spread",
            "It divides by something else than the standard deviation of the group's scores.",
            **again(
                against(mean, lambda score: (score - score.mean(0)).abs().mean(0) + 1e-8),
                against(mean, lambda score: (score**2).mean(0).sqrt() + 1e-8),
                against(mean, lambda score: (score - score.mean(0)).norm(dim=0) + 1e-8),
                against(mean, lambda score: score.max(0).values - score.min(0).values + 1e-8),
                against(mean, lambda score: score.mean(0).abs() + 1e-8),
            ),
        ),
        Pitfall(
            "between 0 and 1",
            "No answer is ever discouraged: the numbers are a share or a place between worst and best.",
            **again(
                against(
                    lambda score: score.min(0).values,
                    lambda score: score.max(0).values - score.min(0).values + 1e-8,
                ),
                against(lambda score: score - score.softmax(0)),
            ),
        ),
        Pitfall(
            "ranks",
            "It returns the answers' ranks; how MUCH better an answer is counts, too.",
            ranks,
        ),
        Pitfall(
            "advantages clipped",
            "It cuts the advantages off; PPO's clip is on the ratio, not here.",
            group_clipped(1.0),
            also=(group_clipped(1.5), group_clipped(0.5)),
        ),
        Pitfall(
            "advantages with gradient",
            "A gradient flows into the scores; advantages are constants.",
            lambda score: (score - score.mean(0)) / spread(score),
            also=(
                lambda score: (score - score.mean(0)) / spread(score, 1),
                lambda score: (score - score.mean(0).detach()) / spread(score).detach(),
                lambda score: (score - score.mean(0)) / spread(score).detach(),
                lambda score: (score - score.mean(0)) / spread(score, 1).detach(),
            ),
        ),
    ],
    read="lesson 7, “Without a critic: RLOO and GRPO”; Shao et al. 2024, section 4.1.2",
)

# --- dpo_loss ---


def dpo(margin, outer=lambda inner: -F.logsigmoid(inner).mean()):
    """A loss on a margin of four log-probabilities; the references are constants."""

    def loss(logp_chosen, logp_rejected, ref_chosen, ref_rejected, beta):
        ref_chosen, ref_rejected = ref_chosen.detach(), ref_rejected.detach()
        m = margin(logp_chosen, logp_rejected, ref_chosen, ref_rejected)
        return outer(beta * m)

    return loss


def dpo_margin(c, r, ref_c, ref_r):
    return (c - ref_c) - (r - ref_r)


def dpo_beta_missing(logp_chosen, logp_rejected, ref_chosen, ref_rejected, beta):
    return dpo_loss(logp_chosen, logp_rejected, ref_chosen, ref_rejected, 1.0)


def dpo_beta_outside(logp_chosen, logp_rejected, ref_chosen, ref_rejected, beta):
    return beta * dpo_loss(logp_chosen, logp_rejected, ref_chosen, ref_rejected, 1.0)


def dpo_beta_divides(logp_chosen, logp_rejected, ref_chosen, ref_rejected, beta):
    return dpo_loss(logp_chosen, logp_rejected, ref_chosen, ref_rejected, 1 / beta)


def dpo_beta_on_policy(logp_chosen, logp_rejected, ref_chosen, ref_rejected, beta):
    margin = beta * (logp_chosen - logp_rejected) - (ref_chosen - ref_rejected).detach()
    return -F.logsigmoid(margin).mean()


def dpo_live_reference(logp_chosen, logp_rejected, ref_chosen, ref_rejected, beta):
    margin = (logp_chosen - ref_chosen) - (logp_rejected - ref_rejected)
    return -F.logsigmoid(beta * margin).mean()


def dpo_rejected_constant(logp_chosen, logp_rejected, ref_chosen, ref_rejected, beta):
    return dpo_loss(logp_chosen, logp_rejected.detach(), ref_chosen, ref_rejected, beta)


def dpo_no_guard(logp_chosen, logp_rejected, ref_chosen, ref_rejected, beta):
    margin = (logp_chosen - ref_chosen.detach()) - (logp_rejected - ref_rejected.detach())
    return -F.logsigmoid(beta * margin).mean()


def dpo_weighted(chosen=1.0, rejected=1.0, reference=1.0, lengths=(1, 1)):
    """beta on some of the terms, or log-probabilities per token."""

    def wrong(logp_chosen, logp_rejected, ref_chosen, ref_rejected, beta):
        scale = [1.0 if x is None else beta for x in (chosen, rejected, reference)]
        ref_chosen, ref_rejected = ref_chosen.detach(), ref_rejected.detach()
        better = scale[0] * logp_chosen / lengths[0] - scale[2] * ref_chosen / lengths[0]
        worse = scale[1] * logp_rejected / lengths[1] - scale[2] * ref_rejected / lengths[1]
        return -F.logsigmoid(better - worse).mean()

    return wrong


def dpo_beta_on_chosen(logp_chosen, logp_rejected, ref_chosen, ref_rejected, beta):
    margin = beta * (logp_chosen - ref_chosen.detach()) - (logp_rejected - ref_rejected.detach())
    return -F.logsigmoid(margin).mean()


def dpo_chosen_constant(logp_chosen, logp_rejected, ref_chosen, ref_rejected, beta):
    return dpo_loss(logp_chosen.detach(), logp_rejected, ref_chosen, ref_rejected, beta)


def dpo_half_frozen(chosen):
    def wrong(logp_chosen, logp_rejected, ref_chosen, ref_rejected, beta):
        ref_chosen = ref_chosen.detach() if chosen else ref_chosen
        ref_rejected = ref_rejected if chosen else ref_rejected.detach()
        margin = (logp_chosen - ref_chosen) - (logp_rejected - ref_rejected)
        return -F.logsigmoid(beta * margin).mean()

    return wrong


def dpo_each_for_itself(logp_chosen, logp_rejected, ref_chosen, ref_rejected, beta):
    better = beta * (logp_chosen - ref_chosen.detach())
    worse = beta * (logp_rejected - ref_rejected.detach())
    return -(F.logsigmoid(better) + F.logsigmoid(-worse)).mean()


def dpo_smoothed(share):
    return dpo(
        dpo_margin,
        lambda x: -((1 - share) * F.logsigmoid(x) + share * F.logsigmoid(-x)).mean(),
    )


def dpo_and_imitation(weight):
    def wrong(logp_chosen, logp_rejected, ref_chosen, ref_rejected, beta):
        loss = dpo_loss(logp_chosen, logp_rejected, ref_chosen, ref_rejected, beta)
        return loss - weight * logp_chosen.mean()

    return wrong


def sentence_logps(g, B, beta=0.3, dtype=torch.float32):
    chosen, rejected = -5 - normal(g, 2, B, dtype=dtype).abs() * 4
    drift = normal(g, 2, B, dtype=dtype, scale=2.0)
    return dict(
        logp_chosen=chosen,
        logp_rejected=rejected,
        ref_chosen=chosen - drift[0],
        ref_rejected=rejected - drift[1],
        beta=beta,
    )


LOGPS = ("logp_chosen", "logp_rejected", "ref_chosen", "ref_rejected")
DPO_LOSS = Exercise(
    reference=dpo_loss,
    parts={"values": 2, "far from the reference": 1, "shapes": 1, "clean": 1},
    cases=[
        Case(
            "one pair",
            lambda g: dict(
                logp_chosen=torch.tensor([-4.0]),
                logp_rejected=torch.tensor([-6.0]),
                ref_chosen=torch.tensor([-5.0]),
                ref_rejected=torch.tensor([-5.5]),
                beta=0.5,
            ),
            "values",
            LOGPS,
        ),
        Case("a batch", lambda g: sentence_logps(g, 6), "values", LOGPS),
        Case("a small beta", lambda g: sentence_logps(g, 8, beta=0.05), "values", LOGPS),
        Case("float64", lambda g: sentence_logps(g, 4, dtype=F64), "values", LOGPS),
        Case(
            "a policy far from the reference",
            lambda g: dict(
                logp_chosen=torch.tensor([-900.0, -10.0]),
                logp_rejected=torch.tensor([-5.0, -800.0]),
                ref_chosen=torch.tensor([-20.0, -30.0]),
                ref_rejected=torch.tensor([-20.0, -30.0]),
                beta=1.0,
            ),
            "far from the reference",
            LOGPS,
        ),
        Case(
            "four pairs far from the reference",
            lambda g: (
                dict(zip(LOGPS, -integers(g, 900, 4, 4).float(), strict=True)) | dict(beta=1.0)
            ),
            "far from the reference",
            LOGPS,
        ),
        *(
            Case(
                f"a column in the place of {' and '.join(names)}",
                lambda g, names=names: (
                    (args := sentence_logps(g, 3)) | {name: args[name][:, None] for name in names}
                ),
                "shapes",
                raises=True,
            )
            for names in (
                ("logp_chosen",),
                ("ref_rejected",),
                ("ref_chosen", "ref_rejected"),
                ("logp_chosen", "ref_chosen"),
            )
        ),
    ],
    pitfalls=[
        Pitfall(
            "no guard",
            "A [B, 1] against [B] becomes a [B, B] table of pairs that nobody voted on.",
            dpo_no_guard,
        ),
        Pitfall(
            "sign",
            "It prefers the rejected answer: chosen and rejected are swapped.",
            dpo(lambda c, r, ref_c, ref_r: -dpo_margin(c, r, ref_c, ref_r)),
        ),
        Pitfall(
            "reference missing",
            "The reference's log-probabilities are not used: nothing holds the policy near it.",
            dpo(lambda c, r, ref_c, ref_r: c - r),
        ),
        Pitfall(
            "chosen only",
            "Only the chosen answer's log-ratio enters: that is imitation, not a preference.",
            dpo(lambda c, r, ref_c, ref_r: c - ref_c),
        ),
        Pitfall(
            "sign of the reference",
            "The reference's log-probabilities are added, or those of chosen and rejected exchanged: it is (c - ref_c) - (r - ref_r).",
            dpo(lambda c, r, ref_c, ref_r: (c + ref_c) - (r + ref_r)),
        ),
        Pitfall(
            "ratios added",
            "The rejected answer's log-ratio is added: both answers are pushed up.",
            dpo(lambda c, r, ref_c, ref_r: (c - ref_c) + (r - ref_r)),
        ),
        Pitfall(
            "log of a sigmoid",
            "log(sigmoid(x)) is -inf for a large wrong margin: use logsigmoid.",
            dpo(dpo_margin, lambda x: -torch.log(torch.sigmoid(x)).mean()),
            also=(dpo(dpo_margin, lambda x: (1 + torch.exp(-x)).log().mean()),),
        ),
        Pitfall("beta missing", "beta is not used.", dpo_beta_missing),
        Pitfall(
            "beta outside",
            "beta multiplies the loss, which only changes the learning rate; it belongs inside the sigmoid.",
            dpo_beta_outside,
        ),
        Pitfall(
            "divided by beta",
            "The margin is divided by beta: a small beta then holds the policy TIGHTER.",
            dpo_beta_divides,
        ),
        Pitfall(
            "beta on the policy only",
            "beta multiplies the policy's log-probabilities but not the reference's.",
            dpo_beta_on_policy,
        ),
        Pitfall(
            "beta on one term only",
            "beta multiplies only a part of the margin; it is the price of the whole of it.",
            dpo_beta_on_chosen,
            also=(
                dpo_weighted(chosen=None, rejected=None),
                dpo_weighted(rejected=None, reference=None),
            ),
        ),
        Pitfall(
            "references only",
            "The policy's log-probabilities are not used: there is nothing to learn.",
            dpo(lambda c, r, ref_c, ref_r: ref_c - ref_r),
            also=(lambda c, r, ref_c, ref_r, beta: -F.logsigmoid(beta * (ref_c - ref_r)).mean(),),
        ),
        Pitfall(
            "ratios of probabilities",
            "It takes the ratios themselves; the margin is a difference of their LOGS.",
            dpo(lambda c, r, ref_c, ref_r: (c - ref_c).exp() - (r - ref_r).exp()),
        ),
        Pitfall(
            "size of the margin",
            "It takes the absolute margin: a confident wrong pair earns as much as a right one.",
            dpo(dpo_margin, lambda x: -F.logsigmoid(x.abs()).mean()),
        ),
        Pitfall(
            "divided by a length",
            "The log-probabilities are divided by a number of tokens; they are sums over whole answers.",
            dpo_weighted(lengths=(10, 20)),
            also=tuple(dpo_weighted(lengths=(n, n)) for n in (2, 5, 10, 20)),
        ),
        Pitfall(
            "each answer for itself",
            "It pushes chosen up and rejected down on their own; a vote only says which is BETTER.",
            dpo_each_for_itself,
        ),
        Pitfall(
            "votes smoothed",
            "A share of every vote is counted the other way round (conservative DPO); DPO takes votes as they are.",
            dpo_smoothed(0.1),
            also=tuple(dpo_smoothed(share) for share in (0.01, 0.05, 0.2, 0.3)),
        ),
        Pitfall(
            "imitation",
            "The chosen answer's own log-probability is in the loss: that is supervised fine-tuning.",
            lambda c, r, ref_c, ref_r, beta: -c.mean(),
            also=tuple(dpo_and_imitation(weight) for weight in (0.01, 0.1, 0.2, 0.5, 1.0)),
        ),
        Pitfall(
            "logarithm missing",
            "It maximizes the sigmoid itself, whose gradient vanishes on very wrong pairs.",
            dpo(dpo_margin, lambda x: -torch.sigmoid(x).mean()),
            also=(dpo(dpo_margin, lambda x: (1 - torch.sigmoid(x)).mean()),),
        ),
        Pitfall(
            "margin only",
            "It maximizes the plain margin: there is no end to that, and sure pairs pull as hard as doubtful ones.",
            dpo(dpo_margin, lambda x: -x.mean()),
        ),
        Pitfall(
            "hinge",
            "It is a hinge loss on the margin (SLiC's); DPO's is the log of a sigmoid.",
            dpo(dpo_margin, lambda x: F.relu(1 - x).mean()),
            also=(dpo(dpo_margin, lambda x: F.relu(-x).mean()),),
        ),
        Pitfall(
            "flattened where it is most wrong",
            "A clamp or an epsilon cuts the loss off for very wrong pairs, and their gradient: use logsigmoid.",
            dpo(dpo_margin, lambda x: -(torch.sigmoid(x) + 1e-8).log().mean()),
            also=(
                *(
                    dpo(dpo_margin, lambda x, e=e: -(torch.sigmoid(x) + e).log().mean())
                    for e in (1e-12, 1e-10, 1e-7, 1e-6)
                ),
                *(
                    dpo(dpo_margin, lambda x, e=e: -torch.sigmoid(x).clamp(min=e).log().mean())
                    for e in (1e-12, 1e-10, 1e-8, 1e-7, 1e-6)
                ),
                *(
                    dpo(dpo_margin, lambda x, k=k: -F.logsigmoid(x.clamp(-k, k)).mean())
                    for k in (5, 10, 20, 50)
                ),
                dpo(
                    dpo_margin,
                    lambda x: F.binary_cross_entropy(torch.sigmoid(x), torch.ones_like(x)),
                ),
            ),
        ),
        Pitfall(
            "mean inside",
            "It averages the margins before the sigmoid: one easy pair hides the others.",
            dpo(dpo_margin, lambda x: -F.logsigmoid(x.mean())),
        ),
        Pitfall(
            "sum",
            "It sums over the pairs; the mean is asked for.",
            dpo(dpo_margin, lambda x: -F.logsigmoid(x).sum()),
        ),
        Pitfall(
            "objective, not loss",
            "It is the log-likelihood; a loss is minimized, so it needs a minus.",
            dpo(dpo_margin, lambda x: F.logsigmoid(x).mean()),
        ),
        Pitfall(
            "squared margin",
            "It is a squared loss on the margin (IPO's); DPO's is the log of a sigmoid.",
            dpo(dpo_margin, lambda x: ((x - 0.5) ** 2).mean()),
        ),
        Pitfall(
            "reference not frozen",
            "A gradient flows into the reference's log-probabilities: they are constants.",
            dpo_live_reference,
            also=(dpo_half_frozen(True), dpo_half_frozen(False)),
        ),
        Pitfall(
            "only the chosen learns",
            "No gradient reaches the rejected answer.",
            dpo_rejected_constant,
        ),
        Pitfall(
            "only the rejected learns",
            "No gradient reaches the chosen answer.",
            dpo_chosen_constant,
        ),
    ],
    read="lesson 7, “Without a reward model: DPO”; Rafailov et al. 2023, eq. 7",
)

EXERCISES = [
    *first.EXERCISES,
    KL_SHAPED_REWARDS,
    RLHF_ADVANTAGES,
    RLHF_STEP,
    RLOO_ADVANTAGES,
    GRPO_ADVANTAGES,
    DPO_LOSS,
]
