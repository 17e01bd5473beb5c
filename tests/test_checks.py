"""Every exercise of every lesson: nothing wrong passes, nothing right is refused, each mistake has its name."""

import html
import inspect
import re
from dataclasses import replace
from importlib import import_module

import pytest
import torch

from pgcourse.checks import LESSONS, all_exercises, judge, lesson_exercises
from pgcourse.checks.compare import alike
from pgcourse.checks.edits import OPEN
from tests import messages

SEEDS = ("0", "a secret", "another")
EXERCISES = [pytest.param(e, id=e.name) for e in all_exercises().values()]
PITFALLS = [
    pytest.param(e, p, fn, id=f"{e.name}-{p.name.replace(' ', '_')}" + f"-also{i}" * (i > 0))
    for e in all_exercises().values()
    for p in e.pitfalls
    for i, fn in enumerate((p.wrong, *p.also))
]
HOLES = [
    pytest.param(e, m, id=f"{e.name}-{m.name.replace(' ', '_')}")
    for e in all_exercises().values()
    for m in e.pitfalls
    if m.holes
]
RIGHT = [
    pytest.param(exercise, fn, id=f"{exercise.name}-{fn.__name__}")
    for lesson, short in LESSONS.items()
    for exercise in lesson_exercises(lesson).values()
    for fn in import_module(f"tests.right.{short}").RIGHT.get(exercise.name, [])
]


@pytest.mark.parametrize("exercise", EXERCISES)
def test_reference_and_accepted_conventions_are_right(exercise):
    for fn in exercise.rights:
        for seed in SEEDS:
            verdict = judge(fn, exercise, seed)
            assert verdict.passed and verdict.score == exercise.points, verdict


@pytest.mark.parametrize("exercise, right", RIGHT)
def test_other_styles_are_right(exercise, right):
    for seed in SEEDS:
        verdict = judge(right, exercise, seed)
        assert verdict.passed, verdict


@pytest.mark.parametrize("exercise", EXERCISES)
def test_three_styles_and_eight_pitfalls(exercise):
    if not exercise.name.startswith("quiz_"):
        styles = [p for p in RIGHT if p.values[0].name == exercise.name]
        assert len(styles) >= 3
        assert len(exercise.pitfalls) >= 5


@pytest.mark.parametrize("exercise, pitfall, wrong", PITFALLS)
def test_pitfall_is_refused_in_its_own_words(exercise, pitfall, wrong):
    for seed in SEEDS:
        verdict = messages.verdict(exercise.name, wrong, seed)
        assert not verdict.passed
        assert verdict.score < exercise.points
        assert verdict.pitfall == pitfall.name
        open_number = getattr(pitfall, "holes", None) and OPEN in verdict.message
        assert pitfall.says in str(verdict) or open_number


@pytest.mark.parametrize("exercise, mistake", HOLES)
def test_numbers_that_nobody_wrote_down_are_solved_and_said(exercise, mistake):
    other = replace(
        mistake, values={name: round(1.37 * x, 12) for name, x in mistake.holes.items()}
    )
    verdict = judge(other.wrong, exercise)
    assert not verdict.passed and verdict.pitfall == mistake.name, verdict
    assert other.says in str(verdict) or OPEN in verdict.message  # what hardly matters is left open


@pytest.mark.parametrize("lesson", LESSONS)
def test_every_message_of_a_lesson_is_in_its_file(lesson):
    """After a change: `python -m tests.messages`, then read the difference as a learner would."""
    assert messages.path(lesson).read_text(encoding="utf-8") == messages.text(lesson)


@pytest.mark.parametrize("exercise", EXERCISES)
def test_no_two_pitfalls_look_alike(exercise):
    fixed = [p for p in exercise.pitfalls if not p.telltale]
    for i, one in enumerate(fixed):
        for other in fixed[:i]:
            seen = zip(
                exercise.known(one.wrong, "0"), exercise.known(other.wrong, "0"), strict=True
            )
            assert not all(alike(a, b) for a, b in seen), f"{one.name} looks like {other.name}"


