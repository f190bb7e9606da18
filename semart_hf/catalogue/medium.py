"""The medium of a painting, from the free text of its technique, by rules that are read as tables.

The surface that carries the paint today decides: after a transfer the new one, but a painted sheet or canvas that was
mounted on something else stays what it is. Of several surfaces the first that is named counts.
"""

import re
import unicodedata
from difflib import get_close_matches
from functools import lru_cache

#: The labels of the task `medium` that the rules give.
MEDIUMS = ("canvas", "wood", "wall", "paper", "metal", "other")


# Rules are a medium, words that name it as a regular expression in lower case and without accents, and what they are.

#: Words that sound like a surface and are none. They are struck out first.
NOT_SURFACES = (
    ("", r"walnut oil", "the paint's oil, not its wood"),
    ("", r"lead[- ]?white|white lead|lead[- ]?pencil|iron[- ]gall", "pigments, a pencil and an ink, not metal"),
    ("", r"(?:metal|silver|lead)[- ]?point", "drawing tools"),
    ("", r"(?:metal|copper|tin|bronze|silver|gold)[- ]?(?:leaf|foil|paint|powder|dust)", "laid on the surface"),
    ("", r"(?:marble|stone|glass|brick|wood) ?(?:dust|powder|flour)", "stirred into the paint"),
    ("", r"copper(?= beech)", "a tree"),
    ("", r"(?:canvas|linen|cloth|paper|board)[- ](?:backed|covered|lined)", "the back, or under the ground"),
    ("", r"wood(?:en)? (?:stretcher|strainer|frame|cradle|mount|backing)", "what holds the painting"),
    ("", r"(?:stone|slate|brick|marble|silver|copper|gold)[- ](?:colou?red|grey|gray|blue|green|toned?)", "colours"),
    ("", r"(?:ivory|stone|slate)(?= (?:\w+ )?paper)", "a colour of paper"),
    ("", r"(?:central|centre|center|each|side|wings?) panels?", "a part of an altarpiece, whatever it is made of"),
    ("", r"(?:with|in) [\w ]*frame", "round the painting"),
)

