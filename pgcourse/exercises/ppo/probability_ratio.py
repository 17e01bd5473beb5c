"""How much more probable the new policy makes an action."""

import torch

from pgcourse.checks.compare import close
from pgcourse.checks.core import Case, Exercise
from pgcourse.checks.edits import edit, mistake, symptom
from pgcourse.checks.make_inputs import normal
from pgcourse.exercises.families import nan_hidden
from pgcourse.exercises.ppo.inputs import (
    BROKEN,
    DIFFERENCE,
    F64,
    RATIO,
    broken,
    far_apart,
    four_steps,
    log_probs,
    ratio_mistakes,
)
from pgcourse.losses import probability_ratio

GUARD = "same_shape(logp=logp, logp_old=logp_old)"
ORDINARY = ("three actions", "time and environments", "float64")


def three_actions(g):
    return dict(
        logp=torch.log(torch.tensor([0.5, 0.2, 0.3])),
        logp_old=torch.log(torch.tensor([0.25, 0.4, 0.3])),
    )


def two_rare_actions(g):
    return dict(logp=torch.tensor([-200.0, -24.0]), logp_old=torch.tensor([-200.5, -23.0]))


def right_to_two_digits(at):
    pairs = [(at[name]["out"], at.right(name)["out"]) for name in ORDINARY]
    near = all(torch.allclose(out.to(right), right, 0.02) for out, right in pairs)
    return near and not all(close(out, right) for out, right in pairs)


# fmt: off
EXERCISE = Exercise(
    reference=probability_ratio,
    parts={"values": 1, "constants": 1, "rare actions": 1, "shapes": 1, "clean": 1},
    cases=[
        Case("three actions", three_actions, "values", ("logp",)),
        Case("time and environments", lambda g: log_probs(g, 5, 4), "values", ("logp",)),
        Case("float64", lambda g: log_probs(g, 6, dtype=F64), "values", ("logp",)),
        Case("a big step",
             lambda g: dict(logp=torch.tensor([-0.1, -4.0]), logp_old=torch.tensor([-3.0, -0.2])),
             "values", ("logp",)),
        Case("a very big step", lambda g: far_apart(g, 4), "values", ("logp",)),
        Case("old log-probs with a graph", lambda g: log_probs(g, 4), "constants", ("logp_old",)),
        Case("very rare actions", two_rare_actions, "rare actions", ("logp",)),
        Case("four very rare actions", lambda g: {k: logp - 200 for k, logp in log_probs(g, 4).items()},
             "rare actions", ("logp",)),
        Case("an enormous step", lambda g: far_apart(g, 4, far=40), "rare actions", ("logp",)),
        Case(BROKEN, lambda g: broken(four_steps, "logp"), "rare actions"),
        Case("logp [3] and logp_old [3, 1]",
             lambda g: dict(logp=-normal(g, 3).abs(), logp_old=-normal(g, 3, 1).abs()), "shapes",
             raises=True),
        Case("log-probabilities of -800, in float64",
             lambda g: dict(logp=torch.tensor([-800.0, -810.0], dtype=F64), logp_old=torch.tensor([-825.0, -810.5], dtype=F64)),
             "rare actions", ("logp",)),
        Case("a ratio of e^-300, in float64",
             lambda g: dict(logp=torch.tensor([-1100.0, -800.0], dtype=F64), logp_old=torch.tensor([-800.0, -800.5], dtype=F64)),
             "rare actions", ("logp",)),
    ],
    mistakes=[
        *ratio_mistakes(),
        mistake(
            "ratio of the whole past",
            "It multiplies the ratios of all steps so far; PPO's ratio is that of one action.",
            edit(DIFFERENCE, f"({DIFFERENCE}).cumsum(0)"),
            also=(
                edit(DIFFERENCE, f"({DIFFERENCE}).cumsum(-1)"),
                edit(DIFFERENCE, f"({DIFFERENCE}).cumsum(-1) if logp.dim() > 1 else {DIFFERENCE}"),
            ),
        ),
        mistake(
            "clipped already",
            "It clamps the ratio to {low:.3g} … {high:.3g}; the clip belongs to the loss, "
            "which needs the unclipped ratio too.",
            edit(RATIO, f"{RATIO}.clamp({{low=0.8}}, {{high=1.2}})"),
        ),
        mistake(
            "detached",
            "No gradient reaches logp: the policy would learn nothing from this ratio.",
            edit(RATIO, "torch.exp(logp - logp_old).detach()"),
        ),
        mistake(
            "ratio limited above",
            "The ratio is cut off at {most:.3g}: an action that became more probable than that has no gradient.",
            edit(RATIO, f"{RATIO}.clamp(max={{most=10}})"),
        ),
        mistake(
            "ratio limited far above",
            "The ratio is cut off at {most:.3g}, by a clamp of it or of its log: an action that became more probable than "
            "that has no gradient.",
            edit(RATIO, f"{RATIO}.clamp(max={{most=1e8}})"),
        ),
        nan_hidden(BROKEN, edit(RATIO, f"{RATIO}.nan_to_num()")),
        symptom(
            "rarer, but not below one",
            "An action that became rarer has a ratio below 1; this is not.",
            edit(DIFFERENCE, f"({DIFFERENCE}).abs() ** 1.1"),
            lambda at: bool(at["a big step"]["out"][1] >= 1),
        ),
        symptom(
            "big changes held back",
            "An action that became some 400,000 times more probable has a smaller ratio than that: "
            "something holds it back.",
            edit(DIFFERENCE, f"12 * torch.tanh(({DIFFERENCE}) / 12)"),
            lambda at: bool((at["a very big step"]["out"][::2] < 3e5).all()),
        ),
        symptom(
            "another gradient",
            "The ratios are right and their gradient into logp is not: it has to be the ratio itself.",
            edit(RATIO, "torch.exp(logp - logp_old).detach() + logp - logp.detach()"),
            lambda at: at.values_right,
        ),
        symptom(
            "right to a few digits only",
            "The ratios are right to about two digits and no more: rounded, or in half precision?",
            edit(RATIO, f"torch.exp(({DIFFERENCE}).half()).float()"),
            right_to_two_digits,
        ),
        mistake(
            "broadcast",
            "[3] against [3, 1] gives a 3 x 3 table: every action compared with every other.",
            edit(GUARD, ""),
        ),
    ],
    read="lesson 5, “How far has the policy moved?”; Schulman et al. 2017, section 3",
)
