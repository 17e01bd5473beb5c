"""Seven questions on who is who."""

from pgcourse.checks.core import Case, Exercise
from pgcourse.exercises.actor_critic.actor_critic_step import BOTH
from pgcourse.exercises.families import answered


def quiz_actor_or_critic():
    """Seven questions on who is who. Run the experiments above first; return a dict with your answers.

    "acts"       : training is over. Who is needed to act? "actor", "critic" or "both"
    "td"         : whose loss is the squared TD error? "actor", "critic" or "both"
    "better"     : an action turned out better than expected, y > V(s). Its updates raise ...
                   "a" log pi(a|s) only,  "b" log pi(a|s) and V(s),
                   "c" log pi(a|s), and lower V(s)
    "live"       : somebody forgets to detach A = y - V(s) in the actor's loss. That loss then pushes
                   V(s) ...  "a" toward y,  "b" up, whatever y is,  "c" nowhere
    "residual"   : somebody forgets to detach y in the critic's loss. The critic ...
                   "a" learns the same values, more slowly,  "b" diverges,
                   "c" settles at other values where the next state is random
    "time limit" : r = 1, gamma = 0.5, a time limit cuts the episode in s' with V(s') = 8; the next
                   episode begins in a state of value 20. The TD target y? (a number)
    "unbiased"   : the critic is wrong. Which lambda, 0 or 1, gives an unbiased policy gradient? (a number)
    """
    return {
        "acts": "actor",
        "td": "critic",
        "better": "b",
        "live": "b",
        "residual": "c",
        "time limit": 5.0,
        "unbiased": 1.0,
    }


PARTS = ["who is who"] * 2 + ["where gradients go"] * 3 + ["targets"] * 2


def mistaken(name, key, answer, says, also=(), why=""):
    return answered(quiz_actor_or_critic, name, key, answer, f"“{key}”: {says}", why, also)


# fmt: off
EXERCISE = Exercise(
    reference=quiz_actor_or_critic,
    driver="entry",
    parts={"who is who": 2, "where gradients go": 3, "targets": 2, "clean": 1},
    cases=[
        Case(f"the question “{key}”", lambda g, key=key: {"key": key}, part)
        for key, part in zip(quiz_actor_or_critic(), PARTS, strict=True)
    ],
    mistakes=[
        mistaken("critic acts", "acts", "critic", "the critic says what a state is worth; it has no actions to offer.", why=BOTH),
        mistaken("both act", "acts", "both",
                 "the critic serves training only; throw it away and the policy plays as before."),
        mistaken("actor learns by TD", "td", "actor",
                 "the actor's loss is -log pi times the advantage; the squared TD error is a regression of values.", why=BOTH),
        mistaken("both learn by TD", "td", "both",
                 "the TD error appears in both losses, but only one squares it: for the actor it is a weight, with a sign.", why=BOTH),
        mistaken("critic not updated", "better", "a",
                 "the critic is updated as well: y > V(s) means that V(s) was too low."),
        mistaken("value falls", "better", "c", "V(s) moves toward y, and y is above it."),
        mistaken("live advantage taken for TD", "live", "a",
                 "differentiate -log pi * (y - V) with respect to V: the result, log pi, does not contain y.",
                 why="No error enters, so nothing stops the push where V is right."),
        mistaken("live advantage taken for a constant", "live", "c",
                 "A contains V(s), so without detach() the actor's loss has a gradient into the critic."),
        mistaken("residual gradient taken for slow TD", "residual", "a",
                 "look at the values it settled at in the experiment: B and C are off."),
        mistaken("residual gradient taken for unstable", "residual", "b",
                 "it is gradient descent on a loss, so with small steps it converges; the question is to what."),
        mistaken("time limit taken for an end", "time limit", 1.0,
                 "the clock stopped, the task did not: y still contains gamma V(s')."),
        mistaken("value of the reset state", "time limit", 11.0,
                 "20 is the value of another episode's first state; the true next state is s'.", also=(10, 21)),
        mistaken("value not discounted", "time limit", 9.0, "V(s') is one step ahead, so it counts gamma times."),
        mistaken("reward missing", "time limit", 4.0, "the reward of the step itself is in the target too."),
        mistaken("lambda 0 taken for unbiased", "unbiased", 0.0,
                 "with lambda = 0 everything after one step comes from the critic, errors included."),
    ],
    read="lesson 4, “The matrix of gradients” and the experiments after it",
)
