"""What a check found, as text, as a card in a notebook, and as an exception where nothing was earned."""

import html
import re
from dataclasses import dataclass
from pathlib import Path

MARKS = {True: "✓", False: "✗", None: "–"}  # right, wrong, not counted
FAILED = {}  # checks in a row of an exercise that did not pass
PATIENCE = 3  # after so many, what helps is said
CARRIED = "which it calls, breaks it. It was judged with a right one."


@dataclass(frozen=True, repr=False)
class Verdict:
    """What a check found.

    passed  : bool, everything is right
    score   : float, 0 … points
    pitfall : name of the mistake (a Pitfall of the exercise, or a general one), None if passed or unknown
    message : the sentence for the learner
    earned  : {part: True, False, or None where it was not counted: the first part is wrong}
    example : the smallest case that shows it; "" in a graded run, whose inputs are secret
    where   : the line in the learner's own text (checks.where.Located), None if not looked for or found
    stuck   : what to do after several checks that did not pass
    hurried : whether its time was over while a name was looked for
    """

    exercise: object
    passed: bool
    score: float
    pitfall: str | None
    message: str
    earned: dict
    example: str = ""
    why: str = ""
    traceback: str = ""
    where: object = None
    stuck: str = ""
    hurried: bool = False

    @property
    def points(self):
        return self.exercise.points

    @property
    def carried(self):
        """Whether it was judged with another function in place of a wrong one that it calls."""
        return self.message.endswith(CARRIED)

    @property
    def headline(self):
        mark = "✓" if self.passed else "✗"
        named = f" — {self.pitfall}" if self.pitfall else ""
        return f"{mark} {self.exercise.name}{named} · {self.score:g} of {self.points:g} points"

    def __str__(self):
        if self.passed:
            return f"{self.headline}\n{self.message}" if self.carried else self.headline
        parts = "  ".join(f"{MARKS[ok]} {part}" for part, ok in self.earned.items())
        where = str(self.where) if self.where else ""
        lines = [self.headline, self.message, self.example, self.why, where, self.stuck]
        lines.append(f"Parts: {parts}")
        return "\n".join([line for line in lines if line] + [f"Read: {self.exercise.read}"])

    __repr__ = __str__

    def _repr_html_(self):
        """A card: readable in light and dark themes, and by a screen reader."""
        color = "#009E73" if self.passed else ("#E69F00" if self.score else "#D55E00")
        rows = [f"<b>{html.escape(self.headline)}</b>"]
        if self.carried or not self.passed:
            rows.append(html.escape(self.message))
        if not self.passed:
            if self.example:
                rows.append(f"<pre style='margin:.3em 0'>{html.escape(self.example)}</pre>")
            if self.why:
                rows.append(f"<i>{html.escape(self.why)}</i>")
            if self.where:
                rows.append(self.where._repr_html_())
            if self.stuck:
                solved = f"solutions/{self.exercise.lesson}.ipynb"
                text = html.escape(self.stuck).replace(
                    solved, f"<a href='../{solved}'>{solved}</a>"
                )
                rows.append(f"<b>{text[:6]}</b>{text[6:]}")
            parts = " &nbsp; ".join(
                f"{MARKS[ok]} {html.escape(part)}" for part, ok in self.earned.items()
            )
            read = with_links(self.exercise.read, self.section)
            rows.append(f"<small>{parts} &nbsp;·&nbsp; Read: {read}</small>")
            if self.traceback:
                rows.append(
                    "<details><summary>Traceback</summary>"
                    f"<pre>{html.escape(self.traceback)}</pre></details>"
                )
        body = "".join(f"<div>{row}</div>" for row in rows)
        return (
            f"<div role='status' style='border-left:.4em solid {color};padding:.4em .8em;"
            f"margin:.3em 0'>{body}</div>"
        )

    def section(self, title):
        """The address of a section of the exercise's lesson, where the notebooks lie side by side."""
        return f"{self.exercise.lesson}.ipynb#{anchor(title)}" if self.exercise.lesson else None


def anchor(title):
    """What JupyterLab, nbconvert and the site call a heading."""
    return title.strip().replace(" ", "-")


def with_links(read, address):
    """Where to read on, as HTML: a section's “title” is a link to address(title), unless that is None.

    Sections are named before the first semicolon, papers after it.
    """

    def link(found):
        place = address(html.unescape(found[1]))
        return f'“<a href="{html.escape(place)}">{found[1]}</a>”' if place else found[0]

    sections, *papers = html.escape(read, quote=False).split(";", 1)
    return ";".join([re.sub("“([^”]*)”", link, sections), *papers])


class CheckFailed(AssertionError):
    """Nothing was earned. The verdict says why; the traceback in a notebook is one line."""

    def __init__(self, verdict):
        super().__init__(f"{verdict.headline}\n{verdict.message}")
        self.verdict = verdict

    def _render_traceback_(self):
        return [f"CheckFailed: {self}"]


def stuck(verdict):
    """What to do next, from the third check in a row on that does not pass; "" before."""
    name = verdict.exercise.name
    written = verdict.pitfall not in ("not written", "not a function")
    FAILED[name] = 0 if verdict.passed else FAILED.get(name, 0) + written
    if FAILED[name] < PATIENCE or not written:
        return ""
    solved = f"solutions/{verdict.exercise.lesson}.ipynb"
    last = (
        f"read {name} in {solved}, close that, and write it from memory"
        if Path("..", solved).is_file()
        else "ask somebody to explain it"
    )
    return (
        "Stuck? Unfold the next hint above the exercise; then work the case on this card by hand, and print what your "
        "function makes of it, line by line. Still dark? Mend somebody else's slips for ten minutes, in a terminal: "
        f"pgcourse drill --lesson {verdict.exercise.lesson}. At last, {last}."
    )


def show_card(verdict):
    """Show it; in a notebook, returns the handle by which the card can be changed."""
    try:
        from IPython import get_ipython
        from IPython.display import display

        if get_ipython():
            return display(verdict, display_id=True)
    except ImportError:
        pass
    print(verdict)
    return None
