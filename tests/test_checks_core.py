"""The judge itself: it never raises for a student's fault, says what came, leaks nothing, takes no time."""

import inspect
import math
import random
import subprocess
import sys
import time
from dataclasses import replace

import numpy as np
import pytest
import torch
import torch.nn.functional as F

from pgcourse.checks import CheckFailed, check, compare, core, drivers, get, judge, pairs, showing
from pgcourse.checks import verdict as cards
from pgcourse.checks.core import Case, Exercise
from pgcourse.checks.drivers import PRINT_LIMIT, observe
from pgcourse.checks.edits import compiled, mistake
from pgcourse.checks.evidence import Search
from pgcourse.checks.showing import COLUMNS, LINES
from pgcourse.estimators import discounted_returns, td_target
from pgcourse.losses import reinforce_loss
from pgcourse.tensors import same_shape
from tests import messages


def right(x):
    """Twice x."""
    return 2 * x


def halves(x):
    return x / 2


EXERCISE = Exercise(
    reference=right,
    parts={"small": 1, "large": 1, "clean": 1},
    cases=[
        Case("two numbers", lambda g: dict(x=torch.tensor([1.0, 2.0])), "small", ("x",)),
        Case("many numbers", lambda g: dict(x=torch.randn(50, generator=g)), "large", ("x",)),
    ],
    mistakes=[mistake("half", "It halves x.", halves, why="Half is not twice.")],
    read="here",
    seconds=0.5,
)


def verdict_of(fn, **rest):
    return judge(fn, EXERCISE, **rest)


def test_the_message_says_what_why_and_where():
    text = str(verdict_of(halves))
    for part in ("half", "It halves x.", "x = [1, 2]", "expected: [2, 4]", "yours   : [0.5, 1]"):
        assert part in text
    assert "Half is not twice." in text and "Read: here" in text


def test_half_a_solution_earns_half():
    verdict = verdict_of(lambda x: 2 * x if len(x) < 10 else x)
    assert verdict.score == 2 and verdict.earned == {"small": True, "large": False, "clean": True}
    assert (
        verdict_of(lambda x: 2 * x if len(x) > 10 else x).score == 0
    )  # the first part is the gate


@pytest.mark.parametrize(
    "fn, name, says",
    [
        (lambda x: (2 * x).unsqueeze(0), "wrong shape", "[2]"),
        (lambda x: (2 * x).half(), "wrong dtype", "float32"),
        (lambda x: (2 * x).tolist(), "wrong type", "list"),
        (lambda x: (2 * x).detach().numpy(), "wrong type", "numpy"),
        (lambda x: 2 * x.detach(), "detach added", "it is detached"),
        (lambda x: 2 * x * float("nan"), "not a number", "nan"),
        (lambda x: 2 * x / 0, "infinite", "inf"),
        (lambda x: -2 * x, "wrong sign", "sign"),
        (lambda x: 6 * x, "wrong factor", "3 times"),
        (lambda x: -3 * x, "wrong factor", "-1.5 times"),
        (lambda x: 6 * x.detach() - 4 * x, None, "gradient into `x` is off: here it is -2 times"),
        (lambda x: 2 * x + 1, None, "off by 1"),
        (lambda x: 2 * x.flip(0), "another form of an argument", "reversed order"),
    ],
)
def test_what_differs_is_stated_as_a_fact(fn, name, says):
    verdict = verdict_of(fn)
    assert verdict.pitfall == name and verdict.score == 0
    assert says in verdict.message


def test_two_mistakes_do_not_hide_each_other():
    """A pitfall is named up to a factor, and where it is seen on all cases of one part."""
    assert verdict_of(lambda x: -x / 2).pitfall == "wrong factor"  # half and minus: one factor
    verdict = judge(lambda logp, ret: -3 * (logp * ret).mean(), "reinforce_loss")
    assert verdict.pitfall == "gradient into the returns"


def test_what_is_so_in_one_part_is_said_of_that_part():
    """Only a small return counts, twice; in the part where all are larger it looks as if it were ignored."""

    def counts_if_small(theta, action, ret, lr):
        hot = torch.nn.functional.one_hot(torch.as_tensor(action), len(theta)).to(theta.dtype)
        return theta + lr * (1.0 if ret > 1.5 else 2 * ret) * (hot - torch.softmax(theta, 0))

    message = judge(counts_if_small, "score_step").message
    assert message.endswith(
        "That explains “the worked example”; elsewhere more is off, or it shows in another way."
    )


