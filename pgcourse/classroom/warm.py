"""The warm worker as the judge holds it: started, proved to be locked in, replaced when it dies."""

import contextlib
import os
import random
import signal
import socket
import stat
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass
from multiprocessing.util import Finalize
from pathlib import Path

from pgcourse.checks import LESSONS
from pgcourse.checks.package import drivers_for, write_package, write_whole_package
from pgcourse.classroom import leftovers, proofs, sandbox, wire


@dataclass(frozen=True)
class Limits:
    """seconds : wall-clock time for a whole submission;  memory : MB;  unsafe : may run unisolated"""

    seconds: int = 300
    memory: int = 2048
    unsafe: bool = False


DEFAULT = Limits()


class NoIsolation(Exception):
    """No level of isolation works here."""


WORKERS = {}  # {whether it has all of pgcourse: one warm worker a process}


def warm_worker(asked, modules, limits, source, whole=False):
    """A warm worker of this process; other exercises or limits replace it.

    whole : one that has all of pgcourse, the answers too: for what decides no points
    """
    key = (os.getpid(), asked, modules, limits, source)
    worker = WORKERS.get(whole)
    if worker is None or worker.key != key or not worker.alive():
        close_worker(whole)
        worker = WORKERS[whole] = strongest(asked, modules, limits, source, whole=whole)
        worker.key = key
    return worker


def close_worker(*kinds):
    for kind in kinds or (False, True):
        worker = WORKERS.pop(kind, None)
        if worker and worker.key[0] == os.getpid():  # not in a forked copy of this process
            worker.close()


# unlike atexit, this is heard in the processes of a pool, too
Finalize(None, close_worker, exitpriority=100)


def strongest(asked, modules, limits, source="", levels=sandbox.LEVELS, whole=False):
    """A worker at the strongest level that works. raises: NoIsolation, with what was tried."""
    failed = []
    for level in levels:
        if level == "none" and not limits.unsafe:
            continue
        if not sandbox.fits(level):
            failed.append(f"{level} is not there")
            continue
        try:
            return Worker(level, asked, modules, limits, source, whole)
        except WorkerFailed as error:
            failed.append(f"{level}: {error}")
    raise NoIsolation(
        "no sandbox works on this machine (" + "; ".join(failed) + "). Install bubblewrap, or "
        "grade with --unsafe-no-sandbox only what you would run yourself."
    )


class WorkerFailed(Exception):
    """The warm process does not start, or does not lock its door."""


NAMES = {
    "bubblewrap": "bubblewrap + seccomp",
    "landlock": "Landlock + seccomp",
    "none": "NOT ISOLATED",
}


HOME = "pgcourse-worker-"
SEARCH = ("pgcourse.checks.where", *(f"pgcourse.exercises.{room}" for room in LESSONS.values()))


def remove_homes_of_the_dead():
    """Directories of workers whose judge was killed before it could tidy up; never stops a start."""
    with contextlib.suppress(Exception):
        for path in Path(tempfile.gettempdir()).glob(f"{HOME}[0-9]*-*"):
            owner, status = path.name.removeprefix(HOME).split("-")[0], path.lstat()
            own = stat.S_ISDIR(status.st_mode) and status.st_uid == os.getuid()
            if sys.platform == "linux" and own and not Path("/proc", owner).exists():
                leftovers.remove(path)


