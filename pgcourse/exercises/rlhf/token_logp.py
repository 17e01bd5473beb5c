"""Log-probability of each token given the tokens before it."""

import torch

from pgcourse.checks.core import Case, Exercise
from pgcourse.checks.edits import edit, mistake
from pgcourse.distributions import token_logp
from pgcourse.exercises.rlhf.inputs import F64, one_longer, text_logits

SEEN, TAKEN, PADDED = "logits[:, :-1]", "tokens[:, 1:]", "F.pad(taken, (1, 0))"
TABLE = f"F.log_softmax({SEEN}, dim=-1)"
GUARD = "same_shape(logits_without_last_axis=logits[..., 0], tokens=tokens)"


def table(new):
    """Another table of log-probabilities."""
    return edit(TABLE, new)


def result(new):
    return edit(PADDED, new)


def scored(logits, tokens):
    """These logits score these tokens."""
    return edit(SEEN, logits), edit(TAKEN, tokens)


def over(*axes):
    """A softmax over these axes, before or after the last logits are left out."""
    return (
        table(f"(logits - logits.logsumexp({axes}, keepdim=True))[:, :-1]"),
        table(f"{SEEN} - {SEEN}.logsumexp({axes}, keepdim=True)"),
    )


UNSHIFTED = (*scored("logits", "tokens"), result("taken"))

