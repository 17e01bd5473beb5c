"""The learner's way in a real browser: the folded first cell, a bet, an old question, the playground, words of pictures."""

import pytest

from tests.test_browser import browser, lab, pytestmark, wait  # noqa: F401

WORDS = "two boxes, agent and environment"


def text(browser, cell):  # noqa: F811
    return browser.driver.execute_script("return arguments[0].textContent", cell)


@pytest.fixture(scope="module")
def lesson(lab, browser):  # noqa: F811
    _, address = lab
    browser.open_notebook(address)
    browser.run_folded()
    return browser


def test_the_first_cell_is_folded_and_runs(lesson):
    lesson.find("[role=status]", "Lesson 1: 0 of")
    assert "import torch" not in lesson.find(".jp-Notebook").text.split("The door")[0]
    lesson.picture("w1_folded")


def test_a_picture_has_its_words_in_the_page(lesson):
    cell = lesson.cell("plots.agent_and_environment()")
    lesson.run(cell)
    image = lesson.find(".jp-OutputArea img", inside=cell)
    assert WORDS in image.get_attribute("alt")
    assert lesson.driver.execute_script("return arguments[0].naturalWidth", image) > 300
    lesson.picture("w2_loop")


def test_the_loop_runs_and_a_bet_is_drawn_into_the_picture(lesson, lab):  # noqa: F811
    folder, _ = lab
    loop = lesson.cell("env.action_space.sample()  # <- your rule here")
    lesson.run(loop)
    lesson.output(loop, "steps, and")
    cell = lesson.cell('bet("01 balance"')
    lesson.run(cell)
    slider = lesson.find(".widget-slider", inside=cell)
    assert "Your bet:" in slider.text
    lesson.click(lesson.find("button", "Bet", inside=cell))
    lesson.output(cell, "Your bet: 250. Now look.")
    lesson.picture("w3_bet")
    assert '"mine": 250.0' in (folder / "course" / "my_bets.json").read_text()
    cell = lesson.cell("def by_lean_and_turn(obs)")
    lesson.run(cell)
    lesson.output(cell, "You bet 250. It is ")
    image = lesson.find(".jp-OutputArea img", inside=cell)
    assert "your bet" in image.get_attribute("alt")
    lesson.picture("w4_settled")
    assert lesson.outside() == []


def test_the_playground_moves(lesson):
    cell = lesson.cell("simplex.playground()")
    lesson.write(cell, "from pgcourse import simplex\nsimplex.playground()")
    lesson.run(cell)
    image = lesson.find(".jp-OutputArea img", inside=cell)
    before = image.get_attribute("alt")
    assert before.startswith("π = (0.33, 0.18, 0.49)")
    assert {"preference of a1:", "learning rate:", "PPO's clip, 0.2"} <= set(
        text_of_labels(lesson, cell)
    )
    from selenium.webdriver.common.keys import Keys

    handle = lesson.find(".noUi-handle", inside=cell)
    lesson.driver.execute_script("arguments[0].focus()", handle)
    lesson.press(Keys.ARROW_RIGHT)

    def moved():
        now = cell.find_element("css selector", ".jp-OutputArea img").get_attribute("alt")
        return now != before

    wait(moved, lambda: "the picture did not move")
    lesson.driver.execute_script("arguments[0].scrollIntoView({block: 'start'})", cell)
    lesson.picture("w5_playground")


def text_of_labels(browser, cell):  # noqa: F811
    labels = cell.find_elements("css selector", ".widget-label, .widget-checkbox span")
    return [label.text for label in labels]


def test_the_last_cell_shows_the_way(lesson):
    cell = lesson.cell("from pgcourse.notebook import end")
    lesson.run(cell)
    lesson.find("[role=status] a", "Next: lesson 2", inside=cell)
    lesson.picture("w6_way")
