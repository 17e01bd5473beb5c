"""HTML pages that need no network: mathematics is MathML, and nothing is loaded from elsewhere.

nbconvert and nbgrader (the feedback pages, Formgrader) write TeX and load MathJax from a CDN; with
`configure` they write MathML, which every browser of today shows by itself.
"""

import html
import re
from pathlib import Path
from xml.etree.ElementTree import tostring

import nbgrader.server_extensions.formgrader as formgrader
from latex2mathml.converter import convert_to_element
from nbconvert.filters.markdown_mistune import IPythonRenderer, MarkdownWithMath

TEMPLATES = Path(__file__).with_name("templates")


def configure(c):
    """Have nbgrader's pages show mathematics without a network. c: the Config of an nbgrader_config.py"""
    c.HTMLExporter.filters = {"markdown2html": "pgcourse.classroom.pages.markdown2html"}
    theirs = Path(formgrader.__file__).with_name("templates")
    c.HTMLExporter.extra_template_basedirs = [str(TEMPLATES), str(theirs)]


def markdown2html(source):
    """Markdown as nbconvert renders it, but for the mathematics."""
    return MarkdownWithMath(renderer=Renderer(escape=False)).render(source)


class Renderer(IPythonRenderer):
    def block_math(self, body):
        return mathml(body, "block")

    def inline_math(self, body):
        return mathml(body, "inline")

    def latex_environment(self, name, body):
        return mathml(rf"\begin{{{name}}}{body}\end{{{name}}}", "block")


def mathml(tex, display="inline"):
    """TeX as MathML; as it stands where it cannot be read (a student may write anything).

    display : "inline" or "block"
    """
    tex = html.unescape(tex).replace("\u200b", "")  # which gradebook.inert puts there
    tex = re.sub(
        r"\\arg\s*\\(max|min)(?![a-zA-Z])", r"\\arg\1", tex
    )  # one word, as the converter calls it
    try:
        math = convert_to_element(tex, display=display)
    except Exception:
        return f"<code>{html.escape(tex)}</code>"
    for element in math.iter():  # of what a student writes, nothing may act
        element.text = html.unescape(element.text or "")
        for name in [*element.attrib]:
            if name in ("xmlns", "href", "style", "class", "id") or name.startswith("on"):
                del element.attrib[name]
    return tostring(math, encoding="unicode")
