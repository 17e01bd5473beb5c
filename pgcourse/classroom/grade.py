"""Grade a class: many submissions at once, one writer, and nobody's mistake stops the others.

pgcourse grade my-class 05_ppo                    what is new or changed since the last time
pgcourse grade my-class 05_ppo --from downloads   collect a folder of notebooks first
"""

import contextlib
import json
import os
import signal
from collections import deque
from concurrent.futures import FIRST_COMPLETED, CancelledError, ProcessPoolExecutor, wait
from concurrent.futures.process import BrokenProcessPool
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from multiprocessing import get_context
from pathlib import Path
from typing import Annotated

import typer

from pgcourse.checks import cells
from pgcourse.checks.cells import shown
from pgcourse.checks.submission import match
from pgcourse.classroom import downloads, intake, secrecy, start
from pgcourse.classroom import roster as rosters
from pgcourse.classroom.gradebook import ClassError, Classroom, Store, result_key, write_whole
from pgcourse.classroom.judge import grade_submission, source_cells
from pgcourse.classroom.warm import DEFAULT, Limits, NoIsolation

PATIENCE = 20  # seconds for a Dask scheduler to answer, and to have a worker
LONG = 60  # seconds without a result after which one looks whether anybody is at work
MOST_NAME = 200  # bytes of a student's name, which becomes part of files' names


@dataclass(frozen=True)
class Row:
    """What became of one submission.

    status : "graded", "unchanged" or "not graded"
    note   : why it was not graded, or what was repaired
    """

    student: str
    status: str
    score: float = 0.0
    points: float = 0.0
    note: str = ""


# ------------------------------------------------------------------------------------ the class


def grade_class(
    root, lesson, students=(), jobs=None, limits=DEFAULT, force=False, scheduler=None, tell=None
):
    """Grade all that was handed in for a lesson.

    students  : names; by default everybody in submitted/
    jobs      : judges at work at once, by default one a core
    force     : grade again what has not changed, too
    scheduler : address of a Dask scheduler; by default a pool of processes here
    tell      : called with (done, all, Row) after each
    returns   : {student: Row} in order
    raises    : ClassError, NoIsolation
    """
    room = Classroom(root)
    source, seed = room.source(lesson), room.seed
    room.check_released(lesson)
    everybody = room.students(lesson)
    unknown = sorted(set(students) - set(everybody))
    if unknown:
        raise ClassError(f"Nothing of {lesson} was handed in by {', '.join(unknown)}.")
    everybody = [s for s in everybody if not students or s in students]
    rows = {}

    def done(row):
        rows[row.student] = row
        if tell:
            tell(len(rows), len(everybody), row)

    with only_writer(room.root), executor(scheduler, jobs) as pool:
        store = Store(room.root, lesson)
        stamps = room.root / ".pgcourse" / "written" / lesson
        for job, result in pool.results(
            job
            for student in everybody
            if (job := prepare(room, student, lesson, source, seed, limits, store, force, done))
        ):
            done(finish(room, lesson, job, result, store, stamps, limits))
    return {student: rows[student] for student in everybody}


@dataclass(frozen=True)
class Job:
    """A submission on its way. result: what is stored for exactly these bytes, or None"""

    student: str
    data: bytes
    key: str
    timestamp: str
    notes: list
    task: tuple
    result: dict | None


def prepare(room, student, lesson, source, seed, limits, store, force, done):
    """Read a submission. Returns its Job; None where there is nothing to judge, and says so."""
    folder, stored = room.submitted(student, lesson), store.read(student)
    if len(student.encode(errors="replace")) > MOST_NAME:
        done(Row(student, "not graded", note="the student's name is too long for a file's name"))
        return None
    if not student.isprintable():
        says = (
            "the student's name has a line break or the like, which nbgrader cannot read; rename it"
        )
        done(Row(student, "not graded", note=says))
        return None
    try:
        path, notes = intake.find_notebook(folder, lesson)
        data = cells.read_bytes(path)
        match(cells.read_cells(data)[0], source_cells(source))
        timestamp, more = read_timestamp(folder / "timestamp.txt")
    except cells.Unreadable as error:
        store.write(student, {"unreadable": str(error)})
        done(Row(student, "not graded", note=str(error)))
        return None
    except OSError as error:
        done(Row(student, "not graded", note=f"it cannot be read: {error.strerror}"))
        return None
    key = result_key(data, source, seed, limits)
    known = stored if stored.get("key") == key and "exercises" in stored and not force else None
    stamp = written_stamp(room.root, lesson, student)
    if known and stamp == [key, timestamp]:
        done(row_of(student, "unchanged", known))
        return None
    task = (data, source, seed, limits)
    return Job(student, data, key, timestamp, notes + more, task, known)


