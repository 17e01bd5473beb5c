"""A classroom is a standard nbgrader course; the example class earns exactly what it deserves."""

import csv
import json
import os
import subprocess
import sys

import nbformat
import pytest
import torch

from pgcourse.checks import get, judge, lesson_exercises
from pgcourse.classroom import build, classroom
from pgcourse.classroom.classroom import EXAMPLE_LESSONS, ClassroomError
from pgcourse.classroom.outputs import code_cells, put_outputs
from pgcourse.classroom.students import OTHER_STYLE, STUDENTS
from pgcourse.tensors import same_shape
from tests.test_build import SOURCE, cell


def quiet(line):
    pass


@pytest.fixture
def fixture_root(tmp_path, monkeypatch):
    """A clone with one small lesson, that was run."""
    root = tmp_path / "clone"
    (root / "solutions").mkdir(parents=True)
    (root / "solutions" / "00_fixture.py").write_text(SOURCE)
    build.build(root=root)
    path = root / "solutions" / "00_fixture.ipynb"
    nb = nbformat.read(path, as_version=4)
    put_outputs(nb, [[nbformat.v4.new_output("stream", text="shown")] for _ in code_cells(nb)])
    path.write_text(build.to_text(nb), encoding="utf-8")
    monkeypatch.setattr(classroom, "ROOT", root)
    return root


# --------------------------------------------------------------------------------------- new


def test_a_new_classroom_is_an_nbgrader_course(fixture_root, tmp_path):
    directory = classroom.new(tmp_path / "my class", report=quiet)
    assert sorted(p.name for p in (directory / "source" / "00_fixture").iterdir()) == [
        "00_fixture.ipynb"
    ]
    assert "shown" not in (directory / "source" / "00_fixture" / "00_fixture.ipynb").read_text()
    classroom.nbgrader(directory, "db", "assignment", "list")
    submitted = directory / "submitted" / "ada" / "00_fixture"
    submitted.mkdir(parents=True)
    solved = (fixture_root / "solutions" / "00_fixture.ipynb").read_bytes()
    (submitted / "00_fixture.ipynb").write_bytes(solved)
    classroom.autograde(directory, "00_fixture")
    most = {
        f"check_{name}": get(name).points
        for name in ("softmax", "score_function_gradient", "ppo_clip_loss")
    }
    assert classroom.gradebook_scores(directory) == {("ada", "00_fixture"): most}


def test_the_seed_is_secret_and_new_for_every_classroom(fixture_root, tmp_path):
    one, two = (
        (classroom.new(tmp_path / name, report=quiet) / "nbgrader_config.py").read_text()
        for name in ("one", "two")
    )
    assert "seed=" in one and one.replace("'one'", "'two'") != two


def test_a_classroom_in_the_clone_is_refused(fixture_root):
    with pytest.raises(ClassroomError, match="inside the course's own clone"):
        classroom.new(fixture_root / "class", report=quiet)
    assert not (fixture_root / "class").exists()


def test_a_classroom_that_is_not_empty_is_refused(fixture_root, tmp_path):
    (tmp_path / "full").mkdir()
    (tmp_path / "full" / "grades.csv").write_text("precious")
    with pytest.raises(ClassroomError, match="not empty"):
        classroom.new(tmp_path / "full", report=quiet)
    assert (tmp_path / "full" / "grades.csv").read_text() == "precious"


def test_a_package_without_its_notebooks_says_so(tmp_path, monkeypatch):
    monkeypatch.setattr(classroom, "ROOT", tmp_path / "site-packages")
    with pytest.raises(
        ClassroomError, match="in a clone of the course, `pgcourse build` writes them"
    ):
        classroom.new(tmp_path / "class", report=quiet)


def test_an_error_is_a_plain_message_and_an_exit_code(root):
    command = [sys.executable, "-m", "pgcourse.cli", "classroom", "new", str(root / "class")]
    done = subprocess.run(command, capture_output=True, text=True)
    assert done.returncode == 1 and "own clone" in done.stderr and "Traceback" not in done.stderr


def test_an_error_of_nbgrader_is_shown(fixture_root, tmp_path):
    directory = classroom.new(tmp_path / "class", report=quiet)
    with pytest.raises(ClassroomError, match="generate_assignment no_such failed"):
        classroom.nbgrader(directory, "generate_assignment", "no_such")


def test_nbgrader_validate_accepts_the_solution_and_refuses_the_stubs(fixture_root):
    said = {}
    for folder in ("solutions", "course"):
        path = fixture_root / folder / "00_fixture.ipynb"
        command = [sys.executable, "-m", "nbgrader", "validate", str(path)]
        said[folder] = subprocess.run(command, capture_output=True, text=True).stdout
    assert "Success!" in said["solutions"]
    assert "Success!" not in said["course"] and "not written" in said["course"]


def test_no_other_kernel_answers(tmp_path, monkeypatch):
    """Whatever kernels a user has, "python3" is this environment's."""
    for where in (tmp_path / ".local" / "share" / "jupyter", tmp_path / "extra"):
        spec = where / "kernels" / "python3"
        spec.mkdir(parents=True)
        argv = '["/bin/false", "{connection_file}"]'
        (spec / "kernel.json").write_text(f'{{"argv": {argv}, "display_name": "another"}}')
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("JUPYTER_PATH", str(tmp_path / "extra"))
    done = subprocess.run(
        [sys.executable, "-m", "jupyter", "kernelspec", "list", "--json"],
        capture_output=True,
        text=True,
        env=classroom.environment(),
    )
    found = json.loads(done.stdout)["kernelspecs"]["python3"]
    assert found["resource_dir"].startswith(sys.prefix), found


