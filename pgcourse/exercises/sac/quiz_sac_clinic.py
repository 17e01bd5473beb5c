"""Eight runs, eight diagnoses."""

from pgcourse.exercises.clinics import clinic


def quiz_sac_clinic():
    """Eight runs, eight diagnoses: which number belongs to which patient? Each is used once.

    1  healthy: no bug
    2  no entropy: target and actor loss lack the term with log pi
    3  target and actor use the LARGER of the two critics
    4  the done mask of the target is inverted
    5  the temperature steers toward minus the target entropy
    6  tau and 1 - tau are swapped in polyak_update
    7  the actor's loss detaches the critics: no gradient from Q reaches the policy
    8  logp lacks the tanh correction: it is the Gaussian's density of u

    returns : dict, {"A": number, "B": number, …, "H": number}
    note    : a number that is given to two patients counts for neither
    """
    return {"A": 5, "B": 1, "C": 4, "D": 2, "E": 6, "F": 8, "G": 7, "H": 3}


PATIENTS = "ABCDEFGH"
SEEN = {
    "A": "Its temperature explodes, and its entropy is as high as it can be.",
    "B": "It plays well, its critic errs downward, and its entropy comes down toward the target.",
    "C": "It never learns to play, and its Q stays far above what follows.",
    "D": "It plays well, while its temperature explodes and its entropy is far below the target.",
    "E": "Its Q soon runs far below what follows, and it hardly learns to play.",
    "F": "Its entropy is above log 2, more than any density on (-1, 1) has, and its actions are at the bounds.",
    "G": "It never learns to play, although its Q comes closer and closer to what follows.",
    "H": "It plays well, its entropy comes down toward the target, and its Q ends close to what follows.",
}
# fmt: off
WOULD = {  # diagnosis: (what it is called, what it does to the curves)
    1: ("no bug", "A healthy run plays well, and the minimum of two critics errs downward."),
    2: ("no entropy", "A policy that does not listen to the price has an entropy far below the target."),
    3: ("the larger critic", "With the larger of two critics all looks well, but Q lies far higher than with the smaller."),
    4: ("an inverted mask", "With an inverted mask Q is the reward of one step, too high for ever."),
    5: ("a target out of reach", "With a target above log 2 the temperature grows without end."),
    6: ("tau swapped", "With a target that follows at once, the critic runs after itself."),
    7: ("detached critics", "Detached critics learn as usual; the policy just never hears of them."),
    8: ("no correction", "Without the correction the entropy is miscalculated, and u may run off."),
}
CONFUSED = {  # what is answered most: (patient, number): (name, sentence)
    ("A", 2): ("unreachable target taken for deafness",
               "its entropy is as high as it can be, so the policy does follow the temperature. "
               "What does the temperature want?"),
    ("A", 4): ("blindness taken for a high price",
               "its temperature explodes. A wrong done mask would not touch the temperature's loss."),
    ("D", 5): ("deafness taken for an unreachable target",
               "its entropy falls and falls while the temperature explodes: the policy does not listen to the price at all."),
    ("H", 1): ("larger critic taken for healthy",
               "the return is fine. Look at where Q minus what followed ends: the minimum of two critics errs downward, "
               "as in your own runs. Does this one?"),
    ("C", 7): ("blind critic taken for a deaf actor",
               "its critic is wrong from beginning to end: Q stays far above what follows. A detached critic would still learn."),
    ("G", 4): ("deaf actor taken for a blind critic",
               "its critic learns: Q comes closer and closer to what follows. Then who does not use it?"),
    ("F", 5): ("impossible entropy taken for a high target",
               "its temperature falls, so the temperature is content. But no density on (-1, 1) has an "
               "entropy above log 2: who computes that number?"),
    ("E", 7): ("runaway critic taken for an honest one",
               "its Q soon runs far below what follows. What lets a critic chase itself?"),
}


EXERCISE = clinic(quiz_sac_clinic, SEEN, WOULD, CONFUSED, "lesson 6, “The bug clinic”")
