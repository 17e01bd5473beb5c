"""The report of a class: the scores of the gradebook, the mistakes, who was not graded and why."""

import base64
import contextlib
import csv
import hashlib
import html
import io
import json
import os
import re
import shutil
import sqlite3
import subprocess
import sys
from dataclasses import replace

import pytest
from rich.console import Console

from pgcourse.checks import get
from pgcourse.classroom import books, report
from pgcourse.classroom import report_page as page
from pgcourse.classroom.build import ROOT
from pgcourse.classroom.grade import grade_class
from pgcourse.classroom.gradebook import ClassError, Classroom, Store
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


def text_of_page(root):
    return page.to_html(report.read(root, LESSON))


def test_the_page_is_self_contained_and_escaped(root):
    text = text_of_page(root)
    sorter = (page.TEMPLATES / "report" / "sortable.js").read_text().strip()
    assert text.count("<script") == 1 and f"<script>{sorter}</script>" in text
    digest = base64.b64encode(hashlib.sha256(sorter.encode()).digest()).decode()
    assert f"default-src 'none'; style-src 'unsafe-inline'; script-src 'sha256-{digest}'" in text
    rest = text.replace(sorter, "")
    assert "http:" not in rest and "https:" not in rest and "src=" not in rest
    assert html.escape(f"=cmd {EVIL.replace('/', '')}") in text and "alert(1)</" not in text
    assert "isolation: " in text and "damaged" in text


def test_the_page_answers_the_first_questions_first(root):
    headings = re.findall("<h2>(.*?)</h2>", text_of_page(root))
    assert headings == [
        "What the class did not understand",
        "Who needs help",
        "Each exercise",
        "Who is missing, and why",
        "Points",
        "Students by mistake",
        "All lessons, side by side",
    ]


def test_a_misconception_has_its_sentence_and_what_was_written_without_names(root):
    found = report.read(root, LESSON)
    (sign,) = found.misconceptions()
    assert sign.name == "sign" and [*sign.where] == ["grad_log_softmax"] and len(sign.people) == 3
    assert sign.sentence == next(
        p.says for p in get("grad_log_softmax").pitfalls if p.name == "sign"
    )
    ((exercise, text),) = page.examples(sign, found)  # the three wrote the same
    assert exercise == "grad_log_softmax" and "def grad_log_softmax" in text
    assert '"""' not in text and str(page.escape(text)) in text_of_page(root)


def person(name, verdicts=(), total=1.0, shares=(), why="", **more):
    verdicts = {
        e: {"passed": False, "pitfall": m, "score": 0.0, "points": 1, "message": f"It is {m}."}
        for e, m in dict(verdicts).items()
    }
    book = None if why else total
    return report.Person(name, verdicts, {}, book, 0.0, 0.0, 1, why, "", "", dict(shares), **more)


def test_one_misconception_in_several_exercises_is_one():
    people = [
        person("a", {"f": "sign", "g": "sign"}),
        person("b", {"g": "sign", "f": None}),
        person("c", {"f": "not written", "g": None}),
    ]
    found = report.Report("x", {"f": 1, "g": 1}, people, []).misconceptions()
    assert [(m.name, [*m.where], [p.name for p in m.people]) for m in found] == [
        ("sign", ["g", "f"], ["a", "b"]),
        ("another mistake", ["f"], ["b"]),
        ("another mistake", ["g"], ["c"]),
    ]


def test_what_did_not_run_is_no_misconception():
    """It is counted below them, without the words of whose error it was."""
    people = [person(n, {"f": "cell raises", "g": "sign" if n == "a" else None}) for n in "abc"]
    for one in people:
        one.verdicts["f"]["message"] = f"Its cell raised ValueError: {one.name} was here."
    found = report.Report("x", {"f": 1, "g": 1}, people, [])
    assert [m.name for m in found.misconceptions()] == ["sign", "another mistake", "cell raises"]
    text = page.to_html(found)
    assert "was here" not in text and "it did not run: <span" in text
    assert re.search("cell raises <b>3</b></span>.</p>", text)
    assert "<h3>cell raises" not in text and ">cell raises</td>" in text


