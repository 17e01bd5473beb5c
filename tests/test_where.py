"""The line in the learner's own text: found, proven, and found without a trace."""

import ast
import importlib.util
import linecache
import time
from dataclasses import replace

import pytest
import torch

from pgcourse.checks import core, drivers, get, judge, patch
from pgcourse.checks.absurd import absurd, of_another_object
from pgcourse.checks.forms import forms
from pgcourse.checks.grafts import Pieces, grafts
from pgcourse.checks.moves import moves
from pgcourse.checks.operators import Edit, edits, scope_of
from pgcourse.checks.operators.trees import expressions, function_tree
from pgcourse.checks.sources import source_of, sources_of
from pgcourse.checks.traces import at
from pgcourse.checks.where import lines_of, locate, words
from tests.wrong_texts import CHANGES, DOUBLES, SINGLES, SPACE

PLENTY = 10.0  # CPU seconds: a busy machine counts some twice


def made(text, name, filename="<a learner's cell>"):
    """A function as a cell makes it: its text can be looked up."""
    linecache.cache[filename] = (len(text), None, text.splitlines(True), filename)
    space = dict(SPACE)
    exec(compile(text, filename, "exec"), space)
    return space[name]


def located(text, name, seconds=PLENTY):
    fn, exercise = made(text, name), get(name)
    return locate(fn, exercise, "0", exercise.observe(fn, "0"), seconds)


def mended(text, found):
    """The text with the change of the card made by hand."""
    lines, changes = text.splitlines(), found.change.splitlines()
    if not any(c.startswith("- ") for c in changes):
        lines[found.line - 1 : found.line - 1] = [c[2:] for c in changes]
        return "\n".join(lines) + "\n"
    while changes:
        old = [c[2:] for c in changes[: next_kind(changes, "- ")]]
        changes = changes[len(old) :]
        new = [c[2:] for c in changes[: next_kind(changes, "+ ")]]
        changes = changes[len(new) :]
        at = next(i for i in range(len(lines)) if lines[i : i + len(old)] == old)
        lines[at : at + len(old)] = new
    return "\n".join(lines) + "\n"


def next_kind(changes, mark):
    return next((i for i, c in enumerate(changes) if not c.startswith(mark)), len(changes))


@pytest.mark.parametrize("name, text, lines", SINGLES)
def test_a_mistake_is_found_on_its_line_and_the_change_mends_it(name, text, lines):
    found = located(text, name)
    assert found is not None
    assert found.line in lines
    assert judge(made(mended(text, found), name), name, seed="a third one").passed


@pytest.mark.parametrize("name, text, lines", DOUBLES)
def test_two_mistakes_are_found_on_their_lines(name, text, lines):
    found = located(text, name)
    assert found is not None and set(found.lines) <= lines
    assert judge(made(mended(text, found), name), name, seed="a third one").passed


def test_nothing_is_looked_for_in_right_answers_stubs_and_quizzes(monkeypatch):
    monkeypatch.setattr("pgcourse.checks.where.Search", None)  # whoever searches fails
    right = "def softmax(theta):\n    return torch.softmax(theta, -1)\n"
    stub = "def softmax(theta):\n    raise NotImplementedError\n"
    quiz = "def quiz_baselines():\n    return {}\n"
    for text, name in [(right, "softmax"), (stub, "softmax"), (quiz, "quiz_baselines")]:
        assert judge(made(text, name), where=True).where is None


def test_nothing_is_said_without_the_text_that_runs(tmp_path):
    text = "def softmax(theta):\n    return torch.exp(theta)\n"
    space = dict(SPACE)
    exec(text, space)
    assert source_of(space["softmax"]) is None
    assert source_of(torch.softmax) is None and source_of(lambda x: x) is None
    path = tmp_path / "mine.py"
    path.write_text("import torch\n" + text)
    spec = importlib.util.spec_from_file_location("mine", path)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    assert source_of(module.softmax).first == 2
    path.write_text("import torch\n" + text.replace("exp", "log"))  # saved, and not run again
    linecache.checkcache()
    assert source_of(module.softmax) is None


WITH_OBJECTS = """
calls = []
scale = torch.ones(3)

def with_baseline(ret, val):
    same_shape(ret=ret, val=val)
    print("called")
    calls.append(1)
    scale.mul_(2)
    torch.rand(1)
    return ret + val.detach()
"""


