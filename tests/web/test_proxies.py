"""The client's address: from the headers of trusted proxies, and of no one else."""

from ipaddress import ip_address, ip_network

import pytest
from hypothesis import given
from hypothesis import strategies as st

from conftest import running_application
from gallery.errors import Misconfigured
from gallery.settings import Settings
from gallery.web.middleware.proxies import parse_address, parse_forwarded, resolve_client
from gallery.web.request_limits import client_address

LOCAL_PROXIES = {"GALLERY_PROXIES": "127.0.0.0/8, 10.0.0.0/8", "GALLERY_RATE__ENABLED": "true"}
ONE_REQUEST = {**LOCAL_PROXIES, "GALLERY_RATE__STRANGER": "1 per 3600"}
TRUSTED = [ip_network("10.0.0.0/8"), ip_network("fd00::/8")]
PROXY = ip_address("10.0.0.1")

client_addresses = st.ip_addresses().filter(
    lambda a: not any(a in n for n in TRUSTED) and not getattr(a, "ipv4_mapped", None)
)
proxies = st.integers(1, 2**24 - 1).map(lambda n: str(ip_address(0x0A000000 + n)))
anything = st.text(st.characters(max_codepoint=255, exclude_characters="\r\n\0"), max_size=40)


async def get(http, *headers: tuple[str, str], path: str = "/api/v1/images/x"):
    return await http.get(path, headers=list(headers))


# --- over HTTP ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("header", ["X-Forwarded-For", "Forwarded"])
async def test_clients_behind_a_trusted_proxy_are_counted_separately(environment, header):
    async with running_application(environment, **ONE_REQUEST) as (_, http):
        for who in ("192.0.2.1", "192.0.2.2"):
            value = who if header == "X-Forwarded-For" else f'for="{who}:4711";proto=https'
            assert [(await get(http, (header, value))).status_code for _ in range(2)] == [404, 429]


async def test_headers_of_an_untrusted_client_are_ignored(environment):
    given = {**ONE_REQUEST, "GALLERY_PROXIES": "192.0.2.1"}
    async with running_application(environment, **given) as (_, http):
        found = [
            (await get(http, ("X-Forwarded-For", f"198.51.100.{n}"), ("Forwarded", f"for=198.51.100.{n}"))).status_code
            for n in range(3)
        ]
        assert found == [404, 429, 429]
        answer = await get(http, ("X-Forwarded-Proto", "https"), path="/livez")
        assert "strict-transport-security" not in answer.headers


async def test_entries_to_the_left_of_the_client_are_ignored(environment):
    async with running_application(environment, **ONE_REQUEST) as (_, http):
        found = [
            (await get(http, ("X-Forwarded-For", f"198.51.100.{n}, 192.0.2.1, 10.1.1.1"))).status_code for n in range(3)
        ]
        assert found == [404, 429, 429]


@pytest.mark.parametrize("spoof", ["for=198.51.100.{}", 'for="198.51.100.{}', "for=_hidden{}", "rubbish {}"])
async def test_a_header_that_the_proxy_ignores_cannot_hide_a_client(environment, spoof):
    """The proxy writes X-Forwarded-For and passes on `Forwarded`, which the client has invented."""
    async with running_application(environment, **ONE_REQUEST) as (_, http):
        found = [
            (await get(http, ("X-Forwarded-For", "192.0.2.1"), ("Forwarded", spoof.format(n)))).status_code
            for n in range(4)
        ]
        assert found == [404, 429, 429, 429]


async def test_nor_the_other_way_round(environment):
    """The proxy appends to `Forwarded`; the client's own part may even be malformed."""
    async with running_application(environment, **ONE_REQUEST) as (_, http):
        found = [
            (
                await get(
                    http,
                    ("X-Forwarded-For", f"198.51.100.{n}"),
                    ("Forwarded", before + "for=192.0.2.1"),
                )
            ).status_code
            for n, before in enumerate(["", 'for="evil, ', "for=1.2.3.4, "])
        ]
        assert found == [404, 429, 429]


async def test_two_headers_that_agree_are_used(environment):
    async with running_application(environment, **ONE_REQUEST) as (_, http):
        found = [
            (await get(http, ("X-Forwarded-For", who), ("Forwarded", f"for={who}"))).status_code
            for who in ("192.0.2.1", "192.0.2.2", "192.0.2.1")
        ]
        assert found == [404, 404, 429]


