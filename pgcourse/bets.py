"""Bets: before a picture, a learner commits to what it will show; the picture then has the bet in it.

    bet("01 mixture", "Which p is best?", between=(0, 1))        a number
    bet("01 ahead", "Which is ahead?", among=["a", "b"])          a choice
    bet("05 cliff", "J at each shift?", between=(-9, 9), at=[0, 1, 2])   a rough curve
    settle("01 mixture", 0.586, ax=left, along="x")               in the cell of the picture
    ask_again("03")                                               in a later lesson: the two furthest off

Nothing is graded, and nothing needs a bet: who skips it sees the picture without. Bets are kept in
`my_bets.json` beside the notebooks and go nowhere else.
"""

from __future__ import annotations

import json
import math
import os
import tempfile
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import asdict, dataclass, fields
from html import escape
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from matplotlib.axes import Axes

FILE = "my_bets.json"
AGAIN = 2  # how many of the old bets a later lesson asks again
WELL = 0.15  # a bet this near (of the width of what was possible) is not asked again
MEMORY = {}  # {file: {name: Bet}} of this kernel: where the file cannot be used, bets live here
COMPLAINED = set()  # files about which a sentence was said


@dataclass
class Bet:
    """What a learner committed to, and what came of it.

    name, question  : "01 mixture": the lesson's number first
    between         : [low, high] of a number or a curve, None for a choice
    among, at       : the choices; where along the horizontal axis the points of a curve lie
    mine            : the bet: a number, one of the choices, or a list of numbers
    truth           : the same, once the picture was seen; None before
    asked           : whether a later lesson has asked it again
    """

    name: str
    question: str
    between: list | None = None
    among: list | None = None
    at: list | None = None
    mine: object = None
    truth: object = None
    asked: bool = False

    def understood(self, value: Any) -> Any:
        """A value in the form in which it is kept. raises: ValueError in the learner's words"""
        if self.among is not None:
            if value not in self.among:
                raise ValueError(f"{self.name}: expected one of {self.among}; got {value!r}.")
            return value
        low, high = self.between
        numbers = [float(x) for x in (value if self.at is not None else [value])]
        if self.at is not None and len(numbers) != len(self.at):
            raise ValueError(
                f"{self.name}: expected {len(self.at)} numbers, one for each of {self.at}; got {len(numbers)}."
            )
        if not all(math.isfinite(x) for x in numbers):
            raise ValueError(f"{self.name}: expected numbers between {low:g} and {high:g}.")
        return numbers if self.at is not None else numbers[0]

    @property
    def off(self) -> float | None:
        """How far off: 0 = right, 1 = by all that was possible (a wrong choice); None if not known."""
        if self.mine is None or self.truth is None:
            return None
        if self.among is not None:
            return float(self.mine != self.truth)
        mine, truth = (x if isinstance(x, list) else [x] for x in (self.mine, self.truth))
        width = self.between[1] - self.between[0]
        errors = [min(abs(a - b) / width, 1.0) for a, b in zip(mine, truth, strict=True)]
        return sum(errors) / len(errors)


def bet(
    name: str,
    question: str,
    between: Sequence[float] | None = None,
    among: Sequence | None = None,
    at: Sequence[float] | None = None,
    mine: Any = None,
) -> None:
    """Ask for a bet: shows a widget in a notebook; `mine=` bets without one.

    name     : the lesson's number, then a word: "05 cliff"
    between  : (low, high), for a number; with `at`, for a number at each of these places: a rough curve
    among    : the answers to choose from
    mine     : the bet itself
    raises   : ValueError if `mine` is not among what can be chosen
    """
    kept = load().get(name)
    asked = Bet(
        name,
        question,
        between and [float(x) for x in between],
        list(among) if among else None,
        at and [float(x) for x in at],
    )
    if mine is not None:
        place(asked, mine)
        print(f"Your bet is kept: {shown(asked.mine)}.")
        return
    if kept is not None:
        asked.mine, asked.asked = kept.mine, kept.asked
    ask(asked, lambda value: place(asked, value))