def finish(room, lesson, job, result, store, stamps, limits):
    """Store a result and have nbgrader write it down. returns: Row"""
    if isinstance(result, BaseException):
        says = f"the judge failed on it ({type(result).__name__}: {result})"
        says = str(result) if isinstance(result, cells.Unreadable) else says
        store.write(job.student, {"unreadable": says})
        return Row(job.student, "not graded", note=says)
    if result is not job.result:
        result = {"key": job.key, **result, "notes": job.notes + result["notes"]}
        store.write(job.student, result)
    with contextlib.suppress(FileNotFoundError):
        (stamps / f"{job.student}.json").unlink()
    try:
        room.record(job.student, lesson, job.data, job.timestamp, limits)
    except Exception as error:
        return Row(job.student, "not graded", note=f"nbgrader failed: {first_line(error)}")
    write_whole(stamps / f"{job.student}.json", json.dumps([job.key, job.timestamp]))
    return row_of(job.student, "graded", result)


def row_of(student, status, result):
    verdicts = result["exercises"].values()
    score, points = (sum(v[k] for v in verdicts) for k in ("score", "points"))
    return Row(student, status, score, points, "; ".join(result["notes"]))


def written_stamp(root, lesson, student):
    """[key, timestamp] of what nbgrader has written down completely, or None."""
    try:
        path = root / ".pgcourse" / "written" / lesson / f"{student}.json"
        return json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return None


FIRST_YEAR = 2020  # nothing of this course was handed in before


def read_timestamp(path):
    """(text, notes) of nbgrader's timestamp.txt; "" where there is none that it could read. A time that
    cannot be is replaced by the one at which the file came."""
    from nbgrader.utils import parse_utc

    if not os.path.lexists(path):
        return "", []
    try:
        text = cells.read_bytes(path)[:200].decode("utf-8", "replace").strip()
        when = parse_utc(text) if text else None
    except Exception:
        return "", ["the file timestamp.txt does not hold a time"]
    tomorrow = datetime.now(UTC).replace(tzinfo=None) + timedelta(days=1)
    if when is None or (when.year >= FIRST_YEAR and when < tomorrow):
        return text, []
    came = datetime.fromtimestamp(path.stat().st_mtime, UTC)
    says = (
        f"timestamp.txt says {when:%Y-%m-%d}, which cannot be; {came:%Y-%m-%d %H:%M} UTC was taken"
    )
    return f"{came:%Y-%m-%d %H:%M:%S} UTC", [says]


def first_line(error):
    return (str(error).strip() or type(error).__name__).splitlines()[0][:200]


@contextlib.contextmanager
def only_writer(root):
    """One process at a time writes the gradebook of a class."""
    try:
        import fcntl
    except ImportError:
        raise NoIsolation("pgcourse grade needs Linux; see course/INSTRUCTORS.md.") from None
    (root / ".pgcourse").mkdir(exist_ok=True)
    with open(root / ".pgcourse" / "lock", "w") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            raise ClassError(f"Another pgcourse grade is at work in {root}.") from None
        yield


# ------------------------------------------------------------------------------------ who judges


