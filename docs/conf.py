"""Sphinx configuration: builds offline with warnings as errors; knows the package by its metadata and docstrings only."""

from __future__ import annotations

import os
import shutil
import warnings
from importlib.metadata import metadata
from pathlib import Path

HERE = Path(__file__).parent

info = metadata("st-predict")
urls = dict(entry.split(", ") for entry in info.get_all("Project-URL") or [])
project = info["Name"]
author = "st-predict developers"
copyright = f"2026, {author}"
version = release = info["Version"]

extensions = [
    "myst_nb",
    "sphinx_copybutton",
    "sphinx.ext.autodoc",
    "sphinx.ext.autosummary",
    "sphinx.ext.napoleon",
    "sphinx_autodoc_typehints",
    "sphinx.ext.mathjax",
    "IPython.sphinxext.ipython_console_highlighting",
]
source_suffix = {".rst": "restructuredtext", ".md": "myst-nb", ".ipynb": "myst-nb"}  # the first: generated API pages
templates_path = ["_templates"]
exclude_patterns = ["_build", "Thumbs.db", ".DS_Store", "**.ipynb_checkpoints"]

# -- API ---------------------------------------------------------------------
autosummary_generate = True
autodoc_member_order = "bysource"
autodoc_typehints = "none"  # sphinx_autodoc_typehints writes them beside each parameter
default_role = "literal"
napoleon_google_docstring = False
napoleon_include_init_with_doc = False
napoleon_use_rtype = False  # a sentence under Returns is a sentence; its type comes from the signature
napoleon_use_param = True
typehints_defaults = "comma"
always_use_bars_union = True

# Said by that extension of its own inside, once a page.
warnings.filterwarnings("ignore", message=r"'sphinx_autodoc_typehints\.")

# -- Pages and notebooks -----------------------------------------------------
myst_enable_extensions = ["amsmath", "colon_fence", "deflist", "dollarmath"]
myst_heading_anchors = 3
nb_execution_mode = "off"  # tutorials are executed where they are written, and rendered as committed
nb_merge_streams = True
nb_output_stderr = "show"  # what training says of held-out sections is a log message

# Sphinx renders only what lies under its source folder; the notebooks lie in tutorials/, where users look for them.
# docs/tutorials/index.md lists them in reading order.
for notebook in sorted((HERE.parent / "tutorials").glob("*.ipynb")):
    shutil.copy2(notebook, HERE / "tutorials" / notebook.name)

# -- Links -------------------------------------------------------------------
nitpicky = True
if os.environ.get("READTHEDOCS") or os.environ.get("ST_PREDICT_INTERSPHINX"):
    # Needs the network, which a build by hand or in a closed machine may not have.
    extensions.append("sphinx.ext.intersphinx")
    intersphinx_mapping = {
        "anndata": ("https://anndata.readthedocs.io/en/stable/", None),
        "matplotlib": ("https://matplotlib.org/stable/", None),
        "numpy": ("https://numpy.org/doc/stable/", None),
        "pandas": ("https://pandas.pydata.org/pandas-docs/stable/", None),
        "python": ("https://docs.python.org/3", None),
        "scipy": ("https://docs.scipy.org/doc/scipy/", None),
        "spatialdata": ("https://spatialdata.scverse.org/en/stable/", None),
        "torch": ("https://docs.pytorch.org/docs/stable/", None),
    }
# Types of other packages, which are links only where their inventories can be had, and whose private paths are in none.
_OTHERS = "anndata|collections|dask|geopandas|lightning|matplotlib|numpy|os|pandas|pathlib|scipy|spatialdata|torch|types|typing|xarray"
_BUILTINS = "Ellipsis|bool|bytes|dict|float|frozenset|int|list|object|set|str|tuple|type|None|True|False|ValueError|[A-Z][A-Za-z]*Error"
nitpick_ignore_regex = [
    ("py:.*", r"st_predict\.tl\._scores_table\..*"),  # a DataFrame, described where it is returned
    ("py:.*", r"st_predict\.core\..*"),  # the core is no public surface; what of it is, has its own page
    ("py:.*", rf"({_OTHERS})(\..*)?"),
    ("py:.*", rf"({_BUILTINS})"),
]

# -- HTML --------------------------------------------------------------------
html_theme = "sphinx_book_theme"
html_title = project
html_static_path: list[str] = []
html_theme_options = {
    "repository_url": urls["Source"],
    "repository_branch": "main",
    "path_to_docs": "docs/",
    "use_repository_button": True,
    "show_navbar_depth": 1,
}
pygments_style = "default"
