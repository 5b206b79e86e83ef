"""`lartpc train`: data-parallel training of one stage, on one process or on many MPI ranks."""

import json
import math
import shutil
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from lartpc import config, dist
from lartpc.atomic import replacing
from lartpc.event import Event
from lartpc.run.progress import Meter
from lartpc.run.sample import Sample
from lartpc.run.weights import save_weights
from lartpc.stages import Stage
from lartpc.store import provenance

Terms = dict[str, tuple[Tensor, Tensor]]


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

    Parameters
    ----------
    files, validation_files
        Event files of any number of shards; files of the same shard are overlaid.
    out
        The weights file, written last. Checkpoints live in `.resume/` beside it until then.
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
    settings: config.Training = section.train
    with dist.join(num_ranks, settings.backend) as ranks:
        sample = Sample(stage, files, section)
        held_out = Sample(stage, validation_files, section)
        if not len(sample):
            raise ValueError(
                f"no event to train {stage.name} on in {', '.join(map(str, files)) or 'no files'}"
            )
        run = _Run(stage, section, ranks, out.parent / ".resume")
        with Meter(f"train {stage.name}", settings.num_steps, "steps", quiet=not ranks.is_main) as meter:
            meter.advance(run.step)
            while run.step < settings.num_steps:
                start = time.perf_counter()
                batch = sample.batch(run.step, settings, ranks)
                read = time.perf_counter() - start
                loss = run.update(batch)
                run.record(loss, batch, read, time.perf_counter() - start)
                if run.step % settings.validate_every == 0 or run.step == settings.num_steps:
                    run.validate(held_out)
                    run.checkpoint()
                meter.advance(1, f"loss {loss['loss']:.4f}")
        if ranks.is_main:
            origin = provenance(
                f"train {stage.name}",
                stage.version,
                config=config.slice_of(section, "train"),
                inputs=files,
                seed=settings.seed,
            )
            with replacing(log) as part:
                part.write_text("".join(json.dumps(line) + "\n" for line in run.curve))
            save_weights(
                out, stage, section, run.net, {**origin, "num_ranks": ranks.size, "final": run.curve[-1]}
            )
            run.forget()
        ranks.barrier()
        return run.curve[-1]


