"""Drivers for functions that train networks: build small modules from arrays, train, write down what came out.

Like `drivers`, this module knows no reference and no pitfall, and draws no random numbers. Plain
gradient descent is the optimizer: unlike Adam's, its step is proportional to the gradient, so a
wrong factor or a gradient too many shows in the parameters.
"""

import torch
from torch import nn

from pgcourse.checks.drivers import driver


class Network(nn.Module):
    """A multilayer perceptron with tanh between its layers, from arrays: [(weight, bias), ...]."""

    def __init__(self, layers, squeeze=False):
        super().__init__()
        flat = [x for layer in layers for x in layer]
        self.arrays = nn.ParameterList([nn.Parameter(x.detach().clone()) for x in flat])
        self.squeeze = squeeze

    def forward(self, obs):
        x = obs
        for i in range(0, len(self.arrays), 2):
            x = nn.functional.linear(x if i == 0 else x.tanh(), *self.arrays[i : i + 2])
        return x.squeeze(-1) if self.squeeze else x

    def values(self):
        return [p.detach().clone() for p in self.parameters()]


class Descent:
    """theta <- theta - lr * gradient, with the interface of torch.optim; counts its steps."""

    def __init__(self, params, lr):
        self.param_groups = [{"params": list(params), "lr": lr}]
        self.steps = 0

    def zero_grad(self, set_to_none=True):
        for p in self.param_groups[0]["params"]:
            p.grad = None if set_to_none or p.grad is None else torch.zeros_like(p.grad)

    @torch.no_grad()
    def step(self):
        self.steps += 1
        for p in self.param_groups[0]["params"]:
            if p.grad is not None:
                p -= self.param_groups[0]["lr"] * p.grad


@driver
def entry(fn, args, grad):
    """One answer of a quiz: fn() returns a dict, args["key"] says which entry counts."""
    answers = fn()
    if not isinstance(answers, dict):
        raise TypeError(f"expected a dict of answers; got {type(answers).__name__}")
    if args["key"] not in answers:
        raise KeyError(f"there is no answer to {args['key']!r}")
    return answers[args["key"]], {}


@driver
def train_actor_critic(fn, args, grad):
    """Call fn(actor, critic, actor_opt, critic_opt, batch, gamma) on each batch in turn.

    args : actor, critic (lists of (weight, bias)), actor_lr, critic_lr, batches (list of dicts),
           gamma, left_over (bool: both networks hold an old gradient before the first call), and
           keep: what to write down ("actor", "critic" or "log")
    """
    actor, critic = Network(args["actor"]), Network(args["critic"], squeeze=True)
    optimizers = (
        Descent(actor.parameters(), args["actor_lr"]),
        Descent(critic.parameters(), args["critic_lr"]),
    )
    if args["left_over"]:
        for p in (*actor.parameters(), *critic.parameters()):
            p.grad = torch.ones_like(p)
    logs = [fn(actor, critic, *optimizers, batch, args["gamma"]) for batch in args["batches"]]
    out = {"actor": actor.values(), "critic": critic.values(), "log": logs}
    return out[args["keep"]], {}


@driver
def push_gradients(fn, args, grad):
    """Several workers push to one shared network: call fn(local, shared, optimizer) for each push.

    args : shared (list of (weight, bias)), workers (list of such lists: weights that have fallen
           behind), pushes (list of (worker, gradients): what its backward pass adds to each
           parameter's gradient, None = not reached), lr, left_over (bool: the shared network holds
           an old gradient before the first call), keep: "shared" (its weights after each push),
           "steps" (of the optimizer), "worker" (weights and cleared gradients of each worker) or
           "memory" (whether shared and local gradients were separate when the optimizer stepped)
    """
    shared, separate = Network(args["shared"]), []
    workers = [Network(layers) for layers in args["workers"]]
    optimizer = Watched(shared.parameters(), args["lr"], workers, separate)
    if args["left_over"]:
        for p in shared.parameters():
            p.grad = torch.ones_like(p)
    after = []
    for worker, gradients in args["pushes"]:
        local = workers[worker]
        reached = [
            (p, g) for p, g in zip(local.parameters(), gradients, strict=True) if g is not None
        ]
        sum((p * g).sum() for p, g in reached).backward()
        fn(local, shared, optimizer)
        after.append(shared.values())
    grads = [p.grad for local in workers for p in local.parameters()]
    out = {
        "shared": after,
        "steps": optimizer.steps,
        "worker": {
            "weights": [local.values() for local in workers],
            "gradients cleared": not any(g is not None and g.any() for g in grads),
        },
        "memory": bool(separate) and all(separate),
    }
    return out[args["keep"]], {}


class Watched(Descent):
    """Descent that notes at each step whether its gradients are stored apart from the workers'."""

    def __init__(self, params, lr, workers, separate):
        super().__init__(params, lr)
        self.workers, self.separate = workers, separate

    def step(self):
        mine = {p.grad.data_ptr() for p in self.param_groups[0]["params"] if p.grad is not None}
        theirs = (p.grad for local in self.workers for p in local.parameters())
        self.separate.append(not any(g is not None and g.data_ptr() in mine for g in theirs))
        super().step()
