"""The driver of `rlhf_step`: tiny models from arrays, and an update that writes down how it was called.

Like `drivers`, it knows no reference and no pitfall, and draws no random numbers of its own.
"""

import torch
from torch import nn

from pgcourse.checks.drivers import driver
from pgcourse.checks.module_drivers import Descent
from pgcourse.ppo import ppo_update
from pgcourse.rlhf import Config, LanguagePolicy

PAD, END = 0, 1


class Reader(nn.Module):
    """A causal model of few numbers: what was read is added up, then squashed: [B, T] -> [B, T, D]."""

    def __init__(self, embedding, context=16):
        super().__init__()
        self.embedding = nn.Parameter(embedding.clone())
        self.pad, self.context = PAD, context

    def forward(self, tokens):
        read = torch.where((tokens != PAD).unsqueeze(-1), self.embedding[tokens], 0.0)
        return (read.cumsum(dim=1) + read).tanh()


class TinyLanguageModel(nn.Module):
    def __init__(self, embedding, head):
        super().__init__()
        self.body, self.head = Reader(embedding), nn.Parameter(head.clone())

    def forward(self, tokens, cache=None):
        never = torch.zeros(self.head.shape[1]).index_fill(0, torch.tensor(PAD), -1e4)
        return self.body(tokens) @ self.head + never


class TinyCritic(nn.Module):
    def __init__(self, embedding, head):
        super().__init__()
        self.body, self.head = Reader(embedding), nn.Parameter(head.clone())

    def forward(self, tokens):
        return self.body(tokens) @ self.head


class TinyRewardModel(nn.Module):
    """score = sum over the masked tokens of a number per token."""

    def __init__(self, worth):
        super().__init__()
        self.worth = nn.Parameter(worth.clone())

    def forward(self, tokens, mask):
        return torch.where(mask, self.worth[tokens], 0.0).sum(dim=1)


class RecordingUpdate:
    """Takes the place of `ppo_update`; with `real`, it also calls it."""

    def __init__(self, expected, real):
        self.expected, self.real, self.calls = expected, real, []

    def __call__(self, policy, optimizer, rollout, config, loss=None, generator=None):
        plain = {k: x.detach().clone() for k, x in rollout.items() if torch.is_tensor(x)}
        graph = [k for k, x in rollout.items() if torch.is_tensor(x) and x.requires_grad]
        given = dict(
            policy=policy, optimizer=optimizer, config=config, loss=loss, generator=generator
        )
        passed = {key: given[key] is right for key, right in self.expected.items()}
        self.calls.append({"rollout": plain, "graph": graph, "passed": passed})
        if self.real:
            return ppo_update(policy, optimizer, rollout, config, generator=generator)
        return {"note": 0.25}


def unmasked(rollout):
    """The rollout with 0 where the mask is False: what stands there is nobody's business."""
    mask = rollout.get("mask")
    if mask is None or mask.dtype != torch.bool:
        return rollout
    return {
        k: torch.where(mask, x, 0.0)
        if x.shape == mask.shape and x.is_floating_point() and k != "mask"
        else x
        for k, x in rollout.items()
    }


@driver
def one_rlhf_step(fn, args, grad):
    """Call fn(policy, reference, reward_model, optimizer, prompts, config, update, loss).

    args : actor, reference (embedding, head), critic (embedding, head), worth (of each token, for the
           reward model), prompts, config (dict), steps (calls in a row), and keep: "rollout" (of the
           last call), "calls" (how often and with what the update was called), "log" (what was
           returned), "frozen" (whether the others were left alone) or "weights" (the actor's after
           a real `ppo_update`)
    """
    policy = LanguagePolicy(TinyLanguageModel(*args["actor"]), TinyCritic(*args["critic"]))
    reference = TinyLanguageModel(*args["reference"])
    reward_model = TinyRewardModel(args["worth"])
    optimizer = Descent(policy.parameters(), 0.5)
    config, loss = Config(end=END, **args["config"]), object()
    expected = dict(
        policy=policy,
        optimizer=optimizer,
        config=config,
        loss=loss,
        generator=config.generator,
    )
    update = RecordingUpdate(expected, real=args["keep"] == "weights")
    frozen = [p.detach().clone() for m in (reference, reward_model) for p in m.parameters()]
    start = [p.detach().clone() for p in policy.parameters()]
    for _ in range(args["steps"]):
        log = fn(policy, reference, reward_model, optimizer, args["prompts"], config, update, loss)
    now = [p for m in (reference, reward_model) for p in m.parameters()]
    calls = update.calls
    if args["keep"] == "weights":
        return torch.cat([p.detach().flatten() for p in policy.parameters()]), {}
    if args["keep"] == "rollout":
        return unmasked(calls[-1]["rollout"]) if calls else {}, {}
    if args["keep"] == "log":
        return log, {}
    if args["keep"] == "calls":
        same = {key: all(c["passed"][key] for c in calls) for key in expected}
        graph = sorted({k for c in calls for k in c["graph"]})
        return {"calls of the update": len(calls), **same, "with gradient": graph}, {}
    return {
        "reference and reward model as before": all(map(torch.equal, frozen, now)),
        "no gradient left on them": not any(p.grad is not None and p.grad.any() for p in now),
        "the policy moved by the update alone": all(map(torch.equal, start, policy.parameters())),
    }, {}
