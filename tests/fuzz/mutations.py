"""Damage to files and texts, decided by a seeded generator of random numbers."""

from __future__ import annotations

import json
import struct
from collections.abc import Callable
from pathlib import PurePath
from random import Random
from typing import Any

# What a reader may not be ready for, as values of JSON.
_VALUES: tuple[Any, ...] = (
    None, True, False, 0, -1, 1, 2**31, 2**63, 2**64, -(2**63) - 1, 10**400, 0.5, -0.0, 1e308,
    float("nan"), float("inf"), "", " ", "\n", "\0", "a" * 300, "é", "\ud800", "[/]", "\x1b[31m",
    "\u202e", "../..", "/dev/zero", "nan", "1", [], [[]], {}, {"": None}, [1, "a", None], [0, 0],
    [-1, 5], {"a": {"b": []}}, ["x"] * 50,
)  # fmt: skip
# The same, as pieces of text.
_PIECES = (
    "", " ", "\n", "\r\n", "\t", "\0", '"', "'", ",", ";", ":", "=", "?", "&", "%", "%00", "{", "}",
    "[", "]", "[[", "{{", "}}", "{%", "%}", "(", ")", "(?:", "+", "*", "\\", "\\ud800", "\\u0000",
    "<", ">", "<=", "NaN", "Infinity", "-Infinity", "1e400", "9" * 5000, "[" * 3000,
    '{"a":' * 3000,
    "-1", "0", "null", "true", "\ufeff", "\x1b[2J", "\u202e", "é", "😀", "&a [*a]", "*a", "<<: ",
    "!!python/object:os.system ", "!!binary ", "2020-13-45", "? ", "- ", "~", "|", "baseline", "x",
    "raise_exception('no')", "undefined.thing", "1/0", "hub:", "bundled:", "a" * 300,
)  # fmt: skip
_DTYPES = ("F64", "F32", "F16", "BF16", "I64", "I32", "U8", "BOOL", "F8_E4M3", "X", None, 3)


def damaged(random: Random, name: str, data: bytes) -> bytes:
    """A file's bytes with some damage that fits its ending."""
    mutate = _BY_ENDING.get(PurePath(name).suffix, damaged_bytes)
    for _ in range(random.choice((1, 1, 1, 2, 4))):
        data = (mutate if random.random() < 0.8 else damaged_bytes)(random, data)
    return data


def damaged_text(random: Random, text: str) -> str:
    """A text with pieces put in, taken out, said twice or changed."""
    for _ in range(random.choice((1, 1, 2, 3, 6))):
        at = random.randint(0, len(text))
        to = min(len(text), at + random.choice((0, 1, 1, 3, 10, 1000)))
        choice = random.randrange(5)
        if choice == 0:
            text = text[:at] + text[to:]
        elif choice == 1:
            text = text[:to] + text[at:to] * random.choice((1, 2, 50)) + text[to:]
        elif choice == 2:
            text = text[:at] + chr(random.choice((0, 9, 34, 39, 92, 127, 160, 0x2028))) + text[to:]
        else:
            text = text[:at] + random.choice(_PIECES) + text[to:]
    return text


def damaged_bytes(random: Random, data: bytes) -> bytes:
    """Bytes flipped, cut off, put in or taken out."""
    at = random.randint(0, len(data))
    to = min(len(data), at + random.choice((1, 2, 8, 100, 10_000)))
    choice = random.randrange(6)
    if choice == 0:
        return data[:at]
    if choice == 1:
        return data[:at] + data[to:]
    if choice == 2:
        return data[:at] + random.randbytes(random.choice((1, 4, 64))) + data[at:]
    if choice == 3:
        return data[:at] + bytes(to - at) + data[to:]
    if choice == 4 and random.random() < 0.1:
        return b""
    changed = bytearray(data)
    for _ in range(random.choice((1, 1, 4, 32))):
        if changed:
            changed[random.randrange(len(changed))] ^= 1 << random.randrange(8)
    return bytes(changed)


