"""What the solved notebooks show where nothing runs: kept with their code, and taken away with it."""

import re

import nbformat
import pytest

from pgcourse import cli
from pgcourse.classroom import build
from pgcourse.classroom.build import ROOT, BuildError, keep_outputs
from pgcourse.classroom.outputs import code_cells, without_outputs
from pgcourse.classroom.site import build_site
from tests.test_build import SOURCE

SOLVED = sorted((ROOT / "solutions").glob("[0-9]*.ipynb"))
MOST = 2_000_000  # bytes of a notebook


@pytest.mark.parametrize("path", SOLVED, ids=lambda p: p.stem)
def test_a_solved_lesson_shows_its_pictures(path):
    """`pgcourse build` takes outputs away when the code is another: these are of this code."""
    assert path.stat().st_size <= MOST
    nb = nbformat.read(path, as_version=4)
    shown = [output for cell in code_cells(nb) for output in cell.outputs]
    assert shown, f"run pgcourse build --run {path.stem}"
    assert not [o for o in shown if o.output_type == "error"]
    assert sum("image/png" in o.get("data", {}) for o in shown) >= 3
    passed = [o for o in shown if "✓" in o.get("data", {}).get("text/html", "")]
    assert len(passed) >= 5
    assert not re.search(r"/(tmp|home|root)/|Warning", str(shown))


@pytest.fixture
def clone(tmp_path):
    """A clone with one small lesson that was run."""
    (tmp_path / "solutions").mkdir()
    (tmp_path / "solutions" / "00_fixture.py").write_text(SOURCE)
    build.build(root=tmp_path)
    keep_outputs("00_fixture", tmp_path)
    return tmp_path


def outputs_of(clone):
    return str([c.outputs for c in code_cells(read(clone))])


def read(clone):
    return nbformat.read(clone / "solutions" / "00_fixture.ipynb", as_version=4)


def test_outputs_stay_as_long_as_the_code(clone):
    was = outputs_of(clone)
    assert "✓ softmax" in was and "given" in was
    source = clone / "solutions" / "00_fixture.py"
    source.write_text(SOURCE.replace("# # A lesson", "# # Another title"))
    build.build(root=clone)
    assert "Another title" in str(read(clone)) and outputs_of(clone) == was
    source.write_text(SOURCE.replace('print("given")', 'print("not given")'))
    build.build(root=clone)
    assert not any(c.outputs or c.execution_count for c in code_cells(read(clone)))


def test_without_its_outputs_it_is_what_was_built(clone):
    text = build.to_text(without_outputs(read(clone)))
    (clone / "solutions" / "00_fixture.ipynb").unlink()
    build.build(root=clone)
    assert (clone / "solutions" / "00_fixture.ipynb").read_text() == text


def test_a_lesson_that_is_not_there_is_named(clone):
    with pytest.raises(BuildError, match="no lesson called 05; there are: 00_fixture"):
        keep_outputs("05", clone)


def test_without_a_clone_or_with_another_name_it_says_so(tmp_path):
    """A site of nothing would look like success."""
    with pytest.raises(BuildError, match=r"No lessons in .*clone"):
        build_site(tmp_path / "site", root=tmp_path)
    with pytest.raises(BuildError, match="no lesson called 99_x; there are: 01_"):
        build_site(tmp_path / "site", ["99_x"])
    for command in ("site", "claims"):
        given = ["--lesson", "99_x"] if command == "site" else ["99_x"]
        with pytest.raises(SystemExit) as ended:
            cli.app([command, *given])
        assert ended.value.code == 2
    assert not (tmp_path / "site").exists()
