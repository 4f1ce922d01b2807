"""Flow files: what each business's agent says and asks, in `flows/*.yaml`. docs/flows.md tells how to write one.

    flows = load_flows(folder, default_numbers=("*",))
    flows.inbound("+97231110001")       # the Flow that answers this number, or None
    flows.outbound("sales")             # the Flow of an outbound campaign, or None

`document` gives nodes with lines, `section` reads one group key by key, the rest knows what belongs where.
"""

from kav.flow_files.faults import Fault, FlowFileError
from kav.flow_files.folder import FOLDER, Checked, Flows, check_file, check_folder, folder_of, load_flows
from kav.flow_files.reading import read_flow
from kav.flow_files.tools import fill_in, secrets_of, usable

__all__ = [
    "FOLDER",
    "Checked",
    "Fault",
    "FlowFileError",
    "Flows",
    "check_file",
    "check_folder",
    "fill_in",
    "folder_of",
    "load_flows",
    "read_flow",
    "secrets_of",
    "usable",
]
