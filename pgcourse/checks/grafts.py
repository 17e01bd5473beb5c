"""Edits of one text with pieces of another: what the reference has and the learner's function lacks.

The reference's names are turned into the learner's (by the values that they held when both ran, or
by what they were computed from), then its expressions stand for the learner's, wrap them, lend their
arguments, and its statements are put in. The formulas of what it calls are its expressions, too, and where
the learner goes through elements, x[t] stands for x. An edit after which locals of the learner's are read
nowhere is left out (but for one, if it was worked out for a small part alone): it would not mend their text
but replace it.
"""

import ast
import copy
from types import MappingProxyType

from pgcourse.checks.guards import is_guard
from pgcourse.checks.moves import Renamed, size
from pgcourse.checks.operators import Edit
from pgcourse.checks.operators.trees import (
    called,
    expressions,
    is_docstring,
    loads,
    method,
    put,
    statement_lists,
    subject,
    with_,
)

LARGEST = 40  # nodes of a piece


def locals_of(tree):
    """Names that are assigned in a function, in order; not its arguments."""
    a = tree.args
    arguments = {x.arg for x in (*a.posonlyargs, *a.args, *a.kwonlyargs)}
    stored = (n.id for n in ast.walk(tree) if isinstance(n, ast.Name) and not loads(n))
    return [name for name in dict.fromkeys(stored) if name not in arguments]


def inlined(tree):
    """{local: expression of the arguments} for those that are assigned once, outside of any block."""
    found, stored = {}, [n.id for n in ast.walk(tree) if isinstance(n, ast.Name) and not loads(n)]
    arguments = {x.arg for x in tree.args.args}
    for s in tree.body:
        if isinstance(s, ast.Assign) and isinstance(s.targets[0], ast.Name):
            name = s.targets[0].id
            if stored.count(name) == 1 and name not in arguments:
                found[name] = Renamed({}, found).visit(copy.deepcopy(s.value))
    return found


def unfolded(tree, helper):
    """A copy of a tree with the formulas of what it calls in the place of the calls.

    helper : function name -> its tree, or None where there is none to read
    """

    class Unfolded(ast.NodeTransformer):
        def visit_Call(self, node):
            self.generic_visit(node)
            found = helper(node.func.id) if isinstance(node.func, ast.Name) else None
            formula = formula_of(found) if found else None
            if formula is None or node.keywords or len(node.args) != len(found.args.args):
                return node
            given = {x.arg: y for x, y in zip(found.args.args, node.args, strict=True)}
            return Renamed({}, given).visit(copy.deepcopy(formula))

    return ast.fix_missing_locations(Unfolded().visit(copy.deepcopy(tree)))


def formula_of(tree):
    """What a function returns, in its arguments, if it does nothing else than work that out; or None."""
    *steps, last = [s for s in tree.body if not is_docstring(s) and not is_guard(s)]
    if not isinstance(last, ast.Return) or not all(isinstance(s, ast.Assign) for s in steps):
        return None
    return Renamed({}, inlined(tree)).visit(copy.deepcopy(last.value))


def indexed(tree, columns):
    """{name: name[t]} of these names, for the name t by which the tree reads most of its own."""
    found = {}
    for _, node in expressions(tree):
        if isinstance(node, ast.Subscript) and isinstance(node.value, ast.Name):
            if isinstance(node.slice, ast.Name):
                found.setdefault(node.slice.id, {}).setdefault(node.value.id, node)
    t = max(found, key=lambda name: len(found[name]), default=None)
    more = {
        x: ast.Subscript(ast.Name(x, ast.Load()), ast.Name(t, ast.Load()), ast.Load())
        for x in columns
    }
    return {} if t is None else {**more, **found[t]}


