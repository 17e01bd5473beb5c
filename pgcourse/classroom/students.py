"""The example class: six people who hand in lessons 1 and 2, each with a way of their own.

The right answers are in another style than `pgcourse`'s (autograd where it uses a formula, a loop
where it uses an index); the wrong ones are the checks' own pitfalls.
"""

import inspect
import re
from dataclasses import dataclass, field

import torch

from pgcourse.checks.edits import plain_text

# ------------------------------------------------------------------- right, in another style


def softmax(theta):
    return torch.exp(theta - torch.logsumexp(theta, dim=-1, keepdim=True))


def grad_log_softmax(theta, action):
    theta = theta.detach().clone().requires_grad_(True)
    with torch.enable_grad():
        return torch.autograd.grad(torch.log_softmax(theta, dim=-1)[action], theta)[0]


def score_step(theta, action, ret, lr):
    new = theta - lr * ret * torch.softmax(theta, dim=-1)
    new[action] += lr * ret
    return new


def action_values(mdp, pi):
    S, A = pi.shape
    onward = torch.einsum("sap,pb->sapb", mdp.P, pi).reshape(S * A, S * A)
    system = torch.eye(S * A, dtype=pi.dtype) - mdp.gamma * onward
    return torch.linalg.solve(system, mdp.R.reshape(S * A)).reshape(S, A)


def exact_policy_gradient(mdp, theta):
    theta = theta.detach().clone().requires_grad_(True)
    with torch.enable_grad():
        pi = torch.softmax(theta, dim=-1)
        onward = torch.einsum("sa,sap->sp", pi, mdp.P)
        reward = (pi * mdp.R).sum(dim=1)
        system = torch.eye(len(reward), dtype=theta.dtype) - mdp.gamma * onward
        objective = mdp.start @ torch.linalg.solve(system, reward)
        return torch.autograd.grad(objective, theta)[0]


def score_function_gradient(theta, actions, returns):
    if actions.shape != returns.shape:
        raise ValueError("one return for each action, please")
    total = torch.zeros_like(theta)
    pi = torch.softmax(theta, dim=-1)
    for action, ret in zip(actions, returns, strict=True):
        total = total - ret * pi
        total[action] += ret
    return total / len(actions)


def discounted_returns(rew, ended, gamma, last_val=0.0):
    if rew.shape != ended.shape:
        raise ValueError("rew and ended must have one shape")
    going_on = (~ended).to(rew.dtype)
    ret, backwards = last_val, []
    for t in range(len(rew) - 1, -1, -1):
        ret = rew[t] + gamma * going_on[t] * ret
        backwards.append(ret)
    return torch.stack(backwards[::-1])


def reinforce_loss(logp, ret):
    if logp.shape != ret.shape:
        raise ValueError("logp and ret must have one shape")
    return (ret.detach() * -logp).sum() / logp.numel()


def reinforce_surrogate_gradient(theta, episodes, gamma):
    if not episodes:
        raise ValueError("no episodes")
    theta = theta.detach().clone().requires_grad_(True)
    with torch.enable_grad():
        total = 0.0
        for states, actions, rewards in episodes:
            logp = torch.log_softmax(theta[states], dim=-1)
            discount = gamma ** torch.arange(len(rewards), dtype=theta.dtype)
            weighted = (discount * rewards).flip(0).cumsum(0).flip(0)  # gamma^t G_t
            total = total + (weighted * logp[torch.arange(len(rewards)), actions]).sum()
        return torch.autograd.grad(total / len(episodes), theta)[0]


def gradient_variance(grads):
    if grads.ndim != 2 or grads.shape[0] < 2:
        raise ValueError("grads must be [N, P] with N >= 2")
    away = grads - grads.mean(dim=0)
    return (away * away).sum() / (grads.shape[0] - 1)


def standard_error(grads):
    if grads.ndim != 2 or grads.shape[0] < 2:
        raise ValueError("grads must be [N, P] with N >= 2")
    return torch.linalg.norm(grads.std(dim=0)) / grads.shape[0] ** 0.5


def episodes_needed(variance, error):
    if not error > 0:
        raise ValueError("error must be positive")
    return -int(-float(variance) / (error * error) // 1)


OTHER_STYLE = {
    fn.__name__: fn
    for fn in (
        softmax,
        grad_log_softmax,
        score_step,
        action_values,
        exact_policy_gradient,
        score_function_gradient,
        discounted_returns,
        reinforce_loss,
        reinforce_surrogate_gradient,
        gradient_variance,
        standard_error,
        episodes_needed,
    )
}


# -------------------------------------------------------------------------------- the people


@dataclass(frozen=True)
class Student:
    """Someone who hands in.

    name     : as in the gradebook
    about    : one line for the table
    pitfalls : {exercise: name of the pitfall}
    broken   : exercises whose cell is no Python
    share    : the first part of each lesson that is done at all
    """

    name: str
    about: str
    pitfalls: dict = field(default_factory=dict)
    broken: tuple = ()
    share: float = 1.0

    def answers(self, exercises):
        """What this student writes, {exercise: text}, for a lesson's exercises in order."""
        done = exercises[: round(self.share * len(exercises))]
        return {e.name: self.answer(e) for e in done}

    def answer(self, exercise):
        if exercise.name in self.pitfalls:
            return text_of(self.mistake(exercise).wrong, exercise.name)
        if exercise.name in self.broken:
            return f"def {exercise.name}(:\n    return 'to be continued"
        return text_of(OTHER_STYLE.get(exercise.name, exercise.reference), exercise.name)

    def mistake(self, exercise):
        """The Pitfall this student falls into, or None. raises: KeyError if there is no such one."""
        wanted = self.pitfalls.get(exercise.name)
        return {p.name: p for p in exercise.pitfalls}[wanted] if wanted else None


STUDENTS = (
    Student("ada", "all right, in a style of her own"),
    Student("ben", "did the first half", share=0.5),
    Student(
        "chloe",
        "signs",
        {"grad_log_softmax": "sign", "reinforce_loss": "sign"},
    ),
    Student(
        "dmitri",
        "does not see what the return is",
        {"score_step": "return ignored", "discounted_returns": "no reset"},
    ),
    Student(
        "emre",
        "scales and averages",
        {"score_function_gradient": "sum for mean", "gradient_variance": "divided by N"},
    ),
    Student("fatou", "a syntax error in each lesson", broken=("score_step", "gradient_variance")),
)


def text_of(fn, name):
    """The text of a function as somebody would type it under another name, its helpers first."""
    helpers = [
        text_of(value, value.__name__)
        for value in (fn.__globals__.get(used) for used in fn.__code__.co_names)
        if inspect.isfunction(value) and value is not fn and belongs_to(value, fn)
    ]
    text = plain_text(fn).rstrip()
    text = re.sub(rf"^def {fn.__name__}\b", f"def {name}", text, count=1)
    return "\n\n\n".join([*helpers, text])


def belongs_to(helper, fn):
    """Whether a helper was written beside a function, for an exercise, or edited with it."""
    edited = helper.__code__.co_filename.startswith("<")
    beside = helper.__module__ == fn.__module__
    return edited or beside or helper.__module__.startswith("pgcourse.exercises.")
