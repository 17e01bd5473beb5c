"""Exercises of lesson 7: log-probabilities of tokens, votes, shaped rewards, and one step of RLHF."""

import math

import torch
import torch.nn.functional as F

from pgcourse.checks.core import Case, Exercise, Pitfall
from pgcourse.checks.make_inputs import integers, masks, normal
from pgcourse.distributions import categorical_logp, token_logp
from pgcourse.estimators import (
    gae,
    grpo_advantages,
    kl_shaped_rewards,
    leave_one_out_baseline,
    rlhf_advantages,
    rloo_advantages,
)
from pgcourse.losses import bradley_terry_loss, dpo_loss, policy_gradient_loss, ppo_clip_loss
from pgcourse.ppo import ppo_update
from pgcourse.reward_model import sequence_score
from pgcourse.rlhf import as_rollout, rlhf_step
from pgcourse.transformer import generate

F64 = torch.float64

# --- the mapping, a quiz ---


def quiz_mapping():
    """Which piece of RLHF plays which part of reinforcement learning? Answer with letters.

    policy, state, action, reward: one of
        a  the next token of the answer            e  the reward model, trained on people's votes
        b  the prompt and the answer so far        f  the frozen reference model
        c  the language model                      g  the critic
        d  a person who rates every answer while the model learns

    algorithm: one of
        p  supervised learning on the better answers
        q  an algorithm of its own, made for language models
        r  PPO, the update of lesson 5 as it is
        s  reward model first, then gradient ascent through it into the language model
    """
    return dict(policy="c", state="b", action="a", reward="e", algorithm="r")


def mapping_but(**wrong):
    return lambda: quiz_mapping() | wrong


QUIZ_MAPPING = Exercise(
    reference=quiz_mapping,
    driver="entry",
    parts={"the environment": 2, "the algorithm": 2, "clean": 1},
    cases=[
        Case("the policy", lambda g: dict(key="policy"), "the environment"),
        Case("the state", lambda g: dict(key="state"), "the environment"),
        Case("the action", lambda g: dict(key="action"), "the environment"),
        Case("the reward", lambda g: dict(key="reward"), "the environment"),
        Case("the algorithm", lambda g: dict(key="algorithm"), "the algorithm"),
    ],
    pitfalls=[
        Pitfall(
            "a different algorithm",
            "RLHF is not an algorithm of its own: it is PPO with a learned reward model.",
            mapping_but(algorithm="q"),
            "The update that balanced a pole in lesson 5 is called here, not a line changed.",
        ),
        Pitfall(
            "supervised learning",
            "Imitating the better answers has no exploration and no reward: that is fine-tuning.",
            mapping_but(algorithm="p"),
        ),
        Pitfall(
            "gradient through the reward model",
            "Tokens are sampled, and no gradient passes through a sample: hence a policy gradient.",
            mapping_but(algorithm="s"),
        ),
        Pitfall(
            "a person in the loop",
            "People voted once, before; what pays every answer is a model that learned from the votes.",
            mapping_but(reward="d"),
            "Hundreds of thousands of answers are scored: no person could.",
        ),
        Pitfall(
            "the critic as the reward",
            "The critic predicts the return; it does not pay it. Actor and critic are trained, the reward is not.",
            mapping_but(reward="g"),
        ),
        Pitfall(
            "the reference as the reward",
            "The reference only sets the price of leaving it; what an answer earns comes from the votes.",
            mapping_but(reward="f"),
        ),
        Pitfall(
            "the reference as the policy",
            "The reference never changes; the policy is the copy that learns.",
            mapping_but(policy="f"),
        ),
        Pitfall(
            "state and action swapped",
            "The history is what the policy sees (the state); the next token is what it does (the action).",
            mapping_but(state="a", action="b"),
        ),
        Pitfall(
            "everything wrong but the algorithm",
            "None of policy, state, action and reward is in its place; read the table of shapes again.",
            mapping_but(policy="a", state="c", action="g", reward="b"),
        ),
    ],
    read="lesson 7, “The same table, filled in again”",
)

# --- token_logp ---


def tokens_no_shift(logits, tokens):
    return categorical_logp(logits, tokens)


