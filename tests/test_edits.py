"""A mistake as an edit: what a fragment matches, what is compiled, and how a wrong function gets its name."""

import inspect
import subprocess
import sys
from dataclasses import replace

import pytest
import torch

from pgcourse.checks import judge
from pgcourse.checks.core import Case, Exercise
from pgcourse.checks.edits import compiled as make
from pgcourse.checks.edits import edit, edited_text, matches, mistake, plain_text, symptom


def half_width(x):
    """Half of the widest distance."""
    return (x.max() - x.min()) / 2  # a comment with x.min()


def window(x, y, clip):
    """x within y ± clip, scaled: a reference to be edited."""
    width = 1.0 * clip
    inside = y.detach() + (x - y.detach()).clamp(-width, width)
    return 3 * inside + half_width(x)


def numbers(n, clip):
    return lambda g: dict(
        x=3 * torch.randn(n, generator=g), y=torch.randn(n, generator=g), clip=clip
    )


EXERCISE = Exercise(
    reference=window,
    parts={"few": 1, "many": 1, "clean": 1},
    cases=[
        Case("three numbers", numbers(3, 0.8), "few", ("x", "y")),
        Case("five numbers", numbers(5, 0.7), "few", ("x", "y")),
        Case("thirty numbers", numbers(30, 0.9), "many", ("x", "y")),
        Case("sixty numbers", numbers(60, 0.5), "many", ("x", "y")),
    ],
    mistakes=[
        mistake("one side", "It clamps above only.", edit("-width, width", "max=width")),
        mistake("alive", "A gradient flows into y.", edit("y.detach()", "y", all=True)),
        mistake("whole width", "It adds the whole width.", edit("/ 2", "", of="half_width")),
        mistake("clip ignored", "The width is {w:.3g}.", edit("1.0 * clip", "{w=0.5}")),
        mistake("wider", "The width is {c:.3g} clip.", edit("1.0 * clip", "{c=2} * clip")),
        symptom("off", "It is off.", edit("3 *", "-x *"), lambda at: bool(at.wrong_parts)),
    ],
    read="here",
)


def wrong(width=1.0, low=True, alive=False, scale=3.0, half=0.5):
    """The function in another style, with mistakes."""

    def fn(x, y, clip):
        w = width(clip) if callable(width) else width * clip
        y = y if alive else y.detach()
        near = torch.minimum(torch.maximum(x, y - w), y + w) if low else torch.minimum(x, y + w)
        return scale * near + half * (x.max() - x.min())

    return fn


def test_a_fragment_is_found_token_by_token():
    text = "clipped = rho.clamp(1 - clip,\n    1 + clip)  # clip"
    assert len(matches(text, "clip")) == 2  # not in clipped, not in the comment
    assert len(matches(text, "rho.clamp(1-clip, 1+clip)")) == 1
    assert not matches(text, "clip, 1 - clip")


@pytest.mark.parametrize("old", ["width", "y.detach()", "no such thing"])
def test_a_fragment_must_be_there_once(old):
    with pytest.raises(ValueError, match="times"):
        edited_text(window, [edit(old, "1")])


def test_lines_are_added_with_the_indentation_of_their_place():
    added = edit("return", "for _ in range(2):\n    inside = inside + 1\nreturn")
    x = torch.zeros(3)
    assert torch.equal(make(window, [added])(x, x, 1.0), torch.full((3,), 6.0))
    gone = edit("width = 1.0 * clip", "")
    with pytest.raises(NameError):
        make(window, [gone])(x, x, 1.0)


def test_the_text_of_each_version_can_be_looked_up():
    m = mistake("two", "", edit("3 *", "4 *"), also=(edit("3 *", "5 *"),)).of(window)
    assert "4 * inside" in inspect.getsource(m.wrong)
    assert "5 * inside" in inspect.getsource(m.also[0])
    assert "3 * inside" in inspect.getsource(window)


