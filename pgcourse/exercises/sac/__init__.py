"""Exercises of lesson 6: the squashed Gaussian, SAC's target and losses, the temperature, polyak averaging."""

from pgcourse.exercises import in_order

EXERCISES = in_order(
    __name__, "squashed_gaussian_logp temperature_loss sac_actor_loss polyak_update"
)
