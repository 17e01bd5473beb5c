"""The exact value of every action."""

import torch

from pgcourse.checks.core import Case, Exercise
from pgcourse.checks.edits import edit, mistake, telltale
from pgcourse.checks.make_inputs import times
from pgcourse.exercises.policy_gradient_theorem.worlds import (
    F64,
    optimal_policy,
    power,
    some_mdp,
    two_states,
    with_pi,
)
from pgcourse.mdp import action_values, episodic_mdp, random_mdp

P_PI = 'torch.einsum("sa,sap->sp", pi, mdp.P)'
SYSTEM = "torch.eye(len(r_pi), dtype=pi.dtype) - mdp.gamma * P_pi, r_pi"
SOLVED = f"torch.linalg.solve({SYSTEM})"
Q = "(mdp.R + mdp.gamma * mdp.P @ V)"


def result(new):
    return edit("return mdp.R + mdp.gamma * mdp.P @ V", f"return {new}")


def policy(new, use=()):
    return edit("P_pi = torch", f"pi = {new}\nP_pi = torch", use=use)


def rewards(new):
    return edit("(pi * mdp.R).sum(dim=1)", new)


def least_squares(A, b):
    """A solution where torch.linalg.solve says that A is singular."""
    return torch.linalg.lstsq(A, b[:, None]).solution[:, 0]


SINGULAR = edit("torch.linalg.solve", "least_squares", use=(least_squares,))


def swept(until, of_states):
    """Sweeps over all values until none changes by more than `until`: of V(s), or of Q(s, a)."""

    def values(mdp, pi):
        Q, change = torch.zeros_like(mdp.R), 1.0
        while change > until:
            new = mdp.R + mdp.gamma * mdp.P @ (pi * Q).sum(1)
            moved = new - Q
            change = ((pi * moved).sum(1) if of_states else moved).abs().max()
            Q = new
        return mdp.R + mdp.gamma * mdp.P @ (pi * Q).sum(1) if of_states else Q

    return values


def in_single_precision(at):
    """Whether every number could be a float32, though the inputs are random float64 numbers.

    Most cases are enough: MDP refuses rows of P that sum to more than 1 after rounding.
    """
    names = [case.name for case in at.cases if case.name != "two states"]
    tables = [at[n]["out"].double() for n in names if torch.is_tensor(at[n]["out"])]
    return 2 * len(tables) > len(at.cases) and all(
        torch.equal(x, x.float().double()) and (1024 * x.frexp().mantissa % 1 != 0).any()
        for x in tables
    )


LAST_ONLY = edit(P_PI, "pi[:, -1:] * mdp.P[:, -1]")
STOPS = (0.1, 0.01, 1e-3, 1e-4, 1e-5, 1e-6)
HAND_PI = torch.tensor([[0.5, 0.5], [0.25, 0.75]], dtype=F64)
GREEDY = torch.tensor([[1.0, 0.0], [0.0, 1.0], [1.0, 0.0]], dtype=F64)

