"""Similar answers: a copied pair is listed, and of generated honest classes nobody."""

import ast
import importlib
import inspect
import random
import textwrap

import pytest

from pgcourse.checks import lesson_exercises
from pgcourse.classroom.answers import without_author
from pgcourse.classroom.similar import LEAST, runs, similar
from pgcourse.classroom.students import text_of

NAMES = (
    "x y z a b d e r s t v w tmp res out val diff ratio total mean probs log_p p q new old term loss "
    "left right first second acc values scores weights steps batch mask_ result delta err"
).split()
AS_FUNCTIONS = {"exp", "mean", "sum", "clamp", "log", "abs", "min", "max", "square"}


class Hand(ast.NodeTransformer):
    """How one student writes: names of one's own, sides of a sum, functions or methods, a name for the result."""

    def __init__(self, rng):
        self.rng, self.names = rng, {}

    def visit_FunctionDef(self, node):
        self.generic_visit(node)
        arguments = {a.arg for a in (*node.args.args, *node.args.kwonlyargs)}
        stored = {
            n.id for n in ast.walk(node) if isinstance(n, ast.Name) and isinstance(n.ctx, ast.Store)
        }
        free = [
            n for n in NAMES if n not in {x.id for x in ast.walk(node) if isinstance(x, ast.Name)}
        ]
        names = dict(
            zip(sorted(stored - arguments), self.rng.sample(free, len(free)), strict=False)
        )
        for n in ast.walk(node):
            if isinstance(n, ast.Name) and n.id in names and self.rng.random() < 0.97:
                n.id = names[n.id]
        last = node.body[-1]
        if isinstance(last, ast.Return) and last.value and self.rng.random() < 0.4:
            name = self.rng.choice(NAMES)
            node.body[-1:] = ast.parse(f"{name} = {ast.unparse(last.value)}\nreturn {name}").body
        return node

    def visit_BinOp(self, node):
        self.generic_visit(node)
        if isinstance(node.op, (ast.Add, ast.Mult)) and self.rng.random() < 0.3:
            node.left, node.right = node.right, node.left
        return node

    def visit_Call(self, node):
        self.generic_visit(node)
        f = node.func
        if isinstance(f, ast.Attribute) and f.attr in AS_FUNCTIONS and self.rng.random() < 0.4:
            if not (isinstance(f.value, ast.Name) and f.value.id == "torch"):
                node.args, f.value = [f.value, *node.args], ast.Name("torch", ast.Load())
        return node


def styles(lesson):
    """{exercise: [texts that are right, in styles of their own]}, the reference's first"""
    right = importlib.import_module(f"tests.right.{lesson.partition('_')[2]}").RIGHT
    found = {}
    for name, exercise in lesson_exercises(lesson).items():
        if name in right:
            texts = [textwrap.dedent(inspect.getsource(fn)) for fn in right[name]]
            found[name] = [text_of(exercise.reference, name), *texts]
    return found


def honest(texts, rng, size):
    """A class in which each starts from the reference or from one of the styles and writes alone."""
    people = {}
    for i in range(size):
        hand = Hand(random.Random(rng.random()))
        people[f"s{i:03}"] = {
            name: without_author(ast.unparse(hand.visit(ast.parse(rng.choice(options)))))
            for name, options in texts.items()
        }
    return people


@pytest.fixture(scope="module", params=["01_policy_gradient_theorem", "05_ppo"])
def texts(request):
    return styles(request.param)


def known(texts):
    return {name: [without_author(options[0])] for name, options in texts.items()}


@pytest.mark.parametrize("size", [6, 60])
def test_in_honest_classes_nobody_is_listed(size, texts):
    rng, given = random.Random(7), known(texts)
    listed = sum(len(similar(honest(texts, rng, size), given)) for _ in range(240 // size))
    assert listed == 0


def test_a_copied_pair_is_listed_alone_and_says_where(texts):
    rng, given = random.Random(8), known(texts)
    for _ in range(3):
        people = honest(texts, rng, 60)
        options = {name: rng.choice(texts[name][1:]) for name in texts}  # not the reference
        hand = Hand(random.Random(rng.random()))
        people["s001"] = {
            name: without_author(ast.unparse(hand.visit(ast.parse(text))))
            for name, text in options.items()
        }
        people["s002"] = dict(people["s001"])
        (pair,) = similar(people, given)
        assert (pair.one, pair.other) == ("s001", "s002") and pair.share == pytest.approx(1)
        assert pair.nats >= LEAST and sum(pair.where.values()) == pytest.approx(pair.nats)


def test_whoever_copies_the_public_solution_is_not_listed(texts):
    people = honest(texts, random.Random(9), 30)
    for i in range(12):
        people[f"copied {i}"] = {
            name: without_author(options[0]) for name, options in texts.items()
        }
    assert similar(people, known(texts)) == []


def test_a_run_leaves_layout_and_comments_out():
    assert runs("a = b + c * d  # x\n") == runs("a = (b + c * d)".replace("(", "").replace(")", ""))
    assert len(runs("a = b + c * d")) == 2
    assert runs("def f(:\n  '''") == set()  # whatever it is, nothing breaks
