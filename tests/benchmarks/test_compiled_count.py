"""Counting in compiled programs, on small texts whose counts are made by hand."""

from __future__ import annotations

from pathlib import Path

import pytest

from benchmarks.compiled import count, hlo

_TEXTS = Path(__file__).parent / "hlo"
X = 64 * 32 * 4  # bytes of f32[64,32]
W = 32 * 32 * 4  # of one f32[32,32] of the stack


def counted(name, loops=None):
    return count.count(hlo.read((_TEXTS / name).read_text()), loops)


def test_a_loop_is_counted_as_often_as_it_runs():
    found = count.summary(counted("step.txt"))
    # one copy, then four times a slice, a product and a fused tanh
    assert found["kernels"] == 1 + 4 * 3
    once = 2 * X
    slices = 4 * (W + 4 + W)  # of the stack one matrix, and the index
    products = 4 * (X + W + X)  # the workspace is not written
    tanhs = 4 * (3 * X)
    assert found["bytes"] == once + slices + products + tanhs
    assert found["flops"] == {
        "tf32": 4 * 2 * 64 * 32 * 32,
        "vector": 4 * 2 * 64 * 32,
        "special": 4 * 64 * 32,
    }
    assert found["copy_bytes"] == once
    assert found["host_driven"] == []
    assert found["estimate_s"] == pytest.approx(13 * count.LAUNCH)


def test_the_heaviest_operations_name_the_line_that_asked_for_them():
    heaviest = count.summary(counted("step.txt"))["heaviest"]
    product = next(e for e in heaviest if e["kind"] == "__cublas$gemm")
    # flax is passed over, and so is what compiles
    assert product["source"] == "jaxcert/models/net.py:77"
    assert product["operation"].endswith("dense/dot_general")
    assert (product["times"], product["flops"]) == (4, 4 * 2 * 64 * 32 * 32)


def test_a_loop_of_unknown_length_is_an_error_that_names_it():
    with pytest.raises(count.UnknownLoop, match=r"jaxcert/ops/some\.py") as caught:
        counted("branches.txt")
    assert caught.value.source == "jaxcert/ops/some.py:30"


def test_loops_and_branches_that_the_host_drives_are_listed():
    found = counted("branches.txt", {"some.py": 5})
    assert found.host_driven == [
        dict(kind="while", source="jaxcert/ops/some.py:30", times=5),
        dict(kind="conditional", source="jaxcert/ops/some.py:12", times=5),
    ]
    # the condition; of the branches the slower one; the sum over devices and the call
    names = [(k.kind, k.times) for k in found.kernels]
    assert names == [
        ("not", 5),
        ("sqrt", 5),
        ("exponential", 5),
        ("all-reduce-start", 1),
        ("xla_ffi_python_gpu_callback", 1),
    ]
    assert found.collectives == {"all-reduce": 1}
    assert [w.split()[0] for w in found.host_transfers] == ["told"]


def test_products_are_counted_by_the_unit_that_computes_them():
    found = count.summary(counted("products.txt"))["flops"]
    matrix = 2 * 16 * 8 * 4
    convolution = 2 * (2 * 6 * 6 * 5) * 3 * 9
    assert found["tf32"] == 3 * matrix  # three products for one
    assert found["f32"] == matrix  # the highest precision
    assert found["f64"] == matrix
    assert found["bf16"] == 2 * convolution  # forward, and the gradient of the filter


def test_an_update_in_place_moves_the_update_alone_and_is_no_copy():
    kernels = counted("products.txt").kernels
    update, transposed = (
        next(k for k in kernels if k.result == text)
        for text in ("bf16[10,16]{1,0}", "bf16[16,10]{1,0}")
    )
    assert (update.read, update.written) == (16 * 2 + 4, 16 * 2)
    assert (update.is_copy, transposed.is_copy) == (False, True)


def test_a_kernel_takes_its_slowest_part_and_a_launch_at_least():
    large = count.Kernel(
        "k", 1, int(4.3e12), 0, count.Counter(bf16=1.58e15), False, "", hlo.Source(), ""
    )
    assert large.seconds == pytest.approx(2.0)  # arithmetic takes 2 s, bytes 1 s
    moved = large._replace(work=count.Counter(bf16=7.9e13))
    assert moved.seconds == pytest.approx(1.0)
    assert moved._replace(read=0, work=count.Counter()).seconds == count.LAUNCH


def test_a_text_that_is_no_program_is_refused():
    with pytest.raises(ValueError, match="ENTRY"):
        hlo.read("HloModule empty\n")
