"""What training does for a lexicon: it tells it how rare its tokens are, and keeps its weights small."""

from collections.abc import Iterator
from itertools import islice
from typing import Any

import torch

from semart_hf.data.streaming import column_of
from semart_hf.model.lexicon_semart import Lexicon
from semart_hf.model.processing_semart import SemArtProcessor

# The tokenizer holds what it cuts off, too: of so many texts at a time.
_NUM_TEXTS = 128


def learn_rarities(lexicon: Lexicon, processor: SemArtProcessor, paintings: Any) -> None:
    """Tell a new lexicon how rare each token is in the training texts; one that knows goes on as it is.

    Args:
        lexicon: The model's.
        processor: The model's.
        paintings: The rows to learn from, or a stream of them.

    Raises:
        ValueError: If no training row has a text.
    """
    if lexicon.rarities.any():
        return
    tokenizer = processor.tokenizer
    texts = (text for text in column_of(paintings, "text") if text and text.strip())

    def all_ids() -> Iterator[list[int]]:
        while some := list(islice(texts, _NUM_TEXTS)):
            yield from tokenizer(some, truncation=True, return_attention_mask=False)["input_ids"]

    lexicon.learn_rarities(all_ids(), tokenizer.all_special_ids)


def penalise(lexicon: Lexicon, optimizer: torch.optim.Optimizer, penalty: float, num_paintings: int) -> None:
    """Let every step of the optimiser also minimise the mean over the paintings of penalty · Σ weight².

    AdamW's own decay shrinks all weights at one rate. Here the pull is a part of the gradient, so that a weight gives
    way as far as the paintings that have its token do not hold it, as in a logistic regression with an L2 penalty. It
    joins the gradient behind everything that divides or reduces the loss, so that processes and accumulation do not
    change it.

    Args:
        lexicon: The model's.
        optimizer: That has its weights.
        penalty: Of the squared weights, beside the loss of all training rows.
        num_paintings: Of the training rows.
    """

    @torch.no_grad()
    def add_pull(*_: Any) -> None:
        gradient = lexicon.weight.grad
        if gradient is not None:
            gradient.add_(lexicon.weight, alpha=2 * penalty / num_paintings)

    optimizer.register_step_pre_hook(add_pull)
