"""The course as a site: the solved lessons, the gallery of mistakes, the guides, the functions; made by Sphinx.

pgcourse site        site/index.html and a page for each; search, mathematics and pictures inside, no network
"""

import inspect
import pkgutil
import re
import tempfile
from importlib import import_module
from pathlib import Path
from typing import Annotated

import nbformat
import typer

import pgcourse
from pgcourse.checks.package import ROOMS
from pgcourse.classroom.build import ROOT, BuildError, sources

CONFIG = {
    "project": "Policy gradients",
    "html_title": "Policy gradients",
    "extensions": ["myst_nb", "sphinx_copybutton", "pgcourse.classroom.site"],
    "root_doc": "index",
    "html_theme": "sphinx_book_theme",
    "html_math_renderer": "mathml",
    "smartquotes": False,
    "html_show_copyright": False,
    "html_copy_source": False,
    "html_show_search_summary": False,  # it is fetched, which a browser refuses where there is no server
    "html_static_path": ["_static"],
    "html_css_files": ["course.css"],
    "nb_execution_mode": "off",
    "nb_merge_streams": True,
    "nb_ipywidgets_js": {},
    "myst_enable_extensions": ["dollarmath", "amsmath"],
    "myst_heading_anchors": 4,
    "myst_heading_slug_func": "pgcourse.checks.verdict.anchor",
    "suppress_warnings": ["mystnb.unknown_mime_type", "misc.highlighting_failure"],
}
# Pages beside the lessons: name on the site, file in the clone.
GUIDES = {"instructors": "course/INSTRUCTORS.md", "benchmark": "bench/results.md"}
# On a phone nothing but a formula or code is wider than the page.
STYLE = """
h1, h2, h3, code.literal, code.literal .pre { overflow-wrap: anywhere; white-space: normal; }
div.formula { overflow: auto hidden; padding: .3em 0; }
@media (max-width: 600px) {
  span.formula { display: inline-block; max-width: 100%; overflow: auto hidden; vertical-align: middle; }
}
"""
CONTENTS = """

```{{toctree}}
:hidden:
:caption: {caption}

{pages}
```
"""


def build_site(target, lessons=None, root=ROOT, repository=""):
    """Have Sphinx write the site, with the solved notebooks and what they showed when they were run.

    target     : a folder, made if it is not there; pages in it are overwritten
    lessons    : names like "05_ppo"; by default all; BuildError where there are none (no clone)
    repository : address of the public repository, for the buttons to Colab, Binder and the source
    """
    from sphinx.application import Sphinx

    paths = [path.with_suffix(".ipynb") for path in sources(root, lessons or ())]
    with tempfile.TemporaryDirectory(prefix="pgcourse-") as folder:
        pages = Path(folder)
        for path in paths:
            nbformat.write(page_of(nbformat.read(path, as_version=4)), pages / path.name)
        write_pages(pages, [path.stem for path in paths], root)
        for page in [*pages.glob("*.md"), *pages.glob("*.ipynb")]:
            page.write_text(local_links(page.read_text(encoding="utf-8"), pages), encoding="utf-8")
        Sphinx(
            pages,
            None,
            target,
            pages / ".doctrees",
            "html",
            CONFIG | {"html_theme_options": buttons(repository)},
            status=None,
        ).build()


def page_of(nb):
    """A solved notebook with its outputs as a page: the first cell folded, no marks of what is the solution."""
    code = [cell for cell in nb.cells if cell.cell_type == "code"]
    for cell in code:
        cell.source = re.sub(r"\n? *### (BEGIN|END) SOLUTION", "", cell.source)
    code[0].metadata.setdefault("tags", []).append("hide-cell")
    return nb


