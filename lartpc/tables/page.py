"""docs/reference/tables.md, from the definitions of the tables."""

from lartpc.tables.schema import SCHEMA_VERSION, TABLES


def render() -> str:
    """Return docs/reference/tables.md: every table and column."""
    lines = [
        "# Tables",
        "",
        f"Schema version {SCHEMA_VERSION}. Written by `lartpc.tables.render()`; a test keeps this page in sync.",
        "",
        "A row in a table is found by the columns of its key. An event is (`file_uid`, `entry`): run,",
        "subrun and event numbers repeat in simulation. Columns of the same name in two tables mean the same",
        'thing, so `particles.merge(interactions, on=["file_uid", "entry", "interaction_id"])` joins them.',
        "In tables of true objects a name without prefix is the truth; what is measured there, by the same code as",
        "of reconstructed objects but on true voxels, begins with `reco_`. Truth of the moment of creation says",
        "`initial`.",
        "Object numbers of -1 mean none; other unknown numbers are null, which is nan in pandas. Units and",
        "meanings are in each file, too:",
        '`pyarrow.dataset.dataset("particles").schema.field("energy_mev").metadata`.',
        "",
        "Muons with pandas, polars and duckdb (there with the topology of their interactions):",
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
