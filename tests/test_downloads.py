"""Downloads as learning platforms make them: everybody is found, under one name, and nothing is lost without a word."""

import csv
import io
import os
import tarfile
import unicodedata
import zipfile
from pathlib import Path

import pytest

from pgcourse.classroom import archives, downloads, roster
from pgcourse.classroom.grade import collect
from pgcourse.classroom.gradebook import ClassError
from pgcourse.cli import app

L, OTHER = "05_ppo", "03_baselines"
TWO = ["Jane_Doe", "Bob_Smith"]


@pytest.fixture
def room(tmp_path):
    """A classroom with two lessons, and nothing in them."""
    root = tmp_path / "class"
    for lesson in (L, OTHER):
        (root / "source" / lesson).mkdir(parents=True)
    config = "from pgcourse.classroom.gradebook import configure\nc = get_config()\nconfigure(c, seed='s')\n"
    (root / "nbgrader_config.py").write_text(config)
    return root


def folder_of(path, names):
    for i, name in enumerate(names):
        place = path / name
        place.parent.mkdir(parents=True, exist_ok=True)
        if not place.exists():
            place.write_text(f"{name}")
        os.utime(place, (10**9 + i, 10**9 + i))
    return path


def accounted(found):
    return len(found.students) + len(found.older) + len(found.beside) + len(found.unusable)