class _Run:
    """The state of a training: network, optimizer, step and curve, with its checkpoints."""

    def __init__(self, stage: Stage, section: Any, ranks: dist.Ranks, folder: Path) -> None:
        self.stage, self.section, self.ranks = stage, section, ranks
        self.settings: config.Training = section.train
        self.module = stage.module()
        torch.manual_seed(self.settings.seed)
        self.net: nn.Module = self.module.network(section)
        self.wrapped = ranks.wrap(self.net)
        self.optimizer = torch.optim.AdamW(
            self.net.parameters(), lr=self.settings.learning_rate, weight_decay=self.settings.weight_decay
        )
        self.step = 0
        self.curve: list[dict[str, Any]] = []
        self._sums: dict[str, float] = {}
        self._file = folder / "state.pt"
        self._key = json.dumps([config.slice_of(section, "train"), stage.version], sort_keys=True)
        self._restore()

    def update(self, batch: list[Event]) -> dict[str, float]:
        """Make one optimizer step on the batch of all ranks and return the terms of its loss."""
        self.net.train()
        for group in self.optimizer.param_groups:
            group["lr"] = learning_rate(self.step, self.settings)
        terms: Terms = self.module.loss(self.wrapped, batch, self.section)
        counts = self.ranks.sum(torch.stack([count.detach().float() for _, count in terms.values()]))
        counts = counts.clamp(min=1e-12)
        loss = sum(
            (total / count for (total, _), count in zip(terms.values(), counts, strict=True)),
            start=torch.zeros((), device=self.ranks.device),
        )
        # Every parameter takes part, so that DDP waits for none that an odd batch did not need.
        loss = loss + 0.0 * sum(parameter.sum() for parameter in self.net.parameters())
        self.optimizer.zero_grad(set_to_none=True)
        loss.backward()
        norm = torch.nn.utils.clip_grad_norm_(self.net.parameters(), self.settings.clip_norm)
        if torch.isfinite(norm):
            self.optimizer.step()
        self.step += 1
        sums = self.ranks.sum(torch.stack([total.detach().float() for total, _ in terms.values()]))
        values = dict(zip(terms, (sums / counts).tolist(), strict=True))
        return {
            "loss": sum(values.values()),
            **values,
            "gradient_norm": float(norm),
            "num_skipped": float(not torch.isfinite(norm)),
        }

    def record(self, loss: dict[str, float], batch: list[Event], read_s: float, step_s: float) -> None:
        """Add a step to the averages of the next line of the curve."""
        rates = {"num_voxels": sum(event.num_voxels for event in batch), "read_s": read_s, "step_s": step_s}
        for name, value in {**loss, **rates, "num_steps": 1}.items():
            self._sums[name] = self._sums.get(name, 0.0) + value

    def validate(self, sample: Sample) -> None:
        """Measure the network on held-out events and add a line to the curve."""
        self.ranks.average_buffers(self.net)
        self.net.eval()
        found: dict[str, NDArray[np.float64]] = {}
        for event in sample.share(self.settings.num_validation_events, self.ranks):
            products = self.module.infer(self.net, [event], self.section)[0]
            for name, fraction in self.module.metrics(event.with_products(products), event).items():
                found[name] = found.get(name, np.zeros(2)) + np.asarray(fraction)
        names = sorted(found)
        if self.ranks.comm is not None:
            names = sorted({name for part in self.ranks.comm.allgather(names) for name in part})
        pooled = self.ranks.sum(
            torch.tensor(np.array([found.get(n, np.zeros(2)) for n in names]).reshape(-1, 2))
        )
        num_steps = max(self._sums.pop("num_steps", 0.0), 1.0)
        num_skipped = self._sums.pop("num_skipped", 0.0)
        step_s, read_s = self._sums.pop("step_s", 0.0), self._sums.pop("read_s", 0.0)
        line = {
            "step": self.step,
            **{name: value / num_steps for name, value in self._sums.items()},
            "num_skipped": num_skipped,
            "voxels_per_s": self._sums.get("num_voxels", 0.0) / max(step_s, 1e-9),
            "read_share": read_s / max(step_s, 1e-9),
            "learning_rate": learning_rate(self.step, self.settings),
            "validation": {n: float(a / b) if b else None for n, (a, b) in zip(names, pooled, strict=True)},
        }
        self._sums = {}
        self.curve.append(line)

    def checkpoint(self) -> None:
        """Save the state from which the training can go on."""
        if self.ranks.is_main:
            state = {
                "key": self._key,
                "step": self.step,
                "curve": json.dumps(self.curve),
                "net": self.net.state_dict(),
                "optimizer": self.optimizer.state_dict(),
                "rng": torch.get_rng_state(),
            }
            with replacing(self._file) as part:
                torch.save(state, part)
        self.ranks.barrier()

    def forget(self) -> None:
        """Remove the checkpoint of a training that is complete."""
        shutil.rmtree(self._file.parent, ignore_errors=True)

    def _restore(self) -> None:
        if not self._file.is_file():
            return
        state = torch.load(self._file, map_location=self.ranks.device, weights_only=True)
        if state["key"] != self._key:
            return
        self.net.load_state_dict(state["net"])
        self.optimizer.load_state_dict(state["optimizer"])
        torch.set_rng_state(state["rng"].cpu())
        self.step = state["step"]
        self.curve = json.loads(state["curve"])


def learning_rate(step: int, settings: config.Training) -> float:
    """Return the rate of a step: a linear rise, then half a cosine down to a hundredth of the peak."""
    rise = max(1, round(settings.warmup_fraction * settings.num_steps))
    if step < rise:
        return settings.learning_rate * (step + 1) / rise
    along = (step - rise) / max(1, settings.num_steps - rise)
    return settings.learning_rate * (0.01 + 0.99 * 0.5 * (1 + math.cos(math.pi * min(along, 1.0))))
