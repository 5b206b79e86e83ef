# Images of wire planes: they are segmented, and give the 3D points that are made of them their classes.


use rule ingest as ingest_images with:
    input:
        sources=lambda wc: [*map(outside, shard_of(wc).sources)]
        or [f"<results>/steps/{wc.sample}/{wc.shard}.h5"],
        choice=lambda wc: [ancient(outside(path)) for path in lists_of_events(shard_of(wc))],
        settings="<results>/config/images.infer.json",
    output:
        "<results>/planes/ingest/{sample}/{shard}.h5",
    log:
        "<results>/logs/planes/ingest/{sample}/{shard}.log",
    benchmark:
        "<results>/benchmarks/planes_ingest/{sample}/{shard}.tsv"
    params:
        version=INGEST_VERSION,
        digest=lambda wc: [digest_of_file(path) for path in lists_of_events(shard_of(wc))],
        sources=lambda wc, input: [plain(path) for path in input.sources],
        choice=lambda wc: choice_of(shard_of(wc)),
        chain=NO_PLAN,


use rule segment as segment_images with:
    input:
        events="<results>/planes/ingest/{sample}/{shard}.h5",
        settings="<results>/config/segment.infer.json",
        weights=weights("segment"),
    output:
        "<results>/planes/segment/{sample}/{shard}.h5",
    log:
        "<results>/logs/planes/segment/{sample}/{shard}.log",
    benchmark:
        "<results>/benchmarks/planes_segment/{sample}/{shard}.tsv"
    params:
        stage="segment",
        version=STAGES["segment"].version,
        digest=lambda wc: digest_of_weights("segment"),
        weights=lambda wc, input: option("weights", input.get("weights", [])),
        chain=NO_PLAN,


use rule segment as points_of_images with:
    input:
        events=[
            "<results>/planes/ingest/{sample}/{shard}.h5",
            "<results>/planes/segment/{sample}/{shard}.h5",
        ],
        settings="<results>/config/points.infer.json",
    output:
        "<results>/planes/points/{sample}/{shard}.h5",
    log:
        "<results>/logs/planes/points/{sample}/{shard}.log",
    benchmark:
        "<results>/benchmarks/planes_points/{sample}/{shard}.tsv"
    params:
        stage="points",
        version=STAGES["points"].version,
        digest="",
        weights=[],
        chain=NO_PLAN,


rule backproject:
    """Give the points the classes of the pixels that see them: what stands in the place of segment."""
    input:
        points="<results>/events/ingest/{sample}/{shard}.h5",
        images=[
            "<results>/planes/ingest/{sample}/{shard}.h5",
            "<results>/planes/segment/{sample}/{shard}.h5",
        ],
        settings="<results>/config/segment.infer.json",
    output:
        "<results>/events/segment/{sample}/{shard}.h5",
    log:
        "<results>/logs/backproject/{sample}/{shard}.log",
    benchmark:
        "<results>/benchmarks/backproject/{sample}/{shard}.tsv"
    threads: 1
    resources:
        mem_mb=4000,
        runtime=120,
    params:
        version=STAGES["segment"].version,
        images=lambda wc, input: option("images", input.images),
        chain=lambda wc, output: PLAN,
    shell:
        """
        lartpc backproject {input.points:q} {params.images:q} --config {input.settings:q} --chain {params.chain:q} \
            --out {output:q} 2>{log:q}
        """


ruleorder: backproject > segment


rule evaluate_images:
    """Compare the classes and points of the images of a shard with the truth that each plane sees."""
    input:
        events=collect(
            "<results>/planes/{step}/{{sample}}/{{shard}}.h5", step=["ingest", "segment", "points"]
        ),
        settings="<results>/config/summarize.infer.json",
    output:
        "<results>/metrics/planes/{sample}/{shard}.parquet",
    log:
        "<results>/logs/evaluate_images/{sample}/{shard}.log",
    threads: 1
    resources:
        mem_mb=3000,
        runtime=60,
    params:
        version=EVALUATE_VERSION,
    shell:
        "lartpc evaluate {input.events:q} --planes --config {input.settings:q} --out {output:q} 2>{log:q}"
