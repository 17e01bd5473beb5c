"""The solved lessons, executed, as a folder of pages that need nothing but a browser.

pgcourse site        site/index.html and a page a lesson; search, mathematics and pictures inside
"""

import html
import json
import re
import tempfile
from pathlib import Path
from typing import Annotated

import nbformat
import typer
import zmq
from nbclient import NotebookClient

from pgcourse.classroom.build import ROOT

WIDGET = "application/vnd.jupyter.widget-view+json"


def build_site(target, lessons=None, root=ROOT, tell=None):
    """Execute the solved notebooks and write the site.

    target  : a folder, made if it is not there; pages in it are overwritten
    lessons : names like "05_ppo"; by default all
    tell    : called with a line for each step
    raises  : nbclient.exceptions.CellExecutionError where a lesson does not run
    """
    notebooks = sorted((root / "solutions").glob("[0-9][0-9]_*.ipynb"))
    notebooks = [path for path in notebooks if not lessons or path.stem in lessons]
    target = Path(target)
    target.mkdir(parents=True, exist_ok=True)
    index = []
    for path in notebooks:
        if tell:
            tell(f"running {path.stem}")
        body = lesson_body(path)
        headings = sections(body)
        index += [{"page": f"{path.stem}.html", **section} for section in headings]
        lesson = contents(headings) + local_links(body, notebooks)
        (target / f"{path.stem}.html").write_text(
            page(headings[0]["title"], lesson, neighbors(path, notebooks)), encoding="utf-8"
        )
    from pgcourse.classroom.pages import own_markdown2html

    welcome = own_markdown2html((root / "course" / "README.md").read_text(encoding="utf-8"))
    found = json.dumps(index, ensure_ascii=False).replace("</", "<\\/")
    body = SEARCH.format(index=found) + local_links(welcome, notebooks)
    (target / "index.html").write_text(page("Policy gradients", body), encoding="utf-8")


class Client(NotebookClient):
    """nbclient's, without a wait for ever.

    It sends the state of a widget through the socket on which it waits for the cell's reply, and jupyter_client
    sends past asyncio: a reply that came just before wakes nobody.
    """

    async def async_start_new_kernel_client(self):
        client = await super().async_start_new_kernel_client()
        look_after_sending(client.shell_channel)
        return client


def look_after_sending(channel):
    """Reading EVENTS wakes who waits for what has come already."""
    send = channel.send

    def send_and_look(message):
        send(message)
        channel.socket.get(zmq.EVENTS)

    channel.send = send_and_look


def lesson_body(path):
    """A notebook, executed in an empty folder, as HTML."""
    from nbconvert import HTMLExporter
    from traitlets.config import Config

    from pgcourse.classroom import pages

    nb = nbformat.read(path, as_version=4)
    with tempfile.TemporaryDirectory(prefix="pgcourse-") as folder:
        resources = {"metadata": {"path": folder}}
        quiet = ["--log-level=ERROR"]  # the kernel warns that nothing on this machine is encrypted
        client = Client(nb, timeout=3600, resources=resources, extra_arguments=quiet)
        client.execute()
    for cell in nb.cells:
        if cell.cell_type == "code":
            cell.outputs = [o for output in cell.outputs for o in still(output, client)]
            cell.source = re.sub(r"\n? *### (BEGIN|END) SOLUTION", "", cell.source)
    nb.metadata.pop("widgets", None)
    config = Config()
    pages.configure(config, own=True)
    body, _ = HTMLExporter(config=config, template_name="basic").from_notebook_node(nb)
    return body


def still(output, client):
    """What a widget leaves on a page without a kernel: the picture below sliders; of a progress bar or a bet nothing."""
    if WIDGET not in output.get("data", {}):
        return [output]
    words = output["data"].get("text/plain", "")
    if "Slider" not in words or words.startswith(("BetForm", "RecallForm")):
        return []
    says = "<p><em>Sliders: they move in the notebook, where a kernel answers.</em></p>"
    view = client.widget_state[output["data"][WIDGET]["model_id"]]
    parts = [name.removeprefix("IPY_MODEL_") for name in view.get("children", [])]
    below = [o for part in parts for o in getattr(client.comm_objects.get(part), "outputs", [])]
    return [nbformat.v4.new_output("display_data", {"text/html": says}), *below]


def sections(body):
    """What is searched: each heading with its anchor and the text below it."""
    parts = re.split(r"<h[1-4][^>]*?id=\"([^\"]*)\"[^>]*>(.*?)</h[1-4]>", body, flags=re.S)
    found = []
    for anchor, title, text in zip(parts[1::3], parts[2::3], parts[3::3], strict=True):
        title = plain(re.sub(r'<a class="anchor-link".*?</a>', "", title, flags=re.S))
        found.append({"anchor": anchor, "title": title, "text": plain(text)})
    return found


def contents(headings):
    """The sections of a lesson, folded: what a reader may want to go to."""
    items = "".join(
        f'<li><a href="#{section["anchor"]}">{html.escape(section["title"])}</a></li>'
        for section in headings[1:]
    )
    return f"<details><summary>On this page</summary><ul>{items}</ul></details>"


