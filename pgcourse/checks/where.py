"""Where the mistake is, in the learner's own text: a change of a line after which everything is right.

The change is proven by running (`checks.search`), not guessed, and leaves the learner's objects alone.
"""

import ast
import contextlib
import html
import math
import signal
import textwrap
import threading
import time
import warnings
from dataclasses import dataclass

import torch

from pgcourse.checks import budget, drivers
from pgcourse.checks.operators.trees import called
from pgcourse.checks.patch import changed
from pgcourse.checks.search import Search, cost
from pgcourse.checks.sources import names_in, sources_of

TAKEN = 0.9  # what it costs at most to take a part away, less than to put in one token
FEWER = 2  # what it costs at most to take arguments away
AT_ONCE = {  # what it costs, however many tokens
    **dict.fromkeys(["averaged late", "detach elsewhere", "a factor elsewhere"], 1),
    **dict.fromkeys(["a line elsewhere", "two calls for one"], 1),
    "a check is missing": 12,  # rather mend what is there
}
COUNTED = {2: "two", 3: "three", 4: "four", 5: "five"}
EFFECTS = {"open", "system", "popen", "Popen", "run", "remove", "unlink", "rmtree", "input"}


@dataclass(frozen=True)
class Located:
    """A change of the learner's text that was seen to make everything right.

    line   : number of its first line in the cell or file
    text   : that line as it stands there; of two changes the two lines
    change : the change, as a small diff: lines that go (-) and come (+)
    says   : where, in a sentence
    lines  : numbers of all lines that it changes
    place  : name of the cell or file
    spans  : (from, to, lines that come) of the cell or file, from 0; () where the change is not in its spelling
    """

    line: int
    text: str
    change: str
    says: str
    lines: tuple
    place: str = ""
    spans: tuple = ()

    @property
    def numbered(self):
        return "\n".join(
            f"{n}: {x}" for n, x in zip(self.lines, self.text.split("\n"), strict=True)
        )

    def __str__(self):
        inner = (textwrap.indent(x, "  ") for x in (self.numbered, self.change))
        return f"{self.says}\n{next(inner)}\nThe change:\n{next(inner)}"

    def _repr_html_(self):
        text, change = html.escape(self.numbered), html.escape(self.change)
        return (
            f"{html.escape(self.says)}<pre style='margin:.3em 0'>{text}</pre>"
            "<details><summary>Show the change</summary>"
            f"<pre style='margin:.3em 0'>{change}</pre></details>"
        )


def locate(fn, exercise, seed, seen, seconds=budget.LINE):
    """The Located of a wrong function, or None: no text, no time, or nothing found.

    seen    : the observations of `fn` on the exercise's cases, from `seed`
    seconds : of CPU
    """
    started = time.process_time()
    sources = sources_of(fn)
    interruptible = (
        hasattr(signal, "setitimer") and threading.current_thread() is threading.main_thread()
    )
    if not sources or not interruptible or exercise.driver == "entry":
        return None
    if any(names_in(s.fn.__code__) & EFFECTS for s in sources):
        return None
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    silent = warnings.catch_warnings(action="ignore")
    try:
        with drivers.steady(), silent, contextlib.redirect_stdout(drivers.Capped()):
            proven = Search(sources, exercise, seed, seen, started + seconds).run()
    finally:
        torch.set_num_threads(threads)
    return located(proven, sources[0]) if proven else None


def located(proven, asked):
    """The smallest of the proven changes, at a wrong value rather than at a right one."""

    def size_of(c):
        last = c.edits[-1]  # of changes as small the first, but a sign where it is handed on
        order = -last.line if last.kind == "sign" else last.line
        names = sum(
            e.kind == "one name for another" for e in c.edits
        )  # of many names one may fit by chance
        # what puts a line in leaves another idle: rather a change of that one
        puts_in = any(map(put_in, c.edits))
        return c.guilt, c.other, sum(map(effort, c.edits)) + names, puts_in, c.rank, order

    proven = sorted(proven, key=size_of)
    source, edits = proven[0].source, proven[0].edits
    spans = changed(source, edits)
    found = found_at(source, edits, spans)
    lines = [line for line, _ in found]
    as_small = [p for p in proven if size_of(p)[:3] == size_of(proven[0])[:3]]
    puts_in = any(map(put_in, edits))
    others = {
        line
        for c in as_small
        for e, line in zip(c.edits, lines_of(c.edits), strict=True)
        if not puts_in and c.source is source and line not in lines and not put_in(e)
    }
    return Located(
        source.first + lines[0] - 1,
        "\n".join(source.lines[line - 1].strip() for line in lines),
        "\n".join(
            "\n".join([*(f"- {x}" for x in before), *(f"+ {x}" for x in after)])
            for _, before, after in spans
        ),
        sentence(source, asked, found, edits, others),
        tuple(source.first + line - 1 for line in lines),
        source.place,
        ()
        if any(a is None for a, _, _ in spans)
        else tuple((at := source.first + a - 2, at + len(b), after) for a, b, after in spans),
    )


