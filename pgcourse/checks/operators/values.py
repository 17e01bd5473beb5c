"""Operators on expressions: a node in, what may stand there instead out."""

import ast

from pgcourse.checks.operators.trees import (
    called,
    is_data,
    load,
    method,
    renamed,
    subject,
    with_,
)

REDUCE = {"mean", "sum", "std", "var", "any", "all", "logsumexp", "amax", "amin", "softmax"}
VALUES = {}  # {kind: operator}, in the order in which they are tried


def operator(kind):
    """Register an operator on expressions: (node, scope) -> (new node, sentence), ..."""

    def register(fn):
        VALUES[kind] = fn
        return fn

    return register


# --- gradients ---


@operator("detach dropped")
def detach_dropped(node, scope):
    if called(node) in ("detach", "item", "clone", "stop_gradient") and subject(node) is not None:
        says = {"detach": "A gradient flows through {new}.", "clone": "It does not copy {new}."}
        yield subject(node), says.get(called(node), "The graph is not cut at {new}.")


@operator("detach added")
def detach_added(node, scope):
    if is_data(node, scope) or isinstance(node, ast.BinOp | ast.Call):
        yield method(node, "detach"), "No gradient flows through {old}: it is detached."


@operator("copied")
def copied(node, scope):
    if is_data(node, scope) or isinstance(node, ast.Attribute | ast.Subscript):
        yield method(node, "clone"), "It works on a copy of {old}."


# --- one name for another ---

PAIRS = [  # two names that are taken for each other, and what the text does that has the other one
    ("minimum", "maximum", "It takes the smaller of two.", "It takes the larger of two."),
    ("min", "max", "It takes the smallest.", "It takes the largest."),
    ("amin", "amax", "It takes the smallest.", "It takes the largest."),
    ("argmin", "argmax", "It looks for the smallest.", "It looks for the largest."),
    ("mean", "sum", "It takes a mean.", "It takes a sum."),
    ("var", "std", "It takes the variance.", "It takes the standard deviation."),
    ("exp", "log", "It takes the exponential.", "It takes the logarithm."),
    ("exp", "expm1", "It takes exp(x).", "It takes exp(x) - 1."),
    ("log", "log1p", "It takes log(x).", "It takes log(1 + x)."),
    ("log", "log2", "It takes the logarithm to base e.", "It takes the logarithm to base 2."),
    ("softmax", "log_softmax", "It takes probabilities.", "It takes log-probabilities."),
    ("sigmoid", "logsigmoid", "It takes sigmoid(x).", "It takes log sigmoid(x)."),
    ("softplus", "logsigmoid", "It takes softplus(x).", "It takes log sigmoid(x)."),
    ("square", "abs", "It takes a square.", "It takes an absolute value."),
    ("floor", "ceil", "It rounds down.", "It rounds up."),
    ("any", "all", "One True is enough for it.", "It asks for all to be True."),
    ("zeros", "ones", "It begins with zeros.", "It begins with ones."),
    ("zeros_like", "ones_like", "It begins with zeros.", "It begins with ones."),
    ("sum", "prod", "It adds up.", "It multiplies."),
    ("cumsum", "cumprod", "It adds up.", "It multiplies."),
    ("ceil", "round", "It rounds up.", "It rounds to the nearest."),
    ("parameters", "buffers", "It goes through parameters.", "It goes through buffers."),
    ("logsumexp", "sum", "It takes log-sum-exp.", "It takes a sum."),
    ("round", "floor", "It rounds to the nearest.", "It rounds down."),
    ("std", "norm", "It takes the standard deviation.", "It takes the norm."),
    ("clone", "detach", "It copies.", "It detaches."),
    ("zero_grad", "step", "It clears gradients.", "It takes a step."),
]
TAKEN_FOR = {}
for _a, _b, _says_a, _says_b in PAIRS:
    TAKEN_FOR.setdefault(_a, []).append((_b, _says_b))
    TAKEN_FOR.setdefault(_b, []).append((_a, _says_a))


