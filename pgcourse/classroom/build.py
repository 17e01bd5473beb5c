"""From one authored source to two notebooks.

    solutions/NN_name.py  ->  solutions/NN_name.ipynb   solved: an nbgrader source
                          ->  course/NN_name.ipynb      the learner's: its nbgrader release

A lesson is a jupytext py:percent file. Five cell options are ours:

    # %% exercise="pgcourse.losses.ppo_clip_loss"   the function's own text; its check follows
    # %% exercise="…" broken="no clip"              find the bug: the learner gets it with that mistake
    # %% solution="plot_clip"                       ungraded; BEGIN/END SOLUTION in place
    # %% claim="clip_keeps_the_kl_small"            shows what the prose says; in neither notebook (claims.py)
    # %% tags=["setup"]                             the cell that imports; FIRST and LAST go around it

The learner's cell keeps the signature, the docstring and the guards (leading calls of
`same_shape`, leading `if`s that only raise); all below becomes one `raise NotImplementedError`.
"""

import ast
import hashlib
import inspect
import re
from copy import deepcopy
from dataclasses import dataclass
from importlib import import_module
from pathlib import Path
from typing import Annotated

import typer

from pgcourse.checks.cells import BEGIN, END, REGION, stub

ROOT = Path(__file__).resolve().parents[2]
FIRST = """\
from importlib.util import find_spec

if not find_spec("pgcourse"):
    raise ModuleNotFoundError(
        "pgcourse, the package of this course, is not installed where this notebook runs. On your own "
        "computer, start it with `make lab` in a clone of the course. On Colab and the like, run "
        "%pip install git+https://… with the address of the course's repository, then this cell again."
    )
"""
LAST = """

from pgcourse.notebook import begin

begin("{name}")
"""
END_OF_LESSON = """\
# how far you are in all lessons, as saved, and where to go from here (a few seconds)
from pgcourse.notebook import end

end("{name}")
"""
NOTEBOOK_METADATA = {
    "kernelspec": {"display_name": "Python 3 (ipykernel)", "language": "python", "name": "python3"},
    "language_info": {"name": "python"},
}


class BuildError(Exception):
    """The authored source is wrong; the message says where and how to put it right."""


@dataclass(frozen=True)
class Lesson:
    """A built lesson.

    solved, learner : notebooks (nbformat)
    answers         : {grade_id: the text below the guards}, what must not reach a learner
    exercises       : {name: Exercise} in the order of the lesson
    """

    name: str
    solved: object
    learner: object
    answers: dict
    exercises: dict


# ------------------------------------------------------------------------------------- build


def build_lesson(source, name, get=None, claims=()):
    """Build one lesson.

    source  : text of the py:percent file
    name    : "05_ppo", for messages
    get     : name -> Exercise; by default pgcourse.checks.get
    claims  : {name: text of a cell} of the claims that the solved notebook shall hold, in their places
    returns : Lesson
    raises  : BuildError
    """
    import jupytext

    if get is None:
        from pgcourse.checks import get
    authored = jupytext.reads(source.lstrip("\n"), fmt="py:percent")
    solved, learner, answers, exercises = [], [], {}, {}
    for i, cell in enumerate(authored.cells):
        where = f"{name}, cell {i + 1}"
        options = {k: v for k, v in cell.metadata.items() if k in ("exercise", "solution", "claim")}
        metadata = {k: v for k, v in cell.metadata.items() if k == "tags"}
        extra = {"lines_to_next_cell", "slow", *(["broken"] if "exercise" in options else [])}
        unknown = set(cell.metadata) - set(options) - set(metadata) - extra
        if unknown or len(options) > 1:
            raise BuildError(f"{where}: cell options {sorted(cell.metadata)} are not understood.")
        if "claim" in options:
            if options["claim"] in claims:
                solved.append(
                    plain_cell("code", claims[options["claim"]], {"claim": options["claim"]})
                )
        elif "exercise" in options:
            fn, exercise = find_exercise(options["exercise"], get, where)
            if cell.source.strip():
                raise BuildError(
                    f"{where}: an exercise cell is empty; {fn.__name__}'s text comes from pgcourse."
                )
            head, body = split_function(fn)
            grade_id = fn.__name__
            answers[grade_id] = body
            exercises[grade_id] = exercise
            marked, more = f"{head}\n    {BEGIN}\n{body}\n    {END}", {}
            if "broken" in cell.metadata:
                more = {"given": broken(exercise, cell.metadata["broken"], where)}
            solved.append(code_cell(marked, grade_id, metadata | more, solution=True))
            given = more.get("given") or stub(marked)
            learner.append(code_cell(given, grade_id, metadata, solution=True))
            call = f'check({grade_id}, "{grade_id}")'  # named, so that an alias is judged as what it claims
            test = code_cell(call, f"check_{grade_id}", {}, points=exercise.points)
            solved.append(test)
            learner.append(test)
        elif "solution" in options:
            grade_id = options["solution"]
            left, answers[grade_id] = cut_solution(cell.source, where)
            solved.append(code_cell(cell.source, grade_id, metadata, solution=True))
            learner.append(code_cell(left, grade_id, metadata, solution=True))
        elif "BEGIN SOLUTION" in cell.source:
            raise BuildError(f'{where}: BEGIN SOLUTION needs a name: # %% solution="plot_clip".')
        else:
            text = cell.source
            if "setup" in metadata.get("tags", ()):
                text = f"{FIRST}\n{text}{LAST.format(name=name)}".rstrip()
                metadata = metadata | {
                    "jupyter": {"source_hidden": True}
                }  # folded: it is not to be read
            given = plain_cell(cell.cell_type, text, metadata)
            solved.append(given)
            learner.append(given)
    if any("setup" in cell.metadata.get("tags", ()) for cell in solved):
        last = plain_cell("code", END_OF_LESSON.format(name=name).rstrip(), {})
        solved.append(last)
        learner.append(last)
    duplicates = {i for i in grade_ids(solved) if grade_ids(solved).count(i) > 1}
    if duplicates:
        raise BuildError(f"{name}: used twice as grade_id: {', '.join(sorted(duplicates))}.")
    return Lesson(name, notebook(solved), notebook(learner, release=True), answers, exercises)


