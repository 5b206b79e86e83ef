"""How Geant4 made a particle: from the names and the codes of its processes to `vocab.CreationProcess`."""

import numpy as np
from numpy.typing import ArrayLike

from lartpc.ingest.steps import IntArray
from lartpc.vocab import CreationProcess

PROCESSES = {
    "primary": CreationProcess.PRIMARY,
    "eIoni": CreationProcess.IONISATION,
    "muIoni": CreationProcess.IONISATION,
    "hIoni": CreationProcess.IONISATION,
    "ionIoni": CreationProcess.IONISATION,
    "phot": CreationProcess.PHOTO_ELECTRIC,
    "compt": CreationProcess.COMPTON,
    "conv": CreationProcess.CONVERSION,
    "muPairProd": CreationProcess.CONVERSION,
    "hPairProd": CreationProcess.CONVERSION,
    "eBrem": CreationProcess.BREMSSTRAHLUNG,
    "muBrems": CreationProcess.BREMSSTRAHLUNG,
    "hBrems": CreationProcess.BREMSSTRAHLUNG,
    "annihil": CreationProcess.ANNIHILATION,
    "Decay": CreationProcess.DECAY,
    "DecayWithSpin": CreationProcess.DECAY,
    "RadioactiveDecay": CreationProcess.DECAY,
    "hadElastic": CreationProcess.HADRONIC,
    "nCapture": CreationProcess.HADRONIC,
}
"""Names of Geant4 11 processes; further ones are known by their ending."""

ENDINGS = {
    "CaptureAtRest": CreationProcess.CAPTURE,
    "AbsorptionAtRest": CreationProcess.CAPTURE,
    "Inelastic": CreationProcess.HADRONIC,
    "Nuclear": CreationProcess.HADRONIC,
}

# G4ProcessType.hh
NOT_DEFINED, ELECTROMAGNETIC, HADRONIC, DECAY = 0, 2, 4, 6
# G4EmProcessSubType.hh; 3 and 4: bremsstrahlung and direct pair production by a charged particle
EM_SUBTYPES = {
    2: CreationProcess.IONISATION,
    3: CreationProcess.BREMSSTRAHLUNG,
    4: CreationProcess.CONVERSION,
    5: CreationProcess.ANNIHILATION,
    12: CreationProcess.PHOTO_ELECTRIC,
    13: CreationProcess.COMPTON,
    14: CreationProcess.CONVERSION,
}
# G4HadronicProcessType.hh: muon atomic capture, hadron and lepton at rest
CAPTURE_SUBTYPES = (132, 151, 152)


def process_of_name(name: str) -> CreationProcess:
    """Return the class of a Geant4 process name."""
    if name in PROCESSES:
        return PROCESSES[name]
    return next(
        (process for ending, process in ENDINGS.items() if name.endswith(ending)), CreationProcess.OTHER
    )


def process_of_codes(process: ArrayLike, subprocess: ArrayLike, parent_id: ArrayLike) -> IntArray:
    """Turn Geant4's process and subprocess codes (T,) into `vocab.CreationProcess`."""
    process_T, subprocess_T = np.asarray(process), np.asarray(subprocess)
    found_T = np.full(process_T.shape, int(CreationProcess.OTHER), np.int64)
    for subtype, meaning in EM_SUBTYPES.items():
        found_T[(process_T == ELECTROMAGNETIC) & (subprocess_T == subtype)] = meaning
    found_T[process_T == HADRONIC] = CreationProcess.HADRONIC
    found_T[(process_T == HADRONIC) & np.isin(subprocess_T, CAPTURE_SUBTYPES)] = CreationProcess.CAPTURE
    found_T[process_T == DECAY] = CreationProcess.DECAY
    found_T[(process_T == NOT_DEFINED) | (np.asarray(parent_id) < 0)] = CreationProcess.PRIMARY
    return found_T
