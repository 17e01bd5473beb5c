"""Two networks, trained together on one batch of single steps."""

from pgcourse.a2c import actor_critic_step
from pgcourse.checks.core import Case, Exercise
from pgcourse.checks.edits import edit, mistake, symptom, telltale
from pgcourse.exercises.actor_critic.inputs import later, sum_back
from pgcourse.exercises.actor_critic.networks import hand_training, training
from pgcourse.exercises.baselines.inputs import F64
from pgcourse.exercises.families import SCALINGS, standardized

BOTH = "Actor = policy, trained with the policy gradient; critic = value, trained with TD."
ONE_OPTIMIZER = (
    "An optimizer moves its own network only, by the gradients that are there when it steps."
)
NEXT = 'critic(batch["next_obs"]).detach()'
TARGET = 'td_target(batch["rew"], next_val, batch["terminated"], gamma)'
LOGITS = 'actor(batch["obs"])'
LOGP = f'categorical_logp({LOGITS}, batch["act"])'
ADV, ACTOR, CRITIC = "(target - val).detach()", f"actor_loss({LOGP}, adv)", "critic_loss(val, target)"  # fmt: skip
LATER = 'critic_loss(critic(batch["obs"]), target)'
LATER_LOSS = edit('"critic_loss": loss_of_critic', f'"critic_loss": {LATER}')
LOG = '"adv": adv.mean().item()'


def block(name, loss, zero=True, step=True):
    return "\n".join(
        [*[f"{name}_opt.zero_grad()"] * zero, f"loss_of_{loss}.backward()", *[f"{name}_opt.step()"] * step]
    )  # fmt: skip


def apart(first, second):
    """Other statements in place of the critic's three lines and of the actor's."""
    return edit(block("critic", "critic"), first), edit(block("actor", "actor"), second)


def together(new):
    """One {backward} pass through the sum of the losses, and what stands around it."""
    return apart("", new.replace("{backward}", "(loss_of_actor + loss_of_critic).backward()"))


ZERO, STEP = "actor_opt.zero_grad()\ncritic_opt.zero_grad()", "actor_opt.step()\ncritic_opt.step()"
TOGETHER = together(f"{ZERO}\n{{backward}}\n{STEP}")


def target(new, use=()):
    return edit(TARGET, new, use=use)


def masked(new, flag='batch["terminated"]'):
    """A target with another rest; {rest} is the next value where it goes on."""
    rest = f"torch.where({flag}, 0.0, next_val)"
    return target(new.replace("{rest}", rest).replace("rew", 'batch["rew"]'))


def critic(new):
    return edit(CRITIC, new)


def actor(new):
    return edit(ACTOR, new)


def logp(new):
    return edit(LOGP, new)


def adv(new, use=()):
    return edit(ADV, new, use=use)


def weight(new):
    """The actor's weight is changed, the mean that is returned is not."""
    return edit("), adv)", f"), {new})", use=(standardized,))


def returned(new):
    return edit(LOG, new)


def error(new):
    """A critic's loss of {e}, the error."""
    return critic(new.replace("{e}", "(val - target)"))


def again(name, loss, times):
    """Further steps, each on the loss computed once more."""
    step = block(name, name)
    more = f"again = {loss}\n{step.replace(f'loss_of_{name}', 'again')}".replace("\n", "\n    ")
    return edit(step, f"{step}\nfor _ in range({times}):\n    {more}")


def twice(*args):
    actor_critic_step(*args)
    return actor_critic_step(*args)


def each_row(actor, critic, actor_opt, critic_opt, batch, gamma):
    for i in range(len(batch["rew"])):
        row = {key: x[i : i + 1] for key, x in batch.items()}
        log = actor_critic_step(actor, critic, actor_opt, critic_opt, row, gamma)
    return log


Q = f'{LOGITS}.gather(-1, batch["act"].unsqueeze(-1)).squeeze(-1)'
OLD_GRADIENTS = "for p in (*actor.parameters(), *critic.parameters()): p.grad = None if p.grad is None else p.grad / 2"

