"""Generic mistakes: one edit of a function's text, whatever the function computes.

An operator takes a node of the syntax tree and yields what a hurried person may have written there
instead: (new node, sentence about the text with the new node in it). Forward, on a reference, they
make the mistakes that nobody wrote down; backward, on a learner's function, they look for the edit
that mends it. `{old}` and `{new}` in a sentence say what the two fragments are about: the code itself would be
half of the answer, in names that the learner may not have.

    for edit in edits(function_tree(text)):
        edit.kind, edit.line, edit.before, edit.after, edit.says, edit.tree
"""

import ast
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property

from pgcourse.checks.operators import places  # noqa: F401  it registers its operators
from pgcourse.checks.operators.statements import STATEMENTS
from pgcourse.checks.operators.trees import (
    about,
    expressions,
    loads,
    placed,
    put,
    statement_lists,
    text,
)
from pgcourse.checks.operators.values import VALUES


@dataclass(frozen=True)
class Scope:
    """What an operator may put in.

    arguments : names of the signature
    names     : these and the locals
    """

    arguments: tuple
    names: tuple


@dataclass(frozen=True)
class Edit:
    """One edit of `root`; its tree shares the nodes that it does not change, so nobody may modify it.

    kind     : name of the operator
    template : the sentence about the edited text
    path     : from the root to the place: (field, index or slice or None), ...
    old, new : a node, or lists of statements
    """

    kind: str
    template: str
    root: ast.FunctionDef
    path: tuple
    old: ast.AST | list
    new: ast.AST | list
    line: int

    @cached_property
    def tree(self):
        return put(self.root, self.path, placed(self.new, self.line))

    @cached_property
    def before(self):
        return text(self.old)

    @cached_property
    def after(self):
        return text(self.new)

    @property
    def says(self):
        arguments = scope_of(self.root).arguments
        return self.template.format(
            old=about(self.before, arguments), new=about(self.after, arguments)
        )


def scope_of(tree):
    """The Scope that a function itself gives."""
    a = tree.args
    every = [*a.posonlyargs, *a.args, *a.kwonlyargs, *filter(None, (a.vararg, a.kwarg))]
    arguments = tuple(x.arg for x in every)
    stored = (n.id for n in ast.walk(tree) if isinstance(n, ast.Name) and not loads(n))
    return Scope(arguments, tuple(dict.fromkeys((*arguments, *stored))))


def edits(tree, context=None, kinds=None) -> Iterator[Edit]:
    """Every one-edit neighbor of a function, kind by kind; the same text may come twice.

    tree    : ast.FunctionDef; it is not modified
    context : Scope, by default the function's own
    kinds   : names of operators, by default all of them
    """
    scope = context or scope_of(tree)
    nodes, bodies = [*expressions(tree)], [*statement_lists(tree)]
    for kind, operator in VALUES.items():
        for path, node in nodes if kinds is None or kind in kinds else ():
            for new, says in operator(node, scope):
                yield Edit(kind, says, tree, path, node, new, node.lineno)
    for kind, operator in STATEMENTS.items():
        for path, body in bodies if kinds is None or kind in kinds else ():
            for i, j, new, says, line in operator(body, scope):
                where = (*path[:-1], (path[-1][0], slice(i, j)))
                yield Edit(kind, says, tree, where, body[i:j], new, line)
