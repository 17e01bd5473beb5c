"""Shared by all tests: tools that may be missing, and no wandering kernels or threads."""

import os
import shutil
import signal
import sys
from pathlib import Path

import pytest

# as `make` does: this environment's programs and kernel, whatever else the machine has
os.environ["PATH"] = os.pathsep.join([str(Path(sys.executable).parent), os.environ.get("PATH", "")])
os.environ["JUPYTER_PREFER_ENV_PATH"] = "1"
for name in ("JUPYTER_PATH", "PGCOURSE_SEED", "PGCOURSE_FAST"):
    os.environ.pop(name, None)
os.environ.setdefault("OMP_NUM_THREADS", "1")
os.environ.setdefault("MPLBACKEND", "agg")
# a shell's background jobs ignore Ctrl-C, and so would what a test starts and interrupts
signal.signal(signal.SIGINT, signal.default_int_handler)


# What takes minutes begins first (`--no-loadscope-reorder`): else one core is idle at the end. A file is run by one
# process, since its fixtures are dear (`--dist loadfile`; `loadgroup` of pytest-xdist 3.8 groups nothing in pytest 9.2).
LONG = (
    "test_checks test_adversaries test_grade test_intake test_notebooks test_site test_containment "
    "test_train_rlhf test_where test_classroom test_browser test_edits test_forms test_checks_core"
).split()


def pytest_collection_modifyitems(config, items):
    if hasattr(config, "workerinput"):
        order = {name: i for i, name in enumerate(LONG)}
        items.sort(key=lambda item: order.get(item.path.stem, len(LONG)))


def pytest_runtest_setup(item):
    """`@pytest.mark.needs_tool("chromium", "google-chrome")`: one of them; in CI it must be there."""
    for mark in item.iter_markers("needs_tool"):
        if not any(map(shutil.which, mark.args)):
            reason = f"none of these programs is installed: {', '.join(mark.args)}"
            if os.environ.get("CI") == "true":
                pytest.fail(reason)
            pytest.skip(reason)


@pytest.fixture(scope="session")
def root():
    """The clone."""
    return Path(__file__).resolve().parents[1]


@pytest.fixture(scope="module")
def tidy():
    """No worker is left warm by a file that grades in its own process."""
    from pgcourse.classroom import warm

    yield
    warm.close_worker()


@pytest.fixture
def saved_lesson(root, tmp_path):
    """A folder with lesson 1 as a learner saved it: one right, one wrong with an old output of
    full marks, the rest untouched."""
    import nbformat

    from pgcourse.checks import get
    from pgcourse.classroom.students import text_of

    name = "01_policy_gradient_theorem.ipynb"
    nb = nbformat.read(root / "course" / name, as_version=4)
    cells = {c.metadata["nbgrader"]["grade_id"]: c for c in nb.cells if "nbgrader" in c.metadata}
    sign = next(p for p in get("grad_log_softmax").pitfalls if p.name == "sign")
    cells["softmax"].source = text_of(get("softmax").reference, "softmax")
    cells["grad_log_softmax"].source = text_of(sign.wrong, "grad_log_softmax")
    old = nbformat.v4.new_output("execute_result", {"text/plain": "4.0"}, execution_count=3)
    cells["check_grad_log_softmax"].outputs = [old]
    nbformat.write(nb, tmp_path / name)
    return tmp_path
