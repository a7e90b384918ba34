"""Cells of the face detector at their coordinates, boxes in pixels of the picture."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from lightmark.nets.face_detector import BASES, STRIDES, FaceDetectorNet, cell_geometry
from lightmark.nets.network import parameter_count


@pytest.fixture(scope="module")
def network() -> FaceDetectorNet:
    """Untrained, seed 0."""
    torch.manual_seed(0)
    return FaceDetectorNet().eval()


def test_it_is_small(network: FaceDetectorNet) -> None:
    """At most half a million parameters, to go with a page."""
    assert parameter_count(network) < 500_000


def test_any_multiple_of_32_is_taken(network: FaceDetectorNet) -> None:
    """One output per cell of three maps, for pictures of any size."""
    for height, width in ((32, 32), (64, 96), (256, 320)):
        logits, boxes, keypoints = network(torch.rand(2, 3, height, width))
        cells = sum((height // stride) * (width // stride) for stride in STRIDES)
        assert logits.shape == (2, cells)
        assert boxes.shape == (2, cells, 4)
        assert keypoints.shape == (2, cells, 5, 2)


def test_an_untrained_network_answers_its_cells_bases(network: FaceDetectorNet) -> None:
    """Boxes about each cell's centre, of its stride's base size, and hardly a face anywhere."""
    logits, boxes, keypoints = network(torch.full((1, 3, 64, 64), 0.5))
    sides = (boxes[0, :, 2:] - boxes[0, :, :2]).detach().numpy()
    expected = np.repeat(BASES, [(64 // stride) ** 2 for stride in STRIDES])
    np.testing.assert_allclose(sides, np.stack([expected, expected], 1), rtol=0.25)
    assert float(logits.detach().sigmoid().max()) < 0.05
    off = (keypoints - (boxes[..., None, :2] + boxes[..., None, 2:]) / 2).detach().abs().amax((0, 2, 3)).numpy()
    assert (off < 0.25 * expected).all()


def test_keypoints_are_offsets_from_the_box_in_its_size() -> None:
    """An output of 0.5 and −0.25 is half a mean side to the right of the box's centre and a quarter above it."""
    network = FaceDetectorNet().eval()
    with torch.no_grad():
        for answer, (_, places) in zip(network.answer, network.keypoints, strict=True):
            answer.weight.zero_()
            answer.bias.copy_(torch.tensor([0.0, 0.1, 0.2, 0.0, 0.3]))
            places.weight.zero_()
            places.bias.copy_(torch.tensor([0.0, 0, 0.5, -0.25, 0, 0, 0, 0, 0, 0]))
        _, boxes, keypoints = network(torch.rand(1, 3, 64, 64))
    centres, side = (boxes[..., :2] + boxes[..., 2:]) / 2, (boxes[..., 2:] - boxes[..., :2]).mean(-1, keepdim=True)
    torch.testing.assert_close(keypoints[:, :, 0], centres)
    torch.testing.assert_close(keypoints[:, :, 1], centres + side * torch.tensor([0.5, -0.25]))


def test_cells_lie_in_the_middle_of_their_pixels() -> None:
    """The first cell of stride 8 covers pixels 0 to 7: its centre is 3.5."""
    geometry = cell_geometry(torch.zeros(2, 5, 2, 3), 8, 20.0)
    assert geometry[0, 2:].tolist() == [[8.0] * 6, [10.0] * 6]  # stride, half the base
    assert geometry[0, :2].T.tolist() == [[3.5, 3.5], [11.5, 3.5], [19.5, 3.5], [3.5, 11.5], [11.5, 11.5], [19.5, 11.5]]


def test_detections_move_with_the_picture() -> None:
    """A picture shifted by one cell of the coarsest map gives the same outputs one cell further: no hidden offset."""
    network = FaceDetectorNet().eval()
    for answer in network.answer:
        torch.nn.init.normal_(answer.weight)
    image = torch.rand(1, 3, 256, 256, generator=torch.Generator().manual_seed(1))
    shifted = torch.roll(image, 32, dims=3)
    inner = 256 // STRIDES[0]
    with torch.no_grad():
        first, second = (network(planes)[0][0, : inner * inner].reshape(inner, inner) for planes in (image, shifted))
    step = 32 // STRIDES[0]
    moved = second[14:18, 13 + step : 16 + step]
    torch.testing.assert_close(first[14:18, 13:16], moved, atol=2e-2 * float(first.std()), rtol=0)
    assert float((first[14:18, 13:16] - second[14:18, 13:16]).abs().max()) > 0.5 * float(first.std())
