"""The reward of each token: a price for leaving the reference, and the score at the end."""

import torch

from pgcourse.checks.core import Case, Exercise
from pgcourse.checks.edits import edit, mistake
from pgcourse.checks.make_inputs import masks, normal, steps_3_by_4
from pgcourse.estimators import kl_shaped_rewards
from pgcourse.exercises.rlhf.inputs import AT_THE_RIM, F64, hand_mask, one_longer, one_row

GAP, LAST = "logp - logp_ref", "(steps * mask).argmax(dim=1)"
PRICE = f"-beta * ({GAP})"
PRICED = f"torch.where(mask, {PRICE}, 0.0).detach()"
PLACE = "rew[torch.arange(len(rew)), last]"
PAID = f"{PLACE} += score.detach()"
NO_SHAPES = edit("same_shape(logp=logp, logp_ref=logp_ref, mask=mask)", "")
NO_SCORES = edit("same_shape(score=score, mask_rows=mask[:, 0])", "")
NO_ROWS = edit(
    "if not mask.any(dim=1).all(): "
    'raise ValueError("expected a response token in every row; a row of the mask is all False.")',
    "",
)
BROADCAST = edit(
    PAID, "rew = rew + torch.where(steps == last[:, None], score.reshape(-1, 1), 0.0).detach()"
)
ALL_KL = f"torch.where(mask, {GAP}, 0.0).sum(1, keepdim=True)"
LENGTH = "mask.sum(1, keepdim=True)"
LAST_COLUMN = "torch.full((len(mask),), -1)"


def gap(new):
    """Another difference of the logs."""
    return edit(GAP, new)


def last(new):
    return edit(LAST, new)


def score(new):
    return edit("score.detach()", new)


def priced(new):
    return edit(PRICED, new)


def returned(new):
    return edit("return rew", f"return {new}")


MASKED = returned("torch.where(mask, rew, 0.0)")
ALIVE = edit(PRICED, PRICED.removesuffix(".detach()")), edit("score.detach()", "score")


def mask_moved(there, at=None):
    """The prices are those of a mask that is one column off; the score is paid at its place, or not."""
    moved = {
        "early": "torch.cat([mask[:, 1:], torch.zeros_like(mask[:, :1])], 1)",
        "late": "torch.cat([torch.zeros_like(mask[:, :1]), mask[:, :-1]], 1)",
    }[there]
    return (edit(PRICED, PRICED.replace("mask", moved)), *([last(at)] if at else []))


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


def far_from_the_reference(g):
    return dict(
        score=torch.tensor([3000.0, -2000.0, 1000.0], dtype=F64),
        logp=steps_3_by_4(*range(-14, -2), times=30.0),
        logp_ref=steps_3_by_4(-2, -20, -4, -18, -6, -16, -8, -14, -10, -12, -1, -20, times=30.0),
        mask=AT_THE_RIM,
        beta=0.5,
    )


def large_scores(g):
    args = answer_rewards(g, 4, 6, scale=30.0)
    return args | dict(score=args["score"] + 15 * args["score"].sign())


def inf_in_padding(args):
    junk = torch.where(args["mask"], 0.0, -torch.inf)
    return args | dict(logp=args["logp"] + junk, logp_ref=args["logp_ref"] + junk)


def column_of_scores(g):
    args = answer_rewards(g, 3, 4)
    return args | dict(score=args["score"][:, None])


