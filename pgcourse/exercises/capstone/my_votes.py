"""Your votes, graded by what they teach the reward model."""

from pgcourse.capstone import (
    BALLOT,
    NEEDS,
    ballot,
    chosen,
    recorded,
    recorded_orders,
    taught,
    voter,
)
from pgcourse.checks.core import Case, Exercise
from pgcourse.checks.edits import telltale


def my_votes():
    """Your votes on the 24 pairs of the ballot, as the line under it shows them.

    returns : dict with one entry, "votes": 24 letters, A or B, or - for a pair that you skipped; spaces do not matter
    """
    return {"votes": "AABABBBABBBABAAAAABBABAB"}


PAIRS = ballot(chosen(recorded()["pairs"]))
PAID = "".join(pair["paid"] for pair in PAIRS)
NO_LINE, TOO_FEW = f"not {BALLOT} letters A, B or -", "fewer than half of the pairs voted on"
ONE_SIDE, FOR_THE_HACK, NO_RULE = "for one side", "for the hack", "by no rule"


def kind_of(letters):
    """How somebody votes whose votes teach too little."""
    cast = [(letter, paid) for letter, paid in zip(letters, PAID, strict=True) if letter != "-"]
    if max(sum(letter == side for letter, _ in cast) for side in "AB") >= 0.9 * len(cast):
        return ONE_SIDE
    for_paid = sum(letter == paid for letter, paid in cast) / len(cast)
    return FOR_THE_HACK if for_paid >= 0.9 else NO_RULE


def leads_to(votes):
    """What a line of votes leads to: the reward model is trained again with it, and looked at."""
    if not isinstance(votes, str) or not votes:
        return votes
    letters = "".join(votes.upper().split())
    odd = sorted(set(letters) - set("AB-"))
    if odd or len(letters) != BALLOT:
        return f"{NO_LINE}: {len(letters)} came" + (f", {', '.join(odd)} among them" if odd else "")
    if 2 * len(letters.replace("-", "")) < BALLOT:
        return TOO_FEW
    order = taught(letters)["order"]
    if order >= NEEDS:
        return "scores that order new answers as gold does"
    return f"votes {kind_of(letters)}; rank correlation of score and gold {order:+.2f}, asked for {NEEDS:+.2f}"


def between(kind):
    low, high = min(recorded_orders(kind)), max(recorded_orders(kind))
    return f"{low:+.2f} to {high:+.2f}"


def wrong(name, sign, says, letters, why=""):
    def seen(at):
        return sign in str(at["your votes"]["out"])

    return telltale(name, says, lambda: {"votes": letters}, seen, why=why)


GOOD = f"Recorded with careful voters, eight seeds: {between('careful')}."
WORTH = "the rank correlation of score and gold, on answers that nobody voted on,"

# fmt: off
EXERCISE = Exercise(
    reference=my_votes,
    driver="entry",
    gate=False,
    parts={"the result": 6, "clean": 0},
    cases=[Case("your votes", lambda g: dict(key="votes"), "the result")],
    reads=leads_to,
    mistakes=[
        wrong("not a line of votes", NO_LINE, f"It takes {BALLOT} letters, one for each pair: A, B, or - for one that you skipped.", "AB"),
        wrong("too few votes", TOO_FEW, "You skipped more than half of the pairs: too few to say what you would teach.", "-" * BALLOT),
        wrong("always the same side", ONE_SIDE,
              f"You always vote for the same side, whatever stands there. Such votes do not mend the reward model: {WORTH} is below "
              f"{NEEDS} (recorded: {between('position')}).", "A" * BALLOT, why=GOOD),
        wrong("votes for the hack", FOR_THE_HACK,
              f"You vote as the old reward model scores, for the hack. Trained again with your votes it still likes the hack: {WORTH} is below "
              f"{NEEDS} (recorded: {between('hack')}).", PAID, why=GOOD),
        wrong("votes by no rule", NO_RULE,
              f"The reward model was trained again with your votes, and does not order answers as held-out gold does: {WORTH} is below "
              f"{NEEDS} (recorded with voters who toss a coin: {between('random')}).", voter("random", PAIRS), why=GOOD),
    ],
    read="lesson 8, “Your votes”",
)