def test_examples_say_nothing_of_their_author(tmp_path):
    text = '# by Jane\ndef f(x):\n    """Jane\'s."""\n    # Jane\n    return x'
    assert page.without_author(text) == "def f(x):\n    return x"
    assert page.without_author("def f(:") == "" and page.without_author("(" * 5000) == ""
    people = []
    for name, answer in (
        ("jane", "jane = 1"),
        ("john", "x = 2"),
        ("joan", "x = 3"),
        ("jon", "x = 4"),
    ):
        (tmp_path / name).mkdir()
        cells = [
            {"cell_type": "code", "source": answer, "metadata": {"nbgrader": {"grade_id": "f"}}}
        ]
        (tmp_path / name / "x.ipynb").write_text(json.dumps({"cells": cells}))
        people.append(person(name, {"f": "sign"}, folder=tmp_path / name))
    found = report.Report("x", {"f": 1}, people, [])
    texts = {text for _, text in page.examples(found.misconceptions()[0], found)}
    assert len(texts) == 2 and texts < {"x = 2", "x = 3", "x = 4"}


@pytest.mark.parametrize(
    "total, shares, verdicts, before, signs",
    [
        (4.0, {}, {}, {}, ["40% of the points"]),
        (5.0, {"01": 0.5}, {}, {}, []),
        (6.0, {"01": 0.9, "02": 0.9}, {}, {}, ["fell from 90% to 60%"]),
        (6.0, {"01": 0.8}, {}, {}, []),
        (6.0, {"09": 1.0}, {}, {}, []),  # a later lesson
        (9.0, {}, {"f": "sign"}, {"01": "sign"}, ["again “sign”, as in 01"]),
        (9.0, {}, {"f": "sign"}, {"01": "scale", "05": "sign", "06": "sign"}, []),
        (9.0, {}, {"f": "not written"}, {"01": "not written"}, []),
        (9.0, {}, {"f": "syntax error"}, {"01": "syntax error"}, []),
    ],
)
def test_who_needs_help(total, shares, verdicts, before, signs):
    one = person("a", verdicts, total, shares)
    earlier = {
        lesson: {"exercises": {"e": {"passed": False, "pitfall": name}}}
        for lesson, name in before.items()
    }
    report.look_for_help(one, "05", 10.0, earlier)
    assert one.help == signs


def test_who_has_the_fewest_points_comes_first_and_who_is_missing_is_not_in_need():
    people = [person("a", total=3.0), person("b", total=1.0), person("c", why="not graded yet")]
    for one in people:
        report.look_for_help(one, "05", 10.0, {})
    found = report.Report("05", {"f": 10.0}, people, [])
    assert [p.name for p in found.in_need] == ["b", "a"]
    assert [p.name for p in found.missing] == ["c"]


def luminance(color):
    """WCAG 2's relative luminance of #rrggbb."""
    parts = [int(color[i : i + 2], 16) / 255 for i in (1, 3, 5)]
    linear = [c / 12.92 if c <= 0.04045 else ((c + 0.055) / 1.055) ** 2.4 for c in parts]
    return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]


def contrast(a, b):
    light, dark = sorted((luminance(a), luminance(b)), reverse=True)
    return (light + 0.05) / (dark + 0.05)


