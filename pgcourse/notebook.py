"""What helps in a lesson's notebook: how far you are, what is next, which cell was left out, words for pictures.

A lesson's first cell loads it; nothing is installed into IPython's own configuration.
"""

import html
import json
import os
import symtable
import warnings
from pathlib import Path

HERE = "Run the cells from top to bottom: the menu Run, “Run All Above Selected Cell”."


def begin(lesson, folder="."):
    """The last line of a lesson's first cell: a line that says which exercises pass already.

    Judges what stands in the saved notebook, here and now; saved outputs are not believed.

    lesson : "05_ppo"; the notebook is looked for in `folder`, without it nothing is shown
    """
    shell = running_shell()
    path = Path(folder) / f"{lesson}.ipynb"
    if shell is None:
        return
    if "JPY_SESSION_NAME" in os.environ:  # JupyterLab, which shows a PNG without its words
        describe_in_lab(shell)
    os.environ.setdefault("JPY_SESSION_NAME", str(path))
    load_ipython_extension(shell)
    if path.is_file() and "NBGRADER_EXECUTION" not in os.environ:
        from IPython.display import display

        if somebody_elses(path):
            print(
                f"{path.name} belongs to somebody else, so its cells were not run to see how far it is."
            )
        else:
            line = Line(lesson, passing(path, lesson))
            SHOWN[lesson] = line, display(line, display_id=True)


SHOWN = {}  # {lesson: (Line, the handle by which it can be changed)}


def renew(verdict):
    """Show in the lesson's line what a check has just found.

    verdict : checks.verdict.Verdict
    """
    line, handle = SHOWN.get(verdict.exercise.lesson, (None, None))
    if line is not None and verdict.exercise.name in line.found:
        state = None if verdict.pitfall == "not written" else verdict.passed
        if line.found[verdict.exercise.name] is not state:
            line.found[verdict.exercise.name] = state
            handle.update(line)


def end(lesson, folder="."):
    """A lesson's last cell: how far all lessons are, as saved, and the next step. *A few seconds.*

    lesson : "05_ppo"; the notebooks are looked for in `folder`
    """
    from pgcourse.checks import LESSONS

    found = {}
    if "NBGRADER_EXECUTION" not in os.environ:
        for name in LESSONS:
            path = Path(folder) / f"{name}.ipynb"
            if path.is_file() and not somebody_elses(path):
                with (
                    warnings.catch_warnings()
                ):  # about what somebody tried; its own check says it there
                    warnings.simplefilter("ignore")
                    found[name] = passing(path, name)
    way = Way(lesson, found, list(LESSONS), folder)
    if running_shell() is None:
        print(way)
    else:
        from IPython.display import display

        display(way)


class Way:
    """How far all lessons are, and where to go: the exercise that is next, the lesson that is next."""

    def __init__(self, lesson, found, lessons, folder="."):
        self.lesson, self.found, self.folder = lesson, found, folder
        after = lessons[lessons.index(lesson) + 1 :] if lesson in lessons else []
        self.next = after[0] if after else None

    @staticmethod
    def count(states):
        return sum(state is True for state in states.values()), len(states)

    def left(self):
        """The first exercise of this lesson that does not pass yet, or None."""
        states = self.found.get(self.lesson, {})
        return next((name for name, state in states.items() if state is not True), None)

    def steps(self):
        """What to do now: (sentence, link or None)."""
        left = self.left()
        if left:
            yield f"Still open in this lesson: {left}.", None
        if self.next:
            yield f"Next: lesson {int(self.next[:2])}", f"{self.next}.ipynb"
        else:
            yield "That was the last lesson. What is still open is in the list above.", None
        for says, link in (
            ("This lesson, solved", f"../solutions/{self.lesson}.ipynb"),
            ("All symbols, papers and mistakes on one page", "../course/README.md"),
        ):
            if Path(self.folder, link).is_file():  # a class may hand out the lessons alone
                yield says, link

    def __repr__(self):
        lines = []
        for name, states in self.found.items():
            done, of = self.count(states)
            lines.append(f"lesson {int(name[:2])}: {done:2d} of {of} exercises pass (as saved)")
        lines += [f"{says}{f' ({link})' if link else ''}" for says, link in self.steps()]
        return "\n".join(lines)

    def _repr_html_(self):
        rows = []
        for name, states in self.found.items():
            done, of = self.count(states)
            bar = (
                f"<progress value='{done}' max='{max(of, 1)}' aria-label='lesson {int(name[:2])}'>"
                "</progress>"
            )
            rows.append(
                f"<div>{bar} <a href='{name}.ipynb'>Lesson {int(name[:2])}</a>: {done} of {of} exercises</div>"
            )
        for says, link in self.steps():
            text = html.escape(says)
            rows.append(f"<div>{f'<a href={link!r}>{text}</a>' if link else text}</div>")
        return f"<div role='status'>{''.join(rows)}</div>"


