"""Mistakes in `rlhf_step`, in the order of its text; what a driver counts comes first."""

from types import SimpleNamespace

import torch.nn.functional as F

from pgcourse.checks.edits import edit, mistake, telltale
from pgcourse.distributions import categorical_logp
from pgcourse.losses import policy_gradient_loss

CALLS, FROZEN = "the calls of the update", "the models that are frozen"  # names of cases
SAMPLE = (
    "tokens, mask = generate(policy.actor, prompts, config.max_new, config.end, config.generator)"
)
SCORE, VALUES = "reward_model(tokens, mask)", "policy.values(tokens)"
LOGP, LOGP_REF = "token_logp(policy.actor(tokens), tokens)", "token_logp(reference(tokens), tokens)"
REWARDS = "kl_shaped_rewards(score, logp, logp_ref, mask, config.beta)"
ADV = "rlhf_advantages(rew, val, mask, config.gamma, config.lam)"
ROLLOUT = "as_rollout(tokens, mask=mask, logp=logp, val=val, adv=adv, ret=adv + val)"
UPDATE = "update(policy, optimizer, rollout, config, loss=loss, generator=config.generator)"
KL = "torch.where(mask, logp - logp_ref, 0.0).sum(dim=1).mean()"
LENGTH = "mask.sum(dim=1).float().mean()"
WHOLE = "(tokens != 0)"  # prompt and answer
ANSWERS = "(torch.arange(tokens.shape[1]) >= prompts.shape[1]).expand_as(tokens)"  # padding too


def then(line, *more):
    """The same line, and more after it."""
    return edit(line, "\n".join((line, *more)))


def update(new):
    return edit(UPDATE, new)


def first(*lines):
    """Lines before all others."""
    return edit(SAMPLE, "\n".join((*lines, SAMPLE)))


def training(*models):
    return first(*(f"{model}.train()" for model in models))


def scores(new):
    """The score is changed where the rewards are made, or at once, for the report too."""
    return edit("kl_shaped_rewards(score", f"kl_shaped_rewards({new}"), then(
        f"score = {SCORE}", f"score = {new}"
    )


def rewards(new):
    return edit(REWARDS, new)


def own(**numbers):
    """These settings are numbers of its own."""
    return tuple(edit(f"config.{name}", number) for name, number in numbers.items())


def logits(change):
    """Both models' logits are changed, or one's."""
    pi = edit("policy.actor(tokens)", change.format("policy.actor(tokens)"))
    ref = edit("reference(tokens)", change.format("reference(tokens)"))
    return (pi, ref), (pi,), (ref,)


def raw_logits(logits, tokens):
    """The logits of `token_logp`, without its softmax."""
    return F.pad(logits[:, :-1].gather(-1, tokens[:, 1:, None]).squeeze(-1), (1, 0))


def scored(by):
    """Another function scores the tokens: of both models, or of one."""
    pi, ref = (edit(x, x.replace("token_logp", by.__name__), use=(by,)) for x in (LOGP, LOGP_REF))
    return (pi, ref), (pi,), (ref,)


def ret(new):
    return edit("ret=adv + val", f"ret={new}")


def kl(new):
    return edit(KL, new)


def counted(case, name, value):
    """Recognizes what the driver has counted in a case."""

    def sign(at):
        out = at[case]["out"]
        return isinstance(out, dict) and out.get(name) is value

    return sign


def without_a_call(moved):
    """Whether the update was never called, and the policy was moved all the same (or was not)."""

    def sign(at):
        calls = at[CALLS]["out"]
        return calls["calls of the update"] == 0 and calls["the policy moved"] is moved

    return sign


OWN_UPDATE = (
    'now, _, _ = policy.evaluate(rollout["obs"], rollout["act"])\n'
    'own = policy_gradient_loss(now, rollout["adv"], rollout["mask"])\n'
    "optimizer.zero_grad()\nown.backward()\noptimizer.step()\nlog = {}"
)
UNCLIPPED = "lambda logp, logp_old, adv, clip, mask=None: policy_gradient_loss(logp, adv, mask)"
ONE_BY_ONE = (
    "for b in range(len(tokens)):\n    one = {key: x[:, b : b + 1] for key, x in rollout.items()}\n"
    f"    log = {UPDATE.replace('rollout', 'one')}"
)
GAP = "torch.where(mask, logp - logp_ref, 0.0)"
PAID = "-config.beta * (logp - logp_ref)"
NO_CRITIC = "rlhf_advantages(rew, 0 * val, mask, config.gamma, {0})"
FLAT = "torch.where(mask, {0}, 0.0)"

