"""A language small enough to write down: 6 words, 5 a sentence, 7,776 sentences.

Here everything is exact. The reward of a sentence is known, the reference gives each sentence a
probability, and "as much reward as possible, at beta per nat of KL to the reference" has its
answer in closed form:

    pi* = argmax E_pi[r] - beta KL(pi || ref)   =>   pi*(x) = ref(x) exp(r(x) / beta) / Z

So each method's result is one number: KL(pi || pi*), summed over all sentences. And since all
sentences can be listed, a sampled loss has an expected gradient that is exact too (`PolicyTable`).

source : Ziegler et al. 2019, arXiv:1909.08593; Rafailov et al. 2023, eq. 4, arXiv:2305.18290
"""

import copy
import random
from collections.abc import Callable, Iterator
from itertools import product
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from tqdm.auto import tqdm

from pgcourse.distributions import token_logp
from pgcourse.estimators import grpo_advantages, rloo_advantages
from pgcourse.language.transformer import LanguageModel, ScalarModel, generate
from pgcourse.language.votes import opinions
from pgcourse.losses import approx_kl, dpo_loss, policy_gradient_loss, ppo_clip_loss
from pgcourse.optim import Adam
from pgcourse.ppo import ppo_update
from pgcourse.rlhf import Config, LanguagePolicy, rlhf_step

PAD, START = 0, 1
WORDS = ["and", "not", "very", "good", "bad", "lovely"]
LENGTH, BETA = 5, 0.5
FOLLOWS = {  # what the reference has read: how often a word follows another (START: begins)
    "START": [0, 2, 3, 4, 4, 2],
    "and": [0, 3, 3, 3, 3, 1],
    "not": [0, 0, 3, 4, 4, 1],
    "very": [0, 0, 1, 4, 4, 1],
    "good": [6, 1, 1, 0, 1, 1],
    "bad": [6, 1, 1, 1, 0, 1],
    "lovely": [6, 1, 1, 1, 1, 0],
}
SENTENCES = torch.tensor(
    [[START, *words] for words in product(range(2, 2 + len(WORDS)), repeat=LENGTH)]
)  # int, [7776, 6]
MASK = torch.ones_like(SENTENCES).bool().index_fill(1, torch.tensor(0), False)


def text(row: Tensor) -> str:
    return " ".join(WORDS[i - 2] for i in row[1:].tolist())


def all_rewards() -> Tensor:
    """Three times VADER's valence of each sentence, by the mean of its ten raters, [7776]."""
    totals = torch.stack([opinions(text(row)).mean(dim=1).sum() for row in SENTENCES])
    return 3 * totals / (totals**2 + 15).sqrt()


def index(tokens: Tensor) -> Tensor:
    """The number of each sentence in SENTENCES: its words are the digits, [B]."""
    digits = len(WORDS) ** torch.arange(LENGTH - 1, -1, -1)
    return ((tokens[:, 1:] - 2) * digits).sum(dim=1)


def sentence_logp(model: nn.Module, tokens: Tensor) -> Tensor:
    """Log-probability of whole sentences, [B]."""
    return token_logp(model(tokens), tokens).sum(dim=1)


def new_model(kind: Callable = LanguageModel, seed: int = 0) -> Any:
    torch.manual_seed(seed)
    extra = {"read_only": (START,)} if kind is LanguageModel else {}
    size = dict(layers=1, width=32, heads=2)
    return kind(2 + len(WORDS), 1 + LENGTH, PAD, **extra, **size)


def train_reference(steps: int = 300, batch: int = 128, seed: int = 0) -> LanguageModel:
    """A small language model that has read sentences in which words follow each other as in FOLLOWS."""
    rng, model = random.Random(seed), new_model(seed=seed)
    optimizer = Adam(model.parameters(), 5e-3)
    for _ in range(steps):
        rows = []
        for _ in range(batch):
            words = ["START"]
            while len(words) <= LENGTH:
                words += rng.choices(WORDS, FOLLOWS[words[-1]])
            rows.append([START, *(2 + WORDS.index(w) for w in words[1:])])
        loss = -sentence_logp(model, torch.tensor(rows)).mean()
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    return model.requires_grad_(False)


