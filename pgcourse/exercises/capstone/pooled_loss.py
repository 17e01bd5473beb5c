"""Old votes and new ones in one loss."""

import torch

from pgcourse.capstone import pooled_loss
from pgcourse.checks.core import Case, Exercise
from pgcourse.checks.edits import edit, mistake
from pgcourse.checks.make_inputs import flags, normal

MARGIN, BOTH = "r_chosen - r_rejected", ("r_chosen", "r_rejected")
RESULT = "(1 - share) * losses[~new].mean() + share * losses[new].mean()"
LOSSES = f"-F.logsigmoid({MARGIN})"
GUARD = edit("same_shape(r_chosen=r_chosen, r_rejected=r_rejected, new=new)", "")


def result(new):
    return edit(RESULT, new)


def votes(g, B, share=0.5, dtype=torch.float32, scale=1.0, p=0.3):
    scores = {name: normal(g, B, dtype=dtype, scale=scale) for name in BOTH}
    return scores | dict(new=flags(g, B, p=p), share=share)


def by_hand(g):
    return dict(
        r_chosen=torch.tensor([1.0, 0.0, 2.0]), r_rejected=torch.tensor([0.0, 1.0, 0.0]),
        new=torch.tensor([False, True, False]), share=0.25,
    )  # fmt: skip


def all_very_wrong(g):
    return dict(
        r_chosen=torch.zeros(4), r_rejected=torch.tensor([5000.0, 4000.0, 5000.0, 4000.0]),
        new=torch.tensor([False, True, False, True]), share=0.5,
    )  # fmt: skip