PLATFORMS = {
    "Moodle in folders": (
        [
            f"Jane Doe_1234567_assignsubmission_file/{L}.ipynb",
            f"Bob Smith_7654321_assignsubmission_file_/{L}.ipynb",
        ],
        TWO,
    ),
    "Moodle, flat": (
        [
            f"Jane Doe_1234567_assignsubmission_file_{L}.ipynb",
            "Bob Smith_99_assignsubmission_file_x y.ipynb",
        ],
        TWO,
    ),
    "Moodle, a text beside": (
        [
            f"Jane Doe_12_assignsubmission_file/{L}.ipynb",
            "Jane Doe_12_assignsubmission_onlinetext/onlinetext.html",
        ],
        ["Jane_Doe"],
    ),
    "Canvas": (
        [f"doejane_1234_56789_{L}.ipynb", f"smithbob_LATE_77_88_{L}-2.ipynb"],
        ["doejane", "smithbob"],
    ),
    "Blackboard": (
        [
            f"Homework 1_jdoe_attempt_2024-01-30-20-30-10_{L}.ipynb",
            f"Homework 1_b_smith_attempt_2024-01-30-20-31-10_{L}.ipynb",
            "Homework 1_jdoe_attempt_2024-01-30-20-30-10.txt",
        ],
        ["jdoe", "b_smith"],
    ),
    "Brightspace, flat": (
        [
            f"118-220 - Jane Doe - Oct 3, 2023 1159 PM - {L}.ipynb",
            f"119-220 - Bob Smith - Oct 3, 2023 158 PM - {L}.ipynb",
            "index.html",
        ],
        TWO,
    ),
    "Brightspace in folders, two attempts": (
        [
            f"118-220 - Jane Doe - Oct 13, 2023 1159 PM/{L}.ipynb",
            f"118-220 - Jane Doe - Oct 9, 2023 1159 PM/{L}.ipynb",
            f"119-220 - Bob Smith - Oct 3, 2023 1258 AM/{L}.ipynb",
        ],
        TWO,
    ),
    "Brightspace, in another order": (
        [
            f"118-220 - Jane Doe - 3 October, 2023 2359 - {L}.ipynb",
            f"119-220 - Bob Smith - Sept. 3, 2023 1158 PM - {L}.ipynb",
        ],
        TWO,
    ),
    "Google Drive, in two archives": (
        [
            f"drive-download-20240130T203010Z-001/Jane Doe - {L}.ipynb",
            f"drive-download-20240130T203010Z-002/Copy of {L} - Bob Smith.ipynb",
        ],
        TWO,
    ),
    "GitHub Classroom": (
        [f"ppo/05-ppo-jdoe/{L}.ipynb", "ppo/05-ppo-jdoe/README.md", f"ppo/{L}-bsmith/{L}.ipynb"],
        ["jdoe", "bsmith"],
    ),
    "nbgrader's exchange": (
        [
            f"jdoe+{L}+2024-01-30 20:30:10.123456 UTC+aGVs/{L}.ipynb",
            f"bsmith+{L}+2024-01-30 20_31_10.123456 UTC/{L}.ipynb",
        ],
        ["jdoe", "bsmith"],
    ),
    "nbgrader's submitted": (
        [f"submitted/jdoe/{L}/{L}.ipynb", f"submitted/bsmith/{L}/{L}.ipynb"],
        ["jdoe", "bsmith"],
    ),
    "brackets": ([f"{L} (Jane Doe).ipynb", f"[Bob Smith] {L}.ipynb"], TWO),
    "Google Classroom": ([f"Jane Doe - {L}.ipynb", f"{L} - Bob Smith.ipynb"], TWO),
    "Sakai": (
        [
            f"PPO/Doe, Jane(jdoe)/Submission attachment(s)/{L}.ipynb",
            "PPO/Doe, Jane(jdoe)/timestamp.txt",
            f"PPO/Smith, Bob(bsmith)/Submission attachment(s)/{L}.ipynb",
            "PPO/grades.csv",
        ],
        ["jdoe", "bsmith"],
    ),
    "ILIAS": (
        [
            f"PPO/Doe_Jane_jdoe_123/20240130203010_{L}.ipynb",
            f"PPO/Smith_Bob_bsmith_124/20240130203011_{L}.ipynb",
        ],
        ["jdoe", "bsmith"],
    ),
    "Teams": (
        [
            f"Student Work/Submitted files/Jane Doe/PPO/Version 1/{L}.ipynb",
            f"Student Work/Submitted files/Jane Doe/PPO/Version 2/{L}.ipynb",
            f"Student Work/Working files/Jane Doe/PPO/{L}.ipynb",
            f"Student Work/Submitted files/Bob Smith/PPO/{L}.ipynb",
        ],
        TWO,
    ),
    "a folder each": ([f"jdoe/{L}.ipynb", "bsmith/my work.ipynb"], ["jdoe", "bsmith"]),
    "one folder around": (
        [f"Homework 1/jdoe/{L}.ipynb", f"Homework 1/bsmith/{L}.ipynb"],
        ["jdoe", "bsmith"],
    ),
    "sections": (
        [f"A/jdoe/{L}.ipynb", f"A/bsmith/{L}.ipynb", f"B/alee/{L}.ipynb", f"B/wu/{L}.ipynb"],
        ["jdoe", "bsmith", "alee", "wu"],
    ),
    "the name last": ([f"{L}_jdoe.ipynb", f"{L}_bsmith.ipynb"], ["jdoe", "bsmith"]),
    "the name first": ([f"jdoe_{L}.ipynb", f"bsmith-{L} (1).ipynb"], ["jdoe", "bsmith"]),
    "one student only": ([f"jdoe/{L}.ipynb"], ["jdoe"]),
    "one student, flat, in a folder": ([f"Homework/{L}_jdoe.ipynb"], ["jdoe"]),
}


@pytest.mark.parametrize("names, students", PLATFORMS.values(), ids=PLATFORMS)
@pytest.mark.parametrize("packed", ["folder", "zip", "tar.gz"])
def test_everybody_is_found(names, students, packed, room, tmp_path):
    source = folder_of(tmp_path / "download", names)
    if packed == "zip":
        with zipfile.ZipFile(tmp_path / "d.zip", "w") as archive:
            for path in sorted(source.rglob("*")):
                archive.write(path, path.relative_to(source))
        source = tmp_path / "d.zip"
    elif packed == "tar.gz":
        with tarfile.open(tmp_path / "d.tar.gz", "w:gz") as archive:
            archive.add(source, ".")
        source = tmp_path / "d.tar.gz"
    found = collect(room, L, source)
    assert sorted(found.students) == sorted(students)
    assert accounted(found) == len(names)
    for student in students:
        assert (room / "submitted" / student / L / f"{L}.ipynb").is_file()


