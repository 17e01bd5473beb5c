"""The process in which submissions run. It knows no answer: no reference, no pitfall, no points.

One warm process has imported the libraries and forks a child for each submission. The child locks
itself in (`sandbox.lock_down`) before it sees a line of the submission, and then only answers:

    load  all cells            which parts of them are needed
    run   cells, one by one    in a namespace, in the order of the notebook
    call  a function           what it does on one case's inputs (drivers.observe)

Every message may be a lie; the judge knows.
"""

import ast
import builtins
import contextlib
import gc
import importlib
import inspect
import linecache
import os
import re
import signal
import socket
import sys
import tempfile
import time
import types

import torch

from pgcourse.checks import drivers
from pgcourse.classroom import leftovers, sandbox, wire

# ------------------------------------------------------------------------- one submission


class Session:
    """A submission's namespace and cells. A cell is {"kind", "name", "source"}; its kind is

    given  : the instructor's; definitions and imports are run, assignments where they are needed
    own    : added by the student; the same
    answer : a solution cell; run as it is
    """

    def __init__(self):
        self.cells, self.module = [], types.ModuleType("__main__")
        self.space = vars(self.module)
        sys.modules["__main__"] = self.module
        # what a notebook has and a bare Python has not
        self.space |= {"display": lambda *_, **__: None, "get_ipython": lambda: None}
        builtins.input = no_input

    def load(self, cells, alone):
        """alone: name of the only answer that matters, with what it uses; "" = all of them"""
        self.cells = [dict(cell, tree=parse(cell)) for cell in cells]
        if alone:
            self.keep_only(alone)
        trees = [cell["tree"] for cell in self.cells if not isinstance(cell["tree"], Exception)]
        wanted = needed_names(trees)
        for cell in self.cells:
            if cell["kind"] != "answer" and not isinstance(cell["tree"], Exception):
                kept = [s for s in cell["tree"].body if is_definition(s) or targets(s) & wanted]
                cell["tree"].body = kept
        return {}

    def keep_only(self, name):
        """Of the other answers and of own cells, keep what this answer uses."""
        whole = [c for c in self.cells if not isinstance(c["tree"], Exception)]
        statements = [s for c in whole for s in c["tree"].body]
        reached, more = set(), {name}
        while more:
            reached |= more
            used = (outer_names(s) for s in statements if made(s) & more)
            more = set().union(*used) - reached
        for cell in self.cells:
            if cell["kind"] == "given" or cell["name"] == name:
                continue
            body = [] if isinstance(cell["tree"], Exception) else cell["tree"].body
            body = [s for s in body if made(s) & (reached | {"*"})]
            cell["tree"] = ast.Module(body, [])

    def run(self, cell, seconds):
        """Run one cell. Returns {"error": None or what stopped it}."""
        cell = self.cells[cell]
        before = drivers.settings()
        try:
            if isinstance(cell["tree"], Exception):
                raise cell["tree"]
            with drivers.time_limit(seconds):
                if cell["kind"] == "answer":
                    exec(code_of(cell), self.space)
                else:
                    self.run_one_by_one(cell)
        except drivers.TimeLimit:
            return {"error": {"type": "endless loop", "message": "", "line": "", "traceback": ""}}
        except BaseException as error:  # SystemExit and all that a student may raise
            return {"error": drivers.describe_error(error)}
        finally:
            drivers.restore(before)
        return {"error": None}

    def run_one_by_one(self, cell):
        """Each statement by itself: one that fails does not take the rest with it."""
        for statement in cell["tree"].body:
            with contextlib.suppress(Exception, SystemExit):
                part = ast.Module([statement], [])
                exec(compile(part, filename(cell), "exec"), self.space)

    def call(self, name, driver, args, grad, seconds):
        """What the function called `name` does with args: an observation, or what is there instead."""
        fn = self.space.get(name)
        if not callable(fn):
            return {"nothing": "nothing" if fn is None else type(fn).__name__}
        return drivers.observe(driver, fn, args, tuple(grad), seconds)


def no_input(prompt=""):
    raise RuntimeError("input() waits for somebody to type; a graded function must not ask.")


def filename(cell):
    return f"<{cell['name']}>"


IPYTHON = re.compile(  # %matplotlib inline, !pip …, files = !ls, torch.tensor?
    r"^([ \t]*)(?:[%!?].*|[\w., \t]+=[ \t]*[%!].*|[^#\n]*\?[ \t]*)$", re.M
)
CELL_MAGIC = re.compile(r"\s*%%(?!(?:time|capture)\b)\w+")  # %%bash and the like: not in Python


def parse(cell):
    """The syntax tree of a cell, or the exception that says why there is none."""
    text = cell["source"]
    linecache.cache[filename(cell)] = (len(text), None, text.splitlines(True), filename(cell))
    try:
        return ast.parse(text, filename(cell))
    except Exception as error:
        if CELL_MAGIC.match(text):
            return error
        try:  # without the lines of IPython's own
            return ast.parse(IPYTHON.sub(r"\1pass", text), filename(cell))
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


def made(statement):
    """Names that a statement at top level may define, whatever its kind."""
    if isinstance(statement, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef):
        return {statement.name}
    nodes = [*ast.walk(statement)]
    found = {n.id for n in nodes if isinstance(n, ast.Name) and isinstance(n.ctx, ast.Store)}
    found |= {n.name for n in nodes if isinstance(n, ast.FunctionDef | ast.ClassDef)}
    return found | {(n.asname or n.name).split(".")[0] for n in nodes if isinstance(n, ast.alias)}


