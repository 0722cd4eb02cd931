"""Study files as nobody would write them: the published ones and the docs' with a few values, keys or bytes changed."""

from __future__ import annotations

import copy
import random
import re
import tomllib
from collections.abc import Callable, Iterator
from functools import cache
from pathlib import Path
from typing import Any

import tomli_w

from support import tiny_study, tiny_sweep

ROOT = Path(__file__).parents[2]
EXAMPLE = re.compile(r"```toml[^\n]*\n(.*?)```", re.S)
CHANGES = (1, 1, 1, 2, 4)  # of one file

# Odd values of each type that TOML has.
NUMBERS: tuple[Any, ...] = (
    *(0, 1, -1, 2, 7, 2**31, 2**63 - 1, 2**63, 2**64, 10**18, 10**4999, 10**600),
    *(0.0, 0.5, 1.0, 1.25, -0.0, 1e-9, 1e-308, 1e18, 1e300, 0.9999999, float("inf"), float("-inf"), float("nan")),
)
TEXTS: tuple[str, ...] = (
    *("", " ", "x", "hf", "shf", "cg", "usps", "4GB", "0 B", "999999999999999TB", "cuda:7", "nan", "../../etc/passwd"),
    *("\x00", "\x1b[2J\x1b]52;c;QQ==\x07", "\u202e\u200b", "naïve", "点", "a" * 70, "b" * 5000, "c.d.e", "[markup]"),
)
FACTORS = (-1, 0, 0.5, 1.25, 2, 3, 1e3, 1e-6)
WORDS = (
    *("use", "solver", "preconditioner", "scheduler", "optimizer", "rules", "globalization", "methods", "study", "on"),
    *("tasks", "seeds", "budget", "targets", "sweep", "parameters", "low", "high", "values", "log", "max_inner"),
    *("layers", "cases", "curvature", "gradient", "start", "batches_of", "hypotheses", "ablation", "plugins", "looks"),
)


@cache
def sources() -> tuple[str, ...]:
    """Texts of the published studies, of the docs' examples and of the tests' own small studies."""
    files = sorted((ROOT / "studies").rglob("*.toml"))
    pages = [ROOT / "README.md", *sorted((ROOT / "docs").rglob("*.md"))]
    examples = [example for page in pages for example in EXAMPLE.findall(page.read_text("utf-8"))]
    own = [tiny_study.TEXT, tiny_study.TEXT + tiny_study.FACTORIAL, tiny_sweep.TEXT % ""]
    texts = [*(file.read_text("utf-8") for file in files), *(text for text in examples if "[study]" in text), *own]
    return tuple(text.replace("%s", "") for text in texts)


def mutant(number: int) -> bytes:
    """The study file of that number, always the same one."""
    rng = random.Random(number)
    text = rng.choice(sources())
    if rng.random() < 0.2:
        return _changed_text(rng, text)
    raw = tomllib.loads(text)
    for _ in range(rng.choice(CHANGES)):
        rng.choice(TABLE_CHANGES)(rng, raw)
    try:
        return tomli_w.dumps(raw).encode("utf-8", "surrogatepass")
    except (ValueError, RecursionError):  # Python itself does not write a number of 5000 digits
        return _changed_text(rng, text)


def assignment(number: int) -> str:
    """The value of `--set` of that number for the tests' small study, always the same one."""
    rng = random.Random(f"set {number}")
    raw = tomllib.loads(tiny_study.TEXT)
    table, path = raw, []
    while isinstance(table, dict) and table and (not path or rng.random() < 0.8):
        path.append(rng.choice(list(table)) if rng.random() < 0.9 else rng.choice((*WORDS, *TEXTS)))
        table = table.get(path[-1])
    mild = isinstance(table, int | float) and rng.random() < 0.7
    value = table * rng.choice(FACTORS) if mild else _odd(rng)
    try:
        text = tomli_w.dumps({"value": value}).partition("=")[2] if not isinstance(value, dict) else str(value)
    except ValueError:
        text = "9" * 5000
    return f"{'.'.join(path)}={text.strip()}"


# ---------------------------------------------------------------- changes of tables


def _places(raw: Any) -> Iterator[tuple[Any, Any]]:
    """Every (table or list, key or index) below."""
    entries = list(raw.items()) if isinstance(raw, dict) else list(enumerate(raw)) if isinstance(raw, list) else []
    for key, value in entries:
        yield raw, key
        yield from _places(value)


