"""All flow files of an installation: who answers which number, and that no two of them are at odds."""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from kav.call.flow import Flow
from kav.flow_files.faults import Fault, FlowFileError
from kav.flow_files.reading import DEFAULT, Source, read_source

FOLDER: Final = Path(__file__).parents[2] / "flows"
ANY_NUMBER: Final = "*"


def folder_of(setting: str) -> Path:
    """Return the folder that KAV_FLOWS names, or the one beside app.py."""
    return Path(setting) if setting else FOLDER


@dataclass(frozen=True, slots=True)
class Flows:
    """Every business's flow. `default_numbers` are those that the default flow answers, `*` for all."""

    flows: tuple[Flow, ...]
    default_numbers: tuple[str, ...] = ()

    def inbound(self, number: str) -> Flow | None:
        """Return the flow that answers `number` (E.164): its own business's, else the default flow where it may."""
        owner = next((flow for flow in self.flows if flow.direction == "inbound" and number in flow.numbers), None)
        return owner or (self.default if {number, ANY_NUMBER} & set(self.default_numbers) else None)

    def outbound(self, flow_id: str) -> Flow | None:
        """Return an outbound flow by its id."""
        return next((flow for flow in self.flows if flow.direction == "outbound" and flow.id == flow_id), None)

    def by_id(self, flow_id: str) -> Flow:
        """Return the flow with this id, which is one of them."""
        return next(flow for flow in self.flows if flow.id == flow_id)

    @property
    def default(self) -> Flow | None:
        """The flow without numbers."""
        return next((flow for flow in self.flows if not flow.numbers), None)


@dataclass(frozen=True, slots=True)
class Checked:
    """One file: its flow, or what is wrong with it (alone, or beside the others)."""

    file: str
    flow: Flow | None
    faults: tuple[Fault, ...]


def load_flows(folder: Path = FOLDER, default_numbers: Sequence[str] = ()) -> Flows:
    """Read every flow file of a folder.

    Args:
        folder: where the `*.yaml` files are.
        default_numbers: the numbers that the default flow answers (KAV_DEFAULT_NUMBERS); `*` for all.

    Raises:
        FlowFileError: files cannot be used; it names every fault of every file.
    """
    checked = check_folder(folder)
    faults = [fault for one in checked for fault in one.faults]
    if faults:
        raise FlowFileError(faults)
    return Flows(tuple(one.flow for one in checked if one.flow), tuple(default_numbers))


def check_folder(folder: Path) -> tuple[Checked, ...]:
    """Read every flow file of a folder and say what is wrong with each."""
    return _check(folder, sorted(path for path in folder.glob("*") if path.suffix in (".yaml", ".yml")))


def check_file(path: Path) -> Checked:
    """Read one flow file and say what is wrong with it by itself."""
    (checked,) = _check(path.parent, [path])
    return checked


def _check(folder: Path, paths: Sequence[Path]) -> tuple[Checked, ...]:
    if not paths:
        fault = Fault(str(folder), 1, "", "there are no flow files here", "put one file a business here, docs/flows.md")
        return (Checked(str(folder), None, (fault,)),)
    read = [(str(path), *read_source(path)) for path in paths]
    at_odds = list(_at_odds([source for _, source, _ in read if source]))
    return tuple(
        Checked(file, source.flow if source else None, (*faults, *(one for one in at_odds if one.file == file)))
        for file, source, faults in read
    )


def _at_odds(sources: Sequence[Source]) -> Iterator[Fault]:
    """Find what two files cannot both have; the fault stands at the later of them."""
    for place, source in enumerate(sources):
        before = sources[:place]
        yield from _same_id(source, before)
        yield from _same_numbers(source, before)
        yield from _second_default(source, before)
        yield from _calls_itself(source, sources)


def _same_id(source: Source, before: Iterable[Source]) -> Iterator[Fault]:
    for other in before:
        if other.flow.id == source.flow.id:
            what = f"`{source.flow.id}` is the flow of {other.file} already"
            yield Fault(source.file, source.lines["id"], "id", what, "give each flow an id of its own")


def _same_numbers(source: Source, before: Iterable[Source]) -> Iterator[Fault]:
    for other in before:
        if other.flow.direction != source.flow.direction:
            continue
        for number in source.flow.numbers:
            if number in other.flow.numbers:
                what = f"{number} belongs to {other.file} already"
                remedy = f"a number has one {source.flow.direction} flow: delete it from one of the two"
                yield Fault(source.file, source.lines[number], "numbers", what, remedy)


def _second_default(source: Source, before: Iterable[Source]) -> Iterator[Fault]:
    for other in before:
        if not source.flow.numbers and not other.flow.numbers:
            what = f"{other.file} is the default flow already"
            remedy = f"write this flow's numbers, or `numbers: {DEFAULT}` in one file only"
            yield Fault(source.file, source.lines["numbers"], "numbers", what, remedy)


def _calls_itself(source: Source, sources: Iterable[Source]) -> Iterator[Fault]:
    """A hand-over to a number that Kav answers would be two bots, talking to each other and paid for twice."""
    to = source.flow.transfer.to if source.flow.transfer else ""
    for other in sources:
        if to in other.flow.numbers and other.flow.direction == "inbound":
            what = f"Kav itself answers {to} ({other.file})"
            yield Fault(source.file, source.lines["transfer.to"], "transfer.to", what, "write the number of a human")
