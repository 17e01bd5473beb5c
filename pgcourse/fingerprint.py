"""Whether something that was recorded still belongs to the code that made it.

A recording (a clinic's curves, a trained model, the figures of a slow claim) keeps a fingerprint of the code it
depends on: of every function, class and constant of this package that is reached from where it was made, without
comments, docstrings, formatting and what functions say of their types, and of the data files that they name. Where
the fingerprint of today is another one, the recording is stale, and a test says which command makes it anew.
"""

from __future__ import annotations

import ast
import hashlib
import json
from datetime import date
from functools import cache
from pathlib import Path
from typing import Any

PACKAGE = Path(__file__).parent
DATA = PACKAGE / "data"
MADE = DATA / "made.json"  # {file: how, of what and when it was made}


def fingerprint(*names: str, code: tuple[str, str] | None = None) -> str:
    """A hash of all code of this package that `names` and `code` depend on.

    names   : dotted, "pgcourse.clinics.clinic_ppo.record"; a module's name alone is all of the module
    code    : (before, text): what the statements of `text` depend on, where those of `before` have run
    returns : 16 hexadecimal digits
    raises  : ValueError if a name is not of this package
    """
    seen = {}
    for name in names:
        if not find(name, seen):
            raise ValueError(f"expected the name of a part of pgcourse; got {name!r}.")
    if code is not None:
        before, text = code
        unit, first = Unit(f"{before}\n{text}"), before.count("\n") + 1
        for statement in unit.statements:
            if statement.lineno > first:
                follow(unit, statement, seen)
    return hashlib.sha256("\n".join(sorted(seen)).encode()).hexdigest()[:16]


def note(file: str, command: str, *names: str) -> None:
    """Write down that pgcourse/data/`file` was made just now by `command`, from the code of `names`."""
    made = read_notes()
    made[file] = {
        "command": command,
        "of": list(names),
        "date": date.today().isoformat(),
        "fingerprint": fingerprint(*names),
    }
    MADE.write_text(json.dumps(made, indent=1, sort_keys=True) + "\n", encoding="utf-8")


def stale() -> list[str]:
    """A sentence for each recorded file that is missing or older than the code that makes it."""
    return [
        f"pgcourse/data/{file} is older than its code: run {entry['command']}"
        for file, entry in read_notes().items()
        if not (DATA / file).exists() or fingerprint(*entry["of"]) != entry["fingerprint"]
    ]


def read_notes() -> dict[str, dict]:
    return json.loads(MADE.read_text(encoding="utf-8")) if MADE.exists() else {}


class Unit:
    """The top level of a module or a script: what binds each name, and which calls run in any case."""

    def __init__(self, text: str) -> None:
        self.statements = ast.parse(text).body
        self.bindings, self.imports, self.always = {}, {}, []
        for statement in self.statements:
            if isinstance(statement, ast.Import | ast.ImportFrom):
                self.imports |= imported(statement)
                continue
            drop_words(statement)
            bound = names_bound(statement)
            for name in bound:
                self.bindings.setdefault(name, []).append(statement)
            if isinstance(statement, ast.Expr) and not isinstance(statement.value, ast.Constant):
                self.always.append(statement)


@cache
def unit_of(module: str) -> Unit | None:
    path = PACKAGE.parent / Path(*module.split("."))
    path = path / "__init__.py" if path.is_dir() else path.with_suffix(".py")
    return Unit(path.read_text(encoding="utf-8")) if path.is_file() else None


def find(name: str, seen: dict[str, bool]) -> bool:
    """Follow a dotted name of this package; whether there is such a thing."""
    parts = name.split(".")
    if parts[0] != PACKAGE.name:
        return False
    for n in range(len(parts), 0, -1):
        module, rest = ".".join(parts[:n]), parts[n:]
        unit = unit_of(module)
        if unit is None:
            continue
        if not rest:  # the module itself is passed on
            for statement in unit.statements:
                follow(unit, statement, seen, module)
        elif rest[0] in unit.imports:
            return find(".".join([unit.imports[rest[0]], *rest[1:]]), seen)
        else:
            for statement in unit.bindings.get(rest[0], []) + unit.always:
                follow(unit, statement, seen, module)
            return rest[0] in unit.bindings
        return True
    return False


def follow(unit: Unit, statement: ast.stmt, seen: dict[str, bool], module: str = "") -> None:
    """Add a statement, and whatever the names in it stand for."""
    key = f"{module}: {written(statement)}"
    if key in seen or isinstance(statement, ast.Import | ast.ImportFrom):
        return
    seen[key] = True
    local = {}
    for node in ast.walk(statement):
        if isinstance(node, ast.Import | ast.ImportFrom):
            local |= imported(node)
    imports = unit.imports | local
    nodes = [statement]
    while nodes:
        node = nodes.pop()
        if isinstance(node, ast.Constant) and isinstance(node.value, str):
            add_data(node.value, seen)
        chain = dotted(node)
        if not chain:
            nodes.extend(ast.iter_child_nodes(node))
        elif chain[0] in imports:
            find(".".join([imports[chain[0]], *chain[1:]]), seen)
        else:
            for other in unit.bindings.get(chain[0], []):
                follow(unit, other, seen, module)


def written(node: Any) -> str:
    """A syntax tree as text, the same in every version of Python (ast.dump is not)."""
    if isinstance(node, ast.AST):
        fields = ((k, v) for k, v in ast.iter_fields(node) if v is not None and v != [])
        return f"{type(node).__name__}({', '.join(f'{k}={written(v)}' for k, v in fields)})"
    return f"[{', '.join(map(written, node))}]" if isinstance(node, list) else repr(node)


def dotted(node: ast.AST) -> list[str] | None:
    """["ppo", "train"] for `ppo.train`; None for what is no chain of names."""
    if isinstance(node, ast.Name):
        return [node.id]
    if isinstance(node, ast.Attribute) and (chain := dotted(node.value)):
        return [*chain, node.attr]
    return None


def imported(statement: ast.AST) -> dict[str, str]:
    if isinstance(statement, ast.Import):
        # `import a.b` binds a
        return {
            a.asname or a.name.split(".")[0]: a.name if a.asname else a.name.split(".")[0]
            for a in statement.names
        }
    return {a.asname or a.name: f"{statement.module}.{a.name}" for a in statement.names}


def names_bound(statement: ast.stmt) -> set[str]:
    if isinstance(statement, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef):
        return {statement.name}
    stored = (n for n in ast.walk(statement) if isinstance(n, ast.Name))
    return {n.id for n in stored if isinstance(n.ctx, ast.Store)}


def drop_words(statement: ast.stmt) -> None:
    """Take out what does nothing when the code runs: docstrings, and what functions say of their types."""
    for node in ast.walk(statement):
        if isinstance(node, ast.FunctionDef | ast.ClassDef) and ast.get_docstring(node) is not None:
            node.body = node.body[1:] or [ast.Pass()]
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            node.returns = None
        if isinstance(node, ast.arg):
            node.annotation = None


def add_data(text: str, seen: dict[str, bool]) -> None:
    """A data file that the code names, with or without its ending, belongs to it."""
    if not text.isidentifier() and not text.replace(".", "_").isidentifier():
        return
    for file in (text, f"{text}.pt"):
        path = DATA / file
        if path.is_file() and path != MADE:
            seen[f"{file}: {hashlib.sha256(path.read_bytes()).hexdigest()}"] = True
