"""What a lesson says, shown by code that fails when it is not so.

A claim is a cell of the authored source, beside the sentence it stands for, in neither notebook:

    # %% claim="the_clip_stops_the_gradient"
    # Where the gain has been taken, the gradient is zero.
    …
    assert grad.abs().max() == 0

It runs in the solved lesson's namespace, with training shortened (PGCOURSE_FAST): what it needs long, it trains
itself. Fast claims run in every test. A slow one (`claim="…" slow=true`) assigns its figures to `figures`; they
are kept in solutions/claims.json with the date and a fingerprint of the code they depend on.

pgcourse claims                  run the fast ones
pgcourse claims --record         run the slow ones that are stale or missing, and keep their figures
"""

import ast
import json
import os
import tempfile
from dataclasses import dataclass
from datetime import date
from typing import Annotated

import typer

from pgcourse.classroom.build import ROOT, BuildError, build_lesson, sources
from pgcourse.fingerprint import fingerprint

KEPT = "claims.json"
BEGAN = "import time as _time\n_began = _time.process_time()\n"
FIGURES = "\nimport json as _json\n_json.dumps([figures, round(_time.process_time() - _began, 1)])"


@dataclass(frozen=True)
class Claim:
    """One claim of a lesson.

    text   : the cell's text; its first line is a comment, the sentence in short
    before : the text of the solved lesson's code above it
    """

    lesson: str
    name: str
    text: str
    before: str
    slow: bool

    @property
    def says(self):
        return self.text.split("\n")[0].removeprefix("#").strip()

    def fingerprint(self):
        before = ast.unparse(without_bets(ast.parse(self.before)))
        return fingerprint(code=(before, self.text))


BETS = {"bet", "settle", "ask_again"}  # of pgcourse.bets: they show, and change no figure


def without_bets(node):
    """A syntax tree without the statements that only place or show a bet."""
    for field in ("body", "orelse"):
        kept = []
        for child in getattr(node, field, []) if isinstance(node, ast.stmt | ast.mod) else []:
            call = child.value if isinstance(child, ast.Expr) else None
            if (
                isinstance(call, ast.Call)
                and isinstance(call.func, ast.Name)
                and call.func.id in BETS
            ):
                continue
            child = without_bets(child)
            if not (isinstance(child, ast.If) and not child.body):
                kept.append(child)
        if isinstance(getattr(node, field, None), list):
            setattr(node, field, kept)
    return node


def claims_of(path):
    """The claims of one authored lesson, in order. raises: BuildError if one cannot fail or has no sentence."""
    import jupytext

    text = path.read_text(encoding="utf-8")
    found, before = [], []
    for cell in jupytext.reads(text, fmt="py:percent").cells:
        name, options = cell.metadata.get("claim"), cell.metadata
        if name is None:
            if "exercise" in options:
                module, _, function = options["exercise"].rpartition(".")
                before.append(f"from {module} import {function}")
            elif cell.cell_type == "code":
                before.append(cell.source)
            continue
        where = f"{path.stem}, claim {name}"
        if not cell.source.startswith("#"):
            raise BuildError(f"{where}: its first line is a comment, the sentence that it shows.")
        if "assert " not in cell.source:
            raise BuildError(f"{where}: it asserts nothing, so it cannot fail.")
        if bool(options.get("slow")) != ("figures = " in cell.source):
            raise BuildError(f"{where}: a slow claim assigns `figures`, a fast one does not.")
        if name in [claim.name for claim in found]:
            raise BuildError(f"{where}: two claims have this name.")
        code = "\n".join(before)
        found.append(Claim(path.stem, name, cell.source, code, bool(options.get("slow"))))
    return found


def with_claims(path, claims):
    """The solved notebook of an authored lesson with these claims in their places."""
    texts = {c.name: BEGAN + c.text + FIGURES if c.slow else c.text for c in claims}
    return build_lesson(path.read_text(encoding="utf-8"), path.stem, claims=texts).solved


