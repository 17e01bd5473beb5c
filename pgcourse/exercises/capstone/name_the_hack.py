"""What has the policy found, and why does the reward model not mind?"""

from pgcourse.capstone import recorded
from pgcourse.checks.core import Exercise
from pgcourse.exercises.families import answered, questions


def name_the_hack():
    """What has the policy found? Look at the table and the panels; return a dict with your answers.

    "hack"   : with beta = 0 the policy has learned to ...
               "a" praise in good sentences, and the gold raters are stricter than the others,
               "b" pile up pleasant words and clauses, whether or not they make a sentence,
               "c" stop early, so that the reward model sees little of it,
               "d" give one and the same answer to everything
    "breaks" : what has fallen? "score", "valence", "readable" or "length"
    "why"    : the reward model does not mind, since ...
               "a" the people who voted liked such answers,  "b" no vote was ever about such answers,
               "c" 4,000 votes are too few to learn what is pleasant
    "mends"  : which votes can mend it?
               "a" more votes on two answers from before,
               "b" votes on an answer from before and one from after,
               "c" votes on two answers from after
    """
    return {"hack": "b", "breaks": "readable", "why": "b", "mends": "b"}


FIRST = recorded()["first"]
START, END = ({key: FIRST[key][i] for key in FIRST} for i in (0, -1))
PARTS = {"the hack": 2, "the cause": 2}


def wrong(name, key, answer, says, why=""):
    return answered(name_the_hack, name, key, answer, f"“{key}”: {says}", why)


# fmt: off
EXERCISE = Exercise(
    reference=name_the_hack,
    driver="entry",
    gate=False,
    parts=PARTS | {"clean": 0},
    cases=questions(name_the_hack, PARTS),
    mistakes=[
        wrong("strict raters", "hack", "a",
              f"the held-out raters like its words ({END['valence']:.2f}, from {START['valence']:.2f}); but of the answers only "
              f"{END['readable']:.0%} are sentences, from {START['readable']:.0%}."),
        wrong("stops early", "hack", "c",
              f"answers have grown, from {START['length']:.0f} tokens to {END['length']:.0f}; an answer that is cut off scores -1."),
        wrong("one answer for all", "hack", "d",
              f"{END['distinct']:.0%} of the answers differ from one another. What they share is words, not the answer."),
        wrong("score taken for broken", "breaks", "score",
              f"the score rose, from {START['score']:.1f} to {END['score']:.1f}: it is what was paid for."),
        wrong("valence taken for broken", "breaks", "valence",
              f"the valence rose, from {START['valence']:.2f} to {END['valence']:.2f}; gold fell, and gold is -1 for what cannot be read."),
        wrong("length taken for broken", "breaks", "length",
              f"the length rose, from {START['length']:.0f} tokens to {END['length']:.0f}."),
        wrong("voters blamed", "why", "a",
              "nobody was ever shown such an answer: both answers of each old pair are the language model's own, "
              f"of which {START['readable']:.0%} are sentences."),
        wrong("number of votes blamed", "why", "c",
              "it knows very well what is pleasant; that is what the policy exploits. The votes are of the wrong kind, not too few."),
        wrong("more of the same", "mends", "a",
              "two answers from before say nothing about answers that nobody wrote before."),
        wrong("two of a kind", "mends", "c",
              f"only {END['readable']:.0%} of the answers from after are sentences: of two that are none, readers cannot say which is better.",
              "A vote teaches by what differs between its two answers."),
    ],
    read="lesson 8, “Red team”",
)
