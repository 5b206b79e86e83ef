# How detector and physics are varied under the Michels (michels.smk).

VARIATIONS = {
    "recombination": {"ingest": {"response": {"recombination": "box"}}},
    "noise": {"ingest": {"response": {"noise_electrons": 500, "voxel_threshold_electrons": 2000}}},
    "lifetime": {"ingest": {"response": {"lifetime_us": 2200}}},
    "data_like": {
        "simulate": {"hadrons": "QGSP_BIC"},
        "ingest": {
            "response": {
                "recombination": "birks",
                "lifetime_us": 5000,
                "noise_electrons": 800,
                "voxel_threshold_electrons": 2000,
            }
        },
    },
}


def settings_of_variation(step, variation):
    """Return the settings of simulate or ingest with those of a variation in their place."""
    varied = VARIATIONS[variation].get(step, {})
    settings = CONFIG.slice_for(step, "infer")
    for name, value in varied.items():
        settings[name] = {**settings[name], **value} if isinstance(value, dict) else value
    return settings


def steps_of_variation(wildcards):
    """Return the steps of a shard: those of the production, or others where the simulation varies."""
    if "simulate" in VARIATIONS[wildcards.variation]:
        return f"<results>/michels/{wildcards.variation}/steps/{wildcards.sample}/{wildcards.shard}.h5"
    return f"<results>/steps/{wildcards.sample}/{wildcards.shard}.h5"


# Only what is simulated here can be simulated otherwise.
VARIED = [key for key in keys("test") if not SHARDS[key].sources and not SHARDS[key].generated]
