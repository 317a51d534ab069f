"""The networks of five course papers, trained from scratch there: one file a paper.

Each is the network that ran, by the authors' public code where there is any. Where the printed text differs
and can run, it has an entry of its own in `mien.train.zoo`, named ``…-as-printed``. No code was copied.
"""
