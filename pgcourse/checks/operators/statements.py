"""Operators on statements: a body in, what part of it may be replaced by what out."""

import ast

from pgcourse.checks.operators.trees import (
    is_docstring,
    with_,
)

STATEMENTS = {}  # {kind: operator}, in the order in which they are tried


def statement_operator(kind):
    """Register an operator on a body: (body, scope) -> (from, to, new statements, sentence, line), ..."""

    def register(fn):
        STATEMENTS[kind] = fn
        return fn

    return register


@statement_operator("a statement left out")
def statement_left_out(body, scope):
    for i, s in enumerate(body):
        if not isinstance(s, ast.Return) and not is_docstring(s):
            rest = [] if len(body) > 1 else [ast.Pass()]
            yield i, i + 1, rest, "A statement is missing: {old}.", s.lineno


@statement_operator("statements in another order")
def other_order(body, scope):
    for i in range(len(body)):
        for j in range(i + 2, len(body) + 1):
            if not is_docstring(body[i]):
                says = "Two steps come in the wrong order, in {new}."
                yield i, j, [*body[i + 1 : j], body[i]], says, body[i].lineno
                if j > i + 2:
                    yield i, j, [body[j - 1], *body[i : j - 1]], says, body[j - 1].lineno


@statement_operator("inside and outside a block")
def in_and_out(body, scope):
    for i, s in enumerate(body):
        if not isinstance(s, ast.For | ast.While | ast.If | ast.With):
            continue
        *most, last = s.body
        if most:
            says = "The last step of a block stands after it."
            yield i, i + 1, [with_(s, body=most), last], says, last.lineno
            says = "The first step of a block stands before it."
            yield i, i + 1, [s.body[0], with_(s, body=s.body[1:])], says, s.body[0].lineno
        if i + 1 < len(body):
            says = "A step that comes after a block stands in it."
            yield i, i + 2, [with_(s, body=[*s.body, body[i + 1]])], says, body[i + 1].lineno
        if i and not is_docstring(body[i - 1]):
            says = "A step that comes before a block stands in it."
            yield i - 1, i + 1, [with_(s, body=[body[i - 1], *s.body])], says, body[i - 1].lineno
        if isinstance(s, ast.If | ast.With):
            yield i, i + 1, s.body, "A condition or context is missing.", s.lineno


@statement_operator("assigned or added")
def assigned_or_added(body, scope):
    for i, s in enumerate(body):
        if isinstance(s, ast.AugAssign):
            others = [type(o) for o in (ast.Add(), ast.Sub()) if not isinstance(s.op, type(o))]
            new = [with_(s, op=o()) for o in others]
            new += [ast.Assign([s.target], s.value)]
        elif isinstance(s, ast.Assign) and not isinstance(s.targets[0], ast.Tuple):
            new = [ast.AugAssign(s.targets[0], o(), s.value) for o in (ast.Add, ast.Sub)]
        else:
            continue
        for x in new:
            yield (
                i,
                i + 1,
                [x],
                "Something is assigned, added or subtracted in another way, in {new}.",
                s.lineno,
            )
