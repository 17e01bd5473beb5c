"""Train what the package ships for lesson 7, so that the lesson can begin at once.

    python -m pgcourse.language.rlhf_checkpoints            all of it, in this order; writes pgcourse/data/
    python -m pgcourse.language.rlhf_checkpoints sweep      one of them: language_model, reward_model or sweep

    language_model.pt    reads 120,000 conversations of the grammar
    reward_model.pt      learns from 4,000 votes on pairs of that model's answers, as in the lesson
    rlhf_sweep.json      RLHF with five prices of KL, several seeds each; the lesson draws them behind the
                         learner's own run
    checkpoints.json     what is worth knowing about the models, and the CPU seconds that each took

Nothing here is special: the lesson trains all three kinds for real, only shorter or fewer.
"""

import json
import sys
import time
from collections.abc import Iterable, Mapping
from pathlib import Path

import torch

from pgcourse import fingerprint, rlhf
from pgcourse.language.pretraining import (
    CHECKPOINTS,
    load,
    new_language_model,
    save,
    train_language_model,
)
from pgcourse.language.reward_model import (
    RewardModel,
    ceiling,
    collect_votes,
    scalar_model_from,
    train_reward_model,
)

SEEDS = {0.1: range(5), 0.0: range(5), 0.03: range(3), 0.3: range(3), 1.0: range(3)}  # by beta
LOOKS = (1, 2, 3, 4, 5, 10, 15, 20, 25)  # evaluated after these: gold falls early
CURVES = (
    "iteration", "score", "gold", "valence", "readable", "kl", "length", "distinct", "gap"
)  # fmt: skip
VOTES, CONTRAST = 4_000, 0.25


def note(folder: Path, **facts: float) -> None:
    """Add facts to folder/checkpoints.json (not by its whole name: the models do not depend on it)."""
    path = (folder / "checkpoints").with_suffix(".json")
    known = json.loads(path.read_text(encoding="utf-8")) if path.exists() else {}
    path.write_text(json.dumps(known | facts, indent=1) + "\n", encoding="utf-8")


def make_language_model(
    folder: Path = CHECKPOINTS, conversations: int = 120_000, progress: bool = True
) -> None:
    began = time.process_time()
    model, losses = train_language_model(conversations, progress=progress)
    save(model, "language_model", folder)
    note(
        folder,
        conversations=conversations,
        language_model_loss=sum(losses[-100:]) / len(losses[-100:]),
        language_model_cpu_seconds=time.process_time() - began,
    )


def make_reward_model(
    folder: Path = CHECKPOINTS, votes: int = VOTES, progress: bool = True
) -> None:
    began = time.process_time()
    language_model = load(new_language_model(), "language_model", folder)
    pairs = collect_votes(language_model, votes, seed=1, contrast=CONTRAST)
    held_out = collect_votes(language_model, max(100, votes // 4), seed=2)
    net = scalar_model_from(language_model)
    model, history = train_reward_model(net, pairs, held_out, progress=progress)
    save(model, "reward_model", folder)
    best, agreement = ceiling(held_out)
    note(
        folder,
        votes=votes,
        reward_model_accuracy=history["accuracy"][-1],
        best_judge_of_single_votes=best,
        two_votes_agree=agreement,
        reward_model_cpu_seconds=time.process_time() - began,
    )


def sweep(
    folder: Path = CHECKPOINTS,
    seeds: Mapping[float, Iterable[int]] = SEEDS,
    iterations: int = 25,
    progress: bool = True,
) -> None:
    """RLHF for each beta and seed; rlhf_sweep.json is a list of {beta, seed, one list for each curve, words}.

    words : the three words that most of the KL is paid for at the end, [[word, nats per answer], …]
    """
    began = time.process_time()
    language_model = load(new_language_model(), "language_model", folder).requires_grad_(False)
    net = scalar_model_from(language_model)
    reward_model = load(RewardModel(net), "reward_model", folder).requires_grad_(False)
    runs = []
    for beta, seed in [(b, s) for b, some in seeds.items() for s in some]:
        config = rlhf.Config(beta=beta, seed=seed, iterations=iterations)
        policy, history = rlhf.train(
            language_model, reward_model, config, every=LOOKS, progress=progress
        )
        curves = {key: [round(seen[key], 4) for seen in history] for key in CURVES}
        paid = rlhf.kl_by_word(policy.actor, language_model)[:3]
        words = [[row["word"], round(row["kl"], 3)] for row in paid]
        runs.append({"beta": beta, "seed": seed, **curves, "words": words})
        text = json.dumps(runs).replace("}, {", "},\n {")
        (folder / "rlhf_sweep.json").write_text(text + "\n", encoding="utf-8")
    note(folder, sweep_cpu_seconds=time.process_time() - began)


MAKERS = {  # name: file, the function that writes it
    "language_model": ("language_model.pt", make_language_model),
    "reward_model": ("reward_model.pt", make_reward_model),
    "sweep": ("rlhf_sweep.json", sweep),
}


def main(*which: str) -> None:
    torch.set_num_threads(1)
    for name in which or MAKERS:
        file, make = MAKERS[name]
        make()
        command = f"python -m pgcourse.language.rlhf_checkpoints {name}"
        fingerprint.note(file, command, f"pgcourse.language.rlhf_checkpoints.{make.__name__}")


if __name__ == "__main__":
    main(*sys.argv[1:])
