"""What is written is judged again; what is saved as an output is not believed."""

import subprocess
import sys

import pytest
import typer

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
    source = (root / "solutions" / f"{LESSON}.ipynb").read_text(encoding="utf-8")
    assert room.read(root / "course" / f"{LESSON}.ipynb", source) is None
    assert room.read(root / "solutions" / f"{LESSON}.ipynb", source)


def test_the_command_without_notebooks_says_so(tmp_path):
    command = [sys.executable, "-m", "pgcourse.cli", "progress", str(tmp_path)]
    done = subprocess.run(command, capture_output=True, text=True)
    assert done.returncode == 1 and "No notebooks" in done.stderr and "Traceback" not in done.stderr


def test_somebody_elses_notebook_is_asked_about(saved_lesson, monkeypatch):
    from typer.testing import CliRunner

    from pgcourse import notebook

    app = typer.Typer()
    app.command()(room.command)
    monkeypatch.setattr(room, "progress", lambda *_, **__: pytest.fail("it was run"))
    monkeypatch.setattr(notebook.os, "getuid", lambda: -1)
    done = CliRunner().invoke(app, [str(saved_lesson)], input="n\n")
    assert done.exit_code == 1 and f"{LESSON}.ipynb: somebody else's" in done.output
    monkeypatch.setattr(room, "progress", lambda *_, **__: [])
    for call, typed in (([str(saved_lesson), "--yes"], ""), ([str(saved_lesson)], "y\n")):
        assert CliRunner().invoke(app, call, input=typed).exit_code == 0


def test_where_nothing_isolates_it_is_said(saved_lesson, root, monkeypatch):
    said = []
    monkeypatch.setattr(room, "judged", lambda *_: ({}, "NOT ISOLATED"))
    progress(saved_lesson, root, warn=said.append)
    assert len(said) == 1 and "No sandbox works" in said[0]
    monkeypatch.setattr(room, "judged", lambda *_: ({}, "bubblewrap"))
    progress(saved_lesson, root, warn=said.append)
    assert len(said) == 1


def test_a_folder_as_nbgrader_lays_it_is_judged_where_one_stands(
    saved_lesson, root, tmp_path, monkeypatch
):
    from typer.testing import CliRunner

    place = tmp_path / "course" / LESSON
    place.mkdir(parents=True)
    data = (saved_lesson / f"{LESSON}.ipynb").read_bytes()
    (place / f"{LESSON}.ipynb").write_bytes(data)
    rows = progress(place.parent, root)
    assert rows == progress(saved_lesson, root) and {"passed", "tried"} < {r.state for r in rows}
    (tmp_path / "empty").mkdir()
    app, asked = typer.Typer(), []
    app.command()(room.command)
    monkeypatch.setattr(room, "progress", lambda folder, **_: asked.append(folder) or [])
    for folder in (place.parent, place, tmp_path / "empty"):  # a lesson's own; one without any
        monkeypatch.chdir(folder)
        assert CliRunner().invoke(app, []).exit_code == 0
    assert asked == [place.parent, place, room.ROOT / "course"]


def test_an_installed_package_has_the_lessons_inside(saved_lesson, root, tmp_path):
    (tmp_path / "site-packages" / "pgcourse").mkdir(parents=True)
    inside = tmp_path / "site-packages" / "pgcourse" / "solutions"
    inside.symlink_to(root / "solutions")  # where the wheel puts them
    rows = progress(tmp_path / "nothing saved", tmp_path / "site-packages")
    assert {row.state for row in rows} == {"not yet"}
    with pytest.raises(FileNotFoundError):
        progress(saved_lesson, tmp_path / "elsewhere")
