"""What `lartpc doctor` asks of a cluster: the file system, SLURM, and ranks that SLURM starts."""

import fcntl
import json
import os
import re
import shlex
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

import h5py
import yaml

PROFILES = (Path("slurm/profile.yaml"), Path("profiles/slurm/profile.yaml"))
"""Where the profile of `snakemake --profile slurm` lies below the working directory."""

SHARED = re.compile(r"nfs|lustre|gpfs|beegfs|ceph|glusterfs|panfs|afs|cifs|smb|wekafs|pvfs|orangefs|9p")
"""File systems that several machines see."""

NEEDED_GB = 1.0
"""Free space below which not even a small production fits."""

POLLS = 3
"""The plugin trusts squeue where MinJobAge is this many polling intervals [s] or more."""

QUEUE_SECONDS = 60
"""How long ranks may wait for free nodes."""


class Finding(NamedTuple):
    """What was found; what is wrong with it; what could be better. Empty: nothing."""

    found: str
    problem: str = ""
    advice: str = ""


def file_system(folder: Path = Path()) -> Finding:
    """Write, lock and rename in a folder as the stages do, and say what of it fails."""
    kind = mounted_as(folder)
    free_gb = shutil.disk_usage(folder).free / 1e9
    shared = "shared" if SHARED.search(kind) else "of this machine"
    found = f"{folder.resolve()}: {kind} ({shared}), {free_gb:.0f} GB free"
    try:
        with tempfile.TemporaryDirectory(prefix=".lartpc-doctor-", dir=folder) as probe:
            problem, advice = _write_and_rename(Path(probe))
    except OSError as error:
        return Finding(found, f"cannot be written: {error}; run in another folder")
    if not problem and free_gb < NEEDED_GB:
        problem = f"less than {NEEDED_GB:.0f} GB free: make room, or run in another folder"
    return Finding(found, problem, advice)


