"""The report of a campaign: figures, sections and the page itself.

Without imports: the DFT stage draws figures where the packages of the learning stages are missing.
"""