@pytest.mark.parametrize(
    "names, students",
    [
        # macOS takes ü apart; marks of direction and of no width; scripts with marks of their own
        ([unicodedata.normalize("NFD", f"Zoë Müller_1_assignsubmission_file/{L}.ipynb")], ["Zoë_Müller"]),
        ([f"\u202eJane\u200b Doe\u202c_1_assignsubmission_file/{L}.ipynb"], ["Jane_Doe"]),
        ([f"सीता देवी_1_assignsubmission_file/{L}.ipynb"], ["सीता_देवी"]),
        ([f"ja\nne_1_assignsubmission_file/{L}.ipynb"], ["ja_ne"]),
        ([f"Jane%20Doe/{L}.ipynb", f"b/{L}.ipynb"], ["Jane_Doe", "b"]),
        ([f"🦄_12_assignsubmission_file/{L}.ipynb"], ["student_12"]),
        # two people of one name are two: neither is the other's older attempt
        ([f"Jane Doe_{n}_assignsubmission_file/{L}.ipynb" for n in (1, 2)], ["Jane_Doe_1", "Jane_Doe_2"]),
        ([f"{n}-9 - Jane Doe - Oct 3, 2023 158 PM - {L}.ipynb" for n in (1, 2)], ["Jane_Doe_1-9", "Jane_Doe_2-9"]),
        # zeros in front are part of an id
        ([f"007/{L}.ipynb", f"7/{L}.ipynb"], ["007", "7"]),
        ([f"0012_{L}.ipynb", f"{L}_0013.ipynb"], ["0012", "0013"]),
        # the lesson's name as people type it, and what browsers make of a notebook's ending
        ([f"jdoe/{L.upper()}.IPYNB"], ["jdoe"]),
        (["jdoe_05-PPO.ipynb", "bob_05 ppo.ipynb"], ["bob", "jdoe"]),
        ([f"a/{L}.ipynb", f"b/{L}.ipynb.txt", f"c/{L}.ipynb.json", f"d/{L}.json"], ["a", "b", "c", "d"]),
        # the lesson's own number is no student's
        ([f"jdoe_{L}.ipynb", f"jdoe_{L} (1).ipynb"], ["jdoe"]),
    ],
)  # fmt: skip
def test_names_are_read_as_they_are_meant(names, students, room, tmp_path):
    found = collect(room, L, folder_of(tmp_path / "d", names))
    assert sorted(found.students) == students and accounted(found) == len(names)


def test_namesakes_are_said(room, tmp_path, capsys):
    from rich.console import Console

    names = [f"Jane Doe_{n}_assignsubmission_file/{L}.ipynb" for n in (1, 2)]
    found = collect(room, L, folder_of(tmp_path / "d", names))
    with (console := Console(width=300)).capture() as said:
        console.print(downloads.table(found))
    assert said.get().count("one of several of this name") == 2


def zip_with(path, names):
    """An archive whose names are these bytes, without the flag that says UTF-8."""
    with zipfile.ZipFile(path, "w") as archive:
        for i, name in enumerate(names):
            archive.writestr(f"{i:0{len(name)}}", b"x")
    data = path.read_bytes()
    for i, name in enumerate(names):
        data = data.replace(f"{i:0{len(name)}}".encode(), name)
    path.write_bytes(data)
    return path


@pytest.mark.parametrize("code", ["utf-8", "cp437", "cp850", "cp1252"])
def test_names_in_an_archive_of_any_age(code, room, tmp_path):
    names = [
        f"{who}_1_assignsubmission_file/{L}.ipynb".encode(code) for who in ("Müller Zoë", "André")
    ]
    found = collect(room, L, zip_with(tmp_path / "d.zip", names))
    assert sorted(found.students) == ["André", "Müller_Zoë"]


def test_an_archives_name_with_a_drive_is_a_trap(room, tmp_path):
    with zipfile.ZipFile(tmp_path / "d.zip", "w") as archive:
        for name in (f"C:\\x\\jdoe\\{L}.ipynb", f"ok\\{L}.ipynb"):
            archive.writestr(name, "x")
    found = collect(room, L, tmp_path / "d.zip")
    assert [*found.students] == ["ok"] and len(found.unusable) == 1


