"""Mistakes and cases of a mean squared error with one side held constant: a critic's loss."""

from pgcourse.checks.core import Case
from pgcourse.checks.edits import edit, mistake, symptom
from pgcourse.checks.symptoms import differ, halves
from pgcourse.exercises.baselines.inputs import tensor
from pgcourse.exercises.families import (
    SCALINGS,
    another_gradient,
    leak,
    one_environment_only,
    standardized,
)

HALF = edit("return", "return 0.5 *")


def error_cases(part, constant):
    """What the symptoms are read from."""

    def table(times=1.0, raised=0.0):
        value, target = tensor(0.0, -1.0, 1.0, 2.0), tensor(3.0, 1.5, 2.0, 2.5)
        return dict(val=value + raised) | {constant: value + times * (target - value) + raised}

    return [
        *halves(part, table),
        Case("errors twice as large", lambda g: table(times=2.0), part),
        Case("errors of the other sign", lambda g: table(times=-1.0), part),
        Case("value and target raised by 10", lambda g: table(raised=10.0), part),
    ]


# fmt: off
def squared_error_mistakes(y, them, leaks=""):
    """The loss is ((val - y.detach()) ** 2).mean().

    y     : the argument that is held constant
    them  : what it is called in sentences ("returns")
    leaks : why no gradient may flow into it
    """
    const = f"{y}.detach()"
    error, square, guard = f"(val - {const})", f"(val - {const}) ** 2", f"same_shape(val=val, {y}={y})"

    def constant(new):
        return edit(const, new, use=(standardized,))

    def of_error(new):
        """Another function of the error in place of its square; {e} is the error."""
        return edit(square, new.replace("{e}", error))

    def mean(new):
        return edit(".mean()", new)

    def whole(new):
        return edit(f"({square}).mean()", new.replace("{e}", error).replace("{y}", const))

    def relative(eps):
        return (of_error(f"({{e}} / ({const}.abs() + {eps})) ** 2"),)

    return [
        mistake("sign", f"It is negative: minimizing it drives the values AWAY from the {them}.", edit("return", "return -")),
        mistake("sum for mean", "It sums over the batch; average: the step would grow with the batch.", mean(".sum()")),
        mistake("summed over time",
                "It sums over time and averages over environments: long rollouts take bigger steps.", mean(".sum(0).mean()")),
        mistake("summed over environments",
                "It sums over the environments (or divides by the number of steps alone): more of them, bigger steps.",
                mean(".sum() / len(val)")),
        mistake("summed over the last axis", "It sums over the last axis and averages over the rest; the mean is over all of them.",
                mean(".sum(-1).mean()")),
        mistake("divided by N - 1", "It divides by N - 1, as for a variance; a mean divides by N.",
                mean(".sum() / (val.numel() - 1)")),
        mistake("absolute error",
                f"It takes the absolute error in place of the squared one: its minimum is the median of the {them}, a value is their mean.",
                of_error("{e}.abs()")),
        mistake("error not squared",
                "It averages the error without squaring it: unbounded below, it just pushes all values down.", of_error("{e}")),
        mistake("error not squared, reversed",
                "It averages the error the other way round, without squaring it: unbounded below, it pushes all values up.",
                of_error(f"({const} - val)")),
        mistake("square root",
                "It takes the root of the mean square: the gradient no longer shrinks as the fit improves.", mean(".mean().sqrt()")),
        mistake("mean before the square",
                "It averages first and squares then: errors of opposite sign cancel, and only the mean is fitted.",
                whole("{e}.mean() ** 2")),
        mistake("Huber loss",
                f"It is a Huber loss, linear for errors beyond {{delta:.3g}}: its minimum is not the mean of the {them}.",
                edit(f"({square}).mean()", f"torch.nn.functional.huber_loss(val, {const}, delta={{delta=1}})"),
                also=(edit(f"({square}).mean()", f"torch.nn.functional.smooth_l1_loss(val, {const}, beta={{delta=1}})"),)),
        mistake("actor's objective",
                "It weighs the values with the error, the way the actor weighs log-probabilities: the critic learns by "
                "regression, its loss is the squared error.", whole(f"-(val * ({const} - val).detach()).mean()"),
                why="Actor = policy, trained with the policy gradient; critic = value, trained by regression."),
        mistake("actor's objective, reversed",
                f"It multiplies values by errors, with the sign that moves them away from the {them}.",
                whole(f"(val * ({const} - val).detach()).mean()"),
                why="Actor = policy, trained with the policy gradient; critic = value, trained by regression."),
        mistake(f"gradient into the {them}", f"A gradient flows into the {them}, which are constants here: detach `{y}`.",
                edit(const, y), why=leaks),
        mistake("value detached", f"The wrong side is held constant: the values do not learn, and the {them} get the gradient.",
                edit(f"val - {const}", f"val.detach() - {y}")),
        mistake("no gradient", "No gradient reaches the values, which should learn: `val` must not be detached.",
                edit(f"val - {const}", f"val.detach() - {const}")),
        mistake(f"half for the {them}",
                f"Half of the loss holds the values constant and trains the {them}, which are constants here.",
                whole(f"(0.5 * {{e}} ** 2 + 0.5 * (val.detach() - {y}) ** 2).mean()"),
                also=(whole(f"({{e}} ** 2 + (val.detach() - {y}) ** 2).mean()"),), why=leaks),
        mistake("relative error", "It divides each error by the size of its target: where that is small, the error counts most.",
                *relative("1e-8"), also=(*map(relative, ("1e-6", "0", "1")), of_error(f"({{e}} / ({const} + 1e-8)) ** 2"))),
        mistake("difference of the squares", "It squares value and target and subtracts then; the DIFFERENCE is what is squared.",
                of_error(f"(val ** 2 - {const} ** 2)"), also=(of_error(f"({const} ** 2 - val ** 2)"),)),
        mistake("error clipped",
                "It cuts the error off at ±{limit:.3g} before squaring: a value that is far off gets no gradient at all.",
                of_error("{e}.clamp(-{limit=5}, {limit=5}) ** 2")),
        mistake("log cosh", "It averages log cosh of the error, linear for large errors: its minimum is not the mean.",
                of_error("(({e}) + torch.nn.functional.softplus(-2 * {e}) - 0.6931472)"), also=(of_error("torch.log(torch.cosh({e}))"),)),
        mistake("one side only", "Errors of one sign count as 0: the values are pushed one way only.",
                of_error("{e}.clamp(min=0) ** 2"), also=(of_error("{e}.clamp(max=0) ** 2"),)),
        mistake("length of the error",
                "It takes the length of the vector of errors, a root: the gradient no longer shrinks with the error.",
                whole("{e}.norm()"), also=(whole("{e}.norm() / len(val)"), whole("{e}.norm() / val.numel()"))),
        mistake("variance of the error", "It is the variance of the error: an offset of all values costs nothing.",
                whole("{e}.var()"), also=(whole("{e}.var(correction=0)"),)),
        mistake("another power", "It raises the size of the error to the power {p:.3g}; the square is asked for.",
                of_error("{e}.abs() ** {p=3}")),
        mistake("third power", "It raises the error to the third power: unbounded below.", of_error("{e} ** 3")),
        mistake("fourth power", "It raises the error to the fourth power: outliers decide.", of_error("{e} ** 4")),
        mistake("one step only", "It uses the first or the last step only.", whole("({e}[0] ** 2).mean()"),
                also=(whole("({e}[-1] ** 2).mean()"),)),
        mistake("median or largest error",
                "It takes the median or the largest of the squared errors; their mean was asked for.",
                mean(".median()"), also=(mean(".max()"),)),
        mistake("divided by the variance",
                f"It divides by the variance of the {them}: that is a measure of fit, not the loss.",
                mean(f".mean() / ({const}.var() + 1e-8)"), also=(mean(f".mean() / ({const}.var(correction=0) + 1e-8)"),)),
        mistake("off by one row", f"It compares the value of one row with the {them} of another.",
                edit(f"val - {const}", f"val[:-1] - {const}[1:]"),
                also=(edit(f"val - {const}", f"val[1:] - {const}[:-1]"), constant(f"{const}.roll(1, 0)"), constant(f"{const}.roll(-1, 0)"))),
        mistake("every value against every target",
                "[B, 1] minus [1, B] is a table: every value is fitted to every target, so to their mean.",
                edit(f"val - {const}", f"val.reshape(-1, 1) - {const}.reshape(1, -1)")),
        mistake("value against itself", "It compares the value with itself: the loss is 0, and nothing is learned.",
                constant("val.detach()")),
        mistake("actor's objective, value live",
                "It multiplies the value by the error and lets the gradient flow through both.",
                whole(f"-(val * ({const} - val)).mean()"), also=(whole(f"(val * ({const} - val)).mean()"),)),
        mistake("target normalized",
                f"It standardizes the {them} first: the values then have no unit of reward.",
                constant(f"standardized({const})"), why="Subtracted from real returns such values would remove almost nothing.",
                also=(*(constant(f"standardized({const}, {c}, {eps})") for c, eps in SCALINGS[1:]),
                      *((constant(f"standardized({const}, {c})"), edit("(val -", f"(standardized(val, {c}) -")) for c in (1, 0)))),
        mistake("target times value", "It multiplies value and target: that loss has no minimum and measures no error.",
                whole(f"-(val * {const}).mean()"), also=(whole(f"(val * {const}).mean()"),)),
        mistake("sum of both", f"It squares the SUM of values and {them}; the error is their difference.", edit("val -", "val +")),
        mistake("one target for all", f"Every value is fitted to the mean of the {them}: states are not told apart.",
                constant(f"{y}.mean().detach()")),
        mistake("silent broadcast", "Every value is fitted to every target, as when [T, 1] minus [T] becomes a [T, T] table.",
                edit(guard, ""), why="All values are then driven to one mean, and no warning is needed for that to happen."),
        mistake("reshaped in silence", f"It reshapes the {them} to fit; two shapes that differ are a mistake to report.",
                edit(guard, ""), constant(f"{const}.reshape(val.shape)"),
                also=((edit(guard, f"val, {y} = val.flatten(), {y}.flatten()"),), (edit(guard, f"val, {y} = val.squeeze(), {y}.squeeze()"),))),
    ]


