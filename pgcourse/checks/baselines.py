"""Exercises of lesson 3, baselines."""

EXERCISES = []
