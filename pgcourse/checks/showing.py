"""The example on a card: the inputs around the first difference, what is right, and what came.

At most LINES lines of at most COLUMNS columns, in the words of the function's own arguments. Of long
arrays a window is shown, written as the slice it is; of dicts and lists the entry that differs; numbers
get as many digits as tell the two apart.
"""

import math
import textwrap

import torch

LINES, COLUMNS = 12, 100
DIGITS = (4, 7, 17)
HUGE = 1e14


def example(case, driver, args, seen, expected, same):
    """The lines that show how one observation differs from the right one.

    args : the case's inputs by name;  same(a, b) : whether an output is as good as the right one
    """
    path, out, right, what = first_difference(case, driver, seen, expected, same)
    at = index_of_difference(out, right)
    shape = tuple(right.shape) if torch.is_tensor(right) else ()
    inputs = [line for name, x in words(driver, args) for line in assignment(name, x, at, shape)]
    told = answer_lines(case, driver, seen, path, out, right, what, at)
    room = LINES - 1 - len(told)
    if len(inputs) > room:
        inputs = [*inputs[: room - 1], f"  … and {len(inputs) - room + 1} more"]
    lines = [f"In the case of {case.name}:", *inputs, *told]
    return "\n".join(shorten(line) for line in lines)


def clearest(driver, cases, same):
    """The example of the first of these cases, (case, args, seen, expected), in which a difference can be seen."""
    texts = []
    for case, args, seen, expected in cases:
        texts.append(example(case, driver, args, seen, expected, same))
        *_, right, came = texts[-1].split("\n")
        if right.partition(":")[2].strip() != came.partition(":")[2].strip():
            return texts[-1]
    return texts[0]


def answer_lines(case, driver, seen, path, out, right, what, at):
    """What is right and what came, under the inputs."""
    error = seen["error"]
    if seen["timeout"]:
        return ["yours did not return in time"]
    if case.raises:
        came = f"raised {error['type']}" if error else value(out, at)
        return ["expected: a ValueError", f"yours   : {came}"]
    if error:
        return [f"yours raised {error['type']}: {' '.join(error['message'].split())}"]
    if driver == "entry":  # a quiz does not tell its answers
        return [f"yours: {value(seen['out'], ())}"]
    if what == "nothing":
        return []
    label = " ".join(filter(None, [what, place(driver, path)]))
    label = f" {label}" if label else ""
    if driver == "whole" and isinstance(out, str):
        out = Plain(out)
    expects, came = (kind(right), kind(out)) if what == "dtype" else pair(out, right, at)
    gap = max(len(f"expected{label}"), len(f"yours{label}"))
    lines = [f"{f'expected{label}':<{gap}}: {expects}", f"{f'yours{label}':<{gap}}: {came}"]
    if max(map(len, lines)) > COLUMNS and label:  # the label gets a line of its own
        lines = [f"{label.strip()}:", f"  expected: {expects}", f"  yours   : {came}"]
    return lines


def first_difference(case, driver, seen, expected, same):
    """(path, out, right, what): the innermost pair of values that differ, and how to call it."""
    out, right = seen["out"], expected["out"]
    if seen["error"] or seen["timeout"] or case.raises:
        return (), out, right, ""
    if not same(out, right):
        path, out, right = innermost(out, right, same)
        return path, out, right, ""
    for name, grad in expected["grads"].items():
        given = seen["grads"].get(name)
        zero = (
            torch.zeros_like(grad if given is None else given)
            if (grad is None) != (given is None)
            else None
        )
        a, b = (zero if given is None else given), (zero if grad is None else grad)
        if a is not None and not same(a, b):
            several = torch.is_tensor(right) and right.numel() > 1
            of = " of a weighted sum" * several  # see `drivers.gradients`
            return (), given, grad, f"gradient{of} into {name}"
    if torch.is_tensor(out) and torch.is_tensor(right) and out.dtype != right.dtype:
        return (), out, right, "dtype"
    return (), out, right, "nothing"


def innermost(out, right, same, path=()):
    """Follow dicts and lists down to the first entry that differs."""
    if isinstance(right, dict) and isinstance(out, dict):
        for key in right:
            if key not in out:
                return (*path, key), Missing, right[key]
            if not same(out[key], right[key]):
                return innermost(out[key], right[key], same, (*path, key))
        key = next((key for key in out if key not in right), None)
        if key is not None:
            return (*path, key), out[key], Missing
    both = isinstance(right, list | tuple) and isinstance(out, list | tuple)
    if both and len(out) == len(right):
        for i, (a, b) in enumerate(zip(out, right, strict=True)):
            if not same(a, b):
                return innermost(a, b, same, (*path, i))
    return path, out, right


class Missing:
    """Stands for an entry that is not there."""


