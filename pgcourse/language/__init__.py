"""Lesson 7's language: its grammar, what people think of it, the models that write and rate it, and their pictures."""
