"""Pages without a network: all mathematics of the course becomes MathML, and nothing can act."""

import html
import re
from html.parser import HTMLParser
from pathlib import Path

import nbformat
import pytest
from nbconvert import HTMLExporter
from nbgrader.converters.generate_feedback import GenerateFeedback
from nbgrader.coursedir import CourseDirectory
from traitlets.config import Config

from pgcourse.classroom import gradebook, pages

ROOT = Path(__file__).resolve().parents[1]
LESSONS = sorted(ROOT.glob("solutions/*.ipynb"))


def text_outside_code(page):
    """What a reader sees, without code; and the addresses from which a browser would load."""
    seen, loaded, inside = [], [], []

    class Reader(HTMLParser):
        def handle_starttag(self, tag, attrs):
            attrs = dict(attrs)
            source = attrs.get("href" if tag == "link" else "src", "")
            if tag in ("script", "link", "img", "iframe") and source[:5] not in ("", "data:"):
                loaded.append((tag, source))
            if tag in ("code", "pre", "style", "script"):
                inside.append(tag)

        def handle_endtag(self, tag):
            if inside and inside[-1] == tag:
                inside.pop()

        def handle_data(self, data):
            if not inside:
                seen.append(data)

    Reader().feed(page)
    return "".join(seen), loaded


@pytest.mark.parametrize("path", LESSONS, ids=lambda p: p.stem)
def test_every_formula_of_a_lesson_is_understood(path):
    cells = [c for c in nbformat.read(path, as_version=4).cells if c.cell_type == "markdown"]
    page = "\n".join(pages.markdown2html(cell.source) for cell in cells)
    text, _ = text_outside_code(page)
    assert page.count("<math ") > (5 if path.stem == "08_capstone" else 30)  # a story, mostly
    assert not re.search(r"\\[a-zA-Z]+|\$", text), "TeX that a reader would see"
    assert not re.search(r"<mi>(\\|&amp;)", page)


@pytest.mark.parametrize("template", ["feedback", "formgrade"])
def test_nbgrader_s_pages_load_nothing_from_elsewhere(template, tmp_path):
    nb = nbformat.read(LESSONS[0], as_version=4)
    for cell in nb.cells:
        cell.metadata.pop("nbgrader", None)  # no scores: this notebook is nobody's
    page = as_nbgrader_shows(nb, template, tmp_path)
    text, loaded = text_outside_code(page)
    assert page.count("<math ") > 30 and "\\frac" not in text
    assert [source for _, source in loaded if not source.startswith("/base/")] == []
    if template == "feedback":
        assert "<script" not in page


def as_nbgrader_shows(nb, template, root):
    config = Config()
    pages.configure(config)
    config.HTMLExporter.template_name = template
    converter = GenerateFeedback(coursedir=CourseDirectory(root=str(root)), config=config)
    about = {"score": 1, "max_score": 2, "late_penalty": 0, "notebook": "01"}
    resources = {"nbgrader": about, "base_url": "/base", "index": 0, "total": 1}
    return HTMLExporter(config=converter.config).from_notebook_node(nb, resources)[0]


def test_without_the_configuration_the_test_would_fail(tmp_path):
    page, _ = HTMLExporter(template_name="classic").from_filename(str(LESSONS[0]))
    text, loaded = text_outside_code(page)
    assert "\\frac" in text and any(source.startswith("http") for _, source in loaded)


@pytest.mark.parametrize(
    "tex, shown",
    [
        (r"a<b", "<mo>&lt;</mo>"),
        ("a <\u200b b", "<mo>&lt;</mo><mi>b</mi>"),  # as a student's text is kept
        (r"\arg\max_a Q", "arg"),
        (r"\frac{", "<code>\\frac{</code>"),
    ],
)
def test_a_formula(tex, shown):
    assert shown in pages.mathml(tex)


