"""The class at a glance: scores, and which pitfall how many fell into.

pgcourse report my-class 05_ppo          a table here, and report/05_ppo.html and .csv in the classroom
"""

import csv
import glob
import html
import io
from collections import Counter
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import typer

from pgcourse.classroom.gradebook import ClassError, Classroom, Store, write_whole
from pgcourse.classroom.intake import shown
from pgcourse.classroom.roster import harmless


@dataclass(frozen=True)
class Person:
    """One student in the report.

    verdicts : {exercise: verdict as in a result}
    book     : points in nbgrader's gradebook, or None (not graded)
    penalty  : points that nbgrader's late plugin took
    late     : days, 0 if in time
    attempts : how often the lesson was handed in through nbgrader's exchange, 1 if it is not used
    why      : why there is no grade, "" if there is
    """

    name: str
    verdicts: dict
    book: float | None
    penalty: float
    late: float
    attempts: int
    why: str
    notes: str
    isolation: str

    @property
    def total(self):
        """Points that count: after the penalty; None without a grade."""
        return None if self.why or self.book is None else max(0.0, self.book - self.penalty)


@dataclass(frozen=True)
class Report:
    lesson: str
    points: dict  # {exercise: points}
    people: list

    @property
    def most(self):
        return sum(self.points.values())

    def mistakes(self):
        """{exercise: Counter of what went wrong}, most frequent first"""
        return {
            name: Counter(
                p.verdicts[name]["pitfall"] or "another mistake"
                for p in self.people
                if name in p.verdicts and not p.verdicts[name]["passed"]
            )
            for name in self.points
        }

    def isolation(self):
        return sorted({p.isolation for p in self.people if p.isolation})


def read(root, lesson):
    """The Report of a lesson. raises: ClassError"""
    room = Classroom(root)
    room.source(lesson)
    results = Store(room.root, lesson).all()
    books = in_the_book(room, lesson)
    names = sorted({*room.students(lesson), *results, *books})
    if not names:
        raise ClassError(f"Nobody has handed in {lesson} yet.")
    points = {}
    for result in results.values():
        points |= {n: v["points"] for n, v in result.get("exercises", {}).items()}
    people = []
    for name in names:
        result, (book, penalty, late) = results.get(name, {}), books.get(name, (None, 0.0, 0.0))
        why = result.get("unreadable", "" if "exercises" in result else "not graded yet")
        people.append(
            Person(
                shown(name),
                result.get("exercises", {}),
                book,
                penalty,
                late,
                attempts(room, name, lesson),
                shown(why),
                shown("; ".join(result.get("notes", []))),
                result.get("isolation", ""),
            )
        )
    order = {n: i for i, n in enumerate(order_of(room, lesson))}
    points = dict(sorted(points.items(), key=lambda item: order.get(item[0], 999)))
    return Report(lesson, points, people)


def order_of(room, lesson):
    import nbformat

    from pgcourse.classroom.intake import id_of

    source = nbformat.reads(room.source(lesson), as_version=4)
    return [id_of(cell) for cell in source.cells if id_of(cell)]


def in_the_book(room, lesson):
    """{student: (points, penalty, days late)} from nbgrader's gradebook."""
    from nbgrader.api import MissingEntry

    found = {}
    with room.gradebook() as book:
        try:
            submissions = book.assignment_submissions(lesson)
        except MissingEntry:
            return found
        for s in submissions:
            late = s.total_seconds_late / 86_400
            found[s.student.id] = (s.score, s.late_submission_penalty or 0.0, late)
    return found


def attempts(room, student, lesson):
    """Submissions in nbgrader's exchange (inbound/<student>+<lesson>+<time>); 1 where it is not used."""
    from nbgrader.exchange.default import Exchange

    inbound = Path(Exchange(parent=room.app).root)
    pattern = f"*/inbound/{glob.escape(student)}+{lesson}+*"
    return max(1, sum(1 for _ in inbound.glob(pattern)))


# -------------------------------------------------------------------------------------- as CSV


def to_csv(report):
    """One line a student; an LMS imports it, a spreadsheet reads it."""
    text = io.StringIO()
    writer = csv.writer(text)
    head = ["student", "points", "score", "max_score", "late_penalty", "days_late", "attempts"]
    writer.writerow([*head, *report.points, *(f"{n}: mistake" for n in report.points), "note"])
    for p in report.people:
        scores = [p.verdicts.get(n, {}).get("score", "") for n in report.points]
        mistakes = [p.verdicts.get(n, {}).get("pitfall") or "" for n in report.points]
        book = "" if p.total is None else p.book
        points = "" if p.total is None else p.total
        row = [p.name, points, book, report.most, p.penalty, round(p.late, 2), p.attempts]
        writer.writerow([harmless(x) for x in (*row, *scores, *mistakes, p.why or p.notes)])
    return text.getvalue()


# ------------------------------------------------------------------------------------- as HTML

