"""The triangle: its corners, its flow, its clouds; PPO's clip in it is that of the package's loss."""

import matplotlib.pyplot as plt
import pytest
import torch

from pgcourse import plots, simplex
from pgcourse.losses import ppo_clip_loss


def test_a_corner_is_a_policy_that_is_sure():
    assert torch.equal(simplex.to_plane(torch.eye(3, dtype=torch.float64)), simplex.CORNERS)
    middle = simplex.to_plane(torch.full((3,), 1 / 3, dtype=torch.float64))
    assert torch.allclose(middle, simplex.CORNERS.mean(dim=0))


@pytest.mark.parametrize("clip", [None, 0.2])
@pytest.mark.parametrize("epochs", [1, 2, 7])
def test_the_steps_are_those_of_the_loss(epochs, clip):
    """By autograd through the package's loss, for each of the samples."""
    dots = simplex.cloud(simplex.START, simplex.PAYS, n=5, lr=0.7, baseline=True, epochs=epochs, clip=clip, dots=4)  # fmt: skip
    old = torch.tensor(simplex.START, dtype=torch.float64)
    pays = torch.tensor(simplex.PAYS, dtype=torch.float64)
    draws = torch.multinomial(
        torch.softmax(old, 0).repeat(4, 1), 5, replacement=True, generator=torch.Generator().manual_seed(0)
    )  # fmt: skip
    for act, found in zip(draws, dots, strict=True):
        theta = old.clone()
        for _ in range(epochs):
            leaf = theta.clone().requires_grad_()
            logp = torch.log_softmax(leaf, 0)[act]
            logp_old = torch.log_softmax(old, 0)[act]
            adv = pays[act] - torch.softmax(old, 0) @ pays
            if clip is None:
                loss = -((logp - logp_old).exp() * adv).mean()
            else:
                loss = ppo_clip_loss(logp, logp_old, adv, clip)
            loss.backward()
            theta = theta - 0.7 * leaf.grad
        assert torch.allclose(found, theta, atol=1e-12)


def test_rock_paper_scissors_spirals_outward():
    path = simplex.follow((0.3, 0.0, -0.2), simplex.rock_paper_scissors, 1.0, 300)
    away = (path - 1 / 3).norm(dim=1)
    assert away[-50:].mean() > 1.5 * away[:50].mean()
    still = simplex.follow((0.0, 0.0, 0.0), simplex.rock_paper_scissors, 1.0, 10)
    assert torch.allclose(still, torch.full_like(still, 1 / 3))


def test_a_picture_has_words_for_those_who_do_not_see_it():
    figure = simplex.panels({"flow": {}, "one": {"n": 1}})
    assert "flow: a triangle of three actions" in plots.words(figure)
    assert len(figure.axes) == 2
    plt.close("all")


def test_without_a_kernel_there_is_one_picture(monkeypatch):
    shown = []
    monkeypatch.setattr(plt, "show", lambda: shown.append(plt.gcf()))
    simplex.playground(n=4)
    assert len(shown) == 1
    plt.close("all")
