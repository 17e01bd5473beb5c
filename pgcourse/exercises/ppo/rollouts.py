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
    (w1, b1), (w2, b2) = actor
    logits = torch.tanh(obs @ w1.T + b1) @ w2.T + b2
    logp = torch.log_softmax(logits, -1).gather(-1, act.unsqueeze(-1)).squeeze(-1)
    (w1, b1), (w2, b2) = critic
    val = (torch.tanh(obs @ w1.T + b1) @ w2.T + b2).squeeze(-1)
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
