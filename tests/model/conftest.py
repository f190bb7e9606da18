from pathlib import Path

import pytest
import timm
import torch
from small_models import build, small_text
from transformers import AutoModel, AutoProcessor, DistilBertTokenizer

from semart_hf.model.modeling_semart import SemArtForArtClassification
from semart_hf.model.pipeline_semart import ArtClassificationPipeline, save_repository
from semart_hf.model.processing_semart import SemArtImageProcessor, SemArtProcessor

_TEXT = "a view of delft portrait man woman the river with an old bridge at night"
WORDS = _TEXT.split()
TASKS = [{"name": "type", "labels": ["landscape", "portrait", "still-life", "UNK"]}]
TASKS += [{"name": "school", "labels": ["Dutch", "Italian", "UNK"]}]


@pytest.fixture(scope="session")
def make_tokenizer():
    vocabulary = {word: index for index, word in enumerate(["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", *WORDS])}
    return lambda **options: DistilBertTokenizer(vocab=vocabulary, **options)


@pytest.fixture
def processor(make_tokenizer) -> SemArtProcessor:
    """Pictures of 32 pixels, texts of at most 16 tokens."""
    cfg = timm.get_pretrained_cfg("test_resnet").to_dict() | {"input_size": (3, 32, 32)}
    image_processor = SemArtImageProcessor.from_timm(cfg)
    return SemArtProcessor(image_processor, make_tokenizer(model_max_length=16))


@pytest.fixture(scope="session")
def whole_model() -> SemArtForArtClassification:
    """A tiny model of two tasks, in evaluation mode, whose answers differ between paintings."""
    text = small_text(vocab_size=len(WORDS) + 5, max_position_embeddings=16)
    model = build(text=text, tasks=TASKS, image_size=32, fusion_dim=32, fusion_dropout=0.1)
    with torch.no_grad():
        for head in model.heads.values():
            head.weight.normal_(std=1.0)
    return model.eval()


@pytest.fixture(scope="session")
def repository(whole_model, make_tokenizer, tmp_path_factory) -> Path:
    image_processor = SemArtImageProcessor.from_timm(whole_model.config.vision_config.pretrained_cfg)
    processor = SemArtProcessor(image_processor, make_tokenizer(model_max_length=16))
    return save_repository(whole_model, processor, tmp_path_factory.mktemp("written") / "repository")


@pytest.fixture(scope="session")
def pipe(repository) -> ArtClassificationPipeline:
    model, processor = (auto.from_pretrained(repository) for auto in (AutoModel, AutoProcessor))
    return ArtClassificationPipeline(model=model, processor=processor, device="cpu")
