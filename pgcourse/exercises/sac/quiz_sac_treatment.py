"""As few pieces as possible, and all that are ill."""

from pgcourse.checks.core import Case, Exercise
from pgcourse.checks.edits import telltale
from pgcourse.exercises.clinics import given_answers
from pgcourse.exercises.families import answered
from pgcourse.exercises.sac.quiz_sac_clinic import PATIENTS, SEEN


def quiz_sac_treatment():
    """Which pieces have to be replaced by yours to cure each patient? As few as possible.

    "target"            soft_q_target
    "critic_loss"       sac_critic_loss
    "actor_loss"        sac_actor_loss
    "temperature_loss"  temperature_loss
    "polyak"            polyak_update
    "logp"              squashed_gaussian_logp

    returns : dict, {"A": list of these names, …, "H": list}; in any order, [] for the healthy one
    """
    return {
        "A": ["temperature_loss"],
        "B": [],
        "C": ["target"],
        "D": ["target", "actor_loss"],
        "E": ["polyak"],
        "F": ["logp"],
        "G": ["actor_loss"],
        "H": ["target", "actor_loss"],
    }


PIECES = ("target", "critic_loss", "actor_loss", "temperature_loss", "polyak", "logp")
ILL = PATIENTS.replace("B", "")


def mistreated(name, patient, piece, says):
    return answered(quiz_sac_treatment, name, patient, [piece], f"{patient}: {says}")


def treatment(name, patient, pieces, says, is_it):
    """A family of wrong treatments of one patient: is_it(set of pieces given, set of those that are ill)."""
    ill = set(quiz_sac_treatment()[patient])

    def given(at):
        given = at[f"patient {patient}"]["out"]
        return isinstance(given, list) and set(given) <= set(PIECES) and is_it(set(given), ill)

    return telltale(
        f"{patient}{name}",
        f"{patient}: {says}",
        lambda: quiz_sac_treatment() | {patient: pieces},
        given,
    )


# fmt: off
EXERCISE = Exercise(
    reference=quiz_sac_treatment,
    driver="entry",
    gate=False,
    parts={f"patient {p}": 1 for p in PATIENTS} | {"clean": 0},
    cases=[Case(f"patient {p}", lambda g, p=p: dict(key=p, any_order=True, at_most=7), f"patient {p}") for p in PATIENTS],
    mistakes=[
        telltale("one treatment for all", "It treats all patients in the same way: that counts for none of them.",
                 lambda: dict.fromkeys(PATIENTS, ["target"]), lambda at: all("too often" in str(x) for x in given_answers(at))),
        telltale("no such piece", "It uses other names than those on the left of the list: 'target', not 'soft_q_target'.",
                 lambda: quiz_sac_treatment() | {"C": ["soft_q_target"]},
                 lambda at: any(isinstance(x, list) and set(map(str, x)) - set(PIECES) for x in given_answers(at))),
        treatment(": healthy, and treated", "B", ["target"],
                  "it plays well, its critic errs downward, its entropy comes down toward the target. "
                  "What is there to treat?", lambda given, ill: given),
        mistreated("target alone", "D", "target",
                   "the target is right now, but the actor's loss still lacks log pi: the policy stays deaf."),
        mistreated("actor alone", "D", "actor_loss",
                   "the actor is right now, but the critic still does not know that entropy will be paid."),
        mistreated("larger critic still in the actor", "H", "target",
                   "the target is right now, but the actor still climbs the larger critic."),
        mistreated("larger critic still in the target", "H", "actor_loss",
                   "the actor is right now, but the target still repeats what the larger critic overrates."),
        mistreated("critic's loss for the slow copy", "E", "critic_loss",
                   "its critic chases itself. The loss pulls it to the target as it should; what makes the target run along?"),
        mistreated("critic treated for a deaf actor", "G", "target",
                   "its critic learns, so its target is right. Through which loss does the policy hear of Q?"),
        mistreated("thermostat for the thermometer", "F", "temperature_loss",
                   "the temperature does what its loss should. The entropy that it is told is impossible: who computes it?"),
        *(treatment(": more than is ill", p, PIECES,
                    "what is ill is replaced, and something healthy too: as little as possible.",
                    lambda given, ill: given > ill) for p in ILL),
        *(treatment(": not all that is ill", p, [],
                    "nothing healthy is replaced, but something that is ill stays as it was.",
                    lambda given, ill: given < ill) for p in ILL),
        *(treatment(": something healthy for what is ill", p, ["polyak" if p == "F" else "logp"],
                    f"something healthy is replaced, and something that is ill stays. {SEEN[p]} "
                    "Which function has to do with that?",
                    lambda given, ill: not (given >= ill or given <= ill)) for p in ILL),
    ],
    read="lesson 6, “Treat a patient”",
)
