"""Damaged submissions: repaired or named, and the rest of the class is graded all the same."""

import contextlib
import copy
import json
import os
import random
import signal
import time
from pathlib import Path

import jupytext
import nbformat
import pytest

from pgcourse.checks import get, lesson_exercises
from pgcourse.checks.cells import STUB, Cell, Unreadable, clean, read_cells
from pgcourse.checks.own import own, unreadable
from pgcourse.checks.statements import Namespace
from pgcourse.checks.submission import match
from pgcourse.classroom.build import ROOT, build_lesson
from pgcourse.classroom.grade import ClassError, collect, grade_class
from pgcourse.classroom.intake import find_notebook
from pgcourse.classroom.judge import grade_submission
from pgcourse.classroom.progress import progress
from pgcourse.classroom.students import text_of
from pgcourse.notebook import passing
from tests import classes
from tests.classes import FULL, LESSON, MOST, notebook, to_bytes

SOURCE_CELLS = read_cells(classes.SOURCE.encode())[0]
WELL = [f"well-{i}" for i in range(6)]


def text():
    return json.dumps(notebook(), ensure_ascii=False)


def cells(nb):
    return {
        c["metadata"]["nbgrader"]["grade_id"]: c for c in nb["cells"] if "nbgrader" in c["metadata"]
    }


def old_format():
    def old(cell):
        new = {k: v for k, v in cell.items() if k in ("cell_type", "metadata", "outputs")}
        new["input" if cell["cell_type"] == "code" else "source"] = cell["source"]
        return new | ({"language": "python", "collapsed": False} if "input" in new else {})

    nb = notebook()
    sheet = {"cells": [old(c) for c in nb["cells"]], "metadata": {}}
    return {"nbformat": 3, "nbformat_minor": 0, "metadata": {"name": ""}, "worksheets": [sheet]}


def edited(change):
    return to_bytes(notebook(edit=change))


def strip_labels(nb):
    for cell in nb["cells"]:
        cell["metadata"] = {}


def strip_labels_and_ids(nb):
    strip_labels(nb)
    nb["nbformat_minor"] = 4
    for cell in nb["cells"]:
        cell.pop("id")


def rename_labels(nb):
    for name, cell in cells(nb).items():
        cell["metadata"]["nbgrader"]["grade_id"] = name + "-copy"
        cell["id"] = name + "-copy"


def copy_answer(nb):
    """The released cell kept, the answer written into a copy above it, and a stale copy at the end."""
    cell = cells(nb)["score_step"]
    stub = next(c for c in classes.RELEASE["cells"] if c["id"] == "score_step")
    at = nb["cells"].index(cell)
    nb["cells"].insert(at + 1, copy.deepcopy(stub))


def copy_check(nb):
    check = cells(nb)["check_score_step"]
    nb["cells"].insert(3, copy.deepcopy(check))


def drop_checks(nb):
    nb["cells"] = [c for c in nb["cells"] if not c["id"].startswith("check_")]


def drop_given(nb):
    nb["cells"] = [c for c in nb["cells"] if "nbgrader" in c["metadata"]]


def drop_markdown_and_order(nb):
    nb["cells"] = [c for c in nb["cells"] if c["cell_type"] == "code"]


def no_schema(nb):
    for cell in cells(nb).values():
        cell["metadata"]["nbgrader"] = {
            k: cell["metadata"]["nbgrader"][k] for k in ("grade_id", "grade", "solution")
        }


def wrong_types(nb):
    nb["cells"] += [
        None,
        3,
        {"cell_type": "code"},
        {"source": 5, "metadata": []},
        {"cell_type": []},
    ]
    nb["metadata"] = "none"


def pasted_image(nb):
    source = "![image.png](attachment:image.png)"
    nb["cells"].insert(
        2, {"cell_type": "markdown", "id": "i", "metadata": {}, "source": source, "attachments": {}}
    )


def endless_cell(nb):
    text = "# " + "x" * 10**6
    nb["cells"].append({"cell_type": "code", "id": "e", "metadata": {}, "source": text})


def many_cells(nb):
    nb["cells"] += [{"cell_type": "code", "id": f"m{i}", "source": ""} for i in range(10_000)]


def much_text(nb):
    text = "# " + "x" * 190_000
    nb["cells"] += [{"cell_type": "markdown", "id": f"t{i}", "source": text} for i in range(30)]


def huge_output(nb):
    cell = cells(nb)["softmax"]
    cell["outputs"] = [{"output_type": "stream", "name": "stdout", "text": "x" * (20 * 2**20)}]


def answers_as_text(nb):
    cell = cells(nb)["score_step"]
    cell["cell_type"] = "markdown"


def windows_lines(nb):
    for cell in nb["cells"]:
        cell["source"] = cell["source"].replace("\n", "\r\n")


def surrogates(nb):
    nb["cells"].insert(
        2, {"cell_type": "markdown", "id": "s", "metadata": {}, "source": "\ud800 \x00 \x1b[2J"}
    )


def as_lists(nb):
    for cell in nb["cells"]:
        cell["source"] = cell["source"].splitlines(True)


