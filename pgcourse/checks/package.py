"""The worker's own pgcourse: what the lesson's given cells import, and nothing that it asks for.

A function that is asked for raises and says so. Of the rest only that is there which the notebook (and the
way in which functions are called) names, with what it uses in turn: what no lesson needs may hold an answer
under another name. What is named and holds one, is in HOLDS_AN_ANSWER.
"""

import ast
import contextlib
import inspect
import shutil
import sys
from functools import cache
from pathlib import Path

import pgcourse
from pgcourse.checks import drivers, get, statements
from pgcourse.checks.cells import read_cells
from pgcourse.checks.compare import BORROWED
from pgcourse.checks.statements import is_definition, is_import, needed_names, targets

ROOT = Path(pgcourse.__file__).parent

CHECKS = '''"""In a graded run the judge is elsewhere; a notebook that calls check gets no answer here."""


def check(fn, exercise=None):
    return 0.0


judge = check
'''
ABSENT = """

def __getattr__(name):
    if name.startswith("__") or "__path__" in globals():  # a folder, whose names are modules, to be imported
        raise AttributeError(name)

    def absent(*args, **more):
        raise NotImplementedError(f"{name}: this lesson does not need it; in a graded run, pgcourse does not have it.")

    return absent
"""
ROOMS = ("language", "clinics")  # folders whose modules the lessons import from
FOLDERS = ("own_agent",)  # whose names the notebooks import, and no exercise uses
STUB = "raise NotImplementedError({!r})"
# {what is asked for: names of what gives the same}
HOLDS_AN_ANSWER = {
    "policy_gradient_loss": ("reinforce_loss",),
    "actor_loss": ("policy_gradient_loss", "reinforce_loss"),
    "critic_loss": ("value_regression_loss",),
}


def drivers_for(asked):
    """Modules that say how these functions are called; they know no answer."""
    found, more = set(), {"pgcourse.checks.drivers"}
    for name in asked:
        with contextlib.suppress(KeyError):
            more.add(drivers.DRIVERS[get(name).driver].__module__)
    while more:
        found |= more
        texts = (Path(sys.modules[name].__file__).read_text(encoding="utf-8") for name in more)
        used = {s for text in texts for s, _ in imported(ast.parse(text).body).values()}
        more = {f"pgcourse.{s}" for s in used if s.startswith("checks.")} - found
    return sorted(found)


def write_package(target, asked, source=""):
    """A copy of pgcourse for a worker. source: text of the instructor's notebook"""
    (target / "pgcourse" / "checks").mkdir(parents=True)
    (target / "pgcourse" / "classroom").mkdir()
    parts, names, stubs = contents(asked, source)
    for stem, module in parts.items():
        path = target / module.path.relative_to(ROOT.parent)
        path.parent.mkdir(exist_ok=True)
        path.write_text(module.text(names[stem], stubs), encoding="utf-8")
    for name in FOLDERS:
        (target / "pgcourse" / f"{name}.py").write_text(ABSENT, encoding="utf-8")
    (target / "pgcourse" / "checks" / "__init__.py").write_text(CHECKS, encoding="utf-8")
    (target / "pgcourse" / "classroom" / "__init__.py").write_text("", encoding="utf-8")
    for name in (*drivers_for(asked), statements.__name__):
        shutil.copy(sys.modules[name].__file__, target / "pgcourse" / "checks")
    for name in ("worker", "wire", "sandbox", "system_calls", "leftovers"):
        shutil.copy(ROOT / "classroom" / f"{name}.py", target / "pgcourse" / "classroom")


def write_whole_package(target):
    """A copy of pgcourse with its answers, for a worker that decides no points."""
    shutil.copytree(ROOT, target / "pgcourse", ignore=lambda *_: {"__pycache__", "templates"})


@cache
def contents(asked, source):
    """What a graded run has of the package.

    returns : {module: Module}, {module: names that are there}, the names of which only a stub is
    """
    parts = all_parts()
    needed = {("__init__", name) for name in parts["__init__"].definitions} | named_in(source)
    for name in drivers_for(asked):
        text = Path(sys.modules[name].__file__).read_text(encoding="utf-8")
        needed |= set(imported(ast.parse(text).body).values())
    needed |= {
        (s, name) for s in parts for name in parts[s].definitions if name in asked or s == "tensors"
    }
    stubs = {*asked}.union(*(HOLDS_AN_ANSWER.get(one, ()) for one in asked))
    kept = reached(needed, parts, stubs)
    names = {stem: {name for where, name in kept if where == stem} for stem in parts}
    return parts, names, frozenset(stubs)


def reached(more, parts, stubs):
    """{(module, name)} with all that they use in turn."""
    kept = set()
    while more:
        kept |= more
        uses = (parts[stem].uses(name, stubs) for stem, name in more if stem in parts)
        more = set().union(*uses) - kept
    return kept


def bundle(name):
    """A reference function as a text that can be run where pgcourse has no answers.

    returns : (text, names of all functions in it); ("", set()) where that cannot be
    """
    reference = get(name).reference
    stem = reference.__module__.removeprefix("pgcourse.")
    parts = all_parts()
    if stem not in parts or not inspect.isfunction(reference):
        return "", set()
    used = reached({(stem, name)}, parts, set())
    names = [n for s, n in used if s in parts and n in parts[s].definitions]
    if len(names) > len(set(names)):
        return "", set()
    texts = [
        parts[s].text({n for t, n in used if t == s}, set(), whole=False)
        for s in sorted({s for s, _ in used} & parts.keys())
    ]
    return "\n".join(texts), set(names)


