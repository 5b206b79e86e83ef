"""`lartpc train`: data-parallel training of one stage, on one process or on many MPI ranks."""

import json
import os
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from lartpc import config, dist
from lartpc.atomic import replacing
from lartpc.provenance import fingerprint, provenance
from lartpc.run.domain import domain_of
from lartpc.run.progress import Meter
from lartpc.run.training.board import FOLDER, Board
from lartpc.run.training.checkpoint import Checkpoints
from lartpc.run.training.curve import RATES, Curve
from lartpc.run.training.interrupt import GO_ON, Interrupt
from lartpc.run.training.optimize import Optimization, learning_rate
from lartpc.run.training.sample import Sample
from lartpc.run.weights import save_weights, warm_start
from lartpc.stages import Stage, needs_weights
from lartpc.steady import watching

WITHOUT_EFFECT = ("backend", "checkpoint_minutes", "num_workers", "output")
"""Settings that another checkpoint may have been made with: they do not change the weights."""


def train(
    stage: Stage,
    files: Sequence[Path],
    validation_files: Sequence[Path],
    section: Any,
    *,
    out: Path,
    log: Path,
    num_ranks: int | None = None,
) -> dict[str, Any]:
    """Train a stage and write its weights; a run that was cut off goes on from its last checkpoint.

    Asked to end by SIGTERM, SIGUSR1 or SIGINT on any rank, all ranks finish the same step, a checkpoint
    is written, and the process ends with status 75 (`interrupt.GO_ON`).

    Parameters
    ----------
    files, validation_files
        Event files of any number of shards; files of the same shard are overlaid.
    out
        The weights file, written last, with the best and the last weights beside it (`weights.best.pt`,
        `weights.last.pt`). Checkpoints live in `.resume/` beside it until then.
    log
        The training curve: one JSON object per validation.
    num_ranks
        Number of MPI ranks expected; None takes what the launcher gives.

    Returns
    -------
    The last line of the training curve.
    """
    if not stage.learned:
        raise ValueError(f"stage '{stage.name}' has no weights to train; run it with 'lartpc infer'")
    if not needs_weights(stage, section):
        raise ValueError(
            f"stage '{stage.name}' needs no weights under these settings; there is nothing to train"
        )
    settings: config.Training = section.train
    with (
        Interrupt() as interrupt,
        _deterministic(settings.deterministic),
        dist.join(num_ranks, settings.backend) as ranks,
    ):
        large = settings.max_voxels
        sample = Sample(stage, files, section, ranks=ranks, max_voxels=large, as_examples=True)
        held_out = Sample(stage, validation_files, section, ranks=ranks)
        if not len(sample):
            raise ValueError(
                f"no event to train {stage.name} on in {', '.join(map(str, files)) or 'no files'}"
            )
        if not len(held_out) and settings.num_validation_events:
            raise ValueError(
                f"no event to validate {stage.name} on in {', '.join(map(str, validation_files)) or 'no files'}; "
                f"give a sample with the split validation, or set {stage.name}.train.num_validation_events to 0"
            )
        if settings.batch_size < ranks.size * settings.accumulate:
            raise ValueError(
                f"{stage.name}.train.batch_size {settings.batch_size} gives some of {ranks.size} ranks no event "
                f"(accumulate is {settings.accumulate}); raise it, or use fewer ranks"
            )
        run = _Run(stage, section, ranks, out.parent / ".resume", f"{len(sample)} events of {sample.digest}")
        warning = _shared(held_out, sample)
        if warning:
            run.say(f"warning: {warning}")
        if sample.num_large:
            run.say(f"{sample.num_large} events with more than {settings.max_voxels} voxels are left out")
        label, quiet = f"train {stage.name}", not ranks.is_main
        with (
            Meter(label, settings.num_steps, "steps", quiet=quiet, done=run.step) as meter,
            Board(out.parent / FOLDER if ranks.is_main else None, run.step) as board,
            run.pieces(sample) as pieces,
        ):
            while not run.is_over and not run.must_stop:
                num_lines = len(run.curve.lines)
                loss = run.advance(pieces, held_out, stop=interrupt.signal is not None)
                board.add_step(run.step, loss, learning_rate(run.step - 1, settings))
                for line in run.curve.lines[num_lines:]:
                    board.add_line(line)
                    if ranks.is_main:
                        _write(log, run.curve)
                meter.advance(1, f"loss {loss['loss']:.4f}, {run.curve.voxels_per_s:,.0f} voxels/s per rank")
        if not run.is_over:
            run.say(
                f"asked to end{f' by {interrupt.signal.name}' if interrupt.signal else ''} at step {run.step} of "
                f"{settings.num_steps}; a checkpoint is written, and the same command goes on from it"
            )
            raise SystemExit(GO_ON)
        if ranks.is_main:
            _finish(run, sample, out, log, warning)
        ranks.barrier()
        return run.curve.lines[-1]


