"""A class in which most cheat: each earns nothing by it, and nobody else notices."""

import hashlib
import os
import random
import re
import site
import socket
import tempfile
from html.parser import HTMLParser
from pathlib import Path

import pytest

from pgcourse.checks import get
from pgcourse.classroom import gradebook, sandbox
from pgcourse.classroom.build import ROOT
from pgcourse.classroom.grade import grade_class
from pgcourse.classroom.warm import Limits, close_worker
from tests import adversaries, classes, intruders

pytestmark = pytest.mark.timeout(1200)  # the class is large, and some stall on purpose
MARKER = str(random.randrange(10**6, 10**7))
CHEATS = adversaries.CHEATS | intruders.CHEATS
HONEST = adversaries.HONEST | intruders.HONEST
HONEST_PEOPLE = ("aaa", "mmm", "zzz")  # graded before, between and after the others


def slug(name):
    return re.sub(r"\W+", "-", name)


def hard_coded(which=slice(None)):
    """Answers to the learner's visible numbers, or some of them, written down."""
    exercise = get("score_step")
    pairs = []
    for i in range(len(exercise.cases))[which]:
        args = exercise.inputs(i, "0")
        pairs.append((args["theta"].tolist(), exercise.reference(**args).tolist()))
    return (
        f"table = {pairs!r}\n\n\n{adversaries.SIGNATURE}"
        "    for shown, answer in table:\n"
        "        if theta.tolist() == shown:\n"
        "            return torch.tensor(answer, dtype=theta.dtype)\n" + adversaries.WRONG
    )


@pytest.fixture(scope="module")
def cheated(tmp_path_factory):
    """The class after grading: (root, scores, rows, what the outside saw)."""
    close_worker()  # one that another file's tests left warm in this process is none of ours
    root = classes.make(tmp_path_factory.mktemp("adversaries") / "class")
    listener = socket.create_server(("127.0.0.1", 0))
    abstract = socket.socket(socket.AF_UNIX)
    abstract.bind(f"\0pgcourse-{MARKER}")
    abstract.listen()
    for s in (listener, abstract):
        s.setblocking(False)
    places = {
        "{outside}": str(root),
        "{clone!r}": repr(str(ROOT)),
        "{source!r}": repr(str(ROOT / "solutions" / f"{classes.LESSON}.ipynb")),
        "{port}": str(listener.getsockname()[1]),
        "{marker}": MARKER,
    }

    def text(template):
        for name, value in places.items():
            template = template.replace(name, value)
        return template

    for name in HONEST_PEOPLE:
        classes.hand_in(root, name, classes.to_bytes(classes.notebook()))
    cells = CHEATS | HONEST | {"hard-coded": hard_coded()}
    cells["hard-coded, the first"] = hard_coded(slice(2))
    for name, cell in cells.items():
        nb = classes.notebook({"score_step": text(cell)})
        classes.hand_in(root, slug(name), classes.to_bytes(nb))
    wrong = adversaries.SIGNATURE + adversaries.WRONG
    for name, edit in adversaries.NOTEBOOKS.items():
        nb = classes.notebook({"score_step": wrong}, edit)
        classes.hand_in(root, f"nb-{slug(name)}", classes.to_bytes(nb))

    before = tree(root), startup_files()
    with pytest.MonkeyPatch.context() as monkeypatch:
        classes.hurry(monkeypatch)
        rows = grade_class(root, classes.LESSON, jobs=2, limits=Limits(seconds=120))
    seen = {
        "files": (before, (tree(root), startup_files())),
        "connections": [accepts(listener), accepts(abstract)],
        "processes": processes(MARKER),
        "left": [*left_behind()],
    }
    return root, classes.scores(root), rows, seen


def tree(root):
    """{path: (digest, mode)} of all that grading must not change."""
    ours = (".pgcourse", "autograded", "gradebook.db", "__pycache__")
    return {
        str(p.relative_to(root)): (hashlib.sha256(p.read_bytes()).hexdigest(), p.stat().st_mode)
        for p in sorted(Path(root).rglob("*"))
        if p.is_file() and not set(p.relative_to(root).parts) & set(ours)
    }


def startup_files():
    """Files that Python and Jupyter run by themselves."""
    places = [Path(p) for p in site.getsitepackages()] + [Path.home() / ".ipython"]
    return sorted(
        str(p) for place in places for p in (*place.glob("*custom*"), *place.glob("*/startup/*"))
    )


