"""Values of a text file that know their line, so that an error about one can name it.

YAML is composed, never constructed: no tag of a file makes an object, nothing is converted before
a reader says what it expects. JSON is read as the YAML that it is.
"""

import difflib
import re
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import yaml

from spidereye.errors import SpiderEyeError

_NUMBER = re.compile(r"[-+]?(\d+\.?\d*|\.\d+)([eE][-+]?\d+)?")
_INFINITE = re.compile(r"\+?\.?inf", re.IGNORECASE)
_LARGEST_FILE = 4_000_000  # bytes; a calibration has a few thousand
_NULL = "tag:yaml.org,2002:null"


@dataclass(frozen=True)
class Entry:
    """One value of a file. where: its place among the keys, as `views[2].lens.xi`.   key: the
    node of its own key, where it has one."""

    file: Path
    node: yaml.Node
    where: str = "the file"
    key: yaml.Node | None = None

    @property
    def line(self) -> int:
        """Line of the file on which the value starts, from 1."""
        return self.node.start_mark.line + 1

    def problem(self, text: str) -> SpiderEyeError:
        """The error that says `text` about this place."""
        return SpiderEyeError(f"{self.file}, line {self.line}: {text}")

    def unexpected(self, expected: str) -> SpiderEyeError:
        """The error that says what this value must be, and what it is."""
        if isinstance(self.node, yaml.ScalarNode):
            text = " ".join(self.node.value.split())
            got = f"{text[:40]}…" if len(text) > 40 else text
            got = repr(got) if got else "nothing"
        elif isinstance(self.node, yaml.SequenceNode):
            got = f"a list of {len(self.node.value)}"
        else:
            got = f"a mapping of {len(self.node.value)} keys"
        return self.problem(f"{self.where} must be {expected}, got {got}")

    @property
    def is_mapping(self) -> bool:
        return isinstance(self.node, yaml.MappingNode)

    @property
    def is_sequence(self) -> bool:
        return isinstance(self.node, yaml.SequenceNode)

    def mapping(
        self, required: Collection[str] = (), known: Collection[str] | None = None
    ) -> dict[str, "Entry"]:
        """Keys to values, in the order of the file.

        known: all keys that may be there, None for any. Raises SpiderEyeError, with the line, where
        this is no mapping, a key comes twice, is no text, is missing or is unknown.
        """
        found = self._own_keys()
        base, visited = found.pop("<<", None), {id(self.node)}
        while base is not None:  # `<<: *other`: the keys of another mapping, where not given here
            if id(base.node) in visited:
                raise base.problem(f"{base.where} includes itself")
            visited.add(id(base.node))
            inherited = base._own_keys()
            base = inherited.pop("<<", None)
            found = {**inherited, **found}
        for key, entry in found.items():
            if known is not None and key not in known:
                close = difflib.get_close_matches(key[:40], known, n=1)
                hint = f"did you mean {close[0]!r}?" if close else f"known: {', '.join(known)}"
                at = Entry(self.file, entry.key or entry.node)
                raise at.problem(f"{self.where} has the unknown key {key[:40]!r}; {hint}")
        missing = [key for key in required if key not in found]
        if missing:
            raise self.problem(
                f"{self.where} lacks {', '.join(missing)}; it has {', '.join(found) or 'nothing'}"
            )
        return found

    def sequence(self, expected: str = "a list") -> list["Entry"]:
        """The values of a list. expected: what to call it in the error."""
        if not isinstance(self.node, yaml.SequenceNode):
            raise self.unexpected(expected)
        return [
            Entry(self.file, node, f"{self.where}[{index}]")
            for index, node in enumerate(self.node.value)
        ]

    def number(
        self, expected: str = "a number", above: float | None = None, infinite: bool = False
    ) -> float:
        """A finite number. above: an excluded lower limit.   infinite: +∞ is allowed too."""
        text = self.node.value if isinstance(self.node, yaml.ScalarNode) else ""
        plain = isinstance(self.node, yaml.ScalarNode) and self.node.style is None
        if plain and infinite and _INFINITE.fullmatch(text):
            return float("inf")
        value = float(text) if plain and _NUMBER.fullmatch(text) else float("nan")
        if not abs(value) < float("inf") or (above is not None and not value > above):
            quoted = isinstance(self.node, yaml.ScalarNode) and not plain
            raise self.unexpected(f"{expected}, without quotes" if quoted else expected)
        return value

    def integer(self, expected: str, at_least: int = 0, at_most: int = 10**9 - 1) -> int:
        """A whole number."""
        value = self.number(expected)
        if value != int(value) or not at_least <= value <= at_most:
            raise self.unexpected(expected)
        return int(value)

    def numbers(self, count: int | None, expected: str | None = None) -> list[float]:
        """A list of `count` finite numbers; None: of any number but 0."""
        expected = expected or f"a list of {'' if count is None else f'{count} '}numbers"
        entries = self.sequence(expected)
        if len(entries) != count and not (count is None and entries):
            raise self.unexpected(expected)
        return [entry.number() for entry in entries]

    def matrix(self, rows: int, columns: int, expected: str) -> list[list[float]]:
        """A list of `rows` lists of `columns` finite numbers."""
        entries = self.sequence(expected)
        if len(entries) != rows:
            raise self.unexpected(expected)
        return [entry.numbers(columns, f"a row of {columns} numbers") for entry in entries]

    def text(self, expected: str, choices: Collection[str] = ()) -> str:
        """A text that is not empty, one of `choices` where there are any."""
        node = self.node
        if not isinstance(node, yaml.ScalarNode) or node.tag == _NULL or not node.value.strip():
            raise self.unexpected(expected)
        if choices and node.value not in choices:
            raise self.unexpected(f"one of {', '.join(choices)}")
        return node.value

    def _own_keys(self) -> dict[str, "Entry"]:
        if not isinstance(self.node, yaml.MappingNode):
            raise self.unexpected("a mapping of keys to values")
        found: dict[str, Entry] = {}
        for key, value in self.node.value:
            if not isinstance(key, yaml.ScalarNode):
                raise Entry(self.file, key, f"a key of {self.where}").unexpected("text")
            prefix = "" if self.where == "the file" else f"{self.where}."
            entry = Entry(self.file, value, f"{prefix}{key.value[:40]}", key)
            if key.value in found:
                at = found[key.value].line
                raise Entry(self.file, key).problem(
                    f"{entry.where} is given a second time; the first is on line {at}"
                )
            found[key.value] = entry
        return found


