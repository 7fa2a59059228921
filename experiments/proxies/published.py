"""What was published of proxies on NAS-Bench-201 with CIFAR-10, and the members of the vote that follow from it.

Spearman's rho with the final accuracy. ``ABDELFATTAH``: Abdelfattah et al. 2021, table 1, one batch of 64. The last
three are quoted from memory of the comparison in Li et al. 2023 (ZiCo): they could not be checked at the source.
"""

ABDELFATTAH = {
    "synflow": 0.74,
    "jacob-cov": 0.73,
    "grad-norm": 0.58,
    "snip": 0.58,
    "grasp": 0.48,
    "fisher": 0.36,
}
PUBLISHED = {**ABDELFATTAH, "zico": 0.80, "naswot": 0.77, "zen-score": 0.38}
MEMBERS = ("zico", "naswot", "synflow")  # the three best as published, named before anything was measured
