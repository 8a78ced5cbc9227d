"""Settings from the environment."""

from __future__ import annotations

import dataclasses

import pytest

from broker_operator.settings import Settings, SettingsError

IMAGES = {"BROKER_IMAGE": "b:1", "PROXY_IMAGE": "p:1"}


def test_defaults_need_nothing_but_the_images() -> None:
    settings = Settings.from_environment(IMAGES)
    assert (settings.broker_image, settings.proxy_image) == ("b:1", "p:1")
    assert settings.http == ("0.0.0.0", 8080)
    assert settings.namespaces == ()
    assert (settings.lease_duration, settings.renew_deadline, settings.retry_period) == (15, 10, 2)


def test_every_setting_can_be_set_and_nothing_changes_it_later() -> None:
    environment = IMAGES | {
        "OPERATOR_NAMESPACES": "a, b",
        "OPERATOR_HTTP": "[::1]:9000",
        "OPERATOR_LEADER_ELECTION": "false",
    }
    settings = Settings.from_environment(environment)
    assert settings.namespaces == ("a", "b")
    assert settings.http == ("::1", 9000)
    assert settings.leader_election is False
    with pytest.raises(dataclasses.FrozenInstanceError):
        settings.resync = 1  # type: ignore[misc]


@pytest.mark.parametrize(
    ("variable", "value"),
    [
        ("OPERATOR_HTTP", "8080"),
        ("OPERATOR_HTTP", "localhost:port"),
        ("OPERATOR_LEADER_ELECTION", "perhaps"),
        ("OPERATOR_RESYNC", "0"),
        ("OPERATOR_RESYNC", "inf"),
        ("OPERATOR_RESYNC", "soon"),
        ("OPERATOR_CONCURRENCY", "0"),
        ("OPERATOR_LOG_FORMAT", "xml"),
    ],
)
def test_a_wrong_value_is_named(variable: str, value: str) -> None:
    with pytest.raises(SettingsError, match=f"^{variable}="):
        Settings.from_environment(IMAGES | {variable: value})


@pytest.mark.parametrize("missing", IMAGES)
def test_a_missing_image_is_named(missing: str) -> None:
    with pytest.raises(SettingsError, match=f"^{missing} is not set"):
        Settings.from_environment({name: value for name, value in IMAGES.items() if name != missing})


def test_lease_times_must_fit_together() -> None:
    with pytest.raises(SettingsError, match="OPERATOR_RENEW_DEADLINE"):
        Settings.from_environment(IMAGES | {"OPERATOR_LEASE_DURATION": "5"})
