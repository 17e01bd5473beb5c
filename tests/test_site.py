"""The site, built for real: links lead somewhere, pictures have words, nothing is loaded."""

import asyncio
import html
import json
import re
import textwrap
import time
from types import SimpleNamespace

import nbformat
import pytest
import zmq.asyncio
from jupyter_client.session import Session

from pgcourse.checks import LESSONS, get, lesson_exercises
from pgcourse.classroom import gallery
from pgcourse.classroom.outputs import Client, look_after_sending, still
from pgcourse.classroom.site import build_site, buttons, local_links
from tests.test_browser import Browser
from tests.test_pages import text_outside_code

LESSON = "01_policy_gradient_theorem"


@pytest.fixture(scope="module")
def site(tmp_path_factory):
    folder = tmp_path_factory.mktemp("site")
    build_site(folder)
    return folder


def anchors(page):
    return set(re.findall(r'\bid="([^"]+)"', page))


def pages_of(site):
    return {path.name: path.read_text(encoding="utf-8") for path in site.glob("*.html")}


@pytest.mark.slow
def test_every_link_leads_somewhere(site):
    pages = pages_of(site)
    assert {"index.html", f"{LESSON}.html", f"gallery_{LESSON}.html", "functions.html"} <= set(
        pages
    )
    known = {name: anchors(page) for name, page in pages.items()}
    for name, page in pages.items():
        for link in re.findall(r'\b(?:href|src)="([^"]+)"', page):
            if not link.startswith(("https://", "http://", "mailto:", "data:")):
                target, _, anchor = html.unescape(link).partition("#")
                target = target.partition("?")[0]
                assert not target or (site / target).exists(), f"{name}: {link}"
                assert not anchor or anchor in known.get(target or name, {anchor}), (
                    f"{name}: {link}"
                )


@pytest.mark.slow
def test_words_are_found_with_the_page_that_they_are_on(site):
    index = json.loads(
        (site / "searchindex.js").read_text().removeprefix("Search.setIndex(").removesuffix(")")
    )
    for stem, page in (("prefer", LESSON), ("clamp", f"gallery_{LESSON}")):
        found = index["terms"][stem]
        names = [index["docnames"][i] for i in (found if isinstance(found, list) else [found])]
        assert page in names
    assert index["titles"][index["docnames"].index(LESSON)].startswith("1 · ")


@pytest.mark.slow
def test_a_page_needs_no_network_and_says_what_its_pictures_show(site):
    for name, page in pages_of(site).items():
        text, loaded = text_outside_code(page)
        assert [address for address in loaded if "//" in address] == [], name
        assert not re.search(r"\\(frac|pi|theta)", text), name
    page = (site / f"{LESSON}.html").read_text(encoding="utf-8")
    assert "<math " in page
    main = re.search(r"<article.*?</article>", page, re.S)[0]
    pictures = re.findall(r'<img[^>]*?alt="([^"]*)"', main)
    assert len(pictures) == main.count("<img ") >= 3
    assert all("No description" not in words and len(words) > 10 for words in pictures)
    assert "SOLUTION" not in page and "✓ softmax" in page


@pytest.mark.slow
@pytest.mark.needs_tool("chromium", "google-chrome", "chrome")
def test_on_a_phone_no_page_goes_sideways(site, tmp_path):
    browser = Browser(tmp_path)
    phone = {"width": 390, "height": 844, "deviceScaleFactor": 1, "mobile": False}
    try:
        browser.driver.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", phone)
        wide = {}
        for path in sorted(site.glob("*.html")):
            browser.driver.get(path.as_uri())
            width = browser.driver.execute_script("return document.documentElement.scrollWidth")
            if width > 390:
                wide[path.name] = width
        assert wide == {}
    finally:
        browser.driver.quit()


@pytest.mark.slow
def test_of_the_setup_only_a_line_is_seen(site):
    page = (site / f"{LESSON}.html").read_text(encoding="utf-8")
    first = page.index("cell docutils container")
    assert "tag_hide-cell" in page[first - 40 : first + 60]


