"""Exercises of lesson 4, actor-critic."""

EXERCISES = []
