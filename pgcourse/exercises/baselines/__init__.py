"""Exercises of lesson 3: baselines (the others are in `pgcourse.checks.baselines`)."""

from pgcourse.exercises import in_order

EXERCISES = in_order(
    __name__, "with_baseline variance_ratio optimal_baseline leave_one_out_baseline"
)
