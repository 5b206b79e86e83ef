"""Achilles, a generator of neutrino interactions, as a program of its own (GPL): run as a process, never imported.

It is the extra `achilles`; its data are separate (`achilles-data get`). What it is asked for is quasi-elastic
scattering on the spectral function of argon, with the cascade of what is struck (arXiv:2007.15570, arXiv:2205.06378).
"""

import gzip
import json
import os
import shutil
import subprocess
import sys
import tempfile
from dataclasses import dataclass
from pathlib import Path

from lartpc.atomic import naming, need_room, replacing
from lartpc.neutrinos import nuhepmc

INSTALL = 'pip install "lartpc[achilles]"'
SUCCESS = "Concluded - Success!"
"""What its log ends with; its exit status is 0 after most failures, too."""
NEEDED = (
    "data/Spectral_Functions/pke40p_tot.data",
    "data/Spectral_Functions/pke40n_tot.data",
    "data/densities/rho_Ar_p.txt",
    "data/densities/rho_Ar_n.txt",
    "data/realOP_12C_EDAI.dat",
    "data/configurations/AR40_configs_RMF_achilles.out.gz",
    "data/default/FormFactors.yml",
    "data/MesonBaryonAmplitudes/ANL/ANL_0-0.dat",
    "data/MesonBaryonAmplitudes/ANL/pwa-piDelta-pin.dat",
    "data/Particles.yml",
)
"""Files of its data that argon needs."""
LEPTON = {12: 11, 14: 13, -12: -11, -14: -13}
"""Charged leptons of the neutrinos that it can be asked for."""


@dataclass(frozen=True)
class Beam:
    """What it is asked for: neutrino (PDG code), current ("cc" or "nc"), and either an energy or a flux.

    A flux is a file in HepData's YAML: bins of energy in GeV or MeV, the first variable that depends on them.
    """

    pdg: int
    current: str
    energy_mev: float | None = None
    flux: Path | None = None


def generate(beam: Beam, num_events: int, seed: int, out: Path, data: Path | None = None) -> None:
    """Write interactions on argon as NuHepMC, HepMC3 text packed by gzip.

    Parameters
    ----------
    data
        Folder that has Achilles' `data/`; None: `$ACHILLES_DATA_DIR`, else where `achilles-data` puts it.

    Raises
    ------
    ValueError
        Achilles or its data are missing, what is asked for is not possible, or it failed; the message has the remedy.
    """
    if beam.pdg not in LEPTON or beam.current not in ("cc", "nc"):
        raise ValueError(
            f"neutrino {beam.pdg} and current '{beam.current}': neutrinos are 12, 14, -12 and -14, currents cc and nc"
        )
    if (beam.energy_mev is None) == (beam.flux is None):
        raise ValueError("either an energy or a flux is needed, and not both")
    if beam.flux is not None and not beam.flux.is_file():
        raise ValueError(f"{beam.flux}: no such file of a flux")
    program, folder = _program("achilles"), _data(data)
    with tempfile.TemporaryDirectory(prefix="lartpc-achilles-") as name:
        work = Path(name)
        (work / "data").symlink_to(folder / "data")
        # JSON is YAML
        (work / "run.yml").write_text(json.dumps(card(beam, num_events, seed), indent=1))
        log = work / "log"
        with log.open("w") as stream:
            subprocess.run(
                [program, "run.yml"],
                cwd=work,
                stdin=subprocess.DEVNULL,
                stdout=stream,
                stderr=subprocess.STDOUT,
                env={**os.environ, "ACHILLES_DATA_DIR": str(folder)},
                check=False,
            )
        said = log.read_text(errors="replace")
        if SUCCESS not in said:
            need_room(log)  # else what it said last is of that
            last = [line for line in said.splitlines() if line.strip()][-5:]
            raise ValueError("Achilles failed; it said last:\n" + "\n".join(last))
        _take(work / "events.hepmc3", num_events, out)


def _take(made: Path, num_events: int, out: Path) -> None:
    """Check what was made to its end, and put it in its place, packed."""
    with made.open("rb") as stream:
        is_packed = stream.read(2) == b"\x1f\x8b"
    whole = made.with_name("whole.hepmc3.gz")
    with (
        naming(whole),
        gzip.open(made) if is_packed else made.open("rb") as source,
        gzip.open(whole, "wb") as target,
    ):
        shutil.copyfileobj(source, target)
    if (found := sum(1 for _ in nuhepmc.read(whole))) != num_events:
        raise ValueError(f"Achilles wrote {found} of {num_events} interactions")
    with replacing(out) as part:
        shutil.copyfile(whole, part)


