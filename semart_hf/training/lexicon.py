"""What training does for a lexicon: its tokens' inverse document frequencies, and a penalty on its weights."""

from collections.abc import Iterator
from itertools import islice
from typing import Any

import torch

from semart_hf.data.streaming import column_of
from semart_hf.model.linear_semart import Lexicon
from semart_hf.model.processing_semart import SemArtProcessor

# The tokenizer holds what it cuts off, too: so many texts at a time.
_NUM_TEXTS = 128


def learn_idf(lexicon: Lexicon, processor: SemArtProcessor, paintings: Any) -> None:
    """Take each token's inverse document frequency from the training texts, unless the lexicon has them already."""
    if lexicon.idf.any():
        return
    tokenizer = processor.tokenizer
    texts = (text for text in column_of(paintings, "text") if text and text.strip())

    def all_ids() -> Iterator[list[int]]:
        while some := list(islice(texts, _NUM_TEXTS)):
            yield from tokenizer(some, truncation=True, return_attention_mask=False)["input_ids"]

    lexicon.learn_idf(all_ids(), tokenizer.all_special_ids)


def add_l2_penalty(lexicon: Lexicon, optimizer: torch.optim.Optimizer, penalty: float, num_rows: int) -> None:
    """Let every step of the optimiser also minimise the mean over the training rows of penalty · Σ weight².

    Unlike AdamW's decay, it shrinks a weight as far as the rows that have its token allow. It joins the gradient after
    all that divides or reduces the loss, so that processes and accumulation do not change it.
    """

    @torch.no_grad()
    def add_to_gradient(*_: Any) -> None:
        if lexicon.weight.grad is not None:
            lexicon.weight.grad.add_(lexicon.weight, alpha=2 * penalty / num_rows)

    optimizer.register_step_pre_hook(add_to_gradient)
