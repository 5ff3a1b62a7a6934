"""The report of a campaign: figures, sections and the page itself."""

from heteroforge.report.campaign import Campaign, Candidate
from heteroforge.report.page import make_page, write_report

__all__ = ["Campaign", "Candidate", "make_page", "write_report"]