# bytes that are repaired: everything else in them is right
REPAIRED = {
    "byte order mark": b"\xef\xbb\xbf" + text().encode(),
    "utf-16": text().encode("utf-16"),
    "latin-1": text().replace("exercise", "Übung").encode("latin-1", "replace"),
    "old format": to_bytes(old_format()),
    "stripped labels": edited(strip_labels),
    "stripped labels and ids": edited(strip_labels_and_ids),
    "renamed labels": edited(rename_labels),
    "copied answer": edited(copy_answer),
    "copied check": edited(copy_check),
    "no checks": edited(drop_checks),
    "no given cells": edited(drop_given),
    "code only": edited(drop_markdown_and_order),
    "no schema": edited(no_schema),
    "wrong types": edited(wrong_types),
    "huge output": edited(huge_output),
    "pasted image": edited(pasted_image),
    "endless cell": edited(endless_cell),
    "answer as text": edited(answers_as_text),
    "windows": edited(windows_lines),
    "surrogates": edited(surrogates),
    "lists of lines": edited(as_lists),
}


def scripted(form):
    """The notebook as a script of jupytext's, as somebody exports it and calls it .ipynb."""
    nb = nbformat.from_dict(notebook())
    return jupytext.writes(nb, form).encode()


def databricks():
    """The notebook as Databricks exports it: its source format."""
    parts = []
    for cell in notebook()["cells"]:
        lines = cell["source"].split("\n")
        if cell["cell_type"] == "markdown":
            lines = [f"# MAGIC {line}".rstrip() for line in ["%md", *lines]]
        parts.append("\n".join(lines))
    parts[3:3] = ["# MAGIC %sql\n# MAGIC select 1", "# DBTITLE 1,tried\n# MAGIC %pip install torch"]
    return ("# Databricks notebook source\n" + "\n\n# COMMAND ----------\n\n".join(parts)).encode()


def by_nbconvert():
    """jupyter nbconvert --to script"""
    parts = [
        f"# In[ ]:\n\n\n{cell['source']}"
        if cell["cell_type"] == "code"
        else "\n".join(f"# {line}" for line in cell["source"].split("\n"))
        for cell in notebook()["cells"]
    ]
    return ("#!/usr/bin/env python\n# coding: utf-8\n\n" + "\n\n\n".join(parts)).encode()


def by_colab():
    """Colab's File > Download > Download .py"""
    head = '"""x.ipynb\n\nAutomatically generated by Colab.\n\nOriginal file is located at\n    https://x\n"""'
    parts = [
        cell["source"] if cell["cell_type"] == "code" else 'r"""' + cell["source"] + '\n"""'
        for cell in notebook()["cells"]
        if '"""' not in cell["source"] or cell["cell_type"] == "code"
    ]
    return "\n\n".join(["# -*- coding: utf-8 -*-", head, *parts]).encode()


REPAIRED |= {
    "databricks": databricks(),
    "databricks on Windows": b"\xef\xbb\xbf" + databricks().replace(b"\n", b"\r\n"),
    "nbconvert's script": by_nbconvert(),
    "colab's script": by_colab(),
    "markdown": scripted("md"),
    "myst": scripted("md:myst"),
    "R markdown": scripted("Rmd"),
    "utf-16 without a mark": text().encode("utf-16-le"),
    "utf-32": text().encode("utf-32"),
    "a script, percent": scripted("py:percent"),
    "a script, light": scripted("py:light"),
    "a script without its header": scripted("py:percent").split(b"# ---\n", 2)[2],
}

RIGHT = classes.RIGHT["softmax"]  # def softmax(theta): return torch.exp(theta - torch.logsumexp(…))
BODY = "torch.exp(theta - torch.logsumexp(theta, dim=-1, keepdim=True))"


def code(source):
    return {"cell_type": "code", "id": f"n{abs(hash(source))}", "metadata": {}, "source": source}


def answer(text, *above, below=(), kind="code", label=True):
    """A submission whose answer to `softmax` is this text, among cells that were added."""

    def edit(nb):
        cell = cells(nb)["softmax"]
        at = nb["cells"].index(cell)
        cell |= {"source": text, "cell_type": kind}
        if not label:
            cell |= {"metadata": {}, "id": "other"}
        nb["cells"][at + 1 : at + 1] = map(code, below)
        nb["cells"][at:at] = map(code, above)

    return edited(edit)


STUB_CELL = next(c["source"] for c in classes.RELEASE["cells"] if c["id"] == "softmax")
CALLS_TOP = "def softmax(theta):\n    z = torch.exp(theta - top(theta))\n    return z / z.sum(-1, keepdim=True)"
TOP = "def top(x):\n    return x.amax(-1, keepdim=True)"
CALLS_TABLE = CALLS_TOP.replace("top(theta)", "TABLE['top'](theta)")

