"""A fuzzer over every format that reid reads; `python -m fuzz --help` says how to run it.

`formats` is the table of what is read. `loaders` has sound files and a loader for each, `seeds` makes the files, and
`mutators` damages them. `runner` loads what comes out in processes of its own, and reports whatever is neither right
nor a refusal of one line; `campaign` runs many of them at a time, and `figures` writes down what they found.
"""