def find_exercise(path, get, where):
    """(function, Exercise) for a dotted name; BuildError in plain words if either is missing."""
    module_name, _, name = path.rpartition(".")
    try:
        fn = getattr(import_module(module_name), name)
    except (ImportError, AttributeError, ValueError) as error:
        raise BuildError(f'{where}: exercise="{path}" is not there: {error}.') from None
    if not inspect.isfunction(fn):
        raise BuildError(f'{where}: exercise="{path}" is no function.')
    try:
        exercise = get(name)
    except KeyError as error:
        raise BuildError(f"{where}: {name} has no check: {error.args[0]}.") from None
    if exercise.reference is not fn:
        raise BuildError(f"{where}: the check called {name} judges another function than {path}.")
    return fn, exercise


def split_function(fn):
    """(head, body) of a function's text: signature, docstring and guards; and all that is below."""
    from pgcourse.checks.edits import plain_text
    from pgcourse.checks.guards import count_guards

    text = plain_text(fn).rstrip()
    definition = ast.parse(text).body[0]
    if ast.get_docstring(definition) is None:
        raise BuildError(f"{fn.__name__} has no docstring: it is the exercise's statement.")
    given = 1 + count_guards(definition)
    if given == len(definition.body):
        raise BuildError(
            f"{fn.__name__}: nothing is left to write below the docstring and the guards."
        )
    lines, end = text.split("\n"), definition.body[given - 1].end_lineno
    return "\n".join(lines[:end]), "\n".join(lines[end:]).strip("\n")


def broken(exercise, name, where):
    """The text of a function with one of its exercise's mistakes in it, to be found and mended."""

    mistakes = {m.name: m for m in exercise.pitfalls}
    text = mistakes[name].text if name in mistakes else None
    if text is None:
        raise BuildError(
            f'{where}: broken="{name}" is no mistake of {exercise.name} that is made of edits of its '
            f"own text; there are: {', '.join(mistakes)}."
        )
    return text


def cut_solution(source, where):
    """(stub, answer): the marked region replaced the way nbgrader does it."""
    answers = REGION.findall(source)
    if not answers or source.count("BEGIN SOLUTION") != len(answers) != source.count(
        "END SOLUTION"
    ):
        raise BuildError(f'{where}: needs lines "{BEGIN}" … "{END}" around what is to be written.')
    return stub(source), "\n".join(answer for _, answer in answers)


def code_cell(source, grade_id, metadata, solution=False, points=None):
    """A cell of nbgrader's: an answer (solution) or a check (points)."""
    from nbformat.v4 import new_code_cell

    nbgrader = {
        "grade": points is not None,
        "grade_id": grade_id,
        "locked": points is not None,
        "schema_version": 3,
        "solution": solution,
        "task": False,
    }
    if points is not None:
        nbgrader["points"] = points
    return new_code_cell(source, id=cell_id(grade_id), metadata={**metadata, "nbgrader": nbgrader})


