"""The capstone: what good votes and bad ones lead to, who votes, and that a reward model learns from it."""

import random

import pytest
import torch

from pgcourse import capstone
from pgcourse.ballot import Ballot
from pgcourse.checks import get, judge
from pgcourse.pretraining import load_language_model
from pgcourse.reward_model import accuracy, collect_votes, load_reward_model

ASKED = capstone.chosen(capstone.recorded()["pairs"])
MINE = capstone.ballot(ASKED)


def line(key):
    return "".join(pair[key] for pair in MINE)


def graded(letters):
    return judge(lambda: {"votes": letters}, "my_votes")


def test_recorded_second_rounds_reach_the_goal_with_good_votes_and_with_no_others():
    golds = {agree: capstone.gold_within(agree) for agree in capstone.PLAN}
    assert all(len(golds[agree]) == len(capstone.PLAN[agree]) > 1 for agree in golds)
    assert min(golds[1.0] + golds[capstone.NEEDS]) > capstone.GOAL
    assert max(golds[0.75] + golds[0.5] + golds[0.0]) < capstone.GOAL
    for run in capstone.recorded()["second"]:
        at = run["gold"].index(capstone.gold_within(run["agree"])[run["seed"]])
        assert run["kl"][at] <= capstone.LIMIT


def test_good_votes_pass_and_bad_ones_are_told_what_they_teach():
    other = str.maketrans("AB", "BA")
    assert graded(line("liked")).passed
    assert graded(capstone.simulated(MINE, seed=1)).passed
    for seed in range(10):  # a person who tosses a coin
        rng = random.Random(seed)
        coin = "".join(rng.choice("AB") for _ in MINE)
        assert graded(coin).passed == (capstone.agreement(coin, MINE) >= capstone.NEEDS)
    for letters, name in (
        (line("liked").translate(other), "votes for the hack"),
        (line("paid"), "votes for the hack"),
        ("A" * len(MINE), "always the same side"),
        ("-" * len(MINE), "too few votes"),
        ("ABBA", "not a line of votes"),
    ):
        verdict = graded(letters)
        assert verdict.score == 0 and verdict.pitfall == name, verdict
    low, high = min(capstone.gold_within(0.0)), max(capstone.gold_within(0.0))
    assert f"{low:.2f} to {high:.2f}" in graded(line("paid")).message


def test_the_card_does_not_tell_the_votes():
    card = str(graded("A" * len(MINE)))
    assert line("liked") not in card and line("liked").lower() not in card


def test_a_side_of_the_ballot_says_nothing():
    assert len(MINE) == capstone.BALLOT
    assert 0.25 < line("liked").count("A") / len(MINE) < 0.75
    assert {pair["A"] for pair in MINE}.isdisjoint({pair["B"] for pair in MINE})


def test_simulated_readers_agree_mostly_and_not_always():
    found = [capstone.agreement(capstone.simulated(MINE, seed), MINE) for seed in range(20)]
    assert 0.85 < sum(found) / len(found) < 1 and min(found) > 0.7
    assert capstone.agreement("-" * len(MINE), MINE) == 0.5


@pytest.mark.parametrize("agree", [0.0, 1.0])
def test_a_crowd_agrees_as_often_as_it_is_told(agree):
    pairs = [pair for pair in ASKED if capstone.better(pair)]
    crowd = capstone.crowd(pairs, agree)
    right = torch.tensor([capstone.better(pair) == "before" for pair in pairs])
    assert (crowd.first == right).float().mean() == agree
    assert [a.removesuffix(" <end>") for a, _ in crowd.texts()] == [
        pair["before"].removesuffix(" <end>") for pair in pairs
    ]


def test_an_unreadable_answer_is_liked_least_and_gold_raters_are_not_asked():
    prompt = "<user> how was the film ? <bot>"
    assert capstone.liking(prompt, "brilliant brilliant . <end>") == -1
    assert -1 < capstone.liking(prompt, "the plot was awful . <end>") < 0
    assert capstone.liking(prompt, "the plot was brilliant . <end>") > 0.3


def test_a_ballot_hides_how_others_voted_until_one_has():
    votes = Ballot(MINE)
    shown, buttons, said, copied = votes.form().children
    a, b, skip, back, onward = buttons.children
    assert MINE[0]["A"].removesuffix(" <end>") in shown.value and "of 24" in shown.value
    assert "voted" not in said.value
    b.click()
    assert "Of 10 simulated readers" in said.value and votes.letters()[0] == "B"
    onward.click()
    assert "voted" not in said.value and "Pair 2" in shown.value
    skip.click()
    assert "Pair 3" in shown.value and votes.letters().startswith("B--")
    back.click()
    back.click()
    assert "Of 10 simulated readers" in said.value and "Pair 1 " in shown.value
    a.click()
    assert votes.letters() == "A" + "-" * 23 and votes.letters() in copied.value
    for _ in range(40):
        onward.click()
    assert "Pair 24 of 24" in shown.value
    assert "Pair 24 of 24" in repr(votes)


def test_the_reward_model_learns_the_new_votes_and_stays_as_it_was_itself():
    torch.set_num_threads(1)
    language_model, reward_model = load_language_model(), load_reward_model()
    old, held_out = (collect_votes(language_model, n, seed=n) for n in (300, 100))
    pairs = [pair for pair in capstone.recorded()["pairs"] if capstone.better(pair)]
    new = capstone.crowd(pairs[:150], 1.0)
    rest = capstone.crowd(pairs[150:], 1.0)
    before = accuracy(reward_model.net, rest)
    weights = [p.clone() for p in reward_model.parameters()]
    again, _ = capstone.retrain(
        reward_model,
        old,
        new,
        held_out,
        steps=60,
        progress=False,
        loss=get("pooled_loss").reference,
    )
    assert all(map(torch.equal, weights, reward_model.parameters()))
    assert before < 0.4 and accuracy(again.net, rest) > 0.75
