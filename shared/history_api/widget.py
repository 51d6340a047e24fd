"""The widget of an agent: its settings, its identity secrets, and who its visitors are."""

from shared.contracts.widget import Identity, NewIdentitySecret, WidgetRecord, WidgetSettings
from shared.history_api.transport import Transport


class WidgetCalls(Transport):
    async def widget(self, workspace: str, agent_id: str) -> WidgetRecord:
        """Raises `agent_not_found`."""
        return WidgetRecord.model_validate(await self._get(_path(workspace, agent_id)))

    async def put_widget(
        self, workspace: str, agent_id: str, settings: WidgetSettings, actor: str | None = None
    ) -> WidgetRecord:
        """Replaces the settings. Raises `agent_not_found`."""
        body = {"settings": settings.wire(), "actor": actor}
        return WidgetRecord.model_validate(await self._call("PUT", _path(workspace, agent_id), body))

    async def add_identity_secret(self, workspace: str, agent_id: str, new: NewIdentitySecret) -> WidgetRecord:
        """Raises `agent_not_found`, and `validation_failed` where two secrets exist already."""
        return WidgetRecord.model_validate(
            await self._post(f"{_path(workspace, agent_id)}/identity-secrets", new.wire())
        )

    async def remove_identity_secret(
        self, workspace: str, agent_id: str, secret_id: str, actor: str | None = None
    ) -> None:
        """Raises `agent_not_found`, `not_found`."""
        query = {"actor": actor} if actor is not None else None
        await self._call("DELETE", f"{_path(workspace, agent_id)}/identity-secrets/{secret_id}", None, query)

    async def verified_identity(self, workspace: str, agent_id: str, token: str) -> Identity:
        """Raises `agent_not_found`, `invalid_identity`."""
        return Identity.model_validate(await self._post(f"{_path(workspace, agent_id)}/identity", {"token": token}))


def _path(workspace: str, agent_id: str) -> str:
    return f"/workspaces/{workspace}/agents/{agent_id}/widget"
