"""What a person meets, in a real browser that can reach this machine alone: no network, no CDN.

Pictures of each step go to tests/artifacts/ (not under git), to be looked at.
"""

import contextlib
import json
import os
import re
import shutil
import signal
import socket
import subprocess
import sys
from pathlib import Path
from urllib.parse import urlsplit

import pytest

from pgcourse.checks import get, lesson_exercises
from pgcourse.classroom import classroom
from pgcourse.classroom.students import STUDENTS, text_of

pytestmark = [
    pytest.mark.slow,
    pytest.mark.needs_tool("chromium", "google-chrome", "chrome"),
    pytest.mark.needs_tool("chromedriver"),
]
ROOT = Path(__file__).resolve().parents[1]
ARTIFACTS = ROOT / "tests" / "artifacts"
LESSON = "01_policy_gradient_theorem"
PATIENCE = 120  # seconds for one thing to appear, on a machine with much else to do


# ------------------------------------------------------------------------------------ servers


@contextlib.contextmanager
def server(command, folder, home, log):
    """A JupyterLab that was started with this command in this folder: the address it prints."""
    env = classroom.environment() | {
        "HOME": str(home),
        "PGCOURSE_FAST": "1",
        "PYTHONUNBUFFERED": "1",
    }
    for name in [*env]:
        if (
            name.startswith(("JUPYTER_", "XDG_", "MAKE", "MFLAGS"))
            and name != "JUPYTER_PREFER_ENV_PATH"
        ):
            del env[name]
    env.pop("MPLBACKEND", None)  # a kernel draws inline
    settings = home / ".jupyter" / "lab" / "user-settings" / "@jupyterlab" / "notebook-extension"
    settings.mkdir(parents=True, exist_ok=True)
    # every cell is in the page, also those that are not in sight
    (settings / "tracker.jupyterlab-settings").write_text('{"windowingMode": "none"}')
    with open(log, "w") as file:
        process = subprocess.Popen(
            command, cwd=folder, env=env, stdout=file, stderr=file, start_new_session=True
        )
    try:
        yield wait(
            lambda: re.search(r"http://127\.0\.0\.1:\d+/\S*token=\w+", log.read_text()),
            lambda: f"no address: {log.read_text()[-2000:]}",
            alive=process,
        )[0]
    finally:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGTERM)
        try:
            process.wait(30)
        except subprocess.TimeoutExpired:
            os.killpg(process.pid, signal.SIGKILL)


def options(port):
    root = "--allow-root " * (os.getuid() == 0)
    return f"{root}--no-browser --ServerApp.port={port} --ServerApp.port_retries=0".split()


def free_port():
    with socket.socket() as s:
        s.bind(("127.0.0.1", 0))
        return s.getsockname()[1]


def wait(condition, otherwise, seconds=PATIENCE, alive=None):
    """What the condition returns as soon as that is true. A TimeoutError says what came instead."""
    from selenium.common.exceptions import WebDriverException
    from selenium.webdriver.support.ui import WebDriverWait

    def asked(_):
        if alive is not None and alive.poll() is not None:
            raise AssertionError(otherwise())
        return condition()

    try:
        return WebDriverWait(None, seconds, 0.2, (WebDriverException, IndexError)).until(asked)
    except Exception as error:
        raise AssertionError(f"{type(error).__name__}: {otherwise()}") from None


# ------------------------------------------------------------------------------------ browser