class Pool:
    """Runs jobs on an executor, a bounded number at once; survives the death of its processes."""

    def __init__(self, make, width, look=lambda: None):
        """look: called after `LONG` seconds without a result; raises where none can come."""
        self.make, self.width, self.look = make, width, look
        self.executor = make()

    def results(self, jobs):
        """(job, result or exception) of each, as they are ready; jobs are read as they are needed."""
        jobs, running, again = iter(jobs), {}, deque()
        more = True
        while True:
            while more and not again and len(running) < self.width:
                job = next(jobs, None)
                more = job is not None
                if more and job.result is not None:
                    yield job, job.result
                elif more:
                    running[self.submit(job)] = job
            while again and not running:  # the one that killed its judge is found by being alone
                job = again.popleft()
                yield job, self.alone(job)
            if not running:
                if not more and not again:
                    return
                continue
            done = wait(running, LONG, FIRST_COMPLETED).done
            if not done:
                self.look()
            for future in done:
                try:
                    job, error = running.pop(future), future.exception()
                except CancelledError:  # a Dask client cancels all when its scheduler has gone
                    raise ClassError(
                        "The scheduler is gone. What was graded is kept; run the same command again."
                    ) from None
                if isinstance(error, NoIsolation):
                    raise error
                if isinstance(error, BrokenProcessPool):
                    again.append(job)
                else:
                    yield job, error or future.result()
            if again and not running:
                self.renew()

    def submit(self, job):
        """Ctrl-C waits for a moment: a process that is started here inherits that it does not hear it."""
        before = signal.pthread_sigmask(signal.SIG_BLOCK, [signal.SIGINT])
        try:
            return self.executor.submit(grade_submission, *job.task)
        finally:
            signal.pthread_sigmask(signal.SIG_SETMASK, before)

    def alone(self, job):
        try:
            return self.submit(job).result()
        except BrokenProcessPool as error:
            self.renew()
            return error
        except Exception as error:
            return error

    def renew(self):
        self.close()
        self.executor = self.make()

    def close(self):
        if isinstance(self.executor, ProcessPoolExecutor):
            # whoever is at work is not waited for: what it would have found is found the next time
            for process in [*(getattr(self.executor, "_processes", None) or {}).values()]:
                process.terminate()
            self.executor.shutdown(wait=False, cancel_futures=True)
        else:
            self.executor.shutdown(wait=False)


@contextlib.contextmanager
def executor(scheduler, jobs):
    """A Pool of processes here, or on the Dask cluster behind a scheduler's address."""
    if scheduler:
        try:
            from distributed import Client
        except ImportError:
            raise ClassError("--scheduler needs Dask: pip install 'pgcourse[dask]'.") from None
        try:
            client = Client(scheduler, timeout=PATIENCE)
        except (
            OSError,
            ValueError,
            TypeError,
        ) as error:  # TypeError: tls:// without its three files
            raise ClassError(f"No Dask scheduler answers at {scheduler}: {error}.") from None
        with client:
            threads = workers_of(client, scheduler)
            yield Pool(
                lambda: client.get_executor(pure=False, retries=2),
                2 * threads,
                lambda: workers_of(client, scheduler),
            )
        return
    jobs = jobs or len(os.sched_getaffinity(0) if hasattr(os, "sched_getaffinity") else [0, 0])
    context = get_context("spawn")
    pool = Pool(
        lambda: ProcessPoolExecutor(
            jobs, context, initializer=start.judge, initargs=(os.getpid(),)
        ),
        jobs + 1,
    )
    try:
        yield pool
    finally:
        pool.close()


def workers_of(client, scheduler):
    """Number of threads of a Dask cluster, which must not be none: a worker that died has a moment to come back."""
    try:
        client.wait_for_workers(1, timeout=PATIENCE)
    except (OSError, TimeoutError):
        raise ClassError(f"The Dask scheduler at {scheduler} has no worker.") from None
    return sum(client.nthreads().values())


# ------------------------------------------------------------------------------------ collecting


def collect(root, lesson, source, roster=None, look_only=False):
    """Copy a download of a learning platform into submitted/<student>/<lesson>/; see `downloads`.

    returns : downloads.Survey
    """
    known = rosters.read(roster) if roster else None
    return downloads.collect(Classroom(root), lesson, source, known, look_only)


