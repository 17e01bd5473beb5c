"""What grading promises: isolation at each level, exact points for honest mistakes, one path for all."""

import csv
import os
import re
import signal
import socket
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path

import nbformat
import pytest

from pgcourse.checks import all_exercises, drivers, get, lesson_exercises, package
from pgcourse.classroom import (
    classroom,
    gradebook,
    intake,
    judge,
    proofs,
    sandbox,
    warm,
    wire,
)
from pgcourse.classroom.build import ROOT
from pgcourse.classroom.grade import grade_class
from pgcourse.classroom.warm import Limits
from tests import classes
from tests.adversaries import RIGHT, SIGNATURE, attack, inside, whole
from tests.classes import FULL, LESSON, MOST, notebook, to_bytes

LEVELS = [level for level in ("bubblewrap", "landlock") if sandbox.fits(level)]


@pytest.fixture(scope="module", params=LEVELS)
def worker(request):
    """A warm worker at each level that this machine has."""
    made = warm.Worker(request.param, tuple(FULL), ("torch",), Limits(seconds=60, memory=512))
    yield made
    made.close()


def tried(worker, code):
    """What code does in a worker: None, or the type of the error that stopped it."""
    cells = [{"kind": "answer", "name": "cell", "source": code}]
    run = judge.Run(worker, cells, {"cell": 1}, 60)
    try:
        error = run.prepare("cell")
    except judge.Ended as end:
        return end.name
    finally:
        run.hang_up()
    return error and error["type"]


# ------------------------------------------------------------------------------------ isolation


def test_this_machine_isolates():
    assert LEVELS, "neither bubblewrap nor Landlock: pgcourse grade would refuse here"


def test_a_worker_computes(worker):
    assert tried(worker, "import torch\nassert torch.ones(3).sum() == 3") is None


@pytest.mark.parametrize(
    "code",
    [
        "import socket; socket.socket()",
        "import socket; socket.create_connection(('127.0.0.1', {port}), 1)",
        "open({home!r} + '/secret').read()",
        "open({home!r} + '/new', 'w')",
        "open({clone!r} + '/pgcourse/estimators.py').read()",
        "open('/etc/passwd').read()",
        "open('/usr/mine', 'w')",
        "import sys; open(sys.prefix + '/mine', 'w')",
        "import os; os.fork()",
        "import os; os.execv('/bin/sh', ['sh'])",
        "import subprocess; subprocess.run(['true'])",
        "import os; os.kill(os.getppid(), 9)",
        "import os; os.kill(-1, 0)",
        "import os; os.setuid(0); open(os.path.expanduser('~root/.profile'))",
        "import os; os.chmod('.', 0o777)",
        "open('big', 'wb').write(bytes(2**27))",
        "x = bytearray(2**30)",
        "import torch; torch.ones(2**28)",
        "x = [open('/dev/null') for i in range(1000)]",
        "import ctypes; assert ctypes.CDLL(None).ptrace(16, 1, 0, 0) == 0",
        "import ctypes; assert ctypes.CDLL(None).unshare(0x10000000) == 0",
        "import os; os.listdir('/proc/1/cwd/')",
    ],
)
def test_a_worker_cannot(worker, tmp_path, code):
    (tmp_path / "secret").write_text("secret")
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port = listener.getsockname()[1]
        code = code.replace("{home!r}", repr(str(tmp_path))).replace("{port}", str(port))
        assert tried(worker, code.replace("{clone!r}", repr(str(ROOT)))) is not None
    assert [p.name for p in tmp_path.iterdir()] == ["secret"]


def test_a_worker_has_the_rights_of_nobody(worker):
    code = """
import os
import re
import signal
status = open("/proc/self/status").read() if os.path.exists("/proc/self/status") else ""
caps = [line for line in status.splitlines() if line.startswith("CapEff")]
assert not caps or int(caps[0].split()[1], 16) == 0
"""
    # where /proc is closed there is nothing to read, which is as good
    assert tried(worker, code) in (None, "PermissionError")
    if os.getuid() == 0 and worker.level == "bubblewrap":
        assert tried(worker, "import os; assert os.getuid() not in (0, 65534)") is None


def test_nothing_is_left_for_the_next_submission(worker):
    leave = "import os\nopen('left', 'w').write('x')\nopen(os.environ['HOME'] + '/.left', 'w')"
    assert tried(worker, leave) is None
    assert tried(worker, "import os\nassert os.listdir('.') == [], os.listdir('.')") is None
    assert tried(worker, "import builtins\nbuiltins.left = 1") is None
    assert tried(worker, "left") == "NameError"


