"""One PPO iteration on a language model, beside TRL's: CPU seconds and tokens a second.

    python -m pgcourse.bench.rlhf             both sides, this project's and TRL's
    python -m pgcourse.bench.rlhf ours        this project, numbers only
    python -m pgcourse.bench.rlhf trl         TRL, numbers only, in a Python that has it

Equal terms: 128 conversations an iteration, 21 new tokens at most, 3 epochs of 4 minibatches, a critic, a frozen
reference and a reward model, each a transformer with 2 layers of width 64 and 8 heads over the same 252 words; one
torch thread. Only the time of iterations counts: no imports, no warm-up, no evaluation.
"""

import json
import subprocess
import sys
import time
from pathlib import Path

import torch

CONVERSATIONS, MAX_NEW, EPOCHS, MINIBATCHES = 128, 21, 3, 4


def ours(iterations=8):
    from pgcourse import rlhf
    from pgcourse.language.grammar import END_ID, sample_prompts
    from pgcourse.language.pretraining import load_language_model
    from pgcourse.language.reward_model import load_reward_model
    from pgcourse.language.transformer import generate
    from pgcourse.optim import Adam

    language_model = load_language_model().requires_grad_(False)
    reward_model = load_reward_model()
    policy = rlhf.make_policy(language_model, reward_model)
    config = rlhf.Config(
        conversations=CONVERSATIONS, epochs=EPOCHS, minibatches=MINIBATCHES, max_new=MAX_NEW
    )
    optimizer, times = Adam(policy.parameters(), config.lr), []
    for _ in range(1 + iterations):
        prompts = sample_prompts(CONVERSATIONS, config.generator)
        began = time.process_time()
        rlhf.rlhf_step(policy, language_model, reward_model, optimizer, prompts, config)
        times.append(time.process_time() - began)

    def tokens_per_second(use_cache, rounds=5):
        count, began = 0, time.process_time()
        for seed in range(rounds):
            generator = torch.Generator().manual_seed(seed)
            prompts = sample_prompts(CONVERSATIONS, generator)
            _, mask = generate(
                language_model, prompts, MAX_NEW, END_ID, generator, use_cache=use_cache
            )
            count += mask.sum().item()
        return count / (time.process_time() - began)

    return {
        "cpu_seconds_per_iteration": sorted(times[1:])[iterations // 2],
        "tokens_per_second": tokens_per_second(True),
        "tokens_per_second_without_cache": tokens_per_second(False),
        "parameters": sum(p.numel() for p in language_model.parameters()),
    }


def side(python, name):
    """One side's numbers, from a process of its own."""
    command = [python, "-m", "pgcourse.bench.rlhf", name]
    found = subprocess.run(command, check=True, capture_output=True, text=True)
    return json.loads(found.stdout.splitlines()[-1])


def measure(peers=None, rounds=3):
    """Both sides in turn; of each side the round with the median time."""
    from pgcourse.bench.run import peers_python

    pythons, found = {"ours": sys.executable, "trl": peers_python(peers)}, {"ours": [], "trl": []}
    for _ in range(rounds):
        for name, python in pythons.items():
            found[name].append(side(python, name))
    for rows in found.values():
        rows.sort(key=lambda row: row["cpu_seconds_per_iteration"])
    return {name: rows[len(rows) // 2] for name, rows in found.items()}


def markdown(found):
    ours, trl = found["ours"], found["trl"]
    mine, theirs = ours["cpu_seconds_per_iteration"], trl["cpu_seconds_per_iteration"]
    cached, plain = ours["tokens_per_second"], ours["tokens_per_second_without_cache"]
    return "\n".join(
        [
            f"One PPO iteration on a language model: {CONVERSATIONS} conversations, {EPOCHS} epochs of "
            f"{MINIBATCHES} minibatches, one torch thread, median of three rounds.",
            "",
            "| | parameters of the language model | CPU s per iteration |",
            "|---|---|---|",
            f"| this project | {ours['parameters']:,} | {mine:.2f} |",
            f"| TRL | {trl['parameters']:,} | {theirs:.2f} |",
            "",
            f"This project takes {mine / theirs:.2f} times TRL's CPU time. It writes {cached:,.0f} tokens a second "
            f"with its KV cache and {plain:,.0f} without.",
            "",
        ]
    )


def main(out=Path("bench")):
    found = measure()
    out.mkdir(exist_ok=True)
    (out / "rlhf.json").write_text(json.dumps(found, indent=1) + "\n")
    (out / "rlhf.md").write_text(markdown(found))
    print(markdown(found))


if __name__ == "__main__":
    torch.set_num_threads(1)
    if sys.argv[1:] == ["trl"]:
        from pgcourse.bench.rlhf_trl import theirs

        print(json.dumps(theirs()))
    elif sys.argv[1:] == ["ours"]:
        print(json.dumps(ours()))
    else:
        main()
