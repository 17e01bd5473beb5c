"""Imports run one way: pure functions <- networks, rollout <- loops <- checks <- classroom, cli."""

import ast
import subprocess
import sys

import pytest

# Each row may import the rows above it and its own package, never a row below.
ROWS = (
    {"tensors"},
    {"mdp", "distributions", "estimators", "losses"},
    {
        "networks",
        "transformer",
        "optim",
        "envs",
        "rollout",
        "replay",
        "record",
        "crew",
        "votes",
        "language",
    },
    {"reinforce", "a2c", "a3c", "ppo", "sac"},
    {"rlhf"},
    {"plots", "runs"},
    {"checks"},
    {"classroom", "doctor"},
    {"bench"},
    {"cli"},
)
ROW = {room: i for i, row in enumerate(ROWS) for room in row}
PURE = ROWS[0] | ROWS[1]
LOOPS = ROWS[3] | ROWS[4]


def room_of(path, root):
    return path.relative_to(root / "pgcourse").parts[0].removesuffix(".py")


def modules(root):
    return [p for p in sorted((root / "pgcourse").rglob("*.py")) if p.parent != p or p.name]


def imported(path, whole=True):
    """Dotted names a file imports (inside functions too, if whole)."""
    tree = ast.parse(path.read_text(encoding="utf-8"))
    for node in ast.walk(tree) if whole else tree.body:
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path.name}: relative import; write the full name"
            yield from (f"{node.module}.{alias.name}" for alias in node.names)


def rooms_imported(path):
    for name in imported(path):
        parts = name.split(".")
        if parts[0] == "pgcourse" and len(parts) > 1 and parts[1] in ROW:
            yield parts[1]


def test_every_room_is_on_the_map(root):
    rooms = {room_of(p, root) for p in modules(root)} - {"__init__", "__main__"}
    assert rooms <= set(ROW), (
        "add the new room to ROWS and to the docstring of pgcourse/__init__.py"
    )
    import pgcourse

    words = set(pgcourse.__doc__.split())
    assert rooms <= words, f"not on the map: {rooms - words}"


def test_imports_run_one_way(root):
    wrong = []
    for path in modules(root):
        room = room_of(path, root)
        for other in rooms_imported(path) if room in ROW else ():
            same_level = ROW[other] == ROW[room] and not (room in LOOPS and other != room)
            if ROW[other] > ROW[room] or (ROW[other] == ROW[room] and not same_level):
                wrong.append(f"{path.relative_to(root)} imports {other}")
    assert not wrong


def test_pure_functions_import_torch_alone(root):
    stdlib = sys.stdlib_module_names
    for path in modules(root):
        if room_of(path, root) in PURE:
            roots = {name.split(".")[0] for name in imported(path)} - stdlib
            assert roots <= {"torch", "pgcourse"}, f"{path.name} imports {roots}"


def test_the_rule_sees_a_violation(tmp_path):
    (tmp_path / "pgcourse").mkdir()
    (tmp_path / "pgcourse" / "losses.py").write_text(
        "def f():\n    from pgcourse.ppo import train\n"
    )
    with pytest.raises(AssertionError):
        test_imports_run_one_way(tmp_path)


def test_import_is_light():
    code = "import sys, pgcourse; print(*sys.modules)"
    loaded = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True
    )
    heavy = {"matplotlib", "gymnasium", "nbformat", "typer", "IPython", "pandas"}
    assert not heavy & set(loaded.stdout.split())