@pytest.mark.parametrize("exercise", EXERCISES)
def test_general_mistakes_are_named(exercise):
    """Made from the reference itself: nothing returned, not written, an exception, a wrong type."""
    right = exercise.reference

    def nothing(*args):
        right(*args)

    def stub(*args):
        raise NotImplementedError("write me")

    def broken(*args):
        return [][1]

    def text(*args):
        return "right"

    for fn, name in [(stub, "not written"), (broken, "exception")]:
        verdict = judge(fn, exercise)
        assert verdict.score == 0 and verdict.pitfall == name, verdict
    for fn in (text, None, 3):
        verdict = judge(fn, exercise)
        assert verdict.score == 0 and verdict.pitfall, verdict
    if not re.search(r"returns\s*: None", right.__doc__):
        verdict = judge(nothing, exercise)  # what it did to networks may still earn something
        assert not verdict.passed and verdict.pitfall, verdict
        assert verdict.score == 0 or exercise.driver not in ("call", "with_mdp"), verdict


@pytest.mark.parametrize("exercise", EXERCISES)
def test_unclean_functions_keep_their_points_but_one_part(exercise):
    def draws(*args):
        torch.rand(1)
        return exercise.reference(*args)

    verdict = judge(draws, exercise)
    assert not verdict.passed
    assert not verdict.earned["clean"]
    assert verdict.score == exercise.points - exercise.parts["clean"]


@pytest.mark.parametrize(
    "exercise", [p for p in EXERCISES if any(c.grad for c in p.values[0].cases)]
)
def test_a_detached_result_is_refused(exercise):
    """Where a gradient is right, a result without one must not pass."""
    if exercise.driver != "call":
        pytest.skip("its driver trains networks: a detached result has no meaning")
    grads = [g for o in exercise.known(exercise.reference, "0") for g in o["grads"].values()]
    if not any(g is not None and g.any() for g in grads):
        pytest.skip("all its arguments are constants")
    verdict = judge(lambda *args: exercise.reference(*args).detach(), exercise)
    assert not verdict.passed and verdict.pitfall, verdict


def test_inputs_come_in_the_order_of_the_signature():
    """They are given by position, and a message about a gradient names them."""
    for exercise in all_exercises().values():
        names = [*inspect.signature(exercise.reference).parameters]
        for i, case in enumerate(exercise.cases):
            if exercise.driver == "call":
                given = [*exercise.inputs(i, "0")]
                assert given == names[: len(given)], f"{exercise.name}: {case.name}"


def test_points_and_names():
    for name, exercise in all_exercises().items():
        assert exercise.points == sum(exercise.parts.values()) > 0
        assert exercise.reference.__doc__, f"{name}: the docstring is the exercise's statement"


def test_where_to_read_on_is_a_section_of_its_lesson(root):
    for name, exercise in all_exercises().items():
        text = (root / "solutions" / f"{exercise.lesson}.py").read_text(encoding="utf-8")
        headings = re.findall(r"^# #+ (.*)$", text, re.M)
        card = judge(None, exercise)._repr_html_()
        links = re.findall(r'<a href="([^"]*)">([^<]*)</a>', card)
        assert links and exercise.read.startswith(f"lesson {int(exercise.lesson[:2])}, "), name
        for address, title in links:
            assert html.unescape(title) in headings, f"{name}: {title}"
            anchor = html.unescape(title).replace(" ", "-")
            assert html.unescape(address) == f"{exercise.lesson}.ipynb#{anchor}"


@pytest.mark.parametrize("exercise", EXERCISES)
def test_a_sentence_holds_beside_a_second_mistake(exercise):
    """A written mistake may be one of two: its sentence calls nothing else right, and names no cause as the only one."""
    claim = r"\b(values?|gradient|mean|spread|statistics|parameters) (is|are) (right|the group's)"
    cause = r"^\[\w(, 1)?\] (against|minus|times) \[.*(becomes|gives)"
    for m in exercise.pitfalls:
        if not m.symptom and not m.telltale and exercise.driver != "entry":
            assert not re.search(claim, m.says, re.I), m.says
            guards = m.versions[0] and isinstance(m.versions[0], tuple) and not m.versions[0][0].new
            assert guards or not re.search(cause, m.says), m.says
