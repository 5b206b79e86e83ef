"""The images that the networks on voxels see, and those networks in inference, without torch.

They are trained by `lartpc.nets`, from where they also run on GPUs, and where there is no compiler.
"""

from lartpc.images.affinity import AFFINITY_WIDENING, affinity_logits, turned_round
from lartpc.images.answer import Answer, passes_masks
from lartpc.images.batch import Image, Images, image_of, side_by_side, stack, voxels_per_side
from lartpc.images.energies import ENERGY_FULL_MEV, ENERGY_SCALE_MEV, energy_features
from lartpc.images.kernel import ARITHMETIC, arithmetic, has_gpu, has_kernel
from lartpc.images.segmenter import NORM_EPS, CompiledSegmenter
from lartpc.images.symmetry import reflect, reflections, signs

__all__ = [
    "AFFINITY_WIDENING",
    "ARITHMETIC",
    "ENERGY_FULL_MEV",
    "ENERGY_SCALE_MEV",
    "NORM_EPS",
    "Answer",
    "CompiledSegmenter",
    "Image",
    "Images",
    "affinity_logits",
    "arithmetic",
    "energy_features",
    "has_gpu",
    "has_kernel",
    "image_of",
    "passes_masks",
    "reflect",
    "reflections",
    "side_by_side",
    "signs",
    "stack",
    "turned_round",
    "voxels_per_side",
]
