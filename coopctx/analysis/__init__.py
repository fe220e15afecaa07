"""From parquet tables to numbers: intervals over seeds, the paper's claims and their verdicts, exact references.

May import runs, experiments and game; never agents, and nothing that trains or draws.
"""
