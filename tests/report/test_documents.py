"""docs/results.md and README.md against the rules: every file is listed, every name exists."""

import copy
import re
from pathlib import Path

import pytest
import snakemake.utils
import yaml

import heteroforge.configuration as configuration

ROOT = Path(__file__).resolve().parents[2]
RULES = sorted((ROOT / "workflow" / "rules").glob("*.smk"))


def rules_and_outputs() -> dict[str, set[str]]:
    """Rule to its outputs below the campaign's folder, read from the text of the rules."""
    folders = {"RESULTS": ""}
    found: dict[str, set[str]] = {}
    for path in RULES:
        text = path.read_text(encoding="utf-8")
        for name, value in re.findall(r'^([A-Z_]+) = f"(\{[A-Z_]+\}/[^"]*)"', text, re.MULTILINE):
            folders[name] = resolved(value, folders)
        for name, body in re.findall(r"^rule (\w+):\n((?:(?:    .*)?\n)*)", text, re.MULTILINE):
            block = re.search(r"^    output:\n((?:        .*\n)+)", body, re.MULTILINE)
            files = re.findall(r'f"(\{[A-Z_]+\}/[^"]*)"', block[1]) if block else []
            found[name] = {resolved(file, folders) for file in files}
    return found


def resolved(text: str, folders: dict[str, str]) -> str:
    text = re.sub(r"(?<!\{)\{([A-Z_]+)\}", lambda match: folders[match[1]], text)
    return text.replace("{{", "{").replace("}}", "}").removeprefix("/")


def listed() -> dict[str, str]:
    """File to rule, from the tables of the page."""
    page = (ROOT / "docs" / "results.md").read_text(encoding="utf-8")
    return dict(re.findall(r"^\| `([^`]+)` \| `(\w+)` \|", page, re.MULTILINE))


def test_every_output_is_listed_under_its_rule():
    files = listed()
    for rule, outputs in rules_and_outputs().items():
        for output in outputs:
            if output.endswith(".svg"):  # beside the PNG of the same name
                output = output.removesuffix(".svg") + ".png"
            assert files.get(output) == rule, f"{output} of rule {rule} is not in docs/results.md"


def test_every_listed_file_has_its_rule():
    outputs = rules_and_outputs()
    for file, rule in listed().items():
        assert rule in outputs, f"{file}: no rule {rule}"
        # Snakemake is not told of files that must outlive a job that is killed, nor of the interim
        # report, so that it is written whenever it is asked for.
        kept = rule == "verify_candidates" and file.startswith(("dft/slot_", "dft/layers/"))
        if not kept and rule != "write_interim_report":
            assert file in outputs[rule], f"{file} is no output of rule {rule}"


DOCUMENTS = ["README.md", "config/README.md"] + sorted(
    str(path.relative_to(ROOT)) for path in (ROOT / "docs").rglob("*.md")
)


@pytest.mark.parametrize("document", DOCUMENTS)
def test_overlays_in_documents_are_valid(document):
    """Every YAML block is an overlay of the default configuration that its check accepts."""
    schema = configuration.read_schema(ROOT / "config" / "schema.json")
    defaults = yaml.safe_load((ROOT / "config" / "config.yaml").read_text(encoding="utf-8"))
    text = (ROOT / document).read_text(encoding="utf-8")
    for block in re.findall(r"^```yaml\n(.*?)^```", text, re.MULTILINE | re.DOTALL):
        merged = copy.deepcopy(defaults)
        snakemake.utils.update_config(merged, yaml.safe_load(block))
        merged["library"]["path"] = merged["library"]["path"] and "resources/library"
        merged["library"]["bundled"] = "resources/library"
        merged["dft"]["pseudopotentials"] = "pseudodojo"
        merged["labels"]["table"] = merged["labels"]["table"] and "resources/library/bilayers.csv"
        merged["labels"]["from_campaigns"] = []
        interpreted = configuration.interpret_configuration(merged, schema)
        configuration.check_configuration(interpreted, schema, ROOT)


@pytest.mark.parametrize("document", DOCUMENTS)
def test_links_and_names_exist(document):
    path = ROOT / document
    text = path.read_text(encoding="utf-8")
    for target in re.findall(r"\]\(([^)#]+)\)", text):
        if not target.startswith("http"):
            assert (path.parent / target).exists(), f"{document}: {target}"
    known = rules_and_outputs()
    for line in re.findall(r"^snakemake .*$", text, re.MULTILINE):
        words = line.split("#")[0].split()
        for flag in ("--forcerun",):
            if flag in words:
                assert words[words.index(flag) + 1] in known, line
        last = words[-1]
        if re.fullmatch(r"[a-z_]+", last) and words[-2] not in ("--profile", "--cores"):
            assert last in known or last == "explain_config", line


def test_programs_of_the_how_to_run(campaign_folder, monkeypatch):
    """On own data, beside a finished campaign."""
    monkeypatch.chdir(campaign_folder.parents[1])
    text = (ROOT / "docs" / "how-to" / "own-data.md").read_text(encoding="utf-8")
    programs = re.findall(r"^```python\n(.*?)^```", text, re.MULTILINE | re.DOTALL)
    assert programs
    for program in programs:
        exec(program, {})