def tokens_shift_back(logits, tokens):
    logp = F.log_softmax(logits[:, 1:], -1).gather(-1, tokens[:, :-1, None]).squeeze(-1)
    return F.pad(logp, (0, 1))


def tokens_zero_last(logits, tokens):
    return token_logp(logits, tokens).roll(-1, dims=1)


def tokens_one_short(logits, tokens):
    return token_logp(logits, tokens)[:, 1:]


def tokens_raw_logits(logits, tokens):
    return F.pad(logits[:, :-1].gather(-1, tokens[:, 1:, None]).squeeze(-1), (1, 0))


def tokens_probability(logits, tokens):
    p = torch.softmax(logits[:, :-1], -1).gather(-1, tokens[:, 1:, None]).squeeze(-1)
    return F.pad(p, (1, 0))


def tokens_over_time(logits, tokens):
    logp = F.log_softmax(logits[:, :-1], dim=1).gather(-1, tokens[:, 1:, None]).squeeze(-1)
    return F.pad(logp, (1, 0))


def tokens_greedy(logits, tokens):
    return F.pad(F.log_softmax(logits[:, :-1], -1).max(-1).values, (1, 0))


def tokens_over_batch(logits, tokens):
    logp = F.log_softmax(logits[:, :-1].flatten(), 0).view(logits[:, :-1].shape)
    return F.pad(logp.gather(-1, tokens[:, 1:, None]).squeeze(-1), (1, 0))


def tokens_unstable(logits, tokens):
    p = torch.softmax(logits[:, :-1], -1).gather(-1, tokens[:, 1:, None]).squeeze(-1)
    return F.pad(p.log(), (1, 0))


def tokens_cross_entropy(logits, tokens):
    return -token_logp(logits, tokens)


def tokens_summed(logits, tokens):
    return token_logp(logits, tokens).sum(1)


def tokens_first_scored(logits, tokens):
    first = categorical_logp(logits[:, 0], tokens[:, 0])
    return torch.cat([first[:, None], token_logp(logits, tokens)[:, 1:]], 1)


def tokens_no_guard(logits, tokens):
    logp = F.log_softmax(logits[:, :-1], -1)
    return F.pad(logp.gather(-1, tokens[:, 1 : logits.shape[1], None]).squeeze(-1), (1, 0))


def text_logits(g, B, T, V, dtype=torch.float32, scale=1.0):
    return dict(logits=normal(g, B, T, V, dtype=dtype, scale=scale), tokens=integers(g, V, B, T))


def one_longer(args, name):
    """The same arguments with one column too many in one of them."""
    return args | {name: torch.cat([args[name], args[name][:, :1]], dim=1)}


TOKEN_LOGP = Exercise(
    reference=token_logp,
    parts={"values": 2, "extreme logits": 1, "shapes": 1, "clean": 1},
    cases=[
        Case("one short text", lambda g: text_logits(g, 1, 3, 2), "values", ("logits",)),
        Case("a batch", lambda g: text_logits(g, 3, 5, 7), "values", ("logits",)),
        Case("float64", lambda g: text_logits(g, 2, 4, 5, dtype=F64), "values", ("logits",)),
        Case("extreme logits", lambda g: text_logits(g, 2, 6, 4, scale=150.0), "extreme logits"),
        Case(
            "one token more than logits",
            lambda g: one_longer(text_logits(g, 2, 4, 5), "tokens"),
            "shapes",
            raises=True,
        ),
    ],
    pitfalls=[
        Pitfall(
            "no guard",
            "It cuts logits and tokens to fit each other in silence; keep the shape check.",
            tokens_no_guard,
        ),
        Pitfall(
            "no shift",
            "Each token is scored with the logits computed AFTER reading it: the model knows the answer.",
            tokens_no_shift,
            "logits[:, t] predict token t + 1, so token t needs logits[:, t - 1].",
        ),
        Pitfall(
            "shifted the other way",
            "Token t is scored with the logits at t + 1, from after it and its successor were read.",
            tokens_shift_back,
        ),
        Pitfall(
            "zero at the wrong end",
            "The values are right, but one place too early: the 0 belongs to the first token.",
            tokens_zero_last,
            "Masks and rewards line up with the tokens; everything would be off by one from here on.",
        ),
        Pitfall(
            "one column short",
            "The first token's 0 is missing: the result should line up with `tokens`, [B, T].",
            tokens_one_short,
        ),
        Pitfall(
            "raw logits",
            "It gathers logits as they are: without log_softmax they are no log-probabilities.",
            tokens_raw_logits,
        ),
        Pitfall(
            "probability",
            "It returns probabilities; their logarithm is wanted.",
            tokens_probability,
        ),
        Pitfall(
            "normalized over time",
            "The softmax runs along the text; the probabilities of the VOCABULARY should sum to 1.",
            tokens_over_time,
        ),
        Pitfall(
            "most likely token",
            "It scores the most likely token at each place, not the one that was sampled.",
            tokens_greedy,
        ),
        Pitfall(
            "normalized over the batch",
            "All texts and places share one softmax: flatten after it, not before.",
            tokens_over_batch,
        ),
        Pitfall(
            "log of a softmax",
            "log(softmax(x)) is -inf for an improbable token: use log_softmax.",
            tokens_unstable,
            "One -inf turns the whole loss into nan.",
        ),
        Pitfall(
            "sign",
            "It is the cross-entropy, minus the log-probability: log-probabilities are negative.",
            tokens_cross_entropy,
        ),
        Pitfall(
            "summed over the text",
            "It returns one number per text; PPO needs one per token, [B, T].",
            tokens_summed,
        ),
        Pitfall(
            "first token scored",
            "Nothing predicts the first token: its entry is 0.",
            tokens_first_scored,
        ),
    ],
    read="lesson 7, “Which logits predict which token?”",
)

