"""Policy gradients, from the theorem to RLHF: the companion package of the course.

A map of the house. Each row may import the rows above it, never one below
(``tests/test_imports.py`` holds us to it)::

    tensors                    shape guards and masked means
    mdp                        exact tabular MDPs: J, Q, occupancy, gradient; the oracle  } pure functions,
    distributions              softmax, Gaussian, tanh-squashed Gaussian                  } torch alone:
    estimators                 returns, baselines, TD targets, GAE, group advantages      } no training loop,
    losses                     policy gradient, value, clip, KL, SAC, Bradley-Terry       } no environment

    networks transformer optim small MLPs, actor-critic, twin Q; a causal transformer
    envs rollout replay        vectorized Gymnasium environments, collection, memory
    votes language             the corpus of lesson 7 and the people's ratings behind it

    reinforce a2c a3c ppo sac  one readable loop each: Config and train(...)
    rlhf                       the same PPO on a language model with a learned reward
    plots                      the pictures: curves with bands, agents in motion

    checks                     Exercise, Pitfall, judge(), check(); one module a lesson
    classroom                  authoring (build) and instruction (a class, grading, reports)
    cli                        the command ``pgcourse``

Beside the package: ``solutions/NN_name.py`` is a lesson's one authored source, from which
``pgcourse build`` makes ``solutions/NN_name.ipynb`` (solved) and ``course/NN_name.ipynb`` (the learner's).
"""

import os

__version__ = "0.1.0"


def fast(full, quick):
    """Return ``full``, or ``quick`` where PGCOURSE_FAST is set (tests: shorter training, nothing skipped)."""
    return quick if os.environ.get("PGCOURSE_FAST", "") not in ("", "0") else full
