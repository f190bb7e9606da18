import time

import numpy as np

from semart_hf.preparation.preparation import Copy, find_copies, find_similar
from semart_hf.preparation.shards import MAX_BITS, text_digest


def rows_of(*rows: tuple[int, str | None, str | None, bytes | None, str | None]) -> list[dict]:
    return [
        {"place": (split, name), "picture": picture, "signature": signature and signature.hex()}
        | {"description": description and text_digest(description)}
        for split, name, picture, signature, description in rows
    ]


def signatures(number: int, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).integers(0, 256, (number, 32), dtype=np.uint8)


def flip(signature: np.ndarray, num_bits: int) -> np.ndarray:
    bits = np.unpackbits(signature)
    bits[:num_bits] ^= 1
    return np.packbits(bits)


def test_leaks_are_reported_beside_copies_within_the_split():
    a = bytes(signatures(1)[0])
    rows = rows_of((0, "a.jpg", "1", a, None), (2, "b.jpg", "1", a, None), (2, "c.jpg", "1", a, None))
    leaks = [Copy(1, 0, "leaked_picture"), Copy(2, 0, "leaked_picture")]
    assert find_copies(rows) == [*leaks, Copy(2, 1, "same_picture")]
    assert find_copies(rows_of()) == []
    assert find_copies(rows_of((0, None, None, None, None), (1, None, None, None, None))) == []


def test_similar_pictures_within_and_across_splits():
    base, other = signatures(2)
    rows = rows_of(
        (0, "a", "1", bytes(base), None),
        (0, "b", "2", bytes(other), None),
        (0, "c", "3", bytes(flip(base, MAX_BITS)), None),
        (1, "d", "4", bytes(flip(base, 3)), None),
        (1, "e", "5", bytes(flip(other, MAX_BITS + 1)), None),
    )
    assert find_copies(rows) == [Copy(2, 0, "similar_picture", MAX_BITS), Copy(3, 0, "leaked_picture", 3)]


def test_every_pair_is_compared_and_many_equal_pictures_take_no_time():
    splits = np.repeat([0, 1, 2], [3000, 700, 800])
    all_signatures = signatures(4500)
    for row, earlier, bits in [(2500, 7, 20), (2999, 2998, 0), (3100, 2400, 32), (4400, 3, 5), (4400, 4000, 32)]:
        all_signatures[row] = flip(all_signatures[earlier], bits)
    found = list(find_similar(all_signatures, splits))
    # Row 4400 was made twice, of row 3 and then of row 4000: only the second stands.
    assert found == [(2500, 7, 20), (2999, 2998, 0), (3100, 2400, 32), (4400, 4000, 32)]
    blank = np.zeros((6_000, 32), dtype=np.uint8)
    blank_splits = np.zeros(6_000, dtype=np.int64)
    start = time.perf_counter()
    found = list(find_similar(blank, blank_splits))
    assert len(found) == 5_999
    assert {earlier for _, earlier, _ in found} == {0}
    assert time.perf_counter() - start < 10