def test_who_fills_the_disk_is_ended(worker):
    fill = "i = 0\nwhile True:\n    open(str(i), 'wb').write(bytes(2**22))\n    i += 1"
    assert tried(worker, fill) in ("cell killed", "OSError")
    assert tried(worker, "import os\nassert os.listdir('.') == []") is None


def test_a_worker_that_dies_is_replaced(worker):
    assert tried(worker, "import os; os._exit(3)") == "cell killed"
    assert tried(worker, "import ctypes; ctypes.string_at(0)") == "cell killed"
    assert tried(worker, "x = 1") is None
    worker.process.kill()
    worker.process.wait()  # from then on nobody of it answers; while it dies it might still say yes
    assert tried(worker, "x = 1") is None


def test_the_whole_tree_ends_with_the_worker(worker):
    run = judge.Run(worker, [], {}, 60)
    run.session = worker.start()
    wire.send(run.session, {"number": 1, "op": "load", "cells": [], "alone": ""})
    wire.receive(run.session, time.monotonic() + 20)
    group = worker.process.pid
    run.hang_up()
    worker.stop()
    time.sleep(0.3)
    alive = [
        p.name
        for p in Path("/proc").glob("[0-9]*")
        if in_session(p, group) or str(worker.home) in command_line(p)
    ]
    assert alive == []
    worker.launch()


def in_session(path, session):
    try:
        fields = (path / "stat").read_text().rpartition(")")[2].split()
        return int(fields[3]) == session and fields[0] != "Z"
    except OSError:
        return False


def command_line(path):
    try:
        return (path / "cmdline").read_bytes().decode(errors="replace")
    except OSError:
        return ""


def test_where_nothing_isolates_it_refuses(monkeypatch):
    monkeypatch.setattr(sandbox, "fits", lambda level: level == "none")
    with pytest.raises(warm.NoIsolation, match="--unsafe-no-sandbox"):
        warm.strongest(tuple(FULL), (), Limits())


def test_a_sandbox_that_leaks_is_not_believed(monkeypatch):
    monkeypatch.setattr(sandbox, "fits", lambda level: level == "landlock")
    monkeypatch.setattr(proofs, "LOCKED", "raise RuntimeError('the network')")
    with pytest.raises(warm.NoIsolation, match="it leaks: the network"):
        warm.strongest(tuple(FULL), (), Limits())


def test_unsafe_says_so_in_every_report(monkeypatch):
    monkeypatch.setattr(sandbox, "fits", lambda level: level == "none")
    worker = warm.strongest(tuple(FULL), (), Limits(unsafe=True))
    try:
        assert worker.isolation == "NOT ISOLATED"
        assert tried(worker, "import torch\nx = torch.ones(3)") is None
    finally:
        worker.close()


def test_landlock_gives_the_same_points(monkeypatch):
    warm.close_worker()
    monkeypatch.setattr(sandbox, "fits", lambda level: level == "landlock")
    wrong = notebook({"score_step": attack("")})
    result = graded(wrong)
    warm.close_worker()
    assert result["isolation"] == "Landlock + seccomp"
    assert points(result) == FULL | {"score_step": 0.0}


@pytest.mark.skipif("bubblewrap" not in LEVELS, reason="bubblewrap plays the ordinary user")
def test_an_ordinary_user_is_isolated_too():
    """The grader as a user without any right: bubblewrap makes a user namespace of its own."""
    code = (
        "import os\n"
        "from pgcourse.classroom import warm\n"
        f"for level in {LEVELS!r}:\n"
        f"    warm.Worker(level, {tuple(FULL)!r}, (), warm.Limits()).close()  # it proves itself\n"
        "print(os.getuid())"
    )
    somebody = ["bwrap", "--unshare-user", "--uid", "1234", "--gid", "1234"]
    somebody += ["--bind", "/", "/", "--dev-bind", "/dev", "/dev"]
    argv = [*somebody, sys.executable, "-W", "ignore", "-c", code]
    done = subprocess.run(argv, capture_output=True, text=True, cwd=ROOT)
    assert (done.returncode, done.stdout) == (0, "1234\n"), done.stderr


# ------------------------------------------------------------------- the worker knows no answer


def test_the_package_of_a_worker_holds_no_answer(tmp_path):
    for lesson in ("01_policy_gradient_theorem", "02_reinforce"):
        package.write_package(tmp_path / lesson, tuple(lesson_exercises(lesson)))
        text = "\n".join(p.read_text() for p in (tmp_path / lesson).rglob("*.py"))
        for name, exercise in lesson_exercises(lesson).items():
            # of a quiz nothing is there at all: no lesson's cell imports it
            stub = f"{name} is asked for" in text
            assert stub != exercise.reference.__module__.startswith("pgcourse.exercises")
            body = answer_of(exercise.reference)
            assert body not in " ".join(text.split())
        assert "mistake(" not in text and "Exercise(" not in text


