"""Edits of a text with its own parts: one stands at another place, two are exchanged, two calls become one."""

import ast
import copy
import difflib
import itertools

from pgcourse.checks.guards import is_guard
from pgcourse.checks.operators import Edit
from pgcourse.checks.operators.trees import (
    call,
    called,
    expressions,
    is_data,
    loads,
    method,
    put,
    renamed,
    statement_lists,
    subject,
    with_,
)
from pgcourse.checks.operators.values import REDUCE, SUMS, is_a

LARGEST = 20  # nodes of a part that is put elsewhere
PLAIN = dict.fromkeys(["smooth_l1_loss", "huber_loss"], "mse_loss")
PLAIN["clip_grad_value_"] = "clip_grad_norm_"
FLAGS = (ast.Compare, ast.BoolOp)
DIVISOR = {"ddof": 1, "correction": 0}  # what is passed to have N - 1 in numpy, N in torch


def size(node):
    return sum(1 for _ in ast.walk(node))


def moves(tree, scope, likely=None):
    """All edits of this file.

    scope  : as of `checks.operators`
    likely : whether a place is worth other parts of the text; by default every one is
    """
    nodes = [*expressions(tree)]
    yield from (
        *own_expressions(tree, nodes, likely),
        *hoisted(tree, nodes),
        *exchanged(tree, nodes, scope),
        *factors(tree, nodes, scope),
        *fused(tree, nodes, scope),
        *counted(tree, nodes, scope),
        *shapes(tree, nodes, scope),
        *drawn_in(tree, nodes),
        *by_locals(tree, nodes, scope),
        *begun(tree, nodes, scope),
        *same_of_another(tree, scope),
    )


def made(kind, tree, path, node, new):
    return Edit(kind, "", tree, path, node, new, node.lineno)


def here(new, node):
    """A new node that has the place of an old one: within a part that has its place already."""
    return ast.fix_missing_locations(ast.copy_location(new, node))


def own_expressions(tree, nodes, likely):
    """One of the text's own expressions in the place of another; what is true or false only where such a thing stood."""
    small = {}
    for _, n in nodes:
        if not isinstance(n, ast.Name | ast.Constant) and size(n) <= LARGEST:
            small.setdefault(ast.dump(n), n)
    for path, node in nodes:
        for other in small.values() if likely is None or likely(path) else ():
            if isinstance(other, FLAGS) and not isinstance(node, FLAGS):
                continue
            if other is not node and not isinstance(node, ast.Constant):
                yield made("one expression for another", tree, path, node, other)


def hoisted(tree, nodes):
    """What is left of an expression lies deeper in it than an operand: x of (x - x.mean()) / x.std()."""
    known, seen = dict(nodes), set()
    for inner, x in nodes:
        if isinstance(x, ast.Name | ast.Call | ast.Subscript):
            dumped = ast.dump(x)
            around = [path for n in range(len(inner) - 1, 0, -1) if (path := inner[:n]) in known]
            for path in around[1:]:
                if (path, dumped) not in seen:
                    seen.add((path, dumped))
                    yield made("a part is left", tree, path, known[path], x)


class Renamed(ast.NodeTransformer):
    """Names replaced by names, or by expressions; the nodes have no lines."""

    def __init__(self, names, expressions):
        self.names, self.expressions = names, expressions

    def visit(self, node):
        node.__dict__.pop("lineno", None)
        return super().visit(node)

    def visit_Name(self, node):
        if node.id in self.names:
            return ast.Name(self.names[node.id], node.ctx)
        found = self.expressions.get(node.id) if loads(node) else None
        return node if found is None else copy.deepcopy(found)  # no node stands in two places


def exchange(node, one, other):
    """A copy with two names, each in the place of the other."""
    return Renamed({one: other, other: one}, {}).visit(copy.deepcopy(node))


def names_in(node, scope):
    found = (n.id for n in ast.walk(node) if isinstance(n, ast.Name))
    return dict.fromkeys(name for name in found if name in scope.names)


def exchanged(tree, nodes, scope):
    """Two names exchanged in the smallest expression that has both: b * x + (1 - b) * y for b * y + (1 - b) * x."""
    for path, node in nodes:
        within = [names_in(child, scope) for child in ast.iter_child_nodes(node)]
        for one, other in itertools.combinations(names_in(node, scope), 2):
            if not any(one in part and other in part for part in within):
                new = exchange(node, one, other)
                yield made("two names exchanged", tree, path, node, new)


def guards(tree, path):
    """Whether a place lies in a statement that only refuses."""
    field, i = path[0]
    return field == "body" and isinstance(i, int) and is_guard(tree.body[i])


