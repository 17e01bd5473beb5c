"""Before any reinforcement: a language model learns to write, by predicting the next token.

The loss is on the answers only; prompts are read, not learned. `load` gives the models that the
project trained itself with `python -m pgcourse.language.rlhf_checkpoints` and ships as half-precision numbers.
"""

from collections.abc import Callable, Sequence
from importlib.resources import files
from importlib.resources.abc import Traversable
from typing import TypeVar

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from tqdm.auto import tqdm

from pgcourse.language.grammar import PAD_ID, SPEAKERS, VOCABULARY, encode, write_conversations
from pgcourse.language.transformer import LanguageModel, ScalarModel
from pgcourse.language.votes import mean_valence
from pgcourse.optim import Adam, clip_grad_norm_

Model = TypeVar("Model", bound=nn.Module)
CONTEXT = 32  # the longest prompt and the longest answer fit
HEADS = 8  # of attention, 8 numbers wide each
CHECKPOINTS = files("pgcourse") / "data"


def new_language_model(seed: int = 0) -> LanguageModel:
    torch.manual_seed(seed)
    return LanguageModel(len(VOCABULARY), CONTEXT, PAD_ID, SPEAKERS, heads=HEADS)


def new_scalar_model(seed: int = 0) -> ScalarModel:
    torch.manual_seed(seed)
    return ScalarModel(len(VOCABULARY), CONTEXT, PAD_ID, heads=HEADS)


def encode_conversations(conversations: Sequence[tuple[str, str]]) -> tuple[Tensor, Tensor]:
    """Pairs (prompt, answer) of text as one table, prompts left-padded and answers right-padded.

    returns : tokens int [B, T], mask bool [B, T], True on the answers
    """
    prompts = encode([prompt for prompt, _ in conversations])
    answers = encode([answer for _, answer in conversations])
    pads = (answers == PAD_ID).sum(dim=1)
    index = (torch.arange(answers.shape[1]) + pads.unsqueeze(1)) % answers.shape[1]
    tokens = torch.cat([prompts, answers.gather(1, index)], dim=1)  # pads moved to the right end
    mask = (tokens != PAD_ID) & (torch.arange(tokens.shape[1]) >= prompts.shape[1])
    return tokens, mask


def language_model_loss(model: nn.Module, tokens: Tensor, mask: Tensor) -> Tensor:
    """Cross-entropy of the answers' tokens, nats per token, each predicted from those before it."""
    logits = model(tokens)[:, :-1]
    return F.cross_entropy(logits[mask[:, 1:]], tokens[:, 1:][mask[:, 1:]])


def train_language_model(
    count: int = 80_000,
    batch: int = 16,
    lr: float = 4e-3,
    seed: int = 0,
    progress: bool = True,
    callback: Callable | None = None,
) -> tuple[LanguageModel, list[float]]:
    """Learn to write from `count` conversations, each read once.

    callback : called as callback(step, model, loss) after every step
    returns  : the model, and the loss of each step, nats per token
    """
    model, losses = new_language_model(seed), []
    optimizer = Adam(model.parameters(), lr)
    conversations = write_conversations(count, mean_valence(), seed)
    steps = count // batch
    for step in tqdm(range(steps), desc="language model", unit=" steps", disable=not progress):
        optimizer.lr = lr * min(1, (step + 1) / (0.05 * steps)) * (1 - step / steps)
        tokens, mask = encode_conversations(conversations[step * batch : (step + 1) * batch])
        loss = language_model_loss(model, tokens, mask)
        optimizer.zero_grad()
        loss.backward()
        clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
        losses.append(loss.item())
        if callback is not None:
            callback(step, model, losses[-1])
    return model, losses


def save(model: nn.Module, name: str, folder: Traversable = CHECKPOINTS) -> None:
    """Write a model's numbers in half precision to folder/name.pt."""
    torch.save({key: x.half() for key, x in model.state_dict().items()}, folder / f"{name}.pt")


def load(model: Model, name: str, folder: Traversable = CHECKPOINTS) -> Model:
    """Fill a model from folder/name.pt, and return it."""
    with (folder / f"{name}.pt").open("rb") as file:
        state = torch.load(file, weights_only=True)
    model.load_state_dict({key: x.float() for key, x in state.items()})
    return model


def load_language_model() -> LanguageModel:
    """The project's own pretrained language model."""
    return load(new_language_model(), "language_model")