class Pieces:
    """The reference's expressions and statements in the learner's names.

    reference : its tree, and others that say the same
    names     : {name in the reference: name in the learner's text}, arguments included
    known     : whether the learner's function can use a global name
    index     : {name: name[t]} of the learner's: for whole columns the pieces have one element
    """

    def __init__(self, reference, names, known, others=(), index=MappingProxyType({})):
        own = {*locals_of(reference), *(x.arg for x in reference.args.args)}
        names = {k: v for k, v in names.items() if k in own}
        flat = {name: x for name, x in inlined(reference).items() if name not in names}
        flat = {name: Renamed(names, {}).visit(copy.deepcopy(x)) for name, x in flat.items()}
        # a name that the learner's text has not gets a mark that no name has
        unknown = {name: f"{name} ?" for name in own - names.keys()}
        plain = Renamed({**unknown, **names}, {}).visit(copy.deepcopy(reference))
        unknown = {k: v for k, v in unknown.items() if k not in flat}
        mine = set(names.values())

        def usable(node):
            read = (n.id for n in ast.walk(node) if isinstance(n, ast.Name))
            return all(name in mine or ("?" not in name and known(name)) for name in read)

        def turned(tree):
            return Renamed({**unknown, **names}, flat).visit(copy.deepcopy(tree))

        self.expressions, self.holed, seen = [], [], set()
        nodes = (n for tree in map(turned, (reference, *others)) for _, n in expressions(tree))
        for piece in (piece for node in nodes for piece in variants(node, index)):
            if isinstance(piece, ast.Name) or ast.dump(piece) in seen:
                continue
            seen.add(ast.dump(piece))
            whole = size(piece) <= LARGEST and usable(piece)
            if whole and (not isinstance(piece, ast.Constant) or type(piece.value) in (int, float)):
                self.expressions.append((piece, ast.dump(piece)))
            for hole in holes(
                piece
            ):  # what is unknown may lie where something of the learner's stands
                rest = put(piece, hole, ast.Constant(0))
                if whole or size(rest) <= LARGEST and usable(rest):
                    self.holed.append((piece, hole))
        self.statements = []
        for _, body in statement_lists(plain):
            for s in body:
                whole = isinstance(s, ast.Return | ast.For | ast.While | ast.With)  # all the work
                if not (is_docstring(s) or whole) and size(s) <= 2 * LARGEST:
                    self.statements += [part for part in parts(s) if usable(part)]


def variants(node, index):
    """A piece; of where(c, 0, x) also the factor ~c; and both for one element."""
    found = [node]
    if called(node) == "where" and len(node.args) == 3 and isinstance(node.args[1], ast.Constant):
        found.append(ast.UnaryOp(ast.Invert(), node.args[0]))
    if not any(isinstance(n, ast.Subscript) for n in ast.walk(node)):
        if any(isinstance(n, ast.Name) and n.id in index for n in ast.walk(node)):
            found += [Renamed({}, index).visit(copy.deepcopy(n)) for n in list(found)]
    return found


def parts(statement):
    """A statement, and of `a, b = x, y` the two."""
    yield statement
    if isinstance(statement, ast.Assign) and isinstance(statement.targets[0], ast.Tuple):
        if isinstance(statement.value, ast.Tuple):
            pairs = zip(statement.targets[0].elts, statement.value.elts, strict=False)
            yield from (ast.Assign([target], value) for target, value in pairs)


def holes(node):
    """Paths of the operands of an operation: where something of the learner's may stand."""
    if isinstance(node, ast.BinOp):
        return [(("left", None),), (("right", None),)]
    if isinstance(node, ast.Call):
        found = [(("args", i),) for i, x in enumerate(node.args) if not isinstance(x, ast.Starred)]
        if isinstance(node.func, ast.Attribute) and subject(node) is node.func.value:
            found.append((("func", None), ("value", None)))
        return found
    if isinstance(node, ast.Subscript):
        return [(("value", None),)]
    if isinstance(node, ast.UnaryOp):
        return [(("operand", None),)]
    return []


