"""`pgcourse doctor`: what is installed, what is missing, and what to do, in plain words."""

import os
import platform
import re
import shutil
import subprocess
import sys
from collections.abc import Iterator
from importlib.metadata import PackageNotFoundError, requires, version
from pathlib import Path

import typer

ROOT = Path(__file__).resolve().parents[1]


def examine() -> Iterator[tuple[str, str, str]]:
    """Yield (state, what, advice): state is "ok", "note" or "missing"; advice is empty when ok."""
    yield from python_and_packages()
    yield from kernel()
    yield from programs()
    yield from clone()


def python_and_packages() -> Iterator[tuple[str, str, str]]:
    from packaging.requirements import Requirement

    yield "ok", f"Python {platform.python_version()} at {sys.executable}", ""
    pinned = constraints()
    for line in requires("pgcourse") or []:
        need = Requirement(line)
        optional = need.marker and not need.marker.evaluate({"extra": ""})
        if optional and not any(
            need.marker.evaluate({"extra": e}) for e in ("lab", "test", "dask")
        ):
            continue
        try:
            have = version(need.name)
        except PackageNotFoundError:
            advice = f"run `make setup` in the clone, or: pip install '{need.name}{need.specifier}'"
            yield ("note" if optional else "missing"), f"{need.name} is not installed", advice
            continue
        tested = pinned.get(normal(need.name))
        if not need.specifier.contains(have, prereleases=True):
            yield "missing", f"{need.name} {have}", f"pgcourse needs {need.specifier}: `make setup`"
        elif tested and have.split("+")[0] != tested:
            yield "note", f"{need.name} {have}", f"tested with {tested}; `make setup` installs that"
        else:
            yield "ok", f"{need.name} {have}", ""


def kernel() -> Iterator[tuple[str, str, str]]:
    """The kernel that a notebook's "python3" starts must be this very Python."""
    try:
        from jupyter_client.kernelspec import KernelSpecManager, NoSuchKernel
    except ImportError:
        return
    try:
        spec = KernelSpecManager().get_kernel_spec("python3")
    except NoSuchKernel:
        yield "missing", "no kernel called python3", "pip install ipykernel, or `make setup`"
        return
    first = spec.argv[0]
    if (
        re.fullmatch(r"python[\d.]*", first)
        or Path(first).resolve() == Path(sys.executable).resolve()
    ):
        yield "ok", f"kernel python3 in {spec.resource_dir}", ""
    else:
        advice = (
            f"notebooks would run in {first}, not here. `make lab` avoids it; elsewhere set "
            "JUPYTER_PREFER_ENV_PATH=1 and unset JUPYTER_PATH."
        )
        yield "missing", f"kernel python3 in {spec.resource_dir}", advice


def programs() -> Iterator[tuple[str, str, str]]:
    here = Path(sys.executable).parent
    found = shutil.which("alembic")
    if found and Path(found).parent == here:
        yield "ok", "alembic is on PATH (nbgrader calls it by name)", ""
    elif (here / "alembic").exists():
        advice = f"`pgcourse` and `make` take care of it; for nbgrader alone: PATH='{here}':$PATH"
        yield "note", "alembic is not on PATH, this environment is not activated", advice
    if not shutil.which("bwrap"):
        advice = "grading a class isolates submissions with it: apt-get install bubblewrap"
        yield "note", "bubblewrap is not installed", advice
    elif (done := run_bubblewrap()).returncode:
        reason = done.stderr.strip().splitlines()[-1:] or ["no reason given"]
        yield "note", f"bubblewrap cannot start here: {reason[0]}", "grading uses another isolation"
    else:
        yield "ok", "bubblewrap works (isolation of submissions)", ""
    if not any(map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))):
        yield "note", "no Chromium", "only the browser tests need it"


def run_bubblewrap() -> subprocess.CompletedProcess:
    command = ["bwrap", "--ro-bind", "/", "/", "--unshare-net", "--unshare-pid", "true"]
    return subprocess.run(command, capture_output=True, text=True, timeout=20)


def clone() -> Iterator[tuple[str, str, str]]:
    lessons = sorted((ROOT / "course").glob("[0-9][0-9]_*.ipynb"))
    if lessons:
        yield "ok", f"{len(lessons)} lessons in {ROOT / 'course'}", ""
    else:
        yield (
            "missing",
            f"no lessons in {ROOT / 'course'}",
            "install from a clone: pip install -e .",
        )
    if lessons and not os.access(lessons[0], os.W_OK):
        yield "note", f"{ROOT / 'course'} is read-only", "copy it to where you can write"


def constraints() -> dict[str, str]:
    """{package: version} that were tested together; empty outside a clone."""
    path = ROOT / "constraints.txt"
    lines = path.read_text(encoding="utf-8").splitlines() if path.exists() else []
    pairs = [line.split("==") for line in lines if "==" in line and not line.startswith("#")]
    return {normal(name): number for name, number in pairs}


def normal(name: str) -> str:
    return re.sub(r"[-_.]+", "-", name).lower()


def command() -> None:
    """Say what is installed, what is missing, what to do; exit code 1 if something needed is."""
    states = set()
    for state, what, advice in examine():
        states.add(state)
        mark = {"ok": "ok     ", "note": "note   ", "missing": "MISSING"}[state]
        typer.echo(f"{mark} {what}" + (f"\n        -> {advice}" if advice else ""))
    typer.echo(
        "Something needed is missing: see MISSING above."
        if "missing" in states
        else "Everything needed is here."
    )
    raise typer.Exit("missing" in states)
