"""Exercises of lesson 6: the squashed Gaussian, SAC's target and losses, the temperature, polyak averaging."""

import math

import torch
import torch.nn.functional as F

from pgcourse.checks.compare import close, close_grad
from pgcourse.checks.core import Case, Exercise, Pitfall
from pgcourse.checks.drivers import uses_random_numbers
from pgcourse.checks.make_inputs import flags, frame, normal, steps_3_by_4
from pgcourse.estimators import soft_q_target
from pgcourse.exercises import sac as moved
from pgcourse.losses import sac_critic_loss

MOVED = {e.name: e for e in moved.EXERCISES}
F64 = torch.float64
HALF_LOG_2PI = 0.5 * math.log(2 * math.pi)


def fixed(inputs):
    """The same numbers for every seed: a telltale knows them."""
    return lambda g: inputs(torch.Generator().manual_seed(0))


def case(exercise, name):
    return [case.name for case in exercise.cases].index(name)


def comparable(out, right):
    """Whether other names (an exception, a wrong shape, nan) do not fit better."""
    if torch.is_tensor(right):
        return torch.is_tensor(out) and out.shape == right.shape and bool(out.isfinite().all())
    return type(out) is type(right)


def fact(exercise, name, says, wrong, sign, *also):
    """A family of mistakes, told by what is true of what was seen.

    exercise : its name, as it is known only when all its pitfalls are
    sign     : function of `of`, whether the fact holds; of(case) = (observation, the right one)
    """

    def telltale(seen, expected):
        def of(name):
            i = case(globals()[exercise], name)
            return seen[i], expected[i]

        return not any(x["modified"] for x in seen) and sign(of)  # else that is the mistake

    return Pitfall(name, says, wrong, also=also, telltale=telltale, symptom=True)


def outs(of, *names):
    """(result, right result) of some cases."""
    return [(seen["out"], right["out"]) for seen, right in map(of, names)]


def partly_right(exercise, name, says, wrong, right_in, wrong_in, *also):
    """A family of mistakes: right in the cases `right_in`, where one term drops out, wrong in `wrong_in`."""

    def sign(of):
        good, bad = outs(of, *right_in), outs(of, *wrong_in)
        return (
            all(comparable(*pair) for pair in (*good, *bad))
            and all(close(*pair) for pair in good)
            and not any(close(*pair) for pair in bad)
        )

    return fact(exercise, name, says, wrong, sign, *also)


def same_error(exercise, name, says, wrong, one, other, *also):
    """A family of mistakes: the error is the same in two cases, so it is in what they have in common."""

    def sign(of):
        pairs = outs(of, one, other)
        if any(not comparable(*pair) or close(*pair) for pair in pairs):
            return False
        errors = [out.double() - right.double() for out, right in pairs]
        return torch.allclose(*errors, rtol=1e-3, atol=1e-5)

    return fact(exercise, name, says, wrong, sign, *also)


def derivative(exercise, name, says, wrong, at, combine, *also):
    """A family of mistakes: at the case `at` a combination of gradients is not what it should be."""

    def sign(of):
        seen, right = of(at)
        grads = {k: torch.zeros_like(g) for k, g in right["grads"].items()}
        grads |= {k: g for k, g in seen["grads"].items() if g is not None}
        return comparable(seen["out"], right["out"]) and not close(
            combine(**grads), combine(**right["grads"])
        )

    return fact(exercise, name, says, wrong, sign, *also)


def another_divisor(seen, expected):
    """In each case loss and gradients are the right ones up to a factor, which depends on the case."""
    factors = []
    for s, e in zip(seen, expected, strict=True):
        if s["modified"]:
            return False
        if e["error"] or not any(g is not None for g in e["grads"].values()):
            continue
        if not comparable(s["out"], e["out"]) or e["out"].abs() < 1e-6:
            return False
        factors.append((s["out"] / e["out"]).item())
        for name, grad in e["grads"].items():
            if not close_grad(s["grads"].get(name), None if grad is None else factors[-1] * grad):
                return False
    return len(factors) > 1 and max(factors) - min(factors) > 1e-3


def values_are_right(seen, expected):
    pairs = [(s, e) for s, e in zip(seen, expected, strict=True) if not e["error"]]
    return all(close(s["out"], e["out"]) and not s["modified"] for s, e in pairs)


def tensors(out):
    return [x for part in out for x in tensors(part)] if isinstance(out, list) else [out]


def nearly_right(seen, expected):
    """Every tensor is within 2 % of the right one (of its largest number)."""
    found = [(s, e) for s, e in zip(seen, expected, strict=True) if not e["error"]]
    pairs = [
        pair
        for s, e in found
        for pair in zip(tensors(s["out"]), tensors(e["out"]), strict=True)
        if torch.is_tensor(pair[1])
    ]
    if any(s["modified"] for s, e in found) or all(close(*pair) for pair in pairs):
        return False
    return all(
        comparable(out, right)
        and (out - right).abs().max() <= 0.02 * max(0.1, right.abs().max().item())
        for out, right in pairs
    )


def rows_left_out(exercise, wrong, *also):
    """A family of mistakes: the gradients of some rows are all 0."""

    def sign(of):
        seen, right = of("a batch")
        grads = [g for g in seen["grads"].values() if g is not None]
        return comparable(seen["out"], right["out"]) and any(
            sum(g.abs() for g in grads) < 1e-7 * max(g.abs().max() for g in grads)
        )

    says = "Some rows get no gradient at all: the loss is a mean over all rows."
    return fact(exercise, "rows left out", says, wrong, sign, *also)


WRONG_GRADIENT = (
    "right value, wrong gradient",
    "The values are right, a gradient is not: is something detached, or counted twice on the way back?",
)
NEARLY_RIGHT = (
    "right to two digits",
    "Every result is within 2 % of the right one, and no more: is something rounded, or computed in half precision?",
)
DRAWS = (
    "draws random numbers",
    "It draws random numbers; the same arguments should give the same result.",
)
ANOTHER_DIVISOR = (
    "another divisor",
    "In each case it is right up to a factor, which is not the same in all cases: what is it divided by?",
)


# --- soft_q_target ---


def soft(next_q1, next_q2, next_logp, alpha):
    return torch.minimum(next_q1, next_q2) - alpha * next_logp


def backup(rew, terminated, gamma, value):
    return (rew + gamma * torch.where(terminated, 0.0, value)).detach()


def soft_no_entropy(rew, next_q1, next_q2, next_logp, terminated, gamma, alpha):
    return backup(rew, terminated, gamma, torch.minimum(next_q1, next_q2))


def soft_entropy_sign(rew, next_q1, next_q2, next_logp, terminated, gamma, alpha):
    return backup(rew, terminated, gamma, soft(next_q1, next_q2, -next_logp, alpha))


def soft_entropy_outside_mask(rew, next_q1, next_q2, next_logp, terminated, gamma, alpha):
    y = backup(rew, terminated, gamma, torch.minimum(next_q1, next_q2))
    return y - (gamma * alpha * next_logp).detach()


def soft_entropy_now(rew, next_q1, next_q2, next_logp, terminated, gamma, alpha):
    y = backup(rew, terminated, gamma, torch.minimum(next_q1, next_q2))
    return y - (alpha * next_logp).detach()


def soft_entropy_not_discounted(rew, next_q1, next_q2, next_logp, terminated, gamma, alpha):
    y = backup(rew, terminated, gamma, torch.minimum(next_q1, next_q2))
    return y - (alpha * torch.where(terminated, 0.0, next_logp)).detach()


def soft_mean_of_twins(rew, next_q1, next_q2, next_logp, terminated, gamma, alpha):
    value = (next_q1 + next_q2) / 2 - alpha * next_logp
    return backup(rew, terminated, gamma, value)


def soft_max_of_twins(rew, next_q1, next_q2, next_logp, terminated, gamma, alpha):
    value = torch.maximum(next_q1, next_q2) - alpha * next_logp
    return backup(rew, terminated, gamma, value)


def soft_one_critic(rew, next_q1, next_q2, next_logp, terminated, gamma, alpha):
    return backup(rew, terminated, gamma, next_q1 - alpha * next_logp)


def soft_smallest_of_batch(rew, next_q1, next_q2, next_logp, terminated, gamma, alpha):
    smallest = torch.minimum(next_q1.min(), next_q2.min())
    return backup(rew, terminated, gamma, smallest - alpha * next_logp)


def soft_ended_worth(value):
    """A terminal state is worth a number of the author's own."""

    def wrong(rew, next_q1, next_q2, next_logp, terminated, gamma, alpha):
        y = soft_q_target(rew, next_q1, next_q2, next_logp, terminated, gamma, alpha)
        return torch.where(terminated, rew + value, y).detach()

    return wrong


def soft_twins_joined(join):
    def wrong(rew, next_q1, next_q2, next_logp, terminated, gamma, alpha):
        return backup(rew, terminated, gamma, join(next_q1, next_q2) - alpha * next_logp)

    return wrong


