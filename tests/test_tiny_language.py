"""The language of 7,776 sentences: the closed form is the optimum, and each method comes near it."""

import pytest
import torch

from pgcourse.language import tiny_language
from pgcourse.language.tiny_language import (
    SENTENCES,
    WORDS,
    PolicyTable,
    TinyLanguage,
    expected_loss,
    kl_curve,
    text,
    train_exactly,
)


@pytest.fixture(scope="module")
def tiny():
    return TinyLanguage()


def test_every_sentence_is_there_once():
    assert SENTENCES.shape == (6**5, 6)
    assert len({tuple(row) for row in SENTENCES.tolist()}) == 6**5
    assert torch.equal(tiny_language.index(SENTENCES), torch.arange(6**5))


def test_the_reference_is_a_distribution(tiny):
    assert tiny.log_ref.exp().sum().item() == pytest.approx(1, abs=1e-5)
    assert tiny.log_optimum.exp().sum().item() == pytest.approx(1, abs=1e-5)


def test_rewards_are_the_raters(tiny):
    by_text = {text(row): r.item() for row, r in zip(SENTENCES, tiny.reward, strict=True)}
    assert by_text["lovely and lovely and lovely"] > by_text["good and good and good"] > 0
    assert by_text["not very good and bad"] < by_text["not good and very good"]
    total = 1.9 + (1.9 + 0.293)
    assert by_text["good and very good and"] == pytest.approx(3 * total / (total**2 + 15) ** 0.5)


def test_no_other_distribution_has_a_better_objective(tiny):
    """Against many others: random tilts, the reference, the greedy one; not by restating the formula."""
    best = tiny.objective(tiny.log_optimum)
    generator = torch.Generator().manual_seed(0)
    assert tiny.objective(tiny.log_ref) < best
    for scale in (0.01, 0.1, 1.0):
        for _ in range(20):
            tilt = scale * torch.randn(6**5, generator=generator)
            other = torch.log_softmax(tiny.log_optimum + tilt, 0)
            assert tiny.objective(other) < best
            near = torch.log_softmax(tiny.log_ref + tiny.reward / (tiny.beta * (1 + scale)), 0)
            assert tiny.objective(near) < best


def test_gradient_descent_on_the_table_arrives_at_the_closed_form(tiny):
    logits = tiny.log_ref.clone().requires_grad_()
    optimizer = torch.optim.Adam([logits], 0.1)
    for _ in range(400):
        logp = torch.log_softmax(logits, 0)
        loss = -(logp.exp() * (tiny.reward - tiny.beta * (logp - tiny.log_ref))).sum()
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    logp = torch.log_softmax(logits.detach(), 0)
    assert (logp.exp() * (logp - tiny.log_optimum)).sum() < 0.01


@pytest.mark.parametrize("name, nats", [("PPO", 0.25), ("RLOO", 0.25), ("GRPO", 0.8), ("DPO", 1.5)])
def test_each_method_comes_near_the_optimum(tiny, name, nats):
    curve, model = kl_curve(tiny, tiny_language.METHODS[name], every=1000, progress=False)
    assert curve[0][1] > 2.5  # where the reference is
    assert tiny.kl_to_optimum(model) < nats
    assert tiny.objective(tiny.log_table(model)) > tiny.objective(tiny.log_ref) + 0.8


def test_the_methods_are_deterministic(tiny):
    ends = [kl_curve(tiny, tiny_language.rloo, progress=False, iterations=5)[0] for _ in "ab"]
    assert ends[0] == ends[1]


def test_a_wrong_sign_is_seen_in_the_exact_kl(tiny):
    """The number can fail: advantages turned round move away from the optimum."""
    curve, model = kl_curve(
        tiny,
        tiny_language.rloo,
        every=1000,
        progress=False,
        iterations=40,
        advantages=lambda s: s.mean(0) - s,
    )
    assert tiny.kl_to_optimum(model) > curve[0][1]


# --- the table, and expected gradients ---


def test_the_table_starts_as_the_reference(tiny):
    table = PolicyTable(tiny)
    assert table.logits.shape == (1 + 6 + 36 + 216 + 1296, 6)
    torch.testing.assert_close(tiny.log_table(table), tiny.log_ref, atol=1e-4, rtol=0)
    words = [[WORDS[i - 2] for i in row[1:]] for row in SENTENCES.tolist()]
    seen = {}
    for sentence, rows in zip(words, table.rows.tolist(), strict=True):
        for k, row in enumerate(
            rows
        ):  # one row for each beginning, and no two beginnings share one
            assert seen.setdefault(row, sentence[:k]) == sentence[:k]


def test_the_expected_gradient_is_what_samples_average_to(tiny):
    """REINFORCE on 200,000 sampled sentences, the KL in the reward, against the expected loss's gradient."""

    def loss(logp, logp_ref):
        price = tiny.beta * (logp - logp_ref).sum(dim=1)
        return -(tiny.reward - price).detach() * logp.sum(dim=1)

    table = PolicyTable(tiny)
    logp_ref = table().detach()
    table.logits.data += 0.5 * torch.randn(table.logits.shape, generator=torch.manual_seed(0))
    expected_loss(table, loss, logp_ref).backward()
    exact = table.logits.grad.clone()
    p = table().detach().sum(dim=1).exp()
    drawn = torch.multinomial(p, 200_000, replacement=True)
    table.logits.grad = None
    loss(table(), logp_ref)[drawn].mean().backward()
    assert torch.cosine_similarity(exact.flatten(), table.logits.grad.flatten(), dim=0) > 0.99


def test_exact_training_arrives_where_the_gradient_is_right(tiny):
    def right(logp, logp_ref):
        price = tiny.beta * (logp - logp_ref).sum(dim=1)
        return -(tiny.reward - price).detach() * logp.sum(dim=1)

    assert tiny.kl_to_optimum(train_exactly(tiny, right)) < 0.005
    assert tiny.kl_to_optimum(train_exactly(tiny, lambda a, b: -right(a, b), steps=50)) > 2.9