def answer_of(fn):
    from pgcourse.classroom.build import split_function

    return " ".join(split_function(fn)[1].split())


# -------------------------------------------------------------------------- honest, but wrong


LIMITS = Limits(seconds=120, memory=1024)


def graded(nb, seed="secret", limits=LIMITS):
    return judge.grade_submission(to_bytes(nb), classes.SOURCE, seed, limits)


def points(result):
    return {name: v["score"] for name, v in result["exercises"].items()}


@pytest.fixture
def impatient(monkeypatch):
    """Exercises with one second for a call."""
    classes.hurry(monkeypatch)
    quick = {n: replace(e, seconds=1.0) for n, e in lesson_exercises(LESSON).items()}
    monkeypatch.setattr(judge, "exercises_in", lambda source: quick)
    monkeypatch.setattr(judge, "GRACE", 1.0)
    monkeypatch.setattr(judge, "CELL_SECONDS", 1.0)


MISTAKES = {
    "endless loop": (whole("while True:\n    pass"), "endless loop", "does a loop never end"),
    "endless loop that catches all": (
        whole(
            "while True:\n    try:\n        while True:\n            pass\n    except BaseException:\n        pass"
        ),
        "endless loop",
        "does a loop never end",
    ),
    "uninterruptible loop": (whole("return 9 ** 9 ** 9"), "endless loop", "does a loop never end"),
    "endless cell": ("while True:\n    pass", "cell stalls", "does not come to an end"),
    "memory": (whole("return bytearray(2**34)"), "exception", "MemoryError"),
    "tensor memory": (whole("return torch.ones(2**33)"), "exception", "memory"),
    "exit": (whole("import os\nos._exit(0)"), "killed", "it ended itself"),
    "exit of the cell": ("import os\nos._exit(0)", "cell killed", "it ended itself"),
    "sys.exit": (whole("import sys\nsys.exit()"), "exception", "SystemExit"),
    "segfault": (whole("import ctypes\nctypes.string_at(0)"), "killed", "SIGSEGV"),
    "deep recursion": (
        whole("return score_step(theta, action, ret, lr)"),
        "exception",
        "RecursionError",
    ),
    "bottomless recursion": (
        whole(
            "import sys\nsys.setrecursionlimit(10**8)\nf = lambda x: [f(x)]\nreturn sorted([1], key=f)"
        ),
        None,
        "",
    ),
    "input": (whole("return theta + float(input('lr? '))"), "exception", "input() waits"),
    "100 MB of prints": (whole("print('x' * 10**8)\nreturn None"), "returns nothing", "return"),
    "syntax": ("def score_step(theta:\n    return", "syntax error", "no Python"),
    "cell that raises": ("raise KeyError('x')", "cell raises", "KeyError"),
    "not there": (
        "def my_step(theta, action, ret, lr):\n    return theta",
        "not a function",
        "score_step",
    ),
    "a number": ("score_step = 3", "not a function", "score_step"),
    "two arguments": (
        "def score_step(theta, action):\n    return theta",
        "exception",
        "positional",
    ),
    "numpy": (whole("return theta.numpy()"), "wrong type", "tensor"),
}


@pytest.mark.parametrize("name", MISTAKES)
def test_a_mistake_costs_its_own_exercise_only(impatient, name):
    cell, pitfall, says = MISTAKES[name]
    result = graded(notebook({"score_step": cell}))
    assert points(result) == FULL | {"score_step": 0.0}
    verdict = result["exercises"]["score_step"]
    if pitfall:
        assert verdict["pitfall"] == pitfall
    assert says in verdict["message"]


def test_what_one_exercise_changes_does_not_reach_the_next():
    cell = attack(
        "import numpy as np\nimport random\nimport warnings\n"
        "torch.set_default_dtype(torch.float64)\ntorch.set_grad_enabled(False)\n"
        "torch.manual_seed(0)\nrandom.seed(0)\nnp.random.seed(0)\nwarnings.simplefilter('error')",
        RIGHT,
    )
    inner = inside("torch.set_default_dtype(torch.float64)\ntorch.set_grad_enabled(False)", RIGHT)
    assert points(graded(notebook({"score_step": cell}))) == FULL
    found = points(graded(notebook({"score_step": inner})))
    assert found.pop("score_step") < FULL["score_step"]
    assert found == {n: p for n, p in FULL.items() if n != "score_step"}


