"""Drill: a function from a lesson that is done comes back with one mistake in it, to be found and mended.

    pgcourse drill                 in a terminal: it opens in $EDITOR, or is a file to mend

    from pgcourse import drill     in a notebook:
    drill.start()                  it is written into the next cell, whose last line judges what was mended
    drill.give_up()                the answer

Which function comes back, and when, is the scheduler's choice (FSRS, the `fsrs` library), from how it went
before; which mistake in it: one that was missed, else one that was not seen yet. Nothing is graded, and
all that is remembered stays in `my_drill.json` beside the notebooks.
"""

import inspect
import json
import os
import random
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from difflib import SequenceMatcher, unified_diff
from functools import cached_property
from hashlib import sha256
from pathlib import Path
from typing import Any

from fsrs import Card, Rating, Scheduler

from pgcourse.checks import LESSONS, Exercise, get, judge, lesson_exercises
from pgcourse.checks.edits import Mistake, edited_text, run_text

FILE = "my_drill.json"
SOON = (timedelta(minutes=10),)  # what was missed comes back so soon; what was mended, in days
SCHEDULER = Scheduler(learning_steps=SOON, relearning_steps=SOON, enable_fuzzing=False)
RATINGS = {"at once": Rating.Good, "later": Rating.Hard, "not": Rating.Again}


@dataclass(frozen=True)
class Task:
    """A function with one mistake in it.

    exercise, mistake : what it is, see pgcourse.checks
    """

    exercise: object
    mistake: Mistake

    @property
    def text(self) -> str:
        """The function with the mistake in it."""
        return self.mistake.text  # type: ignore[return-value]  # `tasks` leaves those without out

    @cached_property
    def right(self) -> str:
        """The function without it."""
        return edited_text(self.exercise.reference, []).rstrip()

    @cached_property
    def places(self) -> set[int]:
        """Where the mistake is: numbers of lines of the text."""
        return changed(self.text, self.right)

    @property
    def line(self) -> str:
        """The first line of the mistake; where one is missing, the line that stands in its place."""
        lines = self.text.split("\n")
        return lines[min(min(self.places), len(lines) - 1)].strip()

    def difference(self) -> str:
        """The lines that change, as a diff from the mistake to the right text."""
        diff = unified_diff(self.text.split("\n"), self.right.split("\n"), n=0, lineterm="")
        return "\n".join(line for line in diff if not line.startswith(("---", "+++", "@@")))

    def answer(self) -> str:
        """What was wrong, why it matters, and the change."""
        return "\n".join(filter(None, (self.mistake.says, self.mistake.why, self.difference())))

    def judged(self, text: str) -> tuple[bool, bool, str]:
        """(passed, line found, sentence) of what somebody made of the text."""
        found = bool(changed(self.text, text) & self.places)
        where = "That is the line" if found else "The mistake is in another line"
        if not changed(self.text, text):
            return False, False, "Nothing was changed yet."
        name = self.exercise.name
        try:
            fn = run_text(text, self.exercise.reference, {name: None})
            if fn is None:  # the course's own must not stand in for it
                raise NameError(f"no function {name} is defined")
            verdict = judge(fn, self.exercise)
        except Exception as error:  # whatever the text does when it is run
            return False, found, f"It does not run: {type(error).__name__}: {error}"
        if verdict.passed:
            return True, True, "Found and mended."
        more = f", but it is not right yet. {verdict.message}" if found else "."
        return False, found, where + more


def changed(before: str, after: str) -> set[int]:
    """Numbers of the lines of one text that another has changed; a new line changes the one it stands before."""
    a, b = ([line.rstrip() for line in text.strip().split("\n")] for text in (before, after))
    steps = SequenceMatcher(None, a, b, autojunk=False).get_opcodes()
    return {i for tag, i1, i2, *_ in steps if tag != "equal" for i in range(i1, max(i2, i1 + 1))}


def tasks(exercise: Exercise) -> dict[str, Task]:
    """The functions that an exercise's mistakes make of it, by the mistake's name."""
    mistakes = (m for m in exercise.pitfalls if not m.telltale)
    return {m.name: Task(exercise, m) for m in mistakes if m.text is not None}


