# What all rules share: the checked configuration, the shards, and where things lie.

import json
import os
import re
import shlex
import shutil
from collections import Counter
from glob import glob
from hashlib import blake2b

from pydantic import ValidationError
from snakemake.common.configfile import load_configfile
from snakemake.exceptions import WorkflowError

from lartpc.config import SCENARIO_SECTIONS, explain, listed
from lartpc.config.production import digest_of_file, production
from lartpc.plan import plan, shares
from lartpc.remote import local_names
from lartpc.scenarios import branches
from lartpc.stages import (
    CHAIN,
    EVALUATE_VERSION,
    INGEST_VERSION,
    TABLES_VERSION,
    OPTIONAL,
    chain_in,
    is_enabled,
    needs_weights,
    upstream_of,
)


def find_own(path):
    """Return where a file of this workflow is: below the working folder, or else its absolute path.

    A workflow that is used from elsewhere as a module, or from the network, brings its own files.
    """
    if os.path.isabs(path):
        return path
    file = HOME.join(path)
    if not file.is_local:
        return str(workflow.source_path(f"../../{path}"))
    found = os.path.abspath(file.get_path_or_uri(secret_free=False))
    near = os.path.relpath(found)
    return found if near.startswith("..") else near


def outside(path):
    """Return a path as an input that no rule makes, and that the prefix of a module is not put before."""
    return path if PATHS.replace_prefix(path) == path else os.path.abspath(path)


def at(path):
    """Return where a path of a rule is, in the folder of the results and with the prefix of a module."""
    return str(PATHS.replace_prefix(PATHVARS.apply(path)))


def list_pattern(pattern, path):
    """List a pattern on a server, and write a catalogue of its files for this run and those that come."""
    from lartpc.run.servers.catalogue import catalogue

    listing = catalogue([pattern], path)
    logger.info(f"lartpc: {pattern}: {listing}, listed in {path}, which stands for it from now on")


HOME = workflow.current_basedir.join("../..")
PATHS, PATHVARS = workflow.modifier.path_modifier, workflow.pathvars

# Not `configfile:`, which looks in the working folder, and is passed over where this is a module with a `config:`.
try:
    CONFIG, notes, scenarios = production(load_configfile(find_own("config/config.yaml")), config, find_own)
    # The nominal production and its scenarios, by the folder of what is their own.
    BRANCHES = {branch.folder: branch for branch in branches(CONFIG, scenarios, digest_of_file)}
    # Servers are asked once, before the jobs, which read the catalogue that is written then.
    SHARDS = {
        shard.key: shard
        for shard in plan(
            CONFIG.samples,
            CONFIG.seed,
            CONFIG.max_shards,
            list_pattern if workflow.is_main_process else None,
        )
    }
except ValidationError as error:
    raise WorkflowError(f"configuration: {explain(error)}") from None
except ValueError as error:
    raise WorkflowError(str(error)) from None

# All rules write below `<results>`: a pathvar of Snakemake, so that a module or --config pathvars may set it, too.
if "results" in config:

    pathvars:
        results=CONFIG.results,


# Without scenarios no path has a folder of one, and no job its wildcard. The constraint stands here, as those of
# all rules are not put on what comes of a pathvar.
pathvars:
    branch=f"{{scenario,{'|'.join(map(re.escape, BRANCHES))}}}" if len(BRANCHES) > 1 else "",


RESULTS = at("<results>")
# What each shard's jobs are, for the first of them to go on with the others; no input, as it decides nothing.
PLAN = f"{RESULTS}/config/chain.json"
# A file that nothing makes: the job goes on with no other.
NO_PLAN = f"{RESULTS}/config/no_chain.json"

# Said once, and not again by each job, which reads this file, too.
if workflow.is_main_process:
    for note in notes:
        logger.info(f"lartpc: {note}")
    for sample, num in Counter(shard.sample for shard in SHARDS.values()).items():
        if num >= CONFIG.max_shards:
            logger.info(f"lartpc: sample {sample} is planned in {num} shards, the most by max_shards")

SHARES = shares(tuple(SHARDS.values()))
STAGES = {row.name: row for row in (*CHAIN, *OPTIONAL)}
# Of images of wire planes that cross 3D points are made, which the stages from points on are for.
IS_FLAT = CONFIG.segment.dimension == 2
MAKES_POINTS = IS_FLAT and CONFIG.ingest.wires.make_points
# What the events go through: views of one plane, or of parallel ones, end with points.
RUN = [row.name for row in (CHAIN if MAKES_POINTS else chain_in(CONFIG.segment.dimension))]
RUN += [row.name for row in OPTIONAL if is_enabled(row, getattr(CONFIG, row.name))]
ON_TRUTH = [name for name in ("cluster", "interact") if name in RUN]

