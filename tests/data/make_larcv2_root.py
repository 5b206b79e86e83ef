"""Write `larcv2_4ev.root` and `larcv2_images_3ev.root`, small files as LArCV 2 makes them: in 3D, and images of planes.

Needs ROOT with its compiler (`pip install root` in an environment of its own; made with 6.40.00), which the
tests do not. The classes have the names and members of larcv2's, as far as they are read, so that ROOT
streams them the same way. What the genuine file that we have lacks is here: an image beside the clusters,
voxel classes, groups, interactions, several producers, an empty event and bad ones. They are not compressed, since
tests damage single bytes.
"""

import os
import shutil
import tempfile
from pathlib import Path

import ROOT

HERE = Path(__file__).resolve().parent
CLASSES = """
#pragma once
#include <string>
#include <vector>
#include <TObject.h>

namespace larcv {
struct EventBase {
    std::string _producer;
    unsigned long _run = 0, _subrun = 0, _event = 0;
    virtual ~EventBase() {}
};
struct Voxel { unsigned long long _id = 0; float _value = 0; };
struct VoxelSet { unsigned short _id = 0; std::vector<larcv::Voxel> _voxel_v; virtual ~VoxelSet() {} };
struct VoxelSetArray { std::vector<larcv::VoxelSet> _voxel_vv; virtual ~VoxelSetArray() {} };
struct Point3D { double x = 0, y = 0, z = 0; };
struct BBox3D { larcv::Point3D _p1, _p2; virtual ~BBox3D() {} };
struct Voxel3DMeta : public BBox3D {
    bool _valid = false;
    unsigned long _num_element = 0;
    double _xlen = 0, _ylen = 0, _zlen = 0;
    unsigned long _xnum = 0, _ynum = 0, _znum = 0;
    int _unit = 1;
};
struct SparseTensor3D : public VoxelSet { larcv::Voxel3DMeta _meta; };
struct ClusterVoxel3D : public VoxelSetArray { larcv::Voxel3DMeta _meta; };
struct Vertex { double _x = 0, _y = 0, _z = 0, _t = 0; };
struct Particle {
    unsigned short _id = 65535;
    int _shape = 6;
    unsigned int _trackid = 4294967295u;
    int _pdg = 0;
    double _px = 0, _py = 0, _pz = 0;
    larcv::Vertex _vtx, _end_pt, _first_step, _last_step;
    std::string _process;
    unsigned int _parent_trackid = 4294967295u;
    int _parent_pdg = 0;
    unsigned int _ancestor_trackid = 4294967295u;
    larcv::Vertex _ancestor_vtx;
    unsigned short _group_id = 65535, _interaction_id = 65535;
};
struct ParticleSet { std::vector<larcv::Particle> _part_v; virtual ~ParticleSet() {} };
struct EventSparseTensor3D : public EventBase, public SparseTensor3D {};
struct EventClusterVoxel3D : public EventBase, public ClusterVoxel3D {};
struct EventParticle : public EventBase, public ParticleSet {};
struct Point2D { double x = 0, y = 0; };
struct BBox2D { larcv::Point2D _p1, _p2; virtual ~BBox2D() {} };
struct ImageMeta : public BBox2D {
    unsigned short _id = 65535;
    unsigned long _image_id = 0, _col_count = 0, _row_count = 0;
    int _unit = 1;
};
struct Image2D {
    std::vector<float> _img;
    unsigned short _id = 0;
    larcv::ImageMeta _meta;
    virtual ~Image2D() {}
};
struct EventImage2D : public EventBase { std::vector<larcv::Image2D> _image_v; };
}

#ifdef __CLING__
#pragma link C++ class larcv::EventBase+;
#pragma link C++ class larcv::Voxel+;
#pragma link C++ class larcv::VoxelSet+;
#pragma link C++ class larcv::VoxelSetArray+;
#pragma link C++ class larcv::Point3D+;
#pragma link C++ class larcv::BBox3D+;
#pragma link C++ class larcv::Voxel3DMeta+;
#pragma link C++ class larcv::SparseTensor3D+;
#pragma link C++ class larcv::ClusterVoxel3D+;
#pragma link C++ class larcv::Vertex+;
#pragma link C++ class larcv::Particle+;
#pragma link C++ class larcv::ParticleSet+;
#pragma link C++ class larcv::EventSparseTensor3D+;
#pragma link C++ class larcv::EventClusterVoxel3D+;
#pragma link C++ class larcv::EventParticle+;
#pragma link C++ class std::vector<larcv::Voxel>+;
#pragma link C++ class std::vector<larcv::VoxelSet>+;
#pragma link C++ class std::vector<larcv::Particle>+;
#pragma link C++ class larcv::Point2D+;
#pragma link C++ class larcv::BBox2D+;
#pragma link C++ class larcv::ImageMeta+;
#pragma link C++ class larcv::Image2D+;
#pragma link C++ class larcv::EventImage2D+;
#pragma link C++ class std::vector<larcv::Image2D>+;
#endif
"""
NUM = (8, 9, 10)
PITCH_CM = 0.3
ORIGIN_CM = (1.0, 2.0, 3.0)