# honest work in notebooks that are not quite as released: all of it is right
HONEST = {
    "own helper": answer(CALLS_TOP, TOP),
    "answer in a new cell": answer(STUB_CELL, below=[RIGHT]),
    "answer in a new cell above": answer(STUB_CELL, RIGHT),
    "answer in a new cell, its own emptied": answer("", RIGHT),
    "two answers in one new cell": edited(
        lambda nb: [
            nb["cells"].insert(3, code(RIGHT + "\n\n" + classes.RIGHT["score_step"])),
            *(cells(nb)[n].update(source="") for n in ("softmax", "score_step")),
        ]
    ),
    "timed": answer("%%time\n" + RIGHT),
    "pip": answer("!pip list\n%matplotlib inline\n" + RIGHT),
    "raw": answer(RIGHT, kind="raw"),
    "raw, label lost": answer(RIGHT, kind="raw", label=False),
    "lambda": answer(f"softmax = lambda theta: {BODY}"),
    "lambda, label lost": answer(f"softmax = lambda theta: {BODY}", label=False),
    "another name, label lost": answer(
        RIGHT.replace("def s", "def my_s") + "\nsoftmax = my_softmax", label=False
    ),
    "tried below, label lost": answer(RIGHT + "\nprint(softmax(torch.ones(2)))", label=False),
    "script": answer(
        "@torch.jit.script\n" + CALLS_TOP.replace("top(theta)", "theta.amax(-1, keepdim=True)")
    ),
    "colab": answer("from google.colab import drive\ndrive.mount('/content')\n" + RIGHT),
    "colab above": answer(RIGHT, "from google.colab import drive\ndrive.mount('/content')"),
    "await": answer("import asyncio\nawait asyncio.sleep(0)\n" + RIGHT),
    "helper by if": answer(
        CALLS_TOP, "if torch.ones(1).ndim:\n" + "    " + TOP.replace("\n", "\n    ")
    ),
    "helper by try": answer(
        CALLS_TOP,
        "try:\n    from nowhere import top\nexcept ImportError:\n    top = lambda x: x.amax(-1, keepdim=True)",
    ),
    "helper by with": answer(
        CALLS_TOP,
        "with torch.no_grad():\n    AXIS = int(torch.tensor(-1))",
        TOP.replace("-1", "AXIS"),
    ),
    "helper by for": answer(
        CALLS_TABLE,
        "TABLE = {}",
        "for name in ('top', 'max'):\n    TABLE[name] = lambda x: x.amax(-1, keepdim=True)",
    ),
    "helper by item": answer(
        CALLS_TABLE, "TABLE = dict()\nTABLE['top'] = lambda x: x.amax(-1, keepdim=True)"
    ),
    "helper by update": answer(
        CALLS_TABLE, "TABLE = dict()", "TABLE.update(top=lambda x: x.amax(-1, keepdim=True))"
    ),
    "helper by attribute": answer(
        CALLS_TOP.replace("top(theta)", "Tools.top(theta)"),
        "class Tools:\n    pass",
        "Tools.top = lambda x: x.amax(-1, keepdim=True)",
    ),
    "helper by setattr": answer(
        CALLS_TOP.replace("top(theta)", "Tools.top(theta)"),
        "class Tools:\n    pass",
        "setattr(Tools, 'top', lambda x: x.amax(-1, keepdim=True))",
    ),
    "another function of the course": answer(
        "from pgcourse.tensors import masked_mean\n"
        + CALLS_TOP.replace(
            "top(theta)", "theta.amax(-1, keepdim=True) - masked_mean(torch.zeros(2), None)"
        )
    ),
    "more of the course than it needs": answer(
        "from pgcourse.networks import mlp\nfrom pgcourse.estimators import gae\n"
        "from pgcourse.ppo import train\nfrom pgcourse import envs, replay\n" + RIGHT
    ),
    "captured": answer("%%capture out\n" + RIGHT),
    "timeit": answer("%%timeit -n1 -r1\n" + RIGHT),
    "shell over two lines": answer("!pip install \\\n    torch\n" + RIGHT),
    "future under a magic": answer("%%time\nfrom __future__ import annotations\n" + RIGHT),
    "magics around": answer(
        "# mine\n%%time\nfiles = !ls\nif files:\n    %pwd\nsoftmax?\n"
        + RIGHT
        + "\n%time softmax(torch.ones(2))"
    ),
    "partial, label lost": answer(
        "from functools import partial\ndef mine(dim, theta):\n    return "
        + BODY.replace("-1", "dim")
        + "\nsoftmax = partial(mine, -1)",
        label=False,
    ),
    "annotated lambda, label lost": answer(f"softmax: object = lambda theta: {BODY}", label=False),
    "method, label lost": answer(
        f"class S:\n    def run(self, theta):\n        return {BODY}\n\nsoftmax = S().run",
        label=False,
    ),
    "compiled": answer(RIGHT + "\nsoftmax = torch.compile(softmax)"),
    "scripted in a new cell": answer(
        STUB_CELL,
        below=[
            f"def mine(theta):\n    return {BODY}\n\nsoftmax = torch.compile(mine, dynamic=True)"
        ],
    ),
    "tabs": answer(RIGHT.replace("    ", "\t")),
    "a figure below": answer(
        RIGHT + "\nimport matplotlib.pyplot as plt\nplt.plot(softmax(torch.ones(3)))\nplt.show()"
    ),
    "a slip below": answer(RIGHT + "\nprint(sofmax(torch.ones(2)))"),
    "in another's cell": edited(
        lambda nb: [
            cells(nb)["score_step"].update(source=RIGHT + "\n\n" + classes.RIGHT["score_step"]),
            cells(nb)["softmax"].update(source=STUB_CELL),
        ]
    ),
    "moved to the end": edited(
        lambda nb: nb["cells"].append(nb["cells"].pop(nb["cells"].index(cells(nb)["softmax"])))
    ),
    "executed text": answer(f'exec("""{RIGHT}""")'),
    "helper under a magic": answer(CALLS_TOP, "%%time\n%load_ext autoreload\n" + TOP),
    "helper by globals": answer(CALLS_TOP, "globals()['top'] = lambda x: x.amax(-1, keepdim=True)"),
    "helper by exec": answer(CALLS_TOP, f'exec("""{TOP}""")'),
    "helper by a call that fills": answer(
        CALLS_TABLE,
        "TABLE = {}\ndef fill(t):\n    t['top'] = lambda x: x.amax(-1, keepdim=True)",
        "fill(TABLE)",
    ),
    "helper by global": answer(
        CALLS_TOP,
        "def setup():\n    global top\n    top = lambda x: x.amax(-1, keepdim=True)",
        "setup()",
    ),
    "helper by walrus": answer(CALLS_TOP, "(top := lambda x: x.amax(-1, keepdim=True))"),
    "helper by a decorator": answer(
        CALLS_TABLE,
        "TABLE = {}\ndef keep(f):\n    TABLE[f.__name__] = f\n    return f",
        "@keep\n" + TOP,
    ),
}


