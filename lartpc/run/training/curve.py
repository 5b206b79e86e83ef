"""The training curve: averages between validations, and what was remarkable on the way."""

import json
import math
import sys
from collections.abc import Mapping
from statistics import median
from typing import Any

SPIKE_FACTOR = 3.0
"""A loss of so many times the median of the steps before it is a spike."""

SPIKE_WINDOW = 50
"""Steps that the median is taken of; before half as many are there, nothing is a spike."""

RATES = ("voxels_per_s", "read_share")
"""What of a line is of the machine and the hour, and not of the training."""

MAX_SKIPPED = 50
"""Steps in a row without a finite loss or gradient after which a training is given up."""


class Curve:
    """One line per validation, each with the means of the steps since the one before.

    Attributes
    ----------
    lines
        What the log holds, one JSON object each.
    """

    def __init__(self, label: str, quiet: bool) -> None:
        self._label, self._quiet = label, quiet
        self.lines: list[dict[str, Any]] = []
        self._sums: dict[str, float] = {}
        self._recent: list[float] = []
        self._spikes: list[int] = []
        self._skipped: list[int] = []
        self._largest_norm = 0.0

    def record(self, step: int, loss: Mapping[str, float], rates: Mapping[str, float]) -> None:
        """Add a step: terms of its loss with `loss` and `gradient_norm`, and rates such as seconds.

        Raises
        ------
        ValueError
            No step was finite for a long time.
        """
        added: dict[str, float] = {**rates, "num_steps": 1.0}
        if math.isfinite(loss["loss"]) and math.isfinite(loss["gradient_norm"]):
            added |= {**loss, "num_finite": 1.0}
            self._largest_norm = max(self._largest_norm, loss["gradient_norm"])
            self._look_for_spike(step, loss["loss"])
        else:
            self._say(f"step {step}: loss or gradient is not finite; the step is skipped")
            self._skipped.append(step)
            if self._skipped[-MAX_SKIPPED:] == list(range(step - MAX_SKIPPED + 1, step + 1)):
                raise ValueError(
                    f"{self._label}: loss or gradient was not finite in {MAX_SKIPPED} steps in a row, up to "
                    f"step {step}; lower train.learning_rate, or look for bad values in the events"
                )
        for name, value in added.items():
            self._sums[name] = self._sums.get(name, 0.0) + value

    def add_line(self, step: int, held_out: Mapping[str, Any], learning_rate: float) -> None:
        """End a line with the figures on held-out events."""
        sums = {"num_steps": 0.0, "step_s": 0.0, "read_s": 0.0, "num_voxels": 0.0, **self._sums}
        num_steps, num_finite = max(sums.pop("num_steps"), 1.0), max(sums.pop("num_finite", 0.0), 1.0)
        seconds, read = max(sums.pop("step_s"), 1e-9), sums.pop("read_s")
        num_voxels = sums.pop("num_voxels")
        since = self.lines[-1]["step"] if self.lines else 0
        self.lines.append(
            {
                "step": step,
                **{name: value / num_finite for name, value in sums.items()},
                "num_voxels": num_voxels / num_steps,
                "num_skipped": len([one for one in self._skipped if one > since]),
                "num_spikes": len([one for one in self._spikes if one > since]),
                "spikes": [one for one in self._spikes if one > since],
                "largest_gradient_norm": self._largest_norm,
                "voxels_per_s": num_voxels / seconds,
                "read_share": read / seconds,
                "learning_rate": learning_rate,
                **held_out,
            }
        )
        self._sums, self._largest_norm = {}, 0.0

    @property
    def voxels_per_s(self) -> float:
        """Voxels per second of this rank in the steps since the last line, or in those of that line."""
        if self._sums.get("step_s"):
            return self._sums["num_voxels"] / self._sums["step_s"]
        return float(self.lines[-1]["voxels_per_s"]) if self.lines else 0.0

    def state(self) -> str:
        """Return all of it as text."""
        return json.dumps(
            [self.lines, self._sums, self._recent, self._spikes, self._skipped, self._largest_norm]
        )

    def restore(self, state: str) -> None:
        """Go on from what `state` returned."""
        found = json.loads(state)
        self.lines, self._sums, self._recent, self._spikes, self._skipped, self._largest_norm = found

    def _look_for_spike(self, step: int, loss: float) -> None:
        usual = median(self._recent) if len(self._recent) >= SPIKE_WINDOW // 2 else math.inf
        if loss > SPIKE_FACTOR * usual > 0:
            self._spikes.append(step)
            self._say(f"step {step}: the loss {loss:.4g} spikes, {loss / usual:.1f} times the usual")
        self._recent = [*self._recent[1 - SPIKE_WINDOW :], loss]

    def _say(self, text: str) -> None:
        if not self._quiet:
            sys.stderr.write(f"{self._label}: {text}\n")
            sys.stderr.flush()
