"""NuHepMC, the common format of neutrino generators (arXiv:2310.13211): HepMC3 with conventions, through pyhepmc.

pyhepmc ends without an error where a file is cut, so each file is counted first, line by line.
"""

import bz2
import gzip
import lzma
import math
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TextIO

import pyhepmc

from lartpc.faults import is_passing
from lartpc.neutrinos.record import (
    LEPTONS,
    FourMomentum,
    Interaction,
    Outgoing,
    current_of,
    current_of_process,
    kinematics,
    mode_of,
    number_of_nucleons,
    of_reaction,
    outgoing,
)
from lartpc.vocab import NONE

FINAL, DECAYED, BEAM, TARGET, OLD_TARGET, STRUCK = 1, 2, 4, 20, 11, 21
"""Statuses of particles; the target had 11 before version 0.9."""
PRIMARY = 1
"""Status of the one primary vertex."""
WEIGHT = "CV"

_PREFIX = "NuHepMC."
_START, _END = "HepMC::Asciiv3-START_EVENT_LISTING", "HepMC::Asciiv3-END_EVENT_LISTING"
_IN_PB = {
    "pb": 1.0,
    "nb": 1e3,
    "fb": 1e-3,
    "b": 1e12,
    "mb": 1e9,
    "cm2": 1e36,
    "1e-38cm2": 1e-2,
    "10-38cm2": 1e-2,
}
_NS_PER_S = 1e9
_CM_PER_MM = 0.1
MIN_OFFSET_CM = 1e-4
"""Decays nearer than this to the vertex are at the vertex [cm]."""
_OPENERS = {b"\x1f\x8b": gzip.open, b"BZ": bz2.open, b"\xfd7": lzma.open}


@dataclass(frozen=True)
class Listing:
    """What a file holds, counted line by line: particles of each event, and the last estimate of its cross section."""

    num_particles: tuple[int, ...]
    cross_section: tuple[float, float] | None


def recognises(path: Path) -> bool:
    """Tell whether a file is HepMC3 text."""
    try:
        with _text(path) as file:
            return file.readline().startswith("HepMC::Version")
    except (OSError, EOFError, UnicodeDecodeError, lzma.LZMAError) as error:
        if is_passing(error):
            raise
        return False


def listing(path: Path) -> Listing:
    """Count the events of a file.

    Raises
    ------
    ValueError
        The file is missing, is not HepMC3 text, or is cut short.
    """
    numbers: list[int] = []
    last = ""
    cross_section = None
    line_number = 0
    try:
        with _text(path) as file:
            for line_number, line in enumerate(file, 1):
                if line_number == 1 and not line.startswith("HepMC::Version"):
                    raise ValueError(f"{path} is not HepMC3 text: it begins with {line[:30].strip()!r}")
                if line.startswith("E "):
                    numbers.append(int(line.split()[3]))
                elif line.startswith("A 0 GenCrossSection "):
                    cross_section = _pair(line.split()[3:5])
                elif line.startswith("HepMC::"):
                    if "IO_GenEvent" in line:
                        raise ValueError(
                            f"{path} is HepMC2; write it as HepMC3 (Asciiv3), as NuHepMC asks for"
                        )
                    last = line.strip()
    except FileNotFoundError:
        raise ValueError(f"file of generated events {path} does not exist") from None
    except (OSError, EOFError, lzma.LZMAError, UnicodeDecodeError) as error:
        if is_passing(error):
            raise
        raise ValueError(
            f"{path} cannot be read after line {line_number} ({error}); copy it again"
        ) from error
    except IndexError as error:
        raise ValueError(f"{path}, line {line_number}: not a HepMC3 event") from error
    if last != _END:
        raise ValueError(f"{path} ends at line {line_number} without {_END}: it is cut short; copy it again")
    return Listing(tuple(numbers), cross_section)


def _pair(words: list[str]) -> tuple[float, float] | None:
    try:
        value, error = map(float, words)
    except ValueError:
        return None
    return (value, error) if math.isfinite(value) else None


def _text(path: Path) -> TextIO:
    with path.open("rb") as file:
        start = file.read(2)
    opener: Any = _OPENERS.get(start, open)
    text: TextIO = opener(path, "rt", encoding="utf-8")
    return text


