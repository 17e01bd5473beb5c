"""Set-up: one set of versions, a Makefile that believes only a whole .venv, a doctor that tells the truth."""

import os
import re
import shutil
import subprocess
import sys
import tomllib
from importlib.metadata import distribution, version
from importlib.util import spec_from_file_location

import pytest
import typer
import yaml
from packaging.requirements import Requirement
from packaging.specifiers import SpecifierSet

from pgcourse import doctor

NOT_PINNED = {"setuptools"}  # torch limits it, differently from Python to Python


def everything_needed(project):
    """(who asks, Requirement) for all that `make` installs on this Python, from our own lines down."""
    groups = project["optional-dependencies"]
    extras = re.fullmatch(r"pgcourse\[(.*)\]", groups["dev"][0])[1].split(",")
    lines = sum((groups[extra] for extra in extras), project["dependencies"])
    todo, seen = [("pgcourse", Requirement(line)) for line in lines], set()
    while todo:
        who, need = todo.pop()
        name = doctor.normal(need.name)
        # torch fixes its own CUDA libraries, which only its default build for Linux has
        if name in NOT_PINNED or who == "torch" and "platform_system" in str(need.marker):
            continue
        yield who, need
        for extra in {"", *need.extras} - {e for n, e in seen if n == name}:
            seen.add((name, extra))
            more = map(Requirement, distribution(name).requires or [])
            todo += [(name, n) for n in more if not n.marker or n.marker.evaluate({"extra": extra})]


@pytest.fixture(scope="module")
def project(root):
    return tomllib.loads((root / "pyproject.toml").read_text())["project"]


def test_constraints_are_closed_and_possible(project):
    """Whatever is installed is pinned, to a version that everyone who asks for it accepts."""
    pinned = doctor.constraints()
    needed = [*everything_needed(project)]
    for who, need in needed:
        exact = pinned.get(doctor.normal(need.name))
        assert exact, f"{who} requires {need}, which constraints.txt does not pin"
        assert need.specifier.contains(exact), f"{who} requires {need}; constraints.txt: {exact}"
    oldest = project["requires-python"].removeprefix(">=") + ".0"
    for name in {doctor.normal(need.name) for _, need in needed}:
        accepts = distribution(name).metadata.get("Requires-Python") or ">=3"
        assert SpecifierSet(accepts).contains(oldest), (
            f"{name} needs Python {accepts}, not {oldest}"
        )
    if sys.version_info[:2] == (3, 11):  # the Python of constraints.txt: others need less
        assert set(pinned) == {doctor.normal(need.name) for _, need in needed}


def test_what_is_installed_is_what_is_pinned(project):
    pinned = doctor.constraints()
    names = {doctor.normal(need.name) for _, need in everything_needed(project)}
    wrong = {n: version(n) for n in names if version(n).split("+")[0] != pinned[n]}
    assert not wrong, "run `make setup`"


def test_environment_yml_agrees(root, project):
    environment = yaml.safe_load((root / "environment.yml").read_text())
    python = next(d for d in environment["dependencies"] if str(d).startswith("python="))
    assert Requirement("python" + project["requires-python"]).specifier.contains(
        python.removeprefix("python=") + ".0"
    )
    pip = next(d["pip"] for d in environment["dependencies"] if isinstance(d, dict))
    assert pip[0] == "-c constraints.txt" and (root / "constraints.txt").exists()
    extras = set(re.fullmatch(r"-e \.\[(.*)\]", pip[1])[1].split(","))
    dev = re.fullmatch(r"pgcourse\[(.*)\]", project["optional-dependencies"]["dev"][0])[1]
    assert extras == set(dev.split(",")), "environment.yml and `make` install different extras"
    assert environment["name"] == project["name"]