# --- bradley_terry_loss ---


def votes_sign(r_chosen, r_rejected):
    return bradley_terry_loss(r_rejected, r_chosen)


def votes_mean_inside(r_chosen, r_rejected):
    return -F.logsigmoid((r_chosen - r_rejected).mean())


def votes_independent(r_chosen, r_rejected):
    return -(F.logsigmoid(r_chosen) + F.logsigmoid(-r_rejected)).mean()


def votes_unstable(r_chosen, r_rejected):
    return -torch.log(torch.sigmoid(r_chosen - r_rejected)).mean()


def votes_sum(r_chosen, r_rejected):
    return -F.logsigmoid(r_chosen - r_rejected).sum()


def votes_no_log(r_chosen, r_rejected):
    return -torch.sigmoid(r_chosen - r_rejected).mean()


def votes_margin(r_chosen, r_rejected):
    return -(r_chosen - r_rejected).mean()


def votes_hinge(r_chosen, r_rejected):
    return F.relu(1 - (r_chosen - r_rejected)).mean()


def votes_chosen_only(r_chosen, r_rejected):
    return -F.logsigmoid(r_chosen - r_rejected.detach()).mean()


def votes_all_pairs(r_chosen, r_rejected):
    return -F.logsigmoid(r_chosen[:, None] - r_rejected[None, :]).mean()


def votes_objective(r_chosen, r_rejected):
    return F.logsigmoid(r_chosen - r_rejected).mean()


def votes_accuracy(r_chosen, r_rejected):
    return 1 - (r_chosen > r_rejected).to(r_chosen.dtype).mean()


def votes_no_guard(r_chosen, r_rejected):
    return -F.logsigmoid(r_chosen - r_rejected).mean()


def pair_scores(g, B, dtype=torch.float32, scale=1.0):
    return dict(
        r_chosen=normal(g, B, dtype=dtype, scale=scale),
        r_rejected=normal(g, B, dtype=dtype, scale=scale),
    )