def _write_and_rename(folder: Path) -> tuple[str, str]:
    """Return what fails and what could be better in a folder."""
    part, whole = folder / "file.h5.part", folder / "file.h5"
    try:
        for value in (1, 2):  # the second replaces the first
            with h5py.File(part, "w") as file:
                file["value"] = value
            with part.open("rb") as written:
                os.fsync(written.fileno())
            part.replace(whole)
        with h5py.File(whole) as file:
            if file["value"][()] != 2 or part.exists():
                return "a file that replaces another is not whole: not for results", ""
    except OSError as error:
        if "lock" in str(error):
            return f"HDF5 cannot lock files here ({error}): export HDF5_USE_FILE_LOCKING=FALSE", ""
        raise
    try:
        with (folder / "lock").open("w") as one, (folder / "lock").open("w") as other:
            fcntl.flock(one, fcntl.LOCK_EX | fcntl.LOCK_NB)
            try:
                fcntl.flock(other, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                return "", ""
            return "", "locks do not exclude each other: start one run at a time in this folder"
    except OSError as error:
        return "", f"no locks ({error}): start one run at a time in this folder"


def temporary_space() -> Finding:
    """Say where temporary files go, and whether that is a good place."""
    folder = Path(tempfile.gettempdir())
    kind = mounted_as(folder)
    free_gb = shutil.disk_usage(folder).free / 1e9
    found = f"{folder}: {kind}, {free_gb:.0f} GB free"
    if free_gb < NEEDED_GB:
        return Finding(found, f"less than {NEEDED_GB:.0f} GB free: set TMPDIR to a folder with more")
    if SHARED.search(kind):
        return Finding(found, advice="shared between machines: TMPDIR on a local disk is faster")
    if kind == "tmpfs":
        return Finding(found, advice="files here count as memory of a job: TMPDIR on a local disk costs none")
    return Finding(found)


def mounted_as(folder: Path) -> str:
    """Return the kind of the file system that a folder lies on, as /proc/self/mounts has it."""
    path = folder.resolve()
    kinds = {}
    for line in Path("/proc/self/mounts").read_text().splitlines():
        _, at, kind, *_ = line.split(" ")
        kinds[Path(at.encode().decode("unicode_escape"))] = kind
    return next((kinds[parent] for parent in (path, *path.parents) if parent in kinds), "unknown")


def profile() -> dict[str, Any]:
    """Return the profile of the checkout that one stands in, its site's values at the top; or nothing."""
    for path in PROFILES:
        if path.is_file():
            read = yaml.safe_load(path.read_text())
            return {**read, **read.get("__variables__", {})}
    return {}


def slurm() -> Finding:
    """Ask SLURM's controller what the profile relies on."""
    if not shutil.which("sbatch"):
        return Finding("no sbatch: 'snakemake --profile slurm' cannot be used here")
    found = _say("sbatch", "--version")
    config = _say("scontrol", "show", "config")
    if not config:
        return Finding(found, "the controller does not answer 'scontrol show config': ask the administrators")
    values = dict(re.findall(r"^(\w+) +=[ ]*(.*?) *$", config, re.M))
    accounting = "none" not in values.get("AccountingStorageType", "none")
    age = int(re.sub(r"\D", "", values.get("MinJobAge", "")) or 0)
    found += f", accounting: {'yes' if accounting else 'none'}, MinJobAge {age} s"
    site = profile()
    if not site:
        return Finding(found, advice="no slurm/profile.yaml here: run doctor in the checkout")
    problem = _partitions_fit(site)
    interval = int(site.get("slurm-init-seconds-before-status-checks", 30))
    if not problem and age < POLLS * interval:
        problem = (
            f"finished jobs are forgotten after {age} s: set slurm-init-seconds-before-status-checks to "
            f"{max(1, age // POLLS)} in the profile"
        )
    return Finding(found, problem, _limits_fit(site))


def _partitions_fit(site: Mapping[str, Any]) -> str:
    known = {line.rstrip("*") for line in _say("sinfo", "--noheader", "--format=%P").splitlines()}
    for key in ("partition", "gpu_partition"):
        name = site.get(key)
        if name and name not in known:
            return f"{key} '{name}' of the profile is none of {', '.join(sorted(known))}"
    where = site.get("gpu_partition") or site.get("partition")
    gres = _say("sinfo", "--noheader", "--format=%G", *([f"--partition={where}"] if where else []))
    if site.get("gpu") and "gpu" not in gres:
        return f"no GPU in {where or 'any partition'}: set gpu: false in the profile, or name its partition"
    kind = site.get("gpu_type")
    if site.get("gpu") and kind and not re.search(rf"gpu:{re.escape(kind)}\b", gres):
        return f"gpu_type '{kind}' of the profile is not among {', '.join(sorted(set(gres.split())))}"
    return ""


def _limits_fit(site: Mapping[str, Any]) -> str:
    """Compare the most that retries ask for with what the partition of CPU jobs gives."""
    where = [f"--partition={site['partition']}"] if site.get("partition") else []
    nodes = [line.split("|") for line in _say("sinfo", "-h", "-o", "%P|%l|%m", *where).splitlines()]
    ours = [(limit, mem) for name, limit, mem in nodes if where or name.endswith("*")]
    if not ours:
        return ""
    mem_mb = max(int(re.sub(r"\D", "", mem) or 0) for _, mem in ours)
    minutes = minutes_of(ours[0][0])
    if minutes and minutes < site.get("max_minutes", 0):
        return f"jobs may run {minutes:.0f} minutes: set max_minutes of the profile to that"
    if mem_mb and mem_mb < site.get("max_mem_mb", 0):
        return f"nodes have {mem_mb} MB: set max_mem_mb of the profile to that"
    return ""


def minutes_of(limit: str) -> float | None:
    """Return the minutes of a limit as SLURM writes it: [days-]hours:minutes:seconds, or `infinite`."""
    match = re.fullmatch(r"(?:(\d+)-)?(?:(\d+):)?(\d+):(\d+)", limit)
    if not match:
        return None
    days, hours, minutes, seconds = (int(part or 0) for part in match.groups())
    return days * 1440 + hours * 60 + minutes + seconds / 60


PROBE = """
import json, os, sys
import torch
from lartpc import dist
from lartpc.run.doctor.site import temporary_space
with dist.join(2) as ranks:
    total = ranks.sum(torch.ones(1, device=ranks.device)).item()
    here = os.environ.get("SLURMD_NODENAME") or os.uname().nodename
    seen = ranks.gather((here, os.path.exists(sys.argv[1])))
    if ranks.is_main:
        print(json.dumps({
            "right": total == 2,
            "backend": ranks.backend,
            "device": ranks.device.type,
            "nodes": [node for node, _ in seen],
            "sees": all(see for _, see in seen),
            "temporary": list(temporary_space()),
        }))
"""
"""What two ranks of a training do first, and what their nodes see; the output is one line of JSON."""


def slurm_ranks() -> Finding:
    """Start two ranks with the profile's launcher on nodes of the cluster."""
    if not shutil.which("srun"):
        return Finding("no srun")
    offered = re.findall(r"^\s+(\w+)$", _say("srun", "--mpi=list", stderr=True), re.M)
    site = profile()
    launcher = shlex.split(site.get("launcher", "srun --mpi=pmi2 --wait=60"))
    found = f"{shlex.join(launcher)}; srun offers {', '.join(offered)}"
    asked = next((word.removeprefix("--mpi=") for word in launcher if word.startswith("--mpi=")), "")
    if asked and asked not in offered:
        ours = [kind for kind in ("pmi2", "pmix") if kind in offered]
        hint = f"'srun --mpi={ours[0]}'" if ours else "another (ask the administrators)"
        return Finding(found, f"--mpi={asked} is not offered: set launcher in the profile to {hint}")
    with tempfile.NamedTemporaryFile(prefix=".lartpc-doctor-", dir=".") as marker:
        command = [
            *launcher,
            *_where(site),
            "-n2",
            sys.executable,
            "-c",
            PROBE,
            str(Path(marker.name).resolve()),
        ]
        try:
            done = subprocess.run(
                command, capture_output=True, text=True, timeout=QUEUE_SECONDS + 180, check=False
            )
        except subprocess.TimeoutExpired:
            return Finding(
                found, "two ranks did not find each other within minutes: ask which ports nodes may use"
            )
    if done.returncode:
        said = [line for line in done.stderr.splitlines() if line.strip()] or ["no message"]
        if re.search("immediate|Unable to allocate resources: Requested nodes are busy", done.stderr):
            return Finding(found, advice=f"no nodes were free within {QUEUE_SECONDS} s: not tried; try again")
        why = next((line for line in said if re.match(r"\w+Error: |lartpc: |srun: error: U", line)), said[0])
        return Finding(found, f"two ranks did not start: {why}")
    return _judge(found, json.loads(done.stdout.strip().splitlines()[-1]), bool(site.get("gpu", True)))


def _where(site: Mapping[str, Any]) -> list[str]:
    """Return srun's options for where a training would run."""
    nodes = min(2, int(site.get("train_nodes", 2)))
    options = [f"--nodes={nodes}"]
    if "SLURM_JOB_ID" in os.environ:
        return options  # within an allocation, which says the rest
    options += [f"--immediate={QUEUE_SECONDS}", "--time=5", "--job-name=lartpc-doctor"]
    for option, value in (
        ("account", site.get("account")),
        ("partition", site.get("gpu_partition") or site.get("partition")),
        ("constraint", site.get("constraint")),
    ):
        options += [f"--{option}={value}"] if value else []
    if site.get("gpu", True):
        kind = f":{site['gpu_type']}" if site.get("gpu_type") else ""
        options.append(f"--gres=gpu{kind}:{2 // nodes}")
    return options


def _judge(found: str, probe: Mapping[str, Any], with_gpu: bool) -> Finding:
    found += (
        f"; two ranks on {', '.join(probe['nodes'])}: gradients over {probe['backend']} on {probe['device']}"
    )
    space = Finding(*probe["temporary"])
    found += f"; temporary space there: {space.found}"
    if not probe["right"]:
        return Finding(found, "a sum over two ranks is wrong: another MPI library than the launcher's")
    if not probe["sees"]:
        return Finding(found, "the nodes do not see this folder: run on a disk that all nodes share")
    if with_gpu and probe["device"] != "cuda":
        return Finding(
            found,
            advice="a GPU was given, but torch finds none: see docs/how-to/slurm.md for the build with CUDA, "
            "or set gpu: false in the profile",
        )
    return Finding(found, space.problem, space.advice)


def _say(*command: str, stderr: bool = False) -> str:
    """Return what a command of SLURM says, or nothing where it fails."""
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=True)
    except (OSError, subprocess.SubprocessError):
        return ""
    return (done.stdout + done.stderr if stderr else done.stdout).strip()
