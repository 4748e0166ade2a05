"""When open mode is on, and when the process refuses to start."""

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
def test_open_mode_is_the_default_on_loopback_only(environment, open_):
    settings = Settings.read(environment)
    check_open_mode(settings)
    assert is_open(settings) is open_


def test_open_mode_on_other_addresses_needs_a_setting():
    with pytest.raises(CannotStart, match="GALLERY_ACCESS__OPEN=true"):
        check_open_mode(Settings.read(PUBLIC_HOST))
