"""`parley knowledge`: from a folder of documents to an answer that quotes them."""

from pathlib import Path

import orjson

from tests.system.cli.test_parley_agents import unique
from tests.system.cli.test_parley_chat import run, user
from tests.system.stack import Stack


async def test_a_folder_of_documents_is_added_once_and_answered_from(stack: Stack, tmp_path: Path) -> None:
    env, slug = user(stack, tmp_path), unique("docs")

    async def parley(*arguments: str, expected: int = 0) -> str:
        code, out, err = await run(*arguments, cwd=tmp_path, env=env)
        assert code == expected, (arguments, out, err)
        return out.decode() + err.decode()

    folder = tmp_path / "documents"
    (folder / "below").mkdir(parents=True)
    (folder / "support.md").write_text("# Support\n\n## Phone\nOur support line is 303-555-0199, from 8:00 to 17:00.\n")
    (folder / "below" / "parking.txt").write_text("Parking is free for guests behind the house.\n")
    (folder / "photo.png").write_bytes(b"\x89PNG")
    await parley("agents", "init", slug)
    await parley("agents", "apply", "--yes")
    added = orjson.loads(await parley("knowledge", "add", slug, "documents", "--tag", "manual", "--json"))
    assert [(source["fileName"], source["state"]) for source in added] == [
        ("parking.txt", "indexed"),
        ("support.md", "indexed"),
    ]
    assert all(source["tags"] == ["manual"] for source in added)
    # A second run adds nothing.
    assert (await parley("knowledge", "add", slug, "documents")).count("known") == 2
    listed = orjson.loads(await parley("knowledge", "list", slug, "--json"))
    assert {source["id"] for source in listed} == {source["id"] for source in added}
    await parley("agents", "publish", slug)
    assert "303-555-0199" in await parley("chat", slug, "-m", "Which number has the support line?")
    query = "Which number has the support line?"
    for version in ((), ("--version", "1")):
        found = orjson.loads(await parley("knowledge", "preview", slug, query, *version, "--json"))
        first = found["passages"][0]
        assert (first["title"], first["used"], "words" in first["legs"]) == ("Support", True, True), found
    table = await parley("knowledge", "preview", slug, query, "--top-k", "1")
    assert ("FOUND BY" in table, "303-555-0199" in table, len(table.splitlines())) == (True, True, 2), table
    assert "303-555-0199" in await parley("knowledge", "preview", slug, query, "--prompt")
    await parley("knowledge", "rm", slug, added[0]["id"])
    assert len(orjson.loads(await parley("knowledge", "list", slug, "--json"))) == 1


async def test_what_cannot_be_added_is_named(stack: Stack, tmp_path: Path) -> None:
    env, slug = user(stack, tmp_path), unique("bad")
    await run("agents", "init", slug, cwd=tmp_path, env=env)
    await run("agents", "apply", "--yes", cwd=tmp_path, env=env)
    (tmp_path / "old.doc").write_bytes(b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1")
    (tmp_path / "empty").mkdir()
    for what, expected, words in (
        ("old.doc", 1, "old.doc: .doc is not supported; save it as .docx"),
        ("nowhere.md", 3, "nowhere.md: no such file"),
        ("empty", 3, "empty: no file that can be read"),
    ):
        code, out, err = await run("knowledge", "add", slug, what, cwd=tmp_path, env=env)
        assert (code, out, len(err.splitlines())) == (expected, b"", 1), err
        assert words in err.decode()
