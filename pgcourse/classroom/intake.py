"""What students hand in, read whatever its state: repaired where that is possible, named where not.

The text of the solution cells is all that counts. Outputs, tags, edited checks, cell metadata and
file names of a submission decide nothing; the checks and the given cells come from the source.
"""

import ast
import json
import os
import re
import stat
from dataclasses import dataclass
from pathlib import Path

from pgcourse.checks.cells import given, plain, stub

MOST_BYTES = 100 * 2**20  # of a notebook file (outputs included)
MOST_PARTS = 5_000_000  # of its JSON: each number, text and bracket takes some 100 bytes of memory
MOST_CELLS = 2_000
MOST_TEXT = 200_000  # characters of one cell
MOST_IN_ALL = 5_000_000


class Unreadable(Exception):
    """A submission that cannot be graded; the message is the line in the report."""

    def __init__(self, says):
        super().__init__(shown(says))


def shown(text):
    """A line for a terminal, a page or a table: names of files and of people may hold escape sequences,
    line breaks and marks that reverse what is read."""
    return "".join(c if c.isprintable() else "\ufffd" for c in str(text))


@dataclass(frozen=True)
class Cell:
    """kind: "code", "markdown" or "raw"; grade_id: nbgrader's, or ""; id: nbformat's, or ""."""

    kind: str
    source: str
    grade_id: str = ""
    id: str = ""


# ------------------------------------------------------------------------------------- files


def find_notebook(directory, lesson):
    """(path of the notebook in a student's directory, [notes]). raises: Unreadable"""
    directory, wanted = Path(directory), f"{lesson}.ipynb"
    if directory.is_symlink() or directory.parent.is_symlink():
        raise Unreadable("the submission is a symbolic link")
    if not directory.is_dir():
        raise Unreadable("there is no submission")
    found = sorted(
        p for p in directory.iterdir() if p.suffix.lower() == ".ipynb" and is_work(p.name)
    )
    if (directory / wanted) in found:
        return directory / wanted, []
    found = found or sorted(
        p
        for p in directory.rglob("*")
        if p.suffix.lower() in (".ipynb", ".json") and is_work(p.relative_to(directory))
    )
    if not found:
        raise Unreadable("there is no notebook in the submission")
    if len(found) > 1:
        alike = [p for p in found if lesson in p.name]
        found = alike if len(alike) == 1 else found
    if len(found) > 1:
        names = ", ".join(p.name for p in found[:4])
        raise Unreadable(f"none of the notebooks is called {wanted}: {names}")
    return found[0], [f"the file is called {found[0].relative_to(directory)}, not {wanted}"]


def is_work(path):
    """Whether a path (relative) may hold a student's work: no checkpoints, no files of macOS's own."""
    return not any(part.startswith((".", "__MACOSX")) for part in Path(path).parts)


def read_bytes(path):
    """The bytes of a regular file. raises: Unreadable (a link, a pipe, too large, not readable)"""
    try:
        # no link is followed, and no pipe waited for
        fd = os.open(
            path, os.O_RDONLY | getattr(os, "O_NOFOLLOW", 0) | getattr(os, "O_NONBLOCK", 0)
        )
    except OSError as error:
        link = Path(path).is_symlink()
        reason = "the notebook is a symbolic link" if link else f"{error.strerror}"
        raise Unreadable(reason) from None
    status = os.fstat(fd)
    if not stat.S_ISREG(status.st_mode) or status.st_size > MOST_BYTES:
        os.close(fd)
        if not stat.S_ISREG(status.st_mode):
            raise Unreadable("the notebook is not a file")
        raise Unreadable(
            f"the notebook has {status.st_size >> 20} MB; {MOST_BYTES >> 20} MB are allowed"
        )
    with open(fd, "rb") as file:
        return file.read()


# ----------------------------------------------------------------------------------- notebook


