"""Six questions on what is definite about the gradient, and what a random search lacks."""

from pgcourse.checks.core import Exercise
from pgcourse.exercises.families import answered, questions


def quiz_gradient():
    """Six questions on the gradient and its estimates. Return a dict with your answers.

    "twice"       : you compute the exact gradient at the same theta twice, with other random seeds. You get ...
                    "a" two vectors that agree on average,  "b" twice the same vector,
                    "c" two unrelated directions, both uphill
    "uphill"      : a small enough step along the exact gradient (where it is not zero) ...
                    "a" raises J in about half of the cases, like a random direction,  "b" raises J on average only,
                    "c" raises J
    "one episode" : with 128 parameters, the estimate from ONE episode and the exact gradient have a cosine ...
                    "a" above 0.9 in size,  "b" about as small as that of a random direction,  "c" of exactly 0
    "nudges"      : nudges of theta, drawn at random, each weighted by the return that was earned with it. Their
                    mean, over more and more of them, tends to ...
                    "a" zero, as that of unweighted random directions does,  "b" the nudge that earned most,
                    "c" the gradient of a smoothed J
    "credit"      : what does a policy-gradient estimate use that nudging all of theta does not?
                    "a" which action was taken in which state, and what came after it,
                    "b" the transition probabilities P,  "c" nothing: the two are the same
    "enough"      : in the last experiment, the policy gradient that only credits what came after each action ...
                    "a" was ahead of all the others,  "b" ended behind both methods that subtract the others' mean,
                    "c" did not learn at all
    """
    return {
        "twice": "b",
        "uphill": "c",
        "one episode": "b",
        "nudges": "c",
        "credit": "a",
        "enough": "b",
    }


PARTS = {"the exact gradient": 2, "its estimates": 2, "what it knows": 2}

# fmt: off
EXERCISE = Exercise(
    reference=quiz_gradient,
    gate=False,
    driver="entry",
    parts=PARTS | {"clean": 0},
    cases=questions(quiz_gradient, PARTS),
    mistakes=[
        answered(quiz_gradient, "gradient taken for an estimate", "twice", "a",
                 "“twice”: that describes two estimates from samples. Where in the theorem's formula is a sample?"),
        answered(quiz_gradient, "gradient taken for random search", "twice", "c",
                 "“twice”: the gradient is precisely defined: your exact_policy_gradient contains no random number."),
        answered(quiz_gradient, "gradient step taken for a guess", "uphill", "a",
                 "“uphill”: that is what a random direction does. J is differentiable, and the gradient is its steepest ascent."),
        answered(quiz_gradient, "gradient step right on average", "uphill", "b",
                 "“uphill”: that is what steps along an unbiased estimate do. The exact gradient has no luck in it."),
        answered(quiz_gradient, "one episode taken for the gradient", "one episode", "a",
                 "“one episode”: look at the left end of the picture of cosines, N = 1."),
        answered(quiz_gradient, "small taken for zero", "one episode", "c",
                 "“one episode”: if it were exactly 0 each time, no average could come closer to the gradient; the curves do."),
        answered(quiz_gradient, "weighted taken for unweighted", "nudges", "a",
                 "“nudges”: the weights make the difference: nudges that earned more count more. Compare the two curves."),
        answered(quiz_gradient, "best nudge kept", "nudges", "b",
                 "“nudges”: keeping the best is hill climbing. A mean keeps something of each."),
        answered(quiz_gradient, "model taken for credit", "credit", "b",
                 "“credit”: step 2 of the theorem: the probabilities of the world drop out."),
        answered(quiz_gradient, "credit overlooked", "credit", "c",
                 "“credit”: a nudge gets one number for all parameters at once. What does the agent know about each action?"),
        answered(quiz_gradient, "credit taken for enough", "enough", "a",
                 "“enough”: look at the end of the curves: which two are at the top, and what do they share?"),
        answered(quiz_gradient, "noise taken for a standstill", "enough", "c",
                 "“enough”: it began at 0.5; look where its curve ends."),
    ],
    read="lesson 1, “Is it a random search?”",
)
