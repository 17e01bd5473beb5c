"""What every training loop shares: the configuration, the progress bar, the history, the result."""

from __future__ import annotations

import dataclasses
import math
import random
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, ClassVar, Self

import numpy as np
import torch
from torch import Tensor
from tqdm.auto import tqdm

from pgcourse.envs import name_of

ABOVE_0 = {"clip", "value_clip", "max_grad_norm", "target_kl", "alpha", "updates_per_step"}
ABOVE_0 |= {"reward_scale", "tau"}


def sensible(name: str, value: Any) -> str | None:
    """What a setting should have been, in words, or None where it makes sense."""
    numbers = value if isinstance(value, tuple) else (value,)
    if name == "hidden" and not all(isinstance(n, int) and n > 0 for n in numbers):
        return "sizes of layers, at least 1 each"
    if not isinstance(value, int | float) or isinstance(value, bool):
        return None
    if name in ("gamma", "lam", "tau") and not 0 <= value <= 1:
        return "between 0 and 1"
    if name.endswith("lr") and not 0 < value < math.inf:
        return "a finite number above 0"
    if name in ABOVE_0 and not value > 0:
        return "above 0"
    if name.endswith("coef") and not 0 <= value < math.inf:
        return "a finite number, at least 0"
    return "a number" if math.isnan(value) else None


def seed_all(seed: int) -> None:
    """Seed torch's global generator, and those that an environment of somebody's own may draw from."""
    torch.manual_seed(seed)
    np.random.seed(seed % 2**32)
    random.seed(seed)


@dataclass
class BaseConfig:
    """What to train on and for how long. Each loop adds its own settings, which solve CartPole-v1
    (SAC: Pendulum-v1); `Config.tuned(env)` gives those found for a task, to solve it soonest."""

    env: Any = "CartPole-v1"  # an id, a function that makes one, an environment: see make_vector
    env_kwargs: dict = dataclasses.field(default_factory=dict)  # for what makes the environment
    seed: int = 0
    total_steps: int = 100_000  # environment steps
    threads: int = 1  # for networks this small a second thread costs more than it brings

    TUNED: ClassVar[dict[str, dict]] = {}

    @classmethod
    def tuned(cls, env: Any, **changes: Any) -> Self:
        return cls(**{"env": env, **cls.TUNED.get(env, {}), **changes})

    def __post_init__(self):
        for field in dataclasses.fields(self):
            value, least = getattr(self, field.name), 0 if field.name == "seed" else 1
            whole = isinstance(value, int | np.integer) and not isinstance(value, bool)
            words = sensible(field.name, value)
            if field.type in (int, "int") and not (whole and value >= least):
                words = f"a whole number, at least {least}"
            if words:
                raise ValueError(f"expected {field.name} to be {words}; got {value!r}.")


@dataclass
class Result:
    """What training brought: the policy, and how it got there."""

    config: BaseConfig
    policy: Any  # has act(obs, deterministic) and to_env(act)
    history: dict[str, np.ndarray]  # one entry an iteration: steps, return, …
    returns: np.ndarray  # of every training episode, in the order they ended
    return_steps: np.ndarray  # the environment step at which each of them ended
    seconds: float


class Recorder:
    """Counts steps, keeps the history, moves the progress bar, and saves or restores everything.

    policy   : what acts; evaluated by callbacks, returned in the result
    parts    : modules and optimizers by name; what a checkpoint holds
    callback : called with this recorder after every iteration; returning True ends the training
    start    : a checkpoint to go on from (environments begin new episodes)
    """

    def __init__(
        self,
        config: BaseConfig,
        collector: Any,
        policy: Any,
        parts: dict[str, Any],
        progress: bool = True,
        callback: Callable | None = None,
        start: dict | None = None,
    ) -> None:
        torch.set_num_threads(config.threads)
        self.config, self.collector, self.policy, self.parts = config, collector, policy, parts
        self.callback, self.stopped = callback, False
        self.rows, self.episodes = [], []
        self.began, self.seconds_before = time.perf_counter(), 0.0
        if start is not None:
            for name, part in parts.items():
                try:
                    part.load_state_dict(start["parts"][name])
                except RuntimeError as error:
                    raise ValueError(
                        f"what was saved of the {name} does not fit these settings: {error}"
                    ) from error
            self.rows, self.episodes = list(start["rows"]), list(start["episodes"])
            self.seconds_before = start["seconds"]
            collector.steps = start["steps"]
            collector.generator.set_state(start["generator"])
        self.bar = tqdm(
            total=config.total_steps,
            initial=min(self.steps, config.total_steps),
            desc=f"{type(config).__module__.rpartition('.')[2]} {name_of(config.env)}",
            unit=" steps",
            unit_scale=True,
            disable=not progress,
            mininterval=0.2,
        )

    @property
    def steps(self) -> int:
        return self.collector.steps

    @property
    def seconds(self) -> float:
        return self.seconds_before + time.perf_counter() - self.began

    def done(self) -> bool:
        return self.stopped or self.steps >= self.config.total_steps

    def record(self, **numbers: float) -> None:
        """Note one iteration; `return` is the mean of the last 20 training episodes.

        raises : ValueError if a loss is no finite number: nothing of that iteration is kept
        """
        for key, x in numbers.items():
            if "loss" in key and not math.isfinite(x):
                raise ValueError(
                    f"{key} is {float(x)} after environment step {self.steps:,}: training has broken down "
                    "and stops here. A smaller learning rate or a smaller reward_scale may help."
                )
        self.episodes += self.collector.finished()
        recent = [ret for _, ret in self.episodes[-20:]]
        mean = float(np.mean(recent)) if recent else float("nan")
        numbers = {key: float(x) for key, x in numbers.items()}
        self.rows.append({"steps": self.steps, "return": mean, **numbers})
        self.bar.update(min(self.steps, self.config.total_steps) - self.bar.n)
        self.bar.set_postfix({"return": f"{mean:.1f}"}, refresh=False)
        if self.callback is not None and self.callback(self):
            self.stopped = True

    def checkpoint(self) -> dict:
        """Everything needed to go on later, as plain data. raises: ValueError if a weight is not finite"""
        for name, part in self.parts.items():
            for key, x in part.state_dict().items() if isinstance(part, torch.nn.Module) else ():
                if not torch.isfinite(x).all():
                    raise ValueError(
                        f"{name}.{key} holds {x[~x.isfinite()][0].item()} after environment step "
                        f"{self.steps:,}: training has broken down and stops here; nothing of it is saved."
                    )
        return {
            "parts": {name: part.state_dict() for name, part in self.parts.items()},
            "rows": list(self.rows),
            "episodes": list(self.episodes),
            "steps": self.steps,
            "seconds": self.seconds,
            "generator": self.collector.generator.get_state(),
        }

    def result(self) -> Result:
        self.bar.close()
        keys = list(dict.fromkeys(key for row in self.rows for key in row))
        history = {k: np.array([row.get(k, np.nan) for row in self.rows], float) for k in keys}
        steps, returns = np.array(self.episodes, dtype=float).reshape(-1, 2).T
        return Result(self.config, self.policy, history, returns, steps.astype(int), self.seconds)


def explained_variance(val: Tensor, ret: Tensor) -> float:
    """How much of the returns' variance the values explain: 1 - Var(ret - val) / Var(ret).

    1 is all of it, 0 as little as a constant does, below 0 less. It is about the prediction, not about
    the gradient, whose variance a constant can lower too; and it does not see a constant offset in val.
    """
    return (1 - (ret - val).var() / ret.var().clamp(min=1e-8)).item()
