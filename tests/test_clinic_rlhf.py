"""The bug clinic of lesson 7: its runs are real, its bugs are bugs, its answers are the key."""

from functools import partial
from itertools import combinations

import numpy as np
import pytest
import torch

from pgcourse import rlhf
from pgcourse.checks import judge
from pgcourse.clinics import clinic_rlhf
from pgcourse.distributions import token_logp
from pgcourse.exercises.rlhf.quiz_rlhf_clinic import SEEN, quiz_rlhf_clinic
from pgcourse.language.grammar import END_ID, MAX_ANSWER, sample_prompts
from pgcourse.language.pretraining import load_language_model
from pgcourse.language.reward_model import UNFINISHED, load_reward_model
from pgcourse.language.transformer import generate
from pgcourse.optim import Adam

NUMBERS = {  # the diagnoses of the quiz's docstring
    1: "sampler's temperature",
    2: "forced end",
    3: "score on padding",
    4: "KL sign",
    5: "k1 in the loss",
    6: "reference is the policy",
    7: "dropout left on",
    8: "votes backwards",
}
FLOOR = {"gap": 1e-6, "first_ratio_error": 1e-4}  # up to rounding these are 0 in a healthy run


def features(run):
    """What can be read off a run at its end, one number a gauge, on the scale it is drawn in."""
    late = clinic_rlhf.late([run])
    for gauge, floor in FLOOR.items():
        late[gauge] = np.log10(late[gauge] + floor)
    late["kl"] = np.arcsinh(late["kl"])
    return np.array([*late.values()])


@pytest.fixture(scope="module")
def measured():
    """{who: features of each seed, [seed, gauge]}, the healthy runs among them."""
    return {who: np.stack([*map(features, runs)]) for who, runs in clinic_rlhf.load().items()}


@pytest.fixture(scope="module")
def late():
    names = {clinic_rlhf.HEALTHY: clinic_rlhf.HEALTHY, **clinic_rlhf.PATIENTS}
    return {
        names[who]: [clinic_rlhf.late([run]) for run in runs]
        for who, runs in clinic_rlhf.load().items()
    }


def test_the_key_is_the_truth():
    assert {p: NUMBERS[n] for p, n in quiz_rlhf_clinic().items()} == clinic_rlhf.PATIENTS
    assert sorted(clinic_rlhf.PATIENTS.values()) == sorted(clinic_rlhf.BUGS)
    assert [*SEEN] == [*clinic_rlhf.PATIENTS]


# --- each bug is one ---


@pytest.mark.parametrize("bug", ["score on padding", "KL sign", "k1 in the loss"])
def test_a_wrong_formula_is_refused_by_its_check(bug):
    exercise = {"kl_shaped_rewards": "kl_shaped_rewards", "loss": "ppo_clip_loss"}
    for piece, wrong in clinic_rlhf.BUGS[bug].items():
        assert not judge(wrong, exercise[piece]).passed


def test_a_policy_that_is_its_own_reference_is_told_so():
    def rlhf_step(*given, **named):
        return clinic_rlhf.step_from_itself(partial(rlhf.rlhf_step, **named), *given)

    assert judge(rlhf_step, "rlhf_step").pitfall == "KL against the policy itself"


def test_dropout_is_on_in_the_step_and_off_after_it():
    model, reward_model = load_language_model(), load_reward_model()
    policy = rlhf.make_policy(model, reward_model)
    prompts = sample_prompts(8, torch.Generator().manual_seed(0))
    config = rlhf.Config(epochs=1, minibatches=1)
    given = policy, model, reward_model, Adam(policy.parameters(), 1e-9), prompts, config
    torch.manual_seed(0)
    log = clinic_rlhf.step_with_dropout(rlhf.rlhf_step, *given)
    assert log["update"]["first_ratio_error"] > 0.1 and log["kl"] != 0
    with torch.no_grad():
        assert torch.allclose(policy.actor(prompts), model(prompts), atol=1e-4)


def test_the_cooler_sampler_draws_from_another_distribution():
    model, prompts = load_language_model(), sample_prompts(16, torch.Generator().manual_seed(0))
    given = prompts, MAX_ANSWER, END_ID, torch.Generator().manual_seed(0)
    tokens, mask, drawn = clinic_rlhf.draw_cooler(model, *given, with_logp=True)
    with torch.no_grad():
        scored = token_logp(model(tokens) / 0.7, tokens)
        assert torch.allclose(drawn[mask], scored[mask], atol=1e-4)
        assert not torch.allclose(drawn[mask], token_logp(model(tokens), tokens)[mask], atol=0.5)


def test_the_forced_end_is_all_that_is_changed_in_an_answer():
    model, prompts = load_language_model(), sample_prompts(64, torch.Generator().manual_seed(0))
    drawing = {}
    for draw, longest in ((clinic_rlhf.draw_with_a_forced_end, MAX_ANSWER), (generate, 8)):
        generator = torch.Generator().manual_seed(0)
        drawing[draw] = draw(model, prompts, longest, END_ID, generator, with_logp=True)
    (tokens, mask, drawn), (right, right_mask, right_drawn) = drawing.values()
    forced = tokens != right
    assert forced.any() and (forced.nonzero()[:, 1] == prompts.shape[1] + 7).all()
    assert (tokens[forced] == END_ID).all() and (drawn[forced] == 0).all()
    assert torch.equal(mask, right_mask) and torch.equal(drawn[~forced], right_drawn[~forced])
    assert (((tokens == END_ID) & mask).sum(dim=1) == 1).all()


