"""A slow copy."""

from itertools import pairwise

import torch

from pgcourse.checks.compare import close
from pgcourse.checks.core import Case, Exercise
from pgcourse.checks.edits import edit, mistake, telltale
from pgcourse.checks.make_inputs import normal
from pgcourse.exercises.sac.facts import fact, nearly_right, outs, partly_right
from pgcourse.exercises.sac.inputs import F64, fixed
from pgcourse.networks import polyak_update


def layers(g, *sizes, dtype=torch.float32):
    return [
        (normal(g, n_out, n_in, dtype=dtype), normal(g, n_out, dtype=dtype))
        for n_in, n_out in zip(sizes, sizes[1:], strict=False)
    ]


def following(
    g,
    sizes=(3, 4, 2),
    taus=(0.1,),
    frozen=True,
    buffers=False,
    dtype=torch.float32,
    keep="parameters",
):
    def some(count):
        counter = count + torch.randint(50, (1,), generator=g)
        return [normal(g, 3, dtype=dtype), counter] if buffers else []

    return dict(
        target=layers(g, *sizes, dtype=dtype),
        online=layers(g, *sizes, dtype=dtype),
        target_buffers=some(0),
        online_buffers=some(100),
        taus=list(taus),
        move=0.5,
        frozen=frozen,
        keep=keep,
    )


def one_layer(target, online):
    """Networks of one weight and one bias."""
    one, other = ([(torch.tensor([[w]]), torch.tensor([b]))] for w, b in (target, online))
    return lambda g: following(g) | dict(target=one, online=other)


still = fixed(following)
moving = fixed(lambda g: following(g, (2, 3, 1), (1.0, 0.2, 0.005)))
ONE, SLOWLY, KEEPS = "one weight and one bias", "two layers, slowly", "tau = 0 keeps, in float64"
SAME, MOVES, BESIDE = (
    "the same for every seed",
    "an online network that moves",
    "a parameter beside the layers",
)

# --- signs of families ---


def parameters(args, network="target"):
    return [x for layer in args[network] for x in layer]


def followed(at):
    """What became of each parameter in the case with fixed numbers; [] if the shapes are others."""
    out, before = at[SAME]["out"], parameters(still(None))
    fits = isinstance(out, list) and [x.shape for x in out[0]] == [x.shape for x in before]
    return out[0] if fits else []


def calls_left_out(at):
    """Of three calls one moves the target, and one with tau of 0.2 or 0.005 leaves it as it is."""
    states = [parameters(moving(None)), *at[MOVES]["out"]]
    moved = [not all(map(torch.equal, one, two)) for one, two in pairwise(states)]
    return any(moved) and not all(moved[1:]) and any(x.any() for x in states[-1])  # 0 stays 0


def other_shares(at):
    """Every number is a * target + b * online + c, not with 1 - tau, tau and 0."""
    if not followed(at):
        return False
    numbers = parameters(still(None)), parameters(still(None), "online"), followed(at)
    before, online, after = (torch.cat([x.flatten() for x in xs]) for xs in numbers)
    terms = torch.stack([before, online, torch.ones_like(before)], dim=1)
    shares = torch.linalg.lstsq(terms, after).solution
    return close(terms @ shares, after) and not close(shares, torch.tensor([0.9, 0.1, 0.0]))


def some_numbers_only(at):
    """Some of the parameters are right, others are not; or some numbers in them, and the rest stays."""
    rights, before = at.right(SAME)["out"][0], parameters(still(None))
    rows = [*zip(followed(at), rights, before, strict=False)]
    right = [close(x, y) for x, y, _ in rows]
    mixed = [bool(((x - y).abs() < 1e-5).any()) for x, y, _ in rows]
    stays = [bool((((x - y).abs() < 1e-5) | (x == old)).all()) for x, y, old in rows]
    return not all(right) and (any(right) or any(mixed) and all(stays))


# --- edits ---

LERP, COPY, FOR = (
    "old.lerp_(new, tau)",
    "old.copy_(new)",
    "for old, new in zip(slow, fast, strict=True):",
)
SLOW, FAST = "*target.parameters(), *target.buffers()", "*online.parameters(), *online.buffers()"
FLOATS, PARAMETER = "old.is_floating_point()", "isinstance(old, torch.nn.Parameter)"
ALIAS = "old.data = new.data"
ANEW = "old.data = (1 - tau) * old.data + tau * new.data"
REPLACED = """for m in target.modules():
    for name, x in [*m.named_parameters(recurse=False)]:
        setattr(m, name, torch.nn.Parameter(x.clone(), x.requires_grad))"""