def test_what_one_cell_breaks_costs_no_other_exercise():
    """Also an answer that uses another one is judged with it."""
    breaks = {
        "softmax": "import torch\nimport sys\ntorch.softmax = torch.exp = torch.logsumexp = None\n"
        "sys.setrecursionlimit(80)\n\n\ndef softmax(theta):\n    return theta",
        "score_step": "SCALE = 1.0\n\n\ndef scaled(x):\n    return SCALE * x\n\n\n"
        + SIGNATURE
        + "    return theta + scaled(lr * ret) * grad_log_softmax(theta, action)\n",
    }
    assert points(graded(notebook(breaks))) == FULL | {"softmax": 0.0}


def test_helpers_and_constants_of_the_student_are_there():
    def helper_above(nb):
        at = next(i for i, c in enumerate(nb["cells"]) if c["id"] == "score_step")
        cell = {
            "cell_type": "code",
            "id": "h",
            "metadata": {},
            "outputs": [],
            "execution_count": None,
        }
        text = (
            "import torch as th\nLITTLE = 0.0\nslow = print_and_train(1)\n"
            "def helper(theta, lr, ret):\n    return theta + LITTLE - lr * ret * th.softmax(theta, -1)\n"
            "raise SystemExit"
        )
        nb["cells"].insert(at, cell | {"source": text})

    cell = (
        SIGNATURE
        + "    new = helper(theta, lr, ret)\n    new[action] += lr * ret\n    return new\n"
    )
    assert points(graded(notebook({"score_step": cell}, helper_above))) == FULL


def test_cells_that_train_or_plot_are_not_run():
    def training(nb):
        for i in (3, 9, len(nb["cells"])):
            text = "result = [0 for _ in iter(int, 1)]\nwhile True:\n    pass"
            cell = {"cell_type": "code", "id": f"t{i}", "metadata": {}, "source": text}
            nb["cells"].insert(i, cell)

    began = time.monotonic()
    assert points(graded(notebook(edit=training))) == FULL
    assert time.monotonic() - began < 60


def test_grading_is_a_pure_function():
    wrong = notebook({"score_step": attack("")})
    results = [graded(wrong) for _ in range(2)]
    for result in results:
        result.pop("seconds")
    assert results[0] == results[1]
    assert points(graded(wrong, seed="another")) == points(results[0])


def test_the_time_of_a_submission_is_bounded(impatient):
    loops = {name: f"def {name}(*args):\n    while True:\n        pass" for name in FULL}
    began = time.monotonic()
    result = graded(notebook(loops), limits=Limits(seconds=4, memory=1024))
    assert time.monotonic() - began < 40  # the start of a warm worker included
    assert sum(points(result).values()) == 0
    assert result["exercises"]["exact_policy_gradient"]["pitfall"] == "no time left"


# ----------------------------------------------------------------------- nothing secret comes out


@pytest.mark.parametrize(
    "leak",
    [
        "raise RuntimeError(str(theta.tolist()) + str(seen))",
        "return str(theta.tolist()) + str(seen)",
        "assert False, seen",
        "exec(f'def f(): raise KeyError({seen!r})')\nf()",
        "raise type(str(theta.tolist()), (Exception,), {})",
    ],
)
def test_no_secret_input_gets_into_words(leak):
    """A function that writes every number it sees into its messages: the report holds visible ones only."""
    tell = inside("seen.append(theta.tolist())\n" + leak, "")
    first = whole("globals().setdefault('seen', []).append(theta.tolist())\n") + "    return None\n"
    text = first.replace("score_step", "softmax").replace("theta, action, ret, lr", "theta")
    result = graded(
        notebook({"softmax": text, "score_step": "seen = globals().get('seen', [])\n" + tell})
    )
    said = "".join(v["message"] + v["traceback"] + v["why"] for v in result["exercises"].values())
    secret = set()
    for name in ("softmax", "score_step"):
        exercise = get(name)
        for i in range(len(exercise.cases)):
            shown = set(numbers(exercise.inputs(i, "0")["theta"].tolist()))
            secret |= set(numbers(exercise.inputs(i, "secret")["theta"].tolist())) - shown
    assert secret
    assert not [n for n in secret if n in said]


def numbers(x):
    if isinstance(x, list):
        return [n for v in x for n in numbers(v)]
    return [repr(x)] if len(repr(x)) > 5 else []