def test_taking_requires_grad_away_is_a_change():
    def detaches_in_place(logp, ret):
        same_shape(logp=logp, ret=ret)
        return -(logp * ret.detach_()).mean()

    verdict = judge(detaches_in_place, "reinforce_loss")
    assert not verdict.passed and verdict.pitfall == "modified input"


def test_more_digits_are_right_and_fewer_are_not():
    assert verdict_of(lambda x: 2 * x.double()).passed
    case = Case("float64", lambda g: dict(x=torch.ones(2, dtype=torch.float64)), "small")
    exercise = replace(EXERCISE, cases=[case, *EXERCISE.cases[1:]])
    assert judge(lambda x: 2 * x, exercise, seed="digits").passed
    assert judge(lambda x: (2 * x).float(), exercise, seed="digits").pitfall == "wrong dtype"


def test_a_factor_that_torch_rounds_to_32_bits_is_right():
    """gamma * (~ended) is: a number times a bool. With 50 steps one seed in three has a small advantage."""

    def gae(rew, val, next_val, terminated, ended, gamma, lam):
        same_shape(rew=rew, val=val, next_val=next_val, terminated=terminated, ended=ended)
        delta = (rew + gamma * (~terminated) * next_val - val).detach()
        adv, running = torch.zeros_like(delta), torch.zeros_like(delta[0])
        for t in reversed(range(len(delta))):
            running = delta[t] + gamma * lam * (~ended[t]) * running
            adv[t] = running
        return adv

    assert all(judge(gae, "gae", seed=str(seed)).passed for seed in range(20))


def test_a_gradient_into_a_constant_is_seen():
    verdict = judge(lambda logp, ret: -(logp * ret).mean(), "reinforce_loss")
    assert verdict.pitfall == "gradient into the returns"
    verdict = judge(lambda logp, ret: -(logp * (ret + 0.0 * logp.sum())).mean(), "reinforce_loss")
    assert not verdict.passed


def test_an_exception_in_one_case_tells_more_than_a_number_that_is_off_in_another():
    verdict = verdict_of(lambda x: x + torch.tensor([3.0, 7.0]))
    assert verdict.pitfall == "exception" and "many numbers" in verdict.example


def test_an_operation_that_torch_lacks_is_no_stub():
    def averages_integers(x):
        return torch.tensor([1, 2]).lerp(torch.tensor([3, 4]), 0.5)

    assert verdict_of(averages_integers).pitfall == "exception"


def test_a_constant_that_asks_for_gradients_is_none():
    target = get("soft_q_target")
    verdict = judge(lambda *args: target.reference(*args).requires_grad_(), target)
    assert verdict.pitfall == "gradient into a constant"


def test_endless_loops_end():
    def endless(x):
        while True:
            pass

    def swallows(x):
        while True:
            try:
                while True:
                    pass
            except Exception:
                pass

    def waits(x):
        time.sleep(1000)

    for fn in (endless, swallows, waits):
        verdict = verdict_of(fn)
        assert verdict.pitfall == "endless loop" and verdict.score == 0


@pytest.mark.parametrize("leave", [SystemExit, GeneratorExit, MemoryError, RecursionError, Warning])
def test_whatever_is_raised_is_the_students_fault(leave):
    def raises(x):
        raise leave("out")

    verdict = verdict_of(raises)
    assert verdict.pitfall == "exception" and leave.__name__ in verdict.message


def test_inputs_and_global_state_are_put_back():
    def meddles(x):
        out = 2 * x
        with torch.no_grad():
            x += 1
        torch.set_default_dtype(torch.float64)
        torch.set_grad_enabled(False)
        torch.manual_seed(1)
        return out

    before = torch.random.get_rng_state()
    verdict = verdict_of(meddles)
    assert verdict.score == 2 and verdict.pitfall == "modified input"
    assert torch.get_default_dtype() == torch.float32 and torch.is_grad_enabled()
    assert torch.equal(before, torch.random.get_rng_state())


