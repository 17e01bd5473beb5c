"""A lesson's first cell: how far you are, which cell was left out, and what to do without the package."""

import os
import shutil
from importlib import metadata
from types import SimpleNamespace

import nbformat
import pytest

from pgcourse import notebook
from pgcourse.classroom import build
from pgcourse.classroom.outputs import Client

LESSON = "01_policy_gradient_theorem"


def test_the_saved_notebook_is_judged_in_its_own_order(saved_lesson):
    found = notebook.passing(saved_lesson / f"{LESSON}.ipynb", LESSON)
    assert list(found)[:3] == ["softmax", "grad_log_softmax", "score_step"]
    assert {name: state for name, state in found.items() if state is not None} == {
        "softmax": True,
        "grad_log_softmax": False,
    }
    line = notebook.Line(LESSON, found)
    for text in (repr(line), line._repr_html_()):
        assert f"Lesson 1: 1 of {len(found)} exercises pass" in text
        assert "\n" not in text and "role='status'" in line._repr_html_()
    assert "✓ softmax  ✗ grad_log_softmax  ○ score_step" in repr(line)


def run(saved_lesson, monkeypatch, *which, more=()):
    """Some cells of the saved lesson and `more` code, in a fresh kernel that was started for this notebook."""
    nb = nbformat.read(saved_lesson / f"{LESSON}.ipynb", as_version=4)
    cells = {c.id: c for c in nb.cells if c.cell_type == "code"}
    setup = next(c for c in cells.values() if "setup" in c.metadata.get("tags", []))
    nb.cells = [setup if name == "setup" else cells[name] for name in which]
    nb.cells += map(nbformat.v4.new_code_cell, more)
    monkeypatch.setenv("JPY_SESSION_NAME", str(saved_lesson / f"{LESSON}.ipynb"))
    monkeypatch.delenv("MPLBACKEND", raising=False)
    resources = {"metadata": {"path": saved_lesson}}
    Client(nb, timeout=120, allow_errors=True, resources=resources).execute()
    return nb.cells


def test_the_first_cell_shows_the_line(saved_lesson, monkeypatch):
    (cell,) = run(saved_lesson, monkeypatch, "setup")
    (output,) = cell.outputs
    assert "✓ softmax  ✗ grad_log_softmax" in output.data["text/plain"]
    monkeypatch.setenv("NBGRADER_EXECUTION", "autograde")  # a grade says its own
    assert run(saved_lesson, monkeypatch, "setup")[0].outputs == []


def test_each_check_renews_the_line(saved_lesson, monkeypatch):
    worse = "def softmax(theta):\n    return theta\n\n\ncheck(softmax)"
    first, *_ = run(
        saved_lesson, monkeypatch, "setup", more=[f"from pgcourse.checks import check\n{worse}"]
    )
    assert "✗ softmax  ✗ grad_log_softmax" in first.outputs[0].data["text/plain"]
    assert "Lesson 1: 0 of" in first.outputs[0].data["text/html"]


def test_a_cell_that_was_left_out_is_named(saved_lesson, monkeypatch):
    *_, last = run(saved_lesson, monkeypatch, "setup", "check_softmax")
    (error,) = last.outputs
    assert error.ename == "NameError"
    place = "the cell below “Exercise: softmax (5 minutes, ●)”"
    assert f"'softmax' is not defined. It comes from {place}" in error.evalue
    assert "from top to bottom" in error.evalue and len(error.traceback) <= 5


def test_a_name_is_looked_for_where_it_is_defined():
    cells = [
        ("markdown", "text\n## A `b`\n### C"),
        ("code", "def f():\n    inside = 1"),
        ("code", "%magic\nx = 1"),
        ("code", "x = 1 +"),
        ("markdown", "no heading"),
        ("code", "import y as z"),
        ("code", "x, y = 1, 2\nfor i in range(3): pass"),
    ]
    places = {name: notebook.place_of(name, cells) for name in ("f", "z", "x", "i", "inside", "w")}
    assert places == dict.fromkeys("fzxi", "the cell below “C”") | {"inside": "", "w": ""}
    assert notebook.place_of("x", cells, now=cells[-1][1]) == ""  # it is this very cell
    assert notebook.place_of("x", [("code", "x = 1")]) == "a cell further up"


def test_without_a_notebook_a_name_error_is_as_always(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "broken.ipynb").write_text("{")
    assert [notebook.saved_cells(name) for name in ("", "none.ipynb", "broken.ipynb")] == [[]] * 3


def test_installing_touches_nothing_of_the_environments_own():
    """Only the package, its metadata and its command: no configuration that others have too."""
    places = {file.parts[0] for file in metadata.files("pgcourse") if file.parts[0] != ".."}
    outside = [file.name for file in metadata.files("pgcourse") if file.parts[0] == ".."]
    assert all("pgcourse" in place for place in places) and set(outside) <= {
        "pgcourse",
        "pgcourse.exe",
    }