@pytest.mark.parametrize(
    "exercise", [pytest.param(e, id=n) for n, e in all_exercises().items() if e.driver != "entry"]
)
def test_every_part_depends_on_the_secret_seed(exercise):
    """Else a table of the visible answers would earn it."""
    changing = {
        case.part
        for i, case in enumerate(exercise.cases)
        if not case.raises
        and not drivers.same_plain(exercise.inputs(i, "secret"), exercise.inputs(i, "0"))
    }
    guards = {c.part for c in exercise.cases if c.raises}
    assert set(exercise.parts) - {"clean"} - changing <= guards - {next(iter(exercise.parts))}


def test_a_hard_coded_answer_earns_nothing_and_is_told():
    exercise = get("score_step")
    table = [
        (a["theta"].tolist(), exercise.reference(**a).tolist())
        for a in (exercise.inputs(i, "0") for i in range(len(exercise.cases)))
    ]
    cell = (
        f"table = {table!r}\n"
        + SIGNATURE
        + (
            "    for shown, right in table:\n        if theta.tolist() == shown:\n"
            "            return torch.tensor(right, dtype=theta.dtype)\n    return theta.clone()\n"
        )
    )
    verdict = graded(notebook({"score_step": cell}))["exercises"]["score_step"]
    assert verdict["score"] == 0
    assert verdict["pitfall"] == "right on the shown numbers only"
    assert verdict["example"] == "" and verdict["where"] is None  # there is none to show


# ------------------------------------------------------------------------------------- the wire


@pytest.mark.parametrize(
    "text",
    [b"", b"nonsense", b"[" * 10_000, b'{"tuple": 3}', b'{"tensor": ["float32", [3]]}', b'{"x": 1}',
     b'{"tensor": ["object", [1]]}', b'{"tensor": ["float32", [-1]]}', b'{"dict": [[[], 1]]}',
     b'{"tensor": ["float32", [1e3]]}', b'{"tuple": [], "dict": []}', b"1" * 5000, b'{"dict": [1]}',
     b'{"tensor": ["float32", [0, 99999999999999999999999]]}', b"\xff\xfe"],
)  # fmt: skip
def test_what_is_no_message_is_refused(text):
    with pytest.raises(wire.WireError):
        wire.unpack(text, b"")


def test_what_goes_in_comes_out():
    import torch

    data = {
        "out": (1, 2.5, None, True, "é", [torch.arange(6.0).reshape(2, 3), torch.zeros(0, 2)]),
        3: {"nested": torch.tensor([True, False]), "half": torch.ones(2).bfloat16()},
    }
    message = wire.pack(data)
    size, _ = wire.HEADER.unpack(message[:8])
    assert drivers.same_plain(wire.unpack(message[8 : 8 + size], message[8 + size :]), data)


def test_what_is_not_plain_is_not_sent():
    import torch

    for thing in (
        object(),
        {1, 2},
        torch.zeros(1).to_sparse(),
        torch.zeros(1).expand(2**30),
        "x" * 2**23,
    ):
        with pytest.raises(wire.WireError):
            wire.pack({"out": thing})


# -------------------------------------------------------------------------- one path, one book


@pytest.fixture(scope="module")
def small_class(tmp_path_factory):
    root = classes.make(tmp_path_factory.mktemp("small") / "class")
    classes.hand_in(root, "ada", to_bytes(notebook()))
    classes.hand_in(root, "ben", to_bytes(notebook({"score_step": attack("")})))
    grade_class(root, LESSON, jobs=1)
    return root


def test_nbgraders_own_command_takes_the_same_path(small_class):
    """`nbgrader autograde` is what Formgrader's button runs, too."""
    before = classes.scores(small_class)
    cheat = notebook(
        {"score_step": attack("")},
        lambda nb: [
            c.update(metadata=c["metadata"] | {"tags": ["skip-execution"]}) for c in nb["cells"]
        ],
    )
    classes.hand_in(small_class, "cleo", to_bytes(cheat))
    classroom.nbgrader(small_class, "autograde", LESSON, "--student", "cleo")
    after = classes.scores(small_class)
    assert after.pop("cleo") == FULL | {"score_step": 0.0}
    assert after == before
    assert "cleo" in gradebook.Store(small_class, LESSON).all()


def test_formgraders_button_takes_the_same_path(small_class):
    from nbgrader.apps.api import NbGraderAPI

    classes.hand_in(small_class, "dora", b"\xef\xbb\xbf" + to_bytes(notebook()))
    room = gradebook.Classroom(small_class)
    with gradebook.in_directory(small_class):
        api = NbGraderAPI(coursedir=room.coursedir, config=room.app.config)
        answer = api.autograde(LESSON, "dora")
    assert answer["success"], answer
    assert classes.scores(small_class)["dora"] == FULL


