"""What your votes teach, by recorded runs with voters like you."""

from pgcourse.capstone import BALLOT, LIMIT, NEEDS, ballot, chosen, gold_within, recorded
from pgcourse.checks.core import Case, Exercise
from pgcourse.checks.edits import telltale


def my_votes():
    """Your votes on the 24 pairs of the ballot, as the line under it shows them.

    returns : dict with one entry, "votes": 24 letters, A or B, or - for a pair that you skipped; spaces do not matter
    """
    return {"votes": "ABABABBAAAAABBBBABBABBBB"}


def cast(g):
    pairs = ballot(chosen(recorded()["pairs"]))
    liked, paid = ("".join(pair[key] for pair in pairs) for key in ("liked", "paid"))
    return dict(key="votes", ballot=dict(liked=liked, paid=paid, needs=NEEDS))


def recorded_gold(agree):
    runs = gold_within(agree)
    return f"{min(runs):.2f} to {max(runs):.2f}"


def votes(letters):
    return lambda: {"votes": letters}


def kind(name, answer, says, letters, why=""):
    return telltale(
        name, says, votes(letters), lambda at: answer in str(at["your votes"]["out"]), why=why
    )


PAIRS = cast(None)["ballot"]
GOOD = f"With readers' own votes it is {recorded_gold(1.0)}."
# a voter by a coin: right on every other pair, on both sides
COIN = "".join(x if i % 2 else "AB"[x == "A"] for i, x in enumerate(PAIRS["liked"]))

# fmt: off
EXERCISE = Exercise(
    reference=my_votes,
    driver="entry",
    gate=False,
    parts={"the result": 6, "clean": 0},
    cases=[Case("your votes", cast, "the result")],
    mistakes=[
        kind("not a line of votes", "letters A, B or -", f"It takes {BALLOT} letters, one for each pair: A, B, or - for one that you skipped.", "AB"),
        kind("too few votes", "fewer than half", "You skipped more than half of the pairs: too few to say what you would teach.", "-" * BALLOT),
        kind("always the same side", "always the same side",
             f"You always vote for the same side, whatever stands there. Such votes teach nothing: gold within {LIMIT:.0f} nats, recorded "
             f"with voters who toss a coin, is {recorded_gold(0.5)}.", "A" * BALLOT, why=GOOD),
        kind("votes for the hack", "as the reward model scores",
             f"You vote as the old reward model scores, for the hack. Gold within {LIMIT:.0f} nats, recorded with voters who do, is "
             f"{recorded_gold(0.0)}.", PAIRS["paid"], why=GOOD),
        kind("votes by no rule", "by no rule",
             f"Your votes agree with readers' in fewer than {NEEDS:.0%} of the pairs. Gold within {LIMIT:.0f} nats, recorded with voters "
             f"who agree in three of four, is {recorded_gold(0.75)}; with voters who toss a coin, {recorded_gold(0.5)}.",
             COIN, why=GOOD),
    ],
    read="the capstone, “Your votes”",
)
