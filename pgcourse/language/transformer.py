"""A small causal transformer, after minGPT (Karpathy 2020): a language model, and one with a scalar head.

What is here: batches of sequences of different length (left-padded; positions count real tokens),
sampling with a KV cache. What was left out: dropout (PPO needs the same network when it samples
and when it scores), sub-word tokens, weight tying, mixed precision.
"""

from collections.abc import Sequence

import torch
import torch.nn as nn
import torch.nn.functional as F
from torch import Tensor


class Block(nn.Module):
    """Pre-norm residual block: every token reads from earlier ones, then thinks for itself."""

    def __init__(self, width: int, heads: int) -> None:
        super().__init__()
        self.heads = heads
        self.norm1, self.norm2 = nn.LayerNorm(width), nn.LayerNorm(width)
        self.qkv, self.out = nn.Linear(width, 3 * width), nn.Linear(width, width)
        self.mlp = nn.Sequential(
            nn.Linear(width, 4 * width), nn.GELU(), nn.Linear(4 * width, width)
        )

    def forward(
        self, x: Tensor, visible: Tensor, past: tuple[Tensor, Tensor] | None = None
    ) -> tuple[Tensor, tuple[Tensor, Tensor]]:
        """x [B, T, C], visible [B, 1, T, S] bool, past = keys and values of the S - T tokens before."""
        B, T, C = x.shape
        qkv = self.qkv(self.norm1(x)).view(B, T, 3, self.heads, C // self.heads)
        q, k, v = qkv.permute(2, 0, 3, 1, 4)  # each (B, heads, T, C / heads)
        if past is not None:
            k, v = torch.cat([past[0], k], dim=2), torch.cat([past[1], v], dim=2)
        y = F.scaled_dot_product_attention(q, k, v, attn_mask=visible)
        x = x + self.out(y.transpose(1, 2).reshape(B, T, C))
        return x + self.mlp(self.norm2(x)), (k, v)


class Transformer(nn.Module):
    """tokens [B, T] -> hidden states [B, T, width]; `pad` marks what is no token at all."""

    def __init__(
        self,
        vocab: int,
        context: int,
        pad: int = 0,
        layers: int = 2,
        width: int = 64,
        heads: int = 4,
    ) -> None:
        super().__init__()
        self.vocab, self.context, self.pad, self.width = vocab, context, pad, width
        self.token = nn.Embedding(vocab, width)
        self.position = nn.Embedding(context, width)
        self.blocks = nn.ModuleList(Block(width, heads) for _ in range(layers))
        self.norm = nn.LayerNorm(width)
        for name, p in self.named_parameters():
            if p.dim() == 2:
                depth = (2 * layers) ** 0.5 if name.endswith(("out.weight", "mlp.2.weight")) else 1
                nn.init.normal_(p, std=0.02 / depth)

    def forward(self, tokens: Tensor, cache: list | None = None) -> Tensor:
        """All of `tokens` without a cache; with one (a list), only the columns it has not seen."""
        if tokens.dim() != 2 or tokens.shape[1] == 0:
            raise ValueError(f"expected tokens [B, T] with T >= 1; got {list(tokens.shape)}.")
        real = tokens != self.pad
        if real.sum(dim=1).max() > self.context:
            raise ValueError(f"a sequence is longer than the context of {self.context} tokens.")
        if tokens.max() >= self.vocab or tokens.min() < 0:
            raise ValueError(f"unknown token number: this model knows 0 … {self.vocab - 1}.")
        seen = cache[0][0].shape[2] if cache else 0
        S = tokens.shape[1]
        position = (real.cumsum(dim=1) - 1).clamp(min=0)  # padding on the left shifts nothing
        visible = real[:, None, :] & torch.ones(S, S, dtype=torch.bool).tril()
        visible = visible | torch.eye(
            S, dtype=torch.bool
        )  # a pad sees itself: no softmax over nothing
        x = self.token(tokens[:, seen:]) + self.position(position[:, seen:])  # (B, T, C)
        for i, block in enumerate(self.blocks):
            x, kept = block(x, visible[:, None, seen:], cache[i] if seen else None)
            if cache is not None:
                cache[i : i + 1] = [kept]
        return self.norm(x)


class LanguageModel(nn.Module):
    """tokens [B, T] -> logits [B, T, V] of the NEXT token.

    read_only : tokens that are read but never written (who speaks); padding is one too. Their
                probability is 0 when sampling and when scoring alike.
    """

    def __init__(
        self, vocab: int, context: int, pad: int = 0, read_only: Sequence[int] = (), **size: int
    ) -> None:
        super().__init__()
        self.body = Transformer(vocab, context, pad, **size)
        self.head = nn.Linear(self.body.width, vocab, bias=False)
        bias = torch.zeros(vocab)
        bias[[pad, *read_only]] = -1e4
        self.register_buffer("bias", bias, persistent=False)

    def forward(self, tokens: Tensor, cache: list | None = None) -> Tensor:
        return self.head(self.body(tokens, cache)) + self.bias


class ScalarModel(nn.Module):
    """tokens [B, T] -> one number per token [B, T]: a value function, or a reward model's head."""

    def __init__(self, vocab: int, context: int, pad: int = 0, **size: int) -> None:
        super().__init__()
        self.body = Transformer(vocab, context, pad, **size)
        self.head = nn.Linear(self.body.width, 1)

    def forward(self, tokens: Tensor) -> Tensor:
        return self.head(self.body(tokens)).squeeze(-1)


@torch.no_grad()
def generate(
    model: nn.Module, prompts: Tensor, max_new: int, end: int | None=None, generator: torch.Generator | None=None, greedy: bool=False, use_cache: bool=True,
    temperature: float=1.0, top_k: int | None=None, with_logp: bool=False,
) -> tuple[Tensor, ...]:  # fmt: skip
    """Sample answers to left-padded prompts, by default from the model's own distribution.

    prompts     : int, [B, P];  max_new : at most so many new tokens;  end : the token that ends an answer
    temperature : the logits are divided by it before the softmax;  top_k : only so many tokens may be drawn
    with_logp   : return the log-probabilities too, those that the tokens were really drawn with
    returns     : tokens int [B, T] with T <= P + max_new, padded after the end token,
                  mask bool [B, T], True on the answers (the end token included),
                  and on request logp [B, T], nats, 0 outside the mask
    raises      : ValueError for an empty prompt, or if prompt and answer do not fit the context
    """
    body = model.body
    if prompts.dim() != 2 or prompts.shape[0] == 0 or not (prompts != body.pad).any(dim=-1).all():
        raise ValueError("empty prompt: each row of prompts [B, P] needs at least one real token.")
    if (prompts[:, -1] == body.pad).any():
        raise ValueError("prompts must be padded on the left: their last column holds real tokens.")
    longest = (prompts != body.pad).sum(dim=1).max().item()
    if longest + max_new > body.context:
        raise ValueError(
            f"too long: {longest} prompt tokens + {max_new} new ones > context {body.context}."
        )
    tokens, cache = prompts, [] if use_cache else None
    alive = torch.ones(len(prompts), dtype=torch.bool)
    drawn = []
    for _ in range(max_new):
        logp = F.log_softmax(keep_top(model(tokens, cache)[:, -1] / temperature, top_k), dim=-1)
        if greedy:
            token = logp.argmax(dim=-1)
        else:
            token = torch.multinomial(logp.exp(), 1, generator=generator).squeeze(-1)
        drawn.append(torch.where(alive, logp.gather(-1, token.unsqueeze(-1)).squeeze(-1), 0.0))
        token = torch.where(alive, token, body.pad)
        tokens = torch.cat([tokens, token.unsqueeze(-1)], dim=1)
        if end is not None:
            alive = alive & (token != end)
        if not alive.any():
            break
    mask = (tokens != body.pad) & (torch.arange(tokens.shape[1]) >= prompts.shape[1])
    if with_logp:
        return tokens, mask, F.pad(torch.stack(drawn, dim=1), (prompts.shape[1], 0))
    return tokens, mask


def keep_top(logits: Tensor, count: int | None) -> Tensor:
    """The `count` largest logits of each row, and -inf for the others; all of them if count is None."""
    if count is None:
        return logits
    least = logits.topk(count, dim=-1).values[..., -1:]
    return logits.masked_fill(logits < least, -torch.inf)
