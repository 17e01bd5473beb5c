"""GAE over the tokens of an answer."""

import math

import torch

from pgcourse.checks.core import Case, Exercise
from pgcourse.checks.edits import edit, mistake
from pgcourse.checks.make_inputs import masks, normal
from pgcourse.estimators import gae, rlhf_advantages
from pgcourse.exercises.rlhf.inputs import (
    AT_THE_RIM,
    F64,
    LARGE_VALUES,
    hand_mask,
    last_of,
    one_row,
)

REW, VAL = "torch.where(mask, rew, 0.0)", "torch.where(mask, val, 0.0)"
SELECTED = f"rew, val = {REW}, {VAL}"
NEXT, GOES_ON = "torch.cat([val[:, 1:], torch.zeros_like(val[:, :1])], dim=1)", "mask & goes_on"
CALL = "gae(rew.T, val.T, next_val.T, last.T, last.T, gamma, lam).T"
RESULT = "torch.where(mask, adv, 0.0)"
GUARD = edit("same_shape(rew=rew, val=val, mask=mask)", "")
AHEAD = "torch.cat([torch.where(mask, val, 0.0)[:, 1:], torch.zeros_like(val[:, :1])], dim=1)"


def selected(rew, val):
    return edit(SELECTED, f"rew, val = {rew}, {val}")


def next_val(new):
    return edit(NEXT, new)


def last(new):
    """Other tokens are an answer's last ones."""
    return edit(f"~({GOES_ON})", new)


def call(new):
    return edit(CALL, new)


def result(new):
    return edit(RESULT, new)


def carried(new):
    return edit("gamma * lam", new, of="gae")


BEFORE = "torch.cat([torch.zeros_like(val[:, :1]), val[:, :-1]], dim=1)"
ALL_GO_ON = edit("last.T, last.T", "torch.zeros_like(last).T, last.T")
NEVER = "torch.zeros_like(mask)"
FORWARD = edit("reversed(range(len(delta)))", "range(len(delta))", of="gae")
SHORT = edit("reversed(range(len(delta)))", "reversed(range(len(delta) - 1))", of="gae")
UNCUT, UNKEPT = last(NEVER), result("adv")


def strung_together(rew, val, mask, gamma, lam):
    """All answers as one episode: the next row's first token follows the last of this one."""
    r, v = rew[mask], val[mask].detach()
    ends = torch.zeros_like(r, dtype=torch.bool)
    ends[-1:] = True
    out = torch.zeros_like(rew)
    out[mask] = gae(r, v, torch.cat([v[1:], v[:1] * 0]), ends, ends, gamma, lam)
    return out


def answer_values(g, B, T, gamma=0.95, lam=0.9, dtype=torch.float32):
    """Values in prompt and padding too: a critic computes them everywhere."""
    mask = masks(g, B, T)
    rew = torch.where(mask, normal(g, B, T, dtype=dtype), 0.0)
    return dict(rew=rew, val=normal(g, B, T, dtype=dtype), mask=mask, gamma=gamma, lam=lam)


def hand_values(g):
    return dict(
        rew=torch.tensor([[0.0, 0.0, 1.0, 0.0], [0.0, -0.5, 0.0, 1.0]]),
        val=torch.tensor([[5.0, 0.5, 1.0, 7.0], [5.0, 0.5, 1.0, 0.5]]),
        mask=hand_mask([0, 1, 1, 0], [0, 1, 1, 1]),
        gamma=0.5,
        lam=0.5,
    )


def nan_in_padding(args):
    return args | {name: torch.where(args["mask"], args[name], math.nan) for name in ("rew", "val")}


def large_values(g):
    rew = torch.where(AT_THE_RIM, LARGE_VALUES.flip(0), 0.0)
    return dict(rew=rew, val=LARGE_VALUES, mask=AT_THE_RIM, gamma=0.5, lam=0.5)


