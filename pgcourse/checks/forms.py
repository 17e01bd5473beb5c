"""Generic mistakes beside `checks.operators`: another form of an argument or of the result, other rounds of a loop.

An operator changes one place. Here an argument is changed wherever it is read (`ended` of the next row, half of
`clip`), the result is changed once more before it is returned, or a loop goes through other rounds. Only wrong
functions are explained with them: `checks.search` mends single places.
"""

import ast
import copy
import itertools

from pgcourse.checks.operators import Edit, scope_of
from pgcourse.checks.operators.trees import (
    expressions,
    is_data,
    is_docstring,
    load,
    loads,
    statement_lists,
    with_,
)

FORMS = {  # code of {x}: in words
    "1 - {x}": "1 minus {x}",
    "1 / {x}": "1 divided by {x}",
    "{x} / 2": "half of {x}",
    "2 * {x}": "twice {x}",
    "{x} ** 2": "the square of {x}",
    "-{x}": "minus {x}",
    "abs({x})": "the absolute value of {x}",
    "torch.as_tensor({x}).exp()": "the exponential of {x}",
    "torch.as_tensor({x}).log()": "the logarithm of {x}",
    "torch.as_tensor({x}).sqrt()": "the square root of {x}",
    "torch.as_tensor({x}).clamp(min=0)": "the positive part of {x}",
    "torch.as_tensor({x}).sign()": "the sign of {x}",
    "{x}.detach()": "a detached copy of {x}",
    "{x}.mean().expand_as({x})": "the mean of {x}",
    "{x}.mean(0, keepdim=True).expand_as({x})": "the mean of {x} along axis 0",
    "{x}.mean(-1, keepdim=True).expand_as({x})": "the mean of {x} along the last axis",
    "{x} - {x}.mean()": "{x} less its mean",
    "{x} - {x}.mean(0)": "{x} less its mean along axis 0",
    "({x} - {x}.mean()) / ({x}.std() + 1e-8)": "{x}, normalized,",
    "({x} - {x}.mean()) / ({x}.std(correction=0) + 1e-8)": "{x}, normalized,",
    "{x} / ({x}.sum() + 1e-8)": "{x} divided by its sum",
    "torch.cat([{x}[1:], {x}[-1:]])": "{x} of the next row",
    "torch.cat([{x}[1:], torch.zeros_like({x}[:1])])": "{x} of the next row (0 in the last)",
    "torch.cat([{x}[:1], {x}[:-1]])": "{x} of the row before",
    "torch.cat([torch.zeros_like({x}[:1]), {x}[:-1]])": "{x} of the row before (0 in the first)",
    "{x}.flip(0)": "{x} in reversed order",
    "{x}.cumsum(0)": "the running sum of {x}",
    "{x}.flip(0).cumsum(0).flip(0)": "the sum of {x} from there on",
    "{x}.softmax(-1)": "the softmax of {x}",
    "~{x}": "the inverse of {x}",
    "{x}.any().expand_as({x})": "True everywhere if {x} is anywhere",
    "torch.ones_like({x})": "ones, or True everywhere,",
}
TWO = {"{x} * {y}": "the product of {x} and {y}", "{x} / {y}": "{x} divided by {y}"}
TWO |= {"{x} - {y}": "{x} minus {y}", "{y}": "{y}"}
UNFILLED = {  # a loop that begins too late or ends too early, over a result that was made of zeros
    "torch.cat([{x}[:-1], torch.zeros_like({x}[-1:])])": "at the end of its first axis",
    "torch.cat([torch.zeros_like({x}[:1]), {x}[1:]])": "at the beginning of its first axis",
    "torch.cat([{x}[..., :-1], torch.zeros_like({x}[..., -1:])], -1)": "at the end of its last axis",
    "torch.cat([torch.zeros_like({x}[..., :1]), {x}[..., 1:]], -1)": "at the beginning of its last axis",
}
OF_THE_RESULT = [c for c in FORMS if not c.startswith(("~", "torch.ones_like", "{x}.any"))]


def forms(tree):
    """Every such edit of a function, the most telling kinds first; the tree is not modified."""
    scope, counters = scope_of(tree), counters_of(tree)
    yield from rounds(tree)
    yield from powers(tree, scope, counters)
    yield from other_arguments(tree, scope)
    yield from other_results(tree)
    yield from other_operations(tree)
    yield from local_factors(tree, scope, counters)


def counters_of(tree):
    loops = (n.target for n in ast.walk(tree) if isinstance(n, ast.For))
    return {n.id for target in loops for n in ast.walk(target) if isinstance(n, ast.Name)}


def node_of(code):
    return ast.parse(code, mode="eval").body


def after_the_guards(body):
    """Where the work begins: behind the docstring, calls for their own sake, and what only raises."""

    def guards(s):
        return is_docstring(s) or isinstance(s, ast.Expr) or raises(s)

    return next((i for i, s in enumerate(body) if not guards(s)), len(body))


def raises(s):
    return isinstance(s, ast.If) and all(isinstance(x, ast.Raise) for x in s.body)