MUON = [(1, 1, 1, 1.0), (1, 1, 2, 1.0), (1, 1, 3, 1.0)]
ELECTRON = [(1, 1, 3, 3.0), (1, 2, 4, 2.0)]
PIECE = [(7, 8, 9, 1.5)]
PROTON = [(5, 5, 5, 6.0), (5, 5, 6, 7.0)]
REST = [(0, 0, 0, 0.5)]
CLUSTERS = [MUON, ELECTRON, PIECE, PROTON, REST]
CLASSES_OF = [1, 2, 0, 1, 4]


def fill_meta(meta):
    for axis, low, num in zip("xyz", ORIGIN_CM, NUM, strict=True):
        setattr(meta._p1, axis, low)
        setattr(meta._p2, axis, low + num * PITCH_CM)
        setattr(meta, f"_{axis}len", PITCH_CM)
        setattr(meta, f"_{axis}num", num)
    meta._valid = True
    meta._num_element = NUM[0] * NUM[1] * NUM[2]


def fill_voxels(voxels, rows):
    for x, y, z, value in rows:
        voxel = ROOT.larcv.Voxel()
        voxel._id = x + NUM[0] * (y + NUM[1] * z)  # x runs fastest
        voxel._value = value
        voxels.push_back(voxel)


def vertex(index, time=0.0):
    found = ROOT.larcv.Vertex()
    for axis, low, i in zip("xyz", ORIGIN_CM, index, strict=True):
        setattr(found, f"_{axis}", low + PITCH_CM * (i + 0.5))
    found._t = time
    return found


def particle(number, track, pdg, shape, rows, process, group, interaction, parent=None):
    found = ROOT.larcv.Particle()
    found._id, found._trackid, found._pdg, found._shape = number, track, pdg, shape
    found._pz, found._process = 300.0, process
    found._vtx = found._first_step = vertex(rows[0][:3], 5.0)
    found._last_step = found._end_pt = vertex(rows[-1][:3], 6.0)
    found._group_id, found._interaction_id = group, interaction
    found._parent_trackid = track
    if parent is not None:
        found._parent_trackid = found._ancestor_trackid = parent
        found._parent_pdg = 13
        found._ancestor_vtx = vertex(MUON[0][:3], 5.0)
    return found


def image_rows(entry):
    """Twice the sum of the clusters; voxels of the empty event none; of entry 2 one outside the grid."""
    sums = {}
    for rows in CLUSTERS:
        for x, y, z, value in rows:
            sums[x, y, z] = sums.get((x, y, z), 0.0) + 2 * value
    rows = [(*index, value) for index, value in sums.items()]
    return [] if entry == 1 else [*rows, (0, 0, 10, 1.0)] if entry == 2 else rows


def class_rows(entry):
    classes = {}
    for rows, semantic in zip(CLUSTERS[::-1], CLASSES_OF[::-1], strict=True):
        classes |= {row[:3]: semantic for row in rows}
    return [] if entry == 1 else [(*index, value) for index, value in classes.items()]


