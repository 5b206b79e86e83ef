"""Products of the stages beside the chain, `classify`, `detect` and `flow`, which no later stage needs."""

from math import nan

from lartpc.event.columns import Column, Product, code, pdg, scalar, vector
from lartpc.vocab import MAX_CLASSES, MAX_COUNT, MAX_PLANES, Flavour, Origin

COUNTED = {
    "proton": "protons with voxels",
    "pion": "charged pions with voxels",
    "pi_zero": "π⁰ with voxels",
    "neutron": "neutrons that leave the vertex",
}
"""What images say the numbers of, and the words for it."""

_SAID_OF_IMAGES = {
    "flavour": code(Flavour, "flavour-like class of the highest score"),
    "flavour_score": Column(
        "f4", "", "score of each flavour-like class; nan: no such head", shape=(len(Flavour),), none=nan
    ),
    **{
        f"num_{name}s_score": Column(
            "f4",
            "",
            f"score of each number of {word} from 0; the last is for more, too; nan: no such head",
            shape=(MAX_COUNT + 1,),
            none=nan,
        )
        for name, word in COUNTED.items()
    },
    "antineutrino_score": Column("f4", "", "score of an antineutrino; nan: no such head", none=nan),
    "pdg": pdg("first PDG code of the class of one's own (`classify.classes`) of the highest score"),
    "class_score": Column(
        "f4",
        "",
        "score of each class of one's own, in the order of their names, then 0; nan: no such head",
        shape=(MAX_CLASSES,),
        none=nan,
    ),
}

BESIDE: dict[str, Product] = {
    # -- written by classify -------------------------------------------------------------------
    "image": Product("what an image is as a whole (one row)", _SAID_OF_IMAGES),
    "interaction_image": Product(
        "what a reconstructed interaction is, by the image without the voxels of others",
        _SAID_OF_IMAGES,
        per="interaction",
    ),
    # -- written by detect ---------------------------------------------------------------------
    "origin": Product(
        "what brought the charge of a voxel: neutrino, cosmic muon, or nothing",
        {
            "score": Column("f4", "", "score of each origin, 1 in all", shape=(len(Origin),), packed=False),
            "label": code(Origin, "origin of the highest score"),
        },
        per="voxel",
    ),
    "detection": Product(
        "a box in which a neutrino is found to interact, the best first",
        {
            "low": vector("voxel", "lower corner of the box"),
            "high": vector("voxel", "upper corner of the box"),
            "vertex": vector("voxel", "where the neutrino is found to interact"),
            "score": scalar("f4", "", "score that the box is of a neutrino"),
            "peak_score": scalar("f4", "", "height of the peak of the heatmap that proposed it"),
        },
    ),
    # -- written by flow -----------------------------------------------------------------------
    "pairing": Product(
        "how the hits of wire planes at a 3D point belong together",
        {
            "share": Column(
                "f4",
                "",
                "score that the hit of a plane is of this point, 1 in all of its points; 0: no wire sees it",
                shape=(MAX_PLANES,),
                packed=False,
            ),
            "score": scalar("f4", "", "score that the point is real, and no ghost"),
        },
        per="voxel",
    ),
}
