"""The site of these pages for each release and for the checkout: `make docs-versions`.

Each tag `v…` is built from its own pages and its own package, with the configuration of today, into a folder;
the checkout goes to `latest`. Each page links to all of them, and the first page is that of the newest release.
"""

import argparse
import json
import os
import subprocess
import sys
import tempfile
from pathlib import Path

LATEST = "latest"
HERE = Path(__file__).resolve().parent


def tags(repository: Path) -> list[str]:
    """Return the tags of releases, the newest first."""
    command = ["git", "-C", str(repository), "tag", "--list", "v[0-9]*", "--sort=-version:refname"]
    return subprocess.run(command, capture_output=True, text=True, check=True).stdout.split()


def build(source: Path, out: Path, name: str, names: list[str]) -> None:
    """Build the pages of a checkout, with links to the sites of all names beside it."""
    environment = os.environ | {
        "PYTHONPATH": str(source),
        "LARTPC_DOCS_VERSIONS": json.dumps({"shown": name, "all": names}),
    }
    # warnings are errors where they can be mended, which is not in a release
    strict = ["--fail-on-warning", "--keep-going"] if name == LATEST else []
    command = [sys.executable, "-m", "sphinx", *strict, "--quiet", "-c", str(HERE)]
    subprocess.run([*command, str(source / "docs"), str(out / name)], env=environment, check=True)


def main() -> None:
    """Build all of them."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--out", type=Path, default=Path("build/versions"))
    out = parser.parse_args().out
    repository = HERE.parent
    releases = tags(repository)
    names = [LATEST, *releases]
    build(repository, out, LATEST, names)
    for name in releases:
        with tempfile.TemporaryDirectory() as folder:
            archive = subprocess.run(
                ["git", "-C", str(repository), "archive", name], capture_output=True, check=True
            )
            subprocess.run(["tar", "-x", "-C", folder], input=archive.stdout, check=True)
            build(Path(folder), out, name, names)
    first = names[1] if releases else LATEST
    (out / "index.html").write_text(
        f'<!doctype html><meta charset="utf-8"><title>lartpc</title>'
        f'<meta http-equiv="refresh" content="0; url={first}/index.html"><a href="{first}/index.html">{first}</a>\n'
    )
    sys.stdout.write(f"{out / 'index.html'}: {', '.join(names)}\n")


if __name__ == "__main__":
    main()
