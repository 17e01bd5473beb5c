"""Small networks: actors, critics, and the slow copy of a critic.

An actor is a policy. Whatever its head, it answers four questions, and so serves every loop:
    actor.noise(shape, generator)    the randomness of `shape` decisions, drawn at once
    actor.act(obs, deterministic)    an action, [..., ]
    actor.evaluate(obs, act)         log pi(act | obs) and the entropy, both [...]
    actor.to_env(act)                the action in the environment's units, a numpy array
"""

import math
from collections.abc import Callable, Sequence
from typing import Protocol

import numpy as np
import torch
import torch.nn.functional as F
from gymnasium import spaces
from gymnasium.vector import VectorEnv
from torch import Tensor, nn

from pgcourse.distributions import gaussian_logp, squashed_gaussian_logp
from pgcourse.inputs import Features, Masked, Normalizer, choices, inputs


class Policy(Protocol):
    """What collects and is evaluated: an actor, an ActorCritic, or a class of one's own."""

    def noise(self, shape: Sequence[int], generator: torch.Generator | None = None) -> Tensor: ...

    def act(
        self, obs: Tensor, deterministic: bool = False, noise: Tensor | None = None
    ) -> Tensor: ...

    def to_env(self, act: Tensor) -> np.ndarray: ...


def mlp(
    sizes: Sequence[int], activation: type[nn.Module] = nn.Tanh, last_gain: float = 1.0
) -> nn.Sequential:
    """A multilayer perceptron, orthogonally initialized; `last_gain` scales the last layer.

    sizes : [inputs, hidden..., outputs]
    """
    layers = []
    for i, (n_in, n_out) in enumerate(zip(sizes, sizes[1:], strict=False)):
        last = i == len(sizes) - 2
        linear = nn.Linear(n_in, n_out)
        nn.init.orthogonal_(linear.weight, last_gain if last else math.sqrt(2))
        nn.init.zeros_(linear.bias)
        layers += [linear] if last else [linear, activation()]
    return nn.Sequential(*layers)


class CategoricalActor(nn.Module):
    """A softmax policy over `n_actions`; calling it gives the logits [..., A]."""

    def __init__(self, n_obs: int, n_actions: int, hidden: Sequence[int], start: int = 0) -> None:
        super().__init__()
        self.net = mlp([n_obs, *hidden, n_actions], last_gain=0.01)
        self.n_actions, self.start = n_actions, start

    def forward(self, obs: Tensor) -> Tensor:
        return self.net(obs)

    def noise(self, shape: Sequence[int], generator: torch.Generator | None = None) -> Tensor:
        """Gumbel noise: argmax(logits + noise) is a draw from the softmax."""
        return -torch.empty(*shape, self.n_actions).exponential_(generator=generator).log()

    def act(self, obs: Tensor, deterministic: bool = False, noise: Tensor | None = None) -> Tensor:
        logits = self(obs)
        if deterministic:
            return logits.argmax(-1)
        noise = self.noise(logits.shape[:-1]) if noise is None else noise
        return (logits + noise).argmax(-1)

    def evaluate(self, obs: Tensor, act: Tensor) -> tuple[Tensor, Tensor]:
        logp = F.log_softmax(self(obs), dim=-1)
        ent = -(logp.exp() * logp).sum(-1)
        return logp.gather(-1, act.unsqueeze(-1)).squeeze(-1), ent

    def to_env(self, act: Tensor) -> np.ndarray:
        return act.numpy() + self.start


class MultiCategoricalActor(nn.Module):
    """Several independent choices at once, each by a softmax of its own; calling it gives all logits.

        log pi(a | s) = sum over choices i of log pi_i(a_i | s)

    sizes : how many options each of the D choices has; an action is an int tensor [..., D]
    shape : of an action in the environment; start: the number of each choice's first option
    """

    def __init__(
        self,
        n_obs: int,
        sizes: Sequence[int],
        hidden: Sequence[int],
        shape: Sequence[int],
        start: int | np.ndarray = 0,
    ) -> None:
        super().__init__()
        self.net = mlp([n_obs, *hidden, sum(sizes)], last_gain=0.01)
        self.sizes, self.shape, self.start = list(sizes), shape, start

    def forward(self, obs: Tensor) -> Tensor:
        return self.net(obs)

    def noise(self, shape: Sequence[int], generator: torch.Generator | None = None) -> Tensor:
        return -torch.empty(*shape, sum(self.sizes)).exponential_(generator=generator).log()

    def act(self, obs: Tensor, deterministic: bool = False, noise: Tensor | None = None) -> Tensor:
        logits = self(obs)
        if not deterministic:
            logits = logits + (self.noise(logits.shape[:-1]) if noise is None else noise)
        return torch.stack([part.argmax(-1) for part in logits.split(self.sizes, dim=-1)], dim=-1)

    def evaluate(self, obs: Tensor, act: Tensor) -> tuple[Tensor, Tensor]:
        logp = ent = 0.0
        for part, chosen in zip(self(obs).split(self.sizes, dim=-1), act.unbind(-1), strict=True):
            each = F.log_softmax(part, dim=-1)
            logp = logp + each.gather(-1, chosen.unsqueeze(-1)).squeeze(-1)
            ent = ent - (each.exp() * each).sum(-1)
        return logp, ent  # type: ignore[return-value]  # the zeros have become tensors

    def to_env(self, act: Tensor) -> np.ndarray:
        return act.numpy().reshape(-1, *self.shape) + self.start


