"""Exercises of lesson 3: baselines (the others are in `pgcourse.checks.baselines`)."""

from pgcourse.exercises import in_order

EXERCISES = in_order(__name__, "with_baseline")
