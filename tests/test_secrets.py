"""What a submission learns of the numbers that decide its points: nothing that it could pass on."""

from dataclasses import replace

import pytest

from pgcourse.checks import get, lesson_exercises
from pgcourse.checks.core import KNOWN, VISIBLE_SEED, Case
from pgcourse.classroom import judge, wire
from pgcourse.classroom.build import ROOT
from tests import classes
from tests.adversaries import RIGHT, SIGNATURE, attack, inside, whole
from tests.classes import FULL, SOURCE, graded

pytestmark = pytest.mark.usefixtures("tidy")


@pytest.fixture(autouse=True)
def hurried(monkeypatch):
    classes.hurry(monkeypatch)


def test_words_come_before_every_secret_number(monkeypatch):
    seeds, run = [], judge.Run.judge_one

    def judge_one(self, exercise, seed):
        seeds.append((id(self), seed))
        return run(self, exercise, seed)

    monkeypatch.setattr(judge.Run, "judge_one", judge_one)
    graded({"score_step": whole("return theta * 3")})
    first = [who for who, seed in seeds if seed == VISIBLE_SEED]
    assert {seed for _, seed in seeds[: len(first)]} == {VISIBLE_SEED}
    assert not {who for who, seed in seeds if seed != VISIBLE_SEED} & set(first)


def test_each_submission_has_numbers_of_its_own():
    one, other = b"{}", b"{} "
    seeds = {judge.own_seed(seed, SOURCE, data) for seed in ("a", "b") for data in (one, other)}
    assert len(seeds) == 4 and all(len(seed) == 64 for seed in seeds)
    assert judge.own_seed("a", SOURCE, one) != judge.own_seed("a", SOURCE + " ", one)
    assert judge.own_seed(VISIBLE_SEED, SOURCE, one) == VISIBLE_SEED
    assert not [key for key in KNOWN if len(str(key[2])) == 64], "kept after grading"


def test_two_cases_generators_differ_by_no_constant():
    """With a sum that is linear, like a CRC, one case of a seed gives away all its other ones."""
    seeds = []
    case = Case("any", lambda generator: seeds.append(generator.initial_seed()) or {}, "value")
    exercise = replace(
        get("score_step"), cases=[case, replace(case, name="other")], parts={"value": 1, "clean": 1}
    )
    for seed in "abcdefgh":
        exercise.inputs(0, seed)
        exercise.inputs(1, seed)
    assert len({one ^ other for one, other in zip(seeds[::2], seeds[1::2], strict=True)}) == 8


CHANNELS = {
    "the words of an exception": inside("raise ValueError(f'seen {float(theta.sum()):.9f}')"),
    "the name of an exception": inside(
        "raise type(f'E{abs(int(theta.sum() * 10**9))}', (Exception,), {})()"
    ),
    "the signal": inside("import os\nos.kill(os.getpid(), int(abs(theta.sum() * 10**6)) % 20 + 1)"),
    "the shape": inside("return torch.zeros(int(abs(theta.sum() * 10**6)) % 997 + 5)"),
    "the factor": inside("return (theta * 0 + abs(theta.sum()) * 10**3)"),
    "the type": inside("return [0] * (int(abs(theta.sum() * 10**6)) % 997)"),
    "what is printed": inside("print(theta)\nraise KeyError(str(theta.tolist()))"),
    "files for later": inside(
        "open('seen', 'a').write(str(theta.tolist()))\nraise ValueError(open('seen').read()[-300:])"
    ),
}


@pytest.mark.parametrize("channel", CHANNELS)
def test_nothing_that_is_said_depends_on_the_secret(channel):
    """Another seed gives other secret inputs; every word stays as it was."""
    said = [
        graded({"score_step": CHANNELS[channel]}, seed)["score_step"]
        for seed in ("one", "two", "three")
    ]
    assert said[0]["score"] < FULL["score_step"]
    for other in said[1:]:
        assert {k: said[0][k] for k in ("message", "why", "traceback")} == {
            k: other[k] for k in ("message", "why", "traceback")
        }


THIEF = """
import os, select, threading


def steal():
    while True:
        for fd in range(3, 64):
            try:
                if select.select([fd], [], [], 0)[0]:
                    os.read(fd, 2**16)
            except OSError:
                pass


threading.Thread(target=steal, daemon=True).start()
"""


def test_who_stalls_the_wire_pays_alone():
    verdicts = graded({"score_step": attack(THIEF, RIGHT)})
    lost = {name for name, v in verdicts.items() if v["score"] < FULL[name]}
    assert lost <= {"score_step"}, lost


def test_who_hangs_up_late_pays_alone():
    code = "import os, threading\nthreading.Timer(0.5, os._exit, (0,)).start()"
    verdicts = graded({"softmax": classes.RIGHT["softmax"] + "\n\n\n" + code})
    assert {name for name, v in verdicts.items() if v["score"] < FULL[name]} <= {"softmax"}


def test_the_signal_is_said_of_the_visible_run_only():
    code = (
        SIGNATURE
        + "    import os\n    if SHOWN:\n        return theta\n    os.kill(os.getpid(), 15)\n"
    )
    shown = [
        get("score_step").inputs(i, VISIBLE_SEED)["theta"].tolist()
        for i in range(len(get("score_step").cases))
    ]
    secret = graded({"score_step": code.replace("SHOWN", f"theta.tolist() in {shown!r}")})[
        "score_step"
    ]
    assert "SIG" not in secret["message"]
    open_ = graded({"score_step": code.replace("SHOWN", "False")})["score_step"]
    assert "SIGTERM" in open_["message"]


def test_a_judge_holds_little_of_what_is_sent():
    """All cases of an exercise at once, whatever they are: a hostile one, and every honest one."""
    import resource

    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    big = {
        "score_step": whole("return torch.zeros(2**24 - 16)"),
        "softmax": "def softmax(theta):\n    return [[] for _ in range(10**6)]",
        "grad_log_softmax": "def grad_log_softmax(theta, action):\n    return torch.zeros(2**22 // 8 - 9, dtype=torch.float64)",
    }
    verdicts = graded(big)
    assert {name for name, v in verdicts.items() if v["score"] == 0} == set(big)
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 400 * 1024


@pytest.mark.parametrize("lesson", sorted(p.stem for p in ROOT.glob("solutions/[0-9]*.ipynb")))
def test_every_honest_reply_is_far_smaller_than_it_may_be(lesson):
    for exercise in lesson_exercises(lesson).values():
        for seen in exercise.known(exercise.reference, VISIBLE_SEED):
            size = len(wire.pack({"number": 1, "reply": dict(seen, error=None)}))
            assert size < judge.MOST_REPLY[0] / 4, (exercise.name, size)
