# lartpc: `snakemake` in this folder. The workflow is in workflow/, where its catalogue looks for it.


include: "workflow/Snakefile"


# What is included does not choose the target.
workflow.default_target = workflow.modifier.modify_rulename("all")
