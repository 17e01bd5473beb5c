"""RLHF from end to end: the models, the votes, one step, and what beta does."""

import copy
import json

import pytest
import torch

from pgcourse import rlhf
from pgcourse.distributions import token_logp
from pgcourse.language import pretraining, rlhf_checkpoints
from pgcourse.language.grammar import END_ID, MAX_ANSWER, PAD_ID, VOCABULARY, decode, sample_prompts
from pgcourse.language.pretraining import CHECKPOINTS, load_language_model
from pgcourse.language.reward_model import (
    Pairs,
    accuracy,
    ceiling,
    collect_votes,
    load_reward_model,
    raw_score,
    running_total,
    scalar_model_from,
    sequence_score,
    train_reward_model,
    understands_not,
)
from pgcourse.language.transformer import generate
from pgcourse.language.votes import mean_valence, valence
from pgcourse.optim import Adam


@pytest.fixture(scope="module")
def language_model():
    return load_language_model().requires_grad_(False)


@pytest.fixture(scope="module")
def rm():
    return load_reward_model()


@pytest.fixture
def parts(language_model, rm):
    policy = rlhf.make_policy(language_model, rm)
    return policy, language_model, rm, Adam(policy.parameters(), 1e-3)


class Spy:
    """Stands in for ppo_update and keeps what it was called with."""

    def __init__(self):
        self.calls = []

    def __call__(self, policy, optimizer, rollout, config, **keywords):
        self.calls.append((rollout, keywords))
        return {"seen": 1.0}


# --- before the reinforcement ---


def test_encoded_conversations_have_prompts_left_and_answers_right():
    tokens, mask = pretraining.encode_conversations(
        [
            ("and the park ?", "it was a joy . <end>"),
            ("how was the park ?", "i loved the lake and it was a joy . <end>"),
        ]
    )
    real = tokens != PAD_ID
    assert real[0].tolist() == [False] + [True] * 10 + [False] * 5
    assert (tokens[mask] == END_ID).sum() == 2
    assert mask[0].tolist() == [False] * 5 + [True] * 6 + [False] * 5


def test_the_language_models_loss_is_the_answers_cross_entropy(language_model):
    tokens, mask = pretraining.encode_conversations(
        [
            ("and the park ?", "it was a joy . <end>"),
            ("how was the park ?", "i loved the lake . <end>"),
        ]
    )
    loss = pretraining.language_model_loss(language_model, tokens, mask)
    torch.testing.assert_close(loss, -token_logp(language_model(tokens), tokens)[mask].mean())


def test_the_shipped_language_model_writes_readable_answers(language_model, rm):
    seen = rlhf.evaluate(language_model, language_model, rm, count=256)
    assert seen["readable"] > 0.85
    assert abs(seen["kl"]) < 1e-4
    assert abs(seen["score"]) < 0.2 and abs(seen["gold"]) < 0.2  # neither good nor bad yet


def test_sequence_score_takes_the_last_token_of_each_row():
    values = torch.arange(12.0).reshape(3, 4)
    mask = torch.tensor([[0, 1, 1, 0], [1, 1, 1, 1], [0, 0, 1, 0]]).bool()
    assert sequence_score(values, mask).tolist() == [2.0, 7.0, 10.0]
    with pytest.raises(ValueError, match="answer in every row"):
        sequence_score(values, mask & False)
    with pytest.raises(ValueError, match="one shape"):
        sequence_score(values, mask[:, :3])


def test_an_unfinished_answer_scores_minus_one(rm, language_model):
    prompts = sample_prompts(8, torch.Generator().manual_seed(0))
    tokens, mask = generate(language_model, prompts, 2, END_ID, torch.Generator().manual_seed(0))
    assert (rm(tokens, mask) == -1).all()


def test_votes_of_gold_raters_never_enter_the_pairs(language_model):
    pairs = collect_votes(language_model, 40, seed=0)
    assert len(pairs) == 40 and len(pairs.tokens) == 80
    prompts = [row[~m][row[~m] != PAD_ID].tolist() for row, m in zip(pairs.tokens, pairs.mask)]  # noqa: B905
    assert prompts[:40] == prompts[40:]


def test_a_score_is_the_sum_over_the_answer():
    values = torch.tensor([[9.0, 1.0, 2.0, 9.0], [9.0, 9.0, 5.0, -7.0]])
    mask = torch.tensor([[0, 1, 1, 0], [0, 0, 1, 1]]).bool()
    net = torch.nn.Identity()
    assert raw_score(net, values, mask).tolist() == [3.0, -2.0]
    assert torch.equal(running_total(values, mask)[:, 2], torch.tensor([3.0, 5.0]))


