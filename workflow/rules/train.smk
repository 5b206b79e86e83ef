# Training of the learned stages, data-parallel over MPI ranks.


rule shard_list:
    """List the event files that a stage is trained or validated on."""
    output:
        "<results>/config/{stage}.{split}.list",
    log:
        "<results>/logs/config/{stage}.{split}.log",
    localrule: True
    conda:
        ENVIRONMENT
    params:
        paths=lambda wc: option("path", (at(p).replace("{key}", "{shard}") for p in trained_on(wc.stage))),
        shards=lambda wc: digest_of(keys(wc.split)),
        # As in `gather_list`.
        sheets=lambda wc, output: CONFIG.samples,
        max_shards=lambda wc, output: CONFIG.max_shards,
    shell:
        """
        lartpc plan --max-shards {params.max_shards:q} --split {wildcards.split} {params.paths:q} \
            --out {output:q} -- {params.sheets:q} 2>{log:q}
        """


rule train:
    """Train a stage on the training split, watching the validation split."""
    input:
        events=lambda wc: collect(trained_on(wc.stage), key=keys("train")),
        validation=lambda wc: collect(trained_on(wc.stage), key=keys("validation")),
        event_list="<results>/config/{stage}.train.list",
        validation_list="<results>/config/{stage}.validation.list",
        settings="<results>/config/{stage}.train.json",
        start=lambda wc: start_of(wc.stage),
    output:
        weights="<results>/models/{stage}/weights.pt",
        curve="<results>/models/{stage}/training.jsonl",
    log:
        "<results>/logs/train/{stage}.log",
    benchmark:
        "<results>/benchmarks/train/{stage}.tsv"
    conda:
        ENVIRONMENT
    # The launcher is the site's: each rank starts a container, not a container the ranks.
    container:
        False
    threads: RANKS
    resources:
        mem_mb=6000,
        runtime=240,
        tasks=RANKS,
        mpi=LAUNCHER,
    params:
        version=lambda wc: STAGES[wc.stage].version,
        digest=lambda wc: [digest_of_file(path) for path in start_of(wc.stage)],
        # A function of `output` is not a reason to run again.
        container=lambda wc, output: CONTAINER,
    shell:
        """
        # One thread per rank: snakemake gives each of them the threads of all. Progress goes to the terminal, too;
        # signals are for the training, which says there what it makes of them.
        export OMP_NUM_THREADS=1 MKL_NUM_THREADS=1 OPENBLAS_NUM_THREADS=1
        {resources.mpi} -n {resources.tasks} {params.container} lartpc train {wildcards.stage} @{input.event_list:q} \
            --validation @{input.validation_list:q} --config {input.settings:q} --ranks {resources.tasks} \
            --log {output.curve:q} --out {output.weights:q} 2>&1 \
            | (
                trap '' INT TERM USR1
                exec tee {log:q} >&2
            )
        """