BOTH = ("r_chosen", "r_rejected")
BRADLEY_TERRY_LOSS = Exercise(
    reference=bradley_terry_loss,
    parts={"values": 2, "clear votes": 1, "shapes": 1, "clean": 1},
    cases=[
        Case(
            "two pairs",
            lambda g: dict(r_chosen=torch.tensor([1.0, 0.2]), r_rejected=torch.tensor([0.5, 0.7])),
            "values",
            BOTH,
        ),
        Case("a batch", lambda g: pair_scores(g, 8), "values", BOTH),
        Case("float64", lambda g: pair_scores(g, 5, dtype=F64), "values", BOTH),
        Case(
            "very wrong and very clear pairs",
            lambda g: dict(
                r_chosen=torch.tensor([-200.0, 200.0, 1.0]),
                r_rejected=torch.tensor([200.0, -200.0, 0.5]),
            ),
            "clear votes",
            BOTH,
        ),
        Case(
            "six clear votes",
            lambda g: dict(r_chosen=normal(g, 6, scale=300), r_rejected=normal(g, 6, scale=300)),
            "clear votes",
            BOTH,
        ),
        Case(
            "a column against a row",
            lambda g: dict(r_chosen=normal(g, 4, 1), r_rejected=normal(g, 4)),
            "shapes",
            raises=True,
        ),
    ],
    pitfalls=[
        Pitfall(
            "no guard",
            "A [B, 1] against a [B] becomes a [B, B] table: every answer against every other.",
            votes_no_guard,
        ),
        Pitfall(
            "sign",
            "It rewards r_rejected above r_chosen: the model learns the opposite of every vote.",
            votes_sign,
        ),
        Pitfall(
            "mean inside",
            "It averages the margins first: one clear pair then hides all the doubtful ones.",
            votes_mean_inside,
            "The mean of log sigmoid is not log sigmoid of the mean.",
        ),
        Pitfall(
            "each answer for itself",
            "It classifies chosen as good and rejected as bad; a vote only says which is BETTER.",
            votes_independent,
            "Two excellent answers make a pair too; pushing one of them below 0 is not in the vote.",
        ),
        Pitfall(
            "log of a sigmoid",
            "log(sigmoid(x)) is -inf for a very wrong pair: use logsigmoid.",
            votes_unstable,
            "The pair that the model gets most wrong is the one that breaks the training.",
        ),
        Pitfall("sum", "It sums over the pairs; the mean is asked for.", votes_sum),
        Pitfall(
            "logarithm missing",
            "It maximizes the sigmoid itself, whose gradient vanishes on very wrong pairs.",
            votes_no_log,
        ),
        Pitfall(
            "margin only",
            "It maximizes the plain difference: there is no end to that, the scores grow forever.",
            votes_margin,
        ),
        Pitfall(
            "hinge",
            "It is a hinge loss (a support vector machine), not a likelihood of the votes.",
            votes_hinge,
        ),
        Pitfall(
            "only the chosen learns",
            "No gradient reaches r_rejected: half of each vote is thrown away.",
            votes_chosen_only,
        ),
        Pitfall(
            "every chosen against every rejected",
            "It compares answers to different prompts, which nobody voted on.",
            votes_all_pairs,
        ),
        Pitfall(
            "objective, not loss",
            "It is the log-likelihood; a loss is minimized, so it needs a minus.",
            votes_objective,
        ),
        Pitfall(
            "counts mistakes",
            "It is the share of wrong pairs: a fine number to report, but it has no gradient.",
            votes_accuracy,
        ),
    ],
    read="lesson 7, “A reward model from votes”; Ouyang et al. 2022, eq. 1",
)

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


def score_detached(values, mask):
    return sequence_score(values, mask).detach()


def score_empty_rows(values, mask):
    return values[torch.arange(len(values)), last_of(mask)]


def marked(g, B, T, dtype=torch.float32):
    mask = masks(g, B, T)
    values = normal(g, B, T, dtype=dtype)
    return dict(values=torch.where(mask, values, 10 * values), mask=mask)


def hand_mask(*rows):
    return torch.tensor(rows, dtype=torch.bool)


