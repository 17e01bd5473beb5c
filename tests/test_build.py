"""One authored source, two notebooks that nbgrader accepts, and a --check that can fail."""

import json

import nbformat
import pytest

from pgcourse.checks.cells import STUB
from pgcourse.classroom import build
from pgcourse.classroom.build import BuildError, build_lesson, faults

SOURCE = """
# %% [markdown]
# # A lesson

# %% tags=["setup"]
import torch

from pgcourse.checks import check
from pgcourse.losses import probability_ratio
from pgcourse.tensors import same_shape

# %% exercise="pgcourse.distributions.softmax"

# %% [markdown]
# The same words twice.

# %% [markdown]
# The same words twice.

# %% exercise="pgcourse.estimators.score_function_gradient"

# %% exercise="pgcourse.losses.ppo_clip_loss" broken="no minimum"

# %% solution="plot_it"
### BEGIN SOLUTION
values = softmax(torch.zeros(2))
### END SOLUTION
print("given")
"""


@pytest.fixture
def lesson():
    return build_lesson(SOURCE, "00_fixture")


@pytest.fixture
def small_root(tmp_path):
    (tmp_path / "solutions").mkdir()
    (tmp_path / "solutions" / "00_fixture.py").write_text(SOURCE)
    return tmp_path


def cell(nb, grade_id):
    return next(c for c in nb.cells if c.metadata.get("nbgrader", {}).get("grade_id") == grade_id)


def test_the_function_s_own_text_comes_in(lesson):
    solved, stub = (
        cell(nb, "score_function_gradient").source for nb in (lesson.solved, lesson.learner)
    )
    for text in (solved, stub):
        assert text.startswith("def score_function_gradient(theta, actions, returns):")
        assert "Monte-Carlo estimate" in text and "same_shape(actions=actions" in text
    assert "onehot" in solved and "### BEGIN SOLUTION" in solved
    assert "onehot" not in stub and stub.endswith("    " + STUB)
    exec(solved, {"torch": None})


def test_checks_are_locked_and_worth_what_the_exercise_says(lesson):
    from pgcourse.checks import get

    check = cell(lesson.learner, "check_softmax")
    assert check.source == 'check(softmax, "softmax")'
    assert check.metadata["nbgrader"]["points"] == get("softmax").points
    assert check.metadata["nbgrader"]["locked"] and not check.metadata["editable"]
    order = [c.metadata.get("nbgrader", {}).get("grade_id") for c in lesson.learner.cells]
    assert order.index("check_softmax") == order.index("softmax") + 1


def test_a_broken_function_is_given_to_be_mended(lesson):
    given = cell(lesson.learner, "ppo_clip_loss").source
    assert "return -(clipped * adv).mean()" in given and "Schulman et al. 2017" in given
    assert "torch.minimum" in cell(lesson.solved, "ppo_clip_loss").source
    space = dict(vars(build.import_module("pgcourse.losses")))
    exec(given, space)
    verdict = check_verdict(space["ppo_clip_loss"])
    assert verdict.pitfall == "no minimum"
    mended = given.replace("(clipped * adv)", "torch.minimum(rho * adv, clipped * adv)")
    exec(mended, space)
    assert check_verdict(space["ppo_clip_loss"]).passed


def check_verdict(fn):
    from pgcourse.checks import judge

    return judge(fn, "ppo_clip_loss")


def test_an_ungraded_solution_is_cut_in_place(lesson):
    assert cell(lesson.learner, "plot_it").source == f'{STUB}\nprint("given")'
    assert not cell(lesson.learner, "plot_it").metadata["nbgrader"]["grade"]


def test_building_twice_changes_nothing(small_root):
    assert build.build(root=small_root) == []
    first = {p: p.read_bytes() for p in small_root.rglob("*.ipynb")}
    assert len(first) == 2
    assert build.build(root=small_root) == []
    assert first == {p: p.read_bytes() for p in small_root.rglob("*.ipynb")}
    assert build.build(root=small_root, check=True) == []


def test_notebooks_have_stable_ids_no_outputs_and_the_plain_kernel(lesson):
    for nb in (lesson.solved, lesson.learner):
        nbformat.validate(nb)
        ids = [c.id for c in nb.cells]
        assert len(ids) == len(set(ids))
        assert ids == [c.id for c in build_lesson(SOURCE, "00_fixture").solved.cells]
        assert all(not c.get("outputs") and not c.get("execution_count") for c in nb.cells)
        assert nb.metadata.kernelspec.name == "python3"
        assert nb.cells[1].metadata.tags == ["setup"]


