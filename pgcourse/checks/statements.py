"""The statements of a notebook's cells: which of them are run for its answers, and how.

Self-study (`checks.own`) and the worker of a graded run execute notebooks with this, so they agree.
"""

import ast
import contextlib
import inspect
import linecache
import re
from functools import lru_cache
from types import MappingProxyType
from unittest import mock

import torch

from pgcourse.checks import drivers

CELL_SECONDS = 10.0  # for a cell at top level


class Namespace:
    """What a notebook's cells make of a namespace. A cell is {"kind", "name", "source"}; its kind is

    given  : the instructor's; definitions and imports are run, assignments where they are needed
    own    : added by the student; the same, and whatever else makes or changes what is needed
    answer : a solution cell; run as it is
    """

    def __init__(self, space):
        self.cells, self.space = [], space
        # what a notebook has and a bare Python has not
        self.space |= {"display": lambda *_, **__: None, "get_ipython": lambda: None}

    def load(self, cells, alone=""):
        """alone: name of the only answer that matters, with what it uses; "" = all of them"""
        self.cells = [dict(cell, tree=parse(cell)) for cell in cells]
        if alone:
            self.keep_only(alone)
        whole = [cell for cell in self.cells if not isinstance(cell["tree"], Exception)]
        about = imported_names(whole), own_functions(s for c in whole for s in c["tree"].body)

        def makes(statement, kind):
            return targets(statement) if kind == "given" else made(statement, *about)

        wanted = needed_names([(s, makes(s, c["kind"])) for c in whole for s in c["tree"].body])
        for cell in whole:
            if cell["kind"] != "answer":
                body = cell["tree"].body
                kept = [s for s in body if is_definition(s) or makes(s, cell["kind"]) & wanted]
                cell["tree"].body = kept
        return {}

    def keep_only(self, name):
        """Of the other answers and of own cells, keep what this answer uses."""
        whole = [c for c in self.cells if not isinstance(c["tree"], Exception)]
        statements = [s for c in whole for s in c["tree"].body]
        about = imported_names(whole), own_functions(statements)
        reached, more = set(), {name}
        while more:
            reached |= more
            used = (outer_names(s) for s in statements if made(s, *about) & more)
            more = set().union(*used) - reached
        for cell in self.cells:
            if cell["kind"] == "given" or cell["name"] == name:
                continue
            body = [] if isinstance(cell["tree"], Exception) else cell["tree"].body
            body = [s for s in body if made(s, *about) & (reached | {"*"})]
            cell["tree"] = ast.Module(body, [])

    def run(self, cell, seconds=CELL_SECONDS):
        """Run one cell. Returns {"error": None or what stopped it}."""
        cell = self.cells[cell]
        before = drivers.settings()
        try:
            if isinstance(cell["tree"], Exception):
                raise cell["tree"]
            with drivers.time_limit(seconds), mock.patch.object(torch, "compile", eager):
                if cell["kind"] == "answer":
                    self.run_whole(cell)
                else:
                    self.run_one_by_one(cell, cell["tree"].body)
        except drivers.TimeLimit:
            return {"error": {"type": "endless loop", "message": "", "line": "", "traceback": ""}}
        except BaseException as error:  # SystemExit and all that a student may raise
            return {"error": drivers.describe_error(error)}
        finally:
            drivers.put(before)
        return {"error": None}

    def run_whole(self, cell):
        """As the notebook does; but what only this machine lacks (google.colab) is left out."""
        try:
            exec(code_of(cell), self.space)
        except ImportError as error:
            line = first_line(error, filename(cell))
            rest = [s for s in cell["tree"].body if s.lineno > line]
            if not is_import(statement_at(cell["tree"], line)):
                raise
            self.run_one_by_one(cell, [s for s in rest if is_definition(s) or targets(s)])
            raise

    def run_one_by_one(self, cell, statements):
        """Each statement by itself: one that fails does not take the rest with it."""
        for statement in statements:
            with contextlib.suppress(Exception, SystemExit):
                part = ast.Module([statement], [])
                exec(compile(part, filename(cell), "exec"), self.space)