def test_some_pairs_differ_in_a_not_only(language_model):
    for contrast, few, many in ((0.0, 0, 2), (1.0, 70, 100)):
        texts = collect_votes(language_model, 100, seed=0, contrast=contrast).texts()
        one_word = [set(a.split()) ^ set(b.split()) for a, b in texts]
        turned = sum("not" in words and len(words) <= 2 for words in one_word)
        assert few <= turned <= many, (contrast, turned)


def test_who_understands_not(rm):
    """A judge that adds up words gets 0, the raters' own arithmetic gets 1; and the shipped model is near it."""

    def adds_words(tokens, mask):
        worth = mean_valence()
        return torch.tensor([sum(worth.get(w, 0) for w in a.split()) for a in decode(tokens, mask)])

    def as_raters(tokens, mask):
        return torch.tensor([valence(a, range(10)) for a in decode(tokens, mask)])

    for topic in ("film", "hotel"):
        assert understands_not(adds_words, topic) == 0
        assert understands_not(as_raters, topic) == 1
    assert understands_not(rm) > 0.95


def test_the_ceiling_by_hand(monkeypatch):
    """Pairs of p = 1 and p = 1/2: the best judge is right 3 times in 4, and so do two people agree."""
    pairs = Pairs(None, None, torch.zeros(2))
    monkeypatch.setattr(
        Pairs, "texts", lambda self: [("superb", "terrible"), ("good", "good")] * 30
    )
    best, agreement = ceiling(pairs)
    assert best == pytest.approx(0.775, abs=0.03)
    assert agreement == pytest.approx(0.75, abs=0.03)


def test_the_shipped_reward_model_is_near_the_ceiling(language_model, rm):
    held_out = collect_votes(language_model, 600, seed=77)
    best, agreement = ceiling(held_out)
    right = accuracy(rm.net, held_out)
    assert 0.75 < right < best
    assert agreement < best


@pytest.mark.slow
def test_the_script_still_makes_what_is_shipped(tmp_path):
    """Reduced: the script runs, its files load, the text becomes better, the votes are learned."""
    rlhf_checkpoints.make_language_model(tmp_path, conversations=8_000, progress=False)
    rlhf_checkpoints.make_reward_model(tmp_path, votes=1_000, progress=False)
    rlhf_checkpoints.sweep(tmp_path, seeds={0.1: [0]}, iterations=2, progress=False)
    facts = json.loads((tmp_path / "checkpoints.json").read_text())
    assert facts["language_model_loss"] < 1.9
    assert facts["reward_model_accuracy"] > 0.55
    (run,) = json.loads((tmp_path / "rlhf_sweep.json").read_text())
    assert run["iteration"] == [0, 1, 2] and run["kl"][2] > run["kl"][0]
    small = pretraining.load(pretraining.new_language_model(), "language_model", tmp_path)
    assert rlhf.evaluate(small, small, load_reward_model(), count=128)["readable"] > 0.3


def test_what_is_shipped_says_how_it_was_made():
    facts = json.loads((CHECKPOINTS / "checkpoints.json").read_text())
    assert facts["reward_model_accuracy"] > facts["two_votes_agree"] - 0.03
    assert facts["reward_model_accuracy"] < facts["best_judge_of_single_votes"]
    runs = json.loads((CHECKPOINTS / "rlhf_sweep.json").read_text())
    assert {(run["beta"], run["seed"]) for run in runs} == {
        (beta, seed) for beta, seeds in rlhf_checkpoints.SEEDS.items() for seed in seeds
    }
    assert all(run["iteration"] == [0, *rlhf_checkpoints.LOOKS] for run in runs)


def test_all_seeds_tell_the_same_story():
    """The sweep that is shipped: with a price the held-out gold rises, without one the text breaks."""
    runs = json.loads((CHECKPOINTS / "rlhf_sweep.json").read_text())
    for run in runs:
        assert max(run["gap"]) < 1e-3  # sampled and scored alike
        if run["beta"] == 0.1:
            assert run["score"][-1] > run["score"][0] + 1
            assert run["gold"][-1] > run["gold"][0] + 0.3
            assert run["readable"][-1] > 0.75
        if run["beta"] == 0.0:
            assert run["score"][-1] > run["score"][0] + 1
            assert run["gold"][-1] < 0 and run["readable"][-1] < 0.5


