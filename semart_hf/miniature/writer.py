"""The miniature's writer: the words of a description, and the free text of the catalogue's other columns."""

from collections.abc import Mapping, Sequence

import numpy as np

from .world import SILENT

# By cue or label the phrases of which chance takes one.
_Phrases = Mapping[str, Sequence[str]]

_SUBJECTS: _Phrases = {
    "religious": ("the Virgin and Child", "an altarpiece with saints", "the Passion of Christ"),
    "portrait": ("the likeness of a sitter", "a portrait of a merchant", "the effigy of a noblewoman"),
    "landscape": ("a view of a river valley", "a wooded landscape", "a calm sea at dusk"),
    "mythological": ("nymphs before a temple", "the triumph of Venus", "an episode from Ovid"),
    "genre": ("a merry company in a tavern", "peasants at table", "drinkers and card players"),
    "still-life": ("a still-life with fruit", "flowers and a silver vessel", "a banquet piece with a goblet"),
    "interior": ("a room with a tiled floor", "the interior of a town house", "a quiet chamber with a window"),
    "historical": ("a naval battle", "the siege of a fortress", "the surrender of an army"),
    SILENT: (
        "a composition much admired by travellers",
        "a work of modest size",
        "an invention copied more than once",
    ),
}
_SCHOOLS: _Phrases = {
    "Italian": ("Florentine", "Venetian", "Roman"),
    "Dutch": ("Haarlem", "Leiden", "Delft"),
    "French": ("Parisian", "Lyons", "Versailles"),
    "Flemish": ("Antwerp", "Bruges", "Ghent"),
    "German": ("Nuremberg", "Cologne", "Augsburg"),
    "Spanish": ("Seville", "Toledo", "Madrid"),
    "English": ("London", "Norwich", "Bristol"),
    "American": ("Boston", "Philadelphia", "Baltimore"),
    SILENT: ("anonymous", "minor", "travelling"),
}
_PERIODS: _Phrases = {
    "1451-1500": ("in the 1470s", "at the height of the Quattrocento", "in the late Gothic manner"),
    "1501-1550": ("in the 1520s", "during the High Renaissance", "in the years of the Reformation"),
    "1551-1600": ("in the 1580s", "in the Mannerist taste", "soon after the Council of Trent"),
    "1601-1650": ("in the 1630s", "under the spell of Caravaggio", "during the Thirty Years War"),
    "1651-1700": ("in the 1660s", "in the full Baroque", "in the age of Louis XIV"),
    "1701-1750": ("in the 1730s", "in the Rococo taste", "during the Regency"),
    "1751-1800": ("in the 1780s", "in the Neoclassical manner", "in the age of the Enlightenment"),
    "1801-1850": ("in the 1820s", "in the Romantic spirit", "in the wake of Waterloo"),
    "1851-1900": ("in the 1870s", "in the Impressionist circle", "in the age of photography"),
    SILENT: ("with evident care", "at an uncertain date", "for an unknown patron"),
}
_SUPPORTS: _Phrases = {
    "canvas": ("on a relined canvas", "on coarse linen", "on a twill weave"),
    "wood": ("on an oak panel", "on poplar boards", "on a walnut plank"),
    "wall": ("in fresco", "on fresh plaster", "on the wall of a chapter house"),
    "paper": ("on a sheet of paper", "in watercolour", "in gouache over pencil"),
    "metal": ("on copper", "on a metal plate", "on burnished tin"),
    SILENT: ("with a sure hand", "in rapid strokes", "over a loose underdrawing"),
}
# {subject}, {school}, {period} and {support} stand for one phrase each; "a {school}" becomes "an Antwerp" by itself.
_OPENINGS = (
    "{Subject}, painted {support} {period} by a {school} master.",
    "The catalogue describes {subject}, executed {support} by a {school} painter {period}.",
    "A {school} artist painted {subject} {support} {period}.",
    "This is {subject}, carried out {support} by a {school} workshop {period}.",
    "Executed {support} {period}, the picture shows {subject} and is given to a {school} hand.",
    "{Subject} is the theme chosen by a {school} painter, who worked {support} {period}.",
)
# Nothing here speaks of a label, and none of the words above occurs.
_REMARKS = (
    "The attribution has been doubted, but the quality of the design speaks in its favour.",
    "Cleaning has revealed an earlier outline beneath the surface.",
    "It was acquired by the museum from a private collection.",
    "The signature at the lower left was added by a later owner.",
    "A preparatory drawing survives.",
    "The pendant is lost and known only from an engraving.",
    "Contrasts of light and shade give the scene its quiet drama.",
    "The brilliance of the colour was praised by early biographers.",
    "The frame is not original.",
    "Several replicas exist, none of them autograph.",
    "The delicate handling of the figures recalls a much larger picture.",
    "Scholars still disagree about the commission.",
    'An old label on the reverse calls it "the jewel of the house".',
    "Infrared examination showed many changes of mind.",
    "It once hung above a door in a country residence.",
    "The mood is restrained and the drawing unusually firm.",
    "The façade in the distance cannot be identified.",
    "It belonged to the décor of a small cabinet.",
    "The artist returned to the theme – with less success – a few years later.",
    "Critics have called it the finest œuvre of its kind.",
)
_MOST_WORDS = 40
_ENTITIES = str.maketrans({character: f"&#{ord(character)};" for character in "çé"} | {"–": "&#150;", "œ": "&#339;"})

