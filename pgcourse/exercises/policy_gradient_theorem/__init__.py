"""Exercises of lesson 1: a softmax policy, its score, and one step by hand (the others are in
`pgcourse.checks.policy_gradient_theorem`)."""

from pgcourse.exercises import in_order

EXERCISES = in_order(__name__, "softmax grad_log_softmax score_step")
