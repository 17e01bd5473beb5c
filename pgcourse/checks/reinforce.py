"""Exercises of lesson 2."""

EXERCISES = []
