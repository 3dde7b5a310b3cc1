import pytest

from gapclose.engines.engine import optional_import
from gapclose.errors import UserError


def test_a_library_that_is_not_installed_is_named_with_its_extra():
    sentence = r"PushT needs absent, which is not installed; .*gapclose\[pusht\]"
    with pytest.raises(UserError, match=sentence), optional_import("PushT", "pusht"):
        import absent  # noqa: F401


@pytest.mark.parametrize(
    "error", [AttributeError("'NoneType' has no 'glGetError'"), ImportError("libOSMesa.so"), OSError("no\nlibrary")]
)
def test_an_import_that_fails_otherwise_is_one_sentence_that_names_the_setting_of_the_graphics(monkeypatch, error):
    monkeypatch.setenv("MUJOCO_GL", "osmesa")
    with pytest.raises(UserError) as raised, optional_import("AntMaze", "ogbench"):
        raise error
    text = str(raised.value)
    assert text.startswith(f"AntMaze cannot be used, as the import of a library fails ({type(error).__name__}: ")
    assert "correct MUJOCO_GL=osmesa or the installation" in text
    assert "\n" not in text
