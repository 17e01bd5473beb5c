"""Edits of a text in several places, each a tuple of Edit: one upon the other, the last has the whole tree."""

import ast
import itertools
from dataclasses import replace

from pgcourse.checks.guards import is_guard
from pgcourse.checks.moves import arguments, guards, here, made, operand
from pgcourse.checks.operators import Edit
from pgcourse.checks.operators.trees import (
    called,
    expressions,
    is_data,
    is_docstring,
    loads,
    method,
    put,
    renamed,
    statement_lists,
    with_,
)
from pgcourse.checks.traces import at, touches

LARGER = {f: f for f in ("maximum", "minimum")} | {"max": "maximum", "min": "minimum"}
HABITS = {  # what is done in one way all over a text
    *("axis", "a count", "detach dropped", "detach added", "one function for another"),
    *("one name for another", "a neighbor", "a selection left out", "a call left out", "inverted"),
    *("two calls for one", "a constant", "a comparison", "bounds", "copied"),
}


def together(tree, scope, single):
    """All edits of this file.

    single : edits of one place each, which may be made wherever they can be
    """
    nodes = [*expressions(tree)]
    yield from exchanged_apart(tree, nodes, scope)
    yield from detached_elsewhere(tree, nodes, scope)
    yield from lines_elsewhere(tree)
    yield from everywhere(tree, single)
    yield from with_gradient(tree, nodes)
    yield from averaged_late(tree, nodes)


def upon(edits):
    """The edits, none of which touches another, each with the tree that the one before leaves."""
    first, *rest = edits
    found = [first]
    for e in rest:
        found.append(replace(e, root=found[-1].tree))
    return tuple(found)


def everywhere(tree, single):
    """The same edit at all its places: an axis in two calls, a detach for every reading of a name."""
    groups = {}
    for e in single:
        if e.kind in HABITS and not guards(tree, e.path):
            mine = groups.setdefault((e.kind, *what(e.old, e.new)), [])
            if not any(touches(e.path, other.path) for other in mine):
                mine.append(e)
    yield from (upon(edits) for edits in groups.values() if len(edits) > 1)


def alike(edits):
    """Whether they are one edit at several places."""
    if len(edits) == 1 or any(isinstance(e.new, list) for e in edits):
        return False
    return len({(e.kind, *what(e.old, e.new)) for e in edits}) == 1


def what(old, new):
    """What an edit does: of a call how its arguments change, whatever it acts on."""
    calls = called(old) and called(new) and operand(old) is operand(new)
    return tuple(map(bare if calls else ast.dump, (old, new)))


def bare(node):
    """The name of a call and its arguments, without what it acts on."""
    return called(node), *map(ast.dump, arguments(node))


def with_gradient(tree, nodes):
    """Tensors kept where numbers were: stack(x) or cat(x) for tensor(x), without any `.item()`."""
    items = [(path, node) for path, node in nodes if called(node) == "item" and not node.args]
    lists = [(path, node) for path, node in nodes if called(node) in ("tensor", "as_tensor")]
    for path, node in lists if items and len(lists) == 1 else ():
        inside = [(p, x) for p, x in items if p[: len(path)] == path]
        apart = [(p, x) for p, x in items if not touches(p, path)]
        apart = [made("detach dropped", tree, p, x, operand(x)) for p, x in apart]
        for name in ("stack", "cat"):
            joined = with_(renamed(node, name), keywords=[])
            for p, x in inside:
                joined = put(joined, p[len(path) :], operand(x))
            yield upon([made("detach dropped", tree, path, node, joined), *apart])


def averaged_late(tree, nodes):
    """The mean of the larger ones for the larger of two means, and the like."""
    stored = [s for s in ast.walk(tree) if isinstance(s, ast.Assign)]
    values = {ast.unparse(s.targets[0]): s.value for s in stored}
    places = {id(node): path for path, node in nodes}
    for path, node in nodes:
        if called(node) not in LARGER or len(node.args) != 2:
            continue
        means = [values.get(x.id, x) if isinstance(x, ast.Name) else x for x in node.args]
        each = [*map(of_each, means)]
        if None in each:
            continue
        larger, edits = renamed(node, LARGER[called(node)]), []
        for i, (mean, x) in enumerate(zip(means, each, strict=True)):
            if mean is node.args[i]:
                larger = put(larger, (("args", i),), x)
            else:
                edits.append(made("averaged late", tree, places[id(mean)], mean, x))
        edits.append(made("averaged late", tree, path, node, method(larger, "mean")))
        yield upon(edits)


def of_each(node):
    """What a mean is taken of; None of anything else."""
    if called(node) == "mean" and not arguments(node):
        return operand(node)
    if called(node) == "mse_loss" and not node.keywords:
        return with_(node, keywords=[ast.keyword("reduction", ast.Constant("none"))])
    return None


def exchanged_apart(tree, nodes, scope):
    """Two names exchanged that are each read once, in two statements."""
    read = {}
    for path, node in nodes:
        if isinstance(node, ast.Name) and loads(node) and node.id in scope.names:
            if not guards(tree, path) and not isinstance(at(tree, path[:1]), ast.Expr):
                read.setdefault(node.id, []).append((path, node))
    once = [(name, *found[0]) for name, found in read.items() if len(found) == 1]
    for (one, a, x), (other, b, y) in itertools.combinations(once, 2):
        if a[:1] != b[:1]:
            first = made("two names exchanged", tree, a, x, ast.Name(other, ast.Load()))
            second = made("two names exchanged", first.tree, b, y, ast.Name(one, ast.Load()))
            yield first, second


def detached_elsewhere(tree, nodes, scope):
    """What is detached in one place and should be in another."""
    known = dict(nodes)
    for path, node in nodes:
        if called(node) != "detach" or operand(node) is None:
            continue
        for other, x in nodes:
            if touches(path, other) or not is_data(x, scope) or guards(tree, other):
                continue
            common = next(n for n, (a, b) in enumerate(zip(path, other, strict=False)) if a != b)
            around = next((path[:n] for n in range(common, 0, -1) if path[:n] in known), None)
            if around:  # in one expression it is one change
                new = put(known[around], path[len(around) :], operand(node))
                new = put(new, other[len(around) :], here(method(x, "detach"), x))
                yield (made("detach elsewhere", tree, around, known[around], new),)
            else:
                first = made("detach elsewhere", tree, path, node, operand(node))
                yield first, made("detach elsewhere", first.tree, other, x, method(x, "detach"))


def lines_elsewhere(tree):
    """A line further up or down in its block."""
    for path, body in statement_lists(tree):

        def at(i, j, path=path):
            return (*path[:-1], (path[-1][0], slice(i, j)))

        for i, s in enumerate(body):
            if is_docstring(s) or is_guard(s) or isinstance(s, ast.Return):
                continue
            gone = Edit("a line elsewhere", "", tree, at(i, i + 1), [s], [], s.lineno)
            others = [x for x in body if x is not s]
            for j in range(len(others) + 1):
                if abs(j - i) > 1 and not (j < len(others) and is_docstring(others[j])):
                    line = others[min(j, len(others) - 1)].lineno
                    yield gone, Edit("a line elsewhere", "", gone.tree, at(j, j), [], [s], line)
