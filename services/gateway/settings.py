"""What a gateway reads from its environment."""

import re
from typing import Final

from pydantic import Field, SecretStr, field_validator

from services.gateway.edge.client_address import Network, parse_networks
from shared.settings import Settings, split_list

_PUBLIC_URL: Final = re.compile(r"https?://[^/\s?#@]+(?:/[^\s?#]*)?")


class GatewaySettings(Settings):
    """The public port may be shared by several gateways of one machine; each gateway has its own private port."""

    port: int = Field(8080, description="the gateway's public port")
    private_port: int = Field(8081, description="the gateway's own port: the same API, health and metrics")
    reuse_port: bool = Field(False, description="let several gateways share the public port (SO_REUSEPORT)")
    public_url: str = Field("", description="the gateway's base URL as clients see it, without /api/v1")
    trusted_proxies: str = Field(
        "",
        description="networks of proxies, comma separated, whose Forwarded and X-Forwarded-For headers are believed",
    )
    body_limit: int = Field(
        256 << 10,
        description="largest request body, bytes; eight times as much for the conversations of chat kits",
        gt=0,
    )
    key_cache_s: float = Field(
        0.9, description="how long a key's record is trusted, seconds; a revocation takes as long", gt=0, le=1
    )
    requests_per_minute: int = Field(
        6000, description="requests per minute and key, over all gateways; 0: no limit; a key may have its own", ge=0
    )
    failed_auth_per_minute: int = Field(
        600,
        description="requests with invalid keys per minute and client address, over all gateways; 0: no limit",
        ge=0,
    )
    streams_per_key: int = Field(2000, description="streams and waiting requests per key, over all gateways", gt=0)
    streams_limit: int = Field(10_000, description="streams and waiting requests per gateway", gt=0)
    turns_per_key: int = Field(
        0, description="turns of a key that run or wait at once; 0: no limit; a key may have its own limit", ge=0
    )
    turns_per_end_user: int = Field(
        0, description="turns of an end user that run or wait at once, by the id that callers give; 0: no limit", ge=0
    )
    queue_age_limit_s: float = Field(
        0, description="new turns are refused while the oldest has waited for longer, seconds; 0: no limit", ge=0
    )
    visitor_requests_per_minute: int = Field(
        120, description="requests per minute of one visitor of a web page, over all gateways; 0: no limit", ge=0
    )
    visits_per_minute: int = Field(
        30, description="sessions that visitors start per minute and client address; 0: no limit", ge=0
    )
    unchallenged_visits_per_minute: int = Field(
        60,
        description="sessions that a publishable key's visitors start per minute before their browsers must solve a "
        "challenge for more; 0: never; a widget may ask always or never",
        ge=0,
    )
    visitor_token_s: float = Field(
        86400.0, description="how long a widget visitor's token is valid, seconds", ge=60, le=30 * 86400
    )
    visitor_token_secrets: SecretStr = Field(
        SecretStr(""),
        description="secrets that sign visitors' tokens, comma separated, the same on every gateway; the first signs, "
        "all verify; empty: derived from PARLEY_INTERNAL_TOKEN",
    )
    playground: bool = Field(
        False, description="serve /playground, a page on which people with a secret key try agents out"
    )
    console: bool = Field(
        False, description="serve /console, a page on which people with a secret key manage agents, sessions and keys"
    )
    overview_urls: str = Field(
        "",
        description="private base URLs of the processes that /admin and `parley status --watch` show, comma separated; "
        "a name with several addresses stands for all of them; empty: this gateway and history",
    )
    cancel_on_disconnect: bool = Field(True, description="a completion's turn is cancelled when its caller disconnects")

    @field_validator("public_url")
    @classmethod
    def _is_a_base_url(cls, value: str) -> str:
        if value and _PUBLIC_URL.fullmatch(value) is None:
            raise ValueError("must be an http or https URL without user, query and fragment")
        return value.rstrip("/")

    @field_validator("trusted_proxies")
    @classmethod
    def _are_networks(cls, value: str) -> str:
        parse_networks(value)
        return value

    @property
    def visitor_secrets(self) -> tuple[str, ...]:
        return split_list(self.visitor_token_secrets.get_secret_value()) or (self.internal_token.get_secret_value(),)

    @field_validator("overview_urls")
    @classmethod
    def _are_base_urls(cls, value: str) -> str:
        if not all(_PUBLIC_URL.fullmatch(url) for url in split_list(value)):
            raise ValueError("must be http or https URLs without user, query and fragment, separated by commas")
        return value

    @property
    def overview_targets(self) -> tuple[str, ...]:
        return split_list(self.overview_urls)

    @property
    def proxy_networks(self) -> tuple[Network, ...]:
        return parse_networks(self.trusted_proxies)
