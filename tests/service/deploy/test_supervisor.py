"""What `make up` promises about its processes: restarted with growing pauses, told when ready, gone at the end."""

import os
import signal
import sys
from dataclasses import replace
from pathlib import Path

import pytest

from deploy.local.options import parse
from deploy.local.state import DirectoryTaken, LocalState
from deploy.local.supervisor import FIRST_PAUSE_S, LONGEST_PAUSE_S, STABLE_S, Child, Command, StartError, next_pause
from tests.conftest import eventually

PAUSES = (
    sys.executable,
    "-c",
    "import pathlib, signal, sys; pathlib.Path(sys.argv[1]).write_text('up'); signal.pause()",
)


def command(tmp_path: Path, *arguments: str) -> Command:
    mark = tmp_path / "mark"

    async def probe() -> bool:
        return mark.exists()

    return Command(
        name="it",
        arguments=arguments or (*PAUSES, str(mark)),
        log=tmp_path / "it.log",
        pid_file=tmp_path / "it.pid",
        probe=probe,
        grace_s=5.0,
    )


async def test_a_child_that_is_killed_comes_back_under_another_pid(tmp_path: Path) -> None:
    events: list[str] = []
    child = Child(command(tmp_path), lambda event, _: events.append(event))
    await child.start()
    first = child.pid
    os.kill(first, signal.SIGKILL)
    await eventually(lambda: "ready" in events)
    assert events == ["started", "ended", "started", "ready"]
    assert child.pid != first
    await child.stop()
    with pytest.raises(ProcessLookupError):
        os.kill(child.pid, 0)
    assert not (tmp_path / "it.pid").exists()


async def test_a_child_that_comes_back_late_is_told_when_it_is_ready(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked, events = 0, list[str]()

    async def probe() -> bool:
        nonlocal asked
        asked += "ended" in events
        return "ended" not in events or asked > 5

    child = Child(replace(command(tmp_path), probe=probe), lambda event, _: events.append(event))
    await child.start()
    monkeypatch.setattr("deploy.local.supervisor.READY_TIMEOUT_S", 0.05)
    os.kill(child.pid, signal.SIGKILL)
    await eventually(lambda: "ready" in events)
    assert events == ["started", "ended", "started", "ready"]
    await child.stop()


async def test_a_child_that_ends_at_its_first_start_is_an_error_that_shows_its_log(tmp_path: Path) -> None:
    child = Child(
        command(tmp_path, sys.executable, "-c", "print('no such setting'); raise SystemExit(3)"), lambda *_: None
    )
    with pytest.raises(StartError, match=r"(?s)it ended with 3.*no such setting"):
        await child.start()
    await child.stop()


async def test_a_child_that_ignores_sigterm_is_killed_after_its_grace(tmp_path: Path) -> None:
    program = (
        "import signal, pathlib, sys; signal.signal(signal.SIGTERM, signal.SIG_IGN);"
        "pathlib.Path(sys.argv[1]).touch()\n"
        "while True: signal.pause()"
    )
    stubborn = command(tmp_path, sys.executable, "-c", program, str(tmp_path / "mark"))
    child = Child(Command(**{**stubborn.__dict__, "grace_s": 0.2}), lambda *_: None)
    await child.start()
    await child.stop()
    assert child.exit_code == -signal.SIGKILL


def test_pauses_double_up_to_a_bound_and_start_again_after_a_stable_run() -> None:
    pauses = [FIRST_PAUSE_S]
    for _ in range(8):
        pauses.append(next_pause(pauses[-1], ran_s=0.1))
    assert pauses[:4] == [0.2, 0.4, 0.8, 1.6]
    assert pauses[-1] == LONGEST_PAUSE_S
    assert next_pause(LONGEST_PAUSE_S, ran_s=STABLE_S) == FIRST_PAUSE_S


def test_state_is_kept_private_and_holds_its_directory(tmp_path: Path) -> None:
    state = LocalState(tmp_path)
    token, port = state.internal_token, state.port("gateway-1")
    state.secret_key = "parley_sk_test_x"
    with pytest.raises(DirectoryTaken, match="another"):
        LocalState(tmp_path)
    state.close()
    again = LocalState(tmp_path)
    assert (again.internal_token, again.port("gateway-1"), again.secret_key) == (token, port, "parley_sk_test_x")
    assert (tmp_path / "state.json").stat().st_mode & 0o777 == 0o600
    again.close()


def test_a_directory_that_cannot_be_used_is_refused_with_what_to_do(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(DirectoryTaken, match="choose another --data-dir"):
        LocalState(tmp_path / "file")
    (tmp_path / "state.json").write_text("{half")
    for _ in range(2):
        with pytest.raises(DirectoryTaken, match=r"state\.json is damaged"):
            LocalState(tmp_path)
    assert (tmp_path / "state.json").read_text() == "{half"


@pytest.mark.parametrize("arguments", [("--workers", "abc"), ("--workers", "0"), ("--port", "99999"), ("--port", "x")])
def test_an_option_of_make_up_says_which_numbers_it_takes(
    arguments: tuple[str, str], capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit):
        parse(arguments, {})
    assert f"{arguments[1]} is not a number from" in capsys.readouterr().err