def test_a_wrong_number_from_a_changed_input_is_put_down_to_the_change():
    def clamps(x):
        x.data.clamp_(-0.1, 0.1)
        return 2 * x

    assert verdict_of(clamps).pitfall == "modified input"


def gauss(x):
    """A helper with the name of a random function."""
    return 2 * x


def test_random_numbers_are_seen_in_code_and_not_in_the_name_of_a_helper():
    args = {"x": torch.zeros(1)}
    assert not observe("call", lambda x: gauss(x), args)["random"]
    assert observe("call", lambda x: gauss(torch.rand(1)), args)["random"]


def test_prints_are_capped_and_stay_out_of_the_way(capsys):
    seen = observe("call", lambda x: print("y" * 10_000_000), {"x": torch.zeros(1)})
    assert len(seen["printed"]) == PRINT_LIMIT
    assert capsys.readouterr().out == ""


def test_a_hard_coded_answer_fails_under_another_seed():
    known = {
        tuple(EXERCISE.inputs(i, "0")["x"].tolist()): 2 * EXERCISE.inputs(i, "0")["x"]
        for i in (0, 1)
    }

    def remembers(x):
        return known[tuple(x.tolist())] + 2 * (x - x.detach())

    assert verdict_of(remembers, seed="0").passed
    assert not verdict_of(remembers, seed="secret").passed


def test_a_secret_seed_keeps_inputs_and_answers_to_itself(monkeypatch):
    monkeypatch.setenv("PGCOURSE_SEED", "secret")
    verdict = verdict_of(halves)
    assert verdict.example == "" and verdict.pitfall == "half"
    assert "expected" not in str(verdict) and "expected" not in verdict._repr_html_()


def test_check_returns_points_or_raises(capsys):
    assert check(right, EXERCISE) == 3.0 and type(check(right, EXERCISE)) is float
    with pytest.raises(CheckFailed) as failure:
        check(halves, EXERCISE)
    assert failure.value.verdict.pitfall == "half"
    assert isinstance(failure.value, AssertionError)
    assert len(failure.value._render_traceback_()) == 1


def test_the_card_escapes_what_a_student_wrote():
    def hostile(x):
        raise ValueError("<script>alert(1)</script>")

    assert "<script>" not in verdict_of(hostile)._repr_html_()


def test_names_are_found_and_aliases_are_judged_as_what_they_claim():
    assert judge(discounted_returns).passed
    assert not judge(discounted_returns, "reinforce_loss").passed
    assert judge(lambda logp, ret: reinforce_loss(logp, ret), "reinforce_loss").passed
    with pytest.raises(KeyError, match="no exercise is called 'nonsense'"):
        get("nonsense")


def test_an_exercise_must_say_what_its_parts_are():
    with pytest.raises(ValueError, match="parts"):
        Exercise(reference=right, parts={"small": 1}, cases=[], mistakes=[], read="")


def test_the_worker_side_knows_no_answers():
    """drivers.py can be imported where no reference is: it imports neither formulas nor pitfalls."""
    code = (
        "import sys, importlib.util, types\n"
        "for name in ('estimators', 'losses'):\n"
        "    sys.modules['pgcourse.' + name] = None\n"
        "import pgcourse\n"
        "package = types.ModuleType('pgcourse.checks'); package.__path__ = [pgcourse.__path__[0] + '/checks']\n"
        "sys.modules['pgcourse.checks'] = package\n"
        "import pgcourse.checks.drivers\n"
        "assert 'pgcourse.checks.core' not in sys.modules\n"
    )
    subprocess.run([sys.executable, "-c", code], check=True)


def test_a_tensor_of_another_kind_is_wrong_and_no_crash():
    verdict = verdict_of(lambda x: (2 * x).to_sparse())
    assert not verdict.passed and "tensor with torch.sparse_coo" in str(verdict)


def test_parts_that_were_not_counted_are_neither_right_nor_wrong():
    verdict = verdict_of(halves)
    assert verdict.earned == {"small": False, "large": None, "clean": None}
    assert "✗ small  – large  – clean" in str(verdict)
    verdict = verdict_of(3)
    assert not any(ok is False for ok in verdict.earned.values())


