"""What ranks do together: batch norm over all of them, and the end of all when one is lost."""

import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
import torch
from training import launch, wait_for_step, write_events

from lartpc import dist
from lartpc.nets.norm import SyncBatchNorm

pytestmark = pytest.mark.mpi
needs_mpiexec = pytest.mark.skipif(not shutil.which("mpiexec"), reason="no mpiexec in PATH")

ALONE = dist.Ranks(0, 1, 0, torch.device("cpu"), "none")

GRADIENTS = """
import sys
import torch
from conftest import typical
from training import section
from lartpc import dist
from lartpc.nets.norm import SyncBatchNorm
from lartpc.run.training.optimize import Optimization
from lartpc.stages import stage

# Each rank has other rows of one batch; the last has one row.
size, out = int(sys.argv[1]), sys.argv[2]
with dist.join(size) as ranks:
    generator = torch.Generator().manual_seed(1)
    rows = torch.randn(50, 3, generator=generator, dtype=torch.float64)
    slopes = torch.randn(50, 3, generator=generator, dtype=torch.float64)
    mine = {1: [slice(0, 50)], 2: [slice(0, 49), slice(49, 50)],
            4: [slice(0, 30), slice(30, 30), slice(30, 49), slice(49, 50)]}[size][ranks.rank]
    norm = SyncBatchNorm(torch.nn.BatchNorm1d(3, momentum=0.3).double(), ranks)
    torch.nn.init.normal_(norm.weight, generator=torch.Generator().manual_seed(2))
    feat = rows[mine].clone().requires_grad_()
    (norm(feat) * slopes[mine] + norm(feat) ** 2).sum().backward()
    pieces = ranks.gather((feat.grad, norm(feat).detach()))
    found = {"input": torch.cat([grad for grad, _ in pieces]), "weight": ranks.sum(norm.weight.grad),
             "bias": ranks.sum(norm.bias.grad), "mean": norm.running_mean, "variance": norm.running_var,
             "output": torch.cat([value for _, value in pieces])}

    # The whole network on events of unequal size, dealt to the ranks.
    module = stage("segment").module()
    settings = section("segment", sync_batch_norm=True)
    torch.manual_seed(1)
    run = Optimization(module.network(settings), module.loss, settings, ranks)
    events = [typical(entry) for entry in range(4)]
    loss, asked = run.update([events[ranks.rank :: size]], 0, [float(ranks.rank == size - 1), 0.0])
    found |= {name: parameter.grad for name, parameter in run.net.named_parameters()}
    found |= {"loss": torch.tensor(loss["loss"]), "asked": torch.tensor(asked)}
    if ranks.is_main:
        torch.save(found, out)
"""


def gradients(folder: Path, num_ranks: int) -> dict[str, torch.Tensor]:
    out = folder / f"{num_ranks}.pt"
    launcher = ["mpiexec", "-n", str(num_ranks)] if num_ranks > 1 else []
    path = os.pathsep.join(filter(None, [str(Path(__file__).parents[1]), os.environ.get("PYTHONPATH")]))
    found = subprocess.run(
        [*launcher, sys.executable, "-c", GRADIENTS, str(num_ranks), str(out)],
        env={**os.environ, "OMP_NUM_THREADS": "1", "PYTHONPATH": path},
        capture_output=True,
        text=True,
        timeout=300,
    )
    assert found.returncode == 0, found.stderr
    tensors: dict[str, torch.Tensor] = torch.load(out, weights_only=True)
    return tensors


@pytest.fixture(scope="module")
def alone(tmp_path_factory: pytest.TempPathFactory) -> dict[str, torch.Tensor]:
    return gradients(tmp_path_factory.mktemp("alone"), 1)


@needs_mpiexec
@pytest.mark.parametrize("num_ranks", [2, pytest.param(4, marks=pytest.mark.slow)])
def test_synchronised_batch_norm_gives_the_gradients_of_one_rank(
    tmp_path: Path, alone: dict[str, torch.Tensor], num_ranks: int
) -> None:
    many = gradients(tmp_path, num_ranks)
    assert many["asked"].tolist() == [1.0, 0.0]
    assert many.keys() == alone.keys()
    for name, wanted in alone.items():
        if wanted.dtype == torch.float64:
            torch.testing.assert_close(many[name], wanted, rtol=1e-11, atol=1e-11)
        else:
            scale = float(wanted.abs().max())
            torch.testing.assert_close(many[name], wanted, rtol=0, atol=1e-4 * scale + 1e-7, msg=name)


