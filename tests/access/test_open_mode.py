"""When a house is open, and when it does not even start."""

import pytest

from gallery.access.open_mode import check_open_mode, is_open
from gallery.errors import CannotStart
from gallery.settings import Settings

JWT = {"GALLERY_ACCESS__JWT_SECRET": "s"}
PUBLIC_HOST = {"GALLERY_HOST": "0.0.0.0"}
OPEN, CLOSED = {"GALLERY_ACCESS__OPEN": "true"}, {"GALLERY_ACCESS__OPEN": "false"}


@pytest.mark.parametrize(
    ("environment", "open_"),
    [
        ({}, True),
        (CLOSED, False),
        (JWT, False),
        ({"GALLERY_ACCESS__JWKS_URL": "http://x"}, False),
        ({"GALLERY_ACCESS__JWT_PUBLIC_KEY": "x"}, False),
        (JWT | OPEN, True),
        (PUBLIC_HOST | OPEN, True),
        (PUBLIC_HOST | CLOSED, False),
        (PUBLIC_HOST | JWT, False),
    ],
)
def test_who_has_said_nothing_is_open_on_loopback_only(environment, open_):
    settings = Settings.read(environment)
    check_open_mode(settings)
    assert is_open(settings) is open_


def test_nobody_is_open_to_strangers_by_accident():
    with pytest.raises(CannotStart, match="GALLERY_ACCESS__OPEN=true"):
        check_open_mode(Settings.read(PUBLIC_HOST))