def test_whatever_is_read_has_contrast_in_the_light_and_in_the_dark(root):
    text = text_of_page(root)
    style = re.search("<style>(.*?)</style>", text, re.S)[1]
    themes = [
        dict(re.findall(r"--(\w+): (#\w{6})", t)) for t in re.findall(":root {(.*?)}", style, re.S)
    ]
    assert len(themes) == 2 and themes[0].keys() == themes[1].keys()
    # no other color is on the page: not in the style, not in an element, not in a picture
    rules = re.sub(":root {.*?}", "", style, flags=re.S) + " ".join(
        re.findall('style="(.*?)"', text)
    )
    assert not re.search(r"#[0-9a-f]{3}|rgb|opacity: 0?\.", rules, re.I)
    used = set(re.findall(r"(?<![-\w])color: (?:var\(--(\w+)\)|inherit)", rules)) - {""}
    paper = set(re.findall(r"background: var\(--(\w+)\)", rules))
    assert used == {"ink", "soft", "link", "low"} and paper == {"paper", "panel", "chip"}
    for words in re.findall('<text [^>]*style="(.*?)"', text):
        assert "fill: var(--ink)" in words
    for theme in themes:
        for ink, under in [
            *((i, "paper") for i in used),
            ("ink", "panel"),
            ("soft", "panel"),
            ("ink", "chip"),
        ]:
            assert contrast(theme[ink], theme[under]) >= 4.5, (ink, under)
        for bar in page.KINDS:  # WCAG 2 asks 3:1 of what is no text
            assert contrast(theme[bar], theme["paper"]) >= 3, bar


def test_pictures_are_alike_whatever_style_is_set(root):
    import matplotlib

    plain = text_of_page(root)
    with matplotlib.rc_context({"axes.grid": True, "axes.facecolor": "#ff0000", "font.size": 30}):
        assert text_of_page(root) == plain


def test_points_are_nbgraders_however_they_came_about(root):
    """Graded by hand, bonus, a maximum that was edited, waiting for a person."""
    room = Classroom(root)
    with room.gradebook() as book:
        grades = {g.name: g for g in book.find_submission(LESSON, "ada").notebooks[0].grades}
        softmax, step = grades["check_softmax"], grades["check_score_step"]
        before = [
            (g, g.manual_score, g.extra_credit, g.needs_manual_grade) for g in (softmax, step)
        ]
        most = softmax.cell.max_score
        softmax.manual_score, softmax.extra_credit, step.needs_manual_grade = 1.0, 2.5, True
        softmax.cell.max_score = 20.0
        book.db.commit()
        try:
            found = report.read(root, LESSON)
            book.db.expire_all()
            submission = book.find_submission(LESSON, "ada")
            ada = next(p for p in found.people if p.name == "ada")
            assert (ada.book, found.most) == (submission.score, submission.max_score)
            assert ada.scores["softmax"] == 3.5 and found.points["softmax"] == 20.0
            assert ada.scores["score_step"] is None and "by hand" in page.to_html(found)
        finally:
            for grade, *values in before:
                grade.manual_score, grade.extra_credit, grade.needs_manual_grade = values
            softmax.cell.max_score = most
            book.db.commit()


def test_all_lessons_are_side_by_side(root):
    found = report.read(root, LESSON)
    assert [lesson.name for lesson in found.lessons] == [LESSON]
    ada = next(p for p in found.people if p.name == "ada")
    assert ada.shares == {LESSON: 1.0}
    lessons = [*found.lessons, replace(found.lessons[0], name="02_$x$<b>")]
    people = [replace(p, shares={lesson.name: 0.5 for lesson in lessons}) for p in found.people]
    text = page.to_html(replace(found, lessons=lessons, people=people))
    assert text.count("<svg") == 2 and text.count(">50%</td>") == 2 * len(people)
    assert "02_<wbr>$x$&lt;b&gt;" in text


def test_who_handed_in_nothing_is_missing(root):
    with Classroom(root).gradebook() as book:
        book.add_student("zoe")
        try:
            people = report.read(root, LESSON).people
        finally:
            book.remove_student("zoe")
    why, attempts = ({p.name: getattr(p, k) for p in people if p.why} for k in ("why", "attempts"))
    assert why["zoe"] == "nothing was handed in" and len(why) == 3
    assert attempts["zoe"] == 0 and attempts["dora"] == 1


