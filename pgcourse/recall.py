"""Old questions return: three in each lesson from two lessons back, answered by a choice or by a number.

    recall("03")               shows the three of lesson 1 in a notebook
    recall("03", 2, 0.75)      answers the second one without a widget; returns what is said to it

Nothing is graded or kept. A question that is answered a second time, days later, is remembered better than one that
is read twice (Roediger & Karpicke 2006).
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from html import escape
from typing import Any


@dataclass(frozen=True)
class Question:
    """One old question.

    asks    : the question
    right   : the right one of the choices, or a number
    others  : the wrong choices; empty for a number
    because : said with the answer
    """

    asks: str
    right: object
    others: tuple = ()
    because: str = ""

    @property
    def choices(self) -> list:
        """In an order that says nothing: by the alphabet."""
        return sorted((self.right, *self.others), key=str.lower) if self.others else []

    def says(self, answer: Any) -> str:
        """Whether an answer is right, and why. raises: ValueError for what is no answer"""
        if self.others:
            if answer not in self.choices:
                raise ValueError(f"expected one of {self.choices}; got {answer!r}.")
            good = answer == self.right
        else:
            number = float(answer)
            if not math.isfinite(number):
                raise ValueError(f"expected a number; got {answer!r}.")
            good = abs(number - self.right) <= 0.01 * max(abs(self.right), 0.5)
        return f"✓ {self.because}" if good else f"✗ Not that. {self.because}"


QUESTIONS = {
    "03": [  # of lesson 1
        Question(
            "Two actions, preferences (0, log 3). What is π(second action)? A number.",
            0.75,
            because="e^(log 3) / (1 + 3) = 3/4.",
        ),
        Question(
            "What is the average of the score ∇log π(a), over actions drawn from π itself?",
            "zero",
            ("the gradient of J", "one", "it depends on the rewards"),
            "The probabilities sum to 1 whatever θ is, so their gradients sum to 0.",
        ),
        Question(
            "The theorem raises an action's preference in a state where …",
            "its Q is above the policy's average there",
            ("its Q is positive", "it was taken most often", "its reward is the largest"),
            "The entry is d(s) π(b|s) (Q(s, b) − V(s)).",
        ),
    ],
    "04": [  # of lesson 2
        Question(
            "Rewards 1, 0, 2, then the episode ends; γ = 0.5. What is G_0? A number.",
            1.5,
            because="1 + 0.5 · 0 + 0.25 · 2 = 1.5.",
        ),
        Question(
            "100 episodes leave a standard error of 0.2. How many for 0.1? A number.",
            400,
            because="The error falls with the root of the number of episodes: half of it costs four times as many.",
        ),
        Question(
            "What becomes of an agent whose returns run on into the next episode?",
            "it learns little or nothing, and nothing warns",
            ("it raises an error", "it learns a little more slowly, no more", "nothing: it averages out"),
            "In lesson 2 ten such runs ended below 100 on CartPole, half of them below a policy that acts at random.",
        ),
    ],
    "05": [  # of lesson 3
        Question(
            "A return of 5, and V(s) = 8. What does the action's score get multiplied by? A number.",
            -3,
            because="The advantage, G − V = −3: a reward that is less than expected pushes the action down.",
        ),
        Question(
            "Which of these baselines changes the mean of the gradient?",
            "one that looks at the action taken",
            ("one that depends on the state", "the mean return of the other episodes", "the number 1000"),
            "What does not depend on the action multiplies a score that averages to zero.",
        ),
        Question(
            "The explained variance of a baseline is 0. Does it help?",
            "it may: a constant explains nothing and can remove most of the noise",
            ("no: it explains nothing", "no: it must be above 0", "yes, always"),
            "Explained variance is about returns; what counts is the variance of the gradient.",
        ),
    ],
    "06": [  # of lesson 4
        Question(
            "r = 1, γ = 0.9, V(next) = 10, and the episode was cut by a time limit. The TD target? A number.",
            10,
            because="1 + 0.9 · 10: a time limit is not the end of the task, so the next value counts.",
        ),
        Question(
            "The same, but the task was over (terminated). The TD target? A number.",
            1,
            because="Nothing follows: the target is the reward alone.",
        ),
        Question(
            "λ = 0 in GAE …",
            "trusts the critic: little noise, and all of its bias",
            ("trusts the rewards: no bias, much noise", "switches the critic off", "is another discount"),
            "λ = 0 is the one-step TD error; λ = 1 is the return minus V.",
        ),
    ],
    "07": [  # of lesson 5
        Question(
            "ρ = 1.5, A = 2, clip 0.2. What does PPO's objective count for this sample? A number.",
            2.4,
            because="min(1.5 · 2, 1.2 · 2) = 2.4, and its gradient is zero.",
        ),
        Question(
            "ρ = 0.5, A = 2, clip 0.2. Is the gradient zero?",
            "no: the action was good and became rarer, so it is pushed back up",
            ("yes: ρ is outside of the window", "yes: A is positive", "no: outside of the window it is never zero"),
            "min(0.5 · 2, 0.8 · 2) = 1 = ρA: the clip is silent, the gradient lives.",
        ),
        Question(
            "What does the ratio NOT correct in old data?",
            "which states were visited",
            ("which actions were taken", "the sign of the advantage", "the number of epochs"),
            "The states are those to which the old policy went.",
        ),
    ],
    "08": [  # of lessons 5 and 6
        Question(
            "r = 1, γ = 0.9, the two next Qs are 5 and 4, log π(a'|s') = −1, α = 0.2. SAC's target? A number.",
            4.78,
            because="1 + 0.9 · (min(5, 4) − 0.2 · (−1)) = 1 + 0.9 · 4.2.",
        ),
        Question(
            "Why does SAC's target take the smaller of two Qs?",
            "an actor that maximizes Q finds its errors, and they all point up",
            ("the larger one is older", "two networks learn twice as fast", "it keeps the entropy high"),
            "The same happens in this lesson: what is maximized is found out.",
        ),
        Question(
            "The ratio is 1.3 before an update's first step. What does that mean?",
            "old and new log-probabilities are not of the same policy or the same actions",
            ("the learning rate is too large", "the clip is too wide", "nothing: it is within two windows"),
            "Before a step nothing has moved, so every ratio must be 1.",
        ),
    ],
}  # fmt: skip


def recall(lesson: str, number: int | None = None, answer: Any = None) -> str | None:
    """Show the three old questions of a lesson; with a number and an answer, say whether that is right.

    lesson : "03" to "08"; number: 1 to 3
    raises : ValueError if the answer is none of the choices, or no number
    """
    questions = QUESTIONS[lesson]
    if number is not None:
        return questions[number - 1].says(answer)
    try:
        from IPython import get_ipython
        from IPython.display import display

        if get_ipython() is None:
            raise ImportError
        display(form(questions))
    except ImportError:
        for i, q in enumerate(questions, 1):
            print(f"{i}. {q.asks} {'  '.join(f'[{c}]' for c in q.choices)}")
        print(f'To answer the first one: recall("{lesson}", 1, …)')
    return None


def form(questions: Sequence[Question]) -> Any:
    """The questions as widgets: choices, or a field for a number."""
    import ipywidgets as w

    class RecallForm(w.VBox):
        """Named, so that a page without a kernel knows it and leaves it out."""

    parts = []
    for i, q in enumerate(questions, 1):
        said = w.HTML()

        def tell(change, q=q, said=said):
            try:
                said.value = escape(q.says(change["new"]))
            except ValueError as error:
                said.value = escape(str(error))

        if q.others:
            field = w.RadioButtons(
                options=q.choices,
                value=None,
                description=f"Answer {i}:",
                layout={"width": "max-content"},
            )
        else:
            field = w.Text(
                description=f"Answer {i}:",
                placeholder="a number, then Enter",
                continuous_update=False,
            )
        field.observe(tell, names="value")
        parts += [w.HTML(f"<b>{i}. {escape(q.asks)}</b>"), field, said]
    return RecallForm(parts)