def grafts(tree, pieces, likely=None):
    """Edits of the tree with pieces of the reference. The pieces are shared: their lines mean nothing.

    likely : whether a place is worth it; by default every one is
    """
    nodes = [(path, node, ast.dump(node)) for path, node in expressions(tree)]
    nodes = [n for n in nodes if likely is None or likely(n[0])]
    for path, node, text in nodes:
        for piece, dumped in pieces.expressions:
            if dumped == text:
                continue
            if called(node) and called(piece) == called(node):
                for new in lent(node, piece):
                    yield Edit("the arguments of a call", "", tree, path, node, new, node.lineno)
            yield Edit("an expression", "", tree, path, node, piece, node.lineno)
        if not isinstance(node, ast.Constant) or isinstance(node.value, int | float):
            inner = [*rounded(node)]
            for piece, hole in pieces.holed:
                if isinstance(piece, ast.Call):
                    for x in inner:  # ceil(n) for int(n) + 1
                        new = put(piece, hole, x)
                        yield Edit(
                            "an operation is missing", "", tree, path, node, new, node.lineno
                        )
                if isinstance(node, ast.Constant) and isinstance(piece, ast.UnaryOp):
                    continue
                new = put(piece, hole, node)
                yield Edit("an operation is missing", "", tree, path, node, new, node.lineno)
    stored = {n.id for n in ast.walk(tree) if isinstance(n, ast.Name) and not loads(n)}
    missing = [s for s in pieces.statements if not replaces(s, stored)]
    for path, body in statement_lists(tree):
        for i in range(len(body) + 1):
            if i < len(body) and is_docstring(body[i]):
                continue
            line = body[min(i, len(body) - 1)].lineno
            for s in [*missing, *(detached(tree) if path == (("body", None),) else ())]:
                where = (*path[:-1], (path[-1][0], slice(i, i)))
                yield Edit("a statement is missing", "", tree, where, [], [s], line)


def rounded(node):
    """x of int(x) + 1, round(x) - 1, floor(x) and the like."""
    if isinstance(node, ast.BinOp) and isinstance(node.right, ast.Constant):
        node = node.left
    if called(node) in ("int", "round", "floor", "ceil") and node.args:
        yield node.args[0]


def replaces(statement, stored):
    """Whether it gives a name of the learner's another value, whatever it was."""
    if not isinstance(statement, ast.Assign) or not isinstance(statement.targets[0], ast.Name):
        return False
    name = statement.targets[0].id
    reads = (n.id for n in ast.walk(statement.value) if isinstance(n, ast.Name))
    return name in stored and name not in reads


def lent(node, piece):
    """The call with the arguments of another call of the same function."""
    x, y = subject(node), subject(piece)
    if x is None or y is None:
        return
    mine, theirs = node.args, piece.args
    rest = theirs[1:] if theirs and y is theirs[0] else theirs
    kept = [mine[0]] if mine and x is mine[0] else []
    keywords = piece.keywords
    yield with_(node, args=[*kept, *rest], keywords=keywords)
    if rest or keywords:
        yield with_(node, keywords=keywords)


def detached(tree):
    for x in tree.args.args:
        name = ast.Name(x.arg, ast.Load())
        for f in ("detach", "clone"):
            yield ast.Assign([ast.Name(x.arg, ast.Store())], method(name, f))


def read_locals(tree):
    """Locals whose value is used; to be written into (`x[i] = y`, `x.append(y)`) is no use."""
    own, written = set(locals_of(tree)), []
    for n in ast.walk(tree):
        if isinstance(n, ast.Subscript | ast.Attribute) and not loads(n):
            written.append(n.value)
        elif isinstance(n, ast.Expr) and isinstance(n.value, ast.Call):
            written += [n.value.func.value] if isinstance(n.value.func, ast.Attribute) else []
    names = [n for n in ast.walk(tree) if isinstance(n, ast.Name) and loads(n) and n.id in own]
    aside = set(map(id, written))
    return {n.id for n in names if id(n) not in aside}