# -------------------------------------------------------------------------------------- command


def command(
    directory: Annotated[
        Path, typer.Argument(help="The classroom (an nbgrader course directory).")
    ],
    lesson: Annotated[str, typer.Argument(help="For example 05_ppo.")],
    from_: Annotated[
        Path | None,
        typer.Option(
            "--from", help="Collect this download first: a folder, or an archive as it comes."
        ),
    ] = None,
    roster: Annotated[
        Path | None,
        typer.Option(help="With --from: the class list (CSV), which settles names and ids."),
    ] = None,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="With --from: only show what was found.")
    ] = False,
    student: Annotated[
        list[str] | None, typer.Option(help="Only this student (may be repeated).")
    ] = None,
    jobs: Annotated[int | None, typer.Option(min=1, help="At once; default: one a core.")] = None,
    timeout: Annotated[int, typer.Option(min=1, help="Seconds for a submission.")] = Limits.seconds,
    memory: Annotated[int, typer.Option(min=64, help="MB for a submission.")] = Limits.memory,
    force: Annotated[
        bool,
        typer.Option("--force/--resume", help="Grade all again, or what is new or changed."),
    ] = False,
    scheduler: Annotated[str | None, typer.Option(help="A Dask cluster, tcp://host:8786.")] = None,
    unsafe_no_sandbox: Annotated[
        bool, typer.Option(help="Run submissions with all your rights where no sandbox works.")
    ] = False,
):
    """Grade what was handed in for a lesson, in parallel, sandboxed; nbgrader keeps the books.

    Exit codes: 0 all graded, 1 some could not be (they are named), 2 nothing was tried.
    """
    from rich.console import Console
    from rich.progress import (
        BarColumn,
        MofNCompleteColumn,
        Progress,
        TextColumn,
        TimeElapsedColumn,
        TimeRemainingColumn,
    )

    console = Console(width=None if os.isatty(1) else 120)
    limits = Limits(timeout, memory, unsafe_no_sandbox)
    columns = (
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        TimeElapsedColumn(),
        TextColumn("ETA"),
        TimeRemainingColumn(),
    )
    for line in secrecy.warnings(Path(directory).expanduser().resolve()):
        typer.echo(f"Warning: {shown(line)}", err=True)
    try:
        lost = False
        if from_:
            found = collect(directory, lesson, from_, roster, dry_run)
            console.print(downloads.table(found))
            lost = bool(found.unusable)
        if dry_run:
            raise typer.Exit(1 if lost else 0)
        with Progress(*columns, console=console) as progress:
            bar = progress.add_task(f"grading {lesson}", total=None)
            rows = grade_class(
                directory,
                lesson,
                students=tuple(student or ()),
                jobs=jobs,
                limits=limits,
                force=force,
                scheduler=scheduler,
                tell=lambda done, total, row: progress.update(bar, completed=done, total=total),
            )
    except (ClassError, NoIsolation) as error:
        typer.echo(shown(error), err=True)
        raise typer.Exit(2) from None
    except (Exception, KeyboardInterrupt) as error:  # a full disk, a locked gradebook, Ctrl-C …
        error.add_note("What was graded is kept: the same command goes on from here.")
        raise
    console.print(table(rows, directory, lesson))
    if lost or any(row.status == "not graded" for row in rows.values()):
        raise typer.Exit(1)


def table(rows, directory, lesson):
    """The rows as a rich Table; its caption says how the submissions were isolated."""
    from rich.markup import escape
    from rich.table import Table

    levels = Store(Path(directory).expanduser().resolve(), lesson).isolation()
    result = Table(
        title=f"{lesson}", caption=f"isolation: {', '.join(levels) or 'nothing was run'}"
    )
    for name, justify in (("student", "left"), ("points", "right"), ("", "left"), ("note", "left")):
        result.add_column(name, justify=justify)
    for row in rows.values():
        points = "—" if row.status == "not graded" else f"{row.score:g} of {row.points:g}"
        result.add_row(*map(escape, (shown(row.student), points, row.status, shown(row.note))))
    return result