@pytest.mark.parametrize("scale", [float("inf"), float("-inf"), 1e300, float("nan")])
def test_a_gradient_that_overflows_is_said_and_no_crash(scale):
    class Overflows(torch.autograd.Function):
        @staticmethod
        def forward(ctx, x):
            return 2 * x

        @staticmethod
        def backward(ctx, grad):
            return torch.cat([grad[:1] * scale, grad[1:]])

    one = Case("one", lambda g: dict(x=torch.ones(1)), "small", ("x",))
    for seed, cases in [("two", EXERCISE.cases), (f"one {scale}", [one, *EXERCISE.cases[1:]])]:
        verdict = judge(Overflows.apply, replace(EXERCISE, cases=cases), seed)
        assert not verdict.passed and "gradient into `x`" in verdict.message


def test_a_guard_is_spoken_of_where_one_was_given():
    def loss_without_guard(logp, ret):
        return -(logp * ret.detach()).mean()

    def spread_of_one(grads):
        return grads.var(dim=0).sum() if len(grads) > 1 else torch.tensor(0.0)

    verdict = judge(loss_without_guard, "reinforce_loss")
    assert verdict.pitfall == "no ValueError" and "given at the top" in verdict.message, verdict
    verdict = judge(spread_of_one, "gradient_variance")  # its `if` is given
    assert verdict.pitfall == "no ValueError" and "given at the top" in verdict.message, verdict
    verdict = judge(
        lambda grads: (spread_of_one(grads) / len(grads)).sqrt(), "standard_error"
    )  # its reference asks `gradient_variance`, which raises: no line was given
    assert verdict.pitfall == "no ValueError" and "given at the top" not in verdict.message


def test_what_was_written_and_not_run_is_told_how_to_run():
    def stub(x):
        raise NotImplementedError

    verdict = verdict_of(stub)
    assert verdict.pitfall == "not written" and "run its cell" in verdict.message
    assert "run its cell" not in verdict_of(stub, seed="secret").message


@pytest.mark.parametrize(
    "name", ["gae", "actor_critic_step", "ppo_update", "rlhf_step", "polyak_update"]
)
def test_an_example_fits_a_card_and_shows_what_differs(name):
    exercise = get(name)
    for pitfall in exercise.pitfalls[:12]:
        verdict = judge(pitfall.wrong, exercise)
        lines = verdict.example.split("\n")
        assert len(lines) <= LINES and max(map(len, lines)) <= COLUMNS, verdict
        right, yours = (
            [x for x in lines if x.strip().startswith(w)] for w in ("expected", "yours")
        )
        tails = [[x.partition(":")[2] for x in found] for found in (right, yours)]
        assert not right or tails[0] != tails[1], verdict
        assert "keep" not in verdict.example and "left_over" not in verdict.example


def test_an_example_shows_the_place_that_differs():
    long = Case("a long one", lambda g: dict(x=torch.arange(40.0)), "small")
    exercise = replace(
        EXERCISE, reference=right_at_length, cases=[long, EXERCISE.cases[1]], mistakes=[]
    )

    def one_off(x):
        return 2 * x + 1e-2 * (torch.arange(len(x)) == 31)

    text = judge(one_off, exercise, "0").example
    assert "x[28:36] of shape [40]" in text and "62.01" in text

    nested = Case("a dict", lambda g: dict(x=torch.ones(2)), "small")
    exercise = Exercise(
        reference=right_dict,
        parts={"small": 1, "clean": 1},
        cases=[nested],
        mistakes=[],
        read="here",
    )
    text = judge(lambda x: right_dict(x) | {"h": 7.00001}, exercise).example
    assert judge(lambda x: right_dict(x) | {"h": 7.00001}, exercise).passed
    text = judge(lambda x: right_dict(x) | {"h": 7.001}, exercise).example
    assert "expected ['h']: 7" in text and "yours ['h']   : 7.001" in text and "'a'" not in text
    text = judge(lambda x: {k: v for k, v in right_dict(x).items() if k != "h"}, exercise).example
    assert "no such entry" in text


def right_at_length(x):
    return 2 * x


def right_dict(x):
    return {k: float(i) for i, k in enumerate("abcdefgh")}


