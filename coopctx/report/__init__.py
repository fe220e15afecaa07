"""The report in Markdown and HTML, and the generated blocks of README and docs.

May import analysis, figures and everything that these may import; never agents.
"""
