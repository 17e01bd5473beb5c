"""The judge's side of a graded run: a submission's bytes in, points and words out.

`grade_submission` is a pure function of (bytes, source, seed, limits). It has the submitted
functions called in a worker (`worker`, in a `sandbox`), one case at a time, and decides here, where
no submitted code ever runs. Points come from inputs made from the secret seed. Words come from
the visible seed, in a fresh process that never saw a secret number: so whatever a submission
writes into its messages, there is nothing in it to learn from.
"""

import contextlib
import hashlib
import hmac
import signal
import sys
import threading
import time
import zlib
from dataclasses import replace
from functools import cache
from pathlib import Path

import pgcourse
from pgcourse.checks import drivers, get
from pgcourse.checks.cells import clean, read_cells
from pgcourse.checks.core import KNOWN, VISIBLE_SEED, Verdict
from pgcourse.checks.statements import CELL_SECONDS
from pgcourse.checks.submission import is_check, match
from pgcourse.classroom import intake, wire
from pgcourse.classroom.carried import carried, said
from pgcourse.classroom.located import located
from pgcourse.classroom.warm import DEFAULT, warm_worker

ONE_AT_A_TIME = threading.Lock()  # a process has one warm worker; a cluster's may have many threads
MOST_REPLY = (2**19, 2**22)  # bytes; a verdict holds the replies of all cases at once
GRACE = 3.0  # beyond its own limit before a call is ended from outside


# ---------------------------------------------------------------------------------- the function


def grade_submission(data, source, seed, limits=DEFAULT):
    """Grade one submission.

    data    : bytes of the submitted notebook
    source  : text of the instructor's source notebook: what is run and asked comes from here
    seed    : str, the class's secret
    returns : dict of plain data: exercises {name: {score, points, passed, pitfall, message, why, parts,
              traceback, example, where, read}}, notes [str], isolation, seconds
    raises  : cells.Unreadable, NoIsolation
    """
    with ONE_AT_A_TIME:
        return grade_one(data, source, seed, limits)


def grade_one(data, source, seed, limits):
    started = time.monotonic()
    cells, notes = read_cells(data)
    asked = exercises_in(source)
    secret = own_seed(seed, source, data)
    submission = match(cells, source_cells(source))
    steps, checks = submission.steps()
    exercises = {name: asked[name] for name in checks if name in asked}
    modules = intake.imports(source_cells(source))
    worker = warm_worker(tuple(asked), tuple(modules), limits, source)
    try:
        # words first: what runs for them comes before every secret number of this submission
        run = Run(worker, steps, checks, limits.seconds)
        points = verdicts = spoken = run.judge_fairly(exercises, VISIBLE_SEED)
        if secret != VISIBLE_SEED:
            run = Run(worker, steps, checks, limits.seconds)
            points = run.judge_fairly(exercises, secret)
            verdicts = {name: in_words(v, spoken[name]) for name, v in points.items()}
        for name, (verdict, spared) in carried(run, exercises, points, secret).items():
            fixed = secret == VISIBLE_SEED or is_fixed(verdict)
            verdicts[name] = said(verdicts[name], verdict, spared, fixed)
        if secret != VISIBLE_SEED:
            verdicts |= located(run, exercises, verdicts, spoken)
    finally:
        for known in [known for known in KNOWN if known[2] == secret != VISIBLE_SEED]:
            del KNOWN[known]  # nobody else gets these numbers
    for name in submission.still_to_mend():
        if name in verdicts and verdicts[name].pitfall == "not written":
            verdicts[name] = replace(verdicts[name], message=TO_MEND)
    return {
        "exercises": {name: as_plain(verdict) for name, verdict in verdicts.items()},
        "notes": notes + submission.notes,
        "isolation": worker.isolation,
        "seconds": round(time.monotonic() - started, 3),
    }


def own_seed(seed, source, data):
    """What the inputs of one submission are made from: who learns them learns nothing of any other's,
    nor of the same student's next. A learner's own run is on the numbers that the notebook shows."""
    if seed == VISIBLE_SEED:
        return seed
    about = hashlib.sha256(source.encode()).digest() + hashlib.sha256(data).digest()
    return hmac.new(seed.encode(), about, "sha256").hexdigest()


@cache
def source_cells(source):
    """The cells of the instructor's notebook (its text)."""
    return read_cells(source.encode())[0]


@cache
def exercises_in(source):
    """{name: Exercise} of the checks in a source notebook (its text), as far as there are any."""
    found = {}
    for cell in source_cells(source):
        if is_check(cell):
            name = cell.grade_id.removeprefix("check_")
            with contextlib.suppress(KeyError):
                found[name] = get(name)
    return found


def in_words(secret, visible):
    """The points of the secret run in fixed words, or in those of the visible run.

    What a submission writes, and how it dies, may tell what it saw: of the secret run only the names of
    pitfalls and the sentences of SAYS are kept. The case that is shown is the visible run's.
    """
    if secret.passed or is_fixed(secret) or secret.pitfall in ("endless loop", "not written"):
        example = visible.example if secret.pitfall == visible.pitfall else ""
        return replace(secret, traceback="", example=example)
    if visible.passed or visible.score > secret.score:
        if secret.pitfall in SAYS:
            return replace(secret, traceback="", example="")
        says = (
            "It is right on the numbers that the notebook shows, and wrong on others of the same "
            "kind. Is something written down that should be computed?"
        )
        name, why, traceback = "right on the shown numbers only", "", ""
    else:
        name, says, why = visible.pitfall, visible.message, visible.why
        traceback = visible.traceback
    example = visible.example if name == visible.pitfall else ""
    return replace(
        secret, pitfall=name, message=says, why=why, traceback=traceback, example=example
    )


