"""Six questions on what the clip does."""

from pgcourse.checks.core import Case, Exercise
from pgcourse.exercises.families import answered


def quiz_clip():
    """Six questions on what the clip does. Run the ablation first; return a dict with your answers.

    "same data"  : both policies learn from one and the same rollout, for many epochs. The KL of the one
                   without the clip, after the last epoch, is ...
                   "a" about as large as with the clip,  "b" at least five times as large,
                   "c" smaller
    "training"   : with big steps, the runs without the clip ...
                   "a" reach the same return a little later,  "b" reach the same return sooner,
                   "c" end far below the runs with the clip
    "gradient 1" : advantage +2, ratio 1.3, clip 0.2. The derivative of this step's loss, the minimum
                   with its minus sign, with respect to logp? (a number)
    "gradient 2" : the same with advantage -2 (a number)
    "window"     : does the clip keep every ratio within 0.8 ... 1.2?  "a" yes, always,
                   "b" no: it removes the reason to go further out, but a step can still overshoot,
                   "c" no: it applies to positive advantages only
    "role"       : the clip is ...  "a" optional polish,  "b" what makes several big steps on the same data
                   safe,  "c" a bound on the size of the gradient
    """
    return {
        "same data": "b",
        "training": "c",
        "gradient 1": 0.0,
        "gradient 2": 2.6,
        "window": "b",
        "role": "b",
    }


CLIP_PARTS = {"the experiment": 2, "the gradient": 2, "what it is for": 2}

# fmt: off
EXERCISE = Exercise(
    reference=quiz_clip,
    gate=False,
    driver="entry",
    parts=CLIP_PARTS | {"clean": 0},
    cases=[
        Case(f"the question “{key}”", lambda g, key=key: {"key": key}, part)
        for key, part in zip(
            quiz_clip(), [part for part in CLIP_PARTS for _ in range(2)], strict=True
        )
    ],
    mistakes=[
        answered(quiz_clip, "same step with and without", "same data", "a",
                 "“same data”: look at the KL panel again; its axis is logarithmic.",
                 "Nothing else differs between the two: the same policy, the same rollout, the same order."),
        answered(quiz_clip, "clip taken for an accelerator", "same data", "c",
                 "“same data”: the clip takes gradients away where the policy has moved far; "
                 "without it the policy goes further, not less far."),
        answered(quiz_clip, "clip taken for polish", "training", "a",
                 "“training”: the runs without the clip do not arrive later; compare where they end."),
        answered(quiz_clip, "clip taken for a brake", "training", "b",
                 "“training”: a big step is not progress. Look where the runs without the clip end."),
        answered(quiz_clip, "gradient above the window", "gradient 1", -2.6,
                 "“gradient 1”: with a positive advantage the minimum picks the clamped term above 1 + clip; "
                 "it does not depend on logp."),
        answered(quiz_clip, "gradient of the clamped value", "gradient 1", -2.4,
                 "“gradient 1”: 1.2 times 2 is the VALUE of the clipped term; it is constant there.",
                 also=(2.4,)),
        answered(quiz_clip, "no way back", "gradient 2", 0.0,
                 "“gradient 2”: a bad action has become MORE probable. The minimum picks the unclipped term, "
                 "so that the gradient can bring it back.",
                 also=(0,)),
        answered(quiz_clip, "sign of the way back", "gradient 2", -2.6,
                 "“gradient 2”: the loss is MINUS rho A, with A = -2; the derivative of rho with respect to logp is rho."),
        answered(quiz_clip, "derivative of the ratio forgotten", "gradient 2", 2.0,
                 "“gradient 2”: the derivative of rho = exp(logp - logp_old) with respect to logp is rho, not 1.",
                 also=(2,)),
        answered(quiz_clip, "clip taken for a wall", "window", "a",
                 "“window”: the clip fraction counts ratios OUTSIDE the window, and it was not 0 in the runs with the clip."),
        answered(quiz_clip, "clip for gains only", "window", "c",
                 "“window”: with a negative advantage it binds below 1 - clip; see the picture of the four corners."),
        answered(quiz_clip, "optional polish", "role", "a",
                 "“role”: without it, this lesson's runs with big steps collapsed. That is more than polish."),
        answered(quiz_clip, "gradient norm for clip", "role", "c",
                 "“role”: bounding the gradient is max_grad_norm's job; the runs without the clip had it, too."),
    ],
    read="lesson 5, “Is the clip optional polish?”",
)
