"""Tasks whose physics is an extra: where it is missing one sentence says so, and settings for them are there.

What needs them is skipped where they are not installed. What the settings reach was measured with them: bench/reached.md.
"""

import dataclasses
import json
import sys
import tomllib

import gymnasium as gym
import pytest

from pgcourse import envs, ppo, runs, sac
from pgcourse.bench import reached
from pgcourse.bench.solve import until_solved
from pgcourse.cli import app
from pgcourse.rollout import evaluate


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


TASKS = pytest.mark.parametrize(
    "module, task, package",
    [(ppo, "LunarLander-v3", "Box2D"), (sac, "InvertedPendulum-v5", "mujoco")],
    ids=["LunarLander", "InvertedPendulum"],
)


@TASKS
def test_the_settings_are_there_and_fit_together(module, task, package):
    assert task in gym.registry
    config = module.Config.tuned(task)  # which refuses settings that it does not know
    assert config.env == task and config != module.Config(env=task)
    other = dataclasses.replace(config, env="Pendulum-v1", total_steps=5_000)  # needs no extra
    assert module.train(other, progress=False).history["steps"][-1] >= 5_000


@pytest.mark.slow
@TASKS
def test_they_solve_the_task_where_the_extra_is_installed(module, task, package):
    """At some time within the steps that they have; what they hold at the end is in bench/reached.md."""
    pytest.importorskip(package)
    row = until_solved(module.train, module.Config.tuned(task, seed=1))
    assert row["steps"] is not None


def test_what_is_reached_is_measured_for_every_setting_that_is_kept(root):
    rows = [(algo, env) for algo, env in reached.PRESETS if algo != "baseline"]  # by REINFORCE's
    kept = {(algo, env) for algo in runs.ALGORITHMS for env in runs.algorithm(algo).Config.TUNED}
    assert set(rows) == kept | {("a3c", "CartPole-v1"), ("sac", "Pendulum-v1")}  # by default
    found = json.loads((root / "bench" / "reached.json").read_text())
    assert list(found) == [f"{algo} {env}" for algo, env in reached.PRESETS]
    assert {len(rows) for rows in found.values()} == {5}
    assert reached.markdown(found) == (root / "bench" / "reached.md").read_text()


def test_the_table_counts_who_solved():
    returns = (199.0, 201.0, 210.0, 250.0, 270.0)
    firsts = (3e5, 2e5, None, 1e5, None)
    rows = [
        {"seed": i, "first": first, "steps": 4e5, "cpu": 60.0 + i, "return": x}
        for i, (first, x) in enumerate(zip(firsts, returns, strict=True))
    ]
    line = reached.markdown({"ppo LunarLander-v3": rows}).splitlines()[-1]
    assert "| 300k | 3 of 5 | 400k | 62.0 | 210.0 (201.0 to 250.0) | 4 of 5 |" in line
    rows[0]["first"] = None
    assert "| – | 2 of 5 |" in reached.markdown({"ppo LunarLander-v3": rows})


def test_a_row_is_the_policy_at_the_end_of_its_steps(monkeypatch):
    monkeypatch.setitem(ppo.Config.TUNED, "CartPole-v1", {"total_steps": 1_000})
    monkeypatch.setattr(reached, "until_solved", lambda train, config: {"steps": 7})
    row = reached.reach("ppo", "CartPole-v1", seed=3)
    assert row["steps"] >= 1_000 and row["cpu"] > 0 and row["first"] == 7
    result = ppo.train(ppo.Config.tuned("CartPole-v1", seed=3), progress=False)
    assert row["return"] == evaluate(result.policy, "CartPole-v1", 100, seed=10_003).mean()


def test_the_extras_are_gymnasiums(root):
    project = tomllib.loads((root / "pyproject.toml").read_text())["project"]
    groups = project["optional-dependencies"]
    for extra in envs.EXTRAS:
        (line,) = groups[extra]
        assert line.startswith(f"gymnasium[{extra}]>=")
        assert extra not in groups["dev"][0], "neither `make` nor a test needs them"
