"""Several epochs on one rollout: the update."""

import math

from pgcourse.checks.compare import close
from pgcourse.checks.core import Case, Exercise
from pgcourse.checks.edits import edit, mistake, symptom, telltale
from pgcourse.checks.make_inputs import masks
from pgcourse.exercises.ppo.rollouts import (
    agent,
    better_actions_more_often,
    fallen_far,
    just_beyond_the_limit,
    large,
    moved_both_ways,
    padding_far_away,
    slowly_drifting,
    third_column_far_away,
)
from pgcourse.exercises.ppo.update_mistakes import (
    HALF,
    MISTAKES,
    NO_SHORTCUT,
    UNBIASED,
    adv,
    at_first,
    total,
)
from pgcourse.ppo import ppo_update

LOGGED = {
    "policy_loss": "the mean of what `loss` returned",
    "value_loss": "the mean of clipped_value_loss",
    "entropy": "the mean of ent over the steps that count",
    "kl": "the mean of approx_kl(logp, logp_old, mask)",
    "clip_fraction": "the share of the steps with |rho - 1| > clip",
    "first_ratio_error": "the largest |rho - 1| of the first minibatch",
}
EARLIER = ("one step", "epochs on frozen data", "minibatches", "masks")
WEIGHTED = "pi_loss + config.value_coef * v_loss - config.entropy_coef * bonus"


def off(at, part, key=None):
    """Whether a part is wrong, or one entry of what was written down in it."""
    for case in at.cases:
        if case.part == part:
            out, right = at[case.name]["out"], at.right(case.name)["out"]
            if not isinstance(out, dict):
                return True
            if not close(
                out if key is None else out.get(key), right if key is None else right[key]
            ):
                return True
    return False


def first_step(at):
    """Whether the actor, and the critic, are off after one step."""
    return [off(at, "one step", f"{net}'s weights") for net in ("actor", "critic")]


def first_off(at, *parts):
    """Whether the last of these parts is wrong and those before it are right."""
    return off(at, parts[-1]) and not any(off(at, part) for part in parts[:-1])


def only_the_log(at):
    return not any(off(at, part) for part in (*EARLIER, "KL limit"))


def logged(key):
    return edit(
        "summarize(log)",
        f'{{**summarize(log), "{key}": 1.1 * summarize(log)["{key}"] + 0.01}}',
        all=True,
    )