class Browser:
    """A headless Chromium, and what a person does with it."""

    def __init__(self, profile):
        from selenium import webdriver

        chosen = webdriver.ChromeOptions()
        programs = ("chromium", "google-chrome", "chrome")
        chosen.binary_location = next(filter(None, map(shutil.which, programs)))
        for flag in (
            "--headless",
            "--no-sandbox",
            "--disable-gpu",
            "--disable-dev-shm-usage",
            "--disable-background-networking",
            "--window-size=1300,1000",
            f"--user-data-dir={profile}",
            "--host-resolver-rules=MAP * ~NOTFOUND , EXCLUDE 127.0.0.1",
        ):
            chosen.add_argument(flag)
        chosen.set_capability("goog:loggingPrefs", {"performance": "ALL"})
        service = webdriver.ChromeService(shutil.which("chromedriver"))
        self.driver = webdriver.Chrome(chosen, service)
        self.driver.set_script_timeout(PATIENCE)
        self.driver.set_page_load_timeout(PATIENCE)
        # a page that is looked at: some versions' headless ones have no focus, and JupyterLab then no current notebook
        self.driver.execute_cdp_cmd("Emulation.setFocusEmulationEnabled", {"enabled": True})

    def picture(self, name):
        ARTIFACTS.mkdir(exist_ok=True)
        self.driver.save_screenshot(str(ARTIFACTS / f"{name}.png"))

    def find(self, css, text="", inside=None):
        """The first visible element that contains the text, as soon as there is one."""

        def look():
            for element in (inside or self.driver).find_elements("css selector", css):
                if text in element.text and element.is_displayed():
                    return element

        try:
            return wait(look, lambda: f"no {css} with {text!r}")
        except AssertionError:
            self.picture("failed")
            raise

    def press(self, *keys, held=None):
        from selenium.webdriver import ActionChains

        actions = ActionChains(self.driver)
        if held:
            actions = actions.key_down(held)
        actions = actions.send_keys(*keys)
        (actions.key_up(held) if held else actions).perform()

    def outside(self):
        """Requests to anywhere but this machine since the last call."""
        messages = (json.loads(e["message"])["message"] for e in self.driver.get_log("performance"))
        urls = [
            urlsplit(m["params"]["request"]["url"])
            for m in messages
            if m["method"] == "Network.requestWillBeSent"
        ]
        network = ("http", "https", "ws", "wss")
        return [u.geturl() for u in urls if u.scheme in network and u.hostname != "127.0.0.1"]

    # --- in a notebook

    def open_notebook(self, address):
        self.driver.get(address)
        # JupyterLab opens the notebooks of the last time too, behind this one
        name = Path(urlsplit(address).path).name
        self.find(".lm-DockPanel-tabBar .lm-mod-current", name)
        self.find(".jp-Notebook .jp-CodeCell .cm-content")
        # the indicator says idle before there is a kernel, too, and what is run then is lost
        self.find("#jp-main-statusbar", "| Idle")
        self.find(".jp-Notebook-ExecutionIndicator[data-status=idle]")

    def cell(self, text):
        """The code cell with this text."""
        script = """return [...document.querySelectorAll(
            '.jp-NotebookPanel:not(.lm-mod-hidden) .jp-CodeCell')].find(cell => cell.querySelector('.cm-content')?.textContent.includes(arguments[0]))"""
        return wait(
            lambda: self.driver.execute_script(script, text), lambda: f"no cell with {text!r}"
        )

    def write(self, cell, text):
        """Replace what is in a cell, by keyboard."""
        from selenium.webdriver.common.keys import Keys

        self.click_into(cell)
        self.press("a", held=Keys.CONTROL)
        self.driver.execute_cdp_cmd("Input.insertText", {"text": text})
        script = """return [...arguments[0].querySelectorAll('.cm-line')]
            .map(line => line.textContent).join('\\n')"""
        wait(
            lambda: self.driver.execute_script(script, cell) == text,
            lambda: f"typed: {self.driver.execute_script(script, cell)}",
        )

    def click_into(self, cell):
        editor = cell.find_element("css selector", ".cm-content")
        self.driver.execute_script("arguments[0].scrollIntoView({block: 'center'})", editor)
        editor.find_element("css selector", ".cm-line").click()

    def run(self, cell):
        """Shift+Enter; returns when the cell has its number."""
        from selenium.webdriver.common.keys import Keys

        def prompt():
            return cell.find_element("css selector", ".jp-InputPrompt").text

        before = prompt()
        self.click_into(cell)
        self.press(Keys.ENTER, held=Keys.SHIFT)
        wait(
            lambda: prompt() != before and re.fullmatch(r"\[\d+\]:", prompt()),
            lambda: f"the cell did not finish: {prompt()}",
        )

    def run_folded(self):
        """Run the title and then the folded cell below it, by keyboard (j would jump over it); returns that cell."""
        from selenium.webdriver.common.keys import Keys

        self.find(".jp-CodeCell .jp-Placeholder")
        script = """return document.querySelector('.jp-NotebookPanel:not(.lm-mod-hidden)'
            + ' .jp-CodeCell:has(.jp-Placeholder)')"""
        cell = self.driver.execute_script(script)
        self.press(Keys.ESCAPE)
        for _ in range(100):
            self.press("k")
        for _ in range(2):
            self.press(Keys.ENTER, held=Keys.SHIFT)
        return cell

    def output(self, cell, text):
        """The cell's output, as soon as it holds the text."""
        return self.find(".jp-OutputArea", text, inside=cell).text

    def heading(self, title):
        """How far below the window's top a section begins, in pixels."""
        script = """return [...document.querySelectorAll('.jp-NotebookPanel:not(.lm-mod-hidden) h2')]
            .find(h => h.textContent.startsWith(arguments[0])).getBoundingClientRect().top"""
        return self.driver.execute_script(script, title)

    def down_to(self, text):
        """Press j until the active cell holds the text."""
        script = """return document.querySelector(
            '.jp-NotebookPanel:not(.lm-mod-hidden) .jp-Cell.jp-mod-active').textContent"""
        for _ in range(100):
            if text in self.driver.execute_script(script):
                return
            self.press("j")
        raise AssertionError(f"no cell with {text!r} below")

    def click(self, element):
        self.driver.execute_script("arguments[0].scrollIntoView({block: 'center'})", element)
        element.click()


