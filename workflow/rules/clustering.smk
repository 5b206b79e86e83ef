# The clustering class by class, with its baselines: `snakemake clustering_quality --config seed=7`.
# Nothing else needs it.


rule measure_clustering:
    """Group the fragments of a shard by the network and by simpler ways, on predicted input."""
    input:
        events=events_before("cluster"),
        settings="<results>/config/cluster.infer.json",
        weights=weights("cluster"),
    output:
        "<results>/quality/clustering/predicted/{sample}/{shard}.parquet",
    log:
        "<results>/logs/quality/clustering/predicted/{sample}/{shard}.log",
    benchmark:
        "<results>/benchmarks/quality/clustering/predicted/{sample}/{shard}.tsv"
    conda:
        ENVIRONMENT
    threads: 1
    resources:
        mem_mb=4000,
        runtime=60,
    params:
        version=f"{STAGES['cluster'].version}, {EVALUATE_VERSION}",
        digest=lambda wc: digest_of_weights("cluster"),
        weights=lambda wc, input: option("weights", input.weights),
        on_truth="",
    shell:
        """
        lartpc clustering measure {input.events:q} {params.on_truth:q} --config {input.settings:q} \
            {params.weights:q} --out {output:q} 2>{log:q}
        """


use rule measure_clustering as measure_clustering_on_truth with:
    input:
        events="<results>/events/ingest/{sample}/{shard}.h5",
        settings="<results>/config/cluster.infer.json",
        weights=weights("cluster"),
    output:
        "<results>/quality/clustering/truth/{sample}/{shard}.parquet",
    log:
        "<results>/logs/quality/clustering/truth/{sample}/{shard}.log",
    benchmark:
        "<results>/benchmarks/quality/clustering/truth/{sample}/{shard}.tsv"
    params:
        version=f"{STAGES['cluster'].version}, {EVALUATE_VERSION}",
        digest=lambda wc: digest_of_weights("cluster"),
        weights=lambda wc, input: option("weights", input.weights),
        on_truth="--on-truth",


rule clustering_quality:
    """Pool the figures of the test events into one table."""
    input:
        collect(
            "<results>/quality/clustering/{given}/{key}.parquet",
            given=["truth", "predicted"],
            key=keys("test"),
        ),
    output:
        report("<results>/quality/clustering.md", category="lartpc"),
    log:
        "<results>/logs/quality/clustering.log",
    conda:
        ENVIRONMENT
    threads: 1
    resources:
        mem_mb=2000,
        runtime=30,
    shell:
        "lartpc clustering table {input:q} --out {output:q} 2>{log:q}"
