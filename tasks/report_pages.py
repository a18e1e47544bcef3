"""The report's pages from their templates. Imports no torch."""

from pathlib import Path
from typing import Any

import jinja2
from markupsafe import Markup

from tasks.report_script import script_json

TEMPLATES = Path(__file__).parent / "report_templates"

SCRIPTS = ("store.js", "query.js", "filters.js", "sample.js", "gallery.js")
"""Of the gallery, in the order of loading."""
FILES = ("report.css", "overview.js", *SCRIPTS)
"""What the pages load beside the data."""


def render(page: str, context: dict[str, Any]) -> str:
    """A page; everything in ``context`` is escaped.

    Args:
        page: its name; the template is ``PAGE.j2``.
        context: what it shows.
    """
    environment = jinja2.Environment(
        loader=jinja2.FileSystemLoader(TEMPLATES),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters["script_json"] = lambda value: Markup(script_json(value))
    return environment.get_template(f"{page}.j2").render(context)
