"""`lartpc reconstruct`: the whole chain on some files, through the workflow, without writing a sample sheet.

What was asked for is kept beside the results, as a sample sheet and a configuration of the workflow.
"""

import json
import os
import subprocess
import sys
from collections.abc import Mapping, Sequence
from importlib.util import find_spec
from pathlib import Path

import lartpc
from lartpc import owner
from lartpc.atomic import make_folder, write_each
from lartpc.choice import asked_for
from lartpc.config import SECTIONS
from lartpc.paths import at_home, named_by, usable
from lartpc.plan import CHOICE, COLUMNS
from lartpc.remote import is_url
from lartpc.stages import CHAIN, OPTIONAL

SAMPLE = "given"
"""Name of the sample of the files, where none is asked for."""


def reconstruct(
    files: Sequence[str],
    out: Path,
    *,
    sample: str = SAMPLE,
    detector: str | None = None,
    weights: Sequence[str] = (),
    has_truth: bool = False,
    events: str = "",
    settings: Sequence[Path] = (),
    profile: str = "local",
    workflow: Path | None = None,
    options: Sequence[str] = (),
    said_to: int | None = None,
) -> int:
    """Run the workflow on files and return the exit status of Snakemake.

    The same call goes on where an earlier one stopped, and does again what other files or settings ask for.

    Parameters
    ----------
    files
        Paths or patterns of files of any format that is read; each file is a shard.
    out
        Folder of the results.
    sample
        Name of the sample in the tables.
    detector
        Setting `ingest.detector`; None: that of the settings.
    weights
        `STAGE=FILE`, or a folder with files `STAGE.pt`; stages that are not named take the released ones.
    has_truth
        Compare with the truth that the files hold.
    events
        Which events of each file, see `lartpc.choice`; all where nothing is asked for.
    settings
        Configurations (YAML) whose settings are taken; their samples and their results are not.
    profile
        Name of a profile beside the workflow, or a path of one.
    workflow
        Folder of the Snakefile; None: the clone that this package was installed from, or the working folder.
    options
        Further words for Snakemake.
    said_to
        File descriptor that Snakemake prints to; None: standard output.

    Raises
    ------
    ValueError
        A file does not exist, weights are of no stage, or there is no workflow; the message says what to do.
    """
    found = matching(files)
    if absent := [path for path in settings if not path.is_file()]:
        raise ValueError(f"the settings {absent[0]} do not exist; name a file (YAML) with --config")
    home = workflow_folder(workflow)
    if find_spec("snakemake") is None:
        raise ValueError('needs snakemake, which is not installed: pip install "lartpc[workflow]"')
    known = home / "profiles" / profile
    asked = out / "asked"
    make_folder(asked)
    split = "test" if has_truth else "reconstruct"
    row = {"sample": sample, "split": split, "source": f"@{asked / 'files.txt'}"}
    row |= {CHOICE: events} if asked_for(events) else {}
    columns = (*COLUMNS, *row.keys() - set(COLUMNS))
    lines = (columns, [row.get(name, "-") for name in columns])
    values: dict[str, object] = {"samples": [str(asked / "samples.tsv")], "results": usable(str(out))}
    if detector:
        values["ingest"] = {"detector": detector}
    values |= {stage: _with(stage, path) for stage, path in chosen_weights(weights).items()}
    texts = {
        "files.txt": "".join(f"{path}\n" for path in found),
        "samples.tsv": "".join("\t".join(line) + "\n" for line in lines),
        "config.yaml": json.dumps(values, indent=1) + "\n",  # JSON is YAML, too
    }
    # Those that say so already keep their time.
    write_each({asked / name: text for name, text in texts.items() if _text_of(asked / name) != text})
    command = [
        *(sys.executable, "-m", "snakemake", "--snakefile", str(home / "Snakefile")),
        *("--profile", str(known) if known.is_dir() else profile, "--quiet"),
        *(() if "--dry-run" in options else ("progress",)),
        *("rules", "host"),
        *("--configfile", *map(str, settings), str(asked / "config.yaml")),
        *logs_of_cluster(known if known.is_dir() else Path(profile), out),
        *options,
    ]
    owner.unlock(out)
    scripts = str(Path(sys.executable).parent)
    environment = {**os.environ, "PATH": os.pathsep.join([scripts, os.environ.get("PATH", os.defpath)])}
    return subprocess.run(command, env=environment, stdout=said_to, check=False).returncode


