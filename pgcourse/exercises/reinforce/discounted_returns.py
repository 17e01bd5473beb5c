"""Reward-to-go, cut at the ends of episodes."""

import torch

from pgcourse.checks.core import Case, Exercise
from pgcourse.checks.edits import edit, mistake, telltale
from pgcourse.checks.make_inputs import flags, normal
from pgcourse.estimators import discounted_returns
from pgcourse.exercises.families import standardized

NEXT = "torch.where(ended[t], 0.0, running)"
STEP = f"rew[t] + gamma * {NEXT}"
LAST = "torch.zeros_like(rew[0]) + last_val"
BACKWARDS = "reversed(range(len(rew)))"


def step(new):
    return edit(STEP, new)


def following(new):
    return edit(NEXT, new)


def first(new, use=()):
    """The inputs are changed before anything else."""
    return edit("ret = torch.zeros_like(rew)", f"{new}\nret = torch.zeros_like(rew)", use=use)


def result(new, use=()):
    return edit("return ret", f"return {new}", use=use)


def standard(correction, axis):
    return result(f"standardized(ret, {correction}, axis={axis})", (standardized,))


def steps_in_episode(ended):
    """How many steps of its episode lie before each step."""
    age = torch.zeros(ended.shape, dtype=torch.long)
    for t in range(1, len(ended)):
        age[t] = torch.where(ended[t - 1], 0, age[t - 1] + 1)
    return age


def by_division(rew, ended, gamma, last_val=0.0):
    """Sums of gamma^t r_t divided by gamma^t, which is 0 after some hundred steps."""
    rows = []
    zero = torch.zeros_like(rew[0])
    weights = gamma ** steps_in_episode(ended).to(rew.dtype)
    total = weights[-1] * gamma * (zero + last_val)
    for t in reversed(range(len(rew))):
        total = weights[t] * rew[t] + torch.where(ended[t], zero, total)
        rows.append(total / weights[t])
    return torch.stack(rows[::-1])


def flattened(rew, ended, gamma, last_val=0.0):
    last_val = last_val.flatten()[-1] if torch.is_tensor(last_val) else last_val
    flat = discounted_returns(rew.flatten(), ended.flatten(), gamma, last_val)
    return flat.view_as(rew)


def along_environments(rew, ended, gamma, last_val=0.0):
    if rew.dim() == 1:
        return discounted_returns(rew, ended, gamma, last_val)
    return discounted_returns(rew.T, ended.T, gamma).T.contiguous()


AGE = "gamma ** steps_in_episode(ended).to(rew.dtype)"
ROW = "gamma ** torch.arange(len(rew), dtype=rew.dtype).reshape(-1, *[1] * (rew.dim() - 1))"
FROM_THE_START = (
    edit(BACKWARDS, "range(len(rew))"),
    following("torch.where(ended[t - 1] & (t > 0), 0.0, running)"),
)


def rewards(g, *shape, gamma=0.9, dtype=torch.float32):
    return dict(rew=normal(g, *shape, dtype=dtype), ended=flags(g, *shape, p=0.2), gamma=gamma)


def none_ended(T, **changes):
    return lambda g: rewards(g, T) | dict(ended=torch.zeros(T, dtype=torch.bool)) | changes


def by_hand(ended, **rest):
    rew = torch.arange(1.0, len(ended) + 1)
    return lambda g: dict(rew=rew.clone(), ended=torch.tensor(ended), gamma=0.5) | rest


def one_ended_last(g):
    rew, ended = (
        torch.tensor([[1.0, 2.0], [3.0, 4.0]]),
        torch.tensor([[False, False], [True, False]]),
    )
    return dict(rew=rew, ended=ended, gamma=0.5, last_val=normal(g, 2) + 10.0)


def ends_at_the_rim(exchanged):
    """Rewards in the thousands; first row, last row and each column hold both values of the flag."""
    columns = [1, 0] if exchanged else [0, 1]
    rew = 1000 * torch.tensor([[1.0, -2.0], [3.0, 1.0], [-2.0, 4.0], [1.0, -3.0]])[:, columns]
    ended = torch.tensor([[True, False], [False, True], [False, False], [True, False]])[:, columns]
    return dict(rew=rew, ended=ended, gamma=0.5, last_val=torch.tensor([4000.0, -6000.0])[columns])


def nan_with_gamma_0(at):
    """And in a long episode, perhaps; nothing else is wrong."""
    zero, long = "a discount factor of 0", "a long episode, strongly discounted"
    rest = (case.name for case in at.cases if case.name not in (zero, long))
    return bool(at[zero]["out"].isnan().any()) and at.right_in(*rest)


