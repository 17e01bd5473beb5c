"""A classroom: a standard nbgrader course directory outside the clone, and an example of one.

pgcourse classroom new my-class      source/ and release/ of every lesson, ready for nbgrader
pgcourse classroom example           six students hand in, are graded, and get feedback
"""

import html
import os
import re
import secrets
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Annotated

import typer

from pgcourse.checks.cells import STUB
from pgcourse.classroom import solved_notebooks
from pgcourse.classroom.build import ROOT, to_text

CONFIG = '''"""nbgrader's configuration of this classroom, made by `pgcourse classroom new`.

nbgrader and Formgrader read it when they are started in this directory:

    nbgrader generate_assignment 01_policy_gradient_theorem
    nbgrader autograde 01_policy_gradient_theorem
    jupyter lab            then: Nbgrader > Formgrader
"""

from pathlib import Path

from pgcourse.classroom import pages
from pgcourse.classroom.gradebook import configure, site_has_exchange

here = Path(__file__).resolve().parent
c = get_config()

c.CourseDirectory.course_id = {course_id!r}
# where releases and submissions change hands: the site's place, or where there is none this directory's
if not site_has_exchange():
    c.Exchange.root = str(here / "exchange")

# what stands in place of a solution, so that a release equals the course's own notebooks
c.ClearSolutions.code_stub = {{"python": {stub!r}}}
# Submissions are judged outside their own process, in a sandbox, and with other numbers than the
# learner's: the seed is this class's secret.
configure(c, seed={seed!r})
# mathematics in feedback and in Formgrader without a network
pages.configure(c)
'''


class ClassroomError(Exception):
    """The classroom cannot be made or graded; the message says why and what to do."""


# --------------------------------------------------------------------------------------- new


def new(directory, lessons=None, report=print):
    """Make an nbgrader course directory with source/ and release/ of the lessons.

    directory : must be empty or not exist, and lie outside the clone
    lessons   : names like "05_ppo"; by default all
    report    : called with one line for each step
    returns   : the directory, absolute
    raises    : ClassroomError
    """
    directory = Path(directory).expanduser().resolve()
    if directory == ROOT or ROOT in directory.parents:
        raise ClassroomError(
            f"{directory} is inside the course's own clone ({ROOT}); grades do not belong there. "
            "Choose a directory elsewhere."
        )
    if directory.exists() and (not directory.is_dir() or any(directory.iterdir())):
        raise ClassroomError(f"{directory} is not empty; choose a new directory.")
    place = solved_notebooks(ROOT)
    solved = {path.stem: path for path in sorted(place.glob("[0-9][0-9]_*.ipynb"))}
    missing = [name for name in lessons or () if name not in solved]
    if not solved or missing:
        raise ClassroomError(
            f"There is no lesson called {', '.join(missing)}; there are: {', '.join(solved)}."
            if solved
            else f"No solved notebooks in {place}; in a clone of the course, `pgcourse build` writes them."
        )
    import nbformat

    from pgcourse.classroom.gradebook import write_whole
    from pgcourse.classroom.outputs import without_outputs

    directory.mkdir(parents=True, exist_ok=True)
    directory.chmod(0o700)  # it holds the seed and the grades
    (directory / "exchange").mkdir()
    config = CONFIG.format(course_id=directory.name, stub=STUB, seed=secrets.token_hex(16))
    write_whole(directory / "nbgrader_config.py", config)
    for name in lessons or solved:
        report(f"release of {name}")
        source = directory / "source" / name
        source.mkdir(parents=True)
        nb = without_outputs(nbformat.read(solved[name], as_version=4))
        (source / solved[name].name).write_text(to_text(nb), encoding="utf-8")
        nbgrader(directory, "generate_assignment", name)
    return directory


