"""The report of a class: the scores of the gradebook, the mistakes, who was not graded and why."""

import csv
import io
import os
import subprocess
import sys

import pytest
from rich.console import Console

from pgcourse.checks import get
from pgcourse.classroom import report
from pgcourse.classroom.build import ROOT
from pgcourse.classroom.grade import grade_class
from pgcourse.classroom.gradebook import ClassError, Store
from pgcourse.classroom.students import text_of
from tests import classes
from tests.classes import LESSON, MOST, notebook, to_bytes

EVIL = "<script>alert(1)</script>"


@pytest.fixture(scope="module")
def root(tmp_path_factory):
    root = classes.make(tmp_path_factory.mktemp("report") / "class")
    pitfall = next(p for p in get("grad_log_softmax").pitfalls if p.name == "sign")
    sign = {"grad_log_softmax": text_of(pitfall.wrong, "grad_log_softmax")}
    classes.hand_in(root, "ada", to_bytes(notebook()))
    for name in ("ben", "cleo", f"=cmd {EVIL.replace('/', '')}"):
        classes.hand_in(root, name, to_bytes(notebook(sign)))
    classes.hand_in(root, "dora", b"{")
    grade_class(root, LESSON, jobs=1)
    classes.hand_in(root, "emil", to_bytes(notebook()))  # after grading
    inbound = root / "exchange" / root.name / "inbound"
    for time in ("2026-01-01", "2026-01-02"):
        (inbound / f"ben+{LESSON}+{time}").mkdir(parents=True)
    return root


def test_it_holds_what_the_gradebook_holds(root):
    found = report.read(root, LESSON)
    book = {name: sum(points.values()) for name, points in classes.scores(root).items()}
    assert {p.name: p.book for p in found.people if p.book is not None} == book
    order = [c["id"] for c in classes.RELEASE["cells"] if c["id"] in classes.FULL]
    assert list(found.points) == order  # as in the notebook
    assert found.most == MOST


def test_mistakes_are_counted_by_name(root):
    mistakes = report.read(root, LESSON).mistakes()
    assert mistakes["grad_log_softmax"] == {"sign": 3}
    assert not any(mistakes[name] for name in mistakes if name != "grad_log_softmax")


def test_who_was_not_graded_and_why(root):
    why = {p.name: p.why for p in report.read(root, LESSON).people if p.why}
    assert set(why) == {"dora", "emil"}
    assert "damaged" in why["dora"] and why["emil"] == "not graded yet"


def test_the_console_says_who_was_not_graded_below_the_exercises(root):
    console = Console(width=200, record=True, file=io.StringIO())
    console.print(report.table(report.read(root, LESSON)))
    exercises, missing = console.export_text().split("Not graded, and why:\n")
    assert "grad_log_softmax" in exercises and "dora" not in exercises
    assert [line.partition(":")[0] for line in missing.splitlines()] == ["dora", "emil"]


def test_attempts_come_from_the_exchange(root):
    attempts = {p.name: p.attempts for p in report.read(root, LESSON).people}
    assert attempts["ben"] == 2 and attempts["ada"] == 1


def test_the_csv_is_one_line_a_student(root):
    rows = list(csv.DictReader(io.StringIO(report.to_csv(report.read(root, LESSON)))))
    ada = next(r for r in rows if r["student"] == "ada")
    assert (ada["points"], ada["score"], ada["max_score"]) == (f"{MOST}",) * 3
    ben = next(r for r in rows if r["student"] == "ben")
    assert ben["grad_log_softmax: mistake"] == "sign"
    assert next(r for r in rows if r["student"] == "dora")["score"] == ""
    assert not any(v.startswith("=") for r in rows for v in r.values())


def test_the_page_is_self_contained_and_escaped(root):
    page = report.to_html(report.read(root, LESSON))
    assert "<script" not in page and "http" not in page and "src=" not in page
    assert "isolation: " in page and "sign <b>3</b>" in page and "damaged" in page


def test_not_isolated_is_said_loudly(root):
    store = Store(root, LESSON)
    before = store.read("ada")
    store.write("ada", before | {"isolation": "NOT ISOLATED"})
    try:
        assert "class='warning'" in report.to_html(report.read(root, LESSON))
    finally:
        store.write("ada", before)


def test_the_command(root):
    run = [sys.executable, "-m", "pgcourse.cli", "report", str(root), LESSON]
    done = subprocess.run(
        run, capture_output=True, text=True, cwd=ROOT, env=os.environ | {"COLUMNS": "120"}
    )
    assert done.returncode == 0, done.stderr
    assert "sign ×3" in done.stdout
    assert (root / "report" / f"{LESSON}.html").exists()
    assert (root / "report" / f"{LESSON}.csv").exists()


def test_an_unknown_lesson_is_named(root):
    with pytest.raises(ClassError, match="no lesson called 99"):
        report.read(root, "99_nothing")