def soft_future_rescaled(rew, next_q1, next_q2, next_logp, terminated, gamma, alpha):
    value = soft(next_q1, next_q2, next_logp, alpha)
    return backup(rew, terminated, gamma, value.sign() * value.abs().log1p())


def soft_no_mask(rew, next_q1, next_q2, next_logp, terminated, gamma, alpha):
    return (rew + gamma * soft(next_q1, next_q2, next_logp, alpha)).detach()


def soft_mask_inverted(rew, next_q1, next_q2, next_logp, terminated, gamma, alpha):
    return backup(rew, ~terminated, gamma, soft(next_q1, next_q2, next_logp, alpha))


def soft_reward_masked(rew, next_q1, next_q2, next_logp, terminated, gamma, alpha):
    y = rew + gamma * soft(next_q1, next_q2, next_logp, alpha)
    return torch.where(terminated, 0.0, y).detach()


def soft_last_is_terminal(rew, next_q1, next_q2, next_logp, terminated, gamma, alpha):
    ended = terminated.clone()
    ended[-1] = True
    return backup(rew, ended, gamma, soft(next_q1, next_q2, next_logp, alpha))


def soft_no_discount(rew, next_q1, next_q2, next_logp, terminated, gamma, alpha):
    return backup(rew, terminated, 1.0, soft(next_q1, next_q2, next_logp, alpha))


def soft_reward_discounted(rew, next_q1, next_q2, next_logp, terminated, gamma, alpha):
    return gamma * backup(rew, terminated, 1.0, soft(next_q1, next_q2, next_logp, alpha))


def soft_no_reward(rew, next_q1, next_q2, next_logp, terminated, gamma, alpha):
    return backup(
        torch.zeros_like(rew), terminated, gamma, soft(next_q1, next_q2, next_logp, alpha)
    )


def soft_not_detached(rew, next_q1, next_q2, next_logp, terminated, gamma, alpha):
    value = soft(next_q1, next_q2, next_logp, alpha)
    return rew + gamma * torch.where(terminated, 0.0, value)


def soft_alpha_exponentiated(rew, next_q1, next_q2, next_logp, terminated, gamma, alpha):
    alpha = torch.as_tensor(alpha).exp()
    return backup(rew, terminated, gamma, soft(next_q1, next_q2, next_logp, alpha))


def soft_mean_entropy(rew, next_q1, next_q2, next_logp, terminated, gamma, alpha):
    return backup(rew, terminated, gamma, soft(next_q1, next_q2, next_logp.mean(), alpha))


def soft_probability(rew, next_q1, next_q2, next_logp, terminated, gamma, alpha):
    return backup(rew, terminated, gamma, soft(next_q1, next_q2, next_logp.exp(), alpha))


def soft_weighted_mean(rew, next_q1, next_q2, next_logp, terminated, gamma, alpha):
    q = 0.75 * torch.minimum(next_q1, next_q2) + 0.25 * torch.maximum(next_q1, next_q2)
    return backup(rew, terminated, gamma, q - alpha * next_logp)


def soft_clipped(limit):
    def wrong(rew, next_q1, next_q2, next_logp, terminated, gamma, alpha):
        y = soft_q_target(rew, next_q1, next_q2, next_logp, terminated, gamma, alpha)
        return y.clamp(-limit, limit)

    return wrong


def soft_not_negative(rew, next_q1, next_q2, next_logp, terminated, gamma, alpha):
    return soft_q_target(rew, next_q1, next_q2, next_logp, terminated, gamma, alpha).clamp(min=0)


def soft_alpha_on_both(rew, next_q1, next_q2, next_logp, terminated, gamma, alpha):
    return backup(rew, terminated, gamma, alpha * soft(next_q1, next_q2, next_logp, 1.0))


def soft_td_error(rew, next_q1, next_q2, next_logp, terminated, gamma, alpha):
    y = soft_q_target(rew, next_q1, next_q2, next_logp, terminated, gamma, alpha)
    return y - torch.minimum(next_q1, next_q2).detach()


def soft_either_critic(rew, next_q1, next_q2, next_logp, terminated, gamma, alpha):
    q = next_q1 if torch.rand(()) < 0.5 else next_q2
    return backup(rew, terminated, gamma, q - alpha * next_logp)


def with_reward(change):
    """Another reward, a function of (rew, alpha)."""

    def wrong(rew, next_q1, next_q2, next_logp, terminated, gamma, alpha):
        rew = change(rew, torch.as_tensor(alpha))
        return soft_q_target(rew, next_q1, next_q2, next_logp, terminated, gamma, alpha)

    return wrong


def soft_rows_as_steps(rew, next_q1, next_q2, next_logp, terminated, gamma, alpha):
    y, following = [], soft(next_q1, next_q2, next_logp, alpha)[-1]
    for r, end in zip(rew.flip(0), terminated.flip(0), strict=True):
        following = r if end else r + gamma * following
        y.append(following)
    return torch.stack(y).flip(0).detach()


def soft_second_critic(rew, next_q1, next_q2, next_logp, terminated, gamma, alpha):
    return backup(rew, terminated, gamma, next_q2 - alpha * next_logp)


def soft_sum_of_twins(rew, next_q1, next_q2, next_logp, terminated, gamma, alpha):
    return backup(rew, terminated, gamma, next_q1 + next_q2 - alpha * next_logp)


def soft_smaller_mean(rew, next_q1, next_q2, next_logp, terminated, gamma, alpha):
    q = next_q1 if next_q1.mean() < next_q2.mean() else next_q2
    return backup(rew, terminated, gamma, q - alpha * next_logp)


def soft_smaller_size(rew, next_q1, next_q2, next_logp, terminated, gamma, alpha):
    q = torch.where(next_q1.abs() < next_q2.abs(), next_q1, next_q2)
    return backup(rew, terminated, gamma, q - alpha * next_logp)


def soft_one_twin_pays(rew, next_q1, next_q2, next_logp, terminated, gamma, alpha):
    return backup(rew, terminated, gamma, torch.minimum(next_q1, next_q2 - alpha * next_logp))


def soft_other_twin_pays(rew, next_q1, next_q2, next_logp, terminated, gamma, alpha):
    return backup(rew, terminated, gamma, torch.minimum(next_q1 - alpha * next_logp, next_q2))


TWINS = (torch.maximum, lambda q1, q2: (q1 + q2) / 2, lambda q1, q2: q1)  # in place of the minimum


def entropy_sign_with(choose):
    """The wrong sign, whatever is made of the twins."""

    def wrong(rew, next_q1, next_q2, next_logp, terminated, gamma, alpha):
        return backup(rew, terminated, gamma, choose(next_q1, next_q2) + alpha * next_logp)

    return wrong


def no_entropy_with(choose):
    """No entropy, whatever is made of the twins."""

    def wrong(rew, next_q1, next_q2, next_logp, terminated, gamma, alpha):
        return backup(rew, terminated, gamma, choose(next_q1, next_q2))

    return wrong


def soft_entropy_sign_outside(rew, next_q1, next_q2, next_logp, terminated, gamma, alpha):
    return soft_entropy_now(rew, next_q1, next_q2, -next_logp, terminated, gamma, alpha)


def soft_entropy_of_now_too(rew, next_q1, next_q2, next_logp, terminated, gamma, alpha):
    y = soft_q_target(rew, next_q1, next_q2, next_logp, terminated, gamma, alpha)
    return y - (alpha * next_logp).detach()


def with_entropy(price):
    """Another price in place of alpha * log pi, a function of (next_logp, alpha)."""

    def wrong(rew, next_q1, next_q2, next_logp, terminated, gamma, alpha):
        value = torch.minimum(next_q1, next_q2) - price(next_logp, alpha)
        return backup(rew, terminated, gamma, value)

    return wrong


def with_discount(discount):
    """Another discount in place of gamma, a function of gamma."""

    def wrong(rew, next_q1, next_q2, next_logp, terminated, gamma, alpha):
        return backup(rew, terminated, discount(gamma), soft(next_q1, next_q2, next_logp, alpha))

    return wrong


def soft_entropy_discounted_twice(rew, next_q1, next_q2, next_logp, terminated, gamma, alpha):
    return soft_q_target(rew, next_q1, next_q2, gamma * next_logp, terminated, gamma, alpha)


def soft_normalized(rew, next_q1, next_q2, next_logp, terminated, gamma, alpha):
    return soft_q_target((1 - gamma) * rew, next_q1, next_q2, next_logp, terminated, gamma, alpha)


def soft_gamma_on_mask(rew, next_q1, next_q2, next_logp, terminated, gamma, alpha):
    value = soft(next_q1, next_q2, next_logp, alpha)
    return (rew + (1 - gamma * terminated.float()) * value).detach()


def soft_bracket(rew, next_q1, next_q2, next_logp, terminated, gamma, alpha):
    value = soft(next_q1, next_q2, next_logp, alpha)
    return ((rew + gamma * (~terminated)) * value).detach()


