"""The worker's side of a check: call a function on given inputs and write down what it did.

Nothing here knows what is right: no reference, no pitfall, no points. So this module can run in a
process where the functions being graded do not exist. Inputs and observations are plain data:
None, bool, int, float, str, tensors, and lists, tuples and dicts of these.
"""

import contextlib
import io
import math
import numbers
import operator
import os
import random
import re
import signal
import threading
import time
import traceback
import types
import warnings
from functools import lru_cache

import numpy as np
import torch

from pgcourse.mdp import MDP

PRINT_LIMIT, DEEP = 2_000, 20  # characters of a student's prints that are kept; lists within lists


# --- how a function is called: a driver takes (fn, args, grad) and returns (output, gradients) ---


def call(fn, args, grad):
    """fn(*args); gradients of the output with respect to the arguments named in `grad`."""
    args = {
        name: value.requires_grad_() if name in grad and torch.is_tensor(value) else value
        for name, value in args.items()
    }
    out = fn(*args.values())
    return out, gradients(out, {name: args[name] for name in grad})


def with_mdp(fn, args, grad):
    """Like `call`, for functions whose first argument is an MDP; its tensors come as P, R, start, gamma."""
    args = dict(args)
    mdp = MDP(*(args.pop(name) for name in ("P", "R", "start", "gamma")))
    return call(lambda *rest: fn(mdp, *rest), args, grad)


def whole(fn, args, grad):
    """Like `call`, where an int is right: another number comes as a text that says so."""
    out = fn(*args.values())
    if isinstance(out, str) or not hasattr(out, "__float__"):
        return out, {}
    try:
        return operator.index(out), {}
    except TypeError:
        return f"{float(out)!r}, not an int", {}


def detached(fn, args, grad):
    """Like `call`, where the result is a constant: one that asks for gradients itself has one too."""
    out, grads = call(fn, args, grad)
    asks = torch.is_tensor(out) and out.is_leaf and out.requires_grad
    return out, grads | {"the result": torch.ones(()) if asks else None}


DRIVERS = {"call": call, "with_mdp": with_mdp, "whole": whole, "detached": detached}
PLAIN = ("call", "whole", "detached")  # these give the case's arguments to the function as they are


def driver(fn):
    """Register a driver under its name (decorator for the lessons' own drivers)."""
    DRIVERS[fn.__name__] = fn
    return fn


def gradients(out, wanted):
    """d(sum of w * out)/dx for each tensor x in `wanted`, with fixed unequal weights w; None = not connected."""
    if not wanted or not torch.is_tensor(out) or not out.requires_grad:
        return dict.fromkeys(wanted)
    with torch.enable_grad():  # whatever mode the function left behind
        total = (weights(out.shape, out.dtype) * out).sum()
    live = {name: x for name, x in wanted.items() if x.requires_grad}  # it may have been taken away
    found = torch.autograd.grad(total, list(live.values()), allow_unused=True) if live else ()
    return dict.fromkeys(wanted) | dict(zip(live, found, strict=True))


def weights(shape, dtype):
    """Unequal numbers (1 for a scalar), the same whenever they are asked for; those that are few are kept."""
    return (few_weights if math.prod(shape) <= 1_000 else few_weights.__wrapped__)(shape, dtype)


@lru_cache
def few_weights(shape, dtype):
    numbers = torch.arange(math.prod(shape), dtype=torch.float64)
    return (1 + 0.5 * torch.cos(numbers) * (len(numbers) > 1)).reshape(shape).to(dtype)


# --- what is written down ---


def observe(driver_name, fn, args, grad=(), seconds=5.0):
    """Call fn on fresh copies of `args` and write down everything that a verdict needs.

    The global random states are the same at the start of each call: a function that draws from them
    does so again whenever it is looked at. Afterwards they are what they were.

    returns : dict with
              out      : the output as plain data (tensors detached), None if there is none
              grads    : {argument: gradient tensor or None}
              error    : None or {type, message, line, traceback}
              timeout  : bool; the call was stopped after `seconds`
              modified : names of the arguments that were changed in place
              state    : names of the global settings that were changed (they are put back)
              random   : bool; the function's own code names a source of random numbers
              printed  : the first characters that were printed
              seconds  : float, wall time
    """
    seen = dict(out=None, grads={}, error=None, timeout=False, random=False, modified=[], state=[])
    with steady():
        observe_into(seen, driver_name, fn, args, grad, seconds)
    return seen


