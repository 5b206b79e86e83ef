# Images of wire planes: they are segmented, and give the 3D points that are made of them their classes.


use rule ingest as ingest_images with:
    input:
        sources=lambda wc: sources_of(wc),
        choice=lambda wc: [ancient(outside(path)) for path in lists_of_events(shard_of(wc))],
        settings="<results>/<branch>config/ingest.images.json",
    output:
        "<results>/<branch>planes/ingest/{sample}/{shard}.h5",
    log:
        "<results>/<branch>logs/planes/ingest/{sample}/{shard}.log",
    benchmark:
        "<results>/<branch>benchmarks/planes_ingest/{sample}/{shard}.tsv"
    params:
        version=INGEST_VERSION,
        digest=lambda wc: digests_of_sources(wc),
        sources=lambda wc, input: paths_of_sources(wc, input.sources),
        choice=lambda wc, input: choice_of(shard_of(wc)) + origins_of(wc, input.sources),
        chain=NO_PLAN,


use rule segment as segment_images with:
    input:
        events=lambda wc: images_of(["ingest"], wc),
        settings="<results>/<branch>config/segment.infer.json",
        weights=lambda wc: weights("segment", wc),
    output:
        "<results>/<branch>planes/segment/{sample}/{shard}.h5",
    log:
        "<results>/<branch>logs/planes/segment/{sample}/{shard}.log",
    benchmark:
        "<results>/<branch>benchmarks/planes_segment/{sample}/{shard}.tsv"
    params:
        stage="segment",
        version=STAGES["segment"].version,
        digest=lambda wc: digest_of_weights("segment", wc),
        weights=lambda wc, input: option("weights", input.get("weights", [])),
        chain=NO_PLAN,


use rule segment as points_of_images with:
    input:
        events=lambda wc: images_of(["ingest", "segment"], wc),
        settings="<results>/<branch>config/points.infer.json",
    output:
        "<results>/<branch>planes/points/{sample}/{shard}.h5",
    log:
        "<results>/<branch>logs/planes/points/{sample}/{shard}.log",
    benchmark:
        "<results>/<branch>benchmarks/planes_points/{sample}/{shard}.tsv"
    params:
        stage="points",
        version=STAGES["points"].version,
        digest="",
        weights=[],
        chain=NO_PLAN,


rule backproject:
    """Give the points the classes of the pixels that see them: what stands in the place of segment."""
    input:
        points=lambda wc: events_of(["ingest"], wc),
        images=lambda wc: images_of(["ingest", "segment"], wc),
        settings="<results>/<branch>config/segment.infer.json",
        ghosts=ghost_weights,
    output:
        "<results>/<branch>events/segment/{sample}/{shard}.h5",
    log:
        "<results>/<branch>logs/backproject/{sample}/{shard}.log",
    benchmark:
        "<results>/<branch>benchmarks/backproject/{sample}/{shard}.tsv"
    conda:
        ENVIRONMENT
    threads: 1
    resources:
        mem_mb=4000,
        runtime=120,
    params:
        version=STAGES["segment"].version,
        images=lambda wc, input: option("images", input.images),
        ghosts=lambda wc, input: option("ghosts", input.ghosts),
        digest=lambda wc: [digest_of_file(path) for path in ghost_weights(wc)],
        chain=lambda wc, output: PLAN,
    shell:
        """
        lartpc backproject {input.points:q} {params.images:q} {params.ghosts:q} --config {input.settings:q} --chain {params.chain:q} \
            --out {output:q} 2>{log:q}
        """


ruleorder: backproject > segment


rule evaluate_images:
    """Compare the classes and points of the images of a shard with the truth that each plane sees."""
    input:
        events=lambda wc: images_of(["ingest", "segment", "points"], wc),
        settings="<results>/<branch>config/summarize.infer.json",
    output:
        "<results>/<branch>metrics/planes/{sample}/{shard}.parquet",
    log:
        "<results>/<branch>logs/evaluate_images/{sample}/{shard}.log",
    conda:
        ENVIRONMENT
    threads: 1
    resources:
        mem_mb=3000,
        runtime=60,
    params:
        version=EVALUATE_VERSION,
    shell:
        "lartpc evaluate {input.events:q} --planes --config {input.settings:q} --out {output:q} 2>{log:q}"
