"""The price of precision."""

import torch

from pgcourse.checks.core import Case, Exercise
from pgcourse.checks.edits import edit, mistake
from pgcourse.checks.make_inputs import integers
from pgcourse.estimators import episodes_needed

QUOTIENT = "float(variance) / error**2"


def quotient(new):
    return edit(QUOTIENT, new)


def times(c):
    return quotient(f"{c} * {QUOTIENT}")


def result(new):
    return edit(f"math.ceil({QUOTIENT})", new)


def of(variance, error):
    return lambda g: dict(variance=variance, error=error)


# fmt: off
EXERCISE = Exercise(
    reference=episodes_needed,
    driver="whole",
    parts={"values": 1, "rounding": 1, "clean": 1},
    cases=[
        Case("variance 4, error 1/2", of(4.0, 0.5), "values"),
        Case("variance 9, error 1/4", of(9.0, 0.25), "values"),
        Case("a tensor", lambda g: dict(variance=torch.tensor(8.0), error=0.125), "values"),
        Case("a whole number of episodes", lambda g: dict(variance=1.0 + int(integers(g, 1000)), error=0.25), "values"),
        Case("variance 1, error 0.3", of(1.0, 0.3), "rounding"),
        Case("variance 3/2, error 0.3", of(1.5, 0.3), "rounding"),
        Case("random numbers", lambda g: dict(variance=1.003 + 5 * float(torch.rand((), generator=g)), error=0.0507),
             "rounding"),
        Case("error 0", of(1.0, 0.0), "rounding", raises=True),
        Case("error -1/4", of(1.0, -0.25), "rounding", raises=True),
        Case("an odd number of episodes", of(9.0, 1.0), "rounding"),
        Case("a variance of ten million", of(1e7, 3.0), "rounding"),
        Case("variance 1, error 2", of(1.0, 2.0), "rounding"),
        Case("a variance of four million, error 1/1024", of(2.0**22, 2.0**-10), "rounding"),
    ],
    mistakes=[
        mistake("error not squared",
                "It divides by the error, not its square: half the error needs FOUR times the episodes.",
                edit("error**2", "error"), why="This is what underestimating REINFORCE's variance looks like on a budget."),
        mistake("another power of the error", "It divides by the error to the power {p:.3g}, not by its square.",
                edit("error**2", "error ** {p=3}")),
        mistake("rounded down", "It rounds down: one episode too few.", result(f"int({QUOTIENT})")),
        mistake("spread for variance",
                "It uses the square root of the variance: sqrt(V) / error still has to be squared.",
                quotient("math.sqrt(variance) / error")),
        mistake("not a whole number", "It is a float; episodes come whole, as an int: round up with math.ceil.",
                result(QUOTIENT), also=(result(f"float(math.ceil({QUOTIENT}))"),)),
        mistake("rounded too early", "It rounds before it squares or divides; round the result, once.",
                result("math.ceil(math.sqrt(variance) / error) ** 2"),
                also=(result("math.ceil(float(variance) / error) ** 2"), quotient("math.ceil(variance) / error**2"),
                      result("math.ceil(variance) // error**2"))),
        mistake("one too many", "Where the quotient is a whole number, it gives one more than that: round up, and add nothing.",
                result(f"math.floor({QUOTIENT}) + 1"), also=(result(f"math.ceil({QUOTIENT}) + 1"), result(f"round({QUOTIENT} + 0.5)"))),
        mistake("one too few", "It comes out one below the quotient rounded up: one episode too few.", result(f"math.ceil({QUOTIENT}) - 1")),
        mistake("never one", "It never gives fewer than 2; where one episode is enough, the answer is 1.",
                result(f"max(2, math.ceil({QUOTIENT}))")),
        mistake("counted in 32 bits", "It counts in 32 bits: more than two billion episodes do not fit.",
                result(f"torch.tensor({QUOTIENT}, dtype=torch.float64).ceil().int().item()"),
                also=(result(f"min(math.ceil({QUOTIENT}), 2**31 - 1)"),)),
        mistake("rounded to the nearest",
                "It rounds to the nearest whole number, so sometimes down: one episode too few.", result(f"round({QUOTIENT})"),
                also=(result(f"max(1, round({QUOTIENT}))"),)),
        mistake("confidence interval",
                "It multiplies by a number, as for a confidence interval: the standard error itself is wanted.",
                times("1.96**2"), also=map(times, ("1.645**2", "2.576**2", 1.96, 2, 3, 4, 9, 1 / 2, 1 / 4))),
        mistake("another factor", "It multiplies V / error^2 by {c:.3g}: the standard error itself is wanted.",
                times("{c=6}")),
        mistake("root over the square",
                "It takes the root of the variance and the square of the error; V is squared units already.",
                quotient("math.sqrt(variance) / error**2")),
        mistake("multiplied", "It multiplies by the squared error: a smaller error must need MORE episodes.",
                quotient("float(variance) * error**2")),
        mistake("variance squared", "The variance is squared too; only the error is.", quotient("(float(variance) / error) ** 2")),
        mistake("upside down", "Numerator and denominator are exchanged.", quotient("error**2 / float(variance)")),
        mistake("logarithm", "It counts halvings, as for bisection: averages get better far more slowly.",
                quotient("math.log2(math.sqrt(variance) / error)")),
    ],
    read="lesson 2, “What it costs”",
)