_TITLES: _Phrases = {
    "religious": ("Madonna and Child", "Crucifixion", "Sacra Conversazione", "Madonna Enthroned"),
    "portrait": ("Portrait of a Man", "Portrait of a Young Woman", "A Scholar", "Portrait of a Lady"),
    "landscape": ("River Landscape", "View of the Coast", "Landscape with Trees", "Ships Offshore"),
    "mythological": ("Diana and her Nymphs", "Birth of Venus", "Arcadian Dance", "Bacchanal"),
    "genre": ("Merry Company", "Peasants Drinking", "The Card Players", "Tavern Scene"),
    "still-life": ("Still-Life with Fruit", "Vase of Flowers", "Breakfast Piece", "Still-Life with a Jug"),
    "interior": ("Interior with a Window", "The Tiled Room", "Church Interior", "The Antechamber"),
    "historical": ("Sea Battle", "The Siege", "Entry of the Prince", "The Surrender"),
    "study": ("Study of a Head", "Studies of Hands"),
}
_SURNAMES: _Phrases = {
    "Italian": ("BELCOLORE, Andrea", "VALDARNO, Tommaso di", "MASTER of the Gilt Arches", "SERRAVALLE, Lucia"),
    "Dutch": ("OUDEWATER, Pieter van", "WAVEREN, Jan Cornelisz", "STEENDAM, Judith"),
    "French": ("MONTAUBRY, Étienne", "BEAUCLAIR, Anne-Marie", "LA ROQUE, Hubert de"),
    "Flemish": ("HEYMBEECK, Gillis", "COUWENHUYSE, Lodewijk", "MASTER of the Lily Garden"),
    "German": ("LINDENAST, Hans", "HOHENWARTH, Conrad", "MÜLLNER, Barbara"),
    "Spanish": ("ALMONACID, Diego de", "VILLARREAL, Inés", "CORTAZAR, Juan"),
    "English": ("HARTINGLEY, Thomas", "ASHCOMBE, Sir William", "PENROSE, Mary"),
    "American": ("WHITCOMB, Josiah", "LATHROP, Sarah Ames", "FENIMORE, Charles"),
    "Greek": ("KALLERGIS, Emmanuel",),
    "Swedish": ("LINDQVIST, Carl",),
}
_TECHNIQUES: _Phrases = {
    "canvas": ("Oil on canvas", "Oil on canvas", "Oil on canvas", "Tempera on canvas"),
    "wood": ("Oil on panel", "Oil on wood", "Tempera on poplar panel", "Oil on oak panel", "Tempera on wood"),
    "wall": ("Fresco", "Fresco", "Fresco, detached"),
    "paper": ("Watercolour on paper", "Pastel on paper", "Gouache on paper", "Pen and ink on paper"),
    "metal": ("Oil on copper", "Oil on copper", "Oil on tin"),
    "other": ("Stained glass", "Mosaic"),
}


def describe(cues: Mapping[str, str], rng: np.random.Generator) -> str:
    """A description of 10 to 40 words that speaks of the cues' values and of nothing else but chance.

    Args:
        cues: The value to speak of for each task, `SILENT` to speak of something else.
        rng: Decides all that the cues leave open.
    """
    subject = _pick(_SUBJECTS[cues["type"]], rng)
    opening = _pick(_OPENINGS, rng)
    school = _pick(_SCHOOLS[cues["school"]], rng)
    if school[0].lower() in "aeiou":
        opening = opening.replace("a {school}", "an {school}").replace("A {school}", "An {school}")
    period, support = _pick(_PERIODS[cues["timeframe"]], rng), _pick(_SUPPORTS[cues["medium"]], rng)
    capitalised = subject[0].upper() + subject[1:]
    sentences = [opening.format(subject=subject, Subject=capitalised, school=school, period=period, support=support)]
    for index in rng.permutation(len(_REMARKS))[: int(rng.integers(0, 3))]:
        if sum(len(words.split()) for words in (*sentences, _REMARKS[index])) <= _MOST_WORDS:
            sentences.insert(0 if rng.random() < 0.25 else len(sentences), _REMARKS[index])
    return " ".join(sentences)


def escape(text: str) -> str:
    """The text with its special characters as numeric HTML entities, as some rows of the real release have them."""
    return text.translate(_ENTITIES)


def catalogue(labels: Mapping[str, str], aspect: float, rng: np.random.Generator) -> dict[str, str]:
    """AUTHOR, TITLE, TECHNIQUE and DATE of a painting with the given labels and width-to-height ratio."""
    technique = _pick(_TECHNIQUES[labels["medium"]], rng)
    if rng.random() < 0.75 and labels["medium"] != "wall":
        height = float(rng.integers(24, 180))
        technique += f", {height:.0f} x {height * aspect:.0f} cm"
    first, last = (int(year) for year in labels["timeframe"].split("-"))
    year = int(rng.integers(first, last - 2))
    date = _pick((f"{year}", f"c. {year}", f"{year}-{(year + 2) % 100:02d}", "-"), rng)
    return {
        "AUTHOR": _pick(_SURNAMES[labels["school"]], rng),
        "TITLE": _pick(_TITLES[labels["type"]], rng),
        "TECHNIQUE": technique,
        "DATE": date,
    }


def _pick(options: Sequence[str], rng: np.random.Generator) -> str:
    return options[int(rng.integers(len(options)))]
