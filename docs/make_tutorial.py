"""Write docs/tutorial.md and its picture from a finished campaign.

    python docs/make_tutorial.py results/demo

The picture of the report's first screen needs a Chromium; without one the old picture stays.
"""

import shutil
import sys
from pathlib import Path

import yaml
from jinja2 import Environment, FileSystemLoader, StrictUndefined

from heteroforge.report.campaign import Campaign
from heteroforge.report.cards import make_card
from heteroforge.report.materials import make_materials, other_stackings
from heteroforge.report.sections import stage_sections
from heteroforge.report.status import read_status, status_text
from heteroforge.report.trust import trust_in_numbers, trust_in_states
from heteroforge.report.words import target_sentence

DOCS = Path(__file__).parent
RULES = DOCS.parent / "workflow" / "rules"


def rules_by_stage(campaign: Campaign) -> dict[str, dict[str, int]]:
    """Rules that left logs, by the stage whose rules file names them."""
    logs = (campaign.folder / "logs").iterdir()
    jobs = {p.stem: 1 if p.is_file() else len(list(p.glob("*.log"))) for p in logs}
    return {
        stage: {
            rule: number
            for rule, number in jobs.items()
            if f"\nrule {rule}:" in (RULES / f"{stage}.smk").read_text(encoding="utf-8")
            and rule not in ("status", "write_interim_report")
        }
        for stage in (
            "library", "clustering", "stacks", "labels", "gvae", "gnn", "samples", "screening",
            "dft", "report",
        )
    }  # fmt: skip


def write_tutorial(folder: Path) -> None:
    """Fill the template with what the campaign in `folder` found."""
    configuration = yaml.safe_load((DOCS.parent / "config" / "config.yaml").read_text())
    campaign = Campaign(folder, configuration["targets"], configuration)
    verified = campaign.verified
    materials = make_materials(verified)
    names = [*campaign.targets, "gap_ev", "binding_energy_mev_a2", "interlayer_gap_a"]
    environment = Environment(
        loader=FileSystemLoader(DOCS), undefined=StrictUndefined, trim_blocks=True,
        lstrip_blocks=True, keep_trailing_newline=True,
    )  # fmt: skip
    text = environment.get_template("tutorial.md.j2").render(
        campaign=campaign,
        asked=target_sentence(campaign.targets),
        targets={n: str(w).replace("None", "null") for n, w in campaign.targets.items()},
        status=status_text(campaign, read_status(folder, rules_by_stage(campaign))),
        sections=stage_sections(campaign),
        card=make_card(campaign, materials[0].best, {}) if materials else None,
        rest=[make_card(campaign, material.best, {}) for material in materials[1:]],
        others=other_stackings(materials[0]) if materials else "",
        trust=trust_in_numbers(
            campaign.record("gnn/metrics.json") or {},
            campaign.record("gnn/calibration.json") or {},
            verified,
            list(dict.fromkeys(names)),
        )
        + trust_in_states(verified),
    )
    (DOCS / "tutorial.md").write_text(text, encoding="utf-8")


def take_picture(page_file: Path, path: Path) -> None:
    """The first screen of the report."""
    from playwright.sync_api import sync_playwright

    names = ("chromium", "chromium-browser", "google-chrome")
    chromium = next((found for name in names if (found := shutil.which(name))), None)
    if chromium is None:
        print(f"no Chromium: {path} is left as it is", file=sys.stderr)
        return
    with sync_playwright() as playwright:
        with playwright.chromium.launch(executable_path=chromium) as browser:
            page = browser.new_page(viewport={"width": 1300, "height": 880})
            page.goto(page_file.resolve().as_uri())
            page.screenshot(path=path)


if __name__ == "__main__":
    campaign_folder = Path(sys.argv[1])
    write_tutorial(campaign_folder)
    take_picture(campaign_folder / "report" / "index.html", DOCS / "images" / "report.png")