def observe_into(seen, driver_name, fn, args, grad, seconds):
    """The work of `observe`, where the global state is put back later."""
    given, before = copy_plain(args), STARTS | {name: SETTINGS[name][0]() for name in MODES}
    put(STARTS)
    printed = Capped()
    started = time.perf_counter()
    try:
        silent = warnings.catch_warnings(action="ignore")  # pitfalls make them on purpose
        with silent, contextlib.redirect_stdout(printed):
            seen["random"] = names_any(fn, RANDOM_CALLS)
            out, grads = within(seconds, DRIVERS[driver_name], fn, given, grad)
        seen["out"], seen["grads"] = copy_plain(out), copy_plain(grads)
    except TimeLimit:
        seen["timeout"] = True
    except KeyboardInterrupt:
        raise
    except BaseException as e:  # a student's function may raise anything, SystemExit included
        seen["error"] = describe_error(e)
    seen["seconds"] = time.perf_counter() - started
    seen["printed"] = printed.getvalue()
    seen["modified"] = [
        name
        for name, x in given.items()
        if not same_plain(args[name], x)
        or (name in grad and torch.is_tensor(x) and not x.requires_grad)
        or (torch.is_tensor(x) and x.is_leaf and x.grad is not None)
    ]
    seen["state"] = changed(before)
    put({name: before[name] for name in MODES})


class NotAnAnswer(TypeError):
    """What a function gave back is nothing that its driver can read; the message says what it should be."""


class Capped(io.StringIO):
    """Standard output that keeps the first PRINT_LIMIT characters and drops the rest."""

    def write(self, text):
        room = PRINT_LIMIT - self.tell()
        if room > 0:
            super().write(text[:room])
        return len(text)


def describe_error(e):
    """The exception as plain data; `line` is the innermost line of the student's own code."""
    path = re.escape(os.path.dirname(__file__) + os.sep) + r"\w*drivers\.py"
    frames = [
        f for f in traceback.extract_tb(e.__traceback__) if not re.fullmatch(path, f.filename)
    ]
    own = [f for f in frames if "site-packages" not in f.filename] or frames
    line = f"line {own[-1].lineno}: {own[-1].line}" if own and own[-1].line else ""
    text = "".join(traceback.format_list(frames[-20:])) + f"{type(e).__name__}: {e}"
    return dict(type=type(e).__name__, message=str(e)[:500], line=line, traceback=text[-6_000:])


def copy_plain(x, deep=0):
    """A deep copy with tensors detached; what is not plain data, or nested too deep, becomes {'not plain': its type}."""
    if torch.is_tensor(x):
        if x.layout is not torch.strided or x.is_meta or x.is_complex() or x.is_quantized:
            return {"not plain": f"{x.dtype} tensor with {x.layout} on {x.device}"}
        return x.detach().clone()
    if isinstance(x, dict) and deep < DEEP:
        return {k: copy_plain(v, deep + 1) for k, v in x.items()}
    if isinstance(x, list | tuple) and deep < DEEP:
        return (tuple if type(x) is tuple else list)(copy_plain(y, deep + 1) for y in x)
    if x is None or type(x) in (bool, float, str):
        return x
    if isinstance(x, numbers.Integral):  # numpy's too; nothing counts further than 64 bits
        return int(x) if abs(x) < 2**63 else float(sorted((-(10**308), x, 10**308))[1])
    if isinstance(x, numbers.Real):
        return float(x)
    return {"not plain": type(x).__module__.split(".")[0] + "." + type(x).__name__}


def same_plain(a, b):
    """Whether two pieces of plain data are equal to the bit (nan equals nan)."""
    if torch.is_tensor(a):
        return (
            torch.is_tensor(b)
            and a.shape == b.shape
            and a.dtype == b.dtype
            and (
                torch.equal(a, b)
                or torch.equal(a.isnan(), b.isnan())
                and torch.equal(a[~a.isnan()], b[~b.isnan()])
            )
        )
    if isinstance(a, dict):
        return (
            isinstance(b, dict) and a.keys() == b.keys() and all(same_plain(a[k], b[k]) for k in a)
        )
    if isinstance(a, list | tuple):
        return type(a) is type(b) and len(a) == len(b) and all(map(same_plain, a, b))
    if isinstance(a, float) and isinstance(b, float) and math.isnan(a):
        return math.isnan(b)
    return type(a) is type(b) and a == b


RANDOM_STATES = {
    "torch's global random state": (torch.random.get_rng_state, torch.random.set_rng_state),
    "numpy's global random state": (np.random.get_state, np.random.set_state),
    "Python's global random state": (random.getstate, random.setstate),
}
MODES = {
    "torch's default dtype": (torch.get_default_dtype, torch.set_default_dtype),
    "torch's gradient mode": (torch.is_grad_enabled, torch.set_grad_enabled),
}
SETTINGS = RANDOM_STATES | MODES
HELD = []  # what the settings were outside, while somebody is `steady`


START = torch.Generator().manual_seed(0).get_state()
STARTS = {
    "torch's global random state": START,
    "numpy's global random state": np.random.RandomState(0).get_state(),
    "Python's global random state": random.Random(0).getstate(),
}


def settings():
    """The global state that a function must leave alone."""
    return {name: get() for name, (get, _) in SETTINGS.items()}


