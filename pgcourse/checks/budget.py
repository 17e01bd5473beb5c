"""How long is looked for what a wrong answer does: CPU seconds of this process, said here and nowhere else.

CARD    until the card is there, the learner's function and the reference on every case included
NAME    for a name in all, where that was not enough: the card is completed, a graded run waits for it
LINE    for the line of the mistake, when the card is there
"""

CARD = 0.75
NAME = 4.0
LINE = 1.8
LINE_OF_A_CLASS = 1.5  # for each wrong answer that was handed in
SMALLER = 0.4  # for a smaller change, when one is found
CANDIDATE = 0.1  # for one call of an edited function, or 20 times what the reference takes
