"""What a gateway reads from its environment."""

from pydantic import Field

from shared.settings import Settings


class GatewaySettings(Settings):
    """The public port may be shared by several gateways of one machine; the private one is each gateway's own."""

    port: int = Field(8080, description="the gateway's public port")
    private_port: int = Field(8081, description="the gateway's own port: the same API, health and metrics")
    reuse_port: bool = Field(False, description="let several gateways share the public port (SO_REUSEPORT)")
    body_limit: int = Field(256 << 10, description="largest request body, bytes", gt=0)
    key_cache_s: float = Field(
        0.9, description="how long a key's record is trusted, seconds; a revocation takes as long", gt=0, le=1
    )
    requests_per_minute: int = Field(6000, description="requests per minute and key, on each gateway", gt=0)
    streams_per_key: int = Field(2000, description="streams and waiting requests per key, on each gateway", gt=0)
    streams_limit: int = Field(10_000, description="streams and waiting requests per gateway", gt=0)
    cancel_on_disconnect: bool = Field(True, description="a completion's turn is cancelled when its caller goes away")