def test_a_quiz_answers_in_the_words_of_the_quiz():
    quiz = get("quiz_actor_or_critic")
    right = quiz.reference()
    key = next(k for k, x in right.items() if isinstance(x, int | float))

    def card(answer):
        return judge(lambda: right | {key: answer}, quiz)

    assert judge(lambda: right | {key: f" {right[key]} "}, quiz).passed  # a number in quotes
    assert card("b").message == f"“{key}” asks for a number; 'b' is a word or letter."
    assert f"“{key}”: 12345 is not the right answer." == card(12345).message
    for nothing in (None, ""):
        assert f"“{key}” has no answer yet" in card(nothing).message
    assert (
        "has no answer yet"
        in judge(lambda: {k: x for k, x in right.items() if k != key}, quiz).message
    )
    letters = get("quiz_baselines")
    for odd in (None, 3, 2.5, ["a", 3], [None], {"a": 1}):
        verdict = judge(lambda odd=odd: letters.reference() | {"unbiased": odd}, letters)
        assert not verdict.passed and "line" not in verdict.message and "join" not in str(verdict)
    verdict = judge(lambda: None, letters)
    assert verdict.message == "Expected a dict of answers; got NoneType."


SOFTMAX = """
def softmax(theta):
    z = torch.exp(theta)
    return z / z.sum(dim=-1, keepdim=True)

def policy(theta):
    return softmax(theta)

def grad_log_softmax(theta, action):
    score = {}policy(theta)
    score[action] += 1
    return score
"""


@pytest.mark.parametrize(
    "wrong", ["return theta", "raise NotImplementedError", "z = torch.exp(theta)"]
)
def test_an_error_carried_forward_costs_nothing_again(wrong):
    notebook = {"torch": torch}
    exec(SOFTMAX.format("-").replace("z = torch.exp(theta)", wrong, 1), notebook)
    assert not judge(notebook["softmax"]).passed
    for seed in ("0", "secret"):
        verdict = judge(notebook["grad_log_softmax"], seed=seed)
        assert verdict.passed and verdict.score == verdict.points
        for text in (str(verdict), verdict._repr_html_()):
            assert "is right; but your `softmax`, which it calls, breaks it" in text


def test_a_mistake_of_ones_own_is_not_put_down_to_a_helper():
    notebook = {"torch": torch}
    exec(SOFTMAX.format("+"), notebook)
    verdict = judge(notebook["grad_log_softmax"])
    assert not verdict.passed and "your `softmax`" not in verdict.message
    right = SOFTMAX.replace("torch.exp(theta)", "torch.exp(theta - theta.max(-1, True).values)")
    exec(right.format("-"), notebook)
    assert str(judge(notebook["grad_log_softmax"])).count("softmax") == 1


def log_of_a_little_more(logits, mask=None):
    same_shape(states=logits[..., 0], mask=mask)
    pi = torch.softmax(logits, -1)
    each = -(pi * torch.log(pi + 1e-6)).sum(-1)
    return each.mean() if mask is None else each[mask].mean()


def with_slope(slope):
    def fn(mean, log_std, pre_tanh):
        same_shape(mean=mean, log_std=log_std, pre_tanh=pre_tanh)
        gauss = torch.distributions.Normal(mean, log_std.exp()).log_prob(pre_tanh)
        return (gauss - torch.log(slope(torch.tanh(pre_tanh)))).sum(-1)

    return fn


log_of_the_slope = with_slope(lambda a: 1 - a**2 + 1e-6)
log_of_a_floor = with_slope(lambda a: (1 - a**2).clamp(min=1e-4))
log_of_a_clamped_action = with_slope(lambda a: 1 - a.clamp(-1 + 1e-6, 1 - 1e-6) ** 2)


@pytest.mark.parametrize(
    "fn, exercise, name",
    [
        (log_of_a_little_more, "entropy", "a tiny number in the log"),
        (log_of_the_slope, "squashed_gaussian_logp", "a small number in the log"),
        (log_of_a_floor, "squashed_gaussian_logp", "a floor under the slope"),
        (log_of_a_clamped_action, "squashed_gaussian_logp", "epsilon or clamp"),
    ],
)
def test_an_approximation_of_practice_has_a_name_and_most_of_the_points(fn, exercise, name):
    for seed in ("0", "secret"):
        verdict = judge(fn, exercise, seed)
        assert verdict.pitfall == name
        assert verdict.points / 2 < verdict.score < verdict.points, verdict


