"""The log-density of a squashed sample."""

import torch

from pgcourse.checks.compare import alike, close, close_grad
from pgcourse.checks.core import Case, Exercise
from pgcourse.checks.edits import edit, mistake, telltale
from pgcourse.checks.make_inputs import normal
from pgcourse.distributions import squashed_gaussian_logp
from pgcourse.exercises.sac.facts import (
    approximation,
    derivative,
    nearly_right,
    partly_right,
    same_error,
    wrong_gradient,
)

F64 = torch.float64
ALL = ("mean", "log_std", "pre_tanh")
NEAR, FAR = "two dimensions", "u of 200 and -90"


def squashed(mean, log_std, u, dtype=torch.float32):
    numbers = dict(mean=mean, log_std=log_std, pre_tanh=u)
    return lambda g: {name: torch.tensor(x, dtype=dtype) for name, x in numbers.items()}


def policy_draws(g, *shape, dtype=torch.float32, far=0.0):
    """Mean, spread and a draw of each, where tanh is not yet flat."""
    mean, log_std = normal(g, *shape, dtype=dtype, scale=0.5), normal(g, *shape, dtype=dtype) * 0.3
    u = mean + (log_std - 0.7).exp() * normal(g, *shape, dtype=dtype)
    return dict(mean=mean + far, log_std=log_std - 0.7, pre_tanh=u + far)


# --- signs of families ---


def gradient_stops(at):
    """Nearly right at u = 0.4; at u = 200 finite, but u has no gradient except the Gaussian's own."""
    near, far = at[NEAR]["out"], at[FAR]["out"]
    grads = at[FAR]["grads"]
    return (
        near.shape == at.right(NEAR)["out"].shape
        and bool(((near - at.right(NEAR)["out"]).abs() < 0.05).all())
        and bool(far.isfinite().all())
        and bool(grads["mean"].any())
        and close_grad(grads["pre_tanh"], -grads["mean"])
    )


def exponential_overflows(at):
    """Right at u = 0.4, 10 and -12; inf or nan at u = 200 and -90."""
    near = all(close(at[n]["out"], at.right(n)["out"]) for n in (NEAR, "u = 10", "u = -12"))
    return near and not at[FAR]["out"].isfinite().all()


def infinities_replaced(at):
    """Right at u = 0.4; at u = 10 finite, wrong, and its gradient is that of log 0."""
    out, grad = at["u = 10"]["out"], at["u = 10"]["grads"]["pre_tanh"]
    wrong = out.isfinite().all() and not close(out, at.right("u = 10")["out"])
    return alike(at[NEAR], at.right(NEAR)) and bool(wrong) and bool(grad.isnan().any())


def u_has_no_gradient(at):
    """Right at u = 0.4; at u = 200 nothing reaches u, though the mean is reached."""
    grads = at[FAR]["grads"]
    right = alike(at[NEAR], at.right(NEAR))
    return right and not grads["pre_tanh"].any() and bool(grads["mean"].any())


def log_density_is_limited(at):
    """Right at u = 0.4; at u = 200 and -90 no gradient reaches anything."""
    grads = at[FAR]["grads"].values()
    return alike(at[NEAR], at.right(NEAR)) and not any(g.any() for g in grads)


def log_std_is_limited(at):
    """Right at log_std = -0.5; at 2.5 or -6 nothing reaches log_std, though the mean is reached."""
    grads = at["spreads of 12 and 0.0025"]["grads"]
    unreached = (grads["log_std"] == 0) & (grads["mean"] != 0)
    return alike(at["one action"], at.right("one action")) and bool(unreached.any())


# --- edits ---

Z, STD = "(pre_tanh - mean) * torch.exp(-log_std)", "torch.exp(-log_std)"
SQUARE, SPREAD, CONSTANT = "-0.5 * z**2", "- log_std - 0.5", "0.5 * math.log(2 * math.pi)"
GAUSSIAN = f"{SQUARE} - log_std - {CONSTANT}"
SLOPE = "2 * (math.log(2) - pre_tanh - F.softplus(-2 * pre_tanh))"
EACH = "(gaussian - log_slope)"
SUM = f"{EACH}.sum(dim=-1)"
PLAIN = "torch.log(1 - pre_tanh.tanh() ** 2)"


def z(new):
    return edit(Z, new)


def gaussian(new):
    return edit(GAUSSIAN, new)


def slope(new):
    return edit(SLOPE, new)


def result(new):
    return edit(SUM, new)


