# Files on servers: each job has those of its shard fetched by Snakemake's storage plugins, and removed after it.

import importlib.util

from lartpc.remote import RemoteFile, check_copy, local_names

PLUGINS = {
    "http": "http",
    "https": "http",
    "s3": "s3",
    "root": "xrootd",
    "roots": "xrootd",
    "xroot": "xrootd",
}
# Beside those of the plugins themselves.
TRIES = 2
WAIT_S = 5.0  # doubled after each try


def plugin_of(url):
    """Return the name of the storage plugin for a URL, or what it begins with; it must be installed."""
    name = PLUGINS[url.split("://")[0]]
    if importlib.util.find_spec(f"snakemake_storage_plugin_{name}") is None:
        raise WorkflowError(f'{url} needs the storage plugin of {name}: pip install "lartpc[remote]"')
    return name


def stored(url, path):
    """Return the object of a URL, which is copied to or from a path."""
    found = getattr(storage, plugin_of(url))(url).flags["storage_object"]
    found.set_local_path(Path(path))
    return found


def patiently(work, url, log):
    """Do work that a server may fail at, again after a while; its last error is raised."""
    for number in range(TRIES):
        try:
            return work()
        except Exception as error:
            causes = [str(part) for part in (error, *getattr(error, "args", ())[1:]) if str(part)]
            said = f"{url}, try {number + 1} of {TRIES}: {'; '.join(dict.fromkeys(causes))}"
            print(f"lartpc fetch: {said}", file=log, flush=True)
            if number == TRIES - 1:
                raise WorkflowError(said) from error
            time.sleep(WAIT_S * 2**number)


def fetch(file, path, log):
    """Copy a file from its server; the path appears when all of it is there, by its size and its checksum."""
    part = f"{path}.part"

    def work():
        one = stored(file.url, part)
        known = file if file.size is not None else RemoteFile(file.url, one.size(), file.checksum)
        one.retrieve_object()
        check_copy(Path(part), known)

    try:
        patiently(work, file.url, log)
        os.replace(part, path)
    finally:
        Path(part).unlink(missing_ok=True)


# Refused before the run, not after hours of it.
for scheme in {file.url.split("://")[0] for shard in SHARDS.values() for file in shard.remote}:
    plugin_of(f"{scheme}://")


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
        files = shard_of(wildcards).remote
        with open(log[0], "w") as said:
            os.makedirs(output[0])
            for file, name in zip(files, local_names(files)):
                fetch(file, f"{output[0]}/{name}", said)
        origins = {name: file.url for file, name in zip(files, local_names(files))}
        Path(output[0], "origins.json").write_text(json.dumps(origins))