def kept(root=ROOT):
    """{lesson: {claim: figures, seconds, date, fingerprint}} of the slow claims."""
    path = root / "solutions" / KEPT
    return json.loads(path.read_text(encoding="utf-8")) if path.exists() else {}


def stale(claim, known):
    """A sentence if a slow claim was never recorded, or from other code; else None."""
    entry = known.get(claim.lesson, {}).get(claim.name)
    if entry is None:
        return f"{claim.lesson}: the slow claim {claim.name} has no figures yet: run pgcourse claims --record"
    if entry["fingerprint"] != claim.fingerprint():
        return (
            f"{claim.lesson}: the figures of the claim {claim.name} ({entry['date']}) are older than the code "
            "they depend on: run pgcourse claims --record"
        )
    return None


def record(path, claims, root=ROOT):
    """Run slow claims and keep their figures. raises: nbclient.exceptions.CellExecutionError if one fails."""
    cells = run(with_claims(path, claims))
    known = kept(root)
    entries = known.setdefault(path.stem, {})
    for claim in claims:
        (text,) = (
            output.data["text/plain"]
            for output in cells[claim.name].outputs
            if output.output_type == "execute_result"
        )
        figures, seconds = json.loads(eval(text))  # the repr of a string that json made
        entries[claim.name] = {
            "says": claim.says,
            "figures": figures,
            "cpu_seconds": seconds,
            "date": date.today().isoformat(),
            "fingerprint": claim.fingerprint(),
        }
    write(known, root)


def write(known, root):
    """Keep what there still is a claim for."""
    alive = {path.stem: {c.name for c in claims_of(path) if c.slow} for path in sources(root)}
    known = {
        lesson: {name: entry for name, entry in entries.items() if name in alive.get(lesson, ())}
        for lesson, entries in known.items()
    }
    text = json.dumps(known, indent=1, sort_keys=True, ensure_ascii=False) + "\n"
    (root / "solutions" / KEPT).write_text(text, encoding="utf-8")


def run(nb):
    """Execute a notebook in an empty folder, training shortened; returns its claims' cells by name."""
    from pgcourse.classroom.outputs import Client

    before = os.environ.get("PGCOURSE_FAST")
    os.environ["PGCOURSE_FAST"] = "1"
    try:
        with tempfile.TemporaryDirectory(prefix="pgcourse-") as folder:
            Client(nb, timeout=7200, resources={"metadata": {"path": folder}}).execute()
    finally:
        del os.environ["PGCOURSE_FAST"]
        if before is not None:
            os.environ["PGCOURSE_FAST"] = before
    return {cell.metadata["claim"]: cell for cell in nb.cells if "claim" in cell.metadata}


def command(
    lessons: Annotated[
        list[str] | None, typer.Argument(help='Like "05_ppo"; by default all.')
    ] = None,
    only: Annotated[str, typer.Option(help="The name of one claim.")] = "",
    slow: Annotated[
        bool,
        typer.Option("--record", help="Run the slow claims that are stale; keep their figures."),
    ] = False,
):
    """Run what shows that a lesson's sentences are so."""
    from nbclient.exceptions import CellExecutionError

    try:
        paths = sources(only=lessons or ())
    except BuildError as error:
        typer.echo(str(error), err=True)
        raise typer.Exit(2) from None
    failed = False
    for path in paths:
        claims = [c for c in claims_of(path) if c.slow == slow and only in ("", c.name)]
        if slow and not only:
            claims = [c for c in claims if stale(c, kept())]
        if not claims:
            continue
        try:
            record(path, claims) if slow else run(with_claims(path, claims))
        except CellExecutionError as error:
            failed = True
            typer.echo(f"{path.stem}: {error}", err=True)
            continue
        for claim in claims:
            typer.echo(f"{path.stem}  {claim.name}: {claim.says}")
    if failed:
        raise typer.Exit(1)
