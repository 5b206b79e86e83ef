# Tables per shard, one dataset of all shards, and the page of figures and pictures.


rule summarize:
    """Write the tables of a shard."""
    input:
        events=lambda wc: events_of(["ingest", *RUN], wc),
        settings="<results>/<branch>config/summarize.infer.json",
    output:
        directory("<results>/<branch>tables/{sample}/{shard}"),
    log:
        "<results>/<branch>logs/summarize/{sample}/{shard}.log",
    benchmark:
        "<results>/<branch>benchmarks/summarize/{sample}/{shard}.tsv"
    conda:
        ENVIRONMENT
    threads: 1
    resources:
        mem_mb=3000,
        runtime=60,
    params:
        version=TABLES_VERSION,
        chain=lambda wc, output: PLAN,
    shell:
        """
        lartpc summarize {input.events:q} --config {input.settings:q} --chain {params.chain:q} --out {output:q} 2>{log:q}
        """


rule gather_list:
    """List what is collected: the shards' event files, tables or metrics."""
    output:
        "<results>/<branch>config/{what}.gather",
    log:
        "<results>/<branch>logs/config/{what}.gather.log",
    localrule: True
    conda:
        ENVIRONMENT
    params:
        splits=lambda wc: option("split", GATHERED[wc.what]),
        paths=lambda wc: option("path", map(at, gathered_from(wc.what, branch_of(wc)))),
        shards=lambda wc: digest_of(keys(*GATHERED[wc.what])),
        # A function of `output` is not a reason to run again: that is what the sheets say, not which they are.
        sheets=lambda wc, output: CONFIG.samples,
        max_shards=lambda wc, output: CONFIG.max_shards,
    shell:
        """
        lartpc plan --max-shards {params.max_shards:q} {params.splits:q} {params.paths:q} --out {output:q} \
            -- {params.sheets:q} 2>{log:q}
        """


rule configuration:
    """Write the settings that decide what the tables say, of all steps and scenarios: the dataset carries them."""
    output:
        "<results>/config/configuration.json",
    log:
        "<results>/logs/config/configuration.log",
    localrule: True
    conda:
        ENVIRONMENT
    params:
        settings=lambda wc: json.dumps(whole_configuration(), sort_keys=True),
    shell:
        "printf '%s' {params.settings:q} > {output:q}"


rule collect_tables:
    """Join the tables of all shards into one dataset, and check that nothing is lost."""
    input:
        **{what: gathered(what, BRANCHES[""]) for what in GATHERED},
        **{f"list_of_{what}": f"<results>/config/{what}.gather" for what in GATHERED},
        scenarios=[path for branch in SCENARIOS for what in GATHERED for path in gathered(what, branch)],
        lists_of_scenarios=[
            f"<results>/{branch.folder}config/{what}.gather" for branch in SCENARIOS for what in GATHERED
        ],
        configuration="<results>/config/configuration.json",
    output:
        directory("<results>/dataset"),
    log:
        "<results>/logs/collect.log",
    benchmark:
        "<results>/benchmarks/collect.tsv"
    conda:
        ENVIRONMENT
    threads: 2
    resources:
        mem_mb=6000,
        runtime=120,
    params:
        version=TABLES_VERSION,
        scenarios=lambda wc, output: option(
            "scenario", [f"{branch.name}={RESULTS}/{branch.folder}config" for branch in SCENARIOS]
        ),
    shell:
        """
        lartpc collect @{input.list_of_tables:q} --metrics @{input.list_of_metrics:q} \
            --ingested @{input.list_of_ingested:q} {params.scenarios:q} --configuration {input.configuration:q} --num-workers {threads} --out {output:q} 2>{log:q}
        """


rule audit:
    """Prove from the files alone that nothing is lost or changed; what is found fails the production."""
    input:
        "<results>/dataset",
        # Its record has the digests of what is made last, too.
        "<results>/report.html",
    output:
        "<results>/audit.json",
    log:
        "<results>/logs/audit.log",
    conda:
        ENVIRONMENT
    threads: 2
    resources:
        mem_mb=4000,
        runtime=120,
    params:
        version=TABLES_VERSION,
        results=lambda wc: RESULTS,
    shell:
        "lartpc audit --num-workers {threads} --out {output:q} -- {params.results:q} >{log:q} 2>&1"


rule report:
    """Make the page of figures and pictures."""
    input:
        dataset="<results>/dataset",
        events=[f"<results>/events/{step}/{key}.h5" for key in SHOWN for step in ("ingest", *RUN)],
        curves=[f"<results>/models/{stage}/training.jsonl" for stage in TRAINED],
        settings="<results>/config/report.infer.json",
    output:
        report("<results>/report.html", category="lartpc"),
    log:
        "<results>/logs/report.log",
    benchmark:
        "<results>/benchmarks/report.tsv"
    conda:
        ENVIRONMENT
    threads: 1
    resources:
        mem_mb=4000,
        runtime=30,
    params:
        version=TABLES_VERSION,
        events=lambda wc, input: option("events", input.events),
        curves=lambda wc, input: option("curve", input.curves),
        # Of which shards the worst events are is known only when all are judged.
        event_path=lambda wc: at("<results>/events/{step}/{shard}.h5"),
        results=lambda wc: RESULTS,
    shell:
        """
        lartpc report {input.dataset:q} {params.events:q} {params.curves:q} --config {input.settings:q} \
            --event-path {params.event_path:q} --results {params.results:q} --out {output:q} 2>{log:q}
        """
