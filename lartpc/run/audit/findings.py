"""What an audit finds, and what it looked at."""

from dataclasses import dataclass, field


@dataclass(frozen=True, order=True)
class Finding:
    """One thing that is wrong: the file, the place in it (`product/column`, a column, or nothing), and what."""

    file: str
    where: str
    what: str

    def __str__(self) -> str:
        """Return it as one line."""
        return f"{self.file}{f' {self.where}' if self.where else ''}: {self.what}"


@dataclass
class Audited:
    """What was looked at in one part of a production, and what is wrong with it."""

    findings: list[Finding] = field(default_factory=list)
    num_files: int = 0
    num_bytes: int = 0
    num_recorded: int = 0
    """Files that were compared with the record of an earlier audit."""
    num_events: int = 0
    num_quarantined: int = 0
    energy_mev: float = 0.0
    energy_quarantined_mev: float = 0.0
    code: dict[str, set[str]] = field(default_factory=dict)
    """Version of a step and revision of the code that ran it, by step."""
    weights: dict[str, set[tuple[str, str]]] = field(default_factory=dict)
    """Path and content digest of the weights that a step took, by step."""
    reasons: dict[str, int] = field(default_factory=dict)
    """Number of events in quarantine by step and reason."""
    flags: dict[str, int] = field(default_factory=dict)
    """Number of particles with each flag of the tables."""

    def add(self, file: object, what: str, where: str = "") -> None:
        """Note that something is wrong; the file is not named twice."""
        text = " ".join(what.split())
        for start in (f"{file} is ", f"{file}: ", f"{file} "):
            text = text.removeprefix(start)
        self.findings.append(Finding(str(file), where, text))

    def without_events(self) -> "Audited":
        """Return what was found and looked at, without the counts of events."""
        return Audited(self.findings, self.num_files, self.num_bytes, code=self.code, weights=self.weights)

    def join(self, other: "Audited") -> None:
        """Add what another part found."""
        self.findings += other.findings
        for name in (
            *("num_files", "num_bytes", "num_events", "num_quarantined"),
            *("energy_mev", "energy_quarantined_mev"),
        ):
            setattr(self, name, getattr(self, name) + getattr(other, name))
        for step, codes in other.code.items():
            self.code.setdefault(step, set()).update(codes)
        for step, weights in other.weights.items():
            self.weights.setdefault(step, set()).update(weights)
        for mine, theirs in ((self.reasons, other.reasons), (self.flags, other.flags)):
            for name, num in theirs.items():
                mine[name] = mine.get(name, 0) + num
