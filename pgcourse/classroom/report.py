"""What an instructor wants to know of a lesson: the class's scores and mistakes, who needs help, who is missing.

pgcourse report my-class 05_ppo          a table here, and report/05_ppo.html and .csv in the classroom
"""

import csv
import io
import os
import statistics
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated
from urllib.parse import quote

import typer

from pgcourse.checks.cells import shown
from pgcourse.classroom.books import graded_cells, in_the_book, over_time
from pgcourse.classroom.gradebook import ClassError, Classroom, Store, write_whole
from pgcourse.classroom.roster import harmless

NOT_WRITTEN = "not written"
UNNAMED = "another mistake"
# no misconceptions; and what such an error says in words are those of one student: {name: sentence about all}
DID_NOT_RUN = {
    "syntax error": "The cell is no Python.",
    "cell raises": "The cell raised an error before its function was there.",
    "exception": "The function raised an error on an input that it should take.",
    "not a function": "After its cell has run there is no function of that name.",
    "endless loop": "The function did not return in time.",
    "cell stalls": "The cell does not come to an end.",
    "killed": "The function ended the process that ran it.",
    "cell killed": "The cell ended the process that ran it.",
    "too much": "What was returned is too large, or of a kind that no exercise asks for.",
    "not an answer": "What came back was no answer of a function.",
    "no time left": "The time for the submission was used up before its turn.",
}
LOW, FALL = 0.5, 0.3  # who needs help: less than this share of the points; a fall by as much


@dataclass(frozen=True)
class Person:
    """One student in the report.

    verdicts   : {exercise: verdict as in a result}
    scores     : {graded cell: points in nbgrader's gradebook, or None: a person has still to grade it}
    book       : points in nbgrader's gradebook, or None (not graded)
    penalty    : points that nbgrader's late plugin took
    late       : days, 0 if in time
    attempts   : how often the lesson was handed in, as nbgrader's exchange knows; 1 if it is not used
    why        : why there is no grade, "" if there is
    shares     : {lesson: share of its points}, of the lessons that are graded
    help       : the signs that this student needs help, []
    besides    : what else went wrong for one who does
    feedback   : address of the feedback page, seen from report/; "" where there is none
    submission : address of what was handed in
    folder     : where the graded notebook is
    """

    name: str
    verdicts: dict
    scores: dict
    book: float | None
    penalty: float
    late: float
    attempts: int
    why: str
    notes: str
    isolation: str
    shares: dict = field(default_factory=dict)
    help: list = field(default_factory=list)
    besides: list = field(default_factory=list)
    feedback: str = ""
    submission: str = ""
    folder: Path | None = None

    @property
    def total(self):
        """Points that count: after the penalty; None without a grade."""
        return None if self.why or self.book is None else max(0.0, self.book - self.penalty)

    def mistakes(self):
        """{exercise: name of the mistake} of what was written and is wrong"""
        return {
            name: v["pitfall"] or UNNAMED
            for name, v in self.verdicts.items()
            if not v["passed"] and v["pitfall"] != NOT_WRITTEN
        }

    def not_written(self):
        return [name for name, v in self.verdicts.items() if v["pitfall"] == NOT_WRITTEN]


@dataclass(frozen=True)
class Misconception:
    """A mistake with a name, over all exercises.

    where    : {exercise: [Person]}, the most frequent first
    sentence : what the checks say to who made it
    """

    name: str
    where: dict
    sentence: str

    @property
    def ran(self):
        return self.name not in DID_NOT_RUN

    @property
    def people(self):
        """Everybody who made it, once."""
        return list({p.name: p for people in self.where.values() for p in people}.values())


