"""A picture of an event without a screen, by Chromium, which draws the page of `lartpc view`."""

import re
import shutil
import subprocess
import tempfile
from pathlib import Path
from threading import Thread
from urllib.parse import unquote, urlencode

from lartpc.atomic import replacing
from lartpc.run.view.server import Server

BROWSERS = ("chromium", "chromium-browser", "google-chrome", "chrome")
MODES = ("energy", "class", "fragment", "particle", "interaction", "points", "vertices", "mistakes")
"""Colours of a display, as its buttons call them."""
VIEWS = ("3d", "zy", "zx", "xy", "u", "v")
"""3D, side, top, front, and as planes of wires at +60 and -60 degrees see it."""
SIZE_PIXELS = (1400, 1100)
PATIENCE_S = 300
# Nodes of clusters have neither a screen nor a driver for one. Time that passes for the page.
_FLAGS = (
    *("--headless=new", "--no-sandbox", "--disable-dev-shm-usage", "--hide-scrollbars", "--disable-gpu"),
    "--disable-background-networking",
    *("--virtual-time-budget=8000", f"--window-size={SIZE_PIXELS[0]},{SIZE_PIXELS[1]}"),
)


def save_picture(server: Server, out: Path, event: str, mode: str, view: str = "3d") -> None:
    """Write an event as a picture, with its colours by `mode`: SVG where the name ends so, else the page as PNG.

    An SVG is vectors alone, of what the page shows.

    Parameters
    ----------
    event
        `file_uid/entry`; empty: the first one.
    mode, view
        One of `MODES` and one of `VIEWS`.

    Raises
    ------
    ValueError
        There is no such event, mode or view, no Chromium, or it draws nothing.
    """
    (name,) = server.catalogue.names([server.catalogue.number(event)])
    if mode not in MODES:
        raise ValueError(f"no colours '{mode}'; there are {', '.join(MODES)}")
    if view not in VIEWS:
        raise ValueError(f"no view '{view}'; there are {', '.join(VIEWS)}")
    program = next((found for name in BROWSERS if (found := shutil.which(name))), None)
    if not program:
        raise ValueError("pictures need Chromium, which is not installed: apt-get install chromium")
    is_vector = out.suffix.lower() == ".svg"
    words = {"event": name, "mode": "semantic" if mode == "class" else mode, "view": view, "plain": 1}
    address = f"{server.address}#{urlencode(words | ({'svg': 1} if is_vector else {}))}"
    thread = Thread(target=server.serve_forever)
    thread.start()
    try:
        # A browser does not say why it writes nothing: where there is no room, we do.
        with replacing(out) as part, tempfile.TemporaryDirectory(prefix="lartpc-view-") as scratch:
            drawn = Path(scratch) / "drawn.png"  # it decides by the ending what it writes
            does = "--dump-dom" if is_vector else f"--screenshot={drawn}"
            done = subprocess.run(
                [program, *_FLAGS, does, address],
                capture_output=True,
                text=True,
                check=False,
                timeout=PATIENCE_S,
            )
            vector = re.search(r'<script type="text/plain" id="svg">([^<]*)<', done.stdout)
            if done.returncode or not server.num_shown or not (vector if is_vector else drawn.is_file()):
                raise ValueError(
                    f"{program} drew nothing: {done.stderr.strip()[-500:] or 'no event was asked for'}"
                )
            if vector:
                part.write_text(unquote(vector[1]))
            else:
                shutil.copyfile(drawn, part)
    except subprocess.TimeoutExpired as error:
        raise ValueError(f"{program} drew nothing within {PATIENCE_S} s") from error
    finally:
        server.shutdown()
        thread.join()
