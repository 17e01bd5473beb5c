"""Networks, rollouts of theirs and configurations, as plain data for `ppo_update`."""

import torch

from pgcourse.checks.make_inputs import integers, masks, normal


def agent(g, T, B, stale=0.0, mask=None, **config):
    """Networks, a rollout of theirs (logp from a policy `stale` away) and a configuration."""
    sizes = ((3, 8), (8, 3)), ((3, 6), (6, 1))
    actor, critic = (
        [(normal(g, n_out, n_in, scale=0.8), normal(g, n_out, scale=0.3)) for n_in, n_out in net]
        for net in sizes
    )
    obs, act = normal(g, T, B, 3), integers(g, 3, T, B)
    logp, val = said(actor, critic, obs, act)
    adv = 1.0 + 2.0 * normal(g, T, B)
    rollout = dict(
        obs=obs,
        act=act,
        logp=logp - stale * normal(g, T, B).abs(),
        val=val + stale * normal(g, T, B),
        adv=adv,
        ret=val + adv,
    )
    if mask is not None:
        junk = {"adv": 50.0, "ret": -20.0, "logp": -7.0, "val": 9.0}
        rollout |= {key: torch.where(mask, rollout[key], x) for key, x in junk.items()}
        rollout["mask"] = mask
    plain = dict(
        epochs=1,
        minibatches=1,
        clip=0.2,
        value_clip=float("inf"),
        value_coef=0.5,
        entropy_coef=0.05,
        max_grad_norm=100.0,
        target_kl=float("inf"),
    )
    return dict(
        actor=actor,
        critic=critic,
        rollout=rollout,
        config=plain | config,
        lr=0.1,
        seed=int(integers(g, 10_000, 1)),
        left_over=False,
        keep="weights",
    )


def said(actor, critic, obs, act):
    """The log-probabilities and the values of these networks."""
    (w1, b1), (w2, b2) = actor
    logits = torch.tanh(obs @ w1.T + b1) @ w2.T + b2
    logp = torch.log_softmax(logits, -1).gather(-1, act.unsqueeze(-1)).squeeze(-1)
    (w1, b1), (w2, b2) = critic
    return logp, (torch.tanh(obs @ w1.T + b1) @ w2.T + b2).squeeze(-1)


def large(g, size=100.0, fallen=None, **config):
    """Observations, values, returns and log-probabilities of hundreds (times size / 100); how far logp has fallen.

    With a larger size a ratio would be lost in the digits of 32 bits; one that is 0 is not.
    """
    args = agent(g, 4, 3, **config)
    rollout = args["rollout"]
    rollout["obs"] *= 300.0
    for net, scale in (("actor", size), ("critic", 300.0)):
        (w1, b1), (w2, b2) = args[net]
        args[net] = [(w1 / 300.0, b1), (scale * w2, scale * b2)]
    for act in range(3):  # of the three actions the least probable one
        chosen = torch.full_like(rollout["act"], act)
        logp, val = said(args["actor"], args["critic"], rollout["obs"], chosen)
        rarer = logp < rollout["logp"] if act else torch.ones_like(logp, dtype=torch.bool)
        rollout["act"], rollout["logp"] = (
            torch.where(rarer, x, rollout[key]) for key, x in (("act", chosen), ("logp", logp))
        )
    rollout["logp"] = rollout["logp"] + (0.3 * normal(g, 4, 3) if fallen is None else fallen)
    rollout["val"] = val + 100.0 * normal(g, 4, 3)
    rollout["adv"] = 300.0 * rollout["adv"]
    rollout["ret"] = rollout["val"] + rollout["adv"]
    args["config"]["max_grad_norm"] = float("inf")
    return args


def fallen_far(g):
    """The log of a KL above 100, where nothing else is clipped in one column of large log-probabilities."""
    return large(g, 300.0, torch.tensor([0.1, 200.0, 200.0])) | dict(keep="log")


def better_actions_more_often(g):
    """What was good is more probable already, and hardly anything else counts: policy loss and total are below 0."""
    args = agent(g, 4, 3, value_coef=1e-3, entropy_coef=0.5)
    adv = args["rollout"]["adv"]
    args["rollout"]["logp"] -= 0.15 * (adv - adv.mean()).sign()
    return args


def third_column_far_away(g, epochs=3, target_kl=0.9):
    """Fresh data but for the third column in the first epoch's order: only its KL is past the limit."""
    args = agent(g, 3, 4, epochs=epochs, minibatches=4, target_kl=target_kl) | dict(lr=0.05)
    order = torch.randperm(4, generator=torch.Generator().manual_seed(args["seed"]))
    args["rollout"]["logp"][:, order[2]] -= (
        1.45  # k3 is 1.81, and the mean of three below the limit
    )
    return args


def just_beyond_the_limit(g, epochs=2, target_kl=0.6):
    """The KL is past the limit, by a fifth, before any step."""
    args = agent(g, 3, 2, epochs=epochs, target_kl=target_kl)
    args["rollout"]["logp"] -= 1.0  # k3 is 0.718
    return args


def moved_both_ways(g):
    """Ratios of 0.41, 1.28 and 0.81: the largest |rho - 1| is below 1, and only log 0.81 is outside ±0.2."""
    args = agent(g, 4, 3) | dict(keep="log")
    args["rollout"]["logp"] += torch.tensor([0.9, -0.25, 0.21])
    return args


def padding_far_away(g):
    """The padding is past the KL limit, the data is not."""
    return agent(g, 5, 4, epochs=2, target_kl=0.5, mask=masks(g, 4, 5).T) | dict(lr=0.05)


def slowly_drifting(g):
    """The KL passes the limit after some steps, in the middle of the update."""
    return agent(g, 4, 4, epochs=10, entropy_coef=0.0, target_kl=0.01) | dict(lr=0.3)
