"""Drivers for functions that train networks: build small modules from arrays, train, write down what came out.

Like `drivers`, this module knows no reference and no pitfall, and draws no random numbers. Plain
gradient descent is the optimizer: unlike Adam's, its step is proportional to the gradient, so a
wrong factor or a gradient too many shows in the parameters.
"""

import torch
from torch import nn

from pgcourse.checks.drivers import NotAnAnswer, driver


class Network(nn.Module):
    """A multilayer perceptron with tanh between its layers, from arrays: [(weight, bias), ...]."""

    def __init__(self, layers, squeeze=False):
        super().__init__()
        flat = [x for layer in layers for x in layer]
        self.arrays = nn.ParameterList([nn.Parameter(x.detach().clone()) for x in flat])
        self.squeeze = squeeze

    def forward(self, obs):
        x, arrays = obs, list(self.arrays)  # to slice a ParameterList makes a new module
        for i in range(0, len(arrays), 2):
            x = nn.functional.linear(x if i == 0 else x.tanh(), *arrays[i : i + 2])
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
    """One answer of a quiz: fn() returns a dict, args["key"] says which entry counts.

    Capitals and surrounding spaces do not matter; "4" is the number 4. Without an answer None comes out.
    With args["any_order"] an answer is a choice of names: a list, a tuple, a set or a single name.
    With args["letters"] it is a choice of letters: "ac", "C, A" and ["a", "c"] are the same.
    With args["at_most"] an answer that is given to more keys than that counts for none of them.
    """
    answers = fn()
    if not isinstance(answers, dict):
        raise NotAnAnswer(f"expected a dict of answers; got {type(answers).__name__}")
    if args["key"] not in answers:
        return None, {}
    read = choice if args.get("any_order") else letters if args.get("letters") else plain
    answer = read(answers[args["key"]])
    if "at_most" in args and [*answers.values()].count(answers[args["key"]]) > args["at_most"]:
        return f"{answer}, given too often", {}
    return answer, {}


def plain(answer):
    """A text without capitals and outer spaces; one that is a number or a truth value becomes that."""
    if not isinstance(answer, str):
        return answer
    text = answer.strip().lower()
    if text in ("true", "false"):
        return text == "true"
    try:
        return int(text) if text.lstrip("+-").isdecimal() else float(text)
    except ValueError:
        return text


def words(answer):
    """The texts in an answer, or None if there is something else in it."""
    found = [answer] if isinstance(answer, str) else answer
    if isinstance(found, list | tuple | set | frozenset) and all(isinstance(w, str) for w in found):
        return [*found]
    return None


def letters(answer):
    found = words(answer)
    if found is None:
        return plain(answer)
    return "".join(sorted({c for c in "".join(found).lower() if c.isalpha()}))


def choice(answer):
    found = words(answer)
    return plain(answer) if found is None else sorted({w.strip().lower() for w in found})


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
    for log in logs:
        if args["keep"] == "log" and not isinstance(log, dict):
            raise NotAnAnswer(
                f"expected a dict of numbers to be returned; got {type(log).__name__}"
            )
    if args["keep"] == "log":
        return [*map(with_graph, logs)], {}
    return {"actor": actor, "critic": critic}[args["keep"]].values(), {}


def with_graph(log):
    """What a function reports, and which of it still carries the graph: kept, it keeps its whole batch alive."""
    live = sorted(k for k, x in log.items() if torch.is_tensor(x) and x.requires_grad)
    return {**log, "numbers that carry the graph": live}


