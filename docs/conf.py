"""The documentation: `sphinx-build -W -b html docs build/docs` (extra `docs`)."""

import pathlib
import sys

HERE = pathlib.Path(__file__).parent
sys.path.insert(0, str(HERE / "extensions"))

import gdjax  # noqa: E402

project = "gdjax"
author = "The gdjax developers"
copyright = "The gdjax developers, Apache-2.0"
version = release = gdjax.__version__

extensions = [
    "myst_nb",
    "sphinx.ext.autodoc",
    "docstrings",
    "mathml",
    "public",
    "optimizers",
    "examples",
    "explorer",
]
templates_path: list[str] = []
exclude_patterns = ["extensions"]
nitpicky = True

myst_enable_extensions = ["dollarmath", "amsmath", "deflist"]
myst_heading_anchors = 3
nb_execution_mode = "auto"
nb_merge_streams = True
nb_execution_raise_on_error = True
nb_execution_timeout = 300

autodoc_member_order = "bysource"
autodoc_typehints = "none"
toc_object_entries_show_parents = "hide"

html_math_renderer = "mathml"
html_theme = "sphinx_book_theme"
html_title = "gdjax"
html_static_path = ["_static"]
html_css_files = ["pages.css"]
html_show_sourcelink = False
html_copy_source = False
html_theme_options = {
    "show_toc_level": 2,
    "use_download_button": False,
    "use_fullscreen_button": False,
    "home_page_in_toc": False,
    "navbar_persistent": [],
    "pygments_light_style": "xcode",
    "pygments_dark_style": "github-dark",
}
