"""TRL's side of the RLHF row: its PPOTrainer on models and a batch of the same size.

Needs trl 1.12 (the last release with PPO) and transformers; see `pgcourse.bench.rlhf`.
"""

import tempfile
import time

import torch

from pgcourse.bench.rlhf import CONVERSATIONS, EPOCHS, MAX_NEW, MINIBATCHES
from pgcourse.language.grammar import BOT, END, PAD, PROMPTS, USER, VOCABULARY, prompt_text


def tokenizer():
    from tokenizers import Tokenizer
    from tokenizers.models import WordLevel
    from tokenizers.pre_tokenizers import WhitespaceSplit
    from transformers import PreTrainedTokenizerFast

    words = Tokenizer(WordLevel({w: i for i, w in enumerate(VOCABULARY)}, unk_token=PAD))
    words.pre_tokenizer = WhitespaceSplit()
    return PreTrainedTokenizerFast(
        tokenizer_object=words,
        pad_token=PAD,
        eos_token=END,
        padding_side="left",
        additional_special_tokens=[USER, BOT],
    )


def theirs(iterations=8):
    from datasets import Dataset
    from transformers import (
        GPT2Config,
        GPT2ForSequenceClassification,
        GPT2LMHeadModel,
        TrainerCallback,
    )
    from trl.experimental.ppo import PPOConfig, PPOTrainer

    words = tokenizer()
    size = GPT2Config(
        vocab_size=len(VOCABULARY),
        n_positions=64,
        n_embd=64,
        n_layer=2,
        n_head=8,
        pad_token_id=words.pad_token_id,
        bos_token_id=words.eos_token_id,
        eos_token_id=words.eos_token_id,
        num_labels=1,
    )
    torch.manual_seed(0)
    policy, reference = GPT2LMHeadModel(size), GPT2LMHeadModel(size)
    reference.load_state_dict(policy.state_dict())
    reward, value = GPT2ForSequenceClassification(size), GPT2ForSequenceClassification(size)
    prompts = [prompt_text(question) for _, question in PROMPTS]
    rows = [{"input_ids": words(p)["input_ids"]} for p in prompts * (2 * CONVERSATIONS)]
    times = []

    class Clock(TrainerCallback):
        def on_step_end(self, *args, **kwargs):
            times.append(time.process_time())

    with tempfile.TemporaryDirectory() as folder:
        config = PPOConfig(
            output_dir=folder,
            per_device_train_batch_size=CONVERSATIONS,
            gradient_accumulation_steps=1,
            local_rollout_forward_batch_size=CONVERSATIONS,
            num_mini_batches=MINIBATCHES,
            num_ppo_epochs=EPOCHS,
            response_length=MAX_NEW,
            stop_token="eos",
            missing_eos_penalty=1.0,
            total_episodes=CONVERSATIONS * (2 + iterations),
            learning_rate=1e-3,
            num_sample_generations=0,
            report_to="none",
            save_strategy="no",
            use_cpu=True,
            bf16=False,
            gradient_checkpointing=False,
            disable_tqdm=True,
        )
        trainer = PPOTrainer(
            args=config,
            processing_class=words,
            model=policy,
            ref_model=reference,
            reward_model=reward,
            value_model=value,
            train_dataset=Dataset.from_list(rows),
            eval_dataset=Dataset.from_list(rows[:CONVERSATIONS]),
            callbacks=[Clock()],
        )
        trainer.train()
    gaps = sorted(b - a for a, b in zip(times, times[1:], strict=False))
    return {
        "cpu_seconds_per_iteration": gaps[len(gaps) // 2],
        "parameters": sum(p.numel() for p in policy.parameters()),
    }
