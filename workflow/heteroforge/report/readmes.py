"""The README of a stage's folder: what the stage found, its pictures, how to open its files."""

from __future__ import annotations

from heteroforge.report.campaign import Campaign
from heteroforge.report.sections import picture_caption, stage_section

__all__ = ["stage_readme"]

_READERS = {
    ".parquet": "`pandas.read_parquet`; in a spreadsheet after `.to_csv`",
    ".csv": "`pandas.read_csv`, or a spreadsheet",
    ".extxyz": "`ase.io.read(…, index=':')`, OVITO",
    ".cif": "`ase.io.read`, VESTA, OVITO",
    ".json": "`json.load`, or a text editor",
    ".pt": "`torch.load(…, weights_only=True)`",
}


def stage_readme(campaign: Campaign, stage: str) -> str:
    """Markdown text made from the stage's own files.

    Args:
        campaign: on disk.
        stage: name of the stage and its folder.
    """
    section = stage_section(campaign, stage)
    lines = [f"# {section.title}", "", f"*{section.question}*", ""]
    lines.append("\n\n".join(section.paragraphs))
    for path in sorted((campaign.folder / stage).glob("*.png")):
        lines += ["", f"![{picture_caption(stage, path.stem)}]({path.name})"]
    lines += ["", "| file | rows | to open it |", "|---|---|---|"]
    for path in sorted((campaign.folder / stage).iterdir()):
        reader = _READERS.get(path.suffix)
        if reader is None or not path.is_file():
            continue
        tables = (".parquet", ".csv")
        rows = campaign.number_of_rows(f"{stage}/{path.name}") if path.suffix in tables else None
        lines.append(f"| `{path.name}` | {'' if rows is None else rows} | {reader} |")
    lines += ["", "Columns and units: `docs/results.md` of heteroforge."]
    return "\n".join(lines) + "\n"
