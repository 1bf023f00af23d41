"""Convolutions over a window against torch's transforms and the sum by hand."""

import pytest
import torch

from recbole_hm4sr.layers.convolution import as_windows, fourier_transform, from_windows
from recbole_hm4sr.layers.packing import build_packing
from recbole_hm4sr.layers.padded_rows import PaddedRows


@pytest.mark.parametrize("length", [1, 2, 7, 10])
def test_the_transform_is_torchs(length):
    rows = torch.randn(3, length, 4).double()
    transform = fourier_transform(length, rows)
    real, imaginary = transform.forward(rows)
    expected = torch.fft.rfft(rows, dim=1, norm="ortho")
    torch.testing.assert_close(torch.complex(real, imaginary), expected, rtol=1e-12, atol=1e-12)
    weights = torch.randn(2, *expected.shape[1:]).double()
    product = expected * torch.complex(*weights)
    back = transform.back(product.real, product.imag)
    theirs = torch.fft.irfft(product, n=length, dim=1, norm="ortho")
    torch.testing.assert_close(back, theirs, rtol=1e-12, atol=1e-12)


def test_windows_have_zeros_behind_the_tokens():
    lengths = torch.tensor([2, 1])
    packing, padded = build_packing(lengths, 3), PaddedRows(lengths, 3)
    tokens = torch.tensor([[1.0], [2.0], [3.0]])
    expected = torch.tensor([[[1.0], [2.0], [0.0], [0.0]], [[3.0], [0.0], [0.0], [0.0]]])
    assert as_windows(tokens, packing, 4).equal(expected)
    assert from_windows(expected, packing).equal(tokens)
    with_padding = torch.tensor([[1.0], [2.0], [9.0], [3.0], [9.0], [9.0]])
    assert as_windows(with_padding, padded, 4).equal(expected)