@contextlib.contextmanager
def steady():
    """Whatever is done within, the settings are afterwards what they were. One within another costs nothing."""
    if HELD:
        yield
        return
    HELD.append(settings())
    try:
        yield
    finally:
        put(HELD.pop())


def changed(before):
    """Names of the settings that differ from `before`."""
    return [k for k, now in settings().items() if repr_exact(now) != repr_exact(before[k])]


def put(values):
    """Give the settings these values."""
    for name, value in values.items():
        SETTINGS[name][1](value)


def repr_exact(x):
    """Something comparable with == for a setting that may hold arrays."""
    if torch.is_tensor(x):
        return x.numpy().tobytes()
    if isinstance(x, tuple):
        return tuple(v.tobytes() if isinstance(v, np.ndarray) else v for v in x)
    return x


RANDOM_CALLS = {
    "Generator", "RandomState", "Random", "default_rng", "bernoulli", "choice", "gauss", "gumbel_softmax",
    "multinomial", "normal", "normal_", "rand", "rand_like", "randint", "randn", "randn_like", "randperm",
    "random", "rsample", "sample", "sample_episodes", "shuffle", "standard_normal", "uniform", "uniform_",
}  # fmt: skip


def names_any(fn, names):
    """Whether the code of a function, or of helpers defined beside it, mentions one of these names.

    So random numbers are seen that come from a generator of the function's own and leave no global trace.
    """
    space = getattr(fn, "__globals__", {})
    todo, done = [getattr(fn, "__code__", None)], set()
    while todo:
        code = todo.pop()
        if not isinstance(code, types.CodeType) or code in done:
            continue
        done.add(code)
        helpers = {name: space.get(name) for name in code.co_names}
        own = {name: h for name, h in helpers.items() if getattr(h, "__globals__", None) is space}
        if names & helpers.keys() - own.keys():  # a helper may be called `gauss`: its code tells
            return True
        todo += [*code.co_consts, *(h.__code__ for h in own.values())]
    return False


def own_helpers(fn):
    """Names of the functions beside fn (in its notebook or module) that it calls, also through one another."""
    space, names, todo = getattr(fn, "__globals__", {}), set(), [getattr(fn, "__code__", None)]
    while todo:
        code = todo.pop()
        if not isinstance(code, types.CodeType):
            continue
        own = {n for n in code.co_names if getattr(space.get(n), "__globals__", None) is space}
        todo += [*code.co_consts, *(space[n].__code__ for n in own - names)]
        names |= own
    return names


def with_helpers(fn, helpers):
    """A copy of fn that calls these {name: function} in place of its own; so do the functions beside it."""
    space = fn.__globals__ | helpers

    def copied(f):
        made = types.FunctionType(f.__code__, space, f.__name__, f.__defaults__, f.__closure__)
        made.__kwdefaults__ = f.__kwdefaults__
        return made

    for name in own_helpers(fn) - helpers.keys():
        space[name] = copied(space[name])
    return copied(fn)


def uses_random_numbers(seen):
    """Whether the observations show random numbers: from a global state, or named in the code."""
    return any(s["random"] or any(name in RANDOM_STATES for name in s["state"]) for s in seen)


class TimeLimit(BaseException):
    """Raised inside a student's function that runs too long; not an Exception, so `except Exception` lets it pass."""


PATIENCE = 6  # wall seconds allowed for each second of computing, on a machine that is busy


class Alarm:
    """Raises TimeLimit after `seconds` of computing, or PATIENCE times that by the clock (for one that waits).

    By signals, in a main thread on Unix; elsewhere nothing can stop it. Whoever sets it clears `armed`
    first of all where the block ends: a signal that comes later than that raises nothing.
    """

    def __init__(self, seconds):
        self.armed, self.clocks = True, []
        if hasattr(signal, "setitimer") and threading.current_thread() is threading.main_thread():
            self.clocks = [
                (signal.ITIMER_VIRTUAL, signal.SIGVTALRM, seconds),
                (signal.ITIMER_REAL, signal.SIGALRM, PATIENCE * seconds),
            ]
        self.old = [signal.signal(number, self.ring) for _, number, _ in self.clocks]
        for clock, _, limit in self.clocks:
            signal.setitimer(clock, limit, 0.2)  # again and again, should a bare except eat it

    def ring(self, signum, frame):
        if self.armed:
            raise TimeLimit

    def stop(self):
        for clock, _, _ in self.clocks:
            signal.setitimer(clock, 0)
        for (_, number, _), handler in zip(self.clocks, self.old, strict=True):
            signal.signal(number, handler)


@contextlib.contextmanager
def time_limit(seconds):
    """An Alarm over a block."""
    alarm = Alarm(seconds)
    try:
        yield
    finally:
        alarm.armed = False
        alarm.stop()


def within(seconds, fn, *args):
    """fn(*args) under an Alarm. raises: TimeLimit, and after this call has ended never again"""
    alarm = Alarm(seconds)
    try:
        return fn(*args)
    finally:
        alarm.armed = False
        alarm.stop()
