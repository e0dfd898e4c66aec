"""How Sphinx makes the documentation site: `make docs`, then open docs/_build/index.html."""

import re
from importlib.metadata import version as installed
from pathlib import Path

import gptbpe.cli.commands
import gptmodel.cli
import gptmodel.cli.train

project = "gptbpe"
author = "the gptbpe authors"
version = release = installed("gptbpe")

extensions = ["myst_parser", "sphinx.ext.autodoc", "sphinx.ext.napoleon", "sphinx.ext.viewcode"]
# README.md lists the pages where there is no site.
exclude_patterns = ["_build", "README.md"]

root_doc = "index"
html_theme = "furo"
html_title = "gptbpe"
html_show_copyright = False
html_static_path = ["_static"]
html_css_files = ["wrap.css"]

myst_heading_anchors = 3
suppress_warnings = ["myst.xref_missing"]  # of links to files outside docs/

smartquotes = False  # two hyphens begin an option

autodoc_default_options = {"exclude-members": "__new__"}  # users call a class method instead
autodoc_member_order = "bysource"
autodoc_typehints_format = "short"
autodoc_preserve_defaults = True
autodoc_class_signature = "separated"  # constructors apart: users call a class method of most classes
python_use_unqualified_type_names = True
maximum_signature_line_length = 90


gptmodel.cli.train.show_values_of([])
for name, app in (("gptbpe", gptbpe.cli.commands.app), ("gptmodel", gptmodel.cli.app)):
    page = Path(__file__).parent / "reference" / f"{name}-command.md"
    reference = app.generate_docs(heading_level=2, flatten_commands=True, usage_name=name)
    # The list of commands follows, with what each is for.
    reference = re.sub(r"## Table of Contents\n.*?(?=\*\*Commands)", "", reference, flags=re.S)
    page.write_text(f"# The command {name}\n\n{reference}", encoding="utf-8")
