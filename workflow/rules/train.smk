# Training of the learned stages, data-parallel over MPI ranks.


rule shard_list:
    """List the event files that a stage is trained or validated on."""
    output:
        "results/config/{stage}.{split}.list",
    localrule: True
    params:
        paths=lambda wc: [f"--path={p.replace('{key}', '{shard}')}" for p in trained_on(wc.stage)],
        shards=lambda wc: digest_of(keys(wc.split)),
    shell:
        """
        lartpc plan {SHEETS:q} --max-shards {CONFIG.max_shards} --split {wildcards.split} {params.paths:q} \
            --out {output}
        """


rule train:
    """Train a stage on the training split, watching the validation split."""
    input:
        events=lambda wc: collect(trained_on(wc.stage), key=keys("train")),
        validation=lambda wc: collect(trained_on(wc.stage), key=keys("validation")),
        event_list="results/config/{stage}.train.list",
        validation_list="results/config/{stage}.validation.list",
        settings="results/config/{stage}.train.json",
        start=lambda wc: getattr(CONFIG, wc.stage).train.init_from or [],
    output:
        weights="results/models/{stage}/weights.pt",
        curve="results/models/{stage}/training.jsonl",
    log:
        "results/logs/train/{stage}.log",
    benchmark:
        "results/benchmarks/train/{stage}.tsv"
    threads: RANKS
    resources:
        mem_mb=6000,
        runtime=240,
        tasks=RANKS,
        mpi=LAUNCHER,
    params:
        version=lambda wc: STAGES[wc.stage].version,
    shell:
        """
        # One thread per rank: snakemake gives each of them the threads of all. Progress goes to the terminal, too;
        # signals are for the training, which says there what it makes of them.
        export OMP_NUM_THREADS=1 MKL_NUM_THREADS=1 OPENBLAS_NUM_THREADS=1
        {resources.mpi} -n {resources.tasks} lartpc train {wildcards.stage} @{input.event_list} \
            --validation @{input.validation_list} --config {input.settings} --ranks {resources.tasks} \
            --log {output.curve} --out {output.weights} 2>&1 \
            | (
                trap '' INT TERM USR1
                exec tee {log} >&2
            )
        """
