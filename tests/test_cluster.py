"""A Dask cluster grades as the pool here does, also when one of its workers is killed half-way."""

import os
import signal
import socket
import subprocess
import sys

import pytest

from pgcourse.classroom.grade import ClassError, grade_class
from tests import classes
from tests.adversaries import attack
from tests.classes import FULL, LESSON, notebook, to_bytes

distributed = pytest.importorskip("distributed", reason="Dask is an optional extra")


@pytest.mark.slow
def test_a_cluster_of_two_of_which_one_is_killed(tmp_path):
    root = classes.make(tmp_path / "class")
    for i in range(8):
        answers = {"score_step": attack("")} if i % 2 else {}
        classes.hand_in(root, f"student-{i}", to_bytes(notebook(answers)))
    with (
        distributed.LocalCluster(
            n_workers=2, threads_per_worker=2, processes=True, dashboard_address=None
        ) as cluster,
        distributed.Client(cluster) as client,
    ):
        pids = list(client.run(os.getpid).values())
        killed = []

        def tell(done, total, row):
            if done == 2:
                os.kill(pids[0], signal.SIGKILL)
                killed.append(pids[0])

        rows = grade_class(root, LESSON, scheduler=cluster.scheduler_address, tell=tell)
    assert killed
    assert {row.status for row in rows.values()} == {"graded"}
    expected = {f"student-{i}": FULL | ({"score_step": 0.0} if i % 2 else {}) for i in range(8)}
    assert classes.scores(root) == expected


def start(program, *args):
    """A program of Dask's in a process of its own."""
    command = [sys.executable, "-m", f"distributed.cli.{program}", *args, "--no-dashboard"]
    return subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)


@pytest.mark.slow
@pytest.mark.parametrize(
    "which, said",
    [(0, "scheduler is gone. What was graded is kept"), (1, "has no worker")],
    ids=["scheduler", "worker"],
)
def test_a_cluster_that_goes_is_a_sentence_and_nothing_is_lost(tmp_path, monkeypatch, which, said):
    monkeypatch.setattr("pgcourse.classroom.grade.PATIENCE", 5)
    monkeypatch.setattr("pgcourse.classroom.grade.LONG", 2)
    root = classes.make(tmp_path / "class")
    for i in range(6):
        classes.hand_in(root, f"student-{i}", to_bytes(notebook()))
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    address = f"tcp://127.0.0.1:{port}"
    programs = [
        start("dask_scheduler", "--host", "127.0.0.1", "--port", str(port)),
        start("dask_worker", address, "--nthreads", "1", "--no-nanny"),
    ]
    try:
        with distributed.Client(address, timeout=60) as client:
            client.wait_for_workers(1, timeout=60)

        def tell(done, total, row):
            if done == 1:
                programs[which].kill()

        with pytest.raises(ClassError, match=said):
            grade_class(root, LESSON, scheduler=address, tell=tell)
    finally:
        for program in programs:
            program.kill()
            program.wait()
    assert FULL in classes.scores(root).values()


def test_tls_without_its_files_is_a_sentence(tmp_path):
    root = classes.make(tmp_path / "class")
    classes.hand_in(root, "ada", to_bytes(notebook()))
    with pytest.raises(ClassError, match="TLS expects"):
        grade_class(root, LESSON, scheduler="tls://127.0.0.1:9")


def test_a_scheduler_that_is_not_there_is_named(tmp_path, monkeypatch):
    root = classes.make(tmp_path / "class")
    classes.hand_in(root, "ada", to_bytes(notebook()))
    monkeypatch.setattr("pgcourse.classroom.grade.PATIENCE", 2)
    with pytest.raises(ClassError, match="No Dask scheduler answers"):
        grade_class(root, LESSON, scheduler="tcp://127.0.0.1:9")
