"""The driver of `rlhf_step`: tiny models from arrays, and an update that writes down how it was called.

Like `drivers`, it knows no reference and no pitfall, and draws no random numbers of its own.
"""

import torch
from torch import nn

from pgcourse.checks.drivers import driver
from pgcourse.checks.module_drivers import Descent
from pgcourse.losses import ppo_clip_loss
from pgcourse.ppo import ppo_update
from pgcourse.rlhf import Config, LanguagePolicy

PAD, END = 0, 1


class Dropout(nn.Module):
    """Stands in for nn.Dropout: in training mode it clears numbers, always the same ones."""

    def forward(self, x):
        if not self.training:
            return x
        kept = torch.arange(x.numel()).reshape(x.shape) % 3 > 0
        return torch.where(kept, 1.5 * x, 0.0)


class Reader(nn.Module):
    """A causal model of few numbers: what was read is added up, then squashed: [B, T] -> [B, T, D]."""

    def __init__(self, embedding, context=16):
        super().__init__()
        self.embedding = nn.Parameter(embedding.clone())
        self.pad, self.context, self.dropout = PAD, context, Dropout()

    def forward(self, tokens):
        read = torch.where((tokens != PAD).unsqueeze(-1), self.embedding[tokens], 0.0)
        return self.dropout((read.cumsum(dim=1) + read).tanh())


class TinyLanguageModel(nn.Module):
    def __init__(self, embedding, head):
        super().__init__()
        self.body, self.head = Reader(embedding), nn.Parameter(head.clone())
        self.never = torch.zeros(head.shape[1]).index_fill(0, torch.tensor(PAD), -1e4)

    def forward(self, tokens, cache=None):
        return self.body(tokens) @ self.head + self.never


class TinyCritic(nn.Module):
    def __init__(self, embedding, head):
        super().__init__()
        self.body, self.head = Reader(embedding), nn.Parameter(head.clone())

    def forward(self, tokens):
        return self.body(tokens) @ self.head


class TinyRewardModel(nn.Module):
    """score = sum over the answer's tokens of a number per token; the prompt's count one half."""

    def __init__(self, worth):
        super().__init__()
        self.worth, self.dropout = nn.Parameter(worth.clone()), Dropout()

    def forward(self, tokens, mask):
        weight = torch.where(mask, 1.0, 0.5 * (tokens != PAD))
        return (self.dropout(self.worth[tokens]) * weight).sum(dim=1)


def given_loss(logp, logp_old, adv, clip, mask=None):
    """The loss that is passed in: lesson 5's under another identity, so that it shows who was handed on."""
    return ppo_clip_loss(logp, logp_old, adv, clip, mask)


class RecordingUpdate:
    """Takes the place of `ppo_update`; with `real`, it also calls it; with `move`, the policy moves."""

    def __init__(self, expected, real, move):
        self.expected, self.real, self.move, self.calls = expected, real, move, []
        self.began = expected["config"].generator.get_state()

    def __call__(self, policy, optimizer, rollout, config, loss=None, generator=None):
        plain = {k: x.detach().clone() for k, x in rollout.items() if torch.is_tensor(x)}
        graph = [k for k, x in rollout.items() if torch.is_tensor(x) and x.requires_grad]
        given = dict(
            policy=policy, optimizer=optimizer, config=config, loss=loss, generator=generator
        )
        passed = {key: given[key] is right for key, right in self.expected.items()}
        drawn = not torch.equal(self.began, self.expected["config"].generator.get_state())
        self.calls.append({"rollout": plain, "graph": graph, "passed": passed, "drawn": drawn})
        if self.real:
            return ppo_update(policy, optimizer, rollout, config, generator=generator)
        with torch.no_grad():
            for p in policy.parameters() if self.move else ():
                p.add_(0.1)
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
           returned, after an update that moved the policy), "frozen" (whether the others were left
           alone) or "weights" (the policy's after a real `ppo_update`)

    The models come in evaluation mode and hold a dropout: whoever turns it on gets other numbers.
    """
    policy = LanguagePolicy(TinyLanguageModel(*args["actor"]), TinyCritic(*args["critic"]))
    reference = TinyLanguageModel(*args["reference"])
    reward_model = TinyRewardModel(args["worth"])
    for model in (policy, reference, reward_model):
        model.eval()
    optimizer = Descent(policy.parameters(), 0.5)
    config, loss = Config(end=END, **args["config"]), given_loss
    expected = dict(
        policy=policy,
        optimizer=optimizer,
        config=config,
        loss=loss,
        generator=config.generator,
    )
    keep = args["keep"]
    update = RecordingUpdate(expected, real=keep == "weights", move=keep == "log")
    before = [[p.detach().clone() for p in m.parameters()] for m in (reference, reward_model)]
    start = [p.detach().clone() for p in policy.parameters()]
    for _ in range(args["steps"]):
        log = fn(policy, reference, reward_model, optimizer, args["prompts"], config, update, loss)
    calls = update.calls
    if keep == "weights":
        return torch.cat([p.detach().flatten() for p in policy.parameters()]), {}
    if keep == "rollout":
        return unmasked(calls[-1]["rollout"]) if calls else {}, {}
    if keep == "log":
        return log, {}
    if keep == "calls":
        same = {key: all(c["passed"][key] for c in calls) for key in expected}
        graph = sorted({k for c in calls for k in c["graph"]})
        now = config.generator.get_state()  # without a call the end tells
        drawn = calls[0]["drawn"] if calls else not torch.equal(update.began, now)
        return {
            "calls of the update": len(calls),
            **same,
            "with gradient": graph,
            "answers drawn with config.generator": drawn,
            "the policy moved": not all(map(torch.equal, start, policy.parameters())),
        }, {}
    now = [[*m.parameters()] for m in (reference, reward_model)]
    as_before = [all(map(torch.equal, *pair)) for pair in zip(before, now, strict=True)]
    return {
        "the reference as before": as_before[0],
        "the reward model as before": as_before[1],
        "no gradient left on them": not any(
            p.grad is not None and p.grad.any() for p in (*now[0], *now[1])
        ),
        "the policy moved by the update alone": all(map(torch.equal, start, policy.parameters())),
    }, {}
