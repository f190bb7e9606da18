"""What somebody looks for, words, a picture or both, becomes a vector, or an error says why it cannot."""

import re
from typing import Any

from semart_hf.collection.suggestions import digest_of_weights
from semart_hf.model.pictures_semart import load_picture

from .indexing import summed
from .vector_index import SearchIndex, Vector

# Levels of 255 between the darkest and the brightest pixel of a picture that shows nothing.
_LEAST_CONTRAST = 8
_SMALL = 64


def query_vector(classify: Any, text: str | None = None, image: Any = None) -> tuple[Vector, list[str]]:
    """The vector `(dimension,)` of unit length of words, a picture, or both together, and what to know about it."""
    if not isinstance(text, str | None):
        raise ValueError(f"Got the text {str(text)[:80]!r} of type {type(text).__name__}. Give a string.")
    text = (text or "").strip() or None
    if text is None and image is None:
        raise ValueError("Got an empty query. Give words, a picture, or both.")
    notices = []
    if text is not None:
        notices += _about_words(text, classify.processor.tokenizer)
        if not classify.model.config.contrastive:
            notices.append(
                "This model was trained without contrastive_weight: its words and pictures do not lie in one space, "
                "so that words find paintings by their texts alone. Train it with contrastive_weight to search "
                "pictures by words."
            )
    painting = {} if text is None else {"text": text}
    if image is not None:
        picture = load_picture(image)
        small = picture.resize((_SMALL, _SMALL), reducing_gap=2.0)
        if max(high - low for low, high in small.getextrema()) < _LEAST_CONTRAST:
            raise ValueError("Got a picture of one colour, which shows nothing to look for. Give another picture.")
        painting["image"] = picture
    return summed(classify.embed([painting], on_error="raise"))[0], notices


def _about_words(text: str, tokenizer: Any) -> list[str]:
    """What to know where the text tower's vocabulary lacks half of the words, or an error where it lacks all."""
    words = re.findall(r"\w+", text)
    pieces = {word: tokenizer.tokenize(word) for word in words}
    unread = [word for word in words if all(piece == tokenizer.unk_token for piece in pieces[word])]
    knows = "It knows the language of the texts that it was trained on: ask in that language."
    if len(unread) == len(words):
        raise ValueError(f"Got the query {text!r}, of which the text tower's vocabulary knows no word. {knows}")
    whole = [word for word in words if len(pieces[word]) == 1 and word not in unread]
    if 2 * len(whole) > len(words):
        return []
    known = f"knows of the {len(words)} words {', '.join(map(repr, whole))}" if whole else "knows no whole word"
    return [f"The text tower's vocabulary {known}; it reads the others in pieces, or not at all. {knows}"]


def check_model(index: SearchIndex, model: Any, name: str) -> None:
    """Raise ValueError unless a model is the one whose vectors an index holds."""
    weights = digest_of_weights(model)
    if weights != index.about["weights"]:
        raise ValueError(
            f"Got the model {name} (weights {weights[:12]}) for {index.address}, an index by {index.about['model']} "
            f"(weights {index.about['weights'][:12]}). Vectors of two models cannot be compared. Give that model."
        )