#: Words that name a surface. The first in the text counts; of two at one place, the first in the table.
SURFACES = (
    ("paper", r"wood[- ]?(?:cut|engraving|block print)s?|copper ?plate (?:engraving|print)s?", "prints"),
    ("canvas", r"canv\w*|linen|flax|jute|burlap|hessian|hemp|cotton", "woven"),
    ("canvas", r"calico|muslin|twill|ticking|\w*cloth|fabric", "woven"),
    ("canvas", r"tela|toile|lienzo|leinwand|lwd|leinen|doek|linnen|vaszon", "canvas in it, fr, es, de, nl, hu"),
    ("wood", r"panel|pane|ood|wood(?:en)?|\w+-?wood|stone[- ]pine", "a panel, misspelt ones included"),
    ("wood", r"oak\w*|poplar|lime(?:-?tree)?(?! plaster)|lind(?:en|e)|walnut|pine|fir|spruce|larch", "trees"),
    ("wood", r"cedar|cypress|beech|chestnut|mahogany|teak|pear|elm|maple|cherry|alder|ash|birch|ebony", "trees"),
    ("wood", r"ply-?wood|hard-?board|fib(?:re|er)-?board|chip-?board|masonite|mdf", "made of wood"),
    ("wood", r"(?:composition|beaver|pressed|particle|wooden) ?board", "made of wood"),
    ("wood", r"tavola|pannell[oi]|legno|bois|panneaux?", "in it, fr, es, de, nl, hu"),
    ("wood", r"tabla|madera|\w*holz|paneel|hout|fatabla", "in it, fr, es, de, nl, hu"),
    ("wood", r"pioppo|rovere|noce|chene|peuplier|noyer|roble|nogal|eiche|pappel|eiken\w*", "trees in these"),
    (
        "wall",
        r"plaster|stucco|intonaco|wall|muro|mur|mauer|fresc\w*(?= and (?!.* on ))",
        "the building carries the paint",
    ),
    ("paper", r"\w*paper\w*|papyrus|card|card-?bo\w*rd|(?:paste|mill|straw)-?board", "sheets"),
    ("paper", r"board", "where it is of no named wood: the paperboard of the 19th century"),
    ("paper", r"parchment|vellum|pergamen\w*|pergamino|parchemin|velin", "a sheet, kept and mounted as paper is"),
    ("paper", r"carta|cart(?:on|one|oncino)|papier\w*|papel|papir|pappe|karton", "in it, fr, es, de, hu"),
    ("metal", r"copper\w*|tin(?:ned|plate)?|zinc|iron|steel|alumini?um|bronze|brass|pewter|metal", "plates"),
    ("metal", r"(?<=on )(?:silver|gold|lead)(?= (?:plate|panel|sheet|with)|[,;(.]|$)|^silver(?=,|$)", "plates"),
    ("metal", r"rame|cuivre|cobre|kupfer|koper|bronzo|rez|fer-blanc|blech|zinn", "copper, tin in other languages"),
    ("other", r"slate|marble|\w*stone|alabaster|porphyry|granite|basalt|onyx|jasper|travertine|paragone", "stone"),
    ("other", r"agate|amethyst|obsidian|malachite|serpentine|lapis[- ]?lazuli|mosaic", "stone"),
    ("other", r"(?:synthetic|plastic) (?:support|panel|sheet)", "plastics"),
    ("other", r"plexiglas\w*|acrylic glass|fib(?:re|er)-?glass", "plastics"),
    ("other", r"terracotta|ceramic|porcelain|faience|majolica|maiolica|earthenware|tile|brick", "fired clay"),
    ("other", r"glass|ivory|bone|horn|shell|mother[- ]of[- ]pearl|feather(?!s? on )", "none of the others"),
    ("other", r"leather|\w*skin|silk|velvet|tapestry|embroidery|wool", "hides, and fabrics that are no canvas"),
    ("other", r"ardoise|lavagna|ardesia|schiefer|pizarra|pietra|pierre|piedra|stein", "slate, stone in these"),
    ("other", r"marmo|marbre|marmor|marmol|vetro|verre|vidrio|glas|avorio|ivoire|marfil", "marble, glass, ivory"),
)

#: Techniques that imply their surface, where none is named.
IMPLIED_SURFACES = (
    ("wall", r"fresc\w*|affresc\w*|fresque\w*|fresko\w*", "painted on plaster"),
    ("wall", r"mural|secco|s[iy]nopia|ceiling|wandmalerei", "painted on plaster"),
    ("paper", r"pastel\w*|water-?colou?rs?|gouache|aquarel\w*|acquerello|acuarela", "painted on sheets"),
    ("paper", r"engraving|etching|\w*lithograph\w*|mezzotint|aquatint|drypoint|monotype|linocut|print", "printed"),
    ("paper", r"gravure|incisione|acquaforte|grabado|radierung|kupferstich|holzschnitt", "printed, in others"),
    ("paper", r"pen|ink|[\w-]*pencil|chalk|charcoal|crayon|graphite|drawing|(?:silver|metal) ?point", "drawn"),
    ("paper", r"sanguine|sepia|bistre|conte|body-?colou?r|(?:ink|sepia|grey|gray|brown) wash|biro", "drawn"),
    ("paper", r"illumination|manuscript", "painted in a book"),
    ("metal", r"enamel\w*", "fired on copper"),
)

