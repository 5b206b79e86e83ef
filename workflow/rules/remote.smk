# Files on servers: each job has those of its shard fetched by Snakemake's storage plugins, and removed after it.


rule fetch:
    """Fetch the files of a shard from their servers; they are removed when they are ingested."""
    output:
        temp(directory("<results>/fetched/{sample}/{shard}")),
    log:
        "<results>/logs/fetch/{sample}/{shard}.log",
    retries: 1
    threads: 1
    resources:
        mem_mb=1000,
        runtime=120,
    params:
        files=lambda wc: [str(file) for file in shard_of(wc).remote],
    run:
        fetch_all(shard_of(wildcards).remote, output[0], log[0])
