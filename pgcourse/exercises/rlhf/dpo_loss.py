"""The votes train the policy itself."""

import torch

from pgcourse.checks.core import Case, Exercise
from pgcourse.checks.edits import edit, mistake
from pgcourse.checks.make_inputs import integers, normal
from pgcourse.exercises.rlhf.inputs import F64
from pgcourse.exercises.rlhf.votes import on, vote_mistakes
from pgcourse.losses import dpo_loss

LOGPS = ("logp_chosen", "logp_rejected", "ref_chosen", "ref_rejected")
GUARD = edit(f"same_shape({' '.join(f'{x}={x},' for x in LOGPS)})", "")
CHOSEN, REJECTED = "logp_chosen - ref_chosen.detach()", "logp_rejected - ref_rejected.detach()"
MARGIN = f"({CHOSEN}) - ({REJECTED})"
loss = on("return -F.logsigmoid(beta * margin).mean()", "beta * margin")


def margin(new):
    return edit(MARGIN, new)


def scaled(new):
    """The margin in the sigmoid, beta included."""
    return edit("beta * margin", new)


REFERENCE = "(ref_chosen - ref_rejected).detach()"


def sentence_logps(g, B, beta=0.3, dtype=torch.float32):
    chosen, rejected = -5 - normal(g, 2, B, dtype=dtype).abs() * 4
    drift = normal(g, 2, B, dtype=dtype, scale=2.0)
    logps = (chosen, rejected, chosen - drift[0], rejected - drift[1])
    return dict(zip(LOGPS, logps, strict=True)) | dict(beta=beta)


def by_hand(chosen, rejected, ref_chosen, ref_rejected, beta):
    rows = map(torch.tensor, (chosen, rejected, ref_chosen, ref_rejected))
    return dict(zip(LOGPS, rows, strict=True)) | dict(beta=beta)


def columns(args, names):
    return args | {name: args[name][:, None] for name in names}


