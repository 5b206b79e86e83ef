"""An HTCondor of our own: one machine that is the whole pool, as a user without rights, by bubblewrap.

It runs where `condor_master` is, or in the root file system that LARTPC_CONDOR_ROOT names, for a system without it:

    debootstrap --variant=minbase trixie /opt/condor
    chroot /opt/condor apt-get install --yes --no-install-recommends condor libgl1 libx11-6 libxmu6 libexpat1
"""

import importlib.util
import os
import shutil
import subprocess
import sys
import time
from pathlib import Path
from typing import Self

from checkout import REPOSITORY
from servers import free_port

ROOT = Path(os.environ.get("LARTPC_CONDOR_ROOT", "/"))
USER = 1000
"""Daemons and jobs are of one user that is not root, who may not submit."""

SECONDS = 60
CONFIG = """\
CONDOR_HOST = 127.0.0.1
NETWORK_INTERFACE = 127.0.0.1
COLLECTOR_HOST = 127.0.0.1:{port}
SHARED_PORT_PORT = {port}
USE_SHARED_PORT = True
DAEMON_LIST = MASTER COLLECTOR NEGOTIATOR SCHEDD STARTD SHARED_PORT
LOCAL_DIR = {folder}
LOG = $(LOCAL_DIR)/log
SPOOL = $(LOCAL_DIR)/spool
EXECUTE = $(LOCAL_DIR)/execute
LOCK = $(LOCAL_DIR)/lock
RUN = $(LOCAL_DIR)/run
RELEASE_DIR = /usr
LIBEXEC = /usr/libexec/condor
BIN = /usr/bin
SBIN = /usr/sbin
LIB = /usr/lib/condor
# Of loopback alone. FS of 23.9 does not take the clients of 24.12.
SEC_DEFAULT_AUTHENTICATION = REQUIRED
SEC_DEFAULT_AUTHENTICATION_METHODS = CLAIMTOBE
ALLOW_READ = *
ALLOW_WRITE = *
ALLOW_DAEMON = *
ALLOW_ADMINISTRATOR = *
ALLOW_NEGOTIATOR = *
UID_DOMAIN = lartpc
FILESYSTEM_DOMAIN = lartpc
TRUST_UID_DOMAIN = True
NUM_CPUS = 4
MEMORY = 16000
NUM_SLOTS_TYPE_1 = 1
SLOT_TYPE_1 = 100%
SLOT_TYPE_1_PARTITIONABLE = True
START = True
SUSPEND = False
PREEMPT = False
KILL = False
RunBenchmarks = False
NEGOTIATOR_INTERVAL = 2
NEGOTIATOR_MIN_INTERVAL = 1
NEGOTIATOR_CYCLE_DELAY = 1
SCHEDD_INTERVAL = 2
USE_PROCD = False
"""


def missing() -> str | None:
    """Say why no pool can be started here, or None."""
    if not shutil.which("bwrap"):
        return "bwrap not installed (apt-get install bubblewrap)"
    if not any((ROOT / folder / "condor_master").exists() for folder in ("usr/sbin", "usr/bin")):
        return f"no condor_master in {ROOT} (LARTPC_CONDOR_ROOT: see tests/condor.py)"
    for name in ("htcondor2", "snakemake_executor_plugin_htcondor"):
        if importlib.util.find_spec(name) is None:
            return f"no module {name} (pip install snakemake-executor-plugin-htcondor==0.3.0)"
    return None


class Pool:
    """A running pool; a context manager."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.config = folder / "condor_config"

    def __enter__(self) -> Self:
        for name in ("log", "spool", "execute", "lock", "run"):
            (self.folder / name).mkdir(parents=True)
        self.config.write_text(CONFIG.format(folder=self.folder, port=free_port()))
        with (self.folder / "master").open("w") as out:
            # All daemons end with their process namespace.
            self._master = subprocess.Popen(
                self.command("condor_master", "-f", alone=True), stdout=out, stderr=out, env=self.environment
            )
        end = time.monotonic() + SECONDS
        while "slot1@" not in self.ask("condor_status"):
            assert self._master.poll() is None, (self.folder / "master").read_text()
            assert time.monotonic() < end, "the pool does not answer"
            time.sleep(0.5)
        return self

    def __exit__(self, *_: object) -> None:
        self._master.kill()
        self._master.wait()

    @property
    def environment(self) -> dict[str, str]:
        """The environment of those who ask the pool."""
        scripts = Path(sys.executable).parent
        return {
            **os.environ,
            "PATH": f"{scripts}:/usr/bin:/usr/sbin:/bin",
            "CONDOR_CONFIG": str(self.config),
            "HOME": str(self.folder),
            "OMP_NUM_THREADS": "1",
        }

    def command(self, *words: str, alone: bool = False) -> list[str]:
        """Return a command as the pool's user, in its root file system with this machine's folders of ours in it."""
        ours = (
            sys.executable,
            sys.prefix,
            sys.base_prefix,
            str(REPOSITORY),
            str(self.folder),
            os.environ.get("PYTHONPATH", "/usr"),
        )
        bound = sorted(
            {f"/{path.resolve().parts[1]}" for one in ours for path in map(Path, one.split(":"))} - {"/usr"}
        )
        found = ["bwrap", "--bind", str(ROOT), "/", "--dev-bind", "/dev", "/dev", "--proc", "/proc"]
        for path in bound:
            found += ["--bind", path, path]
        found += ["--unshare-user", "--uid", str(USER), "--gid", str(USER), "--chdir", str(Path.cwd())]
        return [*found, *(["--unshare-pid"] if alone else []), "--die-with-parent", *words]

    def ask(self, *words: str) -> str:
        """Return what a command of HTCondor says; "" where it fails."""
        done = subprocess.run(
            self.command(*words), env=self.environment, capture_output=True, text=True, timeout=SECONDS
        )
        return done.stdout if done.returncode == 0 else ""
