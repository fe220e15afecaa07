"""The report in Markdown and HTML, and the generated blocks of README and docs.

May import analysis, figures and all that they may; never agents.
"""