def test_what_a_mac_or_windows_adds_is_no_students(room, tmp_path):
    names = [
        f"jdoe/{L}.ipynb",
        f"__MACOSX/jdoe/._{L}.ipynb",
        "jdoe/.DS_Store",
        "Thumbs.db",
        "desktop.ini",
    ]
    with zipfile.ZipFile(tmp_path / "d.zip", "w") as archive:
        for name in names:
            archive.writestr(name, "x")
    found = collect(room, L, tmp_path / "d.zip")
    assert [*found.students] == ["jdoe"] and not found.unusable and not found.older


@pytest.mark.parametrize(
    "text, encoding, names, student",
    [
        ("Username,First name,Last name\n0012,Zoë,Müller\n", "utf-8", ["0012", "12", "Zoë Müller"], "0012"),
        ("Anmeldename;Vorname;Nachname\nzm;Zoë;Müller\n", "cp1252", ["zm", "Müller, Zoë"], "zm"),
        ("Username\tLast name\tFirst name\nzm\tMüller\tZoë\n", "utf-16", ["Zoe Muller"], "zm"),
        ("Username,Full name\nfp,François “Paco” Peña\n", "cp1252", ["Francois Paco Pena"], "fp"),
    ],
)  # fmt: skip
def test_class_lists_of_other_countries_and_spreadsheets(text, encoding, names, student, tmp_path):
    (tmp_path / "list.csv").write_bytes(text.encode(encoding))
    found = roster.read(tmp_path / "list.csv")
    assert [found.find(name) for name in names] == [student] * len(names)


def chosen(found):
    return {name: str(item.inside) for name, item in found.students.items()}


def test_the_last_attempt_counts(room, tmp_path):
    names, _ = PLATFORMS["Brightspace in folders, two attempts"]
    found = collect(room, L, folder_of(tmp_path / "d", names))
    assert "Oct 13" in chosen(found)["Jane_Doe"] and len(found.older) == 1
    found = collect(room, L, folder_of(tmp_path / "t", PLATFORMS["Teams"][0]))
    assert "Version 2" in chosen(found)["Jane_Doe"]


@pytest.mark.parametrize(
    "name, when",
    [
        (f"H_x_jdoe_attempt_2024-01-30-20-30-10_{L}.ipynb", "2024-01-30 20:30:10"),
        (f"1-2 - jdoe - Oct 3, 2023 1159 PM - {L}.ipynb", "2023-10-03 23:59:00"),
        (f"P/Doe_J_jdoe_1/20240130203010_{L}.ipynb", "2024-01-30 20:30:10"),
        (f"1-2 - jdoe - 3 October, 2023 2359 - {L}.ipynb", "2023-10-03 23:59:00"),
        (f"jdoe+{L}+2024-01-30 20:30:10.12 UTC+x/{L}.ipynb", "2024-01-30 20:30:10 +0000"),
    ],
)
def test_a_time_in_the_name_is_nbgraders_timestamp(name, when, room, tmp_path):
    from nbgrader.utils import parse_utc

    collect(room, L, folder_of(tmp_path / "d", [name]))
    text = (room / "submitted" / "jdoe" / L / "timestamp.txt").read_text()
    assert text.startswith(when) and parse_utc(text)


def test_a_notebook_as_a_script_is_one_and_beside_its_notebook_it_is_not(room, tmp_path):
    folder = folder_of(tmp_path / "d", [f"jdoe/{L}.py", f"lee/{L}.py", f"lee/{L}.ipynb", "wu/x.py"])
    for who in ("jdoe", "lee"):
        (folder / who / f"{L}.py").write_text("# Databricks notebook source\nx = 1\n")
    found = collect(room, L, folder)
    assert {n: i.inside.suffix for n, i in found.students.items()} == {
        "jdoe": ".py",
        "lee": ".ipynb",
    }
    assert [str(i.inside) for _, i in found.beside] == [f"lee/{L}.py"]
    assert [str(i.inside) for i, _ in found.unusable] == ["wu/x.py"]
    kept = room / "submitted" / "jdoe" / L / f"{L}.ipynb"
    assert kept.read_text().startswith("# Databricks")


def test_late_without_a_time_is_said(room, tmp_path, capsys):
    found = collect(
        room, L, folder_of(tmp_path / "d", [f"doe_LATE_1_2_{L}.ipynb", f"lee_3_4_{L}.ipynb"])
    )
    assert found.students["doe"].late and not found.students["lee"].late
    from rich.console import Console

    with (console := Console(width=200)).capture() as said:
        console.print(downloads.table(found))
    words = " ".join(said.get().split())
    assert "late, time unknown" in words and "No time is known of 2" in words