def soft_mask_shifted(rew, next_q1, next_q2, next_logp, terminated, gamma, alpha):
    value = soft(next_q1, next_q2, next_logp, alpha)
    return backup(rew, terminated.roll(1), gamma, value)


def soft_mask_shifted_back(rew, next_q1, next_q2, next_logp, terminated, gamma, alpha):
    value = soft(next_q1, next_q2, next_logp, alpha)
    return backup(rew, terminated.roll(-1), gamma, value)


def soft_smooth_minimum(rew, next_q1, next_q2, next_logp, terminated, gamma, alpha):
    value = -torch.logaddexp(-next_q1, -next_q2) - alpha * next_logp
    return backup(rew, terminated, gamma, value)


def soft_any_end(rew, next_q1, next_q2, next_logp, terminated, gamma, alpha):
    value = soft(next_q1, next_q2, next_logp, alpha)
    return backup(rew, terminated.any().expand_as(terminated), gamma, value)


def soft_average_target(rew, next_q1, next_q2, next_logp, terminated, gamma, alpha):
    return soft_q_target(rew, next_q1, next_q2, next_logp, terminated, gamma, alpha).mean()


def soft_softmax(rew, next_q1, next_q2, next_logp, terminated, gamma, alpha):
    value = alpha * torch.logaddexp(next_q1 / alpha, next_q2 / alpha)
    return backup(rew, terminated, gamma, value)


def transitions(g, B, terminated=None, gamma=0.98, alpha=0.3, dtype=torch.float32):
    return {
        "rew": normal(g, B, dtype=dtype),
        "next_q1": normal(g, B, dtype=dtype, scale=5.0),
        "next_q2": normal(g, B, dtype=dtype, scale=5.0),
        "next_logp": normal(g, B, dtype=dtype) - 0.5,
        "terminated": torch.zeros(B, dtype=torch.bool) if terminated is None else terminated,
        "gamma": gamma,
        "alpha": alpha,
    }


def agree(args):
    """The same five rows, with two critics that agree, on values of both signs."""
    twins = [name for name in args if name in ("next_q1", "next_q2", "q1", "q2")]
    return args | {name: torch.tensor([-6.0, 4.0, -1.5, 9.0, 0.5]) for name in twins}


def one_transition(terminated):
    return lambda g: {
        "rew": torch.tensor([1.0]),
        "next_q1": torch.tensor([10.0]),
        "next_q2": torch.tensor([8.0]),
        "next_logp": torch.tensor([-0.5]),
        "terminated": torch.tensor([terminated]),
        "gamma": 0.9,
        "alpha": 0.2,
    }


def designed_rows(g):
    """Row 0; one unit more of reward, of log pi, of the smaller, of the larger critic; twins exchanged."""
    return {
        "rew": torch.tensor([1.0, 2.0, 1.0, 1.0, 1.0, 1.0]),
        "next_q1": torch.tensor([4.0, 4.0, 4.0, 5.0, 4.0, 6.0]),
        "next_q2": torch.tensor([6.0, 6.0, 6.0, 6.0, 7.0, 4.0]),
        "next_logp": torch.tensor([-0.8, -0.8, 0.2, -0.8, -0.8, -0.8]),
        "terminated": torch.zeros(6, dtype=torch.bool),
        "gamma": 0.7,
        "alpha": 0.3,
    }


def one_more(name, says, row, wrong, *also):
    """A family of mistakes: what one unit more of one argument does to the target is wrong."""

    def sign(of):
        ((out, right),) = outs(of, "rows that differ in one thing")
        return comparable(out, right) and not close(out[row] - out[0], right[row] - right[0])

    return fact("SOFT_Q_TARGET", name, says, wrong, sign, *also)


def ends_at_the_rim():
    """Twelve transitions with numbers in the thousands; the first one ends, the last one does not."""
    args = dict(
        rew=steps_3_by_4(1, -1, 2, -2, -3, 1, 0.5, -1, 2, -2, 1, -1),
        next_q1=steps_3_by_4(2, 3, -4, 1, 5, -2, 3, -1, -2, 4, -3, 2),
        next_q2=steps_3_by_4(3, 1, -5, 2, 4, -1, 4, -2, -3, 2, -1, 1),
        next_logp=steps_3_by_4(-3, 2, -1, 4, -2, 1, 3, -4, 2, -1, -2, 3),
        terminated=~frame(),
    )
    return {name: x.flatten() for name, x in args.items()} | dict(gamma=0.5, alpha=0.5)


