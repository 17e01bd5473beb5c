"""What is written is judged again; what is saved as an output is not believed."""

import subprocess
import sys

import pytest

from pgcourse.checks import LESSONS, get
from pgcourse.classroom import progress as room
from pgcourse.classroom.progress import progress, summary

LESSON = "01_policy_gradient_theorem"


def test_every_exercise_has_a_row_and_only_right_ones_pass(saved_lesson, root):
    told = []
    rows = progress(saved_lesson, root, told.append)
    assert told == [LESSON]  # the lessons that are not begun are not run
    assert {row.lesson for row in rows} == set(LESSONS)
    states = {row.exercise: row.state for row in rows if row.state != "not yet"}
    assert states == {"softmax": "passed", "grad_log_softmax": "tried"}
    wrong = next(row for row in rows if row.state == "tried")
    assert wrong.pitfall == "sign" and wrong.score == 0
    assert next(row for row in rows if row.exercise == "softmax").score == get("softmax").points
    assert summary(rows).startswith(f"1 of {len(rows)} exercises pass, 4 of ")
    assert "Next: grad_log_softmax in lesson 01" in summary(rows)


def test_an_untouched_course_is_not_run(root, monkeypatch):
    monkeypatch.setattr(room, "judged", lambda *_: pytest.fail("a fresh notebook was run"))
    rows = progress(root / "nowhere", root)
    assert rows and {row.state for row in rows} == {"not yet"}
    assert not room.written(root / "course" / f"{LESSON}.ipynb")
    assert room.written(root / "solutions" / f"{LESSON}.ipynb")


def test_the_command_without_notebooks_says_so(tmp_path):
    command = [sys.executable, "-m", "pgcourse.cli", "progress", str(tmp_path)]
    done = subprocess.run(command, capture_output=True, text=True)
    assert done.returncode == 1 and "No notebooks" in done.stderr and "Traceback" not in done.stderr
