"""Pages with all data, styles and scripts in one HTML file, which needs no network."""

from importlib.resources import files
from pathlib import Path
from typing import Any

from jinja2 import Environment, FileSystemLoader, StrictUndefined
from markupsafe import Markup
from plotly.offline import get_plotlyjs

from lartpc.atomic import replacing
from lartpc.run.display.data import SEMANTIC_COLOURS
from lartpc.tables.fields import names_of
from lartpc.vocab import PointKind, Semantic

HERE = Path(str(files("lartpc.run.display")))
SCRIPTS = (
    *("lens.js", "pens.js", "axes.js", "scene.js", "picture.js", "display.js"),
    *("charts.js", "theme.js"),
)
WORDS = {
    "semantic": {"names": names_of(Semantic), "colours": SEMANTIC_COLOURS},
    "kinds": names_of(PointKind),
}
"""What the scripts call classes and kinds of points."""


def render(folder: Path, template: str, script: str, **values: Any) -> str:
    """Fill a template of a folder; `script` is the page's own, beside those of the display.

    Parameters
    ----------
    values
        What the template shows; `data` holds what the scripts draw: `charts`, `displays` and `words`.
    """
    environment = Environment(
        loader=FileSystemLoader([folder, HERE]), autoescape=True, undefined=StrictUndefined
    )
    scripts = [*((HERE / name).read_text() for name in SCRIPTS), (folder / script).read_text()]
    return environment.get_template(template).render(
        style=Markup((HERE / "page.css").read_text()),
        script=Markup("\n".join(scripts)),
        plotly=Markup(get_plotlyjs()),
        **values,
    )


def write_page(folder: Path, template: str, script: str, out: Path, **values: Any) -> None:
    """Fill a template as `render` does, and write the page."""
    page = render(folder, template, script, **values)
    with replacing(out) as part:
        part.write_text(page)
