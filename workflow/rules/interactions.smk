# Interactions by the network and by rules, side by side: `snakemake interaction_quality --config seed=7`.
# Nothing else needs it.

WAYS = ("graph", "rules")


rule settings_of_way:
    """Write the settings of interact for one way from particles to interactions."""
    output:
        "<results>/config/interact.{way}.json",
    log:
        "<results>/logs/config/interact.{way}.log",
    wildcard_constraints:
        way="|".join(WAYS),
    localrule: True
    conda:
        ENVIRONMENT
    params:
        settings=lambda wc: settings_of_way(wc.way),
    shell:
        "printf '%s' {params.settings:q} > {output:q}"


rule measure_interactions:
    """Find the interactions of a shard in one way, on predicted input, and compare them with the truth."""
    input:
        events=[path for path in events_before("interact")],
        settings="<results>/config/interact.{way}.json",
        measuring="<results>/config/summarize.infer.json",
        weights=lambda wc: weights_of("interact") if wc.way == "graph" else [],
    output:
        events=temp("<results>/quality/interactions/{way}/predicted/{sample}/{shard}.h5"),
        metrics="<results>/quality/interactions/{way}/predicted/{sample}/{shard}.parquet",
    log:
        "<results>/logs/quality/interactions/{way}/predicted/{sample}/{shard}.log",
    benchmark:
        "<results>/benchmarks/quality/interactions/{way}/predicted/{sample}/{shard}.tsv"
    wildcard_constraints:
        way="|".join(WAYS),
    conda:
        ENVIRONMENT
    threads: 1
    resources:
        mem_mb=4000,
        runtime=60,
    params:
        version=f"{STAGES['interact'].version}, {EVALUATE_VERSION}",
        digest=lambda wc: digest_of_weights("interact") if wc.way == "graph" else "",
        weights=lambda wc, input: option("weights", input.get("weights", [])),
        on_truth="",
    shell:
        """
        lartpc infer interact {input.events:q} {params.on_truth:q} --config {input.settings:q} {params.weights:q} \
            --out {output.events:q} 2>{log:q}
        lartpc evaluate {input.events:q} {output.events:q} {params.on_truth:q} --config {input.measuring:q} \
            --out {output.metrics:q} 2>>{log:q}
        """


use rule measure_interactions as measure_interactions_on_truth with:
    input:
        events="<results>/events/ingest/{sample}/{shard}.h5",
        settings="<results>/config/interact.{way}.json",
        measuring="<results>/config/summarize.infer.json",
        weights=lambda wc: weights_of("interact") if wc.way == "graph" else [],
    output:
        events=temp("<results>/quality/interactions/{way}/truth/{sample}/{shard}.h5"),
        metrics="<results>/quality/interactions/{way}/truth/{sample}/{shard}.parquet",
    log:
        "<results>/logs/quality/interactions/{way}/truth/{sample}/{shard}.log",
    benchmark:
        "<results>/benchmarks/quality/interactions/{way}/truth/{sample}/{shard}.tsv"
    params:
        version=f"{STAGES['interact'].version}, {EVALUATE_VERSION}",
        digest=lambda wc: digest_of_weights("interact") if wc.way == "graph" else "",
        weights=lambda wc, input: option("weights", input.get("weights", [])),
        on_truth="--on-truth",


rule interaction_quality:
    """Pool the figures of the test events into one table."""
    input:
        **{
            way: collect(
                f"<results>/quality/interactions/{way}/{{given}}/{{key}}.parquet",
                given=["truth", "predicted"],
                key=keys("test"),
            )
            for way in WAYS
        },
    output:
        report("<results>/quality/interactions.md", category="lartpc"),
    log:
        "<results>/logs/quality/interactions.log",
    conda:
        ENVIRONMENT
    threads: 1
    resources:
        mem_mb=2000,
        runtime=30,
    params:
        graph=lambda wc, input: option("graph", input.graph),
        rules=lambda wc, input: option("rules", input.rules),
    shell:
        "lartpc interactions {params.graph:q} {params.rules:q} --out {output:q} 2>{log:q}"
