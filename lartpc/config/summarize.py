"""Section of the tables: what is measured of particles, and where a detector ends."""

from typing import Literal

from pydantic import Field

from lartpc.config.base import Section, Vector
from lartpc.config.ingestion import Volume


class Thresholds(Section):
    """Least kinetic energy [MeV] of a primary that counts in topologies with thresholds, by species."""

    photon: float = Field(30.0, ge=0, description="least kinetic energy of a photon that counts [MeV]")
    electron: float = Field(30.0, ge=0, description="of an electron [MeV]")
    muon: float = Field(30.0, ge=0, description="of a muon [MeV]")
    pion: float = Field(30.0, ge=0, description="of a charged pion [MeV]")
    proton: float = Field(50.0, ge=0, description="of a proton [MeV]")
    kaon: float = Field(50.0, ge=0, description="of a charged kaon [MeV]")
    pi_zero: float = Field(0.0, ge=0, description="of a generated π⁰ [MeV]")
    neutron: float = Field(50.0, ge=0, description="of a generated neutron [MeV]")


class Summarize(Section):
    """The tables of a shard: kinematics, energies, containment."""

    volumes: tuple[Volume, ...] | None = Field(
        None, description="active volumes; null: those of ingestion, or the imaged box where it had none"
    )
    containment: Literal["volume", "detector"] = Field(
        "volume",
        description="volume: a contained particle lies in one active volume; detector: in the box around them all",
    )
    containment_margin_cm: float = Field(
        3.0, ge=0, description="a contained particle stays this far from the walls [cm]"
    )
    fiducial_margin_cm: Vector = Field(
        (15.0, 15.0, 15.0), description="a fiducial vertex is this far from the walls, along x, y, z [cm]"
    )
    slice_cm: float = Field(1.0, gt=0, description="length of a track over which dE/dx is taken [cm]")
    end_radius_cm: float = Field(
        3.0, gt=0, description="part of a particle whose dE/dx and straightness are taken at its ends [cm]"
    )
    spread_length_cm: float = Field(14.0, gt=0, description="decay length of weights in the spread [cm]")
    shower_scale: float = Field(
        1.22, gt=0, description="energy of an electron or photon over that in its voxels"
    )
    scattering_step_cm: float = Field(
        14.0, gt=0, description="segments between which tracks scatter; one radiation length [cm]"
    )
    scattering_resolution_rad: float = Field(
        0.005, ge=0, description="error of an angle between two segments in one plane [rad]"
    )
    shower_resolution: float = Field(
        0.045,
        ge=0,
        description="error of a shower's energy by calorimetry at 1 GeV, over it; it falls as 1/√E",
    )
    track_resolution: float = Field(
        0.1, ge=0, description="error of a track's energy by calorimetry, over it"
    )
    short_track_cm: float = Field(
        2.0,
        ge=0,
        description="contained tracks shorter than this take their energy from calorimetry: their ends are lost [cm]",
    )
    loss_resolution: float = Field(
        0.15,
        ge=0,
        description="error of the energy of a contained proton that does not stop, by what it loses, over it; "
        "0: all are taken to stop",
    )
    length_resolution_cm: float = Field(
        0.3, ge=0, description="error of the length of a track, beside straggling [cm]"
    )
    thresholds: Thresholds = Thresholds.model_construct()
    voxels: bool = Field(False, description="write the table `voxels`, one row for each voxel")
