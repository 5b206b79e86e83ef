"""Ranks: found through mpi4py, joined by torch.distributed. The only importer of mpi4py.

One process needs neither. With several, rank 0 broadcasts where to meet, gradients are reduced by
DistributedDataParallel over NCCL on GPUs, and on CPUs over MPI itself (a communication hook) or Gloo.
"""

import os
import socket
import sys
import time
from contextlib import suppress
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, distribution
from types import TracebackType
from typing import Any, Self

import torch
from torch import Tensor, nn
from torch import distributed as torch_dist
from torch.nn.parallel import DistributedDataParallel

from lartpc import last_words
from lartpc.heartbeat import LAUNCHER_VARIABLES, START_S, Heartbeat, limit

NUM_PIECES = 8
"""Pieces in which GPUs sum a gradient; fewer leave more of it to the end, more pay latency more often."""


@dataclass
class Ranks:
    """The ranks of a job as one of them sees them; a context manager: `with dist.join(2) as ranks`."""

    rank: int
    size: int
    local_rank: int
    device: torch.device
    backend: str
    comm: Any = None
    heartbeat: Heartbeat | None = None

    @property
    def is_main(self) -> bool:
        """Tell whether this is rank 0, the one that writes and talks."""
        return self.rank == 0

    def wrap(self, net: nn.Module) -> nn.Module:
        """Return the network with its gradients summed over the ranks.

        Losses are normalised by global counts, so the sum (not DDP's mean) is the gradient that a
        single rank would have on the whole batch.
        """
        net = net.to(self.device)
        if self.size == 1:
            return net
        on_gpu = self.device.type == "cuda"
        gradient_mb = sum(p.numel() * p.element_size() for p in net.parameters()) / 2**20
        wrapped = DistributedDataParallel(
            net,
            device_ids=[self.device.index] if on_gpu else None,
            forward_sync_buffers=False,
            # On GPUs pieces of the gradient are summed while backward makes the next (docs/explanation/scaling.md).
            bucket_cap_mb=min(25.0, gradient_mb / NUM_PIECES) if on_gpu else 25.0,
        )
        if self.backend == "mpi":
            wrapped.register_comm_hook(self.comm, _sum_over_mpi)
        else:
            wrapped.register_comm_hook(None, _sum_over_torch)
        return wrapped

    def sum(self, values: Tensor) -> Tensor:
        """Return the elementwise sum of a tensor over the ranks, without gradient."""
        total = values.detach().clone()
        if self.size > 1:
            total = total.to(self.device)  # nccl reduces nothing else
            torch_dist.all_reduce(total)
        return total.to(values.device)

    def gather(self, value: Any) -> list[Any]:
        """Return the values of all ranks, by rank, on each of them."""
        return [value] if self.size == 1 else list(self.comm.allgather(value))

    def from_main(self, value: Any) -> Any:
        """Return the value that rank 0 gave."""
        return value if self.size == 1 else self.comm.bcast(value)

    def average_buffers(self, net: nn.Module) -> None:
        """Give all ranks the mean of their floating-point buffers (batch-norm statistics)."""
        for buffer in net.buffers():
            if self.size > 1 and buffer.is_floating_point():
                buffer.copy_(self.sum(buffer) / self.size)

    def barrier(self) -> None:
        """Wait for the other ranks."""
        if self.size > 1:
            torch_dist.barrier()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self.size == 1:
            return
        if error is not None and not isinstance(error, SystemExit):
            # If the cause is another rank's end, the heartbeat says so and ends this one meanwhile.
            time.sleep(1.0)
            # The others may wait in a reduction for ever: end the whole job, and say who failed.
            if isinstance(error, ValueError):
                sys.stderr.write(f"lartpc: {error}\n")
            else:
                sys.excepthook(type(error), error, trace)
            last_words.say(f"lartpc: rank {self.rank} of {self.size} failed; ending all ranks\n")
            self.comm.Abort(1)
        # Without a barrier here, ranks were seen to abort when MPI finalises under a live process group.
        torch_dist.barrier()
        if self.heartbeat:
            self.heartbeat.close()
        torch_dist.destroy_process_group()


def join(expected: int | None = None, backend: str = "auto") -> Ranks:
    """Find the ranks of this job and join them.

    Parameters
    ----------
    expected
        Number of ranks asked for; None takes what the launcher gives.
    backend
        `mpi`, `gloo`, `nccl`, or `auto`: nccl on GPUs, else mpi.

    Raises
    ------
    ValueError
        Another number of ranks was found than expected, or the backend cannot be used here.
    """
    launched = any(name in os.environ for name in LAUNCHER_VARIABLES)
    if expected == 1 or (expected is None and not launched):
        device = torch.device("cuda", 0) if torch.cuda.is_available() else torch.device("cpu")
        return Ranks(0, 1, 0, device, "none")
    with limit(
        START_S,
        f"a rank on {socket.gethostname()} waited {START_S / 60:.0f} minutes in vain for the others to start; "
        "it ends. The log may tell of one that failed, 'lartpc doctor' whether two find each other",
    ):
        return _join(expected, backend)


