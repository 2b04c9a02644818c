

def test_every_key_is_documented() -> None:
    text = (Path(__file__).resolve().parents[2] / "docs" / "cli.md").read_text()
    section = text[text.index("## Definitions") :].partition("\n## ")[0]
    assert [key for key in Definition.__struct_fields__ if f"`{key}`" not in section] == []
