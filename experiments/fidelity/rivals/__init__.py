"""Other people's multi-fidelity search: run once, in environments of their own, and kept in the files beside this one.

A file ``RIVAL-TASK.jsonl`` has a line per search: its ``seed``; ``rows`` trained one after the other by one worker and
the ``stops``, the epoch that each training reached (a row that comes again went on from where it was); ``seconds`` of
processor time; ``versions``. The simulated seconds follow from the task.
"""
