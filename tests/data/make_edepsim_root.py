"""Write `edepsim_5ev.root` and `edepsim_0ev.root`, small files as edep-sim makes them.

Needs ROOT with its compiler (`pip install root` in an environment of its own; made with 6.40.00), which the
tests do not. The classes have the names, members and versions of edep-sim's, so that ROOT streams them the
same way. What the genuine file that we have lacks is here: two detectors, two vertices, several
contributors, particles that were not tracked, events without anything, numbers that repeat, bad events.
"""

import os
import shutil
import tempfile
from pathlib import Path

import ROOT

HERE = Path(__file__).resolve().parent
CLASSES = """
#pragma once
#include <map>
#include <string>
#include <vector>
#include <TLorentzVector.h>
#include <TVector3.h>

struct TG4PrimaryParticle : public TObject {
    Int_t TrackId = -1;
    std::string Name;
    Int_t PDGCode = 0;
    TLorentzVector Momentum;
    ClassDef(TG4PrimaryParticle, 1)
};

struct TG4PrimaryVertex : public TObject {
    std::vector<TG4PrimaryParticle> Particles;
    std::vector<TG4PrimaryVertex> Informational;
    TLorentzVector Position;
    std::string GeneratorName, Reaction, Filename;
    Int_t InteractionNumber = 0;
    Float_t CrossSection = 0, DiffCrossSection = 0, Weight = 1, Probability = 1;
    ClassDef(TG4PrimaryVertex, 2)
};

struct TG4TrajectoryPoint : public TObject {
    TLorentzVector Position;
    TVector3 Momentum;
    Int_t Process = 0, Subprocess = 0;
    ClassDef(TG4TrajectoryPoint, 1)
};

struct TG4Trajectory : public TObject {
    std::vector<TG4TrajectoryPoint> Points;
    Int_t TrackId = -1, ParentId = -1;
    std::string Name;
    Int_t PDGCode = 0;
    TLorentzVector InitialMomentum;
    ClassDef(TG4Trajectory, 1)
};

struct TG4HitSegment : public TObject {
    std::vector<Int_t> Contrib;
    Int_t PrimaryId = 0;
    Float_t EnergyDeposit = 0, SecondaryDeposit = 0, TrackLength = 0;
    TLorentzVector Start, Stop;
    ClassDef(TG4HitSegment, 1)
};

struct TG4Event : public TObject {
    Int_t RunId = 0, EventId = 0;
    std::vector<TG4PrimaryVertex> Primaries;
    std::vector<TG4Trajectory> Trajectories;
    std::map<std::string, std::vector<TG4HitSegment>> SegmentDetectors;
    ClassDef(TG4Event, 1)
};

#ifdef __CLING__
#pragma link C++ class TG4PrimaryParticle+;
#pragma link C++ class TG4PrimaryVertex+;
#pragma link C++ class TG4TrajectoryPoint+;
#pragma link C++ class TG4Trajectory+;
#pragma link C++ class TG4HitSegment+;
#pragma link C++ class TG4Event+;
#pragma link C++ class std::vector<TG4HitSegment>+;
#pragma link C++ class std::map<std::string, std::vector<TG4HitSegment>>+;
#pragma link C++ class std::pair<std::string, std::vector<TG4HitSegment>>+;
#endif
"""
MASS_MEV = {11: 0.51099895, 13: 105.6583755, 2112: 939.56542052}
NEAR, FAR = "TPCActive_shape", "volMuonRange"


def vector(x, y, z, t):
    return ROOT.TLorentzVector(x, y, z, t)


def momentum(pdg, kinetic_mev, direction):
    mass = MASS_MEV[abs(pdg)]
    p = ((kinetic_mev + mass) ** 2 - mass**2) ** 0.5
    return vector(*(p * part for part in direction), kinetic_mev + mass)


