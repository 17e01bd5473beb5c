"""One asynchronous worker's update of the shared network."""

import torch

from pgcourse.a3c import a3c_push_gradients
from pgcourse.checks.compare import close
from pgcourse.checks.core import Case, Exercise
from pgcourse.checks.edits import edit, mistake, symptom
from pgcourse.exercises.actor_critic.networks import asynchronous
from pgcourse.exercises.baselines.inputs import F64

PAIRS = "zip(local.parameters(), shared.parameters(), strict=True)"
GRAD = "None if mine.grad is None else mine.grad.clone()"
COPY, STEP, CLEAR = f"theirs.grad = {GRAD}", "optimizer.step()", "local.zero_grad()"
NO_STEP, RATE = edit(STEP, ""), "optimizer.param_groups[0]['lr']"


def hand_push(g):
    return dict(
        shared=[(torch.tensor([[1.0, 2.0]]), torch.tensor([0.0]))],
        workers=[[(torch.tensor([[0.5, 1.5]]), torch.tensor([1.0]))]],
        pushes=[(0, [torch.tensor([[10.0, -10.0]]), torch.tensor([5.0])])],
        lr=0.1,
        left_over=False,
        keep="shared",
    )


def large_push(g):
    """The gradients that make a step are those of the worker, whatever their size."""
    args = asynchronous(g, "shared", 2)
    pushes = [
        (worker, [None if x is None else 1e4 * x for x in grads])
        for worker, grads in args["pushes"]
    ]
    return args | dict(pushes=pushes)


def some_right_after_one_push(at):
    case = "one push, two layers"
    right = [close(a, b) for a, b in zip(at[case]["out"][0], at.right(case)["out"][0], strict=True)]
    return any(right) and not all(right)


def copy(new):
    """Something else in place of the assignment."""
    return edit(COPY, new)


def gradient(new):
    """Something else than a copy of the gradient, where there is one."""
    return edit("mine.grad.clone()", new)


def by_hand(new):
    """The weights are moved without the optimizer."""
    return copy(new), NO_STEP


def end(new):
    return edit(CLEAR, f"{CLEAR}\n{new}")


def some(new):
    return edit(PAIRS, new), edit("for mine", "optimizer.zero_grad()\nfor mine")


MOVED = "if mine.grad is not None: theirs.data -= {} * mine.grad"
OWN_STEP = "if mine.grad is not None: mine.data -= {} * mine.grad"