SEQUENCE_SCORE = Exercise(
    reference=sequence_score,
    parts={"values": 2, "padding": 1, "shapes": 1, "clean": 1},
    cases=[
        Case(
            "two answers of different length",
            lambda g: dict(
                values=torch.tensor([[9.0, 1.0, 2.0, 8.0], [9.0, 3.0, 4.0, 5.0]]),
                mask=hand_mask([0, 1, 1, 0], [0, 1, 1, 1]),
            ),
            "values",
            ("values",),
        ),
        Case("a batch", lambda g: marked(g, 5, 8), "values", ("values",)),
        Case("float64", lambda g: marked(g, 3, 6, dtype=F64), "values", ("values",)),
        Case(
            "nan in the padding",
            lambda g: dict(
                values=torch.tensor([[math.nan, 1.0, 2.0, math.nan], [math.nan] * 3 + [-4.0]]),
                mask=hand_mask([0, 1, 1, 0], [0, 0, 0, 1]),
            ),
            "padding",
        ),
        Case(
            "nan in the padding of a batch",
            lambda g: (
                (args := marked(g, 4, 6))
                | dict(values=torch.where(args["mask"], args["values"], math.nan))
            ),
            "padding",
        ),
        Case(
            "a row without an answer",
            lambda g: dict(
                values=normal(g, 2, 5), mask=hand_mask([0, 0, 0, 0, 0], [0, 1, 1, 0, 0])
            ),
            "shapes",
            raises=True,
        ),
        Case(
            "one column more in the mask",
            lambda g: one_longer(marked(g, 2, 4), "mask"),
            "shapes",
            raises=True,
        ),
    ],
    pitfalls=[
        Pitfall(
            "no guard",
            "A row without an answer gets the score of its first column; keep the check that raises.",
            score_empty_rows,
        ),
        Pitfall(
            "last column",
            "It reads position -1, which is padding for every answer shorter than the longest.",
            score_last_column,
            "On a batch of one it looks right; in a batch the score depends on the neighbors' lengths.",
        ),
        Pitfall(
            "last column, zero if padding",
            "Answers shorter than the longest score 0: it reads position -1 of the masked values.",
            score_masked_last_column,
        ),
        Pitfall(
            "mean over tokens",
            "It averages over the answer; the score is what the head says at the LAST token.",
            score_mean,
        ),
        Pitfall(
            "sum over tokens",
            "It sums over the answer; here the convention is the head's output at the last token.",
            score_sum,
            "Sum pooling is a real alternative, but then the head must be trained and read that way.",
        ),
        Pitfall("largest token", "It takes the largest value of the answer.", score_max),
        Pitfall(
            "first token",
            "It reads the answer's first token, where the model has seen nothing of the answer yet.",
            score_first,
        ),
        Pitfall(
            "before the first gap",
            "The first False of the mask need not be the padding after the answer: the prompt is False too.",
            score_first_pad,
            "And in a full row there is no False at all: the index becomes -1.",
        ),
        Pitfall(
            "counts tokens for a position",
            "mask.sum() - 1 is the last position only if the answer begins in column 0; before it stands the prompt.",
            score_count,
        ),
        Pitfall(
            "one past the end",
            "It reads the place after the answer's last token: padding.",
            score_one_past,
        ),
        Pitfall(
            "one too early",
            "It reads the token before the last: the end token is part of the answer.",
            score_one_early,
        ),
        Pitfall(
            "detached",
            "No gradient reaches the values: the reward model cannot learn.",
            score_detached,
        ),
    ],
    read="lesson 7, “One score for an answer”",
)

# --- kl_shaped_rewards ---


def shaped(score, logp, logp_ref, mask, beta, kl=None, at=None, worth=None):
    """The right recursion with one of its pieces replaced: what the mistakes below vary."""
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


def shaped_no_score(score, logp, logp_ref, mask, beta):
    return torch.where(mask, -beta * (logp - logp_ref), 0.0).detach()


def shaped_no_guard(score, logp, logp_ref, mask, beta):
    return shaped(score, logp, logp_ref, mask, beta)