def test_nothing_is_one_times_the_right_one():
    verdict = verdict_of(lambda x: 2.0003 * x)
    assert not verdict.passed and " 1 times" not in verdict.message


@pytest.mark.parametrize(
    "exercise", ["critic_loss", "actor_loss", "sac_critic_loss", "ppo_clip_loss"]
)
def test_a_constant_that_is_not_detached_costs_a_share_and_not_all(exercise):
    reference = get(exercise).reference
    text = inspect.getsource(reference).replace(".detach()", "")
    space = dict(reference.__globals__)
    exec(text, space)
    verdict = judge(space[exercise])
    assert 0 < verdict.points - verdict.score <= 0.2 * verdict.points, verdict


def test_after_the_third_failure_in_a_row_the_card_says_what_helps(monkeypatch, capsys):
    monkeypatch.setattr(cards, "FAILED", {})
    right = get("softmax").reference

    def softmax(theta):
        return theta

    def said():
        try:
            check(softmax)
        except CheckFailed:
            pass
        return "Stuck? Unfold the next hint" in capsys.readouterr().out

    assert [said() for _ in range(3)] == [False, False, True]
    check(right)
    capsys.readouterr()
    assert not said()  # a right one in between: from the beginning
    assert [said() for _ in range(2)] == [False, True]
    monkeypatch.setenv("PGCOURSE_SEED", "secret")
    assert not said()


def test_the_stuck_card_links_to_the_solved_lesson(tmp_path, monkeypatch):
    verdict = judge(lambda theta: theta, "softmax")
    monkeypatch.setattr(cards, "FAILED", {"softmax": 2})
    (tmp_path / "course").mkdir()
    monkeypatch.chdir(tmp_path / "course")
    words = cards.stuck(verdict)
    assert "solutions/" not in words and "ask somebody" in words  # a class without them
    (tmp_path / "solutions").mkdir()
    (tmp_path / "solutions" / "01_policy_gradient_theorem.ipynb").touch()
    words = cards.stuck(verdict)
    shown = replace(verdict, stuck=words)._repr_html_()
    assert "<a href='../solutions/01_policy_gradient_theorem.ipynb'>" in shown
    assert get("softmax").lesson == "01_policy_gradient_theorem"


def test_a_function_that_draws_random_numbers_is_seen_alike_each_time():
    """Whatever ran before: else a mistake that draws would be named in one order of tests, not in another."""

    def draws(x):
        return x + torch.rand(1) + np.random.rand() + random.random()

    args, seen = {"x": torch.zeros(1)}, []
    for seed in (1, 2):
        torch.manual_seed(seed), np.random.seed(seed), random.seed(seed)
        before = drivers.settings()
        seen.append(observe("call", draws, args))
        assert not drivers.changed(before)
    assert seen[0]["out"] == seen[1]["out"] and len(seen[0]["state"]) == 3


def test_few_numbers_are_compared_as_torch_does(monkeypatch):
    """Near the tolerance, with nan and infinities in either, in 32 and 64 bits."""
    g = torch.Generator().manual_seed(0)
    odd, agreed = [math.nan, math.inf, -math.inf, 0.0], []
    for k in range(2_000):
        dtype = (torch.float32, torch.float64)[k % 2]
        b = 10 ** (6 * torch.rand(3, generator=g) - 3).to(dtype)
        a = b + (3 * torch.rand(3, generator=g) - 1.5) * 10.0 ** -(4 + k % 4) * b.max()
        for x in (a, b):
            if torch.rand(1, generator=g) < 0.3:
                x[int(3 * torch.rand(1, generator=g))] = odd[int(4 * torch.rand(1, generator=g))]
        found = []
        for few in (compare.FEW, 0):
            monkeypatch.setattr(compare, "FEW", few)
            found.append(compare.close(a, b))
        monkeypatch.setattr(compare, "FEW", 64)
        assert found[0] == found[1], (a, b)
        agreed.append(found[0])
    assert 300 < sum(agreed) < 1_700