def plain_cell(kind, source, metadata):
    from nbformat.v4 import new_code_cell, new_markdown_cell

    new = new_code_cell if kind == "code" else new_markdown_cell
    return new(source, id=hashlib.sha256(source.encode()).hexdigest()[:12], metadata=metadata)


def cell_id(name):
    """A valid nbformat cell id for a name: the name itself, where it is short and plain enough."""
    if re.fullmatch(r"[A-Za-z0-9_-]{1,64}", name):
        return name
    return hashlib.sha256(name.encode()).hexdigest()[:12]


def notebook(cells, release=False):
    """A notebook with stable cell ids; as a release it carries nbgrader's checksums and locks."""
    from nbformat.v4 import new_notebook

    cells, seen = deepcopy(cells), {}
    for cell in cells:
        seen[cell.id] = seen.get(cell.id, 0) + 1
        if seen[cell.id] > 1:
            cell["id"] = f"{cell.id}-{seen[cell.id]}"
    nb = new_notebook(cells=cells, metadata=NOTEBOOK_METADATA)
    if release:
        from nbgrader.preprocessors import ComputeChecksums, LockCells

        for step in (LockCells(), ComputeChecksums()):
            nb, _ = step.preprocess(nb, {})
    return nb


def grade_ids(cells):
    return [c.metadata["nbgrader"]["grade_id"] for c in cells if "nbgrader" in c.metadata]


def to_text(nb):
    import nbformat

    nbformat.validate(nb)
    return nbformat.writes(nb) + "\n"


# ------------------------------------------------------------------------------------- check


def faults(lesson):
    """What must not leave the house: a list of sentences, empty if the lesson is in order."""
    found = [*metadata_faults(lesson), *leaks(lesson), *generous_stubs(lesson)]
    return [f"{lesson.name}: {fault}" for fault in found]


def metadata_faults(lesson):
    """nbgrader's own validation; every exercise is an answer cell with its check right below."""
    from nbgrader.nbgraderformat import MetadataValidator, SchemaTooOldError, ValidationError

    needed = {"grade", "grade_id", "locked", "schema_version", "solution", "task"}
    for nb, keys in ((lesson.solved, needed), (lesson.learner, needed | {"checksum", "cell_type"})):
        try:
            MetadataValidator().validate_nb(nb)
        except (ValidationError, SchemaTooOldError, KeyError) as error:
            yield f"nbgrader refuses the metadata: {error}"
        metas = [cell.metadata.get("nbgrader", {}) for cell in nb.cells]
        for meta in filter(None, metas):
            name, missing = meta.get("grade_id", "a cell"), keys - set(meta)
            if missing:
                yield f"{name} lacks nbgrader metadata: {', '.join(sorted(missing))}."
            if meta.get("grade") and not meta.get("points", 0) > 0:
                yield f"{name} is graded but earns nothing."
        order = [meta.get("grade_id") for meta in metas]
        for name in lesson.exercises:
            if name not in order or order[order.index(name) + 1 :][:1] != [f"check_{name}"]:
                yield f"{name} is not followed by its check."


def leaks(lesson):
    """The learner's notebook must not hold the text of an answer, in a cell of any kind."""
    shown = [(cell, plain(cell.source)) for cell in lesson.learner.cells]
    for name, answer in lesson.answers.items():
        for cell, text in shown:
            if plain(answer) and plain(answer) in text:
                yield f"the answer of {name} stands in the learner's notebook (cell {cell.id})."
    if any("SOLUTION" in cell.source for cell in lesson.learner.cells):
        yield "a SOLUTION mark is left in the learner's notebook."


def plain(text):
    """Text without comments, markup of Markdown quotes and differences in white space."""
    lines = (re.sub(r"(^|\s)#.*$", "", line) for line in text.split("\n"))
    return " ".join(" ".join(lines).split())


def generous_stubs(lesson):
    """A stub must earn nothing at its own check, and what is to be mended not all."""
    from pgcourse.checks import judge

    given = {c.id: c.source for c in lesson.learner.cells}
    mended = {c.id for c in lesson.solved.cells if "given" in c.metadata}
    for name, exercise in lesson.exercises.items():
        space, here = dict(vars(inspect.getmodule(exercise.reference))), cell_id(name)
        exec(compile(given[here], f"<stub of {name}>", "exec"), space)
        score = judge(space[name], exercise).score
        if here in mended and score == exercise.points:
            yield f"{name} is given to be mended, and right already."
        elif score and here not in mended:
            yield f"the stub of {name} earns {score:g} points at its own check."