class TinyLanguage:
    """The reference, the rewards, and the optimum: everything as a table over the 7,776 sentences."""

    def __init__(self, beta: float = BETA, reference: LanguageModel | None = None) -> None:
        self.beta, self.reference = beta, reference or train_reference()
        self.reward = all_rewards()
        self.log_ref = self.log_table(self.reference)
        self.log_optimum = F.log_softmax(self.log_ref + self.reward / beta, dim=0)

    @torch.no_grad()
    def log_table(self, model: nn.Module) -> Tensor:
        """log pi of every sentence, [7776]; the probabilities sum to 1."""
        if isinstance(model, PolicyTable):
            return model().sum(dim=1)
        return sentence_logp(model, SENTENCES)

    def kl_to_optimum(self, model: nn.Module) -> float:
        """KL(pi || pi*) in nats, exactly."""
        logp = self.log_table(model)
        return (logp.exp() * (logp - self.log_optimum)).sum().item()

    def objective(self, log_table: Tensor) -> float:
        """E[r] - beta KL(pi || ref) of a table of log-probabilities; beta log Z at the optimum."""
        return (
            (log_table.exp() * (self.reward - self.beta * (log_table - self.log_ref))).sum().item()
        )

    def score(self, tokens: Tensor, mask: Tensor | None = None) -> Tensor:
        """The reward of sampled sentences: here the reward model is the truth itself, [B]."""
        return self.reward[index(tokens)]

    def sample(
        self, model: nn.Module, count: int, generator: torch.Generator | None
    ) -> tuple[Tensor, ...]:
        start = torch.full((count, 1), START)
        return generate(model, start, LENGTH, generator=generator)


def beginnings() -> Tensor:
    """The number of the beginning that each word of each sentence follows, int [7776, 5].

    Beginnings are counted by length: 0 is the empty one, 1 to 6 are the single words, and so on.
    """
    words, columns = SENTENCES[:, 1:] - 2, [torch.zeros(len(SENTENCES), dtype=torch.long)]
    for k in range(LENGTH - 1):
        columns.append(len(WORDS) * columns[-1] + 1 + words[:, k])
    return torch.stack(columns, dim=1)


class PolicyTable(torch.nn.Module):
    """A policy that is a table: a row of logits for each of the 1,555 beginnings; starts as the reference.

    It can be any distribution over the sentences, so how near a method comes to pi* is the method's
    doing and not the network's.
    """

    def __init__(self, tiny: TinyLanguage) -> None:
        super().__init__()
        self.rows, self.words = beginnings(), SENTENCES[:, 1:] - 2
        with torch.no_grad():
            logits = tiny.reference(SENTENCES)[:, :-1, 2:]  # the two others have probability 0
        table = torch.zeros(int(self.rows.max()) + 1, len(WORDS))
        table[self.rows.flatten()] = F.log_softmax(logits, dim=-1).flatten(0, 1)
        self.logits = torch.nn.Parameter(table)

    def forward(self) -> Tensor:
        """log pi of each word of each sentence, [7776, 5]."""
        return F.log_softmax(self.logits, dim=-1)[self.rows, self.words]


def expected_loss(table: PolicyTable, loss: Callable, logp_ref: Tensor) -> Tensor:
    """What a loss on sampled sentences is on average; its gradient is the exact expected gradient.

        sum_y pi(y) loss(y),   pi(y) held constant: it is how often y is sampled

    loss : loss(logp, logp_ref) -> the loss of each sentence [7776]; both arguments [7776, 5]
    """
    logp = table()
    return (logp.sum(dim=1).exp().detach() * loss(logp, logp_ref)).sum()


def train_exactly(
    tiny: TinyLanguage, loss: Callable, steps: int = 400, lr: float = 0.1
) -> PolicyTable:
    """Descend the expected gradient of a loss, without any sampling; returns the PolicyTable."""
    table = PolicyTable(tiny)
    logp_ref, optimizer = table().detach(), Adam(table.parameters(), lr)
    for i in range(steps):
        optimizer.lr = lr * (1 - i / steps)
        value = expected_loss(table, loss, logp_ref)
        optimizer.zero_grad()
        value.backward()
        optimizer.step()
    return table.requires_grad_(False)


def ppo(
    tiny: TinyLanguage,
    iterations: int = 60,
    batch: int = 128,
    seed: int = 0,
    step: Callable = rlhf_step,
    update: Callable = ppo_update,
) -> Iterator[nn.Module]:
    """rlhf_step as in the large language, with the same `ppo_update`."""
    config = Config(
        beta=tiny.beta,
        lam=1.0,
        lr=2e-3,
        epochs=2,
        minibatches=2,
        max_new=LENGTH,
        end=None,
        seed=seed,
    )
    critic = new_model(ScalarModel, seed)
    policy = LanguagePolicy(copy.deepcopy(tiny.reference).requires_grad_(True), critic)
    optimizer = Adam(policy.parameters(), config.lr)
    start = torch.full((batch, 1), START)
    for i in range(iterations):
        optimizer.lr = config.lr * (1 - i / iterations)
        step(policy, tiny.reference, tiny.score, optimizer, start, config, update)
        yield policy.actor