def other_lesson(lesson, edit=None):
    nb = json.loads((ROOT / "course" / f"{lesson}.ipynb").read_text(encoding="utf-8"))
    if edit:
        edit(nb)
    return to_bytes(nb)


# bytes that are named
NAMED = {
    "empty": (b"", "empty file"),
    "blank": (b" \n\n", "empty file"),
    "truncated": (text().encode()[:5000], "damaged"),
    "not json": (b"PK\x03\x04 this is a zip", "damaged"),
    "a zip": (b"PK\x03\x04\x14\x00\x00\xff", "it is a ZIP archive"),
    "a pdf": (b"%PDF-1.7\n%\xe2\xe3", "it is a PDF file"),
    "html": (b"<!DOCTYPE html><title>Log in</title>", "damaged"),
    "a list": (b"[1, 2, 3]", "no notebook"),
    "no cells": (b'{"nbformat": 4, "metadata": {}}', "no cells"),
    "empty notebook": (b'{"cells": [], "nbformat": 4, "metadata": {}}', "empty"),
    "too deep": (b"[" * 200_000, "damaged"),
    "too many cells": (edited(many_cells), "2000 are read"),
    "too much text": (edited(much_text), "5000000 are read"),
    "pieces without number": (b'{"cells": [' + b"1," * 5_000_001 + b"1]}", "5,000,000 pieces"),
    "a number of a million digits": (b'{"cells": ' + b"1" * 10**6 + b"}", "damaged"),
    "another lesson": (other_lesson("05_ppo"), "the notebook of another lesson, 05_ppo"),
    "another lesson, labels lost": (
        other_lesson("02_reinforce", strip_labels_and_ids),
        "02_reinforce",
    ),
    "a conflict": (
        text().replace('"cells"', "\n<<<<<<< HEAD\n", 1).encode(),
        "marks of a conflict",
    ),
    "a web page": (b"\n<html><body>Log in</body></html>", "it is a web page"),
    "a plain module": (b"import torch\n\ndef softmax(theta):\n    return theta\n", "no notebook"),
    "a plain script": (b"# mine\ndef softmax(theta):\n    return theta\n", "no notebook"),
    "a script that is too long": (b"# %%\n" + b"x = 1\n" * 50_000, "200000 are read"),
}


NAMES = (
    "weird [*] näme ;rm -rf",
    "O'Brien",
    'a "b"',
    "{student_id}",
    "名前",
    "-x",
    "<b>",
    "100%",
)
TOO_LONG, TWO_LINES = "ü" * 110, "a\nb"


@pytest.fixture(scope="module")
def damaged(tmp_path_factory):
    """A class of more than thirty, of whom six are well: (root, scores, rows)."""
    folder = tmp_path_factory.mktemp("damaged")
    root = classes.make(folder / "class")
    for name in WELL:
        classes.hand_in(root, name, to_bytes(notebook()))
    for name, data in (REPAIRED | HONEST).items():
        classes.hand_in(root, name, data)
    for name, (data, _) in NAMED.items():
        classes.hand_in(root, name, data)
    classes.hand_in(root, "other name", to_bytes(notebook()), name="Untitled (1).ipynb")
    for name in ("a.ipynb", "b.ipynb"):
        classes.hand_in(root, "two names", to_bytes(notebook()), name=name)
    classes.hand_in(root, "only text", b"def softmax(theta): ...", name="answers.py")
    extra = classes.hand_in(root, "extra files", to_bytes(notebook())).parent
    (extra / "torch.py").write_text("raise SystemExit")
    (extra / "gradebook.db").write_text("mine")
    (extra / "timestamp.txt").write_text("yesterday, I swear")
    (root / "submitted" / "linked" / LESSON).mkdir(parents=True)
    (root / "submitted" / "linked" / LESSON / f"{LESSON}.ipynb").symlink_to(
        root / "nbgrader_config.py"
    )
    (root / "submitted" / "linked folder").mkdir()
    (root / "submitted" / "linked folder" / LESSON).symlink_to(
        root / "submitted" / "well-0" / LESSON
    )
    (root / "submitted" / "a pipe" / LESSON).mkdir(parents=True)
    os.mkfifo(root / "submitted" / "a pipe" / LESSON / f"{LESSON}.ipynb")
    (root / "submitted" / "a folder" / LESSON / f"{LESSON}.ipynb").mkdir(parents=True)
    large = classes.hand_in(root, "too large", b"")
    os.truncate(large, 2**30)
    for name in NAMES:
        classes.hand_in(root, name, to_bytes(notebook()))
    for name in (TOO_LONG, TWO_LINES):
        classes.hand_in(root, name, to_bytes(notebook()))
    mac = classes.hand_in(root, "a mac", to_bytes(notebook()), name="mine.ipynb").parent
    (mac / "._mine.ipynb").write_bytes(b"\0\5\26\7")
    (mac / ".ipynb_checkpoints").mkdir()
    (mac / ".ipynb_checkpoints" / "mine-checkpoint.ipynb").write_bytes(to_bytes(notebook()))
    rows = grade_class(root, LESSON, jobs=2)
    return root, classes.scores(root), rows


