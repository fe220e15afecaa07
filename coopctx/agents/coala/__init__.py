"""COALA-PG, the learning-aware agent (Meulemans et al., arXiv:2410.18636), and its exactly solvable game.

Read in this order: `returns` (Algorithm 1), `naive` (the learners that are shaped), `meta_games` (how both play), `learner`,
`training`. `exact` and `exact_training` are the game of Sec. 4.
"""
