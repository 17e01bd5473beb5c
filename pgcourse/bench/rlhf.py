"""One PPO iteration on a language model, beside TRL's: CPU seconds and tokens a second.

    python -m pgcourse.bench.rlhf             this project
    python -m pgcourse.bench.rlhf trl         TRL, in a Python that has it

Equal terms: 128 conversations an iteration, 21 new tokens at most, 3 epochs of 4 minibatches, a critic, a frozen
reference and a reward model, each a transformer with 2 layers of width 64 and 4 heads over the same 252 words; one
torch thread. Only the time of iterations counts: no imports, no warm-up, no evaluation.
"""

import json
import sys
import time

import torch

CONVERSATIONS, MAX_NEW, EPOCHS, MINIBATCHES = 128, 21, 3, 4


def ours(iterations=8):
    from pgcourse import rlhf
    from pgcourse.language import END_ID, sample_prompts
    from pgcourse.optim import Adam
    from pgcourse.pretraining import load_language_model
    from pgcourse.reward_model import load_reward_model
    from pgcourse.transformer import generate

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


if __name__ == "__main__":
    torch.set_num_threads(1)
    if sys.argv[1:] == ["trl"]:
        from pgcourse.bench.rlhf_trl import theirs

        print(json.dumps(theirs()))
    else:
        print(json.dumps(ours()))