def squared_error_symptoms(y, far, flat):
    """far  : the case with errors in the hundreds
    flat : the other cases that are [T]"""
    const = f"{y}.detach()"
    error, mean = f"(val - {const})", f"((val - {const}) ** 2).mean()"

    def term(new):
        return edit(f"{error} ** 2", new)

    def differs(name, factor):
        return lambda at: differ(at.number(name), factor * at.number("these four steps"))

    return [
        leak(y, edit(mean, f"((val - {y}).abs() ** 2.5).mean()")),
        another_gradient(edit(mean, f"{mean} + (val - val.detach()).mean()")),
        symptom("not a mean of single terms",
                "The loss of four steps is not the mean of the losses of their two halves: each step counts once, with its own error.",
                edit(mean, f"({error}[1:] ** 2).mean() + 0.1 * {error}.mean() ** 2"),
                lambda at: differ((at.number("two steps") + at.number("two other steps")) / 2, at.number("these four steps"))),
        symptom("more than the error",
                "When value and target are raised alike, the loss changes: it is not made of their difference alone.",
                term(f"{error} ** 2 / (1 + val.detach() ** 2)"), differs("value and target raised by 10", 1)),
        symptom("not the square", "Errors twice as large should give four times the loss; here they do not.",
                term(f"({error}.abs() ** 2.5 + {error}.abs())"), differs("errors twice as large", 4)),
        symptom("sign of the error counts",
                "Errors of the other sign give another loss: too high and too low have to count alike.",
                term(f"torch.where(val > {const}, 0.7, 1.3) * {error} ** 2"), differs("errors of the other sign", 1)),
        symptom("large errors cut", "It is right for errors of a few units, and wrong for hundreds: something limits them.",
                term(f"{error} ** 2 / (1 + ({error} / 300) ** 4)"),
                lambda at: at.right_in("these four steps") and not at.right_in(far)),
        one_environment_only("the mean is over both axes.",
                             edit(".mean()", ".mean() if val.dim() == 1 else ((val - y.detach()) ** 2).mean(1).median()".replace("y.", f"{y}.")),
                             "these four steps", far, *flat),
    ]
