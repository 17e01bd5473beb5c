"""The learner's own functions from a saved notebook: how far they are, and for later lessons to run on.

What a notebook holds is read, run and judged as in a graded class (`checks.cells`, `submission`,
`statements`), but here, in this process, and on the numbers that the notebook shows.
"""

import builtins
import contextlib
import importlib
import re
import types
from functools import cache
from pathlib import Path

import pgcourse
from pgcourse.checks import drivers
from pgcourse.checks.cells import Unreadable, read_bytes, read_cells
from pgcourse.checks.compare import BORROWED
from pgcourse.checks.core import VISIBLE_SEED, judge
from pgcourse.checks.statements import Namespace, no_input
from pgcourse.checks.submission import match


def own(lesson, *names, folder="."):
    """Functions that the learner wrote in an earlier notebook; the package's where there are none.

    Only imports, definitions and exercise cells of the notebook are run, nothing else; a function is
    used if it passes its check.

    lesson  : "05_ppo"; the notebook is looked for in `folder`, as it was last saved
    names   : exercises of that lesson
    returns : one function, or a tuple of them; prints a line for each
    """
    from pgcourse.checks import get

    path = Path(folder) / f"{lesson}.ipynb"
    written, found = answers(path, lesson, names), []
    why = unreadable(path, lesson) or "no passing one found"
    for name in names:
        fn, verdict = written.get(name, (None, None))
        if verdict and verdict.passed and not verdict.carried:
            found.append(fn)
            print(f"{name}: yours, from {lesson}.ipynb")
        else:
            reference = get(name).reference
            found.append(getattr(importlib.import_module(reference.__module__), name))
            print(f"{name}: the package's ({why} in {lesson}.ipynb)")
    return found[0] if len(found) == 1 else tuple(found)


def solved(lesson):
    """The solved notebook of a lesson, in a clone or in an installed package; None if it is not there."""
    package = Path(pgcourse.__file__).parent
    places = (package.parent / "solutions", package / "solutions")
    return next((p for d in places if (p := d / f"{lesson}.ipynb").is_file()), None)


def answers(path, lesson, names=None):
    """What a saved notebook answers.

    names   : exercises; by default all of the lesson
    returns : {exercise: (function, Verdict)} in the order of the notebook; {} where it cannot be read
    """
    from pgcourse.checks import lesson_exercises

    exercises = lesson_exercises(lesson)
    try:
        submission = saved(path, lesson)
    except Unreadable:
        return {}
    steps, checks = submission.steps()
    asked = {n: exercises[n] for n in checks if n in exercises and n in (names or checks)}
    imports = as_graded(lesson) if uses_pgcourse(steps) else builtins.__import__
    together, found = Run(steps, imports), {}
    for name in sorted(asked, key=checks.get):
        fn, verdict = together.judged(asked[name], checks[name])
        if not verdict.passed and verdict.pitfall != "not written":
            # where no other answer's cell can be to blame
            again = Run(steps, imports, alone=name).judged(asked[name], checks[name])
            fn, verdict = max((fn, verdict), again, key=lambda pair: pair[1].score)
        found[name] = fn, verdict
    return found


def saved(path, lesson):
    """The Submission that a saved notebook is. raises: Unreadable"""
    return match(read_cells(read_bytes(path))[0], cells_of(lesson))


def unreadable(path, lesson):
    """Why a saved notebook cannot be judged; "" where it can, or where there is none."""
    try:
        if Path(path).exists():
            saved(path, lesson)
    except Unreadable as error:
        return str(error)
    return ""


@cache
def cells_of(lesson):
    path = solved(lesson)
    if path is None:
        raise Unreadable(f"there is no solved notebook of {lesson} to hold it against")
    return read_cells(path.read_bytes())[0]


class Run:
    """The steps of a notebook in a namespace of their own, as far as they were needed."""

    def __init__(self, steps, imports, alone=""):
        self.namespace, self.done = Namespace({"__name__": "__main__"}), 0
        instead = {"__import__": imports, "input": no_input}
        self.namespace.space["__builtins__"] = vars(builtins) | instead
        self.namespace.load(steps, alone)

    def judged(self, exercise, steps):
        """(function, Verdict) after so many steps."""
        silent = contextlib.redirect_stdout(drivers.Capped())
        with silent, contextlib.redirect_stderr(drivers.Capped()):
            while self.done < steps:
                self.namespace.run(self.done)
                self.done += 1
        fn = self.namespace.space.get(exercise.name)
        return fn, judge(fn, exercise, VISIBLE_SEED)


def as_graded(lesson):
    """An `__import__` by which pgcourse has what it has in a graded run of a lesson, and no more."""
    from pgcourse.checks import lesson_exercises
    from pgcourse.checks.package import contents

    source = solved(lesson).read_text(encoding="utf-8")
    parts, names, stubs = contents(tuple(lesson_exercises(lesson)), source)

    def stub(name):
        def absent(*args, **more):
            raise NotImplementedError(BORROWED.format(name))

        return absent

    @cache
    def twin(module):
        stem = "__init__" if module is pgcourse else module.__name__.removeprefix("pgcourse.")
        if stem not in parts:
            return module
        made, definitions = types.ModuleType(module.__name__), parts[stem].definitions
        for name, value in [*vars(module).items()]:
            its = getattr(value, "__name__", "") if isinstance(value, types.ModuleType) else ""
            if its in (f"pgcourse.{name}", f"{module.__name__}.{name}"):
                value = twin(value)
            elif name in stubs and isinstance(value, types.FunctionType):
                value = stub(name)
            elif name in definitions and name not in names[stem]:
                value = stub(name)
            setattr(made, name, value)
        return made

    def imported(name, globals=None, locals=None, fromlist=(), level=0):
        module = builtins.__import__(name, globals, locals, fromlist, level)
        if module.__name__.partition(".")[0] != "pgcourse":
            return module
        if hasattr(module, "__path__"):
            twin.cache_clear()  # a folder has the parts only that were imported so far
        return twin(module)

    return imported


def uses_pgcourse(steps):
    """Whether what the learner wrote names the package, or a module of it that the lesson imports."""
    from pgcourse.checks.package import ROOMS

    given = "\n".join(s["source"] for s in steps if s["kind"] == "given")
    modules = {
        n
        for line in re.findall(rf"from pgcourse(?:\.(?:{'|'.join(ROOMS)}))? import (.+)", given)
        for n in re.findall(r"\w+", line)
    }
    named = re.compile(rf"\b(?:pgcourse\b|(?:{'|'.join(sorted(modules) or ['pgcourse'])})\.)")
    return any(named.search(s["source"]) for s in steps if s["kind"] != "given")
