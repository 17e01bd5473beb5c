"""Exercises of lesson 2: returns, REINFORCE as a loss and as an estimate, and what its variance costs."""

from pgcourse.exercises import in_order

EXERCISES = in_order(
    __name__,
    "discounted_returns reinforce_loss reinforce_surrogate_gradient gradient_variance standard_error "
    "episodes_needed quiz_reinforce",
)
