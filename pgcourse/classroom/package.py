"""The worker's own pgcourse: without the answers."""

import ast
import shutil
from pathlib import Path

import pgcourse


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
    for name in ("worker", "wire", "sandbox", "system_calls", "leftovers"):
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