class GaussianActor(nn.Module):
    """A Gaussian policy with one learned spread per dimension; calling it gives the mean [..., D].

    Actions are in units of the environment's range: -1 is its lower bound and 1 its upper one
    (where it has bounds). A draw may lie outside; `to_env` clips it.
    """

    def __init__(
        self, n_obs: int, space: spaces.Box, hidden: Sequence[int], log_std: float = 0.0
    ) -> None:
        super().__init__()
        self.net = mlp([n_obs, *hidden, math.prod(space.shape)], last_gain=0.01)
        self.log_std = nn.Parameter(torch.full((math.prod(space.shape),), log_std))
        self.bounds = Bounds(space)

    def forward(self, obs: Tensor) -> Tensor:
        return self.net(obs)

    def noise(self, shape: Sequence[int], generator: torch.Generator | None = None) -> Tensor:
        return torch.randn(*shape, len(self.log_std), generator=generator)

    def act(self, obs: Tensor, deterministic: bool = False, noise: Tensor | None = None) -> Tensor:
        mean = self(obs)
        if deterministic:
            return mean
        noise = self.noise(mean.shape[:-1]) if noise is None else noise
        return mean + self.log_std.exp() * noise

    def evaluate(self, obs: Tensor, act: Tensor) -> tuple[Tensor, Tensor]:
        logp = gaussian_logp(self(obs), self.log_std, act)
        ent = (self.log_std + 0.5 * math.log(2 * math.pi * math.e)).sum()
        return logp, ent.expand(logp.shape)

    def to_env(self, act: Tensor) -> np.ndarray:
        return self.bounds.to_env(act)


class SquashedActor(nn.Module):
    """SAC's policy, a = tanh(mean(s) + std(s) * noise); calling it gives mean, log_std [..., D]."""

    def __init__(self, n_obs: int, space: spaces.Box, hidden: Sequence[int]) -> None:
        super().__init__()
        self.net = mlp([n_obs, *hidden, 2 * math.prod(space.shape)], nn.ReLU, last_gain=0.01)
        self.bounds = Bounds(space)

    def forward(self, obs: Tensor) -> tuple[Tensor, Tensor]:
        mean, log_std = self.net(obs).chunk(2, dim=-1)
        return mean, log_std.clamp(-5, 2)

    def noise(self, shape: Sequence[int], generator: torch.Generator | None = None) -> Tensor:
        return torch.randn(*shape, len(self.bounds.low.reshape(-1)), generator=generator)

    def act(self, obs: Tensor, deterministic: bool = False, noise: Tensor | None = None) -> Tensor:
        mean, log_std = self(obs)
        if deterministic:
            return mean.tanh()
        noise = self.noise(mean.shape[:-1]) if noise is None else noise
        return (mean + log_std.exp() * noise).tanh()

    def sample(
        self, obs: Tensor, noise: Tensor, logp: Callable = squashed_gaussian_logp
    ) -> tuple[Tensor, Tensor]:
        """A reparameterized action and its log-density; both carry gradient to the policy."""
        mean, log_std = self(obs)
        pre_tanh = mean + log_std.exp() * noise
        return pre_tanh.tanh(), logp(mean, log_std, pre_tanh)

    def to_env(self, act: Tensor) -> np.ndarray:
        return self.bounds.to_env(act)


UNBOUNDED = 1e6  # nobody means a larger bound to be reached


class Bounds:
    """From [-1, 1] to the range of a Box, each dimension for itself.

    A dimension without two bounds is left as it is, and so is one whose bounds are only the largest
    numbers there are: its actions are in the environment's own units.
    """

    def __init__(self, space: spaces.Box) -> None:
        self.bounded = (np.abs(space.low) < UNBOUNDED) & (np.abs(space.high) < UNBOUNDED)
        low, high = np.where(self.bounded, space.low, -1.0), np.where(self.bounded, space.high, 1.0)
        self.low, self.high = space.low, space.high
        self.center = ((low + high) / 2).astype(space.dtype)
        self.half = ((high - low) / 2).astype(space.dtype)

    def to_env(self, act: Tensor) -> np.ndarray:
        """act : tensor [B, D]  ->  numpy array [B, *shape of the Box]"""
        act = act.numpy().reshape(-1, *self.low.shape)
        return np.clip(self.center + self.half * act, self.low, self.high)


class Critic(nn.Module):
    """V(s), [...]."""

    def __init__(self, n_obs: int, hidden: Sequence[int]) -> None:
        super().__init__()
        self.net = mlp([n_obs, *hidden, 1])

    def forward(self, obs: Tensor) -> Tensor:
        return self.net(obs).squeeze(-1)