def _shared(held_out: Sample, sample: Sample) -> str:
    """Say which events of the validation the training sees, too, if any."""
    uids = held_out.shared_with(sample)
    if not uids:
        return ""
    more = f" and {len(uids) - 1} more" if len(uids) > 1 else ""
    return (
        f"the validation has events of the training ({uids[0]}{more}): its figures say nothing of other events; give "
        "it others"
    )


def _finish(run: "_Run", sample: Sample, out: Path, log: Path, warning: str) -> None:
    """Write the curve and the weights, the declared ones last, and remove the checkpoints."""
    origin = provenance(
        f"train {run.stage.name}",
        run.stage.version,
        config=config.slice_of(run.section, "train"),
        seed=run.settings.seed,
    )
    # One digest of all: the names of ten thousand shards would outweigh the network.
    origin["inputs"] = json.dumps({f"{len(sample)} events": sample.digest})
    if warning:
        origin["warning"] = warning
    origin["start"] = run.start
    domain = domain_of(sample.shards)
    _write(log, run.curve)
    last: dict[str, Any] = {"step": run.step, "loss": None, "state": run.optimization.net.state_dict()}
    choices = {"last": last, "best": run.best or last}
    wanted = run.settings.output
    if wanted == "auto":
        wanted = "best" if run.settings.patience else "last"
    targets = {name: out.with_name(f"{out.stem}.{name}{out.suffix}") for name in choices}
    for path, name in [*((targets[name], name) for name in choices), (out, wanted)]:
        chosen = choices[name]
        line = next(line for line in run.curve.lines[::-1] if line["step"] <= chosen["step"])
        final = {key: value for key, value in line.items() if key not in RATES}
        about = {**origin, "num_ranks": run.ranks.size, "weights": name, "final": final}
        save_weights(path, run.stage, run.section, chosen["state"], about, domain)
    run.checkpoints.forget()


def _write(log: Path, curve: Curve) -> None:
    with replacing(log) as part:
        part.write_text("".join(json.dumps(line) + "\n" for line in curve.lines))


