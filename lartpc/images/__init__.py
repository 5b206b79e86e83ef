"""The images that the networks on voxels see, and what those say of them, as arrays: without torch.

The networks are trained by `lartpc.nets`.
"""

from lartpc.images.answer import Answer, passes_masks
from lartpc.images.batch import Image, Images, image_of, side_by_side, stack, voxels_per_side
from lartpc.images.energies import ENERGY_FULL_MEV, ENERGY_SCALE_MEV, energy_features
from lartpc.images.symmetry import reflect, reflections, signs

__all__ = [
    "ENERGY_FULL_MEV",
    "ENERGY_SCALE_MEV",
    "Answer",
    "Image",
    "Images",
    "energy_features",
    "image_of",
    "passes_masks",
    "reflect",
    "reflections",
    "side_by_side",
    "signs",
    "stack",
    "voxels_per_side",
]
