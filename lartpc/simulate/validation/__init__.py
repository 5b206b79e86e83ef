"""The simulation against what is known of liquid argon: what is shot, what is measured, what it should be.

`samples` says what is simulated, `tracks` and `showers` reduce a file of steps to what is measured,
`references` holds the published values and formulas, and `figures` puts both side by side.
"""

from lartpc.simulate.validation.figures import Figure, Verdict, compare
from lartpc.simulate.validation.samples import SAMPLES, Measured, Sample, measure, merge

__all__ = ["SAMPLES", "Figure", "Measured", "Sample", "Verdict", "compare", "measure", "merge"]