# fmt: off
EXERCISE = Exercise(
    reference=action_values,
    parts={"values": 3, "episodes that end": 1, "clean": 1},
    driver="with_mdp",
    cases=[
        Case("two states", lambda g: two_states(pi=HAND_PI), "values"),
        Case("five states, three actions", with_pi(random_mdp, 5, 3, 0.9), "values"),
        Case("a long horizon", with_pi(random_mdp, 4, 2, 0.99), "values"),
        Case("a deterministic policy", lambda g: some_mdp(g, random_mdp, 3, 2, gamma=0.8) | dict(pi=GREEDY), "values"),
        Case("episodes that end, no discount", with_pi(episodic_mdp, 4, 2, 1.0), "episodes that end"),
        Case("episodes that end", with_pi(episodic_mdp, 3, 3, 0.9), "episodes that end"),
        Case("rewards in the thousands", lambda g: times(1e4, two_states(pi=HAND_PI), "R"), "values"),
        Case("a discount factor of 0", with_pi(random_mdp, 3, 2, 0.0), "values"),
    ],
    mistakes=[
        mistake("optimal values",
                "It backs up the best next action: that is Q*, not the value of the policy it was given.",
                policy("optimal_policy(mdp)", (optimal_policy,)),
                why="The policy gradient needs the values of the policy that acts, mistakes included."),
        mistake("reward only", "It is the immediate reward; nothing that follows counts.", result("mdp.R.clone()")),
        mistake("one step ahead", "It looks one step ahead and stops: rewards after the second step are missing.",
                edit(SOLVED, "r_pi")),
        mistake("state values", "It is V(s), whatever the action: Q(s, a) depends on the action that is taken first.",
                result("V.unsqueeze(1).expand_as(mdp.R).clone()")),
        mistake("advantages", "V(s) is already subtracted: these are advantages.", result(f"{Q} - V.unsqueeze(1)")),
        mistake("uniform policy", "It evaluates the uniform policy: pi does not enter.",
                policy("torch.full_like(pi, 1 / pi.shape[1])")),
        mistake("next value not discounted", "The value of the next state is not multiplied by gamma.",
                edit("mdp.gamma * mdp.P @ V", "mdp.P @ V")),
        mistake("reward discounted", "The reward itself is multiplied by gamma; only what follows is discounted.",
                result(f"mdp.gamma * {Q}")),
        mistake("transposed transitions",
                "P is transposed in the linear system: values flow forward in time, not back.",
                edit("mdp.gamma * P_pi,", "mdp.gamma * P_pi.T,")),
        mistake("transposed look-ahead",
                "P is transposed in the last step: it looks at the states that lead to s, not at those that follow it.",
                result('mdp.R + mdp.gamma * torch.einsum("pas,p->sa", mdp.P, V)')),
        mistake("factor 1 - gamma", "The result is multiplied by 1 - gamma, as for an average; values are discounted SUMS.",
                result(f"(1 - mdp.gamma) * {Q}"), also=(result("(1 - mdp.gamma) * mdp.R + mdp.gamma * mdp.P @ ((1 - mdp.gamma) * V)"),)),
        telltale("single precision", "It computes in float32: the MDP is float64, and the oracle should be exact.",
                 (*(edit(x, f"{x}.float()", all=True) for x in ("mdp.P", "mdp.R")), edit("pi", "pi.float()", all=True)),
                 in_single_precision),
        mistake("too few sweeps",
                "It sweeps over the Bellman equation and stops too early: only the rewards of the first {n:.4g} steps "
                "count. Solve the linear system.",
                edit(SOLVED, f"{SOLVED}\nV = V - power(mdp.gamma * P_pi, {{n=30}} - 1) @ V", use=(power,))),
        mistake("sweeps stopped too early",
                "It stops sweeping as soon as the values change little: close, but not the solution. "
                "Solve the linear system.",
                swept(0.1, False), also=[swept(gap, s) for s in (True, False) for gap in STOPS]),
        mistake("system not discounted",
                "gamma is missing in the linear system: V = r + P V in place of V = r + gamma P V.",
                edit("mdp.gamma * P_pi,", "P_pi,"), also=((edit("mdp.gamma * P_pi,", "P_pi,"), SINGULAR),)),
        mistake("gamma written out",
                "mdp.gamma does not enter: a fixed number stands there, one with 1 / (1 - gamma) = {horizon:.4g}.",
                edit("mdp.gamma", "(1 - 1 / {horizon=10})", all=True),
                also=(edit("mdp.gamma * P_pi", "(1 - 1 / {horizon=10}) * P_pi"),
                      edit("mdp.gamma * mdp.P", "(1 - 1 / {horizon=10}) * mdp.P"))),
        mistake("gamma squared", "The next value is multiplied by gamma twice.", result("mdp.R + mdp.gamma**2 * mdp.P @ V"),
                also=(edit("mdp.gamma * P_pi", "mdp.gamma**2 * P_pi"), edit("mdp.gamma", "mdp.gamma**2", all=True))),
        mistake("sign in the system", "It solves (I + gamma P) V = r: the sign of gamma P is reversed.",
                edit("- mdp.gamma", "+ mdp.gamma")),
        mistake("rewards not weighted",
                "r_pi is the plain mean or sum of the rewards: weight each with the probability pi(a|s).",
                rewards("mdp.R.mean(dim=1)"), also=(rewards("mdp.R.sum(dim=1)"),)),
        mistake("transitions not weighted",
                "P_pi is the plain mean or sum over actions: weight each with the probability pi(a|s).",
                edit(P_PI, "mdp.P.mean(dim=1)"), also=(edit(P_PI, "mdp.P.sum(dim=1)"),)),
        mistake("divided by the actions",
                "It divides by the number of actions, as a mean does: weighted with pi(a|s), they are summed.",
                edit(P_PI, "(pi.unsqueeze(-1) * mdp.P).mean(dim=1)"),
                also=(rewards("(pi * mdp.R).mean(dim=1)"),
                      (edit(P_PI, "(pi.unsqueeze(-1) * mdp.P).mean(dim=1)"), rewards("(pi * mdp.R).mean(dim=1)")))),
        mistake("sum overwritten", "Of a sum over the actions only the last one is left: add them up (+=).",
                rewards("pi[:, -1] * mdp.R[:, -1]"), also=(LAST_ONLY, (LAST_ONLY, rewards("pi[:, -1] * mdp.R[:, -1]")))),
        mistake("reward missing", "The reward R(s, a) itself is missing: it is what follows, alone.",
                edit("mdp.R + mdp.gamma * mdp.P @ V", "mdp.gamma * mdp.P @ V")),
        mistake("mean reward first",
                "The first reward is r_pi(s), the policy's average; it must be R(s, a) of the action itself.",
                result("r_pi.unsqueeze(1) + mdp.gamma * mdp.P @ V")),
        mistake("value of the same state", "It adds the value of s, not of the states that may follow.",
                result("mdp.R + mdp.gamma * V.unsqueeze(1)"),
                also=(result("mdp.R + mdp.gamma * mdp.P.sum(dim=-1) * V.unsqueeze(1)"),)),
        mistake("most probable next state",
                "It looks only at the most probable next state; the average is over all of them.",
                edit("mdp.P @ V", "V[mdp.P.argmax(dim=-1)]")),
        mistake("best next state", "It looks only at the best next state; the average is over all of them.",
                edit("mdp.P @ V", "(mdp.P * V).max(dim=-1).values"), also=(edit("mdp.P @ V", "V.max()"),)),
        mistake("ends ignored",
                "It rescales the rows of P to sum to 1; what they lack is the probability that the episode ends.",
                edit("mdp.P", "(mdp.P / mdp.P.sum(-1, keepdim=True).clamp(min=1e-12))", all=True),
                also=((edit("mdp.P", "(mdp.P / mdp.P.sum(-1, keepdim=True).clamp(min=1e-12))", all=True), SINGULAR),)),
        mistake("weighted by the policy", "It is pi(a|s) Q(s, a): the action counts fully once it is taken.",
                result(f"pi * {Q}")),
        mistake("weighted by the start",
                "It multiplies by the probability of starting in s: values do not depend on it.",
                result(f"mdp.start.unsqueeze(1) * {Q}")),
        mistake("softmax of probabilities", "It passes pi through softmax: pi holds probabilities already.",
                policy("torch.softmax(pi, dim=-1)")),
        mistake("entropy added", "It adds the policy's entropy to the rewards (soft values, lesson 6).",
                rewards("(pi * mdp.R - torch.xlogy(pi, pi)).sum(dim=1)")),
        mistake("mean value subtracted",
                "It subtracts the mean of all values: that is the average-reward setting's relative value.",
                result(f"{Q} - {Q}.mean()")),
        mistake("rows and columns exchanged", "The table is [A, S]; states are rows and actions columns.", result(f"{Q}.T")),
        mistake("gamma on the reward", "It is gamma (R + P V): the reward itself must not be discounted.",
                result("mdp.gamma * (mdp.R + mdp.P @ V)")),
        telltale("sampled values",
                 "It draws random numbers: the linear system gives the exact values, with nothing sampled.",
                 result(f"{Q} + 0.1 * torch.randn_like(mdp.R)"), lambda at: at.random),
        mistake("greedy policy", "It evaluates the most probable action of each state, not the probabilities pi.",
                policy("torch.eye(pi.shape[1], dtype=pi.dtype)[pi.argmax(dim=1)]")),
    ],
    read="lesson 1, “Many steps: exact values”; Sutton & Barto, section 4.1",
)
