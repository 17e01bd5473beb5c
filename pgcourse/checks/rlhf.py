"""Exercises of lesson 7: log-probabilities of tokens, votes, shaped rewards, and one step of RLHF."""

from types import SimpleNamespace

import torch
import torch.nn.functional as F

from pgcourse.checks.core import Case, Exercise, Pitfall
from pgcourse.checks.make_inputs import integers, normal
from pgcourse.distributions import categorical_logp, token_logp
from pgcourse.estimators import (
    gae,
    kl_shaped_rewards,
    rlhf_advantages,
)
from pgcourse.exercises import rlhf as first
from pgcourse.losses import policy_gradient_loss, ppo_clip_loss
from pgcourse.ppo import ppo_update
from pgcourse.rlhf import as_rollout, rlhf_step
from pgcourse.transformer import generate

# --- token_logp ---


def tokens_but(table=lambda logits: F.log_softmax(logits, -1), taken=None, after=lambda x: x):
    """`token_logp` with one of its pieces replaced: what the mistakes below vary."""

    def wrong(logits, tokens):
        which = tokens[:, 1:] if taken is None else taken(logits, tokens)
        logp = table(logits)[:, :-1].gather(-1, which.unsqueeze(-1)).squeeze(-1)
        return after(F.pad(logp, (1, 0)))

    return wrong


# --- bradley_terry_loss ---


# --- sequence_score ---


def last_of(mask):
    return (torch.arange(mask.shape[1]) * mask).argmax(1)


# first and last row, first and last column hold both values of the mask, whatever the seed


# --- kl_shaped_rewards ---


def shaped(score, logp, logp_ref, mask, beta, kl=None, at=None, worth=None):
    """The right sum with one of its pieces replaced: what the mistakes below vary."""
    gap = logp - logp_ref
    rew = torch.where(mask, -beta * (gap if kl is None else kl(gap)), 0.0).detach()
    at = last_of(mask) if at is None else at(mask)
    worth = score.detach() if worth is None else worth(score.detach(), mask)
    out = rew.clone()
    out[torch.arange(len(out)), at] += worth
    return out


def shaping(keep=None, **pieces):
    def wrong(score, logp, logp_ref, mask, beta):
        out = shaped(score, logp, logp_ref, mask, beta, **pieces)
        return out if keep is None else keep(out, mask)

    return wrong


def only_masked(out, mask):
    return torch.where(mask, out, 0.0)


def shaped_everywhere(score, logp, logp_ref, mask, beta):
    return torch.where(mask, score[:, None] - beta * (logp - logp_ref), 0.0).detach()


def shaped_everything(score, logp, logp_ref, mask, beta):
    return (score[:, None] - beta * (logp - logp_ref)).detach()


def whitened(score):
    return (score - score.mean()) / (score.std(correction=0) + 1e-8)


# --- rlhf_advantages ---


def gae_on_tokens(rew, val, mask, gamma, lam, next_val=None, cut=None, keep=only_masked):
    """`rlhf_advantages` with one of its pieces replaced: what the mistakes below vary."""
    rew, val = torch.where(mask, rew, 0.0), torch.where(mask, val, 0.0).detach()
    after = torch.cat([val[:, 1:], torch.zeros_like(val[:, :1])], 1)
    after = after if next_val is None else next_val(val, mask)
    goes_on = torch.cat([mask[:, 1:], torch.zeros_like(mask[:, :1])], 1)
    last = ~(mask & goes_on)
    stops = torch.zeros_like(last) if cut == "never" else last
    adv = gae(rew.T, val.T, after.T, stops.T, stops.T, gamma, lam).T
    return keep(adv, mask)


def advantages(**pieces):
    return lambda rew, val, mask, gamma, lam: gae_on_tokens(rew, val, mask, gamma, lam, **pieces)


def adv_whitened(rew, val, mask, gamma, lam):
    adv = rlhf_advantages(rew, val, mask, gamma, lam)
    kept = adv[mask]
    return torch.where(mask, (adv - kept.mean()) / (kept.std(correction=0) + 1e-8), 0.0)