def eager(model=None, **options):
    """torch.compile without a compiler, which takes a minute to make the same function."""
    return model if model is not None else lambda fn: fn


def no_input(prompt=""):
    raise RuntimeError("input() waits for somebody to type; a graded function must not ask.")


def filename(cell):
    return f"<{cell['name']}>"


def first_line(error, name):
    """The line of a cell at which an exception came up, 0 where it cannot be known."""
    trace = error.__traceback__
    while trace is not None and trace.tb_frame.f_code.co_filename != name:
        trace = trace.tb_next
    return trace.tb_lineno if trace else 0


def statement_at(tree, line):
    return next((s for s in tree.body if s.lineno <= line <= s.end_lineno), None)


IPYTHON = re.compile(  # %matplotlib inline, !pip …, files = !ls, torch.tensor?
    # possessive: in the judge's process a line of blanks must not take for ever
    r"^([ \t]*+)(?:[%!?](?:.*\\\n)*+.*|([\w., \t]++=)[ \t]*+[%!].*|[^#\n]*\?[ \t]*)$",
    re.M,
)
# whose cells are Python all the same
OF_PYTHON = ("time", "timeit", "capture", "prun", "memit", "python")
CELL_MAGIC = re.compile(rf"\s*%%(?!(?:{'|'.join(OF_PYTHON)})\b)\w+")  # %%bash and the like


def parse(cell):
    """The syntax tree of a cell, or the exception that says why there is none."""
    name = filename(cell)
    tree, text = read(cell["source"], name)
    linecache.cache[name] = (len(text), None, text.splitlines(True), name)
    return tree


def tree_of(text):
    """The syntax tree of a cell's text, or the exception that says why there is none."""
    return read(text, "<cell>")[0]


def read(text, name):
    """(syntax tree of a cell's text, the text that it is of): where needed without the lines of IPython's own."""
    try:
        return ast.parse(text, name), text
    except Exception as error:
        if CELL_MAGIC.match(text):
            return error, text
        plain = IPYTHON.sub(without_ipython, text)
        try:
            return ast.parse(plain, name), plain
        except Exception:
            return error, text


def without_ipython(line):
    """What stands in place of a line of IPython's own: `files = !ls` finds no files."""
    instead = f"{line[2]} []" if line[2] else "pass" * bool(line[1])
    return line[1] + instead + "\n" * line[0].count("\n")


def code_of(cell):
    """A cell's code, without statements that await: a notebook may, here there is nothing to wait for."""
    tree, name, flags = cell["tree"], filename(cell), ast.PyCF_ALLOW_TOP_LEVEL_AWAIT
    try:
        return compile(tree, name, "exec")
    except SyntaxError:
        parts = [(s, compile(ast.Module([s], []), name, "exec", flags)) for s in tree.body]
        body = [s for s, code in parts if not code.co_flags & inspect.CO_COROUTINE]
        return compile(ast.Module(body, []), name, "exec")


def is_definition(statement):
    kinds = (ast.Import, ast.ImportFrom, ast.FunctionDef, ast.AsyncFunctionDef, ast.ClassDef)
    return isinstance(statement, kinds)


def is_import(statement):
    return isinstance(statement, ast.Import | ast.ImportFrom)


@lru_cache(maxsize=512)
def functions(text):
    """Names of the functions that a cell's text makes at its top level, in order; as written, where it
    is no Python."""
    tree, found = tree_of(text), []
    with contextlib.suppress(RecursionError):
        if not isinstance(tree, Exception):
            for statement in tree.body:
                found += functions_of(statement, found)
            return found
    return re.findall(r"^(?:async )?def (\w+)", text, re.M)


def functions_of(statement, known):
    """Names of the functions that a statement makes: a def, a lambda, another name for one, or what wraps one.

    known : names of the functions made before it
    """
    if isinstance(statement, ast.FunctionDef | ast.AsyncFunctionDef):
        return [statement.name]
    if isinstance(statement, ast.Assign | ast.AnnAssign) and is_function(statement.value, known):
        names = getattr(statement, "targets", None) or [statement.target]
        return [t.id for t in names if is_name(t)]
    if isinstance(statement, ast.If | ast.Try | ast.With):
        parts = [*statement.body, *getattr(statement, "orelse", ())]
        return [name for part in parts for name in functions_of(part, known)]
    return []


