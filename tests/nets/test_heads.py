"""Tests of the heads: values by hand, a slow reference, and where they start."""

from functools import partial

import numpy as np
import pytest
import torch
from torch import nn

from lightmark.nets.heads import PoolingHead, SpatialHead, cell_centres, depthwise, separable
from lightmark.nets.network import Architecture, build_network, multiply_adds

CHANNELS = (6, 10)


def maps(height=4, width=4, batch=2, seed=0):
    """A fine and a coarse map of noise."""
    generator = torch.Generator().manual_seed(seed)
    fine = torch.randn(batch, CHANNELS[0], height, width, generator=generator)
    coarse = torch.randn(batch, CHANNELS[1], -(-height // 2), -(-width // 2), generator=generator)
    return fine, coarse


def mean_points(points=5):
    """normalized_points a head may start at."""
    return torch.rand(points, 2, generator=torch.Generator().manual_seed(1))


class Told(nn.Module):
    """A layer that gives the same map whatever it sees."""

    def __init__(self, answer):
        super().__init__()
        self.answer = answer

    def forward(self, x):
        """The map, for every sample of the batch."""
        return self.answer.expand(len(x), -1, -1, -1)


def telling_head(scores, offsets):
    """A spatial head with fixed `scores` (N, H, W) and `offsets` (N, 2, H, W)."""
    head = SpatialHead(CHANNELS, len(scores), hidden=8).eval()
    head.scores, head.offsets = Told(scores[None]), Told(offsets.flatten(0, 1)[None])
    return head


def test_cell_centres_by_hand():
    """Two rows of three cells: x by sixths, y by quarters, row by row."""
    expected = [[1 / 6, 0.25], [0.5, 0.25], [5 / 6, 0.25], [1 / 6, 0.75], [0.5, 0.75], [5 / 6, 0.75]]
    torch.testing.assert_close(cell_centres(2, 3, torch.zeros(())), torch.tensor(expected))


def test_attention_on_one_cell_reads_there():
    """With all attention on one cell, the point is the cell's centre plus its offset."""
    scores = torch.zeros(2, 4, 4)
    scores[0, 1, 2] = scores[1, 3, 0] = 1000
    offsets = torch.full((2, 2, 4, 4), 9.0)
    offsets[0, :, 1, 2] = torch.tensor([0.03, -0.02])
    offsets[1, :, 3, 0] = torch.tensor([-0.5, 0.25])
    found = telling_head(scores, offsets)(*maps())
    expected = torch.tensor([[2.5 / 4 + 0.03, 1.5 / 4 - 0.02], [0.5 / 4 - 0.5, 3.5 / 4 + 0.25]])
    torch.testing.assert_close(found, expected.expand(2, -1, -1))


def test_even_attention_reads_the_middle():
    """Where all cells count alike, the point is the centre of the crop and the mean offset."""
    offsets = torch.zeros(1, 2, 4, 4)
    offsets[0, 0, 0, 0] = 1.6
    found = telling_head(torch.zeros(1, 4, 4), offsets)(*maps())
    torch.testing.assert_close(found, torch.tensor([[[0.6, 0.5]]]).expand(2, -1, -1))


def test_shifted_attention_shifts_the_point():
    """Scores and offsets shifted by one cell move the point by one cell, unless they leave the map."""
    generator = torch.Generator().manual_seed(0)
    scores = torch.full((3, 6, 6), -1000.0)
    scores[:, 1:4, 1:4] = torch.randn(3, 3, 3, generator=generator)
    offsets = torch.randn(3, 2, 6, 6, generator=generator)
    there = telling_head(scores, offsets)(*maps(6, 6))
    moved = telling_head(scores.roll((2, 1), (1, 2)), offsets.roll((2, 1), (2, 3)))(*maps(6, 6))
    torch.testing.assert_close(moved, there + torch.tensor([1 / 6, 2 / 6]))


@pytest.mark.parametrize(("height", "width"), [(4, 4), (7, 7), (2, 6)])
def test_spatial_head_equals_its_formula(height, width):
    """The points are Σ softmax(score) · (centre + offset), cell by cell, for odd and oblong maps too."""
    torch.manual_seed(0)
    head = SpatialHead(CHANNELS, 3, hidden=8).eval()
    outputs = {}
    for name in ("scores", "offsets"):
        getattr(head, name).register_forward_hook(lambda _, __, output, name=name: outputs.update({name: output}))
    found = head(*maps(height, width))
    expected = torch.zeros(2, 3, 2)
    for sample in range(2):
        for point in range(3):
            weight = outputs["scores"][sample, point].exp()
            for row in range(height):
                for column in range(width):
                    share = weight[row, column] / weight.sum()
                    offset = outputs["offsets"][sample, 2 * point : 2 * point + 2, row, column]
                    centre = torch.tensor([(column + 0.5) / width, (row + 0.5) / height])
                    expected[sample, point] += share * (centre + offset)
    torch.testing.assert_close(found, expected)


def test_separable_mixing_by_hand():
    """One lit cell reaches two cells far, in many channels; a plain depthwise block reaches one, in its own."""
    for mixing, reach, channels in ((depthwise, 1, {1}), (separable, 2, set(range(3, 9)))):
        torch.manual_seed(0)
        layers = mixing(8).eval()
        dark = torch.zeros(1, 8, 7, 7)
        lit = dark.clone()
        lit[0, 2, 3, 3] = 1.0
        changed = (layers(lit) - layers(dark)).abs()[0] > 1e-9
        rows = changed.any(0).any(1).nonzero().flatten()
        assert (rows.min(), rows.max()) == (3 - reach, 3 + reach)
        assert int(changed.any(1).any(1).sum()) in channels


def test_separable_head_stays_below_its_budget():
    """A MobileNetV2 of 128 px with the separable head takes at most 95 million multiply-adds."""
    network = build_network(Architecture("mobilenetv2", "spatial-separable"), np.full((68, 2), 0.5), 0)
    assert multiply_adds(network, 128) <= 95e6


def test_spatial_head_uses_both_maps():
    """What either map shows changes the points."""
    torch.manual_seed(0)
    head = SpatialHead(CHANNELS, 3, hidden=8).eval()
    fine, coarse = maps()
    assert not torch.allclose(head(fine, coarse), head(fine + 1, coarse))
    assert not torch.allclose(head(fine, coarse), head(fine, coarse + 1))


def test_pooling_head_by_hand():
    """The mean of the coarse map, times the weights, as x and y of each point in turn."""
    torch.manual_seed(0)
    head = PoolingHead(CHANNELS, 3).eval()
    fine, coarse = maps()
    flat = coarse.mean((2, 3)) @ head.linear.weight.T + head.linear.bias
    torch.testing.assert_close(head(fine, coarse), torch.stack([flat[:, 0::2], flat[:, 1::2]], -1))


@pytest.mark.parametrize("head", [PoolingHead, SpatialHead, partial(SpatialHead, mixing=separable)])
def test_head_starts_at_the_mean(head):
    """Where the maps show nothing, an untrained head predicts the mean exactly; of noise, nearly."""
    torch.manual_seed(0)
    network = head(CHANNELS, 5).eval()
    network.initialise_at(mean_points())
    fine, coarse = maps()
    blank = network(torch.zeros_like(fine), torch.zeros_like(coarse))
    torch.testing.assert_close(blank, mean_points().expand(2, -1, -1))
    assert (network(fine, coarse) - mean_points()).abs().max() < 0.15


@pytest.mark.parametrize("head", [PoolingHead, SpatialHead])
def test_points_are_float32_under_autocast(head):
    """Points have more digits than bfloat16 holds, so they are not rounded to it where the maps are."""
    torch.manual_seed(0)
    network = head(CHANNELS, 5).eval()
    with torch.autocast("cpu", torch.bfloat16):
        points = network(*maps())
    assert points.dtype == torch.float32
    assert not torch.equal(points, points.bfloat16().float())


@pytest.mark.parametrize("head", [PoolingHead, SpatialHead])
def test_dropout_rests_in_evaluation(head):
    """Training differs from call to call, evaluation does not."""
    torch.manual_seed(0)
    network = head(CHANNELS, 5, dropout=0.5)
    for module in network.modules():
        if isinstance(module, nn.BatchNorm2d):
            module.eval()
    assert not torch.equal(network(*maps()), network(*maps()))
    network.eval()
    assert torch.equal(network(*maps()), network(*maps()))
