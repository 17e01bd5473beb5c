"""nbgrader's side of grading: its gradebook, its autograded/ tree, its Formgrader button.

`configure` is called by a classroom's nbgrader_config.py. From then on every autograde of nbgrader's
(the command, Formgrader's button, `pgcourse grade`) reads submissions with `intake` and has them
judged by `judge`; nbgrader itself never runs a cell, and keeps the books as always.
"""

import hashlib
import html
import json
import os
import re
import secrets
import shutil
import sys
import warnings
from contextlib import contextmanager, suppress
from functools import cache, cached_property
from pathlib import Path

import nbformat
from nbconvert.exporters import NotebookExporter
from nbformat.v4 import new_code_cell, new_markdown_cell, new_notebook, new_output
from nbgrader import api
from nbgrader.converters import GenerateAssignment
from nbgrader.preprocessors import (
    AssignLatePenalties,
    ClearSolutions,
    NbGraderPreprocessor,
    OverwriteCells,
    SaveAutoGrades,
)
from sqlalchemy import create_engine
from traitlets import Bool, Integer, Unicode

from pgcourse.checks import cells
from pgcourse.checks.submission import match
from pgcourse.checks.verdict import CARRIED, MARKS, anchor, with_links
from pgcourse.checks.where import Located
from pgcourse.classroom import intake
from pgcourse.classroom.build import NOTEBOOK_METADATA
from pgcourse.classroom.judge import fingerprint, grade_submission, source_cells
from pgcourse.classroom.warm import Limits

# nbgrader calls alembic by name when it makes a gradebook
os.environ["PATH"] = os.pathsep.join(
    [str(Path(sys.executable).parent), os.environ.get("PATH", os.defpath)]
)


def configure(c, seed):
    """Have nbgrader grade this classroom with pgcourse's judge.

    c    : the Config of an nbgrader_config.py
    seed : str, the class's secret: hidden tests are the same cases with other numbers
    """
    c.Autograde.exporter_class = SubmissionExporter
    c.SubmissionExporter.seed = seed
    # all metadata come from the source, which nbgrader checked when it made the release
    c.Autograde.sanitize_preprocessors = [OverwriteCells]
    c.Autograde.autograde_preprocessors = [
        ShowVerdicts,
        SavePoints,
        AssignLatePenalties,
    ]
    c.OverwriteCells.add_missing_cells = True
    steps = GenerateAssignment.class_traits()["preprocessors"].default()
    c.GenerateAssignment.preprocessors = [GiveOut if s is ClearSolutions else s for s in steps]
    c.ZipCollectApp.collector_plugin = "pgcourse.classroom.collector.Collector"
    c.ExportApp.plugin_class = "pgcourse.classroom.tables.HarmlessCsv"


def site_has_exchange():
    """Whether this machine has a place of its own for nbgrader's exchange: configured, or the default one is there."""
    from jupyter_core.paths import jupyter_config_path
    from nbgrader.exchange.default import Exchange
    from traitlets.config import ConfigFileNotFound, JSONFileConfigLoader, PyFileConfigLoader

    for folder in jupyter_config_path():
        for loader, name in ((PyFileConfigLoader, "py"), (JSONFileConfigLoader, "json")):
            with suppress(ConfigFileNotFound):
                if "root" in loader(f"nbgrader_config.{name}", folder).load_config().Exchange:
                    return True
    return os.access(Exchange.root.default_value, os.W_OK | os.X_OK)


# --------------------------------------------------------------------------------- the exporter


