"""Normalized observations: statistics that are those of all the data, frozen in a test, and saved with the policy."""

import json

import gymnasium as gym
import numpy as np
import pytest
import torch
from gymnasium import spaces

from pgcourse import a2c, ppo, runs
from pgcourse.cli import app
from pgcourse.inputs import Normalizer
from pgcourse.rollout import Collector, evaluate

BOTH = pytest.mark.parametrize("module", [ppo, a2c])


class Line(gym.Env):
    """Eight steps along a line without any chance: an episode's start, and what an action does, are always the same."""

    observation_space = spaces.Box(-np.inf, np.inf, (2,))
    action_space = spaces.Discrete(2)

    def reset(self, *, seed=None, options=None):
        self.t, self.x = 0, 500.0
        return self.look(), {}

    def step(self, action):
        self.t, self.x = self.t + 1, self.x + (3.0 if action == 1 else -2.0)
        return self.look(), float(self.x > 500), self.t >= 8, False, {}

    def look(self):
        return np.array([self.x, 100.0 * self.t], dtype=np.float32)


def short(module, **changes):
    """Every collection ends with an episode, so that a resumed run begins where the first one was."""
    changes = {"env": Line, "n_envs": 4, "n_steps": 8, "normalize_obs": True, **changes}
    return module.Config(**changes)


def statistics(policy):
    normalizer = policy.normalizer
    return [x.clone() for x in (normalizer.mean, normalizer.var, normalizer.count)]


# ---------------------------------------------------------------------------------- the layer


@pytest.mark.parametrize("mean, scale", [(0.0, 1.0), (1e4, 0.1), (-3.0, 1e5)])
def test_the_statistics_are_those_of_all_data_at_once(mean, scale):
    """Parts of different sizes and means, against numpy on the whole."""
    rng = np.random.default_rng(0)
    parts = [
        (mean + scale * (rng.normal(size=(n, 3)) + shift)).astype(np.float32)
        for n, shift in ((1, 0.0), (7, 2.0), (100, -1.0), (3, 5.0))
    ]
    layer = Normalizer(3)
    for part in parts:
        layer.update(torch.from_numpy(part))
    whole = np.concatenate(parts).astype(np.float64)
    np.testing.assert_allclose(layer.mean, whole.mean(0), rtol=1e-12)
    np.testing.assert_allclose(layer.var, whole.var(0), rtol=1e-9)
    assert layer.count == len(whole)
    z = (whole - whole.mean(0)) / whole.std(0)
    got = layer(torch.from_numpy(whole.astype(np.float32)))
    assert got.dtype == torch.float32
    np.testing.assert_allclose(got, z, atol=1e-4)


def test_it_clips_and_leaves_out_what_follows():
    layer = Normalizer(2)
    layer.update(torch.tensor([[0.0, 5.0], [2.0, 5.0]]))
    far = torch.tensor([[1e9, 5.0, 1.0], [-1e9, 5.0, 0.0], [2.0, 5.0, 1.0]])
    torch.testing.assert_close(layer(far), torch.tensor([[10.0, 0], [-10.0, 0], [1.0, 0]]))


# ------------------------------------------------------------------------------- in training


@BOTH
def test_the_statistics_are_of_what_was_seen(module, monkeypatch):
    """Of every observation that an action was chosen for, each once, the look around before the first update too."""
    seen, collect = [], Collector.collect

    def noted(self, *args):
        rollout = collect(self, *args)
        seen.append(rollout["obs"].reshape(-1, 2).double())
        return rollout

    monkeypatch.setattr(Collector, "collect", noted)
    policy = module.train(short(module, total_steps=160), progress=False).policy
    whole = torch.cat(seen).numpy()
    mean, var, count = statistics(policy)
    np.testing.assert_allclose(mean, whole.mean(0), rtol=1e-12)
    np.testing.assert_allclose(var, whole.var(0), rtol=1e-9)
    assert count == len(whole) == 160 and len(seen) == 5


def test_an_update_sees_the_statistics_that_its_actions_were_drawn_with():
    counts = []

    def update(policy, *args, **kwargs):
        counts.append(policy.normalizer.count.item())
        return ppo.ppo_update(policy, *args, **kwargs)

    result = ppo.train(short(ppo, total_steps=160), update=update, progress=False)
    assert counts == [32, 64, 96, 128]  # the look around; then one rollout fewer than was collected
    assert (result.history["first_ratio_error"] < 1e-6).all()