def test_the_learners_objects_and_the_session_are_left_alone(capsys):
    fn, exercise = made(WITH_OBJECTS, "with_baseline"), get("with_baseline")
    seen = exercise.observe(fn, "0")
    space = fn.__globals__
    calls, scale, state = len(space["calls"]), space["scale"].clone(), torch.get_rng_state()
    keys = {k: id(v) for k, v in space.items()}
    locate(fn, exercise, "0", seen)
    assert len(space["calls"]) == calls and torch.equal(space["scale"], scale)
    assert torch.equal(torch.get_rng_state(), state)
    assert {k: id(v) for k, v in space.items()} == keys
    assert capsys.readouterr().out == ""


ENDLESS = """def discounted_returns(rew, ended, gamma, last_val=0.0):
    same_shape(rew=rew, ended=ended)
    ret = torch.zeros_like(rew)
    running = torch.zeros_like(rew[0]) + last_val
    t = len(rew)
    while t > 0:
        t = t - 1
        running = torch.sin(rew[t]) * gamma ** 3 + running ** 2
        ret[t] = torch.cos(running)
    return ret
"""


def test_edits_that_never_end_are_cut_and_the_budget_holds():
    started = time.process_time()
    assert located(ENDLESS, "discounted_returns", seconds=1.0) is None
    assert time.process_time() - started < 3


def test_a_function_over_several_cells_is_found_in_the_cell_of_its_helper():
    from IPython.core.interactiveshell import InteractiveShell

    shell = InteractiveShell.instance()
    try:
        shell.user_ns.update(SPACE)
        shell.run_cell("def error(val, ret):\n    return val - ret.detach()", store_history=True)
        shell.run_cell(
            "def squared(x):\n    # the mean comes later\n    return x.abs()", store_history=True
        )
        shell.run_cell(
            "def value_regression_loss(val, ret):\n"
            "    same_shape(val=val, ret=ret)\n"
            "    return squared(error(val, ret)).mean()",
            store_history=True,
        )
        fn, exercise = shell.user_ns["value_regression_loss"], get("value_regression_loss")
        assert [s.name for s in sources_of(fn)] == [
            "value_regression_loss",
            "error",
            "squared",
        ] or [s.name for s in sources_of(fn)] == ["value_regression_loss", "squared", "error"]
        found = locate(fn, exercise, "0", exercise.observe(fn, "0"), PLENTY)
        assert found is not None
        assert "cell [" in sources_of(fn)[0].place
    finally:
        InteractiveShell.clear_instance()


@pytest.mark.parametrize("above, line", [("", 1), ("%%time\n", 2), ("%%capture\n\n", 3)])
def test_a_cell_below_a_magic_is_read_as_the_reader_sees_it(above, line):
    from IPython.core.interactiveshell import InteractiveShell

    shell = InteractiveShell.instance()
    try:
        for text in ("def other(x):\n    return x", "def f(x):\n    return x + 1\n"):
            shell.run_cell(above + text, store_history=True)
        source = sources_of(shell.user_ns["f"])[0]
        assert (source.first, source.lines[0]) == (line, "def f(x):")
        number = len(shell.history_manager.input_hist_raw) - 1
        assert source.place == f"cell [{number}]"
        shell.run_cell("%%time\nexec('def f(x):\\n    return x + 2')", store_history=True)
        assert sources_of(shell.user_ns["f"]) == []
    finally:
        InteractiveShell.clear_instance()


def test_the_card_comes_first_and_the_line_is_added(monkeypatch):
    shown = []

    class Handle:
        def update(self, verdict):
            shown.append(verdict)

    def show(verdict):
        shown.append(verdict)
        return Handle()

    monkeypatch.setattr(core, "show_card", show)
    name, text, lines = next(x for x in SINGLES if x[0] == "reinforce_loss")
    with pytest.raises(core.CheckFailed):
        core.check(made(text, name))
    first, second = shown
    assert first.where is None and second.where.line in lines
    assert "Show the change" in second._repr_html_() and "Line" in str(second)
    monkeypatch.setenv("PGCOURSE_SEED", "secret")  # a graded run looks for nothing
    shown.clear()
    with pytest.raises(core.CheckFailed):
        core.check(made(text, name))
    assert len(shown) == 1


def test_a_time_limit_raises_while_its_block_runs_and_never_after():
    for _ in range(200):
        try:
            drivers.within(0.001, sum, range(100_000))
        except drivers.TimeLimit:
            continue
    with pytest.raises(drivers.TimeLimit):
        drivers.within(0.05, lambda: [x for x in iter(int, 1)])


