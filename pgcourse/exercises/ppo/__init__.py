"""Exercises of lesson 5: the ratio, the clip, the update, and two rounds of questions."""

from pgcourse.exercises import in_order

EXERCISES = in_order(
    __name__,
    "probability_ratio ppo_clip_loss clipped_value_loss entropy approx_kl ppo_update quiz_clip quiz_clinic",
)