def test_settings_are_put_back_after_each_call_or_after_all_of_them():
    def changes(x):
        torch.set_default_dtype(torch.float64)
        torch.set_grad_enabled(False)
        random.random()
        return x + 1

    args, before = {"x": torch.zeros(1)}, drivers.settings()
    with drivers.steady():
        seen = [observe("call", changes, args) for _ in range(2)]
        with drivers.steady():
            np.random.rand()
    assert [len(s["state"]) for s in seen] == [3, 3]
    assert not drivers.changed(before)
    observe("call", changes, args)
    assert not drivers.changed(before)
    with pytest.raises(KeyError), drivers.steady():
        torch.rand(1), {}["x"]
    assert not drivers.changed(before)


def test_nonsense_digits_are_not_shown():
    assert showing.number(2.196e15, 4) == ">1e+14" and showing.number(-1e300, 4) == "<-1e+14"
    assert showing.number(-1.298e12, 4) == "-1.298e+12" and showing.number(math.inf, 4) == "inf"
    assert showing.number(-0.0, 4) == "0" and showing.number(-1e-9, 4) == "-1e-09"


@pytest.mark.parametrize(
    "right, wrong, says",
    [
        ([0.0, 0.0], [1.0, 2.0], "0 times"),
        ([3e8, 6e8], [1.0, 2.0], "3e+08 times"),
        ([0, 2], [0, 3], "times"),
        ([1, 2], [2, 3], "is off by"),
    ],
)
def test_a_factor_or_offset_is_said_where_it_tells_something(right, wrong, says):
    assert says not in compare.relation(torch.tensor(right), torch.tensor(wrong))
    assert "2 times" in compare.relation(torch.tensor([2.0, 4.0]), torch.tensor([1.0, 2.0]))


def test_an_allowed_factor_is_no_second_mistake():
    """Half of the squared error is right, and so a Huber loss is one mistake with and without the half."""

    def huber(q1, q2, target, scale):
        same_shape(q1=q1, q2=q2, target=target)
        y = target.detach()
        return scale * (F.smooth_l1_loss(q1, y) + F.smooth_l1_loss(q2, y))

    for scale in (1, 2):
        verdict = judge(lambda q1, q2, y, s=scale: huber(q1, q2, y, s), "sac_critic_loss")
        assert "the Huber loss" in verdict.message and "Besides" not in verdict.message
    verdict = judge(lambda q1, q2, y: huber(q1, q2, y, 3), "sac_critic_loss")
    assert "the Huber loss" in verdict.message and "Besides, it is" in verdict.message


def test_a_wrong_dtype_is_shown_by_its_name():
    def single(theta):
        return torch.softmax(theta.float(), -1)

    assert "expected dtype: float64\nyours dtype   : float32" in str(judge(single, "softmax"))


def test_the_card_waits_for_no_name_and_is_completed():
    """With no time at all the verdict is true, short of a name, and says that it was hurried."""
    exercise = get("discounted_returns")

    def two_mistakes(rew, ended, gamma, last_val=0.0):
        same_shape(rew=rew, ended=ended)
        ret, running = torch.zeros_like(rew), torch.zeros_like(rew[0])
        for t in reversed(range(len(rew))):
            running = rew[t] + gamma * running
            ret[t] = running
        return ret

    hurried = core.judged(two_mistakes, exercise, "0", seconds=0.0)[0]
    assert hurried.hurried and hurried.pitfall is None and hurried.score == 3
    named = judge(two_mistakes, exercise, "0")
    assert named.pitfall == "no reset, and no bootstrap" and named.score == 3
    # two are said where neither can be left out
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(pairs, "idle", lambda *args: True)
        patch.setattr(core, "KNOWN", {})
        assert judge(two_mistakes, exercise, "0").pitfall != named.pitfall


