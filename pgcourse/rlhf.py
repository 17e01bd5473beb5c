"""RLHF: PPO on a language model, with a reward learned from people's votes.

    sample answers -> score them -> a price per token for leaving the reference -> lesson 5's ppo_update

| in lesson 5        | here                                                                         |
|--------------------|------------------------------------------------------------------------------|
| environment        | one conversation, a column of the rollout                                    |
| state, action      | the tokens so far, the next token                                            |
| reward             | the reward model's score at the last token, -beta * KL at every token        |
| terminated         | the end token; what follows is padding, masked                               |
| actor, critic      | the language model, a copy of the reward model                               |

source : Ziegler et al. 2019, arXiv:1909.08593; Ouyang et al. 2022, arXiv:2203.02155
"""

import copy
from collections.abc import Callable, Collection
from dataclasses import dataclass, field
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from tqdm.auto import tqdm

from pgcourse.distributions import categorical_logp, token_logp
from pgcourse.estimators import kl_shaped_rewards, rlhf_advantages
from pgcourse.language.grammar import END_ID, MAX_ANSWER, VOCABULARY, decode, sample_prompts
from pgcourse.language.reward_model import RewardModel
from pgcourse.language.transformer import LanguageModel, generate
from pgcourse.language.votes import judge_texts
from pgcourse.losses import ppo_clip_loss
from pgcourse.optim import Adam, Optimizer
from pgcourse.ppo import ppo_update


@dataclass
class Config:
    iterations: int = 25
    conversations: int = 128  # the columns of a rollout
    beta: float = 0.1  # price of a nat of KL to the reference, in standard deviations of the score
    gamma: float = 1.0  # an answer is short: no discount
    lam: float = 0.95
    epochs: int = 3
    minibatches: int = 4
    lr: float = 1e-3  # goes down to 0 along a line
    clip: float = 0.2
    value_clip: float = float("inf")
    value_coef: float = 0.5
    entropy_coef: float = 0.0
    max_grad_norm: float = 1.0
    target_kl: float = float("inf")
    max_new: int = MAX_ANSWER
    end: int | None = END_ID
    seed: int = 0
    generator: torch.Generator = field(init=False, repr=False)  # all randomness of a run

    def __post_init__(self):
        self.generator = torch.Generator().manual_seed(self.seed)


