# How files come from their servers, by Snakemake's storage plugins; for remote.smk.

import importlib.util
from dataclasses import asdict

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


def fetch_all(files, folder, said):
    """Copy files into a folder, and beside them where each came from; failed tries go to the file `said`."""
    origins = {name: file for file, name in zip(files, local_names(files))}
    with open(said, "w") as log:
        os.makedirs(folder)
        for name, file in origins.items():
            fetch(file, f"{folder}/{name}", log)
    Path(folder, "origins.json").write_text(
        json.dumps({name: asdict(file) for name, file in origins.items()})
    )


# Refused before the run, not after hours of it.
for scheme in {file.url.split("://")[0] for shard in SHARDS.values() for file in shard.remote} | {
    *filter(None, [CONFIG.publish.split("://")[0]])
}:
    plugin_of(f"{scheme}://")
