"""The size laws of convolution, in whole numbers (``core.blocks`` builds on them)."""

from __future__ import annotations

__all__ = ["output_length", "transposed_length"]


def output_length(
    inputs: int, kernel: int, *, stride: int = 1, padding: int = 0, dilation: int = 1
) -> int:
    """Outputs of a convolution or pooling along one axis: floor((M - K' + 2P)/S) + 1.

    K' = D(K - 1) + 1 is the reach of a kernel whose taps stand D apart. At most 0 means that the
    kernel does not fit. Where S does not divide M - K' + 2P, the last inputs are not read: a
    224-wide picture under an 11-wide kernel at stride 4 gives 54.25, that is 54.
    """
    reach = dilation * (kernel - 1) + 1
    return (inputs - reach + 2 * padding) // stride + 1


def transposed_length(
    inputs: int,
    kernel: int,
    *,
    stride: int = 1,
    padding: int = 0,
    dilation: int = 1,
    output_padding: int = 0,
) -> int:
    """Outputs of a transposed convolution: (M - 1)S - 2P + D(K - 1) + output_padding + 1.

    The inverse of output_length up to the remainder that its floor drops; ``output_padding``
    chooses which of the S lengths with the same floor is meant.
    """
    return (inputs - 1) * stride - 2 * padding + dilation * (kernel - 1) + output_padding + 1