def neighbors(path, notebooks):
    """Links to the lessons before and after."""
    i = notebooks.index(path)
    around = (("← ", notebooks[max(0, i - 1) : i]), ("→ ", notebooks[i + 1 : i + 2]))
    return " · ".join(
        f'<a href="{other.stem}.html">{arrow}{other.stem.replace("_", " ")}</a>'
        for arrow, others in around
        for other in others
    )


def plain(text):
    """The words of a piece of HTML, without pictures and styles."""
    text = re.sub(r"<(style|script|svg)\b.*?</\1>", " ", text, flags=re.S)
    return " ".join(html.unescape(re.sub(r"<[^>]*>", " ", text)).split())


def local_links(body, notebooks):
    """Links between notebooks become links between pages; what is not on the site is only text."""
    here = {path.stem for path in notebooks}

    def change(match):
        target, text = match[1], match[2]
        name = Path(target.split("#")[0]).stem
        if target.startswith(("http:", "https:", "#", "mailto:")):
            return match[0]
        return f'<a href="{name}.html">{text}</a>' if name in here else text

    return re.sub(r'<a href="([^"]*)"[^>]*>(.*?)</a>', change, body, flags=re.S)


def page(title, body, links=""):
    from pygments.formatters import HtmlFormatter

    light, dark = (HtmlFormatter(style=style).get_style_defs(".highlight") for style in CODE)
    style = f"{STYLE}{light}\n@media (prefers-color-scheme: dark) {{\n{dark}\n}}"
    return PAGE.format(title=html.escape(title), style=style, body=body, links=links)


PAGE = """<!DOCTYPE html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>{title}</title>
<style>{style}</style>
</head>
<body>
<nav><a href="index.html">All lessons and search</a> &nbsp; {links}</nav>
<main>{body}</main>
<nav>{links}</nav>
</body>
</html>
"""

CODE = ("default", "github-dark")  # pygments' styles for light and dark

STYLE = """
:root { color-scheme: light dark; --code: #f5f5f5; --line: #ccc; }
@media (prefers-color-scheme: dark) { :root { --code: #1e2127; --line: #555; } }
body { font: 17px/1.5 system-ui, sans-serif; margin: 0; }
nav, main { max-width: 52rem; margin: auto; padding: .6rem 1rem; }
pre, code { font: 14px/1.4 ui-monospace, monospace; }
pre, div.highlight { background: var(--code); }
pre { padding: .6rem .8rem; margin: .6rem 0; overflow-x: auto; }
img { max-width: 100%; height: auto; background: #fff; }
figure { margin: .6rem 0; }
table { border-collapse: collapse; display: block; overflow-x: auto; }
td, th { border: 1px solid var(--line); padding: .2rem .6rem; }
math { font-family: "Latin Modern Math", "STIX Two Math", "Cambria Math", math; }
math[display=block] { margin: .8em 0; padding: .3em 0; overflow: auto hidden; }
.prompt, .anchor-link { display: none; }
input { font: inherit; width: 100%; padding: .3rem; box-sizing: border-box; }
:focus-visible { outline: 3px solid #0072B2; }
"""

SEARCH = """
<label>Search the lessons <input id="search" type="search" autocomplete="off"></label>
<ol id="found" aria-live="polite"></ol>
<script type="application/json" id="index">{index}</script>
<script>
const sections = JSON.parse(document.getElementById("index").textContent);
const found = document.getElementById("found");
document.getElementById("search").addEventListener("input", event => {{
  const words = event.target.value.toLowerCase().split(/\\s+/).filter(Boolean);
  found.replaceChildren();
  if (!words.length) return;
  const hits = sections
    .map(s => {{
      const title = s.title.toLowerCase(), text = s.text.toLowerCase();
      const all = words.every(w => title.includes(w) || text.includes(w));
      return all ? [words.filter(w => title.includes(w)).length, s, text.indexOf(words[0])] : null;
    }})
    .filter(Boolean)
    .sort((a, b) => b[0] - a[0]);
  for (const [, s, at] of hits.slice(0, 20)) {{
    const item = document.createElement("li"), link = document.createElement("a");
    link.href = s.page + "#" + s.anchor;
    link.textContent = s.title;
    const start = Math.max(0, at - 60);
    item.append(link, " … " + s.text.slice(start, start + 160) + " …");
    found.append(item);
  }}
  if (!hits.length) found.textContent = "Nothing found.";
}});
</script>
"""


def command(
    target: Annotated[Path, typer.Argument(help="Where the pages go.")] = ROOT / "site",
    lesson: Annotated[
        list[str] | None, typer.Option(help="Only this lesson (may be repeated).")
    ] = None,
):
    """Write the solved lessons, executed, as pages to read without Jupyter or a network."""
    from nbclient.exceptions import CellExecutionError

    try:
        build_site(target, lesson, tell=typer.echo)
    except CellExecutionError as error:
        typer.echo(f"A lesson does not run:\n{error}", err=True)
        raise typer.Exit(1) from None
    typer.echo(f"Open {target / 'index.html'}")