def _place(rng: random.Random, raw: Any) -> tuple[Any, Any]:
    return rng.choice(list(_places(raw)) or [({"": 0}, "")])


def _odd(rng: random.Random) -> Any:
    """A value of any type, a table and a nested list among them."""
    kind = rng.randrange(8)
    if kind < 3:
        return rng.choice(NUMBERS[:-2] if rng.random() < 0.9 else NUMBERS)
    if kind < 5:
        return rng.choice(TEXTS)
    if kind == 5:
        return rng.random() < 0.5
    if kind == 6:
        return [rng.choice((*NUMBERS[:10], *TEXTS, [1], {"use": "cg"})) for _ in range(rng.choice((0, 1, 2, 3, 400)))]
    return {rng.choice(WORDS): rng.choice((*NUMBERS[:10], *TEXTS[:8], [], {})) for _ in range(rng.randrange(3))}


def _replace(rng: random.Random, raw: Any) -> None:
    table, key = _place(rng, raw)
    table[key] = _odd(rng)


def _swap(rng: random.Random, raw: Any) -> None:
    (table, key), (other, name) = _place(rng, raw), _place(rng, raw)
    table[key] = copy.deepcopy(other[name])


def _rename(rng: random.Random, raw: Any) -> None:
    table, key = _place(rng, raw)
    if isinstance(table, dict):
        table[rng.choice((*WORDS, *TEXTS, key[:-1], key + key, key.upper()))] = table.pop(key)


def _add(rng: random.Random, raw: Any) -> None:
    table, _ = _place(rng, raw)
    if isinstance(table, dict):
        table[rng.choice((*WORDS, *TEXTS))] = _odd(rng)
    else:
        table.append(_odd(rng))


def _drop(rng: random.Random, raw: Any) -> None:
    table, key = _place(rng, raw)
    del table[key]


def _wrap(rng: random.Random, raw: Any) -> None:
    table, key = _place(rng, raw)
    table[key] = rng.choice(([table[key]], {rng.choice(WORDS): table[key]}, [table[key]] * 2))


def _nest(rng: random.Random, raw: Any) -> None:
    table, key = _place(rng, raw)
    for _ in range(rng.choice((3, 30, 300))):
        table[key] = [table[key]] if rng.random() < 0.5 else {rng.choice(WORDS): table[key]}


def _scale(rng: random.Random, raw: Any) -> None:
    table, key = _place(rng, raw)
    if isinstance(table[key], int | float):
        table[key] = table[key] * rng.choice(FACTORS)


TABLE_CHANGES: tuple[Callable[[random.Random, Any], None], ...] = (
    *(_replace, _replace, _replace, _scale, _scale, _swap, _rename, _add, _drop, _wrap, _nest),
)


# ---------------------------------------------------------------- changes of text


def _changed_text(rng: random.Random, text: str) -> bytes:
    lines = text.splitlines()
    for _ in range(rng.choice(CHANGES)):
        index = rng.randrange(len(lines))
        match rng.randrange(7):
            case 0:
                lines.insert(rng.randrange(len(lines)), lines[index])
            case 1:
                lines[index] = re.sub(r"\d+(\.\d+)?", "9" * rng.choice((3, 20, 5000)), lines[index])
            case 2:
                depth = rng.choice((50, 600, 5000))
                lines[index] = f"deep = {'[' * depth}{']' * rng.choice((0, depth))}"
            case 3:
                lines[index] = re.sub(r'"[^"]*"', lambda _: f'"{rng.choice(TEXTS)}"', lines[index])
            case 4:
                lines[index] = f"[{'.'.join([rng.choice(WORDS)] * rng.choice((2, 40, 2000)))}]"
            case 5:
                del lines[index]
            case _:
                lines[index] = f"{rng.choice(WORDS)} = {rng.choice(('[', '{', '1979-05-27', '0x_', 'inf', '+nan'))}"
        lines = lines or [""]
    held = bytearray("\n".join(lines).encode("utf-8", "surrogatepass"))
    for _ in range(rng.choice((0, 0, 1, 5))):
        if held:
            held[rng.randrange(len(held))] = rng.randrange(256)
    return bytes(held)
