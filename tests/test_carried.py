"""An error carried forward, in a class: it costs its own exercise only, and gives no answer away."""

import pytest
import torch

from pgcourse.checks import LESSONS, drivers, judge, lesson_exercises
from pgcourse.checks.package import bundle
from pgcourse.classroom import gradebook
from pgcourse.classroom import judge as judging
from tests.classes import FULL, LESSON, graded

pytestmark = pytest.mark.usefixtures("tidy")

GRADIENT = "def grad_log_softmax(theta, action):\n    g = -softmax(theta)\n    g[action] += 1\n    return g"
STEP = (
    "def score_step(theta, action, ret, lr):\n"
    "    return theta + lr * ret * grad_log_softmax(theta, action)"
)
OVERFLOWS = "def softmax(theta):\n    z = torch.exp(theta)\n    return z / z.sum(-1, keepdim=True)"
WRONG = {
    "overflows": OVERFLOWS,
    "is not there": "x = 1",
    "raises": "def softmax(theta):\n    return theta.nothing",
    "is the stub": "def softmax(theta):\n    raise NotImplementedError('Your turn: replace this line.')",
    "is wrong": "def softmax(theta):\n    return theta - theta.mean()",
}


@pytest.mark.parametrize("seed", ["0", "the class's secret"])
@pytest.mark.parametrize("softmax", WRONG.values(), ids=WRONG)
def test_a_right_function_does_not_pay_for_a_wrong_one_that_it_calls(softmax, seed):
    found = graded({"softmax": softmax, "grad_log_softmax": GRADIENT, "score_step": STEP}, seed)
    assert found["softmax"]["score"] < FULL["softmax"] and not found["softmax"]["passed"]
    for name in ("grad_log_softmax", "score_step"):
        assert found[name]["score"] == FULL[name], found[name]["message"]
        says = f"{name} is right; but your `softmax`, which it calls, breaks it."
        assert found[name]["message"].startswith(says)
        for card in (
            gradebook.card_text(name, found[name]),
            gradebook.card_html(name, found[name]),
        ):
            assert "which it calls, breaks it" in card


def test_a_mistake_of_its_own_is_paid_for():
    wrong = GRADIENT.replace("+= 1", "-= 1")
    found = graded({"softmax": WRONG["is the stub"], "grad_log_softmax": wrong, "score_step": STEP})
    assert found["grad_log_softmax"]["score"] == 0
    assert found["grad_log_softmax"]["pitfall"] != "not written"
    assert found["grad_log_softmax"]["message"].endswith("It was judged with a right one.")
    assert "your `grad_log_softmax`" in found["score_step"]["message"]
    assert found["score_step"]["score"] == FULL["score_step"]


def requests(monkeypatch):
    """What is asked for points, in order: [(session, name, names of the helpers that are given away)]."""
    seen, ask = [], judging.Run.ask
    monkeypatch.setattr(judging, "located", lambda *_: {})  # it earns nothing: see below

    def spy(self, limit, **request):
        if request["op"] == "call":
            seen.append((self.session, request["name"], {*request["helpers"]}))
        return ask(self, limit, **request)

    monkeypatch.setattr(judging.Run, "ask", spy)
    return seen


def test_what_a_session_was_given_is_never_asked_after_it(monkeypatch):
    seen = requests(monkeypatch)
    graded(
        {"softmax": OVERFLOWS, "grad_log_softmax": GRADIENT.replace("1", "2"), "score_step": STEP}
    )
    given = set()
    assert any(helpers for _, _, helpers in seen)
    for _, name, helpers in seen:
        assert name not in given
        given |= {n for helper in helpers for n in bundle(helper)[1]}
    for session in {s for s, _, helpers in seen if helpers}:
        assert len({name for s, name, _ in seen if s == session}) == 1


def test_the_search_for_the_line_comes_after_the_points_and_earns_none(monkeypatch):
    answers = {
        "softmax": OVERFLOWS,
        "grad_log_softmax": GRADIENT.replace("1", "2"),
        "score_step": STEP,
    }
    found = graded(answers)
    assert any(v["where"] for v in found.values())
    monkeypatch.setattr(judging, "located", lambda *_: {})
    for name, v in graded(answers).items():
        assert v | {"where": None} == found[name] | {"where": None}


def test_no_function_is_given_whose_text_holds_the_answer(monkeypatch):
    """Here softmax calls what, in the reference, calls softmax."""
    seen = requests(monkeypatch)
    backwards = "def softmax(theta):\n    return -grad_log_softmax(theta, 0)"
    graded(
        {
            "softmax": backwards,
            "grad_log_softmax": "def grad_log_softmax(theta, action):\n    return theta",
        }
    )
    assert not [helpers for _, name, helpers in seen if name == "softmax" and helpers]


PLACES = "('loot', '/tmp/loot', '/dev/shm/loot', '/var/tmp/loot', os.path.expanduser('~/loot'))"
THIEF = {
    "grad_log_softmax": f"""
import marshal, os, sys

def grad_log_softmax(theta, action):
    found = [softmax.__code__]
    frame = sys._getframe()
    while frame:
        found += [f.__code__ for f in frame.f_locals.values() if getattr(f, "__name__", "") == "softmax"]
        found += [c for t in frame.f_locals.values() if isinstance(t, dict) for c in t.values() if type(c) is str]
        frame = frame.f_back
    for place in {PLACES}:
        try:
            open(place, "wb").write(marshal.dumps(found))
        except OSError:
            pass
    g = -softmax(theta)
    g[action] += 1
    return g
""",
    "softmax": f"""
import marshal, os, types

def softmax(theta):
    for place in {PLACES}:
        try:
            for code in marshal.loads(open(place, "rb").read()):
                if type(code) is types.CodeType and "values" in code.co_names:
                    return types.FunctionType(code, globals())(theta)
        except OSError:
            pass
    return theta * 0
""",
}


def test_a_stolen_helper_answers_nothing(tmp_path, monkeypatch):
    """Its text is kept wherever a process can write, and looked for there: also by the next submission."""
    monkeypatch.chdir(tmp_path)  # without walls, in one process, the theft works
    space = {"torch": torch}
    for text in THIEF.values():
        exec(text.replace(PLACES, "('loot',)"), space)
    right = {"softmax": lesson_exercises(LESSON)["softmax"].reference}
    drivers.with_helpers(space["grad_log_softmax"], right)(torch.zeros(3), 0)
    assert judge(space["softmax"], "softmax").passed
    for _ in range(2):
        found = graded(THIEF)
        assert found["softmax"]["score"] == 0
        assert found["grad_log_softmax"]["score"] == FULL["grad_log_softmax"]


@pytest.mark.parametrize("lesson", LESSONS)
def test_no_reference_answers_another_exercise_of_its_lesson(lesson):
    """So whoever is given one can earn nothing with it but what calls it."""
    exercises = lesson_exercises(lesson)
    for name, exercise in exercises.items():
        if exercise.driver == "entry" or not bundle(name)[0]:
            continue
        for other in exercises.values():
            same = other.reference.__code__.co_argcount == exercise.reference.__code__.co_argcount
            if other is not exercise and same and other.driver == exercise.driver:
                assert not judge(exercise.reference, other).passed, (name, other.name)