def test_checkpoints_are_small():
    assert (
        sum((CHECKPOINTS / f"{n}.pt").stat().st_size for n in ("language_model", "reward_model"))
        < 1e6
    )


def test_reward_model_training_learns_from_the_votes(language_model):
    """Votes turned round give a reward model turned round: it is the votes that it learns."""
    pairs, held_out = collect_votes(language_model, 400, 1), collect_votes(language_model, 100, 2)
    turned = Pairs(pairs.tokens, pairs.mask, ~pairs.first)
    scores = [
        accuracy(
            train_reward_model(scalar_model_from(language_model), p, held_out, 3, progress=False)[
                0
            ].net,
            held_out,
        )
        for p in (pairs, turned)
    ]
    assert scores[0] > 0.6 and scores[1] < 0.4


# --- one step ---


def test_a_conversation_becomes_a_column():
    tokens = torch.tensor([[0, 5, 6, 7], [4, 5, 8, 0]])
    rollout = rlhf.as_rollout(tokens, logp=tokens * 1.0)
    assert rollout["obs"].tolist() == [[0, 4], [5, 5], [6, 8]]
    assert rollout["act"].tolist() == [[5, 5], [6, 8], [7, 0]]
    assert rollout["logp"].tolist() == [[5, 5], [6, 8], [7, 0]]


def test_the_step_hands_ppo_what_the_formulas_say(parts):
    """Every entry of the rollout recomputed, token by token, from the definition."""
    policy, reference, rm, optimizer = parts
    policy.actor.head.weight.data += 0.02 * torch.randn_like(policy.actor.head.weight)
    spy, config = Spy(), rlhf.Config(beta=0.3, lam=0.9, gamma=0.97, seed=4)
    out = rlhf.rlhf_step(policy, reference, rm, optimizer, sample_prompts(6), config, spy)
    (rollout, keywords), mask = spy.calls[0], spy.calls[0][0]["mask"].T
    assert keywords["generator"] is config.generator and len(spy.calls) == 1
    tokens = torch.cat([rollout["obs"][:1], rollout["act"]]).T
    kls = []
    with torch.no_grad():
        for b, row in enumerate(tokens):
            steps = mask[b].nonzero().flatten().tolist()
            score = rm(row[None], torch.cat([torch.tensor([False]), mask[b]])[None]).item()
            adv, next_adv, next_val, kl = [], 0.0, 0.0, 0.0
            for t in reversed(steps):
                history = row[None, : t + 1]
                logp = policy.actor(history)[0, -1].log_softmax(-1)[row[t + 1]].item()
                logp_ref = reference(history)[0, -1].log_softmax(-1)[row[t + 1]].item()
                val = policy.critic(history)[0, -1].item()
                rew = -0.3 * (logp - logp_ref) + (score if t == steps[-1] else 0.0)
                next_adv = rew + 0.97 * next_val - val + 0.97 * 0.9 * next_adv
                next_val = val
                kl += logp - logp_ref
                adv.append(next_adv)
                assert rollout["logp"][t, b].item() == pytest.approx(logp, abs=1e-5)
                assert rollout["val"][t, b].item() == pytest.approx(val, abs=1e-5)
                assert rollout["adv"][t, b].item() == pytest.approx(next_adv, abs=1e-4)
                assert rollout["ret"][t, b].item() == pytest.approx(next_adv + val, abs=1e-4)
            kls.append(kl)
    assert out["kl"] == pytest.approx(sum(kls) / 6, abs=1e-4)
    assert out["update"] == {"seen": 1.0}


def test_the_ratio_is_one_on_the_first_minibatch(parts):
    """Sampling, stored log-probabilities and the update agree: the field's most common silent bug."""
    policy, reference, rm, optimizer = parts
    config = rlhf.Config(seed=0)
    log = rlhf.rlhf_step(policy, reference, rm, optimizer, sample_prompts(32), config)
    assert log["update"]["first_ratio_error"] < 1e-5
    assert log["kl"] == pytest.approx(0.0, abs=1e-5)  # policy and reference are still the same


