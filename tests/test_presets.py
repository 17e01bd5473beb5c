"""Tasks whose physics is an extra: where it is missing one sentence says so, and settings for them are there.

Nothing here needs the extras. What the settings reach was measured with them; the README has the figures.
"""

import sys
import tomllib

import gymnasium as gym
import pytest

from pgcourse import envs, sac
from pgcourse.cli import app


@pytest.fixture
def without(monkeypatch):
    """Make a package look as if it were not installed, also where it is."""

    def hide(package, extra):
        for name in [*sys.modules]:
            if name.startswith((f"gymnasium.envs.{extra}", package)):
                monkeypatch.delitem(sys.modules, name)
        monkeypatch.setitem(sys.modules, package, None)

    return hide


@pytest.mark.parametrize(
    "algo, task, extra, package",
    [
        ("ppo", "LunarLander-v3", "box2d", "Box2D"),
        ("sac", "InvertedPendulum-v5", "mujoco", "mujoco"),
    ],
)
def test_a_missing_extra_is_one_sentence(algo, task, extra, package, without, capsys, tmp_path):
    without(package, extra)
    with pytest.raises(SystemExit) as end:
        app(["train", algo, "--env", task, "--out", str(tmp_path)])
    said = capsys.readouterr().err
    assert end.value.code == 2 and said.count("\n") == 1
    assert f'{task} needs a package that is not installed: pip install "pgcourse[{extra}]"' in said


def test_the_settings_are_there():
    task = "InvertedPendulum-v5"
    assert task in gym.registry
    config = sac.Config.tuned(task)  # which refuses settings that it does not know
    assert config.env == task and config != sac.Config(env=task)


def test_the_extras_are_gymnasiums(root):
    project = tomllib.loads((root / "pyproject.toml").read_text())["project"]
    groups = project["optional-dependencies"]
    for extra in envs.EXTRAS:
        (line,) = groups[extra]
        assert line.startswith(f"gymnasium[{extra}]>=")
        assert extra not in groups["dev"][0], "neither `make` nor a test needs them"