SHAPED = ("score", "logp", "logp_ref")
# fmt: off
EXERCISE = Exercise(
    reference=kl_shaped_rewards,
    parts={"values": 3, "padding": 1, "shapes": 1, "clean": 1},
    tries=650,
    cases=[
        Case("two answers", hand_rewards, "values", SHAPED),
        Case("a batch", lambda g: answer_rewards(g, 5, 8), "values", SHAPED),
        Case("float64", lambda g: answer_rewards(g, 3, 7, beta=1.0, dtype=F64), "values", SHAPED),
        Case("beta = 0", lambda g: answer_rewards(g, 3, 5, beta=0.0), "values"),
        Case("large scores", large_scores, "values"),
        Case("-inf in the padding", lambda g: inf_in_padding(answer_rewards(g, 4, 6)), "padding"),
        Case("a row without a response token",
             lambda g: answer_rewards(g, 2, 5) | dict(mask=hand_mask([0, 0, 0, 0, 0], [0, 1, 1, 0, 0])), "shapes", raises=True),
        Case("one column more in the mask", lambda g: one_longer(answer_rewards(g, 2, 4), "mask"), "shapes", raises=True),
        Case("a column of scores", column_of_scores, "shapes", raises=True),
        *(Case(f"one row of {name} for all", lambda g, name=name: one_row(answer_rewards(g, 3, 4), name), "shapes", raises=True)
          for name in ("logp", "logp_ref", "mask")),
        Case("far from the reference, answers at both rims", far_from_the_reference, "values", SHAPED),
        Case("answers that fill their rows", lambda g: hand_rewards(g) | dict(mask=torch.ones(2, 4, dtype=torch.bool)), "values", SHAPED),
    ],
    mistakes=[
        mistake("no guard",
                "What does not fit is spread over the batch, or lands in column 0, in silence; check that first, and raise.",
                NO_SHAPES, NO_SCORES, NO_ROWS,
                also=((NO_SHAPES, NO_SCORES, NO_ROWS, BROADCAST), (NO_SHAPES, NO_SCORES, BROADCAST),
                      (NO_SHAPES, NO_ROWS, BROADCAST), (NO_ROWS,), (NO_SCORES, BROADCAST), (NO_SHAPES,))),
        mistake("sign of the KL", "It PAYS for leaving the reference: the reward should fall when logp exceeds logp_ref.",
                gap("logp_ref - logp"), why="With this sign the model runs away from the text it knows as fast as it can."),
        mistake("absolute KL", "It takes |logp - logp_ref|. The difference is negative at some tokens, and its average is the KL.",
                gap(f"({GAP}).abs()"), why="The absolute value also punishes what the reference likes better than the policy does."),
        mistake("squared KL", "It uses half the squared difference (the k2 estimate); here it is the plain difference, k1.",
                gap(f"0.5 * ({GAP}) ** 2"), also=(gap(f"({GAP}) ** 2"),)),
        mistake("k3 estimate", "It uses the k3 estimate, exp(x) - 1 - x of a difference x; in the reward it is the plain difference, k1.",
                gap(f"torch.exp(-({GAP})) - 1 + ({GAP})"), also=(gap(f"torch.exp({GAP}) - 1 - ({GAP})"),),
                why="k3 in the reward does not have the KL's gradient, and it explodes once the policy has moved."),
        mistake("KL clamped", "Tokens that the reference likes better cost nothing: the difference must keep its sign.",
                gap(f"({GAP}).clamp(min=0)"), why="The average of the plain difference is the KL; cut off at 0, it is larger."),
        mistake("KL cut off", "The difference of the logs is cut off at ±{most:.3g}: beyond, leaving the reference costs nothing.",
                gap(f"({GAP}).clamp(-{{most=10}}, {{most=10}})")),
        mistake("probabilities, not logs", "It works on probabilities or their ratio; the price is the difference of the LOGS.",
                gap("logp.exp() - logp_ref.exp()"), also=(gap(f"({GAP}).exp()"), gap("logp / logp_ref"))),
        mistake("weighted by the probability",
                "pi * log(pi/ref) is a term of the exact sum; over SAMPLED tokens, sampling does the weighting.",
                gap(f"logp.exp() * ({GAP})")),
        mistake("reference missing", "logp_ref is not used: it charges for every token's log-probability, wherever the reference is.",
                gap("logp")),
        mistake("policy missing", "logp is not used: it pays for what the reference finds improbable, whatever the policy does.",
                gap("-logp_ref")),
        mistake("reference's neighbor", "The two log-probabilities are of different tokens: they already line up, no further shift.",
                gap("logp - logp_ref.roll(1, 1)"), also=(gap("logp - logp_ref.roll(-1, 1)"),)),
        mistake("no KL", "The price is nowhere: only the score is left.", gap("0 * logp"), why="Then nothing holds the text together."),
        mistake("beta not used", "The price is {price:.3g} per nat, whatever beta is.", edit("-beta", "-{price=1}")),
        mistake("price scaled", "The price is {c:.3g} times beta per nat; it is beta.", edit("-beta", "-{c=2} * beta")),
        mistake("beta squared", "beta counts twice; the price is beta per nat.", edit("-beta", "-(beta**2)")),
        mistake("KL averaged", "Each token is charged a mean over tokens; it should pay for its own difference.",
                gap(f"{ALL_KL} / {LENGTH}"), also=(gap(f"({GAP})[mask].mean()"),)),
        mistake("price per length", "Each token's price is divided by the answer's length; a token pays for its difference in full.",
                gap(f"({GAP}) / {LENGTH}")),
        mistake("mask shifted", "The prices are one place off: log-probabilities, mask and rewards line up token by token.",
                *mask_moved("early"), also=(mask_moved("late"), mask_moved("early", f"({LAST} - 1).clamp(min=0)"))),
        mistake("charged twice", "The whole KL is taken from the score AND from each token.",
                score(f"(score - beta * {ALL_KL}[:, 0]).detach()")),
        mistake("position counted",
                "mask.sum() - 1 is the last position only if the answer begins in column 0; before it stands the prompt.",
                last("mask.sum(1) - 1")),
        mistake("score in other rows' columns",
                "rew[:, last] adds to every row at every row's last position: pair them, rew[torch.arange(B), last].",
                edit(PLACE, "rew[:, last]")),
        mistake("scores changed", "The scores are normalized, centered, squashed or scaled first; they are paid as they are.",
                score("((score - score.mean()) / (score.std(correction=0) + 1e-8)).detach()"),
                why="Otherwise beta means something else in each batch.",
                also=(*map(score, ("((score - score.mean()) / (score.std() + 1e-8)).detach()", "(score - score.mean()).detach()",
                                   "score.sigmoid().detach()", "score.tanh().detach()")),)),
        mistake("scores clipped", "The scores are cut off at ±{limit:.3g}; they are paid as they are.",
                score("score.clamp(-{limit=3}, {limit=3}).detach()")),
        mistake("scores scaled", "The scores are multiplied by {c:.3g}; they are paid as they are.", score("{c=2} * score.detach()")),
        mistake("sign of the score", "It takes the score away: the worst answers would be rewarded.", score("-score.detach()")),
        mistake("rewards whitened", "It normalizes the rewards; only advantages are normalized, later, in the update.",
                returned("torch.where(mask, (rew - rew[mask].mean()) / (rew[mask].std(correction=0) + 1e-8), 0.0)"),
                why="beta would mean something else in each batch.",
                also=(returned("torch.where(mask, (rew - rew[mask].mean()) / (rew[mask].std() + 1e-8), 0.0)"),)),
        mistake("reward to go", "It adds up what is still to come; that is the job of the advantages, one step later.",
                returned("torch.where(mask, rew.flip(1).cumsum(1).flip(1), 0.0)")),
        mistake("one number per answer", "It adds the rewards up over the answer; PPO needs one per token, [B, T].",
                returned("rew.sum(1)")),
        mistake("KL on prompt and padding", "Prompt and padding tokens are priced too; only the mask's tokens were actions.",
                priced(f"({PRICE}).detach()")),
        mistake("mask multiplied", "0 times infinity is nan: select with the mask (torch.where) instead of multiplying by it.",
                priced(f"({PRICE} * mask).detach()")),
        mistake("score on every token", "Every token gets the whole score: an answer is paid once, at its end.",
                edit(PAID, "rew += torch.where(mask, score[:, None].detach(), 0.0)"),
                why="Twice as long an answer would earn twice as much for the same text.",
                also=((priced(f"({PRICE}).detach()"), edit(PAID, "rew += score[:, None].detach()")),
                      edit(PAID, "rew += score[:, None].detach()"))),
        mistake("score on the last column", "The score lands at position -1: padding for every answer but the longest.",
                last(LAST_COLUMN)),
        mistake("score one past the end", "The score lands on the place after the last response token.",
                last(f"({LAST} + 1).clamp(max=mask.shape[1] - 1)"),
                why="There the mask will drop it: only answers that fill their row are rewarded at all."),
        mistake("score one too early", "The score lands on the token before the last; the end token is part of the answer.",
                last(f"({LAST} - 1).clamp(min=0)")),
        mistake("score masked away", "Where the answer ends before the last column, its score is lost: it was put on padding.",
                last(LAST_COLUMN), MASKED, why="Only answers that fill their row are rewarded at all."),
        mistake("score on the first token", "The score is paid at the answer's first token, before the rest was written.",
                last("mask.int().argmax(1)")),
        mistake("score replaces the KL", "The last token gets the score INSTEAD of its KL price; it should get both.",
                edit("+=", "=")),
        mistake("whole KL at the end", "The KL of the whole answer is charged at the last token; each token should pay its own.",
                priced("torch.zeros_like(logp)"), score(f"(score - beta * {ALL_KL}[:, 0]).detach()"),
                why="The sum is the same, but the critic then has to find out which token was the expensive one."),
        mistake("score times beta", "beta multiplies the score; it is the price of the KL alone.",
                score("beta * score.detach()"), also=((score("beta * score.detach()"), edit("-beta", "-1.0")),)),
        mistake("score per token", "The score is divided by the answer's length; it is paid whole, at the last token.",
                score("score.detach() / mask.sum(1)"), also=(edit(PAID, f"rew += torch.where(mask, score.detach()[:, None] / {LENGTH}, 0.0)"),)),
        mistake("no score", "The score is nowhere: only the price of leaving the reference is left.", edit(PAID, "")),
        mistake("rewards with gradient", "A gradient flows through the rewards: they are constants, what was paid was paid.",
                *ALIVE, why="The KL would enter twice, once as a reward and once as a loss.",
                also=(ALIVE[1], ALIVE[0], (ALIVE[0], gap("logp - logp_ref.detach()")))),
    ],
    read="lesson 7, “The reward, token by token”; Ziegler et al. 2019, eq. 2",
)
