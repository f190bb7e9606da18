"""The lexicon: a linear model from a description's token counts to the logits."""

import math
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence

import torch
from torch import Tensor, nn
from torch.nn import functional as F


class Lexicon(nn.Module):
    """Logits `(batch, num_labels)` from which tokens a text has and how often, regardless of their order.

    In this linear model on TF-IDF a token's strength is 1 + log(its count) times its idf, a text's strengths have
    length 1, and each token has a weight for each label of all tasks, 0 at first.

    Source: the wide part of Cheng et al. 2016, Wide & deep learning for recommender systems, section 3.1, on the term
        weights of Salton & Buckley 1988, Term-weighting approaches in automatic text retrieval.
    """

    def __init__(self, vocab_size: int, num_labels: int) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.zeros(vocab_size, num_labels))
        # No buffer, because accelerate cannot shard a model that has some.
        self.idf = nn.Parameter(torch.zeros(vocab_size), requires_grad=False)

    def forward(
        self, input_ids: Tensor | None, attention_mask: Tensor | None = None, has_text: Tensor | None = None
    ) -> Tensor:
        """The logits, to which special tokens add nothing; one row of zeros where the batch has no texts at all."""
        if input_ids is None:
            return self.weight[:1] * 0.0  # distributed processes wait for every parameter's gradient
        logits = self.contributions(input_ids, attention_mask).sum(1)
        return logits if has_text is None else logits * has_text.unsqueeze(1)

    def contributions(self, input_ids: Tensor, attention_mask: Tensor | None = None) -> Tensor:
        """The part of each token in each logit `(batch, tokens, num_labels)`; see `forward`."""
        return self.shares(input_ids, attention_mask).unsqueeze(2) * F.embedding(input_ids, self.weight)

    def shares(self, input_ids: Tensor, attention_mask: Tensor | None = None) -> Tensor:
        """What each token's weights are multiplied by `(batch, tokens)`: its part of its text's strengths."""
        mask = torch.ones_like(input_ids, dtype=torch.bool) if attention_mask is None else attention_mask.bool()
        # Each occurrence carries its part of its token's strength, so that no tensor is as long as the vocabulary.
        counts = ((input_ids.unsqueeze(2) == input_ids.unsqueeze(1)) & mask.unsqueeze(1)).sum(2).clamp(min=1).float()
        strengths = (1 + counts.log()) * self.idf[input_ids].float() * mask
        length = (strengths.square() / counts).sum(1, keepdim=True).sqrt()
        shares = strengths / counts / length.clamp(min=torch.finfo(length.dtype).tiny)
        return shares.to(self.weight.dtype)

    @torch.no_grad()
    def learn_idf(self, texts: Iterable[Sequence[int]], special_ids: Iterable[int]) -> None:
        """Set each token's idf: 1 + log((1 + texts) / (1 + texts that have it)); 0 where no training text has it."""
        num_texts, special = 0, set(special_ids)
        document_counts: Counter[int] = Counter()
        for ids in texts:
            num_texts += 1
            document_counts.update(set(ids) - special)
        if not document_counts:
            raise ValueError(f"Got {num_texts} texts without a token. Check text_columns, or set text_lexicon: false.")
        self.idf.zero_()
        for token, count in document_counts.items():
            self.idf[token] = 1 + math.log((1 + num_texts) / (1 + count))

    def no_weight_decay(self) -> set[str]:
        """Names of the parameters that weight decay leaves alone: a penalty of their own keeps these small."""
        return {"weight"}


def lexicons(model: nn.Module) -> list[Lexicon]:
    """Those of a model and of its probe."""
    return [part for part in model.modules() if isinstance(part, Lexicon)]


def add_logits(logits: Mapping[str, Tensor], lexicon_logits: Tensor) -> dict[str, Tensor]:
    """The logits by task name, with those of all tasks side by side `(batch or 1, num_labels)` added."""
    parts = lexicon_logits.split([values.shape[1] for values in logits.values()], dim=1)
    return {name: values + part for (name, values), part in zip(logits.items(), parts, strict=True)}
