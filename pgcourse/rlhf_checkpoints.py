"""Train what the package ships for lesson 7, so that the lesson can begin at once.

    python -m pgcourse.rlhf_checkpoints        about fifteen minutes on one core; writes pgcourse/data/

    language_model.pt    reads 120,000 conversations of the grammar
    reward_model.pt      learns from 4,000 votes on pairs of that model's answers
    rlhf_sweep.json      RLHF with five prices of KL, three seeds each; the lesson draws them behind the
                         learner's own run
    checkpoints.json     what is worth knowing about the two models

Nothing here is special: the lesson trains all three kinds for real, only shorter or fewer.
"""

import json
import time
from pathlib import Path

import torch

from pgcourse import rlhf
from pgcourse.pretraining import CHECKPOINTS, load, new_language_model, save, train_language_model
from pgcourse.reward_model import (
    RewardModel,
    ceiling,
    collect_votes,
    scalar_model_from,
    train_reward_model,
)

BETAS, SEEDS = (0.0, 0.03, 0.1, 0.3, 1.0), (0, 1, 2)
CURVES = ("iteration", "score", "gold", "valence", "readable", "kl", "length")


def note(folder, **facts):
    """Add facts to folder/checkpoints.json."""
    path = folder / "checkpoints.json"
    known = json.loads(path.read_text(encoding="utf-8")) if path.exists() else {}
    path.write_text(json.dumps(known | facts, indent=1) + "\n", encoding="utf-8")


def make_language_model(folder=CHECKPOINTS, conversations=120_000, progress=True):
    began = time.process_time()
    model, losses = train_language_model(conversations, progress=progress)
    save(model, "language_model", folder)
    note(
        folder,
        conversations=conversations,
        language_model_loss=sum(losses[-100:]) / len(losses[-100:]),
        language_model_cpu_seconds=time.process_time() - began,
    )


def make_reward_model(folder=CHECKPOINTS, votes=4_000, epochs=3, progress=True):
    began = time.process_time()
    language_model = load(new_language_model(), "language_model", folder)
    pairs = collect_votes(language_model, votes, seed=1)
    held_out = collect_votes(language_model, max(100, votes // 4), seed=2)
    net = scalar_model_from(language_model)
    model, history = train_reward_model(net, pairs, held_out, epochs, progress=progress)
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


def sweep(folder=CHECKPOINTS, betas=BETAS, seeds=SEEDS, iterations=25, progress=True):
    """RLHF for each beta and seed; rlhf_sweep.json is a list of {beta, seed, one list for each curve}."""
    language_model = load(new_language_model(), "language_model", folder).requires_grad_(False)
    net = scalar_model_from(language_model)
    reward_model = load(RewardModel(net), "reward_model", folder).requires_grad_(False)
    runs = []
    for seed in seeds:
        for beta in betas:
            config = rlhf.Config(beta=beta, seed=seed, iterations=iterations)
            _, history = rlhf.train(language_model, reward_model, config, progress=progress)
            curves = {key: [round(seen[key], 4) for seen in history] for key in CURVES}
            runs.append({"beta": beta, "seed": seed, **curves})
            text = json.dumps(runs).replace("}, {", "},\n {")
            (folder / "rlhf_sweep.json").write_text(text + "\n", encoding="utf-8")


if __name__ == "__main__":
    torch.set_num_threads(1)
    Path(str(CHECKPOINTS)).mkdir(exist_ok=True)
    make_language_model()
    make_reward_model()
    sweep()