def test_the_card_of_a_slow_exercise_keeps_its_time(monkeypatch):
    """A cold search through all that an update may do wrong would take several seconds."""
    monkeypatch.setattr(core, "KNOWN", {})

    def over_the_largest(actor, critic, actor_opt, critic_opt, batch, gamma):
        val = critic(batch["obs"])
        next_val = critic(batch["next_obs"]).detach()
        target = td_target(batch["rew"], next_val, batch["terminated"], gamma)
        adv = (target - val).detach()
        logp = torch.log_softmax(actor(batch["obs"]), -1).gather(-1, batch["act"][:, None])[:, 0]
        losses = ((val - target) ** 2).mean(), -(logp * adv / adv.abs().max()).mean()
        for loss, opt in zip(losses, (critic_opt, actor_opt), strict=True):
            opt.zero_grad()
            loss.backward()
            opt.step()
        return {"actor_loss": 0.0, "critic_loss": 0.0, "adv": 0.0}

    began = time.process_time()
    verdict = core.judged(over_the_largest, "actor_critic_step", "0", core.budget.CARD)[0]
    assert time.process_time() - began < 2  # twice what it is: a busy machine counts some twice
    assert verdict.hurried and verdict.pitfall == "the actor's step alone"


def test_the_name_that_was_looked_for_longer_is_shown(monkeypatch, capsys):
    def ignored(rew, ended, gamma, last_val=0.0):
        return discounted_returns(rew, torch.zeros_like(ended), gamma, 0.0)

    monkeypatch.setattr(core.budget, "CARD", 0.0)
    check(ignored, "discounted_returns")
    said = capsys.readouterr().out
    assert said.index("The result is off") < said.index("It ignores `ended`")


def test_a_second_mistake_is_said_only_where_it_shows():
    """Without its tiny constant a spread over the whole batch is no other: nothing is 0/0 there."""
    exercise = get("grpo_advantages")
    mistakes = {m.name: m for m in exercise.pitfalls}
    a, b, c = (mistakes[n] for n in ("whole batch", "zero divided by zero", "sign"))
    first, second = a.versions[0], b.versions[1]
    wrong = compiled(exercise.reference, [*first, *second])
    _, seen, expected, faults, _ = exercise.credit("0", exercise.observe(wrong, "0"))
    failing = [i for i, fault in enumerate(faults) if fault]
    search = Search(exercise, "0", seen, expected, failing, faults)
    assert pairs.idle(search, (), a, first, b, second)
    assert not pairs.idle(search, (), a, first, c, c.versions[0])
    assert judge(wrong, exercise).pitfall == "whole batch"


def test_what_should_be_refused_and_is_not_is_said_beside_the_mistake():
    def sums_without_a_guard(theta, actions, returns):
        pi, total = torch.softmax(theta, -1), torch.zeros_like(theta)
        for action, ret in zip(actions, returns.flatten(), strict=False):
            score = -pi
            score[action] += 1
            total = total + ret * score
        return total

    says = judge(sums_without_a_guard, "score_function_gradient").message
    assert says.startswith("It sums over the samples") and "Besides, it should raise a" in says
    # what a mistake does itself is no second one
    for name in ("rloo_advantages", "policy_gradient_loss"):
        for m in get(name).pitfalls:
            assert "Besides, it should raise" not in messages.verdict(name, m.wrong, "0").message


def test_of_a_reversed_sign_nothing_is_said_that_follows_from_the_mistake_alone():
    def the_wrong_way_round(ret, val):
        same_shape(ret=ret, val=val)
        return val - ret

    verdict = judge(the_wrong_way_round, "with_baseline")
    assert verdict.message.startswith("The sign is reversed. But for that: A gradient flows from")
    assert not verdict.why

    def size_with_the_right_sign(log_alpha, logp, target_entropy):
        return -log_alpha.exp() * (logp.detach() + target_entropy).mean().abs()

    verdict = judge(size_with_the_right_sign, "temperature_loss")
    assert verdict.pitfall == "absolute difference" and "sign" not in verdict.message


def test_what_is_right_and_what_came_are_cut_alike():
    def numerator_detached(theta):
        e = torch.exp(theta - theta.detach().amax(-1, keepdim=True))
        return e.detach() / e.sum(-1, keepdim=True)

    example = judge(numerator_detached, "softmax").example
    right, came = (line.split(": [[")[0].split(":", 1)[1] for line in example.split("\n")[-2:])
    assert "of shape [3, 4]" in right and right == came