# fmt: off
EXERCISE = Exercise(
    reference=ppo_update,
    accept=(HALF, UNBIASED, (HALF, UNBIASED)),
    parts={
        "one step": 2,
        "epochs on frozen data": 2,
        "minibatches": 2,
        "masks": 1,
        "KL limit": 1,
        "log": 1,
        "clean": 1,
    },
    driver="update_policy",
    ladder=True,
    tries=110,
    cases=[
        Case("one step on a fresh rollout", lambda g: agent(g, 2, 2), "one step"),
        Case("one step, more data", lambda g: agent(g, 6, 3, entropy_coef=0.2), "one step"),
        Case("gradients limited to the norm 0.05, values to moves of 0.2",
             lambda g: agent(g, 4, 3, stale=0.3, epochs=2, max_grad_norm=0.05, value_clip=0.2),
             "epochs on frozen data"),
        Case("a rollout from an older policy", lambda g: agent(g, 4, 3, stale=0.3, epochs=3, clip=0.3),
             "epochs on frozen data"),
        Case("four epochs on one rollout", lambda g: agent(g, 5, 3, epochs=4, value_coef=0.8),
             "epochs on frozen data"),
        Case("three columns in two minibatches", lambda g: agent(g, 2, 3, minibatches=2), "minibatches"),
        Case("five columns in two minibatches",
             lambda g: agent(g, 3, 5, epochs=2, minibatches=2, value_coef=0.3), "minibatches"),
        Case("seven columns in four minibatches",
             lambda g: agent(g, 3, 7, stale=0.2, epochs=2, minibatches=4), "minibatches"),
        Case("nine columns in four minibatches", lambda g: agent(g, 2, 9, epochs=1, minibatches=4),
             "minibatches"),
        Case("conversations of different lengths",
             lambda g: agent(g, 6, 4, epochs=2, mask=masks(g, 4, 6).T), "masks"),
        Case("masks and minibatches",
             lambda g: agent(g, 5, 6, epochs=2, minibatches=3, mask=masks(g, 6, 5).T), "masks"),
        Case("a little beyond the KL limit from the start", just_beyond_the_limit, "KL limit"),
        Case("a little within the KL limit", lambda g: just_beyond_the_limit(g, epochs=1, target_kl=0.8),
             "KL limit"),
        Case("one column beyond the KL limit", third_column_far_away, "KL limit"),
        Case("a KL limit reached on the way", slowly_drifting, "KL limit"),
        Case("padding beyond the KL limit", padding_far_away, "KL limit"),
        Case("what it returns after one step", lambda g: agent(g, 2, 2, stale=0.5) | dict(keep="log"),
             "log"),
        Case("what it returns", lambda g: agent(g, 4, 4, epochs=2, minibatches=2) | dict(keep="log"), "log"),
        Case("what it returns after an older policy",
             lambda g: agent(g, 4, 3, stale=0.3, epochs=2) | dict(keep="log"), "log"),
        Case("what it returns for ratios on both sides", moved_both_ways, "log"),
        Case("what it returns for one column far away",
             lambda g: third_column_far_away(g, epochs=1, target_kl=math.inf) | dict(keep="log"), "log"),
        Case("what it returns, with masks",
             lambda g: agent(g, 5, 4, stale=0.1, epochs=2, mask=masks(g, 4, 5).T) | dict(keep="log"), "log"),
        Case("what it returns past the KL limit", lambda g: third_column_far_away(g) | dict(keep="log"),
             "log"),
        Case("values limited to moves of 0.1", lambda g: agent(g, 4, 3, stale=0.3, epochs=2, value_clip=0.1),
             "epochs on frozen data"),
        Case("parameters that hold old gradients", lambda g: agent(g, 3, 3) | dict(left_over=True),
             "epochs on frozen data"),
        Case("a total below zero", better_actions_more_often, "epochs on frozen data"),
        Case("large numbers", lambda g: large(g, value_clip=50.0), "epochs on frozen data"),
        Case("what it returns for large numbers", fallen_far, "log"),
    ],
    mistakes=[
        telltale("actions resampled",
                 "It samples new actions and scores those; the advantages belong to the actions in the rollout.",
                 edit('batch["act"]', 'policy.act(batch["obs"])'),
                 lambda at: any(isinstance(s["out"], dict) and s["out"].get("actions scored") == "others"
                                for s in at.seen.values()),
                 why="Each action would be credited with what another one earned."),
        telltale("generator ignored",
                 "It shuffles with the global random state; the argument generator is there so that a run repeats.",
                 edit("config.minibatches, generator", "config.minibatches"),
                 lambda at: any("random state" in name for s in at.seen.values() for name in s["state"])),
        telltale("optimizer not used",
                 "The weights move, but not by the optimizer that was given: its state and learning rate are lost.",
                 edit("optimizer.step()", "with torch.no_grad():\n    for p in parameters:\n        p -= 3e-4 * p.grad"),
                 lambda at: any(isinstance(s["out"], dict) and s["out"].get("steps taken by") == "another optimizer"
                                for s in at.seen.values())),
        *MISTAKES,
        mistake("old policy moves with each step",
                "After each step the old log-probabilities of its columns are replaced by newer ones; the old policy "
                "is the one that collected the data.",
                at_first('data["logp"] = data["logp"].clone()'), NO_SHORTCUT,
                edit("optimizer.step()", 'optimizer.step()\ndata["logp"][:, columns] = logp.detach()'),
                why="The window moves along with the policy: nothing limits the whole update."),
        mistake("every step on all columns", "Each step uses all columns; it is for those of its minibatch alone.",
                edit("len(columns) == adv.shape[1]", "True")),
        symptom("both steps off",
                "Already one step on fresh data moves actor and critic elsewhere: "
                "look at what both share, the total, its gradient and the optimizer's step.",
                total(f"({WEIGHTED}).sqrt()"), lambda at: all(first_step(at))),
        symptom("the critic's step alone",
                "After one step on fresh data the actor is right and the critic is not: "
                "look at the value loss, its target and its coefficient.",
                total(WEIGHTED.replace("v_loss", "v_loss ** 1.5")), lambda at: first_step(at) == [False, True]),
        symptom("the actor's step alone",
                "After one step on fresh data the critic is right and the actor is not: "
                "look at the policy's loss, its advantages and the entropy.",
                adv('rollout["adv"].tanh()'), lambda at: first_step(at) == [True, False]),
        symptom("right for one step only",
                "One step on fresh data is right; several, or on data of an older policy, are not: "
                "look at what is kept, zeroed and recomputed, at the gradient's limit and at the clips.",
                edit("total.backward()", "(1.3 * total if log[1:] else total).backward()"), lambda at: first_off(at, *EARLIER[:2])),
        symptom("right for one minibatch only",
                "All is right with one minibatch an epoch, and not with several: "
                "look at their number, their columns and their order (one randperm an epoch).",
                edit("config.minibatches, generator)", "config.minibatches, generator)[::-1]"),
                lambda at: first_off(at, *EARLIER[:3])),
        symptom("right without a mask only",
                "All is right without a mask, and not with one: padding counts somewhere.",
                edit("masked_mean(ent, mask)", "masked_mean(ent, mask) + (0 if mask is None else 0.1 * ent.mean())"),
                lambda at: first_off(at, *EARLIER)),
        symptom("stops elsewhere",
                "All is right but for config.target_kl: another number is compared with it, or at another moment.",
                edit("kl > config.target_kl", '(logp - batch["logp"]).abs().max() > 2 * config.target_kl'), lambda at: first_off(at, *EARLIER, "KL limit")),
        symptom("several means are off",
                "The networks are right, several numbers of the log are not: each is a mean over ALL minibatches.",
                edit("summarize(log)", "summarize(log[len(log) // 2 :])", all=True),
                lambda at: only_the_log(at) and sum(off(at, "log", key) for key in LOGGED) > 1),
        *(symptom(f"{key} logged otherwise",
                  f"The networks are right; in the log, {key} is another number than {meaning}.", logged(key),
                  lambda at, key=key: only_the_log(at) and off(at, "log", key))
          for key, meaning in LOGGED.items()),
    ],
    read="lesson 5, “The update”; Schulman et al. 2017, algorithm 1",
)
