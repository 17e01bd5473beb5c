"""`pgcourse doctor`: what is installed, what is missing, and what to do, in plain words."""

import os
import platform
import re
import runpy
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from importlib.metadata import PackageNotFoundError, requires, version
from importlib.util import find_spec
from pathlib import Path

import typer

ROOT = Path(__file__).resolve().parents[1]
IN_CLONE = (ROOT / "pyproject.toml").is_file()  # else installed from a wheel or an address
HANGS = "microsoft/vscode-jupyter#17410"


def examine() -> Iterator[tuple[str, str, str]]:
    """Yield (state, what, advice): state is "ok", "note" or "missing"; advice is empty when ok."""
    yield from python_and_packages()
    yield from build_of_torch()
    yield from kernel()
    yield from folder()
    if IN_CLONE:
        yield from programs()
        yield from clone()
    else:
        advice = "they are in its repository: clone it, or open them there one by one"
        yield "note", "pgcourse was installed without the lessons", advice


def python_and_packages() -> Iterator[tuple[str, str, str]]:
    from packaging.requirements import Requirement

    yield "ok", f"Python {platform.python_version()} at {sys.executable}", ""
    pinned = constraints()
    for line in requires("pgcourse") or []:
        need = Requirement(line)
        optional = need.marker and not need.marker.evaluate({"extra": ""})
        if optional and not any(
            need.marker.evaluate({"extra": e})
            for e in (("lab", "test", "dask") if IN_CLONE else ("lab",))
        ):
            continue
        try:
            have = version(need.name)
        except PackageNotFoundError:
            why = "; notebooks need it" if optional and not IN_CLONE else ""
            advice = install(f"{need.name}{need.specifier}")
            yield ("note" if optional else "missing"), f"{need.name} is not installed{why}", advice
            continue
        tested = pinned.get(normal(need.name))
        if need.name == "ipykernel" and have.split(".")[0] == "7":  # mostly it works
            advice = f"its kernels are reported to hang ({HANGS}): {install('ipykernel<7')}"
            yield "note", f"ipykernel {have}", advice
        elif not need.specifier.contains(have, prereleases=True):
            advice = f"pgcourse needs {need.specifier}: {install(f'{need.name}{need.specifier}')}"
            yield "missing", f"{need.name} {have}", advice
        elif tested and have.split("+")[0] != tested:
            yield "note", f"{need.name} {have}", f"tested with {tested}; `make setup` installs that"
        else:
            yield "ok", f"{need.name} {have}", ""


def install(what: str) -> str:
    """The command that brings a package, for this very Python."""
    return "run `make setup`" if IN_CLONE else f"'{sys.executable}' -m pip install '{what}'"


def build_of_torch() -> Iterator[tuple[str, str, str]]:
    """Whether it is the CPU build, without the seconds that importing torch takes."""
    spec = find_spec("torch")
    if spec is None:
        return
    cuda = runpy.run_path(str(Path(spec.origin).with_name("version.py"))).get("cuda")
    if cuda:
        advice = "fine, only larger by gigabytes than the CPU build, which is all that is used"
        yield "note", f"torch is built for CUDA {cuda}", advice
    else:
        yield "ok", "torch is the CPU build, which is all that is used", ""


def folder() -> Iterator[tuple[str, str, str]]:
    """Whether something can be written where one stands: runs, bets, notebooks."""
    here = Path.cwd()
    try:
        with tempfile.TemporaryFile(dir=here):
            pass
        yield "ok", f"files can be written in {here}", ""
    except OSError as error:
        advice = "runs and notebooks are saved where you stand: cd to a folder of your own"
        yield "missing", f"nothing can be written in {here}: {error.strerror}", advice


def kernel() -> Iterator[tuple[str, str, str]]:
    """The kernel that a notebook's "python3" starts must be this very Python."""
    try:
        from jupyter_client.kernelspec import KernelSpecManager, NoSuchKernel
    except ImportError:
        return
    try:
        spec = KernelSpecManager().get_kernel_spec("python3")
    except NoSuchKernel:
        yield "missing", "no kernel called python3", install("ipykernel>=6.29,<7")
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
    states, paste = set(), []
    for state, what, advice in examine():
        states.add(state)
        paste += re.findall(r"-m pip install ('[^']+')", advice)
        mark = {"ok": "ok     ", "note": "note   ", "missing": "MISSING"}[state]
        typer.echo(f"{mark} {what}" + (f"\n        -> {advice}" if advice else ""))
    if paste:
        packages = " ".join(dict.fromkeys(paste))
        typer.echo(f"All of that in one command:\n'{sys.executable}' -m pip install {packages}")
    typer.echo(
        "Something needed is missing: see MISSING above."
        if "missing" in states
        else "Everything needed is here."
    )
    raise typer.Exit("missing" in states)