# fmt: off
MISTAKES = [
    mistake("not the update passed in",
            "PPO runs, but not through the `update` of the arguments: call that one, your lesson-5 function.",
            edit("log = update(", "log = ppo_update("), also=(update("ppo_update(policy, optimizer, rollout, config, generator=config.generator)"),)),
    telltale("a different algorithm",
             "It trains with an update of its own; call the `update` that is passed in: lesson 5's PPO.",
             edit(f"log = {UPDATE}", OWN_UPDATE, use=(policy_gradient_loss,)), without_a_call(True),
             why="RLHF is PPO with a learned reward model. Nothing in the update knows that these are words."),
    telltale("another config passed on", "The update is given another config than `config`: its clip, epochs and minibatches stand there.",
             edit("rollout, config, loss", 'rollout, SimpleNamespace(**{**vars(config), "clip": 1e9}), loss', use=(SimpleNamespace,)),
             counted(CALLS, "config", False)),
    telltale("another optimizer passed on", "The update is given another optimizer than `optimizer`: its state would be lost in each step.",
             edit("optimizer, rollout", "torch.optim.SGD(policy.parameters(), lr=0.5), rollout"), counted(CALLS, "optimizer", False)),
    mistake("loss not passed on", "The update is not called with `loss=loss`, so the loss of the arguments is never used.",
            edit("loss=loss, ", ""), also=(edit("loss=loss", "loss=ppo_clip_loss"), edit("loss=loss", f"loss={UNCLIPPED}", use=(policy_gradient_loss,)))),
    mistake("generator not passed on", "The update is not given `generator=config.generator`: it shuffles with other random numbers.",
            edit(", generator=config.generator", ""), why="The same seed would no longer give the same run.",
            also=(edit("generator=config.generator", "generator=torch.Generator().manual_seed(0)"),)),
    mistake("updated several times", "It calls the update several times on the same answers; the epochs are inside the update.",
            edit(f"log = {UPDATE}", f"for _ in range(2):\n    log = {UPDATE}"),
            also=(*(edit(f"log = {UPDATE}", f"for _ in range({n}):\n    log = {UPDATE}") for n in (3, 4, "config.epochs + 3")),)),
    mistake("answer by answer", "It calls the update once for each answer; a rollout holds all of them, a column each.",
            edit(f"log = {UPDATE}", ONE_BY_ONE),
            why="Advantages are normalized over the whole rollout, and minibatches drawn from all its columns."),
    telltale("never updated", "The update is not called: nothing is learned.", edit(f"log = {UPDATE}", "log = {}"), without_a_call(False)),
    mistake("dropout on while scoring",
            "The models are switched to training mode, so dropout is on: the same text scores differently each time.",
            training("policy", "reference", "reward_model"), also=(training("policy"), training("policy", "reference"), training("reward_model"), training("reference"),
                                                                   edit(f"log = {UPDATE}", f"policy.train()\nlog = {UPDATE}")),
            why="Sampled, scored and trained with different masks, the ratio is not 1 at the start, and PPO clips noise."),
    mistake("greedy answers", "It takes the most likely token each time: without sampling there is nothing to compare.",
            edit("config.end, config.generator)", "config.end, config.generator, greedy=True)"), also=(edit("config.end, config.generator)", "config.end, greedy=True)"),)),
    telltale("not drawn from config.generator", "The answers are sampled with other random numbers than `config.generator`'s.",
             edit("config.end, config.generator", "config.end"), counted(CALLS, "answers drawn with config.generator", False),
             why="The same seed would no longer give the same run."),
    mistake("sampled twice", "It generates a second time, and the first answers are thrown away.", edit(SAMPLE, f"{SAMPLE}\n{SAMPLE}")),
    mistake("log-probabilities without the shift", "Each token is scored with the logits computed after reading it: use `token_logp`.",
            *scored(categorical_logp)[0], also=scored(categorical_logp)[1:]),
    mistake("raw logits", "Logits are taken for log-probabilities: use `token_logp`.",
            *scored(raw_logits)[0], also=scored(raw_logits)[1:]),
    mistake("another temperature", "The logits are divided by {T:.3g} before scoring; `generate` samples at temperature 1.",
            *logits("{0} / {{T=0.7}}")[0], also=(logits("{0} / {{T=0.7}}")[1],)),
    mistake("values of the wrong history", "val are the critic's numbers AFTER each token; `policy.values` gives those before it.",
            edit(VALUES, "policy.critic(tokens)")),
    mistake("critic unused", "The values are all 0: the advantages are returns without a baseline, and the critic has no past.",
            edit(VALUES, "torch.zeros(tokens.shape)"), also=(edit(ADV, NO_CRITIC.format("1.0")), edit(ADV, NO_CRITIC.format("config.lam")))),
    mistake("beta of its own", "beta is {beta:.3g}, whatever config.beta says.", *own(beta="{beta=0.1}")),
    mistake("gamma of its own", "gamma is {gamma:.3g}, whatever config.gamma says.", *own(gamma="{gamma=0.99}")),
    mistake("lam of its own", "lam is {lam:.3g}, whatever config.lam says.", *own(lam="{lam=0.95}")),
    mistake("numbers of its own", "Several of beta, gamma and lam are numbers of its own; take all three from `config`.",
            *own(gamma="1.0", lam="0.95"), also=(own(beta="0.1", gamma="1.0", lam="0.95"), own(gamma="0.99", lam="0.95"), own(beta="0.1", gamma="1.0"))),
    mistake("gamma and lam exchanged", "It passes lam for gamma and gamma for lam.",
            edit("config.gamma, config.lam", "config.lam, config.gamma")),
    mistake("KL against the policy itself",
            "The rewards hold no KL price: logp_ref comes from the policy itself, or the price is left out or paid elsewhere, in the loss.",
            edit("reference(tokens)", "policy.actor(tokens)")),
    telltale("moving reference", "The reference is changed by the step: it must stay what it was before the training.",
             then(f"log = {UPDATE}", "reference.load_state_dict(policy.actor.state_dict())"), counted(FROZEN, "the reference as before", False),
             why="A price for each step's distance lets the policy walk away in small steps, for free."),
    telltale("reward model not frozen", "The reward model is changed by the step: it learned from the votes once, and stays as it is.",
             then(f"log = {UPDATE}", "with torch.no_grad():\n    for p in reward_model.parameters():\n        p.add_(0.1)"),
             counted(FROZEN, "the reward model as before", False), why="A reward that moves with the policy measures nothing."),
    mistake("gradient into the frozen models", "It leaves gradients on the reference or the reward model; score under torch.no_grad().",
            then(f"log = {UPDATE}", "for p in reward_model.parameters():\n    p.grad = torch.ones_like(p)")),
    mistake("absolute KL", "It takes |logp - logp_ref|; the difference must keep its sign: use `kl_shaped_rewards`.",
            edit("logp - logp_ref", "(logp - logp_ref).abs()", of="kl_shaped_rewards")),
    mistake("score on every token", "Every token is paid the whole score; an answer is paid once, at its end.",
            rewards(FLAT.format(f"score[:, None] {PAID}")), also=(rewards(f"score[:, None] {PAID}"),)),
    mistake("score on the last column", "The score lands at position -1: padding for every answer but the longest.",
            edit("(steps * mask).argmax(dim=1)", "torch.full((len(mask),), -1)", of="kl_shaped_rewards")),
    mistake("answers without their prompts", "The reward model reads the answers alone; what is a good answer depends on the question.",
            edit(SCORE, "reward_model(tokens * mask, mask)")),
    mistake("sign of the KL", "The policy is PAID for leaving the reference: logp and logp_ref are swapped.",
            edit("(score, logp, logp_ref", "(score, logp_ref, logp")),
    mistake("no KL", "beta is not used: the rewards are the score alone.", edit("config.beta", "0.0")),
    mistake("score of prompt and answer", "The reward model is given a mask of all real tokens; it should score the answer's.",
            edit(SCORE, f"reward_model(tokens, {WHOLE})")),
    mistake("score of padding", "The reward model is given a mask that is True everywhere, padding included.",
            edit(SCORE, "reward_model(tokens, torch.ones_like(mask))")),
    mistake("scores changed", "The scores are normalized, centered, squashed or turned round first; they are paid as they are.",
            scores("((score - score.mean()) / (score.std(correction=0) + 1e-8))")[0],
            also=(scores("((score - score.mean()) / (score.std(correction=0) + 1e-8))")[1],
                  *(e for new in ("((score - score.mean()) / (score.std() + 1e-8))", "(score - score.mean())", "score.sigmoid()", "score.tanh()", "(-score)")
                    for e in scores(new))),
            why="beta would have another meaning in each batch. Only advantages are normalized, in the update."),
    mistake("scores clipped", "The scores are cut off at ±{limit:.3g}; they are paid as they are.",
            scores("score.clamp(-{limit=1}, {limit=1})")[1]),
    mistake("advantages normalized too early",
            "It normalizes the advantages; the update does that, once, and `ret` needs them as they were.",
            then(f"adv = {ADV}", "adv = torch.where(mask, (adv - adv[mask].mean()) / (adv[mask].std(correction=0) + 1e-8), 0.0)"),
            also=(then(f"adv = {ADV}", "adv = torch.where(mask, adv - adv[mask].mean(), 0.0)"),
                  then(f"adv = {ADV}", "adv = torch.where(mask, (adv - adv[mask].mean()) / (adv[mask].std() + 1e-8), 0.0)"),
                  then(f"adv = {ADV}", "adv = (adv - adv.mean()) / (adv.std() + 1e-8)"))),
    mistake("prompt in the loss", "The mask holds prompt tokens too: they were given, not chosen, and carry no credit.",
            then(SAMPLE, f"mask = {WHOLE}\nmask[:, 0] = False"), also=(then(f"val = {VALUES}", f"mask = {WHOLE}"), then(SAMPLE, f"mask = {WHOLE}"))),
    mistake("padding in the loss", "The mask holds padding: what comes after the end token never happened.", then(SAMPLE, f"mask = {ANSWERS}")),
    mistake("no mask", "The rollout's mask is True everywhere: prompt and padding are trained on.",
            edit("mask=mask", "mask=torch.ones_like(mask)")),
    mistake("batch before time", "The rollout is [B, T]; PPO's is time-major, a column is a conversation: use as_rollout.",
            then(f"rollout = {ROLLOUT}", "rollout = {key: x.T for key, x in rollout.items()}")),
    mistake("sees the token it chooses", "obs and act are the same token: the action is the token AFTER the last one seen.",
            then(f"rollout = {ROLLOUT}", 'rollout["obs"] = rollout["act"]'), also=(then(f"rollout = {ROLLOUT}", 'rollout["act"] = rollout["obs"]'),),
            why="With the answer in view the loss looks wonderful, and nothing is learned."),
    mistake("one step late", "mask, logp, val, adv and ret stand one step late: they belong to the token that is the ACTION.",
            edit("x[:, 1:].T", '(x[:, 1:] if key == "act" else x[:, :-1]).T', of="as_rollout"),
            why="as_rollout takes them aligned with the tokens, and shifts them with the actions."),
    mistake("written by the reference", "The answers are sampled from the reference; the policy must learn from what it does itself.",
            edit("generate(policy.actor", "generate(reference"),
            why="The ratio's denominator would be the probability under a policy that never acted."),
    mistake("old log-probabilities of the reference",
            "The rollout's logp are the reference's, but the answers were sampled from the policy.", edit("logp=logp", "logp=logp_ref"),
            why="PPO's ratio is then not 1 at the start, and the clip binds against the wrong policy."),
    mistake("samples of the reference", "The stored log-probabilities, and with them the KL, are those of the reference.",
            edit("policy.actor(tokens)", "reference(tokens)")),
    mistake("end token forgotten", "`generate` is not told the end token: every answer goes on to the limit.", edit("config.end", "None")),
    mistake("advantages as returns", "`ret`, the critic's target, is the advantage alone; it is advantage + value.", ret("adv")),
    mistake("rewards as returns", "`ret`, the critic's target, is the single token's reward; it is advantage + value.", ret("rew")),
    mistake("another critic's target", "`ret`, the critic's target, is advantage + value, as in lesson 5.",
            ret("rew.flip(1).cumsum(1).flip(1)"), also=(ret("rew.sum(1, keepdim=True).expand_as(rew)"), ret("adv - val"))),
    mistake("KL report", "The report's kl is the sum over an answer's tokens of logp - logp_ref, averaged over answers.",
            kl(f"{GAP}.sum() / mask.sum()"),
            also=(*map(kl, (f"{GAP}.mean()", f"{GAP}.sum()", f"{GAP}.abs().sum(1).mean()",
                            f"({GAP}.sum(1) / mask.sum(1)).mean()", f"config.beta * {GAP}.sum(1).mean()", "(logp - logp_ref).sum(1).mean()")),
                  edit(f"kl = {KL}", f"with torch.no_grad():\n    logp = {LOGP}\nkl = {KL}"))),
    mistake("sign of the KL report", "The report's kl has its sign reversed; it is made of logp - logp_ref.", kl(f"-{GAP}.sum(1).mean()")),
    mistake("length report", "The report's length is the number of an answer's own tokens, averaged over answers.",
            edit(LENGTH, "mask.sum().float()"), also=(edit(LENGTH, f"{WHOLE}.sum(1).float().mean()"), edit(LENGTH, "torch.tensor(float(mask.shape[1]))"))),
    mistake("score report", "The report's score is the mean over answers.", edit("score.mean().item()", "score.sum().item()")),
    mistake("rewards as advantages", "The rewards go to PPO without `rlhf_advantages`: only the last token learns of the score.", edit(ADV, "rew")),
    mistake("one advantage for the answer", "Every token's advantage is the whole answer's reward; `rlhf_advantages` gives each token its own.",
            edit(ADV, FLAT.format("rew.sum(1, keepdim=True)")),
            also=(edit(ADV, FLAT.format("rew.sum(1, keepdim=True) - val")), edit(ADV, FLAT.format("score[:, None]")))),
    mistake("rollout with gradient", "logp and val still carry the graph of this forward pass: sample and score under no_grad.",
            edit("torch.no_grad()", "torch.enable_grad()"), why="The ratio's gradient would cancel to zero, or the old policy would be trained too."),
]