@dataclass(frozen=True)
class Report:
    lesson: str
    points: dict  # {graded cell: points}
    people: list
    lessons: list  # [Lesson] in order

    @property
    def most(self):
        return sum(self.points.values())

    @property
    def graded(self):
        return [p for p in self.people if p.total is not None]

    @property
    def missing(self):
        return [p for p in self.people if p.why]

    @property
    def in_need(self):
        """Who needs help, who has the fewest points first."""
        return sorted((p for p in self.people if p.help), key=lambda p: (p.total, p.name))

    def mistakes(self):
        """{exercise: Counter of what went wrong}, most frequent first"""
        wrong = {name: Counter() for name in self.points if self.judged(name)}
        for p in self.people:
            for name, verdict in p.verdicts.items():
                if name in wrong and not verdict["passed"]:
                    wrong[name][verdict["pitfall"] or UNNAMED] += 1
        return wrong

    def judged(self, name):
        return any(name in p.verdicts for p in self.people)

    def misconceptions(self):
        """Mistakes over exercises, those of most students first; one without a name counts for its exercise, and
        comes later; what did not run comes last."""
        found = {}
        for p in self.people:
            for exercise, name in p.mistakes().items():
                key = (name, exercise if name == UNNAMED else "")
                found.setdefault(key, {}).setdefault(exercise, []).append(p)
        result = []
        for (name, _), where in found.items():
            where = dict(sorted(where.items(), key=lambda item: -len(item[1])))
            first = next(iter(where))
            says = Counter(p.verdicts[first]["message"] for p in where[first]).most_common(1)[0][0]
            result.append(Misconception(name, where, DID_NOT_RUN.get(name, says)))
        return sorted(result, key=lambda m: (not m.ran, m.name == UNNAMED, -len(m.people), m.name))

    def isolation(self):
        return sorted({p.isolation for p in self.people if p.isolation})


# --------------------------------------------------------------------------------------- reading


def read(root, lesson):
    """The Report of a lesson. raises: ClassError"""
    room = Classroom(root)
    room.source(lesson)
    results = {name: Store(room.root, name).all() for name in lessons_of(room)}
    mine = results.get(lesson, {})
    with room.gradebook() as book:
        cells, all_books = graded_cells(book, lesson), in_the_book(book)
        shares, lessons = over_time(book, all_books)
        everybody = {s.id for s in book.students}
    books = all_books.get(lesson, {})
    handed_in = {*room.students(lesson), *mine, *books}
    if not handed_in:
        raise ClassError(f"Nobody has handed in {lesson} yet.")
    everybody |= handed_in.union(*(room.students(name) for name in results))
    points, tries, people = points_of(room, lesson, cells, mine), attempts(room, lesson), []
    for name in sorted(everybody):
        result, kept = mine.get(name, {}), books.get(name, {})
        why = result.get("unreadable", "" if "exercises" in result else "not graded yet")
        if name not in handed_in:
            why = "nothing was handed in"
        one = Person(
            shown(name),
            result.get("exercises", {}),
            kept.get("scores", {}),
            kept.get("score"),
            kept.get("penalty", 0.0),
            kept.get("late", 0.0),
            max(int(name in handed_in), tries[name]),
            shown(why),
            shown("; ".join(result.get("notes", []))),
            result.get("isolation", ""),
            shares.get(name, {}),
            **links(room, name, lesson),
        )
        theirs = {n: r[name] for n, r in results.items() if name in r}
        look_for_help(one, lesson, sum(points.values()), theirs)
        people.append(one)
    return Report(lesson, points, people, lessons)


def lessons_of(room):
    """The lessons of the class, in order."""
    return sorted(path.name for path in room.folder("source", ".", ".").iterdir() if path.is_dir())


def points_of(room, lesson, cells, results):
    """{graded cell: points}, as nbgrader counts them, in the notebook's order."""
    import nbformat

    from pgcourse.classroom.intake import id_of

    points = {}
    for result in results.values():
        points |= {n: v["points"] for n, v in result.get("exercises", {}).items()}
    points |= cells
    source = nbformat.reads(room.source(lesson), as_version=4)
    ids = [id_of(cell).removeprefix("check_") for cell in source.cells if id_of(cell)]
    order = {name: i for i, name in enumerate(dict.fromkeys(ids))}
    return dict(sorted(points.items(), key=lambda item: order.get(item[0], len(order))))


def attempts(room, lesson):
    """Counter of each student's submissions in nbgrader's exchange (inbound/<student>+<lesson>+<time>)."""
    from nbgrader.exchange.default import Exchange

    inbound = Path(Exchange(parent=room.app).root).glob(f"*/inbound/*+{lesson}+*")
    return Counter(path.name.rpartition(f"+{lesson}+")[0] for path in inbound)


def links(room, student, lesson):
    """Where the student's pages and files are, as a Person has them."""
    page = room.folder("feedback", student, lesson) / f"{lesson}.html"
    handed_in = room.submitted(student, lesson)
    return {
        "feedback": address(room, page) if page.is_file() else "",
        "submission": address(room, handed_in) if handed_in.is_dir() else "",
        "folder": room.folder("autograded", student, lesson),
    }


def address(room, path):
    return quote(os.path.relpath(path, room.root / "report"), errors="replace")


