"""OpenCV's FileStorage files (YAML, XML, JSON) as entries that know their line.

OpenCV's own reader tells no lines of wrong values, and damaged XML can make it end the whole
process (heap corruption, seen with OpenCV 5.0), so it is the tests' oracle and not used here.
"""

import re
from pathlib import Path
from xml.parsers import expat

import yaml

from spidereye.marked import Entry, parse_yaml, text_node, words_node

_SEQUENCE, _MAPPING = "tag:yaml.org,2002:seq", "tag:yaml.org,2002:map"


def parse_storage(text: str, path: Path) -> Entry:
    """The root mapping of a FileStorage text in any of its three syntaxes. Raises SpiderEyeError,
    with the line, for bad syntax."""
    if text.lstrip().startswith("<"):
        return _parse_xml(text, path)
    # OpenCV writes `%YAML:1.0`, which no YAML parser takes; the empty line keeps the numbering.
    return parse_yaml(re.sub(r"\A\s*%YAML[^\n]*", "", text), path)


def read_array(entry: Entry, counts: tuple[int, ...], expected: str) -> list[float]:
    """The numbers of a matrix (rows, cols, dt, data) or of a plain list, row by row.

    counts: how many there may be. Raises SpiderEyeError, with the line, for other counts and where
    rows x cols is not the number of data.
    """
    data = entry
    if entry.is_mapping:
        found = entry.mapping(required=("rows", "cols", "data"))
        rows, columns = (found[key].integer(f"the number of {key}", 1) for key in ("rows", "cols"))
        data = found["data"]
        given = len(data.sequence("a list of numbers"))
        if given != rows * columns:
            raise data.problem(
                f"{entry.where} says {rows} rows and {columns} columns but has {given} numbers"
            )
    given = len(data.sequence(expected))
    if given not in counts:
        raise entry.problem(f"{entry.where} must be {expected}, got {given} numbers")
    return data.numbers(given)


def _parse_xml(text: str, path: Path) -> Entry:
    """XML as the nodes that YAML would give: an element of elements is a mapping, or a list where
    they are called `_`; text with several words is a list of them."""
    builder = _Builder()
    parser = expat.ParserCreate()
    parser.StartElementHandler = lambda name, _: builder.start(name, parser.CurrentLineNumber)
    parser.CharacterDataHandler = builder.characters
    parser.EndElementHandler = lambda _: builder.end()
    try:
        # Entities could make a small file endless; no calibration needs one of its own.
        parser.EntityDeclHandler = builder.refuse
        parser.Parse(text.encode(), True)
    except expat.ExpatError as error:
        reason = expat.ErrorString(error.code)
        raise Entry(path, text_node("", error.lineno)).problem(
            f"not valid XML: {reason}"
        ) from error
    except ValueError as error:
        line = parser.CurrentLineNumber
        raise Entry(path, text_node("", line)).problem(f"not valid XML: {error}") from error
    root = builder.root
    assert root is not None  # expat takes no document without an element
    if not isinstance(root, yaml.MappingNode):
        raise Entry(path, root).unexpected("<opencv_storage> with elements in it")
    return Entry(path, root)


class _Builder:
    """Collects nodes while expat reads."""

    def __init__(self) -> None:
        self.root: yaml.Node | None = None
        self._open: list[tuple[str, int, list[str], list[tuple[yaml.ScalarNode, yaml.Node]]]] = []

    def start(self, name: str, line: int) -> None:
        if len(self._open) > 50:
            raise ValueError("nested too deeply")
        self._open.append((name, line, [], []))

    def characters(self, text: str) -> None:
        self._open[-1][2].append(text)

    def refuse(self, *_: object) -> None:
        raise ValueError("it declares an entity")

    def end(self) -> None:
        name, line, texts, children = self._open.pop()
        node = self._node(line, "".join(texts), children)
        if self._open:
            self._open[-1][3].append((text_node(name, line), node))
        else:
            self.root = node

    def _node(
        self, line: int, text: str, children: list[tuple[yaml.ScalarNode, yaml.Node]]
    ) -> yaml.Node:
        mark = text_node("", line).start_mark
        if children and all(key.value == "_" for key, _ in children):
            return yaml.SequenceNode(_SEQUENCE, [node for _, node in children], mark, mark)
        if children:
            return yaml.MappingNode(_MAPPING, list(children), mark, mark)
        words = text.split()
        if len(words) > 1 and not text.strip().startswith('"'):
            return words_node(words, line)
        return text_node(text.strip(), line)
