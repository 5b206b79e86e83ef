"""Pages with all data, styles and scripts in one HTML file, which needs no network."""

from importlib.resources import files
from pathlib import Path
from typing import Any

from jinja2 import Environment, FileSystemLoader, StrictUndefined
from markupsafe import Markup
from plotly.offline import get_plotlyjs

from lartpc.atomic import replacing


def write_page(template: str, out: Path, **values: Any) -> None:
    """Fill a template of this folder and write the page.

    Parameters
    ----------
    values
        What the template shows; `data` holds what the page's script draws: `charts` and `displays`.
    """
    folder = Path(str(files("lartpc.run.report")))
    environment = Environment(loader=FileSystemLoader(folder), autoescape=True, undefined=StrictUndefined)
    page = environment.get_template(template).render(
        style=Markup((folder / "page.css").read_text()),
        script=Markup((folder / "page.js").read_text()),
        plotly=Markup(get_plotlyjs()),
        **values,
    )
    with replacing(out) as part:
        part.write_text(page)
