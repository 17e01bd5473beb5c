"""Which piece of RLHF plays which part."""

from pgcourse.checks.core import Case, Exercise
from pgcourse.exercises.families import answered


def quiz_mapping():
    """Which piece of RLHF plays which part of reinforcement learning? Answer with letters.

    policy, state, action, reward: one of
        a  the next token of the answer            e  the reward model, trained on people's votes
        b  the prompt and the answer so far        f  the frozen reference model
        c  the language model                      g  the critic
        d  a person who rates every answer while the model learns

    algorithm: one of
        p  supervised learning on the better answers
        q  an algorithm of its own, made for language models
        r  PPO, the update of lesson 5 as it is
        s  reward model first, then gradient ascent through it into the language model
    """
    return dict(policy="c", state="b", action="a", reward="e", algorithm="r")


def misplaced(name, key, letters, says, why=""):
    """One of these letters is given for `key`, whatever the other answers are."""
    first, *rest = letters
    return answered(quiz_mapping, name, key, first, f"“{key}”: {says}", why, tuple(rest))


# fmt: off
EXERCISE = Exercise(
    reference=quiz_mapping,
    driver="entry",
    gate=False,
    parts={"the environment": 3, "the algorithm": 2, "clean": 0},
    cases=[
        Case("the policy", lambda g: dict(key="policy"), "the environment"),
        Case("the state", lambda g: dict(key="state"), "the environment"),
        Case("the action", lambda g: dict(key="action"), "the environment"),
        Case("the reward", lambda g: dict(key="reward"), "the environment"),
        Case("the algorithm", lambda g: dict(key="algorithm"), "the algorithm"),
    ],
    mistakes=[
        misplaced("a different algorithm", "algorithm", "q",
                  "RLHF is a problem, not an algorithm of its own: here PPO solves it, with a learned reward model.",
                  "The update that balanced a pole in lesson 5 is called here, not a line changed."),
        misplaced("supervised learning", "algorithm", "p",
                  "imitating the better answers has no exploration and no reward: that is fine-tuning."),
        misplaced("gradient through the reward model", "algorithm", "s",
                  "tokens are sampled, and no gradient passes through a sample: hence a policy gradient."),
        misplaced("letter from the other list", "algorithm", "abcdefg", "it is one of p, q, r, s."),
        misplaced("the reference as the policy", "policy", "f",
                  "the reference never changes; the policy is the copy that learns."),
        misplaced("the reward as the policy", "policy", "e",
                  "the reward model judges answers; the policy is what writes them."),
        misplaced("the critic as the policy", "policy", "g",
                  "the critic predicts what an answer will be worth; the policy is the actor, which writes it."),
        misplaced("the policy is what acts", "policy", "abd",
                  "it is a model that gives each possible next token a probability, and that is trained."),
        misplaced("the action as the state", "state", "a",
                  "the next token is what the policy does; the state is what it sees before."),
        misplaced("a model as the state", "state", "cdefg",
                  "it is what the policy sees when it chooses: the place of the pole's position and speed."),
        misplaced("the state as the action", "action", "b",
                  "the history is what the policy sees; the action is what it adds."),
        misplaced("a model as the action", "action", "cdefg",
                  "it is what is drawn from the policy's distribution at each step."),
        misplaced("a person in the loop", "reward", "d",
                  "people voted once, before; what pays every answer is a model that learned from the votes.",
                  "Thousands of answers are scored in each run: no person could."),
        misplaced("the critic as the reward", "reward", "g",
                  "the critic predicts the return; it does not pay it. The critic is trained along, the reward is not."),
        misplaced("the reference as the reward", "reward", "f",
                  "the reference only sets the price of leaving it; what an answer earns comes from the votes."),
        misplaced("no judge as the reward", "reward", "abc", "it is what gives a finished answer its score."),
    ],
    read="lesson 7, “The same table, filled in again”",
)