SOFT_Q_TARGET = Exercise(
    reference=soft_q_target,
    driver="detached",
    parts={"values": 2, "termination": 2, "a constant": 1, "shapes": 1, "clean": 1},
    cases=[
        Case("one transition", one_transition(False), "values"),
        Case("six transitions", lambda g: transitions(g, 6), "values"),
        Case("float64", lambda g: transitions(g, 5, gamma=0.8, alpha=1.5, dtype=F64), "values"),
        Case("alpha as a tensor", lambda g: transitions(g, 4, alpha=torch.tensor(0.05)), "values"),
        Case(
            "values in the thousands",
            lambda g: (
                (args := transitions(g, 4)) | {k: 1e3 * args[k] for k in ("next_q1", "next_q2")}
            ),
            "values",
        ),
        Case(
            "one poor transition",
            lambda g: (
                one_transition(False)(g)
                | {name: torch.tensor([-7.0]) for name in ("next_q1", "rew", "next_logp")}
            ),
            "values",
        ),
        Case("no end", lambda g: transitions(g, 5, gamma=0.7), "values"),
        Case("critics that agree", lambda g: agree(transitions(g, 5, gamma=0.7)), "values"),
        Case(
            "log pi of 0",
            lambda g: transitions(g, 5, gamma=0.7) | {"next_logp": torch.zeros(5)},
            "values",
        ),
        Case("gamma = 0", lambda g: transitions(g, 5, gamma=0.0), "values"),
        Case("rows that differ in one thing", designed_rows, "values"),
        Case(
            "rewards of 0",
            lambda g: transitions(g, 5, gamma=0.7) | {"rew": torch.zeros(5)},
            "values",
        ),
        Case("one transition into the end", one_transition(True), "termination"),
        Case("some ends", lambda g: transitions(g, 12, flags(g, 12)), "termination"),
        Case(
            "five transitions, two into the end",
            lambda g: transitions(g, 5, torch.tensor([0, 1, 0, 0, 1]).bool(), 0.7),
            "termination",
        ),
        Case(
            "the end in the middle",
            lambda g: transitions(g, 3, torch.tensor([False, True, False]), alpha=2.0),
            "termination",
        ),
        Case(
            "inputs that carry gradient",
            lambda g: transitions(g, 6, flags(g, 6), alpha=torch.tensor(0.7)),
            "a constant",
            ("next_q1", "next_q2", "next_logp", "alpha"),
        ),
        Case(
            "critics [4, 1] and rewards [4]",
            lambda g: transitions(g, 4) | {"next_q1": normal(g, 4, 1), "next_q2": normal(g, 4, 1)},
            "shapes",
            raises=True,
        ),
        Case(
            "log-probabilities [4, 1]",
            lambda g: transitions(g, 4) | {"next_logp": normal(g, 4, 1)},
            "shapes",
            raises=True,
        ),
        Case(
            "a second critic [4, 1]",
            lambda g: transitions(g, 4) | {"next_q2": normal(g, 4, 1)},
            "shapes",
            raises=True,
        ),
        Case(
            "terminated [4, 1]",
            lambda g: transitions(g, 4, flags(g, 4, 1)),
            "shapes",
            raises=True,
        ),
        Case(
            "one reward [1] for a batch [4]",
            lambda g: transitions(g, 4) | {"rew": normal(g, 1)},
            "shapes",
            raises=True,
        ),
        Case("large numbers, an end in the first row", lambda g: ends_at_the_rim(), "termination"),
        Case(
            "large numbers, an end in the last row",
            lambda g: {
                name: x.flip(0) if torch.is_tensor(x) else x
                for name, x in ends_at_the_rim().items()
            },
            "termination",
        ),
    ],
    pitfalls=[
        Pitfall(
            "no entropy",
            "The entropy term -alpha * log pi is missing: it is the target of plain actor-critic.",
            soft_no_entropy,
            "The critic then does not know that the future will be paid for staying random too.",
            also=tuple(map(no_entropy_with, TWINS)),
        ),
        Pitfall(
            "entropy sign",
            "It adds alpha * log pi: likely actions are paid, and randomness is fined.",
            soft_entropy_sign,
            also=(soft_entropy_sign_outside, *map(entropy_sign_with, TWINS)),
        ),
        Pitfall(
            "entropy outside the mask",
            "The entropy term is not masked: a terminal state is paid for an action nobody takes.",
            soft_entropy_outside_mask,
            "Ending an episode then earns a bonus or a fine that is not there.",
        ),
        Pitfall(
            "entropy paid now",
            "The entropy of the next action stands beside the reward, without gamma and mask.",
            soft_entropy_now,
            "It belongs to the next state's value: gamma * (1 - terminated) * (min Q - alpha log pi).",
        ),
        Pitfall(
            "entropy not discounted",
            "gamma multiplies min Q alone; the entropy of the next action is one step away too.",
            soft_entropy_not_discounted,
        ),
        Pitfall(
            "mean of the twins",
            "It averages the two critics; the smaller one belongs here.",
            soft_mean_of_twins,
            "The mean keeps the optimism of a maximized estimate; the minimum is what removes it.",
            also=(soft_weighted_mean,),
        ),
        Pitfall(
            "max of the twins",
            "It takes the larger critic: overestimation is picked out on purpose.",
            soft_max_of_twins,
        ),
        Pitfall(
            "first critic only",
            "It uses only next_q1: the twin is not asked.",
            soft_one_critic,
            "The actor finds the actions that one critic overrates, and the target repeats the error.",
        ),
        Pitfall(
            "second critic only",
            "It uses only next_q2: the twin is not asked.",
            soft_second_critic,
        ),
        Pitfall(
            "sum of the twins",
            "It adds the two critics; the smaller one belongs here.",
            soft_sum_of_twins,
        ),
        Pitfall(
            "critic with the smaller mean",
            "It picks one critic for the whole batch; the minimum is taken row by row.",
            soft_smaller_mean,
        ),
        Pitfall(
            "smaller in size",
            "It takes the critic that is closer to 0; of -5 and 1 the smaller one is -5.",
            soft_smaller_size,
        ),
        Pitfall(
            "entropy for one twin",
            "It subtracts alpha * log pi from one critic inside the minimum; it belongs to both, or behind it.",
            soft_one_twin_pays,
            also=(soft_other_twin_pays,),
        ),
        Pitfall(
            "soft maximum of the twins",
            "It takes alpha * log-sum-exp over the twins; that is a soft maximum of two critics, where their "
            "minimum and the entropy of one action belong.",
            soft_softmax,
        ),
        Pitfall(
            "smooth minimum",
            "It takes -log-sum-exp of the negated twins; asked is their minimum.",
            soft_smooth_minimum,
        ),
        Pitfall(
            "smallest of the batch",
            "It takes one minimum over the whole batch; the minimum is between the twins, per row.",
            soft_smallest_of_batch,
        ),
        Pitfall(
            "no mask",
            "It bootstraps from states after which nothing comes: `terminated` is not used.",
            soft_no_mask,
        ),
        Pitfall(
            "mask inverted",
            "It bootstraps only where the episode terminated: multiply by 1 - terminated.",
            soft_mask_inverted,
            "Nearly every target is then the reward alone: an agent that cannot see ahead.",
        ),
        Pitfall(
            "reward masked",
            "The mask also removes the reward of the last step; only the future is gone.",
            soft_reward_masked,
        ),
        Pitfall(
            "mask shifted",
            "It uses the `terminated` of the row before or after.",
            soft_mask_shifted,
            also=(soft_mask_shifted_back,),
        ),
        Pitfall(
            "one end for all",
            "One terminated row cuts off the future of the whole batch; the mask is row by row.",
            soft_any_end,
        ),
        Pitfall(
            "gamma on the mask",
            "It has 1 - gamma * terminated; gamma multiplies the value, and 1 - terminated masks it.",
            soft_gamma_on_mask,
        ),
        Pitfall(
            "brackets",
            "(r + gamma) * V: the reward is multiplied by the value; gamma alone is.",
            soft_bracket,
        ),
        Pitfall(
            "end of the batch as terminal",
            "It treats the last row as terminal; a batch from the replay buffer has no end.",
            soft_last_is_terminal,
        ),
        Pitfall("no discount", "gamma is not used.", soft_no_discount),
        Pitfall(
            "gamma squared",
            "It discounts twice: gamma^2 in place of gamma.",
            with_discount(lambda gamma: gamma**2),
        ),
        Pitfall(
            "gamma fixed",
            "It uses a number of its own in place of gamma.",
            with_discount(lambda gamma: 0.99),
            also=(with_discount(lambda gamma: 0.9), with_discount(lambda gamma: 0.95)),
        ),
        Pitfall(
            "reward times 1 - gamma",
            "It weighs the reward by 1 - gamma; the target is a sum of rewards, not an average.",
            soft_normalized,
        ),
        Pitfall(
            "averaged",
            "It returns the mean of the targets; every transition has its own.",
            soft_average_target,
        ),
        Pitfall(
            "reward discounted",
            "gamma multiplies the reward as well; the reward comes at once.",
            soft_reward_discounted,
        ),
        Pitfall("no reward", "The reward is missing from the target.", soft_no_reward),
        Pitfall(
            "reward changed",
            "It clips or rescales the reward; the target is in the units of the reward as it comes.",
            with_reward(lambda rew, alpha: rew.clamp(-1, 1)),
            also=(
                with_reward(lambda rew, alpha: rew.sign()),
                with_reward(lambda rew, alpha: rew / alpha),
                with_reward(lambda rew, alpha: rew * alpha),
            ),
        ),
        Pitfall(
            "target clipped",
            "It clips the target to a range: a value beyond it can never be learned.",
            soft_clipped(10),
            also=(soft_clipped(1), soft_clipped(100), soft_not_negative),
        ),
        Pitfall(
            "future subtracted",
            "It subtracts the future from the reward; the two add up.",
            with_discount(lambda gamma: -gamma),
        ),
        Pitfall(
            "rows taken for steps",
            "It runs a return backwards through the rows; each row of a replay batch stands alone.",
            soft_rows_as_steps,
        ),
        Pitfall(
            "entropy discounted twice",
            "gamma stands before the entropy inside the bracket too: it is discounted twice.",
            soft_entropy_discounted_twice,
        ),
        Pitfall(
            "alpha distorted",
            "It uses the square, the inverse or the logarithm of alpha.",
            with_entropy(lambda logp, alpha: alpha**2 * logp),
            also=(
                with_entropy(lambda logp, alpha: logp / alpha),
                with_entropy(lambda logp, alpha: torch.as_tensor(alpha).log() * logp),
            ),
        ),
        Pitfall(
            "not detached",
            "Gradient flows through the target into critics, policy and temperature: detach it.",
            soft_not_detached,
            "The critic would learn to lower its target in place of meeting it.",
        ),
        Pitfall(
            "alpha exponentiated",
            "It uses exp(alpha): what is passed is alpha itself, not its logarithm.",
            soft_alpha_exponentiated,
        ),
        Pitfall(
            "alpha ignored",
            "alpha is not used: a nat of entropy counts as one unit of reward.",
            with_entropy(lambda logp, alpha: logp),
        ),
        Pitfall(
            "alpha fixed",
            "It uses a number of its own in place of alpha.",
            with_entropy(lambda logp, alpha: 0.2 * logp),
            also=tuple(with_entropy(lambda logp, a, x=x: x * logp) for x in (0.05, 0.1, 0.5)),
        ),
        Pitfall(
            "alpha on both",
            "alpha multiplies min Q too; it is the price of entropy and belongs to log pi alone.",
            soft_alpha_on_both,
        ),
        Pitfall(
            "value subtracted again",
            "It subtracts the value after the discount: that is an error of the critic; asked is the target alone.",
            soft_td_error,
        ),
        Pitfall(*DRAWS, soft_either_critic, telltale=uses_random_numbers),
        Pitfall(
            "half the entropy",
            "The entropy term is half of what it should be.",
            with_entropy(lambda logp, alpha: 0.5 * alpha * logp),
        ),
        Pitfall(
            "entropy of now too",
            "It pays the entropy of the next action twice: beside the reward, and in the next value.",
            soft_entropy_of_now_too,
        ),
        Pitfall(
            "probability times its logarithm",
            "It multiplies log pi by pi; a' was drawn from pi, so that weight is in the sampling already.",
            with_entropy(lambda logp, alpha: alpha * logp * logp.exp()),
        ),
        Pitfall(
            "log pi cut at 0",
            "It cuts or folds log pi at 0; a density may be above 1, and its logarithm positive.",
            with_entropy(lambda logp, alpha: alpha * logp.clamp(max=0)),
            also=(
                with_entropy(lambda logp, alpha: alpha * logp.abs()),
                with_entropy(lambda logp, alpha: -alpha * logp.abs()),
                with_entropy(lambda logp, alpha: alpha * logp.clamp(min=0)),
            ),
        ),
        Pitfall(
            "entropy of the batch",
            "It uses the mean of log pi over the batch; each row has its own next action.",
            soft_mean_entropy,
        ),
        Pitfall(
            "probability for its logarithm",
            "It uses exp(next_logp); what is passed is a log-probability already.",
            soft_probability,
        ),
        Pitfall(
            *NEARLY_RIGHT,
            lambda *args: (100 * soft_q_target(*args)).round() / 100,
            telltale=nearly_right,
            symptom=True,
        ),
        partly_right(
            "SOFT_Q_TARGET",
            "wrong where an episode ends",
            "It is right as long as nothing ends, and wrong with ends in the batch: look at the mask.",
            soft_ended_worth(-1.0),
            ("no end", "critics that agree", "log pi of 0", "values in the thousands"),
            ("five transitions, two into the end",),
        ),
        partly_right(
            "SOFT_Q_TARGET",
            "wrong for gamma = 0",
            "It is right for other discounts, and wrong for gamma = 0, where the reward is all that counts.",
            lambda r, q1, q2, logp, end, gamma, alpha: soft_q_target(
                r, q1, q2, logp, end, gamma or 0.99, alpha
            ),
            ("no end", "some ends", "six transitions"),
            ("gamma = 0",),
        ),
        partly_right(
            "SOFT_Q_TARGET",
            "alpha limited",
            "It is right for alpha below 1, and wrong for 1.5 and 2: does it limit alpha?",
            with_entropy(lambda logp, alpha: min(float(alpha), 1.0) * logp),
            ("no end", "some ends", "six transitions"),
            ("float64", "the end in the middle"),
        ),
        partly_right(
            "SOFT_Q_TARGET",
            "wrong where all end",
            "It is right where some of the transitions end, and wrong where all of them do.",
            lambda r, q1, q2, logp, end, gamma, alpha: (
                0 * r if end.all() else soft_q_target(r, q1, q2, logp, end, gamma, alpha)
            ),
            ("no end", "five transitions, two into the end", "the end in the middle"),
            ("one transition into the end",),
        ),
        partly_right(
            "SOFT_Q_TARGET",
            "twins combined in another way",
            "It is right where the two critics agree, and wrong where they differ: asked is their minimum, "
            "row by row.",
            soft_twins_joined(lambda q1, q2: torch.minimum(q1, q2) - 0.5 * (q1 - q2).abs()),
            ("critics that agree",),
            ("no end", "log pi of 0"),
        ),
        partly_right(
            "SOFT_Q_TARGET",
            "another price of entropy",
            "It is right where log pi is 0, and wrong elsewhere: asked is -alpha * log pi inside the bracket.",
            with_entropy(lambda logp, alpha: alpha * logp.expm1()),
            ("log pi of 0",),
            ("no end", "critics that agree"),
        ),
        partly_right(
            "SOFT_Q_TARGET",
            "large values cut",
            "It is right for values of a few units and wrong for thousands: does it limit them?",
            soft_twins_joined(lambda q1, q2: torch.minimum(q1, q2).clamp(-50, 50)),
            ("no end", "six transitions"),
            ("values in the thousands",),
        ),
        partly_right(
            "SOFT_Q_TARGET",
            "rows mixed",
            "It is right for a single transition and wrong for several: each row has its own target.",
            soft_twins_joined(lambda q1, q2: torch.minimum(q1, q2).cumsum(0)),
            ("one transition", "one poor transition"),
            ("no end", "six transitions", "critics that agree"),
        ),
        partly_right(
            "SOFT_Q_TARGET",
            "reward off",
            "It is right where the rewards are 0, and wrong elsewhere: the reward is added as it comes.",
            with_reward(lambda rew, alpha: rew.tanh()),
            ("rewards of 0",),
            ("no end", "gamma = 0"),
        ),
        partly_right(
            "SOFT_Q_TARGET",
            "future off",
            "It is right for gamma = 0, and wrong where the future counts: the reward is right, what gamma "
            "multiplies is not.",
            soft_future_rescaled,
            ("gamma = 0",),
            ("no end", "critics that agree", "log pi of 0"),
        ),
        one_more(
            "share of log pi",
            "One nat more of log pi should lower the target by gamma * alpha; here it does not.",
            2,
            lambda r, q1, q2, logp, end, gamma, alpha: backup(
                r, end, gamma, (q1 + q2) / 2 - alpha / torch.tensor(gamma) * logp
            ),
        ),
        one_more(
            "larger critic counts",
            "The larger of the two critics changes the target; only the smaller should.",
            4,
            lambda r, q1, q2, logp, end, gamma, alpha: backup(
                r, end, gamma**2, torch.maximum(q1, q2) - alpha / torch.tensor(gamma) * logp
            ),
        ),
        one_more(
            "share of the smaller critic",
            "One unit more of the smaller critic should raise the target by gamma; here it does not.",
            3,
            lambda r, q1, q2, logp, end, gamma, alpha: backup(
                r.clamp(-1, 0.5), end, gamma, 2 * torch.minimum(q1, q2) - alpha * logp
            ),
        ),
        one_more(
            "share of the reward",
            "One unit more of the reward should raise the target by 1; here it does not.",
            1,
            lambda r, q1, q2, logp, end, gamma, alpha: backup(
                r.tanh() + 1, end, gamma, soft(q1, q2, logp, alpha)
            ),
        ),
        one_more(
            "twins not treated alike",
            "next_q1 and next_q2 exchanged should give the same target; here it is another one.",
            5,
            lambda r, q1, q2, logp, end, gamma, alpha: backup(
                r,
                end,
                1.0,
                torch.minimum(gamma * q1 + 0.25, gamma * q2 - 0.25) - gamma * alpha * logp,
            ),
        ),
    ],
    read="lesson 6, “The soft target”; Haarnoja et al. 2018b, equations 3 and 5",
)

