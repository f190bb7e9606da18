"""Linear models beside the network: a lexicon of a description's tokens, and a probe on what frozen towers give."""

import math
from collections import Counter
from collections.abc import Iterable, Sequence
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F
from transformers import AutoModel

from .output_semart import fill_absent
from .techniques_semart import without_autocast
from .towers_semart import pool_pictures, pooled_size


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
        num_texts, special, document_counts = 0, set(special_ids), Counter[int]()
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


class Probe(nn.Module):
    """Logits of all tasks, linear in features that training does not change.

    It reads the stages of a vision tower of its own, the model's as it was before training, what the frozen text tower
    pools, and the text's tokens. A vector stands in for what a painting lacks.

    Source: Kumar et al. 2022, Calibrated ensembles can mitigate accuracy tradeoffs under distribution shift.
    """

    def __init__(self, config: Any, num_labels: int) -> None:
        super().__init__()
        self.vision_tower = AutoModel.from_config(config.vision_config)
        self.vision_projection = nn.Linear(pooled_size(self.vision_tower.timm_model, "stages"), num_labels)
        self.text_projection = nn.Linear(config.text_config.hidden_size, num_labels)
        self.lexicon = Lexicon(config.text_config.vocab_size, num_labels)
        self.absent_image = nn.Parameter(torch.zeros(num_labels))
        self.absent_text = nn.Parameter(torch.zeros(num_labels))

    def forward(
        self,
        pixel_values: Tensor | None,
        has_image: Tensor | None,
        pooled_texts: Tensor | None,
        has_text: Tensor | None,
        tokens: tuple[Tensor | None, Tensor | None],
    ) -> tuple[Tensor, Tensor]:
        """What picture and text add to the logits `(batch or 1, num_labels)`.

        `pooled_texts` are of the rows that have a text, `tokens` are `input_ids` and their mask.
        """
        image, text, pooled_pictures = self.absent_image.unsqueeze(0), self.absent_text.unsqueeze(0), None
        if pixel_values is not None and (has_image is None or has_image.any()):
            present = pixel_values if has_image is None else pixel_values[has_image]
            pooled_pictures = pool_pictures(self.vision_tower, present, "stages")
        with without_autocast(self.absent_image.device):
            if pooled_pictures is not None:
                features = self.vision_projection(pooled_pictures.to(self.absent_image.dtype))
                image = fill_absent(features, has_image, self.absent_image)
            if pooled_texts is not None:
                features = self.text_projection(pooled_texts.to(self.absent_text.dtype))
                text = fill_absent(features, has_text, self.absent_text) + self.lexicon(*tokens, has_text)
        return image, text
