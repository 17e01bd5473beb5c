"""Old questions: each has one right answer, which the course's own functions confirm; wrong ones are told so."""

import pytest
import torch

from pgcourse import recall as module
from pgcourse.distributions import softmax
from pgcourse.estimators import discounted_returns, soft_q_target, td_target, with_baseline
from pgcourse.losses import ppo_clip_loss
from pgcourse.recall import QUESTIONS, recall


def one(*numbers):
    return [torch.tensor([x]) for x in numbers]


COMPUTED = {  # the numbers by the course's functions
    ("03", 1): lambda: softmax(torch.tensor([1.0, 3.0]).log())[1],
    ("04", 1): lambda: discounted_returns(torch.tensor([1.0, 0.0, 2.0]), torch.tensor([False, False, True]), 0.5)[0],
    ("04", 2): lambda: 100 * (0.2 / 0.1) ** 2,
    ("05", 1): lambda: with_baseline(*one(5.0, 8.0)),
    ("06", 1): lambda: td_target(*one(1.0, 10.0, False), 0.9),
    ("06", 2): lambda: td_target(*one(1.0, 10.0, True), 0.9),
    ("08", 1): lambda: soft_q_target(*one(1.0, 5.0, 4.0, -1.0, False), 0.9, 0.2),
    ("07", 1): lambda: -ppo_clip_loss(torch.tensor([1.5]).log(), *one(0.0, 2.0), 0.2),
}  # fmt: skip


def test_there_are_three_in_each_lesson_from_the_third_on():
    assert {lesson: len(q) for lesson, q in QUESTIONS.items()} == dict.fromkeys(
        ["03", "04", "05", "06", "07", "08"], 3
    )
    numbers = {
        (lesson, i) for lesson, qs in QUESTIONS.items() for i, q in enumerate(qs, 1) if not q.others
    }
    assert numbers == set(COMPUTED)


@pytest.mark.parametrize("which", COMPUTED, ids=str)
def test_a_number_is_what_the_courses_functions_say(which):
    right = float(COMPUTED[which]())
    assert recall(*which, right).startswith("✓")
    for wrong in (right + 0.2 * max(abs(right), 1), -right, 0.3 * right):
        assert recall(*which, wrong).startswith("✗")


@pytest.mark.parametrize("lesson", QUESTIONS)
def test_a_choice_has_one_right_answer(lesson):
    for i, q in enumerate(QUESTIONS[lesson], 1):
        if q.others:
            said = [recall(lesson, i, choice)[0] for choice in q.choices]
            assert sorted(said) == sorted("✓" + "✗" * len(q.others)) and len(set(q.choices)) >= 3
        assert q.because and q.asks.rstrip(" …").endswith(("?", "where", "GAE", "number."))


def test_what_is_no_answer_is_refused():
    for which, answer in ((("03", 1), "many"), (("03", 2), "perhaps"), (("03", 1), float("nan"))):
        with pytest.raises(ValueError):
            recall(*which, answer)


def test_plain_and_as_widgets(capsys):
    recall("07")
    out = capsys.readouterr().out
    assert out.count("\n") == 4 and 'recall("07", 1' in out
    form = module.form(QUESTIONS["03"])
    fields = [part for part in form.children if hasattr(part, "description") and part.description]
    fields[0].value = "0.75"
    fields[1].value = "zero"
    fields[2].value = "its Q is positive"
    said = [part.value[:1] for part in form.children[2::3]]
    assert said == ["✓", "✓", "✗"]
    fields[0].value = "three"
    assert "could not convert" in form.children[2].value
