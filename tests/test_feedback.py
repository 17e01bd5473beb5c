"""What a student reads after grading: the smallest case, the line, names in the contents, links that lead somewhere."""

import re
import time

import pytest

from pgcourse.checks import get
from pgcourse.checks.core import VISIBLE_SEED
from pgcourse.classroom import judge, located, warm
from pgcourse.classroom.grade import grade_class
from tests import classes
from tests.classes import LESSON, SOURCE, graded, notebook, to_bytes

pytestmark = pytest.mark.usefixtures("tidy")

SIGN = """def grad_log_softmax(theta, action):
    pi = torch.softmax(theta, dim=-1)
    onehot = torch.zeros_like(pi)
    onehot[action] = 1.0
    return pi - onehot"""
HELPED = """def shifted(theta):
    return theta.amax(-1, keepdim=True) - theta


def softmax(theta):
    z = torch.exp(shifted(theta))
    return z / z.sum(-1, keepdim=True)"""


@pytest.fixture(scope="module")
def page(tmp_path_factory):
    root = classes.make(tmp_path_factory.mktemp("feedback") / "class")
    classes.hand_in(root, "ada", to_bytes(notebook({"grad_log_softmax": SIGN})))
    grade_class(root, LESSON, jobs=1)
    return classes.feedback(root, "ada")


def test_the_page_shows_the_case_what_is_right_and_what_came(page):
    card = page[page.index("✗ grad_log_softmax") :][:4000]
    assert re.search(r"In the case of .*theta = .*action = .*expected.*: .*yours.*: ", card, re.S)


def test_the_page_points_at_the_line_and_folds_the_change(page):
    card = page[page.index("✗ grad_log_softmax") :][:4000]
    assert "Line 5: with one change there, every case comes out right." in card
    assert "5: return pi - onehot" in card
    assert re.search(r"<details><summary>Show the change</summary>.*\n\+ +return ", card, re.S)


def test_the_contents_call_each_exercise_by_its_name(page):
    contents = page[page.index('id="toc"') :]
    contents = contents[: contents.index("</ol>")]
    for name in classes.FULL:
        assert f'<a href="#check_{name}">{name}</a>' in contents
    assert "Test cell" not in contents


def test_every_link_leads_somewhere(page):
    places = set(re.findall(r'\b(?:id|name)="([^"]+)"', page))
    inside = re.findall(r'<a [^>]*href="#([^"]*)"', page)
    assert len(inside) > 30 and set(inside) <= places
    assert re.search(r'Read: lesson 1, “<a href="#The-score">The score</a>”', page)
    assert not re.search(r"<a rel=[^>]*>", re.sub(r"<a [^>]*href=[^>]*>", "", page))


def test_a_hint_looks_like_what_opens(page):
    assert re.search(r"summary\s*{[^}]*display:\s*list-item", page)


# ---------------------------------------------------------------------------------- the line


def test_a_line_of_a_helper_is_found_in_the_student_s_own_cell():
    where = graded({"softmax": HELPED})["softmax"]["where"]
    assert where["line"] in (2, 6)
    assert where["text"] == HELPED.splitlines()[where["line"] - 1].strip()
    assert ("of `shifted`" in where["says"]) == (where["line"] == 2)


@pytest.mark.parametrize(
    "above, lines",
    [("%%time\n", 1), ("%%capture out\n", 1), ("%%timeit -n1\n\n", 2), ("!pip list \\\n  -v\n", 2)],
)
def test_a_magic_above_hides_no_line(above, lines):
    """The line's number is that of the cell as the student sees it, and a helper is called by its name."""
    plain = graded({"softmax": HELPED})["softmax"]["where"]
    where = graded({"softmax": above + HELPED})["softmax"]["where"]
    assert where["line"] == plain["line"] + lines and where["text"] == plain["text"]
    assert ("of `shifted`" in where["says"]) == ("of `shifted`" in plain["says"])


def test_nothing_is_looked_for_in_right_answers_stubs_and_endless_ones(monkeypatch):
    asked = []
    monkeypatch.setattr(judge.Run, "where", lambda self, name, *more: asked.append(name))
    loop = "def score_step(theta, action, ret, lr):\n    while True:\n        pass"
    graded({"softmax": "", "score_step": loop})
    assert asked == []


def test_a_learner_s_own_run_does_not_wait_for_it(monkeypatch):
    monkeypatch.setattr(judge.Run, "where", lambda *_: 1 / 0)
    assert not graded({"grad_log_softmax": SIGN}, VISIBLE_SEED)["grad_log_softmax"]["where"]