STYLE = """
:root { color-scheme: light dark; --line: #8886; --hot: 0, 114, 178; --good: #009E73; --bad: #D55E00 }
body { font: 16px/1.5 system-ui, sans-serif; max-width: 90rem; margin: 2rem auto; padding: 0 1rem }
table { border-collapse: collapse; margin: 1rem 0 2rem; display: block; overflow-x: auto }
th, td { padding: .3rem .6rem; border-bottom: 1px solid var(--line); text-align: right }
.chips span { display: inline-block; margin: .1rem; padding: .1rem .5rem; border-radius: .3rem }
td:first-child, td:nth-child(2) { white-space: nowrap } th { vertical-align: bottom }
th:first-child, td:first-child, th.text, td.text { text-align: left } td.all { color: var(--good) }
td.none { color: var(--bad) } caption { text-align: left; font-weight: 600; padding: .3rem 0 }
.warning { border-left: .4em solid var(--bad); padding: .3em .8em; font-weight: 600 }
small { opacity: .75 }
"""


def to_html(report):
    """One self-contained page: no script, no link to anywhere."""
    graded = [p for p in report.people if not p.why]
    levels = report.isolation()
    mean = sum(p.total or 0.0 for p in graded) / len(graded) if graded else 0.0
    parts = [
        f"<h1>{esc(report.lesson)}</h1>",
        f"<p>{len(graded)} of {len(report.people)} graded · mean {mean:.1f} of {report.most:g} points"
        f" · isolation: {esc(', '.join(levels) or 'nothing was run')}</p>",
    ]
    if "NOT ISOLATED" in levels:
        parts.append(
            "<p class='warning'>NOT ISOLATED: submissions ran with all rights of the grader. "
            "Neither these grades nor this machine were protected from them.</p>"
        )
    parts += [missing_table(report), heat_map(report), score_table(report)]
    return (
        "<!DOCTYPE html><html lang='en'><meta charset='utf-8'>"
        f"<meta name='viewport' content='width=device-width'><title>{esc(report.lesson)}</title>"
        f"<style>{STYLE}</style><body>{''.join(parts)}</body></html>\n"
    )


def esc(text):
    return html.escape(str(text))


def row(cells):
    return "<tr>" + "".join(cells) + "</tr>"


def missing_table(report):
    lost = [p for p in report.people if p.why]
    if not lost:
        return ""
    rows = [row([f"<td>{esc(p.name)}</td>", f"<td class='text'>{esc(p.why)}</td>"]) for p in lost]
    return f"<table><caption>Not graded, and why</caption>{''.join(rows)}</table>"


def heat_map(report):
    """Exercise × mistake: how many fell into it; the darker, the more."""
    mistakes = report.mistakes()
    graded = sum(1 for p in report.people if p.verdicts)
    rows = []
    for name, counts in mistakes.items():
        right = graded - sum(counts.values())
        cells = [f"<td>{esc(name)}</td>", f"<td>{right} of {graded}</td>"]
        chips = "".join(
            f"<span style='background:rgba(var(--hot),{0.12 + 0.6 * n / max(graded, 1):.2f})'>"
            f"{esc(what)} <b>{n}</b></span>"
            for what, n in counts.most_common()
        )
        rows.append(row([*cells, f"<td class='text chips'>{chips}</td>"]))
    head = row(
        [
            "<th>exercise</th>",
            "<th>right</th>",
            "<th class='text'>mistakes, most frequent first</th>",
        ]
    )
    return f"<table><caption>Which mistake, how often</caption>{head}{''.join(rows)}</table>"


def score_table(report):
    head = ["student", *report.points, "points", "late", "attempts"]
    rows = [row(f"<th>{esc(h).replace('_', '_<wbr>')}</th>" for h in head)]
    for p in report.people:
        cells = [f"<td>{esc(p.name)}</td>"]
        for name, most in report.points.items():
            v = p.verdicts.get(name)
            if v is None:
                cells.append("<td>—</td>")
                continue
            kind = "all" if v["passed"] else "none" if not v["score"] else "some"
            title = esc(v["pitfall"] or "")
            cells.append(
                f"<td class='{kind}' title='{title}'>{v['score']:g}<small>/{most:g}</small></td>"
            )
        total = "—" if p.total is None else f"{p.total:g}"
        late = f"{p.late:.1f} days (−{p.penalty:g})" if p.late > 0 else ""
        cells += [f"<td><b>{total}</b></td>", f"<td>{late}</td>", f"<td>{p.attempts}</td>"]
        rows.append(row(cells))
    return f"<table><caption>Points</caption>{''.join(rows)}</table>"


# -------------------------------------------------------------------------------------- command


def command(
    directory: Annotated[Path, typer.Argument(help="The classroom.")],
    lesson: Annotated[str, typer.Argument(help="For example 05_ppo.")],
):
    """Scores and mistakes of a class: a table here; a page and a CSV file in the classroom's report/."""
    from rich.console import Console

    try:
        report = read(directory, lesson)
    except ClassError as error:
        typer.echo(str(error), err=True)
        raise typer.Exit(2) from None
    folder = Path(directory).expanduser().resolve() / "report"
    write_whole(folder / f"{lesson}.html", to_html(report))
    write_whole(folder / f"{lesson}.csv", to_csv(report))
    console = Console()
    console.print(table(report))
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
    missing = [escape(f"{p.name}: {p.why}") for p in report.people if p.why]
    return Group(result, *(["Not graded, and why:", *missing] if missing else []))
