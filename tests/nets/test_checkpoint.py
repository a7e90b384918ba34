"""Tests of checkpoints: they come back to the bit, and a file that is not one is named, never run."""

import json
import pickle
import subprocess
import sys
from dataclasses import replace

import numpy as np
import pytest
import torch

from lightmark.errors import CheckpointError, SpecError
from lightmark.nets.checkpoint import (
    METADATA_KEY,
    TorchModel,
    load_checkpoint,
    load_model,
    load_weights,
    read_tensors,
    save_checkpoint,
    write_tensors,
)
from lightmark.nets.network import Architecture, describe
from lightmark.spec import ModelSpec, normalise_crops, spec_to_json


@pytest.fixture
def saved(tmp_path, small_network, small_architecture, small_spec):
    """Path of a small network's checkpoint."""
    path = tmp_path / "modèle.safetensors"
    save_checkpoint(path, small_network, small_architecture, small_spec)
    return path


@pytest.fixture
def crops():
    """Three noise crops."""
    return np.random.default_rng(0).integers(0, 256, (3, 64, 64, 3), dtype=np.uint8)


def rewritten(path, **changes):
    """The checkpoint with some keys of its spec changed."""
    tensors, metadata = read_tensors(path)
    write_tensors(path, tensors, {METADATA_KEY: json.dumps(json.loads(metadata[METADATA_KEY]) | changes)})
    return path


def refusal(path):
    """Message of the error on loading the file, which must name the file once."""
    with pytest.raises(CheckpointError) as caught:
        load_checkpoint(path)
    assert str(caught.value).count(str(path)) == 1
    return str(caught.value)


def test_weights_come_back_to_the_bit(saved, small_network):
    """Every tensor has the same name, type and value."""
    network, _ = load_checkpoint(saved)
    before, after = small_network.state_dict(), network.state_dict()
    assert before.keys() == after.keys()
    assert all(before[name].dtype == after[name].dtype for name in before)
    assert all(torch.equal(before[name], after[name]) for name in before)


def test_loaded_network_predicts_the_same(saved, small_network, small_spec, crops):
    """The loaded network is in evaluation mode and gives the same points."""
    network, spec = load_checkpoint(saved)
    assert not network.training
    planes = torch.from_numpy(normalise_crops(crops, small_spec))
    with torch.no_grad():
        assert torch.equal(network(planes), small_network(planes))
    assert spec.size == 64


def test_spec_comes_back(saved, small_spec, small_architecture):
    """The file holds all of the spec, and the architecture that the network was built from."""
    assert load_checkpoint(saved)[1] == replace(small_spec, architecture=describe(small_architecture))


def test_saving_twice_gives_the_same_bytes(saved, tmp_path, small_network, small_architecture, small_spec):
    """A checkpoint depends on its content alone."""
    save_checkpoint(tmp_path / "again.safetensors", small_network, small_architecture, small_spec)
    assert (tmp_path / "again.safetensors").read_bytes() == saved.read_bytes()


def test_half_precision_halves_the_file(saved, tmp_path, small_network, small_architecture, small_spec, crops):
    """In float16 the file is half as large, and the points hardly move."""
    path = tmp_path / "half.safetensors"
    save_checkpoint(path, small_network, small_architecture, small_spec, torch.float16)
    assert path.stat().st_size < 0.55 * saved.stat().st_size
    network, _ = load_checkpoint(path)
    assert {tensor.dtype for tensor in network.state_dict().values()} == {torch.float32, torch.int64}
    np.testing.assert_allclose(load_model(path)(crops), load_model(saved)(crops), atol=2e-3)


def test_loading_draws_no_random_numbers_that_matter(saved):
    """The weights are the file's, whatever the generator's state."""
    torch.manual_seed(1)
    first = load_checkpoint(saved)[0].state_dict()
    torch.manual_seed(2)
    assert all(torch.equal(first[name], tensor) for name, tensor in load_checkpoint(saved)[0].state_dict().items())


@pytest.mark.parametrize("share", [0.0, 0.001, 0.5, 0.999])
def test_cut_file_is_named(saved, share):
    """Half a download is refused, with what to do."""
    content = saved.read_bytes()
    saved.write_bytes(content[: int(len(content) * share)])
    assert "not a complete safetensors file" in refusal(saved)
    assert "copy or train it again" in refusal(saved)


def test_missing_file_is_named(tmp_path):
    """A path that is not there is named."""
    assert refusal(tmp_path / "no.safetensors").endswith("no such file")


def test_folder_is_named(tmp_path):
    """A folder is no checkpoint."""
    assert "not a complete safetensors file" in refusal(tmp_path)


