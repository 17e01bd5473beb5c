"""nbgrader's own exchange, to the end: what an instructor releases, two students bring back, and what they read."""

import json
import os
import re
import subprocess
import sys
from pathlib import Path

import nbformat
import pytest

from pgcourse.checks import get
from pgcourse.classroom import classroom
from pgcourse.classroom.gradebook import secret_of, site_has_exchange
from pgcourse.classroom.students import text_of

LESSON = "01_policy_gradient_theorem"


AS_USER = """
import pwd
person = pwd.getpwnam("root")
pwd.getpwuid = lambda uid: pwd.struct_passwd(({name!r}, *person[1:]))  # one user stands for several
from nbgrader.apps.nbgraderapp import main
main()
"""


def nbgrader(folder, *args, home):
    """Run nbgrader as the user of this home would, in a folder; returns what it said."""
    env = classroom.environment() | {
        "HOME": str(home),
        "JUPYTER_CONFIG_DIR": str(home / ".jupyter"),
    }
    command = [sys.executable, "-c", AS_USER.format(name=home.name), *args]
    done = subprocess.run(command, cwd=folder, env=env, capture_output=True, text=True, timeout=500)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout + done.stderr


@pytest.mark.slow
def test_two_students_read_what_they_got(tmp_path, monkeypatch):
    """release, fetch, work, validate, submit, collect, grade, generate_feedback, release_feedback, fetch_feedback."""
    site = tmp_path / "exchange"
    site.mkdir(mode=0o777)
    homes = {name: tmp_path / name for name in ("teacher", "ada", "bob")}
    for name, home in homes.items():
        config = f"c = get_config()\nc.Exchange.root = {str(site)!r}\n"
        config += "c.CourseDirectory.course_id = 'class'\n" * (name != "teacher")
        (home / ".jupyter").mkdir(parents=True)
        (home / ".jupyter" / "nbgrader_config.py").write_text(config)
    monkeypatch.setenv("JUPYTER_CONFIG_DIR", str(homes["teacher"] / ".jupyter"))
    teacher = homes["teacher"]
    room = classroom.new(teacher / "class", [LESSON], report=lambda line: None)
    nbgrader(room, "release_assignment", LESSON, home=teacher)
    assert (site / "class" / "outbound" / LESSON).is_dir()  # where the site wants it

    for name in ("ada", "bob"):
        nbgrader(homes[name], "fetch_assignment", LESSON, home=homes[name])
        path = homes[name] / LESSON / f"{LESSON}.ipynb"
        nb = nbformat.read(path, as_version=4)
        for cell in nb.cells:
            about = cell.metadata.get("nbgrader", {})
            if about.get("solution") and (name == "ada" or about["grade_id"] == "softmax"):
                cell.source = text_of(get(about["grade_id"]).reference, about["grade_id"])
        nbformat.write(nb, path)
        nbgrader(homes[name], "submit", LESSON, home=homes[name])

    nbgrader(room, "collect", LESSON, home=teacher)
    (room / "submitted" / "carol" / LESSON).mkdir(parents=True)  # who sent it by mail
    (room / "submitted" / "carol" / LESSON / f"{LESSON}.ipynb").write_bytes(path.read_bytes())
    command = [sys.executable, "-m", "pgcourse.cli", "grade", str(room), LESSON]
    done = subprocess.run(command, capture_output=True, text=True, timeout=500)
    assert done.returncode == 0, done.stdout + done.stderr
    nbgrader(room, "generate_feedback", LESSON, home=teacher)
    nbgrader(room, "release_feedback", LESSON, home=teacher)

    for name, right in (("ada", True), ("bob", False)):
        nbgrader(homes[name], "fetch_feedback", LESSON, home=homes[name])
        (page,) = (homes[name] / LESSON / "feedback").rglob("*.html")
        text = page.read_text(encoding="utf-8")
        assert "✓ softmax" in text
        assert ("✓ grad_log_softmax" in text) == right
        assert ("✗ grad_log_softmax" in text) != right


@pytest.mark.parametrize(
    "name, text",
    [
        ("nbgrader_config.py", "c = get_config()\nc.Exchange.root = '/srv/exchange'\n"),
        ("nbgrader_config.json", json.dumps({"Exchange": {"root": "/srv/exchange"}})),
    ],
)
def test_a_sites_exchange_is_not_overridden(name, text, tmp_path, monkeypatch):
    monkeypatch.setenv("JUPYTER_CONFIG_DIR", str(tmp_path))
    from nbgrader.exchange.default import Exchange

    monkeypatch.setattr(Exchange.root, "default_value", str(tmp_path / "none"))
    (tmp_path / "nbgrader_config.py").write_text("c = get_config()\nc.Other.root = 1\n")
    assert not site_has_exchange()
    (tmp_path / name).write_text(text)
    assert site_has_exchange()
    (tmp_path / name).unlink()
    monkeypatch.setattr(Exchange.root, "default_value", str(tmp_path))  # the default one is there
    assert site_has_exchange()


def test_a_secret_is_believed_only_if_it_can_be_one(tmp_path):
    unknown = secret_of(tmp_path)
    assert re.fullmatch("[0-9a-f]{128}", unknown) and secret_of(tmp_path) != unknown
    path = tmp_path / "submission_secret.txt"
    path.write_text("ab" * 64)
    assert secret_of(tmp_path) == "ab" * 64
    for wrong in ("../../x", "a" * 5000 + "é", ""):
        path.write_text(wrong)
        assert secret_of(tmp_path) not in (wrong, wrong[:1000])
    path.unlink()
    os.symlink(Path(__file__), path)
    assert re.fullmatch("[0-9a-f]{128}", secret_of(tmp_path))


def test_a_classroom_of_some_lessons(tmp_path):
    with pytest.raises(classroom.ClassroomError, match="no lesson called 99_x; there are: 01_"):
        classroom.new(tmp_path / "class", ["99_x"])
    from pgcourse.cli import app

    with pytest.raises(SystemExit) as end:
        app(["classroom", "new", str(tmp_path / "two"), "--lesson", LESSON])
    assert not end.value.code
    assert [p.name for p in (tmp_path / "two" / "release").iterdir()] == [LESSON]