async def test_ipv6_is_counted_by_network(environment):
    async with running_application(environment, **ONE_REQUEST) as (_, http):
        hosts = ("2001:db8::1", "2001:db8::2", "[2001:db8:0:0:ffff::3]:80", "2001:db8:0:1::1")
        assert [(await get(http, ("X-Forwarded-For", host))).status_code for host in hosts] == [404, 429, 429, 404]


async def test_the_scheme_of_a_trusted_proxy_is_used(environment):
    async with running_application(environment, **LOCAL_PROXIES) as (_, http):
        for header in (("X-Forwarded-Proto", "https"), ("Forwarded", "for=192.0.2.1;proto=https")):
            assert "strict-transport-security" in (await get(http, header)).headers
        for header in (("X-Forwarded-Proto", "http"), ("X-Forwarded-Proto", "gopher"), ("Forwarded", "proto=http")):
            assert "strict-transport-security" not in (await get(http, header)).headers


@pytest.mark.parametrize("text", ["localhost", "10.0.0.1/8", "1.2.3.4 5.6.7.8", "300.1.1.1"])
def test_a_proxy_that_is_no_address_is_refused(text):
    with pytest.raises(Misconfigured) as raised:
        Settings.read({"GALLERY_PROXIES": text})
    assert raised.value.detail.startswith("GALLERY_PROXIES is ")


# --- reading ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("for=192.0.2.60;proto=http;by=203.0.113.43", [{"for": "192.0.2.60", "proto": "http", "by": "203.0.113.43"}]),
        ('For="[2001:db8:cafe::17]:4711"', [{"for": "[2001:db8:cafe::17]:4711"}]),
        ("for=192.0.2.43, for=198.51.100.17", [{"for": "192.0.2.43"}, {"for": "198.51.100.17"}]),
        ('for="_gazonk" , for="a,b;c\\"d"', [{"for": "_gazonk"}, {"for": 'a,b;c"d'}]),
        ("", []),
        (" ", []),
        ("for", [{}]),
        ('for="a', [{}]),
        ("for=a for=b", [{}]),
        ("for=a,", [{}]),
        ("for=a;;for=b", [{}]),
    ],
)
def test_forwarded_is_parsed_by_rfc_7239(text, expected):
    assert parse_forwarded(text) == expected


@given(anything)
def test_parsing_a_forwarded_header_never_raises(text):
    for element in parse_forwarded(text):
        parse_address(element.get("for", ""))
    parse_address(text)


@given(st.lists(anything, max_size=5), client_addresses, st.lists(proxies, max_size=3))
def test_the_client_is_the_first_untrusted_address_from_the_right(left, client, right):
    hops = [*left, str(client), *right]
    assert resolve_client(PROXY, hops, TRUSTED) == client


@given(st.lists(anything, max_size=5), client_addresses)
def test_an_untrusted_peer_is_the_client_itself(hops, client):
    assert resolve_client(client, hops, TRUSTED) == client


@given(st.lists(anything, max_size=3), st.sampled_from(["unknown", "_hidden", "", "x"]), st.lists(proxies, max_size=3))
def test_no_entry_left_of_an_invalid_one_is_used(left, unread, right):
    assert resolve_client(PROXY, [*left, unread, *right], TRUSTED) == (ip_address(right[0]) if right else PROXY)


@given(st.ip_addresses(), st.integers(1, 65535))
def test_an_address_is_read_with_and_without_a_port(found, port):
    plain = found.ipv4_mapped or found if found.version == 6 else found
    bracketed = f"[{found}]" if found.version == 6 else str(found)
    assert parse_address(str(found)) == parse_address(bracketed) == parse_address(f"{bracketed}:{port}") == plain


@pytest.mark.parametrize(
    ("host", "expected"),
    [
        ("192.0.2.1", "192.0.2.1"),
        ("::ffff:192.0.2.1", "192.0.2.1"),
        ("2001:db8:1:2:3:4:5:6", "2001:db8:1:2::/64"),
        ("fe80::1%eth0", "fe80::/64"),
        ("", ""),
    ],
)
def test_the_client_address(host, expected):
    assert client_address({"client": (host, 1)}) == expected
    assert client_address({"client": None}) == ""
