"""Notebooks as learners save them, read whatever their state: repaired where that is possible, named where not.

The one reader of all that judges a notebook: a lesson's first cell, `own`, `pgcourse progress`, `pgcourse grade`.
"""

import ast
import json
import os
import re
import stat
from dataclasses import dataclass, replace
from functools import lru_cache
from pathlib import Path

MOST_BYTES = 100 * 2**20  # of a notebook file (outputs included)
MOST_PARTS = 5_000_000  # of its JSON: each number, text and bracket takes some 100 bytes of memory
MOST_CELLS = 2_000
MOST_TEXT = 200_000  # characters of one cell
MOST_IN_ALL = 5_000_000

STUB = 'raise NotImplementedError("Your turn: replace this line.")'
BEGIN, END = "### BEGIN SOLUTION", "### END SOLUTION"
REGION = re.compile(rf"^([ \t]*){BEGIN}\n(.*?)\n[ \t]*{END}$", re.M | re.S)


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
    """kind: "code", "markdown" or "raw"; grade_id: nbgrader's, or ""; id: nbformat's, or "".

    Of a lesson's own notebook also: whether it is a check, and what is given out in its place ("" = a stub).
    """

    kind: str
    source: str
    grade_id: str = ""
    id: str = ""
    graded: bool = False
    to_mend: str = ""


# ------------------------------------------------------------------------------------- reading


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


def read_cells(data):
    """([Cell], [notes]) of a notebook's bytes. raises: Unreadable"""
    text, notes = decode(data)
    if SCRIPT.match(text):
        text, form = from_script(text)
        notes.append(f"the file is a script ({form}), of which a notebook was made")
    if sum(map(text.count, ",[{")) > MOST_PARTS:
        raise Unreadable(f"the notebook has more than {MOST_PARTS:,} pieces of data")
    try:
        nb = json.loads(text)
    except (ValueError, RecursionError) as error:
        where = f" (line {error.lineno})" if isinstance(error, json.JSONDecodeError) else ""
        looks = next((f", it {says}" for says, mark in LOOKS.items() if mark.search(text)), "")
        raise Unreadable(f"the notebook is damaged: no valid JSON{where}{looks}") from None
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
        found = [replace(c, source=c.source[:MOST_TEXT]) for c in found]
    written = sum(len(cell.source) for cell in found)
    if written > MOST_IN_ALL:
        raise Unreadable(f"its cells hold {written} characters; {MOST_IN_ALL} are read")
    return found, notes


LOOKS = {  # what it is instead, for who has to write to the student
    "is a web page": re.compile(r"\A\s*<(?:!doctype|html)\b", re.I),
    "is a ZIP archive": re.compile(r"\APK\x03\x04"),
    "is a PDF file": re.compile(r"\A%PDF-"),
    "holds git's marks of a conflict": re.compile(r"^<<<<<<< .*$", re.M),
}
SCRIPT = re.compile(
    r"\s*(?:[#@]|---|`{3}|[\"']{3}|(?:import|from|def|class)\s)"
)  # no JSON begins so
HEADER = re.compile(r"\s*# ---\n(?:#.*\n)*?# ---\n")  # jupytext's settings, in YAML
DATABRICKS = "# Databricks notebook source"
# forms of scripts; jupytext reads the marks of nbconvert as percent, and what Colab writes, which has none, as light
MARKS = {
    "percent": re.compile(r"^# ?(?:%%|In ?\[[ \d]*\]:?$)", re.M),
    "light": re.compile(r"^# \+(?: |$)|^Automatically generated by Colab", re.M),
    "myst": re.compile(r"^```\{code-cell\}", re.M),
    "Rmd": re.compile(r"^```\{python\b", re.M),  # Quarto's, too
    "markdown": re.compile(r"^```(?:python|ipython3)\b", re.M),
}


FORMATS = {"myst": "md:myst", "Rmd": "Rmd", "markdown": "md"}


def form_of(text):
    """Name of the form in which a script is a notebook, or ""."""
    if text.lstrip().startswith(DATABRICKS):
        return "Databricks"
    header = HEADER.match(text)
    found = [form for form, mark in MARKS.items() if mark.search(text)]
    found += ["light"] if header and "jupytext" in header[0] else []
    return found[0] if found else ""


