"""A small production, and the page of `lartpc view` on it."""

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from handmade import good_event, write_shard

from lartpc.run.collect import collect
from lartpc.run.quality.evaluate import evaluate
from lartpc.run.summarize import summarize
from lartpc.run.view.catalogue import Catalogue
from lartpc.run.view.server import Server

UID = "beam/0000"
SHOWN = "return document.getElementById('display').dataset.drawn"


def small_production(root: Path) -> Path:
    """Write three events by hand with their tables; the last one was set aside."""
    paths = write_shard(root, UID, [good_event() for _ in range(3)])
    summarize(paths, root / "tables")
    evaluate(paths, root / "metrics.parquet")
    collect([root / "tables"], [root / "metrics.parquet"], [paths[0]], root / "dataset")
    return root


@contextmanager
def served(results: Path, max_voxels: int = 1000) -> Iterator[Server]:
    """Serve the page of a production until the end of the block."""
    with Server(Catalogue([results], max_voxels), "beam") as started:
        thread = threading.Thread(target=started.serve_forever)
        thread.start()
        try:  # a thread that is left keeps the whole run of tests from ending
            yield started
        finally:
            started.shutdown()
            thread.join()


def num_painted(page, side: str) -> int:
    """Return how many pixels voxels cover in the picture of a side."""
    return page.execute_script(
        """
        const { canvas } = document.querySelector(`[data-part=${arguments[0]}]`).picture.middle;
        const { data } = canvas.getContext('2d').getImageData(0, 0, canvas.width, canvas.height);
        return data.filter((value, place) => place % 4 === 3 && value > 0).length;
        """,
        side,
    )


def click_voxel(page, side: str, name: str) -> None:
    """Press the mouse on the first voxel of what is called so, where it is drawn."""
    x, y = page.execute_script(
        """
        const element = document.querySelector(`[data-part=${arguments[0]}]`), { picture } = element;
        element.scrollIntoView({ block: 'center', behavior: 'instant' });
        const [row] = picture.traces.find((one) => one.name === arguments[1]).rows;
        const box = element.getBoundingClientRect();
        return [box.left + picture.placed.x[row], box.top + picture.placed.y[row]];
        """,
        side,
        name,
    )
    for kind in ("mousePressed", "mouseReleased"):
        event = {"type": kind, "x": x, "y": y, "button": "left", "clickCount": 1}
        page.execute_cdp_cmd("Input.dispatchMouseEvent", event)