def effort(edit):
    """Its cost; what only takes something away is done sooner than anything is rewritten, a line soonest."""
    if edit.new == []:
        return min(cost(edit), TAKEN - 0.1)
    if edit.kind in AT_ONCE:
        return AT_ONCE[edit.kind]
    old = edit.old if isinstance(edit.old, list) else [edit.old]
    left = any(x is edit.new for part in old for x in ast.walk(part))
    limit = TAKEN if left else FEWER if fewer(edit) else math.inf
    return min(cost(edit), limit)


def fewer(edit):
    """Whether the same call keeps some of its arguments only."""
    old, new = edit.old, edit.new
    if not isinstance(new, ast.Call) or not called(old) or called(old) != called(new):
        return False
    return {*map(id, (*new.args, *new.keywords))} < {*map(id, (*old.args, *old.keywords))}


def lines_of(edits):
    """The line of each; of one within what another before it put in, that one's."""
    at = []
    for k, e in enumerate(edits):
        around = (n for n, other in enumerate(edits[:k]) if e.path[: len(other.path)] == other.path)
        at.append(next((at[n] for n in around), e.line))
    return at


def found_at(source, edits, spans):
    """[(number of a line of the source, "" or "before ", "after ", "at " where something is put in)], in order."""
    at = lines_of(edits)
    if any(a is None for a, _, _ in spans):
        return sorted({line: "at " * put_in(e) for line, e in zip(at, edits, strict=True)}.items())
    found = {}
    for a, before, new in spans:
        line, word = place(source.lines, a - 1, a - 1 + len(before), new)
        inside = [x for x in at if a <= x < a + len(before)]
        found |= dict.fromkeys(inside or [line], word)
    return sorted(found.items())


def by_hand(text, spans, of=""):
    """The Located of a change that is known by its spans alone, which somebody has proven.

    text : of the whole cell;  of : name of a helper
    """
    lines = text.split("\n")
    first = [a for a, _, _ in spans]
    change = ([*(f"- {x}" for x in lines[a:b]), *(f"+ {x}" for x in new)] for a, b, new in spans)
    return Located(
        first[0] + 1,
        "\n".join(lines[a].strip() for a in first),
        "\n".join("\n".join(part) for part in change),
        words(dict(place(lines, *span) for span in spans), f" of `{of}`" if of else "", len(spans)),
        tuple(a + 1 for a in first),
    )


def sentence(source, asked, found, edits, others):
    """Where the change is, and that it is known by running."""
    places = {source.first + line - 1: word for line, word in found}
    of = f" of `{source.name}`" if source is not asked else ""
    of += f", {source.place}" if source.place != asked.place else ""
    says = words(places, of, len(edits))
    goes, comes = ([n for n, word in places.items() if bool(word) == put] for put in (0, 1))
    if edits[0].kind == "a line elsewhere" and len(goes) == len(comes) == 1:
        there = f"{places[comes[0]]}line {comes[0]}"
        says = f"Line {goes[0]}{of}: moved {there}, every case comes out right."
    if others:
        also = " or ".join(str(source.first + line - 1) for line in sorted(others)[:3])
        says += f" (A change as small in line {also} would do, too.)"
    return says


def place(lines, a, b, new):
    """(number of a line from 1, "before ", "after " or ""): where lines a to b of a text (from 0) become the new ones."""
    if a < b:
        return a + 1, ""
    behind = a == len(lines) or a and indent(new[0]) > indent(lines[a])  # the end of a block
    return (a, "after ") if behind else (a + 1, "before ")


def indent(line):
    return len(line) - len(line.lstrip())


def words(places, of, changes):
    """places: {number of a line: "", or "before ", "after " or "at " where something is put in}"""
    if any(places.values()) or len(places) == 1:
        where = listed(f"{word}line {n}" for n, word in places.items())
    else:
        where = "lines " + listed(map(str, places))
    how = "one change there"
    if changes > 1:  # two in one line may look like one
        number = COUNTED.get(changes, changes)
        how = f"{number} changes there" if len(places) > 1 else "the change below"
    return f"{where[0].upper()}{where[1:]}{of}: with {how}, every case comes out right."


def listed(words):
    *most, last = words
    return f"{', '.join(most)} and {last}" if most else last


def put_in(edit):
    return isinstance(edit.new, list) and not edit.old