# fmt: off
EXERCISE = Exercise(
    reference=actor_critic_step,
    accept=(edit(CRITIC, f"0.5 * {CRITIC}"),),
    driver="train_actor_critic",
    tries=180,
    parts={"the critic moves": 2, "the critic bootstraps": 1, "the actor moves": 2, "many steps": 1, "numbers returned": 1, "clean": 1},
    cases=[
        Case("the critic after one step, every step terminal", hand_training("critic", [True, True]), "the critic moves"),
        Case("the critic after one step of twenty terminal transitions",
             lambda g: training(g, "critic", B=20, hidden=(5,), terminated=1.0), "the critic moves"),
        Case("the critic after one step", hand_training("critic", [False, False]), "the critic bootstraps"),
        Case("the critic after one step of twenty transitions",
             lambda g: training(g, "critic", B=20, hidden=(5,), dtype=F64), "the critic bootstraps"),
        Case("the critic after one step with large numbers", hand_training("critic", [False, True], large=True), "the critic bootstraps"),
        Case("the actor after one step", hand_training("actor", [False, False]), "the actor moves"),
        Case("the actor after one step of twenty transitions", lambda g: training(g, "actor", B=20, hidden=(5,)),
             "the actor moves"),
        Case("the actor after one step with large numbers", hand_training("actor", [False, True], large=True), "the actor moves"),
        Case("the actor after three steps", lambda g: training(g, "actor", steps=3, hidden=(4,)), "many steps"),
        Case("the critic after three steps", lambda g: training(g, "critic", steps=3, hidden=(4,)), "many steps"),
        Case("an actor with a gradient left over", lambda g: training(g, "actor", left_over=True), "many steps"),
        Case("a critic with a gradient left over", lambda g: training(g, "critic", left_over=True), "many steps"),
        Case("the numbers", hand_training("log", [False, True]), "numbers returned"),
        Case("the numbers of large ones", hand_training("log", [False, True], large=True), "numbers returned"),
        Case("the numbers of three steps", lambda g: training(g, "log", steps=3, hidden=(4,)), "numbers returned"),
        Case("the critic after one step, gamma 0", lambda g: training(g, "critic") | dict(gamma=0.0), "the critic bootstraps"),
    ],
    mistakes=[
        mistake("advantage not detached", "The advantage is live: the actor's loss also pushes the critic.",
                *TOGETHER, actor(f"-({LOGP} * (target - val)).mean()"), why=BOTH),
        mistake("gradient through the target",
                "The bootstrapped target carries gradient: V(s') is pulled toward V(s) as well.",
                edit(NEXT, 'critic(batch["next_obs"])'), critic("((val - target) ** 2).mean()"),
                why="Semi-gradient TD holds the target constant, although it was made from V."),
        mistake("critic trained by policy gradient",
                "The critic minimizes -log pi times the advantage: it learns no values.",
                critic(f"-({LOGP}.detach() * (target - val)).mean()"), why=BOTH),
        mistake("actor's loss on the critic",
                "The critic's loss is the value times the TD error (or the target), not the squared error.",
                critic("-(val * (target - val).detach()).mean()"), why=BOTH,
                also=(critic("-(val * (target - val)).mean()"), critic("-(val * target).mean()"))),
        mistake("only the actor steps", "Only the actor moves: the critic's optimizer does not step, or finds no gradients.",
                edit("critic_opt.step()", ""), why=ONE_OPTIMIZER),
        mistake("only the critic steps", "Only the critic moves: the actor's optimizer does not step, or finds no gradients.",
                edit("actor_opt.step()", ""), why=ONE_OPTIMIZER),
        mistake("critic's gradients not cleared",
                "The critic's gradients are never cleared: each step adds those of all batches before.",
                edit("critic_opt.zero_grad()", "")),
        mistake("actor's gradients not cleared",
                "The actor's gradients are never cleared: each step adds those of all batches before.",
                edit("actor_opt.zero_grad()", "")),
        mistake("gradients never cleared", "No gradient is ever cleared: each step adds those of all batches before.",
                edit("critic_opt.zero_grad()", ""), edit("actor_opt.zero_grad()", "")),
        mistake("nothing moves",
                "Neither network moves: gradients are cleared between backward() and step(), "
                "or each optimizer steps after the other's loss.", *together(f"{{backward}}\n{ZERO}\n{STEP}"),
                why="An optimizer moves its own parameters, by the gradients that they hold at that moment.",
                also=(apart(block("actor", "critic"), block("critic", "actor")),)),
        mistake("actor descends", "The actor's minus is missing: actions better than expected become rarer.",
                edit(ACTOR, f"-{ACTOR}")),
        mistake("advantage reversed", "The advantage is V - y: it is what was expected over what came. It should be y - V.",
                adv("(val - target).detach()")),
        mistake("log-probability of the greedy action",
                "It takes log pi of the most probable action, not of the one that was taken.",
                logp(f"torch.log_softmax({LOGITS}, -1).amax(-1)")),
        mistake("raw logits", "It takes the logit of the action for its log-probability: log_softmax is missing.", logp(Q)),
        mistake("probability for log-probability", "It weighs the probability pi, not log pi: rare actions barely learn.",
                logp(f"{LOGP}.exp()")),
        mistake("time limit taken for an end", "It masks with `ended`: after a time limit the target must still bootstrap.",
                edit('batch["terminated"]', 'batch["ended"]')),
        mistake("bootstraps past the end", "`terminated` is not used: the target contains values of states after the end.",
                masked("rew + gamma * next_val")),
        mistake("value of the same state", "The target bootstraps from V(s), not from V(s').", edit(NEXT, "val.detach()")),
        mistake("value of the next row",
                "It takes the next row's V for V(s'): rows of a batch need not follow each other.",
                edit(NEXT, "val.detach().roll(-1, dims=0)"), also=(edit(NEXT, later("val.detach()")),)),
        mistake("value as advantage",
                "The actor is weighted with V(s): how good the state is, not how good the action was.", adv("val.detach()"), also=(weight("val.detach()"),)),
        mistake("target as advantage", "The actor is weighted with the target y: the baseline V(s) is not subtracted.",
                adv("target.detach()"), also=(weight("target"),)),
        mistake("squared TD error",
                "The actor is weighted with the squared TD error: that is the critic's loss, without a sign.",
                weight("adv**2"), also=(adv(f"{ADV} ** 2"),), why=BOTH),
        mistake("advantage after the critic's step",
                "The critic moves first, and the advantage is taken from the moved critic: "
                "compute V, y and A before either network moves.", adv('(target - critic(batch["obs"])).detach()'),
                why="The moved critic has already explained part of what happened: the advantage shrinks.",
                also=(adv(f'({TARGET.replace("next_val", NEXT)} - critic(batch["obs"])).detach()'),)),
        mistake("TD error as the critic's target",
                "The critic is fitted to the TD error y - V(s); its target is y. The TD error is the actor's weight.",
                critic("critic_loss(val, target - val)"), why=BOTH, also=(critic("((val - (target - val)) ** 2).mean()"),)),
        mistake("actor trained by TD",
                "The actor's outputs are fitted to a value by least squares: they are preferences for "
                "actions, and the policy gradient trains them.", actor(f"(({Q} - target) ** 2).mean()"), why=BOTH,
                also=(actor(f"(({Q} - adv) ** 2).mean()"),)),
        mistake("critic's error not squared",
                "The critic's loss is not the mean squared error: it is absolute, Huber, or not squared at all.",
                error("{e}.abs().mean()"),
                also=(*(critic(f"torch.nn.functional.huber_loss(val, target, delta={d})") for d in (1, 0.5, 2)),
                      error("{e}.mean()"), error("-{e}.mean()"), error("({e} ** 2).mean().sqrt()"))),
        mistake("critic ascends", "The critic's loss has the wrong sign: V moves away from the target.", critic(f"-{CRITIC}"),
                also=(critic("(val * (target - val).detach()).mean()"),)),
        mistake("sum for mean", "A loss is summed over the batch: the step grows with the batch's size.",
                actor(f"-({LOGP} * adv).sum()"),
                also=(error("({e} ** 2).sum()"), (actor(f"-({LOGP} * adv).sum()"), error("({e} ** 2).sum()")))),
        mistake("reward as advantage", "The actor is weighted with the reward of one step: what follows does not enter.",
                adv('batch["rew"]'), also=(adv('(batch["rew"] - val).detach()'), weight('batch["rew"]'), weight('(batch["rew"] - val).detach()'))),
        mistake("advantage of another target",
                "The actor's TD error is not made from the critic's target: gamma or `terminated` is missing in it.",
                adv('(td_target(batch["rew"], next_val, batch["terminated"], 1) - val).detach()'),
                also=(adv('(batch["rew"] + gamma * next_val - val).detach()'), adv('(batch["rew"] + next_val - val).detach()'))),
        mistake("sign of the advantage lost",
                "The actor's weight is never negative: an action worse than expected is not made rarer.", weight("adv.abs()"),
                also=(weight("adv.clamp(min=0)"), adv(f"{ADV}.abs()"), adv(f"{ADV}.clamp(min=0)"))),
        mistake("advantage clipped", "The TD error is clipped at ±{limit:.3g} before it reaches the actor: what stood out counts less.",
                weight("adv.clamp(-{limit=1}, {limit=1})"), also=(adv(f"{ADV}.clamp(-{{limit=1}}, {{limit=1}})"),)),
        mistake("advantage changed",
                "The TD error is centered or scaled before it reaches the actor: the step has another size.",
                weight("standardized(adv)"),
                also=(*(weight(f"standardized(adv, {c}, {eps})") for c, eps in SCALINGS[1:]),
                      *(adv(f"standardized({ADV}, {c}, {eps})", (standardized,)) for c, eps in SCALINGS),
                      weight("adv - adv.mean()"), adv(f"{ADV} - {ADV}.mean()"), weight("adv.sign()"))),
        mistake("not the action that was taken",
                "The log-probability is not that of the action taken: it is a mean, or another action's.",
                logp(f"torch.log_softmax({LOGITS}, -1).mean(-1)"),
                also=(logp(f"torch.log_softmax({LOGITS}, -1).sum(-1)"), logp(f"torch.log_softmax({LOGITS}, -1)[:, 0]"),
                      edit('batch["act"]', f'(batch["act"] + 1) % {LOGITS}.shape[-1]'),
                      edit('batch["act"]', 'batch["act"][:1].expand_as(batch["act"])'))),
        mistake("every action in every state",
                "`[:, act]` is a [B, B] table: each action's log-probability in every state, not in its own alone.",
                actor(f'-(torch.log_softmax({LOGITS}, -1)[:, batch["act"]] * adv).mean()')),
        mistake("probabilities for logits", "It passes probabilities where logits belong: a softmax is applied twice.",
                logp(f'categorical_logp({LOGITS}.softmax(-1), batch["act"])')),
        mistake("softmax over the batch",
                "The probabilities sum to 1 over the batch; they should over the actions of each state.",
                logp(f'torch.log_softmax({LOGITS}, 0).gather(-1, batch["act"].unsqueeze(-1)).squeeze(-1)')),
        mistake("silent broadcast",
                "Every action is credited with every advantage, as when [B, 1] against [B] becomes a [B, B] table.",
                actor(f"-({LOGP}.unsqueeze(1) * adv).mean()"), also=(critic("((val.unsqueeze(1) - target) ** 2).mean()"),)),
        mistake("reward masked too", "The last reward of an episode is lost: only the next value falls away at the end.",
                masked('torch.where(batch["terminated"], 0.0, rew + gamma * next_val)')),
        mistake("not discounted", "The next value is not multiplied by gamma.", masked("rew + {rest}")),
        mistake("no bootstrap", "The target is the reward alone: the value of the next state does not enter.", masked("rew")),
        mistake("mask inverted", "It bootstraps only where the episode ended, and not where it goes on.",
                edit('batch["terminated"]', '~batch["terminated"]')),
        mistake("return for target",
                "It sums the rewards of later rows: rows of a batch need not follow each other, and TD looks one step ahead.",
                target('sum_back(batch["rew"], gamma * torch.ones_like(val))', (sum_back,)),
                also=(target('sum_back(batch["rew"], gamma * (~batch["terminated"]))', (sum_back,)),)),
        mistake("entropy bonus added",
                "It adds a bonus for entropy, weighted by {c:.3g}, to the actor's loss: useful, but not part of this step.",
                actor(f"{ACTOR} + {{c=0.01}} * {LOGP}.mean()"),
                also=(actor(f"{ACTOR} + {{c=0.01}} * (torch.log_softmax({LOGITS}, -1).exp() * torch.log_softmax({LOGITS}, -1)).sum(-1).mean()"),)),
        mistake("gradients cleared too late",
                "Gradients are cleared after the step only: what others left in them before is applied too.",
                *together(f"{{backward}}\n{STEP}\n{ZERO}"),
                why="Clear them before backward(): then a step cannot depend on what happened earlier."),
        mistake("gradients clipped", "It clips the gradient's norm at {limit:.3g}: the step has another size than the stated one.",
                edit("critic_opt.step()", "torch.nn.utils.clip_grad_norm_(critic.parameters(), {limit=0.5})\ncritic_opt.step()"),
                edit("actor_opt.step()", "torch.nn.utils.clip_grad_norm_(actor.parameters(), {limit=0.5})\nactor_opt.step()")),
        mistake("two steps of the critic", "The critic makes more than one step on the batch; one was asked for.",
                again("critic", LATER, 1), also=(again("critic", LATER, 2), again("critic", LATER, 4))),
        mistake("two steps of the actor", "The actor makes more than one step on the batch; one was asked for.",
                again("actor", ACTOR, 1), also=(again("actor", ACTOR, 2), again("actor", ACTOR, 4))),
        mistake("critic's loss weighted",
                "The critic's loss is multiplied by {c:.3g} before its backward pass: its step has another length.",
                edit("loss_of_critic.backward()", "({c=0.25} * loss_of_critic).backward()")),
        mistake("actor's loss weighted",
                "The actor's loss is multiplied by {c:.3g} before its backward pass: its step has another length.",
                edit("loss_of_actor.backward()", "({c=0.5} * loss_of_actor).backward()")),
        mistake("critic fitted to the reward", "The critic is fitted to the reward alone; its target y looks one step ahead.",
                critic('critic_loss(val, batch["rew"])')),
        mistake("gamma fixed", "It uses gamma = {gamma:.3g}, whatever it is given.", target(TARGET.replace("gamma", "{gamma=0.99}"))),
        mistake("gamma 0 replaced", "gamma = 0 is replaced by {gamma:.3g}: with 0, the target is the reward alone.",
                target(TARGET.replace("gamma", "gamma or {gamma=0.99}"))),
        mistake("two steps", "Each network makes two steps on the batch.", twice),
        mistake("a step for every row", "It makes a step for every row of the batch; one step on the mean was asked for.", each_row),
        mistake("actor at the next state", "The actor is asked about next_obs; the action was taken in obs.",
                edit(LOGITS, 'actor(batch["next_obs"])')),
        mistake("numbers mixed up",
                "The numbers that are returned are exchanged, negated, or of another kind.",
                edit('"actor_loss": loss_of_actor', '"actor_loss": loss_of_critic'), edit('"critic_loss": loss_of_critic', '"critic_loss": loss_of_actor'),
                also=(edit('"actor_loss": loss_of_actor', '"actor_loss": -loss_of_actor'),
                      returned('"adv": adv.sum().item()'), returned('"adv": adv[0].item()'), returned('"adv": -adv.mean().item()'), returned('"adv": adv'),
                      edit('"actor_loss": loss_of_actor', '"actor_loss": (loss_of_actor + loss_of_critic)'))),
        mistake("size of the advantages returned", "`adv` is the mean of the advantages' sizes; their plain mean was asked for.",
                returned('"adv": adv.abs().mean().item()')),
        mistake("loss after the step", "A loss is computed once more after the step; that of this step itself was asked for.",
                LATER_LOSS, also=(edit('"actor_loss": loss_of_actor', f'"actor_loss": {ACTOR}'),)),
        telltale("random numbers",
                 "It draws random numbers: actions sampled anew, or weights shaken. Nothing in this step is random.",
                 edit('batch["act"]', f"torch.multinomial({LOGITS}.softmax(-1), 1).squeeze(-1)"), lambda at: at.random,
                 why="The batch holds the actions that were taken, and the gradient says where to go."),
        telltale("the graph kept",
                 "A number that it returns still carries its graph, and with it all of the batch: return a float, as item() does.",
                 edit("loss_of_actor.item()", "loss_of_actor"),
                 lambda at: bool(at["the numbers"]["out"][0]["numbers that carry the graph"])),
        symptom("both steps off",
                "One step moves actor and critic elsewhere: look at what both share, the values, the target, "
                "the gradients and their optimizers.", together(f"{ZERO}\n(0.9 * (loss_of_actor + loss_of_critic)).backward()\n{STEP}"),
                lambda at: {"the critic moves", "the actor moves"} <= at.wrong_parts),
        symptom("the critic's step alone",
                "The actor's step is right and the critic's is not: look at its loss, its gradients and its optimizer.",
                error("({e}.abs() ** 1.5).mean()"), lambda at: "the critic moves" in at.wrong_parts),
        symptom("target off where it goes on",
                "With terminal steps the critic is right, with others not: the target is r + gamma V(s') there.",
                masked("rew + gamma * {rest}.tanh()"), lambda at: "the critic bootstraps" in at.wrong_parts
                and not at.right_in("the critic after one step", "the critic after one step of twenty transitions")),
        symptom("the actor's step alone",
                "The critic's step is right and the actor's is not: look at log pi, the advantage, its loss and its optimizer.",
                weight("adv.tanh()"), lambda at: "the actor moves" in at.wrong_parts),
        symptom("right for one step only",
                "The first step from fresh networks is right; a later one is not: look at which gradients are cleared, "
                "and when, and at what is kept between calls.", together(f"{OLD_GRADIENTS}\n{{backward}}\n{STEP}"),
                lambda at: "many steps" in at.wrong_parts),
        symptom("numbers returned are others",
                "The networks learn rightly; a number returned is another than the loss or the mean advantage of this batch.",
                returned('"adv": adv.median().item()'), lambda at: at.wrong_parts == {"numbers returned"}),
    ],
    read="lesson 4, “Two networks, trained together”; Sutton & Barto, section 13.5",
)
