"""The process of one subject: it opens the model and is timed there. Needs nothing but the standard library and numpy.

So it also runs in a peer's own environment, where the rest of reid is not installed::

    python -m reid.bench.host OPENER        OPENER: "module:function" or "path/script.py:function"

A request is a line of JSON on stdin, its reply a line on stdout (`reid.bench.host.protocol`); what libraries print goes
to stderr. Paths in requests are absolute: `reid.bench.process` gives each process an empty folder to work in.
"""
