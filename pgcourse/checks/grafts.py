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
import itertools
from types import MappingProxyType

from pgcourse.checks.guards import is_guard
from pgcourse.checks.moves import Renamed, guards, size
from pgcourse.checks.operators import Edit
from pgcourse.checks.operators.trees import (
    called,
    expressions,
    is_docstring,
    load,
    loads,
    method,
    put,
    statement_lists,
    subject,
    with_,
)
from pgcourse.checks.traces import at

LARGEST = 40  # nodes of a piece
NOTHING = MappingProxyType({})


def locals_of(tree):
    """Names that are assigned in a function, in order; not its arguments."""
    a = tree.args
    arguments = {x.arg for x in (*a.posonlyargs, *a.args, *a.kwonlyargs)}
    stored = (n.id for n in ast.walk(tree) if isinstance(n, ast.Name) and not loads(n))
    return [name for name in dict.fromkeys(stored) if name not in arguments]


def names_in(node):
    return {n.id for n in ast.walk(node) if isinstance(n, ast.Name)}


def inlined(tree, known=()):
    """{local: expression of the arguments} for those that are assigned once, outside of any block.

    known : locals that expressions may have, too
    """
    found, stored = {}, [n.id for n in ast.walk(tree) if isinstance(n, ast.Name) and not loads(n)]
    arguments = {x.arg for x in tree.args.args}
    for s in tree.body:
        if isinstance(s, ast.Assign) and isinstance(s.targets[0], ast.Name):
            name = s.targets[0].id
            if stored.count(name) == 1 and name not in (*arguments, *known):
                found[name] = Renamed({}, found).visit(copy.deepcopy(s.value))
    return found


def unfolded(tree, helper):
    """A copy of a tree with the formulas of what it calls in the place of the calls.

    It begins with what they refuse, if the tree itself refuses nothing.
    helper : function name -> its tree, or None where there is none to read
    """
    checks = []

    class Unfolded(ast.NodeTransformer):
        def visit_Call(self, node):
            self.generic_visit(node)
            found = helper(node.func.id) if isinstance(node.func, ast.Name) else None
            formula = formula_of(found) if found else None
            if formula is None or node.keywords or len(node.args) != len(found.args.args):
                return node
            given = {x.arg: y for x, y in zip(found.args.args, node.args, strict=True)}
            parts = (*filter(is_guard, found.body), formula)
            *mine, formula = (Renamed({}, given).visit(copy.deepcopy(part)) for part in parts)
            checks.extend(mine)
            return formula

    new = Unfolded().visit(copy.deepcopy(tree))
    new.body[:0] = [] if any(map(is_guard, new.body)) else checks
    return ast.fix_missing_locations(new)


def formula_of(tree):
    """What a function returns, in its arguments, if it does nothing else than work that out; or None."""
    *steps, last = [s for s in tree.body if not is_docstring(s) and not is_guard(s)]
    if not isinstance(last, ast.Return) or not all(isinstance(s, ast.Assign) for s in steps):
        return None
    return Renamed({}, inlined(tree)).visit(copy.deepcopy(last.value))


def readings(tree, columns):
    """How the learner's text reads names: ({name: name[t]}, {name: name.detach(), or what that is called}).

    One element of columns, by the name t that indexes most of its own; a copy where it takes nothing else.
    """
    nodes, found = [(path, n) for path, n in expressions(tree) if not guards(tree, path)], {}
    for _, node in nodes:
        if isinstance(node, ast.Subscript) and isinstance(node.value, ast.Name):
            if isinstance(node.slice, ast.Name):
                found.setdefault(node.slice.id, {}).setdefault(node.value.id, node)
    copies = [n for _, n in nodes if called(n) == "detach" and isinstance(subject(n), ast.Name)]
    aside, called_so = {id(subject(n)) for n in copies}, {}
    for s in (n for n in ast.walk(tree) if isinstance(n, ast.Assign | ast.Expr)):
        # `x = x[mask]`, `check(x)`
        again = set().union(*map(names_in, s.targets)) if isinstance(s, ast.Assign) else names_in(s)
        if isinstance(s, ast.Assign) and s.value in copies and isinstance(s.targets[0], ast.Name):
            called_so[subject(s.value).id] = load(s.targets[0].id)
        aside |= {id(n) for n in ast.walk(s.value) if isinstance(n, ast.Name) and n.id in again}
    plain = {n.id for _, n in nodes if isinstance(n, ast.Name) and id(n) not in aside}
    t = max(found, key=lambda name: len(found[name]), default=None)
    more = {x: ast.Subscript(load(x), load(t), ast.Load()) for x in columns}
    always = {x: called_so.get(x, n) for n in copies if (x := subject(n).id) not in plain}
    return {} if t is None else {**more, **found[t]}, always


