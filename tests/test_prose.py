"""A lesson's words come before their use: each name from the package is explained before code needs it."""

import ast
import re
from pathlib import Path

import nbformat
import pytest

COURSE = sorted((Path(__file__).parents[1] / "course").glob("0*.ipynb"))
BEGINNING = {"begin", "plots", "end"}  # the first cell itself, and the last


def unexplained(nb):
    """Names from pgcourse, and keys of a rollout, that code uses before any text has named them."""
    said, imported, found = "", set(), []
    for cell in nb.cells:
        if cell.cell_type == "markdown":
            said += cell.source
            continue
        tree = ast.parse(cell.source)
        for node in ast.walk(tree):
            if isinstance(node, ast.ImportFrom) and node.module.split(".")[0] == "pgcourse":
                imported |= {alias.name for alias in node.names} - BEGINNING
        used = {node.id for node in ast.walk(tree) if isinstance(node, ast.Name)} & imported
        found += [name for name in used if not re.search(rf"`[^`]*\b{name}\b[^`]*`", said)]
        keys = re.findall(r'(?:rollout|data|batch)\["(\w+)"\]', cell.source)
        found += [key for key in keys if f'"{key}"' not in said and f"`{key}`" not in said]
    return sorted(set(found))


@pytest.mark.parametrize("path", COURSE, ids=lambda path: path.stem)
def test_every_name_is_explained_before_it_is_used(path):
    assert unexplained(nbformat.read(path, as_version=4)) == []


def test_a_name_that_is_used_too_early_is_seen():
    code, text = nbformat.v4.new_code_cell, nbformat.v4.new_markdown_cell
    use = code("from pgcourse.rollout import Collector\nx = Collector(1)['a']\nrollout[\"mask\"]")
    nb = nbformat.v4.new_notebook(cells=[text("Collector, mask"), use, text("`Collector(env)`")])
    assert unexplained(nb) == ["Collector", "mask"]
    nb.cells = nb.cells[::-1][:1] + [text('`rollout["mask"]`'), use]
    assert unexplained(nb) == []
