import json

from tokenprune.schema import editor_schema


def test_the_schema_is_printed_and_written_alike(call, tmp_path):
    printed = call("schema")
    assert (printed.exit_code, printed.stderr) == (0, "")
    assert json.loads(printed.stdout) == editor_schema()
    assert call("schema", "--json").stdout == printed.stdout
    written = call("schema", "--out", "mine.json")
    assert (written.stdout, written.stderr) == ("", "schema: mine.json\n")
    assert (tmp_path / "mine.json").read_text("utf-8") == printed.stdout


def test_a_file_that_cannot_be_written_is_an_error(call):
    found = call("schema", "--out", "nowhere/mine.json")
    assert (found.exit_code, found.stdout) == (1, "")
    assert found.stderr.startswith("error: cannot write the schema to 'nowhere/mine.json': ")