def look_for_help(person, lesson, most, results):
    """Note on a person the signs that help is needed with this lesson, and then what else went wrong.

    results : {lesson: this student's result}
    """
    if person.total is None or not most:
        return
    share, signs = person.total / most, person.help
    earlier = [s for name, s in person.shares.items() if name < lesson]
    if share < LOW:
        signs.append(f"{share:.0%} of the points")
    if earlier and statistics.mean(earlier) - share >= FALL:
        signs.append(f"fell from {statistics.mean(earlier):.0%} to {share:.0%}")
    known = {}
    for name, result in results.items():
        for v in result.get("exercises", {}).values():
            told = v["pitfall"] not in (None, "", NOT_WRITTEN, *DID_NOT_RUN)
            if name < lesson and not v["passed"] and told:
                known.setdefault(v["pitfall"], name)
    mistakes = person.mistakes()
    again = {m for m in mistakes.values() if m in known}
    signs += [f"again “{m}”, as in {known[m]}" for m in sorted(again)]
    if signs:
        empty = person.not_written()
        person.besides.extend(f"{e}: {m}" for e, m in mistakes.items() if m not in again)
        person.besides.extend([f"not written: {', '.join(empty)}"] if empty else [])
        person.besides.extend([f"{person.late:.1f} days late"] if person.late > 0 else [])


# -------------------------------------------------------------------------------------- as CSV


def to_csv(report):
    """One line a student, all of the page; an LMS imports it, a spreadsheet reads it."""
    text = io.StringIO()
    writer = csv.writer(text)
    head = ["student", "points", "score", "max_score", "late_penalty", "days_late", "attempts"]
    names = [lesson.name for lesson in report.lessons]
    writer.writerow(
        [
            *head,
            *report.points,
            *(f"{n}: mistake" for n in report.points),
            *(f"share of {n}" for n in names),
            "needs help",
            "note",
        ]
    )
    for p in report.people:
        scores = [p.scores.get(n) for n in report.points]
        mistakes = [p.verdicts.get(n, {}).get("pitfall") or "" for n in report.points]
        shares = [f"{p.shares[n]:.3f}" if n in p.shares else "" for n in names]
        book = "" if p.total is None else p.book
        points = "" if p.total is None else p.total
        row = [p.name, points, book, report.most, p.penalty, round(p.late, 2), p.attempts]
        row += ["" if score is None or p.why else score for score in scores]
        row += [*mistakes, *shares, "; ".join(p.help + p.besides), p.why or p.notes]
        writer.writerow([harmless(x) for x in row])
    return text.getvalue()


# -------------------------------------------------------------------------------------- command


def command(
    directory: Annotated[Path, typer.Argument(help="The classroom.")],
    lesson: Annotated[str, typer.Argument(help="For example 05_ppo.")],
    similar: Annotated[
        bool, typer.Option("--similar", help="List pairs whose answers are alike: no verdict.")
    ] = False,
):
    """Scores and mistakes of a class: a table here; a page and a CSV file in the classroom's report/."""
    from rich.console import Console

    from pgcourse.classroom.report_page import to_html
    from pgcourse.classroom.similar import in_class

    try:
        report = read(directory, lesson)
        pairs = in_class(Classroom(directory), report) if similar else None
    except ClassError as error:
        typer.echo(str(error), err=True)
        raise typer.Exit(2) from None
    folder = Path(directory).expanduser().resolve() / "report"
    write_whole(folder / f"{lesson}.html", to_html(report, pairs))
    write_whole(folder / f"{lesson}.csv", to_csv(report))
    console = Console()
    console.print(table(report))
    if similar:
        console.print(f"{len(pairs)} similar pairs: see the page. No verdict, a reason to ask.")
    console.print(f"{folder / lesson}.html and .csv", soft_wrap=True)


def table(report):
    """For the console: each exercise with its mistakes, then who was not graded, and why."""
    from rich.console import Group
    from rich.markup import escape
    from rich.table import Table

    graded = sum(1 for p in report.people if p.verdicts)
    isolation = ", ".join(report.isolation()) or "nothing was run"
    result = Table(
        title=f"{report.lesson}: {graded} of {len(report.people)} graded",
        caption=f"isolation: {isolation}",
    )
    result.add_column("exercise")
    result.add_column("right", justify="right")
    result.add_column("mistakes")
    for name, counts in report.mistakes().items():
        said = ", ".join(f"{what} ×{n}" for what, n in counts.most_common(4))
        result.add_row(name, f"{graded - sum(counts.values())}", escape(said))
    missing = [escape(f"{p.name}: {p.why}") for p in report.missing]
    return Group(result, *(["Not graded, and why:", *missing] if missing else []))
