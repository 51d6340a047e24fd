"""The first key of a new deployment, from `PARLEY_BOOTSTRAP_KEY`."""

from typing import Final

from services.history.keys.api_keys import ApiKeys
from services.history.mongo.client import Database
from services.history.settings import HistorySettings
from shared.contracts.keys import SECRET_SCOPES, StoreKey, digest_of
from shared.ids import id_from
from shared.log import get_logger

log = get_logger()

_DIGEST_DIGITS: Final = 20


class BootstrapKey:
    """Stores the key once: its id is made of its secret, so a key that was rotated or revoked never comes back."""

    def __init__(self, database: Database, keys: ApiKeys, settings: HistorySettings) -> None:
        self._keys = keys
        self._documents = database.keys
        self._secret = settings.bootstrap_key.get_secret_value()
        self._workspace = settings.bootstrap_workspace
        self._done = not self._secret

    async def reconcile(self) -> None:
        if self._done:
            return
        order = self._order()
        if await self._documents.one({"_id": order.id}, {"_id": 1}) is None:
            await self._keys.store(order)
            await self._keys.announce(order.workspace, order.id)
            log.info("bootstrap_key_stored", key_id=order.id, workspace=order.workspace)
        self._done = True

    def _order(self) -> StoreKey:
        digest = digest_of(self._secret)
        return StoreKey(
            id=id_from("key", int(digest[:_DIGEST_DIGITS], 16)),
            workspace=self._workspace,
            name="bootstrap key",
            scopes=SECRET_SCOPES,
            environment="test" if self._secret.startswith("parley_sk_test_") else "live",
            digest=digest,
        )