class Worker:
    """A warm process and its control socket."""

    def __init__(self, level, asked, modules, limits, source="", whole=False):
        self.level, self.isolation = level, NAMES[level]
        self.limits, self.process, self.control = limits, None, None
        remove_homes_of_the_dead()
        self.home = Path(tempfile.mkdtemp(prefix=f"{HOME}{os.getpid()}-"))
        self.home.chmod(0o755)
        self.asked, self.modules = asked, (*modules, *(SEARCH if whole else ()))
        (self.home / "scratch").mkdir()
        if whole:
            write_whole_package(self.home / "package")
        else:
            write_package(self.home / "package", asked, source)
        (self.home / "package" / "canary").write_text("for the proofs: nobody may touch it")
        try:
            self.launch()
            self.prove()
        except BaseException:
            self.close()
            raise

    def launch(self):
        if self.control:
            self.stop()
        ours, theirs = socket.socketpair()
        options = dict(
            control=theirs.fileno(),
            level=self.level,
            landlock=sandbox.NEWEST_LANDLOCK,
            user=2_000_000_000 + random.SystemRandom().randrange(10**8),
            memory=self.limits.memory << 20,
            seconds=self.limits.seconds + 10,
            package=str(self.home / "package"),
            scratch=str(self.home / "scratch"),
            modules=["matplotlib.pyplot", "gymnasium", *drivers_for(self.asked), *self.modules],
        )
        program = (
            f"import sys; sys.path.insert(0, {options['package']!r}); sys.dont_write_bytecode = True; "
            f"from pgcourse.classroom.worker import main; main(**{options!r})"
        )
        inner = [sys.executable, "-I", "-B", "-c", program]
        argv = sandbox.command(self.level, options["package"], options["scratch"], inner)
        self.errors = open(self.home / "errors", "w+")
        self.process = subprocess.Popen(
            argv,
            pass_fds=[theirs.fileno()],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=self.errors,
            env=environment(options["scratch"]),
            cwd=options["scratch"],
            start_new_session=True,
        )
        theirs.close()
        self.control = ours
        if self.answer(120) != b"R":
            raise WorkerFailed(self.reason())

    def reason(self):
        self.errors.seek(0)
        lines = self.errors.read()[-2000:].strip().splitlines()
        return lines[-1] if lines else "it does not start"

    def prove(self):
        """The door is locked: a session cannot do what a sandbox must refuse, nor leave anything."""
        if self.level == "none":
            return
        if leak := self.said(proofs.LOCKED):
            raise WorkerFailed(f"it leaks: {leak}")
        was = self.said(proofs.LEAVE)
        if leak := self.said(f"WAS = {was!r}\n{proofs.LOOK}"):
            raise WorkerFailed(f"it leaks: {leak}")

    def said(self, code):
        """What a cell raises in a session of its own, or ""."""
        cell = {"kind": "answer", "name": "probe", "source": code}
        session = self.start()
        try:
            wire.send(session, {"number": 1, "op": "load", "cells": [cell], "alone": ""})
            wire.receive(session, time.monotonic() + 30)
            wire.send(session, {"number": 2, "op": "run", "cell": 0, "seconds": 10.0})
            error = wire.receive(session, time.monotonic() + 30)["reply"]["error"]
        except wire.WireError as error:
            raise WorkerFailed(f"{error} {self.reason()}") from None
        finally:
            session.close()
            self.end()
        return error["message"] if error else ""

    def start(self):
        """Fork a session. returns: the judge's end of its socket"""
        ours, theirs = socket.socketpair()
        for attempt in range(2):
            try:
                socket.send_fds(self.control, [b"S"], [theirs.fileno()])
                if self.answer(20) == b"S":
                    theirs.close()
                    return ours
            except OSError:
                pass
            if attempt == 0:
                self.launch()
        raise WorkerFailed("the warm process does not answer")

    def end(self):
        """End the session with all that it started. returns: its exit status"""
        try:
            self.control.sendall(b"E")
            status = b""
            while len(status) < 4:
                more = self.answer(20)
                if not more:
                    raise OSError
                status += more
            return int.from_bytes(status, "big", signed=True)
        except OSError:
            self.launch()
            return -signal.SIGKILL

    def answer(self, seconds):
        self.control.settimeout(seconds)
        try:
            return self.control.recv(4)
        except OSError:
            return b""

    def alive(self):
        return self.process is not None and self.process.poll() is None

    def stop(self):
        if self.control:
            self.control.close()  # the warm process ends when nobody is there
            self.control = None
        if self.process:
            with contextlib.suppress(subprocess.TimeoutExpired):
                self.process.wait(2)
            with contextlib.suppress(ProcessLookupError):
                os.killpg(self.process.pid, signal.SIGKILL)
            self.process.wait()
            self.process = None
            self.errors.close()

    def close(self):
        self.stop()
        leftovers.remove(self.home)


def environment(scratch):
    """Nothing of the grader's own environment reaches a worker."""
    return {
        "PATH": "/usr/bin:/bin",
        "HOME": scratch,
        "TMPDIR": scratch,
        "USER": "student",
        "LANG": "C.UTF-8",
        "MPLBACKEND": "Agg",
        "MPLCONFIGDIR": scratch,
        "OMP_NUM_THREADS": "1",
        "PGCOURSE_FAST": "1",
        "SDL_VIDEODRIVER": "dummy",
    }