# --- sac_critic_loss ---


def half_critic_loss(q1, q2, target):
    """The other convention: a factor 1/2 in front."""
    return 0.5 * sac_critic_loss(q1, q2, target)


def critic_target_live(q1, q2, target):
    return ((q1 - target) ** 2).mean() + ((q2 - target) ** 2).mean()


def critic_first_only(q1, q2, target):
    return ((q1 - target.detach()) ** 2).mean()


def critic_second_detached(q1, q2, target):
    return sac_critic_loss(q1, q2.detach(), target)


def critic_min_first(q1, q2, target):
    return ((torch.minimum(q1, q2) - target.detach()) ** 2).mean()


def critic_mean_first(q1, q2, target):
    return (((q1 + q2) / 2 - target.detach()) ** 2).mean()


def critic_worse_only(q1, q2, target):
    target = target.detach()
    return torch.maximum((q1 - target) ** 2, (q2 - target) ** 2).mean()


def critic_better_only(q1, q2, target):
    target = target.detach()
    return torch.minimum((q1 - target) ** 2, (q2 - target) ** 2).mean()


def critic_sum(q1, q2, target):
    return ((q1 - target.detach()) ** 2).sum() + ((q2 - target.detach()) ** 2).sum()


def critic_signed(q1, q2, target):
    return (q1 - target.detach()).mean() + (q2 - target.detach()).mean()


def critic_absolute(q1, q2, target):
    return (q1 - target.detach()).abs().mean() + (q2 - target.detach()).abs().mean()


def critic_huber(q1, q2, target):
    def huber(q):
        return F.smooth_l1_loss(q - target.detach(), torch.zeros_like(q - target))

    return huber(q1) + huber(q2)


def critic_root(q1, q2, target):
    return sum(((q - target.detach()) ** 2).mean().sqrt() for q in (q1, q2))


def critic_twins_agree(q1, q2, target):
    return ((q1 - q2) ** 2).mean()


def critic_each_other(q1, q2, target):
    return ((q1 - target.detach()) ** 2).mean() + ((q2 - q1.detach()) ** 2).mean()


def critic_ascends(q1, q2, target):
    return -sac_critic_loss(q1, q2, target)


def critic_not_averaged(q1, q2, target):
    return (q1 - target.detach()) ** 2 + (q2 - target.detach()) ** 2


def critic_mean_squared(q1, q2, target):
    return (q1 - target.detach()).mean() ** 2 + (q2 - target.detach()).mean() ** 2


def critic_second_only(q1, q2, target):
    return ((q2 - target.detach()) ** 2).mean()


def critic_first_twice(q1, q2, target):
    return 2 * critic_first_only(q1, q2, target)


def critic_sum_first(q1, q2, target):
    return ((q1 + q2 - target.detach()) ** 2).mean()


def critic_max_first(q1, q2, target):
    return ((torch.maximum(q1, q2) - target.detach()) ** 2).mean()


def critic_larger_loss(q1, q2, target):
    return torch.maximum(critic_first_only(q1, q2, target), critic_second_only(q1, q2, target))


def critic_smaller_loss(q1, q2, target):
    return torch.minimum(critic_first_only(q1, q2, target), critic_second_only(q1, q2, target))


def critic_target_added(q1, q2, target):
    return sac_critic_loss(q1, q2, -target)


def critic_difference(q1, q2, target):
    return critic_first_only(q1, q2, target) - critic_second_only(q1, q2, target)


def critic_product(q1, q2, target):
    return ((q1 - target.detach()) * (q2 - target.detach())).mean()


def critic_pulled_together(q1, q2, target):
    return sac_critic_loss(q1, q2, target) + ((q1 - q2) ** 2).mean()


