"""Runs on disk: what is loaded is what was trained, an interruption loses one interval at most."""

import json
import os
import signal
import subprocess
import sys
import time
import types

import numpy as np
import pytest
import torch

from pgcourse import a3c, ppo, reinforce, runs, sac
from pgcourse.cli import app
from pgcourse.rollout import evaluate


def small(module, **changes):
    changes = {"total_steps": 700, **changes}
    return module.Config(**changes)


@pytest.mark.parametrize("module", [reinforce, ppo, sac, a3c])
def test_a_run_loads_as_it_was(module, tmp_path):
    config = small(module, **({"n_workers": 1} if module is a3c else {}))
    result = module.train(config, progress=False, callback=runs.Saver(tmp_path, seconds=0))
    loaded = runs.load(tmp_path)
    assert loaded.config == config
    assert loaded.returns.tolist() == result.returns.tolist()
    for key in result.history:
        np.testing.assert_array_equal(loaded.history[key], result.history[key])
    before = evaluate(result.policy, config.env, episodes=3)
    assert evaluate(loaded.policy, config.env, episodes=3).tolist() == before.tolist()


def test_a_run_goes_on_where_it_stopped(tmp_path):
    config = small(ppo)
    ppo.train(config, progress=False, callback=runs.Saver(tmp_path, seconds=0))
    _, _, start = runs.read(tmp_path)
    longer = small(ppo, total_steps=3000)
    result = ppo.train(longer, progress=False, start=start)
    steps = result.history["steps"]
    assert steps[0] < 700 * 2 and steps[-1] >= 3000 and (np.diff(steps) > 0).all()
    first = runs.load(tmp_path)
    assert result.returns[: len(first.returns)].tolist() == first.returns.tolist()
    weights = [torch.cat([p.reshape(-1) for p in r.policy.parameters()]) for r in (first, result)]
    assert not torch.equal(*weights)


def test_a_killed_run_loses_one_interval_at_most(tmp_path):
    """kill -9, with no chance to clean up; then resume."""
    command = [sys.executable, "-m", "pgcourse.cli", "train", "reinforce", "--steps", "100000000"]
    command += ["--out", str(tmp_path), "--save-every", "0.2"]
    process = subprocess.Popen(command, stderr=subprocess.DEVNULL)
    folder = tmp_path / "reinforce-CartPole-v1" / "seed-0"
    try:
        until = time.monotonic() + 120
        while not (folder / "config.json").exists() and time.monotonic() < until:
            time.sleep(0.1)
        saved = [runs.read(folder)[2]["steps"]]
        time.sleep(2)
    finally:
        process.send_signal(signal.SIGKILL)
        process.wait()
    saved.append(runs.read(folder)[2]["steps"])
    assert saved[1] >= saved[0] > 0
    age = time.time() - os.path.getmtime(folder / "checkpoint.pt")
    assert age < 60  # the last save is recent, not the first one
    assert len(runs.load(folder).returns) > 0


def test_ctrl_c_says_what_is_saved(tmp_path):
    command = [sys.executable, "-m", "pgcourse.cli", "train", "ppo", "--steps", "100000000"]
    command += ["--out", str(tmp_path), "--save-every", "0.1"]
    process = subprocess.Popen(command, stderr=subprocess.PIPE, text=True)
    folder = tmp_path / "ppo-CartPole-v1" / "seed-0"
    until = time.monotonic() + 120
    while not (folder / "config.json").exists() and time.monotonic() < until:
        time.sleep(0.1)
    process.send_signal(signal.SIGINT)
    _, errors = process.communicate(timeout=60)
    assert process.returncode == 130
    assert "steps are saved. Go on with --resume." in errors
    assert "Traceback" not in errors


def test_a_save_replaces_files_whole(tmp_path, monkeypatch):
    """A crash in the middle of a save leaves the save before."""
    path = tmp_path / "x"
    runs.write(path, b"old")

    def crash(*_):
        raise OSError("disk full")

    monkeypatch.setattr(os, "replace", crash)
    with pytest.raises(OSError):
        runs.write(path, b"new, half writ")
    assert path.read_bytes() == b"old"


