"""Wrong scores, which several exercises of lesson 1 share: edits of `grad_log_softmax`."""

import re
from dataclasses import replace

import torch

from pgcourse.checks.edits import edit, mistake

RANDOM_SEARCH = (
    "It draws random numbers. To try directions and keep what helps is random search; "
    "the gradient is a definite vector, the same at every call, and needs no luck."
)
RANDOM_WHY = "In P dimensions a random direction is almost perpendicular to the gradient: |cos| is about 1/sqrt(P)."
HOT = "torch.eye(len(theta), dtype=theta.dtype)[action]"


def differences(theta, action, h, central):
    """Finite differences of log pi(action) with the step h."""
    steps = h * torch.eye(len(theta), dtype=theta.dtype)
    up = torch.log_softmax(theta + steps, -1)[:, action]
    down = torch.log_softmax(theta - central * steps, -1)[:, action]
    return (up - down) / (h * (1 + central))


ALONE = "Only the coordinate of the action taken is filled: the others get -pi_i, not 0."


def score_mistakes(of="", alone=ALONE):
    """of: the name of the helper that is the score; "" = the score itself. alone: what "taken action only" says."""

    def pi(new):
        return edit("-softmax(theta)", new, of=of)

    def score(new, use=()):
        return edit("return score", f"return {new}", of=of, use=use)

    def taken(new):
        return edit("score[action] += 1", new, of=of)

    # fmt: off
    return [
        mistake("taken action only", alone, score(f"{HOT} * score")),
        mistake("no expected score",
                "It is the one-hot vector alone: -pi is missing, so the scores do not average to 0.",
                pi("torch.zeros_like(theta)")),
        mistake("taken action missing", "It is -pi for every action: the 1 at the action taken is missing.", taken("")),
        mistake("taken action overwritten",
                "The taken action gets 1; it should get 1 - pi(a): add the 1 to what is there.", taken("score[action] = 1")),
        mistake("one minus pi for all", "Every action gets 1 - pi_i; only the action taken should, the others get -pi_i.",
                taken("score += 1")),
        mistake("scores of all actions", "It adds up the scores of all actions, 1 - A pi_i: only the action taken has one.",
                score("1 - len(theta) * torch.softmax(theta, -1)")),
        mistake("one-hot reversed", "It adds the 1 to the actions that were not taken.",
                taken("score += 1\nscore[action] -= 1")),
        mistake("others raised",
                "The other actions get +pi_i in place of -pi_i: everything becomes more preferred.", score("score.abs()")),
        mistake("others alike", "It pushes all other actions down alike; each goes down by its own probability pi_i.",
                score(f"score[action] * ({HOT} - (1 - {HOT}) / (len(theta) - 1))")),
        mistake("probability of the taken action",
                "It subtracts pi(a) of the action taken everywhere; entry i needs its own pi_i.",
                score(f"{HOT} - 1 + score[action]")),
        mistake("uniform policy", "It subtracts 1/A for every action, right only while all preferences are equal.",
                pi("-torch.full_like(theta, 1 / len(theta))")),
        mistake("logits as probabilities",
                "It subtracts the preferences theta in place of the probabilities softmax(theta).", pi("-theta")),
        mistake("log-probabilities subtracted", "It subtracts log pi in place of pi.", pi("-torch.log_softmax(theta, -1)")),
        mistake("softmax twice", "The preferences pass through softmax twice, as if probabilities were preferences.",
                pi("-torch.softmax(torch.softmax(theta, -1), -1)"),
                also=((pi("-torch.softmax(torch.softmax(theta, -1), -1)"),
                       score("torch.softmax(theta, -1) * (score - (torch.softmax(theta, -1) * score).sum())")),)),
        mistake("gradient of the probability",
                "It is the gradient of pi(a), not of log pi(a): a factor pi(a) too many.",
                score("torch.softmax(theta, -1)[action] * score")),
        mistake("divided by the probability", "It divides by pi(a) although the derivative of log pi already has.",
                score("score / torch.softmax(theta, -1)[action]")),
        mistake("weighted by the probabilities", "Entry i is multiplied by pi_i once more.",
                score("torch.softmax(theta, -1) * score")),
        mistake("most probable action",
                "It is the score of the most probable action, not of the one that was taken.",
                taken("score[theta.argmax()] += 1")),
        mistake("neighboring action", "It is the score of the action next to the one taken: actions count from 0.",
                taken("score[action - 1] += 1"), also=(taken("score[(action + 1) % len(theta)] += 1"),)),
        mistake("length lost", "It scales the score to length 1: the gradient's length is part of it.",
                score("score / score.norm()")),
        mistake("signs only", "It keeps only the signs of the score.", score("score.sign()")),
        mistake("gradient of the entropy",
                "It is the gradient of the policy's entropy: the action taken does not enter.",
                score("-torch.softmax(theta, -1) * (torch.log_softmax(theta, -1) "
                      "- (torch.softmax(theta, -1) * torch.log_softmax(theta, -1)).sum())")),
        mistake("large differences",
                "It takes finite differences with a step of {h:.2g}: near the gradient, but not the gradient.",
                score("differences(theta, action, {h=0.1}, False)", use=(differences,)),
                also=(score("differences(theta, action, {h=0.1}, True)", use=(differences,)),)),
        mistake("overflow", "exp of a large preference is inf: use your stable softmax.",
                pi("-(theta.exp() / theta.exp().sum())")),
    ]


