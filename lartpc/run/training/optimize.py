"""Steps of AdamW on a network that several ranks share: the same as on one rank with the whole batch."""

import contextlib
import logging
from collections.abc import Callable, Sequence
from dataclasses import fields, is_dataclass
from functools import cache
from typing import Any

import torch
from torch import Tensor, nn
from torch.optim.lr_scheduler import CosineAnnealingLR, LinearLR, SequentialLR

from lartpc import config, sparse
from lartpc.dist import Ranks
from lartpc.nets.graph import GraphNetwork
from lartpc.nets.norm import synchronise
from lartpc.sparse.messages import can_multiply_in_bf16

Loss = Callable[[nn.Module, list[Any], Any], dict[str, tuple[Tensor, Tensor]]]
"""A stage's `loss` of events, or of its examples: each term as its sum and the count that it is to be divided by."""


class Optimization:
    """A network with its optimizer on one of the ranks.

    Attributes
    ----------
    net
        The network itself, whose names and values go into files.
    """

    def __init__(self, net: nn.Module, loss: Loss, section: Any, ranks: Ranks) -> None:
        self._loss, self._section, self._ranks = loss, section, ranks
        self._settings: config.Training = section.train
        self._frozen = _freeze(net, self._settings.freeze)
        self._is_set = False  # the network, to train
        self.net = net
        if getattr(self._settings, "sync_batch_norm", False) and ranks.size > 1:
            synchronise(net, ranks)
        self._shared = ranks.wrap(net)
        # Listed once: to look through all modules in each step takes a twentieth of it.
        self._parameters, self._buffers = list(net.parameters()), list(net.buffers())
        self._called = self._shared
        if self._settings.precision == "bf16":
            self._called = _Autocast(self._shared, ranks.device.type)
        # Fused: one pass over the weights, several times faster than torch's default on a CPU.
        self._optimizer = torch.optim.AdamW(
            net.parameters(),
            lr=self._settings.learning_rate,
            weight_decay=self._settings.weight_decay,
            fused=True,
        )

    def update(
        self, pieces: Sequence[list[Any]], step: int, requests: Sequence[float]
    ) -> tuple[dict[str, float], list[float]]:
        """Make one step on the batch of all ranks, and return its loss and the sums of `requests`.

        Each term is divided by its count over all ranks. A batch in several pieces has the mean of their
        gradients. A step whose gradient is not finite leaves the network as it was.

        Returns
        -------
        loss
            The terms of the loss, their sum as `loss`, and `gradient_norm`.
        requests
            The sum over the ranks of each number given; it costs nothing, as it goes with the counts.
        """
        if not self._is_set or not self.net.training:
            self.net.train()
            for module in self._frozen:
                module.eval()
            self._is_set = True
        for group in self._optimizer.param_groups:
            group["lr"] = learning_rate(step, self._settings)
        self._optimizer.zero_grad(set_to_none=True)
        buffers = [buffer.clone() for buffer in self._buffers]
        values: dict[str, float] = {}
        asked = list(requests)
        for number, piece in enumerate(pieces):
            with self._alone() if number < len(pieces) - 1 else contextlib.nullcontext():
                found = self._backward(piece, len(pieces), requests)
            terms, asked = found
            for name, value in terms.items():
                values[name] = values.get(name, 0.0) + value / len(pieces)
        norm = torch.nn.utils.clip_grad_norm_(self._parameters, self._settings.clip_norm)
        if torch.isfinite(norm):
            self._optimizer.step()
        else:
            for buffer, before in zip(self._buffers, buffers, strict=True):
                buffer.copy_(before)
        return {"loss": sum(values.values()), **values, "gradient_norm": float(norm)}, asked

    def state(self) -> dict[str, Any]:
        """Return network and optimizer, to go on from; the learning rate is a function of the step."""
        return {"net": self.net.state_dict(), "optimizer": self._optimizer.state_dict()}

    def restore(self, state: dict[str, Any]) -> None:
        """Go on from what `state` returned."""
        self.net.load_state_dict(state["net"])
        self._optimizer.load_state_dict(state["optimizer"])

    def _backward(
        self, piece: list[Any], num_pieces: int, requests: Sequence[float]
    ) -> tuple[dict[str, float], list[float]]:
        """Add the gradients of a piece, and return the terms of its loss and the sums of the requests."""
        terms = self._loss(self._called, piece, self._section)
        counts = torch.stack([count.detach().float() for _, count in terms.values()])
        pooled = self._ranks.sum(torch.cat([counts, counts.new_tensor(requests)]))
        counts, asked = pooled[: len(terms)].clamp(min=1e-12), pooled[len(terms) :].tolist()
        loss = sum(
            (total / count for (total, _), count in zip(terms.values(), counts, strict=True)),
            start=torch.zeros((), device=self._ranks.device),
        )
        # Every parameter takes part: one that an odd batch did not need has a gradient of zeros. DDP is told before.
        if self._ranks.size > 1:
            loss = loss + 0.0 * sum(parameter.sum() for parameter in self._parameters)
        if loss.requires_grad:
            (loss / num_pieces).backward()
        for parameter in self._parameters:
            if parameter.requires_grad and parameter.grad is None:
                parameter.grad = torch.zeros_like(parameter)
        sums = self._ranks.sum(torch.stack([total.detach().float() for total, _ in terms.values()]))
        return dict(zip(terms, (sums / counts).tolist(), strict=True)), asked

    def _alone(self) -> contextlib.AbstractContextManager[None]:
        """Return a context in which gradients are added up without the other ranks."""
        no_sync = getattr(self._shared, "no_sync", contextlib.nullcontext)
        found: contextlib.AbstractContextManager[None] = no_sync()
        return found


