"""The guide's worked examples run as they stand: a penalty a day, an extension, grades that go back."""

import csv
import io
import re

import pytest

from pgcourse.classroom import classroom, report
from pgcourse.classroom.build import ROOT
from pgcourse.classroom.export import export
from pgcourse.classroom.grade import grade_class
from pgcourse.classroom.gradebook import Classroom, in_directory
from tests import classes
from tests.classes import LESSON, MOST, notebook, to_bytes


def examples():
    """The guide's Python blocks about being late: late.py, what the configuration gets, the due date."""
    guide = (ROOT / "course" / "INSTRUCTORS.md").read_text(encoding="utf-8")
    part = guide[guide.index("**Late penalties**") : guide.index("## The report")]
    return re.findall("```python\n(.*?)```", part, re.S)


@pytest.mark.slow
def test_a_point_a_day_and_an_extension(tmp_path):
    root = classes.make(tmp_path / "class")
    late_py, config, due = examples()
    (root / "late.py").write_text(late_py)
    path = root / "nbgrader_config.py"
    path.write_text(path.read_text() + config)
    with in_directory(root):
        exec(due.replace("05_ppo", LESSON), {})  # due 2025-03-03 22:00; two days more for ada
    when = {
        "ada": "2025-03-06 21:00:00",
        "ben": "2025-03-05 04:00:00",
        "cleo": "2025-03-03 21:59:00",
    }
    for name, time in when.items():
        handed_in = classes.hand_in(root, name, to_bytes(notebook()))
        (handed_in.parent / "timestamp.txt").write_text(f"{time} UTC")
    grade_class(root, LESSON, jobs=1)
    found = {p.name: p for p in report.read(root, LESSON).people}
    assert {name: p.penalty for name, p in found.items()} == {"ada": 1.0, "ben": 2.0, "cleo": 0.0}
    assert found["ben"].late == pytest.approx(30 / 24) and found["ben"].total == MOST - 2
    rows = csv.DictReader(io.StringIO(export(root, LESSON, "csv")[0]))
    assert {r["student"]: float(r["score"]) for r in rows} == {
        "ada": MOST - 1,
        "ben": MOST - 2,
        "cleo": MOST,
    }
    classroom.nbgrader(root, "export", "--to", "grades.csv")  # nbgrader's own table agrees
    rows = [r for r in csv.DictReader((root / "grades.csv").open()) if r["assignment"] == LESSON]
    assert {r["student_id"]: float(r["score"]) for r in rows} == {
        "ada": MOST - 1,
        "ben": MOST - 2,
        "cleo": MOST,
    }


def test_each_class_has_its_own_plugins(tmp_path):
    """Two classes in one process, each with a late.py beside its configuration."""
    for name in ("first", "second", "first"):
        root = tmp_path / name
        root.mkdir(exist_ok=True)
        (root / "late.py").write_text(f"NAME = {name!r}\n")
        (root / "nbgrader_config.py").write_text(
            f"import sys\nsys.path.insert(0, {str(root)!r})\nimport late\nc = get_config()\n"
            "c.CourseDirectory.course_id = late.NAME\n"
        )
        assert Classroom(root).app.config.CourseDirectory.course_id == name