def test_a_class_of_thirty_with_twenty_kinds_of_damage(damaged):
    _, _, rows = damaged
    assert len(rows) >= 30
    assert len(REPAIRED) + len(NAMED) >= 20


@pytest.mark.parametrize(
    "name", [*WELL, *REPAIRED, *HONEST, *NAMES, "other name", "extra files", "a mac"]
)
def test_what_can_be_repaired_earns_its_points(damaged, name):
    _, scores, rows = damaged
    assert rows[name].status == "graded", rows[name].note
    assert scores[name] == FULL


@pytest.mark.parametrize("name", [*REPAIRED, *HONEST])
def test_self_study_says_the_same_as_the_grade(damaged, name, capsys):
    """The first cell's line, `pgcourse progress` and `own`, of the very file that was graded."""
    folder = damaged[0] / "submitted" / name / LESSON
    assert passing(folder / f"{LESSON}.ipynb", LESSON) == dict.fromkeys(FULL, True)
    rows = [r for r in progress(folder) if r.lesson == LESSON]
    assert [r.exercise for r in rows if r.state == "passed"] == list(FULL)
    own(LESSON, "softmax", folder=folder)
    assert "softmax: yours" in capsys.readouterr().out


@pytest.mark.parametrize(
    "text",
    [
        "from pgcourse.distributions import softmax",
        "import pgcourse.distributions as d\ndef softmax(theta):\n    return d.softmax(theta)",
        "import pgcourse.distributions\nsoftmax = pgcourse.distributions.softmax",
    ],
)
def test_what_a_lesson_asks_for_cannot_be_borrowed(text, tmp_path):
    """In a grade and in self-study; and the message says so."""
    (tmp_path / f"{LESSON}.ipynb").write_bytes(answer(text))
    found = grade_submission(answer(text), classes.SOURCE, "a secret")["exercises"]
    assert found["softmax"]["pitfall"] == "borrowed" and found["softmax"]["score"] == 0
    assert "write it yourself" in found["softmax"]["message"]
    line = passing(tmp_path / f"{LESSON}.ipynb", LESSON)
    assert line == {name: v["passed"] for name, v in found.items()}
    assert line["softmax"] is False


@pytest.mark.parametrize("name", ["another lesson", "a conflict", "a plain script"])
def test_self_study_names_what_the_grade_names(damaged, name, capsys):
    folder = damaged[0] / "submitted" / name / LESSON
    says, warned = NAMED[name][1], []
    progress(folder, warn=warned.append)
    assert says in warned[0] and f"{LESSON}.ipynb" in warned[0]
    own(LESSON, "softmax", folder=folder)
    said = capsys.readouterr().out
    assert "softmax: the package's" in said and says in said
    assert says in unreadable(folder / f"{LESSON}.ipynb", LESSON)


def test_repairs_are_told(damaged):
    _, _, rows = damaged
    assert "script (Databricks)" in rows["databricks"].note
    assert "UTF-16" in rows["utf-16 without a mark"].note
    assert "label" in rows["stripped labels and ids"].note
    assert "missing" in rows["no checks"].note
    assert "Untitled (1).ipynb" in rows["other name"].note
    assert "timestamp.txt" in rows["extra files"].note
    assert all(rows[name].note == "" for name in WELL)


@pytest.mark.parametrize(
    "name, says",
    [(name, says) for name, (_, says) in NAMED.items()]
    + [
        ("two names", "a.ipynb, b.ipynb"),
        ("only text", "no notebook"),
        ("linked", "symbolic link"),
        ("linked folder", "symbolic link"),
        ("a pipe", "not a file"),
        ("a folder", "not a file"),
        ("too large", "1024 MB"),
        (TOO_LONG, "too long"),
        (TWO_LINES, "line break"),
    ],
)
def test_what_cannot_be_repaired_is_named(damaged, name, says):
    _, scores, rows = damaged
    assert rows[name].status == "not graded"
    assert says in rows[name].note
    assert "\n" not in rows[name].note
    assert name not in scores


def test_nothing_of_the_grader_is_copied_to_students(damaged):
    root, _, _ = damaged
    kept = {p.name for p in (root / "autograded").rglob("*") if p.is_file()}
    # the student's own secret and time: nbgrader's exchange asks for both
    assert kept == {f"{LESSON}.ipynb", "submission_secret.txt", "timestamp.txt"}


def test_again_nothing_is_left_to_do(damaged):
    root, _, rows = damaged
    again = grade_class(root, LESSON, jobs=1)
    assert {n: r.score for n, r in again.items()} == {n: r.score for n, r in rows.items()}
    assert {r.status for r in again.values()} == {"unchanged", "not graded"}


# ------------------------------------------------------------------------------ reading alone


def test_the_last_copy_that_was_written_in_counts():
    nb = notebook(edit=copy_answer)
    found, _ = read_cells(to_bytes(nb))
    submission = match(found, SOURCE_CELLS)
    steps, checks = submission.steps()
    texts = [s["source"] for s in steps if s["name"] == "score_step"]
    assert texts == [classes.RIGHT["score_step"]]
    assert set(checks) == set(FULL)
    assert any("2 times" in note for note in submission.notes)


