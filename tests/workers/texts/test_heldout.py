"""The hold-out rule: one hash of a name, the same for every Python that runs it."""

import hashlib
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from workers.texts.heldout import (
    MIN_DOCUMENT_CHARACTERS,
    is_excluded,
    is_held_out,
    is_test,
    pydoc_topics,
    stdlib_modules,
)

LONG = "x = 1\n" * MIN_DOCUMENT_CHARACTERS
HELD_OUT = "inspect.py"
TRAINED_ON = "abc.py"


@given(st.text())
def test_the_rule_is_sha256_of_the_name_modulo_twelve(name: str) -> None:
    digest = int.from_bytes(hashlib.sha256(name.encode()).digest(), "big")
    assert is_held_out(name) == (digest % 12 == 0)


def test_the_rule_gives_the_recorded_answers_under_every_python() -> None:
    held_out = ["inspect.py", "json/__init__.py", "hmac.py", "booleans", "types", "lists"]
    trained_on = ["abc.py", "json/decoder.py", "pathlib.py", "while", "with"]
    assert all(map(is_held_out, held_out))
    assert not any(map(is_held_out, trained_on))


def test_the_two_sides_of_the_topics_are_disjoint_and_complete() -> None:
    from pydoc_data.topics import topics

    held_out, trained_on = pydoc_topics(held_out=True), pydoc_topics(held_out=False)
    assert held_out.keys().isdisjoint(trained_on)
    assert held_out | trained_on == topics
    assert list(held_out) == sorted(held_out)
    assert held_out


def test_the_two_sides_of_the_modules_are_disjoint_and_sorted() -> None:
    held_out, trained_on = stdlib_modules(held_out=True), stdlib_modules(held_out=False)
    assert held_out.keys().isdisjoint(trained_on)
    assert list(held_out) == sorted(held_out)
    assert len(held_out) >= 10


def test_evaluation_documents_are_long_and_no_tests() -> None:
    for name, text in stdlib_modules(held_out=True).items():
        assert len(text) >= MIN_DOCUMENT_CHARACTERS
        assert not is_test(name)


@pytest.mark.parametrize(
    "name",
    [
        "site-packages/pip/__init__.py",
        "dist-packages/apt/cache.py",
        "pydoc_data/topics.py",
        "json/__pycache__/decoder.py",
        "encodings/cp737.py",
        "config-3.11-x86_64-linux-gnu/python-config.py",
        "_sysconfigdata__linux_x86_64-linux-gnu.py",
    ],
)
def test_installed_generated_and_held_out_containers_are_excluded(name: str) -> None:
    assert is_excluded(name)


@pytest.mark.parametrize("name", ["abc.py", "email/encoders.py", "configparser.py", "sysconfig.py"])
def test_ordinary_modules_are_not_excluded(name: str) -> None:
    assert not is_excluded(name)


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("test/test_abc.py", True),
        ("ctypes/test/test_loading.py", True),
        ("idlelib/idle_test/test_grep.py", True),
        ("distutils/tests/support.py", True),
        ("doctest.py", False),
        ("unittest/case.py", False),
    ],
)
def test_a_test_is_known_by_its_directory(name: str, expected: bool) -> None:
    assert is_test(name) == expected


def test_files_that_are_not_utf8_are_left_out(tmp_path: Path) -> None:
    (tmp_path / TRAINED_ON).write_bytes(b"# caf\xe9\n")
    (tmp_path / HELD_OUT).write_text(LONG, encoding="utf-8")
    assert stdlib_modules(held_out=False, directory=tmp_path) == {}
    assert stdlib_modules(held_out=True, directory=tmp_path) == {HELD_OUT: LONG}


def test_line_ends_and_characters_are_read_as_they_are(tmp_path: Path) -> None:
    text = "# café\r\n" + LONG
    (tmp_path / HELD_OUT).write_bytes(text.encode("utf-8"))
    assert stdlib_modules(held_out=True, directory=tmp_path) == {HELD_OUT: text}


def test_short_modules_are_trained_on_but_not_evaluated(tmp_path: Path) -> None:
    for name in (TRAINED_ON, HELD_OUT):
        (tmp_path / name).write_text("pass\n", encoding="utf-8")
    assert list(stdlib_modules(held_out=False, directory=tmp_path)) == [TRAINED_ON]
    assert stdlib_modules(held_out=True, directory=tmp_path) == {}


def test_another_library_can_be_read(tmp_path: Path) -> None:
    (tmp_path / "pydoc_data").mkdir()
    source = 'topics = {"booleans": "a", "while": "b"}\n'
    (tmp_path / "pydoc_data" / "topics.py").write_text(source, encoding="utf-8")
    assert pydoc_topics(held_out=True, directory=tmp_path) == {"booleans": "a"}
    assert pydoc_topics(held_out=False, directory=tmp_path) == {"while": "b"}
