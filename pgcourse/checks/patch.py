"""A change of a text, as its reader would make it: the lines that go and the lines that come."""

import ast
import difflib
import textwrap

from pgcourse.checks.operators.trees import text


def changed(source, edits):
    """[(line number or None, line before, lines after), ...] for the lines of a Source that edits change.

    The learner's own spelling stays outside of what is changed. Lines count from 1 in `source.lines`.
    """
    lines = list(source.lines)
    spots = [spot(lines, e) for e in edits]
    if any(s is None for s in spots) or overlap(spots):
        return whole(source, edits)
    for (a, b), new in sorted(spots, reverse=True):
        lines[a:b] = new
    if not same(lines, edits[-1].tree):
        return whole(source, edits)
    return [(a + 1, source.lines[a:b], tuple(new)) for (a, b), new in sorted(spots)]


def spot(lines, edit):
    """((from, to), lines that come): indices of the lines that an edit changes; None if it cannot be said."""
    if isinstance(edit.new, list):
        return statements(lines, edit)
    old = edit.old
    if not hasattr(old, "end_col_offset") or not hasattr(old, "lineno"):
        return None
    a, b = old.lineno - 1, old.end_lineno
    before = lines[a].encode()[: old.col_offset].decode()
    after = lines[b - 1].encode()[old.end_col_offset :].decode()
    inside = ast.unparse(edit.new)
    for new in (inside, f"({inside})"):
        made = (before + new + after).split("\n")
        if same([*lines[:a], *made, *lines[b:]], edit.tree):
            return (a, b), made
    return None


def statements(lines, edit):
    if edit.old:
        a, b = edit.old[0].lineno - 1, edit.old[-1].end_lineno
    else:
        a = b = edit.line - 1
    indent = lines[a][: len(lines[a]) - len(lines[a].lstrip())]
    new = textwrap.indent(text(edit.new), indent).split("\n") if edit.new else []
    for at in (a, b) if edit.old else (a, a + 1):
        where = (a, b) if edit.old else (at, at)
        if same([*lines[: where[0]], *new, *lines[where[1] :]], edit.tree):
            return trimmed(lines, where, new)
    return None


def trimmed(lines, where, new):
    """The same change without the lines that stay as they are (comments and spelling apart)."""
    (a, b), bare = where, [line.strip() for line in new]
    while new and a < b and lines[a].strip() == bare[0]:
        a, new, bare = a + 1, new[1:], bare[1:]
    while new and a < b and lines[b - 1].strip() == bare[-1]:
        b, new, bare = b - 1, new[:-1], bare[:-1]
    return (a, b), new


def overlap(spots):
    spans = sorted(s for s, _ in spots)
    return any(b > c or (a, b) == (c, d) for (a, b), (c, d) in zip(spans, spans[1:], strict=False))


def same(lines, tree):
    try:
        (made,) = ast.parse("\n".join(lines)).body
    except (SyntaxError, ValueError):
        return False
    return ast.dump(made) == ast.dump(tree)


def whole(source, edits):
    """The change in the form that the compiler gives to both texts, where it cannot be said in theirs."""
    before, after = (ast.unparse(t).split("\n") for t in (source.tree, edits[-1].tree))
    found = []
    for tag, i, j, k, m in difflib.SequenceMatcher(None, before, after, False).get_opcodes():
        if tag != "equal":
            found.append((None, tuple(before[i:j]), tuple(after[k:m])))
    return found