# The typing errors are the official release's.
_TRANSFERRED = r"(?:tr?an?s?fer+ed|trasportat\w|trasferit\w|transpos\w+|transfere\w*|trasladad\w)"
_TO_TODAY = re.compile(_TRANSFERRED + r"(?: (?:from|da|de) [\w ]+?)? (?:on)?(?:to|on|su|sur|a) (?P<today>.*)")
_TO_TODAY_GERMAN = re.compile(r".*\bauf (?P<today>.*) ubertragen")
_FROM_FORMER = re.compile(_TRANSFERRED + r" (?:from|da|de|du) .*")
_MOUNTED = re.compile(
    r"(?:mounted|monted|laid|pasted|glued|stuck|attached|fixed|affixed|adhered|stretched|marouflage\w*|maroufle\w?)"
    r"(?: down)? (?:on|onto|to|over|upon|sur) .*|(?:backed|lined) (?:with|by|on|onto) .*"
    r"|(?:applicat|incollat|montat)\w su .*|auf .* (?:aufgezogen|kaschiert)"
)


def medium_of(technique: str | None) -> str | None:
    """Medium of a painting by the surface that carries its paint today; `None` where the text does not say it.

    A technique that is tied to a surface says it without naming it: a fresco is wall, a pastel or a print is paper.
    """
    return None if technique is None else _medium_of_text(technique)


@lru_cache(maxsize=65536)
def _medium_of_text(technique: str) -> str | None:
    decomposed = unicodedata.normalize("NFKD", technique.lower())
    text = " ".join("".join(letter for letter in decomposed if not unicodedata.combining(letter)).split())
    text = re.sub(r"(?<=[a-z])(?=\d)", " ", text)  # "wood288 x 175 cm"
    transfer = _TO_TODAY.search(text) or _TO_TODAY_GERMAN.search(text)
    today = _named_surface(transfer["today"]) if transfer else None
    if today:
        return today
    text = _FROM_FORMER.sub("", text)
    painted = _MOUNTED.sub("", text)
    exact = _named_surface(painted) or _first(_IMPLIED, painted)
    return exact or _named_surface(_corrected(painted)) or _named_surface(text)


def _corrected(text: str) -> str:
    """The text with words of five letters and more replaced by the surface that they most likely misspell.

    Words that run together are parted: `oncanvas` ends with a surface.
    """
    words = []
    for word in re.findall(r"\w{5,}", text):
        close = get_close_matches(word, _OFTEN_MISSPELT, n=1, cutoff=0.84)
        close = close or get_close_matches(word.removesuffix("s"), _OFTEN_MISSPELT, n=1, cutoff=0.84)
        words += (close if word not in _OTHER_WORDS else []) or [
            surface
            for surface in _OFTEN_MISSPELT
            if word.startswith(surface) or word.endswith(surface) or sorted(word) == sorted(surface)
        ]
    return " ".join(words)


def _named_surface(text: str) -> str | None:
    for pattern, _ in _STRUCK:
        text = pattern.sub(" ", text)
    return _first(_NAMED, " ".join(text.split()))


def _first(table: list[tuple[re.Pattern[str], str]], text: str) -> str | None:
    """Medium of the rule whose words come first in the text."""
    matches = [(match.start(), row) for row, (words, _) in enumerate(table) if (match := words.search(text))]
    return table[min(matches)[1]][1] if matches else None


def _compiled(rules: tuple[tuple[str, str, str], ...]) -> list[tuple[re.Pattern[str], str]]:
    return [(re.compile(rf"(?<!\w)(?:{words})(?:s|es)?(?!\w)"), medium) for medium, words, _ in rules]


# Words of their own that are like a surface.
_OTHER_WORDS = ("popular",)
# The surfaces of nearly all paintings: a rare word that is like another rare word is more likely that word.
_OFTEN_MISSPELT = (
    *("canvas", "panel", "wood", "paper", "cardboard", "copper"),
    *("plaster", "linen", "board", "poplar", "slate"),
)
_STRUCK, _NAMED, _IMPLIED = _compiled(NOT_SURFACES), _compiled(SURFACES), _compiled(IMPLIED_SURFACES)
