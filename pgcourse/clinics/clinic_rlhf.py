"""The bug clinic of lesson 7: RLHF with one planted bug, and what its gauges show.

    python -m pgcourse.clinics.clinic_rlhf       trains every patient and writes pgcourse/data/clinic_rlhf.npz

A patient is three real runs of `pgcourse.rlhf.train` in which one piece was swapped for a wrong one. The
learner sees the gauges of `load()` beside a healthy run's, says which bug it is, and treats the patient
with `rerun`. Every gauge is read off the answers that the run itself has drawn, as a training log does it.
"""

import copy
from collections.abc import Callable, Iterable
from functools import partial
from types import FunctionType
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from matplotlib.figure import Figure
from torch import Tensor, nn

from pgcourse import rlhf
from pgcourse.estimators import kl_shaped_rewards
from pgcourse.fingerprint import DATA, note
from pgcourse.language.grammar import decode
from pgcourse.language.pretraining import load_language_model
from pgcourse.language.reward_model import RewardModel, load_reward_model
from pgcourse.language.transformer import generate
from pgcourse.language.votes import judge_texts
from pgcourse.losses import ppo_clip_loss
from pgcourse.optim import Optimizer
from pgcourse.ppo import ppo_update
from pgcourse.tensors import masked_mean

FILE = DATA / "clinic_rlhf.npz"
SEEDS = 3
HEALTHY = "healthy"
GAUGES = {
    "score": "score",
    "gold": "gold",
    "kl": "KL to reference",
    "length": "length",
    "distinct": "distinct",
    "gap": "sampler gap",
    "first_ratio_error": "first ratio error",
}
AXES = {  # gauge: (scale, lower and upper limit)
    "score": ("linear", (-1.5, 7)),
    "gold": ("linear", (-1.05, 1.05)),
    "kl": ("symlog", (-1, 300)),
    "length": ("linear", (6, 21.5)),
    "distinct": ("linear", (0.4, 1.03)),
    "gap": ("log", (1e-7, 3)),
    "first_ratio_error": ("log", (1e-7, 30)),
}
SETTINGS = {"iterations": 20, "conversations": 64}  # half of the lesson's, and steady enough


# --- the bugs: each a piece of `rlhf.train` that is wrong ---


def draw_cooler(*given: Any, **settings: Any) -> tuple[Tensor, ...]:
    return generate(*given, **settings, temperature=0.7)


def draw_with_a_forced_end(
    model: nn.Module,
    prompts: Tensor,
    max_new: int,
    end: int,
    generator: torch.Generator,
    with_logp: bool,
) -> tuple[Tensor, ...]:
    """After 8 tokens an answer is over: the sampler writes an end token, which nobody drew."""
    tokens, mask, drawn = generate(model, prompts, 8, end, generator, with_logp=with_logp)
    going_on = mask[:, -1] & (tokens[:, -1] != end)
    tokens[going_on, -1] = end
    drawn[going_on, -1] = 0.0  # as sure as can be
    return tokens, mask, drawn


def rewards_on_the_last_column(
    score: Tensor, logp: Tensor, logp_ref: Tensor, mask: Tensor, beta: float
) -> Tensor:
    rew = kl_shaped_rewards(torch.zeros_like(score), logp, logp_ref, mask, beta)
    rew[:, -1] += score
    return rew


def rewards_for_leaving(
    score: Tensor, logp: Tensor, logp_ref: Tensor, mask: Tensor, beta: float
) -> Tensor:
    return kl_shaped_rewards(score, logp_ref, logp, mask, beta)


def rewards_without_a_price(
    score: Tensor, logp: Tensor, logp_ref: Tensor, mask: Tensor, beta: float
) -> Tensor:
    return kl_shaped_rewards(score, logp, logp_ref, mask, 0.0)


def loss_with_k1(
    logp: Tensor, logp_old: Tensor, adv: Tensor, clip: float, mask: Tensor | None = None
) -> Tensor:
    """beta times the mean of logp - logp_ref on top; logp_ref is a constant, and left out: no gradient sees it."""
    return ppo_clip_loss(logp, logp_old, adv, clip, mask) + rlhf.Config.beta * masked_mean(
        logp, mask
    )