def factors(tree, nodes, scope):
    """A factor further in or further out: f(a * x) for a * f(x), and the other way round."""
    known = dict(nodes)
    for path, node in nodes:
        for factor, rest, op, side in split(node, scope):
            for inner, x in nodes:
                if inner[: len(path) + 1] != (*path, (side, None)) or x is rest:
                    continue
                if isinstance(x, ast.BinOp | ast.Call | ast.Subscript) or is_data(x, scope):
                    within = inner[len(path) + 1 :]
                    if within and within[0] != ("func", None) or len(within) > 1:
                        new = put(rest, within, here(ast.BinOp(x, op, factor), x))
                        yield made("a factor elsewhere", tree, path, node, new)
            for n in range(len(path) - 1, 0, -1):
                if (outer := path[:n]) in known:
                    new = ast.BinOp(put(known[outer], path[n:], rest), op, factor)
                    yield made("a factor elsewhere", tree, outer, known[outer], new)


def split(node, scope):
    """(factor, what it is multiplied with, operation, the other's side) of a product or quotient by a name."""
    if isinstance(node, ast.BinOp) and isinstance(node.op, ast.Mult | ast.Div):
        if is_data(node.right, scope):
            yield node.right, node.left, node.op, "left"
        if is_data(node.left, scope) and isinstance(node.op, ast.Mult):
            yield node.left, node.right, node.op, "right"


def drawn_in(tree, nodes):
    """a + b * (x - c) for a + b * x - c; f(x - c) for f(x) - c."""
    for path, node in nodes:
        x = operand(node.left) if is_a(SUMS, node) else None
        if x is not None:
            new = ast.BinOp(x, node.op, node.right)
            outer = node.left
            if outer.args and outer.args[0] is x:
                outer = with_(outer, args=[new, *outer.args[1:]])
            else:
                outer = with_(outer, func=with_(outer.func, value=new))
            yield made("a factor elsewhere", tree, path, node, outer)
        left = node.left if is_a(SUMS, node) else None
        if is_a(SUMS, left) and is_a(ast.Mult, left.right):
            factor, x = left.right.left, left.right.right
            inner = ast.BinOp(factor, ast.Mult(), ast.BinOp(x, node.op, node.right))
            yield made("a factor elsewhere", tree, path, node, ast.BinOp(left.left, left.op, inner))


def by_locals(tree, nodes, scope):
    """A name times or divided by a local one: a count that was worked out and not used here."""
    for path, node in nodes:
        for name in scope.names[len(scope.arguments) :] if is_data(node, scope) else ():
            for op in (ast.Mult(), ast.Div()) if name != node.id else ():
                new = ast.BinOp(node, op, ast.Name(name, ast.Load()))
                yield made("a factor too many", tree, path, node, new)


def begun(tree, nodes, scope):
    """x or -x for zeros_like(y): what something begins with."""
    for path, node in nodes:
        if called(node) in ("zeros_like", "zeros"):
            for name in scope.names:
                x = ast.Name(name, ast.Load())
                for new in (x, ast.UnaryOp(ast.USub(), x)):
                    yield made("one expression for another", tree, path, node, new)


def alike(one, other):
    """How much of two names is the same: from 0 to 1."""
    return difflib.SequenceMatcher(None, one, other, autojunk=False).ratio()


def same_of_another(tree, scope):
    """After `x.f()` the same for another argument, the one that is called most like x first."""
    for path, body in statement_lists(tree):
        for i, s in enumerate(body):
            x = operand(s.value) if isinstance(s, ast.Expr) else None
            if isinstance(x, ast.Name) and isinstance(s.value.func, ast.Attribute):
                for name in sorted(scope.arguments, key=lambda n, x=x: -alike(n, x.id)):
                    if name != x.id:
                        new = exchange(s, x.id, name)
                        where = (*path[:-1], (path[-1][0], slice(i + 1, i + 1)))
                        yield Edit("the same of another", "", tree, where, [], [new], s.lineno)


def fused(tree, nodes, scope):
    """log_softmax(x) for log(softmax(x)), x for exp(log(x)), exp(a - b) for exp(a) / exp(b);
    the plain loss for Huber's; x[m] for where(m, x, 0)."""
    for path, node in nodes:
        inner = operand(node)
        pair = (called(node), called(inner))
        if pair == ("log", "softmax"):
            yield made("two calls for one", tree, path, node, renamed(inner, "log_softmax"))
        elif pair == ("log", "sigmoid"):
            new = call("F.logsigmoid", operand(inner))
            yield made("two calls for one", tree, path, node, new)
        elif called(node) in PLAIN:
            plain = [k for k in node.keywords if k.arg not in ("beta", "delta")]
            new = with_(renamed(node, PLAIN[called(node)]), keywords=plain)
            yield made("two calls for one", tree, path, node, new)
        elif (kept := selected(node, scope)) is not None:
            yield made("two calls for one", tree, path, node, kept)
        elif pair in (("exp", "log"), ("log", "exp")):
            yield made("two calls for one", tree, path, node, operand(inner))
        if isinstance(node, ast.BinOp) and isinstance(node.op, ast.Div):
            if called(node.left) == called(node.right) == "exp":
                difference = ast.BinOp(operand(node.left), ast.Sub(), operand(node.right))
                yield made("two calls for one", tree, path, node, method(difference, "exp"))


