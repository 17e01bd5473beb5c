"""Syntax trees of functions: where things are, copies with one thing changed, nodes made and read."""

import ast
import copy
import re


def function_tree(source):
    """The tree of the first function in a text. raises: SyntaxError, ValueError if there is none"""
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.FunctionDef):
            return node
    raise ValueError("expected a function; there is no def in the text.")


def loads(node):
    return isinstance(getattr(node, "ctx", None), ast.Load)


def expressions(tree):
    """(path, node) of every expression that a value comes from, the outer ones first; no docstrings."""
    todo = [((("body", i),), node) for i, node in enumerate(tree.body)]
    if ast.get_docstring(tree) is not None:
        todo = todo[1:]
    while todo:
        path, node = todo.pop(0)
        if isinstance(node, ast.expr) and not isinstance(
            getattr(node, "ctx", None), ast.Store | ast.Del
        ):
            yield path, node
        for field, value in ast.iter_fields(node):
            if isinstance(node, ast.Call) and field == "func":
                if isinstance(value, ast.Attribute):  # x of x.detach()
                    todo.append(((*path, (field, None), ("value", None)), value.value))
            elif isinstance(value, list):
                inner = [(i, x) for i, x in enumerate(value) if isinstance(x, ast.AST)]
                todo += [((*path, (field, i)), x) for i, x in inner]
            elif isinstance(value, ast.AST) and not isinstance(value, ast.arguments):
                todo.append(((*path, (field, None)), value))


def statement_lists(tree):
    """(path, list) of every body; a path's last step is the field alone."""
    todo = [((), tree)]
    while todo:
        path, node = todo.pop(0)
        for field in ("body", "orelse", "finalbody"):
            body = getattr(node, field, None)
            if isinstance(body, list) and body:
                yield (*path, (field, None)), body
                todo += [((*path, (field, i)), x) for i, x in enumerate(body)]


def put(node, path, new):
    """A copy of a tree with `new` at the path."""
    (field, i), *rest = path
    made = copy.copy(node)
    value = getattr(made, field)
    if i is None:
        setattr(made, field, put(value, rest, new) if rest else new)
        return made
    values = list(value)
    values[i] = put(values[i], rest, new) if rest else new
    setattr(made, field, values)
    return made


def placed(new, line):
    """The new nodes, with the line of the place where they stand; nodes of the old tree have one."""
    for node in new if isinstance(new, list) else [new]:
        if not hasattr(node, "lineno") and "lineno" in node._attributes:
            node.lineno = node.end_lineno = line
            node.col_offset = node.end_col_offset = 0
        for child in ast.iter_child_nodes(node):
            if not hasattr(child, "lineno"):
                placed(child, line)
    return new


def text(node):
    lines = map(ast.unparse, node if isinstance(node, list) else [node])
    return "\n".join(lines)


def about(fragment, arguments):
    """A piece of a function in words: an argument or number itself, else the arguments that are in it."""
    if fragment in arguments or re.fullmatch(r"-?[\d.]+|True|False|None", fragment):
        return f"`{fragment}`"
    names = [*dict.fromkeys(n for n in re.findall(r"[a-zA-Z_]\w*", fragment) if n in arguments)]
    if not names:
        return "an intermediate result"
    *most, last = [f"`{n}`" for n in names]
    return f"the part with {', '.join(most)} and {last}" if most else f"the part with {last}"


def load(name):
    return ast.Name(name, ast.Load())


def with_(node, **changes):
    """A copy of a node with other fields, and no line yet (see placed)."""
    made = copy.copy(node)
    made.__dict__.pop("lineno", None)
    for field, value in changes.items():
        setattr(made, field, value)
    return made


def call(f, *args, **keywords):
    """f(*args) as a node; f is a name with dots."""
    given = [ast.keyword(k, ast.Constant(v)) for k, v in keywords.items()]
    return ast.Call(ast.parse(f, mode="eval").body, list(args), given)


def method(x, name, *args):
    return ast.Call(ast.Attribute(x, name, ast.Load()), list(args), [])


def called(node):
    """The last name of what a call calls: "mean" of x.mean() and of torch.mean(x)."""
    f = node.func if isinstance(node, ast.Call) else None
    return f.attr if isinstance(f, ast.Attribute) else f.id if isinstance(f, ast.Name) else ""


def is_module(node):
    """torch, F, torch.nn.functional and the like."""
    while isinstance(node, ast.Attribute):
        node = node.value
    return isinstance(node, ast.Name) and node.id in ("torch", "F", "math", "np", "nn")


def subject(node):
    """x of x.mean(), torch.mean(x), torch.exp(x).mean() and f(x, …); None if there is none."""
    f = node.func
    own = isinstance(f, ast.Attribute) and not is_module(f.value)
    return f.value if own else first(node)


def first(node):
    return node.args[0] if node.args and not isinstance(node.args[0], ast.Starred) else None


def renamed(node, name):
    f = node.func
    return with_(node, func=with_(f, **{"attr" if isinstance(f, ast.Attribute) else "id": name}))


def is_docstring(s):
    return isinstance(s, ast.Expr) and isinstance(s.value, ast.Constant)


def is_data(node, scope):
    return isinstance(node, ast.Name) and node.id in scope.names and loads(node)


def number(x):
    return ast.Constant(x) if x >= 0 else ast.UnaryOp(ast.USub(), ast.Constant(-x))
