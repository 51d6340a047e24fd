import pytest

from services.gateway.settings import GatewaySettings
from shared.settings import SettingsError

REQUIRED = {"PARLEY_INTERNAL_TOKEN": "x" * 16}


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("PARLEY_TRUSTED_PROXIES", "10.0.0.0/33"),
        ("PARLEY_TRUSTED_PROXIES", "everyone"),
        ("PARLEY_PUBLIC_URL", "chat.example.com"),
        ("PARLEY_PUBLIC_URL", "ftp://chat.example.com"),
        ("PARLEY_PUBLIC_URL", "https://user@chat.example.com"),
        ("PARLEY_PUBLIC_URL", "https://chat.example.com/?a=b"),
    ],
)
def test_a_malformed_setting_ends_the_start(name: str, value: str) -> None:
    with pytest.raises(SettingsError, match=name):
        GatewaySettings.load({**REQUIRED, name: value})


def test_no_proxy_is_trusted_by_default() -> None:
    assert GatewaySettings.load(REQUIRED).proxy_networks == ()


def test_networks_and_the_public_url_are_read() -> None:
    given = {"PARLEY_TRUSTED_PROXIES": "10.0.0.0/8, ::1", "PARLEY_PUBLIC_URL": "https://chat.example.com/parley/"}
    settings = GatewaySettings.load({**REQUIRED, **given})
    assert [str(network) for network in settings.proxy_networks] == ["10.0.0.0/8", "::1/128"]
    assert settings.public_url == "https://chat.example.com/parley"
