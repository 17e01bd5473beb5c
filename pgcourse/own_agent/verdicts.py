"""What a learner's agent became, in words: expected, what came, which mistake does that, what to do."""

from dataclasses import dataclass, replace

import numpy as np

SEEDS = (0, 1, 2)
RANDOM_ON_PURPOSE = "a policy that is random on purpose is not learned"
SECONDS = 120  # for one world, all of its seeds; a few are enough on a quiet machine


@dataclass(frozen=True)
class Finding:
    """What one probe showed: ok, or what was expected, what came, what it points to."""

    probe: str
    ok: bool
    expected: str
    came: str
    symptom: str = ""
    do: str = ""


def verdict(name, m, stage):
    """A Finding for the numbers of one probe (the middle ones of the seeds)."""
    good, expected, came, symptom, do = True, "", "", "", ""
    if name == "reward":
        expected, came = "π(the action that pays) above 0.8", f"{m[0]:.2f}"
        good = m[0] > 0.8
        symptom, do = (
            "learns too little",
            "Does each batch end with a step of the optimizer? Is the learning rate near 0.01?",
        )
        if m[0] < 0.4:
            symptom, do = (
                "it learns away from the reward",
                "A loss is minimized: minus the mean of log π times the return.",
            )
    elif name == "observation":
        expected, came = "π(right action) above 0.8 in both states", f"{m[0]:.2f} and {m[1]:.2f}"
        good = min(m) > 0.8
        symptom, do = (
            "the observation does not reach the action",
            "Is the observation that is stored the one from which the action was drawn, and not the next one?",
        )
    elif name == "delayed":
        expected = "π(the first action, paid for four steps later) above 0.8, from both beginnings"
        came, good = f"{m[0]:.2f} and {m[1]:.2f}", min(m) > 0.8
        symptom, do = (
            "a delayed reward does not reach the action",
            "Each action is weighted by all rewards that follow it, not by its own: sum them from the back.",
        )
    elif name == "discount":
        expected, came = (
            "π(1 now, not 1.5 in four steps) above 0.7, with gamma = 0.5",
            f"{m[0]:.2f}",
        )
        good = m[0] > 0.7
        symptom, do = (
            "gamma is not used",
            "Each step further away multiplies a reward by gamma, the one that train was given.",
        )
    elif name == "separate":
        expected, came = "π(the action that pays in its own episode) above 0.7", f"{m[0]:.2f}"
        good = m[0] > 0.7
        symptom, do = (
            "the rewards of the next episode leak in",
            "Start each episode's sum anew; where an episode is over, nothing of the next belongs to it.",
        )
    elif name == "alike":
        expected, came = (
            "squares that look alike: π(1) between 0.2 and 0.9, and arriving",
            f"{m[0]:.2f}, {m[1]:.0f} arrivals",
        )
        good = 0.2 < m[0] < 0.9 and m[1] > 20
        symptom, do = (
            RANDOM_ON_PURPOSE,
            "Is what is returned the probabilities, and not the best action? Is the learning rate small enough?",
        )
        if m[1] <= 20:
            symptom, do = (
                "the actions are not drawn from the policy",
                "While it learns, an agent draws its actions from π; the most probable one, always, never gets through here.",
            )
    elif name == "worth":
        expected, came = "V = -1 in one state and +1 in the other", f"{m[0]:.2f} and {m[1]:.2f}"
        good = abs(m[0] + 1) < 0.4 and abs(m[1] - 1) < 0.4
        symptom, do = (
            "the values are wrong",
            "Does the critic make steps of its own, on the squared distance to the returns?",
        )
        if abs(m[0] - m[1]) < 0.5:
            symptom, do = (
                "one value for all states",
                "critic(obs) is [B, 1] and the returns are [B]: their difference is [B, B]. squeeze(-1) first.",
            )
    elif name == "shifted":
        expected, came = (
            "with 100 added to every reward: right in 10 or more of 12 contexts",
            f"{m[0]:.0f}; mean value {m[1]:.1f} (exact: about 100.8)",
        )
        good = m[0] >= 10
        symptom, do = (
            "the baseline is not subtracted",
            "The value is known, and the policy does not profit: weight log π by the return minus the (constant) value.",
        )
        if abs(m[1] - 100.8) > 10:
            symptom, do = (
                "the critic has not caught up",
                "Rewards may be large: more steps of the critic for each batch, or a larger learning rate; and normalize the advantages.",
            )
    elif name == "limit":
        expected, came = (
            "V(A) = 0.9 and V(B) = 1 (gamma = 0.9)",
            f"V(A) = {m[0]:.2f}, V(B) = {m[1]:.2f}",
        )
        good = abs(m[0] - 0.9) < 0.2 and abs(m[1] - 1) < 0.3
        symptom, do = (
            "the values are wrong",
            "The target is r + gamma V(next state), with V of the next state as it is now, held constant.",
        )
        if m[1] > 1.5:
            symptom, do = (
                "it bootstraps past the end",
                "Where `terminated` is true nothing follows: the target is the reward alone.",
            )
        elif m[0] < 0.25:
            symptom, do = (
                "a time limit is taken for the end",
                "Where only `truncated` is true the state still has a value: bootstrap from it.",
            )
        elif 0.25 <= m[0] < 0.7 and abs(m[1] - 1) < 0.3:
            symptom, do = (
                "it bootstraps from the reset",
                "Keep the observation that step() returned; reset() gives that of the next episode.",
            )
    else:
        expected = "200 epochs on one rollout leave the actions that do not pay more than 0.04 of their probability"
        came, good = f"{m[0]:.3f} of it", 0.04 < m[0] < 1 - 1e-6
        symptom, do = (
            "the clip does not hold",
            "min(ρA, clamp(ρ, 1 − ε, 1 + ε)A), with the log-probabilities of before the first epoch, as constants.",
        )
        if m[0] >= 1 - 1e-6:
            symptom, do = (
                "it does not learn at all",
                "train(env, steps=2048, …) returned the policy with which it began.",
            )
    return Finding(name, bool(good), expected, came, *(("", "") if good else (symptom, do)))


STAGES = {  # the probes of each lesson; a later one has those before it, too
    2: ["reward", "observation", "delayed", "discount", "separate", "alike"],
    3: ["worth", "shifted"],
    4: ["limit"],
    5: ["clip"],
}


def probes(stage):
    return [name for s, names in STAGES.items() if s <= stage for name in names]


def understood(rows, stage):
    """Findings from what the worker wrote: a row a probe, with its numbers or its error."""
    found = []
    for name in probes(stage):
        row = next((r for r in rows if r.get("probe") == name), None)
        if row is None:
            found.append(
                Finding(
                    name,
                    False,
                    "train returns",
                    "it never returned, or ended the whole process",
                    "it does not come back",
                    "Does the loop count its steps, and stop at `steps`? Is every `over` set anew after reset()?",
                )  # fmt: skip
            )
            break
        if "error" in row:
            found.append(
                Finding(name, False, "no exception", row["error"], row["symptom"], row["do"])
            )
            break
        middle = [float(np.median(column)) for column in zip(*row["numbers"], strict=True)]
        found.append(verdict(name, middle, stage))
    return [after_others(f, found) for f in found]


def after_others(finding, found):
    """This world asks for all that the ones above do: what fails there is not a fault of its own here."""
    failed = [f.probe for f in found[: found.index(finding)] if not f.ok]
    if finding.symptom != RANDOM_ON_PURPOSE or not failed:
        return finding
    do = f"First mend what is said of “{failed[0]}”; this world asks for that, too."
    return replace(finding, symptom="not learned here either", do=do)
