"""What messages share: the nearest name, and numbers in a row."""

import pytest
from support.tiny_study import (
    uses_mlflow,
)

from hfbench.messages import (
    LISTED,
    QUOTED,
    did_you_mean,
    level_text,
    listed,
    printable,
    printable_line,
    quoted,
    ranges,
    wrap_text,
)


class _Unprintable:
    def __repr__(self) -> str:
        raise RuntimeError


@pytest.mark.parametrize(
    "value",
    [
        *(
            "x" * 10**7,
            10**5000,
            -(10**5000),
            [[[[1] * 90] * 90] * 90] * 90,
            {str(key): "v" * 99 for key in range(999)},
        ),
        *(b"\0" * 10**6, {"a": [10**5000]}, list(range(10**6)), _Unprintable(), "\x1b[2J\x1b]52;c;eA==\a" * 40),
    ],
    ids=lambda value: type(value).__name__,
)
def test_a_long_value_is_quoted_short_and_printable(value: object) -> None:
    text = quoted(value)
    assert 0 < len(text) <= QUOTED
    assert text.isprintable()


@pytest.mark.parametrize("value", ["lsmr", 3, 0.1, None, [1, 2, 3], {"use": "dynamic", "start": 0.2}, "x" * 78, "é'"])
def test_a_short_value_is_quoted_as_python_writes_it(value: object) -> None:
    assert quoted(value) == repr(value)


def test_the_number_of_digits_is_said_of_a_number_that_python_does_not_write() -> None:
    assert quoted(10**5000) == "a whole number of 5000 digits"


def test_a_line_shows_no_sign_that_a_terminal_acts_on() -> None:
    assert printable_line("a\x1b[2Jb\r\n\u202ec") == "a [2Jb c"
    assert len(printable_line("y" * 10**6)) == 200


def test_nearest_name_or_nothing() -> None:
    for given_name in ("lsrm", "LSMR", "lsmrr", "lsm"):
        assert did_you_mean(given_name, ["cg", "lsmr", "lsqr"]) == " (did you mean 'lsmr'?)"
    assert did_you_mean("lsmr", []) == ""
    assert did_you_mean("zzz", ["cg", "lsmr"]) == ""


PARTS = ["cg", "lsmr", "hf", "usps", "mnist", "mnist-conv", "minres", "chapelle-erhan", "solver", "quickstart", "toy"]


@pytest.mark.parametrize(
    ("given_name", "meant"),
    [
        *(("lsrm", "lsmr"), ("fh", "hf"), ("slover", "solver"), ("quikstart", "quickstart"), ("minre", "minres")),
        *(("chapelle", "chapelle-erhan"), ("erhan", "chapelle-erhan"), ("toy-heard", "toy"), ("mnits", "mnist")),
        *((other, None) for other in ("steepest", "moons", "muon", "newton", "spirals", "cr", "xx", "never")),
    ],
)
def test_a_slip_is_told_from_another_word(given_name: str, meant: str | None) -> None:
    assert did_you_mean(given_name, PARTS) == (f" (did you mean {meant!r}?)" if meant else "")


@pytest.mark.parametrize(
    ("level", "said"),
    [(0.95, "95 %"), (0.9375, "93.7 %"), (0.875, "87.5 %"), (0.5, "50 %"), (0.9999, "99.9 %"), (1 - 0.0175, "98.2 %")],
)
def test_a_level_is_rounded_down(level: float, said: str) -> None:
    assert level_text(level) == said


def test_round_off_takes_nothing_from_a_level() -> None:
    for alpha in range(1, 1000):
        assert level_text(1 - alpha / 1000) == f"{100 - alpha / 10:g} %"


pytestmark = [uses_mlflow, pytest.mark.usefixtures("own_store")]


@pytest.mark.parametrize(
    ("numbers", "said"), [([], ""), ([4], "4"), ([3, 1, 2], "1-3"), ([0, 2, 3, 3, 7], "0, 2-3, 7"), ([5, 6], "5-6")]
)
def test_whole_numbers_in_a_row_are_a_range(numbers: list[int], said: str) -> None:
    assert ranges(numbers) == said


def test_wrapped_lines_keep_numbers_with_their_units_and_paths_whole() -> None:
    path = f"results/{'x' * 30}/report.html"
    text = f"variant  --seeds 3: about 93.7 % CI and 80 % power in 8.1 s, that of the whole study is {path}"
    for width in range(30, 60):
        lines = wrap_text(text, width, " " * 9).splitlines()
        assert [line for line in lines if len(line) > width and path not in line] == []
        assert any(line.split() == [path] or line.endswith(path) for line in lines)
        assert all(line.startswith(" " * 9) for line in lines[1:])
        assert not any(line.endswith(("93.7", "80", "8.1", "93.7 %", "80 %")) for line in lines)
        assert " ".join(" ".join(lines).split()) == " ".join(text.split())


def test_of_many_names_the_first_are_listed() -> None:
    assert listed(["cg", "lsmr"]) == "cg, lsmr"
    assert listed(iter("ab"), longest=1) == "a and 1 more"
    text = listed(f"method-{index}" for index in range(600))
    assert text.startswith("method-0, method-1, ")
    assert text.endswith(f" and {600 - text.count('method')} more")
    assert len(text) < LISTED + 20
    assert len(listed(["x" * 10**6])) == QUOTED


def test_a_very_long_name_is_compared_with_known_ones_at_once() -> None:
    assert did_you_mean("[" * 10**7, ["lsmr"]) == ""


def test_signs_that_a_terminal_acts_on_are_replaced() -> None:
    signs = [*range(0x20), *range(0x7F, 0xA0), 0x61C, 0x200E, *range(0x2028, 0x202F), *range(0x2066, 0x206A), 0xDC80]
    kept = {ord("\n"), ord("\t")}
    for sign in signs:
        assert printable(f"a{chr(sign)}b") == (f"a{chr(sign)}b" if sign in kept else "a\N{REPLACEMENT CHARACTER}b")
    assert printable("é ‰ 漢 \u200d\r\n") == "é ‰ 漢 \u200d\n"
