"""A mistake as an edit of the reference's own text, compiled into the function that makes it.

    mistake("maximum", "It takes the larger of the two terms.", edit("torch.minimum", "torch.maximum"))
    mistake("fixed clip", "The window is 1 ± {clip:.3g} whatever clip is.", edit("clip", "{clip=0.2}", all=True))

A fragment is found token by token in the body (docstring and comments apart), so spaces and line
breaks do not matter, and `clip` does not stand for a part of `clipped`. `{clip=0.2}` is a hole: a
number that is solved from what the function did (`pgcourse.checks.fit`), 0.2 being one example.
"""

from __future__ import annotations

import ast
import inspect
import itertools
import linecache
import re
import textwrap
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field, replace
from functools import cache, cached_property, lru_cache
from typing import Any

TOKEN = re.compile(
    r"(?P<comment>#[^\n]*)|\"[^\"\n]*\"|'[^'\n]*'|\d[\w.]*(?:(?<=e)[+-]\d+)?|\w+|\*\*|//|[=!<>+*/-]=|\S"
)
HOLE = re.compile(r"\{(\w+)=([^{}]+)\}")


@dataclass(frozen=True)
class Edit:
    """One replacement in the text of the reference, or of a helper that it calls.

    old, new : fragments; every further line of `new` is indented like the line it begins on
    all      : replace every occurrence; otherwise there must be exactly one
    of       : name of the helper whose text is edited; "" = the reference's
    use      : functions that `new` calls by their names
    """

    old: str
    new: str
    all: bool = False
    of: str = ""
    use: tuple = ()


def edit(
    old: str, new: str, *, all: bool = False, of: str = "", use: Iterable[Callable] = ()
) -> Edit:
    """See Edit."""
    return Edit(old, new, all, of, tuple(use))


@dataclass(frozen=True)
class Mistake:
    """A mistake that people make.

    name      : two to five words
    sentence  : what the submission does, as the learner reads it; {hole} stands for a number found
    versions  : tuples of Edit, or another algorithm as a function; the first one is the mistake as
                it is shown, the others are the same mistake written elsewhere
    why       : why it matters, one sentence
    telltale  : for a mistake whose numbers cannot be foreseen: a function of the list of
                observations that recognizes it
    symptom   : its telltale is true of many mistakes: looked at last, of observations and right ones
    reference : the function that is edited
    values    : the numbers in the holes, where others than the examples
    """

    name: str
    sentence: str
    versions: tuple
    why: str = ""
    telltale: Callable | None = None
    symptom: bool = False
    near: bool = False
    reference: Callable | None = None
    values: dict = field(default_factory=dict, compare=False)

    def of(self, reference: Callable) -> Mistake:
        return replace(self, reference=reference)

    @cached_property
    def holes(self) -> dict[str, float]:
        """{name: example}, from the first version that has any."""
        found = {}
        for e in itertools.chain(*(v for v in self.versions if isinstance(v, tuple))):
            found |= {name: float(example) for name, example in HOLE.findall(e.new)}
        return found

    @property
    def says(self) -> str:
        return (
            self.sentence.format(**{**self.holes, **self.values}) if self.holes else self.sentence
        )

    @property
    def text(self) -> str | None:
        """The reference's text with this mistake in it, or None where that takes more than its own text."""
        edits = self.versions[0]
        if not isinstance(edits, tuple) or any(e.of or e.use for e in edits):
            return None
        filled = [fill(e, {**self.holes, **self.values}) for e in edits]
        return edited_text(self.reference, filled).rstrip()

    @cached_property
    def functions(self) -> list[Callable]:
        return [self.function(version) for version in self.versions]

    def function(self, version: tuple | Callable) -> Callable:
        if not isinstance(version, tuple):
            return version
        filled = [fill(e, {**self.holes, **self.values}) for e in version]
        place = self.versions.index(version)  # each version's text can be looked up
        where = f"<{self.reference.__name__}: {self.name}{f' ({place})' if place else ''}>"
        return compiled(self.reference, filled, where)

    @property
    def wrong(self) -> Callable:
        return self.functions[0]

    @property
    def also(self) -> tuple[Callable, ...]:
        return tuple(self.functions[1:])


OPEN = "(some number)"


def left_open(m: Mistake) -> Mistake:
    """The mistake without a word about its numbers, which were not solved."""
    return replace(m, values={name: Unknown(x) for name, x in m.holes.items()})


class Unknown(float):
    """A number that could be another one: in a sentence it is left open."""

    def __format__(self, spec):
        return OPEN


def mistake(
    name: str,
    says: str,
    *versions: Edit | Callable,
    why: str = "",
    also: Sequence[Edit | tuple | Callable] = (),
    near: bool = False,
) -> Mistake:
    """A Mistake: its edits, or one function; `also` are further versions (an Edit, a tuple, a function).

    near : an approximation that practice uses; a part earns its points where it is right to a thousandth
    """
    first = versions[0] if versions and callable(versions[0]) else versions
    rest = (v if callable(v) or isinstance(v, tuple) else (v,) for v in also)
    return Mistake(name, says, (first, *rest), why, near=near)


def telltale(
    name: str, says: str, wrong: Edit | tuple | Callable, sign: Callable, why: str = ""
) -> Mistake:
    """A Mistake that is recognized by sign(Signs); `wrong` (edits or a function) is an example."""
    return replace(mistake(name, says, *as_versions(wrong), why=why), telltale=sign)


def symptom(name: str, says: str, wrong: Edit | tuple | Callable, sign: Callable) -> Mistake:
    """A Mistake known by a sign that many share, looked at last."""
    return replace(mistake(name, says, *as_versions(wrong)), telltale=sign, symptom=True)