def test_one_student_again_and_a_new_version(small_class):
    before = (small_class / "autograded" / "ada" / LESSON / f"{LESSON}.ipynb").stat().st_mtime_ns
    classes.hand_in(small_class, "ben", to_bytes(notebook()))
    rows = grade_class(small_class, LESSON, jobs=1, students=("ben",))
    assert list(rows) == ["ben"] and rows["ben"].status == "graded"
    assert classes.scores(small_class)["ben"] == FULL
    now = (small_class / "autograded" / "ada" / LESSON / f"{LESSON}.ipynb").stat().st_mtime_ns
    assert now == before


def test_after_a_fix_of_the_assignment_all_are_graded_again(tmp_path):
    """The instructor doubles an exercise's points, releases again, grades again."""
    import nbformat

    root = classes.make(tmp_path / "class")
    classes.hand_in(root, "ada", to_bytes(notebook()))
    grade_class(root, LESSON, jobs=1)
    source = root / "source" / LESSON / f"{LESSON}.ipynb"
    nb = nbformat.read(source, as_version=4)
    cell = next(c for c in nb.cells if c.id == "check_score_step")
    cell.metadata["nbgrader"]["points"] = 8.0
    nbformat.write(nb, source)
    classroom.nbgrader(root, "generate_assignment", LESSON, "--force")
    rows = grade_class(root, LESSON, jobs=1)
    assert rows["ada"].status == "graded"
    assert classes.scores(root)["ada"] == FULL | {"score_step": 8.0}


def test_late_penalties_are_nbgraders(tmp_path):
    """A plugin in nbgrader_config.py, as nbgrader documents it: a point for each day."""
    root = classes.make(tmp_path / "class")
    config = root / "nbgrader_config.py"
    (root / "late.py").write_text(
        "from nbgrader.plugins import BasePlugin\n\n\n"
        "class PointPerDay(BasePlugin):\n"
        "    def late_submission_penalty(self, student_id, score, total_seconds_late):\n"
        "        return min(score, total_seconds_late // 86_400)\n"
    )
    config.write_text(
        config.read_text() + "\nimport sys\nsys.path.insert(0, str(here))\n"
        "c.AssignLatePenalties.plugin_class = 'late.PointPerDay'\n"
    )
    with gradebook.Classroom(root).gradebook() as book:
        book.update_or_create_assignment(LESSON, duedate="2026-01-01 00:00:00 UTC")
    for name, day in (("ada", 1), ("ben", 4)):
        path = classes.hand_in(root, name, to_bytes(notebook()))
        (path.parent / "timestamp.txt").write_text(f"2026-01-0{day} 00:00:00 UTC")
    grade_class(root, LESSON, jobs=1)
    with gradebook.Classroom(root).gradebook() as book:
        found = {n: book.find_submission(LESSON, n) for n in ("ada", "ben")}
        late = {n: (s.late_submission_penalty, s.score) for n, s in found.items()}
    assert late == {"ada": (0.0, MOST), "ben": (3.0, MOST)}
    classroom.nbgrader(root, "export", "--to", "grades.csv")
    with open(root / "grades.csv") as file:
        rows = {row["student_id"]: row for row in csv.DictReader(file)}
    assert [float(rows[n]["late_submission_penalty"]) for n in ("ada", "ben")] == [0.0, 3.0]