def index_of_difference(out, right):
    """The index of the first element that differs, () if there is none to point at."""
    if not torch.is_tensor(right) or right.dim() == 0 or not right.numel():
        return ()
    if not torch.is_tensor(out) or out.shape != right.shape:
        return (0,) * right.dim()
    a, b = out.double(), right.double()
    scale = b[b.isfinite()].abs().max().item() if b.isfinite().any() else 1.0
    off = ~torch.isclose(a, b, rtol=1e-4, atol=1e-5 * max(scale, 1e-3), equal_nan=True)
    off = off if off.any() else ~torch.isclose(a, b, rtol=0, atol=0, equal_nan=True)
    return tuple(off.nonzero()[0].tolist()) if off.any() else (0,) * right.dim()


def size(args):
    """Number of elements in plain data: the smallest case is the one to show."""
    if torch.is_tensor(args):
        return args.numel()
    if isinstance(args, dict):
        return sum(map(size, args.values()))
    return sum(map(size, args)) if isinstance(args, list | tuple) else 1


# --- one value, one line ---


def assignment(name, x, at, shape):
    """`name = value`; of a large array the window around `at`, if its axes are those of `shape`."""
    if isinstance(x, Plain):
        first, *rest = textwrap.wrap(x, COLUMNS - len(name) - 5) or [""]
        return [f"  {name} = {first}", *(f"      {line}" for line in rest)]
    if not torch.is_tensor(x) or x.dim() == 0:
        return [f"  {name} = {value(x, ())}"]
    common = 0
    while common < min(x.dim(), len(shape)) and x.shape[common] == shape[common]:
        common += 1
    where = at[:common] + (0,) * (x.dim() - common)
    room = COLUMNS - len(name) - 5
    text, cut = window((x,), where, room, DIGITS[0])
    return [f"  {name}{cut} = {text}"]


def value(x, at, digits=DIGITS[0], room=COLUMNS - 14, beside=None):
    """Plain data as a short text: numbers rounded, long arrays cut to a window that says what it is.

    beside : what is shown below it; of one shape, both are cut to one window
    """
    if x is Missing:
        return "no such entry"
    if torch.is_tensor(x):
        if x.dim() == 0:
            return number(x.item(), digits)
        both = (x, beside) if torch.is_tensor(beside) and beside.shape == x.shape else (x,)
        text, cut = window(both, at if len(at) == x.dim() else (0,) * x.dim(), room, digits)
        return f"{cut.strip()}: {text}" if cut else text
    if isinstance(x, dict):
        return entries([f"{k!r}: {value(v, (), digits, 60)}" for k, v in x.items()], "{}", room)
    if isinstance(x, list | tuple):
        brackets = "[]" if isinstance(x, list) else "()"
        return entries([value(v, (), digits, 40) for v in x], brackets, room)
    return repr(x) if isinstance(x, str) else number(x, digits)


def entries(texts, brackets, room):
    """As many entries as fit, and how many there are."""
    kept = len(texts)
    while True:
        rest = f", … {len(texts)} in all" if kept < len(texts) else ""
        text = brackets[0] + ", ".join(texts[:kept]) + rest + brackets[1]
        if len(text) <= room or kept <= 1:
            return text
        kept -= 1


def number(x, digits):
    if isinstance(x, float) and math.isfinite(x):
        x = x or 0.0  # no minus before a 0
        if abs(x) > HUGE:  # rounding made it, another on each machine
            return f">{HUGE:.0g}" if x > 0 else f"<-{HUGE:.0g}"
        return f"{x:.{digits}g}"
    return str(x)


