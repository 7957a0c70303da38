"""What is wrong in a file, as data: a place, a code from a closed list, and parameters.

Complaints are collected, never raised: a reader answers `(value | None, complaints)`, and one pass says
everything that it can see is wrong.
"""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Final

# code -> (English, French); the names in braces are the parameters of the code
COMPLAINTS: Final[Mapping[str, tuple[str, str]]] = {
    # the file itself
    "file.missing": ("there is no such file", "ce fichier n’existe pas"),
    "file.unreadable": ("this file can't be read ({why})", "ce fichier ne peut pas être lu ({why})"),
    "file.not-regular": ("this is not a regular file", "ce n’est pas un fichier ordinaire"),
    "file.too-large": (
        "this file has {size} bytes; at most {most} are read",
        "ce fichier compte {size} octets\u00a0; {most} au plus sont lus",
    ),
    "file.long-line": (
        "this line has more than {most} characters",
        "cette ligne compte plus de {most} caractères",
    ),
    "file.not-utf8": ("byte {byte} is not UTF-8 text", "l’octet {byte} n’est pas du texte UTF-8"),
    "file.control-character": (
        "control character {character} is not allowed",
        "le caractère de contrôle {character} n’est pas permis",
    ),
    # YAML
    "yaml.syntax": ("not valid YAML: {problem}", "YAML incorrect\u00a0: {problem}"),
    "yaml.tag": ("tags are not allowed ({tag})", "les étiquettes YAML ne sont pas permises ({tag})"),
    "yaml.anchor": ("anchors and aliases are not allowed ({name})", "ancres et alias ne sont pas permis ({name})"),
    "yaml.directive": ("YAML directives are not allowed", "les directives YAML ne sont pas permises"),
    "yaml.duplicate-key": (
        "“{key}” is already given on line {first}",
        "«\u00a0{key}\u00a0» figure déjà à la ligne {first}",
    ),
    "yaml.key-not-text": ("a key must be a plain word", "une clé doit être un simple mot"),
    "yaml.too-deep": ("nested deeper than {most} levels", "imbrication de plus de {most} niveaux"),
    "yaml.too-many": ("more than {most} values", "plus de {most} valeurs"),
    "yaml.number": ("this number is out of range", "ce nombre est hors limites"),
    "yaml.several-documents": ("a file holds one document", "un fichier contient un seul document"),
    "yaml.empty": ("this file holds nothing", "ce fichier ne contient rien"),
    # values against their shape
    "value.type": ("expected {expected}", "attendu\u00a0: {expected}"),
    "value.unknown-key": ("unknown key “{key}”", "clé inconnue «\u00a0{key}\u00a0»"),
    "value.missing": ("“{key}” is missing", "«\u00a0{key}\u00a0» manque"),
    "value.choice": ("expected one of {expected}", "valeurs admises\u00a0: {expected}"),
    "value.bound": ("out of bounds: {bound}", "hors bornes\u00a0: {bound}"),
    "value.pattern": ("not of the form {pattern}", "n’a pas la forme {pattern}"),
    "value.refused": ("refused: {why}", "refusé\u00a0: {why}"),
    # a hub
    "hub.duplicate-id": ("the id “{id}” is used twice", "l’identifiant «\u00a0{id}\u00a0» est utilisé deux fois"),
    "hub.unknown-reference": ("there is no {kind} “{id}” here", "il n’y a pas ici de {kind} «\u00a0{id}\u00a0»"),
    "hub.shares-above-whole": (
        "the shares of this machine add up to {total_ppm} parts per million, above 1000000",
        "les parts de cette machine totalisent {total_ppm} millionièmes, plus de 1000000",
    ),
    "hub.cap-below-idle": (
        "the power cap of {cap_w} W is below the idle draw of {idle_w} W",
        "le plafond de puissance de {cap_w}\u00a0W est inférieur à la consommation au repos de {idle_w}\u00a0W",
    ),
    "hub.not-simulable": (
        "not published and not assumed: add an assumption, with its why",
        "ni publié ni supposé\u00a0: ajoutez une hypothèse, avec son motif",
    ),
    "hub.source-missing": ("a published value names its source", "une valeur publiée nomme sa source"),
    "hub.source-unknown": ("there is no source “{id}”", "la source «\u00a0{id}\u00a0» n’existe pas"),
    "hub.currency": (
        "“{currency}” is not an ISO 4217 code",
        "«\u00a0{currency}\u00a0» n’est pas un code ISO\u00a04217",
    ),
    "hub.jurisdiction": ("“{code}” is not an ISO 3166 code", "«\u00a0{code}\u00a0» n’est pas un code ISO\u00a03166"),
    "hub.timezone": ("“{timezone}” is not a time zone", "«\u00a0{timezone}\u00a0» n’est pas un fuseau horaire"),
    "hub.dates": ("ends before it begins", "se termine avant de commencer"),
    "hub.part-of-itself": ("this is a part of itself", "ceci est une partie de soi-même"),
    "hub.device": (
        "“{id}” is a kind of {actual}, this partition has {expected}",
        "«\u00a0{id}\u00a0» est un modèle de {actual}, cette partition déclare {expected}",
    ),
    "assumption.no-such-value": (
        "there is no value “{path}” to assume",
        "il n’y a pas de valeur «\u00a0{path}\u00a0» à supposer",
    ),
    "assumption.needless": (
        "“{path}” is published: assume nothing",
        "«\u00a0{path}\u00a0» est publié\u00a0: ne rien supposer",
    ),
    "assumption.twice": ("“{path}” is assumed twice", "«\u00a0{path}\u00a0» est supposé deux fois"),
    # a job's script
    "script.no-shebang": (
        "the first line must name an interpreter, as #!/bin/bash",
        "la première ligne doit nommer un interpréteur, comme #!/bin/bash",
    ),
    "script.crlf": (
        "lines end with CR LF, as Windows writes them; save the file with LF line ends",
        "les lignes finissent par CR LF, à la façon de Windows\u00a0; enregistrez le fichier avec des fins de ligne LF",
    ),
    "script.nul": ("a NUL byte is not allowed", "un octet NUL n’est pas permis"),
    "script.syntax": ("write “#fabrique key: value”", "écrivez «\u00a0#fabrique clé: valeur\u00a0»"),
    "script.late-header": (
        "this line comes after the first command, where it would be ignored; move it up",
        "cette ligne vient après la première commande, où elle serait ignorée\u00a0; remontez-la",
    ),
    "script.no-zone": (
        "this instant names no time zone; write 2026-11-21T18:00+01:00, or end it with Z",
        "cet instant ne dit pas son fuseau\u00a0; écrivez 2026-11-21T18:00+01:00, ou finissez par Z",
    ),
    "script.not-exact": ("can't be counted in whole {unit}", "ne se compte pas en {unit} entiers"),
    "script.fraction": (
        "a fraction is a part of one accelerator: below 1, else a whole number",
        "une fraction est une partie d’un accélérateur\u00a0: moins de 1, sinon un nombre entier",
    ),
    "script.not-divisible": (
        "does not divide evenly over {nodes} nodes",
        "ne se partage pas également entre {nodes} nœuds",
    ),
    "script.not-after": ("too early for “{other}”", "trop tôt pour «\u00a0{other}\u00a0»"),
    "script.needs": ("goes only with “{other}”", "ne va qu’avec «\u00a0{other}\u00a0»"),
    "script.repeated": ("“{value}” is given twice", "«\u00a0{value}\u00a0» est donné deux fois"),
    "value.control-characters": (
        "holds characters that don’t print",
        "contient des caractères qui ne s’impriment pas",
    ),
    # a deployment
    "toml.syntax": ("not valid TOML: {problem}", "TOML incorrect\u00a0: {problem}"),
}

