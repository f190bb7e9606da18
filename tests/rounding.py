"""How far two ways of computing the same numbers may lie apart: bounds are not set after seeing a machine's figures.

A sum of `terms` rounded numbers is off by at most `8 * sqrt(terms) * u * size` with a probability of 1 - 2 * terms *
exp(-32), where `u` is half the type's epsilon and `size` what the terms' sizes add up to in the square (Higham and
Mary, 2019, "A new approach to probabilistic rounding error analysis", theorem 2.4 with lambda = 8). Layers add theirs.
"""

import torch


def rounding(terms: int, *, layers: int = 1, size: float = 1.0, dtype: torch.dtype = torch.float32) -> float:
    """Largest difference that another order of the same sums explains.

    Args:
        terms: Of the longest sum: the inputs of a linear layer, channels times kernel of a convolution.
        layers: Sums one after the other; forward and backward count both.
        size: Size of the results.
        dtype: What is computed in.
    """
    return 8 * terms**0.5 * torch.finfo(dtype).eps / 2 * layers * size
