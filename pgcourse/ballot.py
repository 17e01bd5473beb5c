"""A ballot: two answers, A or B, one pair at a time; how others voted is shown once you have.

    votes = Ballot(pairs)      the last line of a cell shows it
    votes.letters()            what was voted: "AB-…", "-" where nothing was

Votes stay in the kernel and go nowhere; the line under the pair is there to be copied.
"""

import random
from html import escape
from typing import Any

from pgcourse.capstone import reader

OTHERS = 10  # simulated readers who vote on each pair


class Ballot:
    """Pairs to vote on, see `capstone.ballot`; nothing needs a vote."""

    def __init__(self, pairs: list[dict]) -> None:
        self.pairs, self.at = pairs, 0
        self.votes = ["-"] * len(pairs)

    def letters(self) -> str:
        return "".join(self.votes)

    def others(self) -> int:
        """How many of ten simulated readers vote for A on the pair that is shown."""
        pair, rng = self.pairs[self.at], random.Random(self.at)
        votes = [reader(pair["prompt"], pair["A"], pair["B"], rng) for _ in range(OTHERS)]
        return votes.count("A")

    def vote(self, letter: str) -> str:
        """Vote on the pair that is shown; returns what is said to it. "-" takes a vote back."""
        self.votes[self.at] = letter
        if letter == "-":
            return "Skipped."
        return f"You: {letter}. Of {OTHERS} simulated readers, {self.others()} voted for A."

    def move(self, steps: int) -> None:
        self.at = min(max(self.at + steps, 0), len(self.pairs) - 1)

    def words(self) -> tuple[str, ...]:
        """The pair that is shown, as text: number, prompt, A, B."""
        pair = self.pairs[self.at]
        prompt = pair["prompt"].removeprefix("<user> ").removesuffix(" <bot>")
        answers = [pair[side].removesuffix(" <end>") for side in "AB"]
        return f"Pair {self.at + 1} of {len(self.pairs)}", prompt, *answers

    def form(self) -> Any:
        import ipywidgets as w

        class BallotForm(w.VBox):
            """Named, so that a page without a kernel knows it and leaves it out."""

        shown, said, line = w.HTML(), w.HTML(), w.HTML()
        names = ("A is better", "B is better", "Skip", "Back", "Next")
        a, b, skip, back, onward = (w.Button(description=n, tooltip=n) for n in names)
        a.button_style = b.button_style = "primary"

        def show(message=""):
            number, prompt, first, second = map(escape, self.words())
            shown.value = (
                f"<b>{number}</b> &nbsp; <i>{prompt}</i>"
                f"<div style='margin:.4em 0'><b>A</b> &nbsp; {first}</div>"
                f"<div style='margin:.4em 0'><b>B</b> &nbsp; {second}</div>"
            )
            said.value = f"<div role='status'>{escape(message)}&nbsp;</div>"
            line.value = f"Your votes, to be copied: <code>{self.letters()}</code>"

        def moved(steps):
            self.move(steps)
            letter = self.votes[self.at]
            show("" if letter == "-" else self.vote(letter))

        a.on_click(lambda _: show(self.vote("A")))
        b.on_click(lambda _: show(self.vote("B")))
        back.on_click(lambda _: moved(-1))
        onward.on_click(lambda _: moved(1))

        def skipped(_):
            self.vote("-")
            moved(1)

        skip.on_click(skipped)
        show()
        return BallotForm([shown, w.HBox([a, b, skip, back, onward]), said, line])

    def _ipython_display_(self):
        from IPython.display import display

        display(self.form())

    def __repr__(self) -> str:
        number, prompt, first, second = self.words()
        return f"{number}: {prompt}\nA: {first}\nB: {second}\nYour votes: {self.letters()}"
