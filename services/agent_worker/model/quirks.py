"""The table of quirks: deviations from OpenAI's protocol that are understood, counted and passed over."""

from enum import StrEnum


class Quirk(StrEnum):
    """The values are labels of `parley_model_quirks_total`, so the table bounds them."""

    # The stream
    NOISE = "noise"  # An event that is not JSON, or JSON that is no object: a heartbeat.
    WHOLE_BODY = "whole_body"  # One JSON completion in answer to `stream: true`.
    OTHER_CHOICE = "other_choice"  # A choice that was not asked for (`n` is 1).
    MESSAGE_AS_DELTA = "message_as_delta"
    # The finish reason
    FOREIGN_REASON = "foreign_finish_reason"  # Known, but not one of OpenAI's.
    UNKNOWN_REASON = "unknown_finish_reason"
    MISSING_REASON = "missing_finish_reason"  # `[DONE]` came without one.
    # Tool calls
    CALL_WITHOUT_ID = "call_without_id"
    REPEATED_CALL_ID = "repeated_call_id"
    ODD_ARGUMENTS = "odd_arguments"  # Sent as an object, sent twice, wrapped in a string, or empty.
    ODD_NAME = "odd_name"  # `functions.NAME`, white space.
    NAMELESS_CALL = "nameless_call"
    JOINED_CALLS = "joined_calls"  # Two calls under one index.
    # The answer
    EMPTY_ANSWER = "empty_answer"
    THINK_TAGS = "think_tags"
    # The request
    OMITTED_MEMBER = "omitted_member"  # A 400 named a member as unknown.
    SHRUNK = "shrunk"  # The prompt was longer than the model's context.
