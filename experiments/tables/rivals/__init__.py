"""Other people's search: run once, in an environment of its own, and kept in the files beside this one.

A file ``RIVAL-TABLE.jsonl`` has a line per replicate: ``losses`` observed, in order, to seven digits; ``test``, the
test loss of the best observed after 25, after 50 and at the end; ``distinct``, how many configurations differ;
``seconds`` of processor time.
"""