def answer_rewards(g, B, T, beta=0.1, dtype=torch.float32):
    logp = -normal(g, B, T, dtype=dtype).abs()
    return dict(
        score=normal(g, B, dtype=dtype),
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
    ],
    pitfalls=[
        Pitfall(
            "no guard",
            "A row without a response token gets its score in column 0; keep the checks that raise.",
            shaped_no_guard,
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
            "beta multiplies the score too; it is the price of the KL alone.",
            lambda score, logp, logp_ref, mask, beta: shaped(
                score * beta, logp, logp_ref, mask, beta
            ),
        ),
        Pitfall(
            "score per token",
            "It divides the score by the answer's length: long answers would be worth less.",
            shaping(worth=lambda score, mask: score / mask.sum(1)),
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
        Case(
            "one row of the mask for all",
            lambda g: answer_values(g, 3, 4) | dict(mask=hand_mask([0, 1, 1, 1])),
            "shapes",
            raises=True,
        ),
    ],
    pitfalls=[
        Pitfall(
            "no guard",
            "A mask of another shape is spread over the batch in silence; keep the shape check.",
            adv_no_guard,
        ),
        Pitfall(
            "bootstrap into the padding",
            "The last token looks ahead to the value of a padding token: nothing follows the end.",
            adv_bootstrap_padding,
            "The critic has never been trained on padding; its number there is noise.",
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
            "no mask",
            "The recursion runs through prompt and padding as if they were actions.",
            adv_unmasked,
        ),
        Pitfall(
            "masked only at the end",
            "The result is masked, but values of the padding have already run into it.",
            adv_masked_after,
        ),
        Pitfall(
            "prompt gets an advantage",
            "The sum runs on into the prompt: those tokens were given, not chosen.",
            adv_prompt_too,
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
            "It normalizes the advantages; `ppo_update` does that, once, over the unmasked tokens.",
            adv_whitened,
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
    sample=generate,
    scored=lambda tokens, mask: mask,
    score=lambda score: score,
    old=lambda policy, reference: policy.actor,
    ref=lambda policy, reference: reference,
    rewards=kl_shaped_rewards,
    advantages=rlhf_advantages,
    rollout=roll_out,
    train=lambda update, *args, **kw: update(*args, **kw),
    after=lambda policy, reference: None,
    graph=False,
    report=lambda log: log,
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
        tokens, mask = sample(policy.actor, prompts, config.max_new, config.end, config.generator)
        with torch.set_grad_enabled(graph):
            s = score(reward_model(tokens, scored(tokens, mask)))
            logp = token_logp(old(policy, reference)(tokens), tokens)
            logp_ref = token_logp(ref(policy, reference)(tokens), tokens)
            val = policy.values(tokens)
        rew = rewards(s, logp, logp_ref, mask, config.beta)
        adv = advantages(rew, val, mask, config.gamma, config.lam)
        data = rollout(tokens, mask, logp, logp_ref, val, adv, rew)
        log = train(update, policy, optimizer, data, config, loss=loss, generator=config.generator)
        after(policy, reference)
        kl = torch.where(mask, logp - logp_ref, 0.0).sum(dim=1).mean()
        length = mask.sum(dim=1).float().mean()
        return report(
            {"score": s.mean().item(), "kl": kl.item(), "length": length.item(), "update": log}
        )

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


def updated_twice(update, policy, optimizer, rollout, config, loss, generator):
    update(policy, optimizer, rollout, config, loss=loss, generator=generator)
    return update(policy, optimizer, rollout, config, loss=loss, generator=generator)


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


def without_mask(tokens, mask, logp, logp_ref, val, adv, rew):
    return roll_out(tokens, torch.ones_like(mask), logp, logp_ref, val, adv, rew)


def returns_are(kind):
    def rollout(tokens, mask, logp, logp_ref, val, adv, rew):
        return as_rollout(tokens, mask=mask, logp=logp, val=val, adv=adv, ret=kind(adv, rew))

    return rollout


def old_is_reference(tokens, mask, logp, logp_ref, val, adv, rew):
    return roll_out(tokens, mask, logp_ref, logp_ref, val, adv, rew)


def rewards_as_advantages(rew, val, mask, gamma, lam):
    return rew


def moving_reference(policy, reference):
    reference.load_state_dict(policy.actor.state_dict())


def whitened(score):
    return (score - score.mean()) / (score.std(correction=0) + 1e-8)


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
            "a different algorithm",
            "It trains with an update of its own; call the `update` that is passed in: lesson 5's PPO.",
            stepping(train=own_update),
            "RLHF is PPO with a learned reward model. Nothing in the update knows that these are words.",
        ),
        Pitfall(
            "not the update passed in",
            "It calls pgcourse's own ppo_update; call the `update` of the arguments: your lesson-5 function.",
            stepping(train=own_clipped_update),
        ),
        Pitfall(
            "loss not passed on",
            "The update is called without `loss=loss`, so the loss of the arguments is never used.",
            stepping(train=default_loss),
        ),
        Pitfall(
            "generator not passed on",
            "The update shuffles with torch's global generator; pass `generator=config.generator`.",
            stepping(train=default_shuffling),
            "The same seed would no longer give the same run.",
        ),
        Pitfall(
            "updated twice",
            "It calls the update twice on the same answers; the epochs are inside the update.",
            stepping(train=updated_twice),
        ),
        Pitfall(
            "KL against the policy itself",
            "logp_ref comes from the policy: the KL is 0 always, and nothing holds the text together.",
            stepping(ref=lambda policy, reference: policy.actor),
        ),
        Pitfall(
            "moving reference",
            "The reference is brought up to the policy after the step: it must never change.",
            stepping(after=moving_reference),
            "A price for each step's distance lets the policy walk away in small steps, for free.",
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
            "scores whitened",
            "It normalizes the scores of the batch: beta then has another meaning in each batch. Only advantages are normalized, in the update.",
            stepping(score=whitened),
        ),
        Pitfall(
            "prompt in the loss",
            "The mask holds prompt tokens too: they were given, not chosen, and carry no credit.",
            stepping(sample=answers_with_prompts),
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
            "greedy answers",
            "It takes the most likely token each time: without sampling there is nothing to compare.",
            stepping(sample=sample_greedily),
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


def loo_own_mean(score):
    return score - score.mean(0)


def loo_axis(score):
    return score - leave_one_out_baseline(score.T).T


def loo_everything(score):
    return score - (score.sum() - score) / (score.numel() - 1)


def loo_max(score):
    others = torch.stack(
        [torch.cat([score[:k], score[k + 1 :]]).max(0).values for k in range(len(score))]
    )
    return score - others


def loo_scaled(score):
    adv = rloo_advantages(score)
    return adv / (score.std(0, correction=0) + 1e-8)


def loo_sign(score):
    return -rloo_advantages(score)


def loo_baseline(score):
    return leave_one_out_baseline(score).detach()


def loo_wrong_count(score):
    return score - (score.sum(0) - score) / len(score)


def loo_sum(score):
    return score - (score.sum(0) - score)


def loo_next(score):
    return score - score.roll(1, 0)


def loo_plus(score):
    return score + leave_one_out_baseline(score).detach()


def loo_alive(score):
    return score - leave_one_out_baseline(score)


def loo_no_guard(score):
    return (score - (score.sum(0) - score) / max(len(score) - 1, 1)).detach()


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
            loo_own_mean,
            "The baseline then depends on the action: lesson 3's biased one, though only by that factor.",
        ),
        Pitfall(
            "mean over prompts",
            "The baseline is taken along the other axis: over prompts, whose scores say nothing of each other.",
            loo_axis,
        ),
        Pitfall(
            "mean of the whole batch",
            "The baseline is over all answers to all prompts: an easy prompt makes every answer look good.",
            loo_everything,
        ),
        Pitfall(
            "best of the others",
            "It subtracts the BEST other score: almost every advantage is negative.",
            loo_max,
        ),
        Pitfall(
            "also scaled",
            "It divides by the group's standard deviation too: that is GRPO's step, not RLOO's.",
            loo_scaled,
        ),
        Pitfall("sign", "It is the baseline minus the score.", loo_sign),
        Pitfall(
            "baseline only",
            "It returns the baseline; the advantage is score minus it.",
            loo_baseline,
        ),
        Pitfall(
            "divided by K",
            "The K - 1 other scores are divided by K: the baseline is too close to 0.",
            loo_wrong_count,
        ),
        Pitfall("sum of the others", "It subtracts the SUM of the other scores.", loo_sum),
        Pitfall(
            "one other answer",
            "It compares with one other answer only: unbiased, but noisier than the mean of all.",
            loo_next,
        ),
        Pitfall("added", "It adds the baseline.", loo_plus),
        Pitfall(
            "advantages with gradient",
            "A gradient flows into the scores; advantages are constants.",
            loo_alive,
        ),
    ],
    read="lesson 7, “Without a critic: RLOO and GRPO”; Ahmadian et al. 2024",
)

