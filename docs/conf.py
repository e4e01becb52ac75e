"""Builds the documentation: `sphinx-build -W -b html docs OUT`, with the extra `docs`."""

import contextlib
import io
import pathlib
import sys

from docutils import nodes
from sphinx.util.docutils import SphinxDirective

sys.path.insert(0, str(pathlib.Path(__file__).parents[1]))

import jaxseg  # noqa: E402
from jaxseg.cli import COMMANDS, run  # noqa: E402

project = "jaxseg"
author = "The jaxseg authors"
copyright = "The jaxseg authors, Apache-2.0"
version = release = jaxseg.__version__

extensions = [
    "myst_parser",
    "sphinx.ext.autodoc",
    "sphinx.ext.napoleon",
    "sphinx.ext.viewcode",
    "sphinx_copybutton",
]
exclude_patterns = ["_build"]
myst_enable_extensions = ["colon_fence"]
myst_heading_anchors = 3
autodoc_typehints = "signature"
autodoc_member_order = "bysource"
autodoc_preserve_defaults = True
napoleon_numpy_docstring = False
napoleon_use_ivar = True
napoleon_use_rtype = False
default_role = "code"  # the docstrings' single backticks
python_use_unqualified_type_names = True
copybutton_prompt_text = ">>> "

html_theme = "furo"
html_title = "jaxseg"
html_copy_source = False
html_theme_options = {"top_of_page_buttons": []}


class Commands(SphinxDirective):
    """Inserts the help of every command, as the command prints it."""

    def run(self):
        sections = []
        for command, (_, line) in COMMANDS.items():
            section = nodes.section(ids=[f"command-{command}"])
            section += nodes.title(text=command)
            section += nodes.paragraph(text=line[0].upper() + line[1:] + ".")
            section += nodes.literal_block(text=_help(command), language="text")
            sections.append(section)
        return sections


class Networks(SphinxDirective):
    """Inserts a table of the published networks for each data set, made from the registry."""

    def run(self):
        by_data: dict[str, list] = {}
        for row in jaxseg.list_pretrained():
            key = row.data if row.kind == "network" else "ImageNet (backbones)"
            by_data.setdefault(key, []).append(row)
        sections = []
        for data, rows in by_data.items():
            section = nodes.section(ids=[nodes.make_id(f"networks-{data}")])
            section += nodes.title(text=data)
            heads = ["name", "mean IoU", "parameters", "source", "licence"]
            section += _table(heads, [_cells(row) for row in rows])
            sections.append(section)
        return sections


def _cells(row) -> list[nodes.Node]:
    here = nodes.Text("built in")
    file = nodes.reference("", row.source, refuri=row.url) if row.url else here
    return [
        nodes.literal(text=min([row.name, *row.aliases], key=len)),
        nodes.Text("" if row.mean_iou is None else f"{100 * row.mean_iou:.2f}"),
        nodes.Text("" if row.parameters is None else f"{row.parameters / 1e6:.1f} M"),
        file,
        nodes.Text(row.licence or "unknown"),
    ]


def _table(heads: list[str], rows: list[list[nodes.Node]]) -> nodes.table:
    group = nodes.tgroup(cols=len(heads))
    group += [nodes.colspec(colwidth=1) for _ in heads]
    head, body = nodes.thead(), nodes.tbody()
    for part, lines in ((head, [[nodes.Text(h) for h in heads]]), (body, rows)):
        for line in lines:
            row = nodes.row()
            for cell in line:
                row += nodes.entry("", nodes.paragraph("", "", cell))
            part += row
    group += [head, body]
    return nodes.table("", group)


def _help(command: str) -> str:
    out = io.StringIO()
    with contextlib.redirect_stdout(out), contextlib.suppress(SystemExit):
        run([command, "--help"])
    return out.getvalue().rstrip()


def setup(app):
    app.add_directive("commands", Commands)
    app.add_directive("networks", Networks)