@pytest.mark.parametrize(
    "tex",
    [
        r"\text{<script>alert(1)</script>}",
        r"\text{&lt;img src=x onerror=alert(1)&gt;}",
        r"\href{javascript:alert(1)}{x}",
        r"\style{background:url(http://example.org)}{x}",
        r"\color{red\"><script>}x",
        r"\frac{<script>",
    ],
)
def test_a_student_s_formula_cannot_act(tex):
    for made in (pages.markdown2html(f"${tex}$"), pages.markdown2html(f"$$\n{tex}\n$$")):
        assert not re.search(r"<(script|img)|href=|style=|javascript:", made)


# -------------------------------------------------------------------------------------- links


def spelled(scheme):
    """A scheme and its colon in the ways that Markdown or a browser reads as the same."""
    yield f"{scheme}:"
    yield f"{scheme}\\:"
    yield f"{scheme}&colon;"
    yield f"{scheme}&#58;"
    yield f"{scheme}&#x3a;"
    yield f"{scheme.upper()}:"
    yield f"&#{ord(scheme[0])};{scheme[1:]}:"
    yield f"{scheme[:2]}&Tab;{scheme[2:]}:"
    yield f"{scheme[:2]}&NewLine;{scheme[2:]}&colon;"
    yield f"{scheme[:2]}&#9;{scheme[2:]}\\:"
    yield f"&#1;{scheme}:"
    yield f"&#32;{scheme}:"
    yield f"\u00a0{scheme}:"
    yield f"files/{scheme}:"
    yield f"/files/{scheme}\\:"


LINKS = {
    "inline": "[mine]({})",
    "in brackets": "[mine](<{}>)",
    "with a title": '[mine]({} "title")',
    "by reference": "[mine][there]\n\n[there]: {}",
    "by reference, in brackets": "[mine]\n\n[mine]: <{}>",
    "automatic": "<{}>",
    "bare": "see {} there",
    "in a table": "| a |\n|---|\n| [mine]({}) |",
    "in a heading": "# [mine]({})",
    "in a list": "- [ ] [mine]({})",
    "in a quote": "> [mine]({})",
    "a picture": "![mine]({})",
    "a picture by reference": "![mine][there]\n\n[there]: {}",
    "a picture that links": "[![mine]({})]({})",
    "TeX": r"$\href{{{}}}{{mine}}$",
    "TeX of its own line": "$$\n\\href{{{}}}{{mine}}\n$$",
    "HTML": "<a href='{}'>mine</a>",
    "HTML with its entities": "<svg><a xlink:href='{}'>mine</a></svg>",
    "a form": "<form action='{}'><button formaction='{}'>mine</button></form>",
    "a frame": "<iframe src='{}'></iframe><object data='{}'></object><embed src='{}'>",
    "MathML": "<math><mtext href='{}'>mine</mtext><maction href='{}'>x</maction></math>",
    "a base": "<base href='{}'><link rel=stylesheet href='{}'><meta http-equiv=refresh content='0;{}'>",
}
WORDS = {
    "javascript": "alert(1)",
    "vbscript": "alert(1)",
    "data": "text/html,<script>alert(1)</script>",
    "file": "///etc/passwd",
    "blob": "http://127.0.0.1/x",
    "view-source": "x",
    "jupyter": "x",
}
ALLOWED = re.compile(r"(https?://|mailto:|#)", re.I)
ACTIVE = {
    "script", "iframe", "object", "embed", "form", "button", "input", "base", "link", "meta", "svg",
    "style", "img", "video", "audio", "source", "template", "maction", "semantics", "annotation-xml",
}  # fmt: skip


def can_act(page):
    """What of a page a browser would run, load or follow to somewhere that is not allowed."""
    found, parser = [], HTMLParser()

    def see(tag, attributes):
        for name, value in attributes:
            address = name.split(":")[-1] in (
                "href",
                "src",
                "action",
                "formaction",
                "data",
                "srcset",
            )
            if name.startswith("on") or name in ("style", "ping", "target", "name"):
                found.append((tag, name, value))
            elif address and not ALLOWED.match(value or ""):
                found.append((tag, name, value))
        if tag in ACTIVE:
            found.append((tag, "", ""))

    parser.handle_starttag = see
    parser.feed(page)
    return found


