"""The judge's side of a graded run: a submission's bytes in, points and words out.

`grade_submission` is a pure function of (bytes, source, seed, limits). It has the submitted
functions called in a worker (`worker`, in a `sandbox`), one case at a time, and decides here, where
no submitted code ever runs. Points come from inputs made from the secret seed. Words come from
the visible seed, in a fresh process that never saw a secret number: so whatever a submission
writes into its messages, there is nothing in it to learn from.
"""

import ast
import contextlib
import os
import random
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import threading
import time
import zlib
from dataclasses import dataclass, replace
from functools import cache
from multiprocessing.util import Finalize
from pathlib import Path

import nbformat

import pgcourse
from pgcourse.checks import drivers, get
from pgcourse.checks.core import VISIBLE_SEED, Verdict
from pgcourse.classroom import intake, sandbox, wire

ONE_AT_A_TIME = threading.Lock()  # a process has one warm worker; a cluster's may have many threads
CELL_SECONDS = 10.0  # for a cell at top level
GRACE = 3.0  # beyond its own limit before a call is ended from outside


@dataclass(frozen=True)
class Limits:
    """seconds : wall-clock time for a whole submission;  memory : MB;  unsafe : may run unisolated"""

    seconds: int = 300
    memory: int = 2048
    unsafe: bool = False


DEFAULT = Limits()


class NoIsolation(Exception):
    """No level of isolation works here."""


# ---------------------------------------------------------------------------------- the function


def grade_submission(data, source, seed, limits=DEFAULT):
    """Grade one submission.

    data    : bytes of the submitted notebook
    source  : text of the instructor's source notebook: what is run and asked comes from here
    seed    : str, the class's secret
    returns : dict of plain data: exercises {name: {score, points, passed, pitfall, message, why, parts,
              traceback, read}}, notes [str], isolation, seconds
    raises  : intake.Unreadable, NoIsolation
    """
    with ONE_AT_A_TIME:
        return grade_one(data, source, seed, limits)


def grade_one(data, source, seed, limits):
    started = time.monotonic()
    cells, notes = intake.read_cells(data)
    asked = exercises_in(source)
    source = nbformat.reads(source, as_version=4)
    submission = intake.match(cells, source)
    steps, checks = submission.steps()
    exercises = {name: asked[name] for name in checks if name in asked}
    worker = warm_worker(tuple(asked), tuple(intake.imports(source)), limits)
    run = Run(worker, steps, checks, started + limits.seconds)
    verdicts = run.judge(exercises, seed)
    # what is wrong is judged once more, where no other answer's cell can be to blame
    unclear = [n for n, v in verdicts.items() if not v.passed and v.pitfall not in NOBODY_ELSE]
    again = run.judge({n: exercises[n] for n in unclear}, seed, alone=True)
    verdicts |= {n: v for n, v in again.items() if v.score > verdicts[n].score}
    verdicts = {n: replace(v, traceback="", example="") for n, v in verdicts.items()}
    unnamed = {n: exercises[n] for n, v in verdicts.items() if needs_words(v)}
    for name, spoken in run.judge(unnamed, VISIBLE_SEED, alone=True).items():
        verdicts[name] = in_words(verdicts[name], spoken)
    return {
        "exercises": {name: as_plain(verdict) for name, verdict in verdicts.items()},
        "notes": notes + submission.notes,
        "isolation": worker.isolation,
        "seconds": round(time.monotonic() - started, 3),
    }


@cache
def exercises_in(source):
    """{name: Exercise} of the checks in a source notebook (its text), as far as there are any."""
    found = {}
    for cell in nbformat.reads(source, as_version=4).cells:
        if intake.is_check(cell):
            name = intake.id_of(cell).removeprefix("check_")
            with contextlib.suppress(KeyError):
                found[name] = get(name)
    return found


def needs_words(verdict):
    """Whether the message may hold something that came from the submission or the secret inputs."""
    fixed = {p.name for p in verdict.exercise.pitfalls} | {"endless loop", "not written", *SAYS}
    return not verdict.passed and verdict.pitfall not in fixed


def in_words(secret, visible):
    """The points of the secret run, in the words of the visible one."""
    if visible.passed or visible.score > secret.score:
        says = (
            "It is right on the numbers that the notebook shows, and wrong on others of the same "
            "kind. Is something written down that should be computed?"
        )
        name, why, traceback = "right on the shown numbers only", "", ""
    else:
        name, says, why = visible.pitfall, visible.message, visible.why
        traceback = visible.traceback
    return replace(secret, pitfall=name, message=says, why=why, traceback=traceback, example="")