@pytest.mark.parametrize("content", [b"\x89PNG\r\n\x1a\n" + bytes(100), b"version: 1\n" * 9, b"{}"])
def test_foreign_file_is_named(tmp_path, content):
    """Pictures and texts are no checkpoints."""
    (tmp_path / "a.safetensors").write_bytes(content)
    assert "not a complete safetensors file" in refusal(tmp_path / "a.safetensors")


class Trap:
    """Makes a file when it is unpickled."""

    def __init__(self, path):
        self.path = path

    def __reduce__(self):
        return open, (str(self.path), "w")


@pytest.mark.parametrize("save", ["pickle", "torch"])
def test_loading_runs_no_pickle(tmp_path, save):
    """A pickle, plain or torch's, is refused and never run."""
    path, sprung = tmp_path / "a.safetensors", tmp_path / "sprung"
    if save == "pickle":
        path.write_bytes(pickle.dumps(Trap(sprung)))
    else:
        torch.save({"weights": Trap(sprung)}, path)
    assert "not a complete safetensors file" in refusal(path)
    assert not sprung.exists()


def test_file_of_others_has_no_spec(tmp_path):
    """Tensors without a ModelSpec are not loaded by guess."""
    write_tensors(tmp_path / "a.safetensors", {"weight": torch.zeros(2)}, {"format": "pt"})
    assert "holds no ModelSpec; only files that Lightmark saved can be loaded" in refusal(tmp_path / "a.safetensors")


@pytest.mark.parametrize(
    ("changes", "text"),
    [
        ({"size": 3}, "size 3; a crop needs at least 16 pixels"),
        ({"size": "large"}, "holds no usable ModelSpec"),
        ({"lightmark": 99}, "ModelSpec version 99, this Lightmark reads 1"),
        ({"architecture": {"backbone": "mobilenetv9"}}, "no backbone called 'mobilenetv9'"),
        ({"architecture": {"backbone": 5}}, "not an architecture of this release"),
        ({"architecture": {"head": "heatmap", "width": 0.35}}, "no head called 'heatmap'"),
        ({"architecture": {"depth": 2}}, "not an architecture of this release"),
        ({"architecture": "mobilenetv2"}, "holds no usable ModelSpec"),
        ({"architecture": [1]}, "holds no usable ModelSpec"),
    ],
)
def test_unusable_spec_is_named(saved, changes, text):
    """An invalid spec raises an error with the fault, which names the file once."""
    assert text in refusal(rewritten(saved, **changes))


@pytest.mark.parametrize("changes", [{"width": 0.5}, {"head": "pooling"}, {"backbone": "efficientnet-b0"}])
def test_weights_of_another_architecture_are_refused(saved, small_architecture, changes):
    """Weights are never cut or padded to fit."""
    text = refusal(rewritten(saved, architecture=describe(replace(small_architecture, **changes))))
    assert "weights do not fit the architecture: " in text
    assert "more" in text


def test_a_network_larger_than_its_file_is_never_built(saved, small_architecture):
    """A width that needs terabytes is refused before allocation, since the file lacks its weights."""
    text = refusal(rewritten(saved, architecture=describe(replace(small_architecture, width=1e5))))
    assert "weights do not fit the architecture: " in text


def test_a_file_cannot_ask_for_imagenets_weights(saved, small_architecture):
    """Nothing but the file is read or downloaded, whatever its spec."""
    assert load_checkpoint(rewritten(saved, architecture=describe(small_architecture) | {"pretrained": True}))


def test_spec_of_another_schema_is_refused(saved):
    """A spec that promises other points than the weights give is refused."""
    five = {"name": "five", "mirror": [1, 0, 2, 4, 3], "normaliser": [0, 1]}
    text = refusal(rewritten(saved, schema=five))
    assert "head.offsets.bias is (58,), needs (10,)" in text


def test_missing_foreign_and_misshapen_weights_are_listed(small_network):
    """Each wrong tensor is named, in order."""
    tensors = dict(small_network.state_dict())
    del tensors["head.scores.bias"]
    tensors["head.extra"] = torch.zeros(1)
    tensors["head.norm.weight"] = torch.zeros(3)
    text = (
        r"there: weights do not fit the architecture: head\.extra is foreign; head\.norm\.weight is \(3,\), "
        r"needs \(128,\); head\.scores\.bias is missing$"
    )
    with pytest.raises(CheckpointError, match=text):
        load_weights(small_network, tensors, "there")


def test_long_lists_are_cut(small_network):
    """Three wrong tensors are named, the others counted."""
    count = len(small_network.state_dict())
    with pytest.raises(CheckpointError, match=rf"is missing; .* is missing; .* is missing and {count - 3} more"):
        load_weights(small_network, {}, "there")


