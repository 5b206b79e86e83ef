"""The data tables that Geant4 reads for pure liquid argon, computed here instead of downloaded.

Geant4 cannot build a physics list without its data sets, of which pure argon needs a handful of small
tables: bremsstrahlung, photo-electric effect and coherent scattering of Z = 18, and cross sections of
slow neutrons. They are computed here from published formulas and from the Elam tables of xraydb, so
that the simulation runs offline. `docs/explanation/simulation.md` says how well they do; the official data are
used instead wherever GEANT4_DATA_DIR names them.
"""

import os
import shutil
import tempfile
from pathlib import Path

import numpy as np
from numpy.typing import ArrayLike, NDArray

from lartpc import __version__, masses

LABEL = "argon-v1"
"""Names the tables in a file of steps; a changed table or a changed folder needs the next number."""

OFFICIAL = "official"
ENVIRONMENT = "GEANT4_DATA_DIR"
MARKER = "LARTPC"

DATASET_ENVIRONMENT = (
    *("G4ENSDFSTATEDATA", "G4LEDATA", "G4LEVELGAMMADATA", "G4PARTICLEXSDATA", "G4RADIOACTIVEDATA"),
    *("G4ABLADATA", "G4CHANNELINGDATA", "G4INCLDATA", "G4NEUTRONHPDATA", "G4PIIDATA"),
    *("G4REALSURFACEDATA", "G4SAIDXSDATA"),
)
"""Variables that name single data sets; Geant4 prefers them to the folder."""

ARGON_Z = 18
ARGON_A = 39.948
AVOGADRO = 6.02214076e23
ELECTRON_MASS_MEV = round(masses.ELECTRON_MASS_MEV, 8)
"""With the digits that the tables of this LABEL were computed with, so that they stay the same."""
FINE_STRUCTURE = 1 / 137.035999
ELECTRON_RADIUS_CM = 2.8179403e-13
CM2_PER_BARN = 1e-24
MM2_PER_BARN = 1e-22
COULOMB_FROM_MEV = 50.0

ELAM_TOP_MEV = 0.79
"""Top of the Elam tables (xraydb calls them unreliable above 800 keV)."""

K_EDGE_MEV = 3.2059e-3
"""K edge of argon (xraydb)."""

Array = NDArray[np.float64]


def data_dir() -> tuple[Path, str]:
    """Return the folder of Geant4's data, and what they are: "official", or the label of ours.

    Without GEANT4_DATA_DIR our tables are written into the user's cache ($XDG_CACHE_HOME, or
    ~/.cache) the first time. Any number of processes may do so at once: each writes a folder of its
    own, and the first to rename it wins.

    Raises
    ------
    ValueError
        GEANT4_DATA_DIR names no folder, or the cache cannot be written.
    """
    if chosen := os.environ.get(ENVIRONMENT):
        path = Path(chosen)
        if not path.is_dir():
            raise ValueError(
                f"{ENVIRONMENT}={chosen} is not a folder; correct it, or unset it to use the tables for "
                "argon that lartpc computes"
            )
        return path, _label(path)
    cache = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache")
    path = cache / "lartpc" / f"geant4-{LABEL}"
    if path.is_dir():
        return path, LABEL
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        fresh = Path(tempfile.mkdtemp(prefix=f"{path.name}.", dir=path.parent))
    except OSError as error:
        raise ValueError(
            f"cannot write Geant4's tables to {path.parent} ({error}); "
            "set XDG_CACHE_HOME to a folder that can be written"
        ) from error
    try:
        write(fresh)
        fresh.chmod(0o755)
        fresh.rename(path)
    except OSError:
        # Another process may have been first; anything else is an error.
        if not path.is_dir():
            raise
    finally:
        shutil.rmtree(fresh, ignore_errors=True)
    return path, LABEL


def _label(path: Path) -> str:
    """Return the label of a data folder: ours carry it in a file."""
    marker = path / MARKER
    return marker.read_text().split()[0] if marker.is_file() else OFFICIAL