@cache
def all_parts():
    """{"losses": Module, "language.votes": Module …}"""
    folders = (ROOT, *(ROOT / room for room in ROOMS))
    paths = [path for folder in folders for path in folder.glob("*.py")]
    return {part.stem: part for part in map(Module, paths)}


class Module:
    """A module's statements at top level, by the names that they make.

    stem : its name below pgcourse, with dots; "__init__" for pgcourse itself, a room's name for its __init__.py
    """

    def __init__(self, path):
        text, stem = path.read_text(encoding="utf-8"), path.relative_to(ROOT).with_suffix("")
        self.path, self.stem = path, ".".join(stem.parts).removesuffix(".__init__")
        self.lines, self.body = text.split("\n"), ast.parse(text).body
        self.imports = imported(self.body)
        self.definitions = {name: s for s in self.body for name in made(s) if not is_import(s)}

    def uses(self, name, stubs):
        """{(module, name)} of this package that a definition reads, in this module or in others."""
        statement = self.definitions.get(name)
        if statement is None:
            return set()
        nodes = [statement]
        if name in stubs and isinstance(statement, ast.FunctionDef):
            nodes = [statement.args, *statement.decorator_list]
        found = set()
        for node in (inner for outer in nodes for inner in ast.walk(outer)):
            if isinstance(node, ast.Name):
                found |= {(self.stem, node.id)} if node.id in self.definitions else set()
                found |= {self.imports[node.id]} if node.id in self.imports else set()
            elif isinstance(node, ast.Attribute) and isinstance(node.value, ast.Name):
                stem, whole = self.imports.get(node.value.id, ("", ""))
                found |= {(stem, node.attr)} if whole == MODULE else set()
            elif is_import(node):
                found |= set(imported([node]).values())
        return found

    def text(self, names, stubs, whole=True):
        """The module with these names only, and without the bodies of the stubs.

        whole : as a module by itself; else what comes from pgcourse is not imported
        """
        used = {n for name in names for n in self.words(name, stubs)}
        parts = []
        for i, statement in enumerate(self.body):
            first = min(
                [statement.lineno, *(d.lineno for d in getattr(statement, "decorator_list", []))]
            )
            lines = self.lines[first - 1 : statement.end_lineno]
            if is_import(statement):
                parts += lines_of(statement, used) if whole or not imported([statement]) else []
            elif i == 0 and isinstance(statement, ast.Expr):
                parts += lines
            elif made(statement) & names:
                stub = made(statement) & stubs and isinstance(statement, ast.FunctionDef)
                if made(statement) & stubs and not stub:
                    continue
                parts += ["", "", *(stubbed(statement, first, lines) if stub else lines)]
        return "\n".join(parts) + ABSENT * whole

    def words(self, name, stubs):
        statement = self.definitions.get(name)
        stub = name in stubs and isinstance(statement, ast.FunctionDef)
        nodes = (
            [statement.args, *statement.decorator_list]
            if stub
            else [statement]
            if statement
            else []
        )
        return {n.id for node in nodes for n in ast.walk(node) if isinstance(n, ast.Name)}


MODULE = ""  # of an import: the name is a module itself


def imported(body):
    """{name: (module of pgcourse, name in it)} of the imports from pgcourse among statements."""
    found = {}
    for node in body:
        if isinstance(node, ast.ImportFrom) and (node.module or "").split(".")[0] == "pgcourse":
            stem = node.module.partition(".")[2]
            for alias in node.names:
                name = alias.asname or alias.name
                path = ROOT.joinpath(*stem.split("."), f"{alias.name}.py")
                if stem in ("", *ROOMS) and path.exists():
                    found[name] = (f"{stem}.{alias.name}".strip("."), MODULE)
                else:
                    found[name] = (stem or "__init__", alias.name)
    return found


def made(statement):
    """Names that a statement at top level makes."""
    if isinstance(statement, ast.FunctionDef | ast.ClassDef):
        return {statement.name}
    if isinstance(statement, ast.Assign | ast.AnnAssign | ast.For | ast.Try | ast.With):
        nodes = ast.walk(statement)
        return {n.id for n in nodes if isinstance(n, ast.Name) and isinstance(n.ctx, ast.Store)}
    return set()


def lines_of(statement, used):
    """An import, of pgcourse's own names only those that are used."""
    own = imported([statement])
    if not own:
        return [ast.unparse(statement)]
    names = [
        a
        for a in statement.names
        if (a.asname or a.name) in used or own[a.asname or a.name][1] == MODULE
    ]
    return [ast.unparse(ast.ImportFrom(statement.module, names, 0))] if names else []


def stubbed(statement, first, lines):
    """The lines of a function with one that raises for a body."""
    says = BORROWED.format(statement.name)
    head = lines[: statement.body[0].lineno - first]
    return [*head, " " * statement.body[0].col_offset + STUB.format(says)]


def named_in(source):
    """{(module, name)} of pgcourse that the cells of a source notebook import, or that what they define
    reads of a module."""
    trees = []
    for cell in read_cells(source.encode())[0] if source else ():
        if cell.kind == "code":
            with contextlib.suppress(SyntaxError):
                trees.append(ast.parse(cell.source))
    imports = imported(node for tree in trees for node in ast.walk(tree))
    made = [(s, targets(s)) for tree in trees for s in tree.body]
    wanted = needed_names(made)
    read = [s for s, names in made if is_definition(s) or names & wanted]
    found = {(stem, name) for stem, name in imports.values() if name != MODULE}
    for node in (node for statement in read for node in ast.walk(statement)):
        if isinstance(node, ast.Attribute) and isinstance(node.value, ast.Name):
            stem, name = imports.get(node.value.id, ("", None))
            found |= {(stem, node.attr)} if name == MODULE else set()
    return found