def test_train_and_plot_by_command(tmp_path, capsys):
    out = tmp_path / "runs"
    train = ["train", "ppo", "--out", str(out), "--steps", "600", "--seeds", "2"]
    train += ["--set", "lr=0.01", "--set", "hidden=8,8"]
    for call in (
        train,
        [
            "plot",
            str(out),
            "--out",
            str(tmp_path / "a.png"),
            "--animation",
            str(tmp_path / "a.gif"),
        ],
    ):
        with pytest.raises(SystemExit) as end:
            app(call)
        assert end.value.code in (0, None), capsys.readouterr().err
    about = json.loads((out / "ppo-CartPole-v1" / "seed-1" / "config.json").read_text())
    assert about["config"]["lr"] == 0.01 and about["config"]["hidden"] == [8, 8]
    assert about["config"]["seed"] == 1 and "torch" in about["versions"]
    assert (tmp_path / "a.png").stat().st_size > 5000
    assert (tmp_path / "a.gif").read_bytes()[:4] == b"GIF8"


@pytest.mark.parametrize(
    "call, words",
    [
        ("train nonsense", "no algorithm 'nonsense'"),
        ("train ppo --env Nonsense-v7", "Nonsense"),
        ("train sac --env CartPole-v1", "continuous"),
        ("train ppo --set lr", "NAME=VALUE"),
        ("train ppo --set nonsense=1", "NAME=VALUE"),
        ("train ppo --set n_envs=0", "n_envs"),
        ("train sac --env FrozenLake-v1", "continuous"),
        ("plot nowhere", "no saved run"),
    ],
)
def test_mistakes_get_one_clear_line(call, words, capsys, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(SystemExit) as end:
        app(call.split())
    errors = capsys.readouterr().err
    assert end.value.code == 2
    assert words in errors and "Traceback" not in errors


def test_an_existing_run_is_not_overwritten(tmp_path, capsys):
    call = ["train", "reinforce", "--out", str(tmp_path), "--steps", "300"]
    for code in (0, 2):
        with pytest.raises(SystemExit) as end:
            app(call)
        assert (end.value.code or 0) == code
    assert "--resume" in capsys.readouterr().err


# ------------------------------------------------------------------------------- TensorBoard


def test_tensorboard_gets_what_the_curve_has(tmp_path, monkeypatch):
    """Every finite number of every iteration, at its step; a stand-in for torch's writer notes them."""
    written, closed = {}, []

    class SummaryWriter:
        def __init__(self, folder, flush_secs):
            self.folder = folder

        def add_scalar(self, key, x, step):
            written.setdefault(self.folder, {})[key, step] = x

        def close(self):
            closed.append(self.folder)

    module = types.ModuleType("torch.utils.tensorboard")
    module.SummaryWriter = SummaryWriter
    monkeypatch.setitem(sys.modules, "torch.utils.tensorboard", module)
    command = ["train", "ppo", "--steps", "700", "--seeds", "2", "--out", str(tmp_path / "runs")]
    with pytest.raises(SystemExit) as ended:
        app([*command, "--tensorboard", str(tmp_path / "board")])
    assert ended.value.code == 0
    folders = [str(tmp_path / "board" / "ppo-CartPole-v1" / f"seed-{s}") for s in (0, 1)]
    assert [*written] == closed == folders
    history = runs.load(tmp_path / "runs" / "ppo-CartPole-v1" / "seed-0").history
    expected = {
        (key, int(step)): x
        for key, xs in history.items()
        for step, x in zip(history["steps"], xs, strict=True)
        if key != "steps" and np.isfinite(x)
    }
    assert written[folders[0]] == expected and ("kl", 288) in expected


def test_without_tensorboard_one_sentence(tmp_path, monkeypatch, capsys):
    monkeypatch.setitem(sys.modules, "torch.utils.tensorboard", None)
    command = ["train", "ppo", "--steps", "700", "--out", str(tmp_path / "runs")]
    with pytest.raises(SystemExit) as ended:
        app([*command, "--tensorboard", str(tmp_path)])
    said = capsys.readouterr().err
    assert ended.value.code == 2 and "pip install tensorboard" in said
    assert not (tmp_path / "runs").exists(), "said before anything was trained"


def test_tensorboard_itself_reads_it(tmp_path):
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    result = ppo.train(small(ppo), progress=False, callback=runs.TensorBoard(tmp_path))
    events = EventAccumulator(str(tmp_path)).Reload()
    seen = {e.step: e.value for e in events.Scalars("kl")}
    assert [*seen] == result.history["steps"].tolist()
    np.testing.assert_allclose([*seen.values()], result.history["kl"], rtol=1e-6)
