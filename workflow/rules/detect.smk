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
    """Look for neutrinos in all images of the test split."""
    input:
        [f"<results>/detect/{key}.h5" for key in keys("test")],
    localrule: True
