"""Addresses and networks, as people, sockets and proxies write them."""

import pytest

from accounts import networks


@pytest.mark.parametrize(
    ("written", "meant"),
    [
        (" 10.0.0.7/8 ", "10.0.0.0/8"),
        ("10.1.2.3", "10.1.2.3/32"),
        ("::1", "::1/128"),
        ("2001:DB8::/32", "2001:db8::/32"),
        ("::ffff:10.0.0.0/104", "10.0.0.0/8"),
        ("::ffff:10.1.2.3", "10.1.2.3/32"),
        ("::ffff:0:0/96", "0.0.0.0/0"),
        ("::/0", "::/0"),
    ],
)
def test_a_network_has_one_form(written, meant):
    assert str(networks.parse_network(written)) == meant


@pytest.mark.parametrize("written", ["", "300.1.1.1", "10.0.0.0/33", "fe80::1%eth0", "fe80::%eth0/64", "example.com"])
def test_what_is_no_network_is_refused(written):
    with pytest.raises(ValueError, match="."):
        networks.parse_network(written)


@pytest.mark.parametrize(
    ("written", "meant"),
    [
        ("10.1.2.3", "10.1.2.3"),
        ("10.1.2.3:4567", "10.1.2.3"),
        ("2001:db8::1", "2001:db8::1"),
        ("[2001:db8::1]", "2001:db8::1"),
        ("[2001:db8::1]:443", "2001:db8::1"),
        ("fe80::1%eth0", "fe80::1"),
        ("[fe80::1%eth0]:80", "fe80::1"),
        ("::ffff:10.1.2.3", "10.1.2.3"),
        ("[::ffff:10.1.2.3]:80", "10.1.2.3"),
    ],
)
def test_an_address_has_one_form(written, meant):
    assert str(networks.parse_address(written)) == meant


@pytest.mark.parametrize(
    "written", ["", "unknown", "_hidden", "10.1.2", "10.1.2.3:", "[10.1.2.3", "1" * 5000, "\0", "::1::"]
)
def test_what_is_no_address_is_none(written):
    assert networks.parse_address(written) is None


@pytest.mark.parametrize(
    ("inner", "outer", "within"),
    [
        (["10.1.0.0/16"], ["10.0.0.0/8"], True),
        (["10.0.0.0/8"], ["10.0.0.0/8"], True),
        (["10.0.0.0/8"], ["10.1.0.0/16"], False),
        (["10.0.0.0/7"], ["10.0.0.0/8"], False),
        (["10.0.0.0/24"], ["10.0.0.0/25", "10.0.0.128/25"], True),
        (["10.0.0.0/24"], ["10.0.0.0/25"], False),
        (["10.0.0.1", "192.168.0.1"], ["10.0.0.0/8"], False),
        (["2001:db8:1::/48"], ["2001:db8::/32"], True),
        (["2001:db8::/31"], ["2001:db8::/32"], False),
        (["::ffff:10.1.2.3"], ["10.0.0.0/8"], True),
        (["10.1.2.3"], ["::ffff:10.0.0.0/104"], True),
        (["10.1.2.3"], ["::/0"], False),
        (["::1"], ["0.0.0.0/0"], False),
        (["0.0.0.0/0"], ["0.0.0.0/1", "128.0.0.0/1"], True),
    ],
)
def test_within(inner, outer, within):
    assert networks.are_within(inner, outer) is within
