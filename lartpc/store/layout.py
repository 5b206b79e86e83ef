"""What writing and reading event files agree on besides the products themselves."""

SOURCES = "sources"
"""Root attribute of an ingested file of several sources: their paths and numbers of events, in order."""

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
