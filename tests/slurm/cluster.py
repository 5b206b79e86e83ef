"""A SLURM of our own: one controller and several virtual nodes on this machine, with or without accounting.

The daemons stay in the foreground as children, and die with this process. They need root, and Debian's
packages slurmctld, slurmd, slurm-client, slurm-wlm-basic-plugins and munge; for accounting also slurmdbd,
slurm-wlm-mysql-plugin and mariadb-server.
"""

import os
import re
import secrets
import shutil
import signal
import socket
import subprocess
import tempfile
import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Self

PROGRAMS = ("munged", "slurmctld", "slurmd", "sbatch", "setpriv")
ACCOUNTING_PROGRAMS = ("slurmdbd", "mariadbd", "mariadb-install-db", "sacctmgr")
SYSTEM_CONF = Path("/etc/slurm/slurm.conf")
"""Where SLURM looks: jobs of the plugin lose $SLURM_CONF, so that no other place works for them."""

PREFIX = "lartpc-slurm-"
CPU_NODES = ("cpu1", "cpu2")
GPU_NODES = ("gpu1", "gpu2")
NODES = (*CPU_NODES, *GPU_NODES)

# More CPUs and memory than the machine may have: config_overrides lets nodes claim them. GPU nodes weigh
# more, so that jobs without need of a GPU go elsewhere while there is room. Processes are tracked and
# limited without cgroups. Jobs stay visible for MinJobAge seconds: without accounting, only the controller
# tells how they ended. Jobs are not numbered from 1: MPICH names its shared memory by the number, and would
# take up what a killed rank of an earlier cluster left there.
SLURM_CONF = """\
ClusterName=lartpc
SlurmctldHost=localhost(127.0.0.1)
SlurmctldPort={control_port}
SlurmUser=root
SlurmdUser=root
AuthType=auth/munge
CredType=cred/munge
AuthInfo=socket={folder}/munge.sock
TmpFS={folder}/tmp/%n
StateSaveLocation={folder}/state
SlurmdSpoolDir={folder}/spool/%n
SlurmctldPidFile={folder}/slurmctld.pid
SlurmdPidFile={folder}/slurmd.%n.pid
MailProg=/bin/true
SwitchType=switch/none
MpiDefault=none
ProctrackType=proctrack/linuxproc
TaskPlugin=task/none
JobAcctGatherType=jobacct_gather/linux
JobAcctGatherFrequency=task=1
JobAcctGatherParams=OverMemoryKill
ReturnToService=2
SlurmdParameters=config_overrides
MinJobAge=7200
FirstJobId={first_job}
KillWait=1
SchedulerParameters=sched_interval=1,bf_interval=1,batch_sched_delay=0
SelectType=select/cons_tres
SelectTypeParameters=CR_Core_Memory
GresTypes=gpu
{accounting}
NodeName=DEFAULT Sockets=1 CoresPerSocket=4 ThreadsPerCore=1 RealMemory=16000 State=UNKNOWN
{nodes}
PartitionName=main Nodes=ALL Default=YES DefaultTime=5 MaxTime=INFINITE State=UP
PartitionName=accelerated Nodes={gpu_nodes} DefaultTime=5 MaxTime=INFINITE State=UP
"""
NO_ACCOUNTING = "AccountingStorageType=accounting_storage/none"
ACCOUNT = "physics"
ACCOUNTING = """\
AccountingStorageType=accounting_storage/slurmdbd
AccountingStorageHost=localhost
AccountingStoragePort={dbd_port}
AccountingStoragePass={folder}/munge.sock
AccountingStorageTRES=gres/gpu
AccountingStorageEnforce=associations,limits,qos
"""
SLURMDBD_CONF = """\
AuthType=auth/munge
AuthInfo=socket={folder}/munge.sock
DbdHost=localhost
DbdAddr=127.0.0.1
DbdPort={dbd_port}
SlurmUser=root
PidFile={folder}/slurmdbd.pid
StorageType=accounting_storage/mysql
StorageHost=127.0.0.1
StoragePort={database_port}
StorageUser=slurm
StoragePass=slurm
StorageLoc=slurm_acct_db
CommitDelay=1
"""
USERS_OF_DATABASE = """\
create database slurm_acct_db;
create user slurm@'127.0.0.1' identified by 'slurm';
create user slurm@localhost identified by 'slurm';
grant all on slurm_acct_db.* to slurm@'127.0.0.1';
grant all on slurm_acct_db.* to slurm@localhost;
"""
# A GPU must be some device file; torch finds none behind this one and computes on CPUs.
GRES_CONF = "NodeName={gpu_nodes} Name=gpu File=/dev/null\n"