def test_synchronised_batch_norm_is_batch_norm_on_one_rank() -> None:
    torch.manual_seed(0)
    plain = torch.nn.BatchNorm1d(5, eps=1e-4, momentum=0.05).double()
    torch.nn.init.normal_(plain.weight)
    ours = SyncBatchNorm(torch.nn.BatchNorm1d(5, eps=1e-4, momentum=0.05).double(), ALONE)
    ours.load_state_dict(plain.state_dict())
    for num_rows in (200, 2):
        one = torch.randn(num_rows, 5, dtype=torch.float64, requires_grad=True)
        two = one.detach().clone().requires_grad_()
        slope = torch.randn(num_rows, 5, dtype=torch.float64)
        for norm, feat in ((plain, one), (ours, two)):
            (norm(feat) * slope).sum().backward()
        torch.testing.assert_close(one.grad, two.grad)
    torch.testing.assert_close(plain.state_dict(), ours.state_dict())
    torch.testing.assert_close(plain.weight.grad, ours.weight.grad)
    assert torch.isfinite(ours(torch.zeros(1, 5, dtype=torch.float64))).all()
    assert torch.autograd.gradcheck(
        lambda feat: ours(feat), torch.randn(6, 5, dtype=torch.float64, requires_grad=True)
    )


# -- the end of a rank -------------------------------------------------------------------------


UNSEEN = """
"$@"
code=$?
touch ended.$PMI_RANK
until [ -e ended.0 ] && [ -e ended.1 ]; do sleep 0.1; done
exit $code
"""
"""A shell around a rank, which ends when both ranks have: the launcher does not see that one is gone before."""


@needs_mpiexec
@pytest.mark.parametrize("backend", ["mpi", "gloo"])
def test_a_killed_rank_ends_the_others_within_a_minute(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, backend: str
) -> None:
    """Without the launcher's help: mpiexec kills the others some milliseconds after it saw the end of one, also with
    `-disable-auto-cleanup`, and what they would say is lost where that comes first; srun does not.
    """
    events = write_events(tmp_path / "ingest.h5")
    settings = {"num_steps": 100_000, "validate_every": 100_000, "checkpoint_minutes": 0, "backend": backend}
    monkeypatch.chdir(tmp_path)
    with launch(tmp_path, events, 2, within=("sh", "-c", UNSEEN, "rank"), **settings) as process:
        wait_for_step(process, tmp_path, 2)
        (one, *_) = ranks_of(process.pid)
        os.kill(one, signal.SIGKILL)
        start = time.monotonic()
        _, errors = process.communicate(timeout=60)
    assert process.returncode != 0
    assert f"process {one} on" in errors or "rank 0 (on" in errors
    assert "is gone: it was killed, or it crashed; ending all ranks" in errors
    assert time.monotonic() - start < 60
    assert list((tmp_path / ".resume").glob("step-*.pt"))


LATE = """
import sys, time
from lartpc import dist

dist.START_S = 3.0
if dist.os.environ["PMI_RANK"] == "1":
    time.sleep(600)  # as a rank on a node that hangs
dist.join(2)
"""


@needs_mpiexec
def test_a_rank_that_waits_in_vain_for_the_others_ends_and_says_so() -> None:
    found = subprocess.run(
        ["mpiexec", "-n", "2", sys.executable, "-c", LATE], capture_output=True, text=True, timeout=300
    )
    assert found.returncode != 0
    assert "waited 0 minutes in vain for the others to start" in found.stderr


STARVED = """
import os, signal, subprocess
from lartpc import dist

with dist.join(2) as ranks:
    if ranks.rank == 1:
        launcher = os.getppid()
        os.kill(launcher, signal.SIGSTOP)  # as one that gets no processor for a while
        quiet = subprocess.DEVNULL
        subprocess.Popen(["sh", "-c", f"sleep 3; kill -CONT {launcher}"], stdin=quiet, stdout=quiet, stderr=quiet)
        raise ValueError("broken")
    ranks.barrier()
"""


