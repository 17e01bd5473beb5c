"""Exercises of lesson 1: a softmax policy, its score, exact values, the theorem and its estimate."""

from pgcourse.exercises import in_order

EXERCISES = in_order(
    __name__,
    "softmax grad_log_softmax score_step action_values exact_policy_gradient score_function_gradient quiz_gradient",
)
