"""A picture of an event without a screen, by Chromium, which draws the page of `lartpc view`."""

import shutil
import subprocess
from pathlib import Path
from threading import Thread
from urllib.parse import urlencode

from lartpc.atomic import replacing
from lartpc.run.view.server import Server

BROWSERS = ("chromium", "chromium-browser", "google-chrome", "chrome")
MODES = ("energy", "class", "fragment", "particle", "interaction", "points", "vertices", "mistakes")
"""Colours of a display, as its buttons call them."""
SIZE_PIXELS = (1400, 1100)
PATIENCE_S = 300
# WebGL in software: nodes of clusters have neither a screen nor a driver for one. Time that passes for the page.
_FLAGS = (
    *("--headless=new", "--no-sandbox", "--disable-dev-shm-usage", "--hide-scrollbars", "--use-gl=angle"),
    *("--use-angle=swiftshader", "--enable-unsafe-swiftshader", "--disable-background-networking"),
    *("--virtual-time-budget=8000", f"--window-size={SIZE_PIXELS[0]},{SIZE_PIXELS[1]}"),
)


def save_picture(server: Server, out: Path, event: str, mode: str) -> None:
    """Write the page as PNG, with an event in it and its colours by `mode`.

    Parameters
    ----------
    event
        `file_uid/entry`; empty: the first one.

    Raises
    ------
    ValueError
        There is no such event or mode, no Chromium, or it draws nothing.
    """
    (name,) = server.catalogue.names([server.catalogue.number(event)])
    if mode not in MODES:
        raise ValueError(f"no colours '{mode}'; there are {', '.join(MODES)}")
    program = next((found for name in BROWSERS if (found := shutil.which(name))), None)
    if not program:
        raise ValueError("--png needs Chromium, which is not installed: apt-get install chromium")
    link = urlencode({"event": name, "mode": "semantic" if mode == "class" else mode, "plain": 1})
    thread = Thread(target=server.serve_forever)
    thread.start()
    try:
        # A browser decides by the ending of a name what it writes.
        with replacing(out) as part:
            drawn = part.with_name(f"{part.name}.png")
            command = [program, *_FLAGS, f"--screenshot={drawn.absolute()}", f"{server.address}#{link}"]
            done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=PATIENCE_S)
            if done.returncode or not drawn.is_file() or not server.num_shown:
                raise ValueError(
                    f"{program} drew nothing: {done.stderr.strip()[-500:] or 'no event was asked for'}"
                )
            drawn.replace(part)
    except subprocess.TimeoutExpired as error:
        raise ValueError(f"{program} drew nothing within {PATIENCE_S} s") from error
    finally:
        server.shutdown()
        thread.join()