def test_random_bytes_never_raise_anything_else():
    rng, good = random.Random(0), bytearray(to_bytes(notebook()))
    for _ in range(300):
        data = bytearray(good[: rng.randrange(len(good))] if rng.random() < 0.3 else good)
        for _ in range(rng.randrange(1, 30)):
            if data:
                data[rng.randrange(len(data))] = rng.randrange(256)
        try:
            found, _ = read_cells(bytes(data))
        except Unreadable as error:
            assert str(error)
        else:
            assert all(isinstance(c.source, str) for c in found)


def test_databricks_source_is_the_notebook_cell_by_cell():
    found, _ = read_cells(databricks())
    texts = [c.source.strip() for c in found]
    assert texts[3:5] == ["%%sql\nselect 1", "%pip install torch"]
    del found[3:5], texts[3:5]
    assert texts == [c["source"].strip() for c in notebook()["cells"]]
    assert [c.kind for c in found] == [c["cell_type"] for c in notebook()["cells"]]
    python = b"# Databricks notebook source\n# MAGIC %python\n# MAGIC def softmax(theta):\n# MAGIC     return theta"
    (cell,), _ = read_cells(python)
    assert cell.source == "def softmax(theta):\n    return theta"


@pytest.mark.parametrize("script", [databricks(), by_nbconvert(), by_colab()])
def test_a_stub_in_a_script_is_not_written(script):
    given = script.replace(RIGHT.encode(), STUB_CELL.encode())
    assert given != script
    verdict = grade_submission(given, classes.SOURCE, "0")["exercises"]["softmax"]
    assert verdict["pitfall"] == "not written"


def test_a_cell_that_only_trains_is_not_run_for_its_functions_are_known():
    """A call of the student's own function is run where it makes what is needed, and nowhere else."""
    cells = [
        {"kind": "own", "name": "1", "source": "ran = []\ndef train():\n    ran.append(1)"},
        {"kind": "own", "name": "2", "source": "def again():\n    train()"},
        {"kind": "own", "name": "3", "source": "train()\nprint(again)"},
        {"kind": "answer", "name": "f", "source": "def f():\n    return again"},
    ]
    namespace = Namespace({})
    namespace.load(cells)
    assert [namespace.run(i)["error"] for i in range(4)] == [None] * 4
    assert namespace.space["ran"] == []


def test_a_script_beside_is_taken_where_there_is_no_notebook(tmp_path):
    folder = tmp_path / "ada" / LESSON
    folder.mkdir(parents=True)
    (folder / "utils.py").write_text("def f(): ...")
    with pytest.raises(Unreadable, match="no notebook"):
        find_notebook(folder, LESSON)
    (folder / "work.py").write_bytes(databricks())
    path, notes = find_notebook(folder, LESSON)
    assert path.name == "work.py" and "work.py" in notes[0]
    (folder / "mine.ipynb").write_bytes(to_bytes(notebook()))
    assert find_notebook(folder, LESSON)[0].name == "mine.ipynb"


def test_a_folder_as_downloaded_is_collected(tmp_path):
    root = classes.make(tmp_path / "class")
    (tmp_path / "downloads" / "bob").mkdir(parents=True)
    (tmp_path / "downloads" / f"ada_123_{LESSON}.ipynb").write_bytes(to_bytes(notebook()))
    (tmp_path / "downloads" / "bob" / "my work.ipynb").write_bytes(to_bytes(notebook()))
    assert sorted(collect(root, LESSON, tmp_path / "downloads")) == ["ada", "bob"]
    rows = grade_class(root, LESSON, jobs=1)
    assert [(r.student, r.score) for r in rows.values()] == [("ada", MOST), ("bob", MOST)]


def test_nobody_is_lost_in_collecting(tmp_path):
    """Two of one name, a second attempt, checkpoints, and what macOS puts into an archive."""
    root, folder = classes.make(tmp_path / "class"), tmp_path / "downloads"
    files = {
        f"smith_11_1_{LESSON}.ipynb": b"one",
        f"smith_22_1_{LESSON}.ipynb": b"two",
        f"ada_33_1_{LESSON}.ipynb": b"old",
        f"ada_33_2_{LESSON}.ipynb": b"new",
        "bob/.ipynb_checkpoints/x-checkpoint.ipynb": b"checkpoint",
        f"bob/{LESSON}.ipynb": b"bob",
        "bob/draft.ipynb": b"draft",
        f"__MACOSX/bob/._{LESSON}.ipynb": b"mac",
    }
    for i, (name, data) in enumerate(files.items()):
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes(data)
        os.utime(folder / name, (10**9 + i, 10**9 + i))
    assert sorted(collect(root, LESSON, folder)) == ["ada", "bob", "smith_11", "smith_22"]
    found = {p.parent.parent.name: p.read_bytes() for p in (root / "submitted").rglob("*.ipynb")}
    assert found == {"ada": b"new", "bob": b"bob", "smith_11": b"one", "smith_22": b"two"}


def test_what_cannot_be_graded_at_all_is_said(tmp_path):
    with pytest.raises(ClassError, match="no classroom"):
        grade_class(tmp_path, LESSON)
    root = classes.make(tmp_path / "class")
    with pytest.raises(ClassError, match="it has: 01_policy"):
        grade_class(root, "99_nothing")
    with pytest.raises(ClassError, match="handed in by nobody"):
        grade_class(root, LESSON, students=("nobody",))


