"""Grading a class, beside plain nbgrader: the same submissions, the same points, seconds on one core for each.

    python -m pgcourse.bench.grading

A class of 20 is graded by nbgrader's own autograde and by this project; one of 200 by this project
alone. What counts is the margin: the seconds that one more submission takes on one core, by the clock (of what
runs in a sandbox no CPU time is told to who started it), start-up not counted.
nbgrader runs every cell of a lesson, this project no cell that only trains or plots; so the second
ratio leaves nbgrader's time in such cells out.
"""

import json
import os
import re
import subprocess
import sys
import tempfile
import threading
import time
from datetime import datetime
from pathlib import Path

LESSON = "01_policy_gradient_theorem"
FEW, CLASS, MANY = 4, 20, 200


def make_class(root, size):
    """A classroom with `size` submissions: the example's six students, again and again."""
    from pgcourse.classroom import classroom
    from pgcourse.classroom.students import STUDENTS

    classroom.new(root, [LESSON], report=lambda line: None)
    for student in STUDENTS[:size]:
        classroom.hand_in(root, student, LESSON)
    for i in range(len(STUDENTS), size):
        original = root / "submitted" / STUDENTS[i % len(STUDENTS)].name / LESSON
        copy = root / "submitted" / f"student-{i:04}" / LESSON
        copy.mkdir(parents=True)
        for path in original.iterdir():
            (copy / path.name).write_bytes(path.read_bytes())


def without_pgcourse(root):
    """The classroom as plain nbgrader would have it: same seed, nbgrader's own executor."""
    config = root / "nbgrader_config.py"
    seed = re.search(r"seed='(\w+)'", config.read_text())[1]
    config.write_text(f"""
import os
c = get_config()
c.CourseDirectory.course_id = "plain"
c.OverwriteCells.add_missing_cells = True
c.ExecutePreprocessor.timeout = 300
os.environ |= {{"PGCOURSE_SEED": "{seed}", "PGCOURSE_FAST": "1"}}
""")


def seconds_not_graded(root):
    """Wall seconds that plain nbgrader spent, per submission, in cells that only train or plot."""
    total, paths = 0.0, list((root / "autograded").glob(f"*/{LESSON}/*.ipynb"))
    for path in paths:
        for cell in json.loads(path.read_text())["cells"]:
            meta = cell["metadata"]
            if (
                "execution" in meta
                and "nbgrader" not in meta
                and "setup" not in meta.get("tags", [])
            ):
                ran = meta["execution"]
                began, ended = ran["iopub.execute_input"], ran["shell.execute_reply"]
                total += (
                    datetime.fromisoformat(ended) - datetime.fromisoformat(began)
                ).total_seconds()
    return total / len(paths)


def measured(argv, cwd, cores=None):
    """Wall seconds of a command with all it starts, and the peak of its memory in MB."""
    import psutil

    argv = [*(["taskset", "-c", f"0-{cores - 1}"] if cores else []), *argv]

    began, peak, over = time.perf_counter(), 0, threading.Event()
    process = subprocess.Popen(argv, cwd=cwd, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)

    def watch():
        nonlocal peak
        tree = psutil.Process(process.pid)
        while not over.wait(1.0):
            total = 0
            for p in (tree, *children(tree)):
                try:
                    total += p.memory_full_info().pss
                except psutil.Error:
                    pass
            peak = max(peak, total)

    watcher = threading.Thread(target=watch)
    watcher.start()
    code = process.wait()
    over.set()
    watcher.join()
    if code:
        raise RuntimeError(f"{' '.join(map(str, argv))} failed in {cwd}")
    return {"wall": time.perf_counter() - began, "peak_mb": peak / 2**20}


def children(process):
    import psutil

    try:
        return process.children(recursive=True)
    except psutil.Error:
        return []


def grade(root, cores):
    argv = [sys.executable, "-m", "pgcourse.cli", "grade", root, LESSON]  # one job a core
    return measured(argv, root, cores)


def plain(root):
    os.environ["PATH"] = os.pathsep.join([str(Path(sys.executable).parent), os.environ["PATH"]])
    return measured([sys.executable, "-m", "nbgrader", "autograde", LESSON], root)


def measure(tell=print):
    from pgcourse.classroom.classroom import gradebook_scores

    found = {}
    with tempfile.TemporaryDirectory(prefix="pgcourse-bench-") as folder:
        folder = Path(folder)
        for size in (FEW, CLASS):
            make_class(folder / f"plain-{size}", size)
            without_pgcourse(folder / f"plain-{size}")
            found[f"nbgrader {size}"] = plain(folder / f"plain-{size}")
            tell(f"nbgrader, {size}: {found[f'nbgrader {size}']}")
        for size, cores in ((CLASS, 2), (CLASS, 1), (MANY, 2), (MANY, 1)):
            root, run = folder / f"ours-{size}-{cores}", f"pgcourse {size}, cores: {cores}"
            make_class(root, size)
            found[run] = grade(root, cores)
            tell(f"{run}: {found[run]}")
        idle = seconds_not_graded(folder / f"plain-{CLASS}")
        same = points(gradebook_scores(folder / f"plain-{CLASS}"))
        found["same points"] = same == points(gradebook_scores(folder / f"ours-{CLASS}-2"))
    theirs = margin(found[f"nbgrader {FEW}"], found[f"nbgrader {CLASS}"], CLASS - FEW)
    few, one, two = (
        found[f"pgcourse {size}, cores: {cores}"]
        for size, cores in ((CLASS, 1), (MANY, 1), (MANY, 2))
    )
    ours = margin(few, one, MANY - CLASS)
    return found | {
        "nbgrader, s on one core for one more": theirs,
        "pgcourse, s on one core for one more": ours,
        "ratio": theirs / ours,
        "nbgrader, of it in cells that only train or plot": idle,
        "ratio without them": (theirs - idle) / ours,
        "wall, 1 core / 2 cores": one["wall"] / two["wall"],
        "load": os.getloadavg()[0],
    }


def margin(few, many, more):
    return (many["wall"] - few["wall"]) / more


def points(scores):
    return {student: grades for (student, _), grades in scores.items()}


def markdown(found):
    rows = [f"| {k} | {v:.2f} |" for k, v in found.items() if isinstance(v, float)]
    lines = ["# Grading a class, beside plain nbgrader", "", "| | |", "|---|---|", *rows, ""]
    lines += ["| run | wall s | peak MB |", "|---|---|---|"]
    lines += [
        f"| {k} | {v['wall']:.1f} | {v['peak_mb']:.0f} |"
        for k, v in found.items()
        if isinstance(v, dict)
    ]
    same = "the same" if found["same points"] else "NOT the same"
    return "\n".join([*lines, "", f"Points in the two gradebooks of {CLASS}: {same}.", ""])


def main(out=Path("bench")):
    found = measure()
    out.mkdir(exist_ok=True)
    (out / "grading.json").write_text(json.dumps(found, indent=1) + "\n")
    (out / "grading.md").write_text(markdown(found))
    print(markdown(found))


if __name__ == "__main__":
    main()
