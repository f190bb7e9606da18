import pytest

from semart_hf.catalogue.timeframe import half_century, year_of


@pytest.mark.parametrize(
    ("year", "end", "timeframe"),
    [
        (1651, None, "1651-1700"),
        (1700, 1700, "1651-1700"),
        (1650, None, "1601-1650"),
        (1645, 1654, "1601-1650"),
        (1601, 1650, "1601-1650"),
        (1600, 1699, None),
        (1700, 1600, None),
        (850, None, "0801-0850"),
        (-500, None, None),
        (None, 1650, None),
    ],
)
def test_half_centuries(year, end, timeframe):
    assert half_century(year, end) == timeframe


@pytest.mark.parametrize(
    ("text", "year"),
    [("1650", 1650), ("c. 1650-55", 1650), (1913.0, 1913), ("1913.0", 1913), ("17th century", None), ("123456", None)],
)
def test_years(text, year):
    assert year_of(text) == year