def step_from_itself(
    step: Callable, policy: rlhf.LanguagePolicy, reference: nn.Module, *rest: Any
) -> dict[str, Any]:
    return step(policy, policy.actor, *rest)


def step_with_dropout(step: Callable, policy: rlhf.LanguagePolicy, *rest: Any) -> dict[str, Any]:
    norm = policy.actor.body.norm
    left_on = norm.register_forward_hook(lambda module, given, out: F.dropout(out, 0.1))
    log = step(policy, *rest)
    left_on.remove()
    return log


def votes_read_backwards(reward_model: RewardModel) -> RewardModel:
    """What a reward model that took the rejected answers for the chosen ones would have learned."""
    wrong = copy.deepcopy(reward_model)
    for x in (*wrong.net.head.parameters(), wrong.mean):
        x.data.neg_()
    return wrong


BUGS = {
    "sampler's temperature": {"generate": draw_cooler},
    "forced end": {"generate": draw_with_a_forced_end},
    "score on padding": {"kl_shaped_rewards": rewards_on_the_last_column},
    "KL sign": {"kl_shaped_rewards": rewards_for_leaving},
    "k1 in the loss": {"kl_shaped_rewards": rewards_without_a_price, "loss": loss_with_k1},
    "reference is the policy": {"step": step_from_itself},
    "dropout left on": {"step": step_with_dropout},
    "votes backwards": {"reward_model": votes_read_backwards},
}
PATIENTS = {
    "A": "score on padding",
    "B": "reference is the policy",
    "C": "dropout left on",
    "D": "votes backwards",
    "E": "KL sign",
    "F": "sampler's temperature",
    "G": "k1 in the loss",
    "H": "forced end",
}


# --- their gauges ---


def rewired(function: Callable, **names: Callable) -> Callable:
    """A function as it is, in which some names stand for other functions than they did."""
    if unknown := set(names) - set(function.__code__.co_names):
        raise ValueError(f"{function.__name__} does not use {', '.join(sorted(unknown))}.")
    space = {**function.__globals__, **names}
    return FunctionType(function.__code__, space, function.__name__, function.__defaults__)


def examine(
    pieces: dict[str, Callable], seed: int = 0, progress: bool = False, **settings: Any
) -> dict[str, np.ndarray]:
    """Train with some pieces of RLHF replaced; the run's gauges, one number an iteration.

    pieces  : "generate", "kl_shaped_rewards" and "loss" take the place of what `rlhf_step` uses;
              "step" is called as step(rlhf_step, policy, reference, …); "reward_model" turns the
              shipped reward model into another
    returns : {name of a gauge: float array}; score, kl, length and first_ratio_error as the run itself
              reports them; gap, the mean |logp drawn - logp scored| of a token (nats)
    """
    torch.manual_seed(seed)  # for dropout; all else draws from the config's generator
    rows, seen = [], {}
    draw = pieces.get("generate", generate)

    def drawing(*given: Any) -> tuple[Tensor, Tensor]:
        seen["tokens"], seen["mask"], seen["drawn"] = draw(*given, with_logp=True)
        return seen["tokens"], seen["mask"]

    def updating(
        policy: rlhf.LanguagePolicy, optimizer: Optimizer, rollout: dict[str, Tensor], *rest: Any, **named: Any
    ) -> dict[str, float]:  # fmt: skip
        seen["scored"] = rollout["logp"].T
        return ppo_update(policy, optimizer, rollout, *rest, **named)

    kept = {k: f for k, f in pieces.items() if k == "kl_shaped_rewards"}
    whole = rewired(rlhf.rlhf_step, generate=drawing, **kept)
    inner = partial(pieces["step"], whole) if "step" in pieces else whole

    def step(*given: Any) -> dict[str, Any]:
        log = inner(*given)
        tokens, mask, answer = seen["tokens"], seen["mask"], seen["mask"][:, 1:]
        rows.append(
            {
                "score": log["score"],
                "gold": judge_texts(tokens, mask)["gold"].mean().item(),
                "kl": log["kl"],
                "length": log["length"],
                "distinct": len(set(decode(tokens, mask))) / len(tokens),
                "gap": (seen["drawn"][:, 1:] - seen["scored"])[answer].abs().mean().item(),
                "first_ratio_error": log["update"]["first_ratio_error"],
            }
        )
        return log

    reward_model = pieces.get("reward_model", lambda model: model)(load_reward_model())
    config = rlhf.Config(**{**SETTINGS, **settings}, seed=seed)
    last, loss = (config.iterations,), pieces.get("loss", ppo_clip_loss)
    language_model = load_language_model().requires_grad_(False)
    rlhf.train(language_model, reward_model, config, step, updating, loss, last, progress)
    return {key: np.array([row[key] for row in rows], np.float32) for key in GAUGES}