ZEROS_PUSHED = """
def a3c_push_gradients(local, shared, optimizer):
    for p, q in zip(local.parameters(), shared.parameters()):
        g = p.grad if p.grad is not None else torch.zeros_like(p)
        q.grad = g.detach().clone()
    optimizer.step(){more}
"""


@pytest.mark.parametrize(
    "more, says",
    [
        ("\n    for p in local.parameters():\n        p.grad = None", "After line 5: "),
        ("\n    optimizer.zero_grad()", "After line 5 and line 7: "),
    ],
    ids=["one change", "one of two changes"],
)
def test_what_is_put_in_stands_where_the_words_say(more, says):
    """At the end of a block it comes after a line: before it, it would be overwritten."""
    text = ZEROS_PUSHED.format(more=more)
    where = located(text, "a3c_push_gradients")
    assert says in where.says
    lines = text.split("\n")
    for a, b, new in reversed(where.spans):
        lines[a:b] = new
    assert judge(made("\n".join(lines), "a3c_push_gradients"), "a3c_push_gradients").passed


def test_two_changes_that_look_like_one_are_not_counted():
    text = """
def action_values(mdp, pi):
    q = torch.zeros_like(mdp.R)
    for _ in range(20):
        q = mdp.R + mdp.gamma * (mdp.P @ (pi * q).sum(1))
    return q
"""
    where = located(text, "action_values")
    assert "Line 4: with the change below, every case comes out right." in where.says


def test_a_change_inside_a_change_is_on_its_line():
    text = """
def ppo_clip_loss(r, adv, clip):
    return -(torch.clip(r, 1 - clip, 1 + clip) * adv).mean()
"""
    tree = function_tree(text.strip())
    path, old = next((p, n) for p, n in expressions(tree) if isinstance(n, ast.BinOp))
    new = ast.parse("torch.minimum(r * adv,\n torch.clip(r, 1, 2) * adv)", mode="eval").body
    first = Edit("an expression", "", tree, path, old, new, old.lineno)
    inside = [e for e in edits(first.tree) if e.path[: len(path)] == path]
    assert {tuple(lines_of((first, e))) for e in inside if e.kind == "detach added"} == {(2, 2)}
    assert words({2: ""}, "", 2).startswith("Line 2: with the change below")
    assert words({2: "", 3: "", 5: ""}, "", 3).startswith("Lines 2, 3 and 5: with three changes")
    assert words({2: "before ", 5: ""}, "", 2).startswith("Before line 2 and line 5: with two")


TAKEN_AWAY = [
    (
        "bradley_terry_loss",
        """def bradley_terry_loss(r_chosen, r_rejected):
    same_shape(r_chosen=r_chosen, r_rejected=r_rejected)
    return -F.logsigmoid(r_chosen - r_rejected.detach()).mean()
""",
        "    return -F.logsigmoid(r_chosen - r_rejected).mean()",
    ),
    (
        "with_baseline",
        """def with_baseline(ret, val):
    same_shape(ret=ret, val=val)
    a = ret - val.detach()
    a = (a - a.mean()) / (a.std(correction=0) + 1e-8)
    return a
""",
        None,
    ),
    (
        "discounted_returns",
        """def discounted_returns(rew, ended, gamma, last_val=0.0):
    same_shape(rew=rew, ended=ended)
    ret = torch.zeros_like(rew)
    R = torch.zeros_like(rew[0]) + last_val
    for i in reversed(range(len(rew))):
        R = rew[i] + gamma * R * (1 - ended[i].to(rew.dtype))
        ret[i] = R
    return (ret - ret.mean()) / (ret.std(correction=0) + 1e-8)
""",
        "    return ret",
    ),
]


@pytest.mark.parametrize("name, text, comes", TAKEN_AWAY)
def test_what_is_too_much_is_taken_away_rather_than_rewritten(name, text, comes):
    """No `.clone()` in place of `.detach()`, no line moved below the `return`."""
    change = located(text, name).change.split("\n")
    assert [line[2:] for line in change if line.startswith("+ ")] == [comes] * bool(comes)


@pytest.mark.parametrize("name, text, comes", CHANGES)
def test_the_change_is_what_a_person_would_do(name, text, comes):
    """Not what happens to pass: no product in a comparison of shapes, no truth value for a number."""
    change = located(text, name).change.split("\n")
    assert [line[2:] for line in change if line.startswith("+ ")] == comes


