"""The judge itself: it never raises for a student's fault, says what came, leaks nothing, takes no time."""

import subprocess
import sys
import time
from dataclasses import replace

import pytest
import torch

from pgcourse.checks import CheckFailed, check, get, judge
from pgcourse.checks.core import Case, Exercise, Pitfall
from pgcourse.checks.drivers import PRINT_LIMIT, observe
from pgcourse.estimators import discounted_returns
from pgcourse.losses import reinforce_loss
from pgcourse.tensors import same_shape


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
    pitfalls=[Pitfall("half", "It halves x.", halves, "Half is not twice.")],
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
        (lambda x: 2 * x.detach(), "detach added", "`2 * x`"),
        (lambda x: 2 * x * float("nan"), "not a number", "nan"),
        (lambda x: 2 * x / 0, "infinite", "inf"),
        (lambda x: -2 * x, "wrong sign", "sign"),
        (lambda x: 6 * x, "wrong factor", "3 times"),
        (lambda x: -3 * x, "wrong factor", "-1.5 times"),
        (lambda x: 6 * x.detach() - 4 * x, None, "gradient into `x` is off: it is -2 times"),
        (lambda x: 2 * x + 1, None, "off by 1"),
        (lambda x: 2 * x.flip(0), None, "reversed order"),
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
        Exercise(reference=right, parts={"small": 1}, cases=[], pitfalls=[], read="")


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
