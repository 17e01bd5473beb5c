"""Exercises of lesson 3: baselines, their variance, two losses, and normalized advantages."""

from pgcourse.exercises import in_order

EXERCISES = in_order(
    __name__,
    "with_baseline variance_ratio optimal_baseline leave_one_out_baseline value_regression_loss "
    "policy_gradient_loss normalize_advantage quiz_baselines",
)
