"""Exercises of lesson 4: TD targets, the losses of critic and actor, GAE (the others are in `pgcourse.checks.actor_critic`)."""

from pgcourse.exercises import in_order

EXERCISES = in_order(__name__, "td_target critic_loss actor_loss gae")
