"""Exercises of lesson 4: the losses of critic and actor (the others are in `pgcourse.checks.actor_critic`)."""

from pgcourse.exercises import in_order

EXERCISES = in_order(__name__, "critic_loss actor_loss")
