"""The bug clinic of lesson 5: its runs are real, its bugs are bugs, its answers are the key."""

import numpy as np
import pytest

from pgcourse.checks import judge
from pgcourse.clinics import clinic_ppo
from pgcourse.exercises.ppo.quiz_clinic import quiz_clinic

NUMBERS = {  # the diagnoses of the quiz's docstring
    1: "no bug",
    2: "no clip",
    3: "sign",
    4: "other environment's advantage",
    5: "bootstrap past the end",
    6: "old policy recomputed",
    7: "actions resampled",
    8: "critic never trained",
}
EXERCISE = {"advantage": "gae", "loss": "ppo_clip_loss", "update": "ppo_update"}


def test_the_key_is_the_truth():
    assert {p: NUMBERS[n] for p, n in quiz_clinic().items()} == clinic_ppo.PATIENTS
    assert sorted(clinic_ppo.PATIENTS.values()) == sorted(clinic_ppo.BUGS)


@pytest.mark.parametrize("bug", [b for b in clinic_ppo.BUGS if b != "no bug"])
def test_every_planted_bug_is_refused_by_its_check(bug):
    ((piece, wrong),) = clinic_ppo.BUGS[bug].items()
    assert not judge(wrong, EXERCISE[piece]).passed


def test_curves_of_every_patient_are_there():
    patients = clinic_ppo.load()
    assert list(patients) == list(clinic_ppo.PATIENTS)
    assert clinic_ppo.FILE.stat().st_size < 100_000
    for curves in patients.values():
        assert set(curves) == {"steps", *clinic_ppo.CURVES}
        assert len({x.shape for x in curves.values()}) == 1
        assert (np.diff(curves["steps"]) > 0).all()


def test_curves_show_what_the_diagnoses_say():
    """What a learner must be able to read off, in the second half of each run."""
    late = {
        clinic_ppo.PATIENTS[p]: {k: float(np.mean(x[len(x) // 2 :])) for k, x in curves.items()}
        for p, curves in clinic_ppo.load().items()
    }
    fine = late["no bug"]
    assert fine["return"] > 400 and fine["kl"] < 0.02 and 0.02 < fine["clip_fraction"] < 0.3
    assert late["no clip"]["kl"] > 10 * fine["kl"] and late["no clip"]["entropy"] < 0.1
    assert late["no clip"]["return"] < 0.7 * fine["return"]
    wrong_at_once = {bug for bug, curves in late.items() if curves["first_ratio_error"] > 1e-3}
    assert wrong_at_once == {"actions resampled"}
    assert late["sign"]["return"] < 11 and late["sign"]["entropy"] < 0.01
    assert (
        late["old policy recomputed"]["kl"] == late["old policy recomputed"]["clip_fraction"] == 0
    )
    assert late["old policy recomputed"]["entropy"] < 0.1
    assert abs(late["critic never trained"]["explained_variance"]) < 0.1
    assert late["critic never trained"]["return"] < 300
    assert late["actions resampled"]["entropy"] > 0.67  # of log 2 = 0.693
    assert late["actions resampled"]["explained_variance"] > 0.5
    assert late["actions resampled"]["return"] < 40
    assert late["other environment's advantage"]["return"] < 40
    assert 0 < late["other environment's advantage"]["kl"] < 0.02
    assert late["bootstrap past the end"]["kl"] < 0.02
    fallen = clinic_ppo.load()["H"]["return"]
    assert fallen.max() > 100 and fallen[-1] < 20


def test_the_script_still_makes_them():
    """The first part of three patients, trained again; C is healthy, so it is what anybody gets."""
    kept = clinic_ppo.load()
    for patient in "BCE":
        bug = clinic_ppo.BUGS[clinic_ppo.PATIENTS[patient]]
        curves = clinic_ppo.examine(bug, total_steps=4_000)
        assert len(curves["steps"]) >= 4
        for name, x in curves.items():
            np.testing.assert_allclose(x, kept[patient][name][: len(x)], rtol=0.05, atol=0.05)
