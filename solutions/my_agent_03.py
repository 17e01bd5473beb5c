"""The agent after lesson 3: REINFORCE with a critic as its baseline. Plain Gymnasium and torch."""

import torch


def network(n_in, n_out):
    return torch.nn.Sequential(
        torch.nn.Linear(n_in, 32), torch.nn.Tanh(), torch.nn.Linear(32, n_out)
    )


def draw(probabilities):
    return torch.multinomial(probabilities, 1).item()


def train(env, steps, gamma=0.99, seed=0):
    """Learn for at least `steps` steps; returns policy, obs -> probabilities, and value, obs -> number."""
    torch.manual_seed(seed)
    actor = network(env.observation_space.shape[0], env.action_space.n)
    critic = network(env.observation_space.shape[0], 1)
    actor_opt = torch.optim.Adam(actor.parameters(), lr=0.01)
    critic_opt = torch.optim.Adam(critic.parameters(), lr=0.03)

    def policy(obs):
        with torch.no_grad():
            return torch.softmax(actor(torch.as_tensor(obs, dtype=torch.float32)), dim=-1)

    def value(obs):
        with torch.no_grad():
            return critic(torch.as_tensor(obs, dtype=torch.float32)).item()

    played = 0
    env.reset(seed=seed)
    while played < steps:
        observations, actions, returns = [], [], []
        while len(actions) < 64:  # a batch: whole episodes, one after another
            rewards, over = [], False
            obs, _ = env.reset()
            while not over:
                act = draw(policy(obs))
                observations.append(torch.as_tensor(obs, dtype=torch.float32))
                actions.append(act)
                obs, rew, terminated, truncated, _ = env.step(act)
                rewards.append(float(rew))
                over = terminated or truncated
            to_go, ahead = [], 0.0
            for rew in reversed(rewards):
                ahead = rew + gamma * ahead
                to_go.append(ahead)
            returns += reversed(to_go)
            played += len(rewards)
        seen, ret = torch.stack(observations), torch.tensor(returns)
        logp = torch.log_softmax(actor(seen), dim=-1)
        logp = logp[torch.arange(len(actions)), torch.tensor(actions)]
        adv = ret - critic(seen).squeeze(-1).detach()
        adv = (adv - adv.mean()) / (adv.std() + 1e-8)
        loss = -(logp * adv).mean()
        actor_opt.zero_grad()
        loss.backward()
        actor_opt.step()
        for _ in range(10):  # after the policy has used it
            loss = (critic(seen).squeeze(-1) - ret).square().mean()
            critic_opt.zero_grad()
            loss.backward()
            critic_opt.step()
    return policy, value
