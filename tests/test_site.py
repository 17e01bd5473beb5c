"""The site: one lesson built for real; links lead somewhere, pictures have words, nothing is loaded."""

import asyncio
import json
import re
import textwrap
import time
from types import SimpleNamespace

import nbformat
import pytest
import zmq.asyncio
from jupyter_client.session import Session

from pgcourse.classroom.site import (
    Client,
    build_site,
    contents,
    local_links,
    look_after_sending,
    neighbors,
    sections,
    still,
)
from tests.test_pages import text_outside_code

LESSON = "01_policy_gradient_theorem"


@pytest.fixture(scope="module")
def site(tmp_path_factory):
    folder = tmp_path_factory.mktemp("site")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("PGCOURSE_FAST", "1")
        patch.delenv("MPLBACKEND", raising=False)
        build_site(folder, [LESSON])
    return folder


def anchors(page):
    return set(re.findall(r'\bid="([^"]+)"', page))


@pytest.mark.slow
def test_every_link_leads_somewhere(site):
    pages = {path.name: path.read_text(encoding="utf-8") for path in site.iterdir()}
    assert set(pages) == {"index.html", f"{LESSON}.html"}
    links = [
        (name, link) for name, page in pages.items() for link in re.findall(r'href="([^"]+)"', page)
    ]
    assert any(link == f"{LESSON}.html" for _, link in links)
    for name, link in links:
        if not link.startswith(("https://", "http://")):
            target, _, anchor = link.partition("#")
            page = pages[target or name]
            assert not anchor or anchor in anchors(page), f"{name}: {link}"


@pytest.mark.slow
def test_the_index_finds_sections_that_are_there(site):
    index = (site / "index.html").read_text(encoding="utf-8")
    entries = json.loads(re.search(r'id="index">(.*?)</script>', index, re.S)[1])
    there = anchors((site / f"{LESSON}.html").read_text(encoding="utf-8"))
    assert len(entries) > 8 and all(entry["anchor"] in there for entry in entries)
    assert any("softmax" in entry["text"] for entry in entries)


@pytest.mark.slow
def test_a_page_needs_nothing_and_says_what_its_pictures_show(site):
    for path in site.iterdir():
        page = path.read_text(encoding="utf-8")
        text, loaded = text_outside_code(page)
        assert loaded == [] and "<math " in page
        assert not re.search(r"\\(frac|pi|theta)", text)
    pictures = re.findall(r'<img[^>]*?alt="([^"]*)"', page := (site / f"{LESSON}.html").read_text())
    assert len(pictures) == page.count("<img ") >= 3
    assert all("No description" not in words and len(words) > 10 for words in pictures)
    assert "SOLUTION" not in page and "✓ softmax" in page


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


def test_links_between_notebooks_become_links_between_pages(root):
    lessons = [root / "solutions" / "05_ppo.ipynb"]
    body = (
        '<a href="05_ppo.ipynb#clip">5</a> <a href="06_sac.ipynb">6</a> <a href="https://a.b">b</a>'
    )
    made = local_links(body, lessons)
    assert made == '<a href="05_ppo.html">5</a> 6 <a href="https://a.b">b</a>'


def test_a_page_leads_to_its_neighbors_and_its_sections(root):
    one, two, three = (root / f"{name}.ipynb" for name in ("01_a_b", "02_c", "03_d"))
    assert neighbors(two, [one, two, three]) == (
        '<a href="01_a_b.html">← 01 a b</a> · <a href="03_d.html">→ 03 d</a>'
    )
    assert neighbors(one, [one]) == ""
    listed = contents([{"anchor": "T", "title": "Title"}, {"anchor": "A-1", "title": "A < 1"}])
    assert '<li><a href="#A-1">A &lt; 1</a></li>' in listed and "Title" not in listed


def test_sections_are_headings_with_their_text():
    body = '<h1 id="A">A <b>b</b><a class="anchor-link" href="#A">¶</a></h1><p>one <i>two</i></p><h2 id="C">C</h2>'
    assert sections(body) == [
        {"anchor": "A", "title": "A b", "text": "one two"},
        {"anchor": "C", "title": "C", "text": ""},
    ]


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