@pytest.mark.parametrize("scheme", WORDS)
@pytest.mark.parametrize("form", LINKS)
@pytest.mark.parametrize("read", [lambda text: text, gradebook.inert], ids=["given", "student"])
def test_no_link_leads_to_what_acts(scheme, form, read):
    for start in spelled(scheme):
        text = (
            LINKS[form].replace("{}", start + WORDS[scheme]).replace("{{", "{").replace("}}", "}")
        )
        assert can_act(pages.markdown2html(read(text))) == [], text


@pytest.mark.parametrize(
    "address", ["//example.org", "/api/contents", "../hub/logout", "?x", "x.html"]
)
def test_no_link_leads_into_the_server_that_shows_the_page(address):
    assert can_act(pages.markdown2html(f"[mine]({address})")) == []
    assert "mine" in pages.markdown2html(f"[mine]({address})")


@pytest.mark.parametrize(
    "address", ["https://example.org/a?b=c&d=(e)", "http://example.org", "mailto:a@b.org", "#there"]
)
def test_honest_links_stay(address):
    assert f'href="{html.escape(address)}"' in pages.markdown2html(f"[mine](<{address}>)")


def test_links_between_the_site_s_lessons_stay():
    page = pages.own_markdown2html("[next](05_ppo.ipynb#The-clip) [bad](javascript\\:alert(1))")
    assert (
        'href="05_ppo.ipynb#The-clip"' in page and can_act(page.replace("05_ppo.ipynb", "")) == []
    )


@pytest.mark.parametrize("path", LESSONS, ids=lambda p: p.stem)
def test_cleaning_takes_nothing_from_a_lesson(path):
    for cell in nbformat.read(path, as_version=4).cells:
        if cell.cell_type == "markdown":
            before = tags(pages.rendered(cell.source))
            assert tags(pages.own_markdown2html(cell.source)) == before, cell.source


def tags(page):
    """Tags, attributes and text of a page, but for what says nothing to a reader."""
    found, parser = [], HTMLParser()

    def see(tag, attributes):
        found.append((tag, {k: v for k, v in attributes if k not in ("rel", "xmlns")}))

    parser.handle_starttag = see
    parser.handle_endtag = lambda tag: found.append(tag)
    parser.handle_data = lambda text: found.append(text.strip())
    parser.feed(page)
    return [x for x in found if x]


def test_diagrams_load_no_program():
    page = pages.markdown2html("```mermaid\n<img src=x onerror=alert(1)>\n```")
    assert can_act(page) == [] and "&lt;img" in page and "mermaid" not in page


def test_an_attachment_that_is_not_there_stops_no_page():
    assert "mine" in pages.markdown2html("![mine](attachment:nowhere.png)")


@pytest.mark.slow
@pytest.mark.needs_tool("chromium", "google-chrome", "chrome")
@pytest.mark.needs_tool("chromedriver")
@pytest.mark.parametrize("template", ["feedback", "formgrade"])
def test_a_browser_that_clicks_every_link_runs_nothing(template, tmp_path):
    from tests.test_browser import Browser

    texts = [
        form.replace("{}", start + "document.title=`got`").replace("{{", "{").replace("}}", "}")
        for form in LINKS.values()
        for start in spelled("javascript")
    ]
    cells = [nbformat.v4.new_markdown_cell(gradebook.inert(text)) for text in texts]
    page = as_nbgrader_shows(nbformat.v4.new_notebook(cells=cells), template, tmp_path)
    (tmp_path / "page.html").write_text(page, encoding="utf-8")
    browser = Browser(tmp_path / "profile")
    try:
        browser.driver.get(f"file://{tmp_path}/page.html")
        title = browser.driver.title
        assert browser.driver.execute_async_script(CLICK) > 100
        assert browser.driver.title == title != "got"
    finally:
        browser.driver.quit()


CLICK = """
const done = arguments[0], links = [...document.querySelectorAll('a, area, [href], button')];
for (const link of links) {
    link.removeAttribute('target');
    if (!/^(https?|mailto|file):$/.test(link.protocol)) link.dispatchEvent(new MouseEvent('click'));
}
setTimeout(() => done(links.length), 1000);
"""
