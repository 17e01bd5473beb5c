"""Exercises of lesson 4: TD targets, the losses of critic and actor, their steps, GAE, and A3C."""

from pgcourse.exercises import in_order

EXERCISES = in_order(
    __name__,
    "td_target critic_loss actor_loss actor_critic_step gae a3c_push_gradients quiz_actor_or_critic",
)
