"""Convolutions on packed rows against Fourier transforms of whole windows."""

import pytest
import torch

from recbole_hm4sr.layers.filters import convolve, convolve_at_last, kernel_of, low_pass
from recbole_hm4sr.layers.packing import build_packing
from recbole_hm4sr.layers.padded_rows import PaddedRows

LENGTHS, SIZE = torch.tensor([3, 1, 6, 5]), 4


def tokens_of(packing, width):
    """Random tokens; what padded rows have at their padding must not be read."""
    random = torch.Generator().manual_seed(1)
    rows = torch.randn(len(LENGTHS), width, SIZE, generator=random, dtype=torch.float64)
    inside = (torch.arange(width) < LENGTHS[:, None])[..., None]
    return packing.pack(rows.masked_fill(~inside, 1e3)), rows * inside


def transformed(rows, spectrum, length):
    """The plain form: the window's spectrum times that of the filter."""
    spectrum = torch.view_as_complex(spectrum.contiguous())
    product = torch.fft.rfft(rows, n=length, dim=1) * spectrum
    return torch.fft.irfft(product, n=length, dim=1)[:, : rows.shape[1]]


@pytest.mark.parametrize("length", [6, 9, 10])
@pytest.mark.parametrize("make", [build_packing, PaddedRows])
def test_a_filter_is_that_of_the_whole_window(length, make):
    packing = make(LENGTHS, 6)
    x, rows = tokens_of(packing, 6)
    random = torch.Generator().manual_seed(2)
    shape = (length // 2 + 1, SIZE, 2)
    spectrum = torch.randn(shape, generator=random, dtype=torch.float64)
    expected = transformed(rows, spectrum, length)
    kernel = kernel_of(spectrum, length)
    mixed, inside = convolve(x, kernel, packing), torch.arange(6) < LENGTHS[:, None]
    found = mixed if make is build_packing else mixed[packing.pack(inside)]
    torch.testing.assert_close(found, expected[inside], rtol=1e-12, atol=1e-12)
    newest = convolve_at_last(x, kernel, packing)
    rows_of, last = torch.arange(4), LENGTHS - 1
    torch.testing.assert_close(newest, expected[rows_of, last], rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize(("length", "n_kept"), [(6, 1), (6, 3), (9, 4), (9, 99)])
def test_a_low_pass_keeps_the_lowest_frequencies(length, n_kept):
    packing = build_packing(LENGTHS, 6)
    x, rows = tokens_of(packing, 6)
    spectrum = torch.zeros(length // 2 + 1, SIZE, 2).double()
    spectrum[:n_kept, :, 0] = 1
    expected = transformed(rows, spectrum, length)[torch.arange(6) < LENGTHS[:, None]]
    found = convolve(x, low_pass(length, n_kept, x), packing)
    torch.testing.assert_close(found, expected, rtol=1e-12, atol=1e-12)
    if n_kept == 99:
        torch.testing.assert_close(found, x, rtol=1e-12, atol=1e-12)


def test_a_causal_filter_reads_no_later_token():
    packing = build_packing(LENGTHS, 6)
    x, _ = tokens_of(packing, 6)
    kernel = low_pass(8, 3, x)
    before = convolve(x, kernel, packing, causal=True)
    changed = x.index_fill(0, packing.last, 7.0)
    after = convolve(changed, kernel, packing, causal=True)
    others = torch.ones(len(x), dtype=torch.bool).index_fill(0, packing.last, value=False)
    assert torch.equal(before[others], after[others])
    assert not torch.equal(before[packing.last], after[packing.last])
    torch.testing.assert_close(
        before[packing.last], convolve_at_last(x, kernel, packing), rtol=1e-12, atol=1e-12
    )
    around = convolve(changed, kernel, packing)
    assert not torch.equal(convolve(x, kernel, packing)[others], around[others])
