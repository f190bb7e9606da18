"""The probe: regressions on what frozen towers give, whose answers are averaged with those of the network."""

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor, nn
from transformers import AutoModel

from .lexicon_semart import Lexicon
from .output_semart import fill_absent
from .techniques_semart import without_autocast
from .towers_semart import pool_pictures, pooled_size


class Probe(nn.Module):
    """Logits `(batch, num_labels)` of all tasks, linear in features that training does not change.

    It reads the stages of a vision tower of its own, the model's as it was before training, what the frozen text tower
    pools, and the text's tokens. A vector stands in for what a painting lacks.

    Source: Kumar et al. 2022, Calibrated ensembles can mitigate accuracy tradeoffs under distribution shift.
    """

    def __init__(self, config: Any, num_labels: int) -> None:
        super().__init__()
        self.vision_tower = AutoModel.from_config(config.vision_config)
        size = pooled_size(self.vision_tower.timm_model, "stages")
        self.vision_projection = nn.Linear(size, num_labels)
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
    ) -> Tensor:
        """The logits; `pooled_texts` are of the rows that have a text, and `tokens` are `input_ids` and their mask."""
        image, text = self.absent_image.unsqueeze(0), self.absent_text.unsqueeze(0)
        if pixel_values is not None and (has_image is None or has_image.any()):
            present = pixel_values if has_image is None else pixel_values[has_image]
            pooled = pool_pictures(self.vision_tower, present, "stages")
            with without_autocast(pooled.device):
                features = self.vision_projection(pooled.to(self.absent_image.dtype))
            image = fill_absent(features, has_image, self.absent_image)
        if pooled_texts is not None:
            with without_autocast(pooled_texts.device):
                features = self.text_projection(pooled_texts.to(self.absent_text.dtype))
            text = fill_absent(features, has_text, self.absent_text) + self.lexicon(*tokens, has_text)
        return image + text


def mean_logits(
    logits: Mapping[str, Tensor], probed: Tensor, share: float, has_image: Tensor | None
) -> dict[str, Tensor]:
    """The mean of a network's logits by task name and, with this `share`, a probe's; without a picture the probe's."""
    parts = probed.split([values.shape[1] for values in logits.values()], dim=1)
    shares: Any = share
    if has_image is not None:
        shares = torch.where(has_image.unsqueeze(1), share, 1.0).to(probed.dtype)
    return {
        name: shares * part + (1 - shares) * values for (name, values), part in zip(logits.items(), parts, strict=True)
    }
