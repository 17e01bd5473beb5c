"""Settings for tasks whose physics is an extra: they are there, and where the extra is missing one sentence says so.

Nothing here needs the extras. What the settings reach was measured with them; the README has the figures.
"""

import sys
import tomllib

import gymnasium as gym
import pytest

from pgcourse import envs, ppo, sac
from pgcourse.cli import app

# algorithm, task, the extra of pyproject.toml, the package that it brings
PRESETS = [
    (ppo, "LunarLander-v3", "box2d", "Box2D"),
    (sac, "InvertedPendulum-v5", "mujoco", "mujoco"),
]


@pytest.fixture
def without(monkeypatch):
    """Make a package look as if it were not installed, also where it is."""

    def hide(package, extra):
        for name in [*sys.modules]:
            if name.startswith((f"gymnasium.envs.{extra}", package)):
                monkeypatch.delitem(sys.modules, name)
        monkeypatch.setitem(sys.modules, package, None)

    return hide


@pytest.mark.parametrize("module, task, extra, package", PRESETS)
def test_a_preset_is_there_and_changes_something(module, task, extra, package):
    assert task in gym.registry and task in module.Config.TUNED
    config = module.Config.tuned(task)  # which refuses settings that it does not know
    assert config.env == task and config != module.Config(env=task)


@pytest.mark.parametrize("module, task, extra, package", PRESETS)
def test_a_missing_extra_is_one_sentence(module, task, extra, package, without, capsys, tmp_path):
    without(package, extra)
    name = module.__name__.rpartition(".")[2]
    with pytest.raises(SystemExit) as end:
        app(["train", name, "--env", task, "--out", str(tmp_path)])
    said = capsys.readouterr().err
    assert end.value.code == 2 and said.count("\n") == 1
    assert f'{task} needs a package that is not installed: pip install "pgcourse[{extra}]"' in said


def test_the_extras_are_gymnasiums(root):
    groups = tomllib.loads((root / "pyproject.toml").read_text())["project"][
        "optional-dependencies"
    ]
    for extra in envs.EXTRAS:
        (line,) = groups[extra]
        assert line.startswith(f"gymnasium[{extra}]>=")
    assert {extra for _, _, extra, _ in PRESETS} == set(envs.EXTRAS)
    assert not set(envs.EXTRAS) & set(groups["dev"][0].removeprefix("pgcourse[")[:-1].split(",")), (
        "neither `make` nor a test needs them"
    )
