"""A3C is real: processes, shared memory, Hogwild, and a clean end whatever happens."""

import os
import signal
import subprocess
import sys
import textwrap
import time

import pytest
import torch
from torch import nn

from pgcourse import a3c
from pgcourse.a3c import a3c_push_gradients
from pgcourse.networks import mlp
from pgcourse.optim import Adam


def alive(pid):
    try:
        with open(f"/proc/{pid}/stat") as stat:
            return stat.read().rpartition(")")[2].split()[0] != "Z"
    except FileNotFoundError:
        return False


def test_push_moves_the_shared_network_and_only_that():
    torch.manual_seed(0)
    local, shared = mlp([3, 4, 1]), mlp([3, 4, 1])
    shared_before = [p.detach().clone() for p in shared.parameters()]
    local_before = [p.detach().clone() for p in local.parameters()]
    optimizer = torch.optim.SGD(shared.parameters(), 0.1)
    for _ in range(2):  # the second push must not remember the first
        local(torch.ones(5, 3)).sum().backward()
        grads = [p.grad.clone() for p in local.parameters()]
        a3c_push_gradients(local, shared, optimizer)
        for p, before, grad in zip(shared.parameters(), shared_before, grads, strict=True):
            torch.testing.assert_close(p.detach(), before - 0.1 * grad)
            before.copy_(p.detach())
        assert all(p.grad is None or not p.grad.any() for p in local.parameters())
        for p, before in zip(local.parameters(), local_before, strict=True):
            assert torch.equal(p, before)


def test_weights_are_shared_between_processes():
    net = mlp([2, 1])
    Adam(net.parameters(), 0.1).share_memory()
    child = torch.multiprocessing.get_context("fork").Process(
        target=lambda: net[0].weight.data.fill_(7.0)
    )
    child.start()
    child.join()
    assert (net[0].weight == 7).all() and net[0].weight.is_shared()


def test_several_workers_train_one_network():
    pids = torch.zeros(3, dtype=torch.int64).share_memory_()
    pushes = torch.zeros(3, dtype=torch.int64).share_memory_()

    def push(local, shared, optimizer):
        index = int((pids == os.getpid()).nonzero()[0]) if (pids == os.getpid()).any() else None
        if index is None:
            index = int(pushes.argmin())
            time.sleep(0.01 * (os.getpid() % 7))
            index = int((pids == 0).nonzero()[0])
            pids[index] = os.getpid()
        pushes[index] += 1
        a3c_push_gradients(local, shared, optimizer)

    config = a3c.Config(n_workers=3, n_envs=4, n_steps=8, total_steps=6000)
    result = a3c.train(config, push=push, progress=False)
    assert (pushes > 0).sum() >= 2  # more than one process did the work
    assert os.getpid() not in pids.tolist()
    assert result.history["steps"][-1] >= 6000
    assert len(result.returns) > 50
    assert not any(alive(int(pid)) for pid in pids if pid)


def test_an_error_in_a_worker_is_told_in_full_and_nobody_is_left():
    pids = torch.zeros(2, dtype=torch.int64).share_memory_()

    def broken(local, shared, optimizer):
        pids[int(pids[0] != 0)] = os.getpid()
        raise RuntimeError("the learner's mistake")

    with pytest.raises(RuntimeError, match="the learner's mistake") as caught:
        a3c.train(a3c.Config(total_steps=10_000), push=broken, progress=False)
    assert "in broken" in str(caught.value)  # the worker's own traceback
    assert not any(alive(int(pid)) for pid in pids if pid)


def test_a_dying_worker_is_noticed():
    def dies(local, shared, optimizer):
        os.kill(os.getpid(), signal.SIGKILL)

    began = time.monotonic()
    with pytest.raises(RuntimeError, match=r"worker \d died \(exit code -9\)"):
        a3c.train(a3c.Config(total_steps=10**9), push=dies, progress=False)
    assert time.monotonic() - began < 20


SCRIPT = textwrap.dedent(
    """
    import os, sys, time
    from pgcourse import a3c

    told = set()

    def push(local, shared, optimizer):
        if os.getpid() not in told:
            told.add(os.getpid())
            os.write(1, f"{os.getpid()}\\n".encode())
        a3c.a3c_push_gradients(local, shared, optimizer)

    a3c.train(a3c.Config(n_workers=2, total_steps=10**9), push=push, progress=False)
    """
)


@pytest.mark.parametrize("end", [signal.SIGINT, signal.SIGTERM, signal.SIGKILL])
def test_no_orphans_whatever_ends_the_parent(end):
    parent = subprocess.Popen(
        [sys.executable, "-c", SCRIPT],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )
    try:
        workers = [int(parent.stdout.readline()) for _ in range(2)]
        assert all(map(alive, workers))
        if end == signal.SIGINT:
            os.killpg(parent.pid, end)  # as a terminal does: everybody hears Ctrl-C
        else:
            parent.send_signal(end)
        assert parent.wait(timeout=20) != 0
        until = time.monotonic() + 20
        while any(map(alive, workers)) and time.monotonic() < until:
            time.sleep(0.1)
        assert not any(map(alive, workers))
        errors = parent.stderr.read()
        if end == signal.SIGINT:
            assert errors.count("KeyboardInterrupt") == 1  # the parent's; workers end in silence
    finally:
        parent.kill()
        parent.communicate()


def test_a_stop_from_the_callback_ends_the_workers():
    result = a3c.train(
        a3c.Config(total_steps=10**9), progress=False, callback=lambda r: r.steps > 2000
    )
    assert result.history["steps"][-1] < 10**6


def test_nobody_works_while_a_callback_looks():
    """However slow it is, it looks as often, and what it saw last is what is returned."""
    looks = []

    def look(recorder):
        before = nn.utils.parameters_to_vector(recorder.policy.parameters()).detach().clone()
        time.sleep(0.2)
        after = nn.utils.parameters_to_vector(recorder.policy.parameters()).detach().clone()
        assert torch.equal(before, after)
        looks.append((recorder.steps, after))
        return recorder.steps > 6000

    config = a3c.Config(total_steps=10**9)
    result = a3c.train(config, progress=False, callback=look)
    steps = torch.tensor([0] + [steps for steps, _ in looks])
    update = config.n_envs * config.n_steps
    assert ((2 * config.n_workers + 1) * update >= steps.diff()).all() and (steps.diff() > 0).all()
    assert result.history["steps"].tolist() == steps[1:].tolist()
    assert torch.equal(nn.utils.parameters_to_vector(result.policy.parameters()), looks[-1][1])
    assert sum(step <= steps[-1] for step in result.return_steps) == len(result.returns)


def test_learning_after_the_parent_has_used_autograd():
    """fork and autograd's threads do not mix everywhere; a notebook has used backward before."""
    nn.Linear(3, 1)(torch.randn(2, 3)).sum().backward()
    result = a3c.train(a3c.Config(total_steps=2000), progress=False)
    assert len(result.returns) > 10
