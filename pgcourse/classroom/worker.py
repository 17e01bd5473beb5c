"""The process in which submissions run. It knows no answer: no reference, no pitfall, no points.

One warm process has imported the libraries and forks a child for each submission. The child locks
itself in (`sandbox.lock_down`) before it sees a line of the submission, and then only answers:

    load  all cells            which parts of them are needed
    run   cells, one by one    in a namespace, in the order of the notebook
    call  a function           what it does on one case's inputs (drivers.observe)

Every message may be a lie; the judge knows.
"""

import builtins
import contextlib
import gc
import importlib
import linecache
import os
import signal
import socket
import sys
import tempfile
import time
import types

import torch

from pgcourse.checks import drivers
from pgcourse.checks.statements import Namespace, no_input
from pgcourse.classroom import leftovers, sandbox, wire

# ------------------------------------------------------------------------- one submission


class Session(Namespace):
    """A submission's namespace and cells, in a process of its own."""

    def __init__(self):
        self.module = types.ModuleType("__main__")
        sys.modules["__main__"] = self.module
        builtins.input = no_input
        super().__init__(vars(self.module))

    def call(self, name, driver, args, grad, seconds, helpers):
        """What the function called `name` does with args: an observation, or what is there instead.

        helpers : {name: text} of right functions that it is to call in place of the student's
        """
        fn = self.space.get(name)
        if not callable(fn):
            return {"nothing": "nothing" if fn is None else type(fn).__name__}
        if helpers and isinstance(fn, types.FunctionType):
            fn = drivers.with_helpers(fn, {n: function(n, text) for n, text in helpers.items()})
        return drivers.observe(driver, fn, args, tuple(grad), seconds)

    def where(self, name, seconds):
        """[name of a cell, spans of it]: a change after which a function is right; None (where it was not found).

        For a worker that has the answers. seconds : of computing, from here on
        """
        from pgcourse.checks import get
        from pgcourse.checks.core import VISIBLE_SEED
        from pgcourse.checks.where import locate

        fn, until = self.space.get(name), time.process_time() + seconds
        with contextlib.suppress(Exception):
            exercise = get(name)
            seen = exercise.observe(fn, VISIBLE_SEED)
            found = locate(fn, exercise, VISIBLE_SEED, seen, until - time.process_time())
            return found and [found.place[1:-1], [[a, b, [*new]] for a, b, new in found.spans]]


def function(name, text):
    """The function that a text defines, in a namespace of its own."""
    space = {}
    exec(compile(text, f"<a right {name}>", "exec"), space)
    return space[name]


def serve(sock):
    """Answer the judge until it hangs up."""
    session = Session()
    operations = {"load": session.load, "run": session.run}
    operations |= {"call": session.call, "where": session.where}
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
