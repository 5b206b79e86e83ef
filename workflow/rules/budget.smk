# Where the chain loses, with the truth put in for one part at a time: `snakemake budget --config seed=7`.
# Nothing else needs it.


rule measure_budget:
    """Run the stages after `segment` on a shard with the truth put in for one part at a time."""
    input:
        events=["<results>/events/ingest/{sample}/{shard}.h5", "<results>/events/segment/{sample}/{shard}.h5"],
        points="<results>/config/points.infer.json",
        cluster="<results>/config/cluster.infer.json",
        interact="<results>/config/interact.infer.json",
        cluster_weights=weights("cluster"),
        interact_weights=weights("interact"),
    output:
        "<results>/quality/budget/{sample}/{shard}.parquet",
    log:
        "<results>/logs/quality/budget/{sample}/{shard}.log",
    benchmark:
        "<results>/benchmarks/quality/budget/{sample}/{shard}.tsv"
    conda:
        ENVIRONMENT
    threads: 1
    resources:
        mem_mb=4000,
        runtime=120,
    params:
        version=", ".join(str(STAGES[name].version) for name in ("points", "cluster", "interact")),
        interact_weights=lambda wc, input: option("interact-weights", input.get("interact_weights", [])),
        digest=lambda wc: digest_of_weights("cluster") + digest_of_weights("interact"),
    shell:
        """
        lartpc quality measure {input.events:q} --points {input.points:q} --cluster {input.cluster:q} \
            --interact {input.interact:q} --cluster-weights {input.cluster_weights:q} {params.interact_weights:q} \
            --out {output:q} 2>{log:q}
        """


rule budget:
    """Pool the figures of the test events into the table of what the truth in each part brings."""
    input:
        collect("<results>/quality/budget/{key}.parquet", key=keys("test")),
    output:
        report("<results>/quality/budget.md", category="lartpc"),
    log:
        "<results>/logs/quality/budget.log",
    conda:
        ENVIRONMENT
    threads: 1
    resources:
        mem_mb=2000,
        runtime=30,
    shell:
        "lartpc quality budget {input:q} --out {output:q} 2>{log:q}"
