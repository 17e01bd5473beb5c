"""The ballot in a real browser: a pair at a time, by mouse and by keyboard, what others voted hidden until one has."""

import pytest

from tests.test_browser import LESSON, browser, lab, pytestmark  # noqa: F401


@pytest.fixture(scope="module")
def cell(lab, browser):  # noqa: F811
    _, address = lab
    browser.open_notebook(address.replace(LESSON, "08_capstone"))
    cell = browser.cell("votes = Ballot(mine)")
    browser.write(
        cell,
        'from pgcourse import capstone\nfrom pgcourse.ballot import Ballot\nmine = capstone.ballot(capstone.chosen(capstone.recorded()["pairs"]))\nvotes = Ballot(mine)\nvotes',
    )
    browser.run(cell)
    return cell


def test_a_vote_shows_how_others_voted_and_is_kept(browser, cell):  # noqa: F811
    from selenium.webdriver.common.keys import Keys

    assert "Pair 1 of 24" in browser.output(cell, "Your votes, to be copied")
    assert "readers" not in browser.output(cell, "Pair 1 of 24")
    browser.picture("b1_ballot")
    browser.click(browser.find("button", "B is better", inside=cell))
    assert "voted for A" in browser.output(cell, "You: B. Of 10 simulated readers")
    browser.picture("b2_voted")
    browser.click(browser.find("button", "Next", inside=cell))
    assert "readers" not in browser.output(cell, "Pair 2 of 24")
    button = browser.find("button", "A is better", inside=cell)
    browser.driver.execute_script("arguments[0].focus()", button)
    browser.press(Keys.ENTER)
    assert "BA----" in browser.output(cell, "You: A. Of 10 simulated readers")
    browser.click(browser.find("button", "Back", inside=cell))
    browser.output(cell, "You: B. Of 10")
    browser.click(browser.find("button", "Skip", inside=cell))
    assert "-A----" in browser.output(cell, "Pair 2 of 24")
    assert browser.outside() == []