def read_cells(data):
    """([Cell], [notes]) of a notebook's bytes. raises: Unreadable"""
    text, notes = decode(data)
    if sum(map(text.count, ",[{")) > MOST_PARTS:
        raise Unreadable(f"the notebook has more than {MOST_PARTS:,} pieces of data")
    try:
        nb = json.loads(text)
    except (ValueError, RecursionError) as error:
        where = f" (line {error.lineno})" if isinstance(error, json.JSONDecodeError) else ""
        raise Unreadable(f"the notebook is damaged: no valid JSON{where}") from None
    if not isinstance(nb, dict):
        raise Unreadable("the file is no notebook")
    cells = nb.get("cells")
    if cells is None and isinstance(nb.get("worksheets"), list):  # nbformat 3 and older
        sheets = (s.get("cells") for s in nb["worksheets"] if isinstance(s, dict))
        cells = [cell for sheet in sheets if isinstance(sheet, list) for cell in sheet]
        notes.append("the notebook has an old format (nbformat 3)")
    if not isinstance(cells, list):
        raise Unreadable("the file is no notebook: it has no cells")
    if len(cells) > MOST_CELLS:
        raise Unreadable(f"the notebook has {len(cells)} cells; {MOST_CELLS} are read")
    found = [read_cell(cell) for cell in cells if isinstance(cell, dict)]
    if len(found) < len(cells):
        notes.append("what is no cell was dropped")
    if not any(cell.source.strip() for cell in found):
        raise Unreadable("the notebook is empty")
    if any(len(cell.source) > MOST_TEXT for cell in found):
        notes.append(f"a cell of more than {MOST_TEXT} characters was cut")
        found = [Cell(c.kind, c.source[:MOST_TEXT], c.grade_id, c.id) for c in found]
    written = sum(len(cell.source) for cell in found)
    if written > MOST_IN_ALL:
        raise Unreadable(f"its cells hold {written} characters; {MOST_IN_ALL} are read")
    return found, notes


def decode(data):
    """(text, notes): UTF-8, else what its byte order mark or its bytes suggest."""
    if not data.strip(b" \t\r\n\0"):
        raise Unreadable("the notebook is an empty file")
    if data.startswith((b"\xff\xfe", b"\xfe\xff")):
        return data.decode("utf-16", "replace"), ["the file is UTF-16, not UTF-8"]
    if data.startswith(b"\xef\xbb\xbf"):
        return data.decode("utf-8-sig", "replace"), ["the file starts with a byte order mark"]
    try:
        return data.decode("utf-8"), []
    except UnicodeDecodeError:
        return data.decode("latin-1"), ["the file is not UTF-8; it was read as Latin-1"]


def read_cell(cell):
    metadata = cell.get("metadata")
    nbgrader = metadata.get("nbgrader") if isinstance(metadata, dict) else None
    grade_id = nbgrader.get("grade_id") if isinstance(nbgrader, dict) else None
    kind = cell.get("cell_type")
    source = cell.get("source", cell.get("input", ""))
    if isinstance(source, list):
        source = "".join(part for part in source if isinstance(part, str))
    return Cell(
        kind=kind if kind in ("code", "raw") else "markdown",
        source=clean(source) if isinstance(source, str) else "",
        grade_id=grade_id if isinstance(grade_id, str) else "",
        id=cell["id"] if isinstance(cell.get("id"), str) else "",
    )


def clean(text):
    """Text that can be stored and shown: no lone surrogates, no control characters (also none that
    reverse what is read), \\n only."""
    text = text.encode("utf-8", "replace").decode("utf-8").replace("\r\n", "\n").replace("\r", "\n")
    return re.sub(r"[\x00-\x08\x0b-\x1f\x7f-\x9f\u202a-\u202e\u2066-\u2069]", "", text)


# ------------------------------------------------------------------------ held against the source


@dataclass(frozen=True)
class Submission:
    """A submission in order: the source's graded cells, each exactly once, and what was added.

    cells   : [(Cell, source cell or None)]; where there is a source cell, its metadata hold
    notes   : what was repaired, one sentence each
    """

    cells: list
    notes: list

    def steps(self):
        """What a worker runs, in the order of the notebook: [{"kind", "name", "source"}], and
        {exercise: number of steps before its check}."""
        steps, checks, answers = [], {}, {}
        exercises = {id_of(s).removeprefix("check_") for _, s in self.cells if is_check(s)}
        for cell, source in self.cells:
            grade_id = id_of(source)
            if is_check(source):
                checks[grade_id.removeprefix("check_")] = len(steps)
            elif cell.kind == "code" and cell.source.strip():
                ours = source is not None and not grade_id
                kind = "answer" if grade_id in exercises else "given" if ours else "own"
                name = grade_id or f"cell {len(steps) + 1}"
                text = stub(source.source) if is_untouched(cell, source) else cell.source
                steps.append({"kind": kind, "name": name, "source": text})
                answers[grade_id] = len(steps)
        # a check that was moved above its answer comes after it all the same
        return steps, {name: max(n, answers.get(name, 0)) for name, n in checks.items()}

    def still_to_mend(self):
        """Names of the functions that were given to be mended and are as they were."""
        return [id_of(s) for c, s in self.cells if is_untouched(c, s) and "given" in s.metadata]

    def is_begun(self):
        """Whether there is anything in it that was not given."""
        return any(
            cell.kind == "code" and cell.source.strip() and not is_untouched(cell, source)
            for cell, source in self.cells
            if source is None or (id_of(source) and not is_check(source))
        )


def id_of(cell):
    """nbgrader's grade_id of a cell of the source notebook, or ""."""
    return cell.metadata.get("nbgrader", {}).get("grade_id", "") if cell is not None else ""