# Software of the jobs: that of the shell which started snakemake; with --sdm conda the environment of ENVIRONMENT, in
# which `lartpc` is installed from LARTPC_SOURCE (envs/*.post-deploy.sh); with --sdm apptainer the image.
DEPLOYS = {method.name for method in workflow.deployment_settings.deployment_method}
ENVIRONMENT = os.path.abspath(
    CONFIG.environment if os.path.exists(CONFIG.environment) else find_own(CONFIG.environment)
)
CONTAINER = ""
if "CONDA" in DEPLOYS:
    os.environ.setdefault("LARTPC_SOURCE", os.path.abspath(find_own(".")))
if "APPTAINER" in DEPLOYS:

    container: CONFIG.image

    # What starts one container in each rank, where the launcher has to stay outside.
    CONTAINER = shlex.join(
        [
            shutil.which("apptainer") or shutil.which("singularity") or "apptainer",
            "exec",
            "--home",
            os.getcwd(),
        ]
        + shlex.split(workflow.deployment_settings.apptainer_args or "")
        + [CONFIG.image]
    )


# Two ranks where there is an MPI launcher; else one process, which `nice -n 1` starts as it is.
RANKS, LAUNCHER = (2, "mpiexec") if shutil.which("mpiexec") else (1, "nice")


wildcard_constraints:
    sample=r"[\w-]+",
    shard=r"[\w-]+",
    stage="|".join(STAGES),
    split="train|validation|test",
    step="simulate|ingest|summarize|report|" + "|".join(STAGES),
    part="train|infer|images",
    what="ingested|tables|metrics",


def branch_of(wildcards):
    """Return the scenario of a job, the nominal one where it has none."""
    return BRANCHES[getattr(wildcards, "scenario", "")]


def keys(*splits):
    """Return `sample/shard` of all shards of some splits."""
    return [shard.key for shard in SHARDS.values() if shard.split in splits]


def shard_of(wildcards):
    """Return the planned shard of a job."""
    return SHARDS[f"{wildcards.sample}/{wildcards.shard}"]


def generated_files(wildcards):
    """Return the files of neutrino generators that a simulated shard is drawn from; [] for other generators."""
    shard = shard_of(wildcards)
    generator = branch_of(wildcards).config.simulate.generator
    patterns = [] if isinstance(generator, str) else generator.files
    return shard.generated or [path for pattern in patterns for path in sorted(glob(pattern, recursive=True))]


def share_of(wildcards):
    """Return the share of their interactions that it takes, as `lartpc simulate` asks for it; "" for all."""
    if not generated_files(wildcards):
        return ""
    index, num = SHARES[f"{wildcards.sample}/{wildcards.shard}"]
    return f"{index}/{num}"


def sources_of(wildcards):
    """Return what a shard is ingested from: its files, the folder that they are fetched to, or simulated steps."""
    shard = shard_of(wildcards)
    if shard.remote:
        return [f"<results>/fetched/{shard.key}"]
    steps = f"<results>/{branch_of(wildcards).folder_of('simulate')}steps/{shard.key}.h5"
    return [*map(outside, shard.sources)] or [steps]


def paths_of_sources(wildcards, inputs):
    """Return the files of a shard as a command takes them; those on servers in the folder that they are fetched to."""
    remote = shard_of(wildcards).remote
    return [plain(f"{path}/{name}") for path in inputs for name in local_names(remote)] or [
        *map(plain, inputs)
    ]


def origins_of(wildcards, inputs):
    """Return the option that says where files that were fetched come from; none for others."""
    return [f"--origins={path}/origins.json" for path in inputs if shard_of(wildcards).remote]


def digests_of_sources(wildcards):
    """Return digests of what decides which events a shard has, beside files: lists of events, and catalogues."""
    shard = shard_of(wildcards)
    lists = [digest_of_file(path) for path in lists_of_events(shard)]
    return [*lists, *([digest_of(map(str, shard.remote))] if shard.remote else [])]


def lists_of_events(shard):
    """Return the file that lists the events which are asked for of a shard's files, if one does."""
    return [shard.events[1:]] if shard.events.startswith("@") else []


def choice_of(shard):
    """Return the options that say which events of a shard's files are asked for; none for all."""
    return [f"--events={shard.events}", *(["--part"] if shard.is_part else [])] if shard.events else []


def whole_configuration():
    """Return the settings that decide what the tables say: seed, those of the steps, and of networks trained here."""
    found = {"seed": CONFIG.seed}
    for branch in BRANCHES.values():
        settings = {step: branch.config.slice_for(step) for step in SCENARIO_SECTIONS}
        settings |= {f"{stage}.train": CONFIG.slice_for(stage, "train")["train"] for stage in TRAINED}
        found[branch.name] = settings
    return found


def option_of(name, value):
    """Return an option of a command as its words; none where it has no value."""
    return [name, f"{value}"] if value else []


def weights(stage, wildcards=None):
    """Return the weights of a stage: released ones where the configuration names them, else trained; or none."""
    settings = getattr(branch_of(wildcards).config, stage)
    return weights_of(stage, wildcards) if needs_weights(STAGES[stage], settings) else []


