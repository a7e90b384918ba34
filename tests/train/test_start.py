"""Tests of initial weights from shipped and trained students."""

from pathlib import Path

import numpy as np
import pytest

from lightmark.data.sample import Sample, load_image
from lightmark.errors import CheckpointError
from lightmark.geometry import tight_box
from lightmark.image import warp
from lightmark.nets.checkpoint import load_model, save_checkpoint
from lightmark.nets.network import Architecture, build_network
from lightmark.runtime.onnx_model import OnnxModel
from lightmark.runtime.shipped import model_path
from lightmark.schema import IBUG68, plain_schema
from lightmark.spec import ModelSpec, spec_crop_matrix
from lightmark.train.faces import mean_normalized_points
from lightmark.train.start import write_start


def noise_faces(count, schema=IBUG68):
    """Faces of noise, labelled at random in the middle of the picture."""
    rng = np.random.default_rng(0)
    faces = []
    for number in range(count):
        image = rng.integers(0, 256, (20, 20, 3), dtype=np.uint8).repeat(8, 0).repeat(8, 1)
        points = rng.uniform(40, 120, (schema.size, 2))
        faces.append(Sample(Path(f"{number}.png"), points, tight_box(points), schema, str(number), image=image))
    return faces


def crops_of(faces, spec):
    """Upright crops (F, S, S, 3)."""
    return np.stack([warp(load_image(face), spec_crop_matrix(spec, face.box), spec.size) for face in faces])


def test_exported_file_begins_as_it_was(tmp_path):
    """Batch norms are back and undone: the checkpoint predicts what the shipped file does, on other crops too."""
    faces = noise_faces(6)
    start = load_model(write_start(model_path("fast"), faces[:3], tmp_path / "start.safetensors"))
    crops = crops_of(faces, start.spec)
    np.testing.assert_allclose(start(crops), OnnxModel(model_path("fast"), 1)(crops), atol=1e-5)
    norms = [module for module in start.network.modules() if type(module).__name__ == "BatchNorm2d"]
    assert len({float(norm.running_var.mean()) for norm in norms}) > len(norms) / 2


def test_other_points_begin_at_their_mean(tmp_path):
    """Each point begins as the nearest one of the model, moved to where the labels have it on average."""
    faces = noise_faces(8, plain_schema(4))
    start = load_model(write_start(model_path("fast"), faces, tmp_path / "start.safetensors"))
    assert start.spec.schema.size == 4
    predicted = start(crops_of(faces, start.spec))
    mean = mean_normalized_points(faces, start.spec)
    np.testing.assert_allclose(predicted.mean(axis=0), mean, atol=1e-4)
    assert predicted.std(axis=0).max() > 1e-3, "they move with the model's points"


@pytest.mark.parametrize("companion", [None, "mobilenetv2-slim-thirds"])
def test_checkpoint_begins_as_it_was(tmp_path, faces, companion):
    """A trained checkpoint is a start like an exported file."""
    spec = ModelSpec(faces[0].schema, 48, 1.25)
    architecture = Architecture("mobilenetv2", "spatial", width=0.25, companion=companion)
    network = build_network(architecture, mean_normalized_points(faces, spec), 1)
    save_checkpoint(tmp_path / "a.safetensors", network, architecture, spec)
    start = load_model(write_start(tmp_path / "a.safetensors", faces, tmp_path / "start.safetensors"))
    crops = crops_of(faces, spec)
    np.testing.assert_allclose(start(crops), load_model(tmp_path / "a.safetensors")(crops), atol=1e-6)


def test_network_with_a_companion_takes_other_points(tmp_path, faces):
    """Both heads get them, so that the mean of their points begins at the mean places of the new ones."""
    architecture = Architecture("mobilenetv2", "spatial", width=0.25, companion="mobilenetv2-slim-thirds")
    spec = ModelSpec(faces[0].schema, 48, 1.25)
    save_checkpoint(tmp_path / "a.safetensors", build_network(architecture, mean_normalized_points(faces, spec), 1),
                    architecture, spec)  # fmt: skip
    others = noise_faces(8, plain_schema(4))
    start = load_model(write_start(tmp_path / "a.safetensors", others, tmp_path / "start.safetensors"))
    mean = mean_normalized_points(others, start.spec)
    np.testing.assert_allclose(start(crops_of(others, start.spec)).mean(axis=0), mean, atol=1e-4)


def test_models_that_are_no_start_are_refused(tmp_path, faces):
    """int8 weights, and a pooling head, whose points share one layer's features."""
    with pytest.raises(CheckpointError, match=r"give the float32 file \(standard, not standard-int8\)"):
        write_start(model_path("fast-int8"), faces, tmp_path / "start.safetensors")
    spec = ModelSpec(faces[0].schema, 32, 1.25)
    architecture = Architecture("mobilenetv2", "pooling", width=0.25)
    network = build_network(architecture, np.full((5, 2), 0.5), 0)
    save_checkpoint(tmp_path / "a.safetensors", network, architecture, spec)
    with pytest.raises(CheckpointError, match="has a pooling head"):
        write_start(tmp_path / "a.safetensors", faces, tmp_path / "start.safetensors")