def test_ruff(root):
    for command in (["check"], ["format", "--check"]):
        done = subprocess.run(
            [sys.executable, "-m", "ruff", *command, "--no-cache", "."],
            cwd=root,
            capture_output=True,
            text=True,
        )
        assert done.returncode == 0, done.stdout + done.stderr


def test_the_clone_names_no_machine(root):
    """No path of anybody's machine and no registry host in what is committed."""
    listed = subprocess.run(["git", "ls-files"], cwd=root, capture_output=True, text=True)
    if listed.returncode:
        pytest.skip("not a git checkout")
    hosts = ("pypi", "download.pytorch", "conda.anaconda")
    pattern = re.compile("/" + r"(root|home/\w+|work)/|(" + "|".join(hosts) + r")\.org")
    for name in listed.stdout.split("\n"):
        path = root / name
        if path.is_file() and path.suffix in {".py", ".md", ".toml", ".yml", ".txt", ".ipynb", ""}:
            found = pattern.search(path.read_text(encoding="utf-8", errors="replace"))
            assert not found, f"{name}: {found[0]}"


# ------------------------------------------------------------------------------------ doctor


def pgcourse_command(*args, **env):
    return subprocess.run(
        [sys.executable, "-m", "pgcourse.cli", *args],
        capture_output=True,
        text=True,
        env=os.environ | env,
    )


def test_doctor_is_content_here():
    done = pgcourse_command("doctor")
    assert done.returncode == 0, done.stdout
    assert "Everything needed is here." in done.stdout and "MISSING" not in done.stdout


def test_doctor_sees_an_environment_that_is_not_activated():
    done = pgcourse_command("doctor", PATH="/usr/bin:/bin")
    assert "alembic is not on PATH" in done.stdout


def test_doctor_sees_another_kernel(tmp_path):
    spec = tmp_path / "kernels" / "python3"
    spec.mkdir(parents=True)
    argv = '["/usr/bin/env", "-m", "ipykernel_launcher", "-f", "{connection_file}"]'
    (spec / "kernel.json").write_text(
        f'{{"argv": {argv}, "display_name": "x", "language": "python"}}'
    )
    done = pgcourse_command("doctor", JUPYTER_PATH=str(tmp_path))
    assert done.returncode == 1 and "notebooks would run in /usr/bin/env" in done.stdout


