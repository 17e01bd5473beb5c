"""REINFORCE's estimate of the tabular policy gradient, from whole episodes."""

import torch

from pgcourse.checks.core import Case, Exercise
from pgcourse.checks.edits import edit, mistake, telltale
from pgcourse.checks.make_inputs import integers, normal
from pgcourse.estimators import discounted_returns, reinforce_surrogate_gradient
from pgcourse.exercises.families import standardized
from pgcourse.exercises.policy_gradient_theorem.scores import RANDOM_WHY, scores_by

RETURNS = "discounted_returns(rewards, torch.zeros(len(rewards), dtype=torch.bool), gamma)"
EARLIER = "discounted_returns(rewards.flip(0), torch.zeros(len(rewards), dtype=torch.bool), gamma).flip(0)"
WEIGHT = "gamma**t * ret[t]"
DOWN, UP = f"grad[s] -= {WEIGHT} * pi[s]", f"grad[s, a] += {WEIGHT}"
POWERS = "(gamma ** torch.arange(len(rewards), dtype=rewards.dtype))"
STEPS = "sum(len(rewards) for _, _, rewards in episodes)"
VISITS = "torch.bincount(torch.cat([states for states, _, _ in episodes]), minlength=len(theta))"


def weight(new):
    return edit(WEIGHT, f"{new}", all=True)


def returns(new, use=()):
    """Other returns; the factor gamma^t stays."""
    return edit("for t, (s, a)", f"ret = {new}\nfor t, (s, a)", use=use)


def score(new, use=()):
    return edit(f"{DOWN}\n{UP}", f"grad[s] += {WEIGHT} * ({new})", use=use)


def another(state):
    return edit(DOWN, f"s = {state}\n{DOWN}")


def average(new):
    return edit("grad / len(episodes)", new)


def batch(new):
    """Other episodes, where N stays what it was or becomes theirs."""
    return edit("grad = torch", f"episodes = {new}\ngrad = torch")


def one_batch(new):
    return (
        edit("for states, actions, rewards in episodes", f"for states, actions, rewards in {new}"),
    )


def standard(correction):
    return returns(f"standardized(ret, {correction})", (standardized,))


def leaks(theta, episodes, gamma):
    """The next episode leaks in, but t starts anew in each."""
    pi, grad, after = torch.softmax(theta, -1), torch.zeros_like(theta), 0.0
    for states, actions, rewards in reversed(episodes):
        for t in reversed(range(len(rewards))):
            after = rewards[t] + gamma * after
            s, a = states[t], actions[t]
            grad[s] -= gamma**t * after * pi[s]
            grad[s, a] += gamma**t * after
    return grad / len(episodes)


def repeated_lost(theta, episodes, gamma):
    grad, pi = torch.zeros_like(theta), torch.softmax(theta, -1)
    for states, actions, rewards in episodes:
        ret = discounted_returns(rewards, torch.zeros(len(rewards), dtype=torch.bool), gamma)
        rows = {}
        for t, (s, a) in enumerate(zip(states.tolist(), actions.tolist(), strict=True)):
            rows[s] = -(gamma**t) * ret[t] * pi[s]
            rows[s][a] += gamma**t * ret[t]
        for s, row in rows.items():
            grad[s] += row
    return grad / len(episodes)


def softmax_over_states(theta, episodes, gamma):
    leaf = theta.clone().requires_grad_()
    for states, actions, rewards in episodes:
        ret = discounted_returns(rewards, torch.zeros(len(rewards), dtype=torch.bool), gamma)
        weights = gamma ** torch.arange(len(ret), dtype=ret.dtype) * ret
        (torch.log_softmax(leaf, 0)[states, actions] * weights).sum().backward()
    return leaf.grad / len(episodes)


JOINED = "[tuple(torch.cat(parts) for parts in zip(*episodes, strict=True))]"
SHORTEST = "min(len(rewards) for _, _, rewards in episodes)"
FIRST_VISIT = "(s, a) in [*zip(states[:t], actions[:t], strict=True)]"


