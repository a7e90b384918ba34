"""Plot the KD-Loss of both presets, value and gradient, for one coordinate: docs/figures/kd-loss.png.

python benchmarks/plot_losses.py [--out FILE]
"""

from __future__ import annotations

import argparse
from collections.abc import Callable, Mapping
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import torch
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from torch import Tensor

from lightmark.losses import PRESETS, KDConstants, Preset, assistive_of, main_of
from lightmark.outputs import require_free

# The teachers' distances of the published figure, in unit coordinates.
TOUGH, TOLERANT = 0.40, 0.49
FARTHEST = 0.65
PICTURE = Path(__file__).parents[1] / "docs" / "figures" / "kd-loss.png"
TITLES: dict[Preset, str] = {
    "figure": "preset “figure”: the published curves",
    "released": "preset “released”: the authors' code",
}

Curve = Callable[[Tensor], Tensor]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--out", type=Path, default=PICTURE)
    parser.add_argument("--force", action="store_true", help="write over what is there")
    options = parser.parse_args()
    require_free([options.out], force=options.force)
    draw(options.out)


def draw(out: Path) -> None:
    figure = Figure(figsize=(11, 8), layout="constrained")
    axes = figure.subplots(2, len(TITLES), sharex=True)
    for column, (preset, title) in enumerate(TITLES.items()):
        constants = PRESETS[preset]
        for (name, curve), style in zip(curves(constants).items(), STYLES, strict=True):
            d, value, gradient = sample(curve, boundaries(constants))
            axes[0, column].plot(d, value, label=name, **style)
            axes[1, column].plot(d, gradient, label=name, **style)
        for row in (0, 1):
            mark_boundaries(axes[row, column], constants)
        axes[0, column].set_title(title)
        axes[0, column].legend(loc="upper left")
        axes[1, column].set_xlabel("d = |prediction − truth|, unit coordinates")
    axes[0, 0].set_ylabel("loss of one coordinate")
    axes[1, 0].set_ylabel("gradient that reaches the student")
    out.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(out, dpi=110)


# Okabe and Ito's colours, distinguishable by colour-blind readers, each with a dash of its own.
STYLES: tuple[Mapping[str, Any], ...] = (
    {"color": "black", "linewidth": 2.2},
    {"color": "#0072B2", "linestyle": "--"},
    {"color": "#D55E00", "linestyle": "-"},
    {"color": "#009E73", "linestyle": "-."},
)


def curves(constants: KDConstants) -> dict[str, Curve]:
    """The sum and its three terms, each a function of the student's distance."""
    tough, tolerant = torch.tensor([TOUGH, TOLERANT], dtype=torch.float64)
    weight = constants.main_weight
    terms: dict[str, Curve] = {
        f"{weight:g} · Loss_Main": lambda d: weight * main_of(d, tolerant, constants),
        "ALoss_Tou": lambda d: assistive_of(d, tough, constants.tough),
        "ALoss_Tol": lambda d: assistive_of(d, tolerant, constants.tolerant),
    }
    return {"KD-Loss, their sum": lambda d: torch.stack([term(d) for term in terms.values()]).sum(dim=0)} | terms


def boundaries(constants: KDConstants) -> dict[str, float]:
    """Where one region ends and the next begins."""
    marks = {
        "β·D_Tou": constants.tough.beta * TOUGH,
        "β·D_Tol": constants.tolerant.beta * TOLERANT,
        "D_Tou": TOUGH,
        "D_Tol": TOLERANT,
    }
    return marks if constants.main_knee is None else marks | {"knee": constants.main_knee}


def sample(curve: Curve, marks: dict[str, float]) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Distances, values and gradients, region by region with a gap between, so that a jump is drawn as one."""
    pieces = []
    for start, end in pairwise(sorted([0.0, *marks.values(), FARTHEST])):
        d = torch.linspace(start + 1e-9, end - 1e-9, 200, dtype=torch.float64, requires_grad=True)
        value = curve(d)
        (gradient,) = torch.autograd.grad(value.sum(), d)
        gap = torch.full((1,), torch.nan)
        pieces.append(torch.stack([torch.cat([part.detach(), gap]) for part in (d, value, gradient)]))
    d, value, gradient = torch.cat(pieces, dim=1).numpy()
    return d, value, gradient


def mark_boundaries(axes: Axes, constants: KDConstants) -> None:
    axes.axhline(0, color="0.8", linewidth=0.8, zorder=0)
    low, high = axes.get_ylim()
    axes.set_ylim(low - 0.12 * (high - low), high)  # room for the names
    for name, place in boundaries(constants).items():
        axes.axvline(place, color="0.75", linewidth=0.8, linestyle=":", zorder=0)
        side = "right" if name.endswith("Tou") else "left"
        height = 0.12 if name == "knee" else 0.01  # it stands beside D_Tol
        label = axes.text(place, height, f" {name} ", rotation=90, ha=side, fontsize=8, color="0.35")
        label.set_transform(axes.get_xaxis_transform())


if __name__ == "__main__":
    main()