@needs_mpiexec
def test_a_busy_launcher_does_not_lose_why_a_rank_failed() -> None:
    """MPICH's hears of the abort first, and ends without reading what the rank wrote, in most such cases."""
    for _ in range(2):
        found = subprocess.run(
            ["mpiexec", "-n", "2", sys.executable, "-c", STARVED], capture_output=True, text=True, timeout=300
        )
        assert found.returncode != 0
        assert "lartpc: broken\nlartpc: rank 1 of 2 failed; ending all ranks\n" in found.stderr


SAYS = "from lartpc import last_words; last_words.READ_S = 30.0; last_words.say('the cause\\n')"


@pytest.mark.parametrize("unbuffered", ["", "1"])
def test_last_words_wait_for_a_reader_of_a_pipe_and_for_nothing_else(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, unbuffered: str
) -> None:
    monkeypatch.setenv("PYTHONUNBUFFERED", unbuffered)
    with subprocess.Popen([sys.executable, "-c", SAYS], stderr=subprocess.PIPE) as process:
        with pytest.raises(subprocess.TimeoutExpired):
            process.wait(timeout=5)
        assert process.stderr
        assert os.read(process.stderr.fileno(), 100) == b"the cause\n"
        assert process.wait(timeout=20) == 0
    log = tmp_path / "log"
    log.write_text("x" * 1000)  # more than this process writes, as the log of many ranks
    with log.open("r+") as file:
        subprocess.run([sys.executable, "-c", SAYS], stderr=file, check=True, timeout=20)
    assert log.read_text().startswith("the cause\n")
    closed = f"import os; os.close(2); {SAYS}"
    subprocess.run([sys.executable, "-c", closed], check=True, timeout=20)


def ranks_of(launcher: int) -> list[int]:
    """Return the processes of `lartpc train` below a launcher, and no others."""
    listed = subprocess.check_output(["ps", "-eo", "pid,ppid,args", "--no-headers"], text=True)
    rows = [line.split(None, 2) for line in listed.splitlines()]
    below, found = {launcher}, []
    for _ in range(4):  # the launcher, its proxy, shells, the ranks
        below |= {int(pid) for pid, parent, _ in rows if int(parent) in below}
    for pid, _, command in rows:
        if int(pid) in below and "lartpc train" in command and command.split()[0] not in ("mpiexec", "sh"):
            found.append(int(pid))
    return [pid for pid in found if "hydra" not in Path(f"/proc/{pid}/cmdline").read_text()]


SILENT = """
import os, signal, socket, sys, time
from lartpc import heartbeat

heartbeat.INTERVAL_S = 0.1
if sys.argv[1] == "0":
    server = socket.create_server(("127.0.0.1", 0))
    print(server.getsockname()[1], flush=True)
    beat = heartbeat.Heartbeat.listen(server, 2)
else:
    beat = heartbeat.Heartbeat.call(("127.0.0.1", int(sys.argv[2])), 1, 2)
print("joined", flush=True)
time.sleep(float(sys.argv[3]))
beat.close()
"""


def peer(*arguments: str) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, "-c", SILENT, *arguments], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )


def test_a_rank_that_hangs_is_missed_and_one_that_leaves_is_not() -> None:
    first = peer("0", "-", "60")
    assert first.stdout
    port = first.stdout.readline().strip()
    second = peer("1", port, "60")
    assert second.stdout and "joined" in second.stdout.readline()
    second.send_signal(signal.SIGSTOP)  # as a node that no longer answers
    try:
        _, errors = first.communicate(timeout=30)
        assert first.returncode == 1
        assert f"rank 1 (process {second.pid} on" in errors
        assert "gave no sign of life" in errors
    finally:
        second.kill()
        second.communicate()
    first = peer("0", "-", "2")
    assert first.stdout
    second = peer("1", first.stdout.readline().strip(), "0.3")
    for process in (second, first):
        _, errors = process.communicate(timeout=30)
        assert (process.returncode, errors) == (0, "")