def as_plain(v):
    return {
        "score": float(min(max(v.score, 0.0), v.points)),
        "points": v.points,
        "passed": v.passed,
        "pitfall": v.pitfall,
        "message": intake.clean(v.message)[:2000],
        "why": v.why,
        "parts": [[part, ok] for part, ok in v.earned.items()],
        "traceback": intake.clean(v.traceback)[-4000:],
        "read": v.exercise.read,
    }


# ---------------------------------------------------------------------------------- one run of it

SAYS = {  # what ends a function for good: {name: sentence}
    "killed": "The process that ran it died ({how}): was it memory, recursion without end, os._exit?",
    "cell stalls": "Its cell does not come to an end.",
    "cell killed": "Its cell ended the process ({how}).",
    "too much": "What it returned is too large, or of a kind that no exercise asks for.",
    "not an answer": "What came back was no answer of a function.",
    "no time left": "The time for this submission was used up before its turn.",
    "not a function": "Expected a function called {how}; there is none after its cell has run.",
}
NOBODY_ELSE = ("not written", "syntax error", "cell stalls", "endless loop", "no time left")


class Run:
    """A submission's steps, run in a worker as often as its deaths require."""

    def __init__(self, worker, steps, checks, deadline):
        self.worker, self.steps, self.checks, self.deadline = worker, steps, checks, deadline
        self.broken = {}  # number of a step: (name, how) of what it did to the process
        self.session, self.done, self.asked, self.alone = None, 0, 0, ""

    def judge(self, exercises, seed, alone=False):
        """{name: Verdict} for every exercise, from inputs made from the seed, in a fresh process.

        alone : each in a process of its own, in which no answer has run that it does not use
        """
        self.hang_up()
        self.alone, self.broken, verdicts = "", {}, {}
        try:
            for name in sorted(exercises, key=self.checks.get):
                if alone:
                    self.hang_up()
                    self.alone = name
                verdicts[name] = self.judge_one(exercises[name], seed)
        finally:
            self.hang_up()
        return verdicts

    def judge_one(self, exercise, seed):
        fault, seen, cell_error = None, [], None
        try:
            cell_error = self.prepare(exercise.name)
            for i, case in enumerate(exercise.cases):
                if seen and seen[-1]["timeout"]:
                    seen.append(seen[-1])
                    continue
                args = exercise.inputs(i, seed)
                reply = self.ask(
                    exercise.seconds + GRACE,
                    op="call",
                    name=exercise.name,
                    driver=exercise.driver,
                    args=args,
                    grad=list(case.grad),
                    seconds=exercise.seconds,
                )
                if isinstance(reply, dict) and "nothing" in reply:
                    fault = ("not a function", exercise.name)
                    break
                seen.append(checked(reply))
        except Ended as end:
            fault = (end.name, end.how)
        if fault and fault[0] == "stalled":
            timeout = dict(EMPTY, timeout=True)
            seen += [timeout] * (len(exercise.cases) - len(seen))
        elif fault and cell_error:
            return nothing(exercise, *describe_cell_error(cell_error))
        elif fault:
            return nothing(exercise, fault[0], SAYS[fault[0]].format(how=fault[1]))
        try:
            verdict = exercise.verdict(seed, seen)
        except (
            Exception
        ) as error:  # no reply may stop the judge, whatever the comparison makes of it
            return nothing(
                exercise, "not an answer", f"{SAYS['not an answer']} ({type(error).__name__})"
            )
        if verdict.pitfall == "not written" and cell_error:
            return nothing(exercise, *describe_cell_error(cell_error))
        return verdict

    def prepare(self, name):
        """Run all steps before the check of an exercise. returns: what its own cell raised, or None
        raises: Ended if its own cell, or time, ended it."""
        raised = None
        while True:
            try:
                if self.session is None:
                    self.session, self.done = self.worker.start(), 0
                    self.ask(CELL_SECONDS + GRACE, op="load", cells=self.steps, alone=self.alone)
                while self.done < self.checks[name]:
                    number, self.done = self.done, self.done + 1
                    step = self.steps[number]
                    if number in self.broken:
                        if step["name"] == name:
                            raise Ended(*self.broken[number])
                        continue
                    try:
                        reply = self.ask(
                            CELL_SECONDS + GRACE, op="run", cell=number, seconds=CELL_SECONDS
                        )
                    except Ended as end:
                        if end.name == "no time left":
                            raise
                        names = {"stalled": "cell stalls", "killed": "cell killed"}
                        self.broken[number] = (names.get(end.name, end.name), end.how)
                        break
                    if step["name"] == name:
                        raised = checked_error(reply.get("error") if type(reply) is dict else None)
                        if raised and raised["type"] == "endless loop":
                            raise Ended("cell stalls", "")
                else:
                    return raised
            except Ended as end:
                if self.session is None and not self.broken and end.name == "killed":
                    raise Ended("cell killed", end.how) from None
                raise

    def ask(self, limit, **request):
        """Send a request, return the reply. raises: Ended, with the session hung up."""
        now = time.monotonic()
        if now > self.deadline:
            raise Ended("no time left", "")
        self.asked += 1
        try:
            wire.send(self.session, {"number": self.asked, **request})
            reply = wire.receive(self.session, min(now + limit, self.deadline))
            if type(reply) is not dict or reply.get("number") != self.asked:
                raise wire.WireError("an answer to another question")
            reply = reply.get("reply")
        except wire.Late:
            self.hang_up()
            raise Ended("stalled", "") from None
        except wire.Closed:
            raise Ended("killed", how_it_died(self.hang_up())) from None
        except wire.WireError:
            self.hang_up()
            raise Ended("not an answer", "") from None
        if type(reply) is dict and "too much" in reply:
            raise Ended("too much", "")
        return reply

    def hang_up(self):
        """End the session. returns: exit status of its process"""
        status = 0
        if self.session is not None:
            self.session.close()
            self.session = None
            status = self.worker.end()
        return status


