"""Exercises of lesson 6, SAC."""

EXERCISES = []
