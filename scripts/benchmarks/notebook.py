"""The yardstick: the study's training and prediction as a good notebook has them, with nothing clever in it.

torch, timm and DistilBertModel; PIL and torchvision's transforms for every picture at full size; texts padded to one
length; two loader workers; AdamW. The model, what of it learns, the batch and the augmentation are those of a recipe.
"""

from __future__ import annotations

from collections.abc import Iterator
from itertools import chain, repeat

import pandas as pd
import timm
import torch
from PIL import Image
from torch import Tensor, nn
from torch.nn import functional as F
from torch.utils.data import DataLoader, Dataset
from torchvision import transforms
from transformers import AutoTokenizer, DistilBertModel, get_cosine_schedule_with_warmup

from benchmarks.bench import TEXT_LENGTH, Setting
from semart_hf.model.towers_semart import frozen_layers, frozen_modules, vision_stages

NUM_WORKERS = 2
TASKS = ("TYPE", "SCHOOL", "TIMEFRAME", "MEDIUM")
NUM_LABELS = {"type": 11, "school": 25, "timeframe": 18, "medium": 6}  # SemArt's, where no data is read


class NotebookModel(nn.Module):
    """`SemArtForArtClassification` without absent modalities, written down plainly."""

    def __init__(self, setting: Setting, num_labels: list[int]) -> None:
        super().__init__()
        recipe = setting.recipe
        dim = recipe.get("fusion_dim", 512)
        self.vision = timm.create_model(setting.vision, pretrained=False, num_classes=0)
        self.text = DistilBertModel.from_pretrained(setting.text_tower)
        vision_dim = getattr(self.vision, "head_hidden_size", None) or self.vision.num_features
        self.vision_projection = nn.Linear(vision_dim, dim)
        self.text_projection = nn.Linear(self.text.config.dim, dim)
        self.fusion_norm = nn.LayerNorm(2 * dim)
        self.fusion = nn.Linear(2 * dim, dim)
        self.dropout = nn.Dropout(recipe.get("fusion_dropout", 0.1))
        self.heads = nn.ModuleList(nn.Linear(dim, number) for number in num_labels)

        stages = vision_stages(self.vision)[: recipe.get("frozen_vision_stages", 0)]
        frozen_text = frozen_layers(self.text, recipe.get("trainable_text_layers", 1))
        frozen = [self.vision.get_parameter(name) for stage in stages for name in stage]
        frozen += [parameter for module in frozen_text for parameter in module.parameters()]
        for parameter in frozen:
            parameter.requires_grad = False
        self.frozen = frozen_modules(self, {id(parameter) for parameter in frozen})

    def train(self, mode: bool = True) -> NotebookModel:
        """Set training mode, but not in what is frozen: as in our model, nothing there changes or is dropped."""
        super().train(mode)
        for module in self.frozen:
            module.eval()
        return self

    def forward(self, pixel_values: Tensor, input_ids: Tensor, attention_mask: Tensor) -> list[Tensor]:
        """Logits `(batch, num_labels)` of each task."""
        text = self.text(input_ids=input_ids, attention_mask=attention_mask).last_hidden_state[:, 0]
        return self.answers(self.vision_projection(self.vision(pixel_values)), self.text_projection(text))

    def answers(self, image: Tensor, text: Tensor) -> list[Tensor]:
        """Logits of each task, from the projected features `(batch, fusion_dim)` of both towers."""
        features = image + text + F.gelu(self.fusion(self.fusion_norm(torch.cat((image, text), dim=1))))
        features = self.dropout(features)
        return [head(features) for head in self.heads]


