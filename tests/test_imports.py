"""Imports run one way: pure functions <- networks, rollout <- loops <- checks <- classroom, cli."""

import ast
import subprocess
import sys

import pytest

# Each row may import itself and the rows above it, never a row below.
ROWS = (
    "tensors",
    "mdp distributions estimators losses",
    "networks inputs optim envs masks rollout replay record crew fingerprint"
    " language.grammar language.votes language.transformer",
    "reinforce a2c a3c ppo sac language.pretraining language.reward_model",
    "rlhf language.tiny_language language.rlhf_checkpoints capstone",
    "plots language.text_plots runs simplex clinics",
    "checks exercises notebook bets recall ballot own_agent",
    "classroom doctor drill",
    "bench",
    "cli",
)
ROW = {room: i for i, row in enumerate(ROWS) for room in row.split()}
PURE = {room for room, i in ROW.items() if i < 2}
LOOPS = {"reinforce", "a2c", "a3c", "ppo", "sac", "rlhf"}  # these do not import each other, but:
LESSON_7 = ("rlhf", "ppo")


def room_of(dotted):
    """The row's entry that a module of pgcourse belongs to: "language.votes", "checks"; else its first part."""
    return dotted if dotted in ROW else dotted.split(".")[0]


def modules(root):
    """(room, path) of every module."""
    for path in sorted((root / "pgcourse").rglob("*.py")):
        inside = path.relative_to(root / "pgcourse").with_suffix("").parts
        yield room_of(".".join(inside)), path


def imported(path):
    """Dotted names that a file imports, inside functions too."""
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path.name}: relative import; write the full name"
            yield from (f"{node.module}.{alias.name}" for alias in node.names)


def rooms_imported(path):
    for name in imported(path):
        _, _, inside = name.partition("pgcourse.")
        parts = inside.split(".")
        room = next((r for n in (2, 1) if (r := ".".join(parts[:n])) in ROW), None)
        if room and name.startswith("pgcourse."):
            yield room


def test_every_room_is_on_the_map(root):
    import pgcourse

    rooms = {room for room, _ in modules(root)} - {"__init__", "language"}
    assert rooms <= set(ROW), (
        "add the new room to ROWS and to the docstring of pgcourse/__init__.py"
    )
    assert {part for room in rooms for part in room.split(".")} <= set(pgcourse.__doc__.split())


def test_imports_run_one_way(root):
    wrong = []
    for room, path in modules(root):
        for other in rooms_imported(path) if room in ROW else ():
            between_loops = room != other and {room, other} <= LOOPS and (room, other) != LESSON_7
            if ROW[other] > ROW[room] or between_loops:
                wrong.append(f"{path.relative_to(root)} imports {other}")
    assert not wrong


def test_pure_functions_import_torch_alone(root):
    for room, path in modules(root):
        if room in PURE:
            roots = {name.split(".")[0] for name in imported(path)} - sys.stdlib_module_names
            assert roots <= {"torch", "pgcourse"}, f"{path.name} imports {roots}"


@pytest.mark.parametrize(
    "room, line",
    [
        ("losses", "from pgcourse.ppo import train"),
        ("ppo", "import pgcourse.sac"),
        ("sac", "from pgcourse import checks"),
    ],
)
def test_the_rule_sees_a_violation(tmp_path, room, line):
    (tmp_path / "pgcourse").mkdir()
    (tmp_path / "pgcourse" / f"{room}.py").write_text(f"def f():\n    {line}\n")
    with pytest.raises(AssertionError):
        test_imports_run_one_way(tmp_path)


def test_import_is_light():
    command = [sys.executable, "-c", "import sys, pgcourse; print(*sys.modules)"]
    loaded = subprocess.run(command, capture_output=True, text=True, check=True).stdout.split()
    assert not {"matplotlib", "gymnasium", "nbformat", "typer", "IPython", "pandas"} & set(loaded)
