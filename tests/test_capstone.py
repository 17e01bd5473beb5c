"""The capstone: what good votes and bad ones teach, who votes, and the ballot."""

import pytest
import torch

from pgcourse import capstone
from pgcourse.ballot import Ballot
from pgcourse.checks import get, judge
from pgcourse.language.pretraining import encode_conversations
from pgcourse.language.reward_model import accuracy, load_reward_model

ASKED = capstone.chosen(capstone.recorded()["pairs"])
MINE = capstone.ballot(ASKED)
OTHER = str.maketrans("AB", "BA")
CAREFUL = capstone.voter("careful", MINE)


def line(key):
    return "".join(pair[key] for pair in MINE)


def graded(letters):
    return judge(lambda: {"votes": letters}, "my_votes")


def test_recorded_votes_of_each_kind_are_on_their_side_of_what_is_asked_for():
    orders = {kind: capstone.recorded_orders(kind) for kind in capstone.VOTERS}
    assert all(len(found) == capstone.SEEDS for found in orders.values())
    bad = [x for kind, found in orders.items() if kind != "careful" for x in found]
    assert min(orders["careful"]) > capstone.NEEDS + 0.1
    assert max(bad) < capstone.NEEDS - 0.1


@pytest.mark.parametrize("kind", capstone.VOTERS)
def test_what_was_recorded_comes_out_again(kind):
    run = next(r for r in capstone.recorded()["taught"] if r["voter"] == kind and r["seed"] == 0)
    torch.set_num_threads(1)
    assert capstone.taught(capstone.voter(kind, MINE, 0), 0)["order"] == pytest.approx(
        run["order"], abs=0.05
    )


@pytest.mark.parametrize(
    "letters",
    [CAREFUL, line("liked"), CAREFUL.lower(), CAREFUL[0].translate(OTHER) + CAREFUL[1:]],
)
def test_good_votes_earn_all_points(letters):
    verdict = graded(letters)
    assert verdict.passed and verdict.score == 6, verdict


@pytest.mark.parametrize(
    "letters, name",
    [
        (capstone.voter("inverted", MINE), "votes for the hack"),
        (capstone.voter("hack", MINE), "votes for the hack"),
        ("A" * len(MINE), "always the same side"),
        ("B" * len(MINE), "always the same side"),
        (capstone.voter("random", MINE, 0), "votes by no rule"),
        (capstone.voter("random", MINE, 1), "votes by no rule"),
        ("-" * len(MINE), "too few votes"),
        ("ABBA", "not a line of votes"),
    ],
)
def test_bad_votes_earn_none_and_are_told_what_they_teach(letters, name):
    verdict = graded(letters)
    assert verdict.score == 0 and verdict.pitfall == name, verdict


def test_the_card_says_what_these_very_votes_have_taught():
    order = capstone.taught("A" * len(MINE))["order"]
    assert f"{order:+.2f}" in str(graded("A" * len(MINE)))


def test_a_rank_correlation_by_hand():
    x, y = torch.tensor([10.0, 20.0, 20.0, 90.0]), torch.tensor([1.0, 3.0, 2.0, 4.0])
    assert capstone.ranks(x).tolist() == [0, 1.5, 1.5, 3]
    assert capstone.rank_correlation(x, y) == pytest.approx(4.5 / (4.5 * 5) ** 0.5)
    assert capstone.rank_correlation(x, -x) == pytest.approx(-1)


def test_what_votes_are_judged_by_is_on_no_ballot_and_is_judged_by_gold_raters():
    tokens, mask, gold = capstone.unseen()
    asked = [(pair["prompt"], pair[side]) for pair in MINE for side in "AB"]
    known = {tuple(row[row != 0].tolist()) for row in encode_conversations(asked)[0]}
    assert known.isdisjoint({tuple(row[row != 0].tolist()) for row in tokens})
    assert len(gold) == len(tokens) == 252 and (gold == -1).float().mean() > 0.4
    assert 0 < (gold[: len(gold) // 2] > 0).float().mean() < 1


def test_the_card_does_not_tell_the_votes():
    card = str(graded("A" * len(MINE)))
    assert line("liked") not in card and line("liked").lower() not in card


def test_a_side_of_the_ballot_says_nothing():
    assert len(MINE) == capstone.BALLOT
    assert line("liked").count("A") == len(MINE) / 2
    assert {pair["A"] for pair in MINE}.isdisjoint({pair["B"] for pair in MINE})


def test_simulated_readers_agree_mostly_and_not_always():
    found = [capstone.agreement(capstone.simulated(MINE, seed), MINE) for seed in range(20)]
    assert 0.85 < sum(found) / len(found) < 1 and min(found) > 0.7
    assert capstone.agreement("-" * len(MINE), MINE) == 0.5


def test_a_line_of_votes_becomes_votes_without_the_skipped_ones():
    votes = capstone.votes_on(MINE, "AB" + "-" * (len(MINE) - 3) + "A")
    assert votes.first.tolist() == [True, False, True]
    pairs = [MINE[0], MINE[1], MINE[-1]]
    assert votes.texts() == [(pair["A"], pair["B"]) for pair in pairs]


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


def test_the_reward_model_that_learns_again_stays_as_it_was_itself_and_the_share_counts():
    torch.set_num_threads(1)
    reward_model, (old, held_out) = load_reward_model(), capstone.old_votes()
    weights = [p.clone() for p in reward_model.parameters()]
    again, kept = {}, {}
    for share in (0.0, 0.5):
        again[share], kept[share] = capstone.retrain(
            reward_model,
            old,
            capstone.votes_on(MINE, CAREFUL),
            held_out,
            share=share,
            progress=False,
            loss=get("pooled_loss").reference,
        )
        assert kept[share] == accuracy(again[share].net, held_out)
    assert all(map(torch.equal, weights, reward_model.parameters()))
    before = capstone.sees_the_hack(reward_model)
    assert before < 0.2 and abs(capstone.sees_the_hack(again[0.0]) - before) < 0.2
    assert capstone.sees_the_hack(again[0.5]) > before + 0.3