@pytest.fixture(scope="module")
def browser(tmp_path_factory):
    opened = Browser(tmp_path_factory.mktemp("profile"))
    yield opened
    opened.driver.quit()


@pytest.fixture(scope="module")
def lab(tmp_path_factory):
    """`make lab` in a copy of the course; its folder and address."""
    clone = tmp_path_factory.mktemp("clone")
    for name in ("course", "solutions"):
        shutil.copytree(ROOT / name, clone / name, ignore=shutil.ignore_patterns(".*"))
    (clone / ".venv").symlink_to(sys.prefix)
    (clone / "pgcourse").symlink_to(ROOT / "pgcourse")
    # -o: the environment is there, and is not to be set up again
    command = ["make", "-f", str(ROOT / "Makefile"), "-o", "setup", "lab"]
    command.append(f"ARGS={' '.join(options(free_port()))}")
    home = tmp_path_factory.mktemp("home")
    with server(command, clone, home, home / "log") as address:
        yield clone, address


# ------------------------------------------------------------------------------------- lesson


def test_a_learner_is_told_the_mistake_and_then_passes(lab, browser):
    folder, address = lab
    browser.open_notebook(address)
    browser.find("mjx-container")
    browser.picture("1_lesson")
    asked = browser.driver.find_elements("css selector", ".Toastify__toast")
    assert [toast.text for toast in asked] == []  # no question about news: nothing needs a network

    exercise = get("softmax")
    check = browser.cell("check(softmax")
    begin = browser.run_folded()
    says = f"Lesson 1: 0 of {len(lesson_exercises(LESSON))} exercises pass"
    assert "○ softmax" in browser.output(begin, says)
    browser.run(check)  # too early
    assert "It comes from the cell below “Exercise: softmax" in browser.output(check, "NameError")

    pitfall = next(p for p in exercise.pitfalls if p.name == "overflow")
    cell = browser.cell("def softmax(")
    browser.write(cell, text_of(pitfall.wrong, "softmax"))
    browser.run(cell)
    browser.run(check)
    said = browser.output(check, pitfall.name)
    assert pitfall.says in said and "Traceback" not in said
    browser.picture("2_pitfall")
    assert browser.heading("A policy with parameters") < 0  # above the window
    browser.click(browser.find(".jp-OutputArea a", "A policy with parameters", inside=check))
    wait(
        lambda: 0 <= browser.heading("A policy with parameters") < 500,
        lambda: f"the section is at {browser.heading('A policy with parameters')}",
    )
    browser.picture("2_section")

    browser.write(cell, text_of(exercise.reference, "softmax"))
    browser.run(cell)
    browser.run(check)
    said = browser.output(check, f"✓ softmax · {exercise.points:g} of {exercise.points:g} points")
    assert pitfall.name not in said
    assert "✓ softmax" in browser.output(begin, says.replace("0 of", "1 of"))  # renewed
    browser.picture("3_right")

    browser.click(browser.find("button, jp-button", "Validate"))
    dialog = browser.find(".jp-Dialog-content", "check(").text
    browser.picture("4_validate")
    failing = [n for n in lesson_exercises(LESSON) if f"check({n}" in dialog]
    assert failing == [n for n in lesson_exercises(LESSON) if n != "softmax"]
    assert browser.outside() == []