def write(root: Path) -> None:
    """Write all tables into a folder, under the names that Geant4 11.4 looks for."""
    photo = root / "G4EMLOW8.8" / "epics2017" / "phot"
    _write_bremsstrahlung(root / "G4EMLOW8.8" / "brem_SB" / f"br{ARGON_Z}")
    energy, barn = _photoelectric_table()
    _write_vector(photo / f"pe-cs-{ARGON_Z}.dat", energy, barn * energy**3)
    for name in ("high", "low"):
        # One shell bound by 50 eV, and a parametrisation that never applies: the table rules. Shells
        # and fluorescence are left out, a matter of 3 keV.
        _write_text(photo / f"pe-{name}-{ARGON_Z}.dat", "1 1 1e9\n50e-6 0 0 0 0 0 0\n")
    energy = _elam_energies()
    coherent_mm2 = elam_barn(energy, "coh") * MM2_PER_BARN
    _write_vector(
        root / "G4EMLOW8.8" / "epics2017" / "rayl" / f"re-cs-{ARGON_Z}.dat", energy, coherent_mm2 * energy**2
    )
    # The proton alone: Geant4 takes the other ground states from its own mass table.
    _write_text(root / "G4ENSDFSTATE3.0" / "ENSDFSTATE.dat", "1 1 0 - -1 1 0\n")
    for name in ("PhotonEvaporation6.1.2", "RadioactiveDecay6.1.2"):
        (root / name).mkdir()
    for z in range(1, 93):
        # Geant4 loads all elements; only argon is met, the others are rough.
        energy = np.geomspace(1e-10, 20.0, 60 if z == ARGON_Z else 16)
        for name, cross_section in neutron_barn(z, energy).items():
            path = root / "G4PARTICLEXS4.2" / "neutron" / f"{name}{z}"
            _write_vector(path, energy, cross_section * MM2_PER_BARN)
    _write_text(root / MARKER, f"{LABEL}\nwritten by lartpc {__version__}; argon only\n")


# -- electrons ----------------------------------------------------------------------------------


def coulomb_correction(z: int) -> float:
    """Return the Coulomb correction f(Z) of Davies, Bethe and Maximon (PDG 2024, eq. 34.28)."""
    a2 = (z * FINE_STRUCTURE) ** 2
    return float(a2 * (1 / (1 + a2) + 0.20206 - 0.0369 * a2 + 0.0083 * a2**2 - 0.002 * a2**3))


def bremsstrahlung_mb(kinetic_energy_mev: float, fraction: ArrayLike, z: int = ARGON_Z) -> Array:
    """Return the scaled bremsstrahlung cross section (β²/Z²) k dσ/dk of electrons [mb].

    Screened Bethe-Heitler with the Coulomb correction (above 50 MeV) and the radiation on atomic
    electrons as Z(Z + ξ) (Y.-S. Tsai, Rev. Mod. Phys. 46 (1974) 815), and the screening functions of
    Butcher and Messel (Nucl. Phys. 20 (1960) 15) as used by EGS5 (SLAC-R-730, sec. 2.7). It agrees
    with Seltzer and Berger (At. Data Nucl. Data Tables 35 (1986) 345) to 2-3 % above 1 MeV. The Born
    approximation fails below: around 0.5 MeV it goes over into a smooth curve of Seltzer and Berger's
    size, where radiation is 1 % of the energy loss in argon and less.

    Parameters
    ----------
    kinetic_energy_mev
        Kinetic energy T of the electron [MeV].
    fraction
        Energy of the photon over T, in [0, 1); shape (N,).
    """
    kappa = np.asarray(fraction, np.float64)
    before = kinetic_energy_mev + ELECTRON_MASS_MEV
    photon = kappa * kinetic_energy_mev
    after = before - photon
    screening = 136 * z ** (-1 / 3) * photon * ELECTRON_MASS_MEV / (before * after)
    far = 21.12 - 4.184 * np.log(screening + 0.952)
    phi_1 = np.where(screening <= 1, 20.867 - 3.242 * screening + 0.625 * screening**2, far)
    phi_2 = np.where(screening <= 1, 20.209 - 1.930 * screening - 0.086 * screening**2, far)
    coulomb = coulomb_correction(z)
    xi = np.log(1194 * z ** (-2 / 3)) / (np.log(184.15 * z ** (-1 / 3)) - coulomb)
    shift = 4 / 3 * np.log(z) + (4 * coulomb if kinetic_energy_mev > COULOMB_FROM_MEV else 0.0)
    ratio = after / before
    spectrum = (1 + ratio**2) * (phi_1 - shift) - 2 / 3 * ratio * (phi_2 - shift)
    k_dsigma_dk_cm2 = FINE_STRUCTURE * ELECTRON_RADIUS_CM**2 * z * (z + xi) * np.maximum(spectrum, 0)
    beta_2 = 1 - (ELECTRON_MASS_MEV / before) ** 2
    born: Array = k_dsigma_dk_cm2 * beta_2 / z**2 / (1e-3 * CM2_PER_BARN)
    slow = 4.2 * (1 - 0.35 * kappa) * (0.5 / min(kinetic_energy_mev, 0.5)) ** 0.18
    slow_share = 1 / (1 + (kinetic_energy_mev / 0.5) ** 4)
    chi: Array = (1 - slow_share) * born + slow_share * slow
    return chi


def _write_bremsstrahlung(path: Path) -> None:
    energies = np.geomspace(1e-3, 1e4, 57)
    inner = np.arange(0.1, 0.91, 0.05)
    near_tip = [0.925, 0.95, 0.97, 0.99, 0.995, 0.999, 0.9995, 0.9999, 0.99995, 0.99999, 1.0]
    fractions = np.concatenate([[0.0, 0.025, 0.05, 0.075], inner, near_tip])
    rows = [bremsstrahlung_mb(float(energy), np.minimum(fractions, 1 - 1e-9)) for energy in energies]
    lines = [f"0 {len(fractions)} {len(energies)}"]
    lines += [" ".join(f"{value:.8g}" for value in row) for row in (fractions, np.log(energies), *rows)]
    _write_text(path, "\n".join(lines) + "\n")