def read_text(path: Path) -> str:
    """A small UTF-8 text file. Raises SpiderEyeError where it is missing, too large or no text."""
    try:
        if path.stat().st_size > _LARGEST_FILE:
            raise SpiderEyeError(
                f"{path}: {path.stat().st_size} bytes are too many for a rig or a calibration; "
                "give the text file that describes the cameras"
            )
        data = path.read_bytes()
    except OSError as error:
        raise SpiderEyeError(f"{path} cannot be read: {error.strerror or error}") from error
    except ValueError as error:  # a NUL in the name
        raise SpiderEyeError(f"{str(path)!r} is not a file name: {error}") from error
    try:
        return data.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = data[: error.start].count(b"\n") + 1
        raise SpiderEyeError(
            f"{path}, line {line}: expected text in UTF-8, got the byte 0x{data[error.start]:02x}"
        ) from error


def parse_yaml(text: str, path: Path) -> Entry:
    """The root of a YAML or JSON text. Raises SpiderEyeError, with the line, for bad syntax."""
    # YAML knows no tabs between values, JSON does; inside JSON's texts they are not allowed.
    if text.lstrip().startswith(("{", "[")):
        text = text.replace("\t", " ")
    try:
        node = yaml.compose(text, Loader=yaml.SafeLoader)
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        line = mark.line + 1 if mark else 1
        reason = " ".join(filter(None, (error.context, error.problem)))
        raise SpiderEyeError(f"{path}, line {line}: not valid YAML: {reason}") from error
    except yaml.reader.ReaderError as error:
        line = text[: error.position].count("\n") + 1
        raise SpiderEyeError(f"{path}, line {line}: not valid YAML: {error.reason}") from error
    except (RecursionError, ValueError, LookupError, OverflowError) as error:
        # Lists in lists without end, and escapes of characters beyond Unicode.
        what = "nested too deeply" if isinstance(error, RecursionError) else str(error)
        raise SpiderEyeError(f"{path}, line 1: not valid YAML: {what}") from error
    if node is None:
        raise SpiderEyeError(f"{path}, line 1: the file is empty")
    return Entry(path, node)


def key_of(found: Mapping[str, Entry], names: Collection[str]) -> Entry | None:
    """The first of several usual names of one thing that is there, or None."""
    return next((found[name] for name in names if name in found), None)


def text_node(text: str, line: int) -> yaml.ScalarNode:
    """A node for formats that are not YAML: a text that stands on a line, from 1."""
    return yaml.ScalarNode("tag:yaml.org,2002:str", text, _mark(line), _mark(line))


def words_node(words: Sequence[str], line: int) -> yaml.SequenceNode:
    """A list of texts that stand on one line, from 1."""
    nodes = [text_node(word, line) for word in words]
    return yaml.SequenceNode("tag:yaml.org,2002:seq", nodes, _mark(line), _mark(line))


def _mark(line: int) -> yaml.Mark:
    return yaml.Mark("", 0, line - 1, 0, "", 0)
