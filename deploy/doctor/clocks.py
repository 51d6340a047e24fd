"""Clocks of the stores and processes beside this machine's."""

from deploy.doctor.finding import Finding, error, warning

NOTED_S = 2.0
HARMFUL_S = 30.0


def judged(subject: str, ahead_s: float) -> list[Finding]:
    """`ahead_s`: how far the subject's clock is ahead of this machine's, in seconds."""
    if abs(ahead_s) < NOTED_S:
        return []
    direction = "ahead of" if ahead_s > 0 else "behind"
    message = (
        f"Its clock is {abs(ahead_s):.0f} s {direction} this machine's: deadlines and expiry dates are wrong by that."
    )
    kind = error if abs(ahead_s) >= HARMFUL_S else warning
    return [kind("clock_skew", subject, message, "Run a time service (chrony, systemd-timesyncd) on both machines.")]
