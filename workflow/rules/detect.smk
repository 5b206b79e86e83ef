# Boxes of neutrino interactions, and the origin of each voxel: `snakemake detections`. Nothing else needs it.


use rule segment as detect with:
    input:
        events=lambda wc: images_of(["ingest"], wc) if MAKES_POINTS else events_of(["ingest"], wc),
        settings="<results>/<branch>config/detect.infer.json",
        weights=lambda wc: weights("detect", wc),
    output:
        "<results>/<branch>detect/{sample}/{shard}.h5",
    log:
        "<results>/<branch>logs/detect/{sample}/{shard}.log",
    benchmark:
        "<results>/<branch>benchmarks/detect/{sample}/{shard}.tsv"
    params:
        stage="detect",
        version=STAGES["detect"].version,
        digest=lambda wc: digest_of_weights("detect", wc),
        weights=lambda wc, input: option("weights", input.get("weights", [])),
        chain=NO_PLAN,


rule detections:
    """Compare boxes and origins in all images of the test split with the truth, and with the chain's interactions."""
    input:
        events=lambda wc: [
            path.format(sample=SHARDS[key].sample, shard=SHARDS[key].name)
            for key in keys("test")
            for path in [
                *(images_of(["ingest"]) if MAKES_POINTS else events_of(["ingest"])),
                "<results>/detect/{sample}/{shard}.h5",
            ]
        ],
        chain=lambda wc: [
            path.format(sample=SHARDS[key].sample, shard=SHARDS[key].name)
            for key in (keys("test") if MAKES_POINTS else [])
            for path in events_of(["ingest", *RUN])
        ],
    output:
        page=report("<results>/quality/detections.md", category="lartpc"),
        curve=report("<results>/quality/detections.png", category="lartpc"),
    log:
        "<results>/logs/quality/detections.log",
    conda:
        ENVIRONMENT
    threads: 1
    resources:
        mem_mb=4000,
        runtime=60,
    params:
        version=f"{STAGES['detect'].version}, {EVALUATE_VERSION}",
        chain=lambda wc, input: option("chain", input.get("chain", [])),
    shell:
        "lartpc detections {input.events:q} {params.chain:q} --curve {output.curve:q} --out {output.page:q} 2>{log:q}"
