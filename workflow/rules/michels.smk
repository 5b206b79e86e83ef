# Michels as a standard candle: `snakemake michel_validation`. The events of the test split are made again with other
# responses and another physics list, as data would differ from the simulation that the weights are trained on.


rule settings_of_variation:
    """Write the settings of simulate or ingest of one variation."""
    output:
        "<results>/config/{step}.{variation}.json",
    log:
        "<results>/logs/config/{step}.{variation}.log",
    wildcard_constraints:
        step="simulate|ingest",
        variation="|".join(VARIATIONS),
    localrule: True
    conda:
        ENVIRONMENT
    params:
        settings=lambda wc: json.dumps(settings_of_variation(wc.step, wc.variation), sort_keys=True),
    shell:
        "printf '%s' {params.settings:q} > {output:q}"


use rule simulate as simulate_variation with:
    input:
        generated=[],
        settings="<results>/config/simulate.{variation}.json",
    output:
        "<results>/michels/{variation}/steps/{sample}/{shard}.h5",
    log:
        "<results>/logs/michels/{variation}/simulate/{sample}/{shard}.log",
    benchmark:
        "<results>/benchmarks/michels/{variation}/simulate/{sample}/{shard}.tsv"
    conda:
        ENVIRONMENT


rule vary:
    """Run the chain on the events of a shard, varied, up to their tables."""
    input:
        steps=steps_of_variation,
        settings="<results>/config/ingest.{variation}.json",
        stages=collect("<results>/config/{step}.infer.json", step=[row.name for row in CHAIN] + ["summarize"]),
        weights=[path for row in CHAIN for path in weights(row.name)],
    output:
        ingested="<results>/michels/{variation}/ingest/{sample}/{shard}.h5",
        tables=directory("<results>/michels/{variation}/tables/{sample}/{shard}"),
        metrics="<results>/michels/{variation}/metrics/{sample}/{shard}.parquet",
        events=temp(directory("<results>/michels/{variation}/events/{sample}/{shard}")),
    log:
        "<results>/logs/michels/{variation}/{sample}/{shard}.log",
    wildcard_constraints:
        variation="|".join(VARIATIONS),
    conda:
        ENVIRONMENT
    threads: 1
    resources:
        mem_mb=4000,
        runtime=120,
    params:
        version=[INGEST_VERSION, *(row.version for row in CHAIN), TABLES_VERSION],
        chain=[row.name for row in CHAIN],
        weights=[f"{row.name}={path}" for row in CHAIN for path in weights(row.name)],
        config=lambda wc: f"{RESULTS}/config",
    shell:
        """
        exec 2>{log:q}
        mkdir -p {output.events:q}
        lartpc ingest --config {input.settings:q} --uid {wildcards.sample}/{wildcards.shard} \
            --out {output.ingested:q} -- {input.steps:q}
        files=({output.ingested:q})
        for stage in {params.chain:q}; do
            own=()
            for pair in {params.weights:q}; do
                if [ "${{pair%%=*}}" = $stage ]; then own=(--weights "${{pair#*=}}"); fi
            done
            lartpc infer $stage "${{files[@]}}" --config {params.config:q}/$stage.infer.json "${{own[@]}}" \
                --out {output.events:q}/$stage.h5
            files+=({output.events:q}/$stage.h5)
        done
        lartpc summarize "${{files[@]}}" --config {params.config:q}/summarize.infer.json \
            --metrics {output.metrics:q} --out {output.tables:q}
        """


rule collect_variation:
    """Join the tables of a variation."""
    input:
        tables=[f"<results>/michels/{{variation}}/tables/{key}" for key in VARIED],
        metrics=[f"<results>/michels/{{variation}}/metrics/{key}.parquet" for key in VARIED],
        ingested=[f"<results>/michels/{{variation}}/ingest/{key}.h5" for key in VARIED],
    output:
        directory("<results>/michels/{variation}/dataset"),
    log:
        "<results>/logs/michels/{variation}/collect.log",
    conda:
        ENVIRONMENT
    threads: 1
    resources:
        mem_mb=4000,
        runtime=60,
    params:
        metrics=lambda wc, input: option("metrics", listed(input.metrics)),
        ingested=lambda wc, input: option("ingested", listed(input.ingested)),
    shell:
        "lartpc collect {input.tables:q} {params.metrics:q} {params.ingested:q} --out {output:q} 2>{log:q}"


rule michel_validation:
    """Compare the Michels of the test events, and of their variations: table, spectra with their fits, figures."""
    input:
        dataset="<results>/dataset",
        variations=collect("<results>/michels/{variation}/dataset", variation=VARIATIONS),
    output:
        "<results>/michels/michels.md",
        "<results>/michels/michels.json",
        "<results>/michels/michels.png",
    log:
        "<results>/logs/michels/michels.log",
    conda:
        ENVIRONMENT
    params:
        datasets=lambda wc, input: [
            f"simulation={input.dataset}",
            *(f"{name}={path}" for name, path in zip(VARIATIONS, listed(input.variations))),
        ],
        out=lambda wc: f"{RESULTS}/michels",
    shell:
        "lartpc michels {params.datasets:q} --out {params.out:q} 2>{log:q}"