def test_gradescopes_own_list_says_who(room, tmp_path):
    folder = folder_of(
        tmp_path / "d", [f"export/submission_11/{L}.ipynb", f"export/submission_12/{L}.ipynb"]
    )
    (folder / "export" / "submission_metadata.yml").write_text(
        "submission_11:\n  :submitters:\n  - :name: Jane Doe\n    :sid: '77'\n    :email: jdoe@x.edu\n"
        "  :created_at: 2024-01-30 20:30:10.5 -08:00\n"
    )
    found = collect(room, L, folder)
    assert sorted(found.students) == ["jdoe", "submission_12"]
    assert found.students["jdoe"].when.isoformat()[:10] in ("2024-01-30", "2024-01-31")


def test_one_student_has_one_name_in_every_lesson(room, tmp_path):
    collect(room, L, folder_of(tmp_path / "a", [f"smith_11_1_{L}.ipynb", f"smith_22_2_{L}.ipynb"]))
    found = collect(room, OTHER, folder_of(tmp_path / "b", [f"smith_22_9_{OTHER}.ipynb"]))
    assert [*found.students] == ["smith_22"]
    found = collect(room, OTHER, folder_of(tmp_path / "c", [f"smith_33_9_{OTHER}.ipynb"]))
    assert [*found.students] == ["smith_33"]
    for number in (1, 2):  # Moodle's numbers are of the assignment, not of the student
        names = [f"Jane Doe_{number}_assignsubmission_file/{L}.ipynb"]
        assert [*collect(room, L, folder_of(tmp_path / f"m{number}", names)).students] == [
            "Jane_Doe"
        ]


CANVAS = """Student,ID,SIS User ID,SIS Login ID,Section,05_ppo (881)
"Doe, Jané",1234,S77,jdoe,"A",
"Smith, Bob",77,S78,=bsmith,"A",
"""


def test_a_class_list_settles_names(room, tmp_path):
    path = tmp_path / "list.csv"
    path.write_text(CANVAS, encoding="utf-8-sig")
    shapes = [
        [f"doejane_1234_5_{L}.ipynb"],
        [f"Jané Doe_5_assignsubmission_file/{L}.ipynb"],
        [f"118-220 - Jane Doe - Oct 3, 2023 1159 PM - {L}.ipynb"],
        [f"H_jdoe_attempt_2024-01-30-20-30-10_{L}.ipynb"],
    ]
    for i, names in enumerate(shapes):
        found = collect(room, L, folder_of(tmp_path / f"d{i}", names), path)
        assert [*found.students] == ["jdoe"] and not found.strangers, names
    found = collect(room, L, folder_of(tmp_path / "e", [f"nobody_1_2_{L}.ipynb"]), path)
    assert found.strangers == ["nobody"]


def test_a_name_in_another_case_is_the_student_the_class_has(room, tmp_path):
    collect(
        room, OTHER, folder_of(tmp_path / "d", [f"Jane Doe/{OTHER}.ipynb", f"WU/{OTHER}.ipynb"])
    )
    found = collect(
        room,
        L,
        folder_of(tmp_path / "e", [f"jane doe/{L}.ipynb", f"Wu/{L}.ipynb", f"lee/{L}.ipynb"]),
    )
    assert sorted(found.students) == ["Jane_Doe", "WU", "lee"]
    # where a class has both they are two, and a class list has the last word
    (room / "submitted" / "wu" / OTHER).mkdir(parents=True)
    found = collect(room, L, folder_of(tmp_path / "f", [f"Wu/{L}.ipynb", f"wu/{L}.ipynb"]))
    assert sorted(found.students) == ["Wu", "wu"]
    found = collect(room, L, folder_of(tmp_path / "h", [f"LEE/{L}.ipynb", f"lee/{L}.ipynb"]))
    assert sorted(found.students) == ["LEE", "lee"]
    listed = tmp_path / "list.csv"
    listed.write_text("username,email\njane_doe,jd@x.org\n")
    found = collect(room, L, folder_of(tmp_path / "g", [f"jane doe/{L}.ipynb"]), str(listed))
    assert sorted(found.students) == ["jane_doe"]


