"""HTML pages that need no network, and in which nothing that a student wrote can act.

nbconvert and nbgrader (the feedback pages, Formgrader) write TeX and load MathJax from a CDN; with
`configure` they write MathML, which every browser of today shows by itself. What Markdown becomes is
cleaned when it is HTML: the text of a link says little before Markdown has read its escapes.
"""

import html
import re
from pathlib import Path
from xml.etree.ElementTree import tostring

import nbgrader.server_extensions.formgrader as formgrader
import nh3
from jinja2 import FileSystemLoader
from latex2mathml.converter import convert_to_element
from nbconvert.exporters import HTMLExporter
from nbconvert.filters.markdown_mistune import (
    HTMLRenderer,
    IPythonRenderer,
    MarkdownWithMath,
)

TEMPLATES = Path(__file__).with_name("templates")
THEIRS = Path(formgrader.__file__).with_name("templates")


def configure(c, own=False):
    """Have nbgrader's pages show mathematics without a network. c: the Config of an nbgrader_config.py

    own : the pages show this repository's text only, which links from notebook to notebook
    """
    name = "own_markdown2html" if own else "markdown2html"
    c.HTMLExporter.filters = {"markdown2html": f"pgcourse.classroom.pages.{name}"}
    c.HTMLExporter.extra_template_basedirs = [str(TEMPLATES), str(THEIRS)]
    c.GenerateFeedback.exporter_class = FeedbackExporter
    c.FeedbackExporter.template_name = "students"


class FeedbackExporter(HTMLExporter):
    """nbgrader's feedback page by a template that extends nbgrader's own."""

    def __init__(self, *args, **kw):
        super().__init__(*args, extra_loaders=[FileSystemLoader(THEIRS)], **kw)


def markdown2html(source):
    """Markdown as nbconvert renders it, but for the mathematics, and for all that could act."""
    return sanitized(rendered(source), OUTWARD)


def own_markdown2html(source):
    return sanitized(rendered(source), f"{OUTWARD}|{TO_NOTEBOOKS}")


def rendered(source):
    return MarkdownWithMath(renderer=Renderer(escape=False)).render(source)


# ------------------------------------------------------------------------------ what may be there

OUTWARD = r"https?://[^\s\\]+|mailto:[^\s\\]+|#[^\s\\]*"
TO_NOTEBOOKS = r"[\w./-]+(#[^\s\\]*)?"
TEXT = set(
    "a b blockquote br caption code dd del details div dl dt em h1 h2 h3 h4 h5 h6 hr i kbd li mark"
    " ol p pre s small span strong sub summary sup table tbody td tfoot th thead tr tt u ul var".split()
)
MATHEMATICS = set(
    "math menclose merror mfrac mi mlabeledtr mmultiscripts mn mo mover mpadded mphantom mprescripts"
    " mroot mrow ms mspace msqrt mstyle msub msubsup msup mtable mtd mtext mtr munder munderover"
    " none".split()
)
LAYOUT = set(
    "accent accentunder columnalign columnlines columnspacing depth display displaystyle fence form"
    " height largeop linethickness lspace mathcolor mathbackground mathsize mathvariant maxsize minsize"
    " movablelimits notation rowalign rowlines rowspacing rspace scriptlevel separator stretchy"
    " symmetric voffset width".split()
)
ATTRIBUTES = {
    "a": {"class", "href", "title"},
    "ol": {"start"},
    **{tag: {"align"} for tag in ("td", "th")},
    **{tag: {"class"} for tag in ("code", "div", "pre", "span")},
    **{f"h{level}": {"id"} for level in range(1, 7)},
    **{tag: LAYOUT for tag in MATHEMATICS},
}
CLASSES = r"anchor-link|highlight|language-[\w+#.-]*|[a-z][a-z0-9]{0,2}"  # the last: Pygments' own


def sanitized(page, links):
    """A piece of HTML as a browser reads it, without what is not known to be harmless.

    links : pattern of the addresses that a link may have
    """

    def keep(tag, name, value):
        allowed = {"href": links, "class": CLASSES}.get(name, r"(?s:.*)")
        return value if re.fullmatch(allowed, value, re.I) else None

    return nh3.clean(
        page,
        tags=TEXT | MATHEMATICS,
        attributes=ATTRIBUTES,
        attribute_filter=keep,
        url_schemes={"http", "https", "mailto"},
        link_rel="noopener noreferrer",
    )


class Renderer(IPythonRenderer):
    def image(self, text, url, title=None):
        return html.escape(text)  # it was not handed in with the cell, or lies in the network

    def block_mermaidjs(self, code):
        return HTMLRenderer.block_code(self, code)  # a program would be loaded to draw it

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
    for element in math.iter():
        element.text = html.unescape(element.text or "")
    return tostring(math, encoding="unicode")
