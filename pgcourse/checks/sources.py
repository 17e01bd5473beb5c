"""The learner's own text: a function as a tree, where it stands, and the names that it runs among.

For functions of a notebook's cells and of files. What cannot be had, or is not the text of what
runs (a file that was changed since), is None: nothing is ever said about a text that may be another.
"""

import ast
import contextlib
import copy
import inspect
import linecache
import re
import sys
import textwrap
import types
import warnings
from dataclasses import dataclass
from functools import lru_cache


@dataclass(frozen=True)
class Source:
    """A function's text.

    fn    : the function itself, without its decorators' wrappers
    tree  : ast.FunctionDef; its lines count from 1 at the first line of `lines`
    lines : the text, without the indentation that all its lines have
    first : number of the first line in the cell or file
    place : "cell [5]", or the name of a file
    """

    fn: types.FunctionType
    tree: ast.FunctionDef
    lines: tuple
    first: int
    place: str

    @property
    def name(self):
        return self.tree.name


def source_of(fn):
    """The Source of a function, or None."""
    plain = inspect.unwrap(fn) if callable(fn) else None
    if not isinstance(plain, types.FunctionType) or plain.__name__ == "<lambda>":
        return None
    code, (above, number, whole) = plain.__code__, below_magic(plain.__code__)
    try:
        if number:
            lines = inspect.getblock(whole.splitlines(True)[code.co_firstlineno - 1 :])
        else:
            lines, _ = inspect.getsourcelines(plain)
            whole = "".join(linecache.getlines(code.co_filename))
        text = textwrap.dedent("".join(lines))
        (tree,) = ast.parse(text).body
    except (OSError, TypeError, SyntaxError, ValueError):
        return None
    if not isinstance(tree, ast.FunctionDef) or not is_text_of(whole, code):
        return None
    where = f"cell [{number}]" if number else place(code.co_filename)
    return Source(plain, tree, tuple(text.splitlines()), code.co_firstlineno + above, where)


BELOW_MAGIC = re.compile(
    r"%%[^\n]*\n(?:[ \t]*\n)*"
)  # %%time and the like, and what IPython leaves out


def below_magic(code):
    """(lines above it, number of the cell, text) of code that was written below %%time or the like, where IPython runs
    the rest of the cell without a name, or as a cell of its own; (0, 0, "") of any other code."""
    shell = getattr(sys.modules.get("IPython"), "get_ipython", lambda: None)()
    cells = getattr(getattr(shell, "history_manager", None), "input_hist_raw", ())
    text = "".join(linecache.getlines(code.co_filename)).rstrip()
    for number, cell in reversed([*enumerate(cells)]):
        magic = BELOW_MAGIC.match(cell)
        rest = cell[magic.end() :] if magic else ""
        if text and cell.rstrip() == text:
            break
        if magic and (rest.rstrip() == text if text else is_text_of(rest, code)):
            return magic[0].count("\n"), number, rest
    return 0, 0, ""


def sources_of(fn):
    """The Source of a function and those of the helpers that it calls, defined beside it; [] if it has none."""
    own = source_of(fn)
    found, todo = {}, [own] if own else []
    while todo:
        source = todo.pop(0)
        found[source.name] = source
        space = source.fn.__globals__
        for name in names_in(source.fn.__code__):
            helper = inspect.unwrap(space[name]) if callable(space.get(name)) else None
            beside = getattr(helper, "__globals__", None) is space
            if beside and name not in found and (other := source_of(helper)) and other.name == name:
                todo.append(other)
    return list(found.values())


def names_in(code):
    """Every name that some code and the functions inside it look up."""
    inner = [names_in(c) for c in code.co_consts if isinstance(c, types.CodeType)]
    return {*code.co_names}.union(*inner)


def is_text_of(text, code):
    """Whether compiling the text of a whole cell or file gives this code of a function."""
    return any(
        made.co_name == code.co_name
        and made.co_firstlineno == code.co_firstlineno
        and same(made, code)
        for made in codes_of(text)
    )


@lru_cache(8)
def codes_of(text):
    found, todo = [], []
    with contextlib.suppress(SyntaxError, ValueError), warnings.catch_warnings(action="ignore"):
        flags = ast.PyCF_ALLOW_TOP_LEVEL_AWAIT  # as in a cell
        todo = [compile(text, "<text>", "exec", flags, dont_inherit=True)]
    while todo:
        code = todo.pop()
        found.append(code)
        todo += [c for c in code.co_consts if isinstance(c, types.CodeType)]
    return found


def same(a, b):
    if not (isinstance(a, types.CodeType) and isinstance(b, types.CodeType)):
        return type(a) is type(b) and repr(a) == repr(b)
    names = ("co_code", "co_names", "co_varnames", "co_freevars")
    return (
        all(getattr(a, n) == getattr(b, n) for n in names)
        and len(a.co_consts) == len(b.co_consts)
        and all(map(same, a.co_consts, b.co_consts))
    )


def place(filename):
    """How a notebook's reader calls the place: the cell by its number, else the file's name."""
    shell = getattr(sys.modules.get("IPython"), "get_ipython", lambda: None)()
    if shell is not None:
        kind, name = shell.compile.format_code_name(filename) or ("", "")
        if kind == "Cell":
            return name.replace("In[", "cell [")
    return filename.replace("\\", "/").rsplit("/", 1)[-1]


def copied_space(sources):
    """A copy of the names that the functions run among, with copies of the data that they name."""
    fn = sources[0].fn
    space = dict(fn.__globals__)
    for source in sources:
        for name, cell in zip(
            source.fn.__code__.co_freevars, source.fn.__closure__ or (), strict=True
        ):
            space[name] = cell.cell_contents
    for name in set().union(
        *(names_in(s.fn.__code__) | {*s.fn.__code__.co_freevars} for s in sources)
    ):
        value = space.get(name)
        if name in space and not (callable(value) or isinstance(value, types.ModuleType)):
            space[name] = copy.deepcopy(value)
    for source in sources:
        exec(compile(ast.Module([source.tree], []), "<copied>", "exec"), space)
    return space
