"""The small transformer: causal, blind to padding, the same with and without its cache."""

import pytest
import torch

from pgcourse.distributions import token_logp
from pgcourse.language.transformer import LanguageModel, ScalarModel, Transformer, generate

VOCAB, CONTEXT, END = 11, 16, 3


@pytest.fixture
def model():
    torch.manual_seed(0)
    net = LanguageModel(VOCAB, CONTEXT, read_only=(1,), layers=2, width=16, heads=2)
    for p in net.parameters():  # far from the near-zero start, so that every token matters
        p.data += 0.2 * torch.randn_like(p)
    return net.requires_grad_(False)


def tokens(*shape, seed=0):
    return torch.randint(2, VOCAB, shape, generator=torch.Generator().manual_seed(seed))


def padded(rows, pads):
    return torch.cat([torch.zeros(len(rows), pads, dtype=torch.long), rows], dim=1)


def test_a_later_token_changes_nothing_before_it(model):
    one = tokens(1, 8)
    other = one.clone()
    other[0, 5] = (one[0, 5] - 1) % (VOCAB - 2) + 2
    a, b = model(one), model(other)
    torch.testing.assert_close(a[:, :5], b[:, :5])
    assert not torch.allclose(a[:, 5:], b[:, 5:])


def test_padding_on_the_left_changes_nothing(model):
    rows = tokens(3, 6)
    torch.testing.assert_close(model(padded(rows, 4))[:, 4:], model(rows))


def test_padding_on_the_right_changes_nothing(model):
    rows = tokens(3, 6)
    longer = torch.cat([rows, torch.zeros(3, 4, dtype=torch.long)], dim=1)
    torch.testing.assert_close(model(longer)[:, :6], model(rows))


def test_ragged_batch_equals_each_row_alone(model):
    rows = [tokens(1, n, seed=n) for n in (2, 5, 8)]
    batch = torch.cat([padded(row, 8 - row.shape[1]) for row in rows])
    out = model(batch)
    for i, row in enumerate(rows):
        torch.testing.assert_close(out[i : i + 1, 8 - row.shape[1] :], model(row))


def test_the_cache_gives_the_same_logits_token_by_token(model):
    batch = torch.cat([padded(tokens(1, 3), 5), tokens(1, 8)])
    cache = []
    steps = [model(batch[:, :4], cache)] + [model(batch[:, : t + 1], cache) for t in range(4, 8)]
    torch.testing.assert_close(torch.cat(steps, dim=1), model(batch))


def test_attention_is_softmax_of_scaled_products(model):
    """One block by hand, from its weights: no scaled_dot_product_attention."""
    block, x = model.body.blocks[0], torch.randn(1, 4, 16)
    q, k, v = block.qkv(block.norm1(x)).chunk(3, dim=-1)
    heads = []
    for h in range(2):
        part = slice(8 * h, 8 * h + 8)
        score = q[..., part] @ k[..., part].transpose(1, 2) / 8**0.5
        score[:, ~torch.ones(4, 4).bool().tril()] = -torch.inf
        heads.append(score.softmax(-1) @ v[..., part])
    y = x + block.out(torch.cat(heads, dim=-1))
    expected = y + block.mlp(block.norm2(y))
    visible = torch.ones(1, 1, 4, 4).bool().tril()
    torch.testing.assert_close(block(x, visible)[0], expected)


def test_greedy_answers_do_not_depend_on_the_cache(model):
    prompts = torch.cat([padded(tokens(1, 2), 3), tokens(1, 5)])
    with_cache = generate(model, prompts, 8, END, greedy=True)
    without = generate(model, prompts, 8, END, greedy=True, use_cache=False)
    for a, b in zip(with_cache, without, strict=True):
        assert torch.equal(a, b)


def test_samples_come_from_the_scored_distribution(model):
    """Frequencies of the first new token against exp(token_logp): the same temperature in both."""
    prompts = tokens(1, 4).expand(20_000, 4)
    sampled, _ = generate(model, prompts, 1, generator=torch.Generator().manual_seed(1))
    candidates = torch.cat([prompts[:VOCAB], torch.arange(VOCAB).unsqueeze(1)], dim=1)
    p = token_logp(model(candidates), candidates)[:, -1].exp()
    counts = torch.bincount(sampled[:, -1], minlength=VOCAB)
    z = (counts - 20_000 * p) / (20_000 * p * (1 - p)).clamp(min=1).sqrt()
    assert z.abs().max() < 4


def test_what_is_only_read_is_never_written(model):
    sampled, mask = generate(
        model, tokens(500, 3), 8, END, generator=torch.Generator().manual_seed(0)
    )
    assert not torch.isin(sampled[mask], torch.tensor([0, 1])).any()