def missing(accounting: bool = False) -> str | None:
    """Say why no cluster can be started here, or None."""
    packages = "slurmctld slurmd slurm-client slurm-wlm-basic-plugins munge"
    programs: tuple[str, ...] = PROGRAMS
    if accounting:
        packages += " slurmdbd slurm-wlm-mysql-plugin mariadb-server"
        programs += ACCOUNTING_PROGRAMS
    absent = [name for name in programs if shutil.which(name) is None]
    if absent:
        return f"{', '.join(absent)} not installed (apt-get install {packages})"
    if os.geteuid() != 0:
        return "the daemons of SLURM need root"
    if SYSTEM_CONF.exists() and not is_ours(SYSTEM_CONF):
        return f"{SYSTEM_CONF} belongs to a SLURM of this machine"
    if "UP" in (run("scontrol", "ping") or ""):
        return "the cluster of another run of these tests is up"
    return None


def is_ours(conf: Path) -> bool:
    """Tell whether the system's configuration is a link of such a cluster, be it up or left behind."""
    return conf.is_symlink() and conf.readlink().parent.name.startswith(PREFIX)


class Cluster:
    """A running cluster; a context manager."""

    def __init__(self, accounting: bool = False) -> None:
        self.folder = Path(tempfile.mkdtemp(prefix=PREFIX))
        self.accounting = accounting
        self._daemons: dict[str, subprocess.Popen[bytes]] = {}

    def __enter__(self) -> Self:
        try:
            self._configure()
            self._start("munged", "munged", "--foreground", "--num-threads=2", *self._munge_files())
            self._wait_for(lambda: run("munge", "-n", f"--socket={self.folder}/munge.sock") is not None)
            if self.accounting:
                self._start_accounting()
            self.start_controller()
            for node in NODES:
                self.start_node(node)
            self._wait_for(lambda: set(self.nodes("idle")) == set(NODES))
        except BaseException:
            self.__exit__()
            raise
        return self

    def __exit__(self, *_: object) -> None:
        run("scancel", "--user=root")
        self._wait_for(lambda: not run("squeue", "-h"), seconds=15, must=False)
        for name in reversed(list(self._daemons)):
            self._stop(name, signal.SIGTERM)
        if is_ours(SYSTEM_CONF):
            SYSTEM_CONF.unlink()
        shutil.rmtree(self.folder, ignore_errors=True)

    def start_controller(self) -> None:
        """Start slurmctld, and wait until it answers."""
        self._start("slurmctld", "slurmctld", "-D", "-i")
        self._wait_for(lambda: "UP" in (run("scontrol", "ping") or ""))

    def kill_controller(self) -> None:
        """Kill slurmctld as a crash of its machine does."""
        self._stop("slurmctld", signal.SIGKILL)

    def start_node(self, node: str) -> None:
        """Start a node's daemon, and wait until the controller may use the node."""
        self._start(node, "slurmd", "-D", "-N", node)
        if run("scontrol", "update", f"NodeName={node}", "State=RESUME") is not None:
            self._wait_for(lambda: node in self.nodes("idle"))

    def power_off(self, node: str) -> None:
        """Kill a node with the jobs on it, and tell the controller, which would find out in minutes."""
        jobs = (run("squeue", "--noheader", f"--nodelist={node}", "--format=%i") or "").split()
        self._stop(node, signal.SIGKILL)
        for process in (process for job in jobs for process in processes_of(job)):
            with suppress(ProcessLookupError):
                os.kill(process, signal.SIGKILL)
        subprocess.run(
            ["scontrol", "update", f"NodeName={node}", "State=DOWN", "Reason=power"], check=True, timeout=60
        )

    def nodes(self, state: str) -> list[str]:
        """Return the names of the nodes in a state."""
        return sorted({*(run("sinfo", "-h", "-N", "-t", state, "-o", "%N") or "").split()})

    def jobs_of(self, said: str) -> dict[str, list[dict[str, str]]]:
        """Return the jobs that snakemake said it submitted, by rule: their JobState, NodeList, Partition, ..."""
        lines = (run("scontrol", "-o", "show", "jobs") or "").splitlines()
        known = [dict(word.split("=", 1) for word in line.split() if "=" in word) for line in lines]
        by_id = {job["JobId"]: job for job in known}
        of_rule: dict[str, list[dict[str, str]]] = {}
        for number, rule in re.findall(r"SLURM jobid (\d+) \(log: \S*/rule_(\w+)/", said):
            of_rule.setdefault(rule, []).append(by_id[number])
        return of_rule

    def logs(self) -> str:
        """Return the last lines of all daemons."""
        return "\n".join(
            f"--- {log.name}\n{log.read_text(errors='replace')[-1500:]}"
            for log in sorted((self.folder / "log").glob("*"))
        )

    def _configure(self) -> None:
        self.folder.chmod(0o755)  # munge's clients must reach its socket
        for name in ("log", "state", *(f"{kind}/{node}" for kind in ("spool", "tmp") for node in NODES)):
            (self.folder / name).mkdir(parents=True)
        key = self.folder / "munge.key"
        key.write_bytes(secrets.token_bytes(1024))
        key.chmod(0o400)
        control_port, dbd_port, self._database_port, *ports = free_ports(3 + len(NODES))
        nodes = [
            f"NodeName={node} NodeHostname=localhost NodeAddr=127.0.0.1 Port={port}"
            + (" Gres=gpu:1 Weight=10" if node in GPU_NODES else "")
            for node, port in zip(NODES, ports, strict=True)
        ]
        gpu_nodes = ",".join(GPU_NODES)
        conf = SLURM_CONF.format(
            folder=self.folder,
            control_port=control_port,
            first_job=secrets.randbelow(10**6) + 1,
            accounting=ACCOUNTING.format(folder=self.folder, dbd_port=dbd_port)
            if self.accounting
            else NO_ACCOUNTING,
            nodes="\n".join(nodes),
            gpu_nodes=gpu_nodes,
        )
        (self.folder / "slurm.conf").write_text(conf)
        (self.folder / "gres.conf").write_text(GRES_CONF.format(gpu_nodes=gpu_nodes))
        dbd = self.folder / "slurmdbd.conf"
        dbd.touch(0o600)  # it has a password, and SLURM insists
        dbd.write_text(
            SLURMDBD_CONF.format(folder=self.folder, dbd_port=dbd_port, database_port=self._database_port)
        )
        SYSTEM_CONF.parent.mkdir(exist_ok=True)
        if is_ours(SYSTEM_CONF):  # left by a run that was killed; its daemons died with it
            shutil.rmtree(SYSTEM_CONF.readlink().parent, ignore_errors=True)
            SYSTEM_CONF.unlink()
        SYSTEM_CONF.symlink_to(self.folder / "slurm.conf")

    def _munge_files(self) -> list[str]:
        names = {
            "key-file": "key",
            "socket": "sock",
            "pid-file": "pid",
            "log-file": "log",
            "seed-file": "seed",
        }
        return [f"--{option}={self.folder}/munge.{name}" for option, name in names.items()]

    def _start_accounting(self) -> None:
        data, database = self.folder / "mysql", self.folder / "mysql.sock"
        subprocess.run(
            (
                *("mariadb-install-db", "--no-defaults", "--user=root", f"--datadir={data}"),
                *("--auth-root-authentication-method=normal", "--skip-test-db"),
            ),
            check=True,
            stdout=subprocess.DEVNULL,
            timeout=120,
        )
        self._start(
            "mariadbd",
            *("mariadbd", "--no-defaults", "--user=root", f"--datadir={data}", f"--socket={database}"),
            *("--bind-address=127.0.0.1", f"--port={self._database_port}"),
            *("--innodb-buffer-pool-size=128M", "--innodb-flush-log-at-trx-commit=0"),
        )
        client = ("mariadb", "--no-defaults", "--user=root", f"--socket={database}")
        self._wait_for(lambda: run(*client, "--execute=select 1") is not None)
        subprocess.run(client, input=USERS_OF_DATABASE, text=True, check=True, timeout=60)
        self._start("slurmdbd", "slurmdbd", "-D")
        self._wait_for(lambda: run("sacctmgr", "-n", "list", "cluster") is not None)
        for what in (
            ("cluster", "lartpc"),
            ("account", ACCOUNT, "Cluster=lartpc"),
            ("user", "root", f"Account={ACCOUNT}", f"DefaultAccount={ACCOUNT}"),
        ):
            subprocess.run(["sacctmgr", "-iQ", "add", *what], check=True, timeout=60)

    def _start(self, name: str, *command: str) -> None:
        with (self.folder / "log" / f"{name}.log").open("ab") as out:
            self._daemons[name] = subprocess.Popen(
                ["setpriv", "--pdeathsig", "TERM", *command],
                # gres.conf is looked for beside this file, not beside the link to it.
                env={**os.environ, "SLURM_CONF": str(self.folder / "slurm.conf")},
                stdin=subprocess.DEVNULL,
                stdout=out,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )

    def _stop(self, name: str, how: signal.Signals) -> None:
        daemon = self._daemons.pop(name)
        daemon.send_signal(how)
        try:
            daemon.wait(10)
        except subprocess.TimeoutExpired:
            daemon.kill()
            daemon.wait()

    def _wait_for(self, condition: Callable[[], bool], seconds: float = 20, must: bool = True) -> None:
        end = time.monotonic() + seconds
        while not condition():
            if time.monotonic() > end:
                if must:
                    raise TimeoutError(f"SLURM is not up after {seconds} s\n{self.logs()}")
                return
            time.sleep(0.1)


def processes_of(job: str) -> list[int]:
    """Return the processes of a job on all nodes: SLURM's step managers and what they started."""
    found = []
    for process in Path("/proc").glob("[0-9]*"):
        try:
            command = (process / "cmdline").read_bytes()
            variables = (process / "environ").read_bytes()
        except OSError:  # it ended meanwhile
            continue
        started = f"\0SLURM_JOB_ID={job}\0".encode() in b"\0" + variables + b"\0"
        if started or command.startswith(f"slurmstepd: [{job}.".encode()):
            found.append(int(process.name))
    return found


def run(*command: str) -> str | None:
    """Return the standard output of a command, or None where it fails."""
    done = subprocess.run(command, capture_output=True, text=True, timeout=60)
    return done.stdout if done.returncode == 0 else None


def free_ports(num: int) -> list[int]:
    """Return ports that nobody listens on now."""
    sockets = [socket.socket() for _ in range(num)]
    try:
        for each in sockets:
            each.bind(("127.0.0.1", 0))
        return [int(each.getsockname()[1]) for each in sockets]
    finally:
        for each in sockets:
            each.close()
