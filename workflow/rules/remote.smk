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


rule publish:
    """Copy the results to a server, once the audit has found nothing, and check them there."""
    input:
        "<results>/audit.json",
        "<results>/dataset",
        "<results>/report.html",
        "<results>/config/configuration.json",
    output:
        # It says what was published before, and what of that is to be removed.
        update("<results>/published.tsv"),
    log:
        "<results>/logs/publish.log",
    benchmark:
        "<results>/benchmarks/publish.tsv"
    conda:
        ENVIRONMENT
    threads: 1
    resources:
        mem_mb=1000,
        runtime=240,
    params:
        results=lambda wc: RESULTS,
        to=CONFIG.publish,
        events=["--with-events"] if CONFIG.publish_events else [],
    shell:
        "lartpc publish {params.results:q} {params.to:q} {params.events:q} --out {output:q} 2>{log:q}"
