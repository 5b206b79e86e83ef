"""Whether what is shown is of one production: the tables as they were read, and the events that they were made of."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Self

from lartpc.faults import PassingError
from lartpc.provenance import digest
from lartpc.scenarios import FOLDER
from lartpc.steady import Steady
from lartpc.tables.manifest import NAME as MANIFEST
from lartpc.tables.manifest import read_manifest
from lartpc.tables.scenarios import scenario_of

REMEDY = "reload the page"
_TABLES = "collect them again, or finish the production"


class Current:
    """The files that a list of events was read from, as they were then: event files, or the dataset of some results."""

    def __init__(self, paths: Sequence[Path], results: Path | None = None, scenario: str = "") -> None:
        self._steady = Steady(paths)
        self._results, self._scenario = results, scenario
        self._of_tables: set[str] = set()
        if results and (paths[0] / MANIFEST).is_file():
            said = read_manifest(paths[0], _TABLES)
            self._of_tables = {
                str(one["digest"])
                for part in (said, *said.get("scenarios", {}).values())
                for one in part.get("tables", ())
            }

    @classmethod
    def of(cls, dataset: Path) -> Self:
        """Return that of a dataset in the folder of its results, or of the scenario that the path names."""
        root, scenario = scenario_of(dataset)
        return cls([root], root.parent, scenario)

    def check(self) -> None:
        """Raise ValueError if the files were replaced since."""
        try:
            self._steady.check()
        except PassingError as error:
            changed = str(error).split(" was changed")[0]
            raise ValueError(f"{changed} was made again since this page was opened; {REMEDY}") from error

    def check_events(self, uid: str, contents: Mapping[str, tuple[Path, str]]) -> None:
        """Raise ValueError unless the tables of a shard are those of the dataset, and were made of these event files.

        `contents` is what `Events.contents` says. Where the tables of the shard are not there, nothing tells.
        """
        folder = self._folder(uid)
        if not folder:
            return
        if self._of_tables and digest(folder / MANIFEST) not in self._of_tables:
            raise ValueError(
                f"{folder} was made again since {self._results}/dataset was collected; finish the production"
            )
        made_of = read_manifest(folder, "make them again with 'lartpc summarize'")["inputs"]
        for name, (path, content) in contents.items():
            if name in made_of and made_of[name]["content"] != content:
                raise ValueError(
                    f"{path} is not the file that the tables were made of: it was made again since; finish the "
                    "production"
                )

    def _folder(self, uid: str) -> Path | None:
        if not self._results:
            return None
        own = self._results / FOLDER / self._scenario / "tables" / uid
        nominal = self._results / "tables" / uid
        return next((one for one in (own, nominal) if (one / MANIFEST).is_file()), None)