def critic_unequal(q1, q2, target):
    return 0.5 * critic_first_only(q1, q2, target) + critic_second_only(q1, q2, target)


def critic_unequal_too(q1, q2, target):
    return critic_first_only(q1, q2, target) + 0.5 * critic_second_only(q1, q2, target)


def critic_clipped(q1, q2, target):
    return sum((q - target.detach()).clamp(-1, 1).pow(2).mean() for q in (q1, q2))


def of_errors(loss):
    """The same wrong loss for both critics, a function of (q, target)."""

    def wrong(q1, q2, target):
        return loss(q1, target.detach()) + loss(q2, target.detach())

    return wrong


def critic_log_cosh(q1, q2, target):
    return sum((q - target.detach()).cosh().log().mean() for q in (q1, q2))


def critic_normalized(q1, q2, target):
    scaled = (target - target.mean()) / (target.std() + 1e-8)
    return sac_critic_loss(q1, q2, scaled)


def critic_one_less(q1, q2, target):
    return sac_critic_loss(q1, q2, target) * len(q1) / max(len(q1) - 1, 1)


def critic_as_actor(q1, q2, target):
    return -torch.minimum(q1, q2).mean()


def twins(g, B, dtype=torch.float32, **more):
    return {
        "q1": normal(g, B, dtype=dtype, scale=3.0),
        "q2": normal(g, B, dtype=dtype, scale=3.0),
    } | {name: make(g) for name, make in more.items()}


def with_target(g, B, dtype=torch.float32):
    return twins(g, B, dtype) | {"target": normal(g, B, dtype=dtype, scale=3.0)}


def hand_twins(g):
    return {
        "q1": torch.tensor([1.0, 2.0]),
        "q2": torch.tensor([3.0, 0.5]),
        "target": torch.tensor([2.5, 1.0]),
    }


def one_far_off(g):
    return {name: torch.tensor([x]) for name, x in {"q1": 5.0, "q2": -3.5, "target": 0.5}.items()}


def doubled_errors(args):
    return args | {name: 2 * args[name] - args["target"] for name in ("q1", "q2")}


def exchanged(args):
    return args | {"q1": args["q2"], "q2": args["q1"]}


def raised(args):
    return {name: x + 5 for name, x in args.items()}


def negated_errors(args):
    return args | {name: 2 * args["target"] - args[name] for name in ("q1", "q2")}


def twins_mixed(of):
    """Where the critics agree it is right (or twice or half of it), and elsewhere it is not."""
    (same, right), (other, other_right) = outs(of, "critics that agree", "five transitions")
    return (
        comparable(same, right)
        and comparable(other, other_right)
        and any(
            close(same, c * right) and not close(other, c * other_right) for c in (0.5, 1.0, 2.0)
        )
    )


def not_times(c, name, says, wrong, other, *also):
    """A family of mistakes: in another case the loss should be c times that of "five transitions"."""

    def sign(of):
        (one, right), (two, _) = outs(of, "five transitions", other)
        return comparable(one, right) and comparable(two, right) and not close(two, c * one)

    return fact("SAC_CRITIC_LOSS", name, says, wrong, sign, *also)


def halved(name, says, wrong, why="", *also):
    """A mistake that is the same mistake with a factor 1/2 in front."""
    halves = tuple(lambda *args, fn=fn: 0.5 * fn(*args) for fn in (wrong, *also))
    return Pitfall(name, says, wrong, why, also=(*also, *halves))


