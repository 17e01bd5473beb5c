"""Exercises of lesson 7: tokens, votes, shaped rewards, one step of RLHF, what needs no critic, the clinic."""

from pgcourse.exercises import in_order

EXERCISES = in_order(
    __name__,
    "quiz_mapping token_logp bradley_terry_loss sequence_score kl_shaped_rewards rlhf_advantages "
    "rlhf_step rloo_advantages grpo_advantages dpo_loss quiz_rlhf_clinic",
)