# ----------------------------------------------------------------------------------- example


@pytest.fixture(scope="module")
def example(tmp_path_factory):
    return classroom.example(tmp_path_factory.mktemp("example") / "class", quiet)


def expected(student, exercise):
    """(points, what is found) from the Exercise's definition alone."""
    exercises = list(lesson_exercises(exercise.lesson).values())
    if exercise.name not in student.answers(exercises):
        return 0.0, "not written"
    if exercise.name in student.broken:
        return 0.0, "syntax error"
    mistake = student.mistake(exercise)
    if mistake:
        return judge(mistake.wrong, exercise, seed="another").score, mistake.name
    return exercise.points, None


@pytest.mark.parametrize("lesson", EXAMPLE_LESSONS)
def test_every_answer_in_another_style_is_right(lesson):
    for exercise in lesson_exercises(lesson).values():
        answer = OTHER_STYLE.get(exercise.name, exercise.reference)
        verdict = judge(answer, exercise)
        assert verdict.passed, verdict


@pytest.mark.parametrize("student", STUDENTS, ids=lambda s: s.name)
def test_what_a_student_writes_is_what_is_meant(student):
    """The text alone, in a notebook's namespace, behaves like the function it was taken from."""
    for lesson in EXAMPLE_LESSONS:
        exercises = lesson_exercises(lesson)
        space = {"torch": torch, "same_shape": same_shape}  # which the notebooks import
        for name, text in student.answers(list(exercises.values())).items():
            if name not in student.broken:
                exec(text, space)
                verdict = judge(space[name], exercises[name])
                assert (verdict.score, verdict.pitfall) == expected(student, exercises[name])


def test_the_class_has_what_a_class_has():
    assert len(STUDENTS) >= 6
    kinds = [bool(s.pitfalls) for s in STUDENTS]
    assert (
        sum(kinds) >= 3 and any(s.broken for s in STUDENTS) and any(s.share < 1 for s in STUDENTS)
    )


@pytest.mark.slow
@pytest.mark.timeout(1800)
def test_the_gradebook_holds_exactly_the_expected_points(example):
    scores = classroom.gradebook_scores(example)
    assert set(scores) == {(s.name, lesson) for s in STUDENTS for lesson in EXAMPLE_LESSONS}
    for student in STUDENTS:
        for lesson in EXAMPLE_LESSONS:
            right = {
                f"check_{e.name}": expected(student, e)[0]
                for e in lesson_exercises(lesson).values()
            }
            assert scores[student.name, lesson] == right, (student.name, lesson)


@pytest.mark.slow
@pytest.mark.timeout(1800)
def test_the_feedback_names_each_mistake_and_shows_the_points(example):
    for student in STUDENTS:
        for lesson in EXAMPLE_LESSONS:
            page = (example / "feedback" / student.name / lesson / f"{lesson}.html").read_text()
            total = 0.0
            for exercise in lesson_exercises(lesson).values():
                points, found = expected(student, exercise)
                total += points
                if found:
                    assert found in page, (student.name, exercise.name)
            most = sum(e.points for e in lesson_exercises(lesson).values())
            assert f"(Score: {total} / {most})" in page


@pytest.mark.slow
@pytest.mark.timeout(1800)
def test_the_table_and_the_csv_say_the_same(example):
    from rich.console import Console

    console = Console(width=200, record=True, file=open(os.devnull, "w"))
    console.print(classroom.table(example))
    shown = console.export_text()
    exported = {
        (row["student_id"], row["assignment"]): float(row["score"])
        for row in csv.DictReader((example / "grades.csv").open())
    }
    for student in STUDENTS:
        totals = []
        for lesson in EXAMPLE_LESSONS:
            exercises = lesson_exercises(lesson).values()
            found = {e.name: expected(student, e)[1] for e in exercises}
            found = {name: what for name, what in found.items() if what}
            assert classroom.findings(example, student.name, lesson) == found
            assert all(f"{name}: {what}" in shown for name, what in found.items())
            totals.append(sum(expected(student, e)[0] for e in exercises))
            assert exported[student.name, lesson] == totals[-1]
        line = next(line for line in shown.split("\n") if f" {student.name} " in line)
        numbers = [part.strip() for part in line.split("│")[2 : 3 + len(totals)]]
        assert numbers == [f"{n:g}" for n in (*totals, sum(totals))]


@pytest.mark.slow
@pytest.mark.timeout(1800)
def test_a_submission_is_the_learner_s_own_notebook_filled_in(example):
    for lesson in EXAMPLE_LESSONS:
        path = f"{lesson}/{lesson}.ipynb"
        release = nbformat.read(example / "release" / path, as_version=4)
        submitted = nbformat.read(example / "submitted" / "ada" / path, as_version=4)
        changed = [
            a.metadata["nbgrader"]["grade_id"]
            for a, b in zip(release.cells, submitted.cells, strict=True)
            if a.source != b.source
        ]
        assert sorted(changed) == sorted(lesson_exercises(lesson))
        assert cell(submitted, f"check_{changed[0]}") == cell(release, f"check_{changed[0]}")


def test_without_a_directory_nothing_is_kept(monkeypatch, capsys):
    from pgcourse.cli import app

    seen = []

    def pretend(directory, report):
        directory.mkdir()
        seen.append(directory)
        return directory

    monkeypatch.setattr(classroom, "example", pretend)
    monkeypatch.setattr(classroom, "table", lambda directory: f"a table of {directory.name}")
    with pytest.raises(SystemExit) as stop:
        app(["classroom", "example"])
    assert not stop.value.code and "a table of class" in capsys.readouterr().out
    assert not seen[0].exists() and not seen[0].parent.exists()