def adv_centered(rew, val, mask, gamma, lam):
    adv = rlhf_advantages(rew, val, mask, gamma, lam)
    return torch.where(mask, adv - adv[mask].mean(), 0.0)


# --- rlhf_step ---


def whole_text(tokens, mask):
    return tokens != 0


def roll_out(tokens, mask, logp, logp_ref, val, adv, rew):
    return as_rollout(tokens, mask=mask, logp=logp, val=val, adv=adv, ret=adv + val)


def stepping(
    before=lambda policy, reference, reward_model: None,
    sample=generate,
    writer=lambda policy, reference: policy.actor,
    scored=lambda tokens, mask: mask,
    read=lambda tokens, mask: tokens,
    kept=lambda tokens, mask: mask,
    score=lambda score: score,
    price=token_logp,
    ref_price=None,
    old=lambda policy, reference: policy.actor,
    ref=lambda policy, reference: reference,
    values=lambda policy, tokens: policy.values(tokens),
    rewards=kl_shaped_rewards,
    advantages=rlhf_advantages,
    rollout=roll_out,
    train=lambda update, *args, **kw: update(*args, **kw),
    after=lambda policy, reference, reward_model: None,
    graph=False,
    again=False,
    kl=lambda gap, mask: gap.sum(dim=1).mean(),
    length=lambda tokens, mask: mask.sum(dim=1).float().mean(),
    report=lambda log: log,
    settings=lambda config: config,
):
    """`rlhf_step` with one of its pieces replaced: what the mistakes below vary."""

    def step(
        policy,
        reference,
        reward_model,
        optimizer,
        prompts,
        config,
        update=ppo_update,
        loss=ppo_clip_loss,
    ):
        before(policy, reference, reward_model)
        set_ = settings(config)
        actor = writer(policy, reference)
        tokens, mask = sample(actor, prompts, config.max_new, config.end, config.generator)
        with torch.set_grad_enabled(graph):
            s = score(reward_model(read(tokens, mask), scored(tokens, mask)))
            logp = price(old(policy, reference)(tokens), tokens)
            logp_ref = (ref_price or price)(ref(policy, reference)(tokens), tokens)
            val = values(policy, tokens)
        mask = kept(tokens, mask)
        rew = rewards(s, logp, logp_ref, mask, set_.beta)
        adv = advantages(rew, val, mask, set_.gamma, set_.lam)
        data = rollout(tokens, mask, logp, logp_ref, val, adv, rew)
        log = train(update, policy, optimizer, data, config, loss=loss, generator=config.generator)
        after(policy, reference, reward_model)
        if again:  # the KL of the policy that the update has made
            with torch.no_grad():
                logp = price(policy.actor(tokens), tokens)
        gap = torch.where(mask, logp - logp_ref, 0.0)
        numbers = {"score": s.mean(), "kl": kl(gap, mask), "length": length(tokens, mask)}
        return report({**{key: x.item() for key, x in numbers.items()}, "update": log})

    return step


def own_update(update, policy, optimizer, rollout, config, loss, generator):
    """REINFORCE on the answers: an algorithm of one's own in place of lesson 5's."""
    logp, _, _ = policy.evaluate(rollout["obs"], rollout["act"])
    value = policy_gradient_loss(logp, rollout["adv"], rollout["mask"])
    optimizer.zero_grad()
    value.backward()
    optimizer.step()
    return {"policy_loss": value.item()}


def own_clipped_update(update, policy, optimizer, rollout, config, loss, generator):
    """PPO written again, without the update that was passed in."""
    return ppo_update(policy, optimizer, rollout, config, generator=generator)


def default_loss(update, policy, optimizer, rollout, config, loss, generator):
    return update(policy, optimizer, rollout, config, generator=generator)


def default_shuffling(update, policy, optimizer, rollout, config, loss, generator):
    return update(policy, optimizer, rollout, config, loss=loss)