def _join(expected: int | None, backend: str) -> Ranks:
    comm, local_rank, num_local = _world()
    if expected is not None and comm.size != expected:
        raise ValueError(
            f"{expected} ranks were asked for, but MPI found {comm.size}: the launcher and the MPI library "
            "do not understand each other; use the mpiexec of this environment, or "
            "'srun --mpi=pmi2' for MPICH and 'srun --mpi=pmix' for Open MPI"
        )
    # Ranks that share cores and spin in each other's way were seen to take five times as long.
    share = max(1, len(os.sched_getaffinity(0)) // num_local)
    torch.set_num_threads(min(torch.get_num_threads(), share))
    cuda = torch.cuda.is_available()
    if backend == "auto":
        backend = "nccl" if cuda else "mpi"
    if (backend == "nccl") != cuda:
        raise ValueError(
            f"train.backend '{backend}' cannot be used {'with' if cuda else 'without'} GPUs; use 'auto'"
        )
    device = torch.device("cuda", local_rank % torch.cuda.device_count()) if cuda else torch.device("cpu")
    if cuda:
        torch.cuda.set_device(device)
    server = socket.create_server(("", 0), backlog=comm.size) if comm.rank == 0 else None
    host, port, watched = comm.bcast((*_meeting_point(), server.getsockname()[1]) if server else None)
    heartbeat = (
        Heartbeat.listen(server, comm.size)
        if server
        else Heartbeat.call((host, watched), comm.rank, comm.size)
    )
    torch_dist.init_process_group(
        "nccl" if cuda else "gloo", init_method=f"tcp://{host}:{port}", rank=comm.rank, world_size=comm.size
    )
    return Ranks(comm.rank, comm.size, local_rank, device, backend, comm, heartbeat)


def mpi_version() -> str:
    """Return the name and version of the MPI library that would be used."""
    try:
        from mpi4py import MPI
    except (ImportError, RuntimeError) as error:
        return f"mpi4py finds no MPI library ({error})"
    return str(MPI.Get_library_version()).split("\n")[0].strip()


def _world() -> tuple[Any, int, int]:
    """Return the communicator, this rank's number on its node, and how many ranks the node has."""
    _shorten_addresses()
    try:
        from mpi4py import MPI
    except (ImportError, RuntimeError) as error:
        raise ValueError(
            f'several ranks need mpi4py and an MPI library ({error}); pip install "lartpc[train]"'
        ) from error
    comm = MPI.COMM_WORLD
    local = comm.Split_type(MPI.COMM_TYPE_SHARED)
    return comm, local.rank, local.size


def _shorten_addresses() -> None:
    """Have the MPICH that pip installs tell SLURM addresses of some bytes (libfabric's), not of 4 KiB (UCX's).

    SLURM's pmi2 plugin cuts what a rank asks after 1024 bytes. Requests with UCX's addresses also hold what lies
    behind these in memory, and are longer or not as that may be (docs/how-to/slurm.md).
    """
    by_slurm = "PMI_FD" in os.environ and "SLURM_STEP_ID" in os.environ
    with suppress(PackageNotFoundError):  # an MPI of the site may not have libfabric
        if by_slurm and distribution("mpich"):
            os.environ.setdefault("MPIR_CVAR_CH4_NETMOD", "ofi")
            # What a rank sent arrives, also if it calls MPI no more, but waits for torch.distributed.
            os.environ.setdefault("MPIR_CVAR_CH4_OFI_ENABLE_INJECT", "0")


def _meeting_point() -> tuple[str, int]:
    host = socket.gethostname()
    try:
        address = socket.gethostbyname(host)
    except OSError:
        address = "127.0.0.1"
    with socket.socket() as probe:
        probe.bind(("", 0))
        return address, int(probe.getsockname()[1])


def _sum_over_mpi(comm: Any, bucket: torch_dist.GradBucket) -> torch.futures.Future[Tensor]:  # type: ignore[name-defined]
    from mpi4py import MPI

    gradient = bucket.buffer()
    comm.Allreduce(MPI.IN_PLACE, gradient.numpy())
    done: torch.futures.Future[Tensor] = torch.futures.Future()
    done.set_result(gradient)
    return done


def _sum_over_torch(_: None, bucket: torch_dist.GradBucket) -> torch.futures.Future[Tensor]:  # type: ignore[name-defined]
    work = torch_dist.all_reduce(bucket.buffer(), async_op=True)
    assert work is not None
    summed: torch.futures.Future[Tensor] = work.get_future().then(lambda future: future.value()[0])
    return summed