def write(file, kind, of, producer, fill, num_events=4):
    tree = ROOT.TTree(f"{kind}_{producer}_tree", f"{producer} tree")
    event = getattr(ROOT.larcv, of)()
    tree.Branch(f"{kind}_{producer}_branch", f"larcv::{of}", event)
    for entry in range(num_events):
        event._producer, event._run, event._subrun, event._event = producer, 1, 2, 10 + entry
        fill(event, entry)
        tree.Fill()
    file.cd()
    tree.Write()


def image(rows_of):
    def fill(event, entry):
        event._voxel_v.clear()
        event._meta = ROOT.larcv.Voxel3DMeta()
        fill_voxels(event._voxel_v, rows_of(entry))
        if entry != 1:
            fill_meta(event._meta)

    return fill


def clusters(event, entry):
    event._voxel_vv.clear()
    event._meta = ROOT.larcv.Voxel3DMeta()
    for number, rows in enumerate([] if entry == 1 else CLUSTERS):
        found = ROOT.larcv.VoxelSet()
        found._id = number
        fill_voxels(found._voxel_v, rows)
        event._voxel_vv.push_back(found)
    if entry != 1:
        fill_meta(event._meta)


def particles(event, entry):
    event._part_v.clear()
    if entry == 1:
        return
    event._part_v.push_back(particle(0, 1, 13, 1, MUON, "primary", 0, 0))
    event._part_v.push_back(particle(1, 2, 11, 2, ELECTRON, "4::151", 1, 0, parent=1))
    event._part_v.push_back(particle(2, 3, 22, 0, PIECE, "eBrem", 1, 0, parent=1))
    if entry != 3:
        event._part_v.push_back(particle(3, 4, 2212, 1, PROTON, "a" * 300, 3, 1))


ROWS, COLUMNS = 8, 6


def planes(event, entry):
    """Fill three images of 8 rows and 6 columns, of 0.4 and 0.5 cm, with a line of pixels; the last event has none."""
    event._image_v.clear()
    for plane in range(3):
        found = ROOT.larcv.Image2D()
        values = [0.0] * (ROWS * COLUMNS)
        for step in range(0 if entry == 2 else 5):
            column, row = step, step + plane
            values[column * ROWS + row] = 1.0 + step + 10 * entry
        for value in values:
            found._img.push_back(value)
        found._id = found._meta._id = plane
        found._meta._row_count, found._meta._col_count = ROWS, COLUMNS
        found._meta._p1.x, found._meta._p1.y = 1.0, 2.0
        found._meta._p2.x, found._meta._p2.y = 1.0 + 0.5 * COLUMNS, 2.0 + 0.4 * ROWS
        event._image_v.push_back(found)


if __name__ == "__main__":
    with tempfile.TemporaryDirectory() as folder:
        os.chdir(folder)
        Path("LArCV2.C").write_text(CLASSES)
        if not ROOT.gSystem.CompileMacro("LArCV2.C", "O"):
            raise SystemExit("the classes do not compile")
        # ROOT writes the path into the file: here it is the bare name
        file = ROOT.TFile("larcv2_4ev.root", "RECREATE", "", 0)
        write(file, "sparse3d", "EventSparseTensor3D", "pcluster", image(image_rows))
        write(file, "sparse3d", "EventSparseTensor3D", "pcluster_semantics", image(class_rows))
        write(file, "sparse3d", "EventSparseTensor3D", "another", image(lambda entry: [(0, 0, 0, 99.0)]))
        write(file, "cluster3d", "EventClusterVoxel3D", "pcluster", clusters)
        write(file, "particle", "EventParticle", "pcluster", particles)
        file.Close()
        file = ROOT.TFile("larcv2_images_3ev.root", "RECREATE", "", 0)
        write(file, "image2d", "EventImage2D", "wire", planes, num_events=3)
        file.Close()
        for name in ("larcv2_4ev.root", "larcv2_images_3ev.root"):
            shutil.move(name, HERE / name)
