import unicodedata

import pytest

from gapclose.errors import fail
from gapclose.printable import printable


def test_no_control_character_but_line_breaks_and_tabs_is_left():
    every = "".join(map(chr, range(0x110000)))
    left = {character for character in printable(every) if unicodedata.category(character) in ("Cc", "Cs")}
    assert left == {"\n", "\t"}
    assert printable("größer, λ = 0 – 「世界」 🎉\n") == "größer, λ = 0 – 「世界」 🎉\n"


def test_an_error_message_never_controls_the_terminal(capsys):
    with pytest.raises(SystemExit):
        fail("cannot read \x1b]0;title\x07\x1b[2J.ckpt")
    assert "\x1b" not in capsys.readouterr().err
