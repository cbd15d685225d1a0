"""FLOPs and bytes of the benchmarks against counts made by hand from the papers."""

from __future__ import annotations

import pytest

from benchmarks import floors


def test_resnet_110_has_the_published_size():
    assert floors.resnet_parameters(110) == 1_730_714
    assert floors.resnet_macs(110) / 1e6 == pytest.approx(253.1, abs=0.05)
    assert floors.resnet_conv_outputs(110) / 1e6 == pytest.approx(1.061, abs=5e-4)


def test_certify_of_100k_samples_is_bound_by_memory_at_a_tenth_of_a_second():
    flops, n_bytes = floors.certify(110, 100_000, itemsize=2)
    assert flops / 1e12 == pytest.approx(50.6, rel=0.01)
    assert n_bytes / 100_000 / 1e6 == pytest.approx(5.3, rel=0.01)
    least = floors.seconds(flops, n_bytes, floors.H200, rate="bfloat16")
    assert least == n_bytes / floors.H200.bandwidth == pytest.approx(0.12, rel=0.05)


def test_certify_grows_with_the_samples_and_the_item():
    once, double = (floors.certify(20, n, itemsize=2) for n in (10, 20))
    assert double == (2 * once[0], 2 * once[1])
    assert floors.certify(20, 10, itemsize=4) == (once[0], 2 * once[1])


def test_certify_of_resnet_50_has_the_published_size():
    flops, n_bytes = floors.certify_imagenet((3, 4, 6, 3), 100_000, itemsize=2)
    assert flops / 1e12 == pytest.approx(818, rel=0.01)
    assert n_bytes / 100_000 / 1e6 == pytest.approx(55, rel=0.05)


def test_training_epoch_of_resnet_110():
    flops, n_bytes = floors.train(110, 50_000, itemsize=2)
    assert flops / 1e12 == pytest.approx(76, rel=0.01)
    assert n_bytes / 50_000 / 1e6 == pytest.approx(33, rel=0.01)


def test_lot_m_as_written_stage_by_stage():
    layers = floors.lot_layers(4)
    assert len(layers) == 21
    expected = {32: (28.5, 5.1), 64: (88, 13.6), 128: (218, 16.8), 256: (628, 24.2)}
    expected |= {512: (2233, 43.0), 1024: (292, 4.3)}
    for channels, counts in expected.items():
        stage = [layer for layer in layers if layer.c_out == channels]
        found = floors.lot_as_written(stage, 256)
        assert [f / 1e9 for f in found] == pytest.approx(counts, rel=0.01)


@pytest.mark.parametrize("blocks, step", [(2, 5.9), (4, 10.8), (8, 20.5)])
def test_lot_training_steps_as_written(blocks, step):
    forward = sum(floors.lot_as_written(floors.lot_layers(blocks), 256))
    assert 3 * forward / 1e12 == pytest.approx(step, rel=0.01)


def test_symmetry_saves_two_thirds_of_lot_l():
    # 6.3 by the published estimate, which neglects that small sides have odd neighbours
    least = 3 * floors.lot_least(floors.lot_layers(8), 256) / 1e12
    assert least == pytest.approx(6.3, rel=0.03)


@pytest.mark.parametrize(
    "side, real, pairs", [(1, 1, 0), (2, 4, 0), (3, 1, 4), (4, 4, 6)]
)
def test_frequencies_of_a_torus(side, real, pairs):
    torus = floors.Torus(side, 1, 1)
    assert (torus.real_frequencies, torus.complex_frequencies) == (real, pairs)


@pytest.mark.parametrize(
    "depth, width, forward, step", [(12, 128, 0.24, 0.72), (18, 256, 1.41, 4.24)]
)
def test_liresnet_in_teraflops(depth, width, forward, step):
    macs = floors.liresnet_macs(depth, width, 512)
    assert 2 * 256 * sum(macs.values()) / 1e12 == pytest.approx(forward, rel=0.02)
    steps = {
        t: floors.liresnet_train(depth, width, 512, side=32, batch=256, power_steps=t)
        for t in (0, 10)
    }
    assert steps[0] / 1e12 == pytest.approx(step, rel=0.02)
    # ten power steps are twenty passes of one image
    share = (steps[10] - steps[0]) / (2 * 256 * sum(macs.values()))
    assert share == pytest.approx(20 / 256, rel=1e-3)


def test_evaluations_of_the_dense_distance_net():
    sizes = floors.dist_net(3072, 5120, 6)
    first, middle, last = (
        floors.dist_evaluations(pair, 512)
        for pair in (sizes[:2], sizes[1:3], sizes[-2:])
    )
    assert first == pytest.approx(8.05e9, rel=1e-3)
    assert middle == pytest.approx(1.34e10, rel=2e-3)
    assert last == pytest.approx(2.6e7, rel=0.01)
    assert first + 4 * middle + last == floors.dist_evaluations(sizes, 512)
    assert floors.dist_evaluations(sizes, 512) == pytest.approx(6.18e10, rel=1e-3)


@pytest.mark.parametrize(
    "p, forward, step", [("inf", 3.7, 7.4), (8, 9.3, 26), (64.3, 29.5, 59)]
)
def test_distance_net_in_milliseconds(p, forward, step):
    sizes = floors.dist_net(3072, 5120, 6)
    for expected, whole in ((forward, False), (step, True)):
        flops, n_bytes, rate = floors.distances(sizes, 512, p, step=whole)
        least = floors.seconds(flops, n_bytes, floors.H200, rate=rate)
        assert 1e3 * least == pytest.approx(expected, rel=0.01)
        assert n_bytes / floors.H200.bandwidth < least / 10


def test_bytes_of_a_distance_layer():
    _, n_bytes, _ = floors.distances([5120, 5120], 512, "inf", step=False)
    assert n_bytes / 1e6 == pytest.approx(10.5 + 105 + 10.5, rel=0.01)
