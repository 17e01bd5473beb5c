"""Exercises of lesson 7, RLHF."""

EXERCISES = []