class Pieces:
    """The reference's expressions and statements in the learner's names.

    reference : its tree, and others that say the same
    names     : {name in the reference: name in the learner's text}, arguments included
    known     : whether the learner's function can use a global name
    read      : how the learner's text reads names, see `readings`
    worth     : {name in the reference: expression of the learner's} for what they have no name for
    """

    def __init__(self, reference, names, known, others=(), read=(NOTHING, NOTHING), worth=NOTHING):
        own = {*locals_of(reference), *(x.arg for x in reference.args.args)}
        names = {k: v for k, v in names.items() if k in own}
        flat = {name: Renamed({}, {}).visit(copy.deepcopy(x)) for name, x in worth.items()}
        other = inlined(reference, {*names, *flat})
        flat |= {name: Renamed(names, flat).visit(copy.deepcopy(x)) for name, x in other.items()}
        lent = itertools.chain(worth.values(), read[1].values())
        mine = {*names.values(), *itertools.chain(*map(names_in, lent))}

        def usable(node):
            return all(name in mine or ("?" not in name and known(name)) for name in names_in(node))

        def turned(tree, stand=flat):
            # what the learner's text has not gets a mark that no name has
            unknown = {name: f"{name} ?" for name in own - names.keys() - stand.keys()}
            return Renamed({**unknown, **names}, stand).visit(copy.deepcopy(tree))

        self.expressions, self.holed, seen = [], [], set()
        trees = [*map(turned, (reference, *others))]
        results = [
            n.value for t in trees for n in ast.walk(t) if isinstance(n, ast.Return) and n.value
        ]
        results += [subject(x) for x in results if called(x) == "detach"]
        self.results = {ast.dump(x) for n in results for x in variants(n, read)}
        nodes = (n for tree in trees for _, n in expressions(tree))
        for piece in (piece for node in nodes for piece in variants(node, read)):
            if isinstance(piece, ast.Name) or ast.dump(piece) in seen:
                continue
            seen.add(ast.dump(piece))
            whole = size(piece) <= LARGEST and usable(piece)
            if whole and (not isinstance(piece, ast.Constant) or type(piece.value) in (int, float)):
                self.expressions.append((piece, ast.dump(piece)))
            # what is unknown may lie where something of the learner's stands
            for hole in holes(piece):
                rest = put(piece, hole, ast.Constant(0))
                if whole or size(rest) <= LARGEST and usable(rest):
                    self.holed.append((piece, hole, ast.dump(piece)))
        self.statements = []
        optional = {names.get(x) for x in omitted(reference)}
        body = next((t.body for t in trees if any(map(is_guard, t.body))), ())
        ways = ((g, spelled(g, optional)) for g in body if is_guard(g))
        self.checks = [s for s in (next(filter(usable, both), None) for both in ways) if s]
        for _, body in statement_lists(turned(reference, {})):
            for s in itertools.filterfalse(is_guard, body):
                whole = isinstance(s, ast.Return | ast.For | ast.While | ast.With)  # all the work
                if not (is_docstring(s) or whole) and size(s) <= 2 * LARGEST:
                    self.statements += [part for part in parts(s) if usable(part)]


def variants(node, read):
    """A piece as the learner's text reads names; of where(c, 0, x) also the factor ~c; and both for one element."""
    index, copies = read
    if not any(called(n) == "detach" for n in ast.walk(node)):
        node = (
            Renamed({}, copies).visit(copy.deepcopy(node))
            if names_in(node) & copies.keys()
            else node
        )
    found = [node]
    if called(node) == "where" and len(node.args) == 3 and isinstance(node.args[1], ast.Constant):
        found.append(ast.UnaryOp(ast.Invert(), node.args[0]))
    if not any(isinstance(n, ast.Subscript) for n in ast.walk(node)):
        if names_in(node) & index.keys():
            found += [Renamed({}, index).visit(copy.deepcopy(n)) for n in list(found)]
    return found


def omitted(tree):
    """The arguments whose default is None."""
    a = tree.args
    pairs = zip(a.args[len(a.args) - len(a.defaults) :], a.defaults, strict=True)
    return [x.arg for x, y in pairs if isinstance(y, ast.Constant) and y.value is None]


def spelled(guard, optional):
    """The same refusal without `same_shape`. optional : names that may be None"""
    if not isinstance(guard, ast.Expr) or "?" in ast.unparse(guard):
        return guard
    first, *rest = [ast.unparse(k.value) for k in guard.value.keywords]
    differs = {x: f"{x}.shape != {first}.shape" for x in rest}
    ways = (f"({x} is not None and {d})" if x in optional else d for x, d in differs.items())
    code = f"if {' or '.join(ways)}:\n    raise ValueError('the shapes differ')"
    return ast.parse(code).body[0]


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
        # the whole answer within the learner's own would not mend it
        too_much = () if is_result(tree, path) else pieces.results
        for piece, dumped in pieces.expressions:
            if dumped == text or dumped in too_much:
                continue
            if called(node) and called(piece) == called(node):
                for new in lent(node, piece):
                    yield Edit("the arguments of a call", "", tree, path, node, new, node.lineno)
            yield Edit("an expression", "", tree, path, node, piece, node.lineno)
        if not isinstance(node, ast.Constant) or isinstance(node.value, int | float):
            inner = [*rounded(node)]
            for piece, hole, dumped in pieces.holed:
                if dumped in too_much:
                    continue
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
    yield from unchecked(tree, pieces.checks)
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


def unchecked(tree, checks):
    """What bad input is refused by, put in where the work begins: one check, or all."""
    for new in [*([s] for s in checks), *([checks] if len(checks) > 1 else ())]:
        for i, s in enumerate(tree.body):
            if not is_docstring(s):
                where = (("body", slice(i, i)),)
                yield Edit("a check is missing", "", tree, where, [], new, s.lineno)


def is_result(tree, path):
    """Whether what stands there is returned as it is."""
    around = at(tree, path[:-1])
    if isinstance(around, ast.Assign):
        returned = (
            ast.unparse(n.value) for n in ast.walk(tree) if isinstance(n, ast.Return) and n.value
        )
        return ast.unparse(around.targets[0]) in returned
    return isinstance(around, ast.Return)


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
    return name in stored and name not in names_in(statement.value)


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