SAC_CRITIC_LOSS = Exercise(
    reference=sac_critic_loss,
    accept=(half_critic_loss,),
    parts={"loss": 2, "target constant": 1, "shapes": 1, "clean": 1},
    cases=[
        Case("two transitions", hand_twins, "loss", ("q1", "q2")),
        Case(
            "a second critic that is far off",
            lambda g: {
                "q1": torch.tensor([1.0, -2.0]),
                "q2": torch.tensor([-3.0, 2.5]),
                "target": torch.tensor([0.5, -1.5]),
            },
            "loss",
            ("q1", "q2"),
        ),
        Case("one transition", one_far_off, "loss", ("q1", "q2")),
        Case("five transitions", fixed(lambda g: with_target(g, 5)), "loss"),
        Case("critics that agree", lambda g: agree(with_target(g, 5)), "loss"),
        Case("errors twice as large", fixed(lambda g: doubled_errors(with_target(g, 5))), "loss"),
        Case("critics exchanged", fixed(lambda g: exchanged(with_target(g, 5))), "loss"),
        Case("all raised by 5", fixed(lambda g: raised(with_target(g, 5))), "loss"),
        Case("errors negated", fixed(lambda g: negated_errors(with_target(g, 5))), "loss"),
        Case("a batch", lambda g: with_target(g, 9), "loss", ("q1", "q2")),
        Case("float64", lambda g: with_target(g, 7, F64), "loss", ("q1", "q2")),
        Case(
            "targets in the thousands",
            lambda g: {name: 1e3 * x for name, x in with_target(g, 4).items()},
            "loss",
            ("q1", "q2"),
        ),
        Case(
            "a target that carries gradient",
            lambda g: with_target(g, 5),
            "target constant",
            ("q1", "q2", "target"),
        ),
        Case(
            "critics [4, 1] and targets [4]",
            lambda g: twins(g, 4) | {"q1": normal(g, 4, 1), "target": normal(g, 4)},
            "shapes",
            raises=True,
        ),
        Case(
            "targets [4, 1]",
            lambda g: twins(g, 4) | {"target": normal(g, 4, 1)},
            "shapes",
            raises=True,
        ),
        Case(
            "a second critic [4, 1]",
            lambda g: with_target(g, 4) | {"q2": normal(g, 4, 1)},
            "shapes",
            raises=True,
        ),
    ],
    pitfalls=[
        halved(
            "target not detached",
            "Gradient flows into the target: detach it.",
            critic_target_live,
            "The target would move to meet the critic: the residual gradient, which learns another thing.",
        ),
        halved(
            "first critic only",
            "Only q1 is trained: its twin keeps its random first guess.",
            critic_first_only,
            "The minimum of a trained and an untrained critic is no estimate of anything.",
            critic_first_twice,
        ),
        halved(
            "second critic only",
            "Only q2 is trained: its twin keeps its random first guess.",
            critic_second_only,
        ),
        halved(
            "second critic detached",
            "The loss counts q2 but no gradient reaches it: it never learns.",
            critic_second_detached,
        ),
        halved(
            "minimum first",
            "It trains only the smaller of the twins, row by row; both regress to the target.",
            critic_min_first,
            "The minimum belongs in the target, where the estimate is used.",
        ),
        halved(
            "maximum first",
            "It trains only the larger of the twins, row by row; both regress to the target.",
            critic_max_first,
        ),
        halved(
            "sum first",
            "It trains the sum of the twins to be the target: each would be half of it.",
            critic_sum_first,
        ),
        halved(
            "average first",
            "It trains the average of the twins: each alone may be far off.",
            critic_mean_first,
            "One may overestimate by what the other underestimates; then their minimum is useless.",
        ),
        halved(
            "worse twin only",
            "Row by row only the larger of the two errors counts; both critics should learn.",
            critic_worse_only,
        ),
        halved(
            "better twin only",
            "Row by row only the smaller of the two errors counts; both critics should learn.",
            critic_better_only,
        ),
        halved(
            "worse critic only",
            "Only the critic with the larger loss counts; both critics should learn.",
            critic_larger_loss,
        ),
        halved(
            "better critic only",
            "Only the critic with the smaller loss counts; both critics should learn.",
            critic_smaller_loss,
        ),
        halved(
            "sum over the batch",
            "It sums over the batch: the step size grows with the batch.",
            critic_sum,
        ),
        halved(
            "divided by B - 1",
            "It divides by B - 1; a mean of squared errors divides by B.",
            critic_one_less,
        ),
        halved(
            "half for one twin",
            "The two critics have different weights; both losses count the same.",
            critic_unequal,
            "",
            critic_unequal_too,
        ),
        halved(
            "difference of the losses",
            "It subtracts the second loss: descent drives q2 away from the target.",
            critic_difference,
        ),
        halved(
            "product of the errors",
            "It multiplies the two errors; each has a square of its own.",
            critic_product,
        ),
        halved(
            "not averaged",
            "It returns one number per transition; a loss is a single number.",
            critic_not_averaged,
        ),
        halved(
            "signed error",
            "The square is missing: the loss falls without bound as the critics sink.",
            critic_signed,
        ),
        halved(
            "absolute error",
            "It uses the absolute error: the critics would learn the median of the targets, not their mean.",
            critic_absolute,
        ),
        halved(
            "Huber loss",
            "It uses the Huber (smooth L1) loss; for errors beyond 1 that is not the squared error.",
            critic_huber,
        ),
        halved(
            "errors clipped",
            "It clips the errors before squaring: a critic that is far off gets no gradient.",
            critic_clipped,
        ),
        halved(
            "every pair",
            "It compares every value with every target, a table of [B, B]; each value has its own target.",
            of_errors(lambda q, y: (q.unsqueeze(-1) - y).square().mean()),
            "[B, 1] against [B] broadcasts to this table without a word.",
        ),
        halved(
            "largest error only",
            "It takes the largest error of the batch, or the median; the loss is a mean.",
            of_errors(lambda q, y: (q - y).square().max()),
            "",
            of_errors(lambda q, y: (q - y).square().median()),
        ),
        halved(
            "target ignored",
            "It pulls the critics to 0: the target is not used.",
            of_errors(lambda q, y: q.square().mean()),
        ),
        halved(
            "relative error",
            "It divides the errors by the target; asked is their plain square.",
            of_errors(lambda q, y: ((q - y) / (y.abs() + 1e-8)).square().mean()),
        ),
        halved(
            "error cubed",
            "It takes another power of the error; asked is the square.",
            of_errors(lambda q, y: (q - y).abs().pow(3).mean()),
            "",
            of_errors(lambda q, y: (q - y).pow(4).mean()),
        ),
        halved(
            "one side weighs more",
            "Errors above and below the target count differently; their squares count the same.",
            of_errors(lambda q, y: F.relu(q - y).square().mean()),
            "",
            of_errors(lambda q, y: F.relu(y - q).square().mean()),
            of_errors(lambda q, y: (torch.where(q < y, 0.7, 0.3) * (q - y) ** 2).mean()),
            of_errors(lambda q, y: (torch.where(q < y, 0.3, 0.7) * (q - y) ** 2).mean()),
        ),
        halved("log cosh", "It uses log cosh of the error; asked is its square.", critic_log_cosh),
        halved("root", "It takes the root of the mean squared error.", critic_root),
        halved(
            "square of the mean",
            "It averages before squaring: positive and negative errors cancel.",
            critic_mean_squared,
        ),
        halved(
            "variance of the errors",
            "It takes the variance: the mean error is taken off before squaring, and so never corrected.",
            of_errors(lambda q, y: (q - y).var()),
            "",
            of_errors(lambda q, y: (q - y).var(unbiased=False)),
        ),
        halved(
            "twins trained on each other",
            "It compares the critics with each other; the target is not used.",
            critic_twins_agree,
        ),
        halved(
            "twins pulled together",
            "It adds a penalty on (q1 - q2)^2: twins help because they differ.",
            critic_pulled_together,
        ),
        halved("target added", "It adds the target; the error is q - target.", critic_target_added),
        halved(
            "target normalized",
            "It standardizes the targets within the batch: Q would have no unit, and no meaning.",
            critic_normalized,
        ),
        halved(
            "actor's loss",
            "It maximizes the critics, and the target is not used: that is the actor's loss.",
            critic_as_actor,
            "Actor and critic learn from different losses: the critic regresses to its target.",
        ),
        halved(
            "second follows the first",
            "q2 is trained towards q1, not towards the target.",
            critic_each_other,
            "Twins help where they err differently.",
        ),
        halved("sign", "The sign is reversed: descent increases the error.", critic_ascends),
        rows_left_out(
            "SAC_CRITIC_LOSS",
            lambda q1, q2, target: (
                half_critic_loss(q1[1:], q2[1:], target[1:]) if len(q1) > 1 else 0 * q1.sum()
            ),
            of_errors(lambda q, y: ((q - y) ** 2 * (q - y).abs().lt(1)).mean()),
        ),
        fact(
            "SAC_CRITIC_LOSS",
            "twins mixed",
            "It is right where the two critics agree, and wrong where they differ: each has a squared error "
            "of its own, and the two means add up.",
            lambda q1, q2, target: (
                critic_mean_first(q1, q2, target) + critic_first_only(q1, q2, target)
            ),
            twins_mixed,
        ),
        partly_right(
            "SAC_CRITIC_LOSS",
            "wrong for one transition",
            "It is right for several transitions, and wrong for a batch of one.",
            lambda q1, q2, target: (sac_critic_loss if len(q1) > 1 else critic_absolute)(
                q1, q2, target
            ),
            ("two transitions", "five transitions", "a batch"),
            ("one transition",),
        ),
        partly_right(
            "SAC_CRITIC_LOSS",
            "large errors cut",
            "It is right for errors of a few units and wrong for thousands: does it limit them?",
            of_errors(lambda q, y: 2 * F.huber_loss(q, y, delta=50.0)),
            ("five transitions", "a batch"),
            ("targets in the thousands",),
        ),
        Pitfall(
            *WRONG_GRADIENT,
            lambda q1, q2, target: sac_critic_loss(q1, q2, target) + (q1 - q1.detach()).mean(),
            telltale=values_are_right,
            symptom=True,
        ),
        Pitfall(
            *ANOTHER_DIVISOR,
            lambda q1, q2, target: sac_critic_loss(q1, q2, target) * len(q1) / (len(q1) + 1),
            telltale=another_divisor,
            symptom=True,
        ),
        partly_right(
            "SAC_CRITIC_LOSS",
            "rows mixed",
            "It is right for a single transition and wrong for several: each value has its own target, "
            "and the squared errors are averaged.",
            of_errors(lambda q, y: (q - y.flip(0)).square().mean()),
            ("one transition",),
            ("five transitions", "a batch"),
        ),
        not_times(
            1,
            "more than differences",
            "All values and the targets raised by 5 should leave the loss as it is; here it changes: it depends on "
            "more than q - y.",
            of_errors(lambda q, y: (q**2 - y**2).mean()),
            "all raised by 5",
            lambda q1, q2, target: (
                sac_critic_loss(q1, q2, target) + 0.1 * q1.mean() + 0.1 * q2.mean()
            ),
        ),
        not_times(
            1,
            "twins not treated alike",
            "q1 and q2 exchanged should give the same loss; here it is another one.",
            lambda q1, q2, target: (
                critic_first_only(q1, q2, target) + F.smooth_l1_loss(q2, target.detach())
            ),
            "critics exchanged",
        ),
        not_times(
            1,
            "both sides not alike",
            "Errors of the same size above the target in place of below, and the other way round, should give the "
            "same loss; here it is another one.",
            of_errors(lambda q, y: (q - y).expm1().mean()),
            "errors negated",
        ),
        not_times(
            4,
            "not the square",
            "Errors twice as large should give four times the loss; here they do not.",
            of_errors(lambda q, y: (q - y).abs().pow(1.5).mean()),
            "errors twice as large",
            of_errors(lambda q, y: torch.log2(1 + (q - y) ** 2).mean()),
        ),
    ],
    read="lesson 6, “Two critics”; Haarnoja et al. 2018b, equation 5",
)

# --- quiz_sac_clinic ---


def quiz_sac_clinic():
    """Eight runs, eight diagnoses: which number belongs to which patient? Each is used once.

    1  healthy: no bug
    2  no entropy: target and actor loss lack the term with log pi
    3  target and actor use the LARGER of the two critics
    4  the done mask of the target is inverted
    5  the temperature steers toward minus the target entropy
    6  tau and 1 - tau are swapped in polyak_update
    7  the actor's loss detaches the critics: no gradient from Q reaches the policy
    8  logp lacks the tanh correction: it is the Gaussian's density of u

    returns : dict, {"A": number, "B": number, …, "H": number}
    note    : a number that is given to two patients counts for neither
    """
    return {"A": 5, "B": 1, "C": 4, "D": 2, "E": 6, "F": 8, "G": 7, "H": 3}


PATIENTS = "ABCDEFGH"
SEEN = {
    "A": "Its temperature explodes, and its entropy is as high as it can be.",
    "B": "It plays well, its critic errs downward, and its entropy comes down toward the target.",
    "C": "It never learns to play, and its Q stays far above what follows.",
    "D": "It plays well, while its temperature explodes and its entropy is far below the target.",
    "E": "Its Q soon runs far below what follows, and it hardly learns to play.",
    "F": "Its entropy is above log 2, more than any density on (-1, 1) has, and its actions are at the bounds.",
    "G": "It never learns to play, although its Q comes closer and closer to what follows.",
    "H": "It plays well, its entropy comes down toward the target, and its Q ends above what follows.",
}
WOULD = {  # diagnosis: (what it is called, what it does to the curves)
    1: ("no bug", "A healthy run plays well, and the minimum of two critics errs downward."),
    2: (
        "no entropy",
        "A policy that does not listen to the price has an entropy far below the target.",
    ),
    3: (
        "the larger critic",
        "With the larger of two critics all looks well, but Q does not err downward.",
    ),
    4: (
        "an inverted mask",
        "With an inverted mask Q is the reward of one step, too high for ever.",
    ),
    5: ("a target out of reach", "With a target above log 2 the temperature grows without end."),
    6: ("tau swapped", "With a target that follows at once, the critic runs after itself."),
    7: (
        "detached critics",
        "Detached critics learn as usual; the policy just never hears of them.",
    ),
    8: ("no correction", "Without the correction the entropy is miscalculated, and u may run off."),
}