LINEAR = "*(p for m in {0}.modules() if isinstance(m, torch.nn.Linear) for p in m.parameters())"
EACH_MODULE = "*(x for m in {0}.modules() if any(True for _ in m.parameters()) for x in (*m.parameters(), *m.buffers()))"


def step(new):
    """Another step for numbers that are not integers."""
    return edit(LERP, new)


def step_if(condition, otherwise="pass"):
    return step(f"if {condition}:\n    {LERP}\nelse:\n    {otherwise}")


def copied(new):
    """Something else for the integers."""
    return edit(COPY, new)


def some(target, online=None):
    """Other lists of what follows."""
    online = online or target
    return edit(SLOW, target.format("target")), edit(FAST, online.format("online"))


def first(lines):
    return edit("slow =", f"{lines}\nslow =")


NO_BUFFERS = some("*{0}.parameters()")


def replaced_by_graph(target, online, tau):
    for slow, fast in zip(target.modules(), online.modules(), strict=True):
        for name, x in slow._parameters.items():
            if x is not None:
                slow._parameters[name] = (1 - tau) * x + tau * fast._parameters[name]


# fmt: off
EXERCISE = Exercise(
    reference=polyak_update,
    accept=(edit(FLOATS, PARAMETER),),  # Stable-Baselines3's: buffers are copied, not averaged
    driver="follow",
    parts={"one update": 2, "many updates": 1, "apart": 1, "buffers": 1, "clean": 1},
    cases=[
        Case(ONE, one_layer((1.0, 0.0), (3.0, -10.0)), "one update"),
        Case("numbers in the thousands", one_layer((1000.0, -3000.0), (-5000.0, 7000.0)), "one update"),
        Case(SAME, still, "one update"),
        Case(SLOWLY, lambda g: following(g, taus=(0.02,)), "one update"),
        Case(KEEPS, lambda g: following(g, taus=(0.0,), dtype=F64), "one update"),
        Case(MOVES, moving, "many updates"),
        Case("five updates, gradients allowed",
             lambda g: following(g, (2, 3, 3, 1), [0.1] * 5, frozen=False), "many updates"),
        Case(BESIDE, lambda g: following(g, taus=(0.1, 0.3), buffers=True), "many updates"),
        Case("two networks that stay apart", lambda g: following(g, taus=(1.0, 0.3), keep="apart"), "apart"),
        Case("a target that may have gradients",
             lambda g: following(g, taus=(0.3,), frozen=False, keep="apart"), "apart"),
        Case("buffers", lambda g: following(g, taus=(0.1, 0.1), buffers=True, keep="buffers"), "buffers"),
        Case("two networks after a copy, tau = 1", lambda g: following(g, taus=(1.0,), keep="apart"), "apart"),
    ],
    mistakes=[
        mistake("tau swapped", "tau and 1 - tau are swapped: the target is replaced almost at once.",
                step("old.lerp_(new, 1 - tau)"),
                why="A target that moves as fast as the critic is no target: the critic runs after itself."),
        mistake("head only", "Only the last layer is averaged; the layers below are copied.",
                first("last = [*target.parameters()][-2:]"), step_if("any(old is p for p in last)", COPY)),
        mistake("biases left behind", "It updates the weight matrices only; the biases never follow.",
                edit(FLOATS, "old.dim() > 1"), copied("pass"), also=(step_if(f"old.dim() > 1 or not {PARAMETER}"),)),
        mistake("first layer only", "It updates the first layer only.",
                *some("*[*{0}.parameters()][:2]"), also=(some("*[*{0}.parameters()][:2], *{0}.buffers()"),)),
        mistake("shared memory", "It assigns the online network's storage: from then on the two ARE one network.",
                step(ALIAS), copied(ALIAS),
                also=[(*NO_BUFFERS, step(ALIAS)), (*NO_BUFFERS, step(f"new.lerp_(old, 1 - tau)\n{ALIAS}")),
                      *((*which, step(f"if tau == 1:\n    {ALIAS}\nelse:\n    {other}"))
                        for which in ((), NO_BUFFERS, (edit(FLOATS, PARAMETER),))
                        for other in (LERP, ANEW, "old.mul_(1 - tau).add_(new, alpha=tau)"))],
                why="Every later optimizer step then moves the target too."),
        mistake("first call copies",
                "Its first call copies the online network whatever tau says; every call takes a step of tau.",
                first("tau, target.begun = tau if hasattr(target, 'begun') else 1.0, True")),
        mistake("copies", "It copies the online network whatever tau says.", step(COPY)),
        mistake("nothing written",
                "The target stays as it was: nothing is written into its parameters. (`x = ...` gives a name a new "
                "value, `lerp` makes a new tensor, a changed state dict must be loaded.)",
                step("old = (1 - tau) * old + tau * new"), copied("old = new"),
                also=(step("old = (1 - tau) * old + tau * new"),),
                why="The target stays at its random beginning for ever."),
        mistake("wrong way round", "It moves the online network towards the target.", first("target, online = online, target"),
                why="That undoes training.", also=(step("new.copy_((1 - tau) * old + tau * new)"), step("new.lerp_(old, tau)"))),
        mistake("both move", "It moves both networks towards each other; only the target may change.",
                step(f"before = old.clone()\n{LERP}\nnew.lerp_(before, tau)")),
        mistake("1 - tau missing",
                "It adds tau * online without shrinking the target by 1 - tau: the weights grow for ever.",
                step("old.add_(tau * new)")),
        mistake("tau for both", "It multiplies the target by tau too, where 1 - tau belongs.", step("old.mul_(tau).add_(tau * new)")),
        mistake("away", "It moves the target away from the online network.", step("old.sub_(tau * (new - old))")),
        mistake("graph attached",
                "The target is written with gradient recording on: it now hangs on the online network's graph. "
                "Use torch.no_grad().",
                step("with torch.set_grad_enabled(not old.requires_grad):\n    old.copy_((1 - tau) * old + tau * new)"),
                also=(replaced_by_graph,),
                why="Memory grows with every call, and the target's gradient trains the critic."),
        mistake("target unfrozen", "It changes requires_grad of the target; leave that as it was.",
                first("target.requires_grad_(True)")),
        mistake("online frozen", "It switches off requires_grad of the online network: the critic stops learning.",
                first("online.requires_grad_(False)")),
        mistake("biases copied", "It averages the weight matrices and copies the biases; every parameter is averaged.",
                step_if("old.dim() > 1", COPY)),
        mistake("tau missing", "It adds the whole online network to (1 - tau) * target; its share is tau.",
                step("old.mul_(1 - tau).add_(new)")),
        mistake("both forms at once",
                "It shrinks the target by 1 - tau, and then adds tau * (online - target): either form is enough.",
                step("old.mul_(1 - tau)\nold.add_(tau * (new - old))")),
        mistake("some kinds of layer only",
                "It updates layers of one kind only; parameters() lists all there are, also outside layers.",
                *some(LINEAR + ", *{0}.buffers()"), also=(some(LINEAR),)),
        mistake("buffers forgotten",
                "Buffers (running means, counters) do not follow: parameters() does not list them.", *NO_BUFFERS,
                why="With batch normalization the target would use statistics from before training."),
        mistake("float buffers left behind", "Only the counters among the buffers follow; running means are buffers too.",
                step_if(PARAMETER)),
        mistake("counter averaged", "It averages a buffer of integers: the result is rounded down. Copy it.",
                copied("old.copy_((1 - tau) * old + tau * new)")),
        mistake("counter forgotten", "A buffer of integers does not follow: copy it.", copied("pass")),
        mistake("tau swapped in the buffers", "In the buffers tau and 1 - tau are swapped.",
                step_if(PARAMETER, "old.lerp_(new, 1 - tau)")),
        mistake("shared buffers", "The target's buffers ARE the online network's from then on: copy the numbers.",
                step_if(PARAMETER, ALIAS), copied(ALIAS)),
        mistake("tau ignored", "It averages with a share of {share:.3g} whatever tau says.",
                step("old.lerp_(new, {share=0.005})")),
        mistake("own share lost", "It writes tau * online: the target forgets its own (1 - tau) share.", step("old.copy_(tau * new)")),
        mistake("both shrink", "1 - tau multiplies the online network's share too.", step("old.add_(tau * new).mul_(1 - tau)")),
        mistake("twice in one call",
                "Every parameter moves twice in one call, as when modules() and parameters() both visit the inner layers.",
                step(f"{LERP}\n{LERP}"), also=(some(EACH_MODULE),)),
        mistake("last layer only", "It updates the last layer only; the layers below stay as they were.",
                *some("*[*{0}.parameters()][-2:]"), also=(some("*[*{0}.parameters()][-2:], *{0}.buffers()"),)),
        mistake("one parameter only", "It updates the first weight matrix and nothing else.", *some("next({0}.parameters())")),
        mistake("frozen parameters skipped",
                "It skips parameters that ask for no gradient; a target network is made of those.",
                step_if(f"old.requires_grad or not {PARAMETER}"), also=((*NO_BUFFERS, step_if("old.requires_grad")),)),
        mistake("gradient step", "It moves the target along the online network's gradients; it should follow its weights.",
                *NO_BUFFERS, step("if new.grad is not None: old.sub_(tau * new.grad)")),
        mistake("online scaled", "It multiplies the online network itself by tau: only the target may change.",
                step("old.mul_(1 - tau).add_(new.mul_(tau))")),
        mistake("parameters replaced", "It puts new parameter objects into the target; write into the ones that are there.",
                first(REPLACED), also=(first(REPLACED.replace("x.requires_grad", "True")),),
                why="Whoever holds the old ones (an optimizer, another name) is left behind."),
        mistake("gradients touched", "It clears or writes gradients; only the target's numbers may change.",
                first("online.zero_grad()")),
        mistake("target frozen", "It switches off requires_grad of the target; leave that as it was.",
                first("target.requires_grad_(False)")),
        mistake("mode changed", "It switches a network to eval mode; only the target's numbers may change.",
                first("target.eval()"), also=(first("target.eval()\nonline.eval()"),)),
        telltale("random step", "It draws random numbers; every call is the same small step, tau * (online - target).",
                 first("tau = float(torch.rand(()) < tau)"), lambda at: at.random),
        telltale("not at every call",
                 "Some calls leave the target as it is and others move it; each takes its step, also with a small tau.",
                 first("if tau <= 0.5: return"), calls_left_out),
        fact("other shares", "Every number becomes a * target + b * online + c, and a, b and c are not 1 - tau, tau and 0.",
             (*NO_BUFFERS, step("old.mul_(1 - tau / 2).add_(tau / 3 * new)")), other_shares),
        fact("some parameters only", "Some weights or biases are right and others are not: all of them follow in the same way.",
             step("old.lerp_(new, tau if new.shape[0] == 2 else 2 * tau)"), some_numbers_only),
        nearly_right(step("old.copy_(old.half().lerp(new.half(), tau))")),
        partly_right("layers of one shape mixed up",
                     "It is right for layers of different shapes, and wrong where two have the same shape: which parameter "
                     "follows which?",
                     edit(FOR, "for old, new in ((a, b) for a in slow for b in fast if a.shape == b.shape):"),
                     (ONE, SLOWLY, MOVES), ("five updates, gradients allowed",)),
        partly_right("another step", "With tau = 0 it keeps the target, as it should; else the step is not tau * (online - target).",
                     step("old.add_(tau * (new - old).sign())"), (KEEPS,), (ONE, SAME, SLOWLY)),
        partly_right("wrong after several updates",
                     "One update with a small tau is right, several are not, with tau = 1 among them.",
                     first("tau = min(tau, 0.5)"), (ONE, SLOWLY, KEEPS), (MOVES,)),
        partly_right("numbers mixed",
                     "It is right for a weight that is a single number, and wrong for a matrix: each number follows its own "
                     "counterpart.",
                     step("old.lerp_(0.5 * new + 0.5 * new.mean(), tau)"), (ONE,), (SAME, SLOWLY)),
        fact("tau = 0 moves it", "With tau = 0 the target should stay as it is; here it changes.",
             step(f"{LERP}\nold.div_(old.norm())"), lambda at: not close(*outs(at, KEEPS)[0])),
        partly_right("buffers off", "The parameters are right, the buffers are not: average them, or copy them.",
                     step_if(PARAMETER, "old.zero_()"), (ONE, SLOWLY, MOVES, BESIDE), ("buffers",)),
    ],
    read="lesson 6, “A slow copy”; Lillicrap et al. 2016, algorithm 1",
)