def is_fixed(v):
    return (v.pitfall, v.message) in {(p.name, p.says) for p in v.exercise.pitfalls}


def as_plain(v):
    return {
        "score": float(min(max(v.score, 0.0), v.points)),
        "points": v.points,
        "passed": v.passed,
        "pitfall": v.pitfall,
        "message": clean(v.message)[:2000],
        "why": v.why,
        "parts": [[part, ok] for part, ok in v.earned.items()],
        "traceback": clean(v.traceback)[-4000:],
        "example": clean(v.example)[:2000],
        "where": v.where
        and {k: getattr(v.where, k) for k in ("line", "text", "change", "says")}
        | {"lines": [*v.where.lines]},
        "read": v.exercise.read,
    }


# ---------------------------------------------------------------------------------- one run of it

SAYS = {  # what ends a function for good: {name: sentence}
    "killed": "The process that ran it died{how}: was it memory, recursion without end, os._exit?",
    "cell stalls": "Its cell does not come to an end.",
    "cell killed": "Its cell ended the process{how}.",
    "too much": "What it returned is too large, or of a kind that no exercise asks for.",
    "not an answer": "What came back was no answer of a function.",
    "no time left": "The time for this submission was used up before its turn.",
    "not a function": "Expected a function called {name}; there is none after its cell has run.",
}
TO_MEND = "It is as it was given, with the mistake in it. Find it, say why, mend it."
NOBODY_ELSE = ("not written", "syntax error", "no time left")


class Run:
    """A submission's steps, run in a worker as often as its deaths require."""

    def __init__(self, worker, steps, checks, seconds):
        self.worker, self.steps, self.checks, self.seconds = worker, steps, checks, seconds
        self.deadline = time.monotonic() + seconds
        self.broken = {}  # number of a step: (name, how) of what it did to the process
        self.session, self.done, self.asked, self.alone = None, 0, 0, ""
        self.died = False  # whether a session ended before its time

    def judge_fairly(self, exercises, seed):
        """Like `judge`; what is wrong is judged once more, where no other answer's cell can be to blame."""
        verdicts = self.judge(exercises, seed)
        unclear = [n for n, v in verdicts.items() if not v.passed and v.pitfall not in NOBODY_ELSE]
        again = self.judge({n: exercises[n] for n in unclear}, seed, alone=True)
        return verdicts | {n: v for n, v in again.items() if v.score >= verdicts[n].score}

    def judge(self, exercises, seed, alone=False):
        """{name: Verdict} for every exercise, from inputs made from the seed, in a fresh process.

        alone : each in a process of its own, in which no answer has run that it does not use; once a
                process has ended before its time, that holds for the rest, too
        """
        self.hang_up()
        self.alone, self.broken, self.died, verdicts = "", {}, False, {}
        try:
            for name in sorted(exercises, key=self.checks.get):
                if alone or self.died:
                    self.hang_up()
                    self.alone = name
                verdicts[name] = self.judge_one(exercises[name], seed)
        finally:
            self.hang_up()
        return verdicts

    def judge_alone(self, exercise, seed, helpers):
        """The Verdict in a session that hears of no other answer, with right ones of these names: texts."""
        self.hang_up()
        self.alone, self.broken = exercise.name, {}
        try:
            return self.judge_one(exercise, seed, helpers)
        finally:
            self.hang_up()

    def another(self, worker=None, steps=None):
        """A Run in another worker or of other steps, with time of its own."""
        return Run(worker or self.worker, steps or self.steps, self.checks, self.seconds)

    def where(self, name, seconds, wall):
        """What a search for the line of an answer says (worker.Session.where), or None."""
        self.alone = name
        try:
            self.prepare(name)
            return self.ask(wall, op="where", name=name, seconds=seconds)
        except Ended:
            return None
        finally:
            self.hang_up()

    def judge_one(self, exercise, seed, helpers=()):
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
                    helpers=dict(helpers),
                )
                if isinstance(reply, dict) and "nothing" in reply:
                    fault = ("not a function", "")
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
            how = f" ({fault[1]})" if fault[1] and seed == VISIBLE_SEED else ""
            return nothing(exercise, fault[0], SAYS[fault[0]].format(how=how, name=exercise.name))
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
            reply = wire.receive(self.session, min(now + limit, self.deadline), MOST_REPLY)
            if type(reply) is not dict or reply.get("number") != self.asked:
                raise wire.WireError("an answer to another question")
            reply = reply.get("reply")
        except wire.WireError as error:
            self.died, status = True, self.hang_up()
            if isinstance(error, wire.Late):
                raise Ended("stalled", "") from None
            if isinstance(error, wire.Closed):
                raise Ended("killed", how_it_died(status)) from None
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


JUDGES = (
    *(f"classroom/{name}" for name in ("judge", "warm", "worker", "wire", "intake")),
    *("classroom/sandbox", "classroom/system_calls", "classroom/carried", "classroom/located"),
)


@cache
def fingerprint(source):
    """Changes when the checks or the judge do: a result of another version is not reused."""
    root = Path(pgcourse.__file__).parent
    modules = {e.reference.__module__ for e in exercises_in(source).values()}
    modules |= {case.inputs.__module__ for e in exercises_in(source).values() for case in e.cases}
    files = {Path(sys.modules[name].__file__) for name in modules}
    files |= {*root.glob("checks/**/*.py")}
    files |= {root / f"{name}.py" for name in JUDGES}
    return f"{zlib.crc32(b''.join(p.read_bytes() for p in sorted(files))):08x}"