def test_links_lead_to_feedback_and_submissions(root):
    folder = root / "feedback" / "ben" / LESSON
    folder.mkdir(parents=True)
    (folder / f"{LESSON}.html").write_text("…")
    people = {p.name: p for p in report.read(root, LESSON).people}
    assert people["ben"].feedback == f"../feedback/ben/{LESSON}/{LESSON}.html"
    assert people["ada"].feedback == "" and people["ada"].submission == f"../submitted/ada/{LESSON}"
    cmd = next(p for name, p in people.items() if name.startswith("=cmd"))
    assert cmd.submission == f"../submitted/%3Dcmd%20%3Cscript%3Ealert%281%29%3Cscript%3E/{LESSON}"


def test_the_books_sums_are_nbgraders(root):
    with Classroom(root).gradebook() as book:
        mine = {n: (e["score"], e["when"]) for n, e in books.in_the_book(book)[LESSON].items()}
        theirs = {s.student.id: (s.score, s.timestamp) for s in book.assignment_submissions(LESSON)}
    assert mine == theirs and len(mine) == 4


def test_not_isolated_is_said_loudly(root):
    store = Store(root, LESSON)
    before = store.read("ada")
    store.write("ada", before | {"isolation": "NOT ISOLATED"})
    try:
        assert 'class="warning"' in text_of_page(root)
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


def in_one_sentence(*args):
    """What the command says on its way out; no traceback, no exit code of success."""
    done = subprocess.run(
        [sys.executable, "-m", "pgcourse.cli", *args], capture_output=True, text=True
    )
    assert done.returncode == 2 and "Traceback" not in done.stderr
    assert done.stderr.endswith("Mend this and run the same command again.\n")
    return done.stderr


def test_a_folder_that_cannot_be_made_is_a_sentence(root, tmp_path):
    copy = shutil.copytree(root, tmp_path / "class", ignore=shutil.ignore_patterns("report"))
    (copy / "report").write_text("in the way")
    assert f"'{copy / 'report'}'" in in_one_sentence("report", str(copy), LESSON)


def test_a_locked_gradebook_is_a_sentence(root, tmp_path):
    copy = shutil.copytree(root, tmp_path / "class")
    with contextlib.closing(sqlite3.connect(copy / "gradebook.db")) as other:
        other.execute("BEGIN EXCLUSIVE")
        assert "database is locked" in in_one_sentence("report", str(copy), LESSON)


def test_an_unknown_lesson_is_named(root):
    with pytest.raises(ClassError, match="no lesson called 99"):
        report.read(root, "99_nothing")


def test_similar_answers_are_looked_for_when_asked(root):
    from pgcourse.classroom.similar import in_class

    room, found = Classroom(root), report.read(root, LESSON)
    assert "Similar answers" not in page.to_html(found)
    assert in_class(room, found) == []  # four whose own answers all the class shares
    own = "def softmax(theta):\n" + "".join(
        f"    a{i} = theta * {i} + {i * i}\n" for i in range(60)
    )
    graded = {p.name: p.folder / f"{LESSON}.ipynb" for p in found.graded}
    before = {name: path.read_text() for name, path in graded.items()}
    try:
        for name in ("ada", "ben"):
            nb = json.loads(before[name])
            cell = next(
                c
                for c in nb["cells"]
                if c["metadata"].get("nbgrader", {}).get("grade_id") == "softmax"
            )
            cell["source"] = own + f"    # by {name}\n    return theta"
            graded[name].write_text(json.dumps(nb))
        (pair,) = in_class(room, found)
        assert (pair.one, pair.other, [*pair.where]) == ("ada", "ben", ["softmax"])
        text = page.to_html(found, [pair])
        assert '<td class="text">softmax</td></tr>' in text and "No verdict" in text
    finally:
        for name, path in graded.items():
            path.write_text(before[name])
