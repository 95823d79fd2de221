"""Moving a log: export to JSON Lines, and import into another store, without losing anything."""

from refold.operations.transfer.check import CheckedExport, check_export
from refold.operations.transfer.export_log import Exported, export_lines, export_to_file
from refold.operations.transfer.import_log import Imported, import_file, import_stream

__all__ = [
    "CheckedExport",
    "Exported",
    "Imported",
    "check_export",
    "export_lines",
    "export_to_file",
    "import_file",
    "import_stream",
]