# --- grpo_advantages ---


def group_no_scale(score):
    return (score - score.mean(0)).detach()


def group_everything(score):
    return (score - score.mean()) / (score.std(correction=0) + 1e-8)


def group_batch_std(score):
    return (score - score.mean(0)) / (score.std(correction=0) + 1e-8)


def group_axis(score):
    return grpo_advantages(score.T).T


def group_variance(score):
    return (score - score.mean(0)) / (score.var(0, correction=0) + 1e-8)


def group_big_eps(score):
    return (score - score.mean(0)) / (score.std(0, correction=0) + 1)


def group_precedence(score):
    return score - score.mean(0) / (score.std(0, correction=0) + 1e-8)


def group_no_eps(score):
    return (score - score.mean(0)) / score.std(0, correction=0)


def group_sign(score):
    return -grpo_advantages(score)


def group_uncentered(score):
    return score / (score.std(0, correction=0) + 1e-8)


def group_leave_one_out(score):
    return rloo_advantages(score) / (score.std(0, correction=0) + 1e-8)


def group_min_max(score):
    low, high = score.min(0).values, score.max(0).values
    return (score - low) / (high - low + 1e-8)


def group_alive(score):
    return (score - score.mean(0)) / (score.std(0, correction=0) + 1e-8)


def group_no_guard(score):
    return (score - score.mean(0)) / (score.std(0, correction=0) + 1e-8)


