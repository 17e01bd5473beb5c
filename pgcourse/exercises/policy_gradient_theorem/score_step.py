"""One step of REINFORCE by hand."""

import torch

from pgcourse.checks.core import Case, Exercise
from pgcourse.checks.edits import edit, mistake, telltale
from pgcourse.checks.make_inputs import normal
from pgcourse.estimators import score_step
from pgcourse.exercises.policy_gradient_theorem.scores import (
    HOT,
    RANDOM_SEARCH,
    RANDOM_WHY,
    score_mistakes,
)

SCORE = "grad_log_softmax(theta, action)"
STEP = f"lr * ret * {SCORE}"


def step(new):
    return edit(STEP, new)


def weight(new):
    return edit("lr * ret *", f"{new} *")


def result(new):
    return edit(f"theta + {STEP}", new)


def hand_step(theta, action, ret, lr):
    return lambda g: dict(theta=torch.tensor(theta), action=action, ret=ret, lr=lr)


# fmt: off
EXERCISE = Exercise(
    reference=score_step,
    parts={"the worked example": 2, "any return": 1, "clean": 1},
    cases=[
        Case("the worked example", hand_step([0.0, 0.0], 0, 2.0, 0.1), "the worked example"),
        Case("three actions", hand_step([0.5, -0.5, 1.0], 1, 3.0, 0.2), "the worked example"),
        Case("four actions", lambda g: dict(theta=normal(g, 4), action=2, ret=2.5, lr=0.15),
             "the worked example"),
        Case("a negative return", hand_step([0.0, 1.0], 1, -2.0, 0.1), "any return"),
        Case("no return", hand_step([0.3, 0.1], 0, 0.0, 0.1), "any return"),
        Case("a return of -3000", hand_step([200.0, 199.0, 0.0], 1, -3000.0, 0.5), "any return"),
        Case("a return of 60, learned slowly", hand_step([0.1, -0.2], 1, 60.0, 0.01), "any return"),
        Case("random numbers",
             lambda g: dict(theta=normal(g, 6, dtype=torch.float64), action=4, ret=float(normal(g, 1)), lr=0.3),
             "any return"),
        Case("an action whose probability rounds to 0",
             lambda g: dict(theta=torch.tensor([200.0, 199.0, 0.0]), action=2, ret=1.5, lr=0.1),
             "any return"),
    ],
    mistakes=[
        mistake("descends", "It steps down the gradient: minus where a plus belongs.", result(f"theta - {STEP}")),
        mistake("return ignored",
                "The return is not in the step: every action taken becomes more probable, good or bad.", weight("lr")),
        *score_mistakes("grad_log_softmax",
                        "Only the taken action's preference moves; the others must move by -lr * ret * pi_i."),
        mistake("step without theta", "It returns the step alone, not the new theta.", result(STEP)),
        mistake("sign of the return only", "It uses only the sign of the return, not its size.",
                weight("lr * (1.0 if ret > 0 else -1.0)"), also=(weight("lr * ((ret > 0) - (ret < 0))"),)),
        mistake("return clipped", "The return is cut off at {limit:.3g}, up or down: its size counts, whatever it is.",
                weight("lr * max(-{limit=1}, min({limit=1}, ret))")),
        mistake("absolute return",
                "It uses the size of the return without its sign: bad actions are reinforced too.", weight("lr * abs(ret)")),
        mistake("no learning rate", "The learning rate does not scale the step.", weight("ret")),
        mistake("fixed learning rate", "The learning rate is {rate:.3g}, whatever lr is.", weight("{rate=0.1} * ret")),
        mistake("step on probabilities", "It adds the step to the probabilities, not to the preferences theta.",
                result(f"torch.softmax(theta, -1) + {STEP}")),
        mistake("good returns only",
                "Negative returns change nothing: what was punished must become less probable.", weight("lr * max(ret, 0.0)")),
        mistake("return squared", "It multiplies by the return twice: its sign is lost.", weight("lr * ret * ret")),
        mistake("step times a number", "The step is {c:.3g} times as long as it should be.",
                edit(STEP, f"{{c=2}} * {STEP}")),
        mistake("learning rate squared", "The learning rate counts twice.", weight("lr * lr * ret")),
        mistake("return plus rate", "It adds the return and the learning rate; they are multiplied.", weight("(lr + ret)")),
        mistake("divided by the rate", "It divides by the learning rate.", weight("ret / lr")),
        mistake("probabilities returned", "It returns the new probabilities or their logarithms; the new preferences theta were asked for.",
                result(f"torch.softmax(theta + {STEP}, -1)"), also=(result(f"torch.log_softmax(theta + {STEP}, -1)"),)),
        mistake("preferences as values",
                "It moves theta toward the return, as if preferences were values (Q-learning does that).",
                step(f"lr * (ret - theta[action]) * {HOT}"), also=(weight("lr * (ret - theta[action])"),)),
        mistake("score added to the return", "It adds the return to the score; the return has to multiply it.",
                step(f"lr * (ret + {SCORE})")),
        mistake("centered", "It centers the new theta: besides the step, nothing should move the preferences.",
                result(f"theta + {STEP} - (theta + {STEP}).mean()")),
        mistake("probabilities of the new preferences",
                "The probabilities are taken after the action's preference was raised; they are those of the old theta.",
                step(f"lr * ret * ({HOT} - torch.softmax(theta + lr * ret * {HOT}, -1))")),
        mistake("two steps", "It makes two steps; one was asked for.", edit("return", f"theta = theta + {STEP}\nreturn")),
        mistake("step clipped", "It clips the step at ±{limit:.3g}: a large return must make a large step.",
                step(f"({STEP}).clamp(-{{limit=1.0}}, {{limit=1.0}})")),
        mistake("signs of the step only",
                "Every preference moves by exactly lr (as in Adam's first step): the score's size is lost.",
                step(f"lr * (ret * {SCORE}).sign()")),
        telltale("random search", RANDOM_SEARCH, step("lr * torch.randn_like(theta)"), lambda at: at.random, why=RANDOM_WHY),
    ],
    read="lesson 1, “One step by hand”; Sutton & Barto, equation 13.8",
)
