"""The bug clinic of lesson 6: its runs are real, its bugs are bugs, its answers are the key."""

import numpy as np
import pytest

from pgcourse.checks import judge
from pgcourse.clinics import clinic_sac
from pgcourse.exercises.sac.quiz_sac_clinic import quiz_sac_clinic
from pgcourse.exercises.sac.quiz_sac_treatment import quiz_sac_treatment

NUMBERS = {  # the diagnoses of the quiz's docstring
    1: "no bug",
    2: "no entropy",
    3: "larger critic",
    4: "done mask inverted",
    5: "target entropy negated",
    6: "tau swapped",
    7: "critics detached",
    8: "tanh correction missing",
}
EXERCISE = {
    "target": "soft_q_target",
    "actor_loss": "sac_actor_loss",
    "temperature_loss": "temperature_loss",
    "polyak": "polyak_update",
    "logp": "squashed_gaussian_logp",
}


def test_the_key_is_the_truth():
    assert {p: NUMBERS[n] for p, n in quiz_sac_clinic().items()} == clinic_sac.PATIENTS
    assert sorted(clinic_sac.PATIENTS.values()) == sorted(clinic_sac.BUGS)


def test_the_treatment_replaces_what_is_ill():
    ill = {p: sorted(clinic_sac.BUGS[bug]) for p, bug in clinic_sac.PATIENTS.items()}
    assert {p: sorted(pieces) for p, pieces in quiz_sac_treatment().items()} == ill


def test_a_treatment_may_be_written_in_any_order():
    answers = quiz_sac_treatment()
    assert judge(
        lambda: (
            answers | {"D": ("actor_loss", "target"), "H": {"target", "actor_loss"}, "C": "target"}
        ),
        "quiz_sac_treatment",
    ).passed
    assert (
        judge(lambda: answers | {"D": ["target"]}, "quiz_sac_treatment").pitfall == "target alone"
    )
    assert judge(lambda: dict.fromkeys(answers, list(EXERCISE)), "quiz_sac_treatment").score == 0


@pytest.mark.parametrize("bug", [b for b in clinic_sac.BUGS if b != "no bug"])
def test_every_planted_bug_is_refused_by_its_check(bug):
    assert clinic_sac.BUGS[bug]
    for piece, wrong in clinic_sac.BUGS[bug].items():
        assert not judge(wrong, EXERCISE[piece]).passed


def test_curves_of_every_patient_are_there():
    patients = clinic_sac.load()
    assert list(patients) == list(clinic_sac.PATIENTS)
    assert clinic_sac.FILE.stat().st_size < 100_000
    for curves in patients.values():
        assert set(curves) == {"steps", *clinic_sac.CURVES}
        assert len({x.shape for x in curves.values()}) == 1
        assert (np.diff(curves["steps"]) > 0).all()


def test_curves_show_what_the_diagnoses_say():
    """What a learner must be able to read off, in the second half of each run."""
    late = {
        clinic_sac.PATIENTS[p]: {k: float(np.mean(x[len(x) // 2 :])) for k, x in curves.items()}
        for p, curves in clinic_sac.load().items()
    }
    fine = late["no bug"]
    larger = late["larger critic"]
    assert fine["return"] > -200 and -1.2 < fine["entropy"] < 0 and fine["q error"] < -10
    assert larger["return"] > -200 and abs(larger["q error"]) < 10
    assert larger["q error"] - fine["q error"] > 15
    assert late["no entropy"]["entropy"] < -5 and late["no entropy"]["alpha"] > 100
    assert late["target entropy negated"]["entropy"] > 0.5
    assert late["target entropy negated"]["alpha"] > 100
    assert late["done mask inverted"]["q error"] > 100 and late["done mask inverted"]["alpha"] < 1
    assert late["critics detached"]["return"] < -1000
    assert abs(late["critics detached"]["q error"]) < 100
    assert late["critics detached"]["entropy"] > 0.5 and late["critics detached"]["alpha"] < 1
    assert late["tanh correction missing"]["entropy"] > 1  # impossible: log 2 is the most
    assert late["tanh correction missing"]["saturated"] > 0.8
    assert late["tau swapped"]["return"] < -1000 and late["tau swapped"]["q error"] < -50


def test_the_script_still_makes_them():
    """The beginning of two runs, trained again; B is healthy, so it is what anybody gets."""
    kept = clinic_sac.load()
    for patient in "BD":
        bug = clinic_sac.BUGS[clinic_sac.PATIENTS[patient]]
        curves = clinic_sac.examine(bug, total_steps=1_500)
        n = len(curves["steps"])
        assert n >= 7
        np.testing.assert_allclose(curves["steps"], kept[patient]["steps"][:n])
        for name, x in curves.items():
            np.testing.assert_allclose(x, kept[patient][name][:n], rtol=0.05, atol=0.05)