def other_shuffling(update, policy, optimizer, rollout, config, loss, generator):
    new = torch.Generator().manual_seed(0)
    return update(policy, optimizer, rollout, config, loss=loss, generator=new)


def other_loss(update, policy, optimizer, rollout, config, loss, generator):
    return update(policy, optimizer, rollout, config, loss=ppo_clip_loss, generator=generator)


def no_clip(update, policy, optimizer, rollout, config, loss, generator):
    def plain(logp, logp_old, adv, clip, mask=None):
        return policy_gradient_loss(logp, adv, mask)

    return update(policy, optimizer, rollout, config, loss=plain, generator=generator)


def updated(times):
    def train(update, policy, optimizer, rollout, config, loss, generator):
        for _ in range(times):
            log = update(policy, optimizer, rollout, config, loss=loss, generator=generator)
        return log

    return train


def answer_by_answer(update, policy, optimizer, rollout, config, loss, generator):
    for b in range(rollout["act"].shape[1]):
        one = {key: x[:, b : b + 1] for key, x in rollout.items()}
        log = update(policy, optimizer, one, config, loss=loss, generator=generator)
    return log


def never_updated(update, policy, optimizer, rollout, config, loss, generator):
    return {}


def dropout_on(*models):
    for model in models:
        model.train()


def dropout_in_update(update, policy, optimizer, rollout, config, loss, generator):
    policy.train()
    return update(policy, optimizer, rollout, config, loss=loss, generator=generator)


def train_reward_model_too(policy, reference, reward_model):
    with torch.no_grad():
        for p in reward_model.parameters():
            p.add_(0.1)


def gradient_left(policy, reference, reward_model):
    for p in reward_model.parameters():
        p.grad = torch.ones_like(p)


def unshifted_logp(logits, tokens):
    return categorical_logp(logits, tokens)


def tempered(temperature):
    return lambda logits, tokens: token_logp(logits / temperature, tokens)


def absolute_price(score, logp, logp_ref, mask, beta):
    high, low = torch.maximum(logp, logp_ref), torch.minimum(logp, logp_ref)
    return kl_shaped_rewards(score, high, low, mask, beta)


def cleared(x, mask):
    return x * mask


def settings_but(**own):
    return lambda config: SimpleNamespace(
        **{name: own.get(name, getattr(config, name)) for name in ("beta", "gamma", "lam")}
    )


def sampled_twice(actor, prompts, max_new, end, generator):
    generate(actor, prompts, max_new, end, generator)
    return generate(actor, prompts, max_new, end, generator)


def without_a_call(seen, moved):
    """Whether the update was never called, and the policy was moved all the same (or was not)."""
    calls = seen[CALLS]["out"]
    return calls["calls of the update"] == 0 and calls["the policy moved"] == moved


def not_handed_on(seen, name):
    return seen[CALLS]["out"][name] is False


def with_another_config(update, policy, optimizer, rollout, config, loss, generator):
    other = SimpleNamespace(**{**vars(config), "clip": 1e9})
    return update(policy, optimizer, rollout, other, loss=loss, generator=generator)


def with_another_optimizer(update, policy, optimizer, rollout, config, loss, generator):
    other = torch.optim.SGD(policy.parameters(), lr=0.5)
    return update(policy, other, rollout, config, loss=loss, generator=generator)


def drawn_elsewhere(seen):
    """Whether config.generator stood where it began when the update was called."""
    calls = seen[CALLS]["out"]
    return isinstance(calls, dict) and calls.get("answers drawn with config.generator") is False


def sample_greedily(actor, prompts, max_new, end, generator):
    return generate(actor, prompts, max_new, end, generator, greedy=True)


def sample_from_global_state(actor, prompts, max_new, end, generator):
    return generate(actor, prompts, max_new, end)


def sample_without_end(actor, prompts, max_new, end, generator):
    return generate(actor, prompts, max_new, None, generator)