def is_function(value, known):
    """Whether an expression may be a function: torch.compile(f) is one where f is known as one."""
    if isinstance(value, ast.Call):
        return any(isinstance(a, ast.Lambda) or is_name(a) and a.id in known for a in value.args)
    return isinstance(value, ast.Lambda | ast.Name | ast.Attribute)


def imported_names(cells):
    return set().union(*(made(s) for cell in cells for s in cell["tree"].body if is_import(s)))


BY_NAME = ("exec", "globals", "locals", "vars")  # make what a string names


def made(statement, modules=frozenset(), own=MappingProxyType({})):
    """Names that a statement at top level may define or change, whatever its kind.

    modules : names of imports; what is changed inside of one (torch.exp = …) is none of the notebook's own
    own     : {function of the notebook's: the names that it has made when it was called}
    """
    if isinstance(statement, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef):
        return {statement.name}
    nodes = [*ast.walk(statement)]
    found = {n.name for n in nodes if isinstance(n, ast.FunctionDef | ast.ClassDef)}
    found |= {(n.asname or n.name).split(".")[0] for n in nodes if isinstance(n, ast.alias)}
    stored = [n for n in nodes if isinstance(getattr(n, "ctx", None), ast.Store)]
    calls = [n for n in nodes if isinstance(n, ast.Call)]
    changed = [c.func for c in calls if not is_name(c.func)]  # table.update(…)
    for c in calls:
        if is_name(c.func) and c.func.id in (*own, "setattr"):
            changed += c.args  # setattr(tools, …), fill(table)
            found |= own.get(c.func.id, set())
    if any(is_name(c.func) and c.func.id in BY_NAME for c in calls):
        texts = [n.value for n in nodes if isinstance(n, ast.Constant) and isinstance(n.value, str)]
        found |= {word for text in texts for word in re.findall(r"\w+", text)}
        found |= {k.arg for c in calls for k in c.keywords if k.arg}
    found |= {n.id for n in stored if is_name(n)}
    return found | {root(n) for n in [*stored, *changed]} - {"", *modules}


def is_name(node):
    return isinstance(node, ast.Name)


def root(node):
    """The name that an expression like table[0].rows begins with, or ""."""
    while isinstance(node, ast.Attribute | ast.Subscript | ast.Starred):
        node = node.value
    return node.id if is_name(node) else ""


def targets(statement):
    """Names that an assignment at top level makes."""
    if not isinstance(statement, ast.Assign | ast.AnnAssign | ast.AugAssign):
        return set()
    return {n.id for n in ast.walk(statement) if is_name(n) and isinstance(n.ctx, ast.Store)}


def needed_names(statements):
    """Names that the definitions read from outside, and what the assignments to these read in turn.

    statements : [(statement, names that it makes)]
    """
    wanted = set().union(*(outer_names(s) for s, _ in statements if is_definition(s)))
    others = [(names, outer_names(s)) for s, names in statements if names and not is_definition(s)]
    while True:
        more = set().union(*(read for names, read in others if names & wanted)) - wanted
        if not more:
            return wanted
        wanted |= more


def own_functions(statements):
    """{name of a function: names that it makes outside of itself when it is called}"""
    return {
        s.name: {name for n in ast.walk(s) if isinstance(n, ast.Global) for name in n.names}
        for s in statements
        if isinstance(s, ast.FunctionDef)
    }


def outer_names(statement):
    """Names that a statement reads; of a function, without its arguments and local variables."""
    names = [n for n in ast.walk(statement) if isinstance(n, ast.Name)]
    read = {n.id for n in names if isinstance(n.ctx, ast.Load)}
    if isinstance(statement, ast.FunctionDef | ast.AsyncFunctionDef):
        read -= {n.id for n in names if isinstance(n.ctx, ast.Store)}
        read -= {n.arg for n in ast.walk(statement) if isinstance(n, ast.arg)}
    return read
