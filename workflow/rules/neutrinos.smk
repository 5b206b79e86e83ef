# Neutrinos beside their generator's record: `snakemake neutrino_quality --configfile config/neutrinos.yaml`.
# Nothing else needs it.


rule neutrino_quality:
    """Compare the neutrinos of all test events with what was made of them, in one table."""
    input:
        "<results>/dataset",
    output:
        report("<results>/quality/neutrinos.md", category="lartpc"),
    log:
        "<results>/logs/quality/neutrinos.log",
    conda:
        ENVIRONMENT
    threads: 1
    resources:
        mem_mb=4000,
        runtime=30,
    params:
        version=f"{TABLES_VERSION}, {EVALUATE_VERSION}",
    shell:
        "lartpc neutrinos {input:q} --out {output:q} 2>{log:q}"
