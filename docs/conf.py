"""The site of these pages: `make docs`."""

import json
import os
import subprocess
import sys

import lartpc

project = "lartpc"
author = copyright = "the lartpc developers"
version = release = lartpc.__version__

extensions = ["myst_parser", "sphinx.ext.autodoc", "sphinx.ext.napoleon"]
myst_enable_extensions = ["colon_fence", "fieldlist"]
myst_heading_anchors = 3
exclude_patterns = ["_build", "_templates"]
# What a docstring has between backticks is code.
default_role = "code"
autodoc_member_order = "bysource"
autodoc_typehints = "signature"
autodoc_class_signature = "separated"
autodoc_default_options = {"members": True, "show-inheritance": True}
autodoc_preserve_defaults = True
napoleon_google_docstring = False
napoleon_use_rtype = False
html_theme = "furo"
html_title = f"lartpc {release}"
html_show_sphinx = False
html_show_copyright = False
# The sites of other versions that stand beside this one, where docs/versions.py builds them all.
_versions = json.loads(os.environ.get("LARTPC_DOCS_VERSIONS", "{}"))
templates_path = ["_templates"]
html_context = {"versions": _versions.get("all", []), "shown_version": _versions.get("shown", "")}
html_sidebars = {
    "**": [
        "sidebar/brand.html",
        "sidebar/search.html",
        "sidebar/scroll-start.html",
        "sidebar/navigation.html",
        "versions.html",
        "sidebar/scroll-end.html",
    ]
}


def _command_line() -> str:
    """Return the page of all verbs and options, as typer writes it."""
    command = [sys.executable, "-m", "typer", "lartpc.cli", "utils", "docs", "--name", "lartpc"]
    return subprocess.run(command, capture_output=True, text=True, check=True).stdout


def _append(app, docname, source):
    """Append what is generated to the page that it belongs to."""
    if docname == "reference/command-line":
        source[0] += "\n" + _command_line().partition("\n")[2]


def setup(app):
    """Connect what is generated."""
    app.connect("source-read", _append)