def test_the_search_comes_last_and_sees_the_notebook_s_numbers_only(monkeypatch):
    """Whoever looks for a line has nothing of the class: no secret number was made in its process."""
    order, one, where = [], judge.Run.judge_one, judge.Run.where

    def judge_one(self, exercise, seed, *more):
        order.append(seed)
        return one(self, exercise, seed, *more)

    def looked(self, name, *more):
        order.append("where")
        sent, ask = [], self.ask
        self.ask = lambda limit, **request: sent.append(request) or ask(limit, **request)
        found = where(self, name, *more)
        assert {r["op"] for r in sent} == {"load", "run", "where"}
        assert not [r for r in sent if r.get("args")]
        return found

    monkeypatch.setattr(judge.Run, "judge_one", judge_one)
    monkeypatch.setattr(judge.Run, "where", looked)
    assert graded({"grad_log_softmax": SIGN})["grad_log_softmax"]["where"]
    assert set(order[order.index("where") :]) == {"where", VISIBLE_SEED}


def changed(monkeypatch, reply):
    monkeypatch.setattr(judge.Run, "where", lambda *_: reply)
    return graded({"grad_log_softmax": SIGN})["grad_log_softmax"]["where"]


LIES = {
    "no change": ["grad_log_softmax", []],
    "one that mends nothing": ["grad_log_softmax", [[4, 5, ["    return pi"]]]],
    "a line that is not there": ["grad_log_softmax", [[40, 41, ["    return onehot - pi"]]]],
    "lines before the first": ["grad_log_softmax", [[-1, 0, ["    return onehot - pi"]]]],
    "a cell that is not there": ["nowhere", [[4, 5, ["    return onehot - pi"]]]],
    "words": "<script>alert(1)</script>",
    "no lines": ["grad_log_softmax", [[4, 5, 3]]],
    "too many": ["grad_log_softmax", [[4, 5, ["    return onehot - pi"] * 1000]]],
    "nothing": None,
}


@pytest.mark.parametrize("lie", LIES)
def test_a_change_is_believed_when_everything_is_right_after_it(lie, monkeypatch):
    assert changed(monkeypatch, LIES[lie]) is None


def test_the_words_are_the_judge_s_own(monkeypatch):
    where = changed(monkeypatch, ["grad_log_softmax", [[4, 5, ["    return onehot - pi"]]]])
    assert where == {
        "line": 5,
        "text": "return pi - onehot",
        "change": "-     return pi - onehot\n+     return onehot - pi",
        "says": "Line 5: with one change there, every case comes out right.",
        "lines": [5],
    }


def test_where_the_search_cannot_run_nothing_is_said(monkeypatch):
    def fails(*args, **more):
        raise warm.NoIsolation("no")

    monkeypatch.setattr(located, "warm_worker", fails)
    verdict = graded({"grad_log_softmax": SIGN})["grad_log_softmax"]
    assert verdict["where"] is None and verdict["pitfall"] == "sign"


def test_who_stays_in_the_search_is_ended(monkeypatch):
    """A function that knows where it is called, and does not come back: the grade is there all the same."""
    monkeypatch.setattr(located, "WALL", 3.0)
    stay = "import sys\nwhile 'pgcourse.checks.search' in sys.modules:\n    pass\n"
    text = SIGN.replace("    pi =", "    " + stay.replace("\n", "\n    ") + "pi =", 1)
    graded({"grad_log_softmax": SIGN})  # the workers are warm
    began = time.monotonic()
    verdict = graded({"grad_log_softmax": text})["grad_log_softmax"]
    assert verdict["pitfall"] == "sign" and verdict["where"] is None
    assert time.monotonic() - began < 30


# ----------------------------------------------------------------------------------- the case

TELLS = "def score_step(theta, action, ret, lr):\n    return theta + {}"


@pytest.mark.parametrize(
    "told", ["0.0", "theta.sum()", "torch.rand(len(theta))", "[float(x) for x in theta]"]
)
def test_what_is_shown_holds_the_notebook_s_numbers(told):
    """Another seed gives other secret inputs; the case that is shown stays as it was."""
    said = [graded({"score_step": TELLS.format(told)}, seed)["score_step"] for seed in ("a", "b")]
    assert said[0]["example"].startswith("In the case of ")
    if "rand" not in told:
        assert said[0]["example"] == said[1]["example"]
    exercise = get("score_step")
    for seed in ("a", "b"):
        for i in range(len(exercise.cases)):
            secret = judge.own_seed(
                seed, SOURCE, to_bytes(notebook({"score_step": TELLS.format(told)}))
            )
            for x in exercise.inputs(i, secret)["theta"].tolist():
                assert len(repr(x)) < 6 or repr(x)[:6] not in said[0]["example"]