class NotebookPaintings(Dataset):
    """Rows of a release: picture through a transform, tokens, labels."""

    def __init__(self, setting: Setting, *, augments: bool) -> None:
        frame = pd.read_csv(setting.release / "semart_train.csv", sep="\t", encoding="cp1252")
        frame["MEDIUM"] = frame["TECHNIQUE"].str.split(",").str[0]
        self.pictures = [setting.release / "Images" / name for name in frame["IMAGE_FILE"]]
        self.texts = frame["DESCRIPTION"].tolist()
        columns = [pd.factorize(frame[task], sort=True) for task in TASKS]
        self.num_labels = [len(labels) + 1 for _, labels in columns]  # one more for rare and unseen ones
        self.labels = torch.tensor(list(zip(*(codes for codes, _ in columns), strict=True)))
        self.transform = make_transform(setting, augments=augments)
        self.tokenizer = AutoTokenizer.from_pretrained(setting.text_tower)

    def __len__(self) -> int:
        return len(self.pictures)

    def __getitem__(self, row: int) -> dict[str, Tensor]:
        options = {"padding": "max_length", "truncation": True, "max_length": TEXT_LENGTH, "return_tensors": "pt"}
        tokens = self.tokenizer(self.texts[row], **options)
        picture = Image.open(self.pictures[row], formats=["JPEG"]).convert("RGB")
        inputs = {name: tokens[name][0] for name in ("input_ids", "attention_mask")}
        return {"pixel_values": self.transform(picture), **inputs, "labels": self.labels[row]}


def make_transform(setting: Setting, *, augments: bool) -> transforms.Compose:
    """The tower's own transform, or the study's six augmentations, by torchvision, picture by picture."""
    config = timm.data.resolve_data_config(pretrained_cfg=timm.get_pretrained_cfg(setting.vision).to_dict())
    size, recipe = setting.image_size, setting.recipe
    if not augments:
        return timm.data.create_transform(**{**config, "input_size": (3, size, size)})
    return transforms.Compose(
        [
            transforms.RandomResizedCrop(size, tuple(recipe["crop_scale"]), tuple(recipe["crop_ratio"])),
            transforms.RandomHorizontalFlip(recipe["horizontal_flip"]),
            transforms.RandomRotation(recipe["rotation"]),
            transforms.ColorJitter(*[recipe["color_jitter"]] * 3),
            transforms.ToTensor(),
            transforms.Normalize(config["mean"], config["std"]),
            transforms.RandomErasing(recipe["random_erasing"]),
        ]
    )


def train(setting: Setting) -> Iterator[int]:
    recipe, device = setting.recipe, setting.device
    torch.manual_seed(0)
    paintings = NotebookPaintings(setting, augments=True)
    loader = DataLoader(paintings, batch_size=setting.batch_size, shuffle=True, num_workers=NUM_WORKERS)
    model = NotebookModel(setting, paintings.num_labels).to(device).train()
    trainable = [parameter for parameter in model.parameters() if parameter.requires_grad]
    optimizer = torch.optim.AdamW(trainable, lr=float(recipe["learning_rate"]), weight_decay=recipe["weight_decay"])
    num_steps = len(loader) * int(recipe["num_train_epochs"])
    scheduler = get_cosine_schedule_with_warmup(optimizer, int(recipe["warmup_steps"] * num_steps), num_steps)
    for batch in chain.from_iterable(repeat(loader)):
        labels = batch.pop("labels").to(device)
        logits = model(**{name: value.to(device) for name, value in batch.items()})
        loss = sum(F.cross_entropy(task_logits, labels[:, task]) for task, task_logits in enumerate(logits))
        optimizer.zero_grad()
        loss.backward()
        nn.utils.clip_grad_norm_(trainable, recipe["max_grad_norm"])
        optimizer.step()
        scheduler.step()
        loss.item()  # a notebook shows it; on a GPU it waits for the step
        yield len(labels)


@torch.no_grad()
def predict(setting: Setting, batch_size: int = 32, num_workers: int = NUM_WORKERS) -> Iterator[int]:
    paintings = NotebookPaintings(setting, augments=False)
    model = NotebookModel(setting, paintings.num_labels).to(setting.device).eval()
    loader = DataLoader(paintings, batch_size=batch_size, num_workers=num_workers)
    for batch in chain.from_iterable(repeat(loader)):
        labels = batch.pop("labels")
        logits = model(**{name: value.to(setting.device) for name, value in batch.items()})
        [task_logits.softmax(1).cpu() for task_logits in logits]
        yield len(labels)
