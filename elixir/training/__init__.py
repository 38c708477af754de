"""Training of every network: classifiers, denoisers, IMPure."""