def targets(statement):
    """Names that an assignment at top level makes."""
    if not isinstance(statement, ast.Assign | ast.AnnAssign | ast.AugAssign):
        return set()
    stored = (n for n in ast.walk(statement) if isinstance(n, ast.Name))
    return {n.id for n in stored if isinstance(n.ctx, ast.Store)}


def needed_names(trees):
    """Names that the definitions read from outside, and what the assignments to these read in turn."""
    statements = [s for tree in trees for s in tree.body]
    wanted = set().union(*(outer_names(s) for s in statements if is_definition(s)))
    assignments = [(targets(s), outer_names(s)) for s in statements if targets(s)]
    while True:
        more = set().union(*(read for made, read in assignments if made & wanted)) - wanted
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


def serve(sock):
    """Answer the judge until it hangs up."""
    session = Session()
    operations = {"load": session.load, "run": session.run, "call": session.call}
    while True:
        try:
            request = wire.receive(sock)
        except wire.Closed:
            return
        number = request.pop("number")
        reply = operations[request.pop("op")](**request)
        try:
            wire.send(sock, {"number": number, "reply": reply})
        except wire.Closed:
            return
        except wire.WireError:  # honest, but more than the wire carries
            wire.send(sock, {"number": number, "reply": {"too much": True}})


# ------------------------------------------------------------------------ the warm process


def main(control, level, landlock, user, memory, seconds, package, scratch, modules):
    """Import once, then fork for each socket that comes over the control socket.

    b"S" with a socket : start a submission on it           -> b"S"
    b"E"               : end it, with all that it started   -> exit status, as text
    """
    control = socket.socket(fileno=control)
    sandbox.NEWEST_LANDLOCK = landlock
    sandbox.guard_parent()
    os.chdir(scratch)
    torch.set_num_threads(1)
    for name in modules:
        with contextlib.suppress(Exception):
            importlib.import_module(name)
    readable = [*sandbox.readable_files(), package]
    linecache.cache.clear()
    gc.collect()
    gc.freeze()  # the children share these pages
    control.sendall(b"R")
    child = 0
    child = own = 0
    while True:
        order, fds = next_order(control, child, own)
        if order == b"S":
            own = scratch if level == "bubblewrap" else own_directory(scratch, user)
            child = os.fork()
            if not child:
                control.close()
                with contextlib.suppress(BaseException):
                    for name in ("HOME", "TMPDIR", "MPLCONFIGDIR"):
                        os.environ[name] = own
                    tempfile.tempdir = None
                    sandbox.lock_down(level, user, memory, seconds, own, readable)
                    silence()
                    serve(socket.socket(fileno=fds[0]))
                os._exit(0)
            os.close(fds[0])
            control.sendall(b"S")
        else:
            status = end(child, level)
            if own and level != "bubblewrap":  # there it went with the child's mounts
                leftovers.remove(own)
            if order != b"E":  # the judge is gone
                os._exit(0)
            control.sendall(status.to_bytes(4, "big", signed=True))
            child = own = 0


def own_directory(scratch, user):
    """A fresh directory for one session, under a name that no other can know."""
    own = tempfile.mkdtemp(dir=scratch)
    if os.getuid() == 0:
        os.chown(own, user, user)
    return own


LOOK = 0.25  # seconds between two looks at what a session holds on the disk


def next_order(control, child, own):
    """(order, [socket]). A child that holds more on the disk than it may is ended meanwhile."""
    control.settimeout(LOOK if child else None)
    while True:
        try:
            return socket.recv_fds(control, 1, 1)[:2]
        except TimeoutError:
            if leftovers.held_in(own, sandbox.SCRATCH_BYTES) > sandbox.SCRATCH_BYTES:
                os.kill(child, signal.SIGKILL)


def silence():
    """Prints go nowhere, input comes from nowhere."""
    null = os.open(os.devnull, os.O_RDWR)
    for fd in (0, 1, 2):
        os.dup2(null, fd)
    sys.stdin, sys.stdout, sys.stderr = open(0), open(1, "w"), open(2, "w")


def end(child, level):
    """Kill a submission and everything it started. returns: exit status of the child (-9: killed)"""
    if not child:
        return 0
    with contextlib.suppress(ProcessLookupError):
        os.kill(child, signal.SIGKILL)
    _, status = os.waitpid(child, 0)
    for _ in range(100):
        # alone in this process namespace: whatever lives here was started by the submission
        if level == "bubblewrap":
            with contextlib.suppress(ProcessLookupError):
                os.kill(-1, signal.SIGKILL)
        else:
            for orphan in children_of(os.getpid()):
                with contextlib.suppress(ProcessLookupError):
                    os.kill(orphan, signal.SIGKILL)
        try:
            while os.waitpid(-1, os.WNOHANG)[0]:
                pass
        except ChildProcessError:
            break
        time.sleep(0.01)
    return os.waitstatus_to_exitcode(status)


def children_of(pid):
    """Orphans of a submission come to this process (PR_SET_CHILD_SUBREAPER)."""
    with contextlib.suppress(OSError):
        with open(f"/proc/{pid}/task/{pid}/children") as file:
            return [int(p) for p in file.read().split()]
    return []
