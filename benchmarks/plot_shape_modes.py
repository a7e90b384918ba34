"""Plot the first modes of the 300W training shapes, mean ± 3σ: docs/figures/shape-modes.png.

python benchmarks/plot_shape_modes.py --data FOLDER [--out FILE]; FOLDER holds 300w/.
"""

from __future__ import annotations

import argparse
from pathlib import Path

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from lightmark.data.formats.pts import read_pts_tree
from lightmark.geometry import Array, crop_matrix, tight_box, to_normalized, transform
from lightmark.outputs import require_free
from lightmark.schema import IBUG68
from lightmark.shape import POSES, REACH, ShapeModel, fit

MODES = 5
SIZE, CROP_SCALE = 128, 1.25  # any crop size gives the same picture but for half a pixel
PICTURE = Path(__file__).parents[1] / "docs" / "figures" / "shape-modes.png"
TITLES = {"none": "as they lie in the crop", "procrustes": "aligned (Procrustes)"}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--out", type=Path, default=PICTURE)
    parser.add_argument("--force", action="store_true", help="write over what is there")
    options = parser.parse_args()
    require_free([options.out], force=options.force)
    draw(training_shapes(options.data), options.out)


def training_shapes(data: Path) -> Array:
    """normalized_points (F, 68, 2) of the 300W training faces in their upright crops."""
    faces = [sample.points for sample in read_pts_tree(data / "300w") if "train" in sample.subsets]
    return np.stack([to_normalized(transform(crop_matrix(tight_box(p), SIZE, CROP_SCALE), p), SIZE) for p in faces])


def draw(shapes: Array, out: Path) -> None:
    figure = Figure(figsize=(2.3 * MODES, 4.4), layout="constrained")
    axes = figure.subplots(len(POSES), MODES, sharex="row", sharey="row")
    for row, align in enumerate(POSES):
        model = fit(shapes, 1.0, align)
        shares = model.variances / model.variances.sum()
        for column in range(MODES):
            draw_mode(axes[row, column], model, column)
            axes[row, column].set_title(f"mode {column + 1}: {100 * shares[column]:.1f} %", fontsize=10)
        axes[row, 0].set_ylabel(TITLES[align])
        axes[row, 0].invert_yaxis()  # y points down in pictures
    figure.suptitle(
        f"{len(shapes)} training faces of 300W: mean (grey), −{REACH:g}σ (blue), +{REACH:g}σ (orange); "
        "share of the variance"
    )
    out.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(out, dpi=110)


def draw_mode(axes: Axes, model: ShapeModel, mode: int) -> None:
    reach = REACH * np.sqrt(model.variances[mode]) * model.modes[mode]
    for shape, color in ((model.mean, "0.7"), (model.mean - reach, "#0072B2"), (model.mean + reach, "#D55E00")):
        draw_face(axes, shape, color)
    axes.set_aspect("equal")
    axes.set_xticks([])
    axes.set_yticks([])


def draw_face(axes: Axes, shape: Array, color: str) -> None:
    for edge in IBUG68.edges:
        axes.plot(*shape[list(edge)].T, color=color, linewidth=1.1)


if __name__ == "__main__":
    main()
