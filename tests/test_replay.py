"""The replay buffer against a plain Python deque."""

from collections import deque

import pytest
import torch

from pgcourse.replay import Replay


def rollout(start, steps=3, envs=2, masked=()):
    n = torch.arange(start, start + steps * envs, dtype=torch.float32).reshape(steps, envs)
    mask = torch.ones(steps, envs, dtype=torch.bool)
    for t, b in masked:
        mask[t, b] = False
    return {
        "obs": n.unsqueeze(-1),
        "act": n.unsqueeze(-1) + 0.1,
        "rew": n + 0.2,
        "next_obs": n.unsqueeze(-1) + 0.3,
        "terminated": n % 2 == 0,
        "ended": n % 2 == 0,
        "mask": mask,
    }


@pytest.mark.parametrize("capacity", [1, 5, 6, 7, 100])
def test_it_keeps_the_latest_and_only_what_counts(capacity):
    replay, truth = Replay(capacity), deque(maxlen=capacity)
    for i in range(5):
        data = rollout(10 * i, masked=[(1, 1)])
        replay.add(data)
        truth.extend(data["rew"][data["mask"]].tolist())
    assert replay.size == len(truth)
    assert sorted(replay.data["rew"][: replay.size].tolist()) == sorted(truth)


def test_transitions_stay_together():
    replay = Replay(8)
    for i in range(4):
        replay.add(rollout(10 * i))
    batch = replay.sample(500, torch.Generator().manual_seed(0))
    n = batch["obs"][:, 0]
    torch.testing.assert_close(batch["rew"], n + 0.2)
    torch.testing.assert_close(batch["next_obs"][:, 0], n + 0.3)
    assert torch.equal(batch["terminated"], n % 2 == 0)
    counts = torch.bincount(n.long())
    assert (counts > 0).sum() == 8 and counts[counts > 0].min() > 30  # uniform: 62 on average


def test_it_holds_copies():
    replay, data = Replay(10), rollout(0)
    replay.add(data)
    data["obs"] += 100
    assert replay.data["obs"].max() < 100


def test_an_empty_buffer_says_so():
    with pytest.raises(ValueError, match="empty"):
        Replay(10).sample(1)
    with pytest.raises(ValueError, match="capacity"):
        Replay(0)
