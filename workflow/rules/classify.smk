# The classes of one's own that `classify` gives images (classify.classes): `snakemake classes`. Nothing else needs it.


rule classes:
    """Compare the classes of all images of the test split with the truth."""
    input:
        events=lambda wc: [
            path.format(sample=SHARDS[key].sample, shard=SHARDS[key].name)
            for key in keys("test")
            for path in events_of(["ingest", "classify"])
        ],
    output:
        report("<results>/quality/classes.md", category="lartpc"),
    log:
        "<results>/logs/quality/classes.log",
    conda:
        ENVIRONMENT
    threads: 1
    resources:
        mem_mb=2000,
        runtime=30,
    params:
        version=f"{STAGES['classify'].version}, {EVALUATE_VERSION}",
    shell:
        "lartpc classes {input.events:q} --out {output:q} 2>{log:q}"
