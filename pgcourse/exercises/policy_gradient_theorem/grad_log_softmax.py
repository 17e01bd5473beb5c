"""The score of one action."""

import torch

from pgcourse.checks.compare import close
from pgcourse.checks.core import Case, Exercise
from pgcourse.checks.edits import edit, mistake, symptom, telltale
from pgcourse.checks.make_inputs import integers, normal
from pgcourse.distributions import grad_log_softmax
from pgcourse.exercises.policy_gradient_theorem.scores import (
    HOT,
    RANDOM_SEARCH,
    RANDOM_WHY,
    score_mistakes,
)

DRAWN = "score[torch.multinomial(torch.softmax(theta, -1), 1).item()] += 1"


def at(theta, action):
    return lambda g: dict(theta=torch.tensor(theta), action=action)


def draws_the_action(at):
    """With equal preferences of two actions a score is (1/2, -1/2) or its reverse; a random direction is not."""
    return at.random and torch.allclose(at["equal preferences"]["out"].abs(), torch.tensor(0.5))


def wrong_entries(at):
    """Which entries are wrong in any case; a score is positive at the action taken alone."""
    wrong = set()
    for case in at.cases:
        right, out = at.right(case.name)["out"], at[case.name]["out"]
        for name, entries in (("taken", right > 0), ("others", right <= 0)):
            wrong |= set() if close(out[entries], right[entries]) else {name}
    return wrong


# fmt: off
EXERCISE = Exercise(
    reference=grad_log_softmax,
    parts={"values": 2, "large preferences": 1, "clean": 1},
    cases=[
        Case("equal preferences", at([0.0, 0.0], 0), "values"),
        Case("the rarer action", at([1.0, 0.0], 1), "values"),
        Case("five actions", lambda g: dict(theta=normal(g, 5), action=3), "values"),
        Case("five others", lambda g: dict(theta=normal(g, 5), action=0), "values"),
        Case("float64", lambda g: dict(theta=normal(g, 4, dtype=torch.float64), action=2), "values"),
        Case("large preferences", at([200.0, 199.0, 0.0], 1), "large preferences"),
        Case("preferences near 1000", lambda g: dict(theta=integers(g, 9, 4) + 1000.0, action=2), "large preferences"),
        Case("an action whose probability rounds to 0", at([200.0, 199.0, 0.0], 2), "large preferences"),
    ],
    mistakes=[
        mistake("sign", "It is pi - onehot, the gradient of the cross-entropy LOSS: ascent becomes descent.",
                edit("return score", "return -score"), why="The policy would learn to avoid what pays."),
        *score_mistakes(),
        mistake("value for derivative", "It returns log pi itself, not its derivative.",
                edit("return score", "return torch.log_softmax(theta, -1)")),
        symptom("right for the action taken only",
                "The entry of the action taken is right; the others are not: each is -pi_i.",
                edit("return score", f"return {HOT} * score - (1 - {HOT}) * torch.softmax(theta, -1) ** 2"),
                lambda at: wrong_entries(at) == {"others"}),
        symptom("right for the others only",
                "The entries of the other actions are right; that of the action taken is not: it should be 1 - pi(a).",
                edit("score[action] += 1", "score[action] *= -1"), lambda at: wrong_entries(at) == {"taken"}),
        telltale("action drawn anew",
                 "It draws an action of its own; the score belongs to the action that was taken.",
                 edit("score[action] += 1", DRAWN), draws_the_action),
        telltale("random search", RANDOM_SEARCH,
                 edit("return score", "return torch.randn_like(theta)"), lambda at: at.random, why=RANDOM_WHY),
    ],
    read="lesson 1, “The score”; Sutton & Barto, section 13.1",
)