class LanguagePolicy(nn.Module):
    """A language model and its critic, with the face that `ppo_update` knows."""

    def __init__(self, actor: nn.Module, critic: nn.Module) -> None:
        super().__init__()
        self.actor, self.critic = actor, critic

    def values(self, tokens: Tensor) -> Tensor:
        """V of the history BEFORE each token, [B, T], so that it lines up with `tokens`."""
        return F.pad(self.critic(tokens[:, :-1]), (1, 0))

    def evaluate(self, obs: Tensor, act: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """logp, entropy and value, [T, B] each, of taking token act[t] after reading obs[0] … obs[t]."""
        logits = self.actor(obs.T)
        logp_all = F.log_softmax(logits, dim=-1)
        ent = -(logp_all.exp() * logp_all).sum(dim=-1)
        return categorical_logp(logits, act.T).T, ent.T, self.critic(obs.T).T


def make_policy(language_model: LanguageModel, reward_model: RewardModel) -> LanguagePolicy:
    """The actor starts as the language model; the critic as the reward model, its head turned down."""
    critic = copy.deepcopy(reward_model.net).requires_grad_(True)
    for p in critic.head.parameters():
        p.data.mul_(0.1)
    return LanguagePolicy(copy.deepcopy(language_model).requires_grad_(True), critic)


def as_rollout(tokens: Tensor, **aligned: Tensor) -> dict[str, Tensor]:
    """Conversations [B, T] as the time-major rollout that PPO knows, [T - 1, B].

    Step t: the history ends with obs[t] = tokens[:, t], the action is act[t] = tokens[:, t + 1]. What is
    aligned with the tokens ([B, T]: mask, logp, val, adv, ret) belongs to the token as an action.
    """
    aligned = {"act": tokens, **aligned}
    return {"obs": tokens[:, :-1].T, **{key: x[:, 1:].T for key, x in aligned.items()}}


def rlhf_step(
    policy: LanguagePolicy,
    reference: nn.Module,
    reward_model: Callable,
    optimizer: Optimizer,
    prompts: Tensor,
    config: Config,
    update: Callable = ppo_update,
    loss: Callable = ppo_clip_loss,
) -> dict[str, Any]:
    """One iteration of RLHF: sample, score, shape, and lesson 5's PPO update as it is.

    policy       : LanguagePolicy; policy.actor(tokens) -> logits [B, T, V]; policy.values(tokens)
                   -> V of the history before each token, [B, T]
    reference    : the frozen language model, reference(tokens) -> logits
    reward_model : the frozen reward_model(tokens, mask) -> score [B]; all three come with dropout
                   off (evaluation mode) and stay so, or the ratio is not 1 at the start
    optimizer    : over the policy's parameters
    prompts      : int, left-padded, [B, P]
    config       : max_new, end, generator for `generate`; beta, gamma, lam; and what `update` needs
    update       : called once, as update(policy, optimizer, rollout, config, loss=loss,
                   generator=config.generator); the rollout holds obs, act, mask, logp, val, adv, ret
    returns      : dict of floats: score (mean over answers), kl (mean over answers of the summed
                   logp - logp_ref, nats), length (tokens), and what the update returns, under "update"
    source       : Ouyang et al. 2022, sec. 3.5 and appendix C.4, arXiv:2203.02155
    """
    tokens, mask = generate(policy.actor, prompts, config.max_new, config.end, config.generator)
    with torch.no_grad():
        score = reward_model(tokens, mask)
        logp = token_logp(policy.actor(tokens), tokens)
        logp_ref = token_logp(reference(tokens), tokens)
        val = policy.values(tokens)
    rew = kl_shaped_rewards(score, logp, logp_ref, mask, config.beta)
    adv = rlhf_advantages(rew, val, mask, config.gamma, config.lam)
    rollout = as_rollout(tokens, mask=mask, logp=logp, val=val, adv=adv, ret=adv + val)
    log = update(policy, optimizer, rollout, config, loss=loss, generator=config.generator)
    kl = torch.where(mask, logp - logp_ref, 0.0).sum(dim=1).mean()
    length = mask.sum(dim=1).float().mean()
    return {"score": score.mean().item(), "kl": kl.item(), "length": length.item(), "update": log}


@torch.no_grad()
def evaluate(
    model: nn.Module,
    reference: nn.Module,
    reward_model: Callable,
    count: int = 256,
    seed: int = 10_000,
) -> dict[str, Any]:
    """An honest look at a model's answers, to fresh prompts: means of what can be measured, and the texts.

    returns : dict of floats: score, gold, valence, readable; kl (to the reference, nats per answer);
              length (tokens); distinct (how many different answers there are, as a share of all);
              gap (the largest |logp_sampled - logp_scored| of a token, nats: 0 up to rounding, or
              sampling and scoring disagree); and `texts`, a list of (prompt, answer)
    """
    generator = torch.Generator().manual_seed(seed)
    prompts = sample_prompts(count, generator)
    tokens, mask, drawn = generate(model, prompts, MAX_ANSWER, END_ID, generator, with_logp=True)
    logp = token_logp(model(tokens), tokens)
    numbers = {
        "score": reward_model(tokens, mask),
        "kl": torch.where(mask, logp - token_logp(reference(tokens), tokens), 0.0).sum(dim=1),
        "length": mask.sum(dim=1).float(),
        **judge_texts(tokens, mask),
    }
    answers = decode(tokens, mask)
    return {
        **{key: x.mean().item() for key, x in numbers.items()},
        "distinct": len(set(answers)) / count,
        "gap": (drawn - logp)[mask].abs().max().item(),
        "texts": list(zip(decode(tokens, ~mask), answers, strict=True)),
    }


@torch.no_grad()
def kl_by_word(
    model: nn.Module, reference: nn.Module, count: int = 512, seed: int = 10_000
) -> list[dict[str, Any]]:
    """Which words the KL to the reference is paid for: each word's part of it, the largest first.

    Estimated on the model's answers to fresh prompts: logp - logp_ref of a word, whenever it is written.
    returns : list of dicts: word; kl (nats per answer; over all words they sum to the KL);
              used and used_ref (how often the model and the reference write it, per answer)
    """
    generator = torch.Generator().manual_seed(seed)
    prompts = sample_prompts(count, generator)
    tokens, mask = generate(model, prompts, MAX_ANSWER, END_ID, generator)
    plain, plain_mask = generate(reference, prompts, MAX_ANSWER, END_ID, generator)
    price = token_logp(model(tokens), tokens) - token_logp(reference(tokens), tokens)

    def total(words, weights=None):
        return torch.bincount(words, weights, minlength=len(VOCABULARY)) / count

    used, used_ref, kl = (
        total(tokens[mask]),
        total(plain[plain_mask]),
        total(tokens[mask], price[mask]),
    )
    return [
        {
            "word": VOCABULARY[i],
            "kl": kl[i].item(),
            "used": used[i].item(),
            "used_ref": used_ref[i].item(),
        }
        for i in kl.argsort(descending=True).tolist()
    ]


def train(
    language_model: LanguageModel, reward_model: RewardModel, config: Config, step: Callable=rlhf_step, update: Callable=ppo_update, loss: Callable=ppo_clip_loss,
    every: int | Collection[int]=5, progress: bool=True, callback: Callable | None=None,
) -> tuple[LanguagePolicy, list[dict[str, Any]]]:  # fmt: skip
    """Raise the reward model's score of the language model's answers; both stay as they are.

    every    : evaluate before the first and after every so many iterations, or after those iterations
               (a collection), and after the last; gold is only looked at
    callback : called with the history after each evaluation
    returns  : the trained LanguagePolicy, and the history: a list of dicts, `evaluate`'s and the step's
    """
    reference = copy.deepcopy(language_model).requires_grad_(False)
    policy = make_policy(language_model, reward_model)
    optimizer = Adam(policy.parameters(), config.lr)
    history = [{"iteration": 0, **evaluate(policy.actor, reference, reward_model)}]
    bar = tqdm(range(config.iterations), desc=f"rlhf, beta {config.beta}", disable=not progress)
    for i in bar:
        optimizer.lr = config.lr * (1 - i / config.iterations)
        prompts = sample_prompts(config.conversations, config.generator)
        log = step(policy, reference, reward_model, optimizer, prompts, config, update, loss)
        bar.set_postfix(score=f"{log['score']:.2f}", kl=f"{log['kl']:.2f}", refresh=False)
        looked = (i + 1) % every == 0 if isinstance(every, int) else i + 1 in every
        if looked or i + 1 == config.iterations:
            seen = evaluate(policy.actor, reference, reward_model)
            history.append({"iteration": i + 1, **seen, "step": log})
            if callback is not None:
                callback(history)
    return policy, history