# fmt: off
EXERCISE = Exercise(
    reference=pooled_loss,
    parts={"values": 3, "clear votes": 1, "shapes": 1, "clean": 1},
    cases=[
        Case("three votes, one new", by_hand, "values", BOTH),
        Case("a batch", lambda g: votes(g, 8), "values", BOTH),
        Case("another share", lambda g: votes(g, 9, 0.2), "values", BOTH),
        Case("mostly new ones", lambda g: votes(g, 10, 0.7, p=0.8), "values", BOTH),
        Case("float64", lambda g: votes(g, 6, 0.4, torch.float64), "values", BOTH),
        Case("very wrong and very clear pairs", lambda g: votes(g, 8, 0.5, scale=300), "clear votes", BOTH),
        Case("very wrong pairs, old and new", all_very_wrong, "clear votes", BOTH),
        Case("one rejected answer for all", lambda g: votes(g, 5) | dict(r_rejected=normal(g, 1)), "shapes", raises=True),
        Case("no new vote", lambda g: votes(g, 5) | dict(new=torch.zeros(5, dtype=torch.bool)), "shapes", raises=True),
        Case("no old vote", lambda g: votes(g, 5) | dict(new=torch.ones(5, dtype=torch.bool)), "shapes", raises=True),
        Case("share 0", lambda g: by_hand(g) | dict(share=0.0), "values", BOTH),
        Case("share 0.01", lambda g: by_hand(g) | dict(share=0.01), "values", BOTH),
        Case("share 0.99", lambda g: by_hand(g) | dict(share=0.99), "values", BOTH),
        Case("share 1", lambda g: by_hand(g) | dict(share=1.0), "values", BOTH),
    ],
    mistakes=[
        mistake("no guard", "One rejected answer is held against all; check the shapes first.", GUARD),
        mistake("all alike", "Every vote counts alike: a few new ones are drowned by the old ones, whatever `share` says.", result("losses.mean()")),
        mistake("shares exchanged", "The new votes get 1 - share and the old ones share.",
                result("share * losses[~new].mean() + (1 - share) * losses[new].mean()")),
        mistake("new ones only", "Only the new votes enter: the model forgets what it learned from the old ones.",
                result("losses[new].mean()"), also=(result("share * losses[new].mean()"),)),
        mistake("old ones only", "Only the old votes enter: nothing is learned about the hack.",
                result("losses[~new].mean()"), also=(result("(1 - share) * losses[~new].mean()"),)),
        mistake("share ignored", "Both means count alike, whatever `share` says.", result("0.5 * losses[~new].mean() + 0.5 * losses[new].mean()")),
        mistake("means added", "The two means are added without their shares.", result("losses[~new].mean() + losses[new].mean()")),
        mistake("old ones in full", "The old votes count in full; together the two parts weigh 1.", result("losses[~new].mean() + share * losses[new].mean()")),
        mistake("divided by all", "Each part is divided by the number of all votes, not of its own: a part with few votes counts for little.",
                result("((1 - share) * losses[~new].sum() + share * losses[new].sum()) / len(losses)")),
        mistake("one part divided by all", "One part is divided by the number of all votes, the other by its own; each is a mean over its own.",
                result("(1 - share) * losses[~new].mean() + share * losses[new].sum() / len(losses)"),
                also=(result("(1 - share) * losses[~new].sum() / len(losses) + share * losses[new].mean()"),)),
        mistake("old part over all", "The part of the old votes is a mean over ALL votes: the new ones count in both parts.",
                result("(1 - share) * losses.mean() + share * losses[new].mean()")),
        mistake("new part over all", "The part of the new votes is a mean over ALL votes: the old ones count in both parts.",
                result("(1 - share) * losses[~new].mean() + share * losses.mean()")),
        mistake("single votes weighed", "The share weighs each single vote: ten old ones count ten times. It belongs to the mean of each kind.",
                result("(w := torch.where(new, share, 1 - share).to(losses.dtype)).mul(losses).sum() / w.sum()")),
        mistake("share clamped", "It holds the share between {least:.3g} and 1 - {least:.3g}; each share counts as it is given.",
                result("(1 - (s := min(max(share, {least=0.1}), 1 - {least=0.1}))) * losses[~new].mean() + s * losses[new].mean()")),
        mistake("a part detached", "One of the two means is detached where it is used, so that its votes' gradient has another weight than their loss.",
                result("losses[~new].mean() + share * (losses[new].mean() - losses[~new].mean().detach())"),
                also=(result("(1 - share) * losses[~new].mean().detach() + share * losses[new].mean()"),
                      result("(1 - share) * losses[~new].mean() + share * losses[new].mean().detach()"))),
        mistake("sums", "It sums over the votes of each part; the means are asked for.",
                result("(1 - share) * losses[~new].sum() + share * losses[new].sum()")),
        mistake("sign", "It rewards r_rejected above r_chosen: the opposite of every vote.", edit(MARGIN, "r_rejected - r_chosen")),
        mistake("objective, not loss", "It is the log-likelihood; a loss is minimized, so it needs a minus.", edit(LOSSES, f"F.logsigmoid({MARGIN})")),
        mistake("log of a sigmoid",
                "For a very wrong pair the sigmoid is 0, or exp(-x) overflows, and its logarithm is infinite: use logsigmoid.",
                edit(LOSSES, f"-torch.sigmoid({MARGIN}).log()"), also=(edit(LOSSES, f"(1 + torch.exp(-({MARGIN}))).log()"),)),
        mistake("mean inside", "It averages the margins first, then takes the logarithm: one clear pair hides the doubtful ones.",
                result(f"-(1 - share) * F.logsigmoid(({MARGIN})[~new].mean()) - share * F.logsigmoid(({MARGIN})[new].mean())")),
        mistake("margins weighted", "The shares multiply the margins, inside of the logarithm; they weigh the losses.",
                result(f"-F.logsigmoid((1 - share) * ({MARGIN})[~new]).mean() - F.logsigmoid(share * ({MARGIN})[new]).mean()")),
        mistake("only the chosen learns", "No gradient reaches r_rejected: half of each vote is thrown away.", edit(MARGIN, "r_chosen - r_rejected.detach()")),
    ],
    read="lesson 8, “The reward model learns again”",
)