def test_without_the_package_the_first_cell_says_how_to_get_it(root, tmp_path, monkeypatch):
    shutil.copy(root / "course" / f"{LESSON}.ipynb", tmp_path)
    nb = nbformat.read(tmp_path / f"{LESSON}.ipynb", as_version=4)
    setup = next(c for c in nb.cells if "setup" in c.metadata.get("tags", []))
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    with pytest.raises(ModuleNotFoundError, match=r"make lab.*%pip install git\+https"):
        exec(setup.source, {})
    assert setup.source.startswith(build.FIRST)


def test_every_lesson_begins_with_it(root):
    for path in [*(root / "course").glob("0*.ipynb"), *(root / "solutions").glob("0*.ipynb")]:
        cells = [c for c in nbformat.read(path, as_version=4).cells if c.cell_type == "code"]
        assert cells[0].source.startswith(build.FIRST), path
        assert cells[0].source.endswith(f'begin("{path.stem}")'), path


def test_no_shell_no_line(saved_lesson, capsys):
    notebook.begin(LESSON, saved_lesson)
    assert capsys.readouterr().out == "" and "JPY_SESSION_NAME" not in os.environ


def test_somebody_elses_notebook_is_not_run_unasked(saved_lesson, monkeypatch, capsys):
    monkeypatch.setattr(
        notebook, "running_shell", lambda: SimpleNamespace(set_custom_exc=lambda *_: None)
    )
    monkeypatch.setattr(notebook, "passing", lambda *_: pytest.fail("it was run"))
    monkeypatch.setattr(notebook.os, "getuid", lambda: -1)
    notebook.begin(LESSON, saved_lesson)
    assert "belongs to somebody else" in capsys.readouterr().out


def test_another_lessons_notebook_is_called_so(root, saved_lesson, monkeypatch, capsys):
    shutil.copy(root / "course" / "05_ppo.ipynb", saved_lesson / f"{LESSON}.ipynb")
    monkeypatch.setattr(
        notebook, "running_shell", lambda: SimpleNamespace(set_custom_exc=lambda *_: None)
    )
    monkeypatch.setattr(notebook, "describe_in_lab", lambda shell: None)
    notebook.begin(LESSON, saved_lesson)
    assert "it is the notebook of another lesson, 05_ppo" in capsys.readouterr().out


def test_the_last_cell_shows_all_lessons_and_the_next_step(saved_lesson, monkeypatch, capsys):
    solved = saved_lesson.parent / "solutions" / f"{LESSON}.ipynb"
    notebook.end(LESSON, saved_lesson)
    assert "solved" not in capsys.readouterr().out  # there is no such file here
    solved.parent.mkdir()
    solved.touch()
    notebook.end(LESSON, saved_lesson)
    out = capsys.readouterr().out
    of = len(notebook.passing(saved_lesson / f"{LESSON}.ipynb", LESSON))
    assert f"lesson 1:  1 of {of} exercises pass" in out
    assert "Still open in this lesson: grad_log_softmax." in out
    assert "Next: lesson 2 (02_reinforce.ipynb)" in out
    assert f"This lesson, solved (../solutions/{LESSON}.ipynb)" in out
    notebook.end("08_capstone", saved_lesson / "nothing here")
    assert "That was the last lesson." in capsys.readouterr().out
    monkeypatch.setattr(notebook, "somebody_elses", lambda path: True)
    notebook.end(LESSON, saved_lesson)
    assert "exercises pass" not in capsys.readouterr().out


def test_the_way_on_is_links(saved_lesson):
    way = notebook.Way("05_ppo", {"01_x": {"a": True, "b": None}}, ["01_x", "05_ppo", "06_sac"])
    shown = way._repr_html_()
    assert "<a href='06_sac.ipynb'>Next: lesson 6</a>" in shown
    assert "<progress value='1' max='2' aria-label='lesson 1'>" in shown and "1 of 2" in shown


def test_every_lesson_ends_with_it_and_its_first_cell_is_folded(root):
    for path in [*(root / "course").glob("0*.ipynb"), *(root / "solutions").glob("0*.ipynb")]:
        cells = [c for c in nbformat.read(path, as_version=4).cells if c.cell_type == "code"]
        assert cells[-1].source.endswith(f'end("{path.stem}")'), path
        assert cells[0].metadata["jupyter"] == {"source_hidden": True}, path


def test_in_jupyterlab_a_picture_carries_its_words(saved_lesson, monkeypatch):
    nb = nbformat.read(saved_lesson / f"{LESSON}.ipynb", as_version=4)
    setup = next(c for c in nb.cells if "setup" in c.metadata.get("tags", []))
    picture = nbformat.v4.new_code_cell('plt.plot([1, 2]); plt.title("A < B"); plt.show()')
    nb.cells = [setup, picture]
    monkeypatch.setenv("JPY_SESSION_NAME", str(saved_lesson / f"{LESSON}.ipynb"))
    monkeypatch.delenv("MPLBACKEND", raising=False)
    Client(nb, timeout=120, resources={"metadata": {"path": saved_lesson}}).execute()
    shown = next(o.data["text/html"] for o in picture.outputs if "image/png" in o.get("data", {}))
    assert shown.startswith('<img alt="A &lt; B" src="data:image/png;base64,')
