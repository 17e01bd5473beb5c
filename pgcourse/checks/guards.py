"""The guard lines of a function: what stands given at the top of a learner's cell."""

import ast
import inspect
from functools import cache

import torch

from pgcourse.checks.drivers import TimeLimit, copy_plain, within
from pgcourse.checks.edits import plain_text

GUARDS = {"same_shape"}


def is_guard(statement):
    """A leading call of `same_shape`, or an `if` that does nothing but raise."""
    if isinstance(statement, ast.If):
        return not statement.orelse and all(isinstance(line, ast.Raise) for line in statement.body)
    call = statement.value if isinstance(statement, ast.Expr) else None
    return isinstance(call, ast.Call) and isinstance(call.func, ast.Name) and call.func.id in GUARDS


def count_guards(definition):
    """How many statements below the docstring are guards."""
    rest = iter(definition.body[1:])
    return next((i for i, line in enumerate(rest) if not is_guard(line)), len(definition.body) - 1)


@cache
def given_lines(fn):
    """A function that does no more than the guards of fn."""
    tree = ast.parse(plain_text(fn))
    definition = tree.body[0]
    definition.decorator_list = []
    definition.body = [*definition.body[1 : 1 + count_guards(definition)], ast.Pass()]
    space = dict(fn.__globals__)
    exec(compile(ast.fix_missing_locations(tree), "<guards>", "exec"), space)
    return space[definition.name]


def guards_refuse(fn, args):
    """Whether it is the guards of fn that raise ValueError for these arguments."""
    try:
        given_lines(inspect.unwrap(fn))(*args)
    except ValueError:
        return True
    except Exception:
        return False
    return False


def misshapen(args):
    """The arguments with one tensor of another shape, which may broadcast."""
    for name, x in args.items():
        if torch.is_tensor(x) and x.dim():
            for other in (x.unsqueeze(0), x.unsqueeze(-1), x[:1], x[1:], x[0]):
                yield {**args, name: other}


def refused(fn, args, seconds):
    """Whether it raises a ValueError for these arguments, and no other exception."""
    try:
        within(seconds, fn, *copy_plain(args).values())
    except ValueError:
        return True
    except (Exception, TimeLimit):
        return False
    return False