def other_arguments(tree, scope):
    at = after_the_guards(tree.body)
    line = tree.body[min(at, len(tree.body) - 1)].lineno

    def edit(kind, code, words):
        made = ast.parse(code).body
        return Edit(kind, words, tree, (("body", slice(at, at)),), [], made, line)

    for x in scope.arguments:
        for code, words in FORMS.items():
            says = f"It computes with {words.format(x=f'`{x}`')} where `{x}` belongs."
            code = f"{x} = {x} if {x} is None else {code.format(x=x)}"
            yield edit("another form of an argument", code, says)
    for x, y in itertools.permutations(scope.arguments, 2):
        for code, words in TWO.items():
            words = words.format(x=f"`{x}`", y=f"`{y}`")
            says = f"It computes with {words} where `{x}` belongs."
            yield edit("another form of an argument", f"{x} = {code.format(x=x, y=y)}", says)
    for x, y in itertools.combinations(scope.arguments, 2):
        says = f"`{x}` and `{y}` are taken for each other."
        yield edit("arguments taken for each other", f"{x}, {y} = {y}, {x}", says)


class Returns(ast.NodeTransformer):
    """A form of what every `return` returns."""

    def __init__(self, code):
        self.code = code

    def visit_Return(self, node):
        if node.value is None:
            return node
        kept, form = ast.parse(f"result_ = None\nreturn_ = {self.code.format(x='result_')}").body
        kept.value = node.value
        return [ast.copy_location(kept, node), ast.copy_location(ast.Return(form.value), node)]


def other_results(tree):
    at = after_the_guards(tree.body)
    old = tree.body[at:]
    says = {
        code: f"It returns {FORMS[code].format(x='the right result').rstrip(',')}."
        for code in OF_THE_RESULT
    }
    says |= {
        code: f"The result is right but for a 0 {where}: does a loop end too early?"
        for code, where in UNFILLED.items()
    }
    for code in (*UNFILLED, *OF_THE_RESULT):
        new = [Returns(code).visit(copy.deepcopy(s)) for s in old]
        new = [s for part in new for s in (part if isinstance(part, list) else [part])]
        where = (("body", slice(at, None)),)
        yield Edit("another form of the result", says[code], tree, where, old, new, old[0].lineno)


def rounds(tree):
    """Loops without their first or last round, with one round only; what comes after a loop done in it."""
    for path, body in statement_lists(tree):
        for i, s in enumerate(body):
            if not isinstance(s, ast.For):
                continue

            def edit(says, new, count=1, i=i, path=path, body=body, line=s.lineno):
                where = (*path[:-1], (path[-1][0], slice(i, i + count)))
                return Edit("rounds of a loop", says, tree, where, body[i : i + count], new, line)

            listed = ast.Call(load("list"), [s.iter], [])
            for part, says in (
                ("[1:]", "The first round of a loop is left out."),
                ("[:-1]", "The last round of a loop is left out."),
                (
                    "[:1]",
                    "Only the first round of a loop counts: does it end, or return, too early?",
                ),
                ("[-1:]", "Only the last round of a loop counts."),
            ):
                chosen = with_(node_of(f"x{part}"), value=listed)
                yield edit(says, [with_(s, iter=chosen)])
            last = body[i + 1] if i + 1 < len(body) else None
            if isinstance(last, ast.Return) and isinstance(last.value, ast.BinOp):
                names = [n for n in ast.walk(last.value) if isinstance(n, ast.Name) and loads(n)]
                for name in dict.fromkeys(n.id for n in names):
                    again = ast.Assign([ast.Name(name, ast.Store())], last.value)
                    new = [with_(s, body=[*s.body, again]), with_(last, value=load(name))]
                    says = "What belongs after a loop is done in each of its rounds."
                    yield edit(says, new, 2)


def powers(tree, scope, counters):
    """gamma ** t, or gamma ** (t + 1), for gamma: a power that grows along a loop."""
    parts = (n.value for n in ast.walk(tree) if isinstance(n, ast.Subscript | ast.Attribute))
    numbers = {*scope.arguments} - {n.id for n in parts if isinstance(n, ast.Name)}
    for path, node in expressions(tree):
        if is_data(node, scope) and node.id in numbers:
            exponents = [node_of(f"{t}{more}") for t in sorted(counters) for more in ("", " + 1")]
            for t in exponents:
                new = ast.BinOp(node, ast.Pow(), t)
                says = f"It takes a power of `{node.id}` that changes from step to step."
                yield Edit("a power", says, tree, path, node, new, node.lineno)


OTHER = {
    ast.Sub: (ast.Div, ast.Mult),
    ast.Add: (ast.Div,),
    ast.Div: (ast.Sub,),
    ast.Mult: (ast.Sub,),
}
DOES = {ast.Div: "divides", ast.Mult: "multiplies", ast.Sub: "subtracts", ast.Add: "add"}
SHOULD = {ast.Div: "divide", ast.Mult: "multiply", ast.Sub: "subtract", ast.Add: "add"}


def other_operations(tree):
    for path, node in expressions(tree):
        for op in OTHER.get(type(node.op), ()) if isinstance(node, ast.BinOp) else ():
            says = f"It {DOES[op]} where it should {SHOULD[type(node.op)]}, in {{new}}."
            yield Edit(
                "another operation", says, tree, path, node, with_(node, op=op()), node.lineno
            )


def local_factors(tree, scope, counters):
    """A local as a factor where it has no business."""
    own = [name for name in scope.names if name not in scope.arguments and name not in counters]
    for path, node in expressions(tree):
        if is_data(node, scope):
            for name in own:
                new = ast.BinOp(node, ast.Mult(), load(name))
                yield Edit(
                    "a factor too many",
                    "A factor is one too many, on {old}.",
                    tree,
                    path,
                    node,
                    new,
                    node.lineno,
                )