def environment():
    """Environment variables under which this Python's programs and kernel are the ones that are found.

    nbgrader calls alembic by name; and no other environment's kernel may answer to python3.
    """
    path = os.pathsep.join([str(Path(sys.executable).parent), os.environ.get("PATH", "")])
    env = os.environ | {"PATH": path, "JUPYTER_PREFER_ENV_PATH": "1"}
    for name in ("JUPYTER_PATH", "PYTHONPATH", "PYTHONHOME"):
        env.pop(name, None)
    return env


def nbgrader(directory, *args):
    """Run nbgrader in a course directory."""
    done = subprocess.run(
        [sys.executable, "-m", "nbgrader", *args],
        cwd=directory,
        env=environment(),
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        errors="replace",
    )
    if done.returncode:
        last = "\n".join((done.stdout + done.stderr).strip().splitlines()[-15:])
        raise ClassroomError(f"nbgrader {' '.join(args)} failed:\n{last}")


def autograde(directory, lesson):
    """Grade every submission of a lesson that is in the course directory."""
    from pgcourse.classroom.grade import grade_class
    from pgcourse.classroom.gradebook import ClassError
    from pgcourse.classroom.warm import NoIsolation

    try:
        grade_class(directory, lesson)
    except (ClassError, NoIsolation) as error:
        raise ClassroomError(str(error)) from None


# ----------------------------------------------------------------------------------- example

EXAMPLE_LESSONS = ("01_policy_gradient_theorem", "02_reinforce")


def example(directory, report=print):
    """A classroom whose six students hand in lessons 1 and 2: graded, feedback, grades.csv.

    returns : the course directory
    """
    from pgcourse.classroom.students import STUDENTS

    directory = new(directory, EXAMPLE_LESSONS, report)
    for lesson in EXAMPLE_LESSONS:
        for student in STUDENTS:
            hand_in(directory, student, lesson)
    for lesson in EXAMPLE_LESSONS:
        report(f"grading {len(STUDENTS)} submissions of {lesson}")
        autograde(directory, lesson)
        report(f"feedback for {lesson}")
        nbgrader(directory, "generate_feedback", lesson)
    report("grades.csv")
    nbgrader(directory, "export", "--to", "grades.csv")
    return directory


def hand_in(directory, student, lesson):
    """Fill in the learner's notebook as this student would, and put it into submitted/."""
    import nbformat

    from pgcourse.checks import lesson_exercises

    nb = nbformat.read(directory / "release" / lesson / f"{lesson}.ipynb", as_version=4)
    answers = student.answers(list(lesson_exercises(lesson).values()))
    for cell in nb.cells:
        name = cell.metadata.get("nbgrader", {}).get("grade_id")
        if name in answers:
            cell.source = answers.pop(name)
    if answers:
        raise ClassroomError(
            f"{lesson} has no cell for {', '.join(answers)}; run `pgcourse build`."
        )
    path = directory / "submitted" / student.name / lesson / f"{lesson}.ipynb"
    path.parent.mkdir(parents=True)
    nbformat.write(nb, path)


def gradebook_scores(directory):
    """{(student, lesson): {check: points}} as nbgrader's gradebook has them."""
    from nbgrader.api import Gradebook

    scores = {}
    with Gradebook(f"sqlite:///{directory / 'gradebook.db'}") as gradebook:
        for assignment in gradebook.assignments:
            for submission in gradebook.assignment_submissions(assignment.name):
                scores[submission.student.id, assignment.name] = {
                    grade.name: grade.score for nb in submission.notebooks for grade in nb.grades
                }
    return scores


HEADLINE = re.compile(r"✗ (\w+)(?: — (.+?))? · [\d.e+-]+ of [\d.e+-]+ points")


