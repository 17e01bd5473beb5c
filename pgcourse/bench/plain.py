"""The peer of the REINFORCE rows: as in textbooks, one environment and one episode for each update.

Settings of the REINFORCE in the PyTorch examples (a hidden layer of 128 with dropout 0.6, gamma 0.99,
learning rate 1e-2, returns standardized), written anew with torch.distributions and torch.optim.
"""

import gymnasium as gym
import torch
from torch import nn

from pgcourse.bench.solve import PeerPolicy

GAMMA, LR, HIDDEN, DROPOUT, MAX_STEPS = 0.99, 1e-2, 128, 0.6, 300_000


def reinforce(env_name, seed, until):
    """Train until `until.look` is satisfied."""
    torch.manual_seed(seed)
    env = gym.make(env_name)
    n_obs, n_act = env.observation_space.shape[0], env.action_space.n
    net = nn.Sequential(
        nn.Linear(n_obs, HIDDEN), nn.Dropout(DROPOUT), nn.ReLU(), nn.Linear(HIDDEN, n_act)
    )
    optimizer = torch.optim.Adam(net.parameters(), LR)
    steps, lengths, solved = 0, [], False

    @torch.no_grad()
    def decide(obs):
        net.eval()  # without dropout
        return net(obs).argmax(-1)

    while steps < MAX_STEPS and not solved:
        net.train()
        logps, rewards, ended = [], [], False
        obs, _ = env.reset(seed=seed if steps == 0 else None)
        while not ended:
            policy = torch.distributions.Categorical(logits=net(torch.from_numpy(obs)))
            action = policy.sample()
            obs, reward, terminated, truncated, _ = env.step(action.item())
            logps.append(policy.log_prob(action))
            rewards.append(reward)
            ended = terminated or truncated
        returns, ret = [], 0.0
        for reward in reversed(rewards):
            ret = reward + GAMMA * ret
            returns.insert(0, ret)
        returns = torch.tensor(returns)
        returns = (returns - returns.mean()) / (returns.std() + 1e-8)
        loss = -(torch.stack(logps) * returns).sum()
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        steps += len(rewards)
        lengths.append(sum(rewards))
        solved = until.look(PeerPolicy(decide), steps, sum(lengths[-20:]) / len(lengths[-20:]))