# The same scores as one expression of HOT, PI and THETA ([A], or a row for each sample), for functions that
# have no line of their own for each of their parts.
EXPRESSIONS = {
    "taken action only": ("HOT * (HOT - PI)",),
    "no expected score": ("HOT",),
    "taken action missing": ("-PI",),
    "taken action overwritten": ("HOT - (1 - HOT) * PI",),
    "one minus pi for all": ("1 - PI",),
    "scores of all actions": ("1 - HOT.shape[-1] * PI + 0 * HOT",),
    "one-hot reversed": ("1 - HOT - PI",),
    "others raised": ("(HOT - PI).abs()",),
    "others alike": ("(1 - TAKEN) * (HOT - (1 - HOT) / (HOT.shape[-1] - 1))",),
    "probability of the taken action": ("HOT - TAKEN",),
    "uniform policy": ("HOT - 1 / HOT.shape[-1]",),
    "logits as probabilities": ("HOT - THETA",),
    "log-probabilities subtracted": ("HOT - torch.log_softmax(THETA, -1)",),
    "softmax twice": (
        "HOT - torch.softmax(PI, -1)",
        "PI * (HOT - torch.softmax(PI, -1) - (PI * (HOT - torch.softmax(PI, -1))).sum(-1, keepdim=True))",
    ),
    "gradient of the probability": ("TAKEN * (HOT - PI)",),
    "divided by the probability": ("(HOT - PI) / TAKEN",),
    "weighted by the probabilities": ("PI * (HOT - PI)",),
    "most probable action": ("torch.eye(HOT.shape[-1], dtype=theta.dtype)[THETA.argmax(-1)] - PI",),
    "neighboring action": ("HOT.roll(-1, -1) - PI", "HOT.roll(1, -1) - PI"),
    "length lost": ("(HOT - PI) / (HOT - PI).norm(dim=-1, keepdim=True)",),
    "signs only": ("(HOT - PI).sign()",),
    "gradient of the entropy": (
        "PI * ((PI * torch.log_softmax(THETA, -1)).sum(-1, keepdim=True) - torch.log_softmax(THETA, -1)) + 0 * HOT",
    ),
    "large differences": tuple(
        f"differences(THETA, ACTION, {{h=0.1}}, {central}).movedim(0, -1)"
        for central in (False, True)
    ),
    "overflow": ("HOT - THETA.exp() / THETA.exp().sum(-1, keepdim=True)",),
}


def scores_by(put, **words):
    """The wrong scores of a function that computes them in its own way.

    put   : expression, functions that it calls -> the edits that make it the score
    words : texts for HOT (one-hot of the action), PI, THETA, ACTION
    """

    def version(expression):
        text = expression.replace("TAKEN", "(HOT * PI).sum(-1, keepdim=True)")
        for word, means in words.items():
            text = re.sub(rf"\b{word}\b", means, text)
        return put(text, (differences,) if "differences" in text else ())

    return [
        replace(m, versions=tuple((version(x),) for x in EXPRESSIONS[m.name]))
        for m in score_mistakes()
    ]