def settle(name: str, truth: Any, ax: Axes | None = None, along: str = "y") -> None:
    """Compare the bet of this name, if there is one, with the truth, and draw it into the picture.

    truth : what came out, in the form of the bet (a tensor of one number will do)
    ax    : matplotlib axes of the picture; along: which axis of it the number was about, "x" or "y"
    """
    mine = load().get(name)
    if mine is None or mine.mine is None:
        return
    try:
        mine.truth = mine.understood(truth)
    except (ValueError, TypeError):
        return  # a shortened run may have no number to compare with
    save(mine)
    if ax is not None and mine.among is None:
        draw(mine, ax, along)
    print(f"You bet {shown(mine.mine)}. It is {shown(mine.truth)}: {words(mine.off)}.")


def ask_again(lesson: str) -> None:
    """Ask the bets of earlier lessons again that were furthest off: what does one say now?

    lesson : the number of this lesson, "05"
    """
    old = [b for b in load().values() if b.name[:2] < lesson and b.off is not None]
    old = sorted((b for b in old if not b.asked and b.off > WELL), key=lambda b: -b.off)
    for b in old[:AGAIN]:

        def answered(value, b=b):
            now = Bet(b.name, b.question, b.between, b.among, b.at, b.understood(value), b.truth)
            b.asked = True
            save(b)
            better = "nearer than" if now.off < b.off else "no nearer than"
            return (
                f"You say {shown(now.mine)}; it was {shown(b.truth)}. In lesson {int(b.name[:2])} you bet "
                f"{shown(b.mine)}: this is {better} then."
            )

        ask(
            Bet(b.name, f"Lesson {int(b.name[:2])} again: {b.question}", b.between, b.among, b.at),
            answered,
        )
    if not old:
        print("No bet to ask again: none was far off, or none was placed. On with the lesson.")


def place(asked: Bet, value: Any) -> str:
    """Keep a bet; returns the sentence that says so."""
    asked.mine, asked.truth = asked.understood(value), None
    save(asked)
    return f"Your bet: {shown(asked.mine)}. Now look."


def shown(value: Any) -> str:
    """A value in words."""
    if isinstance(value, list):
        return ", ".join(f"{x:.3g}" for x in value)
    return f"{value:.3g}" if isinstance(value, float) else f"“{value}”"


def words(off: float) -> str:
    if off < 0.05:
        return "well seen"
    return "near" if off <= WELL else "further off than one would think"


def draw(mine: Bet, ax: Axes, along: str) -> None:
    """The bet, dashed, in the picture of the truth."""
    style = {"color": "#CC79A7", "ls": (0, (4, 2)), "lw": 2, "label": "your bet"}
    if mine.at is not None:
        ax.plot(mine.at, mine.mine, "D", **style)
    else:
        (ax.axvline if along == "x" else ax.axhline)(mine.mine, **style)
    old = ax.get_legend()
    if old is not None:  # a legend that is there already gets one line more
        ax.legend(fontsize=old.get_texts()[0].get_fontsize() if old.get_texts() else None)


# ------------------------------------------------------------------------------ the question


def ask(asked: Bet, answered: Callable[[Any], str]) -> None:
    """Show a question; answered(value) keeps the answer and returns a sentence."""
    try:
        from IPython import get_ipython
        from IPython.display import display

        if get_ipython() is None:
            raise ImportError
        display(form(asked, answered))
    except ImportError:
        print(f"{asked.question} {options(asked)} To bet, add mine=… to the call.")


def options(asked: Bet) -> str:
    if asked.among is not None:
        return f"One of {asked.among}."
    points = f"One number for each of {asked.at}, " if asked.at is not None else "A number "
    return f"{points}between {asked.between[0]:g} and {asked.between[1]:g}."