def card(beam: Beam, num_events: int, seed: int) -> dict[str, object]:
    """Return the run card of Achilles for quasi-elastic scattering on argon with its cascade."""
    lepton = LEPTON[beam.pdg] if beam.current == "cc" else beam.pdg
    flux: dict[str, object] = (
        {"Type": "Monochromatic", "Energy": beam.energy_mev}
        if beam.flux is None
        else {"Type": "Spectrum", "HepData": str(beam.flux.resolve())}
    )
    spectral = {kind: f"data/Spectral_Functions/pke40{kind}_tot.data" for kind in "pn"}
    return {
        "Main": {
            "NEvents": num_events,
            "HardCuts": False,
            "EventCuts": False,
            "DoRotate": False,
            "RunDecays": False,
            "Output": {"Format": "NuHepMC", "Name": "events.hepmc3", "Zipped": True},
        },
        "SherpaOptions": {"Model": "SMnu", "ParamCard": "parameters.dat"},
        "Processes": [{"Leptons": [beam.pdg, [lepton]]}],
        "Beams": [{"Beam": {"PID": beam.pdg, "Beam Params": flux}}],
        "Cascade": {
            "Run": True,
            "Interactions": _CASCADE,
            "Step": 0.04,
            "Probability": "Cylinder",
            "InMedium": "None",
            "PotentialProp": False,
            "Algorithm": "Base",
        },
        "NuclearModels": [
            {
                "NuclearModel": {
                    "Model": "QESpectral",
                    "FormFactorFile": "data/default/FormFactors.yml",
                    "SpectralP": spectral["p"],
                    "SpectralN": spectral["n"],
                    "Ward": "None",
                }
            }
        ],
        "Nuclei": [{"Nucleus": _ARGON}],
        "HardCuts": None,
        "Options": {
            "Initialize": {"Seed": seed, "Accuracy": 1e-2},
            "Unweighting": {"Name": "Percentile", "percentile": 99},
        },
        # the cache goes by kind and range of the flux alone
        "Cache": {"Load": False, "Save": False},
        "Backend": {"Name": "Default", "Options": []},
    }


_PASSES = (
    *((22, nucleon) for nucleon in (2112, 2212)),
    *((kaon, nucleon) for kaon in (321, 311) for nucleon in (2112, 2212)),
    *((hyperon, nucleon) for hyperon in (3112, 3122, 3212, 3222) for nucleon in (2112, 2212)),
)
"""What goes through the nucleus as if it were not there: photons, kaons and hyperons."""
_CASCADE = [
    {"Name": "NucleonNucleon", "Options": {"Mode": "GiBUU", "ResonanceMode": "Decay", "ExpSup": 0.0}},
    {
        "Name": "PionInteraction",
        "Options": {
            "HardScatter": {"Name": "MesonBaryonInteraction", "Options": None},
            "Absorption": {"Name": "PionAbsorptionOneStep", "Options": None},
        },
    },
    {
        "Name": "ConstantInteraction",
        "Options": {
            "InitialStates": [
                {"Incoming": list(pair), "Outgoing": [{"Outgoing": list(pair), "CrossSection": 0}]}
                for pair in _PASSES
            ]
        },
    },
]
_ARGON = {
    "Name": "40Ar",
    "Binding": 8.6,
    "Fermi Momentum": 250,
    "Density": {
        "ProtonFile": "data/densities/rho_Ar_p.txt",
        "NeutronFile": "data/densities/rho_Ar_n.txt",
        "FilePotential": "data/realOP_12C_EDAI.dat",
        "Function": "configuration",
        "Configs": "data/configurations/AR40_configs_RMF_achilles.out.gz",
    },
    "FermiGas": {"Type": "Local", "Correlated": False, "SRCfraction": 0.2, "LambdaSRC": 2.75, "Params": []},
    "Potential": {"Name": "Schroedinger", "r0": 0.16, "Mode": 3},
}


def _program(name: str) -> str:
    beside = f"{Path(sys.executable).parent}{os.pathsep}{os.environ.get('PATH', '')}"
    found = shutil.which(name, path=beside)
    if not found:
        raise ValueError(f"needs Achilles (GPL-3, a program of its own), which is not installed: {INSTALL}")
    return found


def _data(given: Path | None) -> Path:
    """Return the folder that has Achilles' `data/`, with all that argon needs."""
    folder = given or os.environ.get("ACHILLES_DATA_DIR")
    if not folder:
        asked = subprocess.run(
            [_program("achilles-data"), "path"], capture_output=True, text=True, check=False
        )
        if asked.returncode or not asked.stdout.strip():
            raise ValueError("Achilles does not say where its data are: set ACHILLES_DATA_DIR, or use --data")
        folder = asked.stdout.strip()
    folder = Path(folder).resolve()
    if lost := [name for name in NEEDED if not (folder / name).is_file()]:
        raise ValueError(
            f"{folder}: {len(lost)} files of Achilles' data are missing, such as {lost[0]}: 'achilles-data get' "
            "fetches them (230 MB) where there is a network; else name a folder with them: --data, ACHILLES_DATA_DIR"
        )
    return folder
