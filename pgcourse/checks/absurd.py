"""Edits that no person would make, even where every case comes out right."""

import ast

from pgcourse.checks.grafts import inlined, read_locals
from pgcourse.checks.moves import arguments, size
from pgcourse.checks.operators.trees import called, subject
from pgcourse.checks.traces import at

UNDO = {("exp", "log"), ("log", "exp"), ("square", "sqrt"), ("sqrt", "square")}
LEAST_LEFT = 4  # a part that makes one local idle is at most this share of the text


def absurd(edit):
    return any(
        test(edit)
        for test in (of_another_object, same_twice, summed_twice, undone, never, constant_for_all)
    )


def replaces(tree, edit):
    """Whether it makes idle what the text works out: it would not mend the text but replace it."""
    lost = read_locals(tree) - read_locals(edit.tree)
    within = not isinstance(at(edit.root, edit.path[:-1]), ast.stmt)
    part = within and not isinstance(edit.old, ast.Name)
    little = part and size(edit.old) <= size(tree) / LEAST_LEFT
    return bool(lost) and not (little and len(lost) == 1 and lost <= inlined(tree).keys())


def of_another_object(edit):
    """Whether it reads what a computed object has not: (-x).grad is None for any x, as is x.detach().grad; or -x's shape."""
    reader = at(edit.root, edit.path[:-1])
    if not isinstance(reader, ast.Attribute) or edit.path[-2] == ("func", None):
        return False
    of_a_leaf = reader.attr in ("grad", "data")
    return edit.kind == "sign" or of_a_leaf and not isinstance(edit.new, ast.Name)


def same_twice(edit):
    """Whether it makes the smaller (or larger) of one thing."""
    around = at(edit.root, edit.path[:-1])
    if called(around) not in ("min", "max", "minimum", "maximum") or edit.path[-1][0] != "args":
        return False
    others = [x for i, x in enumerate(around.args) if i != edit.path[-1][1]]
    return ast.dump(edit.new) in map(ast.dump, others)


def summed_twice(edit):
    """Whether it takes the sum or mean of one number: torch.sum(x.mean())."""
    method = edit.path[-2:] == (("func", None), ("value", None))
    around = at(edit.root, edit.path[: -2 if method else -1])
    sums = ("sum", "mean")
    return called(around) in sums and called(edit.new) in sums and not arguments(edit.new)


def undone(edit):
    """Whether it calls the inverse of what it acts on: x.exp().log()."""
    inner = subject(edit.new) if isinstance(edit.new, ast.Call) else None
    return inner is not None and (called(inner), called(edit.new)) in UNDO


def constant_for_all(edit):
    """Whether a number takes the place of what is worked out: sqrt(1), x / -1, x ** 1, max(-2, x)."""
    around, value = at(edit.root, edit.path[:-1]), number_of(edit.new)
    if value is None:
        return False
    if isinstance(around, ast.BinOp):
        return abs(value) == 1 and isinstance(around.op, ast.Mult | ast.Div | ast.Pow)
    if called(around) in ("min", "max"):
        return value < 0
    alone = isinstance(around, ast.Call) and [edit.old] == around.args and not around.keywords
    return alone and number_of(edit.old) is None


def number_of(node):
    """The number that is written there; None of anything else."""
    minus = isinstance(node, ast.UnaryOp) and isinstance(node.op, ast.USub)
    x = node.operand if minus else node
    if not isinstance(x, ast.Constant) or type(x.value) not in (int, float):
        return None
    return -x.value if minus else x.value


def never(edit):
    """Whether it makes a comparison one that never holds: -tau == 1, tau == -1."""
    around = at(edit.root, edit.path[:-1])
    if not isinstance(around, ast.Compare):
        return False
    minus = (number_of(edit.new) or 0) < 0 <= (number_of(edit.old) or 0)
    return edit.kind == "sign" or minus and isinstance(around.ops[0], ast.Eq)
