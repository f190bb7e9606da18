"""The words that name a painting's labels, as tables of regular expressions for whole words, without accents.

`NAMES` says the label itself. `KIN` says it by another word: the country and its people, a local school, the parts of
a medium. City names and styles are left out: they hint at a label as a halo hints at a religious painting.
"""

#: By task and label: the label's own name with its inflections.
NAMES: dict[str, dict[str, str]] = {
    "type": {
        "religious": r"religious(?:ly)?|religions?",
        "portrait": r"(?:self-?)?portrait(?:s|ist|ists|ure|ures)?",
        "landscape": r"(?:land|sea|town|city|river)scapes?|landscap(?:ist|ists|ed)",
        "mythological": r"mythological|mythology|mythologies|mythic|mythical|myths?",
        "genre": r"genres?",
        "still-life": r"still[- ]?li(?:fe|fes|ves)",
        "historical": r"histor(?:ical|ically|ic|y|ies)",
        "interior": r"interiors?",
        "study": r"study|studies",
    },
    "school": {
        "Italian": r"Italian(?:s|ate|ates|ism)?",
        "French": r"French(?:man|men|woman|women|ified)?",
        "German": r"German(?:s|ic)?",
        "Welsh": r"Welsh(?:man|men)?",
        **{name: rf"{name}(?:man|men|woman|women)?" for name in ("Dutch", "English", "Irish")},
        **{
            name: f"{name}s?"
            for name in (
                *("Austrian", "Hungarian", "American", "Russian", "Belgian", "Greek", "Catalan", "Bohemian"),
                *("Norwegian", "Czech", "Canadian", "Ukrainian", "Romanian", "Bulgarian", "Mexican"),
            )
        },
        **{
            name: name
            for name in (
                *("Flemish", "Spanish", "Netherlandish", "Danish", "Swiss", "Scottish", "Swedish", "Finnish"),
                *("Portuguese", "Chinese", "Japanese"),
                "Polish",  # capitalised only: "polish" is a verb
            )
        },
    },
    "medium": {
        "canvas": r"canvas(?:es)?",
        "wood": r"wood(?:en)?",
        "wall": r"walls?",
        "paper": r"papers?",
        "metal": r"metals?",
    },
    "timeframe": {
        "year": r"(?:1\d{3}|20[0-2]\d)(?:s|(?: ?[-–/] ?\d{1,4}))?",
        "century": (
            r"(?:\d{1,2}(?:st|nd|rd|th)|[XVI]+(?:st|nd|rd|th)?|eleventh|twelfth|thirteenth|fourteenth|fifteenth"
            r"|sixteenth|seventeenth|eighteenth|nineteenth|twentieth)"
            r"(?:(?:,? (?:and|or|to) (?:the )?|[-–/])(?:\d{1,2}(?:st|nd|rd|th)|\w+th))*[- ]centur(?:y|ies)"
            r"|(?:due|tre|quattro|cinque|sei|sette|otto|nove)cento"
        ),
    },
}

#: By task and label: other words that say the label as surely.
KIN: dict[str, dict[str, str]] = {
    "type": {"landscape": r"vedut(?:a|e|ista|isti)", "portrait": r"sitters?"},
    "school": {
        "Italian": (
            r"Italy|Florentines?|Venetians?|Sienese|Tuscan[sy]?|Lombards?|Lombardy|Milanese|Neapolitans?|Bolognese"
            r"|Genoese|Umbrian|Ferrarese|Paduan|Venet[io]|Piedmontese|Sicilian"
        ),
        "Dutch": r"Holland|Hollanders?|(?:the )?United Provinces",
        "French": r"France|Parisians?|Burgundian|Provencal",
        "Flemish": r"Flanders|Flemings?",
        "German": r"Germany|Bavarian|Saxon|Swabian|Westphalian|Prussian?",
        "Spanish": r"Spain|Spaniards?|Castilian|Sevillian|Valencian|Andalusian",
        "English": r"England|Britain|British|Britons?",
        "Netherlandish": r"(?:the )?Netherlands|(?:the )?Low Countries",
        "Austrian": r"Austria|Viennese|Tyrolean",
        "Hungarian": r"Hungary",
        "American": r"America|(?:the )?United States",
        "Danish": r"Denmark|Danes?",
        "Swiss": r"Switzerland",
        "Russian": r"Russia",
        "Scottish": r"Scotland|Scots?|Scotsm[ae]n",
        "Belgian": r"Belgium",
        "Greek": r"Greece|Cretan",
        "Catalan": r"Catalonia",
        "Bohemian": r"Bohemia",
        "Swedish": r"Sweden|Swedes?",
        "Irish": r"Ireland",
        "Norwegian": r"Norway",
        "Polish": r"Poland|Poles?",
        "Finnish": r"Finland|Finns?",
        "Portuguese": r"Portugal",
    },
    "medium": {
        "canvas": r"linen",
        "wood": r"(?:oak|poplar|lime|linden|pine|walnut|beech|fir|spruce)(?:[- ]?wood)?|panels?|planks?|oakwood",
        "wall": r"frescos?|frescoe[sd]|frescoing|murals?|plaster|stucco(?:es)?",
        "paper": r"cardboard|parchment|vellum|pastels?|watercolou?rs?|gouaches?|engravings?|etchings?|woodcuts?",
        "metal": r"copper|bronze|tin|zinc|silver",
        "other": r"slate|marble|ivory|glass|terracotta",
    },
}

#: Parts of painters' names that name nobody.
NAMELESS_PARTS = (
    r"aan|and|called|circle|dal|dai|das|degli|dei|del|dell[aeo]|den|der|des|dos|elder|father|follower|fra|les|los|master"
    r"|monogrammist|old|painter|saint|san|sir|son|ten|ter|the|then|tot|unknown|van|vander|von|workshop|younger|zum|zur"
)
