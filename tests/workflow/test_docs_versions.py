"""The documentation of each release beside that of the checkout, from the tags of a clone."""

import re
import shutil
import subprocess
import sys
from pathlib import Path

from checkout import REPOSITORY


def git(folder: Path, *words: str) -> None:
    name = ("-c", "user.name=somebody", "-c", "user.email=somebody@example.org")
    subprocess.run(["git", *name, *words], cwd=folder, check=True, capture_output=True)


def test_each_tag_has_its_site_and_links_to_the_others(tmp_path: Path) -> None:
    clone = tmp_path / "clone"
    (clone / "docs" / "how-to").mkdir(parents=True)
    (clone / "lartpc").mkdir()
    for name in ("conf.py", "versions.py"):
        shutil.copy(REPOSITORY / "docs" / name, clone / "docs" / name)
    shutil.copytree(REPOSITORY / "docs/_templates", clone / "docs/_templates")
    (clone / "docs" / "how-to" / "one.md").write_text("# One\n")
    git(clone, "init", "-q")
    for version in ("0.9", "0.10", "1.0-dev"):
        (clone / "lartpc/__init__.py").write_text(f'__version__ = "{version}"\n')
        (clone / "docs/index.md").write_text(
            f"# lartpc\n\nThese are the pages of {version}.\n\n```{{toctree}}\nhow-to/one\n```\n"
        )
        git(clone, "add", ".")
        git(clone, "commit", "-q", "-m", version)
        if not version.endswith("dev"):
            git(clone, "tag", f"v{version}")
    done = subprocess.run(
        [sys.executable, "docs/versions.py", "--out", str(tmp_path / "site")],
        cwd=clone,
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout.endswith("latest, v0.10, v0.9\n")
    for name, version in (("latest", "1.0-dev"), ("v0.10", "0.10"), ("v0.9", "0.9")):
        assert f"These are the pages of {version}." in (tmp_path / "site" / name / "index.html").read_text()
        deep = tmp_path / "site" / name / "how-to/one.html"
        links = re.findall(r'href="([^"]*/(?:latest|v[\d.]+)/index\.html)"', deep.read_text())
        assert [(deep.parent / link).resolve().parent.name for link in links] == ["latest", "v0.10", "v0.9"]
        assert all((deep.parent / link).is_file() for link in links)
    assert 'url=v0.10/index.html"' in (tmp_path / "site/index.html").read_text()