def write_pages(pages, lessons, root):
    """All pages but the lessons, as Markdown."""
    from pgcourse.classroom.gallery import lesson_page

    gallery = {f"gallery_{lesson}": lesson for lesson in lessons}
    for name, lesson in gallery.items():
        title = f"Mistakes of lesson {int(lesson[:2])}"
        (pages / f"{name}.md").write_text(lesson_page(lesson, title), encoding="utf-8")
    (pages / "functions.md").write_text(functions_page(), encoding="utf-8")
    for name, path in GUIDES.items():
        (pages / f"{name}.md").write_text(
            (root / path).read_text(encoding="utf-8"), encoding="utf-8"
        )
    front = (root / "course" / "README.md").read_text(encoding="utf-8")
    for caption, names in (
        ("Lessons", lessons),
        ("Gallery of mistakes", gallery),
        ("More", ["functions", *GUIDES]),
    ):
        front += CONTENTS.format(caption=caption, pages="\n".join(names))
    (pages / "index.md").write_text(front, encoding="utf-8")
    (pages / "_static").mkdir()
    (pages / "_static" / "course.css").write_text(STYLE, encoding="utf-8")
    for picture in (root / "course").glob("*.png"):
        (pages / picture.name).write_bytes(picture.read_bytes())


def functions_page():
    """The package's public functions and classes with their docstrings, as they are."""
    parts = ["# Functions"]
    modules = {m.name: m.ispkg for m in pkgutil.iter_modules(pgcourse.__path__)}
    for room in ROOMS:
        modules |= {f"{room}.{p.stem}": False for p in (ROOT / "pgcourse" / room).glob("[!_]*.py")}
    for module in sorted(name for name, is_folder in modules.items() if not is_folder):
        found = vars(import_module(f"pgcourse.{module}"))
        own = [
            (name, what)
            for name, what in found.items()
            if getattr(what, "__module__", "") == f"pgcourse.{module}"
            and (inspect.isfunction(what) or inspect.isclass(what))
            and not name.startswith("_")
            and what.__doc__
        ]
        if own:
            parts.append(f"## pgcourse.{module}")
        for name, what in own:
            signature = f"{name}{inspect.signature(what)}"
            parts.append(f"### {name}\n\n```text\n{signature}\n\n{inspect.getdoc(what)}\n```")
    return "\n\n".join(parts) + "\n"


def local_links(text, pages):
    """Links between files become links between pages; what is not on the site is only text."""
    names = {Path(path).name: f"{name}.md" for name, path in GUIDES.items()}

    def change(match):
        words, target = match[1], match[2]
        if target.startswith(("http:", "https:", "#", "mailto:")):
            return match[0]
        path, _, section = target.partition("#")
        name = names.get(Path(path).name, Path(path).name)
        name = "index.md" if path.endswith("README.md") else name
        return f"[{words}]({name}{section and '#' + section})" if (pages / name).exists() else words

    return re.sub(r"(?<!!)\[([^\]\n]*)\]\(([^)\s]+)\)", change, text)


def buttons(repository):
    """The theme's buttons; those that lead to a repository only where there is one."""
    about = {"use_download_button": True, "show_toc_level": 2, "home_page_in_toc": True}
    if repository:
        launch = {
            "binderhub_url": "https://mybinder.org",
            "colab_url": "https://colab.research.google.com",
        }
        about |= {"repository_url": repository, "use_repository_button": True}
        about |= {"path_to_docs": "solutions", "launch_buttons": launch}
    return about


def setup(app):
    """Sphinx: formulas as MathML, which needs neither a network nor a script."""
    from docutils import nodes

    from pgcourse.classroom.pages import mathml

    def writes(display):
        tag = "div" if display == "block" else "span"

        def visit(self, node):
            formula = mathml(node.astext(), display)
            self.body.append(f'<{tag} class="formula">{formula}</{tag}>')
            raise nodes.SkipNode

        return visit, None

    app.add_html_math_renderer("mathml", writes("inline"), writes("block"))
    return {"parallel_read_safe": True, "parallel_write_safe": True}


def command(
    target: Annotated[Path, typer.Argument(help="Where the pages go.")] = ROOT / "site",
    lesson: Annotated[
        list[str] | None, typer.Option(help="Only this lesson (may be repeated).")
    ] = None,
    repository: Annotated[
        str,
        typer.Option(help="Address of the public repository: buttons to Colab, Binder, source."),
    ] = "",
):
    """Write the course as pages to read without Jupyter or a network."""
    try:
        build_site(target, lesson, repository=repository)
    except BuildError as error:
        typer.echo(str(error), err=True)
        raise typer.Exit(2) from None
    typer.echo(f"Open {target / 'index.html'}")
