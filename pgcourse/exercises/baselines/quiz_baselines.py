"""Five questions on what the experiments of lesson 3 showed."""

from pgcourse.checks.core import Case, Exercise
from pgcourse.exercises.families import answered


def quiz_baselines():
    """What the experiments of this lesson showed.

    constant   : every reward of a bandit is raised by 100. In the estimate without a baseline this
                 changes  "a" the mean only   "b" the variance only   "c" both   "d" neither
    unbiased   : which of these leave the mean of the estimate alone? All that do, like "bd":
                 "a" the mean return of the OTHER samples from the same start
                 "b" the mean return of ALL samples from the same start, one's own included
                 "c" V(s_t), learned from earlier episodes
                 "d" V(s_{t+1}), the value of the state that the action led to
    episodes   : without a baseline, 5000 episodes give the precision you want; the variance ratio
                 of a baseline is 0.2. How many episodes does it take with that baseline? A number
    perfect    : with V(s_t) = V^pi(s_t) exactly, the estimate has no variance left. True or False
    normalized : dividing all advantages by their standard deviation saves episodes the way a
                 baseline does. True or False
    returns    : a dict of the five answers, {"constant": ..., "unbiased": ..., "episodes": ...,
                 "perfect": ..., "normalized": ...}
    """
    return {
        "constant": "b",
        "unbiased": "ac",
        "episodes": 1000,
        "perfect": False,
        "normalized": False,
    }


def asked(part, key, **how):
    return Case(part, lambda g: dict(key=key, **how), part)


def misled(name, key, answer, says, also=()):
    return answered(quiz_baselines, name, key, answer, f"“{key}”: {says}", also=also)


# fmt: off
EXERCISE = Exercise(
    reference=quiz_baselines,
    parts={"a constant added": 1, "what is unbiased": 1, "episodes needed": 1, "perfect values": 1, "normalized": 1, "clean": 0},
    driver="entry",
    gate=False,
    cases=[
        asked("a constant added", "constant"),
        asked("what is unbiased", "unbiased", letters=True),
        asked("episodes needed", "episodes"),
        asked("perfect values", "perfect"),
        asked("normalized", "normalized"),
    ],
    mistakes=[
        misled("the mean moves", "constant", "c",
               "the scores average to 0, so a constant times the score averages to 0 too.", also=("a",)),
        misled("the variance stays", "constant", "d",
               "look at the first picture again; the constant multiplies every score."),
        misled("own return allowed", "unbiased", "abc",
               "a mean that holds the sample's own return depends on the action it took.", also=("b", "ab", "bc")),
        misled("next state allowed", "unbiased", "acd",
               "the next state depends on the action, so its value is no baseline.",
               also=("abcd", "d", "ad", "bd", "cd", "abd", "bcd")),
        misled("state values refused", "unbiased", "a",
               "a value that knows only the state, and earlier episodes, is a baseline."),
        misled("others refused", "unbiased", "c",
               "the others' returns know nothing of one's own action, so their mean is a baseline."),
        misled("standard deviation for variance", "episodes", 2236,
               "the number of episodes goes with the variance; that is not multiplied by a root.", also=(2237,)),
        misled("variance squared", "episodes", 200, "the ratio is of variances already; it is not squared once more."),
        misled("divided by the ratio", "episodes", 25000,
               "a ratio below 1 saves episodes: fewer than 5000 are needed, not more."),
        misled("part saved", "episodes", 4000, "0.2 is the part that is left, not the part that is saved."),
        misled("no variance left", "perfect", True,
               "the value removes what depends on the state; chance in actions and rewards stays."),
        misled("scale for precision", "normalized", True,
               "dividing makes mean and noise smaller together: the same number of episodes is needed."),
    ],
    read="lesson 3, from “What a baseline buys” on",
)