def group_detached(wrong):
    def function(score):
        return wrong(score.detach())

    return function


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
    ],
    pitfalls=[
        Pitfall(
            "no guard",
            "One answer is no group, its advantage is 0 for ever: keep the check that raises.",
            group_detached(group_no_guard),
        ),
        Pitfall(
            "no scale",
            "It centers without dividing by the spread: that is “Dr. GRPO”; GRPO does both.",
            group_no_scale,
        ),
        Pitfall(
            "whole batch",
            "Mean and spread are over all answers to all prompts; they belong to one prompt's group.",
            group_detached(group_everything),
        ),
        Pitfall(
            "spread of the whole batch",
            "The mean is the group's, but the spread is that of the whole batch.",
            group_detached(group_batch_std),
        ),
        Pitfall(
            "over prompts",
            "It centers and scales along axis 1: across prompts instead of across answers.",
            group_axis,
        ),
        Pitfall("variance", "It divides by the variance.", group_detached(group_variance)),
        Pitfall(
            "epsilon dominates",
            "It adds 1 to the spread; the constant should be tiny, 1e-8.",
            group_detached(group_big_eps),
        ),
        Pitfall(
            "precedence",
            "It computes score - mean/std: parentheses are missing.",
            group_detached(group_precedence),
        ),
        Pitfall(
            "zero divided by zero",
            "Where all answers score the same, 0/0 is nan: add a tiny constant to the spread.",
            group_detached(group_no_eps),
            "Prompts that are all right or all wrong are common, and one nan ends the run.",
        ),
        Pitfall("sign", "It is the mean minus the score.", group_sign),
        Pitfall(
            "not centered",
            "It scales without subtracting the mean.",
            group_detached(group_uncentered),
        ),
        Pitfall(
            "leave-one-out",
            "The mean leaves the own score out (RLOO's baseline); GRPO takes the mean of the whole group.",
            group_leave_one_out,
        ),
        Pitfall(
            "between 0 and 1",
            "It maps the worst to 0 and the best to 1: no answer is ever discouraged.",
            group_detached(group_min_max),
        ),
        Pitfall(
            "advantages with gradient",
            "A gradient flows into the scores; advantages are constants.",
            group_alive,
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
        Case(
            "a column against rows",
            lambda g: sentence_logps(g, 3) | dict(logp_chosen=normal(g, 3, 1)),
            "shapes",
            raises=True,
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
            "reference added",
            "It adds the reference's log-probabilities; a ratio needs a difference of logs.",
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
        ),
        Pitfall(
            "only the chosen learns",
            "No gradient reaches the rejected answer.",
            dpo_rejected_constant,
        ),
    ],
    read="lesson 7, “Without a reward model: DPO”; Rafailov et al. 2023, eq. 7",
)

EXERCISES = [
    QUIZ_MAPPING,
    TOKEN_LOGP,
    BRADLEY_TERRY_LOSS,
    SEQUENCE_SCORE,
    KL_SHAPED_REWARDS,
    RLHF_ADVANTAGES,
    RLHF_STEP,
    RLOO_ADVANTAGES,
    GRPO_ADVANTAGES,
    DPO_LOSS,
]