def missing_exercises(lesson):
    """Exercises that pgcourse.checks has for this lesson and the lesson never asks."""
    from pgcourse.checks import LESSONS, lesson_exercises

    if lesson.name in LESSONS:
        for name in lesson_exercises(lesson.name):
            if name not in lesson.exercises:
                yield f"{lesson.name}: {name} has a check, but the lesson has no such exercise."


def is_someones_work(path):
    """Whether a learner has worked in this notebook (answers or outputs): it must be kept."""
    import nbformat
    from nbgrader.utils import compute_checksum

    nb = nbformat.read(path, as_version=4)
    for cell in nb.cells:
        if cell.cell_type == "code" and (cell.outputs or cell.execution_count):
            return True
        about = cell.metadata.get("nbgrader", {})
        if about.get("solution") and about.get("checksum") != compute_checksum(cell):
            return True
    return False


# ----------------------------------------------------------------------------------- command


def sources(root=ROOT, only=()):
    """The authored lessons, in order, or those called so; BuildError where they are not there (no clone)."""
    found = {path.stem: path for path in sorted((root / "solutions").glob("[0-9][0-9]_*.py"))}
    if not found:
        raise BuildError(
            f"No lessons in {root / 'solutions'}. Work in a clone of the course, "
            "installed from there: pip install -e ."
        )
    for name in only:
        if name not in found:
            raise BuildError(f"There is no lesson called {name}; there are: {', '.join(found)}.")
    return [path for name, path in found.items() if not only or name in only]


def build(check=False, force=False, root=ROOT, get=None):
    """Build every lesson, or with check=True only compare; returns the list of complaints."""
    from pgcourse.classroom.outputs import kept_outputs, put_outputs

    complaints, expected = [], set()
    for path in sources(root):
        try:
            lesson = build_lesson(path.read_text(encoding="utf-8"), path.stem, get)
        except BuildError as error:
            complaints.append(str(error))
            continue
        pairs = (
            (path.with_suffix(".ipynb"), lesson.solved),
            (root / "course" / f"{path.stem}.ipynb", lesson.learner),
        )
        kept = kept_outputs(*pairs[0])
        if kept:
            put_outputs(lesson.solved, kept)
        for target, nb in pairs:
            expected.add(target)
            text, shown = to_text(nb), target.relative_to(root)
            if target.exists() and target.read_text(encoding="utf-8") == text:
                continue
            if check:
                complaints.append(f"{shown} is not what {path.name} builds: run pgcourse build.")
            elif (
                nb is lesson.learner and target.exists() and not force and is_someones_work(target)
            ):
                complaints.append(
                    f"{shown} holds someone's work (answers or outputs); left alone. "
                    "Copy it elsewhere, or overwrite it with --force."
                )
            else:
                target.parent.mkdir(exist_ok=True)
                target.write_text(text, encoding="utf-8")
        if check:
            complaints += [*faults(lesson), *(missing_exercises(lesson) if get is None else ())]
    if check:
        for stray in {
            *(root / "solutions").glob("*.ipynb"),
            *(root / "course").glob("*.ipynb"),
        } - expected:
            complaints.append(f"{stray.relative_to(root)} has no source in solutions/.")
    return complaints


def keep_outputs(name, root=ROOT):
    """Run a solved lesson and write down what it shows."""
    import nbformat

    from pgcourse.classroom.outputs import run

    (source,) = sources(root, [name])
    path = source.with_suffix(".ipynb")
    nb = nbformat.read(path, as_version=4)
    run(nb)
    path.write_text(to_text(nb), encoding="utf-8")


def command(
    check: Annotated[
        bool,
        typer.Option(help="Write nothing; fail on drift, leaks, bad metadata, stubs that pass."),
    ] = False,
    force: Annotated[
        bool, typer.Option(help="Overwrite notebooks in which someone has worked.")
    ] = False,
    run: Annotated[
        list[str] | None,
        typer.Option(
            help="Then run this solved lesson and keep what it shows (may be repeated; minutes)."
        ),
    ] = None,
):
    """Build solutions/*.ipynb and course/*.ipynb from solutions/*.py."""
    try:
        complaints = build(check, force)
        for name in run or ():
            keep_outputs(name)
    except BuildError as error:
        complaints = [str(error)]
    for complaint in complaints:
        typer.echo(complaint, err=True)
    if complaints:
        raise typer.Exit(1)
    typer.echo(f"{len(sources())} lessons {'are in order' if check else 'built'}.")