class Drill:
    """What a learner has done, was asked and knows.

    folder : where the notebooks are, and my_drill.json
    kept   : cards {exercise: FSRS's}, done {lesson: [digest, names]}, log [{exercise, mistake, when, how}],
             asked: the task that is open, or None
    """

    def __init__(self, folder: str | Path = ".") -> None:
        self.folder = Path(folder)
        self.kept = dict(cards={}, done={}, log=[], asked=None)
        if self.path.exists():
            self.kept |= json.loads(self.path.read_text(encoding="utf-8"))

    @property
    def path(self) -> Path:
        return self.folder / FILE

    def save(self) -> None:
        """As one step: whoever reads sees the old file or the new one."""
        beside = self.path.with_suffix(".new")
        beside.write_text(json.dumps(self.kept, indent=1), encoding="utf-8")
        os.replace(beside, self.path)

    def done(self, tell: Callable[[str], object] = lambda lesson: None) -> list[str]:
        """Names of the exercises that pass in the saved notebooks; a notebook is judged when it has changed."""
        from pgcourse.classroom import progress
        from pgcourse.classroom.build import ROOT

        names = []
        for lesson in LESSONS:
            source = (ROOT / "solutions" / f"{lesson}.ipynb").read_text(encoding="utf-8")
            data = progress.read(progress.notebook_in(self.folder, lesson), source)
            if not data:
                continue
            digest = sha256(data).hexdigest()
            before, passed = self.kept["done"].get(lesson, ("", []))
            if before != digest:
                tell(lesson)
                verdicts, _ = progress.judged(data, source)
                passed = [name for name, verdict in verdicts.items() if verdict["passed"]]
                self.kept["done"][lesson] = [digest, passed]
            names += passed
        return names

    def due(self, name: str) -> datetime:
        return Card.from_dict(self.kept["cards"][name]).due

    def choose(
        self, names: Sequence[str], now: datetime | None = None, rng: Any = random
    ) -> Task | None:
        """The next Task: what is due, the longest overdue first; then what was never asked, in the order of the
        lessons; else what is due the soonest. None if there is nothing."""
        now = now or datetime.now(UTC)
        possible = [name for name in names if tasks(get(name))]
        known = sorted((name for name in possible if name in self.kept["cards"]), key=self.due)
        new = [name for name in possible if name not in self.kept["cards"]]
        overdue = [name for name in known if self.due(name) <= now]
        chosen = next(iter([*overdue, *new, *known]), None)
        return self.ask(chosen, rng) if chosen else None

    def ask(self, name: str, rng: Any = random) -> Task:
        """One of an exercise's mistakes: missed the last time, or not seen, or seen the longest ago."""
        found = tasks(get(name))
        last = {x["mistake"]: x["how"] for x in self.kept["log"] if x["exercise"] == name}
        times = [x["mistake"] for x in self.kept["log"] if x["exercise"] == name]
        missed = [m for m in found if last.get(m) == "not" and times[-1] != m]
        unseen = [m for m in found if m not in last]
        oldest = sorted(found, key=lambda m: times[::-1].index(m) if m in times else 0)[-1:]
        mistake = rng.choice(missed or unseen or oldest)
        self.kept["asked"] = dict(exercise=name, mistake=mistake, tries=0, helped=False)
        return found[mistake]

    def asked(self) -> Task | None:
        """The Task that is open, or None."""
        asked = self.kept["asked"]
        return asked and tasks(  # type: ignore[return-value]  # plain data from a file
            get(asked["exercise"])
        ).get(asked["mistake"])

    def answered(self, passed: bool) -> datetime:
        """Note how it went; returns when the function comes back (a datetime)."""
        asked, self.kept["asked"] = self.kept["asked"], None
        alone = asked["tries"] <= 1 and not asked["helped"]
        how = ("at once" if alone else "later") if passed else "not"
        before = self.kept["cards"].get(asked["exercise"])
        card = Card.from_dict(before) if before else Card()
        card, _ = SCHEDULER.review_card(card, RATINGS[how])
        self.kept["cards"][asked["exercise"]] = card.to_dict()
        entry = dict(exercise=asked["exercise"], mistake=asked["mistake"], how=how)
        self.kept["log"].append(entry | dict(when=datetime.now(UTC).isoformat(timespec="seconds")))
        self.save()
        return card.due

    def tried(self, text: str) -> tuple[bool, str]:
        """(passed, sentence) of an attempt at the open task."""
        self.kept["asked"]["tries"] += 1
        passed, _, sentence = self.asked().judged(text)
        self.save()
        return passed, sentence


def again(due: datetime) -> str:  # type: ignore[return]  # a minute is always reached
    """In how long a function comes back, in words."""
    minutes = max(1, round((due - datetime.now(UTC)).total_seconds() / 60))
    for unit, size in (("day", 1440), ("hour", 60), ("minute", 1)):
        if minutes >= size:
            count = round(minutes / size)
            return f"It comes back in {count} {unit}{'s' * (count > 1)}."


# --- in a notebook ---


def start(folder: str | Path = ".", lessons: Sequence[str] = ()) -> None:
    """Write a function with one mistake in it into the next cell.

    lessons : names like "05_ppo"; by default, what passes in the saved notebooks of the folder
    """
    from IPython import get_ipython

    drill = Drill(folder)
    task = drill.choose(names_of(drill, lessons, lambda lesson: print(f"judging {lesson} …")))
    if task is None:
        print(NOTHING)
        return
    drill.save()
    name = task.exercise.name
    torch = "import torch\n\n" if task.text.startswith("@") else ""
    text = f"{torch}{task.text}\n\n\ndrill.mended({name})"
    shell = get_ipython()
    print(f"{name}: one place is wrong. Find it, mend it, run the cell. drill.give_up() shows it.")
    shell.set_next_input(text) if shell else print(text)


NOTHING = (
    "There is nothing to drill yet: no exercise passes in the saved notebooks. Do a lesson and save it, "
    "or name one that you know."
)


def names_of(drill: Drill, lessons: Sequence[str], tell: Callable[[str], object]) -> list[str]:
    return [n for lesson in lessons for n in lesson_exercises(lesson)] or drill.done(tell)


def mended(fn: Callable, folder: str | Path = ".") -> None:
    """Judge what was made of the open task: its line was found, or not; it is mended, or not yet."""
    drill = Drill(folder)
    if drill.asked() is None or drill.asked().exercise.name != getattr(fn, "__name__", ""):
        print("No such function is open: drill.start() gives you one.")
        return
    task = drill.asked()
    try:
        text = inspect.getsource(fn)
    except (OSError, TypeError):
        print("The text of the function is not to be had: define it in a cell, with def.")
        return
    passed, sentence = drill.tried(text)
    print(f"✓ {sentence}\n{task.answer()}\n{again(drill.answered(True))}" if passed else sentence)


def give_up(folder: str | Path = ".") -> None:
    """Show the mistake of the open task; it will come back soon."""
    drill = Drill(folder)
    task = drill.asked()
    print(f"{task.answer()}\n{again(drill.answered(False))}" if task else "Nothing is open.")
