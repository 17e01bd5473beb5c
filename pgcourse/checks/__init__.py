"""Checks that name the mistake: `check(fn)` in a notebook, `judge(fn)` for its plain form.

One folder a lesson in `pgcourse.exercises` holds the exercises: reference, cases, mistakes, points.
"""

from dataclasses import replace
from functools import cache
from importlib import import_module

from pgcourse.checks.core import Case, CheckFailed, Exercise, Verdict, check, judge

__all__ = [
    "Case", "CheckFailed", "Exercise", "Verdict",
    "all_exercises", "check", "get", "judge", "lesson_exercises",
]  # fmt: skip

LESSONS = {  # a lesson's folder in pgcourse.exercises
    "01_policy_gradient_theorem": "policy_gradient_theorem",
    "02_reinforce": "reinforce",
    "03_baselines": "baselines",
    "04_actor_critic": "actor_critic",
    "05_ppo": "ppo",
    "06_sac": "sac",
    "07_rlhf": "rlhf",
    "08_capstone": "capstone",
}


@cache
def lesson_exercises(lesson: str) -> dict[str, Exercise]:
    """The exercises of a lesson ("02_reinforce") in order, as {name: Exercise}."""
    module = import_module(f"pgcourse.exercises.{LESSONS[lesson]}")
    return {e.name: replace(e, lesson=lesson) for e in module.EXERCISES}


@cache
def all_exercises() -> dict[str, Exercise]:
    """The exercises of every lesson, as {name: Exercise}."""
    return {name: e for lesson in LESSONS for name, e in lesson_exercises(lesson).items()}


def get(name: str) -> Exercise:
    """The exercise with this name. raises: KeyError that lists the names there are."""
    for lesson in LESSONS:  # one at a time: a notebook waits only for the lessons before its own
        if name in lesson_exercises(lesson):
            return lesson_exercises(lesson)[name]
    raise KeyError(f"no exercise is called {name!r}; there are: {', '.join(all_exercises())}")


from pgcourse.checks import (  # noqa: E402, F401  they register their drivers in every process
    module_drivers,
    rlhf_drivers,
)