class Ended(Exception):
    """name: a key of SAYS, or "stalled"; how: what is known of it"""

    def __init__(self, name, how):
        super().__init__(name, how)
        self.name, self.how = name, how


def how_it_died(status):
    if status < 0:
        with contextlib.suppress(ValueError):
            return signal.Signals(-status).name
    return "it ended itself"  # with which status is the submission's choice of words


def nothing(exercise, name, says):
    return Verdict(exercise, False, 0.0, name, says, dict.fromkeys(exercise.parts))


def describe_cell_error(error):
    """(name, sentence) for a cell that raised before its function was there."""
    where = f" ({error['line']})" if error["line"] else ""
    if error["type"] in ("SyntaxError", "IndentationError", "TabError"):
        return "syntax error", f"Its cell is no Python: {error['message']}."
    return "cell raises", f"Its cell raised {error['type']}: {error['message']}{where}."


EMPTY = dict(
    out=None,
    grads={},
    error=None,
    timeout=False,
    modified=[],
    state=[],
    random=False,
    printed="",
    seconds=0.0,
)


def checked(reply):
    """An observation, of exactly the form that drivers.observe gives. raises: Ended"""
    if type(reply) is not dict or set(reply) != set(EMPTY):
        raise Ended("not an answer", "")
    checked_error(reply["error"])
    fits = (
        type(reply["timeout"]) is bool
        and type(reply["random"]) is bool
        and type(reply["grads"]) is dict
        and all(type(reply[k]) is list for k in ("modified", "state"))
        and all(type(name) is str for name in (*reply["modified"], *reply["state"]))
        and all(name in drivers.SETTINGS for name in reply["state"])
    )
    if not fits:
        raise Ended("not an answer", "")
    return reply


def checked_error(error):
    if error is None:
        return None
    keys = {"type", "message", "line", "traceback"}
    if (
        type(error) is not dict
        or set(error) != keys
        or any(type(v) is not str for v in error.values())
    ):
        raise Ended("not an answer", "")
    return error


# ---------------------------------------------------------------------------- the warm worker

WORKERS = {}  # one warm worker a process


def warm_worker(asked, modules, limits):
    """The warm worker of this process; other exercises or limits replace it."""
    key = (os.getpid(), asked, modules, limits)
    worker = WORKERS.get("warm")
    if worker is None or worker.key != key or not worker.alive():
        close_worker()
        worker = WORKERS["warm"] = strongest(asked, modules, limits)
        worker.key = key
    return worker


def close_worker():
    worker = WORKERS.pop("warm", None)
    if worker and worker.key[0] == os.getpid():  # not in a forked copy of this process
        worker.close()


# unlike atexit, this is heard in the processes of a pool, too
Finalize(None, close_worker, exitpriority=100)


def strongest(asked, modules, limits, levels=sandbox.LEVELS):
    """A worker at the strongest level that works. raises: NoIsolation, with what was tried."""
    failed = []
    for level in levels:
        if level == "none" and not limits.unsafe:
            continue
        if not sandbox.fits(level):
            failed.append(f"{level} is not there")
            continue
        try:
            return Worker(level, asked, modules, limits)
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


def remove_homes_of_the_dead():
    """Directories of workers whose judge was killed before it could tidy up."""
    for path in Path(tempfile.gettempdir()).glob(f"{HOME}[0-9]*-*"):
        owner = path.name.removeprefix(HOME).split("-")[0]
        if sys.platform == "linux" and not Path("/proc", owner).exists():
            shutil.rmtree(path, ignore_errors=True)


