"""Errors of others become ours where the reading of a file begins."""

import pytest

from lightmark.errors import DataError, ImageError, MissingExtraError, SchemaError, describe_error, reader


@reader("a poem", SchemaError)
def read(path, error=None):
    """A reader that raises this exception."""
    if error is not None:
        raise error
    return path


@pytest.mark.parametrize(
    ("error", "text"),
    [
        (KeyError("a"), "KeyError: 'a'"),
        (OverflowError("inf"), "OverflowError: inf"),
        (RecursionError("deep\nand deeper"), "RecursionError: deep and deeper"),
        (MemoryError(), "MemoryError"),
        (PermissionError(13, "Permission denied", "b"), "Permission denied"),
    ],
)
def test_foreign_error_names_the_file_and_what_it_should_be(error, text):
    """Whatever a decoder raises, the message is one line; the cause stays behind it."""
    with pytest.raises(SchemaError) as caught:
        read("a.txt", error)
    assert str(caught.value) == f"a.txt: cannot be read as a poem: {text}"
    assert caught.value.__cause__ is error


@pytest.mark.parametrize("error", [ImageError("x"), MissingExtraError("y"), DataError("z"), KeyboardInterrupt()])
def test_our_errors_and_interrupts_pass(error):
    """LightmarkErrors, and errors not caused by the file, pass unchanged."""
    with pytest.raises(type(error)) as caught:
        read("a.txt", error)
    assert caught.value is error


def test_reader_is_called_as_before():
    """By position or by name; it gives what it gave."""
    assert read("a.txt") == read(path="a.txt") == "a.txt"
    with pytest.raises(SchemaError, match=r"^b\.txt: cannot be read"):
        read(path="b.txt", error=ValueError())


def test_description_is_one_line():
    """Lines of a library's message are joined."""
    assert describe_error(ValueError("a\n  b")) == "ValueError: a b"
