"""Types: every public function says what it takes and gives, and mypy finds no contradiction in that."""

import ast
import subprocess
import sys
from pathlib import Path

import pytest

from pgcourse.checks.package import ROOMS

# What learners and reusers import: every module of the package's top level and of ROOMS, of other folders these.
PARTS = (
    "checks/__init__", "checks/core", "checks/edits", "checks/make_inputs", "own_agent/__init__",
)  # fmt: skip
WITHOUT = {"cli": "its functions are the command line's own, never imported"}


def public_modules(root):
    modules = [p for p in (root / "pgcourse").glob("*.py") if p.stem not in WITHOUT]
    modules += [p for room in ROOMS for p in (root / "pgcourse" / room).glob("*.py")]
    return sorted([*modules, *(root / "pgcourse" / f"{part}.py" for part in PARTS)])


def untyped(text):
    """Names of public functions and methods of a module that leave a parameter or the result open."""
    for node in ast.parse(text).body:
        inside = node.body if isinstance(node, ast.ClassDef) else [node]
        for fn in inside:
            if not isinstance(fn, ast.FunctionDef) or node.name.startswith("_"):
                continue
            if fn.name.startswith("_") and fn.name not in ("__init__", "__call__"):
                continue
            a = fn.args
            every = [*a.posonlyargs, *a.args, *a.kwonlyargs, *filter(None, (a.vararg, a.kwarg))]
            open_ = [x.arg for x in every if x.annotation is None and x.arg not in ("self", "cls")]
            if open_ or fn.returns is None:
                yield f"{fn.name} ({', '.join(open_) or 'result'})"


def test_every_public_function_says_its_types(root):
    found = {p.stem: names for p in public_modules(root) if (names := [*untyped(p.read_text())])}
    assert not found
    assert (root / "pgcourse" / "py.typed").is_file(), "without it no type checker believes them"


@pytest.mark.parametrize(
    "text, name",
    [
        ("def f(x) -> int: ...", "f (x)"),
        ("def f(x: int): ...", "f (result)"),
        ("class A:\n    def f(self, *rest) -> int: ...", "f (rest)"),
        ("def _f(x): ...", None),
    ],
)
def test_an_open_type_is_seen(text, name):
    assert [*untyped(text)] == ([name] if name else [])


def mypy(root, *arguments):
    command = [sys.executable, "-m", "mypy", *arguments]
    return subprocess.run(command, cwd=root, capture_output=True, text=True)


@pytest.mark.slow
def test_mypy_agrees(root):
    done = mypy(root)
    assert done.returncode == 0, done.stdout + done.stderr


@pytest.mark.slow
@pytest.mark.parametrize(
    "line, code",
    [
        ("def f(x: Tensr) -> int: return 0", "name-defined"),
        ("def f(x: int) -> str: return x", "return-value"),
        ("from pgcourse.losses import actor_loss\nactor_loss()", "call-arg"),
    ],
)
def test_mypy_sees_what_is_wrong(root, tmp_path: Path, line, code):
    wrong = tmp_path / "wrong.py"
    wrong.write_text(line + "\n")
    done = mypy(root, str(wrong))
    assert done.returncode == 1 and f"[{code}]" in done.stdout, done.stdout + done.stderr