def rerun(patient: str, iterations: int = 20, **treatment: Callable) -> dict[str, np.ndarray]:
    """Train a patient again, its bug still in, with the pieces of the treatment in their place."""
    return examine(BUGS[PATIENTS[patient]] | treatment, progress=True, iterations=iterations)


def late(runs: Iterable[dict[str, np.ndarray]]) -> dict[str, float]:
    """The mean of each gauge over the last five iterations of all runs, {name: float}."""
    return {key: float(np.mean([run[key][-5:] for run in runs])) for key in GAUGES}


def load() -> dict[str, list[dict[str, np.ndarray]]]:
    """The gauges of the healthy run and of all patients, {"healthy" or letter: a dict for each seed}."""
    found = {}
    with np.load(FILE) as data:
        for key in data.files:
            who, gauge = key.split("/")
            for seed, curve in enumerate(data[key]):
                found.setdefault(who, [{} for _ in data[key]])[seed][gauge] = curve
    return found


def show(patients: dict[str, list[dict]], healthy: list[dict]) -> Figure:
    """A figure with one row for each entry of `patients`, one column a gauge; gray: the healthy runs."""
    import matplotlib.pyplot as plt

    size = (10.5, 0.6 + 1.15 * len(patients))
    fig, axes = plt.subplots(len(patients), len(GAUGES), figsize=size, sharex=True, squeeze=False)
    for i, (row, (label, runs)) in enumerate(zip(axes, patients.items(), strict=True)):
        row[0].set_ylabel(label, fontsize=9 if len(label) > 2 else 14)
        for ax, (gauge, (scale, limits)) in zip(row, AXES.items(), strict=True):
            for these, style in ((healthy, dict(color="0.6", lw=1)), (runs, dict(lw=1.3))):
                for run in these:
                    x = np.arange(1, len(run[gauge]) + 1)
                    ax.plot(x, np.clip(run[gauge], *limits), **style)
            ax.set_yscale(scale, **({"linthresh": 1} if scale == "symlog" else {}))
            ax.set_ylim(*limits)
            ax.tick_params(labelsize=7)
            if i == 0:
                ax.set_title(GAUGES[gauge], fontsize=9)
    for ax in axes[-1]:
        ax.set_xlabel("iteration", fontsize=8)
    return fig


def make(patients: Iterable[str] = PATIENTS) -> None:
    """Train the healthy run and the patients, and keep their gauges."""
    bugs = {HEALTHY: {}} | {p: BUGS[PATIENTS[p]] for p in patients}
    kept = {}
    for who, pieces in bugs.items():
        runs = [examine(pieces, seed) for seed in range(SEEDS)]
        kept |= {f"{who}/{gauge}": np.stack([run[gauge] for run in runs]) for gauge in GAUGES}
    FILE.parent.mkdir(exist_ok=True)
    np.savez_compressed(FILE, **kept)
    note(FILE.name, "python -m pgcourse.clinics.clinic_rlhf", "pgcourse.clinics.clinic_rlhf.make")


if __name__ == "__main__":
    make()
