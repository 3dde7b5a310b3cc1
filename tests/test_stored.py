import pytest

from gapclose.stored import parse_json, parse_yaml


@pytest.mark.parametrize(
    "text", ["{", "[" * 100_000, "[" * 60 + "]" * 60, "1" * 5000, "", "\x00", '{"a": ' * 60 + "1" + "}" * 60]
)
def test_text_that_is_not_json_or_too_deep_is_a_value_error(text):
    with pytest.raises(ValueError, match=r".+"):
        parse_json(text)


@pytest.mark.parametrize(
    "text",
    [
        "a: [1",
        "[" * 5000 + "]" * 5000,
        "[" * 60 + "]" * 60,
        "- " * 5000 + "1",
        "&a [*a]",
        "\n".join(["a: &a [x]", *(f"{b}: &{b} [{', '.join([f'*{a}'] * 9)}]" for a, b in zip("abcdefgh", "bcdefghi"))]),
        "!!python/object/apply:os.system [true]",
        "!!int ''",
        "!!timestamp x",
        "{[a]: 1}",
        "\x00",
    ],
)
def test_text_that_is_not_yaml_too_deep_or_endless_is_a_value_error(text):
    with pytest.raises(ValueError, match=r".+"):
        parse_yaml(text)


def test_long_integers_in_json_are_numbers_that_every_library_takes():
    assert parse_json(f"[{10**18 - 1}, {10**18}, -{10**30}, {'9' * 400}]") == [10**18 - 1, 1e18, -1e30, float("inf")]
    assert [type(value) for value in parse_json("[7, 7000000000000000000000]")] == [int, float]


@pytest.mark.parametrize("parse", [parse_json, parse_yaml])
def test_a_large_text_is_not_parsed(parse):
    with pytest.raises(ValueError, match="it is too large"):
        parse("[" + "[]," * 3_000_000 + "[]]")


def test_what_runs_write_is_parsed():
    assert parse_json('{"a": [1, null, "x"]}') == {"a": [1, None, "x"]}
    assert parse_yaml("a: [1, null, x*y]\nb: {c: 1.0e-05}\n") == {"a": [1, None, "x*y"], "b": {"c": 1e-5}}
