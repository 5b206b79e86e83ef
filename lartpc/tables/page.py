"""docs/reference/tables.md, from the definitions of the tables."""

from lartpc.tables.schema import SCHEMA_VERSION, TABLES


def render() -> str:
    """Return docs/reference/tables.md: every table and column."""
    lines = [
        "# Tables",
        "",
        f"This page lists all tables of a production and their columns (schema version {SCHEMA_VERSION}). It is",
        "written by `lartpc.tables.render()`; a test keeps it in sync.",
        "",
        "- **Keys.** The key of a table identifies a row. An event is identified by (`file_uid`, `entry`), because",
        "  run, subrun and event numbers repeat in simulation. Columns with the same name in two tables mean the same",
        '  thing, so `particles.merge(interactions, on=["file_uid", "entry", "interaction_id"])` joins them.',
        "- **Truth.** In tables of true objects, columns without prefix are the truth. Columns that begin with `reco_`",
        "  are measured on true voxels, by the same code as for reconstructed objects. `initial` marks values",
        "  at creation.",
        "- **Missing values.** An object number of -1 means none; other unknown numbers are null, which is NaN in",
        "  pandas.",
        "- **Units** and meanings are also stored in each file:",
        '  `pyarrow.dataset.dataset("particles").schema.field("energy_mev").metadata`.',
        "",
        "Selecting muons with pandas, polars and duckdb (the last with the topology of their interactions):",
        "",
        "```",
        'pandas.read_parquet("results/dataset/particles").query("species == \'muon\'")',
        'polars.scan_parquet("results/dataset/particles").filter(polars.col("species") == "muon").collect()',
        'duckdb.sql("""SELECT topology, kinetic_energy_mev FROM \'results/dataset/particles/*.parquet\'',
        "    JOIN 'results/dataset/interactions/*.parquet' USING (file_uid, entry, interaction_id)",
        '    WHERE species = \'muon\'""")',
        "```",
    ]
    for name, table in TABLES.items():
        lines += ["", f"## {name}", "", f"One row: {table.row}. Key: {', '.join(table.key)}.", ""]
        lines += ["| column | type | unit | meaning |", "|---|---|---|---|"]
        for column, field in table.fields.items():
            meaning = field.description
            if field.words:
                meaning += f" ({', '.join(field.words)})"
            if field.refers_to:
                meaning += f" (in {field.refers_to})"
            kind = "word" if field.words else str(field.type)
            lines.append(f"| {column} | {kind} | {field.unit} | {meaning} |")
    return "\n".join(lines) + "\n"
