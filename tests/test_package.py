"""The worker's package: what a lesson's cells import is there, what it asks for is not, under any name."""

import subprocess
import sys

import pytest

from pgcourse.checks import lesson_exercises, package
from pgcourse.classroom import wire
from pgcourse.classroom.build import ROOT

LESSONS = sorted(ROOT.glob("solutions/[0-9]*.ipynb"))

# In a process that has the worker's package alone: whatever is in it is tried as the answer, as it is and
# with what its arguments leave open filled in. Inputs come, and observations go, over pipes as on the wire.
TRY = """
import importlib, inspect, pathlib, sys

sys.path.insert(0, {package!r})
import torch
from pgcourse.checks import drivers
from pgcourse.classroom import wire

for path in pathlib.Path({package!r}).glob("pgcourse/checks/*drivers.py"):
    importlib.import_module("pgcourse.checks." + path.stem)
root = pathlib.Path({package!r})
paths = [*root.glob("pgcourse/*.py"), *(p for room in {rooms!r} for p in root.glob(f"pgcourse/{{room}}/*.py"))]
names = [".".join(p.relative_to(root).with_suffix("").parts).removesuffix(".__init__") for p in paths]
modules = [importlib.import_module(name) for name in names]
things = {{}}
for module in modules:
    for name, value in vars(module).items():
        if not name.startswith("__") and not inspect.ismodule(value) and type(value) is not type:
            if not callable(value) or (getattr(value, "__module__", "") or "").startswith("pgcourse"):
                things[module.__name__ + "." + name] = value


def filled(fn, given, number):
    # fn with the exercise's arguments by name; the rest are zeros like a tensor, or this number
    def adapted(*args):
        args = dict(zip(given, args))
        tensors = [x for x in args.values() if torch.is_tensor(x) and x.is_floating_point()]
        more = {{}}
        for name, parameter in inspect.signature(fn).parameters.items():
            if name in args:
                more[name] = args[name]
            elif name == "terminated" and "ended" in args:
                more[name] = args["ended"]
            elif parameter.default is inspect.Parameter.empty:
                value = tensors[0] * 0 if "val" in name or "logp" in name else number
                if name == "next_val" and "last_val" in args:
                    value[-1] = args["last_val"]
                more[name] = value
        return fn(**more)

    return adapted


def ways(value, given):
    if not callable(value):
        yield "", lambda *args: value
        if isinstance(value, dict):
            yield " keys", lambda *args: list(value)
            yield " values", lambda *args: list(value.values())
            for key in list(value)[:20]:
                yield f"[{{key!r}}]", lambda *args, key=key: value[key]
        return
    yield "", value
    yield " turned", lambda *args: -value(*args)
    try:
        known = set(inspect.signature(value).parameters) & set(given)
    except (TypeError, ValueError):
        return
    if known:
        for number in (0.0, 1.0):
            yield f" filled with {{number}}", filled(value, given, number)


message = open({inputs!r}, "rb").read()
text, _ = wire.HEADER.unpack(message[:8])
data = wire.unpack(message[8 : 8 + text], message[8 + text :])
for exercise, (driver, cases, grads) in data.items():
    found = []
    for name, value in things.items():
        for how, fn in ways(value, max(map(list, cases), key=len)):
            first = drivers.observe(driver, fn, cases[0], tuple(grads[0]), 0.3)
            if first["error"] or first["timeout"] or first["out"] is None:
                continue
            rest = [drivers.observe(driver, fn, c, tuple(g), 0.3) for c, g in zip(cases[1:], grads[1:])]
            try:
                found.append((exercise, name + how, wire.pack([first, *rest])))
            except wire.WireError:
                pass
    for exercise, name, packed in found:
        sys.stdout.buffer.write(len(name.encode()).to_bytes(4, "big") + name.encode())
        sys.stdout.buffer.write(len(exercise.encode()).to_bytes(4, "big") + exercise.encode())
        sys.stdout.buffer.write(len(packed).to_bytes(4, "big") + packed)
"""


def observations(target, exercises, tmp_path):
    """[(exercise, what was tried, its observations)] of everything in a package."""
    data = {}
    for name, e in exercises.items():
        cases = [e.inputs(i, "7") for i in range(len(e.cases))]
        data[name] = (e.driver, cases, [list(c.grad) for c in e.cases])
    (tmp_path / "inputs").write_bytes(wire.pack(data))
    code = TRY.format(rooms=package.ROOMS, package=str(target), inputs=str(tmp_path / "inputs"))
    done = subprocess.run(
        [sys.executable, "-I", "-B", "-W", "ignore", "-c", code], capture_output=True
    )
    assert done.returncode == 0, done.stderr.decode()[-2000:]
    rest, found = done.stdout, []
    while rest:
        parts = []
        for _ in range(3):
            size = int.from_bytes(rest[:4], "big")
            parts.append(rest[4 : 4 + size])
            rest = rest[4 + size :]
        text, _ = wire.HEADER.unpack(parts[2][:8])
        seen = wire.unpack(parts[2][8 : 8 + text], parts[2][8 + text :])
        found.append((parts[1].decode(), parts[0].decode(), seen))
    return found


def passes(exercise, seen):
    """Whether it is right wherever something is to be worked out; a guard is soon put before it."""
    *_, faults, _ = exercise.credit("7", seen)
    return not any(f for f, case in zip(faults, exercise.cases, strict=True) if not case.raises)


@pytest.mark.parametrize("path", LESSONS, ids=lambda p: p.stem)
def test_nothing_in_the_package_answers_an_exercise(path, tmp_path):
    exercises = lesson_exercises(path.stem)
    package.write_package(tmp_path / "package", tuple(exercises), path.read_text(encoding="utf-8"))
    tried = observations(tmp_path / "package", exercises, tmp_path)
    passing = [(e, name) for e, name, seen in tried if passes(exercises[e], seen)]
    assert passing == []
    assert len(tried) > 10, "nothing was tried"


def test_with_the_whole_package_the_test_would_fail(tmp_path, monkeypatch):
    """The reference by other names: gae, the quiz's table."""
    exercises = {
        n: e for n, e in lesson_exercises("02_reinforce").items() if n == "discounted_returns"
    }
    source = (ROOT / "solutions" / "02_reinforce.ipynb").read_text(encoding="utf-8")
    named = package.named_in
    monkeypatch.setattr(package, "named_in", lambda s: named(s) | {("estimators", "gae")})
    package.write_package(tmp_path / "package", tuple(exercises), source)
    tried = observations(tmp_path / "package", exercises, tmp_path)
    assert [n for e, n, seen in tried if passes(exercises[e], seen)]


@pytest.mark.parametrize("path", LESSONS, ids=lambda p: p.stem)
def test_all_that_a_lesson_imports_is_there(path, tmp_path):
    asked = tuple(lesson_exercises(path.stem))
    source = path.read_text(encoding="utf-8")
    package.write_package(tmp_path, asked, source)
    named = sorted(
        (s, n) for s, n in package.named_in(source) if s and not s.startswith(("checks", "__"))
    )
    code = f"import sys; sys.path.insert(0, {str(tmp_path)!r})\n"
    code += "\n".join(f"from pgcourse.{stem} import {name}" for stem, name in named)
    done = subprocess.run([sys.executable, "-I", "-B", "-c", code], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr[-2000:]
