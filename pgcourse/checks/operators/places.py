"""Operators on places: a neighbor's row, a slice, an axis, the way a loop goes."""

import ast

from pgcourse.checks.operators.trees import call, called, first, is_data, number, subject, with_
from pgcourse.checks.operators.values import REDUCE, operator


@operator("a selection left out")
def selection_left_out(node, scope):
    if isinstance(node, ast.Subscript):
        yield node.value, "It takes all of {new}."


@operator("a neighbor")
def neighbor(node, scope):
    """t + 1 for t, x[1:] for x[:-1], a last row for a first one."""
    if isinstance(node, ast.Subscript):
        many = isinstance(node.slice, ast.Tuple)
        for i, index in enumerate(node.slice.elts if many else [node.slice]):
            for new in shifted(index, scope):
                if many:
                    elts = [new if j == i else x for j, x in enumerate(node.slice.elts)]
                    new = with_(node.slice, elts=elts)
                yield with_(node, slice=new), "It reads another row or slice, in {new}."
    if called(node) == "range":
        for i, arg in enumerate(node.args):
            for op in (ast.Add(), ast.Sub()):
                args = [*node.args]
                args[i] = ast.BinOp(arg, op, ast.Constant(1))
                yield with_(node, args=args), "The bounds of a loop are off by one, in {new}."


def shifted(index, scope):
    one = ast.Constant(1)
    if isinstance(index, ast.Slice):
        low, high = index.lower, index.upper
        pairs = [(low, None), (None, high), (high, low)]
        if low is None or high is None:
            minus = ast.UnaryOp(ast.USub(), one)
            pairs += [(one, None), (None, minus), (one, minus)]
        for lower, upper in pairs:
            if ast.dump(ast.Slice(lower, upper)) != ast.dump(index) and index.step is None:
                yield ast.Slice(lower, upper)
    elif is_data(index, scope):
        yield ast.BinOp(index, ast.Add(), one)
        yield ast.BinOp(index, ast.Sub(), one)
    elif isinstance(index, ast.BinOp):
        yield index.left


@operator("reversed")
def in_reverse(node, scope):
    if called(node) in ("reversed", "flip") and first(node) is not None or called(node) == "flip":
        yield subject(node), "It goes forward, over {new}."
    elif called(node) == "range" or called(node) == "enumerate":
        yield call("reversed", call("list", node)), "It goes backward."


@operator("axis")
def axis(node, scope):
    """dim=1 for dim=0, an axis left out, a keepdim, a correction."""
    if not isinstance(node, ast.Call):
        return
    for i, k in enumerate(node.keywords):
        rest = node.keywords[:i] + node.keywords[i + 1 :]
        yield with_(node, keywords=rest), f"`{k.arg}` is left out, in {{new}}."
        if k.arg in ("dim", "axis"):
            for x in (0, 1, -1, 2):
                other = ast.keyword(k.arg, number(x))
                keywords = node.keywords[:i] + [other] + node.keywords[i + 1 :]
                yield with_(node, keywords=keywords), f"It goes along axis {x}."
    if called(node) in REDUCE and not any(k.arg in ("dim", "axis") for k in node.keywords):
        for x in (0, 1, -1):
            keywords = [*node.keywords, ast.keyword("dim", number(x))]
            yield with_(node, keywords=keywords), f"It goes along axis {x} only."
    elif called(node) in REDUCE and not any(k.arg == "keepdim" for k in node.keywords):
        keywords = [*node.keywords, ast.keyword("keepdim", ast.Constant(True))]
        yield with_(node, keywords=keywords), "It keeps the axis that it goes along."
    if called(node) in ("var", "std") and not node.keywords:
        keywords = [ast.keyword("correction", ast.Constant(0))]
        yield with_(node, keywords=keywords), "It divides by N, not by N - 1."
