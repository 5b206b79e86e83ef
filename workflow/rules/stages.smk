# The stages of the reconstruction, one job per shard and stage.


rule segment:
    """Classify voxels and propose points (sparse U-ResNet and PPN)."""
    input:
        events=lambda wc: events_before("segment", wc),
        settings="<results>/<branch>config/segment.infer.json",
        weights=lambda wc: weights("segment", wc),
    output:
        "<results>/<branch>events/segment/{sample}/{shard}.h5",
    log:
        "<results>/<branch>logs/segment/{sample}/{shard}.log",
    benchmark:
        "<results>/<branch>benchmarks/segment/{sample}/{shard}.tsv"
    conda:
        ENVIRONMENT
    threads: 1
    resources:
        mem_mb=4000,
        runtime=120,
    params:
        stage="segment",
        version=STAGES["segment"].version,
        digest=lambda wc: digest_of_weights("segment", wc),
        weights=lambda wc, input: option("weights", input.get("weights", [])),
        chain=lambda wc, output: PLAN,
    shell:
        """
        lartpc infer {params.stage:q} {input.events:q} --config {input.settings:q} {params.weights:q} \
            --chain {params.chain:q} --out {output:q} 2>{log:q}
        """


use rule segment as points with:
    input:
        events=lambda wc: events_before("points", wc),
        settings="<results>/<branch>config/points.infer.json",
    output:
        "<results>/<branch>events/points/{sample}/{shard}.h5",
    log:
        "<results>/<branch>logs/points/{sample}/{shard}.log",
    benchmark:
        "<results>/<branch>benchmarks/points/{sample}/{shard}.tsv"
    params:
        stage="points",
        version=STAGES["points"].version,
        digest="",
        weights=[],
        chain=lambda wc, output: PLAN,


use rule segment as cluster with:
    input:
        events=lambda wc: events_before("cluster", wc),
        settings="<results>/<branch>config/cluster.infer.json",
        weights=lambda wc: weights("cluster", wc),
    output:
        "<results>/<branch>events/cluster/{sample}/{shard}.h5",
    log:
        "<results>/<branch>logs/cluster/{sample}/{shard}.log",
    benchmark:
        "<results>/<branch>benchmarks/cluster/{sample}/{shard}.tsv"
    params:
        stage="cluster",
        version=STAGES["cluster"].version,
        digest=lambda wc: digest_of_weights("cluster", wc),
        weights=lambda wc, input: option("weights", input.get("weights", [])),
        chain=lambda wc, output: PLAN,


use rule segment as interact with:
    input:
        events=lambda wc: events_before("interact", wc),
        settings="<results>/<branch>config/interact.infer.json",
        weights=lambda wc: weights("interact", wc),
    output:
        "<results>/<branch>events/interact/{sample}/{shard}.h5",
    log:
        "<results>/<branch>logs/interact/{sample}/{shard}.log",
    benchmark:
        "<results>/<branch>benchmarks/interact/{sample}/{shard}.tsv"
    params:
        stage="interact",
        version=STAGES["interact"].version,
        digest=lambda wc: digest_of_weights("interact", wc),
        weights=lambda wc, input: option("weights", input.get("weights", [])),
        chain=lambda wc, output: PLAN,


use rule segment as classify with:
    input:
        events=lambda wc: events_before("classify", wc),
        settings="<results>/<branch>config/classify.infer.json",
        weights=lambda wc: weights("classify", wc),
    output:
        "<results>/<branch>events/classify/{sample}/{shard}.h5",
    log:
        "<results>/<branch>logs/classify/{sample}/{shard}.log",
    benchmark:
        "<results>/<branch>benchmarks/classify/{sample}/{shard}.tsv"
    params:
        stage="classify",
        version=STAGES["classify"].version,
        digest=lambda wc: digest_of_weights("classify", wc),
        weights=lambda wc, input: option("weights", input.get("weights", [])),
        chain=lambda wc, output: PLAN,
