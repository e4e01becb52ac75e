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
    """The help of every command, as the command itself prints it."""

    def run(self):
        sections = []
        for command, (_, line) in COMMANDS.items():
            section = nodes.section(ids=[f"command-{command}"])
            section += nodes.title(text=command)
            section += nodes.paragraph(text=line[0].upper() + line[1:] + ".")
            section += nodes.literal_block(text=_help(command), language="text")
            sections.append(section)
        return sections


def _help(command: str) -> str:
    out = io.StringIO()
    with contextlib.redirect_stdout(out), contextlib.suppress(SystemExit):
        run([command, "--help"])
    return out.getvalue().rstrip()


def setup(app):
    app.add_directive("commands", Commands)