@pytest.mark.slow
def test_the_gallery_shows_each_mistake_as_a_change(site):
    page = (site / f"gallery_{LESSON}.html").read_text(encoding="utf-8")
    for exercise in lesson_exercises(LESSON).values():
        assert f">{exercise.name}<" in page
        for mistake in exercise.pitfalls:
            assert (
                getattr(mistake, "symptom", False) or html.escape(mistake.name, quote=False) in page
            )


def test_a_mistake_is_a_change_of_the_text():
    exercise = get("probability_ratio")
    (upside,) = [m for m in exercise.pitfalls if m.name == "upside down"]
    shown = gallery.entry(upside, exercise.reference)
    assert shown.startswith("### upside down\n\nThe ratio is old over new, exp(logp\\_old - logp)")
    assert "\n-    return torch.exp(logp - logp_old.detach())\n+" in shown
    assert '"""' not in shown


def test_the_readme_counts_no_more_mistakes_than_the_gallery_has(root):
    said = re.findall(r"more than\s+1,(\d{3})", (root / "README.md").read_text(encoding="utf-8"))
    shown = sum(
        not getattr(mistake, "symptom", False)
        for lesson in LESSONS
        for exercise in lesson_exercises(lesson).values()
        for mistake in exercise.pitfalls
    )
    assert len(said) == 2 and all(1000 + int(number) <= shown for number in said), shown


def test_buttons_lead_to_a_repository_where_there_is_one():
    assert "launch_buttons" not in buttons("")
    about = buttons("https://example.org/course")
    assert about["repository_url"] == "https://example.org/course" and about["launch_buttons"]


def test_of_widgets_the_pictures_stay(monkeypatch):
    monkeypatch.delenv("MPLBACKEND", raising=False)
    code = """
        from ipywidgets import FloatSlider, interact
        from tqdm.notebook import tqdm
        for _ in tqdm(range(2)): pass
        @interact(x=FloatSlider(3.0))
        def show(x): display({"text/plain": f"picture of {x}"}, raw=True)"""
    nb = nbformat.v4.new_notebook(cells=[nbformat.v4.new_code_cell(textwrap.dedent(code))])
    client = Client(nb, timeout=120)
    client.execute()
    bar, sliders = (still(output, client) for output in nb.cells[0].outputs)
    assert bar == []
    assert "Sliders" in sliders[0].data["text/html"]
    assert sliders[1]["data"] == {"text/plain": "picture of 3.0"}


def test_links_between_files_become_links_between_pages(tmp_path):
    for name in ("05_ppo.ipynb", "instructors.md", "index.md"):
        (tmp_path / name).touch()
    text = "[5](05_ppo.ipynb#The-clip) [6](06_sac.ipynb) [b](https://a.b) [i](INSTRUCTORS.md) [r](../README.md)"
    assert local_links(text, tmp_path) == (
        "[5](05_ppo.ipynb#The-clip) 6 [b](https://a.b) [i](instructors.md) [r](index.md)"
    )


def test_a_reply_that_comes_with_a_send_is_seen():
    """What jupyter_client's send takes off asyncio's socket must not leave its reader asleep."""

    async def story(trials=10):
        ours, theirs = zmq.asyncio.Context().socket(zmq.DEALER), zmq.Context().socket(zmq.DEALER)
        theirs.connect(f"tcp://127.0.0.1:{ours.bind_to_random_port('tcp://127.0.0.1')}")
        session = Session()
        channel = SimpleNamespace(socket=ours, send=lambda message: session.send(ours, message))
        look_after_sending(channel)
        try:
            for _ in range(trials):
                waiting = asyncio.ensure_future(ours.poll())  # as jupyter_client waits
                await asyncio.sleep(0.01)
                theirs.send(b"reply")
                time.sleep(0.01)  # it comes, and the loop does not run
                channel.send(session.msg("comm_msg"))
                await asyncio.wait_for(waiting, 10)
                assert await ours.recv() == b"reply"
        finally:
            ours.close(linger=0)
            theirs.close(linger=0)

    asyncio.run(story())