def diagnosis(patient, number):
    """A pitfall of the clinic: what is seen, and what this diagnosis would do."""
    what, would = WOULD[number]
    says = f"{patient}: {SEEN[patient]} {would}"
    return confused(f"{patient} taken for {what}", patient, number, says)


def confused(name, patient, answer, says, quiz=quiz_sac_clinic):
    """A pitfall of the clinic: this answer for this patient, whatever the other answers are."""

    def wrong():
        freed = {p: None for p, right in quiz().items() if right == answer}  # each number once
        return quiz() | freed | {patient: answer}

    def telltale(seen):
        return seen[PATIENTS.index(patient)]["out"] == answer

    return Pitfall(name, says, wrong, telltale=telltale)


ASKED = {("A", 2), ("A", 4), ("D", 5), ("H", 1), ("C", 7), ("G", 4), ("F", 5), ("E", 7)}  # below

QUIZ_SAC_CLINIC = Exercise(
    reference=quiz_sac_clinic,
    driver="entry",
    gate=False,
    parts={f"patient {p}": 1 for p in PATIENTS} | {"clean": 0},
    cases=[
        Case(f"patient {p}", lambda g, p=p: {"key": p, "at_most": 1}, f"patient {p}")
        for p in PATIENTS
    ],
    pitfalls=[
        Pitfall(
            "a number used twice",
            "It gives one number to several patients: each is used once, so that number counts for none of them.",
            lambda: dict.fromkeys(PATIENTS, 1),
            telltale=lambda seen: any("too often" in str(x["out"]) for x in seen),
        ),
        Pitfall(
            "no such number",
            "The diagnoses have the numbers 1 to 8.",
            lambda: quiz_sac_clinic() | {"A": 0},
            telltale=lambda seen: any(
                isinstance(x["out"], int | float) and x["out"] not in range(1, 9) for x in seen
            ),
        ),
        confused(
            "unreachable target taken for deafness",
            "A",
            2,
            "A: its entropy is as high as it can be, so the policy does follow the temperature. "
            "What does the temperature want?",
        ),
        confused(
            "blindness taken for a high price",
            "A",
            4,
            "A: its temperature explodes. A wrong done mask would not touch the temperature's loss.",
        ),
        confused(
            "deafness taken for an unreachable target",
            "D",
            5,
            "D: its entropy falls and falls while the temperature explodes: the policy does not "
            "listen to the price at all.",
        ),
        confused(
            "larger critic taken for healthy",
            "H",
            1,
            "H: the return is fine. Look at Q minus what followed: on which side of 0 does it end, "
            "and on which side should the minimum of two critics be?",
        ),
        confused(
            "blind critic taken for a deaf actor",
            "C",
            7,
            "C: its critic is wrong from beginning to end: Q stays far above what follows. "
            "A detached critic would still learn.",
        ),
        confused(
            "deaf actor taken for a blind critic",
            "G",
            4,
            "G: its critic learns: Q comes closer and closer to what follows. Then who does not use it?",
        ),
        confused(
            "impossible entropy taken for a high target",
            "F",
            5,
            "F: its temperature falls, so the temperature is content. But no density on (-1, 1) has an "
            "entropy above log 2: who computes that number?",
        ),
        confused(
            "runaway critic taken for an honest one",
            "E",
            7,
            "E: its Q soon runs far below what follows. What lets a critic chase itself?",
        ),
        *(
            diagnosis(patient, number)
            for patient, right in quiz_sac_clinic().items()
            for number in WOULD
            if number != right and (patient, number) not in ASKED
        ),
    ],
    read="lesson 6, “The bug clinic”",
)

# --- quiz_sac_treatment ---


def quiz_sac_treatment():
    """Which pieces have to be replaced by yours to cure each patient? As few as possible.

    "target"            soft_q_target
    "critic_loss"       sac_critic_loss
    "actor_loss"        sac_actor_loss
    "temperature_loss"  temperature_loss
    "polyak"            polyak_update
    "logp"              squashed_gaussian_logp

    returns : dict, {"A": list of these names, …, "H": list}; in any order, [] for the healthy one
    """
    return {
        "A": ["temperature_loss"],
        "B": [],
        "C": ["target"],
        "D": ["target", "actor_loss"],
        "E": ["polyak"],
        "F": ["logp"],
        "G": ["actor_loss"],
        "H": ["target", "actor_loss"],
    }


PIECES = ("target", "critic_loss", "actor_loss", "temperature_loss", "polyak", "logp")


def mistreated(name, patient, pieces, says):
    return confused(name, patient, pieces, says, quiz_sac_treatment)


def treatment(name, patient, pieces, says, is_it):
    """A family of wrong treatments of one patient: is_it(set of pieces given, set of those that are ill)."""
    ill = set(quiz_sac_treatment()[patient])

    def telltale(seen):
        given = seen[PATIENTS.index(patient)]["out"]
        return isinstance(given, list) and set(given) <= set(PIECES) and is_it(set(given), ill)

    return Pitfall(name, says, lambda: quiz_sac_treatment() | {patient: pieces}, telltale=telltale)


QUIZ_SAC_TREATMENT = Exercise(
    reference=quiz_sac_treatment,
    driver="entry",
    gate=False,
    parts={f"patient {p}": 1 for p in PATIENTS} | {"clean": 0},
    cases=[
        Case(
            f"patient {p}",
            lambda g, p=p: {"key": p, "any_order": True, "at_most": 7},
            f"patient {p}",
        )
        for p in PATIENTS
    ],
    pitfalls=[
        Pitfall(
            "one treatment for all",
            "It treats all patients in the same way: that counts for none of them.",
            lambda: dict.fromkeys(PATIENTS, ["target"]),
            telltale=lambda seen: all("too often" in str(x["out"]) for x in seen),
        ),
        Pitfall(
            "no such piece",
            "It uses other names than those on the left of the list: 'target', not 'soft_q_target'.",
            lambda: quiz_sac_treatment() | {"C": ["soft_q_target"]},
            telltale=lambda seen: any(
                isinstance(x["out"], list) and set(map(str, x["out"])) - set(PIECES) for x in seen
            ),
        ),
        treatment(
            "healthy patient treated",
            "B",
            ["target"],
            "B: it plays well, its critic errs downward, its entropy comes down toward the target. "
            "What is there to treat?",
            lambda given, ill: given,
        ),
        mistreated(
            "target alone",
            "D",
            ["target"],
            "D: the target is right now, but the actor's loss still lacks log pi: the policy stays deaf.",
        ),
        mistreated(
            "actor alone",
            "D",
            ["actor_loss"],
            "D: the actor is right now, but the critic still does not know that entropy will be paid.",
        ),
        mistreated(
            "larger critic still in the actor",
            "H",
            ["target"],
            "H: the target is right now, but the actor still climbs the larger critic.",
        ),
        mistreated(
            "larger critic still in the target",
            "H",
            ["actor_loss"],
            "H: the actor is right now, but the target still repeats what the larger critic overrates.",
        ),
        mistreated(
            "critic's loss for the slow copy",
            "E",
            ["critic_loss"],
            "E: its critic chases itself. The loss pulls it to the target as it should; what makes the "
            "target run along?",
        ),
        mistreated(
            "critic treated for a deaf actor",
            "G",
            ["target"],
            "G: its critic learns, so its target is right. Through which loss does the policy hear of Q?",
        ),
        mistreated(
            "thermostat for the thermometer",
            "F",
            ["temperature_loss"],
            "F: the temperature does what its loss should. The entropy that it is told is impossible: "
            "who computes it?",
        ),
        *(
            treatment(
                f"{p}: more than is ill",
                p,
                PIECES,
                f"{p}: what is ill is replaced, and something healthy too: as little as possible.",
                lambda given, ill: given > ill,
            )
            for p in PATIENTS.replace("B", "")
        ),
        *(
            treatment(
                f"{p}: not all that is ill",
                p,
                [],
                f"{p}: nothing healthy is replaced, but something that is ill stays as it was.",
                lambda given, ill: given < ill,
            )
            for p in PATIENTS.replace("B", "")
        ),
        *(
            treatment(
                f"{p}: something healthy for what is ill",
                p,
                ["polyak" if p == "F" else "logp"],
                f"{p}: something healthy is replaced, and something that is ill stays. {SEEN[p]} "
                "Which function has to do with that?",
                lambda given, ill: not (given >= ill or given <= ill),
            )
            for p in PATIENTS.replace("B", "")
        ),
    ],
    read="lesson 6, “Treat a patient”",
)

EXERCISES = [
    MOVED["squashed_gaussian_logp"],
    SOFT_Q_TARGET,
    SAC_CRITIC_LOSS,
    MOVED["polyak_update"],
    MOVED["sac_actor_loss"],
    MOVED["temperature_loss"],
    QUIZ_SAC_CLINIC,
    QUIZ_SAC_TREATMENT,
]