# -- photons ------------------------------------------------------------------------------------


def elam_barn(energy_mev: ArrayLike, kind: str) -> Array:
    """Return the cross section of an argon atom for photons, "photo" or "coh" [barn].

    Tables of W. T. Elam, B. D. Ravel and J. R. Sieber (Radiat. Phys. Chem. 63 (2002) 121) in xraydb,
    below 0.8 MeV.
    """
    import xraydb  # takes a second, and is needed only when the tables are not yet there

    energy_ev = np.asarray(energy_mev, np.float64) * 1e6
    cm2_per_g: Array = xraydb.mu_elam("Ar", energy_ev, kind=kind)
    return cm2_per_g * ARGON_A / AVOGADRO / CM2_PER_BARN


def sauter(energy_mev: ArrayLike) -> Array:
    """Return the shape of the K-shell photo-electric cross section of fast electrons, unnormalised.

    F. Sauter, Ann. Phys. 403 (1931) 454, without the binding energy; it falls as 1/E at high energy.
    """
    gamma = 1 + np.asarray(energy_mev, np.float64) / ELECTRON_MASS_MEV
    root = np.sqrt(gamma**2 - 1)
    log = np.log((gamma + root) / (gamma - root))
    bracket = 4 / 3 + gamma * (gamma - 2) / (gamma + 1) * (1 - log / (2 * gamma * root))
    shape: Array = (gamma - 1) ** -5.0 * root**3 * bracket
    return shape


def _elam_energies() -> Array:
    """Return energies from 250 eV to the top of the Elam tables, closer above the K edge [MeV]."""
    below = np.geomspace(2.5e-4, K_EDGE_MEV * (1 - 1e-4), 60)
    above = np.geomspace(K_EDGE_MEV * (1 + 1e-4), ELAM_TOP_MEV, 160)
    return np.concatenate([below, above])


def _photoelectric_table() -> tuple[Array, Array]:
    """Return energies to 100 GeV [MeV] and the photo-electric cross section of argon [barn]."""
    low, high = _elam_energies(), np.geomspace(1.01 * ELAM_TOP_MEV, 1e5, 80)
    barn = elam_barn(low, "photo")
    beyond = barn[-1] * sauter(high) / sauter(ELAM_TOP_MEV)
    return np.concatenate([low, high]), np.concatenate([barn, beyond])


# -- neutrons -----------------------------------------------------------------------------------


def neutron_barn(z: int, energy_mev: ArrayLike) -> dict[str, Array]:
    """Return smooth cross sections of neutrons below 20 MeV on an element: inel, el and cap [barn].

    A rough stand-in without resonances, not fitted to any evaluation: it only moves and dilutes the
    diffuse deposits far from a vertex. Inelastic: from the first level of 40Ar (1.46 MeV) up to
    π (0.12 A^(1/3) + 0.21)² barn, the usual systematics of the reaction cross section at 14 MeV.
    Elastic: 0.68 barn for slow neutrons (V. F. Sears, Neutron News 3 (1992) 26) plus a broad maximum
    of 3 barn at 1 MeV. Capture: 0.66 barn at 25.3 meV, as 1/v (measured: 0.673 ± 0.065,
    arXiv:1902.00596).
    Elements other than argon are scaled by A^(2/3).
    """
    energy = np.asarray(energy_mev, np.float64)
    mass = max(1.0, 2 * z + 0.0256 * z ** (5 / 3))
    size = (mass / 40) ** (2 / 3)
    top = np.pi * (0.12 * 40 ** (1 / 3) + 0.21) ** 2
    inelastic = np.where(energy > 1.46, top * -np.expm1(-(energy - 1.46) / 2.5), 0.0)
    elastic = 0.68 + 3 * np.exp(-((np.log(energy) / 2.5) ** 2))
    return {
        "inel": size * np.maximum(inelastic, 1e-12),
        "el": size * elastic,
        "cap": 0.66 * np.sqrt(2.53e-8 / energy),
    }


# -- files --------------------------------------------------------------------------------------


def _write_vector(path: Path, energy_mev: Array, value: Array) -> None:
    """Write a table as G4PhysicsVector reads it: range and length, then pairs."""
    head = f"{energy_mev[0]:.8g} {energy_mev[-1]:.8g} {len(energy_mev)}\n{len(energy_mev)}\n"
    rows = (f"{x:.8g} {y:.8g}\n" for x, y in zip(energy_mev, value, strict=True))
    _write_text(path, head + "".join(rows))


def _write_text(path: Path, text: str) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)
