"""Settings that must stand before TensorFlow and matplotlib are imported, or a process is started."""

import os
import signal

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")
os.environ["MPLBACKEND"] = "Agg"
# A shell without job control has what it runs in the background ignore Ctrl-C, and so do the processes of the tests.
if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
    signal.signal(signal.SIGINT, signal.default_int_handler)
