# What all rules share: the checked configuration, the shards, and where things lie.

import json
import shutil
from collections import Counter
from hashlib import blake2b

from pydantic import ValidationError
from snakemake.exceptions import WorkflowError

from lartpc.config import Config, explain
from lartpc.plan import plan
from lartpc.stages import (
    CHAIN,
    EVALUATE_VERSION,
    INGEST_VERSION,
    TABLES_VERSION,
    chain_in,
    needs_weights,
    upstream_of,
)

try:
    CONFIG = Config.model_validate(config)
    SHARDS = {shard.key: shard for shard in plan(CONFIG.samples, CONFIG.seed, CONFIG.max_shards)}
except ValidationError as error:
    raise WorkflowError(f"configuration: {explain(error)}") from None
except ValueError as error:
    raise WorkflowError(str(error)) from None

# Said once, and not again by each job, which reads this file, too.
if workflow.is_main_process:
    for sample, num in Counter(shard.sample for shard in SHARDS.values()).items():
        if num >= CONFIG.max_shards:
            logger.info(f"lartpc: sample {sample} is planned in {num} shards, the most by max_shards")

# Not in `params` of the rules that read them: the shards that they name decide what runs again.
SHEETS = list(CONFIG.samples)

STAGES = {row.name: row for row in CHAIN}
# What the images go through: views of wire planes end with points.
RUN = [row.name for row in chain_in(CONFIG.segment.dimension)]
ON_TRUTH = [name for name in ("cluster", "interact") if name in RUN]

# Two ranks where there is an MPI launcher; else one process, which `nice -n 1` starts as it is.
RANKS, LAUNCHER = (2, "mpiexec") if shutil.which("mpiexec") else (1, "nice")


wildcard_constraints:
    sample=r"[\w-]+",
    shard=r"[\w-]+",
    stage="|".join(STAGES),
    split="train|validation|test",
    step="simulate|ingest|summarize|report|" + "|".join(STAGES),
    part="train|infer",
    what="ingested|tables|metrics",


def keys(*splits):
    """Return `sample/shard` of all shards of some splits."""
    return [shard.key for shard in SHARDS.values() if shard.split in splits]


def shard_of(wildcards):
    """Return the planned shard of a job."""
    return SHARDS[f"{wildcards.sample}/{wildcards.shard}"]


def weights(stage):
    """Return the weights of a stage: released ones where the configuration names them, else trained; [] without."""
    if not needs_weights(STAGES[stage], getattr(CONFIG, stage)):
        return []
    return getattr(CONFIG, stage).weights or f"results/models/{stage}/weights.pt"


def option_of_weights(stage):
    """Return how the weights of a stage are given to `lartpc infer`."""
    return f"--weights {weights(stage)}" if weights(stage) else ""


def events_before(stage):
    """Return the event files that a stage reads, with the wildcards of a shard."""
    steps = ["ingest", *(row.name for row in upstream_of(STAGES[stage]))]
    return [f"results/events/{step}/{{sample}}/{{shard}}.h5" for step in steps]


def trained_on(stage):
    """Return the patterns of the event files that a stage is trained on: truth, or earlier output too."""
    on_truth = getattr(CONFIG, stage).__dict__.get("upstream", "predicted") == "truth"
    patterns = events_before(stage)[:1] if on_truth else events_before(stage)
    return [pattern.replace("{sample}/{shard}", "{key}") for pattern in patterns]


def digest_of(items):
    """Return a short digest of a list, to make a job depend on it."""
    return blake2b("\n".join(items).encode(), digest_size=8).hexdigest()


# What is collected: of which splits, and where it lies for each shard.
GATHERED = {
    "ingested": (("test", "reconstruct"), ["results/events/ingest/{shard}.h5"]),
    "tables": (("test", "reconstruct"), ["results/tables/{shard}"]),
    "metrics": (
        ("test",),
        [
            "results/metrics/chain/{shard}.parquet",
            *(f"results/metrics/{stage}_on_truth/{{shard}}.parquet" for stage in ON_TRUTH),
        ],
    ),
}


def gathered(what):
    """Return the files of all shards that are collected."""
    splits, paths = GATHERED[what]
    return [path.format(shard=key) for key in keys(*splits) for path in paths]


# The first shard of each sample gives the report its pictures; the stages trained here, its curves.
SHOWN = list(
    {
        shard.sample: shard.key
        for shard in reversed(SHARDS.values())
        if shard.key in keys(*GATHERED["tables"][0])
    }.values()
)
TRAINED = [name for name in RUN if weights(name) and not getattr(CONFIG, name).weights]
