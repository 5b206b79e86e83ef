# Tables per shard, one dataset of all shards, and the page of figures and pictures.


rule summarize:
    """Write the tables of a shard."""
    input:
        events=collect("results/events/{step}/{{sample}}/{{shard}}.h5", step=["ingest", *RUN]),
        settings="results/config/summarize.infer.json",
    output:
        directory("results/tables/{sample}/{shard}"),
    log:
        "results/logs/summarize/{sample}/{shard}.log",
    benchmark:
        "results/benchmarks/summarize/{sample}/{shard}.tsv"
    threads: 1
    resources:
        mem_mb=3000,
        runtime=60,
    params:
        version=TABLES_VERSION,
    shell:
        "lartpc summarize {input.events} --config {input.settings} --out {output} 2> {log}"


rule gather_list:
    """List what is collected: the shards' event files, tables or metrics."""
    output:
        "results/config/{what}.gather",
    localrule: True
    params:
        splits=lambda wc: [f"--split={s}" for s in GATHERED[wc.what][0]],
        paths=lambda wc: [f"--path={p}" for p in GATHERED[wc.what][1]],
        shards=lambda wc: digest_of(keys(*GATHERED[wc.what][0])),
    shell:
        """
        lartpc plan {SHEETS:q} --max-shards {CONFIG.max_shards} {params.splits:q} {params.paths:q} \
            --out {output}
        """


rule collect_tables:
    """Join the tables of all shards into one dataset, and check that nothing is lost."""
    input:
        **{what: gathered(what) for what in GATHERED},
        lists=collect("results/config/{what}.gather", what=GATHERED),
    output:
        directory("results/dataset"),
    log:
        "results/logs/collect.log",
    threads: 2
    resources:
        mem_mb=6000,
        runtime=120,
    params:
        version=TABLES_VERSION,
    shell:
        """
        lartpc collect @results/config/tables.gather --metrics @results/config/metrics.gather \
            --ingested @results/config/ingested.gather --num-workers {threads} --out {output} 2>{log}
        """


rule report:
    """Make the page of figures and pictures."""
    input:
        dataset="results/dataset",
        events=[f"results/events/{step}/{key}.h5" for key in SHOWN for step in ("ingest", *RUN)],
        curves=[f"results/models/{stage}/training.jsonl" for stage in TRAINED],
        settings="results/config/report.infer.json",
    output:
        report("results/report.html", category="lartpc"),
    log:
        "results/logs/report.log",
    threads: 1
    resources:
        mem_mb=4000,
        runtime=30,
    params:
        version=TABLES_VERSION,
        events=lambda wc, input: [f"--events={path}" for path in input.events],
        curves=lambda wc, input: [f"--curve={path}" for path in input.curves],
        # Of which shards the worst events are is known only when all are judged.
        event_path=lambda wc: "results/events/{step}/{shard}.h5",
    shell:
        """
        lartpc report {input.dataset} {params.events} {params.curves} --config {input.settings} \
            --event-path {params.event_path:q} --out {output} 2>{log}
        """
