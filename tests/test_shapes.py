"""Whoever compares less than the shapes of all arguments is refused: by axes, by one axis, or without one of them."""

import ast
import inspect

import pytest

from pgcourse.checks import all_exercises, drivers, judge
from pgcourse.checks.edits import plain_text

LESS = {"axes": "x.dim()", "the first axis": "len(x)", "the last axis": "x.shape[-1]"}
ELSEWHERE = {  # (exercise, what is compared) where something else refuses what differs
    *(("entropy", less) for less in (*LESS, "mask", "logits[..., 0]")),  # masked_mean, too
    ("rlhf_advantages", "mask"),  # gae, too
    ("optimal_baseline", "the last axis"),  # of the scores that is another one
}


def guard_of(tree):
    """The call of same_shape, or None."""
    for s in tree.body[0].body:
        if isinstance(s, ast.Expr) and isinstance(s.value, ast.Call):
            if getattr(s.value.func, "id", "") == "same_shape":
                return s
    return None


def with_guard(exercise, made):
    """The reference with another guard; made: the arguments that it compares -> its text."""
    reference = inspect.unwrap(exercise.reference)
    tree = ast.parse(plain_text(reference))
    guard = guard_of(tree)
    text = made([ast.unparse(k.value) for k in guard.value.keywords])
    body = tree.body[0].body
    body[body.index(guard)] = ast.parse(text).body[0]
    tree.body[0].decorator_list = []
    space = dict(reference.__globals__)
    exec(compile(ast.fix_missing_locations(tree), "<guard>", "exec"), space)
    return space[exercise.name]


def alike(values, of):
    return (
        f"if len({{str({of}) for x in ({', '.join(values)},) if x is not None}}) > 1: "
        "raise ValueError('they differ')"
    )


GUARDED = [
    e
    for e in all_exercises().values()
    if e.driver in drivers.PLAIN and guard_of(ast.parse(plain_text(inspect.unwrap(e.reference))))
]
TRIED = []
for _e in GUARDED:
    _guard = guard_of(ast.parse(plain_text(inspect.unwrap(_e.reference))))
    _values = [ast.unparse(k.value) for k in _guard.value.keywords]
    TRIED += [(_e, less, lambda v, of=of: alike(v, of)) for less, of in LESS.items()]
    TRIED += [
        (_e, name, lambda v, name=name: alike([x for x in v if x != name], "x.shape"))
        for name in _values
    ]


@pytest.mark.parametrize(
    "exercise, less, made", [pytest.param(*t, id=f"{t[0].name}-{t[1]}") for t in TRIED]
)
def test_a_guard_that_compares_less_is_refused(exercise, less, made):
    verdict = judge(with_guard(exercise, made), exercise)
    if (exercise.name, less) in ELSEWHERE:
        assert verdict.passed, verdict
    else:
        assert not verdict.passed and verdict.score >= exercise.points - 2, verdict


@pytest.mark.parametrize("exercise", [pytest.param(e, id=e.name) for e in GUARDED])
def test_the_whole_guard_is_right(exercise):
    assert judge(with_guard(exercise, lambda v: alike(v, "x.shape")), exercise).passed
