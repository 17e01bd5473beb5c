"""Mistakes in `ppo_update`, in the order of its text."""

from pgcourse.checks.edits import edit, mistake

ADV = 'normalize_advantage(rollout["adv"], rollout.get("mask"))'
DATA = 'data = {**rollout, "adv": adv}'
KEPT = '(rollout["adv"] if rollout.get("mask") is None else rollout["adv"][rollout["mask"]])'
EPOCHS, N = "for _ in range(config.epochs):", "adv.shape[1]"
COLUMNS = f"minibatch_columns({N}, config.minibatches, generator)"
ORDER = f"torch.randperm({N}, generator=generator)"
EVALUATE = 'logp, ent, val = policy.evaluate(batch["obs"], batch["act"])'
OLD = 'policy.evaluate({0}["obs"], {0}["act"])[0]'
PI = 'loss(logp, batch["logp"], batch["adv"], config.clip, mask)'
V = 'clipped_value_loss(val, batch["val"], batch["ret"], config.value_clip, mask)'
BONUS, KL = "masked_mean(ent, mask)", 'approx_kl(logp.detach(), batch["logp"], mask)'
STOP, LOG = "if kl > config.target_kl: return summarize(log)", "summarize(log)"
LIMIT, ZERO, STEP = (
    "clip_grad_norm_(parameters, config.max_grad_norm)",
    "optimizer.zero_grad()",
    "optimizer.step()",
)
TOTAL = ("total = pi_loss + config.value_coef * v_loss "
         "if config.entropy_coef: total = total - config.entropy_coef * bonus")  # fmt: skip
NO_SHORTCUT = edit(f"len(columns) == {N}", "False")
RHO = edit(
    "off = ((logp - logp_old).exp() - 1).abs() off = off if mask is None else off[mask]",
    "rho = (logp - logp_old).exp()\nrho = rho if mask is None else rho[mask]\noff = (rho - 1).abs()",
    of="diagnose",
)


def adv(new):
    """Other advantages for the rollout."""
    return edit(ADV, new)


def normalized(x, kept=KEPT, by="std()"):
    return f"({x} - {kept}.mean()) / ({kept}.{by} + 1e-8)"


HALF, UNBIASED = edit(V, f"0.5 * {V}"), adv(normalized('rollout["adv"]'))
KEPT_NOW = '(batch["adv"] if mask is None else batch["adv"][mask])'
EACH_BATCH = normalized('batch["adv"]', KEPT_NOW)


def along(axis, correction):
    x = 'rollout["adv"]'
    std = f"{x}.std({axis}, keepdim=True, correction={correction})"
    return adv(f"({x} - {x}.mean({axis}, keepdim=True)) / ({std} + 1e-8)")


def at_first(line):
    """A line before the loops."""
    return edit(DATA, f"{DATA}\n{line}")


def data(key, value):
    return edit(DATA, f'data = {{**rollout, "adv": adv, "{key}": {value}}}')


def each_epoch(line):
    return edit(EPOCHS, f"{EPOCHS}\n    {line}")


def batch(key, value):
    """Another entry of each minibatch."""
    return edit(
        EVALUATE, f'with torch.no_grad():\n    batch = {{**batch, "{key}": {value}}}\n{EVALUATE}'
    )


def columns(new):
    return edit(COLUMNS, new)


def total(new):
    return edit(TOTAL, f"total = {new}")


def fraction(new):
    return edit("(off > clip).float().mean()", new, of="diagnose")


def returned(new):
    return edit(LOG, new, all=True)


PARTS = edit(f"for columns in {COLUMNS}:", f"parts = {COLUMNS}\nfor columns in parts:")
VALUE, ENTROPY = "config.value_coef * v_loss", "config.entropy_coef * bonus"