# fmt: off
EXERCISE = Exercise(
    reference=a3c_push_gradients,
    driver="push_gradients",
    parts={"one push": 2, "push after push": 2, "the worker": 1, "memory": 1, "clean": 1},
    cases=[
        Case("one push", hand_push, "one push"),
        Case("one push, two layers", lambda g: asynchronous(g, "shared", 1), "one push"),
        Case("the steps of one push", lambda g: asynchronous(g, "steps", 1), "one push"),
        Case("three pushes of one worker", lambda g: asynchronous(g, "shared", 3), "push after push"),
        Case("two workers in turn", lambda g: asynchronous(g, "shared", 4, 2, dtype=F64), "push after push"),
        Case("a shared gradient left over", lambda g: asynchronous(g, "shared", 2, left_over=True), "push after push"),
        Case("a parameter that the loss does not reach",
             lambda g: asynchronous(g, "shared", 2, unreached=[(1, 1)], left_over=True), "push after push"),
        Case("an old gradient where the first loss does not reach",
             lambda g: asynchronous(g, "shared", 1, unreached=[(0, 1)], left_over=True), "push after push"),
        Case("how many gradients the optimizer finds",
             lambda g: asynchronous(g, "reached", 1, unreached=[(0, 1)]), "push after push"),
        Case("the worker's own weights and gradients", lambda g: asynchronous(g, "worker", 2, 2), "the worker"),
        Case("where the gradients are stored", lambda g: asynchronous(g, "memory", 2), "memory"),
        Case("gradients in the thousands", large_push, "push after push"),
        Case("how many gradients, the first and the last not reached",
             lambda g: asynchronous(g, "reached", 1, unreached=[(0, 0), (0, 3)]), "push after push"),
    ],
    mistakes=[
        mistake("copied only once",
                "It copies gradients only while the shared ones are None: every later push repeats the old ones.",
                copy(f"if theirs.grad is None: {COPY}"),
                why="Famous code did this and relied on who clears what; the network then learns from one old batch.",
                also=(edit("for mine", "if any(p.grad is not None for p in shared.parameters()): return\nfor mine"),
                      (edit("for mine", "if any(p.grad is not None for p in shared.parameters()): return\nfor mine"), edit(CLEAR, "")))),
        mistake("shared gradients add up", "It adds to the shared gradient: each step repeats all the pushes before.",
                copy(f"if theirs.grad is None: {COPY}\nelif mine.grad is not None: theirs.grad += mine.grad"),
                also=(copy(f"if theirs.grad is None or mine.grad is None: {COPY}\nelse: theirs.grad += mine.grad"),)),
        mistake("local gradients add up",
                "The worker's gradients are not cleared: its next backward pass adds to the old ones.", edit(CLEAR, "")),
        mistake("old gradient kept",
                "A parameter that the loss did not reach keeps its old shared gradient, and moves by it again.",
                copy("if mine.grad is not None: theirs.grad = mine.grad.clone()")),
        mistake("optimizer never steps",
                "The gradients arrive, but the optimizer does not step: the shared network stays as it is.", NO_STEP),
        mistake("optimizer not used", "It moves the shared weights by hand: the optimizer (Adam, say) is not asked.",
                *by_hand(MOVED.format(RATE)), also=tuple(by_hand(MOVED.format(rate)) for rate in (0.01, 0.001, 1.0))),
        mistake("nothing done", "It changes neither the shared network nor the worker's gradients.",
                edit("for mine", "return\nfor mine")),
        mistake("nothing arrives",
                "The gradients are cleared before they were copied, or before the step: nothing is pushed.",
                edit("for mine", f"{CLEAR}\nfor mine"),
                also=(edit(STEP, f"optimizer.zero_grad(set_to_none=False)\n{STEP}"), edit(STEP, f"optimizer.zero_grad()\n{STEP}"))),
        mistake("step before the copy", "The optimizer steps before the gradients are copied: a push moves by those of the push before.",
                NO_STEP, edit("for mine", f"{STEP}\nfor mine")),
        mistake("a step for every parameter",
                "The optimizer steps inside the loop: the first parameters move several times per push.",
                copy(f"{COPY}\n{STEP}"), edit(f"{STEP}\n{CLEAR}", CLEAR)),
        mistake("weights copied",
                "It overwrites the shared weights with the worker's: what the others learned is lost.",
                copy(f"{COPY}\ntheirs.data.copy_(mine.data)"),
                why="Workers push gradients and pull weights, never the other way around.",
                also=(copy(f"{COPY}\nif mine.grad is not None: theirs.data.copy_(mine.data)"), end("shared.load_state_dict(local.state_dict())"), by_hand("theirs.data.copy_(mine.data)"),
                      by_hand("theirs.data.copy_(0.5 * mine.data + 0.5 * theirs.data)"),
                      *(by_hand(f"{OWN_STEP.format(rate)}\ntheirs.data.copy_(mine.data)") for rate in (RATE, 0.01, 0.001)))),
        mistake("gradient scaled", "It pushes {c:.3g} times the gradient: a copy was asked for.", gradient("mine.grad * {c=0.5}")),
        mistake("gradient changed on the way", "It clips or normalizes the gradient: a copy was asked for.",
                gradient("mine.grad / (mine.grad.norm() + 1e-8)"),
                also=(gradient("mine.grad.sign()"), gradient("mine.grad.clamp(-1, 1)"),
                      *(edit("for mine", f"torch.nn.utils.clip_grad_norm_(local.parameters(), {c})\nfor mine") for c in (0.5, 1.0, 40.0)))),
        mistake("two steps", "The optimizer steps twice for one push.", edit(STEP, f"{STEP}\n{STEP}")),
        mistake("weights pulled", "It also copies the shared weights into the worker: pulling is a step of its own.",
                end("local.load_state_dict(shared.state_dict())")),
        mistake("weights pulled first", "It also copies the shared weights into the worker, those from before this push: pulling comes after it.",
                edit("for mine", "local.load_state_dict(shared.state_dict())\nfor mine")),
        mistake("sign", "It pushes minus the gradient: the shared loss rises.", gradient("-mine.grad")),
        mistake("averaged with the last gradient", "It averages with the gradient of the push before.",
                gradient("mine.grad.clone() if theirs.grad is None else (theirs.grad + mine.grad) / 2")),
        mistake("gradient memory shared", "The shared network is given the worker's own gradient tensor, not a copy of it.",
                gradient("mine.grad"), why="What one of the two does to its gradient then happens to the other's.",
                also=((gradient("mine.grad"), edit(f"{STEP}\n{CLEAR}", f"{CLEAR}\n{STEP}")), gradient("mine.grad.detach()"))),
        mistake("difference of weights", "It takes the difference of the weights for a gradient.",
                gradient("theirs.data - mine.data"), also=(gradient("mine.data - theirs.data"),)),
        mistake("weights for gradients", "It pushes the worker's weights where its gradients belong.", gradient("mine.data.clone()")),
        mistake("some parameters only", "Only some parameters get their gradient: the loop leaves others out.",
                *some(f"[*{PAIRS}][:1]"),
                also=(gradient("mine.grad.clone() if mine.dim() > 1 else None"), some(f"[*{PAIRS}][-1:]"), some(f"[*{PAIRS}][:-1]"))),
        mistake("worker steps too", "The worker's own weights are moved as well: only the shared network learns.",
                copy(f"{COPY}\n{OWN_STEP.format(RATE)}")),
        mistake("zeros for no gradient",
                "Where the worker has no gradient (None) it pushes zeros: leave the shared one at None.",
                edit("None if mine", "torch.zeros_like(theirs) if mine"),
                why="Adam moves a parameter whose gradient is 0 by its momentum; without one it leaves it alone."),
        symptom("some parameters wrong",
                "After one push some shared parameters are right and others are not: the loop treats them unequally.",
                (edit("for mine", "for i, (mine"), edit(f"theirs in {PAIRS}", f"theirs) in enumerate({PAIRS})"), edit("None if mine.grad is None", "None if mine.grad is None or i > 1")),
                some_right_after_one_push),
        symptom("wrong after one push",
                "Already after the first push the shared network is elsewhere: "
                "it should move by one step of its optimizer, on a copy of the worker's gradients.",
                gradient("mine.grad + 0.01 * theirs.data"), lambda at: "one push" in at.wrong_parts),
        symptom("wrong where a gradient is missing",
                "It is right but for a parameter that the loss did not reach: its gradient is None, and so is the shared one.",
                edit("None if mine", "torch.ones_like(theirs) if mine"),
                lambda at: at.right_in("three pushes of one worker", "a shared gradient left over")
                and not at.right_in("a parameter that the loss does not reach")),
        symptom("right for one push only",
                "One push between fresh networks is right, another is not: an old gradient, of one network or the other, still counts.",
                gradient("mine.grad + (0 if theirs.grad is None else 0.5 * theirs.grad)"),
                lambda at: "push after push" in at.wrong_parts),
        symptom("worker left otherwise",
                "The shared network is right, but the worker is not left as it was with its gradients cleared.",
                end("for mine in local.parameters(): mine.data *= 0.9"), lambda at: at.wrong_parts == {"the worker"}),
    ],
    read="lesson 4, “Asynchronous: A3C”; Mnih et al. 2016, algorithm S3",
)