# ------------------------------------------------------------------------------- interruption


def start(root):
    """`pgcourse grade` in a process of its own, forked from this warm one. returns: its pid"""
    pid = os.fork()
    if pid:
        return pid
    code = 1
    with contextlib.suppress(BaseException):
        grade_class(root, LESSON, jobs=2)
        code = 0
    os._exit(code)


def some_class(root):
    classes.make(root)
    exercises = list(lesson_exercises(LESSON).values())
    for i in range(6):
        wrong = exercises[i % len(exercises)]
        answers = {wrong.name: f"def {wrong.name}(*a):\n    return None"} if i % 2 else {}
        classes.hand_in(root, f"student-{i}", to_bytes(notebook(answers)))
    return root


def books(root):
    """All that nbgrader has written down: scores, and the outputs that feedback is made of."""
    outputs = {
        p.parent.parent.name: [c.get("outputs") for c in json.loads(p.read_text())["cells"]]
        for p in (root / "autograded").rglob("*.ipynb")
    }
    return classes.scores(root), outputs


@pytest.mark.slow
def test_killed_at_any_moment_it_finishes_the_rest(tmp_path):
    """kill -9 twenty times, then once to the end: the books of an undisturbed run."""
    undisturbed = some_class(tmp_path / "undisturbed")
    began = time.monotonic()
    assert os.waitpid(start(undisturbed), 0)[1] == 0
    whole = time.monotonic() - began
    disturbed, rng = some_class(tmp_path / "disturbed"), random.Random(0)
    # the same secret, so that the same words are said
    secret = (undisturbed / "nbgrader_config.py").read_text().split("seed=")[1]
    config = disturbed / "nbgrader_config.py"
    config.write_text(config.read_text().split("seed=")[0] + "seed=" + secret)
    kills = 0
    while kills < 20:
        began, pid, done = time.monotonic(), start(disturbed), 0
        # the first ones while judges start and judge, then most often while nbgrader writes
        moment = began + rng.uniform(0.05, 0.9) * whole / (1 if kills < 4 else 4)
        while not done and time.monotonic() < moment:
            time.sleep(0.02)
            done, status = os.waitpid(pid, os.WNOHANG)
        if not done:
            os.kill(pid, signal.SIGKILL)
            os.waitpid(pid, 0)
            kills += 1
        else:
            assert status == 0
            # how long a run takes is what the last one took: a busy machine is not waited for
            whole = min(whole, 4 * (time.monotonic() - began))
            stamps = sorted((disturbed / ".pgcourse" / "written" / LESSON).iterdir())
            for stamp in rng.sample(stamps, len(stamps) // 2):  # something to do again
                stamp.unlink()
    assert os.waitpid(start(disturbed), 0)[1] == 0
    assert books(disturbed) == books(undisturbed)
    assert leftovers(disturbed) == []


def leftovers(root):
    """Processes that work on this class, or judge for nobody."""
    time.sleep(1)
    found = []
    for path in Path("/proc").glob("[0-9]*/cmdline"):
        try:
            line = path.read_bytes().decode(errors="replace")
        except OSError:
            continue
        if str(root) in line:
            found.append(line)
    return found


# ------------------------------------------------------------------------------- split cells

SPLIT = {
    "a helper first": (
        ["def top(x):\n    return x", "def softmax(theta):\n    return top(theta)"],
        [0, 1],
    ),
    "tried below": (["def softmax(theta):\n    return theta", "softmax(torch.ones(2))"], [1, 0]),
    "an empty part": (["def softmax(theta):\n    return theta", ""], [0]),
    "the stub again": (["def softmax(theta):\n    return theta", None], [0]),
    "a mere copy": (["def softmax(theta):\n    return theta"] * 2, [1]),
    "two answers": (
        ["def softmax(theta):\n    return 1", "def softmax(theta):\n    return 2"],
        [0, 1],
    ),
}


@pytest.mark.parametrize("parts, kept", SPLIT.values(), ids=SPLIT)
def test_parts_of_a_split_cell_are_run_in_order(parts, kept):
    """The answer is the last part that defines the function; the others with work in them are the student's own."""
    stub = next(
        c
        for c in classes.RELEASE["cells"]
        if c["metadata"].get("nbgrader", {}).get("grade_id") == "softmax"
    )
    cells = [Cell("code", stub["source"] if text is None else text, "softmax") for text in parts]
    steps, checks = match(cells, SOURCE_CELLS).steps()
    mine = [s for s in steps if s["source"] in [c.source for c in cells]]
    assert [s["source"] for s in mine] == [cells[i].source for i in sorted(kept)]
    (answer,) = [s["source"] for s in mine if s["kind"] == "answer"]
    assert answer == [text for text in parts if text and text.startswith("def softmax")][-1]
    assert set(checks) == set(FULL)


@pytest.mark.parametrize(
    "change, kind",
    [
        (lambda text: text, "given"),
        (lambda text: f"# a comment\n\n{text}  # as scripts have them\n# the next text", "given"),
        (lambda text: text.encode("ascii", "replace").decode(), "given"),
        (lambda text: clean(text.encode().decode("latin-1")), "given"),
        (lambda text: f"{text}\nmine = 1", "own"),
        (lambda text: text.replace("(", "(0 * ", 1), "own"),
    ],
)
def test_given_code_is_known_whatever_a_form_or_an_encoding_did_to_it(change, kind):
    """It is run as the lesson has it; what is not known is run as a helper of the student's, training and plots and all."""
    given = max(
        (c for c in SOURCE_CELLS if c.kind == "code" and not c.grade_id and "π" in c.source),
        key=lambda c: len(c.source),
    )
    cells = [Cell("code", change(given.source)) if c is given else c for c in SOURCE_CELLS]
    steps, _ = match(cells, SOURCE_CELLS).steps()
    theirs = [s["kind"] for s in steps if s["source"] == change(given.source)]
    assert theirs in (([kind],) if kind == "own" or change(given.source) == given.source else ([],))
    assert [s["kind"] for s in steps if s["source"] == given.source] == ["given"]


def test_given_code_that_was_cut_or_joined_is_put_back_whole():
    """As Colab's scripts have it; where the lesson's cell is there as well, a copy is the student's own."""
    code = [c for c in SOURCE_CELLS if c.kind == "code" and not c.grade_id]
    given = max((c for c in code if "\n\n" in c.source), key=lambda c: len(c.source))
    i = SOURCE_CELLS.index(given)
    parts = [Cell("code", part) for part in given.source.split("\n\n")]
    text = Cell("code", '"""A text, as it comes between."""\n' + parts[0].source)
    for cells in (
        [*SOURCE_CELLS[:i], *parts, *SOURCE_CELLS[i + 1 :]],
        [*SOURCE_CELLS[:i], text, *parts[1:], *SOURCE_CELLS[i + 1 :]],
    ):
        steps, _ = match(cells, SOURCE_CELLS).steps()
        assert [s["kind"] for s in steps if s["source"] == given.source] == ["given"]
        assert not [s for s in steps if s["kind"] == "own"]
    mine = Cell("code", f"{parts[0].source}\nmine = 1")
    for cells in (
        [*SOURCE_CELLS[:i], mine, *parts[1:], *SOURCE_CELLS[i + 1 :]],
        [*SOURCE_CELLS[: i + 1], mine, *SOURCE_CELLS[i + 1 :]],
    ):
        steps, _ = match(cells, SOURCE_CELLS).steps()
        assert [s["source"] for s in steps if s["kind"] == "own"] == [mine.source]
    cells = [*SOURCE_CELLS[: i + 1], parts[0], *SOURCE_CELLS[i + 1 :]]
    steps, _ = match(cells, SOURCE_CELLS).steps()
    assert [s["source"] for s in steps if s["kind"] == "own"] == [parts[0].source]


# -------------------------------------------------------------------------- given to be mended

MEND = """
# %% tags=["setup"]
import torch

from pgcourse.tensors import same_shape

# %% exercise="pgcourse.losses.probability_ratio"

# %% exercise="pgcourse.losses.ppo_clip_loss" broken="no minimum"

# %% exercise="pgcourse.losses.approx_kl"
"""


def to_mend(change=None):
    """(bytes, source) of a lesson with a function to mend, whose text was changed; what it calls is right."""
    lesson = build_lesson(MEND, "00_mend")
    there = {c.id: c for c in lesson.learner.cells}
    there["probability_ratio"].source = text_of(
        get("probability_ratio").reference, "probability_ratio"
    )
    cell = there["ppo_clip_loss"]
    cell.source = change(cell.source) if change else cell.source
    return nbformat.writes(lesson.learner).encode(), nbformat.writes(lesson.solved)


@pytest.mark.parametrize(
    "change, pitfall, points",
    [
        (None, "not written", 0),
        (lambda text: text + "\n\n", "not written", 0),
        (lambda text: "# I see nothing\n" + text, "no minimum", 3),
        (lambda text: text.replace("-(clipped", "(clipped"), "no minimum, and sign", 0),
        (lambda text: text.replace("def ", "def not_"), "not a function", 0),
        (lambda text: text + ")", "syntax error", 0),
        (lambda text: "", "not written", 0),
        (
            lambda text: text.replace("(clipped * adv)", "torch.minimum(rho * adv, clipped * adv)"),
            None,
            9,
        ),
    ],
)
def test_what_is_to_be_mended_is_not_begun_until_it_is_changed(change, pitfall, points):
    found = grade_submission(*to_mend(change), "0")["exercises"]
    verdict = found["ppo_clip_loss"]
    assert (verdict["pitfall"], verdict["score"]) == (pitfall, points), verdict["message"]
    text = "def f(x):\n    return -(clipped * adv)"
    as_given = change is None or change(text).strip() == text
    assert ("as it was given" in verdict["message"]) == as_given
    assert found["approx_kl"]["pitfall"] == "not written"
    assert "as it was given" not in found["approx_kl"]["message"]


@pytest.mark.parametrize("edit", [None, strip_labels, strip_labels_and_ids, rename_labels])
def test_the_mistake_that_was_given_is_nobody_s(edit):
    """Whatever became of its label, as it was given it is not begun."""
    data, source = to_mend()
    nb = json.loads(data)
    for cell in nb["cells"]:
        cell["source"] = "".join(cell["source"])
    if edit:
        edit(nb)
    submission = match(read_cells(to_bytes(nb))[0], read_cells(source.encode())[0])
    assert submission.still_to_mend() == ["ppo_clip_loss"]
    (step,) = [s for s in submission.steps()[0] if s["name"] == "ppo_clip_loss"]
    assert step["source"].endswith(STUB)
