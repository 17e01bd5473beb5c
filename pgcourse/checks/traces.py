"""What the expressions of a function were worth in one run: which are right, and which name is which.

An expression whose value the reference computes too is innocent; the lowest that is not, of innocent
parts, is where a mistake most likely is. So a search knows where to begin (and proves what it finds).
"""

import ast
import inspect
import types

import numpy as np
import torch

from pgcourse.checks.edits import plain_text
from pgcourse.checks.operators.trees import called, expressions, function_tree, put

SEE = "__see__"
KEPT = 40  # values of one expression in a loop


def fingerprint(x):
    """Equal for equal numbers, up to rounding; None for other objects."""
    if isinstance(x, np.ndarray | np.generic) and x.dtype.kind in "biuf":
        x = torch.tensor(x)
    if torch.is_tensor(x):
        if x.numel() > 4096:
            return None
        flat = [rounded(v) for v in x.detach().flatten().tolist()]
        return flat[0] if x.dim() == 0 else ("tensor", tuple(x.shape), tuple(flat))
    if isinstance(x, int | float):
        return rounded(x)
    if isinstance(x, tuple | list) and len(x) <= 64:
        return tuple(map(fingerprint, x))
    return None


def rounded(x):
    if x != x:
        return "nan"  # nan is not even equal to itself, but says the same here
    return float(f"{x:.4g}") + 0.0 if isinstance(x, float) else x


def watched(tree, paths):
    """A copy of a tree in which the expressions at these paths tell their values: see(number, value)."""
    for k in sorted(range(len(paths)), key=lambda k: -len(paths[k])):
        node = at(tree, paths[k])
        wrapped = ast.Call(ast.Name(SEE, ast.Load()), [ast.Constant(k), node], [])
        tree = put(tree, paths[k], ast.copy_location(wrapped, node))
    return ast.fix_missing_locations(tree)


def at(node, path):
    for field, i in path:
        node = getattr(node, field)
        node = node if i is None else node[i]
    return node


def touches(one, other):
    """Whether one place lies within the other."""
    return one[: len(other)] == other or other[: len(one)] == one


class Values:
    """The values of watched expressions: {number: [fingerprint, ...]}."""

    def __init__(self):
        self.of = {}

    def see(self, k, x):
        mine = self.of.setdefault(k, [])
        if len(mine) < KEPT:
            mine.append(fingerprint(x))
        return x


def pool(values):
    """Everything that occurred: the values, their rows and their single elements."""
    found = set()
    for x in (v for each in values.of.values() for v in each):
        found.add(x)
        if isinstance(x, tuple) and x[:1] == ("tensor",) and len(x[2]) <= 256:
            _, shape, flat = x
            found.update(flat)
            width = shape[-1] if len(shape) == 2 else 0
            rows = range(0, len(flat), width) if width else ()
            found.update(("tensor", (width,), flat[i : i + width]) for i in rows)
    return found


def names_of(tree, paths, values):
    """{name: set of its values} of the names that a function reads."""
    found = {}
    for k, path in enumerate(paths):
        node = at(tree, path)
        if isinstance(node, ast.Name):
            found.setdefault(node.id, set()).update(values.of.get(k, ()))
    return found


def same_names(theirs, mine, taken):
    """{name of theirs: name of mine} of those whose values overlap most, one to one.

    theirs, mine : as from names_of;  taken : pairs that are known
    """
    pairs, scored = dict(taken), []
    for a, values in theirs.items():
        for b, others in mine.items():
            common = len(values & others) / max(1, len(values | others)) if told(values) else 0
            scored.append((common + 0.1 * (a == b), a, b))
    for common, a, b in sorted(scored, reverse=True):
        if common >= 0.4 and a not in pairs and b not in pairs.values():
            pairs[a] = b
    for a in theirs:  # a name of its own, and nothing against it
        if a in mine and a not in pairs and a not in pairs.values():
            pairs[a] = a
    return pairs


def worth(theirs, named, tree, paths, values):
    """{name of theirs that is not named: the innermost expression of the tree that had its values}"""
    found = {}
    for k, path in sorted(enumerate(paths), key=lambda pair: len(pair[1])):
        seen = frozenset(values.of.get(k, ()))
        if told(seen) and not isinstance(at(tree, path), ast.Name):
            found[seen] = at(tree, path)
    every = [frozenset(x) for x in theirs.values()]  # what two names were worth says nothing of one
    asked = {a: frozenset(x) for a, x in theirs.items() if a not in named}
    return {a: found[x] for a, x in asked.items() if x in found and every.count(x) == 1}


def told(values):
    """Whether the values say something: not only counts, flags, zeros and ones."""
    return any(tells(v) for v in values)


def tells(x):
    if isinstance(x, tuple):
        return any(map(tells, x[-1] if x[:1] == ("tensor",) else x))
    return isinstance(x, float) and x not in (0.0, 1.0, -1.0)


UNWATCHED = (ast.Starred, ast.Slice, ast.Constant, ast.FormattedValue, ast.JoinedStr)


def all_paths(tree):
    """Paths of the expressions of a function that can be watched."""
    found = []
    for path, node in expressions(tree):
        index = path[-1][0] == "slice" and isinstance(node, ast.Tuple)
        if not isinstance(node, UNWATCHED) and not index and ("values", None) not in path:
            found.append(path)
    return found


def given_as(tree, keys):
    """Paths of what a text gives by these keys: {"key": x}, dict(key=x), table["key"] = x."""
    named = {}
    for s in ast.walk(tree):
        if isinstance(s, ast.Assign) and isinstance(s.targets[0], ast.Subscript):
            key = s.targets[0].slice
            named[id(s.value)] = key.value if isinstance(key, ast.Constant) else None
        elif isinstance(s, ast.Dict):
            pairs = zip(s.keys, s.values, strict=True)
            named |= {id(x): key.value for key, x in pairs if isinstance(key, ast.Constant)}
        elif isinstance(s, ast.Call) and called(s) == "dict":
            named |= {id(k.value): k.arg for k in s.keywords}
    return {path for path, node in expressions(tree) if named.get(id(node)) in keys}


def watched_helpers(tree, space):
    """Put watched copies of the course's functions that a right one calls into its names; their Values."""
    found = []
    for name in {n.id for n in ast.walk(tree) if isinstance(n, ast.Name)} & space.keys():
        helper, own = course_function(space[name])
        if own is not None:
            values = Values()
            inner = {**helper.__globals__, SEE: values.see}
            own = watched(own, all_paths(own))
            exec(compile(ast.Module([own], []), "<watched>", "exec"), inner)
            space[name] = inner[helper.__name__]
            found.append(values)
    return found


def helper_of(fn):
    """function name -> the tree of the course's function that fn calls by it, or None."""
    space = inspect.unwrap(fn).__globals__
    return lambda name: course_function(space.get(name))[1]


def course_function(x):
    """(x without its wrappers, its tree); the tree is None of anything but a function of the course."""
    x = inspect.unwrap(x) if callable(x) else None
    own = isinstance(x, types.FunctionType) and x.__module__.startswith("pgcourse.")
    return x, tree_of(x) if own else None


def tree_of(fn):
    try:
        tree = function_tree(plain_text(fn))
    except (OSError, TypeError, SyntaxError, ValueError):
        return None
    tree.decorator_list = []
    return tree
