# lartpc: from simulated (or given) steps to tables, one stage after the other.
# Read on in workflow/rules/, in the order of the data. As a module of another workflow: docs/how-to/workflow.md.
#
# No rule names a conda environment or a container, which `snakemake --lint` asks for: the configuration is checked by
# `lartpc` itself when this file is read, so that it stands in Snakemake's own environment; envs/README.md has both.

from snakemake.utils import min_version

min_version("9.19")


include: "workflow/rules/common.smk"
include: "workflow/rules/events.smk"
include: "workflow/rules/train.smk"
include: "workflow/rules/stages.smk"


if MAKES_POINTS:

    include: "workflow/rules/planes.smk"


include: "workflow/rules/evaluate.smk"
include: "workflow/rules/clustering.smk"
include: "workflow/rules/budget.smk"
include: "workflow/rules/interactions.smk"
include: "workflow/rules/neutrinos.smk"
include: "workflow/rules/tables.smk"
include: "workflow/rules/validation.smk"
include: "workflow/rules/outcome.smk"


if not IS_FLAT:

    include: "workflow/rules/michels.smk"


rule all:
    """Everything: tables, figures and the page of pictures."""
    default_target: True
    input:
        "<results>/report.html",
        "<results>/dataset",
        "<results>/audit.json",
    localrule: True


# Only the weights of the learned stages.
rule models:
    input:
        [weights(stage) for stage in RUN if weights(stage)],
    localrule: True


onstart:
    take_over()
    write_plan()


onsuccess:
    Path(PLAN).unlink(missing_ok=True)
    FAILED.unlink(missing_ok=True)
    # A target such as `models` makes no dataset.
    if os.path.exists(f"{RESULTS}/dataset/summary.json"):
        last_screen()


onerror:
    report_failures()
