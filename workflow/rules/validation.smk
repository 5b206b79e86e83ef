# The simulation against published values: `snakemake --profile profiles/local validate_simulation`.
# Nothing else needs it.


rule validate_simulation:
    """Measure ranges, dE/dx, Michel spectrum and showers of the simulation."""
    input:
        settings="<results>/config/simulate.infer.json",
    output:
        table="<results>/validation/validation.json",
        page=report("<results>/validation/validation.html", category="lartpc"),
    log:
        "<results>/logs/validate_simulation.log",
    benchmark:
        "<results>/benchmarks/validate_simulation.tsv"
    conda:
        ENVIRONMENT
    threads: 2
    resources:
        mem_mb=2000,
        runtime=60,
    params:
        folder=lambda wc, output: os.path.dirname(output.table),
    shell:
        """
        lartpc simulate validate --config {input.settings:q} --num-processes {threads} \
            --out {params.folder:q} 2>{log:q}
        """
