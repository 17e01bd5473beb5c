"""Classes to grade in tests: classrooms made once, submissions filled in as a student would."""

import copy
import json
import re
import secrets
import shutil
import tempfile
from functools import cache
from pathlib import Path

from pgcourse.checks import budget, lesson_exercises
from pgcourse.classroom import classroom, gradebook, judge, start, warm
from pgcourse.classroom.build import ROOT
from pgcourse.classroom.students import STUDENTS

LESSON = "01_policy_gradient_theorem"
FULL = {name: e.points for name, e in lesson_exercises(LESSON).items()}
MOST = sum(FULL.values())
SOURCE = (ROOT / "solutions" / f"{LESSON}.ipynb").read_text(encoding="utf-8")
RELEASE = json.loads((ROOT / "course" / f"{LESSON}.ipynb").read_text(encoding="utf-8"))
for _cell in RELEASE["cells"]:
    _cell["source"] = "".join(_cell["source"])
RIGHT = STUDENTS[0].answers(list(lesson_exercises(LESSON).values()))


def notebook(answers=(), edit=None):
    """A submission as JSON: right answers but for `answers`; `edit` changes the notebook in place."""
    nb, texts = copy.deepcopy(RELEASE), RIGHT | dict(answers)
    for cell in nb["cells"]:
        name = cell["metadata"].get("nbgrader", {}).get("grade_id")
        if name in texts:
            cell["source"] = texts[name]
    if edit:
        edit(nb)
    return nb


def graded(answers, seed="the class's secret"):
    """What one submission earns, judged in this process's worker; a busy machine has time for it."""
    data, limits = to_bytes(notebook(answers)), warm.Limits(seconds=120)
    return judge.grade_submission(data, SOURCE, seed, limits)["exercises"]


HURRY = 0.3  # CPU seconds


def hurry(monkeypatch):
    """For tests of points: a line is looked for in every wrong answer, as ever, but not for long. Here and in the
    processes of a pool."""
    monkeypatch.setattr(budget, "LINE_OF_A_CLASS", HURRY)
    monkeypatch.setattr(start, "judge", hurried_judge)


def hurried_judge(parent, judge=start.judge):
    judge(parent)
    budget.LINE_OF_A_CLASS = HURRY


def to_bytes(nb):
    return json.dumps(nb).encode()


def hand_in(root, student, data, lesson=LESSON, name=None):
    """Put bytes into submitted/."""
    path = Path(root) / "submitted" / student / lesson / (name or f"{lesson}.ipynb")
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(data)
    return path


@cache
def first(name):
    """The first classroom of this name in this process, which nobody grades: (its directory, what removes it)."""
    folder = tempfile.TemporaryDirectory()
    return classroom.new(Path(folder.name) / name, [LESSON], report=lambda line: None), folder


def make(root):
    """A classroom with this lesson: a copy of the first one, with a seed of its own."""
    root = Path(root).resolve()
    shutil.copytree(first(root.name)[0], root)
    config = root / "nbgrader_config.py"
    seed = f"seed={secrets.token_hex(16)!r}"
    config.write_text(re.sub(r"seed='\w+'", seed, config.read_text(encoding="utf-8")))
    return root


def scores(root):
    """{student: {exercise: points}} from nbgrader's gradebook."""
    found = classroom.gradebook_scores(Path(root))
    return {
        student: {name.removeprefix("check_"): score for name, score in grades.items()}
        for (student, lesson), grades in found.items()
    }


def feedback(root, student):
    """Have nbgrader write a student's feedback. returns: its text"""
    from nbgrader.apps.api import NbGraderAPI

    room = gradebook.Classroom(root)
    with gradebook.in_directory(room.root):
        api = NbGraderAPI(coursedir=room.coursedir, config=room.app.config)
        answer = api.generate_feedback(LESSON, student)
    assert answer["success"], answer
    page = room.root / "feedback" / student / LESSON / f"{LESSON}.html"
    return page.read_text(encoding="utf-8")
