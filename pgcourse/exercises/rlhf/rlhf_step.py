"""One step of RLHF: sample, score, shape the rewards, lesson 5's update."""

import torch

from pgcourse.checks.compare import close
from pgcourse.checks.core import Case, Exercise
from pgcourse.checks.edits import edit, symptom
from pgcourse.checks.make_inputs import integers, normal
from pgcourse.exercises.rlhf.step_mistakes import (
    ADV,
    CALLS,
    FROZEN,
    KL,
    LENGTH,
    LOGP,
    MISTAKES,
    SAMPLE,
    VALUES,
    ret,
    then,
)
from pgcourse.rlhf import rlhf_step

LARGE, BELOW = 10, 31  # seeds: large of both signs, a kl and a score below zero
BATCH, REPORT = "the rollout of a batch", "the report"


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


def fixed(seed):
    """The same numbers whatever the seed of a run: these have what luck would have to bring."""
    return torch.Generator().manual_seed(seed)


def large(args):
    """Logits, values and scores in the hundreds: no clamp that somebody put in leaves them alone."""
    more = {name: (args[name][0], 300 * args[name][1]) for name in ("actor", "reference", "critic")}
    return args | more | dict(worth=300 * args["worth"])


def first_off(key):
    """Recognizes the first tensor of the rollout that is off, in the order in which they are made."""

    def sign(at):
        out, right = at[BATCH]["out"], at.right(BATCH)["out"]
        if not isinstance(out, dict):
            return False
        return next((k for k in ROLLOUT if not close(out.get(k), right[k])), None) == key

    return sign


def reported(key):
    """Recognizes a number of the report that is off where the rollout is right."""

    def sign(at):
        out, right = at[REPORT]["out"], at.right(REPORT)["out"]
        return "the rollout" not in at.wrong_parts and not close(out.get(key), right[key])

    return sign


ROLLOUT = {  # what it is, and an example of a mistake in it
    "act": ("the answers are others: look at `generate` and at how as_rollout gets the tokens",
            then(SAMPLE, "tokens = tokens.flip(0)")),
    "obs": ("the actions are right, the tokens seen before them are not", then(SAMPLE, "tokens[:, 0] = 2")),
    "mask": ("the answers are right, the mask is not: it belongs on the answers' own tokens, and nowhere else",
             edit("mask=mask", "mask=mask & (tokens % 2 == 0)")),
    "logp": ("answers and mask are right, `logp` is not: the policy's log-probability of each token",
             edit(LOGP, f"{LOGP} ** 3")),
    "val": ("up to logp all is right, `val` is not: the critic's values before each token",
            edit(VALUES, f"{VALUES} ** 3")),
    "adv": ("up to val all is right, `adv` is not: look at score, logp_ref, rewards and `rlhf_advantages`",
            edit(ADV, f"{ADV} ** 3")),
    "ret": ("all is right but `ret`, the critic's target: it is adv + val", ret("adv + val ** 3")),
}  # fmt: skip
NUMBERS = {
    "score": ("the mean score of the answers", edit("score.mean()", "(score**3).mean()")),
    "kl": ("the summed logp - logp_ref of an answer's tokens, averaged over answers", edit(KL, f"{KL} ** 3")),
    "length": ("the mean number of the answers' own tokens", edit(LENGTH, f"{LENGTH} ** 3")),
}  # fmt: skip

# fmt: off
EXERCISE = Exercise(
    reference=rlhf_step,
    driver="one_rlhf_step",
    parts={"the rollout": 3, "the same PPO": 3, "the report": 1, "clean": 1},
    ladder=True,
    tries=30,
    cases=[
        Case("the rollout of two answers", lambda g: one_step(g, "rollout", 2), "the rollout"),
        Case(BATCH, lambda g: one_step(g, "rollout", 8), "the rollout"),
        Case("the rollout without a KL price", lambda g: one_step(g, "rollout", 4, beta=0.0, gamma=1.0), "the rollout"),
        Case(CALLS, lambda g: one_step(g, "calls"), "the same PPO"),
        Case("the policy after PPO", lambda g: one_step(g, "weights", 8, steps=2), "the same PPO"),
        Case(FROZEN, lambda g: one_step(g, "frozen"), "the same PPO"),
        Case(REPORT, lambda g: one_step(g, "log"), "the report"),
        Case("the rollout of large numbers", lambda g: large(one_step(fixed(LARGE), "rollout", 8)), "the rollout"),
        Case("the report of large numbers", lambda g: large(one_step(fixed(LARGE), "log", 8)), "the report"),
        Case("a report below zero", lambda g: one_step(fixed(BELOW), "log", 3), "the report"),
    ],
    mistakes=[
        *MISTAKES,
        *(symptom(f"{key} of the rollout", f"In the rollout {says}.", wrong, first_off(key)) for key, (says, wrong) in ROLLOUT.items()),
        *(symptom(f"{key} reported otherwise", f"The rollout is right; in the report, {key} is another number than {says}.",
                  wrong, reported(key)) for key, (says, wrong) in NUMBERS.items()),
    ],
    read="lesson 7, “One step of RLHF”; Ouyang et al. 2022, section 3.5",
)
