"""A WordPiece tokenizer learned from descriptions, for text towers that start from scratch."""

from collections import Counter
from collections.abc import Iterable

from tokenizers import Tokenizer, models, normalizers, pre_tokenizers, trainers
from transformers import DistilBertTokenizer

#: The special tokens in the order of their numbers; padding is 0, as DistilBERT's configuration expects.
SPECIAL_TOKENS = ("[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]")


def learn_tokenizer(
    texts: Iterable[str | None], *, vocab_size: int = 4000, max_length: int = 512
) -> DistilBertTokenizer:
    """A lower-casing WordPiece tokenizer of DistilBERT's class, the same for the same texts in any order.

    It has at most `vocab_size` tokens and cuts texts to `max_length` of them, special ones included.
    """
    corpus = sorted(text for text in texts if text and text.strip())
    if not corpus:
        raise ValueError(
            "Got no text, but a tokenizer is learned from descriptions. Give data with descriptions, or a text tower "
            "that brings its tokenizer, for example text: distilbert/distilbert-base-uncased."
        )
    if vocab_size < 100 or max_length < 3:
        raise ValueError(
            f"Got vocab_size={vocab_size} and max_length={max_length}, but a tokenizer has room for letters (100 or "
            "more) and a text for one token between [CLS] and [SEP] (3 or more). Raise them."
        )
    pieces = Tokenizer(models.WordPiece(unk_token="[UNK]"))
    # As DistilBertTokenizer cuts its texts.
    pieces.normalizer = normalizers.BertNormalizer(lowercase=True)
    pieces.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    letters, inner_letters = _alphabet(pieces, corpus, max_letters=(vocab_size - len(SPECIAL_TOKENS)) // 2)
    trainer = trainers.WordPieceTrainer(
        vocab_size=vocab_size,
        min_frequency=2,
        initial_alphabet=letters,
        limit_alphabet=len(letters),
        # The trainer numbers pieces as it meets them in a hash table, and breaks ties by these numbers: without a
        # number beforehand for the letters inside words, two runs learn two vocabularies.
        special_tokens=[*SPECIAL_TOKENS, *(f"##{letter}" for letter in inner_letters)],
        show_progress=False,
    )
    pieces.train_from_iterator(corpus, trainer)
    vocabulary = dict(sorted(pieces.get_vocab().items(), key=lambda item: item[1]))
    return DistilBertTokenizer(vocab=vocabulary, model_max_length=max_length)


def _alphabet(pieces: Tokenizer, corpus: Iterable[str], max_letters: int) -> tuple[list[str], list[str]]:
    """The most frequent letters of the texts' words, and those of them that stand inside words, both in code order."""
    letters: Counter[str] = Counter()
    inner_letters: set[str] = set()
    for text in corpus:
        for word, _ in pieces.pre_tokenizer.pre_tokenize_str(pieces.normalizer.normalize_str(text)):
            letters.update(word)
            inner_letters.update(word[1:])
    kept = sorted(sorted(letters, key=lambda letter: (-letters[letter], letter))[: min(1000, max_letters)])
    return kept, [letter for letter in kept if letter in inner_letters]
