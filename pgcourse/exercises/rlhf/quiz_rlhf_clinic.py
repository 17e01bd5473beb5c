"""Eight patients, eight bugs."""

from pgcourse.exercises.clinics import clinic


def quiz_rlhf_clinic():
    """Eight patients, eight bugs: which number belongs to which patient? Each is used once.

    1  the sampler draws at temperature 0.7; the answers are scored at 1
    2  answers are cut after 8 tokens, and an end token that nobody drew is written there
    3  the score is put on the last column of the batch: for most answers, on padding
    4  the KL to the reference is paid for, not charged: its sign is reversed
    5  the KL is taken out of the reward, and its estimate k1 added to the loss
    6  the reference is not frozen: it is the policy itself
    7  dropout is left on in the policy
    8  the reward model took the rejected answers for the chosen ones

    returns : dict, {"A": number, "B": number, …, "H": number}
    note    : a number that is given to two patients counts for neither
    """
    return {"A": 3, "B": 6, "C": 7, "D": 8, "E": 4, "F": 1, "G": 5, "H": 2}


SEEN = {
    "A": "Its score and its gold stay where they began, and its KL stays small: it learns next to nothing.",
    "B": "By its own report its KL is 0 from the first iteration to the last, while its answers grow long and its gold falls.",
    "C": "Its first ratio error is not 0: before any step the two scorings of one answer disagree.",
    "D": "Its score rises while its gold falls, at a KL and a length like those of healthy runs.",
    "E": "Its KL is far above all healthy ones, and its score below theirs.",
    "F": "Its sampler gap is open, while its first ratio error is 0 and its answers end up as long as healthy ones.",
    "G": "Its KL is far above all healthy ones, and so is its score, while its gold falls to −1.",
    "H": "Its answers have 8 tokens at most, and its sampler gap is open.",
}
# fmt: off
WOULD = {  # diagnosis: (what it is called, what it does to the gauges)
    1: ("another temperature", "Another temperature opens the sampler gap, and leaves the first ratio and the length alone."),
    2: ("a forced end", "A forced end puts a ceiling on the length."),
    3: ("a score on padding", "A score on padding is masked away: what is left to learn from?"),
    4: ("the sign of the KL", "A KL that is paid for grows as fast as it can, and the score is no longer what counts."),
    5: ("k1 in the loss", "On average k1's gradient is 0: nothing holds the policy, and the score is all that counts."),
    6: ("a reference that moves", "Whoever is compared with itself reports a KL of exactly 0."),
    7: ("dropout", "Dropout draws anew in each pass: not only the sampler gap but the first ratio is off, too."),
    8: ("votes backwards", "With the votes backwards the gold falls as the score rises, and the price holds the policy as usual."),
}
CONFUSED = {  # what is answered most: (patient, number): (name, sentence)
    ("A", 6): ("a small KL taken for none",
               "its KL is small, but not exactly 0. And a policy without a price would go after the score; this one does not."),
    ("B", 5): ("a blind gauge taken for a lost price",
               "its KL is exactly 0 in its own report, while its answers change beyond recognition. What are they compared with?"),
    ("B", 8): ("over-optimization taken for wrong votes",
               "its gold falls, but look at its KL: exactly 0. Wrong votes would not do that to it."),
    ("C", 1): ("the ratio overlooked",
               "its sampler gap is open, but so is its first ratio, which no sampler can touch: there both "
               "log-probabilities come from scoring."),
    ("D", 6): ("wrong votes taken for over-optimization",
               "its gold falls, but its KL is reported, of a healthy size, and its answers are as long as healthy ones: nothing ran away. Who is wrong about what is good?"),
    ("E", 5): ("a wish taken for a lost price",
               "its KL grows although its score suffers for it: with the price merely lost, the score would be all that counts."),
    ("F", 7): ("dropout taken for the sampler",
               "its first ratio error is 0: the two scorings agree, so there is no noise in the network. What else can open the gap?"),
    ("F", 2): ("the length overlooked", "its answers end up as long as healthy ones. Which other sampler opens the gap?"),
    ("G", 4): ("a lost price taken for a wish",
               "its score is above all the healthy ones: it goes after the score. Whoever is paid for KL goes after that."),
    ("G", 6): ("a large KL taken for a blind gauge",
               "its report does show a KL, and a large one, so it is compared with something that stayed where it was."),
    ("H", 1): ("the ceiling overlooked", "its sampler gap is open. Now look at the length: where does it stop, in each of its runs?"),
}


EXERCISE = clinic(quiz_rlhf_clinic, SEEN, WOULD, CONFUSED, "lesson 7, “The bug clinic”")
