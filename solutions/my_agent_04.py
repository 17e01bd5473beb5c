"""The agent after lesson 4: an actor and a critic that bootstraps. Plain Gymnasium and torch."""

import torch


def network(n_in, n_out):
    return torch.nn.Sequential(
        torch.nn.Linear(n_in, 32), torch.nn.Tanh(), torch.nn.Linear(32, n_out)
    )


def draw(probabilities):
    return torch.multinomial(probabilities, 1).item()


def tensor(obs):
    return torch.as_tensor(obs, dtype=torch.float32)


def gae(rew, val, next_val, terminated, ended, gamma, lam=0.9):
    """Lesson 4's recursion: no bootstrap where the task ended, no leak where an episode did."""
    adv, ahead = torch.zeros_like(rew), 0.0
    for t in reversed(range(len(rew))):
        delta = rew[t] + gamma * next_val[t] * (not terminated[t]) - val[t]
        ahead = delta + gamma * lam * ahead * (not ended[t])
        adv[t] = ahead
    return adv


def train(env, steps, gamma=0.99, seed=0):
    """Learn for at least `steps` steps; returns policy, obs -> probabilities, and value, obs -> number."""
    torch.manual_seed(seed)
    actor = network(env.observation_space.shape[0], env.action_space.n)
    critic = network(env.observation_space.shape[0], 1)
    actor_opt = torch.optim.Adam(actor.parameters(), lr=0.01)
    critic_opt = torch.optim.Adam(critic.parameters(), lr=0.03)

    def policy(obs):
        with torch.no_grad():
            return torch.softmax(actor(tensor(obs)), dim=-1)

    def value(obs):
        with torch.no_grad():
            return critic(tensor(obs)).item()

    played = 0
    obs, _ = env.reset(seed=seed)
    while played < steps:
        rows = []
        for _ in range(64):  # a rollout: it may cut an episode, and the next one goes on from there
            act = draw(policy(obs))
            next_obs, rew, terminated, truncated, _ = env.step(act)
            ended = terminated or truncated
            rows.append((tensor(obs), act, float(rew), tensor(next_obs), terminated, ended))
            obs = env.reset()[0] if ended else next_obs
        played += len(rows)
        seen, act, rew, following, terminated, ended = zip(*rows, strict=True)
        seen, act, rew = torch.stack(seen), torch.tensor(act), torch.tensor(rew)
        with torch.no_grad():  # constants, both of them
            val = critic(seen).squeeze(-1)
            next_val = critic(torch.stack(following)).squeeze(-1)
            adv = gae(rew, val, next_val, terminated, ended, gamma)
            target = adv + val
            adv = (adv - adv.mean()) / (adv.std() + 1e-8)
        logp = torch.log_softmax(actor(seen), dim=-1)[torch.arange(len(act)), act]
        loss = -(logp * adv).mean()
        actor_opt.zero_grad()
        loss.backward()
        actor_opt.step()
        for _ in range(10):
            loss = (critic(seen).squeeze(-1) - target).square().mean()
            critic_opt.zero_grad()
            loss.backward()
            critic_opt.step()
    return policy, value
