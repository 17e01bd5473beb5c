"""Six questions on REINFORCE's estimate: what two shortcuts do to it, and what precision costs."""

from pgcourse.checks.core import Exercise
from pgcourse.exercises.families import answered, questions


def quiz_reinforce():
    """Six questions on what you measured. Return a dict with your answers.

    "mean over steps" : episodes of unequal length, one episode a batch, a loss that is a mean over steps. Its gradient ...
                        "a" is the right one times a constant,  "b" can point the wrong way on average,
                        "c" is right on average, only noisier
    "gamma^t"         : the expected update without the factor gamma^t is in general the gradient of ...
                        "a" the undiscounted return,  "b" the discounted return, times a constant,
                        "c" no function
    "price"           : an error that is ten times smaller takes how many times the episodes? (a number)
    "horizon"         : in the corridor, from T = 16 to T = 32, the noise V of the reward-to-go grows about ...
                        "a" 2-fold, like the signal,  "b" 4-fold,  "c" 8-fold
    "samples"         : 16 episodes of 200 steps. The number of samples that is safe to divide by, in any world, is ...
                        "a" 16,  "b" 3200,  "c" the number of parameters
    "leak"            : CartPole, `ended` ignored in the returns. The training ...
                        "a" stops with an error,  "b" runs, and ends far below the right one,
                        "c" runs, and ends as well, only later
    """
    return {
        "mean over steps": "b",
        "gamma^t": "c",
        "price": 100,
        "horizon": "c",
        "samples": "a",
        "leak": "b",
    }


PARTS = {"the shortcuts": 2, "the variance": 2, "what can go wrong": 2}

# fmt: off
EXERCISE = Exercise(
    reference=quiz_reinforce,
    gate=False,
    driver="entry",
    parts=PARTS | {"clean": 0},
    cases=questions(quiz_reinforce, PARTS),
    mistakes=[
        answered(quiz_reinforce, "ratio taken for a rescaling", "mean over steps", "a",
                 "“mean over steps”: that holds if every batch has the same number of steps. Look at N = 1 in the picture of the fork."),
        answered(quiz_reinforce, "bias taken for noise", "mean over steps", "c",
                 "“mean over steps”: the picture of the fork shows exact means over all batches; there is no noise in it."),
        answered(quiz_reinforce, "undiscounted return", "gamma^t", "a",
                 "“gamma^t”: its gradient would have a symmetric matrix of derivatives, as every gradient has."),
        answered(quiz_reinforce, "bias overlooked", "gamma^t", "b",
                 "“gamma^t”: then the z-scores without gamma^t would show it: a constant does not turn a vector."),
        answered(quiz_reinforce, "root forgotten", "price", 10,
                 "“price”: the error falls like 1 / sqrt(N): ten times the episodes make it only 3.2 times smaller.", also=(10.0,)),
        answered(quiz_reinforce, "root taken twice", "price", 10000,
                 "“price”: solve sqrt(V / N) for N: the error's square is inversely proportional to N.", also=(10000.0, 1000, 1000.0)),
        answered(quiz_reinforce, "noise like signal", "horizon", "a",
                 "“horizon”: that is the signal. Compare the slopes of the curves on the logarithmic axes."),
        answered(quiz_reinforce, "sum of rewards forgotten", "horizon", "b",
                 "“horizon”: there are T scores, and the square of what each is multiplied by grows like T^2."),
        answered(quiz_reinforce, "steps as samples", "samples", "b",
                 "“samples”: steps of one episode may share its luck. Look at the picture with the shared luck."),
        answered(quiz_reinforce, "parameters as samples", "samples", "c",
                 "“samples”: the parameters are what is estimated, not what is sampled."),
        answered(quiz_reinforce, "an error expected", "leak", "a",
                 "“leak”: the shapes are right and nothing is nan; the five runs ended without a word."),
        answered(quiz_reinforce, "leak taken for a delay", "leak", "c",
                 "“leak”: look where its curves end, and whether they rise."),
    ],
    read="lesson 2, from “What the mean over steps does” to “Your REINFORCE learns CartPole”",
)