def logs_of_cluster(profile: Path, out: Path) -> list[str]:
    """Return the words that put SLURM's own output beside the results, where the profile names a place for it."""
    path = profile / "profile.yaml"
    places = path.is_file() and "\nslurm-logdir:" in path.read_text()
    return ["--slurm-logdir", str(out / "logs" / "slurm")] if places else []


def matching(files: Sequence[str]) -> list[str]:
    """Return the files that paths and patterns name, each once, as absolute paths.

    Raises
    ------
    ValueError
        One names none, or a folder.
    """
    found: dict[str, None] = {}
    for name in files:
        if not name:
            raise ValueError("a name of a file is empty (a variable that is not set?)")
        if is_url(name):
            found.setdefault(usable(name))
            continue
        paths = [name] if Path(name).exists() else named_by(name)
        if not paths:
            raise ValueError(f"{name} does not exist; name files of events, or a pattern of them in quotes")
        for path in paths:
            if Path(path).is_dir():
                raise ValueError(
                    f"{path} is a folder; name the files in it, such as '{path.rstrip('/')}/*.h5'"
                )
            found.setdefault(usable(str(Path(path).absolute())))
    return list(found)


def workflow_folder(given: Path | None) -> Path:
    """Return the folder of the Snakefile of the workflow, or raise ValueError where there is none."""
    checkout = Path(lartpc.__file__).absolute().parents[1]
    for folder in [given] if given else [checkout, Path.cwd()]:
        if (folder / "Snakefile").is_file() and (folder / "workflow/rules/stages.smk").is_file():
            return folder.absolute()
    raise ValueError(
        f"{given or checkout} has no workflow (a Snakefile and workflow/); name a clone of lartpc with --workflow"
    )


def chosen_weights(words: Sequence[str]) -> Mapping[str, str]:
    """Return the weights of stages from `STAGE=FILE` and folders with files `STAGE.pt`.

    Raises
    ------
    ValueError
        A word is neither, or a file does not exist.
    """
    learned = [row.name for row in (*CHAIN, *OPTIONAL) if row.learned]
    found: dict[str, str] = {}
    for word in words:
        stage, _, path = word.partition("=")
        if stage in learned and path:
            found[stage] = at_home(path)  # no shell does so behind a sign
        elif Path(word).is_dir() and (there := {name: Path(word) / f"{name}.pt" for name in learned}):
            there = {name: file for name, file in there.items() if file.is_file()}
            if not there:
                raise ValueError(f"{word} has none of {', '.join(f'{name}.pt' for name in learned)}")
            found |= {name: str(file) for name, file in there.items()}
        else:
            raise ValueError(
                f"weights '{word}' are neither STAGE=FILE, with a stage of {', '.join(learned)}, nor a folder with "
                "files STAGE.pt"
            )
    for stage, path in found.items():
        if not Path(path).is_file():
            raise ValueError(f"weights {path} of {stage} do not exist")
    return {stage: str(Path(path).absolute()) for stage, path in found.items()}


def _with(stage: str, path: str) -> dict[str, object]:
    """Return the settings of a stage with these weights; one beside the chain is run because it has them."""
    return {"weights": path} | ({"enabled": True} if "enabled" in SECTIONS[stage].model_fields else {})


def _text_of(path: Path) -> str | None:
    return path.read_text() if path.is_file() else None
