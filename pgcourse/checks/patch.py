"""A change of a text, as its reader would make it: the lines that go and the lines that come."""

import ast
import difflib
import itertools
import textwrap

from pgcourse.checks.operators.trees import text
from pgcourse.checks.traces import at


def changed(source, edits):
    """[(line number or None, line before, lines after), ...] for the lines of a Source that edits change.

    The learner's own spelling stays outside of what is changed. Lines count from 1 in `source.lines`.
    """
    for spots in itertools.product(*(ways(source.lines, e) for e in edits)):
        lines = list(source.lines)
        for (a, b), new in sorted(spots, reverse=True):
            lines[a:b] = new
        if not overlap(spots) and same(lines, edits[-1].tree):
            return [(a + 1, source.lines[a:b], tuple(new)) for (a, b), new in sorted(spots)]
    return statements_of(source, edits) or whole(source, edits)


def ways(lines, edit):
    """[((from, to), lines that come)]: the indices of the lines that an edit changes, as far as one edit can say."""
    if isinstance(edit.new, list):
        return statements(lines, edit)
    old = edit.old
    if not hasattr(old, "end_col_offset") or not hasattr(old, "lineno"):
        return []
    a, b = old.lineno - 1, old.end_lineno
    before = lines[a].encode()[: old.col_offset].decode()
    after = lines[b - 1].encode()[old.end_col_offset :].decode()
    inside = ast.unparse(edit.new)
    return [((a, b), (before + new + after).split("\n")) for new in (inside, f"({inside})")]


def statements(lines, edit):
    if edit.old:
        a, b = edit.old[0].lineno - 1, edit.old[-1].end_lineno
    else:
        a = b = edit.line - 1
    indent = lines[a][: len(lines[a]) - len(lines[a].lstrip())]
    new = textwrap.indent(text(edit.new), indent).split("\n") if edit.new else []
    if edit.old:
        return [trimmed(lines, (a, b), new)]
    return [((at, at), new) for at in (a, a + 1)]


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


def statements_of(source, edits):
    """The change of the statements in which the edits are, in the compiler's spelling; or None."""
    spans, tree, lines = {}, edits[-1].tree, list(source.lines)
    for path in (e.path for e in edits):
        inner = (n for n in range(len(path), 0, -1) if is_line(at_or_none(source.tree, path[:n])))
        n = next(inner, None)
        new = None if n is None else at_or_none(tree, path[:n])
        if not is_line(new):
            return None
        old = at(source.tree, path[:n])
        before = source.lines[old.lineno - 1]
        indent = before[: len(before) - len(before.lstrip())]
        comes = tuple(textwrap.indent(ast.unparse(new), indent).split("\n"))
        spans[old.lineno - 1, old.end_lineno] = comes
    for (i, j), comes in sorted(spans.items(), reverse=True):
        lines[i:j] = comes
    found = sorted(spans.items())
    return (
        [(i + 1, source.lines[i:j], comes) for (i, j), comes in found]
        if same(lines, tree)
        else None
    )


def is_line(node):
    """Whether it is a statement without a block."""
    return isinstance(node, ast.stmt) and not hasattr(node, "body")


def at_or_none(tree, path):
    try:
        return at(tree, path)
    except (AttributeError, IndexError, TypeError):
        return None


def whole(source, edits):
    """The change in the form that the compiler gives to both texts, where it cannot be said in theirs."""
    before, after = (ast.unparse(t).split("\n") for t in (source.tree, edits[-1].tree))
    found = []
    for tag, i, j, k, m in difflib.SequenceMatcher(None, before, after, False).get_opcodes():
        if tag != "equal":
            found.append((None, tuple(before[i:j]), tuple(after[k:m])))
    return found