class SubmissionExporter(NotebookExporter):
    """Reads a submission whatever its state, with its result; autograded notebooks as they are."""

    seed = Unicode(help="The class's secret.").tag(config=True)
    seconds = Integer(Limits.seconds, help="Most seconds for a submission.").tag(config=True)
    memory = Integer(Limits.memory, help="Most MB for a submission.").tag(config=True)
    unsafe = Bool(False, help="Grade even where no sandbox works.").tag(config=True)

    def from_filename(self, filename, resources=None, **kw):
        if not self.parent._sanitizing:
            return super().from_filename(filename, resources, **kw)
        about, coursedir = resources["nbgrader"], self.parent.coursedir
        refuse_links(Path(filename).parent)
        data = cells.read_bytes(filename)
        source = source_text(coursedir, about["assignment"], about["notebook"])
        limits = Limits(self.seconds, self.memory, self.unsafe)
        store = Store(coursedir.root, about["assignment"])
        result = store.result(about["student"], data, source, self.seed, limits)
        nb = as_notebook(data, source, result)
        return self.from_notebook_node(nb, resources, **kw)


def source_text(coursedir, assignment, notebook):
    """The instructor's source notebook. raises: FileNotFoundError"""
    folder = coursedir.format_path(coursedir.source_directory, ".", assignment)
    return (Path(folder) / f"{notebook}.ipynb").read_text(encoding="utf-8")


def refuse_links(directory):
    """nbgrader copies what a link points to, into a tree that students get back."""
    for folder, folders, files in os.walk(directory):
        for name in (*folders, *files):
            if os.path.islink(os.path.join(folder, name)):
                raise cells.Unreadable(f"{name} in the submission is a symbolic link")


