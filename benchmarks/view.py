"""How fluid `lartpc view` is, by the size of the event: `python benchmarks/view.py RESULTS_OR_EVENT_FILES...`.

A headless Chromium without a graphics card opens the page and shows the largest event at different sizes, other voxels
left out. Stated are processor times of its two processes, page and drawing, which others at work on the machine do not
change much: until an event is shown; until it has other colours (mean); a frame while both pictures turn; until a
clicked particle is described.
"""

import argparse
import subprocess
import sys
from pathlib import Path
from threading import Thread

from lartpc.run.view.catalogue import Catalogue
from lartpc.run.view.server import Server

sys.path.insert(0, str(Path(__file__).parents[1] / "tests"))
from browser import browser, look, wait_for

MODES = ("energy", "semantic", "fragment", "interaction", "points", "vertices", "mistakes", "particle")
KINDS = ("renderer", "gpu-process")
NUM_FRAMES = 10
PATIENCE_S = 900
TURN = """
    const done = arguments[arguments.length - 1], picture = document.querySelector('[data-part=prediction]');
    (async () => {
        for (let i = 0; i < arguments[0]; i += 1) {
            picture.dispatchEvent(new KeyboardEvent('keydown', { key: 'ArrowRight', bubbles: true }));
            await new Promise((ready) => requestAnimationFrame(() => requestAnimationFrame(ready)));
        }
        done();
    })();
"""
CLICK = """
    const { picture } = document.querySelector('[data-part=prediction]');
    picture.asked(picture.traces.find((one) => one.name === 'particles').rows[0]);
"""
SHOWN = "return document.getElementById('display').dataset.drawn"
DESCRIBED = "return !document.querySelector('[data-part=object]').hidden"


def processor_times(driver: int) -> dict[str, float]:
    """Return the processor times [s] of the processes of a browser that a driver started, by their kind."""
    said = subprocess.run(
        ["ps", "-eo", "pid=,ppid=,args="], capture_output=True, text=True, check=True
    ).stdout
    rows = [line.split(None, 2) for line in said.splitlines()]
    family, spent = {str(driver)}, dict.fromkeys(KINDS, 0.0)
    for pid, parent, command in sorted(rows, key=lambda row: int(row[0])):
        if parent not in family:
            continue
        family.add(pid)
        for kind in KINDS:
            if f"--type={kind}" in command:
                user, system = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[11:13]
                spent[kind] += (int(user) + int(system)) / 100
    return spent


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("paths", type=Path, nargs="+")
    parser.add_argument("--sizes", type=int, nargs="+", default=[100, 1000, 10_000, 30_000, 100_000])
    args = parser.parse_args()
    words = "".join(f"{name:>17s}" for name in ("shown [s]", "colours [s]", "frame [ms]", "click [s]"))
    print(f"{'voxels':>8s}{'objects':>9s}{words}, each page / drawing")
    for size in args.sizes:
        catalogue = Catalogue(args.paths, size)
        largest = int(catalogue.events["num_voxels"].argmax())
        with Server(catalogue, "benchmark") as server, browser() as page:
            Thread(target=server.serve_forever, daemon=True).start()
            page.command_executor.client_config.timeout = PATIENCE_S  # the page answers when all is drawn
            page.set_script_timeout(PATIENCE_S)
            look(page, 1400)
            page.get("about:blank")
            spent = [processor_times(page.service.process.pid)]
            page.get(
                f"{server.address}#event={catalogue.names([largest])[0].replace('/', '%2F')}&mode=particle"
            )
            wait_for(page, SHOWN, "the event")
            spent.append(processor_times(page.service.process.pid))
            for mode in MODES:
                page.execute_script(f"document.querySelector('[data-part=mode] [data-value={mode}]').click()")
                wait_for(page, f"{SHOWN}.split('/')[1] === '{mode}'", mode)
            spent.append(processor_times(page.service.process.pid))
            page.execute_async_script(TURN, NUM_FRAMES)
            spent.append(processor_times(page.service.process.pid))
            page.execute_script(CLICK)
            wait_for(page, DESCRIBED, "the description")
            spent.append(processor_times(page.service.process.pid))
            num = len(page.find_elements("css selector", "[data-part=prediction-legend] button"))
            server.shutdown()
        scales = (1, 1 / len(MODES), 1000 / NUM_FRAMES, 1)
        cells = [
            " / ".join(f"{scale * (after[kind] - before[kind]):.4g}" for kind in KINDS)
            for before, after, scale in zip(spent[:-1], spent[1:], scales, strict=True)
        ]
        print(f"{size:8,d}{num:9d}" + "".join(f"{cell:>17s}" for cell in cells), flush=True)


if __name__ == "__main__":
    main()