def as_versions(wrong: Edit | tuple | Callable) -> tuple:
    return wrong if isinstance(wrong, tuple) else (wrong,)


def fill(edit: Edit, values: dict) -> Edit:
    """The edit with numbers (or names) in its holes."""
    new = HOLE.sub(lambda m: str(values[m[1]]), edit.new)
    return replace(edit, new=new) if new != edit.new else edit


# --- text ---


@dataclass(frozen=True)
class Text:
    """A function's text: what comes before its body (docstring included) and the body, uncommented."""

    head: str
    docstring: str
    body: str


def plain_text(fn: Callable) -> str:
    """A function's own text as a learner reads it: unindented, without the types in its first lines."""
    text = textwrap.dedent(inspect.getsource(fn))
    (node,) = ast.parse(text).body
    every = [a for a in ast.walk(node.args) if isinstance(a, ast.arg)]
    if node.returns is None and not any(a.annotation for a in every):
        return text
    for a in every:
        a.annotation = None
    lines, names = text.splitlines(keepends=True), ast.unparse(node.args)
    if len(f"def {node.name}({names}):") > 100:  # as the formatter breaks it
        names = "\n    " + names.replace(", ", ",\n    ") + ",\n"
    head = f"def {node.name}({names}):\n"
    return "".join([*lines[: node.lineno - 1], head, *lines[node.body[0].lineno - 1 :]])


@cache
def text_of(fn: Callable) -> Text:
    text = plain_text(fn)
    lines = text.splitlines(keepends=True)
    node = ast.parse(text).body[0]
    documented = ast.get_docstring(node) is not None
    first = node.body[documented].lineno - 1
    head = node.body[0].lineno - 1 if documented else first
    body = "".join(lines[first:])
    for m in reversed([*TOKEN.finditer(body)]):
        if m["comment"]:
            body = body[: m.start()].rstrip(" ") + body[m.end() :]
    body = re.sub(r"\n( *\n)+", "\n", body).lstrip("\n")
    return Text("".join(lines[:head]), "".join(lines[head:first]), body)


@lru_cache(maxsize=10_000)
def tokens(text: str) -> list[tuple[int, int, str]]:
    return [(m.start(), m.end(), m[0]) for m in TOKEN.finditer(text) if not m["comment"]]


@lru_cache(maxsize=1_000)
def spelled(text: str) -> tuple[str, dict[int, int]]:
    """The tokens in one string, each between two zeros, and the number of the token at each zero."""
    words = [token for _, _, token in tokens(text)]
    starts = itertools.accumulate((len(word) + 1 for word in words), initial=0)
    return "\0".join(["", *words, ""]), {start: i for i, start in enumerate(starts)}


def matches(text: str, old: str) -> list[tuple[int, int]]:
    """[(start, end)] of the fragment's occurrences, token by token."""
    have, (line, number), (wanted, _) = tokens(text), spelled(text), spelled(old)
    found, count, at = [], len(tokens(old)), line.find(wanted)
    while at >= 0:
        i = number[at]
        found.append((have[i][0], have[i + count - 1][1]))
        at = line.find(wanted, at + len(wanted) - 1)
    return found


@lru_cache(maxsize=10_000)
def apply(body: str, edit: Edit) -> str:
    """raises: ValueError unless the fragment is there once, or at all if all are to be replaced"""
    places = matches(body, edit.old)
    if not places or (len(places) > 1 and not edit.all):
        raise ValueError(f"the fragment {edit.old!r} is there {len(places)} times")
    for start, end in reversed(places):
        line = body[body.rfind("\n", 0, start) + 1 : start]
        indent = line[: len(line) - len(line.lstrip())]
        new = edit.new.replace("\n", "\n" + indent)
        alone = not line.strip() and body[end : end + 1] in ("\n", "")
        body = body[:start] + (new or "pass" * alone) + body[end:]
    return body


def edited_text(fn: Callable, edits: Iterable[Edit], documented: bool = True) -> str:
    """The text of a function after edits of its body. raises: ValueError as `apply`"""
    text = text_of(fn)
    body = text.body
    for e in edits:
        body = apply(body, e)
    return text.head + text.docstring * documented + body


def compiled(
    reference: Callable, edits: Iterable[Edit], filename: str = "", space: Any = ()
) -> Callable:
    """The reference with its text, and its helpers', edited: a new function in a copy of its namespace.

    filename : where its text can be looked up afterwards (inspect.getsource); "" = nowhere
    space    : further names, as a dict
    raises   : ValueError, SyntaxError
    """
    own = {f.__name__: f for e in edits for f in e.use} | dict(space)
    for helper in {e.of for e in edits if e.of}:
        changed = [replace(e, of="") for e in edits if e.of == helper]
        where = f"{filename[:-1]}, {helper}>" if filename else ""
        own[helper] = compiled(reference.__globals__[helper], changed, where, own)
    mine = [e for e in edits if not e.of]
    text = edited_text(reference, mine, documented=bool(filename))
    return run_text(text, reference, own, filename)


def run_text(text: str, reference: Callable, own: Any = (), filename: str = "") -> Any:
    """The function that a text defines, in a copy of the reference's namespace."""
    space = {**inspect.unwrap(reference).__globals__, **dict(own)}
    if filename:
        linecache.cache[filename] = (len(text), None, text.splitlines(keepends=True), filename)
    exec(compile(text, filename or f"<{reference.__name__}>", "exec", dont_inherit=True), space)
    return space[reference.__name__]
