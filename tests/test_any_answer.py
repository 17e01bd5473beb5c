"""Whatever a function returns, the judge says what is wrong with it, and raises nothing."""

import inspect
import warnings
from fractions import Fraction
from functools import reduce

import numpy as np
import pytest
import torch

from pgcourse.checks import all_exercises, judge
from pgcourse.checks.drivers import copy_plain

ANSWERS = {
    "an int of 401 digits": 10**400,
    "a list of them": [-(10**400), 10**400],
    "an int beyond 64 bits": 10**25,
    "inf": float("inf"),
    "nan": float("nan"),
    "a fraction": Fraction(10**400, 3),
    "a complex number": 1j,
    "bytes": b"x",
    "a long text": "x" * 100_000,
    "a type": int,
    "a range": range(3),
    "a module": torch.nn.Linear(1, 1),
    "nested lists": [[]] * 3,
    "lists that are nested deep": reduce(lambda inner, _: [inner], range(500), 1),
    "a table of tables": {"a": {}, 1: 2},
    "texts of numpy": np.array(["a"]),
    "no number": torch.tensor([]),
    "no row": torch.zeros(0, 3),
    "a complex tensor": torch.tensor([1 + 2j, 3j]),
    "large ints": torch.full((2,), 10**18),
    "True": torch.tensor(True),
    "16 bits": torch.zeros(3, dtype=torch.bfloat16),
}


@pytest.mark.parametrize("name", all_exercises())
def test_any_answer_gets_a_card(name):
    signature = inspect.signature(all_exercises()[name].reference)
    for answer in ANSWERS.values():
        fn = given(answer, signature)
        with warnings.catch_warnings(action="error"):
            verdict = judge(fn, name)
        assert not verdict.passed
        assert str(verdict) and verdict._repr_html_()


def given(answer, signature):
    def fn(*args, **more):
        signature.bind(*args, **more)
        return answer

    return fn


@pytest.mark.parametrize("x", [2**63 - 1, -(2**63) + 1, 0, True])
def test_a_count_stays_as_it_is(x):
    assert copy_plain(x) == x and type(copy_plain(x)) is type(x)


@pytest.mark.parametrize("x, comes", [(2**63, 2.0**63), (10**400, 1e308), (-(10**400), -1e308)])
def test_what_nothing_can_count_comes_as_a_float(x, comes):
    assert copy_plain(x) == comes and type(copy_plain(x)) is float
