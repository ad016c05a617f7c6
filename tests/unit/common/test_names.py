"""Names: what upstream refuses, in its words."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from common.api import names


def test_the_words_for_a_bad_label() -> None:
    assert names.is_dns1123_label("Bad_Name") == [
        "a lowercase RFC 1123 label must consist of lower case alphanumeric characters or '-', and must start and end "
        "with an alphanumeric character (e.g. 'my-name',  or '123-abc', regex used for validation is "
        "'[a-z0-9]([-a-z0-9]*[a-z0-9])?')"
    ]
    assert names.is_dns1123_label("a.b") == ["must not contain dots"]


def test_the_words_for_a_bad_subdomain() -> None:
    assert names.is_dns1123_subdomain("Bad")[0].endswith(
        "(e.g. 'example.com', regex used for validation is "
        "'[a-z0-9]([-a-z0-9]*[a-z0-9])?(\\.[a-z0-9]([-a-z0-9]*[a-z0-9])?)*')"
    )
    assert names.is_dns1123_subdomain("a" * 254) == ["must be no more than 253 bytes"]


def test_the_words_for_a_bad_key() -> None:
    rule = (
        "must consist of alphanumeric characters, '-', '_' or '.', and must start and end with an alphanumeric "
        "character (e.g. 'MyName',  or 'my.name',  or '123-abc', regex used for validation is "
        "'([A-Za-z0-9][-A-Za-z0-9_.]*)?[A-Za-z0-9]')"
    )
    assert names.is_qualified_name("-a") == [f"name part {rule}"]
    optional = "with an optional DNS subdomain prefix and '/' (e.g. 'example.com/MyName')"
    assert names.is_qualified_name("a/b/c") == [f"a qualified name {rule} {optional}"]


@pytest.mark.parametrize("key", ["a", "A_b.c", "example.com/name", "x/" + "a" * 63])
def test_good_keys(key: str) -> None:
    assert names.is_qualified_name(key) == []


@pytest.mark.parametrize("key", ["", "/a", "a/", "a/b/c", "-a", "Upper.com/a", "a" * 64, "a b"])
def test_bad_keys(key: str) -> None:
    assert names.is_qualified_name(key)


@given(st.from_regex(r"[a-z0-9]([-a-z0-9]{0,61}[a-z0-9])?", fullmatch=True))
def test_labels_are_subdomains_and_label_values(name: str) -> None:
    assert names.is_dns1123_label(name) == names.is_dns1123_subdomain(name) == names.is_label_value(name) == []


@pytest.mark.parametrize(
    ("check", "good", "bad"),
    [
        (names.is_dns1035_label, "web-1", "1web"),
        (names.is_label_value, "", "-"),
        (names.is_c_identifier, "A_1", "1A"),
        (names.is_env_var_name, "my.env-1", "1a"),
        (names.is_config_map_key, ".hidden", ".."),
        (names.is_valid_port_name, "http", "a-very-long-port-name"),
        (names.is_valid_port_name, "h2c", "80"),
        (names.is_ip, "::1", "1.2.3"),
        (names.is_cidr, "10.0.0.0/8", "10.0.0.1"),
        (names.is_valid_port_num, 1, 65536),
    ],
)
def test_each_check(check, good, bad) -> None:  # type: ignore[no-untyped-def]
    assert check(good) == []
    assert check(bad) != []


@pytest.mark.parametrize("ip", ["10.0.0.1", "010.0.0.01", "::", "::ffff:1.2.3.4", "2001:db8::1", "::1.2.3.004"])
def test_addresses_as_upstream_takes_them(ip: str) -> None:
    assert names.is_ip(ip) == []


@pytest.mark.parametrize(
    "ip", ["", "1.2.3", "1.2.3.256", "1.2.3.4.5", "1..2.3", "fe80::1%eth0", ":::", "1.2.3.\u0664", "1"]
)
def test_addresses_that_upstream_refuses(ip: str) -> None:
    assert names.is_ip(ip) == ["must be a valid IP address, (e.g. 10.9.8.7 or 2001:db8::ffff)"]


@pytest.mark.parametrize(
    ("cidr", "good"),
    [
        ("10.0.0.0/8", True),
        ("10.0.0.1/08", True),
        ("::/0", True),
        ("10.0.0.0/33", False),
        ("10.0.0.0/255.0.0.0", False),
        ("10.0.0.0/", False),
        ("10.0.0.0/-1", False),
        ("10.0.0.0", False),
        ("::/129", False),
        ("fe80::%1/64", False),
    ],
)
def test_ranges(cidr: str, good: bool) -> None:
    assert (names.is_cidr(cidr) == []) is good


@given(st.ip_addresses())
def test_every_address_is_one(address: object) -> None:
    assert names.parse_ip(str(address)) == address


@given(st.text(max_size=80))
def test_lengths_are_bytes(value: str) -> None:
    said = "must be no more than 63 bytes" in names.is_label_value(value)
    assert said is (len(value.encode(errors="replace")) > 63)