def test_the_mask_covers_the_answer_with_its_end_token(model):
    prompts = torch.cat([padded(tokens(50, 2), 2), tokens(50, 4)])
    sampled, mask = generate(model, prompts, 10, END, generator=torch.Generator().manual_seed(2))
    assert not mask[:, :4].any()
    for row, kept in zip(sampled, mask, strict=True):
        answer = row[kept].tolist()
        assert END not in answer[:-1]
        assert answer[-1] == END or len(answer) == 10
        assert kept.nonzero().flatten().diff().eq(1).all()
        assert (row[4:][~kept[4:]] == 0).all()


def test_the_same_generator_gives_the_same_answers(model):
    runs = [
        generate(model, tokens(4, 3), 6, END, torch.Generator().manual_seed(5))[0] for _ in "ab"
    ]
    assert torch.equal(*runs)
    other = generate(model, tokens(4, 3), 6, END, torch.Generator().manual_seed(6))[0]
    assert not torch.equal(runs[0], other)


@pytest.mark.parametrize(
    "prompts, max_new, message",
    [
        (torch.zeros(1, 3, dtype=torch.long), 4, "empty prompt"),
        (torch.zeros(1, 0, dtype=torch.long), 4, "empty prompt"),
        (torch.zeros(0, 3, dtype=torch.long), 4, "empty prompt"),
        (torch.tensor([[4, 5, 0]]), 4, "padded on the left"),
        (tokens(1, 10), 7, "10 prompt tokens \\+ 7 new ones > context 16"),
        (torch.tensor([[VOCAB]]), 4, "unknown token number"),
        (torch.tensor([[-1]]), 4, "unknown token number"),
    ],
)
def test_bad_prompts_get_a_clear_error(model, prompts, max_new, message):
    with pytest.raises(ValueError, match=message):
        generate(model, prompts, max_new, END)


def test_too_long_a_sequence_is_refused():
    with pytest.raises(ValueError, match="longer than the context of 4"):
        Transformer(VOCAB, 4, width=8, heads=2)(tokens(1, 5))


def test_padding_does_not_count_as_length():
    Transformer(VOCAB, 4, width=8, heads=2)(padded(tokens(1, 4), 10))


def test_scalar_model_gives_one_number_per_token():
    assert ScalarModel(VOCAB, CONTEXT, width=8, heads=2)(tokens(3, 5)).shape == (3, 5)


def test_it_learns_to_copy():
    """A probe: the third token repeats the first; only attention can know it."""
    torch.manual_seed(0)
    net = LanguageModel(VOCAB, 3, layers=1, width=32, heads=2)
    optimizer = torch.optim.Adam(net.parameters(), 1e-2)
    for i in range(150):
        rows = tokens(64, 2, seed=i)
        rows = torch.cat([rows, rows[:, :1]], dim=1)
        loss = -token_logp(net(rows), rows)[:, 2].mean()
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    assert loss < 0.1


@pytest.mark.parametrize(
    "settings", [{}, {"temperature": 0.5}, {"temperature": 2.0}, {"top_k": 3}, {"greedy": True}]
)
def test_the_log_probabilities_are_those_that_drew_the_tokens(model, settings):
    """Against the distribution by hand; scoring agrees with it at temperature 1 without a top-k only."""
    prompts = torch.cat([padded(tokens(20, 2), 2), tokens(20, 4)])
    generator = torch.Generator().manual_seed(3)
    sampled, mask, logp = generate(
        model, prompts, 6, END, generator, with_logp=True, use_cache=False, **settings
    )
    p = (model(sampled)[:, :-1] / settings.get("temperature", 1.0)).exp()
    if "top_k" in settings:
        p = p * (p >= p.sort(dim=-1, descending=True).values[..., 2:3])
    p = (p / p.sum(dim=-1, keepdim=True)).gather(-1, sampled[:, 1:, None]).squeeze(-1)
    torch.testing.assert_close(logp[:, 1:][mask[:, 1:]], p[mask[:, 1:]].log())
    assert (logp[~mask] == 0).all()
    gap = (logp - token_logp(model(sampled), sampled))[mask].abs().max()
    assert gap < 1e-4 if settings in ({}, {"greedy": True}) else gap > 0.1


def test_a_temperature_changes_the_frequencies(model):
    prompts = tokens(1, 4).expand(20_000, 4)
    for settings, power in (({"temperature": 0.5}, 2.0), ({"temperature": 2.0}, 0.5)):
        sampled, _ = generate(
            model, prompts, 1, generator=torch.Generator().manual_seed(1), **settings
        )
        p = model(prompts[:1])[0, -1].softmax(-1) ** power
        share = torch.bincount(sampled[:, -1], minlength=VOCAB) / 20_000
        torch.testing.assert_close(share, p / p.sum(), atol=0.02, rtol=0)