@operator("one function for another")
def function_for_another(node, scope):
    for name, says in TAKEN_FOR.get(called(node), ()):
        yield renamed(node, name), says[:-1] + ", in {new}."


@operator("one name for another")
def name_for_another(node, scope):
    if is_data(node, scope):
        for name in scope.names:
            if name != node.id:
                yield load(name), "Where another quantity belongs, there is {new}."
    if isinstance(node, ast.Attribute) and is_data(node.value, scope):
        others = (a for a in ("terminated", "ended", "gamma", "lam") if a != node.attr)
        yield from ((with_(node, attr=a), f"`{a}` is read in place of another.") for a in others)


# --- arithmetic ---

OTHER = {
    ast.Add: [ast.Sub, ast.Mult],
    ast.Sub: [ast.Add],
    ast.Mult: [ast.Div, ast.Add],
    ast.Div: [ast.Mult],
}
OTHER |= {ast.BitAnd: [ast.BitOr], ast.BitOr: [ast.BitAnd], ast.MatMult: [ast.Mult]}
DOES = {
    ast.Add: "adds", ast.Sub: "subtracts", ast.Mult: "multiplies", ast.Div: "divides",
    ast.BitAnd: "takes a logical and", ast.BitOr: "takes a logical or",
}  # fmt: skip
SAYS_SIGN = "A sign is wrong in {new}."


@operator("sign")
def sign(node, scope):
    if isinstance(node, ast.UnaryOp) and isinstance(node.op, ast.USub):
        yield node.operand, "The minus in front of {new} is missing."
    elif is_data(node, scope) or isinstance(node, ast.BinOp | ast.Call | ast.Subscript):
        yield ast.UnaryOp(ast.USub(), node), "There is a minus too many in front of {old}."


@operator("another operation")
def operation(node, scope):
    if isinstance(node, ast.BinOp):
        for other in OTHER.get(type(node.op), ()):
            signs = {type(node.op), other} == {ast.Add, ast.Sub}
            yield with_(node, op=other()), SAYS_SIGN if signs else f"It {DOES[other]} in {{new}}."


@operator("a term or factor left out")
def term_left_out(node, scope):
    if isinstance(node, ast.BinOp):
        yield node.left, "Only {new} is left of a sum, product or power."
        if not isinstance(node.op, ast.Pow):
            yield node.right, "Only {new} is left of a sum or product."


@operator("a factor twice")
def factor_twice(node, scope):
    if isinstance(node, ast.BinOp) and isinstance(node.op, ast.Mult):
        for side in (node.left, node.right):
            if is_data(side, scope):
                name = f"The factor `{side.id}`" if side.id in scope.arguments else "A factor"
                yield ast.BinOp(node, ast.Mult(), side), f"{name} comes twice, in {{new}}."
    elif isinstance(node, ast.BinOp) and isinstance(node.op, ast.Div):
        yield ast.BinOp(node, ast.Div(), node.right), "It divides twice, in {new}."


@operator("a factor too many")
def factor_too_many(node, scope):
    if isinstance(node, ast.BinOp | ast.Call) or is_data(node, scope):
        for name in scope.arguments:
            yield ast.BinOp(node, ast.Mult(), load(name)), f"The factor `{name}` is one too many."


SUMS, PRODUCTS = (ast.Add, ast.Sub), (ast.Mult, ast.Div)


def is_a(ops, node):
    return isinstance(node, ast.BinOp) and isinstance(node.op, ops)


@operator("not divided by a count")
def divided_by_a_count(node, scope):
    """x / len(y) for x: the division that makes a mean of a sum, once too often."""
    if isinstance(node, ast.BinOp | ast.Call) or is_data(node, scope):
        for name in scope.arguments:
            count = ast.Call(load("len"), [load(name)], [])
            yield ast.BinOp(node, ast.Div(), count), f"It divides by the length of `{name}`."


