"""Pages without a network: all mathematics of the course becomes MathML, and nothing can act."""

import re
from html.parser import HTMLParser
from pathlib import Path

import nbformat
import pytest
from nbconvert import HTMLExporter
from nbgrader.converters.generate_feedback import GenerateFeedback
from nbgrader.coursedir import CourseDirectory
from traitlets.config import Config

from pgcourse.classroom import pages

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
    assert page.count("<math ") > 30
    assert not re.search(r"\\[a-zA-Z]+|\$", text), "TeX that a reader would see"
    assert not re.search(r"<mi>(\\|&amp;)", page)


@pytest.mark.parametrize("template", ["feedback", "formgrade"])
def test_nbgrader_s_pages_load_nothing_from_elsewhere(template, tmp_path):
    config = Config()
    pages.configure(config)
    config.HTMLExporter.template_name = template
    converter = GenerateFeedback(coursedir=CourseDirectory(root=str(tmp_path)), config=config)
    about = {"score": 1, "max_score": 2, "late_penalty": 0, "notebook": "01"}
    nb = nbformat.read(LESSONS[0], as_version=4)
    for cell in nb.cells:
        cell.metadata.pop("nbgrader", None)  # no scores: this notebook is nobody's
    resources = {"nbgrader": about, "base_url": "/base", "index": 0, "total": 1}
    html, _ = HTMLExporter(config=converter.config).from_notebook_node(nb, resources)
    text, loaded = text_outside_code(html)
    assert html.count("<math ") > 30 and "\\frac" not in text
    assert [source for _, source in loaded if not source.startswith("/base/")] == []
    if template == "feedback":
        assert "<script" not in html


def test_without_the_configuration_the_test_would_fail(tmp_path):
    html, _ = HTMLExporter(template_name="classic").from_filename(str(LESSONS[0]))
    text, loaded = text_outside_code(html)
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
    made = pages.mathml(tex)
    assert not re.search(r"<(script|img)|href=|style=|javascript:", made)