class Worker:
    """A warm process and its control socket."""

    def __init__(self, level, asked, modules, limits):
        self.level, self.isolation = level, NAMES[level]
        self.limits, self.process, self.control = limits, None, None
        remove_homes_of_the_dead()
        self.home = Path(tempfile.mkdtemp(prefix=f"{HOME}{os.getpid()}-"))
        self.home.chmod(0o755)
        self.modules = modules
        (self.home / "scratch").mkdir()
        write_package(self.home / "package", asked)
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
            user=2_000_000_000 + random.SystemRandom().randrange(10**8),
            memory=self.limits.memory << 20,
            seconds=self.limits.seconds + 10,
            package=str(self.home / "package"),
            scratch=str(self.home / "scratch"),
            modules=["matplotlib.pyplot", "gymnasium", *drivers_of_the_lessons(), *self.modules],
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
        """The door is locked: a session cannot do what a sandbox must refuse."""
        if self.level == "none":
            return
        probe = {"kind": "answer", "name": "probe", "source": PROBE}
        session = self.start()
        try:
            wire.send(session, {"number": 1, "op": "load", "cells": [probe], "alone": ""})
            wire.receive(session, time.monotonic() + 30)
            wire.send(session, {"number": 2, "op": "run", "cell": 0, "seconds": 10.0})
            error = wire.receive(session, time.monotonic() + 30)["reply"]["error"]
        except wire.WireError as error:
            raise WorkerFailed(f"{error} {self.reason()}") from None
        finally:
            session.close()
            self.end()
        if error:
            raise WorkerFailed(f"it leaks: {error['message']}")

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
        shutil.rmtree(self.home, ignore_errors=True)


PROBE = """
import os, socket
for what, attempt in {
    "the network": lambda: socket.create_connection(("127.0.0.1", 9), 1),
    "a process": os.fork,
    "a file": lambda: open("/etc/passwd").read(),
    "a write": lambda: open(os.path.expanduser("/usr/pgcourse-probe"), "w"),
    "a signal": lambda: os.kill(os.getppid(), 0),
}.items():
    try:
        attempt()
    except (OSError, ImportError):
        continue
    raise RuntimeError(what)
"""


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


# --- the worker's own pgcourse: without the answers ---


def drivers_of_the_lessons():
    """Modules that say how functions are called; they know no answer."""
    folder = Path(pgcourse.__file__).parent / "checks"
    return [f"pgcourse.checks.{p.stem}" for p in sorted(folder.glob("*drivers.py"))]


CHECKS = '''"""In a graded run the judge is elsewhere; a notebook that calls check gets no answer here."""


def check(fn, exercise=None):
    return 0.0


judge = check
'''
STUB = "raise NotImplementedError({!r})"


def write_package(target, asked):
    """A copy of pgcourse for a worker: the functions that are asked for raise, checks know no answer."""
    root = Path(pgcourse.__file__).parent
    (target / "pgcourse" / "checks").mkdir(parents=True)
    (target / "pgcourse" / "classroom").mkdir()
    for path in sorted(root.glob("*.py")):
        text = without_answers(path.read_text(encoding="utf-8"), asked)
        (target / "pgcourse" / path.name).write_text(text, encoding="utf-8")
    (target / "pgcourse" / "checks" / "__init__.py").write_text(CHECKS, encoding="utf-8")
    (target / "pgcourse" / "classroom" / "__init__.py").write_text("", encoding="utf-8")
    for path in sorted((root / "checks").glob("*drivers.py")):
        shutil.copy(path, target / "pgcourse" / "checks")
    for name in ("worker", "wire", "sandbox"):
        shutil.copy(root / "classroom" / f"{name}.py", target / "pgcourse" / "classroom")


def without_answers(text, asked):
    """The text of a module with the body of each function that is asked for replaced by one that says so."""
    lines = text.split("\n")
    found = [
        node
        for node in ast.parse(text).body
        if isinstance(node, ast.FunctionDef) and node.name in asked
    ]
    for node in reversed(found):
        says = (
            f"{node.name} is what this lesson asks for: in a graded run, pgcourse does not have it."
        )
        indent = " " * node.body[0].col_offset
        lines[node.body[0].lineno - 1 : node.end_lineno] = [indent + STUB.format(says)]
    return "\n".join(lines)


@cache
def fingerprint(source):
    """Changes when the checks or the judge do: a result of another version is not reused."""
    root = Path(pgcourse.__file__).parent
    modules = {e.reference.__module__ for e in exercises_in(source).values()}
    modules |= {case.inputs.__module__ for e in exercises_in(source).values() for case in e.cases}
    files = {Path(sys.modules[name].__file__) for name in modules}
    files |= set(root.glob("checks/*drivers.py")) | {root / "checks" / "core.py"}
    files |= {root / "classroom" / f"{name}.py" for name in ("judge", "worker", "wire", "intake")}
    return f"{zlib.crc32(b''.join(p.read_bytes() for p in sorted(files))):08x}"