def test_cells_of_the_instructor_wait_for_a_person(tmp_path):
    """A manually graded question, and a test cell that no judge knows."""
    import nbformat

    root = classes.make(tmp_path / "class")
    source = root / "source" / LESSON / f"{LESSON}.ipynb"
    nb = nbformat.read(source, as_version=4)
    common = {"grade": True, "points": 3.0, "schema_version": 3, "task": False}
    essay = nbformat.v4.new_markdown_cell("Why?", id="essay")
    essay.metadata["nbgrader"] = common | {"grade_id": "essay", "solution": True, "locked": False}
    test = nbformat.v4.new_code_cell("assert True", id="own")
    test.metadata["nbgrader"] = common | {"grade_id": "own", "solution": False, "locked": True}
    nb.cells += [essay, test]
    nbformat.write(nb, source)
    classroom.nbgrader(root, "generate_assignment", LESSON, "--force")

    said = (
        "Because <script>alert('student')</script> ![so](attachment:so.png) of $x < y$ and `a<b`.\n\n"
        "```python\nif a < b: <b>pass\n```"
    )

    def answer(nb):
        about = {"nbgrader": essay.metadata["nbgrader"]}
        cell = {"cell_type": "markdown", "id": "essay", "metadata": about, "source": said}
        nb["cells"].append(cell)

    classes.hand_in(root, "ada", to_bytes(notebook(edit=answer)))
    grade_class(root, LESSON, jobs=1)
    with gradebook.Classroom(root).gradebook() as book:
        grades = {
            g.name: g for n in book.find_submission(LESSON, "ada").notebooks for g in n.grades
        }
        waiting = {name for name, grade in grades.items() if grade.needs_manual_grade}
        assert waiting == {"essay", "own"}
        assert sum(grade.score for grade in grades.values()) == MOST
    made = nbformat.read(root / "autograded" / "ada" / LESSON / f"{LESSON}.ipynb", as_version=4)
    text = {c.id: c.source for c in made.cells}["essay"]
    assert text.startswith("Because <\u200bscript>")
    page = classes.feedback(root, "ada")
    assert "Because" in page and "<script>alert('student')" not in page and "<b>pass" not in page
    seen = re.sub("<[^>]+>|\u200b", "", page)  # what a reader sees: code as it was written
    assert "a&lt;b" in seen and "if a &lt; b: &lt;b&gt;pass" in seen and "&amp;lt;" not in page


def test_two_at_once_do_not_write_one_book(small_class):
    from pgcourse.classroom.grade import ClassError, only_writer

    with only_writer(small_class), pytest.raises(ClassError, match="Another"):
        grade_class(small_class, LESSON)


def test_unreadable_is_no_judges_failure():
    with pytest.raises(intake.Unreadable):
        judge.grade_submission(b"{", classes.SOURCE, "secret")


def test_a_class_is_written_through_one_engine_and_nbgrader_gets_its_own_back(tmp_path):
    from nbgrader.api import Gradebook

    def engine():
        with Gradebook(f"sqlite:///{tmp_path / 'book.db'}") as book:
            return book.engine

    with gradebook.one_engine():
        shared = engine()
        assert engine() is shared
    assert engine() is not shared


# ------------------------------------------------------------------------------- interrupted


def loaded(name):
    """Whether a process has loaded a library of this name."""
    return lambda process, root: name in Path(f"/proc/{process.pid}/maps").read_text()


def judges(process, root):
    return Path(f"/proc/{process.pid}/task/{process.pid}/children").read_text().split()[1:]


MOMENTS = {
    "torch is imported": loaded("libtorch_cpu"),
    "nbgrader is imported": loaded("sqlalchemy"),
    "the judges start": judges,
    "they grade": lambda process, root: [*root.glob(".pgcourse/results/*/*.json")],
}


@pytest.mark.parametrize("moment", MOMENTS)
def test_ctrl_c_ends_it_in_one_line(moment, tmp_path):
    """While modules are imported, while the judges start, while they grade: 130, no traceback, nobody left."""
    root = classes.make(tmp_path / "class")
    for i in range(12):
        classes.hand_in(root, f"student{i}", to_bytes(notebook()))
    command = [sys.executable, "-m", "pgcourse.cli", "grade", str(root), LESSON, "--jobs", "2"]
    process = subprocess.Popen(
        command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, start_new_session=True
    )
    while not MOMENTS[moment](process, root):
        assert process.poll() is None, process.communicate()
        time.sleep(0.01)
    os.killpg(process.pid, signal.SIGINT)  # as a terminal does: to all of them
    out, err = process.communicate(timeout=120)
    assert process.returncode == 130, (out, err)
    assert "Interrupted" in err and "Traceback" not in out + err, out + err
    with pytest.raises(ProcessLookupError):
        for _ in range(100):
            os.killpg(process.pid, 0)
            time.sleep(0.1)


def interrupted(folder, **modules):
    """(exit code, output, errors) of a command `used.command` among modules that interrupt their own process."""
    for name, text in modules.items():
        (folder / f"{name}.py").write_text(f"import os, signal, time\n{text}")
    (folder / "start.py").write_text(
        "from pgcourse import cli\n"
        "cli.COMMANDS['interrupted'] = ('used', 'command', '')\n"
        "cli.app(['interrupted'])\n"
    )
    command = [sys.executable, "-m", "start"]
    done = subprocess.run(command, capture_output=True, text=True, cwd=folder, timeout=120)
    return done.returncode, done.stdout, done.stderr


