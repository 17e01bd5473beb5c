"""The statements of a notebook's cells: which of them are run for its answers, and how.

Self-study (`checks.own`) and the worker of a graded run execute notebooks with this, so they agree.
"""

import ast
import contextlib
import inspect
import linecache
import re
from functools import lru_cache

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
        modules = imported_names(whole)

        def makes(statement, kind):
            return targets(statement) if kind == "given" else made(statement, modules)

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
        modules, statements = imported_names(whole), [s for c in whole for s in c["tree"].body]
        reached, more = set(), {name}
        while more:
            reached |= more
            used = (outer_names(s) for s in statements if made(s, modules) & more)
            more = set().union(*used) - reached
        for cell in self.cells:
            if cell["kind"] == "given" or cell["name"] == name:
                continue
            body = [] if isinstance(cell["tree"], Exception) else cell["tree"].body
            body = [s for s in body if made(s, modules) & (reached | {"*"})]
            cell["tree"] = ast.Module(body, [])

    def run(self, cell, seconds=CELL_SECONDS):
        """Run one cell. Returns {"error": None or what stopped it}."""
        cell = self.cells[cell]
        before = drivers.settings()
        try:
            if isinstance(cell["tree"], Exception):
                raise cell["tree"]
            with drivers.time_limit(seconds):
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
    r"^([ \t]*+)(?:[%!?].*|[\w., \t]++=[ \t]*+[%!].*|[^#\n]*\?[ \t]*)$",
    re.M,
)
CELL_MAGIC = re.compile(r"\s*%%(?!(?:time|capture)\b)\w+")  # %%bash and the like: not in Python


def parse(cell):
    """The syntax tree of a cell, or the exception that says why there is none."""
    text = cell["source"]
    linecache.cache[filename(cell)] = (len(text), None, text.splitlines(True), filename(cell))
    return tree_of(text, filename(cell))


def tree_of(text, name="<cell>"):
    """The syntax tree of a cell's text, or the exception that says why there is none."""
    try:
        return ast.parse(text, name)
    except Exception as error:
        if CELL_MAGIC.match(text):
            return error
        try:  # without the lines of IPython's own
            return ast.parse(IPYTHON.sub(r"\1pass", text), name)
        except Exception:
            return error


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
    tree = tree_of(text)
    with contextlib.suppress(RecursionError):
        if not isinstance(tree, Exception):
            return [name for s in tree.body for name in functions_of(s)]
    return re.findall(r"^(?:async )?def (\w+)", text, re.M)


def functions_of(statement):
    """Names of the functions that a statement makes: a def, a lambda or another name for one."""
    if isinstance(statement, ast.FunctionDef | ast.AsyncFunctionDef):
        return [statement.name]
    if isinstance(statement, ast.Assign) and isinstance(
        statement.value, ast.Lambda | ast.Name | ast.Attribute
    ):
        return [t.id for t in statement.targets if isinstance(t, ast.Name)]
    if isinstance(statement, ast.If | ast.Try | ast.With):
        parts = [*statement.body, *getattr(statement, "orelse", ())]
        return [name for part in parts for name in functions_of(part)]
    return []


def imported_names(cells):
    return set().union(*(made(s) for cell in cells for s in cell["tree"].body if is_import(s)))


def made(statement, modules=frozenset()):
    """Names that a statement at top level may define or change, whatever its kind.

    modules : names of imports; what is changed inside of one (torch.exp = …) is none of the notebook's own
    """
    if isinstance(statement, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef):
        return {statement.name}
    nodes = [*ast.walk(statement)]
    found = {n.name for n in nodes if isinstance(n, ast.FunctionDef | ast.ClassDef)}
    found |= {(n.asname or n.name).split(".")[0] for n in nodes if isinstance(n, ast.alias)}
    stored = [n for n in nodes if isinstance(getattr(n, "ctx", None), ast.Store)]
    calls = [n for n in nodes if isinstance(n, ast.Call)]
    changed = [c.func for c in calls if not is_name(c.func)]  # table.update(…)
    changed += [c.args[0] for c in calls if is_name(c.func) and c.func.id == "setattr" and c.args]
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


def outer_names(statement):
    """Names that a statement reads; of a function, without its arguments and local variables."""
    names = [n for n in ast.walk(statement) if isinstance(n, ast.Name)]
    read = {n.id for n in names if isinstance(n.ctx, ast.Load)}
    if isinstance(statement, ast.FunctionDef | ast.AsyncFunctionDef):
        read -= {n.id for n in names if isinstance(n.ctx, ast.Store)}
        read -= {n.arg for n in ast.walk(statement) if isinstance(n, ast.arg)}
    return read
