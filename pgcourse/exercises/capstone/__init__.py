"""Exercises of the capstone: a hack named, votes on it, the reward model mended."""

from pgcourse.exercises import in_order

EXERCISES = in_order(__name__, "name_the_hack choose_pairs my_votes pooled_loss look_within")