@driver
def push_gradients(fn, args, grad):
    """Several workers push to one shared network: call fn(local, shared, optimizer) for each push.

    args : shared (list of (weight, bias)), workers (list of such lists: weights that have fallen
           behind), pushes (list of (worker, gradients): what its backward pass adds to each
           parameter's gradient, None = not reached), lr, left_over (bool: the shared network holds
           an old gradient before the first call), keep: "shared" (its weights after each push),
           "steps" (of the optimizer), "worker" (weights and cleared gradients of each worker),
           "memory" (whether shared and local gradients were separate when the optimizer stepped) or
           "reached" (how many shared parameters had a gradient at the last step)
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
        optimizer.pushed = [p.grad for p in local.parameters()]  # kept: nothing else may lie there
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
        "reached": optimizer.reached,
    }
    return out[args["keep"]], {}


class Watched(Descent):
    """Descent that notes at each step whether its gradients are stored apart from the workers'."""

    def __init__(self, params, lr, workers, separate):
        super().__init__(params, lr)
        self.workers, self.separate, self.reached, self.pushed = workers, separate, 0, []

    def step(self):
        mine = {p.grad.data_ptr() for p in self.param_groups[0]["params"] if p.grad is not None}
        theirs = [p.grad for local in self.workers for p in local.parameters()] + self.pushed
        self.separate.append(not any(g is not None and g.data_ptr() in mine for g in theirs))
        self.reached = sum(p.grad is not None for p in self.param_groups[0]["params"])
        super().step()


def stack(layers, buffers):
    """Linear layers with tanh between them, as a module inside another one.

    The last one inside has the buffers, and with them a parameter that belongs to no layer.
    """
    net = nn.Sequential()
    for weight, bias in layers:
        linear = nn.Linear(*reversed(weight.shape), device="meta")  # draws no first weights
        linear.weight, linear.bias = (nn.Parameter(x.detach().clone()) for x in (weight, bias))
        net.extend([linear, nn.Tanh()])
    for i, x in enumerate(buffers):
        net[-1].register_buffer(f"buffer{i}", x.detach().clone())
    if buffers:
        net[-1].gain = nn.Parameter(buffers[0].detach().clone())
    return nn.Sequential(net)


@driver
def follow(fn, args, grad):
    """A slow copy follows a network that moves: call fn(target, online, tau) for each of the taus.

    args : target, online (lists of (weight, bias)), target_buffers, online_buffers (lists of arrays),
           taus (list of float), move (float: what is added to every number of the online network
           after each call, as training would; to integers 1), frozen (bool: the target asks for no
           gradient), and keep: "parameters" or "buffers" (the target's, after each call and move) or "apart"
           (what must not have happened to the two networks)
    """
    target, online = (stack(args[name], args[f"{name}_buffers"]) for name in ("target", "online"))
    target.requires_grad_(not args["frozen"])
    for p in online.parameters():
        p.grad = torch.ones_like(p)  # what the optimizer's step has left
    written = [*target.parameters()]
    fast = [*online.parameters(), *online.buffers()]
    moved = [x.detach().clone() for x in fast]
    kept = []
    for tau in args["taus"]:
        fn(target, online, tau)
        with torch.no_grad():
            for x in (*fast, *moved):
                x += args["move"] if x.is_floating_point() else 1
        if args["keep"] != "apart":
            kept.append([x.detach().clone() for x in getattr(target, args["keep"])()])
        if args["keep"] == "buffers":
            kept[-1] = {f"buffer {i + 1}": x for i, x in enumerate(kept[-1])}
    return kept or apart(target, online, written, moved, args["frozen"]), {}


def apart(target, online, written, moved, frozen):
    """What must not have happened to two networks, as {sentence: whether it is so}.

    written, moved : the target's parameters before, and the numbers that the online network should have
    """
    mine, there = [*target.parameters()], [*online.parameters(), *online.buffers()]
    here = {x.data_ptr() for x in (*mine, *target.buffers())}
    return {
        "the online network is left alone": all(map(torch.equal, there, moved)),
        "the two share no memory": not any(x.data_ptr() in here for x in there),
        "requires_grad is as before": all(p.requires_grad != frozen for p in mine)
        and all(p.requires_grad for p in online.parameters()),
        "no graph hangs on the target": all(p.is_leaf for p in mine),
        "the target keeps its parameter objects": len(written) == len(mine)
        and all(p is q for p, q in zip(written, mine, strict=False)),
        "gradients are left alone": all(
            p.grad is not None and bool((p.grad == 1).all()) for p in online.parameters()
        )
        and all(p.grad is None for p in mine if p.is_leaf),
        "train or eval is as before": target.training and online.training,
    }


