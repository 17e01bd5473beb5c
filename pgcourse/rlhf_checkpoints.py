"""Train the language model and the reward model that the package ships, so that lesson 7 can begin at once.

    python -m pgcourse.rlhf_checkpoints            about ten minutes on one core; writes pgcourse/data/

Nothing here is special: the lesson trains both for real, the language model for a shorter time.
"""

import json
import time
from pathlib import Path

import torch

from pgcourse.pretraining import CHECKPOINTS, save, train_language_model
from pgcourse.reward_model import (
    ceiling,
    collect_votes,
    scalar_model_from,
    train_reward_model,
)


def make(folder=CHECKPOINTS, conversations=120_000, votes=4_000, epochs=3, progress=True):
    """Train both models, save them in `folder`, and return what is worth knowing about them."""
    folder = Path(folder)
    folder.mkdir(parents=True, exist_ok=True)
    torch.set_num_threads(1)
    began = time.process_time()
    language_model, losses = train_language_model(conversations, progress=progress)
    save(language_model.requires_grad_(False), "language_model", folder)
    pairs, held_out = (
        collect_votes(language_model, votes, 1),
        collect_votes(language_model, max(100, votes // 4), 2),
    )
    net = scalar_model_from(language_model)
    reward_model, history = train_reward_model(net, pairs, held_out, epochs, progress=progress)
    save(reward_model, "reward_model", folder)
    best, agreement = ceiling(held_out)
    facts = {
        "conversations": conversations,
        "language_model_loss": sum(losses[-100:]) / len(losses[-100:]),
        "votes": votes,
        "reward_model_accuracy": history["accuracy"][-1],
        "best_judge_of_single_votes": best,
        "two_votes_agree": agreement,
        "cpu_seconds": time.process_time() - began,
    }
    (folder / "checkpoints.json").write_text(json.dumps(facts, indent=1) + "\n", encoding="utf-8")
    return facts


if __name__ == "__main__":
    print(json.dumps(make(), indent=1))
