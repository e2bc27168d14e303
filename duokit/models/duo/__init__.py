"""The duo as one network: two members, how each sees a picture, and two weights.

    pictures -> large and small, side by side -> weighted sum of logits -> prediction

`module` is the file to read first: what a duo computes. `member` says how a network is called and
how it sees, `pictures` what a duo may be shown, `prediction` what it answers, `streams` how both
members run at once on a GPU, `cascaded` what saves the large one where the small one is sure,
`runs` how two fine-tuned networks become a duo, `file` how it is kept, `export` how it leaves for
other programs.
"""
