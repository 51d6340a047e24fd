"""On whose account a turn runs."""

from services.history.budgets.gate import Account
from services.history.budgets.limits import Parties
from services.history.turns.record import TurnRecord


def account_of(record: TurnRecord) -> Account:
    return Account(record.id, Parties(record.workspace, record.agent_id, record.key_id, record.end_user_id))