def weights_of(stage, wildcards=None):
    """Return the weights that a stage would take. What released ones hold, not their time, decides what runs again."""
    given = getattr(branch_of(wildcards).config, stage).weights
    return [ancient(outside(given))] if given else [f"<results>/models/{stage}/weights.pt"]


def ghost_weights(wildcards):
    """Return all weights that tell the ghosts of points made of planes, if any."""
    return [ancient(outside(path)) for path in listed(branch_of(wildcards).config.segment.ghost_weights)]


def start_of(stage):
    """Return the weights that the training of a stage starts from, if any."""
    given = getattr(CONFIG, stage).train.init_from
    return [ancient(outside(given))] if given else []


def digest_of_weights(stage, wildcards=None):
    """Return a digest of released weights, to make a job depend on it; of trained ones, Snakemake knows."""
    given = getattr(branch_of(wildcards).config, stage).weights
    return digest_of_file(given) if given and weights(stage, wildcards) else ""


def settings_for(step, part, wildcards=None):
    """Return the settings of a step; `images` are those of ingest for the views of planes that it makes points of."""
    settings = branch_of(wildcards).config
    if step != "ingest":
        return settings.slice_for(step, part)
    ingest = settings.slice_for("ingest", "infer")
    if MAKES_POINTS and part != "images":
        ingest["wires"]["space_points"] = True
    return ingest


def events_of(steps, wildcards=None):
    """Return the event files of steps, of a job's scenario or shared, with the wildcards of a shard."""
    of = branch_of(wildcards).folder_of
    return [f"<results>/{of(step)}events/{step}/{{sample}}/{{shard}}.h5" for step in steps]


def images_of(steps, wildcards=None):
    """Return the files of images of wire planes, as `events_of` those of events."""
    of = branch_of(wildcards).folder_of
    return [f"<results>/{of(step)}planes/{step}/{{sample}}/{{shard}}.h5" for step in steps]


def events_before(stage, wildcards=None):
    """Return the event files that a stage reads, with the wildcards of a shard."""
    before = [row.name for row in upstream_of(STAGES[stage]) if row.name in RUN]
    return events_of(["ingest", *before], wildcards)


def trained_on(stage):
    """Return the patterns of the event files that a stage is trained on: truth, or earlier output too."""
    if MAKES_POINTS and stage in ("segment", "detect"):
        return ["<results>/planes/ingest/{key}.h5"]
    on_truth = getattr(CONFIG, stage).__dict__.get("upstream", "predicted") == "truth"
    # What a stage only may read, it does not learn from.
    patterns = events_before(stage)[:1] if on_truth or STAGES[stage].also_reads else events_before(stage)
    return [pattern.replace("{sample}/{shard}", "{key}") for pattern in patterns]


def option(name, paths):
    """Return paths as values of an option of `lartpc`, whatever they begin with."""
    return [f"--{name}={path}" for path in paths]


def plain(path):
    """Return a path that `lartpc` does not take for the list of files that `@` stands for."""
    return f"./{path}" if path.startswith("@") else path


def settings_of_way(way):
    """Return the settings of interact with another way from particles to interactions."""
    settings = CONFIG.slice_for("interact", "infer")
    return json.dumps({**settings, "infer": {**settings["infer"], "interactions": way}}, sort_keys=True)


def digest_of(items):
    """Return a short digest of a list, to make a job depend on it."""
    return blake2b("\n".join(items).encode(), digest_size=8).hexdigest()


# What is collected, and of which splits.
GATHERED = {"ingested": ("test", "reconstruct"), "tables": ("test", "reconstruct"), "metrics": ("test",)}


def gathered_from(what, branch):
    """Return where what is collected lies for each shard, of one scenario."""
    of = branch.folder_of
    if what == "ingested":
        return [f"<results>/{of('ingest')}events/ingest/{{shard}}.h5"]
    if what == "tables":
        return [f"<results>/{of('summarize')}tables/{{shard}}"]
    return [
        f"<results>/{of('evaluate')}metrics/chain/{{shard}}.parquet",
        *(f"<results>/{of(f'{s} on truth')}metrics/{s}_on_truth/{{shard}}.parquet" for s in ON_TRUTH),
        *([f"<results>/{of('images')}metrics/planes/{{shard}}.parquet"] if MAKES_POINTS else []),
    ]


def gathered(what, branch):
    """Return the files of all shards that are collected, of one scenario."""
    paths = gathered_from(what, branch)
    return [path.format(shard=key) for key in keys(*GATHERED[what]) for path in paths]


SCENARIOS = [branch for branch in BRANCHES.values() if branch.folder]


# The first shard of each sample gives the report its pictures; the stages trained here, its curves.
SHOWN = list(
    {
        shard.sample: shard.key
        for shard in reversed(SHARDS.values())
        if shard.key in keys(*GATHERED["tables"])
    }.values()
)
TRAINED = [name for name in RUN if weights(name) and not getattr(CONFIG, name).weights]
