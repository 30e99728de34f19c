"""One self-contained page about runs, sweeps and logs."""

from keras_initlab.lab.report.collecting import Contents, collect
from keras_initlab.lab.report.page import report, write_page

__all__ = ["Contents", "collect", "report", "write_page"]