def test_the_keyboard_is_enough(lab, browser):
    """From the top of a lesson: run the first cell, open a hint, write, check."""
    from selenium.webdriver.common.keys import Keys

    folder, address = lab
    browser.open_notebook(address)
    browser.run_folded()
    browser.find("[role=status]", "Lesson 1: ")
    browser.down_to("Exercise: softmax")
    opened = "return document.activeElement.parentElement.matches('details[open]')"
    for _ in range(10):
        browser.press(Keys.TAB)
        if browser.driver.switch_to.active_element.text == "Hint 1":
            break
    browser.press(Keys.ENTER)
    assert browser.driver.execute_script(opened)
    browser.picture("4_hint")
    browser.press(Keys.ESCAPE)
    browser.down_to("def softmax(")
    browser.press(Keys.ENTER)
    browser.press("a", held=Keys.CONTROL)
    right = text_of(get("softmax").reference, "softmax")
    browser.driver.execute_cdp_cmd("Input.insertText", {"text": right})
    browser.press(Keys.ENTER, held=Keys.SHIFT)
    browser.press(Keys.ENTER, held=Keys.SHIFT)
    check = browser.cell("check(softmax")
    browser.output(check, "✓ softmax · ")


def test_a_slider_moves_the_plot(lab, browser):
    from selenium.webdriver.common.keys import Keys

    folder, address = lab
    browser.open_notebook(address.replace(f"course/{LESSON}", "solutions/06_sac"))
    browser.run_folded()
    for text in ("def squashed_gaussian_logp(", "def density("):
        browser.run(browser.cell(text))
    cell = browser.cell("def squashed_slider(")
    browser.run(cell)
    plot = browser.find(".jp-OutputArea img", inside=cell).get_attribute("src")
    readout = browser.find(".widget-readout", inside=cell).text
    browser.find(".noUi-handle", inside=cell).send_keys(Keys.ARROW_LEFT * 5)
    wait(
        lambda: browser.find(".jp-OutputArea img", inside=cell).get_attribute("src") != plot,
        lambda: "the plot did not change",
    )
    assert browser.find(".widget-readout", inside=cell).text != readout
    browser.find(".jp-Notebook-ExecutionIndicator[data-status=idle]")
    browser.picture("5_slider")
    assert browser.outside() == []


# ---------------------------------------------------------------------------------- Formgrader


@pytest.fixture(scope="module")
def course(tmp_path_factory):
    """A classroom with one submission, and a JupyterLab that was started in it."""
    folder = classroom.new(tmp_path_factory.mktemp("teach") / "class", [LESSON], lambda line: None)
    chloe = next(s for s in STUDENTS if s.name == "chloe")
    classroom.hand_in(folder, chloe, LESSON)
    home = tmp_path_factory.mktemp("home")
    command = [sys.executable, "-m", "jupyterlab", *options(free_port())]
    with server(command, folder, home, home / "log") as address:
        yield folder, address


def test_formgrader_releases_grades_and_gives_feedback(course, browser):
    folder, address = course
    released = folder / "release" / LESSON / f"{LESSON}.ipynb"
    released.unlink()
    browser.driver.get(address)
    browser.click(browser.find(".lm-MenuBar-itemLabel", "Nbgrader"))
    browser.click(browser.find(".lm-Menu-itemLabel", "Formgrader"))
    frame = browser.find("iframe")
    browser.driver.switch_to.frame(frame)
    browser.find(".name", LESSON)
    browser.picture("6_formgrader")

    browser.click(browser.find(".assign a"))  # generate the students' version
    browser.find(".modal-title", "Success")
    assert released.exists()
    browser.driver.get(address.split("/lab")[0] + f"/formgrader/manage_submissions/{LESSON}")
    browser.click(browser.find(".autograde a"))
    browser.find(".modal-title", "Success")
    browser.picture("7_autograded")
    browser.driver.refresh()
    browser.click(browser.find(".generate-feedback a"))
    browser.find(".modal-title", "Success")

    # the instructor's view of it, and the page that the student gets
    browser.driver.get(address.split("/lab")[0] + f"/formgrader/gradebook/{LESSON}/{LESSON}")
    browser.click(browser.find("td a", "Submission #1"))
    look_at_feedback(browser, "8_formgrade")
    page = folder / "feedback" / "chloe" / LESSON / f"{LESSON}.html"
    assert "<script" not in page.read_text(encoding="utf-8")
    browser.driver.get(page.as_uri())
    look_at_feedback(browser, "9_feedback")
    assert browser.outside() == []


def look_at_feedback(browser, name):
    """The mistake has its name, and mathematics is drawn."""
    card = browser.find("[role=status]", "✗ grad_log_softmax — sign")
    body = browser.find("body").text
    assert "✓ softmax" in body
    formulas = browser.driver.find_elements("css selector", "math")
    assert len(formulas) > 50 and all(f.size["height"] > 4 for f in formulas if f.is_displayed())
    assert "\\frac" not in body
    browser.driver.execute_script("arguments[0].scrollIntoView({block: 'center'})", card)
    browser.picture(name)