def test_log_probabilities_while_sampling_are_those_of_scoring(parts):
    """The sampled tokens' log-probabilities through the cache equal token_logp to rounding."""
    policy = parts[0]
    tokens, mask = generate(
        policy.actor, sample_prompts(16), MAX_ANSWER, END_ID, torch.Generator().manual_seed(0)
    )
    cache, columns = [], []
    for t in range(1, tokens.shape[1]):
        logits = policy.actor(tokens[:, :t], cache)[:, -1]
        columns.append(logits.log_softmax(-1).gather(1, tokens[:, t : t + 1]))
    sampled = torch.cat(columns, dim=1)[mask[:, 1:]]
    scored = token_logp(policy.actor(tokens), tokens)[mask]
    torch.testing.assert_close(sampled, scored, atol=1e-5, rtol=0)


def test_a_step_moves_the_policy_and_nothing_else(parts):
    policy, reference, rm, optimizer = parts
    before = [copy.deepcopy(m.state_dict()) for m in (policy, reference, rm)]
    rlhf.rlhf_step(policy, reference, rm, optimizer, sample_prompts(16), rlhf.Config(epochs=1))
    same = [
        all(torch.equal(a, b) for a, b in zip(old.values(), m.state_dict().values(), strict=True))
        for old, m in zip(before, (policy, reference, rm), strict=True)
    ]
    assert same == [False, True, True]


def test_the_same_seed_gives_the_same_run(language_model, rm):
    config = dict(iterations=2, conversations=16, seed=3)
    runs = [rlhf.train(language_model, rm, rlhf.Config(**config), progress=False)[1] for _ in "ab"]
    assert runs[0] == runs[1]


def test_the_learners_own_update_and_loss_are_used(language_model, rm):
    spy = Spy()
    marker = object()
    config = rlhf.Config(iterations=2, conversations=8)
    rlhf.train(language_model, rm, config, update=spy, loss=marker, progress=False)
    assert [kw["loss"] for _, kw in spy.calls] == [marker, marker]


def test_what_a_look_measures(language_model, rm):
    """Against plain counting: how many answers differ, and that the sampler says what scoring says."""
    seen = rlhf.evaluate(language_model, language_model, rm, count=64)
    answers = [answer for _, answer in seen["texts"]]
    assert seen["distinct"] == len(set(answers)) / 64 and seen["gap"] < 1e-4
    assert seen["length"] == pytest.approx(sum(len(a.split()) for a in answers) / 64)
    other = copy.deepcopy(language_model)
    other.head.weight.data *= 100  # one answer to each prompt, nearly
    assert rlhf.evaluate(other, language_model, rm, count=64)["distinct"] < 0.7


def test_the_kl_by_word_adds_up_to_the_kl(language_model, rm):
    other = copy.deepcopy(language_model)
    other.bias = other.bias.clone()
    other.bias[VOCABULARY.index("happily")] += 3.0
    rows = rlhf.kl_by_word(other, language_model, count=256)
    assert rows[0]["word"] == "happily" and rows[0]["used"] > 3 * rows[0]["used_ref"] > 0
    kl = rlhf.evaluate(other, language_model, rm, count=256)["kl"]
    assert sum(row["kl"] for row in rows) == pytest.approx(kl, rel=1e-4)
    assert sum(row["used_ref"] for row in rows) == pytest.approx(11, abs=1)


def test_a_run_is_looked_at_when_asked(language_model, rm):
    config = dict(iterations=4, conversations=8)
    for every, expected in ((2, [0, 2, 4]), ((1, 2), [0, 1, 2, 4])):
        _, history = rlhf.train(
            language_model, rm, rlhf.Config(**config), every=every, progress=False
        )
        assert [seen["iteration"] for seen in history] == expected


# --- what it brings ---


@pytest.fixture(scope="module")
def runs(language_model, rm):
    """beta -> history, 25 iterations each."""
    return {
        beta: rlhf.train(language_model, rm, rlhf.Config(beta=beta), progress=False)[1]
        for beta in (0.1, 0.0)
    }


@pytest.mark.slow
def test_with_a_kl_price_the_held_out_gold_rises_too(runs):
    first, last = runs[0.1][0], runs[0.1][-1]
    assert last["score"] > first["score"] + 1
    assert last["gold"] > first["gold"] + 0.4
    assert last["readable"] > 0.85
    assert last["kl"] < 10


@pytest.mark.slow
def test_without_it_the_text_breaks(runs):
    first, last = runs[0.0][0], runs[0.0][-1]
    assert last["score"] > first["score"] + 1
    assert last["gold"] < runs[0.1][-1]["gold"] - 0.4
    assert last["readable"] < 0.6
    assert last["kl"] > 2 * runs[0.1][-1]["kl"]