class ActorCritic(nn.Module):
    """An actor and a critic under one roof, in two networks: no weight is shared.

    normalizer : becomes the first layer of both; None: they see observations as they are
    """

    def __init__(
        self, actor: nn.Module, critic: nn.Module, normalizer: Normalizer | None = None
    ) -> None:
        super().__init__()
        self.actor, self.critic = actor, critic
        self.noise, self.act, self.to_env = actor.noise, actor.act, actor.to_env
        self.normalizer = normalizer
        for net in () if normalizer is None else (actor.net, critic.net):
            (net.net if isinstance(net, Masked) else net).insert(0, normalizer)

    @property
    def masked(self) -> bool:
        """Whether it reads masks of valid actions: then `pgcourse.rollout.evaluate` shows it them."""
        return getattr(self.actor, "masked", False)

    def observe(self, rollout: dict[str, Tensor]) -> None:
        """Let the normalizer's statistics, if there is one, take in what was seen in a rollout [T, B]."""
        if self.normalizer is not None:
            self.normalizer.update(rollout["obs"][rollout["mask"]])

    def value(self, obs: Tensor) -> Tensor:
        return self.critic(obs)

    def evaluate(self, obs: Tensor, act: Tensor) -> tuple[Tensor, ...]:
        """logp, entropy and value of every step, all [...]: what `ppo_update` asks of a policy."""
        shape = obs.shape[:-1]  # one long batch of steps costs less than one of [T, B]
        obs, act = obs.flatten(0, -2), act.flatten(0, len(shape) - 1)
        return tuple(x.view(shape) for x in (*self.actor.evaluate(obs, act), self.critic(obs)))


class TwinQ(nn.Module):
    """Two critics Q(s, a) of one shape, evaluated as a batch of two; returns (q1, q2), each [B]."""

    def __init__(self, n_obs: int, n_act: int, hidden: Sequence[int]) -> None:
        super().__init__()
        twins = [mlp([n_obs + n_act, *hidden, 1], nn.ReLU) for _ in range(2)]
        layers = [[layer for layer in net if isinstance(layer, nn.Linear)] for net in twins]
        self.weights = nn.ParameterList(
            torch.stack([one.weight.data.T, two.weight.data.T])
            for one, two in zip(*layers, strict=True)
        )
        self.biases = nn.ParameterList(torch.zeros(2, 1, one.out_features) for one in layers[0])
        self.layers = list(
            zip(self.weights, self.biases, strict=True)
        )  # a plain list: quick to walk

    def forward(self, obs: Tensor, act: Tensor) -> tuple[Tensor, ...]:
        x = torch.cat([obs, act], dim=-1).expand(2, -1, -1)
        *hidden, (last_weight, last_bias) = self.layers
        for weight, bias in hidden:
            x = torch.baddbmm(bias, x, weight).relu_()
        # of one column: a sum of products is quicker than a matrix product
        return ((x * last_weight.mT).sum(-1) + last_bias.squeeze(-1)).unbind(0)


def make_actor(env: VectorEnv, hidden: Sequence[int], log_std: float = 0.0) -> nn.Module:
    """The actor that fits a vectorized environment's spaces, its masks too (`pgcourse.masks`)."""
    n_obs, n_valid = inputs(env)
    space = env.single_action_space
    sizes = choices(space)
    if isinstance(space, spaces.Discrete):
        actor = CategoricalActor(n_obs, sizes[0], hidden, int(space.start))
    elif sizes:
        start = getattr(space, "start", 0)
        actor = MultiCategoricalActor(n_obs, sizes, hidden, space.shape, start)
    else:
        actor = GaussianActor(n_obs, space, hidden, log_std)
    if n_valid:
        actor.net, actor.masked = Masked(actor.net, sizes), True
    return actor


def make_critic(env: VectorEnv, hidden: Sequence[int]) -> Critic:
    n_obs, n_valid = inputs(env)
    critic = Critic(n_obs, hidden)
    if n_valid:
        critic.net.insert(0, Features(n_obs))
    return critic


def make_normalizer(env: VectorEnv) -> Normalizer:
    return Normalizer(inputs(env)[0])


@torch.no_grad()
def polyak_update(target: nn.Module, online: nn.Module, tau: float) -> None:
    """Let the slow copy of a network follow the fast one.

        target <- (1 - tau) * target + tau * online,   parameters and buffers, in place

    target, online : two modules of the same shape; only target changes, and the two share no memory
    tau            : float in [0, 1]; 0.005 is slow, 1 copies
    returns        : None
    note           : buffers of integers (a counter) are copied; copying all the buffers is fine too
    source         : Lillicrap et al. 2016, algorithm 1, arXiv:1509.02971
    """
    slow = [*target.parameters(), *target.buffers()]
    fast = [*online.parameters(), *online.buffers()]
    for old, new in zip(slow, fast, strict=True):
        if old.is_floating_point():
            old.lerp_(new, tau)
        else:
            old.copy_(new)