def damaged_value(random: Random, value: Any) -> Any:
    """A value of JSON with one place in it changed, taken out, moved or nested."""
    value = json.loads(json.dumps(value))
    parent: Any = None
    key: Any = None
    here = value
    while isinstance(here, dict | list) and here and (parent is None or random.random() < 0.8):
        parent = here
        key = random.choice(list(here)) if isinstance(here, dict) else random.randrange(len(here))
        here = here[key]
    if parent is None:
        return random.choice(_VALUES)
    choice = random.randrange(8)
    if choice == 0:
        del parent[key]
    elif choice == 1 and isinstance(parent, dict):
        parent[random.choice(("", "x", "format_version", "\ud800", "a/b", "0"))] = here
    elif choice == 2:
        parent[key] = [here]
    elif choice == 3:
        parent[key] = str(here)
    elif choice == 4 and isinstance(here, int | float) and abs(here) < 1e300:
        parent[key] = random.choice((-here, here + 1, here * 1000, here * 0.5))
    elif choice == 5:
        parent[key] = damaged_text(random, here) if isinstance(here, str) else None
    else:
        parent[key] = random.choice(_VALUES)
    return value


def _json(random: Random, data: bytes) -> bytes:
    try:
        value = json.loads(data)
    except (ValueError, RecursionError):
        return damaged_bytes(random, data)
    if random.random() < 0.25:
        return _text(random, data)
    return _dumped(damaged_value(random, value))


def _dumped(value: Any) -> bytes:
    return json.dumps(value, ensure_ascii=True).encode()


def _jsonl(random: Random, data: bytes) -> bytes:
    lines = data.split(b"\n")
    at = random.randrange(len(lines))
    choice = random.randrange(6)
    if choice == 0:
        lines.insert(at, lines[at])
    elif choice == 1:
        lines.pop(at)
    elif choice == 2:
        random.shuffle(lines)
    else:
        lines[at] = _json(random, lines[at]) if lines[at] else b"{}"
    return b"\n".join(lines)


def _text(random: Random, data: bytes) -> bytes:
    text = damaged_text(random, data.decode("utf-8", "replace"))
    encoding = random.choice(("utf-8",) * 12 + ("utf-16", "latin-1", "utf-8-sig"))
    return text.encode(encoding, "replace")


def _safetensors(random: Random, data: bytes) -> bytes:
    """Damage to the table of tensors, or to the numbers."""
    try:
        (length,) = struct.unpack("<Q", data[:8])
        header = json.loads(data[8 : 8 + length])
        body = data[8 + length :]
        names = [name for name in header if name != "__metadata__"]
        name = random.choice(names)
        entry = header[name]
    except (struct.error, ValueError, IndexError, AttributeError, TypeError, RecursionError):
        return damaged_bytes(random, data)
    choice = random.randrange(7)
    if choice == 0:
        header = damaged_value(random, header)
    elif choice == 1 and isinstance(entry, dict):
        entry["dtype"] = random.choice(_DTYPES)
    elif choice == 2 and isinstance(entry, dict):
        entry["shape"] = random.choice(([], [0], [1], [2, 2], [-1], [2**62, 4], entry.get("shape")))
    elif choice == 3:  # the tensors of two names change places
        other = random.choice(names)
        header[name], header[other] = header[other], header[name]
    elif choice == 4:
        header[name + random.choice(("x", "/", "/indices"))] = header.pop(name)
    elif choice == 5 and body:
        at = random.randrange(0, len(body), 4)
        body = body[:at] + random.choice((b"\0\0\xc0\x7f", b"\xff" * 8, b"\0" * 8)) + body[at + 8 :]
    else:
        header.pop(name)
    text = _dumped(header)
    return struct.pack("<Q", len(text)) + text + body


_BY_ENDING: dict[str, Callable[[Random, bytes], bytes]] = {
    ".json": _json,
    ".jsonl": _jsonl,
    ".safetensors": _safetensors,
    **dict.fromkeys((".csv", ".yaml", ".jinja", ".md", ".txt"), _text),
}