# fmt: off
MISTAKES = [
    mistake("old policy recomputed in the loop",
            "The old log-probabilities are recomputed for each minibatch: the ratio is always 1, the clip never acts.",
            batch("logp", OLD.format("batch")),
            why="The old policy is the one that collected the data: its logp is stored with the rollout."),
    mistake("old policy moves with each epoch",
            "The old log-probabilities are refreshed at every epoch: the window moves along with the policy.",
            each_epoch(f'with torch.no_grad(): data = {{**data, "logp": {OLD.format("data")}}}'),
            why="Each epoch may go another 20 % further; nothing limits the whole update."),
    mistake("old policy recomputed at the start",
            "The old log-probabilities are computed from the current weights; use the stored ones. "
            "The data may come from an older policy, or from one in another mode.",
            at_first(f'with torch.no_grad(): data["logp"] = {OLD.format("data")}')),
    mistake("old policy alive",
            "Old and new log-probabilities are one live tensor: the gradient of their difference cancels to zero.",
            edit('batch["logp"]', "logp", all=True), also=(edit(PI, PI.replace('batch["logp"]', "logp")),)),
    mistake("advantages normalized in each minibatch",
            "It normalizes in each minibatch; here it is done once, over the rollout.",
            adv('rollout["adv"]'), batch("adv", 'normalize_advantage(batch["adv"], mask)'),
            also=((adv('rollout["adv"]'), batch("adv", EACH_BATCH)), batch("adv", EACH_BATCH),
                  batch("adv", 'normalize_advantage(batch["adv"], mask)')),
            why="In a small minibatch a good step may become a bad one, only for its company."),
    mistake("normalized again and again",
            "It overwrites the advantages with their normalized copy in every minibatch: the changes compound.",
            adv('rollout["adv"].clone()'),
            edit(f"for columns in {COLUMNS}:",
                 f"for columns in {COLUMNS}:\n    chosen = data['mask'][:, columns] if 'mask' in data else None\n"
                 "    data['adv'][:, columns] = normalize_advantage(data['adv'][:, columns], chosen)")),
    mistake("advantages not normalized",
            "The advantages keep their scale: the step length depends on the reward's unit.", adv('rollout["adv"]')),
    mistake("advantages only centered", "The advantages are centered and not scaled to standard deviation 1.",
            adv(f'rollout["adv"] - {KEPT}.mean()')),
    mistake("advantages only scaled", "The advantages are divided by their standard deviation, but their mean stays.",
            adv(f'rollout["adv"] / ({KEPT}.std(correction=0) + 1e-8)'),
            also=(adv(f'rollout["adv"] / ({KEPT}.std() + 1e-8)'),)),
    mistake("divided by the variance",
            "The advantages are divided by their variance; it is the standard deviation that makes their spread 1.",
            adv(normalized('rollout["adv"]', by="var(correction=0)")), also=(adv(normalized('rollout["adv"]', by="var()")),)),
    mistake("advantages normalized along one axis",
            "The mean and standard deviation are those of one column or one time step; take them over all of the rollout.",
            along(0, 0), also=(along(0, 1), along(1, 0), along(1, 1))),
    mistake("advantages recomputed",
            "It computes the advantages anew, from the values of the critic by now; they come with the rollout.",
            batch("adv", 'normalize_advantage(batch["ret"] - policy.evaluate(batch["obs"], batch["act"])[2], mask)'),
            also=(batch("adv", 'batch["ret"] - policy.evaluate(batch["obs"], batch["act"])[2]'),),
            why="With each step of the critic they would turn into noise."),
    mistake("returns less values",
            "It takes ret - val for the advantage; rollout['adv'] holds the advantages, and need not be that.",
            adv('normalize_advantage(rollout["ret"] - rollout["val"], rollout.get("mask"))'),
            also=(adv('rollout["ret"] - rollout["val"]'),)),
    mistake("returns as advantages", "The policy's loss gets the returns; the baseline is lost.",
            adv('rollout["ret"]'), also=(adv('normalize_advantage(rollout["ret"], rollout.get("mask"))'),)),
    mistake("returns from normalized advantages",
            "The critic's targets are made of the NORMALIZED advantages; rollout['ret'] is in reward units.",
            data("ret", 'adv + rollout["val"]')),
    mistake("returns normalized", "The critic's targets are normalized; rollout['ret'] is in reward units.",
            data("ret", 'normalize_advantage(rollout["ret"], rollout.get("mask"))')),
    mistake("advantages clamped", "It clamps the advantages at ±{limit:.3g}; the clip is for the ratio.",
            adv(f"{ADV}.clamp(-{{limit=2}}, {{limit=2}})")),
    mistake("advantages of other columns",
            "The advantages are not shuffled with the rest: they belong to other columns.",
            batch("adv", 'data["adv"][:, columns.sort().values]'), NO_SHORTCUT),
    mistake("one epoch", "It goes through the data once, whatever config.epochs says.", edit("config.epochs", "1"),
            why="Several epochs on one rollout are what the clip makes possible."),
    mistake("one epoch too many", "It goes through the data config.epochs + 1 times.",
            edit("config.epochs", "config.epochs + 1")),
    mistake("one epoch too few", "It goes through the data config.epochs - 1 times.",
            edit("config.epochs", "config.epochs - 1")),
    mistake("no minibatches", "Each epoch is one step on all of the data; config.minibatches steps are asked for.",
            columns(f"[torch.arange({N})]")),
    mistake("remainder dropped",
            "Where the columns cannot be divided evenly, some are never used; the parts need not be equal.",
            columns(f"{ORDER}.split({N} // config.minibatches)[: config.minibatches]")),
    mistake("parts of other sizes",
            "It splits the columns into parts as equal as can be; minibatch_columns makes equal ones and a smaller last.",
            columns(f"{ORDER}.tensor_split(config.minibatches)")),
    mistake("remainder as another minibatch",
            "The columns that are left over make one minibatch more than config.minibatches.",
            columns(f"{ORDER}.split(max({N} // config.minibatches, 1))")),
    mistake("all epochs on one minibatch",
            "The loops are the wrong way round: all epochs on the first minibatch, then all on the next.",
            edit(f"{EPOCHS} for columns in {COLUMNS}:",
                 f"for columns in [c for c in {COLUMNS} for _ in range(config.epochs)]:\n    if True:")),
    mistake("not shuffled", "The minibatches are always the same columns in the same order.",
            columns(f"torch.arange({N}).chunk(config.minibatches)")),
    mistake("shuffled once", "The order is drawn once for all epochs; each epoch draws its own.",
            columns("parts"), at_first(f"parts = {COLUMNS}")),
    mistake("minibatches as a size", "config.minibatches is their number; it is used as the size of one.",
            columns(f"{ORDER}.split(config.minibatches)")),
    mistake("first minibatch only", "Each epoch ends after its first minibatch: most of the data is never used.",
            columns(f"{COLUMNS}[:1]")),
    mistake("drawn with replacement", "Columns are drawn with replacement: in an epoch some come twice, others never.",
            columns(f"[torch.randint({N}, (-(-{N} // config.minibatches),), generator=generator) "
                    "for _ in range(config.minibatches)]"), NO_SHORTCUT,
            also=((columns(f"torch.randint({N}, ({N},), generator=generator).chunk(config.minibatches)"), NO_SHORTCUT),)),
    mistake("generator of its own",
            "It makes its own generator: every update shuffles in the same order, whatever is passed.",
            columns(COLUMNS.replace("generator", "own")), at_first("own = torch.Generator().manual_seed(0)"),
            also=(columns(COLUMNS.replace("generator", "torch.Generator().manual_seed(_)")),)),
    mistake("rows for columns", "It shuffles the time axis; minibatches are made of whole columns.",
            columns(COLUMNS.replace(N, "len(adv)")), edit("x[:, columns]", "x[columns]"), NO_SHORTCUT,
            also=((edit("x[:, columns]", "x[columns]"), NO_SHORTCUT),)),
    mistake("single steps for columns",
            "It flattens the rollout and shuffles single steps; minibatches are made of whole columns.",
            columns(COLUMNS.replace(N, "adv.numel()")), edit("x[:, columns]", "x.flatten(0, 1)[columns]"), NO_SHORTCUT,
            why="Both work for an MLP; a model that reads the history needs whole columns."),
    mistake("half of each minibatch", "Only the first half of each minibatch's columns is used.",
            edit("x[:, columns]", "x[:, columns[: -(-len(columns) // 2)]]"), NO_SHORTCUT,
            also=((edit("x[:, columns]", "x[:, columns[: max(1, len(columns) // 2)]]"), NO_SHORTCUT),)),
    mistake("gradients never zeroed",
            "optimizer.zero_grad() is missing: each step applies the sum of all earlier gradients.", edit(ZERO, "")),
    mistake("gradients zeroed once", "The gradients are zeroed once, at the start: those of all minibatches add up.",
            edit(ZERO, ""), at_first(ZERO)),
    mistake("gradients zeroed once an epoch",
            "The gradients are zeroed once an epoch: those of its minibatches add up.", edit(ZERO, ""), each_epoch(ZERO)),
    mistake("one step an epoch",
            "The minibatches' gradients are added up and one step is taken an epoch; take one a minibatch.",
            PARTS, edit(ZERO, ""), each_epoch(ZERO),
            edit(f"{LIMIT} {STEP}", f"if columns is parts[-1]:\n    {LIMIT}\n    {STEP}")),
    mistake("no gradient to limit or apply",
            "Where the gradient is limited and applied there is none: optimizer.zero_grad() has just wiped it out, "
            "or backward() comes later.",
            edit(ZERO, ""), edit("total.backward()", f"total.backward()\n{ZERO}"),
            also=(edit(f"total.backward()\n{LIMIT}", f"{LIMIT}\ntotal.backward()"),)),
    mistake("zeroed after the step",
            "optimizer.zero_grad() comes after step(): what the parameters held before the call "
            "is added to the first gradient.", edit(ZERO, ""), edit(STEP, f"{STEP}\n{ZERO}")),
    mistake("no step", "No step is taken: optimizer.step() is never called, the networks stay as they were.", edit(STEP, "")),
    mistake("two steps for one gradient", "optimizer.step() is called twice for each gradient.", edit(STEP, f"{STEP}\n{STEP}")),
    mistake("gradients not limited",
            "The gradient's norm is not limited to max_grad_norm (or only when the step is over).", edit(LIMIT, "")),
    mistake("gradient limited in parts",
            "It limits every entry, parameter or network for itself; max_grad_norm is the norm of the whole gradient.",
            edit(LIMIT, "torch.nn.utils.clip_grad_value_(parameters, config.max_grad_norm)"),
            also=(edit(LIMIT, "for part in policy.children():\n    clip_grad_norm_([*part.parameters()], config.max_grad_norm)"),
                  edit(LIMIT, "for p in parameters:\n    clip_grad_norm_([p], config.max_grad_norm)"),
                  edit(LIMIT, "clip_grad_norm_([*next(policy.children()).parameters()], config.max_grad_norm)"))),
    mistake("largest entry for the norm",
            "It limits the gradient's largest entry; max_grad_norm is for the Euclidean norm.",
            edit(LIMIT, "torch.nn.utils.clip_grad_norm_(parameters, config.max_grad_norm, norm_type=math.inf)")),
    mistake("config.clip for the gradient", "The gradient's norm is limited to config.clip; the limit is config.max_grad_norm.",
            edit("config.max_grad_norm", "config.clip")),
    mistake("another limit for the gradient",
            "The gradient's norm is limited to {limit:.3g}; the limit is config.max_grad_norm.",
            edit("config.max_grad_norm", "{limit=0.5}")),
    mistake("a share of the gradient's limit", "The gradient's norm is limited to {share:.3g} times config.max_grad_norm.",
            edit("config.max_grad_norm", "{share=0.7} * config.max_grad_norm")),
    mistake("entropy's sign", "The entropy is added to the loss: minimizing it drives the policy to certainty.",
            total(f"pi_loss + {VALUE} + {ENTROPY}")),
    mistake("entropy left out", "The entropy bonus is not in the loss.", total(f"pi_loss + {VALUE}")),
    mistake("entropy coefficient ignored", "The entropy is not multiplied by entropy_coef.",
            total(f"pi_loss + {VALUE} - bonus")),
    mistake("coefficients swapped", "entropy_coef and value_coef have changed places.",
            total("pi_loss + config.entropy_coef * v_loss - config.value_coef * bonus")),
    mistake("one coefficient for both", "The value loss and the entropy have the same coefficient; each has its own.",
            total("pi_loss + config.value_coef * (v_loss - bonus)"),
            also=(total("pi_loss + config.entropy_coef * (v_loss - bonus)"),)),
    mistake("half the value loss, all of it in the log",
            "The loss has half of the value_loss that the log has: the 1/2 belongs to both or to neither.",
            total(f"pi_loss + {VALUE} / 2 - {ENTROPY}")),
    mistake("fixed entropy coefficient", "The entropy has the coefficient {c:.3g}; config.entropy_coef is the one to use.",
            total(f"pi_loss + {VALUE} - {{c=0.01}} * bonus"),
            also=(edit(ENTROPY, "{c=0.01} * bonus"),)),
    mistake("fixed value coefficient", "The value loss has the coefficient {c:.3g}; config.value_coef is the one to use.",
            total(f"pi_loss + {{c=0.5}} * v_loss - {ENTROPY}")),
    mistake("fixed coefficients",
            "The value loss has the coefficient {value:.3g} and the entropy {bonus:.3g}; config has the ones to use.",
            total("pi_loss + {value=0.5} * v_loss - {bonus=0.01} * bonus")),
    mistake("policy loss weighted", "value_coef multiplies the policy's loss, too.",
            total(f"config.value_coef * (pi_loss + v_loss) - {ENTROPY}")),
    mistake("policy loss alone", "Only the policy's loss is minimized: neither the critic nor the entropy enters.",
            total("pi_loss")),
    mistake("policy loss left out", "The policy's loss is not in the total: only the critic learns.",
            total(f"{VALUE} - {ENTROPY}"), also=(total(VALUE),)),
    mistake("ascent", "The total is maximized: every part has the wrong sign.", total(f"-(pi_loss + {VALUE} - {ENTROPY})")),
    mistake("divided by the number of minibatches",
            "The loss is divided by config.minibatches, as if their gradients were added up; each takes its own step.",
            total(f"(pi_loss + {VALUE} - {ENTROPY}) / config.minibatches")),
    mistake("value loss left out", "The value loss is not in the loss: the critic never learns.",
            total(f"pi_loss - {ENTROPY}")),
    mistake("value coefficient ignored", "The value loss is not multiplied by value_coef.",
            total(f"pi_loss + v_loss - {ENTROPY}")),
    mistake("value loss subtracted", "The value loss is subtracted: the critic is trained to be wrong.",
            total(f"pi_loss - {VALUE} - {ENTROPY}")),
    mistake("policy loss subtracted", "The loss of the policy is subtracted: the policy gets worse with each step.",
            total(f"-pi_loss + {VALUE} - {ENTROPY}")),
    mistake("the whole loss scaled", "The whole loss is {scale:.3g} times the right one: each step has another length.",
            total(f"{{scale=0.8}} * (pi_loss + {VALUE} - {ENTROPY})")),
    mistake("entropy times advantage",
            "The entropy is multiplied by the advantage: where it is negative, certainty is rewarded.",
            edit(BONUS, 'masked_mean(ent * batch["adv"], mask)')),
    mistake("critic fits advantages", "The critic is fitted to the advantages; its targets are the returns.",
            edit('batch["ret"]', 'batch["adv"]'), also=(data("ret", 'rollout["adv"]'),)),
    mistake("critic fits itself", "The critic's target is its own old value; it has to be the return.",
            edit('batch["ret"]', 'batch["val"]')),
    mistake("target moves with the critic",
            "The critic's target is the advantage plus its value by now: it runs away as the critic learns. "
            "The returns come with the rollout.",
            edit('batch["ret"]', 'batch["ret"] - batch["val"] + val.detach()')),
    mistake("return and old value swapped", "rollout['val'] and rollout['ret'] have changed places in the value loss.",
            edit('batch["val"], batch["ret"]', 'batch["ret"], batch["val"]')),
    mistake("Huber loss", "The critic has a Huber loss; clipped_value_loss is asked for.",
            edit(V, 'masked_mean(torch.nn.functional.smooth_l1_loss(val, batch["ret"], reduction="none"), mask)')),
    mistake("value loss summed", "The value loss is a sum over the steps; it should be their mean.",
            edit(V, '((val - batch["ret"])[slice(None) if mask is None else mask] ** 2).sum()')),
    mistake("value not clipped",
            "config.value_clip never acts: the value loss has no clip, or takes the critic's values of now "
            "for rollout['val'].",
            edit("config.value_clip", "math.inf"), also=(edit('val, batch["val"],', "val, val.detach(),"),)),
    mistake("one clip for ratio and value",
            "The value loss uses config.clip, which is for the ratio; its own is config.value_clip.",
            edit("config.value_clip", "config.clip")),
    mistake("fixed clip", "The loss is called with {clip:.3g}; config.clip is the one to use.",
            edit(PI, PI.replace("config.clip", "{clip=0.2}"))),
    mistake("KL penalty", "{c:.3g} times the KL is added to the loss; here it is for the log and the limit only.",
            edit(PI, f'{PI} + {{c=1.0}} * approx_kl(logp, batch["logp"], mask)')),
    mistake("log-probability for the entropy",
            "-logp of the action taken stands in for the entropy: that is the entropy on average, but its gradient is another.",
            edit(BONUS, "-masked_mean(logp, mask)"),
            also=((edit(PI, f"{PI} + config.entropy_coef * masked_mean(logp, mask)"), total(f"pi_loss + {VALUE}")),
                  total(f"pi_loss + {VALUE} + config.entropy_coef * masked_mean(logp, mask)"))),
    mistake("loss ignored", "It uses ppo_clip_loss itself; the loss to use is the argument loss.",
            edit(PI, f"ppo_clip_{PI}")),
    mistake("A2C's loss", "The policy's loss is -mean(logp * adv), written in place: no ratio, no clip.",
            edit(PI, '-masked_mean(logp * batch["adv"], mask)')),
    mistake("no clip", "The policy's loss is -mean(rho * adv), written in place: nothing limits the steps.",
            edit(PI, '-masked_mean((logp - batch["logp"]).exp() * batch["adv"], mask)')),
    mistake("mask ignored", "Padding is treated like data: rollout['mask'] does not enter.",
            edit('batch.get("mask")', "None"), adv('normalize_advantage(rollout["adv"])')),
    mistake("padding in the normalization", "Padding counts in the mean and standard deviation of the advantages.",
            adv('normalize_advantage(rollout["adv"])'), also=(adv(normalized('rollout["adv"]', 'rollout["adv"]')),)),
    mistake("mask not passed on",
            "The advantages are normalized with the mask, but the losses do not get it: padding counts in them.",
            edit('batch.get("mask")', "None")),
    mistake("mask upside down",
            "The losses keep what the mask marks as False, the padding, and drop what counts.",
            edit('batch.get("mask")', '~batch["mask"] if "mask" in batch else None')),
    mistake("mask of other columns", "The mask is not shuffled with the rest: it belongs to other columns.",
            edit('batch.get("mask")', 'data["mask"][:, columns.sort().values] if "mask" in data else None')),
    mistake("padding in the policy loss", "Padding counts in the policy's loss: the mask is not passed to it.",
            edit(PI, PI.replace(", mask", ""))),
    mistake("padding in the KL", "Padding counts in the KL.", edit(KL, KL.replace(", mask", ""))),
    mistake("padding in the clip fraction",
            "Padding counts in the clip fraction and the ratio's error: diagnose is not given the mask.",
            edit('logp, batch["logp"], config.clip, mask', 'logp, batch["logp"], config.clip')),
    mistake("entropy divided by all positions",
            "The entropy's sum leaves the padding out, but is divided by the number of all positions.",
            edit(BONUS, "ent.mean() if mask is None else (ent * mask).mean()")),
    mistake("padding in the entropy", "Padding counts in the entropy bonus.", edit(BONUS, "ent.mean()")),
    mistake("padding in the value loss", "Padding counts in the value loss.", edit(V, V.replace(", mask", ""))),
    mistake("KL limit ignored", "config.target_kl is ignored: steps go on however far the policy has moved.", edit(STOP, "")),
    mistake("KL limit ends the epoch only", "Past the KL limit it leaves the inner loop only: the next epoch goes on.",
            edit(STOP, "if kl > config.target_kl: break")),
    mistake("KL limit skips a minibatch", "Past the KL limit it skips that minibatch and goes on with the next.",
            edit(STOP, "if kl > config.target_kl: continue")),
    mistake("another KL", "It has another estimate in the place of approx_kl(logp, logp_old).",
            edit(KL, 'masked_mean(batch["logp"] - logp.detach(), mask)'),
            also=(edit(KL, 'masked_mean(0.5 * (logp.detach() - batch["logp"]) ** 2, mask)'),
                  edit(KL, 'approx_kl(batch["logp"], logp.detach(), mask)'))),
    mistake("a multiple of the KL limit", "It stops at a multiple of config.target_kl; the limit is target_kl itself.",
            edit("kl > config.target_kl", "kl > 1.5 * config.target_kl"),
            also=tuple(edit("kl > config.target_kl", f"kl > {c} * config.target_kl") for c in (2, 0.5))),
    mistake("KL limit looked at once an epoch",
            "The KL is compared with the limit at an epoch's end only; compare before each step.",
            PARTS, edit(STOP, ""),
            edit(STEP, f"{STEP}\nif columns is parts[-1] and kl > config.target_kl:\n    return {LOG}")),
    mistake("stopped before the log",
            "The minibatch past the KL limit is missing in the means: log it first, then return.",
            edit(STOP, "if kl > config.target_kl: return summarize(log[:-1])")),
    mistake("KL limit one step late", "It looks at the KL after the step: one step more is taken than allowed.",
            edit(STOP, ""), edit(STEP, f"{STEP}\nif kl > config.target_kl:\n    return {LOG}")),
    mistake("log of the last minibatch", "It returns the last minibatch's numbers; the means over all are asked for.",
            returned('{**summarize(log[-1:]), "first_ratio_error": log[0]["ratio_error"]}'),
            also=(returned("summarize(log[-1:])"),)),
    mistake("log of the first minibatch", "It returns the first minibatch's numbers; the means over all are asked for.",
            returned("summarize(log[:1])")),
    mistake("log with the graph",
            "The log holds tensors with the graph of their update, which memory then keeps: .item() them.",
            returned("{key: torch.tensor(x, requires_grad=True) for key, x in summarize(log).items()}"),
            also=tuple(returned(f'{{**summarize(log), "{key}": torch.tensor(summarize(log)["{key}"], requires_grad=True)}}')
                       for key in ("policy_loss", "value_loss", "entropy"))),
    mistake("total loss logged", "policy_loss in the log is the whole loss; it should be the policy's part alone.",
            edit("diagnose(pi_loss,", f"diagnose(pi_loss + {VALUE} - {ENTROPY},")),
    mistake("weighted value loss logged", "value_loss in the log is multiplied by value_coef; it should be the plain one.",
            edit("diagnose(pi_loss, v_loss", f"diagnose(pi_loss, {VALUE}")),
    mistake("negative entropy logged", "entropy in the log has the wrong sign: the entropy is never negative.",
            edit("v_loss, bonus, kl", "v_loss, -bonus, kl")),
    mistake("log of sums", "It returns sums over the minibatches; the means are asked for.",
            edit("/ len(log)", "", of="summarize")),
    mistake("another clip fraction",
            "clip_fraction is another number than the share of the steps with |rho - 1| > clip: "
            "both sides, the ratio and not its log, a mean.",
            RHO, fraction("(rho > 1 + clip).float().mean()"),
            also=((RHO, fraction("(rho < 1 - clip).float().mean()")), (RHO, fraction("(rho.log().abs() > clip).float().mean()")),
                  fraction("(off <= clip).float().mean()"), fraction("(off > clip).float().sum()"))),
    mistake("another ratio error", "first_ratio_error is another number than the largest |rho - 1|.",
            edit("off.max()", "off.mean()", of="diagnose"),
            also=((RHO, edit("off.max()", "rho.log().abs().max()", of="diagnose")),
                  (RHO, edit("off.max()", "(rho - 1).max()", of="diagnose")))),
    mistake("last ratio for the first",
            "first_ratio_error is that of the last minibatch; only the first one's shows whether "
            "old and new agree before any step.",
            edit('log[0]["ratio_error"]', 'log[-1]["ratio_error"]', of="summarize")),
    mistake("worst ratio for the first",
            "first_ratio_error is the largest of all minibatches; only the first one's shows whether "
            "old and new agree before any step.",
            edit('log[0]["ratio_error"]', 'max(row["ratio_error"] for row in log)', of="summarize")),
]
