"""The global random generators, used within a block and afterwards as they were before it."""

import random
from collections.abc import Iterator, Sequence
from contextlib import contextmanager

import numpy as np
import torch


@contextmanager
def random_state_kept(seed: Sequence[int] | None = None) -> Iterator[None]:
    """Within the block anything may draw from the global generators of Python, NumPy and torch on the CPU.

    Args:
        seed: Numbers that the generators start from within the block; `None`: they go on where they are.
    """
    state = random.getstate(), np.random.get_state(), torch.random.get_rng_state()
    try:
        if seed is not None:
            drawn = int(np.random.SeedSequence([number % 2**32 for number in seed]).generate_state(1)[0])
            random.seed(drawn)
            np.random.seed(drawn)
            torch.default_generator.manual_seed(drawn)  # torch.manual_seed would seed accelerators as well
        yield
    finally:
        random.setstate(state[0])
        np.random.set_state(state[1])
        torch.random.set_rng_state(state[2])