class Agent(nn.Module):
    """Actor and critic for `ppo_update`, which notes whether it was asked about the stored actions."""

    def __init__(self, actor, critic, rollout):
        super().__init__()
        self.actor, self.critic = Network(actor), Network(critic, squeeze=True)
        self.stored = dict(self.pairs(rollout["obs"], rollout["act"]))
        self.scored = "the stored ones"

    @staticmethod
    def pairs(obs, act):
        rows = obs.detach().reshape(-1, obs.shape[-1]).contiguous().numpy()
        return zip([row.tobytes() for row in rows], act.reshape(-1).tolist(), strict=True)

    def evaluate(self, obs, act):
        if any(self.stored.get(o, a) != a for o, a in self.pairs(obs, act)):
            self.scored = "others"
        logp_all = torch.log_softmax(self.actor(obs), dim=-1)
        logp = logp_all.gather(-1, act.unsqueeze(-1)).squeeze(-1)
        return logp, -(logp_all.exp() * logp_all).sum(-1), self.critic(obs)

    def value(self, obs):
        return self.critic(obs)

    def noise(self, shape, generator=None):
        outputs = len(self.actor.arrays[-1])
        return -torch.empty(*shape, outputs).exponential_(generator=generator).log()

    def act(self, obs, deterministic=False, noise=None):
        logits = self.actor(obs)
        if not deterministic:
            logits = logits + (self.noise(logits.shape[:-1]) if noise is None else noise)
        return logits.argmax(-1)


def smooth_loss(logp, logp_old, adv, clip, mask=None):
    """A policy loss like no other, so that an update that does not use the one it was given shows."""
    gain = adv * clip * torch.tanh((logp - logp_old) / clip)
    return -(gain if mask is None else gain[mask]).mean()


class Settings:
    """A configuration: the entries of a dict as attributes."""

    def __init__(self, entries):
        self.__dict__.update(entries)


@driver
def update_policy(fn, args, grad):
    """Call fn(policy, optimizer, rollout, config, loss, generator) once.

    args : actor, critic (lists of (weight, bias)), rollout, config, lr, seed (of the generator),
           left_over (bool: the parameters hold old gradients), and
           keep: "weights" (what the update made of the networks, whose actions it scored, and
           whether the given optimizer took the steps) or "log" (what it returned, and which of it
           still carries the graph)
    """
    policy = Agent(args["actor"], args["critic"], args["rollout"])
    optimizer = Descent(policy.parameters(), args["lr"])
    for p in policy.parameters() if args["left_over"] else ():
        p.grad = torch.ones_like(p)
    generator = torch.Generator().manual_seed(args["seed"])
    config = Settings(args["config"])
    start = nn.utils.parameters_to_vector(policy.parameters()).detach().clone()
    log = fn(policy, optimizer, args["rollout"], config, smooth_loss, generator)
    if log is not None and not isinstance(log, dict):
        raise NotAnAnswer(f"expected a dict of numbers; got {type(log).__name__}")
    if args["keep"] == "log":
        return log and with_graph(log), {}
    networks = {"actor's weights": policy.actor, "critic's weights": policy.critic}
    weights = {name: nn.utils.parameters_to_vector(x.parameters()) for name, x in networks.items()}
    moved = not torch.equal(start, nn.utils.parameters_to_vector(policy.parameters()))
    by = "another optimizer" if moved and not optimizer.steps else "the given optimizer"
    return {**weights, "actions scored": policy.scored, "steps taken by": by}, {}
