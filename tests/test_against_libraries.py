"""Our formulas against Stable-Baselines3's, on random data.

Needs the extra `compare`, which nothing else needs, so these are left out unless asked for:
`pip install -e '.[compare]'`, then `make test ARGS="-m compare"`.
"""

import numpy as np
import pytest
import torch

from pgcourse.estimators import gae
from pgcourse.losses import ppo_clip_loss

pytestmark = pytest.mark.compare


@pytest.mark.parametrize("seed", range(5))
def test_gae_equals_stable_baselines3s(seed):
    from gymnasium import spaces
    from stable_baselines3.common.buffers import RolloutBuffer

    rng = np.random.default_rng(seed)
    steps, envs, gamma, lam = 37, 5, 0.97, 0.9
    rew, val = rng.normal(size=(2, steps, envs)).astype(np.float32)
    ended = rng.random((steps, envs)) < 0.15
    last_val = rng.normal(size=envs).astype(np.float32)
    buffer = RolloutBuffer(
        steps, spaces.Box(-1, 1, (1,)), spaces.Discrete(2), "cpu", lam, gamma, n_envs=envs
    )
    starts = np.concatenate([np.ones((1, envs), bool), ended[:-1]])
    for t in range(steps):
        buffer.add(
            np.zeros((envs, 1)),
            np.zeros((envs, 1)),
            rew[t],
            starts[t],
            torch.tensor(val[t]),
            torch.zeros(envs),
        )
    buffer.compute_returns_and_advantage(torch.tensor(last_val), ended[-1])
    val, rew, ended = map(torch.tensor, (val, rew, ended))
    next_val = torch.cat([val[1:], torch.tensor(last_val)[None]])
    ours = gae(rew, val, next_val, ended, ended, gamma, lam)
    torch.testing.assert_close(ours, torch.tensor(buffer.advantages), atol=1e-5, rtol=1e-5)
    torch.testing.assert_close(ours + val, torch.tensor(buffer.returns), atol=1e-5, rtol=1e-5)


def test_one_ppo_update_moves_the_weights_as_stable_baselines3s_does():
    """The same network, data and settings, one full batch: the same weights after the step."""
    from stable_baselines3 import PPO

    n_envs, n_steps = 4, 16
    model = PPO(
        "MlpPolicy", "CartPole-v1", n_steps=n_steps * n_envs, batch_size=n_steps * n_envs,
        n_epochs=1, learning_rate=1e-2, clip_range=0.02, ent_coef=0.01, vf_coef=0.5, max_grad_norm=0.5, seed=0,
        device="cpu",
    )  # fmt: skip
    model.learn(n_steps * n_envs)  # fills its buffer and makes one update: ratio 1, nothing clips
    buffer, policy = model.rollout_buffer, model.policy
    obs = torch.tensor(buffer.observations).reshape(-1, 4)
    act = torch.tensor(buffer.actions).reshape(-1).long()
    adv = torch.tensor(buffer.advantages).reshape(-1)
    ret = torch.tensor(buffer.returns).reshape(-1)
    logp_old = torch.tensor(buffer.log_probs).reshape(-1)

    class Ours:
        def parameters(self):
            return policy.parameters()

        def evaluate(self, obs, act):
            val, logp, ent = policy.evaluate_actions(obs.squeeze(1), act.squeeze(1))
            return logp.unsqueeze(1), ent.unsqueeze(1), val

    # a second update by each side from the same weights and optimizer state
    import copy

    from pgcourse import ppo

    state, optimizer_state = (
        copy.deepcopy(policy.state_dict()),
        copy.deepcopy(policy.optimizer.state_dict()),
    )
    with torch.no_grad():
        val_old = policy.predict_values(obs).squeeze(-1)
    model.train()
    theirs = [p.detach().clone() for p in policy.parameters()]
    policy.load_state_dict(state)
    policy.optimizer.load_state_dict(optimizer_state)

    # one step of one environment a column: SB3's minibatches are of single steps
    column = {"obs": obs, "act": act, "logp": logp_old, "adv": adv, "ret": ret, "val": val_old}
    rollout = {key: x.unsqueeze(1) for key, x in column.items()}
    config = ppo.Config(
        epochs=1, minibatches=1, clip=0.02, entropy_coef=0.01, value_coef=0.5, max_grad_norm=0.5
    )
    log = ppo.ppo_update(Ours(), policy.optimizer, rollout, config)
    for a, b in zip(policy.parameters(), theirs, strict=True):
        torch.testing.assert_close(a.detach(), b, atol=2e-4, rtol=1e-3)
    assert log["clip_fraction"] > 0  # the clip was at work


def test_clip_loss_equals_the_formula_in_stable_baselines3():
    torch.manual_seed(0)
    logp, logp_old, adv = torch.randn(3, 1000) * 0.3
    ratio = torch.exp(logp - logp_old)
    theirs = -torch.min(adv * ratio, adv * torch.clamp(ratio, 1 - 0.2, 1 + 0.2)).mean()
    torch.testing.assert_close(ppo_clip_loss(logp, logp_old, adv, 0.2), theirs)
