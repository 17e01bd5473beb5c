"""Probabilities from preferences."""

import torch

from pgcourse.checks.core import Case, Exercise
from pgcourse.checks.edits import edit, mistake, telltale
from pgcourse.checks.make_inputs import integers, normal
from pgcourse.distributions import softmax

Z = "torch.exp(theta - theta.max(dim=-1, keepdim=True).values)"
PI = "z / z.sum(dim=-1, keepdim=True)"
THETA = "theta - theta.max(dim=-1, keepdim=True).values"


def of(new):
    """The softmax of something else than theta."""
    return edit(f"z = {Z}", f"theta = {new}\nz = {Z}")


def pi(new):
    return edit(PI, new)


def shift(new):
    """Something else than the maximum is subtracted."""
    return edit(THETA, f"theta - {new}")


def axis(dim):
    return edit("dim=-1", f"dim={dim}", all=True)


def states_near_1000(g):
    return dict(theta=integers(g, 9, 2, 4) + torch.tensor([[1000.0], [-1000.0]]))


# fmt: off
EXERCISE = Exercise(
    reference=softmax,
    parts={"one state": 1, "many states": 1, "large preferences": 1, "clean": 1},
    cases=[
        Case("two actions", lambda g: dict(theta=torch.tensor([0.0, 1.0])), "one state"),
        Case("five actions", lambda g: dict(theta=normal(g, 5)), "one state"),
        Case("five others", lambda g: dict(theta=normal(g, 5)), "one state"),
        Case("float64", lambda g: dict(theta=normal(g, 4, dtype=torch.float64)), "one state"),
        Case("a table", lambda g: dict(theta=normal(g, 3, 4)), "many states", ("theta",)),
        Case("a table of one state", lambda g: dict(theta=normal(g, 1, 3)), "many states"),
        Case("time and environments", lambda g: dict(theta=normal(g, 5, 2, 3)), "many states", ("theta",)),
        Case("large preferences", lambda g: dict(theta=torch.tensor([200.0, 199.0, -200.0])),
             "large preferences"),
        Case("states far apart", lambda g: dict(theta=torch.tensor([[100.0, 101.0], [-100.0, -101.0]])),
             "large preferences"),
        Case("states near 1000 and -1000", states_near_1000, "large preferences"),
        Case("very negative preferences", lambda g: dict(theta=torch.tensor([-1000.0, -999.0, -800.0])),
             "large preferences"),
    ],
    mistakes=[
        mistake("softmax twice", "It applies softmax to probabilities: the preferences pass through it twice.",
                of("torch.softmax(theta, -1)"), why="With two actions no probability gets beyond 0.73."),
        mistake("normalized over the whole table",
                "The probabilities of all states together sum to 1; each state's should.",
                edit(THETA, "theta - theta.max()"), pi("z / z.sum()"), also=(pi("z / z.sum()"),)),
        mistake("normalized over states", "It normalizes along the first axis; the actions are on the last one.", axis(0)),
        mistake("overflow", "exp of a large preference is inf, and inf / inf is nan: subtract the maximum first.",
                edit(THETA, "theta"), also=((of("theta.double()"), edit(THETA, "theta"), pi(f"({PI}).float()")),),
                why="Preferences can grow while a policy learns, so this may break a run that was going well."),
        mistake("wrong axis, and overflow",
                "Two things: exp of a large preference is inf, so subtract the maximum first; and the sum runs "
                "over the states: sum over the last axis alone and keep it (dim=-1, keepdim=True).",
                edit(THETA, "theta"), pi("z / z.sum()"), also=((edit(THETA, "theta"), pi("z / z.sum(dim=0)")),)),
        mistake("small probabilities cut off",
                "It cuts preferences off {least:.3g} below the largest: all actions beyond that are equally probable.",
                edit(THETA, f"({THETA}).clamp(min=-{{least=5}})")),
        mistake("nan hidden",
                "It puts numbers in place of the nan of inf / inf: the probabilities are lost. Subtract the maximum.",
                edit(THETA, "theta"), pi(f"({PI}).nan_to_num()")),
        mistake("not normalized", "The exponentials are not divided by their sum: they do not sum to 1.",
                pi("z"), also=((edit(THETA, "theta"), pi("z")),)),
        mistake("preferences clipped",
                "It clips the preferences at ±{limit:.3g}: those beyond all count the same, and get no gradient.",
                of("theta.clamp(-{limit=20}, {limit=20})")),
        mistake("exponents cut off",
                "It cuts the exponent off before its exp: larger preferences all count the same, and get no gradient.",
                edit(THETA, "theta.clamp(max=88)"), also=(edit(THETA, "theta.clamp(max=80)"), edit(THETA, "theta.clamp(max=50)"))),
        mistake("probabilities clipped", "It keeps the probabilities above {least:.1g}: they do not sum to 1 any more.",
                pi(f"({PI}).clamp(min={{least=1e-3}})")),
        mistake("a number added to the sum", "The {eps:.1g} added to the sum keeps the probabilities from summing to 1.",
                pi("z / (z.sum(dim=-1, keepdim=True) + {eps=1e-3})")),
        mistake("another temperature", "The preferences are multiplied by {c:.3g} first: a softmax of another temperature.",
                of("{c=2} * theta")),
        mistake("temperature from the number of actions",
                "The preferences are divided by the root of the number of actions: a softmax of another temperature.",
                of("theta / theta.shape[-1] ** 0.5")),
        mistake("uniform", "Every action gets 1/A: the preferences do not enter.", of("torch.zeros_like(theta)")),
        mistake("second axis", "It normalizes along axis 1; the actions are on the LAST axis, however many there are.",
                axis("min(theta.dim() - 1, 1)")),
        mistake("sum detached", "The sum of the exponentials is cut off from the gradient.",
                pi(f"{PI}.detach()"), why="Each preference would only pull its own probability up."),
        mistake("axes of length 1 lost", "It squeezes the result: a table with one state comes back without its first axis.",
                pi(f"({PI}).squeeze()")),
        telltale("random numbers", "It draws random numbers: the probabilities were asked for, not a sample.",
                 pi("torch.nn.functional.gumbel_softmax(theta, dim=-1)"), lambda at: at.random),
        mistake("maximum of all states",
                "It subtracts the maximum of the whole table: a state far below it becomes 0 / 0.",
                edit(THETA, "theta - theta.max()")),
        mistake("largest size subtracted",
                "It subtracts the largest size |theta|; where all preferences are very negative every exp vanishes: 0 / 0.",
                shift("theta.abs().amax(dim=-1, keepdim=True)"), also=(shift("theta.abs().max()"),)),
        mistake("another shift",
                "It subtracts something else than the maximum (a mean, a minimum, one entry): only the maximum keeps every exp small.",
                shift("theta.mean(dim=-1, keepdim=True)"), also=(shift("theta.amin(dim=-1, keepdim=True)"), shift("theta.mean()"),
                shift("theta.median(dim=-1, keepdim=True).values"), shift("theta[..., :1]"), shift("theta[..., -1:]"))),
        mistake("divided by the mean", "It divides by the mean of the exponentials, not by their sum: they sum to A, not to 1.",
                pi("z / z.mean(dim=-1, keepdim=True)")),
        mistake("exponential missing", "It divides the preferences by their sum, without exp: they may be negative.",
                edit(Z, "theta")),
        mistake("base two", "It uses powers of 2 in place of powers of e.", edit(Z, f"2 ** ({THETA})")),
        mistake("sigmoid", "It squashes each preference alone (a sigmoid): the probabilities do not sum to 1.",
                pi("torch.sigmoid(theta)")),
        mistake("sigmoids normalized", "It divides sigmoids by their sum: for large preferences all sigmoids are 1.",
                edit(Z, "torch.sigmoid(theta)")),
        mistake("greedy", "It puts probability 1 on the largest preference: an argmax has no gradient.",
                pi("F.one_hot(theta.argmax(-1), theta.shape[-1]).to(theta.dtype)")),
        mistake("log-probabilities", "It returns log pi, not pi.", pi("torch.log_softmax(theta, -1)")),
        mistake("sign", "Larger preferences get smaller probabilities: a minus sign too many.", of("-theta")),
    ],
    read="lesson 1, “A policy with parameters”; Sutton & Barto, section 13.1",
)
