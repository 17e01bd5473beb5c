"""The exercises, one folder a lesson, one file an exercise: reference, parts, cases, mistakes.

The engine is `pgcourse.checks`; "Add an exercise" in CONTRIBUTING.md says how one is written.
"""

from importlib import import_module

from pgcourse.exercises.shapes import with_other_shapes


def in_order(lesson, names):
    """The exercises of a lesson's folder, as its notebook asks for them."""
    found = [import_module(f"{lesson}.{name}").EXERCISE for name in names.split()]
    return [with_other_shapes(exercise) for exercise in found]