# fmt: off
EXERCISE = Exercise(
    reference=rlhf_advantages,
    parts={"values": 3, "padding": 1, "shapes": 1, "clean": 1},
    tries=650,
    cases=[
        Case("two answers", hand_values, "values", ("val",)),
        Case("a batch", lambda g: answer_values(g, 5, 8), "values", ("val",)),
        Case("float64", lambda g: answer_values(g, 3, 7, dtype=F64, gamma=0.9, lam=0.8), "values", ("val",)),
        Case("no discount, as in RLHF", lambda g: answer_values(g, 4, 6, gamma=1.0, lam=0.95), "values"),
        Case("nan in the padding", lambda g: nan_in_padding(answer_values(g, 4, 6)), "padding"),
        *(Case(f"one row of {name} for all", lambda g, name=name: one_row(answer_values(g, 3, 4), name), "shapes", raises=True)
          for name in ("rew", "val", "mask")),
        Case("large values, answers at both rims", large_values, "values", ("val",)),
        Case("lambda 0", lambda g: answer_values(g, 3, 6, lam=0.0), "values"),
        Case("lambda 1", lambda g: answer_values(g, 3, 6, lam=1.0), "values"),
        Case("a discount factor of 0", lambda g: answer_values(g, 3, 6, gamma=0.0), "values"),
    ],
    mistakes=[
        mistake("no guard", "One row is spread over the batch in silence; check the shapes first.",
                edit("same_shape(rew=rew, val=val, mask=mask)", "rew, val, mask = torch.broadcast_tensors(rew, val, mask)"),
                also=(edit("same_shape(rew=rew, val=val, mask=mask)", "mask = mask.expand_as(rew)"), GUARD)),
        mistake("mask multiplied", "0 times nan is nan: select with the mask (torch.where) instead of multiplying by it.",
                selected("rew * mask", "val * mask"), result("adv * mask"), also=((selected("rew * mask", "val * mask"), UNCUT, result("adv * mask")),)),
        mistake("bootstrap into the padding", "The last token looks ahead to the value of a padding token: nothing follows the end.",
                selected("torch.where(mask, rew, 0.0)", "val"), edit("last.T, last.T", "torch.zeros_like(last).T, last.T"),
                why="The critic has never been trained on padding; its number there is noise.",
                also=((selected(REW, "val"), last("~mask")),)),
        mistake("last token bootstraps itself", "The last token adds its own value again as if the answer went on from there.",
                edit(CALL, f"{CALL.replace('rew.T', '(rew + torch.where(mask & ~goes_on, gamma * val, 0.0).detach()).T')}"),
                also=((next_val(f"torch.where(mask & ~torch.cat([mask[:, 1:], torch.zeros_like(mask[:, :1])], dim=1), val, {NEXT})"),
                       edit("last.T, last.T", "torch.zeros_like(last).T, last.T")),)),
        mistake("no critic", "It is the reward still to come, without the value subtracted: the critic is unused.",
                selected(REW, "torch.zeros_like(val)"), edit("gamma, lam).T", "gamma, 1.0).T"), also=((selected(REW, "torch.zeros_like(val)"),),)),
        mistake("one return for all tokens", "Every token is credited with the whole answer's reward, what came before it included.",
                result("torch.where(mask, rew.sum(1, keepdim=True) - val.detach(), 0.0)")),
        mistake("rewards as advantages", "It returns the rewards: nothing of the score reaches the tokens before the last.", result("rew")),
        mistake("next value missing",
                "It is reward minus value; what the critic expects AFTER the token is missing, and so are the later deltas.",
                result("rew - val.detach()")),
        mistake("no look ahead", "The error delta is reward minus value: gamma times the value AFTER the token is missing.",
                next_val("torch.zeros_like(val)")),
        mistake("next value is the previous one", "V_{t+1} is taken from the column before; it stands in the column after.",
                next_val(BEFORE), also=(next_val("val.roll(1, dims=1)"), (next_val(BEFORE), ALL_GO_ON),
                                        (next_val("val.roll(1, dims=1)"), ALL_GO_ON))),
        mistake("next value is the value", "V_{t+1} is val[:, t] itself; it stands one column later.", next_val("val")),
        mistake("row wraps round", "torch.roll brings the first column to the end: the last token looks ahead to the prompt.",
                selected(REW, "val"), next_val("val.roll(-1, dims=1)"), last("~mask.roll(-1, dims=1)")),
        mistake("last column forgotten", "The loop never reaches the last column: an answer that fills its row loses its score.",
                SHORT, also=((UNCUT, SHORT),)),
        mistake("answers strung together",
                "The masked tokens of all rows are one long episode: an answer's end runs on into the next answer.", strung_together),
        mistake("last token left out", "The answer's last token gets 0: it is an action like the others, and the score is paid there.",
                result("torch.where(mask & goes_on, adv, 0.0)"),
                also=((edit("last = ", "mask = mask & goes_on\nlast = ")),)),
        mistake("returns", "It adds the value back: that is the critic's target, not the advantage.",
                result("torch.where(mask, adv + val.detach(), 0.0)")),
        mistake("lambda = 0", "Only the one-step error delta: the score never reaches the tokens before the last.",
                edit("gamma, lam).T", "gamma, 0.0).T"),
                why="The score is paid at the end; without the sum over later deltas only the end learns from it."),
        mistake("lambda = 1", "lam is not used: it sums all later deltas in full.", edit("gamma, lam).T", "gamma, 1.0).T")),
        mistake("gamma ignored", "gamma is not used.", edit("gamma, lam).T", "1.0, lam).T")),
        mistake("later deltas by lam alone", "Later deltas are discounted by lam alone; for each step it is gamma * lam.", carried("lam")),
        mistake("gamma and lam exchanged", "gamma and lam have changed places: a delta's look ahead is discounted by gamma.",
                edit("gamma, lam).T", "lam, gamma).T")),
        mistake("look ahead not discounted", "The next value is not discounted; delta is r + gamma V' - V.", edit("rew + gamma *", "rew +", of="gae")),
        mistake("look ahead by both", "The next value is discounted by gamma * lam; in delta it is gamma alone.",
                edit("rew + gamma", "rew + gamma * lam", of="gae")),
        mistake("wrong discount", "The sum over later deltas is discounted by gamma * lam, a delta's look ahead by gamma.",
                carried("(gamma + lam - 1)")),
        mistake("lam of its own", "lam is {lam:.3g}, whatever is passed.", edit("gamma, lam).T", "gamma, {lam=0.9}).T")),
        mistake("gamma of its own", "gamma is {gamma:.3g}, whatever is passed.", edit("gamma, lam).T", "{gamma=0.9}, lam).T")),
        mistake("a discount of its own", "The sum over later deltas is discounted by {carry:.3g}, whatever gamma and lam are.", carried("{carry=0.9}")),
        mistake("no mask", "The recursion runs through prompt and padding as if they were actions.",
                selected("rew", "val"), UNCUT, UNKEPT),
        mistake("masked only at the end", "The result is masked, but values of the padding have already run into it.",
                selected("rew", "val"), UNCUT,
                also=((selected("rew", "val"), next_val(AHEAD), UNCUT),
                      (selected(REW, "val"), last("torch.arange(mask.shape[1]).expand_as(mask) == mask.shape[1] - 1")))),
        mistake("not 0 outside the mask", "Prompt and padding keep numbers of their own; it should be 0 there.",
                selected("rew", "val"), next_val(AHEAD), UNKEPT, also=((selected("rew", "val"), next_val(AHEAD), last("~goes_on"), UNKEPT),)),
        mistake("prompt gets an advantage", "The sum runs on into the prompt: those tokens were given, not chosen.",
                UNCUT, UNKEPT,
                also=(edit("same_shape(rew=rew, val=val, mask=mask)",
                           "same_shape(rew=rew, val=val, mask=mask)\nmask = torch.arange(mask.shape[1]) <= last_of(mask)[:, None]", use=(last_of,)),)),
        mistake("values one step late", "It uses the value before the previous token: val[:, t] already is the value before token t.",
                selected(REW, "torch.where(mask, torch.cat([torch.zeros_like(val[:, :1]), val[:, :-1]], dim=1), 0.0)")),
        mistake("value subtracted twice", "It subtracts the value from an advantage that already has it.",
                result("torch.where(mask, adv - val.detach(), 0.0)")),
        mistake("whitened here", "It centers or normalizes the advantages; `ppo_update` does that, once, over the unmasked tokens.",
                result("torch.where(mask, (adv - adv[mask].mean()) / (adv[mask].std(correction=0) + 1e-8), 0.0)"),
                also=(result("torch.where(mask, adv - adv[mask].mean(), 0.0)"),
                      result("torch.where(mask, (adv - adv[mask].mean()) / (adv[mask].std() + 1e-8), 0.0)"))),
        mistake("forward in time", "It adds up the PAST deltas: a token answers for what comes after it.",
                FORWARD, edit("torch.where(ended[t], 0.0, running)", "running", of="gae"), also=((FORWARD, UNCUT), FORWARD)),
        mistake("batch taken for time", "The recursion runs over axis 0, the batch: lesson 4's function is time-major, these are [B, T].",
                next_val("torch.cat([val[1:], torch.zeros_like(val[:1])])"), last("~mask"), call("gae(rew, val, next_val, last, last, gamma, lam)"),
                also=(call("gae(rew, val, next_val, last, last, gamma, lam)"),)),
        mistake("advantages with gradient", "A gradient flows out of the advantages: for the actor they are constants.",
                edit("val, next_val = val.detach(), next_val.detach()", "", of="gae")),
    ],
    read="lesson 7, “Lesson 4's recursion on tokens”; Schulman et al. 2016, eq. 16",
)
