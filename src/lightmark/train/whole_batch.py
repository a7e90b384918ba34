"""A slice of a batch goes through a network as the whole batch would go through it in one process.

Two things look beyond a sample: batch norm, whose statistics become those of the whole batch, and dropout, whose masks
are drawn for the whole batch and cut. Both are caught as the network calls torch, so that the network is the same
object, with the same names of weights, in a world of any size.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from contextlib import AbstractContextManager, nullcontext
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor
from torch.overrides import TorchFunctionMode

from lightmark.train.ranks import total
from lightmark.train.world import world

aten = torch.ops.aten


def whole_batch() -> AbstractContextManager[object]:
    """Context for a network's pass over this process's slice; nothing changes in a world of one."""
    return nullcontext() if world().size == 1 else _WholeBatch()


class _WholeBatch(TorchFunctionMode):
    def __torch_function__(
        self,
        function: Callable[..., Any],
        types: Iterable[type],
        args: tuple[Any, ...] = (),
        kwargs: Mapping[str, Any] | None = None,
    ) -> Any:
        return TWINS.get(function, function)(*args, **(kwargs or {}))


def batch_norm(
    x: Tensor,
    running_mean: Tensor | None,
    running_var: Tensor | None,
    weight: Tensor | None = None,
    bias: Tensor | None = None,
    training: bool = False,
    momentum: float = 0.1,
    eps: float = 1e-5,
) -> Tensor:
    """F.batch_norm by the statistics of the whole batch.

    torch's own SyncBatchNorm is for GPUs alone.
    """
    if not training:
        return F.batch_norm(x, running_mean, running_var, weight, bias, False, momentum, eps)
    count = x.numel() // x.shape[1] * world().size
    mean, var = _moments(x.detach())
    if running_mean is not None and running_var is not None:
        running_mean.lerp_(mean.to(running_mean.dtype), momentum)
        running_var.lerp_((var * count / (count - 1)).to(running_var.dtype), momentum)
    weight = torch.ones_like(mean) if weight is None else weight
    normalised: Tensor = _Normalise.apply(x, weight, bias, mean, var, eps, count)  # type: ignore[no-untyped-call]  # torch's
    return normalised


def _moments(x: Tensor) -> tuple[Tensor, Tensor]:
    """Mean and variance (C,) of x (B, C, …) over the whole batch, float32.

    Moments about 0 are summed in float64, so that a mean far from 0 does not swallow the variance.
    """
    zeros = torch.zeros(2, x.shape[1], device=x.device)  # of float32, which asks for moments of this type
    mean, var = (moment.double() for moment in aten.batch_norm_update_stats(x, *zeros, 0.0))
    mean, square = total(torch.stack([mean, var + mean.square()])) / world().size
    return mean.float(), (square - mean.square()).clamp_min(0).float()


class _Normalise(torch.autograd.Function):
    """(x − mean) / √(var + eps) · weight + bias, where mean and var are those of x itself, over all processes."""

    @staticmethod
    def forward(
        ctx: Any, x: Tensor, weight: Tensor, bias: Tensor | None, mean: Tensor, var: Tensor, eps: float, count: int
    ) -> Tensor:
        ctx.save_for_backward(x, weight, mean, var)
        ctx.eps, ctx.count = eps, count
        return F.batch_norm(x, mean, var, weight, bias, False, 0.0, eps)

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor | None, ...]:
        """With x̂ = (x − mean) / σ: dx = weight / σ · (dy − mean(dy) − x̂ · mean(dy · x̂)), Ioffe and Szegedy 2015.

        torch's kernel for fixed statistics gives weight / σ · dy, and Σ dy · x̂ and Σ dy as weight's and bias's own.
        """
        x, weight, mean, var = ctx.saved_tensors
        given = (gradients[0], x, weight, mean, var, None, None, False, ctx.eps)
        dx, dweight, dbias = aten.native_batch_norm_backward(*given, [True, True, True])
        along, level = total(torch.stack([dweight, dbias]).double()) / ctx.count
        inverse = (var.double() + ctx.eps).rsqrt()
        slope = weight * inverse.square() * along
        constant = weight * inverse * level - slope * mean
        shape = (1, -1, *(1 for _ in x.shape[2:]))
        slope, constant = (each.float().view(shape) for each in (slope, constant))
        dx = (dx - torch.addcmul(constant, x, slope)).to(x.dtype)
        return dx, dweight, dbias, None, None, None, None


def dropout(x: Tensor, p: float = 0.5, training: bool = True, inplace: bool = False) -> Tensor:
    """F.dropout by this process's rows of the whole batch's mask."""
    return x * _mask(x, x.shape, 1 - p).div_(1 - p) if training and p else x


def dropout2d(x: Tensor, p: float = 0.5, training: bool = True, inplace: bool = False) -> Tensor:
    """F.dropout2d by this process's rows of the whole batch's mask."""
    return x * _mask(x, (*x.shape[:2], 1, 1), 1 - p).div_(1 - p) if training and p else x


def bernoulli_(x: Tensor, p: float = 0.5) -> Tensor:
    """Tensor.bernoulli_, which drop path calls: this process's rows of what the whole batch would draw."""
    return x.copy_(_mask(x, x.shape, p))


def _mask(like: Tensor, shape: Iterable[int], keep: float) -> Tensor:
    rows, *rest = shape
    rank, size, _ = world()
    drawn = torch.empty(size * rows, *rest, dtype=like.dtype, device=like.device).bernoulli_(keep)
    return drawn[rank * rows : (rank + 1) * rows]


TWINS: Mapping[Callable[..., Any], Callable[..., Any]] = {
    F.batch_norm: batch_norm,
    F.dropout: dropout,
    F.dropout2d: dropout2d,
    Tensor.bernoulli_: bernoulli_,
}
