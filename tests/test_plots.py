"""The pictures: bands that cover, curves on one grid, animations that play."""

import numpy as np
import pytest
from PIL import Image

from pgcourse import plots, ppo
from pgcourse.record import BaseConfig, Result


def fake(steps, values, key="return"):
    history = {"steps": np.array(steps, float), key: np.array(values, float)}
    return Result(BaseConfig(), None, history, np.array([]), np.array([]), 0.0)


def test_the_band_covers_the_truth_as_often_as_it_says():
    rng = np.random.default_rng(0)
    hits = 0
    for trial in range(200):
        curves = rng.normal(3.0, 1.0, (20, 1))
        _, low, high = plots.bootstrap_band(curves, draws=500, seed=trial)
        hits += low[0] <= 3.0 <= high[0]
    assert 0.87 <= hits / 200 <= 0.99  # 0.95 for many seeds, a little less for 20


def test_one_seed_has_no_band():
    mean, low, high = plots.bootstrap_band(np.array([[1.0, 2.0]]))
    assert (mean == low).all() and (mean == high).all()


def test_runs_that_report_at_other_steps_share_a_grid():
    grid, curves = plots.align([fake([0, 100], [0, 100]), fake([10, 50, 200], [20, 100, 400])])
    assert grid[0] == 10 and grid[-1] == 100
    np.testing.assert_allclose(curves[0], grid)
    np.testing.assert_allclose(curves[1], 2 * grid)


def test_a_run_without_the_number_says_so():
    with pytest.raises(ValueError, match="CartPole-v1 with seed 0 .*return"):
        plots.align([fake([0, 1], [np.nan, np.nan])])


def test_curves_are_labeled_and_counted():
    runs = [fake([0, 100], [0, k]) for k in range(3)]
    ax = plots.learning_curves({"A": runs, "B": runs[:1]}, threshold=2.0)
    texts = [text.get_text() for text in ax.get_legend().get_texts()]
    assert texts == ["A (3 seeds)", "B (1 seed)", "solved"]
    assert ax.get_xlabel() == "environment steps" and "return" in ax.get_ylabel()


@pytest.mark.parametrize("name", ["episode.gif", "episode.webp"])
@pytest.mark.parametrize("env", ["CartPole-v1", "Pendulum-v1"])
def test_an_agent_in_motion(env, name, tmp_path):
    config = ppo.Config(env=env, n_envs=2, n_steps=8, minibatches=1, epochs=1, total_steps=1)
    policy = ppo.train(config, progress=False).policy
    frames, total, _ = plots.record_episode(policy, env, max_steps=8)
    assert np.isfinite(total) and len(frames) == 9
    assert frames[0].std() > 1 and (frames[0] != frames[-1]).any()  # a picture, and it moves
    path = plots.save_animation(frames, tmp_path / name, width=200)
    with Image.open(path) as movie:
        assert movie.n_frames >= 5 and movie.size[0] == 200


def test_an_animation_for_a_notebook_holds_everything_itself():
    config = ppo.Config(n_envs=2, n_steps=8, minibatches=1, epochs=1, total_steps=1)
    html = plots.animate(ppo.train(config, progress=False).policy, "CartPole-v1", max_steps=6).data
    assert "data:image/webp;base64," in html and 'alt="CartPole-v1' in html and "http" not in html


def test_a_figure_has_words_for_those_who_do_not_see_it():
    figure, axes = plots.plt.subplots(1, 2)
    figure.suptitle("Two runs")
    axes[0].plot([1, 2], label=r"with clip, $\gamma^t$")
    axes[0].set(title="PPO", xlabel="steps", ylabel="return")
    axes[0].legend()
    assert plots.words(figure) == "Two runs; PPO: return over steps: with clip, gamma^t"
    plots.plt.close(figure)