def test_moodles_group_before_a_name_is_no_part_of_it_where_a_class_list_says_so(room, tmp_path):
    listed = tmp_path / "list.csv"
    listed.write_text(
        "username,first name,last name\njdoe,Jane,Doe\nanne,Anne-Marie,Roe\nmarie,Marie,Roe\n"
    )
    names = [
        "Group A-Jane Doe_1",
        "B-2-Anne-Marie Roe_2",
        "Marie Roe_3",
        "C-Who Else_4",
        "Lou-Marie Roe_5",
    ]
    folder = folder_of(tmp_path / "d", [f"{n}_assignsubmission_file/{L}.ipynb" for n in names])
    found = collect(room, L, folder, str(listed))
    # Lou-Marie is not on the list, and not the Marie who is there herself
    assert sorted(found.students) == ["C-Who_Else", "Lou-Marie_Roe", "anne", "jdoe", "marie"]
    assert found.strangers == ["C-Who_Else", "Lou-Marie_Roe"] and not found.older


def test_what_is_no_class_list_is_said(tmp_path):
    (tmp_path / "x.csv").write_text("a,b\n1,2\n")
    with pytest.raises(ClassError, match="expected a CSV file.*username"):
        roster.read(tmp_path / "x.csv")
    with pytest.raises(ClassError, match="cannot be read"):
        roster.read(tmp_path / "no.csv")


@pytest.mark.parametrize(
    "name, reason",
    [
        ("jdoe/answers.pdf", "no notebook"),
        ("jdoe/work.rar", "archive of a kind"),
        (f"jdoe/{OTHER}.ipynb", f"another lesson, {OTHER}"),
        (f"{L}.ipynb", "no student's name"),
        ("jdoe/broken.zip", "archive is damaged"),
    ],
)
def test_what_cannot_be_used_is_named(name, reason, room, tmp_path, capsys):
    folder = folder_of(tmp_path / "d", [name, f"bsmith/{L}.ipynb"])
    found = collect(room, L, folder, look_only=True)
    assert [(str(item.inside), reason in says) for item, says in found.unusable] == [(name, True)]
    with pytest.raises(SystemExit) as end:
        app(["grade", str(room), L, "--from", str(folder), "--dry-run"])
    assert end.value.code == 1
    assert Path(name).name in capsys.readouterr().out and not (room / "submitted").exists()


def test_archives_inside_are_opened_and_hold_no_trap(room, tmp_path):
    folder = tmp_path / "d"
    (folder / "Jane Doe_1_assignsubmission_file").mkdir(parents=True)
    (folder / "bob").mkdir()
    with zipfile.ZipFile(folder / "Jane Doe_1_assignsubmission_file" / "all.zip", "w") as archive:
        archive.writestr(f"work/{L}.ipynb", "jane")
        archive.writestr("../../../outside.ipynb", "trap")
    with tarfile.open(folder / "bob" / f"{L}.tar.gz", "w:gz") as archive:
        info = tarfile.TarInfo(f"{L}.ipynb")
        info.size = 3
        archive.addfile(info, io.BytesIO(b"bob"))
        link = tarfile.TarInfo("link.ipynb")
        link.type, link.linkname = tarfile.SYMTYPE, "/etc/passwd"
        archive.addfile(link)
    found = collect(room, L, folder)
    assert sorted(found.students) == ["Jane_Doe", "bob"]
    assert [says for _, says in found.unusable] == ["not taken out of its archive"]
    assert (room / "submitted" / "Jane_Doe" / L / f"{L}.ipynb").read_text() == "jane"
    assert not [*tmp_path.rglob("outside.ipynb")]


def test_an_archive_that_unpacks_to_too_much_is_named(room, tmp_path, monkeypatch):
    monkeypatch.setattr(archives, "MOST_FILES", 5)
    folder = folder_of(tmp_path / "d", [f"bob/{L}.ipynb"])
    with zipfile.ZipFile(folder / "bomb.zip", "w") as archive:
        for i in range(10):
            archive.writestr(f"{i}.ipynb", "x")
    found = collect(room, L, folder, look_only=True)
    assert "too much" in found.unusable[-1][1] and "bob" in found.students