def as_notebook(data, source, result):
    """The autograded notebook: the submission's cells, the source's metadata, nothing that can act."""
    about = {intake.id_of(c): c.metadata for c in nbformat.reads(source, as_version=4).cells}
    submitted, _ = cells.read_cells(data)
    made, left = [], MOST_MARKDOWN
    for i, (cell, origin) in enumerate(match(submitted, source_cells(source)).cells):
        new = new_code_cell if cell.kind == "code" else new_markdown_cell
        text = cell.source
        if cell.kind != "code" and (origin is None or origin.grade_id):  # by the student
            text = text[: min(left, MOST_MARKDOWN // 5)]
            left -= len(text)
            text = inert(text) + ("" if text == cell.source else "\n\n[cut]")
        elif cell.kind != "code":
            text = TO_NOTEBOOKS.sub(r"\1", text)
        made.append(new(text, id=origin.id if origin is not None else f"own-{i}"))
        if origin is not None and origin.grade_id:
            made[-1].metadata["nbgrader"] = dict(about[origin.grade_id]["nbgrader"])
    ids = set()
    for i, cell in enumerate(made):  # the same given cell may have been handed in twice
        cell["id"] = f"copy-{i}" if cell.id in ids else cell.id
        ids.add(cell.id)
    return new_notebook(cells=made, metadata={**NOTEBOOK_METADATA, "pgcourse": result})


# links of the lesson's own: what they lead to does not lie beside the page
TO_NOTEBOOKS = re.compile(r"\[([^\]\n]*)\]\([\w./-]+\.(?:ipynb|md)\)")
MOST_MARKDOWN = (
    100_000  # characters that a student's Markdown takes to be shown; it is slow to render
)


def inert(markdown):
    """A student's Markdown without HTML; what Markdown makes of the rest is cleaned by `pages`.

    A < is followed by a space of no width: no tag begins so, and in code it still looks as it was.
    """
    return markdown.replace("<", "<\u200b")


# ------------------------------------------------------------------------------------ releases


class GiveOut(ClearSolutions):
    """nbgrader's own, but a function that is to be mended is given as it is."""

    def preprocess_cell(self, cell, resources, cell_index):
        text = cell.metadata.pop("given", None)
        if text is None:
            return super().preprocess_cell(cell, resources, cell_index)
        cell.source = text
        return cell, resources


# ------------------------------------------------------------------------------------ outputs


class ShowVerdicts(NbGraderPreprocessor):
    """Writes each verdict below its check, as a run of the notebook would show it."""

    def preprocess(self, nb, resources):
        result = nb.metadata.pop("pgcourse", None)
        if result is None:
            raise ValueError("this notebook has not been judged")
        headings = {
            heading.strip()
            for cell in nb.cells
            if cell.cell_type == "markdown"
            for heading in re.findall(r"^#+ (.*)$", cell.source, re.M)
        }
        for cell in nb.cells:
            about = cell.metadata.get("nbgrader", {})
            if cell.cell_type == "code" and about.get("grade") and not about.get("solution"):
                name = about["grade_id"].removeprefix("check_")
                verdict = result["exercises"].get(name)
                cell.outputs = outputs(name, verdict, about["points"], headings)
        return nb, resources


class SavePoints(SaveAutoGrades):
    """nbgrader's own, but what no judge knows waits for a person."""

    def _add_score(self, cell, resources):
        super()._add_score(cell, resources)
        if any(output.get("ename") == NOT_GRADED for output in cell.get("outputs", ())):
            ids = (self.notebook_id, self.assignment_id, self.student_id)
            grade = self.gradebook.find_grade(cell.metadata["nbgrader"]["grade_id"], *ids)
            grade.auto_score, grade.needs_manual_grade = None, True
            self.gradebook.db.commit()


NOT_GRADED = "NotGraded"


def outputs(name, verdict, points, headings=()):
    """The outputs of a check cell, in the forms that nbgrader understands. headings: of the notebook"""
    if verdict is None:  # without an output, nbgrader would give full marks
        says = f"pgcourse has no exercise called {name}; grade this by hand."
        return [new_output("error", ename=NOT_GRADED, evalue=says, traceback=[says])]
    right, earned = verdict["score"] > 0, round(verdict["score"] / verdict["points"] * points, 6)
    verdict = verdict | {
        "score": earned,
        "points": points,
    }  # nbgrader's, as the instructor set them
    card = new_output(
        "display_data",
        data={
            "text/html": card_html(name, verdict, headings),
            "text/plain": card_text(name, verdict),
        },
    )
    if not right:  # whatever the instructor gives for it
        line = headline(name, verdict)
        return [card, new_output("error", ename="CheckFailed", evalue=line, traceback=[line])]
    return [
        card,
        new_output("execute_result", data={"text/plain": repr(float(earned))}, execution_count=1),
    ]


def headline(name, v):
    mark, named = "✓" if v["passed"] else "✗", f" — {v['pitfall']}" if v["pitfall"] else ""
    return f"{mark} {name}{named} · {v['score']:g} of {v['points']:g} points"


def parts(v):
    return [f"{MARKS[ok]} {part}" for part, ok in v["parts"]]


def is_carried(v):
    return v["message"].endswith(CARRIED)


def card_text(name, v):
    if v["passed"]:
        return headline(name, v) + (f"\n{v['message']}" if is_carried(v) else "")
    lines = [headline(name, v), v["message"], v.get("example"), v["why"], str(located(v) or "")]
    lines += ["  ".join(parts(v)), f"Read: {v['read']}"]
    return "\n".join(line for line in lines if line)


def located(v):
    return v.get("where") and Located(**v["where"])


def card_html(name, v, headings=()):
    """The card of the notebook's own check; every text in it is escaped."""
    color = "#009E73" if v["passed"] else "#E69F00" if v["score"] else "#D55E00"
    rows = [f"<b>{html.escape(headline(name, v))}</b>"]
    if is_carried(v) or not v["passed"]:
        rows.append(html.escape(v["message"]))
    if not v["passed"]:
        if v.get("example"):
            rows.append(f"<pre style='margin:.3em 0'>{html.escape(v['example'])}</pre>")
        if v["why"]:
            rows.append(f"<i>{html.escape(v['why'])}</i>")
        if located(v):
            rows.append(located(v)._repr_html_())
        earned = " &nbsp; ".join(map(html.escape, parts(v)))
        read = with_links(
            v["read"], lambda title: f"#{anchor(title)}" if title in headings else None
        )
        rows.append(f"<small>{earned} &nbsp;·&nbsp; Read: {read}</small>")
        if v["traceback"]:
            rows.append(
                "<details><summary>Traceback (on the numbers of the notebook)</summary>"
                f"<pre>{html.escape(v['traceback'])}</pre></details>"
            )
    body = "".join(f"<div>{row}</div>" for row in rows)
    return (
        f"<div role='status' style='border-left:.4em solid {color};padding:.4em .8em;"
        f"margin:.3em 0'>{body}</div>"
    )


# -------------------------------------------------------------------------------------- results


class Store:
    """Results of a lesson, one file a student under .pgcourse/results; whole or not there."""

    def __init__(self, root, lesson):
        self.folder = Path(root) / ".pgcourse" / "results" / lesson

    def result(self, student, data, source, seed, limits):
        """The stored result for exactly these bytes, or a fresh one, which is stored."""
        key = result_key(data, source, seed, limits)
        stored = self.read(student)
        if stored.get("key") != key or "exercises" not in stored:
            stored = {"key": key, **grade_submission(data, source, seed, limits)}
            self.write(student, stored)
        return stored

    def read(self, student):
        try:
            return json.loads(self.path(student).read_text(encoding="utf-8"))
        except (OSError, ValueError):
            return {}

    def write(self, student, result):
        write_whole(self.path(student), json.dumps(result, indent=1, ensure_ascii=False))

    def path(self, student):
        return self.folder / f"{student}.json"

    def all(self):
        """{student: result}, of everybody"""
        return {p.stem: self.read(p.stem) for p in sorted(self.folder.glob("*.json"))}

    def isolation(self):
        """How the submissions were isolated, without holding them all in memory."""
        levels = {self.read(p.stem).get("isolation") for p in self.folder.glob("*.json")}
        return sorted(levels - {None})


def result_key(data, source, seed, limits):
    """Names what a result depends on."""
    parts = (data, source.encode(), seed.encode(), repr(limits).encode())
    digest = hashlib.sha256(fingerprint(source).encode())
    for part in parts:
        digest.update(len(part).to_bytes(8, "big") + part)
    return digest.hexdigest()


def write_whole(path, text):
    """Write a file, for its owner alone, so that it is either whole or not there, kill -9 included."""
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f".{path.name}.{os.getpid()}")
    opened = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
    with open(opened, "w", encoding="utf-8", errors="replace") as file:
        file.write(text)
        file.flush()
        os.fsync(file.fileno())
    os.replace(temporary, path)


# ------------------------------------------------------------------------------------ the class


class ClassError(Exception):
    """The class cannot be graded; the message says why and what to do."""


class Classroom:
    """A course directory, seen through nbgrader's own configuration."""

    def __init__(self, root):
        self.root = Path(root).expanduser().resolve()
        if not (self.root / "nbgrader_config.py").is_file():
            raise ClassError(
                f"{self.root} is no classroom (it has no nbgrader_config.py); "
                "pgcourse classroom new makes one."
            )

    @cached_property
    def app(self):
        from nbgrader.apps import NbGrader

        forget_other_classes(self.root)
        app = NbGrader(log_level="CRITICAL")
        with in_directory(self.root):
            app.initialize([], root=str(self.root))
        return app

    @property
    def coursedir(self):
        return self.app.coursedir

    @property
    def seed(self):
        seed = self.app.config.SubmissionExporter.get("seed")
        if not isinstance(seed, str) or not seed:
            raise ClassError(
                f"{self.root / 'nbgrader_config.py'} does not call "
                "pgcourse.classroom.gradebook.configure(c, seed=...)."
            )
        return seed

    def source(self, lesson):
        try:
            return source_text(self.coursedir, lesson, lesson)
        except FileNotFoundError:
            there = ", ".join(sorted(p.name for p in (self.root / "source").glob("*"))) or "none"
            raise ClassError(
                f"The classroom has no lesson called {lesson}; it has: {there}."
            ) from None

    def folder(self, kind, student, lesson):
        """Where nbgrader keeps something. kind: "source", "submitted", "autograded" or "feedback" """
        directory = getattr(self.coursedir, f"{kind}_directory")
        return Path(self.coursedir.format_path(directory, student, lesson))

    def submitted(self, student, lesson):
        return self.folder("submitted", student, lesson)

    def students(self, lesson):
        """Everybody with a directory for the lesson in submitted/, in order."""
        return sorted(
            p.parent.name for p in self.submitted("*", lesson).parent.parent.glob(f"*/{lesson}")
        )

    def gradebook(self):
        from nbgrader.api import Gradebook

        return Gradebook(self.coursedir.db_url, self.coursedir.course_id)

    def check_released(self, lesson):
        from nbgrader.api import MissingEntry

        with self.gradebook() as gradebook:
            try:
                if gradebook.find_assignment(lesson).notebooks:
                    return
            except MissingEntry:
                pass
        raise ClassError(
            f"nbgrader does not know {lesson} yet; in {self.root} run: "
            f"nbgrader generate_assignment {lesson}"
        )

    def record(self, student, lesson, data, timestamp, limits):
        """Have nbgrader write a stored result into the gradebook and autograded/. raises: any"""
        from nbgrader.converters import Autograde
        from nbgrader.coursedir import CourseDirectory

        # nbgrader sees the notebook under its right name, and nothing else of what was handed in
        staged = self.root / ".pgcourse" / "staged"
        folder = staged / student / lesson
        folder.mkdir(parents=True, exist_ok=True)
        (folder / f"{lesson}.ipynb").write_bytes(data)
        if timestamp:
            (folder / "timestamp.txt").write_text(timestamp, encoding="utf-8")
        # nbgrader's exchange knows whose feedback a page is by this; without it, it gives none to anybody
        secret = secret_of(self.submitted(student, lesson))
        (folder / SECRET).write_text(secret, encoding="utf-8")
        coursedir = CourseDirectory(parent=self.app, root=str(self.root))
        coursedir.submitted_directory = os.path.relpath(staged, self.root)
        coursedir.student_id, coursedir.assignment_id = student, lesson
        config = self.app.config.copy()
        config.SubmissionExporter.update(vars(limits))
        converter = Autograde(coursedir=coursedir, parent=self.app, config=config)
        converter.force = True
        # found already; nbgrader's own search stumbles over names with brackets
        notebooks = {str(folder): [str(folder / f"{lesson}.ipynb")]}
        converter.init_notebooks = lambda: converter.set_trait("assignments", notebooks)
        try:
            with in_directory(self.root), one_engine(), warnings.catch_warnings():
                warnings.simplefilter("ignore")  # of nbgrader's, about its own database sessions
                converter.start()
            graded = coursedir.format_path(coursedir.autograded_directory, student, lesson)
            stamp = Path(graded) / "timestamp.txt"
            if not stamp.exists():  # the exchange opens it, too
                stamp.touch()
        finally:
            shutil.rmtree(folder)


SECRET = "submission_secret.txt"


def secret_of(folder):
    """What `nbgrader submit` put beside a submission; for one that came another way, one that nobody knows."""
    try:
        text = cells.read_bytes(folder / SECRET)[:1000].decode("ascii").strip()
    except (cells.Unreadable, UnicodeDecodeError):
        text = ""
    return text if re.fullmatch(r"[0-9a-f]{32,256}", text) else secrets.token_hex(64)


@cache
def engine(url, **options):
    return create_engine(url, **options)


@contextmanager
def one_engine():
    """nbgrader opens its gradebook eight times a submission; one engine compiles its queries once."""
    api.create_engine = engine
    try:
        yield
    finally:
        api.create_engine = create_engine


def forget_other_classes(root):
    """The plugins of another class directory, such as its late.py, have the same names as this one's."""
    files = {name: getattr(module, "__file__", None) for name, module in sys.modules.items()}
    for name, file in files.items():
        folder = Path(file).parent if file and name != "__main__" else root
        if folder != root and (folder / "nbgrader_config.py").is_file():
            del sys.modules[name]


@contextmanager
def in_directory(path):
    """nbgrader expects to run in the course directory."""
    before = os.getcwd()
    os.chdir(path)
    try:
        yield
    finally:
        os.chdir(before)
