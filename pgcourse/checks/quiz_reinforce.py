"""Lesson 2's questions: what REINFORCE's estimate is, what two shortcuts do to it, and what precision costs."""

from pgcourse.checks.quiz import two_by_two


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


QUIZ_REINFORCE = two_by_two(
    quiz_reinforce,
    ("the shortcuts", "the variance", "what can go wrong"),
    [
        (
            "ratio taken for a rescaling",
            "mean over steps",
            "a",
            "that holds if every batch has the same number of steps. Look at N = 1 in the picture of the fork.",
        ),
        (
            "bias taken for noise",
            "mean over steps",
            "c",
            "the picture of the fork shows exact means over all batches; there is no noise in it.",
        ),
        (
            "undiscounted return",
            "gamma^t",
            "a",
            "its gradient would have a symmetric matrix of derivatives, as every gradient has.",
        ),
        (
            "bias overlooked",
            "gamma^t",
            "b",
            "then the z-scores without gamma^t would show it: a constant does not turn a vector.",
        ),
        (
            "root forgotten",
            "price",
            10,
            "the error falls like 1 / sqrt(N): ten times the episodes make it only 3.2 times smaller.",
            (10.0,),
        ),
        (
            "root taken twice",
            "price",
            10000,
            "solve sqrt(V / N) for N: the error's square is inversely proportional to N.",
            (10000.0, 1000, 1000.0),
        ),
        (
            "noise like signal",
            "horizon",
            "a",
            "that is the signal. Compare the slopes of the curves on the logarithmic axes.",
        ),
        (
            "sum of rewards forgotten",
            "horizon",
            "b",
            "there are T scores, and the square of what each is multiplied by grows like T^2.",
        ),
        (
            "steps as samples",
            "samples",
            "b",
            "steps of one episode may share its luck. Look at the picture with the shared luck.",
        ),
        (
            "parameters as samples",
            "samples",
            "c",
            "the parameters are what is estimated, not what is sampled.",
        ),
        (
            "an error expected",
            "leak",
            "a",
            "the shapes are right and nothing is nan; the five runs ended without a word.",
        ),
        (
            "leak taken for a delay",
            "leak",
            "c",
            "look where its curves end, and whether they rise.",
        ),
    ],
    "lesson 2, from “What the mean over steps does” to “Your REINFORCE learns CartPole”",
)