def describe_in_lab(shell):
    """Have a figure shown as HTML with its words as alternative text: JupyterLab leaves those of a PNG out."""

    def picture(figure):
        from base64 import b64encode

        from IPython.core.pylabtools import print_figure

        from pgcourse.plots import words

        data = b64encode(print_figure(figure, bbox_inches="tight")).decode()
        return f'<img alt="{html.escape(words(figure))}" src="data:image/png;base64,{data}">'

    formatter = shell.display_formatter.formatters["text/html"]
    formatter.for_type_by_name("matplotlib.figure", "Figure", picture)


def somebody_elses(path):
    """Whether a file belongs to another user; what is in it is not run unasked."""
    return hasattr(os, "getuid") and path.stat().st_uid != os.getuid()


def load_ipython_extension(shell):
    """Have a name that is missing, since its cell did not run, say which cell that is."""
    shell.set_custom_exc((NameError,), explain)


def running_shell():
    try:
        from IPython import get_ipython
    except ImportError:
        return None
    return get_ipython()


# -------------------------------------------------------------------------- how far you are


def passing(path, lesson):
    """{exercise: whether it passes; None where nothing is written} of a saved notebook."""
    from pgcourse.checks import lesson_exercises
    from pgcourse.checks.own import answers

    found = {
        name: None if verdict.pitfall == "not written" else verdict.passed
        for name, (_, verdict) in answers(path, lesson).items()
    }
    return found | {name: None for name in lesson_exercises(lesson) if name not in found}


class Line:
    """How far a lesson is, in one line; colors never stand alone."""

    marks = {True: "✓", False: "✗", None: "○"}
    colors = {True: "#009E73", False: "#D55E00", None: "#888"}
    read_on = "pgcourse progress"

    def __init__(self, lesson, found):
        self.lesson, self.found = lesson, found

    @property
    def says(self):
        done = sum(state is True for state in self.found.values())
        return f"Lesson {int(self.lesson[:2])}: {done} of {len(self.found)} exercises pass"

    def __repr__(self):
        names = "  ".join(f"{self.marks[state]} {name}" for name, state in self.found.items())
        return f"{self.says}.  {names}  (all lessons: {self.read_on})"

    def _repr_html_(self):
        names = " &nbsp; ".join(
            f"<span style='white-space:nowrap'><b style='color:{self.colors[state]}'>"
            f"{self.marks[state]}</b> {html.escape(name)}</span>"
            for name, state in self.found.items()
        )
        return (
            f"<div role='status'>{self.says}. &nbsp; {names} &nbsp; "
            f"<small>(as saved, and as checked since; all lessons: <code>{self.read_on}</code>)</small></div>"
        )


# ------------------------------------------------------------------------ a cell was left out


def explain(shell, kind, error, traceback, tb_offset=None):
    """IPython's handler for a NameError: the usual traceback, with one sentence more."""
    cells = saved_cells(os.environ.get("JPY_SESSION_NAME", ""))
    now = shell.user_ns.get("In", [""])[-1]
    place = place_of(error.name, cells, now)
    if place:
        error.args = (f"{error}. It comes from {place}, which has not run yet. {HERE}",)
    shell.showtraceback((kind, error, traceback), tb_offset=tb_offset)


def saved_cells(session):
    """The cells of the notebook that this kernel belongs to; [] where it cannot be found.

    session : JPY_SESSION_NAME, the path that Jupyter gives a kernel's notebook
    """
    try:
        text = Path(Path(session).name).read_text(encoding="utf-8")
        return [(cell["cell_type"], "".join(cell["source"])) for cell in json.loads(text)["cells"]]
    except (OSError, ValueError, KeyError, TypeError):
        return []


def place_of(name, cells, now=""):
    """Words for the first cell that defines a name at its top level: under which heading it is."""
    heading = ""
    for kind, source in cells:
        if kind == "markdown":
            lines = [line for line in source.split("\n") if line.startswith("#")]
            heading = lines[-1].lstrip("# ").replace("`", "") if lines else heading
        elif kind == "code" and source.strip() != now.strip() and name in defined(source):
            return f"the cell below “{heading}”" if heading else "a cell further up"
    return ""


def defined(source):
    """Names that a cell defines at its top level."""
    try:
        symbols = symtable.symtable(source, "cell", "exec").get_symbols()
    except SyntaxError:  # half-written, or lines of IPython's own
        return set()
    return {s.get_name() for s in symbols if s.is_assigned() or s.is_imported()}