def read(path: Path) -> Iterator[Interaction]:
    """Yield the interactions of a file in order.

    Raises
    ------
    ValueError
        The file is damaged, is not NuHepMC, or holds an event that is not an interaction of one lepton.
    """
    found = listing(path)
    num = 0
    with pyhepmc.open(str(path)) as file:
        run = None
        for event in _events(file, path):
            run = run or _Run(event.run_info, found)
            if num < len(found.num_particles) and len(event.particles) != found.num_particles[num]:
                break
            yield _interaction(event, run, f"{path}, event {event.event_number}", num)
            num += 1
    if num != len(found.num_particles):
        raise ValueError(
            f"{path}: event {num} of {len(found.num_particles)} cannot be read by pyhepmc "
            f"{pyhepmc.__version__}; the file is not what HepMC3 writes"
        )


def _events(file: Any, path: Path) -> Iterator[Any]:
    """Yield the events of a file; what pyhepmc says of a bad one becomes ValueError."""
    events, num = iter(file), 0
    while True:
        try:
            event = next(events)
        except StopIteration:
            return
        except (RuntimeError, OSError) as error:
            if is_passing(error):
                raise
            raise ValueError(f"{path}: event {num} cannot be read by pyhepmc: {error}") from error
        yield event
        num += 1


class _Run:
    """What the header says: version, names of processes, weights, cross section and exposure."""

    def __init__(self, info: Any, found: Listing) -> None:
        self._attributes = info.attributes
        self.is_old = (self._int("Version.Major", 1), self._int("Version.Minor", 0)) < (0, 9)
        names = list(info.weight_names)
        self.weight = names.index(WEIGHT) if WEIGHT in names else 0
        self.pot = self._float("Exposure.POT")
        total = self._float("FluxAveragedTotalCrossSection")
        error = self._float("FluxAveragedTotalCrossSectionError")
        if math.isnan(total) and found.cross_section:
            total, error = found.cross_section
        unit = (self.get("Units.CrossSection.Unit") or "pb").replace(" ", "").lower()
        self._scale = _IN_PB.get(unit.replace("^", "").replace("cm-2", "cm2"), math.nan)
        self.cross_section = total * self._scale, error * self._scale
        self.is_per_nucleon = "nucleon" in (self.get("Units.CrossSection.TargetScale") or "").lower()

    def get(self, name: str, prefix: str = _PREFIX) -> str | None:
        return _attribute(self._attributes, prefix + name)

    def process_name(self, process: int | None) -> str:
        return (self.get(f"ProcessInfo[{process}].Name") or "") if process is not None else ""

    def _int(self, name: str, default: int) -> int:
        return int(self.get(name) or default)

    def _float(self, name: str) -> float:
        return float(self.get(name) or math.nan)


def _attribute(attributes: Any, *names: str) -> str | None:
    """Return the first of some attributes as text, None without any: from a file they come unparsed."""
    for name in names:
        try:
            value = attributes[name]
        except KeyError:
            continue
        try:
            return str(value.astype(str))
        except (AttributeError, TypeError):
            return " ".join(map(str, value)) if isinstance(value, list | tuple) else str(value)
    return None


def _momentum(particle: Any) -> FourMomentum:
    p = particle.momentum
    return p.px, p.py, p.pz, p.e


