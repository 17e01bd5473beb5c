"""Where a submission lies, whatever its state: found in a student's directory, or named as missing.

What stands in it is read by `checks.cells` and held against the lesson by `checks.submission`.
"""

import ast
from contextlib import suppress
from pathlib import Path

from pgcourse.checks.cells import MOST_TEXT, Unreadable, form_of


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
    found = found or sorted(
        p
        for p in directory.rglob("*.py")
        if is_work(p.relative_to(directory)) and is_notebook_as_script(p)
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


def is_notebook_as_script(path):
    """Whether a file is a script that a notebook can be made of: Databricks source, jupytext's, Colab's."""
    if path.suffix.lower() != ".py" or path.is_symlink() or not path.is_file():
        return False
    with suppress(OSError), open(path, "rb") as file:
        text = file.read(MOST_TEXT).decode("utf-8-sig", "replace")
        return bool(form_of(text.replace("\r\n", "\n")))
    return False


def is_work(path):
    """Whether a path (relative) may hold a student's work: no checkpoints, no files of macOS's own."""
    return not any(part.startswith((".", "__MACOSX")) for part in Path(path).parts)


def id_of(cell):
    """nbgrader's grade_id of a cell (of nbformat's) of the source notebook, or ""."""
    return cell.metadata.get("nbgrader", {}).get("grade_id", "")


def imports(source):
    """Modules that the given cells of the source notebook import: a warm worker has them already."""
    found = []
    for cell in source:
        if cell.kind == "code" and not cell.grade_id:
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
