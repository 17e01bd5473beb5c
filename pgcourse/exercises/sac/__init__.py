"""Exercises of lesson 6: the squashed Gaussian, SAC's target and losses, the temperature, polyak averaging."""

from pgcourse.exercises import in_order

EXERCISES = in_order(
    __name__,
    "squashed_gaussian_logp soft_q_target sac_critic_loss polyak_update sac_actor_loss temperature_loss "
    "quiz_sac_clinic quiz_sac_treatment",
)