def answers_with_prompts(actor, prompts, max_new, end, generator):
    """A mask that covers the prompt too."""
    tokens, _ = generate(actor, prompts, max_new, end, generator)
    mask = tokens != 0
    mask[:, 0] = False
    return tokens, mask


def padding_is_answer(actor, prompts, max_new, end, generator):
    tokens, _ = generate(actor, prompts, max_new, end, generator)
    return tokens, (torch.arange(tokens.shape[1]) >= prompts.shape[1]).expand_as(tokens)


def batch_major(tokens, mask, logp, logp_ref, val, adv, rew):
    rollout = roll_out(tokens, mask, logp, logp_ref, val, adv, rew)
    return {key: x.T for key, x in rollout.items()}


def unshifted(tokens, mask, logp, logp_ref, val, adv, rew):
    """Observation and action are the same token: the policy sees what it is about to say."""
    aligned = dict(obs=tokens, act=tokens, mask=mask, logp=logp, val=val, adv=adv, ret=adv + val)
    return {key: x[:, 1:].T for key, x in aligned.items()}


def old_action(tokens, mask, logp, logp_ref, val, adv, rew):
    rollout = roll_out(tokens, mask, logp, logp_ref, val, adv, rew)
    return rollout | dict(act=rollout["obs"])


def without_mask(tokens, mask, logp, logp_ref, val, adv, rew):
    return roll_out(tokens, torch.ones_like(mask), logp, logp_ref, val, adv, rew)


def returns_are(kind):
    def rollout(tokens, mask, logp, logp_ref, val, adv, rew):
        return as_rollout(tokens, mask=mask, logp=logp, val=val, adv=adv, ret=kind(adv, rew))

    return rollout


def value_subtracted(tokens, mask, logp, logp_ref, val, adv, rew):
    return as_rollout(tokens, mask=mask, logp=logp, val=val, adv=adv, ret=adv - val)


def old_is_reference(tokens, mask, logp, logp_ref, val, adv, rew):
    return roll_out(tokens, mask, logp_ref, logp_ref, val, adv, rew)


def rewards_as_advantages(rew, val, mask, gamma, lam):
    return rew


def late_rollout(tokens, mask, logp, logp_ref, val, adv, rew):
    """What belongs to the action stands one step late."""
    aligned = dict(mask=mask, logp=logp, val=val, adv=adv, ret=adv + val)
    rest = {key: x[:, :-1].T for key, x in aligned.items()}
    return dict(obs=tokens[:, :-1].T, act=tokens[:, 1:].T, **rest)


def moving_reference(policy, reference, reward_model):
    reference.load_state_dict(policy.actor.state_dict())


def language(g, V=7, D=3):
    """Small models from arrays; the policy has moved away from the reference a little."""
    embedding, head = normal(g, V, D), normal(g, D, V, scale=2.0)
    return dict(
        actor=(embedding + normal(g, V, D, scale=0.2), head + normal(g, D, V, scale=0.3)),
        reference=(embedding, head),
        critic=(normal(g, V, D), normal(g, D)),
        worth=normal(g, V),
    )


def one_step(g, keep, B=5, steps=1, **config):
    prompts = 2 + integers(g, 5, B, 4)
    for b in range(B):
        prompts[b, : b % 3] = 0  # ragged, padded on the left
    plain = dict(beta=0.2, gamma=0.98, lam=0.9, max_new=6, seed=int(integers(g, 1000, 1)))
    config = plain | dict(epochs=2, minibatches=2, clip=0.2) | config
    return language(g) | dict(prompts=prompts, config=config, steps=steps, keep=keep)


CALLS, FROZEN = 3, 5  # the numbers of two cases of RLHF_STEP


def changed(model):
    """Recognizes a step that changes a frozen model, in whatever way."""
    return lambda seen: (
        isinstance(out := seen[FROZEN]["out"], dict) and out.get(f"the {model} as before") is False
    )


