"""Generic mistakes in another form: of an argument, of the result, of a loop; beside an overflow; two at once."""

import ast
import inspect
import warnings

import pytest
import torch

from pgcourse.checks import get, judge
from pgcourse.checks.forms import forms
from pgcourse.checks.generic import sentence
from pgcourse.checks.operators import edits
from pgcourse.checks.operators.trees import function_tree
from pgcourse.checks.search import tree_of
from pgcourse.distributions import token_logp as right_logp
from pgcourse.estimators import discounted_returns as right_returns
from pgcourse.tensors import same_shape


@pytest.mark.parametrize("name", ["softmax", "normalize_advantage", "gae", "kl_shaped_rewards"])
def test_forms_compile_and_leave_the_tree_alone(name):
    tree = function_tree(inspect.getsource(inspect.unwrap(get(name).reference)))
    before = ast.dump(tree, include_attributes=True)
    for edit in forms(tree):
        with warnings.catch_warnings(action="ignore"):
            compile(ast.Module([edit.tree], []), "<edited>", "exec", dont_inherit=True)
        assert edit.says.endswith((".", "early?")) and "{" not in edit.says
    assert ast.dump(tree, include_attributes=True) == before


def half_the_discount(rew, ended, gamma, last_val=0.0):
    return right_returns(rew, ended, gamma / 2, last_val)


def powers(rew, ended, gamma, last_val=0.0):
    same_shape(rew=rew, ended=ended)
    ret, running = torch.zeros_like(rew), torch.zeros_like(rew[0]) + last_val
    for t in reversed(range(len(rew))):
        running = rew[t] + gamma**t * torch.where(ended[t], 0.0, running)
        ret[t] = running
    return ret


def first_row_left_out(rew, ended, gamma, last_val=0.0):
    ret = right_returns(rew, ended, gamma, last_val)
    return torch.cat([torch.zeros_like(ret[:1]), ret[1:]])


def last_token_left_out(logits, tokens):
    logp = right_logp(logits, tokens)
    return torch.cat([logp[:, :-1], torch.zeros_like(logp[:, :1])], dim=1)


def own_means_subtracted(theta, actions, returns):
    same_shape(actions=actions, returns=returns)
    left = returns.clone()
    for a in actions.unique():
        left[actions == a] -= returns[actions == a].mean()
    scores = torch.eye(len(theta), dtype=theta.dtype)[actions] - theta.softmax(0)
    return (left.unsqueeze(1) * scores).mean(dim=0)


def divided_by_all(logp, adv, mask=None):
    same_shape(logp=logp, adv=adv, mask=mask)
    mask = torch.ones_like(logp, dtype=torch.bool) if mask is None else mask
    return -(logp[mask] * adv[mask].detach()).sum() / mask.numel()


def across_prompts(score):
    if len(score) < 2:
        raise ValueError("expected two answers")
    off = score.detach() - score.detach().mean(dim=1, keepdim=True)
    return off / (off.square().mean(dim=1, keepdim=True).sqrt() + 1e-8)


def softmax(theta):
    z = torch.exp(theta + theta.max(dim=-1, keepdim=True).values)
    return z / z.sum(dim=-1, keepdim=True)


def quotient(theta):
    z = torch.exp(theta / theta.max(dim=-1, keepdim=True).values)
    return z / z.sum(dim=-1, keepdim=True)


def score_step(theta, action, ret, lr):
    theta -= lr * ret * ((torch.arange(len(theta)) == action).to(theta.dtype) - theta.softmax(0))
    return theta


@pytest.mark.parametrize(
    "fn, exercise, says",
    [
        (
            half_the_discount,
            "discounted_returns",
            "It computes with half of `gamma` where `gamma` belongs.",
        ),
        (
            powers,
            "discounted_returns",
            "It takes a power of `gamma` that changes from step to step.",
        ),
        (first_row_left_out, "discounted_returns", "The last round of a loop is left out."),
        (softmax, "softmax", "Large numbers overflow, or small ones vanish, on the way"),
        (quotient, "softmax", "It divides where it should subtract, in the part with `theta`."),
        (score_step, "score_step", "Besides: It changes its argument theta in place"),
    ],
)
def test_what_nobody_wrote_down_is_said(fn, exercise, says):
    assert says in judge(fn, exercise).message


@pytest.mark.parametrize(
    "fn, exercise, says",
    [
        (
            last_token_left_out,
            "token_logp",
            "The result is right but for a 0 at the end of its last",
        ),
        (own_means_subtracted, "score_function_gradient", "The result is 0 in every case"),
        (
            divided_by_all,
            "policy_gradient_loss",
            "It leaves the padding out of the sum but divides",
        ),
        (across_prompts, "grpo_advantages", "It centers and scales along axis 1"),
    ],
)
def test_one_mistake_is_not_said_to_be_two(fn, exercise, says):
    """Seen: a factor of 0 taken for two mistakes, a nan or a shortcut of the reference for a second one."""
    message = judge(fn, exercise).message
    assert (
        message.startswith(says)
        and "And:" not in message
        and "elsewhere more is off" not in message
    )


def test_an_exception_alone_proves_no_name():
    def ppo_update(policy, optimizer, rollout, config, loss=None, generator=None):
        raise RuntimeError("something of its own")

    assert judge(ppo_update, "ppo_update").pitfall == "exception"


def test_one_edit_nobody_wrote_down_beside_a_written_mistake():
    def standard_error(grads):
        return grads.var(dim=0).sum() / (len(grads) - 1)

    says = judge(standard_error, "standard_error").message
    assert "It is the variance of the mean" in says and "And: It is off by one" in says


@pytest.mark.parametrize("name", ["softmax", "gae", "rlhf_step", "a3c_push_gradients"])
def test_a_sentence_needs_no_place_that_only_the_reference_has(name):
    """Of an edit in the middle of the reference is said what it does, or nothing."""
    spoken = [sentence(e) for e in edits(tree_of(get(name).reference)) if e.tree]
    assert {"", "It is off by one."} < {*spoken}
    for says in spoken:
        assert "an intermediate result" not in says or "gradient" in says.lower(), says


def test_a_sum_without_its_axis_is_not_called_a_second_sum():
    tree = function_tree("def f(x):\n    return x / x.sum(dim=-1, keepdim=True)\n")
    said = {e.after: sentence(e) for e in edits(tree, kinds=["a call too many"]) if e.tree}
    says = said["x.sum(dim=-1, keepdim=True).sum()"]
    assert says.startswith("`sum` goes over more than it should")
    assert said["x.sum()"] == "`sum` is one too many, on `x`."
