from pathlib import Path

import jsonschema
import pytest

from deploy.cli.agent_source import read_source
from deploy.cli.agents import as_file
from deploy.cli.exits import CliError, Exit
from deploy.cli.starter import starter_file
from deploy.cli.yaml_file import read_yaml
from shared.contracts.agent_file import agent_file_schema

GOOD = """\
slug: shop
name: Shop
model:
  name: m
tools:
  - name: order
    url: http://shop.example/order
    secretHeaders:
      Authorization:
        value: ${SHOP_TOKEN}
"""


def written(tmp_path: Path, text: str) -> Path:
    file = tmp_path / "agent.yaml"
    file.write_text(text)
    return file


@pytest.mark.parametrize(
    ("text", "line", "words"),
    [
        ("slug: shop\nname: Shop\nmodle:\n  name: m\n", 3, "modle: is not a known key. Did you mean model?"),
        ("slug: a\nname: A\nmodel:\n  name: m\n  upstraem: x\n", 5, "is not a known key. Did you mean upstream?"),
        (GOOD.replace("    url:", "    timeout: 3\n    url:"), 7, "is not a known key. Did you mean timeoutS?"),
        (GOOD.replace("name: Shop\n", ""), 1, "name: is missing"),
        (GOOD.replace("http://shop", "ftp://shop"), 6, "url must start with http"),
        (GOOD.replace("slug: shop", "slug: Shop!"), 1, "slug: "),
        (GOOD + "limits:\n  maxModelCalls: many\n", 12, "limits.maxModelCalls: "),
        (GOOD + "max_model_calls: 3\n", 11, "max_model_calls: is not a known key."),
        ("- a\n", 1, "must be a mapping"),
        ("", 1, "must be a mapping"),
    ],
)  # fmt: skip
def test_a_fault_has_its_line_and_the_nearest_right_key(tmp_path: Path, text: str, line: int, words: str) -> None:
    file = written(tmp_path, text)
    with pytest.raises(CliError) as refused:
        read_source(file, {"SHOP_TOKEN": "s"})
    assert refused.value.exit is Exit.BAD_FILE
    shown = refused.value.message.splitlines()
    assert [said for said in shown if said.startswith(f"{file}:{line}: ") and words in said], shown


def test_all_faults_are_told_at_once(tmp_path: Path) -> None:
    with pytest.raises(CliError) as refused:
        read_source(written(tmp_path, "slug: X\nname: Shop\nmodel: {name: m}\nx: 1\ny: 2\n"), {})
    assert len(refused.value.message.splitlines()) == 3


def test_a_missing_file_is_one_line(tmp_path: Path) -> None:
    with pytest.raises(CliError, match="No such file"):
        read_source(tmp_path / "agent.yaml", {})


def test_a_secret_comes_from_the_environment_and_is_never_shown(tmp_path: Path) -> None:
    source = read_source(written(tmp_path, GOOD), {"SHOP_TOKEN": "hush"})
    assert source.draft["tools"][0]["secretHeaders"] == {"Authorization": {"value": "hush"}}
    assert source.has_secrets
    assert "hush" not in str(source.shown)
    with pytest.raises(CliError, match=r"agent.yaml:10: the variable SHOP_TOKEN is not set"):
        read_source(source.file, {})


def test_a_variable_is_filled_into_secrets_only(tmp_path: Path) -> None:
    source = read_source(
        written(tmp_path, GOOD.replace("name: Shop", "name: ${HOME}")), {"SHOP_TOKEN": "s", "HOME": "h"}
    )
    assert source.draft["name"] == "${HOME}"


def test_the_servers_faults_get_their_lines(tmp_path: Path) -> None:
    source = read_source(written(tmp_path, GOOD), {"SHOP_TOKEN": "s"})
    assert source.fault("tools.0.url", "no such host") == f"{source.file}:7: tools.0.url: no such host"
    assert source.fault("model.upstream", "unknown") == f"{source.file}:3: model.upstream: unknown"


def test_the_starter_is_valid_and_satisfies_the_published_schema(tmp_path: Path) -> None:
    text = starter_file(name='Mia\'s "Pizza": #1', slug="mia", model="m", upstream="default", api="http://h/api/v1")
    source = read_source(written(tmp_path, text), {})
    assert source.draft["name"] == 'Mia\'s "Pizza": #1'
    jsonschema.validate(read_yaml(text.encode()).value, agent_file_schema())
    uncommented = (
        text.replace("# ", "").replace("yaml-language-server", "#").replace("$schema", "#").split("parameters:", 1)
    )
    tools = written(
        tmp_path, "slug: a\nname: A\nmodel: {name: m}\nparameters:" + uncommented[1].replace("The value", "# The")
    )
    assert read_source(tools, {"SHOP_TOKEN": "s"}).draft["tools"][0]["name"] == "order_status"


@pytest.mark.parametrize("change", [{"modle": 1}, {"model": {"name": "m", "x": 1}}, {"slug": "A B"}])
def test_the_schema_refuses_what_the_reader_refuses(change: dict[str, object]) -> None:
    with pytest.raises(jsonschema.ValidationError):
        jsonschema.validate({"slug": "shop", "name": "Shop", "model": {"name": "m"}, **change}, agent_file_schema())


def test_the_schema_has_no_place_for_what_only_the_server_writes() -> None:
    assert not [
        name for name, schema in agent_file_schema()["$defs"].items() if "sealed" in schema.get("properties", {})
    ]


def test_a_draft_is_written_as_a_file_that_means_the_same(tmp_path: Path) -> None:
    first = read_source(
        written(tmp_path, GOOD.replace("name: Shop", 'name: "no"') + 'instructions: "a\\nb: {{x}}\\n"\n'),
        {"SHOP_TOKEN": "s"},
    )
    again = read_source(written(tmp_path, as_file({"slug": first.slug, "draft": first.shown})), {})
    assert (again.slug, again.draft) == (first.slug, first.shown)