def test_two_names_are_exchanged_where_both_are_and_nowhere_around():
    tree = function_tree("def f(b, x, y):\n    return 2 + (b * y + (1 - b) * x)\n")
    exchanged = (e for e in moves(tree, scope_of(tree)) if e.kind == "two names exchanged")
    after = [e.after for e in exchanged if e.tree]
    assert "b * x + (1 - b) * y" in after and "y * b" in after
    assert not any(text.startswith("2 + ") for text in after)


def test_of_a_parameter_no_copy_is_asked_for_its_gradient():
    tree = function_tree("def f(x, y):\n    return x.grad is None, (x - y).T\n")
    tried = [*edits(tree), *moves(tree, scope_of(tree))]
    silly = {e.after for e in tried if e.tree and of_another_object(e)}
    assert {"x.detach()", "x - 1", "-x"} <= silly and not silly & {"y", "y - x", "x + y"}


def test_a_line_that_moves_is_the_one_that_is_shown():
    text = """
def reinforce_surrogate_gradient(theta, episodes, gamma):
    if not episodes:
        raise ValueError("no episodes")
    pi = softmax(theta)
    for S, A, R in episodes:
        out = torch.zeros_like(theta)
        G = discounted_returns(R, torch.zeros(len(R), dtype=torch.bool), gamma)
        for t in range(len(R)):
            out[S[t], A[t]] += gamma**t * G[t]
            out[S[t]] -= gamma**t * G[t] * pi[S[t]]
    return out / len(episodes)
"""
    where = located(text, "reinforce_surrogate_gradient")
    assert (where.lines, where.text) == ((7,), "out = torch.zeros_like(theta)")
    assert where.says.startswith("Line 7: ")


def test_a_line_that_belongs_elsewhere_is_said_to_move():
    name, text, _ = next(x for x in CHANGES if x[2] == ["        out[t] = ret"])
    where = located(text, name)
    assert where.says == "Line 5: moved after line 7, every case comes out right."


def test_of_two_changes_in_one_statement_what_goes_is_in_its_own_spelling():
    text = """
def with_baseline(ret, val):
    same_shape(ret=ret, val=val)
    return (ret - val) / ((ret - val).std()   + 1e-8)
"""
    where = located(text, "with_baseline")
    assert where.change.startswith(
        "-     return (ret - val) / ((ret - val).std()   + 1e-8)\n+     return "
    )
    assert where.spans and where.lines == (4,)


def test_two_changes_at_one_place_of_a_body_are_shown():
    text = "def critic_loss(val, target):\n    return ((val - target) ** 2).mean()\n"
    source = source_of(made(text, "critic_loss"))
    first = next(e for e in forms(source.tree) if e.kind == "another form of an argument")
    assert isinstance(first.path[0][1], slice)
    second = replace(first, root=first.tree)
    assert patch.changed(source, [first, second])


def test_what_nobody_would_write_is_not_tried():
    text = """def f(x, y):
    if y == 1:
        return max(2, x) / math.sqrt(len(x)) / y
    for _ in range(20):
        x = min(x, y) + x.exp() + torch.sum(x) + y.mean()
"""
    tree = function_tree(text)
    pieces = Pieces(function_tree("def f(x):\n    return x - 1 + -1"), {"x": "x"}, bool)
    tried = [*edits(tree), *moves(tree, scope_of(tree)), *grafts(tree, pieces)]
    made = {}
    for e in tried:
        if e.tree and not isinstance(e.new, list):
            made.setdefault((ast.unparse(at(e.root, e.path)), e.after), []).append(absurd(e))
    for silly in [
        *(("x", "y"), ("y", "x"), ("x", "x.mean()"), ("x.exp()", "x.exp().log()"), ("y", "-y")),
        *(("len(x)", "1"), ("y", "-1"), ("2", "-2"), ("1", "-1")),
    ]:
        assert any(made[silly]), silly
    for sound in [("20", "200"), ("2", "1"), ("x.exp()", "x")]:
        assert not any(made[sound]), sound


def test_a_copy_that_is_thrown_away_stops_no_search():
    text = """
def critic_loss(val, target):
    same_shape(val=val, target=target)
    target.detach()
    return ((val - target) ** 2).mean()
"""
    assert located(text, "critic_loss").lines == (4, 5)
