# Settings, simulation and ingestion: what every later rule reads.


# Its log, as those of others that only write settings, stays empty: printf says nothing.
rule settings:
    """Write the settings that one step depends on. Keep this rule as it is: all jobs depend on it."""
    output:
        "<results>/<branch>config/{step}.{part}.json",
    log:
        "<results>/<branch>logs/config/{step}.{part}.log",
    localrule: True
    conda:
        ENVIRONMENT
    params:
        settings=lambda wc: json.dumps(settings_for(wc.step, wc.part, wc), sort_keys=True),
    shell:
        "printf '%s' {params.settings:q} > {output:q}"


rule simulate:
    """Simulate the events of a shard with Geant4."""
    input:
        generated=lambda wc: [*map(outside, generated_files(wc))],
        settings="<results>/<branch>config/simulate.infer.json",
    output:
        "<results>/<branch>steps/{sample}/{shard}.h5",
    log:
        "<results>/<branch>logs/simulate/{sample}/{shard}.log",
    benchmark:
        "<results>/<branch>benchmarks/simulate/{sample}/{shard}.tsv"
    conda:
        ENVIRONMENT
    threads: 1
    resources:
        mem_mb=1500,
        runtime=60,
    params:
        num_events=lambda wc: option_of("--num-events", shard_of(wc).num_events),
        seed=lambda wc: shard_of(wc).seed,
        generator=lambda wc: option_of("--generator", shard_of(wc).generator),
        share=lambda wc: option_of("--share", share_of(wc)),
    shell:
        """
        lartpc simulate --config {input.settings:q} {params.num_events:q} --seed {params.seed:q} \
            {params.generator:q} {params.share:q} --log {log:q}.geant4 --out {output:q} 2>{log:q}
        """


rule ingest:
    """Turn the steps of a shard, of one or several files, into voxels, with truth labels."""
    input:
        sources=lambda wc: sources_of(wc),
        # By what it says, as the weights.
        choice=lambda wc: [ancient(outside(path)) for path in lists_of_events(shard_of(wc))],
        settings="<results>/<branch>config/ingest.infer.json",
    output:
        "<results>/<branch>events/ingest/{sample}/{shard}.h5",
    log:
        "<results>/<branch>logs/ingest/{sample}/{shard}.log",
    benchmark:
        "<results>/<branch>benchmarks/ingest/{sample}/{shard}.tsv"
    conda:
        ENVIRONMENT
    threads: 1
    # Here a job goes on with the stages that follow, and needs what they need.
    resources:
        mem_mb=4000,
        runtime=60,
    params:
        version=INGEST_VERSION,
        digest=lambda wc: digests_of_sources(wc),
        sources=lambda wc, input: paths_of_sources(wc, input.sources),
        choice=lambda wc, input: choice_of(shard_of(wc)) + origins_of(wc, input.sources),
        # points of wire planes wait for their images
        chain=lambda wc, output: NO_PLAN if MAKES_POINTS else PLAN,
    shell:
        """
        lartpc ingest --config {input.settings:q} --uid {wildcards.sample}/{wildcards.shard} --chain {params.chain:q} \
            {params.choice:q} --out {output:q} -- {params.sources:q} 2>{log:q}
        """