SWALLOWS = """
def command():
    try:
        os.kill(os.getpid(), signal.SIGINT)
        time.sleep(600)
    except BaseException:
        print('swallowed')
    time.sleep(600)
    print('never')
"""
TIDIES = """
def command():
    try:
        os.kill(os.getpid(), signal.SIGINT)
        time.sleep(600)
    finally:
        time.sleep(0.5)
        print('tidied up')
"""


@pytest.mark.parametrize(
    "text, said", [(SWALLOWS, "swallowed\n"), (TIDIES, "tidied up\n")], ids=["swallowed", "heard"]
)
def test_an_interrupt_that_is_swallowed_asks_again_and_one_that_is_heard_does_not(
    text, said, tmp_path
):
    assert interrupted(tmp_path, used=text) == (130, said, "Interrupted.\n")


def test_an_interrupt_in_a_string_that_runs_ends_it_in_one_line_too(tmp_path):
    """Importing torch runs strings; an interrupt inside of one is remembered by CPython until it exits."""
    used = "def command():\n    exec('raise KeyboardInterrupt')\n"
    assert interrupted(tmp_path, used=used) == (130, "", "Interrupted.\n")


def test_an_interrupt_while_arguments_are_read_ends_it_in_one_line_too(tmp_path):
    """Typer would exit without a word."""
    (tmp_path / "interrupted.py").write_text(
        "import typer.core\n"
        "from pgcourse import cli\n"
        "def reading(*given, **more):\n"
        "    raise KeyboardInterrupt\n"
        "typer.core.TyperGroup.make_context = reading\n"
        "cli.app(['doctor'])\n"
    )
    command = [sys.executable, "-m", "interrupted"]
    process = subprocess.run(command, capture_output=True, text=True, cwd=tmp_path, timeout=120)
    assert (process.returncode, process.stderr) == (130, "Interrupted.\n")


def test_an_interrupt_waits_until_a_module_is_imported(tmp_path):
    """Where torch's C++ calls Python while it is imported, an exception would be an abort()."""
    half = "os.kill(os.getpid(), signal.SIGINT)\ntime.sleep(0.2)\nprint('whole')\n"
    used = (
        "def command():\n"
        "    try:\n"
        "        import half\n"
        "    except BaseException:\n"
        "        print('swallowed')\n"
        "    time.sleep(600)\n"
        "    print('never')\n"
    )
    assert interrupted(tmp_path, half=half, used=used) == (130, "whole\n", "Interrupted.\n")


def test_a_judge_that_is_ended_leaves_no_semaphore():
    """Python would say so when the command ends; tqdm, which lesson 8 trains with, makes one."""
    code = (
        "import os\n"
        "from concurrent.futures import ProcessPoolExecutor\n"
        "from multiprocessing import get_context\n"
        "from pgcourse.classroom import start\n"
        "from tqdm import trange\n"
        "pool = ProcessPoolExecutor(1, get_context('spawn'), start.judge, (os.getpid(),))\n"
        "pool.submit(trange, 1).exception()\n"
        "for process in pool._processes.values():\n"
        "    process.terminate()\n"
        "pool.shutdown(wait=False)\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=300)
    assert "leaked" not in done.stderr, done.stderr


# ------------------------------------------------------------------- points of the instructor's


@pytest.mark.parametrize("points, earned", [(10, 10.0), (0, 0.0), (4, 4.0)])
def test_a_right_answer_is_no_failure_whatever_it_is_worth(points, earned):
    """The card says the points that nbgrader counts, and an exercise worth nothing is not a wrong one."""
    from nbgrader.utils import determine_grade

    verdict = {"score": 4.0, "points": 4.0, "passed": True, "pitfall": None, "message": "right"}
    verdict |= {"why": "", "parts": [["value", True]], "traceback": "", "read": "§1"}
    made = gradebook.outputs("softmax", verdict, points)
    assert [o.output_type for o in made] == ["display_data", "execute_result"]
    assert f"{points:g} of {points:g} points" in made[0].data["text/plain"]
    about = {"grade": True, "solution": False, "grade_id": "check_softmax", "points": points}
    cell = nbformat.v4.new_code_cell("check(softmax)", outputs=made, metadata={"nbgrader": about})
    assert determine_grade(cell) == (earned, points)


def test_a_wrong_answer_is_a_failure_also_where_it_is_worth_nothing():
    verdict = {"score": 0.0, "points": 4.0, "passed": False, "pitfall": "sign", "message": "wrong"}
    verdict |= {"why": "", "parts": [["value", False]], "traceback": "", "read": "§1"}
    for points in (0, 10):
        made = gradebook.outputs("softmax", verdict, points)
        assert [o.output_type for o in made] == ["display_data", "error"]
        assert f"0 of {points} points" in made[1].evalue