def test_votes_read_backwards_turn_the_score_round():
    right, prompts = load_reward_model(), sample_prompts(64, torch.Generator().manual_seed(0))
    wrong = clinic_rlhf.votes_read_backwards(right)
    generator = torch.Generator().manual_seed(0)
    tokens, mask = generate(load_language_model(), prompts, 12, END_ID, generator)
    finished = ((tokens == END_ID) & mask).any(dim=1)
    assert finished.any() and not finished.all()
    with torch.no_grad():
        a, b = right(tokens, mask), wrong(tokens, mask)
    assert torch.allclose(a[finished], -b[finished], atol=1e-5)
    assert (a[~finished] == UNFINISHED).all() and (b[~finished] == UNFINISHED).all()


def test_only_names_that_a_function_uses_are_rewired():
    with pytest.raises(ValueError, match="does not use gae"):
        clinic_rlhf.rewired(rlhf.rlhf_step, gae=generate)
    assert clinic_rlhf.rewired(rlhf.rlhf_step, generate=None).__globals__["generate"] is None
    assert rlhf.generate is generate


# --- each bug shows ---


def test_gauges_of_every_patient_are_there():
    found = clinic_rlhf.load()
    assert list(found) == [clinic_rlhf.HEALTHY, *clinic_rlhf.PATIENTS]
    assert clinic_rlhf.FILE.stat().st_size < 100_000
    for runs in found.values():
        assert len(runs) == clinic_rlhf.SEEDS >= 3
        for run in runs:
            assert list(run) == list(clinic_rlhf.GAUGES)
            assert {x.shape for x in run.values()} == {(clinic_rlhf.SETTINGS["iterations"],)}
            assert all(np.isfinite(x).all() for x in run.values())


def apart(a, b):
    """Gauges in which all seeds of one are above all of the other, by more than either's spread."""
    gap = np.maximum(a.min(0) - b.max(0), b.min(0) - a.max(0))
    return gap > np.maximum(np.ptp(a, axis=0), np.ptp(b, axis=0))


def test_any_two_differ_in_a_gauge_by_more_than_the_seeds_do(measured):
    assert len(measured) == 9
    for (one, a), (other, b) in combinations(measured.items(), 2):
        assert apart(a, b).any(), (one, other)


def test_a_run_is_nearest_to_its_own_patients_other_seeds(measured):
    for seed in range(clinic_rlhf.SEEDS):
        others = {who: np.delete(x, seed, axis=0) for who, x in measured.items()}
        spread = np.sqrt(np.mean([x.var(axis=0, ddof=1) for x in others.values()], axis=0)) + 1e-9
        for who, x in measured.items():
            distance = {
                p: np.linalg.norm((x[seed] - y.mean(axis=0)) / spread) for p, y in others.items()
            }
            assert min(distance, key=distance.get) == who, (who, seed, distance)


def test_gauges_show_what_the_diagnoses_say(late):
    """What a learner must be able to read off, over the last five iterations of each of the runs."""

    def bugs_with(condition):
        told = {bug: {condition(run) for run in runs} for bug, runs in late.items()}
        assert all(len(said) == 1 for said in told.values()), "the seeds disagree"
        return {bug for bug, said in told.items() if said == {True}}

    drawn_otherwise = {"sampler's temperature", "forced end"}
    price_lost = {"k1 in the loss", "KL sign"}
    assert bugs_with(lambda x: x["gap"] > 0.02) == {*drawn_otherwise, "dropout left on"}
    assert bugs_with(lambda x: x["first_ratio_error"] > 0.1) == {"dropout left on"}
    assert (
        bugs_with(lambda x: x["length"] <= 8)
        == {"forced end"}
        == bugs_with(lambda x: x["distinct"] < 0.9)
    )
    assert bugs_with(lambda x: x["kl"] == 0) == {"reference is the policy"}
    assert (
        bugs_with(lambda x: 0 < x["kl"] < 0.5)
        == {"score on padding"}
        == bugs_with(lambda x: abs(x["gold"]) < 0.2)
    )
    assert bugs_with(lambda x: x["kl"] > 50) == price_lost
    assert bugs_with(lambda x: x["score"] > 3) == {"k1 in the loss", "reference is the policy"}
    wrong_aim = {*price_lost, "reference is the policy", "votes backwards"}
    assert bugs_with(lambda x: x["gold"] < -0.5) == wrong_aim
    longest = {*price_lost, "reference is the policy"}
    assert bugs_with(lambda x: x["length"] > 15) == longest
    assert bugs_with(lambda x: x["length"] > 19) == {"KL sign"}
    assert bugs_with(lambda x: x["score"] > 1) == {*late} - {"score on padding", "KL sign"}


def test_the_script_still_makes_them():
    """The first two iterations of each: one whole update lies between them, and no lower learning rate yet."""
    kept, bugs = clinic_rlhf.load(), clinic_rlhf.BUGS
    for who in (clinic_rlhf.HEALTHY, *clinic_rlhf.PATIENTS):
        bug = bugs[clinic_rlhf.PATIENTS[who]] if who in clinic_rlhf.PATIENTS else {}
        again = clinic_rlhf.examine(bug, seed=1, iterations=2)
        for gauge, x in again.items():
            np.testing.assert_allclose(x, kept[who][1][gauge][:2], rtol=0.05, atol=0.05)