class _Run:
    """A training: the optimization, its curve and its checkpoints, on one of the ranks."""

    def __init__(self, stage: Stage, section: Any, ranks: dist.Ranks, folder: Path, sample: str) -> None:
        self.stage, self.section, self.ranks = stage, section, ranks
        self.settings: config.Training = section.train
        self.module = stage.module()
        torch.manual_seed(self.settings.seed)
        net = self.module.network(section)
        self.start = ""
        """Digest of the weights that the training begins with."""
        if self.settings.init_from:
            begun = Path(self.settings.init_from)
            with watching([begun]):
                self.start = fingerprint(begun)[1]
                self.say(warm_start(net, begun))
        self.optimization = Optimization(net, self.module.loss, section, ranks)
        self.step = 0
        self.curve = Curve(f"train {stage.name}", quiet=not ranks.is_main)
        self.best: dict[str, Any] | None = None
        self.num_worse = 0
        self.must_stop = False
        self._saved = time.monotonic()
        key = key_of(stage.name, config.slice_of(section, "train"))
        key |= {"stage version": stage.version, "sample": sample, "weights to start from": self.start}
        defaults = key_of(stage.name, config.slice_of(type(section)(), "train"))
        defaults["weights to start from"] = self.start  # of an earlier version, which did not state them
        self.checkpoints = Checkpoints(folder, key, ranks, defaults)
        self._restore()

    @property
    def is_over(self) -> bool:
        """Tell whether all steps are made, or validations have not been better for `patience` times."""
        patience = self.settings.patience
        return self.step >= self.settings.num_steps or (patience is not None and self.num_worse >= patience)

    def pieces(self, sample: Sample) -> AbstractContextManager[Iterator[list[Any]]]:
        """Read this rank's share of the pieces of all batches that are left, ahead of time."""
        num_pieces = self.settings.accumulate
        settings = self.settings.model_copy(update={"batch_size": self.settings.batch_size // num_pieces})
        steps = range(self.step * num_pieces, self.settings.num_steps * num_pieces)
        return sample.batches(steps, settings, self.ranks)

    def advance(self, ahead: Iterator[list[Any]], held_out: Sample, *, stop: bool) -> dict[str, float]:
        """Make a step, with what is due after it: record, validation and checkpoint.

        All ranks learn in the step whether one of them was asked to `stop`, and whether it is time for
        a checkpoint by the clock of rank 0; `must_stop` then says so on all of them.
        """
        start = time.perf_counter()
        pieces = list(islice(ahead, self.settings.accumulate))
        read = time.perf_counter() - start
        overdue = time.monotonic() - self._saved >= 60 * self.settings.checkpoint_minutes
        loss, requests = self.optimization.update(
            pieces, self.step, [float(stop), float(overdue and self.ranks.is_main)]
        )
        self.step += 1
        self.must_stop, save = requests[0] > 0, max(requests) > 0
        num_voxels = float(sum(event.num_voxels for piece in pieces for event in piece))
        seconds = time.perf_counter() - start
        self.curve.record(self.step, loss, {"num_voxels": num_voxels, "read_s": read, "step_s": seconds})
        if self.step % self.settings.validate_every == 0 or self.step == self.settings.num_steps:
            self._validate(held_out)
            save = True
        if save:
            self._save()
        return loss

    def say(self, text: str) -> None:
        """Write a line to the log, on rank 0."""
        if self.ranks.is_main:
            sys.stderr.write(f"train {self.stage.name}: {text}\n")
            sys.stderr.flush()

    def _validate(self, sample: Sample) -> None:
        """Measure the network on held-out events, and add a line to the curve."""
        net = self.optimization.net
        self.ranks.average_buffers(net)
        net.eval()
        found: dict[tuple[str, str], NDArray[np.float64]] = {}

        def add(kind: str, name: str, fraction: tuple[float, float]) -> None:
            found[kind, name] = found.get((kind, name), np.zeros(2)) + np.asarray(fraction)

        for event in sample.share(self.settings.num_validation_events, self.ranks):
            products = self.module.infer(net, [event], self.section)[0]
            for name, fraction in self.module.metrics(
                event.with_products(products), event, self.section
            ).items():
                add("figure", name, fraction)
            with torch.no_grad():
                for name, (total, count) in self.module.loss(net, [event], self.section).items():
                    add("loss", name, (float(total), float(count)))
        names = sorted({name for part in self.ranks.gather(list(found)) for name in part})
        parts = np.array([found.get(name, np.zeros(2)) for name in names]).reshape(-1, 2)
        pooled = zip(names, self.ranks.sum(torch.from_numpy(parts)).tolist(), strict=True)
        values = {name: part / whole if whole else None for name, (part, whole) in pooled}
        terms = [value for (kind, _), value in values.items() if kind == "loss" and value is not None]
        held_out = {"validation": {name: value for (kind, name), value in values.items() if kind == "figure"}}
        if terms:
            held_out = {"validation_loss": sum(terms), **held_out}
            self._compare(sum(terms))
        self.curve.add_line(self.step, held_out, learning_rate(self.step, self.settings))

    def _compare(self, loss: float) -> None:
        """Keep the weights if their loss on held-out events is the lowest so far."""
        if self.best is None or loss < self.best["loss"]:
            state = {name: tensor.clone() for name, tensor in self.optimization.net.state_dict().items()}
            self.best, self.num_worse = {"step": self.step, "loss": loss, "state": state}, 0
            return
        self.num_worse += 1
        if self.is_over and self.step < self.settings.num_steps:
            self.say(
                f"ends at step {self.step}: in {self.num_worse} validations the loss was not below "
                f"{self.best['loss']:.4f} of step {self.best['step']}"
            )

    def _save(self) -> None:
        # The means of all ranks go into the file; they commute with the updates, which are linear.
        self.ranks.average_buffers(self.optimization.net)
        self.checkpoints.save(
            self.step,
            {
                "step": self.step,
                "curve": self.curve.state(),
                "best": self.best,
                "num_worse": self.num_worse,
                **self.optimization.state(),
            },
        )
        self._saved = time.monotonic()

    def _restore(self) -> None:
        state = self.checkpoints.load()
        if state is None:
            return
        self.optimization.restore(state)
        self.step, self.best, self.num_worse = state["step"], state["best"], state["num_worse"]
        self.curve.restore(state["curve"])
        self.say(f"goes on from the checkpoint of step {self.step}")


@contextmanager
def _deterministic(wanted: bool) -> Iterator[None]:
    """Allow only operations that give the same bits each time."""
    before = torch.are_deterministic_algorithms_enabled()
    if wanted:
        # cuBLAS reads it when it starts.
        os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")
        torch.use_deterministic_algorithms(True)
    yield
    torch.use_deterministic_algorithms(before)


def key_of(stage: str, settings: dict[str, Any]) -> dict[str, Any]:
    """Return the settings, by full name, that a checkpoint must have been made with to be gone on from."""
    dropped = {f"{stage}.train.{name}" for name in WITHOUT_EFFECT}
    return {name: value for name, value in _flat({stage: settings}).items() if name not in dropped}


def _flat(settings: dict[str, Any], prefix: str = "") -> dict[str, Any]:
    """Return nested settings with dots in their names."""
    found: dict[str, Any] = {}
    for name, value in settings.items():
        found |= _flat(value, f"{prefix}{name}.") if isinstance(value, dict) else {prefix + name: value}
    return found