class _Autocast(nn.Module):
    """A network whose forward pass is in bf16 where that is safe, and whose output is in fp32.

    On CPUs bf16 is for sparse convolutions and message passing alone.
    """

    def __init__(self, net: nn.Module, device: str) -> None:
        super().__init__()
        self.net, self._device = net, device
        kinds: tuple[type[nn.Module], ...] = (sparse.SubmanifoldConv, sparse.Downsample, sparse.Upsample)
        if can_multiply_in_bf16():
            kinds = (*kinds, GraphNetwork)
        if device == "cpu" and not any(isinstance(module, kinds) for module in net.modules()):
            logging.getLogger(__name__).warning(
                "train.precision: bf16 changes nothing on this CPU for a network without sparse convolutions; "
                "it computes in fp32"
            )

    def forward(self, *inputs: Any) -> Any:
        """Call the network."""
        if self._device == "cpu":
            with sparse.multiply_in_bf16():
                return self.net(*inputs)
        with torch.autocast(self._device, torch.bfloat16):
            return _to_fp32(self.net(*inputs))


def _to_fp32(value: Any) -> Any:
    """Turn bf16 tensors into fp32 ones in nested results; what else is in them stays the same object."""
    if isinstance(value, Tensor):
        return value.float() if value.dtype == torch.bfloat16 else value
    if isinstance(value, list | tuple):
        return type(value)(_to_fp32(item) for item in value)
    if isinstance(value, dict):
        return {name: _to_fp32(item) for name, item in value.items()}
    if is_dataclass(value) and not isinstance(value, type):
        return type(value)(**{item.name: _to_fp32(getattr(value, item.name)) for item in fields(value)})
    return value


def _freeze(net: nn.Module, prefixes: Sequence[str]) -> list[nn.Module]:
    """Exclude parameters from training by their names, and return the modules that keep their statistics.

    Raises
    ------
    ValueError
        No parameter begins with a prefix, or none is left to train.
    """
    names = [name for name, _ in net.named_parameters()]
    for prefix in prefixes:
        if not any(name.startswith(prefix) for name in names):
            parts = ", ".join(dict.fromkeys(name.split(".")[0] for name in names))
            raise ValueError(f"train.freeze: no parameter begins with '{prefix}'; the network has {parts}")
    frozen = tuple(prefixes)
    for name, parameter in net.named_parameters():
        parameter.requires_grad_(not name.startswith(frozen) if frozen else True)
    if not any(parameter.requires_grad for parameter in net.parameters()):
        raise ValueError("train.freeze leaves no parameter to train")
    return [module for name, module in net.named_modules() if frozen and f"{name}.".startswith(frozen)]


def learning_rate(step: int, settings: config.Training) -> float:
    """Return the rate of a step: a linear rise, then half a cosine down to a hundredth of the peak."""
    rise = max(1, round(settings.warmup_fraction * settings.num_steps))
    return _rates(settings.num_steps, rise, settings.learning_rate)[min(step, settings.num_steps)]


@cache
def _rates(num_steps: int, rise: int, peak: float) -> tuple[float, ...]:
    """Return the rates of all steps, and the one that is left after the last.

    torch's schedules are run once, beside an optimizer of nothing, as they hold a state that would have to go into
    checkpoints: the rate of a step is thus the same for a training that was interrupted, and one that was not.
    """
    nothing = torch.optim.SGD([torch.zeros(1)], lr=peak)
    up = LinearLR(nothing, start_factor=1 / rise, total_iters=max(1, rise - 1))
    down = CosineAnnealingLR(nothing, T_max=max(1, num_steps - rise), eta_min=0.01 * peak)
    schedule = SequentialLR(nothing, [up, down], milestones=[rise])
    rates = [peak / rise]
    for _ in range(num_steps):
        nothing.step()
        schedule.step()
        rates.append(float(schedule.get_last_lr()[0]))
    return tuple(rates)
