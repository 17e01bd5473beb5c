"""Exercises of lesson 5, PPO."""

EXERCISES = []
