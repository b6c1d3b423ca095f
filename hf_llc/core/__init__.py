"""Pure numerics on torch tensors: no file, network, clock, environment, printing or global randomness.

Reading order: temperature, seeds, objective, language (its language-model form), samplers/, chain, estimator; shards
and shared, weights that several processes hold together; then what chooses settings: curvature, localisation, stepsize,
plateau, effort; then exact, the closed forms that all of it is held to.
"""
