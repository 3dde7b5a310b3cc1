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


def test_what_runs_write_is_parsed():
    assert parse_json('{"a": [1, null, "x"]}') == {"a": [1, None, "x"]}
    assert parse_yaml("a: [1, null, x*y]\nb: {c: 1.0e-05}\n") == {"a": [1, None, "x*y"], "b": {"c": 1e-5}}
