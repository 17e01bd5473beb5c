"""A lesson's grades in the form that a learning platform takes.

pgcourse export my-class 05_ppo --to canvas --roster gradebook.csv     Canvas's own export, filled in
pgcourse export my-class 05_ppo --to moodle --roster worksheet.csv     Moodle's grading worksheet, filled in
pgcourse export my-class 05_ppo --to csv                               student, score, max_score, timestamp
"""

from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer

from pgcourse.classroom import roster as rosters
from pgcourse.classroom.books import counts, graded_cells, in_the_book
from pgcourse.classroom.gradebook import ClassError, Classroom


class Platform(StrEnum):
    canvas = "canvas"
    moodle = "moodle"
    csv = "csv"


def grades(room, lesson):
    """[(student, score, max_score, timestamp)] of everybody whose submission is in nbgrader's gradebook;
    the score is what counts, after a penalty for being late."""
    from nbgrader.api import Gradebook

    path = room.root / "gradebook.db"
    if not path.exists():
        raise ClassError(f"{room.root} has no gradebook yet: pgcourse grade makes it.")
    with Gradebook(f"sqlite:///{path}") as book:
        if lesson not in [assignment.name for assignment in book.assignments]:
            raise ClassError(f"Nothing of {lesson} is graded yet.")
        entries, most = in_the_book(book).get(lesson, {}), sum(graded_cells(book, lesson).values())
    return sorted((n, counts(e), most, str(e["when"] or "")) for n, e in entries.items())


def export(root, lesson, to, roster=None):
    """(CSV text, [students who are not in the class list]) of a lesson's grades.

    to     : "canvas", "moodle" or "csv"
    roster : the platform's own file; needed for the first two
    raises : ClassError
    """
    rows = grades(Classroom(root), lesson)
    if to == Platform.csv:
        return rosters.table(["student", "score", "max_score", "timestamp"], rows), []
    if roster is None:
        raise ClassError(
            f"--to {to} fills in {to}'s own file, which has its ids: give it as --roster."
        )
    return rosters.with_grades(rosters.read(roster), to, lesson, {r[0]: r[1] for r in rows})


def command(
    directory: Annotated[Path, typer.Argument(help="The classroom.")],
    lesson: Annotated[str, typer.Argument(help="For example 05_ppo.")],
    to: Annotated[Platform, typer.Option(help="Whose form.")] = Platform.csv,
    roster: Annotated[Path | None, typer.Option(help="The platform's own CSV file.")] = None,
    out: Annotated[
        Path | None, typer.Option(help="Default: <lesson>-<platform>.csv, here.")
    ] = None,
):
    """Write a lesson's grades as Canvas, Moodle or a spreadsheet takes them."""
    try:
        text, left = export(directory, lesson, to, roster)
    except ClassError as error:
        typer.echo(str(error), err=True)
        raise typer.Exit(2) from None
    out = out or Path(f"{lesson}-{to}.csv")
    out.write_text(text, encoding="utf-8")
    typer.echo(f"{out}: {text.count(chr(10)) - 1} rows")
    if left:
        typer.echo(f"graded, but not in {roster}: {', '.join(left)}", err=True)
        raise typer.Exit(1)