def _interaction(event: Any, run: _Run, where: str, entry: int) -> Interaction:
    # the units stand in each event; those of lengths hold for the position in the laboratory, too
    length = _CM_PER_MM * (10.0 if event.length_unit == pyhepmc.Units.CM else 1.0)
    event.set_units(pyhepmc.Units.MEV, pyhepmc.Units.MM)
    particles = event.particles
    primary = [vertex for vertex in event.vertices if vertex.status == PRIMARY]
    if len(primary) > 1:
        raise ValueError(f"{where}: {len(primary)} primary vertices (status {PRIMARY}), NuHepMC has one")
    entering = primary[0].particles_in if primary else []
    leaving = primary[0].particles_out if primary else [p for p in particles if p.status == FINAL]
    # a beam particle may stand for the flux; what enters the primary vertex is what interacts
    neutrino = [p for p in entering if abs(p.pid) in LEPTONS] or [
        p for p in particles if p.status == BEAM and abs(p.pid) in LEPTONS
    ]
    if len(neutrino) != 1:
        raise ValueError(f"{where}: {len(neutrino)} incoming leptons; an interaction has one")
    attributes = event.attributes
    number = _attribute(attributes, "signal_process_id", "ProcID")
    process = None if number is None else int(number)
    reaction = of_reaction(_attribute(attributes, "GENIE.Interaction", "GENIE.EvtCode", "EvtCode") or "")
    current, lepton_pdg = current_of(neutrino[0].pid, (p.pid for p in leaving))
    lepton = next((p for p in leaving if p.pid == lepton_pdg and lepton_pdg), None)
    mode = mode_of(process, run.process_name(process))
    target = _target(particles, run)
    weights = event.weights
    final = [p for p in particles if p.status == FINAL]
    moving = [
        out._replace(offset_cm=_offset_cm(p, primary))
        for p in final
        if (out := outgoing(p.pid, _momentum(p)))
    ]
    size = number_of_nucleons(target) if run.is_per_nucleon else 1
    columns = {
        **reaction,
        **kinematics(_momentum(neutrino[0]), _momentum(lepton) if lepton else None),
        "pdg": neutrino[0].pid,
        "current": current_of_process(process) if current is None else int(current),
        "mode": reaction.get("mode", NONE) if mode == NONE else mode,
        "process": NONE if process is None else process,
        "target_pdg": target,
        "nucleon_pdg": _nucleon(entering, particles),
        "lepton_pdg": lepton_pdg,
        "weight": float(weights[run.weight]) if len(weights) > run.weight else 1.0,
        "cross_section": (run.cross_section[0] * size) if size else math.nan,
        "cross_section_error": (run.cross_section[1] * size) if size else math.nan,
        "pot": run.pot,
        "entry": entry,
        "event": event.event_number,
        "num_final": len(moving),
    }
    place = [float(word) for word in (_attribute(attributes, "lab_pos", "LabPos") or "").split()]
    x, y, z = place[:3] if len(place) >= 3 else (math.nan,) * 3
    return Interaction(
        columns,
        _ordered(moving),
        (x * length, y * length, z * length) if len(place) >= 3 else None,
        place[3] * _NS_PER_S if len(place) > 3 else None,
    )


def _offset_cm(particle: Any, primary: list[Any]) -> tuple[float, float, float]:
    """Return where the product of a decay begins, from the primary vertex [cm]; within a nucleus that is nothing."""
    vertex = particle.production_vertex
    if not primary or vertex is None or vertex.id == primary[0].id:
        return (0.0, 0.0, 0.0)
    parents = vertex.particles_in
    if not parents or any(parent.status != DECAYED for parent in parents):
        return (0.0, 0.0, 0.0)
    here, origin = vertex.position, primary[0].position
    x, y, z = ((a - b) * _CM_PER_MM for a, b in ((here.x, origin.x), (here.y, origin.y), (here.z, origin.z)))
    return (x, y, z) if x * x + y * y + z * z > MIN_OFFSET_CM**2 else (0.0, 0.0, 0.0)


def _ordered(particles: list[Outgoing]) -> tuple[Outgoing, ...]:
    """Put leptons first; the rest stays in the order of the file."""
    return tuple(sorted(particles, key=lambda particle: abs(particle.pdg) not in LEPTONS))


def _target(particles: list[Any], run: _Run) -> int:
    statuses = (TARGET, OLD_TARGET) if run.is_old else (TARGET,)
    return next((int(p.pid) for status in statuses for p in particles if p.status == status), 0)


def _nucleon(entering: list[Any], particles: list[Any]) -> int:
    """Return the struck nucleon: what enters the primary vertex, or has the status of one (P.C.1)."""
    for candidates in (entering, [p for p in particles if p.status == STRUCK]):
        for particle in candidates:
            if particle.pid in (2112, 2212):
                return int(particle.pid)
    return 0