def at_first(line):
    return edit("z =", f"{line}\nz =")


def inverted(margin):
    return at_first(f"pre_tanh = torch.atanh(pre_tanh.tanh().clamp(-1 + {margin}, 1 - {margin}))")


def clamped_log_std(low, high):
    return at_first(f"log_std = log_std.clamp({low}, {high})")


# fmt: off
EXERCISE = Exercise(
    reference=squashed_gaussian_logp,
    parts={"one dimension": 2, "many dimensions": 1, "large u": 2, "shapes": 1, "clean": 1},
    cases=[
        Case("one action", squashed([[0.0]], [[-0.5]], [[0.5]]), "one dimension", ALL),
        Case("five actions", lambda g: policy_draws(g, 5, 1), "one dimension", ALL),
        Case("float64", lambda g: policy_draws(g, 4, 1, dtype=F64), "one dimension", ALL),
        Case("the same z", squashed([[0.7]], [[-0.5]], [[1.2]]), "one dimension"),
        Case("the same u", squashed([[-0.6]], [[0.3]], [[0.5]]), "one dimension"),
        Case(NEAR, squashed([[0.5, -0.2]], [[-1.0, 0.3]], [[0.4, -1.1]]), "many dimensions", ALL),
        Case("six dimensions", lambda g: policy_draws(g, 3, 6), "many dimensions", ALL),
        Case("one state, no batch", lambda g: policy_draws(g, 3), "many dimensions", ALL),
        Case("time and environments", lambda g: policy_draws(g, 4, 2, 3), "many dimensions", ALL),
        Case("spreads of 12 and 0.0025",
             squashed([[0.4, 0.3], [-1.0, 0.0]], [[2.5, -6.0]] * 2, [[3.0, 0.304], [2.0, -0.001]]),
             "many dimensions", ALL),
        Case("u between 2 and 2.5", squashed([[2.0], [-2.0], [2.4]], [[-0.5]] * 3, [[2.1], [-2.3], [2.5]]),
             "large u", ALL),
        Case("u = 10", squashed([[8.0]], [[-0.5]], [[10.0]]), "large u", ALL),
        Case("u = -12", squashed([[-12.5]], [[0.2]], [[-12.0]]), "large u", ALL),
        Case(FAR, squashed([[199.0, -90.0], [0.1, -91.0]], [[0.5, 0.0], [0.2, 1.0]], [[200, -90.0]] * 2),
             "large u", ALL),
        Case("u = 40 in float64", squashed([[39.0, 0.0]], [[0.1, -0.4]], [[40.0, 0.2]], F64), "large u", ALL),
        Case("three samples near 30", lambda g: policy_draws(g, 3, 2, far=30), "large u", ALL),
        Case("means [4, 1] and samples [4]", lambda g: policy_draws(g, 4, 1) | dict(pre_tanh=normal(g, 4)),
             "shapes", raises=True),
        Case("one spread [2] for samples [4, 2]", lambda g: policy_draws(g, 4, 2) | dict(log_std=normal(g, 2)),
             "shapes", raises=True),
        Case("a very wide and a very narrow Gaussian",
             squashed([[0.5, -0.5]], [[12.0, -11.0]], [[-1e5, -0.5 + 3e-6]], F64), "large u"),
        Case("a std of e^-25", squashed([[0.0]], [[-25.0]], [[1e-11]], F64), "large u"),
        Case("u of 6 and 7.5 in float64", squashed([[5.5], [7.0]], [[-0.5]] * 2, [[6.0], [7.5]], F64), "large u", ALL),
    ],
    mistakes=[
        mistake("unstable log",
                "It takes log(1 - tanh(u)^2) as it stands: where tanh rounds to 1, that is log 0 = -inf.",
                slope(PLAIN), also=(slope("torch.log(1 - pre_tanh.double().tanh() ** 2).to(mean.dtype)"),),
                why="In float32 this happens from about |u| = 9 on, and one inf in a batch makes every weight nan."),
        mistake("a small number in the log",
                "It adds {eps:.1g} inside the log, as much code does: right while tanh is steep; where it is flat "
                "the correction stops at log {eps:.1g}, and its gradient is gone.",
                slope("torch.log(1 - pre_tanh.tanh() ** 2 + {eps=1e-6})"), near=True,
                why="With 1e-6 the log stops at -13.8 nats; at u = 40 the true value is -78.6."),
        mistake("a floor under the slope",
                "The slope 1 - tanh(u)^2 never falls below {floor:.1g}, by a floor under it or a clamp of u: right while tanh is "
                "steep; where it is flat the correction stops, and its gradient is gone.",
                slope("torch.log((1 - pre_tanh.tanh() ** 2).clamp(min={floor=1e-6}))"), near=True),
        telltale("exponential overflows",
                 "It is right up to |u| = 12, and not finite at 200 and -90: an exp or a cosh overflows there.",
                 slope("2 * (math.log(2) - pre_tanh - torch.log1p(torch.exp(-2 * pre_tanh)))"),
                 exponential_overflows, why="softplus, logsigmoid and logaddexp are made so that this does not happen."),
        telltale("infinities replaced",
                 "It computes log 0 = -inf and then replaces it by a number, which is wrong and has no gradient.",
                 (slope(PLAIN), result(f"torch.nan_to_num({SUM}, posinf=0.0, neginf=0.0)")), infinities_replaced),
        mistake("tanh inverted", "It computes u back from a by atanh: where tanh rounds to 1, that u is lost.",
                inverted(1e-6), also=tuple(map(inverted, (1e-4, 1e-5, 1e-7, torch.finfo().eps))),
                why="The function is given u itself, so that nobody has to invert a tanh."),
        mistake("correction added", "It adds log(1 - tanh(u)^2) where it should be subtracted.",
                edit("gaussian - log_slope", "gaussian + log_slope"),
                why="Where tanh compresses an interval, the density goes up: divide by the slope."),
        mistake("no correction", "It is the density of u; a = tanh(u) needs the change of variables too.",
                edit("gaussian - log_slope", "gaussian"),
                why="The entropy computed from it rewards saturated actions, and the policy goes there."),
        mistake("tanh twice", "It squashes the squashed action again: log(1 - tanh(tanh(u))^2).",
                slope("torch.log(1 - pre_tanh.tanh().tanh() ** 2)")),
        mistake("Gaussian at the action", "It evaluates the Gaussian at a = tanh(u); it was u that was drawn from it.",
                z(Z.replace("pre_tanh", "pre_tanh.tanh()")),
                also=((z(Z.replace("pre_tanh", "pre_tanh.tanh()")), edit("gaussian - log_slope", "gaussian")),
                      (z(Z.replace("pre_tanh", "pre_tanh.tanh()")), slope(PLAIN)))),
        mistake("sample taken for the action", "It treats `pre_tanh` as the action a; it is u, the sample before tanh.",
                slope("torch.log(1 - pre_tanh ** 2 + {eps=1e-6})"),
                also=((at_first("act = pre_tanh.clamp(-1 + {eps=1e-6}, 1 - {eps=1e-6})"),
                       z(Z.replace("pre_tanh", "torch.atanh(act)")), slope("torch.log(1 - act ** 2)")),)),
        mistake("mean for the sample", "It evaluates the density at the mean; the sample u is not used.",
                at_first("pre_tanh = mean")),
        mistake("mean action", "It returns tanh(mean), the action for evaluation; asked is the log-density of a sample.",
                result("torch.tanh(mean)")),
        mistake("sign", "It returns -log pi: the sign of the whole is reversed.", result(f"-{SUM}")),
        mistake("correction at the mean", "It takes the slope of tanh at the mean, not at the sample u.",
                slope(SLOPE.replace("pre_tanh", "mean"))),
        mistake("log variance", "It treats log_std as the log of the variance: the spread comes out as its square root.",
                at_first("log_std = 0.5 * log_std")),
        mistake("square divided by the std", "The square of u - mean is divided by std; it is divided by the square of std.",
                edit(STD, "torch.exp(-0.5 * log_std)")),
        mistake("small number added to the std", "It adds {eps:.1g} to the std: a narrow Gaussian comes out too wide.",
                at_first("log_std = (log_std.exp() + {eps=1e-3}).log()")),
        mistake("log_std as std", "It divides by log_std itself; the standard deviation is exp(log_std).",
                z("(pre_tanh - mean) / log_std"),
                also=((z("(pre_tanh - mean) / log_std"), gaussian(f"{SQUARE} - torch.log(log_std.abs()) - {CONSTANT}")),)),
        mistake("multiplied by the std", "z = (u - mean) * std; it should be divided by std, that is multiplied by exp(-log_std).",
                edit(STD, "torch.exp(log_std)")),
        mistake("half missing", "The factor 1/2 before z^2 is missing.", edit(SQUARE, "-(z**2)")),
        mistake("log std sign", "+log_std: a wide Gaussian is lower everywhere, so its log-density has -log_std.",
                edit(SPREAD, "+ log_std - 0.5")),
        mistake("std missing in z", "It squares u - mean without dividing by the standard deviation.",
                z("pre_tanh - mean"), also=(at_first("log_std = 0 * log_std"),)),
        mistake("square of z missing", "It has |z| or z where the Gaussian has z^2.",
                edit("z**2", "z"), also=(edit("z**2", "z.abs()"),)),
        mistake("z squared added", "It adds z^2 / 2: the density would grow away from the mean.",
                edit(SQUARE, "0.5 * z**2")),
        mistake("divided by the variance",
                "It divides u - mean by the variance before squaring; the standard deviation belongs there.",
                edit(STD, "torch.exp(-2 * log_std)")),
        mistake("brackets in z", "Only one of u and mean is divided by the std; z = (u - mean) / std divides their difference.",
                z(f"pre_tanh - mean * {STD}"), also=(z(f"pre_tanh * {STD} - mean"),)),
        mistake("mean squashed", "It puts tanh(mean) in place of the mean; u is drawn around the mean itself.",
                at_first("mean = mean.tanh()"), also=(z(Z.replace("pre_tanh - mean", "pre_tanh.tanh() - mean.tanh()")),)),
        mistake("added up twice",
                "One of the two terms is summed over the dimensions before they meet, and then summed again.",
                edit("gaussian -", "gaussian.sum(-1, keepdim=True) -"),
                also=(edit("- log_slope", "- log_slope.sum(-1, keepdim=True)"),)),
        mistake("slope of another squashing",
                "It takes the slope of a sigmoid (or of tanh without its square); the squashing is tanh.",
                slope("F.logsigmoid(pre_tanh) + F.logsigmoid(-pre_tanh)"),
                also=(slope("torch.log1p(pre_tanh.tanh() ** 2)"), slope("2 * torch.log1p(-pre_tanh.tanh())"),
                      slope("torch.log(pre_tanh.tanh() ** 2)"))),
        mistake("sign in the stable formula", "A sign is wrong inside 2 (log 2 - u - softplus(-2u)).",
                edit("- pre_tanh - F", "+ pre_tanh - F"),
                also=(edit("- F.softplus", "+ F.softplus"), edit("- pre_tanh - F.softplus", "+ pre_tanh + F.softplus"),
                      slope(SLOPE.replace("2 * (math.log(2) - pre_tanh - ", "-2 * (math.log(2) + pre_tanh + ")))),
        mistake("log std twice", "It subtracts the log of the variance, 2 log_std; half of it belongs there.",
                edit(SPREAD, "- 2 * log_std - 0.5")),
        mistake("2 missing in the constant", "The constant is log(2 pi) / 2; here the 2 under the logarithm is missing.",
                edit("2 * math.pi", "math.pi")),
        mistake("entropy for the density",
                "It uses the Gaussian's entropy, an average; asked is the log-density of this very sample.",
                edit(SQUARE, "-0.5"), also=(gaussian(f"0.5 + log_std + {CONSTANT}"),)),
        mistake("softplus for exp", "It takes softplus(log_std) for the standard deviation; it is exp(log_std).",
                at_first("log_std = F.softplus(log_std).log()")),
        mistake("log_std squeezed",
                "It squeezes log_std into a range by tanh: that is the network's business, log_std is final here.",
                at_first("log_std = -5 + 3.5 * (log_std.tanh() + 1)")),
        mistake("one dimension only", "It keeps one of the action dimensions; the log-densities of all of them add up.",
                result(f"{EACH}[..., 0]"), also=(result(f"{EACH}.amax(-1)"), result(f"{EACH}[..., -1]"))),
        mistake("one dimension left out",
                "It leaves out the first or the last of the action dimensions; the log-densities of all add up.",
                result(f"{EACH}[..., 1:].sum(-1)"), also=(result(f"{EACH}[..., :-1].sum(-1)"),)),
        mistake("correction twice", "It subtracts the correction twice.", edit("gaussian - log_slope", "gaussian - 2 * log_slope")),
        mistake("std not logged", "It subtracts std = exp(log_std) itself; -log_std belongs there.",
                edit(SPREAD, "- log_std.exp() - 0.5")),
        telltale("log_std clamped", "It clamps log_std to a range; beyond it the density is another one, without gradient.",
                 clamped_log_std(-5, 2), log_std_is_limited,
                 why="A network may bound its output; a density is what it is given."),
        mistake("one dimension corrected", "It corrects only one of the action dimensions; each has its own slope.",
                result("gaussian.sum(-1) - log_slope[..., 0]"), also=(result("gaussian.sum(-1) - log_slope[..., -1]"),),
                why="Pendulum has one dimension and hides this; every robot shows it."),
        mistake("correction averaged",
                "It averages the correction over the action dimensions; each density is divided by its own slope, "
                "so the logarithms add up.",
                result("gaussian.sum(-1) - log_slope.mean(-1)")),
        mistake("slopes added before the log",
                "It takes one log of the sum of the slopes; each dimension has a log of its own.",
                result("gaussian.sum(-1) - torch.log((1 - pre_tanh.tanh() ** 2).sum(-1) + 1e-6)")),
        mistake("one slope for all dimensions",
                "It takes one slope for all the actions together; each dimension has a slope of its own.",
                result("gaussian.sum(-1) - torch.log(1 - pre_tanh.tanh().prod(-1) ** 2 + 1e-6)"),
                also=(result("gaussian.sum(-1) - torch.log(1 - pre_tanh.sum(-1).tanh() ** 2 + 1e-6)"),)),
        mistake("not summed", "It keeps one number per dimension; the log-density of an action is their sum.",
                result(EACH), why="[B, 1] against [B] broadcasts to [B, B] in the next line of the algorithm."),
        mistake("averaged over dimensions", "It averages over the action dimensions; independent log-densities add up.",
                result(f"{EACH}.mean(-1)"), why="The entropy would be D times too small, and so the target entropy wrong."),
        mistake("summed over the batch", "It sums over the batch too: one number in place of one per action.",
                result(f"{EACH}.sum()")),
        mistake("constant missing", "log(2 pi) / 2 per dimension is missing.", gaussian(f"{SQUARE} - log_std"),
                why="The gradient does not notice, but the temperature compares this number with a target."),
        mistake("constant not halved", "It subtracts log(2 pi) per dimension; it is half of that.",
                edit(CONSTANT, "math.log(2 * math.pi)")),
        mistake("constant once", "It subtracts log(2 pi) / 2 once; it belongs to each dimension.",
                gaussian(f"{SQUARE} - log_std"), result(f"{SUM} - {CONSTANT}")),
        mistake("log std missing", "The term -log_std is missing: the density is not normalized.",
                edit(SPREAD, "- 0.5"), why="Without it nothing pays the policy for a larger spread."),
        mistake("log 2 missing", "The log 2 of the stable formula is missing: off by 2 log 2 per dimension.",
                edit("math.log(2) - pre_tanh", "-pre_tanh")),
        mistake("2 for log 2", "It uses the number 2 where the stable formula has log 2.",
                edit("math.log(2) - pre_tanh", "2 - pre_tanh")),
        mistake("factor 2 missing", "The factor 2 in front of (log 2 - u - softplus(-2u)) is missing.",
                edit("2 * (math", "(math")),
        mistake("softplus sign", "It takes softplus(2u); the stable formula has softplus(-2u).",
                edit("-2 * pre_tanh", "2 * pre_tanh")),
        mistake("softplus of u", "It takes softplus(-u); the stable formula has softplus(-2u).",
                edit("-2 * pre_tanh", "-pre_tanh")),
        mistake("square missing", "It uses 1 - tanh(u); the slope of tanh is 1 - tanh(u)^2.",
                slope("torch.log1p(-pre_tanh.tanh())")),
        mistake("asymptote for the slope",
                "2 log 2 - 2|u| is what log(1 - tanh(u)^2) comes close to for large |u|; near 0 it is wrong.",
                slope("2 * math.log(2) - 2 * pre_tanh.abs()")),
        mistake("range of the motor", "It divides by a scale of 2, the motor's, as well; asked is the density of a = tanh(u) in (-1, 1).",
                slope(f"math.log(2) + {SLOPE}")),
        mistake("slope not logged", "It subtracts the slope 1 - tanh(u)^2 itself; its logarithm belongs there.",
                slope("1 - pre_tanh.tanh() ** 2")),
        mistake("not logged", "It returns the density, not its logarithm.", result(f"{SUM}.exp()")),
        mistake("sample detached", "No gradient reaches u: the sample is detached, and with it the policy.",
                at_first("pre_tanh = pre_tanh.detach()"),
                why="SAC's actor learns through the sample itself (the reparameterization)."),
        mistake("Gaussian detached", "The Gaussian's gradient into u, or a part of the one into log_std, is cut off.",
                z(Z.replace("pre_tanh", "pre_tanh.detach()")),
                also=(edit(SPREAD, "- log_std.detach() - 0.5"), edit(STD, "torch.exp(-log_std.detach())"))),
        mistake("correction detached",
                "No gradient passes through the correction: the policy never hears how flat tanh is.",
                edit("- log_slope", "- log_slope.detach()")),
        telltale("u clamped", "It clamps u: beyond the limit the value is wrong, and no gradient reaches the sample.",
                 at_first("pre_tanh = pre_tanh.clamp(-20, 20)"), u_has_no_gradient),
        telltale("log-density clamped",
                 "It clamps the log-density: beyond the limit the value is wrong, and no gradient reaches anything.",
                 result(f"{SUM}.clamp(-20, 20)"), log_density_is_limited),
        telltale("draws its own sample", "It draws a new sample; the density is asked for at the u that is passed in.",
                 at_first("pre_tanh = mean + log_std.exp() * torch.randn_like(mean)"), lambda at: at.random),
        approximation("epsilon or clamp",
                      "A small number in the log, or a clamp, stops the correction where tanh is flat: finite, "
                      "but wrong, and its gradient is gone.",
                      slope("torch.log1p(1e-5 - pre_tanh.tanh().clamp(-1 + 1e-5, 1 - 1e-5) ** 2)"), gradient_stops),
        partly_right("wrong with several dimensions", "It is right for one action dimension and wrong for several.",
                     result(f"{SUM} / mean.shape[-1] ** 0.5"),
                     ("one action", "five actions", "float64"), (NEAR, "six dimensions")),
        partly_right("rows mixed", "It is right for a single action and wrong for several: each row has its own log-density.",
                     edit("- log_slope", "- log_slope.mean(0, keepdim=True)"),
                     ("one action", NEAR, "the same z", "u = 10", "u = -12"), ("five actions", "six dimensions")),
        partly_right("wrong for negative u", "It is right where u is positive, and wrong where it is negative.",
                     at_first("pre_tanh = pre_tanh.clamp(min=0)"),
                     ("one action", "the same z", "the same u"), (NEAR, "u = -12")),
        partly_right("wrong far out", "It is right for small u and wrong for large ones, of 200 and -90.",
                     slope(f"torch.where(pre_tanh.abs() > 5, 2 * math.log(2) - pre_tanh.abs(), {SLOPE})"),
                     ("one action", NEAR), (FAR,)),
        partly_right("wrong for wide or narrow Gaussians",
                     "It is right for a std near 1 and wrong for one of 12 or 0.0025: log_std counts as it comes.",
                     at_first("log_std = 0.5 * ((2 * log_std).exp() + 1e-6).log()"),
                     ("one action", NEAR, "five actions", "six dimensions"), ("spreads of 12 and 0.0025",)),
        wrong_gradient(edit(EACH, "(gaussian - log_slope + mean - mean.detach() + log_std - log_std.detach())")),
        same_error("wrong constant", "The error is the same whatever u, mean and std are: a constant is wrong.",
                   edit(EACH, "(gaussian - log_slope - 0.3)"), "the same z", "the same u"),
        same_error("wrong correction",
                   "The error does not change with mean and std, as long as u is the same: it is in "
                   "log(1 - tanh(u)^2), taken at u and subtracted.",
                   slope("-(pre_tanh ** 2) / 2"), "one action", "the same u"),
        same_error("wrong Gaussian",
                   "The error does not change when u and mean are moved together: it is in the Gaussian, "
                   "-z^2 / 2 - log_std - log(2 pi) / 2 with z = (u - mean) / std.",
                   edit(SPREAD, "- log_std.expm1() - 0.5"), "one action", "the same z"),
        nearly_right(edit("gaussian - log_slope", "1.005 * gaussian - 1.003 * log_slope")),
        derivative("derivative of the correction",
                   "When u and mean move together, only the correction changes, by 2 tanh(u) for each unit; here it "
                   "changes otherwise.",
                   (z("(pre_tanh - mean) / (log_std.exp() + 1)"), slope("-(pre_tanh**2) / 2")),
                   "one action", lambda mean, log_std, pre_tanh: mean + pre_tanh),
    ],
    read="lesson 6, “A Gaussian, squashed”; Haarnoja et al. 2018, appendix C",
)
