"""`lartpc simulate`: run Geant4 for one shard, in a process of its own."""

import importlib.util
import os
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO

from lartpc import atomic, config
from lartpc.faults import PassingError
from lartpc.neutrinos import files
from lartpc.run.progress import Meter
from lartpc.simulate import argon, neutrinos
from lartpc.simulate.generators import check
from lartpc.steady import Steady

LOG_LINES = 15
ERROR, PASSING = "error: ", "passing: "
"""What the lines begin with that say why Geant4 ended: what is wrong with settings or files, or a fault that passes."""


def simulate(
    cfg: config.Simulate,
    *,
    num_events: int | None,
    seed: int,
    out: Path,
    log: Path | None = None,
    share: tuple[int, int] = (0, 1),
    on_event: Callable[[], None] | None = None,
) -> int:
    """Simulate events with Geant4 into a file of steps.

    Parameters
    ----------
    num_events
        Number of events, numbered from 0. A longer run with the same seed begins with the same events.
        None: as many as the files of the generator are enough for.
    seed
        Seed of the shard.
    out
        HDF5 file to write (`docs/explanation/simulation.md`); it appears when it is whole.
    log
        File for what Geant4 prints; without it, `<out>.log`, which goes again if all is well.
    share
        Share `i` of `n` of the interactions in the files of the generator; shares have none in common.
    on_event
        Called after each event, instead of showing progress.

    Returns
    -------
    The number of events.

    Raises
    ------
    ValueError
        The settings or files of the generator, or GEANT4_DATA_DIR cannot be used.
    MemoryError
        Geant4 was killed, as the system does for want of memory.
    RuntimeError
        Geant4 failed; the message names the log and has its end.
    """
    if (num_events is not None and num_events < 1) or seed < 0:
        raise ValueError(f"needs at least 1 event and a seed from 0, got {num_events} events and seed {seed}")
    if not 0 <= share[0] < share[1]:
        raise ValueError(f"share {share[0]}/{share[1]} is none: of n shares they are 0 to n - 1")
    check(cfg)
    if importlib.util.find_spec("geant4_pybind") is None:  # imported by the process that is started
        raise ModuleNotFoundError("No module named 'geant4_pybind'", name="geant4_pybind")
    generator = neutrinos.from_files(cfg)
    steady = Steady(files.expand(generator.files) if generator else [])
    num_events = _num_events(cfg, num_events, seed, share)
    env = _environment()
    log_path = log or out.with_name(out.name + ".log")
    for path in (out, log_path):
        atomic.make_folder(path.parent)
    atomic.need_room(out)
    try:
        meter = Meter("simulate", num_events, "events", quiet=on_event is not None)
        with log_path.open("wb") as log_file, meter:
            with _started(cfg, num_events, seed, share, out, log_file, env) as (process, lines):
                for line in lines:
                    if line.startswith(ERROR):
                        raise ValueError(line.removeprefix(ERROR).strip())
                    if line.startswith(PASSING):
                        raise PassingError(line.removeprefix(PASSING).strip())
                    (on_event or meter.advance)()
            if process.returncode == -signal.SIGKILL:
                raise MemoryError(
                    f"Geant4 was killed, as the system does for want of memory; give the job more, see {log_path}"
                )
            if process.returncode:
                raise RuntimeError(_failure(process.returncode, log_path))
        steady.check()
    except BaseException as error:
        atomic.clear(out)
        if isinstance(error, PassingError):
            out.unlink(missing_ok=True)
        raise
    if log is None:
        log_path.unlink()
    return num_events


def _num_events(cfg: config.Simulate, num_events: int | None, seed: int, share: tuple[int, int]) -> int:
    """Return the number of events, of interactions from files after a look at these."""
    generator = neutrinos.from_files(cfg)
    if generator is None:
        if num_events is None:
            raise ValueError(f"the generator '{cfg.generator}' makes any number of events; say how many")
        return num_events
    if not generator.files:
        raise ValueError(
            "simulate.generator.files names no file of generated events; name some there, or in the sample sheet "
            f"(source {generator.kind}:PATTERN), or with --generator {generator.kind}:PATTERN"
        )
    interactions = files.read(generator.kind, files.expand(generator.files), share)
    return len(neutrinos.spills(interactions, generator.mean_interactions, num_events, seed))


def _environment() -> dict[str, str]:
    """Return the environment for Geant4, with the folder of its data.

    Our tables hold only if no variable of another Geant4 installation names single data sets.
    """
    path, label = argon.data_dir()
    env = {**os.environ, argon.ENVIRONMENT: str(path), "OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1"}
    if label != argon.OFFICIAL:
        for name in argon.DATASET_ENVIRONMENT:
            env.pop(name, None)
    return env


@contextmanager
def _started(
    cfg: config.Simulate,
    num_events: int,
    seed: int,
    share: tuple[int, int],
    out: Path,
    log: BinaryIO,
    env: dict[str, str],
) -> Iterator[tuple[subprocess.Popen[bytes], Iterator[str]]]:
    """Start the simulation; yield its process and the lines of its progress, and leave it ended."""
    reader, writer = os.pipe()
    with os.fdopen(reader) as lines:
        try:
            process = subprocess.Popen(
                (
                    *(sys.executable, "-m", "lartpc.simulate.geant4"),
                    *("--config", cfg.model_dump_json()),
                    *("--num-events", str(num_events)),
                    *("--seed", str(seed)),
                    *("--share", *map(str, share)),
                    *("--out", str(out)),
                    *("--progress-fd", str(writer)),
                ),
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
                pass_fds=(writer,),
                env=env,
            )
        finally:
            os.close(writer)
        try:
            yield process, lines
        except BaseException:
            process.kill()
            raise
        finally:
            process.wait()


def _failure(status: int, log: Path) -> str:
    lines = log.read_text(errors="replace").splitlines()
    end = "\n".join(line.rstrip() for line in lines[-LOG_LINES:])
    how = f"was ended by signal {-status}" if status < 0 else f"failed with status {status}"
    return f"Geant4 {how}; see {log}, which ends with\n{end}"
