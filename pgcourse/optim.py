"""What the training loops optimize with: Adam, and the clip of the gradient's norm."""

from __future__ import annotations

import copy
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from typing import Protocol

import torch
from torch import Tensor


class Optimizer(Protocol):
    """What the loops ask of an optimizer: Adam below, or any of `torch.optim`."""

    def zero_grad(self) -> None: ...

    def step(self) -> None: ...


class Adam:
    """Adam, equal to `torch.optim.Adam`, for networks so small that overhead is all there is.

        m <- b1 m + (1 - b1) g          v <- b2 v + (1 - b2) g^2
        theta <- theta - lr * (m / (1 - b1^k)) / (sqrt(v / (1 - b2^k)) + eps)

    The update itself is torch's fused one, a single operation for all parameters of a group. And
    `torch.optim` imports torch._dynamo on first use, a second or more, which is longer than PPO
    takes to solve CartPole. Any optimizer of torch.optim works in its place. A parameter without a
    gradient counts as having gradient zero.

    params : parameters, or groups as in torch.optim: [{"params": …, "lr": …}, …]; a group's lr is
             kept in proportion when `lr` changes later
    source : Kingma & Ba 2015, algorithm 1, arXiv:1412.6980
    """

    def __init__(
        self,
        params: Iterable,
        lr: float,
        betas: tuple[float, float] = (0.9, 0.999),
        eps: float = 1e-8,
    ) -> None:
        groups = list(params)
        if not isinstance(groups[0], dict):
            groups = [{"params": groups}]
        self.lr, self.betas, self.eps = lr, betas, eps
        self.paces = [group.get("lr", lr) / lr for group in groups]
        self.params = [list(group["params"]) for group in groups]
        self.m, self.v = ([[torch.zeros_like(p) for p in ps] for ps in self.params] for _ in "mv")
        self.steps = torch.zeros(1)

    def zero_grad(self) -> None:
        for p in sum(self.params, []):
            p.grad = None

    @torch.no_grad()
    def step(self) -> None:
        self.steps += 1
        for params, m, v, pace in zip(self.params, self.m, self.v, self.paces, strict=True):
            torch._fused_adam_(
                params,
                [torch.zeros_like(p) if p.grad is None else p.grad for p in params],
                m,
                v,
                [],
                [self.steps] * len(params),
                lr=self.lr * pace,
                beta1=self.betas[0],
                beta2=self.betas[1],
                eps=self.eps,
                weight_decay=0.0,
                amsgrad=False,
                maximize=False,
            )

    def share_memory(self) -> Adam:
        """Move weights and moments to shared memory, for processes that train one network."""
        for x in sum(self.params + self.m + self.v, [self.steps]):
            x.share_memory_()
        return self

    def state_dict(self) -> dict:
        return copy.deepcopy({"m": self.m, "v": self.v, "steps": self.steps, "lr": self.lr})

    def load_state_dict(self, state: dict) -> None:
        mine = sum(self.m + self.v, [self.steps])
        for x, saved in zip(mine, sum(state["m"] + state["v"], [state["steps"]]), strict=True):
            x.copy_(saved)
        self.lr = state["lr"]


@contextmanager
def no_subnormals() -> Iterator[None]:
    """Meanwhile, what is below 1.2e-38 in float32 counts as 0.

    Where a ReLU is never on, its weights' gradient is 0 and Adam's m shrinks by b1 each step, until it is
    stored as a subnormal number. A processor computes with those many times slower: with two layers of
    256 a step of Adam takes four times as long.
    """
    torch.set_flush_denormal(True)
    try:
        yield
    finally:
        torch.set_flush_denormal(False)


@torch.no_grad()
def clip_grad_norm_(params: Iterable[Tensor], max_norm: float) -> float:
    """Shrink the gradients, together, to the norm `max_norm` if theirs is larger; in place.

        g <- g * min(1, max_norm / |g|),   |g| over all parameters

    What `torch.nn.utils.clip_grad_norm_` does, in half the time where networks are small.

    params   : parameters; one without a gradient is passed over
    returns  : the norm before, a float
    """
    grads = [p.grad for p in params if p.grad is not None]
    norm = torch.cat([g.reshape(-1) for g in grads]).norm().item()
    if norm > max_norm:
        for g in grads:
            g.mul_(max_norm / norm)
    return norm
