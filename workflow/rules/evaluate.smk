# Figures of quality against the truth: of the chain, and of each stage on true input.


rule stage_on_truth:
    """Run a stage on the truth instead of the output of the stages before it."""
    input:
        events="results/events/ingest/{sample}/{shard}.h5",
        settings="results/config/{stage}.infer.json",
        weights=lambda wc: weights(wc.stage),
    output:
        "results/on_truth/{stage}/{sample}/{shard}.h5",
    log:
        "results/logs/on_truth/{stage}/{sample}/{shard}.log",
    benchmark:
        "results/benchmarks/on_truth/{stage}/{sample}/{shard}.tsv"
    threads: 1
    resources:
        mem_mb=4000,
        runtime=60,
    params:
        version=lambda wc: STAGES[wc.stage].version,
    shell:
        """
        lartpc infer {wildcards.stage} {input.events} --on-truth --config {input.settings} \
            --weights {input.weights} --out {output} 2>{log}
        """


rule evaluate_chain:
    """Compare what the chain made of a shard with its truth."""
    input:
        collect("results/events/{step}/{{sample}}/{{shard}}.h5", step=["ingest", *STAGES]),
    output:
        "results/metrics/chain/{sample}/{shard}.parquet",
    log:
        "results/logs/evaluate/{sample}/{shard}.log",
    threads: 1
    resources:
        mem_mb=3000,
        runtime=60,
    params:
        version=EVALUATE_VERSION,
    shell:
        "lartpc evaluate {input} --out {output} 2> {log}"


rule evaluate_stage_on_truth:
    """Compare what one stage made of true input with the truth."""
    input:
        "results/events/ingest/{sample}/{shard}.h5",
        "results/on_truth/{stage}/{sample}/{shard}.h5",
    output:
        "results/metrics/{stage}_on_truth/{sample}/{shard}.parquet",
    log:
        "results/logs/evaluate_on_truth/{stage}/{sample}/{shard}.log",
    threads: 1
    resources:
        mem_mb=3000,
        runtime=60,
    params:
        version=EVALUATE_VERSION,
    shell:
        "lartpc evaluate {input} --on-truth --out {output} 2> {log}"