def test_doctor_without_a_clone(root, tmp_path):
    """Installed from a wheel: what is there is said, and nothing sends one to a Makefile."""
    shutil.copytree(root / "pgcourse", tmp_path / "site" / "pgcourse")
    (tmp_path / "empty").mkdir()
    done = subprocess.run(
        [sys.executable, "-m", "pgcourse.cli", "doctor"],
        cwd=tmp_path / "empty",
        env=os.environ | {"PYTHONPATH": str(tmp_path / "site")},
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0 and "without the lessons" in done.stdout, done.stdout + done.stderr
    assert f"files can be written in {tmp_path / 'empty'}" in done.stdout
    assert "make setup" not in done.stdout and str(root) + "/course" not in done.stdout


def test_doctor_gives_one_command_to_paste(monkeypatch, capsys):
    """Without a clone: a package that is missing, one that is too old, and a kernel that hangs."""

    def pretended(name):
        if name == "tqdm":
            raise doctor.PackageNotFoundError(name)
        return {"rich": "12.0", "ipykernel": "7.1.0"}.get(name) or version(name)

    monkeypatch.setattr(doctor, "version", pretended)
    monkeypatch.setattr(doctor, "IN_CLONE", False)
    monkeypatch.setattr(doctor, "constraints", dict)
    with pytest.raises(typer.Exit) as ended:
        doctor.command()
    said = capsys.readouterr().out
    assert ended.value.exit_code == 1 and "MISSING rich 12.0" in said
    assert "note    ipykernel 7.1.0" in said and "reported to hang" in said
    paste = f"'{sys.executable}' -m pip install 'rich>=13' 'tqdm>=4.66' 'ipykernel<7'"
    assert said.splitlines()[-2] == paste


@pytest.mark.parametrize("cuda, word", [("None", "the CPU build"), ("'13.0'", "CUDA 13.0")])
def test_doctor_says_which_build_of_torch(monkeypatch, tmp_path, cuda, word):
    (tmp_path / "version.py").write_text(f"cuda = {cuda}\n")
    spec = spec_from_file_location("torch", tmp_path / "__init__.py")
    monkeypatch.setattr(doctor, "find_spec", lambda name: spec)
    ((_, what, _),) = doctor.build_of_torch()
    assert word in what


def test_doctor_sees_a_folder_that_cannot_be_written(monkeypatch):
    def refused(dir):
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(doctor.tempfile, "TemporaryFile", refused)
    ((state, what, advice),) = doctor.folder()
    assert state == "missing" and "Permission denied" in what and "cd to a folder" in advice


def test_every_command_says_what_it_does():
    from pgcourse.cli import COMMANDS

    overview = pgcourse_command("--help").stdout
    assert all(name in overview for name in COMMANDS)
    for name in COMMANDS:
        done = pgcourse_command(name, "--help")
        assert done.returncode == 0 and "Usage: pgcourse " + name in done.stdout, done.stderr


# ---------------------------------------------------------------------------------- Makefile

FAKE_PYTHON = """#!/bin/sh
# stands for a Python that makes a .venv whose pip writes down that it was called
case "$*" in
  *version_info\\[:2\\]*) echo {version}; exit ;;
  *"sys.exit(sys.version_info"*) exit {old} ;;
  "-m venv .venv") mkdir -p .venv/bin && cp "$0" .venv/bin/python && exit ;;
  "-m pip install"*) echo "pip $*" >> calls; exit ${{PIP_FAILS:-0}} ;;
  "-m pytest"*) echo "tests ran with $(command -v python), kernels: $JUPYTER_PATH:$JUPYTER_PREFER_ENV_PATH"; exit ;;
esac
exit 0
"""


@pytest.fixture
def clone(root, tmp_path):
    """What make needs, in a path with a space, with a Python that only pretends."""
    directory = tmp_path / "a clone"
    directory.mkdir()
    for name in ("Makefile", "pyproject.toml", "constraints.txt"):
        shutil.copy(root / name, directory)
    for name, number, old in (("new", "3.12", 0), ("old", "3.9", 1)):
        fake = tmp_path / name
        fake.write_text(FAKE_PYTHON.format(version=number, old=old))
        fake.chmod(0o755)

    def make(*args, python="new", **env):
        done = subprocess.run(
            ["make", *args, f"PYTHON={tmp_path / python}"],
            cwd=directory,
            capture_output=True,
            text=True,
            env={"PATH": "/usr/bin:/bin"} | env,
        )
        return done.returncode, done.stdout + done.stderr

    make.directory = directory
    make.calls = lambda: (directory / "calls").read_text().count("pip -m")
    return make


def test_make_sets_up_once_and_then_not_again(clone):
    code, output = clone("test", JUPYTER_PATH="/another/kernel")
    assert code == 0 and "making .venv" in output and clone.calls() == 1
    assert f"tests ran with {clone.directory}/.venv/bin/python, kernels: :1" in output
    code, output = clone("test")
    assert code == 0 and "making" not in output and clone.calls() == 1


def test_a_terminal_sees_the_downloads_and_a_log_does_not(clone, tmp_path):
    clone("test")
    assert "--quiet" in (clone.directory / "calls").read_text()
    shutil.rmtree(clone.directory / ".venv")
    (clone.directory / "calls").unlink()
    make = ["make", "setup", f"PYTHON={tmp_path / 'new'}"]
    code = f"import pty; raise SystemExit(pty.spawn({make!r}))"
    subprocess.run([sys.executable, "-c", code], cwd=clone.directory, check=True)
    assert "--quiet" not in (clone.directory / "calls").read_text()


def test_torch_alone_comes_from_another_index(clone):
    """A second index for everything would let it answer for any package's name."""
    code, output = clone("test", TORCH_INDEX="https://cpu.example/whl")
    assert code == 0, output
    first, second = (clone.directory / "calls").read_text().splitlines()
    pin = re.search(r"^torch==.*", (clone.directory / "constraints.txt").read_text(), re.M)[0]
    assert first.endswith(f"--no-deps --index-url https://cpu.example/whl {pin}")
    assert "index-url" not in second and second.endswith("-c constraints.txt -e .[dev]")


def test_hashes_are_asked_for_by_option(clone):
    code, output = clone("test", HASHES="1")
    assert code == 0, output
    first, second = (clone.directory / "calls").read_text().splitlines()
    assert first.endswith("--no-deps --require-hashes -r constraints.hashes.txt")
    assert second.endswith("-c constraints.txt -e .[dev]")


def test_the_newest_of_everything_is_tried_with_other_constraints(clone):
    (clone.directory / "newest.txt").write_text("torch==2.13.0\n")
    code, output = clone("test", CONSTRAINTS="newest.txt")
    assert code == 0, output
    assert (clone.directory / "calls").read_text().endswith("-c newest.txt -e .[dev]\n")
    assert clone("test", CONSTRAINTS="newest.txt")[0] == 0 and clone.calls() == 1
    code, output = clone("test")
    assert code == 0 and "up to date" in output and clone.calls() == 2


def test_the_hashes_are_of_the_pinned_versions(root):
    """One hash at least for each; torch has builds of its own."""
    pins = {
        line.strip().lower().replace("_", "-")
        for line in (root / "constraints.txt").read_text().splitlines()
        if line and not line.startswith("#")
    }
    text = (root / "constraints.hashes.txt").read_text()
    hashed = re.findall(r"^(\S+==\S+)((?: \\\n +--hash=sha256:[0-9a-f]{64})+)", text, re.M)
    assert {name.lower().replace("_", "-") for name, _ in hashed} == {
        pin for pin in pins if not pin.startswith("torch==")
    }


def test_a_failed_install_is_not_believed(clone):
    code, output = clone("test", PIP_FAILS="1")
    assert code != 0 and "nothing half-made was kept" in output and "tests ran" not in output
    assert not (clone.directory / ".venv").exists()
    assert clone("test")[0] == 0 and clone.calls() == 2


def test_a_killed_install_is_not_believed(clone):
    (clone.directory / ".venv" / "bin").mkdir(parents=True)
    (clone.directory / ".venv" / "bin" / "half").touch()
    code, _ = clone("test")
    assert code == 0 and clone.calls() == 1
    assert not (clone.directory / ".venv" / "bin" / "half").exists()


def test_new_constraints_are_installed(clone):
    clone("test")
    with (clone.directory / "constraints.txt").open("a") as file:
        file.write("another==1\n")
    code, output = clone("test", PIP_FAILS="1")
    assert code != 0 and (clone.directory / ".venv").exists(), "an update that fails keeps what was"
    code, output = clone("test")
    assert code == 0 and "up to date" in output and clone.calls() == 3
    assert clone("test") and clone.calls() == 3


def test_a_clone_that_was_moved_is_set_up_anew(clone):
    clone("test")
    moved = clone.directory.rename(clone.directory.parent / "moved")
    clone.directory = moved
    done = subprocess.run(
        ["make", "test", f"PYTHON={moved.parent / 'new'}"],
        cwd=moved,
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0 and "making .venv" in done.stdout


def test_an_old_python_gets_one_clear_line(clone):
    code, output = clone("test", python="old")
    assert code != 0 and re.search(
        r"pgcourse needs Python 3.11 or newer; found: .*old \(3.9\)", output
    )
    assert not (clone.directory / ".venv").exists()