def rloo(
    tiny: TinyLanguage,
    iterations: int = 150,
    prompts: int = 16,
    answers: int = 8,
    lr: float = 5e-3,
    seed: int = 0,
    advantages: Callable = rloo_advantages,
) -> Iterator[nn.Module]:
    """REINFORCE leave-one-out: no critic, no clip; a sentence is one action, the KL is in its reward."""

    def loss(logp, logp_ref, mask, score):
        total = score - tiny.beta * (logp - logp_ref).sum(dim=1).detach()
        adv = advantages(total.view(answers, prompts)).view(-1)
        return policy_gradient_loss(logp.sum(dim=1), adv)

    yield from on_policy(tiny, loss, iterations, prompts * answers, lr, seed)


def grpo(
    tiny: TinyLanguage,
    iterations: int = 150,
    prompts: int = 16,
    answers: int = 8,
    lr: float = 5e-3,
    seed: int = 0,
    advantages: Callable = grpo_advantages,
) -> Iterator[nn.Module]:
    """Group-relative: scaled advantages for every token, and the KL (k3) in the loss, not in the reward.

    It stops short of pi* because of where the KL is: the expected gradient of k3 in the loss is that of
    the forward KL(ref || pi) at each token (arXiv:2510.01555, arXiv:2512.21852). Dividing by the group's
    spread matters less: with k1 in the reward GRPO comes as near to pi* as RLOO does.
    """

    def loss(logp, logp_ref, mask, score):
        adv = advantages(score.view(answers, prompts)).view(-1, 1).expand_as(logp)
        surrogate = ppo_clip_loss(logp, logp.detach(), adv, 0.2, mask)
        return surrogate + tiny.beta * approx_kl(logp_ref, logp, mask)

    yield from on_policy(tiny, loss, iterations, prompts * answers, lr, seed)


def on_policy(
    tiny: TinyLanguage, loss: Callable, iterations: int, batch: int, lr: float, seed: int
) -> Iterator[nn.Module]:
    """Sample, one step on loss(logp, logp_ref, mask, score), again."""
    generator = torch.Generator().manual_seed(seed)
    model = copy.deepcopy(tiny.reference).requires_grad_(True)
    optimizer = Adam(model.parameters(), lr)
    for i in range(iterations):
        optimizer.lr = lr * (1 - i / iterations)
        tokens, mask = tiny.sample(model, batch, generator)
        logp = token_logp(model(tokens), tokens)
        value = loss(logp, token_logp(tiny.reference(tokens), tokens), mask, tiny.score(tokens))
        optimizer.zero_grad()
        value.backward()
        optimizer.step()
        yield model


def dpo(
    tiny: TinyLanguage,
    iterations: int = 300,
    pairs: int = 4000,
    batch: int = 64,
    lr: float = 2e-3,
    seed: int = 0,
    loss: Callable = dpo_loss,
) -> Iterator[nn.Module]:
    """No reward and no sampling while it learns: votes on pairs of the reference's own sentences."""
    generator = torch.Generator().manual_seed(seed)
    model = copy.deepcopy(tiny.reference).requires_grad_(True)
    optimizer = Adam(model.parameters(), lr)
    first, _ = tiny.sample(tiny.reference, pairs, generator)
    second, _ = tiny.sample(tiny.reference, pairs, generator)
    won = torch.rand(pairs, generator=generator) < torch.sigmoid(
        tiny.score(first) - tiny.score(second)
    )
    chosen = torch.where(won.unsqueeze(1), first, second)
    rejected = torch.where(won.unsqueeze(1), second, first)
    for i in range(iterations):
        optimizer.lr = lr * (1 - i / iterations)
        rows = torch.randint(pairs, (batch,), generator=generator)
        both = torch.cat([chosen[rows], rejected[rows]])
        logp, ref = sentence_logp(model, both), sentence_logp(tiny.reference, both)
        value = loss(*logp.chunk(2), *ref.chunk(2), tiny.beta)
        optimizer.zero_grad()
        value.backward()
        optimizer.step()
        yield model


METHODS = {"PPO": ppo, "RLOO": rloo, "GRPO": grpo, "DPO": dpo}


def kl_curve(
    tiny: TinyLanguage, method: Callable, every: int = 5, progress: bool = True, **settings: Any
) -> tuple[list[tuple[int, float]], nn.Module]:
    """Run a method; (iteration, exact KL to the optimum) now and then, and the last model."""
    curve = [(0, tiny.kl_to_optimum(tiny.reference))]
    run = enumerate(method(tiny, **settings), start=1)
    for i, model in tqdm(run, desc=method.__name__, disable=not progress):  # noqa: B007
        if i % every == 0:
            curve.append((i, tiny.kl_to_optimum(model)))
    return curve, model
