"""Policy gradients, from the theorem to RLHF: the companion package of the course.

A map of the house. Each row may import the rows above it, never one below
(`tests/test_imports.py` holds us to it):

    tensors                     shape guards and masked means
    mdp                         exact tabular MDPs, the oracle        } pure functions, torch alone:
    distributions               softmax, Gaussian, squashed Gaussian  } no training loop,
    estimators                  returns, baselines, TD, GAE           } no environment,
    losses                      policy gradient, clip, KL, SAC, RLHF  } no global state

    networks optim              small MLPs, actor-critic, twin Q; Adam and the clip of a gradient's norm
    inputs                      layers in front of them: normalized observations, masks of valid actions
    envs masks rollout replay   vectorized Gymnasium environments, which actions are valid, collection, memory
    record crew fingerprint     history and checkpoints of a training; worker processes; what is stale

    reinforce a2c a3c ppo sac   one readable loop each: Config and train(...)
    rlhf                        the same PPO on a language model
    language                    lesson 7's language, whose modules stand in the rows where the test has them:
        grammar votes               its corpus, and the people's ratings behind their votes
        transformer                 a small causal transformer
        pretraining reward_model    the language model, and its reward learned from votes
        tiny_language               one small enough to enumerate
        rlhf_checkpoints            the script that trained the two models lesson 7 ships
        text_plots                  colored text, tables, panels
    capstone                    lesson 8: a hack of the reward model, readers who vote on it, the second round
    plots runs                  the pictures: curves with bands, agents in motion; saved runs
    simplex                     a policy of three actions in a triangle, and where learning steps lead it
    clinics                     runs of lessons 5, 6 and 7 with one planted bug each

    checks exercises            the engine: Exercise, Mistake, judge(), check(); a folder a lesson, a file an exercise
    notebook bets recall        the first cell of a lesson: how far you are, which cell was left out; bets on its pictures; old questions
    ballot                      A or B: the widget in which a person votes
    own_agent                   a learner's whole agent, judged by what it does in worlds that expose one fault each
    drill                       functions of the lessons done come back with one mistake in them
    classroom doctor            authoring (build) and instruction (a class, grading, reports)
    bench                       side by side with the peers: `make bench`
    cli                         the command `pgcourse`

Beside the package, `solutions/NN_name.py` is a lesson's one authored source; `pgcourse build` makes
`solutions/NN_name.ipynb` (solved) and `course/NN_name.ipynb` (the learner's) from it.
"""

import os
from typing import Any

__version__ = "0.2.0"


def fast(full: Any, quick: Any) -> Any:
    """`full`, or `quick` where PGCOURSE_FAST is set: tests shorten training, they never skip it."""
    return quick if os.environ.get("PGCOURSE_FAST", "") not in ("", "0") else full
