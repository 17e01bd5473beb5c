"""The exercises, one folder a lesson, one file an exercise: reference, parts, cases, mistakes.

The engine is `pgcourse.checks`; "Add an exercise" in the README says how one is written.
"""
