"""ZDT1, and how near our NSGA-II comes to DEAP's."""