def some_episodes(g, S, A, lengths, gamma=0.9, dtype=torch.float64):
    episodes = [(integers(g, S, T), integers(g, A, T), normal(g, T, dtype=dtype)) for T in lengths]
    return dict(theta=normal(g, S, A, dtype=dtype), episodes=episodes, gamma=gamma)


def by_hand(theta, *episodes, dtype=torch.float32, gamma=0.5):
    def inputs(g):
        steps = [
            (torch.tensor(s), torch.tensor(a), torch.tensor(r, dtype=dtype)) for s, a, r in episodes
        ]
        return dict(theta=torch.tensor(theta, dtype=dtype), episodes=steps, gamma=gamma)

    return inputs


def of_lengths(S, A, *lengths, **rest):
    return lambda g: some_episodes(g, S, A, lengths, **rest)


def large(g):
    return some_episodes(g, 2, 2, [3, 2]) | dict(
        theta=torch.tensor([[1000.0, 1001.0], [1003.0, 1000.0]]).double()
    )


THOUSANDS = by_hand(
    [[0.0, 1.0], [-1.0, 0.0]],
    ([0, 1, 1], [0, 1, 0], [1000.0, -4000.0, 2000.0]),
    ([1], [1], [3000.0]),
)

# fmt: off
EXERCISE = Exercise(
    reference=reinforce_surrogate_gradient,
    parts={"one step": 1, "one episode": 2, "several episodes": 2, "no episode": 1, "clean": 1},
    cases=[
        Case("one step", by_hand([[0.0, 0.0]], ([0], [0], [2.0])), "one step"),
        Case("one step of three actions", of_lengths(2, 3, 1), "one step"),
        Case("two steps", by_hand([[0.0, 0.0], [0.0, 0.0]], ([0, 1], [0, 1], [1.0, 4.0])), "one episode"),
        Case("states seen twice", of_lengths(2, 2, 7), "one episode"),
        Case("no discount", of_lengths(3, 2, 5, gamma=1.0), "one episode"),
        Case("seven other steps", of_lengths(2, 2, 7), "one episode"),
        Case("three episodes", of_lengths(3, 2, 2, 5, 1), "several episodes"),
        Case("two short episodes", of_lengths(2, 3, 3, 2), "several episodes"),
        Case("large preferences", large, "several episodes"),
        Case("no episode at all", of_lengths(2, 2), "no episode", raises=True),
        Case("float32", of_lengths(4, 3, 6, 3, 4, 1, dtype=torch.float32), "several episodes"),
        Case("rewards in the thousands", THOUSANDS, "several episodes"),
        Case("a discount factor of 0", by_hand([[0.0, 0.0], [0.0, 0.0]], ([0, 1], [0, 1], [1.0, 4.0]), gamma=0.0),
             "one episode"),
    ],
    mistakes=[
        mistake("gamma^t missing",
                "The factor gamma^t is missing: then this is no estimate of the gradient of J = E[G_0].",
                weight("ret[t]"),
                why="Deep-learning code leaves it out on purpose and accepts the bias; here it is measured."),
        mistake("total return",
                "Every step is credited with the whole return G_0. Unbiased too, but usually noisier: use G_t.",
                weight("ret[0]")),
        mistake("gamma^t on the total return",
                "It is gamma^t G_0: the whole return of the episode in place of what followed step t.",
                weight("gamma**t * ret[0]")),
        mistake("powers by the logarithm",
                "It takes exp(t log gamma) for gamma^t: with gamma = 0 and t = 0 that is nan, where gamma^0 is 1.",
                weight("torch.exp(t * torch.log(torch.tensor(gamma, dtype=ret.dtype))) * ret[t]")),
        mistake("division by gamma^t", "It divides by gamma^t: with gamma = 0 that is 0 / 0. Sum the rewards backwards.",
                edit(RETURNS, f"({POWERS} * rewards).flip(0).cumsum(0).flip(0) / {POWERS}")),
        mistake("gamma 0 replaced", "gamma = 0 is replaced by {number:.4g}: with 0, only an episode's first step counts.",
                edit("grad = torch", "gamma = gamma or {number=0.99}\ngrad = torch")),
        mistake("gamma^t twice", "The factor gamma^t counts twice.", weight("gamma ** (2 * t) * ret[t]")),
        mistake("discounted once more", "The first step, t = 0, is multiplied by gamma already; its factor is gamma^0 = 1.",
                weight("gamma ** (t + 1) * ret[t]")),
        mistake("discounted from the end", "The factor gamma^t counts from the end of the episode, not from its beginning.",
                weight("gamma ** (len(ret) - 1 - t) * ret[t]"), also=(weight("gamma ** (len(ret) - t) * ret[t]"),)),
        mistake("rewards not discounted", "The rewards to go are summed without their discount.",
                edit(RETURNS, RETURNS.replace("gamma", "1.0"))),
        mistake("gamma ignored", "gamma does not enter at all.", edit("grad = torch", "gamma = 1.0\ngrad = torch")),
        mistake("immediate reward only", "Each step is credited with its own reward; what follows does not count.",
                weight("gamma**t * rewards[t]"), also=(weight("rewards[t]"),)),
        mistake("one step ahead", "Each step is credited with two rewards; what follows after them does not count.",
                weight("gamma**t * (rewards[t] + gamma * rewards[t + 1 : t + 2].sum())")),
        mistake("past rewards", "Each step is credited with the rewards up to it, not with those that follow.",
                edit(RETURNS, EARLIER), also=((edit(RETURNS, EARLIER), weight("ret[t]")),
                (edit(RETURNS, "(gamma ** torch.arange(len(rewards), dtype=rewards.dtype) * rewards).cumsum(0)"), weight("ret[t]")))),
        mistake("last step lost", "The last step of each episode is left out.", weight("gamma**t * ret[t] * (t < len(ret) - 1)")),
        mistake("last reward lost", "The last reward of each episode is missing from its returns.",
                returns("ret - gamma ** (len(ret) - 1.0 - torch.arange(len(ret), dtype=ret.dtype)) * rewards[-1]")),
        mistake("own reward missing", "The reward of step t itself is missing from G_t, which starts with r_t.",
                weight("gamma**t * (ret[t] - rewards[t])"),
                also=(weight("(ret[t] - rewards[t])"), returns("torch.cat([ret[1:], torch.zeros_like(ret[:1])])"))),
        mistake("returns not used", "The returns do not enter: every action taken becomes more probable, good or bad.",
                weight("gamma**t"), also=(weight("1.0"),)),
        mistake("normalized returns", "It standardizes the returns: another estimate, whose scale says nothing.",
                standard(0), also=(standard(1), (standard(0), weight("ret[t]")), (standard(1), weight("ret[t]")))),
        mistake("mean return subtracted",
                "It subtracts a mean return or reward: a baseline, which is lesson 3's subject. This one knows the "
                "sample's own return, and is biased.",
                returns("ret - ret.mean()"), also=(
                    returns("ret - rewards.mean()"), (returns("ret - ret.mean()"), weight("ret[t]")),
                    (edit("grad = torch", "mean = torch.cat([rewards for _, _, rewards in episodes]).mean()\ngrad = torch"),
                     returns("ret - mean")),
                    (edit("grad = torch", f"mean = torch.cat([{RETURNS} for _, _, rewards in episodes]).mean()\ngrad = torch"),
                     returns("ret - mean")),
                    (edit("grad = torch", f"mean = torch.stack([({RETURNS})[0] for _, _, rewards in episodes]).mean()\ngrad = torch"),
                     returns("ret - mean")))),
        mistake("mean over steps", "It divides by a number of steps, each episode's own or that of all; the average is over EPISODES alone.",
                average(f"grad / {STEPS}"), why="The number of steps is random, too: dividing by it biases the estimate.",
                also=(weight("gamma**t * ret[t] / len(ret)"), average("grad / len(rewards)"))),
        mistake("divided by N - 1", "It divides by N - 1; that is for variances.", average("grad / max(len(episodes) - 1, 1)")),
        mistake("divided by the visits", "Each state's row is divided by its visits; the average is over EPISODES.",
                average(f"grad / {VISITS}.clamp(min=1).unsqueeze(1)")),
        mistake("sum over episodes", "It does not divide by the number of episodes.", average("grad")),
        mistake("sign", "It points downhill: the sign is reversed.", average("-grad / len(episodes)")),
        mistake("last episode only", "Only the last episode counts.", batch("episodes[-1:]"),
                also=(one_batch("episodes[-1:]"),)),
        mistake("first episode only", "Only the first episode counts: does `return` stand inside the loop?",
                batch("episodes[:1]"), also=(one_batch("episodes[:1]"),)),
        mistake("shortest episode's length", "It cuts all episodes to the length of the shortest; T varies.",
                batch(f"[tuple(part[:{SHORTEST}] for part in episode) for episode in episodes]")),
        mistake("episodes run together", "The episodes are joined into one: rewards of the next leak into the one before.",
                *one_batch(JOINED), also=(leaks, (*one_batch(JOINED), weight("ret[t]")))),
        mistake("time runs on", "t counts on from one episode to the next; each begins with t = 0.",
                edit("grad = torch", "before = 0\ngrad = torch"), edit(UP, f"{UP}\nbefore += len(ret) * (t == len(ret) - 1)"),
                weight("gamma ** (before + t) * ret[t]")),
        *scores_by(score, HOT="torch.eye(theta.shape[1], dtype=theta.dtype)[a]", PI="pi[s]", THETA="theta[s]", ACTION="a"),
        mistake("softmax over states", "The policy is normalized over states; the actions are on the last axis.",
                softmax_over_states, also=(edit("softmax(theta)", "torch.softmax(theta, dim=0)"),)),
        mistake("all rows pulled down", "-pi is added to the rows of all states; only the state that was visited has a score.",
                edit(DOWN, f"grad -= {WEIGHT} * pi")),
        mistake("another step's state", "The score goes into the row of another step's state; it belongs to s_t, in which the action was taken.",
                another("states[min(t + 1, len(ret) - 1)]"), also=(another("states[(t + 1) % len(ret)]"), another("states[max(t - 1, 0)]"),
                another("states[t - 1]"), edit(DOWN, f"if t + 1 == len(ret):\n    continue\ns = states[t + 1]\n{DOWN}"))),
        mistake("another step's action", "The score is that of another step's action; G_t belongs to a_t.",
                edit(DOWN, f"a = actions[(t + 1) % len(ret)]\n{DOWN}"), also=(edit(DOWN, f"a = actions[min(t + 1, len(ret) - 1)]\n{DOWN}"),
                edit(DOWN, f"a = actions[t - 1]\n{DOWN}"))),
        mistake("visits overwritten", "A state that is visited again overwrites its row: add to it (+=).",
                edit(DOWN, f"grad[s] = -{WEIGHT} * pi[s]")),
        mistake("repeated states lost",
                "Of several visits to a state in one episode only the last counts, as after `grad[states] += …`: "
                "add each of them.", repeated_lost),
        mistake("first visits only", "Only the first visit to a state counts, or the first time an action is taken in it; every step does.",
                edit(DOWN, f"if {FIRST_VISIT}:\n    continue\n{DOWN}"), also=(edit(DOWN, f"if s in states[:t]:\n    continue\n{DOWN}"),)),
        telltale("random search",
                 "It draws random numbers of its own, as random search does: the episodes are given, "
                 "and the estimate is a definite function of them.",
                 edit(f"{DOWN}\n{UP}", "grad += ret[0] / len(ret) * torch.randn_like(theta)"), lambda at: at.random, why=RANDOM_WHY),
    ],
    read="lesson 2, “Is it unbiased?”; Sutton & Barto, section 13.3",
)
