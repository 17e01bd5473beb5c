"""What a submission's names and times do to those who read the results: nothing."""

import csv
import os
import stat
from datetime import UTC, datetime, timedelta

import pytest
from sqlalchemy.exc import OperationalError

from pgcourse import cli
from pgcourse.classroom import grade, intake, roster
from tests import classes

NASTY = "\x1b[2J\x1b]0;mine\x07\u202egnp\x9b31m\n\r\t"


def test_no_escape_sequence_of_a_file_s_name_is_shown(tmp_path):
    for name in (f"a{NASTY}.ipynb", f"b{NASTY}.ipynb"):
        (tmp_path / name).write_text("{}")
    with pytest.raises(intake.Unreadable) as error:
        intake.find_notebook(tmp_path, "05_ppo")
    assert str(error.value).isprintable() and "a" in str(error.value)


def test_no_escape_sequence_reaches_the_terminal(tmp_path):
    from rich.console import Console

    row = grade.Row(f"eve{NASTY}", "not graded", note=f"a file called {NASTY}[red]x")
    console = Console(width=200, record=True, file=open(os.devnull, "w"))
    console.print(grade.table({"eve": row}, tmp_path, "05_ppo"))
    text = console.export_text(styles=False)
    assert "eve" in text and "[red]" in text
    assert not set(text) & set(NASTY) - {
        "\n",
        "[",
        "2",
        "J",
        "]",
        "0",
        ";",
        "m",
        "i",
        "n",
        "e",
        "g",
        "p",
        "3",
        "1",
    }


@pytest.mark.parametrize(
    "cell",
    [
        "=1+1",
        "+1+cmd",
        "-1+x",
        "@SUM(A1)",
        " =1",
        "\t=1",
        "\r=1",
        "\uff1d1+1",
        "=HYPERLINK(1)",
        "|calc",
    ],
)
def test_no_cell_is_a_formula(cell):
    assert roster.harmless(cell)[0] == "'"


@pytest.mark.parametrize("cell", ["-1.5", "+2", "ada", "", "1e-3", 3.5, None])
def test_other_cells_stay(cell):
    assert roster.harmless(cell) == cell


def test_nbgrader_export_and_the_class_are_closed(tmp_path):
    """The class is its owner's alone, and a student called like a formula is a name in grades.csv."""
    root = classes.make(tmp_path / "class")
    assert stat.S_IMODE(root.stat().st_mode) == 0o700
    assert stat.S_IMODE((root / "nbgrader_config.py").stat().st_mode) == 0o600
    from pgcourse.classroom import classroom, gradebook

    with gradebook.Classroom(root).gradebook() as book:
        book.add_student("=cmd|' /C calc'!A0", first_name="@SUM(1)", last_name="-2+3")
        book.add_submission(classes.LESSON, "=cmd|' /C calc'!A0")
    classroom.nbgrader(root, "export")
    with open(root / "grades.csv", newline="") as file:
        cells = [cell for row in csv.reader(file) for cell in row]
    assert any("calc" in cell for cell in cells)
    for cell in cells:
        assert cell[:1] not in ("=", "+", "-", "@") or roster.harmless(cell) == cell


@pytest.mark.parametrize("year", [1, 1970, 2019, 9999])
def test_a_time_that_cannot_be_is_said(tmp_path, year):
    path = tmp_path / "timestamp.txt"
    path.write_text(f"{year:04d}-01-01 00:00:00.000000 UTC")
    os.utime(path, (1_700_000_000, 1_700_000_000))
    text, notes = grade.read_timestamp(path)
    assert text == "2023-11-14 22:13:20 UTC" and "cannot be" in notes[0]


def test_an_honest_time_stays(tmp_path):
    for when in (datetime.now(UTC), datetime.now(UTC) - timedelta(days=300)):
        text = f"{when:%Y-%m-%d %H:%M:%S.%f} UTC"
        (tmp_path / "timestamp.txt").write_text(text)
        assert grade.read_timestamp(tmp_path / "timestamp.txt") == (text, [])


@pytest.mark.parametrize("text", ["", "soon", "9" * 300, "\x1b[2J", "2024-13-45"])
def test_what_is_no_time_stops_nothing(tmp_path, text):
    (tmp_path / "timestamp.txt").write_text(text)
    assert grade.read_timestamp(tmp_path / "timestamp.txt")[0] == ""


@pytest.mark.parametrize(
    "error",
    [
        OSError(28, "No space left on device"),
        PermissionError(13, "Permission denied", "gradebook.db"),
        OperationalError("select 1", {}, Exception("database is locked")),
        OSError(5, "Input/output error", "grade\x1b[2Jbook.db"),
        MemoryError(),
    ],
)
def test_what_the_machine_cannot_do_is_a_sentence(monkeypatch, tmp_path, capsys, error):
    def fail(*args, **kw):
        raise error

    monkeypatch.setattr(grade, "grade_class", fail)
    with pytest.raises(SystemExit) as end:
        cli.app(["grade", str(tmp_path), "05_ppo"])
    said = capsys.readouterr().err
    assert end.value.code == 2 and "What was graded is kept" in said and "\x1b" not in said
    assert len(said.strip().splitlines()) == 1
    assert said.endswith("Mend this and run the same command again.\n")


def test_a_fault_of_ours_keeps_its_traceback(monkeypatch, tmp_path):
    def fail(*args, **kw):
        raise LookupError("ours")

    monkeypatch.setattr(grade, "grade_class", fail)
    with pytest.raises(LookupError, match="ours") as end:
        cli.app(["grade", str(tmp_path), "05_ppo"])
    assert "What was graded is kept" in end.value.__notes__[0]
