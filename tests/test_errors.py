"""The texts of errors: of any exception in a log, and of Gallery's own errors for clients."""

import pickle

import asyncpg
import httpx
import pytest

from gallery import errors
from gallery.access.model import Scope
from gallery.errors import ForeignOrigin, GalleryError, InvalidHeader, ScopeMissing, describe_error


@pytest.mark.parametrize(
    ("error", "description"),
    [
        (TimeoutError(), "timeout"),
        (ConnectionRefusedError(111, "Connection refused"), "connection refused: [Errno 111] Connection refused"),
        (OSError(28, "No space left on device"), "[Errno 28] No space left on device"),
        (httpx.ConnectError("All connection attempts failed"), "connect: All connection attempts failed"),
        (asyncpg.InvalidPasswordError('for user "x"\nof y'), 'invalid password: for user "x" of y'),
        (ValueError("a\n\tb"), "value: a b"),
    ],
)
def test_an_exception_is_described(error, description):
    assert describe_error(error) == description


@pytest.mark.parametrize(
    "error",
    [
        ScopeMissing("images:read"),
        ForeignOrigin("https://{evil}.example" + "x" * 500),
        InvalidHeader("Prefer", "wait=10"),
        errors.TokenClaimMissing(claim="{0.__class__}"),
        errors.RangeOutside(size=3),
    ],
)
def test_a_message_names_its_facts_also_after_pickling(error):
    again = pickle.loads(pickle.dumps(error))
    assert again.message() == error.message()
    assert error.message().startswith(error.sentence())
    assert len(error.message()) > len(error.sentence())
    assert len(error.message()) < 400


def test_each_sentence_ends_with_a_full_stop():
    kinds = [kind for kind in vars(errors).values() if isinstance(kind, type) and issubclass(kind, GalleryError)]
    assert [kind for kind in kinds if not kind.sentence().endswith(".")] == []


def test_an_enumeration_is_logged_as_its_value():
    assert str(ScopeMissing(Scope.READ)) == "scope_missing: scope='images:read'"
