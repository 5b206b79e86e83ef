"""Columns of what images are classified as by the optional stage `classify`, with the rows that go into them."""

import numpy as np
import pyarrow as pa

from lartpc.event import COUNTED, MAX_COUNT, Columns, Event, empty, num_rows
from lartpc.tables.fields import Field, Rows, count, names_of, number, per, values, word
from lartpc.vocab import MAX_CLASSES, Flavour

_NONE = "; null: not classified"


def image_fields(what: str) -> dict[str, Field]:
    """Return the columns of classes of an image of `what`."""
    return {
        "image_flavour": word(
            Flavour, f"flavour-like class of the image of {what} of the highest score{_NONE}"
        ),
        **per(Flavour, "image_flavour_score_{}", number, f"score of {{}}, by the image{_NONE}"),
        **{
            f"image_{name}_count": count(
                f"likeliest number of {words} by the image; {MAX_COUNT}: or more; -1: none"
            )
            for name, words in COUNTED.items()
        },
        **{
            f"image_{name}_count_score": values(
                pa.float32(),
                f"score of each number of {words} from 0, by the image{_NONE}",
                size=MAX_COUNT + 1,
            )
            for name, words in COUNTED.items()
        },
        "image_antineutrino_score": number(f"score of an antineutrino, by the image{_NONE}"),
        "image_class_pdg": count("first PDG code of the class of one's own of the highest score; 0: none"),
        "image_class_score": values(
            pa.float32(), f"score of each class of `classify.classes`, then 0{_NONE}", size=MAX_CLASSES
        ),
    }


def image_rows(event: Event, product: str, num: int) -> Rows:
    """Return the values of these columns from `image` or `interaction_image`; of `num` rows if it is not there.

    What was set aside on the way has no row, and nothing is known of it.
    """
    there = product in event and num_rows(event[product]) == num
    found: Columns = event[product] if there else empty(product, num)
    rows: Rows = {"image_flavour": found["flavour"]}
    for code, name in enumerate(names_of(Flavour)):
        rows[f"image_flavour_score_{name}"] = found["flavour_score"][:, code]
    for name in COUNTED:
        score = found[f"num_{name}s_score"]
        known = np.asarray(np.isfinite(score).all(axis=1))
        rows[f"image_{name}_count"] = np.where(known, np.nan_to_num(score).argmax(axis=1), -1)
        rows[f"image_{name}_count_score"] = [
            row if is_known else None for row, is_known in zip(score, known, strict=True)
        ]
    rows["image_antineutrino_score"] = found["antineutrino_score"]
    rows["image_class_pdg"] = found["pdg"]
    rows["image_class_score"] = [row if np.isfinite(row).all() else None for row in found["class_score"]]
    return rows
