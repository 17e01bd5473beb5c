"""Networks and batches, as plain data for the drivers that train."""

import torch

from pgcourse.checks.make_inputs import integers, normal


def layers(g, *sizes, dtype=torch.float32):
    """Weights and biases of a small network."""
    return [
        (normal(g, n_out, n_in, dtype=dtype), normal(g, n_out, dtype=dtype, scale=0.3))
        for n_in, n_out in zip(sizes, sizes[1:], strict=False)
    ]


def step_batch(g, B, D, A, dtype=torch.float32, terminated=0.3, truncated=0.3):
    end = torch.rand(B, generator=g) < terminated
    return dict(
        obs=normal(g, B, D, dtype=dtype),
        act=integers(g, A, B),
        rew=normal(g, B, dtype=dtype) + 1,
        next_obs=normal(g, B, D, dtype=dtype),
        terminated=end,
        ended=end | (torch.rand(B, generator=g) < truncated),
    )


def training(g, keep, B=6, D=3, A=4, hidden=(), steps=1, dtype=torch.float32, left_over=False, **ends):  # fmt: skip
    """Networks and batches for the driver `train_actor_critic`."""
    return dict(
        actor=layers(g, D, *hidden, A, dtype=dtype),
        critic=layers(g, D, *hidden, 1, dtype=dtype),
        actor_lr=0.2,
        critic_lr=0.05,
        batches=[step_batch(g, B, D, A, dtype, **ends) for _ in range(steps)],
        gamma=0.9,
        left_over=left_over,
        keep=keep,
    )


def hand_training(keep, terminated, large=False):
    """One observation number, two actions, two steps; or with large numbers, where the actor's loss is below 0."""

    def make(g):
        batch = dict(
            obs=torch.tensor([[150.0], [200.0]] if large else [[1.0], [2.0]]),
            act=torch.tensor([0, 1]),
            rew=torch.tensor([-3000.0, 2000.0] if large else [3.0, 1.0]),
            next_obs=torch.tensor([[250.0], [400.0]] if large else [[2.0], [4.0]]),
            terminated=torch.tensor(terminated),
            ended=torch.tensor([terminated[0], True]),
        )
        return dict(
            actor=[(torch.tensor([[0.0], [1.0]]), torch.tensor([0.0, 0.0]))],
            critic=[(torch.tensor([[1.0]]), torch.tensor([0.0]))],
            actor_lr=0.2, critic_lr=0.05, batches=[batch], gamma=0.5, left_over=False, keep=keep,
        )  # fmt: skip

    return make


def asynchronous(g, keep, pushes=2, workers=1, left_over=False, unreached=(), dtype=torch.float32):
    """Networks and gradients for the driver `push_gradients`; `unreached`: (push, parameter) pairs."""
    sizes = (3, 4, 2)

    def gradients(push):
        made = [x for layer in layers(g, *sizes, dtype=dtype) for x in layer]
        return [None if (push, i) in unreached else x for i, x in enumerate(made)]

    return dict(
        shared=layers(g, *sizes, dtype=dtype),
        workers=[layers(g, *sizes, dtype=dtype) for _ in range(workers)],
        pushes=[(i % workers, gradients(i)) for i in range(pushes)],
        lr=0.1,
        left_over=left_over,
        keep=keep,
    )
