"""Pure: the words and numbers by which model servers say what is wrong, compared in their plain form."""

import re
from typing import Final

PASSING_STATUSES: Final = frozenset({408, 409, 425, 429, 499})
PERMANENT_5XX: Final = frozenset({501, 505})
BUSY_STATUSES: Final = frozenset({429, 503, 529})
# The prompt is longer than the model's context.
CONTEXT_CODES: Final = frozenset(
    """
    contextlengthexceeded contextwindowexceeded contextwindowexceedederror exceedcontextsizeerror
    modelmaxprompttokensexceeded stringabovemaxlength requesttoolarge promptistoolong contexttoolong
    inputtoolong
    """.split()
)
# Permanent also where the status says 429, which alone would be retried.
BILLING_CODES: Final = frozenset(
    """
    insufficientquota insufficientbalance insufficientcredits billinghardlimitreached billingnotactive
    """.split()
)
PERMANENT_CODES: Final = BILLING_CODES | frozenset(
    """
    invalidrequesterror invalidrequest badrequest badrequesterror invalidargument invalidparameter
    invalidparametererror invalidvalue validationerror unprocessableentity authenticationerror authentication
    unauthorized unauthenticated invalidapikey incorrectapikey invalidauthentication permissiondenied
    permissiondeniederror permissionerror forbidden notfound notfounderror modelnotfound modelnotfounderror
    modelnotavailable deploymentnotfound unsupported unsupportedparameter unsupportedvalue unknownparameter
    notimplemented failedprecondition outofrange billingerror accountdeactivated paymentrequired contentfilter
    contentpolicyviolation contentpolicyviolationerror responsibleaipolicyviolation moderation
    datainspectionfailed jsonvalidatefailed invalidpromptformat
    """.split()
)
BUSY_CODES: Final = frozenset(
    """
    ratelimitexceeded ratelimiterror ratelimit ratelimitreached toomanyrequests resourceexhausted
    throttlingexception throttling overloaded overloadederror engineoverloadederror enginoverloaded
    serviceunavailable unavailable slowdown
    """.split()
)
# The same as CONTEXT_CODES, in sentences: servers send them with any status and code.
CONTEXT_SENTENCES: Final = re.compile(
    r"maximum context length|context[_ ]length[_ ]exceeded|prompt is too long|input is too long"
    r"|exceed\w*\s+(?:the\s+)?(?:\w+\s+){0,3}context (?:size|length|window|limit)"
    r"|context (?:size|length|window|limit)s? (?:has been |was |is )?exceeded"
    r"|longer than the model'?s? (?:maximum )?context|reduce the length of the (?:messages|input|prompt)"
    r"|input token count.{0,40}exceeds the maximum|larger than the max\w* context"
    r"|too many (?:input )?tokens\b.{0,40}context"
    r"|exceeds? (?:the )?max(?:imum)?[ _](?:model[ _]len|prompt|input|sequence)",
    re.IGNORECASE,
)
_SEPARATORS: Final = re.compile(r"[^a-z0-9]")


def plain(word: str) -> str:
    """A code without case and separators: `rate_limit_exceeded` and `RateLimitExceeded` are the same."""
    return _SEPARATORS.sub("", word.lower())