class Maker:
    """Fills one event object."""

    def __init__(self, event):
        self.event = event

    def clear(self, number):
        self.event.RunId, self.event.EventId = 3, number
        self.event.Primaries.clear()
        self.event.Trajectories.clear()
        self.event.SegmentDetectors.clear()

    def vertex(self, position, particles):
        """Add a vertex with particles (track id, PDG code); an id of -1 was not tracked."""
        vertex = ROOT.TG4PrimaryVertex()
        vertex.Position = vector(*position, 0)
        vertex.GeneratorName, vertex.Reaction = "made by hand", "a reaction with a name of some length"
        inner = ROOT.TG4PrimaryVertex()
        for track, pdg in particles:
            particle = ROOT.TG4PrimaryParticle()
            particle.TrackId, particle.PDGCode, particle.Name = track, pdg, f"particle {pdg}"
            vertex.Particles.push_back(particle)
            inner.Particles.push_back(particle)
        vertex.Informational.push_back(inner)
        self.event.Primaries.push_back(vertex)

    def trajectory(self, track, parent, pdg, kinetic_mev, direction, points, process):
        """Add a trajectory with points (x, y, z, t) [mm, ns]."""
        trajectory = ROOT.TG4Trajectory()
        trajectory.TrackId, trajectory.ParentId, trajectory.PDGCode = track, parent, pdg
        trajectory.Name = f"particle {pdg}"
        trajectory.InitialMomentum = momentum(pdg, kinetic_mev, direction)
        for i, position in enumerate(points):
            point = ROOT.TG4TrajectoryPoint()
            point.Position = vector(*position)
            point.Momentum = trajectory.InitialMomentum.Vect()
            point.Process, point.Subprocess = process if i == 0 else (1, 91)
            trajectory.Points.push_back(point)
        self.event.Trajectories.push_back(trajectory)

    def segment(self, detector, contributors, energy_mev, start, stop):
        """Add a segment from (x, y, z, t) to (x, y, z, t) [mm, ns]."""
        segment = ROOT.TG4HitSegment()
        for track in contributors:
            segment.Contrib.push_back(track)
        segment.PrimaryId = 0
        segment.EnergyDeposit, segment.SecondaryDeposit = energy_mev, 0.25 * energy_mev
        segment.Start, segment.Stop = vector(*start), vector(*stop)
        segment.TrackLength = (segment.Stop - segment.Start).Vect().Mag()
        self.event.SegmentDetectors[detector].push_back(segment)

    def good(self):
        """Two vertices: a mu- that is captured and gives a Michel, with a neutron; and an electron."""
        self.vertex((0, 0, 0), [(0, 13), (-1, 14), (1, 2112)])
        self.vertex((300, 300, 300), [(3, 11)])
        along = [(30.0 * i, 0, 0, 0.1 * i) for i in range(4)]
        self.trajectory(0, -1, 13, 50.0, (1, 0, 0), along, (0, 0))
        self.trajectory(1, -1, 2112, 5.0, (0, -1, 0), [(0, 0, 0, 0), (0, -50, 0, 2)], (0, 0))
        self.trajectory(2, 0, 11, 40.0, (0, 1, 0), [(90, 0, 0, 900), (90, 45, 0, 901)], (4, 151))
        self.trajectory(3, -1, 11, 30.0, (0, 0, 1), [(300, 300, 300, 0), (300, 300, 360, 1)], (0, 0))
        for i in range(3):
            self.segment(NEAR, [0], 8.0, along[i], along[i + 1])
        self.segment(NEAR, [2, 0], 9.0, (90, 0, 0, 900), (90, 45, 0, 901))
        self.segment(NEAR, [1], 0.5, (0, 0, 0, 0), (0, -50, 0, 2))
        self.segment(FAR, [3, 0, 2], 12.0, (300, 300, 300, 0), (300, 300, 360, 1))


def write(path, numbers, compression):
    file = ROOT.TFile(path, "RECREATE", "", compression)
    tree = ROOT.TTree("EDepSimEvents", "made by hand")
    event = ROOT.TG4Event()
    tree.Branch("Event", "TG4Event", event, 4000, 99)
    tree.SetAutoFlush(2)
    maker = Maker(event)
    for entry, number in enumerate(numbers):
        maker.clear(number)
        if entry in (0, 3, 4):
            maker.good()
        if entry == 3:
            maker.segment(NEAR, [0], -1.0, (0, 0, 0, 0), (1, 0, 0, 0))
        if entry == 4:
            maker.segment(NEAR, [99], 1.0, (0, 0, 0, 0), (1, 0, 0, 0))
        if entry == 1:  # a neutrino that left nothing
            maker.vertex((0, 0, 0), [(-1, 14)])
        tree.Fill()
    tree.Write()
    file.Close()


if __name__ == "__main__":
    with tempfile.TemporaryDirectory() as folder:
        os.chdir(folder)
        Path("TG4.C").write_text(CLASSES)
        if not ROOT.gSystem.CompileMacro("TG4.C", "O"):
            raise SystemExit("the classes do not compile")
        # ROOT writes the path into the file: here it is the bare name
        # not compressed, since tests damage single bytes
        write("edepsim_5ev.root", [7, 7, 2, 9, 12], compression=0)
        write("edepsim_0ev.root", [], compression=9)
        for made in Path().glob("*.root"):
            shutil.move(made, HERE / made.name)