# fmt: off
EXERCISE = Exercise(
    reference=dpo_loss,
    parts={"values": 2, "far from the reference": 1, "shapes": 1, "clean": 1},
    cases=[
        Case("one pair", lambda g: by_hand([-4.0], [-6.0], [-5.0], [-5.5], 0.5), "values", LOGPS),
        Case("a batch", lambda g: sentence_logps(g, 6), "values", LOGPS),
        Case("a small beta", lambda g: sentence_logps(g, 8, beta=0.05), "values", LOGPS),
        Case("float64", lambda g: sentence_logps(g, 4, dtype=F64), "values", LOGPS),
        Case("a policy far from the reference",
             lambda g: by_hand([-900.0, -10.0], [-5.0, -800.0], [-20.0, -30.0], [-20.0, -30.0], 1.0),
             "far from the reference", LOGPS),
        Case("references beyond ±100",
             lambda g: by_hand([-300.0, -212.0], [-206.0, -303.0], [-304.0, -211.5], [-202.0, -303.5], 0.5),
             "far from the reference", LOGPS),
        Case("four pairs far from the reference",
             lambda g: dict(zip(LOGPS, -integers(g, 900, 4, 4).float(), strict=True)) | dict(beta=1.0),
             "far from the reference", LOGPS),
        *(Case(f"a column in the place of {' and '.join(names)}",
               lambda g, names=names: columns(sentence_logps(g, 3), names), "shapes", raises=True)
          for names in (("logp_chosen",), ("ref_rejected",), ("ref_chosen", "ref_rejected"), ("logp_chosen", "ref_chosen"))),
        Case("one clear pair", lambda g: by_hand([-4.0], [-46.0], [-5.0], [-7.0], 0.5), "far from the reference", LOGPS),
        Case("one wrong pair", lambda g: by_hand([-46.0], [-4.0], [-7.0], [-5.0], 0.5), "far from the reference", LOGPS),
        Case("a clear, a wrong and a doubtful pair",
             lambda g: by_hand([-4.0, -46.0, -5.0], [-46.0, -4.0, -5.5], [-5.0, -7.0, -5.0], [-7.0, -5.0, -6.0], 0.5), "far from the reference", LOGPS),
    ],
    mistakes=[
        mistake("no guard", "A [B, 1] against [B] becomes a [B, B] table of pairs that nobody voted on.", GUARD),
        mistake("sign", "It prefers the rejected answer: chosen and rejected are swapped.", margin(f"({REJECTED}) - ({CHOSEN})")),
        mistake("reference missing", "The reference's log-probabilities are not used: nothing holds the policy near it.",
                margin("logp_chosen - logp_rejected")),
        mistake("chosen only", "Only the chosen answer's log-ratio enters: that is imitation, not a preference.", margin(CHOSEN)),
        mistake("rejected only", "Only the rejected answer's log-ratio enters: what to say in its place is not learned.",
                margin(f"-({REJECTED})")),
        mistake("sign of the reference",
                "The reference's log-probabilities are added, or those of chosen and rejected exchanged: "
                "it is (c - ref_c) - (r - ref_r).",
                margin(MARGIN.replace(" - ref", " + ref"))),
        mistake("ratios added", "The rejected answer's log-ratio is added: both answers are pushed up.",
                margin(f"({CHOSEN}) + ({REJECTED})")),
        *vote_mistakes(loss),
        mistake("beta missing", "The margin is multiplied by {price:.3g}, whatever beta is.", scaled("{price=1} * margin")),
        mistake("beta outside",
                "beta multiplies the loss, which only changes the learning rate; it belongs inside the sigmoid.",
                edit("-F.logsigmoid(beta * margin)", "-beta * F.logsigmoid(margin)")),
        mistake("divided by beta", "The margin is divided by beta: a small beta then holds the policy TIGHTER.", scaled("margin / beta")),
        mistake("beta on the policy only", "beta multiplies the policy's log-probabilities but not the reference's.",
                scaled(f"beta * (logp_chosen - logp_rejected) - {REFERENCE}")),
        mistake("beta on one term only", "beta multiplies only a part of the margin; it is the price of the whole of it.",
                scaled(f"beta * ({CHOSEN}) - ({REJECTED})"),
                also=(scaled(f"logp_chosen - logp_rejected - beta * {REFERENCE}"),
                      scaled(f"beta * logp_chosen - ref_chosen.detach() - ({REJECTED})"),
                      scaled(f"({CHOSEN}) - beta * ({REJECTED})"))),
        mistake("references only", "The policy's log-probabilities are not used: there is nothing to learn.", margin(REFERENCE),
                also=(margin("ref_chosen - ref_rejected"),)),
        mistake("ratios of probabilities", "It takes the ratios themselves; the margin is a difference of their LOGS.",
                margin(f"({CHOSEN}).exp() - ({REJECTED}).exp()")),
        mistake("quotients of logs", "It divides log-probabilities; the log of a ratio is the DIFFERENCE of the logs.",
                margin("logp_chosen / ref_chosen.detach() - logp_rejected / ref_rejected.detach()"),
                also=(margin("logp_chosen / ref_chosen - logp_rejected / ref_rejected"),
                      margin("logp_chosen / logp_rejected - ref_chosen.detach() / ref_rejected.detach()"))),
        mistake("divided by a length",
                "The log-probabilities are divided by lengths, {c:.3g} and {r:.3g}; they are sums over whole answers.",
                margin(f"({CHOSEN}) / {{c=10}} - ({REJECTED}) / {{r=20}}")),
        mistake("each answer for itself", "It pushes chosen up and rejected down on their own; a vote only says which is BETTER.",
                edit("F.logsigmoid(beta * margin)", f"(F.logsigmoid(beta * ({CHOSEN})) + F.logsigmoid(-beta * ({REJECTED})))")),
        mistake("votes smoothed",
                "A share of {share:.3g} of every vote is counted the other way round (conservative DPO); DPO takes votes as they are.",
                loss("-((1 - {share=0.1}) * F.logsigmoid(m) + {share=0.1} * F.logsigmoid(-m)).mean()")),
        mistake("imitation", "The chosen answer's own log-probability is in the loss: that is supervised fine-tuning.",
                loss("-logp_chosen.mean()")),
        mistake("imitation added", "The chosen answer's own log-probability is added, {weight:.3g} times: part of the loss is supervised fine-tuning.",
                loss("-(F.logsigmoid(m) + {weight=0.2} * logp_chosen).mean()")),
        mistake("squared margin", "It is a squared loss on the margin (IPO's); DPO's is the log of a sigmoid.",
                loss("((m - {target=0.5}) ** 2).mean()")),
        mistake("IPO", "It is IPO's loss, a square of the margin less 1 / (2 beta); DPO's is minus the log of a sigmoid.",
                loss("((margin - 1 / (2 * beta)) ** 2).mean()")),
        mistake("reference not frozen", "A gradient flows into the reference's log-probabilities: they are constants.",
                edit(".detach()", "", all=True), also=(edit("ref_chosen.detach()", "ref_chosen"), edit("ref_rejected.detach()", "ref_rejected"))),
        mistake("only the chosen learns", "No gradient reaches the rejected answer.", edit("(logp_rejected -", "(logp_rejected.detach() -")),
        mistake("only the rejected learns", "No gradient reaches the chosen answer.", edit("(logp_chosen -", "(logp_chosen.detach() -")),
    ],
    read="lesson 7, “Without a reward model: DPO”; Rafailov et al. 2023, eq. 7",
)
