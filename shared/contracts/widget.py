"""The widget of an agent: how it looks and what it says, and the visitors who use it."""

from typing import Annotated, Any, Final, Literal

from pydantic import Field, StringConstraints, field_validator

from shared.contracts.schema import NAME_PATTERN, PublicRequest, Schema, Time

LOCALES: Final = ("en", "de", "es", "fr", "pt", "ar", "hi", "ja", "zh")
MAX_SUGGESTIONS: Final = 6
MAX_IDENTITY_SECRETS: Final = 2
MAX_IDENTITY: Final = 4096

Locale = Literal["en", "de", "es", "fr", "pt", "ar", "hi", "ja", "zh"]
ChallengeMode = Literal["auto", "always", "off"]
Line = Annotated[str, StringConstraints(min_length=1, max_length=120, pattern=r"^[^\x00-\x1f\x7f]+$")]
Paragraph = Annotated[str, StringConstraints(min_length=1, max_length=1000)]


class Theme(PublicRequest):
    mode: Literal["auto", "light", "dark"] = "auto"
    accent: str = Field(default="#1a56db", pattern=r"^#[0-9a-fA-F]{6}$", description="a colour as #rrggbb")
    radius: int = Field(default=16, ge=0, le=24, description="of the window's corners, CSS pixels")
    font: Literal["system", "serif", "mono"] = "system"


class Launcher(PublicRequest):
    label: Line | None = Field(default=None, description="for screen readers; the default is Chat")
    icon: Literal["chat", "help"] = "chat"


class Shown(PublicRequest):
    citations: bool = True
    tools: bool = True
    feedback: bool = True
    download: bool = True
    branding: bool = True


class WidgetSettings(PublicRequest):
    """Texts are plain text: markup in them is shown as it is written. Texts by language are for one of LOCALES."""

    theme: Theme = Theme()
    position: Literal["right", "left"] = "right"
    offset_x: int = Field(default=20, ge=0, le=200, description="distance from the side, CSS pixels")
    offset_y: int = Field(default=20, ge=0, le=200, description="distance from the bottom, CSS pixels")
    z_index: int = Field(default=2147483000, ge=1, le=2147483647)
    launcher: Launcher = Launcher()
    title: Line | None = Field(default=None, description="the default is the agent's name")
    greeting: dict[Locale, Paragraph] = Field(default_factory=dict)
    suggestions: dict[Locale, Annotated[list[Line], Field(max_length=MAX_SUGGESTIONS)]] = Field(default_factory=dict)
    consent: dict[Locale, Paragraph] = Field(
        default_factory=dict, description="shown before the first message, which it holds back until the visitor agrees"
    )
    placeholder: dict[Locale, Line] = Field(default_factory=dict)
    show: Shown = Shown()
    default_locale: Locale = "en"
    require_identity_verification: bool = Field(
        default=False, description="only visitors with a JWT signed by your backend may chat"
    )
    challenge: ChallengeMode = Field(
        default="auto",
        description="when browsers of anonymous visitors do a second of work before a session starts; auto: while "
        "sessions start in large numbers",
    )

    @field_validator("greeting", "consent")
    @classmethod
    def _have_no_controls(cls, texts: dict[Locale, str]) -> dict[Locale, str]:
        for text in texts.values():
            if any((ord(sign) < 32 and sign != "\n") or ord(sign) == 127 for sign in text):
                raise ValueError("must not hold control characters")
        return texts

    def shown(self) -> dict[str, Any]:
        """All members, those without a value as null."""
        return self.model_dump(mode="json", by_alias=True)


class Visitor(Schema):
    """Who holds a visitor token. It opens one session, for pages of one origin."""

    id: str
    session_id: str
    origin: str
    end_user_id: str | None = None

    @property
    def is_identified(self) -> bool:
        return self.end_user_id is not None


class Identity(Schema):
    """What a customer's backend vouches for: the claims of its JWT."""

    id: str = Field(min_length=1, max_length=200)
    name: str | None = Field(default=None, max_length=200)
    email: str | None = Field(default=None, max_length=320)


class NewIdentitySecret(Schema):
    """An order to history. `secret` is made by the caller, so that a repeat stores the same one."""

    id: str = Field(pattern=f"^{NAME_PATTERN}$")
    secret: str = Field(min_length=32, max_length=200, repr=False)
    actor: str | None = None


class IdentitySecret(Schema):
    id: str
    created_at: Time
    created_by: str | None = None


class WidgetRecord(Schema):
    """What history stores of an agent's widget. `settings` has the form of WidgetSettings."""

    agent_id: str
    name: str
    settings: dict[str, Any]
    identity_secrets: tuple[IdentitySecret, ...] = ()
