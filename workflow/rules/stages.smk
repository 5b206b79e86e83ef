# The four stages of the reconstruction, one job per shard and stage.


rule segment:
    """Classify voxels and propose points (sparse U-ResNet and PPN)."""
    input:
        events=events_before("segment"),
        settings="<results>/config/segment.infer.json",
        weights=weights("segment"),
    output:
        "<results>/events/segment/{sample}/{shard}.h5",
    log:
        "<results>/logs/segment/{sample}/{shard}.log",
    benchmark:
        "<results>/benchmarks/segment/{sample}/{shard}.tsv"
    threads: 1
    resources:
        mem_mb=4000,
        runtime=120,
    params:
        stage="segment",
        version=STAGES["segment"].version,
        digest=lambda wc: digest_of_weights("segment"),
        weights=lambda wc, input: option("weights", input.get("weights", [])),
        chain=lambda wc, output: PLAN,
    shell:
        """
        lartpc infer {params.stage:q} {input.events:q} --config {input.settings:q} {params.weights:q} \
            --chain {params.chain:q} --out {output:q} 2>{log:q}
        """


use rule segment as points with:
    input:
        events=events_before("points"),
        settings="<results>/config/points.infer.json",
    output:
        "<results>/events/points/{sample}/{shard}.h5",
    log:
        "<results>/logs/points/{sample}/{shard}.log",
    benchmark:
        "<results>/benchmarks/points/{sample}/{shard}.tsv"
    params:
        stage="points",
        version=STAGES["points"].version,
        digest="",
        weights=[],
        chain=lambda wc, output: PLAN,


use rule segment as cluster with:
    input:
        events=events_before("cluster"),
        settings="<results>/config/cluster.infer.json",
        weights=weights("cluster"),
    output:
        "<results>/events/cluster/{sample}/{shard}.h5",
    log:
        "<results>/logs/cluster/{sample}/{shard}.log",
    benchmark:
        "<results>/benchmarks/cluster/{sample}/{shard}.tsv"
    params:
        stage="cluster",
        version=STAGES["cluster"].version,
        digest=lambda wc: digest_of_weights("cluster"),
        weights=lambda wc, input: option("weights", input.get("weights", [])),
        chain=lambda wc, output: PLAN,


use rule segment as interact with:
    input:
        events=events_before("interact"),
        settings="<results>/config/interact.infer.json",
        weights=weights("interact"),
    output:
        "<results>/events/interact/{sample}/{shard}.h5",
    log:
        "<results>/logs/interact/{sample}/{shard}.log",
    benchmark:
        "<results>/benchmarks/interact/{sample}/{shard}.tsv"
    params:
        stage="interact",
        version=STAGES["interact"].version,
        digest=lambda wc: digest_of_weights("interact"),
        weights=lambda wc, input: option("weights", input.get("weights", [])),
        chain=lambda wc, output: PLAN,