def form(asked: Bet, answered: Callable[[Any], str]) -> Any:
    """The question as a widget: choices, a slider, or a slider for each point of a curve."""
    import ipywidgets as w

    said = w.HTML("" if asked.mine is None else f"Your bet: {escape(shown(asked.mine))}.")
    wide = {"description_width": "initial"}

    def tell(value):
        try:
            said.value = escape(answered(value))
        except (ValueError, TypeError) as error:
            said.value = escape(str(error))

    title = w.HTML(f"<b>{escape(asked.question)}</b>")
    if asked.among is not None:
        field = w.RadioButtons(
            options=asked.among,
            value=asked.mine,
            layout={"width": "max-content"},
            description="Your bet:",
        )
        field.observe(lambda change: tell(change["new"]), names="value")
        parts = [field]
    else:
        low, high = asked.between
        one = {"min": low, "max": high, "step": (high - low) / 100, "style": wide}
        if asked.at is None:
            start = (low + high) / 2 if asked.mine is None else min(max(asked.mine, low), high)
            fields_ = [w.FloatSlider(value=start, description="Your bet:", **one)]
        else:
            values = asked.mine or [(low + high) / 2] * len(asked.at)
            fields_ = [
                w.FloatSlider(value=min(max(v, low), high), description=f"at {x:g}:", **one)
                for v, x in zip(values, asked.at, strict=True)
            ]
        button = w.Button(description="Bet", tooltip="Keep this bet", button_style="primary")
        button.on_click(
            lambda _: tell(
                fields_[0].value if asked.at is None else [field.value for field in fields_]
            )
        )
        parts = [*fields_, button]

    class BetForm(w.VBox):
        """Named, so that a page without a kernel knows it and leaves it out."""

    return BetForm([title, *parts, said])


# ---------------------------------------------------------------------------------- the file


def load(folder: str | Path = ".") -> dict[str, Bet]:
    """{name: Bet} of the file and of this kernel; what cannot be understood is left out."""
    path = Path(folder, FILE).absolute()
    kept = MEMORY.setdefault(path, {})
    try:
        found = json.loads(path.read_text(encoding="utf-8"))
        if not isinstance(found, dict) or "bets" not in found:
            raise ValueError("it is another kind of file")
    except FileNotFoundError:
        return dict(kept)
    except (OSError, ValueError, RecursionError) as error:
        complain(path, f"cannot be read ({error})")
        return dict(kept)
    records = (read(x) for x in found["bets"]) if isinstance(found["bets"], list) else ()
    return {b.name: b for b in records if b is not None} | kept


def read(record: Any) -> Bet | None:
    """A Bet from what the file says, or None if it is not one."""
    names = {f.name for f in fields(Bet)}
    try:
        b = Bet(**{k: v for k, v in record.items() if k in names})
        if not isinstance(b.name, str) or not isinstance(b.question, str):
            return None
        b.mine = None if b.mine is None else b.understood(b.mine)
        b.truth = None if b.truth is None else b.understood(b.truth)
        return b
    except (AttributeError, TypeError, ValueError):
        return None


def save(one: Bet, folder: str | Path = ".") -> None:
    """Add one bet to the file, as one step: whoever reads sees the old file or the new one."""
    path = Path(folder, FILE).absolute()
    everything = load(folder) | {one.name: one}
    MEMORY[path][one.name] = one
    if "NBGRADER_EXECUTION" in os.environ or path in COMPLAINED:
        return
    text = json.dumps({"bets": [asdict(b) for b in everything.values()]}, indent=1)
    temporary = None
    try:
        handle, temporary = tempfile.mkstemp(dir=path.parent, prefix=".my_bets-")
        with os.fdopen(handle, "w", encoding="utf-8") as file:
            file.write(text)
        os.replace(temporary, path)
    except OSError as error:
        complain(path, f"cannot be written ({error})")
        if temporary:
            with suppress(OSError):
                os.unlink(temporary)


def complain(path: Path, what: str) -> None:
    """Say once that a file is of no use; the bets then last as long as the kernel."""
    if path not in COMPLAINED:
        COMPLAINED.add(path)
        print(f"{path.name} {what}. It is left as it is; bets are kept until the kernel stops.")