def from_script(text):
    """(JSON of a notebook, name of the form) of a script in one of jupytext's forms. raises: Unreadable"""
    text = text.lstrip().replace("\r\n", "\n")
    form, header = form_of(text), HEADER.match(text)
    if not form:
        raise Unreadable("the file is a script without marks of cells, no notebook")
    if form == "Databricks":
        return json.dumps({"cells": from_databricks(text)}), form
    marks = len(MARKS[form].findall(text))
    if len(text) > MOST_TEXT or marks > MOST_CELLS:  # jupytext takes its time
        raise Unreadable(f"the script has {len(text)} characters; {MOST_TEXT} are read")
    try:
        import jupytext

        nb = jupytext.reads(
            text[header.end() if header else 0 :], fmt=FORMATS.get(form, f"py:{form}")
        )
        return json.dumps(nb), form
    except ImportError:
        raise Unreadable(
            "the file is a script, no notebook (jupytext, which converts it, is not here)"
        ) from None
    except Exception as error:  # of a parser, on whatever somebody saved
        raise Unreadable(
            f"the file is a script that jupytext cannot read ({type(error).__name__})"
        ) from None


def from_databricks(text):
    """The cells (JSON) of Databricks source: between lines of COMMAND; one in which every line begins with MAGIC is text,
    or another language's, or begins with a magic of IPython's."""
    cells = []
    for part in re.split(r"^# COMMAND -+$", text.removeprefix(DATABRICKS), flags=re.M):
        lines = [x for x in part.strip("\n").split("\n") if not x.startswith("# DBTITLE ")]
        magic = [
            x.removeprefix("# MAGIC").removeprefix(" ") for x in lines if x.startswith("# MAGIC")
        ]
        first, *rest = magic or [""]
        kind = "markdown" if first.startswith("%md") else "code"
        if kind == "markdown":
            lines = [first.removeprefix("%md").lstrip(" "), *rest]
        elif re.match("%(?:sql|scala|r|sh|fs|run)\\b", first):
            lines = [f"%{first}", *rest]
        elif magic:
            lines = [*rest] if first.strip() == "%python" else [first, *rest]
        cells.append({"cell_type": kind, "source": "\n".join(lines).strip("\n")})
    return cells


def decode(data):
    """(text, notes): UTF-8, else what its byte order mark or its bytes suggest."""
    if not data.strip(b" \t\r\n\0"):
        raise Unreadable("the notebook is an empty file")
    encoding = json.detect_encoding(data[:4])
    if not encoding.startswith("utf-8"):
        return data.decode(encoding, "replace"), [f"the file is {encoding[:6].upper()}, not UTF-8"]
    if data.startswith(b"\xef\xbb\xbf"):
        return data.decode("utf-8-sig", "replace"), ["the file starts with a byte order mark"]
    try:
        return data.decode("utf-8"), []
    except UnicodeDecodeError:
        return data.decode("latin-1"), ["the file is not UTF-8; it was read as Latin-1"]


def read_cell(cell):
    metadata = cell.get("metadata") if isinstance(cell.get("metadata"), dict) else {}
    nbgrader = metadata.get("nbgrader") if isinstance(metadata.get("nbgrader"), dict) else {}
    kind = cell.get("cell_type")
    return Cell(
        kind=kind if kind in ("code", "raw") else "markdown",
        source=text_of(cell.get("source", cell.get("input", ""))),
        grade_id=text_of(nbgrader.get("grade_id")),
        id=text_of(cell.get("id")),
        graded=nbgrader.get("grade") is True,
        to_mend=text_of(metadata.get("given")),
    )


def text_of(value):
    if isinstance(value, list):
        value = "".join(part for part in value if isinstance(part, str))
    return clean(value) if isinstance(value, str) else ""


def clean(text):
    """Text that can be stored and shown: no lone surrogates, no control characters (also none that
    reverse what is read), \\n only."""
    text = text.encode("utf-8", "replace").decode("utf-8").replace("\r\n", "\n").replace("\r", "\n")
    return re.sub(r"[\x00-\x08\x0b-\x1f\x7f-\x9f\u202a-\u202e\u2066-\u2069]", "", text)


# --------------------------------------------------------------------------- what was given


def stub(solved):
    """The text of a solved cell with a line that raises in place of the answer."""
    return REGION.sub(rf"\1{STUB}", solved)


def given(cell):
    """What a learner gets in place of a solved cell: a function to be mended, or a stub."""
    return cell.to_mend or stub(cell.source)


@lru_cache(maxsize=1_000)
def code_alone(text):
    """Statements without what a script's form or a wrong encoding changes: comments, spaces, characters beyond ASCII.

    returns : a tuple of texts, empty where it is no Python; what is a text and nothing else does not count
    """
    try:
        statements = ast.parse(text).body
        texts = [ast.unparse(s) for s in statements if not is_text(s)]
    except (SyntaxError, ValueError, RecursionError, MemoryError):
        return ()
    return tuple("".join(c for c in text if c.isascii() and c != "?") for text in texts)


def is_text(statement):
    return isinstance(statement, ast.Expr) and isinstance(statement.value, ast.Constant)


def plain(text):
    """Text without what an editor changes unasked: space at the ends of lines, empty lines around it."""
    return "\n".join(line.rstrip() for line in text.strip().split("\n"))