def selected(node, scope):
    """x[m] of where(m, x, 0), of x.masked_fill(~m, 0) and of x * m; None of anything else."""
    x = mask = None
    if called(node) == "where" and len(node.args) == 3:
        zero = called(node.args[2]) == "zeros_like" or isinstance(node.args[2], ast.Constant)
        mask, x = node.args[:2] if zero else (None, None)
    elif called(node) == "masked_fill" and isinstance(node.args[0], ast.UnaryOp):
        x, mask = operand(node), node.args[0].operand
    elif isinstance(node, ast.BinOp) and isinstance(node.op, ast.Mult):
        x, mask = (node.left, node.right) if is_data(node.right, scope) else (None, None)
    return None if x is None else ast.Subscript(x, mask, ast.Load())


def operand(node):
    """What a call acts on; None of anything else."""
    return subject(node) if isinstance(node, ast.Call) else None


def arguments(node):
    """What is given to a call beside what it acts on."""
    return [x for x in (*node.args, *node.keywords) if x is not operand(node)]


def counted(tree, nodes, scope):
    """One more or less than a size; a name's root, its square or its transpose; a division by another length;
    N for N - 1 in a variance; a mean for a median; a sum over everything."""
    given = (s for s in ast.walk(tree) if isinstance(s, ast.Assign) and is_size(s.value))
    sizes = {x.id for s in given for x in s.targets if isinstance(x, ast.Name)}
    for path, node in nodes:
        if is_size(node):
            for op in (ast.Sub(), ast.Add()):
                yield made("a count", tree, path, node, ast.BinOp(node, op, ast.Constant(1)))
        if is_size(node) or is_data(node, scope):
            for power in (0.5, 2):
                new = ast.BinOp(node, ast.Pow(), ast.Constant(power))
                yield made("a count", tree, path, node, new)
        if isinstance(node, ast.BinOp) and isinstance(node.op, ast.Div):
            other = is_data(node.right, scope) and node.right.id not in sizes
            for name in scope.arguments if other else ():
                count = ast.Call(ast.Name("len", ast.Load()), [ast.Name(name, ast.Load())], [])
                yield made("a count", tree, path, node, with_(node, right=count))
        if isinstance(node, ast.Attribute) and called(node.value) == "median":
            yield made("a count", tree, path, node, renamed(node.value, "mean"))
        if is_data(node, scope):
            yield made("a count", tree, path, node, ast.Attribute(node, "T", ast.Load()))
        elif isinstance(node, ast.Attribute) and node.attr in ("T", "mT"):
            yield made("a count", tree, path, node, node.value)
        if called(node) in REDUCE and operand(node) is not None and arguments(node):
            bare = [x for x in node.args if x is operand(node)]
            yield made("a count", tree, path, node, with_(node, args=bare, keywords=[]))
        if called(node) in ("var", "std"):
            rest = [k for k in node.keywords if k.arg not in (*DIVISOR, "unbiased")]
            given = [] if len(rest) < len(node.keywords) else DIVISOR.items()
            for more in [[ast.keyword(k, ast.Constant(x))] for k, x in given] or [[]]:
                yield made("a count", tree, path, node, with_(node, keywords=[*rest, *more]))


def is_size(node):
    """x.shape[0], x.size(0), x.numel()."""
    if isinstance(node, ast.Subscript):
        return isinstance(node.value, ast.Attribute) and node.value.attr == "shape"
    return called(node) in ("size", "numel")


def shapes(tree, nodes, scope):
    """In what refuses bad input: shapes compared in place of sizes, and one more argument's."""
    for path, node in nodes:
        if not isinstance(node, ast.Compare) or not guards(tree, path):
            continue
        compared = [*map(measured, (node.left, *node.comparators))]
        if not all(compared):
            continue
        left, *rest = [ast.Attribute(x, "shape", ast.Load()) for x in compared]
        yield made("a shape", tree, path, node, with_(node, left=left, comparators=rest))
        for name in {*scope.arguments} - {x.id for x in compared}:
            other = ast.Attribute(ast.Name(name, ast.Load()), "shape", ast.Load())
            more = ast.Compare(left, [node.ops[0]], [other])
            join = ast.Or() if isinstance(node.ops[0], ast.NotEq) else ast.And()
            yield made("a shape", tree, path, node, ast.BoolOp(join, [node, more]))


def measured(node):
    """x, a name, of len(x), x.numel(), x.ndim, x.shape and x.shape[0]; or None."""
    if isinstance(node, ast.Subscript):
        node = node.value
    if isinstance(node, ast.Call):
        x = operand(node) if called(node) in ("len", "numel", "dim", "size", "tuple") else None
        node = x.value if isinstance(x, ast.Attribute) else x
    elif isinstance(node, ast.Attribute) and node.attr in ("shape", "ndim"):
        node = node.value
    else:
        return None
    return node if isinstance(node, ast.Name) else None