@BOTH
def test_a_test_changes_nothing(module):
    policy = module.train(short(module, total_steps=160), progress=False).policy
    before = statistics(policy)
    evaluate(policy, Line, episodes=5)
    evaluate(policy, Line, episodes=5, deterministic=False)
    policy.evaluate(torch.full((3, 4, 2), 1e6), torch.zeros(3, 4, dtype=torch.int64))
    assert all(torch.equal(*pair) for pair in zip(before, statistics(policy), strict=True))


@BOTH
def test_saved_and_loaded_it_acts_the_same(module, tmp_path):
    config = short(module, total_steps=320)
    saver = runs.Saver(tmp_path, seconds=0)
    policy = module.train(config, progress=False, callback=saver).policy
    loaded = runs.load(tmp_path, env=Line).policy
    assert all(
        torch.equal(*pair) for pair in zip(statistics(policy), statistics(loaded), strict=True)
    )
    obs = torch.randn(200, 2) * 30 + torch.tensor([500.0, 400.0])
    noise = policy.noise((200,))
    assert torch.equal(policy.act(obs, noise=noise), loaded.act(obs, noise=noise))
    assert torch.equal(policy.actor(obs), loaded.actor(obs))
    assert torch.equal(policy.value(obs), loaded.value(obs))


@BOTH
@pytest.mark.parametrize("normalize", [True, False])
def test_a_resumed_run_is_the_uninterrupted_one(module, normalize, tmp_path):
    whole = module.train(short(module, total_steps=640, normalize_obs=normalize), progress=False)
    first = short(module, total_steps=320, normalize_obs=normalize)
    module.train(first, progress=False, callback=runs.Saver(tmp_path, seconds=0))
    _, _, start = runs.read(tmp_path, env=Line)
    longer = short(module, total_steps=640, normalize_obs=normalize)
    resumed = module.train(longer, progress=False, start=start)
    for key in whole.history:
        np.testing.assert_array_equal(whole.history[key], resumed.history[key])
    assert whole.returns.tolist() == resumed.returns.tolist()
    mine, theirs = whole.policy.state_dict(), resumed.policy.state_dict()
    assert all(torch.equal(mine[key], theirs[key]) for key in mine)
    assert ("normalizer.mean" in mine) == normalize


def test_it_is_what_an_odd_scale_needs():
    """CartPole in other units, one far from zero: PPO solves it with normalization and not without."""

    def in_units(**kwargs):
        scale, shift = np.float32([400, 200, 4, 4]), np.float32([900, 0, 0, 0])
        env = gym.make("CartPole-v1", **kwargs)
        return gym.wrappers.TransformObservation(env, lambda x: scale * x + shift, None)

    scores = [
        evaluate(
            ppo.train(
                ppo.Config(env=in_units, total_steps=25_000, normalize_obs=on), progress=False
            ).policy,
            in_units,
        ).mean()
        for on in (True, False)
    ]
    assert scores[0] > 400 > 200 > scores[1], scores


# -------------------------------------------------------------------------------- by command


def test_by_command_and_resumed(tmp_path, capsys):
    call = ["train", "a2c", "--out", str(tmp_path), "--normalize-obs", "--steps"]
    for more in (["800"], ["1600", "--resume"]):
        with pytest.raises(SystemExit) as end:
            app([*call, *more])
        assert not end.value.code, capsys.readouterr().err
    folder = tmp_path / "a2c-CartPole-v1" / "seed-0"
    assert json.loads((folder / "config.json").read_text())["config"]["normalize_obs"] is True
    result = runs.load(folder)
    batch = 32 * 12
    assert result.policy.normalizer.count == (1600 // batch + 1) * batch


@pytest.mark.parametrize(
    "call, words",
    [
        ("train sac --normalize-obs", "sac has no --normalize-obs; ppo and a2c have."),
        ("train reinforce --mask", "reinforce has no --mask; ppo and a2c have."),
        ("train a3c --set normalize_obs=true", "'normalize_obs=true'"),
    ],
)
def test_refused_by_name_where_it_is_not(call, words, capsys, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(SystemExit) as end:
        app(call.split())
    errors = capsys.readouterr().err
    assert end.value.code == 2 and words in errors and "Traceback" not in errors


def test_a_run_without_it_is_not_resumed_with_it(tmp_path, capsys):
    call = ["train", "ppo", "--out", str(tmp_path), "--steps", "400"]
    with pytest.raises(SystemExit):
        app(call)
    with pytest.raises(SystemExit) as end:
        app([*call, "--resume", "--normalize-obs"])
    errors = capsys.readouterr().err
    assert end.value.code == 2 and "what was saved of the policy does not fit" in errors