@operator("a bracket too few")
def bracket_dropped(node, scope):
    """a * b + c for a * (b + c): a factor that does not act on all terms."""
    says = "A factor does not act on all terms of a sum, in {new}."
    if is_a(PRODUCTS, node) and is_a(SUMS, inner := node.left):
        yield with_(inner, right=with_(node, left=inner.right)), says
        yield with_(inner, left=with_(node, left=inner.left)), says
    if is_a(PRODUCTS, node) and is_a(SUMS, inner := node.right):
        yield with_(inner, left=with_(node, right=inner.left)), says
        if is_a(ast.Mult, node):
            yield with_(inner, right=with_(node, right=inner.right)), says


@operator("a bracket too many")
def bracket_added(node, scope):
    """a * (b + c) for a * b + c: a factor that acts on the whole sum."""
    says = "A factor acts on the whole sum, in {new}."
    for side in ("left", "right") if is_a(SUMS, node) else ():
        if is_a(PRODUCTS, inner := getattr(node, side)):
            yield with_(inner, left=with_(node, **{side: inner.left})), says
            if is_a(ast.Mult, inner):
                yield with_(inner, right=with_(node, **{side: inner.right})), says


@operator("operands swapped")
def operands_swapped(node, scope):
    if isinstance(node, ast.BinOp) and isinstance(
        node.op, ast.Sub | ast.Div | ast.Pow | ast.MatMult
    ):
        yield (
            with_(node, left=node.right, right=node.left),
            "The two sides of an operation are swapped, in {new}.",
        )


@operator("a constant")
def constant(node, scope):
    if isinstance(node, ast.Constant) and type(node.value) in (int, float, bool):
        x = node.value
        others = [not x] if type(x) is bool else [x + 1, x - 1, -x, 0, 1, 2, x / 2, 2 * x, 10 * x]
        others = [type(x)(o) for o in others]
        for other in dict.fromkeys(o for o in others if o != x):
            yield ast.Constant(other), f"A constant is {other}."


@operator("one more or less")
def one_more_or_less(node, scope):
    """n - 1 for n, in a sum, a product or a comparison."""
    if is_data(node, scope) or called(node) == "len":
        for op in (ast.Sub(), ast.Add()):
            yield ast.BinOp(node, op, ast.Constant(1)), "It is off by one at {old}."


@operator("a constant for an argument")
def constant_for_name(node, scope):
    if is_data(node, scope):
        for x in (0, 1):
            yield ast.Constant(x), f"A {x} stands where a quantity belongs."


# --- comparisons, masks, choices ---

COMPARED = {ast.Lt: [ast.LtE, ast.Gt], ast.LtE: [ast.Lt, ast.GtE], ast.Gt: [ast.GtE, ast.Lt]}
COMPARED |= {ast.GtE: [ast.Gt, ast.LtE], ast.Eq: [ast.NotEq], ast.NotEq: [ast.Eq]}
COMPARED |= {ast.Is: [ast.IsNot], ast.IsNot: [ast.Is]}


@operator("a comparison")
def comparison(node, scope):
    if isinstance(node, ast.Compare) and len(node.ops) == 1:
        for other in COMPARED.get(type(node.ops[0]), ()):
            yield with_(node, ops=[other()]), "It compares in another way, in {new}."


@operator("inverted")
def inverted(node, scope):
    if isinstance(node, ast.UnaryOp) and isinstance(node.op, ast.Invert | ast.Not):
        yield node.operand, "It does not invert {new}."
    elif is_data(node, scope):
        yield ast.UnaryOp(ast.Invert(), node), "It inverts {old}."
    if called(node) == "where" and len(node.args) == 3:
        c, a, b = node.args
        yield with_(node, args=[c, b, a]), "The two branches of `where` are swapped."
    if isinstance(node, ast.IfExp):
        yield with_(node, body=node.orelse, orelse=node.body), "The two branches are swapped."


