"""Every notebook as a person runs it: the learner's fresh one, and the solved one from top to bottom."""

from pathlib import Path

import nbformat
import pytest

from pgcourse.classroom.claims import claims_of, with_claims
from pgcourse.classroom.outputs import Client

ROOT = Path(__file__).parents[1]
LESSONS = [pytest.param(p, id=p.stem) for p in sorted(ROOT.glob("solutions/[0-9]*.py"))]


def execute(nb, folder, **options):
    """Run a notebook in another folder, with training shortened; returns its code cells."""
    client = Client(nb, timeout=600, resources={"metadata": {"path": folder}}, **options)
    client.execute()
    return [cell for cell in nb.cells if cell.cell_type == "code"]


def errors(cell):
    return [output for output in cell.outputs if output.output_type == "error"]


@pytest.fixture(autouse=True)
def short(monkeypatch):
    monkeypatch.setenv("PGCOURSE_FAST", "1")
    monkeypatch.delenv("MPLBACKEND", raising=False)  # a kernel draws inline


@pytest.mark.slow
@pytest.mark.parametrize("lesson", LESSONS)
def test_the_solved_notebook_runs_earns_all_points_and_says_what_is_so(lesson, tmp_path):
    """The fast claims run in their places, in the solved lesson's own namespace."""
    checks = 0
    fast = [claim for claim in claims_of(lesson) if not claim.slow]
    for cell in execute(with_claims(lesson, fast), tmp_path):
        assert not [o for o in cell.outputs if o.get("name") == "stderr" and "Warning" in o.text]
        points = cell.metadata.get("nbgrader", {}).get("points")
        if points:
            checks += 1
            results = [
                o.data["text/plain"] for o in cell.outputs if o.output_type == "execute_result"
            ]
            assert results == [str(float(points))], cell.source
    assert checks >= 5


@pytest.mark.slow
@pytest.mark.parametrize("lesson", LESSONS)
def test_the_fresh_notebook_says_what_is_missing(lesson, tmp_path):
    """Every check of an untouched notebook fails in one line, in its own words, and earns nothing.

    Of a function that is given to be mended it names the mistake.
    """
    fresh = ROOT / "course" / f"{lesson.stem}.ipynb"
    nb = nbformat.read(fresh, as_version=4)
    keep = [
        c for c in nb.cells if "nbgrader" in c.metadata or "setup" in c.metadata.get("tags", [])
    ]
    nb.cells = [c for c in keep if c.cell_type == "code"]
    for cell in execute(nb, tmp_path, allow_errors=True):
        grader = cell.metadata.get("nbgrader", {})
        if not grader.get("points"):
            assert not errors(cell), cell.source
            empty = "NotImplementedError" in cell.source
            continue
        (error,) = errors(cell)
        assert error.ename == "CheckFailed" and "·" in error.evalue
        assert ("not written" in error.evalue) == empty
        assert len(error.traceback) == 1
