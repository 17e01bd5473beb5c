"""The advantage: what came, less what was expected."""

from pgcourse.checks.core import Case, Exercise
from pgcourse.checks.edits import edit, mistake, symptom
from pgcourse.checks.make_inputs import normal
from pgcourse.checks.symptoms import apart
from pgcourse.estimators import with_baseline
from pgcourse.exercises.baselines.inputs import F64, returns_and_values, tensor
from pgcourse.exercises.families import SCALINGS, one_environment_only, standardized

GUARD, ADV = "same_shape(ret=ret, val=val)", "ret - val.detach()"


def value(new):
    return edit("val.detach()", new)


def adv(new, use=()):
    return edit(ADV, new, use=use)


def of_environment(new):
    """With time alone it is right."""
    return value(f"(val.detach() if val.dim() == 1 else {new})")


NORMALIZED = [adv(f"standardized({ADV}, {c}, {eps})", use=(standardized,)) for c, eps in SCALINGS]
SCALED = [adv(f"({ADV}) / (({ADV}).std(correction={c}) + {eps})") for c, eps in SCALINGS]

# fmt: off
EXERCISE = Exercise(
    reference=with_baseline,
    parts={"values": 1, "value held constant": 1, "shapes": 1, "clean": 1},
    cases=[
        Case("three steps", lambda g: dict(ret=tensor(3.0, 1.0, 2.0), val=tensor(2.0, 3.0, 0.5)), "values"),
        Case("the last two steps alone", lambda g: dict(ret=tensor(1.0, 2.0), val=tensor(3.0, 0.5)), "values"),
        Case("return and value raised by 10",
             lambda g: dict(ret=tensor(13.0, 11.0, 12.0), val=tensor(12.0, 13.0, 10.5)), "values"),
        Case("a long batch", lambda g: returns_and_values(g, 60), "values"),
        Case("time and environments", lambda g: returns_and_values(g, 7, 3), "values"),
        Case("float64", lambda g: returns_and_values(g, 9, dtype=F64), "values"),
        Case("values from a network that is being trained", lambda g: returns_and_values(g, 4),
             "value held constant", ("val",)),
        Case("returns [3] and values [3, 1]", lambda g: returns_and_values(g, 3) | dict(val=normal(g, 3, 1)),
             "shapes", raises=True),
        Case("returns in the thousands",
             lambda g: dict(ret=tensor(3000.0, -1000.0, 2000.0), val=tensor(-2000.0, 3000.0, 500.0)), "values"),
    ],
    mistakes=[
        mistake("baseline only",
                "It returns the baseline itself: what was expected, whatever the action then brought.",
                adv("val.detach().clone()"),
                why="The policy would be paid for being in good states, not for good actions."),
        mistake("baseline ignored", "It returns the returns unchanged: the values do not enter.", adv("ret.clone()"),
                why="That is REINFORCE with the whole variance of lesson 2."),
        mistake("baseline added", "It adds the baseline: the estimate stays unbiased, and its variance grows.",
                adv("ret + val.detach()")),
        mistake("sign", "It is value minus return: what turned out better than expected is discouraged.",
                adv("val.detach() - ret")),
        mistake("mean return", "It subtracts the mean return of the batch; the values of the states do not enter.",
                value("ret.mean()"), why="One number for all states cannot tell a good action from a good state."),
        mistake("mean value", "It subtracts the mean of the values: one number for all states.",
                value("val.detach().mean()"), also=(value("val.detach().mean(0)"),)),
        mistake("normalized",
                "It also subtracts the mean and divides by the standard deviation; that is another function.",
                NORMALIZED[0], why="A scale that depends on the batch changes the expected gradient.", also=NORMALIZED[1:]),
        mistake("scaled", "It also divides by the standard deviation; only the difference was asked for.",
                SCALED[0], why="A scale that depends on the batch changes the expected gradient.", also=SCALED[1:]),
        mistake("centered", "It also subtracts the mean of the advantages, which depends on the actions taken.",
                adv(f"{ADV} - ({ADV}).mean()")),
        mistake("ratio", "It divides the return by the value; only a difference leaves the gradient unbiased.",
                adv("ret / val.detach()")),
        mistake("gradient into the value", "A gradient flows from the advantage into the values: detach them.",
                value("val"), why="The policy's loss would push every value up, whatever the returns were."),
        mistake("next state's value",
                "It subtracts the value of the NEXT state, which depends on the action just taken.",
                value("torch.cat([val[1:], torch.zeros_like(val[:1])]).detach()"),
                why="A baseline must not look at the action: such a one biases the gradient.",
                also=(value("val.detach().roll(-1, 0)"),)),
        mistake("next value added", "It adds {gamma:.3g} times the next state's value: the return holds all that follows already.",
                adv("ret + {gamma=0.99} * torch.cat([val[1:], torch.zeros_like(val[:1])]).detach() - val.detach()"),
                also=(adv("ret + {gamma=0.99} * val.detach().roll(-1, 0) - val.detach()"),
                      adv("ret + {gamma=0.99} * torch.cat([val[1:], val[-1:]]).detach() - val.detach()"))),
        mistake("value of the row before", "It is off by one: it subtracts the value of the row before, another state's.",
                value("val.detach().roll(1, 0)"),
                also=(value("torch.cat([torch.zeros_like(val[:1]), val[:-1]]).detach()"),)),
        mistake("first environment's values", "It subtracts the first environment's values in every environment.",
                of_environment("val.detach()[:, :1]")),
        mistake("returns summed again", "It sums over time again: what comes in are returns already, not rewards.",
                adv("ret.flip(0).cumsum(0).flip(0) - val.detach()")),
        mistake("only good news", "It cuts negative advantages to 0: nothing is learned from what went badly.",
                adv(f"({ADV}).clamp(min=0)")),
        mistake("absolute",
                "It takes the size of the advantage without its sign: surprises are reinforced, good and bad.",
                adv(f"({ADV}).abs()")),
        mistake("squared", "It squares the difference: that is the value's regression error, not an advantage.",
                adv(f"({ADV}) ** 2")),
        mistake("cut off", "It cuts the advantage off at ±{limit:.3g}: what stood out counts less.",
                adv(f"({ADV}).clamp(-{{limit=10}}, {{limit=10}})")),
        mistake("baseline weighted", "It subtracts {share:.3g} times the value; subtract the value itself.",
                value("{share=0.5} * val.detach()")),
        mistake("silent broadcast",
                "[T] minus [T, 1] becomes a [T, T] table without a word: every return against every value.",
                edit(GUARD, ""),
                why="The mean over that table still is a number, so training runs and learns nothing useful."),
        mistake("reshaped in silence", "It reshapes the values to fit; two shapes that differ are a mistake to report.",
                edit(GUARD, ""), value("val.detach().reshape(ret.shape)"),
                why="The next time the wrong shape may be a transposed one, and nobody would know."),
        one_environment_only("each environment has values of its own.",
                             of_environment("val.detach().mean(1, keepdim=True)"),
                             "three steps", "a long batch", "float64"),
        symptom("steps mixed",
                "Alone, the last two of three steps come out otherwise than among them: "
                "each has its own return and its own value, and the others' do not enter.",
                value("val.detach().median()"),
                lambda at: apart(at["three steps"]["out"][1:], at["the last two steps alone"]["out"])),
        symptom("more than the difference",
                "When return and value are raised alike, the result changes: it is not made of their difference alone.",
                adv(f"({ADV}) / (val.detach().abs() + 1e-8)"),
                lambda at: apart(at["three steps"]["out"], at["return and value raised by 10"]["out"])),
        symptom("not the bare difference",
                "It stays the same when return and value are raised alike, and is not their difference: "
                "squashed, cut, rounded or scaled?",
                adv(f"torch.asinh({ADV})"), lambda at: "values" in at.wrong_parts),
    ],
    read="lesson 3, “The advantage”; Sutton & Barto, section 13.4",
)