# what a value should have been, where a complaint says "expected": word -> (English, French)
SHAPES: Final[Mapping[str, tuple[str, str]]] = {
    "whole-number": ("a whole number", "un nombre entier"),
    "number": ("a number", "un nombre"),
    "text": ("text", "du texte"),
    "yes-or-no": ("true or false", "true ou false"),
    "list": ("a list", "une liste"),
    "mapping": ("a mapping of keys to values", "une suite de clés et de valeurs"),
    "date": ("a date, as 2026-10-09", "une date, comme 2026-10-09"),
    "nothing": ("nothing", "rien"),
}

_UNSAFE = re.compile(r"[^\x20-\x7e\u00a0-\u2027\u202f-\u2065\u2070-\ud7ff\uf900-\ufdff]")


@dataclass(frozen=True, slots=True)
class Complaint:
    """One thing wrong at `file:line`; `line` counts from 1, and 0 means the file as a whole.

    `field` is the dotted path of the value, empty for the file; `params` hold whole numbers and short texts,
    made safe to print.
    """

    file: str
    line: int
    field: str
    code: str
    params: Mapping[str, str | int] = dataclasses.field(default_factory=dict)

    def __post_init__(self) -> None:
        if self.code not in COMPLAINTS:
            raise ValueError(f"unknown complaint: {self.code}")
        object.__setattr__(self, "field", printable(self.field, 200))
        safe = {k: v if isinstance(v, int) else printable(v, 200) for k, v in self.params.items()}
        object.__setattr__(self, "params", MappingProxyType(safe))

    def as_json(self) -> dict[str, object]:
        return {
            "file": self.file,
            "line": self.line,
            "field": self.field,
            "code": self.code,
            "params": dict(self.params),
            "message": say(self, "en"),
        }


def printable(text: str, most: int) -> str:
    """`text` without anything that could move a terminal's cursor or hide, cut at `most` characters."""
    cut = text if len(text) <= most else text[: most - 1] + "…"
    return _UNSAFE.sub("�", cut)


def say(complaint: Complaint, language: str = "en") -> str:
    """`file:line: field: sentence` in English, or in French for any `fr` language."""
    french = language.startswith("fr")
    params = {name: _worded(value, french) for name, value in complaint.params.items()}
    template = COMPLAINTS[complaint.code][french]
    place = printable(complaint.file, 500) + (f":{complaint.line}" if complaint.line else "")
    parts = [place, complaint.field, template.format_map(params)]
    colon = "\u00a0: " if french else ": "
    return colon.join(part for part in parts if part)


def _worded(value: str | int, french: bool) -> str | int:
    return SHAPES[value][french] if isinstance(value, str) and value in SHAPES else value


def by_place(complaints: Iterable[Complaint]) -> list[Complaint]:
    """Sorted by file and line, each said once."""
    seen = {(c.file, c.line, c.field, c.code, tuple(sorted(c.params.items()))): c for c in complaints}
    return sorted(seen.values(), key=lambda c: (c.file, c.line, c.field, c.code))
