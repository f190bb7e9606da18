import random

import pytest
from transformers import AutoTokenizer, DistilBertTokenizer

from semart_hf.catalogue.catalogue import read_rows
from semart_hf.data.training_texts import learn_tokenizer

TEXTS = [
    "The banks of a river at dusk, with cattle.",
    "A saint with a book; the saint's book is gold.",
    "Portrait of a lady with a book",
    "River landscape with cattle and a bridge",
] * 5


def test_it_writes_bert_frames_and_cuts_to_the_length():
    tokenizer = learn_tokenizer(TEXTS, vocab_size=300, max_length=6)
    assert isinstance(tokenizer, DistilBertTokenizer)
    assert tokenizer.convert_ids_to_tokens(range(5)) == ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]"]
    encoding = tokenizer("A RIVER with cattle and a book", truncation=True)
    assert list(encoding) == ["input_ids", "attention_mask"]
    assert tokenizer.convert_ids_to_tokens(encoding["input_ids"]) == ["[CLS]", "a", "river", "with", "cattle", "[SEP]"]
    assert tokenizer("")["input_ids"] == [2, 3]
    assert tokenizer.tokenize("a [MASK] book") == ["a", "[MASK]", "book"]
    assert tokenizer.tokenize("Ωmega") == ["[UNK]"]
    tokenizer = learn_tokenizer(TEXTS, vocab_size=300)
    pieces = tokenizer.tokenize("bookish")
    assert pieces[0].startswith("book")
    assert all(piece.startswith("##") for piece in pieces[1:])
    assert tokenizer.decode(tokenizer("the rivers")["input_ids"], skip_special_tokens=True) == "the rivers"


def test_it_is_saved_and_loaded_without_a_network(tmp_path):
    tokenizer = learn_tokenizer(TEXTS, vocab_size=300, max_length=12)
    tokenizer.save_pretrained(tmp_path)
    loaded = AutoTokenizer.from_pretrained(tmp_path, local_files_only=True)
    assert isinstance(loaded, DistilBertTokenizer)
    assert loaded.model_max_length == 12
    assert loaded.get_vocab() == tokenizer.get_vocab()
    for text in (*TEXTS[:4], "", "Gericault's [MASK], 1819 – unknown"):
        assert loaded(text)["input_ids"] == tokenizer(text)["input_ids"]


def test_the_order_of_texts_does_not_matter_and_the_vocabulary_has_its_size():
    shuffled = random.Random(3).sample([*TEXTS, None, "", "  "], len(TEXTS) + 3)
    vocabulary = learn_tokenizer(TEXTS, vocab_size=200).get_vocab()
    for _ in range(5):
        assert learn_tokenizer(shuffled, vocab_size=200).get_vocab() == vocabulary
    rng = random.Random(0)
    many_letters = ["".join(chr(rng.randrange(0x4E00, 0x4F00)) for _ in range(30)) + " abc" for _ in range(50)]
    assert len(learn_tokenizer(many_letters, vocab_size=100)) <= 100
    assert len(learn_tokenizer(TEXTS, vocab_size=30000)) < 400
    with pytest.raises(ValueError, match=r"Got no text.*text: distilbert/distilbert-base-uncased"):
        learn_tokenizer([None, "", "   "])


def test_official_descriptions_are_cut_into_few_pieces(shared_data):
    rows = read_rows(shared_data / "semart").splits["validation"]
    texts = list(rows["description"])
    tokenizer = learn_tokenizer(texts, vocab_size=4000)
    assert len(tokenizer) == 4000
    words = sum(len(text.split()) for text in texts)
    pieces = [tokenizer.tokenize(text) for text in texts]
    assert sum(map(len, pieces)) / words < 1.7
    assert not any("[UNK]" in text_pieces for text_pieces in pieces)
