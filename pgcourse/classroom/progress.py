"""How far a learner is: every exercise in the saved notebooks, judged again, on this machine alone.

Outputs that were saved are not believed: a function may have changed since its check ran. What is
written is run as in a graded class, in a process of its own with limits of time and memory, but on
the numbers of the notebook's own checks.
"""

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import typer

from pgcourse.checks import LESSONS, lesson_exercises
from pgcourse.checks.cells import Unreadable, read_bytes, read_cells
from pgcourse.checks.core import VISIBLE_SEED
from pgcourse.checks.own import unreadable
from pgcourse.checks.submission import match
from pgcourse.classroom import solved_notebooks
from pgcourse.classroom.build import ROOT
from pgcourse.notebook import somebody_elses


@dataclass(frozen=True)
class Row:
    """An exercise. state: "passed", "tried" or "not yet"; pitfall: the mistake's name, if it has one"""

    lesson: str
    exercise: str
    state: str
    score: float
    points: float
    pitfall: str = ""


def progress(folder, root=ROOT, tell=None, warn=None):
    """Every exercise of every lesson, as the notebooks in this folder answer it.

    folder  : holds 01_policy_gradient_theorem.ipynb and so on, or as nbgrader lays them a folder a lesson;
              one that is missing is not begun
    root    : the clone, with the solved notebooks
    tell    : called with the name of each lesson that is judged
    warn    : called with a sentence where a notebook cannot be judged, and where no sandbox works and the
              saved cells ran with all your rights
    returns : list of Row
    """
    rows, warned = [], warn is None
    for lesson in LESSONS:
        path, found = notebook_in(folder, lesson), {}
        source = (solved_notebooks(root) / f"{lesson}.ipynb").read_text(encoding="utf-8")
        data = read(path, source)
        if warn and not data and (says := unreadable(path, lesson)):
            warn(f"{path.name} cannot be judged: {says}.")
        if data:
            if tell:
                tell(lesson)
            found, isolation = judged(data, source)
            if isolation == "NOT ISOLATED" and not warned:
                warn(
                    "No sandbox works on this machine: your saved cells ran as they do in JupyterLab."
                )
                warned = True
        for name, exercise in lesson_exercises(lesson).items():
            verdict = found.get(name)
            if verdict is None or verdict["pitfall"] == "not written":
                rows.append(Row(lesson, name, "not yet", 0.0, exercise.points))
                continue
            state = "passed" if verdict["passed"] else "tried"
            score, mistake = verdict["score"], verdict["pitfall"] or ""
            rows.append(Row(lesson, name, state, score, exercise.points, mistake))
    return rows


def notebook_in(folder, lesson):
    """Where a folder keeps a lesson: in it, or in a folder of the lesson's name, where nbgrader fetches it to."""
    direct = Path(folder) / f"{lesson}.ipynb"
    return direct if direct.exists() else Path(folder) / lesson / f"{lesson}.ipynb"


def notebooks_in(folder):
    return [path for lesson in LESSONS if (path := notebook_in(folder, lesson)).exists()]


def read(path, source):
    """The bytes of a saved notebook in which something was written; None where there is none, or where it
    is as it was given and need not be run."""
    try:
        data = read_bytes(path)
        submission = match(read_cells(data)[0], read_cells(source.encode())[0])
    except Unreadable:
        return None
    return data if submission.is_begun() else None


def judged(data, source):
    """({exercise: verdict}, isolation) of a saved notebook."""
    from pgcourse.classroom.judge import grade_submission
    from pgcourse.classroom.warm import Limits

    # one's own notebook may run where no sandbox works: in JupyterLab it does so anyway
    result = grade_submission(data, source, VISIBLE_SEED, Limits(unsafe=True))
    return result["exercises"], result["isolation"]


MARKS = {"passed": "[green]✓ passed[/]", "tried": "[yellow]… tried[/]", "not yet": "  not yet"}


def table(rows):
    """The rows as a rich Table: one section a lesson."""
    from rich.table import Table

    result = Table(title="Your way through the course")
    for column in ("lesson", "exercise", "", "points", "mistake"):
        result.add_column(column, justify="right" if column == "points" else "left")
    before = None
    for row in rows:
        if before not in (None, row.lesson):
            result.add_section()
        lesson = row.lesson if row.lesson != before else ""
        points = f"{row.score:g} of {row.points:g}"
        result.add_row(lesson, row.exercise, MARKS[row.state], points, row.pitfall)
        before = row.lesson
    return result


def summary(rows):
    """One line: how much is done, and what is next."""
    done = [row for row in rows if row.state == "passed"]
    line = (
        f"{len(done)} of {len(rows)} exercises pass, "
        f"{sum(r.score for r in rows):g} of {sum(r.points for r in rows):g} points."
    )
    left = next((row for row in rows if row.state != "passed"), None)
    return f"{line} Next: {left.exercise} in lesson {left.lesson}." if left else f"{line} All done!"


def command(
    folder: Annotated[
        Path | None,
        typer.Argument(
            help="Where your notebooks are; by default here, or else course/ of the clone."
        ),
    ] = None,
    yes: Annotated[
        bool, typer.Option("--yes", help="Run notebooks that belong to somebody else, too.")
    ] = False,
):
    """Which exercises of which lesson pass in your saved notebooks (save them first)."""
    from rich.console import Console

    console = Console()
    if folder is None:
        folder = next((f for f in (Path.cwd(), ROOT / "course") if notebooks_in(f)), Path.cwd())
    if not notebooks_in(folder):
        typer.echo(f"No notebooks of the course in {folder}.", err=True)
        raise typer.Exit(1)
    others = [p.name for p in notebooks_in(folder) if somebody_elses(p)]
    if others and not yes:
        names = ", ".join(sorted(others))
        typer.confirm(f"{names}: somebody else's. To judge them is to run them. Go on?", abort=True)
    warnings = []
    with Console(stderr=True).status("") as status:
        rows = progress(
            folder, tell=lambda lesson: status.update(f"judging {lesson}"), warn=warnings.append
        )
    for line in warnings:
        typer.echo(line, err=True)
    console.print(table(rows))
    console.print(summary(rows))
