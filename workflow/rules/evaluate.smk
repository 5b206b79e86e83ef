# Figures of quality against the truth: of the chain, and of each stage on true input.


rule stage_on_truth:
    """Run a stage on the truth instead of the output of the stages before it, and compare with the truth."""
    input:
        events=lambda wc: events_of(["ingest"], wc),
        settings="<results>/<branch>config/{stage}.infer.json",
        measuring="<results>/<branch>config/summarize.infer.json",
        weights=lambda wc: weights(wc.stage, wc),
    output:
        events="<results>/<branch>on_truth/{stage}/{sample}/{shard}.h5",
        metrics="<results>/<branch>metrics/{stage}_on_truth/{sample}/{shard}.parquet",
    log:
        "<results>/<branch>logs/on_truth/{stage}/{sample}/{shard}.log",
    benchmark:
        "<results>/<branch>benchmarks/on_truth/{stage}/{sample}/{shard}.tsv"
    conda:
        ENVIRONMENT
    threads: 1
    resources:
        mem_mb=4000,
        runtime=60,
    params:
        version=lambda wc: f"{STAGES[wc.stage].version}, {EVALUATE_VERSION}",
        digest=lambda wc: digest_of_weights(wc.stage, wc),
        weights=lambda wc, input: option("weights", input.get("weights", [])),
        chain=lambda wc, output: PLAN,
    shell:
        """
        lartpc infer {wildcards.stage} {input.events:q} --on-truth --config {input.settings:q} \
            {params.weights:q} --chain {params.chain:q} --out {output.events:q} 2>{log:q}
        lartpc evaluate {input.events:q} {output.events:q} --on-truth --config {input.measuring:q} \
            --chain {params.chain:q} --out {output.metrics:q} 2>>{log:q}
        """


rule evaluate_chain:
    """Compare what the chain made of a shard with its truth."""
    input:
        events=lambda wc: events_of(["ingest", *RUN], wc),
        settings="<results>/<branch>config/summarize.infer.json",
    output:
        "<results>/<branch>metrics/chain/{sample}/{shard}.parquet",
    log:
        "<results>/<branch>logs/evaluate/{sample}/{shard}.log",
    benchmark:
        "<results>/<branch>benchmarks/evaluate_chain/{sample}/{shard}.tsv"
    conda:
        ENVIRONMENT
    threads: 1
    resources:
        mem_mb=3000,
        runtime=60,
    params:
        version=EVALUATE_VERSION,
        chain=lambda wc, output: PLAN,
    shell:
        """
        lartpc evaluate {input.events:q} --config {input.settings:q} --chain {params.chain:q} --out {output:q} 2>{log:q}
        """
