"""The generic one-edit operators: they compile, leave the text alone, and each makes its mistakes."""

import ast
import inspect
import re
import warnings

import pytest

from pgcourse.checks import all_exercises
from pgcourse.checks.operators import STATEMENTS, VALUES, edits, scope_of
from pgcourse.checks.operators.trees import function_tree

WRITTEN = {n: e for n, e in all_exercises().items() if not n.startswith("quiz")}


def reference_tree(name):
    return function_tree(inspect.getsource(inspect.unwrap(WRITTEN[name].reference)))


@pytest.mark.parametrize("name", ["gae", "ppo_clip_loss", "actor_critic_step", "polyak_update"])
def test_edits_compile_and_leave_the_tree_alone(name):
    tree = reference_tree(name)
    before = ast.dump(tree, include_attributes=True)
    for edit in edits(tree):
        with warnings.catch_warnings(action="ignore"):
            compile(ast.Module([edit.tree], []), "<edited>", "exec")
        assert edit.says and 1 <= edit.line <= tree.end_lineno
    assert ast.dump(tree, include_attributes=True) == before


def test_every_operator_finds_work_in_the_references():
    kinds = {e.kind for name in WRITTEN for e in edits(reference_tree(name))}
    assert kinds == set(VALUES) | set(STATEMENTS)


MADE = [  # (text, kind, what the edit makes of it)
    ("a.detach()", "detach dropped", "a"),
    ("a * b", "detach added", "a * b.detach()"),
    ("torch.minimum(a, b)", "one function for another", "torch.maximum(a, b)"),
    ("a.mean()", "one function for another", "a.sum()"),
    ("a * b", "one name for another", "b * b"),
    ("-a", "sign", "a"),
    ("a + b", "another operation", "a - b"),
    ("a * b + c", "a term or factor left out", "b + c"),
    ("a * b", "a factor twice", "a * b * b"),
    ("a * (b + c)", "a bracket too few", "a * b + c"),
    ("a * b + c", "a bracket too many", "a * (b + c)"),
    ("(a - b) / c", "a bracket too few", "a - b / c"),
    ("a - b / c", "a bracket too many", "(a - b) / c"),
    ("a - b", "operands swapped", "b - a"),
    ("a.clamp(1 - b, 1 + b)", "a constant", "a.clamp(0 - b, 1 + b)"),
    ("a < b", "a comparison", "a <= b"),
    ("~a", "inverted", "a"),
    ("torch.where(a, b, c)", "inverted", "torch.where(a, c, b)"),
    ("torch.where(a, b, c)", "a choice left out", "b"),
    ("a[b]", "a selection left out", "a"),
    ("a[1:]", "a neighbor", "a[:-1]"),
    ("a[b]", "a neighbor", "a[b + 1]"),
    ("a.sum(dim=1)", "axis", "a.sum(dim=0)"),
    ("a.sum(dim=1, keepdim=True)", "axis", "a.sum(dim=1)"),
    ("a.var(correction=1)", "axis", "a.var()"),
    ("torch.exp(a)", "a call left out", "a"),
    ("a.clamp(b, c)", "bounds", "a.clamp(max=c)"),
    ("f(a, b)", "arguments", "f(b, a)"),
    ("reversed(range(a))", "reversed", "range(a)"),
]


@pytest.mark.parametrize("text, kind, made", MADE)
def test_what_an_operator_makes(text, kind, made):
    tree = function_tree(f"def f(a, b, c):\n    return {text}")
    found = [e for e in edits(tree, kinds=[kind]) if ast.unparse(e.tree).endswith(f"return {made}")]
    assert found and found[0].line == 2


BODY = """def f(a, b):
    total = 0
    for x in a:
        total += x
        b.step()
        b.zero_grad()
    return total
"""
STEPS = [
    ("a statement left out", "total += x\n        b.zero_grad()"),
    ("statements in another order", "b.zero_grad()\n        b.step()"),
    ("inside and outside a block", "b.step()\n    b.zero_grad()"),
    ("inside and outside a block", "b.zero_grad()\n        return total"),
    ("assigned or added", "total = x"),
    ("assigned or added", "total -= x"),
]


@pytest.mark.parametrize("kind, made", STEPS)
def test_what_an_operator_makes_of_statements(kind, made):
    tree = function_tree(BODY)
    assert any(made in ast.unparse(e.tree) for e in edits(tree, kinds=[kind]))


def test_edits_of_an_edit_are_pairs():
    tree = function_tree("def f(a, b):\n    return -(a * b).mean()")
    first = next(e for e in edits(tree, kinds=["sign"]) if e.after == "(a * b).mean()")
    second = edits(first.tree, scope_of(tree), kinds=["one function for another"])
    assert "return (a * b).sum()" in [ast.unparse(e.tree).splitlines()[1].strip() for e in second]
    assert first.says == "The minus in front of the part with `a` and `b` is missing."


@pytest.mark.parametrize("name", ["softmax", "discounted_returns", "reinforce_surrogate_gradient"])
def test_a_sentence_quotes_no_code(name):
    """Only names of arguments, of functions and axes, and numbers: the right line is the answer."""
    tree = reference_tree(name)
    local = {*scope_of(tree).names} - {*scope_of(tree).arguments}
    says = {e.says for e in edits(tree) if e.tree}
    quoted = {q for s in says for q in re.findall(r"`([^`]*)`", s)}
    assert len(says) > 30 and quoted & {*scope_of(tree).arguments}
    assert not [q for q in quoted if not re.fullmatch(r"-?[\w.]+", q) or q in local]
