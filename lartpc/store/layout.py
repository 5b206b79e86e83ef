"""What writing and reading event files agree on besides the products themselves."""

SOURCES = "sources"
"""Root attribute of an ingested file of several sources: their paths and numbers of events, in order."""

SOURCE_FILES = "source_files"
"""Root attribute of an ingested file: the paths that its sources had (JSON). No part of what the file says."""

WEIGHTS_FILE = "weights_file"
"""Root attribute of a stage's file: the path that its weights had. No part of what the file says."""

ARITHMETIC = "arithmetic"
"""Root attribute of what `segment` wrote without torch: in which arithmetic its convolutions were."""

ON_TRUTH = "on_truth"
"""Root attribute of a stage's file that was made with the truth in the place of earlier stages: true there."""

VERSIONS = ("package_version", "git_revision")
"""Root attributes that say which code wrote a file, and nothing of what it says."""

CHOICE = "choice"
"""Root attribute of an ingested file of chosen events (JSON): what was asked for, what of it the files lack, and
how many images they would have given."""

DRAWN = "drawn"
"""Root attribute of an ingested file whose detector was drawn: its voxel size and response (JSON)."""

NUM_PLANES = "num_planes"
"""Root attribute of images of wire planes: how many there are of an event, one after another."""

CONTENT = "content_digest"
"""Root attribute: BLAKE2b (16 bytes, hex) of what a file says.

Neither times nor the package's version count: the same events give the same digest.
"""

DIGESTS = "digests"
"""Root attribute: the digest of each column, of `entry` and of `quarantine` by name (JSON)."""

SEAL = "seal"
"""Root attribute: the digest of all the others."""