def findings(directory, student, lesson):
    """What the checks found in an autograded notebook: {exercise: pitfall or error}."""
    import nbformat

    path = directory / "autograded" / student / lesson / f"{lesson}.ipynb"
    nb, found, broken = nbformat.read(path, as_version=4), {}, {}
    for cell in nb.cells:
        name = cell.metadata.get("nbgrader", {}).get("grade_id", "")
        if cell.cell_type != "code":
            continue
        for output in cell.outputs:
            data = output.get("data", {})
            shown = (
                output.get("evalue", "") + data.get("text/html", "") + data.get("text/plain", "")
            )
            said = HEADLINE.search(html.unescape(re.sub("<[^>]*>", "", shown)))
            if said:
                found[said[1]] = said[2] or "wrong"
            elif output.output_type == "error" and name.startswith("check_"):
                exercise = name.removeprefix("check_")
                found[exercise] = broken.get(exercise, output.ename)
            elif output.output_type == "error":
                broken[name] = output.ename
    return found


def table(directory):
    """The class at a glance, as a rich Table."""
    from rich.table import Table

    from pgcourse.checks import lesson_exercises
    from pgcourse.classroom.students import STUDENTS

    scores = gradebook_scores(directory)
    result = Table(title=f"{directory.name}: points, and what the checks found")
    result.add_column("student")
    for lesson in EXAMPLE_LESSONS:
        result.add_column(lesson, justify="right")
    result.add_column("total", justify="right")
    result.add_column("what went wrong")
    most = [sum(e.points for e in lesson_exercises(lesson).values()) for lesson in EXAMPLE_LESSONS]
    for student in STUDENTS:
        points = [sum(scores[student.name, lesson].values()) for lesson in EXAMPLE_LESSONS]
        wrong = {}
        for lesson in EXAMPLE_LESSONS:
            wrong |= findings(directory, student.name, lesson)
        result.add_row(
            student.name,
            *[f"{p:g}" for p in points],
            f"{sum(points):g}",
            "\n".join(f"{exercise}: {what}" for exercise, what in wrong.items()),
        )
    result.add_section()
    result.add_row("at most", *[f"{p:g}" for p in most], f"{sum(most):g}", "")
    return result


# ---------------------------------------------------------------------------------- commands

app = typer.Typer(no_args_is_help=True)


@app.command("new")
def new_command(
    directory: Annotated[Path, typer.Argument(help="A new directory, outside the clone.")],
    lesson: Annotated[
        list[str] | None, typer.Option(help="Only this lesson, like 05_ppo (may be repeated).")
    ] = None,
):
    """Make a standard nbgrader course directory with every lesson, released."""
    directory = run(lambda report: new(directory, lesson, report))
    typer.echo(
        f"The classroom is ready: {directory}\n"
        "Hand out what is in release/, collect into submitted/<student>/<lesson>/, then:\n"
        f"  pgcourse grade {directory.name} <lesson>; pgcourse report {directory.name} <lesson>\n"
        "  nbgrader generate_feedback <lesson>; nbgrader export"
    )


@app.command("example")
def example_command(
    directory: Annotated[
        Path | None, typer.Argument(help="A new directory; without it a temporary one is used.")
    ] = None,
):
    """Make a class of six that hands in lessons 1 and 2, grade it, print the table."""
    from rich.console import Console

    console = Console(width=None if sys.stdout.isatty() else 120)
    if directory:
        directory = run(lambda report: example(directory, report))
        console.print(table(directory))
        console.print(f"Kept: {directory} (gradebook.db, autograded/, feedback/, grades.csv)")
    else:
        with tempfile.TemporaryDirectory(prefix="pgcourse-") as temporary:
            console.print(table(run(lambda report: example(Path(temporary) / "class", report))))


def run(work):
    """Do the work, saying what it is at; a ClassroomError becomes a plain message."""
    from rich.console import Console

    console = Console(stderr=True)
    try:
        with console.status("") as status:

            def report(line):
                if console.is_terminal:
                    status.update(line)
                else:
                    console.print(line)

            return work(report)
    except ClassroomError as error:
        typer.echo(str(error), err=True)
        raise typer.Exit(1) from None