def is_untouched(cell, source):
    """Whether an answer's cell is as it was given: as a stub, or as a function that is to be mended."""
    if not id_of(source) or is_check(source):
        return False
    return plain(cell.source) == plain(given(source.source, source.metadata))


def is_check(cell):
    return id_of(cell).startswith("check_") and cell.metadata["nbgrader"].get("grade", False)


def match(cells, source):
    """Hold a submission's cells against the source notebook. returns: Submission

    A graded cell is known by its grade_id; failing that by its cell id or, for a solution, by the
    function that it defines. "Split cell" gives every part the label of the whole: all parts are run,
    in the order of the notebook, and the answer is the last one that defines the function. Parts
    without work in them (empty, as released, mere copies) are dropped. What is missing is put
    back, behind the cell that it follows in the source.
    """
    notes, missing, unlabeled = [], [], []
    place, copies = {}, set()  # number of a submitted cell: its source cell; numbers of copies
    known = {id_of(c): c for c in source.cells if id_of(c)}
    for name, cell in known.items():
        own = [i for i, c in enumerate(cells) if c.grade_id == name]
        if not own:
            own = [i for i, c in enumerate(cells) if not c.grade_id and c.id and c.id == cell.id]
        if not own and not is_check(cell):
            free = [i for i, c in enumerate(cells) if c.grade_id not in known and i not in place]
            own = [i for i in free if defined(cells[i])[-1:] == [name]]
            own = own or [i for i in free if name in defined(cells[i])]
            unlabeled += [name] if own else []
        own = [i for i in own if i not in place]
        if not own:
            missing.append(name)
            continue
        if len(own) > 1 and not is_check(cell):
            answer, work = answer_among(own, cells, name, plain(given(cell.source, cell.metadata)))
            copies.update(i for i in own if i != answer and i not in work)
            says = "all parts that are written are run" if work else "the one written in counts"
            notes.append(f"{name} is there {len(own)} times; {says}")
            own = [answer]
        else:
            copies.update(own[:-1])
        place[own[-1]] = cell
    if missing:
        notes.append(f"cells were missing: {', '.join(missing)}")
    if unlabeled:
        notes.append(f"cells had lost their label: {', '.join(unlabeled)}")
    others = {}
    for cell in source.cells:
        if not id_of(cell):
            others.setdefault((cell.cell_type, plain(cell.source)), cell)
    for i, cell in enumerate(cells):
        if i not in place:
            place[i] = others.get((cell.kind, plain(cell.source)))
    cells = in_place(cells, {i: s for i, s in place.items() if i not in copies})
    return Submission(put_back(cells, source), notes)


def answer_among(own, cells, name, released):
    """(the answer, the other parts with work in them) of the cells with one label, by their numbers."""
    texts = {i: plain(cells[i].source) for i in own}
    written = [i for i in own if texts[i] not in ("", released)] or own[-1:]
    defining = [i for i in written if name in defined(Cell("code", cells[i].source))]
    answer = (defining or written)[-1]
    return answer, [i for i in written if i != answer and texts[i] != texts[answer]]


def in_place(cells, place):
    """[(cell, source cell)]: a check's text is the source's; a solution is code, whatever it says."""
    result = []
    for i, source in sorted(place.items()):
        cell = cells[i]
        if is_check(source):
            cell = Cell("code", source.source)
        elif id_of(source):
            cell = Cell(source.cell_type, cell.source)
        result.append((cell, source))
    return result


def put_back(cells, source):
    """Insert what is missing: graded cells, and given code (which an exercise may need)."""
    there = [id(s) for _, s in cells if s is not None]
    at = 0
    for cell in source.cells:
        if id(cell) in there:
            at = next(i for i, (_, s) in enumerate(cells) if s is cell) + 1
        elif id_of(cell) or cell.cell_type == "code":
            text = "" if id_of(cell) and not is_check(cell) else cell.source
            cells.insert(at, (Cell(cell.cell_type, text), cell))
            at += 1
    return cells


def defined(cell):
    """Names of the functions that a code cell defines, in order."""
    return re.findall(r"^def (\w+)", cell.source, re.M) if cell.kind == "code" else []


def imports(source):
    """Modules that the source's given cells import: a warm worker has them already."""
    found = []
    for cell in source.cells:
        if cell.cell_type == "code" and not id_of(cell):
            try:
                body = ast.parse(cell.source).body
            except SyntaxError:
                continue
            for node in body:
                if isinstance(node, ast.Import):
                    found += [alias.name for alias in node.names]
                elif isinstance(node, ast.ImportFrom) and node.module and not node.level:
                    found.append(node.module)
    return sorted(set(found))
