"""A replay buffer: the last `capacity` transitions, sampled uniformly."""

import torch
from torch import Tensor


class Replay:
    """A ring of single transitions; `add` takes rollouts [T, B], `sample` gives batches [n]."""

    KEYS = ("obs", "act", "rew", "next_obs", "terminated")

    def __init__(self, capacity: int) -> None:
        if capacity < 1:
            raise ValueError(f"expected a capacity of at least 1; got {capacity}.")
        self.capacity, self.size, self.next, self.data = capacity, 0, 0, {}

    def add(self, rollout: dict[str, Tensor]) -> None:
        """Store the steps of a rollout that count (mask True); the oldest make room for them."""
        steps = {key: rollout[key][rollout["mask"]][-self.capacity :] for key in self.KEYS}
        n = len(steps["rew"])
        at = (self.next + torch.arange(n)) % self.capacity
        for key, x in steps.items():
            if key not in self.data:
                self.data[key] = torch.zeros(self.capacity, *x.shape[1:], dtype=x.dtype)
            self.data[key][at] = x
        self.next = (self.next + n) % self.capacity
        self.size = min(self.size + n, self.capacity)

    def sample(self, n: int, generator: torch.Generator | None = None) -> dict[str, Tensor]:
        """`n` transitions drawn with replacement, as a dict of [n] tensors."""
        if self.size == 0:
            raise ValueError("the replay buffer is empty: add a rollout before sampling.")
        rows = torch.randint(self.size, (n,), generator=generator)
        return {key: x[rows] for key, x in self.data.items()}