# fmt: off
EXERCISE = Exercise(
    reference=discounted_returns,
    parts={"one episode": 1, "several episodes": 2, "environments": 1, "cut-off batch": 1, "shapes": 1, "clean": 1},
    cases=[
        Case("one short episode", by_hand([False, False, True]), "one episode"),
        Case("a longer episode", none_ended(12), "one episode"),
        Case("no discount", none_ended(6, gamma=1.0), "one episode"),
        Case("two episodes in one batch", by_hand([False, True, False, True]), "several episodes"),
        Case("many episodes", lambda g: rewards(g, 40), "several episodes"),
        Case("float64", lambda g: rewards(g, 30, gamma=0.99, dtype=torch.float64), "several episodes"),
        Case("a long episode, strongly discounted", none_ended(200, gamma=0.5), "several episodes"),
        Case("three environments", lambda g: rewards(g, 20, 3), "environments"),
        Case("three other environments", lambda g: rewards(g, 20, 3), "environments"),
        Case("environments of which one ended last", one_ended_last, "cut-off batch"),
        Case("a batch that cuts an episode off", by_hand([False, False, False], last_val=10.0), "cut-off batch"),
        Case("environments that are cut off", lambda g: rewards(g, 9, 3) | dict(last_val=normal(g, 3)), "cut-off batch"),
        Case("rewards [4] and flags [4, 1]", lambda g: rewards(g, 4) | dict(ended=flags(g, 4, 1)), "shapes", raises=True),
        Case("an end in the first and the last row", lambda g: ends_at_the_rim(False), "cut-off batch"),
        Case("the same with the columns exchanged", lambda g: ends_at_the_rim(True), "cut-off batch"),
        Case("a discount factor of 0", by_hand([False, True, False, True], gamma=0.0), "several episodes"),
    ],
    mistakes=[
        mistake("no reset", "It ignores `ended`: rewards of the next episode leak into the one before.",
                following("running"),
                why="Actions are then praised for what happened in a game they had no part in."),
        mistake("reset one step late", "It cuts at the flag of the step before: off by one at every end of an episode.",
                following("torch.where(ended[t - 1] & (t > 0), 0.0, running)"),
                also=(following("torch.where(ended[t - 1], 0.0, running)"),)),
        mistake("reset one step early",
                "It cuts at the flag of the step after: the last reward of each episode leaks away from it.",
                following("torch.where(ended[(t + 1) % len(rew)] & (t + 1 < len(rew)), 0.0, running)"),
                also=(following("torch.where(ended[min(t + 1, len(rew) - 1)], 0.0, running)"),)),
        mistake("flags reversed", "It cuts where an episode goes on, and carries on where one ended.",
                following("torch.where(ended[t], running, 0.0)")),
        mistake("last reward lost", "The return is 0 where an episode ends: the last reward itself still counts.",
                step("torch.where(ended[t], 0.0, rew[t] + gamma * running)")),
        mistake("own reward missing", "The reward of the step itself is missing: G_t starts with r_t.", result("ret - rew"),
                also=(result(f"torch.where(ended, 0.0, torch.cat([ret[1:], ({LAST})[None]]))"),)),
        mistake("first episode only", "After the first end everything is 0: the batch holds more episodes.",
                result("torch.where(ended.cumsum(0) - ended.long() > 0, 0.0, ret)")),
        mistake("one step ahead", "It is r_t + gamma r_{t+1}: the rewards after that are missing.",
                result(f"rew + gamma * torch.where(ended, 0.0, torch.cat([rew[1:], ({LAST})[None]]))")),
        mistake("weighted average", "The rewards are multiplied by 1 - gamma: an average, where the sum was asked for.",
                first("rew = (1 - gamma) * rew")),
        mistake("reversed in time", "The returns come in reversed order: turn the list round, or fill it from the back.",
                result("ret.flip(0)")),
        mistake("division by gamma^t",
                "It divides by gamma^t, which becomes 0 in a long episode, and with gamma = 0 at once: 0 / 0. Walk backwards.", by_division),
        telltale("nan with gamma 0", "With gamma = 0, or in a long episode, it gives nan: it divides by a power of gamma, or takes its logarithm.",
                 result("ret * (gamma / gamma if gamma else torch.nan)"), nan_with_gamma_0),
        mistake("rewards clipped", "It clips the rewards at ±{limit:.3g} before it adds them.",
                first("rew = rew.clamp(-{limit=1.0}, {limit=1.0})")),
        mistake("rewards rounded", "It rounds the rewards, or keeps their signs only, before it adds them.",
                first("rew = rew.sign()"), also=(first("rew = rew.trunc()"), first("rew = rew.round()"))),
        mistake("reset on reward",
                "It resets the sum where the reward is large (a trick for Pong), not where an episode ends.",
                following("torch.where(rew[t].abs() >= 1, 0.0, running)"),
                also=(following("torch.where(rew[t] != 0, 0.0, running)"),)),
        mistake("no bootstrap", "It ignores last_val: the end of the batch is taken for the end of the episode.",
                edit(LAST, "torch.zeros_like(rew[0])"),
                why="The last steps of each batch lack what was still to come."),
        mistake("bootstrap at every end", "last_val is added where an episode ended, too: nothing follows there.",
                following(f"torch.where(ended[t], {LAST}, running)")),
        mistake("bootstrap after the last end",
                "last_val follows the last row even where that row ended its episode: nothing follows there.",
                following("torch.where(ended[t] & (t < len(rew) - 1), 0.0, running)")),
        mistake("last_val not discounted", "last_val lies one step after the last row: it is multiplied by gamma once.",
                step(f"rew[t] + (1.0 if t == len(rew) - 1 else gamma) * {NEXT}"),
                also=(step("rew[t] + (1.0 if t == len(rew) - 1 else gamma) "
                           "* torch.where(ended[t] & (t < len(rew) - 1), 0.0, running)"),)),
        mistake("one last_val for all", "Each environment has its own last_val.",
                first("last_val = last_val.mean() if torch.is_tensor(last_val) else last_val"),
                also=(first("last_val = last_val[0] if torch.is_tensor(last_val) else last_val"),)),
        mistake("no discount", "gamma is not used: all rewards count alike.", step(f"rew[t] + {NEXT}")),
        mistake("gamma written out", "gamma is always {number:.4g} here, whatever gamma is.",
                step(f"rew[t] + {{number=0.99}} * {NEXT}")),
        mistake("gamma cut off", "It cuts gamma off below 1, at 1 - {gap:.2g}: with gamma = 1 all rewards count alike.",
                step(f"rew[t] + min(gamma, 1 - {{gap=1e-3}}) * {NEXT}")),
        mistake("gamma 0 replaced", "gamma = 0 is replaced by {number:.4g}: with 0, each return is the reward of its step alone.",
                step(f"rew[t] + (gamma or {{number=0.99}}) * {NEXT}")),
        mistake("reward discounted", "The reward of the step itself is multiplied by gamma; only later ones are.",
                step(f"gamma * (rew[t] + {NEXT})")),
        mistake("reward added twice", "The reward of the step counts twice: the return holds it already.", result("rew + ret")),
        mistake("discounted twice", "The reward-to-go is multiplied by gamma^t again: late steps count almost nothing.",
                result(f"{AGE} * ret", (steps_in_episode,)), also=(result(f"{ROW} * ret"),)),
        mistake("discount from the start", "It is gamma^t r_t for each step: the future is never summed.",
                result(f"{AGE} * rew", (steps_in_episode,)), also=(result(f"{ROW} * rew"),)),
        mistake("whole-episode return", "Every step gets its episode's full return, past rewards included.",
                edit("return", "for t in range(1, len(ret)):\n    ret[t] = torch.where(ended[t - 1], ret[t], ret[t - 1])\nreturn"),
                why="It adds no bias, but usually noise: an action cannot change what was earned before it."),
        mistake("past rewards", "It sums forward in time: each step gets the rewards BEFORE it, not after.",
                *FROM_THE_START, edit(LAST, "torch.zeros_like(rew[0])"),
                also=(FROM_THE_START, edit(BACKWARDS, "range(len(rew))"),
                      (edit(BACKWARDS, "range(len(rew))"), edit(LAST, "torch.zeros_like(rew[0])")))),
        mistake("normalized returns", "It standardizes the returns; that is a separate step, and another estimate.",
                standard(0, None), also=(standard(1, None), standard(0, 0), standard(1, 0))),
        mistake("mean return subtracted", "It subtracts the mean of the returns: a baseline, which is lesson 3's subject.",
                result("ret - ret.mean()"), also=(result("ret - ret.mean(dim=0)"),)),
        mistake("one end resets all", "Where one environment's episode ends, the sums of all environments are cut.",
                following("torch.where(ended[t].any(), 0.0, running)")),
        mistake("flags of the first environment", "It cuts all environments where the first one's episode ends.",
                first("ended = ended if ended.dim() == 1 else ended[:, :1].expand_as(ended)")),
        mistake("environments joined", "It flattens the batch: the sum runs from one environment into the next.", flattened),
        mistake("sum over environments", "It sums along axis 1, the environments; time is axis 0.", along_environments),
    ],
    read="lesson 2, “Reward-to-go”; Sutton & Barto, equation 3.9",
)