def test_grades_go_back_in_the_platforms_form(tmp_path):
    path = tmp_path / "canvas.csv"
    path.write_text(CANVAS, encoding="utf-8")
    text, left = roster.with_grades(roster.read(path), "canvas", L, {"jdoe": 7.5, "nobody": 1.0})
    rows = [*csv.DictReader(io.StringIO(text))]
    assert (
        rows[0]["05_ppo (881)"] == "7.5"
        and rows[0]["Student"] == "Doe, Jané"
        and left == ["nobody"]
    )
    assert rows[1]["SIS Login ID"] == "'=bsmith" and rows[1]["05_ppo (881)"] == ""
    sheet = "Identifier,Full name,Email address,Status,Grade\nParticipant 9,Jane Doe,jdoe@x.edu,Submitted,\n"
    path.write_text(sheet, encoding="utf-8")
    text, left = roster.with_grades(roster.read(path), "moodle", L, {"jdoe": 7.5})
    (row,) = csv.DictReader(io.StringIO(text))
    assert row["Grade"] == "7.5" and row["Identifier"] == "Participant 9" and not left


@pytest.mark.parametrize("text", ["=1+1", "+1+1", "-1+1", "@SUM(A1)", "\t=1", " =1"])
def test_no_cell_is_a_formula(text):
    assert roster.harmless(text).startswith("'")
    assert roster.harmless("-1.5") == "-1.5" and roster.harmless("Doe, J") == "Doe, J"


def test_grades_are_exported_by_command(room, tmp_path, capsys):
    from nbgrader.api import Gradebook

    path = tmp_path / "canvas.csv"
    path.write_text(CANVAS, encoding="utf-8")

    def export(*more):
        with pytest.raises(SystemExit) as end:
            app(["export", str(room), L, "--out", str(tmp_path / "out.csv"), *more])
        return end.value.code or 0

    assert export() == 2 and "no gradebook yet" in capsys.readouterr().err
    with Gradebook(f"sqlite:///{room / 'gradebook.db'}") as book:
        book.add_assignment(L)
        assert export() == 0
        for name in ("jdoe", "=cmd"):
            book.add_student(name)
            book.add_submission(L, name)
    assert export() == 0
    assert [r["student"] for r in csv.DictReader(open(tmp_path / "out.csv"))] == ["'=cmd", "jdoe"]
    assert export("--to", "moodle") == 2 and "--roster" in capsys.readouterr().err
    assert export("--to", "canvas", "--roster", str(path)) == 1  # =cmd is in no list
    assert "=cmd" in capsys.readouterr().err
    assert [*csv.DictReader(open(tmp_path / "out.csv"))][0]["05_ppo (881)"] == "0"


def test_nbgraders_zip_collect_reads_the_same_names(room, tmp_path):
    """Moodle's folders and a resubmission on Canvas, without a regular expression in the configuration."""
    import subprocess
    import sys

    from pgcourse.classroom.classroom import environment

    archive = room / "downloaded" / L / "archive"
    archive.mkdir(parents=True)
    with zipfile.ZipFile(archive / "PPO-2026.zip", "w") as file:
        for name in (
            f"Bob Smith_77_assignsubmission_file/{L}.ipynb",
            f"Müller, Zoë_78_assignsubmission_file/{L}.ipynb",
            f"Blackboard_jdoe_attempt_2024-01-30-20-30-10_{L}.ipynb",
            f"Blackboard_jdoe_attempt_2024-01-31-20-30-10_{L}.ipynb",
            "grades.csv",
        ):
            file.writestr(name, name)
    (room / "release" / L).mkdir(parents=True)
    (room / "release" / L / f"{L}.ipynb").write_text("{}")
    done = subprocess.run(
        [sys.executable, "-m", "nbgrader", "zip_collect", L],
        cwd=room, env=environment(), capture_output=True, text=True,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    found = {p.parts[-3]: p for p in (room / "submitted").glob(f"*/{L}/{L}.ipynb")}
    assert set(found) == {"Bob_Smith", "Müller_Zoë", "jdoe"}
    assert "2024-01-31" in found["jdoe"].read_text()
    assert "2024-01-31" in (found["jdoe"].parent / "timestamp.txt").read_text()