RLHF_STEP = Exercise(
    reference=rlhf_step,
    driver="one_rlhf_step",
    parts={"the rollout": 3, "the same PPO": 3, "the report": 1, "clean": 1},
    cases=[
        Case("the rollout of two answers", lambda g: one_step(g, "rollout", 2), "the rollout"),
        Case("the rollout of a batch", lambda g: one_step(g, "rollout", 8), "the rollout"),
        Case(
            "the rollout without a KL price",
            lambda g: one_step(g, "rollout", 4, beta=0.0, gamma=1.0),
            "the rollout",
        ),
        Case("the calls of the update", lambda g: one_step(g, "calls"), "the same PPO"),
        Case("the policy after PPO", lambda g: one_step(g, "weights", 8, steps=2), "the same PPO"),
        Case("the models that are frozen", lambda g: one_step(g, "frozen"), "the same PPO"),
        Case("the report", lambda g: one_step(g, "log"), "the report"),
    ],
    pitfalls=[
        Pitfall(
            "not the update passed in",
            "PPO runs, but not through the `update` of the arguments: call that one, your lesson-5 function.",
            stepping(train=own_clipped_update),
        ),
        Pitfall(
            "a different algorithm",
            "It trains with an update of its own; call the `update` that is passed in: lesson 5's PPO.",
            stepping(train=own_update),
            "RLHF is PPO with a learned reward model. Nothing in the update knows that these are words.",
            telltale=lambda seen: without_a_call(seen, moved=True),
        ),
        Pitfall(
            "another config passed on",
            "The update is given another config than `config`: its clip, epochs and minibatches stand there.",
            stepping(train=with_another_config),
            telltale=lambda seen: not_handed_on(seen, "config"),
        ),
        Pitfall(
            "another optimizer passed on",
            "The update is given another optimizer than `optimizer`: its state would be lost in each step.",
            stepping(train=with_another_optimizer),
            telltale=lambda seen: not_handed_on(seen, "optimizer"),
        ),
        Pitfall(
            "loss not passed on",
            "The update is not called with `loss=loss`, so the loss of the arguments is never used.",
            stepping(train=default_loss),
            also=(stepping(train=other_loss), stepping(train=no_clip)),
        ),
        Pitfall(
            "generator not passed on",
            "The update is not given `generator=config.generator`: it shuffles with other random numbers.",
            stepping(train=default_shuffling),
            "The same seed would no longer give the same run.",
            also=(stepping(train=other_shuffling),),
        ),
        Pitfall(
            "updated several times",
            "It calls the update several times on the same answers; the epochs are inside the update.",
            stepping(train=updated(2)),
            also=tuple(stepping(train=updated(times)) for times in (3, 4)),
        ),
        Pitfall(
            "answer by answer",
            "It calls the update once for each answer; a rollout holds all of them, a column each.",
            stepping(train=answer_by_answer),
            "Advantages are normalized over the whole rollout, and minibatches drawn from all its columns.",
        ),
        Pitfall(
            "never updated",
            "The update is not called: nothing is learned.",
            stepping(train=never_updated),
            telltale=lambda seen: without_a_call(seen, moved=False),
        ),
        Pitfall(
            "dropout on while scoring",
            "The models are switched to training mode, so dropout is on: the same text scores differently each time.",
            stepping(before=dropout_on),
            "Sampled, scored and trained with different masks, the ratio is not 1 at the start, and PPO clips noise.",
            also=(
                stepping(before=lambda policy, reference, reward_model: dropout_on(policy)),
                stepping(
                    before=lambda policy, reference, reward_model: dropout_on(policy, reference)
                ),
                stepping(train=dropout_in_update),
                stepping(before=lambda policy, reference, reward_model: dropout_on(reward_model)),
            ),
        ),
        Pitfall(
            "greedy answers",
            "It takes the most likely token each time: without sampling there is nothing to compare.",
            stepping(sample=sample_greedily),
        ),
        Pitfall(
            "not drawn from config.generator",
            "The answers are sampled with other random numbers than `config.generator`'s.",
            stepping(sample=sample_from_global_state),
            "The same seed would no longer give the same run.",
            telltale=drawn_elsewhere,
        ),
        Pitfall(
            "sampled twice",
            "It generates a second time, and the first answers are thrown away.",
            stepping(sample=sampled_twice),
        ),
        Pitfall(
            "log-probabilities without the shift",
            "Each token is scored with the logits computed after reading it: use `token_logp`.",
            stepping(price=unshifted_logp),
            also=(
                stepping(price=unshifted_logp, ref_price=token_logp),
                stepping(ref_price=unshifted_logp),
            ),
        ),
        Pitfall(
            "raw logits",
            "Logits are taken for log-probabilities: use `token_logp`.",
            stepping(price=tokens_but(lambda logits: logits)),
            also=(
                stepping(price=tokens_but(lambda logits: logits), ref_price=token_logp),
                stepping(ref_price=tokens_but(lambda logits: logits)),
            ),
        ),
        Pitfall(
            "another temperature",
            "The logits are divided by a number before scoring; `generate` samples at temperature 1.",
            stepping(price=tempered(0.7)),
            also=tuple(
                stepping(price=tempered(k), ref_price=one)
                for k in (0.5, 0.7, 0.8, 0.9, 1.2)
                for one in (token_logp, tempered(k))
            ),
        ),
        Pitfall(
            "values of the wrong history",
            "val are the critic's numbers AFTER each token; `policy.values` gives those before it.",
            stepping(values=lambda policy, tokens: policy.critic(tokens)),
        ),
        Pitfall(
            "critic unused",
            "The values are all 0: the advantages are returns without a baseline, and the critic has no past.",
            stepping(values=lambda policy, tokens: torch.zeros(tokens.shape)),
            also=(
                stepping(
                    advantages=lambda rew, val, mask, gamma, lam: rlhf_advantages(
                        rew, 0 * val, mask, gamma, 1.0
                    )
                ),
                stepping(
                    advantages=lambda rew, val, mask, gamma, lam: rlhf_advantages(
                        rew, 0 * val, mask, gamma, lam
                    )
                ),
            ),
        ),
        Pitfall(
            "number of one's own",
            "beta, gamma or lam is a number of its own; take all three from `config`.",
            stepping(settings=settings_but(beta=0.1)),
            also=(
                *(stepping(settings=settings_but(beta=x)) for x in (0.01, 0.05, 0.5, 1.0)),
                *(stepping(settings=settings_but(gamma=x)) for x in (1.0, 0.99)),
                *(stepping(settings=settings_but(lam=x)) for x in (0.95, 1.0, 0.0)),
                stepping(settings=settings_but(gamma=1.0, lam=0.95)),
                stepping(settings=settings_but(beta=0.1, gamma=1.0, lam=0.95)),
                stepping(settings=lambda c: SimpleNamespace(beta=c.beta, gamma=c.lam, lam=c.gamma)),
            ),
        ),
        Pitfall(
            "KL against the policy itself",
            "The rewards hold no KL price: logp_ref comes from the policy itself, or the price is left out "
            "or paid elsewhere, in the loss.",
            stepping(ref=lambda policy, reference: policy.actor),
        ),
        Pitfall(
            "moving reference",
            "The reference is changed by the step: it must stay what it was before the training.",
            stepping(after=moving_reference),
            "A price for each step's distance lets the policy walk away in small steps, for free.",
            telltale=changed("reference"),
        ),
        Pitfall(
            "reward model not frozen",
            "The reward model is changed by the step: it learned from the votes once, and stays as it is.",
            stepping(after=train_reward_model_too),
            "A reward that moves with the policy measures nothing.",
            telltale=changed("reward model"),
        ),
        Pitfall(
            "gradient into the frozen models",
            "It leaves gradients on the reference or the reward model; score under torch.no_grad().",
            stepping(after=gradient_left),
        ),
        Pitfall(
            "absolute KL",
            "It takes |logp - logp_ref|; the difference must keep its sign: use `kl_shaped_rewards`.",
            stepping(rewards=absolute_price),
        ),
        Pitfall(
            "score on every token",
            "Every token is paid the whole score; an answer is paid once, at its end.",
            stepping(rewards=shaped_everywhere),
            also=(stepping(rewards=shaped_everything),),
        ),
        Pitfall(
            "score on the last column",
            "The score lands at position -1: padding for every answer but the longest.",
            stepping(rewards=shaping(at=lambda mask: torch.full((len(mask),), -1))),
        ),
        Pitfall(
            "answers without their prompts",
            "The reward model reads the answers alone; what is a good answer depends on the question.",
            stepping(read=cleared),
        ),
        Pitfall(
            "sign of the KL",
            "The policy is PAID for leaving the reference: logp and logp_ref are swapped.",
            stepping(
                rewards=lambda s, logp, logp_ref, mask, beta: kl_shaped_rewards(
                    s, logp_ref, logp, mask, beta
                )
            ),
        ),
        Pitfall(
            "no KL",
            "beta is not used: the rewards are the score alone.",
            stepping(
                rewards=lambda s, logp, logp_ref, mask, beta: kl_shaped_rewards(
                    s, logp, logp_ref, mask, 0.0
                )
            ),
        ),
        Pitfall(
            "score of prompt and answer",
            "The reward model is given a mask of all real tokens; it should score the answer's.",
            stepping(scored=whole_text),
        ),
        Pitfall(
            "score of padding",
            "The reward model is given a mask that is True everywhere, padding included.",
            stepping(scored=lambda tokens, mask: torch.ones_like(mask)),
        ),
        Pitfall(
            "scores changed",
            "The scores are normalized, centered, squashed or turned round first; they are paid as they are.",
            stepping(score=whitened),
            "beta would have another meaning in each batch. Only advantages are normalized, in the update.",
            also=(
                stepping(score=lambda s: (s - s.mean()) / (s.std() + 1e-8)),
                stepping(score=lambda s: s - s.mean()),
                *(stepping(score=lambda s, k=k: s.clamp(-k, k)) for k in (1, 2, 5)),
                stepping(score=torch.sigmoid),
                stepping(score=torch.tanh),
                stepping(score=lambda s: -s),
            ),
        ),
        Pitfall(
            "advantages normalized too early",
            "It normalizes the advantages; the update does that, once, and `ret` needs them as they were.",
            stepping(advantages=adv_whitened),
            also=(stepping(advantages=adv_centered),),
        ),
        Pitfall(
            "prompt in the loss",
            "The mask holds prompt tokens too: they were given, not chosen, and carry no credit.",
            stepping(sample=answers_with_prompts),
            also=(stepping(kept=whole_text),),
        ),
        Pitfall(
            "padding in the loss",
            "The mask holds padding: what comes after the end token never happened.",
            stepping(sample=padding_is_answer),
        ),
        Pitfall(
            "no mask",
            "The rollout's mask is True everywhere: prompt and padding are trained on.",
            stepping(rollout=without_mask),
        ),
        Pitfall(
            "batch before time",
            "The rollout is [B, T]; PPO's is time-major, a column is a conversation: use as_rollout.",
            stepping(rollout=batch_major),
        ),
        Pitfall(
            "sees the token it chooses",
            "obs and act are the same token: the action is the token AFTER the last one seen.",
            stepping(rollout=unshifted),
            "With the answer in view the loss looks wonderful, and nothing is learned.",
            also=(stepping(rollout=old_action),),
        ),
        Pitfall(
            "one step late",
            "mask, logp, val, adv and ret stand one step late: they belong to the token that is the ACTION.",
            stepping(rollout=late_rollout),
            "as_rollout takes them aligned with the tokens, and shifts them with the actions.",
        ),
        Pitfall(
            "written by the reference",
            "The answers are sampled from the reference; the policy must learn from what it does itself.",
            stepping(writer=lambda policy, reference: reference),
            "The ratio's denominator would be the probability under a policy that never acted.",
        ),
        Pitfall(
            "old log-probabilities of the reference",
            "The rollout's logp are the reference's, but the answers were sampled from the policy.",
            stepping(rollout=old_is_reference),
            "PPO's ratio is then not 1 at the start, and the clip binds against the wrong policy.",
        ),
        Pitfall(
            "samples of the reference",
            "The stored log-probabilities, and with them the KL, are those of the reference.",
            stepping(old=lambda policy, reference: reference),
        ),
        Pitfall(
            "end token forgotten",
            "`generate` is not told the end token: every answer goes on to the limit.",
            stepping(sample=sample_without_end),
        ),
        Pitfall(
            "advantages as returns",
            "`ret`, the critic's target, is the advantage alone; it is advantage + value.",
            stepping(rollout=returns_are(lambda adv, rew: adv)),
        ),
        Pitfall(
            "rewards as returns",
            "`ret`, the critic's target, is the single token's reward; it is advantage + value.",
            stepping(rollout=returns_are(lambda adv, rew: rew)),
        ),
        Pitfall(
            "another critic's target",
            "`ret`, the critic's target, is advantage + value, as in lesson 5.",
            stepping(rollout=returns_are(lambda adv, rew: rew.flip(1).cumsum(1).flip(1))),
            also=(
                stepping(
                    rollout=returns_are(lambda adv, rew: rew.sum(1, keepdim=True).expand_as(rew))
                ),
                stepping(rollout=value_subtracted),
            ),
        ),
        Pitfall(
            "KL report",
            "The report's kl is the sum over an answer's tokens of logp - logp_ref, averaged over answers.",
            stepping(kl=lambda gap, mask: gap.sum() / mask.sum()),
            also=(
                stepping(kl=lambda gap, mask: gap.mean()),
                stepping(kl=lambda gap, mask: gap.sum()),
                stepping(kl=lambda gap, mask: gap.abs().sum(1).mean()),
                stepping(kl=lambda gap, mask: -gap.sum(1).mean()),
                stepping(kl=lambda gap, mask: (gap.sum(1) / mask.sum(1)).mean()),
                stepping(kl=lambda gap, mask: 0.2 * gap.sum(1).mean()),
                stepping(again=True),
            ),
        ),
        Pitfall(
            "length report",
            "The report's length is the number of an answer's own tokens, averaged over answers.",
            stepping(length=lambda tokens, mask: mask.sum().float()),
            also=(
                stepping(length=lambda tokens, mask: (tokens != 0).sum(1).float().mean()),
                stepping(length=lambda tokens, mask: torch.tensor(float(mask.shape[1]))),
            ),
        ),
        Pitfall(
            "score report",
            "The report's score is the mean over answers.",
            stepping(report=lambda log: log | dict(score=5 * log["score"])),  # the sum of five
        ),
        Pitfall(
            "rewards as advantages",
            "The rewards go to PPO without `rlhf_advantages`: only the last token learns of the score.",
            stepping(advantages=rewards_as_advantages),
        ),
        Pitfall(
            "rollout with gradient",
            "logp and val still carry the graph of this forward pass: sample and score under no_grad.",
            stepping(graph=True),
            "The ratio's gradient would cancel to zero, or the old policy would be trained too.",
        ),
    ],
    read="lesson 7, “One step of RLHF”; Ouyang et al. 2022, section 3.5",
)

# --- rloo_advantages ---


def again(first, *rest):
    """One mistake in several forms."""
    forms = [form for one in rest for form in (one["wrong"], *one["also"])]
    return dict(wrong=first["wrong"], also=(*first["also"], *forms))


# --- grpo_advantages ---


# --- dpo_loss ---


EXERCISES = [*first.EXERCISES[:6], RLHF_STEP, *first.EXERCISES[6:]]