@pytest.mark.parametrize(
    "source, message",
    [
        ('# %% exercise="pgcourse.losses.no_such"', "is not there"),
        ('# %% exercise="no_such_module.f"', "is not there"),
        ('# %% exercise="pgcourse.tensors.masked_mean"', "has no check"),
        ('# %% exercise="pgcourse.checks.LESSONS"', "is no function"),
        ('# %% exercise="pgcourse.distributions.softmax"\nx = 1', "an exercise cell is empty"),
        ('# %% exercise="pgcourse.losses.entropy_bonus" broken="x"', "is not there"),
        ('# %% exercise="pgcourse.losses.ppo_clip_loss" broken="not one"', "there are: no clip"),
        ('# %% broken="no clip"\nx = 1', "not understood"),
        ('# %% solution="plot"\nx = 1', "BEGIN SOLUTION"),
        ('# %% solution="plot"\n### BEGIN SOLUTION\nx = 1', "END SOLUTION"),
        ("# %%\n### BEGIN SOLUTION\nx = 1\n### END SOLUTION", "needs a name"),
        ('# %% excercise="pgcourse.distributions.softmax"', "not understood"),
        ('# %% exercise="pgcourse.distributions.softmax"\n' * 2, "used twice"),
    ],
)
def test_a_wrong_source_is_refused_in_plain_words(source, message):
    with pytest.raises(BuildError, match=message):
        build_lesson(source, "00_fixture")


# --------------------------------------------------------------------------- what --check refuses


def test_a_good_lesson_has_no_faults(lesson):
    assert faults(lesson) == []


def test_check_refuses_drift(small_root):
    build.build(root=small_root)
    path = small_root / "course" / "00_fixture.ipynb"
    path.write_text(path.read_text().replace("The same words", "Other words"))
    complaints = build.build(root=small_root, check=True)
    assert len(complaints) == 1 and "course/00_fixture.ipynb is not what" in complaints[0]


def test_check_refuses_a_stray_notebook(small_root):
    build.build(root=small_root)
    (small_root / "course" / "09_old.ipynb").write_text("{}")
    assert any("has no source" in c for c in build.build(root=small_root, check=True))


@pytest.mark.parametrize("where", ["markdown", "code"])
def test_check_refuses_a_leak(lesson, where):
    given = next(c for c in lesson.learner.cells if c.cell_type == where)
    given.source += "\n  " + lesson.answers["softmax"].replace("\n", "  # so\n")
    assert any("answer of softmax" in fault for fault in faults(lesson))


def test_check_refuses_a_mark_that_was_left(lesson):
    lesson.learner.cells[0].source += "\n### END SOLUTION"
    assert any("mark is left" in fault for fault in faults(lesson))


@pytest.mark.parametrize("key", ["schema_version", "points", "checksum", "grade_id"])
def test_check_refuses_incomplete_metadata(lesson, key):
    del cell(lesson.learner, "check_softmax").metadata["nbgrader"][key]
    assert faults(lesson)


def test_check_refuses_a_duplicate_grade_id(lesson):
    lesson.learner.cells.append(cell(lesson.learner, "check_softmax"))
    assert any("Duplicate grade id" in fault for fault in faults(lesson))


def test_check_refuses_a_check_that_moved_away(lesson):
    lesson.learner.cells.remove(cell(lesson.learner, "check_softmax"))
    assert any("not followed by its check" in fault for fault in faults(lesson))


def test_check_refuses_a_stub_that_earns_points(lesson):
    stub = cell(lesson.learner, "softmax")
    stub.source = stub.source.replace(STUB, "return torch.softmax(theta, -1)")
    assert any("stub of softmax earns 4 points" in fault for fault in faults(lesson))


def test_check_refuses_what_is_to_be_mended_and_is_right(lesson):
    for nb in (lesson.learner, lesson.solved):
        cell(nb, "ppo_clip_loss").source = cell(lesson.solved, "ppo_clip_loss").source
    assert any("ppo_clip_loss is given to be mended, and right" in f for f in faults(lesson))


@pytest.mark.parametrize("name", ["softmax", "ppo_clip_loss"])
def test_someone_s_work_is_not_overwritten(small_root, name):
    build.build(root=small_root)
    path = small_root / "course" / "00_fixture.ipynb"
    assert not build.is_someones_work(path)
    nb = nbformat.read(path, as_version=4)
    cell(nb, name).source = f"def {name}(theta):\n    return theta"
    nbformat.write(nb, path)
    before = path.read_bytes()
    (complaint,) = build.build(root=small_root)
    assert "someone's work" in complaint and path.read_bytes() == before
    assert build.build(root=small_root, force=True) == [] and path.read_bytes() != before


def test_the_real_lessons_are_in_order():
    """What `pgcourse build --check` says about the repository itself."""
    assert build.build(check=True) == []


# --------------------------------------------------------------------------------- nbgrader


def test_nbgrader_s_release_of_the_solution_is_the_learner_s_notebook(
    small_root, tmp_path, monkeypatch
):
    """generate_assignment on the solved notebook gives, cell for cell, what build wrote itself."""
    from pgcourse.classroom import classroom

    build.build(root=small_root)
    monkeypatch.setattr(classroom, "ROOT", small_root)
    directory = classroom.new(tmp_path.parent / f"{tmp_path.name}-class", report=lambda line: None)
    released = directory / "release" / "00_fixture" / "00_fixture.ipynb"
    ours = json.loads((small_root / "course" / "00_fixture.ipynb").read_text())
    theirs = json.loads(released.read_text())
    assert ours["cells"] == theirs["cells"]
    assert ours["metadata"]["kernelspec"] == theirs["metadata"]["kernelspec"]
    assert [p.name for p in released.parent.iterdir()] == [released.name], "only the notebook"
