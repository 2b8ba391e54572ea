"""Inputs that are nearly right: a kept one, changed in a few places. Seeded; no clock, no file but the corpus."""

from pathlib import Path
from random import Random

CORPUS = Path(__file__).parent.parent / "corpus"

SPICE = (
    b"\0",
    b"\xff",
    b"\n",
    b"\r\n",
    b"\xed\xa0\x80",
    b"\\ud800",
    b'"',
    b"{",
    b"}",
    b"[" * 200,
    b"null",
    b"-0",
    b"1e999",
    b"18446744073709551616",
    b"9" * 400,
    b"NaN",
    b'{"a":' * 140,
    b"A" * 5000,
    b"\xef\xbb\xbf",
    b',"seq":1',
    b"-1",
    b"0.1",
    b"true",
)
"""What parsers stumble over."""


def corpus(target: str) -> list[bytes]:
    """The kept inputs of a target, in order."""
    return [path.read_bytes() for path in sorted((CORPUS / target).iterdir())]


def mutated(seeds: list[bytes], rng: Random) -> bytes:
    content = bytearray(rng.choice(seeds))
    for _ in range(rng.choice((0, 1, 1, 2, 3, 8))):
        change(content, seeds, rng)
    return bytes(content)


def change(content: bytearray, seeds: list[bytes], rng: Random) -> None:
    """One change in place."""
    at = rng.randint(0, len(content))
    end = min(len(content), at + rng.choice((1, 2, 8, 64, 1024)))
    match rng.randrange(7):
        case 0 if at < len(content):
            content[at] ^= 1 << rng.randrange(8)
        case 1:
            del content[at:end]
        case 2:
            content[at:at] = content[at:end] * rng.choice((1, 2, 20))
        case 3:
            content[at:end] = rng.choice(SPICE)
        case 4:
            content[at:at] = rng.choice(SPICE)
        case 5:
            other = rng.choice(seeds)
            start = rng.randint(0, len(other))
            content[at:at] = other[start : start + rng.choice((8, 64, 1024))]
        case _:
            del content[at:]