# fmt: off
EXERCISE = Exercise(
    reference=token_logp,
    parts={"values": 2, "extreme logits": 1, "shapes": 1, "clean": 1},
    cases=[
        Case("one short text", lambda g: text_logits(g, 1, 3, 2), "values", ("logits",)),
        Case("a batch", lambda g: text_logits(g, 3, 5, 7), "values", ("logits",)),
        Case("float64", lambda g: text_logits(g, 2, 4, 5, dtype=F64), "values", ("logits",)),
        Case("extreme logits", lambda g: text_logits(g, 2, 6, 4, scale=150.0), "extreme logits"),
        Case("one token more than logits", lambda g: one_longer(text_logits(g, 2, 4, 5), "tokens"), "shapes", raises=True),
        Case("one text and the logits of three",
             lambda g: text_logits(g, 3, 4, 5) | dict(tokens=text_logits(g, 1, 4, 5)["tokens"]), "shapes", raises=True),
        Case("a token of e^-2000",
             lambda g: dict(logits=torch.tensor([[[2000.0, 0.0], [0.0, 300.0], [1.0, 2.0]]]), tokens=torch.tensor([[0, 1, 0]])),
             "extreme logits"),
    ],
    mistakes=[
        mistake("no guard", "It cuts logits and tokens to fit each other in silence; check the shapes first.",
                edit(GUARD, ""), edit(TAKEN, "tokens[:, 1 : logits.shape[1]]"), also=(edit(GUARD, ""),)),
        mistake("no shift", "Each token is scored with the logits computed AFTER reading it: the model knows the answer.",
                *UNSHIFTED, why="logits[:, t] predict token t + 1, so token t needs logits[:, t - 1].",
                also=((*scored("logits[:, 1:]", TAKEN),), (*UNSHIFTED[1:], table("logits")))),
        mistake("shifted the other way",
                "Token t is scored with the logits at t + 1, from after it and its successor were read.",
                *scored("logits[:, 1:]", "tokens[:, :-1]"), result("F.pad(taken, (0, 1))"),
                also=((*scored("logits[:, 1:]", "tokens[:, :-1]"),), (edit(SEEN, "logits.roll(-1, dims=1)[:, 1:]"),))),
        mistake("shifted twice", "Token t is scored with the logits at t - 2; those at t - 1 have read one token more.",
                *scored("logits[:, :-2]", "tokens[:, 2:]"), result("F.pad(taken, (2, 0))")),
        mistake("first token from the last logits",
                "The shift wraps round: the first token is scored with the text's last logits; its entry is 0.",
                *scored("logits.roll(1, dims=1)", "tokens"), result("taken"), why="torch.roll brings the last column to the front."),
        mistake("logits of another text",
                "The shift is along axis 0, the batch: each text is scored with its neighbor's logits.",
                edit(SEEN, "logits.roll(1, dims=0)[:, 1:]"), also=(edit(SEEN, f"{SEEN}.roll(1, dims=0)"),)),
        mistake("zero at the wrong end", "The values stand one place too early: the 0 belongs to the first token.",
                result("F.pad(taken, (0, 1))"),
                why="Masks and rewards line up with the tokens; everything would be off by one from here on."),
        mistake("one column short", "The first token's 0 is missing: the result should line up with `tokens`, [B, T].",
                result("taken")),
        mistake("raw logits", "It gathers logits as they are: without log_softmax they are no log-probabilities.", table(SEEN)),
        mistake("largest logit subtracted", "It subtracts the largest logit; of a log-probability it is the logsumexp of all.",
                table(f"{SEEN} - {SEEN}.amax(-1, keepdim=True)")),
        mistake("probability", "It returns probabilities; their logarithm is wanted.", table(f"{SEEN}.softmax(-1)")),
        mistake("normalized over time", "The softmax runs along the text; the probabilities of the VOCABULARY should sum to 1.",
                over(1)[0], also=(over(1)[1],)),
        mistake("one softmax for the text",
                "One softmax spans all places of a text; each place needs its own, over the vocabulary alone.",
                over(1, 2)[1], also=(over(1, 2)[0],)),
        mistake("normalized over the batch",
                "All texts share one softmax; each text and place needs its own, over the vocabulary alone.",
                over(0, 1, 2)[0], also=(over(0, 1, 2)[1], over(0)[0], over(0, 2)[0])),
        mistake("another place's normalizer",
                "The logit is from t - 1, but the logarithm of the sum of exponentials is from t: take both from t - 1.",
                table(f"{SEEN} - logits[:, 1:].logsumexp(-1, keepdim=True)")),
        mistake("softmax twice", "It applies log_softmax to probabilities: the model's logits went through a softmax twice.",
                edit(SEEN, f"{SEEN}.softmax(-1)"), also=(table(f"{TABLE}.softmax(-1).softmax(-1).log()"),)),
        mistake("another temperature",
                "The logits are divided by {T:.3g} first; score with the temperature that sampled, here 1.",
                edit(SEEN, f"{SEEN} / {{T=0.7}}"),
                why="What was sampled at one temperature is then scored as another policy's; PPO's ratio cannot show it."),
        mistake("most likely token", "It scores the most likely token at each place, not the one that was sampled.",
                edit(TAKEN, f"{SEEN}.argmax(-1)"), also=((*scored("logits", "logits.argmax(-1)"), result("taken")),)),
        mistake("first text's tokens", "Every text is scored on the tokens of the first one.",
                edit(TAKEN, "tokens[:1, 1:].expand(len(tokens), -1)")),
        mistake("log of a softmax", "log(softmax(x)) is -inf for an improbable token: use log_softmax.",
                table(f"{SEEN}.softmax(-1).log()"), why="One -inf turns the whole loss into nan.",
                also=(table(f"({SEEN}.exp() / {SEEN}.exp().sum(-1, keepdim=True)).log()"),)),
        mistake("flattened at the bottom",
                "Below {eps:.1g} all probabilities count the same: an epsilon or a clamp stands where log_softmax is needed.",
                table(f"({SEEN}.softmax(-1) + {{eps=1e-8}}).log()"), why="An improbable token is the one that PPO must price rightly.",
                also=(table(f"{SEEN}.softmax(-1).clamp(min={{eps=1e-8}}).log()"),)),
        mistake("log-probabilities cut off",
                "It cuts the log-probabilities off at {least:.3g}: below that all tokens are equal.",
                result(f"{PADDED}.clamp(min={{least=-50}})"), why="An improbable token is the one that PPO must price rightly."),
        mistake("logits cut off", "It cuts the logits off at ±{limit:.3g}: what is beyond them is equal.",
                edit(SEEN, f"{SEEN}.clamp(-{{limit=50}}, {{limit=50}})"),
                why="An improbable token is the one that PPO must price rightly."),
        mistake("sign", "It is the cross-entropy, minus the log-probability: log-probabilities are negative.", result(f"-{PADDED}")),
        mistake("summed over the text", "It returns one number per text; PPO needs one per token, [B, T].", result("taken.sum(1)")),
        mistake("running sum", "It adds up along the text; each entry should be one token's own log-probability.",
                result(f"{PADDED}.cumsum(1)")),
        mistake("first token scored", "Nothing predicts the first token: its entry is 0.",
                result("torch.cat([categorical_logp(logits[:, :1], tokens[:, :1]), taken], 1)"),
                also=(result("F.pad(taken, (1, 0), value=-math.inf)"),
                      result("F.pad(taken, (1, 0), value=-math.log(logits.shape[-1]))"))),
        mistake("first entry not 0", "The first entry is {first:.3g}; nothing predicts the first token: it is 0.",
                result("F.pad(taken, (1, 0), value={first=1})")),
        mistake("padding zeroed", "Where the token is number 0 it returns 0; which tokens count is the mask's business, later.",
                result(f"torch.where(tokens == 0, 0.0, {PADDED})")),
        mistake("normalizer without gradient",
                "No gradient passes through the softmax's denominator: the other words' logits learn nothing.",
                table(f"{SEEN} - {SEEN}.logsumexp(-1, keepdim=True).detach()")),
    ],
    read="lesson 7, “Which logits predict which token?”",
)