@operator("a choice left out")
def choice_left_out(node, scope):
    if called(node) == "where" and len(node.args) == 3:
        yield node.args[1], "It takes {new} always."
        yield node.args[2], "It takes {new} always."
    if isinstance(node, ast.IfExp):
        yield node.body, "It takes {new} always."
        yield node.orelse, "It takes {new} always."
    if isinstance(node, ast.BoolOp) and len(node.values) == 2:
        yield from ((side, "It asks for {new} alone.") for side in node.values)


# --- calls ---


@operator("a call left out")
def call_left_out(node, scope):
    if (
        isinstance(node, ast.Call)
        and called(node) not in ("detach", "range")
        and subject(node) is not None
    ):
        yield subject(node), f"`{called(node)}` is not applied to {{new}}."


@operator("a call too many")
def call_too_many(node, scope):
    if isinstance(node, ast.BinOp | ast.Call | ast.UnaryOp) or is_data(node, scope):
        for name in ("exp", "log", "abs", "square", "sqrt", "mean", "sum"):
            yield method(node, name), f"`{name}` is one too many, on {{old}}."


@operator("two operations in another order")
def another_order(node, scope):
    """A square of a mean for a mean of squares; a mean of each for a mean of the product."""
    if (outer := acts_on(node)) and (inner := acts_on(outer[0])):
        x, wrap = inner
        yield wrap(outer[1](x)), "Two operations come in the wrong order, in {new}."
    pair = (node.left, node.right) if isinstance(node, ast.BinOp) else ()
    pair = tuple(node.args) if called(node) in ("minimum", "maximum", "min", "max") else pair
    alike = len(pair) == 2 and called(pair[0]) == called(pair[1]) and called(pair[0]) in REDUCE
    if alike and all(map(acts_on, pair)):
        (a, wrap), (b, _) = map(acts_on, pair)
        both = (
            with_(node, args=[a, b]) if isinstance(node, ast.Call) else with_(node, left=a, right=b)
        )
        yield wrap(both), f"It takes the {called(pair[0])} of two together, in {{new}}."
    x, wrap = (called(node) in REDUCE and acts_on(node)) or (None, None)
    if isinstance(x, ast.BinOp):
        yield with_(x, left=wrap(x.left), right=wrap(x.right)), "It combines two reduced numbers."
    elif x is not None and called(x) in ("minimum", "maximum", "min", "max"):
        yield with_(x, args=[wrap(a) for a in x.args]), "It combines two reduced numbers, in {new}."


def acts_on(node):
    """(x, wrap) of an operation on one operand: wrap(y) is the same operation on y; None for others."""
    if isinstance(node, ast.UnaryOp):
        return node.operand, lambda y: with_(node, operand=y)
    if isinstance(node, ast.BinOp) and isinstance(node.op, ast.Pow):
        return node.left, lambda y: with_(node, left=y)
    x = subject(node) if isinstance(node, ast.Call) else None
    if x is None:
        return None
    if node.args and x is node.args[0]:
        return x, lambda y: with_(node, args=[y, *node.args[1:]])
    return x, lambda y: with_(node, func=with_(node.func, value=y))


@operator("arguments")
def arguments(node, scope):
    """Two arguments of a call swapped, or one left out."""
    if isinstance(node, ast.Call):
        for i in range(len(node.args) - 1):
            args = [*node.args]
            args[i], args[i + 1] = args[i + 1], args[i]
            yield with_(node, args=args), "Two arguments of a call are swapped, in {new}."
        if node.args and subject(node) is not node.args[0] or len(node.args) > 1:
            yield (
                with_(node, args=node.args[:-1]),
                "The last argument of a call is missing, in {new}.",
            )


@operator("bounds")
def bounds(node, scope):
    if called(node) in ("clamp", "clip") and len(node.args) == 2:
        low, high = node.args
        for name, value in (("min", low), ("max", high)):
            new = with_(node, args=[], keywords=[ast.keyword(name, value)])
            yield new, f"It is bounded on one side only (`{name}`)."