def window(xs, at, room, digits):
    """(text, cut): the first one's elements around `at`, so many that all fit into `room`, and the slice they are."""
    x = xs[0]
    sizes = [(8, 8), (6, 8), (4, 6), (4, 4), (3, 3), (2, 3), (2, 2), (1, 2), (1, 1)]
    for long, rows in sizes if max(x.shape, default=0) > 4 or x.numel() > 12 else [(8, 8), *sizes]:
        axes = [1 if x.dim() - i > 3 else rows if i < x.dim() - 1 else long for i in range(x.dim())]
        start = [
            max(0, min(i - (k - 1) // 2, n - k)) for i, n, k in zip(at, x.shape, axes, strict=True)
        ]
        spot = tuple(slice(s, s + k) for s, k in zip(start, axes, strict=True))
        part, texts = x[spot], [nested(other[spot], digits) for other in xs]
        cut = ""
        if part.shape != x.shape:
            pairs = zip(start, part.shape, x.shape, strict=True)
            cut = ", ".join(":" if k == n else f"{s}:{s + k}" for s, k, n in pairs)
            cut = f"[{cut}] of shape {list(x.shape)}"
        if max(map(len, texts)) + len(cut) <= room:
            break
    return texts[0], cut


def nested(x, digits):
    if x.dim() == 0:
        return number(x.item(), digits)
    return "[" + ", ".join(nested(v, digits) for v in x) + "]"


def pair(out, right, at):
    """The two values in as many digits as tell them apart; what looks alike then differs in kind."""
    for digits in DIGITS:
        a = value(right, at, digits, beside=out)
        b = value(out, at, digits, beside=right)
        if a != b:
            return a, b
    return f"{kind(right)} {a}", f"{kind(out)} {b}"


def kind(x):
    return str(x.dtype).removeprefix("torch.") if torch.is_tensor(x) else type(x).__name__


def shorten(line):
    return line if len(line) <= COLUMNS else line[: COLUMNS - 2] + " …"


class Plain(str):
    """A text that is shown without quotes."""

    __repr__ = str.__str__


# --- the arguments as the learner's function gets them ---

WORDS = {}  # {driver: function of its arguments that returns [(name, value)]}


def place(driver, path):
    """Where in the result: the number of the call and the layer for networks, else the keys."""
    nets = {"train_actor_critic": 0, "push_gradients": 1, "follow": 1}
    if driver in nets and len(path) == nets[driver] + 1 and all(isinstance(k, int) for k in path):
        *call, i = path
        after = f" after call {call[0] + 1}" if call else ""
        return f"{('weight', 'bias')[i % 2]} of layer {i // 2 + 1}{after}"
    if driver == "follow" and len(path) == 2:
        return f"{path[1]} after call {path[0] + 1}"
    if path and driver == "train_actor_critic":
        return f"{path[-1]!r} of call {path[0] + 1}"
    if path and isinstance(path[0], str) and "'" in path[0]:  # a name in words
        return path[0] + keys(path[1:])
    return keys(path)


def keys(path):
    return "".join(f"[{key!r}]" for key in path)


def words(driver, args):
    return WORDS.get(driver, dict.items)(args)


def telling(driver):
    """Register what a driver's arguments are called by whoever writes the function (decorator)."""

    def register(fn):
        WORDS[driver] = fn
        return fn

    return register


@telling("with_mdp")
def mdp_words(args):
    names = ("P", "R", "start", "gamma")
    return [(f"mdp.{name}" if name in names else name, x) for name, x in args.items()]


@telling("entry")
def quiz_words(args):
    return [("question", args["key"])]


@telling("train_actor_critic")
def actor_critic_words(args):
    first = args["batches"][0]
    calls = len(args["batches"])
    return [
        ("calls", Plain(f"{calls}, each with {len(first['rew'])} transitions")),
        *networks(args, "actor", "critic"),
        *((f"batch[{name!r}]", x) for name, x in first.items()),
        ("gamma", args["gamma"]),
    ]


def networks(args, *names):
    """Networks by their sizes: their weights tell a reader nothing, unless there is only one."""
    for name in names:
        (weight, bias), *more = args[name]
        if weight.numel() == 1 and not more:
            yield name, Plain(f"one weight, {weight.item():.4g}, and one bias, {bias.item():.4g}")
            continue
        sizes = [args[name][0][0].shape[1], *(len(bias) for _, bias in args[name])]
        yield name, Plain(" → ".join(map(str, sizes)) + " units")


@telling("push_gradients")
def push_words(args):
    order = ", ".join(str(worker) for worker, _ in args["pushes"])
    return [
        *networks(args, "shared"),
        ("workers", Plain(f"{len(args['workers'])}; they push in the order {order}")),
        ("gradients of the first push", [g for g in args["pushes"][0][1]]),
        ("lr", args["lr"]),
    ]


@telling("follow")
def follow_words(args):
    told = [*networks(args, "target", "online"), ("tau in each call", args["taus"])]
    if args["online_buffers"]:
        told += [(f"{name}'s buffers", args[f"{name}_buffers"]) for name in ("target", "online")]
    return [*told, ("added to the online network after each call", args["move"])]


@telling("update_policy")
def update_words(args):
    arrays = ((f"rollout[{name!r}]", x) for name, x in args["rollout"].items())
    config = (f"{name}={value(x, ())}" for name, x in args["config"].items())
    return [
        *networks(args, "actor", "critic"),
        ("config", Plain(", ".join(config))),
        ("learning rate", args["lr"]),
        *([("gradients before the call", Plain("1 everywhere"))] if args["left_over"] else []),
        *arrays,
    ]


@telling("one_rlhf_step")
def rlhf_words(args):
    config = (f"{name}={value(x, ())}" for name, x in args["config"].items())
    return [
        ("prompts", args["prompts"]),
        ("config", Plain(", ".join(config))),
        ("calls", args["steps"]),
    ]