def left_behind():
    """What has a name that only `intruders` give, where anybody may write."""
    for place in {"/tmp", "/var/tmp", "/dev/shm", tempfile.gettempdir()}:
        for entry in os.scandir(place):
            if MARKER in entry.name or entry.name in ("d", "x" * 255, "\udcff" * 200):
                yield entry.path


def tags_of(text):
    """(tag, {attribute: value as a browser reads it}) of a page."""
    found, parser = [], HTMLParser()
    parser.handle_starttag = lambda tag, attributes: found.append((tag, dict(attributes)))
    parser.feed(text)
    return found


def accepts(listener):
    try:
        listener.accept()
    except BlockingIOError:
        return False
    return True


def processes(word):
    """Command lines that hold the word (of this test's own there is none)."""
    found = []
    for path in Path("/proc").glob("[0-9]*/cmdline"):
        try:
            line = path.read_bytes().replace(b"\0", b" ").decode(errors="replace")
        except OSError:
            continue
        if word in line or "pgcourse.classroom.worker" in line and str(os.getpid()) in line:
            found.append(line)
    return found


def test_there_are_enough_of_them():
    assert len(CHEATS) + len(adversaries.NOTEBOOKS) + 1 >= 100


@pytest.mark.parametrize("name", [*CHEATS, "hard-coded", "hard-coded, the first"])
def test_a_cheat_earns_nothing(cheated, name):
    _, scores, _, _ = cheated
    assert scores[slug(name)] == classes.FULL | {"score_step": 0.0}


@pytest.mark.parametrize("name", adversaries.NOTEBOOKS)
def test_what_is_done_to_the_notebook_counts_for_nothing(cheated, name):
    _, scores, _, _ = cheated
    assert scores[f"nb-{slug(name)}"] == classes.FULL | {"score_step": 0.0}


@pytest.mark.parametrize("name", HONEST)
def test_right_code_earns_its_points_whatever_else_it_does(cheated, name):
    _, scores, _, _ = cheated
    assert scores[slug(name)] == classes.FULL


@pytest.mark.parametrize("name", HONEST_PEOPLE)
def test_the_others_get_what_they_earned(cheated, name):
    _, scores, rows, _ = cheated
    assert scores[name] == classes.FULL
    assert rows[name].note == ""


def test_everybody_was_graded(cheated):
    _, _, rows, _ = cheated
    assert {row.status for row in rows.values()} == {"graded"}


def test_nothing_outside_changed(cheated):
    _, _, _, seen = cheated
    before, after = seen["files"]
    assert after == before


def test_nobody_came_out(cheated):
    _, _, _, seen = cheated
    assert seen["connections"] == [False, False]


def test_no_process_survives(cheated):
    _, _, _, seen = cheated
    assert seen["processes"] == []


def test_nothing_is_left_for_the_next(cheated):
    _, _, _, seen = cheated
    assert seen["left"] == []


def test_the_report_says_how_they_were_isolated(cheated):
    root, _, _, _ = cheated
    results = gradebook.Store(root, classes.LESSON).all()
    assert {r["isolation"] for r in results.values()} <= {
        "bubblewrap + seccomp",
        "Landlock + seccomp",
    }
    assert sandbox.fits("bubblewrap") <= (
        "bubblewrap + seccomp" in {r["isolation"] for r in results.values()}
    )


FEEDBACK = ["nb-scripts", "nb-forged-outputs", "nb-deep-metadata", "word-of-the-judge", "html"]


@pytest.mark.parametrize("name", [*FEEDBACK, slug("exception with a script for a name")])
def test_feedback_holds_no_script_of_a_student_and_no_secret(cheated, name):
    root, _, _, _ = cheated
    text = classes.feedback(root, name)
    shown = re.sub(r"<pre>.*?</pre>", "", text, flags=re.S)  # code cells, as text
    assert not re.search(r"<script[^>]*>[^<]*(student|forged)", text)
    assert not re.search(r"<(img|iframe)[^>]*(onerror|example\.org)", text)
    assert not re.search(r"[\u202a-\u202e\u2066-\u2069\x1b]", text)
    for tag, attributes in tags_of(text):
        assert not [k for k in attributes if k.startswith("on")], (tag, attributes)
        address = re.sub(r"\s", "", attributes.get("href") or attributes.get("src") or "").lower()
        assert not address.startswith(("javascript", "vbscript", "data:text")), address
        assert tag not in ("img", "iframe", "object", "embed", "svg"), attributes
    assert "\\href" not in shown
    assert gradebook.Classroom(root).seed not in text
    assert "score_step" in text
