"""Files that appear whole or not at all, tables, logs and provenance."""

from heteroforge.io.files import REMAKE, InputError, atomic_path, read_json, write_json, write_text
from heteroforge.io.frames import read_frames, write_frames
from heteroforge.io.log import is_being_written, log_to
from heteroforge.io.provenance import campaign_provenance, provenance
from heteroforge.io.tables import read_table, table_suffix, write_table

__all__ = [
    "REMAKE",
    "InputError",
    "atomic_path",
    "campaign_provenance",
    "is_being_written",
    "log_to",
    "provenance",
    "read_frames",
    "read_json",
    "read_table",
    "table_suffix",
    "write_frames",
    "write_json",
    "write_table",
    "write_text",
]