@pytest.mark.parametrize(
    "fn, name, says",
    [
        (wrong(low=False), "one side", "above only"),
        (wrong(alive=True), "alive", "into y"),
        (wrong(half=1.0), "whole width", "the whole width"),
        (wrong(width=lambda clip: 0.37), "clip ignored", "is 0.37."),
        (wrong(width=2.3), "wider", "is 2.3 clip"),
        (wrong(low=False, half=1.0), "one side, and whole width", "And: It adds"),
        (wrong(scale=-3.0, half=-0.5), "wrong sign", "sign"),
        (wrong(low=False, scale=6.0, half=1.0), "one side", "Besides, it is 2 times that"),
        (lambda x, y, clip: wrong()(x, y, clip).sinh(), "off", "It is off"),
    ],
)
def test_what_a_wrong_function_does_is_named(fn, name, says):
    for seed in ("0", "a secret"):
        verdict = judge(fn, EXERCISE, seed)
        assert not verdict.passed and verdict.pitfall == name, verdict
        assert says in verdict.message


@torch.no_grad()
def follow(x, step):
    """A reference with a decorator: its globals are another module's."""
    return step * x + 1


def test_numbers_in_a_decorated_function_are_solved():
    exercise = Exercise(
        reference=follow,
        parts={"all": 1, "clean": 1},
        cases=[
            Case(f"step {s}", lambda g, s=s: dict(x=torch.randn(4, generator=g), step=s), "all")
            for s in (0.2, 0.7)
        ],
        mistakes=[mistake("fixed step", "The step is {s:.3g}.", edit("step * x", "{s=0.5} * x"))],
        read="here",
    )
    verdict = judge(lambda x, step: 0.13 * x + 1, exercise)
    assert verdict.pitfall == "fixed step" and "is 0.13." in verdict.message, verdict


def test_an_edit_that_nobody_wrote_down_is_found_and_its_sentence_is_true():
    verdict = judge(lambda x, y, clip: wrong()(x, y, clip) - x.max() + x.mean(), EXERCISE)
    assert verdict.pitfall == "off"  # no one edit
    verdict = judge(
        lambda x, y, clip: wrong()(x, y, clip) - 2 * wrong(half=0)(x, y, clip), EXERCISE
    )
    assert verdict.pitfall not in (None, "off") and "minus" in verdict.message


def test_a_name_must_hold_on_a_second_seed():
    """It behaves like a mistake on the visible inputs alone."""
    visible = {tuple(EXERCISE.inputs(i, "0")["x"].tolist()) for i in range(4)}

    def fn(x, y, clip):
        width = (lambda c: 0.37) if tuple(x.tolist()) in visible else 1.9
        return wrong(width=width)(x, y, clip)

    assert judge(fn, EXERCISE).pitfall == "off"


def test_a_number_that_changes_nothing_is_no_mistake():
    far = edit("width = 1.0", "x = x.clamp(-{limit=1}, {limit=1})\nwidth = 1.0")
    clamped = mistake(
        "clamped", "x ends at {limit:.3g}.", far, also=((edit("/ 2", "", of="half_width"), far),)
    )
    exercise = replace(EXERCISE, mistakes=[clamped])
    assert judge(wrong(half=1.0), exercise).pitfall != "clamped"

    def both(x, y, clip):
        return wrong(half=1.0)(x.clamp(-0.9, 0.9), y, clip)

    assert "x ends at 0.9." in judge(both, exercise).message


def test_nan_alone_proves_nothing():
    verdict = judge(lambda x, y, clip: wrong()(x, y, clip) * float("nan"), EXERCISE)
    assert verdict.pitfall == "not a number"


def typed(
    logp: torch.Tensor, *, scale: float = 2.0, names: dict[str, float] | None = None
) -> torch.Tensor:
    """What it says of its types is for editors."""
    return scale * logp  # names: not used


def test_a_learner_reads_a_function_without_its_types():
    text = plain_text(typed)
    assert text.splitlines()[0] == "def typed(logp, *, scale=2.0, names=None):"
    assert text.splitlines()[1:] == inspect.getsource(typed).splitlines()[3:]


def test_a_long_first_line_is_broken_as_the_formatter_does():
    from pgcourse.rlhf import rlhf_step

    head = plain_text(rlhf_step).split('"""')[0]
    done = subprocess.run(
        [sys.executable, "-m", "ruff", "format", "--line-length=100", "-"],
        input=head + "pass\n", capture_output=True, text=True, check=True,
    )  # fmt: skip
    assert ":" not in head.rstrip()[:-1] and done.stdout == head + "pass\n"