def test_refused_weights_change_nothing(small_network):
    """A network that refused weights still has its own."""
    before = {name: tensor.clone() for name, tensor in small_network.state_dict().items()}
    tensors = {name: tensor + 1 for name, tensor in before.items()} | {"extra": torch.zeros(1)}
    with pytest.raises(CheckpointError):
        load_weights(small_network, tensors, "there")
    assert all(torch.equal(before[name], tensor) for name, tensor in small_network.state_dict().items())


def test_failed_save_keeps_the_old_file(saved, small_network, small_architecture, small_spec):
    """A spec that cannot be written leaves the checkpoint that was there."""
    before = saved.read_bytes()
    with pytest.raises(TypeError):
        save_checkpoint(saved, small_network, small_architecture, replace(small_spec, provenance={"x": object()}))
    assert saved.read_bytes() == before


def test_tensors_and_metadata_come_back(tmp_path):
    """Any tensors, also views and shared ones, are written completely."""
    base = torch.arange(12.0).reshape(3, 4)
    tensors = {"view": base.T, "part": base[1:], "whole": base, "count": torch.tensor(7)}
    write_tensors(tmp_path / "a.safetensors", tensors, {"mark": "ä"})
    found, metadata = read_tensors(tmp_path / "a.safetensors")
    assert all(torch.equal(found[name], tensor) for name, tensor in tensors.items())
    assert metadata == {"mark": "ä"}


def test_model_takes_crops_and_gives_points(saved, small_network, small_spec, crops):
    """uint8 crops in, float64 normalized_points out, normalised as the spec says."""
    points = load_model(saved)(crops)
    assert (points.dtype, points.shape) == (np.float64, (3, 29, 2))
    with torch.no_grad():
        expected = small_network(torch.from_numpy(normalise_crops(crops, small_spec))).numpy()
    np.testing.assert_allclose(points, expected, atol=1e-5)


def test_faces_of_a_batch_do_not_mix(saved, crops):
    """A face gives the same points alone and among others."""
    model = load_model(saved)
    alone = np.concatenate([model(crop[None]) for crop in crops])
    np.testing.assert_allclose(model(crops), alone, atol=1e-5)


def test_model_is_put_into_evaluation_mode(small_network, small_spec, crops):
    """A network just trained predicts without dropout and with its running means."""
    model = TorchModel(small_network.train(), small_spec)
    np.testing.assert_array_equal(model(crops), model(crops))
    assert not model.network.training


def test_crops_of_another_size_are_refused(saved):
    """The model names the crops it takes."""
    with pytest.raises(SpecError, match=r"needs uint8 \(B, 64, 64, 3\)"):
        load_model(saved)(np.zeros((1, 128, 128, 3), np.uint8))


def test_pretrained_network_is_loaded_without_download(tmp_path, small_network, small_spec):
    """The saved architecture has `pretrained` off even if training used it."""
    path = tmp_path / "a.safetensors"
    save_checkpoint(path, small_network, Architecture("mobilenetv2", "spatial", 0.35, pretrained=True), small_spec)
    assert load_checkpoint(path)[1].architecture["pretrained"] is False


def test_metadata_is_the_specs_json(saved, small_spec, small_architecture):
    """Other programs find the spec as JSON text under one key."""
    spec = ModelSpec(**{**vars(small_spec), "architecture": describe(small_architecture)})
    assert read_tensors(saved)[1] == {"lightmark": spec_to_json(spec)}


LIMITED_WRITE = """
import resource, sys, torch
from lightmark.errors import WriteError
from lightmark.nets.checkpoint import write_tensors
write_tensors(sys.argv[1], {"weight": torch.zeros(8)}, {})
resource.setrlimit(resource.RLIMIT_FSIZE, (1000, 1000))
try:
    write_tensors(sys.argv[1], {"weight": torch.ones(8000)}, {})
except WriteError as error:
    print(error)
"""


@pytest.mark.skipif(sys.platform != "linux", reason="needs Linux's limit of a file's size")
def test_a_refused_write_is_ours_and_keeps_the_old_file(tmp_path):
    """A WriteError; the old file is unchanged, and no temporary file stays."""
    path = tmp_path / "state.safetensors"
    command = [sys.executable, "-c", LIMITED_WRITE, str(path)]
    printed = subprocess.run(command, capture_output=True, text=True, check=True).stdout
    assert printed == f"{path}: cannot be written: File too large; is it a place to write to, with room left?\n"
    assert torch.equal(read_tensors(path)[0]["weight"], torch.zeros(8))
    assert list(tmp_path.iterdir()) == [path]
